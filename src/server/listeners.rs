//! The sockets of one part of a node: bound before anything is touched, served once the part is there.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::answer::Service;
use super::config::Endpoint;
use super::connection::{Connections, Stopping, serve_on_next_core};
use super::node::StartError;
use crate::runtime::clock::{sleep, timeout_at};
use crate::runtime::{Clock, Env, Listener, task};

/// How long requests under way may take at a stop before their connections are cut.
const DRAIN_SPAN: Duration = Duration::from_secs(5);
/// How long to wait after an accept that failed (too many open files) before the next one.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// A listener with its socket: connections wait there until it is served.
pub(super) struct Bound {
    name: Arc<str>,
    socket: Box<dyn Listener>,
}

impl Bound {
    /// Binds each of `endpoints`.
    ///
    /// # Errors
    /// Which one cannot be bound, and why.
    pub(super) async fn bind(env: &Env, endpoints: &[Endpoint]) -> Result<Vec<Self>, StartError> {
        let mut bound = Vec::with_capacity(endpoints.len());
        for endpoint in endpoints {
            let socket = bind(env, endpoint).await.map_err(|why| StartError::Listener {
                endpoint: endpoint.clone(),
                why: Arc::new(why),
            })?;
            bound.push(Self { name: endpoint.name.as_str().into(), socket });
        }
        Ok(bound)
    }

    /// The port taken by the listener called `name`, if it is one of these.
    pub(super) fn port(bound: &[Self], name: &str) -> Option<u16> {
        let one = bound.iter().find(|one| *one.name == *name)?;
        Some(one.socket.local_address().port())
    }
}

async fn bind(env: &Env, endpoint: &Endpoint) -> io::Result<Box<dyn Listener>> {
    let address = if endpoint.host.is_empty() {
        SocketAddr::from(([0, 0, 0, 0], endpoint.port))
    } else {
        let addresses = env.net.resolve(&endpoint.host, endpoint.port).await?;
        let first = addresses.into_iter().next();
        first.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the host has no address"))?
    };
    env.net.listen(address).await
}

/// Listeners that are served. Dropping them stops them at once.
pub(super) struct Listening {
    connections: Arc<Connections>,
    addresses: Vec<(String, SocketAddr)>,
    tasks: Vec<task::Task<()>>,
}

impl Listening {
    /// Has `service` answer what comes in.
    pub(super) fn serve<S: Service>(service: &Arc<S>, bound: Vec<Bound>) -> Self {
        let connections = Connections::new();
        let node = service.config().node_id;
        let (mut addresses, mut tasks) = (Vec::new(), Vec::new());
        for Bound { name, socket } in bound {
            let address = socket.local_address();
            tracing::info!(%node, listener = &*name, %address, "listening");
            addresses.push((name.to_string(), address));
            tasks.push(task::spawn(accept(service.clone(), connections.clone(), name, socket)));
        }
        Self { connections, addresses, tasks }
    }

    /// The listeners' names, and the addresses they are bound to.
    pub(super) fn addresses(&self) -> &[(String, SocketAddr)] {
        &self.addresses
    }

    /// Accepts nothing any more, lets connections answer what they have read, then cuts those that are still busy.
    pub(super) async fn drain(&self, clock: &dyn Clock) {
        self.stop(Stopping::Draining);
        let deadline = clock.now().monotonic + DRAIN_SPAN;
        if timeout_at(clock, deadline, self.connections.all_closed()).await.is_none() {
            self.stop(Stopping::Now);
            self.connections.all_closed().await;
        }
    }

    fn stop(&self, how: Stopping) {
        for task in &self.tasks {
            task.abort();
        }
        self.connections.stop(how);
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.stop(Stopping::Now);
    }
}

async fn accept<S: Service>(
    service: Arc<S>,
    connections: Arc<Connections>,
    name: Arc<str>,
    mut listener: Box<dyn Listener>,
) {
    loop {
        match listener.accept().await {
            Ok(connection) => {
                serve_on_next_core(service.clone(), connections.clone(), name.clone(), connection);
            }
            Err(error) => {
                tracing::warn!(listener = &*name, %error, "a connection could not be accepted");
                sleep(service.env().clock.as_ref(), ACCEPT_BACKOFF).await;
            }
        }
    }
}
