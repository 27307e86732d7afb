//! How far a consumer has read, as it is committed.

use std::collections::BTreeMap;

use crate::types::{LeaderEpoch, Offset, TopicPartition};

/// How far a group has read in a partition (Kafka: `OffsetAndMetadata`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetAndMetadata {
    /// The offset of the next record to be read: one more than that of the last one that is done.
    pub offset: Offset,
    /// The leader epoch of the last record that was read, where it is known.
    pub leader_epoch: Option<LeaderEpoch>,
    /// What the application keeps beside it, at most `offset.metadata.max.bytes` of the broker. May be empty.
    pub metadata: String,
}

impl OffsetAndMetadata {
    /// An offset alone.
    #[must_use]
    pub const fn new(offset: Offset) -> Self {
        Self { offset, leader_epoch: None, metadata: String::new() }
    }
}

/// Offsets by partition.
pub type Offsets = BTreeMap<TopicPartition, OffsetAndMetadata>;
