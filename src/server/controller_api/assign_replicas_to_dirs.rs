//! AssignReplicasToDirs: a broker says in which log directories its replicas are (KIP-858).

use super::Call;
use crate::controller::request;
use crate::protocol::messages::assign_replicas_to_dirs_response::{
    DirectoryData, PartitionData, TopicData,
};
use crate::protocol::messages::{AssignReplicasToDirsRequest, AssignReplicasToDirsResponse};
use crate::types::{ErrorCode, TopicIdPartition};

pub(super) async fn handle(
    call: &Call<'_>,
    request: AssignReplicasToDirsRequest,
) -> AssignReplicasToDirsResponse {
    let Some(broker_epoch) = request.broker_epoch else {
        return failed(ErrorCode::StaleBrokerEpoch);
    };
    let replicas = request.directories.iter().flat_map(|directory| {
        directory.topics.iter().flat_map(|topic| {
            topic.partitions.iter().map(|one| {
                let (topic_id, partition) = (topic.topic_id, one.partition_index);
                (directory.id, TopicIdPartition { topic_id, partition })
            })
        })
    });
    let asked = request::AssignReplicasToDirsRequest {
        broker: request.broker_id,
        broker_epoch,
        replicas: replicas.collect(),
    };
    match call.controller.handle.assign_replicas_to_dirs(asked).await {
        Ok(results) => answer(&request, results),
        Err(error) => failed(error.error),
    }
}

fn failed(error_code: ErrorCode) -> AssignReplicasToDirsResponse {
    AssignReplicasToDirsResponse { error_code, ..Default::default() }
}

fn answer(
    request: &AssignReplicasToDirsRequest,
    results: Vec<Result<(), ErrorCode>>,
) -> AssignReplicasToDirsResponse {
    let mut results = results.into_iter();
    let mut fate = |partition_index| {
        let result = results.next().expect("one result a replica");
        PartitionData { partition_index, error_code: result.err().unwrap_or(ErrorCode::None) }
    };
    let directories = request.directories.iter().map(|directory| {
        let topics = directory.topics.iter().map(|topic| TopicData {
            topic_id: topic.topic_id,
            partitions: topic.partitions.iter().map(|one| fate(one.partition_index)).collect(),
        });
        DirectoryData { id: directory.id, topics: topics.collect() }
    });
    AssignReplicasToDirsResponse { directories: directories.collect(), ..Default::default() }
}
