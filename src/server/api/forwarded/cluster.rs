//! The cluster as a whole: its quorum, its features, its members.

use super::{ApiError, Forwarded, MetadataImage};
use crate::protocol::messages::{
    DescribeQuorumRequest, DescribeQuorumResponse, UnregisterBrokerRequest,
    UnregisterBrokerResponse, UpdateFeaturesRequest, UpdateFeaturesResponse,
};

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

impl Forwarded for UpdateFeaturesRequest {
    fn timeout_ms(&self) -> Option<i32> {
        Some(self.timeout_ms)
    }

    fn refused(&self, _version: i16, error: &ApiError) -> UpdateFeaturesResponse {
        UpdateFeaturesResponse {
            error_code: error.error,
            error_message: error.message.clone(),
            ..Default::default()
        }
    }

    fn is_seen(&self, _response: &UpdateFeaturesResponse, _image: &MetadataImage) -> bool {
        true
    }
}

impl Forwarded for UnregisterBrokerRequest {
    fn timeout_ms(&self) -> Option<i32> {
        None
    }

    fn refused(&self, _version: i16, error: &ApiError) -> UnregisterBrokerResponse {
        UnregisterBrokerResponse {
            error_code: error.error,
            error_message: error.message.clone(),
            ..Default::default()
        }
    }

    fn is_seen(&self, response: &UnregisterBrokerResponse, image: &MetadataImage) -> bool {
        !response.error_code.is_none() || image.broker(self.broker_id).is_none()
    }
}
