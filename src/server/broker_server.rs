//! The broker part of a node: started, registered, served, and led out of the cluster again.
//!
//! Kafka: `BrokerServer`.

use std::net::SocketAddr;
use std::sync::Arc;

use super::Config;
use super::broker::Broker;
use super::controller_channel::ControllerChannel;
use super::identity::Identity;
use super::lifecycle::{LifecycleHandle, OfflineLogDirs};
use super::listeners::{Bound, Listening};
use super::replica_manager::ReplicaManager;
use crate::metadata::{FEATURES, MetadataImage};
use crate::protocol::messages::BrokerRegistrationRequest;
use crate::protocol::messages::broker_registration_request::{Feature, Listener};
use crate::runtime::{Env, task, watch};
use crate::types::{ErrorCode, Observation, Uuid};

/// Kafka's number of the security protocol PLAINTEXT.
const PLAINTEXT: i16 = 0;
/// What clients of a listener without a host are told.
const HOST_DEFAULT: &str = "localhost";

/// What a broker is made of.
pub(super) struct BrokerParts {
    pub(super) config: Config,
    pub(super) env: Env,
    pub(super) identity: Identity,
    pub(super) replicas: Arc<ReplicaManager>,
    pub(super) bound: Vec<Bound>,
    /// The committed metadata.
    pub(super) images: watch::Receiver<Arc<MetadataImage>>,
    /// The way to the active controller.
    pub(super) controller: ControllerChannel,
}

/// A running broker. Dropping it stops it without ceremony, as a crash would.
pub(super) struct BrokerServer {
    broker: Arc<Broker>,
    lifecycle: LifecycleHandle,
    listening: Listening,
    tasks: Tasks,
}

impl BrokerServer {
    /// Enters the cluster: returns when clients are served.
    ///
    /// # Errors
    /// Why the controller does not let it in; `REQUEST_TIMED_OUT` where there is none. Nothing of it is left running then.
    pub(super) async fn start(parts: BrokerParts) -> Result<Self, ErrorCode> {
        let BrokerParts { config, env, identity, replicas, bound, images, controller } = parts;
        let registration = registration(&config, &env, &identity, &bound);
        let offline = offline_log_dirs(&replicas);
        let lifecycle = LifecycleHandle::start(&config, &env, &controller, registration, offline);
        let (node_id, span) = (config.node_id, config.request_timeout);
        let cluster_id = identity.cluster_id;
        let broker = Broker::new(config, env, cluster_id, &controller, lifecycle.clone(), replicas);
        let (replicas, config) = (&broker.replicas, &broker.config);
        let ask = controller.asker("alter partition", config.request_timeout);
        let tell = controller.asker("assign replicas", config.request_timeout);
        let tasks = Tasks(vec![
            replicas.start_replication(config, lifecycle.epochs(), ask),
            replicas.start_assignments(lifecycle.epochs(), tell),
            task::spawn(follow_metadata(broker.clone(), images)),
            replicas.start_housekeeping(config),
            task::spawn(broker.groups.clone().follow(replicas.subscribe())),
        ]);
        lifecycle.ready().await?;
        let broker_epoch = lifecycle.epoch().expect("a broker that is ready is registered");
        // What the controller decided when it let the broker in (who leads what) is applied before clients ask.
        let is_let_in = |image: &MetadataImage| {
            let own = image.broker(node_id);
            own.is_some_and(|own| own.broker_epoch == broker_epoch && !own.fenced)
        };
        broker.until_seen(span, is_let_in).await;
        let listening = Listening::serve(&broker, bound);
        broker.env.observe(Observation::NodeStarted { broker: node_id, broker_epoch });
        Ok(Self { broker, lifecycle, listening, tasks })
    }

    /// The listeners' names, and the addresses they are bound to.
    pub(super) fn addresses(&self) -> &[(String, SocketAddr)] {
        self.listening.addresses()
    }

    /// Leaves the cluster, accepts nothing any more, answers what is under way, and closes the logs so that the next start need
    /// not recover them.
    pub(super) async fn shutdown(&self) {
        let Broker { config, env, replicas, .. } = &*self.broker;
        if config.controlled_shutdown {
            self.lifecycle.shutdown().await;
        }
        self.tasks.stop();
        // Members that wait for a rebalance would hold up the end.
        self.broker.groups.stop();
        self.listening.drain(env.clock.as_ref()).await;
        replicas.close(self.lifecycle.epoch()).await;
    }

    /// Waits until the last log directory has failed. Cancel-safe.
    pub(super) async fn logs_failed(&self) {
        self.broker.replicas.logs().all_failed().await;
    }
}

/// Tasks that end with their owner.
struct Tasks(Vec<task::Task<()>>);

impl Tasks {
    fn stop(&self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Brings each committed image to the partitions, then tells the lifecycle how far that is.
///
/// Images from before this incarnation is registered are passed over: they may say that it leads what it led before it stopped,
/// and the controller takes that back with the registration where the stop was unclean.
///
/// Kafka: `BrokerServer.startup`, which waits for `initialCatchUpFuture` before it installs the publishers.
async fn follow_metadata(broker: Arc<Broker>, mut images: watch::Receiver<Arc<MetadataImage>>) {
    let mut epochs = broker.lifecycle.epochs();
    let Ok(epoch) = epochs.wait_for(Option::is_some).await.map(|epoch| *epoch) else { return };
    let is_registered = |image: &Arc<MetadataImage>| {
        let own = image.broker(broker.config.node_id);
        own.map(|own| own.broker_epoch) >= epoch
    };
    if images.wait_for(is_registered).await.is_err() {
        return;
    }
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

/// Looks at the log directories of `replicas`, which it does not keep alive.
fn offline_log_dirs(replicas: &Arc<ReplicaManager>) -> OfflineLogDirs {
    let replicas = Arc::downgrade(replicas);
    Box::new(move || {
        let Some(replicas) = replicas.upgrade() else { return Vec::new() };
        let failed = replicas.logs().dirs().iter().filter(|dir| dir.is_offline());
        failed.map(|dir| dir.directory_id()).collect()
    })
}

fn registration(
    config: &Config,
    env: &Env,
    identity: &Identity,
    bound: &[Bound],
) -> BrokerRegistrationRequest {
    let features = FEATURES.iter().map(|feature| Feature {
        name: feature.name.to_owned(),
        min_supported_version: feature.level_min,
        max_supported_version: feature.level_max,
    });
    let incarnation_id = Uuid::random(&mut env.rng("broker incarnation"));
    env.observe(Observation::IncarnationBegun { broker: config.node_id, incarnation_id });
    BrokerRegistrationRequest {
        broker_id: config.node_id,
        cluster_id: identity.cluster_id.clone(),
        incarnation_id,
        listeners: advertised(config, bound),
        features: features.collect(),
        rack: config.rack.clone(),
        is_migrating_zk_broker: false,
        log_dirs: identity.log_directories.clone(),
        previous_broker_epoch: identity.previous_broker_epoch,
    }
}

/// What clients are told: a port that was left open is the one that was taken.
fn advertised(config: &Config, bound: &[Bound]) -> Vec<Listener> {
    let advertised = config.advertised_listeners.iter().map(|endpoint| {
        let port = match endpoint.port {
            0 => Bound::port(bound, &endpoint.name).unwrap_or(0),
            port => port,
        };
        let host = match endpoint.host.as_str() {
            "" => HOST_DEFAULT.to_owned(),
            host => host.to_owned(),
        };
        Listener { name: endpoint.name.clone(), host, port, security_protocol: PLAINTEXT }
    });
    advertised.collect()
}
