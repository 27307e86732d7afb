//! Runs a quorum member over its directory and its connections: the log, `quorum-state`, the snapshots, the other voters.
//!
//! [`RaftNode`] is an object of its owner's task, not a task of its own: the controller of every node calls it and takes its
//! notices. What it waits for in a call is its own disk only. A failed sync or write is final: the owner ends the node.

mod files;
mod network;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::oneshot;

use super::{
    Batch, Effect, Event, QuorumLeader, QuorumRequest, QuorumResponse, QuorumStateError, Raft,
    RaftConfig, RecordBatch, Reply, Snapshot, SnapshotError, SnapshotId, Token, decode_snapshot,
    encode_leader_change, encode_snapshot,
};
use crate::protocol::Records;
use crate::protocol::record_batch::{RawBatch, RawBatches};
use crate::rpc::Endpoint;
use crate::runtime::clock::wait_until;
use crate::runtime::{Disk, Env, OpenMode, read_file, replace_file};
use crate::storage::{StorageError, UnifiedLog};
use crate::types::{LeaderEpoch, Monotonic, Observation, Offset, Uuid};
use files::{Opened, open};
use network::Network;

/// The metadata log's directory inside its log directory.
pub const METADATA_PARTITION_DIR: &str = "__cluster_metadata-0";
const QUORUM_STATE: &str = "quorum-state";

/// What a member is told at its start.
#[derive(Clone, Debug)]
pub struct RaftOptions {
    /// Its place in the quorum.
    pub config: RaftConfig,
    /// Where the voters listen for each other.
    pub endpoints: Vec<(crate::types::BrokerId, Endpoint)>,
    /// How long an answer may take (`controller.quorum.request.timeout.ms`).
    pub request_timeout: Duration,
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
    /// This node may act as controller no longer: what it has not seen committed may never be.
    Deactivated,
    /// A snapshot took the place of the log below its end.
    SnapshotInstalled(SnapshotId),
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
    /// The log begins behind 0, and no snapshot tells what was before.
    SnapshotMissing {
        /// The log's directory.
        path: PathBuf,
        /// The start of the log.
        log_start_offset: Offset,
    },
    /// The log of the only voter ends before the snapshot that it should continue: what was behind is lost.
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
            Self::SnapshotMissing { path, log_start_offset } => write!(
                f,
                "{}: the log begins at {log_start_offset}, and there is no snapshot of what was before",
                path.display()
            ),
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
    /// This member is not the active leader, or no longer. The log is as it was.
    NotLeader,
    /// There is no space. The log is as it was, and may be tried again.
    NoSpace,
    /// The member cannot go on.
    Failed(RaftError),
}

/// A member of the quorum with its files and connections.
pub struct RaftNode {
    env: Env,
    machine: Raft,
    log: UnifiedLog,
    dir: PathBuf,
    network: Network,
    request_timeout: Duration,
    is_sync_due: bool,
    was_refused: bool,
    notices: Vec<Notice>,
    /// Who waits for an answer of this member.
    askers: BTreeMap<Token, oneshot::Sender<QuorumResponse>>,
    next_token: u64,
    /// The parts of a snapshot that is being fetched.
    parts: BytesMut,
}

impl fmt::Debug for RaftNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RaftNode").field("machine", &self.machine).finish_non_exhaustive()
    }
}

impl RaftNode {
    /// Opens the log and takes part. The only voter is elected at once, and [`RaftNode::sync`] makes it active; all others
    /// wait for what comes.
    ///
    /// # Errors
    /// The directory is damaged, or the disk fails.
    pub async fn start(options: RaftOptions, env: &Env) -> Result<Self, RaftError> {
        let RaftOptions { config, endpoints, request_timeout, dir, segment_bytes } = options;
        let is_alone = config.is_voter && config.voters.iter().len() == 1;
        let Opened { log, log_state, quorum_state } =
            open(env, &dir, segment_bytes, is_alone).await?;
        let network = Network::new(config.node, &endpoints, request_timeout, env);
        let rng = env.rng("raft");
        let mut node = Self {
            env: env.clone(),
            machine: Raft::new(config, rng, quorum_state, log_state),
            log,
            dir,
            network,
            request_timeout,
            is_sync_due: false,
            was_refused: false,
            notices: Vec::new(),
            askers: BTreeMap::new(),
            next_token: 0,
            parts: BytesMut::new(),
        };
        node.handle(Event::Start).await?;
        if is_alone && node.was_refused {
            let full = io::Error::from(io::ErrorKind::StorageFull);
            let doing = "begin an epoch of the metadata log";
            return Err(StorageError::io(doing, &node.dir, full).into());
        }
        Ok(node)
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

    /// The first offset of the log; below it there is only the snapshot.
    #[must_use]
    pub fn log_start_offset(&self) -> Offset {
        self.machine.log_start_offset()
    }

    /// The offset that the next record gets.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.machine.next_offset()
    }

    /// The end of what is known to be committed, exclusive; `None` before anything is known.
    #[must_use]
    pub fn high_watermark(&self) -> Option<Offset> {
        self.machine.high_watermark()
    }

    /// Whether all is here that the leader said to be committed.
    #[must_use]
    pub fn is_caught_up(&self) -> bool {
        self.machine.is_caught_up()
    }

    /// Whether this node may act as controller, at this moment.
    #[must_use]
    pub fn is_active_leader(&self) -> bool {
        self.machine.is_active_leader()
    }

    /// When [`RaftNode::tick`] is due at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Monotonic> {
        self.machine.deadline()
    }

    /// What happened since the last call, in order.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// Waits for what another voter answers, for [`RaftNode::take`]. Cancel-safe.
    pub async fn answer(&mut self) -> Event {
        self.network.answer().await
    }

    /// Takes what [`RaftNode::answer`] returned.
    ///
    /// # Errors
    /// Final: the metadata directory has failed.
    pub async fn take(&mut self, answer: Event) -> Result<(), RaftError> {
        self.handle(answer).await
    }

    /// Does what time demands.
    ///
    /// # Errors
    /// Final: the metadata directory has failed.
    pub async fn tick(&mut self) -> Result<(), RaftError> {
        self.handle(Event::Tick).await
    }

    /// Takes another node's question; the answer may come later.
    ///
    /// # Errors
    /// Final: the metadata directory has failed.
    pub async fn request(
        &mut self,
        request: QuorumRequest,
        asker: oneshot::Sender<QuorumResponse>,
    ) -> Result<(), RaftError> {
        let token = Token(self.next_token);
        self.next_token += 1;
        self.askers.insert(token, asker);
        self.handle(Event::Request { token, request }).await
    }

    /// Steps down, where this member leads: its node cannot act as controller.
    ///
    /// # Errors
    /// Final: the metadata directory has failed.
    pub async fn resign(&mut self) -> Result<(), RaftError> {
        self.handle(Event::Resign).await
    }

    /// Appends a batch as the active leader: written when it returns, not yet durable or committed.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub async fn append(&mut self, batch: RecordBatch) -> Result<(), AppendError> {
        let before = self.next_offset();
        self.was_refused = false;
        self.handle(Event::Append(batch)).await?;
        if self.was_refused {
            return Err(AppendError::NoSpace);
        }
        // It may have stepped down at the last moment.
        if self.next_offset() == before { Err(AppendError::NotLeader) } else { Ok(()) }
    }

    /// Whether something written waits for [`RaftNode::sync`]. The owner first appends what else it has: one sync serves all.
    #[must_use]
    pub fn is_sync_due(&self) -> bool {
        self.is_sync_due
    }

    /// Makes durable what is written, which may commit it. Before, it is sent to the followers that wait for it: they write
    /// while this node does.
    ///
    /// # Errors
    /// Final: the metadata directory has failed.
    pub async fn sync(&mut self) -> Result<(), RaftError> {
        self.is_sync_due = false;
        self.handle(Event::Syncing).await?;
        let end = self.log.log_end_offset();
        self.log.flush().await?;
        self.handle(Event::Synced { end }).await
    }

    /// Feeds the machine and does what it says, from top to bottom.
    async fn handle(&mut self, event: Event) -> Result<(), RaftError> {
        let mut events = VecDeque::from([event]);
        let mut effects = Vec::new();
        while let Some(event) = events.pop_front() {
            self.machine.handle(self.env.clock.now(), event, &mut effects);
            for effect in effects.drain(..) {
                self.perform(effect, &mut events).await?;
            }
        }
        let waiting = self.machine.waiting();
        assert_eq!(self.askers.len(), waiting, "whoever asked is answered, or waits for records");
        Ok(())
    }

    /// What is rare, or waits for a disk, is boxed: this is as large as the largest of the futures in it, and is moved whole.
    async fn perform(
        &mut self,
        effect: Effect,
        events: &mut VecDeque<Event>,
    ) -> Result<(), RaftError> {
        match effect {
            Effect::PersistQuorumState(state) => {
                let path = self.dir.join(QUORUM_STATE);
                let content = Bytes::from(state.to_json());
                let written = Box::pin(replace_file(self.env.disk.as_ref(), &path, content)).await;
                let doing = "write the quorum state";
                written.map_err(|error| StorageError::io(doing, &path, error))?;
            }
            Effect::Write { base_offset, leader_epoch, batch } => {
                assert_eq!(self.log.log_end_offset(), base_offset, "one owner appends");
                let batch = match batch {
                    Batch::LeaderChange(change) => {
                        encode_leader_change(&change, self.env.clock.now().wall)
                    }
                    Batch::Records(batch) => batch.bytes,
                    Batch::Replicated { bytes, .. } => {
                        return self.write(None, bytes, events).await;
                    }
                };
                self.write(Some(leader_epoch), batch, events).await?;
            }
            Effect::Sync => self.is_sync_due = true,
            Effect::Truncate { to } => {
                Box::pin(self.log.truncate(to)).await?;
                events.push_back(Event::Truncated { end: self.log.log_end_offset() });
            }
            Effect::Send { to, id, request } => self.network.send(to, id, request),
            Effect::Reply { token, reply } => Box::pin(self.reply(token, reply)).await?,
            Effect::KeepSnapshotPart { position, bytes } => {
                if position == 0 {
                    self.parts.clear();
                }
                self.parts.extend_from_slice(&bytes);
            }
            Effect::InstallSnapshot { id } => Box::pin(self.install_snapshot(id, events)).await?,
            Effect::TrimLog { to } => Box::pin(self.trim(to)).await?,
            Effect::Activate { epoch } => self.notices.push(Notice::Activated { epoch }),
            Effect::Deactivate => self.notices.push(Notice::Deactivated),
            Effect::Commit { high_watermark } => {
                self.notices.push(Notice::Committed { high_watermark });
            }
            Effect::Observe(observation) => self.env.observe(observation),
        }
        Ok(())
    }

    /// Appends batches, stamped with `epoch`, or where there is none each with its own.
    async fn write(
        &mut self,
        epoch: Option<LeaderEpoch>,
        batches: Bytes,
        events: &mut VecDeque<Event>,
    ) -> Result<(), RaftError> {
        let before = self.log.log_end_offset();
        let mut is_full = false;
        for batch in RawBatches::new(batches) {
            let batch = batch.expect("they were built here, or looked at before");
            let epoch = epoch.or(batch.header.leader_epoch).expect("a replicated batch has one");
            let crc = batch.header.crc;
            match self.log.append(epoch, batch.bytes).await {
                Ok(info) => self.env.observe(Observation::MetadataAppended {
                    epoch,
                    base_offset: info.base_offset,
                    end_offset: info.end_offset,
                    crc,
                }),
                Err(error) if error.is_no_space() => {
                    is_full = true;
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
        let end = self.log.log_end_offset();
        if end > before {
            events.push_back(Event::Written { end });
        }
        if is_full {
            self.was_refused = true;
            events.push_back(Event::Refused);
        }
        Ok(())
    }

    async fn reply(&mut self, token: Token, reply: Reply) -> Result<(), RaftError> {
        let Some(asker) = self.askers.remove(&token) else {
            unreachable!("each request is answered once")
        };
        let response = match reply {
            Reply::Whole(response) => response,
            Reply::Records { mut response, from, to, max_bytes } => {
                let batches = self.log.read(from, max_bytes, to).await?;
                let records: Records = batches.into_iter().map(|batch| batch.bytes).collect();
                let topic = response.responses.first_mut();
                let partition = topic.and_then(|topic| topic.partitions.first_mut());
                partition.expect("the machine made one").records = Some(records);
                QuorumResponse::Fetch(response)
            }
            Reply::SnapshotPart { mut response, id, position, max_bytes } => {
                let path = self.dir.join(id.file_name());
                let part = read_part(self.env.disk.as_ref(), &path, position, max_bytes).await;
                let part = part.map_err(|error| StorageError::io("read a snapshot", &path, error));
                let topic = response.topics.first_mut();
                let partition = topic.and_then(|topic| topic.partitions.first_mut());
                partition.expect("the machine made one").unaligned_records = Records::from(part?);
                QuorumResponse::FetchSnapshot(response)
            }
        };
        // It may have stopped waiting.
        let _ = asker.send(response);
        Ok(())
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
        let Some(id) = self.machine.latest_snapshot() else { return Ok(None) };
        let path = self.dir.join(id.file_name());
        let bytes = read_file(self.env.disk.as_ref(), &path).await;
        let bytes = bytes.map_err(|error| StorageError::io("read a snapshot", &path, error))?;
        let snapshot = decode_snapshot(&bytes);
        let snapshot = snapshot.map_err(|error| RaftError::Snapshot { path, error })?;
        Ok(Some((id, snapshot)))
    }

    /// Writes a snapshot of what is committed below `id.end_offset`. The log begins with the one before it from now on.
    ///
    /// # Errors
    /// The disk fails.
    pub async fn save_snapshot(
        &mut self,
        id: SnapshotId,
        snapshot: &Snapshot,
    ) -> Result<(), RaftError> {
        let voters = self.machine.voters().iter().copied().collect::<Vec<_>>();
        // Voters that a configuration names are not kept in the log (`kraft.version` 0).
        let are_kept = voters.iter().all(|voter| voter.directory_id != Uuid::ZERO);
        let bytes = encode_snapshot(snapshot, id.epoch, are_kept.then_some(voters.as_slice()));
        let size = bytes.len() as u64;
        write_snapshot(self.env.disk.as_ref(), &self.dir, id, bytes).await?;
        self.handle(Event::SnapshotSaved { id, size }).await
    }

    /// Puts the fetched snapshot in the place of the log.
    async fn install_snapshot(
        &mut self,
        id: SnapshotId,
        events: &mut VecDeque<Event>,
    ) -> Result<(), RaftError> {
        let bytes = std::mem::take(&mut self.parts).freeze();
        let size = bytes.len() as u64;
        if let Err(error) = decode_snapshot(&bytes) {
            tracing::warn!(snapshot = %id.file_name(), %error, "a fetched snapshot is damaged");
            events.push_back(Event::SnapshotRefused);
            return Ok(());
        }
        match write_snapshot(self.env.disk.as_ref(), &self.dir, id, bytes).await {
            Ok(()) => {}
            Err(RaftError::Storage(error)) if error.is_no_space() => {
                events.push_back(Event::SnapshotRefused);
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        // The snapshot is durable first: a crash in between is finished at the next start.
        self.log.restart_at(id.end_offset).await?;
        self.remove_snapshots_but(|other| other == id).await?;
        self.notices.push(Notice::SnapshotInstalled(id));
        events.push_back(Event::SnapshotInstalled { id, size });
        Ok(())
    }

    async fn trim(&mut self, to: SnapshotId) -> Result<(), RaftError> {
        self.log.move_start(to.end_offset).await?;
        self.remove_snapshots_but(|other| other >= to).await
    }

    async fn remove_snapshots_but(
        &self,
        keep: impl Fn(SnapshotId) -> bool,
    ) -> Result<(), RaftError> {
        files::remove_snapshots_but(self.env.disk.as_ref(), &self.dir, keep).await
    }

    /// Ends in good order: a leader steps down and tells the others, if they listen, so that they need not wait to find out.
    ///
    /// # Errors
    /// The disk fails.
    pub async fn close(mut self) -> Result<(), RaftError> {
        self.handle(Event::Shutdown).await?;
        let mut timer = self.env.clock.timer();
        let deadline = self.env.clock.now().monotonic + self.request_timeout;
        while !self.machine.has_ended() && self.env.clock.now().monotonic < deadline {
            let next = self.machine.deadline().unwrap_or(deadline).min(deadline);
            let event = tokio::select! {
                biased;
                answer = self.network.answer() => answer,
                () = wait_until(timer.as_mut(), Some(next)) => Event::Tick,
            };
            self.handle(event).await?;
        }
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

async fn read_part(
    disk: &dyn Disk,
    path: &Path,
    position: u64,
    max_bytes: usize,
) -> io::Result<Bytes> {
    let file = disk.open(path, OpenMode::Read).await?;
    let length = file.length().await?;
    let left = usize::try_from(length.saturating_sub(position)).unwrap_or(usize::MAX);
    // Of an answer without a byte nobody would have anything.
    file.read_at(position, left.min(max_bytes.max(1))).await
}

#[cfg(test)]
mod tests;
