//! Names of files and directories, as Kafka spells them (Kafka: `LogFileUtils`, `LocalLog`).

use crate::types::{Offset, PartitionIndex, TopicPartition, Uuid};

/// What a file of a log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Suffix {
    /// Record batches.
    Log,
    /// Offset to position.
    Index,
    /// Timestamp to offset.
    TimeIndex,
    /// Aborted transactions.
    TxnIndex,
    /// State of producers up to the offset in the name.
    Snapshot,
}

impl Suffix {
    /// With the dot.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Log => ".log",
            Self::Index => ".index",
            Self::TimeIndex => ".timeindex",
            Self::TxnIndex => ".txnindex",
            Self::Snapshot => ".snapshot",
        }
    }
}

/// A file of a log: 20 digits of offset, and what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogFileName {
    /// The base offset of the segment; of a snapshot, the offset up to which it is complete.
    pub offset: Offset,
    /// What it holds.
    pub suffix: Suffix,
}

impl LogFileName {
    /// The name of the file that holds `suffix` for `offset`.
    #[must_use]
    pub const fn new(offset: Offset, suffix: Suffix) -> Self {
        Self { offset, suffix }
    }

    /// Reads a name; `None` for files that are not part of a log.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let (digits, rest) = name.split_at_checked(20)?;
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let suffix =
            [Suffix::Log, Suffix::Index, Suffix::TimeIndex, Suffix::TxnIndex, Suffix::Snapshot]
                .into_iter()
                .find(|suffix| suffix.text() == rest)?;
        let offset = Offset::from_wire(digits.parse().ok()?)?;
        Some(Self { offset, suffix })
    }
}

impl std::fmt::Display for LogFileName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:020}{}", self.offset.value(), self.suffix.text())
    }
}

/// The directory of a partition's log: `<topic>-<partition>`.
#[must_use]
pub fn log_dir_name(partition: &TopicPartition) -> String {
    format!("{}-{}", partition.topic, partition.partition)
}

/// The directory of a log that is being removed: `<topic>-<partition>.<uuid in hex>-delete`, at most 255 bytes.
#[must_use]
pub(super) fn deleted_dir_name(partition: &TopicPartition, id: Uuid) -> String {
    let mut hex = String::with_capacity(32);
    for byte in id.as_bytes() {
        hex.push_str(&format!("{byte:02x}"));
    }
    let suffix = format!("-{}.{hex}-delete", partition.partition);
    let topic = &partition.topic[..partition.topic.len().min(255 - suffix.len())];
    format!("{topic}{suffix}")
}

/// Whether a directory holds a log that is being removed.
#[must_use]
pub(super) fn is_deleted_dir_name(name: &str) -> bool {
    name.strip_suffix("-delete")
        .and_then(|rest| rest.rsplit_once('.'))
        .is_some_and(|(_, hex)| hex.len() == 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Reads a partition's directory name; `None` where it is not one.
#[must_use]
pub fn parse_log_dir_name(name: &str) -> Option<TopicPartition> {
    let (topic, partition) = name.rsplit_once('-')?;
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if topic.is_empty() || topic.len() > 249 || !topic.bytes().all(legal) {
        return None;
    }
    if partition.is_empty() || !partition.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let partition = PartitionIndex::from_wire(partition.parse().ok()?)?;
    Some(TopicPartition { topic: topic.into(), partition })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kafkas_and_read_back() {
        let name = LogFileName::new(Offset::new(1234), Suffix::TimeIndex);
        assert_eq!(name.to_string(), "00000000000000001234.timeindex");
        assert_eq!(LogFileName::parse(&name.to_string()), Some(name));
        for other in ["00000000000000001234.deleted", "x", "0000000000000000123é.log", ""] {
            assert_eq!(LogFileName::parse(other), None, "{other}");
        }
        assert_eq!(LogFileName::parse("99999999999999999999.log"), None);
    }

    #[test]
    fn directories_are_kafkas_and_read_back() {
        let partition = TopicPartition { topic: "a-b.c".into(), partition: PartitionIndex::new(7) };
        assert_eq!(log_dir_name(&partition), "a-b.c-7");
        assert_eq!(parse_log_dir_name("a-b.c-7"), Some(partition.clone()));
        for other in ["a", "-7", "a-", "a-x", "a b-1", "a-99999999999"] {
            assert_eq!(parse_log_dir_name(other), None, "{other}");
        }
        let deleted = deleted_dir_name(&partition, Uuid::METADATA_TOPIC);
        assert_eq!(deleted, "a-b.c-7.00000000000000000000000000000001-delete");
        assert!(is_deleted_dir_name(&deleted));
        assert!(!is_deleted_dir_name("a-b.c-7"));
        assert_eq!(parse_log_dir_name(&deleted), None);
    }
}
