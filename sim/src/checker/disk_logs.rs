//! A node's disk at a barrier, read once for all checks by the oracle's own reader: its files, and the partitions among them.
//!
//! Of a segment that was read at an earlier barrier only what has changed since is read again ([`Segments`]).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use ottla::types::{PartitionIndex, TopicIdPartition, Uuid};

use super::Disks;
use super::segment_reader::{FileBatch, FileSegment, read_partition_metadata, read_segment_on};
use crate::world::Look;
use crate::world::NodeId;

/// The directory of the metadata log.
const METADATA_DIR: &str = "__cluster_metadata-0";

/// A segment file.
pub(super) struct SegmentFile {
    pub(super) path: PathBuf,
    /// What its name says.
    pub(super) base_offset: i64,
    pub(super) content: Arc<FileSegment>,
    /// How it looked.
    look: Look,
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

/// The segments of all disks as they were read last, by node and file.
#[derive(Debug, Default)]
pub(super) struct Segments(BTreeMap<(NodeId, u64), Arc<FileSegment>>);

/// See the module.
pub(super) struct NodeDisk<'a> {
    disks: &'a dyn Disks,
    pub(super) node: NodeId,
    /// The entries of `log.dirs`.
    pub(super) log_dirs: Vec<PathBuf>,
    /// All files, sorted.
    files: Vec<PathBuf>,
    /// All partitions that are not being deleted, the metadata log left out.
    pub(super) partitions: Vec<PartitionFiles>,
    /// Where the metadata log lies: the directory of its segments, snapshots and `quorum-state`.
    pub(super) metadata_dir: Option<PathBuf>,
    /// The metadata log.
    pub(super) metadata: Vec<SegmentFile>,
}

impl<'a> NodeDisk<'a> {
    /// Looks at a node's disk. What `segments` knows of it is brought up to date.
    pub(super) fn look(disks: &'a dyn Disks, node: NodeId, segments: &mut Segments) -> Self {
        let files = disks.files(node);
        let mut directories: BTreeMap<&Path, Vec<&PathBuf>> = BTreeMap::new();
        for path in &files {
            directories.entry(path.parent().unwrap_or(path)).or_default().push(path);
        }
        let mut reader = Reader { disks, node, directories, segments, seen: BTreeSet::new() };
        let log_dirs = disks.log_dirs(node);
        let mut partitions = Vec::new();
        for log_dir in &log_dirs {
            partitions.extend(reader.partitions_below(log_dir));
        }
        let metadata_dir = reader.directories.keys().find(|dir| dir.ends_with(METADATA_DIR));
        let metadata_dir = metadata_dir.map(|dir| dir.to_path_buf());
        let metadata = metadata_dir.as_ref().map_or(Vec::new(), |dir| reader.segments_in(dir));
        let Reader { seen, segments, .. } = reader;
        segments.0.retain(|key, _| key.0 != node || seen.contains(&key.1));
        Self { disks, node, log_dirs, files, partitions, metadata_dir, metadata }
    }

    /// All files below a directory, sorted.
    pub(super) fn files_below(&self, directory: &Path) -> impl Iterator<Item = &PathBuf> {
        self.files.iter().filter(move |path| path.starts_with(directory))
    }

    /// The content that a reader would be given.
    pub(super) fn cached(&self, path: &Path) -> Option<Bytes> {
        self.disks.cached(self.node, path, 0)
    }

    /// The content that is durable; `None` where the name is not.
    pub(super) fn durable(&self, path: &Path) -> Option<Bytes> {
        self.disks.durable(self.node, path, 0)
    }

    /// Whether a power loss now could change a segment.
    pub(super) fn is_durable(&self, segment: &SegmentFile) -> bool {
        let same_below = segment.look.durable_below;
        self.disks.cached(self.node, &segment.path, same_below)
            == self.disks.durable(self.node, &segment.path, same_below)
    }

    /// The batches of a segment that are durable: those that stand in the file and the disk has as they are, and those that it
    /// has otherwise. `None` where the name is not durable.
    pub(super) fn durable_batches<'s>(
        &self,
        segment: &'s SegmentFile,
    ) -> Option<(&'s [FileBatch], FileSegment)> {
        let SegmentFile { path, content, look, .. } = segment;
        let same = content.batches.partition_point(|batch| batch.end() <= look.durable_below);
        let same = &content.batches[..same];
        let from = same.last().map_or(0, FileBatch::end);
        let bytes = self.disks.durable(self.node, path, from)?;
        let mut others = FileSegment::default();
        read_segment_on(&mut others, from, &bytes);
        Some((same, others))
    }
}

struct Reader<'a> {
    disks: &'a dyn Disks,
    node: NodeId,
    /// The files of each directory, sorted.
    directories: BTreeMap<&'a Path, Vec<&'a PathBuf>>,
    segments: &'a mut Segments,
    /// The segments that were read.
    seen: BTreeSet<u64>,
}

impl Reader<'_> {
    fn partitions_below(&mut self, log_dir: &Path) -> Vec<PartitionFiles> {
        let below = self.directories.keys().filter(|directory| directory.starts_with(log_dir));
        let below: Vec<PathBuf> = below.map(|directory| directory.to_path_buf()).collect();
        below.into_iter().filter_map(|directory| self.partition_in(directory)).collect()
    }

    fn partition_in(&mut self, directory: PathBuf) -> Option<PartitionFiles> {
        let files = self.directories.get(directory.as_path())?;
        let is_metadata =
            |path: &&&PathBuf| path.file_name().is_some_and(|name| name == "partition.metadata");
        let metadata = files.iter().find(is_metadata)?;
        let name = directory.file_name()?.to_str()?;
        let (_, index) = name.rsplit_once('-')?;
        let partition = PartitionIndex::from_wire(index.parse().ok()?)?;
        let told = self.disks.cached(self.node, metadata, 0)?;
        let topic_id = Uuid::parse(&read_partition_metadata(&told)?)?;
        if topic_id == Uuid::METADATA_TOPIC {
            return None;
        }
        let files = files.iter().map(|path| (*path).clone()).collect();
        let segments = self.segments_in(&directory);
        let partition = TopicIdPartition { topic_id, partition };
        Some(PartitionFiles { partition, directory, segments, files })
    }

    /// The segments of a directory, in the order of their base offsets.
    fn segments_in(&mut self, directory: &Path) -> Vec<SegmentFile> {
        let is_log = |path: &&&PathBuf| path.extension().is_some_and(|found| found == "log");
        let files = self.directories.get(directory).into_iter().flatten();
        let paths: Vec<PathBuf> = files.filter(is_log).map(|path| (*path).clone()).collect();
        let mut found: Vec<SegmentFile> =
            paths.into_iter().filter_map(|path| self.segment(path)).collect();
        found.sort_by_key(|segment| segment.base_offset);
        found
    }

    fn segment(&mut self, path: PathBuf) -> Option<SegmentFile> {
        let base_offset = path.file_stem()?.to_str()?.parse().ok()?;
        let look = self.disks.look(self.node, &path)?;
        let key = (self.node, look.file);
        let known = self.segments.0.remove(&key);
        // What was looked at by others is new to us.
        let changed_from = if known.is_none() { Some(0) } else { look.changed_from };
        let mut content = known.unwrap_or_default();
        if let Some(changed_from) = changed_from {
            let content = Arc::make_mut(&mut content);
            content.forget_from(changed_from);
            let from = content.batches.last().map_or(0, FileBatch::end);
            read_segment_on(content, from, &self.disks.cached(self.node, &path, from)?);
        }
        self.segments.0.insert(key, Arc::clone(&content));
        self.seen.insert(look.file);
        Some(SegmentFile { path, base_offset, content, look })
    }
}
