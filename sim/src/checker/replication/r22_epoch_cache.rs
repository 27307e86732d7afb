//! R22: the epoch cache rises strictly, and for every record of the log it names the record's own epoch.
//!
//! What was removed (DeleteRecords) stands in its segment until the whole of it is removed, and is no record of the log any more.

use crate::checker::disk_logs::NodeDisk;
use crate::checker::segment_reader::{FileBatch, read_epoch_checkpoint};
use crate::checker::{Ghost, Violation, told};
use crate::world::SimTime;

/// The file of a log in use disagrees with the log. What a log was opened with is put right before it is used.
pub(crate) fn on_disk(ghost: &Ghost, disk: &NodeDisk<'_>, at: SimTime, out: &mut Vec<Violation>) {
    let node = disk.node;
    let Some(state) = ghost.node(node) else { return };
    if state.has_rot || !state.is_running || !state.failed_dirs.is_empty() {
        return;
    }
    for files in &disk.partitions {
        let is_used =
            ghost.replica(node, files.partition).is_some_and(|replica| replica.role.is_some());
        let path = files.directory.join("leader-epoch-checkpoint");
        let Some(bytes) = disk.cached(&path).filter(|_| is_used) else { continue };
        let start = ghost.log(node, files.partition).map_or(0, |log| log.start.value());
        let batches = files.segments.iter().flat_map(|segment| &segment.content.batches);
        let entries = read_epoch_checkpoint(&bytes);
        let Some((what, fact)) = problem(batches, entries, start) else { continue };
        out.push(Violation {
            check: "R22",
            at,
            node: Some(node),
            partition: Some(ghost.name(files.partition)),
            what,
            evidence: vec![path.display().to_string(), fact],
        });
    }
}

/// What is wrong with the entries of a cache, as the batches of a log that begins at `start` are.
fn problem<'a>(
    batches: impl Iterator<Item = &'a FileBatch>,
    entries: Option<Vec<(i32, i64)>>,
    start: i64,
) -> Option<(String, String)> {
    let Some(entries) = entries else {
        return Some(("the epoch cache cannot be read".to_owned(), String::new()));
    };
    for pair in entries.windows(2) {
        if pair[0].0 >= pair[1].0 || pair[0].1 >= pair[1].1 {
            let [(epoch, start), (next, next_start)] = [pair[0], pair[1]];
            let fact =
                format!("epoch {epoch} from {start} is followed by epoch {next} from {next_start}");
            return Some(("the epoch cache does not rise".to_owned(), fact));
        }
    }
    for batch in batches.filter(|batch| batch.end_offset > start) {
        let first = batch.base_offset.max(start);
        let known = entries.iter().rev().find(|(_, start)| *start <= first);
        if known.map(|(epoch, _)| *epoch) != Some(batch.leader_epoch) {
            let what = format!(
                "the epoch cache names another epoch than the batch at {}",
                batch.base_offset
            );
            let known = known.map(|(epoch, start)| format!("epoch {epoch} from {start}"));
            let fact = format!(
                "the batch is of epoch {}; the cache says {}",
                batch.leader_epoch,
                told(known, "nothing of it")
            );
            return Some((what, fact));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten records in each batch: of epochs 1, 1 and 4.
    fn batches() -> Vec<FileBatch> {
        let batch = |(base_offset, leader_epoch)| FileBatch {
            position: 0,
            length: 0,
            base_offset,
            end_offset: base_offset + 10,
            leader_epoch,
            crc: 0,
            crc_holds: true,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            max_timestamp: 0,
            is_control: false,
        };
        [(0, 1), (10, 1), (20, 4)].into_iter().map(batch).collect()
    }

    #[track_caller]
    fn check(entries: &[(i32, i64)], start: i64, expected: Option<&str>) {
        let found = problem(batches().iter(), Some(entries.to_vec()), start);
        assert_eq!(found.map(|(what, _)| what).as_deref(), expected);
    }

    #[test]
    fn each_record_of_the_log_is_of_the_epoch_that_the_cache_names() {
        check(&[(1, 0), (4, 20)], 0, None);
        check(&[(1, 0)], 0, Some("the epoch cache names another epoch than the batch at 20"));
        check(&[(1, 0), (4, 19)], 0, None);
        check(&[(4, 20)], 0, Some("the epoch cache names another epoch than the batch at 0"));
        check(&[(4, 0), (1, 20)], 0, Some("the epoch cache does not rise"));
    }

    #[test]
    fn what_was_removed_is_of_no_epoch_any_more_and_the_rest_of_its_batch_is() {
        check(&[(1, 10), (4, 20)], 10, None);
        check(&[(1, 15), (4, 20)], 15, None);
        check(
            &[(1, 16), (4, 20)],
            15,
            Some("the epoch cache names another epoch than the batch at 10"),
        );
        check(&[(4, 20)], 20, None);
        check(&[], 30, None);
        check(&[], 29, Some("the epoch cache names another epoch than the batch at 20"));
    }
}
