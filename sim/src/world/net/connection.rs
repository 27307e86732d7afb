//! A connection: two ends and two pipes, as the kernels on both sides know it.
//!
//! ```text
//! end: Opening ──established──▶ Open ──its process closes──▶ Closed (the kernel still sends what is queued, then FIN)
//!         │                      │                             │
//!         └──────────────────────┴──RST, death, give-up────────┴──▶ Gone (the kernel knows nothing of it: RST for what comes)
//! ```

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::task::Waker;

use bytes::Bytes;

use super::super::events::EventKey;
use super::super::{Boot, NodeId, SimTime};
use super::frames::{Requests, Tracker};

/// Names a connection. Counts from 1 over the world.
pub(crate) type ConnectionId = u64;

/// The side that connected is end 0; bytes of end `i` travel in pipe `i`.
pub(super) const CONNECTOR: usize = 0;
pub(super) const ACCEPTOR: usize = 1;

pub(super) struct Connection {
    pub(super) ends: [End; 2],
    pub(super) pipes: [Pipe; 2],
    pub(super) requests: Requests,
    /// When the first attempt to open it was made.
    pub(super) begun: SimTime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EndState {
    Opening,
    Open,
    Closed,
    Gone,
}

pub(super) struct End {
    pub(super) node: NodeId,
    pub(super) address: SocketAddr,
    /// The start of the node whose process owns it; `None` until somebody accepts in the kernel's name.
    pub(super) boot: Option<Boot>,
    pub(super) state: EndState,
    /// Whether a stream, a connecting future or a backlog refers to it.
    pub(super) held: bool,
    /// Whether its process has accepted it (the connector's: always).
    pub(super) accepted: bool,
    pub(super) received: VecDeque<Bytes>,
    pub(super) received_bytes: usize,
    pub(super) fin_received: bool,
    pub(super) error: Option<io::ErrorKind>,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
}

#[derive(Default)]
pub(super) struct Pipe {
    /// Written, not yet sent: the receiver's buffer is full.
    pub(super) queue: VecDeque<Segment>,
    /// Sent, with the moment of arrival; not yet arrived.
    pub(super) in_flight: VecDeque<(SimTime, Segment)>,
    pub(super) in_flight_bytes: usize,
    /// Bytes of the send buffer in use: written and not acknowledged.
    pub(super) buffered: usize,
    /// Bytes that arrived while the way back was cut: acknowledged when it heals.
    pub(super) acks_owed: usize,
    /// Whether the end of the stream was written.
    pub(super) fin_written: bool,
    pub(super) last_arrival: SimTime,
    /// Since when the first segment in flight cannot arrive.
    pub(super) parked_since: Option<SimTime>,
    /// The event that will look at it.
    pub(super) event: Option<EventKey>,
    pub(super) tracker: Tracker,
}

#[derive(Debug)]
pub(super) struct Segment {
    pub(super) bytes: Bytes,
    /// Whether the stream ends with it.
    pub(super) fin: bool,
    /// Nanoseconds that a fault adds.
    pub(super) extra: u64,
}

impl End {
    pub(super) fn new(node: NodeId, address: SocketAddr, boot: Option<Boot>) -> Self {
        Self {
            node,
            address,
            boot,
            state: EndState::Opening,
            held: boot.is_some(),
            accepted: boot.is_some(),
            received: VecDeque::new(),
            received_bytes: 0,
            fin_received: false,
            error: None,
            reader: None,
            writer: None,
        }
    }

    /// Forgets it; whoever waits is woken through `wakes`.
    pub(super) fn become_gone(&mut self, error: Option<io::ErrorKind>, wakes: &mut Vec<Waker>) {
        self.state = EndState::Gone;
        self.error = self.error.or(error);
        self.wake(wakes);
    }

    pub(super) fn wake(&mut self, wakes: &mut Vec<Waker>) {
        wakes.extend(self.reader.take());
        wakes.extend(self.writer.take());
    }
}

impl Pipe {
    /// Drops what is in it: nobody will receive it. The event that looks at it, to be taken back.
    #[must_use]
    pub(super) fn clear(&mut self) -> Option<EventKey> {
        self.queue.clear();
        self.in_flight.clear();
        self.in_flight_bytes = 0;
        self.parked_since = None;
        self.event.take()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.in_flight.is_empty()
    }
}

impl Connection {
    /// Whether nobody refers to it and nothing travels any more.
    pub(super) fn is_over(&self) -> bool {
        let over = |end: &End| !end.held && matches!(end.state, EndState::Closed | EndState::Gone);
        let end_over = self.ends.iter().all(over);
        let both_gone = self.ends.iter().all(|end| end.state == EndState::Gone);
        end_over && (both_gone || self.pipes.iter().all(Pipe::is_empty))
    }
}
