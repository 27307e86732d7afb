//! Who holds which partitions of a group, by what its members were told: how many at once, and for how long nobody.

use std::collections::{BTreeMap, BTreeSet};

use ottla::types::TopicPartition;

use super::groups::{is_member, is_of};
use super::{Window, shares};
use crate::event::{Event, Who};
use crate::scenario::duration::Span;
use crate::scenario::plan::{OfGroup, Plan};

/// How many members of one group at most held one partition at once.
pub(super) fn most(plan: &Plan, events: &[Event], within: Window, of: &OfGroup) -> u64 {
    let mut most = 0;
    follow(plan, events, of, |at, _, _, owners| {
        if within.holds(at) {
            most = most.max(owners as u64);
        }
    });
    most
}

/// How long partitions were without a member, of those that had one before: added up.
pub(super) fn unowned(plan: &Plan, events: &[Event], within: Window, of: &OfGroup) -> Span {
    let end = within.to.unwrap_or(plan.run_for).min(plan.run_for);
    let mut since: BTreeMap<Owned<'_>, Span> = BTreeMap::new();
    let mut total = 0;
    let mut count = |from: Span, to: Span| {
        total += to.min(end).nanos().saturating_sub(from.max(within.from).nanos());
    };
    follow(plan, events, of, |at, owned, before, after| {
        if before > 0 && after == 0 {
            since.insert(owned, at);
        } else if after > 0
            && let Some(from) = since.remove(&owned)
        {
            count(from, at);
        }
    });
    since.values().for_each(|from| count(*from, end));
    Span::from_nanos(total)
}

/// A group, and a partition that it reads.
type Owned<'a> = (&'a str, &'a TopicPartition);

/// Tells, in order, when a partition got or lost a member, and how many held it before and after.
fn follow<'a>(
    plan: &'a Plan,
    events: &'a [Event],
    of: &OfGroup,
    mut changed: impl FnMut(Span, Owned<'a>, usize, usize),
) {
    let mut held: BTreeMap<Owned<'a>, BTreeSet<&Who>> = BTreeMap::new();
    for event in events.iter().filter(|event| is_member(plan, &event.who, of)) {
        let Who::Client { workload, .. } = &event.who else { continue };
        if shares::is_end(event) {
            for (owned, owners) in &mut held {
                if owners.remove(&event.who) {
                    changed(event.at, *owned, owners.len() + 1, owners.len());
                }
            }
            continue;
        }
        let Some(partition) = event.partition.as_ref().filter(|seen| is_of(of, seen)) else {
            continue;
        };
        let group = plan.workloads.get(&**workload).and_then(|workload| workload.group());
        let owned = (group.unwrap_or_default(), partition);
        let owners = held.entry(owned).or_default();
        let before = owners.len();
        match event.kind {
            "member.assigned" => _ = owners.insert(&event.who),
            "member.revoked" | "member.lost" => _ = owners.remove(&event.who),
            _ => continue,
        }
        changed(event.at, owned, before, owners.len());
    }
}

#[cfg(test)]
mod tests {
    use super::super::shares::tests::{event, plan};
    use super::*;

    #[test]
    fn a_partition_that_nobody_has_stands_still() {
        let [first, second] = [("billing", 0), ("billing", 1)];
        let events = [
            event(1, first, "member.assigned", Some(0)),
            event(1, first, "member.assigned", Some(1)),
            event(2, second, "member.assigned", Some(0)),
            event(3, ("audit", 0), "member.assigned", Some(0)),
            event(4, first, "member.revoked", Some(0)),
            event(5, first, "member.revoked", Some(1)),
            event(6, second, "member.revoked", Some(1)), // which it does not have
            event(7, second, "member.assigned", Some(1)),
            event(8, ("audit", 0), "member.left", None),
            event(9, second, "client.stopped", None),
        ];
        let plan = plan();
        let of = |group: &str| OfGroup { group: Some(group.into()), partition: None };
        let all = Window { from: Span::ZERO, to: None };
        assert_eq!(
            most(&plan, &events, all, &of("billing")),
            2,
            "both have partition 0 for a while"
        );
        assert_eq!(most(&plan, &events, all, &of("audit")), 1);
        let first_half = Window { from: Span::ZERO, to: Some(Span::from_secs(6)) };
        let unowned = |within, group| unowned(&plan, &events, within, &of(group));
        assert_eq!(unowned(first_half, "billing"), Span::from_secs(1), "partition 1 from 5 s on");
        let until_9 = Window { from: Span::ZERO, to: Some(Span::from_secs(9)) };
        assert_eq!(unowned(until_9, "billing"), Span::from_secs(2));
        let later = Window { from: Span::from_secs(6), to: Some(Span::from_secs(9)) };
        assert_eq!(unowned(later, "billing"), Span::from_secs(1));
        assert_eq!(unowned(all, "audit"), Span::from_secs(12), "until the run ends, at 20 s");
    }
}
