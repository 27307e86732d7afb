//! ApiVersions: which APIs and versions are served, and the cluster's feature levels.
//!
//! The first request of nearly every client, and the one it may send in a version we do not know: then the answer is of
//! version 0 and names the range (KIP-511).

use super::{Call, SERVED};
use crate::metadata::FEATURES;
use crate::protocol::messages::api_versions_response::{
    ApiVersion, FinalizedFeatureKey, SupportedFeatureKey,
};
use crate::protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use crate::protocol::{ApiKey, VersionRange};
use crate::server::answer::names_itself;
use crate::types::ErrorCode;

/// What clients are told of Produce: librdkafka before 2.11 sends no compressed batches to a broker whose oldest version is
/// 3 (KAFKA-18659). Requests of versions 0 to 2 are refused all the same.
const PRODUCE_VERSION_MIN_ADVERTISED: i16 = 0;

pub(super) async fn handle(call: &Call<'_>, request: ApiVersionsRequest) -> ApiVersionsResponse {
    if !names_itself(call.version(), &request) {
        return ApiVersionsResponse { error_code: ErrorCode::InvalidRequest, ..Default::default() };
    }
    let image = call.broker.image();
    let supported = FEATURES
        .iter()
        // Clients that speak a version below 4 take a minimum of 0 for an error.
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
        api_keys: SERVED.iter().map(|(api, versions)| advertised(*api, *versions)).collect(),
        supported_features: supported.collect(),
        finalized_features_epoch: Some(image.end_offset),
        finalized_features: finalized.collect(),
        ..Default::default()
    }
}

fn advertised(api: ApiKey, versions: VersionRange) -> ApiVersion {
    let min_version =
        if api == ApiKey::Produce { PRODUCE_VERSION_MIN_ADVERTISED } else { versions.min };
    ApiVersion { api_key: api.key(), min_version, max_version: versions.max }
}
