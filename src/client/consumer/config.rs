//! The consumer's properties (Kafka: `ConsumerConfig`).

use std::collections::BTreeMap;
use std::time::Duration;

use crate::client::config::{CommonConfig, ConfigError, Names, Reader, common_names, property_map};
use crate::protocol::IsolationLevel;

/// Where to go on where the position does not exist: `auto.offset.reset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OffsetReset {
    /// At the start of the log.
    Earliest,
    /// At its end.
    Latest,
    /// Nowhere: `poll` fails.
    None,
}

/// What a [`super::Consumer`] is told once, parsed from Kafka's property names.
///
/// ```
/// use ottla::client::ConsumerConfig;
/// let config = ConsumerConfig::new([("bootstrap.servers", "a:9092"), ("auto.offset.reset", "earliest")]);
/// assert!(config.is_ok());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerConfig {
    pub(crate) common: CommonConfig,
    pub(crate) fetch_bytes_min: u32,
    pub(crate) fetch_wait_max: Duration,
    pub(crate) fetch_bytes_max: u32,
    pub(crate) partition_fetch_bytes_max: u32,
    pub(crate) poll_records_max: usize,
    pub(crate) offset_reset: OffsetReset,
    pub(crate) check_crcs: bool,
    pub(crate) isolation_level: IsolationLevel,
    pub(crate) api_timeout: Duration,
    pub(crate) client_rack: String,
    pub(crate) allow_auto_create: bool,
}

const NAMES: Names = Names {
    served: common_names![
        "fetch.min.bytes",
        "fetch.max.wait.ms",
        "fetch.max.bytes",
        "max.partition.fetch.bytes",
        "max.poll.records",
        "auto.offset.reset",
        "check.crcs",
        "isolation.level",
        "default.api.timeout.ms",
        "client.rack",
        "allow.auto.create.topics",
    ],
    ignored: &[
        "key.deserializer",
        "value.deserializer",
        "receive.buffer.bytes",
        "send.buffer.bytes",
        "connections.max.idle.ms",
        "client.dns.lookup",
        "enable.auto.commit",
        "socket.connection.setup.timeout.max.ms",
        "enable.metrics.push",
    ],
    not_served: &[
        "group.id",
        "group.instance.id",
        "group.protocol",
        "session.timeout.ms",
        "heartbeat.interval.ms",
        "max.poll.interval.ms",
        "auto.commit.interval.ms",
        "partition.assignment.strategy",
        "interceptor.classes",
        "metric.reporters",
        "exclude.internal.topics",
        "security.protocol",
    ],
    removed: &[
        ("zookeeper.connect", "bootstrap.servers"),
        ("socket.timeout.ms", "request.timeout.ms"),
    ],
};

impl ConsumerConfig {
    /// Reads the properties given in code.
    ///
    /// Errors: as [`ConsumerConfig::from_properties`].
    pub fn new<K: Into<String>, V: Into<String>>(
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, ConfigError> {
        Self::from_properties(&property_map(pairs))
    }

    /// Reads the properties of a file or a scenario.
    ///
    /// Errors: an unknown name (with the nearest known one), a value out of range.
    pub fn from_properties(properties: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let reader = Reader::new(properties, &NAMES)?;
        let resets = [
            ("earliest", OffsetReset::Earliest),
            ("latest", OffsetReset::Latest),
            ("none", OffsetReset::None),
        ];
        let isolations = [
            ("read_uncommitted", IsolationLevel::ReadUncommitted),
            ("read_committed", IsolationLevel::ReadCommitted),
        ];
        let number = |name, default| {
            let number = reader.number(name, default, 0..=i32::MAX as u64)?;
            Ok(u32::try_from(number).expect("at most 2^31 − 1"))
        };
        Ok(Self {
            common: CommonConfig::read(&reader, "ottla-consumer")?,
            fetch_bytes_min: number("fetch.min.bytes", 1)?,
            fetch_wait_max: reader.millis("fetch.max.wait.ms", 500)?,
            fetch_bytes_max: number("fetch.max.bytes", 52_428_800)?,
            partition_fetch_bytes_max: number("max.partition.fetch.bytes", 1_048_576)?,
            poll_records_max: reader.size("max.poll.records", 500)?.max(1),
            offset_reset: reader.word("auto.offset.reset", OffsetReset::Latest, &resets)?,
            check_crcs: reader.flag("check.crcs", true)?,
            isolation_level: reader.word(
                "isolation.level",
                IsolationLevel::ReadUncommitted,
                &isolations,
            )?,
            api_timeout: reader.millis("default.api.timeout.ms", 60_000)?,
            client_rack: reader.text("client.rack").unwrap_or_default().to_owned(),
            allow_auto_create: reader.flag("allow.auto.create.topics", true)?,
        })
    }
}
