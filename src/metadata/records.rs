//! The records of the metadata log, and their bytes.
//!
//! A record is one change of the cluster's state, already decided: replaying it never fails for a reason of policy. Replicas
//! come in the order of preference, brokers are named by id. The wire's sentinels are gone here.
//!
//! Kafka: `metadata/src/main/resources/common/metadata/*.json`, `MetadataRecordSerde`.

use std::sync::Arc;

use super::ConfigResource;
pub use crate::protocol::{LeaderChange, LeaderRecoveryState};
use crate::types::{
    BrokerEpoch, BrokerId, LeaderEpoch, PartitionEpoch, PartitionIndex, ProducerId, TopicId, Uuid,
};

/// One change of the cluster's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A broker entered the cluster, or amends its registration.
    RegisterBroker(RegisterBroker),
    /// A broker left the cluster for good.
    UnregisterBroker(BrokerIncarnation),
    /// A topic was created; its configs and partitions follow in the same batch.
    Topic(Topic),
    /// A partition was created.
    Partition(Partition),
    /// A partition changed.
    PartitionChange(PartitionChange),
    /// A config of a topic or broker was set or removed.
    Config(Config),
    /// A broker may lead no longer.
    FenceBroker(BrokerIncarnation),
    /// A broker may lead.
    UnfenceBroker(BrokerIncarnation),
    /// A topic was deleted, with its partitions and configs.
    RemoveTopic(RemoveTopic),
    /// A feature of the cluster has a new level.
    FeatureLevel(FeatureLevel),
    /// Producer ids below this one are given out.
    ProducerIds(ProducerIds),
    /// Parts of a broker's registration changed.
    BrokerRegistrationChange(BrokerRegistrationChange),
    /// Nothing: keeps the high watermark moving.
    NoOp,
    /// The records up to the matching end take effect together, or not at all (KIP-868).
    BeginTransaction(Option<String>),
    /// The records since the matching begin take effect.
    EndTransaction,
    /// The records since the matching begin never were. Carries the reason.
    AbortTransaction(Option<String>),
}

/// A broker's process, from its registration to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokerIncarnation {
    /// The broker.
    pub broker: BrokerId,
    /// Which of its registrations is meant.
    pub broker_epoch: BrokerEpoch,
}

/// An address at which a broker serves.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// The listener's name, as `listeners` gives it.
    pub name: String,
    /// Host name or address that clients connect to.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Kafka's number of the security protocol: 0 is PLAINTEXT.
    pub security_protocol: i16,
}

/// The levels of a feature that a broker supports, both inclusive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FeatureRange {
    /// The feature's name.
    pub name: String,
    /// The lowest level supported.
    pub level_min: i16,
    /// The highest level supported.
    pub level_max: i16,
}

/// A broker entered the cluster, or amends its registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterBroker {
    /// The broker.
    pub broker: BrokerId,
    /// Names the broker's process: another one at each start.
    pub incarnation_id: Uuid,
    /// The offset of the record that registered this incarnation first.
    pub broker_epoch: BrokerEpoch,
    /// Where it serves.
    pub endpoints: Vec<Endpoint>,
    /// What it supports.
    pub features: Vec<FeatureRange>,
    /// Where it stands.
    pub rack: Option<String>,
    /// Whether it may not lead yet.
    pub fenced: bool,
    /// Whether it is on its way out.
    pub in_controlled_shutdown: bool,
    /// The ids of its working log directories.
    pub log_dirs: Vec<Uuid>,
}

/// A topic was created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: Arc<str>,
    /// Its identity.
    pub topic_id: TopicId,
}

/// A partition was created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// The topic.
    pub topic_id: TopicId,
    /// The partition.
    pub partition: PartitionIndex,
    /// The brokers that hold it, the preferred leader first.
    pub replicas: Vec<BrokerId>,
    /// Those in sync.
    pub isr: Vec<BrokerId>,
    /// Those a reassignment removes.
    pub removing_replicas: Vec<BrokerId>,
    /// Those a reassignment adds.
    pub adding_replicas: Vec<BrokerId>,
    /// Who leads.
    pub leader: Option<BrokerId>,
    /// How it came to lead.
    pub leader_recovery_state: LeaderRecoveryState,
    /// The leader's term.
    pub leader_epoch: LeaderEpoch,
    /// The version of all this.
    pub partition_epoch: PartitionEpoch,
    /// The log directory of each replica, in the order of `replicas`.
    pub directories: Vec<Uuid>,
    /// Those out of sync that hold everything committed (KIP-966).
    pub eligible_leader_replicas: Vec<BrokerId>,
    /// The last leader of a partition whose in-sync and eligible replicas are gone.
    pub last_known_elr: Vec<BrokerId>,
}

/// A partition changed. `None` leaves a field as it is; the partition epoch always rises by one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionChange {
    /// The topic.
    pub topic_id: TopicId,
    /// The partition.
    pub partition: PartitionIndex,
    /// Those now in sync.
    pub isr: Option<Vec<BrokerId>>,
    /// Who leads now.
    pub leader: LeaderChange,
    /// The brokers that hold it now.
    pub replicas: Option<Vec<BrokerId>>,
    /// Those a reassignment now removes.
    pub removing_replicas: Option<Vec<BrokerId>>,
    /// Those a reassignment now adds.
    pub adding_replicas: Option<Vec<BrokerId>>,
    /// How the leader came to lead.
    pub leader_recovery_state: Option<LeaderRecoveryState>,
    /// The log directory of each replica.
    pub directories: Option<Vec<Uuid>>,
    /// Those out of sync that hold everything committed.
    pub eligible_leader_replicas: Option<Vec<BrokerId>>,
    /// The last leader of a partition whose in-sync and eligible replicas are gone.
    pub last_known_elr: Option<Vec<BrokerId>>,
}

impl PartitionChange {
    /// A change of nothing yet.
    #[must_use]
    pub fn new(topic_id: TopicId, partition: PartitionIndex) -> Self {
        Self {
            topic_id,
            partition,
            isr: None,
            leader: LeaderChange::Unchanged,
            replicas: None,
            removing_replicas: None,
            adding_replicas: None,
            leader_recovery_state: None,
            directories: None,
            eligible_leader_replicas: None,
            last_known_elr: None,
        }
    }

    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::new(self.topic_id, self.partition)
    }
}

/// A config was set or removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Whose config.
    pub resource: ConfigResource,
    /// Kafka's key.
    pub name: String,
    /// The value; `None` goes back to the default.
    pub value: Option<String>,
}

/// A topic was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoveTopic {
    /// The topic.
    pub topic_id: TopicId,
}

/// A feature of the cluster has a new level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureLevel {
    /// The feature's name.
    pub name: String,
    /// The level; 0 turns it off.
    pub level: i16,
}

/// Producer ids below this one are given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerIds {
    /// The broker that asked last.
    pub broker: BrokerId,
    /// Its incarnation.
    pub broker_epoch: BrokerEpoch,
    /// The first id that nobody has been given.
    pub next_producer_id: ProducerId,
}

/// Parts of a broker's registration changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerRegistrationChange {
    /// The broker.
    pub broker: BrokerId,
    /// Its incarnation.
    pub broker_epoch: BrokerEpoch,
    /// Whether it may lead; `None` leaves it as it is.
    pub fenced: Option<bool>,
    /// Whether it now leaves in good order; there is no way back within an incarnation.
    pub in_controlled_shutdown: bool,
    /// Its working log directories; `None` leaves them as they are.
    pub log_dirs: Option<Vec<Uuid>>,
}
