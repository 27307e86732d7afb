//! R5: what was once served below the high watermark keeps its content on every later leader.

use ottla::types::Observation;

use crate::checker::{Event, Ghost, Occurrence, Violation, found};

/// A leader serves a range in which it does not hold what is committed there.
///
/// Exempt are leaders that a declared cut has replaced. What retention removed is below the log's start.
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Event::Observed(Observation::FetchServed { partition, fetch_offset, end_offset, .. }) =
        occurrence.event
    else {
        return;
    };
    let node = occurrence.node;
    let (Some(log), Some(of)) = (ghost.log(node, partition), ghost.partition(partition)) else {
        return;
    };
    let term = ghost.replica(node, partition).and_then(|replica| replica.epoch());
    if end_offset <= fetch_offset
        || term.is_some_and(|term| of.is_unsettled(term))
        || ghost.node(node).is_some_and(|node| node.has_rot)
    {
        return;
    }
    let committed = of.committed.batches_in(fetch_offset, end_offset);
    if let Some(missing) = log.first_missing(committed, end_offset) {
        let what =
            format!("{fetch_offset}..{end_offset} was served without what is committed in it");
        let fact = format!("committed is {}, which the server's log does not hold", missing.text());
        out.push(found("R5", ghost, occurrence, Some(partition), what, vec![fact]));
    }
}
