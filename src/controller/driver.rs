//! Runs the metadata of a node: one task that owns the quorum's member and what it adds up to, and a handle to ask it.
//!
//! Every node has one, voter or not. Committed records become images on all of them. On the one node whose member is the active
//! leader there is also the ledger: made from the committed image when it takes office, dropped when it leaves.
//!
//! What is asked is decided at once, its records are appended and replayed at once, and **every reply waits until what it depends
//! on is committed**, replies to questions that changed nothing too: they may have seen what is not committed yet. While a sync
//! runs, requests gather; the next sync serves them all. Images are published only as far as they are committed.

mod ask;

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::runtime::watch;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::{ApiError, Controller, ControllerConfig, Outcome, Reply, Request, bootstrap_records};
use crate::metadata::{
    ImageLoader, InvalidRecord, MetadataDelta, MetadataImage, Record, RecordError,
};
use crate::protocol::compression::Compression;
use crate::protocol::record_batch::{BatchBuilder, RawBatch};
use crate::raft::driver::{
    AppendError, METADATA_PARTITION_DIR, Notice, RaftError, RaftNode, RaftOptions, write_snapshot,
};
pub use crate::raft::{QuorumLeader, QuorumRequest, QuorumResponse};
use crate::raft::{
    RaftConfig, RecordBatch, Snapshot, SnapshotError, SnapshotId, Voter, VoterSet, decode_snapshot,
    encode_snapshot,
};
use crate::rpc::Endpoint;
use crate::runtime::clock::{Timer, wait_until};
use crate::runtime::{Disk, Env, read_file, replace_file, task};
use crate::storage::StorageError;
use crate::types::{
    BrokerId, ErrorCode, LeaderEpoch, Monotonic, Observation, Offset, Timestamp, Uuid,
};

/// Requests that may wait; a further one waits to be let in.
const MAILBOX_SIZE: usize = 256;
/// Requests that share one sync, so that the first of them is not kept waiting by a crowd.
const REQUESTS_PER_SYNC_MAX: usize = 256;
/// How much of the log is read at once at the start, in bytes.
const REPLAY_BYTES: usize = 8 << 20;
/// The most that a compressed batch of a foreign log may grow to, in bytes.
const DECOMPRESSED_BYTES_MAX: usize = 64 << 20;
/// How long to wait before trying again what a full disk refused.
const RETRY_BACKOFF: Duration = Duration::from_secs(1);
/// The records of a new cluster, in the log directory of the metadata log (Kafka: `BootstrapDirectory`).
const BOOTSTRAP_CHECKPOINT: &str = "bootstrap.checkpoint";

/// This node's place in the quorum.
#[derive(Clone, Debug)]
pub struct QuorumOptions {
    /// Whether this node votes, and may become the active controller. Otherwise it only follows.
    pub is_voter: bool,
    /// Who votes, and where each of them listens for the others (`controller.quorum.voters`).
    pub voters: Vec<(BrokerId, Endpoint)>,
    /// How long a voter waits for an election to end before it begins the next; each draws between this and the double
    /// (`controller.quorum.election.timeout.ms`).
    pub election_timeout: Duration,
    /// The longest pause after an election without winner (`controller.quorum.election.backoff.max.ms`).
    pub election_backoff_max: Duration,
    /// How long a follower goes without an answer before it asks for an election
    /// (`controller.quorum.fetch.timeout.ms`). After 1.5 times this a leader that nobody follows steps down.
    pub fetch_timeout: Duration,
    /// How long an answer may take (`controller.quorum.request.timeout.ms`).
    pub request_timeout: Duration,
    /// The pause before asking a node again that did not answer (`controller.quorum.retry.backoff.ms`).
    pub retry_backoff: Duration,
}

impl QuorumOptions {
    /// These voters, with Kafka's defaults for all times.
    #[must_use]
    pub fn new(is_voter: bool, voters: Vec<(BrokerId, Endpoint)>) -> Self {
        Self {
            is_voter,
            voters,
            election_timeout: Duration::from_millis(1_000),
            election_backoff_max: Duration::from_millis(1_000),
            fetch_timeout: Duration::from_millis(2_000),
            request_timeout: Duration::from_millis(2_000),
            retry_backoff: Duration::from_millis(20),
        }
    }

    /// A quorum of this node alone: it is asked by nobody, so where it listens does not matter.
    #[must_use]
    pub fn alone(node: BrokerId) -> Self {
        Self::new(true, vec![(node, Endpoint { host: String::new(), port: 0 })])
    }
}

/// What to run.
#[derive(Clone, Debug)]
pub struct ControllerOptions {
    /// What the ledger is told.
    pub config: ControllerConfig,
    /// The log directory that holds the metadata log (`metadata.log.dir`).
    pub metadata_log_dir: PathBuf,
    /// The id of that directory.
    pub directory_id: Uuid,
    /// `metadata.log.segment.bytes`.
    pub segment_bytes: u64,
    /// A snapshot is written after this many bytes of records (`metadata.log.max.record.bytes.between.snapshots`).
    pub bytes_between_snapshots: u64,
    /// This node's place in the quorum.
    pub quorum: QuorumOptions,
}

/// Why a controller did not start, or had to stop. Ends the node with exit code 1.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ControllerError {
    /// The quorum's files or their disk.
    #[error("{0}")]
    Raft(#[from] RaftError),
    /// A record that cannot be read.
    #[error("metadata log, offset {offset}: {error}")]
    Record {
        /// Where it stands, or where the snapshot that holds it ends.
        offset: Offset,
        /// What is wrong.
        error: RecordError,
    },
    /// A record that does not fit what is before it.
    #[error("metadata log, offset {offset}: {error}")]
    Invalid {
        /// Where it stands, or where the snapshot that holds it ends.
        offset: Offset,
        /// What is wrong.
        error: InvalidRecord,
    },
    /// A batch whose records cannot be taken apart.
    #[error("metadata log, offset {offset}: {why}")]
    Batch {
        /// Where it begins.
        offset: Offset,
        /// In words.
        why: String,
    },
    /// The file `bootstrap.checkpoint` is damaged.
    #[error("{}: {error}", path.display())]
    Bootstrap {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: SnapshotError,
    },
}

impl From<StorageError> for ControllerError {
    fn from(error: StorageError) -> Self {
        Self::Raft(error.into())
    }
}

/// Writes what a new cluster begins with into the formatted directory `metadata_log_dir`: `bootstrap.checkpoint` with the levels
/// of features, and the quorum's first snapshot, where it names the only `voter`. A quorum of several is named by the
/// configuration (`controller.quorum.voters`), and has no such snapshot.
///
/// # Errors
/// The disk fails.
pub async fn format_metadata(
    disk: &dyn Disk,
    metadata_log_dir: &Path,
    voter: Option<Voter>,
    records: &[Record],
    now: Timestamp,
) -> Result<(), ControllerError> {
    let encode = |record: &Record| record.to_bytes().expect("names of features are short");
    let epoch = LeaderEpoch::new(0);
    let snapshot = Snapshot { timestamp: now, records: records.iter().map(encode).collect() };
    let path = metadata_log_dir.join(BOOTSTRAP_CHECKPOINT);
    let written = replace_file(disk, &path, encode_snapshot(&snapshot, epoch, None)).await;
    written.map_err(|error| StorageError::io("write the bootstrap records", &path, error))?;

    let Some(voter) = voter else { return Ok(()) };
    let dir = metadata_log_dir.join(METADATA_PARTITION_DIR);
    let made = disk.create_dir_all(&dir).await;
    made.map_err(|error| StorageError::io("make a directory", &dir, error))?;
    let synced = disk.sync_dir(metadata_log_dir).await;
    synced.map_err(|error| StorageError::io("sync a directory", metadata_log_dir, error))?;
    let snapshot = Snapshot { timestamp: now, records: Vec::new() };
    let bytes = encode_snapshot(&snapshot, epoch, Some(&[voter]));
    let id = SnapshotId { end_offset: Offset::ZERO, epoch };
    Ok(write_snapshot(disk, &dir, id, bytes).await?)
}

enum Message {
    Ask { request: Request, reply: oneshot::Sender<Result<Reply, ApiError>> },
    Shutdown(oneshot::Sender<()>),
}

/// What comes in. Elections do not wait behind a crowd of other requests.
struct Inbox {
    requests: mpsc::Receiver<Message>,
    quorum: mpsc::Receiver<(QuorumRequest, oneshot::Sender<QuorumResponse>)>,
}

/// Asks the controller. Cloning shares it. When all handles are gone, the controller ends.
///
/// Each method returns when the answer is committed. `Err` of a whole method says that the controller could not decide
/// (`NOT_CONTROLLER`: this node is not the active controller, or no longer: then what was asked may still come about;
/// `KAFKA_STORAGE_ERROR`: the disk is full), or is the answer where there is only one.
#[derive(Clone, Debug)]
pub struct ControllerHandle {
    mailbox: mpsc::Sender<Message>,
    quorum: mpsc::Sender<(QuorumRequest, oneshot::Sender<QuorumResponse>)>,
    images: watch::Receiver<Arc<MetadataImage>>,
    failure: watch::Receiver<Option<Arc<ControllerError>>>,
    leader: watch::Receiver<QuorumLeader>,
}

impl ControllerHandle {
    /// Starts: opens the metadata log and takes part in the quorum. A quorum of one is active when this returns, the first
    /// image is there, and where the log was empty a new cluster has begun. In a quorum of several nobody was heard of yet:
    /// [`ControllerHandle::images`] and [`ControllerHandle::leader`] tell later.
    ///
    /// # Errors
    /// The directory is damaged or foreign, or its disk fails.
    pub async fn start(options: ControllerOptions, env: &Env) -> Result<Self, ControllerError> {
        let (handle, running) = Self::open(options, env).await?;
        task::spawn(running);
        Ok(handle)
    }

    /// The handle, and what must run for it to be answered.
    async fn open(
        options: ControllerOptions,
        env: &Env,
    ) -> Result<(Self, impl Future<Output = ()> + Send + 'static + use<>), ControllerError> {
        let (mailbox, requests) = mpsc::channel(MAILBOX_SIZE);
        let (images, images_receiver) = watch::channel(Arc::new(MetadataImage::default()));
        let (failure, failure_receiver) = watch::channel(None);
        let (quorum, quorum_requests) = mpsc::channel(MAILBOX_SIZE);
        let driver = Driver::start(options, env.clone(), images).await?;
        let leader = driver.leader.subscribe();
        let inbox = Inbox { requests, quorum: quorum_requests };
        let running = async move {
            if let Err(error) = driver.run(inbox).await {
                tracing::error!(%error, "the controller's metadata directory failed");
                // Nobody may be left to hear it.
                failure.send_replace(Some(Arc::new(error)));
            }
        };
        let handle =
            Self { mailbox, quorum, images: images_receiver, failure: failure_receiver, leader };
        Ok((handle, running))
    }

    /// The latest committed image.
    #[must_use]
    pub fn image(&self) -> Arc<MetadataImage> {
        self.images.borrow().clone()
    }

    /// The committed images, the latest of them at any time. [`MetadataDelta::between`] the one applied last and this one tells
    /// what to do: an image that was skipped is covered.
    #[must_use]
    pub fn images(&self) -> watch::Receiver<Arc<MetadataImage>> {
        self.images.clone()
    }

    /// Who leads the quorum, as far as this node knows; changes are told. The leader may not be active yet, or be gone
    /// already: then it answers `NOT_CONTROLLER`, or not at all.
    #[must_use]
    pub fn leader(&self) -> watch::Receiver<QuorumLeader> {
        self.leader.clone()
    }

    /// Answers what came over the controller listener for this member of the quorum. A Fetch may wait as long as it asks for.
    /// After the end of the controller the answer is `BROKER_NOT_AVAILABLE`.
    pub async fn quorum(&self, request: QuorumRequest) -> QuorumResponse {
        let refused = request.refused(ErrorCode::BrokerNotAvailable);
        let (asker, answer) = oneshot::channel();
        if self.quorum.send((request, asker)).await.is_err() {
            return refused;
        }
        answer.await.unwrap_or(refused)
    }

    /// Waits until the controller fails, which must end the node with exit code 1. Pending for ever after an orderly end.
    pub async fn failed(&self) -> Arc<ControllerError> {
        let mut failure = self.failure.clone();
        loop {
            if let Some(error) = failure.borrow_and_update().clone() {
                return error;
            }
            if failure.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Ends the controller: what it was asked before is answered first, then its log is closed.
    pub async fn shutdown(&self) {
        let (done, ended) = oneshot::channel();
        if self.mailbox.send(Message::Shutdown(done)).await.is_ok() {
            // An error: it ended by failing, which `failed` tells.
            let _ = ended.await;
        }
    }

    /// Asks anything; `ask.rs` has a method for each request.
    async fn ask(&self, request: Request) -> Result<Reply, ApiError> {
        let (reply, answer) = oneshot::channel();
        let stopped = || ApiError::new(ErrorCode::NotController, "the controller has stopped");
        let sent = self.mailbox.send(Message::Ask { request, reply }).await;
        sent.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

/// A reply that waits for its offset.
struct Parked {
    /// What must be committed first. Exclusive.
    end_offset: Offset,
    /// The records of the decision, to be added to the committed image.
    records: Vec<(Offset, Record)>,
    /// Whom to tell, and what.
    reply: Option<(oneshot::Sender<Result<Reply, ApiError>>, Reply)>,
}

/// What there is only while this node is the active controller.
struct Active {
    ledger: Controller,
    parked: VecDeque<Parked>,
    /// Not before this is the passing of time looked at again: the disk was full.
    tick_not_before: Monotonic,
}

struct Driver {
    options: ControllerOptions,
    env: Env,
    timer: Box<dyn Timer>,
    raft: RaftNode,
    active: Option<Active>,
    /// What is committed: behind the ledger, never ahead.
    committed: ImageLoader,
    images: watch::Sender<Arc<MetadataImage>>,
    /// Whether an image was published: the first is not, before all is here that the leader said to be committed. A node
    /// that was away must not act on what is long past.
    has_published: bool,
    leader: watch::Sender<QuorumLeader>,
    bytes_since_snapshot: u64,
}

impl Driver {
    /// Opens the files. The only voter is active when this returns, and has published; all others have only begun to look
    /// for the others.
    async fn start(
        options: ControllerOptions,
        env: Env,
        images: watch::Sender<Arc<MetadataImage>>,
    ) -> Result<Self, ControllerError> {
        let raft = RaftNode::start(raft_options(&options), &env).await?;
        let (leader, _) = watch::channel(raft.leader());
        let mut driver = Self {
            options,
            timer: env.clock.timer(),
            env,
            raft,
            active: None,
            committed: ImageLoader::default(),
            images,
            has_published: false,
            leader,
            bytes_since_snapshot: 0,
        };
        driver.load_snapshot().await?;
        driver.settle().await?;
        Ok(driver)
    }

    fn is_alone(&self) -> bool {
        self.options.quorum.is_voter && self.options.quorum.voters.len() == 1
    }

    /// The committed image becomes what the latest snapshot says, where that is more.
    async fn load_snapshot(&mut self) -> Result<(), ControllerError> {
        let Some((id, snapshot)) = self.raft.load_snapshot().await? else { return Ok(()) };
        if id.end_offset < self.committed.image().end_offset {
            return Ok(());
        }
        assert!(self.active.is_none(), "an active controller has everything already");
        self.committed = read_snapshot(id, snapshot)?;
        self.bytes_since_snapshot = 0;
        let (end_offset, epoch) = (id.end_offset, id.epoch);
        if end_offset > Offset::ZERO {
            let digest = self.committed.image().digest();
            self.env.observe(Observation::MetadataSnapshotLoaded { end_offset, epoch, digest });
        }
        Ok(())
    }

    async fn run(mut self, mut inbox: Inbox) -> Result<(), ControllerError> {
        loop {
            let deadline =
                [self.raft.deadline(), self.ledger_deadline()].into_iter().flatten().min();
            let mut ended = None;
            tokio::select! {
                biased;
                answer = self.raft.answer() => self.raft.take(answer).await?,
                asked = inbox.quorum.recv() => match asked {
                    Some((request, asker)) => self.raft.request(request, asker).await?,
                    None => return self.end().await,
                },
                message = inbox.requests.recv() => match message {
                    Some(message) => ended = self.on_message(message).await?,
                    None => return self.end().await,
                },
                () = wait_until(self.timer.as_mut(), deadline) => {}
            }
            for _ in 1..REQUESTS_PER_SYNC_MAX {
                if ended.is_some() {
                    break;
                }
                if let Ok((request, asker)) = inbox.quorum.try_recv() {
                    self.raft.request(request, asker).await?;
                } else if let Ok(message) = inbox.requests.try_recv() {
                    ended = self.on_message(message).await?;
                } else {
                    break;
                }
            }
            self.on_deadline().await?;
            self.settle().await?;
            if let Some(ended) = ended {
                self.end().await?;
                // It may have stopped waiting.
                let _ = ended.send(());
                return Ok(());
            }
        }
    }

    fn ledger_deadline(&self) -> Option<Monotonic> {
        let active = self.active.as_ref()?;
        active.ledger.deadline().map(|at| at.max(active.tick_not_before))
    }

    /// Returns whom to tell of the end, where that was the message.
    async fn on_message(
        &mut self,
        message: Message,
    ) -> Result<Option<oneshot::Sender<()>>, ControllerError> {
        match message {
            Message::Shutdown(done) => return Ok(Some(done)),
            Message::Ask { request, reply } => {
                let next_offset = self.raft.next_offset();
                let now = self.env.clock.now();
                let Some(active) = &mut self.active else {
                    // The asker may have stopped waiting.
                    let _ = reply.send(Err(self.not_controller()));
                    return Ok(None);
                };
                let outcome = active.ledger.decide(now, next_offset, request);
                match self.perform(outcome, Some(reply)).await {
                    Ok(()) | Err(Refused::Answer(_)) => {}
                    Err(Refused::Failed(error)) => return Err(error),
                }
            }
        }
        Ok(None)
    }

    fn not_controller(&self) -> ApiError {
        let message = match self.raft.leader().leader {
            Some(leader) if leader != self.options.config.node => {
                format!("the active controller appears to be node {leader}")
            }
            Some(_) | None => "no active controller is known".to_owned(),
        };
        ApiError::new(ErrorCode::NotController, message)
    }

    /// Does what time demands, of the quorum and of the ledger.
    async fn on_deadline(&mut self) -> Result<(), ControllerError> {
        let now = self.env.clock.now();
        if self.raft.deadline().is_some_and(|deadline| deadline <= now.monotonic) {
            self.raft.tick().await?;
        }
        if self.ledger_deadline().is_none_or(|deadline| deadline > now.monotonic) {
            return Ok(());
        }
        let Some(active) = &mut self.active else { return Ok(()) };
        let outcome = active.ledger.tick(now);
        match self.perform(outcome, None).await {
            Ok(()) => Ok(()),
            Err(Refused::Answer(_)) => {
                if let Some(active) = &mut self.active {
                    active.tick_not_before = now.monotonic + RETRY_BACKOFF;
                }
                Ok(())
            }
            Err(Refused::Failed(error)) => Err(error),
        }
    }

    /// Appends and replays what was decided, and parks the reply.
    async fn perform(
        &mut self,
        outcome: Outcome,
        asker: Option<oneshot::Sender<Result<Reply, ApiError>>>,
    ) -> Result<(), Refused> {
        let Outcome { records, reply } = outcome;
        let base_offset = self.raft.next_offset();
        if let Err(refused) = self.append(&records).await {
            if let (Some(asker), Refused::Answer(error)) = (asker, &refused) {
                // The asker may have stopped waiting.
                let _ = asker.send(Err(error.clone()));
            }
            return Err(refused);
        }
        let offsets = (0..).map(|index| base_offset + index);
        let records: Vec<(Offset, Record)> = offsets.zip(records).collect();
        let end_offset = self.raft.next_offset();
        let Some(active) = &mut self.active else {
            unreachable!("only the active controller decides")
        };
        for (offset, record) in &records {
            active.ledger.replay(*offset, self.raft.epoch(), record);
        }
        active.parked.push_back(Parked { end_offset, records, reply: asker.zip(reply) });
        Ok(())
    }

    async fn append(&mut self, records: &[Record]) -> Result<(), Refused> {
        if records.is_empty() {
            return Ok(());
        }
        let now = self.env.clock.now().wall;
        let mut builder = BatchBuilder::new(Compression::NONE);
        for record in records {
            let bytes = record.to_bytes().map_err(|error| {
                Refused::Answer(ApiError::new(ErrorCode::InvalidRequest, error.to_string()))
            })?;
            builder.append(now, None, Some(&bytes), &[]);
        }
        let bytes = builder.build();
        let size = bytes.len() as u64;
        let records = u32::try_from(records.len()).expect("a decision has fewer records");
        match self.raft.append(RecordBatch { records, bytes }).await {
            Ok(()) => {
                self.bytes_since_snapshot += size;
                Ok(())
            }
            Err(AppendError::NotLeader) => Err(Refused::Answer(self.not_controller())),
            Err(AppendError::NoSpace) => {
                let message = "the disk of the metadata log is full";
                Err(Refused::Answer(ApiError::new(ErrorCode::KafkaStorageError, message)))
            }
            Err(AppendError::Failed(error)) => Err(Refused::Failed(error.into())),
        }
    }

    /// Syncs what is due, follows the quorum, publishes what is committed, and lets the replies go.
    async fn settle(&mut self) -> Result<(), ControllerError> {
        loop {
            while self.raft.is_sync_due() {
                self.raft.sync().await?;
            }
            for notice in self.raft.take_notices() {
                match notice {
                    Notice::Deactivated => self.deactivate(),
                    // Boxed: every turn of the loop moves a future as large as the largest of these.
                    Notice::Activated { .. } => Box::pin(self.activate()).await?,
                    Notice::SnapshotInstalled(_) => Box::pin(self.load_snapshot()).await?,
                    Notice::Committed { .. } => Box::pin(self.catch_up()).await?,
                }
            }
            if !self.raft.is_sync_due() {
                break;
            }
        }
        let replies = self.release();
        self.publish();
        for (asker, reply) in replies {
            // The asker may have stopped waiting.
            let _ = asker.send(Ok(reply));
        }
        let leader = self.raft.leader();
        if *self.leader.borrow() != leader {
            self.leader.send_replace(leader);
        }
        Box::pin(self.snapshot_if_due()).await
    }

    /// Takes office: the ledger begins with all that is committed, which is all there is.
    async fn activate(&mut self) -> Result<(), ControllerError> {
        if !self.raft.is_active_leader() {
            return Ok(());
        }
        self.catch_up().await?;
        let now = self.env.clock.now();
        let rng = self.env.rng("controller");
        let ledger = Controller::new(self.options.config.clone(), rng, self.committed.clone(), now);
        let (parked, tick_not_before) = (VecDeque::new(), Monotonic::ZERO);
        self.active = Some(Active { ledger, parked, tick_not_before });
        if self.committed.image().features().is_empty() {
            self.begin_cluster().await?;
        }
        Ok(())
    }

    /// Leaves office. What was decided and not seen committed may never be: nobody is told of it.
    fn deactivate(&mut self) {
        let Some(active) = self.active.take() else { return };
        let error = self.not_controller();
        for parked in active.parked {
            if let Some((asker, _)) = parked.reply {
                // The asker may have stopped waiting.
                let _ = asker.send(Err(error.clone()));
            }
        }
    }

    /// The first records of an empty log, in one batch: all or none.
    async fn begin_cluster(&mut self) -> Result<(), ControllerError> {
        let path = self.options.metadata_log_dir.join(BOOTSTRAP_CHECKPOINT);
        let records = match read_file(self.env.disk.as_ref(), &path).await {
            Ok(bytes) => decode_bootstrap(&path, &bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                bootstrap_records(&[]).expect("the defaults are supported")
            }
            Err(error) => {
                return Err(StorageError::io("read the bootstrap records", &path, error).into());
            }
        };
        match self.perform(Outcome { records, reply: None }, None).await {
            Ok(()) => Ok(()),
            Err(Refused::Failed(error)) => Err(error),
            Err(Refused::Answer(error)) if self.is_alone() => {
                let full = io::Error::new(io::ErrorKind::StorageFull, error.to_string());
                let dir = &self.options.metadata_log_dir;
                Err(StorageError::io("begin the metadata log", dir, full).into())
            }
            // Another node may have the space.
            Err(Refused::Answer(_)) => Ok(self.raft.resign().await?),
        }
    }

    /// Reads what was committed since into the image. The active controller has it in memory.
    async fn catch_up(&mut self) -> Result<(), ControllerError> {
        if self.active.is_some() {
            return Ok(());
        }
        let end = self.raft.high_watermark().unwrap_or_default();
        if self.committed.image().end_offset < self.raft.log_start_offset() {
            self.load_snapshot().await?;
        }
        let mut next = self.committed.image().end_offset;
        while next < end {
            let batches = self.raft.read(next, end, REPLAY_BYTES).await?;
            if batches.is_empty() {
                let why = format!("the log ends before {end}");
                return Err(ControllerError::Batch { offset: next, why });
            }
            for batch in &batches {
                replay_batch(&mut self.committed, batch)?;
                self.bytes_since_snapshot += batch.bytes.len() as u64;
                next = batch.header.end_offset();
            }
        }
        Ok(())
    }

    /// Moves what is committed by now from the parked decisions into the image; returns the replies that may leave.
    fn release(&mut self) -> Vec<(oneshot::Sender<Result<Reply, ApiError>>, Reply)> {
        let mut replies = Vec::new();
        let Some(active) = &mut self.active else { return replies };
        let high_watermark = self.raft.high_watermark().expect("an active leader has one");
        let is_committed = |parked: &Parked| parked.end_offset <= high_watermark;
        while active.parked.front().is_some_and(is_committed) {
            let parked = active.parked.pop_front().expect("it was looked at");
            replies.extend(parked.reply);
            if parked.records.is_empty() {
                continue;
            }
            let before = self.committed.image().clone();
            for (offset, record) in &parked.records {
                let replayed = self.committed.replay(*offset, self.raft.epoch(), record);
                replayed.expect("the ledger took it before");
            }
            let end_offset = parked.end_offset;
            let mut observations = vec![Observation::MetadataCommitted { end_offset }];
            MetadataDelta::between(&before, self.committed.image()).observations(&mut observations);
            for observation in observations {
                self.env.observe(observation);
            }
        }
        replies
    }

    /// Tells everybody on this node what is committed.
    fn publish(&mut self) {
        let image = self.committed.image();
        let before = self.images.borrow().clone();
        // A cluster that has not begun yet is nothing to tell of.
        let has_begun = !image.features().is_empty();
        let may = self.has_published || (has_begun && self.raft.is_caught_up());
        if !may || (image.end_offset, image.epoch) == (before.end_offset, before.epoch) {
            return;
        }
        self.has_published = true;
        let image = Arc::new(image.clone());
        let (end_offset, epoch) = (image.end_offset, image.epoch);
        let mut observations = Vec::new();
        MetadataDelta::between(&before, &image).applied_observations(end_offset, &mut observations);
        observations.push(Observation::MetadataApplied { end_offset, epoch });
        self.images.send_replace(image);
        for observation in observations {
            self.env.observe(observation);
        }
    }

    async fn snapshot_if_due(&mut self) -> Result<(), ControllerError> {
        let due = self.bytes_since_snapshot >= self.options.bytes_between_snapshots;
        // In the middle of a transaction there is no image to write.
        if !due || self.committed.is_in_transaction() {
            return Ok(());
        }
        let image = self.committed.image();
        let id = SnapshotId { end_offset: image.end_offset, epoch: image.epoch };
        let encode = |record: &Record| record.to_bytes().expect("it was read from the log");
        let records = image.to_records().iter().map(encode).collect();
        let timestamp = self.env.clock.now().wall;
        let (end_offset, epoch, digest) = (id.end_offset, id.epoch, image.digest());
        match self.raft.save_snapshot(id, &Snapshot { timestamp, records }).await {
            Ok(()) => {
                self.bytes_since_snapshot = 0;
                let saved = Observation::MetadataSnapshotSaved { end_offset, epoch, digest };
                self.env.observe(saved);
            }
            // The log holds everything; the next commit tries again.
            Err(RaftError::Storage(error)) if error.is_no_space() => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    async fn end(mut self) -> Result<(), ControllerError> {
        self.settle().await?;
        self.deactivate();
        Ok(self.raft.close().await?)
    }
}

fn raft_options(options: &ControllerOptions) -> RaftOptions {
    let QuorumOptions { is_voter, voters, .. } = &options.quorum;
    let (node, directory_id) = (options.config.node, options.directory_id);
    // The directories of the others are not known: a configuration does not name them.
    let known = if voters.len() == 1 && *is_voter { directory_id } else { Uuid::ZERO };
    let voter_set = VoterSet::new(voters.iter().map(|(id, _)| Voter::new(*id, known)));
    RaftOptions {
        config: RaftConfig {
            node,
            directory_id,
            cluster_id: options.config.cluster_id.clone(),
            is_voter: *is_voter,
            voters: voter_set,
            election_timeout: options.quorum.election_timeout,
            election_backoff_max: options.quorum.election_backoff_max,
            fetch_timeout: options.quorum.fetch_timeout,
            retry_backoff: options.quorum.retry_backoff,
        },
        endpoints: voters.clone(),
        request_timeout: options.quorum.request_timeout,
        dir: options.metadata_log_dir.join(METADATA_PARTITION_DIR),
        segment_bytes: options.segment_bytes,
    }
}

/// Why a decision did not become records.
enum Refused {
    /// Only this decision: the asker is told.
    Answer(ApiError),
    /// The controller cannot go on.
    Failed(ControllerError),
}

fn decode_bootstrap(path: &Path, bytes: &Bytes) -> Result<Vec<Record>, ControllerError> {
    let snapshot = decode_snapshot(bytes)
        .map_err(|error| ControllerError::Bootstrap { path: path.to_owned(), error })?;
    let decode = |value: Bytes| {
        let offset = Offset::ZERO;
        Record::from_bytes(value).map_err(|error| ControllerError::Record { offset, error })
    };
    snapshot.records.into_iter().map(decode).collect()
}

/// What a snapshot says.
fn read_snapshot(id: SnapshotId, snapshot: Snapshot) -> Result<ImageLoader, ControllerError> {
    let mut loader = ImageLoader::default();
    let offset = id.end_offset;
    for value in snapshot.records {
        let record = Record::from_bytes(value);
        let record = record.map_err(|error| ControllerError::Record { offset, error })?;
        // The records of a snapshot have no offsets: together they stand for all below its end.
        loader
            .replay(Offset::ZERO, id.epoch, &record)
            .map_err(|error| ControllerError::Invalid { offset, error })?;
    }
    loader.advance(id.end_offset, id.epoch);
    Ok(loader)
}

fn replay_batch(loader: &mut ImageLoader, batch: &RawBatch) -> Result<(), ControllerError> {
    let offset = batch.header.base_offset;
    let epoch = batch.header.leader_epoch.unwrap_or_default();
    if !batch.header.is_control() {
        let broken = |why: String| ControllerError::Batch { offset, why };
        let records = batch.records(DECOMPRESSED_BYTES_MAX);
        for record in records.map_err(|error| broken(error.to_string()))? {
            let record = record.map_err(|error| broken(error.to_string()))?;
            replay(loader, epoch, record.offset, record.value.unwrap_or_default())?;
        }
    }
    loader.advance(batch.header.end_offset(), epoch);
    Ok(())
}

fn replay(
    loader: &mut ImageLoader,
    epoch: LeaderEpoch,
    offset: Offset,
    value: Bytes,
) -> Result<(), ControllerError> {
    let record = Record::from_bytes(value);
    let record = record.map_err(|error| ControllerError::Record { offset, error })?;
    let replayed = loader.replay(offset, epoch, &record);
    replayed.map_err(|error| ControllerError::Invalid { offset, error })
}

#[cfg(test)]
mod tests;
