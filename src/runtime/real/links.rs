//! Links between processes on one machine that can be cut: a proxy stands before each of them, and lets nothing through where
//! its link is cut.
//!
//! Each process connects from a loopback address of its own (127.0.0.0/8 is all of this machine), so that a proxy knows who it
//! is: [`Links::name`]. Whoever connects from another address is a stranger, and strangers are never cut off. A cut is
//! silence, as on a network: bytes are held, an end of stream too, and both travel when the link is mended; a new connection is
//! made and nobody answers it. A process that is not there refuses: its peers' connections are reset.
//!
//! Works on Linux alone. For development clusters and for the testbed: nothing of a node comes through here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener as StdListener};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};

use crate::runtime::{task, watch};

/// How much of a direction is under way at once, in bytes: a batch of `batch.size` and its like in one piece.
const CHUNK_BYTES: usize = 64 * 1024;

/// How long accepting rests where there are no descriptors or no memory left.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// A process, by a number that its owner gives it.
pub type Place = u32;

/// The links of a few processes. Belongs to the tokio runtime on which proxies are opened.
pub struct Links {
    state: Mutex<State>,
    /// Who does not reach whom.
    cuts: watch::Sender<BTreeSet<(Place, Place)>>,
}

#[derive(Default)]
struct State {
    places: BTreeMap<IpAddr, Place>,
    proxies: Vec<task::Task<()>>,
    connections: BTreeMap<u64, Open>,
    next: u64,
}

/// A connection under way.
struct Open {
    from: Option<Place>,
    to: Place,
    /// Turns true when it is to be reset.
    reset: watch::Sender<bool>,
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Links").field("cuts", &*self.cuts.borrow()).finish_non_exhaustive()
    }
}

impl Default for Links {
    fn default() -> Self {
        Self { state: Mutex::default(), cuts: watch::Sender::new(BTreeSet::new()) }
    }
}

impl Links {
    /// No process and no link.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics with the links locked")
    }

    /// From now on whoever connects from `address` is `place`.
    pub fn name(&self, address: IpAddr, place: Place) {
        self.lock().places.insert(address, place);
    }

    /// Opens a proxy before the process `to`, which listens at `upstream`. Port 0 of `listen` takes a free one; returns where
    /// the process is reached from now on. Call it inside a tokio runtime.
    ///
    /// Errors: the address cannot be listened on.
    pub fn open(
        self: &Arc<Self>,
        to: Place,
        listen: SocketAddr,
        upstream: SocketAddr,
    ) -> io::Result<SocketAddr> {
        let listener = StdListener::bind(listen)?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        let links = Arc::clone(self);
        let proxy = task::spawn(async move {
            loop {
                // Out of descriptors or memory: whoever connected is refused by and by.
                let Ok((stream, peer)) = listener.accept().await else {
                    rest().await;
                    continue;
                };
                task::spawn(Arc::clone(&links).carry(stream, peer.ip(), to, upstream));
            }
        });
        self.lock().proxies.push(proxy);
        Ok(address)
    }

    /// From now on nothing of `from` arrives at `to`.
    pub fn cut(&self, from: Place, to: Place) {
        if from != to {
            self.cuts.send_modify(|cuts| {
                cuts.insert((from, to));
            });
        }
    }

    /// What `from` sends arrives at `to` again, what was held first.
    pub fn mend(&self, from: Place, to: Place) {
        self.cuts.send_modify(|cuts| {
            cuts.remove(&(from, to));
        });
    }

    /// Cuts these links and mends all others.
    pub fn set(&self, cuts: BTreeSet<(Place, Place)>) {
        self.cuts.send_replace(cuts);
    }

    /// Whether what `from` sends does not arrive at `to`.
    #[must_use]
    pub fn is_cut(&self, from: Place, to: Place) -> bool {
        self.cuts.borrow().contains(&(from, to))
    }

    /// Resets every connection between two processes. Returns how many there were.
    pub fn reset(&self, one: Place, other: Place) -> usize {
        let state = self.lock();
        let is_between = |open: &&Open| {
            (open.from, open.to) == (Some(one), other) || (open.from, open.to) == (Some(other), one)
        };
        let resets: Vec<watch::Sender<bool>> =
            state.connections.values().filter(is_between).map(|open| open.reset.clone()).collect();
        drop(state);
        for reset in &resets {
            reset.send_replace(true);
        }
        resets.len()
    }

    /// Closes every proxy and resets every connection.
    pub fn close(&self) {
        let mut state = self.lock();
        let proxies = std::mem::take(&mut state.proxies);
        let resets: Vec<_> = state.connections.values().map(|open| open.reset.clone()).collect();
        drop(state);
        proxies.iter().for_each(task::Task::abort);
        for reset in resets {
            reset.send_replace(true);
        }
    }

    /// Notes a connection; its number, and who connects.
    fn admit(
        &self,
        address: IpAddr,
        to: Place,
        reset: watch::Sender<bool>,
    ) -> (u64, Option<Place>) {
        let mut state = self.lock();
        let from = state.places.get(&address).copied();
        let number = state.next;
        state.next += 1;
        state.connections.insert(number, Open { from, to, reset });
        (number, from)
    }

    /// One connection, from its first byte to its end.
    async fn carry(
        self: Arc<Self>,
        client: TcpStream,
        address: IpAddr,
        to: Place,
        upstream: SocketAddr,
    ) {
        let (reset, mut resets) = watch::channel(false);
        let (number, from) = self.admit(address, to, reset);
        tokio::select! {
            biased;
            () = asked(&mut resets) => reset_now(&client),
            server = self.reach(from, to, upstream) => match server {
                Some(server) => self.join(client, server, (from, to), &mut resets).await,
                None => reset_now(&client),
            },
        }
        self.lock().connections.remove(&number);
    }

    /// Connects to a process as soon as the link to it is whole; `None` where it refuses.
    async fn reach(
        &self,
        from: Option<Place>,
        to: Place,
        upstream: SocketAddr,
    ) -> Option<TcpStream> {
        self.mended(from, Some(to)).await;
        let connected = TcpStream::connect(upstream).await;
        self.mended(Some(to), from).await;
        connected.ok()
    }

    /// Lets bytes through in both directions until both have ended, or one of the two is dead.
    async fn join(
        &self,
        mut client: TcpStream,
        mut server: TcpStream,
        (from, to): (Option<Place>, Place),
        resets: &mut watch::Receiver<bool>,
    ) {
        for stream in [&client, &server] {
            // Only slower without.
            let _ = stream.set_nodelay(true);
        }
        let (client_reads, client_writes) = client.split();
        let (server_reads, server_writes) = server.split();
        let both = async {
            tokio::try_join!(
                self.pump((from, Some(to)), client_reads, server_writes),
                self.pump((Some(to), from), server_reads, client_writes),
            )
        };
        let is_dead = tokio::select! {
            biased;
            () = asked(resets) => true,
            ended = both => ended.is_err(),
        };
        if is_dead {
            reset_now(&client);
            reset_now(&server);
        }
    }

    /// One direction, until its end.
    ///
    /// Errors: one of the two processes has reset its side, and the other may know it now.
    async fn pump(
        &self,
        (from, to): (Option<Place>, Option<Place>),
        mut reads: ReadHalf<'_>,
        mut writes: WriteHalf<'_>,
    ) -> io::Result<()> {
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            self.mended(from, to).await;
            let read = reads.read(&mut buffer).await;
            // What was read while the link was being cut is held as well.
            self.mended(from, to).await;
            let count = read?;
            if count == 0 {
                // The other side may have closed already.
                let _ = writes.shutdown().await;
                return Ok(());
            }
            if let Err(error) = writes.write_all(&buffer[..count]).await {
                self.mended(to, from).await;
                return Err(error);
            }
        }
    }

    /// Waits until what `from` sends arrives at `to`. Strangers are never cut off.
    async fn mended(&self, from: Option<Place>, to: Option<Place>) {
        let (Some(from), Some(to)) = (from, to) else { return };
        let mut cuts = self.cuts.subscribe();
        // The sender lives in `self`: it cannot be gone.
        let _ = cuts.wait_for(|cuts| !cuts.contains(&(from, to))).await;
    }
}

async fn asked(resets: &mut watch::Receiver<bool>) {
    if resets.wait_for(|reset| *reset).await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn reset_now(stream: &TcpStream) {
    // Where the kernel refuses, the connection ends in good order instead.
    let _ = set_socket_linger(stream, Some(Duration::ZERO));
}

#[expect(clippy::disallowed_methods, reason = "the real world below the clock")]
async fn rest() {
    tokio::time::sleep(ACCEPT_REST).await;
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const SERVER: Place = 1;
    const CLIENT: Place = 2;
    const SOON: Duration = Duration::from_secs(10);
    const SILENCE: Duration = Duration::from_millis(150);

    fn local(last: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(127, 99, 0, last))
    }

    /// An echo behind a proxy, and a connection to it of the place `CLIENT`.
    async fn echo() -> (Arc<Links>, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = listener.local_addr().unwrap();
        task::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                task::spawn(async move {
                    let (mut reads, mut writes) = stream.split();
                    let _ = tokio::io::copy(&mut reads, &mut writes).await;
                });
            }
        });
        let links = Links::new();
        links.name(local(2), CLIENT);
        let proxy = links.open(SERVER, "127.0.0.1:0".parse().unwrap(), upstream).unwrap();
        (links, proxy)
    }

    async fn connect(proxy: SocketAddr, from: Option<IpAddr>) -> TcpStream {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        if let Some(from) = from {
            socket.bind(SocketAddr::new(from, 0)).unwrap();
        }
        socket.connect(proxy).await.unwrap()
    }

    async fn hears(stream: &mut TcpStream, within: Duration) -> Option<io::Result<u8>> {
        tokio::time::timeout(within, stream.read_u8()).await.ok()
    }

    fn block_on(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(test);
    }

    #[test]
    fn a_cut_is_silence_in_its_direction_and_what_was_held_travels_when_it_is_mended() {
        block_on(async {
            let (links, proxy) = echo().await;
            for (from, to) in [(CLIENT, SERVER), (SERVER, CLIENT)] {
                let mut stream = connect(proxy, Some(local(2))).await;
                stream.write_u8(7).await.unwrap();
                assert_eq!(hears(&mut stream, SOON).await.unwrap().unwrap(), 7);
                links.cut(from, to);
                assert!(links.is_cut(from, to) && !links.is_cut(to, from));
                stream.write_u8(8).await.unwrap();
                assert!(hears(&mut stream, SILENCE).await.is_none());
                let mut new = connect(proxy, Some(local(2))).await;
                new.write_u8(9).await.unwrap();
                assert!(hears(&mut new, SILENCE).await.is_none(), "nobody answers a new one");
                links.mend(from, to);
                assert_eq!(hears(&mut stream, SOON).await.unwrap().unwrap(), 8);
                assert_eq!(hears(&mut new, SOON).await.unwrap().unwrap(), 9);
            }
        });
    }

    #[test]
    fn strangers_are_never_cut_off() {
        block_on(async {
            let (links, proxy) = echo().await;
            links.cut(CLIENT, SERVER);
            links.cut(SERVER, CLIENT);
            let mut stream = connect(proxy, None).await;
            stream.write_u8(7).await.unwrap();
            assert_eq!(hears(&mut stream, SOON).await.unwrap().unwrap(), 7);
        });
    }

    #[test]
    fn a_reset_ends_the_connections_of_two_and_of_nobody_else() {
        block_on(async {
            let (links, proxy) = echo().await;
            let mut named = connect(proxy, Some(local(2))).await;
            let mut stranger = connect(proxy, None).await;
            for stream in [&mut named, &mut stranger] {
                stream.write_u8(7).await.unwrap();
                hears(stream, SOON).await.unwrap().unwrap();
            }
            assert_eq!(links.reset(CLIENT, SERVER), 1);
            let error = hears(&mut named, SOON).await.unwrap().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
            stranger.write_u8(8).await.unwrap();
            assert_eq!(hears(&mut stranger, SOON).await.unwrap().unwrap(), 8);
        });
    }

    #[test]
    fn a_process_that_is_not_there_refuses() {
        block_on(async {
            let gone = StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let links = Links::new();
            let proxy = links.open(SERVER, "127.0.0.1:0".parse().unwrap(), gone).unwrap();
            let mut stream = connect(proxy, None).await;
            let error = hears(&mut stream, SOON).await.unwrap().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        });
    }
}
