//! What can be wrong with a batch, said exactly, and the answer a client gets for it.

use crate::protocol::compression::CompressionError;
use crate::types::ErrorCode;

/// A batch that cannot be taken, and where it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the batch at byte {position}: {fault}")]
pub struct BatchError {
    /// The byte at which the batch begins, counted from the start of what was read.
    pub position: u64,
    /// What is wrong with it.
    pub fault: BatchFault,
}

/// What is wrong with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum BatchFault {
    /// Fewer bytes are left than a header has.
    #[error("{have} bytes are left, fewer than the 61 of a header")]
    TooShort { have: usize },
    /// The length field is smaller than a header needs.
    #[error("its length field is {batch_length}, below the 49 that a header needs")]
    LengthTooSmall { batch_length: i32 },
    /// The length field promises more bytes than there are.
    #[error("it claims {size} bytes, but {have} are left")]
    LengthBeyondEnd { size: u64, have: usize },
    /// A batch of message format 0 or 1, which Kafka 4 no longer takes (KIP-724).
    #[error("message format {magic} is no longer supported; format 2 is")]
    OldMagic { magic: i8 },
    /// A format that nobody has.
    #[error("message format {magic} does not exist")]
    UnknownMagic { magic: i8 },
    /// The bytes are not those that the checksum was made of.
    #[error("its checksum is {stored:#010x}, but its bytes have {computed:#010x}")]
    Crc { stored: u32, computed: u32 },
    /// A negative base offset.
    #[error("its base offset is {base_offset}")]
    NegativeBaseOffset { base_offset: i64 },
    /// A negative last offset delta.
    #[error("its last offset delta is {last_offset_delta}")]
    NegativeLastOffsetDelta { last_offset_delta: i32 },
    /// The last offset would be beyond 2^63 − 2, so that no offset could follow it.
    #[error("its offsets begin at {base_offset} and leave 63 bits")]
    OffsetOverflow { base_offset: i64 },
    /// A negative count of records.
    #[error("it counts {count} records")]
    NegativeRecordCount { count: i32 },
    /// A producer id without a producer epoch.
    #[error("it has a producer id, but the producer epoch {epoch}")]
    NegativeProducerEpoch { epoch: i16 },
    /// A codec number that Kafka has not assigned.
    #[error("compression codec {codec} does not exist")]
    UnknownCodec { codec: u8 },
    /// From a producer: the batch is empty.
    #[error("a producer's batch must have records")]
    NoRecords,
    /// From a producer: the offsets do not count the records.
    #[error("it counts {count} records, but its last offset delta is {last_offset_delta}")]
    CountUnlikeOffsets { count: u32, last_offset_delta: u32 },
    /// From a producer: offsets begin at 0, the broker assigns the real ones.
    #[error("a producer's batch must have the base offset 0, not {base_offset}")]
    BaseOffsetNotZero { base_offset: i64 },
    /// From a producer: control records are written by brokers only.
    #[error("clients must not write control records")]
    ControlFromProducer,
    /// From a producer: an idempotent batch without a sequence number.
    #[error("it has a producer id, but no sequence number")]
    NoSequence,
    /// The records cannot be decompressed.
    #[error("its records cannot be decompressed: {0}")]
    Compression(#[from] CompressionError),
    /// A record inside cannot be decoded.
    #[error("its record {index} {fault}")]
    Record { index: u32, fault: RecordFault },
    /// Bytes are left after the last record.
    #[error("{bytes} bytes are left after its {count} records")]
    BytesAfterRecords { count: u32, bytes: usize },
}

/// What is wrong with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum RecordFault {
    /// The batch ends inside it.
    #[error("is cut off by the end of its batch or of its own length")]
    Truncated,
    /// A varint has no end.
    #[error("contains a varint without an end")]
    VarintTooLong,
    /// A length is negative, and not the −1 that stands for null where null may stand.
    #[error("has a length of {length}")]
    NegativeLength { length: i32 },
    /// Its length field counts more bytes than its fields have.
    #[error("has {bytes} bytes after its last field")]
    BytesAfterFields { bytes: usize },
    /// Records of a producer's batch count their offsets without gaps.
    #[error("has the offset delta {offset_delta}")]
    OffsetDelta { offset_delta: i32 },
    /// A record inside a batch claims to be compressed itself.
    #[error("has compression attributes of its own")]
    Compressed,
}

impl BatchFault {
    /// The fault, at `position`.
    #[must_use]
    pub const fn at(self, position: u64) -> BatchError {
        BatchError { position, fault: self }
    }

    /// Whether the batch may only be cut off: its bytes end too early, and nothing else is wrong with what is there. So ends
    /// a fetch response that is full, and a file that was being written.
    #[must_use]
    pub const fn is_incomplete(self) -> bool {
        matches!(self, Self::TooShort { .. } | Self::LengthBeyondEnd { .. })
    }

    /// What a client is answered that sent such a batch.
    ///
    /// Kafka: `LogValidator`, `UnifiedLog.analyzeAndValidateRecords`, `ProduceRequest.validateRecords`. Where Kafka lets a
    /// Java exception through as `UNKNOWN_SERVER_ERROR` (unknown codec, bytes that do not decompress) the fitting code is given.
    #[must_use]
    pub const fn error_code(self) -> ErrorCode {
        match self {
            Self::TooShort { .. }
            | Self::LengthTooSmall { .. }
            | Self::LengthBeyondEnd { .. }
            | Self::UnknownMagic { .. }
            | Self::Crc { .. } => ErrorCode::CorruptMessage,
            Self::OldMagic { .. } => ErrorCode::UnsupportedForMessageFormat,
            Self::UnknownCodec { .. } => ErrorCode::UnsupportedCompressionType,
            Self::Compression(error) => error.error_code(),
            Self::NegativeBaseOffset { .. }
            | Self::NegativeLastOffsetDelta { .. }
            | Self::OffsetOverflow { .. }
            | Self::NegativeRecordCount { .. }
            | Self::NegativeProducerEpoch { .. }
            | Self::NoRecords
            | Self::CountUnlikeOffsets { .. }
            | Self::BaseOffsetNotZero { .. }
            | Self::ControlFromProducer
            | Self::NoSequence
            | Self::Record { .. }
            | Self::BytesAfterRecords { .. } => ErrorCode::InvalidRecord,
        }
    }
}

impl BatchError {
    /// What a client is answered that sent such a batch.
    #[must_use]
    pub const fn error_code(self) -> ErrorCode {
        self.fault.error_code()
    }
}

impl CompressionError {
    /// What a client is answered that sent such bytes.
    #[must_use]
    pub const fn error_code(self) -> ErrorCode {
        match self {
            Self::TooLarge { .. } => ErrorCode::MessageTooLarge,
            Self::Corrupt { codec: _ } => ErrorCode::CorruptMessage,
        }
    }
}
