//! T11: a producer-state snapshot equals the fold of the log below it, for each producer that it names.
//!
//! A producer that the log names and the snapshot does not may have expired; one that the snapshot names must be in the log as far
//! as that is retained.

use std::collections::BTreeMap;

use super::disk_logs::{NodeDisk, PartitionFiles};
use super::segment_reader::{SnapshotEntry, read_snapshot};
use super::{Ghost, Violation, told};
use crate::world::SimTime;

/// A snapshot that says something else than the log.
pub(super) fn on_disk(ghost: &Ghost, disk: &NodeDisk<'_>, at: SimTime, out: &mut Vec<Violation>) {
    let node = disk.node;
    let Some(state) = ghost.node(node) else { return };
    if state.has_rot || !(state.is_running || state.is_well_stopped()) {
        return;
    }
    for files in &disk.partitions {
        for path in files
            .files
            .iter()
            .filter(|path| path.extension().is_some_and(|extension| extension == "snapshot"))
        {
            let end = path
                .file_stem()
                .and_then(|stem| stem.to_str())
                .and_then(|stem| stem.parse::<i64>().ok());
            let (Some(end), Some(bytes)) = (end, disk.cached(path)) else { continue };
            let problem = match read_snapshot(&bytes) {
                None => Some("the snapshot is not whole".to_owned()),
                Some(entries) => difference(files, end, &entries),
            };
            if let Some(what) = problem {
                let evidence = vec![path.display().to_string()];
                out.push(Violation {
                    check: "T11",
                    at,
                    node: Some(node),
                    partition: Some(ghost.name(files.partition)),
                    what,
                    evidence,
                });
            }
        }
    }
}

fn difference(files: &PartitionFiles, end: i64, entries: &[SnapshotEntry]) -> Option<String> {
    let mut fold: BTreeMap<i64, SnapshotEntry> = BTreeMap::new();
    let batches = files.segments.iter().flat_map(|segment| &segment.content.batches);
    let log_end = files.segments.last().map_or(0, |segment| {
        segment.content.batches.last().map_or(segment.base_offset, |batch| batch.end_offset)
    });
    if end > log_end {
        return None; // ahead of the log: ignored and removed when the log is opened
    }
    for batch in batches.filter(|batch| batch.producer_id >= 0 && batch.end_offset <= end) {
        let records = batch.end_offset - batch.base_offset;
        let last_sequence = (i64::from(batch.base_sequence) + records - 1) % (1 << 31);
        fold.insert(
            batch.producer_id,
            SnapshotEntry {
                producer_id: batch.producer_id,
                producer_epoch: batch.producer_epoch,
                last_sequence: i32::try_from(last_sequence).unwrap_or(-1),
                last_offset: batch.end_offset - 1,
            },
        );
    }
    let start = files.segments.first().map_or(0, |segment| segment.base_offset);
    let wrong = entries.iter().find(|entry| match fold.get(&entry.producer_id) {
        Some(folded) => folded != *entry,
        None => entry.last_offset >= start,
    })?;
    Some(format!(
        "of producer {} the snapshot at {end} says {}, the log says {}",
        wrong.producer_id,
        words(wrong),
        told(fold.get(&wrong.producer_id).map(words), "nothing")
    ))
}

fn words(entry: &SnapshotEntry) -> String {
    let SnapshotEntry { producer_epoch, last_sequence, last_offset, .. } = entry;
    format!("epoch {producer_epoch}, last sequence {last_sequence} at offset {last_offset}")
}
