//! The machine against goldens: `testdata/fetcher_*.txt`. Lines with `>` are events, what follows them is what the machine
//! did. `UPDATE_EXPECT=1 cargo test` writes the answers anew; the reviewer reads the difference.

use std::fmt::Write as _;

use bytes::Bytes;

use super::*;
use crate::protocol::messages::fetch_response::FetchableTopicResponse;
use crate::protocol::messages::list_offsets_response::ListOffsetsTopicResponse;
use crate::types::{PartitionIndex, Timestamp, Uuid};

/// The words of an event line: `name [pN] key=value …`; each partition of an answer is a word `pN:key=value,…`.
struct Words<'a>(Vec<&'a str>);

impl<'a> Words<'a> {
    fn text(&self, key: &str) -> Option<&'a str> {
        self.0.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    }

    fn number(&self, key: &str) -> Option<i64> {
        self.text(key).map(|text| text.parse().unwrap())
    }

    fn offset(&self, key: &str) -> Option<Offset> {
        self.number(key).map(Offset::new)
    }

    fn epoch(&self, key: &str) -> Option<LeaderEpoch> {
        self.number(key).map(|epoch| LeaderEpoch::new(epoch.try_into().unwrap()))
    }

    fn error(&self, key: &str) -> Option<ErrorCode> {
        let name = self.text(key)?;
        Some(*ErrorCode::ALL.iter().find(|code| code.name() == name).unwrap())
    }

    fn id(&self) -> TopicIdPartition {
        id(self.0.iter().find(|word| word.starts_with('p')).unwrap())
    }

    /// The partitions of an answer.
    fn partitions(&self) -> impl Iterator<Item = (TopicIdPartition, Words<'a>)> {
        let words = self.0.iter().filter_map(|word| word.split_once(':'));
        words.map(|(name, rest)| (id(name), Words(rest.split(',').collect())))
    }
}

fn topic() -> Uuid {
    Uuid::from_bytes([7; 16])
}

fn id(name: &str) -> TopicIdPartition {
    let partition = name.strip_prefix('p').unwrap().parse().unwrap();
    TopicIdPartition { topic_id: topic(), partition: PartitionIndex::new(partition) }
}

fn event(name: &str, words: &Words<'_>) -> Event {
    match name {
        "follow" => Event::Follow {
            partition: words.id(),
            topic: "t".into(),
            leader_epoch: words.epoch("epoch").unwrap(),
        },
        "unfollow" => Event::Unfollow { partition: words.id() },
        "done" => done(words),
        "lost" if words.text("question") == Some("offsets") => Event::OffsetsAnswered(None),
        "lost" => Event::FetchAnswered(None),
        "fetched" => Event::FetchAnswered(Some(fetched(words))),
        "offsets" => {
            let partitions = words.partitions().map(|(id, words)| ListOffsetsPartitionResponse {
                partition_index: id.partition,
                error_code: words.error("error").unwrap_or_default(),
                offset: words.offset("offset"),
                ..Default::default()
            });
            let topic =
                ListOffsetsTopicResponse { name: "t".to_owned(), partitions: partitions.collect() };
            Event::OffsetsAnswered(Some(ListOffsetsResponse {
                topics: vec![topic],
                ..Default::default()
            }))
        }
        "tick" => Event::Tick,
        other => panic!("nobody knows the event {other}"),
    }
}

/// `done pN epoch= [refused=ERROR] at= [fetched=] [start=]`, or `state=ERROR` for a log that cannot be located; `term=`
/// where the replica is in another one.
fn done(words: &Words<'_>) -> Event {
    let leader_epoch = words.epoch("epoch").unwrap();
    let state = match words.error("state") {
        Some(error) => Err(error),
        None => Ok(FetchState {
            leader: Some(BrokerId::new(2)),
            leader_epoch: words.epoch("term").unwrap_or(leader_epoch),
            offset: words.offset("at").unwrap(),
            last_fetched_epoch: words.epoch("fetched"),
            log_start_offset: words.offset("start").unwrap_or(Offset::ZERO),
        }),
    };
    let result = words.error("refused").map_or(Ok(()), Err);
    Event::Done { partition: words.id(), leader_epoch, result, state }
}

fn fetched(words: &Words<'_>) -> FetchResponse {
    let partitions = words.partitions().map(|(id, words)| {
        let mut data = PartitionData {
            partition_index: id.partition,
            error_code: words.error("error").unwrap_or_default(),
            high_watermark: words.offset("hw"),
            log_start_offset: words.offset("start"),
            ..Default::default()
        };
        let bytes = words.number("bytes").unwrap_or(0).try_into().unwrap();
        data.records = Some(Records::from(Bytes::from(vec![0; bytes])));
        if let Some((epoch, end)) = words.text("diverging").and_then(|text| text.split_once('@')) {
            data.diverging_epoch.epoch = Some(LeaderEpoch::new(epoch.parse().unwrap()));
            data.diverging_epoch.end_offset = Some(Offset::new(end.parse().unwrap()));
        }
        data
    });
    let partitions: Vec<_> = partitions.collect();
    let topic = FetchableTopicResponse {
        topic_id: topic(),
        partitions,
        ..FetchableTopicResponse::default()
    };
    FetchResponse {
        error_code: words.error("error").unwrap_or_default(),
        session_id: words.number("session").unwrap_or(0).try_into().unwrap(),
        responses: if topic.partitions.is_empty() { Vec::new() } else { vec![topic] },
        ..Default::default()
    }
}

fn epoch(epoch: Option<LeaderEpoch>) -> String {
    epoch.map_or_else(|| "none".to_owned(), |epoch| epoch.to_string())
}

fn describe(effect: &Effect) -> String {
    match effect {
        Effect::Fetch(request) => {
            let mut text =
                format!("fetch session={} request={}", request.session_id, request.session_epoch);
            for asked in request.topics.iter().flat_map(|topic| &topic.partitions) {
                write!(
                    text,
                    " p{}@{}(term {} fetched {} start {})",
                    asked.partition,
                    asked.fetch_offset.unwrap(),
                    asked.current_leader_epoch.unwrap(),
                    epoch(asked.last_fetched_epoch),
                    asked.log_start_offset.unwrap()
                )
                .unwrap();
            }
            for topic in &request.forgotten_topics_data {
                for partition in &topic.partitions {
                    write!(text, " forget p{partition}").unwrap();
                }
            }
            text
        }
        Effect::ListOffsets(request) => {
            let mut text = "list offsets".to_owned();
            for asked in request.topics.iter().flat_map(|topic| &topic.partitions) {
                write!(text, " p{} {:?}", asked.partition_index, asked.timestamp).unwrap();
            }
            text
        }
        Effect::Locate { partition, leader_epoch } => {
            format!("locate p{} term={leader_epoch}", partition.partition)
        }
        Effect::Append {
            partition,
            leader_epoch,
            fetch_offset,
            records,
            high_watermark,
            log_start_offset,
        } => format!(
            "append p{} term={leader_epoch} at={fetch_offset} bytes={} high_watermark={high_watermark} start={}",
            partition.partition,
            records.len(),
            log_start_offset.map_or_else(|| "unknown".to_owned(), |start| start.to_string())
        ),
        Effect::Truncate { partition, leader_epoch, to } => {
            format!("truncate p{} term={leader_epoch} to={to:?}", partition.partition)
        }
    }
}

fn state(machine: &Fetcher) -> String {
    let millis = |at: Monotonic| at.nanos() / 1_000_000;
    let mut text = String::new();
    for (id, followed) in &machine.partitions {
        let state = if let State::Delayed(until) = followed.state {
            format!("Delayed({} ms)", millis(until))
        } else {
            format!("{:?}", followed.state)
        };
        write!(text, "p{} {state} at {}, ", id.partition, followed.offset).unwrap();
    }
    match machine.deadline() {
        Some(deadline) => write!(text, "tick at {} ms", millis(deadline)).unwrap(),
        None => text.push_str("no tick"),
    }
    text
}

fn replay(text: &str) -> String {
    let mut out = String::new();
    let mut machine = Fetcher::new(FetcherConfig {
        node: BrokerId::new(1),
        wait_max: Duration::from_millis(500),
        bytes_min: 1,
        bytes_max: 1_000,
        partition_bytes_max: 100,
        backoff: Duration::from_millis(1_000),
    });
    let mut now = Now::default();
    for line in text.lines().filter(|line| line.starts_with(['>', '#']) || line.is_empty()) {
        writeln!(out, "{line}").unwrap();
        let Some(line) = line.strip_prefix("> ") else { continue };
        let mut words = line.split_ascii_whitespace();
        let name = words.next().unwrap();
        let words = Words(words.collect());
        if name == "time" {
            let millis = words.number("ms").unwrap();
            now.wall = Timestamp::from_millis(millis);
            now.monotonic = Monotonic::from_nanos(u64::try_from(millis).unwrap() * 1_000_000);
            continue;
        }
        let mut effects = Vec::new();
        machine.handle(now, event(name, &words), &mut effects);
        for effect in &effects {
            writeln!(out, "  {}", describe(effect)).unwrap();
        }
        writeln!(out, "  = {}", state(&machine)).unwrap();
    }
    out
}

macro_rules! goldens {
    ($($name:ident: $file:literal;)*) => {$(
        #[test]
        fn $name() {
            let text = include_str!(concat!("testdata/", $file));
            expect_test::expect_file![concat!("testdata/", $file)].assert_eq(&replay(text));
        }
    )*};
}

goldens! {
    records_are_in_the_log_before_the_next_are_asked_for: "fetcher_append.txt";
    a_log_that_parted_from_its_leaders_is_cut_in_rounds: "fetcher_diverging.txt";
    who_is_out_of_range_asks_for_the_leaders_ends: "fetcher_out_of_range.txt";
    batches_of_a_term_to_come_are_fetched_anew: "fetcher_term_to_come.txt";
    errors_are_waited_out_and_terms_awaited: "fetcher_errors.txt";
    a_session_that_is_lost_is_begun_anew: "fetcher_session.txt";
    what_was_asked_in_an_older_term_is_void: "fetcher_terms.txt";
}
