//! Record batches of message format 2: the unit in which records are sent, stored and checked.
//!
//! A broker reads a batch's 61-byte header and its checksum; the records behind stay bytes that are neither copied nor
//! decoded on their way from socket to file. [`RawBatches`] cuts received bytes into batches, [`RawBatch::stamp`] gives
//! them their place in the log, [`RawBatch::records`] decodes them where that is needed, [`BatchBuilder`] makes new ones.
//!
//! Formats 0 and 1 are recognised by name and refused: Kafka 4 has dropped them too (KIP-724).
//!
//! What a *producer* may not send although it can be read (control batches, gaps) is [`BatchHeader::check_from_producer`];
//! what a topic's configuration forbids is `log::validator`. Neither is asked of bytes read back from disk.
//!
//! Kafka: `DefaultRecordBatch`, `DefaultRecord`, `MemoryRecordsBuilder`.

mod builder;
mod control;
mod fault;
mod header;
mod raw;
mod records;
mod varint;

pub use builder::{BatchBuilder, record_size, record_size_upper_bound};
pub use control::{ControlRecord, ControlRecordType, EndTransactionMarker};
pub use fault::{BatchError, BatchFault, RecordFault};
pub use header::{
    Attributes, BatchHeader, BatchProducer, HEADER_BYTES, LOG_OVERHEAD_BYTES, STAMP_BYTES,
    TimestampType,
};
pub use raw::{RawBatch, RawBatches};
pub use records::{Record, RecordHeader, RecordHeaders, RecordIter, RecordView, RecordViews};

/// CRC-32C (Castagnoli), the checksum of batches and of producer snapshots.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes);
    u32::try_from(crc).expect("CRC-32C has 32 bits")
}

/// CRC-32C of `head` followed by `tail`, as if they lay side by side.
fn crc32c_of_two(head: &[u8], tail: &[u8]) -> u32 {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    digest.update(head);
    digest.update(tail);
    u32::try_from(digest.finalize()).expect("CRC-32C has 32 bits")
}

/// Timestamp `-1`: a record or batch without one. Kept inside record decoding; elsewhere it is `None`.
const NO_TIMESTAMP: i64 = -1;

#[cfg(test)]
mod tests;
