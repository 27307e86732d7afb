//! The producer as a machine: records in, produce requests out, outcomes told (pure). `D` is a record's delivery, opaque here.
//!
//! Kafka: `KafkaProducer.doSend`, `Sender`.

mod answers;

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;

use super::accumulator::{PartitionQueue, SendRules};
use super::batch::{BatchId, Outcome, ProducerBatch, RecordView, RequestToken, Stage};
use super::partitioner::{PartitionLoad, Partitioner, PartitionerOptions};
use super::sequences::ProducerIdAndEpoch;
use super::{ProducerConfig, ProducerRecord, RecordMetadata};
use crate::client::cluster_view::{ClusterView, MetadataQuery, NodeKey, Target};
use crate::client::error::{ClientError, SendCause, SendError};
use crate::protocol::VersionRange;
use crate::protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use crate::protocol::messages::{
    InitProducerIdResponse, Message, MetadataResponse, ProduceRequest, ProduceResponse,
};
use crate::protocol::record_batch::{HEADER_BYTES, RecordHeader, record_size_upper_bound};
use crate::rpc::Backoff;
use crate::rpc::network_client::RpcError;
use crate::types::{
    Acks, BrokerId, ErrorCode, Monotonic, Now, PartitionIndex, ProducerEpoch, TopicPartition, Uuid,
};

/// The last Produce version that names topics; later ones carry ids (KIP-516).
const PRODUCE_BY_NAME_MAX: i16 = 12;

/// A record on its way into the accumulator. Kept over waiting: a partition is chosen once.
#[derive(Debug)]
pub(super) struct Appending<D> {
    record: ProducerRecord,
    headers: Vec<RecordHeader>,
    chosen: Option<PartitionIndex>,
    /// Taken when the record is.
    delivery: Option<D>,
    /// Bytes of `buffer.memory` that the caller holds for it.
    pub(super) memory: Option<usize>,
}

impl<D> Appending<D> {
    pub(super) fn new(mut record: ProducerRecord, delivery: D) -> Self {
        let headers = std::mem::take(&mut record.headers);
        let headers = headers.into_iter().map(|(key, value)| RecordHeader { key, value }).collect();
        Self { record, headers, chosen: None, delivery: Some(delivery), memory: None }
    }

    pub(super) fn topic(&self) -> &str {
        &self.record.topic
    }

    /// Asks the application for the partition, if it is not known yet. Once.
    pub(super) fn choose(&mut self, choose: impl FnOnce(&ProducerRecord) -> PartitionIndex) {
        if self.record.partition.is_none() {
            self.record.partition = Some(choose(&self.record));
        }
    }
}

/// What became of a record that was offered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Append {
    /// It is in a batch. Memory that was held and not used is still the caller's.
    Done {
        /// Of this partition.
        partition: TopicPartition,
        /// Whether something may be sent, or is due, earlier than before: the driver sends [`Event::Tick`].
        is_tick_due: bool,
    },
    /// The topic is not known yet: again after [`Effect::MetadataChanged`].
    NeedsMetadata,
    /// A new batch is needed: again with this many bytes of `buffer.memory` in [`Appending::memory`].
    NeedsMemory(usize),
    /// It cannot be sent.
    Refused(ClientError),
}

/// What happens to a producer, beside records.
#[derive(Debug)]
pub(super) enum Event {
    /// [`Effect::Metadata`] ended.
    MetadataAnswered(Result<MetadataResponse, RpcError>),
    /// [`Effect::InitProducerId`] ended.
    ProducerIdAnswered(Result<InitProducerIdResponse, RpcError>),
    /// [`Effect::Produce`] ended; with `acks=0`, its bytes are written.
    ProduceAnswered(RequestToken, Result<ProduceResponse, RpcError>),
    /// Somebody waits until all that was taken is decided.
    Flush(u64),
    /// Nothing more is taken; what is not decided by then fails.
    Close { deadline: Monotonic },
    /// Something was appended, or the deadline came.
    Tick,
}

/// What is to be done.
#[derive(Debug)]
pub(super) enum Effect<D> {
    /// Ask for metadata.
    Metadata(MetadataQuery),
    /// Ask for a producer id.
    InitProducerId(Target),
    /// Send batches to their leader.
    Produce {
        target: Target,
        token: RequestToken,
        request: ProduceRequest,
        versions: VersionRange,
        is_answered: bool,
    },
    /// Tell a record's outcome.
    Deliver { handle: D, result: Result<RecordMetadata, SendError> },
    /// These bytes of `buffer.memory` are free again.
    ReleaseMemory(usize),
    /// Records that need metadata may be offered again.
    MetadataChanged,
    /// All that was taken before this flush is decided.
    Flushed(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ProducerIdState {
    /// Not asked for, or not before this.
    Unknown {
        not_before: Monotonic,
    },
    Asking,
    Known(ProducerIdAndEpoch),
}

/// A produce request in flight.
#[derive(Debug)]
struct InFlight {
    node: BrokerId,
    partitions: Vec<(TopicPartition, Uuid)>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Sender<D> {
    config: ProducerConfig,
    backoff: Backoff,
    rng: StdRng,
    pub(super) view: ClusterView,
    partitioner: Partitioner,
    queues: BTreeMap<TopicPartition, PartitionQueue<D>>,
    producer: ProducerIdState,
    producer_id_failures: u32,
    /// Who was asked for a producer id last.
    producer_id_node: Option<NodeKey>,
    in_flight: BTreeMap<RequestToken, InFlight>,
    /// The partition drained last for each node, so that the next round begins behind it.
    drained_last: BTreeMap<BrokerId, TopicPartition>,
    next_batch: u64,
    next_token: u64,
    /// Batches below the number, and who waits for them.
    flushes: Vec<(BatchId, u64)>,
    is_memory_wanted: bool,
    closing: Option<Monotonic>,
    fatal: Option<ErrorCode>,
    /// The time of the last event: what was due then and is still there waits for something else than time.
    looked_at: Monotonic,
}

impl<D> Sender<D> {
    /// `rng` is called once for each purpose.
    pub(super) fn new(config: ProducerConfig, mut rng: impl FnMut(&str) -> StdRng) -> Self {
        let options = PartitionerOptions {
            kind: config.partitioner,
            ignore_keys: config.partitioner_ignore_keys,
            is_adaptive: config.partitioner_is_adaptive,
            sticky_bytes: config.batch_size.max(1),
        };
        let partitioner = Partitioner::new(options, rng("partitioner"));
        Self {
            backoff: config.common.retry_backoff(),
            rng: rng("retry"),
            view: ClusterView::new(&config.common, true, rng("metadata")),
            partitioner,
            queues: BTreeMap::new(),
            producer: ProducerIdState::Unknown { not_before: Monotonic::ZERO },
            producer_id_failures: 0,
            producer_id_node: None,
            in_flight: BTreeMap::new(),
            drained_last: BTreeMap::new(),
            next_batch: 0,
            next_token: 0,
            flushes: Vec::new(),
            is_memory_wanted: false,
            closing: None,
            fatal: None,
            looked_at: Monotonic::ZERO,
            config,
        }
    }

    #[cfg(test)]
    pub(super) fn is_idempotent(&self) -> bool {
        self.config.idempotence
    }

    /// How many partitions the topic has, where that is known.
    pub(super) fn partitions_of(&self, topic: &str) -> Option<u32> {
        let known = self.view.topic(topic)?.partitions.len();
        u32::try_from(known).ok().filter(|count| *count > 0)
    }

    /// Offers a record.
    pub(super) fn append(&mut self, now: Now, appending: &mut Appending<D>) -> Append {
        if let Some(refusal) = self.refusal(&appending.record) {
            return Append::Refused(refusal);
        }
        let topic = &appending.record.topic;
        self.view.want(topic);
        let partitions = match self.view.topic(topic).map(|topic| topic.partitions.len()) {
            Some(count) if count > 0 => u32::try_from(count).expect("partition counts fit"),
            Some(_) | None => return self.unknown_topic(topic),
        };
        let partition = match self.choose(appending, partitions) {
            Ok(partition) => TopicPartition { topic: appending.record.topic.clone(), partition },
            Err(refusal) => return Append::Refused(refusal),
        };
        let view = RecordView {
            timestamp: appending.record.timestamp.unwrap_or(now.wall),
            key: appending.record.key.as_deref(),
            value: appending.record.value.as_deref(),
            headers: &appending.headers,
        };
        let size = HEADER_BYTES + record_size_upper_bound(view.key, view.value, view.headers);
        if let Some(refusal) = self.too_large(size) {
            return Append::Refused(refusal);
        }
        let queue = self.queues.entry(partition.clone()).or_default();
        let batch_size = self.config.batch_size;
        let mut is_tick_due = false;
        match queue.batches.back_mut() {
            Some(batch) if batch.has_room_for(batch_size, &view) => {
                let delivery = appending.delivery.take().expect("a record is appended once");
                batch.append(&view, delivery);
            }
            Some(_) | None => {
                let need = size.max(batch_size).min(self.config.buffer_memory);
                let Some(memory) = appending.memory.take_if(|held| *held >= need) else {
                    return Append::NeedsMemory(need);
                };
                if let Some(last) = queue.batches.back_mut()
                    && last.stage == Stage::Open
                {
                    last.stage = Stage::Waiting { not_before: Monotonic::ZERO };
                }
                let id = BatchId(self.next_batch);
                self.next_batch += 1;
                let mut batch =
                    ProducerBatch::new(id, now.monotonic, self.config.compression, memory);
                let delivery = appending.delivery.take().expect("a record is appended once");
                batch.append(&view, delivery);
                queue.batches.push_back(batch);
                is_tick_due = true;
            }
        }
        self.partitioner.on_appended(&partition.topic, partition.partition, size - HEADER_BYTES);
        Append::Done { partition, is_tick_due }
    }

    fn refusal(&self, record: &ProducerRecord) -> Option<ClientError> {
        if self.closing.is_some() {
            return Some(ClientError::Closed);
        }
        if let Some(error) = self.fatal {
            return Some(ClientError::Answer { error, message: None });
        }
        let error = self.view.topic_error(&record.topic)?;
        let is_final = !error.is_retriable();
        is_final.then_some(ClientError::Answer { error, message: None })
    }

    fn unknown_topic(&self, topic: &str) -> Append {
        match self.view.topic_error(topic) {
            Some(error) if !error.is_retriable() => {
                Append::Refused(ClientError::Answer { error, message: None })
            }
            Some(_) | None => Append::NeedsMetadata,
        }
    }

    fn choose(
        &mut self,
        appending: &mut Appending<D>,
        partitions: u32,
    ) -> Result<PartitionIndex, ClientError> {
        let record = &appending.record;
        if let Some(partition) = record.partition {
            let number = partition.value();
            return if number.unsigned_abs() < partitions {
                Ok(partition)
            } else {
                let topic = record.topic.to_string();
                Err(ClientError::InvalidPartition { topic, partition: number, partitions })
            };
        }
        if let Some(chosen) = appending.chosen {
            return Ok(chosen);
        }
        let (view, queues) = (&self.view, &self.queues);
        let loads = || {
            let indices = 0..i32::try_from(partitions).expect("partition counts fit");
            let load = |index| {
                let topic = record.topic.clone();
                let partition = TopicPartition { topic, partition: PartitionIndex::new(index) };
                PartitionLoad {
                    available: view.leader(&partition).is_some(),
                    queued: queues.get(&partition).map_or(0, PartitionQueue::queued),
                }
            };
            indices.map(load).collect()
        };
        let key = record.key.as_deref();
        let chosen = self.partitioner.choose(&record.topic, key, partitions, loads);
        appending.chosen = Some(chosen);
        Ok(chosen)
    }

    fn too_large(&self, size: usize) -> Option<ClientError> {
        let limits = [
            (self.config.request_size_max, "max.request.size"),
            (self.config.buffer_memory, "buffer.memory"),
        ];
        let (limit, limit_name) = limits.into_iter().find(|(limit, _)| size > *limit)?;
        Some(ClientError::RecordTooLarge { size, limit, limit_name })
    }

    /// Takes an event in; what is to be done goes to the end of `out`, to be done in order.
    pub(super) fn handle(&mut self, now: Now, event: Event, out: &mut Vec<Effect<D>>) {
        match event {
            Event::MetadataAnswered(answer) => self.on_metadata(now, answer, out),
            Event::ProducerIdAnswered(answer) => self.on_producer_id(now, answer),
            Event::ProduceAnswered(token, answer) => self.on_produce(now, token, answer, out),
            Event::Flush(waiter) => self.flushes.push((BatchId(self.next_batch), waiter)),
            Event::Close { deadline } => self.close(deadline),
            Event::Tick => {}
        }
        self.advance(now, out);
    }

    /// Whether somebody waits for `buffer.memory`: then nothing lingers. To be said before each event.
    pub(super) fn set_memory_wanted(&mut self, is_wanted: bool) {
        self.is_memory_wanted = is_wanted;
    }

    /// When [`Event::Tick`] is due at the latest.
    pub(super) fn deadline(&self) -> Option<Monotonic> {
        let of_queue = |queue: &PartitionQueue<D>| {
            let expiry =
                queue.oldest_undecided().map(|batch| batch.created + self.config.delivery_timeout);
            [expiry, queue.ready_at(self.config.linger)]
        };
        let queues = self.queues.values().flat_map(of_queue).flatten();
        let producer_id = match self.producer {
            ProducerIdState::Unknown { not_before } if self.needs_producer_id() => Some(not_before),
            ProducerIdState::Unknown { .. }
            | ProducerIdState::Asking
            | ProducerIdState::Known(_) => None,
        };
        let closing = self.closing.filter(|_| !self.is_idle());
        queues
            .chain([self.view.deadline(), producer_id, closing].into_iter().flatten())
            .filter(|deadline| *deadline > self.looked_at)
            .min()
    }

    /// Whether it was closed and everything is decided.
    pub(super) fn is_ended(&self) -> bool {
        self.closing.is_some() && self.is_idle()
    }

    fn is_idle(&self) -> bool {
        self.queues.values().all(|queue| queue.oldest_undecided().is_none())
    }

    /// Everything that time and the last event made possible.
    fn advance(&mut self, now: Now, out: &mut Vec<Effect<D>>) {
        self.looked_at = now.monotonic;
        self.expire(now);
        self.resolve_sequences();
        self.tell(out);
        self.ask_for_producer_id(now, out);
        self.drain(now, out);
        if let Some(query) = self.view.poll(now) {
            out.push(Effect::Metadata(query));
        }
        self.end_flushes(out);
        self.check();
    }

    // ---- time ----

    fn expire(&mut self, now: Now) {
        if self.closing.is_some_and(|deadline| deadline <= now.monotonic) {
            self.fail_all(&SendCause::Closed);
        }
        let timeout = self.config.delivery_timeout;
        for queue in self.queues.values_mut() {
            for index in 0..queue.batches.len() {
                let batch = &queue.batches[index];
                if batch.created + timeout > now.monotonic {
                    break;
                }
                if batch.outcome.is_none() {
                    crate::mark!("producer's delivery times out");
                    give_up(queue, index, SendCause::DeliveryTimeout);
                }
            }
        }
    }

    fn close(&mut self, deadline: Monotonic) {
        let earlier = self.closing.map_or(deadline, |known| known.min(deadline));
        self.closing = Some(earlier);
    }

    fn fail_all(&mut self, cause: &SendCause) {
        for queue in self.queues.values_mut() {
            for index in 0..queue.batches.len() {
                give_up(queue, index, cause.clone());
            }
        }
    }

    // ---- producer id and sequences ----

    fn needs_producer_id(&self) -> bool {
        self.config.idempotence
            && self.fatal.is_none()
            && self.queues.values().any(|queue| queue.oldest_undecided().is_some())
    }

    fn ask_for_producer_id(&mut self, now: Now, out: &mut Vec<Effect<D>>) {
        if let ProducerIdState::Unknown { not_before } = self.producer
            && not_before <= now.monotonic
            && self.needs_producer_id()
        {
            self.producer = ProducerIdState::Asking;
            let target = self.view.anybody();
            self.producer_id_node = Some(target.node);
            out.push(Effect::InitProducerId(target));
        }
    }

    fn on_producer_id(&mut self, now: Now, answer: Result<InitProducerIdResponse, RpcError>) {
        let retry_or_end = match answer {
            Ok(response) => match (response.error_code, response.producer_id) {
                (ErrorCode::None, Some(id)) => {
                    let epoch = response.producer_epoch.unwrap_or(ProducerEpoch::new(0));
                    self.producer = ProducerIdState::Known(ProducerIdAndEpoch { id, epoch });
                    self.producer_id_failures = 0;
                    return;
                }
                (ErrorCode::None, None) => Ok(()),
                (error, _) if error.is_retriable() => Ok(()),
                (error, _) => Err(error),
            },
            Err(RpcError::UnsupportedVersion { .. }) => Err(ErrorCode::UnsupportedVersion),
            Err(_) => Ok(()),
        };
        // A broker that does not reach the controller says so: another one may.
        if let Some(node) = self.producer_id_node {
            self.view.on_node_failed(node);
        }
        self.producer_id_failures = self.producer_id_failures.saturating_add(1);
        let pause = self.backoff.pause(self.producer_id_failures, &mut self.rng);
        self.producer = ProducerIdState::Unknown { not_before: now.monotonic + pause };
        if let Err(error) = retry_or_end {
            self.fatal = Some(error);
            self.fail_all(&SendCause::Answer { error, message: None });
        }
    }

    /// Finds out about batches that were given up, and raises the epoch where the broker lacks them and nothing of the
    /// partition is in flight.
    fn resolve_sequences(&mut self) {
        let ProducerIdState::Known(producer) = self.producer else { return };
        let mut is_raised = false;
        for queue in self.queues.values_mut() {
            queue.resolve_sequences();
            if queue.may_bump() {
                queue.start_over();
                is_raised = true;
            }
        }
        if is_raised {
            crate::mark!("idempotent producer raises its epoch");
            self.producer = match producer.next() {
                Some(next) => ProducerIdState::Known(next),
                None => ProducerIdState::Unknown { not_before: Monotonic::ZERO },
            };
        }
    }

    // ---- outcomes ----

    /// Tells outcomes, each partition's in order, and frees what is finished.
    fn tell(&mut self, out: &mut Vec<Effect<D>>) {
        for (partition, queue) in &mut self.queues {
            for batch in &mut queue.batches {
                if batch.outcome.is_none() {
                    break;
                }
                for (handle, result) in batch.tell(partition) {
                    out.push(Effect::Deliver { handle, result });
                }
            }
            for batch in &queue.batches {
                if batch.is_over() && batch.memory > 0 {
                    out.push(Effect::ReleaseMemory(batch.memory));
                }
            }
            queue.batches.retain(|batch| !batch.is_over());
        }
    }

    fn end_flushes(&mut self, out: &mut Vec<Effect<D>>) {
        if self.flushes.is_empty() {
            return;
        }
        let undecided = self.queues.values().filter_map(PartitionQueue::oldest_undecided);
        let oldest = undecided.map(|batch| batch.id).min();
        self.flushes.retain(|(end, waiter)| {
            let is_done = oldest.is_none_or(|oldest| oldest >= *end);
            if is_done {
                out.push(Effect::Flushed(*waiter));
            }
            !is_done
        });
    }

    // ---- sending ----

    fn rules(&self) -> SendRules {
        let producer = match self.producer {
            ProducerIdState::Known(producer) => Some(producer),
            ProducerIdState::Unknown { .. } | ProducerIdState::Asking => None,
        };
        SendRules {
            one_in_flight: self.config.in_flight_max == 1,
            idempotence: self.config.idempotence.then_some(producer),
        }
    }

    /// Sends what is ready. A node for which one partition is ready gets the next batch of each of its partitions.
    fn drain(&mut self, now: Now, out: &mut Vec<Effect<D>>) {
        let linger = if self.closing.is_some() || self.is_memory_wanted {
            Duration::ZERO
        } else {
            self.config.linger
        };
        let flush_end = self.flushes.iter().map(|(end, _)| *end).max().unwrap_or(BatchId(0));
        loop {
            let rules = self.rules();
            let mut ready: BTreeMap<BrokerId, bool> = BTreeMap::new();
            let mut sendable: BTreeMap<BrokerId, Vec<TopicPartition>> = BTreeMap::new();
            for (partition, queue) in &self.queues {
                let Some(index) = queue.sendable(now.monotonic, rules) else { continue };
                let Some(leader) = self.view.leader(partition) else {
                    self.view.request_update();
                    continue;
                };
                if self.is_earlier_elsewhere(queue, index, leader) {
                    continue;
                }
                let is_flushed = queue.batches[index].id < flush_end;
                let is_full = queue.batches[index].size() >= self.config.batch_size;
                let has_lingered = queue.ready_at(linger).is_some_and(|at| at <= now.monotonic);
                *ready.entry(leader).or_default() |= is_flushed || is_full || has_lingered;
                sendable.entry(leader).or_default().push(partition.clone());
            }
            let mut is_sent = false;
            for (node, partitions) in sendable {
                let in_flight = self.in_flight.values().filter(|r| r.node == node).count();
                if ready[&node] && in_flight < self.config.in_flight_max {
                    self.send(now, node, partitions, out);
                    is_sent = true;
                }
            }
            if !is_sent {
                return;
            }
        }
    }

    /// Whether an earlier batch of the partition is still with a broker that no longer leads it. With idempotence the new
    /// leader gets nothing later until that one is answered: it would refuse it as out of order.
    fn is_earlier_elsewhere(
        &self,
        queue: &PartitionQueue<D>,
        index: usize,
        leader: BrokerId,
    ) -> bool {
        self.config.idempotence
            && queue.batches.range(..index).any(|batch| match batch.stage {
                Stage::InFlight { request } => self.in_flight[&request].node != leader,
                Stage::Open | Stage::Waiting { .. } | Stage::Finished => false,
            })
    }

    /// One produce request: at most one batch of each partition, at most `max.request.size`, at least one batch.
    fn send(
        &mut self,
        now: Now,
        node: BrokerId,
        mut partitions: Vec<TopicPartition>,
        out: &mut Vec<Effect<D>>,
    ) {
        if let Some(last) = self.drained_last.get(&node) {
            let behind = partitions.iter().position(|p| p > last).unwrap_or(0);
            partitions.rotate_left(behind);
        }
        let target = self.view.broker(node).expect("a leader is a broker that is known");
        let token = RequestToken(self.next_token);
        self.next_token += 1;
        let rules = self.rules();
        let mut size = 0;
        let mut sent = Vec::new();
        let mut topics: Vec<TopicProduceData> = Vec::new();
        for partition in partitions {
            let queue = self.queues.get_mut(&partition).expect("it was just looked at");
            let index = queue.sendable(now.monotonic, rules).expect("it was just looked at");
            let PartitionQueue { batches, sequences } = queue;
            let batch = &mut batches[index];
            if size > 0 && size + batch.size() > self.config.request_size_max {
                break;
            }
            if let (Some(Some(producer)), None) = (rules.idempotence, batch.stamp) {
                batch.stamp = Some(sequences.stamp(producer, batch.record_count()));
            }
            let records = batch.records();
            size += records.len();
            batch.stage = Stage::InFlight { request: token };
            batch.attempts += 1;
            batch.sent_under = self.view.partition(&partition).and_then(|known| known.leader_epoch);
            let topic_id =
                self.view.topic(&partition.topic).and_then(|t| t.topic_id).unwrap_or(Uuid::ZERO);
            let data = PartitionProduceData { index: partition.partition, records: Some(records) };
            push_partition(&mut topics, &partition.topic, topic_id, data);
            self.drained_last.insert(node, partition.clone());
            sent.push((partition, topic_id));
        }
        let mut versions = ProduceRequest::VERSIONS;
        if topics.iter().any(|topic| topic.topic_id == Uuid::ZERO) {
            versions.max = PRODUCE_BY_NAME_MAX;
        }
        let request = ProduceRequest {
            transactional_id: None,
            acks: acks_on_the_wire(self.config.acks),
            timeout_ms: millis_on_the_wire(self.config.common.request_timeout),
            topic_data: topics,
        };
        self.in_flight.insert(token, InFlight { node, partitions: sent });
        let is_answered = self.config.acks != Acks::None;
        out.push(Effect::Produce { target, token, request, versions, is_answered });
    }

    /// What holds after each event.
    fn check(&self) {
        for queue in self.queues.values() {
            for pair in queue.batches.iter().zip(queue.batches.iter().skip(1)) {
                assert!(pair.0.id <= pair.1.id, "batches of a partition stand in order");
                assert!(pair.0.stage != Stage::Open, "only the last batch is open");
            }
            if self.config.idempotence {
                let in_flight = queue.in_flight();
                assert!(in_flight <= super::config::IDEMPOTENT_IN_FLIGHT_MAX, "the window is five");
            }
        }
    }
}

/// Decides a batch as failed by the clock or by its owner. In flight, it may arrive yet.
fn give_up<D>(queue: &mut PartitionQueue<D>, index: usize, cause: SendCause) {
    let batch = &mut queue.batches[index];
    if batch.outcome.is_none() && matches!(batch.stage, Stage::InFlight { .. }) {
        batch.may_be_stored = true;
    }
    queue.decide(index, Outcome::Failed(cause));
}

fn push_partition(
    topics: &mut Vec<TopicProduceData>,
    topic: &str,
    topic_id: Uuid,
    data: PartitionProduceData,
) {
    match topics.iter_mut().find(|known| known.name == topic) {
        Some(known) => known.partition_data.push(data),
        None => topics.push(TopicProduceData {
            name: topic.to_owned(),
            topic_id,
            partition_data: vec![data],
        }),
    }
}

fn acks_on_the_wire(acks: Acks) -> i16 {
    match acks {
        Acks::None => 0,
        Acks::Leader => 1,
        Acks::All => -1,
    }
}

fn millis_on_the_wire(span: Duration) -> i32 {
    i32::try_from(span.as_millis()).unwrap_or(i32::MAX)
}
