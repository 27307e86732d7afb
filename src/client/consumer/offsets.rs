//! How far a consumer has read, as it is committed.

use std::collections::BTreeMap;

use crate::types::{LeaderEpoch, Offset, Timestamp, TopicPartition};

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

/// A record that was looked for by its time (Kafka: `OffsetAndTimestamp`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetAndTimestamp {
    /// Its offset.
    pub offset: Offset,
    /// Its time; `None` of an end of a log.
    pub timestamp: Option<Timestamp>,
    /// Its leader epoch, where the broker says it.
    pub leader_epoch: Option<LeaderEpoch>,
}
