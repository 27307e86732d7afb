//! R8: whoever may be elected without loss (ISR ∪ ELR) has a log that reaches the high watermark.

use ottla::types::{BrokerSet, Observation, Offset, TopicIdPartition};

use crate::checker::ghost::PartitionState;
use crate::checker::{Event, Ghost, Occurrence, Violation, found};

/// The watermark passes the log end of a candidate, or a replica becomes a candidate whose log is too short.
///
/// Exempt are replicas in U: whether they were let in is the business of R18.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "only these observations change the one or the other"
)]
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Event::Observed(observation) = occurrence.event else { return };
    match observation {
        Observation::HighWatermarkAdvanced {
            partition, to, is_leader: true, leader_epoch, ..
        } => {
            let Some(of) = ghost.partition(partition) else { return };
            if leader_epoch.is_some_and(|epoch| of.is_unsettled(epoch)) {
                return;
            }
            let candidates = of.state().map(PartitionState::eligible).unwrap_or_default();
            too_short(ghost, occurrence, partition, candidates, to, out);
        }
        Observation::PartitionChanged { partition, partition_epoch, .. } => {
            let state = PartitionState::of(&observation).expect("it is one");
            let Some(of) = ghost.partition(partition) else { return };
            if of.partition_epoch().is_some_and(|newest| newest >= partition_epoch)
                || state.is_recovering
            {
                return;
            }
            let before = of.state().map(PartitionState::eligible).unwrap_or_default();
            let new = state.eligible().without(&before);
            too_short(ghost, occurrence, partition, new, of.true_hw, out);
        }
        _ => {}
    }
}

fn too_short(
    ghost: &Ghost,
    occurrence: &Occurrence,
    partition: TopicIdPartition,
    candidates: BrokerSet,
    watermark: Offset,
    out: &mut Vec<Violation>,
) {
    let Some(of) = ghost.partition(partition) else { return };
    for broker in candidates.iter().filter(|broker| !of.dirty.contains_key(broker)) {
        if ghost.node_of(broker).is_none() {
            continue;
        }
        let end = ghost.log_of(broker, partition).map_or(Offset::ZERO, |log| log.end);
        if end < watermark {
            let what = format!("broker {broker} may be elected and its log is too short");
            let fact = format!("its log ends at {end}; the high watermark is {watermark}");
            out.push(found("R8", ghost, occurrence, Some(partition), what, vec![fact]));
        }
    }
}
