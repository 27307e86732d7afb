//! The small text files beside the logs. Each is written whole and takes effect whole ([`crate::runtime::replace_file`]).
//!
//! Kafka: `CheckpointFile`, `OffsetCheckpointFile`, `LeaderEpochCheckpointFile`, `PartitionMetadataFile`,
//! `CleanShutdownFileHandler`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::Path;

use bytes::Bytes;

use super::StorageError;
use crate::log::LeaderEpochCache;
use crate::runtime::{Disk, read_file, replace_file};
use crate::types::{Offset, PartitionIndex, TopicId, TopicPartition, Uuid};

/// Up to which offset each log of a directory needs no recovery.
pub const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";
/// The first offset of each log of a directory, where it is not the first segment's.
pub const LOG_STARTS: &str = "log-start-offset-checkpoint";
/// The high watermark of each log of a directory.
pub const HIGH_WATERMARKS: &str = "replication-offset-checkpoint";
/// Written last at a clean stop, deleted at start.
const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";
/// The leader epochs of one log.
const LEADER_EPOCHS: &str = "leader-epoch-checkpoint";
/// The topic id of one log.
const PARTITION_METADATA: &str = "partition.metadata";

/// More lines than this are refused: a count is not believed before it is seen.
const ENTRIES_MAX: usize = 10_000_000;

/// An offset for each log of a directory.
pub type OffsetCheckpoint = BTreeMap<TopicPartition, Offset>;

/// The text of a checkpoint of version 0: version, count, one entry a line.
fn checkpoint_text(lines: impl ExactSizeIterator<Item = String>) -> String {
    let mut text = format!("0\n{}\n", lines.len());
    for line in lines {
        text.push_str(&line);
        text.push('\n');
    }
    text
}

/// The entries of a checkpoint of version 0.
fn checkpoint_lines<'a>(path: &Path, content: &'a [u8]) -> Result<Vec<&'a str>, StorageError> {
    let corrupt = |why: &str| StorageError::corrupt(path, 0, why);
    let text = std::str::from_utf8(content).map_err(|_| corrupt("it is not text"))?;
    let mut lines = text.lines();
    if lines.next() != Some("0") {
        return Err(corrupt("its first line should be the version, 0"));
    }
    let count = lines.next().and_then(|line| line.parse::<usize>().ok());
    let count = count.filter(|count| *count <= ENTRIES_MAX);
    let count = count.ok_or_else(|| corrupt("its second line should be the number of entries"))?;
    let entries: Vec<&str> = lines.collect();
    if entries.len() != count {
        return Err(corrupt(&format!("it promises {count} entries and has {}", entries.len())));
    }
    Ok(entries)
}

/// Reads an offset checkpoint of a log directory; a missing file is an empty one.
///
/// # Errors
/// `Io`, or `Corrupt` where it is not a checkpoint.
pub(super) async fn read_offsets(
    disk: &dyn Disk,
    path: &Path,
) -> Result<OffsetCheckpoint, StorageError> {
    match read_optional(disk, path).await? {
        Some(content) => parse_offsets(path, &content),
        None => Ok(BTreeMap::new()),
    }
}

fn parse_offsets(path: &Path, content: &[u8]) -> Result<OffsetCheckpoint, StorageError> {
    let mut offsets = BTreeMap::new();
    for line in checkpoint_lines(path, content)? {
        let (partition, offset) = parse_offset_line(line).ok_or_else(|| {
            StorageError::corrupt(path, 0, format!("`{line}` should be `topic partition offset`"))
        })?;
        offsets.insert(partition, offset);
    }
    Ok(offsets)
}

fn parse_offset_line(line: &str) -> Option<(TopicPartition, Offset)> {
    let mut words = line.split_ascii_whitespace();
    let topic = words.next()?.into();
    let partition = PartitionIndex::from_wire(words.next()?.parse().ok()?)?;
    let offset = Offset::from_wire(words.next()?.parse().ok()?)?;
    words.next().is_none().then_some((TopicPartition { topic, partition }, offset))
}

/// Replaces an offset checkpoint of a log directory.
///
/// # Errors
/// `Io`.
pub(super) async fn write_offsets(
    disk: &dyn Disk,
    path: &Path,
    offsets: &OffsetCheckpoint,
) -> Result<(), StorageError> {
    let lines =
        offsets.iter().map(|(id, offset)| format!("{} {} {offset}", id.topic, id.partition));
    replace(disk, path, checkpoint_text(lines)).await
}

/// Reads `leader-epoch-checkpoint` from a log's directory; missing is empty. `None` where it is damaged: the epochs are
/// then found again by reading the whole log.
///
/// # Errors
/// `Io`.
pub(super) async fn read_leader_epochs(
    disk: &dyn Disk,
    dir: &Path,
) -> Result<Option<LeaderEpochCache>, StorageError> {
    let Some(content) = read_optional(disk, &dir.join(LEADER_EPOCHS)).await? else {
        return Ok(Some(LeaderEpochCache::new()));
    };
    let text = std::str::from_utf8(&content).ok();
    Ok(text.and_then(|text| LeaderEpochCache::decode(text).ok()))
}

/// Replaces `leader-epoch-checkpoint`, durably.
///
/// # Errors
/// `Io`.
pub async fn write_leader_epochs(
    disk: &dyn Disk,
    dir: &Path,
    epochs: &LeaderEpochCache,
) -> Result<(), StorageError> {
    replace(disk, &dir.join(LEADER_EPOCHS), epochs.encode()).await
}

/// The file `partition.metadata`: which topic's log this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionMetadata {
    /// The topic's id.
    pub topic_id: TopicId,
}

impl PartitionMetadata {
    /// Reads it from a log's directory; `None` where there is none.
    ///
    /// # Errors
    /// `Io`, or `Corrupt`.
    pub async fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<Self>, StorageError> {
        let path = dir.join(PARTITION_METADATA);
        let Some(content) = read_optional(disk, &path).await? else { return Ok(None) };
        let topic_id = Self::parse(&content).ok_or_else(|| {
            StorageError::corrupt(&path, 0, "it should say `version: 0` and `topic_id: <id>`")
        })?;
        Ok(Some(Self { topic_id }))
    }

    fn parse(content: &[u8]) -> Option<TopicId> {
        let mut lines = std::str::from_utf8(content).ok()?.lines();
        if lines.next()? != "version: 0" {
            return None;
        }
        Uuid::parse(lines.next()?.strip_prefix("topic_id: ")?)
    }

    /// Replaces it.
    ///
    /// # Errors
    /// `Io`.
    pub async fn write(&self, disk: &dyn Disk, dir: &Path) -> Result<(), StorageError> {
        let mut text = String::from("version: 0\n");
        write!(text, "topic_id: {}", self.topic_id).expect("a string takes all");
        replace(disk, &dir.join(PARTITION_METADATA), text).await
    }
}

/// The file `.kafka_cleanshutdown`: the last thing a clean stop writes, the first thing a start removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanShutdown {
    /// The broker epoch of the incarnation that stopped; `None` where it had none.
    pub broker_epoch: Option<i64>,
}

impl CleanShutdown {
    /// Takes it from a log directory: reads and removes it, durably. `None`: the last stop was not clean.
    ///
    /// A file that cannot be parsed counts as clean without an epoch, as in Kafka: its presence is the message.
    ///
    /// # Errors
    /// `Io`.
    pub async fn take(disk: &dyn Disk, log_dir: &Path) -> Result<Option<Self>, StorageError> {
        let path = log_dir.join(CLEAN_SHUTDOWN);
        let Some(content) = read_optional(disk, &path).await? else { return Ok(None) };
        let on = |what| StorageError::on(what, &path);
        disk.remove_file(&path).await.map_err(on("remove the clean-shutdown file"))?;
        disk.sync_dir(log_dir).await.map_err(on("remove the clean-shutdown file"))?;
        let value: Option<serde_json::Value> = serde_json::from_slice(&content).ok();
        let epoch = value.and_then(|value| value.get("brokerEpoch")?.as_i64());
        Ok(Some(Self { broker_epoch: epoch.filter(|epoch| *epoch >= 0) }))
    }

    /// Writes it, durably.
    ///
    /// # Errors
    /// `Io`.
    pub async fn write(&self, disk: &dyn Disk, log_dir: &Path) -> Result<(), StorageError> {
        let epoch = self.broker_epoch.unwrap_or(-1);
        let text = format!("{{\"version\":0,\"brokerEpoch\":{epoch}}}");
        replace(disk, &log_dir.join(CLEAN_SHUTDOWN), text).await
    }
}

/// Reads a whole small file; `None` where there is none.
pub(super) async fn read_optional(
    disk: &dyn Disk,
    path: &Path,
) -> Result<Option<Bytes>, StorageError> {
    match read_file(disk, path).await {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StorageError::io("read a small file", path, error)),
    }
}

pub(super) async fn replace(
    disk: &dyn Disk,
    path: &Path,
    text: String,
) -> Result<(), StorageError> {
    replace_file(disk, path, Bytes::from(text))
        .await
        .map_err(StorageError::on("write a small file", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offset_checkpoint_is_kafkas_text() {
        let path = Path::new("/d/x");
        let text = "0\n2\na 0 5\nb-c 12 9223372036854775807\n";
        let offsets = parse_offsets(path, text.as_bytes()).unwrap();
        assert_eq!(offsets.len(), 2);
        let lines =
            offsets.iter().map(|(id, offset)| format!("{} {} {offset}", id.topic, id.partition));
        assert_eq!(checkpoint_text(lines), text);
    }

    #[test]
    fn a_lying_checkpoint_is_refused() {
        let path = Path::new("/d/x");
        for text in
            ["", "1\n0\n", "0\n", "0\n2\na 0 5\n", "0\n1\na 0\n", "0\n1\na 0 -1\n", "0\n-1\n"]
        {
            assert!(parse_offsets(path, text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(parse_offsets(path, &[0xff, 0xfe]).is_err());
    }

    #[test]
    fn partition_metadata_reads_its_own_text() {
        let text = "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ";
        assert_eq!(PartitionMetadata::parse(text.as_bytes()), Some(Uuid::METADATA_TOPIC));
        assert_eq!(PartitionMetadata::parse(b"version: 1\ntopic_id: x"), None);
    }
}
