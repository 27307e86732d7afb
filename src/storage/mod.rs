//! Layer 4: logs on disk, in Kafka's directory layout and file formats.
//!
//! [`UnifiedLog`] is one partition's log; [`LogManager`] is all of a node's log directories. What a log *decides* (offsets,
//! positions, rolls, indexes) is pure and lives in [`crate::log`]; here it meets files.
//!
//! Absent on purpose: preallocation and recycling of segments, tiered storage, compaction.

mod checkpoint;
mod error;
mod failed_sync;
mod file_name;
mod log_dir;
mod log_files;
mod log_manager;
mod reader;
mod recovery;
mod meta_properties;
mod truncation;
mod unified_log;

#[cfg(test)]
pub(crate) mod test_disk;

pub use checkpoint::{
    CleanShutdown, HIGH_WATERMARKS, LOG_STARTS, OffsetCheckpoint, PartitionMetadata,
    RECOVERY_POINTS, write_leader_epochs,
};
pub use error::StorageError;
pub use file_name::{LogFileName, Suffix, log_dir_name, parse_log_dir_name};
pub use log_dir::{Job, LogDir, LogProgress, OfflineListener};
pub use log_files::{LogFiles, start_sync};
pub use log_manager::{LogManager, LogManagerOptions, OpenedPartition, lock_log_dir};
pub use meta_properties::{META_PROPERTIES, MetaProperties};
pub use reader::{BatchesRead, ReadError, SegmentRead, read_batches};
pub use recovery::{OpenOptions, OpenedLog, load_index, open_log};
pub use truncation::{CutPoint, find_cut, producers_at, remove_keeping_producers};
pub use unified_log::{AppendInfo, OpenLog, UnifiedLog};
