//! Metadata: who leads what, and at which address. May create topics that are asked for.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Call, is_internal, operations};
use crate::metadata::{MetadataImage, PartitionImage, TopicImage};
use crate::protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use crate::protocol::messages::{MetadataRequest, MetadataResponse};
use crate::types::{BrokerId, ErrorCode, PartitionIndex, TopicId, Uuid};

pub(super) async fn handle(call: &Call<'_>, request: MetadataRequest) -> MetadataResponse {
    let image = call.broker.image();
    let version = call.version();
    let topics = match asked(version, &request) {
        Ok(Asked::All) => image.topics().map(|topic| existing(call, &image, topic)).collect(),
        Ok(Asked::Names(names)) => by_name(call, &image, names, request.allow_auto_topic_creation),
        Ok(Asked::Ids(ids)) => by_id(call, &image, ids),
        Err(error) => refused(&request, error),
    };
    let include_operations = request.include_topic_authorized_operations;
    let topics = topics.into_iter().map(|mut topic: MetadataResponseTopic| {
        if include_operations && topic.error_code.is_none() {
            topic.topic_authorized_operations = operations::TOPIC;
        }
        topic
    });
    MetadataResponse {
        brokers: alive_brokers(call, &image),
        cluster_id: Some(call.broker.cluster_id.clone()),
        controller_id: call.broker.controller_id(&image),
        topics: topics.collect(),
        cluster_authorized_operations: if request.include_cluster_authorized_operations {
            operations::CLUSTER
        } else {
            operations::NOT_ASKED
        },
        ..Default::default()
    }
}

enum Asked {
    All,
    Names(BTreeSet<String>),
    Ids(BTreeSet<TopicId>),
}

/// Kafka: `MetadataRequest.isAllTopics`: null, or in version 0 an empty list, which had no null.
fn asked(version: i16, request: &MetadataRequest) -> Result<Asked, ErrorCode> {
    let Some(topics) = &request.topics else { return Ok(Asked::All) };
    if topics.is_empty() && version == 0 {
        return Ok(Asked::All);
    }
    if version < 12 && topics.iter().any(|one| one.name.is_none() || one.topic_id != Uuid::ZERO) {
        return Err(ErrorCode::InvalidRequest);
    }
    let ids: BTreeSet<TopicId> =
        topics.iter().map(|one| one.topic_id).filter(|id| *id != Uuid::ZERO).collect();
    if ids.is_empty() {
        Ok(Asked::Names(topics.iter().filter_map(|one| one.name.clone()).collect()))
    } else {
        Ok(Asked::Ids(ids))
    }
}

fn refused(request: &MetadataRequest, error_code: ErrorCode) -> Vec<MetadataResponseTopic> {
    let topics = request.topics.iter().flatten();
    let refused = topics.map(|one| MetadataResponseTopic {
        error_code,
        name: Some(one.name.clone().unwrap_or_default()),
        topic_id: one.topic_id,
        ..Default::default()
    });
    refused.collect()
}

fn by_id(
    call: &Call<'_>,
    image: &MetadataImage,
    ids: BTreeSet<TopicId>,
) -> Vec<MetadataResponseTopic> {
    let answer = |topic_id| match image.topic_by_id(topic_id) {
        Some(topic) => existing(call, image, topic),
        None => MetadataResponseTopic {
            error_code: ErrorCode::UnknownTopicId,
            topic_id,
            name: None,
            ..Default::default()
        },
    };
    ids.into_iter().map(answer).collect()
}

fn by_name(
    call: &Call<'_>,
    image: &MetadataImage,
    names: BTreeSet<String>,
    may_create: bool,
) -> Vec<MetadataResponseTopic> {
    let may_create = may_create && call.broker.config.auto_create_topics;
    let mut topics = Vec::with_capacity(names.len());
    let mut missing = Vec::new();
    for name in names {
        if let Some(topic) = image.topic(&name) {
            topics.push(existing(call, image, topic));
            continue;
        }
        let error_code = if is_valid_topic_name(&name) {
            missing.push(name.clone());
            ErrorCode::UnknownTopicOrPartition
        } else {
            ErrorCode::InvalidTopicException
        };
        topics.push(MetadataResponseTopic { error_code, name: Some(name), ..Default::default() });
    }
    // As in Kafka, nobody waits for the topic: the client asks again.
    if may_create && !missing.is_empty() {
        call.broker.auto_create_topics(missing);
    }
    topics
}

/// Kafka: `Topic.isValid`.
pub(super) fn is_valid_topic_name(name: &str) -> bool {
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !name.is_empty()
        && name.len() <= 249
        && name != "."
        && name != ".."
        && name.bytes().all(is_known)
}

fn existing(
    call: &Call<'_>,
    image: &MetadataImage,
    topic: &Arc<TopicImage>,
) -> MetadataResponseTopic {
    let partitions = topic.partitions.iter();
    MetadataResponseTopic {
        error_code: ErrorCode::None,
        name: Some(topic.name.to_string()),
        topic_id: topic.topic_id,
        is_internal: is_internal(&topic.name),
        partitions: partitions.map(|(index, one)| partition(call, image, *index, one)).collect(),
        ..Default::default()
    }
}

/// Kafka: `KRaftMetadataCache.getPartitionMetadata`.
fn partition(
    call: &Call<'_>,
    image: &MetadataImage,
    partition_index: PartitionIndex,
    partition: &PartitionImage,
) -> MetadataResponsePartition {
    let version = call.version();
    let serves = |broker: BrokerId| {
        let broker = image.broker(broker).filter(|broker| !broker.fenced);
        broker.is_some_and(|broker| broker.endpoint(call.source.listener).is_some())
    };
    let leader = partition.leader.filter(|leader| serves(*leader));
    let error_code = match (partition.leader, leader) {
        (_, Some(_)) => ErrorCode::None,
        (Some(leader), None) if image.is_active(leader) && version >= 6 => {
            ErrorCode::ListenerNotFound
        }
        (Some(_) | None, None) => ErrorCode::LeaderNotAvailable,
    };
    // Version 0 has no list of offline replicas: those that do not serve are left out, which is an error there.
    let keep = |brokers: &[BrokerId]| -> Vec<BrokerId> {
        brokers.iter().copied().filter(|broker| version > 0 || serves(*broker)).collect()
    };
    let (replica_nodes, isr_nodes) = (keep(&partition.replicas), keep(&partition.isr));
    let is_any_left_out =
        replica_nodes.len() < partition.replicas.len() || isr_nodes.len() < partition.isr.len();
    let error_code = if error_code.is_none() && is_any_left_out {
        ErrorCode::ReplicaNotAvailable
    } else {
        error_code
    };
    MetadataResponsePartition {
        error_code,
        partition_index,
        leader_id: leader,
        leader_epoch: Some(partition.leader_epoch),
        replica_nodes,
        isr_nodes,
        offline_replicas: offline_replicas(image, partition, serves),
    }
}

/// The replicas whose broker does not serve, or whose directory failed (KIP-112, KIP-858).
///
/// Kafka: `KRaftMetadataCache.getOfflineReplicas`.
fn offline_replicas(
    image: &MetadataImage,
    partition: &PartitionImage,
    serves: impl Fn(BrokerId) -> bool,
) -> Vec<BrokerId> {
    let has_disk = |broker: BrokerId| match (image.broker(broker), partition.directory(broker)) {
        (Some(registered), Some(directory)) if !directory.is_reserved_directory() => {
            registered.log_dirs.contains(&directory)
        }
        (Some(_) | None, Some(_) | None) => true,
    };
    let replicas = partition.replicas.iter().copied();
    replicas.filter(|broker| !serves(*broker) || !has_disk(*broker)).collect()
}

fn alive_brokers(call: &Call<'_>, image: &MetadataImage) -> Vec<MetadataResponseBroker> {
    let alive = image.brokers().filter(|broker| !broker.fenced);
    alive
        .filter_map(|broker| {
            let endpoint = broker.endpoint(call.source.listener)?;
            Some(MetadataResponseBroker {
                node_id: broker.broker,
                host: endpoint.host.clone(),
                port: endpoint.port.into(),
                rack: broker.rack.clone(),
            })
        })
        .collect()
}
