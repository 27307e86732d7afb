//! AlterPartition: a leader proposes who is in sync (KIP-497, KIP-704, KIP-903).

use super::Call;
use crate::controller::request::{self, IsrChange, IsrChangeResult, PartitionState};
use crate::protocol::messages::{AlterPartitionRequest, AlterPartitionResponse};
use crate::protocol::messages::{alter_partition_request, alter_partition_response};
use crate::types::{ErrorCode, PartitionEpoch, TopicId, TopicIdPartition};

pub(super) async fn handle(
    call: &Call<'_>,
    request: AlterPartitionRequest,
) -> AlterPartitionResponse {
    let version = call.version();
    let Some(broker_epoch) = request.broker_epoch else {
        return failed(ErrorCode::StaleBrokerEpoch);
    };
    let partitions = request.topics.iter().flat_map(|topic| {
        topic.partitions.iter().filter_map(|one| isr_change(version, topic.topic_id, one))
    });
    let asked = request::AlterPartitionRequest {
        broker: request.broker_id,
        broker_epoch,
        partitions: partitions.collect(),
    };
    match call.controller.handle.alter_partition(asked).await {
        Ok(results) => answer(version, &request, results),
        Err(error) => failed(error.error),
    }
}

fn failed(error_code: ErrorCode) -> AlterPartitionResponse {
    AlterPartitionResponse { error_code, ..Default::default() }
}

/// `None` where the request names no version of the partition: nothing can be compared with it.
fn isr_change(
    version: i16,
    topic_id: TopicId,
    data: &alter_partition_request::PartitionData,
) -> Option<IsrChange> {
    let isr = if version >= 3 {
        data.new_isr_with_epochs.iter().map(|one| (one.broker_id, one.broker_epoch)).collect()
    } else {
        data.new_isr.iter().map(|broker| (*broker, None)).collect()
    };
    Some(IsrChange {
        partition: TopicIdPartition { topic_id, partition: data.partition_index },
        leader_epoch: data.leader_epoch,
        partition_epoch: PartitionEpoch::from_wire(data.partition_epoch)?,
        isr,
        leader_recovery_state: data.leader_recovery_state,
    })
}

fn answer(
    version: i16,
    request: &AlterPartitionRequest,
    results: Vec<IsrChangeResult>,
) -> AlterPartitionResponse {
    let mut results = results.into_iter();
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|one| {
            let result = match isr_change(version, topic.topic_id, one) {
                Some(_) => results.next().expect("one result a proposal").result,
                None => Err(ErrorCode::InvalidRequest),
            };
            partition_data(one, result)
        });
        let partitions = partitions.collect();
        alter_partition_response::TopicData { topic_id: topic.topic_id, partitions }
    });
    AlterPartitionResponse { topics: topics.collect(), ..Default::default() }
}

fn partition_data(
    asked: &alter_partition_request::PartitionData,
    result: Result<PartitionState, ErrorCode>,
) -> alter_partition_response::PartitionData {
    let partition_index = asked.partition_index;
    match result {
        Ok(state) => alter_partition_response::PartitionData {
            partition_index,
            error_code: ErrorCode::None,
            leader_id: state.leader,
            leader_epoch: Some(state.leader_epoch),
            isr: state.isr,
            leader_recovery_state: state.leader_recovery_state,
            partition_epoch: state.partition_epoch.value(),
        },
        Err(error_code) => alter_partition_response::PartitionData {
            partition_index,
            error_code,
            ..Default::default()
        },
    }
}
