//! What a configuration says of consumer groups: their members' sessions, and the topic in which they are kept.
//!
//! Kafka: `GroupCoordinatorConfig`.

use std::time::Duration;

use super::Reader;
use crate::coordinator::group::assignor::Assignor;
use crate::coordinator::group::{GroupConfig, MigrationPolicy};
use crate::metadata::group_config::{GroupConfigRange, GroupConfigRanges};
use crate::protocol::compression::Codec;

/// How groups are coordinated. Each field names Kafka's property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupsConfig {
    /// `group.*`, `offset.metadata.max.bytes`, `offsets.retention.*`.
    pub coordinator: GroupConfig,
    /// `group.consumer.min.…` and `group.consumer.max.…`: what single groups may set.
    pub group_configs: GroupConfigRanges,
    /// `group.coordinator.rebalance.protocols` names `consumer`: groups of the protocol of KIP-848 are served, where the cluster's
    /// `group.version` says so too.
    pub consumer_protocol: bool,
    /// The topic `__consumer_offsets`, as it is made when the first client looks for a coordinator.
    pub offsets_topic: OffsetsTopicConfig,
    /// `offsets.commit.timeout.ms`: how long a reply waits until what it speaks of is committed.
    pub commit_timeout: Duration,
    /// `offsets.load.buffer.size`: how much of a partition is read at once when a coordinator begins, in bytes.
    pub load_bytes: usize,
}

/// How the offsets topic is made. Each field names Kafka's property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetsTopicConfig {
    /// `offsets.topic.num.partitions`.
    pub partitions: i32,
    /// `offsets.topic.replication.factor`. Never lowered: with fewer brokers the topic is not made.
    pub replication_factor: i16,
    /// `offsets.topic.segment.bytes`.
    pub segment_bytes: i32,
    /// `offsets.topic.compression.codec`: of the batches that coordinators write.
    pub compression: Codec,
}

impl Reader {
    pub(super) fn groups(&mut self) -> GroupsConfig {
        let coordinator = self.coordinator();
        if coordinator.session_timeout_min > coordinator.session_timeout_max {
            self.conflict(
                "group.min.session.timeout.ms",
                "group.min.session.timeout.ms is above group.max.session.timeout.ms".to_owned(),
                "no member could have a session, so none would be let into a group",
                "set it to group.max.session.timeout.ms or less",
            );
        }
        self.consumer_limits();
        let protocols = self.list("group.coordinator.rebalance.protocols");
        if !protocols.iter().any(|protocol| protocol == "classic") {
            self.conflict(
                "group.coordinator.rebalance.protocols",
                "group.coordinator.rebalance.protocols leaves out classic".to_owned(),
                "the classic protocol is always spoken",
                "add classic to it",
            );
        }
        let replication_factor = self.int("offsets.topic.replication.factor");
        GroupsConfig {
            coordinator,
            group_configs: GroupConfigRanges {
                session_timeout: self.range_of("session.timeout.ms"),
                heartbeat_interval: self.range_of("heartbeat.interval.ms"),
            },
            consumer_protocol: protocols.iter().any(|protocol| protocol == "consumer"),
            offsets_topic: OffsetsTopicConfig {
                partitions: self.int("offsets.topic.num.partitions"),
                replication_factor: i16::try_from(replication_factor).expect("a number of 16 bits"),
                segment_bytes: self.int("offsets.topic.segment.bytes"),
                compression: codec(self.int("offsets.topic.compression.codec")),
            },
            commit_timeout: self.span("offsets.commit.timeout.ms"),
            load_bytes: self.size("offsets.load.buffer.size"),
        }
    }

    fn range_of(&self, name: &str) -> GroupConfigRange {
        let value = |which: &str| self.int(&format!("group.consumer.{which}{name}"));
        GroupConfigRange { min: value("min."), max: value("max."), default: value("") }
    }

    fn coordinator(&self) -> GroupConfig {
        let retention_minutes = self.bytes("offsets.retention.minutes");
        GroupConfig {
            initial_rebalance_delay: self.span("group.initial.rebalance.delay.ms"),
            session_timeout_min: self.span("group.min.session.timeout.ms"),
            session_timeout_max: self.span("group.max.session.timeout.ms"),
            size_max: self.size("group.max.size"),
            offset_metadata_bytes_max: self.size("offset.metadata.max.bytes"),
            offsets_retention: Duration::from_secs(60 * retention_minutes),
            offsets_retention_check_interval: self.span("offsets.retention.check.interval.ms"),
            consumer_session_timeout: self.span("group.consumer.session.timeout.ms"),
            consumer_heartbeat_interval: self.span("group.consumer.heartbeat.interval.ms"),
            consumer_size_max: self.size("group.consumer.max.size"),
            consumer_assignors: self.assignors(),
            consumer_migration: self.migration_policy(),
        }
    }

    fn migration_policy(&self) -> MigrationPolicy {
        match self.text("group.consumer.migration.policy") {
            Some("disabled") => MigrationPolicy::Disabled,
            Some("upgrade") => MigrationPolicy::Upgrade,
            Some("downgrade") => MigrationPolicy::Downgrade,
            Some("bidirectional") => MigrationPolicy::Bidirectional,
            Some(_) | None => unreachable!("the range was checked, and there is a default"),
        }
    }

    /// Each once, in the order in which they are named, by Kafka's short names or those of its classes.
    fn assignors(&self) -> Vec<Assignor> {
        let mut assignors = Vec::new();
        for name in self.list("group.consumer.assignors") {
            let assignor = match name.as_str() {
                "uniform" | "org.apache.kafka.coordinator.group.assignor.UniformAssignor" => {
                    Assignor::Uniform
                }
                "range" | "org.apache.kafka.coordinator.group.assignor.RangeAssignor" => {
                    Assignor::Range
                }
                _ => unreachable!("the range was checked"),
            };
            if !assignors.contains(&assignor) {
                assignors.push(assignor);
            }
        }
        assignors
    }

    /// Kafka: the requirements at the end of `GroupCoordinatorConfig`'s constructor.
    fn consumer_limits(&mut self) {
        if self.list("group.consumer.assignors").is_empty() {
            self.conflict(
                "group.consumer.assignors",
                "group.consumer.assignors names none".to_owned(),
                "the members of a consumer group could not be given anything",
                "name uniform, range, or both; Kafka's default is uniform,range",
            );
        }
        let at_most = [
            ("group.consumer.min.session.timeout.ms", "group.consumer.session.timeout.ms"),
            ("group.consumer.session.timeout.ms", "group.consumer.max.session.timeout.ms"),
            ("group.consumer.min.heartbeat.interval.ms", "group.consumer.heartbeat.interval.ms"),
            ("group.consumer.heartbeat.interval.ms", "group.consumer.max.heartbeat.interval.ms"),
        ];
        for (low, high) in at_most {
            if self.int(low) > self.int(high) {
                let next = format!("set {low} to {} or less, or raise {high}", self.int(high));
                let why = "no value is between the two";
                self.conflict(low, format!("{low} is above {high}"), why, &next);
            }
        }
        let (interval, session) =
            ("group.consumer.heartbeat.interval.ms", "group.consumer.session.timeout.ms");
        if self.int(interval) >= self.int(session) {
            self.conflict(
                interval,
                format!("{interval} is not below {session}"),
                "a member's session would end before it sends its next heartbeat",
                "set it lower, to a third of the session at most",
            );
        }
    }
}

/// Kafka: `CompressionType.forId`.
fn codec(number: i32) -> Codec {
    match number {
        0 => Codec::None,
        1 => Codec::Gzip,
        2 => Codec::Snappy,
        3 => Codec::Lz4,
        4 => Codec::Zstd,
        _ => unreachable!("the range was checked"),
    }
}
