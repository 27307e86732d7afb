//! ElectLeaders: preferred leaders get their partitions back, or partitions that nobody leads get any leader at all (KIP-460).

use super::results::{code_and_message, grouped};
use super::{Call, span};
use crate::controller::request::{self, ApiError, ElectionType, NamedPartition};
use crate::protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use crate::protocol::messages::{ElectLeadersRequest, ElectLeadersResponse};
use crate::types::ErrorCode;

pub(super) async fn handle(call: &Call<'_>, request: ElectLeadersRequest) -> ElectLeadersResponse {
    let span = span(request.timeout_ms);
    let partitions = request.topic_partitions.map(|topics| {
        let names = topics.into_iter().flat_map(|topic| {
            let name = topic.topic;
            topic.partitions.into_iter().map(move |index| (name.clone(), index))
        });
        names.collect::<Vec<NamedPartition>>()
    });
    let answer = match election_type(request.election_type) {
        Ok(election) => {
            let partitions = partitions.clone();
            let asked = request::ElectLeadersRequest { election, partitions };
            call.controller.within(span, call.controller.handle.elect_leaders(asked)).await
        }
        Err(error) => Err(error),
    };
    match answer {
        Ok(results) => response(results),
        // Version 0 has no place for an error of the whole.
        Err(error) if call.version() == 0 => {
            let names = partitions.unwrap_or_default().into_iter();
            response(names.map(|name| (name, Err(error.clone()))).collect())
        }
        Err(error) => ElectLeadersResponse { error_code: error.error, ..Default::default() },
    }
}

fn election_type(code: i8) -> Result<ElectionType, ApiError> {
    match code {
        0 => Ok(ElectionType::Preferred),
        1 => Ok(ElectionType::Unclean),
        _ => {
            let message = format!("{code} is no type of election");
            Err(ApiError::new(ErrorCode::InvalidRequest, message))
        }
    }
}

fn response(results: Vec<(NamedPartition, Result<(), ApiError>)>) -> ElectLeadersResponse {
    let topics = grouped(results).into_iter().map(|(topic, partitions)| {
        let partitions = partitions.into_iter().map(|(partition_id, result)| {
            let (error_code, error_message) = code_and_message(result);
            PartitionResult { partition_id, error_code, error_message }
        });
        ReplicaElectionResult { topic, partition_result: partitions.collect() }
    });
    ElectLeadersResponse { replica_election_results: topics.collect(), ..Default::default() }
}
