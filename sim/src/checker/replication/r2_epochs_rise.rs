//! R2: leader epoch and partition epoch never go down: not in the controller, not at a replica between its starts.

use ottla::types::{LeaderEpoch, Observation, PartitionEpoch, TopicIdPartition};

use crate::checker::{Event, Ghost, Occurrence, Violation, found};

/// One of them goes down.
///
/// That the partition epoch rises by exactly one is not held against a single word: a node that applies several changes at once
/// tells of the last.
#[expect(clippy::wildcard_enum_match_arm, reason = "only these observations carry epochs")]
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Event::Observed(observation) = occurrence.event else { return };
    match observation {
        Observation::PartitionChanged { partition, partition_epoch, leader_epoch, .. } => {
            told(ghost, occurrence, partition, partition_epoch, leader_epoch, out);
            among_versions(ghost, occurrence, partition, partition_epoch, leader_epoch, out);
        }
        Observation::BecameLeader { partition, partition_epoch, leader_epoch, .. }
        | Observation::BecameFollower { partition, partition_epoch, leader_epoch, .. }
        | Observation::IsrCommitted { partition, partition_epoch, leader_epoch, .. } => {
            let Some(replica) = ghost.replica(occurrence.node, partition) else { return };
            let known = (replica.epoch(), replica.partition_epoch());
            if known > (Some(leader_epoch), Some(partition_epoch)) {
                let what = "a replica went back to an older state of its partition".to_owned();
                let fact = facts(known.0, known.1, leader_epoch, partition_epoch);
                out.push(found("R2", ghost, occurrence, Some(partition), what, vec![fact]));
            }
        }
        _ => {}
    }
}

fn facts(
    from: Option<LeaderEpoch>,
    version: Option<PartitionEpoch>,
    to: LeaderEpoch,
    next: PartitionEpoch,
) -> String {
    let text = |number: Option<i32>| number.map_or("none".to_owned(), |number| number.to_string());
    format!(
        "leader epoch {} to {to}, partition epoch {} to {next}",
        text(from.map(LeaderEpoch::value)),
        text(version.map(PartitionEpoch::value))
    )
}

/// A node tells of versions in their order.
fn told(
    ghost: &Ghost,
    occurrence: &Occurrence,
    partition: TopicIdPartition,
    version: PartitionEpoch,
    epoch: LeaderEpoch,
    out: &mut Vec<Violation>,
) {
    let told = ghost.node(occurrence.node).and_then(|node| node.told.get(&partition));
    let Some((last, last_epoch)) = told else { return };
    if version <= *last || epoch < *last_epoch {
        let what = "the metadata of a node went back to an older state of a partition".to_owned();
        let fact = facts(Some(*last_epoch), Some(*last), epoch, version);
        out.push(found("R2", ghost, occurrence, Some(partition), what, vec![fact]));
    }
}

/// A later version is of the same or a later term.
fn among_versions(
    ghost: &Ghost,
    occurrence: &Occurrence,
    partition: TopicIdPartition,
    version: PartitionEpoch,
    epoch: LeaderEpoch,
    out: &mut Vec<Violation>,
) {
    let Some(of) = ghost.partition(partition) else { return };
    let before = of.states.range(..version).next_back().map(|(_, state)| state.leader_epoch);
    let after = of.states.range(version.next()..).next().map(|(_, state)| state.leader_epoch);
    if before.is_some_and(|before| before > epoch) || after.is_some_and(|after| after < epoch) {
        let what = format!(
            "leader epoch {epoch} of version {version} does not fit those of its neighbours"
        );
        let fact = format!(
            "the version before has {}, the one after {}",
            crate::checker::told(before, "none"),
            crate::checker::told(after, "none")
        );
        out.push(found("R2", ghost, occurrence, Some(partition), what, vec![fact]));
    }
}
