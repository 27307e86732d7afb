//! S8: what retention (or a deletion by hand) removes is committed, and the start of a log never falls.

use ottla::types::Observation;

use crate::checker::ghost::log::METADATA;
use crate::checker::{Event, Ghost, Occurrence, Violation, found};

/// A log begins behind what any leader has committed, or before where it began. Where a cut was declared what is committed is another
/// thing: nothing is said.
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Event::Observed(Observation::LogStartMoved { partition, from, to }) = occurrence.event
    else {
        return;
    };
    let Some(of) = ghost.partition(partition).filter(|_| partition != METADATA) else { return };
    // An emptied log begins where its leader's does.
    let is_emptied = ghost.log(occurrence.node, partition).is_some_and(|log| log.end == to);
    if to < from && !is_emptied {
        let what = format!("the start of a log fell from {from} to {to}");
        out.push(found("S8", ghost, occurrence, Some(partition), what, Vec::new()));
    }
    if of.cuts.is_empty() && to > of.true_hw {
        let what = format!("records below {to} were removed, and they are not committed");
        let fact = format!("the largest high watermark of any leader is {}", of.true_hw);
        out.push(found("S8", ghost, occurrence, Some(partition), what, vec![fact]));
    }
}
