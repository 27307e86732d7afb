//! Q15: what a node publishes is committed, and never goes back.

use ottla::types::Observation;

use super::{observed, on_node};
use crate::checker::{Ghost, Occurrence, Violation};

/// It is not, or it does.
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
        out.push(on_node("Q15", ghost, occurrence, what, format!("it was at {before:?}")));
    }
}
