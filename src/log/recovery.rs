//! How much of a segment file survives a crash: the longest prefix of whole, intact batches.
//!
//! The scanner is fed a file's bytes piece by piece, in any cut, and keeps only a header and a running checksum: memory
//! does not grow with the segment, nor with what a rotten length field claims. For each batch it tells what indexes,
//! producer state and leader epochs need; at the first batch that does not hold it stops and says where and why.
//!
//! ```text
//! loop: read some bytes at scanner.position(); scanner.feed(bytes, &mut batches); until scanner.is_done()
//! ```
//!
//! Below the recovery point the file was synced: there headers are trusted and bodies skipped.
//!
//! Scanning the same bytes again, or the prefix that was found, finds the same prefix.
//!
//! Kafka: `LogSegment.recover`, which checks lengths and checksums; we also refuse offsets and leader epochs that go back,
//! since both fields lie outside of the checksum.

use bytes::Bytes;

use crate::protocol::record_batch::{
    BatchFault, BatchHeader, EndTransactionMarker, HEADER_BYTES, RawBatch,
};
use crate::types::{LeaderEpoch, Offset};

/// Control batches beyond this size are no transaction markers (those have about 80 bytes) and are not kept to be read.
const MARKER_BATCH_BYTES_MAX: usize = 4_096;
/// The header field that the checksum covers first; the same as in `DefaultRecordBatch`.
const CHECKED_FROM: usize = 21;

/// Where a scan begins, and what is known by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanStart {
    /// The segment's base offset.
    pub base_offset: Offset,
    /// Where in the file a batch begins.
    pub position: u64,
    /// No batch may begin below this offset: the end of the batch before.
    pub next_offset: Offset,
    /// The leader epoch of the batch before.
    pub leader_epoch: Option<LeaderEpoch>,
    /// The length of the file: nothing reaches beyond.
    pub file_bytes: u64,
    /// Batches that end at or below this offset are trusted without a look at their checksum.
    pub recovery_point: Offset,
}

impl ScanStart {
    /// The beginning of the segment at `base_offset`, whose file has `file_bytes`; nothing is trusted.
    #[must_use]
    pub const fn segment(base_offset: Offset, file_bytes: u64) -> Self {
        Self {
            base_offset,
            position: 0,
            next_offset: base_offset,
            leader_epoch: None,
            file_bytes,
            recovery_point: Offset::ZERO,
        }
    }
}

/// A batch that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScannedBatch {
    /// Where in the file it begins.
    pub position: u64,
    /// Its header.
    pub header: BatchHeader,
    /// What it says of a transaction, where it is a control batch of a producer.
    pub marker: Option<EndTransactionMarker>,
}

/// Why the rest of a file is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum CutReason {
    /// The batch does not hold.
    #[error("{0}")]
    Batch(#[from] BatchFault),
    /// Space that was never written: no bytes but zeros where a header should be.
    #[error("zeros where a batch should begin")]
    Zeros,
    /// Offsets go back.
    #[error("it begins at offset {base_offset}, below {next_offset}")]
    OffsetBack { base_offset: Offset, next_offset: Offset },
    /// The offset is further from the segment's base than 31 bits tell.
    #[error("it ends at offset {last_offset}, out of reach of the segment at {segment}")]
    OffsetOutOfReach { last_offset: Offset, segment: Offset },
    /// Leader epochs go back.
    #[error("it has leader epoch {epoch}, below {previous}")]
    EpochBack { epoch: LeaderEpoch, previous: LeaderEpoch },
}

/// Where a file must be cut, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the batch at byte {position}: {reason}")]
pub struct Cut {
    /// The end of the valid prefix.
    pub position: u64,
    /// What is wrong with what follows.
    pub reason: CutReason,
}

/// What a scan found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanEnd {
    /// The length of the valid prefix.
    pub valid_bytes: u64,
    /// The offset after its last record. Exclusive.
    pub end_offset: Offset,
    /// The leader epoch of its last batch.
    pub leader_epoch: Option<LeaderEpoch>,
    /// Why bytes must be cut off; `None` where all of them hold.
    pub cut: Option<Cut>,
}

/// The batch that is being read.
#[derive(Clone, Debug)]
enum Reading {
    /// The first `have` bytes of a header are there.
    Header { bytes: [u8; HEADER_BYTES], have: usize },
    /// The header is there, and all but `left` bytes of the records.
    Body { header: BatchHeader, left: u64, check: Check },
    /// Nothing more: everything was read, or the rest is cut off.
    Done,
}

/// What is done with a batch's bytes.
#[derive(Clone, Debug)]
enum Check {
    /// Nothing: they are skipped.
    Trust,
    /// They are summed.
    Sum(Box<crc_fast::Digest>),
    /// They are kept, to be summed and read: a control batch.
    Keep(Vec<u8>),
}

/// Finds the longest valid prefix of a segment file.
#[derive(Clone, Debug)]
pub struct Scanner {
    start: ScanStart,
    reading: Reading,
    /// Where the batch that is being read begins: the end of the valid prefix so far.
    valid_bytes: u64,
    next_offset: Offset,
    leader_epoch: Option<LeaderEpoch>,
    cut: Option<Cut>,
}

impl Scanner {
    /// A scan from `start` on.
    #[must_use]
    pub const fn new(start: ScanStart) -> Self {
        Self {
            start,
            reading: Reading::Header { bytes: [0; HEADER_BYTES], have: 0 },
            valid_bytes: start.position,
            next_offset: start.next_offset,
            leader_epoch: start.leader_epoch,
            cut: None,
        }
    }

    /// Which byte of the file is wanted next. Moves past bodies that are trusted, even where they were not fed.
    #[must_use]
    pub fn position(&self) -> u64 {
        match &self.reading {
            Reading::Header { have, .. } => {
                self.valid_bytes + u64::try_from(*have).expect("at most 61")
            }
            Reading::Body { header, left, .. } => {
                self.valid_bytes + u64::from(header.size_in_bytes) - left
            }
            Reading::Done => self.valid_bytes,
        }
    }

    /// Whether nothing more is wanted.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self.reading, Reading::Done) || self.position() >= self.start.file_bytes
    }

    /// Reads `bytes`, which lie at [`Scanner::position`], and appends the batches that are complete to `out`.
    pub fn feed(&mut self, mut bytes: &[u8], out: &mut Vec<ScannedBatch>) {
        while !bytes.is_empty() {
            match &mut self.reading {
                Reading::Done => return,
                Reading::Header { bytes: fields, have } => {
                    let taken = bytes.len().min(HEADER_BYTES - *have);
                    fields[*have..*have + taken].copy_from_slice(&bytes[..taken]);
                    *have += taken;
                    bytes = &bytes[taken..];
                    if *have == HEADER_BYTES {
                        let fields = *fields;
                        self.on_header(&fields, out);
                        // A trusted body is passed over without being read.
                        bytes = self.skip_trusted(bytes, out);
                    }
                }
                Reading::Body { left, check, .. } => {
                    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    let (body, rest) = bytes.split_at(taken);
                    match check {
                        Check::Trust => {}
                        Check::Sum(digest) => digest.update(body),
                        Check::Keep(kept) => kept.extend_from_slice(body),
                    }
                    *left -= u64::try_from(taken).expect("a slice's length");
                    bytes = rest;
                    self.maybe_complete(out);
                }
            }
        }
    }

    /// What was found. To be asked when the scan is done, or when there are no more bytes than were fed.
    #[must_use]
    pub fn finish(self) -> ScanEnd {
        let cut = self.cut.or_else(|| self.unfinished().map(|reason| self.cut_here(reason)));
        ScanEnd {
            valid_bytes: self.valid_bytes,
            end_offset: self.next_offset,
            leader_epoch: self.leader_epoch,
            cut,
        }
    }

    /// What is wrong with a batch of which no more bytes come.
    fn unfinished(&self) -> Option<CutReason> {
        match &self.reading {
            Reading::Header { have: 0, .. } | Reading::Done => None,
            Reading::Header { bytes, have } if bytes[..*have].iter().all(|byte| *byte == 0) => {
                Some(CutReason::Zeros)
            }
            Reading::Header { have, .. } => Some(BatchFault::TooShort { have: *have }.into()),
            Reading::Body { header, left, .. } => {
                let have = header.size() - usize::try_from(*left).unwrap_or(header.size());
                Some(length_beyond_end(header, have))
            }
        }
    }

    fn on_header(&mut self, fields: &[u8; HEADER_BYTES], out: &mut Vec<ScannedBatch>) {
        match self.check_header(fields) {
            Err(reason) => self.stop(reason),
            Ok(header) => {
                let left = u64::from(header.size_in_bytes) - 61;
                let check = self.check_for(&header, fields);
                self.reading = Reading::Body { header, left, check };
                self.maybe_complete(out);
            }
        }
    }

    fn check_header(&self, fields: &[u8; HEADER_BYTES]) -> Result<BatchHeader, CutReason> {
        if fields.iter().all(|byte| *byte == 0) {
            return Err(CutReason::Zeros);
        }
        let header = BatchHeader::parse(fields)?;
        let end = self.valid_bytes + u64::from(header.size_in_bytes);
        if end > self.start.file_bytes {
            let have = self.start.file_bytes.saturating_sub(self.valid_bytes);
            return Err(length_beyond_end(&header, usize::try_from(have).unwrap_or(usize::MAX)));
        }
        if header.base_offset < self.next_offset {
            let base_offset = header.base_offset;
            return Err(CutReason::OffsetBack { base_offset, next_offset: self.next_offset });
        }
        let last_offset = header.last_offset();
        if last_offset.saturating_distance(self.start.base_offset) > i32::MAX.unsigned_abs().into()
        {
            let segment = self.start.base_offset;
            return Err(CutReason::OffsetOutOfReach { last_offset, segment });
        }
        if let Some((epoch, previous)) = header.leader_epoch.zip(self.leader_epoch)
            && epoch < previous
        {
            return Err(CutReason::EpochBack { epoch, previous });
        }
        Ok(header)
    }

    fn check_for(&self, header: &BatchHeader, fields: &[u8; HEADER_BYTES]) -> Check {
        let is_marker = header.is_control()
            && header.producer.is_some()
            && header.size() <= MARKER_BATCH_BYTES_MAX;
        if is_marker {
            return Check::Keep(fields.to_vec());
        }
        if header.end_offset() <= self.start.recovery_point {
            return Check::Trust;
        }
        let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
        digest.update(&fields[CHECKED_FROM..]);
        Check::Sum(Box::new(digest))
    }

    /// Passes over the rest of a trusted batch, also where `bytes` ends inside of it; returns what follows it.
    fn skip_trusted<'a>(&mut self, bytes: &'a [u8], out: &mut Vec<ScannedBatch>) -> &'a [u8] {
        let Reading::Body { left, check: Check::Trust, .. } = &mut self.reading else {
            return bytes;
        };
        let skipped = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
        *left = 0;
        self.maybe_complete(out);
        &bytes[skipped..]
    }

    /// Accepts or refuses the batch whose last byte was read.
    fn maybe_complete(&mut self, out: &mut Vec<ScannedBatch>) {
        let Reading::Body { header, left: 0, check } = &self.reading else { return };
        let header = *header;
        match check_body(&header, check, self.start.recovery_point) {
            Err(fault) => self.stop(fault.into()),
            Ok(marker) => {
                out.push(ScannedBatch { position: self.valid_bytes, header, marker });
                self.valid_bytes += u64::from(header.size_in_bytes);
                self.next_offset = header.end_offset();
                self.leader_epoch = header.leader_epoch.or(self.leader_epoch);
                self.reading = Reading::Header { bytes: [0; HEADER_BYTES], have: 0 };
            }
        }
    }

    const fn cut_here(&self, reason: CutReason) -> Cut {
        Cut { position: self.valid_bytes, reason }
    }

    fn stop(&mut self, reason: CutReason) {
        self.cut = Some(self.cut_here(reason));
        self.reading = Reading::Done;
    }
}

fn length_beyond_end(header: &BatchHeader, have: usize) -> CutReason {
    BatchFault::LengthBeyondEnd { size: u64::from(header.size_in_bytes), have }.into()
}

/// Compares the checksum, where it is asked for, and reads the marker of a control batch.
fn check_body(
    header: &BatchHeader,
    check: &Check,
    recovery_point: Offset,
) -> Result<Option<EndTransactionMarker>, BatchFault> {
    match check {
        Check::Trust => Ok(None),
        Check::Sum(digest) => {
            let computed = u32::try_from(digest.finalize()).expect("CRC-32C has 32 bits");
            if computed == header.crc {
                Ok(None)
            } else {
                Err(BatchFault::Crc { stored: header.crc, computed })
            }
        }
        Check::Keep(kept) => {
            let batch = RawBatch { header: *header, bytes: Bytes::copy_from_slice(kept) };
            if header.end_offset() > recovery_point {
                batch.verify_crc()?;
            }
            // Markers are never compressed; whatever else a control batch of a producer is, it ends no transaction.
            let records = batch.control_records(MARKER_BATCH_BYTES_MAX).unwrap_or_default();
            Ok(records.first().and_then(EndTransactionMarker::parse))
        }
    }
}

#[cfg(test)]
#[path = "recovery_tests.rs"]
mod tests;
