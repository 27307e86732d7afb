//! L6: a reassignment ends when all that are to hold the partition are in sync, not before.

use ottla::types::Observation;

use crate::checker::ghost::PartitionState;
use crate::checker::{Event, Ghost, Occurrence, Violation, found};

/// The version that ends a reassignment leaves somebody out of sync. One that takes the move back may.
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Event::Observed(observation) = occurrence.event else { return };
    let Observation::PartitionChanged { partition, partition_epoch, .. } = observation else {
        return;
    };
    let Some(of) = ghost.partition(partition) else { return };
    if of.states.contains_key(&partition_epoch) {
        return;
    }
    let Some(before) = of.state_before(partition_epoch) else { return };
    let now = PartitionState::of(&observation).expect("it is one");
    let was_under_way = !before.adding.is_empty() || !before.removing.is_empty();
    let is_over = now.adding.is_empty() && now.removing.is_empty();
    // Taken back, the replicas are those from before the move.
    let is_complete = now.replicas == before.replicas.without(&before.removing);
    let missing = now.replicas.without(&now.isr);
    if was_under_way && is_over && is_complete && !missing.is_empty() {
        let what = format!("a reassignment is over, and {missing} are not in sync");
        let facts = vec![format!("before: {}", before.text()), format!("now:    {}", now.text())];
        out.push(found("L6", ghost, occurrence, Some(partition), what, facts));
    }
}
