//! One of a node's log directories while the node runs: whether it works, and what is done for it in the background.
//!
//! The disk failure rule: one failed sync or write, and nothing in the directory is acknowledged or served any more until
//! the next start.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use super::{StorageError, failed_sync};
use crate::runtime::clock::timeout_at;
use crate::runtime::{BoxFuture, Env, task};
use crate::types::{Observation, Offset, TopicPartition, Uuid};

/// How long a process that is to end waits for a failed disk to take the mark.
const MARK_TIMEOUT: Duration = Duration::from_secs(1);

/// What a log tells its directory's checkpoints, without a lock.
#[derive(Debug)]
pub struct LogProgress {
    log_start_offset: AtomicI64,
    recovery_point: AtomicI64,
    /// The recovery point that the checkpoint's file says.
    written_recovery_point: AtomicI64,
    high_watermark: AtomicI64,
    /// The files are as a clean stop leaves them: the recovery point is the log's end.
    clean: AtomicBool,
}

impl LogProgress {
    /// Of a log as it was opened.
    #[must_use]
    pub fn new(log_start_offset: Offset, recovery_point: Offset, high_watermark: Offset) -> Self {
        Self {
            log_start_offset: AtomicI64::new(log_start_offset.value()),
            recovery_point: AtomicI64::new(recovery_point.value()),
            written_recovery_point: AtomicI64::new(recovery_point.value()),
            high_watermark: AtomicI64::new(high_watermark.value()),
            clean: AtomicBool::new(false),
        }
    }

    /// Whether the files are as a clean stop leaves them: nothing was done with the log since it was opened or closed so.
    pub fn set_clean(&self, clean: bool) {
        self.clean.store(clean, Ordering::Release);
    }

    fn is_clean(&self) -> bool {
        self.clean.load(Ordering::Acquire)
    }

    /// The log's start, recovery point and high watermark are these now.
    pub fn store(&self, log_start_offset: Offset, recovery_point: Offset, high_watermark: Offset) {
        self.log_start_offset.store(log_start_offset.value(), Ordering::Relaxed);
        self.recovery_point.store(recovery_point.value(), Ordering::Relaxed);
        self.high_watermark.store(high_watermark.value(), Ordering::Relaxed);
    }

    fn load(value: &AtomicI64) -> Offset {
        Offset::from_wire(value.load(Ordering::Relaxed)).unwrap_or(Offset::ZERO)
    }

    /// The log's first offset.
    #[must_use]
    pub fn log_start_offset(&self) -> Offset {
        Self::load(&self.log_start_offset)
    }

    /// Recovery after a crash would start here.
    #[must_use]
    pub fn recovery_point(&self) -> Offset {
        Self::load(&self.recovery_point)
    }

    /// Recovery after a crash would surely start here or later: a file says so.
    #[must_use]
    pub fn written_recovery_point(&self) -> Offset {
        Self::load(&self.written_recovery_point).min(self.recovery_point())
    }

    /// Everything below is committed.
    #[must_use]
    pub fn high_watermark(&self) -> Offset {
        Self::load(&self.high_watermark)
    }

    /// What is below is committed, and recovery believes it: neither a cut nor a crash takes away a snapshot up to here.
    #[must_use]
    pub fn settled(&self) -> Offset {
        self.written_recovery_point().min(self.high_watermark())
    }
}

/// Somebody who must know at once that the directory failed: a partition, which fails those who wait.
pub trait OfflineListener: Send + Sync {
    /// The directory is offline.
    fn on_offline(self: Arc<Self>);
}

/// What is done in the background for a directory, one after another. An error takes the directory offline.
pub type Job = BoxFuture<'static, Result<(), StorageError>>;

/// A log directory.
pub struct LogDir {
    env: Env,
    path: PathBuf,
    index: u32,
    directory_id: Uuid,
    offline: AtomicBool,
    jobs_changed: Notify,
    tasks_changed: Notify,
    inner: Mutex<Inner>,
    failures: crate::runtime::watch::Sender<u32>,
}

#[derive(Default)]
struct Inner {
    logs: BTreeMap<TopicPartition, Arc<LogProgress>>,
    listeners: Vec<Weak<dyn OfflineListener>>,
    jobs: VecDeque<Job>,
    tasks: VecDeque<BoxFuture<'static, ()>>,
    /// The recovery points or log starts in the checkpoint files are old.
    checkpoints_due: bool,
    /// So the high watermarks.
    high_watermarks_due: bool,
    closed: bool,
}

/// What the directory's worker does next.
enum Work {
    Job(Job),
    Checkpoints,
    HighWatermarks,
    End,
}

impl fmt::Debug for LogDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogDir").field("path", &self.path).finish_non_exhaustive()
    }
}

impl LogDir {
    /// A working directory, the `index`th of `log.dirs`. `failures` counts the directories that failed and are marked so.
    #[must_use]
    pub fn new(
        env: Env,
        path: PathBuf,
        index: u32,
        directory_id: Uuid,
        failures: crate::runtime::watch::Sender<u32>,
    ) -> Self {
        Self {
            env,
            path,
            index,
            directory_id,
            offline: AtomicBool::new(false),
            jobs_changed: Notify::new(),
            tasks_changed: Notify::new(),
            inner: Mutex::new(Inner::default()),
            failures,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no panic while a log directory is locked")
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its place in `log.dirs`.
    #[must_use]
    pub const fn index(&self) -> u32 {
        self.index
    }

    /// Its id in `meta.properties`.
    #[must_use]
    pub const fn directory_id(&self) -> Uuid {
        self.directory_id
    }

    /// Whether it failed.
    #[must_use]
    pub fn is_offline(&self) -> bool {
        self.offline.load(Ordering::Acquire)
    }

    /// How many logs it has.
    #[must_use]
    pub fn log_count(&self) -> usize {
        self.lock().logs.len()
    }

    /// Takes the directory offline for good. Only the first call does something. Call it without a partition's lock.
    pub fn fail(&self, why: &StorageError) {
        if self.offline.swap(true, Ordering::AcqRel) {
            return;
        }
        tracing::error!(path = %self.path.display(), error = %why, "log directory failed, it is offline");
        self.env.observe(Observation::LogDirOffline { index: self.index });
        let listeners = {
            let mut inner = self.lock();
            inner.jobs.clear();
            std::mem::take(&mut inner.listeners)
        };
        for listener in listeners.into_iter().filter_map(|listener| listener.upgrade()) {
            listener.on_offline();
        }
        self.spawn(self.mark());
    }

    /// Tells the next process that the page cache may show what is not on the disk, and then counts the failure: the process may
    /// end with that. A disk that does not answer holds it up for [`MARK_TIMEOUT`].
    fn mark(&self) -> BoxFuture<'static, ()> {
        let (env, path, failures) = (self.env.clone(), self.path.clone(), self.failures.clone());
        Box::pin(async move {
            let deadline = env.clock.now().monotonic + MARK_TIMEOUT;
            let marking = failed_sync::mark(env.disk.as_ref(), &path);
            if timeout_at(env.clock.as_ref(), deadline, marking).await.is_none() {
                tracing::warn!(path = %path.display(), "the disk does not answer: a failed log directory is not marked");
            }
            failures.send_modify(|failures| *failures += 1);
        })
    }

    /// Does at once what [`LogDir::spawn`] left for a worker that will never run.
    pub(super) async fn finish_tasks(&self) {
        let tasks = std::mem::take(&mut self.lock().tasks);
        for task in tasks {
            task.await;
        }
    }

    /// Has `listener` told when the directory fails; at once, if it has failed already.
    pub fn listen(&self, listener: Weak<dyn OfflineListener>) {
        {
            let mut inner = self.lock();
            if !self.is_offline() {
                inner.listeners.retain(|other| other.strong_count() > 0);
                inner.listeners.push(listener);
                return;
            }
        }
        if let Some(listener) = listener.upgrade() {
            listener.on_offline();
        }
    }

    /// Has a job done by the directory's worker. Any thread may call it.
    pub fn submit(&self, job: Job) {
        self.lock().jobs.push_back(job);
        self.jobs_changed.notify_one();
    }

    /// Starts a task where the directory's worker runs, whoever calls and however soon that one ends.
    pub fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.lock().tasks.push_back(task);
        self.tasks_changed.notify_one();
    }

    /// Has the checkpoint files written: a recovery point or log start moved.
    pub fn want_checkpoints(&self) {
        self.lock().checkpoints_due = true;
        self.jobs_changed.notify_one();
    }

    /// Writes recovery points and log starts, and waits for it: before what they vouched for is written anew. Before the files,
    /// the values must be what they are to say.
    ///
    /// # Errors
    /// `Io`; `Offline`.
    pub async fn write_checkpoints_now(self: &Arc<Self>) -> Result<(), StorageError> {
        let (sender, done) = tokio::sync::oneshot::channel();
        let this = self.clone();
        self.submit(Box::pin(async move {
            // The one who waits passes the error on; if it is gone, so is its log.
            let _ = sender.send(this.write_checkpoints().await);
            Ok(())
        }));
        let path = || self.path.clone();
        done.await.unwrap_or_else(|_| Err(StorageError::Offline { path: path() }))
    }

    /// Has the high watermarks written (`replica.high.watermark.checkpoint.interval.ms`).
    pub fn want_high_watermarks(&self) {
        self.lock().high_watermarks_due = true;
        self.jobs_changed.notify_one();
    }

    pub(super) fn add_log(&self, partition: TopicPartition, progress: Arc<LogProgress>) {
        self.lock().logs.insert(partition, progress);
    }

    pub(super) fn remove_log(&self, partition: &TopicPartition) {
        self.lock().logs.remove(partition);
    }

    /// Whether every log is as a clean stop leaves it.
    pub(super) fn is_clean(&self) -> bool {
        self.lock().logs.values().all(|log| log.is_clean())
    }

    /// Each log and what `value` is of it.
    pub(super) fn offsets(
        &self,
        value: impl Fn(&LogProgress) -> Offset,
    ) -> BTreeMap<TopicPartition, Offset> {
        let inner = self.lock();
        inner.logs.iter().map(|(id, progress)| (id.clone(), value(progress))).collect()
    }

    /// Ends the worker once it has done what is there.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.tasks_changed.notify_one();
        self.jobs_changed.notify_one();
    }

    fn next_work(&self) -> Option<Work> {
        let mut inner = self.lock();
        if let Some(job) = inner.jobs.pop_front() {
            return Some(Work::Job(job));
        }
        if std::mem::take(&mut inner.checkpoints_due) {
            return Some(Work::Checkpoints);
        }
        if std::mem::take(&mut inner.high_watermarks_due) {
            return Some(Work::HighWatermarks);
        }
        inner.closed.then_some(Work::End)
    }

    /// The worker: starts tasks, does jobs and writes checkpoint files until [`LogDir::close`].
    pub(super) async fn work(self: Arc<Self>) {
        tokio::join!(self.start_tasks(), self.do_jobs());
    }

    /// Starts tasks at once, whatever job is under way.
    async fn start_tasks(&self) {
        loop {
            let (tasks, closed) = {
                let mut inner = self.lock();
                (std::mem::take(&mut inner.tasks), inner.closed)
            };
            for future in tasks {
                task::spawn(future);
            }
            if closed {
                return;
            }
            self.tasks_changed.notified().await;
        }
    }

    async fn do_jobs(&self) {
        loop {
            let done = match self.next_work() {
                Some(Work::Job(job)) => job.await,
                Some(Work::Checkpoints) => self.write_checkpoints().await,
                Some(Work::HighWatermarks) => self.write_high_watermarks().await,
                Some(Work::End) => return,
                None => {
                    self.jobs_changed.notified().await;
                    continue;
                }
            };
            match done {
                Ok(()) | Err(StorageError::Offline { .. }) => {}
                Err(error) => self.fail_unless_full(&error),
            }
        }
    }

    /// The worker, for tests that do its work by hand.
    #[cfg(test)]
    pub(crate) fn work_for_test(self: Arc<Self>) -> impl Future<Output = ()> {
        self.work()
    }

    /// The tasks that wait to be started, for tests that have no runtime to start them on.
    #[cfg(test)]
    pub(crate) fn take_tasks(&self) -> VecDeque<BoxFuture<'static, ()>> {
        std::mem::take(&mut self.lock().tasks)
    }

    /// The worker without the tasks, for those tests.
    #[cfg(test)]
    pub(crate) async fn do_jobs_for_test(self: Arc<Self>) {
        self.do_jobs().await;
    }

    /// No space for a checkpoint harms nothing: the old one stays true.
    pub(crate) fn fail_unless_full(&self, error: &StorageError) {
        if error.is_no_space() {
            self.env.observe(Observation::LogDirFull { index: self.index });
        } else {
            self.fail(error);
        }
    }

    /// Writes recovery points and log starts. One at a time: the worker, or the one who stops after it ended.
    ///
    /// # Errors
    /// `Io`; `Offline`.
    pub(super) async fn write_checkpoints(&self) -> Result<(), StorageError> {
        use super::checkpoint::{LOG_STARTS, RECOVERY_POINTS, write_offsets};
        self.check_online()?;
        let disk = self.env.disk.as_ref();
        let points = self.offsets(LogProgress::recovery_point);
        write_offsets(disk, &self.path.join(RECOVERY_POINTS), &points).await?;
        for (id, progress) in &self.lock().logs {
            if let Some(point) = points.get(id) {
                progress.written_recovery_point.store(point.value(), Ordering::Relaxed);
            }
        }
        let starts = self.offsets(LogProgress::log_start_offset);
        write_offsets(disk, &self.path.join(LOG_STARTS), &starts).await
    }

    /// Writes high watermarks.
    ///
    /// # Errors
    /// `Io`; `Offline`.
    pub(super) async fn write_high_watermarks(&self) -> Result<(), StorageError> {
        use super::checkpoint::{HIGH_WATERMARKS, write_offsets};
        self.check_online()?;
        let marks = self.offsets(LogProgress::high_watermark);
        write_offsets(self.env.disk.as_ref(), &self.path.join(HIGH_WATERMARKS), &marks).await
    }

    /// # Errors
    /// `Offline`.
    pub(super) fn check_online(&self) -> Result<(), StorageError> {
        if self.is_offline() {
            return Err(StorageError::Offline { path: self.path.clone() });
        }
        Ok(())
    }
}
