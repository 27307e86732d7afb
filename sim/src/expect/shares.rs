//! Which member of a group has which partitions at a time, as members saw it themselves.

use std::collections::{BTreeMap, BTreeSet};

use ottla::types::TopicPartition;

use super::is_action;
use crate::event::{Event, Who};
use crate::scenario::duration::Span;
use crate::scenario::plan::Plan;

/// The partitions of each member; one that has none is there with none.
#[derive(Debug, Default)]
pub(super) struct Shares<'a>(BTreeMap<&'a Who, BTreeSet<&'a TopicPartition>>);

/// The shares of a group's members once all is done that happened up to `until`.
pub(super) fn at<'a>(plan: &Plan, events: &'a [Event], group: &str, until: Span) -> Shares<'a> {
    let mut shares = Shares::default();
    for event in events.iter().take_while(|event| event.at <= until) {
        let Who::Client { workload, .. } = &event.who else { continue };
        let of = plan.workloads.get(&**workload).and_then(|workload| workload.group());
        if of != Some(group) {
            continue;
        }
        if is_end(event) {
            shares.0.remove(&event.who);
            continue;
        }
        let partition = event.partition.as_ref();
        match (event.kind, partition) {
            ("member.joined", _) => _ = shares.0.entry(&event.who).or_default(),
            ("member.assigned", Some(partition)) => {
                shares.0.entry(&event.who).or_default().insert(partition);
            }
            ("member.revoked" | "member.lost", Some(partition)) => {
                shares.0.entry(&event.who).or_default().remove(partition);
            }
            _ => {}
        }
    }
    shares
}

/// Whether somebody is a member no longer from then on.
pub(super) fn is_end(event: &Event) -> bool {
    ["client.started", "client.stopped", "member.left"].contains(&event.kind)
        || (event.kind == "fault.started" && is_action(event, "kill-client"))
}

impl Shares<'_> {
    /// The largest share less the smallest; `None` without members.
    pub(super) fn imbalance(&self) -> Option<u64> {
        let counts = || self.0.values().map(|share| share.len() as u64);
        Some(counts().max()? - counts().min()?)
    }

    /// How many partitions are another member's than they were.
    pub(super) fn moved_since(&self, before: &Self) -> u64 {
        let owners = |shares: &Self| -> BTreeMap<TopicPartition, Who> {
            let all = shares.0.iter();
            let all = all.flat_map(|(who, share)| share.iter().map(move |at| (at, who)));
            all.map(|(at, who)| ((*at).clone(), (*who).clone())).collect()
        };
        let (before, now) = (owners(before), owners(self));
        let moved = now.iter().filter(|(at, who)| before.get(at).is_some_and(|was| was != *who));
        moved.count() as u64
    }
}

#[cfg(test)]
pub(super) mod tests {
    use ottla::types::PartitionIndex;
    use serde_json::json;

    use super::*;

    pub(in crate::expect) fn plan() -> Plan {
        let workload = json!({ "kind": "consumer", "topic": "orders", "group": "billing" });
        let other = json!({ "kind": "consumer", "topic": "orders", "group": "audit" });
        serde_json::from_value(json!({
            "claim": "x", "run-for": "20s", "workloads": { "billing": workload, "audit": other }
        }))
        .unwrap()
    }

    pub(in crate::expect) fn event(
        at: u64,
        who: (&str, u32),
        kind: &'static str,
        partition: Option<i32>,
    ) -> Event {
        let who = Who::Client { workload: who.0.into(), index: who.1 };
        let event = Event::new(Span::from_secs(at), who, kind);
        let of = |index| TopicPartition {
            topic: "orders".into(),
            partition: PartitionIndex::new(index),
        };
        match partition {
            Some(index) => event.partition(of(index)),
            None => event,
        }
    }

    #[test]
    fn shares_are_what_members_were_given_and_keep() {
        let [first, second] = [("billing", 0), ("billing", 1)];
        let events = [
            event(1, first, "member.joined", None),
            event(1, first, "member.assigned", Some(0)),
            event(1, first, "member.assigned", Some(1)),
            event(1, first, "member.assigned", Some(2)),
            event(1, ("audit", 0), "member.assigned", Some(3)),
            event(2, second, "member.joined", None),
            event(3, first, "member.revoked", Some(2)),
            event(4, second, "member.assigned", Some(2)),
            event(5, second, "member.lost", Some(2)),
            event(6, first, "member.assigned", Some(2)),
            event(7, second, "member.left", None),
        ];
        let plan = plan();
        let shares = |second| at(&plan, &events, "billing", Span::from_secs(second));
        let imbalance = |second| shares(second).imbalance();
        assert_eq!(imbalance(0), None, "nobody is there");
        assert_eq!(imbalance(1), Some(0), "one member");
        assert_eq!(imbalance(2), Some(3), "the second one has nothing");
        assert_eq!([imbalance(3), imbalance(4), imbalance(5)], [Some(2), Some(1), Some(2)]);
        assert_eq!(imbalance(7), Some(0), "the second one left");
        assert_eq!(shares(4).moved_since(&shares(1)), 1);
        assert_eq!(shares(6).moved_since(&shares(1)), 0, "it came back");
        assert_eq!(shares(5).moved_since(&shares(1)), 0, "nobody has it");
        assert_eq!(shares(6).moved_since(&shares(4)), 1);
    }
}
