//! S4: segments tile the offsets: no gap, no overlap, no base offset twice; and no offset is given twice.

use ottla::types::Observation;

use super::disk_logs::{NodeDisk, PartitionFiles};
use super::{Event, Ghost, Occurrence, Violation, told};
use crate::world::SimTime;

/// A leader appends elsewhere than at the end of its log.
pub(super) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Event::Observed(Observation::ProduceAppended {
        partition, base_offset, end_offset, ..
    }) = occurrence.event
    else {
        return;
    };
    let end =
        ghost.log(occurrence.node, partition).map_or(ottla::types::Offset::ZERO, |log| log.end);
    if base_offset != end || end_offset <= base_offset {
        out.push(Violation {
            check: "S4",
            at: occurrence.at,
            node: Some(occurrence.node),
            partition: Some(ghost.name(partition)),
            what: format!("a batch was given the offsets {base_offset}..{end_offset} although the log ended at {end}"),
            evidence: Vec::new(),
        });
    }
}

/// Files whose offsets do not follow each other. Where bytes may be gone, by a power loss or with a failed disk, there may be a hole
/// until the log is recovered, which cuts it there (swarm-disk, seeds 15, 60).
pub(super) fn on_disk(ghost: &Ghost, disk: &NodeDisk<'_>, at: SimTime, out: &mut Vec<Violation>) {
    let node = disk.node;
    let Some(state) = ghost.node(node) else { return };
    if state.has_rot || !state.is_running {
        return;
    }
    let may_lack = |partition| ghost.log(node, partition).is_some_and(|log| log.may_lack);
    for files in disk.partitions.iter().filter(|files| !may_lack(files.partition)) {
        if let Some((what, fact)) = problem(files) {
            out.push(Violation {
                check: "S4",
                at,
                node: Some(node),
                partition: Some(ghost.name(files.partition)),
                what,
                evidence: vec![files.directory.display().to_string(), fact],
            });
        }
    }
}

fn problem(files: &PartitionFiles) -> Option<(String, String)> {
    let mut expected: Option<i64> = None;
    for segment in &files.segments {
        let name = segment.base_offset;
        if expected.is_some_and(|expected| expected != name) {
            return Some((
                "a segment does not begin where the one before it ends".to_owned(),
                format!("expected {}, found {name}", told(expected, "any")),
            ));
        }
        let mut next = name;
        for batch in &segment.content.batches {
            if batch.base_offset != next {
                return Some((
                    "a batch does not begin where the one before it ends".to_owned(),
                    format!("expected {next}, found {}", batch.base_offset),
                ));
            }
            next = batch.end_offset;
        }
        expected = Some(next);
    }
    None
}
