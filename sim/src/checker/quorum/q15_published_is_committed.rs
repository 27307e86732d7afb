//! Q15: what a node publishes is committed, never goes back, and is never older than the node's start.

use ottla::types::Observation;

use super::{observed, on_node};
use crate::checker::{Ghost, Occurrence, Violation, told};

/// It is not, or it does, or it is.
///
/// Older than its start may be what a node publishes that follows a leader which is one no more: neither knows yet.
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Some(Observation::MetadataApplied { end_offset, .. }) = observed(occurrence) else {
        return;
    };
    let quorum = ghost.quorum();
    let committed = quorum.high_watermark;
    let knows = quorum.nodes.values().any(|node| node.high_watermark.is_some());
    if knows && end_offset > committed {
        let what = format!("metadata below {end_offset} was published before it was committed");
        let fact = format!("the quorum's high watermark is {committed}");
        out.push(on_node("Q15", ghost, occurrence, what, fact));
    }
    let before = ghost.node(occurrence.node).and_then(|node| node.applied);
    if before > Some(end_offset) {
        let what = format!("a node's metadata went back to {end_offset}");
        let fact = format!("it was at {}", told(before, "nothing"));
        out.push(on_node("Q15", ghost, occurrence, what, fact));
    }
    let Some(node) = quorum.node(occurrence.node) else { return };
    let newest = quorum.newest_active().map(|(epoch, _)| epoch);
    let is_of_newest = node.role.is_some_and(|(_, epoch)| Some(epoch) >= newest);
    let at_start = node.committed_at_start;
    if is_of_newest && end_offset < at_start {
        let what = format!("metadata below {end_offset} was published, which is long past");
        let fact = format!("when the node started all below {at_start} was committed");
        out.push(on_node("Q15", ghost, occurrence, what, fact));
    }
}
