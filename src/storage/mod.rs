//! Layer 4: logs on disk, in Kafka's directory layout and file formats.
//!
//! [`UnifiedLog`] is one partition's log; [`LogManager`] is all of a node's log directories. What a log *decides* (offsets,
//! positions, rolls, indexes) is pure and lives in [`crate::log`]; here it meets files.
//!
//! Absent on purpose: preallocation and recycling of segments, tiered storage, compaction.

mod checkpoint;
mod error;
mod file_name;
mod log_files;
mod reader;
mod meta_properties;
mod unified_log;

pub use checkpoint::{
    CleanShutdown, HIGH_WATERMARKS, LOG_STARTS, LeaderEpochs, OffsetCheckpoint, PartitionMetadata,
    RECOVERY_POINTS,
};
pub use error::StorageError;
pub use file_name::{LogFileName, Suffix, log_dir_name, parse_log_dir_name};
pub use log_files::LogFiles;
pub use meta_properties::{META_PROPERTIES, MetaProperties};
pub use unified_log::{AppendInfo, OpenLog, UnifiedLog};
