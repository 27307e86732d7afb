//! What the controller is asked, and what it answers.
//!
//! Typed twins of Kafka's requests, free of versions and sentinels: the serving side translates. Answers about one topic or
//! broker are data ([`ApiError`]); only what concerns the whole request is an `Err`.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::metadata::records::{Endpoint, FeatureRange, LeaderRecoveryState};
use crate::metadata::{ConfigResource, Record};
use crate::types::{
    BrokerEpoch, BrokerId, ErrorCode, LeaderEpoch, Offset, PartitionEpoch, PartitionIndex,
    ProducerId, TopicId, TopicIdPartition, Uuid,
};

/// A refusal: Kafka's code, and a sentence for the person behind the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error}: {}", message.as_deref().unwrap_or(""))]
pub struct ApiError {
    /// The code.
    pub error: ErrorCode,
    /// What is wrong, where the code alone does not say it.
    pub message: Option<String>,
}

impl ApiError {
    /// A refusal with a sentence.
    pub fn new(error: ErrorCode, message: impl Into<String>) -> Self {
        Self { error, message: Some(message.into()) }
    }
}

impl From<ErrorCode> for ApiError {
    fn from(error: ErrorCode) -> Self {
        Self { error, message: None }
    }
}

/// A broker asks to enter the cluster (`BrokerRegistration`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterBrokerRequest {
    /// The broker.
    pub broker: BrokerId,
    /// The cluster it was formatted for.
    pub cluster_id: String,
    /// Names the process: another one at each start.
    pub incarnation_id: Uuid,
    /// Where it serves.
    pub endpoints: Vec<Endpoint>,
    /// What it supports.
    pub features: Vec<FeatureRange>,
    /// Where it stands.
    pub rack: Option<String>,
    /// The ids of its working log directories.
    pub log_dirs: Vec<Uuid>,
    /// The epoch of its last incarnation if that one stopped cleanly; `None` after a crash or a wipe. Then it is taken out of
    /// the in-sync and eligible replicas before it returns (KIP-966).
    pub previous_broker_epoch: Option<BrokerEpoch>,
}

/// A broker says that it lives (`BrokerHeartbeat`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerHeartbeatRequest {
    /// The broker.
    pub broker: BrokerId,
    /// Its incarnation.
    pub broker_epoch: BrokerEpoch,
    /// The end of the metadata it has applied. Exclusive (Kafka sends the last offset itself).
    pub metadata_end_offset: Offset,
    /// Whether it wants to be, or stay, fenced.
    pub want_fence: bool,
    /// Whether it wants to leave.
    pub want_shutdown: bool,
    /// Log directories that failed since its registration: what it holds there is lost to it.
    pub offline_log_dirs: Vec<Uuid>,
}

/// What a broker is told about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokerHeartbeatResponse {
    /// Whether its metadata covers its own registration.
    pub is_caught_up: bool,
    /// Whether it may not lead.
    pub is_fenced: bool,
    /// Whether it may end now.
    pub should_shut_down: bool,
}

/// Who shall hold the partitions of a new topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewTopicPlacement {
    /// The controller chooses.
    Automatic {
        /// How many partitions; `None` takes `num.partitions`. Zero and negative numbers are answered as Kafka answers them.
        partitions: Option<i32>,
        /// How many replicas each; `None` takes `default.replication.factor`.
        replication_factor: Option<i16>,
    },
    /// The client chose.
    Manual(Vec<ManualAssignment>),
}

/// Who shall hold one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManualAssignment {
    /// The partition. May be anything: the client said so.
    pub partition: i32,
    /// The brokers, the preferred leader first.
    pub brokers: Vec<BrokerId>,
}

/// A topic to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name, not yet looked at.
    pub name: String,
    /// Who shall hold it.
    pub placement: NewTopicPlacement,
    /// Its configs; a `None` value is refused.
    pub configs: Vec<(String, Option<String>)>,
}

/// Topics to create (`CreateTopics`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateTopicsRequest {
    /// The topics. A name that stands twice is refused twice.
    pub topics: Vec<NewTopic>,
    /// Whether only to say what would happen.
    pub validate_only: bool,
}

/// A topic that was created, or would have been.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedTopic {
    /// Its identity. With `validate_only`, one that nobody will ever have.
    pub topic_id: TopicId,
    /// How many partitions.
    pub partitions: i32,
    /// How many replicas each.
    pub replication_factor: i16,
    /// What was set on it.
    pub configs: BTreeMap<String, String>,
}

/// The fate of one topic to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateTopicResult {
    /// Its name.
    pub name: String,
    /// Created, or refused.
    pub result: Result<CreatedTopic, ApiError>,
}

/// How a topic is named in a request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TopicSelector {
    /// By name.
    Name(String),
    /// By id.
    Id(TopicId),
}

/// The fate of one topic to delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteTopicResult {
    /// Its name; `None` where no topic has the id asked for.
    pub name: Option<Arc<str>>,
    /// Its id; `None` where no topic has the name asked for.
    pub topic_id: Option<TopicId>,
    /// Deleted, or refused.
    pub result: Result<(), ApiError>,
}

/// A topic that gets more partitions (`CreatePartitions`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPartitions {
    /// The topic.
    pub topic: String,
    /// How many it shall have in all. May be anything: the client said so.
    pub count: i32,
    /// Who shall hold each new one; `None` lets the controller choose.
    pub assignments: Option<Vec<Vec<BrokerId>>>,
}

/// Producer ids of which no broker has been given one (`AllocateProducerIds`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerIdBlock {
    /// The first.
    pub first: ProducerId,
    /// How many: `first..first + count`.
    pub count: u32,
}

/// What becomes of the configs of one topic or broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigChange {
    /// Whose.
    pub resource: ConfigResource,
    /// Kafka's keys, and what becomes of each. No key stands twice.
    pub changes: Vec<(String, ConfigOperation)>,
}

/// What becomes of one config (KIP-339).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigOperation {
    /// It has this value.
    Set(String),
    /// It goes back to the default.
    Delete,
    /// These entries, separated by commas, are added to the list that it is.
    Append(String),
    /// These entries, separated by commas, are taken from the list that it is.
    Subtract(String),
}

/// A leader proposes who is in sync (`AlterPartition`, KIP-497, KIP-903).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlterPartitionRequest {
    /// The leader.
    pub broker: BrokerId,
    /// Its incarnation.
    pub broker_epoch: BrokerEpoch,
    /// The partitions.
    pub partitions: Vec<IsrChange>,
}

/// What a leader proposes for one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsrChange {
    /// The partition.
    pub partition: TopicIdPartition,
    /// The term in which the broker leads.
    pub leader_epoch: LeaderEpoch,
    /// The version of the partition's state that the proposal is made on.
    pub partition_epoch: PartitionEpoch,
    /// Those who shall be in sync, each with the broker epoch under which the leader saw it catch up; `None` where the leader does
    /// not know it (version 2, or a follower that does not tell): then it is not compared.
    pub isr: Vec<(BrokerId, Option<BrokerEpoch>)>,
    /// Whether the leader has recovered from an unclean election.
    pub leader_recovery_state: LeaderRecoveryState,
}

/// A partition's state, as its leader is told after a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionState {
    /// Who leads.
    pub leader: Option<BrokerId>,
    /// The leader's term.
    pub leader_epoch: LeaderEpoch,
    /// Those in sync.
    pub isr: Vec<BrokerId>,
    /// Whether the leader has recovered.
    pub leader_recovery_state: LeaderRecoveryState,
    /// The version of all this.
    pub partition_epoch: PartitionEpoch,
}

/// The fate of one proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsrChangeResult {
    /// The partition.
    pub partition: TopicIdPartition,
    /// The state that the proposal led to, or why there is none. `NEW_LEADER_ELECTED` is a refusal and a change in one: the
    /// proposal completed a reassignment that takes the leadership away.
    pub result: Result<PartitionState, ErrorCode>,
}

/// A broker says in which log directories its replicas are (`AssignReplicasToDirs`, KIP-858).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssignReplicasToDirsRequest {
    /// The broker.
    pub broker: BrokerId,
    /// Its incarnation.
    pub broker_epoch: BrokerEpoch,
    /// The directory of each replica.
    pub replicas: Vec<(Uuid, TopicIdPartition)>,
}

/// A partition as clients name it in administrative requests. The number may be anything: the client said so.
pub type NamedPartition = (String, i32);

/// One result a resource.
pub type ConfigResults = Vec<(ConfigResource, Result<(), ApiError>)>;

/// One result a replica, in the order of the request.
pub type ReplicaResults = Vec<Result<(), ErrorCode>>;

/// One result a partition.
pub type PartitionResults = Vec<(NamedPartition, Result<(), ApiError>)>;

/// Whom to elect (KIP-460).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElectionType {
    /// The preferred leader: the first of the assignment.
    Preferred,
    /// Anyone who lives, where nobody leads.
    Unclean,
}

/// Leaders to elect (`ElectLeaders`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElectLeadersRequest {
    /// Whom.
    pub election: ElectionType,
    /// Where; `None` is everywhere, and the answer leaves out where it was not needed.
    pub partitions: Option<Vec<NamedPartition>>,
}

/// A change of who holds one partition (KIP-455).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reassignment {
    /// The partition.
    pub partition: NamedPartition,
    /// Who shall hold it, the preferred leader first; `None` takes back the reassignment under way.
    pub replicas: Option<Vec<BrokerId>>,
}

/// Partitions to reassign (`AlterPartitionReassignments`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlterReassignmentsRequest {
    /// The partitions.
    pub reassignments: Vec<Reassignment>,
    /// Whether a partition may have more or fewer replicas afterwards (KIP-860).
    pub may_change_replication_factor: bool,
}

/// A reassignment under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OngoingReassignment {
    /// The name of the topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: PartitionIndex,
    /// All who hold it now, those that go and those that come too.
    pub replicas: Vec<BrokerId>,
    /// Those that come.
    pub adding: Vec<BrokerId>,
    /// Those that go.
    pub removing: Vec<BrokerId>,
}

/// Which way a feature's level may go (KIP-584).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpgradeType {
    /// Only up.
    Upgrade,
    /// Down, as long as nothing is lost.
    SafeDowngrade,
    /// Down, whatever is lost.
    UnsafeDowngrade,
}

/// A feature that gets another level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureUpdate {
    /// Its name.
    pub feature: String,
    /// The level; 0 turns it off. May be anything: the client said so.
    pub level: i16,
    /// Which way it may go.
    pub upgrade_type: UpgradeType,
}

/// Anything a controller can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A broker enters.
    RegisterBroker(RegisterBrokerRequest),
    /// A broker lives.
    BrokerHeartbeat(BrokerHeartbeatRequest),
    /// A broker is taken out for good.
    UnregisterBroker(BrokerId),
    /// Topics are made.
    CreateTopics(CreateTopicsRequest),
    /// Topics are removed.
    DeleteTopics(Vec<TopicSelector>),
    /// Topics grow.
    CreatePartitions {
        /// The topics.
        topics: Vec<NewPartitions>,
        /// Whether only to say what would happen.
        validate_only: bool,
    },
    /// A broker needs producer ids.
    AllocateProducerIds {
        /// The broker.
        broker: BrokerId,
        /// Its incarnation.
        broker_epoch: BrokerEpoch,
    },
    /// Configs change, those that are named.
    AlterConfigs {
        /// What changes. A resource with one bad config changes in nothing.
        changes: Vec<ConfigChange>,
        /// Whether only to say what would happen.
        validate_only: bool,
    },
    /// Resources have exactly these configs from now on (`AlterConfigs`, the old form).
    ReplaceConfigs {
        /// All configs of each resource. A resource with one bad config changes in nothing.
        resources: Vec<(ConfigResource, BTreeMap<String, String>)>,
        /// Whether only to say what would happen.
        validate_only: bool,
    },
    /// A leader proposes who is in sync.
    AlterPartition(AlterPartitionRequest),
    /// A broker says where its replicas are.
    AssignReplicasToDirs(AssignReplicasToDirsRequest),
    /// Leaders are elected.
    ElectLeaders(ElectLeadersRequest),
    /// Partitions move.
    AlterReassignments(AlterReassignmentsRequest),
    /// Which partitions move; `None` asks for all.
    ListReassignments(Option<Vec<NamedPartition>>),
    /// Features get other levels, all or none.
    UpdateFeatures {
        /// The features.
        updates: Vec<FeatureUpdate>,
        /// Whether only to say what would happen.
        validate_only: bool,
    },
}

/// The answer to a [`Request`], variant by variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The broker's epoch.
    RegisterBroker(Result<BrokerEpoch, ApiError>),
    /// What the broker is told.
    BrokerHeartbeat(Result<BrokerHeartbeatResponse, ApiError>),
    /// Gone, or not.
    UnregisterBroker(Result<(), ApiError>),
    /// One result a topic, in the order of the request.
    CreateTopics(Vec<CreateTopicResult>),
    /// One result a topic, in the order of the request.
    DeleteTopics(Vec<DeleteTopicResult>),
    /// One result a topic, in the order of the request.
    CreatePartitions(Vec<(String, Result<(), ApiError>)>),
    /// The block.
    AllocateProducerIds(Result<ProducerIdBlock, ApiError>),
    /// One result a resource, in the order of the request. Answers `ReplaceConfigs` too.
    AlterConfigs(ConfigResults),
    /// One result a partition, in the order of the request.
    AlterPartition(Result<Vec<IsrChangeResult>, ApiError>),
    /// One result a replica, in the order of the request.
    AssignReplicasToDirs(Result<ReplicaResults, ApiError>),
    /// One result a partition, in the order of the request.
    ElectLeaders(Result<PartitionResults, ApiError>),
    /// One result a partition, in the order of the request.
    AlterReassignments(Result<PartitionResults, ApiError>),
    /// Those under way, by topic and partition.
    ListReassignments(Vec<OngoingReassignment>),
    /// All have their levels, or none has: then which one is at fault, and why.
    UpdateFeatures(Result<(), ApiError>),
}

/// The most records that one request of an administrator may lead to (Kafka: `QuorumController.MAX_RECORDS_PER_USER_OP`).
const RECORDS_PER_REQUEST_MAX: usize = 10_000;

/// Errors: `POLICY_VIOLATION`, where a request leads to too many records: then to none.
pub(super) fn excessive(records: &[Record]) -> Result<(), ApiError> {
    if records.len() <= RECORDS_PER_REQUEST_MAX {
        return Ok(());
    }
    let message = format!("one request may change {RECORDS_PER_REQUEST_MAX} things");
    Err(ApiError::new(ErrorCode::PolicyViolation, message))
}

/// The partition with this number; `None` where a client's number can be none.
pub(super) fn partition_number(number: i32) -> Option<PartitionIndex> {
    PartitionIndex::from_wire(number)
}

/// The partition index of a count that was checked.
pub(super) fn partition_index(index: usize) -> PartitionIndex {
    PartitionIndex::new(i32::try_from(index).expect("partition counts are limited"))
}
