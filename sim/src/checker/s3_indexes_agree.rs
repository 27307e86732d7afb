//! S3: the indexes agree with their segment: no entry leads past the batch it names.
//!
//! Looked at while the node runs or after it stopped in good order: after a crash an index may be stale until it is rebuilt.

use super::disk_logs::{PartitionFiles, SegmentFile, each_partition};
use super::segment_reader::{read_offset_index, read_time_index};
use super::{Disks, Ghost, Stop, Violation};
use crate::world::{NodeId, SimTime};

/// An entry that names no batch.
pub(super) fn on_disk(
    ghost: &Ghost,
    disks: &dyn Disks,
    node: NodeId,
    at: SimTime,
    out: &mut Vec<Violation>,
) {
    let Some(state) = ghost.node(node) else { return };
    let stopped_well = state.last_stop.is_some_and(|facts| facts.stop == Stop::Shutdown);
    if state.has_rot || !(state.is_running || stopped_well) {
        return;
    }
    for PartitionFiles { partition, segments, .. } in each_partition(disks, node) {
        for segment in &segments {
            if let Some(what) = offset_index_problem(disks, node, segment)
                .or_else(|| time_index_problem(disks, node, segment))
            {
                out.push(Violation {
                    check: "S3",
                    at,
                    node: Some(node),
                    partition: Some(ghost.name(partition)),
                    what,
                    evidence: vec![segment.path.display().to_string()],
                });
            }
        }
    }
}

fn offset_index_problem(disks: &dyn Disks, node: NodeId, segment: &SegmentFile) -> Option<String> {
    let entries = read_offset_index(&disks.cached(node, &segment.path.with_extension("index"))?);
    for (relative, position) in entries {
        let offset = segment.base_offset + i64::from(relative);
        let at_position = segment
            .content
            .batches
            .iter()
            .find(|batch| i64::try_from(batch.position) == Ok(i64::from(position)));
        if at_position.is_none_or(|batch| batch.end_offset - 1 != offset) {
            return Some(format!(
                "the offset index says that the batch ending with offset {offset} begins at byte {position}, where it does not"
            ));
        }
    }
    None
}

fn time_index_problem(disks: &dyn Disks, node: NodeId, segment: &SegmentFile) -> Option<String> {
    let entries = read_time_index(&disks.cached(node, &segment.path.with_extension("timeindex"))?);
    for (timestamp, relative) in entries {
        let offset = segment.base_offset + i64::from(relative);
        let batches = segment.content.batches.iter();
        let upto = batches
            .clone()
            .filter(|batch| batch.base_offset <= offset)
            .map(|batch| batch.max_timestamp)
            .max();
        let is_end = batches.clone().any(|batch| batch.end_offset - 1 == offset);
        if !is_end || upto != Some(timestamp) {
            return Some(format!(
                "the time index says that the largest timestamp up to offset {offset} is {timestamp}, which it is not"
            ));
        }
    }
    None
}
