//! What is to be done to a partition's files, in the order decided.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::log::{IndexPart, LeaderEpochCache};
use crate::types::Offset;

/// Work on the log's files.
pub(super) enum Work {
    Write {
        segment: Offset,
        position: u64,
        slices: Vec<Bytes>,
        end_offset: Offset,
        generation: u64,
    },
    Roll {
        segment: Offset,
    },
    Cut {
        segment: Offset,
        position: u64,
        later: Vec<Offset>,
    },
    Remove {
        segments: Vec<Offset>,
        log_start_offset: Offset,
    },
    SaveEpochs {
        epochs: LeaderEpochCache,
        version: u64,
    },
    Truncate(Box<TruncateFiles>),
    Restart {
        segments: Vec<Offset>,
        start_offset: Offset,
        number: u64,
    },
    Sync {
        segments: Vec<Offset>,
        end_offset: Offset,
        generation: u64,
    },
}

/// A cut of the log's files that must be durable before anything is appended.
pub(super) struct TruncateFiles {
    pub(super) segment: Offset,
    pub(super) position: u64,
    pub(super) later: Vec<Offset>,
    /// What the index files of the segment lack, or hold too much of.
    pub(super) indexes: Vec<IndexPart>,
    pub(super) end_offset: Offset,
    pub(super) lowers_recovery_point: bool,
    pub(super) number: u64,
}

/// At most so many slices go into one write: what one system call takes (Linux: `IOV_MAX` 1024).
const WRITE_SLICES_MAX: usize = 512;

/// The work that waits. Mostly it is one piece, if any: that one lies in the partition itself, and an idle partition owns no
/// memory for more.
#[derive(Default)]
pub(super) struct WorkQueue {
    first: Option<Work>,
    /// Empty where there is no first.
    rest: VecDeque<Work>,
}

/// What was taken off the queue undone.
pub(super) struct Dropped {
    /// Whether a sync was among it.
    pub(super) sync: bool,
    /// The version of the last leader epochs among it.
    pub(super) epochs_version: Option<u64>,
}

impl WorkQueue {
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(super) fn push(&mut self, work: Work) {
        match self.first {
            None => self.first = Some(work),
            Some(_) => self.rest.push_back(work),
        }
    }

    /// What is done before all that waits: a cut, which may make the file of the only segment that is left once those that wait
    /// to be removed are gone.
    pub(super) fn push_front(&mut self, work: Work) {
        if let Some(next) = self.first.replace(work) {
            self.rest.push_front(next);
        }
    }

    /// The next work; writes that follow each other in a file become one.
    pub(super) fn pop(&mut self) -> Option<Work> {
        let mut work = self.take_first()?;
        if let Work::Write { segment, slices, end_offset, generation, .. } = &mut work {
            while slices.len() < WRITE_SLICES_MAX
                && let Some(Work::Write { segment: next, .. }) = &self.first
                && next == segment
            {
                let Some(Work::Write { slices: more, end_offset: end, generation: same, .. }) =
                    self.take_first()
                else {
                    unreachable!("just seen");
                };
                assert_eq!(same, *generation, "a cut empties the queue");
                slices.extend(more);
                *end_offset = end;
            }
        }
        Some(work)
    }

    fn take_first(&mut self) -> Option<Work> {
        let first = self.first.take()?;
        self.first = self.rest.pop_front();
        if self.first.is_none() {
            self.rest = VecDeque::new();
        }
        Some(first)
    }

    /// A write failed: what waits behind it is void, but for removals and truncations.
    pub(super) fn drop_void(&mut self) -> Dropped {
        let mut dropped = Dropped { sync: false, epochs_version: None };
        let waiting = self.first.take().into_iter().chain(std::mem::take(&mut self.rest));
        for work in waiting.collect::<Vec<_>>() {
            match work {
                Work::Write { .. } | Work::Roll { .. } | Work::Cut { .. } => {}
                Work::Sync { .. } => dropped.sync = true,
                Work::SaveEpochs { version, .. } => dropped.epochs_version = Some(version),
                Work::Remove { .. } | Work::Truncate(_) | Work::Restart { .. } => self.push(work),
            }
        }
        dropped
    }
}
