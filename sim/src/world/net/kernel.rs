//! What the kernels do: open, send, deliver, acknowledge, retry, reset, close.

use std::io;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;

use super::super::events::{Event as QueuedEvent, EventKey, Events};
use super::super::{Boot, NodeId, Process, SimTime, World, WorldEvent};
use super::connection::{ACCEPTOR, CONNECTOR, Connection, ConnectionId, EndState, Segment};
use super::frames::{Context, Direction};
use super::link::later;
use super::{After, State};
use crate::trace::Kind;

/// How long behind the last segment before it an RST arrives that overtakes nothing: the next segment on the wire.
const RST_BEHIND: Duration = Duration::from_millis(1);

/// Something arrives at a kernel, or its patience ends.
#[derive(Debug)]
pub(crate) enum Event {
    /// The request to open a connection.
    Syn { connection: ConnectionId, attempt: u32 },
    /// The answer to it.
    SynAck { connection: ConnectionId, attempt: u32 },
    /// The refusal of it.
    Refused { connection: ConnectionId, attempt: u32 },
    /// Nobody has answered for long enough.
    ConnectTimedOut { connection: ConnectionId },
    /// A pipe's first segment arrives, or is not tried any more.
    Pipe { connection: ConnectionId, pipe: usize },
    /// RST for one end.
    Reset { connection: ConnectionId, end: usize },
}

/// How a process's connections end with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum CloseHow {
    /// It closed them.
    Orderly,
    /// It was killed.
    Reset,
    /// Its machine is gone.
    Silence,
}

/// Linux: `TCP_TIMEOUT_INIT`, the wait before the second SYN; it doubles each time.
const SYN_BACK_OFF: Duration = Duration::from_secs(1);

fn syn_back_off(attempt: u32) -> Duration {
    SYN_BACK_OFF.saturating_mul(1u32.checked_shl(attempt).unwrap_or(u32::MAX))
}

impl World {
    pub(in super::super) fn net_event(self: &Arc<Self>, event: Event) {
        let mut after = After::default();
        let mut state = self.net.lock();
        let state_now = &mut *state;
        match event {
            Event::Syn { connection, attempt } => {
                state_now.on_syn(self, connection, attempt, &mut after)
            }
            Event::SynAck { connection, attempt } => {
                state_now.on_syn_ack(self, connection, attempt, &mut after);
            }
            Event::Refused { connection, attempt } => {
                state_now.on_refused(self, connection, attempt, &mut after);
            }
            Event::ConnectTimedOut { connection } => {
                state_now.connect_failed(connection, io::ErrorKind::TimedOut, &mut after);
            }
            Event::Pipe { connection, pipe } => {
                state_now.on_pipe(self, connection, pipe, &mut after)
            }
            Event::Reset { connection, end } => {
                state_now.on_reset(self, connection, end, &mut after)
            }
        }
        drop(state);
        after.run(self);
    }
}

impl super::SimNet {
    /// Ends everything that a process had open.
    pub(in super::super) fn process_ended(&self, world: &World, process: &Process, how: CloseHow) {
        let mut after = After::default();
        let mut state = self.lock();
        let dead = (process.node, process.boot);
        let mut listeners = Vec::new();
        state.listeners.retain(|(node, _), listener| {
            let dies = (*node, listener.boot) == dead;
            if dies {
                listeners.extend(listener.waker.take());
            }
            !dies
        });
        for (id, end) in state.ends_of(|end| (end.node, end.boot) == (dead.0, Some(dead.1))) {
            state.process_left(world, id, end, how, &mut after);
        }
        drop(state);
        drop(listeners);
        after.run(world);
    }

    /// The machine has no power: nothing of it answers, and it knows nothing any more.
    pub(in super::super) fn unpowered(&self, world: &World, node: NodeId) {
        let mut after = After::default();
        let mut state = self.lock();
        state.down.insert(node);
        for (id, end) in state.ends_of(|end| end.node == node) {
            state.end_gone(world, id, end, None, &mut after);
            state.reap(id);
        }
        drop(state);
        after.run(world);
    }

    /// The machine has power: it answers again.
    pub(in super::super) fn powered(&self, world: &World, node: NodeId) {
        let mut state = self.lock();
        let wakes =
            if state.down.remove(&node) { state.retry_parked(&world.events) } else { Vec::new() };
        drop(state);
        wakes.into_iter().for_each(Waker::wake);
    }
}

fn schedule(world: &World, at: SimTime, event: Event) -> EventKey {
    world.events.schedule(at, QueuedEvent::Net(event))
}

fn take_back(events: &Events, key: Option<EventKey>) {
    if let Some(key) = key {
        // Events of the network hold no waker: dropping one here is harmless.
        drop(events.cancel(key));
    }
}

impl State {
    /// Whether nothing from the one machine reaches the other now.
    fn blocked(&self, from: NodeId, to: NodeId) -> bool {
        self.down.contains(&to) || self.links.is_cut(from, to)
    }

    fn ends_of(
        &self,
        wanted: impl Fn(&super::connection::End) -> bool,
    ) -> Vec<(ConnectionId, usize)> {
        let mut found = Vec::new();
        for (id, connection) in &self.connections {
            for (index, end) in connection.ends.iter().enumerate() {
                if wanted(end) {
                    found.push((*id, index));
                }
            }
        }
        found
    }

    /// When a segment without content, sent now by an end, arrives. It passes nothing sent before it.
    fn control_arrival(&mut self, world: &World, id: ConnectionId, from_end: usize) -> SimTime {
        let now = world.now();
        let Some(connection) = self.connections.get_mut(&id) else { return now };
        let way = (connection.ends[from_end].node, connection.ends[1 - from_end].node);
        let at = self.links.arrival(&self.tcp, now, way, 0);
        let last = &mut connection.pipes[from_end].last_arrival;
        *last = (*last).max(at);
        *last
    }

    pub(super) fn send_syn(&mut self, world: &World, id: ConnectionId, attempt: u32) {
        let at = self.control_arrival(world, id, CONNECTOR);
        schedule(world, at, Event::Syn { connection: id, attempt });
    }

    /// No answer came: tries again later, or gives up.
    fn retry_syn(&mut self, world: &World, id: ConnectionId, attempt: u32) {
        let Some(connection) = self.connections.get(&id) else { return };
        let give_up = later(connection.begun, self.tcp.connect_give_up);
        let at = later(world.now(), syn_back_off(attempt));
        if at >= give_up {
            let at = give_up.max(world.now());
            schedule(world, at, Event::ConnectTimedOut { connection: id });
        } else {
            schedule(world, at, Event::Syn { connection: id, attempt: attempt + 1 });
        }
    }

    fn on_syn(&mut self, world: &World, id: ConnectionId, attempt: u32, after: &mut After) {
        let Some(connection) = self.connections.get(&id) else { return };
        let [connector, acceptor] = &connection.ends;
        if connector.state != EndState::Opening || acceptor.state != EndState::Opening {
            return;
        }
        let (from, to, address) = (connector.node, acceptor.node, acceptor.address);
        if self.blocked(from, to) {
            return self.retry_syn(world, id, attempt);
        }
        trace(world, to, "syn", id, &[]);
        let listener = self.listeners.get_mut(&(to, address.port()));
        let hears = |bound: std::net::IpAddr| {
            bound.is_unspecified()
                || bound == address.ip()
                || (from == to && address.ip().is_loopback())
        };
        let Some(listener) = listener.filter(|listener| hears(listener.address)) else {
            let at = self.control_arrival(world, id, ACCEPTOR);
            schedule(world, at, Event::Refused { connection: id, attempt });
            return;
        };
        if listener.backlog.len() >= self.tcp.backlog {
            return self.retry_syn(world, id, attempt);
        }
        listener.backlog.push_back(id);
        after.wakes.extend(listener.waker.take());
        let boot = listener.boot;
        let connection = self.connections.get_mut(&id).expect("looked at above");
        let end = &mut connection.ends[ACCEPTOR];
        (end.state, end.boot, end.held) = (EndState::Open, Some(boot), true);
        let at = self.control_arrival(world, id, ACCEPTOR);
        schedule(world, at, Event::SynAck { connection: id, attempt: 0 });
    }

    fn on_syn_ack(&mut self, world: &World, id: ConnectionId, attempt: u32, after: &mut After) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let (node, peer) = (connection.ends[CONNECTOR].node, connection.ends[ACCEPTOR].node);
        if self.down.contains(&node) || self.links.is_cut(peer, node) {
            let give_up = later(connection.begun, self.tcp.connect_give_up);
            let at = later(world.now(), syn_back_off(attempt));
            if at < give_up {
                schedule(world, at, Event::SynAck { connection: id, attempt: attempt + 1 });
            } else {
                schedule(
                    world,
                    give_up.max(world.now()),
                    Event::ConnectTimedOut { connection: id },
                );
            }
            return;
        }
        trace(world, node, "syn-ack", id, &[]);
        match connection.ends[CONNECTOR].state {
            EndState::Opening => {
                connection.ends[CONNECTOR].state = EndState::Open;
                connection.ends[CONNECTOR].wake(&mut after.wakes);
            }
            EndState::Open | EndState::Closed => {}
            EndState::Gone => self.send_reset(world, id, ACCEPTOR),
        }
    }

    fn on_refused(&mut self, world: &World, id: ConnectionId, attempt: u32, after: &mut After) {
        let Some(connection) = self.connections.get(&id) else { return };
        let (node, peer) = (connection.ends[CONNECTOR].node, connection.ends[ACCEPTOR].node);
        if self.blocked(peer, node) {
            return self.retry_syn(world, id, attempt);
        }
        trace(world, node, "refused", id, &[]);
        self.connect_failed(id, io::ErrorKind::ConnectionRefused, after);
    }

    fn connect_failed(&mut self, id: ConnectionId, error: io::ErrorKind, after: &mut After) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let end = &mut connection.ends[CONNECTOR];
        if end.state == EndState::Opening {
            end.become_gone(Some(error), &mut after.wakes);
        }
        let acceptor = &mut connection.ends[ACCEPTOR];
        if acceptor.state == EndState::Opening {
            acceptor.state = EndState::Gone;
        }
        self.reap(id);
    }

    /// Sends RST to an end, whether or not it is there. What travels before it arrives before it, and is read if its reader is quick.
    fn send_reset(&mut self, world: &World, id: ConnectionId, to_end: usize) {
        let before = self.connections.get(&id).map(|of| of.pipes[1 - to_end].last_arrival);
        let mut at = self.control_arrival(world, id, 1 - to_end);
        if before == Some(at) {
            at = later(at, RST_BEHIND);
        }
        schedule(world, at, Event::Reset { connection: id, end: to_end });
    }

    fn on_reset(&mut self, world: &World, id: ConnectionId, end: usize, after: &mut After) {
        let Some(connection) = self.connections.get(&id) else { return };
        let (node, peer) = (connection.ends[end].node, connection.ends[1 - end].node);
        // Nobody repeats a lost RST: the end stays half-open until it speaks.
        if !self.blocked(peer, node) && connection.ends[end].state != EndState::Gone {
            trace(world, node, "rst", id, &[]);
            self.end_gone(world, id, end, Some(io::ErrorKind::ConnectionReset), after);
        }
        self.reap(id);
    }

    /// A kernel forgets an end: what it had not sent is gone, what travels goes on.
    fn end_gone(
        &mut self,
        world: &World,
        id: ConnectionId,
        end: usize,
        error: Option<io::ErrorKind>,
        after: &mut After,
    ) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.ends[end].become_gone(error, &mut after.wakes);
        if end == CONNECTOR && connection.ends[ACCEPTOR].state == EndState::Opening {
            connection.ends[ACCEPTOR].state = EndState::Gone;
        }
        let pipe = &mut connection.pipes[end];
        pipe.queue.clear();
        if pipe.parked_since.is_some() {
            take_back(&world.events, pipe.clear());
        }
    }

    /// A process leaves an end, by its will or not.
    pub(super) fn process_left(
        &mut self,
        world: &World,
        id: ConnectionId,
        end: usize,
        how: CloseHow,
        after: &mut After,
    ) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let this = &mut connection.ends[end];
        this.held = false;
        // Linux: closing with unread bytes, or before accept, sends RST; so does the death of the process here.
        let unread = this.received_bytes > 0 || !this.accepted;
        let orderly = how == CloseHow::Orderly && !unread;
        match this.state {
            EndState::Open if orderly => {
                this.state = EndState::Closed;
                this.wake(&mut after.wakes);
                self.write_fin(world, id, end);
            }
            EndState::Opening => self.end_gone(world, id, end, None, after),
            EndState::Open | EndState::Closed if how == CloseHow::Silence => {
                self.end_gone(world, id, end, None, after);
            }
            EndState::Open => {
                self.end_gone(world, id, end, None, after);
                self.send_reset(world, id, 1 - end);
            }
            // The kernel goes on sending what a closed socket was given.
            EndState::Closed | EndState::Gone => {}
        }
        self.reap(id);
    }

    /// Ends the stream of an end after what was written.
    pub(super) fn write_fin(&mut self, world: &World, id: ConnectionId, end: usize) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let pipe = &mut connection.pipes[end];
        if !pipe.fin_written {
            pipe.fin_written = true;
            pipe.queue.push_back(Segment { bytes: Bytes::new(), fin: true, extra: 0 });
            self.pump(world, id, end);
        }
    }

    /// Takes written bytes into the send buffer. The caller has looked for room.
    pub(super) fn write(
        &mut self,
        world: &World,
        id: ConnectionId,
        end: usize,
        bytes: Bytes,
    ) -> Vec<WorldEvent> {
        let Some(connection) = self.connections.get_mut(&id) else { return Vec::new() };
        let direction = if end == CONNECTOR { Direction::Request } else { Direction::Response };
        let Connection { ends, pipes, requests, .. } = connection;
        let (from, to) = (ends[end].node, ends[1 - end].node);
        let pipe = &mut pipes[end];
        let faults = &mut self.frame_faults;
        let draw = &mut self.frame_draw;
        let mut context = Context { direction, from, to, requests, faults, draw };
        let outcome = pipe.tracker.on_bytes(bytes, &mut context);
        for (bytes, extra) in outcome.sent {
            pipe.buffered += bytes.len();
            pipe.queue.push_back(Segment { bytes, fin: false, extra });
        }
        self.frames += outcome.frames;
        self.frames_hit += outcome.hits.len() as u64;
        self.pump(world, id, end);
        let told = |(frame, action): (super::frames::Frame, super::FrameAction)| {
            let api = frame.api_key.and_then(ottla::protocol::ApiKey::from_wire);
            let api = api.map_or("?", ottla::protocol::ApiKey::name);
            let word = action.word(frame.direction);
            WorldEvent::Fault { node: Some(frame.to), what: format!("{word} {api}") }
        };
        outcome.hits.into_iter().map(told).collect()
    }

    /// Sends what the receiver has room for.
    pub(super) fn pump(&mut self, world: &World, id: ConnectionId, end: usize) {
        let now = world.now();
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let way = (connection.ends[end].node, connection.ends[1 - end].node);
        let unread = connection.ends[1 - end].received_bytes;
        let pipe = &mut connection.pipes[end];
        while let Some(first) = pipe.queue.front_mut() {
            let room = self.tcp.receive_buffer.saturating_sub(pipe.in_flight_bytes + unread);
            if room == 0 && !first.fin {
                break;
            }
            let segment = if first.bytes.len() > room {
                let bytes = first.bytes.split_to(room);
                Segment { bytes, fin: false, extra: std::mem::take(&mut first.extra) }
            } else {
                pipe.queue.pop_front().expect("looked at above")
            };
            let at = self.links.arrival(&self.tcp, now, way, segment.bytes.len());
            let at = later(at, Duration::from_nanos(segment.extra)).max(pipe.last_arrival);
            pipe.last_arrival = at;
            pipe.in_flight_bytes += segment.bytes.len();
            pipe.in_flight.push_back((at, segment));
        }
        if let (None, Some((at, _))) = (&pipe.event, pipe.in_flight.front()) {
            pipe.event = Some(schedule(world, *at, Event::Pipe { connection: id, pipe: end }));
        }
    }

    fn on_pipe(&mut self, world: &World, id: ConnectionId, end: usize, after: &mut After) {
        let now = world.now();
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.pipes[end].event = None;
        let (node, peer) = (connection.ends[end].node, connection.ends[1 - end].node);
        if self.down.contains(&peer) || self.links.is_cut(node, peer) {
            return self.park(world, id, end, after);
        }
        connection.pipes[end].parked_since = None;
        while let Some(connection) = self.connections.get_mut(&id) {
            let pipe = &mut connection.pipes[end];
            if pipe.in_flight.front().is_none_or(|(at, _)| *at > now) {
                break;
            }
            let (_, segment) = pipe.in_flight.pop_front().expect("looked at above");
            pipe.in_flight_bytes -= segment.bytes.len();
            self.deliver(world, id, end, segment, after);
        }
        self.pump(world, id, end);
        self.reap(id);
    }

    /// A segment has reached the machine of the other end.
    fn deliver(
        &mut self,
        world: &World,
        id: ConnectionId,
        end: usize,
        segment: Segment,
        after: &mut After,
    ) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let (node, peer) = (connection.ends[end].node, connection.ends[1 - end].node);
        let what = if segment.fin { "fin" } else { "segment" };
        trace(world, peer, what, id * 2 + end as u64, &segment.bytes);
        let way_back_cut = self.links.is_cut(peer, node);
        let receiver = &mut connection.ends[1 - end];
        match receiver.state {
            EndState::Open | EndState::Opening if segment.fin => {
                receiver.fin_received = true;
                after.wakes.extend(receiver.reader.take());
            }
            EndState::Open | EndState::Opening => {
                let length = segment.bytes.len();
                receiver.received_bytes += length;
                receiver.received.push_back(segment.bytes);
                after.wakes.extend(receiver.reader.take());
                let pipe = &mut connection.pipes[end];
                if way_back_cut {
                    pipe.acks_owed += length;
                } else {
                    pipe.buffered =
                        pipe.buffered.saturating_sub(length + std::mem::take(&mut pipe.acks_owed));
                    after.wakes.extend(connection.ends[end].writer.take());
                }
            }
            EndState::Closed if segment.fin => {}
            EndState::Closed | EndState::Gone => {
                take_back(&world.events, connection.pipes[end].clear());
                self.send_reset(world, id, end);
            }
        }
    }

    /// The first segment cannot arrive: it waits for a heal, or for the sender's kernel to give up.
    fn park(&mut self, world: &World, id: ConnectionId, end: usize, after: &mut After) {
        let now = world.now();
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let sender_gone = connection.ends[end].state == EndState::Gone;
        let pipe = &mut connection.pipes[end];
        if sender_gone {
            // Nobody is left who would send it again.
            take_back(&world.events, pipe.clear());
            return self.reap(id);
        }
        let since = *pipe.parked_since.get_or_insert(now);
        let give_up = later(since, self.tcp.give_up);
        if now < give_up {
            pipe.event = Some(schedule(world, give_up, Event::Pipe { connection: id, pipe: end }));
            return;
        }
        take_back(&world.events, pipe.clear());
        // ETIMEDOUT; the product's real back end has one name for every death of a connection.
        self.end_gone(world, id, end, Some(io::ErrorKind::ConnectionReset), after);
        self.reap(id);
    }

    /// Something was healed: what waits arrives with its next retransmission, and owed acknowledgements arrive.
    pub(super) fn retry_parked(&mut self, events: &Events) -> Vec<Waker> {
        let (now, mut wakes) = (events.now(), Vec::new());
        for (id, connection) in &mut self.connections {
            for end in 0..2 {
                let (node, peer) = (connection.ends[end].node, connection.ends[1 - end].node);
                let open = !self.down.contains(&peer) && !self.links.is_cut(node, peer);
                let way_back_open = !self.links.is_cut(peer, node);
                let pipe = &mut connection.pipes[end];
                if let (true, Some(since)) = (open, pipe.parked_since) {
                    let at = self.tcp.next_attempt(since, now);
                    let at = self.links.arrival(&self.tcp, at, (node, peer), 0);
                    take_back(events, pipe.event.take());
                    let event = Event::Pipe { connection: *id, pipe: end };
                    pipe.event = Some(events.schedule(at, QueuedEvent::Net(event)));
                    // They went together and arrive together.
                    pipe.in_flight.iter_mut().for_each(|(arrival, _)| *arrival = at);
                    pipe.last_arrival = pipe.last_arrival.max(at);
                }
                if way_back_open && pipe.acks_owed > 0 {
                    pipe.buffered =
                        pipe.buffered.saturating_sub(std::mem::take(&mut pipe.acks_owed));
                    wakes.extend(connection.ends[end].writer.take());
                }
            }
        }
        wakes
    }

    /// Breaks what is open between two machines.
    pub(super) fn reset_between(
        &mut self,
        events: &Events,
        one: NodeId,
        other: NodeId,
    ) -> (usize, Vec<Waker>) {
        let (mut count, mut wakes) = (0, Vec::new());
        for connection in self.connections.values_mut() {
            let nodes = [connection.ends[0].node, connection.ends[1].node];
            if nodes != [one, other] && nodes != [other, one] {
                continue;
            }
            if !connection.ends.iter().any(|end| end.state == EndState::Open) {
                continue;
            }
            count += 1;
            for end in &mut connection.ends {
                end.become_gone(Some(io::ErrorKind::ConnectionReset), &mut wakes);
            }
            for pipe in &mut connection.pipes {
                take_back(events, pipe.clear());
            }
        }
        (count, wakes)
    }

    /// Forgets a connection that is over.
    pub(super) fn reap(&mut self, id: ConnectionId) {
        if self.connections.get(&id).is_some_and(Connection::is_over) {
            // Its wakers are gone: nobody holds an end of it. Its events, if any, find nothing.
            self.connections.remove(&id);
        }
    }

    /// The boot that an end belongs to.
    pub(super) fn owner(&self, id: ConnectionId, end: usize) -> Option<Boot> {
        self.connections.get(&id)?.ends[end].boot
    }
}

/// Adds something that arrived at `node` to the trace.
fn trace(world: &World, node: NodeId, what: &'static str, id: u64, content: &[u8]) {
    world.trace.add(
        world.now(),
        node,
        Kind::Network,
        |mixer| {
            mixer.bytes(what.as_bytes());
            mixer.word(id);
            mixer.bytes(content);
        },
        || format!("{what} of connection {id}, {} bytes", content.len()),
    );
}
