//! Layer 2: the cluster as data; pure.
//!
//! The metadata log is a sequence of [`Record`]s; a [`MetadataImage`] is what they add up to; a [`MetadataDelta`] is the
//! difference between two images, which tells a broker what to do. Nothing here decides: the controller does.

mod codec;
mod delta;
mod features;
pub mod group_config;
mod image;
mod image_writer;
pub mod records;

pub use codec::RecordError;
pub use delta::{MetadataDelta, PartitionDelta};
pub use features::{
    ELIGIBLE_LEADER_REPLICAS_VERSION, FEATURES, Feature, GROUP_VERSION, KRAFT_VERSION,
    METADATA_VERSION, METADATA_VERSION_DEFAULT,
};
pub use image::{
    BrokerRegistration, ConfigResource, ImageLoader, InvalidRecord, MetadataImage, PartitionImage,
    ResourceType, TopicImage,
};
pub use records::Record;
