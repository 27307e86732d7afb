//! Opening a log: after a clean stop nothing is scanned, after a crash only what the recovery point does not cover.
//!
//! Recovery keeps the longest valid prefix: it scans batches from the last state of producers that is saved (at or before
//! the recovery point, or at the beginning of the log), holds each against its checksum, and cuts the log where the first
//! one fails. Running it twice, or again after a crash in its middle, gives the same log.
//!
//! Kafka: `LogLoader`, `LogSegment.recover`.

use std::path::PathBuf;
use std::sync::Arc;

use super::checkpoint::{read_leader_epochs, write_leader_epochs};
use super::failed_sync::rewrite_segments;
use super::truncation::remove_keeping_producers;
use super::{LogFileName, LogFiles, StorageError, Suffix};
use crate::log::{
    IndexSizes, LeaderEpochCache, LocalLog, OffsetIndex, ProducerState, ScanStart, ScannedBatch,
    Scanner, Segment, SegmentIndex, SegmentLimits, TimeIndex,
};
use crate::runtime::Disk;
use crate::types::{LeaderEpoch, Offset, Timestamp};

/// Bytes read at once while scanning.
const SCAN_BYTES: usize = 1 << 20;

/// What is known of a log before it is opened.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// The log's own directory.
    pub dir: PathBuf,
    /// When segments are closed.
    pub limits: SegmentLimits,
    /// The log's start, where a checkpoint tells one.
    pub log_start_offset: Option<Offset>,
    /// Everything below needs no recovery.
    pub recovery_point: Offset,
    /// The last stop was clean: the recovery point is the log's end.
    pub clean: bool,
    /// A sync failed in the last process: what lies beyond the recovery point is written anew before it is believed.
    pub sync_failed: bool,
    /// The wall clock.
    pub now: Timestamp,
}

/// A log that was opened: its decided part and its files.
pub struct OpenedLog {
    /// Segments and ends.
    pub log: LocalLog,
    /// The producers, up to the log's end.
    pub producers: ProducerState,
    /// The leader epochs.
    pub epochs: LeaderEpochCache,
    /// The files; those of the segments that are not durable are open.
    pub files: Arc<LogFiles>,
    /// Everything below is durable. Less than the log's end after a recovery: the owner syncs.
    pub durable_end_offset: Offset,
    /// It is as a clean stop left it: nothing was scanned.
    pub is_clean: bool,
    /// Where the scan began: what the indexes say of earlier batches is believed. `None` where nothing was scanned.
    pub scanned_from: Option<Offset>,
    /// Bytes that were read to recover.
    pub bytes_scanned: u64,
    /// Bytes that were not valid, and are gone.
    pub bytes_cut: u64,
}

/// A segment's file as it was found.
#[derive(Clone, Copy, Debug)]
struct Found {
    base_offset: Offset,
    length: u64,
}

/// Opens or makes a log.
///
/// # Errors
/// `Io`.
pub async fn open_log(
    disk: Arc<dyn Disk>,
    options: OpenOptions,
) -> Result<OpenedLog, StorageError> {
    let files = Arc::new(LogFiles::new(disk, options.dir.clone()));
    let on = |error| StorageError::io("open a log", &options.dir, error);
    files.disk().create_dir_all(&options.dir).await.map_err(on)?;
    let names = files.disk().read_dir(&options.dir).await.map_err(on)?;
    let names: Vec<LogFileName> =
        names.iter().filter_map(|entry| LogFileName::parse(&entry.name)).collect();
    if options.sync_failed {
        rewrite_segments(&files, &names, options.recovery_point).await?;
    }
    remove_orphans(&files, &names).await?;
    let mut found = Vec::new();
    for name in names.iter().filter(|name| name.suffix == Suffix::Log) {
        let length = files.segment(name.offset).await?.length().await.map_err(on)?;
        found.push(Found { base_offset: name.offset, length });
    }
    let epochs = read_leader_epochs(files.disk(), files.dir()).await?;
    let epochs = epochs.filter(|epochs| {
        let is_whole = reach_back(epochs, &found, &options);
        if !is_whole {
            crate::mark!("a log's epochs begin behind its start");
        }
        is_whole
    });
    let snapshots = names.iter().filter(|name| name.suffix == Suffix::Snapshot);
    let snapshots: Vec<Offset> = snapshots.map(|name| name.offset).collect();
    let open = Opening { files, options, found, snapshots, epochs };
    let mut opened = open.run().await?;
    if let Some(start) = open.options.log_start_offset {
        restore_start(&mut opened, start, &open.options).await?;
    }
    Ok(opened)
}

/// Whether epochs name that of each batch: they do not where segments came back with a loss of power that were deleted after the epochs
/// had been written without them, and the start was not written yet (deleted-segments-leave-no-hole, seed 8), nor where part of a segment
/// was deleted. Where there is none, nothing may be left that one is needed for.
fn reach_back(epochs: &LeaderEpochCache, found: &[Found], options: &OpenOptions) -> bool {
    let Some(first) = found.iter().find(|segment| segment.length > 0) else { return true };
    let start = options.log_start_offset.unwrap_or(Offset::ZERO).max(first.base_offset);
    match epochs.earliest() {
        Some(earliest) => earliest.start_offset <= start,
        None => options.recovery_point <= start,
    }
}

/// Removes indexes whose segment is gone: a crash came between removing the one and the other.
async fn remove_orphans(files: &LogFiles, names: &[LogFileName]) -> Result<(), StorageError> {
    for name in names {
        let is_index = match name.suffix {
            Suffix::Index | Suffix::TimeIndex | Suffix::TxnIndex => true,
            Suffix::Log | Suffix::Snapshot => false,
        };
        if is_index && !names.contains(&LogFileName::new(name.offset, Suffix::Log)) {
            files.remove(name.offset, name.suffix).await?;
        }
    }
    Ok(())
}

/// Moves the start to where the checkpoint says. A log that lost everything up to there begins there anew.
async fn restore_start(
    opened: &mut OpenedLog,
    start: Offset,
    options: &OpenOptions,
) -> Result<(), StorageError> {
    let files = &opened.files;
    if start <= opened.log.log_end_offset() {
        let gone = opened.log.move_start(start);
        remove_keeping_producers(files, &gone, options.recovery_point).await?;
        opened.epochs.truncate_from_start(opened.log.log_start_offset());
        return Ok(());
    }
    crate::mark!("a log ends below its start");
    for segment in opened.log.segments() {
        files.remove_segment(segment.base_offset).await?;
    }
    files.create_segment(start).await?;
    opened.log = LocalLog::empty(options.limits, start, options.now);
    opened.producers = ProducerState::new(start);
    opened.epochs.clear();
    opened.durable_end_offset = start;
    Ok(())
}

/// A log while it is being opened.
struct Opening {
    files: Arc<LogFiles>,
    options: OpenOptions,
    found: Vec<Found>,
    snapshots: Vec<Offset>,
    /// `None`: the file is damaged.
    epochs: Option<LeaderEpochCache>,
}

impl Opening {
    async fn run(&self) -> Result<OpenedLog, StorageError> {
        if self.found.is_empty() {
            return self.create().await;
        }
        if self.options.clean
            && let Some(opened) = self.open_clean().await?
        {
            return Ok(opened);
        }
        self.recover().await
    }

    fn sizes(&self) -> IndexSizes {
        self.options.limits.index
    }

    async fn create(&self) -> Result<OpenedLog, StorageError> {
        let start = self.options.log_start_offset.unwrap_or(Offset::ZERO);
        for snapshot in &self.snapshots {
            self.files.remove(*snapshot, Suffix::Snapshot).await?;
        }
        self.files.create_segment(start).await?;
        Ok(OpenedLog {
            log: LocalLog::empty(self.options.limits, start, self.options.now),
            producers: ProducerState::new(start),
            epochs: LeaderEpochCache::new(),
            files: self.files.clone(),
            durable_end_offset: start,
            is_clean: false,
            scanned_from: None,
            bytes_scanned: 0,
            bytes_cut: 0,
        })
    }

    /// The log as a clean stop left it; `None` where the files do not bear that out.
    async fn open_clean(&self) -> Result<Option<OpenedLog>, StorageError> {
        let end = self.options.recovery_point;
        let (active, closed) = self.found.split_last().expect("there is a segment");
        let Some(mut epochs) = self.epochs.clone() else { return Ok(None) };
        if active.base_offset > end || (active.length == 0) != (active.base_offset == end) {
            crate::mark!("a clean log does not end at its recovery point");
            return Ok(None);
        }
        let Some(producers) = self.read_snapshot(end).await? else { return Ok(None) };
        let index = if active.length == 0 {
            Some(SegmentIndex::new(active.base_offset, self.sizes()))
        } else {
            read_index(&self.files, active.base_offset, active.length, self.sizes()).await?
        };
        let Some(index) = index else { return Ok(None) };
        let mut segments = self.closed_segments(closed);
        let now = self.options.now;
        segments.push(Segment::with_index(active.base_offset, active.length, index, now));
        let start = self.found[0].base_offset;
        // As at the end of a recovery: records of an older term may come to stand where these terms would begin.
        if epochs.truncate_from_end(end) && epochs.latest().is_some() {
            write_leader_epochs(self.files.disk(), self.files.dir(), &epochs).await?;
        }
        Ok(Some(OpenedLog {
            log: LocalLog::new(self.options.limits, segments, start, end),
            producers,
            epochs,
            files: self.files.clone(),
            durable_end_offset: end,
            is_clean: true,
            scanned_from: None,
            bytes_scanned: 0,
            bytes_cut: 0,
        }))
    }

    fn closed_segments(&self, found: &[Found]) -> Vec<Segment> {
        found.iter().map(|found| Segment::closed(found.base_offset, found.length)).collect()
    }

    /// The producers as of `offset`; `None` where the file is missing or damaged, which costs a longer scan.
    async fn read_snapshot(&self, offset: Offset) -> Result<Option<ProducerState>, StorageError> {
        let content = self.files.read_side_file(offset, Suffix::Snapshot).await?;
        Ok(content.and_then(|content| ProducerState::decode_snapshot(offset, &content).ok()))
    }

    /// The newest usable state of producers at or below `limit`, and the offset it is of.
    async fn newest_producers(
        &self,
        limit: Offset,
    ) -> Result<(Offset, ProducerState), StorageError> {
        let first = self.found[0].base_offset;
        // One at the beginning stands for segments that are gone, whatever the recovery point says.
        let usable = first..=limit.max(first);
        for offset in self.snapshots.iter().rev().filter(|offset| usable.contains(offset)) {
            if let Some(producers) = self.read_snapshot(*offset).await? {
                return Ok((*offset, producers));
            }
        }
        Ok((first, ProducerState::new(first)))
    }

    async fn recover(&self) -> Result<OpenedLog, StorageError> {
        let mut limit = self.options.recovery_point;
        loop {
            let recovery = self.scan(limit).await?;
            if recovery.producers.end_offset() <= recovery.end {
                return recovery.finish().await;
            }
            crate::mark!("a log ends below its recovery point");
            limit = recovery.end;
        }
    }

    async fn scan(&self, limit: Offset) -> Result<Recovery<'_>, StorageError> {
        let (from, producers) = self.newest_producers(limit).await?;
        let (from, epochs) = match &self.epochs {
            Some(epochs) => (from, epochs.clone()),
            None => (self.found[0].base_offset, LeaderEpochCache::new()),
        };
        let at = self.found.partition_point(|found| found.base_offset <= from).saturating_sub(1);
        let mut recovery = Recovery {
            opening: self,
            segments: self.closed_segments(&self.found[..at]),
            producers,
            epochs,
            end: self.found[at].base_offset,
            jumped: false,
            scanned_from: self.found[at].base_offset,
            bytes_scanned: 0,
            bytes_cut: 0,
        };
        recovery.scan_segments(at, from).await?;
        Ok(recovery)
    }
}

/// The scan from the last saved state on.
struct Recovery<'a> {
    opening: &'a Opening,
    segments: Vec<Segment>,
    producers: ProducerState,
    epochs: LeaderEpochCache,
    end: Offset,
    /// The next batch is the first after an index entry: any offset may be its.
    jumped: bool,
    /// The last offset of the batch that the scan began with, or where its segment begins.
    scanned_from: Offset,
    bytes_scanned: u64,
    bytes_cut: u64,
}

impl Recovery<'_> {
    async fn scan_segments(&mut self, at: usize, from: Offset) -> Result<(), StorageError> {
        let found = &self.opening.found;
        for (index, segment) in found.iter().enumerate().skip(at) {
            let gap = index > at && self.is_gap(segment.base_offset);
            if !gap {
                let valid = self.scan_segment(*segment, from).await?;
                self.bytes_cut += segment.length - valid;
                if valid == segment.length {
                    continue;
                }
            }
            let later = if gap { &found[index..] } else { &found[index + 1..] };
            return self.cut(later).await;
        }
        Ok(())
    }

    /// Whether a segment that begins at `base_offset` leaves offsets out. Below the recovery point that is compaction.
    fn is_gap(&self, base_offset: Offset) -> bool {
        base_offset < self.end
            || (base_offset > self.end && base_offset > self.opening.options.recovery_point)
    }

    /// Cuts the last kept segment to its valid bytes and removes `later`, durably: what is appended next must not meet
    /// what comes back after another crash.
    async fn cut(&mut self, later: &[Found]) -> Result<(), StorageError> {
        crate::mark!("recovery cuts a log");
        self.bytes_cut += later.iter().map(|found| found.length).sum::<u64>();
        let last = self.segments.last().expect("the first segment is never behind a gap");
        let later: Vec<Offset> = later.iter().map(|found| found.base_offset).collect();
        let files = &self.opening.files;
        files.cut(last.base_offset, last.size, &later).await?;
        files.sync(&[last.base_offset]).await
    }

    /// Scans one segment; returns how many bytes of it are valid.
    async fn scan_segment(&mut self, found: Found, from: Offset) -> Result<u64, StorageError> {
        let sizes = self.opening.sizes();
        let files = self.opening.files.clone();
        let base_offset = found.base_offset;
        self.end = base_offset;
        let saved = match read_index(&files, base_offset, found.length, sizes).await? {
            Some(index) if base_offset <= from => up_to(index, from),
            Some(_) | None => None,
        };
        let now = self.opening.options.now;
        let (mut segment, entry) = match saved {
            Some((index, entry)) => {
                let mut segment = Segment::with_index(base_offset, entry.1, index, now);
                segment.distrust_index_files();
                self.scanned_from = entry.0;
                (segment, Some(entry))
            }
            None => (Segment::new(base_offset, sizes, now), None),
        };
        let start = segment.size;
        let scan = ScanStart { position: start, ..self.scan_start(found) };
        let mut first = entry.map(|entry| entry.0);
        self.jumped = entry.is_some();
        let valid = scan_batches(&files, scan, |batch| {
            // The index is believed only if it points at the batch it names.
            if first.take().is_some_and(|last_offset| batch.header.last_offset() != last_offset) {
                return false;
            }
            self.take(batch, &mut segment)
        })
        .await?;
        if valid == start && entry.is_some() {
            crate::mark!("recovery finds an index that does not fit its segment");
            return self.scan_unindexed(found).await;
        }
        self.bytes_scanned += found.length - start;
        self.segments.push(segment);
        Ok(valid)
    }

    async fn scan_unindexed(&mut self, found: Found) -> Result<u64, StorageError> {
        let now = self.opening.options.now;
        let mut segment = Segment::new(found.base_offset, self.opening.sizes(), now);
        self.end = found.base_offset;
        self.scanned_from = self.scanned_from.min(found.base_offset);
        self.jumped = false;
        let files = self.opening.files.clone();
        let start = self.scan_start(found);
        let take = |batch: &ScannedBatch| self.take(batch, &mut segment);
        let valid = scan_batches(&files, start, take).await?;
        self.bytes_scanned += found.length;
        self.segments.push(segment);
        Ok(valid)
    }

    fn scan_start(&self, found: Found) -> ScanStart {
        let recovery_point = self.opening.options.recovery_point;
        ScanStart { recovery_point, ..ScanStart::segment(found.base_offset, found.length) }
    }

    /// Takes a valid batch in; `false` where it cannot be the log's next.
    fn take(&mut self, batch: &ScannedBatch, segment: &mut Segment) -> bool {
        let header = &batch.header;
        let compacted = header.base_offset < self.opening.options.recovery_point;
        let may_skip = std::mem::take(&mut self.jumped) || compacted;
        let follows = header.base_offset == self.end || (header.base_offset > self.end && may_skip);
        let Some(epoch) = header.leader_epoch.filter(|_| follows) else { return false };
        if self.is_of_another_epoch(header.base_offset, epoch) {
            crate::mark!("recovery finds a batch of another leader epoch than its offset's");
            return false;
        }
        segment.append(header);
        self.end = header.end_offset();
        if self.epochs.latest().is_none_or(|latest| epoch > latest.epoch) {
            self.epochs.assign(epoch, header.base_offset);
        }
        if header.base_offset >= self.producers.end_offset() {
            self.producers.on_batch(header, batch.marker);
        }
        true
    }

    /// Whether the epochs, which are durable before a batch of theirs is written, name another one for this offset: what lies outside the
    /// checksum rotted, or a cut was not durable. What lies below the recovery point is not cut for that: whoever reads the batch is told.
    fn is_of_another_epoch(&self, base_offset: Offset, epoch: LeaderEpoch) -> bool {
        let is_known = self.epochs.latest().is_some_and(|latest| epoch <= latest.epoch);
        base_offset >= self.opening.options.recovery_point
            && is_known
            && self.epochs.epoch_for_offset(base_offset).is_some_and(|known| known != epoch)
    }

    async fn finish(mut self) -> Result<OpenedLog, StorageError> {
        let opening = self.opening;
        let (files, end) = (&opening.files, self.end);
        files.remove_snapshots_above(end).await?;
        self.epochs.truncate_from_end(end);
        // Where none is left, the file waits for the first that is assigned: that writes all of it. (Many idle logs start so.) Terms
        // behind those of the log must go now: records of an older term may come to stand where they would begin.
        let is_left_for_later = self.epochs.latest().is_none() && opening.epochs.is_some();
        if !is_left_for_later && opening.epochs.as_ref() != Some(&self.epochs) {
            write_leader_epochs(files.disk(), files.dir(), &self.epochs).await?;
        }
        let start = opening.found[0].base_offset;
        if let Some((_, closed)) = self.segments.split_last_mut() {
            closed.iter_mut().for_each(Segment::seal);
        }
        Ok(OpenedLog {
            log: LocalLog::new(opening.options.limits, self.segments, start, end),
            producers: self.producers,
            epochs: self.epochs,
            files: opening.files.clone(),
            durable_end_offset: opening.options.recovery_point.min(end),
            is_clean: false,
            scanned_from: Some(self.scanned_from),
            bytes_scanned: self.bytes_scanned,
            bytes_cut: self.bytes_cut,
        })
    }
}

/// The part of an index that points below `from`, and its last entry (last offset of a batch, position): the scan begins
/// at that batch. `None` where nothing is left.
fn up_to(mut index: SegmentIndex, from: Offset) -> Option<(SegmentIndex, (Offset, u64))> {
    index.truncate_to(from);
    let entry = index.offsets.last()?;
    index.truncate_to(entry.offset + 1);
    Some((index, (entry.offset, u64::from(entry.position))))
}

/// Reads both indexes of a segment; `None` where a file is missing or cannot be right.
///
/// # Errors
/// `Io`.
pub(super) async fn read_index(
    files: &LogFiles,
    segment: Offset,
    length: u64,
    sizes: IndexSizes,
) -> Result<Option<SegmentIndex>, StorageError> {
    let offsets = files.read_side_file(segment, Suffix::Index).await?;
    let times = files.read_side_file(segment, Suffix::TimeIndex).await?;
    let (Some(offsets), Some(times)) = (offsets, times) else { return Ok(None) };
    let offsets = OffsetIndex::decode(segment, sizes.index_bytes_max, &offsets);
    let times = TimeIndex::decode(segment, sizes.index_bytes_max, &times);
    let (Ok(offsets), Ok(times)) = (offsets, times) else { return Ok(None) };
    if offsets.last().is_some_and(|last| u64::from(last.position) >= length) {
        return Ok(None);
    }
    Ok(Some(SegmentIndex::from_files(offsets, times, sizes)))
}

/// The indexes of a closed segment: from their files, or made anew from the segment's batches and written.
///
/// # Errors
/// `Io`.
pub async fn load_index(
    files: &LogFiles,
    segment: Offset,
    length: u64,
    sizes: IndexSizes,
) -> Result<SegmentIndex, StorageError> {
    if let Some(index) = read_index(files, segment, length, sizes).await? {
        return Ok(index);
    }
    crate::mark!("the index of a closed segment is made anew");
    let mut index = SegmentIndex::new(segment, sizes);
    let trusted = ScanStart { recovery_point: Offset::MAX, ..ScanStart::segment(segment, length) };
    scan_batches(files, trusted, |batch| {
        if let Ok(position) = u32::try_from(batch.position) {
            index.on_batch(position, &batch.header);
        }
        true
    })
    .await?;
    index.on_close();
    files.write_side_file(segment, Suffix::Index, 0, index.offsets.encode().into()).await?;
    files.write_side_file(segment, Suffix::TimeIndex, 0, index.times.encode().into()).await?;
    Ok(index)
}

/// Scans a segment from `start` on and calls `visit` with each batch that holds, until one does not or `visit` refuses it;
/// returns where that one begins.
pub(super) async fn scan_batches(
    files: &LogFiles,
    start: ScanStart,
    mut visit: impl FnMut(&ScannedBatch) -> bool,
) -> Result<u64, StorageError> {
    let mut scanner = Scanner::new(start);
    let mut batches = Vec::new();
    let mut valid = start.position;
    while !scanner.is_done() {
        let position = scanner.position();
        let left = usize::try_from(start.file_bytes - position).unwrap_or(usize::MAX);
        let bytes = files.read(start.base_offset, position, SCAN_BYTES.min(left)).await?;
        if bytes.is_empty() {
            break;
        }
        scanner.feed(&bytes, &mut batches);
        for batch in batches.drain(..) {
            if !visit(&batch) {
                return Ok(batch.position);
            }
            valid = batch.position + u64::from(batch.header.size_in_bytes);
        }
    }
    Ok(valid)
}
