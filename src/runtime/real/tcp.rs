//! TCP through tokio. A dead connection stays dead: the kernel says so once, and after that an orderly end.

use std::io::{self, ErrorKind, IoSlice};
use std::net::{IpAddr, SocketAddr, TcpStream as StdStream};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::set_socket_keepalive;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tracing::warn;

use crate::runtime::{BoxFuture, Connection, Listener, Net, Stream};

/// Connections that wait to be accepted. The kernel caps it at `net.core.somaxconn`, whose default this is.
const BACKLOG: u32 = 4096;

/// How long accepting rests when there are no descriptors or no memory left for another connection. Kafka's acceptor looks
/// twice a second (`Acceptor.run`); a connection of ours waits no longer than a person notices.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// The kernel's TCP.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tcp {
    /// The address that connections come from; the kernel chooses where there is none.
    pub(super) source: Option<IpAddr>,
}

impl Net for Tcp {
    fn listen(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let socket = socket_for(address)?;
            // A restarted node takes its port again while old connections are in TIME_WAIT.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            let listener = socket.listen(BACKLOG)?;
            let address = listener.local_addr()?;
            Ok(Box::new(TcpAcceptor { listener, address }) as Box<dyn Listener>)
        })
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let source = self.source;
        Box::pin(async move {
            let socket = socket_for(address)?;
            if let Some(source) = source {
                socket.bind(SocketAddr::new(source, 0))?;
            }
            let stream = socket.connect(address).await?;
            // On loopback, where nobody listens, the kernel may pick the very port it connects to and join the socket to itself.
            if stream.local_addr()? == stream.peer_addr()? {
                return Err(ErrorKind::ConnectionRefused.into());
            }
            stream.set_nodelay(true)?;
            set_socket_keepalive(&stream, true)?;
            Ok(Box::new(TcpConnection::new(stream)) as Box<dyn Stream>)
        })
    }

    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let host = host.to_owned();
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }
}

fn socket_for(address: SocketAddr) -> io::Result<TcpSocket> {
    match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }
}

/// A listening socket.
struct TcpAcceptor {
    listener: TcpListener,
    address: SocketAddr,
}

impl TcpAcceptor {
    async fn accept_one(&self) -> io::Result<Box<dyn Connection>> {
        loop {
            let accepted = self.listener.accept().await;
            match accepted.map_err(|error| (after_accept_error(&error), error)) {
                Ok((stream, peer)) => {
                    // Taken back from this core at once: the one that serves it registers it.
                    let stream = stream.into_std()?;
                    return Ok(Box::new(Accepted { stream, peer }));
                }
                Err((AfterError::Next, _)) => {}
                Err((AfterError::Rest, error)) => {
                    warn!(address = %self.address, %error, "cannot accept connections");
                    rest().await;
                }
                Err((AfterError::End, error)) => return Err(error),
            }
        }
    }
}

impl Listener for TcpAcceptor {
    fn local_address(&self) -> SocketAddr {
        self.address
    }

    fn accept(&mut self) -> BoxFuture<'_, io::Result<Box<dyn Connection>>> {
        Box::pin(self.accept_one())
    }
}

#[expect(clippy::disallowed_methods, reason = "the real world below the clock")]
async fn rest() {
    tokio::time::sleep(ACCEPT_REST).await;
}

/// What an acceptor does after an error of `accept`.
#[derive(Debug, PartialEq, Eq)]
enum AfterError {
    /// That connection was gone before it was accepted: the next.
    Next,
    /// This process or machine has no room for it now: the socket stays readable, so asking again at once would spin.
    Rest,
    /// The listener itself is broken.
    End,
}

/// `accept(2)`: Linux hands over errors of the new connection's network as errors of `accept`.
fn after_accept_error(error: &io::Error) -> AfterError {
    match Errno::from_io_error(error) {
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => AfterError::Rest,
        Some(
            Errno::INTR
            | Errno::CONNABORTED
            | Errno::CONNRESET
            | Errno::PERM
            | Errno::PROTO
            | Errno::NETDOWN
            | Errno::NETUNREACH
            | Errno::HOSTUNREACH
            | Errno::NOPROTOOPT
            | Errno::TIMEDOUT,
        ) => AfterError::Next,
        _ => AfterError::End,
    }
}

/// A connection that no runtime knows yet.
struct Accepted {
    stream: StdStream,
    peer: SocketAddr,
}

impl Connection for Accepted {
    fn peer_address(&self) -> SocketAddr {
        self.peer
    }

    fn into_stream(self: Box<Self>) -> io::Result<Box<dyn Stream>> {
        self.stream.set_nodelay(true)?;
        set_socket_keepalive(&self.stream, true)?;
        let stream = TcpStream::from_std(self.stream)?;
        Ok(Box::new(TcpConnection::new(stream)))
    }
}

/// A connection registered with the runtime of the task that uses it.
struct TcpConnection {
    stream: TcpStream,
    /// An error was seen. The kernel tells it once, to whichever half asks first; the other would take it for an orderly end.
    dead: bool,
    /// Our own direction was closed: writing then fails without saying anything of the connection.
    shut: bool,
}

impl TcpConnection {
    fn new(stream: TcpStream) -> Self {
        Self { stream, dead: false, shut: false }
    }

    /// Remembers the death, and gives it the one name that the rest of the system knows.
    fn died(&mut self, error: io::Error) -> io::Error {
        self.dead = true;
        // After the peer's orderly end a reset is told as EPIPE; a peer that vanished as ETIMEDOUT or EHOSTUNREACH.
        let by_another_name = matches!(
            error.kind(),
            ErrorKind::BrokenPipe
                | ErrorKind::ConnectionAborted
                | ErrorKind::NotConnected
                | ErrorKind::TimedOut
                | ErrorKind::HostUnreachable
                | ErrorKind::NetworkUnreachable
        );
        if by_another_name { io::Error::new(ErrorKind::ConnectionReset, error) } else { error }
    }

    fn wrote<T>(&mut self, result: io::Result<T>) -> Poll<io::Result<T>> {
        Poll::Ready(match result {
            Err(error) if !self.shut => Err(self.died(error)),
            result => result,
        })
    }
}

impl AsyncRead for TcpConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.remaining();
        let result = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        if let Err(error) = result {
            return Poll::Ready(Err(self.died(error)));
        }
        // What arrived before the death is still read.
        if self.dead && before > 0 && buffer.remaining() == before {
            return Poll::Ready(Err(ErrorKind::ConnectionReset.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TcpConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes));
        self.wrote(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, slices));
        self.wrote(result)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = ready!(Pin::new(&mut self.stream).poll_shutdown(cx));
        let result = self.wrote(result);
        self.shut = true;
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acceptor_rests_where_asking_again_would_spin() {
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM] {
            assert_eq!(after_accept_error(&errno.into()), AfterError::Rest);
        }
        assert_eq!(after_accept_error(&Errno::CONNABORTED.into()), AfterError::Next);
        assert_eq!(after_accept_error(&Errno::INVAL.into()), AfterError::End);
    }
}
