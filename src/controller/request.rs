//! What the controller is asked, and what it answers.
//!
//! Typed twins of Kafka's requests, free of versions and sentinels: the serving side translates. Answers about one topic or
//! broker are data ([`ApiError`]); only what concerns the whole request is an `Err`.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::metadata::ConfigResource;
use crate::metadata::records::{Endpoint, FeatureRange};
use crate::types::{
    BrokerEpoch, BrokerId, ErrorCode, Offset, PartitionIndex, ProducerId, TopicId, Uuid,
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

/// What becomes of one config (KIP-339). Lists (append, subtract) are not known here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigChange {
    /// Whose.
    pub resource: ConfigResource,
    /// Kafka's key and the value; `None` goes back to the default.
    pub changes: Vec<(String, Option<String>)>,
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
    /// Configs change.
    AlterConfigs {
        /// What changes. A resource with one bad config changes in nothing.
        changes: Vec<ConfigChange>,
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
    /// One result a resource, in the order of the request.
    AlterConfigs(Vec<(ConfigResource, Result<(), ApiError>)>),
}

/// The partition index of a count that was checked.
pub(super) fn partition_index(index: usize) -> PartitionIndex {
    PartitionIndex::new(i32::try_from(index).expect("partition counts are limited"))
}
