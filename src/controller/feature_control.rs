//! The levels of features: what a new cluster starts with, and what a broker must support to enter.
//!
//! Kafka: `FeatureControlManager`, `BootstrapMetadata`.

use super::Controller;
use super::request::{ApiError, FeatureUpdate, UpgradeType};
use crate::metadata::records::{FeatureLevel, FeatureRange};
use crate::metadata::{
    ELIGIBLE_LEADER_REPLICAS_VERSION, FEATURES, KRAFT_VERSION, METADATA_VERSION, Record,
};
use crate::types::ErrorCode;

/// The records with which a new metadata log begins: a level for every feature, `metadata.version` first, because it says how
/// to read the rest. `kraft.version` is not among them: it is a control record of the quorum.
///
/// `levels` replaces defaults. Errors: a sentence, where a feature is unknown or a level is not supported.
pub fn bootstrap_records(levels: &[(String, i16)]) -> Result<Vec<Record>, String> {
    let mut records = Vec::new();
    for (name, level) in levels {
        let Some(feature) = FEATURES.iter().find(|feature| feature.name == name) else {
            let known: Vec<&str> = FEATURES.iter().map(|feature| feature.name).collect();
            return Err(format!("unknown feature '{name}'; known are {}", known.join(", ")));
        };
        if !(feature.level_min..=feature.level_max).contains(level) {
            let (min, max) = (feature.level_min, feature.level_max);
            return Err(format!("{name} {level} is not supported; the range is {min} to {max}"));
        }
    }
    let mut features: Vec<_> =
        FEATURES.iter().filter(|feature| feature.name != KRAFT_VERSION).collect();
    features.sort_by_key(|feature| feature.name != METADATA_VERSION);
    for feature in features {
        let chosen = levels.iter().rev().find(|(name, _)| name == feature.name);
        let level = chosen.map_or(feature.level_default, |(_, level)| *level);
        if level != 0 {
            records
                .push(Record::FeatureLevel(FeatureLevel { name: feature.name.to_owned(), level }));
        }
    }
    Ok(records)
}

impl Controller {
    /// Whether a broker that supports `ranges` may enter: each feature that is on must be within its range.
    pub(super) fn check_features(&self, ranges: &[FeatureRange]) -> Result<(), ApiError> {
        for (name, level) in self.image().features() {
            let range = ranges.iter().find(|range| range.name == *name);
            let (min, max) = range.map_or((0, 0), |range| (range.level_min, range.level_max));
            if !(min..=max).contains(level) {
                let message = format!(
                    "the cluster runs {name} at level {level}, the broker supports {min} to {max}"
                );
                return Err(ApiError::new(ErrorCode::UnsupportedVersion, message));
            }
        }
        Ok(())
    }

    /// Gives features other levels: all of them, or none.
    ///
    /// Errors: `INVALID_UPDATE_VERSION`, where a level is not supported here or by a broker, or goes the wrong way; `INVALID_REQUEST`,
    /// where a feature stands twice.
    pub(super) fn update_features(
        &self,
        updates: &[FeatureUpdate],
        validate_only: bool,
    ) -> (Vec<Record>, Result<(), ApiError>) {
        let mut records = Vec::new();
        for (index, update) in updates.iter().enumerate() {
            let again = updates[..index].iter().any(|earlier| earlier.feature == update.feature);
            let checked = if again {
                let message = format!("feature {} stands twice in the request", update.feature);
                Err(ApiError::new(ErrorCode::InvalidRequest, message))
            } else {
                self.check_update(update)
            };
            if let Err(error) = checked {
                return (Vec::new(), Err(error));
            }
            let (name, level) = (update.feature.clone(), update.level);
            if self.image().feature_level(&name) != level {
                if name == ELIGIBLE_LEADER_REPLICAS_VERSION && level > 0 {
                    self.write_down_min_isr(&mut records);
                }
                records.push(Record::FeatureLevel(FeatureLevel { name, level }));
            }
        }
        if validate_only {
            records.clear();
        }
        (records, Ok(()))
    }

    /// Kafka: `FeatureControlManager.updateFeature`. Between the levels of `metadata.version` that we support no record changed its
    /// meaning, so that going down is always safe.
    fn check_update(&self, update: &FeatureUpdate) -> Result<(), ApiError> {
        let FeatureUpdate { feature: name, level, upgrade_type } = update;
        let refuse = |message: String| Err(ApiError::new(ErrorCode::InvalidUpdateVersion, message));
        let Some(feature) = FEATURES.iter().find(|feature| feature.name == name) else {
            return refuse(format!("the controller does not know feature {name}"));
        };
        if name == KRAFT_VERSION {
            return refuse(format!("{name} is set when the cluster is formatted"));
        }
        if !(feature.level_min..=feature.level_max).contains(level) {
            let (min, max) = (feature.level_min, feature.level_max);
            return refuse(format!("the controller supports {name} from {min} to {max}"));
        }
        for broker in self.image().brokers() {
            let range = broker.features.iter().find(|range| range.name == *name);
            let (min, max) = range.map_or((0, 0), |range| (range.level_min, range.level_max));
            if !(min..=max).contains(level) {
                let broker = broker.broker;
                return refuse(format!("broker {broker} supports {name} from {min} to {max}"));
            }
        }
        let present = self.image().feature_level(name);
        match upgrade_type {
            UpgradeType::Upgrade if *level < present => {
                refuse(format!("{name} is at {present}: going down must be asked for"))
            }
            UpgradeType::SafeDowngrade | UpgradeType::UnsafeDowngrade if *level > present => {
                refuse(format!("{name} is at {present}: {level} is not down"))
            }
            UpgradeType::Upgrade | UpgradeType::SafeDowngrade | UpgradeType::UnsafeDowngrade => {
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_cluster_names_its_metadata_version_first() {
        let records = bootstrap_records(&[]).unwrap();
        let Record::FeatureLevel(first) = &records[0] else { panic!("{records:?}") };
        assert_eq!((first.name.as_str(), first.level), (METADATA_VERSION, 27));
        assert_eq!(records.len(), 3);
        assert!(bootstrap_records(&[("metadata.version".to_owned(), 1)]).is_err());
        assert!(bootstrap_records(&[("nonsense".to_owned(), 1)]).is_err());
        let without = bootstrap_records(&[("eligible.leader.replicas.version".to_owned(), 0)]);
        assert_eq!(without.unwrap().len(), 2);
    }
}
