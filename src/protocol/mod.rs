//! Layer 1: bytes. Messages, frames, record batches; pure.

mod api_key;
pub mod compression;
pub mod coordinator_records;
pub mod frame;
pub mod messages;
pub mod metadata_records;
pub mod record_batch;
mod records;
mod value;
pub mod wire;

pub use api_key::{ApiKey, VersionRange};
pub use records::Records;
pub use value::{
    ControlledShutdownChange, FencingChange, IsolationLevel, LeaderChange, LeaderRecoveryState,
    Number, OffsetSpec, Value,
};
