//! A log against a model: the batches that were appended.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::protocol::compression::Compression;
use crate::protocol::record_batch::BatchBuilder;
use crate::storage::test_disk::{Faults, TestDisk, run, test_env};
use crate::types::{PartitionIndex, Timestamp, Uuid};

fn dir() -> PathBuf {
    PathBuf::from("/data/__cluster_metadata-0")
}

fn batch(records: u32, bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::NONE);
    for record in 0..records {
        let value = vec![u8::try_from(record % 251).unwrap(); bytes];
        builder.append(Timestamp::from_millis(i64::from(record)), None, Some(&value), &[]);
    }
    builder.build()
}

fn open(disk: &TestDisk, segment_bytes: u64) -> UnifiedLog {
    let (env, _) = test_env(disk);
    let id = TopicIdPartition { topic_id: Uuid::METADATA_TOPIC, partition: PartitionIndex::new(0) };
    run(UnifiedLog::open(&env, OpenLog { dir: dir(), id, segment_bytes })).unwrap()
}

/// All batches, as (base offset, end offset, epoch).
fn contents(log: &UnifiedLog) -> Vec<(i64, i64, i32)> {
    let mut all = Vec::new();
    let mut offset = log.log_start_offset();
    loop {
        let batches = run(log.read(offset, 500, Offset::MAX)).unwrap();
        for batch in &batches {
            let header = &batch.header;
            let epoch = header.leader_epoch.unwrap().value();
            all.push((header.base_offset.value(), header.end_offset().value(), epoch));
        }
        let Some(last) = batches.last() else { return all };
        offset = last.header.end_offset();
    }
}

fn epoch(epoch: i32) -> LeaderEpoch {
    LeaderEpoch::new(epoch)
}

#[test]
fn what_is_appended_is_read_with_its_offsets_and_epoch() {
    let disk = TestDisk::new();
    let mut log = open(&disk, 1 << 20);
    let first = run(log.append(epoch(1), batch(3, 10))).unwrap();
    assert_eq!((first.base_offset.value(), first.end_offset.value()), (0, 3));
    let two = [batch(1, 10), batch(2, 10)].concat();
    let both = run(log.append(epoch(2), two.into())).unwrap();
    assert_eq!((both.base_offset.value(), both.end_offset.value()), (3, 6));
    assert_eq!(contents(&log), [(0, 3, 1), (3, 4, 2), (4, 6, 2)]);
    assert_eq!(run(log.read(Offset::new(5), 0, Offset::new(6))).unwrap().len(), 1);
    assert!(run(log.read(Offset::new(5), 0, Offset::new(5))).unwrap().is_empty());
    assert_eq!(log.epochs().entries().len(), 2);
}

#[test]
fn files_have_kafkas_names_and_a_closed_log_opens_without_a_scan() {
    let disk = TestDisk::new();
    let mut log = open(&disk, 20_000);
    for _ in 0..60 {
        run(log.append(epoch(1), batch(1, 1_000))).unwrap();
    }
    run(log.flush()).unwrap();
    let before = contents(&log);
    run(log.close()).unwrap();
    let names: Vec<String> = disk.files_in(&dir()).into_keys().collect();
    expect_test::expect![[r#"
        [
            "00000000000000000000.index",
            "00000000000000000000.log",
            "00000000000000000000.timeindex",
            "00000000000000000018.index",
            "00000000000000000018.log",
            "00000000000000000018.timeindex",
            "00000000000000000036.index",
            "00000000000000000036.log",
            "00000000000000000036.timeindex",
            "00000000000000000054.index",
            "00000000000000000054.log",
            "00000000000000000054.timeindex",
            "00000000000000000060.snapshot",
            "leader-epoch-checkpoint",
        ]
    "#]]
    .assert_debug_eq(&names);
    let read = disk.operations().log_bytes_read;
    let log = open(&disk, 20_000);
    assert!(
        disk.operations().log_bytes_read - read < 2 * 4_096,
        "only behind the last index entry"
    );
    assert_eq!(contents(&log), before);
}

#[test]
fn no_space_leaves_the_log_as_it_was() {
    let disk = TestDisk::new();
    let mut log = open(&disk, 1_000);
    run(log.append(epoch(1), batch(1, 600))).unwrap();
    for space in [0, 1, 100, 500] {
        disk.set_faults(Faults { space_left: Some(space), ..Faults::default() });
        let error = run(log.append(epoch(1), batch(1, 600))).unwrap_err();
        assert!(error.is_no_space(), "{error}");
        assert_eq!(contents(&log), [(0, 1, 1)]);
    }
    disk.set_faults(Faults::default());
    run(log.append(epoch(1), batch(1, 600))).unwrap();
    assert_eq!(contents(&log), [(0, 1, 1), (1, 2, 1)]);
    disk.kill();
    assert_eq!(contents(&open(&disk, 1_000)), [(0, 1, 1), (1, 2, 1)]);
}

#[test]
fn a_failed_sync_is_an_error() {
    let disk = TestDisk::new();
    let mut log = open(&disk, 1_000);
    run(log.append(epoch(1), batch(1, 600))).unwrap();
    disk.set_faults(Faults { sync_fails: true, ..Faults::default() });
    assert!(run(log.flush()).is_err());
    assert_eq!(log.flushed_end_offset(), Offset::ZERO);
}

#[test]
fn what_a_failed_sync_dropped_is_written_anew_by_the_next_process() {
    let disk = TestDisk::new();
    let mut log = open(&disk, 1_000);
    run(log.append(epoch(1), batch(1, 600))).unwrap();
    disk.set_faults(Faults { sync_fails: true, ..Faults::default() });
    assert!(run(log.flush()).is_err());
    disk.kill();
    let mut log = open(&disk, 1_000);
    assert_eq!(contents(&log), [(0, 1, 1)], "the page cache still shows it");
    run(log.append(epoch(1), batch(1, 600))).unwrap();
    run(log.flush()).unwrap();
    disk.power_loss(0);
    assert_eq!(contents(&open(&disk, 1_000)), [(0, 1, 1), (1, 2, 1)]);
}

/// Storm, seed 148: terms that the log lost stayed in the file, and records of an older term came to stand behind where they began.
#[test]
fn terms_that_a_power_loss_took_are_gone_from_the_file_too() {
    let disk = TestDisk::new();
    let mut log = open(&disk, 1 << 20);
    run(log.append(epoch(1), batch(1, 10))).unwrap();
    run(log.flush()).unwrap();
    run(log.append(epoch(1), batch(3, 10))).unwrap();
    run(log.append(epoch(2), batch(1, 10))).unwrap();
    disk.power_loss(0);
    let mut log = open(&disk, 1 << 20);
    assert_eq!(contents(&log), [(0, 1, 1)]);
    run(log.append(epoch(1), batch(9, 10))).unwrap();
    run(log.flush()).unwrap();
    disk.power_loss(0);
    let log = open(&disk, 1 << 20);
    assert_eq!(contents(&log), [(0, 1, 1), (1, 10, 1)]);
    let terms: Vec<_> = log.epochs().entries().iter().map(|entry| entry.epoch.value()).collect();
    assert_eq!(terms, [1]);
}

/// Storm, seed 1448: a term without records stayed in the file over a clean stop, and records of an older term came to stand where it
/// would begin.
#[test]
fn a_term_without_records_leaves_the_file_at_a_clean_start() {
    let disk = TestDisk::new();
    let mut log = open(&disk, 1 << 20);
    run(log.append(epoch(1), batch(1, 10))).unwrap();
    run(log.close()).unwrap();
    disk.edit(&dir().join("leader-epoch-checkpoint"), |bytes| {
        assert_eq!(bytes, b"0\n1\n1 0\n");
        *bytes = b"0\n2\n1 0\n2 1\n".to_vec();
    });
    let (env, _) = test_env(&disk);
    let limits = SegmentLimits { segment_bytes: 1 << 20, segment_ms: i64::MAX, index: INDEX_SIZES };
    let options = OpenOptions {
        dir: dir(),
        limits,
        log_start_offset: None,
        recovery_point: Offset::new(1),
        clean: true,
        sync_failed: false,
        now: Timestamp::from_millis(0),
    };
    let opened = run(open_log(env.disk.clone(), options)).unwrap();
    assert!(opened.is_clean);
    disk.edit(&dir().join("leader-epoch-checkpoint"), |bytes| assert_eq!(bytes, b"0\n1\n1 0\n"));
}

#[test]
fn rot_is_refused_when_read() {
    let disk = TestDisk::new();
    let mut log = open(&disk, 1 << 20);
    run(log.append(epoch(1), batch(1, 600))).unwrap();
    run(log.append(epoch(1), batch(1, 600))).unwrap();
    disk.edit(&dir().join("00000000000000000000.log"), |bytes| bytes[1_000] ^= 1);
    assert_eq!(run(log.read(Offset::ZERO, 1 << 20, Offset::MAX)).unwrap().len(), 1);
    let error = run(log.read(Offset::new(1), 1 << 20, Offset::MAX)).unwrap_err();
    assert!(matches!(error, StorageError::Corrupt { .. }), "{error}");
}

/// The leader epoch lies outside the checksum.
#[test]
fn rot_in_a_batchs_epoch_is_refused_when_read_and_cut_off_by_recovery() {
    let disk = TestDisk::new();
    let mut log = open(&disk, 1 << 20);
    for term in [1, 3, 3] {
        run(log.append(epoch(term), batch(1, 600))).unwrap();
    }
    run(log.flush()).unwrap();
    disk.edit(&dir().join("00000000000000000000.log"), |bytes| {
        let second = bytes.len() / 3;
        assert_eq!(bytes[second + 12..second + 16], [0, 0, 0, 3]);
        bytes[second + 15] = 2;
    });
    let error = run(log.read(Offset::new(1), 1 << 20, Offset::MAX)).unwrap_err();
    assert!(error.to_string().contains("leader epoch 2 at offset 1"), "{error}");
    disk.power_loss(0);
    assert_eq!(contents(&open(&disk, 1 << 20)), [(0, 1, 1)]);
}

/// It was taken for written, and a clean stop does not write it either: then the records of its beginning were of no known epoch.
#[test]
fn an_epoch_that_found_no_space_is_written_with_the_next_append() {
    let disk = TestDisk::new();
    let mut log = open(&disk, 1 << 20);
    run(log.append(epoch(5), batch(1, 10))).unwrap();
    disk.set_faults(Faults { space_left: Some(0), ..Faults::default() });
    assert!(run(log.append(epoch(7), batch(1, 10))).unwrap_err().is_no_space());
    disk.set_faults(Faults::default());
    for _ in 0..12 {
        run(log.append(epoch(7), batch(1, 600))).unwrap();
    }
    let before = contents(&log);
    run(log.close()).unwrap();
    let log = open(&disk, 1 << 20);
    assert_eq!(contents(&log), before);
    assert_eq!(log.epochs().epoch_for_offset(Offset::new(1)), Some(epoch(7)));
}

/// What a test does to a log.
#[derive(Clone, Debug)]
enum Step {
    Append {
        records: u32,
        bytes: usize,
    },
    NewEpoch,
    Flush,
    Truncate {
        keep: u8,
    },
    Reopen,
    Kill,
    PowerLoss {
        kept: usize,
    },
    /// The power goes in the middle of what comes, and again in the middle of recovery.
    PowerLossAfter {
        changes: u64,
        again: u64,
        kept: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (1u32..5, 1usize..900).prop_map(|(records, bytes)| Step::Append { records, bytes }),
        1 => Just(Step::NewEpoch),
        3 => Just(Step::Flush),
        1 => any::<u8>().prop_map(|keep| Step::Truncate { keep }),
        1 => Just(Step::Reopen),
        1 => Just(Step::Kill),
        1 => (0usize..3_000).prop_map(|kept| Step::PowerLoss { kept }),
        1 => (0u64..20, 0u64..12, 0usize..3_000)
            .prop_map(|(changes, again, kept)| Step::PowerLossAfter { changes, again, kept }),
    ];
    prop::collection::vec(step, 1..60)
}

/// What should be in the log: batches as (base offset, end offset, epoch), and how many are surely durable.
#[derive(Default)]
struct Model {
    batches: Vec<(i64, i64, i32)>,
    durable: usize,
}

impl Model {
    /// After a crash: a prefix, with at least what was durable.
    fn crashed(&mut self, found: &[(i64, i64, i32)]) {
        assert!(found.len() >= self.durable, "lost what was durable: {found:?} {:?}", self.batches);
        assert_eq!(found, &self.batches[..found.len()], "not a prefix");
        self.batches.truncate(found.len());
        self.durable = found.len();
    }
}

const SEGMENT_BYTES: u64 = 12_000;

fn open_result(disk: &TestDisk) -> Result<UnifiedLog, StorageError> {
    let (env, _) = test_env(disk);
    let id = TopicIdPartition { topic_id: Uuid::METADATA_TOPIC, partition: PartitionIndex::new(0) };
    run(UnifiedLog::open(&env, OpenLog { dir: dir(), id, segment_bytes: SEGMENT_BYTES }))
}

proptest! {
    #[test]
    fn after_any_crash_the_longest_valid_prefix_is_there(steps in steps()) {
        let disk = TestDisk::new();
        let mut log = open(&disk, SEGMENT_BYTES);
        let mut model = Model::default();
        let mut leader_epoch = 0;
        for step in steps {
            match step {
                Step::Append { records, bytes } => {
                    let Ok(info) = run(log.append(epoch(leader_epoch), batch(records, bytes))) else {
                        continue;
                    };
                    let (base, end) = (info.base_offset.value(), info.end_offset.value());
                    model.batches.push((base, end, leader_epoch));
                }
                Step::NewEpoch => leader_epoch += 1,
                Step::Flush => {
                    if run(log.flush()).is_ok() {
                        model.durable = model.batches.len();
                    }
                }
                Step::Truncate { keep } => {
                    let keep = usize::from(keep) % (model.batches.len() + 1);
                    let to = model.batches.get(keep).map_or(log.log_end_offset().value(), |b| b.0);
                    run(log.truncate(Offset::new(to))).unwrap();
                    model.batches.truncate(keep);
                    model.durable = model.durable.min(keep);
                }
                Step::Reopen => {
                    run(log.close()).unwrap();
                    log = open(&disk, SEGMENT_BYTES);
                    model.durable = model.batches.len();
                }
                Step::Kill => {
                    disk.kill();
                    log = open(&disk, SEGMENT_BYTES);
                    prop_assert_eq!(&contents(&log), &model.batches);
                    model.durable = model.batches.len();
                }
                Step::PowerLoss { kept } => {
                    disk.power_loss(kept);
                    log = open(&disk, SEGMENT_BYTES);
                    model.crashed(&contents(&log));
                }
                Step::PowerLossAfter { changes, again, kept } => {
                    disk.set_faults(Faults { changes_left: Some(changes), ..Faults::default() });
                    for _ in 0..6 {
                        let Ok(info) = run(log.append(epoch(leader_epoch), batch(1, 3_000))) else {
                            break;
                        };
                        let (base, end) = (info.base_offset.value(), info.end_offset.value());
                        model.batches.push((base, end, leader_epoch));
                        if run(log.flush()).is_err() {
                            break;
                        }
                        model.durable = model.batches.len();
                    }
                    // One more may have been written whole by the append that failed.
                    let end = model.batches.last().map_or(0, |last| last.1);
                    disk.power_loss(kept);
                    disk.set_faults(Faults { changes_left: Some(again), ..Faults::default() });
                    drop(open_result(&disk));
                    disk.power_loss(0);
                    log = open(&disk, SEGMENT_BYTES);
                    let mut found = contents(&log);
                    found.retain(|batch| batch.1 <= end);
                    model.crashed(&found);
                    if log.log_end_offset().value() > end {
                        model.batches = contents(&log);
                        model.durable = model.batches.len();
                    }
                }
            }
            prop_assert_eq!(&contents(&log), &model.batches);
            prop_assert_eq!(&log.log_end_offset().value(), &model.batches.last().map_or(0, |last| last.1));
        }
        let twice = contents(&log);
        disk.kill();
        prop_assert_eq!(&contents(&open(&disk, SEGMENT_BYTES)), &twice);
        disk.power_loss(0);
        prop_assert_eq!(&contents(&open(&disk, SEGMENT_BYTES)), &twice);
        check_indexes(&disk);
    }
}

/// Every index entry points at the batch it names, as Kafka's dump tool wants it.
fn check_indexes(disk: &TestDisk) {
    run(open(disk, SEGMENT_BYTES).close()).unwrap();
    let files = disk.files_in(Path::new(&dir()));
    for (name, content) in files.iter().filter(|(name, _)| name.ends_with(".index")) {
        let base: i64 = name[..20].parse().unwrap();
        let log = Bytes::from(files[&format!("{base:020}.log")].clone());
        for entry in content.chunks_exact(8) {
            let offset = base + i64::from(i32::from_be_bytes(entry[..4].try_into().unwrap()));
            let position = i32::from_be_bytes(entry[4..].try_into().unwrap());
            let at = RawBatch::parse(&log.slice(usize::try_from(position).unwrap()..)).unwrap();
            assert_eq!(at.header.last_offset().value(), offset, "{name}");
        }
    }
}
