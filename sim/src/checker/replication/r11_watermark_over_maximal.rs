//! R11: the watermark is the least log end of the maximal ISR (committed and proposed), never of a smaller set.

use ottla::types::{Observation, Offset};

use crate::checker::{Event, Ghost, Occurrence, Violation, found};

/// The watermark passes what a member of the maximal ISR has fetched, or a member is not counted.
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Event::Observed(Observation::HighWatermarkAdvanced {
        partition,
        to,
        is_leader: true,
        maximal_isr,
        ..
    }) = occurrence.event
    else {
        return;
    };
    let Some(leading) = ghost.leading(occurrence.node, partition) else { return };
    let mut report = |what: String, fact: String| {
        out.push(found("R11", ghost, occurrence, Some(partition), what, vec![fact]));
    };
    let due = leading.maximal_isr();
    if !maximal_isr.is_empty() && !maximal_isr.contains_all(&due) {
        report(
            format!("the watermark moved to {to} over fewer replicas than the maximal ISR"),
            format!("counted {maximal_isr}; isr {} and pending make {due}", leading.isr),
        );
    }
    let own = ghost.log(occurrence.node, partition).map_or(Offset::ZERO, |log| log.end);
    for member in due.iter() {
        let end = if ghost.broker_of(occurrence.node) == Some(member) {
            own
        } else {
            leading.progress.get(&member).map_or(Offset::ZERO, |progress| progress.fetch_offset)
        };
        if end < to {
            report(
                format!("the watermark moved to {to} before broker {member} had all below it"),
                format!("it has what is below {end}; the maximal isr is {due}"),
            );
        }
    }
}
