//! Topics and configurations: made, grown, described, changed, removed.

use std::collections::{BTreeMap, BTreeSet};

use super::{Admin, Attempt, lacks, succeeded};
use crate::client::admin::{
    ConfigChange, ConfigEntry, ConfigResource, NewPartitions, NewTopic, PartitionDescription,
    TopicDescription,
};
use crate::client::error::ClientError;
use crate::protocol::VersionRange;
use crate::protocol::messages::create_partitions_request::{
    CreatePartitionsAssignment, CreatePartitionsTopic,
};
use crate::protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use crate::protocol::messages::delete_topics_request::DeleteTopicState;
use crate::protocol::messages::describe_configs_request::DescribeConfigsResource;
use crate::protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use crate::protocol::messages::describe_topic_partitions_request::{self, TopicRequest};
use crate::protocol::messages::describe_topic_partitions_response::{
    DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use crate::protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use crate::protocol::messages::metadata_response::MetadataResponseTopic;
use crate::protocol::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, DescribeConfigsRequest,
    DescribeTopicPartitionsRequest, IncrementalAlterConfigsRequest, Message,
};
use crate::types::{BrokerId, ErrorCode, PartitionIndex, TopicId, Uuid};

impl Admin {
    /// Makes topics. The answers come in the order of the questions.
    ///
    /// A request that was cut off is sent again, so a topic that it made may be answered TOPIC_ALREADY_EXISTS, as in Kafka.
    ///
    /// Errors: outer, the request as a whole; inner, the topic (TOPIC_ALREADY_EXISTS, INVALID_REPLICATION_FACTOR, …).
    pub async fn create_topics(
        &self,
        topics: &[NewTopic],
    ) -> Result<Vec<Result<TopicId, ClientError>>, ClientError> {
        let request = CreateTopicsRequest {
            topics: topics.iter().map(creatable).collect(),
            timeout_ms: self.timeout_ms(),
            validate_only: false,
        };
        let response = self
            .ask(request, |response| {
                let moved = any_moved(response.topics.iter().map(|topic| topic.error_code));
                Attempt::unless_controller_moved(moved, response)
            })
            .await?;
        let answer = |wanted: &NewTopic| {
            let answer = response.topics.iter().find(|topic| topic.name == wanted.name);
            let answer = answer.ok_or_else(|| lacks(&wanted.name))?;
            succeeded(answer.error_code, answer.error_message.clone())?;
            Ok(answer.topic_id)
        };
        Ok(topics.iter().map(answer).collect())
    }

    /// Removes topics by name. The answers come in the order of the questions.
    ///
    /// Errors: outer, the request as a whole; inner, the topic.
    pub async fn delete_topics(
        &self,
        topics: &[&str],
    ) -> Result<Vec<Result<(), ClientError>>, ClientError> {
        let state =
            |name: &&str| DeleteTopicState { name: Some((*name).to_owned()), topic_id: Uuid::ZERO };
        let request = DeleteTopicsRequest {
            topics: topics.iter().map(state).collect(),
            topic_names: Vec::new(),
            timeout_ms: self.timeout_ms(),
        };
        // Versions before 6 have another list; every broker since Kafka 2.8 knows this one.
        let versions = VersionRange::new(6, DeleteTopicsRequest::VERSIONS.max);
        let response = self
            .ask_in_versions(request, versions, |response| {
                let moved = any_moved(response.responses.iter().map(|topic| topic.error_code));
                Attempt::unless_controller_moved(moved, response)
            })
            .await?;
        let answer = |wanted: &&str| {
            let answer = response.responses.iter().find(|t| t.name.as_deref() == Some(*wanted));
            let answer = answer.ok_or_else(|| lacks(wanted))?;
            succeeded(answer.error_code, answer.error_message.clone())
        };
        Ok(topics.iter().map(answer).collect())
    }

    /// The names of all topics, sorted, internal ones included.
    pub async fn list_topics(&self) -> Result<Vec<String>, ClientError> {
        let response = self.metadata(None).await?;
        let mut names: Vec<String> =
            response.topics.into_iter().filter_map(|topic| topic.name).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Gives topics more partitions. The answers come in the order of the questions.
    ///
    /// Errors: outer, the request as a whole; inner, the topic (INVALID_PARTITIONS where it has that many already, …).
    pub async fn create_partitions(
        &self,
        topics: &[NewPartitions],
    ) -> Result<Vec<Result<(), ClientError>>, ClientError> {
        let assignment =
            |replicas: &Vec<BrokerId>| CreatePartitionsAssignment { broker_ids: replicas.clone() };
        let topic = |topic: &NewPartitions| CreatePartitionsTopic {
            name: topic.topic.clone(),
            count: i32::try_from(topic.total).unwrap_or(i32::MAX),
            assignments: topic.assignments.as_ref().map(|all| all.iter().map(assignment).collect()),
        };
        let request = CreatePartitionsRequest {
            topics: topics.iter().map(topic).collect(),
            timeout_ms: self.timeout_ms(),
            validate_only: false,
        };
        let response = self
            .ask(request, |response| {
                let moved = any_moved(response.results.iter().map(|topic| topic.error_code));
                Attempt::unless_controller_moved(moved, response)
            })
            .await?;
        let answer = |wanted: &NewPartitions| {
            let answer = response.results.iter().find(|topic| topic.name == wanted.topic);
            let answer = answer.ok_or_else(|| lacks(&wanted.topic))?;
            succeeded(answer.error_code, answer.error_message.clone())
        };
        Ok(topics.iter().map(answer).collect())
    }

    /// Describes topics, without making any. The answers come in the order of the questions. Brokers without
    /// DescribeTopicPartitions are asked by Metadata, which does not tell the eligible leader replicas.
    ///
    /// Errors: outer, the request as a whole; inner, the topic.
    pub async fn describe_topics(
        &self,
        topics: &[&str],
    ) -> Result<Vec<Result<TopicDescription, ClientError>>, ClientError> {
        match self.describe_by_pages(topics).await {
            Err(ClientError::UnsupportedVersion { .. }) => {}
            answered => return answered,
        }
        let response = self.metadata(Some(topics)).await?;
        let answer = |wanted: &&str| {
            let answer = response.topics.iter().find(|t| t.name.as_deref() == Some(*wanted));
            let answer = answer.ok_or_else(|| lacks(wanted))?;
            succeeded(answer.error_code, None)?;
            Ok(describe(wanted, answer))
        };
        Ok(topics.iter().map(answer).collect())
    }

    /// A broker tells of so many partitions in one answer, and where to go on.
    async fn describe_by_pages(
        &self,
        topics: &[&str],
    ) -> Result<Vec<Result<TopicDescription, ClientError>>, ClientError> {
        if topics.is_empty() {
            // To the broker an empty list means all topics.
            return Ok(Vec::new());
        }
        let mut names: BTreeSet<&str> = topics.iter().copied().collect();
        let mut found: BTreeMap<String, Result<TopicDescription, ClientError>> = BTreeMap::new();
        let mut cursor: Option<(String, i32)> = None;
        loop {
            let request = DescribeTopicPartitionsRequest {
                topics: names
                    .iter()
                    .map(|name| TopicRequest { name: (*name).to_owned() })
                    .collect(),
                cursor: cursor.clone().map(|(topic_name, partition_index)| {
                    describe_topic_partitions_request::Cursor { topic_name, partition_index }
                }),
                ..DescribeTopicPartitionsRequest::default()
            };
            let response = self.ask(request, Attempt::Done).await?;
            for topic in response.topics {
                let Some(name) = topic.name.clone() else { continue };
                match succeeded(topic.error_code, None) {
                    Err(error) => _ = found.insert(name, Err(error)),
                    Ok(()) => add_page(&mut found, name, topic),
                }
            }
            let next = response.next_cursor.map(|next| (next.topic_name, next.partition_index));
            // A cursor that does not move would never end.
            if next.is_none() || next <= cursor {
                break;
            }
            cursor = next;
            names.retain(|name| cursor.as_ref().is_some_and(|(topic, _)| *name >= topic.as_str()));
        }
        let answer =
            |wanted: &&str| found.get(*wanted).cloned().unwrap_or_else(|| Err(lacks(wanted)));
        Ok(topics.iter().map(answer).collect())
    }

    /// The configuration of a topic, sorted by name.
    pub async fn describe_topic_configs(
        &self,
        topic: &str,
    ) -> Result<Vec<ConfigEntry>, ClientError> {
        self.describe_configs(&ConfigResource::Topic(topic.to_owned())).await
    }

    /// The configuration of a topic or a broker, sorted by name.
    pub async fn describe_configs(
        &self,
        resource: &ConfigResource,
    ) -> Result<Vec<ConfigEntry>, ClientError> {
        let (resource_type, resource_name) = resource.on_the_wire();
        let request = DescribeConfigsRequest {
            resources: vec![DescribeConfigsResource {
                resource_type,
                resource_name: resource_name.clone(),
                configuration_keys: None,
            }],
            ..DescribeConfigsRequest::default()
        };
        let mut response = self.ask(request, Attempt::Done).await?;
        let result = response.results.pop().ok_or_else(|| lacks(&resource_name))?;
        succeeded(result.error_code, result.error_message)?;
        let entry = |config: DescribeConfigsResourceResult| ConfigEntry {
            name: config.name,
            value: config.value,
            source: config.config_source,
            read_only: config.read_only,
            is_sensitive: config.is_sensitive,
        };
        let mut entries: Vec<ConfigEntry> = result.configs.into_iter().map(entry).collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Changes single values of a topic's or a broker's configuration; all of them or none (KIP-339).
    ///
    /// Errors: [`ClientError::Answer`] with INVALID_CONFIG, UNKNOWN_TOPIC_OR_PARTITION, …
    pub async fn incremental_alter_configs(
        &self,
        resource: &ConfigResource,
        changes: &[ConfigChange],
    ) -> Result<(), ClientError> {
        let (resource_type, resource_name) = resource.on_the_wire();
        let config = |change: &ConfigChange| {
            let (config_operation, value) = change.operation.on_the_wire();
            AlterableConfig { name: change.name.clone(), config_operation, value }
        };
        let request = IncrementalAlterConfigsRequest {
            resources: vec![AlterConfigsResource {
                resource_type,
                resource_name: resource_name.clone(),
                configs: changes.iter().map(config).collect(),
            }],
            validate_only: false,
        };
        let mut response = self
            .ask(request, |response| {
                let moved = any_moved(response.responses.iter().map(|one| one.error_code));
                Attempt::unless_controller_moved(moved, response)
            })
            .await?;
        let result = response.responses.pop().ok_or_else(|| lacks(&resource_name))?;
        succeeded(result.error_code, result.error_message)
    }
}

/// NOT_CONTROLLER where one of them says so.
fn any_moved(mut errors: impl Iterator<Item = ErrorCode>) -> ErrorCode {
    errors.find(|error| *error == ErrorCode::NotController).unwrap_or(ErrorCode::None)
}

/// Adds what an answer tells of a topic to what earlier ones told.
fn add_page(
    found: &mut BTreeMap<String, Result<TopicDescription, ClientError>>,
    name: String,
    topic: DescribeTopicPartitionsResponseTopic,
) {
    let partition = |partition: DescribeTopicPartitionsResponsePartition| PartitionDescription {
        partition: partition.partition_index,
        leader: partition.leader_id,
        leader_epoch: partition.leader_epoch,
        replicas: partition.replica_nodes,
        in_sync_replicas: partition.isr_nodes,
        offline_replicas: partition.offline_replicas,
        eligible_leader_replicas: partition.eligible_leader_replicas,
        last_known_leader_replicas: partition.last_known_elr,
    };
    let page = topic.partitions.into_iter().map(partition);
    if let Some(Ok(known)) = found.get_mut(&name) {
        known.partitions.extend(page);
        return;
    }
    let description = TopicDescription {
        name: name.clone(),
        topic_id: Some(topic.topic_id).filter(|id| *id != Uuid::ZERO),
        is_internal: topic.is_internal,
        partitions: page.collect(),
    };
    found.insert(name, Ok(description));
}

fn creatable(topic: &NewTopic) -> CreatableTopic {
    // −1 is Kafka's word for the broker's default.
    let partitions = topic.partitions.map(|count| i32::try_from(count).unwrap_or(i32::MAX));
    let replicas = topic.replication_factor.map(|count| i16::try_from(count).unwrap_or(i16::MAX));
    let config = |(name, value): (&String, &String)| CreatableTopicConfig {
        name: name.clone(),
        value: Some(value.clone()),
    };
    let assignment = |(index, replicas): (i32, &Vec<BrokerId>)| CreatableReplicaAssignment {
        partition_index: PartitionIndex::new(index),
        broker_ids: replicas.clone(),
    };
    CreatableTopic {
        name: topic.name.clone(),
        num_partitions: partitions.unwrap_or(-1),
        replication_factor: replicas.unwrap_or(-1),
        assignments: (0..).zip(&topic.assignments).map(assignment).collect(),
        configs: topic.configs.iter().map(config).collect(),
    }
}

fn describe(name: &str, topic: &MetadataResponseTopic) -> TopicDescription {
    let mut partitions: Vec<PartitionDescription> = topic
        .partitions
        .iter()
        .map(|partition| PartitionDescription {
            partition: partition.partition_index,
            leader: partition.leader_id,
            leader_epoch: partition.leader_epoch,
            replicas: partition.replica_nodes.clone(),
            in_sync_replicas: partition.isr_nodes.clone(),
            offline_replicas: partition.offline_replicas.clone(),
            eligible_leader_replicas: None,
            last_known_leader_replicas: None,
        })
        .collect();
    partitions.sort_by_key(|partition| partition.partition);
    TopicDescription {
        name: name.to_owned(),
        topic_id: Some(topic.topic_id).filter(|id| *id != Uuid::ZERO),
        is_internal: topic.is_internal,
        partitions,
    }
}
