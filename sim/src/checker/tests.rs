//! Each check fires on a hand-made violation, and none fires on a run without one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use ottla::types::{
    Acks, BrokerSet, LeaderEpoch, Observation, Offset, PartitionIndex, ProducerEpoch, ProducerId,
    ProducerStamp, Sequence, TopicIdPartition, TopicPartition, Uuid,
};

use super::segment_reader::crc32c;
use super::{Checkers, Context, Disks, Event, Occurrence, Stop, Violation, history_checks};
use crate::history::{FINAL_READER, History, Outcome, Poll, Read, SendId, Sent};
use crate::world::{NodeId, SimTime};

const NODE: NodeId = NodeId(0);

fn partition() -> TopicIdPartition {
    TopicIdPartition { topic_id: Uuid::from_bytes([7; 16]), partition: PartitionIndex::new(0) }
}

fn stamp(epoch: i16, sequence: i32) -> ProducerStamp {
    ProducerStamp {
        id: ProducerId::new(9),
        epoch: ProducerEpoch::new(epoch),
        base_sequence: Sequence::new(sequence),
    }
}

fn appended(base: i64, end: i64, crc: u32, producer: Option<ProducerStamp>) -> Event {
    Event::Observed(Observation::ProduceAppended {
        partition: partition(),
        leader_epoch: LeaderEpoch::new(0),
        base_offset: Offset::new(base),
        end_offset: Offset::new(end),
        producer,
        crc,
    })
}

fn flushed(end: i64) -> Event {
    Event::Observed(Observation::LogFlushed {
        partition: partition(),
        end_offset: Offset::new(end),
    })
}

fn recovered(end: i64) -> Event {
    Event::Observed(Observation::LogRecovered {
        partition: partition(),
        log_start_offset: Offset::ZERO,
        log_end_offset: Offset::new(end),
        bytes_scanned: 0,
        bytes_cut: 0,
    })
}

fn acked(base: i64, end: i64) -> Event {
    Event::Observed(Observation::ProduceAcked {
        partition: partition(),
        leader_epoch: LeaderEpoch::new(0),
        base_offset: Offset::new(base),
        end_offset: Offset::new(end),
        acks: Acks::All,
    })
}

fn watermark(from: i64, to: i64) -> Event {
    Event::Observed(Observation::HighWatermarkAdvanced {
        partition: partition(),
        from: Offset::new(from),
        to: Offset::new(to),
        is_leader: true,
        leader_epoch: Some(LeaderEpoch::new(0)),
        isr: BrokerSet::EMPTY,
        maximal_isr: BrokerSet::EMPTY,
    })
}

/// The names of the checks that fire.
fn fired(events: &[Event]) -> Vec<&'static str> {
    let mut checkers = Checkers::new();
    for (index, event) in events.iter().enumerate() {
        checkers.on_event(&Occurrence { at: SimTime(index as u64), node: NODE, event: *event });
    }
    names(checkers.violations())
}

fn names(violations: &[Violation]) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = violations.iter().map(|violation| violation.check).collect();
    names.dedup();
    names
}

#[test]
fn a_run_in_order_fires_nothing() {
    let none: Vec<&str> = Vec::new();
    let served = Event::Observed(Observation::FetchServed {
        partition: partition(),
        fetch_offset: Offset::ZERO,
        end_offset: Offset::new(5),
        high_watermark: Offset::new(5),
    });
    let events = [
        Event::Started,
        appended(0, 3, 1, Some(stamp(0, 0))),
        watermark(0, 3),
        acked(0, 3),
        appended(3, 5, 2, Some(stamp(0, 3))),
        watermark(3, 5),
        served,
        flushed(3),
        Event::Stopped(Stop::PowerLoss),
        Event::Started,
        recovered(3),
        Event::Stopped(Stop::Kill),
        Event::Started,
        recovered(3),
        appended(3, 4, 3, Some(stamp(1, 0))),
    ];
    // The last append reuses offset 3 in the same leader epoch, which R3 must see; a new epoch would be in order.
    assert_eq!(fired(&events[..events.len() - 1]), none);
    assert_eq!(fired(&events), ["R3"]);
}

#[test]
fn r3_sees_two_records_at_one_place() {
    let truncated = Event::Observed(Observation::LogTruncated {
        partition: partition(),
        from: Offset::new(2),
        to: Offset::ZERO,
    });
    assert_eq!(
        fired(&[Event::Started, appended(0, 2, 1, None), truncated, appended(0, 2, 5, None)]),
        ["R3"]
    );
}

#[test]
fn r15_sees_an_acknowledgement_of_what_is_not_written_or_not_committed() {
    assert_eq!(fired(&[Event::Started, appended(0, 2, 1, None), acked(2, 3)]), ["R15"]);
    let committed = [Event::Started, appended(0, 2, 1, None), watermark(0, 2)];
    assert!(fired(&[&committed[..], &[acked(0, 2)]].concat()).is_empty());
    let ahead = [appended(2, 4, 2, None), acked(2, 4)];
    assert_eq!(fired(&[&committed[..], &ahead].concat()), ["R15"]);
}

#[test]
fn r12_sees_a_watermark_beyond_the_log_and_a_fetch_beyond_the_watermark() {
    assert_eq!(fired(&[Event::Started, appended(0, 2, 1, None), watermark(0, 3)]), ["R12"]);
    let served = Event::Observed(Observation::FetchServed {
        partition: partition(),
        fetch_offset: Offset::ZERO,
        end_offset: Offset::new(2),
        high_watermark: Offset::new(1),
    });
    assert_eq!(fired(&[Event::Started, appended(0, 2, 1, None), watermark(0, 1), served]), ["R12"]);
}

#[test]
fn s1_sees_two_recoveries_that_disagree() {
    let events = [
        Event::Started,
        appended(0, 2, 1, None),
        appended(2, 4, 2, None),
        flushed(2),
        Event::Stopped(Stop::PowerLoss),
        Event::Started,
        recovered(4),
        Event::Stopped(Stop::Kill),
        Event::Started,
        recovered(2),
    ];
    assert!(fired(&events).contains(&"S1"));
}

#[test]
fn s2_sees_lost_bytes_and_a_cut_batch() {
    let start = [Event::Started, appended(0, 3, 1, None), flushed(3), appended(3, 6, 2, None)];
    let after =
        |stop, end| [&start[..], &[Event::Stopped(stop), Event::Started, recovered(end)]].concat();
    assert_eq!(fired(&after(Stop::PowerLoss, 0)), ["S2"], "synced bytes are gone");
    assert_eq!(fired(&after(Stop::Kill, 3)), ["S2"], "the page cache survives a kill");
    assert_eq!(fired(&after(Stop::PowerLoss, 5)), ["S2"], "no batch ends there");
    assert!(fired(&after(Stop::PowerLoss, 3)).is_empty());
    assert!(fired(&after(Stop::Kill, 6)).is_empty());
}

#[test]
fn s4_sees_an_offset_given_twice_and_a_gap() {
    assert_eq!(fired(&[Event::Started, appended(0, 2, 1, None), appended(1, 3, 2, None)]), ["S4"]);
    assert_eq!(fired(&[Event::Started, appended(0, 2, 1, None), appended(3, 4, 2, None)]), ["S4"]);
}

#[test]
fn t1_t14_and_t15_see_broken_sequences() {
    let first = appended(0, 2, 1, Some(stamp(0, 0)));
    assert_eq!(fired(&[Event::Started, first, appended(2, 3, 2, Some(stamp(0, 5)))]), ["T1"]);
    assert_eq!(fired(&[Event::Started, first, appended(2, 4, 1, Some(stamp(0, 0)))]), ["T14"]);
    let duplicate = |offset| {
        Event::Observed(Observation::ProduceDuplicate {
            partition: partition(),
            base_offset: Offset::new(offset),
            producer: stamp(0, 0),
        })
    };
    assert_eq!(fired(&[Event::Started, first, duplicate(1)]), ["T15"]);
    assert!(fired(&[Event::Started, first, duplicate(0)]).is_empty());
}

#[test]
fn t2_sees_an_older_epoch() {
    assert!(
        fired(&[
            Event::Started,
            appended(0, 2, 1, Some(stamp(3, 0))),
            appended(2, 3, 2, Some(stamp(2, 0)))
        ])
        .contains(&"T2")
    );
}

// ── Disks ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

#[derive(Default)]
struct Files {
    cached: BTreeMap<PathBuf, Bytes>,
    durable: BTreeMap<PathBuf, Bytes>,
}

impl Files {
    fn put(&mut self, name: &str, bytes: impl Into<Bytes>) -> &mut Self {
        let bytes = bytes.into();
        let path = Path::new("/d0").join(name);
        self.cached.insert(path.clone(), bytes.clone());
        self.durable.insert(path, bytes);
        self
    }

    fn with_partition() -> Self {
        let mut files = Self::default();
        files.put(
            "t-0/partition.metadata",
            format!("version: 0\ntopic_id: {}", partition().topic_id),
        );
        files
    }

    /// What the disk checks say of these files, after these events.
    fn fired(&self, events: &[Event]) -> Vec<&'static str> {
        let mut checkers = Checkers::new();
        for event in events {
            checkers.on_event(&Occurrence { at: SimTime(0), node: NODE, event: *event });
        }
        checkers.learn_places(self, NODE);
        checkers.at_barrier(self, NODE, SimTime(1));
        names(checkers.violations())
    }
}

impl Disks for Files {
    fn log_dirs(&self, _node: NodeId) -> Vec<PathBuf> {
        vec![PathBuf::from("/d0")]
    }

    fn files(&self, _node: NodeId, below: &Path) -> Vec<PathBuf> {
        self.cached.keys().filter(|path| path.starts_with(below)).cloned().collect()
    }

    fn cached(&self, _node: NodeId, path: &Path) -> Option<Bytes> {
        self.cached.get(path).cloned()
    }

    fn durable(&self, _node: NodeId, path: &Path) -> Option<Bytes> {
        self.durable.get(path).cloned()
    }
}

/// A batch of `base..end` as it lies in a file, with its checksum.
fn batch(base: i64, end: i64, producer: Option<(i64, i16, i32)>) -> Vec<u8> {
    let (id, epoch, sequence) = producer.unwrap_or((-1, -1, -1));
    let mut body = BytesMut::new();
    body.put_i16(0);
    body.put_i32(i32::try_from(end - base - 1).unwrap());
    body.put_i64(1_000);
    body.put_i64(1_000);
    body.put_i64(id);
    body.put_i16(epoch);
    body.put_i32(sequence);
    body.put_i32(i32::try_from(end - base).unwrap());
    body.put_slice(&[0; 20]);
    let mut batch = BytesMut::new();
    batch.put_i64(base);
    batch.put_i32(i32::try_from(body.len() + 9).unwrap());
    batch.put_i32(0);
    batch.put_i8(2);
    batch.put_u32(crc32c(&body));
    batch.put_slice(&body);
    batch.to_vec()
}

fn segment(batches: &[(i64, i64)]) -> Vec<u8> {
    batches.iter().flat_map(|(base, end)| batch(*base, *end, None)).collect()
}

const LOG: &str = "t-0/00000000000000000000.log";

#[test]
fn disks_in_order_fire_nothing() {
    let mut files = Files::with_partition();
    files
        .put(LOG, segment(&[(0, 2), (2, 5)]))
        .put("t-0/00000000000000000005.log", segment(&[(5, 6)]));
    let position = i32::try_from(batch(0, 2, None).len()).unwrap();
    files.put(
        "t-0/00000000000000000000.index",
        [4i32.to_be_bytes(), position.to_be_bytes()].concat(),
    );
    files.put("recovery-point-offset-checkpoint", "0\n1\nt 0 5\n");
    assert!(files.fired(&[Event::Started]).is_empty());
}

#[test]
fn batches_that_a_kill_left_untold_are_learnt_from_the_disk() {
    let mut files = Files::with_partition();
    let told = batch(0, 2, Some((9, 0, 0)));
    let crc = u32::from_be_bytes(told[17..21].try_into().unwrap());
    let untold = batch(2, 5, Some((9, 0, 2)));
    files.put(LOG, [told, untold].concat());
    let first = appended(0, 2, crc, Some(stamp(0, 0)));
    let duplicate = |base| {
        Event::Observed(Observation::ProduceDuplicate {
            partition: partition(),
            base_offset: Offset::new(base),
            producer: stamp(0, 2),
        })
    };
    let fired_with = |last: Event| {
        let mut checkers = Checkers::new();
        let tell = |checkers: &mut Checkers, event| {
            checkers.on_event(&Occurrence { at: SimTime(0), node: NODE, event })
        };
        for event in [Event::Started, first, Event::Stopped(Stop::Kill)] {
            tell(&mut checkers, event);
        }
        checkers.learn_places(&files, NODE);
        for event in [Event::Started, recovered(5), last] {
            tell(&mut checkers, event);
        }
        names(checkers.violations())
    };
    assert!(fired_with(duplicate(2)).is_empty());
    assert!(fired_with(appended(5, 6, 1, Some(stamp(0, 5)))).is_empty());
    assert_eq!(fired_with(duplicate(1)), ["T15"]);
    assert_eq!(fired_with(appended(5, 6, 1, Some(stamp(0, 2)))), ["T14"]);
}

#[test]
fn s2_sees_a_torn_batch_that_was_kept() {
    let mut files = Files::with_partition();
    let mut torn = segment(&[(0, 2), (2, 5)]);
    *torn.last_mut().unwrap() ^= 1;
    files.put(LOG, torn);
    let open = [Event::Started, recovered(5)];
    assert_eq!(files.fired(&open), ["S2"]);
    assert!(files.fired(&[&open[..], &[Event::DiskRotted]].concat()).is_empty());
    // Before the log is opened anew it may end in whatever the power loss left.
    let restarted = [Event::Stopped(Stop::PowerLoss), Event::Started];
    assert!(files.fired(&[&open[..], &restarted].concat()).is_empty());
}

#[test]
fn r3_sees_another_record_on_disk() {
    let mut files = Files::with_partition();
    files.put(LOG, segment(&[(0, 2)]));
    assert_eq!(files.fired(&[Event::Started, appended(0, 2, 77, None)]), ["R3"]);
}

#[test]
fn s3_sees_an_index_entry_that_names_no_batch() {
    let mut files = Files::with_partition();
    files.put(LOG, segment(&[(0, 2), (2, 5)]));
    files.put("t-0/00000000000000000000.index", [4i32.to_be_bytes(), 3i32.to_be_bytes()].concat());
    assert_eq!(files.fired(&[Event::Started]), ["S3"]);
    let mut files = Files::with_partition();
    files.put(LOG, segment(&[(0, 2), (2, 5)]));
    files.put(
        "t-0/00000000000000000000.timeindex",
        [&5_000i64.to_be_bytes()[..], &4i32.to_be_bytes()[..]].concat(),
    );
    assert_eq!(files.fired(&[Event::Started]), ["S3"]);
}

#[test]
fn s4_sees_a_gap_between_segments_and_within_one() {
    let mut files = Files::with_partition();
    files.put(LOG, segment(&[(0, 2)])).put("t-0/00000000000000000003.log", segment(&[(3, 4)]));
    assert_eq!(files.fired(&[Event::Started]), ["S4"]);
    let mut files = Files::with_partition();
    files.put(LOG, segment(&[(0, 2), (3, 4)]));
    assert_eq!(files.fired(&[Event::Started]), ["S4"]);
}

#[test]
fn s5_sees_a_clean_marker_over_dirty_bytes_and_a_recovery_point_too_far() {
    let mut files = Files::with_partition();
    files.put(LOG, segment(&[(0, 2), (2, 5)])).put(".kafka_cleanshutdown", "{}");
    files.durable.insert(Path::new("/d0").join(LOG), segment(&[(0, 2)]).into());
    assert_eq!(files.fired(&[Event::Started, Event::Stopped(Stop::Shutdown)]), ["S5"]);
    let mut files = Files::with_partition();
    files
        .put(LOG, segment(&[(0, 2), (2, 5)]))
        .put("recovery-point-offset-checkpoint", "0\n1\nt 0 5\n");
    files.durable.insert(Path::new("/d0").join(LOG), segment(&[(0, 2)]).into());
    assert_eq!(files.fired(&[Event::Started]), ["S5"]);
}

#[test]
fn s6_sees_a_torn_checkpoint() {
    let mut files = Files::with_partition();
    files.put("recovery-point-offset-checkpoint", "0\n2\nt 0 0\n");
    assert_eq!(files.fired(&[Event::Started]), ["S6"]);
}

#[test]
fn s9_sees_an_acknowledgement_on_a_failed_directory() {
    let mut files = Files::with_partition();
    files.put(LOG, segment(&[(0, 2)]));
    let mut checkers = Checkers::new();
    let tell = |checkers: &mut Checkers, event| {
        checkers.on_event(&Occurrence { at: SimTime(0), node: NODE, event })
    };
    tell(&mut checkers, Event::Started);
    checkers.learn_places(&files, NODE);
    tell(&mut checkers, appended(0, 2, 1, None));
    tell(&mut checkers, acked(0, 1));
    assert!(checkers.violations().is_empty());
    tell(&mut checkers, Event::DiskFailed { log_dir: 0 });
    tell(&mut checkers, acked(1, 2));
    assert_eq!(names(checkers.violations()), ["S9"]);
}

#[test]
fn t11_sees_a_snapshot_that_is_not_the_fold() {
    let snapshot = |last_sequence: i32| {
        let mut body = BytesMut::new();
        body.put_i32(1);
        body.put_i64(9);
        body.put_i16(0);
        body.put_i32(last_sequence);
        body.put_i64(1);
        body.put_i32(1);
        body.put_i64(1_000);
        body.put_i32(-1);
        body.put_i64(-1);
        let mut file = BytesMut::new();
        file.put_i16(1);
        file.put_u32(crc32c(&body));
        file.put_slice(&body);
        file.to_vec()
    };
    let fired = |last_sequence| {
        let mut files = Files::with_partition();
        files.put(LOG, batch(0, 2, Some((9, 0, 0))));
        files.put("t-0/00000000000000000002.snapshot", snapshot(last_sequence));
        files.fired(&[Event::Started])
    };
    assert!(fired(1).is_empty());
    assert_eq!(fired(4), ["T11"]);
}

// ── Histories ──────────────────────────────────────────────────────────────────────────────────────────────────────────

fn orders() -> TopicPartition {
    TopicPartition { topic: "orders".into(), partition: PartitionIndex::new(0) }
}

/// Records 0.. of an idempotent producer, each acknowledged at its own number.
fn sent(count: u64) -> History {
    let sent = (0..count).map(|id| Sent {
        id: SendId(id),
        client: "writer/0".into(),
        incarnation: 1,
        partition: Some(orders()),
        key: None,
        acks: Acks::All,
        is_idempotent: true,
        is_ordered: true,
        sent_at: SimTime(id * 10),
        done_at: Some(SimTime(id * 10 + 5)),
        outcome: Outcome::Acked { offset: Some(Offset::new(i64::try_from(id).unwrap())) },
    });
    History { sent: sent.collect(), final_read_complete: true, ..History::default() }
}

fn poll(client: &str, records: &[(i64, u64)]) -> Poll {
    let records = records.iter().map(|(offset, id)| Read {
        partition: orders(),
        offset: Offset::new(*offset),
        id: Some(SendId(*id)),
        content: *id,
    });
    Poll {
        client: Arc::from(client),
        at: SimTime(1_000),
        records: records.collect(),
        repositioned: Vec::new(),
    }
}

fn history_fired(history: &History) -> Vec<&'static str> {
    let context = Context { end: SimTime(2_000), may_be_lost: &|_| false, records_removed: false };
    names(&history_checks(history, &context))
}

const ALL: [(i64, u64); 4] = [(0, 0), (1, 1), (2, 2), (3, 3)];

fn with_final(mut polls: Vec<Poll>, last: &[(i64, u64)]) -> History {
    let mut history = sent(4);
    polls.push(poll(FINAL_READER, last));
    history.polls = polls;
    history
}

#[test]
fn a_history_in_order_fires_nothing() {
    let polls = vec![poll("reader/0", &ALL[..2]), poll("reader/0", &ALL[2..])];
    assert!(history_fired(&with_final(polls, &ALL)).is_empty());
}

#[test]
fn lost_write_and_unseen_see_a_missing_record() {
    assert_eq!(history_fired(&with_final(Vec::new(), &ALL[..3])), ["lost-write", "unseen"]);
    let seen_once = vec![poll("reader/0", &ALL)];
    assert_eq!(history_fired(&with_final(seen_once, &ALL[..3])), ["lost-write"]);
}

#[test]
fn a_declared_loss_is_none() {
    let history = with_final(Vec::new(), &ALL[..3]);
    let context = Context {
        end: SimTime(2_000),
        may_be_lost: &|sent| sent.id == SendId(3),
        records_removed: false,
    };
    assert!(history_checks(&history, &context).is_empty());
}

#[test]
fn duplicate_sees_a_record_at_two_offsets() {
    let log = [ALL[0], ALL[1], ALL[2], ALL[3], (4, 1)];
    assert!(history_fired(&with_final(Vec::new(), &log)).contains(&"duplicate"));
}

#[test]
fn inconsistent_offsets_sees_two_records_at_one_offset() {
    assert!(
        history_fired(&with_final(vec![poll("reader/0", &[(1, 2)])], &ALL))
            .contains(&"inconsistent-offsets")
    );
}

#[test]
fn phantom_and_s10_see_what_nobody_sent() {
    assert!(
        history_fired(&with_final(vec![poll("reader/0", &[(9, 77)])], &ALL)).contains(&"phantom")
    );
    let mut history = with_final(vec![poll("reader/0", &ALL[..1])], &ALL);
    history.polls[0].records[0].id = None;
    assert!(history_fired(&history).contains(&"S10"));
    let mut history = with_final(Vec::new(), &ALL);
    history.sent[2].partition =
        Some(TopicPartition { topic: "other".into(), partition: PartitionIndex::new(0) });
    assert!(history_fired(&history).contains(&"phantom"));
}

#[test]
fn polls_that_skip_or_go_back_are_seen() {
    let fired = |polls| history_fired(&with_final(polls, &ALL));
    assert_eq!(fired(vec![poll("reader/0", &[ALL[0], ALL[2]])]), ["int-poll-skip"]);
    assert_eq!(fired(vec![poll("reader/0", &[ALL[1], ALL[0]])]), ["int-nonmonotonic-poll"]);
    assert_eq!(
        fired(vec![poll("reader/0", &ALL[..1]), poll("reader/0", &ALL[2..])]),
        ["poll-skip"]
    );
    assert_eq!(
        fired(vec![poll("reader/0", &ALL[..2]), poll("reader/0", &ALL[1..])]),
        ["nonmonotonic-poll"]
    );
    let mut sought = vec![poll("reader/0", &ALL[..2]), poll("reader/0", &ALL[..1])];
    sought[1].repositioned = vec![orders()];
    assert!(fired(sought).is_empty(), "a seek explains it");
}

#[test]
fn sends_that_stand_out_of_order_are_seen() {
    let log = [(0, 0), (1, 2), (2, 1), (3, 3)];
    assert_eq!(history_fired(&with_final(Vec::new(), &log)), ["nonmonotonic-send"]);
    let mut history = with_final(Vec::new(), &log);
    history.sent[2].sent_at = history.sent[1].sent_at;
    assert_eq!(history_fired(&history), ["int-nonmonotonic-send"]);
    let mut history = with_final(Vec::new(), &log);
    history.sent.iter_mut().for_each(|sent| sent.is_ordered = false);
    assert!(
        history_fired(&history).is_empty(),
        "five in flight without idempotence promise no order"
    );
}
