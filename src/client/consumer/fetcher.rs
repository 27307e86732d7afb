//! The consumer as a machine: positions of the assigned partitions, what to fetch from whom, what has arrived (pure).
//!
//! A partition's position, as far as it is known:
//!
//! ```text
//!   assign, seek_to_*, out of range               answered
//! ──────────────────────────────────▶ Reset ────────────────▶ At ◀── seek
//! ```
//!
//! One fetch per broker is under way. It asks for the partitions of which nothing is buffered: what was fetched is handed
//! out first, and while it is, the next fetch of the others runs.
//!
//! Fetch requests are full ones (session id 0, epoch −1). Kafka: `FetchCollector`, `AbstractFetch`, `OffsetFetcher`,
//! `SubscriptionState`.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rand::rngs::StdRng;

use super::completed_fetch::{CompletedFetch, ReadRules};
use super::{ConsumerConfig, ConsumerRecord, OffsetReset};
use crate::client::cluster_view::{ClusterView, MetadataQuery, Target};
use crate::client::error::ClientError;
use crate::protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use crate::protocol::messages::fetch_response::PartitionData;
use crate::protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use crate::protocol::messages::list_offsets_response::ListOffsetsPartitionResponse;
use crate::protocol::messages::{
    FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse, Message, MetadataResponse,
};
use crate::protocol::{OffsetSpec, VersionRange};
use crate::rpc::network_client::RpcError;
use crate::rpc::{Backoff, Endpoint};
use crate::types::{
    BrokerId, ErrorCode, LeaderEpoch, Monotonic, Now, Offset, TopicPartition, Uuid,
};

/// The last Fetch version that names topics; later ones carry ids (KIP-516).
const FETCH_BY_NAME_MAX: i16 = 12;

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
    /// Ask a leader for records.
    Fetch { target: Target, token: RequestToken, request: FetchRequest, versions: VersionRange },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    /// To be asked for.
    Reset(OffsetSpec),
    /// The offset of the next record to hand out.
    At(Offset),
    /// There is none, and `auto.offset.reset=none`: the owner must seek. With the offset that does not exist, if there was one.
    Lost(Option<Offset>),
}

#[derive(Debug)]
struct PartitionState {
    position: Position,
    is_paused: bool,
    /// Changes with each seek: answers to older questions are dropped.
    generation: u64,
    /// In a request that is under way.
    is_asked: bool,
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
    generation: u64,
    /// The offset fetched at; of no meaning for ListOffsets.
    offset: Offset,
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
    next_generation: u64,
    looked_at: Monotonic,
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
            next_generation: 0,
            looked_at: Monotonic::ZERO,
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
        self.view.want_only(self.partitions.keys().map(|partition| &partition.topic));
    }

    fn new_state(&mut self) -> PartitionState {
        self.next_generation += 1;
        PartitionState {
            position: match self.config.offset_reset {
                OffsetReset::Earliest => Position::Reset(OffsetSpec::Earliest),
                OffsetReset::Latest => Position::Reset(OffsetSpec::Latest),
                OffsetReset::None => Position::Lost(None),
            },
            is_paused: false,
            generation: self.next_generation,
            is_asked: false,
            not_before: Monotonic::ZERO,
            failures: 0,
        }
    }

    pub(super) fn assignment(&self) -> Vec<TopicPartition> {
        self.partitions.keys().cloned().collect()
    }

    pub(super) fn seek(
        &mut self,
        partition: &TopicPartition,
        offset: Offset,
    ) -> Result<(), ClientError> {
        self.move_to(partition, Position::At(offset))
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
        self.next_generation += 1;
        let generation = self.next_generation;
        let state = self.state(partition)?;
        state.position = position;
        state.generation = generation;
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
            Position::At(offset) => Ok(Some(offset)),
            Position::Reset(_) => Ok(None),
            Position::Lost(position) => {
                let partition = partition.clone();
                Err(ClientError::OffsetOutOfRange { partition, position })
            }
        }
    }

    pub(super) fn last_failure(&self) -> Option<String> {
        let of_topics = self
            .partitions
            .keys()
            .find_map(|partition| self.view.topic_error(&partition.topic))
            .map(|error| error.to_string());
        of_topics.or(self.view.last_failure().map(str::to_owned))
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
            state.position = Position::At(fetch.position);
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
        let lost = self.partitions.iter().find_map(|(partition, state)| match state.position {
            Position::Lost(position) => Some((partition.clone(), position)),
            Position::At(_) | Position::Reset(_) => None,
        });
        if let Some((partition, position)) = lost {
            return Err(ClientError::OffsetOutOfRange { partition, position });
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
            Event::MetadataAnswered(Ok(response)) => self.view.on_response(now, response),
            Event::MetadataAnswered(Err(error)) => self.view.on_failure(now, error.to_string()),
            Event::OffsetsAnswered(token, answer) => self.on_offsets(now, token, answer),
            Event::FetchAnswered(token, answer) => self.on_fetch(now, token, answer),
            Event::Tick => {}
        }
        self.looked_at = now.monotonic;
        self.ask(now, out);
        if let Some(query) = self.view.poll(now) {
            out.push(Effect::Metadata(query));
        }
    }

    /// When [`Event::Tick`] is due at the latest.
    pub(super) fn deadline(&self) -> Option<Monotonic> {
        let partitions = self.partitions.values().map(|state| state.not_before);
        partitions.chain(self.view.deadline()).filter(|at| *at > self.looked_at).min()
    }

    /// Asks the leaders that are not asked already.
    fn ask(&mut self, now: Now, out: &mut Vec<Effect>) {
        let mut resets: BTreeMap<BrokerId, Vec<(TopicPartition, OffsetSpec)>> = BTreeMap::new();
        let mut fetches: BTreeMap<BrokerId, Vec<(TopicPartition, Offset)>> = BTreeMap::new();
        for (partition, state) in &self.partitions {
            if state.is_asked || state.not_before > now.monotonic {
                continue;
            }
            let is_buffered = self.buffer.iter().any(|fetch| fetch.partition == *partition);
            let wish = match state.position {
                Position::Lost(_) => continue,
                Position::At(_) if state.is_paused || is_buffered => continue,
                Position::At(offset) => Ok(offset),
                Position::Reset(end) => Err(end),
            };
            let Some(leader) = self.view.leader(partition) else {
                self.view.request_update();
                continue;
            };
            match wish {
                Ok(offset) => {
                    fetches.entry(leader).or_default().push((partition.clone(), offset));
                }
                Err(end) => resets.entry(leader).or_default().push((partition.clone(), end)),
            }
        }
        for (node, partitions) in resets {
            self.list_offsets(node, partitions, out);
        }
        for (node, partitions) in fetches {
            if !self.in_flight.values().any(|request| request.node == node) {
                self.fetch(node, partitions, out);
            }
        }
    }

    /// Notes that a partition is asked about.
    fn asked(&mut self, partition: TopicPartition, offset: Offset) -> Asked {
        let topic_id =
            self.view.topic(&partition.topic).and_then(|t| t.topic_id).unwrap_or(Uuid::ZERO);
        let state = self.partitions.get_mut(&partition).expect("it was just looked at");
        state.is_asked = true;
        Asked { partition, topic_id, generation: state.generation, offset }
    }

    fn token(&mut self, node: BrokerId, partitions: Vec<Asked>) -> RequestToken {
        let token = RequestToken(self.next_token);
        self.next_token += 1;
        self.in_flight.insert(token, InFlight { node, partitions });
        token
    }

    fn leader_epoch(&self, partition: &TopicPartition) -> Option<LeaderEpoch> {
        self.view.partition(partition).and_then(|known| known.leader_epoch)
    }

    fn list_offsets(
        &mut self,
        node: BrokerId,
        partitions: Vec<(TopicPartition, OffsetSpec)>,
        out: &mut Vec<Effect>,
    ) {
        let mut topics: Vec<ListOffsetsTopic> = Vec::new();
        let mut asked = Vec::new();
        for (partition, end) in partitions {
            let question = ListOffsetsPartition {
                partition_index: partition.partition,
                current_leader_epoch: self.leader_epoch(&partition),
                timestamp: end,
            };
            match topics.iter_mut().find(|topic| *topic.name == *partition.topic) {
                Some(topic) => topic.partitions.push(question),
                None => topics.push(ListOffsetsTopic {
                    name: partition.topic.to_string(),
                    partitions: vec![question],
                }),
            }
            asked.push(self.asked(partition, Offset::ZERO));
        }
        let request = ListOffsetsRequest {
            replica_id: None,
            isolation_level: self.config.isolation_level,
            topics,
            timeout_ms: millis_on_the_wire(self.config.common.request_timeout),
        };
        let target = self.view.broker(node).expect("a leader is a broker that is known");
        let token = self.token(node, asked);
        out.push(Effect::ListOffsets { target, token, request });
    }

    fn fetch(
        &mut self,
        node: BrokerId,
        mut partitions: Vec<(TopicPartition, Offset)>,
        out: &mut Vec<Effect>,
    ) {
        // A broker fills the answer from the front: each partition stands there in turn.
        let turn = usize::try_from(self.next_token).unwrap_or(0) % partitions.len();
        partitions.rotate_left(turn);
        let mut topics: Vec<FetchTopic> = Vec::new();
        let mut asked = Vec::new();
        for (partition, offset) in partitions {
            let epoch = self.leader_epoch(&partition);
            let entry = self.asked(partition, offset);
            let question = FetchPartition {
                partition: entry.partition.partition,
                current_leader_epoch: epoch,
                fetch_offset: Some(offset),
                partition_max_bytes: self.config.partition_fetch_bytes_max.cast_signed(),
                ..FetchPartition::default()
            };
            match topics.iter_mut().find(|topic| *topic.topic == *entry.partition.topic) {
                Some(topic) => topic.partitions.push(question),
                None => topics.push(FetchTopic {
                    topic: entry.partition.topic.to_string(),
                    topic_id: entry.topic_id,
                    partitions: vec![question],
                }),
            }
            asked.push(entry);
        }
        let mut versions = FetchRequest::VERSIONS;
        if topics.iter().any(|topic| topic.topic_id == Uuid::ZERO) {
            versions.max = FETCH_BY_NAME_MAX;
        }
        let request = FetchRequest {
            max_wait_ms: millis_on_the_wire(self.config.fetch_wait_max),
            min_bytes: self.config.fetch_bytes_min.cast_signed(),
            max_bytes: self.config.fetch_bytes_max.cast_signed(),
            isolation_level: self.config.isolation_level,
            topics,
            rack_id: self.config.client_rack.clone(),
            ..FetchRequest::default()
        };
        let target = self.view.broker(node).expect("a leader is a broker that is known");
        let token = self.token(node, asked);
        out.push(Effect::Fetch { target, token, request, versions });
    }

    // ---- answers ----

    /// Ends a request: the partitions it was about that the owner has not moved meanwhile.
    fn end(&mut self, token: RequestToken) -> Vec<Asked> {
        let request = self.in_flight.remove(&token).expect("a request is answered once");
        let partitions = &mut self.partitions;
        request
            .partitions
            .into_iter()
            .filter(|asked| match partitions.get_mut(&asked.partition) {
                Some(state) => {
                    state.is_asked = false;
                    state.generation == asked.generation
                }
                None => false,
            })
            .collect()
    }

    fn retry_later(&mut self, now: Now, partition: &TopicPartition) {
        let state = self.partitions.get_mut(partition).expect("an answer to an old question");
        state.failures = state.failures.saturating_add(1);
        state.not_before = now.monotonic + self.backoff.pause(state.failures, &mut self.rng);
    }

    fn on_offsets(
        &mut self,
        now: Now,
        token: RequestToken,
        answer: Result<ListOffsetsResponse, RpcError>,
    ) {
        for asked in self.end(token) {
            let partition = asked.partition;
            let found = answer.as_ref().ok().and_then(|response| {
                let topic = response.topics.iter().find(|t| *t.name == *partition.topic)?;
                topic.partitions.iter().find(|p| p.partition_index == partition.partition)
            });
            match found {
                Some(ListOffsetsPartitionResponse {
                    error_code: ErrorCode::None,
                    offset: Some(offset),
                    ..
                }) => {
                    let state = self.partitions.get_mut(&partition).expect("it was just there");
                    state.position = Position::At(*offset);
                    state.failures = 0;
                }
                Some(answer) if !answer.error_code.is_none() => {
                    self.on_partition_error(now, &partition, answer.error_code);
                }
                Some(_) | None => {
                    self.view.request_update();
                    self.retry_later(now, &partition);
                }
            }
        }
        if let Err(RpcError::UnsupportedVersion { api }) = answer {
            self.errors.push_back(ClientError::UnsupportedVersion { api: api.to_string() });
        }
    }

    fn on_fetch(&mut self, now: Now, token: RequestToken, answer: Result<FetchResponse, RpcError>) {
        let asked = self.end(token);
        let response = match answer {
            Ok(response) if response.error_code.is_none() => response,
            Ok(_) | Err(_) => {
                self.view.request_update();
                asked.iter().for_each(|asked| self.retry_later(now, &asked.partition));
                if let Err(RpcError::UnsupportedVersion { api }) = answer {
                    self.errors.push_back(ClientError::UnsupportedVersion { api: api.to_string() });
                }
                return;
            }
        };
        self.learn_leaders(&response);
        for asked in asked {
            let topic = response.responses.iter().find(|topic| {
                *topic.topic == *asked.partition.topic
                    || (topic.topic.is_empty() && topic.topic_id == asked.topic_id)
            });
            let answer = topic.and_then(|topic| {
                topic.partitions.iter().find(|p| p.partition_index == asked.partition.partition)
            });
            match answer {
                Some(answer) => self.on_fetched(now, asked, answer),
                None => self.retry_later(now, &asked.partition),
            }
        }
    }

    fn on_fetched(&mut self, now: Now, asked: Asked, answer: &PartitionData) {
        let Asked { partition, offset, .. } = asked;
        if answer.error_code == ErrorCode::OffsetOutOfRange {
            return self.on_out_of_range(&partition, offset);
        }
        if !answer.error_code.is_none() {
            return self.on_partition_error(now, &partition, answer.error_code);
        }
        let state = self.partitions.get_mut(&partition).expect("an answer to an old question");
        state.failures = 0;
        state.not_before = Monotonic::ZERO;
        let Some(records) = answer.records.as_ref().filter(|records| !records.is_empty()) else {
            return;
        };
        let rules = ReadRules {
            check_crcs: self.config.check_crcs,
            isolation_level: self.config.isolation_level,
        };
        let aborted = answer.aborted_transactions.iter().flatten();
        let aborted = aborted.map(|aborted| (aborted.first_offset, aborted.producer_id));
        let fetch = CompletedFetch::new(partition, offset, records, aborted, rules);
        self.buffer.push_back(fetch);
    }

    /// The log does not reach to the position, or no longer begins before it.
    fn on_out_of_range(&mut self, partition: &TopicPartition, offset: Offset) {
        crate::mark!("consumer's position is out of range");
        let state = self.partitions.get_mut(partition).expect("an answer to an old question");
        state.position = match self.config.offset_reset {
            OffsetReset::Earliest => Position::Reset(OffsetSpec::Earliest),
            OffsetReset::Latest => Position::Reset(OffsetSpec::Latest),
            OffsetReset::None => Position::Lost(Some(offset)),
        };
    }

    fn on_partition_error(&mut self, now: Now, partition: &TopicPartition, error: ErrorCode) {
        self.retry_later(now, partition);
        if error == ErrorCode::CorruptMessage {
            let offset = match self.partitions[partition].position {
                Position::At(offset) => offset,
                Position::Reset(_) | Position::Lost(_) => Offset::ZERO,
            };
            let reason = "the broker found its own copy corrupt".to_owned();
            let partition = partition.clone();
            let error = Some(error);
            self.errors.push_back(ClientError::CorruptBatch { partition, offset, reason, error });
        } else if error.is_retriable() || error == ErrorCode::UnknownServerError {
            self.view.request_update();
        } else {
            let message = Some(partition.to_string());
            self.errors.push_back(ClientError::Answer { error, message });
        }
    }

    /// Takes the hints of a broker that no longer leads (KIP-951).
    fn learn_leaders(&mut self, response: &FetchResponse) {
        for topic in &response.responses {
            let name = self.partitions.keys().map(|partition| &partition.topic).find(|name| {
                *topic.topic == ***name
                    || (topic.topic.is_empty()
                        && self
                            .view
                            .topic(name)
                            .is_some_and(|t| t.topic_id == Some(topic.topic_id)))
            });
            let Some(name) = name.cloned() else { continue };
            for answer in &topic.partitions {
                let hint = answer.current_leader.leader_id.zip(answer.current_leader.leader_epoch);
                let Some((leader, epoch)) = hint else { continue };
                let endpoint = response.node_endpoints.iter().find(|e| e.node_id == leader);
                let endpoint = endpoint.and_then(|endpoint| {
                    let port = u16::try_from(endpoint.port).ok()?;
                    Some(Endpoint { host: endpoint.host.clone(), port })
                });
                let partition =
                    TopicPartition { topic: name.clone(), partition: answer.partition_index };
                self.view.on_leader_hint(&partition, leader, epoch, endpoint);
            }
        }
    }
}

fn millis_on_the_wire(span: Duration) -> i32 {
    i32::try_from(span.as_millis()).unwrap_or(i32::MAX)
}
