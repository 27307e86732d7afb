//! The consumer as a machine: positions of the assigned partitions, what to fetch from whom, what has arrived (pure).
//!
//! A partition's position, as far as it is known:
//!
//! ```text
//!   assign, seek_to_*, out of range               answered
//! ──────────────────────────────────▶ Reset ────────────────▶ At ◀── seek
//!                                       ▲                     │ ▲
//!                                       │     new leader      ▼ │ it has what was read
//!                                       └──────────────── (checked)
//!                                          it never heard of that epoch
//! ```
//!
//! Where another leader, or a newer epoch, is known than the one under which the position was found good, the leader is
//! asked first where the epoch of the last record that was read ends (KIP-320). If that is below the position, the log was
//! cut after it was read: the position goes back to there, or, with `auto.offset.reset=none`, the owner is told.
//!
//! One fetch per broker is under way, and none while something of the broker's is still to be handed out: a fetch that left that
//! partition out would wait `fetch.max.wait.ms` for the others, and nobody could ask for more of it meanwhile (KAFKA-17182). A
//! leader may name a replica in the consumer's rack that is to be read instead (KIP-392); the first trouble there leads back to
//! the leader.
//!
//! Fetch requests are full ones (session id 0, epoch −1). Kafka: `FetchCollector`, `AbstractFetch`, `OffsetFetcher`,
//! `SubscriptionState`.

mod answers;
mod lookups;
mod requests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use rand::rngs::StdRng;

pub(super) use self::lookups::Found;
use self::lookups::Lookup;
use super::completed_fetch::CompletedFetch;
use super::offsets::{OffsetAndMetadata, Offsets};
use super::{ConsumerConfig, ConsumerRecord, OffsetReset};
use crate::client::cluster_view::{ClusterView, MetadataQuery, Target};
use crate::client::error::ClientError;
use crate::protocol::messages::{
    FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse, MetadataResponse,
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
};
use crate::protocol::{OffsetSpec, VersionRange};
use crate::rpc::Backoff;
use crate::rpc::network_client::RpcError;
use crate::types::{
    BrokerId, GroupProtocol, LeaderEpoch, Monotonic, Now, Offset, TopicId, TopicPartition, Uuid,
};

/// A request's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RequestToken(u64);

/// What happens to a consumer, beside its owner's calls.
#[derive(Debug)]
pub(super) enum Event {
    /// [`Effect::Metadata`] ended.
    MetadataAnswered(Result<MetadataResponse, RpcError>),
    /// [`Effect::ListOffsets`] ended.
    OffsetsAnswered(RequestToken, Result<ListOffsetsResponse, RpcError>),
    /// [`Effect::EpochEnds`] ended.
    EpochEndsAnswered(RequestToken, Result<OffsetForLeaderEpochResponse, RpcError>),
    /// [`Effect::Fetch`] ended.
    FetchAnswered(RequestToken, Result<FetchResponse, RpcError>),
    /// The owner called, or the deadline came.
    Tick,
}

/// What is to be done.
#[derive(Debug)]
pub(super) enum Effect {
    /// Ask for metadata.
    Metadata(MetadataQuery),
    /// Ask a leader for the ends of logs.
    ListOffsets { target: Target, token: RequestToken, request: ListOffsetsRequest },
    /// Ask a leader where epochs end.
    EpochEnds { target: Target, token: RequestToken, request: OffsetForLeaderEpochRequest },
    /// Ask a leader, or the replica it named, for records.
    Fetch { target: Target, token: RequestToken, request: FetchRequest, versions: VersionRange },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    /// The group's coordinator will say where it is ([`Fetcher::start_at`]).
    Unset,
    /// To be asked for.
    Reset(OffsetSpec),
    /// Its leader has no such offset. To be asked for, unless another one leads by now: logs of replicas do not begin at the same offset
    /// at all times, so that one may have it, and who went to where its log begins would read again what it has read (swarm-disk, seed 522).
    ///
    /// Kafka: resets (`FetchCollector.handleInitializeErrors`).
    Refused { at: FetchPosition, by: Leader, then: OffsetSpec },
    /// The next record to hand out.
    At(FetchPosition),
    /// There is none, and `auto.offset.reset=none`: the owner must seek.
    Lost(Loss),
}

/// The next record to hand out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FetchPosition {
    /// Its offset.
    offset: Offset,
    /// The leader epoch of the record before it, where that was read.
    epoch: Option<LeaderEpoch>,
}

/// Why there is no position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    /// The log has no such offset; `None` where there was no position to begin with.
    OutOfRange(Option<Offset>),
    /// The log was cut below what was read.
    Truncated { position: Offset, diverging: Option<Offset> },
}

/// Who leads a partition, and in which term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Leader {
    id: BrokerId,
    epoch: Option<LeaderEpoch>,
}

/// A replica that is read instead of the leader, until a time (Kafka: `metadata.max.age.ms` after it was named).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ReadReplica {
    id: BrokerId,
    until: Monotonic,
}

#[derive(Debug)]
struct PartitionState {
    position: Position,
    /// The leader under which the position was found good.
    checked: Option<Leader>,
    read_replica: Option<ReadReplica>,
    is_paused: bool,
    /// The request under way that asks about it; answers to others are dropped.
    asked: Option<RequestToken>,
    /// The epoch that was known when it was asked about last.
    asked_under: Option<LeaderEpoch>,
    not_before: Monotonic,
    failures: u32,
}

/// A request in flight and what it was about.
#[derive(Debug)]
struct InFlight {
    node: BrokerId,
    partitions: Vec<Asked>,
}

#[derive(Clone, Debug)]
struct Asked {
    partition: TopicPartition,
    topic_id: Uuid,
    /// Who led then.
    leader: Leader,
    /// The position fetched at or asked about; of no meaning for ListOffsets.
    position: FetchPosition,
}

/// What is to be asked about a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    /// The offset of an end of the log.
    Offset(OffsetSpec),
    /// Where the position's epoch ends.
    EpochEnd(FetchPosition),
    /// Records.
    Records(FetchPosition),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Fetcher {
    config: ConsumerConfig,
    backoff: Backoff,
    rng: StdRng,
    view: ClusterView,
    partitions: BTreeMap<TopicPartition, PartitionState>,
    buffer: VecDeque<CompletedFetch>,
    errors: VecDeque<ClientError>,
    in_flight: BTreeMap<RequestToken, InFlight>,
    next_token: u64,
    looked_at: Monotonic,
    /// Whether the group assigns.
    is_subscribed: bool,
    /// Topics that the group wants to be known beside those that are assigned.
    watched: BTreeSet<Arc<str>>,
    /// What the owner asks for at the moment.
    lookup: Option<Lookup>,
    /// Requests of the owner's questions, also of those that it gave up, and who was asked.
    lookups: BTreeMap<RequestToken, BrokerId>,
}

impl Fetcher {
    pub(super) fn new(config: ConsumerConfig, mut rng: impl FnMut(&str) -> StdRng) -> Self {
        Self {
            backoff: config.common.retry_backoff(),
            view: ClusterView::new(&config.common, config.allow_auto_create, rng("metadata")),
            rng: rng("retry"),
            partitions: BTreeMap::new(),
            buffer: VecDeque::new(),
            errors: VecDeque::new(),
            in_flight: BTreeMap::new(),
            next_token: 0,
            looked_at: Monotonic::ZERO,
            is_subscribed: false,
            watched: BTreeSet::new(),
            lookup: None,
            lookups: BTreeMap::new(),
            config,
        }
    }

    // ---- the owner's calls ----

    pub(super) fn assign(&mut self, assigned: Vec<TopicPartition>) {
        let mut old = std::mem::take(&mut self.partitions);
        for partition in assigned {
            let state = old.remove(&partition).unwrap_or_else(|| self.new_state());
            self.partitions.insert(partition, state);
        }
        let partitions = &self.partitions;
        self.buffer.retain(|fetch| partitions.contains_key(&fetch.partition));
        self.want_topics();
    }

    fn want_topics(&mut self) {
        let assigned = self.partitions.keys().map(|partition| &partition.topic);
        let asked_for = self.lookup.iter().flat_map(Lookup::topics);
        self.view.want_only(assigned.chain(&self.watched).chain(asked_for));
    }

    fn new_state(&self) -> PartitionState {
        let has_group = self.config.group_id.is_some();
        let by_policy = self.reset_or(Loss::OutOfRange(None));
        PartitionState {
            position: if has_group { Position::Unset } else { by_policy },
            checked: None,
            read_replica: None,
            is_paused: false,
            asked: None,
            asked_under: None,
            not_before: Monotonic::ZERO,
            failures: 0,
        }
    }

    /// What `auto.offset.reset` makes of a position that is none.
    fn reset_or(&self, loss: Loss) -> Position {
        match self.config.offset_reset {
            OffsetReset::Earliest => Position::Reset(OffsetSpec::Earliest),
            OffsetReset::Latest => Position::Reset(OffsetSpec::Latest),
            OffsetReset::None => Position::Lost(loss),
        }
    }

    pub(super) fn assignment(&self) -> Vec<TopicPartition> {
        self.partitions.keys().cloned().collect()
    }

    // ---- the group's ----

    pub(super) fn is_subscribed(&self) -> bool {
        self.is_subscribed
    }

    pub(super) fn group_protocol(&self) -> GroupProtocol {
        self.config.group_protocol
    }

    pub(super) fn set_subscribed(&mut self, is_subscribed: bool) {
        self.is_subscribed = is_subscribed;
    }

    /// These are read no more.
    pub(super) fn unassign(&mut self, partitions: &[TopicPartition]) {
        let gone: BTreeSet<&TopicPartition> = partitions.iter().collect();
        let mut rest = self.assignment();
        rest.retain(|partition| !gone.contains(partition));
        self.assign(rest);
    }

    /// The group is here: partitions that wait for that begin there, and by `auto.offset.reset` where nothing is committed.
    pub(super) fn start_at(&mut self, committed: &Offsets, partitions: &BTreeSet<TopicPartition>) {
        let by_policy = self.reset_or(Loss::OutOfRange(None));
        for partition in partitions {
            let Some(state) = self.partitions.get_mut(partition) else { continue };
            if state.position != Position::Unset {
                // Its owner sought another place meanwhile.
                continue;
            }
            state.position = committed.get(partition).map_or(by_policy, |known| {
                Position::At(FetchPosition { offset: known.offset, epoch: known.leader_epoch })
            });
        }
    }

    /// How far all was handed out.
    pub(super) fn consumed(&self) -> Offsets {
        let known = self.partitions.iter().filter_map(|(partition, state)| {
            let Position::At(FetchPosition { offset, epoch }) = state.position else { return None };
            let metadata = String::new();
            let consumed = OffsetAndMetadata { offset, leader_epoch: epoch, metadata };
            Some((partition.clone(), consumed))
        });
        known.collect()
    }

    /// Keeps these topics known too.
    pub(super) fn watch(&mut self, topics: BTreeSet<Arc<str>>) {
        self.watched = topics;
        self.want_topics();
    }

    /// How many partitions the watched topics have; `None` for those that do not exist. What is not known is absent.
    pub(super) fn known_topics(&self) -> BTreeMap<Arc<str>, Option<u32>> {
        let known = |topic: &Arc<str>| match self.view.topic(topic) {
            Some(known) => u32::try_from(known.partitions.len()).ok().map(Some),
            None => self.view.topic_error(topic).map(|_| None),
        };
        let watched = self.watched.iter();
        watched.filter_map(|topic| Some((Arc::clone(topic), known(topic)?))).collect()
    }

    /// Finds out what these topics are called.
    pub(super) fn watch_ids(&mut self, ids: &BTreeSet<TopicId>) {
        self.view.want_names_of(ids);
    }

    /// What topics are called, as far as it is known: those that are kept known, and those of [`Fetcher::watch_ids`].
    pub(super) fn known_names(&self) -> BTreeMap<TopicId, Arc<str>> {
        self.view.names()
    }

    /// Keeps the names of all topics known, or no longer.
    pub(super) fn want_all_topics(&mut self, are_wanted: bool) {
        self.view.want_all(are_wanted);
    }

    /// The names of all topics but internal ones, where they are wanted and known.
    pub(super) fn all_topics(&self) -> Option<&BTreeSet<Arc<str>>> {
        self.view.all()
    }

    /// Whom to ask about what every broker knows, the best first.
    pub(super) fn nodes(&self) -> Vec<Target> {
        self.view.everybody()
    }

    pub(super) fn seek(
        &mut self,
        partition: &TopicPartition,
        offset: Offset,
    ) -> Result<(), ClientError> {
        self.move_to(partition, Position::At(FetchPosition { offset, epoch: None }))
    }

    /// All assigned partitions where `partitions` is empty.
    pub(super) fn seek_to(
        &mut self,
        partitions: &[TopicPartition],
        end: OffsetSpec,
    ) -> Result<(), ClientError> {
        let all = if partitions.is_empty() { self.assignment() } else { partitions.to_vec() };
        all.iter().try_for_each(|partition| self.move_to(partition, Position::Reset(end)))
    }

    fn move_to(
        &mut self,
        partition: &TopicPartition,
        position: Position,
    ) -> Result<(), ClientError> {
        let state = self.state(partition)?;
        state.position = position;
        state.asked = None;
        state.read_replica = None;
        state.not_before = Monotonic::ZERO;
        state.failures = 0;
        self.buffer.retain(|fetch| fetch.partition != *partition);
        Ok(())
    }

    pub(super) fn set_paused(
        &mut self,
        partitions: &[TopicPartition],
        is_paused: bool,
    ) -> Result<(), ClientError> {
        for partition in partitions {
            self.state(partition)?.is_paused = is_paused;
        }
        Ok(())
    }

    /// Where the owner stands; `None` while it must be asked for.
    pub(super) fn position(
        &mut self,
        partition: &TopicPartition,
    ) -> Result<Option<Offset>, ClientError> {
        match self.state(partition)?.position {
            Position::At(position) => Ok(Some(position.offset)),
            Position::Reset(_) | Position::Refused { .. } | Position::Unset => Ok(None),
            Position::Lost(loss) => Err(lost(partition, loss)),
        }
    }

    /// What went wrong last, of that which is asked for.
    pub(super) fn last_failure(&self) -> Option<String> {
        let of_lookup = self.lookup.as_ref().and_then(Lookup::last_error);
        let looked_up = self.lookup.iter().flat_map(Lookup::topics);
        let assigned = self.partitions.keys().map(|partition| &partition.topic);
        let of_topics = || looked_up.chain(assigned).find_map(|topic| self.view.topic_error(topic));
        let error = of_lookup.or_else(of_topics).map(|error| error.to_string());
        error.or(self.view.last_failure().map(str::to_owned))
    }

    fn state(&mut self, partition: &TopicPartition) -> Result<&mut PartitionState, ClientError> {
        self.partitions
            .get_mut(partition)
            .ok_or_else(|| ClientError::NotAssigned(partition.clone()))
    }

    /// What is buffered, at most `max.poll.records`, in the order in which it arrived.
    ///
    /// Errors: what was found wrong meanwhile, or is wrong with the first batch; records before it come first.
    pub(super) fn take_records(&mut self) -> Result<Vec<ConsumerRecord>, ClientError> {
        let max = self.config.poll_records_max;
        let mut records = Vec::new();
        let mut index = 0;
        while records.len() < max && index < self.buffer.len() {
            let fetch = &mut self.buffer[index];
            let state = self.partitions.get_mut(&fetch.partition);
            let state = state.expect("what is not assigned is not buffered");
            if state.is_paused {
                index += 1;
                continue;
            }
            let next = fetch.next();
            let (offset, epoch) = (fetch.position, fetch.last_epoch);
            state.position = Position::At(FetchPosition { offset, epoch });
            match next {
                Ok(Some(record)) => records.push(record),
                Ok(None) => {
                    self.buffer.remove(index);
                }
                Err(_) if !records.is_empty() => {
                    // The same error is met again by the next poll: the fetch begins anew at the position.
                    self.buffer.remove(index);
                    break;
                }
                Err(fault) => {
                    let partition = fetch.partition.clone();
                    let (offset, reason) = (fetch.position, fault.to_string());
                    self.buffer.remove(index);
                    let error = None;
                    return Err(ClientError::CorruptBatch { partition, offset, reason, error });
                }
            }
        }
        if !records.is_empty() {
            return Ok(records);
        }
        if let Some(error) = self.errors.pop_front() {
            return Err(error);
        }
        let loss = self.partitions.iter().find_map(|(partition, state)| match state.position {
            Position::Lost(loss) => Some(lost(partition, loss)),
            Position::At(_) | Position::Reset(_) | Position::Refused { .. } | Position::Unset => {
                None
            }
        });
        if let Some(error) = loss {
            return Err(error);
        }
        self.check_topics().map(|()| records)
    }

    /// Errors: what was last answered for a topic, where asking again will not help.
    fn check_topics(&self) -> Result<(), ClientError> {
        self.partitions.keys().try_for_each(|partition| {
            match self.view.topic_error(&partition.topic) {
                Some(error) if !error.is_retriable() => {
                    let message = Some(format!("topic {}", partition.topic));
                    Err(ClientError::Answer { error, message })
                }
                Some(_) | None => Ok(()),
            }
        })
    }

    // ---- events ----

    /// Takes an event in; what is to be done goes to the end of `out`, to be done in order.
    pub(super) fn handle(&mut self, now: Now, event: Event, out: &mut Vec<Effect>) {
        match event {
            Event::MetadataAnswered(Ok(response)) => {
                self.view.on_response(now, response);
                self.follow_leaders();
            }
            Event::MetadataAnswered(Err(error)) => self.view.on_failure(now, error.to_string()),
            Event::OffsetsAnswered(token, answer) => {
                if !self.on_lookup(now, token, &answer) {
                    self.on_offsets(now, token, answer);
                }
            }
            Event::EpochEndsAnswered(token, answer) => self.on_epoch_ends(now, token, answer),
            Event::FetchAnswered(token, answer) => self.on_fetch(now, token, answer),
            Event::Tick => {}
        }
        self.looked_at = now.monotonic;
        self.ask(now, out);
        self.ask_lookup(now, out);
        if let Some(query) = self.view.poll(now) {
            out.push(Effect::Metadata(query));
        }
    }

    /// When [`Event::Tick`] is due at the latest.
    pub(super) fn deadline(&self) -> Option<Monotonic> {
        let partitions = self.partitions.values().map(|state| state.not_before);
        let lookup = self.lookup.as_ref().map(Lookup::deadline);
        partitions.chain(lookup).chain(self.view.deadline()).filter(|at| *at > self.looked_at).min()
    }

    /// What waits for its back-off is asked about at once where a newer leader is known.
    fn follow_leaders(&mut self) {
        for (partition, state) in &mut self.partitions {
            if let Some(known) = self.view.partition(partition)
                && known.leader.is_some()
                && state.asked_under.is_some()
                && known.leader_epoch > state.asked_under
            {
                state.not_before = Monotonic::ZERO;
            }
        }
    }

    /// Asks those who are not asked already.
    fn ask(&mut self, now: Now, out: &mut Vec<Effect>) {
        let mut offsets: BTreeMap<BrokerId, Vec<(Asked, OffsetSpec)>> = BTreeMap::new();
        let mut epoch_ends: BTreeMap<BrokerId, Vec<Asked>> = BTreeMap::new();
        let mut fetches: BTreeMap<BrokerId, Vec<Asked>> = BTreeMap::new();
        for partition in self.assignment() {
            let Some((leader, wish)) = self.wish(now, &partition) else { continue };
            let topic_id = self.view.topic(&partition.topic).and_then(|topic| topic.topic_id);
            let topic_id = topic_id.unwrap_or(Uuid::ZERO);
            let position = match wish {
                Wish::Offset(_) => FetchPosition { offset: Offset::ZERO, epoch: None },
                Wish::EpochEnd(position) | Wish::Records(position) => position,
            };
            let asked = Asked { partition, topic_id, leader, position };
            match wish {
                Wish::Offset(end) => offsets.entry(leader.id).or_default().push((asked, end)),
                Wish::EpochEnd(_) => epoch_ends.entry(leader.id).or_default().push(asked),
                Wish::Records(_) => {
                    let node = self.replica_to_read(now, &asked);
                    fetches.entry(node).or_default().push(asked);
                }
            }
        }
        for (node, partitions) in offsets {
            self.list_offsets(node, partitions, out);
        }
        for (node, partitions) in epoch_ends {
            self.ask_epoch_ends(node, partitions, out);
        }
        let handed_out = self.nodes_handed_out();
        for (node, partitions) in fetches {
            let is_asked = self.in_flight.values().any(|request| request.node == node);
            if !is_asked && !handed_out.contains(&node) {
                self.fetch(node, partitions, out);
            }
        }
    }

    /// What is to be asked about the partition now, if anything, and who leads it.
    fn wish(&mut self, now: Now, partition: &TopicPartition) -> Option<(Leader, Wish)> {
        let state = self.partitions.get_mut(partition).expect("it is assigned");
        let is_buffered = self.buffer.iter().any(|fetch| fetch.partition == *partition);
        let may_fetch = !state.is_paused && !is_buffered;
        let is_wanted = match state.position {
            Position::Lost(_) | Position::Unset => false,
            Position::At(_) => may_fetch,
            Position::Reset(_) | Position::Refused { .. } => true,
        };
        if !is_wanted || state.not_before > now.monotonic {
            return None;
        }
        let Some(id) = self.view.leader(partition) else {
            if state.asked.is_none() {
                self.view.request_update();
            }
            return None;
        };
        let leader = Leader { id, epoch: self.view.partition(partition)?.leader_epoch };
        if let Position::Refused { at, by, .. } = state.position
            && by != leader
        {
            crate::mark!("consumer asks a new leader for what the one before refused");
            state.position = Position::At(at);
            // What was asked of the one before says nothing any more.
            state.asked = None;
            if !may_fetch {
                return None;
            }
        }
        if let Position::At(FetchPosition { epoch: Some(read), .. }) = state.position
            && leader.epoch.is_some_and(|known| known < read)
        {
            // It led before what was read, or committed, was written: it would say that it never heard of that.
            crate::mark!("consumer's position is of a later epoch than the leader it knows");
            self.view.on_epoch_heard_of(partition, read);
            return None;
        }
        if state.asked.is_some() {
            if leader.epoch == state.asked_under {
                return None;
            }
            // Whoever is asked does not lead any more, and may never answer.
            crate::mark!("consumer leaves a question to a leader that is none any more");
            state.asked = None;
        }
        let position = match state.position {
            Position::Lost(_) | Position::Unset => return None,
            Position::Reset(end) | Position::Refused { then: end, .. } => {
                return Some((leader, Wish::Offset(end)));
            }
            Position::At(position) => position,
        };
        if state.checked == Some(leader) {
            return Some((leader, Wish::Records(position)));
        }
        state.read_replica = None;
        if position.epoch.is_some() && leader.epoch.is_some() {
            return Some((leader, Wish::EpochEnd(position)));
        }
        // Nothing was read yet, so there is nothing that could have been cut off.
        state.checked = Some(leader);
        Some((leader, Wish::Records(position)))
    }

    /// From whom partitions are read of which something is buffered. Paused ones are not handed out, and keep nobody waiting.
    fn nodes_handed_out(&self) -> BTreeSet<BrokerId> {
        let of = |fetch: &CompletedFetch| {
            let state = self.partitions.get(&fetch.partition).filter(|state| !state.is_paused)?;
            let replica = state.read_replica.as_ref().map(|replica| replica.id);
            replica.or_else(|| self.view.leader(&fetch.partition))
        };
        self.buffer.iter().filter_map(of).collect()
    }

    /// The leader, or the replica that it named, while that is known.
    fn replica_to_read(&mut self, now: Now, asked: &Asked) -> BrokerId {
        let state = self.partitions.get_mut(&asked.partition).expect("it was just looked at");
        let Some(replica) = state.read_replica else { return asked.leader.id };
        if replica.until > now.monotonic && self.view.broker(replica.id).is_some() {
            return replica.id;
        }
        state.read_replica = None;
        asked.leader.id
    }
}

fn lost(partition: &TopicPartition, loss: Loss) -> ClientError {
    let partition = partition.clone();
    match loss {
        Loss::OutOfRange(position) => ClientError::OffsetOutOfRange { partition, position },
        Loss::Truncated { position, diverging } => {
            ClientError::LogTruncation { partition, position, diverging }
        }
    }
}
