//! CreatePartitions: topics get more partitions (KIP-195).

use super::results::{code_and_message, named_twice};
use super::{Call, span};
use crate::controller::request::{ApiError, NewPartitions};
use crate::protocol::messages::create_partitions_request::CreatePartitionsTopic;
use crate::protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use crate::protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse};
use crate::types::ErrorCode;

pub(super) async fn handle(
    call: &Call<'_>,
    request: CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let span = span(request.timeout_ms);
    let twice = named_twice(request.topics.iter().map(|topic| topic.name.as_str()));
    let mut results: Vec<CreatePartitionsTopicResult> = twice
        .iter()
        .map(|name| {
            let error = ApiError::new(ErrorCode::InvalidRequest, "Duplicate topic name.");
            result(name.clone(), Err(error))
        })
        .collect();
    let topics = request.topics.into_iter().filter(|topic| !twice.contains(&topic.name));
    let topics: Vec<NewPartitions> = topics.map(new_partitions).collect();
    let names: Vec<String> = topics.iter().map(|topic| topic.topic.clone()).collect();
    if !topics.is_empty() {
        let created = call.controller.handle.create_partitions(topics, request.validate_only);
        match call.controller.within(span, created).await {
            Ok(answers) => {
                results.extend(answers.into_iter().map(|(name, answer)| result(name, answer)));
            }
            Err(error) => {
                results.extend(names.into_iter().map(|name| result(name, Err(error.clone()))));
            }
        }
    }
    CreatePartitionsResponse { results, ..Default::default() }
}

fn new_partitions(topic: CreatePartitionsTopic) -> NewPartitions {
    let assignments = topic.assignments;
    NewPartitions {
        topic: topic.name,
        count: topic.count,
        assignments: assignments.map(|all| all.into_iter().map(|one| one.broker_ids).collect()),
    }
}

fn result(name: String, answer: Result<(), ApiError>) -> CreatePartitionsTopicResult {
    let (error_code, error_message) = code_and_message(answer);
    CreatePartitionsTopicResult { name, error_code, error_message }
}
