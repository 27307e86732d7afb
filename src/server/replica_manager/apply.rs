//! Brings the partitions of this node to new metadata: logs are made and deleted, replicas lead and follow.
//!
//! Kafka: `ReplicaManager.applyDelta`, `BrokerMetadataPublisher`.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use super::{Applied, ReplicaManager};
use crate::log::{ConfigMap, LogConfig};
use crate::metadata::records::LeaderRecoveryState;
use crate::metadata::{MetadataDelta, MetadataImage, PartitionDelta, PartitionImage, ResourceType};
use crate::replica::driver::{PartitionHandle, segment_limits};
use crate::replica::{FollowerState, LeaderState};
use crate::runtime::BoxFuture;
use crate::server::config::dynamic;
use crate::server::replica_fetchers::Assignment;
use crate::storage::{OpenedPartition, StorageError};
use crate::types::{BrokerEpoch, BrokerId, Offset, TopicIdPartition, TopicPartition};

/// New metadata on its way to the partitions.
struct Applying<'a> {
    image: &'a MetadataImage,
    /// The incarnations of the brokers that may join an ISR.
    broker_epochs: BTreeMap<BrokerId, BrokerEpoch>,
    hosted: BTreeMap<TopicIdPartition, Arc<PartitionHandle>>,
    assignments: Vec<Assignment>,
    /// What the topics of opened partitions are to do, once for all partitions of a topic.
    configs: BTreeMap<Arc<str>, Arc<LogConfig>>,
    /// The terms that begin here: each is on its way to the disk, beside the others.
    leading: Vec<(TopicIdPartition, BoxFuture<'static, Result<(), StorageError>>)>,
}

impl ReplicaManager {
    /// Brings the partitions to what `image` says, then publishes both. Not with metadata from before this broker's registration:
    /// a replica that led alone then would take for committed what nobody else has, and logs of newer topics would look like
    /// strays.
    pub(in crate::server) async fn apply(&self, image: Arc<MetadataImage>) {
        let _alone = self.applying.lock().await;
        self.apply_alone(image).await;
    }

    /// Tries again to make logs that could not be made, without waiting for news of the metadata.
    pub(in crate::server) async fn retry(&self) {
        let _alone = self.applying.lock().await;
        self.apply_alone(self.image()).await;
    }

    async fn apply_alone(&self, image: Arc<MetadataImage>) {
        let before = self.applied();
        let delta = MetadataDelta::between(&before.image, &image);
        let mut applying = Applying {
            image: &image,
            broker_epochs: eligible_broker_epochs(&image),
            hosted: before.hosted.clone(),
            assignments: Vec::new(),
            configs: BTreeMap::new(),
            leading: Vec::new(),
        };
        for change in &delta.partitions {
            self.apply_to_partition(change, &mut applying).await;
        }
        self.apply_configs(&delta, &applying);
        if !delta.brokers_changed.is_empty() || !delta.brokers_removed.is_empty() {
            for handle in applying.hosted.values() {
                handle.broker_epochs_changed(&applying.broker_epochs);
            }
        }
        self.retry_missing(&mut applying).await;
        let is_first = before.image.end_offset == Offset::ZERO;
        let Applying { hosted, assignments, leading, .. } = applying;
        for (id, begun) in leading {
            if let Err(error) = begun.await {
                tracing::error!(partition = %id, %error, "a partition cannot be led here");
            }
        }
        self.applied.send_replace(Arc::new(Applied { image: image.clone(), hosted }));
        if let Some(fetchers) = self.fetchers.get() {
            fetchers.apply(&image, assignments);
        }
        if is_first {
            self.set_strays_aside().await;
        }
    }

    fn apply_configs(&self, delta: &MetadataDelta, applying: &Applying<'_>) {
        for resource in &delta.configs {
            let concerns = |topic: &str| match resource.resource_type {
                ResourceType::Broker => true,
                ResourceType::Topic => *topic == *resource.name,
                ResourceType::Group => false,
            };
            for handle in applying.hosted.values() {
                let topic = &handle.partition().topic;
                if concerns(topic) {
                    handle.set_log_config(self.log_config(applying.image, topic));
                }
            }
        }
    }

    async fn apply_to_partition(&self, change: &PartitionDelta, applying: &mut Applying<'_>) {
        let id = change.partition;
        let holds = |one: &PartitionImage| one.replicas.contains(&self.node);
        let Some(now) = change.now.as_ref().filter(|now| holds(now)) else {
            applying.assignments.push(Assignment::Stop(id));
            self.locations.gone(id);
            if let Some(handle) = applying.hosted.remove(&id) {
                self.delete(&handle).await;
            }
            return;
        };
        let handle = match applying.hosted.get(&id) {
            Some(handle) => handle.clone(),
            None => {
                let topic = change.topic.clone();
                let partition = TopicPartition { topic, partition: id.partition };
                match self.open_partition(id, partition, now, applying).await {
                    Ok(handle) => applying.hosted.entry(id).or_insert(handle).clone(),
                    Err(error) => {
                        tracing::error!(partition = %id, %error, "a partition's log cannot be made");
                        return;
                    }
                }
            }
        };
        self.locations.found(id, handle.dir().directory_id(), now.directory(self.node));
        if now.leader == Some(self.node) {
            let state = leader_state(now, &applying.broker_epochs);
            applying.leading.push((id, Box::pin(handle.become_leader(state))));
        } else {
            handle.become_follower(FollowerState {
                leader: now.leader,
                leader_epoch: now.leader_epoch,
                partition_epoch: now.partition_epoch,
            });
        }
        applying.assignments.push(self.assignment(&handle, now));
    }

    /// Whom a replica is to follow.
    pub(super) fn assignment(
        &self,
        handle: &Arc<PartitionHandle>,
        partition: &PartitionImage,
    ) -> Assignment {
        match partition.leader.filter(|leader| *leader != self.node) {
            Some(leader) => Assignment::Follow {
                handle: handle.clone(),
                leader,
                leader_epoch: partition.leader_epoch,
            },
            None => Assignment::Stop(handle.id()),
        }
    }

    async fn open_partition(
        &self,
        id: TopicIdPartition,
        partition: TopicPartition,
        state: &PartitionImage,
        applying: &mut Applying<'_>,
    ) -> Result<Arc<PartitionHandle>, StorageError> {
        let image = applying.image;
        let config = applying.configs.entry(partition.topic.clone());
        let config = config.or_insert_with(|| self.log_config(image, &partition.topic)).clone();
        let found = self.unclaimed.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        let opened = match found {
            Some(opened) => opened,
            None => {
                self.check_may_create(state)?;
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

    /// A log that was in a directory that is offline is not begun anew in another one: it is there, and out of reach. One whose
    /// directory was wiped, or exchanged for another disk, is.
    ///
    /// Kafka: `LogManager.getOrCreateLog`, KIP-858.
    fn check_may_create(&self, state: &PartitionImage) -> Result<(), StorageError> {
        let Some(directory) = state.directory(self.node).filter(|id| !id.is_reserved_directory())
        else {
            return Ok(());
        };
        match self.logs.dirs().iter().find(|dir| dir.directory_id() == directory) {
            Some(dir) if dir.is_offline() => {
                Err(StorageError::Offline { path: dir.path().to_owned() })
            }
            Some(_) => Ok(()),
            None if self.has_unknown_dir => Err(StorageError::Offline { path: "log.dirs".into() }),
            None => {
                crate::mark!("a log is begun anew because its directory is gone");
                Ok(())
            }
        }
    }

    fn log_config(&self, image: &MetadataImage, topic: &str) -> Arc<LogConfig> {
        let none = ConfigMap::new();
        let own = image.topic_configs(topic).map_or(&none, |configs| &**configs);
        let broker_configs = dynamic::broker_configs(&self.broker_configs, image, self.node);
        let config = LogConfig::new(&broker_configs, own);
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
    async fn retry_missing(&self, applying: &mut Applying<'_>) {
        for (id, topic, now) in missing(self.node, applying.image, &applying.hosted) {
            let change = PartitionDelta { partition: id, topic, before: None, now: Some(now) };
            self.apply_to_partition(&change, applying).await;
        }
    }

    /// Whether a partition that this node should hold is not there.
    pub(in crate::server) fn is_any_missing(&self) -> bool {
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
}

/// What the metadata says to the leader of a partition.
fn leader_state(
    partition: &PartitionImage,
    broker_epochs: &BTreeMap<BrokerId, BrokerEpoch>,
) -> LeaderState {
    let of_replicas = partition.replicas.iter();
    LeaderState {
        leader_epoch: partition.leader_epoch,
        partition_epoch: partition.partition_epoch,
        replicas: partition.replicas.clone(),
        isr: partition.isr.clone(),
        is_recovering: partition.leader_recovery_state == LeaderRecoveryState::Recovering,
        broker_epochs: of_replicas
            .filter_map(|broker| Some((*broker, *broker_epochs.get(broker)?)))
            .collect(),
    }
}

/// The incarnations of the brokers that may join an ISR: neither fenced nor in controlled shutdown (KIP-841, KIP-903).
fn eligible_broker_epochs(image: &MetadataImage) -> BTreeMap<BrokerId, BrokerEpoch> {
    let active = image.brokers().filter(|broker| broker.is_active());
    active.map(|broker| (broker.broker, broker.broker_epoch)).collect()
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
