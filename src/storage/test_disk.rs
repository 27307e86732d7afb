//! A disk in memory for this module's tests: a page cache over what is durable, with faults that a test sets.
//!
//! Bytes are durable after `start_sync`, names after `sync_dir`. [`TestDisk::power_loss`] keeps only what is durable and,
//! where asked, a torn part of the rest.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use bytes::Bytes;

use crate::runtime::{
    BoxFuture, Clock, Cores, DirEntry, Disk, File, Io, Listener, Net, Observer, OpenMode, Stream,
    SyncDone, Timer,
};
use crate::types::{Monotonic, Now, Observation};

/// The disk. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct TestDisk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// Names as programs see them; and as they are after a power loss.
    names: BTreeMap<PathBuf, Node>,
    durable_names: BTreeMap<PathBuf, Node>,
    locked: BTreeMap<PathBuf, u64>,
    faults: Faults,
    operations: Operations,
    /// Syncs that wait, where the test completes them by hand.
    held_syncs: Vec<(Arc<Mutex<Content>>, SyncDone)>,
}

/// What goes wrong from now on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// Bytes that may still be written before there is no space.
    pub(crate) space_left: Option<u64>,
    /// Each sync of a file fails.
    pub(crate) sync_fails: bool,
    /// Each write fails with an I/O error.
    pub(crate) write_fails: bool,
    /// Each read of a `.log` file fails.
    pub(crate) log_read_fails: bool,
    /// Syncs wait for [`TestDisk::release_syncs`].
    pub(crate) hold_syncs: bool,
    /// Writes are `Io::Pending`, done at the first poll.
    pub(crate) writes_pend: bool,
    /// After this many more changes (writes, renames, removals, cuts, syncs) every change fails: the power went.
    pub(crate) changes_left: Option<u64>,
}

/// How often what was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Operations {
    pub(crate) log_bytes_read: u64,
    pub(crate) writes: u64,
    pub(crate) syncs: u64,
}

#[derive(Clone)]
enum Node {
    Dir,
    File(Arc<Mutex<Content>>),
}

#[derive(Clone, Default)]
struct Content {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    /// What a failed sync dropped: it is read, and no later sync writes it.
    dropped: std::ops::Range<usize>,
}

impl Content {
    fn sync(&mut self) {
        self.durable = self.bytes.clone();
        let dropped = self.dropped.start..self.dropped.end.min(self.durable.len());
        if let Some(hole) = self.durable.get_mut(dropped) {
            hole.fill(0);
        }
    }
}

impl TestDisk {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    pub(crate) fn operations(&self) -> Operations {
        self.lock().operations
    }

    /// The process died: the page cache stays, locks are free, what it waited for never comes.
    pub(crate) fn kill(&self) {
        let mut state = self.lock();
        state.locked.clear();
        state.held_syncs.clear();
        state.faults = Faults::default();
    }

    /// The machine died. Of each file the durable bytes stay, and of what was written since, the first `kept` bytes.
    pub(crate) fn power_loss(&self, kept: usize) {
        self.kill();
        let mut state = self.lock();
        state.names = state.durable_names.clone();
        for node in state.names.values() {
            let Node::File(content) = node else { continue };
            let mut content = content.lock().unwrap();
            let torn = content.bytes.get(content.durable.len()..).unwrap_or_default();
            let torn = torn[..torn.len().min(kept)].to_vec();
            content.durable.extend(torn);
            content.bytes = content.durable.clone();
            content.dropped = 0..0;
        }
    }

    /// Completes the syncs that were held.
    pub(crate) fn release_syncs(&self) {
        let held = std::mem::take(&mut self.lock().held_syncs);
        for (content, done) in held {
            let mut content = content.lock().unwrap();
            content.sync();
            drop(content);
            done(Ok(()));
        }
    }

    /// Names and contents of the files in a directory, as a running program sees them.
    pub(crate) fn files_in(&self, dir: &Path) -> BTreeMap<String, Vec<u8>> {
        let state = self.lock();
        let mut files = BTreeMap::new();
        for (path, node) in &state.names {
            if let (Node::File(content), true) = (node, path.parent() == Some(dir)) {
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                files.insert(name, content.lock().unwrap().bytes.clone());
            }
        }
        files
    }

    /// Changes a file under everybody's feet.
    pub(crate) fn edit(&self, path: &Path, edit: impl FnOnce(&mut Vec<u8>)) {
        let state = self.lock();
        let Some(Node::File(content)) = state.names.get(path) else { panic!("no file {path:?}") };
        let mut content = content.lock().unwrap();
        edit(&mut content.bytes);
        content.durable = content.bytes.clone();
    }
}

impl State {
    /// Whether a change may still happen.
    fn change(&mut self) -> io::Result<()> {
        if let Some(left) = &mut self.faults.changes_left {
            *left = left.checked_sub(1).ok_or_else(|| io::Error::other("the power went"))?;
        }
        Ok(())
    }

    fn open(&mut self, path: &Path, mode: OpenMode) -> io::Result<Arc<Mutex<Content>>> {
        match (self.names.get(path), mode) {
            (Some(Node::Dir), _) => Err(io::ErrorKind::IsADirectory.into()),
            (Some(Node::File(_)), OpenMode::CreateNew) => Err(io::ErrorKind::AlreadyExists.into()),
            (Some(Node::File(content)), OpenMode::Truncate) => {
                let content = content.clone();
                self.change()?;
                content.lock().unwrap().bytes.clear();
                Ok(content)
            }
            (Some(Node::File(content)), _) => Ok(content.clone()),
            (None, OpenMode::Read | OpenMode::ReadWrite) => Err(io::ErrorKind::NotFound.into()),
            (None, OpenMode::Create | OpenMode::CreateNew | OpenMode::Truncate) => {
                self.change()?;
                if self.faults.space_left == Some(0) {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                let parent = path.parent().unwrap();
                if !self.names.contains_key(parent) {
                    return Err(io::ErrorKind::NotFound.into());
                }
                let content = Arc::new(Mutex::new(Content::default()));
                self.names.insert(path.to_owned(), Node::File(content.clone()));
                Ok(content)
            }
        }
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.change()?;
        let node = self.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        self.names.insert(to.to_owned(), node);
        let inside: Vec<PathBuf> =
            self.names.keys().filter(|path| path.starts_with(from)).cloned().collect();
        for path in inside {
            let node = self.names.remove(&path).unwrap();
            self.names.insert(to.join(path.strip_prefix(from).unwrap()), node);
        }
        Ok(())
    }

    fn sync_dir(&mut self, dir: &Path) -> io::Result<()> {
        self.change()?;
        self.durable_names.retain(|path, _| path.parent() != Some(dir));
        for (path, node) in &self.names {
            if path.parent() == Some(dir) {
                self.durable_names.insert(path.clone(), node.clone());
            }
        }
        // What stood in a directory that is gone is gone too.
        let names = &self.durable_names;
        let gone: Vec<PathBuf> = names
            .keys()
            .filter(|path| {
                path.parent()
                    .is_some_and(|parent| parent != Path::new("/") && !names.contains_key(parent))
            })
            .cloned()
            .collect();
        for path in gone {
            self.durable_names.remove(&path);
        }
        Ok(())
    }
}

impl Disk for TestDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> Io<Arc<dyn File>> {
        let content = match self.lock().open(path, mode) {
            Ok(content) => content,
            Err(error) => return Io::failed(error),
        };
        let is_log = path.extension().is_some_and(|extension| extension == "log");
        Io::ok(Arc::new(TestFile { disk: self.clone(), content, is_log }))
    }

    fn create_dir_all(&self, path: &Path) -> Io<()> {
        let mut state = self.lock();
        for ancestor in path.ancestors() {
            state.names.entry(ancestor.to_owned()).or_insert(Node::Dir);
            // The tests do not lose directories.
            state.durable_names.entry(ancestor.to_owned()).or_insert(Node::Dir);
        }
        Io::ok(())
    }

    fn read_dir(&self, path: &Path) -> Io<Vec<DirEntry>> {
        let state = self.lock();
        if !state.names.contains_key(path) {
            return Io::failed(io::ErrorKind::NotFound);
        }
        let entries = state.names.iter().filter(|(name, _)| name.parent() == Some(path));
        let entries = entries.map(|(name, node)| DirEntry {
            name: name.file_name().unwrap().to_str().unwrap().to_owned(),
            is_dir: matches!(node, Node::Dir),
        });
        Io::ok(entries.collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> Io<()> {
        Io::Ready(self.lock().rename(from, to))
    }

    fn remove_file(&self, path: &Path) -> Io<()> {
        let mut state = self.lock();
        if !state.names.contains_key(path) {
            return Io::failed(io::ErrorKind::NotFound);
        }
        if let Err(error) = state.change() {
            return Io::failed(error);
        }
        state.names.remove(path);
        Io::ok(())
    }

    fn remove_dir_all(&self, path: &Path) -> Io<()> {
        let mut state = self.lock();
        if let Err(error) = state.change() {
            return Io::failed(error);
        }
        state.names.retain(|name, _| !name.starts_with(path));
        Io::ok(())
    }

    fn sync_dir(&self, path: &Path) -> Io<()> {
        Io::Ready(self.lock().sync_dir(path))
    }

    fn lock(&self, path: &Path) -> Io<Box<dyn Send + Sync>> {
        let mut state = TestDisk::lock(self);
        if state.locked.contains_key(path) {
            return Io::failed(io::ErrorKind::WouldBlock);
        }
        let id = state.locked.len() as u64;
        state.locked.insert(path.to_owned(), id);
        Io::ok(Box::new(Lock { disk: self.clone(), path: path.to_owned() }))
    }
}

struct Lock {
    disk: TestDisk,
    path: PathBuf,
}

impl Drop for Lock {
    fn drop(&mut self) {
        TestDisk::lock(&self.disk).locked.remove(&self.path);
    }
}

struct TestFile {
    disk: TestDisk,
    content: Arc<Mutex<Content>>,
    is_log: bool,
}

impl TestFile {
    fn write(&self, position: u64, slices: &[Bytes]) -> io::Result<()> {
        let mut state = self.disk.lock();
        state.operations.writes += 1;
        state.change()?;
        if state.faults.write_fails {
            return Err(io::Error::other("the device does not write"));
        }
        let positions = usize::try_from(position).unwrap()..;
        for (at, byte) in positions.zip(slices.iter().flatten()) {
            if let Some(left) = &mut state.faults.space_left {
                *left = left.checked_sub(1).ok_or(io::ErrorKind::StorageFull)?;
            }
            let mut content = self.content.lock().unwrap();
            let length = content.bytes.len().max(at + 1);
            content.bytes.resize(length, 0);
            content.bytes[at] = *byte;
        }
        Ok(())
    }
}

impl File for TestFile {
    fn read_at(&self, position: u64, length: usize) -> Io<Bytes> {
        let mut state = self.disk.lock();
        if self.is_log && state.faults.log_read_fails {
            return Io::failed(io::Error::other("the device does not read"));
        }
        let content = self.content.lock().unwrap();
        let from = usize::try_from(position).unwrap().min(content.bytes.len());
        let to = from.saturating_add(length).min(content.bytes.len());
        if self.is_log {
            state.operations.log_bytes_read += (to - from) as u64;
        }
        Io::ok(Bytes::copy_from_slice(&content.bytes[from..to]))
    }

    fn write_at(&self, position: u64, slices: Vec<Bytes>) -> Io<()> {
        if self.disk.lock().faults.writes_pend {
            let file =
                TestFile { disk: self.disk.clone(), content: self.content.clone(), is_log: true };
            return Io::Pending(Box::pin(async move { file.write(position, &slices) }));
        }
        Io::Ready(self.write(position, &slices))
    }

    fn start_sync(&self, done: SyncDone) {
        let mut state = self.disk.lock();
        state.operations.syncs += 1;
        let result = state.change();
        if state.faults.sync_fails || result.is_err() {
            let drops = state.faults.sync_fails;
            drop(state);
            if drops {
                let mut content = self.content.lock().unwrap();
                content.dropped = content.durable.len()..content.bytes.len();
            }
            return done(Err(io::Error::other("the device does not sync")));
        }
        if state.faults.hold_syncs {
            state.held_syncs.push((self.content.clone(), done));
            return;
        }
        let mut content = self.content.lock().unwrap();
        content.sync();
        drop(content);
        drop(state);
        done(Ok(()));
    }

    fn set_len(&self, length: u64) -> Io<()> {
        let mut state = self.disk.lock();
        if let Err(error) = state.change() {
            return Io::failed(error);
        }
        let mut content = self.content.lock().unwrap();
        content.bytes.resize(usize::try_from(length).unwrap(), 0);
        Io::ok(())
    }

    fn length(&self) -> Io<u64> {
        Io::ok(self.content.lock().unwrap().bytes.len() as u64)
    }
}

/// Runs a future that never has to wait: everything on the disk in memory is done at the call.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    for _ in 0..1_000 {
        if let std::task::Poll::Ready(value) = future.as_mut().poll(&mut cx) {
            return value;
        }
    }
    panic!("the future waits for something that does not come");
}

/// A world with this disk, a clock that stands still unless it is set, and nothing else. What is observed is kept.
pub(crate) fn test_env(disk: &TestDisk) -> (crate::runtime::Env, Arc<TestWorld>) {
    let world = Arc::new(TestWorld::default());
    let env = crate::runtime::Env {
        net: world.clone(),
        disk: Arc::new(disk.clone()),
        clock: world.clone(),
        cores: world.clone(),
        seed: 7,
        members: Arc::default(),
        observer: world.clone(),
    };
    (env, world)
}

/// The rest of the world.
#[derive(Default)]
pub(crate) struct TestWorld {
    observed: Mutex<Vec<Observation>>,
    now: Arc<Mutex<Now>>,
}

impl TestWorld {
    /// What was observed since the last call.
    pub(crate) fn observed(&self) -> Vec<Observation> {
        std::mem::take(&mut self.observed.lock().unwrap())
    }

    pub(crate) fn set_now(&self, now: Now) {
        *self.now.lock().unwrap() = now;
    }
}

impl Observer for TestWorld {
    fn observe(&self, observation: Observation) {
        self.observed.lock().unwrap().push(observation);
    }
}

impl Clock for TestWorld {
    fn now(&self) -> Now {
        *self.now.lock().unwrap()
    }

    fn timer(&self) -> Box<dyn Timer> {
        Box::new(HandTimer(self.now.clone()))
    }
}

/// Moments come when the clock is set. Nobody is woken for it: the test polls again.
struct HandTimer(Arc<Mutex<Now>>);

impl Timer for HandTimer {
    fn poll_at(&mut self, deadline: Monotonic, _: &mut Context<'_>) -> Poll<()> {
        let now = self.0.lock().unwrap().monotonic;
        if now >= deadline { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Cores for TestWorld {
    fn spawn_on_next(&self, _: Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>) {
        unreachable!("storage serves no connections")
    }
}

impl Net for TestWorld {
    fn listen(&self, _: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        unreachable!("storage has no network")
    }

    fn connect(&self, _: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        unreachable!("storage has no network")
    }

    fn resolve(&self, _: &str, _: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        unreachable!("storage has no network")
    }
}
