//! The admin client: one request, one answer, retried while that can help and `default.api.timeout.ms` lasts.

mod driver;
mod types;

pub use driver::Admin;
pub use types::{
    AdminConfig, ClusterDescription, ConfigEntry, EpochEnd, ListedOffset, NewTopic,
    NodeDescription, PartitionDescription, ServedApi, TopicDescription,
};
