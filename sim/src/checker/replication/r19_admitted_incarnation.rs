//! R19: a member is admitted to the ISR under the incarnation that is registered, not under an earlier one.

use ottla::types::Observation;

use crate::checker::ghost::PartitionState;
use crate::checker::{Event, Ghost, Occurrence, Violation, found};

/// A new member of the ISR, of whom the leader has heard under another incarnation than the registered one.
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Event::Observed(observation) = occurrence.event else { return };
    let Observation::PartitionChanged { partition, partition_epoch, .. } = observation else {
        return;
    };
    let state = PartitionState::of(&observation).expect("it is one");
    let Some(of) = ghost.partition(partition) else { return };
    let Some(before) = of.state().filter(|_| of.partition_epoch() < Some(partition_epoch)) else {
        return;
    };
    let Some(node) = state.leader.and_then(|leader| ghost.node_of(leader)) else { return };
    let Some(leading) = ghost.leading(node, partition) else { return };
    if leading.epoch != state.leader_epoch {
        return;
    }
    for member in state.isr.without(&before.isr).iter() {
        let (Some(heard), Some(registered)) = (
            leading.progress.get(&member).and_then(|progress| progress.broker_epoch),
            ghost.registration(member).map(|registration| registration.broker_epoch),
        ) else {
            continue;
        };
        if Some(member) != state.leader && heard != registered {
            let what = format!(
                "broker {member} was admitted to the ISR as an incarnation that is not the registered one"
            );
            let fact =
                format!("the leader heard of broker epoch {heard}; registered is {registered}");
            out.push(found("R19", ghost, occurrence, Some(partition), what, vec![fact]));
        }
    }
}
