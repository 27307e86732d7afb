//! What hears the world: the views of the cluster, the oracle, and the story.

use std::sync::{Arc, Mutex, MutexGuard};

use ottla::types::{Observation, TopicId};

use crate::chronicle::Chronicle;
use crate::event::{Event, Recorder};
use crate::oracle::Oracle;
use crate::views::{Moved, NodeTurn, Views};
use crate::world::{NodeId, SimTime};

/// The id of the metadata log (Kafka: `Uuid.METADATA_TOPIC_ID`).
const METADATA_TOPIC: TopicId =
    TopicId::from_bytes([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

/// Hears the world.
pub(super) struct Ears {
    pub(super) recorder: Arc<Recorder>,
    pub(super) oracle: Oracle,
    views: Mutex<Views>,
    chronicle: Mutex<Chronicle>,
}

impl Ears {
    pub(super) fn new() -> Self {
        let recorder = Arc::new(Recorder::default());
        let oracle = Oracle::new(Arc::clone(&recorder));
        recorder.name_topic(METADATA_TOPIC, "__cluster_metadata");
        Self { recorder, oracle, views: Mutex::default(), chronicle: Mutex::default() }
    }

    /// The cluster as its nodes know it. To be held for moments only.
    pub(super) fn views(&self) -> MutexGuard<'_, Views> {
        self.views.lock().expect("nothing panics with the views locked")
    }

    fn chronicle(&self) -> MutexGuard<'_, Chronicle> {
        self.chronicle.lock().expect("nothing panics with the chronicle locked")
    }

    /// Every change of the run, taken out.
    pub(super) fn take_chronicle(&self) -> Chronicle {
        let mut chronicle = std::mem::take(&mut *self.chronicle());
        chronicle.versions = self.views().versions().clone();
        let ids = chronicle.versions.keys();
        chronicle.names = ids.map(|id| (*id, self.recorder.partition(*id))).collect();
        chronicle
    }

    /// A node spoke of itself.
    pub(super) fn look(&self, at: SimTime, node: NodeId, observation: &Observation) {
        let (at, who) = (self.recorder.time(at.nanos()), self.recorder.who(node.0));
        let moved = self.views().observe(at, &who, observation);
        self.chronicle().observe(at, &who, observation);
        if let (Moved::Yes { from, to }, Observation::PartitionChanged { partition, .. }) =
            (moved, observation)
        {
            let event = Event::new(at, who, "partition.moved").note(format!("{from} to {to}"));
            self.recorder.record(event.partition(self.recorder.partition(*partition)));
        }
    }

    /// Something happened to a node.
    pub(super) fn turn(&self, at: SimTime, node: NodeId, turn: NodeTurn) {
        let (at, who) = (self.recorder.time(at.nanos()), self.recorder.who(node.0));
        self.views().turn(at, &who, turn);
        self.chronicle().turn(at, &who, turn);
    }
}
