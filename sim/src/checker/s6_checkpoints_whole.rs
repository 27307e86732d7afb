//! S6: checkpoint files are replaced whole: after any crash either the old or the new content is there, never a part.
//!
//! That names and bytes are durable only after their syncs is the simulated disk's own rule; what it leaves is looked at here.

use std::path::Path;

use super::disk_logs::NodeDisk;
use super::{Ghost, Violation};
use crate::world::{NodeId, SimTime};

const CHECKPOINTS: &[&str] = &[
    "recovery-point-offset-checkpoint",
    "log-start-offset-checkpoint",
    "replication-offset-checkpoint",
    "cleaner-offset-checkpoint",
    "leader-epoch-checkpoint",
];

/// A checkpoint, as a power loss now would leave it, that is torn.
pub(super) fn on_disk(ghost: &Ghost, disk: &NodeDisk<'_>, at: SimTime, out: &mut Vec<Violation>) {
    let node = disk.node;
    if ghost.node(node).is_none_or(|state| state.has_rot) {
        return;
    }
    for log_dir in &disk.log_dirs {
        for path in disk.files_below(log_dir) {
            let is_checkpoint = path
                .file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| CHECKPOINTS.contains(&name));
            if is_checkpoint
                && let Some(bytes) = disk.durable(path)
                && let Some(problem) = torn(&bytes)
            {
                out.push(violation(node, at, path, problem));
            }
        }
    }
}

fn violation(node: NodeId, at: SimTime, path: &Path, problem: String) -> Violation {
    Violation {
        check: "S6",
        at,
        node: Some(node),
        partition: None,
        what: format!("a checkpoint would be torn after a power loss: {problem}"),
        evidence: vec![path.display().to_string()],
    }
}

/// What is wrong with a checkpoint: version line, count line, as many lines as it says.
fn torn(bytes: &[u8]) -> Option<String> {
    let Ok(text) = std::str::from_utf8(bytes) else { return Some("it is no text".to_owned()) };
    let mut lines = text.lines();
    if lines.next() != Some("0") {
        return Some("its first line is not the version 0".to_owned());
    }
    let Some(count) = lines.next().and_then(|line| line.parse::<usize>().ok()) else {
        return Some("its second line is no count".to_owned());
    };
    let entries = lines.count();
    (entries != count).then(|| format!("it says {count} entries and holds {entries}"))
}
