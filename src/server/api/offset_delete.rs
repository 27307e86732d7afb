//! OffsetDelete: how far a group has read in some partitions is forgotten (KIP-496).
//!
//! Kafka: `KafkaApis.handleOffsetDeleteRequest`, `GroupCoordinatorService.deleteOffsets`.

use std::sync::Arc;

use super::Call;
use super::group_words::{Verdicts, find_topic};
use crate::coordinator::group::request::DeleteOffsets;
use crate::coordinator::group::{Reply, Request};
use crate::protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use crate::protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};
use crate::types::{ErrorCode, Uuid};

pub(super) async fn handle(call: &Call<'_>, request: OffsetDeleteRequest) -> OffsetDeleteResponse {
    let refused = |error_code| OffsetDeleteResponse { error_code, ..Default::default() };
    if request.group_id.is_empty() {
        return refused(ErrorCode::InvalidGroupId);
    }
    let image = call.broker.image();
    let mut verdicts = Vec::with_capacity(request.topics.len());
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let known = find_topic(&image, false, &topic.name, Uuid::ZERO).ok().map(|(_, known)| known);
        let mut partitions = Verdicts::new();
        let mut deletions = Vec::with_capacity(topic.partitions.len());
        for one in topic.partitions {
            let index = one.partition_index;
            let is_known = known.is_some_and(|known| known.partitions.contains_key(&index));
            partitions.push(index, (!is_known).then_some(ErrorCode::UnknownTopicOrPartition));
            if is_known {
                deletions.push(index);
            }
        }
        let name: Arc<str> = topic.name.as_str().into();
        verdicts.push((topic.name, partitions));
        if !deletions.is_empty() {
            topics.push((name, deletions));
        }
    }
    // Also with nothing left to delete: the group may not be there.
    let deletion = DeleteOffsets { group: request.group_id.into(), topics };
    let asked = call.broker.groups.ask(Request::DeleteOffsets(deletion)).await;
    let Reply::DeleteOffsets(result) = asked else {
        unreachable!("an OffsetDelete is answered as one");
    };
    let results = match result {
        Ok(results) => results,
        Err(error) => return refused(error),
    };
    let decided = results.into_iter().flat_map(|topic| topic.partitions);
    let mut decided = decided.map(|(_, error)| error);
    let topics = verdicts.into_iter().map(|(name, partitions)| {
        let partitions = partitions.with(decided.by_ref());
        let partitions = partitions.map(|(partition_index, error_code)| {
            OffsetDeleteResponsePartition { partition_index, error_code }
        });
        OffsetDeleteResponseTopic { name, partitions: partitions.collect() }
    });
    OffsetDeleteResponse { topics: topics.collect(), ..Default::default() }
}
