//! UpdateFeatures: features get other levels, all of them or none (KIP-584).

use super::results::code_and_message;
use super::{Call, span};
use crate::controller::request::{ApiError, FeatureUpdate, UpgradeType};
use crate::protocol::messages::update_features_request::FeatureUpdateKey;
use crate::protocol::messages::update_features_response::UpdatableFeatureResult;
use crate::protocol::messages::{UpdateFeaturesRequest, UpdateFeaturesResponse};
use crate::types::ErrorCode;

pub(super) async fn handle(
    call: &Call<'_>,
    request: UpdateFeaturesRequest,
) -> UpdateFeaturesResponse {
    let version = call.version();
    let span = span(request.timeout_ms);
    let names: Vec<String> =
        request.feature_updates.iter().map(|update| update.feature.clone()).collect();
    let updates = request.feature_updates.into_iter().map(|update| feature_update(version, update));
    let answer = match updates.collect::<Result<Vec<_>, ApiError>>() {
        Ok(updates) => {
            let updated = call.controller.handle.update_features(updates, request.validate_only);
            call.controller.within(span, updated).await
        }
        Err(error) => Err(error),
    };
    let (error_code, error_message) = code_and_message(answer);
    let results = names.into_iter().map(|feature| UpdatableFeatureResult {
        feature,
        error_code,
        error_message: error_message.clone(),
    });
    let results = results.collect();
    UpdateFeaturesResponse { error_code, error_message, results, ..Default::default() }
}

/// Kafka: `UpdateFeaturesRequest.getFeature`, `FeatureUpdate.UpgradeType`.
fn feature_update(version: i16, update: FeatureUpdateKey) -> Result<FeatureUpdate, ApiError> {
    let upgrade_type = match (version, update.upgrade_type) {
        (0, _) if update.allow_downgrade => UpgradeType::SafeDowngrade,
        (0, _) | (_, 1) => UpgradeType::Upgrade,
        (_, 2) => UpgradeType::SafeDowngrade,
        (_, 3) => UpgradeType::UnsafeDowngrade,
        (_, other) => {
            let message = format!("{other} is no type of upgrade");
            return Err(ApiError::new(ErrorCode::InvalidRequest, message));
        }
    };
    // Before version 1 a feature was removed by any level below 1.
    let level =
        if version == 0 { update.max_version_level.max(0) } else { update.max_version_level };
    Ok(FeatureUpdate { feature: update.feature, level, upgrade_type })
}
