//! A disk whose segments are files that were written before, or nothing at all.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use ottla::runtime::{DirEntry, Disk, File, Io, OpenMode, SyncDone};

/// What happens to segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Segments {
    /// They are the real disk's.
    Fresh,
    /// They are this file, which was written before: no page is new to the kernel.
    Recycled(PathBuf),
    /// Their bytes go nowhere.
    Discarded,
}

/// The real disk, but for segments of topics.
pub(crate) struct BenchDisk {
    pub(crate) real: Arc<dyn Disk>,
    pub(crate) segments: Segments,
}

impl Disk for BenchDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> Io<Arc<dyn File>> {
        let is_metadata = path.to_string_lossy().contains("__cluster_metadata");
        let is_segment =
            !is_metadata && path.extension().is_some_and(|extension| extension == "log");
        let under = match &self.segments {
            Segments::Recycled(file) if is_segment => file,
            Segments::Discarded if is_segment => {
                return Io::ok(Arc::new(Segment { under: None, length: AtomicU64::new(0) }));
            }
            Segments::Fresh | Segments::Recycled(_) | Segments::Discarded => {
                return self.real.open(path, mode);
            }
        };
        let Io::Ready(opened) = self.real.open(under, OpenMode::ReadWrite) else {
            unreachable!("the real disk opens at the call");
        };
        Io::Ready(opened.map(|file| -> Arc<dyn File> {
            Arc::new(Segment { under: Some(file), length: AtomicU64::new(0) })
        }))
    }

    fn create_dir_all(&self, path: &Path) -> Io<()> {
        self.real.create_dir_all(path)
    }

    fn read_dir(&self, path: &Path) -> Io<Vec<DirEntry>> {
        self.real.read_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> Io<()> {
        self.real.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> Io<()> {
        self.real.remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> Io<()> {
        self.real.remove_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> Io<()> {
        self.real.sync_dir(path)
    }

    fn lock(&self, path: &Path) -> Io<Box<dyn Send + Sync>> {
        self.real.lock(path)
    }
}

/// A segment that begins empty, whatever its file holds.
struct Segment {
    under: Option<Arc<dyn File>>,
    length: AtomicU64,
}

impl File for Segment {
    fn read_at(&self, position: u64, length: usize) -> Io<Bytes> {
        let left = self.length.load(Ordering::Relaxed).saturating_sub(position);
        let length = length.min(usize::try_from(left).unwrap_or(usize::MAX));
        match &self.under {
            Some(under) => under.read_at(position, length),
            None => Io::ok(Bytes::new()),
        }
    }

    fn write_at(&self, position: u64, slices: Vec<Bytes>) -> Io<()> {
        let bytes: usize = slices.iter().map(Bytes::len).sum();
        self.length.fetch_max(position + bytes as u64, Ordering::Relaxed);
        match &self.under {
            Some(under) => under.write_at(position, slices),
            None => Io::ok(()),
        }
    }

    fn start_sync(&self, done: SyncDone) {
        done(Ok(()));
    }

    fn set_len(&self, length: u64) -> Io<()> {
        self.length.store(length, Ordering::Relaxed);
        Io::ok(())
    }

    fn length(&self) -> Io<u64> {
        Io::ok(self.length.load(Ordering::Relaxed))
    }
}
