//! The partitions on a node's disks, read by the oracle's own reader: what the disk checks walk over.

use std::path::{Path, PathBuf};

use ottla::types::{PartitionIndex, TopicIdPartition, Uuid};

use super::Disks;
use super::segment_reader::{FileSegment, read_partition_metadata, read_segment};
use crate::world::NodeId;

/// A segment file.
pub(super) struct SegmentFile {
    pub(super) path: PathBuf,
    /// What its name says.
    pub(super) base_offset: i64,
    pub(super) content: FileSegment,
}

/// A partition's directory.
pub(super) struct PartitionFiles {
    pub(super) partition: TopicIdPartition,
    pub(super) directory: PathBuf,
    /// In the order of their base offsets.
    pub(super) segments: Vec<SegmentFile>,
    /// All files of the directory.
    pub(super) files: Vec<PathBuf>,
}

/// All partitions of a node that are not being deleted, the metadata log left out.
pub(super) fn each_partition(disks: &dyn Disks, node: NodeId) -> Vec<PartitionFiles> {
    let mut found = Vec::new();
    for log_dir in disks.log_dirs(node) {
        let files = disks.files(node, &log_dir);
        let metadata = files
            .iter()
            .filter(|path| path.file_name().is_some_and(|name| name == "partition.metadata"));
        for path in metadata {
            let directory = path.parent().expect("a file stands in a directory").to_path_buf();
            found.extend(partition_of(disks, node, &directory, path, &files));
        }
    }
    found
}

fn partition_of(
    disks: &dyn Disks,
    node: NodeId,
    directory: &Path,
    metadata: &Path,
    files: &[PathBuf],
) -> Option<PartitionFiles> {
    let name = directory.file_name()?.to_str()?;
    let (_, index) = name.rsplit_once('-')?;
    let partition = PartitionIndex::from_wire(index.parse().ok()?)?;
    let topic_id = Uuid::parse(&read_partition_metadata(&disks.cached(node, metadata)?)?)?;
    if topic_id == Uuid::METADATA_TOPIC {
        return None;
    }
    let files: Vec<PathBuf> =
        files.iter().filter(|path| path.parent() == Some(directory)).cloned().collect();
    let mut segments: Vec<SegmentFile> = files
        .iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .filter_map(|path| {
            let base_offset = path.file_stem()?.to_str()?.parse().ok()?;
            let content = read_segment(&disks.cached(node, path)?);
            Some(SegmentFile { path: path.clone(), base_offset, content })
        })
        .collect();
    segments.sort_by_key(|segment| segment.base_offset);
    Some(PartitionFiles {
        partition: TopicIdPartition { topic_id, partition },
        directory: directory.to_path_buf(),
        segments,
        files,
    })
}
