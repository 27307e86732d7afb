//! What `linger.ms`, `batch.size` and `buffer.memory` do to a steady load, counted: requests, batches, how full they are, and how long
//! records wait. The machine alone, in its own time, against a broker that answers each request after two milliseconds; records of
//! 100 bytes go to eight partitions in turn, as keys would spread them. The table stands in BENCHMARKS.md.

use std::collections::VecDeque;
use std::time::Duration;

use expect_test::expect;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::batch::RequestToken;
use super::sender::{Append, Appending, Effect, Event, Sender};
use super::{ProducerConfig, ProducerRecord};
use crate::protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use crate::protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use crate::protocol::messages::{
    InitProducerIdResponse, MetadataResponse, ProduceRequest, ProduceResponse,
};
use crate::protocol::record_batch::RawBatch;
use crate::types::{
    BrokerId, LeaderEpoch, Monotonic, Now, Offset, PartitionIndex, ProducerEpoch, ProducerId,
    Timestamp,
};

const PARTITIONS: i32 = 8;
const VALUE_BYTES: usize = 100;
const ANSWERED_AFTER: Duration = Duration::from_millis(2);
/// How long records come.
const LASTS: Duration = Duration::from_secs(1);
/// What counts: not the beginning, as a partition's first batch goes alone, nor the end, which nothing fills up.
const COUNTS: [Duration; 2] = [Duration::from_millis(200), Duration::from_millis(900)];
/// The time before the first record.
const START: Monotonic = Monotonic::from_nanos(1);

/// A producer under load.
struct Run {
    sender: Sender<usize>,
    now: Monotonic,
    /// When each record was given to the producer.
    given: Vec<Monotonic>,
    /// Records that wait for `buffer.memory` or for one that does.
    blocked: VecDeque<Appending<usize>>,
    memory: usize,
    answers: VecDeque<(Monotonic, RequestToken, ProduceRequest)>,
    stored: usize,
    counted: Counted,
}

#[derive(Default)]
struct Counted {
    requests: usize,
    batches: usize,
    records: u32,
    bytes: usize,
    waits: Vec<Duration>,
    blocked: usize,
}

impl Run {
    fn new(settings: &[(&str, &str)]) -> Self {
        let pairs = [&[("bootstrap.servers", "b:9092")], settings].concat();
        let config = ProducerConfig::new(pairs).unwrap();
        Self {
            memory: config.buffer_memory,
            sender: Sender::new(config, |_| StdRng::seed_from_u64(1)),
            now: START,
            given: Vec::new(),
            blocked: VecDeque::new(),
            answers: VecDeque::new(),
            stored: 0,
            counted: Counted::default(),
        }
    }

    /// Gives it a record every so often, and waits until all are stored.
    fn load(mut self, every: Duration) -> Counted {
        let end = self.now + LASTS;
        let mut next = self.now;
        while next < end || self.stored < self.given.len() {
            let record = (next < end).then_some(next);
            let answer = self.answers.front().map(|(at, ..)| *at);
            let moments = [record, answer, self.sender.deadline()].into_iter().flatten();
            let at = moments.min().expect("what is not stored yet is waited for");
            self.now = self.now.max(at);
            if answer == Some(at) {
                self.answer();
            } else if record == Some(at) {
                next = next + every;
                self.give();
            } else {
                self.event(Event::Tick);
            }
        }
        self.counted
    }

    fn counts(at: Monotonic) -> bool {
        let [from, to] = COUNTS;
        at >= START + from && at < START + to
    }

    fn give(&mut self) {
        let number = self.given.len();
        self.given.push(self.now);
        let partition = i32::try_from(number).unwrap() % PARTITIONS;
        let record = ProducerRecord::new("t", vec![b'x'; VALUE_BYTES])
            .partition(PartitionIndex::new(partition));
        self.blocked.push_back(Appending::new(record, number));
        self.offer();
    }

    /// What the callers of `send` do, one after the other.
    fn offer(&mut self) {
        while let Some(appending) = self.blocked.front_mut() {
            let now = now(self.now);
            let appended = self.sender.append(now, appending);
            match appended {
                Append::Done { is_tick_due, .. } => {
                    let done = self.blocked.pop_front().unwrap();
                    self.memory += done.memory.unwrap_or(0);
                    if is_tick_due {
                        self.event(Event::Tick);
                    }
                }
                Append::NeedsMetadata => self.event(Event::Tick),
                Append::NeedsMemory(bytes) if self.memory >= bytes => {
                    self.memory -= bytes;
                    appending.memory = Some(bytes);
                }
                Append::NeedsMemory(_) => {
                    self.counted.blocked += 1;
                    self.sender.set_memory_wanted(true);
                    self.event(Event::Tick);
                    self.sender.set_memory_wanted(false);
                    return;
                }
                Append::Refused(error) => panic!("{error}"),
            }
        }
    }

    fn answer(&mut self) {
        let (_, token, request) = self.answers.pop_front().unwrap();
        let stored = |index| PartitionProduceResponse {
            index,
            base_offset: Some(Offset::new(0)),
            ..PartitionProduceResponse::default()
        };
        let topic = |topic: &crate::protocol::messages::produce_request::TopicProduceData| {
            TopicProduceResponse {
                name: topic.name.clone(),
                topic_id: topic.topic_id,
                partition_responses: topic.partition_data.iter().map(|p| stored(p.index)).collect(),
            }
        };
        let responses = request.topic_data.iter().map(topic).collect();
        let response = ProduceResponse { responses, ..ProduceResponse::default() };
        self.event(Event::ProduceAnswered(token, Ok(response)));
        self.offer();
    }

    fn event(&mut self, event: Event) {
        let mut out = Vec::new();
        self.sender.handle(now(self.now), event, &mut out);
        for effect in out {
            self.apply(effect);
        }
    }

    fn apply(&mut self, effect: Effect<usize>) {
        match effect {
            Effect::Metadata(_) => self.event(Event::MetadataAnswered(Ok(metadata()))),
            Effect::InitProducerId(_) => {
                let response = InitProducerIdResponse {
                    producer_id: Some(ProducerId::new(7)),
                    producer_epoch: Some(ProducerEpoch::new(0)),
                    ..InitProducerIdResponse::default()
                };
                self.event(Event::ProducerIdAnswered(Ok(response)));
            }
            Effect::Produce { token, request, .. } => {
                if Self::counts(self.now) {
                    let batches = request.topic_data.iter().flat_map(|topic| &topic.partition_data);
                    self.counted.requests += 1;
                    for data in batches {
                        let bytes = data.records.as_ref().unwrap().to_bytes();
                        self.counted.batches += 1;
                        self.counted.bytes += bytes.len();
                        self.counted.records +=
                            RawBatch::parse(&bytes).unwrap().header.record_count;
                    }
                }
                self.answers.push_back((self.now + ANSWERED_AFTER, token, request));
            }
            Effect::Deliver { handle, result } => {
                result.unwrap();
                self.stored += 1;
                if Self::counts(self.given[handle]) {
                    self.counted.waits.push(self.now - self.given[handle]);
                }
            }
            Effect::ReleaseMemory(bytes) => self.memory += bytes,
            Effect::MetadataChanged | Effect::Flushed(_) => {}
        }
    }
}

fn now(monotonic: Monotonic) -> Now {
    Now { monotonic, wall: Timestamp::from_millis(1_700_000_000_000) }
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

/// One line of the table.
fn line(rate: u64, settings: &[(&str, &str)]) -> String {
    let mut counted = Run::new(settings).load(Duration::from_nanos(1_000_000_000 / rate));
    counted.waits.sort_unstable();
    let told = u32::try_from(counted.waits.len()).unwrap();
    let millis = |wait: Duration| format!("{:.1}", wait.as_secs_f64() * 1e3);
    let mean = counted.waits.iter().sum::<Duration>() / told;
    let values = settings.iter().map(|(_, value)| format!("| {value} "));
    format!(
        "| {rate} {}| {} | {} | {:.1} | {} | {} | {} | {} |\n",
        values.collect::<String>(),
        counted.requests,
        counted.batches,
        f64::from(counted.records) / counted.batches as f64,
        counted.bytes / counted.batches,
        millis(mean),
        millis(*counted.waits.last().unwrap()),
        counted.blocked,
    )
}

/// The table: records a second, settings, requests and batches of 0.7 s, records and bytes a batch, mean and longest time from `send`
/// to the answer in ms, and how often a caller was found waiting for memory.
fn table(rates: &[u64], settings: &[[&str; 3]]) -> String {
    let names = ["linger.ms", "batch.size", "buffer.memory"];
    let rows = rates.iter().flat_map(|rate| settings.iter().map(move |values| (*rate, values)));
    let line = |(rate, values): (u64, &[&str; 3])| {
        let pairs: Vec<(&str, &str)> = names.into_iter().zip(*values).collect();
        line(rate, &pairs)
    };
    rows.map(line).collect()
}

#[test]
fn lingering_makes_fewer_and_fuller_batches_and_no_record_waits_longer_for_it() {
    let memory = "33554432";
    let all: Vec<[&str; 3]> = ["0", "5", "50"]
        .into_iter()
        .flat_map(|linger| ["1024", "16384", "1048576"].map(|batch| [linger, batch, memory]))
        .collect();
    expect![[r#"
        | 1000 | 0 | 1024 | 33554432 | 700 | 700 | 1.0 | 170 | 2.0 | 2.0 | 0 |
        | 1000 | 0 | 16384 | 33554432 | 700 | 700 | 1.0 | 170 | 2.0 | 2.0 | 0 |
        | 1000 | 0 | 1048576 | 33554432 | 700 | 700 | 1.0 | 170 | 2.0 | 2.0 | 0 |
        | 1000 | 5 | 1024 | 33554432 | 117 | 702 | 1.0 | 170 | 4.5 | 7.0 | 0 |
        | 1000 | 5 | 16384 | 33554432 | 117 | 702 | 1.0 | 170 | 4.5 | 7.0 | 0 |
        | 1000 | 5 | 1048576 | 33554432 | 117 | 702 | 1.0 | 170 | 4.5 | 7.0 | 0 |
        | 1000 | 50 | 1024 | 33554432 | 14 | 112 | 6.4 | 755 | 27.3 | 52.0 | 0 |
        | 1000 | 50 | 16384 | 33554432 | 14 | 112 | 6.4 | 755 | 27.3 | 52.0 | 0 |
        | 1000 | 50 | 1048576 | 33554432 | 14 | 112 | 6.4 | 755 | 27.3 | 52.0 | 0 |
        | 20000 | 0 | 1024 | 33554432 | 1750 | 4200 | 3.3 | 424 | 2.8 | 3.8 | 0 |
        | 20000 | 0 | 16384 | 33554432 | 1750 | 4200 | 3.3 | 424 | 2.8 | 3.8 | 0 |
        | 20000 | 0 | 1048576 | 33554432 | 1750 | 4200 | 3.3 | 424 | 2.8 | 3.8 | 0 |
        | 20000 | 5 | 1024 | 33554432 | 219 | 1752 | 8.0 | 933 | 3.6 | 5.2 | 0 |
        | 20000 | 5 | 16384 | 33554432 | 139 | 1112 | 12.6 | 1437 | 4.5 | 7.0 | 0 |
        | 20000 | 5 | 1048576 | 33554432 | 139 | 1112 | 12.6 | 1437 | 4.5 | 7.0 | 0 |
        | 20000 | 50 | 1024 | 33554432 | 219 | 1752 | 8.0 | 933 | 3.6 | 5.2 | 0 |
        | 20000 | 50 | 16384 | 33554432 | 14 | 112 | 125.1 | 13760 | 27.0 | 52.0 | 0 |
        | 20000 | 50 | 1048576 | 33554432 | 14 | 112 | 125.1 | 13760 | 27.0 | 52.0 | 0 |
    "#]]
    .assert_eq(&table(&[1_000, 20_000], &all));
}

#[test]
fn memory_for_fewer_batches_than_partitions_sends_records_one_by_one() {
    let all = [["50", "16384", "65536"], ["50", "16384", "262144"], ["50", "1048576", "1048576"]];
    expect![[r#"
        | 20000 | 50 | 16384 | 65536 | 350 | 1400 | 1.0 | 170 | 4951.2 | 8100.4 | 24994 |
        | 20000 | 50 | 16384 | 262144 | 14 | 112 | 125.1 | 13760 | 27.0 | 52.0 | 0 |
        | 20000 | 50 | 1048576 | 1048576 | 350 | 350 | 1.0 | 170 | 21451.1 | 35100.1 | 39997 |
    "#]]
    .assert_eq(&table(&[20_000], &all));
}
