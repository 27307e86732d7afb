//! ApiVersions, as the controller listener answers it.

use super::{Call, SERVED};
use crate::metadata::FEATURES;
use crate::protocol::messages::api_versions_response::{
    ApiVersion, FinalizedFeatureKey, SupportedFeatureKey,
};
use crate::protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use crate::server::answer::names_itself;
use crate::types::ErrorCode;

pub(super) async fn handle(call: &Call<'_>, request: ApiVersionsRequest) -> ApiVersionsResponse {
    if !names_itself(call.version(), &request) {
        return ApiVersionsResponse { error_code: ErrorCode::InvalidRequest, ..Default::default() };
    }
    let image = call.controller.handle.image();
    let supported = FEATURES
        .iter()
        .filter(|feature| call.version() >= 4 || feature.level_min > 0)
        .map(|feature| SupportedFeatureKey {
            name: feature.name.to_owned(),
            min_version: feature.level_min,
            max_version: feature.level_max,
        });
    let finalized = image.features().iter().map(|(name, level)| FinalizedFeatureKey {
        name: name.clone(),
        max_version_level: *level,
        min_version_level: *level,
    });
    ApiVersionsResponse {
        api_keys: SERVED
            .iter()
            .map(|(api, versions)| ApiVersion {
                api_key: api.key(),
                min_version: versions.min,
                max_version: versions.max,
            })
            .collect(),
        supported_features: supported.collect(),
        finalized_features_epoch: Some(image.end_offset),
        finalized_features: finalized.collect(),
        ..Default::default()
    }
}
