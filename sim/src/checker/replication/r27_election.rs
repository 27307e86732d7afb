//! R27: a leader is elected from ISR ∪ ELR; another one only if it is declared to be recovering, and then it is the last known leader,
//! or the topic allows unclean elections.

use ottla::types::Observation;

use crate::checker::ghost::PartitionState;
use crate::checker::{Event, Ghost, Occurrence, Violation, found, told};

/// An election that is neither. Judged where the version right before is known.
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Event::Observed(observation) = occurrence.event else { return };
    let Observation::PartitionChanged { partition, partition_epoch, .. } = observation else {
        return;
    };
    let state = PartitionState::of(&observation).expect("it is one");
    let Some(of) = ghost.partition(partition) else { return };
    if of.states.contains_key(&partition_epoch) {
        return;
    }
    let Some(before) = of.state_before(partition_epoch) else { return };
    if !before.elects_ineligible(&state) {
        return;
    }
    // Who stopped dirty and registers again is struck from the eligible in the very change that elects another; and so is who an
    // administrator unregisters (swarm-terms, seeds 20, 135, 136).
    let is_struck =
        |broker| ghost.registration(broker).is_none() || ghost.is_registered_dirty(of, broker);
    let is_none_eligible = before.eligible().iter().all(is_struck);
    let is_last_known = is_none_eligible && before.last_known_leader == state.leader;
    let is_allowed = is_last_known || ghost.facts(partition.topic_id).allows_unclean;
    let leader = state.leader.map_or(-1, |leader| leader.value());
    let what = if !state.is_recovering {
        format!("broker {leader} was elected, may lack committed records, and nobody says so")
    } else if !is_allowed {
        format!("broker {leader} was elected although the topic forbids to lose records")
    } else {
        return;
    };
    let fact = format!(
        "before: isr {}, eligible {}, last known leader {}",
        before.isr,
        before.elr,
        told(before.last_known_leader, "nobody")
    );
    out.push(found("R27", ghost, occurrence, Some(partition), what, vec![fact]));
}
