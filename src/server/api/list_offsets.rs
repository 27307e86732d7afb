//! ListOffsets: where a log starts, ends, or was at a time.

use std::collections::BTreeMap;

use super::Call;
use crate::protocol::messages::list_offsets_request::ListOffsetsPartition;
use crate::protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use crate::protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};
use crate::protocol::{IsolationLevel, OffsetSpec};
use crate::replica::driver::{OffsetSpec as LogOffsetSpec, ReadUpTo, TimestampedOffset};
use crate::types::{ErrorCode, Observation, PartitionIndex, TopicIdPartition};

/// Answers tell the leader epoch from this version on (KIP-320).
const VERSION_OF_LEADER_EPOCHS: i16 = 4;
/// That a new leader does not know yet what is committed is known to clients from this version on (KIP-207).
const VERSION_OF_UNAVAILABLE_OFFSETS: i16 = 5;

pub(super) async fn handle(call: &Call<'_>, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let mut count: BTreeMap<(String, PartitionIndex), usize> = BTreeMap::new();
    for topic in &request.topics {
        for one in &topic.partitions {
            *count.entry((topic.name.clone(), one.partition_index)).or_default() += 1;
        }
    }
    let up_to = match (request.replica_id, request.isolation_level) {
        // Followers see what is not committed.
        (Some(_), _) => ReadUpTo::LogEnd,
        (None, IsolationLevel::ReadUncommitted) => ReadUpTo::HighWatermark,
        (None, IsolationLevel::ReadCommitted) => ReadUpTo::LastStableOffset,
    };
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for one in topic.partitions {
            let is_twice = count[&(topic.name.clone(), one.partition_index)] > 1;
            let found = if is_twice {
                Err(ErrorCode::InvalidRequest)
            } else {
                find(call, &topic.name, &one, up_to).await
            };
            partitions.push(response(call.version(), one.partition_index, found));
        }
        topics.push(ListOffsetsTopicResponse { name: topic.name, partitions });
    }
    ListOffsetsResponse { topics, ..Default::default() }
}

fn response(
    version: i16,
    partition_index: PartitionIndex,
    found: Result<Option<TimestampedOffset>, ErrorCode>,
) -> ListOffsetsPartitionResponse {
    let none = ListOffsetsPartitionResponse { partition_index, ..Default::default() };
    match found {
        Ok(Some(found)) => ListOffsetsPartitionResponse {
            timestamp: found.timestamp,
            offset: Some(found.offset),
            leader_epoch: found.leader_epoch.filter(|_| version >= VERSION_OF_LEADER_EPOCHS),
            ..none
        },
        // No record fits: that is no error.
        Ok(None) => none,
        Err(ErrorCode::OffsetNotAvailable) if version < VERSION_OF_UNAVAILABLE_OFFSETS => {
            ListOffsetsPartitionResponse { error_code: ErrorCode::LeaderNotAvailable, ..none }
        }
        Err(error_code) => ListOffsetsPartitionResponse { error_code, ..none },
    }
}

/// Kafka: `Partition.fetchOffsetForTimestamp`, `ReplicaManager.isListOffsetsTimestampUnsupported`.
async fn find(
    call: &Call<'_>,
    topic: &str,
    asked: &ListOffsetsPartition,
    up_to: ReadUpTo,
) -> Result<Option<TimestampedOffset>, ErrorCode> {
    if call.version() < version_of(asked.timestamp) {
        return Err(ErrorCode::UnsupportedVersion);
    }
    let image = call.broker.image();
    let topic = image.topic(topic).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let id = TopicIdPartition { topic_id: topic.topic_id, partition: asked.partition_index };
    let handle = call.broker.replicas.hosted(id)?;
    let leader_epoch = handle.check_leader(asked.current_leader_epoch)?;
    let spec = match asked.timestamp {
        OffsetSpec::Latest => LogOffsetSpec::Latest(up_to),
        OffsetSpec::Earliest | OffsetSpec::EarliestLocal => LogOffsetSpec::Earliest,
        // Nothing is ever moved to tiered storage.
        OffsetSpec::LatestTiered | OffsetSpec::EarliestPendingUpload => return Ok(None),
        OffsetSpec::MaxTimestamp => LogOffsetSpec::MaxTimestamp,
        OffsetSpec::Timestamp(timestamp) => LogOffsetSpec::At(timestamp),
    };
    let found = handle.offset_for(spec, asked.current_leader_epoch).await?;
    if let (
        LogOffsetSpec::Latest(ReadUpTo::HighWatermark | ReadUpTo::LastStableOffset),
        Some(end),
    ) = (spec, found)
    {
        let (partition, end_offset) = (id, end.offset);
        call.broker.env.observe(Observation::EndTold { partition, leader_epoch, end_offset });
    }
    Ok(found.map(|found| match spec {
        // The end has no record yet: the next one will be the present leader's.
        LogOffsetSpec::Latest(_) => TimestampedOffset { leader_epoch: Some(leader_epoch), ..found },
        LogOffsetSpec::Earliest | LogOffsetSpec::MaxTimestamp | LogOffsetSpec::At(_) => found,
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
