//! One connection, of a client or of another node: reads requests, has them answered one after another, writes the answers in that order.
//!
//! As in Kafka, a connection's next request is not looked at before the last one is answered; requests that wait do so in
//! the socket, which is all the backpressure there is. A peer that does not speak the protocol loses the connection, with
//! one line in the log that says what it looks like.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::runtime::watch;
use bytes::{Buf, Bytes};
use tokio::io::AsyncWriteExt;

use super::answer::{Answer, Service, Source};
use super::frame_reader::{FrameEnd, FrameReader, describe_garbage};
use crate::runtime::clock::wait_until;
use crate::runtime::{Clock, Connection, Stream};
use crate::types::{ErrorCode, Observation};

/// How many slices go to one vectored write: what Linux takes at most is 1024, and more than a few dozen gain nothing.
const WRITE_SLICES_MAX: usize = 64;

/// How far a node's stop has come, for its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stopping {
    /// Not at all.
    No,
    /// No further request is read; those under way are answered.
    Draining,
    /// Connections end at once.
    Now,
}

/// The open connections of a node, counted.
#[derive(Debug)]
pub(super) struct Connections {
    by_address: Mutex<BTreeMap<IpAddr, usize>>,
    open: watch::Sender<usize>,
    stopping: watch::Sender<Stopping>,
}

impl Connections {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            by_address: Mutex::new(BTreeMap::new()),
            open: watch::Sender::new(0),
            stopping: watch::Sender::new(Stopping::No),
        })
    }

    /// Tells all connections how far the stop has come.
    pub(super) fn stop(&self, how: Stopping) {
        self.stopping.send_replace(how);
    }

    /// Waits until no connection is open. Cancel-safe.
    pub(super) async fn all_closed(&self) {
        let mut open = self.open.subscribe();
        // The sender lives as long as `self`.
        let _ = open.wait_for(|open| *open == 0).await;
    }

    fn enter(self: &Arc<Self>, address: IpAddr, limits: Limits) -> Option<Guest> {
        let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let open = *self.open.borrow();
        let here = by_address.entry(address).or_insert(0);
        if open >= limits.connections_max || *here >= limits.connections_per_address_max {
            if *here == 0 {
                by_address.remove(&address);
            }
            return None;
        }
        *here += 1;
        self.open.send_replace(open + 1);
        Some(Guest { connections: self.clone(), address })
    }
}

/// How many connections there may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// `max.connections`.
    pub(super) connections_max: usize,
    /// `max.connections.per.ip`.
    pub(super) connections_per_address_max: usize,
}

/// One open connection in the count; leaves it when dropped.
struct Guest {
    connections: Arc<Connections>,
    address: IpAddr,
}

impl Drop for Guest {
    fn drop(&mut self) {
        let by_address = &self.connections.by_address;
        let mut by_address = by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(here) = by_address.get_mut(&self.address) {
            *here -= 1;
            if *here == 0 {
                by_address.remove(&self.address);
            }
        }
        self.connections.open.send_modify(|open| *open -= 1);
    }
}

/// Why a connection ended.
#[derive(Debug)]
enum Ended {
    /// The peer closed it, or it broke: nobody need know.
    Gone,
    /// The node stops.
    Stopping,
    /// Nothing came for `connections.max.idle.ms`.
    Idle,
    /// The peer sent what cannot be answered.
    Refused { error: ErrorCode, reason: String },
}

/// Has a core serve `connection`, which came in on `listener`, to its end.
pub(super) fn serve_on_next_core<S: Service>(
    service: Arc<S>,
    connections: Arc<Connections>,
    listener: Arc<str>,
    connection: Box<dyn Connection>,
) {
    let cores = service.env().cores.clone();
    let peer = connection.peer_address();
    let limits = Limits {
        connections_max: service.config().connections_max,
        connections_per_address_max: service.config().connections_per_address_max,
    };
    let Some(guest) = connections.enter(peer.ip(), limits) else {
        tracing::warn!(%peer, "connection closed: max.connections or max.connections.per.ip is reached");
        return;
    };
    cores.spawn_on_next(Box::new(move || {
        Box::pin(async move {
            match connection.into_stream() {
                Ok(stream) => serve(&service, guest, &listener, peer, stream).await,
                Err(error) => {
                    tracing::debug!(%peer, %error, "connection closed before it was served")
                }
            }
        })
    }));
}

async fn serve<S: Service>(
    service: &Arc<S>,
    guest: Guest,
    listener: &str,
    peer: SocketAddr,
    mut stream: Box<dyn Stream>,
) {
    let mut stop_now = guest.connections.stopping.subscribe();
    let mut draining = guest.connections.stopping.subscribe();
    let source = Source { listener, peer };
    let ended = tokio::select! {
        biased;
        _ = stop_now.wait_for(|how| *how == Stopping::Now) => Ended::Stopping,
        ended = serve_requests(service, &source, stream.as_mut(), &mut draining) => ended,
    };
    match ended {
        Ended::Gone | Ended::Stopping => tracing::debug!(%peer, ?ended, "connection ended"),
        Ended::Idle => {
            tracing::debug!(%peer, "connection closed: idle for connections.max.idle.ms")
        }
        Ended::Refused { error, reason } => {
            service.env().observe(Observation::ConnectionRefused { error });
            tracing::info!(%peer, listener, %error, reason, "connection closed");
        }
    }
    // What was written reaches the peer; whether it takes it is its business.
    let _ = poll_once(stream.as_mut()).await;
    drop(stream);
    drop(guest);
}

/// Starts an orderly close without waiting for it.
async fn poll_once(stream: &mut dyn Stream) -> io::Result<()> {
    poll_fn(|cx| {
        let _ = Pin::new(&mut *stream).poll_shutdown(cx);
        std::task::Poll::Ready(Ok(()))
    })
    .await
}

async fn serve_requests<S: Service>(
    service: &Arc<S>,
    source: &Source<'_>,
    stream: &mut dyn Stream,
    draining: &mut watch::Receiver<Stopping>,
) -> Ended {
    let mut reader = FrameReader::new(service.config().request_bytes_max);
    let idle_max = service.config().connection_idle_max;
    let mut idle = Idle::new(service.env().clock.as_ref(), idle_max);
    loop {
        let frame = tokio::select! {
            biased;
            _ = draining.wait_for(|how| *how >= Stopping::Draining) => return Ended::Stopping,
            frame = reader.next(stream) => frame,
            () = idle.deadline() => {
                if idle.is_over(reader.received()) {
                    return Ended::Idle;
                }
                continue;
            }
        };
        let frame = match frame {
            Ok(frame) => frame,
            Err(end) => return no_frame(end),
        };
        idle.touch(reader.received());
        match service.answer(source, frame.clone()).await {
            Answer::Response(slices) => {
                let written = tokio::select! {
                    biased;
                    written = write_all(stream, slices) => written,
                    () = idle.deadline() => return Ended::Idle,
                };
                if written.is_err() {
                    return Ended::Gone;
                }
            }
            Answer::Nothing => {}
            Answer::Close { error, reason } => return Ended::Refused { error, reason },
        }
        idle.touch(reader.received());
        reader.recycle(frame);
    }
}

fn no_frame(end: FrameEnd) -> Ended {
    match end {
        FrameEnd::Closed => Ended::Gone,
        FrameEnd::Broken(error) => {
            tracing::debug!(%error, "connection broke");
            Ended::Gone
        }
        FrameEnd::Truncated { received } => Ended::Refused {
            error: ErrorCode::InvalidRequest,
            reason: format!("the peer closed it {received} bytes into a request"),
        },
        FrameEnd::NotAFrame { first } => Ended::Refused {
            error: ErrorCode::InvalidRequest,
            reason: format!("{} (first bytes {first:02x?})", describe_garbage(first)),
        },
    }
}

/// Watches for a connection that stands still: one timer, set anew only when it fires.
struct Idle<'a> {
    clock: &'a dyn Clock,
    timer: Box<dyn crate::runtime::Timer>,
    idle_max: Option<Duration>,
    last_active: crate::types::Monotonic,
    armed: Option<crate::types::Monotonic>,
    received: u64,
}

impl<'a> Idle<'a> {
    fn new(clock: &'a dyn Clock, idle_max: Option<Duration>) -> Self {
        let now = clock.now().monotonic;
        let timer = clock.timer();
        let armed = idle_max.map(|span| now + span);
        Self { clock, timer, idle_max, last_active: now, armed, received: 0 }
    }

    fn touch(&mut self, received: u64) {
        self.last_active = self.clock.now().monotonic;
        self.received = received;
    }

    async fn deadline(&mut self) {
        wait_until(self.timer.as_mut(), self.armed).await;
    }

    /// Called when the timer fires: whether the connection stood still all the time. Sets the timer anew if not.
    fn is_over(&mut self, received: u64) -> bool {
        if received != self.received {
            self.touch(received);
        }
        let Some(span) = self.idle_max else { return false };
        let deadline = self.last_active + span;
        self.armed = Some(deadline);
        deadline <= self.clock.now().monotonic
    }
}

/// Writes the slices one behind the other, as many at a time as the stream takes, none of them copied.
pub(super) async fn write_all(stream: &mut dyn Stream, mut slices: Vec<Bytes>) -> io::Result<()> {
    let mut next = 0;
    while next < slices.len() {
        let mut io_slices = [IoSlice::new(&[]); WRITE_SLICES_MAX];
        let pending = &slices[next..];
        let count = pending.len().min(WRITE_SLICES_MAX);
        for (io_slice, slice) in io_slices.iter_mut().zip(pending) {
            *io_slice = IoSlice::new(slice);
        }
        let write = |cx: &mut std::task::Context<'_>| {
            Pin::new(&mut *stream).poll_write_vectored(cx, &io_slices[..count])
        };
        let mut written = poll_fn(write).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        while next < slices.len() && written >= slices[next].len() {
            written -= slices[next].len();
            next += 1;
        }
        if written > 0 {
            slices[next].advance(written);
        }
    }
    stream.flush().await
}
