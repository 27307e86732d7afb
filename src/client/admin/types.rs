//! What the admin client is asked and what it answers.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::client::config::{CommonConfig, ConfigError, Names, Reader, common_names, property_map};
use crate::protocol::VersionRange;
use crate::types::{BrokerId, LeaderEpoch, Offset, PartitionIndex, Timestamp, TopicId};

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

    /// With this configuration.
    #[must_use]
    pub fn config(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.configs.insert(name.into(), value.into());
        self
    }
}

/// A topic as Metadata describes it.
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

/// A partition as Metadata describes it.
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
