//! Reading whole batches out of a segment's file, each held against its checksum before anybody sees it.

use bytes::Bytes;

use super::{LogFiles, StorageError, Suffix};
use crate::log::{EpochEntry, epoch_at};
use crate::protocol::record_batch::{BatchHeader, HEADER_BYTES, RawBatch};
use crate::types::Offset;

/// At most this many bytes are read at once beside the first batch, whatever a reader asks for.
const READ_BYTES_MAX: usize = 8 << 20;
/// Read beyond what was asked for, since the index points at or before the wanted batch (`index.interval.bytes`).
const READ_SLACK_BYTES: usize = 4096;

/// What to read of one segment.
#[derive(Clone, Copy, Debug)]
pub struct SegmentRead<'a> {
    /// The segment.
    pub segment: Offset,
    /// The start of a batch at or before the wanted one.
    pub position: u64,
    /// Bytes of the segment: nothing behind is looked at.
    pub size: u64,
    /// The wanted offset: batches that end at or before it are skipped.
    pub offset: Offset,
    /// Batches that reach beyond this are not returned. Nothing at or behind it is looked at.
    pub end_offset: Offset,
    /// As many bytes as fit; the first batch is returned whatever its size where `first_batch_whole`.
    pub max_bytes: usize,
    /// Return the first batch even if it is larger than `max_bytes`.
    pub first_batch_whole: bool,
    /// Hold each batch against its checksum (`ottla.fetch.verify`).
    pub verify: bool,
    /// Whether each batch begins where the one before it ends, as in every log that was never compacted. A batch's base
    /// offset lies outside its checksum: this is what finds rot in it.
    pub is_gapless: bool,
    /// Which epoch began where, from the one of `offset` on: a batch's epoch lies outside its checksum too. Empty: it is not looked at.
    pub epochs: &'a [EpochEntry],
}

/// What was read: whole batches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchesRead {
    /// The batches' bytes, one after another.
    pub slices: Vec<Bytes>,
    /// How many bytes.
    pub bytes: usize,
    /// The end offset of the last batch; `None` where none was read.
    pub end_offset: Option<Offset>,
    /// Where in the segment the batch after the last one begins; of no meaning where none was read.
    pub next_position: u64,
    /// Whether the segment has nothing more for this reader: reading may go on in the next one.
    pub segment_ended: bool,
}

/// Why a read failed.
#[derive(Debug)]
pub enum ReadError {
    /// The disk refused.
    Storage(StorageError),
    /// At this position there is no batch, or one whose bytes do not carry its checksum.
    Rotten {
        /// The segment.
        segment: Offset,
        /// The first byte of the batch.
        position: u64,
        /// In words.
        why: String,
    },
}

impl From<StorageError> for ReadError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

impl ReadError {
    /// As an error of storage, for those who make no difference.
    #[must_use]
    pub fn into_storage(self, files: &LogFiles) -> StorageError {
        match self {
            Self::Storage(error) => error,
            Self::Rotten { segment, position, why } => {
                StorageError::corrupt(&files.path(segment, Suffix::Log), position, why)
            }
        }
    }
}

/// Reads whole batches of one segment.
///
/// # Errors
/// `Storage`; `Rotten`, where no batch before the rotten one can be returned.
pub async fn read_batches(
    files: &LogFiles,
    read: SegmentRead<'_>,
) -> Result<BatchesRead, ReadError> {
    let mut out = BatchesRead::default();
    let mut position = read.position;
    while position < read.size {
        let wanted = read.max_bytes.min(READ_BYTES_MAX) + READ_SLACK_BYTES;
        let left = usize::try_from(read.size - position).unwrap_or(usize::MAX);
        let chunk = files.read(read.segment, position, wanted.min(left)).await?;
        match take_batches(&chunk, position, &read, &mut out)? {
            Taken::Full => return Ok(out),
            Taken::End { .. } if out.end_offset.is_some() => return Ok(out),
            Taken::End { next, need } if next == position => {
                let Some(batch) = read_one(files, &read, position, need).await? else {
                    return Ok(out);
                };
                position += u64::from(batch.header.size_in_bytes);
                if batch.header.end_offset() > read.offset {
                    out.push(batch.header.end_offset(), batch.bytes, position);
                    return Ok(out);
                }
            }
            Taken::End { next, .. } => position = next,
        }
    }
    out.segment_ended = true;
    Ok(out)
}

impl BatchesRead {
    fn push(&mut self, end_offset: Offset, bytes: Bytes, next_position: u64) {
        self.bytes += bytes.len();
        self.end_offset = Some(end_offset);
        self.next_position = next_position;
        self.slices.push(bytes);
    }
}

/// How far a chunk went.
enum Taken {
    /// The reader has all it may have.
    Full,
    /// At `next` in the file a batch begins that is not wholly in the chunk and needs `need` bytes.
    End { next: u64, need: usize },
}

fn take_batches(
    chunk: &Bytes,
    at: u64,
    read: &SegmentRead<'_>,
    out: &mut BatchesRead,
) -> Result<Taken, ReadError> {
    let rotten = |offset: usize, why: String| ReadError::Rotten {
        segment: read.segment,
        position: at + offset as u64,
        why,
    };
    let (mut from, mut here, mut end_offset) = (0, 0, None);
    let mut expected: Option<Offset> = None;
    let taken = loop {
        let rest = &chunk[here..];
        if end_offset.is_some_and(|end| end >= read.end_offset) {
            break Taken::Full;
        }
        if rest.len() < HEADER_BYTES {
            break Taken::End { next: at + here as u64, need: HEADER_BYTES };
        }
        let header = match BatchHeader::parse(rest) {
            Ok(header) => header,
            Err(_) if end_offset.is_some() && from < here => break Taken::Full,
            Err(fault) => return Err(rotten(here, fault.to_string())),
        };
        let has_some = end_offset.is_some() || out.end_offset.is_some();
        if read.is_gapless && !is_in_its_place(&header, expected, has_some, read) {
            if end_offset.is_some() {
                break Taken::Full;
            }
            return Err(rotten(
                here,
                format!("offset {} does not belong here", header.base_offset),
            ));
        }
        expected = Some(header.end_offset());
        let size = header.size();
        if header.base_offset >= read.end_offset || header.end_offset() > read.end_offset {
            // The caller asks below the end, so the wanted batch is here: if its end offset rotted, this is not "nothing yet".
            if !has_some && rest.len() >= size {
                let batch = RawBatch { header, bytes: chunk.slice(here..here + size) };
                check(&batch, read).map_err(|why| rotten(here, why))?;
            }
            break Taken::Full;
        }
        let wanted = header.end_offset() > read.offset;
        let above = here - from + size > read.max_bytes;
        let first = end_offset.is_none();
        if wanted && above && !(first && read.first_batch_whole) {
            break Taken::Full;
        }
        if rest.len() < size {
            break Taken::End { next: at + here as u64, need: size };
        }
        if wanted {
            let batch = RawBatch { header, bytes: chunk.slice(here..here + size) };
            match check(&batch, read) {
                Ok(()) => end_offset = Some(header.end_offset()),
                Err(_) if end_offset.is_some() => break Taken::Full,
                Err(why) => return Err(rotten(here, why)),
            }
            here += size;
            if above {
                break Taken::Full;
            }
        } else {
            here += size;
            from = here;
        }
    };
    if let Some(end_offset) = end_offset {
        out.push(end_offset, chunk.slice(from..here), at + here as u64);
    }
    Ok(taken)
}

/// Whether a batch begins where the one before it in the chunk ends; the first one not after what is wanted.
fn is_in_its_place(
    header: &BatchHeader,
    expected: Option<Offset>,
    has_some: bool,
    read: &SegmentRead<'_>,
) -> bool {
    match expected {
        Some(expected) => header.base_offset == expected,
        None => has_some || header.base_offset <= read.offset,
    }
}

fn check(batch: &RawBatch, read: &SegmentRead<'_>) -> Result<(), String> {
    let offset = batch.header.base_offset;
    if let Some((known, told)) = epoch_at(read.epochs, offset).zip(batch.header.leader_epoch)
        && known != told
    {
        return Err(format!(
            "leader epoch {told} at offset {offset}, which was written in {known}"
        ));
    }
    if !read.verify {
        return Ok(());
    }
    batch.verify_crc().map_err(|fault| fault.to_string())
}

/// Reads the one batch at `position`, which no chunk holds wholly. `None`: it is cut off by the segment's end, which is
/// beyond what this reader may see.
async fn read_one(
    files: &LogFiles,
    read: &SegmentRead<'_>,
    position: u64,
    need: usize,
) -> Result<Option<RawBatch>, ReadError> {
    let rotten = |why: String| ReadError::Rotten { segment: read.segment, position, why };
    if position + need as u64 > read.size {
        return Err(rotten("the segment ends inside a batch".to_owned()));
    }
    let bytes = files.read(read.segment, position, need).await?;
    let batch = RawBatch::parse(&bytes).map_err(|fault| rotten(fault.to_string()))?;
    if batch.header.end_offset() > read.end_offset {
        return Ok(None);
    }
    check(&batch, read).map_err(rotten)?;
    Ok(Some(batch))
}
