//! T2: the epoch of a producer id never falls on a partition.

use ottla::types::Observation;

use super::{Event, Ghost, Occurrence, Violation};

/// A batch of an older epoch than one that stands in the log.
pub(super) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Event::Observed(Observation::ProduceAppended {
        partition,
        producer: Some(stamp),
        base_offset,
        ..
    }) = occurrence.event
    else {
        return;
    };
    let Some(log) = ghost.log(occurrence.node, partition) else { return };
    if let Some(newest) = log.newest_epoch(stamp.id)
        && stamp.epoch < newest
        && !log.expired.contains(&stamp.id)
    {
        out.push(Violation {
            check: "T2",
            at: occurrence.at,
            node: Some(occurrence.node),
            partition: Some(ghost.name(partition)),
            what: format!(
                "producer {} appended at offset {base_offset} with epoch {} after epoch {newest}",
                stamp.id, stamp.epoch
            ),
            evidence: Vec::new(),
        });
    }
}
