//! Expectations about consumer groups, measured on what their members know.

use ottla::types::TopicPartition;

use super::{Window, owners, shares};
use crate::event::{Event, Who, is_partition};
use crate::scenario::condition::Measured;
use crate::scenario::duration::Span;
use crate::scenario::plan::{Expectation, ExpectationKind, OfGroup, Plan};
use crate::stats::{GroupFate, GroupStats, Stats};

/// The value of an expectation about groups; `None` where there is nothing to measure.
#[expect(clippy::wildcard_enum_match_arm, reason = "all others are measured elsewhere")]
pub(super) fn measure(
    plan: &Plan,
    expectation: &Expectation,
    within: Window,
    events: &[Event],
    stats: &Stats,
) -> Option<Measured> {
    let count = match &expectation.kind {
        ExpectationKind::UnprocessedAcked { of } => {
            let is_left = |fate: &&GroupFate| {
                fate.processed_at.is_empty() && fate.acked_at.is_some_and(|at| within.holds(at))
            };
            fates(stats, of).filter(is_left).count() as u64
        }
        ExpectationKind::ProcessedTwice { of } => {
            let again = |fate: &&GroupFate| {
                fate.processed_at.get(1).is_some_and(|again| within.holds(*again))
            };
            fates(stats, of).filter(again).count() as u64
        }
        ExpectationKind::ProcessedOutOfOrder { of } => {
            let is_early = |fate: &&GroupFate| {
                fate.is_early && fate.processed_at.first().is_some_and(|at| within.holds(*at))
            };
            fates(stats, of).filter(is_early).count() as u64
        }
        ExpectationKind::CommittedUnprocessed { of } => {
            moments(stats, within, of, |group| &group.committed_unprocessed)
        }
        ExpectationKind::CommitMovesBack { of } => {
            moments(stats, within, of, |group| &group.moved_back)
        }
        ExpectationKind::Lag { of, at: Some(at) } => {
            let is_behind = |fate: &&GroupFate| {
                fate.acked_at.is_some_and(|acked| acked <= *at)
                    && fate.processed_at.first().is_none_or(|done| done > at)
            };
            fates(stats, of).filter(is_behind).count() as u64
        }
        ExpectationKind::Lag { of, at: None } => {
            let mut lag = 0;
            for group in groups(stats, of) {
                let behind = group.lag.as_ref()?.iter();
                lag += behind.filter(|(seen, _)| is_of(of, seen)).map(|(_, lag)| lag).sum::<u64>();
            }
            lag
        }
        ExpectationKind::IdleFor { of } => {
            return longest_idle(plan, stats, within, of).map(Measured::Time);
        }
        ExpectationKind::Rebalances { group } => {
            let of = OfGroup { group: group.clone(), partition: None };
            let begun = events.iter().filter(|event| event.kind == "group.rebalanced");
            begun.filter(|event| within.holds(event.at) && is_member(plan, &event.who, &of)).count()
                as u64
        }
        ExpectationKind::OwnersPerPartition { of } => owners::most(plan, events, within, of),
        ExpectationKind::UnownedFor { of } => {
            return Some(Measured::Time(owners::unowned(plan, events, within, of)));
        }
        ExpectationKind::Imbalance { group, at } => {
            let at = at.or(within.to).unwrap_or(plan.run_for);
            shares::at(plan, events, group, at).imbalance()?
        }
        ExpectationKind::PartitionsMoved { group } => {
            let to = within.to.unwrap_or(plan.run_for);
            let before = shares::at(plan, events, group, within.from);
            shares::at(plan, events, group, to).moved_since(&before)
        }
        ExpectationKind::InHand { group } => {
            let is_asked = |workload: &str| {
                let of = plan.workloads.get(workload).and_then(|workload| workload.group());
                of.is_some_and(|of| group.as_ref().is_none_or(|asked| asked == of))
            };
            let of = stats.in_hand.iter().filter(|(workload, _)| is_asked(workload));
            of.map(|(_, most)| *most).max()?
        }
        _ => return None,
    };
    Some(Measured::Count(count))
}

fn groups<'a>(stats: &'a Stats, of: &'a OfGroup) -> impl Iterator<Item = &'a GroupStats> {
    let asked = |name: &str| of.group.as_ref().is_none_or(|asked| asked == name);
    stats.groups.iter().filter(move |(name, _)| asked(name)).map(|(_, group)| group)
}

pub(super) fn is_of(of: &OfGroup, partition: &TopicPartition) -> bool {
    of.partition.as_ref().is_none_or(|asked| is_partition(partition, asked))
}

fn fates<'a>(stats: &'a Stats, of: &'a OfGroup) -> impl Iterator<Item = &'a GroupFate> {
    let all = groups(stats, of).flat_map(|group| &group.fates);
    all.filter(|fate| is_of(of, &fate.partition))
}

fn moments(
    stats: &Stats,
    within: Window,
    of: &OfGroup,
    which: fn(&GroupStats) -> &Vec<(Span, TopicPartition)>,
) -> u64 {
    let all = groups(stats, of).flat_map(which);
    let matching = all.filter(|(at, partition)| {
        // What is only seen when all is over is of the run all the same.
        (within.holds(*at) || within.to.is_some_and(|to| *at > to && within.from == Span::ZERO))
            && is_of(of, partition)
    });
    matching.count() as u64
}

/// The longest time without a record done, from the first one on, until the run's end.
fn longest_idle(plan: &Plan, stats: &Stats, within: Window, of: &OfGroup) -> Option<Span> {
    let done = || fates(stats, of).flat_map(|fate| fate.processed_at.iter().copied());
    let from = done().min()?.max(within.from);
    let to = within.to.unwrap_or(plan.run_for).min(plan.run_for);
    let mut moments: Vec<Span> = done().filter(|at| *at >= from && *at <= to).collect();
    moments.extend([from, to.max(from)]);
    moments.sort_unstable();
    let gaps = moments.windows(2).map(|pair| pair[1].nanos() - pair[0].nanos());
    gaps.max().map(Span::from_nanos)
}

/// Whether somebody is a member of the group that is asked for.
pub(super) fn is_member(plan: &Plan, who: &Who, of: &OfGroup) -> bool {
    let Who::Client { workload, .. } = who else { return false };
    let group = plan.workloads.get(&**workload).and_then(|workload| workload.group());
    group.is_some_and(|group| of.group.as_ref().is_none_or(|asked| asked == group))
}
