//! Q7: no node truncates committed metadata: what was committed in its term or before, or stands below what it was told is committed.
//!
//! Who does not know yet that a later term has begun may be told by the leader of its own, which lacked it, to cut what the later one
//! commits. Nobody counts on that copy: it is in an earlier term (swarm-sparse, seed 94 of W11).

use ottla::types::Observation;

use super::{observed, on_node};
use crate::checker::ghost::log::{GhostBatch, METADATA};
use crate::checker::{Ghost, Occurrence, Violation};

/// What fell off is committed, and the node must know.
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Some(Observation::LogTruncated { partition: METADATA, from, to }) = observed(occurrence)
    else {
        return;
    };
    let quorum = ghost.quorum();
    let Some(node) = quorum.node(occurrence.node).filter(|_| to < from) else { return };
    let must_know = |batch: &&GhostBatch| {
        node.epoch.is_none_or(|epoch| quorum.committed.is_due(batch, epoch))
            || node.high_watermark.is_some_and(|known| batch.base_offset < known)
    };
    let removed = node.log.batches_in(to, from);
    let mut committed = removed.iter().filter(|batch| quorum.committed.holds(batch));
    if let Some(first) = committed.find(must_know) {
        let what =
            format!("the metadata log was cut from {from} back to {to}, below what is committed");
        let fact = format!("{} is committed", first.text());
        out.push(on_node("Q7", ghost, occurrence, what, fact));
    }
}
