//! R3: (partition, leader epoch, offset) names one record for ever, on every disk.

use ottla::types::{LeaderEpoch, Offset};

use crate::checker::disk_logs::{NodeDisk, PartitionFiles};
use crate::checker::ghost::log::appended;
use crate::checker::segment_reader::sound;
use crate::checker::{Event, Ghost, Occurrence, Violation, found};
use crate::world::SimTime;

/// A replica writes at a place where, in the same term, something else was written before, by whomever.
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Event::Observed(observation) = occurrence.event else { return };
    let Some((partition, batch)) = appended(&observation) else { return };
    let (epoch, offset) = (batch.leader_epoch, batch.base_offset);
    if let Some(first) = ghost.written(partition, epoch, offset)
        && first.crc != batch.crc
    {
        let what = format!("two records were written at offset {offset} in leader epoch {epoch}");
        let fact =
            format!("checksum of the first {:08x}, of the second {:08x}", first.crc, batch.crc);
        out.push(found("R3", ghost, occurrence, Some(partition), what, vec![fact]));
    }
}

/// A disk holds at a place something else than what was written there.
pub(crate) fn on_disk(ghost: &Ghost, disk: &NodeDisk<'_>, at: SimTime, out: &mut Vec<Violation>) {
    for PartitionFiles { partition, segments, .. } in &disk.partitions {
        let partition = *partition;
        // Both are in the order of term and offset, but for a broken log: one walk along both.
        let from = |(epoch, offset)| ghost.written_from(partition, epoch, offset).peekable();
        let mut last = (LeaderEpoch::new(0), Offset::ZERO);
        let mut written = from(last);
        for batch in segments.iter().flat_map(|segment| sound(segment.content.batches.iter())) {
            let epoch = LeaderEpoch::from_wire(batch.leader_epoch);
            let Some(place) = epoch.zip(Offset::from_wire(batch.base_offset)) else { continue };
            if place < last {
                written = from(place);
            }
            last = place;
            while written.next_if(|(before, _)| *before < place).is_some() {}
            let (epoch, offset) = place;
            if let Some((found, first)) = written.peek()
                && *found == place
                && first.crc != batch.crc
            {
                out.push(Violation {
                    check: "R3",
                    at,
                    node: Some(disk.node),
                    partition: Some(ghost.name(partition)),
                    what: format!("the disk holds another record at offset {offset} of leader epoch {epoch} than was written there"),
                    evidence: vec![format!("checksum as written {:08x}, on disk {:08x}", first.crc, batch.crc)],
                });
            }
        }
    }
}
