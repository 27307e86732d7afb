//! Consumer groups of a run: their topic, who coordinates them, and their end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ottla::types::{Offset, TopicPartition};

use super::stage::{LOOK_EVERY, Stage};
use crate::history::{History, Outcome};
use crate::scenario::Plan;
use crate::world::SimTime;

/// The topic that groups and their offsets are kept in (Kafka: `Topic.GROUP_METADATA_TOPIC_NAME`).
pub(super) const OFFSETS_TOPIC: &str = "__consumer_offsets";
/// How many partitions it has where nobody says: Kafka's 50 are 150 replicas on three brokers, and most of them idle.
const OFFSETS_PARTITIONS: u32 = 3;
/// After so long without a record processed nobody waits for a group any more: three sessions of 10 s.
const QUIET: Duration = Duration::from_secs(30);

/// A group's hash (Kafka: `GroupCoordinatorService.partitionFor`, `Utils.abs`; Java: `String.hashCode`).
pub(super) fn hash_of(group: &str) -> u32 {
    let step = |hash: u32, unit: u16| hash.wrapping_mul(31).wrapping_add(unit.into());
    group.encode_utf16().fold(0, step) & 0x7fff_ffff
}

/// What brokers are told besides where a scenario has groups and does not say it itself.
pub(super) fn properties(plan: &Plan) -> String {
    if plan.groups().is_empty() {
        return String::new();
    }
    let defaults = [
        ("offsets.topic.num.partitions", OFFSETS_PARTITIONS),
        ("offsets.topic.replication.factor", plan.cluster.brokers.min(3)),
    ];
    let open = defaults.iter().filter(|(name, _)| !plan.broker_config.0.contains_key(*name));
    open.map(|(name, value)| format!("{name}={value}\n")).collect()
}

/// How far a group has come, or is to come, in each partition: the highest offset.
type Reached = BTreeMap<(Arc<str>, TopicPartition), Offset>;

impl Stage {
    /// Waits until the members of all groups have processed what was acknowledged last in each partition, and not for ever: where they get
    /// on no more, what is left is what expectations are for.
    pub(super) async fn drain_groups(&self, deadline: SimTime) {
        // They need time to close, too.
        let now = self.world().now();
        let deadline = now + deadline.since(now) / 2;
        let ends = self.look_at_history(|history| acked(history, &self.plan));
        let (mut reached, mut seen) = (Reached::new(), 0);
        let mut moved_at = self.world().now();
        loop {
            let now = self.world().now();
            let count = self.look_at_history(|history| note_reached(history, seen, &mut reached));
            if count > seen {
                (moved_at, seen) = (now, count);
            }
            let is_done = ends.iter().all(|(of, end)| reached.get(of).is_some_and(|at| at >= end));
            if is_done || now >= deadline || now.since(moved_at) >= QUIET {
                return;
            }
            self.world().sleep(LOOK_EVERY).await;
        }
    }
}

/// What was acknowledged last to the topics of each group.
fn acked(history: &History, plan: &Plan) -> Reached {
    let groups = plan.groups();
    let mut ends = Reached::new();
    for sent in &history.sent {
        let (Some(partition), Outcome::Acked { offset: Some(offset) }) =
            (&sent.partition, &sent.outcome)
        else {
            continue;
        };
        for (group, _) in groups.iter().filter(|(_, topics)| topics.contains(&*partition.topic)) {
            let end = ends.entry(((*group).into(), partition.clone())).or_insert(*offset);
            *end = (*end).max(*offset);
        }
    }
    ends
}

/// Takes in what was processed since the first `seen` records. Returns how many there are now.
fn note_reached(history: &History, seen: usize, reached: &mut Reached) -> usize {
    for one in &history.processed[seen..] {
        let of = (Arc::clone(&one.group), one.partition.clone());
        let at = reached.entry(of).or_insert(one.offset);
        *at = (*at).max(one.offset);
    }
    history.processed.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_hashed_as_java_does() {
        // From `"…".hashCode() & 0x7fffffff` in Java; the last one is negative there.
        assert_eq!(hash_of(""), 0);
        assert_eq!(hash_of("a"), 97);
        assert_eq!(hash_of("group"), 98_629_247);
        assert_eq!(hash_of("polygenelubricants"), 0, "Integer.MIN_VALUE");
    }
}
