//! A property: against three brokers that replicate, elect leaders, hear of it late and take any first sequence, an idempotent
//! producer with `acks=all` stores nothing twice, in the order of `send`, and says truly what it knows.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::batch::RequestToken;
use super::sender::{Append, Appending, Effect, Event, Sender};
use super::{ProducerConfig, ProducerRecord, RecordMetadata};
use crate::client::cluster_view::NodeKey;
use crate::client::error::{SendError, SendFate};
use crate::protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use crate::protocol::messages::produce_response::{
    LeaderIdAndEpoch, PartitionProduceResponse, TopicProduceResponse,
};
use crate::protocol::messages::{
    InitProducerIdResponse, MetadataResponse, ProduceRequest, ProduceResponse,
};
use crate::protocol::record_batch::RawBatch;
use crate::rpc::network_client::RpcError;
use crate::types::{
    BrokerId, ErrorCode, LeaderEpoch, Monotonic, Now, Offset, PartitionIndex, ProducerEpoch,
    ProducerId, ProducerStamp,
};

const BROKERS: usize = 3;
const PARTITIONS: usize = 2;
/// `min.insync.replicas`.
const IN_SYNC_MIN: usize = 2;

/// A batch in a log.
#[derive(Clone, Debug, PartialEq)]
struct Stored {
    leader_epoch: i32,
    stamp: ProducerStamp,
    values: Vec<String>,
}

/// One replica of a partition.
#[derive(Clone, Debug, Default)]
struct Replica {
    log: Vec<Stored>,
    /// Who leads, as far as this broker has heard.
    leader: usize,
    epoch: i32,
}

impl Replica {
    fn offset_of(&self, index: usize) -> Offset {
        let records: usize = self.log[..index].iter().map(|batch| batch.values.len()).sum();
        Offset::new(i64::try_from(records).unwrap())
    }

    /// As Kafka's leader: the place in the log, of the first one where the batch is a repetition.
    fn append(&mut self, batch: &RawBatch) -> Result<usize, ErrorCode> {
        let stamp = batch.header.producer_stamp().expect("the producer is idempotent");
        let count = batch.header.record_count;
        let mine = |stored: &&Stored| stored.stamp.id == stamp.id;
        if let Some(last) = self.log.iter().rev().find(mine) {
            if stamp.epoch < last.stamp.epoch {
                return Err(ErrorCode::InvalidProducerEpoch);
            }
            if stamp.epoch == last.stamp.epoch {
                let known = self.log.iter().position(|stored| {
                    stored.stamp == stamp && stored.values.len() == count as usize
                });
                if let Some(index) = known {
                    return Ok(index);
                }
                let records = u32::try_from(last.values.len()).unwrap();
                if last.stamp.base_sequence.plus(records) != stamp.base_sequence {
                    return Err(ErrorCode::OutOfOrderSequenceNumber);
                }
            } else if stamp.base_sequence.value() != 0 {
                return Err(ErrorCode::OutOfOrderSequenceNumber);
            }
        }
        let values = super::tests::values(batch);
        self.log.push(Stored { leader_epoch: self.epoch, stamp, values });
        Ok(self.log.len() - 1)
    }
}

/// What the controller says of a partition.
#[derive(Clone, Debug)]
struct Truth {
    leader: usize,
    epoch: i32,
    in_sync: BTreeSet<usize>,
}

/// A batch that waits at its leader until it is committed, or what became of it.
#[derive(Clone, Debug)]
enum Part {
    Waits { epoch: i32, index: usize },
    Done(Result<Offset, ErrorCode>),
}

/// A request that a broker has read.
struct Reading {
    token: u64,
    parts: Vec<(usize, Part)>,
}

#[derive(Default)]
struct Node {
    unread: VecDeque<(u64, ProduceRequest)>,
    reading: Vec<Reading>,
    answers: VecDeque<(u64, ProduceResponse)>,
}

struct World {
    sender: Sender<usize>,
    now: Monotonic,
    rng: StdRng,
    truth: Vec<Truth>,
    replicas: Vec<[Replica; PARTITIONS]>,
    nodes: Vec<Node>,
    /// Requests on connections that the client gave up, still to be read.
    late: Vec<(usize, VecDeque<ProduceRequest>)>,
    next_producer: i64,
    sent: Vec<usize>,
    outcomes: BTreeMap<usize, Result<RecordMetadata, SendError>>,
    told: Vec<usize>,
}

impl World {
    fn new(seed: u64) -> Self {
        let config = ProducerConfig::new([
            ("bootstrap.servers", "b:9092"),
            ("linger.ms", "1"),
            ("batch.size", "120"),
            ("request.timeout.ms", "300"),
            ("delivery.timeout.ms", "1500"),
        ]);
        let truth = Truth { leader: 0, epoch: 0, in_sync: (0..BROKERS).collect() };
        Self {
            sender: Sender::new(config.unwrap(), |_| StdRng::seed_from_u64(seed)),
            now: Monotonic::from_nanos(1),
            rng: StdRng::seed_from_u64(seed),
            truth: vec![truth; PARTITIONS],
            replicas: (0..BROKERS).map(|_| Default::default()).collect(),
            nodes: (0..BROKERS).map(|_| Node::default()).collect(),
            late: Vec::new(),
            next_producer: 0,
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
                    let told = self.rng.random_range(0..BROKERS);
                    let response = self.metadata(told);
                    self.event(Event::MetadataAnswered(Ok(response)));
                }
                Effect::InitProducerId(_) => {
                    self.next_producer += 1;
                    let response = InitProducerIdResponse {
                        producer_id: Some(ProducerId::new(self.next_producer)),
                        producer_epoch: Some(ProducerEpoch::new(0)),
                        ..InitProducerIdResponse::default()
                    };
                    self.event(Event::ProducerIdAnswered(Ok(response)));
                }
                Effect::Produce { target, token, request, .. } => {
                    let NodeKey::Broker(id) = target.node else { panic!("batches go to leaders") };
                    self.nodes[usize::try_from(id.value()).unwrap()]
                        .unread
                        .push_back((token.0, request));
                }
                Effect::Deliver { handle, result } => {
                    assert!(self.outcomes.insert(handle, result).is_none(), "decided once");
                    self.told.push(handle);
                }
                Effect::ReleaseMemory(_) | Effect::MetadataChanged | Effect::Flushed(_) => {}
            }
        }
    }

    /// What a broker has heard.
    fn metadata(&self, broker: usize) -> MetadataResponse {
        let brokers = (0..BROKERS).map(|id| MetadataResponseBroker {
            node_id: broker_id(id),
            host: "b".to_owned(),
            port: 9092,
            rack: None,
        });
        let partition = |(index, replica): (i32, &Replica)| MetadataResponsePartition {
            partition_index: PartitionIndex::new(index),
            leader_id: Some(broker_id(replica.leader)),
            leader_epoch: Some(LeaderEpoch::new(replica.epoch)),
            ..MetadataResponsePartition::default()
        };
        MetadataResponse {
            brokers: brokers.collect(),
            topics: vec![MetadataResponseTopic {
                name: Some("t".to_owned()),
                partitions: (0..).zip(&self.replicas[broker]).map(partition).collect(),
                ..MetadataResponseTopic::default()
            }],
            ..MetadataResponse::default()
        }
    }

    fn send(&mut self) {
        let partition = self.rng.random_range(0..PARTITIONS);
        let number = self.sent.len();
        self.sent.push(partition);
        let index = PartitionIndex::new(i32::try_from(partition).unwrap());
        let record = ProducerRecord::new("t", format!("value-{number:04}")).partition(index);
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

    // ---- brokers ----

    fn read(&mut self, broker: usize, request: &ProduceRequest) -> Vec<(usize, Part)> {
        let data = request.topic_data.iter().flat_map(|topic| &topic.partition_data);
        data.map(|data| {
            let partition = usize::try_from(data.index.value()).unwrap();
            if self.replicas[broker][partition].leader != broker {
                return (partition, Part::Done(Err(ErrorCode::NotLeaderOrFollower)));
            }
            let in_sync = &self.truth[partition].in_sync;
            if in_sync.contains(&broker) && in_sync.len() < IN_SYNC_MIN {
                return (partition, Part::Done(Err(ErrorCode::NotEnoughReplicas)));
            }
            let replica = &mut self.replicas[broker][partition];
            let batch = RawBatch::parse(&data.records.as_ref().unwrap().to_bytes()).unwrap();
            let part = match replica.append(&batch) {
                Ok(index) => Part::Waits { epoch: replica.epoch, index },
                Err(error) => Part::Done(Err(error)),
            };
            (partition, part)
        })
        .collect()
    }

    fn read_one(&mut self, broker: usize) {
        if let Some((token, request)) = self.nodes[broker].unread.pop_front() {
            let parts = self.read(broker, &request);
            self.nodes[broker].reading.push(Reading { token, parts });
            self.settle(broker);
        }
    }

    /// Answers, in order, what is committed by now, or cannot be any more where this broker leads.
    fn settle(&mut self, broker: usize) {
        let mut reading = std::mem::take(&mut self.nodes[broker].reading);
        for request in &mut reading {
            for (partition, part) in &mut request.parts {
                if let Part::Waits { epoch, index } = *part {
                    let replica = &self.replicas[broker][*partition];
                    if replica.leader != broker || replica.epoch != epoch {
                        *part = Part::Done(Err(ErrorCode::NotLeaderOrFollower));
                    } else if index < self.committed(broker, *partition) {
                        *part = Part::Done(Ok(replica.offset_of(index)));
                    }
                }
            }
        }
        while let Some(request) = reading.first() {
            let Some(response) = self.response(broker, request) else { break };
            self.nodes[broker].answers.push_back((request.token, response));
            reading.remove(0);
        }
        self.nodes[broker].reading = reading;
    }

    fn response(&self, broker: usize, request: &Reading) -> Option<ProduceResponse> {
        let mut partition_responses = Vec::new();
        for (partition, part) in &request.parts {
            let Part::Done(result) = part else { return None };
            let replica = &self.replicas[broker][*partition];
            let current_leader = match result {
                Err(ErrorCode::NotLeaderOrFollower) => LeaderIdAndEpoch {
                    leader_id: Some(broker_id(replica.leader)),
                    leader_epoch: Some(LeaderEpoch::new(replica.epoch)),
                },
                Ok(_) | Err(_) => LeaderIdAndEpoch::default(),
            };
            partition_responses.push(PartitionProduceResponse {
                index: PartitionIndex::new(i32::try_from(*partition).unwrap()),
                error_code: result.err().unwrap_or(ErrorCode::None),
                base_offset: result.ok(),
                current_leader,
                ..PartitionProduceResponse::default()
            });
        }
        let name = "t".to_owned();
        let responses = vec![TopicProduceResponse {
            name,
            partition_responses,
            ..TopicProduceResponse::default()
        }];
        Some(ProduceResponse { responses, ..ProduceResponse::default() })
    }

    /// How many batches of the broker's log every replica in sync has, where it leads; a leader that was deposed commits
    /// nothing more.
    fn committed(&self, broker: usize, partition: usize) -> usize {
        let (truth, mine) = (&self.truth[partition], &self.replicas[broker][partition]);
        if truth.leader != broker || truth.epoch != mine.epoch {
            return 0;
        }
        let common = |other: &usize| {
            let theirs = &self.replicas[*other][partition];
            mine.log.iter().zip(&theirs.log).take_while(|(a, b)| a == b).count()
        };
        truth.in_sync.iter().map(common).min().unwrap()
    }

    /// A follower hears who leads, and takes the leader's log over; then it is in sync again.
    fn replicate(&mut self, broker: usize, partition: usize) {
        let truth = self.truth[partition].clone();
        if truth.leader == broker {
            return;
        }
        self.replicas[broker][partition] = self.replicas[truth.leader][partition].clone();
        self.truth[partition].in_sync.insert(broker);
        self.settle(broker);
        self.settle(truth.leader);
    }

    /// The controller elects another leader in sync. The old one, and the new one, may hear of it later.
    fn elect(&mut self, partition: usize) {
        let truth = &mut self.truth[partition];
        let others: Vec<usize> =
            truth.in_sync.iter().copied().filter(|other| *other != truth.leader).collect();
        if others.is_empty() {
            return;
        }
        let leader = others[self.rng.random_range(0..others.len())];
        truth.in_sync.remove(&truth.leader);
        truth.leader = leader;
        truth.epoch += 1;
    }

    /// A broker hears who leads.
    fn hear(&mut self, broker: usize) {
        for (truth, replica) in self.truth.iter().zip(&mut self.replicas[broker]) {
            replica.leader = truth.leader;
            replica.epoch = truth.epoch;
        }
        self.settle(broker);
    }

    // ---- connections ----

    fn answer_one(&mut self, broker: usize) {
        if let Some((token, response)) = self.nodes[broker].answers.pop_front() {
            self.event(Event::ProduceAnswered(RequestToken(token), Ok(response)));
        }
    }

    fn break_connection(&mut self, broker: usize) {
        let node = std::mem::take(&mut self.nodes[broker]);
        let answers = node.answers.into_iter().map(|(token, _)| token);
        let reading = node.reading.into_iter().map(|reading| reading.token);
        let unread = node.unread.iter().map(|(token, _)| *token);
        let tokens: Vec<u64> = answers.chain(reading).chain(unread).collect();
        self.late.push((broker, node.unread.into_iter().map(|(_, request)| request).collect()));
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
        let (broker, requests) = &mut self.late[index];
        let broker = *broker;
        match requests.pop_front() {
            Some(request) => {
                self.read(broker, &request);
            }
            None => {
                self.late.swap_remove(index);
            }
        }
    }

    // ---- the run ----

    fn pass(&mut self, span: Duration) {
        self.now = self.now + span;
        self.event(Event::Tick);
    }

    fn step(&mut self) {
        let broker = self.rng.random_range(0..BROKERS);
        let partition = self.rng.random_range(0..PARTITIONS);
        match self.rng.random_range(0..40) {
            0..9 => self.send(),
            9..18 => self.read_one(broker),
            18..25 => self.answer_one(broker),
            25..32 => self.replicate(broker, partition),
            32..34 => self.elect(partition),
            34..36 => self.hear(broker),
            36 if broker == self.truth[partition].leader => self.break_connection(broker),
            36 => {
                // A follower is too slow.
                self.truth[partition].in_sync.remove(&broker);
            }
            37 => self.read_late(),
            _ => {
                let millis = self.rng.random_range(1..100);
                self.pass(Duration::from_millis(millis));
            }
        }
    }

    fn heal(&mut self) {
        for _ in 0..1_500 {
            if self.outcomes.len() == self.sent.len() {
                break;
            }
            for broker in 0..BROKERS {
                self.hear(broker);
                self.read_one(broker);
                (0..PARTITIONS).for_each(|partition| self.replicate(broker, partition));
                self.answer_one(broker);
            }
            self.pass(Duration::from_millis(5));
        }
        while !self.late.is_empty() {
            self.read_late();
        }
        for broker in 0..BROKERS {
            (0..PARTITIONS).for_each(|partition| self.replicate(broker, partition));
        }
    }

    fn check(&self) {
        assert_eq!(self.outcomes.len(), self.sent.len(), "every delivery is decided");
        for partition in 0..PARTITIONS {
            let mine = |number: &&usize| self.sent[**number] == partition;
            let told: Vec<usize> = self.told.iter().filter(mine).copied().collect();
            assert!(told.is_sorted(), "told in order: {told:?}");
            let log = &self.replicas[self.truth[partition].leader][partition].log;
            let values: Vec<&String> = log.iter().flat_map(|batch| &batch.values).collect();
            let once: BTreeSet<&String> = values.iter().copied().collect();
            assert_eq!(once.len(), values.len(), "stored once: {values:?}");
            assert!(values.is_sorted(), "stored in order: {values:?}");
            for (number, _) in self.sent.iter().enumerate().filter(|(_, one)| **one == partition) {
                let value = format!("value-{number:04}");
                let found = values.iter().position(|stored| **stored == value);
                let found = found.map(|index| i64::try_from(index).unwrap());
                match &self.outcomes[&number] {
                    Ok(metadata) => {
                        let offset = metadata.offset.expect("every batch is remembered").value();
                        assert_eq!(found, Some(offset), "{value} is where it was said to be");
                    }
                    Err(error) if error.fate == SendFate::Failed => {
                        assert_eq!(found, None, "{value} surely failed: {error}");
                    }
                    Err(_) => {}
                }
            }
        }
    }
}

fn broker_id(id: usize) -> BrokerId {
    BrokerId::new(i32::try_from(id).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn an_idempotent_producer_follows_leaders_and_stores_once_in_order(seed: u64) {
        let mut world = World::new(seed);
        for _ in 0..160 {
            world.step();
        }
        world.heal();
        world.check();
    }
}
