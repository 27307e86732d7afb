//! A node's log directories: locked, checked, opened, and closed so that the next start scans nothing.
//!
//! Deleting is at once, in the background: `file.delete.delay.ms` is not waited for, since readers hold files and not names.
//!
//! Kafka: `LogManager`.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::runtime::watch;

use super::checkpoint::{
    CleanShutdown, HIGH_WATERMARKS, LOG_STARTS, OffsetCheckpoint, PartitionMetadata,
    RECOVERY_POINTS, read_offsets,
};
use super::file_name::{deleted_dir_name, is_deleted_dir_name};
use super::log_dir::{LogDir, LogProgress};
use super::recovery::{OpenOptions, OpenedLog, open_log};
use super::{MetaProperties, StorageError, failed_sync, log_dir_name, parse_log_dir_name};
use crate::log::SegmentLimits;
use crate::runtime::{Disk, Env, task};
use crate::types::{BrokerId, Observation, Offset, TopicId, TopicIdPartition, TopicPartition};

/// The topic of the metadata log, which its own owner opens (Kafka: `CLUSTER_METADATA_TOPIC_NAME`).
const METADATA_TOPIC: &str = "__cluster_metadata";
/// The lock of a log directory.
const LOCK: &str = ".lock";

/// What to open.
#[derive(Clone, Debug)]
pub struct LogManagerOptions {
    /// `log.dirs`.
    pub log_dirs: Vec<PathBuf>,
    /// `node.id`: the directories must belong to it.
    pub node_id: BrokerId,
    /// The cluster that the directories must belong to, where it is known.
    pub cluster_id: Option<String>,
    /// The directory that the caller has locked already, if it is one of these.
    pub locked_dir: Option<PathBuf>,
    /// When segments are closed, of topics without settings of their own.
    pub limits: SegmentLimits,
    /// The same, of topics with settings of their own, by topic name.
    pub topic_limits: BTreeMap<String, SegmentLimits>,
}

impl LogManagerOptions {
    fn limits_of(&self, topic: &str) -> SegmentLimits {
        self.topic_limits.get(topic).copied().unwrap_or(self.limits)
    }
}

/// A partition's log that was opened or made, for its replica to take over.
pub struct OpenedPartition {
    /// By name.
    pub partition: TopicPartition,
    /// By id.
    pub id: TopicIdPartition,
    /// The log.
    pub opened: OpenedLog,
    /// The high watermark of the last checkpoint.
    pub high_watermark: Offset,
    /// The directory it is in.
    pub dir: Arc<LogDir>,
    /// What the directory's checkpoints are told.
    pub progress: Arc<LogProgress>,
}

/// All log directories of a node.
pub struct LogManager {
    env: Env,
    dirs: Vec<Arc<LogDir>>,
    workers: Mutex<Vec<task::Task<()>>>,
    /// Held until the end.
    _locks: Vec<Box<dyn Send + Sync>>,
    failures: watch::Receiver<u32>,
    previous_broker_epoch: Option<i64>,
    cluster_id: String,
}

impl LogManager {
    /// Locks and opens all directories and the logs in them. A directory whose disk fails meanwhile is offline; the node
    /// can start as long as one is not.
    ///
    /// # Errors
    /// `Locked`, `Unformatted`, `Foreign`, `Corrupt`; `Io` where no directory can be opened.
    pub async fn open(
        env: &Env,
        options: LogManagerOptions,
    ) -> Result<(Self, Vec<OpenedPartition>), StorageError> {
        let (mut manager, partitions) = Self::open_idle(env, options).await?;
        let workers = manager.dirs.iter().map(|dir| task::spawn(dir.clone().work())).collect();
        manager.workers = Mutex::new(workers);
        Ok((manager, partitions))
    }

    /// Opens without the directories' workers.
    async fn open_idle(
        env: &Env,
        options: LogManagerOptions,
    ) -> Result<(Self, Vec<OpenedPartition>), StorageError> {
        let (sender, failures) = watch::channel(0);
        let mut manager = Self {
            env: env.clone(),
            dirs: Vec::new(),
            workers: Mutex::default(),
            _locks: Vec::new(),
            failures,
            previous_broker_epoch: None,
            cluster_id: options.cluster_id.clone().unwrap_or_default(),
        };
        let mut locks = Vec::new();
        let mut partitions = Vec::new();
        let mut last_error = None;
        let mut clean_epochs = Vec::new();
        for (path, index) in options.log_dirs.iter().zip(0u32..) {
            let (lock, meta) = match enter(env, path, &options).await {
                Ok(entered) => entered,
                Err(error @ StorageError::Io { .. }) => {
                    last_error = Some(error);
                    clean_epochs.push(None);
                    continue;
                }
                Err(error) => return Err(error),
            };
            locks.extend(lock);
            manager.cluster_id.clone_from(&meta.cluster_id);
            let id = meta.directory_id;
            let dir = LogDir::new(env.clone(), path.clone(), index, id, sender.clone());
            let dir = Arc::new(dir);
            manager.dirs.push(dir.clone());
            match manager.open_dir(&dir, &options).await {
                Ok((opened, clean_epoch)) => {
                    partitions.extend(opened);
                    clean_epochs.push(clean_epoch);
                }
                Err(error @ StorageError::Io { .. }) => {
                    clean_epochs.push(None);
                    dir.fail(&error);
                    last_error = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        if manager.dirs.iter().all(|dir| dir.is_offline()) {
            for dir in &manager.dirs {
                dir.finish_tasks().await;
            }
            let none = || StorageError::Offline { path: PathBuf::from("log.dirs") };
            return Err(last_error.unwrap_or_else(none));
        }
        manager._locks = locks;
        let first = clean_epochs.first().copied().flatten();
        manager.previous_broker_epoch =
            first.filter(|_| clean_epochs.iter().all(|of| *of == first));
        Ok((manager, partitions))
    }

    /// Opens the logs of a directory. Beside them, the broker epoch in which it was left in good order, if it was.
    async fn open_dir(
        &self,
        dir: &Arc<LogDir>,
        options: &LogManagerOptions,
    ) -> Result<(Vec<OpenedPartition>, Option<i64>), StorageError> {
        let disk = self.env.disk.clone();
        let path = dir.path();
        let points = read_offsets_or_none(&self.env, &path.join(RECOVERY_POINTS)).await?;
        let starts = read_offsets_or_none(&self.env, &path.join(LOG_STARTS)).await?;
        let marks = read_offsets_or_none(&self.env, &path.join(HIGH_WATERMARKS)).await?;
        let clean = CleanShutdown::take(disk.as_ref(), path).await?;
        let on = |error| StorageError::io("list a log directory", path, error);
        let mut opened: Vec<OpenedPartition> = Vec::new();
        let mut is_checkpoint_wrong = false;
        let entries = disk.read_dir(path).await.map_err(on)?;
        let sync_failed = failed_sync::is_marked(&entries);
        for entry in entries.iter().filter(|entry| entry.is_dir) {
            if is_deleted_dir_name(&entry.name) {
                disk.remove_dir_all(&path.join(&entry.name)).await.map_err(on)?;
                continue;
            }
            let partition = parse_log_dir_name(&entry.name);
            let Some(partition) = partition.filter(|id| id.topic.as_ref() != METADATA_TOPIC) else {
                continue;
            };
            let log_dir = path.join(&entry.name);
            let Some(topic_id) = self.topic_id(&log_dir).await? else { continue };
            let open = OpenOptions {
                dir: log_dir,
                limits: options.limits_of(&partition.topic),
                log_start_offset: starts.get(&partition).copied(),
                recovery_point: points.get(&partition).copied().unwrap_or(Offset::ZERO),
                clean: clean.is_some(),
                sync_failed,
                now: self.env.clock.now().wall,
            };
            let high_watermark = marks.get(&partition).copied().unwrap_or(Offset::ZERO);
            let point = open.recovery_point;
            let one = self.open_one(dir, partition, topic_id, open, high_watermark).await?;
            is_checkpoint_wrong |= one.opened.durable_end_offset < point;
            opened.push(one);
        }
        if is_checkpoint_wrong {
            // Left standing, it would vouch for what is appended next.
            dir.write_checkpoints().await?;
        }
        if sync_failed {
            failed_sync::unmark(disk.as_ref(), path).await?;
        }
        Ok((opened, clean.and_then(|clean| clean.broker_epoch)))
    }

    /// Whose log a directory holds. `None`: it was being made when the node died, and nothing was ever in it; it is removed.
    async fn topic_id(&self, log_dir: &Path) -> Result<Option<TopicId>, StorageError> {
        let disk = self.env.disk.as_ref();
        if let Some(metadata) = PartitionMetadata::read(disk, log_dir).await? {
            return Ok(Some(metadata.topic_id));
        }
        let on = |error| StorageError::io("open a log", log_dir, error);
        let entries = disk.read_dir(log_dir).await.map_err(on)?;
        if entries.iter().any(|entry| entry.name.ends_with(".log")) {
            let why = "partition.metadata, which names the topic's id, is missing";
            return Err(StorageError::corrupt(log_dir, 0, why));
        }
        crate::mark!("a log that was never finished is removed");
        disk.remove_dir_all(log_dir).await.map_err(on)?;
        Ok(None)
    }

    async fn open_one(
        &self,
        dir: &Arc<LogDir>,
        partition: TopicPartition,
        topic_id: TopicId,
        open: OpenOptions,
        high_watermark: Offset,
    ) -> Result<OpenedPartition, StorageError> {
        let id = TopicIdPartition { topic_id, partition: partition.partition };
        let opened = open_log(self.env.disk.clone(), open).await?;
        let (log_start_offset, log_end_offset) =
            (opened.log.log_start_offset(), opened.log.log_end_offset());
        self.env.observe(Observation::LogRecovered {
            partition: id,
            log_start_offset,
            log_end_offset,
            durable_end_offset: opened.durable_end_offset,
            scanned_from: opened.scanned_from,
            bytes_scanned: opened.bytes_scanned,
            bytes_cut: opened.bytes_cut,
        });
        let durable = opened.durable_end_offset;
        let progress = Arc::new(LogProgress::new(log_start_offset, durable, high_watermark));
        progress.set_clean(opened.is_clean);
        dir.add_log(partition.clone(), progress.clone());
        Ok(OpenedPartition { partition, id, opened, high_watermark, dir: dir.clone(), progress })
    }

    /// Makes a new partition's log, in the working directory with the fewest logs. Durable when it returns.
    ///
    /// # Errors
    /// `Io`: the directory is offline unless there was no space; `Offline` where none works.
    pub async fn create(
        &self,
        partition: &TopicPartition,
        topic_id: TopicId,
        limits: SegmentLimits,
    ) -> Result<OpenedPartition, StorageError> {
        let working = self.dirs.iter().filter(|dir| !dir.is_offline());
        let dir = working.min_by_key(|dir| (dir.log_count(), dir.index()));
        let dir = dir.ok_or_else(|| StorageError::Offline { path: PathBuf::from("log.dirs") })?;
        match self.create_in(dir, partition, topic_id, limits).await {
            Err(error) if !error.is_no_space() => {
                dir.fail(&error);
                Err(error)
            }
            result => result,
        }
    }

    async fn create_in(
        &self,
        dir: &Arc<LogDir>,
        partition: &TopicPartition,
        topic_id: TopicId,
        limits: SegmentLimits,
    ) -> Result<OpenedPartition, StorageError> {
        let log_dir = dir.path().join(log_dir_name(partition));
        let disk = self.env.disk.as_ref();
        let on = |error| StorageError::io("make a log's directory", &log_dir, error);
        disk.create_dir_all(&log_dir).await.map_err(on)?;
        // The name of the log's directory first: without it nothing in it is durable.
        disk.sync_dir(dir.path()).await.map_err(on)?;
        PartitionMetadata { topic_id }.write(disk, &log_dir).await?;
        let open = OpenOptions {
            dir: log_dir,
            limits,
            log_start_offset: None,
            recovery_point: Offset::ZERO,
            clean: false,
            sync_failed: false,
            now: self.env.clock.now().wall,
        };
        self.open_one(dir, partition.clone(), topic_id, open, Offset::ZERO).await
    }

    /// Removes a partition's log: nobody writes to it any more. Its name is gone, durably, when it returns; its files go in
    /// the background.
    ///
    /// # Errors
    /// `Io`: the directory is offline.
    pub async fn delete(
        &self,
        dir: &Arc<LogDir>,
        partition: &TopicPartition,
        topic_id: TopicId,
    ) -> Result<(), StorageError> {
        let to = dir.path().join(deleted_dir_name(partition, topic_id));
        self.rename_away("delete a log", dir, (partition, topic_id), &to).await?;
        let disk = self.env.disk.clone();
        dir.submit(Box::pin(async move {
            match disk.remove_dir_all(&to).await {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Err(StorageError::io("remove a deleted log", &to, error))
                }
                Ok(()) | Err(_) => Ok(()),
            }
        }));
        Ok(())
    }

    /// Gives a log that nobody claims another name, `<topic>-<partition>.<topic id>-stray`, durably: it is opened no more, and
    /// a person may look at it.
    ///
    /// # Errors
    /// `Io`: the directory is offline.
    ///
    /// Kafka: `LogManager.asyncDelete` of a stray log.
    pub async fn set_aside(
        &self,
        dir: &Arc<LogDir>,
        partition: &TopicPartition,
        topic_id: TopicId,
    ) -> Result<(), StorageError> {
        let to = dir.path().join(format!("{}.{topic_id}-stray", log_dir_name(partition)));
        self.rename_away("set a stray log aside", dir, (partition, topic_id), &to).await
    }

    /// Gives a log's directory another name, durably: then the log is nobody's any more. Where that fails, so does the log directory.
    async fn rename_away(
        &self,
        doing: &'static str,
        dir: &Arc<LogDir>,
        (partition, topic_id): (&TopicPartition, TopicId),
        to: &Path,
    ) -> Result<(), StorageError> {
        dir.remove_log(partition);
        dir.want_checkpoints();
        let from = dir.path().join(log_dir_name(partition));
        let disk = self.env.disk.as_ref();
        let renamed = async {
            disk.rename(&from, to).await?;
            disk.sync_dir(dir.path()).await
        };
        if let Err(error) = renamed.await {
            let error = StorageError::io(doing, &from, error);
            dir.fail(&error);
            return Err(error);
        }
        let id = TopicIdPartition { topic_id, partition: partition.partition };
        self.env.observe(Observation::LogDeleted { partition: id });
        Ok(())
    }

    /// The directories that could be opened, in the order of `log.dirs`.
    #[must_use]
    pub fn dirs(&self) -> &[Arc<LogDir>] {
        &self.dirs
    }

    /// The cluster that the directories belong to.
    #[must_use]
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// The broker epoch in which the last stop was clean; `None` where it was not, for one directory or for all: what the broker
    /// vouches for with it is all that it holds. Kafka: `LogManager.readBrokerEpochFromCleanShutdownFiles`.
    #[must_use]
    pub fn previous_broker_epoch(&self) -> Option<i64> {
        self.previous_broker_epoch
    }

    /// Waits until the last directory has failed and all are marked so: the node must end with exit code 1. Cancel-safe.
    pub async fn all_failed(&self) {
        let mut failures = self.failures.clone();
        if failures.wait_for(|failures| *failures as usize == self.dirs.len()).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Has the high watermarks of all logs written in the background.
    pub fn checkpoint_high_watermarks(&self) {
        self.dirs.iter().for_each(|dir| dir.want_high_watermarks());
    }

    /// Has recovery points and log starts of all logs written in the background.
    pub fn checkpoint_recovery_points(&self) {
        self.dirs.iter().for_each(|dir| dir.want_checkpoints());
    }

    /// Ends in good order, after all replicas were closed: writes the checkpoints and then, as the last thing in each
    /// working directory, the clean-shutdown file. Not there where a replica was not closed: it would promise too much.
    ///
    /// # Errors
    /// `Io`: that directory is recovered at the next start; the others are clean.
    pub async fn close(&self, broker_epoch: Option<i64>) -> Result<(), StorageError> {
        self.dirs.iter().for_each(|dir| dir.close());
        let workers = std::mem::take(&mut *self.workers.lock().expect("nobody panics with it"));
        for worker in workers {
            worker.join().await;
        }
        let mut result = Ok(());
        for dir in self.dirs.iter().filter(|dir| !dir.is_offline()) {
            let closed = close_dir(&self.env, dir, broker_epoch).await;
            result = result.and(closed);
        }
        result
    }
}

async fn close_dir(env: &Env, dir: &LogDir, broker_epoch: Option<i64>) -> Result<(), StorageError> {
    dir.write_checkpoints().await?;
    dir.write_high_watermarks().await?;
    if !dir.is_clean() {
        // The file would promise that each log ends at its recovery point.
        crate::mark!("a log directory stops with a log that was not closed");
        return Ok(());
    }
    CleanShutdown { broker_epoch }.write(env.disk.as_ref(), dir.path()).await
}

/// Locks a directory and reads whose it is.
async fn enter(
    env: &Env,
    path: &Path,
    options: &LogManagerOptions,
) -> Result<(Option<Box<dyn Send + Sync>>, MetaProperties), StorageError> {
    let disk = env.disk.as_ref();
    if let Err(error) = disk.read_dir(path).await {
        if error.kind() == io::ErrorKind::NotFound {
            return Err(StorageError::Unformatted { path: path.to_owned() });
        }
        return Err(StorageError::io("open a log directory", path, error));
    }
    let lock = match &options.locked_dir {
        Some(locked) if locked == path => None,
        Some(_) | None => Some(lock_log_dir(disk, path).await?),
    };
    let meta = MetaProperties::read(disk, path).await?;
    let meta = meta.ok_or_else(|| StorageError::Unformatted { path: path.to_owned() })?;
    meta.check(path, options.node_id, options.cluster_id.as_deref())?;
    Ok((lock, meta))
}

/// Takes the lock of a log directory, held until it is dropped or the process ends.
///
/// # Errors
/// `Locked` where another process holds it; `Io`.
pub async fn lock_log_dir(
    disk: &dyn Disk,
    path: &Path,
) -> Result<Box<dyn Send + Sync>, StorageError> {
    let lock_path = path.join(LOCK);
    disk.lock(&lock_path).await.map_err(|error| {
        if error.kind() == io::ErrorKind::WouldBlock {
            StorageError::Locked { path: lock_path.clone() }
        } else {
            StorageError::io("lock a log directory", &lock_path, error)
        }
    })
}

/// A damaged checkpoint counts as none, as in Kafka: logs are then recovered from their start.
async fn read_offsets_or_none(env: &Env, path: &Path) -> Result<OffsetCheckpoint, StorageError> {
    match read_offsets(env.disk.as_ref(), path).await {
        Err(StorageError::Corrupt { .. }) => {
            crate::mark!("a checkpoint file is damaged");
            Ok(OffsetCheckpoint::new())
        }
        result => result,
    }
}

#[cfg(test)]
#[path = "log_manager_tests.rs"]
mod tests;
