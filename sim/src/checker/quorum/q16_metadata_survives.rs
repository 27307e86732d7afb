//! Q16: committed metadata survives: each new leader of the quorum holds all of it.

use ottla::types::Observation;

use super::{observed, on_node};
use crate::checker::{Ghost, Occurrence, Violation};

/// A controller becomes active without a committed batch that its snapshot does not cover either.
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Some(Observation::ControllerElected { epoch, .. }) = observed(occurrence) else { return };
    let quorum = ghost.quorum();
    let Some(node) = quorum.node(occurrence.node) else { return };
    let missing = node.log.first_missing(quorum.committed.batches(), quorum.high_watermark);
    if let Some(missing) = missing {
        let what = format!("the controller of epoch {epoch} lacks committed metadata");
        out.push(on_node("Q16", ghost, occurrence, what, format!("it lacks {}", missing.text())));
    }
}
