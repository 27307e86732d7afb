//! Where a group is to go on (pure): from what is asked for and what is known of its partitions.
//!
//! Kafka: `ConsumerGroupCommand.prepareOffsetsToReset`, `GroupOffsetsResetter`.

use std::collections::{BTreeMap, BTreeSet};

use crate::client::consumer::Offsets;
use crate::types::{Offset, Timestamp, TopicPartition};

/// Offsets by partition.
pub type Positions = BTreeMap<TopicPartition, Offset>;

/// How the new offsets of a group are found.
///
/// ```
/// use std::collections::{BTreeMap, BTreeSet};
/// use ottla::client::{KnownOffsets, GroupReset, Offsets};
/// use ottla::types::{Offset, PartitionIndex, TopicPartition};
///
/// let at = TopicPartition { topic: "orders".into(), partition: PartitionIndex::new(0) };
/// let known = KnownOffsets {
///     starts: [(at.clone(), Offset::new(10))].into(),
///     ends: [(at.clone(), Offset::new(100))].into(),
///     ..KnownOffsets::default()
/// };
/// let plan = GroupReset::To(200).plan(&BTreeSet::from([at.clone()]), &known).unwrap();
/// assert_eq!(plan.offsets[&at], Offset::new(100));
/// assert_eq!(plan.warnings, ["200 is behind the end of orders-0: it is set to 100"]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupReset {
    /// At the start of the log.
    Earliest,
    /// At its end.
    Latest,
    /// Where the group is; at the end where it has committed nothing.
    Current,
    /// Here, or at the nearest place that the log has.
    To(i64),
    /// So far from where the group is, or at the nearest place that the log has.
    ShiftBy(i64),
    /// At the first record that is not older.
    Since(Timestamp),
    /// Where it says for each partition, or at the nearest place that the log has.
    Places(BTreeMap<TopicPartition, i64>),
}

/// What is known. Each log has a start and an end; without `times` nobody was asked for a time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownOffsets {
    /// What the group has committed.
    pub committed: Offsets,
    /// Where the logs begin.
    pub starts: Positions,
    /// Where they end: exclusive.
    pub ends: Positions,
    /// The first records that are not older than was asked for; absent where there is none.
    pub times: Positions,
}

/// What will be committed, and what is to be said of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResetPlan {
    /// The new offset of each partition.
    pub offsets: Positions,
    /// What was asked for and could not be had so, a line each.
    pub warnings: Vec<String>,
}

/// A shift has nowhere to start: the group has committed nothing in this partition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it has committed nothing in {at}: there is nothing to shift")]
pub struct NothingToShift {
    /// The partition.
    pub at: TopicPartition,
}

impl GroupReset {
    /// Finds a new offset for each of the partitions.
    ///
    /// Errors: it starts where the group is, and the group has committed nothing there.
    ///
    /// Panics where `known` lacks the start or the end of a partition, or [`GroupReset::Places`] its place.
    pub fn plan(
        &self,
        partitions: &BTreeSet<TopicPartition>,
        known: &KnownOffsets,
    ) -> Result<ResetPlan, NothingToShift> {
        let mut plan = ResetPlan::default();
        for at in partitions {
            let log = Log { at, start: known.starts[at], end: known.ends[at] };
            let current = known.committed.get(at).map(|one| one.offset);
            let offset = match self {
                Self::Earliest => log.start,
                Self::Latest => log.end,
                Self::Current => current.unwrap_or(log.end),
                Self::To(offset) => log.nearest(i128::from(*offset), &mut plan.warnings),
                Self::ShiftBy(count) => {
                    let current = current.ok_or_else(|| NothingToShift { at: at.clone() })?;
                    let wanted = i128::from(current.value()) + i128::from(*count);
                    log.nearest(wanted, &mut plan.warnings)
                }
                Self::Since(_) => known.times.get(at).copied().unwrap_or_else(|| {
                    let warning = format!("{at} has no record that young: it is set to the end");
                    plan.warnings.push(warning);
                    log.end
                }),
                Self::Places(places) => log.nearest(i128::from(places[at]), &mut plan.warnings),
            };
            plan.offsets.insert(at.clone(), offset);
        }
        Ok(plan)
    }
}

/// What a partition holds.
struct Log<'a> {
    at: &'a TopicPartition,
    start: Offset,
    end: Offset,
}

impl Log<'_> {
    /// Kafka: `GroupOffsetsResetter.checkOffsetsRange`.
    fn nearest(&self, wanted: i128, warnings: &mut Vec<String>) -> Offset {
        let (place, offset) = if wanted > i128::from(self.end.value()) {
            ("behind the end", self.end)
        } else if wanted < i128::from(self.start.value()) {
            ("before the start", self.start)
        } else {
            let wanted = i64::try_from(wanted).expect("between two offsets");
            return Offset::new(wanted);
        };
        warnings.push(format!("{wanted} is {place} of {}: it is set to {offset}", self.at));
        offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::consumer::OffsetAndMetadata;
    use crate::types::PartitionIndex;

    fn at(index: i32) -> TopicPartition {
        TopicPartition { topic: "orders".into(), partition: PartitionIndex::new(index) }
    }

    fn positions(all: &[(i32, i64)]) -> Positions {
        all.iter().map(|(index, offset)| (at(*index), Offset::new(*offset))).collect()
    }

    /// Partition 0 holds 10..100 and the group is at 40; partition 1 holds 0..5, and the group has committed nothing.
    fn known() -> KnownOffsets {
        KnownOffsets {
            committed: [(at(0), OffsetAndMetadata::new(Offset::new(40)))].into(),
            starts: positions(&[(0, 10), (1, 0)]),
            ends: positions(&[(0, 100), (1, 5)]),
            times: positions(&[(0, 77)]),
        }
    }

    /// The plan for both partitions: their offsets, and whether something is said of it.
    #[track_caller]
    fn check(way: &GroupReset, expected: [i64; 2], warnings: &[&str]) {
        let both = BTreeSet::from([at(0), at(1)]);
        let plan = way.plan(&both, &known()).unwrap();
        assert_eq!(plan.offsets, positions(&[(0, expected[0]), (1, expected[1])]));
        assert_eq!(plan.warnings, warnings);
    }

    #[test]
    fn each_way_finds_its_offsets() {
        check(&GroupReset::Earliest, [10, 0], &[]);
        check(&GroupReset::Latest, [100, 5], &[]);
        check(&GroupReset::Current, [40, 5], &[]);
        let warning = "orders-1 has no record that young: it is set to the end";
        check(&GroupReset::Since(Timestamp::from_millis(9)), [77, 5], &[warning]);
        check(&GroupReset::Places([(at(0), 100), (at(1), 0)].into()), [100, 0], &[]);
    }

    #[test]
    fn what_no_log_holds_becomes_the_nearest_that_it_holds() {
        let end = "50 is behind the end of orders-1: it is set to 5";
        check(&GroupReset::To(50), [50, 5], &[end]);
        let start = "3 is before the start of orders-0: it is set to 10";
        check(&GroupReset::To(3), [10, 3], &[start]);
        let both = [
            "-1 is before the start of orders-0: it is set to 10",
            "9223372036854775807 is behind the end of orders-1: it is set to 5",
        ];
        check(&GroupReset::Places([(at(0), -1), (at(1), i64::MAX)].into()), [10, 5], &both);
    }

    #[test]
    fn a_shift_needs_somewhere_to_start_and_never_overflows() {
        let only = BTreeSet::from([at(0)]);
        let shifted = |count| GroupReset::ShiftBy(count).plan(&only, &known()).unwrap();
        assert_eq!(shifted(-7).offsets, positions(&[(0, 33)]));
        assert_eq!(shifted(i64::MAX).offsets, positions(&[(0, 100)]));
        assert_eq!(shifted(i64::MIN).offsets, positions(&[(0, 10)]));
        let both = BTreeSet::from([at(0), at(1)]);
        let refused = GroupReset::ShiftBy(1).plan(&both, &known()).unwrap_err();
        assert_eq!(refused, NothingToShift { at: at(1) });
    }
}
