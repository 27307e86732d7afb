//! The producer's properties (Kafka: `ProducerConfig`).

use std::collections::BTreeMap;
use std::time::Duration;

use crate::client::config::{CommonConfig, ConfigError, Names, Reader, common_names, property_map};
use crate::protocol::compression::Codec;
use crate::types::Acks;

/// Who chooses the partition of a record that names none: `partitioner`, a word of ours for Kafka's `partitioner.class`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PartitionerKind {
    /// With a key by its hash; without one, the same partition until a batch is full (KIP-480, KIP-794). Kafka's default.
    Sticky,
    /// By the hash of the key; a record without key counts as one with an empty key.
    Key,
    /// One after another, keys ignored (Kafka: `RoundRobinPartitioner`).
    RoundRobin,
    /// Drawn for each record, keys ignored.
    Random,
}

/// What a [`super::Producer`] is told once, parsed from Kafka's property names.
///
/// ```
/// use ottla::client::ProducerConfig;
/// let config = ProducerConfig::new([("bootstrap.servers", "127.0.0.1:9092"), ("linger.ms", "0")])?;
/// assert!(config.enable_idempotence());
/// let error = ProducerConfig::new([("bootstrap.servers", "127.0.0.1:9092"), ("linger.size", "0")]);
/// assert_eq!(error.unwrap_err().to_string(), "unknown property linger.size: did you mean linger.ms?");
/// # Ok::<(), ottla::client::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerConfig {
    pub(crate) common: CommonConfig,
    pub(crate) acks: Acks,
    pub(crate) batch_size: usize,
    pub(crate) linger: Duration,
    pub(crate) buffer_memory: usize,
    pub(crate) block_max: Duration,
    pub(crate) request_size_max: usize,
    pub(crate) compression: Codec,
    pub(crate) retries: u32,
    pub(crate) delivery_timeout: Duration,
    pub(crate) in_flight_max: usize,
    pub(crate) idempotence: bool,
    pub(crate) partitioner: PartitionerKind,
    pub(crate) partitioner_ignore_keys: bool,
    pub(crate) partitioner_is_adaptive: bool,
}

const NAMES: Names = Names {
    served: common_names![
        "acks",
        "batch.size",
        "linger.ms",
        "buffer.memory",
        "max.block.ms",
        "max.request.size",
        "compression.type",
        "retries",
        "delivery.timeout.ms",
        "max.in.flight.requests.per.connection",
        "enable.idempotence",
        "partitioner",
        "partitioner.ignore.keys",
        "partitioner.adaptive.partitioning.enable",
    ],
    ignored: &[
        "key.serializer",
        "value.serializer",
        "receive.buffer.bytes",
        "send.buffer.bytes",
        "connections.max.idle.ms",
        "client.dns.lookup",
        "metadata.max.idle.ms",
        "socket.connection.setup.timeout.max.ms",
        "enable.metrics.push",
    ],
    not_served: &[
        "transactional.id",
        "transaction.timeout.ms",
        "interceptor.classes",
        "metric.reporters",
        "partitioner.class",
        "partitioner.availability.timeout.ms",
        "security.protocol",
        "compression.gzip.level",
        "compression.lz4.level",
        "compression.zstd.level",
    ],
    removed: &[
        ("timeout.ms", "request.timeout.ms"),
        ("metadata.fetch.timeout.ms", "max.block.ms"),
        ("block.on.buffer.full", "max.block.ms"),
        ("max.in.flight", "max.in.flight.requests.per.connection"),
        ("metadata.broker.list", "bootstrap.servers"),
    ],
};

/// The broker remembers this many batches of a producer for each partition (Kafka: `ProducerStateEntry.NUM_BATCHES_TO_RETAIN`).
pub(crate) const IDEMPOTENT_IN_FLIGHT_MAX: usize = 5;

impl ProducerConfig {
    /// Reads the properties given in code.
    ///
    /// Errors: as [`ProducerConfig::from_properties`].
    pub fn new<K: Into<String>, V: Into<String>>(
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, ConfigError> {
        Self::from_properties(&property_map(pairs))
    }

    /// Reads the properties of a file or a scenario.
    ///
    /// Errors: an unknown name (with the nearest known one), a value out of range, a combination that Kafka refuses
    /// (Kafka: `ProducerConfig.postProcessAndValidateIdempotenceConfigs`, `KafkaProducer.configureDeliveryTimeout`).
    pub fn from_properties(properties: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let reader = Reader::new(properties, &NAMES)?;
        let acks_words =
            [("all", Acks::All), ("-1", Acks::All), ("1", Acks::Leader), ("0", Acks::None)];
        let retries = reader.number("retries", i32::MAX as u64, 0..=i32::MAX as u64)?;
        let in_flight = reader.size("max.in.flight.requests.per.connection", 5)?;
        if in_flight == 0 {
            return Err(ConfigError::Value {
                name: "max.in.flight.requests.per.connection".to_owned(),
                value: "0".to_owned(),
                expected: "at least 1".to_owned(),
                nearest: None,
            });
        }
        let mut config = Self {
            common: CommonConfig::read(&reader, "ottla-producer")?,
            acks: reader.word("acks", Acks::All, &acks_words)?,
            batch_size: reader.size("batch.size", 16_384)?,
            linger: reader.millis("linger.ms", 5)?,
            buffer_memory: reader.size("buffer.memory", 33_554_432)?,
            block_max: reader.millis("max.block.ms", 60_000)?,
            request_size_max: reader.size("max.request.size", 1_048_576)?,
            compression: reader.word("compression.type", Codec::None, &COMPRESSIONS)?,
            retries: u32::try_from(retries).expect("at most 2^31 − 1"),
            delivery_timeout: reader.millis("delivery.timeout.ms", 120_000)?,
            in_flight_max: in_flight,
            idempotence: reader.flag("enable.idempotence", true)?,
            partitioner: reader.word("partitioner", PartitionerKind::Sticky, &PARTITIONERS)?,
            partitioner_ignore_keys: reader.flag("partitioner.ignore.keys", false)?,
            partitioner_is_adaptive: reader
                .flag("partitioner.adaptive.partitioning.enable", true)?,
        };
        config.check_idempotence(reader.is_set("enable.idempotence"))?;
        config.check_delivery_timeout(reader.is_set("delivery.timeout.ms"))?;
        Ok(config)
    }

    /// Whether records carry a producer id and sequences: on, unless set off or excluded by `acks`, `retries` or the
    /// number in flight.
    #[must_use]
    pub fn enable_idempotence(&self) -> bool {
        self.idempotence
    }

    /// When the broker answers.
    #[must_use]
    pub fn acks(&self) -> Acks {
        self.acks
    }

    /// A combination that idempotence excludes turns it off where the user did not ask for it, and is an error where he did.
    fn check_idempotence(&mut self, asked_for: bool) -> Result<(), ConfigError> {
        if !self.idempotence {
            return Ok(());
        }
        let excluded = if self.retries == 0 {
            "retries must not be 0"
        } else if self.acks != Acks::All {
            "acks must be all"
        } else if self.in_flight_max > IDEMPOTENT_IN_FLIGHT_MAX {
            "max.in.flight.requests.per.connection must be at most 5"
        } else {
            return Ok(());
        };
        if asked_for {
            return Err(ConfigError::Combination(format!("enable.idempotence=true: {excluded}")));
        }
        self.idempotence = false;
        Ok(())
    }

    /// A delivery must have time for lingering and one request.
    fn check_delivery_timeout(&mut self, set: bool) -> Result<(), ConfigError> {
        let least = self.linger + self.common.request_timeout;
        if self.delivery_timeout >= least {
            return Ok(());
        }
        if set {
            return Err(ConfigError::Combination(
                "delivery.timeout.ms must be at least linger.ms + request.timeout.ms".to_owned(),
            ));
        }
        self.delivery_timeout = least;
        Ok(())
    }
}

const COMPRESSIONS: [(&str, Codec); 5] = [
    ("none", Codec::None),
    ("gzip", Codec::Gzip),
    ("snappy", Codec::Snappy),
    ("lz4", Codec::Lz4),
    ("zstd", Codec::Zstd),
];

const PARTITIONERS: [(&str, PartitionerKind); 4] = [
    ("sticky", PartitionerKind::Sticky),
    ("key", PartitionerKind::Key),
    ("round-robin", PartitionerKind::RoundRobin),
    ("random", PartitionerKind::Random),
];

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[track_caller]
    fn check(pairs: &[(&str, &str)], expected: Expect) {
        let mut all = vec![("bootstrap.servers", "a:1,[::1]:2")];
        all.extend(pairs);
        let text = match ProducerConfig::new(all) {
            Ok(config) => format!(
                "acks {:?} idempotence {} in flight {} delivery {:?}",
                config.acks, config.idempotence, config.in_flight_max, config.delivery_timeout
            ),
            Err(error) => format!("error: {error}"),
        };
        expected.assert_eq(&text);
    }

    #[test]
    fn defaults_are_kafkas() {
        check(&[], expect!["acks All idempotence true in flight 5 delivery 120s"]);
    }

    #[test]
    fn idempotence_is_turned_off_by_what_excludes_it_unless_asked_for() {
        check(&[("acks", "1")], expect!["acks Leader idempotence false in flight 5 delivery 120s"]);
        check(&[("retries", "0")], expect!["acks All idempotence false in flight 5 delivery 120s"]);
        check(
            &[("max.in.flight.requests.per.connection", "6")],
            expect!["acks All idempotence false in flight 6 delivery 120s"],
        );
        check(
            &[("acks", "0"), ("enable.idempotence", "true")],
            expect!["error: enable.idempotence=true: acks must be all"],
        );
    }

    #[test]
    fn a_delivery_has_time_for_one_request() {
        check(
            &[("request.timeout.ms", "200000")],
            expect!["acks All idempotence true in flight 5 delivery 200.005s"],
        );
        check(
            &[("delivery.timeout.ms", "1000")],
            expect!["error: delivery.timeout.ms must be at least linger.ms + request.timeout.ms"],
        );
    }

    #[test]
    fn wrong_names_and_words_are_answered_with_the_nearest() {
        check(
            &[("linger.size", "1")],
            expect!["error: unknown property linger.size: did you mean linger.ms?"],
        );
        check(&[("Acks", "1")], expect!["error: unknown property Acks: did you mean acks?"]);
        check(
            &[("compression.type", "gzp")],
            expect![
                "error: compression.type=gzp: one of none, gzip, snappy, lz4, zstd; did you mean gzip?"
            ],
        );
        check(
            &[("timeout.ms", "1")],
            expect!["error: timeout.ms is gone from Kafka's clients: use request.timeout.ms"],
        );
        check(
            &[("batch.size", "-1")],
            expect!["error: batch.size=-1: a whole number in 0..=2147483647"],
        );
        check(
            &[("transactional.id", "t")],
            expect!["error: transactional.id is not served by this client yet"],
        );
    }

    #[test]
    fn bootstrap_servers_must_be_there_and_be_addresses() {
        let none: [(&str, &str); 0] = [];
        let missing = ProducerConfig::new(none).unwrap_err();
        assert_eq!(missing.to_string(), "bootstrap.servers must be set");
        let bad = ProducerConfig::new([("bootstrap.servers", "somewhere")]).unwrap_err();
        let expected =
            expect!["bootstrap.servers=somewhere: host:port, several separated by commas"];
        expected.assert_eq(&bad.to_string());
    }
}
