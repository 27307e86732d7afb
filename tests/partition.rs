//! A partition on the real disk, used from several threads at once: nothing is lost, doubled, torn or forgotten.
#![cfg(not(madsim))]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "the set-up of a test fails the test, and this one runs in real time"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ottla::log::LogConfig;
use ottla::protocol::Records;
use ottla::protocol::compression::Compression;
use ottla::protocol::record_batch::{BatchBuilder, RawBatches};
use ottla::replica::LeaderState;
use ottla::replica::driver::{
    FetchWatch, IsrChanges, PartitionHandle, ReadRequest, ReadUpTo, ReplicaOptions, TailBudget,
    segment_limits,
};
use ottla::runtime::{Env, Observer, real_env};
use ottla::storage::{LogManager, LogManagerOptions, MetaProperties};
use ottla::types::{
    Acks, BrokerId, ErrorCode, LeaderEpoch, Observation, Offset, PartitionIndex, Timestamp,
    TopicPartition, Uuid,
};
use tokio::task::spawn_blocking;

/// Bytes that recoveries scanned.
#[derive(Default)]
struct Scanned(Mutex<Vec<u64>>);

impl Observer for Scanned {
    fn observe(&self, observation: Observation) {
        if let Observation::LogRecovered { bytes_scanned, .. } = observation {
            self.0.lock().unwrap().push(bytes_scanned);
        }
    }
}

fn config(flush: &str) -> Arc<LogConfig> {
    let settings = [
        ("internal.segment.bytes", "20000"),
        ("index.interval.bytes", "1000"),
        ("flush.messages", flush),
        ("retention.bytes", "100000"),
    ];
    let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Arc::new(LogConfig::new(&BTreeMap::new(), &settings.collect()).unwrap())
}

fn orders() -> TopicPartition {
    TopicPartition { topic: "orders".into(), partition: PartitionIndex::new(0) }
}

async fn open(
    env: &Env,
    dir: &Path,
    config: &Arc<LogConfig>,
    tail: usize,
) -> (LogManager, Arc<PartitionHandle>) {
    let options = LogManagerOptions {
        log_dirs: vec![dir.to_owned()],
        node_id: BrokerId::new(1),
        cluster_id: None,
        locked_dir: None,
        limits: segment_limits(config),
        topic_limits: BTreeMap::new(),
    };
    let (manager, mut found) = LogManager::open(env, options).await.unwrap();
    let opened = match found.pop() {
        Some(opened) => opened,
        None => {
            let id = Uuid::from_bytes([7; 16]);
            manager.create(&orders(), id, segment_limits(config)).await.unwrap()
        }
    };
    let options = ReplicaOptions {
        fetch_verify: true,
        producer_expiration: Duration::from_secs(60),
        tail_budget: TailBudget::new(tail),
        node: BrokerId::new(1),
        lag_time_max: Duration::from_secs(30),
        isr_changes: IsrChanges::none(),
    };
    let handle = PartitionHandle::new(env.clone(), opened, config.clone(), options);
    let alone = LeaderState::alone(BrokerId::new(1), LeaderEpoch::new(1));
    handle.become_leader(alone).await.unwrap();
    (manager, handle)
}

fn on_runtime<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn records(bytes: usize) -> Records {
    let mut builder = BatchBuilder::new(Compression::NONE);
    builder.append(Timestamp::from_millis(1), None, Some(&vec![7; bytes]), &[]);
    Records::from(builder.build())
}

/// Appends `count` batches, up to five in flight; returns their offsets.
async fn append_all(handle: &Arc<PartitionHandle>, count: usize, acks: Acks) -> Vec<i64> {
    let mut offsets = Vec::new();
    let mut in_flight = std::collections::VecDeque::new();
    for number in 0..count {
        in_flight.push_back(handle.append(&records(50 + number % 300), acks));
        if in_flight.len() == 5 {
            offsets.push(in_flight.pop_front().unwrap().await.unwrap().base_offset.value());
        }
    }
    for appending in in_flight {
        offsets.push(appending.await.unwrap().base_offset.value());
    }
    offsets
}

/// Follows the log until `end`, waiting where it ends; offsets must follow each other, but for what was deleted.
async fn follow(handle: &Arc<PartitionHandle>, mut offset: Offset, end: i64) -> usize {
    let mut seen = 0;
    while offset.value() < end {
        let request = ReadRequest {
            offset,
            max_bytes: 3_000,
            first_batch_whole: true,
            up_to: ReadUpTo::HighWatermark,
            leader_epoch: None,
        };
        let answer = match handle.read(request).await {
            Ok(answer) => answer,
            Err(ErrorCode::OffsetOutOfRange) => {
                assert!(offset < handle.log_start_offset(), "out of range for no reason");
                offset = handle.log_start_offset();
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        if answer.records.is_empty() {
            let watch = FetchWatch::new(1);
            let _watching = handle.watch(answer.high_watermark, &watch);
            watch.ready().await;
            continue;
        }
        for batch in RawBatches::new(answer.records.to_bytes()) {
            let batch = batch.unwrap();
            batch.verify_crc().unwrap();
            assert!(batch.header.base_offset <= offset && offset < batch.header.end_offset());
            offset = batch.header.end_offset();
            seen += 1;
        }
    }
    seen
}

/// Three appenders, two readers that follow, and retention, each on a thread of its own; then a clean stop and a start.
fn stress(flush: &str, tail: usize, batches: usize, retains: bool) {
    let dir = tempfile::tempdir().unwrap();
    let scanned = Arc::new(Scanned::default());
    let env = real_env(scanned.clone(), 1).unwrap();
    let config = config(flush);
    on_runtime(async {
        let meta = MetaProperties {
            cluster_id: "c".to_owned(),
            node_id: BrokerId::new(1),
            directory_id: Uuid::from_bytes([1; 16]),
        };
        meta.write(env.disk.as_ref(), dir.path()).await.unwrap();
        let (manager, handle) = open(&env, dir.path(), &config, tail).await;
        let total = i64::try_from(batches * 3).unwrap();
        let mut appenders = Vec::new();
        for acks in [Acks::Leader, Acks::All, Acks::All] {
            let handle = handle.clone();
            appenders.push(spawn_blocking(move || on_runtime(append_all(&handle, batches, acks))));
        }
        let mut readers = Vec::new();
        for _ in 0..2 {
            let handle = handle.clone();
            readers.push(spawn_blocking(move || on_runtime(follow(&handle, Offset::ZERO, total))));
        }
        let done = Arc::new(AtomicBool::new(false));
        let retention = {
            let (handle, done) = (handle.clone(), done.clone());
            spawn_blocking(move || {
                on_runtime(async {
                    while retains && !done.load(Ordering::Relaxed) {
                        handle.retain().await.unwrap();
                        // What is removed in the background runs on this runtime.
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                });
            })
        };
        let mut offsets = BTreeSet::new();
        for appender in appenders {
            for offset in appender.await.unwrap() {
                assert!(offsets.insert(offset), "{offset} was given twice");
            }
        }
        assert_eq!(offsets.last(), Some(&(total - 1)));
        for reader in readers {
            let seen = reader.await.unwrap();
            assert!(retains || i64::try_from(seen).unwrap() == total, "{seen} of {total}");
        }
        done.store(true, Ordering::Relaxed);
        retention.await.unwrap();
        let start = handle.log_start_offset();
        assert_eq!(start > Offset::ZERO, retains);
        handle.close().await.unwrap();
        manager.close(None).await.unwrap();
        drop((manager, handle));

        let (_manager, handle) = open(&env, dir.path(), &config, 0).await;
        assert_eq!(*scanned.0.lock().unwrap(), [0, 0], "nothing is scanned after a clean stop");
        let seen = follow(&handle, start, total).await;
        assert_eq!(i64::try_from(seen).unwrap(), total - start.value());
    });
}

#[test]
fn many_threads_append_and_follow() {
    stress("9223372036854775807", 1 << 20, 3_000, false);
}

#[test]
fn many_threads_append_and_follow_durably_through_files() {
    stress("1", 0, 300, false);
}

#[test]
fn retention_goes_on_under_readers_and_writers() {
    stress("9223372036854775807", 10_000, 3_000, true);
}
