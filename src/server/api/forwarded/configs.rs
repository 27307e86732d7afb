//! Configs changed. Nobody waits until this broker has heard of it: who changes a config twice in a row does not ask for it between.

use super::{ApiError, Forwarded, MetadataImage};
use crate::protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};
use crate::protocol::messages::{alter_configs_response, incremental_alter_configs_response};

impl Forwarded for AlterConfigsRequest {
    fn timeout_ms(&self) -> Option<i32> {
        None
    }

    fn refused(&self, _version: i16, error: &ApiError) -> AlterConfigsResponse {
        let responses = self.resources.iter().map(|resource| {
            alter_configs_response::AlterConfigsResourceResponse {
                error_code: error.error,
                error_message: error.message.clone(),
                resource_type: resource.resource_type,
                resource_name: resource.resource_name.clone(),
            }
        });
        AlterConfigsResponse { responses: responses.collect(), ..Default::default() }
    }

    fn is_seen(&self, _response: &AlterConfigsResponse, _image: &MetadataImage) -> bool {
        true
    }
}

impl Forwarded for IncrementalAlterConfigsRequest {
    fn timeout_ms(&self) -> Option<i32> {
        None
    }

    fn refused(&self, _version: i16, error: &ApiError) -> IncrementalAlterConfigsResponse {
        let responses = self.resources.iter().map(|resource| {
            incremental_alter_configs_response::AlterConfigsResourceResponse {
                error_code: error.error,
                error_message: error.message.clone(),
                resource_type: resource.resource_type,
                resource_name: resource.resource_name.clone(),
            }
        });
        IncrementalAlterConfigsResponse { responses: responses.collect(), ..Default::default() }
    }

    fn is_seen(&self, _: &IncrementalAlterConfigsResponse, _image: &MetadataImage) -> bool {
        true
    }
}
