//! What is passed on to the controller: for each API, the answer where there is no controller, and when this broker has heard
//! of the outcome.

use super::forward::Forwarded;
use crate::controller::request::ApiError;
use crate::metadata::MetadataImage;
use crate::protocol::messages::create_topics_response::CreatableTopicResult;
use crate::protocol::messages::delete_topics_response::DeletableTopicResult;
use crate::protocol::messages::{
    CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse,
    DescribeQuorumRequest, DescribeQuorumResponse,
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

impl Forwarded for DescribeQuorumRequest {
    fn timeout_ms(&self) -> Option<i32> {
        None
    }

    fn refused(&self, _version: i16, error: &ApiError) -> DescribeQuorumResponse {
        DescribeQuorumResponse {
            error_code: error.error,
            error_message: error.message.clone(),
            ..Default::default()
        }
    }

    fn is_seen(&self, _response: &DescribeQuorumResponse, _image: &MetadataImage) -> bool {
        true
    }
}
