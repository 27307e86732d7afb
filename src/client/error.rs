//! What a client's caller is told when something does not work.

use std::time::Duration;

use crate::types::{ErrorCode, Offset, TopicPartition};

use super::RecordIdentity;

/// Why a call on a client failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The broker refused, and asking again is of no use or was of no use until the time was up.
    #[error("{error}{}", message.as_deref().map(|m| format!(": {m}")).unwrap_or_default())]
    Answer {
        /// Kafka's code.
        error: ErrorCode,
        /// What the broker said besides, if anything.
        message: Option<String>,
    },
    /// `max.block.ms` (producer) or `default.api.timeout.ms` (consumer, admin) went by.
    #[error("no {waited_for} within {} ms{}", after.as_millis(), last_error.as_deref().map(|e| format!(" (last: {e})")).unwrap_or_default())]
    TimedOut {
        /// What was waited for: `metadata of topic NAME`, `buffer space`, …
        waited_for: String,
        /// How long.
        after: Duration,
        /// The last thing that went wrong meanwhile.
        last_error: Option<String>,
    },
    /// The record is larger than `max.request.size` or than the whole of `buffer.memory`.
    #[error("the record takes {size} bytes, more than {limit_name}={limit}")]
    RecordTooLarge {
        /// Bytes of the record in a batch of its own.
        size: usize,
        /// The limit in bytes.
        limit: usize,
        /// The property that sets it.
        limit_name: &'static str,
    },
    /// The topic has no such partition.
    #[error("partition {partition} of topic {topic} is outside 0..{partitions}")]
    InvalidPartition {
        /// The topic.
        topic: String,
        /// What was asked for.
        partition: i32,
        /// How many the topic has.
        partitions: u32,
    },
    /// `auto.offset.reset=none`, and the position does not exist in the log.
    #[error("{partition} has no record at offset {}, and auto.offset.reset is none", position.map_or("(none)".to_owned(), |o| o.to_string()))]
    OffsetOutOfRange {
        /// The partition.
        partition: TopicPartition,
        /// The position, if there was one.
        position: Option<Offset>,
    },
    /// `auto.offset.reset=none`, and the leader's log does not go on from what was read: records that were handed out were
    /// cut off (unclean leader election, KIP-320).
    #[error("{partition} was cut below offset {position}, which was read already{}, and auto.offset.reset is none", diverging.map(|o| format!(": it differs from offset {o} on")).unwrap_or_default())]
    LogTruncation {
        /// The partition.
        partition: TopicPartition,
        /// The offset of the next record to be read.
        position: Offset,
        /// The first offset that is known to differ, where the leader could say: whoever goes on seeks there.
        diverging: Option<Offset>,
    },
    /// A fetched batch does not carry the bytes it was written with (`check.crcs`), or cannot be read.
    #[error("corrupt batch in {partition} at or after offset {offset}: {reason}")]
    CorruptBatch {
        /// The partition.
        partition: TopicPartition,
        /// Where reading stopped: the position stays there.
        offset: Offset,
        /// What is wrong.
        reason: String,
        /// The broker's answer where it found the damage itself; `None` where it served the batch.
        error: Option<ErrorCode>,
    },
    /// The partition was not given to `assign`.
    #[error("{0} is not assigned to this consumer")]
    NotAssigned(TopicPartition),
    /// The broker speaks no version of an API that this client speaks, or lacks the API.
    #[error("the broker does not serve {api} in a version this client knows")]
    UnsupportedVersion {
        /// The API's name.
        api: String,
    },
    /// The connection broke, and the request may or may not have been carried out.
    #[error("disconnected: {0}")]
    Disconnected(String),
    /// The client was closed.
    #[error("the client is closed")]
    Closed,
    /// Somebody ended the waiting (`Wakeup`). What was asked for may have been carried out.
    #[error("woken up")]
    WokenUp,
}

/// What became of a record whose delivery failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SendFate {
    /// It is not in the log and never will be: every attempt ended in proof that nothing was appended, or there was none.
    Failed,
    /// It may be in the log, now or later: an attempt was cut off, timed out, or was answered with an error that the broker
    /// also gives after an append.
    Unknown,
}

/// Why a delivery failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendCause {
    /// The last attempt was answered with this error.
    #[error("{error}{}", message.as_deref().map(|m| format!(": {m}")).unwrap_or_default())]
    Answer {
        /// Kafka's code.
        error: ErrorCode,
        /// What the broker said besides, if anything.
        message: Option<String>,
    },
    /// `delivery.timeout.ms` went by.
    #[error("delivery.timeout.ms went by")]
    DeliveryTimeout,
    /// `request.timeout.ms` went by for the last attempt, and `retries` allowed no other.
    #[error("request.timeout.ms went by")]
    RequestTimeout,
    /// The connection broke, and `retries` allowed no other attempt.
    #[error("disconnected")]
    Disconnected,
    /// Records of an earlier batch of the partition were given up with unknown fate: this batch may be stored under the
    /// old producer epoch, so it is not sent again under the new one.
    #[error("the producer epoch was raised while the fate of this batch was not known")]
    EpochRaised,
    /// No version of Produce is common to the broker and this client.
    #[error("the broker does not serve Produce in a version this client knows")]
    UnsupportedVersion,
    /// The producer was closed before the record was sent.
    #[error("the producer was closed")]
    Closed,
}

/// The delivery of a record failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{partition}: {cause} after {attempts} attempts ({})", match fate { SendFate::Failed => "not stored", SendFate::Unknown => "may be stored" })]
pub struct SendError {
    /// Where it was to go.
    pub partition: TopicPartition,
    /// Whether the record may be in the log.
    pub fate: SendFate,
    /// Why no further attempt is made.
    pub cause: SendCause,
    /// How often the batch was handed to a connection.
    pub attempts: u32,
    /// What the last attempt carried; `None` without idempotence, or where it was never sent.
    pub identity: Option<RecordIdentity>,
}
