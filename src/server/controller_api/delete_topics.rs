//! DeleteTopics: by name or (from version 6 on) by id.

use std::collections::BTreeMap;

use super::{Call, span};
use crate::controller::request::TopicSelector;
use crate::protocol::messages::delete_topics_response::DeletableTopicResult;
use crate::protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse};
use crate::types::{ErrorCode, Uuid};

pub(super) async fn handle(call: &Call<'_>, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    let (selectors, mut responses) = selectors(call.version(), &request);
    if !call.controller.config.delete_topics {
        let error = if call.version() < 3 {
            ErrorCode::InvalidRequest
        } else {
            ErrorCode::TopicDeletionDisabled
        };
        responses.extend(selectors.iter().map(|selector| refused(selector, error, None)));
        return DeleteTopicsResponse { responses, ..Default::default() };
    }
    if !selectors.is_empty() {
        let span = span(request.timeout_ms);
        let deleted = call.controller.handle.delete_topics(selectors.clone());
        match call.controller.within(span, deleted).await {
            Ok(results) => responses.extend(results.into_iter().map(|one| {
                let (error_code, error_message) = match one.result {
                    Ok(()) => (ErrorCode::None, None),
                    Err(error) => (error.error, error.message),
                };
                DeletableTopicResult {
                    name: one.name.map(|name| name.to_string()),
                    topic_id: one.topic_id.unwrap_or(Uuid::ZERO),
                    error_code,
                    error_message,
                }
            })),
            Err(error) => {
                let message = error.message.as_deref();
                let refused = |selector| refused(selector, error.error, message);
                responses.extend(selectors.iter().map(refused));
            }
        }
    }
    DeleteTopicsResponse { responses, ..Default::default() }
}

/// The topics meant, each once, and the answers for entries that name none or are there twice.
///
/// Kafka: `ControllerApis.deleteTopics`.
fn selectors(
    version: i16,
    request: &DeleteTopicsRequest,
) -> (Vec<TopicSelector>, Vec<DeletableTopicResult>) {
    let mut refusals = Vec::new();
    let mut count: BTreeMap<TopicSelector, usize> = BTreeMap::new();
    let names = request.topic_names.iter().map(|name| TopicSelector::Name(name.clone()));
    let states = request.topics.iter().filter_map(|state| match (&state.name, state.topic_id) {
        (Some(name), Uuid::ZERO) => Some(TopicSelector::Name(name.clone())),
        (None, id) if id != Uuid::ZERO => Some(TopicSelector::Id(id)),
        (name, topic_id) => {
            let message = match name {
                Some(_) => "You may not specify both topic name and topic id.",
                None => "Neither topic name nor id were specified.",
            };
            refusals.push(DeletableTopicResult {
                name: name.clone(),
                topic_id,
                error_code: ErrorCode::InvalidRequest,
                error_message: Some(message.to_owned()),
            });
            None
        }
    });
    let all: Vec<TopicSelector> = if version >= 6 { states.collect() } else { names.collect() };
    for selector in all {
        *count.entry(selector).or_default() += 1;
    }
    let mut selectors = Vec::with_capacity(count.len());
    for (selector, count) in count {
        if count > 1 {
            let message = match selector {
                TopicSelector::Name(_) => "Duplicate topic name.",
                TopicSelector::Id(_) => "Duplicate topic id.",
            };
            refusals.push(refused(&selector, ErrorCode::InvalidRequest, Some(message)));
        } else {
            selectors.push(selector);
        }
    }
    (selectors, refusals)
}

fn refused(
    selector: &TopicSelector,
    error_code: ErrorCode,
    message: Option<&str>,
) -> DeletableTopicResult {
    let (name, topic_id) = match selector {
        TopicSelector::Name(name) => (Some(name.clone()), Uuid::ZERO),
        TopicSelector::Id(id) => (None, *id),
    };
    DeletableTopicResult { name, topic_id, error_code, error_message: message.map(str::to_owned) }
}
