//! The admin client's calls.

use crate::client::error::ClientError;
use crate::runtime::Env;
use crate::types::{LeaderEpoch, TopicId, TopicPartition};

use super::{
    AdminConfig, ClusterDescription, ConfigEntry, EpochEnd, ListedOffset, NewTopic, OffsetSpec,
    TopicDescription, VersionRange,
};

/// Asks a cluster about itself and changes it. Calls may run side by side.
#[derive(Clone, Debug)]
pub struct Admin {
    env: Env,
}

impl Admin {
    /// An admin client; connects with its first call.
    #[must_use]
    pub fn new(config: AdminConfig, env: Env) -> Self {
        let _ = config;
        Self { env }
    }

    /// Makes topics. The answers come in the order of the questions.
    ///
    /// Errors: outer, the request as a whole; inner, the topic (TOPIC_ALREADY_EXISTS, INVALID_REPLICATION_FACTOR, …).
    pub async fn create_topics(
        &self,
        topics: &[NewTopic],
    ) -> Result<Vec<Result<TopicId, ClientError>>, ClientError> {
        let _ = (topics, &self.env);
        Err(ClientError::Closed)
    }

    /// Removes topics by name. The answers come in the order of the questions.
    ///
    /// Errors: outer, the request as a whole; inner, the topic.
    pub async fn delete_topics(
        &self,
        topics: &[&str],
    ) -> Result<Vec<Result<(), ClientError>>, ClientError> {
        let _ = topics;
        Err(ClientError::Closed)
    }

    /// The names of all topics, sorted, internal ones included.
    pub async fn list_topics(&self) -> Result<Vec<String>, ClientError> {
        Err(ClientError::Closed)
    }

    /// Describes topics, without making any. The answers come in the order of the questions.
    ///
    /// Errors: outer, the request as a whole; inner, the topic.
    pub async fn describe_topics(
        &self,
        topics: &[&str],
    ) -> Result<Vec<Result<TopicDescription, ClientError>>, ClientError> {
        let _ = topics;
        Err(ClientError::Closed)
    }

    /// The configuration of a topic.
    pub async fn describe_topic_configs(
        &self,
        topic: &str,
    ) -> Result<Vec<ConfigEntry>, ClientError> {
        let _ = topic;
        Err(ClientError::Closed)
    }

    /// The cluster's brokers and controller.
    pub async fn describe_cluster(&self) -> Result<ClusterDescription, ClientError> {
        Err(ClientError::Closed)
    }

    /// Offsets of partitions, asked of their leaders, in the order of the questions.
    ///
    /// Errors: outer, the request as a whole; inner, the partition.
    pub async fn list_offsets(
        &self,
        questions: &[(TopicPartition, OffsetSpec)],
    ) -> Result<Vec<Result<ListedOffset, ClientError>>, ClientError> {
        let _ = questions;
        Err(ClientError::Closed)
    }

    /// Where a leader epoch ends (KIP-101), asked of the partition's leader.
    pub async fn offset_for_leader_epoch(
        &self,
        partition: &TopicPartition,
        leader_epoch: LeaderEpoch,
    ) -> Result<EpochEnd, ClientError> {
        let _ = (partition, leader_epoch);
        Err(ClientError::Closed)
    }

    /// What the broker that answers first serves, sorted by API number.
    pub async fn api_versions(&self) -> Result<Vec<VersionRange>, ClientError> {
        Err(ClientError::Closed)
    }
}
