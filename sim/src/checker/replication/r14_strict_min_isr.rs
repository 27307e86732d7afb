//! R14: the watermark advances only while the leader's committed ISR has at least the required number of members.

use ottla::types::Observation;

use crate::checker::{Event, Ghost, Occurrence, Violation, found};

/// The watermark moves under a smaller ISR.
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Event::Observed(Observation::HighWatermarkAdvanced {
        partition,
        to,
        is_leader: true,
        isr,
        ..
    }) = occurrence.event
    else {
        return;
    };
    let Some(leading) = ghost.leading(occurrence.node, partition) else { return };
    let required = usize::try_from(leading.min_isr).unwrap_or(usize::MAX);
    if !isr.is_empty() && isr.len() < required {
        let what = format!("the watermark moved to {to} under the ISR {isr}");
        let fact = format!("{required} in-sync replicas are required");
        out.push(found("R14", ghost, occurrence, Some(partition), what, vec![fact]));
    }
}
