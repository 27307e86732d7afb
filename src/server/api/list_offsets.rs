//! ListOffsets: where a log starts, ends, or was at a time.

use std::collections::BTreeMap;

use super::Call;
use crate::protocol::messages::list_offsets_request::ListOffsetsPartition;
use crate::protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use crate::protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};
use crate::protocol::{IsolationLevel, OffsetSpec};
use crate::server::replica_manager::TimestampedOffset;
use crate::types::{ErrorCode, LeaderEpoch, Offset, PartitionIndex, Timestamp, TopicIdPartition};

pub(super) async fn handle(call: &Call<'_>, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let mut count: BTreeMap<(String, PartitionIndex), usize> = BTreeMap::new();
    for topic in &request.topics {
        for one in &topic.partitions {
            *count.entry((topic.name.clone(), one.partition_index)).or_default() += 1;
        }
    }
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for one in topic.partitions {
            let is_twice = count[&(topic.name.clone(), one.partition_index)] > 1;
            let found = if is_twice {
                Err(ErrorCode::InvalidRequest)
            } else {
                find(call, &topic.name, &one, request.isolation_level).await
            };
            partitions.push(response(one.partition_index, found));
        }
        topics.push(ListOffsetsTopicResponse { name: topic.name, partitions });
    }
    ListOffsetsResponse { topics, ..Default::default() }
}

/// A place in a log. All `None`: there is none such.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Found {
    offset: Option<Offset>,
    timestamp: Option<Timestamp>,
    leader_epoch: Option<LeaderEpoch>,
}

fn response(
    partition_index: PartitionIndex,
    found: Result<Found, ErrorCode>,
) -> ListOffsetsPartitionResponse {
    match found {
        Ok(Found { offset, timestamp, leader_epoch }) => ListOffsetsPartitionResponse {
            partition_index,
            error_code: ErrorCode::None,
            timestamp,
            offset,
            leader_epoch,
        },
        Err(error_code) => {
            ListOffsetsPartitionResponse { partition_index, error_code, ..Default::default() }
        }
    }
}

/// Kafka: `Partition.fetchOffsetForTimestamp`, `ReplicaManager.isListOffsetsTimestampUnsupported`.
async fn find(
    call: &Call<'_>,
    topic: &str,
    asked: &ListOffsetsPartition,
    isolation: IsolationLevel,
) -> Result<Found, ErrorCode> {
    if call.version() < version_of(asked.timestamp) {
        return Err(ErrorCode::UnsupportedVersion);
    }
    let image = call.broker.image();
    let topic = image.topic(topic).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let id = TopicIdPartition { topic_id: topic.topic_id, partition: asked.partition_index };
    let leader = call.broker.replicas.leader(id, asked.current_leader_epoch)?;
    let fetchable_end_offset = match isolation {
        IsolationLevel::ReadUncommitted => leader.high_watermark(),
        IsolationLevel::ReadCommitted => leader.last_stable_offset(),
    };
    match asked.timestamp {
        OffsetSpec::Latest => Ok(Found {
            offset: Some(fetchable_end_offset),
            timestamp: None,
            leader_epoch: leader.leader_epoch(),
        }),
        OffsetSpec::Earliest | OffsetSpec::EarliestLocal => {
            let offset = leader.log_start_offset();
            let leader_epoch = leader.epoch_for_offset(offset);
            Ok(Found { offset: Some(offset), timestamp: None, leader_epoch })
        }
        // Nothing is ever moved to tiered storage.
        OffsetSpec::LatestTiered | OffsetSpec::EarliestPendingUpload => Ok(Found::default()),
        OffsetSpec::MaxTimestamp => {
            within(leader.offset_of_max_timestamp().await?, fetchable_end_offset)
        }
        OffsetSpec::Timestamp(timestamp) => {
            within(leader.offset_for_timestamp(timestamp).await?, fetchable_end_offset)
        }
    }
}

/// What was found, if readers may see it already.
fn within(
    found: Option<TimestampedOffset>,
    fetchable_end_offset: Offset,
) -> Result<Found, ErrorCode> {
    let found = found.filter(|found| found.offset < fetchable_end_offset);
    Ok(found.map_or_else(Found::default, |found| Found {
        offset: Some(found.offset),
        timestamp: Some(found.timestamp),
        leader_epoch: found.leader_epoch,
    }))
}

/// The version that brought each way to ask: KIP-734, KIP-405, KIP-1005, KIP-1023.
fn version_of(spec: OffsetSpec) -> i16 {
    match spec {
        OffsetSpec::MaxTimestamp => 7,
        OffsetSpec::EarliestLocal => 8,
        OffsetSpec::LatestTiered => 9,
        OffsetSpec::EarliestPendingUpload => 11,
        OffsetSpec::Latest | OffsetSpec::Earliest | OffsetSpec::Timestamp(_) => 1,
    }
}
