//! Goldens: `testdata/*.txt` holds what happens to a consumer and what comes of it. `UPDATE=1 cargo test` rewrites them.
//! Topic `t` has three partitions, all led by broker 1 unless `leader` says otherwise; metadata is answered at once.
//!
//! ```text
//! config NAME=VALUE …        the first line
//! assign P … | seek P OFFSET | beginning P … | end P … | pause P … | resume P …
//! poll | position P
//! committed P OFFSET E       the group is here, and has committed that of the partition; `config group.id=G` before
//! records R P BASE COUNT [E] in the answer to fetch R: a batch of partition P, of leader epoch E; `answer R` sends what
//!                            was gathered
//! error R P NAME [B/E]       the same with an error, and with a hint that broker B leads in epoch E
//! replica R P B              the same without records, with the word to read from broker B
//! diverging R P E OFFSET     the same with the word that epoch E ends there
//! nothing R P                the same without records
//! rotten R P BASE            the same with a batch whose checksum is wrong
//! answer R | cut R           end of request R
//! offset R P OFFSET [E]      in the answer to a question for offsets; `-` for none; `unlisted R P NAME`
//! times P=MS … | times       the owner asks for offsets by time (`first`, `last`: ends of the log); takes what was found
//! enough                     the owner does not wait any more
//! epoch R P E OFFSET         in the answer to a question for the end of an epoch; `-` for none; `refused R P NAME`
//! unserved R                 the node does not know the API
//! leader P BROKER EPOCH      what metadata says from now on
//! tick MS
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use bytes::BytesMut;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::ConsumerConfig;
use super::fetcher::{Effect, Event, Fetcher, RequestToken};
use super::offsets::{OffsetAndMetadata, Offsets};
use crate::protocol::compression::Compression;
use crate::protocol::messages::fetch_response::{
    self, FetchableTopicResponse, LeaderIdAndEpoch, PartitionData,
};
use crate::protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use crate::protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use crate::protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use crate::protocol::messages::{
    FetchResponse, ListOffsetsResponse, MetadataResponse, OffsetForLeaderEpochResponse,
};
use crate::protocol::record_batch::BatchBuilder;
use crate::protocol::{ApiKey, OffsetSpec, Records};
use crate::rpc::network_client::RpcError;
use crate::types::{
    BrokerId, ErrorCode, LeaderEpoch, Monotonic, Now, Offset, PartitionIndex, Timestamp,
    TopicPartition, test_goldens,
};

/// A request that waits, and the answer that is gathered for it.
enum Open {
    Fetch(RequestToken, Vec<PartitionData>),
    Offsets(RequestToken, Vec<ListOffsetsPartitionResponse>),
    EpochEnds(RequestToken, Vec<EpochEndOffset>),
}

struct Harness {
    fetcher: Fetcher,
    now: Monotonic,
    leaders: [(i32, i32); 3],
    open: BTreeMap<u64, Open>,
    next: u64,
}

fn partition(word: &str) -> TopicPartition {
    TopicPartition { topic: "t".into(), partition: index(word) }
}

fn index(word: &str) -> PartitionIndex {
    PartitionIndex::new(word.parse().unwrap())
}

fn partitions(words: &[&str]) -> Vec<TopicPartition> {
    words.iter().map(|word| partition(word)).collect()
}

impl Harness {
    fn new(settings: &[&str]) -> Self {
        let mut pairs = vec![("bootstrap.servers", "b:9092"), ("auto.offset.reset", "earliest")];
        pairs.extend(settings.iter().map(|setting| setting.split_once('=').unwrap()));
        let config = ConsumerConfig::new(pairs).unwrap();
        Self {
            fetcher: Fetcher::new(config, |_| StdRng::seed_from_u64(1)),
            now: Monotonic::from_nanos(1),
            leaders: [(1, 0); 3],
            open: BTreeMap::new(),
            next: 0,
        }
    }

    fn event(&mut self, event: Event, text: &mut String) {
        let mut out = Vec::new();
        let now = Now { monotonic: self.now, ..Now::default() };
        self.fetcher.handle(now, event, &mut out);
        for effect in out {
            let number = self.next;
            match effect {
                Effect::Metadata(_) => {
                    self.event(Event::MetadataAnswered(Ok(self.metadata())), text);
                }
                Effect::ListOffsets { target, token, request } => {
                    write!(text, "  r{number} to {:?}: ends of", target.node).unwrap();
                    for question in request.topics.iter().flat_map(|topic| &topic.partitions) {
                        write!(text, " {}={:?}", question.partition_index, question.timestamp)
                            .unwrap();
                    }
                    text.push('\n');
                    self.open.insert(number, Open::Offsets(token, Vec::new()));
                    self.next += 1;
                }
                Effect::EpochEnds { target, token, request } => {
                    write!(text, "  r{number} to {:?}: end of epoch", target.node).unwrap();
                    for question in request.topics.iter().flat_map(|topic| &topic.partitions) {
                        let epoch = question.leader_epoch.unwrap();
                        let under = question.current_leader_epoch.unwrap();
                        write!(text, " {}={epoch} under {under}", question.partition).unwrap();
                    }
                    text.push('\n');
                    self.open.insert(number, Open::EpochEnds(token, Vec::new()));
                    self.next += 1;
                }
                Effect::Fetch { target, token, request, .. } => {
                    write!(text, "  r{number} to {:?}: fetch", target.node).unwrap();
                    for question in request.topics.iter().flat_map(|topic| &topic.partitions) {
                        let offset = question.fetch_offset.unwrap();
                        write!(text, " {}@{offset}", question.partition).unwrap();
                        match question.current_leader_epoch.unwrap().value() {
                            0 => {}
                            epoch => write!(text, " under {epoch}").unwrap(),
                        }
                    }
                    if request.max_wait_ms < 500 {
                        write!(text, ", waits {} ms", request.max_wait_ms).unwrap();
                    }
                    text.push('\n');
                    self.open.insert(number, Open::Fetch(token, Vec::new()));
                    self.next += 1;
                }
            }
        }
    }

    fn metadata(&self) -> MetadataResponse {
        let partition = |(index, (leader, epoch)): (i32, &(i32, i32))| MetadataResponsePartition {
            partition_index: PartitionIndex::new(index),
            leader_id: Some(BrokerId::new(*leader)),
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

    fn gather(&mut self, request: &str, data: PartitionData) {
        let Some(Open::Fetch(_, answers)) = self.open.get_mut(&request.parse().unwrap()) else {
            panic!("r{request} is no fetch");
        };
        let known = answers.iter_mut().find(|a| a.partition_index == data.partition_index);
        match (known, data.records) {
            (Some(known), Some(records)) => {
                known.records.get_or_insert_default().extend(records.into_slices());
            }
            (_, records) => answers.push(PartitionData { records, ..data }),
        }
    }

    fn gather_epoch(&mut self, request: &str, answer: EpochEndOffset) {
        let Some(Open::EpochEnds(_, answers)) = self.open.get_mut(&request.parse().unwrap()) else {
            panic!("r{request} asks for no epochs");
        };
        answers.push(answer);
    }

    fn poll(&mut self, text: &mut String) {
        self.event(Event::Tick, text);
        match self.fetcher.take_records() {
            Ok(records) => {
                let places: Vec<String> =
                    records.iter().map(|r| format!("{}@{}", r.partition, r.offset)).collect();
                writeln!(text, "  records: {}", places.join(" ")).unwrap();
            }
            Err(error) => writeln!(text, "  error: {error}").unwrap(),
        }
        self.event(Event::Tick, text);
    }

    fn end(&mut self, request: &str, error: Option<RpcError>) -> Event {
        let open = self.open.remove(&request.parse().unwrap()).unwrap();
        match (open, error) {
            (Open::Fetch(token, _), Some(error)) => Event::FetchAnswered(token, Err(error)),
            (Open::Offsets(token, _), Some(error)) => Event::OffsetsAnswered(token, Err(error)),
            (Open::EpochEnds(token, _), Some(error)) => Event::EpochEndsAnswered(token, Err(error)),
            (Open::EpochEnds(token, partitions), None) => {
                let topics = vec![OffsetForLeaderTopicResult { topic: "t".to_owned(), partitions }];
                let response = OffsetForLeaderEpochResponse {
                    topics,
                    ..OffsetForLeaderEpochResponse::default()
                };
                Event::EpochEndsAnswered(token, Ok(response))
            }
            (Open::Fetch(token, partitions), None) => {
                let topic = "t".to_owned();
                let topic = FetchableTopicResponse {
                    topic,
                    partitions,
                    ..FetchableTopicResponse::default()
                };
                let responses = vec![topic];
                let response = FetchResponse { responses, ..FetchResponse::default() };
                Event::FetchAnswered(token, Ok(response))
            }
            (Open::Offsets(token, partitions), None) => {
                let topics = vec![ListOffsetsTopicResponse { name: "t".to_owned(), partitions }];
                let response = ListOffsetsResponse { topics, ..ListOffsetsResponse::default() };
                Event::OffsetsAnswered(token, Ok(response))
            }
        }
    }

    fn command(&mut self, words: &[&str], text: &mut String) {
        if let [
            "records" | "nothing" | "rotten" | "error" | "replica" | "diverging" | "answer" | "cut"
            | "offset" | "unlisted" | "epoch" | "refused" | "unserved",
            request,
            ..,
        ] = words
        {
            let open = self.open.get(&request.parse().unwrap());
            let fits = match (words[0], open) {
                (_, None) => false,
                ("answer" | "cut", Some(_)) => true,
                ("offset" | "unlisted", Some(open)) => matches!(open, Open::Offsets(..)),
                ("epoch" | "refused" | "unserved", Some(open)) => {
                    matches!(open, Open::EpochEnds(..))
                }
                (_, Some(open)) => matches!(open, Open::Fetch(..)),
            };
            if !fits {
                return writeln!(text, "  there is no such request").unwrap();
            }
        }
        match words {
            ["assign", words @ ..] => self.fetcher.assign(partitions(words)),
            ["seek", word, offset] => {
                let offset = Offset::new(offset.parse().unwrap());
                self.fetcher.seek(&partition(word), offset).unwrap();
            }
            ["committed", word, offset, epoch] => {
                let offset = Offset::new(offset.parse().unwrap());
                let leader_epoch = Some(LeaderEpoch::new(epoch.parse().unwrap()));
                let committed = OffsetAndMetadata { offset, leader_epoch, metadata: String::new() };
                let offsets = Offsets::from([(partition(word), committed)]);
                self.fetcher.start_at(&offsets, &BTreeSet::from([partition(word)]));
            }
            ["beginning", words @ ..] => {
                self.fetcher.seek_to(&partitions(words), OffsetSpec::Earliest).unwrap();
            }
            ["end", words @ ..] => {
                self.fetcher.seek_to(&partitions(words), OffsetSpec::Latest).unwrap();
            }
            ["pause", words @ ..] => self.fetcher.set_paused(&partitions(words), true).unwrap(),
            ["resume", words @ ..] => self.fetcher.set_paused(&partitions(words), false).unwrap(),
            ["poll"] => self.poll(text),
            ["position", word] => {
                let position = self.fetcher.position(&partition(word));
                writeln!(text, "  {position:?}").unwrap();
            }
            ["records", request, word, base, count, epoch @ ..] => {
                self.gather(request, data(word, batch(base, count, epoch.first().copied())));
            }
            ["replica", request, word, broker] => {
                let preferred_read_replica = Some(BrokerId::new(broker.parse().unwrap()));
                let nothing = data(word, Records::new());
                self.gather(request, PartitionData { preferred_read_replica, ..nothing });
            }
            ["diverging", request, word, epoch, offset] => {
                let diverging_epoch = fetch_response::EpochEndOffset {
                    epoch: epoch.parse().ok().map(LeaderEpoch::new),
                    end_offset: offset.parse().ok().map(Offset::new),
                };
                let nothing = data(word, Records::new());
                self.gather(request, PartitionData { diverging_epoch, ..nothing });
            }
            ["epoch", request, word, epoch, offset] => {
                self.gather_epoch(
                    request,
                    EpochEndOffset {
                        partition: index(word),
                        leader_epoch: epoch.parse().ok().map(LeaderEpoch::new),
                        end_offset: offset.parse().ok().map(Offset::new),
                        ..EpochEndOffset::default()
                    },
                );
            }
            ["refused", request, word, name] => {
                let error_code = error_code(name);
                let partition = index(word);
                self.gather_epoch(
                    request,
                    EpochEndOffset { error_code, partition, ..EpochEndOffset::default() },
                );
            }
            ["unserved", request] => {
                let api = ApiKey::OffsetForLeaderEpoch;
                let event = self.end(request, Some(RpcError::UnsupportedVersion { api }));
                self.event(event, text);
            }
            ["nothing", request, word] => self.gather(request, data(word, Records::new())),
            ["rotten", request, word, base] => {
                let mut bytes = BytesMut::from(&batch(base, "1", None).to_bytes()[..]);
                // Inside the value: without the checksum nobody would notice.
                let place = bytes.len() - 2;
                bytes[place] ^= 1;
                self.gather(request, data(word, Records::from(bytes.freeze())));
            }
            ["error", request, word, name, hint @ ..] => {
                let hint = hint.first().and_then(|hint| hint.split_once('/'));
                let current_leader =
                    hint.map_or_else(LeaderIdAndEpoch::default, |(leader, epoch)| {
                        LeaderIdAndEpoch {
                            leader_id: Some(BrokerId::new(leader.parse().unwrap())),
                            leader_epoch: Some(LeaderEpoch::new(epoch.parse().unwrap())),
                        }
                    });
                let (error_code, nothing) = (error_code(name), data(word, Records::new()));
                self.gather(request, PartitionData { error_code, current_leader, ..nothing });
            }
            ["offset", request, word, offset, epoch @ ..] => {
                let Some(Open::Offsets(_, answers)) = self.open.get_mut(&request.parse().unwrap())
                else {
                    panic!("r{request} asks for no offsets");
                };
                answers.push(ListOffsetsPartitionResponse {
                    partition_index: index(word),
                    offset: offset.parse().ok().map(Offset::new),
                    leader_epoch: epoch.first().map(|e| LeaderEpoch::new(e.parse().unwrap())),
                    ..ListOffsetsPartitionResponse::default()
                });
            }
            ["unlisted", request, word, name] => {
                let Some(Open::Offsets(_, answers)) = self.open.get_mut(&request.parse().unwrap())
                else {
                    panic!("r{request} asks for no offsets");
                };
                answers.push(ListOffsetsPartitionResponse {
                    partition_index: index(word),
                    error_code: error_code(name),
                    ..ListOffsetsPartitionResponse::default()
                });
            }
            ["times"] => match self.fetcher.take_lookup() {
                Ok(None) => writeln!(text, "  not yet").unwrap(),
                Ok(Some(found)) => {
                    for (partition, found) in found {
                        match found {
                            Some(found) => writeln!(text, "  {partition}@{}", found.offset),
                            None => writeln!(text, "  {partition}@-"),
                        }
                        .unwrap();
                    }
                }
                Err(error) => writeln!(text, "  error: {error}").unwrap(),
            },
            ["times", words @ ..] => {
                let wanted = words.iter().map(|word| {
                    let (at, time) = word.split_once('=').unwrap();
                    let spec = match time {
                        "first" => OffsetSpec::Earliest,
                        "last" => OffsetSpec::Latest,
                        millis => {
                            OffsetSpec::Timestamp(Timestamp::from_millis(millis.parse().unwrap()))
                        }
                    };
                    (partition(at), spec)
                });
                self.fetcher.begin_lookup(wanted.collect());
                self.event(Event::Tick, text);
            }
            ["enough"] => {
                writeln!(text, "  last: {:?}", self.fetcher.last_failure()).unwrap();
                self.fetcher.end_lookup();
            }
            ["answer", request] => {
                let event = self.end(request, None);
                self.event(event, text);
            }
            ["cut", request] => {
                let event = self.end(request, Some(RpcError::CutOff("reset".to_owned())));
                self.event(event, text);
            }
            ["leader", word, leader, epoch] => {
                let place: usize = word.parse().unwrap();
                self.leaders[place] = (leader.parse().unwrap(), epoch.parse().unwrap());
            }
            ["tick", millis] => {
                let end = self.now + Duration::from_millis(millis.parse().unwrap());
                while let Some(deadline) = self.fetcher.deadline()
                    && deadline <= end
                {
                    self.now = deadline;
                    self.event(Event::Tick, text);
                }
                self.now = end;
            }
            other => panic!("unknown command {other:?}"),
        }
    }

    fn play(commands: &str) -> String {
        let (mut harness, mut text) = (Self::new(&[]), String::new());
        for line in commands.lines().filter(|line| !line.starts_with(' ')) {
            writeln!(text, "{line}").unwrap();
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                [""] | ["#", ..] => {}
                ["config", settings @ ..] => harness = Self::new(settings),
                words => harness.command(words, &mut text),
            }
        }
        text
    }
}

fn data(word: &str, records: Records) -> PartitionData {
    PartitionData {
        partition_index: index(word),
        records: Some(records),
        ..PartitionData::default()
    }
}

fn error_code(name: &str) -> ErrorCode {
    *ErrorCode::ALL.iter().find(|code| code.name() == name).unwrap()
}

fn batch(base: &str, count: &str, epoch: Option<&str>) -> Records {
    let base = Offset::new(base.parse().unwrap());
    let mut builder = BatchBuilder::new(Compression::NONE).with_base_offset(base);
    if let Some(epoch) = epoch {
        builder = builder.with_leader_epoch(LeaderEpoch::new(epoch.parse().unwrap()));
    }
    for _ in 0..count.parse().unwrap() {
        builder.append(Timestamp::from_millis(1), None, Some(b"value"), &[]);
    }
    Records::from(builder.build())
}

#[test]
fn goldens() {
    test_goldens::check("src/client/consumer/testdata", Harness::play);
}
