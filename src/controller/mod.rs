//! Layer 3: the cluster's metadata, as a ledger.
//!
//! A request goes in, records come out; a record goes in, the state changes. The durable state is the metadata image, changed
//! only by [`Controller::replay`]; the soft state (who was heard from when) changes only in [`Controller::decide`] and dies with
//! the leadership. Nothing here waits, writes or knows what is committed: `driver.rs` parks every reply until it may leave.
//!
//! One controller decides at a time, and it replays its own records before the next request comes. So each decision sees all
//! earlier ones, and none of them is undone unless the leadership ends, which drops this whole state.
//!
//! Kafka: `QuorumController` and its managers.

mod cluster_control;
mod configuration_control;
mod directory_control;
pub mod driver;
mod election_control;
mod feature_control;
mod partition_change;
mod partition_control;
mod partition_index;
mod producer_id_control;
mod reassignment_control;
mod replica_placer;
pub mod request;
mod topic_control;
mod topic_name;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;

use partition_index::PartitionIndex;
pub use request::{ApiError, Reply, Request};

use crate::metadata::group_config::GroupConfigRanges;
use crate::metadata::{ConfigResource, ImageLoader, MetadataImage, Record};
use crate::types::{BrokerId, LeaderEpoch, Monotonic, Now, Offset, TopicId, TopicIdPartition};
pub use feature_control::bootstrap_records;
pub use producer_id_control::PRODUCER_ID_BLOCK_SIZE;

/// Says whether a config may have a value. Errors: a sentence for the person who set it.
///
/// A function, because the table of configs stands in a module that this one does not know.
pub type ConfigValidator = fn(&ConfigResource, &str, &str) -> Result<(), String>;

/// Kafka's default of a config that is a list; `None` where it is none, so that nothing can be added to it or taken from it.
pub type ConfigListDefault = fn(&ConfigResource, &str) -> Option<String>;

/// When the preferred leaders get their partitions back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaderBalance {
    /// How often that is looked at (`leader.imbalance.check.interval.seconds`).
    pub check_interval: Duration,
    /// How many percent of the partitions that a broker should lead others may lead
    /// (`leader.imbalance.per.broker.percentage`).
    pub imbalance_per_broker_percentage: u32,
}

/// What the controller is told once, at its start.
#[derive(Clone)]
pub struct ControllerConfig {
    /// This node.
    pub node: BrokerId,
    /// The cluster's id: brokers that were formatted for another one are refused.
    pub cluster_id: String,
    /// How long a broker may be silent before it is fenced (`broker.session.timeout.ms`).
    pub broker_session_timeout: Duration,
    /// Partitions of a topic whose creator does not say (`num.partitions`).
    pub partitions_default: i32,
    /// Replicas of a partition whose creator does not say (`default.replication.factor`).
    pub replication_factor_default: i16,
    /// `min.insync.replicas` where neither topic nor cluster sets it.
    pub min_insync_replicas_default: i32,
    /// `unclean.leader.election.enable` where neither topic nor cluster sets it.
    pub unclean_leader_election_default: bool,
    /// How leaders are given back to the preferred replicas; `None` where they are not (`auto.leader.rebalance.enable`).
    pub leader_balance: Option<LeaderBalance>,
    /// What the configs of single groups may be.
    pub group_configs: GroupConfigRanges,
    /// Which configs of topics and brokers exist and what they may be.
    pub config_validator: ConfigValidator,
    /// Which configs are lists.
    pub config_list_default: ConfigListDefault,
}

impl fmt::Debug for ControllerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControllerConfig").field("node", &self.node).finish_non_exhaustive()
    }
}

/// What a decision comes to: records to append in one batch, all or none, and the reply to give once they are committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The records, in order. Empty where nothing changes.
    pub records: Vec<Record>,
    /// What to answer; `None` where nobody asked.
    pub reply: Option<Reply>,
}

/// The active controller's state. Made when a node becomes the active controller, dropped when it no longer is.
#[derive(Debug)]
pub struct Controller {
    config: ControllerConfig,
    rng: StdRng,
    /// Durable: what the records add up to.
    loader: ImageLoader,
    /// Which partitions concern a broker: says what the image says.
    index: PartitionIndex,
    /// Soft: what is known of each broker's session.
    sessions: BTreeMap<BrokerId, cluster_control::Session>,
    /// Soft: when preferred leaders are next looked for.
    next_balance: Option<Monotonic>,
    /// Soft: whether partitions that nobody leads may have become electable.
    leaderless_due: bool,
}

impl Controller {
    /// A controller that takes over with everything committed in `loader`. Each unfenced broker gets a full session from now.
    ///
    /// `rng` gives topic ids and placements.
    #[must_use]
    pub fn new(config: ControllerConfig, rng: StdRng, loader: ImageLoader, now: Now) -> Self {
        let index = PartitionIndex::new(loader.image());
        let next_balance =
            config.leader_balance.map(|balance| now.monotonic + balance.check_interval);
        let leaderless_due = index.leaderless().next().is_some();
        let sessions = BTreeMap::new();
        let mut controller =
            Self { config, rng, loader, index, sessions, next_balance, leaderless_due };
        controller.grant_sessions(now);
        controller
    }

    /// The state that the next decision sees: not yet committed, not for publication.
    #[must_use]
    pub fn image(&self) -> &MetadataImage {
        self.loader.image()
    }

    /// Decides `request`. The records, if any, will be appended from `next_offset` on, in one batch.
    pub fn decide(&mut self, now: Now, next_offset: Offset, request: Request) -> Outcome {
        match request {
            Request::RegisterBroker(request) => {
                let (records, reply) = self.register_broker(now, next_offset, request);
                Outcome { records, reply: Some(Reply::RegisterBroker(reply)) }
            }
            Request::BrokerHeartbeat(request) => {
                let (records, reply) = self.broker_heartbeat(now, next_offset, &request);
                Outcome { records, reply: Some(Reply::BrokerHeartbeat(reply)) }
            }
            Request::UnregisterBroker(broker) => {
                let (records, reply) = self.unregister_broker(broker);
                Outcome { records, reply: Some(Reply::UnregisterBroker(reply)) }
            }
            Request::CreateTopics(request) => {
                let (records, results) = self.create_topics(request);
                Outcome { records, reply: Some(Reply::CreateTopics(results)) }
            }
            Request::DeleteTopics(topics) => {
                let (records, results) = self.delete_topics(topics);
                Outcome { records, reply: Some(Reply::DeleteTopics(results)) }
            }
            Request::CreatePartitions { topics, validate_only } => {
                let (records, results) = self.create_partitions(topics, validate_only);
                Outcome { records, reply: Some(Reply::CreatePartitions(results)) }
            }
            Request::AllocateProducerIds { broker, broker_epoch } => {
                let (records, reply) = self.allocate_producer_ids(broker, broker_epoch);
                Outcome { records, reply: Some(Reply::AllocateProducerIds(reply)) }
            }
            Request::AlterConfigs { changes, validate_only } => {
                let (records, results) = self.alter_configs(changes, validate_only);
                Outcome { records, reply: Some(Reply::AlterConfigs(results)) }
            }
            Request::ReplaceConfigs { resources, validate_only } => {
                let (records, results) = self.replace_configs(resources, validate_only);
                Outcome { records, reply: Some(Reply::AlterConfigs(results)) }
            }
            Request::AlterPartition(request) => {
                let (records, reply) = self.alter_partition(request);
                Outcome { records, reply: Some(Reply::AlterPartition(reply)) }
            }
            Request::AssignReplicasToDirs(request) => {
                let (records, reply) = self.assign_replicas_to_dirs(&request);
                Outcome { records, reply: Some(Reply::AssignReplicasToDirs(reply)) }
            }
            Request::ElectLeaders(request) => {
                let (records, reply) = self.elect_leaders(request);
                Outcome { records, reply: Some(Reply::ElectLeaders(reply)) }
            }
            Request::AlterReassignments(request) => {
                let (records, reply) = self.alter_reassignments(request);
                Outcome { records, reply: Some(Reply::AlterReassignments(reply)) }
            }
            Request::ListReassignments(partitions) => {
                let ongoing = self.list_reassignments(partitions);
                Outcome { records: Vec::new(), reply: Some(Reply::ListReassignments(ongoing)) }
            }
            Request::UpdateFeatures { updates, validate_only } => {
                let (records, reply) = self.update_features(&updates, validate_only);
                Outcome { records, reply: Some(Reply::UpdateFeatures(reply)) }
            }
        }
    }

    /// What time alone demands: the records that a new leader, or the passing of [`Self::deadline`], brings. One thing at a time (one
    /// broker is fenced, say), so that the next decision sees what the first did.
    pub fn tick(&mut self, now: Now) -> Outcome {
        if self.loader.is_in_transaction() {
            let reason = Some("the controller that began it is gone".to_owned());
            return Outcome { records: vec![Record::AbortTransaction(reason)], reply: None };
        }
        let mut records = self.fence_one_stale_broker(now);
        if records.is_empty() {
            records = self.elect_after_change();
        }
        if records.is_empty() {
            records = self.balance_leaders(now);
        }
        Outcome { records, reply: None }
    }

    /// When to call [`Self::tick`] next.
    #[must_use]
    pub fn deadline(&self) -> Option<Monotonic> {
        if self.loader.is_in_transaction() || self.leaderless_due {
            return Some(Monotonic::ZERO);
        }
        self.next_session_end().into_iter().chain(self.next_balance).min()
    }

    /// Adds a record to the state. It was decided here, or by the controller before.
    ///
    /// Panics where the record does not fit: only this ledger's own records come here, and it checked them.
    pub fn replay(&mut self, offset: Offset, epoch: LeaderEpoch, record: &Record) {
        let touched = self.touched_partitions(record);
        for name in &touched {
            if let Some(partition) = self.loader.image().partition(*name) {
                self.index.remove(*name, partition);
            }
        }
        if let Err(error) = self.loader.replay(offset, epoch, record) {
            unreachable!("the controller decided a record that does not fit: {error}: {record:?}");
        }
        for name in touched {
            if let Some(partition) = self.loader.image().partition(name) {
                self.index.add(name, partition);
            }
        }
        if *record == Record::EndTransaction {
            // The records of a transaction take effect at its end.
            self.index = PartitionIndex::new(self.loader.image());
        }
        if let Record::Config(config) = record
            && config.name == configuration_control::UNCLEAN_LEADER_ELECTION
        {
            self.leaderless_due = self.index.leaderless().next().is_some();
        }
    }

    /// The partitions that `record` changes.
    fn touched_partitions(&self, record: &Record) -> Vec<TopicIdPartition> {
        let one = |topic_id: TopicId, partition| vec![TopicIdPartition { topic_id, partition }];
        match record {
            Record::Partition(record) => one(record.topic_id, record.partition),
            Record::PartitionChange(record) => one(record.topic_id, record.partition),
            Record::RemoveTopic(record) => {
                let topic = self.image().topic_by_id(record.topic_id);
                let partitions = topic.into_iter().flat_map(|topic| topic.partitions.keys());
                let topic_id = record.topic_id;
                partitions.map(|index| TopicIdPartition { topic_id, partition: *index }).collect()
            }
            Record::RegisterBroker(_)
            | Record::UnregisterBroker(_)
            | Record::Topic(_)
            | Record::Config(_)
            | Record::FenceBroker(_)
            | Record::UnfenceBroker(_)
            | Record::FeatureLevel(_)
            | Record::ProducerIds(_)
            | Record::BrokerRegistrationChange(_)
            | Record::NoOp
            | Record::BeginTransaction(_)
            | Record::EndTransaction
            | Record::AbortTransaction(_) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
