//! Producers that wait for their batch to be written, or committed.
//!
//! Kafka: `DelayedProduce`, `Partition.checkEnoughReplicasReachOffset`.

use super::event::{AppendAnswer, Effect, WaiterId};
use super::partition::{Partition, State};
use crate::types::{Acks, ErrorCode, Observation, Offset, TopicIdPartition};

/// A producer that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    waiter: WaiterId,
    acks: Acks,
    pub(super) answer: AppendAnswer,
}

impl Partition {
    /// Answers at once, or when the end is reached that `acks` asks for.
    pub(super) fn wait(
        &mut self,
        waiter: WaiterId,
        acks: Acks,
        answer: AppendAnswer,
        out: &mut Vec<Effect>,
    ) {
        if acks == Acks::None {
            return out.push(Effect::Answer { waiter, result: Ok(answer) });
        }
        let waiting = Waiting { waiter, acks, answer };
        if answer.end_offset <= self.end_for(acks) {
            return self.acknowledge(waiting, out);
        }
        let end = answer.end_offset;
        let at = self.waiting.partition_point(|other| other.answer.end_offset <= end);
        self.waiting.insert(at, waiting);
    }

    /// Up to which end an append with `acks` is answered.
    fn end_for(&self, acks: Acks) -> Offset {
        match acks {
            Acks::None | Acks::Leader => self.replica_end_offset(),
            Acks::All => self.high_watermark,
        }
    }

    /// Answers those whose end is reached.
    pub(super) fn answer_reached(&mut self, out: &mut Vec<Effect>) {
        let leader_end = self.replica_end_offset();
        let mut index = 0;
        while let Some(waiting) = self.waiting.get(index).copied() {
            if waiting.answer.end_offset > leader_end {
                return;
            }
            if waiting.answer.end_offset <= self.end_for(waiting.acks) {
                self.waiting.remove(index);
                self.acknowledge(waiting, out);
            } else {
                index += 1;
            }
        }
    }

    /// With `acks=all`, a batch below the high watermark counts as stored only while enough replicas are in sync. Since the
    /// watermark stays where it is while they are not, a producer hardly ever hears of it here: it waits until its time is over.
    fn acknowledge(&self, waiting: Waiting, out: &mut Vec<Effect>) {
        let Waiting { waiter, acks, answer } = waiting;
        if acks == Acks::All && !self.is_maximal_isr_enough() {
            return refuse(self.id, waiter, ErrorCode::NotEnoughReplicasAfterAppend, out);
        }
        out.push(Effect::Observe(Observation::ProduceAcked {
            partition: self.id,
            leader_epoch: answer.leader_epoch,
            base_offset: answer.base_offset,
            end_offset: answer.end_offset,
            acks,
        }));
        out.push(Effect::Answer { waiter, result: Ok(answer) });
    }

    fn is_maximal_isr_enough(&self) -> bool {
        match &self.state {
            State::Leader(leading) => leading.isr.maximal().count() >= self.min_isr(leading),
            State::Follower(_) | State::Unassigned | State::Offline => {
                unreachable!("only a leader answers producers")
            }
        }
    }

    /// Fails the producers whose batch ends behind `end_offset`.
    pub(super) fn fail_waiting(
        &mut self,
        error: ErrorCode,
        end_offset: Offset,
        out: &mut Vec<Effect>,
    ) {
        let keep = self.waiting.partition_point(|w| w.answer.end_offset <= end_offset);
        for waiting in self.waiting.drain(keep..) {
            refuse(self.id, waiting.waiter, error, out);
        }
    }

    pub(super) fn on_forget(&mut self, waiter: WaiterId) {
        self.watching.remove(&waiter);
        self.watching_log_end.remove(&waiter);
        self.waiting.retain(|waiting| waiting.waiter != waiter);
    }
}

/// Tells a producer that its batch is not stored, or not known to be.
pub(super) fn refuse(
    partition: TopicIdPartition,
    waiter: WaiterId,
    error: ErrorCode,
    out: &mut Vec<Effect>,
) {
    out.push(Effect::Observe(Observation::ProduceFailed { partition, error }));
    out.push(Effect::Answer { waiter, result: Err(error) });
}
