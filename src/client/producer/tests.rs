//! Goldens: `testdata/*.txt` holds what happens to a producer and what comes of it. `UPDATE=1 cargo test` rewrites them; the
//! reviewer reads the diff. Topic `t` has two partitions, both led by broker 1 unless `leader` says otherwise; metadata and
//! producer ids are answered at once (producer 7, epoch 0).
//!
//! ```text
//! config NAME=VALUE …        the first line; linger.ms=0 unless set. With idempotence each partition has one record by
//!                            then; `config cold` says that it has none
//! send P V                   a record with value V to partition P
//! tick MS                    time passes
//! answer R WORD …            request R is answered: one word for each batch, in the order it was sent:
//!                            OFFSET, an error's name, or NAME>BROKER/EPOCH with a hint who leads
//! cut R | unsent R | late R  request R has no answer: broken behind it, broken before it, timed out
//! written R                  request R, which is not answered, is with the connection
//! leader P BROKER EPOCH      what metadata says from now on; `none` for no leader
//! pid ID EPOCH               the next producer id that is given out
//! flush N | close MS
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::batch::RequestToken;
use super::sender::{Append, Appending, Effect, Event, Sender};
use super::{ProducerConfig, ProducerRecord};
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
    ProducerId, Timestamp, test_goldens,
};

struct Harness {
    sender: Sender<String>,
    now: Monotonic,
    leaders: [(Option<i32>, i32); 2],
    producer: (i64, i16),
    in_flight: BTreeMap<u64, ProduceRequest>,
    /// How requests are numbered in the goldens: their token less this.
    first_request: u64,
    next_request: u64,
}

impl Harness {
    fn new(settings: &[&str]) -> Self {
        let mut pairs = vec![("bootstrap.servers", "b:9092"), ("linger.ms", "0")];
        pairs.extend(settings.iter().map(|setting| setting.split_once('=').unwrap()));
        let config = ProducerConfig::new(pairs).unwrap();
        Self {
            sender: Sender::new(config, |_| StdRng::seed_from_u64(1)),
            now: Monotonic::from_nanos(1),
            leaders: [(Some(1), 0), (Some(1), 0)],
            producer: (7, 0),
            in_flight: BTreeMap::new(),
            first_request: 0,
            next_request: 0,
        }
    }

    /// Lets each partition have a record. Requests are counted from then on.
    fn warm(mut self) -> Self {
        let mut unread = String::new();
        for partition in ["0", "1"] {
            self.send(partition, "warm", &mut unread);
            self.event(Event::Flush(0), &mut unread);
            let request = self.in_flight.keys().next().unwrap().to_string();
            let answer = self.answer(&request, &["0"]);
            self.event(answer, &mut unread);
        }
        self.first_request = self.next_request;
        self
    }

    fn now(&self) -> Now {
        let millis = i64::try_from(self.now.nanos() / 1_000_000).unwrap();
        Now { monotonic: self.now, wall: Timestamp::from_millis(millis) }
    }

    fn event(&mut self, event: Event, text: &mut String) {
        let mut out = Vec::new();
        self.sender.handle(self.now(), event, &mut out);
        for effect in out {
            self.apply(effect, text);
        }
    }

    fn apply(&mut self, effect: Effect<String>, text: &mut String) {
        match effect {
            Effect::Metadata(_) => {
                let answer = Event::MetadataAnswered(Ok(self.metadata()));
                self.event(answer, text);
            }
            Effect::InitProducerId(_) => {
                let response = InitProducerIdResponse {
                    producer_id: Some(ProducerId::new(self.producer.0)),
                    producer_epoch: Some(ProducerEpoch::new(self.producer.1)),
                    ..InitProducerIdResponse::default()
                };
                self.event(Event::ProducerIdAnswered(Ok(response)), text);
            }
            Effect::Produce { target, token, request, is_answered, .. } => {
                let ack = if is_answered { "" } else { " (no answer)" };
                let number = token.0 - self.first_request;
                writeln!(text, "  r{number} to {:?}{ack}:{}", target.node, batches(&request))
                    .unwrap();
                self.in_flight.insert(number, request);
                self.next_request = token.0 + 1;
            }
            Effect::Deliver { handle, result } => {
                let result = match result {
                    Ok(metadata) => format!(
                        "offset {} after {}",
                        metadata.offset.map_or("unknown".to_owned(), |offset| offset.to_string()),
                        metadata.attempts
                    ),
                    Err(error) => {
                        format!("{:?}: {} after {}", error.fate, error.cause, error.attempts)
                    }
                };
                writeln!(text, "  {handle}: {result}").unwrap();
            }
            Effect::ReleaseMemory(_) | Effect::MetadataChanged => {}
            Effect::Flushed(waiter) => writeln!(text, "  flushed {waiter}").unwrap(),
        }
    }

    fn metadata(&self) -> MetadataResponse {
        let partition =
            |(index, (leader, epoch)): (i32, &(Option<i32>, i32))| MetadataResponsePartition {
                partition_index: PartitionIndex::new(index),
                leader_id: leader.map(BrokerId::new),
                leader_epoch: Some(LeaderEpoch::new(*epoch)),
                ..MetadataResponsePartition::default()
            };
        let broker = |id| MetadataResponseBroker {
            node_id: BrokerId::new(id),
            host: "b".to_owned(),
            port: 9092,
            rack: None,
        };
        MetadataResponse {
            brokers: vec![broker(1), broker(2), broker(3)],
            topics: vec![MetadataResponseTopic {
                name: Some("t".to_owned()),
                partitions: (0..).zip(&self.leaders).map(partition).collect(),
                ..MetadataResponseTopic::default()
            }],
            ..MetadataResponse::default()
        }
    }

    fn send(&mut self, partition: &str, value: &str, text: &mut String) {
        let partition = PartitionIndex::new(partition.parse().unwrap());
        let record = ProducerRecord::new("t", value).partition(partition);
        let mut appending = Appending::new(record, value.to_owned());
        loop {
            let appended = self.sender.append(self.now(), &mut appending);
            match appended {
                Append::Done { is_tick_due, .. } => {
                    if is_tick_due {
                        self.event(Event::Tick, text);
                    }
                    return;
                }
                Append::NeedsMetadata => self.event(Event::Tick, text),
                Append::NeedsMemory(bytes) => appending.memory = Some(bytes),
                Append::Refused(error) => {
                    writeln!(text, "  {value}: refused: {error}").unwrap();
                    return;
                }
            }
        }
    }

    fn answer(&mut self, request: &str, words: &[&str]) -> Event {
        let number: u64 = request.parse().unwrap();
        let request = self.in_flight.remove(&number).unwrap();
        let mut words = words.iter();
        let mut answer = |index| {
            let word = words.next().unwrap();
            let (word, hint) = word.split_once('>').unwrap_or((word, ""));
            let offset = word.parse::<i64>().ok().map(Offset::new);
            let known = ErrorCode::ALL.iter().find(|code| code.name() == word);
            let error = if offset.is_some() { ErrorCode::None } else { *known.unwrap() };
            let current_leader =
                hint.split_once('/').map_or_else(LeaderIdAndEpoch::default, |(leader, epoch)| {
                    LeaderIdAndEpoch {
                        leader_id: Some(BrokerId::new(leader.parse().unwrap())),
                        leader_epoch: Some(LeaderEpoch::new(epoch.parse().unwrap())),
                    }
                });
            PartitionProduceResponse {
                index,
                error_code: error,
                base_offset: offset,
                current_leader,
                ..PartitionProduceResponse::default()
            }
        };
        let responses = request
            .topic_data
            .iter()
            .map(|topic| TopicProduceResponse {
                name: topic.name.clone(),
                topic_id: topic.topic_id,
                partition_responses: topic.partition_data.iter().map(|p| answer(p.index)).collect(),
            })
            .collect();
        let response = ProduceResponse { responses, ..ProduceResponse::default() };
        Event::ProduceAnswered(self.token(number), Ok(response))
    }

    fn token(&self, number: u64) -> RequestToken {
        RequestToken(self.first_request + number)
    }

    fn no_answer(&mut self, request: &str, error: RpcError) -> Event {
        let number: u64 = request.parse().unwrap();
        self.in_flight.remove(&number).unwrap();
        Event::ProduceAnswered(self.token(number), Err(error))
    }

    fn command(&mut self, words: &[&str], text: &mut String) {
        if let ["answer" | "cut" | "unsent" | "late" | "written", request, ..] = words
            && !self.in_flight.contains_key(&request.parse::<u64>().unwrap())
        {
            return writeln!(text, "  there is no such request").unwrap();
        }
        let event = match words {
            ["send", partition, value] => return self.send(partition, value, text),
            ["tick", millis] => {
                let end = self.now + Duration::from_millis(millis.parse().unwrap());
                while let Some(deadline) = self.sender.deadline()
                    && deadline <= end
                {
                    self.now = deadline;
                    self.event(Event::Tick, text);
                }
                self.now = end;
                return;
            }
            ["answer", request, words @ ..] => self.answer(request, words),
            ["cut", request] => self.no_answer(request, RpcError::CutOff("reset".to_owned())),
            ["unsent", request] => self.no_answer(request, RpcError::NotSent("refused".to_owned())),
            ["late", request] => self.no_answer(request, RpcError::TimedOut { sent: true }),
            ["written", request] => {
                let number: u64 = request.parse().unwrap();
                self.in_flight.remove(&number).unwrap();
                let response = ProduceResponse::default();
                Event::ProduceAnswered(self.token(number), Ok(response))
            }
            ["leader", partition, leader, epoch] => {
                let index: usize = partition.parse().unwrap();
                self.leaders[index] = (leader.parse().ok(), epoch.parse().unwrap());
                return;
            }
            ["pid", id, epoch] => {
                self.producer = (id.parse().unwrap(), epoch.parse().unwrap());
                return;
            }
            ["flush", waiter] => Event::Flush(waiter.parse().unwrap()),
            ["close", millis] => {
                let span = Duration::from_millis(millis.parse().unwrap());
                Event::Close { deadline: self.now + span }
            }
            other => panic!("unknown command {other:?}"),
        };
        self.event(event, text);
    }

    fn play(commands: &str) -> String {
        let (mut harness, mut text) = (Self::new(&[]).warm(), String::new());
        for line in commands.lines() {
            let is_output = line.starts_with(' ');
            if is_output {
                continue;
            }
            writeln!(text, "{line}").unwrap();
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                [""] | ["#", ..] => {}
                ["config", "cold", settings @ ..] => harness = Self::new(settings),
                ["config", settings @ ..] => {
                    harness = Self::new(settings);
                    let is_idempotent = harness.sender.is_idempotent();
                    if is_idempotent {
                        harness = harness.warm();
                    }
                }
                words => harness.command(words, &mut text),
            }
        }
        text
    }
}

/// The batches of a request: partition, values, and under which producer, epoch and sequence they go.
fn batches(request: &ProduceRequest) -> String {
    let mut text = String::new();
    for topic in &request.topic_data {
        for data in &topic.partition_data {
            let bytes = data.records.as_ref().unwrap().to_bytes();
            let batch = RawBatch::parse(&bytes).unwrap();
            batch.verify_crc().unwrap();
            write!(text, " {}-{}[{}", topic.name, data.index, values(&batch).join(" ")).unwrap();
            if let Some(producer) = batch.header.producer {
                let sequence = producer.base_sequence.unwrap();
                write!(text, " | {}/{}/{}", producer.id, producer.epoch, sequence).unwrap();
            }
            text.push(']');
        }
    }
    text
}

pub(super) fn values(batch: &RawBatch) -> Vec<String> {
    let value = |record: crate::protocol::record_batch::Record| {
        String::from_utf8(record.value.unwrap().to_vec()).unwrap()
    };
    batch.records(usize::MAX).unwrap().map(|record| value(record.unwrap())).collect()
}

#[test]
fn goldens() {
    test_goldens::check("src/client/producer/testdata", Harness::play);
}
