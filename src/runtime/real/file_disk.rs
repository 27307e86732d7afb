//! The kernel's files. Reads and writes are calls into the page cache, made at once; what waits for a device runs on its thread.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, IoSlice};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::disk_thread::{DiskThread, DiskThreads};
use crate::runtime::{DirEntry, Disk, File, Io, OpenMode, SyncDone};

/// How many bytes one call writes. A longer one makes Linux fill its page cache in larger folios, of memory that is seldom warm: a
/// megabyte a call costs five times the CPU of these (`BENCHMARKS.md`).
const BYTES_PER_CALL: usize = 64 << 10;
/// How many slices one call writes: they fit on the stack, and no kernel takes fewer (`_XOPEN_IOV_MAX` is 16, Linux has 1,024).
/// What is longer takes several calls.
const SLICES_PER_CALL: usize = if cfg!(target_os = "linux") { 64 } else { 16 };

/// Longer reads ask for the file's length first (one cheap call more): a caller that asks for far too much gets no memory for it.
const LONG_READ: usize = 1 << 20;

/// The kernel's file systems. Relative paths start at the process's working directory.
pub(super) struct FileDisk {
    threads: DiskThreads,
}

impl FileDisk {
    pub(super) fn new() -> Self {
        Self { threads: DiskThreads::default() }
    }

    /// Runs `job` on the thread of the device on which `beside` lies.
    fn on_thread<T: Send + 'static>(
        &self,
        beside: &Path,
        job: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Io<T> {
        let thread = fs::symlink_metadata(beside).and_then(|found| self.threads.of(found.dev()));
        match thread {
            Ok(thread) => thread.ask(job),
            Err(error) => Io::failed(error),
        }
    }

    fn open_now(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let file = options(mode).open(path).map_err(no_space)?;
        let found = file.metadata()?;
        if found.is_dir() {
            return Err(ErrorKind::IsADirectory.into());
        }
        let thread = self.threads.of(found.dev())?;
        Ok(Arc::new(OpenFile { file: Arc::new(file), thread }))
    }
}

fn options(mode: OpenMode) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true);
    match mode {
        OpenMode::Read => &mut options,
        OpenMode::ReadWrite => options.write(true),
        OpenMode::Create => options.write(true).create(true),
        OpenMode::CreateNew => options.write(true).create_new(true),
        OpenMode::Truncate => options.write(true).create(true).truncate(true),
    };
    options
}

impl Disk for FileDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> Io<Arc<dyn File>> {
        Io::Ready(self.open_now(path, mode))
    }

    fn create_dir_all(&self, path: &Path) -> Io<()> {
        Io::Ready(fs::create_dir_all(path).map_err(no_space))
    }

    fn read_dir(&self, path: &Path) -> Io<Vec<DirEntry>> {
        let folder = path.to_path_buf();
        self.on_thread(path, move || entries(&folder))
    }

    fn rename(&self, from: &Path, to: &Path) -> Io<()> {
        let (source, target) = (from.to_path_buf(), to.to_path_buf());
        self.on_thread(from, move || fs::rename(source, target).map_err(no_space))
    }

    fn remove_file(&self, path: &Path) -> Io<()> {
        let name = path.to_path_buf();
        self.on_thread(path, move || fs::remove_file(name))
    }

    fn remove_dir_all(&self, path: &Path) -> Io<()> {
        let folder = path.to_path_buf();
        self.on_thread(path, move || fs::remove_dir_all(folder))
    }

    fn sync_dir(&self, path: &Path) -> Io<()> {
        let folder = path.to_path_buf();
        self.on_thread(path, move || fs::File::open(folder)?.sync_all())
    }

    fn lock(&self, path: &Path) -> Io<Box<dyn Send + Sync>> {
        Io::Ready(lock_now(path))
    }
}

/// The entries of a directory, sorted. A link to a directory counts as one, as for Kafka's `File.isDirectory`. A name that is
/// not UTF-8 is foreign to us; it comes with replacement characters.
fn entries(folder: &Path) -> io::Result<Vec<DirEntry>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let is_dir = if kind.is_symlink() { entry.path().is_dir() } else { kind.is_dir() };
        found.push(DirEntry { name: entry.file_name().to_string_lossy().into_owned(), is_dir });
    }
    found.sort();
    Ok(found)
}

/// `flock`: it belongs to the open file, so it also excludes a second node of this process, and ends with it.
fn lock_now(path: &Path) -> io::Result<Box<dyn Send + Sync>> {
    let file = options(OpenMode::Create).open(path).map_err(no_space)?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(Box::new(file))
}

/// An open file.
struct OpenFile {
    /// Shared with syncs under way: the last of them closes it.
    file: Arc<fs::File>,
    thread: DiskThread,
}

impl File for OpenFile {
    fn read_at(&self, position: u64, length: usize) -> Io<Bytes> {
        Io::Ready(read_now(&self.file, position, length))
    }

    fn write_at(&self, position: u64, slices: Vec<Bytes>) -> Io<()> {
        Io::Ready(write_now(&self.file, position, &slices).map_err(no_space))
    }

    fn start_sync(&self, done: SyncDone) {
        let file = self.file.clone();
        self.thread.run(move || done(file.sync_data().map_err(no_space)));
    }

    fn set_len(&self, length: u64) -> Io<()> {
        Io::Ready(self.file.set_len(length).map_err(no_space))
    }

    fn length(&self) -> Io<u64> {
        Io::Ready(self.file.metadata().map(|found| found.len()))
    }
}

/// Reads into memory that is written once, by the kernel.
fn read_now(file: &fs::File, position: u64, mut length: usize) -> io::Result<Bytes> {
    if length > LONG_READ {
        let left = file.metadata()?.len().saturating_sub(position);
        length = length.min(usize::try_from(left).unwrap_or(usize::MAX));
    }
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(length)?;
    while bytes.len() < length {
        let from = position + bytes.len() as u64;
        match rustix::io::pread(file, spare_capacity(&mut bytes), from) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    bytes.truncate(length); // the allocator may have given more
    Ok(bytes.into())
}

/// Writes all of `slices`, however many calls that takes.
fn write_now(file: &fs::File, mut position: u64, slices: &[Bytes]) -> io::Result<()> {
    let mut slices = slices.iter();
    let mut rest: &[u8] = &[];
    loop {
        let mut list = [IoSlice::new(&[]); SLICES_PER_CALL];
        let (mut count, mut room) = (0, BYTES_PER_CALL);
        while count < SLICES_PER_CALL && room > 0 {
            if rest.is_empty() {
                let Some(next) = slices.next() else { break };
                rest = next;
                continue;
            }
            let (piece, after) = rest.split_at(rest.len().min(room));
            list[count] = IoSlice::new(piece);
            (count, room, rest) = (count + 1, room - piece.len(), after);
        }
        if count == 0 {
            return Ok(());
        }
        position += write_all(file, position, &mut list[..count])?;
    }
}

/// Writes a list that one call may take; how many bytes that were.
fn write_all(file: &fs::File, position: u64, mut left: &mut [IoSlice<'_>]) -> io::Result<u64> {
    let mut done = 0;
    while !left.is_empty() {
        match rustix::io::pwritev(file, left, position + done) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => {
                done += written as u64;
                IoSlice::advance_slices(&mut left, written);
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(done)
}

/// A full quota is a full disk to us: both heal when space is freed.
fn no_space(error: io::Error) -> io::Error {
    if error.kind() == ErrorKind::QuotaExceeded {
        return io::Error::new(ErrorKind::StorageFull, error);
    }
    error
}
