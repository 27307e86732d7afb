//! The difference between two images: what a broker has to do to get from one to the other.
//!
//! Found by comparing, not by watching the records go by: a broker that skipped images in between sees one difference that
//! covers them all, and none can be lost. Topics that did not change are the same pointer, so they cost one comparison.
//!
//! Kafka: `TopicsDelta.localChanges`, `ConfigurationsDelta`, `ClusterDelta`.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::image::{BrokerRegistration, ConfigResource, MetadataImage, PartitionImage, TopicImage};
use super::records::LeaderRecoveryState;
use crate::types::{
    BrokerId, BrokerSet, Observation, Offset, PartitionIndex, TopicId, TopicIdPartition,
};

/// A partition that is new, changed or gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionDelta {
    /// Which.
    pub partition: TopicIdPartition,
    /// The name of its topic.
    pub topic: Arc<str>,
    /// Its state before; `None` where it is new.
    pub before: Option<PartitionImage>,
    /// Its state now; `None` where it is gone.
    pub now: Option<PartitionImage>,
}

impl PartitionDelta {
    /// Whether `broker` must have a log for it now and had none before.
    #[must_use]
    pub fn is_gained_by(&self, broker: BrokerId) -> bool {
        holds(self.now.as_ref(), broker) && !holds(self.before.as_ref(), broker)
    }

    /// Whether `broker` had a log for it before and must remove it now.
    #[must_use]
    pub fn is_lost_by(&self, broker: BrokerId) -> bool {
        holds(self.before.as_ref(), broker) && !holds(self.now.as_ref(), broker)
    }
}

fn holds(partition: Option<&PartitionImage>, broker: BrokerId) -> bool {
    partition.is_some_and(|partition| partition.replicas.contains(&broker))
}

/// What changed from one image to a later one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetadataDelta {
    /// Topics that are new, by id.
    pub topics_created: Vec<Arc<TopicImage>>,
    /// Topics that are gone, by id: as they were last.
    pub topics_deleted: Vec<Arc<TopicImage>>,
    /// Partitions that are new, changed or gone, by topic id; those of created and deleted topics too.
    pub partitions: Vec<PartitionDelta>,
    /// Brokers that are new or changed, as they are now, by id.
    pub brokers_changed: Vec<(Option<Arc<BrokerRegistration>>, Arc<BrokerRegistration>)>,
    /// Brokers that records in between were about, as they are now, by id: also those that are again what they were.
    pub brokers_touched: Vec<Arc<BrokerRegistration>>,
    /// Brokers that left for good.
    pub brokers_removed: Vec<BrokerId>,
    /// Resources whose configs changed; those of a deleted topic are not listed.
    pub configs: Vec<ConfigResource>,
    /// Whether a feature's level changed.
    pub features: bool,
}

impl MetadataDelta {
    /// What changed from `before` to `now`.
    #[must_use]
    pub fn between(before: &MetadataImage, now: &MetadataImage) -> Self {
        let mut delta = Self { features: before.features() != now.features(), ..Self::default() };
        delta.compare_brokers(before, now);
        if !before.shares_topics_with(now) {
            delta.compare_topics(before, now);
        }
        delta.compare_configs(before, now);
        delta
    }

    fn compare_brokers(&mut self, before: &MetadataImage, now: &MetadataImage) {
        for broker in now.brokers() {
            let old = before.broker(broker.broker);
            if old.is_some_and(|old| Arc::ptr_eq(old, broker)) {
                continue;
            }
            self.brokers_touched.push(broker.clone());
            if old != Some(broker) {
                self.brokers_changed.push((old.cloned(), broker.clone()));
            }
        }
        let gone = before.brokers().filter(|old| now.broker(old.broker).is_none());
        self.brokers_removed.extend(gone.map(|old| old.broker));
    }

    fn compare_topics(&mut self, before: &MetadataImage, now: &MetadataImage) {
        // Deletions first: a name that is used again must lose its old logs before it gets new ones.
        for old in before.topics_by_id() {
            if now.topic_by_id(old.topic_id).is_none() {
                self.topics_deleted.push(old.clone());
                self.compare_partitions(Some(old), None);
            }
        }
        for topic in now.topics_by_id() {
            match before.topic_by_id(topic.topic_id) {
                Some(old) if Arc::ptr_eq(old, topic) => {}
                Some(old) => self.compare_partitions(Some(old), Some(topic)),
                None => {
                    self.topics_created.push(topic.clone());
                    self.compare_partitions(None, Some(topic));
                }
            }
        }
    }

    fn compare_partitions(
        &mut self,
        before: Option<&Arc<TopicImage>>,
        now: Option<&Arc<TopicImage>>,
    ) {
        let Some(topic) = now.or(before) else { return };
        let indexes: BTreeSet<PartitionIndex> = before
            .into_iter()
            .chain(now)
            .flat_map(|topic| topic.partitions.keys().copied())
            .collect();
        for index in indexes {
            let find = |topic: Option<&Arc<TopicImage>>| topic?.partitions.get(&index).cloned();
            let (before, now) = (find(before), find(now));
            if before != now {
                let partition = TopicIdPartition { topic_id: topic.topic_id, partition: index };
                let topic = topic.name.clone();
                self.partitions.push(PartitionDelta { partition, topic, before, now });
            }
        }
    }

    fn compare_configs(&mut self, before: &MetadataImage, now: &MetadataImage) {
        for (resource, configs) in now.all_configs() {
            let old = before.configs(resource);
            if old.is_none_or(|old| !Arc::ptr_eq(old, configs) && old != configs) {
                self.configs.push(resource.clone());
            }
        }
        for (resource, _) in before.all_configs() {
            let lives = match resource.resource_type {
                super::ResourceType::Topic => now.topic(&resource.name).is_some(),
                super::ResourceType::Broker | super::ResourceType::Group => true,
            };
            if lives && now.configs(resource).is_none() {
                self.configs.push(resource.clone());
            }
        }
    }

    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The ids of the topics that are gone.
    pub fn deleted_ids(&self) -> impl Iterator<Item = TopicId> {
        self.topics_deleted.iter().map(|topic| topic.topic_id)
    }

    /// What there is to say about these changes once they are committed.
    pub fn observations(&self, out: &mut Vec<Observation>) {
        for (before, now) in &self.brokers_changed {
            let (broker, broker_epoch) = (now.broker, now.broker_epoch);
            let before = before.as_ref().filter(|before| before.broker_epoch == broker_epoch);
            if before.is_none() {
                out.push(Observation::BrokerRegistered { broker, broker_epoch });
            }
            let was_fenced = before.is_none_or(|before| before.fenced);
            match (was_fenced, now.fenced) {
                (true, false) => out.push(Observation::BrokerUnfenced { broker, broker_epoch }),
                (false, true) => out.push(Observation::BrokerFenced { broker, broker_epoch }),
                (true, true) | (false, false) => {}
            }
        }
        for topic in &self.topics_deleted {
            out.push(Observation::TopicDeleted { topic_id: topic.topic_id });
        }
        for topic in &self.topics_created {
            let partitions = u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX);
            out.push(Observation::TopicCreated { topic_id: topic.topic_id, partitions });
        }
        for delta in &self.partitions {
            let Some(now) = &delta.now else { continue };
            if delta.before.as_ref().is_some_and(|old| old.leader_epoch == now.leader_epoch) {
                continue;
            }
            out.push(Observation::LeaderElected {
                partition: delta.partition,
                leader: now.leader,
                leader_epoch: now.leader_epoch,
                unclean: delta.before.as_ref().is_some_and(|old| is_unclean(old, now)),
            });
        }
    }
}

impl MetadataDelta {
    /// What a node that applied these committed changes, and now knows all below `end_offset`, says of them, whoever it is: see
    /// [`Observation::PartitionChanged`]. To be told before anything is done about the changes.
    pub fn applied_observations(&self, end_offset: Offset, out: &mut Vec<Observation>) {
        for now in &self.brokers_touched {
            out.push(Observation::RegistrationChanged {
                end_offset,
                broker: now.broker,
                broker_epoch: now.broker_epoch,
                incarnation_id: now.incarnation_id,
                is_fenced: now.fenced,
                in_controlled_shutdown: now.in_controlled_shutdown,
            });
        }
        let removed = self.brokers_removed.iter();
        out.extend(
            removed.map(|broker| Observation::RegistrationRemoved { end_offset, broker: *broker }),
        );
        for delta in &self.partitions {
            let Some(now) = &delta.now else { continue };
            out.push(Observation::PartitionChanged {
                partition: delta.partition,
                partition_epoch: now.partition_epoch,
                leader: now.leader,
                leader_epoch: now.leader_epoch,
                replicas: BrokerSet::of(&now.replicas),
                adding: BrokerSet::of(&now.adding_replicas),
                removing: BrokerSet::of(&now.removing_replicas),
                isr: BrokerSet::of(&now.isr),
                elr: BrokerSet::of(&now.eligible_leader_replicas),
                last_known_leader: now.last_known_elr.first().copied(),
                is_recovering: now.leader_recovery_state == LeaderRecoveryState::Recovering,
                is_unclean: delta.before.as_ref().is_some_and(|old| is_unclean(old, now)),
            });
        }
    }
}

/// Whether the new leader was neither in sync nor eligible. Such a one has to recover; one that joined the in-sync replicas in the
/// same change (the end of a reassignment), or between the two images, has not.
fn is_unclean(before: &PartitionImage, now: &PartitionImage) -> bool {
    let Some(leader) = now.leader else { return false };
    let qualified = [&before.isr, &before.eligible_leader_replicas];
    before.leader != Some(leader)
        && now.leader_recovery_state == LeaderRecoveryState::Recovering
        && !qualified.iter().any(|list| list.contains(&leader))
}
