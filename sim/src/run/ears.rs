//! What hears the world: the views of the cluster, the oracle, and the story.

use std::sync::{Arc, Mutex, MutexGuard};

use ottla::types::{Observation, TopicId};

use crate::event::{Event, Recorder, Who};
use crate::oracle::Oracle;
use crate::views::{Moved, NodeTurn, Views};
use crate::world::{Boot, EventSink, NodeId, ProcessEnd, SimTime, WorldEvent};

/// The id of the metadata log (Kafka: `Uuid.METADATA_TOPIC_ID`).
const METADATA_TOPIC: TopicId =
    TopicId::from_bytes([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

/// Hears the world.
pub(super) struct Ears {
    pub(super) recorder: Arc<Recorder>,
    pub(super) oracle: Oracle,
    views: Mutex<Views>,
}

impl Ears {
    pub(super) fn new() -> Self {
        let recorder = Arc::new(Recorder::default());
        let oracle = Oracle::new(Arc::clone(&recorder));
        recorder.name_topic(METADATA_TOPIC, "__cluster_metadata");
        Self { recorder, oracle, views: Mutex::default() }
    }

    /// The cluster as its nodes know it. To be held for moments only.
    pub(super) fn views(&self) -> MutexGuard<'_, Views> {
        self.views.lock().expect("nothing panics with the views locked")
    }

    fn look(&self, at: SimTime, node: NodeId, observation: &Observation) {
        let (at, who) = (self.recorder.time(at.nanos()), self.recorder.who(node.0));
        let moved = self.views().observe(at, &who, observation);
        if let (Moved::Yes { from, to }, Observation::PartitionChanged { partition, .. }) =
            (moved, observation)
        {
            let event = Event::new(at, who, "partition.moved").note(format!("{from} to {to}"));
            self.recorder.record(event.partition(self.recorder.partition(*partition)));
        }
    }

    fn turn(&self, at: SimTime, event: &WorldEvent) {
        let turn = match event {
            WorldEvent::Killed { .. }
            | WorldEvent::PowerLost { .. }
            | WorldEvent::Ended { .. }
            | WorldEvent::Panicked { .. } => NodeTurn::Ended,
            WorldEvent::Paused { .. } => NodeTurn::Paused,
            WorldEvent::Resumed { .. } => NodeTurn::Resumed,
            WorldEvent::Started { .. }
            | WorldEvent::ShutdownAsked { .. }
            | WorldEvent::Wiped { .. }
            | WorldEvent::DiskFailed { .. }
            | WorldEvent::Fault { .. } => return,
        };
        if let Some(node) = event.node() {
            let (at, who) = (self.recorder.time(at.nanos()), self.recorder.who(node.0));
            self.views().turn(at, &who, turn);
        }
    }

    /// What the story tells of it.
    fn event_of(&self, at: SimTime, event: &WorldEvent) -> Option<Event> {
        let who = event.node().map_or(Who::Testbed, |node| self.recorder.who(node.0));
        let is_client = matches!(who, Who::Client { .. });
        let of = |kind| Event::new(self.recorder.time(at.nanos()), who.clone(), kind);
        match event {
            WorldEvent::Started { .. } if is_client => Some(of("client.started")),
            WorldEvent::PowerLost { loss, .. } if loss.bytes_lost > 0 || loss.files_torn > 0 => {
                let note = format!("{} files, {} of them torn", loss.files.len(), loss.files_torn);
                Some(of("disk.lost").count(loss.bytes_lost).note(note))
            }
            WorldEvent::Ended { end, .. } => {
                let kind = if is_client { "client.stopped" } else { "node.ended" };
                Some(of(kind).note(words_of(end))).filter(|_| who != Who::Testbed)
            }
            WorldEvent::Panicked { message, .. } => {
                let kind = if is_client { "client.stopped" } else { "node.ended" };
                let first = message.lines().next().unwrap_or_default();
                Some(of(kind).note(format!("panicked: {first}")))
            }
            WorldEvent::DiskFailed { operation, path, .. } => {
                Some(of("fault.bit").note(format!("disk-error {operation:?} of {path}")))
            }
            WorldEvent::Fault { what, .. } => Some(of("fault.bit").note(what.clone())),
            // The timeline tells these, with the words of the file.
            WorldEvent::Started { .. }
            | WorldEvent::Killed { .. }
            | WorldEvent::PowerLost { .. }
            | WorldEvent::Paused { .. }
            | WorldEvent::Resumed { .. }
            | WorldEvent::ShutdownAsked { .. }
            | WorldEvent::Wiped { .. } => None,
        }
    }
}

fn words_of(end: &ProcessEnd) -> String {
    match end {
        ProcessEnd::Clean => "in good order".to_string(),
        ProcessEnd::Failed(reason) => reason.lines().next().unwrap_or_default().to_string(),
    }
}

impl EventSink for Ears {
    fn observation(&self, at: SimTime, node: NodeId, boot: Boot, observation: &Observation) {
        self.look(at, node, observation);
        // The oracle hands it on to the recorder.
        self.oracle.observation(at, node, boot, observation);
    }

    fn world(&self, at: SimTime, event: &WorldEvent) {
        self.turn(at, event);
        self.oracle.world(at, event);
        if let Some(event) = self.event_of(at, event) {
            self.recorder.record(event);
        }
    }
}
