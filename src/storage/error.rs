//! What may go wrong with files, in words that a person can act on.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An operating error of storage. Prints four lines: what, where, why, what next.
#[derive(Clone, Debug)]
pub enum StorageError {
    /// The disk refused an operation.
    Io {
        /// What was tried, as in `write a segment`.
        what: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the world said.
        why: Arc<io::Error>,
    },
    /// Another process holds the lock of a log directory.
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// A log directory that was never formatted.
    Unformatted {
        /// The directory.
        path: PathBuf,
    },
    /// A log directory of another node or cluster.
    Foreign {
        /// The file that says so.
        path: PathBuf,
        /// In words, as in `it belongs to node 2, this is node 1`.
        why: String,
    },
    /// A file whose content is not what its name promises.
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where in it, in bytes.
        position: u64,
        /// In words.
        why: String,
    },
    /// The log directory failed earlier and is out of use until the next start.
    Offline {
        /// The directory.
        path: PathBuf,
    },
}

impl StorageError {
    /// The disk refused `what` on `path`.
    pub fn io(what: &'static str, path: &Path, why: io::Error) -> Self {
        Self::Io { what, path: path.to_owned(), why: Arc::new(why) }
    }

    /// For `map_err`.
    pub(crate) fn on<'a>(
        what: &'static str,
        path: &'a Path,
    ) -> impl FnOnce(io::Error) -> Self + use<'a> {
        move |why| Self::io(what, path, why)
    }

    /// A file holds what it should not.
    pub fn corrupt(path: &Path, position: u64, why: impl Into<String>) -> Self {
        Self::Corrupt { path: path.to_owned(), position, why: why.into() }
    }

    /// Whether the disk had no space, which leaves the directory in use.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        matches!(self, Self::Io { why, .. } if is_no_space(why))
    }
}

/// Whether an operation failed for want of space (Kafka makes no difference; the decision is ours: the directory stays online).
#[must_use]
fn is_no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, path, why, next): (&str, &Path, String, &str) = match self {
            Self::Io { what, path, why } => {
                let next = if why.kind() == io::ErrorKind::PermissionDenied {
                    "give the user of this process access to it"
                } else if is_no_space(why) {
                    "free space on that disk; nothing stored is lost"
                } else {
                    "look at the disk (its kernel log), then start again"
                };
                return write_lines(f, &format!("cannot {what}"), path, &why.to_string(), next);
            }
            Self::Locked { path } => (
                "the log directory is in use",
                path,
                "another process holds its lock".to_owned(),
                "stop that process, or give this node other log.dirs",
            ),
            Self::Unformatted { path } => (
                "the log directory is not formatted",
                path,
                "it has no meta.properties".to_owned(),
                "ottla format -c server.properties",
            ),
            Self::Foreign { path, why } => (
                "the log directory belongs to somebody else",
                path,
                why.clone(),
                "correct node.id or log.dirs; or move the directory away and format",
            ),
            Self::Corrupt { path, position, why } => (
                "a file is damaged",
                path,
                format!("at byte {position}: {why}"),
                "keep a copy of the directory; restore the file, or move it away and start again",
            ),
            Self::Offline { path } => (
                "the log directory is offline",
                path,
                "the disk failed earlier; nothing is written to it any more".to_owned(),
                "replace the disk, then start the node again",
            ),
        };
        write_lines(f, what, path, &why, next)
    }
}

fn write_lines(
    f: &mut fmt::Formatter<'_>,
    what: &str,
    path: &Path,
    why: &str,
    next: &str,
) -> fmt::Result {
    write!(f, "{what}\n  where: {}\n  why:   {why}\n  next:  {next}", path.display())
}

impl std::error::Error for StorageError {}
