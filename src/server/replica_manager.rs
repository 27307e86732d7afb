//! The partitions of this node: follows the metadata, and leads each request to the partition that it means.
//!
//! Metadata and partitions are published together: who finds a topic in the image finds its partitions too.
//!
//! Kafka: `ReplicaManager`, `BrokerMetadataPublisher`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::runtime::watch;

use super::Config;
use super::housekeeping;
use crate::log::{ConfigMap, LogConfig};
use crate::metadata::records::LeaderRecoveryState;
use crate::metadata::{MetadataDelta, MetadataImage, PartitionDelta, PartitionImage, ResourceType};
use crate::replica::LeaderState;
use crate::replica::driver::{
    IsrChanges, PartitionHandle, ReplicaOptions, TailBudget, segment_limits,
};
use crate::runtime::{Env, task};
use crate::storage::{
    LogManager, LogManagerOptions, MetaProperties, OpenedPartition, StorageError,
};
use crate::types::{
    BrokerEpoch, BrokerId, ErrorCode, LeaderEpoch, Offset, TopicIdPartition, TopicPartition, Uuid,
};

/// Memory for the newest batches of all partitions, which most readers want. An idle node stays below 50 MB with it.
const TAIL_CACHE_BYTES: usize = 32 << 20;

/// `replica.lag.time.max.ms` as Kafka has it.
const LAG_TIME_MAX: Duration = Duration::from_secs(30);

/// What is known of this node's place in a cluster before anything runs.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    /// The cluster's id.
    pub(super) cluster_id: String,
    /// The id of the metadata directory.
    pub(super) metadata_directory: Uuid,
    /// The ids of the log directories that work.
    pub(super) log_directories: Vec<Uuid>,
    /// The broker epoch in which the last stop was clean; `None` where it was not.
    pub(super) previous_broker_epoch: Option<BrokerEpoch>,
}

/// Who leads a partition, for clients that asked the wrong broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LeaderHint {
    /// The leader.
    pub(super) leader_id: BrokerId,
    /// Its term.
    pub(super) leader_epoch: LeaderEpoch,
}

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
    /// The lock of a metadata directory that is no log directory. Held until the node ends.
    _metadata_lock: Option<Box<dyn Send + Sync>>,
}

impl ReplicaManager {
    /// Locks and opens the log directories of this node, and the logs in them.
    ///
    /// # Errors
    /// A directory is locked, unformatted, foreign or damaged; no disk works.
    pub(super) async fn open(config: &Config, env: &Env) -> Result<(Self, Identity), StorageError> {
        let (metadata, metadata_lock) = enter_metadata_dir(config, env).await?;
        let broker_configs = config.broker_configs();
        let defaults = LogConfig::new(&broker_configs, &ConfigMap::new());
        let options = LogManagerOptions {
            log_dirs: config.log_dirs.clone(),
            node_id: config.node_id,
            cluster_id: Some(metadata.cluster_id.clone()),
            // Topics' own limits come with the metadata, before anything is appended.
            limits: segment_limits(&defaults.expect("the configuration was checked")),
            topic_limits: BTreeMap::new(),
        };
        let (logs, opened) = LogManager::open(env, options).await?;
        let working = logs.dirs().iter().filter(|dir| !dir.is_offline());
        let previous = logs.previous_broker_epoch().and_then(BrokerEpoch::from_wire);
        let identity = Identity {
            cluster_id: metadata.cluster_id,
            metadata_directory: metadata.directory_id,
            log_directories: working.map(|dir| dir.directory_id()).collect(),
            previous_broker_epoch: previous,
        };
        let manager = Self {
            node: config.node_id,
            env: env.clone(),
            broker_configs,
            options: ReplicaOptions {
                fetch_verify: config.fetch_verify,
                producer_expiration: config.producer_expiration,
                tail_budget: TailBudget::new(TAIL_CACHE_BYTES),
                node: config.node_id,
                lag_time_max: LAG_TIME_MAX,
                isr_changes: IsrChanges::none(),
            },
            logs,
            unclaimed: Mutex::new(opened.into_iter().map(|one| (one.id, one)).collect()),
            applied: watch::Sender::new(Arc::default()),
            applying: tokio::sync::Mutex::new(()),
            _metadata_lock: metadata_lock,
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

    /// Waits until all metadata below `end_offset` is applied. Cancel-safe.
    pub(super) async fn caught_up(&self, end_offset: Offset) {
        let mut applied = self.applied.subscribe();
        // The sender lives as long as `self`.
        let _ = applied.wait_for(|applied| applied.image.end_offset >= end_offset).await;
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

    /// Who leads a partition, as far as this broker has heard.
    pub(super) fn hint(&self, id: TopicIdPartition) -> Option<LeaderHint> {
        let image = self.image();
        let partition = image.partition(id)?;
        let (leader_id, leader_epoch) = (partition.leader?, partition.leader_epoch);
        Some(LeaderHint { leader_id, leader_epoch })
    }

    /// Brings the partitions to what `image` says, then publishes both.
    pub(super) async fn apply(&self, image: Arc<MetadataImage>) {
        let _alone = self.applying.lock().await;
        self.apply_alone(image).await;
    }

    /// Tries again to make logs that could not be made, without waiting for news of the metadata.
    pub(super) async fn retry(&self) {
        let _alone = self.applying.lock().await;
        self.apply_alone(self.image()).await;
    }

    async fn apply_alone(&self, image: Arc<MetadataImage>) {
        let before = self.applied();
        let delta = MetadataDelta::between(&before.image, &image);
        let mut hosted = before.hosted.clone();
        for change in &delta.partitions {
            self.apply_to_partition(change, &image, &mut hosted).await;
        }
        for resource in &delta.configs {
            let all = resource.resource_type == ResourceType::Broker;
            for handle in hosted.values() {
                let topic = &handle.partition().topic;
                if all || *topic == resource.name {
                    handle.set_log_config(self.log_config(&image, topic));
                }
            }
        }
        self.retry_missing(&image, &mut hosted).await;
        let is_first = before.image.end_offset == Offset::ZERO;
        self.applied.send_replace(Arc::new(Applied { image, hosted }));
        if is_first {
            self.set_strays_aside().await;
        }
    }

    async fn apply_to_partition(
        &self,
        change: &PartitionDelta,
        image: &MetadataImage,
        hosted: &mut BTreeMap<TopicIdPartition, Arc<PartitionHandle>>,
    ) {
        let id = change.partition;
        let holds = |one: &PartitionImage| one.replicas.contains(&self.node);
        let Some(now) = change.now.as_ref().filter(|now| holds(now)) else {
            if let Some(handle) = hosted.remove(&id) {
                self.delete(&handle).await;
            }
            return;
        };
        let handle = match hosted.get(&id) {
            Some(handle) => handle.clone(),
            None => {
                let topic = change.topic.clone();
                let partition = TopicPartition { topic, partition: id.partition };
                match self.open_partition(id, partition, image).await {
                    Ok(handle) => hosted.entry(id).or_insert(handle).clone(),
                    Err(error) => {
                        tracing::error!(partition = %id, %error, "a partition's log cannot be made");
                        return;
                    }
                }
            }
        };
        if now.leader != Some(self.node) {
            handle.resign();
        } else if let Err(error) = handle.become_leader(leader_state(now, image)).await {
            tracing::error!(partition = %id, %error, "a partition cannot be led here");
        }
    }

    async fn open_partition(
        &self,
        id: TopicIdPartition,
        partition: TopicPartition,
        image: &MetadataImage,
    ) -> Result<Arc<PartitionHandle>, StorageError> {
        let config = self.log_config(image, &partition.topic);
        let found = self.unclaimed.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        let opened = match found {
            Some(opened) => opened,
            None => {
                let namesake = self.take_unclaimed_namesake(&partition);
                if let Some(stray) = namesake {
                    self.set_aside(stray).await?;
                }
                self.logs.create(&partition, id.topic_id, segment_limits(&config)).await?
            }
        };
        let handle =
            PartitionHandle::new(self.env.clone(), opened, config.clone(), self.options.clone());
        handle.set_log_config(config);
        Ok(handle)
    }

    fn log_config(&self, image: &MetadataImage, topic: &str) -> Arc<LogConfig> {
        let none = ConfigMap::new();
        let own = image.topic_configs(topic).map_or(&none, |configs| &**configs);
        let config = LogConfig::new(&self.broker_configs, own);
        let config = config.or_else(|error| {
            // A newer node may have let in what this one does not know.
            tracing::error!(topic, %error, "a topic's configs are not understood: defaults apply");
            LogConfig::new(&self.broker_configs, &none)
        });
        Arc::new(config.expect("the broker's own configuration was checked"))
    }

    async fn delete(&self, handle: &Arc<PartitionHandle>) {
        handle.stop_for_deletion().await;
        let (partition, topic_id) = (handle.partition(), handle.id().topic_id);
        if let Err(error) = self.logs.delete(handle.dir(), partition, topic_id).await {
            tracing::error!(%partition, %error, "a partition's log cannot be deleted");
        }
    }

    /// Tries again to make logs that could not be made (a full disk has space again).
    async fn retry_missing(
        &self,
        image: &MetadataImage,
        hosted: &mut BTreeMap<TopicIdPartition, Arc<PartitionHandle>>,
    ) {
        for (id, topic, now) in missing(self.node, image, hosted) {
            let change = PartitionDelta { partition: id, topic, before: None, now: Some(now) };
            self.apply_to_partition(&change, image, hosted).await;
        }
    }

    /// Whether a partition that this node should hold is not there.
    pub(super) fn is_any_missing(&self) -> bool {
        let applied = self.applied();
        !missing(self.node, &applied.image, &applied.hosted).is_empty()
    }

    fn take_unclaimed_namesake(&self, partition: &TopicPartition) -> Option<OpenedPartition> {
        let mut unclaimed = self.unclaimed.lock().unwrap_or_else(PoisonError::into_inner);
        let id =
            unclaimed.iter().find(|(_, one)| one.partition == *partition).map(|(id, _)| *id)?;
        unclaimed.remove(&id)
    }

    /// Logs that the metadata does not know: of topics that were deleted while this node was down, or after the metadata
    /// was lost. They are kept under another name, as in Kafka, for a person to judge.
    async fn set_strays_aside(&self) {
        let strays =
            std::mem::take(&mut *self.unclaimed.lock().unwrap_or_else(PoisonError::into_inner));
        for stray in strays.into_values() {
            if let Err(error) = self.set_aside(stray).await {
                tracing::error!(%error, "a stray log cannot be set aside");
            }
        }
    }

    async fn set_aside(&self, stray: OpenedPartition) -> Result<(), StorageError> {
        crate::mark!("a log that the metadata does not know is set aside");
        tracing::warn!(partition = %stray.partition, topic_id = %stray.id.topic_id, "stray log set aside");
        self.logs.set_aside(&stray.dir, &stray.partition, stray.id.topic_id).await
    }

    /// Starts what has to be done from time to time.
    pub(super) fn start_housekeeping(self: &Arc<Self>, config: &Config) -> task::Task<()> {
        task::spawn(housekeeping::run(self.clone(), config.clone(), self.env.clone()))
    }

    /// Ends in good order: all logs are closed, and the directories marked clean.
    pub(super) async fn close(&self, broker_epoch: Option<BrokerEpoch>) {
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

/// What the metadata says to the leader of a partition.
fn leader_state(partition: &PartitionImage, image: &MetadataImage) -> LeaderState {
    LeaderState {
        leader_epoch: partition.leader_epoch,
        partition_epoch: partition.partition_epoch,
        replicas: partition.replicas.clone(),
        isr: partition.isr.clone(),
        is_recovering: partition.leader_recovery_state == LeaderRecoveryState::Recovering,
        broker_epochs: active_broker_epochs(image),
    }
}

/// The incarnations of the brokers that may join an ISR.
fn active_broker_epochs(image: &MetadataImage) -> BTreeMap<BrokerId, BrokerEpoch> {
    let brokers = image.brokers().filter(|broker| broker.is_active());
    brokers.map(|broker| (broker.broker, broker.broker_epoch)).collect()
}

/// The partitions that `node` should hold and does not.
fn missing(
    node: BrokerId,
    image: &MetadataImage,
    hosted: &BTreeMap<TopicIdPartition, Arc<PartitionHandle>>,
) -> Vec<(TopicIdPartition, Arc<str>, PartitionImage)> {
    let mut missing = Vec::new();
    for topic in image.topics_by_id() {
        for (index, partition) in &topic.partitions {
            let id = TopicIdPartition { topic_id: topic.topic_id, partition: *index };
            if partition.replicas.contains(&node) && !hosted.contains_key(&id) {
                missing.push((id, topic.name.clone(), partition.clone()));
            }
        }
    }
    missing
}

/// Whose metadata directory it is; its lock, where it is not a log directory too and locked with those.
async fn enter_metadata_dir(
    config: &Config,
    env: &Env,
) -> Result<(MetaProperties, Option<Box<dyn Send + Sync>>), StorageError> {
    let dir = &config.metadata_log_dir;
    let meta = MetaProperties::read(env.disk.as_ref(), dir).await?;
    let meta = meta.ok_or_else(|| StorageError::Unformatted { path: dir.clone() })?;
    meta.check(dir, config.node_id, None)?;
    if config.log_dirs.contains(dir) {
        return Ok((meta, None));
    }
    let path = dir.join(".lock");
    let lock = env.disk.lock(&path).await.map_err(|error| {
        if error.kind() == std::io::ErrorKind::WouldBlock {
            StorageError::Locked { path }
        } else {
            StorageError::io("lock the metadata directory", dir, error)
        }
    })?;
    Ok((meta, Some(lock)))
}
