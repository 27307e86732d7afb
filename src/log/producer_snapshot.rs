//! The file of a producer snapshot, version 1.
//!
//! Version, checksum over everything behind it, count, entries of 46 bytes. Kafka: `ProducerSnapshot.json`,
//! `ProducerStateManager.readSnapshot`.

use std::collections::{BTreeMap, VecDeque};

use super::producer_state::{BATCHES_REMEMBERED, BatchMetadata, ProducerStateEntry};
use crate::protocol::record_batch::crc32c;
use crate::types::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

const VERSION: i16 = 1;
/// Version and checksum.
const PREFIX_BYTES: usize = 6;
const ENTRY_BYTES: usize = 46;

/// Why a snapshot file was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum SnapshotError {
    /// The file is too short for a snapshot.
    #[error("{bytes} bytes are no snapshot")]
    TooShort { bytes: usize },
    /// Another version.
    #[error("version {version} is not 1")]
    Version { version: i16 },
    /// The bytes are not those that the checksum was made of.
    #[error("its checksum is {stored:#010x}, but its bytes have {computed:#010x}")]
    Crc { stored: u32, computed: u32 },
    /// The count does not fit the length.
    #[error("it counts {count} producers in {bytes} bytes")]
    Count { count: i32, bytes: usize },
    /// An entry that no broker writes.
    #[error("its entry {index} has a negative number where none may be")]
    Entry { index: usize },
}

/// The file with `producers`.
pub(super) fn encode(producers: &BTreeMap<ProducerId, ProducerStateEntry>) -> Vec<u8> {
    let count = i32::try_from(producers.len()).expect("fewer than 2^31 producers");
    let mut out = Vec::with_capacity(PREFIX_BYTES + 4 + producers.len() * ENTRY_BYTES);
    out.extend_from_slice(&VERSION.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&count.to_be_bytes());
    for (id, entry) in producers {
        let last = entry.batches.back();
        let last_sequence = last.and_then(|batch| batch.last_sequence).map_or(-1, Sequence::value);
        let last_offset = last.map_or(-1, |batch| batch.last_offset.value());
        let offset_delta = last.map_or(0, |batch| batch.offset_delta.cast_signed());
        let first_offset = entry.current_txn_first_offset.map_or(-1, Offset::value);
        out.extend_from_slice(&id.value().to_be_bytes());
        out.extend_from_slice(&entry.epoch.value().to_be_bytes());
        out.extend_from_slice(&last_sequence.to_be_bytes());
        out.extend_from_slice(&last_offset.to_be_bytes());
        out.extend_from_slice(&offset_delta.to_be_bytes());
        out.extend_from_slice(&entry.last_timestamp.millis().to_be_bytes());
        out.extend_from_slice(&entry.coordinator_epoch.to_be_bytes());
        out.extend_from_slice(&first_offset.to_be_bytes());
    }
    let crc = crc32c(&out[PREFIX_BYTES..]);
    out[2..PREFIX_BYTES].copy_from_slice(&crc.to_be_bytes());
    out
}

/// The producers in the file.
pub(super) fn decode(
    bytes: &[u8],
) -> Result<BTreeMap<ProducerId, ProducerStateEntry>, SnapshotError> {
    let too_short = SnapshotError::TooShort { bytes: bytes.len() };
    let ([v0, v1, c0, c1, c2, c3], body) =
        bytes.split_first_chunk::<PREFIX_BYTES>().ok_or(too_short)?;
    let version = i16::from_be_bytes([*v0, *v1]);
    if version != VERSION {
        return Err(SnapshotError::Version { version });
    }
    let (count, entries) = body.split_first_chunk::<4>().ok_or(too_short)?;
    let stored = u32::from_be_bytes([*c0, *c1, *c2, *c3]);
    let computed = crc32c(body);
    if stored != computed {
        return Err(SnapshotError::Crc { stored, computed });
    }
    let count = i32::from_be_bytes(*count);
    let (entries, rest) = entries.as_chunks::<ENTRY_BYTES>();
    if !rest.is_empty() || usize::try_from(count) != Ok(entries.len()) {
        return Err(SnapshotError::Count { count, bytes: bytes.len() });
    }
    entries
        .iter()
        .enumerate()
        .map(|(index, entry)| decode_entry(entry).ok_or(SnapshotError::Entry { index }))
        .collect()
}

fn decode_entry(bytes: &[u8; ENTRY_BYTES]) -> Option<(ProducerId, ProducerStateEntry)> {
    let id = ProducerId::from_wire(i64_at(bytes, 0))?;
    let epoch = ProducerEpoch::from_wire(i16::from_be_bytes([bytes[8], bytes[9]]))?;
    let last_timestamp = Timestamp::from_millis(i64_at(bytes, 26));
    let mut batches = VecDeque::with_capacity(BATCHES_REMEMBERED);
    if let Some(last_offset) = Offset::from_wire(i64_at(bytes, 14)) {
        batches.push_back(BatchMetadata {
            last_sequence: Sequence::from_wire(i32_at(bytes, 10)),
            last_offset,
            offset_delta: u32::try_from(i32_at(bytes, 22)).ok()?,
            timestamp: last_timestamp,
        });
    }
    let entry = ProducerStateEntry {
        epoch,
        coordinator_epoch: i32_at(bytes, 34),
        last_timestamp,
        current_txn_first_offset: Offset::from_wire(i64_at(bytes, 38)),
        batches,
    };
    Some((id, entry))
}

fn i32_at(bytes: &[u8; ENTRY_BYTES], at: usize) -> i32 {
    i32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn i64_at(bytes: &[u8; ENTRY_BYTES], at: usize) -> i64 {
    i64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
