//! Topics made, removed, and grown.

use super::{ApiError, Forwarded, MetadataImage};
use crate::protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use crate::protocol::messages::create_topics_response::CreatableTopicResult;
use crate::protocol::messages::delete_topics_response::DeletableTopicResult;
use crate::protocol::messages::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse,
    DeleteTopicsRequest, DeleteTopicsResponse,
};
use crate::types::Uuid;

impl Forwarded for CreateTopicsRequest {
    fn timeout_ms(&self) -> Option<i32> {
        Some(self.timeout_ms)
    }

    fn refused(&self, _version: i16, error: &ApiError) -> CreateTopicsResponse {
        let topics = self.topics.iter().map(|topic| CreatableTopicResult {
            name: topic.name.clone(),
            error_code: error.error,
            error_message: error.message.clone(),
            ..Default::default()
        });
        CreateTopicsResponse { topics: topics.collect(), ..Default::default() }
    }

    fn is_seen(&self, response: &CreateTopicsResponse, image: &MetadataImage) -> bool {
        let mut created = response.topics.iter().filter(|topic| topic.error_code.is_none());
        self.validate_only || created.all(|topic| image.topic(&topic.name).is_some())
    }
}

impl Forwarded for DeleteTopicsRequest {
    fn timeout_ms(&self) -> Option<i32> {
        Some(self.timeout_ms)
    }

    fn refused(&self, version: i16, error: &ApiError) -> DeleteTopicsResponse {
        let result = |name: Option<String>, topic_id| DeletableTopicResult {
            name,
            topic_id,
            error_code: error.error,
            error_message: error.message.clone(),
        };
        let responses = if version >= 6 {
            self.topics.iter().map(|topic| result(topic.name.clone(), topic.topic_id)).collect()
        } else {
            self.topic_names.iter().map(|name| result(Some(name.clone()), Uuid::ZERO)).collect()
        };
        DeleteTopicsResponse { responses, ..Default::default() }
    }

    fn is_seen(&self, response: &DeleteTopicsResponse, image: &MetadataImage) -> bool {
        let mut deleted = response.responses.iter().filter(|topic| topic.error_code.is_none());
        deleted.all(|topic| match (&topic.name, topic.topic_id) {
            // Versions below 6 do not tell the id.
            (Some(name), Uuid::ZERO) => image.topic(name).is_none(),
            (_, topic_id) => image.topic_by_id(topic_id).is_none(),
        })
    }
}

impl Forwarded for CreatePartitionsRequest {
    fn timeout_ms(&self) -> Option<i32> {
        Some(self.timeout_ms)
    }

    fn refused(&self, _version: i16, error: &ApiError) -> CreatePartitionsResponse {
        let results = self.topics.iter().map(|topic| CreatePartitionsTopicResult {
            name: topic.name.clone(),
            error_code: error.error,
            error_message: error.message.clone(),
        });
        CreatePartitionsResponse { results: results.collect(), ..Default::default() }
    }

    fn is_seen(&self, response: &CreatePartitionsResponse, image: &MetadataImage) -> bool {
        let is_grown = |name: &str| {
            let asked = self.topics.iter().find(|topic| topic.name == name);
            let count = asked.and_then(|topic| usize::try_from(topic.count).ok()).unwrap_or(0);
            image.topic(name).is_some_and(|topic| topic.partitions.len() >= count)
        };
        let mut grown = response.results.iter().filter(|topic| topic.error_code.is_none());
        self.validate_only || grown.all(|topic| is_grown(&topic.name))
    }
}
