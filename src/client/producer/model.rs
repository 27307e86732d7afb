//! A property: against a broker that deduplicates as Kafka's does, over connections that break and let bytes arrive late,
//! an idempotent producer stores nothing twice, in the order of `send`, and says truly what it knows.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::batch::RequestToken;
use super::sender::{Append, Appending, Effect, Event, Sender};
use super::{ProducerConfig, ProducerRecord, RecordMetadata};
use crate::client::error::{SendError, SendFate};
use crate::protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use crate::protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use crate::protocol::messages::{
    InitProducerIdResponse, MetadataResponse, ProduceRequest, ProduceResponse,
};
use crate::protocol::record_batch::RawBatch;
use crate::rpc::network_client::RpcError;
use crate::types::{
    BrokerId, ErrorCode, LeaderEpoch, Monotonic, Now, Offset, PartitionIndex, ProducerEpoch,
    ProducerId, Sequence,
};

const PARTITIONS: i32 = 2;

/// The batches of one producer epoch that are remembered: base sequence, records, offset.
type Window = VecDeque<(Sequence, u32, Offset)>;

/// What a partition keeps: its records, and of each producer the epoch and the last five batches.
#[derive(Default)]
struct Log {
    values: Vec<String>,
    producers: BTreeMap<ProducerId, (ProducerEpoch, Window)>,
}

impl Log {
    fn append(&mut self, batch: &RawBatch) -> Result<Offset, ErrorCode> {
        let stamp = batch.header.producer_stamp().expect("the producer is idempotent");
        let count = batch.header.record_count;
        if let Some((epoch, batches)) = self.producers.get(&stamp.id) {
            if stamp.epoch < *epoch {
                return Err(ErrorCode::InvalidProducerEpoch);
            }
            if stamp.epoch == *epoch {
                let known = batches
                    .iter()
                    .find(|(base, records, _)| *base == stamp.base_sequence && *records == count);
                if let Some((_, _, offset)) = known {
                    return Ok(*offset);
                }
                let (base, records, _) = batches.back().expect("an entry has a batch");
                if base.plus(*records) != stamp.base_sequence {
                    return Err(ErrorCode::OutOfOrderSequenceNumber);
                }
            } else if stamp.base_sequence != Sequence::ZERO {
                return Err(ErrorCode::OutOfOrderSequenceNumber);
            }
        } else if stamp.base_sequence != Sequence::ZERO {
            // Kafka takes any first sequence; then order is lost where the first batch is refused. Not what is tried here.
            return Err(ErrorCode::OutOfOrderSequenceNumber);
        }
        let offset = Offset::new(i64::try_from(self.values.len()).unwrap());
        self.values.extend(super::tests::values(batch));
        let entry = self.producers.entry(stamp.id).or_insert((stamp.epoch, VecDeque::new()));
        if entry.0 != stamp.epoch {
            *entry = (stamp.epoch, VecDeque::new());
        }
        entry.1.push_back((stamp.base_sequence, count, offset));
        if entry.1.len() > 5 {
            entry.1.pop_front();
        }
        Ok(offset)
    }
}

struct World {
    sender: Sender<usize>,
    now: Monotonic,
    rng: StdRng,
    logs: Vec<Log>,
    /// Requests on the open connection that the broker has not read.
    unread: VecDeque<(u64, ProduceRequest)>,
    /// Answers on their way back.
    answers: VecDeque<(u64, ProduceResponse)>,
    /// Requests on connections that the client gave up, still to be read: each connection in order.
    late: Vec<VecDeque<ProduceRequest>>,
    next_producer: i64,
    first_epoch: i16,
    sent: Vec<i32>,
    outcomes: BTreeMap<usize, Result<RecordMetadata, SendError>>,
    told: Vec<usize>,
}

impl World {
    fn new(seed: u64, first_epoch: i16) -> Self {
        let config = ProducerConfig::new([
            ("bootstrap.servers", "b:9092"),
            ("linger.ms", "1"),
            ("batch.size", "120"),
            ("request.timeout.ms", "300"),
            ("delivery.timeout.ms", "900"),
        ]);
        Self {
            sender: Sender::new(config.unwrap(), |_| StdRng::seed_from_u64(seed)),
            now: Monotonic::from_nanos(1),
            rng: StdRng::seed_from_u64(seed),
            logs: (0..PARTITIONS).map(|_| Log::default()).collect(),
            unread: VecDeque::new(),
            answers: VecDeque::new(),
            late: Vec::new(),
            next_producer: 0,
            first_epoch,
            sent: Vec::new(),
            outcomes: BTreeMap::new(),
            told: Vec::new(),
        }
    }

    fn event(&mut self, event: Event) {
        let mut out = Vec::new();
        let now = Now { monotonic: self.now, ..Now::default() };
        self.sender.handle(now, event, &mut out);
        for effect in out {
            match effect {
                Effect::Metadata(_) => {
                    self.event(Event::MetadataAnswered(Ok(metadata())));
                }
                Effect::InitProducerId(_) => {
                    self.next_producer += 1;
                    let response = InitProducerIdResponse {
                        producer_id: Some(ProducerId::new(self.next_producer)),
                        producer_epoch: Some(ProducerEpoch::new(self.first_epoch)),
                        ..InitProducerIdResponse::default()
                    };
                    self.event(Event::ProducerIdAnswered(Ok(response)));
                }
                Effect::Produce { token, request, .. } => {
                    self.unread.push_back((token.0, request));
                }
                Effect::Deliver { handle, result } => {
                    assert!(self.outcomes.insert(handle, result).is_none(), "decided once");
                    self.told.push(handle);
                }
                Effect::ReleaseMemory(_) | Effect::MetadataChanged | Effect::Flushed(_) => {}
            }
        }
    }

    fn send(&mut self) {
        let partition = self.rng.random_range(0..PARTITIONS);
        let number = self.sent.len();
        self.sent.push(partition);
        let record = ProducerRecord::new("t", format!("value-{number:04}"))
            .partition(PartitionIndex::new(partition));
        let mut appending = Appending::new(record, number);
        loop {
            let now = Now { monotonic: self.now, ..Now::default() };
            let appended = self.sender.append(now, &mut appending);
            match appended {
                Append::Done { .. } => return self.event(Event::Tick),
                Append::NeedsMetadata => self.event(Event::Tick),
                Append::NeedsMemory(bytes) => appending.memory = Some(bytes),
                Append::Refused(error) => panic!("{error}"),
            }
        }
    }

    /// The broker reads a request; now and then it refuses a batch, or forgets that it took it.
    fn serve(&mut self, request: &ProduceRequest, is_faulty: bool) -> ProduceResponse {
        let mut responses = Vec::new();
        for topic in &request.topic_data {
            let mut partition_responses = Vec::new();
            for data in &topic.partition_data {
                let batch = RawBatch::parse(&data.records.as_ref().unwrap().to_bytes()).unwrap();
                let log = &mut self.logs[usize::try_from(data.index.value()).unwrap()];
                let fault = if is_faulty { self.rng.random_range(0..12) } else { 12 };
                let answer = match fault {
                    0 => Err(ErrorCode::NotLeaderOrFollower),
                    1 => Err(ErrorCode::NotEnoughReplicas),
                    2 => Err(ErrorCode::InvalidRecord),
                    3 => log.append(&batch).and(Err(ErrorCode::RequestTimedOut)),
                    4 => log.append(&batch).and(Err(ErrorCode::UnknownServerError)),
                    _ => log.append(&batch),
                };
                partition_responses.push(PartitionProduceResponse {
                    index: data.index,
                    error_code: answer.err().unwrap_or(ErrorCode::None),
                    base_offset: answer.ok(),
                    ..PartitionProduceResponse::default()
                });
            }
            let name = topic.name.clone();
            responses.push(TopicProduceResponse {
                name,
                partition_responses,
                ..TopicProduceResponse::default()
            });
        }
        ProduceResponse { responses, ..ProduceResponse::default() }
    }

    fn read_one(&mut self, is_faulty: bool) {
        if let Some((token, request)) = self.unread.pop_front() {
            let response = self.serve(&request, is_faulty);
            self.answers.push_back((token, response));
        }
    }

    fn answer_one(&mut self) {
        if let Some((token, response)) = self.answers.pop_front() {
            self.event(Event::ProduceAnswered(RequestToken(token), Ok(response)));
        }
    }

    fn break_connection(&mut self) {
        let answers: Vec<u64> = self.answers.drain(..).map(|(token, _)| token).collect();
        let unread = std::mem::take(&mut self.unread);
        let tokens = answers.into_iter().chain(unread.iter().map(|(token, _)| *token));
        let tokens: Vec<u64> = tokens.collect();
        self.late.push(unread.into_iter().map(|(_, request)| request).collect());
        for token in tokens {
            let error = RpcError::CutOff("reset".to_owned());
            self.event(Event::ProduceAnswered(RequestToken(token), Err(error)));
        }
    }

    fn read_late(&mut self) {
        if self.late.is_empty() {
            return;
        }
        let index = self.rng.random_range(0..self.late.len());
        match self.late[index].pop_front() {
            Some(request) => {
                self.serve(&request, false);
            }
            None => {
                self.late.swap_remove(index);
            }
        }
    }

    fn pass(&mut self, span: Duration) {
        self.now = self.now + span;
        self.event(Event::Tick);
    }

    fn step(&mut self) {
        match self.rng.random_range(0..20) {
            0..6 => self.send(),
            6..11 => self.read_one(true),
            11..16 => self.answer_one(),
            16 => self.break_connection(),
            17 => self.read_late(),
            _ => {
                let millis = self.rng.random_range(1..250);
                self.pass(Duration::from_millis(millis));
            }
        }
    }

    fn heal(&mut self) {
        for _ in 0..2_000 {
            self.read_one(false);
            self.answer_one();
            self.pass(Duration::from_millis(5));
        }
        while !self.late.is_empty() {
            self.read_late();
        }
    }

    fn check(&self) {
        assert_eq!(self.outcomes.len(), self.sent.len(), "every delivery is decided");
        for partition in 0..PARTITIONS {
            let mine = |number: &&usize| self.sent[**number] == partition;
            let told: Vec<usize> = self.told.iter().filter(mine).copied().collect();
            assert!(told.is_sorted(), "told in order: {told:?}");
            let values = &self.logs[usize::try_from(partition).unwrap()].values;
            let once: BTreeSet<&String> = values.iter().collect();
            assert_eq!(once.len(), values.len(), "stored once: {values:?}");
            // A new producer id does not fence the old one: what was given up under that may arrive late.
            let is_known = |value: &&String| {
                let number: usize = value["value-".len()..].parse().unwrap();
                self.next_producer == 1 || self.outcomes[&number].is_ok()
            };
            let values: Vec<&String> = values.iter().filter(is_known).collect();
            assert!(values.is_sorted(), "stored in order: {values:?}");
        }
        for (number, outcome) in &self.outcomes {
            let log = &self.logs[usize::try_from(self.sent[*number]).unwrap()];
            let value = format!("value-{number:04}");
            let found = log.values.iter().position(|stored| *stored == value);
            match outcome {
                Ok(metadata) => {
                    let offset = metadata.offset.expect("within the window the offset is known");
                    let found = found.map(|index| i64::try_from(index).unwrap());
                    assert_eq!(found, Some(offset.value()), "{value} is where it was said to be");
                }
                Err(error) if error.fate == SendFate::Failed => {
                    assert_eq!(found, None, "{value} surely failed: {error}");
                }
                Err(_) => {}
            }
        }
    }
}

fn metadata() -> MetadataResponse {
    let partition = |index| MetadataResponsePartition {
        partition_index: PartitionIndex::new(index),
        leader_id: Some(BrokerId::new(1)),
        leader_epoch: Some(LeaderEpoch::new(0)),
        ..MetadataResponsePartition::default()
    };
    MetadataResponse {
        brokers: vec![MetadataResponseBroker {
            node_id: BrokerId::new(1),
            host: "b".to_owned(),
            port: 9092,
            rack: None,
        }],
        topics: vec![MetadataResponseTopic {
            name: Some("t".to_owned()),
            partitions: (0..PARTITIONS).map(partition).collect(),
            ..MetadataResponseTopic::default()
        }],
        ..MetadataResponse::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn an_idempotent_producer_stores_once_in_order_and_tells_the_truth(
        seed: u64,
        first_epoch in prop_oneof![Just(0), Just(i16::MAX - 1)],
    ) {
        let mut world = World::new(seed, first_epoch);
        for _ in 0..400 {
            world.step();
        }
        world.heal();
        world.check();
    }
}
