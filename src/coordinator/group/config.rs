//! What the group coordinator is told once, at its start, and what single groups set while it works.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::assignor::Assignor;

/// Whether a group that has members may change its protocol (Kafka: `ConsumerGroupMigrationPolicy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrationPolicy {
    /// It may not.
    Disabled,
    /// From the classic protocol to the consumer protocol.
    Upgrade,
    /// From the consumer protocol to the classic one.
    Downgrade,
    /// Both ways: Kafka's default.
    Bidirectional,
}

impl MigrationPolicy {
    /// Whether a classic group may become one of the consumer protocol.
    #[must_use]
    pub const fn allows_upgrade(self) -> bool {
        match self {
            Self::Upgrade | Self::Bidirectional => true,
            Self::Disabled | Self::Downgrade => false,
        }
    }

    /// Whether a group of the consumer protocol may become a classic one.
    #[must_use]
    pub const fn allows_downgrade(self) -> bool {
        match self {
            Self::Downgrade | Self::Bidirectional => true,
            Self::Disabled | Self::Upgrade => false,
        }
    }
}

/// What a single group sets (KIP-848); `None` where the coordinator's own setting holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupOverrides {
    /// How long a member of the consumer protocol may be silent (`consumer.session.timeout.ms`).
    pub session_timeout: Option<Duration>,
    /// How often such members are to send heartbeats (`consumer.heartbeat.interval.ms`).
    pub heartbeat_interval: Option<Duration>,
}

/// The groups that set anything, by id; they need not be there.
pub type OverridesTable = BTreeMap<Arc<str>, GroupOverrides>;

/// The coordinator's settings. The defaults are Kafka's (`GroupCoordinatorConfig`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// How long a group that was empty waits for more members before its first generation
    /// (`group.initial.rebalance.delay.ms`). Each member that comes meanwhile lengthens it, up to the rebalance timeout.
    pub initial_rebalance_delay: Duration,
    /// The shortest session timeout that a member of the classic protocol may have (`group.min.session.timeout.ms`).
    pub session_timeout_min: Duration,
    /// The longest (`group.max.session.timeout.ms`).
    pub session_timeout_max: Duration,
    /// How many members a group may have (`group.max.size`).
    pub size_max: usize,
    /// The longest metadata beside an offset, in bytes (`offset.metadata.max.bytes`).
    pub offset_metadata_bytes_max: usize,
    /// How long offsets are kept, since their group is empty, or since they were committed where there is no group or it does not
    /// read the topic any more (`offsets.retention.minutes`, KIP-211).
    pub offsets_retention: Duration,
    /// How often offsets are looked through for expired ones (`offsets.retention.check.interval.ms`).
    pub offsets_retention_check_interval: Duration,
    /// How long a member of a consumer group may be silent (`group.consumer.session.timeout.ms`).
    pub consumer_session_timeout: Duration,
    /// How often members of consumer groups are to send heartbeats (`group.consumer.heartbeat.interval.ms`).
    pub consumer_heartbeat_interval: Duration,
    /// How many members a consumer group may have (`group.consumer.max.size`).
    pub consumer_size_max: usize,
    /// The assignors that members may want, at least one; the first is for groups whose members want none (`group.consumer.assignors`).
    pub consumer_assignors: Vec<Assignor>,
    /// Whether groups that have members change their protocol (`group.consumer.migration.policy`).
    pub consumer_migration: MigrationPolicy,
}

impl Default for GroupConfig {
    fn default() -> Self {
        let any_number = usize::try_from(i32::MAX).expect("a count of 31 bits");
        Self {
            initial_rebalance_delay: Duration::from_millis(3_000),
            session_timeout_min: Duration::from_millis(6_000),
            session_timeout_max: Duration::from_millis(1_800_000),
            size_max: any_number,
            offset_metadata_bytes_max: 4_096,
            offsets_retention: Duration::from_secs(60 * 10_080),
            offsets_retention_check_interval: Duration::from_millis(600_000),
            consumer_session_timeout: Duration::from_millis(45_000),
            consumer_heartbeat_interval: Duration::from_millis(5_000),
            consumer_size_max: any_number,
            consumer_assignors: vec![Assignor::Uniform, Assignor::Range],
            consumer_migration: MigrationPolicy::Bidirectional,
        }
    }
}
