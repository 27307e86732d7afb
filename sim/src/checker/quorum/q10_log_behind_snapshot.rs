//! Q10: where the metadata log does not begin at 0, a snapshot stands for what is not there.

use crate::checker::disk_logs::NodeDisk;
use crate::checker::{Ghost, Violation, told};
use crate::world::SimTime;

/// A hole between the snapshot and the log.
pub(crate) fn on_disk(ghost: &Ghost, disk: &NodeDisk<'_>, at: SimTime, out: &mut Vec<Violation>) {
    let node = disk.node;
    let Some(dir) = &disk.metadata_dir else { return };
    if ghost.node(node).is_none() {
        return;
    }
    let numbers = |extension: &'static str| {
        disk.files_below(dir).filter_map(move |path| {
            let is_it = path.parent() == Some(dir.as_path())
                && path.extension().is_some_and(|found| found == extension);
            let stem = path.file_stem().filter(|_| is_it)?.to_str()?;
            stem.split('-').next()?.parse::<u64>().ok()
        })
    };
    let Some(start) = numbers("log").min().filter(|start| *start > 0) else { return };
    let newest = numbers("checkpoint").max();
    if newest.is_none_or(|end| end < start) {
        out.push(Violation {
            check: "Q10",
            at,
            node: Some(node),
            partition: None,
            what: format!("the metadata log begins at {start}, and no snapshot reaches it"),
            evidence: vec![format!(
                "the newest snapshot ends at {}",
                told(newest, "nothing: there is none")
            )],
        });
    }
}
