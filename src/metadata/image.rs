//! What the metadata log adds up to at one offset: immutable, shared, cheap to clone.
//!
//! The parts are behind `Arc`s, and replaying a record copies only the parts it touches where somebody else still holds them. So
//! an unchanged part is the same pointer in two images, which makes their difference cheap to find (`delta.rs`).
//!
//! Kafka: `MetadataImage`, `ClusterImage`, `TopicsImage`, `ConfigurationsImage`, `FeaturesImage`, `ProducerIdsImage`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::records::{
    BrokerIncarnation, BrokerRegistrationChange, Config, Endpoint, FeatureRange, LeaderChange,
    LeaderRecoveryState, Partition, PartitionChange, Record, RegisterBroker,
};
use crate::mark;
use crate::types::{
    BrokerEpoch, BrokerId, LeaderEpoch, Offset, PartitionEpoch, PartitionIndex, ProducerId,
    TopicId, TopicIdPartition, Uuid,
};

/// What a config belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceType {
    /// A topic, by name.
    Topic,
    /// A broker, by id; the empty name is all brokers.
    Broker,
    /// A consumer group, by id; it need not be there.
    Group,
}

impl ResourceType {
    /// Kafka's number (`ConfigResource.Type`).
    #[must_use]
    pub const fn code(self) -> i8 {
        match self {
            Self::Topic => 2,
            Self::Broker => 4,
            Self::Group => 32,
        }
    }

    /// What Kafka's number means; `None` for those we do not keep.
    #[must_use]
    pub const fn from_wire(code: i8) -> Option<Self> {
        match code {
            2 => Some(Self::Topic),
            4 => Some(Self::Broker),
            32 => Some(Self::Group),
            _ => None,
        }
    }
}

/// Whose config.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigResource {
    /// The kind of thing.
    pub resource_type: ResourceType,
    /// Its name.
    pub name: Arc<str>,
}

impl ConfigResource {
    /// The configs of the group `id`.
    #[must_use]
    pub fn group(id: impl Into<Arc<str>>) -> Self {
        Self { resource_type: ResourceType::Group, name: id.into() }
    }

    /// The configs of the topic `name`.
    #[must_use]
    pub fn topic(name: impl Into<Arc<str>>) -> Self {
        Self { resource_type: ResourceType::Topic, name: name.into() }
    }
}

/// A record that does not fit the state it was replayed on: the log is damaged, foreign, or written by a bug.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRecord {
    /// A broker that was never registered.
    #[error("broker {0} is not registered")]
    UnknownBroker(BrokerId),
    /// A topic that was never created.
    #[error("topic {0} does not exist")]
    UnknownTopic(TopicId),
    /// A partition that was never created.
    #[error("partition {0} does not exist")]
    UnknownPartition(TopicIdPartition),
    /// A name or id that is taken.
    #[error("topic {name} ({topic_id}) exists already")]
    TopicExists {
        /// The name.
        name: Arc<str>,
        /// The id.
        topic_id: TopicId,
    },
    /// A partition that exists.
    #[error("partition {0} exists already")]
    PartitionExists(TopicIdPartition),
    /// Producer ids that were given out before.
    #[error("producer ids would go back from {from} to {to}")]
    ProducerIdsGoBack {
        /// The next id before the record.
        from: ProducerId,
        /// The next id that the record names.
        to: ProducerId,
    },
    /// A begin inside a transaction, or an end or abort outside of one.
    #[error("a metadata transaction begins or ends out of place")]
    Transaction,
}

/// A registered broker.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BrokerRegistration {
    /// The broker.
    pub broker: BrokerId,
    /// Its incarnation, counted by the metadata log.
    pub broker_epoch: BrokerEpoch,
    /// Its incarnation, as it named itself.
    pub incarnation_id: Uuid,
    /// Where it serves.
    pub endpoints: Vec<Endpoint>,
    /// What it supports.
    pub features: Vec<FeatureRange>,
    /// Where it stands.
    pub rack: Option<String>,
    /// Whether it may not lead.
    pub fenced: bool,
    /// Whether it is on its way out.
    pub in_controlled_shutdown: bool,
    /// The ids of its working log directories.
    pub log_dirs: Vec<Uuid>,
}

impl BrokerRegistration {
    /// Whether it may lead: neither fenced nor on its way out (Kafka: `ClusterControlManager.isActive`).
    #[must_use]
    pub fn is_active(&self) -> bool {
        !self.fenced && !self.in_controlled_shutdown
    }

    /// Its address on the listener `name`.
    #[must_use]
    pub fn endpoint(&self, name: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.name == name)
    }
}

/// The state of a partition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PartitionImage {
    /// The brokers that hold it, the preferred leader first.
    pub replicas: Vec<BrokerId>,
    /// The log directory of each, in the same order.
    pub directories: Vec<Uuid>,
    /// Those in sync.
    pub isr: Vec<BrokerId>,
    /// Those out of sync that hold everything committed (KIP-966).
    pub eligible_leader_replicas: Vec<BrokerId>,
    /// The last leader of a partition whose in-sync and eligible replicas are gone.
    pub last_known_elr: Vec<BrokerId>,
    /// Those a reassignment removes.
    pub removing_replicas: Vec<BrokerId>,
    /// Those a reassignment adds.
    pub adding_replicas: Vec<BrokerId>,
    /// Who leads.
    pub leader: Option<BrokerId>,
    /// How it came to lead.
    pub leader_recovery_state: LeaderRecoveryState,
    /// The leader's term.
    pub leader_epoch: LeaderEpoch,
    /// Counts the changes.
    pub partition_epoch: PartitionEpoch,
}

impl PartitionImage {
    fn new(record: &Partition) -> Self {
        Self {
            replicas: record.replicas.clone(),
            directories: record.directories.clone(),
            isr: record.isr.clone(),
            eligible_leader_replicas: record.eligible_leader_replicas.clone(),
            last_known_elr: record.last_known_elr.clone(),
            removing_replicas: record.removing_replicas.clone(),
            adding_replicas: record.adding_replicas.clone(),
            leader: record.leader,
            leader_recovery_state: record.leader_recovery_state,
            leader_epoch: record.leader_epoch,
            partition_epoch: record.partition_epoch,
        }
    }

    /// The log directory of `broker`'s replica.
    #[must_use]
    pub fn directory(&self, broker: BrokerId) -> Option<Uuid> {
        let position = self.replicas.iter().position(|replica| *replica == broker)?;
        self.directories.get(position).copied()
    }

    /// The state after `change`, which is of this partition. Kafka: `PartitionRegistration.merge`.
    pub(crate) fn merge(&mut self, change: &PartitionChange) {
        fn set<T: Clone>(field: &mut T, new: Option<&T>) {
            if let Some(new) = new {
                field.clone_from(new);
            }
        }
        set(&mut self.replicas, change.replicas.as_ref());
        set(&mut self.directories, change.directories.as_ref());
        set(&mut self.isr, change.isr.as_ref());
        set(&mut self.eligible_leader_replicas, change.eligible_leader_replicas.as_ref());
        set(&mut self.last_known_elr, change.last_known_elr.as_ref());
        set(&mut self.removing_replicas, change.removing_replicas.as_ref());
        set(&mut self.adding_replicas, change.adding_replicas.as_ref());
        set(&mut self.leader_recovery_state, change.leader_recovery_state.as_ref());
        match change.leader {
            LeaderChange::Unchanged => {}
            LeaderChange::NoLeader => {
                self.leader = None;
                self.leader_epoch = self.leader_epoch.next();
            }
            LeaderChange::Leader(leader) => {
                self.leader = Some(leader);
                self.leader_epoch = self.leader_epoch.next();
            }
        }
        self.partition_epoch = self.partition_epoch.next();
    }
}

/// A topic with its partitions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TopicImage {
    /// Its name.
    pub name: Arc<str>,
    /// Its identity.
    pub topic_id: TopicId,
    /// Its partitions.
    pub partitions: BTreeMap<PartitionIndex, PartitionImage>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct TopicsImage {
    by_id: BTreeMap<TopicId, Arc<TopicImage>>,
    by_name: BTreeMap<Arc<str>, TopicId>,
}

/// The cluster's state after all records below `end_offset`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct MetadataImage {
    /// The offset after the last record that counts here. Exclusive.
    pub end_offset: Offset,
    /// The quorum's epoch in which the last record was written.
    pub epoch: LeaderEpoch,
    features: Arc<BTreeMap<String, i16>>,
    brokers: Arc<BTreeMap<BrokerId, Arc<BrokerRegistration>>>,
    topics: Arc<TopicsImage>,
    configs: Arc<BTreeMap<ConfigResource, Arc<BTreeMap<String, String>>>>,
    next_producer_id: ProducerId,
}

impl MetadataImage {
    /// The level of a feature; 0 where it is off or unknown.
    #[must_use]
    pub fn feature_level(&self, name: &str) -> i16 {
        self.features.get(name).copied().unwrap_or(0)
    }

    /// The levels of all features that are on, by name.
    #[must_use]
    pub fn features(&self) -> &BTreeMap<String, i16> {
        &self.features
    }

    /// A registered broker.
    #[must_use]
    pub fn broker(&self, broker: BrokerId) -> Option<&Arc<BrokerRegistration>> {
        self.brokers.get(&broker)
    }

    /// All registered brokers, fenced ones too, by id.
    pub fn brokers(&self) -> impl ExactSizeIterator<Item = &Arc<BrokerRegistration>> {
        self.brokers.values()
    }

    /// Whether `broker` is registered and may lead.
    #[must_use]
    pub fn is_active(&self, broker: BrokerId) -> bool {
        self.brokers.get(&broker).is_some_and(|broker| broker.is_active())
    }

    /// A topic by name.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<&Arc<TopicImage>> {
        self.topics.by_name.get(name).map(|id| &self.topics.by_id[id])
    }

    /// A topic by id.
    #[must_use]
    pub fn topic_by_id(&self, topic_id: TopicId) -> Option<&Arc<TopicImage>> {
        self.topics.by_id.get(&topic_id)
    }

    /// All topics, by name.
    pub fn topics(&self) -> impl ExactSizeIterator<Item = &Arc<TopicImage>> {
        self.topics.by_name.values().map(|id| &self.topics.by_id[id])
    }

    /// All topics, by id.
    pub fn topics_by_id(&self) -> impl ExactSizeIterator<Item = &Arc<TopicImage>> {
        self.topics.by_id.values()
    }

    /// Whether nothing has happened to topics and partitions between the two: a look at an address. Where it says no they may still be equal.
    #[must_use]
    pub fn has_same_topics(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.topics, &other.topics)
    }

    /// Whether nothing has happened to configs between the two: a look at an address. Where it says no they may still be equal.
    #[must_use]
    pub fn has_same_configs(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.configs, &other.configs)
    }

    /// A partition.
    #[must_use]
    pub fn partition(&self, partition: TopicIdPartition) -> Option<&PartitionImage> {
        self.topics.by_id.get(&partition.topic_id)?.partitions.get(&partition.partition)
    }

    /// The configs set on a resource, by Kafka's key; `None` where none is set.
    #[must_use]
    pub fn configs(&self, resource: &ConfigResource) -> Option<&Arc<BTreeMap<String, String>>> {
        self.configs.get(resource)
    }

    /// The configs set on the topic `name`, by Kafka's key; `None` where none is set.
    #[must_use]
    pub fn topic_configs(&self, name: &str) -> Option<&Arc<BTreeMap<String, String>>> {
        self.configs.get(&ConfigResource::topic(name))
    }

    /// Every resource with configs.
    pub fn all_configs(
        &self,
    ) -> impl ExactSizeIterator<Item = (&ConfigResource, &Arc<BTreeMap<String, String>>)> {
        self.configs.iter()
    }

    /// The first producer id that no broker has been given.
    #[must_use]
    pub fn next_producer_id(&self) -> ProducerId {
        self.next_producer_id
    }

    /// Whether the topics of two images are known to be the same without looking at them.
    pub(super) fn shares_topics_with(&self, other: &MetadataImage) -> bool {
        Arc::ptr_eq(&self.topics, &other.topics)
    }

    /// Adds one record, which is not part of a transaction.
    ///
    /// Errors: the record does not fit; the image is unchanged then.
    fn replay(&mut self, record: &Record) -> Result<(), InvalidRecord> {
        match record {
            Record::RegisterBroker(record) => self.replay_register_broker(record),
            Record::UnregisterBroker(incarnation) => {
                if self.is_current(*incarnation)? {
                    Arc::make_mut(&mut self.brokers).remove(&incarnation.broker);
                }
            }
            Record::Topic(topic) => self.replay_topic(&topic.name, topic.topic_id)?,
            Record::Partition(record) => self.replay_partition(record)?,
            Record::PartitionChange(change) => self.replay_partition_change(change)?,
            Record::Config(config) => self.replay_config(config),
            Record::FenceBroker(incarnation) => self.set_fenced(*incarnation, true)?,
            Record::UnfenceBroker(incarnation) => self.set_fenced(*incarnation, false)?,
            Record::RemoveTopic(record) => self.replay_remove_topic(record.topic_id)?,
            Record::FeatureLevel(record) => {
                let features = Arc::make_mut(&mut self.features);
                if record.level == 0 {
                    features.remove(&record.name);
                } else {
                    features.insert(record.name.clone(), record.level);
                }
            }
            Record::ProducerIds(record) => {
                let (from, to) = (self.next_producer_id, record.next_producer_id);
                if to < from {
                    return Err(InvalidRecord::ProducerIdsGoBack { from, to });
                }
                self.next_producer_id = to;
            }
            Record::BrokerRegistrationChange(change) => self.replay_registration_change(change)?,
            Record::NoOp => {}
            Record::BeginTransaction(_) | Record::EndTransaction | Record::AbortTransaction(_) => {
                unreachable!("transactions are taken apart by the loader")
            }
        }
        Ok(())
    }

    fn replay_register_broker(&mut self, record: &RegisterBroker) {
        let registration = BrokerRegistration {
            broker: record.broker,
            broker_epoch: record.broker_epoch,
            incarnation_id: record.incarnation_id,
            endpoints: record.endpoints.clone(),
            features: record.features.clone(),
            rack: record.rack.clone(),
            fenced: record.fenced,
            in_controlled_shutdown: record.in_controlled_shutdown,
            log_dirs: record.log_dirs.clone(),
        };
        Arc::make_mut(&mut self.brokers).insert(record.broker, Arc::new(registration));
    }

    /// Whether a record speaks of the broker's present incarnation: one that speaks of an earlier one changes nothing.
    fn is_current(&self, incarnation: BrokerIncarnation) -> Result<bool, InvalidRecord> {
        let broker = self
            .brokers
            .get(&incarnation.broker)
            .ok_or(InvalidRecord::UnknownBroker(incarnation.broker))?;
        let current = broker.broker_epoch == incarnation.broker_epoch;
        if !current {
            mark!("a record of an older broker epoch changes nothing");
        }
        Ok(current)
    }

    fn set_fenced(
        &mut self,
        incarnation: BrokerIncarnation,
        fenced: bool,
    ) -> Result<(), InvalidRecord> {
        if self.is_current(incarnation)? {
            self.broker_mut(incarnation.broker).fenced = fenced;
        }
        Ok(())
    }

    fn broker_mut(&mut self, broker: BrokerId) -> &mut BrokerRegistration {
        let brokers = Arc::make_mut(&mut self.brokers);
        Arc::make_mut(brokers.get_mut(&broker).expect("the caller found it"))
    }

    fn replay_registration_change(
        &mut self,
        change: &BrokerRegistrationChange,
    ) -> Result<(), InvalidRecord> {
        let incarnation =
            BrokerIncarnation { broker: change.broker, broker_epoch: change.broker_epoch };
        if !self.is_current(incarnation)? {
            return Ok(());
        }
        let broker = self.broker_mut(change.broker);
        broker.fenced = change.fenced.unwrap_or(broker.fenced);
        broker.in_controlled_shutdown |= change.in_controlled_shutdown;
        if let Some(log_dirs) = &change.log_dirs {
            broker.log_dirs.clone_from(log_dirs);
        }
        Ok(())
    }

    fn replay_topic(&mut self, name: &Arc<str>, topic_id: TopicId) -> Result<(), InvalidRecord> {
        if self.topics.by_name.contains_key(name) || self.topics.by_id.contains_key(&topic_id) {
            return Err(InvalidRecord::TopicExists { name: name.clone(), topic_id });
        }
        let topics = Arc::make_mut(&mut self.topics);
        let topic = TopicImage { name: name.clone(), topic_id, partitions: BTreeMap::new() };
        topics.by_id.insert(topic_id, Arc::new(topic));
        topics.by_name.insert(name.clone(), topic_id);
        Ok(())
    }

    fn replay_partition(&mut self, record: &Partition) -> Result<(), InvalidRecord> {
        let name = TopicIdPartition { topic_id: record.topic_id, partition: record.partition };
        let topic = self
            .topics
            .by_id
            .get(&record.topic_id)
            .ok_or(InvalidRecord::UnknownTopic(record.topic_id))?;
        if topic.partitions.contains_key(&record.partition) {
            return Err(InvalidRecord::PartitionExists(name));
        }
        let topic = self.topic_mut(record.topic_id);
        topic.partitions.insert(record.partition, PartitionImage::new(record));
        Ok(())
    }

    fn replay_partition_change(&mut self, change: &PartitionChange) -> Result<(), InvalidRecord> {
        let name = TopicIdPartition { topic_id: change.topic_id, partition: change.partition };
        if self.partition(name).is_none() {
            return Err(InvalidRecord::UnknownPartition(name));
        }
        let topic = self.topic_mut(change.topic_id);
        let partition = topic.partitions.get_mut(&change.partition).expect("found above");
        partition.merge(change);
        Ok(())
    }

    fn topic_mut(&mut self, topic_id: TopicId) -> &mut TopicImage {
        let topics = Arc::make_mut(&mut self.topics);
        Arc::make_mut(topics.by_id.get_mut(&topic_id).expect("the caller found it"))
    }

    fn replay_config(&mut self, config: &Config) {
        let configs = Arc::make_mut(&mut self.configs);
        match &config.value {
            Some(value) => {
                let resource = configs.entry(config.resource.clone()).or_default();
                Arc::make_mut(resource).insert(config.name.clone(), value.clone());
            }
            None => {
                let Some(resource) = configs.get_mut(&config.resource) else { return };
                Arc::make_mut(resource).remove(&config.name);
                if resource.is_empty() {
                    configs.remove(&config.resource);
                }
            }
        }
    }

    fn replay_remove_topic(&mut self, topic_id: TopicId) -> Result<(), InvalidRecord> {
        if !self.topics.by_id.contains_key(&topic_id) {
            return Err(InvalidRecord::UnknownTopic(topic_id));
        }
        let topics = Arc::make_mut(&mut self.topics);
        let topic = topics.by_id.remove(&topic_id).expect("found above");
        topics.by_name.remove(&topic.name);
        let resource = ConfigResource::topic(topic.name.clone());
        if self.configs.contains_key(&resource) {
            Arc::make_mut(&mut self.configs).remove(&resource);
        }
        Ok(())
    }
}

/// Folds records into an image, and holds back those of a transaction until it ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageLoader {
    image: MetadataImage,
    /// The records of the transaction that is open.
    transaction: Option<Vec<Record>>,
}

impl ImageLoader {
    /// Goes on from `image`.
    #[must_use]
    pub fn new(image: MetadataImage) -> Self {
        Self { image, transaction: None }
    }

    /// Everything replayed so far, without an open transaction. Its `end_offset` covers the transaction's records too.
    #[must_use]
    pub fn image(&self) -> &MetadataImage {
        &self.image
    }

    /// Whether a transaction is open: a new leader aborts it.
    #[must_use]
    pub fn is_in_transaction(&self) -> bool {
        self.transaction.is_some()
    }

    /// Adds the record that the leader of `epoch` wrote at `offset`.
    ///
    /// Errors: the record does not fit what is there; nothing of it is applied then.
    pub fn replay(
        &mut self,
        offset: Offset,
        epoch: LeaderEpoch,
        record: &Record,
    ) -> Result<(), InvalidRecord> {
        match (record, self.transaction.take()) {
            (Record::BeginTransaction(_), None) => self.transaction = Some(Vec::new()),
            (Record::EndTransaction, Some(records)) => {
                let mut image = self.image.clone();
                for record in &records {
                    image.replay(record)?;
                }
                self.image = image;
            }
            (Record::AbortTransaction(_), Some(_)) => mark!("a metadata transaction is aborted"),
            (Record::BeginTransaction(_), Some(_))
            | (Record::EndTransaction | Record::AbortTransaction(_), None) => {
                return Err(InvalidRecord::Transaction);
            }
            (record, Some(mut records)) => {
                records.push(record.clone());
                self.transaction = Some(records);
            }
            (record, None) => self.image.replay(record)?,
        }
        self.advance(offset + 1, epoch);
        Ok(())
    }

    /// Moves the image's end over records that are not its business (control records).
    pub fn advance(&mut self, end_offset: Offset, epoch: LeaderEpoch) {
        self.image.end_offset = self.image.end_offset.max(end_offset);
        self.image.epoch = self.image.epoch.max(epoch);
    }
}
