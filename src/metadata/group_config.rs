//! The configs of single groups (pure): their names, and what they may be (KIP-848).
//!
//! Kafka: `GroupConfig`, `GroupConfigManager`. Those of share and streams groups are unknown here: no such groups are served.

use std::collections::BTreeMap;

/// How long a member of the consumer protocol may be silent.
pub const SESSION_TIMEOUT: &str = "consumer.session.timeout.ms";
/// How often members of the consumer protocol are to send heartbeats.
pub const HEARTBEAT_INTERVAL: &str = "consumer.heartbeat.interval.ms";

/// What a node's own configuration says of a group config, in ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupConfigRange {
    /// The least that a group may set (`group.consumer.min.…`).
    pub min: i32,
    /// The most (`group.consumer.max.…`).
    pub max: i32,
    /// What holds where a group sets nothing (`group.consumer.…`).
    pub default: i32,
}

/// What a node's own configuration says of all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupConfigRanges {
    /// Of [`SESSION_TIMEOUT`].
    pub session_timeout: GroupConfigRange,
    /// Of [`HEARTBEAT_INTERVAL`].
    pub heartbeat_interval: GroupConfigRange,
}

impl Default for GroupConfigRanges {
    /// Kafka's (`GroupCoordinatorConfig`).
    fn default() -> Self {
        Self {
            session_timeout: GroupConfigRange { min: 45_000, max: 60_000, default: 45_000 },
            heartbeat_interval: GroupConfigRange { min: 5_000, max: 15_000, default: 5_000 },
        }
    }
}

/// What a group sets, in ms; `None` where it sets nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupConfigs {
    /// [`SESSION_TIMEOUT`].
    pub session_timeout_ms: Option<i32>,
    /// [`HEARTBEAT_INTERVAL`].
    pub heartbeat_interval_ms: Option<i32>,
}

impl GroupConfigs {
    /// Takes what a controller has let into the metadata. Anything else is left out.
    #[must_use]
    pub fn of(configs: &BTreeMap<String, String>) -> Self {
        let value = |name: &str| configs.get(name).and_then(|text| number(name, text).ok());
        Self {
            session_timeout_ms: value(SESSION_TIMEOUT),
            heartbeat_interval_ms: value(HEARTBEAT_INTERVAL),
        }
    }

    /// Takes what somebody wants to set: all that the group would then have.
    ///
    /// Errors: a sentence for the person who sets it, where a config is unknown, no number, out of its range, or does not go with the
    /// other.
    ///
    /// Kafka: `GroupConfig.validate`.
    pub fn parse(
        configs: &BTreeMap<String, String>,
        ranges: &GroupConfigRanges,
    ) -> Result<Self, String> {
        let mut all = Self::default();
        for name in configs.keys() {
            if name != SESSION_TIMEOUT && name != HEARTBEAT_INTERVAL {
                return Err(format!("Unknown group config name: {name}"));
            }
        }
        for (name, text) in configs {
            let value = Some(number(name, text)?);
            if name == SESSION_TIMEOUT {
                all.session_timeout_ms = value;
            } else {
                all.heartbeat_interval_ms = value;
            }
        }
        let interval =
            within(HEARTBEAT_INTERVAL, all.heartbeat_interval_ms, ranges.heartbeat_interval)?;
        let session = within(SESSION_TIMEOUT, all.session_timeout_ms, ranges.session_timeout)?;
        if session <= interval {
            return Err(format!("{SESSION_TIMEOUT} must be greater than {HEARTBEAT_INTERVAL}"));
        }
        Ok(all)
    }
}

/// Kafka: `ConfigDef.parseType`, `ConfigDef.Range.atLeast`.
fn number(name: &str, text: &str) -> Result<i32, String> {
    let invalid = |why| format!("Invalid value {text} for configuration {name}: {why}");
    match text.trim().parse() {
        Err(_) => Err(invalid("Not a number of type INT")),
        Ok(number) if number < 1 => Err(invalid("Value must be at least 1")),
        Ok(number) => Ok(number),
    }
}

/// The value that holds. Errors: it is out of its range.
fn within(name: &str, value: Option<i32>, range: GroupConfigRange) -> Result<i32, String> {
    let value = value.unwrap_or(range.default);
    let of = |which: &str| name.replacen("consumer.", &format!("group.consumer.{which}."), 1);
    if value < range.min {
        return Err(format!("{name} must be greater than or equal to {}", of("min")));
    }
    if value > range.max {
        return Err(format!("{name} must be less than or equal to {}", of("max")));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn map(configs: &[(&str, &str)]) -> BTreeMap<String, String> {
        configs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[track_caller]
    fn check(configs: &[(&str, &str)], ranges: &GroupConfigRanges, expected: Expect) {
        let configs = map(configs);
        let parsed = GroupConfigs::parse(&configs, ranges);
        if let Ok(parsed) = parsed {
            assert_eq!(GroupConfigs::of(&configs), parsed);
        }
        expected.assert_eq(&match parsed {
            Ok(GroupConfigs { session_timeout_ms, heartbeat_interval_ms }) => {
                format!("session {session_timeout_ms:?}, heartbeat {heartbeat_interval_ms:?}")
            }
            Err(why) => why,
        });
    }

    #[test]
    fn groups_set_what_their_nodes_allow() {
        let kafkas = GroupConfigRanges::default();
        check(&[], &kafkas, expect!["session None, heartbeat None"]);
        check(
            &[(SESSION_TIMEOUT, "60000"), (HEARTBEAT_INTERVAL, " 15000 ")],
            &kafkas,
            expect!["session Some(60000), heartbeat Some(15000)"],
        );
        check(
            &[(SESSION_TIMEOUT, "44999")],
            &kafkas,
            expect![
                "consumer.session.timeout.ms must be greater than or equal to group.consumer.min.session.timeout.ms"
            ],
        );
        check(
            &[(SESSION_TIMEOUT, "60001")],
            &kafkas,
            expect![
                "consumer.session.timeout.ms must be less than or equal to group.consumer.max.session.timeout.ms"
            ],
        );
        check(
            &[(HEARTBEAT_INTERVAL, "4999")],
            &kafkas,
            expect![
                "consumer.heartbeat.interval.ms must be greater than or equal to group.consumer.min.heartbeat.interval.ms"
            ],
        );
        check(
            &[(HEARTBEAT_INTERVAL, "15001")],
            &kafkas,
            expect![
                "consumer.heartbeat.interval.ms must be less than or equal to group.consumer.max.heartbeat.interval.ms"
            ],
        );
    }

    #[test]
    fn a_session_is_longer_than_its_heartbeats_are_apart_also_where_one_of_the_two_is_the_nodes() {
        let any = |default| GroupConfigRange { min: 1, max: i32::MAX, default };
        let ranges =
            GroupConfigRanges { session_timeout: any(45_000), heartbeat_interval: any(5_000) };
        let longer =
            "consumer.session.timeout.ms must be greater than consumer.heartbeat.interval.ms";
        for configs in [
            &[(SESSION_TIMEOUT, "5000")][..],
            &[(HEARTBEAT_INTERVAL, "45000")],
            &[(SESSION_TIMEOUT, "7"), (HEARTBEAT_INTERVAL, "7")],
        ] {
            assert_eq!(GroupConfigs::parse(&map(configs), &ranges), Err(longer.to_owned()));
        }
        check(
            &[(SESSION_TIMEOUT, "7"), (HEARTBEAT_INTERVAL, "6")],
            &ranges,
            expect!["session Some(7), heartbeat Some(6)"],
        );
    }

    #[test]
    fn what_is_no_config_of_a_group_or_no_number_is_refused_by_name() {
        let kafkas = GroupConfigRanges::default();
        check(
            &[("share.session.timeout.ms", "50000")],
            &kafkas,
            expect!["Unknown group config name: share.session.timeout.ms"],
        );
        check(
            &[(SESSION_TIMEOUT, "soon"), ("session.timeout.ms", "6000")],
            &kafkas,
            expect!["Unknown group config name: session.timeout.ms"],
        );
        for text in ["soon", "", "1.5", "9999999999"] {
            let why = format!(
                "Invalid value {text} for configuration {SESSION_TIMEOUT}: Not a number of type INT"
            );
            assert_eq!(GroupConfigs::parse(&map(&[(SESSION_TIMEOUT, text)]), &kafkas), Err(why));
        }
        check(
            &[(HEARTBEAT_INTERVAL, "0")],
            &kafkas,
            expect![
                "Invalid value 0 for configuration consumer.heartbeat.interval.ms: Value must be at least 1"
            ],
        );
    }
}
