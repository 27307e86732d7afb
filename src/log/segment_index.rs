//! Both indexes of a segment, and the rule that says which batches get an entry.
//!
//! Appending and rebuilding use the same rule, so a rebuilt index is the one that was lost.
//!
//! Kafka: `LogSegment.append`, `LogSegment.recover`.

use super::offset_index::{OFFSET_INDEX_ENTRY_BYTES, OffsetIndex};
use super::time_index::{TIME_INDEX_ENTRY_BYTES, TimeIndex, TimestampOffset};
use crate::protocol::record_batch::BatchHeader;
use crate::types::{Offset, Timestamp};

/// Sizes that govern a segment's indexes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexSizes {
    /// `index.interval.bytes`.
    pub interval_bytes: u32,
    /// `segment.index.bytes`.
    pub index_bytes_max: u32,
}

/// What an append adds to the index files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexAppend {
    /// To be appended to `.index`.
    pub offset_entry: Option<[u8; OFFSET_INDEX_ENTRY_BYTES]>,
    /// To be appended to `.timeindex`.
    pub time_entry: Option<[u8; TIME_INDEX_ENTRY_BYTES]>,
}

/// What [`SegmentIndex::undo`] restores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexBefore {
    bytes_since_entry: u64,
    max_timestamp: Option<TimestampOffset>,
}

/// The offset index and the time index of one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentIndex {
    /// From offsets to positions.
    pub offsets: OffsetIndex,
    /// From timestamps to offsets.
    pub times: TimeIndex,
    interval_bytes: u32,
    /// Bytes of batches that came since the last entry, the batch with the entry included.
    bytes_since_entry: u64,
    /// The largest timestamp in the segment and the last offset of the first batch that has it.
    max_timestamp: Option<TimestampOffset>,
}

impl SegmentIndex {
    /// The indexes of the empty segment at `base_offset`.
    #[must_use]
    pub const fn new(base_offset: Offset, sizes: IndexSizes) -> Self {
        Self {
            offsets: OffsetIndex::new(base_offset, sizes.index_bytes_max),
            times: TimeIndex::new(base_offset, sizes.index_bytes_max),
            interval_bytes: sizes.interval_bytes,
            bytes_since_entry: 0,
            max_timestamp: None,
        }
    }

    /// The indexes as read from their files. The largest timestamp is that of the last entry, as after a clean close.
    #[must_use]
    pub fn from_files(offsets: OffsetIndex, times: TimeIndex, sizes: IndexSizes) -> Self {
        let max_timestamp = times.last();
        Self {
            offsets,
            times,
            interval_bytes: sizes.interval_bytes,
            bytes_since_entry: 0,
            max_timestamp,
        }
    }

    /// Whether the segment must roll before a batch that ends with `last_offset`: an index is full, or 31 bits do not
    /// hold the offset.
    #[must_use]
    pub fn must_roll(&self, last_offset: Offset) -> bool {
        self.offsets.is_full()
            || self.times.is_full()
            || !self.offsets.can_append_offset(last_offset)
    }

    /// Takes note of the batch that lies at `position`, and says what the files get.
    ///
    /// A batch gets an entry where more than the interval was appended since the last one, this batch not counted.
    pub fn on_batch(&mut self, position: u32, header: &BatchHeader) -> IndexAppend {
        let last_offset = header.last_offset();
        self.on_timestamp(header.max_timestamp, last_offset);
        let mut append = IndexAppend::default();
        if self.bytes_since_entry > u64::from(self.interval_bytes) {
            append.offset_entry = self.offsets.append(last_offset, position);
            append.time_entry = self.max_timestamp.and_then(|max| self.times.maybe_append(max));
            self.bytes_since_entry = 0;
        }
        self.bytes_since_entry += u64::from(header.size_in_bytes);
        append
    }

    fn on_timestamp(&mut self, timestamp: Option<Timestamp>, offset: Offset) {
        let Some(timestamp) = timestamp else { return };
        if self.max_timestamp.is_none_or(|max| timestamp > max.timestamp) {
            self.max_timestamp = Some(TimestampOffset { timestamp, offset });
        }
    }

    /// A batch behind the last entry has this timestamp.
    pub fn note_timestamp(&mut self, max: TimestampOffset) {
        self.on_timestamp(Some(max.timestamp), max.offset);
    }

    /// The entry for the segment's largest timestamp, which a roll and a clean stop append to `.timeindex`. `None` where it
    /// is there already.
    pub fn on_close(&mut self) -> Option<[u8; TIME_INDEX_ENTRY_BYTES]> {
        self.max_timestamp.and_then(|max| self.times.append_last(max))
    }

    /// The largest timestamp in the segment and the last offset of the first batch that has it.
    #[must_use]
    pub const fn max_timestamp(&self) -> Option<TimestampOffset> {
        self.max_timestamp
    }

    /// What to restore should the next batch be taken back.
    #[must_use]
    pub const fn before(&self) -> IndexBefore {
        IndexBefore { bytes_since_entry: self.bytes_since_entry, max_timestamp: self.max_timestamp }
    }

    /// Takes back the batch that begins at `offset` and that [`SegmentIndex::before`] was asked before; the last one first.
    pub fn undo(&mut self, offset: Offset, before: IndexBefore) {
        self.offsets.truncate_to(offset);
        self.times.truncate_to(offset);
        self.bytes_since_entry = before.bytes_since_entry;
        self.max_timestamp = before.max_timestamp;
    }

    /// Removes what points at or beyond `offset`, the new end of the segment.
    ///
    /// The largest timestamp may lie beyond the cut: the caller tells [`SegmentIndex::on_batch`] of the batches that stay
    /// behind the last entry, or else the last entry's counts, as in Kafka.
    pub fn truncate_to(&mut self, offset: Offset) {
        self.offsets.truncate_to(offset);
        self.times.truncate_to(offset);
        self.bytes_since_entry = 0;
        self.max_timestamp = self.times.last();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::compression::Compression;
    use crate::protocol::record_batch::{BatchBuilder, RawBatch};

    const SIZES: IndexSizes = IndexSizes { interval_bytes: 150, index_bytes_max: 1_200 };

    /// The header of a batch of one record, 100 bytes long.
    fn header(offset: u64, timestamp: i64) -> BatchHeader {
        let mut builder =
            BatchBuilder::new(Compression::NONE).with_base_offset(Offset::ZERO + offset);
        builder.append(Timestamp::from_millis(timestamp), None, Some(&[7; 32]), &[]);
        let header = RawBatch::parse(&builder.build()).unwrap().header;
        assert_eq!(header.size_in_bytes, 100);
        header
    }

    #[test]
    fn a_batch_gets_an_entry_after_more_than_the_interval() {
        let mut index = SegmentIndex::new(Offset::ZERO, SIZES);
        for batch in 0..7 {
            index.on_batch(batch * 100, &header(u64::from(batch), i64::from(batch)));
        }
        let entries: Vec<_> =
            index.offsets.iter().map(|entry| (entry.offset.value(), entry.position)).collect();
        assert_eq!(entries, [(2, 200), (4, 400), (6, 600)]);
    }

    #[test]
    fn the_largest_timestamp_is_indexed_at_the_end() {
        let mut index = SegmentIndex::new(Offset::ZERO, SIZES);
        for (batch, timestamp) in [5, 9, 3, 9, 2].into_iter().enumerate() {
            let batch = u32::try_from(batch).unwrap();
            index.on_batch(batch * 100, &header(u64::from(batch), timestamp));
        }
        let max = TimestampOffset { timestamp: Timestamp::from_millis(9), offset: Offset::new(1) };
        assert_eq!(index.max_timestamp(), Some(max));
        assert_eq!(index.times.iter().collect::<Vec<_>>(), [max]);
        assert_eq!(index.on_close(), None);
        index.on_batch(500, &header(5, 10));
        assert!(index.on_close().is_some());
        assert_eq!(index.on_close(), None);
    }

    #[test]
    fn full_indexes_ask_for_a_roll() {
        let sizes = IndexSizes { interval_bytes: 0, index_bytes_max: 24 };
        let mut index = SegmentIndex::new(Offset::ZERO, sizes);
        assert!(!index.must_roll(Offset::ZERO));
        assert!(index.must_roll(Offset::new(1 << 31)));
        index.on_batch(0, &header(0, 1));
        assert!(!index.must_roll(Offset::new(1)));
        index.on_batch(100, &header(1, 2));
        assert!(index.must_roll(Offset::new(2)));
    }
}
