//! The partitions of this node: follows the metadata, and leads each request to the partition that it means.

use std::sync::Arc;

use tokio::sync::watch;

use super::Config;
use crate::metadata::MetadataImage;
use crate::protocol::{IsolationLevel, Records};
use crate::runtime::{Env, task};
use crate::storage::{MetaProperties, StorageError};
use crate::types::*;

/// What is known of this node's place in a cluster before anything runs.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) cluster_id: String,
    pub(super) metadata_directory: Uuid,
    pub(super) log_directories: Vec<Uuid>,
    pub(super) previous_broker_epoch: Option<BrokerEpoch>,
}

/// The partitions of this node.
pub(super) struct ReplicaManager {
    /// Held until the node ends.
    _locks: Vec<Box<dyn Send + Sync>>,
    image: watch::Sender<Arc<MetadataImage>>,
}

/// Where a reader stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct FetchPosition {
    pub(super) fetch_offset: Option<Offset>,
    pub(super) current_leader_epoch: Option<LeaderEpoch>,
    pub(super) last_fetched_epoch: Option<LeaderEpoch>,
}
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadLimits {
    pub(super) bytes_max: usize,
    pub(super) at_least_one_batch: bool,
    pub(super) isolation: IsolationLevel,
}
pub(super) struct FetchRead {
    pub(super) records: Records,
    pub(super) high_watermark: Offset,
    pub(super) last_stable_offset: Offset,
    pub(super) log_start_offset: Offset,
    pub(super) seen_end_offset: Offset,
    pub(super) diverging_epoch: Option<(LeaderEpoch, Offset)>,
}
pub(super) struct LeaderHint {
    pub(super) leader_id: BrokerId,
    pub(super) leader_epoch: LeaderEpoch,
}
pub(super) struct AppendRefusal {
    pub(super) error: ErrorCode,
    pub(super) message: Option<String>,
    pub(super) records: Vec<(i32, Option<String>)>,
}
pub(super) struct AppendAnswer {
    pub(super) base_offset: Offset,
    pub(super) log_append_time: Option<Timestamp>,
    pub(super) log_start_offset: Offset,
}
pub(super) struct TimestampedOffset {
    pub(super) offset: Offset,
    pub(super) timestamp: Timestamp,
    pub(super) leader_epoch: Option<LeaderEpoch>,
}
pub(super) struct Leader;
impl Leader {
    pub(super) fn high_watermark(&self) -> Offset {
        Offset::ZERO
    }
    pub(super) fn last_stable_offset(&self) -> Offset {
        Offset::ZERO
    }
    pub(super) fn log_start_offset(&self) -> Offset {
        Offset::ZERO
    }
    pub(super) fn leader_epoch(&self) -> Option<LeaderEpoch> {
        None
    }
    pub(super) fn epoch_for_offset(&self, _: Offset) -> Option<LeaderEpoch> {
        None
    }
    pub(super) fn end_offset_for_epoch(&self, _: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        None
    }
    pub(super) async fn offset_for_timestamp(
        &self,
        _: Timestamp,
    ) -> Result<Option<TimestampedOffset>, ErrorCode> {
        Ok(None)
    }
    pub(super) async fn offset_of_max_timestamp(
        &self,
    ) -> Result<Option<TimestampedOffset>, ErrorCode> {
        Ok(None)
    }
}
impl ReplicaManager {
    /// Opens the log directories of this node.
    pub(super) async fn open(config: &Config, env: &Env) -> Result<(Self, Identity), StorageError> {
        let mut cluster_id: Option<String> = None;
        let mut log_directories = Vec::new();
        let mut metadata_directory = Uuid::ZERO;
        let mut locks = Vec::new();
        for dir in super::format::directories(config) {
            if !MetaProperties::read(env.disk.as_ref(), &dir).await?.is_some() {
                return Err(StorageError::Unformatted { path: dir });
            }
            let path = dir.join(".lock");
            let lock = env.disk.lock(&path).await;
            locks.push(lock.map_err(|error| match error.kind() {
                std::io::ErrorKind::WouldBlock => StorageError::Locked { path },
                _ => StorageError::io("lock a log directory", &dir, error),
            })?);
            let found = MetaProperties::read(env.disk.as_ref(), &dir).await?;
            let found = found.ok_or_else(|| StorageError::Unformatted { path: dir.clone() })?;
            found.check(&dir, config.node_id, cluster_id.as_deref())?;
            cluster_id = Some(found.cluster_id);
            if config.log_dirs.contains(&dir) {
                log_directories.push(found.directory_id);
            }
            if dir == config.metadata_log_dir {
                metadata_directory = found.directory_id;
            }
        }
        let identity = Identity {
            cluster_id: cluster_id.expect("there is a directory"),
            metadata_directory,
            log_directories,
            previous_broker_epoch: None,
        };
        Ok((Self { _locks: locks, image: watch::Sender::new(Arc::default()) }, identity))
    }

    pub(super) fn start_background(&self, _config: &Config) -> Vec<task::Task<()>> {
        Vec::new()
    }

    /// The metadata that is applied to the partitions.
    pub(super) fn image(&self) -> Arc<MetadataImage> {
        self.image.borrow().clone()
    }

    /// Waits until all metadata below `end_offset` is applied. Cancel-safe.
    pub(super) async fn applied(&self, end_offset: Offset) {
        let mut image = self.image.subscribe();
        // The sender lives as long as `self`.
        let _ = image.wait_for(|image| image.end_offset >= end_offset).await;
    }

    /// Brings the partitions to what `image` says.
    pub(super) async fn apply(&self, image: Arc<MetadataImage>) {
        self.image.send_replace(image);
    }

    pub(super) async fn close(&self, _: Option<BrokerEpoch>) {}

    pub(super) async fn all_dirs_failed(&self) {
        std::future::pending::<()>().await;
    }

    pub(super) fn leader(
        &self,
        _: TopicIdPartition,
        _: Option<LeaderEpoch>,
    ) -> Result<Leader, ErrorCode> {
        Err(ErrorCode::NotLeaderOrFollower)
    }

    pub(super) fn hint(&self, _: TopicIdPartition) -> Option<LeaderHint> {
        None
    }

    pub(super) async fn read(
        &self,
        _: TopicIdPartition,
        _: FetchPosition,
        _: ReadLimits,
    ) -> Result<FetchRead, ErrorCode> {
        Err(ErrorCode::NotLeaderOrFollower)
    }

    pub(super) async fn more_than(
        &self,
        _: impl Iterator<Item = (TopicIdPartition, Offset)>,
        _: usize,
    ) {
        std::future::pending::<()>().await;
    }

    pub(super) async fn append(
        &self,
        _: TopicIdPartition,
        _: Records,
        _: Acks,
    ) -> Result<AppendAnswer, AppendRefusal> {
        Err(AppendRefusal {
            error: ErrorCode::NotLeaderOrFollower,
            message: None,
            records: Vec::new(),
        })
    }
}
