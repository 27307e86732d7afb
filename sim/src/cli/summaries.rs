//! Where summaries lie in an out directory. A file is there whole or not at all.

use std::path::Path;

use super::Stop;
use crate::explore::{Shard, Summary};

/// The file of a summary in its out directory.
pub(super) fn summary_name(shard: Shard) -> String {
    match shard {
        Shard::WHOLE => "summary.json".into(),
        Shard { number, of } => format!("summary-{number}-of-{of}.json"),
    }
}

/// Leaves a summary in the out directory.
pub(super) fn keep_summary(out: &Path, shard: Shard, summary: &Summary) -> Result<(), Stop> {
    let text = serde_json::to_string_pretty(&summary.to_json()).map_err(Stop::bad_input)?;
    write_whole(&out.join(summary_name(shard)), &(text + "\n"))
}

/// Finds out before long work whether its file can be written in the end. What is there stays.
pub(super) fn may_write(out: &Path, name: &str) -> Result<(), Stop> {
    let probe = out.join(name).with_extension("probe");
    let tried = std::fs::create_dir_all(out).and_then(|()| std::fs::write(&probe, b""));
    let tried = tried.and_then(|()| std::fs::remove_file(&probe));
    tried.map_err(|error| {
        Stop::bad_input(format!(
            "{}: nothing can be written there: {error}; --out names another directory",
            out.display()
        ))
    })
}

/// Writes a file whole or not at all.
pub(super) fn write_whole(path: &Path, text: &str) -> Result<(), Stop> {
    let half = path.with_extension("new");
    let written = std::fs::write(&half, text).and_then(|()| std::fs::rename(&half, path));
    written.map_err(|error| {
        // What is left of a failed attempt says nothing to anybody; that it cannot be removed neither.
        let _ = std::fs::remove_file(&half);
        Stop::bad_input(format!("{}: {error}", path.display()))
    })
}
