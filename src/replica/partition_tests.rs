//! The machine against goldens: `testdata/*.txt`. Lines with `>` are events, what follows them is what the machine did.
//! `UPDATE_EXPECT=1 cargo test` writes the answers anew; the reviewer reads the difference.

use std::fmt::Write as _;

use super::*;
use crate::log::validator::{ValidationRules, validate_produced};
use crate::log::{IndexSizes, LogConfig, SegmentLimits};
use crate::protocol::compression::Compression;
use crate::protocol::record_batch::{BatchBuilder, BatchProducer};
use crate::types::{PartitionIndex, ProducerEpoch, Sequence, Uuid};

struct Golden {
    machine: Partition,
    now: Now,
}

/// The words of an event line: `name key=value …`.
struct Words<'a>(Vec<&'a str>);

impl<'a> Words<'a> {
    fn text(&self, key: &str) -> Option<&'a str> {
        self.0.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    }

    fn number(&self, key: &str) -> Option<i64> {
        self.text(key).map(|text| text.parse().unwrap())
    }

    fn offset(&self, key: &str) -> Offset {
        Offset::new(self.number(key).unwrap_or_else(|| panic!("{key}= is missing")))
    }

    fn waiter(&self) -> WaiterId {
        WaiterId(self.number("waiter").unwrap_or(0).try_into().unwrap())
    }
}

/// `open` makes the machine: `flush=` messages, `segment=` bytes, `end=` and `durable=` offsets of an opened log.
fn open(words: &Words<'_>) -> Golden {
    let limits = SegmentLimits {
        segment_bytes: words.number("segment").unwrap_or(1_000).try_into().unwrap(),
        segment_ms: 1_000_000,
        index: IndexSizes { interval_bytes: 100, index_bytes_max: 1_000 },
    };
    let end = Offset::new(words.number("end").unwrap_or(0));
    let log = LocalLog::empty(limits, end, Timestamp::from_millis(0));
    let config = PartitionConfig {
        flush_messages: words.number("flush").map(|flush| flush.try_into().unwrap()),
        flush_interval: words
            .number("flush-ms")
            .map(|millis| Duration::from_millis(millis.try_into().unwrap())),
        producer_expiration: Duration::from_secs(60),
        log_dir: 0,
    };
    let opened = OpenedState {
        log,
        producers: ProducerState::new(end),
        epochs: LeaderEpochCache::new(),
        high_watermark: end,
        durable_end_offset: end,
    };
    let id =
        TopicIdPartition { topic_id: Uuid::from_bytes([0; 16]), partition: PartitionIndex::new(0) };
    Golden { machine: Partition::new(id, config, opened), now: Now::default() }
}

/// A batch of `records=` records that has `bytes=` bytes in all; of a producer with `pid=` and `seq=`.
fn batch(words: &Words<'_>) -> ValidatedBatch {
    let producer = words.number("pid").map(|id| BatchProducer {
        id: ProducerId::new(id),
        epoch: ProducerEpoch::new(words.number("epoch").unwrap_or(0).try_into().unwrap()),
        base_sequence: words.number("seq").map(|s| Sequence::new(s.try_into().unwrap())),
    });
    let mut builder = BatchBuilder::new(Compression::NONE);
    if let Some(producer) = producer {
        builder.set_producer(producer);
    }
    let records = words.number("records").unwrap_or(1);
    for _ in 0..records {
        let value = vec![7; words.number("value").unwrap_or(10).try_into().unwrap()];
        builder.append(Timestamp::from_millis(1), None, Some(&value), &[]);
    }
    let config = LogConfig::default();
    validate_produced(&builder.build(), ValidationRules::new(&config, Timestamp::from_millis(1)))
        .unwrap()
}

fn event(name: &str, words: &Words<'_>) -> Event {
    let generation = words.number("generation").unwrap_or(0).try_into().unwrap();
    match name {
        "lead" => Event::BecomeLeader {
            epoch: LeaderEpoch::new(words.number("epoch").unwrap().try_into().unwrap()),
        },
        "resign" => Event::Resign,
        "append" => Event::Append(Append {
            waiter: words.waiter(),
            acks: match words.text("acks") {
                Some("0") => Acks::None,
                Some("1") => Acks::Leader,
                Some("all") | None => Acks::All,
                Some(other) => panic!("acks={other}"),
            },
            batch: batch(words),
        }),
        "written" => Event::Written { end_offset: words.offset("end"), generation },
        "write-failed" => Event::WriteFailed {
            no_space: words.text("space") == Some("none"),
            sync_dropped: words.text("sync") == Some("dropped"),
        },
        "synced" => Event::Synced { end_offset: words.offset("end"), generation },
        "sync-failed" => Event::SyncFailed,
        "checkpoint-saved" => Event::CheckpointSaved { end_offset: words.offset("end") },
        "checkpoint-dropped" => Event::CheckpointDropped,
        "dir-failed" => Event::DirFailed,
        "flush" => Event::Flush,
        "watch" => Event::Watch { waiter: words.waiter(), seen_end_offset: words.offset("seen") },
        "forget" => Event::Forget { waiter: words.waiter() },
        "delete-records" => Event::MoveLogStart { to: words.offset("to") },
        "retain" => Event::Retain(Retention {
            age_max: words
                .number("ms")
                .map(|millis| Duration::from_millis(millis.try_into().unwrap())),
            bytes_max: words.number("bytes").map(|bytes| bytes.try_into().unwrap()),
        }),
        "tick" => Event::Tick,
        other => panic!("nobody knows the event {other}"),
    }
}

fn describe(effect: &Effect) -> String {
    match effect {
        Effect::Roll { segment } => format!("roll segment={segment}"),
        Effect::Write { segment, position, slices, base_offset, end_offset, generation } => {
            let bytes = slices[0].len() + slices[1].len();
            format!(
                "write {base_offset}..{end_offset} segment={segment} position={position} \
                 bytes={bytes} generation={generation}"
            )
        }
        Effect::Cut { segment, position, later } => {
            let later: Vec<i64> = later.iter().map(|offset| offset.value()).collect();
            format!("cut segment={segment} position={position} remove={later:?}")
        }
        Effect::Sync { segments, end_offset, generation } => {
            let segments: Vec<i64> = segments.iter().map(|offset| offset.value()).collect();
            format!("sync end={end_offset} segments={segments:?} generation={generation}")
        }
        Effect::SaveCheckpoint(checkpoint) => format!(
            "save checkpoint end={} snapshot={} bytes, {} index parts",
            checkpoint.end_offset,
            checkpoint.snapshot.len(),
            checkpoint.indexes.len()
        ),
        Effect::RemoveSegments { segments, log_start_offset } => {
            let segments: Vec<i64> = segments.iter().map(|offset| offset.value()).collect();
            format!("remove segments={segments:?} start={log_start_offset}")
        }
        Effect::FailDir => "take the directory offline".to_owned(),
        Effect::Answer { waiter, result: Ok(answer) } => {
            format!("answer {} {}..{}", waiter.0, answer.base_offset, answer.end_offset)
        }
        Effect::Answer { waiter, result: Err(error) } => format!("answer {} {error}", waiter.0),
        Effect::Readable { waiter, bytes: u64::MAX } => format!("look again {}", waiter.0),
        Effect::Readable { waiter, bytes } => format!("readable {} bytes={bytes}", waiter.0),
        Effect::Observe(observation) => {
            let text = format!("{observation:?}");
            let name = text.split_once(' ').map_or(text.as_str(), |(name, _)| name);
            format!("observe {name}")
        }
    }
}

fn state(machine: &Partition) -> String {
    let role = match machine.role {
        Role::Unassigned => "unassigned".to_owned(),
        Role::Leader { epoch, .. } => format!("leader({epoch})"),
        Role::Offline => "offline".to_owned(),
    };
    format!(
        "{role} start={} high_watermark={} synced={} written={} assigned={} generation={}",
        machine.log.log_start_offset(),
        machine.high_watermark,
        machine.synced,
        machine.written,
        machine.log.log_end_offset(),
        machine.generation
    )
}

fn replay(text: &str) -> String {
    let mut out = String::new();
    let mut golden: Option<Golden> = None;
    for line in text.lines().filter(|line| line.starts_with(['>', '#']) || line.is_empty()) {
        writeln!(out, "{line}").unwrap();
        let Some(line) = line.strip_prefix("> ") else { continue };
        let mut words = line.split_ascii_whitespace();
        let name = words.next().unwrap();
        let words = Words(words.collect());
        if name == "open" {
            golden = Some(open(&words));
        } else {
            let golden = golden.as_mut().expect("`> open` is the first event");
            if name == "time" {
                let millis = words.number("ms").unwrap();
                golden.now.wall = Timestamp::from_millis(millis);
                let nanos = u64::try_from(millis).unwrap() * 1_000_000;
                golden.now.monotonic = Monotonic::from_nanos(nanos);
                continue;
            }
            let mut effects = Vec::new();
            golden.machine.handle(golden.now, event(name, &words), &mut effects);
            for effect in &effects {
                writeln!(out, "  {}", describe(effect)).unwrap();
            }
        }
        writeln!(out, "  = {}", state(&golden.as_ref().unwrap().machine)).unwrap();
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
    appends_are_answered_when_written_or_committed: "append.txt";
    with_flush_1_nothing_counts_before_it_is_durable: "flush.txt";
    no_space_takes_back_what_was_assigned: "no_space.txt";
    a_failed_disk_fails_all_who_wait: "disk_failure.txt";
    a_duplicate_gets_the_first_answer: "duplicate.txt";
    segments_roll_and_checkpoints_follow: "roll.txt";
    old_segments_and_deleted_records_go: "retention.txt";
    readers_are_told_of_more: "watch.txt";
}
