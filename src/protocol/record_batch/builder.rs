//! Making batches.

use bytes::Bytes;

use super::header::{MAGIC, at};
use super::varint::{varlong_size, write_varlong};
use super::{
    Attributes, BatchProducer, HEADER_BYTES, LOG_OVERHEAD_BYTES, NO_TIMESTAMP, RecordHeader, crc32c,
};
use crate::protocol::compression::{Codec, Compression, compress};
use crate::types::{LeaderEpoch, Offset, Timestamp};

/// A batch with more records than this is not built: both count and last offset delta have 31 bits.
const RECORDS_MAX: u32 = i32::MAX as u32;

/// Kafka multiplies its estimate of compressed bytes by this: `COMPRESSION_RATE_ESTIMATION_FACTOR`, in thousandths.
const ESTIMATE_MARGIN_PERMILLE: usize = 1_050;

/// Collects records and makes one batch of them.
///
/// Records are encoded as they come, behind 61 bytes that stay free for the header: an uncompressed batch is built
/// without another copy. Producer, offsets and epoch may be set at any time before [`BatchBuilder::build`].
///
/// ```
/// use ottla::protocol::compression::Compression;
/// use ottla::protocol::record_batch::{BatchBuilder, RawBatch};
/// use ottla::types::Timestamp;
///
/// let mut builder = BatchBuilder::new(Compression::NONE);
/// builder.append(Timestamp::from_millis(1_000), Some(b"key"), Some(b"value"), &[]);
/// let batch = RawBatch::parse(&builder.build()).unwrap();
/// assert_eq!(batch.header.record_count, 1);
/// ```
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    compression: Compression,
    /// 61 bytes for the header, then the records.
    buffer: Vec<u8>,
    count: u32,
    last_offset_delta: u32,
    base_timestamp: Option<Timestamp>,
    max_timestamp: Option<Timestamp>,
    base_offset: Offset,
    leader_epoch: Option<LeaderEpoch>,
    producer: Option<BatchProducer>,
    flags: i16,
    log_append_time: Option<Timestamp>,
    /// Compressed bytes for a thousand plain ones, as far as the caller knows.
    compression_ratio_permille: usize,
}

impl BatchBuilder {
    /// An empty batch at offset 0 without leader epoch and producer.
    #[must_use]
    pub fn new(compression: Compression) -> Self {
        Self {
            compression,
            buffer: vec![0; HEADER_BYTES],
            count: 0,
            last_offset_delta: 0,
            base_timestamp: None,
            max_timestamp: None,
            base_offset: Offset::ZERO,
            leader_epoch: None,
            producer: None,
            flags: 0,
            log_append_time: None,
            compression_ratio_permille: 1_000,
        }
    }

    /// Reserves memory for `bytes` of records.
    #[must_use]
    pub fn with_capacity(mut self, bytes: usize) -> Self {
        self.buffer.reserve(bytes);
        self
    }

    /// Places the batch at `base_offset`.
    #[must_use]
    pub const fn with_base_offset(mut self, base_offset: Offset) -> Self {
        self.base_offset = base_offset;
        self
    }

    /// Marks the batch as appended by the leader of `leader_epoch`.
    #[must_use]
    pub const fn with_leader_epoch(mut self, leader_epoch: LeaderEpoch) -> Self {
        self.leader_epoch = Some(leader_epoch);
        self
    }

    /// Marks the batch as part of a transaction.
    #[must_use]
    pub const fn with_transactional(mut self) -> Self {
        self.flags |= Attributes::TRANSACTIONAL;
        self
    }

    /// Gives all records the broker's time instead of their own.
    #[must_use]
    pub const fn with_log_append_time(mut self, timestamp: Timestamp) -> Self {
        self.log_append_time = Some(timestamp);
        self
    }

    /// Says how well such records were compressed lately: compressed bytes for a thousand plain ones. Only for
    /// [`BatchBuilder::estimated_size`].
    #[must_use]
    pub const fn with_compression_ratio_permille(mut self, permille: usize) -> Self {
        self.compression_ratio_permille = permille;
        self
    }

    pub(super) const fn mark_control(&mut self) {
        self.flags |= Attributes::CONTROL;
    }

    /// Names the producer; before `build`, so that a batch gets its sequence when it is closed.
    pub const fn set_producer(&mut self, producer: BatchProducer) {
        self.producer = Some(producer);
    }

    /// Appends a record behind the last one and returns its offset delta.
    ///
    /// Panics with the 2^31st record, or a record beyond 2^31 bytes.
    pub fn append(
        &mut self,
        timestamp: Timestamp,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[RecordHeader],
    ) -> u32 {
        let delta = if self.count == 0 { 0 } else { self.last_offset_delta + 1 };
        self.append_at(delta, timestamp, key, value, headers);
        delta
    }

    /// Appends a record at an offset of its own, as compaction needs it.
    ///
    /// Panics as [`BatchBuilder::append`], and where offsets go back.
    pub fn append_at(
        &mut self,
        offset_delta: u32,
        timestamp: Timestamp,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[RecordHeader],
    ) {
        assert!(offset_delta < RECORDS_MAX, "offset deltas have 31 bits");
        assert!(
            self.count == 0 || offset_delta > self.last_offset_delta,
            "offsets of a batch rise"
        );
        let base = *self.base_timestamp.get_or_insert(timestamp);
        let timestamp_delta = timestamp.millis().wrapping_sub(base.millis());
        let body = body_size(offset_delta, timestamp_delta, key, value, headers);
        write_length(body, &mut self.buffer);
        self.buffer.push(0);
        write_varlong(timestamp_delta, &mut self.buffer);
        write_varlong(i64::from(offset_delta), &mut self.buffer);
        write_nullable(key, &mut self.buffer);
        write_nullable(value, &mut self.buffer);
        write_length(headers.len(), &mut self.buffer);
        for header in headers {
            write_nullable(Some(header.key.as_bytes()), &mut self.buffer);
            write_nullable(header.value.as_deref(), &mut self.buffer);
        }
        self.max_timestamp = self.max_timestamp.max(Some(timestamp));
        self.last_offset_delta = offset_delta;
        self.count += 1;
    }

    /// How many records are in.
    #[must_use]
    pub const fn record_count(&self) -> u32 {
        self.count
    }

    /// Whether no record is in yet.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the batch before compression, header included: exact.
    #[must_use]
    pub const fn uncompressed_size(&self) -> usize {
        self.buffer.len()
    }

    /// Bytes of the batch as sent: exact without compression, otherwise estimated from the ratio that was given.
    ///
    /// Kafka: `MemoryRecordsBuilder.estimatedBytesWritten`.
    #[must_use]
    pub fn estimated_size(&self) -> usize {
        match self.compression.codec {
            Codec::None => self.buffer.len(),
            Codec::Gzip | Codec::Snappy | Codec::Lz4 | Codec::Zstd => {
                let plain = self.buffer.len() - HEADER_BYTES;
                let packed = plain.saturating_mul(self.compression_ratio_permille) / 1_000;
                HEADER_BYTES + packed.saturating_mul(ESTIMATE_MARGIN_PERMILLE) / 1_000
            }
        }
    }

    /// Whether another record keeps the batch within `size_max` bytes as sent. The first record always has room.
    ///
    /// Kafka: `MemoryRecordsBuilder.hasRoomFor`.
    #[must_use]
    pub fn has_room_for(
        &self,
        size_max: usize,
        timestamp: Timestamp,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[RecordHeader],
    ) -> bool {
        if self.is_empty() {
            return true;
        }
        let base = self.base_timestamp.expect("a batch with records has a base timestamp");
        let timestamp_delta = timestamp.millis().wrapping_sub(base.millis());
        let record = record_size(self.last_offset_delta + 1, timestamp_delta, key, value, headers);
        self.estimated_size().saturating_add(record) <= size_max
    }

    /// The batch, compressed and with its checksum.
    ///
    /// Panics where no record is in.
    #[must_use]
    pub fn build(mut self) -> Bytes {
        assert!(self.count > 0, "a batch has records");
        let mut batch = match self.compression.codec {
            Codec::None => std::mem::take(&mut self.buffer),
            Codec::Gzip | Codec::Snappy | Codec::Lz4 | Codec::Zstd => {
                let mut out = Vec::with_capacity(HEADER_BYTES + self.buffer.len() / 2);
                out.resize(HEADER_BYTES, 0);
                compress(self.compression, &self.buffer[HEADER_BYTES..], &mut out);
                out
            }
        };
        self.write_header(&mut batch);
        Bytes::from(batch)
    }

    fn write_header(&self, batch: &mut [u8]) {
        let length = i32::try_from(batch.len() - LOG_OVERHEAD_BYTES)
            .expect("a batch is smaller than 2^31 bytes");
        let count = self.count.cast_signed();
        let last_offset_delta = self.last_offset_delta.cast_signed();
        let producer_id = self.producer.map_or(-1, |producer| producer.id.value());
        let producer_epoch = self.producer.map_or(-1, |producer| producer.epoch.value());
        let base_sequence = self
            .producer
            .and_then(|producer| producer.base_sequence)
            .map_or(-1, |sequence| sequence.value());
        let max_timestamp = self.log_append_time.or(self.max_timestamp);
        let millis =
            |timestamp: Option<Timestamp>| timestamp.map_or(NO_TIMESTAMP, Timestamp::millis);
        put(batch, at::BASE_OFFSET, self.base_offset.value().to_be_bytes());
        put(batch, at::BATCH_LENGTH, length.to_be_bytes());
        let leader_epoch = self.leader_epoch.map_or(-1, LeaderEpoch::value);
        put(batch, at::LEADER_EPOCH, leader_epoch.to_be_bytes());
        put(batch, at::MAGIC, MAGIC.to_be_bytes());
        put(batch, at::ATTRIBUTES, self.attributes().to_be_bytes());
        put(batch, at::LAST_OFFSET_DELTA, last_offset_delta.to_be_bytes());
        put(batch, at::BASE_TIMESTAMP, millis(self.base_timestamp).to_be_bytes());
        put(batch, at::MAX_TIMESTAMP, millis(max_timestamp).to_be_bytes());
        put(batch, at::PRODUCER_ID, producer_id.to_be_bytes());
        put(batch, at::PRODUCER_EPOCH, producer_epoch.to_be_bytes());
        put(batch, at::BASE_SEQUENCE, base_sequence.to_be_bytes());
        put(batch, at::RECORD_COUNT, count.to_be_bytes());
        let crc = crc32c(&batch[at::ATTRIBUTES..]);
        put(batch, at::CRC, crc.to_be_bytes());
    }

    fn attributes(&self) -> i16 {
        let time = if self.log_append_time.is_some() { Attributes::LOG_APPEND_TIME } else { 0 };
        self.flags | time | i16::from(self.compression.codec.id())
    }
}

fn put<const N: usize>(batch: &mut [u8], at: usize, field: [u8; N]) {
    batch[at..at + N].copy_from_slice(&field);
}

fn write_length(length: usize, out: &mut Vec<u8>) {
    let length = i32::try_from(length).expect("a record is smaller than 2^31 bytes");
    write_varlong(i64::from(length), out);
}

fn write_nullable(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    match bytes {
        None => write_varlong(-1, out),
        Some(bytes) => {
            write_length(bytes.len(), out);
            out.extend_from_slice(bytes);
        }
    }
}

/// Bytes of a record in a batch before compression, its length field included.
///
/// Kafka: `DefaultRecord.sizeInBytes`.
#[must_use]
pub fn record_size(
    offset_delta: u32,
    timestamp_delta: i64,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: &[RecordHeader],
) -> usize {
    let body = body_size(offset_delta, timestamp_delta, key, value, headers);
    length_size(body) + body
}

/// Bytes that a record needs at most, wherever in a batch it comes to stand.
///
/// Kafka: `DefaultRecord.recordSizeUpperBound`.
#[must_use]
pub fn record_size_upper_bound(
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: &[RecordHeader],
) -> usize {
    record_size(RECORDS_MAX, i64::MIN, key, value, headers)
}

fn body_size(
    offset_delta: u32,
    timestamp_delta: i64,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: &[RecordHeader],
) -> usize {
    let headers_size: usize = headers
        .iter()
        .map(|header| {
            nullable_size(Some(header.key.as_bytes())) + nullable_size(header.value.as_deref())
        })
        .sum();
    1 + varlong_size(timestamp_delta)
        + varlong_size(i64::from(offset_delta))
        + nullable_size(key)
        + nullable_size(value)
        + length_size(headers.len())
        + headers_size
}

fn nullable_size(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| length_size(bytes.len()) + bytes.len())
}

fn length_size(length: usize) -> usize {
    varlong_size(i64::try_from(length).expect("lengths fit 63 bits"))
}
