//! R26: nothing is served to a consumer that is not below the high watermark.

use ottla::types::Observation;

use crate::checker::{Event, Ghost, Occurrence, Violation, found};

/// What is served reaches beyond the largest watermark that any leader had.
///
/// Exempt are leaders that a declared cut has replaced: the watermark went back behind their backs.
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Event::Observed(Observation::FetchServed { partition, fetch_offset, end_offset, .. }) =
        occurrence.event
    else {
        return;
    };
    let Some(of) = ghost.partition(partition) else { return };
    let term = ghost.replica(occurrence.node, partition).and_then(|replica| replica.epoch());
    if term.is_some_and(|term| of.is_unsettled(term)) {
        return;
    }
    if end_offset > fetch_offset && end_offset > of.true_hw {
        let what = format!("{fetch_offset}..{end_offset} was served before it was committed");
        let fact = format!("no leader's high watermark was ever beyond {}", of.true_hw);
        out.push(found("R26", ghost, occurrence, Some(partition), what, vec![fact]));
    }
}
