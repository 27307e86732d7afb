//! The sparse index from timestamps to offsets in a segment.
//!
//! An entry says: up to here, the largest timestamp is this, first reached by the batch that ends with this offset. So all
//! records above the offset of the nearest entry below a target time must be scanned, and none at or below it.
//!
//! Kafka: `TimeIndex`; the file `.timeindex` has 12 bytes for an entry.

use super::index_error::{IndexError, IndexFault};
use super::offset_index::relative_offset;
use crate::types::{Offset, Timestamp};

/// Bytes of an entry in the file.
pub const TIME_INDEX_ENTRY_BYTES: usize = 12;

/// A timestamp and the last offset of the batch that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimestampOffset {
    /// The largest timestamp up to that batch.
    pub timestamp: Timestamp,
    /// The batch's last offset.
    pub offset: Offset,
}

/// The time index of one segment.
///
/// Invariants: timestamps rise strictly; offsets do not fall, and are at most 2^31 − 1 above the base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeIndex {
    base_offset: Offset,
    /// Timestamp in milliseconds, offset above the base.
    entries: Vec<(i64, u32)>,
    entries_max: usize,
}

impl TimeIndex {
    /// An empty index of the segment at `base_offset`, full at `bytes_max` (`segment.index.bytes`).
    #[must_use]
    pub const fn new(base_offset: Offset, bytes_max: u32) -> Self {
        let entries_max = bytes_max as usize / TIME_INDEX_ENTRY_BYTES;
        Self { base_offset, entries: Vec::new(), entries_max }
    }

    /// Reads an index file's bytes.
    ///
    /// Errors: a length that is no multiple of 12, entries that do not rise. Such a file is thrown away and made anew
    /// from the segment.
    pub fn decode(base_offset: Offset, bytes_max: u32, bytes: &[u8]) -> Result<Self, IndexError> {
        let mut index = Self::new(base_offset, bytes_max);
        let (chunks, rest) = bytes.as_chunks::<TIME_INDEX_ENTRY_BYTES>();
        if !rest.is_empty() {
            return Err(IndexFault::Length { bytes: bytes.len() }.at(chunks.len()));
        }
        index.entries.reserve_exact(chunks.len());
        for (number, chunk) in chunks.iter().enumerate() {
            let [a, b, c, d, e, f, g, h, i, j, k, l] = *chunk;
            let timestamp = i64::from_be_bytes([a, b, c, d, e, f, g, h]);
            let relative = u32::try_from(i32::from_be_bytes([i, j, k, l]))
                .map_err(|_| IndexFault::Negative.at(number))?;
            let rises =
                index.entries.last().is_none_or(|last| last.0 < timestamp && last.1 <= relative);
            if !rises {
                return Err(IndexFault::NotRising.at(number));
            }
            index.entries.push((timestamp, relative));
        }
        Ok(index)
    }

    /// The file's bytes, without preallocated space.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.encode_from(0)
    }

    /// The file's bytes behind the first `entries` entries.
    #[must_use]
    pub fn encode_from(&self, entries: usize) -> Vec<u8> {
        self.entries[entries..].iter().flat_map(|entry| encode_entry(*entry)).collect()
    }

    /// Whether only the entry that closing the segment needs still fits.
    ///
    /// Kafka: `TimeIndex.isFull`, which keeps the last slot for that entry.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.entries.len() + 1 >= self.entries_max
    }

    /// Appends an entry, where its timestamp rises above the last one's and the index is not full; returns its bytes, to
    /// be appended to the file.
    ///
    /// Panics where the offset falls below the last entry's while the timestamp rises.
    pub fn maybe_append(&mut self, entry: TimestampOffset) -> Option<[u8; TIME_INDEX_ENTRY_BYTES]> {
        if self.is_full() { None } else { self.append_last(entry) }
    }

    /// As [`TimeIndex::maybe_append`], also into the slot that is kept for the segment's end: at a roll or clean stop.
    pub fn append_last(&mut self, entry: TimestampOffset) -> Option<[u8; TIME_INDEX_ENTRY_BYTES]> {
        let relative = relative_offset(self.base_offset, entry.offset)
            .expect("the offset is within the segment's reach");
        let timestamp = entry.timestamp.millis();
        if let Some(last) = self.entries.last() {
            if timestamp <= last.0 {
                return None;
            }
            assert!(relative >= last.1, "offsets of rising timestamps do not fall");
        }
        self.entries.push((timestamp, relative));
        Some(encode_entry((timestamp, relative)))
    }

    /// The entry with the largest timestamp that is not above `target`; `None` where all are above.
    #[must_use]
    pub fn lookup(&self, target: Timestamp) -> Option<TimestampOffset> {
        let above = self.entries.partition_point(|entry| entry.0 <= target.millis());
        above.checked_sub(1).map(|at| self.entry(at))
    }

    /// Removes the entries with offsets from `offset` on.
    pub fn truncate_to(&mut self, offset: Offset) {
        let Some(relative) = offset.value().checked_sub(self.base_offset.value()) else { return };
        let kept = self.entries.partition_point(|entry| i64::from(entry.1) < relative);
        self.entries.truncate(kept);
    }

    /// The last entry: the largest timestamp indexed.
    #[must_use]
    pub fn last(&self) -> Option<TimestampOffset> {
        self.entries.len().checked_sub(1).map(|at| self.entry(at))
    }

    /// All entries, in order.
    pub fn iter(&self) -> impl Iterator<Item = TimestampOffset> + '_ {
        (0..self.entries.len()).map(|at| self.entry(at))
    }

    /// How many entries there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn entry(&self, at: usize) -> TimestampOffset {
        let (timestamp, relative) = self.entries[at];
        TimestampOffset {
            timestamp: Timestamp::from_millis(timestamp),
            offset: self.base_offset + u64::from(relative),
        }
    }
}

fn encode_entry((timestamp, relative): (i64, u32)) -> [u8; TIME_INDEX_ENTRY_BYTES] {
    let mut bytes = [0; TIME_INDEX_ENTRY_BYTES];
    bytes[..8].copy_from_slice(&timestamp.to_be_bytes());
    bytes[8..].copy_from_slice(&relative.to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BYTES_MAX: u32 = 10 << 20;

    fn entry(timestamp: i64, offset: Offset) -> TimestampOffset {
        TimestampOffset { timestamp: Timestamp::from_millis(timestamp), offset }
    }

    /// An index over batches with these timestamps, ten offsets apart.
    fn index(base: Offset, timestamps: &[i64]) -> TimeIndex {
        let mut index = TimeIndex::new(base, BYTES_MAX);
        let mut largest = i64::MIN;
        for (timestamp, batch) in timestamps.iter().zip(1u64..) {
            if *timestamp > largest {
                largest = *timestamp;
                index.maybe_append(entry(largest, base + batch * 10)).unwrap();
            }
        }
        index
    }

    fn timestamps() -> impl Strategy<Value = Vec<i64>> {
        prop::collection::vec(-50i64..1_000, 0..40)
    }

    proptest! {
        #[test]
        fn a_lookup_finds_what_a_scan_finds(timestamps in timestamps(), target in -100i64..1_100) {
            let index = index(Offset::new(5), &timestamps);
            let target = Timestamp::from_millis(target);
            let scanned = index.iter().filter(|entry| entry.timestamp <= target).last();
            prop_assert_eq!(index.lookup(target), scanned);
        }

        #[test]
        fn no_batch_at_or_below_a_found_offset_is_younger_than_the_target(
            timestamps in timestamps(),
            target in -100i64..1_100,
        ) {
            let base = Offset::new(5);
            let target = Timestamp::from_millis(target);
            let Some(found) = index(base, &timestamps).lookup(target) else { return Ok(()) };
            for (timestamp, batch) in timestamps.iter().zip(1u64..) {
                if base + batch * 10 <= found.offset {
                    prop_assert!(Timestamp::from_millis(*timestamp) <= target);
                }
            }
        }

        #[test]
        fn files_read_back(timestamps in timestamps()) {
            let index = index(Offset::new(5), &timestamps);
            let decoded = TimeIndex::decode(Offset::new(5), BYTES_MAX, &index.encode());
            prop_assert_eq!(decoded, Ok(index));
        }

        #[test]
        fn truncation_keeps_exactly_what_is_below(timestamps in timestamps(), to in 0u64..500) {
            let base = Offset::new(5);
            let mut index = index(base, &timestamps);
            let to = base + to;
            let below: Vec<_> = index.iter().filter(|entry| entry.offset < to).collect();
            index.truncate_to(to);
            prop_assert_eq!(index.iter().collect::<Vec<_>>(), below);
        }

        #[test]
        fn arbitrary_files_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = TimeIndex::decode(Offset::ZERO, BYTES_MAX, &bytes);
        }
    }

    #[test]
    fn a_timestamp_that_does_not_rise_is_not_indexed() {
        let mut index = TimeIndex::new(Offset::ZERO, BYTES_MAX);
        assert!(index.maybe_append(entry(10, Offset::new(1))).is_some());
        assert!(index.maybe_append(entry(10, Offset::new(2))).is_none());
        assert!(index.maybe_append(entry(9, Offset::new(3))).is_none());
        assert_eq!(index.last(), Some(entry(10, Offset::new(1))));
    }

    #[test]
    fn the_last_slot_is_kept_for_the_segments_end() {
        let mut index = TimeIndex::new(Offset::ZERO, 24);
        assert!(index.maybe_append(entry(1, Offset::new(1))).is_some());
        assert!(index.is_full());
        assert!(index.maybe_append(entry(2, Offset::new(2))).is_none());
        assert!(index.append_last(entry(2, Offset::new(2))).is_some());
    }

    #[test]
    fn files_that_do_not_rise_are_refused() {
        let mut bytes = index(Offset::ZERO, &[5, 7]).encode();
        bytes.extend_from_slice(&[0; 12]);
        let error = TimeIndex::decode(Offset::ZERO, BYTES_MAX, &bytes).unwrap_err();
        assert_eq!(error, IndexError { entry: 2, fault: IndexFault::NotRising });
    }
}
