//! What steps do: every fault of a scenario, done to the machines it means, and how it ends. What is done to the world around
//! the nodes (network, disks, clocks) stands with each world: `simulated/faults.rs`, `real/faults.rs`.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Map, Value};

use super::stage::Stage;
use crate::event::Who;
use crate::scenario::plan::{Action, Cut, CutShape, Direction, Step};
use crate::world::{NodeId, ways};

/// How long a controlled shutdown may take before the step goes on: Kafka's service files give 90 s.
pub(super) const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(90);

/// How a fault ends.
pub(super) type Undo = Box<dyn FnOnce(&Stage) + Send>;

/// A step being done.
pub(super) struct Doing<'a> {
    pub(super) stage: &'a Arc<Stage>,
    pub(super) step: &'a Step,
    #[cfg_attr(
        not(madsim),
        expect(dead_code, reason = "what the seed draws of a fault is of disks")
    )]
    pub(super) pointer: &'a str,
    pub(super) subjects: &'a [(String, Vec<Who>)],
    /// Who is cut off from whom, where a cut has a shape.
    pub(super) shaped: Option<&'a [(Who, Who)]>,
    /// What the seed drew of the fault besides its targets, under the keys of the file: what a fixed step says instead.
    pub(super) drawn: Mutex<Map<String, Value>>,
}

impl Doing<'_> {
    /// Keeps what was drawn, for the fixed step; of several targets each draws its own, which one step cannot say.
    #[cfg_attr(
        not(madsim),
        expect(dead_code, reason = "what the seed draws of a fault is of disks")
    )]
    pub(super) fn note_drawn(&self, key: &str, value: Value) {
        if let [_] = self.who() {
            let mut drawn = self.drawn.lock().expect("held for moments");
            drawn.insert(key.into(), value);
        }
    }

    /// Those whom the first target means.
    pub(super) fn who(&self) -> &[Who] {
        self.subjects.first().map_or(&[], |(_, who)| who.as_slice())
    }

    /// The first of them, for the story.
    pub(super) fn first_subject(&self) -> Who {
        self.who().first().cloned().unwrap_or(Who::Testbed)
    }

    /// The machines of those whom a target means.
    pub(super) fn nodes(&self, side: usize) -> Vec<NodeId> {
        let who = self.subjects.get(side).map_or(&[][..], |(_, who)| who.as_slice());
        who.iter().filter_map(|who| self.stage.node(who)).collect()
    }

    /// Every way that a cut closes.
    pub(super) fn ways_of(&self, cut: &Cut) -> Vec<(NodeId, NodeId)> {
        let both = cut.direction == Direction::Both;
        let node = |who: &Who| self.stage.node(who);
        match self.shaped {
            Some(pairs) => pairs
                .iter()
                .filter_map(|(one, other)| Some(ways(&[node(one)?], &[node(other)?], both)))
                .flatten()
                .collect(),
            None => ways(&self.nodes(0), &self.nodes(1), both),
        }
    }

    /// Tells the story of a fault, in the words of the file.
    pub(super) fn tell(&self, kind: &'static str, details: &str) {
        let name = self.step.action.name();
        let targets: Vec<String> =
            self.step.action.targets().iter().map(|(_, target)| target.to_string()).collect();
        let mut note = format!("{name} {}", targets.join(" and "));
        if !details.is_empty() {
            note = format!("{}, {details}", note.trim_end());
        }
        if let Some(lasts) = self.step.lasts {
            note = format!("{}, for {lasts}", note.trim_end());
        }
        let nobody = [Who::Testbed];
        for who in if self.who().is_empty() { &nobody } else { self.who() } {
            self.stage.record(who.clone(), kind, note.trim_end().into());
        }
    }

    /// Does it. Errors: why it cannot be done now.
    pub(super) async fn act(&self) -> Result<Option<Undo>, String> {
        match &self.step.action {
            Action::Kill { .. } | Action::KillClient { .. } => self.kill(),
            Action::Start { .. } => self.start(),
            Action::Wipe { .. } => self.wipe(),
            Action::Pause { .. } => self.pause(),
            Action::Resume { .. } => self.resume(),
            Action::Shutdown { .. } => self.shutdown().await,
            Action::PowerLoss { .. }
            | Action::Partition { .. }
            | Action::Heal { .. }
            | Action::SlowLink { .. }
            | Action::Loss { .. }
            | Action::Reset { .. }
            | Action::DropRequest { .. }
            | Action::DropResponse { .. }
            | Action::DelayRequest { .. }
            | Action::DelayResponse { .. }
            | Action::DuplicateRequest { .. }
            | Action::DiskSlow { .. }
            | Action::DiskFull { .. }
            | Action::DiskError { .. }
            | Action::Corrupt { .. }
            | Action::ClockJump { .. }
            | Action::ClockDrift { .. } => self.act_on_world(),
            Action::AddClient { workload } => {
                let who = self.stage.add_client(workload);
                self.stage.record(who, "fault.started", format!("add-client {workload}"));
                Ok(None)
            }
            Action::StopClient { .. } => {
                self.tell("fault.started", "");
                self.who().iter().for_each(|who| self.stage.stop_client(who));
                Ok(None)
            }
            Action::AddBroker {} => {
                let who = self.stage.add_broker()?;
                self.stage.record(who, "fault.started", "add-broker".into());
                Ok(None)
            }
            Action::RemoveBroker { .. } => self.remove_broker().await,
            Action::UnregisterBroker { .. } => self.unregister_broker().await,
            Action::Reassign { partition, replicas, cancel, .. } => {
                self.reassign(partition.as_ref(), replicas, *cancel).await
            }
            Action::AddPartitions { topic, partitions } => {
                self.add_partitions(topic, *partitions).await
            }
            Action::DeleteRecords { partition, before } => {
                self.delete_records(partition, *before).await
            }
            Action::ResetOffsets { group, way } => self.reset_offsets(group, way).await,
            Action::ElectPreferred { partition } => self.elect(partition.as_ref(), true).await,
            Action::ElectUnclean { partition } => self.elect(partition.as_ref(), false).await,
            Action::SetConfig { topic, config, .. } => {
                self.set_config(topic.as_deref(), &config.0).await
            }
            Action::Mark { text } => {
                self.stage.record(Who::Testbed, "fault.started", format!("mark: {text}"));
                Ok(None)
            }
        }
    }

    // ── Processes and machines ─────────────────────────────────────────────────────────────────────────────────────────

    /// Errors: somebody of the target runs, or does not run, who should not.
    pub(super) fn each_must_run(&self, must_run: bool) -> Result<(), String> {
        for who in self.who() {
            let runs = self.stage.node(who).is_some_and(|node| self.stage.cluster.is_running(node));
            if runs != must_run {
                return Err(format!("{who} is {}", if runs { "running" } else { "not running" }));
            }
        }
        Ok(())
    }

    fn kill(&self) -> Result<Option<Undo>, String> {
        self.each_must_run(true)?;
        self.tell("fault.started", "");
        for node in self.nodes(0) {
            self.stage.cluster.kill(node);
        }
        self.stage.check_disks();
        Ok(None)
    }

    fn start(&self) -> Result<Option<Undo>, String> {
        self.each_must_run(false)?;
        self.tell("fault.started", "");
        self.who().iter().for_each(|who| self.stage.start_again(who));
        Ok(None)
    }

    fn wipe(&self) -> Result<Option<Undo>, String> {
        self.each_must_run(false)?;
        self.tell("fault.started", "");
        self.who().iter().for_each(|who| self.stage.wipe(who));
        Ok(None)
    }

    fn pause(&self) -> Result<Option<Undo>, String> {
        self.each_must_run(true)?;
        self.tell("fault.started", "");
        let nodes = self.nodes(0);
        for node in &nodes {
            self.stage.cluster.pause(*node);
        }
        Ok(Some(Box::new(move |stage| {
            for node in nodes {
                stage.cluster.resume(node);
            }
        })))
    }

    fn resume(&self) -> Result<Option<Undo>, String> {
        self.each_must_run(true)?;
        self.tell("fault.ended", "");
        for node in self.nodes(0) {
            self.stage.cluster.resume(node);
        }
        Ok(None)
    }

    async fn shutdown(&self) -> Result<Option<Undo>, String> {
        self.each_must_run(true)?;
        self.tell("fault.started", "");
        for node in self.nodes(0) {
            if !self.stage.cluster.shutdown(node, SHUTDOWN_PATIENCE).await {
                self.stage.record(
                    self.first_subject(),
                    "fault.ended",
                    "shutdown: still running after 90 s".into(),
                );
            } else if self.stage.is_healed()
                && !self.stage.cluster.is_running(node)
                && !self.stage.is_left_out(node)
            {
                // Everything was healed while it was still stopping: it is to come back as the dead ones did.
                self.stage.start(node);
            }
        }
        self.stage.check_disks();
        Ok(None)
    }
}

/// A cut, for the story.
pub(super) fn words_of(cut: &Cut) -> String {
    let shape = cut.shape.map(CutShape::name).unwrap_or_default();
    let way = if cut.direction == Direction::Both { "" } else { "one way" };
    [shape, way].join(" ").trim().to_owned()
}
