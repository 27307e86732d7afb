//! AlterConfigs: topics and brokers have exactly these configs from now on. The old form; what is not named goes back to its default.

use std::collections::BTreeMap;

use super::results::code_and_message;
use super::{Call, resource};
use crate::controller::request::ApiError;
use crate::metadata::ConfigResource;
use crate::protocol::messages::alter_configs_request::AlterConfigsResource;
use crate::protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use crate::protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};
use crate::types::ErrorCode;

type Replacement = (ConfigResource, BTreeMap<String, String>);

pub(super) async fn handle(call: &Call<'_>, request: AlterConfigsRequest) -> AlterConfigsResponse {
    let twice = resource::named_twice(
        request.resources.iter().map(|one| (one.resource_type, one.resource_name.as_str())),
    );
    let replacements = request.resources.iter().map(|one| {
        resource::once(&twice, one.resource_type, &one.resource_name)?;
        replacement(one)
    });
    let replacements: Vec<Result<Replacement, ApiError>> = replacements.collect();
    let asked: Vec<Replacement> = replacements.iter().flatten().cloned().collect();
    let results = if asked.is_empty() {
        Ok(Vec::new())
    } else {
        call.controller.handle.replace_configs(asked, request.validate_only).await
    };
    let answers = resource::answers(&replacements, results);
    let responses = request.resources.into_iter().zip(answers).map(|(one, result)| {
        let (error_code, error_message) = code_and_message(result);
        AlterConfigsResourceResponse {
            error_code,
            error_message,
            resource_type: one.resource_type,
            resource_name: one.resource_name,
        }
    });
    AlterConfigsResponse { responses: responses.collect(), ..Default::default() }
}

fn replacement(one: &AlterConfigsResource) -> Result<Replacement, ApiError> {
    let resource = resource::parse(one.resource_type, &one.resource_name)?;
    let mut configs = BTreeMap::new();
    for config in &one.configs {
        let Some(value) = &config.value else {
            let message = format!("Null value not supported for : {}", config.name);
            return Err(ApiError::new(ErrorCode::InvalidRequest, message));
        };
        if configs.insert(config.name.clone(), value.clone()).is_some() {
            let message = "Error due to duplicate config keys";
            return Err(ApiError::new(ErrorCode::InvalidRequest, message));
        }
    }
    Ok((resource, configs))
}
