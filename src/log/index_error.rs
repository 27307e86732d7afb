//! What can be wrong with an index file. The remedy is always the same: make it anew from the segment.

/// An index file that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("entry {entry}: {fault}")]
pub struct IndexError {
    /// The entry, counted from 0.
    pub entry: usize,
    /// What is wrong with it.
    pub fault: IndexFault,
}

/// What is wrong with an index entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IndexFault {
    /// The file's length is no multiple of an entry's.
    #[error("the file's {bytes} bytes end inside it")]
    Length {
        /// The file's length.
        bytes: usize,
    },
    /// It does not rise above the entry before.
    #[error("it does not rise above the one before")]
    NotRising,
    /// A number that counts is negative.
    #[error("a number in it is negative")]
    Negative,
}

impl IndexFault {
    pub(super) const fn at(self, entry: usize) -> IndexError {
        IndexError { entry, fault: self }
    }
}
