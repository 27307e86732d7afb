//! One partition's log as a sequential owner uses it: the metadata log of the quorum.
//!
//! A replica's log is the same files under a machine and a lock: `replica::driver`.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::reader::{SegmentRead, read_batches};
use super::recovery::{OpenOptions, OpenedLog, load_index, open_log};
use super::{LogFileName, LogFiles, StorageError, Suffix, failed_sync};
use crate::log::{IndexSizes, LeaderEpochCache, LocalLog, Lookup, ProducerState, SegmentLimits};
use crate::protocol::record_batch::{RawBatch, RawBatches};
use crate::runtime::Env;
use crate::types::{LeaderEpoch, Observation, Offset, TopicIdPartition};

/// What to open.
#[derive(Clone, Debug)]
pub struct OpenLog {
    /// Where: the log's own directory, made if missing.
    pub dir: PathBuf,
    /// Whose log it is: for observations.
    pub id: TopicIdPartition,
    /// A segment is closed before it grows beyond this many bytes (`metadata.log.segment.bytes`).
    pub segment_bytes: u64,
}

/// Where an append stands in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendInfo {
    /// The offset of the first record.
    pub base_offset: Offset,
    /// The offset after the last record.
    pub end_offset: Offset,
}

/// One log. One owner: every call that writes takes `&mut self` and returns when the write is done (not durable: `flush`).
///
/// After an error of a writing call other than "no space" the log must not be written again: the disk failure rule.
///
/// Invariants: all segments have their indexes in memory.
pub struct UnifiedLog {
    env: Env,
    id: TopicIdPartition,
    files: Arc<LogFiles>,
    log: LocalLog,
    producers: ProducerState,
    epochs: LeaderEpochCache,
    flushed_end_offset: Offset,
}

/// `index.interval.bytes` and `segment.index.bytes` as Kafka has them for the metadata log.
const INDEX_SIZES: IndexSizes = IndexSizes { interval_bytes: 4096, index_bytes_max: 10 << 20 };

impl UnifiedLog {
    /// Opens or makes a log, and recovers it: afterwards it is the longest valid prefix of what was written, and durable.
    ///
    /// # Errors
    /// `Io`.
    pub async fn open(env: &Env, what: OpenLog) -> Result<Self, StorageError> {
        let options = open_options(env, &what).await?;
        let sync_failed = options.sync_failed;
        let opened = open_log(env.disk.clone(), options).await?;
        let OpenedLog { mut log, producers, epochs, files, .. } = opened;
        for (segment, size) in log.segments_without_index() {
            log.install_index(segment, load_index(&files, segment, size, INDEX_SIZES).await?);
        }
        env.observe(Observation::LogRecovered {
            partition: what.id,
            log_start_offset: log.log_start_offset(),
            log_end_offset: log.log_end_offset(),
            durable_end_offset: opened.durable_end_offset,
            scanned_from: opened.scanned_from,
            bytes_scanned: opened.bytes_scanned,
            bytes_cut: opened.bytes_cut,
        });
        let flushed_end_offset = opened.durable_end_offset;
        let (env, id) = (env.clone(), what.id);
        let mut log = Self { env, id, files, log, producers, epochs, flushed_end_offset };
        log.flush().await?;
        if sync_failed {
            failed_sync::unmark(log.files.disk(), log.files.dir()).await?;
        }
        Ok(log)
    }

    /// The first offset.
    #[must_use]
    pub fn log_start_offset(&self) -> Offset {
        self.log.log_start_offset()
    }

    /// The offset that the next record gets.
    #[must_use]
    pub fn log_end_offset(&self) -> Offset {
        self.log.log_end_offset()
    }

    /// Everything below this is durable.
    #[must_use]
    pub fn flushed_end_offset(&self) -> Offset {
        self.flushed_end_offset
    }

    /// The epoch of the last batch.
    #[must_use]
    pub fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.epochs.latest().map(|latest| latest.epoch)
    }

    /// Which epoch began where.
    #[must_use]
    pub fn epochs(&self) -> &LeaderEpochCache {
        &self.epochs
    }

    /// Appends whole batches (one or more, one behind the other) as the leader of `leader_epoch`: they get the next
    /// offsets and the epoch, which lie outside their checksums. Written when it returns, not yet durable.
    ///
    /// # Errors
    /// `Corrupt` where `batches` are not batches; `Io`. "No space" leaves the log as it was.
    pub async fn append(
        &mut self,
        leader_epoch: LeaderEpoch,
        batches: Bytes,
    ) -> Result<AppendInfo, StorageError> {
        let batches: Result<Vec<RawBatch>, _> = RawBatches::new(batches).collect();
        let batches = batches.map_err(|error| {
            StorageError::corrupt(self.files.dir(), error.position, error.fault.to_string())
        })?;
        let base_offset = self.log_end_offset();
        self.begin_epoch(leader_epoch, base_offset).await?;
        for batch in batches {
            self.append_one(leader_epoch, &batch).await?;
        }
        Ok(AppendInfo { base_offset, end_offset: self.log_end_offset() })
    }

    /// Notes that an epoch begins, unless it is known. Where that cannot be written it is not known: the next append tries again.
    async fn begin_epoch(&mut self, epoch: LeaderEpoch, at: Offset) -> Result<(), StorageError> {
        if self.latest_epoch() == Some(epoch) {
            return Ok(());
        }
        let mut epochs = self.epochs.clone();
        if epochs.assign(epoch, at) {
            super::write_leader_epochs(self.files.disk(), self.files.dir(), &epochs).await?;
            self.epochs = epochs;
        }
        Ok(())
    }

    async fn append_one(
        &mut self,
        leader_epoch: LeaderEpoch,
        batch: &RawBatch,
    ) -> Result<(), StorageError> {
        let mut header = batch.header;
        header.base_offset = self.log_end_offset();
        header.leader_epoch = Some(leader_epoch);
        let placement = self.log.append(self.env.clock.now().wall, &header);
        let slices = batch.stamp(header.base_offset, leader_epoch).to_vec();
        let (segment, position) = (placement.segment, placement.position);
        let written = self.write(segment, position, placement.rolled, slices).await;
        if let Err(error) = written {
            let begun = self.log.undo(&placement);
            if error.is_no_space() {
                let active = self.log.active();
                self.files.cut(active.base_offset, active.size, begun.as_slice()).await?;
            }
            return Err(error);
        }
        self.producers.on_batch(&header, None);
        if placement.rolled {
            self.env.observe(Observation::LogRolled { partition: self.id, base_offset: segment });
        }
        Ok(())
    }

    async fn write(
        &self,
        segment: Offset,
        position: u64,
        rolled: bool,
        slices: Vec<Bytes>,
    ) -> Result<(), StorageError> {
        if rolled {
            self.files.create_segment(segment).await?;
        }
        let path = || self.files.path(segment, Suffix::Log);
        let written = self.files.write(segment, position, slices).await;
        written.map_err(|error| StorageError::io("append to a segment", &path(), error))
    }

    /// Makes everything written durable; returns the end of it.
    ///
    /// # Errors
    /// `Io`: final, see the type.
    pub async fn flush(&mut self) -> Result<Offset, StorageError> {
        let end_offset = self.log_end_offset();
        if end_offset == self.flushed_end_offset {
            return Ok(end_offset);
        }
        let segments = self.log.segments_from(self.flushed_end_offset);
        self.sync(&segments).await?;
        self.flushed_end_offset = end_offset;
        self.env.observe(Observation::LogFlushed { partition: self.id, end_offset });
        if segments.len() > 1 {
            self.save_checkpoint().await?;
        }
        Ok(end_offset)
    }

    /// Saves what recovery starts from: index entries, and the state of producers up to the end, which is durable.
    async fn save_checkpoint(&mut self) -> Result<(), StorageError> {
        let end_offset = self.log_end_offset();
        let parts = self.log.unsaved_indexes();
        let snapshot = Bytes::from(self.producers.encode_snapshot());
        self.files.save_checkpoint(end_offset, &parts, snapshot, &[]).await?;
        for part in parts {
            self.log.mark_saved(part.segment, part.kind, part.entries);
        }
        Ok(())
    }

    /// Whole batches from the one that holds `offset` on: at least one if there is one, and then as many as fit into
    /// `max_bytes`. All below `end_offset`. Empty at the end, and outside of the log.
    ///
    /// # Errors
    /// `Corrupt` where bytes do not carry their checksum; `Io`.
    pub async fn read(
        &self,
        offset: Offset,
        max_bytes: usize,
        end_offset: Offset,
    ) -> Result<Vec<RawBatch>, StorageError> {
        let end_offset = end_offset.min(self.log_end_offset());
        let mut offset = offset.max(self.log_start_offset());
        while offset < end_offset {
            let Lookup::At { segment, position, size, next } = self.log.lookup(offset) else {
                unreachable!("all segments have their indexes in memory");
            };
            let read = SegmentRead {
                segment,
                position,
                size,
                offset,
                end_offset,
                max_bytes,
                first_batch_whole: true,
                verify: true,
                is_gapless: true,
                epochs: self.epochs.entries_from(offset),
            };
            let found = read_batches(&self.files, read).await;
            let found = found.map_err(|error| error.into_storage(&self.files))?;
            if found.end_offset.is_some() {
                let batches = found.slices.into_iter().flat_map(RawBatches::new);
                return Ok(batches.map_while(Result::ok).collect());
            }
            match next.filter(|_| found.segment_ended) {
                Some(next) => offset = next,
                None => break,
            }
        }
        Ok(Vec::new())
    }

    /// Removes the batches that reach to or beyond `to`. Durable when it returns.
    ///
    /// # Errors
    /// `Io`; `Corrupt`.
    pub async fn truncate(&mut self, to: Offset) -> Result<(), StorageError> {
        let from = self.log_end_offset();
        if to >= from {
            return Ok(());
        }
        let to = to.max(self.log_start_offset());
        let (end, segment, position) = self.cut_position(to).await?;
        let later = self.log.truncate(end, segment, position);
        self.files.remove_snapshots_above(end).await?;
        self.files.cut(segment, position, &later).await?;
        // The metadata log has no producers.
        self.producers = ProducerState::new(end);
        if self.epochs.truncate_from_end(end) {
            super::write_leader_epochs(self.files.disk(), self.files.dir(), &self.epochs).await?;
        }
        self.env.observe(Observation::LogTruncated { partition: self.id, from, to: end });
        self.flushed_end_offset = self.flushed_end_offset.min(end);
        self.sync(&[segment]).await
    }

    /// Makes segments durable, or leaves word for the next process that they may not be.
    async fn sync(&self, segments: &[Offset]) -> Result<(), StorageError> {
        let synced = self.files.sync(segments).await;
        if synced.is_err() {
            failed_sync::mark(self.files.disk(), self.files.dir()).await;
        }
        synced
    }

    /// Moves the start up to `to` and removes the segments that hold nothing from there on. The start is not kept in a file: the
    /// owner knows it from elsewhere, and moves it again after the next open.
    ///
    /// # Errors
    /// `Io`.
    pub async fn move_start(&mut self, to: Offset) -> Result<(), StorageError> {
        let from = self.log_start_offset();
        if to <= from {
            return Ok(());
        }
        let gone = self.log.move_start(to);
        self.files.remove_oldest(&gone).await?;
        // The file names the epoch of each batch that is left: the next open does not know the start yet.
        let mut kept = self.epochs.clone();
        kept.truncate_from_start(self.log.segments()[0].base_offset);
        if self.epochs.truncate_from_start(to) {
            super::write_leader_epochs(self.files.disk(), self.files.dir(), &kept).await?;
        }
        self.env.observe(Observation::LogStartMoved { partition: self.id, from, to });
        Ok(())
    }

    /// Drops everything: the log is empty and begins at `start`. Durable when it returns; a crash in between leaves the old log,
    /// a prefix of it, or an empty one.
    ///
    /// # Errors
    /// `Io`.
    pub async fn restart_at(&mut self, start: Offset) -> Result<(), StorageError> {
        let (from, old_start) = (self.log_end_offset(), self.log_start_offset());
        self.files.remove_snapshots_above(Offset::ZERO).await?;
        for segment in self.log.segments().iter().rev() {
            self.files.remove_segment(segment.base_offset).await?;
        }
        self.files.sync_dir().await?;
        self.epochs.clear();
        super::write_leader_epochs(self.files.disk(), self.files.dir(), &self.epochs).await?;
        self.files.create_segment(start).await?;
        self.log = LocalLog::empty(*self.log.limits(), start, self.env.clock.now().wall);
        self.producers = ProducerState::new(start);
        self.flushed_end_offset = start;
        if start < from {
            self.env.observe(Observation::LogTruncated { partition: self.id, from, to: start });
        }
        if old_start < start {
            let (from, to) = (old_start, start);
            self.env.observe(Observation::LogStartMoved { partition: self.id, from, to });
        }
        Ok(())
    }

    /// The end of the last batch that ends at or before `to`, and where it stands.
    async fn cut_position(&self, to: Offset) -> Result<(Offset, Offset, u64), StorageError> {
        // Looked up is the record before: an index entry for `to` itself may point at a batch that reaches beyond.
        let before = Offset::from_wire(to.value() - 1).unwrap_or(Offset::ZERO);
        let Lookup::At { segment, position, size, .. } = self.log.lookup(before) else {
            unreachable!("all segments have their indexes in memory");
        };
        let (mut position, mut end) = (position, None);
        loop {
            let read = SegmentRead {
                segment,
                position,
                size,
                offset: Offset::ZERO,
                end_offset: to,
                max_bytes: 1 << 20,
                first_batch_whole: true,
                verify: false,
                is_gapless: false,
                epochs: &[],
            };
            let found = read_batches(&self.files, read).await;
            let found = found.map_err(|error| error.into_storage(&self.files))?;
            let Some(found_end) = found.end_offset else { break };
            (position, end) = (position + found.bytes as u64, Some(found_end));
        }
        Ok((end.unwrap_or(segment.max(self.log_start_offset())), segment, position))
    }

    /// Ends: durable, and with what the next open needs to scan little.
    ///
    /// # Errors
    /// `Io`.
    pub async fn close(mut self) -> Result<(), StorageError> {
        self.flush().await?;
        self.log.seal();
        self.save_checkpoint().await
    }
}

/// The recovery point of a log with a sequential owner is its last snapshot: one is written only after a sync.
async fn open_options(env: &Env, what: &OpenLog) -> Result<OpenOptions, StorageError> {
    let on = |error| StorageError::io("open a log", &what.dir, error);
    env.disk.create_dir_all(&what.dir).await.map_err(on)?;
    // Whoever made it: its name must outlive a power loss, or all that is synced in it is gone.
    if let Some(parent) = what.dir.parent() {
        env.disk.sync_dir(parent).await.map_err(on)?;
    }
    let entries = env.disk.read_dir(&what.dir).await.map_err(on)?;
    let names = entries.iter().filter_map(|entry| LogFileName::parse(&entry.name));
    let snapshots = names.filter(|name| name.suffix == Suffix::Snapshot).map(|name| name.offset);
    Ok(OpenOptions {
        dir: what.dir.clone(),
        limits: SegmentLimits {
            segment_bytes: what.segment_bytes,
            segment_ms: i64::MAX,
            index: INDEX_SIZES,
        },
        log_start_offset: None,
        recovery_point: snapshots.max().unwrap_or(Offset::ZERO),
        clean: false,
        sync_failed: failed_sync::is_marked(&entries),
        now: env.clock.now().wall,
    })
}

#[cfg(test)]
#[path = "unified_log_tests.rs"]
mod tests;
