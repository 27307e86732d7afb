//! S1: recovery is idempotent, a crash in the middle of it included: what one recovery found, the next finds again.

use ottla::types::Observation;

use super::{Event, Ghost, Occurrence, Violation};

/// A log is opened twice with nothing written, cut or lost between, and has another end the second time.
pub(super) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Event::Observed(Observation::LogRecovered { partition, log_end_offset, .. }) =
        occurrence.event
    else {
        return;
    };
    let (Some(node), Some(log)) =
        (ghost.node(occurrence.node), ghost.log(occurrence.node, partition))
    else {
        return;
    };
    // A power loss may take back what the recovery before it cut off or kept in the page cache.
    if log.may_lack || node.has_rot {
        return;
    }
    let before = log.recovered_end;
    if let Some(before) = before
        && before != log_end_offset
    {
        out.push(Violation {
            check: "S1",
            at: occurrence.at,
            node: Some(occurrence.node),
            partition: Some(ghost.name(partition)),
            what: "two recoveries of the same bytes found different ends".to_owned(),
            evidence: vec![format!("log end {before} the first time, {log_end_offset} the second")],
        });
    }
}
