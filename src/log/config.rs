//! A topic's configuration, parsed: what the log does with records, segments and time.
//!
//! A value comes from the topic, else from the broker (`server.properties`, under the broker's name for it), else from
//! Kafka. Parsing refuses what Kafka refuses; unknown names are refused with the nearest known one.
//!
//! Kafka: `LogConfig`.

use std::collections::BTreeMap;
use std::time::Duration;

pub use super::config_table::{Allowed, BrokerName, ConfigKey, ConfigType, TOPIC_CONFIGS};
use crate::protocol::compression::{Codec, Compression};
use crate::protocol::record_batch::TimestampType;
use crate::types::ErrorCode;

/// Names and values as text: of one topic, or of the broker.
pub type ConfigMap = BTreeMap<String, String>;

/// What becomes of old segments. At least one of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanupPolicy {
    /// Old segments are removed.
    pub delete: bool,
    /// Only the last record of each key is kept; records need keys.
    pub compact: bool,
}

/// How batches are compressed in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerCompression {
    /// As the producer compressed them.
    Producer,
    /// All alike: others are compressed anew.
    Always(Compression),
}

impl BrokerCompression {
    /// How a batch goes into the log that came compressed with `source`; `None` where it may stay as it is.
    #[must_use]
    pub fn recompression(self, source: Codec) -> Option<Compression> {
        match self {
            Self::Producer => None,
            Self::Always(target) => (target.codec != source).then_some(target),
        }
    }
}

/// A topic's configuration. `None` stands for Kafka's −1 (without limit) and `Long.MAX_VALUE` (never).
#[derive(Clone, Debug, PartialEq)]
pub struct LogConfig {
    /// `cleanup.policy`.
    pub cleanup_policy: CleanupPolicy,
    /// `compression.type` and the level of the codec it names.
    pub compression: BrokerCompression,
    /// `delete.retention.ms`.
    pub delete_retention: Duration,
    /// `file.delete.delay.ms`.
    pub file_delete_delay: Duration,
    /// `flush.messages`: records; 1 syncs after each append.
    pub flush_messages: Option<u64>,
    /// `flush.ms`.
    pub flush_interval: Option<Duration>,
    /// `index.interval.bytes`.
    pub index_interval_bytes: u32,
    /// `max.compaction.lag.ms`.
    pub max_compaction_lag: Option<Duration>,
    /// `max.message.bytes`: the largest batch, as it came.
    pub max_message_bytes: u32,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_max: Option<Duration>,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_max: Option<Duration>,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `min.cleanable.dirty.ratio`, from 0 to 1.
    pub min_cleanable_dirty_ratio: f64,
    /// `min.compaction.lag.ms`.
    pub min_compaction_lag: Duration,
    /// `min.insync.replicas`.
    pub min_insync_replicas: u32,
    /// `preallocate`.
    pub preallocate: bool,
    /// `retention.bytes`.
    pub retention_bytes: Option<u64>,
    /// `retention.ms`.
    pub retention: Option<Duration>,
    /// `internal.segment.bytes`, else `segment.bytes`.
    pub segment_bytes: u32,
    /// `segment.index.bytes`.
    pub segment_index_bytes: u32,
    /// `segment.jitter.ms`, exclusive bound of what is drawn.
    pub segment_jitter: Duration,
    /// `segment.ms`.
    pub segment_age_max: Duration,
    /// `unclean.leader.election.enable`.
    pub unclean_leader_election: bool,
}

/// Why a configuration was refused. Printed, it is the message of the INVALID_CONFIG answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Nobody knows the name.
    #[error("Unknown topic config name: {name}{}", did_you_mean(*nearest))]
    Unknown {
        /// The name that was given.
        name: String,
        /// The known name that is nearest to it, if one is near.
        nearest: Option<&'static str>,
    },
    /// The value is not of the type.
    #[error("Invalid value {value} for configuration {name}: Not a value of type {}", kind.name())]
    NotOfType {
        /// The name that was given, the topic's or the broker's.
        name: String,
        /// The value that was given.
        value: String,
        /// The type it should have.
        kind: ConfigType,
    },
    /// The value is outside of what is allowed.
    #[error("Invalid value {value} for configuration {name}: {rule}")]
    NotAllowed {
        /// The name that was given, the topic's or the broker's.
        name: String,
        /// The value that was given.
        value: String,
        /// What is allowed.
        rule: String,
    },
}

fn did_you_mean(nearest: Option<&'static str>) -> String {
    nearest.map_or_else(String::new, |name| format!("; did you mean {name}?"))
}

impl ConfigError {
    /// INVALID_CONFIG, whatever is wrong.
    #[must_use]
    pub const fn error_code(&self) -> ErrorCode {
        ErrorCode::InvalidConfig
    }
}

/// Names further away than this are not proposed: 1 is equal, 0 has nothing in common (Jaro-Winkler).
const NEAREST_SIMILARITY_MIN: f64 = 0.8;

/// The configuration called `name`.
///
/// Errors: nobody knows it; the nearest known name is in the error.
pub fn topic_config(name: &str) -> Result<&'static ConfigKey, ConfigError> {
    if let Some(key) = TOPIC_CONFIGS.iter().find(|key| key.name == name) {
        return Ok(key);
    }
    let nearest = TOPIC_CONFIGS
        .iter()
        .map(|key| (strsim::jaro_winkler(name, key.name), key.name))
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .filter(|(similarity, _)| *similarity >= NEAREST_SIMILARITY_MIN)
        .map(|(_, nearest)| nearest);
    Err(ConfigError::Unknown { name: name.to_owned(), nearest })
}

impl Default for LogConfig {
    fn default() -> Self {
        Self::new(&ConfigMap::new(), &ConfigMap::new()).expect("Kafka's defaults are allowed")
    }
}

impl LogConfig {
    /// The configuration of a topic with the overrides `topic` on a broker with the properties `broker`.
    ///
    /// Names in `broker` that configure no logs are passed over.
    ///
    /// Errors: an unknown name in `topic`; a value of another type, or one that is not allowed, in either.
    pub fn new(broker: &ConfigMap, topic: &ConfigMap) -> Result<Self, ConfigError> {
        for name in topic.keys() {
            topic_config(name)?;
        }
        let values = Values { broker, topic };
        let config = Self {
            cleanup_policy: cleanup_policy(&values.list("cleanup.policy")?),
            compression: broker_compression(&values)?,
            delete_retention: values.span("delete.retention.ms")?,
            file_delete_delay: values.span("file.delete.delay.ms")?,
            flush_messages: values.limit("flush.messages")?,
            flush_interval: values.span_or_never("flush.ms")?,
            index_interval_bytes: values.number("index.interval.bytes")?,
            max_compaction_lag: values.span_or_never("max.compaction.lag.ms")?,
            max_message_bytes: values.number("max.message.bytes")?,
            timestamp_after_max: values.span_or_never("message.timestamp.after.max.ms")?,
            timestamp_before_max: values.span_or_never("message.timestamp.before.max.ms")?,
            timestamp_type: match values.word("message.timestamp.type")?.as_str() {
                "LogAppendTime" => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            },
            min_cleanable_dirty_ratio: values.ratio("min.cleanable.dirty.ratio")?,
            min_compaction_lag: values.span("min.compaction.lag.ms")?,
            min_insync_replicas: values.number("min.insync.replicas")?,
            preallocate: values.truth("preallocate")?,
            retention_bytes: values.limit("retention.bytes")?,
            retention: values.span_or_never("retention.ms")?,
            segment_bytes: match values.internal_segment_bytes()? {
                Some(bytes) => bytes,
                None => values.number("segment.bytes")?,
            },
            segment_index_bytes: values.number("segment.index.bytes")?,
            segment_jitter: values.span("segment.jitter.ms")?,
            segment_age_max: values.span("segment.ms")?,
            unclean_leader_election: values.truth("unclean.leader.election.enable")?,
        };
        config.check_lags(topic)?;
        Ok(config)
    }

    /// Kafka: `LogConfig.validateValues`.
    fn check_lags(&self, topic: &ConfigMap) -> Result<(), ConfigError> {
        let Some(max) = self.max_compaction_lag else { return Ok(()) };
        if self.min_compaction_lag <= max {
            return Ok(());
        }
        let name = "min.compaction.lag.ms";
        Err(ConfigError::NotAllowed {
            name: name.to_owned(),
            value: topic.get(name).cloned().unwrap_or_default(),
            rule: format!("it must not be above max.compaction.lag.ms, {}", max.as_millis()),
        })
    }
}

fn cleanup_policy(words: &[String]) -> CleanupPolicy {
    let names = |policy: &str| words.iter().any(|word| word == policy);
    CleanupPolicy { delete: names("delete"), compact: names("compact") }
}

fn broker_compression(values: &Values<'_>) -> Result<BrokerCompression, ConfigError> {
    let gzip = values.long("compression.gzip.level")?;
    values.long("compression.lz4.level")?;
    let zstd = values.long("compression.zstd.level")?;
    let level = |level: i64| i32::try_from(level).ok();
    let word = values.word("compression.type")?;
    let compression = match word.as_str() {
        "producer" => return Ok(BrokerCompression::Producer),
        "gzip" => Compression { codec: Codec::Gzip, level: level(gzip).filter(|level| *level > 0) },
        "zstd" => Compression { codec: Codec::Zstd, level: level(zstd) },
        other => Compression::of(Codec::from_name(other).unwrap_or(Codec::None)),
    };
    Ok(BrokerCompression::Always(compression))
}

/// Where a value came from, as DescribeConfigs numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConfigSource {
    /// The topic's own.
    DynamicTopic,
    /// Set for this broker in the metadata.
    DynamicBroker,
    /// Set for all brokers in the metadata.
    DynamicDefaultBroker,
    /// The broker's `server.properties`.
    StaticBroker,
    /// Kafka's.
    Default,
}

impl ConfigSource {
    /// The number in a DescribeConfigs response (Kafka: `DescribeConfigsResponse.ConfigSource`).
    #[must_use]
    pub const fn id(self) -> i8 {
        match self {
            Self::DynamicTopic => 1,
            Self::DynamicBroker => 2,
            Self::DynamicDefaultBroker => 3,
            Self::StaticBroker => 4,
            Self::Default => 5,
        }
    }
}

/// A value that is, or would be, in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSynonym {
    /// The name under which it is given.
    pub name: &'static str,
    /// The value, in the topic configuration's unit.
    pub value: String,
    /// Where it came from.
    pub source: ConfigSource,
}

/// A configuration as DescribeConfigs and CreateTopics tell it.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigEntry {
    /// What the table says of it.
    pub key: &'static ConfigKey,
    /// The value in force.
    pub value: String,
    /// Where it came from.
    pub source: ConfigSource,
    /// All values given, the one in force first.
    pub synonyms: Vec<ConfigSynonym>,
}

/// Every configuration of a topic with its value, sorted by name. `internal.segment.bytes` is told only where it is set.
#[must_use]
pub fn describe(broker: &ConfigMap, topic: &ConfigMap) -> Vec<ConfigEntry> {
    let values = Values { broker, topic };
    TOPIC_CONFIGS
        .iter()
        .filter_map(|key| {
            let synonyms = values.synonyms(key);
            let first = synonyms.first()?;
            Some(ConfigEntry { key, value: first.value.clone(), source: first.source, synonyms })
        })
        .collect()
}

/// Looks values up: the topic's, else the broker's, else Kafka's.
struct Values<'a> {
    broker: &'a ConfigMap,
    topic: &'a ConfigMap,
}

/// A value in force, and the name and rule it was given under.
struct Given<'a> {
    name: &'static str,
    value: &'a str,
    kind: ConfigType,
    factor: i64,
}

impl Given<'_> {
    fn not_of_type(&self) -> ConfigError {
        let (name, value) = (self.name.to_owned(), self.value.to_owned());
        ConfigError::NotOfType { name, value, kind: self.kind }
    }

    fn not_allowed(&self, rule: impl Into<String>) -> ConfigError {
        let (name, value) = (self.name.to_owned(), self.value.to_owned());
        ConfigError::NotAllowed { name, value, rule: rule.into() }
    }
}

fn known(name: &str) -> &'static ConfigKey {
    TOPIC_CONFIGS.iter().find(|key| key.name == name).expect("the table has the name")
}

impl Values<'_> {
    fn given<'a>(&'a self, key: &'static ConfigKey) -> Given<'a> {
        let kind = key.kind;
        if let Some(value) = self.topic.get(key.name) {
            return Given { name: key.name, value: value.trim(), kind, factor: 1 };
        }
        for BrokerName { name, factor } in key.broker_names.iter().copied() {
            if let Some(value) = self.broker.get(name) {
                return Given { name, value: value.trim(), kind, factor };
            }
        }
        Given { name: key.name, value: key.default, kind, factor: 1 }
    }

    fn synonyms(&self, key: &'static ConfigKey) -> Vec<ConfigSynonym> {
        let mut synonyms = Vec::new();
        if let Some(value) = self.topic.get(key.name) {
            let (value, source) = (value.trim().to_owned(), ConfigSource::DynamicTopic);
            synonyms.push(ConfigSynonym { name: key.name, value, source });
        }
        for BrokerName { name, factor } in key.broker_names.iter().copied() {
            if let Some(value) = self.broker.get(name) {
                let (value, source) = (scaled(value.trim(), factor), ConfigSource::StaticBroker);
                synonyms.push(ConfigSynonym { name, value, source });
            }
        }
        if !key.default.is_empty() {
            let name = key.broker_names.first().map_or(key.name, |broker| broker.name);
            let (value, source) = (key.default.to_owned(), ConfigSource::Default);
            synonyms.push(ConfigSynonym { name, value, source });
        }
        synonyms
    }

    fn long(&self, name: &str) -> Result<i64, ConfigError> {
        let key = known(name);
        let given = self.given(key);
        let value: i64 = given.value.parse().map_err(|_| given.not_of_type())?;
        if key.kind == ConfigType::Int && i32::try_from(value).is_err() {
            return Err(given.not_of_type());
        }
        // Negative values are "without limit" in any unit.
        let value = if value < 0 { value } else { value.saturating_mul(given.factor) };
        match key.allowed {
            Allowed::AtLeast(_) if given.name == "log.segment.bytes" => {
                // The broker's own default may be small, for tests: `server` keeps its range.
                Ok(value)
            }
            Allowed::AtLeast(min) if value < min => {
                Err(given.not_allowed(format!("Value must be at least {min}")))
            }
            Allowed::Between(min, max) if value < min || value > max => {
                Err(given.not_allowed(format!("Value must be between {min} and {max}")))
            }
            Allowed::AtLeast(_)
            | Allowed::Between(..)
            | Allowed::Any
            | Allowed::Ratio
            | Allowed::OneOf(_) => Ok(value),
        }
    }

    /// A number that the table keeps within 0 and 2^31 − 1.
    fn number(&self, name: &str) -> Result<u32, ConfigError> {
        let value = self.long(name)?;
        u32::try_from(value).map_err(|_| self.given(known(name)).not_of_type())
    }

    /// `internal.segment.bytes`, which has no default.
    fn internal_segment_bytes(&self) -> Result<Option<u32>, ConfigError> {
        let name = "internal.segment.bytes";
        if self.topic.contains_key(name) { self.number(name).map(Some) } else { Ok(None) }
    }

    fn span(&self, name: &str) -> Result<Duration, ConfigError> {
        Ok(Duration::from_millis(u64::try_from(self.long(name)?).unwrap_or(0)))
    }

    /// A count; `None` for negative values and for `Long.MAX_VALUE`.
    fn limit(&self, name: &str) -> Result<Option<u64>, ConfigError> {
        let value = self.long(name)?;
        Ok(if value == i64::MAX { None } else { u64::try_from(value).ok() })
    }

    fn span_or_never(&self, name: &str) -> Result<Option<Duration>, ConfigError> {
        Ok(self.limit(name)?.map(Duration::from_millis))
    }

    fn truth(&self, name: &str) -> Result<bool, ConfigError> {
        let given = self.given(known(name));
        if given.value.eq_ignore_ascii_case("true") {
            Ok(true)
        } else if given.value.eq_ignore_ascii_case("false") {
            Ok(false)
        } else {
            Err(given.not_of_type())
        }
    }

    fn ratio(&self, name: &str) -> Result<f64, ConfigError> {
        let given = self.given(known(name));
        let value: f64 = given.value.parse().map_err(|_| given.not_of_type())?;
        if (0.0..=1.0).contains(&value) {
            Ok(value)
        } else {
            Err(given.not_allowed("Value must be between 0 and 1"))
        }
    }

    fn word(&self, name: &str) -> Result<String, ConfigError> {
        let key = known(name);
        let given = self.given(key);
        check_word(key, &given, given.value)?;
        Ok(given.value.to_owned())
    }

    fn list(&self, name: &str) -> Result<Vec<String>, ConfigError> {
        let key = known(name);
        let given = self.given(key);
        let words: Vec<String> =
            given.value.split(',').map(|word| word.trim().to_ascii_lowercase()).collect();
        for word in &words {
            check_word(key, &given, word)?;
        }
        Ok(words)
    }
}

fn check_word(key: &ConfigKey, given: &Given<'_>, word: &str) -> Result<(), ConfigError> {
    match key.allowed {
        Allowed::OneOf(words) if !words.contains(&word) => {
            Err(given.not_allowed(format!("String must be one of: {}", words.join(", "))))
        }
        Allowed::OneOf(_)
        | Allowed::Any
        | Allowed::AtLeast(_)
        | Allowed::Between(..)
        | Allowed::Ratio => Ok(()),
    }
}

/// A broker's value in the topic configuration's unit.
fn scaled(value: &str, factor: i64) -> String {
    match value.parse::<i64>() {
        Ok(number) if factor != 1 && number >= 0 => number.saturating_mul(factor).to_string(),
        Ok(_) | Err(_) => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(&str, &str)]) -> ConfigMap {
        entries.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[track_caller]
    fn check_refused(name: &str, value: &str, message: &str) {
        let error = LogConfig::new(&ConfigMap::new(), &map(&[(name, value)])).unwrap_err();
        assert_eq!(error.to_string(), message);
        assert_eq!(error.error_code(), ErrorCode::InvalidConfig);
    }

    #[test]
    fn defaults_are_kafkas() {
        let config = LogConfig::default();
        assert_eq!(config.segment_bytes, 1 << 30);
        assert_eq!(config.segment_age_max, Duration::from_secs(7 * 24 * 3600));
        assert_eq!(config.retention, Some(Duration::from_secs(7 * 24 * 3600)));
        assert_eq!(config.retention_bytes, None);
        assert_eq!(config.flush_messages, None);
        assert_eq!(config.flush_interval, None);
        assert_eq!(config.max_message_bytes, 1_048_588);
        assert_eq!(config.timestamp_type, TimestampType::CreateTime);
        assert_eq!(config.timestamp_before_max, None);
        assert_eq!(config.timestamp_after_max, Some(Duration::from_secs(3600)));
        assert_eq!(config.compression, BrokerCompression::Producer);
        assert_eq!(config.cleanup_policy, CleanupPolicy { delete: true, compact: false });
        assert_eq!(config.file_delete_delay, Duration::from_secs(60));
        assert_eq!(config.min_insync_replicas, 1);
    }

    #[test]
    fn a_topic_overrides_the_broker_and_the_broker_overrides_kafka() {
        let broker = map(&[
            ("log.retention.hours", "2"),
            ("log.flush.interval.messages", "1"),
            ("log.segment.bytes", "4096"),
            ("num.network.threads", "3"),
        ]);
        let config = LogConfig::new(&broker, &ConfigMap::new()).unwrap();
        assert_eq!(config.retention, Some(Duration::from_secs(7200)));
        assert_eq!(config.flush_messages, Some(1));
        assert_eq!(config.segment_bytes, 4096);
        let topic = map(&[("retention.ms", "-1"), ("internal.segment.bytes", "2048")]);
        let config = LogConfig::new(&broker, &topic).unwrap();
        assert_eq!(config.retention, None);
        assert_eq!(config.segment_bytes, 2048);
    }

    #[test]
    fn the_first_of_a_brokers_names_counts() {
        let broker = map(&[("log.retention.hours", "2"), ("log.retention.ms", "5")]);
        let config = LogConfig::new(&broker, &ConfigMap::new()).unwrap();
        assert_eq!(config.retention, Some(Duration::from_millis(5)));
        let entries = describe(&broker, &map(&[("retention.ms", "9")]));
        let entry = entries.iter().find(|entry| entry.key.name == "retention.ms").unwrap();
        assert_eq!((entry.value.as_str(), entry.source), ("9", ConfigSource::DynamicTopic));
        let given: Vec<_> =
            entry.synonyms.iter().map(|synonym| (synonym.name, synonym.value.as_str())).collect();
        assert_eq!(
            given,
            [
                ("retention.ms", "9"),
                ("log.retention.ms", "5"),
                ("log.retention.hours", "7200000"),
                ("log.retention.ms", "604800000"),
            ]
        );
    }

    #[test]
    fn wrong_names_and_values_are_refused_exactly() {
        check_refused(
            "retentoin.ms",
            "1",
            "Unknown topic config name: retentoin.ms; did you mean retention.ms?",
        );
        check_refused("qqq", "1", "Unknown topic config name: qqq");
        check_refused(
            "retention.ms",
            "a week",
            "Invalid value a week for configuration retention.ms: Not a value of type LONG",
        );
        check_refused(
            "retention.ms",
            "-2",
            "Invalid value -2 for configuration retention.ms: Value must be at least -1",
        );
        check_refused(
            "max.message.bytes",
            "2147483648",
            "Invalid value 2147483648 for configuration max.message.bytes: Not a value of type INT",
        );
        check_refused(
            "segment.bytes",
            "1000",
            "Invalid value 1000 for configuration segment.bytes: Value must be at least 1048576",
        );
        check_refused(
            "compression.type",
            "lzma",
            "Invalid value lzma for configuration compression.type: String must be one of: \
             uncompressed, zstd, lz4, snappy, gzip, producer",
        );
        check_refused(
            "cleanup.policy",
            "delete,burn",
            "Invalid value delete,burn for configuration cleanup.policy: String must be one of: \
             compact, delete",
        );
        check_refused(
            "preallocate",
            "yes",
            "Invalid value yes for configuration preallocate: Not a value of type BOOLEAN",
        );
        check_refused(
            "min.cleanable.dirty.ratio",
            "NaN",
            "Invalid value NaN for configuration min.cleanable.dirty.ratio: Value must be between \
             0 and 1",
        );
    }

    #[test]
    fn compression_has_a_level_and_spares_what_is_compressed_so_already() {
        let topic = map(&[("compression.type", "zstd"), ("compression.zstd.level", "7")]);
        let config = LogConfig::new(&ConfigMap::new(), &topic).unwrap();
        let zstd = Compression { codec: Codec::Zstd, level: Some(7) };
        assert_eq!(config.compression, BrokerCompression::Always(zstd));
        assert_eq!(config.compression.recompression(Codec::Zstd), None);
        assert_eq!(config.compression.recompression(Codec::None), Some(zstd));
        let topic = map(&[("compression.type", "uncompressed")]);
        let config = LogConfig::new(&ConfigMap::new(), &topic).unwrap();
        assert_eq!(config.compression.recompression(Codec::Gzip), Some(Compression::NONE));
    }

    #[test]
    fn the_table_is_sorted_and_described_completely() {
        assert!(TOPIC_CONFIGS.is_sorted_by(|one, next| one.name < next.name));
        let entries = describe(&ConfigMap::new(), &ConfigMap::new());
        assert_eq!(entries.len(), TOPIC_CONFIGS.len() - 1);
        assert!(entries.iter().all(|entry| entry.source == ConfigSource::Default));
    }
}
