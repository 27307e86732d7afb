//! A node: its parts put together, started and stopped. It decides nothing itself.
//!
//! Every node follows the metadata; `process.roles` says whether it votes on it (controller), holds partitions (broker), or both.
//! The parts of one node meet on the network only: a broker finds the active controller at its controller listener, be it next door.
//!
//! ```text
//! start: listeners bound → metadata task → controller listener served → log directories locked, logs opened
//!        → registered with the active controller → metadata applied → unfenced → clients served
//! stop:  leadership handed over → clients' requests answered → logs flushed and marked clean → the quorum left
//!        → controller listener closed
//! ```
//!
//! Kafka: `KafkaRaftServer`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use super::Config;
use super::broker_server::{BrokerParts, BrokerServer};
use super::config::Endpoint;
use super::controller_api::ControllerServer;
use super::controller_channel::ControllerChannel;
use super::identity::MetadataDir;
use super::listeners::{Bound, Listening};
use super::replica_manager::ReplicaManager;
use crate::controller::driver::{
    ControllerError, ControllerHandle, ControllerOptions, QuorumOptions,
};
use crate::controller::{ControllerConfig, LeaderBalance};
use crate::rpc;
use crate::runtime::Env;
use crate::storage::StorageError;
use crate::types::{BrokerId, ErrorCode, Observation, TopicId};

/// A running node. Dropping it stops it without ceremony, as a crash would; what is on disk stays as it is.
pub struct Node {
    node_id: BrokerId,
    env: Env,
    // Parts are dropped in this order: those that ask before those who answer.
    broker: Option<BrokerServer>,
    controller: Option<Listening>,
    metadata: ControllerHandle,
    /// Its lock is held until the end.
    metadata_dir: MetadataDir,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("node_id", &self.node_id).finish_non_exhaustive()
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
    /// No controller lets the broker in.
    #[error(
        "the broker cannot enter the cluster\n  where: registration with the controllers {voters}\n  why:   {}\n  \
         next:  {}",
        refusal(*error), remedy(*error)
    )]
    Registration {
        /// What the controller said; `REQUEST_TIMED_OUT` where none said anything.
        error: ErrorCode,
        /// The voters, as `controller.quorum.voters` has them.
        voters: String,
    },
    /// It ended before the broker was let in.
    #[error(
        "{0} before the broker was let in\n  why:   its disk fails; nothing was acknowledged on it\n  next:  look at the \
         disk and the log above, then start again"
    )]
    Ended(NodeEnd),
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the others are told by their names")]
fn refusal(error: ErrorCode) -> String {
    match error {
        ErrorCode::RequestTimedOut => {
            "no active controller answered within initial.broker.registration.timeout.ms".to_owned()
        }
        ErrorCode::DuplicateBrokerRegistration => {
            "a broker with this node.id is alive (DUPLICATE_BROKER_REGISTRATION)".to_owned()
        }
        ErrorCode::InconsistentClusterId => {
            "its directories belong to another cluster (INCONSISTENT_CLUSTER_ID)".to_owned()
        }
        other => other.to_string(),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "for the others the log says more")]
fn remedy(error: ErrorCode) -> &'static str {
    match error {
        ErrorCode::RequestTimedOut => {
            "start a majority of the controllers, and look whether their addresses are right"
        }
        ErrorCode::DuplicateBrokerRegistration => {
            "stop the other one, or wait for broker.session.timeout.ms after it has crashed"
        }
        ErrorCode::InconsistentClusterId => {
            "correct controller.quorum.voters, or format this node with `-t` and the cluster's id"
        }
        _ => "look at the lines of the log before this one",
    }
}

/// Why a node ended by itself.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NodeEnd {
    /// Every log directory failed.
    #[error("every log directory failed")]
    LogDirsFailed,
    /// The directory of the metadata log failed.
    #[error("the directory of the metadata log failed: {0}")]
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
    /// Starts a node: returns when it serves. A broker waits for the quorum, `initial.broker.registration.timeout.ms` at most.
    ///
    /// # Errors
    /// What keeps it from serving; nothing of it is left running then.
    pub async fn start(config: Config, env: Env) -> Result<Self, StartError> {
        // Ports first: a start that fails for one leaves the directories as they were, their clean stop included.
        let bound = Bound::bind(&env, &config.listeners).await?;
        let controller_bound = Bound::bind(&env, &config.controller_listeners).await?;
        let voters = voters(&config, &controller_bound);
        let metadata_dir = MetadataDir::enter(&config, &env).await?;
        let metadata = start_metadata(&config, &env, &metadata_dir, &voters).await?;
        let controller = config.roles.has_controller().then(|| {
            let (config, env, handle) = (config.clone(), env.clone(), metadata.clone());
            let server = ControllerServer { config, voters: voters.clone(), env, handle };
            Listening::serve(&Arc::new(server), controller_bound)
        });
        let mut node = Self {
            node_id: config.node_id,
            env: env.clone(),
            broker: None,
            controller,
            metadata,
            metadata_dir,
        };
        // The quorum does not wait until this node's logs are recovered: others may need its vote.
        if config.roles.has_broker() {
            match node.start_broker(config, env, bound, &voters).await {
                Ok(broker) => node.broker = Some(broker),
                Err(error) => {
                    node.stop_controller().await;
                    return Err(error);
                }
            }
        }
        Ok(node)
    }

    async fn start_broker(
        &self,
        config: Config,
        env: Env,
        bound: Vec<Bound>,
        voters: &[(BrokerId, rpc::Endpoint)],
    ) -> Result<BrokerServer, StartError> {
        let cluster_id = &self.metadata_dir.cluster_id;
        let (replicas, identity) = ReplicaManager::open(&config, &env, cluster_id).await?;
        let shown = shown(voters);
        tracing::info!(node = %self.node_id, voters = shown, "waiting for the controllers");
        let leader = self.metadata.leader();
        let controller = ControllerChannel::new(&config, &env, voters, leader, "broker");
        let images = self.metadata.images();
        let replicas = Arc::new(replicas);
        let logs = Arc::clone(&replicas);
        let parts = BrokerParts { config, env, identity, replicas, bound, images, controller };
        // Nobody waits for a broker that has nothing left to write on: its operator is told.
        tokio::select! {
            biased;
            error = self.metadata.failed() => Err(StartError::Ended(NodeEnd::MetadataDirFailed(error))),
            () = logs.logs().all_failed() => Err(StartError::Ended(NodeEnd::LogDirsFailed)),
            started = BrokerServer::start(parts) => {
                started.map_err(|error| StartError::Registration { error, voters: shown })
            }
        }
    }

    /// Looks up topics' names, for whoever writes a log: does not keep the node alive.
    pub fn topic_names(&self) -> impl Fn(TopicId) -> Option<Arc<str>> + Send + Sync + 'static {
        let images = self.metadata.images();
        move |topic_id| {
            let image = images.borrow().clone();
            image.topic_by_id(topic_id).map(|topic| Arc::clone(&topic.name))
        }
    }

    /// The broker's listeners: their names and the addresses they are bound to. None where the node is no broker.
    #[must_use]
    pub fn listeners(&self) -> Vec<(String, SocketAddr)> {
        self.broker.as_ref().map_or_else(Vec::new, |broker| broker.addresses().to_vec())
    }

    /// The controller's listeners. None where the node is no controller.
    #[must_use]
    pub fn controller_listeners(&self) -> Vec<(String, SocketAddr)> {
        self.controller.as_ref().map_or_else(Vec::new, |listening| listening.addresses().to_vec())
    }

    /// Stops the node in good order: it leaves the cluster, accepts nothing any more, answers what is under way, and closes
    /// its logs so that the next start need not recover them.
    pub async fn shutdown(self) {
        self.env.observe(Observation::NodeStopping { broker: self.node_id });
        if let Some(broker) = &self.broker {
            broker.shutdown().await;
        }
        self.stop_controller().await;
        tracing::info!(node = %self.node_id, "stopped");
    }

    async fn stop_controller(&self) {
        self.metadata.shutdown().await;
        if let Some(controller) = &self.controller {
            controller.drain(self.env.clock.as_ref()).await;
        }
    }

    /// Waits until the node ends by itself. Cancel-safe.
    pub async fn ended(&self) -> NodeEnd {
        let logs_failed = async {
            match &self.broker {
                Some(broker) => broker.logs_failed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            error = self.metadata.failed() => NodeEnd::MetadataDirFailed(error),
            () = logs_failed => NodeEnd::LogDirsFailed,
        }
    }
}

/// The voters and where they listen. This node's own port is the one it took, where any would do.
fn voters(config: &Config, bound: &[Bound]) -> Vec<(BrokerId, rpc::Endpoint)> {
    let mut voters = config.quorum.voters.clone();
    let open = config.controller_listeners.first().filter(|endpoint| endpoint.port == 0);
    if let Some(port) = open.and_then(|endpoint| Bound::port(bound, &endpoint.name)) {
        let own = voters.iter_mut().find(|(id, _)| *id == config.node_id);
        let (_, endpoint) = own.expect("a controller is among the voters");
        endpoint.port = port;
    }
    voters
}

/// As in `controller.quorum.voters`.
fn shown(voters: &[(BrokerId, rpc::Endpoint)]) -> String {
    let voters = voters.iter().map(|(id, endpoint)| format!("{id}@{endpoint}"));
    voters.collect::<Vec<_>>().join(",")
}

async fn start_metadata(
    config: &Config,
    env: &Env,
    metadata_dir: &MetadataDir,
    voters: &[(BrokerId, rpc::Endpoint)],
) -> Result<ControllerHandle, StartError> {
    let options = ControllerOptions {
        config: ControllerConfig {
            node: config.node_id,
            cluster_id: metadata_dir.cluster_id.clone(),
            broker_session_timeout: config.session_timeout,
            partitions_default: config.partitions_default,
            replication_factor_default: config.replication_factor_default,
            min_insync_replicas_default: config.min_insync_replicas_default,
            unclean_leader_election_default: config.unclean_leader_election_default,
            leader_balance: config.leader_balance.map(|balance| LeaderBalance {
                check_interval: balance.check_interval,
                imbalance_per_broker_percentage: balance.imbalance_per_broker_percentage,
            }),
            group_configs: config.groups.group_configs,
            config_validator: super::config::topic::validate,
            config_list_default: super::config::topic::list_default,
        },
        metadata_log_dir: config.metadata_log_dir.clone(),
        directory_id: metadata_dir.directory_id,
        segment_bytes: config.metadata_segment_bytes,
        bytes_between_snapshots: config.metadata_snapshot_bytes,
        quorum: QuorumOptions {
            is_voter: config.roles.has_controller(),
            voters: voters.to_vec(),
            election_timeout: config.quorum.election_timeout,
            election_backoff_max: config.quorum.election_backoff_max,
            fetch_timeout: config.quorum.fetch_timeout,
            request_timeout: config.quorum.request_timeout,
            retry_backoff: config.quorum.retry_backoff,
        },
    };
    Ok(ControllerHandle::start(options, env).await?)
}
