//! What the admin client is asked and what it answers.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::client::config::{CommonConfig, ConfigError, Names, Reader, common_names, property_map};
use crate::client::consumer::ConsumerConfig;
use crate::protocol::VersionRange;
use crate::types::{
    BrokerId, LeaderEpoch, Offset, PartitionIndex, Timestamp, TopicId, TopicPartition, Uuid,
};

/// What an [`super::Admin`] is told once, parsed from Kafka's property names.
///
/// ```
/// use ottla::client::AdminConfig;
/// assert!(AdminConfig::new([("bootstrap.servers", "a:9092")]).is_ok());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminConfig {
    pub(crate) common: CommonConfig,
    pub(crate) api_timeout: Duration,
}

const NAMES: Names = Names {
    served: common_names!["default.api.timeout.ms"],
    ignored: &[
        "receive.buffer.bytes",
        "send.buffer.bytes",
        "connections.max.idle.ms",
        "client.dns.lookup",
        "retries",
        "socket.connection.setup.timeout.max.ms",
        "enable.metrics.push",
    ],
    not_served: &["bootstrap.controllers", "metric.reporters", "security.protocol"],
    removed: &[("zookeeper.connect", "bootstrap.servers")],
};

impl AdminConfig {
    /// Reads the properties given in code.
    ///
    /// Errors: as [`AdminConfig::from_properties`].
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
        Ok(Self {
            common: CommonConfig::read(&reader, "ottla-admin")?,
            api_timeout: reader.millis("default.api.timeout.ms", 60_000)?,
        })
    }

    /// Of an admin client that goes with a consumer: it finds the cluster the same way, and takes none of the consumer's own properties.
    /// `api_timeout` is how long each call may take (`default.api.timeout.ms`).
    #[must_use]
    pub fn beside(consumer: &ConsumerConfig, api_timeout: Duration) -> Self {
        Self { common: consumer.common.clone(), api_timeout }
    }
}

/// A topic to be made.
///
/// ```
/// use ottla::client::NewTopic;
/// let topic = NewTopic::new("orders").partitions(3).config("min.insync.replicas", "1");
/// assert_eq!(topic.partitions, Some(3));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions; `None` takes the broker's `num.partitions`.
    pub partitions: Option<u32>,
    /// How many replicas; `None` takes the broker's `default.replication.factor`.
    pub replication_factor: Option<u16>,
    /// The replicas of each partition, the preferred leader first; then the two numbers above are not given. Where it is
    /// empty the controller places them.
    pub assignments: Vec<Vec<BrokerId>>,
    /// Configuration in Kafka's names.
    pub configs: BTreeMap<String, String>,
}

impl NewTopic {
    /// A topic with the broker's defaults.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// With this many partitions.
    #[must_use]
    pub fn partitions(mut self, partitions: u32) -> Self {
        self.partitions = Some(partitions);
        self
    }

    /// With this many replicas.
    #[must_use]
    pub fn replication_factor(mut self, replication_factor: u16) -> Self {
        self.replication_factor = Some(replication_factor);
        self
    }

    /// With these replicas of each partition, the preferred leader first.
    #[must_use]
    pub fn assignments(mut self, assignments: Vec<Vec<BrokerId>>) -> Self {
        self.assignments = assignments;
        self
    }

    /// With this configuration.
    #[must_use]
    pub fn config(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.configs.insert(name.into(), value.into());
        self
    }
}

/// A topic that is to have more partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPartitions {
    /// The topic.
    pub topic: String,
    /// How many partitions it shall have in all.
    pub total: u32,
    /// Who shall hold each new one, the preferred leader first; `None` lets the controller choose.
    pub assignments: Option<Vec<Vec<BrokerId>>>,
}

impl NewPartitions {
    /// So many in all, placed by the controller.
    pub fn new(topic: impl Into<String>, total: u32) -> Self {
        Self { topic: topic.into(), total, assignments: None }
    }
}

/// A topic as its brokers describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDescription {
    /// Its name.
    pub name: String,
    /// Its id; `None` from brokers that know none.
    pub topic_id: Option<TopicId>,
    /// Whether it belongs to the cluster itself (`__consumer_offsets`).
    pub is_internal: bool,
    /// In the order of their numbers.
    pub partitions: Vec<PartitionDescription>,
}

/// A partition as its brokers describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionDescription {
    /// Its number.
    pub partition: PartitionIndex,
    /// Who leads it; `None` where nobody does.
    pub leader: Option<BrokerId>,
    /// The leader's term.
    pub leader_epoch: Option<LeaderEpoch>,
    /// All replicas, the preferred leader first.
    pub replicas: Vec<BrokerId>,
    /// The in-sync ones.
    pub in_sync_replicas: Vec<BrokerId>,
    /// Those whose broker or log directory is away.
    pub offline_replicas: Vec<BrokerId>,
    /// Those that are not in sync and still hold all that is committed (KIP-966); `None` where the broker does not tell.
    pub eligible_leader_replicas: Option<Vec<BrokerId>>,
    /// The last leader of a partition whose in-sync and eligible replicas are all gone; `None` where the broker does not tell.
    pub last_known_leader_replicas: Option<Vec<BrokerId>>,
}

/// The cluster as DescribeCluster describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterDescription {
    /// The id that `format` gave it.
    pub cluster_id: String,
    /// Who answers controllers' requests.
    pub controller: Option<BrokerId>,
    /// Its brokers, sorted.
    pub nodes: Vec<NodeDescription>,
}

/// A broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeDescription {
    /// Its id.
    pub id: BrokerId,
    /// Where clients reach it.
    pub host: String,
    /// And on which port.
    pub port: u16,
    /// `broker.rack`.
    pub rack: Option<String>,
}

/// What has a configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConfigResource {
    /// A topic.
    Topic(String),
    /// A broker; `None` for the dynamic defaults of all brokers.
    Broker(Option<BrokerId>),
    /// A consumer group, which need not be there yet.
    Group(String),
}

impl ConfigResource {
    /// Kafka: `ConfigResource.Type`, and the name.
    pub(super) fn on_the_wire(&self) -> (i8, String) {
        match self {
            Self::Topic(name) => (2, name.clone()),
            Self::Broker(id) => (4, id.map_or_else(String::new, |id| id.to_string())),
            Self::Group(id) => (32, id.clone()),
        }
    }
}

/// A change of one configuration value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigChange {
    /// Kafka's name.
    pub name: String,
    /// What becomes of it.
    pub operation: ConfigOperation,
}

/// What becomes of a configuration value (KIP-339).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigOperation {
    /// It is this.
    Set(String),
    /// It is the default again.
    Delete,
    /// This is added to the list that it is.
    Append(String),
    /// This is taken from the list that it is.
    Subtract(String),
}

impl ConfigOperation {
    /// Kafka: `AlterConfigOp.OpType`, and the value.
    pub(super) fn on_the_wire(&self) -> (i8, Option<String>) {
        match self {
            Self::Set(value) => (0, Some(value.clone())),
            Self::Delete => (1, None),
            Self::Append(value) => (2, Some(value.clone())),
            Self::Subtract(value) => (3, Some(value.clone())),
        }
    }
}

/// Whom to elect (KIP-460).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElectionType {
    /// The first replica of the assignment, where it is in sync.
    Preferred,
    /// Any replica that lives, where nobody leads; records may be lost.
    Unclean,
}

impl ElectionType {
    /// Kafka: `ElectionType`.
    pub(super) const fn on_the_wire(self) -> i8 {
        match self {
            Self::Preferred => 0,
            Self::Unclean => 1,
        }
    }
}

/// A move of a partition that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionReassignment {
    /// The partition.
    pub partition: TopicPartition,
    /// All who hold it now, those that come and those that go too.
    pub replicas: Vec<BrokerId>,
    /// Those that come.
    pub adding: Vec<BrokerId>,
    /// Those that go.
    pub removing: Vec<BrokerId>,
}

/// The metadata quorum as its leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumDescription {
    /// The active controller.
    pub leader: Option<BrokerId>,
    /// Its term.
    pub leader_epoch: Option<LeaderEpoch>,
    /// Up to where the metadata log is committed. Exclusive.
    pub high_watermark: Option<Offset>,
    /// Those that vote.
    pub voters: Vec<QuorumReplica>,
    /// Those that only follow: brokers.
    pub observers: Vec<QuorumReplica>,
}

/// A replica of the metadata log as the quorum's leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuorumReplica {
    /// The node.
    pub id: BrokerId,
    /// Its metadata directory; zero where it is not told.
    pub directory_id: Uuid,
    /// The end of its log. Exclusive.
    pub log_end_offset: Option<Offset>,
    /// When it asked last.
    pub last_fetch: Option<Timestamp>,
    /// When it had all that the leader had.
    pub last_caught_up: Option<Timestamp>,
}

/// A feature that is to have another level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureUpdate {
    /// Its name, as in `metadata.version`.
    pub feature: String,
    /// The level; 0 turns it off.
    pub level: i16,
    /// Which way it may go.
    pub upgrade_type: UpgradeType,
}

/// Which way a feature's level may go (KIP-584).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpgradeType {
    /// Only up.
    Upgrade,
    /// Down, as long as nothing is lost.
    SafeDowngrade,
    /// Down, whatever is lost.
    UnsafeDowngrade,
}

/// One configuration value of a topic or broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Kafka's name.
    pub name: String,
    /// The value in effect; `None` where it is secret or unset.
    pub value: Option<String>,
    /// Where it comes from, as DescribeConfigs numbers it (1 topic, 4 static broker, 5 default …).
    pub source: i8,
    /// Whether it may not be changed.
    pub read_only: bool,
    /// Whether its value is secret.
    pub is_sensitive: bool,
}

/// The answer to an [`OffsetSpec`](crate::protocol::OffsetSpec).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedOffset {
    /// The offset; `None` where no record is that young.
    pub offset: Option<Offset>,
    /// That record's time, where the question was about a record.
    pub timestamp: Option<Timestamp>,
    /// The term in which it was appended.
    pub leader_epoch: Option<LeaderEpoch>,
}

/// Where a leader epoch ends on the leader: the largest epoch at or below the one asked for, and the offset after its last record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    /// The epoch; `None` where the leader has none that old.
    pub leader_epoch: Option<LeaderEpoch>,
    /// Exclusive.
    pub end_offset: Option<Offset>,
}

/// Versions of an API that a broker serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServedApi {
    /// The API's number; not necessarily one that we know.
    pub api_key: i16,
    /// The versions.
    pub versions: VersionRange,
}
