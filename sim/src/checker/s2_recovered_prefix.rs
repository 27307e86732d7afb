//! S2: a recovered log ends at the end of a batch and holds every byte that was said to be durable; after the mere death of the
//! process it holds everything that was written, since the page cache survives.

use ottla::types::Observation;

use super::{Event, Ghost, Occurrence, Stop, Violation};

/// A recovery that lost too much, or cut through a batch.
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
    let Some(facts) = node.last_stop else { return };
    if node.has_rot {
        return;
    }
    let cache_survived = !facts.had_failure && facts.stop != Stop::PowerLoss;
    let (least, why) = if cache_survived {
        (log.end, "was written, and the page cache survived")
    } else {
        (log.synced_end, "was said to be durable")
    };
    let mut refuse = |what: String, fact: String| {
        out.push(Violation {
            check: "S2",
            at: occurrence.at,
            node: Some(occurrence.node),
            partition: Some(ghost.name(partition)),
            what,
            evidence: vec![fact],
        });
    };
    if log_end_offset < least {
        refuse(
            format!("recovery lost {} records that it must not lose", least - log_end_offset),
            format!(
                "everything below {least} {why}; the recovered log ends at {log_end_offset} ({:?})",
                facts.stop
            ),
        );
    }
    if log_end_offset < log.end && !log.is_boundary(log_end_offset) {
        refuse(
            "recovery cut through a batch".to_owned(),
            format!("the recovered log ends at {log_end_offset}, where no batch ends"),
        );
    }
}
