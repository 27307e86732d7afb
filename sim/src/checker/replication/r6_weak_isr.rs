//! R6: whoever believes it leads holds below its high watermark what each member of *its own* ISR holds.

use ottla::types::Offset;

use crate::checker::{Ghost, Violation};
use crate::world::SimTime;

/// A member of a leader's ISR lacks a record below that leader's watermark.
///
/// Exempt are members in U (they stopped dirty), rotten disks, and leaders that a declared cut has replaced.
pub(crate) fn at_barrier(ghost: &Ghost, at: SimTime, out: &mut Vec<Violation>) {
    for (node, partition, leading) in ghost.leaders() {
        let (Some(of), Some(log)) = (ghost.partition(partition), ghost.log(node, partition)) else {
            continue;
        };
        if of.is_unsettled(leading.epoch) || ghost.node(node).is_some_and(|node| node.has_rot) {
            continue;
        }
        let watermark = log.high_watermark.unwrap_or(Offset::ZERO);
        let own = log.batches_in(log.start, watermark);
        for member in leading.isr.iter().filter(|member| !of.dirty.contains_key(member)) {
            if ghost.node_of(member) == Some(node) {
                continue;
            }
            let missing = match ghost.log_of(member, partition) {
                Some(copy) => copy.first_missing(own, watermark),
                None => own.first(),
            };
            let Some(missing) = missing else { continue };
            out.push(Violation {
                check: "R6",
                at,
                node: Some(node),
                partition: Some(ghost.name(partition)),
                what: format!("broker {member} is in the leader's ISR and lacks what is below its high watermark {watermark}"),
                evidence: vec![format!("it lacks {}", missing.text())],
            });
        }
    }
}
