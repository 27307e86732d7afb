//! Q9: the active controller never replaces its state by a snapshot.

use ottla::types::Observation;

use super::{observed, on_node};
use crate::checker::{Ghost, Occurrence, Violation};

/// It does.
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Some(Observation::MetadataSnapshotLoaded { end_offset, epoch, .. }) = observed(occurrence)
    else {
        return;
    };
    if ghost.quorum().node(occurrence.node).is_some_and(|node| node.is_active) {
        let what = "the active controller replaced its state by a snapshot".to_owned();
        let fact = format!("a snapshot of all below {end_offset}, epoch {epoch}");
        out.push(on_node("Q9", ghost, occurrence, what, fact));
    }
}
