//! S2: a recovered log ends at the end of a batch and holds every byte that was said to be durable; after the mere death of
//! the process it holds everything that was written, since the page cache survives, unless it was about to begin anew. And
//! every batch that it keeps is whole.

use ottla::types::{Observation, Offset};

use super::disk_logs::NodeDisk;
use super::{Event, Ghost, Occurrence, Violation};
use crate::world::SimTime;

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
    let Some(stop) = node.last_stop else { return };
    if node.has_rot {
        return;
    }
    let (least, why) = if log.begins_anew() {
        (Offset::ZERO, "is to go")
    } else if log.may_lack {
        (log.synced_end, "was said to be durable")
    } else {
        (log.end, "was written, and the page cache survived")
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
                "everything below {least} {why}, then the node {}; the recovered log ends at {log_end_offset}",
                stop.word()
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

/// A log in use with a batch that is not what its checksum says: recovery took a torn batch for a whole one.
pub(super) fn on_disk(ghost: &Ghost, disk: &NodeDisk<'_>, at: SimTime, out: &mut Vec<Violation>) {
    let node = disk.node;
    let Some(state) = ghost.node(node) else { return };
    if state.has_rot || !state.is_running || !state.failed_dirs.is_empty() {
        return;
    }
    let is_open = |partition| ghost.log(node, partition).is_some_and(|log| log.is_open);
    for files in disk.partitions.iter().filter(|files| is_open(files.partition)) {
        for segment in &files.segments {
            let torn = segment.content.batches.iter().find(|batch| !batch.crc_holds);
            let Some(torn) = torn else { continue };
            out.push(Violation {
                check: "S2",
                at,
                node: Some(node),
                partition: Some(ghost.name(files.partition)),
                what: format!(
                    "the log in use keeps {}..{}, whose bytes do not have their checksum",
                    torn.base_offset, torn.end_offset
                ),
                evidence: vec![format!("{} at byte {}", segment.path.display(), torn.position)],
            });
        }
    }
}
