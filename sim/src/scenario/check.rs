//! Whether a file that has the shape of a scenario makes sense: names that exist, times in order, faults that can bite.

use std::collections::{BTreeMap, BTreeSet};

use ottla::client::{ConsumerConfig, ProducerConfig};
use ottla::server::config::{check_value, table as config_table};

use super::NO_VARIANT;
use super::condition::Measure;
use super::duration::Span;
use super::error::{Problem, suggest};
use super::parse::{Document, join};
use super::plan::{
    Action, Budget, Expectation, ExpectationKind, Of, Plan, Properties, Scope, Step, WorkloadKind,
    WorkloadPlan,
};
use super::target::{PartitionName, Target};

/// No run is longer than this: a month of simulated time at a thousandfold is an hour.
const RUN_LONGEST: Span = Span::from_secs(31 * 86_400);

/// Everything in the file that makes no sense.
#[must_use]
pub fn check(document: &Document, plan: &Plan) -> Vec<Problem> {
    let mut check = Check { document, plan, problems: Vec::new() };
    check.times();
    check.properties();
    check.workloads();
    check.timeline();
    check.expectations();
    check.problems
}

struct Check<'a> {
    document: &'a Document,
    plan: &'a Plan,
    problems: Vec<Problem>,
}

impl Check<'_> {
    fn refuse(&mut self, pointer: &str, what: impl Into<String>, help: Option<String>) {
        self.problems.push(Problem { help, ..self.document.problem(pointer, what) });
    }

    fn times(&mut self) {
        let (run_for, heal_at) = (self.plan.run_for, self.plan.heal_at());
        if run_for == Span::ZERO {
            self.refuse("/run-for", "a run of no time shows nothing", None);
        }
        if run_for > RUN_LONGEST {
            self.refuse("/run-for", format!("{run_for} is too long: at most {RUN_LONGEST}"), None);
        }
        if heal_at > run_for {
            self.refuse(
                "/heal-at",
                format!("{heal_at} is after the end of the run ({run_for})"),
                None,
            );
        }
    }

    fn properties(&mut self) {
        for (name, value) in &self.plan.broker_config.0 {
            let at = join("/broker-config", name);
            if OWN_PROPERTIES.contains(&name.as_str()) {
                self.refuse(&at, format!("`{name}` is set by the testbed"), None);
                continue;
            }
            match config_table::row(name) {
                Some(row) => {
                    if let Err(what) = check_value(row, value) {
                        self.refuse(&at, format!("{name}={value}: {what}"), None);
                    }
                }
                None => {
                    let help = suggest(name, config_table::ROWS.iter().map(|row| row.name));
                    self.refuse(&at, format!("`{name}` is not a property of a broker"), help);
                }
            }
        }
    }

    fn workloads(&mut self) {
        for (name, workload) in &self.plan.workloads {
            let at = join("/workloads", name);
            if name.contains(['/', '$', '(', '*']) || name.is_empty() {
                self.refuse(
                    &at,
                    format!("`{name}`: the name of a workload holds none of / $ ( *"),
                    None,
                );
            }
            if !self.plan.topics.contains_key(&workload.topic) {
                let help = suggest(&workload.topic, self.plan.topics.keys().map(String::as_str));
                self.refuse(
                    &join(&at, "topic"),
                    format!("there is no topic `{}`", workload.topic),
                    help,
                );
            }
            if let Err(what) = client_properties(workload) {
                let key = workload.config.0.keys().find(|key| what.contains(key.as_str()));
                let below = join(&at, "config");
                self.refuse(&key.map_or(below.clone(), |key| join(&below, key)), what, None);
            }
            if let WorkloadKind::Consumer { assign, .. } = &workload.kind {
                let partitions =
                    self.plan.topics.get(&workload.topic).map_or(0, |topic| topic.partitions);
                if parse_assign(assign, partitions).is_none() {
                    self.refuse(
                        &join(&at, "assign"),
                        format!(
                            "`{assign}` names no partitions of `{}`: write \"*\" or \"0,2\"",
                            workload.topic
                        ),
                        None,
                    );
                }
            }
        }
    }

    // ── Timeline ───────────────────────────────────────────────────────────────────────────────────────────────────────

    fn timeline(&mut self) {
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
            self.action(&at, step);
            for (key, target) in step.action.targets() {
                self.target(&format!("{at}/{key}"), target, Some(index));
            }
        }
        self.cycles(&ids);
        let has_fault = self.plan.timeline.iter().any(|step| step.action.is_fault());
        if has_fault && !self.plan.expect.iter().any(|expectation| expectation.bites) {
            self.refuse(
                "/timeline",
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
            let below = join(at, "when");
            if let Some(partition) = &when.partition {
                self.partition(&join(&below, "partition"), partition);
            }
            if let Some(node) = &when.node {
                self.one_node(&join(&below, "node"), node);
            }
        }
    }

    fn action(&mut self, at: &str, step: &Step) {
        let name = step.action.name();
        for (key, target) in step.action.targets() {
            let below = format!("{at}/{key}");
            let is_saved = matches!(target, Target::Saved(_));
            match step.action.scope() {
                Scope::Nodes if target.is_client() => {
                    self.refuse(&below, format!("{name}: its target is nodes, not clients"), None);
                }
                Scope::Clients if !target.is_client() && !is_saved => {
                    self.refuse(&below, format!("{name}: its target is clients, not nodes"), None);
                }
                Scope::Nodes | Scope::Clients | Scope::Any => {}
            }
        }
        if let Action::SlowLink { latency: None, bandwidth_bytes_per_s: None, .. } = &step.action {
            self.refuse(at, "slow-link: needs `latency` or `bandwidth-bytes-per-s`", None);
        }
        if let Action::DiskSlow { read: None, write: None, sync: None, .. } = &step.action {
            self.refuse(at, "disk-slow: needs `read`, `write` or `sync`", None);
        }
        if let Action::AddClient { workload } = &step.action {
            self.workload(&join(at, "workload"), workload);
        }
        let log_dirs = self.plan.cluster.log_dirs;
        if let Action::DiskError { log_dir: Some(index), .. }
        | Action::Corrupt { log_dir: Some(index), .. } = &step.action
            && *index >= log_dirs
        {
            let what =
                format!("there is no log directory {index}: brokers have {log_dirs}, from 0");
            self.refuse(&join(at, "log-dir"), what, None);
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

    // ── Names ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    fn target(&mut self, at: &str, target: &Target, step: Option<usize>) {
        match target {
            Target::Broker(id) => {
                let brokers = self.plan.cluster.brokers;
                if !(1..=brokers).contains(id) {
                    self.refuse(
                        at,
                        format!("there is no broker {id}"),
                        Some(if brokers == 1 {
                            "the only one is 1".into()
                        } else {
                            format!("ids are 1 to {brokers}")
                        }),
                    );
                }
            }
            Target::Leader(partition) | Target::Preferred(partition) => {
                self.partition(at, partition)
            }
            Target::Client { workload, index } => {
                self.workload(at, workload);
                let started = self.clients_of(workload);
                if self.plan.workloads.contains_key(workload) && *index >= started {
                    let what = format!("there is no client `{workload}/{index}`");
                    self.refuse(at, what, Some(format!("`{workload}` has {started}, from 0")));
                }
            }
            Target::Clients { workload } => self.workload(at, workload),
            Target::Saved(name) => self.saved(at, name, step),
            Target::Brokers | Target::Controller | Target::RandomBroker => {}
        }
    }

    fn saved(&mut self, at: &str, name: &str, step: Option<usize>) {
        let others =
            self.plan.timeline.iter().enumerate().filter(|(index, _)| Some(*index) != step);
        let names: Vec<&str> = others.filter_map(|(_, step)| step.save_as.as_deref()).collect();
        if !names.contains(&name) {
            let help =
                suggest(name, names).map(|help| help.replace('`', "").replace("mean ", "mean $"));
            self.refuse(at, format!("no other step saves its target as `{name}`"), help);
        }
    }

    fn one_node(&mut self, at: &str, target: &Target) {
        match target {
            Target::Broker(_) | Target::Client { .. } => self.target(at, target, None),
            Target::Brokers
            | Target::Controller
            | Target::Leader(_)
            | Target::Preferred(_)
            | Target::RandomBroker
            | Target::Clients { .. }
            | Target::Saved(_) => self.refuse(
                at,
                format!("`{target}` does not name one node: write `brokers(1)` or `writer/0`"),
                None,
            ),
        }
    }

    fn clients_of(&self, workload: &str) -> u32 {
        let added = self.plan.timeline.iter().filter(|step| {
            matches!(&step.action, Action::AddClient { workload: added } if added == workload)
        });
        let added = u32::try_from(added.count()).unwrap_or(u32::MAX);
        self.plan.workloads.get(workload).map_or(0, |plan| plan.clients.saturating_add(added))
    }

    fn workload(&mut self, at: &str, name: &str) {
        if !self.plan.workloads.contains_key(name) {
            let help = suggest(name, self.plan.workloads.keys().map(String::as_str));
            self.refuse(at, format!("there is no workload `{name}`"), help);
        }
    }

    fn partition(&mut self, at: &str, partition: &PartitionName) {
        match self.plan.topics.get(&partition.topic) {
            None => {
                let help = suggest(&partition.topic, self.plan.topics.keys().map(String::as_str));
                self.refuse(at, format!("there is no topic `{}`", partition.topic), help);
            }
            Some(topic) if partition.index >= topic.partitions => {
                let help = format!("`{}` has {}, from 0", partition.topic, topic.partitions);
                self.refuse(at, format!("there is no partition `{partition}`"), Some(help));
            }
            Some(_) => {}
        }
    }

    // ── Expectations ───────────────────────────────────────────────────────────────────────────────────────────────────

    fn expectations(&mut self) {
        for (index, expectation) in self.plan.expect.iter().enumerate() {
            let at = format!("/expect/{index}");
            self.expectation(&at, expectation);
        }
    }

    fn expectation(&mut self, at: &str, expectation: &Expectation) {
        if let Err(what) = expectation.is.suits(measure(&expectation.kind)) {
            self.refuse(&join(at, "is"), what, None);
        }
        if let Some((from, to)) = expectation.between
            && from >= to
        {
            self.refuse(&join(at, "between"), format!("{from} is not before {to}"), None);
        }
        if let Some(variant) = expectation.variant.as_deref().filter(|name| *name != NO_VARIANT) {
            let names = super::variant_names(self.document);
            if !names.iter().any(|name| name == variant) {
                let help = suggest(variant, names.iter().map(String::as_str));
                self.refuse(&join(at, "variant"), format!("there is no variant `{variant}`"), help);
            }
        }
        match &expectation.kind {
            ExpectationKind::AckedLost { of } => {
                self.of(at, of);
                if expectation.is.admits_more_than_zero() && self.plan.budget == Budget::Tolerable {
                    self.refuse(
                        &join(at, "is"),
                        "this allows acknowledged records to be lost, and the tolerable budget does not",
                        Some("say `budget = \"beyond\"` at the top".into()),
                    );
                }
            }
            ExpectationKind::Acked { of }
            | ExpectationKind::FailedForGood { of }
            | ExpectationKind::Unknown { of }
            | ExpectationKind::UnknownLost { of }
            | ExpectationKind::Error { of }
            | ExpectationKind::DuplicatesInLog { of }
            | ExpectationKind::ReorderedPerKey { of }
            | ExpectationKind::Read { of } => self.of(at, of),
            ExpectationKind::UnavailableFor { workload }
            | ExpectationKind::Latency { workload, .. } => {
                if let Some(workload) = workload {
                    self.workload(&join(at, "workload"), workload);
                }
            }
            ExpectationKind::HwAdvance { partition } => {
                if let Some(partition) = partition {
                    self.partition(&join(at, "partition"), partition);
                }
            }
            ExpectationKind::Event { partition, node, .. } => {
                if let Some(partition) = partition {
                    self.partition(&join(at, "partition"), partition);
                }
                if let Some(node) = node {
                    self.one_node(&join(at, "node"), node);
                }
            }
            ExpectationKind::Converged {} | ExpectationKind::Violations { .. } => {}
        }
    }

    fn of(&mut self, at: &str, of: &Of) {
        if let Some(workload) = &of.workload {
            self.workload(&join(at, "workload"), workload);
        }
        if let Some(partition) = &of.partition {
            self.partition(&join(at, "partition"), partition);
        }
    }
}

/// What kind of value an expectation measures.
#[must_use]
pub const fn measure(kind: &ExpectationKind) -> Measure {
    match kind {
        ExpectationKind::UnavailableFor { .. } | ExpectationKind::Latency { .. } => Measure::Time,
        ExpectationKind::Converged {} => Measure::Flag,
        ExpectationKind::Acked { .. }
        | ExpectationKind::AckedLost { .. }
        | ExpectationKind::FailedForGood { .. }
        | ExpectationKind::Unknown { .. }
        | ExpectationKind::UnknownLost { .. }
        | ExpectationKind::Error { .. }
        | ExpectationKind::DuplicatesInLog { .. }
        | ExpectationKind::ReorderedPerKey { .. }
        | ExpectationKind::Read { .. }
        | ExpectationKind::HwAdvance { .. }
        | ExpectationKind::Event { .. }
        | ExpectationKind::Violations { .. } => Measure::Count,
    }
}

/// The partitions that `assign` names: all of `0..partitions` for `*`; `None` where one does not exist.
#[must_use]
pub fn parse_assign(assign: &str, partitions: u32) -> Option<Vec<u32>> {
    if assign.trim() == "*" {
        return Some((0..partitions).collect());
    }
    let one = |text: &str| text.trim().parse().ok().filter(|index| *index < partitions);
    assign.split(',').map(one).collect()
}

/// What the testbed itself decides.
const OWN_PROPERTIES: &[&str] = &[
    "node.id",
    "broker.id",
    "process.roles",
    "listeners",
    "advertised.listeners",
    "controller.quorum.voters",
    "controller.quorum.bootstrap.servers",
    "controller.listener.names",
    "log.dir",
    "log.dirs",
    "metadata.log.dir",
    "broker.rack",
];

/// The client's own reader of properties says what is wrong.
fn client_properties(workload: &WorkloadPlan) -> Result<(), String> {
    let Properties(mut properties) = workload.config.clone();
    for own in ["bootstrap.servers", "client.id"] {
        if properties.contains_key(own) {
            return Err(format!("`{own}` is set by the testbed"));
        }
    }
    properties.insert("bootstrap.servers".into(), "localhost:9092".into());
    match workload.kind {
        WorkloadKind::Producer { .. } => ProducerConfig::from_properties(&properties)
            .map(drop)
            .map_err(|error| error.to_string()),
        WorkloadKind::Consumer { .. } => ConsumerConfig::from_properties(&properties)
            .map(drop)
            .map_err(|error| error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::words;
    use super::*;

    #[test]
    fn every_word_has_its_type() {
        // A word of the table that the types do not know would be refused as "cannot be run"; this finds it here.
        let measured: Vec<&str> = words::EXPECTATIONS.iter().map(|word| word.name).collect();
        for name in measured {
            let value = serde_json::json!({
                "that": name, "is": 0, "event": "node.started", "check": "R3", "error": "NONE",
            });
            serde_json::from_value::<Expectation>(value)
                .unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        for word in words::ACTIONS {
            let value = serde_json::json!({
                "do": word.name, "at": "1s", "target": "brokers(1)", "between": ["brokers(1)", "writer/0"],
                "api": "Produce", "by": "1s", "chance": 0.5, "operation": "sync", "file": "x", "ppm": 1,
                "workload": "writer", "text": "x",
            });
            let step: Step = serde_json::from_value(value)
                .unwrap_or_else(|error| panic!("{}: {error}", word.name));
            assert_eq!(step.action.name(), word.name);
        }
    }
}
