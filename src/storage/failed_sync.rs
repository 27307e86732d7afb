//! After a failed sync the page cache shows bytes that will never reach the disk: the kernel marks the pages clean that it could
//! not write. A later process would read them, find the next sync succeed, and believe them durable. A power loss would then
//! leave a hole below the recovery point, where nobody looks for one.
//!
//! So who sees a sync fail leaves a mark beside the files, and who opens marked files writes anew whatever may not be durable:
//! into new files that take the names of the old, for names may be lost as well. The mark itself need not be durable: it
//! lives in the same cache as the lie it tells of. A process killed between the failure and the mark leaves none.
//!
//! Kafka has nothing like it.

use std::path::Path;

use super::{LogFileName, LogFiles, StorageError, Suffix};
use crate::runtime::{DirEntry, Disk, OpenMode, sync, temporary_path};
use crate::types::Offset;

/// The mark's name.
const MARK: &str = ".failed-sync";
/// Bytes copied at once.
const COPY_BYTES: usize = 1 << 20;

/// Leaves the mark in `dir`. A disk that takes nothing any more cannot be marked, and shows nothing either.
pub(super) async fn mark(disk: &dyn Disk, dir: &Path) {
    if let Err(error) = disk.open(&dir.join(MARK), OpenMode::Create).await {
        tracing::warn!(path = %dir.display(), %error, "a failed log directory cannot be marked");
    }
}

/// Whether the directory with these entries has the mark.
pub(super) fn is_marked(entries: &[DirEntry]) -> bool {
    entries.iter().any(|entry| entry.name == MARK)
}

/// Takes the mark from `dir`: all that it warned of is written anew.
///
/// # Errors
/// `Io`.
pub(super) async fn unmark(disk: &dyn Disk, dir: &Path) -> Result<(), StorageError> {
    let path = dir.join(MARK);
    disk.remove_file(&path).await.map_err(StorageError::on("remove a mark", &path))?;
    disk.sync_dir(dir).await.map_err(StorageError::on("sync a directory", dir))
}

/// Writes anew, durably, the segments that reach beyond `recovery_point`. Doing it twice does no harm. `names` are the log's
/// files, sorted; none of its segments is open yet.
///
/// # Errors
/// `Io`.
pub(super) async fn rewrite_segments(
    files: &LogFiles,
    names: &[LogFileName],
    recovery_point: Offset,
) -> Result<(), StorageError> {
    let segments: Vec<Offset> =
        names.iter().filter(|name| name.suffix == Suffix::Log).map(|name| name.offset).collect();
    let first = segments.partition_point(|base_offset| *base_offset <= recovery_point);
    for base_offset in &segments[first.saturating_sub(1)..] {
        crate::mark!("a segment is written anew after a failed sync");
        let path = files.path(*base_offset, Suffix::Log);
        let copied = copy_over(files.disk(), &path).await;
        copied.map_err(StorageError::on("write a segment anew", &path))?;
    }
    files.sync_dir().await
}

/// Gives the file's bytes to a new file of the same name.
async fn copy_over(disk: &dyn Disk, path: &Path) -> std::io::Result<()> {
    let temporary = temporary_path(path);
    let old = disk.open(path, OpenMode::Read).await?;
    let new = disk.open(&temporary, OpenMode::Truncate).await?;
    let mut position = 0;
    loop {
        let bytes = old.read_at(position, COPY_BYTES).await?;
        if bytes.is_empty() {
            break;
        }
        let length = bytes.len() as u64;
        new.write_at(position, vec![bytes]).await?;
        position += length;
    }
    sync(new.as_ref()).await?;
    disk.rename(&temporary, path).await
}
