//! Where readers stopped: the next read of the same reader begins there.
//!
//! The offset index points at or before the wanted batch, and Kafka's own format has it point at the batch before where a
//! reader goes on: with large batches that batch would be read again, for nothing, by every fetch.

use std::collections::VecDeque;

use crate::types::Offset;

/// More readers than these in one partition's files look their place up in the index.
const CURSORS_MAX: usize = 8;

/// The place of a batch in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReadCursor {
    /// The batch's base offset.
    pub(super) offset: Offset,
    /// The segment it is in.
    pub(super) segment: Offset,
    /// Its first byte.
    pub(super) position: u64,
    /// The machine's generation in which it was there: a cut makes it void.
    pub(super) generation: u64,
}

/// The places of the last readers, the oldest first.
#[derive(Debug, Default)]
pub(super) struct ReadCursors(VecDeque<ReadCursor>);

impl ReadCursors {
    /// Keeps the place where a read ended that began at `from`.
    pub(super) fn moved(&mut self, from: Offset, to: ReadCursor) {
        match self.0.iter().position(|cursor| cursor.offset == from) {
            Some(index) => {
                self.0.remove(index);
            }
            None if self.0.len() == CURSORS_MAX => {
                self.0.pop_front();
            }
            None => {}
        }
        self.0.push_back(to);
    }

    /// Where the batch that begins with `offset` stands in `segment`, if somebody's read ended before it.
    pub(super) fn position(&self, offset: Offset, segment: Offset, generation: u64) -> Option<u64> {
        let is_here = |cursor: &&ReadCursor| {
            cursor.offset == offset && cursor.segment == segment && cursor.generation == generation
        };
        self.0.iter().find(is_here).map(|cursor| cursor.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: i64, generation: u64) -> ReadCursor {
        let position = u64::try_from(offset).unwrap() * 10;
        ReadCursor { offset: Offset::new(offset), segment: Offset::ZERO, position, generation }
    }

    fn find(cursors: &ReadCursors, offset: i64, generation: u64) -> Option<u64> {
        cursors.position(Offset::new(offset), Offset::ZERO, generation)
    }

    #[test]
    fn a_place_is_known_until_its_reader_moves_on_or_the_log_is_cut() {
        let mut cursors = ReadCursors::default();
        cursors.moved(Offset::ZERO, at(5, 1));
        assert_eq!(find(&cursors, 5, 1), Some(50));
        assert_eq!(find(&cursors, 5, 2), None, "cut meanwhile");
        assert_eq!(cursors.position(Offset::new(5), Offset::new(5), 1), None, "a new segment");
        cursors.moved(Offset::new(5), at(9, 1));
        assert_eq!((find(&cursors, 5, 1), find(&cursors, 9, 1)), (None, Some(90)));
    }

    #[test]
    fn the_oldest_of_many_readers_is_forgotten() {
        let mut cursors = ReadCursors::default();
        for offset in 1..=9 {
            cursors.moved(Offset::ZERO, at(offset, 0));
        }
        assert_eq!((find(&cursors, 1, 0), find(&cursors, 2, 0)), (None, Some(20)));
    }
}
