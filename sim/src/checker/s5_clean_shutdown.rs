//! S5: where the clean-shutdown file is durable everything is; the recovery point never lies past what is durable.

use std::path::Path;

use super::disk_logs::{NodeDisk, PartitionFiles};
use super::segment_reader::sound;
use super::{Ghost, Violation, told};
use crate::world::SimTime;

/// Something is not durable although a file says that it is.
pub(super) fn on_disk(ghost: &Ghost, disk: &NodeDisk<'_>, at: SimTime, out: &mut Vec<Violation>) {
    let node = disk.node;
    let Some(state) = ghost.node(node) else { return };
    if state.has_rot {
        return;
    }
    for files in &disk.partitions {
        let Some(log_dir) = files.directory.parent() else { continue };
        let mut refuse = |what: String, evidence: Vec<String>| {
            out.push(Violation {
                check: "S5",
                at,
                node: Some(node),
                partition: Some(ghost.name(files.partition)),
                what,
                evidence,
            });
        };
        let durable_end = durable_end(disk, files);
        if let Some(point) = recovery_point(disk, log_dir, &files.directory)
            && durable_end.is_some_and(|end| point > end)
        {
            refuse(
                "the recovery point lies past what is durable".to_owned(),
                vec![format!(
                    "recovery point {point}, durable up to {}",
                    told(durable_end, "nothing")
                )],
            );
        }
        // Who has opened a log has taken the file away before, and that is durable: else it would vouch for what is written since.
        let may_stand = !state.is_running || !state.is_clean;
        let is_clean = may_stand && disk.durable(&log_dir.join(".kafka_cleanshutdown")).is_some();
        if is_clean
            && let Some(segment) = files.segments.iter().find(|segment| !disk.is_durable(segment))
        {
            refuse(
                "the clean-shutdown file stands, and a segment is not durable".to_owned(),
                vec![segment.path.display().to_string()],
            );
        }
    }
}

/// After the last record that a power loss cannot take; `None` where no segment's name is durable.
fn durable_end(disk: &NodeDisk<'_>, files: &PartitionFiles) -> Option<i64> {
    let mut end = None;
    for segment in &files.segments {
        let Some((same, others)) = disk.durable_batches(segment) else { break };
        let valid = sound(same.iter().chain(&others.batches));
        end = Some(valid.last().map_or(segment.base_offset, |batch| batch.end_offset));
        if same.len() + others.batches.len() < segment.content.batches.len() {
            break;
        }
    }
    end
}

/// What the recovery-point checkpoint says of a partition.
fn recovery_point(disk: &NodeDisk<'_>, log_dir: &Path, directory: &Path) -> Option<i64> {
    let (topic, partition) = directory.file_name()?.to_str()?.rsplit_once('-')?;
    let bytes = disk.durable(&log_dir.join("recovery-point-offset-checkpoint"))?;
    let text = std::str::from_utf8(&bytes).ok()?;
    let wanted = format!("{topic} {partition} ");
    text.lines()
        .find_map(|line| line.strip_prefix(&wanted))
        .and_then(|offset| offset.trim().parse().ok())
}
