//! Q8: a leader becomes the active controller only when a record of its own epoch is committed.

use ottla::types::Observation;

use super::{observed, on_node};
use crate::checker::{Ghost, Occurrence, Violation};

/// No record of its epoch is durable on a majority.
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Some(Observation::ControllerElected { epoch, .. }) = observed(occurrence) else { return };
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
