//! R15: a producer is told OK only of what its leader's log holds, and with `acks=all` only of what is below the high watermark.

use ottla::types::{Acks, Observation};

use super::{Event, Ghost, Occurrence, Violation};

/// An acknowledgement runs ahead of the log.
///
/// The high watermark is compared where the testbed knows it: a duplicate may be answered out of a log that was just opened.
pub(super) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Event::Observed(Observation::ProduceAcked {
        partition, base_offset, end_offset, acks, ..
    }) = occurrence.event
    else {
        return;
    };
    let Some(log) = ghost.log(occurrence.node, partition) else { return };
    let watermark = log.high_watermark.filter(|_| acks == Acks::All);
    let problem = if end_offset > log.end {
        format!("is written up to {}", log.end)
    } else if let Some(watermark) = watermark.filter(|watermark| end_offset > *watermark) {
        format!("is committed up to {watermark}")
    } else {
        return;
    };
    out.push(Violation {
        check: "R15",
        at: occurrence.at,
        node: Some(occurrence.node),
        partition: Some(ghost.name(partition)),
        what: format!(
            "{base_offset}..{end_offset} was acknowledged with acks={acks:?} before its time"
        ),
        evidence: vec![format!("the leader's log {problem}")],
    });
}
