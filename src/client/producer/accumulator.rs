//! The batches of one partition, oldest first, until each has its outcome told (pure).
//!
//! New batches join at the end and none ever overtakes another in this list, whatever order they are answered in: so
//! outcomes are told in order, and a retry stands before what was sent after it.
//!
//! Kafka: `RecordAccumulator`, `Deque<ProducerBatch>`.

use std::collections::VecDeque;
use std::time::Duration;

use super::batch::{Outcome, ProducerBatch, Stage};
use super::config::IDEMPOTENT_IN_FLIGHT_MAX;
use super::sequences::{ProducerIdAndEpoch, Sequences};
use crate::client::error::SendCause;
use crate::types::{LeaderEpoch, Monotonic};

/// What decides whether a batch may be sent, beside the batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct SendRules {
    /// Whether order is kept by having one batch of a partition in flight (`max.in.flight.requests.per.connection=1`).
    pub(super) one_in_flight: bool,
    /// With idempotence: who we are, if known. Without it: `None` in the outer option.
    pub(super) idempotence: Option<Option<ProducerIdAndEpoch>>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct PartitionQueue<D> {
    pub(super) batches: VecDeque<ProducerBatch<D>>,
    pub(super) sequences: Sequences,
}

impl<D> Default for PartitionQueue<D> {
    fn default() -> Self {
        Self { batches: VecDeque::new(), sequences: Sequences::default() }
    }
}

impl<D> PartitionQueue<D> {
    /// The first batch that is neither sent nor finished, and so the next to be sent.
    fn next_unsent(&self) -> Option<usize> {
        self.batches
            .iter()
            .position(|batch| matches!(batch.stage, Stage::Open | Stage::Waiting { .. }))
    }

    /// Ends the back-off of batches that were sent last under an older epoch than that of the leader who is known now: the
    /// broker that refused them is not the one that gets them next.
    ///
    /// Kafka: `ProducerBatch.hasLeaderChangedForTheOngoingRetry` (KIP-951).
    pub(super) fn on_leader(&mut self, leader_epoch: LeaderEpoch) {
        for batch in &mut self.batches {
            if let Stage::Waiting { not_before } = &mut batch.stage
                && batch.sent_under.is_some_and(|sent_under| sent_under < leader_epoch)
            {
                *not_before = Monotonic::ZERO;
            }
        }
    }

    /// How many batches wait to be sent.
    pub(super) fn queued(&self) -> u32 {
        let waiting = self
            .batches
            .iter()
            .filter(|batch| matches!(batch.stage, Stage::Open | Stage::Waiting { .. }));
        u32::try_from(waiting.count()).unwrap_or(u32::MAX)
    }

    pub(super) fn in_flight(&self) -> usize {
        self.batches.iter().filter(|batch| matches!(batch.stage, Stage::InFlight { .. })).count()
    }

    /// The batch that may be sent now, if one may: linger and leader aside.
    ///
    /// With idempotence, a batch that was sent before goes out only as the first of those unanswered: behind a batch that
    /// is missing it would be refused. New batches wait behind it; so while anything is retried one is in flight.
    ///
    /// The first batch of a producer epoch goes alone. A broker that has no batch of the producer takes any first sequence:
    /// were the first batch refused (NOT_ENOUGH_REPLICAS) and the second one, in flight behind it, taken, they would stand
    /// in the wrong order. (Kafka's client sends both.)
    ///
    /// Kafka: `RecordAccumulator.shouldStopDrainBatchesForPartition`.
    pub(super) fn sendable(&self, now: Monotonic, rules: SendRules) -> Option<usize> {
        let index = self.next_unsent()?;
        let batch = &self.batches[index];
        let in_flight = self.in_flight();
        if let Stage::Waiting { not_before } = batch.stage
            && not_before > now
        {
            return None;
        }
        if rules.one_in_flight && in_flight > 0 {
            return None;
        }
        let Some(producer) = rules.idempotence else { return Some(index) };
        let producer = producer?;
        let may = match batch.stamp {
            Some(_) => self.is_first_unanswered(index) && !self.sequences.is_bump_needed(),
            None => {
                !self.sequences.is_held()
                    && in_flight < IDEMPOTENT_IN_FLIGHT_MAX
                    && (in_flight == 0 || self.sequences.are_known_to_broker(producer))
            }
        };
        may.then_some(index)
    }

    /// When the next batch has lingered, or its back-off is over; the past where it need not wait.
    pub(super) fn ready_at(&self, linger: Duration) -> Option<Monotonic> {
        let index = self.next_unsent()?;
        let batch = &self.batches[index];
        Some(match batch.stage {
            Stage::Waiting { not_before } => not_before,
            Stage::Open if index + 1 < self.batches.len() => batch.created,
            Stage::Open | Stage::InFlight { .. } | Stage::Finished => batch.created + linger,
        })
    }

    /// The oldest batch without outcome.
    pub(super) fn oldest_undecided(&self) -> Option<&ProducerBatch<D>> {
        self.batches.iter().find(|batch| batch.outcome.is_none())
    }

    /// Whether an earlier batch was sent and is neither answered nor given up.
    pub(super) fn is_first_unanswered(&self, index: usize) -> bool {
        !self.batches.range(..index).any(|batch| {
            batch.stamp.is_some()
                && matches!(batch.stage, Stage::InFlight { .. } | Stage::Waiting { .. })
        })
    }

    /// Decides a batch. One that is in flight stays there until it is answered.
    pub(super) fn decide(&mut self, index: usize, outcome: Outcome) {
        let batch = &mut self.batches[index];
        if batch.outcome.is_some() {
            return;
        }
        if let (Outcome::Failed(_), Some(stamp), true) = (&outcome, batch.stamp, batch.attempts > 0)
        {
            self.sequences.on_given_up(stamp);
        }
        batch.outcome = Some(outcome);
        if !matches!(batch.stage, Stage::InFlight { .. }) {
            batch.stage = Stage::Finished;
        }
    }

    /// Settles what became of batches that were given up, once nothing that was stamped is open.
    pub(super) fn resolve_sequences(&mut self) {
        let is_open = self.batches.iter().any(|batch| {
            batch.stamp.is_some()
                && matches!(batch.stage, Stage::InFlight { .. } | Stage::Waiting { .. })
        });
        if !is_open {
            self.sequences.resolve();
        }
    }

    /// Whether a higher epoch is needed and may be taken: nothing is in flight that could still arrive as an old sequence.
    pub(super) fn may_bump(&self) -> bool {
        self.sequences.is_bump_needed() && self.in_flight() == 0
    }

    /// Starts the sequences over under a higher epoch. A batch that may be stored under the old one is given up: sent under
    /// the new one it might be stored twice. (Kafka sends it again.)
    pub(super) fn start_over(&mut self) {
        for batch in &mut self.batches {
            if batch.stamp.is_none() || batch.outcome.is_some() {
                continue;
            }
            if batch.may_be_stored {
                crate::mark!("producer gives up a batch because its epoch was raised");
                batch.outcome = Some(Outcome::Failed(SendCause::EpochRaised));
                batch.stage = Stage::Finished;
            } else {
                batch.stamp = None;
            }
        }
        self.sequences.reset();
    }
}
