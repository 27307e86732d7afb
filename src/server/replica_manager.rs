//! The partitions of this node: follows the metadata, and leads each request to the partition that it means.
//!
//! Metadata and partitions are published together: who finds a topic in the image finds its partitions too. How partitions are
//! brought to new metadata: `replica_manager/apply.rs`.
//!
//! Kafka: `ReplicaManager`, `BrokerMetadataPublisher`.

mod apply;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};

use super::Config;
use super::alter_partition::{self, Proposals};
use super::assignments::{self, Locations};
use super::controller_channel::AskController;
use super::fetch_sessions::FetchSessions;
use super::housekeeping;
use super::identity::Identity;
use super::replica_fetchers::ReplicaFetchers;
use crate::log::{ConfigMap, LogConfig};
use crate::metadata::MetadataImage;
use crate::protocol::messages::{AlterPartitionRequest, AssignReplicasToDirsRequest};
use crate::replica::driver::{PartitionHandle, ReplicaOptions, TailBudget, segment_limits};
use crate::runtime::{Env, task, watch};
use crate::storage::{LogManager, LogManagerOptions, OpenedPartition, StorageError};
use crate::types::{BrokerEpoch, BrokerId, ErrorCode, TopicIdPartition};

/// What is applied: never changed, only replaced.
#[derive(Default)]
pub(super) struct Applied {
    /// The metadata.
    pub(super) image: Arc<MetadataImage>,
    /// The partitions that this node holds and could open.
    pub(super) hosted: BTreeMap<TopicIdPartition, Arc<PartitionHandle>>,
}

/// The partitions of this node.
pub(super) struct ReplicaManager {
    node: BrokerId,
    env: Env,
    broker_configs: ConfigMap,
    options: ReplicaOptions,
    logs: LogManager,
    /// Logs that were found at the start and that no metadata has claimed yet.
    unclaimed: Mutex<BTreeMap<TopicIdPartition, OpenedPartition>>,
    applied: watch::Sender<Arc<Applied>>,
    /// Held while partitions are brought to new metadata.
    applying: tokio::sync::Mutex<()>,
    fetch_sessions: Arc<FetchSessions>,
    /// Once this broker is being registered.
    fetchers: OnceLock<ReplicaFetchers>,
    proposals: Arc<Proposals>,
    locations: Arc<Locations>,
    /// Whether a directory could not even be entered at the start: nobody knows what is in it.
    has_unknown_dir: bool,
}

impl ReplicaManager {
    /// Locks and opens the log directories of this node, which belongs to cluster `cluster_id`, and the logs in them.
    ///
    /// # Errors
    /// A directory is locked, unformatted, foreign or damaged; no disk works.
    pub(super) async fn open(
        config: &Config,
        env: &Env,
        cluster_id: &str,
    ) -> Result<(Self, Identity), StorageError> {
        let broker_configs = config.broker_configs();
        let defaults = LogConfig::new(&broker_configs, &ConfigMap::new());
        let options = LogManagerOptions {
            log_dirs: config.log_dirs.clone(),
            node_id: config.node_id,
            cluster_id: Some(cluster_id.to_owned()),
            locked_dir: Some(config.metadata_log_dir.clone()),
            // Topics' own limits come with the metadata, before anything is appended.
            limits: segment_limits(&defaults.expect("the configuration was checked")),
            topic_limits: BTreeMap::new(),
        };
        let (logs, opened) = LogManager::open(env, options).await?;
        let working = logs.dirs().iter().filter(|dir| !dir.is_offline());
        let previous = logs.previous_broker_epoch().and_then(BrokerEpoch::from_wire);
        let identity = Identity {
            cluster_id: cluster_id.to_owned(),
            log_directories: working.map(|dir| dir.directory_id()).collect(),
            previous_broker_epoch: previous,
        };
        let proposals = Arc::new(Proposals::default());
        let manager = Self {
            node: config.node_id,
            env: env.clone(),
            broker_configs,
            options: ReplicaOptions {
                fetch_verify: config.fetch_verify,
                producer_expiration: config.producer_expiration,
                tail_budget: TailBudget::new(config.fetch_tail_bytes),
                node: config.node_id,
                lag_time_max: config.replication.lag_time_max,
                isr_changes: proposals.listener(),
            },
            has_unknown_dir: logs.dirs().len() < config.log_dirs.len(),
            logs,
            unclaimed: Mutex::new(opened.into_iter().map(|one| (one.id, one)).collect()),
            applied: watch::Sender::new(Arc::default()),
            applying: tokio::sync::Mutex::new(()),
            fetch_sessions: FetchSessions::new(
                config.fetch_sessions_max,
                env.rng("fetch sessions"),
            ),
            fetchers: OnceLock::new(),
            proposals,
            locations: Arc::default(),
        };
        Ok((manager, identity))
    }

    /// What is applied now.
    pub(super) fn applied(&self) -> Arc<Applied> {
        self.applied.borrow().clone()
    }

    /// The same, and what comes after.
    pub(super) fn subscribe(&self) -> watch::Receiver<Arc<Applied>> {
        self.applied.subscribe()
    }

    /// The metadata that is applied to the partitions.
    pub(super) fn image(&self) -> Arc<MetadataImage> {
        self.applied.borrow().image.clone()
    }

    /// The log directories.
    pub(super) fn logs(&self) -> &LogManager {
        &self.logs
    }

    /// The partition, if this node holds it. Whether it leads it, and in which term, the partition itself says.
    ///
    /// # Errors
    /// `UNKNOWN_TOPIC_OR_PARTITION`, `NOT_LEADER_OR_FOLLOWER`, `KAFKA_STORAGE_ERROR`.
    ///
    /// Kafka: `ReplicaManager.getPartitionOrError`.
    pub(super) fn hosted(&self, id: TopicIdPartition) -> Result<Arc<PartitionHandle>, ErrorCode> {
        let applied = self.applied.borrow();
        if let Some(handle) = applied.hosted.get(&id) {
            return Ok(handle.clone());
        }
        let partition = applied.image.partition(id).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        // It should be here: its log could not be made or opened.
        Err(if partition.replicas.contains(&self.node) {
            ErrorCode::KafkaStorageError
        } else {
            ErrorCode::NotLeaderOrFollower
        })
    }

    /// The fetch sessions of those who fetch from this broker.
    pub(super) fn fetch_sessions(&self) -> &Arc<FetchSessions> {
        &self.fetch_sessions
    }

    /// Begins to follow the leaders of this broker's partitions, under the epoch in which it is registered, and to carry what
    /// its own leaders propose to the controller; before metadata is applied. The task runs until it is aborted.
    pub(super) fn start_replication(
        self: &Arc<Self>,
        config: &Config,
        epoch: watch::Receiver<Option<BrokerEpoch>>,
        ask: AskController<AlterPartitionRequest>,
    ) -> task::Task<()> {
        let fetchers = ReplicaFetchers::new(config, &self.env, epoch.clone());
        assert!(self.fetchers.set(fetchers).is_ok(), "replication is started once");
        let (env, replicas) = (self.env.clone(), Arc::downgrade(self));
        let proposals = self.proposals.clone();
        task::spawn(alter_partition::run(env, self.node, proposals, replicas, epoch, ask))
    }

    /// Begins to tell the controller where replicas are, under the epoch in which this broker is registered. The task runs until it is
    /// aborted.
    pub(super) fn start_assignments(
        &self,
        epoch: watch::Receiver<Option<BrokerEpoch>>,
        ask: AskController<AssignReplicasToDirsRequest>,
    ) -> task::Task<()> {
        let (env, locations) = (self.env.clone(), self.locations.clone());
        task::spawn(assignments::run(env, self.node, locations, epoch, ask))
    }

    /// Ends following: nothing is fetched any more.
    pub(super) fn stop_replication(&self) {
        if let Some(fetchers) = self.fetchers.get() {
            fetchers.end();
        }
    }

    /// Starts what has to be done from time to time.
    pub(super) fn start_housekeeping(self: &Arc<Self>, config: &Config) -> task::Task<()> {
        task::spawn(housekeeping::run(self.clone(), config.clone(), self.env.clone()))
    }

    /// Ends in good order: all logs are closed, and the directories marked clean.
    pub(super) async fn close(&self, broker_epoch: Option<BrokerEpoch>) {
        self.stop_replication();
        for handle in self.applied().hosted.values() {
            if let Err(error) = handle.close().await {
                tracing::warn!(partition = %handle.partition(), %error, "a log is not closed");
            }
        }
        if let Err(error) = self.logs.close(broker_epoch.map(BrokerEpoch::value)).await {
            tracing::warn!(%error, "a log directory is not marked clean: it is recovered at the next start");
        }
    }
}
