//! AlterPartitionReassignments: partitions move to other brokers, or stay after all (KIP-455, KIP-860).

use super::results::{code_and_message, grouped};
use super::{Call, span};
use crate::controller::request::{AlterReassignmentsRequest, Reassignment};
use crate::protocol::messages::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use crate::protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse,
};
use crate::types::ErrorCode;

pub(super) async fn handle(
    call: &Call<'_>,
    request: AlterPartitionReassignmentsRequest,
) -> AlterPartitionReassignmentsResponse {
    let may_change_replication_factor = request.allow_replication_factor_change;
    let reassignments = request.topics.into_iter().flat_map(|topic| {
        let name = topic.name;
        topic.partitions.into_iter().map(move |one| Reassignment {
            partition: (name.clone(), one.partition_index),
            replicas: one.replicas,
        })
    });
    let asked = AlterReassignmentsRequest {
        reassignments: reassignments.collect(),
        may_change_replication_factor,
    };
    let answer = AlterPartitionReassignmentsResponse {
        allow_replication_factor_change: may_change_replication_factor,
        ..Default::default()
    };
    let altered = call.controller.handle.alter_reassignments(asked);
    match call.controller.within(span(request.timeout_ms), altered).await {
        Ok(results) => {
            let responses = grouped(results).into_iter().map(|(name, partitions)| {
                let partitions = partitions.into_iter().map(|(partition_index, result)| {
                    let (error_code, error_message) = code_and_message(result);
                    ReassignablePartitionResponse { partition_index, error_code, error_message }
                });
                ReassignableTopicResponse { name, partitions: partitions.collect() }
            });
            AlterPartitionReassignmentsResponse {
                error_code: ErrorCode::None,
                responses: responses.collect(),
                ..answer
            }
        }
        Err(error) => AlterPartitionReassignmentsResponse {
            error_code: error.error,
            error_message: error.message,
            ..answer
        },
    }
}
