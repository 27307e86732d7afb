//! The handle over a disk in memory: appended, read, killed, filled, broken.

use std::path::PathBuf;
use std::task::Context;

use super::*;
use crate::protocol::Records;
use crate::protocol::compression::Compression;
use crate::protocol::record_batch::{BatchBuilder, RawBatch, RawBatches};
use crate::storage::test_disk::{Faults, TestDisk, TestWorld, run, test_env};
use crate::storage::{OpenOptions, open_log};
use crate::types::{Acks, Now, Observation, PartitionIndex, Timestamp, Uuid};

const MIB: usize = 1 << 20;
/// Where a batch says in which term it was written.
const LEADER_EPOCH_AT: usize = 12;

/// A broker with one directory and one partition.
struct Broker {
    disk: TestDisk,
    world: Arc<TestWorld>,
    dir: Arc<LogDir>,
    handle: Arc<PartitionHandle>,
    config: Arc<LogConfig>,
}

fn dir() -> PathBuf {
    PathBuf::from("/data/orders-0")
}

fn log_file(base: u64) -> PathBuf {
    dir().join(format!("{base:020}.log"))
}

/// What the directory's checkpoints would tell.
#[derive(Clone, Copy, Default)]
struct Checkpoints {
    recovery_point: Offset,
    high_watermark: Offset,
    log_start_offset: Option<Offset>,
    clean: bool,
}

/// Broker 1, which leads alone.
fn start(disk: &TestDisk, config: &Arc<LogConfig>, tail: usize, known: Checkpoints) -> Broker {
    let broker = open(disk, config, tail, known, (1, IsrChanges::none()));
    let handle = &broker.handle;
    // Of a log that begins at its end the cache knows no epoch any more: a controller would.
    let logs = disk.files_in(&dir()).into_iter().filter(|(name, _)| name.ends_with(".log"));
    let batches = logs.flat_map(|(_, bytes)| RawBatches::new(bytes.into()).map_while(Result::ok));
    let written = batches.filter_map(|batch| batch.header.leader_epoch).max();
    let known = handle.lock().machine.epochs().latest().map(|last| last.epoch);
    let epoch = known.max(written).map_or(0, |last| last.value() + 1);
    let alone = LeaderState::alone(BrokerId::new(1), LeaderEpoch::new(epoch));
    run(handle.become_leader(alone)).unwrap();
    broker
}

/// A broker that neither leads nor follows.
fn open(
    disk: &TestDisk,
    config: &Arc<LogConfig>,
    tail: usize,
    known: Checkpoints,
    (node, isr_changes): (i32, IsrChanges),
) -> Broker {
    let (env, world) = test_env(disk);
    let partition = TopicPartition { topic: "orders".into(), partition: PartitionIndex::new(0) };
    let id =
        TopicIdPartition { topic_id: Uuid::from_bytes([7; 16]), partition: partition.partition };
    let (failures, _) = crate::runtime::watch::channel(0);
    let directory = Uuid::from_bytes([9; 16]);
    let log_dir = Arc::new(LogDir::new(env.clone(), "/data".into(), 0, directory, failures));
    let opened = run(open_log(
        env.disk.clone(),
        OpenOptions {
            dir: dir(),
            limits: segment_limits(config),
            log_start_offset: known.log_start_offset,
            recovery_point: known.recovery_point,
            clean: known.clean,
            sync_failed: false,
            now: Timestamp::from_millis(0),
        },
    ))
    .unwrap();
    let start = opened.log.log_start_offset();
    let progress = LogProgress::new(start, opened.durable_end_offset, known.high_watermark);
    let opened = OpenedPartition {
        partition,
        id,
        opened,
        high_watermark: known.high_watermark,
        dir: log_dir.clone(),
        progress: Arc::new(progress),
    };
    let options = ReplicaOptions {
        fetch_verify: true,
        producer_expiration: Duration::from_secs(86_400),
        tail_budget: TailBudget::new(tail),
        node: BrokerId::new(node),
        lag_time_max: Duration::from_secs(30),
        isr_changes,
    };
    let handle = PartitionHandle::new(env, opened, config.clone(), options);
    Broker { disk: disk.clone(), world, dir: log_dir, handle, config: config.clone() }
}

fn config(settings: &[(&str, &str)]) -> Arc<LogConfig> {
    let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Arc::new(LogConfig::new(&BTreeMap::new(), &settings.collect()).unwrap())
}

/// Segments of 2,000 bytes.
fn small() -> Arc<LogConfig> {
    config(&[("internal.segment.bytes", "2000"), ("index.interval.bytes", "200")])
}

fn records(count: u32, bytes: usize, timestamp: i64) -> Records {
    let mut builder = BatchBuilder::new(Compression::NONE);
    for _ in 0..count {
        builder.append(Timestamp::from_millis(timestamp), None, Some(&vec![7; bytes]), &[]);
    }
    Records::from(builder.build())
}

impl Broker {
    fn append(&self, count: u32, bytes: usize) -> Result<AppendAnswer, AppendError> {
        run(self.handle.append(&records(count, bytes, 1), Acks::All))
    }

    fn read(&self, offset: u64, max_bytes: usize) -> Result<Vec<RawBatch>, ErrorCode> {
        let request = ReadRequest {
            offset: Offset::ZERO + offset,
            max_bytes,
            first_batch_whole: true,
            up_to: ReadUpTo::HighWatermark,
            leader_epoch: None,
        };
        let answer = run(self.handle.read(request))?;
        Ok(RawBatches::new(answer.records.to_bytes()).map(Result::unwrap).collect())
    }

    /// All batches, as (base offset, end offset).
    fn contents(&self) -> Vec<(i64, i64)> {
        let mut all: Vec<(i64, i64)> = Vec::new();
        let mut offset = u64::try_from(self.handle.log_start_offset().value()).unwrap();
        loop {
            let batches = self.read(offset, 700).unwrap();
            let Some(last) = batches.last() else { return all };
            offset = u64::try_from(last.header.end_offset().value()).unwrap();
            all.extend(batches.iter().map(|batch| {
                (batch.header.base_offset.value(), batch.header.end_offset().value())
            }));
        }
    }

    /// Does what the directory's worker would do.
    fn work(&self) {
        let mut work = Box::pin(self.dir.clone().work_for_test());
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..100 {
            if work.as_mut().poll(&mut cx).is_ready() {
                return;
            }
        }
    }

    fn restart(self, known: Checkpoints) -> Broker {
        let config = self.config.clone();
        start(&self.disk.clone(), &config, MIB, known)
    }

    fn checkpoints(&self) -> Checkpoints {
        Checkpoints {
            recovery_point: self.handle.progress.recovery_point(),
            high_watermark: self.handle.progress.high_watermark(),
            log_start_offset: Some(self.handle.progress.log_start_offset()),
            clean: false,
        }
    }

    fn names(&self) -> Vec<String> {
        self.disk.files_in(&dir()).into_keys().collect()
    }
}

#[test]
fn what_is_appended_is_acknowledged_and_read_back() {
    for tail in [0, MIB] {
        let broker = start(&TestDisk::new(), &small(), tail, Checkpoints::default());
        for batch in 0..20u32 {
            let answer = broker.append(2, 100).unwrap();
            assert_eq!(answer.base_offset.value(), i64::from(batch) * 2);
        }
        let all: Vec<(i64, i64)> = (0..20).map(|batch| (batch * 2, batch * 2 + 2)).collect();
        assert_eq!(broker.contents(), all);
        assert_eq!(broker.read(5, 0).unwrap().len(), 1, "the first batch whatever its size");
        assert_eq!(broker.read(40, 100).unwrap().len(), 0, "the end is no error");
        assert_eq!(broker.read(41, 100).unwrap_err(), ErrorCode::OffsetOutOfRange);
        assert_eq!(broker.handle.high_watermark().value(), 40);
    }
}

#[test]
fn the_tail_is_read_from_memory() {
    let broker = start(&TestDisk::new(), &config(&[]), MIB, Checkpoints::default());
    broker.append(1, 1_000).unwrap();
    assert_eq!(broker.read(0, MIB).unwrap().len(), 1);
    assert_eq!(broker.disk.operations().log_bytes_read, 0);
}

#[test]
fn a_clean_stop_leaves_nothing_to_scan() {
    let broker = start(&TestDisk::new(), &small(), MIB, Checkpoints::default());
    for _ in 0..20 {
        broker.append(1, 100).unwrap();
    }
    broker.work();
    let contents = broker.contents();
    run(broker.handle.close()).unwrap();
    assert_eq!(broker.append(1, 1).unwrap_err().code, ErrorCode::NotLeaderOrFollower);
    let known = Checkpoints { clean: true, ..broker.checkpoints() };
    let read = broker.disk.operations().log_bytes_read;
    let broker = broker.restart(known);
    assert_eq!(broker.disk.operations().log_bytes_read, read);
    assert_eq!(broker.contents(), contents);
    assert_eq!(broker.append(1, 1).unwrap().base_offset.value(), 20);
}

#[test]
fn rot_is_answered_with_corrupt_message() {
    let broker = start(&TestDisk::new(), &config(&[]), 0, Checkpoints::default());
    broker.append(1, 100).unwrap();
    broker.append(1, 100).unwrap();
    broker.disk.edit(&log_file(0), |bytes| *bytes.last_mut().unwrap() ^= 1);
    broker.world.observed();
    assert_eq!(broker.read(0, MIB).unwrap().len(), 1, "what is before it is served");
    assert_eq!(broker.read(1, MIB).unwrap_err(), ErrorCode::CorruptMessage);
    let observed = broker.world.observed();
    let rot = |o: &Observation| matches!(o, Observation::SegmentCorrupt { .. });
    assert!(observed.iter().any(rot), "{observed:?}");
}

/// A batch's leader epoch lies outside its checksum: what rots there is found by what is known of epochs.
#[test]
fn another_epoch_than_the_offsets_is_answered_with_corrupt_message() {
    let broker = start(&TestDisk::new(), &config(&[]), 0, Checkpoints::default());
    broker.append(1, 100).unwrap();
    broker.append(1, 100).unwrap();
    broker.disk.edit(&log_file(0), |bytes| {
        let second = bytes.len() / 2;
        bytes[second + LEADER_EPOCH_AT + 3] ^= 1;
    });
    assert_eq!(broker.read(0, MIB).unwrap().len(), 1, "what is before it is served");
    assert_eq!(broker.read(1, MIB).unwrap_err(), ErrorCode::CorruptMessage);
}

#[test]
fn a_full_disk_refuses_and_serves_again() {
    let broker = start(&TestDisk::new(), &small(), MIB, Checkpoints::default());
    broker.append(1, 500).unwrap();
    for space in [0, 1, 50, 200, 1_900, 2_100] {
        broker.disk.set_faults(Faults { space_left: Some(space), ..Faults::default() });
        let before = broker.contents();
        let failed = (0..8).find_map(|_| broker.append(1, 500).err());
        assert_eq!(failed.unwrap().code, ErrorCode::KafkaStorageError);
        assert!(broker.contents().starts_with(&before));
        broker.disk.set_faults(Faults::default());
        let next = broker.handle.log_end_offset();
        assert_eq!(broker.append(1, 500).unwrap().base_offset, next);
    }
    assert!(!broker.dir.is_offline());
    let contents = broker.contents();
    broker.disk.kill();
    assert_eq!(broker.restart(Checkpoints::default()).contents(), contents);
}

/// group-swarm, seed 1394.
#[test]
fn a_log_that_is_closed_on_a_full_disk_leaves_the_directory_online() {
    let broker = start(&TestDisk::new(), &small(), MIB, Checkpoints::default());
    broker.append(1, 500).unwrap();
    let contents = broker.contents();
    broker.disk.set_faults(Faults { space_left: Some(0), ..Faults::default() });
    broker.world.observed();
    assert!(run(broker.handle.close()).unwrap_err().is_no_space());
    assert!(!broker.dir.is_offline(), "the other logs can be closed");
    let observed = broker.world.observed();
    assert!(observed.contains(&Observation::LogDirFull { index: 0 }), "{observed:?}");
    broker.disk.set_faults(Faults::default());
    assert_eq!(broker.restart(Checkpoints::default()).contents(), contents);
}

/// Or a node that stops while its disk is full never ends (group-swarm, seed 467).
#[test]
fn a_flush_does_not_wait_for_what_found_no_space() {
    let broker = start(&TestDisk::new(), &small(), MIB, Checkpoints::default());
    broker.append(1, 500).unwrap();
    let no_space = Faults { space_left: Some(0), writes_pend: true, ..Faults::default() };
    broker.disk.set_faults(no_space);
    let refused = broker.handle.append(&records(1, 500, 1), Acks::Leader);
    let mut flush = Box::pin(broker.handle.flush());
    let mut cx = Context::from_waker(Waker::noop());
    assert!(flush.as_mut().poll(&mut cx).is_pending(), "the write is under way");
    broker.dir.take_tasks().into_iter().for_each(run);
    assert!(matches!(flush.as_mut().poll(&mut cx), Poll::Ready(Ok(()))));
    drop(refused);
}

#[test]
fn a_failed_sync_takes_the_directory_offline_for_good() {
    let each = config(&[("flush.messages", "1")]);
    let broker = start(&TestDisk::new(), &each, MIB, Checkpoints::default());
    broker.append(1, 10).unwrap();
    broker.disk.set_faults(Faults { sync_fails: true, ..Faults::default() });
    assert_eq!(broker.append(1, 10).unwrap_err().code, ErrorCode::KafkaStorageError);
    broker.disk.set_faults(Faults::default());
    assert!(broker.dir.is_offline());
    let syncs = broker.disk.operations().syncs;
    assert_eq!(broker.append(1, 10).unwrap_err().code, ErrorCode::KafkaStorageError);
    assert_eq!(broker.read(0, 10).unwrap_err(), ErrorCode::KafkaStorageError);
    assert!(run(broker.handle.flush()).is_err());
    assert_eq!(broker.disk.operations().syncs, syncs, "a sync is never tried again");
    let observed = broker.world.observed();
    let offline = |o: &&Observation| matches!(o, Observation::LogDirOffline { index: 0 });
    assert_eq!(observed.iter().filter(offline).count(), 1);
}

#[test]
fn syncs_that_come_meanwhile_are_one() {
    let each = config(&[("flush.messages", "1")]);
    let broker = start(&TestDisk::new(), &each, MIB, Checkpoints::default());
    broker.disk.set_faults(Faults { hold_syncs: true, ..Faults::default() });
    let before = broker.disk.operations().syncs;
    let one = records(1, 10, 1);
    let mut waiting: Vec<_> = (0..5).map(|_| broker.handle.append(&one, Acks::Leader)).collect();
    assert!(waiting.iter_mut().all(|waiting| waiting.take_ready().is_none()), "not durable yet");
    assert_eq!(broker.handle.high_watermark(), Offset::ZERO);
    assert_eq!(broker.disk.operations().syncs, before + 1);
    broker.disk.release_syncs();
    assert!(waiting[0].take_ready().is_some());
    assert!(waiting[1].take_ready().is_none());
    broker.disk.release_syncs();
    assert!(waiting[1..].iter_mut().all(|waiting| waiting.take_ready().is_some()));
    assert_eq!(broker.disk.operations().syncs, before + 2);
}

#[test]
fn a_watch_counts_what_becomes_readable() {
    let broker = start(&TestDisk::new(), &config(&[]), MIB, Checkpoints::default());
    let watch = FetchWatch::new(250);
    let seen = broker.handle.high_watermark();
    let watching = broker.handle.watch(seen, &watch);
    broker.append(1, 100).unwrap();
    assert!(!watch.is_ready());
    broker.append(1, 100).unwrap();
    assert!(watch.is_ready());
    drop(watching);
    assert!(broker.handle.lock().watches.is_empty());
    let late = FetchWatch::new(1_000_000);
    let _watching = broker.handle.watch(seen, &late);
    assert!(late.is_ready(), "more is there than the reader has seen: it looks again");
    let resigned = FetchWatch::new(1_000_000);
    let _watching = broker.handle.watch(broker.handle.high_watermark(), &resigned);
    broker.handle.resign();
    assert!(resigned.is_ready());
}

#[test]
fn deleted_records_are_gone_with_their_segments() {
    let broker = start(&TestDisk::new(), &small(), MIB, Checkpoints::default());
    for _ in 0..20 {
        broker.append(1, 300).unwrap();
    }
    assert_eq!(
        broker.handle.delete_records(Some(Offset::new(21))),
        Err(ErrorCode::OffsetOutOfRange)
    );
    assert_eq!(broker.handle.delete_records(Some(Offset::new(12))), Ok(Offset::new(12)));
    assert_eq!(broker.read(11, MIB).unwrap_err(), ErrorCode::OffsetOutOfRange);
    assert_eq!(broker.contents().first(), Some(&(12, 13)));
    let first = broker.names().into_iter().find(|name| name.ends_with(".log"));
    assert_eq!(first.unwrap(), "00000000000000000010.log");
    let known = broker.checkpoints();
    broker.disk.kill();
    assert_eq!(broker.restart(known).contents().first(), Some(&(12, 13)));
}

#[test]
fn retention_removes_whole_old_segments() {
    let by_size = config(&[("internal.segment.bytes", "2000"), ("retention.bytes", "4000")]);
    let broker = start(&TestDisk::new(), &by_size, MIB, Checkpoints::default());
    for _ in 0..20 {
        broker.append(1, 300).unwrap();
    }
    run(broker.handle.retain()).unwrap();
    assert!((4_000..6_000).contains(&broker.handle.size()), "{}", broker.handle.size());

    let by_age = config(&[("internal.segment.bytes", "2000"), ("retention.ms", "1000")]);
    let broker = start(&TestDisk::new(), &by_age, MIB, Checkpoints::default());
    for timestamp in 0..20 {
        run(broker.handle.append(&records(1, 300, timestamp * 100), Acks::All)).unwrap();
    }
    let at = |millis| Now { wall: Timestamp::from_millis(millis), ..Now::default() };
    broker.world.set_now(at(2_000));
    run(broker.handle.retain()).unwrap();
    assert_eq!(broker.handle.log_start_offset().value(), 10, "two segments are older than 1 s");
    broker.world.set_now(at(10_000));
    run(broker.handle.retain()).unwrap();
    assert_eq!(
        broker.handle.log_start_offset().value(),
        20,
        "the active one goes too, closed first"
    );
    assert_eq!(broker.append(1, 10).unwrap().base_offset.value(), 20);
}

#[test]
fn offsets_are_found_by_time() {
    let broker = start(&TestDisk::new(), &small(), 0, Checkpoints::default());
    let times = [10, 30, 20, 50, 40, 60, 60, 55];
    for timestamp in times {
        run(broker.handle.append(&records(2, 300, timestamp), Acks::All)).unwrap();
    }
    let find =
        |spec| run(broker.handle.offset_for(spec, None)).unwrap().map(|found| found.offset.value());
    for target in 0..70 {
        let scan = times.iter().position(|time| *time >= target);
        let expected = scan.map(|batch| i64::try_from(batch).unwrap() * 2);
        assert_eq!(find(OffsetSpec::At(Timestamp::from_millis(target))), expected, "{target}");
    }
    assert_eq!(find(OffsetSpec::MaxTimestamp), Some(10));
    assert_eq!(find(OffsetSpec::Earliest), Some(0));
    assert_eq!(find(OffsetSpec::Latest(ReadUpTo::HighWatermark)), Some(16));
}

#[test]
fn the_recovery_point_follows_and_bounds_what_is_scanned() {
    let broker = start(&TestDisk::new(), &small(), MIB, Checkpoints::default());
    for _ in 0..40 {
        broker.append(1, 300).unwrap();
        broker.work();
    }
    let known = broker.checkpoints();
    assert!(known.recovery_point.value() >= 30, "{:?}", known.recovery_point);
    let contents = broker.contents();
    broker.disk.kill();
    let read = broker.disk.operations().log_bytes_read;
    let broker = broker.restart(known);
    let read = broker.disk.operations().log_bytes_read - read;
    assert!(read < 6_000, "{read} of {}", broker.handle.size());
    assert_eq!(broker.contents(), contents);
}

/// While a panic unwinds the tasks that wait are dropped. A second panic, of a destructor, would end the process, and with it a
/// testbed that could have told of the first.
#[test]
fn who_waits_for_a_machine_that_panicked_goes_without_another_panic() {
    let broker = start(&TestDisk::new(), &small(), MIB, Checkpoints::default());
    let watching = broker.handle.watch(Offset::ZERO, &FetchWatch::new(1));
    let breaks = std::panic::AssertUnwindSafe(|| {
        let _locked = broker.handle.lock();
        panic!("a bug of the machine");
    });
    assert!(std::panic::catch_unwind(breaks).is_err());
    assert!(broker.handle.inner.is_poisoned());
    drop(watching);
}

#[path = "crash_tests.rs"]
mod crash_tests;
#[path = "follow_tests.rs"]
mod follow_tests;
