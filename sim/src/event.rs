//! What happens in a run, as one stream: it wakes the timeline's `when`s, counts for `that = "event"`, and tells the story.
//!
//! Node observations, the world's own doings and what clients were told all become [`Event`]s here. Their names and meaning
//! stand in `scenario/words/`. Checkers that need more than a name read the observations themselves.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use ottla::types::{
    BrokerId, BrokerSet, ErrorCode, LeaderEpoch, Observation, Offset, PartitionEpoch, TopicId,
    TopicIdPartition, TopicPartition,
};
use tokio::sync::oneshot;

use crate::chunks::Chunks;
use crate::group_event;
use crate::scenario::duration::Span;
use crate::scenario::plan::When;
use crate::scenario::target::{PartitionName, Target};

/// Who did something, or to whom it was done.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// The testbed itself: its admin client, its final reader, the network as a whole.
    Testbed,
    /// The broker with this id.
    Broker(u32),
    /// The voter with this number, where it is no broker.
    Controller(u32),
    /// A client of a workload.
    Client {
        /// The workload.
        workload: Arc<str>,
        /// Which of its clients, from 0.
        index: u32,
    },
}

impl Who {
    /// Whether a file's `node = "…"` means this one.
    #[must_use]
    pub fn is(&self, target: &Target) -> bool {
        match (self, target) {
            // Where voters are brokers too the first one is broker 1, and so on.
            (Self::Broker(id), Target::Broker(asked) | Target::ControllerNumber(asked))
            | (Self::Controller(id), Target::ControllerNumber(asked)) => id == asked,
            (Self::Client { .. }, Target::AllClients) => true,
            (
                Self::Client { workload, index },
                Target::Client { workload: asked, index: number },
            ) => **workload == **asked && index == number,
            (Self::Client { workload, .. }, Target::Clients { workload: asked }) => {
                **workload == **asked
            }
            _ => false,
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Testbed => f.write_str("-"),
            Self::Broker(id) => write!(f, "broker {id}"),
            Self::Controller(number) => write!(f, "controller {number}"),
            Self::Client { workload, index } => write!(f, "{workload}/{index}"),
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When, since the clients started; zero before.
    pub at: Span,
    /// To whom.
    pub who: Who,
    /// Its name: one of [`crate::scenario::words::EVENTS`].
    pub kind: &'static str,
    /// How many records or bytes it stands for; 1 for events that count neither.
    pub count: u64,
    /// Of which partition.
    pub partition: Option<TopicPartition>,
    /// With which error.
    pub error: Option<ErrorCode>,
    /// Which offsets it is about: `from..to`, or from before to after.
    pub offsets: Option<(Offset, Offset)>,
    /// Anything else, in words.
    pub note: Cow<'static, str>,
}

impl Event {
    /// An event about nothing in particular yet.
    #[must_use]
    pub fn new(at: Span, who: Who, kind: &'static str) -> Self {
        let note = Cow::Borrowed("");
        Self { at, who, kind, count: 1, partition: None, error: None, offsets: None, note }
    }

    /// It stands for this many.
    #[must_use]
    pub fn count(mut self, count: u64) -> Self {
        self.count = count;
        self
    }

    /// It is about this partition.
    #[must_use]
    pub fn partition(mut self, partition: TopicPartition) -> Self {
        self.partition = Some(partition);
        self
    }

    /// It carries this error.
    #[must_use]
    pub fn error(mut self, error: ErrorCode) -> Self {
        self.error = Some(error);
        self
    }

    /// It is about these offsets.
    #[must_use]
    pub fn offsets(mut self, from: Offset, to: Offset) -> Self {
        self.offsets = Some((from, to));
        self
    }

    /// It says this besides.
    #[must_use]
    pub fn note(mut self, note: impl Into<Cow<'static, str>>) -> Self {
        self.note = note.into();
        self
    }

    /// Whether it is about the partition that a file names.
    #[must_use]
    pub fn is_of(&self, asked: &PartitionName) -> bool {
        self.partition.as_ref().is_some_and(|partition| is_partition(partition, asked))
    }
}

/// Whether a file means this partition.
#[must_use]
pub fn is_partition(partition: &TopicPartition, asked: &PartitionName) -> bool {
    *partition.topic == *asked.topic && partition.partition.value().unsigned_abs() == asked.index
}

/// Keeps the events of a run and wakes who waits for them. Shared by everything in the run.
#[derive(Debug, Default)]
pub struct Recorder(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// When the clients started, in the world's nanoseconds.
    origin: Option<u64>,
    /// Who the world's nodes are.
    nodes: BTreeMap<u32, Who>,
    topics: BTreeMap<TopicId, Arc<str>>,
    /// The newest version of each partition's ISR that any node told of.
    isrs: BTreeMap<TopicIdPartition, (PartitionEpoch, BrokerSet)>,
    /// The newest term of each partition that was told of.
    terms: BTreeMap<TopicIdPartition, LeaderEpoch>,
    events: Chunks<Event>,
    triggers: Vec<Trigger>,
}

#[derive(Debug)]
struct Trigger {
    when: When,
    seen: u64,
    fire: oneshot::Sender<Moment>,
}

/// When an event happened that somebody waited for, and to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// When.
    pub at: Span,
    /// To whom.
    pub who: Who,
}

impl Recorder {
    /// Locked for moments only; nothing panics inside.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("nothing panics with the recorder locked")
    }

    /// The clients start now: times count from here.
    pub fn start(&self, world_nanos: u64) {
        self.lock().origin = Some(world_nanos);
    }

    /// When the clients started, in the world's nanoseconds; `None` before.
    #[must_use]
    pub fn started_at(&self) -> Option<u64> {
        self.lock().origin
    }

    /// A moment of the world as the time since the clients started.
    #[must_use]
    pub fn time(&self, world_nanos: u64) -> Span {
        let origin = self.lock().origin;
        Span::from_nanos(origin.map_or(0, |origin| world_nanos.saturating_sub(origin)))
    }

    /// From now on the world's node `node` is known as `who`.
    pub fn name_node(&self, node: u32, who: Who) {
        self.lock().nodes.insert(node, who);
    }

    /// Who a node of the world is.
    #[must_use]
    pub fn who(&self, node: u32) -> Who {
        self.lock().nodes.get(&node).cloned().unwrap_or(Who::Testbed)
    }

    /// From now on the topic of this id is known by its name.
    pub fn name_topic(&self, id: TopicId, name: &str) {
        self.lock().topics.insert(id, name.into());
    }

    /// A partition by name; the id stands in for a name nobody told.
    #[must_use]
    pub fn partition(&self, partition: TopicIdPartition) -> TopicPartition {
        let known = self.lock().topics.get(&partition.topic_id).cloned();
        let topic = known.unwrap_or_else(|| partition.topic_id.to_string().into());
        TopicPartition { topic, partition: partition.partition }
    }

    /// Notes an event, and lets those go on who waited for it.
    pub fn record(&self, event: Event) {
        let mut fired = Vec::new();
        let mut inner = self.lock();
        let mut index = 0;
        while let Some(trigger) = inner.triggers.get_mut(index) {
            if trigger.matches(&event) {
                trigger.seen += event.count;
            }
            if trigger.seen >= trigger.when.nth {
                fired.push(inner.triggers.remove(index).fire);
            } else {
                index += 1;
            }
        }
        let moment = Moment { at: event.at, who: event.who.clone() };
        inner.events.push(event);
        drop(inner);
        // Waking may run destructors of tasks that ended: not with the lock held. Who stopped waiting does not care.
        for fire in fired {
            let _ = fire.send(moment.clone());
        }
    }

    /// Waits for an event; what happened before does not count. Resolves with an error where the run ends before.
    #[must_use]
    pub fn wait(&self, when: When) -> oneshot::Receiver<Moment> {
        let (fire, wait) = oneshot::channel();
        self.lock().triggers.push(Trigger { when, seen: 0, fire });
        wait
    }

    /// What was recorded so far, and nothing is kept. A topic whose name was told later than its first events has it in all of them.
    #[must_use]
    pub fn take(&self) -> Chunks<Event> {
        let mut inner = self.lock();
        let names: BTreeMap<String, Arc<str>> =
            inner.topics.iter().map(|(id, name)| (id.to_string(), name.clone())).collect();
        let mut events = std::mem::take(&mut inner.events);
        for partition in events.iter_mut().filter_map(|event| event.partition.as_mut()) {
            if let Some(name) = names.get(&*partition.topic) {
                partition.topic = name.clone();
            }
        }
        events
    }

    /// Notes what a node's shape said of itself, where it is an event at all.
    pub fn observation(&self, at: Span, node: u32, observation: &Observation) {
        let who = self.who(node);
        for event in self.events_of(at, &who, observation).into_iter().flatten() {
            self.record(event);
        }
    }

    /// The ISR changed: told by the first node that knows of it, once.
    fn isr_event(
        &self,
        at: Span,
        who: &Who,
        partition: &TopicIdPartition,
        epoch: PartitionEpoch,
        isr: BrokerSet,
        elr: BrokerSet,
    ) -> Option<Event> {
        let known = self.lock().isrs.get(partition).copied();
        if known.is_some_and(|(known, _)| known >= epoch) {
            return None;
        }
        self.lock().isrs.insert(*partition, (epoch, isr));
        let (_, before) = known?;
        let kind = if !isr.without(&before).is_empty() {
            "isr.expanded"
        } else if before != isr {
            "isr.shrunk"
        } else {
            return None;
        };
        let note = if elr.is_empty() {
            format!("{before} to {isr}")
        } else {
            format!("{before} to {isr}, eligible {elr}")
        };
        let event = Event::new(at, who.clone(), kind).partition(self.partition(*partition));
        Some(event.note(note))
    }

    /// A partition has a leader in a new term, or none: told by the first node that knows of it, once.
    fn leader_event(
        &self,
        at: Span,
        who: &Who,
        partition: &TopicIdPartition,
        (leader, leader_epoch): (Option<BrokerId>, LeaderEpoch),
        unclean: bool,
    ) -> Option<Event> {
        let mut inner = self.lock();
        if inner.terms.get(partition).is_some_and(|known| *known >= leader_epoch) {
            return None;
        }
        inner.terms.insert(*partition, leader_epoch);
        drop(inner);
        let kind = if unclean { "leader.elected-unclean" } else { "leader.elected" };
        let event = Event::new(at, who.clone(), kind).partition(self.partition(*partition));
        Some(event.note(match leader {
            Some(leader) => format!("broker {leader}, epoch {leader_epoch}"),
            None => format!("nobody, epoch {leader_epoch}"),
        }))
    }

    /// At most two events come of one observation.
    #[expect(clippy::too_many_lines, reason = "one flat match: a table of observations")]
    fn events_of(&self, at: Span, who: &Who, observation: &Observation) -> [Option<Event>; 2] {
        let event = |kind| Event::new(at, who.clone(), kind);
        let of =
            |kind, partition: &TopicIdPartition| event(kind).partition(self.partition(*partition));
        let one = match observation {
            Observation::NodeStarted { .. } => event("node.started"),
            Observation::NodeStopping { .. } => event("node.stopping"),
            Observation::ProduceReceived { partition, records, .. } => {
                of("produce.received", partition).count(u64::from(*records))
            }
            Observation::ProduceAppended { partition, base_offset, end_offset, .. } => {
                of("produce.appended", partition)
                    .count(end_offset.saturating_distance(*base_offset))
                    .offsets(*base_offset, *end_offset)
            }
            Observation::ProduceDuplicate { partition, base_offset, .. } => {
                of("produce.duplicate", partition).note(format!("of offset {base_offset}"))
            }
            Observation::ProduceAcked { partition, base_offset, end_offset, .. } => {
                of("produce.acked", partition)
                    .count(end_offset.saturating_distance(*base_offset))
                    .offsets(*base_offset, *end_offset)
            }
            Observation::ProduceOutOfOrder { partition, producer, last_sequence } => {
                let last = last_sequence.map_or_else(|| "none".into(), |last| last.to_string());
                let sequence = producer.base_sequence;
                of("produce.out-of-order", partition)
                    .note(format!("sequence {sequence} of producer {}, after {last}", producer.id))
            }
            Observation::ProduceFailed { partition, error } => {
                of("produce.failed", partition).error(*error)
            }
            Observation::FetchServed { partition, fetch_offset, end_offset, .. } => {
                of("fetch.served", partition)
                    .count(end_offset.saturating_distance(*fetch_offset))
                    .offsets(*fetch_offset, *end_offset)
            }
            Observation::FetchFailed { partition, error } => {
                of("fetch.failed", partition).error(*error)
            }
            Observation::HighWatermarkAdvanced { partition, from, to, is_leader: true, .. } => {
                of("hw.advanced", partition)
                    .count(to.saturating_distance(*from))
                    .offsets(*from, *to)
            }
            Observation::LogFlushed { partition, end_offset } => {
                of("log.flushed", partition).note(format!("up to {end_offset}"))
            }
            Observation::LogRolled { partition, base_offset } => {
                of("log.rolled", partition).note(format!("segment {base_offset}"))
            }
            Observation::LogTruncated { partition, from, to } => of("log.truncated", partition)
                .count(from.saturating_distance(*to))
                .offsets(*from, *to),
            Observation::LogStartMoved { partition, from, to } => of("log.start-moved", partition)
                .count(to.saturating_distance(*from))
                .offsets(*from, *to),
            Observation::LogRecovered {
                partition,
                log_start_offset,
                log_end_offset,
                bytes_scanned,
                bytes_cut,
                ..
            } => {
                let opened = of("log.recovered", partition)
                    .offsets(*log_start_offset, *log_end_offset)
                    .note(format!("{bytes_scanned} bytes scanned, {bytes_cut} cut off"));
                let cut = of("log.cut", partition).count(*bytes_cut);
                return [Some(opened), (*bytes_cut > 0).then_some(cut)];
            }
            Observation::LogDeleted { partition } => of("log.deleted", partition),
            Observation::SegmentCorrupt { partition, segment, position } => {
                of("segment.corrupt", partition).note(format!("segment {segment}, byte {position}"))
            }
            Observation::LogDirOffline { index } => {
                event("log-dir.offline").note(format!("log directory {index}"))
            }
            Observation::LogDirFull { index } => {
                event("log-dir.full").note(format!("log directory {index}"))
            }
            Observation::ProducerExpired { partition, .. } => of("producer.expired", partition),
            Observation::ControllerElected { epoch, .. } => {
                event("controller.elected").note(format!("epoch {epoch}"))
            }
            Observation::ControllerResigned { epoch, .. } => {
                event("controller.resigned").note(format!("epoch {epoch}"))
            }
            Observation::MetadataCommitted { .. } => event("metadata.committed"),
            Observation::BrokerRegistered { broker, .. } => {
                event("broker.registered").note(format!("broker {broker}"))
            }
            Observation::BrokerFenced { broker, .. } => {
                event("broker.fenced").note(format!("broker {broker}"))
            }
            Observation::BrokerUnfenced { broker, .. } => {
                event("broker.unfenced").note(format!("broker {broker}"))
            }
            Observation::TopicCreated { partitions, .. } => {
                event("topic.created").note(format!("{partitions} partitions"))
            }
            Observation::TopicDeleted { .. } => event("topic.deleted"),
            Observation::LeaderElected { partition, leader, leader_epoch, unclean } => {
                let leads = (*leader, *leader_epoch);
                return [self.leader_event(at, who, partition, leads, *unclean), None];
            }
            Observation::ProducerIdAllocated { producer, .. } => {
                event("producer-id.allocated").note(format!("id {producer}"))
            }
            Observation::ConnectionRefused { error } => event("connection.refused").error(*error),
            Observation::PartitionChanged {
                partition,
                partition_epoch,
                isr,
                elr,
                leader,
                leader_epoch,
                is_unclean,
                ..
            } => {
                let leads = (*leader, *leader_epoch);
                return [
                    self.isr_event(at, who, partition, *partition_epoch, *isr, *elr),
                    self.leader_event(at, who, partition, leads, *is_unclean),
                ];
            }
            Observation::BecameLeader { partition, leader_epoch, start_offset, isr, .. } => {
                of("replica.leads", partition)
                    .note(format!("epoch {leader_epoch} from offset {start_offset}, isr {isr}"))
            }
            Observation::BecameFollower { partition, leader, leader_epoch, .. } => {
                of("replica.follows", partition).note(match leader {
                    Some(leader) => format!("broker {leader}, epoch {leader_epoch}"),
                    None => format!("nobody, epoch {leader_epoch}"),
                })
            }
            Observation::FollowerFetched { partition, replica, fetch_offset, .. } => {
                of("replica.fetched", partition)
                    .note(format!("broker {replica} from offset {fetch_offset}"))
            }
            Observation::FollowerAppended { partition, base_offset, end_offset, .. } => {
                of("replica.appended", partition)
                    .count(end_offset.saturating_distance(*base_offset))
                    .offsets(*base_offset, *end_offset)
            }
            Observation::IsrProposed { partition, isr, .. } => {
                of("isr.proposed", partition).note(format!("isr {isr}"))
            }
            Observation::IsrRefused { partition, error, .. } => {
                of("isr.refused", partition).error(*error)
            }
            Observation::QuorumRoleChanged { epoch, role, .. } => {
                event("quorum.role").note(format!("{role:?}, epoch {epoch}").to_lowercase())
            }
            Observation::VoteGranted { epoch, candidate, is_pre_vote: false, .. } => {
                event("vote.granted").note(format!("to {candidate}, epoch {epoch}"))
            }
            Observation::MetadataSnapshotLoaded { end_offset, .. } => {
                event("metadata.snapshot-loaded").note(format!("up to {end_offset}"))
            }
            Observation::Group { term, what } => {
                return [group_event::event_of(self, at, who, *term, what), None];
            }
            // What every node repeats of the same fact, or what only checks want to know.
            Observation::HighWatermarkAdvanced { is_leader: false, .. }
            | Observation::MinIsrChanged { .. }
            | Observation::IncarnationBegun { .. }
            | Observation::RegistrationChanged { .. }
            | Observation::RegistrationRemoved { .. }
            | Observation::IsrCommitted { .. }
            | Observation::VoteGranted { is_pre_vote: true, .. }
            | Observation::MetadataAppended { .. }
            | Observation::QuorumHighWatermark { .. }
            | Observation::MetadataSnapshotSaved { .. }
            | Observation::EndTold { .. }
            | Observation::MetadataApplied { .. } => return [None, None],
        };
        [Some(one), None]
    }
}

impl Trigger {
    fn matches(&self, event: &Event) -> bool {
        let When { event: kind, partition, node, error, from, nth: _ } = &self.when;
        kind == event.kind
            && partition.as_ref().is_none_or(|asked| event.is_of(asked))
            && node.as_ref().is_none_or(|asked| event.who.is(asked))
            && error
                .as_ref()
                .is_none_or(|asked| event.error.is_some_and(|seen| seen.name() == asked))
            && from.is_none_or(|from| event.at >= from)
    }
}

#[cfg(test)]
mod tests {
    use ottla::types::PartitionIndex;

    use super::*;

    fn when(event: &str, nth: u64) -> When {
        When { event: event.into(), nth, partition: None, node: None, error: None, from: None }
    }

    fn polled(seconds: u64, count: u64) -> Event {
        Event::new(Span::from_secs(seconds), Who::Broker(1), "produce.acked").count(count)
    }

    #[test]
    fn a_trigger_fires_at_the_nth_record_and_only_once() {
        let recorder = Recorder::default();
        let mut wait = recorder.wait(when("produce.acked", 5));
        recorder.record(polled(1, 4));
        assert!(wait.try_recv().is_err());
        recorder.record(polled(2, 3));
        let moment = Moment { at: Span::from_secs(2), who: Who::Broker(1) };
        assert_eq!(wait.try_recv(), Ok(moment));
        recorder.record(polled(3, 9));
        assert_eq!(recorder.take().len(), 3);
    }

    #[test]
    fn filters_of_a_trigger_all_count() {
        let recorder = Recorder::default();
        let mut asked = when("produce.failed", 1);
        asked.partition = PartitionName::parse("orders-1");
        asked.error = Some("NOT_LEADER_OR_FOLLOWER".into());
        asked.node = Some(Target::Broker(2));
        asked.from = Some(Span::from_secs(3));
        let mut wait = recorder.wait(asked);
        let partition = |index| TopicPartition {
            topic: "orders".into(),
            partition: PartitionIndex::new(index),
        };
        let event = |seconds, broker, index, error| {
            Event::new(Span::from_secs(seconds), Who::Broker(broker), "produce.failed")
                .partition(partition(index))
                .error(error)
        };
        let wrong = [
            event(2, 2, 1, ErrorCode::NotLeaderOrFollower),
            event(3, 1, 1, ErrorCode::NotLeaderOrFollower),
            event(3, 2, 0, ErrorCode::NotLeaderOrFollower),
            event(3, 2, 1, ErrorCode::KafkaStorageError),
            polled(4, 1),
        ];
        for event in wrong {
            recorder.record(event);
            assert!(wait.try_recv().is_err());
        }
        recorder.record(event(3, 2, 1, ErrorCode::NotLeaderOrFollower));
        assert!(wait.try_recv().is_ok());
    }

    #[test]
    fn times_count_from_the_start_of_the_clients() {
        let recorder = Recorder::default();
        assert_eq!(recorder.time(5), Span::ZERO);
        recorder.start(10);
        assert_eq!((recorder.time(5), recorder.time(12)), (Span::ZERO, Span::from_nanos(2)));
    }

    #[test]
    fn topics_are_called_by_the_name_they_were_given() {
        let recorder = Recorder::default();
        let id = TopicId::from_bytes([7; 16]);
        let partition = TopicIdPartition { topic_id: id, partition: PartitionIndex::new(3) };
        assert_eq!(recorder.partition(partition).to_string(), format!("{id}-3"));
        recorder.record(polled(1, 1).partition(recorder.partition(partition)));
        recorder.name_topic(id, "orders");
        assert_eq!(recorder.partition(partition).to_string(), "orders-3");
        let early = recorder.take().into_iter().next().and_then(|event| event.partition);
        let early = early.map(|of| of.to_string());
        assert_eq!(early.as_deref(), Some("orders-3"), "it was recorded before it was named");
    }
}
