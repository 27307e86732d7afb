//! Layer 3: Kafka's clients as a library: [`Producer`], [`Consumer`], and [`Admin`].
//!
//! Each client is a pure machine (what to send to whom, what an answer means) and a driver (`driver.rs`: connections, the
//! timer, the caller's futures). What all three share: the property tables ([`config`]), what they know of the cluster
//! (`cluster_view.rs`), and the connections (`crate::rpc`).
//!
//! `docs/clients.md` leads through the ways of using them.
//!
//! Deliberately absent so far: transactions, fetch sessions.

pub mod admin;
mod cluster_view;
pub mod config;
pub mod consumer;
mod driver;
mod error;
mod interceptor;
pub mod producer;

pub use admin::{
    Admin, AdminConfig, ClusterDescription, ConfigChange, ConfigEntry, ConfigOperation,
    ConfigResource, ElectionType, EpochEnd, FeatureUpdate, GroupDescription, GroupListing,
    GroupMember, GroupReset, GroupState, GroupType, KnownOffsets, ListedOffset, NewPartitions,
    NewTopic, NodeDescription, NothingToShift, PartitionDescription, PartitionReassignment,
    Positions, QuorumDescription, QuorumReplica, ResetPlan, ServedApi, TopicDescription,
    UpgradeType,
};
pub use config::ConfigError;
pub use consumer::{
    CloseOptions, Consumer, ConsumerConfig, ConsumerRecord, OffsetAndMetadata, OffsetAndTimestamp,
    Offsets, RebalanceListener, Wakeup,
};
pub use error::{ClientError, SendCause, SendError, SendFate};
pub use interceptor::{
    Acknowledgement, ConsumerInterceptor, InterceptorError, ProducerInterceptor,
};
pub use producer::{
    Delivery, Producer, ProducerConfig, ProducerHooks, ProducerRecord, RecordIdentity,
    RecordMetadata, Serializer,
};

/// The code of the page that leads through the library.
#[cfg(doctest)]
#[doc = include_str!("../../docs/clients.md")]
mod guide {}
