//! Layer 0: words. Numbers with a meaning, error codes, observations. Knows nothing of bytes, files or time passing.

mod broker_set;
mod error_code;
mod group_observation;
mod id;
mod mark;
mod observation;
mod offset;
mod short_name;
mod time;

pub use broker_set::BrokerSet;
pub use error_code::ErrorCode;
pub use group_observation::{
    Committer, ConsumerPhase, CoordinatorTerm, GroupObservation, GroupPhase, GroupProtocol,
    MemberEnd, OffsetEnd,
};
pub use id::{
    BrokerEpoch, BrokerId, GenerationId, LeaderEpoch, MemberEpoch, PartitionEpoch, PartitionIndex,
    ProducerEpoch, ProducerId, Sequence, TopicId, TopicIdPartition, TopicPartition, Uuid,
};
pub use mark::{MARKS_MAX, mark_reached, marks_clear, marks_reached};
pub use observation::{Acks, Observation, ProducerStamp, QuorumRole};
pub use offset::Offset;
pub use short_name::ShortName;
pub(crate) use short_name::fnv_1a;
pub use time::{Monotonic, Now, Timestamp};

/// Whether machines check what always holds of them after each event: in tests, and in every simulated run, which is compiled
/// without the debug assertions of others.
pub const CHECKS_ITSELF: bool = cfg!(any(debug_assertions, madsim));

#[cfg(test)]
pub(crate) mod test_goldens;
