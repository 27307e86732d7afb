//! What is committed: read from the log and from snapshots, told to everybody on the node, and written as the next snapshot.

use std::sync::Arc;

use bytes::Bytes;

use super::{ControllerError, Driver};
use crate::metadata::{ImageLoader, MetadataDelta, Record};
use crate::protocol::record_batch::RawBatch;
use crate::raft::driver::RaftError;
use crate::raft::{Snapshot, SnapshotId};
use crate::types::{LeaderEpoch, Observation, Offset};

/// How much of the log is read at once at the start, in bytes.
const REPLAY_BYTES: usize = 8 << 20;
/// The most that a compressed batch of a foreign log may grow to, in bytes.
const DECOMPRESSED_BYTES_MAX: usize = 64 << 20;

impl Driver {
    /// The committed image becomes what the latest snapshot says, where that is more.
    pub(super) async fn load_snapshot(&mut self) -> Result<(), ControllerError> {
        let Some((id, snapshot)) = self.raft.load_snapshot().await? else { return Ok(()) };
        if id.end_offset < self.committed.image().end_offset {
            return Ok(());
        }
        assert!(self.active.is_none(), "an active controller has everything already");
        self.committed = read_snapshot(id, snapshot)?;
        self.bytes_since_snapshot = 0;
        let (end_offset, epoch) = (id.end_offset, id.epoch);
        if end_offset > Offset::ZERO {
            let digest = self.committed.image().digest();
            self.env.observe(Observation::MetadataSnapshotLoaded { end_offset, epoch, digest });
        }
        Ok(())
    }

    /// Reads what was committed since into the image. The active controller has it in memory.
    pub(super) async fn catch_up(&mut self) -> Result<(), ControllerError> {
        if self.active.is_some() {
            return Ok(());
        }
        let end = self.raft.high_watermark().unwrap_or_default();
        if self.committed.image().end_offset < self.raft.log_start_offset() {
            self.load_snapshot().await?;
        }
        let mut next = self.committed.image().end_offset;
        while next < end {
            let batches = self.raft.read(next, end, REPLAY_BYTES).await?;
            if batches.is_empty() {
                let why = format!("the log ends before {end}");
                return Err(ControllerError::Batch { offset: next, why });
            }
            for batch in &batches {
                replay_batch(&mut self.committed, batch)?;
                self.bytes_since_snapshot += batch.bytes.len() as u64;
                next = batch.header.end_offset();
            }
        }
        Ok(())
    }

    /// Tells everybody on this node what is committed.
    pub(super) fn publish(&mut self) {
        let image = self.committed.image();
        let before = self.images.borrow().clone();
        // A cluster that has not begun yet is nothing to tell of.
        let has_begun = !image.features().is_empty();
        let may = self.has_published || (has_begun && self.raft.is_caught_up());
        if !may || (image.end_offset, image.epoch) == (before.end_offset, before.epoch) {
            return;
        }
        self.has_published = true;
        let image = Arc::new(image.clone());
        let (end_offset, epoch) = (image.end_offset, image.epoch);
        let mut observations = Vec::new();
        MetadataDelta::between(&before, &image).applied_observations(end_offset, &mut observations);
        observations.push(Observation::MetadataApplied { end_offset, epoch });
        self.images.send_replace(image);
        for observation in observations {
            self.env.observe(observation);
        }
    }

    pub(super) async fn snapshot_if_due(&mut self) -> Result<(), ControllerError> {
        let due = self.bytes_since_snapshot >= self.options.bytes_between_snapshots;
        // In the middle of a transaction there is no image to write.
        if !due || self.committed.is_in_transaction() {
            return Ok(());
        }
        let image = self.committed.image();
        let id = SnapshotId { end_offset: image.end_offset, epoch: image.epoch };
        let encode = |record: &Record| record.to_bytes().expect("it was read from the log");
        let records = image.to_records().iter().map(encode).collect();
        let timestamp = self.env.clock.now().wall;
        let (end_offset, epoch, digest) = (id.end_offset, id.epoch, image.digest());
        match self.raft.save_snapshot(id, &Snapshot { timestamp, records }).await {
            Ok(()) => {
                self.bytes_since_snapshot = 0;
                let saved = Observation::MetadataSnapshotSaved { end_offset, epoch, digest };
                self.env.observe(saved);
            }
            // The log holds everything; the next commit tries again.
            Err(RaftError::Storage(error)) if error.is_no_space() => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

/// What a snapshot says.
fn read_snapshot(id: SnapshotId, snapshot: Snapshot) -> Result<ImageLoader, ControllerError> {
    let mut loader = ImageLoader::default();
    let offset = id.end_offset;
    for value in snapshot.records {
        let record = Record::from_bytes(value);
        let record = record.map_err(|error| ControllerError::Record { offset, error })?;
        // The records of a snapshot have no offsets: together they stand for all below its end.
        loader
            .replay(Offset::ZERO, id.epoch, &record)
            .map_err(|error| ControllerError::Invalid { offset, error })?;
    }
    loader.advance(id.end_offset, id.epoch);
    Ok(loader)
}

fn replay_batch(loader: &mut ImageLoader, batch: &RawBatch) -> Result<(), ControllerError> {
    let offset = batch.header.base_offset;
    let epoch = batch.header.leader_epoch.unwrap_or_default();
    if !batch.header.is_control() {
        let broken = |why: String| ControllerError::Batch { offset, why };
        let records = batch.records(DECOMPRESSED_BYTES_MAX);
        for record in records.map_err(|error| broken(error.to_string()))? {
            let record = record.map_err(|error| broken(error.to_string()))?;
            replay(loader, epoch, record.offset, record.value.unwrap_or_default())?;
        }
    }
    loader.advance(batch.header.end_offset(), epoch);
    Ok(())
}

fn replay(
    loader: &mut ImageLoader,
    epoch: LeaderEpoch,
    offset: Offset,
    value: Bytes,
) -> Result<(), ControllerError> {
    let record = Record::from_bytes(value);
    let record = record.map_err(|error| ControllerError::Record { offset, error })?;
    let replayed = loader.replay(offset, epoch, &record);
    replayed.map_err(|error| ControllerError::Invalid { offset, error })
}
