//! What a leader asks of a producer's batch before it goes into the log, and what a follower asks of its leader's.
//!
//! Exactly one batch is taken for a partition and request, as Kafka does since message format 2. Its header is read, its
//! checksum verified, and its records are walked in place: without them a batch that lies about its offsets would
//! break every reader. The walk allocates nothing; a compressed batch is decompressed for it into bounded memory, and its
//! compressed bytes go into the log as they came unless the topic asks for another codec.
//!
//! The producer's epoch and sequence are not looked at here: `producer_state`.
//!
//! Kafka: `ProduceRequest.validateRecords`, `UnifiedLog.analyzeAndValidateRecords`, `LogValidator`. Where we differ:
//! record offsets that do not count from 0 are refused (Kafka renumbers compressed and passes over plain ones), a
//! producer that claims LogAppendTime is always refused (Kafka passes over it with CreateTime), and a batch that
//! decompresses beyond [`DECOMPRESSED_BYTES_MAX`] is refused (Kafka has no limit).

use std::time::Duration;

use bytes::Bytes;

use super::config::LogConfig;
use crate::protocol::compression::{Compression, compress};
use crate::protocol::record_batch::{
    BatchError, BatchFault, BatchHeader, HEADER_BYTES, RawBatch, RawBatches, RecordFault,
    RecordView, RecordViews, TimestampType,
};
use crate::types::{ErrorCode, LeaderEpoch, Offset, Timestamp};

/// How much a batch may decompress to: 128 times the default of `max.message.bytes`.
pub const DECOMPRESSED_BYTES_MAX: usize = 128 << 20;
/// How many wrong records of a batch are told of; the message shows three, as Kafka's.
const RECORD_ERRORS_MAX: usize = 10;

/// What a batch is held against.
#[derive(Clone, Copy, Debug)]
pub struct ValidationRules<'a> {
    /// The topic's configuration.
    pub config: &'a LogConfig,
    /// The broker's wall clock.
    pub now: Timestamp,
    /// How much a batch may decompress to; [`DECOMPRESSED_BYTES_MAX`] outside of tests.
    pub decompressed_bytes_max: usize,
}

impl<'a> ValidationRules<'a> {
    /// The rules of a topic with `config` at the time `now`.
    #[must_use]
    pub const fn new(config: &'a LogConfig, now: Timestamp) -> Self {
        Self { config, now, decompressed_bytes_max: DECOMPRESSED_BYTES_MAX }
    }
}

/// A batch that may be appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidatedBatch {
    batch: RawBatch,
    timestamp_type: TimestampType,
    max_timestamp: Option<Timestamp>,
}

/// A batch with its place in the log: the bytes to write, and what they say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StampedBatch {
    /// The header of the bytes below.
    pub header: BatchHeader,
    /// The bytes: a new head of 16 or 61 bytes, and the producer's own bytes.
    pub slices: [Bytes; 2],
}

/// Why a producer's records are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Rejection {
    /// What the producer is answered.
    pub code: ErrorCode,
    /// What it is told.
    pub message: String,
    /// Which records are wrong, where single ones are: at most ten.
    pub record_errors: Vec<RecordError>,
}

/// A record that the topic does not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordError {
    /// The record, counted from 0.
    pub batch_index: u32,
    /// What is wrong with it.
    pub message: String,
}

impl Rejection {
    fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), record_errors: Vec::new() }
    }
}

impl From<BatchError> for Rejection {
    fn from(error: BatchError) -> Self {
        Self::new(error.error_code(), error.to_string())
    }
}

impl From<BatchFault> for Rejection {
    fn from(fault: BatchFault) -> Self {
        Self::from(fault.at(0))
    }
}

/// Checks the records of a producer for one partition.
///
/// Errors: not exactly one batch (INVALID_RECORD); a size beyond `max.message.bytes` (MESSAGE_TOO_LARGE) or
/// `segment.bytes` (RECORD_LIST_TOO_LARGE); faults of batch and records, each with its code; timestamps out of range
/// (INVALID_TIMESTAMP); records without key in a compacted topic (INVALID_RECORD).
pub fn validate_produced(
    records: &Bytes,
    rules: ValidationRules<'_>,
) -> Result<ValidatedBatch, Rejection> {
    let batch = exactly_one(records)?;
    check_size(batch.header.size_in_bytes, rules.config)?;
    // First of all that is inside of it: what was damaged on the way may be sent again, what is wrong may not.
    batch.verify_crc()?;
    batch.header.check_from_producer()?;
    if batch.header.timestamp_type() == TimestampType::LogAppendTime {
        let message = "the producer must not set the timestamp type LogAppendTime";
        return Err(Rejection::new(ErrorCode::InvalidTimestamp, message));
    }
    let plain = batch.decompressed_record_bytes(rules.decompressed_bytes_max)?;
    let max_of_records = walk(&batch.header, &plain, rules)?;
    let timestamp_type = rules.config.timestamp_type;
    let max_timestamp = match timestamp_type {
        TimestampType::CreateTime => max_of_records,
        TimestampType::LogAppendTime => Some(rules.now),
    };
    let batch = match rules.config.compression.recompression(batch.header.codec) {
        None => batch,
        Some(target) => recompress(&batch, &plain, target, rules.config)?,
    };
    Ok(ValidatedBatch { batch, timestamp_type, max_timestamp })
}

fn exactly_one(records: &Bytes) -> Result<RawBatch, Rejection> {
    let mut batches = RawBatches::new(records.clone());
    let Some(batch) = batches.next() else {
        let message = "a produce request must have exactly one batch for a partition, not none";
        return Err(Rejection::new(ErrorCode::InvalidRecord, message));
    };
    let batch = batch.map_err(|error| RawBatch::cause_of(error.fault, records))?;
    if batches.remaining() > 0 {
        let message = "a produce request must have exactly one batch for a partition, not more";
        return Err(Rejection::new(ErrorCode::InvalidRecord, message));
    }
    Ok(batch)
}

fn check_size(size: u32, config: &LogConfig) -> Result<(), Rejection> {
    if size > config.max_message_bytes {
        let max = config.max_message_bytes;
        let message = format!("the batch has {size} bytes; max.message.bytes is {max}");
        return Err(Rejection::new(ErrorCode::MessageTooLarge, message));
    }
    if size > config.segment_bytes {
        let max = config.segment_bytes;
        let message = format!("the batch has {size} bytes; segment.bytes is {max}");
        return Err(Rejection::new(ErrorCode::RecordListTooLarge, message));
    }
    Ok(())
}

/// Walks the records, in place; returns their largest timestamp.
fn walk(
    header: &BatchHeader,
    plain: &[u8],
    rules: ValidationRules<'_>,
) -> Result<Option<Timestamp>, Rejection> {
    let mut max_timestamp = None;
    let mut refused = Refused::default();
    for (view, index) in RecordViews::new(plain, header.record_count).zip(0u32..) {
        let view = view?;
        if u32::try_from(view.offset_delta) != Ok(index) {
            let fault = RecordFault::OffsetDelta { offset_delta: view.offset_delta };
            return Err(BatchFault::Record { index, fault }.into());
        }
        let timestamp = view.timestamp(header.base_timestamp);
        if timestamp.millis() >= 0 {
            max_timestamp = max_timestamp.max(Some(timestamp));
        }
        refused.check(index, &view, timestamp, rules);
    }
    refused.into_result().map(|()| max_timestamp)
}

/// The records that the topic does not take.
#[derive(Default)]
struct Refused {
    count: u32,
    any_timestamp: bool,
    first: Vec<RecordError>,
}

impl Refused {
    fn check(
        &mut self,
        index: u32,
        view: &RecordView<'_>,
        timestamp: Timestamp,
        rules: ValidationRules<'_>,
    ) {
        if rules.config.cleanup_policy.compact && view.key.is_none() {
            self.push(index, || "a compacted topic takes no record without key".to_owned());
        } else if !timestamp_is_in_range(timestamp, rules) {
            self.any_timestamp = true;
            self.push(index, || {
                format!("timestamp {timestamp} is out of range around {}", rules.now)
            });
        }
    }

    fn push(&mut self, batch_index: u32, message: impl FnOnce() -> String) {
        self.count += 1;
        if self.first.len() < RECORD_ERRORS_MAX {
            self.first.push(RecordError { batch_index, message: message() });
        }
    }

    fn into_result(self) -> Result<(), Rejection> {
        if self.count == 0 {
            return Ok(());
        }
        let code =
            if self.any_timestamp { ErrorCode::InvalidTimestamp } else { ErrorCode::InvalidRecord };
        let shown: Vec<_> = self
            .first
            .iter()
            .take(3)
            .map(|error| format!("record {}: {}", error.batch_index, error.message))
            .collect();
        let message = format!("{} records are refused; {}", self.count, shown.join("; "));
        Err(Rejection { code, message, record_errors: self.first })
    }
}

/// Kafka: `LogValidator.recordHasInvalidTimestamp`; a record without timestamp (−1) is not asked.
fn timestamp_is_in_range(timestamp: Timestamp, rules: ValidationRules<'_>) -> bool {
    let config = rules.config;
    if config.timestamp_type == TimestampType::LogAppendTime || timestamp.millis() == -1 {
        return true;
    }
    let within = |distance: i64, max: Option<Duration>| {
        max.is_none_or(|max| {
            i128::from(distance) <= i128::try_from(max.as_millis()).unwrap_or(i128::MAX)
        })
    };
    let behind = rules.now.millis().saturating_sub(timestamp.millis());
    let ahead = timestamp.millis().saturating_sub(rules.now.millis());
    within(behind, config.timestamp_before_max) && within(ahead, config.timestamp_after_max)
}

/// The batch with its records compressed otherwise. Records are moved as bytes: only the header is made anew.
fn recompress(
    batch: &RawBatch,
    plain: &[u8],
    target: Compression,
    config: &LogConfig,
) -> Result<RawBatch, Rejection> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + plain.len() / 2);
    bytes.extend_from_slice(&batch.bytes[..HEADER_BYTES]);
    compress(target, plain, &mut bytes);
    let batch = batch.with_records(target.codec, bytes);
    check_size(batch.header.size_in_bytes, config)?;
    Ok(batch)
}

impl ValidatedBatch {
    /// The header as the producer sent it, or with the topic's codec: base offset 0, no leader epoch. For the check of
    /// epoch and sequence.
    #[must_use]
    pub const fn header(&self) -> &BatchHeader {
        &self.batch.header
    }

    /// What a produce response tells as the time of the append: the broker's, with LogAppendTime.
    #[must_use]
    pub const fn log_append_time(&self) -> Option<Timestamp> {
        match self.timestamp_type {
            TimestampType::CreateTime => None,
            TimestampType::LogAppendTime => self.max_timestamp,
        }
    }

    /// The batch at its place in the log. The producer's bytes are not copied, apart from a head of 16 bytes; or of 61
    /// with a new checksum, where timestamp type or max timestamp are not what the producer set.
    #[must_use]
    pub fn stamp(&self, base_offset: Offset, leader_epoch: LeaderEpoch) -> StampedBatch {
        let header = &self.batch.header;
        let keeps_time = header.timestamp_type() == self.timestamp_type
            && header.max_timestamp == self.max_timestamp;
        if keeps_time {
            let slices = self.batch.stamp(base_offset, leader_epoch);
            let header = BatchHeader { base_offset, leader_epoch: Some(leader_epoch), ..*header };
            return StampedBatch { header, slices };
        }
        let slices = self.batch.stamp_with_time(
            base_offset,
            leader_epoch,
            self.timestamp_type,
            self.max_timestamp,
        );
        let header =
            BatchHeader::parse(&slices[0]).expect("a stamped header is as good as the one before");
        StampedBatch { header, slices }
    }
}

impl StampedBatch {
    /// The bytes in one piece; copies.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        Bytes::from(self.slices.concat())
    }
}

/// What may be wrong with records from a leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum ReplicatedError {
    /// A batch does not hold.
    #[error("{0}")]
    Batch(#[from] BatchError),
    /// Offsets go back: below the end of this log, or among the batches.
    #[error("the batch at byte {position} begins at offset {base_offset}, below {next_offset}")]
    OffsetBack { position: u64, base_offset: Offset, next_offset: Offset },
}

/// Checks what a follower fetched for a log that ends at `log_end_offset`: whole batches with true checksums whose offsets
/// rise. A batch that the fetch cut off at the end is left away.
///
/// Errors: as listed; nothing is to be appended then.
///
/// Kafka: `UnifiedLog.appendAsFollower`.
pub fn validate_replicated(
    records: &Bytes,
    log_end_offset: Offset,
) -> Result<Vec<RawBatch>, ReplicatedError> {
    let mut batches = Vec::new();
    let mut next_offset = log_end_offset;
    let mut position = 0;
    for batch in RawBatches::new(records.clone()) {
        let batch = match batch {
            Ok(batch) => batch,
            Err(error) if error.fault.is_incomplete() => break,
            Err(error) => return Err(error.into()),
        };
        batch.verify_crc().map_err(|fault| fault.at(position))?;
        let base_offset = batch.header.base_offset;
        if base_offset < next_offset {
            return Err(ReplicatedError::OffsetBack { position, base_offset, next_offset });
        }
        next_offset = batch.header.end_offset();
        position += u64::from(batch.header.size_in_bytes);
        batches.push(batch);
    }
    Ok(batches)
}

#[cfg(test)]
#[path = "validator_tests.rs"]
mod tests;
