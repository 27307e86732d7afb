//! The network as a process sees it: the product's `Net`, `Listener`, `Connection` and `Stream`, fenced by its boot.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use ottla::runtime::{BoxFuture, Connection as Accepted, Listener, Net, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::{NodeId, Process, World, address_of};
use super::connection::{ACCEPTOR, CONNECTOR, Connection, ConnectionId, End, EndState, Pipe};
use super::kernel::CloseHow;
use super::{After, ListenerState, State, node_of};

/// The first port that is given to whoever asks for any (IANA's dynamic range).
const FIRST_PORT: u16 = 49_152;

/// The network that one process is given.
pub(in super::super) struct NodeNet(Access);

#[derive(Clone)]
struct Access {
    world: Arc<World>,
    process: Arc<Process>,
}

fn dead() -> io::Error {
    io::Error::other("the process that opened this has ended")
}

impl NodeNet {
    pub(in super::super) fn new(world: &Arc<World>, process: &Arc<Process>) -> Self {
        Self(Access { world: Arc::clone(world), process: Arc::clone(process) })
    }
}

impl State {
    /// A port that nobody listens on.
    fn free_port(&mut self, node: NodeId) -> u16 {
        let next = self.next_port.entry(node).or_insert(FIRST_PORT);
        loop {
            let port = *next;
            *next = next.checked_add(1).unwrap_or(FIRST_PORT);
            if !self.listeners.contains_key(&(node, port)) {
                return port;
            }
        }
    }
}

impl Access {
    fn listen(&self, address: SocketAddr) -> io::Result<Box<dyn Listener>> {
        if !self.process.is_alive() {
            return Err(dead());
        }
        let node = self.process.node;
        let ip = address.ip();
        if !ip.is_unspecified() && !ip.is_loopback() && ip != address_of(node) {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        let mut state = self.world.net.lock();
        let port = if address.port() == 0 { state.free_port(node) } else { address.port() };
        if state.listeners.contains_key(&(node, port)) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let boot = self.process.boot;
        let listener =
            ListenerState { address: ip, boot, backlog: Default::default(), waker: None };
        state.listeners.insert((node, port), listener);
        let address = SocketAddr::new(ip, port);
        Ok(Box::new(NodeListener { access: self.clone(), address }))
    }

    fn connect(&self, address: SocketAddr) -> io::Result<Connecting> {
        if !self.process.is_alive() {
            return Err(dead());
        }
        let world = &self.world;
        let node = self.process.node;
        // An address of nobody is a machine without power: silence.
        let peer = node_of(node, address).unwrap_or(NodeId(u32::MAX - 1));
        let known = world.machine_if(peer).is_some();
        let mut state = world.net.lock();
        if !known {
            state.down.insert(peer);
        }
        let port = state.free_port(node);
        let source = if address.ip().is_loopback() { address.ip() } else { address_of(node) };
        let source = SocketAddr::new(source, port);
        let id = state.next_connection;
        state.next_connection += 1;
        let connection = Connection {
            ends: [End::new(node, source, Some(self.process.boot)), End::new(peer, address, None)],
            pipes: [Pipe::default(), Pipe::default()],
            requests: Default::default(),
            begun: world.now(),
        };
        state.connections.insert(id, connection);
        state.send_syn(world, id, 0);
        Ok(Connecting(Some(Handle { access: self.clone(), id, end: CONNECTOR })))
    }
}

impl Net for NodeNet {
    fn listen(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        Box::pin(std::future::ready(self.0.listen(address)))
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        match self.0.connect(address) {
            Ok(connecting) => Box::pin(connecting),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }

    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let ip = match host {
            "localhost" => Some(std::net::IpAddr::from([127, 0, 0, 1])),
            _ => host.parse().ok().or_else(|| {
                let machines = self.0.world.machines();
                machines.iter().find(|machine| machine.name == host).map(|machine| machine.address)
            }),
        };
        let unknown = || io::Error::new(io::ErrorKind::NotFound, format!("no host {host}"));
        let result = ip.map(|ip| vec![SocketAddr::new(ip, port)]).ok_or_else(unknown);
        Box::pin(std::future::ready(result))
    }
}

struct NodeListener {
    access: Access,
    address: SocketAddr,
}

impl NodeListener {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Box<dyn Accepted>>> {
        if !self.access.process.is_alive() {
            return Poll::Ready(Err(dead()));
        }
        let node = self.access.process.node;
        let mut old = None;
        let mut state = self.access.world.net.lock();
        let listener = state.listeners.get_mut(&(node, self.address.port()));
        let Some(listener) = listener else { return Poll::Ready(Err(dead())) };
        let Some(id) = listener.backlog.pop_front() else {
            keep_waker(&mut listener.waker, cx, &mut old);
            drop(state);
            drop(old);
            return Poll::Pending;
        };
        let Some(connection) = state.connections.get_mut(&id) else {
            drop(state);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        };
        connection.ends[ACCEPTOR].accepted = true;
        let peer = connection.ends[CONNECTOR].address;
        drop(state);
        let handle = Handle { access: self.access.clone(), id, end: ACCEPTOR };
        Poll::Ready(Ok(Box::new(NodeConnection { handle, peer })))
    }
}

/// Notes who waits; an old waker is handed out, to be dropped with nothing locked.
fn keep_waker(kept: &mut Option<Waker>, cx: &Context<'_>, old: &mut Option<Waker>) {
    if kept.as_ref().is_none_or(|kept| !kept.will_wake(cx.waker())) {
        *old = kept.replace(cx.waker().clone());
    }
}

impl Listener for NodeListener {
    fn local_address(&self) -> SocketAddr {
        self.address
    }

    fn accept(&mut self) -> BoxFuture<'_, io::Result<Box<dyn Accepted>>> {
        Box::pin(poll_fn(|cx| self.poll_accept(cx)))
    }
}

impl Drop for NodeListener {
    fn drop(&mut self) {
        if !self.access.process.is_alive() {
            return;
        }
        let mut after = After::default();
        let mut state = self.access.world.net.lock();
        let key = (self.access.process.node, self.address.port());
        let Some(listener) = state.listeners.remove(&key) else { return };
        for id in listener.backlog {
            state.process_left(&self.access.world, id, ACCEPTOR, CloseHow::Orderly, &mut after);
        }
        drop(state);
        drop(listener.waker);
        after.run(&self.access.world);
    }
}

struct NodeConnection {
    handle: Handle,
    peer: SocketAddr,
}

impl Accepted for NodeConnection {
    fn peer_address(&self) -> SocketAddr {
        self.peer
    }

    fn into_stream(self: Box<Self>) -> io::Result<Box<dyn Stream>> {
        Ok(Box::new(NodeStream(self.handle)))
    }
}

/// One end, held by its process. Dropping it closes the connection.
struct Handle {
    access: Access,
    id: ConnectionId,
    end: usize,
}

impl Drop for Handle {
    fn drop(&mut self) {
        let world = &self.access.world;
        // A task that panics drops its streams while it unwinds: its node is dead before that is noticed elsewhere.
        if std::thread::panicking() || !self.access.process.is_alive() {
            return;
        }
        let mut after = After::default();
        let mut state = world.net.lock();
        state.process_left(world, self.id, self.end, CloseHow::Orderly, &mut after);
        drop(state);
        after.run(world);
    }
}

/// Waits until a connection is open. Dropping it takes the attempt back.
struct Connecting(Option<Handle>);

impl Future for Connecting {
    type Output = io::Result<Box<dyn Stream>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let handle = self.0.as_ref().expect("polled after its end");
        let mut old = None;
        let mut state = handle.access.world.net.lock();
        let connection = state.connections.get_mut(&handle.id);
        let end = connection.map(|connection| &mut connection.ends[CONNECTOR]);
        let result = match end {
            None => Err(dead()),
            Some(end) => match (end.state, end.error) {
                (EndState::Opening, _) => {
                    keep_waker(&mut end.writer, cx, &mut old);
                    drop(state);
                    drop(old);
                    return Poll::Pending;
                }
                (EndState::Gone, Some(error)) => Err(error.into()),
                (EndState::Gone, None) => Err(dead()),
                (EndState::Open | EndState::Closed, _) => Ok(()),
            },
        };
        drop(state);
        let handle = self.0.take().expect("looked at above");
        Poll::Ready(result.map(|()| Box::new(NodeStream(handle)) as Box<dyn Stream>))
    }
}

struct NodeStream(Handle);

impl NodeStream {
    fn read(&self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Handle { access, id, end } = &self.0;
        let (world, mut old) = (&access.world, None);
        let mut guard = world.net.lock();
        let state = &mut *guard;
        let Some(connection) = state.connections.get_mut(id) else {
            return Poll::Ready(Err(dead()));
        };
        let this = &mut connection.ends[*end];
        if this.boot != Some(access.process.boot) || !access.process.is_alive() {
            return Poll::Ready(Err(dead()));
        }
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if this.received_bytes == 0 {
            if let Some(error) = this.error {
                return Poll::Ready(Err(error.into()));
            }
            if this.fin_received {
                return Poll::Ready(Ok(()));
            }
            keep_waker(&mut this.reader, cx, &mut old);
            drop(guard);
            drop(old);
            return Poll::Pending;
        }
        let mut wanted = buffer.remaining().min(this.received_bytes);
        if state.partial_draw.chance(state.tcp.partial) {
            wanted = part_of(&mut state.partial_draw, wanted);
        }
        this.received_bytes -= wanted;
        while wanted > 0 {
            let first = this.received.front_mut().expect("as many bytes as are counted");
            let part = first.len().min(wanted);
            buffer.put_slice(&first[..part]);
            first.advance(part);
            if first.is_empty() {
                this.received.pop_front();
            }
            wanted -= part;
        }
        if !connection.pipes[1 - *end].queue.is_empty() {
            state.pump(world, *id, 1 - *end);
        }
        Poll::Ready(Ok(()))
    }

    fn write(&self, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let Handle { access, id, end } = &self.0;
        let (world, mut old) = (&access.world, None);
        let mut guard = world.net.lock();
        let state = &mut *guard;
        let length: usize = slices.iter().map(|slice| slice.len()).sum();
        let room = match state.may_write(*id, *end, access) {
            Ok(room) => room,
            Err(error) => return Poll::Ready(Err(error)),
        };
        if length == 0 {
            return Poll::Ready(Ok(0));
        }
        if room == 0 {
            let connection = state.connections.get_mut(id).expect("looked at above");
            keep_waker(&mut connection.ends[*end].writer, cx, &mut old);
            drop(guard);
            drop(old);
            return Poll::Pending;
        }
        let mut taken = length.min(room);
        if state.partial_draw.chance(state.tcp.partial) {
            taken = part_of(&mut state.partial_draw, taken);
        }
        let mut bytes = Vec::with_capacity(taken);
        for slice in slices {
            let part = slice.len().min(taken - bytes.len());
            bytes.extend_from_slice(&slice[..part]);
        }
        let told = state.write(world, *id, *end, Bytes::from(bytes));
        drop(guard);
        After { wakes: Vec::new(), told }.run(world);
        Poll::Ready(Ok(taken))
    }
}

impl State {
    /// How many bytes the send buffer takes.
    fn may_write(&self, id: ConnectionId, end: usize, access: &Access) -> io::Result<usize> {
        let connection = self.connections.get(&id).ok_or_else(dead)?;
        let this = &connection.ends[end];
        if this.boot != Some(access.process.boot) || !access.process.is_alive() {
            return Err(dead());
        }
        if let Some(error) = this.error {
            return Err(error.into());
        }
        if connection.pipes[end].fin_written {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(self.tcp.send_buffer.saturating_sub(connection.pipes[end].buffered))
    }
}

/// A drawn part of `whole`, at least 1.
fn part_of(draw: &mut super::Draw, whole: usize) -> usize {
    let part = draw.below(whole as u64) + 1;
    usize::try_from(part).expect("not more than the whole")
}

impl AsyncRead for NodeStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.read(cx, buffer)
    }
}

impl AsyncWrite for NodeStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.write(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Handle { access, id, end } = &self.0;
        let mut state = access.world.net.lock();
        if access.process.is_alive() && state.owner(*id, *end) == Some(access.process.boot) {
            state.write_fin(&access.world, *id, *end);
        }
        Poll::Ready(Ok(()))
    }
}
