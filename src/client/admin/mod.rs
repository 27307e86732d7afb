//! The admin client: one request, one answer, retried while that can help and `default.api.timeout.ms` lasts.

mod driver;
mod groups;
mod reset;
mod types;

pub use driver::Admin;
pub use groups::{GroupDescription, GroupListing, GroupMember, GroupState, GroupType};
pub use reset::{GroupReset, KnownOffsets, NothingToShift, Positions, ResetPlan};
pub use types::{
    AdminConfig, ClusterDescription, ConfigChange, ConfigEntry, ConfigOperation, ConfigResource,
    ElectionType, EpochEnd, FeatureUpdate, ListedOffset, NewPartitions, NewTopic, NodeDescription,
    PartitionDescription, PartitionReassignment, QuorumDescription, QuorumReplica, ServedApi,
    TopicDescription, UpgradeType,
};
