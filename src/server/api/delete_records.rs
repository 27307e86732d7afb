//! DeleteRecords: what is old goes, by an administrator's word, at all replicas (KIP-107).
//!
//! The leaders here remove it at once; the answer waits until the followers have done so too, for as long as the request allows.
//!
//! Kafka: `KafkaApis.handleDeleteRecordsRequest`, `ReplicaManager.deleteRecords`, `Partition.deleteRecordsOnLeader`.

use std::sync::Arc;

use super::group_words::millis;
use super::{Call, is_internal};
use crate::protocol::messages::delete_records_request::DeleteRecordsPartition;
use crate::protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use crate::protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};
use crate::replica::driver::PartitionHandle;
use crate::runtime::clock::timeout_at;
use crate::types::{ErrorCode, LeaderEpoch, Monotonic, Offset, PartitionIndex, TopicIdPartition};

/// All that is committed (Kafka: `DeleteRecordsRequest.HIGH_WATERMARK`).
const HIGH_WATERMARK: i64 = -1;

/// A partition whose leader has removed what it was to.
struct Removed {
    handle: Arc<PartitionHandle>,
    leader_epoch: LeaderEpoch,
    /// What lies below is gone here.
    to: Offset,
}

pub(super) async fn handle(
    call: &Call<'_>,
    request: DeleteRecordsRequest,
) -> DeleteRecordsResponse {
    let deadline = call.broker.env.clock.now().monotonic + millis(request.timeout_ms);
    let mut removed = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let partitions = topic.partitions.into_iter();
        let partitions =
            partitions.map(|one| (one.partition_index, remove(call, &topic.name, &one)));
        let partitions: Vec<_> = partitions.collect();
        removed.push((topic.name, partitions));
    }
    let mut topics = Vec::with_capacity(removed.len());
    for (name, partitions) in removed {
        let mut results = Vec::with_capacity(partitions.len());
        for (index, removed) in partitions {
            results.push(result(call, index, removed, deadline).await);
        }
        topics.push(DeleteRecordsTopicResult { name, partitions: results });
    }
    DeleteRecordsResponse { topics, ..Default::default() }
}

fn remove(
    call: &Call<'_>,
    topic: &str,
    asked: &DeleteRecordsPartition,
) -> Result<Removed, ErrorCode> {
    let image = call.broker.image();
    let known = image.topic(topic).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    if is_internal(topic) {
        return Err(ErrorCode::InvalidTopicException);
    }
    let id = TopicIdPartition { topic_id: known.topic_id, partition: asked.partition_index };
    let handle = call.broker.replicas.hosted(id)?;
    let leader_epoch = handle.check_leader(None)?;
    let policy = handle.log_config().cleanup_policy;
    if policy.compact && !policy.delete {
        return Err(ErrorCode::PolicyViolation);
    }
    let to = match asked.offset {
        HIGH_WATERMARK => None,
        offset => Some(Offset::from_wire(offset).ok_or(ErrorCode::OffsetOutOfRange)?),
    };
    let start = handle.delete_records(to)?;
    Ok(Removed { handle, leader_epoch, to: to.unwrap_or(start) })
}

async fn result(
    call: &Call<'_>,
    partition_index: PartitionIndex,
    removed: Result<Removed, ErrorCode>,
    deadline: Monotonic,
) -> DeleteRecordsPartitionResult {
    let refused = |error_code| DeleteRecordsPartitionResult {
        partition_index,
        low_watermark: None,
        error_code,
    };
    let Removed { handle, leader_epoch, to } = match removed {
        Ok(removed) => removed,
        Err(error) => return refused(error),
    };
    let followers = handle.until_removed(to, leader_epoch);
    let (low_watermark, error_code) =
        match timeout_at(call.broker.env.clock.as_ref(), deadline, followers).await {
            Some(Ok(low_watermark)) => (low_watermark, ErrorCode::None),
            Some(Err(ErrorCode::FencedLeaderEpoch | ErrorCode::UnknownLeaderEpoch)) => {
                return refused(ErrorCode::NotLeaderOrFollower);
            }
            Some(Err(error)) => return refused(error),
            None => (handle.low_watermark(), ErrorCode::RequestTimedOut),
        };
    DeleteRecordsPartitionResult { partition_index, low_watermark: Some(low_watermark), error_code }
}
