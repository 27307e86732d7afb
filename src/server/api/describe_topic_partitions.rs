//! DescribeTopicPartitions: who holds which partition, page by page, with the eligible leader replicas (KIP-966), which
//! Metadata does not tell.

use std::collections::BTreeSet;

use super::metadata::is_valid_topic_name;
use super::{Call, is_internal, operations};
use crate::metadata::{MetadataImage, PartitionImage, TopicImage};
use crate::protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use crate::protocol::messages::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse};
use crate::types::{BrokerId, ErrorCode, PartitionIndex};

/// At most so many partitions in one answer (Kafka: `max.request.partition.size.limit`).
const PARTITIONS_MAX: i32 = 2_000;

/// Kafka: `DescribeTopicPartitionsRequestHandler`, `KRaftMetadataCache.describeTopicResponse`.
pub(super) async fn handle(
    call: &Call<'_>,
    request: DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    let image = call.broker.image();
    let is_all = request.topics.is_empty();
    let named = request.topics.iter().map(|topic| topic.name.clone());
    let cursor = request.cursor.as_ref();
    let is_bad_cursor = cursor.is_some_and(|cursor| {
        cursor.partition_index < 0
            || (!is_all && !request.topics.iter().any(|topic| topic.name == cursor.topic_name))
    });
    if is_bad_cursor {
        return refused(&request);
    }
    let mut names: BTreeSet<String> = if is_all {
        image.topics().map(|topic| topic.name.to_string()).collect()
    } else {
        named.collect()
    };
    if let Some(cursor) = cursor {
        names = names.split_off(&cursor.topic_name);
    }
    let mut left =
        request.response_partition_limit.clamp(1, PARTITIONS_MAX).unsigned_abs() as usize;
    let mut response = DescribeTopicPartitionsResponse::default();
    for name in names {
        if left == 0 {
            response.next_cursor = Some(Cursor { topic_name: name, partition_index: 0 });
            break;
        }
        let Some(topic) = image.topic(&name) else {
            response.topics.extend((!is_all).then(|| unknown(name)));
            continue;
        };
        let start = cursor.filter(|cursor| cursor.topic_name == name);
        let start = PartitionIndex::new(start.map_or(0, |cursor| cursor.partition_index));
        let page: Vec<DescribeTopicPartitionsResponsePartition> = topic
            .partitions
            .range(start..)
            .take(left)
            .map(|(index, one)| partition(call, &image, *index, one))
            .collect();
        left -= page.len();
        let next = topic.partitions.range(start..).nth(page.len()).map(|(index, _)| index.value());
        response.topics.push(described(topic, page));
        if let Some(partition_index) = next {
            response.next_cursor = Some(Cursor { topic_name: name, partition_index });
            break;
        }
    }
    response
}

/// The request has no place for an error of its own: each topic carries it (Kafka: `getErrorResponse`).
fn refused(request: &DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse {
    let topics = request.topics.iter().map(|topic| DescribeTopicPartitionsResponseTopic {
        error_code: ErrorCode::InvalidRequest,
        name: Some(topic.name.clone()),
        ..Default::default()
    });
    DescribeTopicPartitionsResponse { topics: topics.collect(), ..Default::default() }
}

fn unknown(name: String) -> DescribeTopicPartitionsResponseTopic {
    let error_code = if is_valid_topic_name(&name) {
        ErrorCode::UnknownTopicOrPartition
    } else {
        ErrorCode::InvalidTopicException
    };
    DescribeTopicPartitionsResponseTopic { error_code, name: Some(name), ..Default::default() }
}

fn described(
    topic: &TopicImage,
    partitions: Vec<DescribeTopicPartitionsResponsePartition>,
) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic {
        error_code: ErrorCode::None,
        name: Some(topic.name.to_string()),
        topic_id: topic.topic_id,
        is_internal: is_internal(&topic.name),
        partitions,
        topic_authorized_operations: operations::TOPIC,
    }
}

fn partition(
    call: &Call<'_>,
    image: &MetadataImage,
    partition_index: PartitionIndex,
    partition: &PartitionImage,
) -> DescribeTopicPartitionsResponsePartition {
    let serves = |broker: BrokerId| {
        let broker = image.broker(broker).filter(|broker| !broker.fenced);
        broker.is_some_and(|broker| broker.endpoint(call.source.listener).is_some())
    };
    DescribeTopicPartitionsResponsePartition {
        error_code: ErrorCode::None,
        partition_index,
        leader_id: partition.leader.filter(|leader| serves(*leader)),
        leader_epoch: Some(partition.leader_epoch),
        replica_nodes: partition.replicas.clone(),
        isr_nodes: partition.isr.clone(),
        eligible_leader_replicas: Some(partition.eligible_leader_replicas.clone()),
        last_known_elr: Some(partition.last_known_elr.clone()),
        offline_replicas: partition.replicas.iter().copied().filter(|one| !serves(*one)).collect(),
    }
}
