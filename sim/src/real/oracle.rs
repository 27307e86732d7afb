//! What can be judged of a real run while it goes on: that nobody panics. What clients were told is judged at its end, as in
//! the simulated world; what nodes do inside and have on their disks at one and the same moment, nobody sees here.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use ottla::types::{BrokerId, Observation, ShortName, TopicId, TopicPartition};

use crate::checker::history_oracles::HeldLog;
use crate::checker::liveness::Missing;
use crate::checker::{ClusterFacts, DeclaredCut, Removed, StepBack, TopicFacts};
use crate::event::Recorder;
use crate::explore::states::States;
use crate::verdict::Violation;
use crate::world::{Boot, EventSink, NodeId, SimTime, World, WorldEvent};

/// Hears a run. Has the names that the simulated world's has: what it cannot look at it passes over.
pub struct Oracle {
    recorder: Arc<Recorder>,
    panics: Mutex<Vec<(SimTime, NodeId, String)>>,
}

impl Oracle {
    /// Tells `recorder` what is an event.
    #[must_use]
    pub fn new(recorder: Arc<Recorder>) -> Self {
        Self { recorder, panics: Mutex::default() }
    }

    /// Nodes are known by their processes.
    pub fn add_node(&self, _: NodeId, _: BrokerId, _: Vec<PathBuf>) {}

    /// Nothing depends on it.
    pub fn name_voters(&self, _: impl IntoIterator<Item = NodeId>) {}

    /// The clients start now: times count from here.
    pub fn begin(&self, at: SimTime) {
        self.recorder.start(at.nanos());
    }

    /// Nothing depends on it.
    pub fn describe_cluster(&self, _: ClusterFacts) {}

    /// Nobody tells of it here.
    #[must_use]
    pub fn held(&self, _: &dyn Fn(&str) -> bool, _: SimTime) -> Vec<HeldLog> {
        Vec::new()
    }

    /// Nobody hears of it here.
    #[must_use]
    pub fn removed(&self) -> Vec<Removed> {
        Vec::new()
    }

    /// Nothing depends on it.
    pub fn describe_topic(&self, _: TopicId, _: TopicFacts) {}

    /// Nobody hears of them here.
    #[must_use]
    pub fn resets(&self) -> Vec<(ShortName, TopicPartition)> {
        Vec::new()
    }

    /// Nobody hears of them here.
    #[must_use]
    pub fn steps_back(&self) -> Vec<StepBack> {
        Vec::new()
    }

    /// Nobody hears of them here.
    #[must_use]
    pub fn begun(&self) -> BTreeMap<(ShortName, TopicPartition), SimTime> {
        BTreeMap::new()
    }

    /// From now on the topic of this id is known by its name.
    pub fn name_topic(&self, topic_id: TopicId, name: &str) {
        self.recorder.name_topic(topic_id, name);
    }

    /// Disks change while they are read: nobody looks.
    pub fn barrier(&self, _: &World) {}

    /// Disks change while they are read: nobody looks.
    pub fn learn(&self, _: &World, _: NodeId) {}

    /// Disks change while they are read: nobody looks.
    pub fn end(&self, _: &World) {}

    /// A real run fails no disk.
    #[must_use]
    pub fn has_failed_dirs(&self, _: NodeId) -> bool {
        false
    }

    /// What has not come about is what keeps the run from converging.
    #[must_use]
    pub fn missing(&self, _: SimTime) -> Vec<Missing> {
        Vec::new()
    }

    /// Who is in a group nobody sees here.
    #[must_use]
    pub fn outside(&self, _: &BTreeMap<Arc<str>, usize>) -> Vec<Missing> {
        Vec::new()
    }

    /// What nodes wait for they do not say.
    #[must_use]
    pub fn waiting(&self) -> Vec<String> {
        Vec::new()
    }

    /// What nodes are to each other nobody sees here.
    #[must_use]
    pub fn states(&self) -> States {
        States::default()
    }

    /// What the controller declares lost is lost only where the file says so.
    #[must_use]
    pub fn cuts(&self) -> Vec<DeclaredCut> {
        Vec::new()
    }

    /// A node or client panicked.
    pub fn panicked(&self, at: SimTime, node: NodeId, message: String) {
        self.panics.lock().expect("nothing panics with it locked").push((at, node, message));
    }

    /// The panics.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        let panics = self.panics.lock().expect("nothing panics with it locked");
        let violation = |(at, node, message): &(SimTime, NodeId, String)| Violation {
            check: "panic",
            at: self.recorder.time(at.nanos()),
            node: Some(self.recorder.who(node.0)),
            partition: None,
            what: message.lines().next().unwrap_or("a panic").to_owned(),
            evidence: message.lines().skip(1).map(str::to_owned).collect(),
        };
        panics.iter().map(violation).collect()
    }
}

impl EventSink for Oracle {
    fn observation(&self, at: SimTime, node: NodeId, _: Boot, observation: &Observation) {
        self.recorder.observation(self.recorder.time(at.nanos()), node.0, observation);
    }

    fn world(&self, at: SimTime, event: &WorldEvent) {
        if let WorldEvent::Panicked { node, message } = event {
            self.panicked(at, *node, message.clone());
        }
    }
}
