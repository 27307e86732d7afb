//! Layer 3: a partition's replica, leader or follower.
//!
//! [`Partition`] is the machine: offsets, acknowledgements, syncs, the high watermark, the in-sync replicas, truncation.
//! [`driver`] puts it behind a short lock, beside the log's files, as an object that any task may call.

mod assignment;
mod delayed_fetch;
mod delayed_produce;
pub mod driver;
mod event;
pub mod fetch_session;
pub mod fetcher;
mod follower;
mod high_watermark;
mod isr;
mod leader;
mod log_writes;
mod partition;
mod retention;
#[cfg(test)]
mod cluster_tests;
#[cfg(test)]
mod test_replica;

pub use assignment::{
    FetchState, FollowerAppend, FollowerFetch, FollowerRead, FollowerState, IsrAnswer,
    IsrCommitted, IsrProposal, LeaderState, TruncateTo,
};
pub use event::{
    Append, AppendAnswer, Checkpoint, Effect, Event, FollowedBatches, FollowerFetched,
    PartitionConfig, Retention, Role, Truncation, UNSYNCED_BYTES_MAX, WaiterId,
};
pub use follower::CutAt;
pub use isr::FollowerView;
pub use partition::{OpenedState, Partition, ServedBy};
