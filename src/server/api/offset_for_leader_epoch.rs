//! OffsetForLeaderEpoch: where a leader's term ended in this log, for readers that fear their log was cut (KIP-320).

use super::Call;
use crate::protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use crate::protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use crate::protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
use crate::types::{ErrorCode, LeaderEpoch, Offset, TopicIdPartition};

pub(super) async fn handle(
    call: &Call<'_>,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let partition = asked.partition;
            match end_of_epoch(call, &topic.topic, asked) {
                // No term as old as that is known: both fields stay undefined, which is no error.
                Ok(end) => EpochEndOffset {
                    partition,
                    leader_epoch: end.map(|(epoch, _)| epoch),
                    end_offset: end.map(|(_, offset)| offset),
                    ..Default::default()
                },
                Err(error_code) => {
                    EpochEndOffset { error_code, partition, leader_epoch: None, end_offset: None }
                }
            }
        });
        OffsetForLeaderTopicResult { partitions: partitions.collect(), topic: topic.topic.clone() }
    });
    OffsetForLeaderEpochResponse { topics: topics.collect(), ..Default::default() }
}

/// Kafka: `Partition.lastOffsetForLeaderEpoch`.
fn end_of_epoch(
    call: &Call<'_>,
    topic: &str,
    asked: &OffsetForLeaderPartition,
) -> Result<Option<(LeaderEpoch, Offset)>, ErrorCode> {
    let image = call.broker.image();
    let topic = image.topic(topic).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let id = TopicIdPartition { topic_id: topic.topic_id, partition: asked.partition };
    let handle = call.broker.replicas.hosted(id)?;
    handle.check_leader(asked.current_leader_epoch)?;
    let Some(epoch) = asked.leader_epoch else { return Ok(None) };
    let end = handle.end_offset_for_epoch(epoch, asked.current_leader_epoch)?;
    Ok(end.map(|end| (end.epoch, end.end_offset)))
}
