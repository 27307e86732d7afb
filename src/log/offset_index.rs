//! The sparse index from offsets to positions in a segment file.
//!
//! An entry names the *last* offset of a batch and the position at which that batch *begins*. Looking up an offset gives
//! the nearest entry at or before it: the caller scans the segment from there.
//!
//! Kafka: `OffsetIndex`; the file `.index` has 8 bytes for an entry.

use super::index_error::{IndexError, IndexFault};
use crate::types::Offset;

/// Bytes of an entry in the file.
pub const OFFSET_INDEX_ENTRY_BYTES: usize = 8;

/// An offset and where in the segment file to look for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OffsetPosition {
    /// The last offset of a batch, or the segment's base offset.
    pub offset: Offset,
    /// Where that batch begins, in bytes from the start of the file.
    pub position: u32,
}

/// The offset index of one segment.
///
/// Invariants: offsets and positions rise strictly; offsets are at most 2^31 − 1 above the base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetIndex {
    base_offset: Offset,
    /// Offset above the base, position.
    entries: Vec<(u32, u32)>,
    entries_max: usize,
}

impl OffsetIndex {
    /// An empty index of the segment at `base_offset`, full at `bytes_max` (`segment.index.bytes`).
    #[must_use]
    pub const fn new(base_offset: Offset, bytes_max: u32) -> Self {
        let entries_max = bytes_max as usize / OFFSET_INDEX_ENTRY_BYTES;
        Self { base_offset, entries: Vec::new(), entries_max }
    }

    /// Reads an index file's bytes.
    ///
    /// Errors: a length that is no multiple of 8, entries that do not rise. Such a file is thrown away and made anew
    /// from the segment. So is one with a tail of zeros, as Kafka leaves it when it is killed.
    pub fn decode(base_offset: Offset, bytes_max: u32, bytes: &[u8]) -> Result<Self, IndexError> {
        let mut index = Self::new(base_offset, bytes_max);
        let (chunks, rest) = bytes.as_chunks::<OFFSET_INDEX_ENTRY_BYTES>();
        if !rest.is_empty() {
            return Err(IndexFault::Length { bytes: bytes.len() }.at(chunks.len()));
        }
        index.entries.reserve_exact(chunks.len());
        for (number, chunk) in chunks.iter().enumerate() {
            let [a, b, c, d, e, f, g, h] = *chunk;
            let relative = i32::from_be_bytes([a, b, c, d]);
            let position = i32::from_be_bytes([e, f, g, h]);
            let entry = u32::try_from(relative).ok().zip(u32::try_from(position).ok());
            let entry = entry.ok_or_else(|| IndexFault::Negative.at(number))?;
            let rises =
                index.entries.last().is_none_or(|last| last.0 < entry.0 && last.1 < entry.1);
            if !rises {
                return Err(IndexFault::NotRising.at(number));
            }
            index.entries.push(entry);
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

    /// Whether the segment can hold records up to `offset`: entries have 31 bits for it.
    ///
    /// Kafka: `AbstractIndex.canAppendOffset`.
    #[must_use]
    pub fn can_append_offset(&self, offset: Offset) -> bool {
        self.relative(offset).is_some()
    }

    /// Whether no further entry fits; the segment must roll before.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.entries.len() >= self.entries_max
    }

    /// Appends an entry and returns its bytes, to be appended to the file. `None` where the index is full.
    ///
    /// Panics where offset or position do not rise, or the offset is out of the segment's reach.
    pub fn append(
        &mut self,
        offset: Offset,
        position: u32,
    ) -> Option<[u8; OFFSET_INDEX_ENTRY_BYTES]> {
        let relative = self.relative(offset).expect("the offset is within the segment's reach");
        if let Some(last) = self.entries.last() {
            assert!(relative > last.0, "indexed offsets rise");
            assert!(position > last.1, "indexed positions rise");
        }
        if self.is_full() {
            return None;
        }
        self.entries.push((relative, position));
        Some(encode_entry((relative, position)))
    }

    /// The entry with the largest offset that is not above `target`, or the segment's beginning.
    #[must_use]
    pub fn lookup(&self, target: Offset) -> OffsetPosition {
        let beginning = OffsetPosition { offset: self.base_offset, position: 0 };
        if target < self.base_offset {
            return beginning;
        }
        let relative = u32::try_from(target - self.base_offset).unwrap_or(u32::MAX);
        let above = self.entries.partition_point(|entry| entry.0 <= relative);
        above.checked_sub(1).map_or(beginning, |at| self.entry(at))
    }

    /// The first entry whose position is at least `position`: a bound for reads that must not go beyond.
    ///
    /// Kafka: `OffsetIndex.fetchUpperBoundOffset`.
    #[must_use]
    pub fn first_at_or_after_position(&self, position: u32) -> Option<OffsetPosition> {
        let at = self.entries.partition_point(|entry| entry.1 < position);
        (at < self.entries.len()).then(|| self.entry(at))
    }

    /// Removes the entries with offsets from `offset` on.
    pub fn truncate_to(&mut self, offset: Offset) {
        let Some(relative) = offset.value().checked_sub(self.base_offset.value()) else { return };
        let kept = self.entries.partition_point(|entry| i64::from(entry.0) < relative);
        self.entries.truncate(kept);
    }

    /// The last entry.
    #[must_use]
    pub fn last(&self) -> Option<OffsetPosition> {
        self.entries.len().checked_sub(1).map(|at| self.entry(at))
    }

    /// All entries, in order.
    pub fn iter(&self) -> impl Iterator<Item = OffsetPosition> + '_ {
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

    /// The first offset of the segment.
    #[must_use]
    pub const fn base_offset(&self) -> Offset {
        self.base_offset
    }

    fn entry(&self, at: usize) -> OffsetPosition {
        let (relative, position) = self.entries[at];
        OffsetPosition { offset: self.base_offset + u64::from(relative), position }
    }

    fn relative(&self, offset: Offset) -> Option<u32> {
        relative_offset(self.base_offset, offset)
    }
}

/// `offset` counted from `base_offset`, where 31 bits hold it.
pub(super) fn relative_offset(base_offset: Offset, offset: Offset) -> Option<u32> {
    let relative = offset.value().checked_sub(base_offset.value())?;
    i32::try_from(relative).ok().and_then(|relative| u32::try_from(relative).ok())
}

fn encode_entry((relative, position): (u32, u32)) -> [u8; OFFSET_INDEX_ENTRY_BYTES] {
    let [a, b, c, d] = relative.to_be_bytes();
    let [e, f, g, h] = position.to_be_bytes();
    [a, b, c, d, e, f, g, h]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BYTES_MAX: u32 = 10 << 20;

    /// Entries that rise, as (offset above the base, position).
    fn entries() -> impl Strategy<Value = Vec<(u32, u32)>> {
        prop::collection::vec((1u32..1_000, 1u32..1_000), 0..50).prop_map(|steps| {
            steps
                .iter()
                .scan((0, 0), |sum, step| {
                    *sum = (sum.0 + step.0, sum.1 + step.1);
                    Some(*sum)
                })
                .collect()
        })
    }

    fn index(base: Offset, entries: &[(u32, u32)]) -> OffsetIndex {
        let mut index = OffsetIndex::new(base, BYTES_MAX);
        for (relative, position) in entries {
            index.append(base + u64::from(*relative), *position).unwrap();
        }
        index
    }

    proptest! {
        #[test]
        fn a_lookup_finds_what_a_scan_finds(
            base in 0i64..1 << 40,
            entries in entries(),
            target in 0i64..60_000,
        ) {
            let base_offset = Offset::new(base);
            let index = index(base_offset, &entries);
            let target = Offset::new(base + target - 5_000.min(base));
            let scanned = index.iter().filter(|entry| entry.offset <= target).last();
            let beginning = OffsetPosition { offset: base_offset, position: 0 };
            prop_assert_eq!(index.lookup(target), scanned.unwrap_or(beginning));
        }

        #[test]
        fn files_read_back(entries in entries()) {
            let base = Offset::new(77);
            let index = index(base, &entries);
            let decoded = OffsetIndex::decode(base, BYTES_MAX, &index.encode());
            prop_assert_eq!(decoded, Ok(index));
        }

        #[test]
        fn truncation_keeps_exactly_what_is_below(entries in entries(), to in 0u64..60_000) {
            let base = Offset::new(77);
            let mut index = index(base, &entries);
            let to = base + to;
            let below: Vec<_> = index.iter().filter(|entry| entry.offset < to).collect();
            index.truncate_to(to);
            prop_assert_eq!(index.iter().collect::<Vec<_>>(), below);
        }

        #[test]
        fn arbitrary_files_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = OffsetIndex::decode(Offset::ZERO, BYTES_MAX, &bytes);
        }
    }

    #[test]
    fn files_that_do_not_rise_are_refused() {
        let base = Offset::ZERO;
        let mut bytes = index(base, &[(3, 100), (9, 200)]).encode();
        bytes.extend_from_slice(&[0; 8]);
        assert_eq!(
            OffsetIndex::decode(base, BYTES_MAX, &bytes),
            Err(IndexError { entry: 2, fault: IndexFault::NotRising })
        );
        assert_eq!(
            OffsetIndex::decode(base, BYTES_MAX, &bytes[..20]),
            Err(IndexError { entry: 2, fault: IndexFault::Length { bytes: 20 } })
        );
    }

    #[test]
    fn a_full_index_takes_no_more() {
        let mut index = OffsetIndex::new(Offset::ZERO, 17);
        assert!(index.append(Offset::new(1), 1).is_some());
        assert!(!index.is_full());
        assert!(index.append(Offset::new(2), 2).is_some());
        assert!(index.is_full());
        assert!(index.append(Offset::new(3), 3).is_none());
        assert!(index.can_append_offset(Offset::new(i64::from(i32::MAX))));
        assert!(!index.can_append_offset(Offset::new(i64::from(i32::MAX) + 1)));
    }
}
