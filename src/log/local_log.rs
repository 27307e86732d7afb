//! Which segments a log has and where in them each batch stands; without files.
//!
//! Decides offsets, positions and rolls, and keeps the indexes of segments in memory: of the active one always, of closed
//! ones once they were read. What it decides takes effect on disk later and may fail there: [`LocalLog::undo`].
//!
//! Kafka: `LocalLog`, `LogSegments`, `LogSegment`.

use bytes::Bytes;

use super::segment_index::IndexBefore;
use super::{IndexSizes, SegmentIndex, TimestampOffset};
use crate::protocol::record_batch::BatchHeader;
use crate::types::{Offset, Timestamp};

/// When a segment is closed and how dense its indexes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentLimits {
    /// `segment.bytes`: a segment is closed before it grows beyond this; a larger batch gets one of its own.
    pub segment_bytes: u64,
    /// `segment.ms`: a segment is closed when its first batch is this much older than the next one, in milliseconds.
    pub segment_ms: i64,
    /// `index.interval.bytes` and `segment.index.bytes`.
    pub index: IndexSizes,
}

/// A part of a log, in a file of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The first offset it may hold; the name of its files.
    pub base_offset: Offset,
    /// Bytes of batches, those not written yet included.
    pub size: u64,
    /// In memory, or `None`: in files, not read yet. Only of closed segments.
    pub index: Option<SegmentIndex>,
    /// The max timestamp of its first batch, from which its age counts.
    pub first_timestamp: Option<Timestamp>,
    /// When it was made, by the wall clock: its age where batches have no timestamps.
    pub created: Timestamp,
    /// How many entries of each index are in its files. Less than there are: to be written at the next checkpoint.
    saved: SavedEntries,
}

/// How many entries of a segment's indexes are in its files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct SavedEntries {
    offsets: usize,
    times: usize,
    /// The offset index file is missing, or has entries that no longer hold behind the saved ones.
    offsets_untrue: bool,
    /// So for the time index.
    times_untrue: bool,
}

impl SavedEntries {
    /// Nothing is known of the files.
    const NONE: Self = Self { offsets: 0, times: 0, offsets_untrue: true, times_untrue: true };
}

impl Segment {
    /// An empty segment.
    #[must_use]
    pub const fn new(base_offset: Offset, sizes: IndexSizes, created: Timestamp) -> Self {
        Self {
            base_offset,
            size: 0,
            index: Some(SegmentIndex::new(base_offset, sizes)),
            first_timestamp: None,
            created,
            saved: SavedEntries::NONE,
        }
    }

    /// A closed segment whose indexes are in files.
    #[must_use]
    pub const fn closed(base_offset: Offset, size: u64) -> Self {
        Self {
            base_offset,
            size,
            index: None,
            first_timestamp: None,
            created: Timestamp::from_millis(0),
            saved: SavedEntries::NONE,
        }
    }

    /// A segment of `size` bytes with the indexes that are in its files.
    #[must_use]
    pub fn with_index(
        base_offset: Offset,
        size: u64,
        index: SegmentIndex,
        created: Timestamp,
    ) -> Self {
        let mut segment = Self { size, created, ..Self::closed(base_offset, size) };
        segment.first_timestamp = index.times.iter().next().map(|entry| entry.timestamp);
        segment.install(index);
        segment
    }

    /// Takes in a batch that stands at the segment's end.
    pub fn append(&mut self, batch: &BatchHeader) {
        let position = u32::try_from(self.size).expect("a segment begins no batch beyond 2 GiB");
        if self.first_timestamp.is_none() {
            self.first_timestamp = batch.max_timestamp;
        }
        let index = self.index.as_mut().expect("a segment that is appended to has its indexes");
        index.on_batch(position, batch);
        self.size += u64::from(batch.size_in_bytes);
    }

    /// Adds the last time index entry, when the segment is closed.
    pub fn seal(&mut self) {
        if let Some(index) = &mut self.index {
            index.on_close();
        }
    }

    fn install(&mut self, index: SegmentIndex) {
        self.saved = SavedEntries {
            offsets: index.offsets.len(),
            times: index.times.len(),
            offsets_untrue: false,
            times_untrue: false,
        };
        self.index = Some(index);
    }

    /// What is behind the saved entries in the index files is not to be believed: recovery read only a part of them.
    pub const fn distrust_index_files(&mut self) {
        self.saved.offsets_untrue = true;
        self.saved.times_untrue = true;
    }

    /// The largest timestamp in it. `None` where it has none, or where the indexes were not read yet.
    #[must_use]
    pub fn max_timestamp(&self) -> Option<TimestampOffset> {
        self.index.as_ref().and_then(SegmentIndex::max_timestamp)
    }

    fn after_truncation(&mut self) {
        let index = self.index.as_ref().expect("a segment that is cut has its indexes in memory");
        let (offsets, times) = (index.offsets.len(), index.times.len());
        self.saved.offsets_untrue |= offsets < self.saved.offsets;
        self.saved.times_untrue |= times < self.saved.times;
        self.saved.offsets = self.saved.offsets.min(offsets);
        self.saved.times = self.saved.times.min(times);
    }

    /// The parts of the indexes that are not in files.
    fn unsaved(&self, parts: &mut Vec<IndexPart>) {
        let Some(index) = &self.index else { return };
        let (segment, saved) = (self.base_offset, self.saved);
        if saved.offsets_untrue || saved.offsets < index.offsets.len() {
            parts.push(IndexPart {
                segment,
                kind: IndexKind::Offset,
                saved: saved.offsets,
                entries: index.offsets.len(),
                content: index.offsets.encode_from(saved.offsets).into(),
            });
        }
        if saved.times_untrue || saved.times < index.times.len() {
            parts.push(IndexPart {
                segment,
                kind: IndexKind::Time,
                saved: saved.times,
                entries: index.times.len(),
                content: index.times.encode_from(saved.times).into(),
            });
        }
    }

    fn mark_saved(&mut self, kind: IndexKind, entries: usize) {
        let (saved, untrue) = match kind {
            IndexKind::Offset => (&mut self.saved.offsets, &mut self.saved.offsets_untrue),
            IndexKind::Time => (&mut self.saved.times, &mut self.saved.times_untrue),
        };
        (*saved, *untrue) = (entries, false);
        self.after_truncation();
    }
}

/// Which of a segment's indexes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexKind {
    /// Offset to position.
    Offset,
    /// Timestamp to offset.
    Time,
}

impl IndexKind {
    /// Bytes of an entry.
    #[must_use]
    pub const fn entry_bytes(self) -> u64 {
        match self {
            Self::Offset => 8,
            Self::Time => 12,
        }
    }
}

/// Entries that an index file lacks: `saved..entries` of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexPart {
    /// The segment.
    pub segment: Offset,
    /// The index.
    pub kind: IndexKind,
    /// How many entries are in the file.
    pub saved: usize,
    /// How many there are to be.
    pub entries: usize,
    /// The bytes of those between.
    pub content: Bytes,
}

/// Where a batch was put, and what to restore if it could not be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The segment.
    pub segment: Offset,
    /// The first byte in the segment's file.
    pub position: u64,
    /// Whether the segment was begun for this batch.
    pub rolled: bool,
    /// The log's end before.
    pub previous_end: Offset,
    first_timestamp_before: Option<Timestamp>,
    index_before: IndexBefore,
}

/// Where to look for an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// In this segment, at this position or behind it.
    At {
        /// The segment.
        segment: Offset,
        /// The start of a batch at or before the one that is looked for.
        position: u64,
        /// Bytes of the segment.
        size: u64,
        /// The segment behind, where reading goes on.
        next: Option<Offset>,
    },
    /// The indexes of this segment have to be read first: [`LocalLog::install_index`].
    NeedsIndex {
        /// The segment.
        segment: Offset,
    },
}

/// The segments of one log.
///
/// Invariants: at least one segment; base offsets rise; `log_start_offset ≤ log_end_offset`; the first segment's base
/// offset ≤ `log_start_offset`; the last segment's ≤ `log_end_offset`; the last one has its indexes in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalLog {
    limits: SegmentLimits,
    segments: Vec<Segment>,
    log_start_offset: Offset,
    log_end_offset: Offset,
}

impl LocalLog {
    /// A log with nothing in it that begins at `start`.
    #[must_use]
    pub fn empty(limits: SegmentLimits, start: Offset, now: Timestamp) -> Self {
        Self::new(limits, vec![Segment::new(start, limits.index, now)], start, start)
    }

    /// A log with these segments, the last of them active.
    ///
    /// Panics where the invariants do not hold.
    #[must_use]
    pub fn new(
        limits: SegmentLimits,
        segments: Vec<Segment>,
        log_start_offset: Offset,
        log_end_offset: Offset,
    ) -> Self {
        let log = Self { limits, segments, log_start_offset, log_end_offset };
        log.check();
        log
    }

    /// Asserts the invariants.
    pub fn check(&self) {
        assert!(!self.segments.is_empty(), "a log has at least one segment");
        assert!(self.log_start_offset <= self.log_end_offset, "log start beyond log end");
        let first = &self.segments[0];
        assert!(first.base_offset <= self.log_start_offset, "log start before the first segment");
        let active = self.active();
        assert!(active.base_offset <= self.log_end_offset, "the active segment beyond log end");
        assert!(active.index.is_some(), "the active segment has its indexes in memory");
        let mut pairs = self.segments.windows(2);
        assert!(
            pairs.all(|pair| pair[0].base_offset < pair[1].base_offset),
            "segments in the order of their base offsets"
        );
    }

    /// The limits it was opened with, or that were set since.
    #[must_use]
    pub const fn limits(&self) -> &SegmentLimits {
        &self.limits
    }

    /// Replaces the limits: they count from the next batch on.
    pub fn set_limits(&mut self, limits: SegmentLimits) {
        self.limits = limits;
    }

    /// The first offset a reader may ask for.
    #[must_use]
    pub const fn log_start_offset(&self) -> Offset {
        self.log_start_offset
    }

    /// The offset that the next record gets.
    #[must_use]
    pub const fn log_end_offset(&self) -> Offset {
        self.log_end_offset
    }

    /// The segments, oldest first.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The segments, oldest first, for the one who writes their indexes.
    pub fn segments_mut(&mut self) -> &mut [Segment] {
        &mut self.segments
    }

    /// The segment that is written to.
    #[must_use]
    pub fn active(&self) -> &Segment {
        self.segments.last().expect("a log has at least one segment")
    }

    fn active_mut(&mut self) -> &mut Segment {
        self.segments.last_mut().expect("a log has at least one segment")
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.segments.iter().map(|segment| segment.size).sum()
    }

    /// The base offsets of the segments that hold something from `offset` on.
    #[must_use]
    pub fn segments_from(&self, offset: Offset) -> Vec<Offset> {
        self.segments[self.index_of(offset)..].iter().map(|segment| segment.base_offset).collect()
    }

    /// The index of the segment that holds, or would hold, `offset`.
    fn index_of(&self, offset: Offset) -> usize {
        self.segments.partition_point(|segment| segment.base_offset <= offset).saturating_sub(1)
    }

    /// Whether the active segment must be closed before a batch of `size` bytes that ends at `last_offset` is appended.
    ///
    /// Kafka: `LogSegment.shouldRoll`.
    fn must_roll(
        &self,
        now: Timestamp,
        size: u64,
        newest: Option<Timestamp>,
        last: Offset,
    ) -> bool {
        let active = self.active();
        if active.size == 0 {
            return false;
        }
        let too_old = match (active.first_timestamp, newest) {
            (Some(first), Some(newest)) => {
                newest.millis().saturating_sub(first.millis()) > self.limits.segment_ms
            }
            (None, _) | (_, None) => {
                now.millis().saturating_sub(active.created.millis()) > self.limits.segment_ms
            }
        };
        active.size + size > self.limits.segment_bytes
            || too_old
            || active.index.as_ref().is_some_and(|index| index.must_roll(last))
    }

    /// Puts a batch at the end of the log, in a new segment where it is time for one. `batch` has its real offsets.
    ///
    /// Panics where `batch` does not begin at or behind the log's end.
    pub fn append(&mut self, now: Timestamp, batch: &BatchHeader) -> Placement {
        assert!(batch.base_offset >= self.log_end_offset, "an append leaves no offset twice");
        let previous_end = self.log_end_offset;
        let size = u64::from(batch.size_in_bytes);
        let rolled = self.must_roll(now, size, batch.max_timestamp, batch.last_offset());
        if rolled {
            self.roll_at(batch.base_offset, now);
        }
        let active = self.active_mut();
        let index = active.index.as_ref().expect("the active segment has its indexes in memory");
        let placement = Placement {
            segment: active.base_offset,
            position: active.size,
            rolled,
            previous_end,
            first_timestamp_before: active.first_timestamp,
            index_before: index.before(),
        };
        active.append(batch);
        self.log_end_offset = batch.end_offset();
        placement
    }

    fn roll_at(&mut self, base_offset: Offset, now: Timestamp) {
        self.active_mut().seal();
        self.segments.push(Segment::new(base_offset, self.limits.index, now));
    }

    /// Closes the active segment where it holds something; returns the base offset of the new one.
    pub fn roll(&mut self, now: Timestamp) -> Option<Offset> {
        if self.active().size == 0 {
            return None;
        }
        let base_offset = self.log_end_offset;
        self.roll_at(base_offset, now);
        Some(base_offset)
    }

    /// Takes back an append that could not be written; returns the segment that was begun for it, whose file goes. Appends are
    /// taken back in reverse order.
    ///
    /// A forced time index entry of a segment that was closed stays: it is true. And so does a segment that was begun, empty,
    /// where the log's start has moved up to it meanwhile: no other one is left.
    pub fn undo(&mut self, placement: &Placement) -> Option<Offset> {
        let active = self.active_mut();
        assert_eq!(
            active.base_offset, placement.segment,
            "appends are taken back in reverse order"
        );
        self.log_end_offset = placement.previous_end;
        let end = placement.previous_end;
        if placement.rolled && self.segments.len() > 1 {
            return self.segments.pop().map(|begun| begun.base_offset);
        }
        let active = self.active_mut();
        active.size = placement.position;
        active.first_timestamp = placement.first_timestamp_before;
        let index = active.index.as_mut().expect("the active segment has its indexes in memory");
        index.undo(end, placement.index_before);
        active.after_truncation();
        None
    }

    /// Where to look for the batch that holds `offset`, or the next one behind it.
    ///
    /// `offset` lies in `log_start_offset..log_end_offset`.
    #[must_use]
    pub fn lookup(&self, offset: Offset) -> Lookup {
        let index = self.index_of(offset);
        let segment = &self.segments[index];
        let Some(segment_index) = &segment.index else {
            return Lookup::NeedsIndex { segment: segment.base_offset };
        };
        Lookup::At {
            segment: segment.base_offset,
            position: u64::from(segment_index.offsets.lookup(offset).position),
            size: segment.size,
            next: self.segments.get(index + 1).map(|next| next.base_offset),
        }
    }

    /// Takes indexes read from files, where the segment is still there and still without.
    pub fn install_index(&mut self, segment: Offset, index: SegmentIndex) {
        let at = self.index_of(segment);
        let there = &mut self.segments[at];
        if there.base_offset == segment && there.index.is_none() {
            there.install(index);
        }
    }

    /// The closed segments whose indexes were not read yet, oldest first.
    #[must_use]
    pub fn segments_without_index(&self) -> Vec<(Offset, u64)> {
        let without = self.segments.iter().filter(|segment| segment.index.is_none());
        without.map(|segment| (segment.base_offset, segment.size)).collect()
    }

    /// The index entries that are not in files.
    #[must_use]
    pub fn unsaved_indexes(&self) -> Vec<IndexPart> {
        let mut parts = Vec::new();
        for segment in &self.segments {
            segment.unsaved(&mut parts);
        }
        parts
    }

    /// These entries are in files now.
    pub fn mark_saved(&mut self, segment: Offset, kind: IndexKind, entries: usize) {
        let at = self.index_of(segment);
        let there = &mut self.segments[at];
        if there.base_offset != segment || there.index.is_none() {
            return;
        }
        there.mark_saved(kind, entries);
    }

    /// Adds the active segment's last time index entry, before a clean stop.
    pub fn seal(&mut self) {
        self.active_mut().seal();
    }

    /// Cuts the log at `to`, which stands at `position` of `segment`. The segments behind are returned: their files go.
    pub fn truncate(&mut self, to: Offset, segment: Offset, position: u64) -> Vec<Offset> {
        assert!(to <= self.log_end_offset, "a cut is not beyond the end");
        let keep = self.index_of(segment) + 1;
        let gone = self.segments.split_off(keep).iter().map(|gone| gone.base_offset).collect();
        let active = self.active_mut();
        assert_eq!(active.base_offset, segment, "a cut is in a segment that is there");
        active.size = position;
        if position == 0 {
            active.first_timestamp = None;
        }
        let index = active.index.as_mut().expect("a segment that is cut has its indexes in memory");
        index.truncate_to(to);
        active.after_truncation();
        self.log_end_offset = to;
        self.log_start_offset = self.log_start_offset.min(to);
        gone
    }

    /// The active segment has a batch with this timestamp, which its indexes do not tell: a cut left it behind their last
    /// entries.
    pub fn note_timestamp(&mut self, max: TimestampOffset) {
        if let Some(index) = &mut self.active_mut().index {
            index.note_timestamp(max);
        }
    }

    /// Moves the log's start up to `to`; returns the segments that hold nothing from there on: their files go.
    ///
    /// The active segment stays.
    pub fn move_start(&mut self, to: Offset) -> Vec<Offset> {
        assert!(to <= self.log_end_offset, "log start beyond log end");
        self.log_start_offset = self.log_start_offset.max(to);
        let gone = self.index_of(self.log_start_offset);
        self.segments.drain(..gone).map(|segment| segment.base_offset).collect()
    }
}
