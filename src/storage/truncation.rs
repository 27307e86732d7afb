//! What is read before a log is cut, at its end or at its beginning: where the cut is, and what is left of the producers.
//!
//! Kafka: `UnifiedLog.truncateTo`, `ProducerStateManager.truncateAndReload`.

use bytes::Bytes;

use super::recovery::scan_batches;
use super::{LogFiles, StorageError, Suffix};
use crate::log::{ProducerState, ScanStart, TimestampOffset};
use crate::types::Offset;

/// Where a segment is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutPoint {
    /// The end of the last batch that stays; `None` where the look began at the cut already.
    pub end_offset: Option<Offset>,
    /// Bytes that stay.
    pub position: u64,
    /// The largest timestamp among the batches that were looked at, and the last offset of the first one that has it.
    pub max_timestamp: Option<TimestampOffset>,
}

/// Looks for the end of the last batch of `segment`, of `size` bytes, that ends at or before `to`. `position` is the start of
/// a batch that does, or of the segment.
///
/// What does not look like a batch ends the log too: the leader has it.
///
/// # Errors
/// `Io`.
pub async fn find_cut(
    files: &LogFiles,
    segment: Offset,
    size: u64,
    position: u64,
    to: Offset,
) -> Result<CutPoint, StorageError> {
    let mut cut = CutPoint { end_offset: None, position, max_timestamp: None };
    let start = ScanStart { position, ..trusted(segment, size) };
    cut.position = scan_batches(files, start, |batch| {
        let header = &batch.header;
        if header.end_offset() > to {
            return false;
        }
        cut.end_offset = Some(header.end_offset());
        if let Some(timestamp) = header.max_timestamp
            && cut.max_timestamp.is_none_or(|max| timestamp > max.timestamp)
        {
            cut.max_timestamp = Some(TimestampOffset { timestamp, offset: header.last_offset() });
        }
        true
    })
    .await?;
    Ok(cut)
}

/// The producers of a log that is cut at `to`, the end of a batch: from the newest snapshot within it, and the batches behind.
/// `segments` are the log's, with their sizes, rising.
///
/// # Errors
/// `Io`.
pub async fn producers_at(
    files: &LogFiles,
    segments: &[(Offset, u64)],
    to: Offset,
) -> Result<ProducerState, StorageError> {
    let first = segments.first().map_or(to, |(base_offset, _)| *base_offset);
    let mut producers = newest_snapshot(files, first, to).await?;
    let from = producers.end_offset();
    let at = segments.partition_point(|(base_offset, _)| *base_offset <= from).saturating_sub(1);
    for (segment, size) in segments.iter().skip(at).filter(|(base_offset, _)| *base_offset < to) {
        scan_batches(files, trusted(*segment, *size), |batch| {
            let header = &batch.header;
            if header.end_offset() > to {
                return false;
            }
            if header.base_offset >= producers.end_offset() {
                producers.on_batch(header, batch.marker);
            }
            true
        })
        .await?;
    }
    producers.on_log_start_moved(to);
    Ok(producers)
}

/// Removes the oldest segments, and keeps in a snapshot what they tell of producers, unless one stands for that which neither a crash nor a
/// cut takes away: from the beginning of the log on, up to `settled`. Else a scan after a loss of power would know of no producer whose
/// last batch went with them, and take what it sends again for new (swarm-disk, seed 988). The snapshot counts only where its segment is
/// the first one: a segment before it that comes back is scanned.
///
/// What cannot be read does not hold up the removal, nor does a lack of space, for what goes makes room: then there may be no snapshot.
///
/// Kafka: a snapshot is taken with each roll (`UnifiedLog.roll`), and may not be durable when segments go.
///
/// # Errors
/// `Io`.
pub async fn remove_keeping_producers(
    files: &LogFiles,
    gone: &[Offset],
    settled: Offset,
) -> Result<(), StorageError> {
    let kept = first_snapshot(files, gone, settled).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "nothing can be kept of the producers of segments that go");
        None
    });
    let Some((start, snapshot)) = kept else { return files.remove_oldest(gone).await };
    let saved = files.save_first_snapshot(start, snapshot.clone()).await;
    let is_full = saved.as_ref().is_err_and(StorageError::is_no_space);
    if !is_full {
        saved?;
        return files.remove_oldest(gone).await;
    }
    files.remove_oldest(gone).await?;
    match files.save_first_snapshot(start, snapshot).await {
        Err(error) if !error.is_no_space() => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The snapshot of the producers where the log begins without `gone`, and that offset; `None` where none is needed.
async fn first_snapshot(
    files: &LogFiles,
    gone: &[Offset],
    settled: Offset,
) -> Result<Option<(Offset, Bytes)>, StorageError> {
    let Some(last) = gone.last() else { return Ok(None) };
    let (snapshots, segments) = files.list().await?;
    let Some(start) = segments.into_iter().find(|segment| segment > last) else { return Ok(None) };
    if snapshots.iter().any(|snapshot| (start..=settled).contains(snapshot)) {
        return Ok(None);
    }
    crate::mark!("segments go that no producer snapshot stands for");
    let mut sizes = Vec::new();
    for segment in gone {
        let on = StorageError::on("read a segment's length", files.dir());
        sizes.push((*segment, files.segment(*segment).await?.length().await.map_err(on)?));
    }
    let producers = producers_at(files, &sizes, start).await?;
    Ok(Some((start, producers.encode_snapshot().into())))
}

async fn newest_snapshot(
    files: &LogFiles,
    first: Offset,
    to: Offset,
) -> Result<ProducerState, StorageError> {
    for offset in files.snapshots().await?.into_iter().rev() {
        if offset < first || offset > to {
            continue;
        }
        let content = files.read_side_file(offset, Suffix::Snapshot).await?;
        let producers = content.map(|content| ProducerState::decode_snapshot(offset, &content));
        if let Some(Ok(producers)) = producers {
            return Ok(producers);
        }
    }
    Ok(ProducerState::new(first))
}

fn trusted(segment: Offset, size: u64) -> ScanStart {
    ScanStart { recovery_point: Offset::MAX, ..ScanStart::segment(segment, size) }
}
