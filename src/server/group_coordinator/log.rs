//! A coordinator's log: records of decisions become a batch, and the log's batches records again.
//!
//! Kafka: `CoordinatorLoaderImpl`, `CoordinatorPartitionWriter`.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;

use super::held::Committed;
use crate::coordinator::group::LoadingCoordinator;
use crate::log::validator::DECOMPRESSED_BYTES_MAX;
use crate::protocol::Records;
use crate::protocol::compression::Compression;
use crate::protocol::coordinator_records::CoordinatorRecord;
use crate::protocol::record_batch::{BatchBuilder, RawBatch, RawBatches};
use crate::protocol::wire::EncodeError;
use crate::replica::driver::{FetchWatch, PartitionHandle, ReadRequest, ReadUpTo};
use crate::types::{Acks, ErrorCode, LeaderEpoch, Offset, Timestamp};

/// How large a batch of tombstones may become, in bytes: half of what a topic takes by default (`max.message.bytes`).
const TOMBSTONES_BYTES_MAX: usize = 512 << 10;

/// What a tombstone takes in a batch beside its key, in bytes: 5 lengths and differences, at most 5 bytes each, and its attributes.
const TOMBSTONE_OVERHEAD: usize = 26;

/// Which of `records` go into one batch, all or none. Tombstones that come alone mean each for itself that something is gone: where they
/// are many, they go in several batches, in order. There may be more of them than one batch takes (a group with 10,000 offsets).
///
/// Kafka: `CoordinatorResult.isAtomic`.
///
/// # Errors
/// As [`batch_of`].
pub(super) fn pieces(
    records: &[CoordinatorRecord],
) -> Result<Vec<&[CoordinatorRecord]>, EncodeError> {
    if !records.iter().all(CoordinatorRecord::is_tombstone) {
        return Ok(vec![records]);
    }
    let mut pieces = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (index, record) in records.iter().enumerate() {
        let size = record.key_bytes()?.len() + TOMBSTONE_OVERHEAD;
        if index > start && bytes + size > TOMBSTONES_BYTES_MAX {
            crate::mark!("a group's tombstones take several batches");
            pieces.push(&records[start..index]);
            (start, bytes) = (index, 0);
        }
        bytes += size;
    }
    pieces.push(&records[start..]);
    Ok(pieces)
}

/// One batch of `records`, all at the time `now`. There is at least one.
///
/// # Errors
/// A text in one of them is too long for the format.
pub(super) fn batch_of(
    records: &[CoordinatorRecord],
    now: Timestamp,
    compression: Compression,
) -> Result<Bytes, EncodeError> {
    let mut builder = BatchBuilder::new(compression);
    for record in records {
        let (key, value) = (record.key_bytes()?, record.value_bytes()?);
        builder.append(now, Some(&key), value.as_deref(), &[]);
    }
    Ok(builder.build())
}

/// Appends a batch. What is returned ends when it is committed.
///
/// # Errors
/// The log did not take it: nothing of it is there.
pub(super) fn append(handle: &Arc<PartitionHandle>, batch: Bytes) -> Result<Committed, ErrorCode> {
    let mut appending = handle.append(&Records::from(batch), Acks::All);
    match appending.take_ready() {
        Some(Ok(_)) => Ok(Box::pin(std::future::ready(Ok(())))),
        // It is in the log, and will be replicated.
        Some(Err(error)) if error.code == ErrorCode::NotEnoughReplicasAfterAppend => {
            Ok(Box::pin(std::future::ready(Err(error.code))))
        }
        Some(Err(error)) => Err(error.code),
        None => Ok(Box::pin(async move {
            let answer = appending.await;
            answer.map(|_| ()).map_err(|error| error.code)
        })),
    }
}

/// Waits until all below `end_offset` is committed.
///
/// # Errors
/// As [`PartitionHandle::check_leader`] with `leader_epoch`.
pub(super) async fn until_committed(
    handle: Arc<PartitionHandle>,
    leader_epoch: LeaderEpoch,
    end_offset: Offset,
) -> Result<(), ErrorCode> {
    loop {
        handle.check_leader(Some(leader_epoch))?;
        let high_watermark = handle.high_watermark();
        if high_watermark >= end_offset {
            return Ok(());
        }
        let watch = FetchWatch::new(1);
        let _watching = handle.watch(high_watermark, &watch);
        watch.ready().await;
    }
}

/// Why a log could not be loaded.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum LoadError {
    /// It could not be read.
    #[error("it cannot be read: {0}")]
    Refused(ErrorCode),
    /// What was read is nothing that a coordinator writes.
    #[error("the batch at offset {offset} cannot be read: {why}")]
    Unreadable {
        /// The batch's first offset.
        offset: Offset,
        /// What is wrong with it.
        why: String,
    },
}

/// A log that was read.
pub(super) struct Loaded {
    /// What it comes to.
    pub(super) coordinator: LoadingCoordinator,
    /// Up to where it was read: its end. May be beyond what is committed. Exclusive.
    pub(super) end_offset: Offset,
    /// How many records were read.
    pub(super) records: u64,
}

/// Reads the whole log as the leader of `leader_epoch`, about `bytes_max` at a time.
pub(super) async fn load(
    handle: Arc<PartitionHandle>,
    leader_epoch: LeaderEpoch,
    bytes_max: usize,
) -> Result<Loaded, LoadError> {
    let mut loaded = Loaded {
        coordinator: LoadingCoordinator::new(),
        end_offset: handle.log_start_offset(),
        records: 0,
    };
    loop {
        let request = ReadRequest {
            offset: loaded.end_offset,
            max_bytes: bytes_max,
            first_batch_whole: true,
            up_to: ReadUpTo::LogEnd,
            leader_epoch: Some(leader_epoch),
        };
        let answer = handle.read_own(request).await.map_err(LoadError::Refused)?;
        if answer.records.is_empty() {
            return Ok(loaded);
        }
        let mut position = loaded.end_offset;
        for batch in RawBatches::new(answer.records.to_bytes()) {
            let unreadable = |why: String| LoadError::Unreadable { offset: position, why };
            let batch = batch.map_err(|error| unreadable(error.to_string()))?;
            loaded.add(&batch).map_err(unreadable)?;
            position = loaded.end_offset;
        }
        pause().await;
    }
}

impl Loaded {
    /// Adds a batch. Of one that begins below where we are, only the rest.
    fn add(&mut self, batch: &RawBatch) -> Result<(), String> {
        let start = self.end_offset;
        self.end_offset = batch.header.end_offset().max(start);
        // Ends of transactions: there are none yet.
        if batch.header.is_control() {
            return Ok(());
        }
        let records = batch.records(DECOMPRESSED_BYTES_MAX).map_err(|error| error.to_string())?;
        for record in records {
            let record = record.map_err(|error| error.to_string())?;
            if record.offset < start {
                continue;
            }
            let key = record.key.ok_or("a record without a key")?;
            let read = CoordinatorRecord::from_bytes(key, record.value);
            // What a newer coordinator keeps beside ours is not ours to judge.
            if let Some(record) = read.map_err(|error| error.to_string())? {
                self.coordinator.replay(&record);
                self.records += 1;
            }
        }
        Ok(())
    }
}

/// Lets others have their turn.
async fn pause() {
    let mut is_over = false;
    poll_fn(|cx| {
        if is_over {
            return Poll::Ready(());
        }
        is_over = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
