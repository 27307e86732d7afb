//! Where a group is to go on (pure): from what is asked for and what is known of its partitions.
//!
//! Kafka: `ConsumerGroupCommand.prepareOffsetsToReset`, `GroupOffsetsResetter`.

use std::collections::{BTreeMap, BTreeSet};

use ottla::client::Offsets;
use ottla::types::{Offset, Timestamp, TopicPartition};

use crate::real_main::failure::{Exit, Failure};

/// Offsets by partition.
pub(super) type Positions = BTreeMap<TopicPartition, Offset>;

/// How the new offsets are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// At the start of the log.
    Earliest,
    /// At its end.
    Latest,
    /// Where the group is; at the end where it has committed nothing.
    Current,
    /// Here, or at the nearest place that the log has.
    Offset(i64),
    /// So far from where the group is, or at the nearest place that the log has.
    ShiftBy(i64),
    /// At the first record that is not older.
    Since(Timestamp),
    /// Where it says for each partition, or at the nearest place that the log has.
    Places(BTreeMap<TopicPartition, i64>),
}

/// What is known. Each log has a start and an end; without `times` nobody was asked for a time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) committed: Offsets,
    pub(super) starts: Positions,
    pub(super) ends: Positions,
    /// The first records that are not older than was asked for; absent where there is none.
    pub(super) times: Positions,
}

/// What will be committed, and what is to be said of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) offsets: Positions,
    pub(super) warnings: Vec<String>,
}

/// Finds a new offset for each of the partitions.
///
/// Errors: the way starts where the group is, and it has committed nothing there.
pub(super) fn plan(
    group: &str,
    way: &Way,
    partitions: &BTreeSet<TopicPartition>,
    known: &Known,
) -> Result<Plan, Failure> {
    let mut plan = Plan::default();
    for at in partitions {
        let log = Log { at, start: known.starts[at], end: known.ends[at] };
        let current = known.committed.get(at).map(|one| one.offset);
        let offset = match way {
            Way::Earliest => log.start,
            Way::Latest => log.end,
            Way::Current => current.unwrap_or(log.end),
            Way::Offset(offset) => log.nearest(i128::from(*offset), &mut plan.warnings),
            Way::ShiftBy(count) => {
                let current = current.ok_or_else(|| nothing_to_shift(group, at))?;
                let wanted = i128::from(current.value()) + i128::from(*count);
                log.nearest(wanted, &mut plan.warnings)
            }
            Way::Since(_) => known.times.get(at).copied().unwrap_or_else(|| {
                plan.warnings.push(format!("{at} has no record that young: it is set to the end"));
                log.end
            }),
            Way::Places(places) => log.nearest(i128::from(places[at]), &mut plan.warnings),
        };
        plan.offsets.insert(at.clone(), offset);
    }
    Ok(plan)
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

fn nothing_to_shift(group: &str, at: &TopicPartition) -> Failure {
    Failure::new(Exit::Refused, format!("cannot shift group {group} in {at}"))
        .why("it has committed nothing there")
        .next("--to-earliest, --to-latest or --to-offset sets a first offset; --topic names the partitions")
}

#[cfg(test)]
mod tests {
    use ottla::client::OffsetAndMetadata;
    use ottla::types::PartitionIndex;

    use super::*;

    fn at(index: i32) -> TopicPartition {
        TopicPartition { topic: "orders".into(), partition: PartitionIndex::new(index) }
    }

    fn positions(all: &[(i32, i64)]) -> Positions {
        all.iter().map(|(index, offset)| (at(*index), Offset::new(*offset))).collect()
    }

    /// Partition 0 holds 10..100 and the group is at 40; partition 1 holds 0..5, and the group has committed nothing.
    fn known() -> Known {
        Known {
            committed: [(at(0), OffsetAndMetadata::new(Offset::new(40)))].into(),
            starts: positions(&[(0, 10), (1, 0)]),
            ends: positions(&[(0, 100), (1, 5)]),
            times: positions(&[(0, 77)]),
        }
    }

    /// The plan for both partitions: their offsets, and whether something is said of it.
    #[track_caller]
    fn check(way: Way, expected: [i64; 2], warnings: &[&str]) {
        let both = BTreeSet::from([at(0), at(1)]);
        let plan = plan("g", &way, &both, &known()).unwrap();
        assert_eq!(plan.offsets, positions(&[(0, expected[0]), (1, expected[1])]));
        assert_eq!(plan.warnings, warnings);
    }

    #[test]
    fn each_way_finds_its_offsets() {
        check(Way::Earliest, [10, 0], &[]);
        check(Way::Latest, [100, 5], &[]);
        check(Way::Current, [40, 5], &[]);
        let warning = "orders-1 has no record that young: it is set to the end";
        check(Way::Since(Timestamp::from_millis(9)), [77, 5], &[warning]);
        check(Way::Places([(at(0), 100), (at(1), 0)].into()), [100, 0], &[]);
    }

    #[test]
    fn what_no_log_holds_becomes_the_nearest_that_it_holds() {
        let end = "50 is behind the end of orders-1: it is set to 5";
        check(Way::Offset(50), [50, 5], &[end]);
        let start = "3 is before the start of orders-0: it is set to 10";
        check(Way::Offset(3), [10, 3], &[start]);
        let both = [
            "-1 is before the start of orders-0: it is set to 10",
            "9223372036854775807 is behind the end of orders-1: it is set to 5",
        ];
        check(Way::Places([(at(0), -1), (at(1), i64::MAX)].into()), [10, 5], &both);
    }

    #[test]
    fn a_shift_needs_somewhere_to_start_and_never_overflows() {
        let only = BTreeSet::from([at(0)]);
        let shifted = |count| plan("g", &Way::ShiftBy(count), &only, &known()).unwrap();
        assert_eq!(shifted(-7).offsets, positions(&[(0, 33)]));
        assert_eq!(shifted(i64::MAX).offsets, positions(&[(0, 100)]));
        assert_eq!(shifted(i64::MIN).offsets, positions(&[(0, 10)]));
        let both = BTreeSet::from([at(0), at(1)]);
        let refused = plan("g", &Way::ShiftBy(1), &both, &known()).unwrap_err().to_string();
        assert!(refused.contains("cannot shift group g in orders-1"), "{refused}");
    }
}
