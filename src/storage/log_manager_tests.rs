//! Log directories: whose they are, what is in them, and what a clean stop leaves.

use std::task::{Context, Waker};

use super::*;
use crate::log::IndexSizes;
use crate::storage::test_disk::{Faults, TestDisk, run, test_env};
use crate::types::{PartitionIndex, Uuid};

fn options(dirs: &[&str]) -> LogManagerOptions {
    LogManagerOptions {
        log_dirs: dirs.iter().map(PathBuf::from).collect(),
        node_id: BrokerId::new(1),
        cluster_id: Some("cluster".to_owned()),
        locked_dir: None,
        limits: SegmentLimits {
            segment_bytes: 1 << 20,
            segment_ms: i64::MAX,
            index: IndexSizes { interval_bytes: 4096, index_bytes_max: 1 << 20 },
        },
        topic_limits: BTreeMap::new(),
    }
}

fn format(disk: &TestDisk, dirs: &[&str]) {
    let (env, _) = test_env(disk);
    for (dir, id) in dirs.iter().zip(1u8..) {
        let meta = MetaProperties {
            cluster_id: "cluster".to_owned(),
            node_id: BrokerId::new(1),
            directory_id: Uuid::from_bytes([id; 16]),
        };
        run(env.disk.create_dir_all(Path::new(dir))).unwrap();
        run(meta.write(env.disk.as_ref(), Path::new(dir))).unwrap();
    }
}

fn open(
    disk: &TestDisk,
    dirs: &[&str],
) -> Result<(LogManager, Vec<OpenedPartition>), StorageError> {
    let (env, _) = test_env(disk);
    run(LogManager::open_idle(&env, options(dirs)))
}

fn orders(partition: i32) -> TopicPartition {
    TopicPartition { topic: "orders".into(), partition: PartitionIndex::new(partition) }
}

fn topic_id() -> TopicId {
    Uuid::from_bytes([7; 16])
}

/// Does what the workers would do.
fn work(manager: &LogManager) {
    for dir in manager.dirs() {
        let mut worker = Box::pin(dir.clone().work());
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..100 {
            if worker.as_mut().poll(&mut cx).is_ready() {
                break;
            }
        }
    }
}

#[test]
fn directories_that_are_not_ours_are_refused() {
    let disk = TestDisk::new();
    let error = open(&disk, &["/a"]).err().unwrap();
    assert!(matches!(error, StorageError::Unformatted { .. }), "{error}");
    format(&disk, &["/a"]);
    let held = open(&disk, &["/a"]).unwrap();
    let error = open(&disk, &["/a"]).err().unwrap();
    assert!(matches!(error, StorageError::Locked { .. }), "{error}");
    assert_eq!(error.to_string().lines().count(), 4);
    drop(held);
    let (env, _) = test_env(&disk);
    let other = LogManagerOptions { node_id: BrokerId::new(2), ..options(&["/a"]) };
    let error = run(LogManager::open_idle(&env, other)).err().unwrap();
    assert!(matches!(error, StorageError::Foreign { .. }), "{error}");
    disk.edit(Path::new("/a/meta.properties"), |bytes| bytes.truncate(20));
    let error = open(&disk, &["/a"]).err().unwrap();
    assert!(matches!(error, StorageError::Corrupt { .. }), "{error}");
}

#[test]
fn logs_are_spread_found_again_and_deleted() {
    let disk = TestDisk::new();
    let dirs = ["/a", "/b"];
    format(&disk, &dirs);
    let (manager, found) = open(&disk, &dirs).unwrap();
    assert!(found.is_empty());
    let limits = options(&dirs).limits;
    let mut places = Vec::new();
    for partition in 0..4 {
        let made = run(manager.create(&orders(partition), topic_id(), limits)).unwrap();
        places.push(made.dir.index());
    }
    assert_eq!(places, [0, 1, 0, 1]);
    let dir = manager.dirs()[0].clone();
    run(manager.delete(&dir, &orders(0), topic_id())).unwrap();
    disk.power_loss(0);
    drop(manager);
    let (manager, found) = open(&disk, &dirs).unwrap();
    let names: Vec<String> = found.iter().map(|found| found.partition.to_string()).collect();
    assert_eq!(names, ["orders-2", "orders-1", "orders-3"]);
    assert!(found.iter().all(|found| found.id.topic_id == topic_id()));
    let (env, _) = test_env(&disk);
    let left = run(env.disk.read_dir(Path::new("/a"))).unwrap();
    assert!(left.iter().all(|entry| !entry.name.ends_with("-delete")), "{left:?}");
    drop(manager);
}

#[test]
fn a_clean_stop_is_marked_last_and_taken_at_the_next_start() {
    let disk = TestDisk::new();
    format(&disk, &["/a"]);
    let (manager, _) = open(&disk, &["/a"]).unwrap();
    let limits = options(&[]).limits;
    let made = run(manager.create(&orders(0), topic_id(), limits)).unwrap();
    made.progress.set_clean(true);
    work(&manager);
    run(manager.close(Some(17))).unwrap();
    drop(manager);
    let files = disk.files_in(Path::new("/a"));
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            ".kafka_cleanshutdown",
            "log-start-offset-checkpoint",
            "meta.properties",
            "recovery-point-offset-checkpoint",
            "replication-offset-checkpoint",
        ]
    );
    assert_eq!(files[".kafka_cleanshutdown"], br#"{"version":0,"brokerEpoch":17}"#);
    assert_eq!(files["recovery-point-offset-checkpoint"], b"0\n1\norders 0 0\n");
    let (manager, _) = open(&disk, &["/a"]).unwrap();
    assert_eq!(manager.previous_broker_epoch(), Some(17));
    drop(manager);
    let (manager, _) = open(&disk, &["/a"]).unwrap();
    assert_eq!(manager.previous_broker_epoch(), None, "it was taken");
}

/// Swarm, seed 73: one of two directories failed, the stop was in good order, and the broker counted as complete when it came back.
#[test]
fn a_stop_is_clean_only_if_it_was_for_every_directory() {
    let disk = TestDisk::new();
    format(&disk, &["/a", "/b"]);
    let stop = |failed: Option<usize>| {
        let (manager, _) = open(&disk, &["/a", "/b"]).unwrap();
        if let Some(failed) = failed {
            let error = StorageError::Offline { path: "/b".into() };
            manager.dirs()[failed].fail(&error);
        }
        run(manager.close(Some(17))).unwrap();
        drop(manager);
        open(&disk, &["/a", "/b"]).unwrap().0.previous_broker_epoch()
    };
    assert_eq!(stop(None), Some(17));
    assert_eq!(stop(Some(0)), None);
    assert_eq!(stop(Some(1)), None);
    run(stop_with_epochs(&disk, [3, 4]));
    assert_eq!(open(&disk, &["/a", "/b"]).unwrap().0.previous_broker_epoch(), None);
}

/// Leaves the directories as stops of two incarnations would.
async fn stop_with_epochs(disk: &TestDisk, epochs: [i64; 2]) {
    let (env, _) = test_env(disk);
    for (dir, epoch) in ["/a", "/b"].into_iter().zip(epochs) {
        let stop = CleanShutdown { broker_epoch: Some(epoch) };
        stop.write(env.disk.as_ref(), Path::new(dir)).await.unwrap();
    }
}

#[test]
fn a_damaged_checkpoint_costs_a_scan_and_no_data() {
    let disk = TestDisk::new();
    format(&disk, &["/a"]);
    let (manager, _) = open(&disk, &["/a"]).unwrap();
    run(manager.create(&orders(0), topic_id(), options(&[]).limits)).unwrap();
    run(manager.close(None)).unwrap();
    drop(manager);
    disk.edit(Path::new("/a/recovery-point-offset-checkpoint"), |bytes| bytes.clear());
    let (_, found) = open(&disk, &["/a"]).unwrap();
    assert_eq!(found.len(), 1);
}

#[test]
fn a_log_that_was_never_finished_is_removed() {
    let disk = TestDisk::new();
    format(&disk, &["/a"]);
    let (manager, _) = open(&disk, &["/a"]).unwrap();
    disk.set_faults(Faults { changes_left: Some(1), ..Faults::default() });
    assert!(run(manager.create(&orders(0), topic_id(), options(&[]).limits)).is_err());
    assert!(manager.dirs()[0].is_offline());
    disk.power_loss(0);
    drop(manager);
    let (manager, found) = open(&disk, &["/a"]).unwrap();
    assert!(found.is_empty());
    run(manager.create(&orders(0), topic_id(), options(&[]).limits)).unwrap();
}

/// Swarm, seed 157: the process was over before the mark was written, and the next one believed the page cache.
#[test]
fn the_last_failed_directory_ends_the_wait_once_all_are_marked() {
    let disk = TestDisk::new();
    format(&disk, &["/a", "/b"]);
    let (manager, _) = open(&disk, &["/a", "/b"]).unwrap();
    let error = StorageError::Offline { path: "/a".into() };
    let mut ended = Box::pin(manager.all_failed());
    let mut cx = Context::from_waker(Waker::noop());
    manager.dirs()[0].fail(&error);
    assert!(ended.as_mut().poll(&mut cx).is_pending());
    manager.dirs()[1].fail(&error);
    run(manager.dirs()[1].finish_tasks());
    assert!(ended.as_mut().poll(&mut cx).is_pending());
    run(manager.dirs()[0].finish_tasks());
    assert!(ended.as_mut().poll(&mut cx).is_ready());
    for dir in ["/a", "/b"] {
        assert!(disk.files_in(Path::new(dir)).contains_key(".failed-sync"));
    }
}

#[test]
fn a_directory_that_fails_while_it_is_opened_is_marked_before_the_process_ends() {
    let disk = TestDisk::new();
    format(&disk, &["/a"]);
    let (manager, _) = open(&disk, &["/a"]).unwrap();
    run(manager.create(&orders(0), topic_id(), options(&[]).limits)).unwrap();
    drop(manager);
    disk.kill();
    let torn = Path::new("/a/orders-0/00000000000000000000.log");
    disk.edit(torn, |bytes| bytes.extend(b"torn"));
    disk.set_faults(Faults { sync_fails: true, ..Faults::default() });
    assert!(open(&disk, &["/a"]).is_err());
    assert!(disk.files_in(Path::new("/a")).contains_key(".failed-sync"));
}

#[test]
fn a_stop_with_a_log_that_was_not_closed_is_not_called_clean() {
    let disk = TestDisk::new();
    format(&disk, &["/a"]);
    let (manager, _) = open(&disk, &["/a"]).unwrap();
    run(manager.create(&orders(0), topic_id(), options(&[]).limits)).unwrap();
    run(manager.close(Some(17))).unwrap();
    assert!(!disk.files_in(Path::new("/a")).contains_key(".kafka_cleanshutdown"));
}
