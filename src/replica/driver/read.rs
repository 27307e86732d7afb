//! Reading: by offset, and offsets by time.

use super::read_cursors::ReadCursor;
use super::{Inner, PartitionHandle};
use crate::log::validator::DECOMPRESSED_BYTES_MAX;
use crate::log::{EpochEntry, Lookup, TimestampOffset};
use crate::protocol::Records;
use crate::protocol::record_batch::{RawBatch, RawBatches, TimestampType};
use crate::replica::ServedBy;
use crate::storage::{BatchesRead, ReadError, SegmentRead, StorageError, load_index, read_batches};
use crate::types::{ErrorCode, LeaderEpoch, Observation, Offset, Timestamp};

/// A read is begun again at most this often, when the log was cut meanwhile.
const ATTEMPTS_MAX: usize = 8;
/// Read at once when looking for a timestamp.
const SEARCH_BYTES: usize = 1 << 20;

/// How far a reader may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadUpTo {
    /// What is committed: consumers.
    HighWatermark,
    /// What is committed and decided: consumers with `read_committed`.
    LastStableOffset,
    /// Everything this replica may claim: followers.
    LogEnd,
}

/// What a reader asks for.
#[derive(Clone, Copy, Debug)]
pub struct ReadRequest {
    /// The first offset it wants; batches come whole, so earlier records may come with it.
    pub offset: Offset,
    /// How many bytes it takes.
    pub max_bytes: usize,
    /// It takes the first batch even if that is larger (KIP-74).
    pub first_batch_whole: bool,
    /// How far it may see.
    pub up_to: ReadUpTo,
    /// The leader epoch it believes in.
    pub leader_epoch: Option<LeaderEpoch>,
}

/// What a reader gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadAnswer {
    /// Whole batches; empty where there is nothing yet.
    pub records: Records,
    /// Everything below is committed. What [`PartitionHandle::watch`] wants to know.
    pub high_watermark: Offset,
    /// Everything below is committed and decided.
    pub last_stable_offset: Offset,
    /// The log's first offset.
    pub log_start_offset: Offset,
    /// The log's end.
    pub log_end_offset: Offset,
    /// Whether there is more for the reader behind these records, which had no room for it, or ended with a segment.
    pub has_more: bool,
}

/// Which offset is asked for (ListOffsets).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetSpec {
    /// The log's start (−2).
    Earliest,
    /// The end of what the reader may see (−1).
    Latest(ReadUpTo),
    /// The record with the largest timestamp (−3).
    MaxTimestamp,
    /// The first record with this timestamp or a later one.
    At(Timestamp),
}

/// An offset, and what was found there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampedOffset {
    /// The offset.
    pub offset: Offset,
    /// The record's timestamp, where a record was looked for.
    pub timestamp: Option<Timestamp>,
    /// The epoch in which that offset was, or will be, written.
    pub leader_epoch: Option<LeaderEpoch>,
}

/// Where to go on reading.
enum Plan {
    Memory(BatchesRead),
    Disk {
        segment: Offset,
        position: u64,
        size: u64,
        next: Option<Offset>,
        generation: u64,
        epochs: Vec<EpochEntry>,
    },
    Index {
        segment: Offset,
    },
}

impl PartitionHandle {
    /// Reads whole batches from memory or disk; those from disk are held against their checksums.
    ///
    /// # Errors
    /// OFFSET_OUT_OF_RANGE; CORRUPT_MESSAGE where the wanted batch is rotten; as [`PartitionHandle::check_leader`].
    pub async fn read(&self, request: ReadRequest) -> Result<ReadAnswer, ErrorCode> {
        self.read_by(request, ServedBy::Leader).await
    }

    /// The same; where `by` allows it, also at a follower, whose high watermark may be behind.
    ///
    /// # Errors
    /// As [`PartitionHandle::read`].
    pub async fn read_by(
        &self,
        request: ReadRequest,
        by: ServedBy,
    ) -> Result<ReadAnswer, ErrorCode> {
        let result = self.read_unobserved(request, by).await;
        match &result {
            Ok((answer, Some(end_offset))) => self.env.observe(Observation::FetchServed {
                partition: self.id,
                fetch_offset: request.offset,
                end_offset: *end_offset,
                high_watermark: answer.high_watermark,
            }),
            Ok((_, None)) => {}
            Err(error) => {
                let (partition, error) = (self.id, *error);
                self.env.observe(Observation::FetchFailed { partition, error });
            }
        }
        result.map(|(answer, _)| answer)
    }

    /// The same for the node itself, about its own log: no reader was served, so nobody is told of one.
    ///
    /// # Errors
    /// As [`PartitionHandle::read`].
    pub async fn read_own(&self, request: ReadRequest) -> Result<ReadAnswer, ErrorCode> {
        self.read_unobserved(request, ServedBy::Leader).await.map(|(answer, _)| answer)
    }

    pub(super) async fn read_unobserved(
        &self,
        request: ReadRequest,
        by: ServedBy,
    ) -> Result<(ReadAnswer, Option<Offset>), ErrorCode> {
        let mut offset = request.offset;
        for _ in 0..ATTEMPTS_MAX {
            let (answer, end_offset, plan, is_gapless) = {
                let inner = self.lock();
                inner.machine.check_reader(request.leader_epoch, by)?;
                inner.machine.check_offset(request.offset)?;
                let answer = inner.empty_answer();
                let end_offset = answer.end_for(request.up_to);
                if offset >= end_offset {
                    return Ok((answer, None));
                }
                let is_gapless = !inner.config.cleanup_policy.compact;
                (answer, end_offset, inner.plan(offset, end_offset, &request), is_gapless)
            };
            match plan {
                Plan::Memory(read) => {
                    return Ok((answer.with(&read, end_offset), read.end_offset));
                }
                // What is rare is boxed: a future is as large as the largest it waits for, and is moved whole.
                Plan::Index { segment } => Box::pin(self.load_index_of(segment)).await?,
                Plan::Disk { segment, position, size, next, generation, epochs } => {
                    let read = SegmentRead {
                        segment,
                        position,
                        size,
                        offset,
                        end_offset,
                        max_bytes: request.max_bytes,
                        first_batch_whole: request.first_batch_whole,
                        verify: self.options.fetch_verify,
                        is_gapless,
                        epochs: &epochs,
                    };
                    let read = Box::pin(read_batches(&self.files, read)).await;
                    if self.is_outdated(generation, request.offset, by)? {
                        continue;
                    }
                    let read = read.map_err(|error| self.read_failed(error))?;
                    self.remember(offset, segment, generation, &read);
                    match next.filter(|_| read.end_offset.is_none() && read.segment_ended) {
                        Some(next) => offset = next,
                        None => return Ok((answer.with(&read, end_offset), read.end_offset)),
                    }
                }
            }
        }
        // The log is being cut all the time, or segments are missing in a row: the reader may try again.
        Err(ErrorCode::KafkaStorageError)
    }

    /// Whether the log changed under a read. What was deleted meanwhile is out of range.
    fn is_outdated(
        &self,
        generation: u64,
        offset: Offset,
        by: ServedBy,
    ) -> Result<bool, ErrorCode> {
        let inner = self.lock();
        inner.machine.check_reader(None, by)?;
        inner.machine.check_offset(offset)?;
        Ok(inner.machine.generation() != generation)
    }

    /// Keeps where a read from `offset` on ended.
    fn remember(&self, offset: Offset, segment: Offset, generation: u64, read: &BatchesRead) {
        if let Some(end_offset) = read.end_offset {
            let position = read.next_position;
            let next = ReadCursor { offset: end_offset, segment, position, generation };
            self.lock().cursors.moved(offset, next);
        }
    }

    fn read_failed(&self, error: ReadError) -> ErrorCode {
        match error {
            ReadError::Storage(_) => ErrorCode::KafkaStorageError,
            ReadError::Rotten { segment, position, .. } => {
                let partition = self.id;
                self.env.observe(Observation::SegmentCorrupt { partition, segment, position });
                ErrorCode::CorruptMessage
            }
        }
    }

    async fn load_index_of(&self, segment: Offset) -> Result<(), ErrorCode> {
        let found = {
            let inner = self.lock();
            let log = inner.machine.log();
            let found = log.segments().iter().find(|found| found.base_offset == segment);
            found.map(|found| (found.size, log.limits().index))
        };
        // Deleted meanwhile: the caller looks again.
        let Some((size, sizes)) = found else { return Ok(()) };
        let failed = |_: StorageError| ErrorCode::KafkaStorageError;
        let index = load_index(&self.files, segment, size, sizes).await.map_err(failed)?;
        self.lock().machine.install_index(segment, index);
        Ok(())
    }

    /// Finds an offset for ListOffsets; `None` where no record fits.
    ///
    /// # Errors
    /// As [`PartitionHandle::read`]; OFFSET_NOT_AVAILABLE while a new leader does not know what is committed.
    pub async fn offset_for(
        &self,
        spec: OffsetSpec,
        leader_epoch: Option<LeaderEpoch>,
    ) -> Result<Option<TimestampedOffset>, ErrorCode> {
        self.check_leader(leader_epoch)?;
        // Below the start of the term there may be more that is committed than is known yet (KIP-207).
        let is_behind = self.lock().machine.is_high_watermark_behind();
        let or_unavailable = |found: Option<TimestampedOffset>| match found {
            None if is_behind => Err(ErrorCode::OffsetNotAvailable),
            found => Ok(found),
        };
        match spec {
            OffsetSpec::Latest(ReadUpTo::HighWatermark | ReadUpTo::LastStableOffset)
                if is_behind =>
            {
                Err(ErrorCode::OffsetNotAvailable)
            }
            OffsetSpec::Earliest => {
                Ok(Some(self.lock().at_boundary(|answer| answer.log_start_offset)))
            }
            OffsetSpec::Latest(up_to) => {
                Ok(Some(self.lock().at_boundary(|answer| answer.end_for(up_to))))
            }
            OffsetSpec::MaxTimestamp => {
                self.load_indexes().await.map_err(|_| ErrorCode::KafkaStorageError)?;
                let max = self.lock().max_timestamp();
                let Some(max) = max else { return or_unavailable(None) };
                or_unavailable(self.search(max.offset, max.timestamp).await?)
            }
            OffsetSpec::At(timestamp) => {
                self.load_indexes().await.map_err(|_| ErrorCode::KafkaStorageError)?;
                let from = self.lock().search_from(timestamp);
                let Some(from) = from else { return or_unavailable(None) };
                or_unavailable(self.search(from, timestamp).await?)
            }
        }
    }

    /// The first committed record with at least this timestamp, from the batch that holds `from` on.
    async fn search(
        &self,
        from: Offset,
        timestamp: Timestamp,
    ) -> Result<Option<TimestampedOffset>, ErrorCode> {
        let mut offset = from;
        loop {
            let log_start_offset = self.log_start_offset();
            let request = ReadRequest {
                offset: offset.max(log_start_offset),
                max_bytes: SEARCH_BYTES,
                first_batch_whole: true,
                up_to: ReadUpTo::HighWatermark,
                leader_epoch: None,
            };
            let (answer, Some(end_offset)) =
                self.read_unobserved(request, ServedBy::Leader).await?
            else {
                return Ok(None);
            };
            for batch in batches(&answer.records) {
                let late = batch.header.max_timestamp.is_some_and(|max| max >= timestamp);
                if late && let Some(found) = first_at(&batch, timestamp, log_start_offset)? {
                    return Ok(Some(found));
                }
            }
            offset = end_offset;
        }
    }
}

/// The batches in records; a batch may lie in two slices.
fn batches(records: &Records) -> impl Iterator<Item = RawBatch> {
    RawBatches::new(records.to_bytes()).map_while(Result::ok)
}

/// The first record of a batch with at least this timestamp, from `start` on.
fn first_at(
    batch: &RawBatch,
    timestamp: Timestamp,
    start: Offset,
) -> Result<Option<TimestampedOffset>, ErrorCode> {
    let leader_epoch = batch.header.leader_epoch;
    if batch.header.timestamp_type() == TimestampType::LogAppendTime {
        let offset = batch.header.base_offset.max(start);
        let timestamp = batch.header.max_timestamp;
        return Ok(Some(TimestampedOffset { offset, timestamp, leader_epoch }));
    }
    let corrupt = |_| ErrorCode::CorruptMessage;
    for record in batch.records(DECOMPRESSED_BYTES_MAX).map_err(corrupt)? {
        let record = record.map_err(corrupt)?;
        if record.offset >= start && record.timestamp >= timestamp {
            let timestamp = Some(record.timestamp);
            return Ok(Some(TimestampedOffset { offset: record.offset, timestamp, leader_epoch }));
        }
    }
    Ok(None)
}

impl ReadAnswer {
    /// With what was read for one who wants what lies below `end_offset`, and that is something.
    fn with(self, read: &BatchesRead, end_offset: Offset) -> Self {
        let has_more = read.end_offset.is_none_or(|read_to| read_to < end_offset);
        Self { records: read.slices.iter().cloned().collect(), has_more, ..self }
    }

    /// The end of what a reader may see.
    fn end_for(&self, up_to: ReadUpTo) -> Offset {
        match up_to {
            ReadUpTo::HighWatermark => self.high_watermark,
            ReadUpTo::LastStableOffset => self.last_stable_offset,
            ReadUpTo::LogEnd => self.log_end_offset,
        }
    }
}

impl Inner {
    pub(super) fn empty_answer(&self) -> ReadAnswer {
        ReadAnswer {
            records: Records::new(),
            high_watermark: self.machine.high_watermark(),
            last_stable_offset: self.machine.last_stable_offset(),
            log_start_offset: self.machine.log().log_start_offset(),
            log_end_offset: self.machine.replica_end_offset(),
            has_more: false,
        }
    }

    fn plan(&self, offset: Offset, end_offset: Offset, request: &ReadRequest) -> Plan {
        let (max_bytes, whole) = (request.max_bytes, request.first_batch_whole);
        if let Some(read) = self.tail.read(offset, end_offset, max_bytes, whole) {
            return Plan::Memory(read);
        }
        match self.machine.lookup(offset) {
            Lookup::At { segment, position, size, next } => {
                let generation = self.machine.generation();
                let known = self.cursors.position(offset, segment, generation);
                let position = known.unwrap_or(position);
                let epochs = self.machine.epochs().entries_from(offset).to_vec();
                Plan::Disk { segment, position, size, next, generation, epochs }
            }
            Lookup::NeedsIndex { segment } => Plan::Index { segment },
        }
    }

    /// An offset without a record of its own: the log's start or end.
    fn at_boundary(&self, offset: impl Fn(&ReadAnswer) -> Offset) -> TimestampedOffset {
        let offset = offset(&self.empty_answer());
        let epochs = self.machine.epochs();
        let leader_epoch = epochs.epoch_for_offset(offset);
        TimestampedOffset { offset, timestamp: None, leader_epoch }
    }

    /// The largest timestamp of the log, and the last offset of the first batch that has it.
    fn max_timestamp(&self) -> Option<TimestampOffset> {
        let segments = self.machine.log().segments();
        let all = segments.iter().filter_map(|segment| segment.max_timestamp());
        all.reduce(|first, next| if next.timestamp > first.timestamp { next } else { first })
    }

    /// From which offset on the first record with at least this timestamp is to be looked for.
    fn search_from(&self, timestamp: Timestamp) -> Option<Offset> {
        let segments = self.machine.log().segments();
        let late = |max: TimestampOffset| max.timestamp >= timestamp;
        let segment = segments.iter().find(|segment| segment.max_timestamp().is_some_and(late))?;
        let index = segment.index.as_ref()?;
        Some(index.times.lookup(timestamp).map_or(segment.base_offset, |entry| entry.offset))
    }
}
