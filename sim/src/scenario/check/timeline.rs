//! Steps: triggers that can fire, actions that their targets allow, faults that can be seen.

use std::collections::{BTreeMap, BTreeSet};

use super::Check;
use crate::scenario::error::suggest;
use crate::scenario::parse::join;
use crate::scenario::plan::{Action, EVENT, ResetWay, Scope, Step, When};
use crate::scenario::target::Target;

impl Check<'_> {
    pub(super) fn timeline(&mut self) {
        let mut ids = BTreeMap::new();
        for (index, step) in self.plan.timeline.iter().enumerate() {
            let at = format!("/timeline/{index}");
            if let Some(id) = &step.id
                && ids.insert(id.as_str(), index).is_some()
            {
                self.refuse(&join(&at, "id"), format!("there are two steps `{id}`"), None);
            }
        }
        for (index, step) in self.plan.timeline.iter().enumerate() {
            let at = format!("/timeline/{index}");
            self.trigger(&at, step, &ids);
            self.action(&at, &step.action);
            for (key, target) in step.action.targets() {
                self.target(&format!("{at}/{key}"), target, Some(index));
            }
        }
        self.cycles(&ids);
        if self.plan.has_faults() && !self.plan.expect.iter().any(|expectation| expectation.bites) {
            let place = if self.plan.chaos.is_some() { "/chaos" } else { "/timeline" };
            self.refuse(
                place,
                "no expectation shows that the faults took effect",
                Some("give one of them `bites = true`".into()),
            );
        }
    }

    fn trigger(&mut self, at: &str, step: &Step, ids: &BTreeMap<&str, usize>) {
        let triggers = [step.at.is_some(), step.after.is_some(), step.when.is_some()];
        if triggers.iter().filter(|given| **given).count() != 1 {
            self.refuse(at, "a step has exactly one of `at`, `after` and `when`", None);
        }
        if let Some(time) = step.at {
            let heal_at = self.plan.heal_at();
            if time > self.plan.run_for {
                let what = format!("{time} is after the end of the run ({})", self.plan.run_for);
                self.refuse(&join(at, "at"), what, None);
            } else if step.action.is_fault() && time >= heal_at {
                let what = format!("a fault at {time} is not before everything heals ({heal_at})");
                self.refuse(&join(at, "at"), what, None);
            }
        }
        if let Some(id) = &step.after
            && !ids.contains_key(id.as_str())
        {
            let help = suggest(id, ids.keys().copied());
            self.refuse(&join(at, "after"), format!("there is no step `{id}`"), help);
        }
        if let Some(when) = &step.when {
            self.when(at, when);
        }
    }

    fn when(&mut self, at: &str, when: &When) {
        let below = join(at, "when");
        if let Some(partition) = &when.partition {
            self.partition(&join(&below, "partition"), partition);
        }
        if let Some(node) = &when.node {
            self.one_node(&join(&below, "node"), node);
        }
    }

    fn action(&mut self, at: &str, action: &Action) {
        let name = action.name();
        for (key, target) in action.targets() {
            let below = format!("{at}/{key}");
            let is_saved = matches!(target, Target::Saved(_));
            match action.scope() {
                Scope::Nodes if target.is_client() => {
                    self.refuse(&below, format!("{name}: its target is nodes, not clients"), None);
                }
                Scope::Clients if !target.is_client() && !is_saved => {
                    self.refuse(&below, format!("{name}: its target is clients, not nodes"), None);
                }
                Scope::Nodes | Scope::Clients | Scope::Any => {}
            }
        }
        if let Action::SlowLink { latency: None, bandwidth_bytes_per_s: None, .. } = action {
            self.refuse(at, "slow-link: needs `latency` or `bandwidth-bytes-per-s`", None);
        }
        if let Action::DiskSlow { read: None, write: None, sync: None, .. } = action {
            self.refuse(at, "disk-slow: needs `read`, `write` or `sync`", None);
        }
        if let Action::AddClient { workload } = action {
            self.workload(&join(at, "workload"), workload);
        }
        if let Action::Partition { cut } = action {
            if cut.between.is_some() == cut.shape.is_some() {
                self.refuse(at, "partition: needs either `between` or `shape`", None);
            }
            if cut.among.is_some() && cut.shape.is_none() {
                self.refuse(&join(at, "among"), "partition: `among` goes with `shape`", None);
            }
        }
        self.administration(at, action);
        let log_dirs = self.plan.cluster.log_dirs;
        if let Action::DiskError { log_dir: Some(index), .. }
        | Action::Corrupt { log_dir: Some(index), .. } = action
            && *index >= log_dirs
        {
            let what =
                format!("there is no log directory {index}: brokers have {log_dirs}, from 0");
            self.refuse(&join(at, "log-dir"), what, None);
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the other actions ask nothing of the controller"
    )]
    fn administration(&mut self, at: &str, action: &Action) {
        match action {
            Action::Reassign { partition, replicas, away_from, cancel } => {
                let asked = [!replicas.is_empty(), away_from.is_some(), *cancel];
                if asked.iter().filter(|asked| **asked).count() != 1 {
                    let what = "reassign: needs one of `replicas`, `away-from` and `cancel`";
                    self.refuse(at, what, None);
                }
                if !replicas.is_empty() && partition.is_none() {
                    self.refuse(at, "reassign: `replicas` are those of one `partition`", None);
                }
                let ever = self.plan.brokers_ever();
                if let Some(id) = replicas.iter().find(|id| **id > ever) {
                    self.refuse(&join(at, "replicas"), format!("there is no broker {id}"), None);
                }
                if let Some(partition) = partition {
                    self.partition(&join(at, "partition"), partition);
                }
            }
            Action::DeleteRecords { partition, .. }
            | Action::ElectPreferred { partition: Some(partition) }
            | Action::ElectUnclean { partition: Some(partition) } => {
                self.partition(&join(at, "partition"), partition);
            }
            Action::ResetOffsets { group, way } => {
                self.group(&join(at, "group"), group);
                self.reset_way(at, group, way);
            }
            Action::AddPartitions { topic, partitions } => {
                let Some(has) = self.plan.topics.get(topic).map(|topic| topic.partitions) else {
                    let help = suggest(topic, self.plan.topics.keys().map(String::as_str));
                    let what = format!("there is no topic `{topic}`");
                    return self.refuse(&join(at, "topic"), what, help);
                };
                if *partitions <= has {
                    let what = format!("`{topic}` has {has} partitions: it can only have more");
                    self.refuse(&join(at, "partitions"), what, None);
                }
            }
            Action::SetConfig { topic, target, .. } => {
                if topic.is_some() == target.is_some() {
                    self.refuse(at, "set-config: needs either `topic` or `target`", None);
                }
                if let Some(topic) = topic.as_ref().filter(|topic| !self.has_topic(topic)) {
                    let help = suggest(topic, self.plan.topics.keys().map(String::as_str));
                    self.refuse(&join(at, "topic"), format!("there is no topic `{topic}`"), help);
                }
            }
            _ => {}
        }
    }

    fn reset_way(&mut self, at: &str, group: &str, way: &ResetWay) {
        let ResetWay { to, to_offset, shift_by, by_duration, to_datetime, from_file } = way;
        let asked = [
            to.is_some(),
            to_offset.is_some(),
            shift_by.is_some(),
            by_duration.is_some(),
            to_datetime.is_some(),
            from_file.is_some(),
        ];
        if asked.iter().filter(|asked| **asked).count() != 1 {
            let what = "reset-offsets: needs one of `to`, `to-offset`, `shift-by`, `by-duration`, `to-datetime` and `from-file`";
            self.refuse(at, what, None);
        }
        let topics = self.plan.groups().remove(group).unwrap_or_default();
        let topics: BTreeSet<String> = topics.into_iter().map(ToString::to_string).collect();
        for name in from_file.iter().flatten().map(|(name, _)| name) {
            let at = join(&join(at, "from-file"), &name.to_string());
            if topics.contains(&name.topic) {
                self.partition(&at, name);
            } else {
                self.refuse(
                    &at,
                    format!("the group `{group}` does not read `{}`", name.topic),
                    None,
                );
            }
        }
    }

    fn has_topic(&self, name: &str) -> bool {
        self.plan.topics.contains_key(name)
    }

    pub(super) fn chaos(&mut self) {
        let Some(chaos) = &self.plan.chaos else { return };
        let until = chaos.until.unwrap_or(self.plan.heal_at());
        if until > self.plan.heal_at() {
            let what = format!("a storm until {until} is not over when everything heals");
            self.refuse("/chaos/until", what, None);
        }
        if chaos.from >= until {
            self.refuse("/chaos/from", format!("{} is not before its end", chaos.from), None);
        }
        if chaos.faults.is_empty() {
            self.refuse("/chaos/faults", "a storm without faults is none", None);
        }
        for (index, fault) in chaos.faults.iter().enumerate() {
            let at = format!("/chaos/faults/{index}");
            if !fault.action.may_come_again() {
                let what = format!("`{}` is no fault of a storm", fault.action.name());
                self.refuse(&join(&at, "do"), what, None);
            }
            if fault.every.0.smallest() == 0 {
                self.refuse(&join(&at, "every"), "it may come without end at one moment", None);
            }
            self.action(&at, &fault.action);
            for (key, target) in fault.action.targets() {
                let is_of_event = matches!(target, Target::Saved(name) if name == EVENT);
                if !is_of_event || fault.when.is_none() {
                    self.target(&format!("{at}/{key}"), target, None);
                }
            }
            match (&fault.when, &fault.delay) {
                (Some(when), _) => self.when(&at, when),
                (None, Some(_)) => {
                    self.refuse(
                        &join(&at, "delay"),
                        "a delay after what? it goes with `when`",
                        None,
                    );
                }
                (None, None) => {}
            }
        }
    }

    /// Steps that wait for each other would never be done.
    fn cycles(&mut self, ids: &BTreeMap<&str, usize>) {
        let before = |index: usize| {
            let id = self.plan.timeline[index].after.as_deref()?;
            ids.get(id).copied()
        };
        let mut told = BTreeSet::new();
        let mut cycles = Vec::new();
        for start in 0..self.plan.timeline.len() {
            let mut path = vec![start];
            while let Some(next) = path.last().and_then(|last| before(*last)) {
                if let Some(from) = path.iter().position(|index| *index == next) {
                    let cycle = &path[from..];
                    if told.insert(cycle.iter().copied().collect::<BTreeSet<_>>()) {
                        cycles.push(cycle.to_vec());
                    }
                    break;
                }
                path.push(next);
            }
        }
        for cycle in cycles {
            let first = cycle[0];
            let labels: Vec<String> = cycle
                .iter()
                .chain([&first])
                .map(|index| self.plan.timeline[*index].label(*index))
                .collect();
            let what = format!("these steps wait for each other: {}", labels.join(" after "));
            self.refuse(&format!("/timeline/{first}/after"), what, None);
        }
    }
}
