//! Follows leaders: the machine of all partitions that this broker fetches from one other broker.
//!
//! One request is in flight; the next is asked when everything that the last one brought is in the logs. So a fetch offset
//! never claims what is not written.
//!
//! ```text
//! Follow ─▶ Busy ──────── located, or all is in the log ───────▶ Fetching
//!            ▲ ▲                                                    │
//!            │ └───── records, or a diverging epoch: cut ───────────┤
//!            ├─ cut ─ AskingStart ◀─ AskingEnd ◀ OFFSET_OUT_OF_RANGE┤
//!            └─ back-off over ─ Delayed ◀── any other error ────────┤
//!                               Fenced ◀─── FENCED_LEADER_EPOCH ────┘   until the next Follow
//! ```
//!
//! Where a follower's log parts from its leader's, the leader says so in its answer (`DivergingEpoch`, KIP-595): the log is
//! cut, and asked for again. It may take several rounds, each to an older term. There is no other truncation at the beginning
//! of a term: older leaders, which cannot say so, are not fetched from.
//!
//! Kafka: `AbstractFetcherThread`, `ReplicaFetcherThread`, `RemoteLeaderEndPoint`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::fetch_session::{AnswerFault, ClientSession, PartitionFetch, SessionUse};
use super::{FetchState, TruncateTo};
use crate::log::EpochEndOffset;
use crate::protocol::messages::fetch_request::{FetchTopic, ForgottenTopic, ReplicaState};
use crate::protocol::messages::fetch_response::PartitionData;
use crate::protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use crate::protocol::messages::list_offsets_response::ListOffsetsPartitionResponse;
use crate::protocol::messages::{
    FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse,
};
use crate::protocol::{OffsetSpec, Records, VersionRange};
use crate::types::{BrokerId, ErrorCode, LeaderEpoch, Monotonic, Now, Offset, TopicIdPartition};

/// The versions of Fetch that followers ask in: by topic id, with the broker's epoch (KIP-903).
pub const FETCH_VERSIONS: VersionRange = VersionRange { min: 17, max: 18 };

/// The values that it goes by.
#[derive(Clone, Copy, Debug)]
pub struct FetcherConfig {
    /// `node.id`.
    pub node: BrokerId,
    /// `replica.fetch.wait.max.ms`.
    pub wait_max: Duration,
    /// `replica.fetch.min.bytes`.
    pub bytes_min: u32,
    /// `replica.fetch.response.max.bytes`.
    pub bytes_max: u32,
    /// `replica.fetch.max.bytes`: of one partition.
    pub partition_bytes_max: u32,
    /// `replica.fetch.backoff.ms`.
    pub backoff: Duration,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The broker leads this partition, and this replica follows. Again for each new term.
    Follow {
        /// The partition.
        partition: TopicIdPartition,
        /// The name of its topic.
        topic: Arc<str>,
        /// The leader's term.
        leader_epoch: LeaderEpoch,
    },
    /// It leads it no longer, or this replica is gone.
    Unfollow {
        /// The partition.
        partition: TopicIdPartition,
    },
    /// [`Effect::Fetch`] was answered; `None`: it was not.
    FetchAnswered(Option<FetchResponse>),
    /// [`Effect::ListOffsets`] was answered; `None`: it was not.
    OffsetsAnswered(Option<ListOffsetsResponse>),
    /// [`Effect::Locate`], [`Effect::Append`] or [`Effect::Truncate`] is done: all is written, or it was refused.
    Done {
        /// The partition.
        partition: TopicIdPartition,
        /// The term of the effect.
        leader_epoch: LeaderEpoch,
        /// Whether the log took it.
        result: Result<(), ErrorCode>,
        /// Where the log stands now; an error where this replica does not follow, or its disk failed.
        state: Result<FetchState, ErrorCode>,
    },
    /// The time named by [`Fetcher::deadline`] has come.
    Tick,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Ask the broker in one of [`FETCH_VERSIONS`], with this broker's epoch; [`Event::FetchAnswered`] follows.
    Fetch(FetchRequest),
    /// Ask the broker; [`Event::OffsetsAnswered`] follows.
    ListOffsets(ListOffsetsRequest),
    /// Find out where a log stands, once all of it is written; [`Event::Done`] follows.
    Locate {
        /// This one.
        partition: TopicIdPartition,
        /// The leader's term.
        leader_epoch: LeaderEpoch,
    },
    /// Append a leader's records, and take over its marks; [`Event::Done`] follows.
    Append {
        /// To this log.
        partition: TopicIdPartition,
        /// The leader's term: in another one the answer is void.
        leader_epoch: LeaderEpoch,
        /// Where they were asked for: the end of the log.
        fetch_offset: Offset,
        /// Whole batches; may be empty.
        records: Records,
        /// The leader's high watermark.
        high_watermark: Offset,
        /// The leader's log start.
        log_start_offset: Option<Offset>,
    },
    /// Cut a log; [`Event::Done`] follows.
    Truncate {
        /// This one.
        partition: TopicIdPartition,
        /// The leader's term: in another one the answer is void.
        leader_epoch: LeaderEpoch,
        /// To here.
        to: TruncateTo,
    },
}

/// Where a partition stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It is asked for.
    Fetching,
    /// Its log is being written, cut, or looked at.
    Busy,
    /// It has nothing that its leader has: the leader's log end is asked for.
    AskingEnd,
    /// The same; the end is not before ours: the leader's log start is asked for.
    AskingStart,
    /// Something was wrong: it is asked for again at this time.
    Delayed(Monotonic),
    /// The leader, or this replica, is in a later term: metadata will say.
    Fenced,
}

#[derive(Clone, Debug)]
struct Followed {
    topic: Arc<str>,
    leader_epoch: LeaderEpoch,
    offset: Offset,
    last_fetched_epoch: Option<LeaderEpoch>,
    log_start_offset: Offset,
    state: State,
    /// How many requests had been built when it last changed: an answer counts only to a later one.
    since: u64,
}

/// The request in flight.
#[derive(Clone, Debug)]
enum InFlight {
    Fetch { is_full: bool },
    Offsets(Vec<(TopicIdPartition, OffsetSpec)>),
}

/// The machine.
///
/// Invariants: see [`Fetcher::check`].
#[derive(Clone, Debug)]
pub struct Fetcher {
    config: FetcherConfig,
    partitions: BTreeMap<TopicIdPartition, Followed>,
    session: ClientSession,
    in_flight: Option<InFlight>,
    /// How many requests were built.
    requests: u64,
    /// Effects on logs that are not done.
    local: usize,
    /// The broker does not answer: it is not asked before.
    not_before: Monotonic,
    delayed: BTreeSet<(Monotonic, TopicIdPartition)>,
    asking: BTreeSet<TopicIdPartition>,
}

impl Fetcher {
    /// Follows nothing yet.
    #[must_use]
    pub const fn new(config: FetcherConfig) -> Self {
        Self {
            config,
            partitions: BTreeMap::new(),
            session: ClientSession::new(),
            in_flight: None,
            requests: 0,
            local: 0,
            not_before: Monotonic::ZERO,
            delayed: BTreeSet::new(),
            asking: BTreeSet::new(),
        }
    }

    /// Takes an event; pushes what is to be done.
    pub fn handle(&mut self, now: Now, event: Event, out: &mut Vec<Effect>) {
        let now = now.monotonic;
        match event {
            Event::Follow { partition, topic, leader_epoch } => {
                self.on_follow(partition, topic, leader_epoch, out);
            }
            Event::Unfollow { partition } => self.forget(partition),
            Event::FetchAnswered(answer) => self.on_fetch(now, answer, out),
            Event::OffsetsAnswered(answer) => self.on_offsets(now, answer, out),
            Event::Done { partition, leader_epoch, result, state } => {
                self.on_done(now, partition, leader_epoch, result, state);
            }
            Event::Tick => {}
        }
        self.ask(now, out);
        if crate::types::CHECKS_ITSELF {
            self.check();
        }
    }

    /// When [`Event::Tick`] is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Monotonic> {
        if self.in_flight.is_some() || self.local > 0 {
            return None;
        }
        let is_wanting = !self.session.is_empty() || !self.asking.is_empty();
        if is_wanting {
            return Some(self.not_before);
        }
        self.delayed.first().map(|(until, _)| (*until).max(self.not_before))
    }

    /// How many partitions are followed.
    #[must_use]
    pub fn partition_count(&self) -> usize {
        self.partitions.len()
    }

    /// Asserts the invariants.
    pub fn check(&self) {
        for (partition, followed) in &self.partitions {
            let is_in_session = self.session.wanted(*partition).is_some();
            let may_be = matches!(followed.state, State::Fetching | State::Busy);
            assert!(is_in_session || followed.state != State::Fetching, "it is asked for");
            assert!(may_be || !is_in_session, "the session has only what is fetched");
            let is_asking = matches!(followed.state, State::AskingEnd | State::AskingStart);
            assert_eq!(self.asking.contains(partition), is_asking, "who asks is known");
            if let State::Delayed(until) = followed.state {
                assert!(self.delayed.contains(&(until, *partition)), "a delay ends");
            }
        }
    }

    // ---- what is followed ----

    fn on_follow(
        &mut self,
        partition: TopicIdPartition,
        topic: Arc<str>,
        leader_epoch: LeaderEpoch,
        out: &mut Vec<Effect>,
    ) {
        if self.partitions.get(&partition).is_some_and(|one| one.leader_epoch == leader_epoch) {
            return;
        }
        self.forget(partition);
        let followed = Followed {
            topic,
            leader_epoch,
            offset: Offset::ZERO,
            last_fetched_epoch: None,
            log_start_offset: Offset::ZERO,
            state: State::Busy,
            since: self.requests,
        };
        self.partitions.insert(partition, followed);
        self.locate(partition, out);
    }

    fn locate(&mut self, partition: TopicIdPartition, out: &mut Vec<Effect>) {
        let leader_epoch = self.partitions[&partition].leader_epoch;
        self.enter(partition, State::Busy);
        self.local += 1;
        out.push(Effect::Locate { partition, leader_epoch });
    }

    fn forget(&mut self, partition: TopicIdPartition) {
        self.leave(partition);
        self.partitions.remove(&partition);
    }

    /// Takes a partition out of wherever its state put it.
    fn leave(&mut self, partition: TopicIdPartition) {
        let Some(followed) = self.partitions.get(&partition) else { return };
        match followed.state {
            State::Fetching | State::Busy => self.session.remove(partition),
            State::AskingEnd | State::AskingStart => {
                self.asking.remove(&partition);
            }
            State::Delayed(until) => {
                self.delayed.remove(&(until, partition));
            }
            State::Fenced => {}
        }
    }

    /// Brings a partition to another state.
    fn enter(&mut self, partition: TopicIdPartition, state: State) {
        let keeps_its_place = matches!(state, State::Fetching | State::Busy)
            && matches!(self.partitions[&partition].state, State::Fetching | State::Busy);
        if !keeps_its_place {
            self.leave(partition);
        }
        let followed = self.partitions.get_mut(&partition).expect("it is followed");
        followed.state = state;
        followed.since = self.requests;
        match state {
            State::Fetching => {
                let fetch = PartitionFetch {
                    fetch_offset: Some(followed.offset),
                    log_start_offset: Some(followed.log_start_offset),
                    bytes_max: wire(self.config.partition_bytes_max),
                    current_leader_epoch: Some(followed.leader_epoch),
                    last_fetched_epoch: followed.last_fetched_epoch,
                };
                self.session.set(partition, fetch);
            }
            State::AskingEnd | State::AskingStart => {
                self.asking.insert(partition);
            }
            State::Delayed(until) => {
                self.delayed.insert((until, partition));
            }
            State::Busy | State::Fenced => {}
        }
    }

    fn delay(&mut self, now: Monotonic, partition: TopicIdPartition) {
        self.enter(partition, State::Delayed(now + self.config.backoff));
    }

    // ---- asking ----

    fn ask(&mut self, now: Monotonic, out: &mut Vec<Effect>) {
        if self.in_flight.is_some() || self.local > 0 {
            return;
        }
        while let Some((until, partition)) = self.delayed.first().copied()
            && until <= now
        {
            self.locate(partition, out);
        }
        if self.local > 0 || now < self.not_before {
            return;
        }
        if !self.asking.is_empty() {
            self.list_offsets(out);
        } else if !self.session.is_empty() {
            self.fetch(out);
        }
    }

    fn fetch(&mut self, out: &mut Vec<Effect>) {
        let request = self.session.request();
        let (session_id, session_epoch) = request.session.to_wire();
        let mut topics: Vec<FetchTopic> = Vec::new();
        for (id, fetch) in request.partitions {
            let asked = fetch.to_wire(id.partition);
            match topics.last_mut().filter(|topic| topic.topic_id == id.topic_id) {
                Some(topic) => topic.partitions.push(asked),
                None => topics.push(FetchTopic {
                    topic_id: id.topic_id,
                    partitions: vec![asked],
                    ..FetchTopic::default()
                }),
            }
        }
        let mut forgotten: Vec<ForgottenTopic> = Vec::new();
        for id in request.forgotten {
            match forgotten.last_mut().filter(|topic| topic.topic_id == id.topic_id) {
                Some(topic) => topic.partitions.push(id.partition),
                None => forgotten.push(ForgottenTopic {
                    topic_id: id.topic_id,
                    partitions: vec![id.partition],
                    ..ForgottenTopic::default()
                }),
            }
        }
        self.requests += 1;
        let is_full = !matches!(request.session, SessionUse::Continue { .. });
        self.in_flight = Some(InFlight::Fetch { is_full });
        out.push(Effect::Fetch(FetchRequest {
            replica_state: ReplicaState { replica_id: Some(self.config.node), replica_epoch: None },
            max_wait_ms: i32::try_from(self.config.wait_max.as_millis()).unwrap_or(i32::MAX),
            min_bytes: wire(self.config.bytes_min),
            max_bytes: wire(self.config.bytes_max),
            session_id,
            session_epoch,
            topics,
            forgotten_topics_data: forgotten,
            ..FetchRequest::default()
        }));
    }

    fn list_offsets(&mut self, out: &mut Vec<Effect>) {
        let mut topics: Vec<ListOffsetsTopic> = Vec::new();
        let mut asked = Vec::new();
        for partition in &self.asking {
            let followed = &self.partitions[partition];
            let timestamp = if followed.state == State::AskingEnd {
                OffsetSpec::Latest
            } else {
                OffsetSpec::Earliest
            };
            let question = ListOffsetsPartition {
                partition_index: partition.partition,
                current_leader_epoch: Some(followed.leader_epoch),
                timestamp,
            };
            match topics.last_mut().filter(|topic| *topic.name == *followed.topic) {
                Some(topic) => topic.partitions.push(question),
                None => topics.push(ListOffsetsTopic {
                    name: followed.topic.to_string(),
                    partitions: vec![question],
                }),
            }
            asked.push((*partition, timestamp));
        }
        self.requests += 1;
        self.in_flight = Some(InFlight::Offsets(asked));
        let replica_id = Some(self.config.node);
        let request = ListOffsetsRequest { replica_id, topics, ..ListOffsetsRequest::default() };
        out.push(Effect::ListOffsets(request));
    }

    // ---- answers ----

    fn on_fetch(&mut self, now: Monotonic, answer: Option<FetchResponse>, out: &mut Vec<Effect>) {
        let Some(InFlight::Fetch { is_full }) = self.in_flight.take() else {
            unreachable!("a fetch is answered once");
        };
        let Some(response) = answer else {
            self.session.on_lost();
            self.not_before = now + self.config.backoff;
            return;
        };
        let told = response.responses.iter().flat_map(|topic| {
            let id = |one: &PartitionData| TopicIdPartition {
                topic_id: topic.topic_id,
                partition: one.partition_index,
            };
            topic.partitions.iter().map(id)
        });
        match self.session.on_answer(response.error_code, response.session_id, told) {
            Ok(()) => {}
            // The leader restarted, or lost count of the session: a full request is asked at once.
            Err(AnswerFault::Refused(
                ErrorCode::FetchSessionIdNotFound | ErrorCode::InvalidFetchSessionEpoch,
            )) if !is_full => {
                crate::mark!("a follower's fetch session is begun anew");
                return;
            }
            Err(AnswerFault::Refused(_) | AnswerFault::Malformed) => {
                self.not_before = now + self.config.backoff;
                return;
            }
        }
        for topic in response.responses {
            for data in topic.partitions {
                let (topic_id, partition) = (topic.topic_id, data.partition_index);
                self.on_fetched(now, TopicIdPartition { topic_id, partition }, data, out);
            }
        }
    }

    /// Whether an answer to the last request speaks of `partition` as it is now.
    fn is_answered(&self, partition: TopicIdPartition, states: &[State]) -> bool {
        let followed = self.partitions.get(&partition);
        followed.is_some_and(|one| one.since < self.requests && states.contains(&one.state))
    }

    fn on_fetched(
        &mut self,
        now: Monotonic,
        partition: TopicIdPartition,
        data: PartitionData,
        out: &mut Vec<Effect>,
    ) {
        if !self.is_answered(partition, &[State::Fetching]) {
            crate::mark!("a follower's partition changed while it was fetched");
            return;
        }
        #[expect(clippy::wildcard_enum_match_arm, reason = "all other errors are waited out")]
        match data.error_code {
            ErrorCode::None => {}
            ErrorCode::OffsetOutOfRange => {
                crate::mark!("a follower is out of its leader's range");
                return self.enter(partition, State::AskingEnd);
            }
            ErrorCode::FencedLeaderEpoch => return self.enter(partition, State::Fenced),
            _ => return self.delay(now, partition),
        }
        if let Some(epoch) = data.diverging_epoch.epoch {
            // Its marks wait for the next answer: they may speak of records that go now.
            let Some(end_offset) = data.diverging_epoch.end_offset else {
                return self.delay(now, partition);
            };
            crate::mark!("a follower's log parts from its leader's");
            let to = TruncateTo::EpochEnd(EpochEndOffset { epoch, end_offset });
            return self.truncate(partition, to, out);
        }
        let Some(high_watermark) = data.high_watermark else { return self.delay(now, partition) };
        self.enter(partition, State::Busy);
        self.local += 1;
        let followed = &self.partitions[&partition];
        out.push(Effect::Append {
            partition,
            leader_epoch: followed.leader_epoch,
            fetch_offset: followed.offset,
            records: data.records.unwrap_or_default(),
            high_watermark,
            log_start_offset: data.log_start_offset,
        });
    }

    fn truncate(&mut self, partition: TopicIdPartition, to: TruncateTo, out: &mut Vec<Effect>) {
        let leader_epoch = self.partitions[&partition].leader_epoch;
        self.enter(partition, State::Busy);
        self.local += 1;
        out.push(Effect::Truncate { partition, leader_epoch, to });
    }

    fn on_offsets(
        &mut self,
        now: Monotonic,
        answer: Option<ListOffsetsResponse>,
        out: &mut Vec<Effect>,
    ) {
        let Some(InFlight::Offsets(asked)) = self.in_flight.take() else {
            unreachable!("a question is answered once");
        };
        let Some(response) = answer else {
            self.not_before = now + self.config.backoff;
            return;
        };
        for (partition, spec) in asked {
            if !self.is_answered(partition, &[State::AskingEnd, State::AskingStart]) {
                continue;
            }
            let topic = &self.partitions[&partition].topic;
            let topic = response.topics.iter().find(|answer| *answer.name == **topic);
            let found = topic.and_then(|topic| {
                topic.partitions.iter().find(|one| one.partition_index == partition.partition)
            });
            match found {
                Some(ListOffsetsPartitionResponse {
                    error_code: ErrorCode::None,
                    offset: Some(offset),
                    ..
                }) => self.on_boundary(partition, spec, *offset, out),
                Some(ListOffsetsPartitionResponse {
                    error_code: ErrorCode::FencedLeaderEpoch,
                    ..
                }) => self.enter(partition, State::Fenced),
                Some(_) | None => self.delay(now, partition),
            }
        }
    }

    /// The leader's log ends, or begins, at `offset`.
    ///
    /// Where the offset is in range it was the epoch that the leader did not know. No log has batches of a term that is still to come, for a
    /// broker follows nobody before its metadata has caught up: bits of that number have rotted, which no checksum covers (swarm-disk,
    /// seed 164). What is from there on is fetched anew. Kafka asks the same again for ever.
    ///
    /// Kafka: `AbstractFetcherThread.fetchOffsetAndTruncate`.
    fn on_boundary(
        &mut self,
        partition: TopicIdPartition,
        spec: OffsetSpec,
        offset: Offset,
        out: &mut Vec<Effect>,
    ) {
        let own_end = self.partitions[&partition].offset;
        if spec == OffsetSpec::Latest {
            if offset < own_end {
                crate::mark!("a follower has more than its leader, and cuts it off");
                return self.truncate(partition, TruncateTo::Offset(offset), out);
            }
            return self.enter(partition, State::AskingStart);
        }
        if offset > own_end {
            crate::mark!("a follower has nothing of what its leader has, and starts fully anew");
            return self.truncate(partition, TruncateTo::FullyAndStartAt(offset), out);
        }
        let followed = &self.partitions[&partition];
        if followed.last_fetched_epoch > Some(followed.leader_epoch) {
            crate::mark!("a follower's log tells of a term that was not yet");
            let (epoch, end_offset) = (followed.leader_epoch, own_end);
            let to = TruncateTo::EpochEnd(EpochEndOffset { epoch, end_offset });
            return self.truncate(partition, to, out);
        }
        // In range meanwhile: the leader's log grew.
        self.enter(partition, State::Fetching);
    }

    fn on_done(
        &mut self,
        now: Monotonic,
        partition: TopicIdPartition,
        leader_epoch: LeaderEpoch,
        result: Result<(), ErrorCode>,
        state: Result<FetchState, ErrorCode>,
    ) {
        assert!(self.local > 0, "each effect on a log is done once");
        self.local -= 1;
        // What was done in an older term is void: the log is looked at again in the new one.
        let Some(followed) =
            self.partitions.get_mut(&partition).filter(|one| one.leader_epoch == leader_epoch)
        else {
            return;
        };
        let Some(state) = state.ok().filter(|state| state.leader_epoch == leader_epoch) else {
            crate::mark!("a replica is in a later term than its fetcher");
            return self.enter(partition, State::Fenced);
        };
        followed.offset = state.offset;
        followed.last_fetched_epoch = state.last_fetched_epoch;
        followed.log_start_offset = state.log_start_offset;
        match result {
            Ok(()) => self.enter(partition, State::Fetching),
            Err(_) => self.delay(now, partition),
        }
    }
}

fn wire(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

#[cfg(test)]
#[path = "fetcher_tests.rs"]
mod tests;
