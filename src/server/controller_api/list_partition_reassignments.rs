//! ListPartitionReassignments: which partitions are moving (KIP-455).

use super::{Call, span};
use crate::controller::request::{ApiError, NamedPartition, OngoingReassignment};
use crate::protocol::messages::list_partition_reassignments_response::{
    OngoingPartitionReassignment, OngoingTopicReassignment,
};
use crate::protocol::messages::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};

pub(super) async fn handle(
    call: &Call<'_>,
    request: ListPartitionReassignmentsRequest,
) -> ListPartitionReassignmentsResponse {
    let span = span(request.timeout_ms);
    let listed = call.controller.handle.list_reassignments(partitions(request));
    to_response(call.controller.within(span, listed).await)
}

fn partitions(request: ListPartitionReassignmentsRequest) -> Option<Vec<NamedPartition>> {
    let topics = request.topics?.into_iter();
    let names = topics.flat_map(|topic| {
        let name = topic.name;
        topic.partition_indexes.into_iter().map(move |index| (name.clone(), index))
    });
    Some(names.collect())
}

fn to_response(
    answer: Result<Vec<OngoingReassignment>, ApiError>,
) -> ListPartitionReassignmentsResponse {
    let ongoing = match answer {
        Ok(ongoing) => ongoing,
        Err(error) => {
            return ListPartitionReassignmentsResponse {
                error_code: error.error,
                error_message: error.message,
                ..Default::default()
            };
        }
    };
    let mut topics: Vec<OngoingTopicReassignment> = Vec::new();
    // They come sorted by topic.
    for one in ongoing {
        if topics.last().is_none_or(|topic| *topic.name != *one.topic) {
            let name = one.topic.to_string();
            topics.push(OngoingTopicReassignment { name, partitions: Vec::new() });
        }
        let topic = topics.last_mut().expect("one was pushed");
        topic.partitions.push(OngoingPartitionReassignment {
            partition_index: one.partition,
            replicas: one.replicas,
            adding_replicas: one.adding,
            removing_replicas: one.removing,
        });
    }
    ListPartitionReassignmentsResponse { topics, ..Default::default() }
}
