//! What hears the world: the oracle first, then the story; and who leads what, for targets.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use ottla::types::{BrokerId, Observation, TopicIdPartition};

use crate::event::{Event, Recorder, Who};
use crate::oracle::Oracle;
use crate::world::{Boot, EventSink, NodeId, ProcessEnd, SimTime, WorldEvent};

/// Hears the world.
pub(super) struct Ears {
    pub(super) recorder: Arc<Recorder>,
    pub(super) oracle: Oracle,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    leaders: BTreeMap<TopicIdPartition, Option<BrokerId>>,
    controller: Option<u32>,
}

impl Ears {
    pub(super) fn new() -> Self {
        let recorder = Arc::new(Recorder::default());
        let oracle = Oracle::new(Arc::clone(&recorder));
        Self { recorder, oracle, state: Mutex::new(State::default()) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics with the ears locked")
    }

    /// Who leads a partition, as the controller last said.
    pub(super) fn leader(&self, partition: TopicIdPartition) -> Option<BrokerId> {
        self.lock().leaders.get(&partition).copied().flatten()
    }

    /// The broker that last said it is the active controller.
    pub(super) fn controller(&self) -> Option<u32> {
        self.lock().controller
    }

    fn remember(&self, node: NodeId, observation: &Observation) {
        if let Observation::LeaderElected { partition, leader, .. } = observation {
            self.lock().leaders.insert(*partition, *leader);
        }
        if let Observation::ControllerElected { .. } = observation
            && let Who::Broker(id) = self.recorder.who(node.0)
        {
            self.lock().controller = Some(id);
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
        self.remember(node, observation);
        // The oracle hands it on to the recorder.
        self.oracle.observation(at, node, boot, observation);
    }

    fn world(&self, at: SimTime, event: &WorldEvent) {
        self.oracle.world(at, event);
        if let Some(event) = self.event_of(at, event) {
            self.recorder.record(event);
        }
    }
}
