//! A machine's disk: a page cache over blocks, a tree of names, faults, and what a power loss leaves.
//!
//! `write` dirties; a file's sync makes its bytes and its length durable; a name is durable once its directory is synced;
//! rename is atomic at once and durable with that sync; open handles survive the removal of their name. The disk outlives
//! processes; their handles do not.

mod fault;
mod node;
mod page_cache;
mod power;
mod tree;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use ottla::runtime::SyncDone;

pub use fault::{DiskError, DiskFaultId, DiskLatency, Operation};
pub(super) use node::NodeDisk;
pub use power::{PowerLoss, PowerLossMode};

use super::events::Event as WorldEvent;
use super::{Boot, Draw, Look, NodeId, Process, SimTime, World};
use crate::trace::Kind;
use fault::Faults;
use tree::{Inode, Tree};

/// A disk, as the testbed sees it.
pub struct SimDisk(Mutex<State>);

struct State {
    tree: Tree,
    faults: Faults,
    draw: Draw,
    /// Who holds which lock file.
    locks: BTreeMap<Inode, Boot>,
    /// Raised by whatever ends all handles: the end of the process, power loss, wipe.
    generation: u64,
    /// Raised by power loss and wipe: what was under way then never ends.
    power: u64,
    /// Syncs that wait for the one under way on their file.
    waiting: BTreeMap<Inode, VecDeque<WaitingSync>>,
}

struct WaitingSync {
    process: Arc<Process>,
    path: Arc<str>,
    done: SyncDone,
}

/// A sync of a file has ended.
pub(crate) struct Event {
    node: NodeId,
    inode: Inode,
    power: u64,
    /// Whether the device fails it.
    error: Option<io::Error>,
    sync: WaitingSync,
}

/// How a file looks to an oracle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileView {
    /// What readers see.
    pub content: Bytes,
    /// What the harshest power loss would leave of it.
    pub durable: Bytes,
}

impl SimDisk {
    pub(super) fn new(draw: Draw) -> Self {
        Self(Mutex::new(State {
            tree: Tree::new(),
            faults: Faults::default(),
            draw,
            locks: BTreeMap::new(),
            generation: 0,
            power: 0,
            waiting: BTreeMap::new(),
        }))
    }

    /// Draws from another generator from now on.
    pub(super) fn reseed(&self, draw: Draw) {
        self.lock().draw = draw;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Where something panics all the same, the next to come need not: it may be a destructor.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long operations take from now on.
    pub fn set_latency(&self, latency: DiskLatency) {
        self.lock().faults.latency = latency;
    }

    /// Lets nothing be finished before `until`. Operations that are under way end in time.
    pub fn stall(&self, until: SimTime) {
        self.lock().faults.stalled_until = until;
    }

    /// Lets operations fail.
    pub fn fail(&self, error: DiskError) -> DiskFaultId {
        self.lock().faults.add_error(error)
    }

    /// Lets the next `count` writes to files that match `path` go to another place of the same file.
    pub fn misdirect(&self, path: &str, count: u32) -> DiskFaultId {
        self.lock().faults.add_misdirected(path, count)
    }

    /// Ends a fault that [`SimDisk::fail`] or [`SimDisk::misdirect`] began.
    pub fn lift(&self, fault: DiskFaultId) {
        self.lock().faults.lift(fault);
    }

    /// Ends every fault: errors, stalls, fullness, rot. The latency and the capacity stay.
    pub fn lift_all(&self) {
        let mut state = self.lock();
        state.faults.lift_all();
        for (_, inode) in state.tree.files() {
            if let Ok(file) = state.tree.file(inode) {
                file.lift_rot();
            }
        }
    }

    /// How many bytes fit; `None` for any number.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().faults.capacity = bytes;
    }

    /// Whether nothing fits any more, whatever the capacity.
    pub fn set_full(&self, full: bool) {
        self.lock().faults.full = full;
    }

    /// How many bytes are in use.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.lock().tree.used()
    }

    /// How often an injected error, a misdirected write or a lack of space met an operation.
    #[must_use]
    pub fn faults_taken(&self) -> u64 {
        self.lock().faults.taken()
    }

    /// How many blocks and names a power loss now could take.
    #[must_use]
    pub fn unsynced(&self) -> (usize, usize) {
        let mut state = self.lock();
        let files = state.tree.files();
        let blocks = files
            .iter()
            .map(|(_, inode)| state.tree.file(*inode).map_or(0, |file| file.unsynced_blocks()));
        (blocks.sum(), state.tree.unsynced_changes())
    }

    /// Flips `bits` drawn bits within `range` of a file; the range is cut to the file. The positions, sorted.
    ///
    /// Errors: `NotFound`; `UnexpectedEof` where no byte of the file is in the range.
    pub fn rot(&self, path: &Path, range: std::ops::Range<u64>, bits: u32) -> io::Result<Vec<u64>> {
        let mut guard = self.lock();
        let state = &mut *guard;
        let inode = state.tree.find(path)?;
        let file = state.tree.file(inode)?;
        let end = range.end.min(file.length());
        if range.start >= end {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut rotten = Vec::new();
        for _ in 0..bits {
            let position = range.start + state.draw.below(end - range.start);
            let byte = file.read(position, 1)[0] ^ (1 << state.draw.below(8));
            // A second flip of the same bit would heal it: that byte then rots in all bits.
            let pristine = file.pristine_byte(position).expect("inside the file");
            file.rot_byte(position, if byte == pristine { !byte } else { byte });
            rotten.push(position);
        }
        rotten.sort_unstable();
        Ok(rotten)
    }

    /// Lets a file read as it was written again. False where it did not rot.
    pub fn lift_rot(&self, path: &Path) -> io::Result<bool> {
        let mut state = self.lock();
        let inode = state.tree.find(path)?;
        Ok(state.tree.file(inode)?.lift_rot())
    }

    /// The paths of all files, sorted.
    #[must_use]
    pub fn files(&self) -> Vec<String> {
        self.lock().tree.files().into_iter().map(|(path, _)| path).collect()
    }

    /// A file, for an oracle. Costs no time and leaves no trace.
    ///
    /// Errors: `NotFound`, `IsADirectory`.
    pub fn view(&self, path: &Path) -> io::Result<FileView> {
        let mut state = self.lock();
        let inode = state.tree.find(path)?;
        let file = state.tree.file(inode)?;
        Ok(FileView { content: file.read(0, usize::MAX).into(), durable: file.durable(0).into() })
    }

    /// What readers see of a file from byte `from` on, for an oracle.
    ///
    /// Errors: as [`SimDisk::view`].
    pub fn content_from(&self, path: &Path, from: usize) -> io::Result<Bytes> {
        let mut state = self.lock();
        let inode = state.tree.find(path)?;
        Ok(state.tree.file(inode)?.read(from as u64, usize::MAX).into())
    }

    /// What the harshest power loss would leave under a name from byte `from` on, for an oracle: of the file before, where another one
    /// has taken its name and that is not durable (swarm-disk, seed 83).
    ///
    /// Errors: as [`SimDisk::view`]; `NotFound` where it would leave no such name.
    pub fn durable_from(&self, path: &Path, from: usize) -> io::Result<Bytes> {
        let mut state = self.lock();
        let inode = state.tree.find_durable(path)?;
        Ok(state.tree.file(inode)?.durable(from as u64).into())
    }

    /// What was done to a file since an oracle looked at it before.
    ///
    /// Errors: as [`SimDisk::view`].
    pub fn look(&self, path: &Path) -> io::Result<Look> {
        let mut state = self.lock();
        let inode = state.tree.find(path)?;
        let is_name_durable = state.tree.find_durable(path).is_ok_and(|durable| durable == inode);
        let (changed_from, durable_below) = state.tree.file(inode)?.look();
        let durable_below = if is_name_durable { durable_below } else { 0 };
        Ok(Look { file: inode, changed_from, durable_below })
    }

    pub(super) fn lose_power(&self, mode: PowerLossMode) -> PowerLoss {
        let mut guard = self.lock();
        let state = &mut *guard;
        let mut loss = PowerLoss::default();
        let mut names: BTreeMap<Inode, String> =
            state.tree.files().into_iter().map(|(path, inode)| (inode, path)).collect();
        // Files without a name too: a lost removal brings them back.
        for inode in state.tree.all_files() {
            let Ok(file) = state.tree.file(inode) else { continue };
            let lost = file.lose_power(mode, &mut state.draw);
            let Some(path) = names.remove(&inode) else { continue };
            loss.bytes_lost += lost.bytes_lost;
            loss.files_torn += u64::from(lost.torn);
            if lost.bytes_lost > 0 || lost.torn {
                loss.files.push(path);
            }
        }
        loss.files.sort_unstable();
        loss.entries_lost = state.tree.lose_power(mode, &mut state.draw);
        let waiting = state.end_handles();
        state.power += 1;
        drop(guard);
        drop(waiting);
        loss
    }

    pub(super) fn process_ended(&self, boot: Boot) {
        let mut state = self.lock();
        state.locks.retain(|_, holder| *holder != boot);
        state.tree.drop_handles();
        state.generation += 1;
    }

    pub(super) fn wipe(&self) {
        let mut state = self.lock();
        let empty = state.tree.emptied();
        let old = std::mem::replace(&mut state.tree, empty);
        state.power += 1;
        let waiting = state.end_handles();
        drop(state);
        drop((old, waiting));
    }
}

impl State {
    /// Ends all handles and locks. What it returns is dropped with nothing locked.
    #[must_use]
    fn end_handles(&mut self) -> BTreeMap<Inode, VecDeque<WaitingSync>> {
        self.generation += 1;
        self.locks.clear();
        self.tree.drop_handles();
        std::mem::take(&mut self.waiting)
    }

    /// How many of `wanted` more bytes fit.
    fn room_for(&self, wanted: u64) -> u64 {
        if self.faults.full {
            return 0;
        }
        match self.faults.capacity {
            Some(capacity) => wanted.min(capacity.saturating_sub(self.tree.used())),
            None => wanted,
        }
    }
}

impl World {
    /// Adds a disk operation to the trace.
    fn trace_disk(
        &self,
        process: &Process,
        what: &'static str,
        path: &str,
        position: u64,
        content: &[Bytes],
    ) {
        self.trace.add(
            self.now(),
            process.node,
            Kind::Disk,
            |mixer| {
                mixer.bytes(what.as_bytes());
                mixer.bytes(path.as_bytes());
                mixer.word(position);
                content.iter().for_each(|bytes| mixer.bytes(bytes));
            },
            || {
                let length: usize = content.iter().map(Bytes::len).sum();
                format!("{what} {path} at {position}, {length} bytes")
            },
        );
    }

    /// Tells that the device fails an operation. The caller holds no lock of the world.
    fn tell_disk_failed(&self, process: &Process, operation: Operation, path: &str) {
        let (node, boot, path) = (process.node, process.boot, path.to_owned());
        self.tell(&super::WorldEvent::DiskFailed { node, boot, operation, path });
    }

    /// Tells that the device has no space for an operation. The caller holds no lock of the world.
    fn tell_space_refused(&self, process: &Process, path: &str) {
        let (node, boot, path) = (process.node, process.boot, path.to_owned());
        self.tell(&super::WorldEvent::SpaceRefused { node, boot, path });
    }

    /// Tells of faults that took effect. Nothing is locked.
    fn tell_disk_faults(&self, node: NodeId, faults: Vec<String>) {
        for what in faults {
            self.tell(&super::WorldEvent::Fault { node: Some(node), what });
        }
    }

    /// Begins a sync of a file, or lets it wait for the one under way.
    fn begin_sync(self: &Arc<Self>, disk: &SimDisk, inode: Inode, sync: WaitingSync) {
        let now = self.now();
        let mut guard = disk.lock();
        let state = &mut *guard;
        let Ok(file) = state.tree.file(inode) else {
            drop(guard);
            let gone = io::Error::from(io::ErrorKind::NotFound);
            return sync.process.complete(sync.done, Err(gone));
        };
        if file.is_syncing() {
            state.waiting.entry(inode).or_default().push_back(sync);
            return;
        }
        file.sync_begins();
        let error = state.faults.error(Operation::Sync, &sync.path, &mut state.draw);
        let finished = state.faults.finished_at(now, Operation::Sync, &mut state.draw);
        let node = sync.process.node;
        let event = Event { node, inode, power: state.power, error, sync };
        let untold = state.faults.take_untold();
        drop(guard);
        self.tell_disk_faults(node, untold);
        match finished {
            Some(at) => drop(self.events.schedule(at, WorldEvent::Disk(event))),
            None => self.disk_event(event),
        }
    }

    /// A sync has ended. The kernel goes on with it though its process may be dead; a power loss ends it unfinished.
    pub(super) fn disk_event(self: &Arc<Self>, event: Event) {
        let Event { node, inode, power, error, sync } = event;
        let machine = self.machine(node);
        let mut state = machine.disk.lock();
        if state.power != power {
            drop(state);
            return drop(sync);
        }
        if let Ok(file) = state.tree.file(inode) {
            if error.is_none() { file.sync_ends() } else { file.sync_fails() }
        }
        let mut waiting = state.waiting.remove(&inode).unwrap_or_default();
        drop(state);
        let what = if error.is_none() { "sync" } else { "sync failed" };
        self.trace_disk(&sync.process, what, &sync.path, 0, &[]);
        if error.is_some() {
            self.tell_disk_failed(&sync.process, Operation::Sync, &sync.path);
        }
        sync.process.complete(sync.done, error.map_or(Ok(()), Err));
        // One sync covers everybody who waited; it begins now.
        if let Some(first) = waiting.pop_front() {
            let process = Arc::clone(&first.process);
            let path = Arc::clone(&first.path);
            let all = std::iter::once(first.done).chain(waiting.into_iter().map(|sync| sync.done));
            let all: Vec<SyncDone> = all.collect();
            let done: SyncDone = Box::new(move |result: io::Result<()>| {
                for done in all {
                    let copy = result
                        .as_ref()
                        .map(|&()| ())
                        .map_err(|error| io::Error::new(error.kind(), error.to_string()));
                    done(copy);
                }
            });
            self.begin_sync(&machine.disk, inode, WaitingSync { process, path, done });
        }
    }

    /// Lets nothing be finished on the disk of `node` for `span`.
    pub fn stall_disk(&self, node: NodeId, span: Duration) {
        self.machine(node).disk.stall(self.now() + span);
    }
}
