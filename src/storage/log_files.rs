//! The files of one log: opened, written, cut, synced. Performs what was decided elsewhere, and decides nothing.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;

use super::{LogFileName, StorageError, Suffix};
use crate::log::{IndexKind, IndexPart};
use crate::runtime::{Disk, File, Io, OpenMode, SyncDone, replace_file, replace_file_from, sync};
use crate::types::Offset;

/// The open files of one log's directory. Shared: any task may read and write at any position.
///
/// Lock: `segments` is held for a look-up only, never across an operation.
pub struct LogFiles {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    segments: Mutex<BTreeMap<Offset, Arc<dyn File>>>,
}

impl LogFiles {
    /// The files in `dir`, none open yet.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, dir: PathBuf) -> Self {
        Self { disk, dir, segments: Mutex::new(BTreeMap::new()) }
    }

    /// The log's directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The disk it is on.
    #[must_use]
    pub fn disk(&self) -> &dyn Disk {
        self.disk.as_ref()
    }

    /// Where a file of the log is.
    #[must_use]
    pub fn path(&self, offset: Offset, suffix: Suffix) -> PathBuf {
        self.dir.join(LogFileName::new(offset, suffix).to_string())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Offset, Arc<dyn File>>> {
        self.segments.lock().expect("no panic while the files are locked")
    }

    fn opened(&self, segment: Offset) -> Option<Arc<dyn File>> {
        self.lock().get(&segment).cloned()
    }

    /// The `.log` file of a segment, opened at the first call.
    ///
    /// # Errors
    /// `Io`, also where it does not exist.
    pub async fn segment(&self, segment: Offset) -> Result<Arc<dyn File>, StorageError> {
        if let Some(file) = self.opened(segment) {
            return Ok(file);
        }
        let path = self.path(segment, Suffix::Log);
        let file = self.disk.open(&path, OpenMode::ReadWrite).await;
        let file = file.map_err(StorageError::on("open a segment", &path))?;
        Ok(self.lock().entry(segment).or_insert(file).clone())
    }

    /// Makes the `.log` file of a new segment, and its name durable: nothing in it counts as synced before (KAFKA-3968).
    ///
    /// What an earlier, unfinished attempt left under the name is emptied.
    ///
    /// # Errors
    /// `Io`.
    pub async fn create_segment(&self, segment: Offset) -> Result<(), StorageError> {
        let path = self.path(segment, Suffix::Log);
        let file = self.disk.open(&path, OpenMode::Truncate).await;
        let file = file.map_err(StorageError::on("create a segment", &path))?;
        self.sync_dir().await?;
        self.lock().insert(segment, file);
        Ok(())
    }

    /// Writes `slices` one after another at `position` of a segment.
    pub fn write(&self, segment: Offset, position: u64, slices: Vec<Bytes>) -> Io<()> {
        match self.opened(segment) {
            Some(file) => file.write_at(position, slices),
            None => Io::failed(io::Error::other("a segment is opened before it is written")),
        }
    }

    /// Up to `length` bytes of a segment from `position`: fewer only at the end of the file.
    ///
    /// # Errors
    /// `Io`.
    pub async fn read(
        &self,
        segment: Offset,
        position: u64,
        length: usize,
    ) -> Result<Bytes, StorageError> {
        let file = self.segment(segment).await?;
        file.read_at(position, length).await.map_err(|error| {
            StorageError::io("read a segment", &self.path(segment, Suffix::Log), error)
        })
    }

    /// Cuts a segment to `length` bytes and removes the segments `later`, from the last one on, so that a crash between
    /// two steps leaves no hole. The names are durable afterwards, the length with the next sync of the segment.
    ///
    /// # Errors
    /// `Io`.
    pub async fn cut(
        &self,
        segment: Offset,
        length: u64,
        later: &[Offset],
    ) -> Result<(), StorageError> {
        for base_offset in later.iter().rev() {
            self.remove_segment(*base_offset).await?;
        }
        if !later.is_empty() {
            self.sync_dir().await?;
        }
        if length == 0 && self.opened(segment).is_none() {
            // Its own creation may be what failed.
            return self.create_segment(segment).await;
        }
        let file = self.segment(segment).await?;
        let path = self.path(segment, Suffix::Log);
        file.set_len(length).await.map_err(StorageError::on("cut a segment", &path))
    }

    /// Removes all files of a segment. Readers that hold it open go on. Missing files are fine.
    ///
    /// # Errors
    /// `Io`.
    pub async fn remove_segment(&self, segment: Offset) -> Result<(), StorageError> {
        self.lock().remove(&segment);
        for suffix in [Suffix::Log, Suffix::Index, Suffix::TimeIndex, Suffix::TxnIndex] {
            self.remove(segment, suffix).await?;
        }
        Ok(())
    }

    /// Removes the oldest segments, each durably before the next one goes: a loss of power in between leaves no hole (swarm-disk,
    /// seed 192).
    ///
    /// # Errors
    /// `Io`.
    pub async fn remove_oldest(&self, segments: &[Offset]) -> Result<(), StorageError> {
        for segment in segments {
            self.remove_segment(*segment).await?;
            self.sync_dir().await?;
        }
        Ok(())
    }

    /// Removes one file; a missing one is fine.
    ///
    /// # Errors
    /// `Io`.
    pub async fn remove(&self, offset: Offset, suffix: Suffix) -> Result<(), StorageError> {
        let path = self.path(offset, suffix);
        match self.disk.remove_file(&path).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StorageError::io("remove a file", &path, error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Makes the names in the log's directory durable.
    ///
    /// # Errors
    /// `Io`.
    pub async fn sync_dir(&self) -> Result<(), StorageError> {
        let done = self.disk.sync_dir(&self.dir).await;
        done.map_err(StorageError::on("sync a log's directory", &self.dir))
    }

    /// The open files of `segments`, for [`start_sync`].
    ///
    /// # Panics
    /// Where one is not open: what is written was opened.
    #[must_use]
    pub fn opened_segments(&self, segments: &[Offset]) -> Vec<Arc<dyn File>> {
        let open = self.lock();
        let file = |segment| open.get(segment).cloned().expect("what is synced was written");
        segments.iter().map(file).collect()
    }

    /// Makes `segments` durable, one after another.
    ///
    /// # Errors
    /// `Io`.
    pub async fn sync(&self, segments: &[Offset]) -> Result<(), StorageError> {
        for segment in segments {
            let file = self.segment(*segment).await?;
            let path = self.path(*segment, Suffix::Log);
            sync(file.as_ref()).await.map_err(StorageError::on("sync a segment", &path))?;
        }
        Ok(())
    }

    /// Writes a side file (an index, a snapshot) from `position` on, cuts it behind, and makes it durable.
    ///
    /// # Errors
    /// `Io`.
    pub async fn write_side_file(
        &self,
        offset: Offset,
        suffix: Suffix,
        position: u64,
        content: Bytes,
    ) -> Result<(), StorageError> {
        let path = self.path(offset, suffix);
        let on = |error| StorageError::io("write an index or snapshot", &path, error);
        let mode = if position == 0 { OpenMode::Truncate } else { OpenMode::Create };
        let file = self.disk.open(&path, mode).await.map_err(on)?;
        let end = position + content.len() as u64;
        if !content.is_empty() {
            file.write_at(position, vec![content]).await.map_err(on)?;
        }
        file.set_len(end).await.map_err(on)?;
        // Whatever it says, "no space" included: after a failed sync nobody knows what is on the disk.
        sync(file.as_ref()).await.map_err(|error| on(io::Error::other(error)))
    }

    /// Brings index files to what the indexes in memory are, durably.
    ///
    /// # Errors
    /// `Io`.
    pub async fn save_indexes(&self, indexes: &[IndexPart]) -> Result<(), StorageError> {
        for part in indexes {
            let suffix = match part.kind {
                IndexKind::Offset => Suffix::Index,
                IndexKind::Time => Suffix::TimeIndex,
            };
            let position = part.saved as u64 * part.kind.entry_bytes();
            self.write_side_file(part.segment, suffix, position, part.content.clone()).await?;
        }
        Ok(())
    }

    /// Saves what recovery starts from: index entries and the state of producers, in this order, and then the name of the
    /// snapshot: where it stands, everything it stands for is durable. The log itself was synced before.
    ///
    /// Of older snapshots those stay that a segment begins with, for a cut may need them, and the newest up to each of `points`: what recovery
    /// takes, and what is left after a cut. They may stand for segments that are gone.
    ///
    /// # Errors
    /// `Io`.
    pub async fn save_checkpoint(
        &self,
        end_offset: Offset,
        indexes: &[IndexPart],
        snapshot: Bytes,
        points: &[Offset],
    ) -> Result<(), StorageError> {
        self.save_indexes(indexes).await?;
        let path = self.path(end_offset, Suffix::Snapshot);
        let replaced = replace_file(self.disk(), &path, snapshot).await;
        replaced.map_err(StorageError::on("write a producer snapshot", &path))?;
        self.remove_old_snapshots(points).await
    }

    /// Saves the state of producers at the beginning of a segment, durably: for when it is the first. A checkpoint may be saved meanwhile.
    ///
    /// # Errors
    /// `Io`.
    pub(super) async fn save_first_snapshot(
        &self,
        segment: Offset,
        snapshot: Bytes,
    ) -> Result<(), StorageError> {
        let path = self.path(segment, Suffix::Snapshot);
        let temporary = path.with_extension("snapshot.first.tmp");
        let replaced = replace_file_from(self.disk(), &temporary, &path, snapshot).await;
        replaced.map_err(StorageError::on("write a producer snapshot", &path))
    }

    /// The offsets of the snapshots, and of the segments; both rise.
    pub(super) async fn list(&self) -> Result<(Vec<Offset>, Vec<Offset>), StorageError> {
        let names = self.disk.read_dir(&self.dir).await;
        let names = names.map_err(StorageError::on("list a log's directory", &self.dir))?;
        let names: Vec<LogFileName> =
            names.iter().filter_map(|entry| LogFileName::parse(&entry.name)).collect();
        let of = |suffix| {
            let those = names.iter().filter(move |name| name.suffix == suffix);
            those.map(|name| name.offset).collect()
        };
        Ok((of(Suffix::Snapshot), of(Suffix::Log)))
    }

    /// The offsets of the producer snapshots, rising.
    ///
    /// # Errors
    /// `Io`.
    pub async fn snapshots(&self) -> Result<Vec<Offset>, StorageError> {
        Ok(self.list().await?.0)
    }

    /// Removes all segments and snapshots, and begins an empty segment at `start`, durably. From the last one on, so that a crash
    /// between two steps leaves no hole.
    ///
    /// # Errors
    /// `Io`.
    pub async fn restart(&self, segments: &[Offset], start: Offset) -> Result<(), StorageError> {
        for snapshot in self.snapshots().await? {
            self.remove(snapshot, Suffix::Snapshot).await?;
        }
        for segment in segments.iter().rev() {
            self.remove_segment(*segment).await?;
        }
        self.sync_dir().await?;
        self.create_segment(start).await
    }

    async fn remove_old_snapshots(&self, points: &[Offset]) -> Result<(), StorageError> {
        let (snapshots, segments) = self.list().await?;
        let up_to = |point: &Offset| snapshots.iter().rfind(|snapshot| *snapshot <= point);
        let kept: Vec<&Offset> =
            snapshots.last().into_iter().chain(points.iter().filter_map(up_to)).collect();
        for snapshot in &snapshots {
            if !kept.contains(&snapshot) && !segments.contains(snapshot) {
                self.remove(*snapshot, Suffix::Snapshot).await?;
            }
        }
        Ok(())
    }

    /// Removes the snapshots of offsets beyond `end_offset`, durably, before the log is cut there: one that came back after a
    /// crash would vouch for what is appended later.
    ///
    /// # Errors
    /// `Io`.
    pub async fn remove_snapshots_above(&self, end_offset: Offset) -> Result<(), StorageError> {
        let (snapshots, _) = self.list().await?;
        let mut removed = false;
        for snapshot in snapshots.iter().filter(|snapshot| **snapshot > end_offset) {
            self.remove(*snapshot, Suffix::Snapshot).await?;
            removed = true;
        }
        if removed { self.sync_dir().await } else { Ok(()) }
    }

    /// Reads a whole side file; `None` where there is none.
    ///
    /// # Errors
    /// `Io`.
    pub async fn read_side_file(
        &self,
        offset: Offset,
        suffix: Suffix,
    ) -> Result<Option<Bytes>, StorageError> {
        super::checkpoint::read_optional(self.disk(), &self.path(offset, suffix)).await
    }
}

/// Starts making `files` durable one after another, the first one first, so that what is durable is always a prefix of the
/// log; then calls `done`, after the first failure at once.
pub fn start_sync(mut files: Vec<Arc<dyn File>>, done: SyncDone) {
    files.reverse();
    sync_from_the_end(files, done);
}

fn sync_from_the_end(mut files: Vec<Arc<dyn File>>, done: SyncDone) {
    let Some(file) = files.pop() else { return done(Ok(())) };
    if files.is_empty() {
        return file.start_sync(done);
    }
    file.start_sync(Box::new(move |result| match result {
        Ok(()) => sync_from_the_end(files, done),
        Err(error) => done(Err(error)),
    }));
}
