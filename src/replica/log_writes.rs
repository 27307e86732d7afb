//! What becomes of writes: they are written, fail for want of space, become durable, and are checkpointed.
//!
//! Kafka: `UnifiedLog.append`, `flush`.

use super::event::{Checkpoint, Effect};
use super::partition::{Partition, State};
use crate::log::{IndexPart, Placement, ProducerStateEntry};
use crate::protocol::record_batch::{BatchHeader, EndTransactionMarker};
use crate::types::{ErrorCode, LeaderEpoch, Now, Observation, Offset, ProducerId, ProducerStamp};

/// A batch that has its offsets, until it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Assigned {
    pub(super) base_offset: Offset,
    pub(super) end_offset: Offset,
    pub(super) bytes: u64,
    producer: Option<ProducerStamp>,
    crc: u32,
    leader_epoch: LeaderEpoch,
    /// The term in which it was fetched from the leader; `None` for what this replica appended as leader.
    followed_in: Option<LeaderEpoch>,
    placement: Placement,
    /// The producer and its state before.
    producer_before: Option<(ProducerId, Option<ProducerStateEntry>)>,
}

/// At most one checkpoint is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CheckpointState {
    /// None.
    Idle,
    /// The next sync should be one: a segment was closed, or the log was recovered.
    Wanted,
    /// It waits for the sync in flight.
    Syncing(Box<Checkpoint>),
    /// Its files are being written. These are the index entries in it.
    Saving(Vec<IndexPart>),
}

impl Partition {
    /// Gives a batch its place, and has it written there. `header` has its real offsets and epoch.
    pub(super) fn place(
        &mut self,
        now: Now,
        header: &BatchHeader,
        leader_epoch: LeaderEpoch,
        marker: Option<EndTransactionMarker>,
        out: &mut Vec<Effect>,
    ) -> Placement {
        let end_offset = header.end_offset();
        let bytes = u64::from(header.size_in_bytes);
        let placement = self.log.append(now.wall, header);
        if placement.rolled {
            self.observe_roll(placement.segment, out);
            if self.checkpoint == CheckpointState::Idle {
                self.checkpoint = CheckpointState::Wanted;
            }
        }
        self.bytes_since_checkpoint += bytes;
        self.unsynced_since.get_or_insert(now.monotonic);
        self.readable.push(end_offset, bytes);
        let before = |id| (id, self.producers.entry(id).cloned());
        let followed_in = match &self.state {
            State::Follower(following) => Some(following.epoch),
            State::Leader(_) | State::Unassigned | State::Offline => None,
        };
        self.assigned.push_back(Assigned {
            base_offset: header.base_offset,
            end_offset,
            bytes,
            producer: header.producer_stamp(),
            crc: header.crc,
            leader_epoch,
            followed_in,
            placement: placement.clone(),
            producer_before: header.producer.map(|producer| before(producer.id)),
        });
        self.producers.on_batch(header, marker);
        placement
    }

    pub(super) fn observe_roll(&self, segment: Offset, out: &mut Vec<Effect>) {
        out.push(Effect::Roll { segment });
        let (partition, base_offset) = (self.id, segment);
        out.push(Effect::Observe(Observation::LogRolled { partition, base_offset }));
    }

    pub(super) fn on_written(
        &mut self,
        now: Now,
        end: Offset,
        generation: u64,
        out: &mut Vec<Effect>,
    ) {
        if generation != self.generation {
            crate::mark!("a write completes after its log was cut");
            return;
        }
        assert!(end >= self.written, "writes complete in order");
        let mut bytes = 0;
        while self.assigned.front().is_some_and(|batch| batch.end_offset <= end) {
            let batch = self.assigned.pop_front().expect("just seen");
            bytes += batch.bytes;
            out.push(Effect::Observe(self.appended(&batch)));
        }
        self.written = end;
        self.advance(now, out);
        if !self.config.flushes_each() {
            self.wake_watching_log_end(bytes, out);
        }
        self.maybe_sync(now, out);
    }

    fn appended(&self, batch: &Assigned) -> Observation {
        let Assigned { base_offset, end_offset, producer, crc, leader_epoch, .. } = *batch;
        let partition = self.id;
        match batch.followed_in {
            None => Observation::ProduceAppended {
                partition,
                leader_epoch,
                base_offset,
                end_offset,
                producer,
                crc,
            },
            Some(current_leader_epoch) => Observation::FollowerAppended {
                partition,
                current_leader_epoch,
                leader_epoch,
                base_offset,
                end_offset,
                producer,
                crc,
            },
        }
    }

    /// There was no space: takes back what could not be written, so that the log is as before.
    ///
    /// Kinder than Kafka, which takes the directory offline: see `docs/decisions`.
    pub(super) fn cut_back(&mut self, now: Now, sync_dropped: bool, out: &mut Vec<Effect>) {
        crate::mark!("an append found no space and was cut back");
        self.generation += 1;
        if sync_dropped {
            self.syncing = None;
            self.lose_sync();
        }
        let mut later = Vec::new();
        while let Some(batch) = self.assigned.pop_back() {
            match batch.producer_before {
                Some((id, before)) => self.producers.restore(id, before, batch.base_offset),
                None => self.producers.restore_end(batch.base_offset),
            }
            later.extend(self.log.undo(&batch.placement));
        }
        later.reverse();
        assert_eq!(self.log.log_end_offset(), self.written, "the log ends where it is written");
        self.readable.truncate(self.written);
        if self.written == self.synced {
            self.unsynced_since = None;
        }
        self.after_cut_back();
        let active = self.log.active();
        out.push(Effect::Cut { segment: active.base_offset, position: active.size, later });
        out.push(Effect::Observe(Observation::LogDirFull { index: self.config.log_dir }));
        self.fail_waiting(ErrorCode::KafkaStorageError, self.written, out);
        self.maybe_sync(now, out);
    }

    /// What is known of epochs and of the leader's log reaches as far as this log does; a term that began behind its end begins there. The
    /// file may lack epochs: what could not be written may have been theirs.
    fn after_cut_back(&mut self) {
        self.epochs_unsaved = true;
        self.epochs.truncate_from_end(self.written);
        match &mut self.state {
            State::Follower(following) => following.on_cut(self.written),
            State::Leader(leading) => {
                self.epochs.assign(leading.epoch, self.written);
                leading.start_offset = leading.start_offset.min(self.written);
            }
            State::Unassigned | State::Offline => {}
        }
    }

    /// A sync came to nothing, as the log was cut meanwhile: whoever asked for it waits for another one, of what is left.
    fn lose_sync(&mut self) {
        self.flush_wanted = true;
        if matches!(self.checkpoint, CheckpointState::Syncing(_)) {
            self.checkpoint = CheckpointState::Wanted;
        }
    }

    /// Starts a sync where one is due and none is in flight. Whatever comes meanwhile joins the next (group commit).
    pub(super) fn maybe_sync(&mut self, now: Now, out: &mut Vec<Effect>) {
        let end_offset = self.log.log_end_offset();
        if self.syncing.is_some() || matches!(self.state, State::Offline) {
            return;
        }
        if end_offset == self.synced {
            self.flush_wanted = false;
            return;
        }
        let records = end_offset - self.synced;
        let by_count = self.config.flush_messages.is_some_and(|messages| records >= messages);
        let by_age = self.sync_deadline().is_some_and(|deadline| deadline <= now.monotonic);
        let checkpoint_due = self.is_checkpoint_due();
        if !(by_count || by_age || self.flush_wanted || checkpoint_due) {
            return;
        }
        if checkpoint_due {
            self.checkpoint = CheckpointState::Syncing(Box::new(self.checkpoint()));
        }
        self.flush_wanted = false;
        self.syncing = Some(end_offset);
        self.unsynced_since = None;
        out.push(Effect::Sync {
            segments: self.log.segments_from(self.synced),
            end_offset,
            generation: self.generation,
        });
    }

    pub(super) fn checkpoint(&mut self) -> Checkpoint {
        self.bytes_since_checkpoint = 0;
        let end_offset = self.log.log_end_offset();
        Checkpoint {
            end_offset,
            snapshot: self.producers.encode_snapshot().into(),
            indexes: self.log.unsaved_indexes(),
        }
    }

    pub(super) fn on_synced(
        &mut self,
        now: Now,
        end: Offset,
        generation: u64,
        out: &mut Vec<Effect>,
    ) {
        self.syncing = None;
        if matches!(self.state, State::Offline) {
            return;
        }
        if generation != self.generation {
            crate::mark!("a sync completes after its log was cut");
            self.lose_sync();
            return self.maybe_sync(now, out);
        }
        assert!(end >= self.synced, "one sync at a time");
        self.synced = end;
        out.push(Effect::Observe(Observation::LogFlushed { partition: self.id, end_offset: end }));
        match std::mem::replace(&mut self.checkpoint, CheckpointState::Idle) {
            CheckpointState::Syncing(checkpoint) => {
                self.checkpoint = CheckpointState::Saving(checkpoint.indexes.clone());
                out.push(Effect::SaveCheckpoint(*checkpoint));
            }
            other @ (CheckpointState::Idle
            | CheckpointState::Wanted
            | CheckpointState::Saving(_)) => self.checkpoint = other,
        }
        if self.log.log_end_offset() > end {
            self.unsynced_since.get_or_insert(now.monotonic);
        }
        self.advance(now, out);
        if self.config.flushes_each() {
            self.wake_watching_log_end(u64::MAX, out);
        }
        self.maybe_sync(now, out);
    }

    pub(super) fn on_checkpoint_saved(&mut self, end_offset: Offset) {
        assert!(end_offset >= self.recovery_point, "the recovery point never goes back");
        self.recovery_point = end_offset;
        let state = std::mem::replace(&mut self.checkpoint, CheckpointState::Idle);
        let CheckpointState::Saving(parts) = state else {
            unreachable!("one checkpoint at a time");
        };
        for part in parts {
            self.log.mark_saved(part.segment, part.kind, part.entries);
        }
    }
}
