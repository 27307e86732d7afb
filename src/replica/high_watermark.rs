//! Up to where records are committed.
//!
//! Kafka: `Partition.maybeIncrementLeaderHW`, KIP-497, KIP-966; `ReplicaFetcherThread.processPartitionData`.

use super::event::Effect;
use super::leader::Leading;
use super::partition::{Partition, State};
use crate::types::{BrokerSet, Now, Observation, Offset};

/// The offset up to which records are committed: the smallest log end offset among the leader, the maximal ISR, and the
/// followers that are caught up and may join it. Exclusive. `None` where one of them has not said yet how far it is.
///
/// *Maximal* is the committed ISR plus proposed members: a wider set only delays the high watermark, so it is safe
/// whichever proposal the controller accepts. Waiting for a caught-up follower keeps a moving high watermark from
/// locking it out. May be lower than the current value: the caller keeps the larger.
fn high_watermark(
    leader_end: Offset,
    followers: impl Iterator<Item = Option<Offset>>,
) -> Option<Offset> {
    let mut least = leader_end;
    for log_end in followers {
        least = least.min(log_end?);
    }
    Some(least)
}

impl Partition {
    /// Moves the high watermark to where it may be, and does what waited for it.
    pub(super) fn advance(&mut self, now: Now, out: &mut Vec<Effect>) {
        let from = self.high_watermark;
        let to = self.high_watermark_due(now).map_or(from, |due| due.max(from));
        if to > from {
            self.high_watermark = to;
            out.push(Effect::Observe(self.advanced(from, to)));
        }
        self.answer_reached(out);
        if to > from {
            let bytes = self.readable.take(to);
            self.wake_watching(bytes, out);
        }
        self.follow_log_start(out);
    }

    /// Where the high watermark may be by what is known now; `None` where it must stay.
    fn high_watermark_due(&self, now: Now) -> Option<Offset> {
        match &self.state {
            State::Leader(leading) => self.leader_high_watermark(leading, now),
            State::Follower(following) => following.high_watermark(self.replica_end_offset()),
            State::Unassigned | State::Offline => None,
        }
    }

    /// Below the minimum of in-sync replicas nothing is committed (strict min ISR, KIP-966).
    fn leader_high_watermark(&self, leading: &Leading, now: Now) -> Option<Offset> {
        if leading.isr.committed().len() < self.min_isr(leading) {
            return None;
        }
        let leader_end = self.replica_end_offset();
        let lag_time_max = self.config.lag_time_max;
        let counts = leading.followers.iter().filter(|(id, progress)| {
            leading.isr.is_in_maximal(**id)
                || (leading.may_join(**id)
                    && progress.is_caught_up(now.monotonic, leader_end, lag_time_max))
        });
        high_watermark(leader_end, counts.map(|(_, progress)| progress.log_end_offset))
    }

    fn advanced(&self, from: Offset, to: Offset) -> Observation {
        let (is_leader, isr, maximal_isr) = match &self.state {
            State::Leader(leading) => (
                true,
                BrokerSet::of(leading.isr.committed()),
                leading.isr.maximal().collect::<BrokerSet>(),
            ),
            State::Follower(_) | State::Unassigned | State::Offline => {
                (false, BrokerSet::EMPTY, BrokerSet::EMPTY)
            }
        };
        let (partition, leader_epoch) = (self.id, self.leader_epoch);
        Observation::HighWatermarkAdvanced {
            partition,
            from,
            to,
            is_leader,
            leader_epoch,
            isr,
            maximal_isr,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(leader_end: i64, followers: &[Option<i64>], expected: Option<i64>) {
        let followers = followers.iter().map(|end| end.map(Offset::new));
        let found = high_watermark(Offset::new(leader_end), followers);
        assert_eq!(found.map(Offset::value), expected);
    }

    #[test]
    fn the_least_end_counts_and_nothing_where_one_is_unknown() {
        check(10, &[], Some(10));
        check(10, &[Some(7), Some(9)], Some(7));
        check(5, &[Some(7)], Some(5));
        check(10, &[Some(7), None], None);
    }
}
