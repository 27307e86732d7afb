//! The machine against goldens: `testdata/*.txt`. Lines with `>` are events, what follows them is what the machine did.
//! `UPDATE_EXPECT=1 cargo test` writes the answers anew; the reviewer reads the difference.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::log::{EpochEndOffset, ValidatedBatch};
use crate::protocol::compression::Compression;
use crate::protocol::record_batch::{BatchBuilder, BatchProducer, RawBatch};
use crate::replica::test_replica::{TestReplica, limits, node_config, produced};
use crate::replica::{
    Append, CutAt, FollowedBatches, FollowerFetch, FollowerFetched, IsrCommitted, IsrProposal,
    Retention, TruncateTo, Truncation,
};
use crate::types::{Acks, BrokerEpoch, BrokerId, ProducerEpoch, ProducerId, Sequence, Timestamp};

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

    fn epoch(&self, key: &str) -> Option<LeaderEpoch> {
        self.number(key).map(|epoch| LeaderEpoch::new(epoch.try_into().unwrap()))
    }

    fn version(&self) -> PartitionEpoch {
        PartitionEpoch::new(self.number("version").unwrap_or(0).try_into().unwrap())
    }

    fn broker(&self, key: &str) -> Option<BrokerId> {
        self.number(key).map(|id| BrokerId::new(id.try_into().unwrap()))
    }

    /// `key=1,2,3`.
    fn brokers(&self, key: &str) -> Option<Vec<BrokerId>> {
        let ids = self.text(key)?.split(',').filter(|id| !id.is_empty());
        Some(ids.map(|id| BrokerId::new(id.parse().unwrap())).collect())
    }

    /// `brokers=1@10,2@20`: broker and epoch.
    fn broker_epochs(&self) -> BTreeMap<BrokerId, BrokerEpoch> {
        let pairs = self.text("brokers").unwrap_or("").split(',').filter(|pair| !pair.is_empty());
        let pair = |pair: &str| {
            let (id, epoch) = pair.split_once('@').unwrap();
            (BrokerId::new(id.parse().unwrap()), BrokerEpoch::new(epoch.parse().unwrap()))
        };
        pairs.map(pair).collect()
    }
}

struct Golden {
    replica: TestReplica,
    proposal: Option<IsrProposal>,
}

/// `open` makes the machine: `node=`, `flush=` messages, `segment=` bytes, `end=` offset of an opened log, `min-isr=`, `lag-ms=`.
fn open(words: &Words<'_>) -> Golden {
    let end = Offset::new(words.number("end").unwrap_or(0));
    let segment_bytes = words.number("segment").unwrap_or(1_000).try_into().unwrap();
    let replica = TestReplica::empty(config(words), segment_bytes, end);
    Golden { replica, proposal: None }
}

fn config(words: &Words<'_>) -> PartitionConfig {
    let millis = |key| words.number(key).map(|ms| Duration::from_millis(ms.try_into().unwrap()));
    let usual = node_config(words.number("node").unwrap_or(1).try_into().unwrap());
    PartitionConfig {
        flush_messages: words.number("flush").map(|flush| flush.try_into().unwrap()),
        flush_interval: millis("flush-ms"),
        min_insync_replicas: words.number("min-isr").unwrap_or(1).try_into().unwrap(),
        lag_time_max: millis("lag-ms").unwrap_or(usual.lag_time_max),
        ..usual
    }
}

/// A batch of `records=` records that has `bytes=` bytes in all; of a producer with `pid=` and `seq=`.
fn batch(words: &Words<'_>) -> ValidatedBatch {
    let producer = words.number("pid").map(|id| BatchProducer {
        id: ProducerId::new(id),
        epoch: ProducerEpoch::new(words.number("epoch").unwrap_or(0).try_into().unwrap()),
        base_sequence: words.number("seq").map(|s| Sequence::new(s.try_into().unwrap())),
    });
    let records = words.number("records").unwrap_or(1).try_into().unwrap();
    let value = vec![7; words.number("value").unwrap_or(10).try_into().unwrap()];
    produced(records, &value, producer)
}

/// `batches=4:2,5:1` from `at=` on: two records of epoch 4, one of epoch 5.
fn fetched_batches(words: &Words<'_>) -> Vec<RawBatch> {
    let mut base_offset = words.offset("at");
    let mut batches = Vec::new();
    for pair in words.text("batches").unwrap_or("").split(',').filter(|pair| !pair.is_empty()) {
        let (epoch, records) = pair.split_once(':').unwrap();
        let mut builder = BatchBuilder::new(Compression::NONE);
        for _ in 0..records.parse::<u32>().unwrap() {
            builder.append(Timestamp::from_millis(1), None, Some(&[7; 10]), &[]);
        }
        let whole = RawBatch::parse(&builder.build()).unwrap();
        let stamped = whole.stamp(base_offset, LeaderEpoch::new(epoch.parse().unwrap()));
        let batch = RawBatch::parse(&Bytes::from(stamped.concat())).unwrap();
        base_offset = batch.header.end_offset();
        batches.push(batch);
    }
    batches
}

fn truncate_to(words: &Words<'_>) -> TruncateTo {
    if let Some(epoch) = words.epoch("epoch") {
        return TruncateTo::EpochEnd(EpochEndOffset { epoch, end_offset: words.offset("end") });
    }
    if words.text("start").is_some() {
        return TruncateTo::FullyAndStartAt(words.offset("start"));
    }
    TruncateTo::Offset(words.offset("to"))
}

/// The event of a line, or what the machine says to it before there is one.
fn event(name: &str, words: &Words<'_>, golden: &Golden) -> Result<Event, String> {
    let generation = words.number("generation").unwrap_or(0).try_into().unwrap();
    let machine = &golden.replica.machine;
    Ok(match name {
        "lead" => {
            let mut state = LeaderState::alone(machine.config.node, words.epoch("epoch").unwrap());
            state.partition_epoch = words.version();
            state.replicas = words.brokers("replicas").unwrap_or(state.replicas);
            state.isr = words.brokers("isr").unwrap_or(state.isr);
            state.broker_epochs = words.broker_epochs();
            Event::BecomeLeader(state)
        }
        "follow" => Event::BecomeFollower(FollowerState {
            leader: words.broker("leader"),
            leader_epoch: words.epoch("epoch").unwrap(),
            partition_epoch: words.version(),
        }),
        "resign" => Event::Resign,
        "fetch" => return follower_fetch(words, machine),
        "brokers" => Event::BrokerEpochs(words.broker_epochs()),
        "isr-answer" => {
            let proposal = golden.proposal.clone().unwrap();
            let answer = match words.brokers("isr") {
                Some(isr) => Ok(IsrCommitted {
                    leader_epoch: words.epoch("epoch").unwrap_or(proposal.leader_epoch),
                    partition_epoch: words.version(),
                    isr,
                    is_recovering: false,
                }),
                None => {
                    let named = |code: &&ErrorCode| Some(code.name()) == words.text("error");
                    Err(*ErrorCode::ALL.iter().find(named).unwrap())
                }
            };
            Event::IsrAnswered { proposal, answer }
        }
        "fetched" => {
            let batches = fetched_batches(words);
            let epoch = words.epoch("epoch").unwrap();
            let from = machine.fetched_from(epoch, words.offset("at"));
            let checked = from.and_then(|_| machine.check_follower_append(epoch, &batches));
            checked.map_err(|error| format!("refused {error}"))?;
            Event::AppendAsFollower(FollowedBatches {
                batches,
                leader_high_watermark: words.number("hw").map(Offset::new),
                leader_log_start_offset: words.number("start").map(Offset::new),
            })
        }
        "truncate" => {
            let epoch = words.epoch("term").unwrap();
            machine.check_follower(epoch).map_err(|error| format!("refused {error}"))?;
            if !machine.is_settled() {
                return Err("not settled".to_owned());
            }
            let truncation = golden.replica.truncation(truncate_to(words));
            if let CutAt::Offset(to) = machine.cut_at(truncate_to(words)) {
                let Truncation::At { to: end, .. } = &truncation else { unreachable!() };
                assert!(*end <= to);
            }
            Event::Truncate(truncation)
        }
        "configure" => Event::Configure { config: config(words), limits: limits(1_000) },
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
        "watch-end" => {
            Event::WatchLogEnd { waiter: words.waiter(), seen_end_offset: words.offset("seen") }
        }
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
    })
}

/// `fetch replica=2 at=10 term=5 last=4 broker=20`.
fn follower_fetch(words: &Words<'_>, machine: &Partition) -> Result<Event, String> {
    let fetch = FollowerFetch {
        replica: words.broker("replica").unwrap(),
        broker_epoch: words.number("broker").map(BrokerEpoch::new),
        current_leader_epoch: words.epoch("term"),
        fetch_offset: words.offset("at"),
        last_fetched_epoch: words.epoch("last"),
        log_start_offset: Offset::ZERO,
        max_bytes: 1_000,
        first_batch_whole: true,
        is_repeated: false,
    };
    match machine.check_follower_fetch(&fetch) {
        Err(error) => Err(format!("refused {error}")),
        Ok(Some(end)) => Err(format!("diverging: epoch {} ends at {}", end.epoch, end.end_offset)),
        Ok(None) => Ok(Event::FollowerFetched(FollowerFetched {
            replica: fetch.replica,
            broker_epoch: fetch.broker_epoch,
            current_leader_epoch: fetch.current_leader_epoch,
            fetch_offset: fetch.fetch_offset,
            log_start_offset: fetch.log_start_offset,
        })),
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
        Effect::SaveEpochs { epochs, version } => {
            let entries = epochs.entries().iter();
            let entries: Vec<String> =
                entries.map(|entry| format!("{}@{}", entry.epoch, entry.start_offset)).collect();
            format!("save epochs [{}] version={version}", entries.join(" "))
        }
        Effect::Truncate {
            segment, position, later, end_offset, lowers_recovery_point, ..
        } => {
            let later: Vec<i64> = later.iter().map(|offset| offset.value()).collect();
            let lowers = if *lowers_recovery_point { ", recovery point first" } else { "" };
            format!(
                "truncate to {end_offset} segment={segment} position={position} remove={later:?}{lowers}"
            )
        }
        Effect::Restart { segments, start_offset, .. } => {
            let segments: Vec<i64> = segments.iter().map(|offset| offset.value()).collect();
            format!("begin anew at {start_offset} remove={segments:?}")
        }
        Effect::ProposeIsr(proposal) => {
            let epoch = |epoch: Option<BrokerEpoch>| {
                epoch.map_or_else(|| "?".to_owned(), |epoch| epoch.to_string())
            };
            let isr = proposal.isr.iter().map(|(id, at)| format!("{id}@{}", epoch(*at)));
            format!(
                "propose ISR [{}] term={} version={}",
                isr.collect::<Vec<_>>().join(" "),
                proposal.leader_epoch,
                proposal.partition_epoch
            )
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
    let role = match &machine.state {
        State::Unassigned => "unassigned".to_owned(),
        State::Leader(leading) if leading.replicas.len() == 1 => {
            format!("leader({})", leading.epoch)
        }
        State::Leader(leading) => {
            let ids = |ids: Vec<BrokerId>| {
                ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
            };
            let (committed, maximal) = machine.in_sync_replicas().unwrap();
            let pending = if leading.isr.is_committed() {
                String::new()
            } else {
                format!("?{}", ids(maximal))
            };
            format!("leader({}) isr={}{pending}", leading.epoch, ids(committed))
        }
        State::Follower(following) => {
            let leader = following.leader.map_or_else(|| "none".to_owned(), |id| id.to_string());
            format!("follower({} of {leader})", following.epoch)
        }
        State::Offline => "offline".to_owned(),
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
                golden.replica.now.wall = Timestamp::from_millis(millis);
                let nanos = u64::try_from(millis).unwrap() * 1_000_000;
                golden.replica.now.monotonic = Monotonic::from_nanos(nanos);
                continue;
            }
            match event(name, &words, golden) {
                Err(said) => writeln!(out, "  {said}").unwrap(),
                Ok(event) => {
                    for effect in &golden.replica.handle(event) {
                        if let Effect::ProposeIsr(proposal) = effect {
                            golden.proposal = Some(proposal.clone());
                        }
                        writeln!(out, "  {}", describe(effect)).unwrap();
                    }
                }
            }
        }
        writeln!(out, "  = {}", state(&golden.as_ref().unwrap().replica.machine)).unwrap();
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
    followers_join_and_leave: "isr.txt";
    every_answer_to_a_proposal: "isr_answers.txt";
    a_lagging_watermark_cuts_nothing: "kip101.txt";
    logs_part_where_epochs_do: "kip279.txt";
    other_terms_are_refused: "kip320.txt";
    below_the_min_isr_nothing_is_committed: "kip966.txt";
    a_follower_has_what_its_leader_has: "follower.txt";
}
