//! Was it possible? What a scenario has taken from the cluster for good no healing brings back: what waits for that alone is not
//! broken. Only what is certain is excused: whatever else waits, or may, stays a violation.

use std::collections::BTreeMap;

use super::node::Member;
use super::stage::Stage;
use crate::scenario::duration::Span;
use crate::scenario::plan::WorkloadKind;
use crate::scenario::target::PartitionName;
use crate::verdict::show_time;

/// How many partitions are named.
const PARTITIONS_MAX: usize = 3;

/// The nodes that the scenario has removed, which do not run, and since when.
type Gone = BTreeMap<Member, Span>;

/// A partition that has no leader, and every broker that holds it or was to hold it.
type Leaderless = (PartitionName, Vec<Member>);

/// Why the cluster could not converge; `None` where it could have, or nobody can be sure. `is_else_whole` says whether nothing but
/// some partitions keeps it from being whole.
fn why(
    voters: &[Member],
    gone: &Gone,
    leaderless: &[Leaderless],
    is_else_whole: impl FnOnce(&[PartitionName]) -> bool,
) -> Option<String> {
    if gone.is_empty() {
        return None;
    }
    let left = voters.iter().filter(|voter| !gone.contains_key(voter)).count();
    if left * 2 <= voters.len() {
        let words = removed(gone, voters);
        return Some(format!(
            "could not converge: only {left} of {} voters left, which is no majority; {words}",
            voters.len()
        ));
    }
    let is_gone = |(_, holders): &&Leaderless| {
        !holders.is_empty() && holders.iter().all(|holder| gone.contains_key(holder))
    };
    let stuck: Vec<&Leaderless> = leaderless.iter().filter(is_gone).collect();
    let names: Vec<PartitionName> = stuck.iter().map(|(name, _)| name.clone()).collect();
    if names.is_empty() || !is_else_whole(&names) {
        return None;
    }
    let of_one = |(name, holders): &&Leaderless| on_removed(name, holders, gone);
    let mut words: Vec<String> = stuck.iter().take(PARTITIONS_MAX).map(of_one).collect();
    if names.len() > PARTITIONS_MAX {
        words.push(format!("so it is with {} partitions more", names.len() - PARTITIONS_MAX));
    }
    Some(format!("could not converge: {}", words.join("; ")))
}

fn on_removed(name: &PartitionName, holders: &[Member], gone: &Gone) -> String {
    match holders {
        [one] => {
            let at = show_time(gone.get(one).copied().unwrap_or_default());
            format!(
                "every replica of {name} is on {}, which the scenario removed at {at}",
                one.who()
            )
        }
        several => {
            format!("every replica of {name} is on removed brokers; {}", removed(gone, several))
        }
    }
}

/// Which of `members` are gone, and since when.
fn removed(gone: &Gone, members: &[Member]) -> String {
    let of = members.iter().filter_map(|member| Some((member, gone.get(member)?)));
    let words = of.map(|(member, at)| format!("{} at {}", member.who(), show_time(*at)));
    format!("the scenario removed {}", words.collect::<Vec<_>>().join(", "))
}

impl Stage {
    /// Why the cluster could not converge, asked once it has not; `None` where it could have, or nobody can be sure.
    pub(super) fn why_impossible(&self) -> Option<String> {
        let names = self.partition_names().into_iter();
        let leaderless: Vec<Leaderless> = names
            .filter_map(|name| Some((name.clone(), self.holders_without_leader(&name)?)))
            .collect();
        let voters = Member::voters(&self.plan);
        why(&voters, &self.gone(), &leaderless, |stuck| self.is_whole_but_for(stuck))
    }

    /// Every broker that holds a partition, or was to hold it; `None` where it has a leader, or nobody knows it.
    fn holders_without_leader(&self, name: &PartitionName) -> Option<Vec<Member>> {
        let id = self.partition_id(name)?;
        let views = self.ears.views();
        let view = views.partition(id).filter(|view| view.leader.is_none())?;
        let known = view.replicas.iter().map(|id| Member::of_id(id.value().unsigned_abs()));
        let mut holders: Vec<Member> = known.collect();
        drop(views);
        holders.extend(self.assignment(name).into_iter().map(Member::Broker));
        holders.sort();
        holders.dedup();
        Some(holders)
    }

    /// Whether nothing keeps the cluster from being whole but that some partitions have no leader: no client waits for anything else,
    /// and all the rest is as it must be.
    fn is_whole_but_for(&self, stuck: &[PartitionName]) -> bool {
        let is_of_stuck = |what: &str| {
            let mut names = stuck.iter().map(ToString::to_string);
            names.any(|name| what.strip_prefix(&name).is_some_and(|rest| rest.starts_with(": ")))
        };
        self.clients_wait_for(stuck)
            && self.is_whole_of(None, |name| !stuck.contains(name)).is_ok()
            && self.missing().iter().all(|missing| is_of_stuck(&missing.what))
    }

    /// Whether the clients that were asked to close and have not all wait for these partitions. Which partition a record goes to that
    /// is not answered yet nobody tells: it is sure where all partitions of its topic are among these.
    fn clients_wait_for(&self, stuck: &[PartitionName]) -> bool {
        let running = self.running_workloads();
        let sends = |name: &&String| {
            let workload = self.plan.workloads.get(*name);
            workload.is_some_and(|of| matches!(of.kind, WorkloadKind::Producer { .. }))
        };
        let is_stuck = |name: &String| {
            let topic = self.plan.workloads.get(name).map(|of| of.topic.clone());
            topic.is_some_and(|topic| {
                let mut all = 0..self.partitions_of(&topic);
                all.all(|index| stuck.contains(&PartitionName { topic: topic.clone(), index }))
            })
        };
        // Who reads is asked once nobody sends any more.
        let senders: Vec<&String> = running.iter().filter(sends).collect();
        if senders.is_empty() { running.is_empty() } else { senders.into_iter().all(is_stuck) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(at: u64) -> Span {
        Span::from_secs(at)
    }

    fn partition(index: u32, holders: &[u32]) -> Leaderless {
        let name = PartitionName { topic: "t".into(), index };
        (name, holders.iter().copied().map(Member::Broker).collect())
    }

    fn gone(brokers: &[u32]) -> Gone {
        brokers.iter().map(|id| (Member::Broker(*id), seconds(8))).collect()
    }

    /// Asks with one controller apart, where all the rest is whole.
    fn asked(brokers: &[u32], leaderless: &[Leaderless]) -> Option<String> {
        why(&[Member::Controller(1)], &gone(brokers), leaderless, |_| true)
    }

    #[test]
    fn a_partition_whose_brokers_were_all_removed_cannot_come_back() {
        assert_eq!(
            asked(&[2], &[partition(0, &[2])]).unwrap(),
            "could not converge: every replica of t-0 is on broker 2, which the scenario removed at 8.000s"
        );
        assert_eq!(
            asked(&[2, 3], &[partition(0, &[2, 3]), partition(1, &[3])]).unwrap(),
            "could not converge: every replica of t-0 is on removed brokers; the scenario removed broker 2 at 8.000s, broker 3 at 8.000s; \
             every replica of t-1 is on broker 3, which the scenario removed at 8.000s"
        );
        let many: Vec<Leaderless> = (0..5).map(|index| partition(index, &[2])).collect();
        assert!(asked(&[2], &many).unwrap().ends_with("; so it is with 2 partitions more"));
    }

    #[test]
    fn a_partition_that_somebody_left_may_lead_could_have_come_back() {
        assert_eq!(asked(&[], &[partition(0, &[2])]), None, "it only died");
        assert_eq!(asked(&[2], &[partition(0, &[1, 2])]), None, "broker 1 is left");
        assert_eq!(asked(&[2], &[partition(0, &[3])]), None, "another one was removed");
        assert_eq!(asked(&[2], &[partition(0, &[])]), None, "nobody knows where it is");
        assert_eq!(asked(&[2], &[]), None, "each partition has a leader");
    }

    #[test]
    fn whoever_waits_for_anything_else_is_not_excused() {
        let leaderless = [partition(0, &[2]), partition(1, &[1])];
        let voters = [Member::Controller(1)];
        let mut asked_of = Vec::new();
        let excused = why(&voters, &gone(&[2]), &leaderless, |stuck| {
            asked_of = stuck.to_vec();
            false // partition 1 waits too, and could be led
        });
        assert_eq!(excused, None);
        assert_eq!(asked_of, [partition(0, &[]).0], "only of this it is certain");
    }

    #[test]
    fn without_a_majority_of_voters_nothing_can_be_decided() {
        let voters = [1, 2, 3].map(Member::Broker);
        let why = |brokers: &[u32]| why(&voters, &gone(brokers), &[], |_| false);
        assert_eq!(
            why(&[1, 3]).unwrap(),
            "could not converge: only 1 of 3 voters left, which is no majority; the scenario removed broker 1 at 8.000s, broker 3 at 8.000s"
        );
        assert_eq!(why(&[3]), None, "two of three are a majority");
        assert_eq!(why(&[4, 5]), None, "they had no vote");
        assert_eq!(why(&[]), None);
    }
}
