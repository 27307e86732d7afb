//! Layer 0: words. Numbers with a meaning, error codes, observations. Knows nothing of bytes, files or time passing.

mod broker_set;
mod error_code;
mod id;
mod mark;
mod observation;
mod offset;
mod time;

pub use broker_set::BrokerSet;
pub use error_code::ErrorCode;
pub use id::{
    BrokerEpoch, BrokerId, LeaderEpoch, PartitionEpoch, PartitionIndex, ProducerEpoch, ProducerId,
    Sequence, TopicId, TopicIdPartition, TopicPartition, Uuid,
};
pub use mark::{MARKS_MAX, mark_reached, marks_clear, marks_reached};
pub use observation::{Acks, Observation, ProducerStamp, QuorumRole};
pub use offset::Offset;
pub use time::{Monotonic, Now, Timestamp};
