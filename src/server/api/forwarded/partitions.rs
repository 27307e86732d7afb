//! Who leads partitions, and who holds them.

use super::{ApiError, Forwarded, MetadataImage};
use crate::protocol::messages::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use crate::protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use crate::protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ElectLeadersRequest,
    ElectLeadersResponse, ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};

impl Forwarded for ElectLeadersRequest {
    fn timeout_ms(&self) -> Option<i32> {
        Some(self.timeout_ms)
    }

    fn refused(&self, version: i16, error: &ApiError) -> ElectLeadersResponse {
        if version >= 1 {
            return ElectLeadersResponse { error_code: error.error, ..Default::default() };
        }
        // Version 0 has no place for an error of the whole.
        let topics = self.topic_partitions.iter().flatten().map(|topic| {
            let results = topic.partitions.iter().map(|partition_id| PartitionResult {
                partition_id: *partition_id,
                error_code: error.error,
                error_message: error.message.clone(),
            });
            let partition_result = results.collect();
            ReplicaElectionResult { topic: topic.topic.clone(), partition_result }
        });
        ElectLeadersResponse { replica_election_results: topics.collect(), ..Default::default() }
    }

    fn is_seen(&self, _response: &ElectLeadersResponse, _image: &MetadataImage) -> bool {
        true
    }
}

impl Forwarded for AlterPartitionReassignmentsRequest {
    fn timeout_ms(&self) -> Option<i32> {
        Some(self.timeout_ms)
    }

    fn refused(&self, _version: i16, error: &ApiError) -> AlterPartitionReassignmentsResponse {
        let responses = self.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                let partition_index = partition.partition_index;
                let (error_code, error_message) = (error.error, error.message.clone());
                ReassignablePartitionResponse { partition_index, error_code, error_message }
            });
            let partitions = partitions.collect();
            ReassignableTopicResponse { name: topic.name.clone(), partitions }
        });
        AlterPartitionReassignmentsResponse {
            error_code: error.error,
            error_message: error.message.clone(),
            responses: responses.collect(),
            ..Default::default()
        }
    }

    fn is_seen(&self, _: &AlterPartitionReassignmentsResponse, _image: &MetadataImage) -> bool {
        true
    }
}

impl Forwarded for ListPartitionReassignmentsRequest {
    fn timeout_ms(&self) -> Option<i32> {
        Some(self.timeout_ms)
    }

    fn refused(&self, _version: i16, error: &ApiError) -> ListPartitionReassignmentsResponse {
        ListPartitionReassignmentsResponse {
            error_code: error.error,
            error_message: error.message.clone(),
            ..Default::default()
        }
    }

    fn is_seen(&self, _: &ListPartitionReassignmentsResponse, _image: &MetadataImage) -> bool {
        true
    }
}
