//! R3: (partition, leader epoch, offset) names one record for ever, on every disk.

use ottla::types::Observation;

use super::disk_logs::{PartitionFiles, each_partition};
use super::{Disks, Event, Ghost, Occurrence, Violation};
use crate::world::{NodeId, SimTime};

/// A leader writes at a place where, in the same term, something else was written before.
pub(super) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Event::Observed(Observation::ProduceAppended {
        partition,
        leader_epoch,
        base_offset,
        crc,
        ..
    }) = occurrence.event
    else {
        return;
    };
    if let Some(first) = ghost.written(partition, leader_epoch, base_offset)
        && first.crc != crc
    {
        out.push(Violation {
            check: "R3",
            at: occurrence.at,
            node: Some(occurrence.node),
            partition: Some(ghost.name(partition)),
            what: format!(
                "two records were written at offset {base_offset} in leader epoch {leader_epoch}"
            ),
            evidence: vec![format!(
                "checksum of the first {:08x}, of the second {crc:08x}",
                first.crc
            )],
        });
    }
}

/// A disk holds at a place something else than what was written there.
pub(super) fn on_disk(
    ghost: &Ghost,
    disks: &dyn Disks,
    node: NodeId,
    at: SimTime,
    out: &mut Vec<Violation>,
) {
    for PartitionFiles { partition, segments, .. } in each_partition(disks, node) {
        let batches = segments.iter().flat_map(|segment| &segment.content.batches);
        for batch in batches.filter(|batch| batch.crc_holds) {
            let place = (
                ottla::types::LeaderEpoch::from_wire(batch.leader_epoch),
                ottla::types::Offset::from_wire(batch.base_offset),
            );
            let (Some(epoch), Some(offset)) = place else { continue };
            if let Some(first) = ghost.written(partition, epoch, offset)
                && first.crc != batch.crc
            {
                out.push(Violation {
                    check: "R3",
                    at,
                    node: Some(node),
                    partition: Some(ghost.name(partition)),
                    what: format!("the disk holds another record at offset {offset} of leader epoch {epoch} than was written there"),
                    evidence: vec![format!("checksum as written {:08x}, on disk {:08x}", first.crc, batch.crc)],
                });
            }
        }
    }
}
