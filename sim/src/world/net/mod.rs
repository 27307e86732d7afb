//! The network between machines: byte streams over links, as kernels and cables treat them.
//!
//! A cut, a dead machine and a lossy link are felt as silence and delay, never as missing bytes; an end that its kernel has
//! forgotten answers with RST. Windows are bounded: a slow reader blocks the writer. Everything is decided here under one
//! lock; tasks are woken after it is released, since waking may run destructors that lock it again.

mod connection;
mod frames;
mod kernel;
mod link;
mod node;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

pub use frames::{Direction, FrameAction, FrameFault, FrameFaultId};
pub(super) use kernel::CloseHow;
pub(crate) use kernel::Event;
pub use link::{CutId, LinkConfig, TcpConfig};

pub(super) use node::NodeNet;

use super::events::Events;
use super::{Boot, Distribution, Draw, NodeId, World, WorldEvent};
use connection::{Connection, ConnectionId};
use frames::FrameFaults;
use link::Links;

/// The network, as the testbed sees it.
pub struct SimNet {
    state: Mutex<State>,
    events: Arc<Events>,
}

struct State {
    tcp: TcpConfig,
    links: Links,
    frame_faults: FrameFaults,
    frame_draw: Draw,
    partial_draw: Draw,
    connections: BTreeMap<ConnectionId, Connection>,
    next_connection: ConnectionId,
    listeners: BTreeMap<(NodeId, u16), ListenerState>,
    next_port: BTreeMap<NodeId, u16>,
    /// Machines without power.
    down: BTreeSet<NodeId>,
    frames: u64,
    frames_hit: u64,
}

struct ListenerState {
    address: IpAddr,
    boot: Boot,
    backlog: VecDeque<ConnectionId>,
    waker: Option<Waker>,
}

/// What is to be done once the network is unlocked.
#[derive(Default)]
struct After {
    wakes: Vec<Waker>,
    told: Vec<WorldEvent>,
}

impl After {
    /// Does it.
    fn run(self, world: &World) {
        self.wakes.into_iter().for_each(Waker::wake);
        self.told.iter().for_each(|event| world.tell(event));
    }
}

impl SimNet {
    pub(super) fn new(seed: u64, events: Arc<Events>) -> Self {
        let state = State {
            tcp: TcpConfig::default(),
            links: Links::new(seed),
            frame_faults: FrameFaults::default(),
            frame_draw: Draw::new(seed, "frames"),
            partial_draw: Draw::new(seed, "partial reads and writes"),
            connections: BTreeMap::new(),
            next_connection: 1,
            listeners: BTreeMap::new(),
            next_port: BTreeMap::new(),
            down: BTreeSet::new(),
            frames: 0,
            frames_hit: 0,
        };
        Self { state: Mutex::new(state), events }
    }

    /// Draws from another seed from now on.
    pub(super) fn reseed(&self, seed: u64) {
        let mut state = self.lock();
        state.frame_draw = Draw::new(seed, "frames");
        state.partial_draw = Draw::new(seed, "partial reads and writes");
        state.links.reseed(seed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Where something panics all the same, the next to come need not: it may be a destructor.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The kernels' numbers, for connections from now on and for those that are there.
    pub fn set_tcp(&self, tcp: TcpConfig) {
        self.lock().tcp = tcp;
    }

    /// How every link is that was not given a configuration of its own.
    pub fn set_ordinary_link(&self, config: LinkConfig) {
        self.lock().links.ordinary = config;
    }

    /// How long a segment takes from a machine to itself.
    pub fn set_loopback(&self, latency: Distribution) {
        self.lock().links.loopback = latency;
    }

    /// How one direction between two machines is; `None` for the ordinary way.
    pub fn set_link(&self, from: NodeId, to: NodeId, config: Option<LinkConfig>) {
        self.lock().links.configure(from, to, config);
    }

    /// Cuts these directions (see [`super::ways`]). What is under way does not arrive before the cut is healed.
    pub fn cut(&self, ways: Vec<(NodeId, NodeId)>) -> CutId {
        self.lock().links.cut(ways)
    }

    /// Heals one cut. False where it was healed before. Bytes arrive with the next retransmission.
    pub fn heal(&self, cut: CutId) -> bool {
        let mut state = self.lock();
        let healed = state.links.heal(cut);
        let after = state.retry_parked(&self.events);
        drop(state);
        after.into_iter().for_each(Waker::wake);
        healed
    }

    /// Heals one direction between two machines, whatever cut it.
    pub fn heal_way(&self, from: NodeId, to: NodeId) {
        let mut state = self.lock();
        state.links.heal_way(from, to);
        let after = state.retry_parked(&self.events);
        drop(state);
        after.into_iter().for_each(Waker::wake);
    }

    /// Heals every cut, gives every link its ordinary configuration, ends every fault on frames.
    pub fn lift_all(&self) {
        let mut state = self.lock();
        state.links.heal_all();
        state.links.configure_none();
        state.frame_faults.lift_all();
        let after = state.retry_parked(&self.events);
        drop(state);
        after.into_iter().for_each(Waker::wake);
    }

    /// Whether bytes from the one cannot reach the other.
    #[must_use]
    pub fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        self.lock().links.is_cut(from, to)
    }

    /// Breaks every connection between two machines: both ends get RST at once. How many there were.
    pub fn reset(&self, one: NodeId, other: NodeId) -> usize {
        let mut state = self.lock();
        let (count, wakes) = state.reset_between(&self.events, one, other);
        drop(state);
        wakes.into_iter().for_each(Waker::wake);
        count
    }

    /// Begins a fault on frames.
    pub fn add_frame_fault(&self, fault: FrameFault) -> FrameFaultId {
        self.lock().frame_faults.add(fault)
    }

    /// Ends a fault on frames.
    pub fn lift_frame_fault(&self, fault: FrameFaultId) {
        self.lock().frame_faults.lift(fault);
    }

    /// How many frames of Kafka's protocol began to travel.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.lock().frames
    }

    /// How many of them met a fault.
    #[must_use]
    pub fn frames_hit(&self) -> u64 {
        self.lock().frames_hit
    }

    /// How many connections any kernel knows of.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.lock().connections.len()
    }

    /// Forgets everything: the world ends.
    pub(super) fn clear(&self) {
        let mut state = self.lock();
        let old = (std::mem::take(&mut state.connections), std::mem::take(&mut state.listeners));
        drop(state);
        drop(old);
    }
}

/// The machine that an address means to `node`.
fn node_of(node: NodeId, address: SocketAddr) -> Option<NodeId> {
    if address.ip().is_loopback() { Some(node) } else { super::node_at(address.ip()) }
}
