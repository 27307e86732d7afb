//! Partitions to measure, as a broker has them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla::log::LogConfig;
use ottla::protocol::compression::Compression;
use ottla::protocol::record_batch::BatchBuilder;
use ottla::replica::LeaderState;
use ottla::replica::driver::{
    IsrChanges, PartitionHandle, ReplicaOptions, TailBudget, segment_limits,
};
use ottla::runtime::{Env, Observer, real_env};
use ottla::server::{Config, FormatOptions, format};
use ottla::storage::{LogManager, LogManagerOptions, log_dir_name};
use ottla::types::{
    BrokerId, LeaderEpoch, Observation, PartitionIndex, Timestamp, TopicPartition, Uuid,
};

use super::disk::{BenchDisk, Segments};

/// Records in a batch.
pub(crate) const RECORDS: u64 = 16;

/// 16 records of 1,000 bytes: with their headers a little less than 16 KiB.
pub(crate) fn batch() -> Bytes {
    let mut builder = BatchBuilder::new(Compression::NONE);
    for _ in 0..RECORDS {
        builder.append(Timestamp::from_millis(1_700_000_000_000), None, Some(&[b'x'; 1000]), &[]);
    }
    builder.build()
}

/// Hears nothing.
pub(crate) struct Deaf;

impl Observer for Deaf {
    fn observe(&self, _: Observation) {}
}

/// A log directory that partitions are made in.
pub(crate) struct Broker {
    runtime: tokio::runtime::Runtime,
    env: Env,
    logs: LogManager,
    tail_bytes: usize,
    partitions: i32,
}

impl Broker {
    /// Formats and opens `dir`; at most `tail_bytes` of the newest batches stay in memory.
    pub(crate) fn open(dir: &Path, segments: Segments, tail_bytes: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime can be made");
        let mut env = real_env(Arc::new(Deaf), 1).expect("there is a world");
        let real = env.disk.clone();
        env.disk = Arc::new(BenchDisk { real, segments });
        let logs = runtime.block_on(async {
            let config = config(dir);
            format(&config, FormatOptions::default(), &env).await.expect("it can be formatted");
            let options = LogManagerOptions {
                log_dirs: vec![dir.to_path_buf()],
                node_id: BrokerId::new(1),
                cluster_id: None,
                locked_dir: None,
                limits: segment_limits(&LogConfig::default()),
                topic_limits: BTreeMap::new(),
            };
            LogManager::open(&env, options).await.expect("it can be opened").0
        });
        Self { runtime, env, logs, tail_bytes, partitions: 0 }
    }

    /// A new partition that this broker leads.
    pub(crate) fn partition(&mut self) -> Arc<PartitionHandle> {
        let partition = TopicPartition {
            topic: "bench".into(),
            partition: PartitionIndex::new(self.partitions),
        };
        self.partitions += 1;
        let (topic_id, config) = (Uuid::from_bytes([7; 16]), Arc::new(LogConfig::default()));
        let options = ReplicaOptions {
            fetch_verify: true,
            producer_expiration: Duration::from_secs(86_400),
            tail_budget: TailBudget::new(self.tail_bytes),
            node: BrokerId::new(1),
            lag_time_max: Duration::from_secs(30),
            isr_changes: IsrChanges::none(),
        };
        self.runtime.block_on(async {
            let made = self.logs.create(&partition, topic_id, segment_limits(&config)).await;
            let made = made.expect("a partition can be made");
            let handle = PartitionHandle::new(self.env.clone(), made, config, options);
            let alone = LeaderState::alone(BrokerId::new(1), LeaderEpoch::new(0));
            handle.become_leader(alone).await.expect("it can lead");
            handle
        })
    }

    /// Where a partition's files are.
    pub(crate) fn dir_of(&self, handle: &PartitionHandle) -> PathBuf {
        handle.dir().path().join(log_dir_name(handle.partition()))
    }

    /// Runs a future where the broker's connections would.
    pub(crate) fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }
}

/// A node of its own on free loopback ports.
pub(crate) fn config(dir: &Path) -> Config {
    let text = format!(
        "process.roles=broker,controller\nnode.id=1\nlog.dirs={}\n\
         listeners=PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:0\n\
         controller.listener.names=CONTROLLER\ncontroller.quorum.voters=1@127.0.0.1:9093\n",
        dir.display()
    );
    Config::parse(&text, &BTreeMap::new()).expect("the configuration is sound").0
}
