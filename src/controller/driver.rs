//! Runs the metadata of a node: one task that owns the quorum's member and what it adds up to, and a handle to ask it.
//!
//! Every node has one, voter or not. Committed records become images on all of them. On the one node whose member is the active
//! leader there is also the ledger: made from the committed image when it takes office, dropped when it leaves.
//!
//! What is asked is decided at once, its records are appended and replayed at once, and **every reply waits until what it depends
//! on is committed**, replies to questions that changed nothing too: they may have seen what is not committed yet. While a sync
//! runs, requests gather; the next sync serves them all. Images are published only as far as they are committed.

mod ask;
mod committed;
mod options;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::{ApiError, Controller, Outcome, Reply, Request, bootstrap_records};
use crate::metadata::{ImageLoader, MetadataDelta, MetadataImage, Record};
use crate::protocol::compression::Compression;
use crate::protocol::record_batch::BatchBuilder;
use crate::raft::RecordBatch;
use crate::raft::driver::{AppendError, Notice, RaftNode};
pub use crate::raft::{QuorumLeader, QuorumRequest, QuorumResponse};
use crate::runtime::clock::{Timer, wait_until};
use crate::runtime::{Env, read_file, task, watch};
use crate::storage::StorageError;
use crate::types::{ErrorCode, Monotonic, Observation, Offset};

use options::{BOOTSTRAP_CHECKPOINT, decode_bootstrap, raft_options};
pub use options::{ControllerError, ControllerOptions, QuorumOptions, format_metadata};

/// Requests that may wait; a further one waits to be let in.
const MAILBOX_SIZE: usize = 256;
/// Requests that share one sync, so that the first of them is not kept waiting by a crowd.
const REQUESTS_PER_SYNC_MAX: usize = 256;
/// How long to wait before trying again what a full disk refused.
const RETRY_BACKOFF: Duration = Duration::from_secs(1);

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

    async fn end(mut self) -> Result<(), ControllerError> {
        self.settle().await?;
        self.deactivate();
        Ok(self.raft.close().await?)
    }
}

/// Why a decision did not become records.
enum Refused {
    /// Only this decision: the asker is told.
    Answer(ApiError),
    /// The controller cannot go on.
    Failed(ControllerError),
}

#[cfg(test)]
mod tests;
