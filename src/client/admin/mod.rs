//! The admin client: one request, one answer, retried while that can help and `default.api.timeout.ms` lasts.

mod driver;
mod groups;
mod types;

pub use driver::Admin;
pub use groups::{GroupDescription, GroupListing, GroupMember, GroupState, GroupType};
pub use types::{
    AdminConfig, ClusterDescription, ConfigChange, ConfigEntry, ConfigOperation, ConfigResource,
    ElectionType, EpochEnd, FeatureUpdate, ListedOffset, NewPartitions, NewTopic, NodeDescription,
    PartitionDescription, PartitionReassignment, QuorumDescription, QuorumReplica, ServedApi,
    TopicDescription, UpgradeType,
};
