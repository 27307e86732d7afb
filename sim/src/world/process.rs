//! Processes: one start of a node, what it is given, and the ways it ends.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use madsim::runtime::{Handle, NodeHandle};
use ottla::runtime::{BoxFuture, Cores, Env, Observer, SyncDone};
use ottla::types::Observation;

use super::clock::NodeClock;
use super::disk::{NodeDisk, PowerLoss, PowerLossMode};
use super::net::{CloseHow, NodeNet};
use super::{Boot, Machine, NodeId, World, WorldEvent, mix, panic};

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessEnd {
    /// In good order: exit code 0.
    Clean,
    /// With this error: exit code 1.
    Failed(String),
}

/// One start of a node.
pub struct Process {
    /// The node.
    pub node: NodeId,
    /// Which start it is.
    pub boot: Boot,
    alive: AtomicBool,
    paused: AtomicBool,
    madsim: NodeHandle,
    shutdown: ottla::runtime::watch::Sender<bool>,
    ended: ottla::runtime::watch::Sender<bool>,
    completions: Mutex<Completions>,
}

/// Syncs that have ended and whose callers must be told, on the node, by its "disk thread".
#[derive(Default)]
struct Completions {
    queue: VecDeque<(SyncDone, io::Result<()>)>,
    waker: Option<Waker>,
}

impl Process {
    /// Whether it runs or is paused. Whatever a dead process opened is dead.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Relaxed)
    }

    /// Whether it stands still.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    /// Waits until it is dead, whatever ended it.
    pub async fn ended(&self) {
        let mut ended = self.ended.subscribe();
        // The sender lives in `self`: it cannot be gone.
        let _ = ended.wait_for(|ended| *ended).await;
    }

    /// Runs a task on the node, as its main future may: for the testbed's own tests.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.madsim.spawn(future);
    }

    /// Lets the node's disk thread call `done`. Dropped where the process is dead.
    pub(crate) fn complete(&self, done: SyncDone, result: io::Result<()>) {
        if !self.is_alive() {
            return drop(done);
        }
        let mut completions = self.completions.lock().expect("nothing panics here");
        completions.queue.push_back((done, result));
        let waker = completions.waker.take();
        drop(completions);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    async fn run_disk_thread(self: Arc<Self>) {
        poll_fn(|cx| {
            loop {
                let mut completions = self.completions.lock().expect("nothing panics here");
                let Some((done, result)) = completions.queue.pop_front() else {
                    let old = completions.waker.replace(cx.waker().clone());
                    drop(completions);
                    drop(old);
                    return Poll::Pending;
                };
                drop(completions);
                done(result);
            }
        })
        .await
    }
}

/// What a node's main future is given.
pub struct NodeContext {
    /// The world, as the node may see it.
    pub env: Env,
    /// The node.
    pub node: NodeId,
    /// Which start it is.
    pub boot: Boot,
    shutdown: ottla::runtime::watch::Receiver<bool>,
}

impl NodeContext {
    /// Waits until the node is asked to stop in good order.
    pub async fn shutdown_asked(&mut self) {
        if self.shutdown.wait_for(|asked| *asked).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

struct NodeObserver(Arc<World>, Arc<Process>);

impl Observer for NodeObserver {
    fn observe(&self, observation: Observation) {
        self.0.observe(&self.1, &observation);
    }
}

struct NodeCores(Arc<Process>);

impl Cores for NodeCores {
    fn spawn_on_next(&self, make: Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>) {
        self.0.madsim.spawn(async move { make().await });
    }
}

/// Notices a panic of its node as soon as madsim drops the node's tasks. Two tasks hold one: that of the task that panicked
/// is dropped before madsim has ended the node.
struct PanicGuard(Arc<World>);

impl Drop for PanicGuard {
    fn drop(&mut self) {
        self.0.notice_panics();
    }
}

impl World {
    /// Starts a node: `main` is run on it to its end. The machine gets power if it has none.
    ///
    /// Panics where it runs already.
    pub fn start<F>(
        self: &Arc<Self>,
        node: NodeId,
        main: impl FnOnce(NodeContext) -> F,
    ) -> Arc<Process>
    where
        F: Future<Output = ProcessEnd> + Send + 'static,
    {
        let machine = self.machine(node);
        let process = self.new_process(&machine);
        self.net.powered(self, node);
        self.tell(&WorldEvent::Started { node, boot: process.boot });
        let context = NodeContext {
            env: self.env(&machine, &process),
            node,
            boot: process.boot,
            shutdown: process.shutdown.subscribe(),
        };
        let (disk_thread, guard) = (Arc::clone(&process), PanicGuard(Arc::clone(self)));
        process.madsim.spawn(async move {
            let _guard = guard;
            disk_thread.run_disk_thread().await;
        });
        let (main, world, started) = (main(context), Arc::clone(self), Arc::clone(&process));
        process.madsim.spawn(async move {
            let _guard = PanicGuard(Arc::clone(&world));
            let end = main.await;
            world.on_main_ended(&started, end);
        });
        process
    }

    fn new_process(&self, machine: &Machine) -> Arc<Process> {
        let mut state = machine.lock();
        assert!(state.process.is_none(), "{} is started while it runs", machine.name);
        state.boots += 1;
        state.powered = true;
        let name = format!("{}.{}", machine.name, state.boots);
        let madsim = Handle::current().create_node().name(name).restart_on_panic().build();
        let process = Arc::new(Process {
            node: machine.node,
            boot: Boot(state.boots),
            alive: AtomicBool::new(true),
            paused: AtomicBool::new(false),
            madsim,
            shutdown: ottla::runtime::watch::Sender::new(false),
            ended: ottla::runtime::watch::Sender::new(false),
            completions: Mutex::default(),
        });
        state.process = Some(Arc::clone(&process));
        process
    }

    /// What a process may ask of the world. Its seed differs at each boot.
    fn env(self: &Arc<Self>, machine: &Arc<Machine>, process: &Arc<Process>) -> Env {
        let name = (u64::from(process.node.0) << 32) | u64::from(process.boot.0);
        Env {
            net: Arc::new(NodeNet::new(self, process)),
            disk: Arc::new(NodeDisk::new(self, &machine.disk, process)),
            clock: Arc::new(NodeClock(Arc::clone(&machine.clock))),
            cores: Arc::new(NodeCores(Arc::clone(process))),
            seed: mix(mix(self.seed_now()).wrapping_add(mix(name))),
            members: Arc::default(),
            observer: Arc::new(NodeObserver(Arc::clone(self), Arc::clone(process))),
        }
    }

    /// Ends the process without warning: tasks vanish, the page cache survives, peers get RST. False where none runs.
    pub fn kill(self: &Arc<Self>, node: NodeId) -> bool {
        let Some(process) = self.machine(node).process() else { return false };
        self.tell(&WorldEvent::Killed { node, boot: process.boot });
        self.bury(&process, CloseHow::Reset)
    }

    /// Ends the machine: unsynced bytes go as `mode` says, peers get silence. The process, if one runs, ends with it.
    pub fn power_loss(self: &Arc<Self>, node: NodeId, mode: PowerLossMode) -> PowerLoss {
        let machine = self.machine(node);
        let process = machine.process();
        machine.lock().powered = false;
        if let Some(process) = &process {
            self.bury(process, CloseHow::Silence);
        }
        self.net.unpowered(self, node);
        let loss = machine.disk.lose_power(mode);
        self.tell(&WorldEvent::PowerLost { node, loss: loss.clone() });
        loss
    }

    /// Stops the process: its kernel goes on accepting and buffering, its timers fire late. False where none runs.
    pub fn pause(&self, node: NodeId) -> bool {
        let Some(process) = self.machine(node).process() else { return false };
        process.paused.store(true, Ordering::Relaxed);
        Handle::current().pause(process.madsim.id());
        self.tell(&WorldEvent::Paused { node, boot: process.boot });
        true
    }

    /// Lets a paused process go on. False where none runs.
    pub fn resume(&self, node: NodeId) -> bool {
        let Some(process) = self.machine(node).process() else { return false };
        process.paused.store(false, Ordering::Relaxed);
        Handle::current().resume(process.madsim.id());
        self.tell(&WorldEvent::Resumed { node, boot: process.boot });
        true
    }

    /// Asks the process to stop in good order; [`Process::ended`] waits for it. False where none runs.
    pub fn ask_shutdown(&self, node: NodeId) -> bool {
        let Some(process) = self.machine(node).process() else { return false };
        self.tell(&WorldEvent::ShutdownAsked { node, boot: process.boot });
        process.shutdown.send_replace(true);
        true
    }

    /// Replaces the disk of a node by an empty one, under the same id.
    ///
    /// Panics where the node runs.
    pub fn wipe(&self, node: NodeId) {
        let machine = self.machine(node);
        assert!(machine.process().is_none(), "{} is wiped while it runs", machine.name);
        machine.disk.wipe();
        self.tell(&WorldEvent::Wiped { node });
    }

    /// The main future has returned: the kernel closes what is open, in good order.
    fn on_main_ended(self: &Arc<Self>, process: &Arc<Process>, end: ProcessEnd) {
        if self.bury(process, CloseHow::Orderly) {
            self.tell(&WorldEvent::Ended { node: process.node, boot: process.boot, end });
        }
    }

    /// Ends a process for good: fences what it opened, drops its tasks. False where it was dead already.
    fn bury(self: &Arc<Self>, process: &Arc<Process>, how: CloseHow) -> bool {
        if !process.alive.swap(false, Ordering::Relaxed) {
            return false;
        }
        let machine = self.machine(process.node);
        machine.lock().process = None;
        machine.disk.process_ended(process.boot);
        self.net.process_ended(self, process, how);
        let handle = Handle::current();
        // A paused node's tasks would be dropped here, within madsim's locks: let the executor drop them instead.
        handle.resume(process.madsim.id());
        handle.kill(process.madsim.id());
        let mut completions = process.completions.lock().expect("nothing panics here");
        let dropped = std::mem::take(&mut *completions);
        drop(completions);
        drop(dropped);
        process.ended.send_replace(true);
        true
    }

    /// Turns kept panics into events. Cheap where there are none.
    pub(crate) fn notice_panics(self: &Arc<Self>) {
        if !panic::any_panics() {
            return;
        }
        let handle = Handle::current();
        for machine in self.machines() {
            let Some(process) = machine.process() else { continue };
            if !handle.is_exit(process.madsim.id()) || !self.bury(&process, CloseHow::Reset) {
                continue;
            }
            let message = panic::take_panics().join("\nand then: ");
            let (node, boot) = (process.node, process.boot);
            self.tell(&WorldEvent::Panicked { node, boot, message });
        }
    }

    /// Ends every process and lets the executor drop their tasks.
    pub(super) async fn end_all(self: &Arc<Self>) {
        for machine in self.machines() {
            if let Some(process) = machine.process() {
                self.bury(&process, CloseHow::Silence);
            }
        }
        madsim::time::sleep(Duration::from_millis(1)).await;
    }
}
