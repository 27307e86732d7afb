//! Configs changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{ApiError, Forwarded, MetadataImage};
use crate::metadata::{ConfigResource, ResourceType};
use crate::protocol::messages::alter_configs_request::{AlterConfigsResource, AlterableConfig};
use crate::protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};
use crate::protocol::messages::{
    alter_configs_response, incremental_alter_configs_request, incremental_alter_configs_response,
};

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

    fn is_seen(&self, response: &AlterConfigsResponse, image: &MetadataImage) -> bool {
        let mut both = self.resources.iter().zip(&response.responses);
        let is_seen = |asked: &AlterConfigsResource| {
            let Some(set) = configs(image, asked.resource_type, &asked.resource_name) else {
                return true;
            };
            let has = |one: &AlterableConfig| set.get(&one.name) == one.value.as_ref();
            set.len() == asked.configs.len() && asked.configs.iter().all(has)
        };
        self.validate_only
            || both.all(|(asked, answer)| !answer.error_code.is_none() || is_seen(asked))
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

    fn is_seen(&self, response: &IncrementalAlterConfigsResponse, image: &MetadataImage) -> bool {
        let mut both = self.resources.iter().zip(&response.responses);
        self.validate_only
            || both.all(|(asked, answer)| {
                let set = configs(image, asked.resource_type, &asked.resource_name);
                let has = |one: &incremental_alter_configs_request::AlterableConfig| {
                    let value = set.as_ref().and_then(|set| set.get(&one.name));
                    match one.config_operation {
                        SET => value == one.value.as_ref(),
                        DELETE => value.is_none(),
                        // What becomes of a list is the controller's to know.
                        _ => true,
                    }
                };
                !answer.error_code.is_none() || set.is_none() || asked.configs.iter().all(has)
            })
    }
}

/// Kafka: `AlterConfigOp.OpType`.
const SET: i8 = 0;
const DELETE: i8 = 1;

/// What is set on a resource in `image`; `None` where configs of such a thing are not kept.
fn configs(
    image: &MetadataImage,
    resource_type: i8,
    name: &str,
) -> Option<Arc<BTreeMap<String, String>>> {
    let resource_type = ResourceType::from_wire(resource_type)?;
    let resource = ConfigResource { resource_type, name: name.into() };
    Some(image.configs(&resource).cloned().unwrap_or_default())
}
