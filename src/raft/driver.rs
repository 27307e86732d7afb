//! Runs a quorum member over its directory: the log, `quorum-state`, the snapshots.
//!
//! [`RaftNode`] is an object of its owner's task, not a task of its own: the controller (later: a broker that only follows) calls it
//! and takes its notices. A failed sync or write is final: the owner ends the node.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::{
    Batch, Effect, Event, LogEnd, QuorumLeader, QuorumState, QuorumStateError, Raft, RecordBatch,
    Snapshot, SnapshotError, SnapshotId, Voter, VoterSet, decode_snapshot, encode_leader_change,
    encode_snapshot,
};
use crate::protocol::record_batch::RawBatch;
use crate::runtime::{Disk, Env, read_file, replace_file};
use crate::storage::{OpenLog, PartitionMetadata, StorageError, UnifiedLog};
use crate::types::{BrokerId, LeaderEpoch, Offset, PartitionIndex, TopicIdPartition, Uuid};

/// The metadata log's directory inside its log directory.
pub const METADATA_PARTITION_DIR: &str = "__cluster_metadata-0";
const QUORUM_STATE: &str = "quorum-state";

/// What a member is told at its start.
#[derive(Clone, Debug)]
pub struct RaftOptions {
    /// This node.
    pub node: BrokerId,
    /// The id of the log directory that holds the metadata log.
    pub directory_id: Uuid,
    /// The metadata log's own directory, made if missing.
    pub dir: PathBuf,
    /// A segment is closed before it grows beyond this many bytes (`metadata.log.segment.bytes`).
    pub segment_bytes: u64,
}

/// What the owner of a member has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// This node may act as controller.
    Activated {
        /// From this epoch on.
        epoch: LeaderEpoch,
    },
    /// Everything below is committed.
    Committed {
        /// Exclusive.
        high_watermark: Offset,
    },
}

/// Why a member cannot go on. Prints what, where and why.
#[derive(Clone, Debug)]
pub enum RaftError {
    /// The log or its disk.
    Storage(StorageError),
    /// The file `quorum-state`.
    QuorumState {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: QuorumStateError,
    },
    /// A snapshot.
    Snapshot {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: SnapshotError,
    },
    /// The log ends before the snapshot that it should continue.
    LogBeforeSnapshot {
        /// The log's directory.
        path: PathBuf,
        /// The end of the log. Exclusive.
        log_end_offset: Offset,
        /// The snapshot.
        snapshot: SnapshotId,
    },
}

impl fmt::Display for RaftError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Storage(error) => error.fmt(f),
            Self::QuorumState { path, error } => write!(f, "{}: {error}", path.display()),
            Self::Snapshot { path, error } => write!(f, "{}: {error}", path.display()),
            Self::LogBeforeSnapshot { path, log_end_offset, snapshot } => write!(
                f,
                "{}: the log ends at {log_end_offset}, before its snapshot {}",
                path.display(),
                snapshot.file_name()
            ),
        }
    }
}

impl std::error::Error for RaftError {}

impl From<StorageError> for RaftError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

/// Why records were not appended.
#[derive(Clone, Debug)]
pub enum AppendError {
    /// There is no space. The log is as it was, and may be tried again.
    NoSpace,
    /// The member cannot go on.
    Failed(RaftError),
}

/// A member of the quorum with its files.
pub struct RaftNode {
    env: Env,
    machine: Raft,
    log: UnifiedLog,
    dir: PathBuf,
    snapshot: Option<SnapshotId>,
    is_sync_due: bool,
    notices: Vec<Notice>,
}

impl fmt::Debug for RaftNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RaftNode").field("machine", &self.machine).finish_non_exhaustive()
    }
}

impl RaftNode {
    /// Opens the log and takes part. As the only voter it is elected at once; [`RaftNode::sync`] makes it active.
    ///
    /// # Errors
    /// The directory is damaged, or the disk fails.
    pub async fn start(options: RaftOptions, env: &Env) -> Result<Self, RaftError> {
        let RaftOptions { node, directory_id, dir, segment_bytes } = options;
        let id =
            TopicIdPartition { topic_id: Uuid::METADATA_TOPIC, partition: PartitionIndex::new(0) };
        let log = OpenLog { dir: dir.clone(), id, segment_bytes };
        let log = UnifiedLog::open(env, log).await?;
        if PartitionMetadata::read(env.disk.as_ref(), &dir).await?.is_none() {
            let metadata = PartitionMetadata { topic_id: Uuid::METADATA_TOPIC };
            metadata.write(env.disk.as_ref(), &dir).await?;
        }
        let snapshot = latest_snapshot(env.disk.as_ref(), &dir).await?;
        let log_end_offset = log.log_end_offset();
        if let Some(snapshot) = snapshot.filter(|id| id.end_offset > log_end_offset) {
            return Err(RaftError::LogBeforeSnapshot { path: dir, log_end_offset, snapshot });
        }
        let latest_epoch = log.latest_epoch().or(snapshot.map(|snapshot| snapshot.epoch));
        let end = LogEnd { end_offset: log_end_offset, latest_epoch };
        let state = read_quorum_state(env.disk.as_ref(), &dir.join(QUORUM_STATE)).await?;
        let voters = VoterSet::new([Voter::new(node, directory_id)]);
        let machine = Raft::new(node, directory_id, voters, state, end);
        let notices = Vec::new();
        let env = env.clone();
        let mut node = Self { env, machine, log, dir, snapshot, is_sync_due: false, notices };
        match node.handle(Event::Start).await {
            Ok(()) => Ok(node),
            Err(AppendError::Failed(error)) => Err(error),
            Err(AppendError::NoSpace) => {
                let full = io::Error::from(io::ErrorKind::StorageFull);
                Err(StorageError::io("begin an epoch of the metadata log", &node.dir, full).into())
            }
        }
    }

    /// The present epoch.
    #[must_use]
    pub fn epoch(&self) -> LeaderEpoch {
        self.machine.epoch()
    }

    /// Who leads in it, as far as known.
    #[must_use]
    pub fn leader(&self) -> QuorumLeader {
        self.machine.leader()
    }

    /// The offset that the next record gets.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.machine.next_offset()
    }

    /// The end of what is known to be committed, exclusive; `None` before this epoch's first record is.
    #[must_use]
    pub fn high_watermark(&self) -> Option<Offset> {
        self.machine.high_watermark()
    }

    /// What happened since the last call, in order.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// Appends a batch as the active leader: written when it returns, not yet durable or committed.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub async fn append(&mut self, batch: RecordBatch) -> Result<(), AppendError> {
        self.handle(Event::Append(batch)).await
    }

    /// Whether something written waits for [`RaftNode::sync`]. The owner first appends what else it has: one sync serves all.
    #[must_use]
    pub fn is_sync_due(&self) -> bool {
        self.is_sync_due
    }

    /// Makes durable what is written, and so commits it.
    ///
    /// # Errors
    /// Final: the metadata directory has failed.
    pub async fn sync(&mut self) -> Result<(), RaftError> {
        self.is_sync_due = false;
        let end = self.log.log_end_offset();
        self.log.flush().await?;
        match self.handle(Event::Synced { end }).await {
            Ok(()) => Ok(()),
            Err(AppendError::Failed(error)) => Err(error),
            Err(AppendError::NoSpace) => unreachable!("a sync brings no write"),
        }
    }

    /// Feeds the machine and does what it says, from top to bottom.
    async fn handle(&mut self, event: Event) -> Result<(), AppendError> {
        let mut events = VecDeque::from([event]);
        let mut refused = false;
        let mut effects = Vec::new();
        while let Some(event) = events.pop_front() {
            self.machine.handle(self.env.clock.now(), event, &mut effects);
            for effect in effects.drain(..) {
                match effect {
                    Effect::PersistQuorumState(state) => {
                        let path = self.dir.join(QUORUM_STATE);
                        persist(self.env.disk.as_ref(), &path, &state).await?;
                    }
                    Effect::Write { base_offset, leader_epoch, batch } => {
                        let batch = match batch {
                            Batch::LeaderChange(change) => {
                                encode_leader_change(&change, self.env.clock.now().wall)
                            }
                            Batch::Records(batch) => batch.bytes,
                        };
                        match self.log.append(leader_epoch, batch).await {
                            Ok(info) => {
                                assert_eq!(info.base_offset, base_offset, "one owner appends");
                                events.push_back(Event::Written { end: info.end_offset });
                            }
                            Err(error) if error.is_no_space() => {
                                refused = true;
                                events.push_back(Event::Refused);
                            }
                            Err(error) => return Err(AppendError::Failed(error.into())),
                        }
                    }
                    Effect::Sync => self.is_sync_due = true,
                    Effect::Activate { epoch } => self.notices.push(Notice::Activated { epoch }),
                    Effect::Commit { high_watermark } => {
                        self.notices.push(Notice::Committed { high_watermark });
                    }
                    Effect::Observe(observation) => self.env.observe(observation),
                }
            }
        }
        if refused { Err(AppendError::NoSpace) } else { Ok(()) }
    }

    /// Whole batches from the one that holds `from` on, below `to`: at least one if there is one, then up to `max_bytes`.
    ///
    /// # Errors
    /// Rot, or the disk fails.
    pub async fn read(
        &self,
        from: Offset,
        to: Offset,
        max_bytes: usize,
    ) -> Result<Vec<RawBatch>, RaftError> {
        Ok(self.log.read(from, max_bytes, to).await?)
    }

    /// The latest snapshot's content; `None` where there is none.
    ///
    /// # Errors
    /// It is damaged, or the disk fails.
    pub async fn load_snapshot(&self) -> Result<Option<(SnapshotId, Snapshot)>, RaftError> {
        let Some(id) = self.snapshot else { return Ok(None) };
        let path = self.dir.join(id.file_name());
        let bytes = read_file(self.env.disk.as_ref(), &path).await;
        let bytes = bytes.map_err(|error| StorageError::io("read a snapshot", &path, error))?;
        let snapshot = decode_snapshot(&bytes);
        let snapshot = snapshot.map_err(|error| RaftError::Snapshot { path, error })?;
        Ok(Some((id, snapshot)))
    }

    /// Writes a snapshot, then removes the one before it. The log stays whole: trimming it is not there yet.
    ///
    /// # Errors
    /// The disk fails.
    pub async fn save_snapshot(
        &mut self,
        id: SnapshotId,
        snapshot: &Snapshot,
    ) -> Result<(), RaftError> {
        let voter = self.machine.voters().iter().copied().collect::<Vec<_>>();
        let bytes = encode_snapshot(snapshot, id.epoch, Some(&voter));
        write_snapshot(self.env.disk.as_ref(), &self.dir, id, bytes).await?;
        if let Some(old) = self.snapshot.replace(id).filter(|old| *old != id) {
            let path = self.dir.join(old.file_name());
            let removed = self.env.disk.remove_file(&path).await;
            removed.map_err(|error| StorageError::io("remove a snapshot", &path, error))?;
        }
        Ok(())
    }

    /// Ends in good order.
    ///
    /// # Errors
    /// The disk fails.
    pub async fn close(self) -> Result<(), RaftError> {
        Ok(self.log.close().await?)
    }
}

impl From<RaftError> for AppendError {
    fn from(error: RaftError) -> Self {
        Self::Failed(error)
    }
}

/// Puts a snapshot into the log's directory `dir`, durably.
///
/// # Errors
/// The disk fails.
pub async fn write_snapshot(
    disk: &dyn Disk,
    dir: &Path,
    id: SnapshotId,
    bytes: Bytes,
) -> Result<(), RaftError> {
    let path = dir.join(id.file_name());
    let written = replace_file(disk, &path, bytes).await;
    Ok(written.map_err(|error| StorageError::io("write a snapshot", &path, error))?)
}

async fn latest_snapshot(disk: &dyn Disk, dir: &Path) -> Result<Option<SnapshotId>, RaftError> {
    let entries = disk.read_dir(dir).await;
    let entries = entries.map_err(|error| StorageError::io("list a directory", dir, error))?;
    Ok(entries.iter().filter_map(|entry| SnapshotId::parse(&entry.name)).max())
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

async fn persist(disk: &dyn Disk, path: &Path, state: &QuorumState) -> Result<(), RaftError> {
    let written = replace_file(disk, path, Bytes::from(state.to_json())).await;
    Ok(written.map_err(|error| StorageError::io("write the quorum state", path, error))?)
}
