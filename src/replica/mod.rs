//! Layer 3: a partition's replica.
//!
//! [`Partition`] is the machine: offsets, acknowledgements, syncs, the high watermark. [`driver`] puts it behind a short
//! lock, beside the log's files, as an object that any task may call.
//!
//! Absent for now: followers, in-sync replicas, fetch sessions. One replica leads for ever.

mod assignment;
pub mod driver;
pub mod fetch_session;
pub mod fetcher;
mod partition;

pub use assignment::{
    FetchState, FollowerAppend, FollowerFetch, FollowerRead, FollowerState, IsrAnswer,
    IsrCommitted, IsrProposal, LeaderState, TruncateTo,
};
pub use partition::{
    Append, AppendAnswer, Checkpoint, Effect, Event, OpenedState, Partition, PartitionConfig,
    Retention, Role, UNSYNCED_BYTES_MAX, WaiterId,
};
