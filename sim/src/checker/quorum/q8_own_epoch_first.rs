//! Q8: a leader becomes the active controller, and moves the high watermark, only when a record of its own epoch is committed.

use ottla::types::{LeaderEpoch, Observation, Offset, QuorumRole};

use super::{observed, on_node};
use crate::checker::{Ghost, Occurrence, Violation};

/// It acts, or commits what it inherited, too early.
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let observation = observed(occurrence);
    if let Some(Observation::ControllerElected { epoch, .. }) = observation {
        is_active(ghost, occurrence, epoch, out);
    } else if let Some(Observation::QuorumHighWatermark { epoch, high_watermark, .. }) = observation
    {
        moves_watermark(ghost, occurrence, epoch, high_watermark, out);
    }
}

/// No record of its epoch is durable on a majority.
fn is_active(ghost: &Ghost, occurrence: &Occurrence, epoch: LeaderEpoch, out: &mut Vec<Violation>) {
    let quorum = ghost.quorum();
    let Some(node) = quorum.node(occurrence.node).filter(|_| !quorum.voters.is_empty()) else {
        return;
    };
    if node.log.batches.is_empty() {
        return; // this build does not tell of the metadata log
    }
    let own = node.log.batches.iter().find(|batch| batch.leader_epoch == epoch);
    let durable = own.map_or(0, |batch| quorum.durable_on(batch.end_offset));
    if durable < quorum.majority() {
        let what =
            format!("a controller is active before a record of its epoch {epoch} is committed");
        let fact = format!(
            "its first record {}, durable on {durable} of {} voters",
            own.map_or("is not written".to_owned(), |batch| format!("is {}", batch.text())),
            quorum.voters.len()
        );
        out.push(on_node("Q8", ghost, occurrence, what, fact));
    }
}

/// The last record below a leader's watermark is of an earlier epoch: it may be on a majority and be replaced all the same, by a
/// leader that never saw it (Raft, figure 8).
fn moves_watermark(
    ghost: &Ghost,
    occurrence: &Occurrence,
    epoch: LeaderEpoch,
    to: Offset,
    out: &mut Vec<Violation>,
) {
    let Some(node) = ghost.quorum().node(occurrence.node) else { return };
    if node.role != Some((QuorumRole::Leader, epoch)) {
        return;
    }
    let last = node.log.batches_in(Offset::ZERO, to).last();
    if let Some(last) = last.filter(|last| last.leader_epoch != epoch) {
        let what = format!(
            "the leader of epoch {epoch} moves the watermark to {to}, below its own first record"
        );
        out.push(on_node("Q8", ghost, occurrence, what, format!("it ends with {}", last.text())));
    }
}
