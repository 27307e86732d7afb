//! A member's files, as the last process left them.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::{QUORUM_STATE, RaftError};
use crate::raft::{LogState, QuorumState, SnapshotId};
use crate::runtime::{Disk, Env, OpenMode, read_file};
use crate::storage::{OpenLog, PartitionMetadata, StorageError, UnifiedLog};
use crate::types::{LeaderEpoch, Offset, PartitionIndex, TopicIdPartition, Uuid};

/// What was found.
pub(super) struct Opened {
    pub(super) log: UnifiedLog,
    pub(super) log_state: LogState,
    pub(super) quorum_state: Option<QuorumState>,
}

/// Opens the log, and finishes what a crash may have cut short: a snapshot that was fetched but not yet put in the place of the
/// log, one that is no longer needed.
pub(super) async fn open(
    env: &Env,
    dir: &Path,
    segment_bytes: u64,
    is_alone: bool,
) -> Result<Opened, RaftError> {
    let disk = env.disk.as_ref();
    let id = TopicIdPartition { topic_id: Uuid::METADATA_TOPIC, partition: PartitionIndex::new(0) };
    let log = OpenLog { dir: dir.to_owned(), id, segment_bytes };
    let mut log = UnifiedLog::open(env, log).await?;
    if PartitionMetadata::read(disk, dir).await?.is_none() {
        let metadata = PartitionMetadata { topic_id: Uuid::METADATA_TOPIC };
        metadata.write(disk, dir).await?;
    }
    let mut snapshots = list_snapshots(disk, dir).await?;
    if let Some(latest) = snapshots.keys().next_back().copied() {
        adopt_snapshot(&mut log, dir, latest, is_alone).await?;
    }
    // The oldest snapshot with which the log goes on without a hole.
    let first = log.log_start_offset();
    match snapshots.keys().find(|snapshot| snapshot.end_offset >= first).copied() {
        Some(start) => {
            log.move_start(start.end_offset).await?;
            remove_snapshots_but(disk, dir, |snapshot| snapshot >= start).await?;
            snapshots = snapshots.split_off(&start);
        }
        None if first > Offset::ZERO => {
            let (path, log_start_offset) = (dir.to_owned(), first);
            return Err(RaftError::SnapshotMissing { path, log_start_offset });
        }
        None => {}
    }
    let log_state = LogState {
        start_offset: log.log_start_offset(),
        end_offset: log.log_end_offset(),
        epochs: log.epochs().clone(),
        snapshots,
    };
    let quorum_state = read_quorum_state(disk, &dir.join(QUORUM_STATE)).await?;
    Ok(Opened { log, log_state, quorum_state })
}

/// Where the latest snapshot holds more than the log, the log was to be replaced by it: it comes from the leader. The only voter
/// has no leader: its log has lost something.
///
/// Kafka: `KafkaRaftLog.truncateToLatestSnapshot` at the start.
async fn adopt_snapshot(
    log: &mut UnifiedLog,
    dir: &Path,
    latest: SnapshotId,
    is_alone: bool,
) -> Result<(), RaftError> {
    let log_end_offset = log.log_end_offset();
    if is_alone {
        if latest.end_offset > log_end_offset {
            let (path, snapshot) = (dir.to_owned(), latest);
            return Err(RaftError::LogBeforeSnapshot { path, log_end_offset, snapshot });
        }
        return Ok(());
    }
    let epoch = log.latest_epoch().unwrap_or(LeaderEpoch::new(0));
    let is_shorter = latest.end_offset > log_end_offset;
    let is_older = log_end_offset > log.log_start_offset() && latest.epoch > epoch;
    if is_shorter || is_older {
        crate::mark!("a fetched snapshot takes the place of the log at the next start");
        log.restart_at(latest.end_offset).await?;
    }
    Ok(())
}

/// The snapshots, and the size of each in bytes.
async fn list_snapshots(
    disk: &dyn Disk,
    dir: &Path,
) -> Result<BTreeMap<SnapshotId, u64>, RaftError> {
    let entries = disk.read_dir(dir).await;
    let entries = entries.map_err(|error| StorageError::io("list a directory", dir, error))?;
    let mut snapshots = BTreeMap::new();
    for id in entries.iter().filter_map(|entry| SnapshotId::parse(&entry.name)) {
        let path = dir.join(id.file_name());
        let on = |error| StorageError::io("look at a snapshot", &path, error);
        let file = disk.open(&path, OpenMode::Read).await.map_err(on)?;
        snapshots.insert(id, file.length().await.map_err(on)?);
    }
    Ok(snapshots)
}

/// Removes the snapshots that are not to be kept.
pub(super) async fn remove_snapshots_but(
    disk: &dyn Disk,
    dir: &Path,
    keep: impl Fn(SnapshotId) -> bool,
) -> Result<(), RaftError> {
    let entries = disk.read_dir(dir).await;
    let entries = entries.map_err(|error| StorageError::io("list a directory", dir, error))?;
    for id in entries.iter().filter_map(|entry| SnapshotId::parse(&entry.name)) {
        if !keep(id) {
            let path = dir.join(id.file_name());
            let removed = disk.remove_file(&path).await;
            removed.map_err(|error| StorageError::io("remove a snapshot", &path, error))?;
        }
    }
    Ok(())
}

async fn read_quorum_state(disk: &dyn Disk, path: &Path) -> Result<Option<QuorumState>, RaftError> {
    let content = match read_file(disk, path).await {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StorageError::io("read the quorum state", path, error).into()),
    };
    QuorumState::from_json(&content)
        .map_err(|error| RaftError::QuorumState { path: path.to_owned(), error })
}
