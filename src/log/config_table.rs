//! The table of topic configurations: names, types, defaults, ranges, and what they are called for the whole broker.
//!
//! Kafka: `TopicConfig`, `LogConfig`, `ServerTopicConfigSynonyms` (names and defaults of 4.x).

/// The type of a configuration's value, as DescribeConfigs numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigType {
    /// `true` or `false`.
    Boolean,
    /// A word.
    String,
    /// A number of 32 bits.
    Int,
    /// A number of 64 bits.
    Long,
    /// A number with a fraction.
    Double,
    /// Words separated by commas.
    List,
}

impl ConfigType {
    /// The number in a DescribeConfigs response (Kafka: `ConfigEntry.ConfigType`).
    #[must_use]
    pub const fn id(self) -> i8 {
        match self {
            Self::Boolean => 1,
            Self::String => 2,
            Self::Int => 3,
            Self::Long => 5,
            Self::Double => 6,
            Self::List => 7,
        }
    }

    /// Kafka's name, for messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Boolean => "BOOLEAN",
            Self::String => "STRING",
            Self::Int => "INT",
            Self::Long => "LONG",
            Self::Double => "DOUBLE",
            Self::List => "LIST",
        }
    }
}

/// Which values a configuration takes, beyond its type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Allowed {
    /// All of them.
    Any,
    /// Numbers from this one on.
    AtLeast(i64),
    /// Numbers from the first to the second, inclusive.
    Between(i64, i64),
    /// Fractions from 0 to 1, inclusive.
    Ratio,
    /// One of these words; a list takes any of them.
    OneOf(&'static [&'static str]),
}

/// What a configuration is called in `server.properties`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokerName {
    /// The name.
    pub name: &'static str,
    /// What its value is multiplied with: hours and minutes to milliseconds.
    pub factor: i64,
}

/// One topic configuration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConfigKey {
    /// Its name, as in `retention.ms`.
    pub name: &'static str,
    /// The type of its value.
    pub kind: ConfigType,
    /// Kafka's default, as text.
    pub default: &'static str,
    /// Which values it takes.
    pub allowed: Allowed,
    /// Its names for the whole broker; the first one that is set counts.
    pub broker_names: &'static [BrokerName],
    /// One line of documentation.
    pub doc: &'static str,
}

const fn same(name: &'static str) -> BrokerName {
    BrokerName { name, factor: 1 }
}

const fn minutes(name: &'static str) -> BrokerName {
    BrokerName { name, factor: 60_000 }
}

const fn hours(name: &'static str) -> BrokerName {
    BrokerName { name, factor: 3_600_000 }
}

const fn key(
    name: &'static str,
    kind: ConfigType,
    default: &'static str,
    allowed: Allowed,
    broker_names: &'static [BrokerName],
    doc: &'static str,
) -> ConfigKey {
    ConfigKey { name, kind, default, allowed, broker_names, doc }
}

/// `Long.MAX_VALUE`: how Kafka writes "never".
pub(super) const NEVER: &str = "9223372036854775807";
/// Smaller segments than this are taken only from `internal.segment.bytes` (KIP-1030).
const SEGMENT_BYTES_MIN: i64 = 1_048_576;

use Allowed::{Any, AtLeast, Between, OneOf, Ratio};
use ConfigType::{Boolean, Double, Int, List, Long, String};

/// Every topic configuration, sorted by name.
#[rustfmt::skip]
pub const TOPIC_CONFIGS: &[ConfigKey] = &[
    key("cleanup.policy", List, "delete", OneOf(&["compact", "delete"]), &[same("log.cleanup.policy")],
        "What becomes of old segments: delete removes them after retention.ms or beyond retention.bytes, compact keeps the last record of each key."),
    key("compression.gzip.level", Int, "-1", Between(-1, 9), &[same("compression.gzip.level")],
        "How hard gzip works where compression.type is gzip: 1 to 9, -1 for its own default."),
    key("compression.lz4.level", Int, "9", Between(1, 17), &[same("compression.lz4.level")],
        "How hard lz4 works where compression.type is lz4. Taken, but this broker's lz4 has one level only."),
    key("compression.type", String, "producer", OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), &[same("compression.type")],
        "How batches are compressed in the log; producer keeps what the producer chose."),
    key("compression.zstd.level", Int, "3", Between(-131_072, 22), &[same("compression.zstd.level")],
        "How hard zstd works where compression.type is zstd."),
    key("delete.retention.ms", Long, "86400000", AtLeast(0), &[same("log.cleaner.delete.retention.ms")],
        "How long tombstones stay in a compacted log."),
    key("file.delete.delay.ms", Long, "60000", AtLeast(0), &[same("log.segment.delete.delay.ms")],
        "How long a removed segment's files stay on disk, for readers that have them open."),
    key("flush.messages", Long, NEVER, AtLeast(1), &[same("log.flush.interval.messages")],
        "The log is synced to disk after so many records. The default leaves it to the operating system and to replication."),
    key("flush.ms", Long, NEVER, AtLeast(0), &[same("log.flush.interval.ms"), same("log.flush.scheduler.interval.ms")],
        "The log is synced to disk after so long."),
    key("index.interval.bytes", Int, "4096", AtLeast(0), &[same("log.index.interval.bytes")],
        "An index entry is written for the first batch after so many bytes of log."),
    key("internal.segment.bytes", Int, "", AtLeast(1_024), &[],
        "For tests: overrides segment.bytes and may be as small as 1024."),
    key("max.compaction.lag.ms", Long, NEVER, AtLeast(1), &[same("log.cleaner.max.compaction.lag.ms")],
        "A record is compacted at the latest after so long."),
    key("max.message.bytes", Int, "1048588", AtLeast(0), &[same("message.max.bytes")],
        "The largest batch that is taken, after compression."),
    key("message.timestamp.after.max.ms", Long, "3600000", AtLeast(0), &[same("log.message.timestamp.after.max.ms")],
        "How far a record's timestamp may lie ahead of the broker's clock. Not asked with LogAppendTime."),
    key("message.timestamp.before.max.ms", Long, NEVER, AtLeast(0), &[same("log.message.timestamp.before.max.ms")],
        "How far a record's timestamp may lie behind the broker's clock. Not asked with LogAppendTime."),
    key("message.timestamp.type", String, "CreateTime", OneOf(&["CreateTime", "LogAppendTime"]), &[same("log.message.timestamp.type")],
        "Whose clock stamps the records: the producer's (CreateTime) or the broker's (LogAppendTime)."),
    key("min.cleanable.dirty.ratio", Double, "0.5", Ratio, &[same("log.cleaner.min.cleanable.ratio")],
        "How much of a compacted log must be uncompacted before it is compacted again."),
    key("min.compaction.lag.ms", Long, "0", AtLeast(0), &[same("log.cleaner.min.compaction.lag.ms")],
        "How long a record stays uncompacted at least."),
    key("min.insync.replicas", Int, "1", AtLeast(1), &[same("min.insync.replicas")],
        "How many replicas must have a record before a producer with acks=all is answered."),
    key("preallocate", Boolean, "false", Any, &[same("log.preallocate")],
        "Whether a new segment's file takes its space at once."),
    key("retention.bytes", Long, "-1", AtLeast(-1), &[same("log.retention.bytes")],
        "How many bytes a partition keeps before its oldest segments go; -1 without limit."),
    key("retention.ms", Long, "604800000", AtLeast(-1), &[same("log.retention.ms"), minutes("log.retention.minutes"), hours("log.retention.hours")],
        "How long a partition keeps records before its oldest segments go; -1 for ever."),
    key("segment.bytes", Int, "1073741824", AtLeast(SEGMENT_BYTES_MIN), &[same("log.segment.bytes")],
        "The size at which a segment file is closed and a new one begun."),
    key("segment.index.bytes", Int, "10485760", AtLeast(4), &[same("log.index.size.max.bytes")],
        "The size of an index file: a full one closes the segment."),
    key("segment.jitter.ms", Long, "0", AtLeast(0), &[same("log.roll.jitter.ms"), hours("log.roll.jitter.hours")],
        "At most so much is drawn at random from segment.ms, so that not all logs roll at once."),
    key("segment.ms", Long, "604800000", AtLeast(1), &[same("log.roll.ms"), hours("log.roll.hours")],
        "The age at which a segment file is closed even if it is not full."),
    key("unclean.leader.election.enable", Boolean, "false", Any, &[same("unclean.leader.election.enable")],
        "Whether a replica that is not in sync may become leader where no other can: records may be lost."),
];
