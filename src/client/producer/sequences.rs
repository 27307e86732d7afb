//! Producer id, epoch and sequences: what makes a retry harmless (pure).
//!
//! Each partition counts its own sequences under the producer id and epoch it started them with. They are started anew,
//! under a higher epoch, only where some records were given up and it is not known to the broker, and never while a batch of
//! the partition is in flight (KAFKA-14034): an old batch that arrives late would take the place of a new one.
//!
//! Kafka: `TransactionManager`, `TxnPartitionEntry`; KIP-98, KIP-360.

use crate::types::{ProducerEpoch, ProducerId, ProducerStamp, Sequence};

/// Who this producer is to the brokers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ProducerIdAndEpoch {
    pub(super) id: ProducerId,
    pub(super) epoch: ProducerEpoch,
}

impl ProducerIdAndEpoch {
    /// The next incarnation; `None` where the epochs are used up and another id is needed.
    pub(super) fn next(self) -> Option<Self> {
        let epoch = self.epoch.value().checked_add(1)?;
        Some(Self { id: self.id, epoch: ProducerEpoch::new(epoch) })
    }
}

/// A partition's sequences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sequences {
    /// Under whom they count; `None` before the first batch.
    producer: Option<ProducerIdAndEpoch>,
    /// The next batch's base sequence.
    next: Sequence,
    /// The last sequence that the broker is known to have.
    last_acked: Option<Sequence>,
    /// A stamped batch was given up: whether the broker has it shows when the batches behind it are answered.
    is_unresolved: bool,
    /// The broker lacks a batch that was given up: only a higher epoch helps.
    is_bump_needed: bool,
}

impl Sequences {
    /// Whether they count under an older incarnation than `current`.
    fn is_stale(&self, current: ProducerIdAndEpoch) -> bool {
        self.producer != Some(current)
    }

    /// Whether the broker has a batch of this incarnation, and so refuses one that comes too early.
    pub(super) fn are_known_to_broker(&self, current: ProducerIdAndEpoch) -> bool {
        !self.is_stale(current) && self.last_acked.is_some()
    }

    /// Whether new batches must wait: nothing is stamped while a gap may lie before it.
    pub(super) fn is_held(&self) -> bool {
        self.is_unresolved || self.is_bump_needed
    }

    pub(super) fn is_bump_needed(&self) -> bool {
        self.is_bump_needed
    }

    /// The stamp of a new batch of `records` records. Sequences of an older incarnation end here: nothing of them is in flight.
    pub(super) fn stamp(&mut self, current: ProducerIdAndEpoch, records: u32) -> ProducerStamp {
        assert!(!self.is_held(), "no batch is stamped behind a gap");
        if self.is_stale(current) {
            *self = Self { producer: Some(current), ..Self::default() };
        }
        let base_sequence = self.next;
        self.next = base_sequence.plus(records);
        ProducerStamp { id: current.id, epoch: current.epoch, base_sequence }
    }

    /// The broker has the batch, hence all before it.
    pub(super) fn on_acked(&mut self, stamp: ProducerStamp, records: u32) {
        if self.counts(stamp) && records > 0 {
            let last = stamp.base_sequence.plus(records - 1);
            let is_newer = self.last_acked.is_none_or(|acked| is_after(last, acked));
            if is_newer {
                self.last_acked = Some(last);
            }
        }
    }

    /// A stamped batch was given up.
    pub(super) fn on_given_up(&mut self, stamp: ProducerStamp) {
        if self.counts(stamp) {
            self.is_unresolved = true;
        }
    }

    /// The broker says that a batch before this one, which is the first of those not answered, is missing.
    pub(super) fn on_gap(&mut self, stamp: ProducerStamp) {
        if self.counts(stamp) {
            self.is_bump_needed = true;
        }
    }

    /// All stamped batches are answered or given up: either the broker has the last one, then the gap was none, or not.
    pub(super) fn resolve(&mut self) {
        if !self.is_unresolved {
            return;
        }
        let end = self.last_acked.map_or(Sequence::ZERO, |acked| acked.plus(1));
        self.is_unresolved = false;
        if end != self.next {
            self.is_bump_needed = true;
        }
    }

    /// Starts over. The caller has made sure that nothing of this partition is in flight.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    fn counts(&self, stamp: ProducerStamp) -> bool {
        self.producer == Some(ProducerIdAndEpoch { id: stamp.id, epoch: stamp.epoch })
    }
}

/// Whether `later` comes after `earlier` on the circle of 2^31 sequences.
fn is_after(later: Sequence, earlier: Sequence) -> bool {
    let distance = (i64::from(later.value()) - i64::from(earlier.value())).rem_euclid(1 << 31);
    (1..1 << 30).contains(&distance)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn producer(epoch: i16) -> ProducerIdAndEpoch {
        ProducerIdAndEpoch { id: ProducerId::new(7), epoch: ProducerEpoch::new(epoch) }
    }

    #[test]
    fn sequences_count_records_and_wrap() {
        let mut sequences = Sequences::default();
        assert_eq!(sequences.stamp(producer(0), 3).base_sequence, Sequence::ZERO);
        assert_eq!(sequences.stamp(producer(0), 1).base_sequence, Sequence::new(3));
        sequences.next = Sequence::new(i32::MAX - 1);
        let last = sequences.stamp(producer(0), 3);
        assert_eq!(last.base_sequence, Sequence::new(i32::MAX - 1));
        sequences.on_acked(last, 3);
        assert_eq!(sequences.last_acked, Some(Sequence::ZERO));
        assert_eq!(sequences.stamp(producer(0), 1).base_sequence, Sequence::new(1));
    }

    #[test]
    fn a_new_epoch_starts_at_zero() {
        let mut sequences = Sequences::default();
        sequences.stamp(producer(0), 3);
        assert!(sequences.is_stale(producer(1)));
        assert_eq!(sequences.stamp(producer(1), 3).base_sequence, Sequence::ZERO);
    }

    #[test]
    fn a_gap_is_none_where_a_later_batch_was_acked() {
        let mut sequences = Sequences::default();
        let first = sequences.stamp(producer(0), 2);
        let second = sequences.stamp(producer(0), 2);
        sequences.on_given_up(first);
        assert!(sequences.is_held());
        sequences.on_acked(second, 2);
        sequences.resolve();
        assert!(!sequences.is_held());
    }

    #[test]
    fn a_gap_at_the_end_asks_for_a_new_epoch() {
        let mut sequences = Sequences::default();
        let first = sequences.stamp(producer(0), 2);
        let second = sequences.stamp(producer(0), 2);
        sequences.on_acked(first, 2);
        sequences.on_given_up(second);
        sequences.resolve();
        assert!(sequences.is_bump_needed());
    }
}
