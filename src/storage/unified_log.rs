//! One partition's log as a sequential owner uses it: the metadata log of the quorum.
//!
//! A replica's log is the same files under a machine and a lock: `replica::driver`.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::{LogFileName, LogFiles, StorageError, Suffix};
use crate::runtime::Env;
use crate::types::{LeaderEpoch, Observation, Offset, TopicIdPartition};

/// What to open.
#[derive(Clone, Debug)]
pub struct OpenLog {
    /// Where: the log's own directory, made if missing.
    pub dir: PathBuf,
    /// Whose log it is: for observations.
    pub id: TopicIdPartition,
    /// A segment is closed before it grows beyond this many bytes (`log.segment.bytes`).
    pub segment_bytes: u64,
}

/// Where an append stands in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendInfo {
    /// The offset of the first record.
    pub base_offset: Offset,
    /// The offset after the last record.
    pub end_offset: Offset,
}

/// One log. One owner: every call that writes takes `&mut self` and returns when the write is done (not durable: `flush`).
///
/// After an error of a writing call other than "no space" the log must not be written again: the disk failure rule.
pub struct UnifiedLog {
    env: Env,
    id: TopicIdPartition,
    files: Arc<LogFiles>,
    segment_bytes: u64,
    /// Base offset and bytes of each segment, rising; the last one is written to.
    segments: Vec<(Offset, u64)>,
    log_end_offset: Offset,
    flushed_end_offset: Offset,
    leader_epoch: Option<LeaderEpoch>,
}

impl UnifiedLog {
    /// Opens or makes a log, and recovers it: afterwards it is the longest valid prefix of what was written.
    ///
    /// # Errors
    /// `Io`.
    pub async fn open(env: &Env, what: OpenLog) -> Result<Self, StorageError> {
        let on = |error| StorageError::io("open a log", &what.dir, error);
        env.disk.create_dir_all(&what.dir).await.map_err(on)?;
        let entries = env.disk.read_dir(&what.dir).await.map_err(on)?;
        let names = entries.iter().filter_map(|entry| LogFileName::parse(&entry.name));
        let bases: Vec<Offset> =
            names.filter(|name| name.suffix == Suffix::Log).map(|name| name.offset).collect();
        let files = Arc::new(LogFiles::new(env.disk.clone(), what.dir.clone()));
        let mut log = Self {
            env: env.clone(),
            id: what.id,
            files,
            segment_bytes: what.segment_bytes,
            segments: Vec::new(),
            log_end_offset: bases.first().copied().unwrap_or(Offset::ZERO),
            flushed_end_offset: Offset::ZERO,
            leader_epoch: None,
        };
        log.recover(&bases).await?;
        Ok(log)
    }

    async fn recover(&mut self, bases: &[Offset]) -> Result<(), StorageError> {
        let (mut scanned, mut cut) = (0, 0);
        for (index, base_offset) in bases.iter().enumerate() {
            let length = self.files.segment(*base_offset).await?.length().await;
            let path = self.files.path(*base_offset, Suffix::Log);
            let length = length.map_err(StorageError::on("recover a segment", &path))?;
            let valid = self.scan(*base_offset, length).await?;
            (scanned, cut) = (scanned + length, cut + (length - valid));
            self.segments.push((*base_offset, valid));
            if valid < length || bases.get(index + 1).is_some_and(|n| *n != self.log_end_offset) {
                self.files.cut(*base_offset, valid, &bases[index + 1..]).await?;
                break;
            }
        }
        if self.segments.is_empty() {
            self.files.create_segment(self.log_end_offset).await?;
            self.segments.push((self.log_end_offset, 0));
        }
        self.env.observe(Observation::LogRecovered {
            partition: self.id,
            log_start_offset: self.log_start_offset(),
            log_end_offset: self.log_end_offset,
            bytes_scanned: scanned,
            bytes_cut: cut,
        });
        self.flush().await?;
        Ok(())
    }

    /// Bytes of a segment that are whole, valid batches; moves the log end.
    async fn scan(&mut self, segment: Offset, length: u64) -> Result<u64, StorageError> {
        let mut position = 0;
        while position < length {
            let Some((header, _)) = self.batch_at(segment, position, length).await? else { break };
            if header.base_offset < self.log_end_offset {
                break;
            }
            self.log_end_offset = header.end_offset;
            self.leader_epoch = header.leader_epoch;
            position += header.size;
        }
        Ok(position)
    }

    /// The valid batch at `position` below `length`; `None` where there is none.
    async fn batch_at(
        &self,
        segment: Offset,
        position: u64,
        length: u64,
    ) -> Result<Option<(Header, Bytes)>, StorageError> {
        let head = self.files.read(segment, position, HEADER_BYTES).await?;
        let Some(header) = Header::parse(&head) else { return Ok(None) };
        if position + header.size > length {
            return Ok(None);
        }
        let size = usize::try_from(header.size).expect("a batch has at most 2 GiB");
        let bytes = self.files.read(segment, position, size).await?;
        Ok(header.crc_holds(&bytes).then_some((header, bytes)))
    }

    /// The first offset.
    #[must_use]
    pub fn log_start_offset(&self) -> Offset {
        self.segments[0].0
    }

    /// The offset that the next record gets.
    #[must_use]
    pub fn log_end_offset(&self) -> Offset {
        self.log_end_offset
    }

    /// Everything below this is durable.
    #[must_use]
    pub fn flushed_end_offset(&self) -> Offset {
        self.flushed_end_offset
    }

    /// The epoch of the last batch.
    #[must_use]
    pub fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.leader_epoch
    }

    /// Appends whole batches (one or more, one behind the other) as the leader of `leader_epoch`: they get the next
    /// offsets and the epoch, which lie outside their checksums. Written when it returns, not yet durable.
    ///
    /// # Errors
    /// `Corrupt` where `batches` are not batches; `Io`. "No space" leaves the log as it was.
    pub async fn append(
        &mut self,
        leader_epoch: LeaderEpoch,
        batches: Bytes,
    ) -> Result<AppendInfo, StorageError> {
        let base_offset = self.log_end_offset;
        let mut end_offset = base_offset;
        let mut stamped = BytesMut::from(&batches[..]);
        let mut at = 0;
        while at < stamped.len() {
            let header = Header::parse(&stamped[at..]).ok_or_else(|| {
                StorageError::corrupt(self.files.dir(), at as u64, "an append is not a batch")
            })?;
            stamped[at..at + 8].copy_from_slice(&end_offset.value().to_be_bytes());
            stamped[at + 12..at + 16].copy_from_slice(&leader_epoch.value().to_be_bytes());
            end_offset = end_offset + (header.end_offset - header.base_offset);
            at += usize::try_from(header.size).expect("a batch has at most 2 GiB");
        }
        self.write(base_offset, stamped.freeze()).await?;
        (self.log_end_offset, self.leader_epoch) = (end_offset, Some(leader_epoch));
        Ok(AppendInfo { base_offset, end_offset })
    }

    async fn write(&mut self, base_offset: Offset, bytes: Bytes) -> Result<(), StorageError> {
        let length = bytes.len() as u64;
        let last = self.segments.last().expect("a log has a segment");
        if last.1 > 0 && last.1 + length > self.segment_bytes {
            self.flush().await?;
            self.files.create_segment(base_offset).await?;
            self.segments.push((base_offset, 0));
        }
        let (segment, position) = *self.segments.last().expect("a log has a segment");
        if let Err(error) = self.files.write(segment, position, vec![bytes]).await {
            let path = self.files.path(segment, Suffix::Log);
            let error = StorageError::io("append to a segment", &path, error);
            if error.is_no_space() {
                self.files.cut(segment, position, &[]).await?;
            }
            return Err(error);
        }
        self.segments.last_mut().expect("a log has a segment").1 += length;
        Ok(())
    }

    /// Makes everything written durable; returns the end of it.
    ///
    /// # Errors
    /// `Io`: final, see the type.
    pub async fn flush(&mut self) -> Result<Offset, StorageError> {
        let (segment, _) = *self.segments.last().expect("a log has a segment");
        self.files.sync(&[segment]).await?;
        self.flushed_end_offset = self.log_end_offset;
        self.env.observe(Observation::LogFlushed {
            partition: self.id,
            end_offset: self.flushed_end_offset,
        });
        Ok(self.flushed_end_offset)
    }

    /// Whole batches from the one that holds `offset` on: at least one if there is one, and then as many as fit into
    /// `max_bytes`. All below `end_offset`. Empty at the end.
    ///
    /// # Errors
    /// `Corrupt` where bytes do not carry their checksum; `Io`.
    pub async fn read(
        &self,
        offset: Offset,
        max_bytes: usize,
        end_offset: Offset,
    ) -> Result<Vec<Bytes>, StorageError> {
        let mut batches: Vec<Bytes> = Vec::new();
        let mut total = 0;
        let first = self.segments.partition_point(|(base, _)| *base <= offset).saturating_sub(1);
        for (segment, length) in &self.segments[first..] {
            let mut position = 0;
            while position < *length {
                let batch = self.batch_at(*segment, position, *length).await?;
                let (header, bytes) = batch.ok_or_else(|| {
                    let path = self.files.path(*segment, Suffix::Log);
                    StorageError::corrupt(&path, position, "there is no valid batch")
                })?;
                position += header.size;
                if header.end_offset <= offset {
                    continue;
                }
                if header.end_offset > end_offset
                    || (!batches.is_empty() && total + bytes.len() > max_bytes)
                {
                    return Ok(batches);
                }
                total += bytes.len();
                batches.push(bytes);
            }
        }
        Ok(batches)
    }

    /// Removes the batches that reach to or beyond `to`. Durable when it returns.
    ///
    /// # Errors
    /// `Io`; `Corrupt`.
    pub async fn truncate(&mut self, to: Offset) -> Result<(), StorageError> {
        if to >= self.log_end_offset {
            return Ok(());
        }
        let from = self.log_end_offset;
        let keep = self.segments.partition_point(|(base, _)| *base < to).max(1);
        let later: Vec<Offset> = self.segments[keep..].iter().map(|(base, _)| *base).collect();
        let (segment, length) = self.segments[keep - 1];
        let (mut position, mut end, mut epoch) = (0, segment, None);
        while position < length {
            let Some((header, _)) = self.batch_at(segment, position, length).await? else { break };
            if header.end_offset > to {
                break;
            }
            (position, end, epoch) =
                (position + header.size, header.end_offset, header.leader_epoch);
        }
        self.files.cut(segment, position, &later).await?;
        self.segments.truncate(keep);
        self.segments[keep - 1].1 = position;
        (self.log_end_offset, self.leader_epoch) = (end, epoch.or(self.leader_epoch));
        self.env.observe(Observation::LogTruncated { partition: self.id, from, to: end });
        self.flush().await?;
        Ok(())
    }

    /// Ends: durable, and marked so that the next open scans little.
    ///
    /// # Errors
    /// `Io`.
    pub async fn close(mut self) -> Result<(), StorageError> {
        self.flush().await?;
        Ok(())
    }
}

const HEADER_BYTES: usize = 61;

/// The fields of a batch header that place it. Stands in until `protocol::record_batch` is there.
struct Header {
    base_offset: Offset,
    end_offset: Offset,
    leader_epoch: Option<LeaderEpoch>,
    size: u64,
    crc: u32,
}

impl Header {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let field = |at: usize| Some(i32::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
        let base = i64::from_be_bytes(*bytes.first_chunk()?);
        let base_offset = Offset::from_wire(base)?;
        let size = u64::try_from(field(8)?).ok()? + 12;
        let last = u64::try_from(field(23)?).ok()?;
        if size < 61 || *bytes.get(16)? != 2 {
            return None;
        }
        Some(Self {
            base_offset,
            end_offset: base_offset.checked_add(last + 1)?,
            leader_epoch: LeaderEpoch::from_wire(field(12)?),
            size,
            crc: field(17)?.cast_unsigned(),
        })
    }

    fn crc_holds(&self, bytes: &[u8]) -> bool {
        bytes.get(21..).is_some_and(|body| {
            crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, body) == u64::from(self.crc)
        })
    }
}
