//! A disk as a process sees it: the product's `Disk` and `File`, fenced by the boot they were opened in.

use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use ottla::runtime::{DirEntry, Disk, File, Io, OpenMode, SyncDone};

use super::super::events::Wait;
use super::super::{Boot, Process, SimTime, World};
use super::fault::Operation;
use super::tree::Inode;
use super::{SimDisk, State, WaitingSync};

/// The disk that one process is given.
pub(in super::super) struct NodeDisk(Access);

/// Who asks whom.
#[derive(Clone)]
struct Access {
    world: Arc<World>,
    disk: Arc<SimDisk>,
    process: Arc<Process>,
}

fn dead() -> io::Error {
    io::Error::other("the process that opened this has ended")
}

impl NodeDisk {
    pub(in super::super) fn new(
        world: &Arc<World>,
        disk: &Arc<SimDisk>,
        process: &Arc<Process>,
    ) -> Self {
        let (world, disk, process) = (Arc::clone(world), Arc::clone(disk), Arc::clone(process));
        Self(Access { world, disk, process })
    }
}

impl Access {
    /// Does `act` now, unless a fault says otherwise; the answer comes when the disk's latency says.
    fn act<T: Send + Unpin + 'static>(
        &self,
        operation: Operation,
        path: &str,
        act: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> Io<T> {
        if !self.process.is_alive() {
            return Io::failed(dead());
        }
        let now = self.world.now();
        let mut guard = self.disk.lock();
        let state = &mut *guard;
        let injected = state.faults.error(operation, path, &mut state.draw);
        let failure = injected.is_some().then(|| Failure {
            access: self.clone(),
            operation,
            path: path.to_owned(),
        });
        let result = match injected {
            Some(error) => Err(error),
            None => act(state),
        };
        let finished = state.faults.finished_at(now, operation, &mut state.draw);
        drop(guard);
        if matches!(&result, Err(error) if error.kind() == io::ErrorKind::StorageFull) {
            self.world.tell_space_refused(&self.process, path);
        }
        match finished {
            None => {
                failure.iter().for_each(Failure::tell);
                Io::Ready(result)
            }
            Some(at) => Io::Pending(Box::pin(self.later(at, result, failure))),
        }
    }

    fn later<T>(&self, at: SimTime, result: io::Result<T>, failure: Option<Failure>) -> Later<T> {
        let wait = self.world.events.wait_until(self.process.node, at);
        Later { wait, result: Some(result), failure }
    }

    fn name<T: Send + Unpin + 'static>(
        &self,
        what: &'static str,
        path: &Path,
        act: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> Io<T> {
        let operation = if what == "sync-dir" { Operation::SyncDir } else { Operation::Name };
        let path = path.to_string_lossy();
        self.world.trace_disk(&self.process, what, &path, 0, &[]);
        self.act(operation, &path, act)
    }
}

/// A result that is there already, and known to the caller later.
struct Later<T> {
    wait: Wait,
    result: Option<io::Result<T>>,
    /// Told when the caller hears of it: what fails here changes nothing on the disk.
    failure: Option<Failure>,
}

/// An operation that a fault made fail.
struct Failure {
    access: Access,
    operation: Operation,
    path: String,
}

impl Failure {
    fn tell(&self) {
        self.access.world.tell_disk_failed(&self.access.process, self.operation, &self.path);
    }
}

impl<T: Unpin> Future for Later<T> {
    type Output = io::Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        std::task::ready!(Pin::new(&mut self.wait).poll(cx));
        self.failure.take().iter().for_each(Failure::tell);
        Poll::Ready(
            self.result.take().unwrap_or_else(|| Err(io::Error::other("polled after its end"))),
        )
    }
}

impl Disk for NodeDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> Io<Arc<dyn File>> {
        let access = self.0.clone();
        let text: Arc<str> = path.to_string_lossy().into();
        self.0.world.trace_disk(&self.0.process, "open", &text, mode as u64, &[]);
        self.0.act(Operation::Open, &Arc::clone(&text), |state| {
            let inode = open(state, path, mode)?;
            state.tree.add_handle(inode);
            let generation = state.generation;
            let writable = mode != OpenMode::Read;
            let file = NodeFile { access, inode, generation, path: text, writable };
            Ok(Arc::new(file) as Arc<dyn File>)
        })
    }

    fn create_dir_all(&self, path: &Path) -> Io<()> {
        self.0.name("create-dir", path, |state| state.tree.create_dir_all(path))
    }

    fn read_dir(&self, path: &Path) -> Io<Vec<DirEntry>> {
        self.0.name("read-dir", path, |state| state.tree.read_dir(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> Io<()> {
        self.0.world.trace_disk(&self.0.process, "rename to", &to.to_string_lossy(), 0, &[]);
        self.0.name("rename", from, |state| state.tree.rename(from, to))
    }

    fn remove_file(&self, path: &Path) -> Io<()> {
        self.0.name("remove", path, |state| state.tree.remove_file(path))
    }

    fn remove_dir_all(&self, path: &Path) -> Io<()> {
        self.0.name("remove-dir", path, |state| state.tree.remove_dir_all(path))
    }

    fn sync_dir(&self, path: &Path) -> Io<()> {
        self.0.name("sync-dir", path, |state| {
            let inode = state.tree.find(path)?;
            state.tree.sync_dir(inode)
        })
    }

    fn lock(&self, path: &Path) -> Io<Box<dyn Send + Sync>> {
        let (disk, boot) = (Arc::clone(&self.0.disk), self.0.process.boot);
        self.0.name("lock", path, |state| {
            let inode = open(state, path, OpenMode::Create)?;
            if state.locks.contains_key(&inode) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            state.locks.insert(inode, boot);
            Ok(Box::new(LockGuard { disk, inode, boot }) as Box<dyn Send + Sync>)
        })
    }
}

fn open(state: &mut State, path: &Path, mode: OpenMode) -> io::Result<Inode> {
    let found = match state.tree.find(path) {
        Ok(inode) => Some(inode),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    match (found, mode) {
        (Some(_), OpenMode::CreateNew) => Err(io::ErrorKind::AlreadyExists.into()),
        (None, OpenMode::Read | OpenMode::ReadWrite) => Err(io::ErrorKind::NotFound.into()),
        (None, OpenMode::Create | OpenMode::CreateNew | OpenMode::Truncate) => {
            if state.faults.full {
                state.faults.took_effect(format!("disk-full {}", path.display()));
                return Err(io::ErrorKind::StorageFull.into());
            }
            state.tree.create(path)
        }
        (Some(inode), OpenMode::Truncate) => {
            state.tree.file(inode)?.set_len(0);
            Ok(inode)
        }
        (Some(inode), OpenMode::Read | OpenMode::ReadWrite | OpenMode::Create) => {
            state.tree.file(inode)?;
            Ok(inode)
        }
    }
}

/// Holds a lock file until it is dropped, or its process ends.
struct LockGuard {
    disk: Arc<SimDisk>,
    inode: Inode,
    boot: Boot,
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        let mut state = self.disk.lock();
        if state.locks.get(&self.inode) == Some(&self.boot) {
            state.locks.remove(&self.inode);
        }
    }
}

struct NodeFile {
    access: Access,
    inode: Inode,
    generation: u64,
    /// The path it was opened by: what fault patterns and traces name.
    path: Arc<str>,
    writable: bool,
}

impl NodeFile {
    fn may_write(&self) -> io::Result<()> {
        if self.writable { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }

    fn trace(&self, what: &'static str, position: u64, content: &[Bytes]) {
        self.access.world.trace_disk(&self.access.process, what, &self.path, position, content);
    }
}

impl File for NodeFile {
    fn read_at(&self, position: u64, length: usize) -> Io<Bytes> {
        self.access.act(Operation::Read, &self.path, |state| {
            let file = state.tree.file(self.inode)?;
            let bytes = Bytes::from(file.read(position, length));
            if file.is_rotten(position, bytes.len()) {
                state.faults.took_effect(format!("corrupt {}", self.path));
            }
            self.trace("read", position, std::slice::from_ref(&bytes));
            Ok(bytes)
        })
    }

    fn write_at(&self, position: u64, slices: Vec<Bytes>) -> Io<()> {
        if !self.access.process.is_alive() {
            return Io::failed(dead());
        }
        self.trace("write", position, &slices);
        self.access.act(Operation::Write, &self.path, |state| {
            self.may_write()?;
            let length: u64 = slices.iter().map(|slice| slice.len() as u64).sum();
            within_reason(position.saturating_add(length))?;
            write(state, self.inode, &self.path, position, &slices)
        })
    }

    fn start_sync(&self, done: SyncDone) {
        if !self.access.process.is_alive() {
            return drop(done);
        }
        let sync = WaitingSync {
            process: Arc::clone(&self.access.process),
            path: Arc::clone(&self.path),
            done,
        };
        self.access.world.begin_sync(&self.access.disk, self.inode, sync);
    }

    fn set_len(&self, length: u64) -> Io<()> {
        self.trace("set-length", length, &[]);
        self.access.act(Operation::Write, &self.path, |state| {
            self.may_write()?;
            within_reason(length)?;
            let growth = length.saturating_sub(state.tree.file(self.inode)?.length());
            if state.room_for(growth) < growth {
                state.faults.took_effect(format!("disk-full {}", self.path));
                return Err(io::ErrorKind::StorageFull.into());
            }
            state.tree.file(self.inode)?.set_len(length);
            Ok(())
        })
    }

    fn length(&self) -> Io<u64> {
        if !self.access.process.is_alive() {
            return Io::failed(dead());
        }
        Io::Ready(self.access.disk.lock().tree.file(self.inode).map(|file| file.length()))
    }
}

/// A file that long is a bug of who asks for it, and is told as the kernel does, rather than by the end of memory.
const FILE_MAX: u64 = 4 << 30;

fn within_reason(length: u64) -> io::Result<()> {
    if length > FILE_MAX { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(()) }
}

/// Writes what fits. As the kernel does: a prefix may be written before "no space" is told.
fn write(
    state: &mut State,
    inode: Inode,
    path: &str,
    position: u64,
    slices: &[Bytes],
) -> io::Result<()> {
    let length: u64 = slices.iter().map(|slice| slice.len() as u64).sum();
    let old_length = state.tree.file(inode)?.length();
    let growth = (position + length).saturating_sub(old_length);
    let room = if growth == 0 { 0 } else { state.room_for(growth) };
    if room < growth {
        state.faults.took_effect(format!("disk-full {path}"));
        let fits = usize::try_from((length + room).saturating_sub(growth)).unwrap_or(0);
        let mut all = slices.concat();
        all.truncate(fits);
        if !all.is_empty() {
            state.tree.file(inode)?.write(position, &[all]);
        }
        return Err(io::ErrorKind::StorageFull.into());
    }
    if state.faults.misdirects(path) {
        let end = (position + length).max(old_length);
        let mut wrong = state.draw.below(end.saturating_sub(length) + 1);
        if wrong == position {
            wrong = wrong.saturating_sub(length);
        }
        state.tree.file(inode)?.write_misdirected(position, wrong, &slices.concat());
        return Ok(());
    }
    state.tree.file(inode)?.write(position, slices);
    Ok(())
}

impl Drop for NodeFile {
    fn drop(&mut self) {
        let mut state = self.access.disk.lock();
        if state.generation == self.generation {
            state.tree.drop_handle(self.inode);
        }
    }
}
