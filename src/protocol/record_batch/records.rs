//! The records inside a batch.

use bytes::Bytes;

use super::varint::{read_varint, read_varlong};
use super::{BatchFault, BatchHeader, RecordFault, TimestampType};
use crate::types::{Offset, Timestamp};

/// One header of a record: a name, which may come several times, and a value.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordHeader {
    /// The name. Bytes that are not UTF-8 are read as U+FFFD, as Kafka's Java client reads them.
    pub key: String,
    /// The value; `None` is null, which is not the empty value.
    pub value: Option<Bytes>,
}

/// A record, decoded. Key and value share the memory of the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its position in the log.
    pub offset: Offset,
    /// Its time: the producer's, or with `LogAppendTime` the broker's. −1 where a producer set none.
    pub timestamp: Timestamp,
    /// The key; `None` is null.
    pub key: Option<Bytes>,
    /// The value; `None` is null, the tombstone of compacted topics.
    pub value: Option<Bytes>,
    /// The headers, in the order in which they were added.
    pub headers: Vec<RecordHeader>,
}

/// A record whose fields were checked and are still where they were: nothing is copied, nothing allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordView<'a> {
    /// The whole record behind its length field.
    pub body: &'a [u8],
    /// The record's own flags, of which none is assigned.
    pub attributes: i8,
    /// What to add to the batch's base timestamp, in milliseconds.
    pub timestamp_delta: i64,
    /// What to add to the batch's base offset.
    pub offset_delta: i32,
    /// The key; `None` is null.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is null.
    pub value: Option<&'a [u8]>,
    /// The headers.
    pub headers: RecordHeaders<'a>,
}

/// The headers of a [`RecordView`]: an iterator over names (bytes as they came) and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeaders<'a> {
    rest: &'a [u8],
    count: u32,
}

impl RecordHeaders<'_> {
    /// How many headers are left.
    #[must_use]
    pub const fn count_left(&self) -> u32 {
        self.count
    }
}

impl<'a> Iterator for RecordHeaders<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        self.count = self.count.checked_sub(1)?;
        Some(read_header(&mut self.rest).expect("the view checked its headers"))
    }
}

impl<'a> RecordView<'a> {
    /// Reads one record off the front of `input`: its length and all its fields.
    ///
    /// Errors: anything that does not fit exactly.
    ///
    /// Kafka: `DefaultRecord.readFrom`.
    pub fn read(input: &mut &'a [u8]) -> Result<Self, RecordFault> {
        let length = read_varint(input)?;
        let body = take(input, length)?;
        let mut rest = body;
        let (attributes, after) = rest.split_first().ok_or(RecordFault::Truncated)?;
        rest = after;
        let timestamp_delta = read_varlong(&mut rest)?;
        let offset_delta = read_varint(&mut rest)?;
        let key = read_nullable(&mut rest)?;
        let value = read_nullable(&mut rest)?;
        let header_count = read_varint(&mut rest)?;
        let count = u32::try_from(header_count)
            .map_err(|_| RecordFault::NegativeLength { length: header_count })?;
        let headers = RecordHeaders { rest, count };
        for _ in 0..count {
            read_header(&mut rest)?;
        }
        if !rest.is_empty() {
            return Err(RecordFault::BytesAfterFields { bytes: rest.len() });
        }
        Ok(Self {
            body,
            attributes: attributes.cast_signed(),
            timestamp_delta,
            offset_delta,
            key,
            value,
            headers,
        })
    }
}

fn take<'a>(input: &mut &'a [u8], length: i32) -> Result<&'a [u8], RecordFault> {
    let length = usize::try_from(length).map_err(|_| RecordFault::NegativeLength { length })?;
    let (taken, rest) = input.split_at_checked(length).ok_or(RecordFault::Truncated)?;
    *input = rest;
    Ok(taken)
}

fn read_nullable<'a>(input: &mut &'a [u8]) -> Result<Option<&'a [u8]>, RecordFault> {
    match read_varint(input)? {
        -1 => Ok(None),
        length => take(input, length).map(Some),
    }
}

fn read_header<'a>(input: &mut &'a [u8]) -> Result<(&'a [u8], Option<&'a [u8]>), RecordFault> {
    let length = read_varint(input)?;
    let key = take(input, length)?;
    Ok((key, read_nullable(input)?))
}

/// Walks the records in a batch's decompressed bytes in place; allocates nothing.
///
/// Ends after the batch's last record, at which exactly all bytes must be used, or after the first error.
#[derive(Clone, Debug)]
pub struct RecordViews<'a> {
    rest: &'a [u8],
    count: u32,
    next: u32,
    failed: bool,
}

impl<'a> RecordViews<'a> {
    /// Walks `count` records that lie in `bytes`, decompressed.
    #[must_use]
    pub const fn new(bytes: &'a [u8], count: u32) -> Self {
        Self { rest: bytes, count, next: 0, failed: false }
    }

    fn fail(&mut self, fault: BatchFault) -> Option<Result<RecordView<'a>, BatchFault>> {
        self.failed = true;
        Some(Err(fault))
    }
}

impl<'a> Iterator for RecordViews<'a> {
    type Item = Result<RecordView<'a>, BatchFault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        if self.next == self.count {
            if self.rest.is_empty() {
                return None;
            }
            let bytes = self.rest.len();
            return self.fail(BatchFault::BytesAfterRecords { count: self.count, bytes });
        }
        match RecordView::read(&mut self.rest) {
            Ok(view) => {
                self.next += 1;
                Some(Ok(view))
            }
            Err(fault) => self.fail(BatchFault::Record { index: self.next, fault }),
        }
    }
}

impl std::iter::FusedIterator for RecordViews<'_> {}

/// The records of a batch, decoded one by one; keys and values are slices of the batch.
#[derive(Clone, Debug)]
pub struct RecordIter {
    bytes: Bytes,
    /// How many of `bytes` are read.
    position: usize,
    base_offset: Offset,
    base_timestamp: Timestamp,
    /// The timestamp of all records, with `LogAppendTime`.
    log_append_time: Option<Timestamp>,
    count: u32,
    next: u32,
    failed: bool,
}

impl RecordIter {
    /// The records of the batch with `header`, whose decompressed records are `bytes`.
    pub(super) fn new(header: &BatchHeader, bytes: Bytes) -> Self {
        let log_append_time = match header.timestamp_type() {
            TimestampType::CreateTime => None,
            TimestampType::LogAppendTime => header.max_timestamp,
        };
        Self {
            bytes,
            position: 0,
            base_offset: header.base_offset,
            base_timestamp: header.base_timestamp,
            log_append_time,
            count: header.record_count,
            next: 0,
            failed: false,
        }
    }

    fn read(&mut self) -> Result<Record, RecordFault> {
        let mut rest = &self.bytes[self.position..];
        let view = RecordView::read(&mut rest)?;
        let record = self.decode(&view)?;
        self.position = self.bytes.len() - rest.len();
        self.next += 1;
        Ok(record)
    }

    fn decode(&self, view: &RecordView<'_>) -> Result<Record, RecordFault> {
        let offset_delta = view.offset_delta;
        let offset = u64::try_from(offset_delta)
            .ok()
            .and_then(|delta| self.base_offset.checked_add(delta))
            .ok_or(RecordFault::OffsetDelta { offset_delta })?;
        let timestamp = match self.log_append_time {
            Some(timestamp) => timestamp,
            None => view.timestamp(self.base_timestamp),
        };
        let headers = view
            .headers
            .map(|(key, value)| RecordHeader {
                key: String::from_utf8_lossy(key).into_owned(),
                value: value.map(|value| self.bytes.slice_ref(value)),
            })
            .collect();
        Ok(Record {
            offset,
            timestamp,
            key: view.key.map(|key| self.bytes.slice_ref(key)),
            value: view.value.map(|value| self.bytes.slice_ref(value)),
            headers,
        })
    }
}

/// `base` moved by `delta` milliseconds, wrapping as Java's `long` does: so every pair of timestamps has a delta.
pub(super) const fn timestamp_plus(base: Timestamp, delta: i64) -> Timestamp {
    Timestamp::from_millis(base.millis().wrapping_add(delta))
}

impl RecordView<'_> {
    /// The record's own timestamp in a batch with this base timestamp.
    #[must_use]
    pub const fn timestamp(&self, base: Timestamp) -> Timestamp {
        timestamp_plus(base, self.timestamp_delta)
    }
}

impl Iterator for RecordIter {
    type Item = Result<Record, BatchFault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let result = if self.next < self.count {
            self.read().map_err(|fault| BatchFault::Record { index: self.next, fault })
        } else if self.position < self.bytes.len() {
            let bytes = self.bytes.len() - self.position;
            Err(BatchFault::BytesAfterRecords { count: self.count, bytes })
        } else {
            return None;
        };
        self.failed = result.is_err();
        Some(result)
    }
}

impl std::iter::FusedIterator for RecordIter {}
