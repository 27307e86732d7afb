//! Q7: no node truncates committed metadata.

use ottla::types::Observation;

use super::{observed, on_node};
use crate::checker::ghost::log::METADATA;
use crate::checker::{Ghost, Occurrence, Violation};

/// What fell off is committed.
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Some(Observation::LogTruncated { partition: METADATA, from, to }) = observed(occurrence)
    else {
        return;
    };
    let quorum = ghost.quorum();
    let Some(node) = quorum.node(occurrence.node).filter(|_| to < from) else { return };
    let removed = node.log.batches_in(to, from);
    if let Some(first) = removed.iter().find(|batch| quorum.committed.holds(batch)) {
        let what =
            format!("the metadata log was cut from {from} back to {to}, below what is committed");
        let fact = format!("{} is committed", first.text());
        out.push(on_node("Q7", ghost, occurrence, what, fact));
    }
}
