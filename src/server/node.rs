//! A node: its parts put together, started and stopped. It decides nothing itself.
//!
//! ```text
//! start: listeners bound → directories locked, logs opened → controller → registered → metadata applied → unfenced
//!        → connections accepted
//! stop:  out of the cluster → nothing accepted → requests under way answered → logs flushed and marked clean → controller
//! ```

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::Config;
use super::broker::Broker;
use super::config::Endpoint;
use super::connection::{Connections, Stopping, serve_on_next_core};
use super::lifecycle::LifecycleHandle;
use super::replica_manager::{Identity, ReplicaManager};
use crate::controller::driver::{
    ControllerError, ControllerHandle, ControllerOptions, QuorumOptions,
};
use crate::controller::request::RegisterBrokerRequest;
use crate::controller::{ControllerConfig, LeaderBalance};
use crate::metadata::FEATURES;
use crate::metadata::records::{Endpoint as RegisteredEndpoint, FeatureRange};
use crate::protocol::messages::AlterPartitionResponse;
use crate::runtime::clock::{sleep, timeout_at};
use crate::runtime::{BoxFuture, Env, Listener, task};
use crate::storage::StorageError;
use crate::types::{ErrorCode, Observation, TopicId, Uuid};

/// How long requests under way may take at a stop before their connections are cut.
const DRAIN_SPAN: Duration = Duration::from_secs(5);
/// How long to wait after an accept that failed (too many open files) before the next one.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
/// Kafka's number of the security protocol PLAINTEXT.
const PLAINTEXT: i16 = 0;
/// What clients of a listener without a host are told.
const HOST_DEFAULT: &str = "localhost";

/// A running node.
pub struct Node {
    broker: Arc<Broker>,
    connections: Arc<Connections>,
    listeners: Vec<(String, SocketAddr)>,
    lifecycle: LifecycleHandle,
    tasks: Vec<task::Task<()>>,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("listeners", &self.listeners).finish_non_exhaustive()
    }
}

/// Why a node did not start. Prints four lines.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StartError {
    /// A log directory: locked, unformatted, foreign, damaged, or its disk fails.
    #[error("{0}")]
    Storage(#[from] StorageError),
    /// The metadata log.
    #[error("{0}")]
    Controller(#[from] ControllerError),
    /// A listener cannot be bound.
    #[error(
        "a listener cannot be bound\n  where: {endpoint}\n  why:   {why}\n  next:  stop who holds the port, \
         or change listeners"
    )]
    Listener {
        /// The listener.
        endpoint: Endpoint,
        /// What the world said.
        why: Arc<io::Error>,
    },
    /// The controller does not let the broker in.
    #[error(
        "the broker cannot enter the cluster\n  where: registration with the controller\n  why:   {0}\n  \
         next:  look at the lines of the log before this one"
    )]
    Registration(ErrorCode),
}

/// Why a node ended by itself.
#[derive(Clone, Debug)]
pub enum NodeEnd {
    /// Every log directory failed.
    LogDirsFailed,
    /// The directory of the metadata log failed.
    MetadataDirFailed(Arc<ControllerError>),
}

impl NodeEnd {
    /// What the process exits with.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        1
    }
}

impl Node {
    /// Starts a node: returns when it serves.
    ///
    /// # Errors
    /// What keeps it from serving; nothing of it is left running then.
    pub async fn start(config: Config, env: Env) -> Result<Self, StartError> {
        // Ports first: a start that fails for one leaves the directories as they were, their clean stop included.
        let (sockets, advertised) = bind(&config, &env).await?;
        let (replicas, identity) = ReplicaManager::open(&config, &env).await?;
        let controller = start_controller(&config, &env, &identity).await?;
        let registration = registration(&config, &env, &identity, advertised);
        let lifecycle = LifecycleHandle::start(&config, &env, controller.clone(), registration);
        let replicas = Arc::new(replicas);
        let broker = Broker::new(config, env, identity, controller, lifecycle.clone(), replicas);
        let mut node = Self {
            broker: broker.clone(),
            connections: Connections::new(),
            listeners: sockets
                .iter()
                .map(|(name, one)| (name.to_string(), one.local_address()))
                .collect(),
            lifecycle,
            tasks: vec![task::spawn(follow_metadata(broker.clone()))],
        };
        node.tasks.push(broker.replicas.start_housekeeping(&broker.config));
        let ask = Arc::new(|_request| nobody_to_ask());
        let epochs = node.lifecycle.epochs();
        node.tasks.push(broker.replicas.start_replication(&broker.config, epochs, ask).await);
        if let Err(error) = node.lifecycle.ready().await {
            node.stop_tasks();
            node.broker.controller.shutdown().await;
            return Err(StartError::Registration(error));
        }
        // What the controller decided when it let the broker in (who leads what) is applied before clients ask.
        node.broker.caught_up(node.broker.config.request_timeout).await;
        for (name, socket) in sockets {
            let accepting = accept(broker.clone(), node.connections.clone(), name, socket);
            node.tasks.push(task::spawn(accepting));
        }
        let broker_epoch = node.lifecycle.epoch().expect("a broker that is ready is registered");
        let broker = broker.config.node_id;
        node.broker.env.observe(Observation::NodeStarted { broker, broker_epoch });
        for (name, address) in &node.listeners {
            tracing::info!(node = %broker, listener = name, %address, "listening");
        }
        Ok(node)
    }

    /// Looks up topics' names, for whoever writes a log: does not keep the node alive.
    pub fn topic_names(&self) -> impl Fn(TopicId) -> Option<Arc<str>> + Send + Sync + 'static {
        let broker = Arc::downgrade(&self.broker);
        move |topic_id| {
            let image = broker.upgrade()?.image();
            image.topic_by_id(topic_id).map(|topic| Arc::clone(&topic.name))
        }
    }

    /// The broker's listeners: their names and the addresses they are bound to.
    #[must_use]
    pub fn listeners(&self) -> Vec<(String, SocketAddr)> {
        self.listeners.clone()
    }

    /// Stops the node in good order: it leaves the cluster, accepts nothing any more, answers what is under way, and closes
    /// its logs so that the next start need not recover them.
    pub async fn shutdown(self) {
        let broker = &self.broker;
        broker.env.observe(Observation::NodeStopping { broker: broker.config.node_id });
        if broker.config.controlled_shutdown {
            self.lifecycle.shutdown().await;
        }
        self.stop_tasks();
        self.drain().await;
        broker.replicas.close(self.lifecycle.epoch()).await;
        broker.controller.shutdown().await;
        tracing::info!(node = %broker.config.node_id, "stopped");
    }

    /// Waits until the node ends by itself. Cancel-safe.
    pub async fn ended(&self) -> NodeEnd {
        tokio::select! {
            biased;
            error = self.broker.controller.failed() => NodeEnd::MetadataDirFailed(error),
            () = self.broker.replicas.logs().all_failed() => NodeEnd::LogDirsFailed,
        }
    }

    fn stop_tasks(&self) {
        for task in &self.tasks {
            task.abort();
        }
    }

    /// Lets connections answer what they have read, then cuts those that are still busy.
    async fn drain(&self) {
        self.connections.stop(Stopping::Draining);
        let clock = self.broker.env.clock.as_ref();
        let deadline = clock.now().monotonic + DRAIN_SPAN;
        if timeout_at(clock, deadline, self.connections.all_closed()).await.is_none() {
            self.connections.stop(Stopping::Now);
            self.connections.all_closed().await;
        }
    }
}

/// Dropping a node stops it without ceremony, as a crash would; what is on disk stays as it is.
impl Drop for Node {
    fn drop(&mut self) {
        self.stop_tasks();
        self.connections.stop(Stopping::Now);
    }
}

async fn start_controller(
    config: &Config,
    env: &Env,
    identity: &Identity,
) -> Result<ControllerHandle, StartError> {
    let options = ControllerOptions {
        config: ControllerConfig {
            node: config.node_id,
            cluster_id: identity.cluster_id.clone(),
            broker_session_timeout: config.session_timeout,
            partitions_default: config.partitions_default,
            replication_factor_default: config.replication_factor_default,
            min_insync_replicas_default: config.min_insync_replicas_default,
            unclean_leader_election_default: config.unclean_leader_election_default,
            leader_balance: config.leader_balance.map(|balance| LeaderBalance {
                check_interval: balance.check_interval,
                imbalance_per_broker_percentage: balance.imbalance_per_broker_percentage,
            }),
            config_validator: super::config::topic::validate,
            config_list_default: super::config::topic::list_default,
        },
        metadata_log_dir: config.metadata_log_dir.clone(),
        directory_id: identity.metadata_directory,
        segment_bytes: config.metadata_segment_bytes,
        bytes_between_snapshots: config.metadata_snapshot_bytes,
        quorum: QuorumOptions::alone(config.node_id),
    };
    Ok(ControllerHandle::start(options, env).await?)
}

/// The one broker of a cluster proposes nothing.
fn nobody_to_ask() -> BoxFuture<'static, Result<AlterPartitionResponse, ErrorCode>> {
    Box::pin(std::future::ready(Err(ErrorCode::NotController)))
}

type Bound = Vec<(Arc<str>, Box<dyn Listener>)>;

/// Binds the broker's listeners; with them, what clients are told: a port that was left open is the one that was taken.
///
/// The controller's listeners stay unbound: in a quorum of one nobody has anything to say there.
async fn bind(config: &Config, env: &Env) -> Result<(Bound, Vec<RegisteredEndpoint>), StartError> {
    let mut bound: Bound = Vec::new();
    for endpoint in &config.listeners {
        let listener = bind_one(env, endpoint).await.map_err(|why| StartError::Listener {
            endpoint: endpoint.clone(),
            why: Arc::new(why),
        })?;
        bound.push((endpoint.name.as_str().into(), listener));
    }
    let advertised = config.advertised_listeners.iter().map(|endpoint| {
        let bound = bound.iter().find(|(name, _)| **name == *endpoint.name);
        let bound_port = bound.map_or(0, |(_, listener)| listener.local_address().port());
        RegisteredEndpoint {
            name: endpoint.name.clone(),
            host: if endpoint.host.is_empty() {
                HOST_DEFAULT.to_owned()
            } else {
                endpoint.host.clone()
            },
            port: if endpoint.port == 0 { bound_port } else { endpoint.port },
            security_protocol: PLAINTEXT,
        }
    });
    let advertised = advertised.collect();
    Ok((bound, advertised))
}

async fn bind_one(env: &Env, endpoint: &Endpoint) -> io::Result<Box<dyn Listener>> {
    let address = if endpoint.host.is_empty() {
        SocketAddr::from(([0, 0, 0, 0], endpoint.port))
    } else {
        let addresses = env.net.resolve(&endpoint.host, endpoint.port).await?;
        let first = addresses.into_iter().next();
        first.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the host has no address"))?
    };
    env.net.listen(address).await
}

fn registration(
    config: &Config,
    env: &Env,
    identity: &Identity,
    endpoints: Vec<RegisteredEndpoint>,
) -> RegisterBrokerRequest {
    let features = FEATURES.iter().map(|feature| FeatureRange {
        name: feature.name.to_owned(),
        level_min: feature.level_min,
        level_max: feature.level_max,
    });
    RegisterBrokerRequest {
        broker: config.node_id,
        cluster_id: identity.cluster_id.clone(),
        incarnation_id: Uuid::random(&mut env.rng("broker incarnation")),
        endpoints,
        features: features.collect(),
        rack: config.rack.clone(),
        log_dirs: identity.log_directories.clone(),
        previous_broker_epoch: identity.previous_broker_epoch,
    }
}

/// Brings each committed image to the partitions, then tells the lifecycle how far that is.
async fn follow_metadata(broker: Arc<Broker>) {
    let mut images = broker.controller.images();
    loop {
        let image = images.borrow_and_update().clone();
        let end_offset = image.end_offset;
        broker.replicas.apply(image).await;
        broker.lifecycle.metadata_applied(end_offset).await;
        if images.changed().await.is_err() {
            return;
        }
    }
}

async fn accept(
    broker: Arc<Broker>,
    connections: Arc<Connections>,
    name: Arc<str>,
    mut listener: Box<dyn Listener>,
) {
    loop {
        match listener.accept().await {
            Ok(connection) => {
                serve_on_next_core(broker.clone(), connections.clone(), name.clone(), connection);
            }
            Err(error) => {
                tracing::warn!(listener = &*name, %error, "a connection could not be accepted");
                sleep(broker.env.clock.as_ref(), ACCEPT_BACKOFF).await;
            }
        }
    }
}
