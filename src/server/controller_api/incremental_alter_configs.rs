//! IncrementalAlterConfigs: single configs of topics and brokers are set, removed, or changed as lists (KIP-339).

use std::collections::BTreeSet;

use super::results::code_and_message;
use super::{Call, resource};
use crate::controller::request::{ApiError, ConfigChange, ConfigOperation};
use crate::protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use crate::protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use crate::protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};
use crate::types::ErrorCode;

pub(super) async fn handle(
    call: &Call<'_>,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let twice = resource::named_twice(
        request.resources.iter().map(|one| (one.resource_type, one.resource_name.as_str())),
    );
    let changes = request.resources.iter().map(|one| {
        resource::once(&twice, one.resource_type, &one.resource_name)?;
        config_change(one)
    });
    let changes: Vec<Result<ConfigChange, ApiError>> = changes.collect();
    let asked: Vec<ConfigChange> = changes.iter().flatten().cloned().collect();
    let results = if asked.is_empty() {
        Ok(Vec::new())
    } else {
        call.controller.handle.alter_configs(asked, request.validate_only).await
    };
    let answers = resource::answers(&changes, results);
    let responses = request.resources.into_iter().zip(answers).map(|(one, result)| {
        let (error_code, error_message) = code_and_message(result);
        AlterConfigsResourceResponse {
            error_code,
            error_message,
            resource_type: one.resource_type,
            resource_name: one.resource_name,
        }
    });
    IncrementalAlterConfigsResponse { responses: responses.collect(), ..Default::default() }
}

/// Kafka: `ConfigAdminManager.preprocess`.
fn config_change(one: &AlterConfigsResource) -> Result<ConfigChange, ApiError> {
    let resource = resource::parse(one.resource_type, &one.resource_name)?;
    let mut seen = BTreeSet::new();
    if !one.configs.iter().all(|config| seen.insert(config.name.as_str())) {
        return Err(ApiError::new(ErrorCode::InvalidRequest, "Error due to duplicate config keys"));
    }
    let changes = one.configs.iter().map(|config| Ok((config.name.clone(), operation(config)?)));
    Ok(ConfigChange { resource, changes: changes.collect::<Result<_, ApiError>>()? })
}

/// Kafka: `AlterConfigOp.OpType`.
fn operation(config: &AlterableConfig) -> Result<ConfigOperation, ApiError> {
    let refuse = |message: String| Err(ApiError::new(ErrorCode::InvalidRequest, message));
    match (config.config_operation, config.value.clone()) {
        (1, _) => Ok(ConfigOperation::Delete),
        (0, Some(value)) => Ok(ConfigOperation::Set(value)),
        (2, Some(value)) => Ok(ConfigOperation::Append(value)),
        (3, Some(value)) => Ok(ConfigOperation::Subtract(value)),
        (0 | 2 | 3, None) => refuse(format!("Null value not supported for : {}", config.name)),
        (other, _) => refuse(format!("Unknown operation type {other}")),
    }
}
