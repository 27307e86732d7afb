//! CreateTopics: new topics, placed by the client or by the controller.

use std::collections::{BTreeMap, BTreeSet};

use super::{Call, span};
use crate::controller::ApiError;
use crate::controller::request::{
    self, CreatedTopic, ManualAssignment, NewTopic, NewTopicPlacement,
};
use crate::log::config::describe;
use crate::protocol::messages::create_topics_request::CreatableTopic;
use crate::protocol::messages::create_topics_response::{
    CreatableTopicConfigs, CreatableTopicResult,
};
use crate::protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};
use crate::types::ErrorCode;

/// Kafka's name of the metadata log: no topic of clients.
const METADATA_TOPIC: &str = "__cluster_metadata";

pub(super) async fn handle(call: &Call<'_>, request: CreateTopicsRequest) -> CreateTopicsResponse {
    let (accepted, mut topics) = sort_out(request.topics);
    if !accepted.is_empty() {
        let names: Vec<String> = accepted.iter().map(|topic| topic.name.clone()).collect();
        let span = span(request.timeout_ms);
        let asked = request::CreateTopicsRequest {
            topics: accepted.into_iter().map(new_topic).collect(),
            validate_only: request.validate_only,
        };
        let created = call.controller.handle.create_topics(asked);
        match call.controller.within(span, created).await {
            Ok(results) => topics.extend(results.into_iter().map(|one| match one.result {
                Ok(created) => created_topic(call, one.name, &created),
                Err(error) => refused(one.name, error),
            })),
            Err(error) => {
                topics.extend(names.into_iter().map(|name| refused(name, error.clone())));
            }
        }
    }
    CreateTopicsResponse { topics, ..Default::default() }
}

/// Those for the controller, and the answers for the others: names that stand twice, and the metadata log's.
///
/// Kafka: `ControllerApis.createTopics`.
fn sort_out(topics: Vec<CreatableTopic>) -> (Vec<CreatableTopic>, Vec<CreatableTopicResult>) {
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    for topic in &topics {
        *count.entry(topic.name.clone()).or_default() += 1;
    }
    let twice: BTreeSet<&String> =
        count.iter().filter(|(_, count)| **count > 1).map(|(name, _)| name).collect();
    let mut answers: Vec<CreatableTopicResult> = twice
        .iter()
        .map(|name| {
            let error = ApiError::new(ErrorCode::InvalidRequest, "Duplicate topic name.");
            refused((*name).clone(), error)
        })
        .collect();
    let mut accepted = Vec::with_capacity(topics.len());
    for topic in topics {
        if twice.contains(&topic.name) {
            continue;
        }
        match contradiction(&topic) {
            Some(message) => {
                let error = ApiError::new(ErrorCode::InvalidRequest, message);
                answers.push(refused(topic.name, error));
            }
            None => accepted.push(topic),
        }
    }
    (accepted, answers)
}

/// Kafka: `ControllerApis.createTopics`, `ReplicationControlManager.createTopic`.
fn contradiction(topic: &CreatableTopic) -> Option<String> {
    if topic.name == METADATA_TOPIC {
        return Some(format!("Creation of internal topic {METADATA_TOPIC} is prohibited."));
    }
    if topic.assignments.is_empty() {
        return None;
    }
    let manual = "A manual partition assignment was specified, but";
    if topic.replication_factor != -1 {
        return Some(format!("{manual} replication factor was not set to -1."));
    }
    (topic.num_partitions != -1).then(|| format!("{manual} numPartitions was not set to -1."))
}

fn new_topic(topic: CreatableTopic) -> NewTopic {
    let placement = if topic.assignments.is_empty() {
        NewTopicPlacement::Automatic {
            partitions: (topic.num_partitions != -1).then_some(topic.num_partitions),
            replication_factor: (topic.replication_factor != -1)
                .then_some(topic.replication_factor),
        }
    } else {
        let manual = topic.assignments.into_iter().map(|one| ManualAssignment {
            partition: one.partition_index.value(),
            brokers: one.broker_ids,
        });
        NewTopicPlacement::Manual(manual.collect())
    };
    let configs = topic.configs.into_iter().map(|one| (one.name, one.value)).collect();
    NewTopic { name: topic.name, placement, configs }
}

fn refused(name: String, error: ApiError) -> CreatableTopicResult {
    CreatableTopicResult {
        name,
        error_code: error.error,
        error_message: error.message,
        ..Default::default()
    }
}

fn created_topic(call: &Call<'_>, name: String, created: &CreatedTopic) -> CreatableTopicResult {
    let entries = describe(&call.controller.config.broker_configs(), &created.configs);
    let configs = entries.into_iter().map(|entry| CreatableTopicConfigs {
        name: entry.key.name.to_owned(),
        value: Some(entry.value),
        read_only: false,
        config_source: entry.source.id(),
        is_sensitive: false,
    });
    CreatableTopicResult {
        name,
        topic_id: created.topic_id,
        num_partitions: created.partitions,
        replication_factor: created.replication_factor,
        configs: Some(configs.collect()),
        ..Default::default()
    }
}
