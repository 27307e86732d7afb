//! The simulated world: a network, disks and clocks of its own on madsim's executor, all from one seed.
//!
//! One world is one seed is one fresh thread ([`run`]). A world has nodes; each start of a node is a [`Process`] on a madsim
//! node of its own, so that nothing of an older start can run on. Everything a process opens is fenced by its boot number.
//! What nodes see is [`ottla::runtime::Env`]; what the testbed breaks is here.

pub mod clock;
pub mod disk;
mod draw;
mod events;
mod look;
mod name;
pub mod net;
mod panic;
mod process;
mod run;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ottla::types::Observation;

pub use clock::SimClock;
pub use disk::SimDisk;
pub use draw::{Distribution, Draw, mix};
pub(crate) use events::Events;
pub use look::Look;
pub use name::{Boot, NodeId, SimTime, ways};
pub use net::SimNet;
pub use process::{NodeContext, Process, ProcessEnd};
pub use run::{Finished, WorldFailed, WorldOptions, run};

use crate::trace::{Kind, Trace};

/// Hears what happens in a world, for checkers and reports. Called with locks of the product held: it must be quick, must not
/// panic and must not call the world back.
pub trait EventSink: Send + Sync {
    /// A shape of a running node spoke of itself.
    fn observation(&self, at: SimTime, node: NodeId, boot: Boot, observation: &Observation);

    /// The world itself did something.
    fn world(&self, at: SimTime, event: &WorldEvent);
}

/// Hears nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSink;

impl EventSink for NoSink {
    fn observation(&self, _: SimTime, _: NodeId, _: Boot, _: &Observation) {}

    fn world(&self, _: SimTime, _: &WorldEvent) {}
}

/// Something that the world did, or that was done to it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields carry the world's ordinary names")]
pub enum WorldEvent {
    /// A node was started.
    Started { node: NodeId, boot: Boot },
    /// A node's process was ended without warning; its peers get RST.
    Killed { node: NodeId, boot: Boot },
    /// A node's machine lost its power; its peers get silence.
    PowerLost { node: NodeId, loss: disk::PowerLoss },
    /// A node's process stands still.
    Paused { node: NodeId, boot: Boot },
    /// It goes on.
    Resumed { node: NodeId, boot: Boot },
    /// A node was asked to stop in good order.
    ShutdownAsked { node: NodeId, boot: Boot },
    /// A node's process ended by itself, asked or not.
    Ended { node: NodeId, boot: Boot, end: ProcessEnd },
    /// A node panicked: always a violation.
    Panicked { node: NodeId, boot: Boot, message: String },
    /// A node's disk was replaced by an empty one.
    Wiped { node: NodeId },
    /// A node's disk failed an operation, as it was told to.
    DiskFailed { node: NodeId, boot: Boot, operation: disk::Operation, path: String },
    /// A node's disk had no space for what was to be written.
    SpaceRefused { node: NodeId, boot: Boot, path: String },
    /// A fault of the network, a disk or a clock began, took effect or ended. The words name it.
    Fault { node: Option<NodeId>, what: String },
}

impl WorldEvent {
    /// The node it happened to; `None` where it is nobody's alone.
    #[must_use]
    pub fn node(&self) -> Option<NodeId> {
        match self {
            Self::Started { node, .. }
            | Self::Killed { node, .. }
            | Self::PowerLost { node, .. }
            | Self::Paused { node, .. }
            | Self::Resumed { node, .. }
            | Self::ShutdownAsked { node, .. }
            | Self::Ended { node, .. }
            | Self::Panicked { node, .. }
            | Self::DiskFailed { node, .. }
            | Self::SpaceRefused { node, .. }
            | Self::Wiped { node } => Some(*node),
            Self::Fault { node, .. } => *node,
        }
    }
}

/// The node that trace entries of the world itself carry.
pub const NOBODY: NodeId = NodeId(u32::MAX);

/// A machine of the world: what survives the restarts of its process.
pub struct Machine {
    /// Its name in the world.
    pub node: NodeId,
    /// Its host name, for `advertised.listeners` and reports.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// Its clocks.
    pub clock: Arc<SimClock>,
    /// Its disk.
    pub disk: Arc<SimDisk>,
    pub(crate) state: Mutex<MachineState>,
}

pub(crate) struct MachineState {
    /// Whether the machine has power: silence where not.
    pub(crate) powered: bool,
    /// How often it was started.
    pub(crate) boots: u32,
    pub(crate) process: Option<Arc<Process>>,
}

impl Machine {
    pub(crate) fn lock(&self) -> MutexGuard<'_, MachineState> {
        self.state.lock().expect("nothing panics with a machine locked")
    }

    /// The running (or paused) process.
    #[must_use]
    pub fn process(&self) -> Option<Arc<Process>> {
        self.lock().process.clone()
    }
}

/// The world.
pub struct World {
    /// What draws are made from: of [`WorldOptions::seed`], or of a later [`World::reseed_at`].
    seed: AtomicU64,
    /// When another seed comes, in nanoseconds, and which; taken when it has come.
    reseeding: Mutex<Option<(SimTime, u64)>>,
    reseeds_at: AtomicU64,
    pub(crate) events: Arc<Events>,
    pub(crate) trace: Trace,
    sink: Arc<dyn EventSink>,
    pub(crate) net: SimNet,
    machines: Mutex<BTreeMap<NodeId, Arc<Machine>>>,
}

impl World {
    fn new(options: &WorldOptions) -> Arc<Self> {
        let events = Arc::new(Events::new());
        Arc::new(Self {
            seed: AtomicU64::new(options.seed),
            reseeding: Mutex::new(None),
            reseeds_at: AtomicU64::new(u64::MAX),
            net: SimNet::new(options.seed, Arc::clone(&events)),
            events,
            trace: Trace::new(options.recording),
            sink: Arc::clone(&options.sink),
            machines: Mutex::new(BTreeMap::new()),
        })
    }

    /// The seed that draws are made from now. The caller holds no lock of the world.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.reseed_if_due();
        self.seed.load(Ordering::Relaxed)
    }

    /// The same, for callers that may hold locks: nothing is reseeded here.
    pub(crate) fn seed_now(&self) -> u64 {
        self.seed.load(Ordering::Relaxed)
    }

    /// From `at` on every draw of the world comes from another seed: of the network, the disks, the order of tasks, and the
    /// seeds of processes that start later. What a running node drew its own generators from stays.
    ///
    /// Nothing wakes for it: until `at` the run is the same as without, and the first thing that happens afterwards finds the
    /// other seed.
    pub fn reseed_at(&self, at: SimTime, seed: u64) {
        *self.reseeding.lock().expect("held for moments") = Some((at, seed));
        self.reseeds_at.store(at.nanos(), Ordering::Relaxed);
    }

    /// Puts the other seed in its place, where its time has come. The caller holds no lock of the world.
    pub(crate) fn reseed_if_due(&self) {
        let at = self.reseeds_at.load(Ordering::Relaxed);
        if at == u64::MAX || self.now().nanos() < at {
            return;
        }
        self.reseeds_at.store(u64::MAX, Ordering::Relaxed);
        let Some((_, seed)) = self.reseeding.lock().expect("held for moments").take() else {
            return;
        };
        self.seed.store(seed, Ordering::Relaxed);
        self.net.reseed(seed);
        for machine in self.machines() {
            machine.disk.reseed(Draw::new(seed, &purpose_of_disk(machine.node)));
        }
        reseed_executor(seed);
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> SimTime {
        self.events.now()
    }

    /// Waits, for the testbed's own tasks.
    pub async fn sleep(&self, span: Duration) {
        self.sleep_until(self.now() + span).await;
    }

    /// Waits until a moment, for the testbed's own tasks.
    pub async fn sleep_until(&self, at: SimTime) {
        self.events.wait_until(NOBODY, at).await;
    }

    /// The generator for `purpose`: no other draw disturbs it.
    #[must_use]
    pub fn draw(&self, purpose: &str) -> Draw {
        Draw::new(self.seed_now(), purpose)
    }

    /// The network: its links, faults and counters.
    #[must_use]
    pub fn network(&self) -> &SimNet {
        &self.net
    }

    /// Adds a machine, with power and an empty disk. `name` is its host name.
    pub fn add_node(&self, name: &str) -> NodeId {
        let mut machines = self.machines.lock().expect("nothing panics with the machines locked");
        let node = NodeId(u32::try_from(machines.len()).expect("few nodes"));
        let clock = Arc::new(SimClock::new(node, Arc::clone(&self.events)));
        let disk = Arc::new(SimDisk::new(self.draw(&purpose_of_disk(node))));
        let state = MachineState { powered: true, boots: 0, process: None };
        let state = Mutex::new(state);
        let address = address_of(node);
        let name = name.to_owned();
        machines.insert(node, Arc::new(Machine { node, name, address, clock, disk, state }));
        node
    }

    /// A machine.
    ///
    /// Panics where there is none of this name: names come from [`World::add_node`].
    #[must_use]
    pub fn machine(&self, node: NodeId) -> Arc<Machine> {
        self.machine_if(node).expect("a node of this world")
    }

    pub(crate) fn machine_if(&self, node: NodeId) -> Option<Arc<Machine>> {
        let machines = self.machines.lock().expect("nothing panics with the machines locked");
        machines.get(&node).cloned()
    }

    /// Every machine, in the order they were added.
    #[must_use]
    pub fn machines(&self) -> Vec<Arc<Machine>> {
        let machines = self.machines.lock().expect("nothing panics with the machines locked");
        machines.values().cloned().collect()
    }

    /// Tells the trace and the sink. The caller holds no lock of the world.
    pub fn tell(&self, event: &WorldEvent) {
        let at = self.now();
        let node = event.node().unwrap_or(NOBODY);
        let text = || format!("{event:?}");
        self.trace.add(at, node, Kind::World, |m| m.bytes(text().as_bytes()), text);
        self.sink.world(at, event);
    }

    pub(crate) fn observe(&self, process: &Process, observation: &Observation) {
        if !process.is_alive() {
            return;
        }
        let at = self.now();
        let text = || format!("{observation:?}");
        self.trace.add(at, process.node, Kind::Observation, |m| m.value(observation), text);
        self.sink.observation(at, process.node, process.boot, observation);
    }
}

fn purpose_of_disk(node: NodeId) -> String {
    format!("disk of {node}")
}

/// Lets madsim's own generator (which task runs next, how long a step takes) go on elsewhere. It cannot be given a seed while
/// it runs, but every draw moves it on: so many that no other seed's run is at the same place.
fn reseed_executor(seed: u64) {
    use madsim::rand::RngCore as _;
    let mut executor = madsim::rand::thread_rng();
    let draws = 1 + Draw::new(seed, "executor").below(EXECUTOR_DRAWS);
    for _ in 0..draws {
        executor.next_u64();
    }
}

/// How far apart the places are at most where madsim's generator goes on: a thousand seeds seldom meet there, and it takes
/// milliseconds.
const EXECUTOR_DRAWS: u64 = 1 << 20;

/// The address of a node: 10.1.0.0 + its number + 1.
#[must_use]
pub fn address_of(node: NodeId) -> IpAddr {
    let base = u32::from(Ipv4Addr::new(10, 1, 0, 0));
    IpAddr::V4(Ipv4Addr::from(base + 1 + node.0))
}

/// The node of an address; `None` where it is nobody's.
pub(crate) fn node_at(address: IpAddr) -> Option<NodeId> {
    let IpAddr::V4(address) = address else { return None };
    let base = u32::from(Ipv4Addr::new(10, 1, 0, 0));
    u32::from(address).checked_sub(base + 1).map(NodeId)
}
