//! R22: the epoch cache rises strictly, and for every record of the log it names the record's own epoch.

use crate::checker::disk_logs::{NodeDisk, PartitionFiles};
use crate::checker::segment_reader::read_epoch_checkpoint;
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
        let Some((what, fact)) = problem(files, read_epoch_checkpoint(&bytes)) else { continue };
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

fn problem(files: &PartitionFiles, entries: Option<Vec<(i32, i64)>>) -> Option<(String, String)> {
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
    for batch in files.segments.iter().flat_map(|segment| &segment.content.batches) {
        let known = entries.iter().rev().find(|(_, start)| *start <= batch.base_offset);
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
