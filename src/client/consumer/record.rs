//! What comes out of a consumer.

use std::sync::Arc;

use bytes::Bytes;

use crate::types::{LeaderEpoch, Offset, PartitionIndex, Timestamp, TopicPartition};

/// A record as it was stored. Key, value and headers are slices of the fetched bytes, or of the decompressed batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerRecord {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: PartitionIndex,
    /// Its place there.
    pub offset: Offset,
    /// The record's time, or the broker's where the topic says `LogAppendTime`.
    pub timestamp: Timestamp,
    /// The key.
    pub key: Option<Bytes>,
    /// The value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Headers in order; names may repeat.
    pub headers: Vec<(String, Option<Bytes>)>,
    /// The term of the leader that appended it.
    pub leader_epoch: Option<LeaderEpoch>,
}

impl ConsumerRecord {
    /// Topic and partition together.
    #[must_use]
    pub fn topic_partition(&self) -> TopicPartition {
        TopicPartition { topic: self.topic.clone(), partition: self.partition }
    }
}
