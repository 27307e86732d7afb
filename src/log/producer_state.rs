//! What a partition knows of its producers, so that a batch sent twice is stored once and in order.
//!
//! For each producer id: its epoch, and the last five batches. A batch that repeats one of the five is a duplicate and is
//! answered with the first one's offsets; otherwise its sequence must follow the last one's.
//!
//! The state is a fold over the log: [`ProducerState::on_batch`] in the order of offsets gives the same state on the
//! leader, on a follower and after a crash, apart from what has expired. A snapshot keeps only the last batch of
//! each producer, as Kafka's does: after a restart an older duplicate is refused as out of order, never stored again.
//!
//! Transactions are folded where a log has them (first offset of the open transaction, coordinator epoch), but a client's
//! transactional batch is refused with `INVALID_TXN_STATE`: what Kafka answers to one whose transaction the coordinator
//! does not know (KIP-890), and so far there is no coordinator that could know it.
//!
//! Kafka: `ProducerStateManager`, `ProducerAppendInfo`, `ProducerStateEntry`; KIP-98, KIP-360.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::producer_snapshot::{self, SnapshotError};
use crate::protocol::record_batch::{BatchHeader, EndTransactionMarker};
use crate::types::{
    ErrorCode, Offset, ProducerEpoch, ProducerId, ProducerStamp, Sequence, Timestamp,
};

/// How many batches of a producer are remembered: as many as may be in flight (Kafka: `NUM_BATCHES_TO_RETAIN`).
pub const BATCHES_REMEMBERED: usize = 5;

/// A batch of a producer, as it is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchMetadata {
    /// The sequence of the last record. `None` for what a broker wrote in the producer's name.
    pub last_sequence: Option<Sequence>,
    /// The offset of the last record.
    pub last_offset: Offset,
    /// `last_offset` counted from the first record's.
    pub offset_delta: u32,
    /// The batch's max timestamp, −1 where it had none.
    pub timestamp: Timestamp,
}

impl BatchMetadata {
    /// The sequence of the first record.
    #[must_use]
    pub fn first_sequence(&self) -> Option<Sequence> {
        // One turn of the sequence, less the delta: wraps below 0.
        self.last_sequence.map(|last| last.plus((1 << 31) - self.offset_delta))
    }

    /// The offset of the first record.
    #[must_use]
    pub fn first_offset(&self) -> Offset {
        let first = self.last_offset.value() - i64::from(self.offset_delta);
        Offset::from_wire(first).unwrap_or(Offset::ZERO)
    }
}

/// One producer.
///
/// Invariants: at most [`BATCHES_REMEMBERED`] batches, the oldest first, all of the epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerStateEntry {
    /// Its epoch: batches of older ones are refused.
    pub epoch: ProducerEpoch,
    /// The term of the coordinator that last ended a transaction; −1 where none did.
    pub coordinator_epoch: i32,
    /// The time of the last batch or marker, by its own timestamp.
    pub last_timestamp: Timestamp,
    /// Where the open transaction begins.
    pub current_txn_first_offset: Option<Offset>,
    /// The last batches.
    pub batches: VecDeque<BatchMetadata>,
}

impl ProducerStateEntry {
    fn new(epoch: ProducerEpoch) -> Self {
        Self {
            epoch,
            coordinator_epoch: -1,
            last_timestamp: Timestamp::from_millis(-1),
            current_txn_first_offset: None,
            batches: VecDeque::with_capacity(BATCHES_REMEMBERED),
        }
    }

    /// The sequence of the last record; `None` where the epoch has none yet.
    #[must_use]
    pub fn last_sequence(&self) -> Option<Sequence> {
        self.batches.back().and_then(|batch| batch.last_sequence)
    }

    fn duplicate_of(&self, stamp: ProducerStamp, last_sequence: Sequence) -> Option<BatchMetadata> {
        if stamp.epoch != self.epoch {
            return None;
        }
        self.batches.iter().copied().find(|batch| {
            batch.first_sequence() == Some(stamp.base_sequence)
                && batch.last_sequence == Some(last_sequence)
        })
    }

    fn enter_epoch(&mut self, epoch: ProducerEpoch) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.batches.clear();
        }
    }

    fn remember(&mut self, batch: BatchMetadata) {
        if self.batches.len() == BATCHES_REMEMBERED {
            self.batches.pop_front();
        }
        self.batches.push_back(batch);
        self.last_timestamp = batch.timestamp;
    }
}

/// What becomes of a client's batch that is not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProducerVerdict {
    /// It is new.
    Append,
    /// It is stored already: answer with these offsets, and do not write it.
    Duplicate(BatchMetadata),
}

/// Why a client's batch is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum ProducerRefusal {
    /// A newer incarnation of the producer has written.
    #[error("epoch {} of producer {} is below the last seen epoch {current}", stamp.epoch, stamp.id)]
    InvalidEpoch { stamp: ProducerStamp, current: ProducerEpoch },
    /// Sequences are missing before it, or it is older than what is remembered.
    #[error(
        "sequence {} of producer {} at epoch {} does not follow {}",
        stamp.base_sequence, stamp.id, stamp.epoch,
        last_sequence.map_or_else(|| "the start of its epoch".to_owned(), |last| last.to_string())
    )]
    OutOfOrder { stamp: ProducerStamp, last_sequence: Option<Sequence> },
    /// A transactional batch outside of a transaction, or a plain one inside.
    #[error("the batch of producer {} does not fit the state of its transaction", stamp.id)]
    InvalidTxnState { stamp: ProducerStamp },
}

impl ProducerRefusal {
    /// What the client is answered.
    #[must_use]
    pub const fn error_code(&self) -> ErrorCode {
        match self {
            Self::InvalidEpoch { .. } => ErrorCode::InvalidProducerEpoch,
            Self::OutOfOrder { .. } => ErrorCode::OutOfOrderSequenceNumber,
            Self::InvalidTxnState { .. } => ErrorCode::InvalidTxnState,
        }
    }
}

/// The producers of one partition.
///
/// Invariants: the state is that of the log below `end_offset`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProducerState {
    producers: BTreeMap<ProducerId, ProducerStateEntry>,
    end_offset: Offset,
}

impl ProducerState {
    /// Nobody is known of a log that begins at `start_offset`.
    #[must_use]
    pub const fn new(start_offset: Offset) -> Self {
        Self { producers: BTreeMap::new(), end_offset: start_offset }
    }

    /// The state up to which offset this is. Exclusive; the name of a snapshot taken now.
    ///
    /// Kafka: `ProducerStateManager.mapEndOffset`.
    #[must_use]
    pub const fn end_offset(&self) -> Offset {
        self.end_offset
    }

    /// The producers, by id.
    #[must_use]
    pub const fn producers(&self) -> &BTreeMap<ProducerId, ProducerStateEntry> {
        &self.producers
    }

    /// One producer.
    #[must_use]
    pub fn entry(&self, id: ProducerId) -> Option<&ProducerStateEntry> {
        self.producers.get(&id)
    }

    /// Whether a client's batch is to be appended, is a duplicate, or is refused. Nothing changes.
    ///
    /// Batches without a producer are always appended. Without state for the producer, any sequence is: its records may
    /// have been removed, or the state expired (KIP-360). A new epoch begins at sequence 0.
    ///
    /// Kafka: `UnifiedLog.analyzeAndValidateProducerState`, `ProducerAppendInfo.checkSequence`.
    pub fn check(&self, header: &BatchHeader) -> Result<ProducerVerdict, ProducerRefusal> {
        let Some((stamp, last_sequence)) = header.producer_stamp().zip(header.last_sequence())
        else {
            return Ok(ProducerVerdict::Append);
        };
        let entry = self.producers.get(&stamp.id);
        if let Some(batch) = entry.and_then(|entry| entry.duplicate_of(stamp, last_sequence)) {
            return Ok(ProducerVerdict::Duplicate(batch));
        }
        let in_transaction = entry.is_some_and(|entry| entry.current_txn_first_offset.is_some());
        if header.is_transactional() && !in_transaction {
            return Err(ProducerRefusal::InvalidTxnState { stamp });
        }
        if let Some(entry) = entry {
            check_sequence(entry, stamp)?;
        }
        if in_transaction && !header.is_transactional() {
            return Err(ProducerRefusal::InvalidTxnState { stamp });
        }
        Ok(ProducerVerdict::Append)
    }

    /// Takes note of a batch at its place in the log: after an append, on a follower, or in recovery. `marker` is what a
    /// control batch says of a transaction.
    ///
    /// Nothing is checked: what is in the log counts. Panics where the batch lies below what is folded already.
    pub fn on_batch(&mut self, header: &BatchHeader, marker: Option<EndTransactionMarker>) {
        assert!(
            header.base_offset >= self.end_offset,
            "batches are folded in the order of offsets"
        );
        self.end_offset = header.end_offset();
        let Some(producer) = header.producer else { return };
        if header.is_control() {
            if let Some(marker) = marker {
                let entry = self.enter(producer.id, producer.epoch);
                entry.current_txn_first_offset = None;
                entry.coordinator_epoch = marker.coordinator_epoch;
                entry.last_timestamp = header.max_timestamp.unwrap_or(Timestamp::from_millis(-1));
            }
            return;
        }
        let entry = self.enter(producer.id, producer.epoch);
        entry.remember(BatchMetadata {
            last_sequence: header.last_sequence(),
            last_offset: header.last_offset(),
            offset_delta: header.last_offset_delta,
            timestamp: header.max_timestamp.unwrap_or(Timestamp::from_millis(-1)),
        });
        if header.is_transactional() {
            entry.current_txn_first_offset.get_or_insert(header.base_offset);
        }
    }

    fn enter(&mut self, id: ProducerId, epoch: ProducerEpoch) -> &mut ProducerStateEntry {
        let entry = self.producers.entry(id).or_insert_with(|| ProducerStateEntry::new(epoch));
        entry.enter_epoch(epoch);
        entry
    }

    /// Takes an append back whose write failed: `previous` is what [`ProducerState::entry`] was before, `end_offset` where
    /// the log ends again.
    pub fn restore(
        &mut self,
        id: ProducerId,
        previous: Option<ProducerStateEntry>,
        end_offset: Offset,
    ) {
        assert!(end_offset <= self.end_offset, "taking back moves the end back");
        self.end_offset = end_offset;
        match previous {
            Some(entry) => drop(self.producers.insert(id, entry)),
            None => drop(self.producers.remove(&id)),
        }
    }

    /// Takes an append of a batch without producer back: the log ends at `end_offset` again.
    pub fn restore_end(&mut self, end_offset: Offset) {
        assert!(end_offset <= self.end_offset, "taking back moves the end back");
        self.end_offset = end_offset;
    }

    /// Where the oldest open transaction begins.
    #[must_use]
    pub fn first_undecided_offset(&self) -> Option<Offset> {
        self.producers.values().filter_map(|entry| entry.current_txn_first_offset).min()
    }

    /// Forgets producers that wrote nothing for `expiration` (`producer.id.expiration.ms`), and returns them.
    ///
    /// Age is counted from the timestamp of the last batch, as in Kafka: a producer of old timestamps expires early. One
    /// with an open transaction never does.
    pub fn remove_expired(&mut self, now: Timestamp, expiration: Duration) -> Vec<ProducerId> {
        let expiration = i64::try_from(expiration.as_millis()).unwrap_or(i64::MAX);
        let is_expired = |entry: &ProducerStateEntry| {
            let age = now.millis().saturating_sub(entry.last_timestamp.millis());
            entry.current_txn_first_offset.is_none() && age >= expiration
        };
        let mut expired = Vec::new();
        self.producers.retain(|id, entry| {
            let keeps = !is_expired(entry);
            if !keeps {
                expired.push(*id);
            }
            keeps
        });
        expired
    }

    /// Nobody is known any more, and the log begins at `start_offset`: it was truncated fully.
    pub fn clear(&mut self, start_offset: Offset) {
        self.producers.clear();
        self.end_offset = start_offset;
    }

    /// The log start moved up to `start_offset`. Producers stay: their records may be gone, their sequences still count.
    ///
    /// Kafka: `ProducerStateManager.onLogStartOffsetIncremented`.
    pub fn on_log_start_moved(&mut self, start_offset: Offset) {
        self.end_offset = self.end_offset.max(start_offset);
    }

    /// The bytes of a snapshot file, to be named after [`ProducerState::end_offset`].
    #[must_use]
    pub fn encode_snapshot(&self) -> Vec<u8> {
        producer_snapshot::encode(&self.producers)
    }

    /// The state in the snapshot file named after `end_offset`. What has expired since is still in it.
    ///
    /// Errors: anything but a whole snapshot of version 1 with its checksum. The caller throws the file away and takes the
    /// one before.
    pub fn decode_snapshot(end_offset: Offset, bytes: &[u8]) -> Result<Self, SnapshotError> {
        Ok(Self { producers: producer_snapshot::decode(bytes)?, end_offset })
    }

    /// From which snapshot the state of a log from `log_start_offset` to `log_end_offset` is rebuilt: the latest one
    /// that is within. What follows it is folded from the log; without one, all of it.
    ///
    /// Kafka: `ProducerStateManager.truncateAndReload`.
    #[must_use]
    pub fn snapshot_to_load(
        snapshots: &[Offset],
        log_start_offset: Offset,
        log_end_offset: Offset,
    ) -> Option<Offset> {
        let within = |offset: &Offset| *offset > log_start_offset && *offset <= log_end_offset;
        snapshots.iter().copied().filter(within).max()
    }
}

fn check_sequence(entry: &ProducerStateEntry, stamp: ProducerStamp) -> Result<(), ProducerRefusal> {
    if stamp.epoch < entry.epoch {
        return Err(ProducerRefusal::InvalidEpoch { stamp, current: entry.epoch });
    }
    let last_sequence = if stamp.epoch == entry.epoch { entry.last_sequence() } else { None };
    let expected = last_sequence.map_or(Sequence::ZERO, |last| last.plus(1));
    if stamp.base_sequence == expected {
        Ok(())
    } else {
        Err(ProducerRefusal::OutOfOrder { stamp, last_sequence })
    }
}

#[cfg(test)]
#[path = "producer_state_tests.rs"]
mod tests;
