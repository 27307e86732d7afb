//! R7: each member of the *controller's* ISR holds everything that is committed.

use crate::checker::{Ghost, Violation};
use crate::world::SimTime;

/// A member of the ISR lacks a committed record.
///
/// Exempt are members in U, rotten disks, and partitions whose declared cut has not begun yet.
pub(crate) fn at_barrier(ghost: &Ghost, at: SimTime, out: &mut Vec<Violation>) {
    for (partition, of) in ghost.partitions() {
        let Some(state) = of.state().filter(|state| !of.is_unsettled(state.leader_epoch)) else {
            continue;
        };
        for member in state.isr.iter().filter(|member| !of.dirty.contains_key(member)) {
            let Some(node) = ghost.node_of(member) else { continue };
            if ghost.node(node).is_some_and(|node| node.has_rot) {
                continue;
            }
            let missing = match ghost.log(node, partition) {
                Some(log) => log.first_missing(of.committed.batches(), of.true_hw),
                None => of.committed.batches().next(),
            };
            let Some(missing) = missing else { continue };
            out.push(Violation {
                check: "R7",
                at,
                node: Some(node),
                partition: Some(ghost.name(partition)),
                what: format!(
                    "broker {member} is in the ISR {} and lacks committed records",
                    state.isr
                ),
                evidence: vec![format!(
                    "it lacks {}; committed below {}",
                    missing.text(),
                    of.true_hw
                )],
            });
        }
    }
}
