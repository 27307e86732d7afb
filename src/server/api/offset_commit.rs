//! OffsetCommit: how far a group has read is stored. Whether the partitions exist is looked at here, all else by the coordinator.
//!
//! Kafka: `KafkaApis.handleOffsetCommitRequest`, `GroupCoordinatorService.commitOffsets`.

use super::Call;
use super::group_words::{Verdicts, find_topic, instance_id, member_id, millis};
use crate::coordinator::group::request::{CommitOffsets, OffsetToCommit};
use crate::coordinator::group::{Reply, Request};
use crate::protocol::messages::offset_commit_request::OffsetCommitRequestPartition;
use crate::protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use crate::protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};
use crate::types::{ErrorCode, GenerationId};

/// That a group is not there is told by a name of its own from this version on (KIP-848).
const VERSION_OF_UNKNOWN_GROUPS: i16 = 9;
/// Members of groups of the consumer protocol commit in this version or a later one (KIP-848).
const VERSION_OF_MEMBER_EPOCHS: i16 = 9;
/// Topics are named by id from this version on (KIP-848).
const VERSION_OF_TOPIC_IDS: i16 = 10;

pub(super) async fn handle(call: &Call<'_>, request: OffsetCommitRequest) -> OffsetCommitResponse {
    let image = call.broker.image();
    let by_id = call.version() >= VERSION_OF_TOPIC_IDS;
    let mut verdicts = Vec::with_capacity(request.topics.len());
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let found = find_topic(&image, by_id, &topic.name, topic.topic_id);
        let mut partitions = Verdicts::new();
        let mut commits = Vec::with_capacity(topic.partitions.len());
        for one in topic.partitions {
            let refused = match &found {
                Ok((_, known)) if known.partitions.contains_key(&one.partition_index) => None,
                Ok(_) => Some(ErrorCode::UnknownTopicOrPartition),
                Err(error) => Some(*error),
            };
            partitions.push(one.partition_index, refused);
            if refused.is_none() {
                commits.push(offset(one));
            }
        }
        verdicts.push((topic.name, topic.topic_id, partitions));
        if let (Ok((topic, _)), false) = (found, commits.is_empty()) {
            topics.push((topic, commits));
        }
    }
    let commit = CommitOffsets {
        group: request.group_id.into(),
        generation: GenerationId::from_wire(request.generation_id_or_member_epoch),
        member: member_id(&request.member_id),
        instance: instance_id(request.group_instance_id.as_ref()),
        knows_member_epochs: call.version() >= VERSION_OF_MEMBER_EPOCHS,
        // −1: as long as any.
        retention: (request.retention_time_ms != -1).then(|| millis(request.retention_time_ms)),
        topics,
    };
    let mut decided = decide(call, commit).await.into_iter();
    let topics = verdicts.into_iter().map(|(name, topic_id, partitions)| {
        let partitions = partitions.with(decided.by_ref());
        let partitions = partitions.map(|(partition_index, error_code)| {
            OffsetCommitResponsePartition { partition_index, error_code }
        });
        OffsetCommitResponseTopic { name, topic_id, partitions: partitions.collect() }
    });
    OffsetCommitResponse { topics: topics.collect(), ..Default::default() }
}

fn offset(one: OffsetCommitRequestPartition) -> OffsetToCommit {
    OffsetToCommit {
        partition: one.partition_index,
        offset: one.committed_offset,
        leader_epoch: one.committed_leader_epoch,
        metadata: one.committed_metadata.unwrap_or_default().into(),
    }
}

/// What the coordinator says to each partition, in their order. Where none is left it is not asked.
async fn decide(call: &Call<'_>, commit: CommitOffsets) -> Vec<ErrorCode> {
    let count: usize = commit.topics.iter().map(|(_, commits)| commits.len()).sum();
    if count == 0 {
        return Vec::new();
    }
    let asked = call.broker.groups.ask(Request::CommitOffsets(commit)).await;
    let Reply::CommitOffsets(result) = asked else {
        unreachable!("an OffsetCommit is answered as one");
    };
    match result {
        Ok(results) => {
            let partitions = results.into_iter().flat_map(|topic| topic.partitions);
            partitions.map(|(_, error)| error).collect()
        }
        Err(error) => vec![as_known(call.version(), error); count],
    }
}

/// Kafka: `OffsetMetadataManager.validateOffsetCommit`.
fn as_known(version: i16, error: ErrorCode) -> ErrorCode {
    if error == ErrorCode::GroupIdNotFound && version < VERSION_OF_UNKNOWN_GROUPS {
        ErrorCode::IllegalGeneration
    } else {
        error
    }
}
