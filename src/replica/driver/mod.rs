//! A partition's machine and its log behind a short lock: an object that any task may call.
//!
//! Nobody waits for I/O while holding the lock, and nobody waits for the lock while another does I/O: what the machine
//! decides is queued in the order decided, and whoever finds nobody draining the queue drains it, outside the lock. A
//! sync's completion comes on any thread.

mod append;
mod follow;
mod perform;
mod read;
mod read_cursors;
mod tail_cache;
mod watch;
mod work;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

use bytes::Bytes;

use super::{
    AppendAnswer, Checkpoint, Event, IsrProposal, LeaderState, OpenedState, Partition,
    PartitionConfig, Retention, Role, ServedBy, WaiterId,
};
use crate::log::{EpochEndOffset, IndexSizes, LogConfig, SegmentLimits};
use crate::runtime::Env;
use crate::storage::{
    LogDir, LogFiles, LogProgress, OfflineListener, OpenedPartition, StorageError, load_index,
};
use crate::types::{
    BrokerId, ErrorCode, LeaderEpoch, Monotonic, Offset, TopicIdPartition, TopicPartition,
};

pub use append::{AppendError, Appending};
pub use follow::IsrChanges;
pub use read::{OffsetSpec, ReadAnswer, ReadRequest, ReadUpTo, TimestampedOffset};
use read_cursors::ReadCursors;
pub use tail_cache::TailBudget;
use tail_cache::TailCache;
pub use watch::{FetchWatch, Watching};
use work::{Work, WorkQueue};

/// Settings of the broker that concern all its partitions.
#[derive(Clone, Debug)]
pub struct ReplicaOptions {
    /// `ottla.fetch.verify`: batches from disk are held against their checksum before they are served.
    pub fetch_verify: bool,
    /// `producer.id.expiration.ms`.
    pub producer_expiration: Duration,
    /// Memory for the newest batches of all partitions.
    pub tail_budget: Arc<TailBudget>,
    /// `node.id`.
    pub node: BrokerId,
    /// `replica.lag.time.max.ms`: a follower that was not caught up for so long leaves the ISR.
    pub lag_time_max: Duration,
    /// Who hears of the ISR changes that leaders want.
    pub isr_changes: IsrChanges,
}

/// When a topic's segments are closed.
#[must_use]
pub fn segment_limits(config: &LogConfig) -> SegmentLimits {
    SegmentLimits {
        segment_bytes: u64::from(config.segment_bytes),
        segment_ms: i64::try_from(config.segment_age_max.as_millis()).unwrap_or(i64::MAX),
        index: IndexSizes {
            interval_bytes: config.index_interval_bytes,
            index_bytes_max: config.segment_index_bytes,
        },
    }
}

/// A partition's replica.
pub struct PartitionHandle {
    env: Env,
    partition: TopicPartition,
    id: TopicIdPartition,
    files: Arc<LogFiles>,
    dir: Arc<LogDir>,
    progress: Arc<LogProgress>,
    options: ReplicaOptions,
    /// What the disk last said, for the log.
    disk_error: Mutex<Option<StorageError>>,
    inner: Mutex<Inner>,
}

struct Inner {
    machine: Partition,
    config: Arc<LogConfig>,
    queue: WorkQueue,
    /// Somebody performs the queue's work, outside the lock.
    draining: bool,
    waiters: u64,
    results: BTreeMap<WaiterId, Slot>,
    watches: BTreeMap<WaiterId, Arc<FetchWatch>>,
    tail: TailCache,
    cursors: ReadCursors,
    /// The last [`Effect::SaveEpochs`] that was tried.
    epochs_version: u64,
    /// The last [`Effect::Truncate`] or [`Effect::Restart`] that is done.
    truncations: u64,
    /// Who looks again after each event.
    waiting_for_condition: Vec<Waker>,
    after: After,
}

/// An append's answer, or who waits for it.
enum Slot {
    Waiting(Option<Waker>),
    Done(Result<AppendAnswer, ErrorCode>),
}

/// What is done as soon as the lock is free: waking may run others' code.
#[derive(Default)]
struct After {
    wakers: Vec<Waker>,
    readable: Vec<(Arc<FetchWatch>, u64)>,
    checkpoint: Option<Checkpoint>,
    proposals: Vec<IsrProposal>,
    dir_failed: bool,
}

impl fmt::Debug for PartitionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartitionHandle")
            .field("partition", &self.partition)
            .finish_non_exhaustive()
    }
}

impl PartitionHandle {
    /// Takes over an opened log. What is not surely durable in it begins to be synced.
    #[must_use]
    pub fn new(
        env: Env,
        opened: OpenedPartition,
        config: Arc<LogConfig>,
        options: ReplicaOptions,
    ) -> Arc<Self> {
        let OpenedPartition { partition, id, opened, high_watermark, dir, progress } = opened;
        let state = OpenedState {
            log: opened.log,
            producers: opened.producers,
            epochs: opened.epochs,
            high_watermark,
            durable_end_offset: opened.durable_end_offset,
        };
        let machine = Partition::new(id, partition_config(&config, &options, &dir), state);
        let tail = TailCache::new(options.tail_budget.clone());
        let handle = Arc::new(Self {
            env,
            partition,
            id,
            files: opened.files,
            dir,
            progress,
            options,
            disk_error: Mutex::new(None),
            inner: Mutex::new(Inner {
                machine,
                config,
                queue: WorkQueue::default(),
                draining: false,
                waiters: 0,
                results: BTreeMap::new(),
                watches: BTreeMap::new(),
                tail,
                cursors: ReadCursors::default(),
                epochs_version: 0,
                truncations: 0,
                waiting_for_condition: Vec::new(),
                after: After::default(),
            }),
        });
        handle.progress.set_clean(false);
        let listener: Weak<PartitionHandle> = Arc::downgrade(&handle);
        handle.dir.listen(listener);
        handle.handle(Event::Flush);
        handle
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no panic while a partition is locked")
    }

    /// The partition by name.
    #[must_use]
    pub const fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// The partition by id.
    #[must_use]
    pub const fn id(&self) -> TopicIdPartition {
        self.id
    }

    /// The log directory it is in.
    #[must_use]
    pub const fn dir(&self) -> &Arc<LogDir> {
        &self.dir
    }

    /// The topic's configuration.
    #[must_use]
    pub fn log_config(&self) -> Arc<LogConfig> {
        self.lock().config.clone()
    }

    /// Uses another configuration from now on.
    pub fn set_log_config(self: &Arc<Self>, log_config: Arc<LogConfig>) {
        let mut inner = self.lock();
        let config = partition_config(&log_config, &self.options, &self.dir);
        let limits = segment_limits(&log_config);
        inner.config = log_config;
        self.run(inner, self.env.clock.now(), Some(Event::Configure { config, limits }));
    }

    /// Everything below is committed.
    #[must_use]
    pub fn high_watermark(&self) -> Offset {
        self.lock().machine.high_watermark()
    }

    /// The first offset.
    #[must_use]
    pub fn log_start_offset(&self) -> Offset {
        self.lock().machine.log().log_start_offset()
    }

    /// The end that this replica may claim: written, or durable where nothing less counts.
    #[must_use]
    pub fn log_end_offset(&self) -> Offset {
        self.lock().machine.replica_end_offset()
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.lock().machine.log().size()
    }

    /// What this replica is.
    #[must_use]
    pub fn role(&self) -> Role {
        self.lock().machine.role()
    }

    /// Whether a request that believes in `leader_epoch` may be served here; the leader's epoch.
    ///
    /// # Errors
    /// KAFKA_STORAGE_ERROR, NOT_LEADER_OR_FOLLOWER, FENCED_LEADER_EPOCH, UNKNOWN_LEADER_EPOCH.
    pub fn check_leader(
        &self,
        leader_epoch: Option<LeaderEpoch>,
    ) -> Result<LeaderEpoch, ErrorCode> {
        self.lock().machine.check_leader(leader_epoch)
    }

    /// Where the log of `epoch` ends, for OffsetForLeaderEpoch; `None` where the epoch is unknown.
    ///
    /// # Errors
    /// As [`PartitionHandle::check_leader`] with `current_leader_epoch`.
    pub fn end_offset_for_epoch(
        &self,
        epoch: LeaderEpoch,
        current_leader_epoch: Option<LeaderEpoch>,
    ) -> Result<Option<EpochEndOffset>, ErrorCode> {
        self.end_offset_for_epoch_by(epoch, current_leader_epoch, ServedBy::Leader)
    }

    /// The same; where `by` allows it, also at a follower.
    ///
    /// # Errors
    /// As [`PartitionHandle::check_leader`] with `current_leader_epoch`.
    pub fn end_offset_for_epoch_by(
        &self,
        epoch: LeaderEpoch,
        current_leader_epoch: Option<LeaderEpoch>,
        by: ServedBy,
    ) -> Result<Option<EpochEndOffset>, ErrorCode> {
        let inner = self.lock();
        inner.machine.check_reader(current_leader_epoch, by)?;
        Ok(inner.machine.end_offset_for(epoch))
    }

    /// Leads, or learns of a new version of its term: at the call. A term or version older than known is ignored.
    ///
    /// The epoch and where it begins are durable when the future ends (many may be waited for together), and before anything is written in it. Only where the disk has no
    /// space they are not yet: then nothing can be written.
    ///
    /// # Errors
    /// `Offline`.
    pub fn become_leader(
        self: &Arc<Self>,
        state: LeaderState,
    ) -> impl Future<Output = Result<(), StorageError>> + Send + use<> {
        self.handle(Event::BecomeLeader(state));
        let version = self.lock().machine.epochs_version();
        let this = self.clone();
        async move { this.until(|inner| (inner.epochs_version >= version).then_some(())).await }
    }

    /// Neither leads nor follows any longer: who waits is told so.
    pub fn resign(self: &Arc<Self>) {
        self.handle(Event::Resign);
    }

    /// Does what time asks for: syncs by age, forgets idle producers, looks for followers that fell behind.
    pub fn tick(self: &Arc<Self>) {
        self.handle(Event::Tick);
    }

    /// When [`PartitionHandle::tick`] is wanted next: for a sync by age (`flush.ms`), or for followers that may have fallen
    /// behind (every half of `replica.lag.time.max.ms`).
    #[must_use]
    pub fn deadline(&self) -> Option<Monotonic> {
        self.lock().machine.deadline()
    }

    /// Waits until everything assigned so far is durable.
    ///
    /// # Errors
    /// `Offline`.
    pub async fn flush(self: &Arc<Self>) -> Result<(), StorageError> {
        let end_offset = self.lock().machine.log().log_end_offset();
        self.handle(Event::Flush);
        // What found no space, or was cut, is in the log no longer: nobody can wait for it.
        let is_durable = |inner: &Inner| {
            let end_offset = end_offset.min(inner.machine.log().log_end_offset());
            inner.machine.synced_end_offset() >= end_offset
        };
        self.until(|inner| is_durable(inner).then_some(())).await
    }

    /// Removes what is older or more than the topic's configuration keeps (`retention.ms`, `retention.bytes`).
    ///
    /// # Errors
    /// `Io`.
    pub async fn retain(self: &Arc<Self>) -> Result<(), StorageError> {
        let config = self.log_config();
        if !config.cleanup_policy.delete {
            return Ok(());
        }
        self.load_indexes().await?;
        let (age_max, bytes_max) = (config.retention, config.retention_bytes);
        self.handle(Event::Retain(Retention { age_max, bytes_max }));
        Ok(())
    }

    /// Removes the records below `to`; without `to`, all that are committed. Returns the log's new start.
    ///
    /// # Errors
    /// OFFSET_OUT_OF_RANGE above the high watermark; as [`PartitionHandle::check_leader`].
    pub fn delete_records(self: &Arc<Self>, to: Option<Offset>) -> Result<Offset, ErrorCode> {
        let inner = self.lock();
        inner.machine.check_leader(None)?;
        let to = inner.machine.deletion_offset(to)?;
        self.run(inner, self.env.clock.now(), Some(Event::MoveLogStart { to }));
        Ok(self.log_start_offset())
    }

    /// Has `watch` told when more can be read than the reader has seen: everything below `seen_end_offset`, the high
    /// watermark of its read.
    #[must_use]
    pub fn watch(self: &Arc<Self>, seen_end_offset: Offset, watch: &Arc<FetchWatch>) -> Watching {
        let mut inner = self.lock();
        let waiter = inner.next_waiter();
        inner.watches.insert(waiter, watch.clone());
        self.run(inner, self.env.clock.now(), Some(Event::Watch { waiter, seen_end_offset }));
        Watching { handle: self.clone(), waiter }
    }

    /// Ends: nothing is appended any more, all is durable, and the next open scans nothing.
    ///
    /// # Errors
    /// `Offline`; `Io`: the directory is offline.
    pub async fn close(self: &Arc<Self>) -> Result<(), StorageError> {
        self.handle(Event::Resign);
        self.flush().await?;
        self.until_settled().await?;
        let checkpoint = self.lock().machine.closing_checkpoint();
        let Checkpoint { end_offset, snapshot, indexes } = checkpoint;
        let points = [self.progress.written_recovery_point(), self.progress.settled()];
        let saved = self.files.save_checkpoint(end_offset, &indexes, snapshot, &points).await;
        if let Err(error) = saved {
            // Without space this log is not closed, and the directory not marked clean; it works, and the other logs are closed.
            self.dir.fail_unless_full(&error);
            return Err(error);
        }
        self.handle(Event::CheckpointSaved { end_offset });
        self.progress.set_clean(true);
        Ok(())
    }

    /// Waits until nothing is under way for the log.
    async fn until_settled(&self) -> Result<(), StorageError> {
        self.until(|inner| inner.is_settled().then_some(())).await
    }

    /// Waits until there is an answer; it is asked again after each event and each piece of work.
    ///
    /// # Errors
    /// `Offline`.
    async fn until<T>(&self, answer: impl Fn(&Inner) -> Option<T>) -> Result<T, StorageError> {
        std::future::poll_fn(|cx| {
            let mut inner = self.lock();
            if inner.machine.role() == Role::Offline {
                let path = self.dir.path().to_owned();
                return Poll::Ready(Err(StorageError::Offline { path }));
            }
            if let Some(answer) = answer(&inner) {
                return Poll::Ready(Ok(answer));
            }
            inner.waiting_for_condition.push(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Ends without a word to anybody, before the log is deleted: nothing is written when it returns.
    pub async fn stop_for_deletion(self: &Arc<Self>) {
        self.handle(Event::Resign);
        // Offline is as good: nothing is written then either.
        let _ = self.until_settled().await;
    }

    /// Reads the indexes of closed segments that were not read yet.
    async fn load_indexes(&self) -> Result<(), StorageError> {
        let (missing, sizes) = {
            let inner = self.lock();
            let log = inner.machine.log();
            (log.segments_without_index(), log.limits().index)
        };
        for (segment, size) in missing {
            let index = load_index(&self.files, segment, size, sizes).await?;
            self.lock().machine.install_index(segment, index);
        }
        Ok(())
    }

    /// Whoever waited is gone: for destructors. Nothing is done where a panic broke the machine: destructors run while that panic
    /// unwinds too, and a second one would end the process before anybody can tell of the first.
    fn forget(self: &Arc<Self>, waiter: WaiterId) {
        let Ok(mut inner) = self.inner.lock() else { return };
        inner.results.remove(&waiter);
        inner.watches.remove(&waiter);
        self.run(inner, self.env.clock.now(), Some(Event::Forget { waiter }));
    }
}

impl OfflineListener for PartitionHandle {
    fn on_offline(self: Arc<Self>) {
        self.handle(Event::DirFailed);
    }
}

impl Inner {
    fn next_waiter(&mut self) -> WaiterId {
        self.waiters += 1;
        WaiterId(self.waiters)
    }

    fn new_result(&mut self) -> WaiterId {
        let waiter = self.next_waiter();
        self.results.insert(waiter, Slot::Waiting(None));
        waiter
    }

    fn answer(&mut self, waiter: WaiterId, result: Result<AppendAnswer, ErrorCode>) {
        // Whoever waited may have gone meanwhile.
        if let Some(slot) = self.results.get_mut(&waiter)
            && let Slot::Waiting(waker) = std::mem::replace(slot, Slot::Done(result))
        {
            self.after.wakers.extend(waker);
        }
    }

    /// Keeps what is appended in memory for readers, where it came alone: what a follower fetched would keep the answer to a
    /// whole fetch in memory, and nobody reads it here. The slices to write.
    fn remember(&mut self, base: Offset, end: Offset, slices: [Bytes; 2]) -> Vec<Bytes> {
        if matches!(self.machine.role(), Role::Leader { .. }) {
            self.tail.push(base, end, slices.clone());
        }
        slices.into_iter().filter(|slice| !slice.is_empty()).collect()
    }

    fn is_settled(&self) -> bool {
        self.machine.is_settled() && self.queue.is_empty() && !self.draining
    }

    /// A write failed: what was queued behind it is void, but for removals and cuts. Whether a sync was among it.
    fn drop_queued(&mut self) -> bool {
        let dropped = self.queue.drop_void();
        self.epochs_version = dropped.epochs_version.unwrap_or(self.epochs_version);
        dropped.sync
    }

    /// The next work, for the caller to perform.
    fn next_work(&mut self) -> Option<Work> {
        if self.draining { None } else { self.queue.pop() }
    }
}

fn partition_config(config: &LogConfig, options: &ReplicaOptions, dir: &LogDir) -> PartitionConfig {
    PartitionConfig {
        flush_messages: config.flush_messages,
        flush_interval: config.flush_interval,
        producer_expiration: options.producer_expiration,
        log_dir: dir.index(),
        node: options.node,
        min_insync_replicas: config.min_insync_replicas,
        lag_time_max: options.lag_time_max,
    }
}

#[cfg(test)]
mod tests;
