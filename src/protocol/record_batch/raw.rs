//! Batches as bytes: cut out, checked, stamped; never copied.

use bytes::Bytes;

use super::header::{at, size_of};
use super::{
    BatchError, BatchFault, BatchHeader, BatchProducer, HEADER_BYTES, LOG_OVERHEAD_BYTES,
    RecordIter, STAMP_BYTES, TimestampType, crc32c, crc32c_of_two,
};
use crate::protocol::compression::{Codec, decompress};
use crate::types::{LeaderEpoch, Offset, Sequence, Timestamp};

/// One batch: its header, read, and all its bytes, header included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawBatch {
    /// The header.
    pub header: BatchHeader,
    /// The whole batch, exactly `header.size_in_bytes` long.
    pub bytes: Bytes,
}

impl RawBatch {
    /// Cuts the batch at the front of `bytes` out, without copying. The checksum is not verified.
    ///
    /// Errors: those of [`BatchHeader::parse`], and a length beyond the end of `bytes`.
    pub fn parse(bytes: &Bytes) -> Result<Self, BatchFault> {
        let header = BatchHeader::parse(bytes)?;
        if bytes.len() < header.size() {
            return Err(BatchFault::LengthBeyondEnd {
                size: u64::from(header.size_in_bytes),
                have: bytes.len(),
            });
        }
        Ok(Self { header, bytes: bytes.slice(..header.size()) })
    }

    /// What is wrong with the batch at the front of `bytes`, given that it could not be parsed for `fault`: where its
    /// checksum is wrong too, that is the cause, and a producer that sends it again may succeed.
    #[must_use]
    pub fn cause_of(fault: BatchFault, bytes: &Bytes) -> BatchFault {
        let covered = match fault {
            BatchFault::UnknownCodec { .. }
            | BatchFault::NegativeLastOffsetDelta { .. }
            | BatchFault::NegativeRecordCount { .. }
            | BatchFault::NegativeProducerEpoch { .. }
            | BatchFault::OffsetOverflow { .. } => {
                size_in(bytes).and_then(|size| bytes.get(..size))
            }
            BatchFault::TooShort { .. }
            | BatchFault::LengthTooSmall { .. }
            | BatchFault::LengthBeyondEnd { .. }
            | BatchFault::OldMagic { .. }
            | BatchFault::UnknownMagic { .. }
            | BatchFault::Crc { .. }
            | BatchFault::NegativeBaseOffset { .. }
            | BatchFault::NoRecords
            | BatchFault::CountUnlikeOffsets { .. }
            | BatchFault::BaseOffsetNotZero { .. }
            | BatchFault::ControlFromProducer
            | BatchFault::NoSequence
            | BatchFault::Compression(_)
            | BatchFault::Record { .. }
            | BatchFault::BytesAfterRecords { .. } => None,
        };
        let Some(batch) = covered else { return fault };
        let stored = batch[at::CRC..][..4].try_into().expect("four bytes");
        let (stored, computed) = (u32::from_be_bytes(stored), crc32c(&batch[at::ATTRIBUTES..]));
        if stored == computed { fault } else { BatchFault::Crc { stored, computed } }
    }

    /// Whether the bytes are those that the checksum was made of.
    pub fn verify_crc(&self) -> Result<(), BatchFault> {
        let computed = crc32c(&self.bytes[at::ATTRIBUTES..]);
        if computed == self.header.crc {
            Ok(())
        } else {
            Err(BatchFault::Crc { stored: self.header.crc, computed })
        }
    }

    /// The batch with another base offset and leader epoch: 16 new bytes, and the rest as it is.
    ///
    /// Both fields are outside the checksum, so it stays true.
    #[must_use]
    pub fn stamp(&self, base_offset: Offset, leader_epoch: LeaderEpoch) -> [Bytes; 2] {
        let mut head = [0; STAMP_BYTES];
        head.copy_from_slice(&self.bytes[..STAMP_BYTES]);
        write_stamp(&mut head, base_offset, leader_epoch);
        [Bytes::copy_from_slice(&head), self.bytes.slice(STAMP_BYTES..)]
    }

    /// The batch with another base offset, leader epoch, timestamp type and max timestamp: 61 new bytes with a new
    /// checksum, and the records as they are.
    ///
    /// For `message.timestamp.type=LogAppendTime`, and for a producer whose max timestamp was not that of its records.
    /// Kafka: `DefaultRecordBatch.setMaxTimestamp`.
    #[must_use]
    pub fn stamp_with_time(
        &self,
        base_offset: Offset,
        leader_epoch: LeaderEpoch,
        timestamp_type: TimestampType,
        max_timestamp: Option<Timestamp>,
    ) -> [Bytes; 2] {
        let mut head = [0; HEADER_BYTES];
        head.copy_from_slice(&self.bytes[..HEADER_BYTES]);
        write_stamp(&mut head, base_offset, leader_epoch);
        let attributes = self.header.attributes.with_timestamp_type(timestamp_type);
        let max_timestamp = max_timestamp.map_or(super::NO_TIMESTAMP, Timestamp::millis);
        head[at::ATTRIBUTES..][..2].copy_from_slice(&attributes.bits().to_be_bytes());
        head[at::MAX_TIMESTAMP..][..8].copy_from_slice(&max_timestamp.to_be_bytes());
        let tail = self.bytes.slice(HEADER_BYTES..);
        let crc = crc32c_of_two(&head[at::ATTRIBUTES..], &tail);
        head[at::CRC..][..4].copy_from_slice(&crc.to_be_bytes());
        [Bytes::copy_from_slice(&head), tail]
    }

    /// The batch with its records compressed otherwise: `bytes` are this batch's header, whatever it says, and the same
    /// records in `codec`. Length, attributes and checksum are made anew.
    ///
    /// Panics where `bytes` are shorter than a header.
    #[must_use]
    pub fn with_records(&self, codec: Codec, mut bytes: Vec<u8>) -> Self {
        let length = i32::try_from(bytes.len() - LOG_OVERHEAD_BYTES)
            .expect("a batch is smaller than 2^31 bytes");
        let attributes = self.header.attributes.with_codec(codec);
        bytes[at::BATCH_LENGTH..][..4].copy_from_slice(&length.to_be_bytes());
        bytes[at::ATTRIBUTES..][..2].copy_from_slice(&attributes.bits().to_be_bytes());
        let crc = crc32c(&bytes[at::ATTRIBUTES..]);
        bytes[at::CRC..][..4].copy_from_slice(&crc.to_be_bytes());
        Self::parse(&Bytes::from(bytes)).expect("a batch with its own header is one")
    }

    /// The batch in the name of another producer, epoch or sequence: 61 new bytes with a new checksum, and the records as
    /// they are. For a batch that a client has to send again under a new producer epoch (KIP-360).
    #[must_use]
    pub fn with_producer(&self, producer: BatchProducer) -> [Bytes; 2] {
        let mut head = [0; HEADER_BYTES];
        head.copy_from_slice(&self.bytes[..HEADER_BYTES]);
        let base_sequence = producer.base_sequence.map_or(-1, Sequence::value);
        head[at::PRODUCER_ID..][..8].copy_from_slice(&producer.id.value().to_be_bytes());
        head[at::PRODUCER_EPOCH..][..2].copy_from_slice(&producer.epoch.value().to_be_bytes());
        head[at::BASE_SEQUENCE..][..4].copy_from_slice(&base_sequence.to_be_bytes());
        let tail = self.bytes.slice(HEADER_BYTES..);
        let crc = crc32c_of_two(&head[at::ATTRIBUTES..], &tail);
        head[at::CRC..][..4].copy_from_slice(&crc.to_be_bytes());
        [Bytes::copy_from_slice(&head), tail]
    }

    /// The records' bytes, as they are: compressed where the header says so.
    #[must_use]
    pub fn record_bytes(&self) -> Bytes {
        self.bytes.slice(HEADER_BYTES..)
    }

    /// The records' bytes, decompressed where necessary into at most `decompressed_bytes_max`.
    ///
    /// Errors: bytes that the codec does not understand, or more of them than allowed.
    pub fn decompressed_record_bytes(
        &self,
        decompressed_bytes_max: usize,
    ) -> Result<Bytes, BatchFault> {
        Ok(decompress(self.header.codec, &self.record_bytes(), decompressed_bytes_max)?)
    }

    /// The records, decompressed where necessary into at most `decompressed_bytes_max`. Keys and values are slices.
    ///
    /// Errors: as [`RawBatch::decompressed_record_bytes`]; the iterator reports what is wrong inside.
    pub fn records(&self, decompressed_bytes_max: usize) -> Result<RecordIter, BatchFault> {
        let bytes = self.decompressed_record_bytes(decompressed_bytes_max)?;
        Ok(RecordIter::new(&self.header, bytes))
    }
}

/// The length of the batch at the front of `bytes`, where it is one.
fn size_in(bytes: &[u8]) -> Option<usize> {
    let length = bytes.get(at::BATCH_LENGTH..)?.first_chunk::<4>()?;
    usize::try_from(size_of(i32::from_be_bytes(*length)).ok()?).ok()
}

fn write_stamp(head: &mut [u8], base_offset: Offset, leader_epoch: LeaderEpoch) {
    head[at::BASE_OFFSET..][..8].copy_from_slice(&base_offset.value().to_be_bytes());
    head[at::LEADER_EPOCH..][..4].copy_from_slice(&leader_epoch.value().to_be_bytes());
}

/// The batches in `bytes`, one behind the other.
///
/// Ends after the last complete batch or after the first error: behind a batch that cannot be read no other can be found.
/// Checksums are left to [`RawBatch::verify_crc`].
#[derive(Clone, Debug)]
pub struct RawBatches {
    rest: Bytes,
    position: u64,
}

impl RawBatches {
    /// The batches in `bytes`; positions in errors count from its start.
    #[must_use]
    pub const fn new(bytes: Bytes) -> Self {
        Self { rest: bytes, position: 0 }
    }

    /// The position of the next batch, counted from the start of the bytes. After an error: of the batch with the error.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// How many bytes follow [`RawBatches::position`].
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }
}

impl Iterator for RawBatches {
    type Item = Result<RawBatch, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match RawBatch::parse(&self.rest) {
            Ok(batch) => {
                self.rest = self.rest.slice(batch.header.size()..);
                self.position += u64::from(batch.header.size_in_bytes);
                Some(Ok(batch))
            }
            Err(fault) => {
                self.rest = Bytes::new();
                Some(Err(fault.at(self.position)))
            }
        }
    }
}

impl std::iter::FusedIterator for RawBatches {}
