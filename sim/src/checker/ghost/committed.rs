//! What is committed of a log: below the high watermark that a leader told, and the term in which it came to be there.

use std::collections::BTreeMap;

use ottla::types::{LeaderEpoch, Offset};

use super::log::GhostBatch;

/// A batch that is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Committed {
    batch: GhostBatch,
    /// In which it was committed: not before the term in which it was written.
    term: LeaderEpoch,
}

/// The batches of a log that are committed, by first offset. Write-once, but for declared cuts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommittedLog(BTreeMap<Offset, Committed>);

impl CommittedLog {
    /// The batch that begins at an offset.
    #[must_use]
    pub fn get(&self, base_offset: Offset) -> Option<&GhostBatch> {
        self.0.get(&base_offset).map(|known| &known.batch)
    }

    /// All of it, in order.
    pub fn batches(&self) -> impl Iterator<Item = &GhostBatch> {
        self.0.values().map(|known| &known.batch)
    }

    /// The batches that begin in `from..to`, in order.
    pub fn batches_in(
        &self,
        from: Offset,
        to: Offset,
    ) -> impl DoubleEndedIterator<Item = &GhostBatch> {
        self.0.range(from..to).map(|(_, known)| &known.batch)
    }

    /// Whether a batch is committed.
    #[must_use]
    pub fn holds(&self, batch: &GhostBatch) -> bool {
        self.get(batch.base_offset).is_some_and(|known| known.is_same(batch))
    }

    /// What is committed where a batch begins, if that is another one.
    #[must_use]
    pub fn other_than(&self, batch: &GhostBatch) -> Option<&GhostBatch> {
        self.get(batch.base_offset).filter(|known| !known.is_same(batch))
    }

    /// Whether a leader of this term must hold a batch: it was committed in this term or before, or, where it was never committed,
    /// written then.
    #[must_use]
    pub fn is_due(&self, batch: &GhostBatch, term: LeaderEpoch) -> bool {
        let known = self.0.get(&batch.base_offset);
        known.map_or(batch.leader_epoch, |known| known.term) <= term
    }

    /// A batch is committed in a term.
    pub(super) fn commit(&mut self, batch: GhostBatch, term: LeaderEpoch) {
        self.0.entry(batch.base_offset).or_insert(Committed { batch, term });
    }

    /// Forgets what a declared cut took away.
    pub(super) fn retain(&mut self, is_kept: impl Fn(&GhostBatch) -> bool) {
        self.0.retain(|_, known| is_kept(&known.batch));
    }
}
