//! S3: the indexes agree with their segment: no entry leads past the batch it names.
//!
//! Looked at while the node runs or after it stopped in good order: after a crash an index may be stale until it is rebuilt. A log that
//! is being cut is cut before its indexes are: until something is appended, entries behind its end mean nothing. After a scan nobody
//! reads by the files, which the next checkpoint writes anew: until the node stops, entries from where the scan began on mean nothing in
//! a segment that was there already, be they of what was scanned (swarm-disk, seed 410) or of what stood behind its end, whatever was
//! appended since (swarm-terms, seeds 6 and 61).

use ottla::types::Offset;

use super::disk_logs::{NodeDisk, PartitionFiles, SegmentFile};
use super::ghost::GhostLog;
use super::segment_reader::{FileBatch, read_offset_index, read_time_index};
use super::{Ghost, Violation};
use crate::world::SimTime;

/// An entry that names no batch.
pub(super) fn on_disk(ghost: &Ghost, disk: &NodeDisk<'_>, at: SimTime, out: &mut Vec<Violation>) {
    let node = disk.node;
    let Some(state) = ghost.node(node) else { return };
    if state.has_rot || !(state.is_running || state.is_well_stopped()) {
        return;
    }
    for PartitionFiles { partition, segments, .. } in &disk.partitions {
        let log = ghost.log(node, *partition).filter(|_| state.is_running);
        for segment in segments {
            let end = log.and_then(|log| trusted_end(log, segment)).map_or(i64::MAX, Offset::value);
            if let Some(what) = offset_index_problem(disk, segment, end)
                .or_else(|| time_index_problem(disk, segment, end))
            {
                out.push(Violation {
                    check: "S3",
                    at,
                    node: Some(node),
                    partition: Some(ghost.name(*partition)),
                    what,
                    evidence: vec![segment.path.display().to_string()],
                });
            }
        }
    }
}

/// Where the entries end that a running node has to have right; `None` where all are.
fn trusted_end(log: &GhostLog, segment: &SegmentFile) -> Option<Offset> {
    let cut = log.is_being_cut.then_some(log.end);
    let scanned = log.scanned.filter(|scanned| segment.base_offset <= scanned.end.value());
    cut.into_iter().chain(scanned.map(|scanned| scanned.from)).min()
}

/// Entries from `end` on are passed over.
fn offset_index_problem(disk: &NodeDisk<'_>, segment: &SegmentFile, end: i64) -> Option<String> {
    let entries = read_offset_index(&disk.cached(&segment.path.with_extension("index"))?);
    let batches = &segment.content.batches;
    for (relative, position) in entries {
        let offset = segment.base_offset + i64::from(relative);
        if offset >= end {
            continue;
        }
        // As they were read, one after the other.
        let found = usize::try_from(position).ok().and_then(|position| {
            let index = batches.binary_search_by_key(&position, |batch| batch.position).ok()?;
            batches.get(index)
        });
        if found.is_none_or(|batch| batch.end_offset - 1 != offset) {
            return Some(format!(
                "the offset index says that the batch ending with offset {offset} begins at byte {position}, where it does not"
            ));
        }
    }
    None
}

fn time_index_problem(disk: &NodeDisk<'_>, segment: &SegmentFile, end: i64) -> Option<String> {
    let entries = read_time_index(&disk.cached(&segment.path.with_extension("timeindex"))?);
    let times = Times::of(&segment.content.batches);
    for (timestamp, relative) in entries {
        let offset = segment.base_offset + i64::from(relative);
        if offset >= end {
            continue;
        }
        if !times.is_end(offset) || times.largest_up_to(offset) != Some(timestamp) {
            return Some(format!(
                "the time index says that the largest timestamp up to offset {offset} is {timestamp}, which it is not"
            ));
        }
    }
    None
}

/// The batches of a segment by their offsets, whatever their order in the file is.
struct Times {
    /// Where batches begin, and the largest timestamp of those that begin there or before.
    starts: Vec<(i64, i64)>,
    /// The last offset of each batch.
    ends: Vec<i64>,
}

impl Times {
    fn of(batches: &[FileBatch]) -> Self {
        let mut starts: Vec<(i64, i64)> =
            batches.iter().map(|batch| (batch.base_offset, batch.max_timestamp)).collect();
        let mut ends: Vec<i64> = batches.iter().map(|batch| batch.end_offset - 1).collect();
        // In order already but for a broken log: that costs one look at each.
        starts.sort_by_key(|(start, _)| *start);
        ends.sort_unstable();
        let mut largest = i64::MIN;
        for (_, timestamp) in &mut starts {
            largest = largest.max(*timestamp);
            *timestamp = largest;
        }
        Self { starts, ends }
    }

    fn is_end(&self, offset: i64) -> bool {
        self.ends.binary_search(&offset).is_ok()
    }

    fn largest_up_to(&self, offset: i64) -> Option<i64> {
        let after = self.starts.partition_point(|(start, _)| *start <= offset);
        self.starts.get(after.checked_sub(1)?).map(|(_, largest)| *largest)
    }
}
