//! The 61 bytes before a batch's records.

use super::{BatchFault, NO_TIMESTAMP};
use crate::protocol::compression::Codec;
use crate::types::{
    LeaderEpoch, Offset, ProducerEpoch, ProducerId, ProducerStamp, Sequence, Timestamp,
};

/// Bytes of a header; the records follow.
pub const HEADER_BYTES: usize = 61;
/// Bytes of base offset and length field: what the length field does not count.
pub const LOG_OVERHEAD_BYTES: usize = 12;
/// Bytes of base offset, length and leader epoch: what a broker writes anew without touching the checksum.
pub const STAMP_BYTES: usize = 16;

/// Where the fields stand. Kafka: `DefaultRecordBatch`.
pub(super) mod at {
    pub(crate) const BASE_OFFSET: usize = 0;
    pub(crate) const BATCH_LENGTH: usize = 8;
    pub(crate) const LEADER_EPOCH: usize = 12;
    pub(crate) const MAGIC: usize = 16;
    pub(crate) const CRC: usize = 17;
    pub(crate) const ATTRIBUTES: usize = 21;
    pub(crate) const LAST_OFFSET_DELTA: usize = 23;
    pub(crate) const BASE_TIMESTAMP: usize = 27;
    pub(crate) const MAX_TIMESTAMP: usize = 35;
    pub(crate) const PRODUCER_ID: usize = 43;
    pub(crate) const PRODUCER_EPOCH: usize = 51;
    pub(crate) const BASE_SEQUENCE: usize = 53;
    pub(crate) const RECORD_COUNT: usize = 57;
}

/// The message format this module reads and writes.
pub(super) const MAGIC: i8 = 2;

/// Who gave a batch its timestamps (`message.timestamp.type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TimestampType {
    /// The producer, record by record.
    #[default]
    CreateTime,
    /// The broker, when it appended the batch: all records have the batch's max timestamp.
    LogAppendTime,
}

/// The batch's flags. Bits 7 to 15 are unused and kept as they came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes(pub(super) i16);

impl Attributes {
    pub(super) const CODEC: i16 = 0x07;
    pub(super) const LOG_APPEND_TIME: i16 = 0x08;
    pub(super) const TRANSACTIONAL: i16 = 0x10;
    pub(super) const CONTROL: i16 = 0x20;
    pub(super) const DELETE_HORIZON: i16 = 0x40;

    /// The bits, as on the wire.
    #[must_use]
    pub const fn bits(self) -> i16 {
        self.0
    }

    /// Who gave the timestamps.
    #[must_use]
    pub const fn timestamp_type(self) -> TimestampType {
        if self.0 & Self::LOG_APPEND_TIME == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        }
    }

    /// Whether the batch belongs to a transaction.
    #[must_use]
    pub const fn is_transactional(self) -> bool {
        self.0 & Self::TRANSACTIONAL != 0
    }

    /// Whether the records are brokers' control records, which consumers never see.
    #[must_use]
    pub const fn is_control(self) -> bool {
        self.0 & Self::CONTROL != 0
    }

    /// Whether the base timestamp is the time at which tombstones in the batch may go (KIP-534).
    #[must_use]
    pub const fn has_delete_horizon(self) -> bool {
        self.0 & Self::DELETE_HORIZON != 0
    }

    pub(super) fn with_codec(self, codec: Codec) -> Self {
        Self(self.0 & !Self::CODEC | i16::from(codec.id()))
    }

    pub(super) const fn with_timestamp_type(self, timestamp_type: TimestampType) -> Self {
        match timestamp_type {
            TimestampType::CreateTime => Self(self.0 & !Self::LOG_APPEND_TIME),
            TimestampType::LogAppendTime => Self(self.0 | Self::LOG_APPEND_TIME),
        }
    }
}

/// The producer that a batch names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BatchProducer {
    /// The producer.
    pub id: ProducerId,
    /// Its incarnation.
    pub epoch: ProducerEpoch,
    /// The sequence of the first record. `None` in what brokers write in a producer's name: transaction markers and
    /// transactional offset commits.
    pub base_sequence: Option<Sequence>,
}

/// A batch's header, read.
///
/// Invariants: `last_offset()` leaves room for an offset after it; `size_in_bytes` ≥ 61.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// The offset of the first record that was ever in the batch (compaction may have removed it).
    pub base_offset: Offset,
    /// Bytes of the whole batch, header included.
    pub size_in_bytes: u32,
    /// The term of the leader that appended the batch. `None` before a leader stamped it.
    pub leader_epoch: Option<LeaderEpoch>,
    /// The stored checksum over everything from the attributes on.
    pub crc: u32,
    /// The flags.
    pub attributes: Attributes,
    /// How the records are compressed.
    pub codec: Codec,
    /// The offset of the last record that was ever in the batch, counted from `base_offset`.
    pub last_offset_delta: u32,
    /// What the records' timestamp deltas are added to; the delete horizon where the attributes say so.
    pub base_timestamp: Timestamp,
    /// The largest timestamp of the records; with `LogAppendTime` the timestamp of each. `None` where none is set.
    pub max_timestamp: Option<Timestamp>,
    /// The producer, where the batch was sent by one with idempotence.
    pub producer: Option<BatchProducer>,
    /// How many records are in the batch. 0 only where compaction removed them all.
    pub record_count: u32,
}

impl BatchHeader {
    /// Reads the header at the front of `bytes`; what follows the 61 bytes is not looked at.
    ///
    /// The checksum is not looked at either: [`super::RawBatch::verify_crc`].
    ///
    /// Errors: fewer than 61 bytes, a length below that of a header, a magic other than 2, an unknown codec, negative
    /// counts, offsets beyond 63 bits. In this order, so that a batch of an old format is called one.
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchFault> {
        check_magic(bytes)?;
        let fields = bytes
            .first_chunk::<HEADER_BYTES>()
            .ok_or(BatchFault::TooShort { have: bytes.len() })?;
        let size_in_bytes = size_of(i32_at(fields, at::BATCH_LENGTH))?;
        let attributes = Attributes(i16_at(fields, at::ATTRIBUTES));
        let codec_id = u8::try_from(attributes.0 & Attributes::CODEC).expect("three bits");
        let codec = Codec::from_id(codec_id).ok_or(BatchFault::UnknownCodec { codec: codec_id })?;
        let (base_offset, last_offset_delta) = read_offsets(fields)?;
        let count = i32_at(fields, at::RECORD_COUNT);
        let record_count =
            u32::try_from(count).map_err(|_| BatchFault::NegativeRecordCount { count })?;
        let max_timestamp = i64_at(fields, at::MAX_TIMESTAMP);
        Ok(Self {
            base_offset,
            size_in_bytes,
            leader_epoch: LeaderEpoch::from_wire(i32_at(fields, at::LEADER_EPOCH)),
            crc: i32_at(fields, at::CRC).cast_unsigned(),
            attributes,
            codec,
            last_offset_delta,
            base_timestamp: Timestamp::from_millis(i64_at(fields, at::BASE_TIMESTAMP)),
            max_timestamp: (max_timestamp != NO_TIMESTAMP)
                .then_some(Timestamp::from_millis(max_timestamp)),
            producer: read_producer(fields)?,
            record_count,
        })
    }

    /// The offset of the last record that was ever in the batch.
    #[must_use]
    pub fn last_offset(&self) -> Offset {
        self.base_offset + u64::from(self.last_offset_delta)
    }

    /// The offset after the last one.
    #[must_use]
    pub fn end_offset(&self) -> Offset {
        self.base_offset + u64::from(self.last_offset_delta) + 1
    }

    /// Bytes of the whole batch, as an index into memory.
    #[must_use]
    pub fn size(&self) -> usize {
        usize::try_from(self.size_in_bytes).expect("at least 32-bit addresses")
    }

    /// Who gave the timestamps.
    #[must_use]
    pub const fn timestamp_type(&self) -> TimestampType {
        self.attributes.timestamp_type()
    }

    /// Whether the records are brokers' control records.
    #[must_use]
    pub const fn is_control(&self) -> bool {
        self.attributes.is_control()
    }

    /// Whether the batch belongs to a transaction.
    #[must_use]
    pub const fn is_transactional(&self) -> bool {
        self.attributes.is_transactional()
    }

    /// The producer and the sequence of the first record, where the batch has both.
    #[must_use]
    pub fn producer_stamp(&self) -> Option<ProducerStamp> {
        let producer = self.producer?;
        Some(ProducerStamp {
            id: producer.id,
            epoch: producer.epoch,
            base_sequence: producer.base_sequence?,
        })
    }

    /// The sequence of the last record, where the batch has sequences. Wraps from 2^31 − 1 to 0.
    #[must_use]
    pub fn last_sequence(&self) -> Option<Sequence> {
        Some(self.producer?.base_sequence?.plus(self.last_offset_delta))
    }

    /// Whether a producer may send such a batch.
    ///
    /// Errors: base offset not 0; no records; a count unlike the offsets; a control batch; a producer id without a
    /// sequence. Kafka: `LogValidator.validateBatch`, `UnifiedLog.analyzeAndValidateRecords`.
    pub fn check_from_producer(&self) -> Result<(), BatchFault> {
        if self.base_offset != Offset::ZERO {
            return Err(BatchFault::BaseOffsetNotZero { base_offset: self.base_offset.value() });
        }
        if self.record_count == 0 {
            return Err(BatchFault::NoRecords);
        }
        if self.last_offset_delta != self.record_count - 1 {
            return Err(BatchFault::CountUnlikeOffsets {
                count: self.record_count,
                last_offset_delta: self.last_offset_delta,
            });
        }
        if self.is_control() {
            return Err(BatchFault::ControlFromProducer);
        }
        if self.producer.is_some_and(|producer| producer.base_sequence.is_none()) {
            return Err(BatchFault::NoSequence);
        }
        Ok(())
    }
}

/// Refuses other formats by name, even where fewer bytes than a header of ours are there.
fn check_magic(bytes: &[u8]) -> Result<(), BatchFault> {
    match bytes.get(at::MAGIC).map(|byte| byte.cast_signed()) {
        None => Err(BatchFault::TooShort { have: bytes.len() }),
        Some(MAGIC) => Ok(()),
        Some(magic @ 0..=1) => Err(BatchFault::OldMagic { magic }),
        Some(magic) => Err(BatchFault::UnknownMagic { magic }),
    }
}

/// Bytes of the batch whose length field says `batch_length`.
pub(super) fn size_of(batch_length: i32) -> Result<u32, BatchFault> {
    let too_small = BatchFault::LengthTooSmall { batch_length };
    let size = u32::try_from(batch_length).map_err(|_| too_small)? + 12;
    if size < 61 { Err(too_small) } else { Ok(size) }
}

fn read_offsets(fields: &[u8; HEADER_BYTES]) -> Result<(Offset, u32), BatchFault> {
    let base_offset = i64_at(fields, at::BASE_OFFSET);
    let last_offset_delta = i32_at(fields, at::LAST_OFFSET_DELTA);
    let base =
        Offset::from_wire(base_offset).ok_or(BatchFault::NegativeBaseOffset { base_offset })?;
    let delta = u32::try_from(last_offset_delta)
        .map_err(|_| BatchFault::NegativeLastOffsetDelta { last_offset_delta })?;
    base.checked_add(u64::from(delta) + 1).ok_or(BatchFault::OffsetOverflow { base_offset })?;
    Ok((base, delta))
}

fn read_producer(fields: &[u8; HEADER_BYTES]) -> Result<Option<BatchProducer>, BatchFault> {
    let Some(id) = ProducerId::from_wire(i64_at(fields, at::PRODUCER_ID)) else {
        return Ok(None);
    };
    let epoch = i16_at(fields, at::PRODUCER_EPOCH);
    let epoch =
        ProducerEpoch::from_wire(epoch).ok_or(BatchFault::NegativeProducerEpoch { epoch })?;
    let base_sequence = Sequence::from_wire(i32_at(fields, at::BASE_SEQUENCE));
    Ok(Some(BatchProducer { id, epoch, base_sequence }))
}

fn i16_at(fields: &[u8; HEADER_BYTES], at: usize) -> i16 {
    i16::from_be_bytes(fields[at..at + 2].try_into().expect("two bytes"))
}

fn i32_at(fields: &[u8; HEADER_BYTES], at: usize) -> i32 {
    i32::from_be_bytes(fields[at..at + 4].try_into().expect("four bytes"))
}

fn i64_at(fields: &[u8; HEADER_BYTES], at: usize) -> i64 {
    i64::from_be_bytes(fields[at..at + 8].try_into().expect("eight bytes"))
}
