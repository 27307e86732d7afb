//! What goes into a producer and what comes out.

use std::sync::Arc;

use bytes::Bytes;

use crate::types::{
    Offset, PartitionIndex, ProducerEpoch, ProducerId, Sequence, Timestamp, TopicPartition,
};

/// A record to be stored.
///
/// ```
/// use ottla::client::ProducerRecord;
/// let record = ProducerRecord::new("orders", "3 apples").key("customer-7").header("trace", Some("a1"));
/// assert_eq!(record.partition, None); // the partitioner decides
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerRecord {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition; `None` leaves it to the partitioner.
    pub partition: Option<PartitionIndex>,
    /// The record's time; `None` takes the time of `send`.
    pub timestamp: Option<Timestamp>,
    /// The key: equal keys go to one partition while the number of partitions stays.
    pub key: Option<Bytes>,
    /// The value; `None` is a tombstone for compaction.
    pub value: Option<Bytes>,
    /// Headers in order; names may repeat.
    pub headers: Vec<(String, Option<Bytes>)>,
}

impl ProducerRecord {
    /// A record with a value and nothing else.
    pub fn new(topic: impl Into<Arc<str>>, value: impl Serializer) -> Self {
        Self {
            topic: topic.into(),
            partition: None,
            timestamp: None,
            key: None,
            value: value.serialize(),
            headers: Vec::new(),
        }
    }

    /// With this key.
    #[must_use]
    pub fn key(mut self, key: impl Serializer) -> Self {
        self.key = key.serialize();
        self
    }

    /// For this partition, whatever the partitioner would say.
    #[must_use]
    pub fn partition(mut self, partition: PartitionIndex) -> Self {
        self.partition = Some(partition);
        self
    }

    /// With this time.
    #[must_use]
    pub fn timestamp(mut self, timestamp: Timestamp) -> Self {
        self.timestamp = Some(timestamp);
        self
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Serializer) -> Self {
        self.headers.push((name.into(), value.serialize()));
        self
    }
}

/// What can become the bytes of a key, a value or a header.
pub trait Serializer {
    /// The bytes; `None` is Kafka's null.
    fn serialize(self) -> Option<Bytes>;
}

impl Serializer for Bytes {
    fn serialize(self) -> Option<Bytes> {
        Some(self)
    }
}

impl Serializer for Vec<u8> {
    fn serialize(self) -> Option<Bytes> {
        Some(self.into())
    }
}

impl Serializer for String {
    fn serialize(self) -> Option<Bytes> {
        Some(self.into())
    }
}

impl Serializer for &str {
    fn serialize(self) -> Option<Bytes> {
        Some(Bytes::copy_from_slice(self.as_bytes()))
    }
}

impl Serializer for i64 {
    /// Big-endian (Kafka: `LongSerializer`).
    fn serialize(self) -> Option<Bytes> {
        Some(Bytes::copy_from_slice(&self.to_be_bytes()))
    }
}

impl<T: Serializer> Serializer for Option<T> {
    fn serialize(self) -> Option<Bytes> {
        self.and_then(Serializer::serialize)
    }
}

/// What an idempotent producer calls a record: the broker accepts it once (KIP-98).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordIdentity {
    /// The producer, as the broker numbered it.
    pub producer_id: ProducerId,
    /// Its incarnation.
    pub producer_epoch: ProducerEpoch,
    /// The record's place in what this incarnation wrote to the partition.
    pub sequence: Sequence,
}

/// What the broker answered for a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordMetadata {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition it went to.
    pub partition: PartitionIndex,
    /// Where it stands; `None` with `acks=0`, and for a duplicate whose first offset the broker no longer knows.
    pub offset: Option<Offset>,
    /// The time it carries in the log: the broker's where the topic says `LogAppendTime`, otherwise the record's.
    pub timestamp: Timestamp,
    /// How often the batch was handed to a connection: 1 where nothing went wrong.
    pub attempts: u32,
    /// What it carried; `None` without idempotence.
    pub identity: Option<RecordIdentity>,
}

impl RecordMetadata {
    /// Topic and partition together.
    #[must_use]
    pub fn topic_partition(&self) -> TopicPartition {
        TopicPartition { topic: self.topic.clone(), partition: self.partition }
    }
}
