//! Layer 2: one partition's log, without files; pure.
//!
//! What a log decides: which records it takes ([`validator`]), which producers it knows ([`producer_state`]), which leader
//! wrote what ([`leader_epoch_cache`]), which batches are indexed ([`segment_index`]), and how much of a file survives a
//! crash ([`recovery`]). `storage` does the same with files.

pub mod config;
mod config_table;
pub mod index_error;
pub mod leader_epoch_cache;
pub mod local_log;
pub mod offset_index;
mod producer_snapshot;
pub mod producer_state;
pub mod recovery;
pub mod segment_index;
pub mod time_index;
pub mod validator;

pub use config::{ConfigError, ConfigMap, LogConfig};
pub use index_error::{IndexError, IndexFault};
pub use leader_epoch_cache::{EpochEndOffset, EpochEntry, LeaderEpochCache, epoch_at};
pub use local_log::{IndexKind, IndexPart, LocalLog, Lookup, Placement, Segment, SegmentLimits};
pub use offset_index::{OffsetIndex, OffsetPosition};
pub use producer_snapshot::SnapshotError;
pub use producer_state::{
    BatchMetadata, ProducerRefusal, ProducerState, ProducerStateEntry, ProducerVerdict,
};
pub use recovery::{Cut, CutReason, ScanEnd, ScanStart, ScannedBatch, Scanner};
pub use segment_index::{IndexAppend, IndexSizes, SegmentIndex};
pub use time_index::{TimeIndex, TimestampOffset};
pub use validator::{
    DECOMPRESSED_BYTES_MAX, RecordError, Rejection, ReplicatedError, StampedBatch, ValidatedBatch,
    ValidationRules, validate_produced, validate_replicated,
};
