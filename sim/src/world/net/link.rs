//! The ways between machines: how long, how wide, how lossy, and which are cut.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::name::nanos;
use super::super::{Distribution, Draw, NodeId, SimTime};

/// One direction between two machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkConfig {
    /// How long a segment travels.
    pub latency: Distribution,
    /// Bytes a second; `None` for any number.
    pub bandwidth: Option<u64>,
    /// With which chance a segment is lost, in a million. It is felt as the delay of a retransmission, never as missing bytes.
    pub loss: u32,
}

impl Default for LinkConfig {
    /// A quiet data centre: 100 to 400 µs, any bandwidth, no loss.
    fn default() -> Self {
        let (low, high) = (Duration::from_micros(100), Duration::from_micros(400));
        Self { latency: Distribution::Uniform { low, high }, bandwidth: None, loss: 0 }
    }
}

/// The kernel's numbers, the same on every machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpConfig {
    /// Bytes that a socket takes from its process before the other side has them.
    pub send_buffer: usize,
    /// Bytes that a socket keeps for a process that does not read.
    pub receive_buffer: usize,
    /// With which chance a read or write is cut short at a drawn place, in a million.
    pub partial: u32,
    /// The first wait before a lost segment is sent again; it doubles each time (Linux: `TCP_RTO_MIN`, 200 ms).
    pub retransmit_first: Duration,
    /// The longest wait between two attempts. Linux waits up to 120 s; here less, or most of a simulated minute after a
    /// healed partition is spent waiting for it.
    pub retransmit_longest: Duration,
    /// After this long without success a connection is dead (Linux: `tcp_retries2` = 15, about 924 s).
    pub give_up: Duration,
    /// After this long a connection that gets no answer fails (Linux: `tcp_syn_retries` = 6, about 127 s).
    pub connect_give_up: Duration,
    /// Connections that wait to be accepted (Linux: `somaxconn`, 128 before 5.4); more get no answer.
    pub backlog: usize,
}

impl Default for TcpConfig {
    fn default() -> Self {
        Self {
            send_buffer: 128 * 1024,
            receive_buffer: 128 * 1024,
            partial: 20_000,
            retransmit_first: Duration::from_millis(200),
            retransmit_longest: Duration::from_secs(5),
            give_up: Duration::from_secs(924),
            connect_give_up: Duration::from_secs(127),
            backlog: 128,
        }
    }
}

impl TcpConfig {
    /// The wait before attempt `attempt` + 1, counted from 0.
    pub(super) fn back_off(&self, attempt: u32) -> Duration {
        let factor = 1u32.checked_shl(attempt).unwrap_or(u32::MAX);
        self.retransmit_first.saturating_mul(factor).min(self.retransmit_longest)
    }

    /// The first moment, not before `now`, at which a segment that was first sent at `since` is sent again.
    pub(super) fn next_attempt(&self, since: SimTime, now: SimTime) -> SimTime {
        let (mut at, mut attempt) = (since, 0);
        while at < now {
            at = at + self.back_off(attempt).max(Duration::from_millis(1));
            attempt += 1;
        }
        at
    }
}

/// Names a cut, for healing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CutId(u64);

/// All links.
#[derive(Debug)]
pub(super) struct Links {
    seed: u64,
    pub(super) ordinary: LinkConfig,
    pub(super) loopback: Distribution,
    links: BTreeMap<(NodeId, NodeId), Link>,
    cuts: BTreeMap<CutId, Vec<(NodeId, NodeId)>>,
    next_cut: u64,
}

#[derive(Debug)]
struct Link {
    config: Option<LinkConfig>,
    busy_until: SimTime,
    draw: Draw,
    /// How many cuts lie on it.
    cuts: u32,
}

fn draw_of(seed: u64, from: NodeId, to: NodeId) -> Draw {
    Draw::new(seed, &format!("link {from} {to}"))
}

impl Links {
    pub(super) fn new(seed: u64) -> Self {
        let loopback = Distribution::Uniform {
            low: Duration::from_micros(5),
            high: Duration::from_micros(20),
        };
        Self {
            seed,
            ordinary: LinkConfig::default(),
            loopback,
            links: BTreeMap::new(),
            cuts: BTreeMap::new(),
            next_cut: 0,
        }
    }

    fn link(&mut self, from: NodeId, to: NodeId) -> &mut Link {
        let seed = self.seed;
        self.links.entry((from, to)).or_insert_with(|| Link {
            config: None,
            busy_until: SimTime(0),
            draw: draw_of(seed, from, to),
            cuts: 0,
        })
    }

    /// Draws from another seed from now on.
    pub(super) fn reseed(&mut self, seed: u64) {
        self.seed = seed;
        for ((from, to), link) in &mut self.links {
            link.draw = draw_of(seed, *from, *to);
        }
    }

    pub(super) fn configure(&mut self, from: NodeId, to: NodeId, config: Option<LinkConfig>) {
        self.link(from, to).config = config;
    }

    pub(super) fn configure_none(&mut self) {
        self.links.values_mut().for_each(|link| link.config = None);
    }

    pub(super) fn cut(&mut self, ways: Vec<(NodeId, NodeId)>) -> CutId {
        for &(from, to) in &ways {
            self.link(from, to).cuts += 1;
        }
        self.next_cut += 1;
        let id = CutId(self.next_cut);
        self.cuts.insert(id, ways);
        id
    }

    /// False where it was healed before.
    pub(super) fn heal(&mut self, id: CutId) -> bool {
        let Some(ways) = self.cuts.remove(&id) else { return false };
        for (from, to) in ways {
            self.link(from, to).cuts -= 1;
        }
        true
    }

    /// Takes one direction out of every cut it is part of.
    pub(super) fn heal_way(&mut self, from: NodeId, to: NodeId) {
        for ways in self.cuts.values_mut() {
            ways.retain(|way| *way != (from, to));
        }
        self.link(from, to).cuts = 0;
    }

    pub(super) fn heal_all(&mut self) {
        self.cuts.clear();
        self.links.values_mut().for_each(|link| link.cuts = 0);
    }

    pub(super) fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        self.links.get(&(from, to)).is_some_and(|link| link.cuts > 0)
    }

    /// When `bytes` sent now arrive, if nothing is cut.
    pub(super) fn arrival(
        &mut self,
        tcp: &TcpConfig,
        now: SimTime,
        (from, to): (NodeId, NodeId),
        bytes: usize,
    ) -> SimTime {
        if !self.links.contains_key(&(from, to)) {
            self.link(from, to);
        }
        let Self { links, ordinary, loopback, .. } = self;
        let link = links.get_mut(&(from, to)).expect("made above");
        if from == to {
            return SimTime(now.nanos() + loopback.draw(&mut link.draw));
        }
        let config = link.config.as_ref().unwrap_or(ordinary);
        let mut at = now;
        if let Some(bandwidth) = config.bandwidth {
            // 66 bytes of headers a segment (Ethernet, IP, TCP with time stamps).
            let nanos = (bytes as u128 + 66) * 1_000_000_000 / u128::from(bandwidth.max(1));
            let span = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
            at = now.max(link.busy_until) + span;
            link.busy_until = at;
        }
        let mut attempt = 0;
        while attempt < 16 && link.draw.chance(config.loss) {
            at = at + tcp.back_off(attempt);
            attempt += 1;
        }
        SimTime(at.nanos() + config.latency.draw(&mut link.draw))
    }
}

/// Longer than any span that is waited for here.
pub(super) fn later(now: SimTime, span: Duration) -> SimTime {
    SimTime(now.nanos().saturating_add(nanos(span)))
}
