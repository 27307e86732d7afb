//! The oracle's own reader of Kafka's files: written from the format alone, it shares nothing with the product but the bytes.

use bytes::Bytes;

/// A batch as it lies in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileBatch {
    /// Where it begins in the file.
    pub position: usize,
    /// Bytes it takes.
    pub length: usize,
    /// Its first offset.
    pub base_offset: i64,
    /// After its last offset.
    pub end_offset: i64,
    /// The leader epoch stamped into it.
    pub leader_epoch: i32,
    /// The checksum it carries.
    pub crc: u32,
    /// Whether its bytes have that checksum.
    pub crc_holds: bool,
    /// Producer id, or −1.
    pub producer_id: i64,
    /// Producer epoch, or −1.
    pub producer_epoch: i16,
    /// First sequence, or −1.
    pub base_sequence: i32,
    /// The largest timestamp.
    pub max_timestamp: i64,
    /// Whether it is a control batch.
    pub is_control: bool,
}

impl FileBatch {
    /// Where the next one begins in the file.
    #[must_use]
    pub fn end(&self) -> usize {
        self.position + self.length
    }
}

/// The batches of a segment, and how many bytes at its end are no whole batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileSegment {
    /// In order.
    pub batches: Vec<FileBatch>,
    /// Bytes after the last whole batch.
    pub trailing: usize,
}

impl FileSegment {
    /// Drops the batches that reach beyond `position` in the file: what follows has changed. [`read_segment_on`] reads it again.
    pub fn forget_from(&mut self, position: usize) {
        let kept = self.batches.partition_point(|batch| batch.end() <= position);
        self.batches.truncate(kept);
    }
}

/// The batches up to the first that recovery would cut off: it is broken, or does not follow the one before.
///
/// The checksum does not cover a batch's first offset: a batch that begins in the last bytes of a page that was lost may lack its
/// offset and nothing else.
pub fn sound<'a>(
    batches: impl Iterator<Item = &'a FileBatch>,
) -> impl Iterator<Item = &'a FileBatch> {
    let mut end = i64::MIN;
    batches.take_while(move |batch| {
        let follows = batch.base_offset >= end;
        end = batch.end_offset;
        batch.crc_holds && follows
    })
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[at..at + N]);
    field
}

/// Reads a `.log` file as far as it makes sense, from byte `start` on, where a batch begins: `bytes` is what follows there.
/// What stands before is in `segment` already.
pub fn read_segment_on(segment: &mut FileSegment, start: usize, bytes: &Bytes) {
    const HEADER: usize = 61;
    let mut position = 0;
    while bytes.len() - position >= HEADER {
        let here = &bytes[position..];
        let length = i32::from_be_bytes(number(here, 8));
        let Some(length) = usize::try_from(length).ok().map(|length| length + 12) else { break };
        if length < HEADER || length > here.len() || here[16] != 2 {
            break;
        }
        let base_offset = i64::from_be_bytes(number(here, 0));
        let crc = u32::from_be_bytes(number(here, 17));
        let attributes = i16::from_be_bytes(number(here, 21));
        let last_delta = i32::from_be_bytes(number(here, 23));
        segment.batches.push(FileBatch {
            position: start + position,
            length,
            base_offset,
            end_offset: base_offset.saturating_add(i64::from(last_delta)).saturating_add(1),
            leader_epoch: i32::from_be_bytes(number(here, 12)),
            crc,
            crc_holds: crc32c(&here[21..length]) == crc,
            producer_id: i64::from_be_bytes(number(here, 43)),
            producer_epoch: i16::from_be_bytes(number(here, 51)),
            base_sequence: i32::from_be_bytes(number(here, 53)),
            max_timestamp: i64::from_be_bytes(number(here, 35)),
            is_control: attributes & 0x20 != 0,
        });
        position += length;
    }
    segment.trailing = bytes.len() - position;
}

/// CRC-32C of bytes.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    u32::try_from(crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes)).expect("32 bits")
}

/// The entries of a `.index` file: (offset − base offset, position). Zeros at the end are space not used yet.
#[must_use]
pub fn read_offset_index(bytes: &Bytes) -> Vec<(i32, i32)> {
    let entries = bytes.chunks_exact(8);
    let entries = entries
        .map(|entry| (i32::from_be_bytes(number(entry, 0)), i32::from_be_bytes(number(entry, 4))));
    let mut entries: Vec<(i32, i32)> = entries.collect();
    while entries.len() > 1 && entries.last() == Some(&(0, 0)) {
        entries.pop();
    }
    if entries == [(0, 0)] && bytes.len() > 8 {
        entries.clear();
    }
    entries
}

/// The entries of a `.timeindex` file: (timestamp, offset − base offset).
#[must_use]
pub fn read_time_index(bytes: &Bytes) -> Vec<(i64, i32)> {
    let entries = bytes.chunks_exact(12);
    let entries = entries
        .map(|entry| (i64::from_be_bytes(number(entry, 0)), i32::from_be_bytes(number(entry, 8))));
    entries.take_while(|(timestamp, _)| *timestamp != 0).collect()
}

/// A producer in a `.snapshot` file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotEntry {
    /// Producer id.
    pub producer_id: i64,
    /// Producer epoch.
    pub producer_epoch: i16,
    /// The sequence of its last record.
    pub last_sequence: i32,
    /// The offset of its last record.
    pub last_offset: i64,
}

/// A `.snapshot` file; `None` where it is not whole.
#[must_use]
pub fn read_snapshot(bytes: &Bytes) -> Option<Vec<SnapshotEntry>> {
    const ENTRY: usize = 46;
    if bytes.len() < 10
        || i16::from_be_bytes(number(bytes, 0)) != 1
        || crc32c(&bytes[6..]) != u32::from_be_bytes(number(bytes, 2))
    {
        return None;
    }
    let count = usize::try_from(i32::from_be_bytes(number(bytes, 6))).ok()?;
    if bytes.len() != 10 + count.checked_mul(ENTRY)? {
        return None;
    }
    let entries = bytes[10..].chunks_exact(ENTRY).map(|entry| SnapshotEntry {
        producer_id: i64::from_be_bytes(number(entry, 0)),
        producer_epoch: i16::from_be_bytes(number(entry, 8)),
        last_sequence: i32::from_be_bytes(number(entry, 10)),
        last_offset: i64::from_be_bytes(number(entry, 14)),
    });
    Some(entries.collect())
}

/// The topic id of a `partition.metadata` file, as its 22 letters.
#[must_use]
pub fn read_partition_metadata(bytes: &Bytes) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    text.lines().find_map(|line| line.strip_prefix("topic_id: ")).map(|id| id.trim().to_owned())
}

/// The entries of a `leader-epoch-checkpoint` file: (epoch, start offset); `None` where it is not one.
#[must_use]
pub fn read_epoch_checkpoint(bytes: &Bytes) -> Option<Vec<(i32, i64)>> {
    let mut lines = std::str::from_utf8(bytes).ok()?.lines();
    lines.next().filter(|version| *version == "0")?;
    let count: usize = lines.next()?.parse().ok()?;
    let entry = |line: &str| {
        let (epoch, offset) = line.split_once(' ')?;
        Some((epoch.parse().ok()?, offset.parse().ok()?))
    };
    let entries: Option<Vec<(i32, i64)>> = lines.map(entry).collect();
    entries.filter(|entries| entries.len() == count)
}

/// What a `quorum-state` file says: the epoch, and whom the node voted for or follows in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuorumStateFile {
    /// The epoch.
    pub epoch: i32,
    /// The leader, or −1.
    pub leader: i32,
    /// The vote, or −1.
    pub voted: i32,
}

/// Reads a `quorum-state` file; `None` where it is not one.
#[must_use]
pub fn read_quorum_state(bytes: &Bytes) -> Option<QuorumStateFile> {
    let value: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    let field = |name: &str| i32::try_from(value.get(name)?.as_i64()?).ok();
    Some(QuorumStateFile {
        epoch: field("leaderEpoch")?,
        leader: field("leaderId")?,
        voted: field("votedId")?,
    })
}
