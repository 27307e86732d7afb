//! What a follower does with what it fetched: it appends it, learns what is committed, and cuts its log where it parts from
//! the leader's.
//!
//! Kafka: `ReplicaFetcherThread.processPartitionData`, `UnifiedLog.appendAsFollower`,
//! `AbstractFetcherThread.getOffsetTruncationState`; KIP-101, KIP-279, KIP-595.

use bytes::Bytes;

use super::event::{Effect, FollowedBatches, Truncation};
use super::partition::{Partition, State, check_epoch};
use super::{FetchState, TruncateTo};
use crate::log::{LocalLog, ProducerState};
use crate::protocol::record_batch::{BatchHeader, ControlRecord, EndTransactionMarker, RawBatch};
use crate::types::{BrokerId, ErrorCode, LeaderEpoch, Now, Observation, Offset};

/// A transaction marker is never larger, whatever it says it decompresses to.
const MARKER_BYTES_MAX: usize = 4_096;

/// What exists while this replica follows.
#[derive(Clone, Debug)]
pub(super) struct Following {
    pub(super) leader: Option<BrokerId>,
    pub(super) epoch: LeaderEpoch,
    /// What the leader last said of its log.
    leader_high_watermark: Offset,
    leader_log_start_offset: Offset,
    /// Up to here this log is the leader's: a fetch from there was answered in this term without divergence. `None` before.
    proven_end: Option<Offset>,
}

impl Following {
    pub(super) const fn new(leader: Option<BrokerId>, epoch: LeaderEpoch) -> Self {
        Self {
            leader,
            epoch,
            leader_high_watermark: Offset::ZERO,
            leader_log_start_offset: Offset::ZERO,
            proven_end: None,
        }
    }

    /// What the leader says is committed, as far as this replica is sure to have the same (KAFKA-14704).
    pub(super) fn high_watermark(&self, own_end: Offset) -> Option<Offset> {
        Some(self.leader_high_watermark.min(own_end).min(self.proven_end?))
    }

    /// The log ends at `end_offset` now.
    pub(super) fn on_cut(&mut self, end_offset: Offset) {
        self.proven_end = self.proven_end.map(|proven| proven.min(end_offset));
    }
}

/// What a truncation asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutAt {
    /// No record goes.
    Nowhere,
    /// What is at this offset, and behind.
    Offset(Offset),
    /// Everything; the log begins anew there.
    Everything(Offset),
}

impl Partition {
    /// Whether this replica follows in the term `leader_epoch`.
    ///
    /// Errors: KAFKA_STORAGE_ERROR, NOT_LEADER_OR_FOLLOWER, FENCED_LEADER_EPOCH, UNKNOWN_LEADER_EPOCH.
    pub fn check_follower(&self, leader_epoch: LeaderEpoch) -> Result<(), ErrorCode> {
        match &self.state {
            State::Offline => Err(ErrorCode::KafkaStorageError),
            State::Unassigned => Err(ErrorCode::NotLeaderOrFollower),
            State::Leader(leading) => {
                check_epoch(leading.epoch, Some(leader_epoch))?;
                Err(ErrorCode::NotLeaderOrFollower)
            }
            State::Follower(following) => check_epoch(following.epoch, Some(leader_epoch)),
        }
    }

    /// From where on this replica fetches.
    ///
    /// Errors: as [`crate::replica::driver::PartitionHandle::fetch_state`] says.
    pub fn fetch_state(&self) -> Result<FetchState, ErrorCode> {
        let following = match &self.state {
            State::Offline => return Err(ErrorCode::KafkaStorageError),
            State::Unassigned | State::Leader(_) => return Err(ErrorCode::NotLeaderOrFollower),
            State::Follower(following) => following,
        };
        let offset = self.log.log_end_offset();
        // What it fetches from, it claims to have.
        if self.replica_end_offset() < offset {
            return Err(ErrorCode::ReplicaNotAvailable);
        }
        Ok(FetchState {
            leader: following.leader,
            leader_epoch: following.epoch,
            offset,
            last_fetched_epoch: self.epochs.latest().map(|latest| latest.epoch),
            log_start_offset: self.log.log_start_offset(),
        })
    }

    /// What to take of batches that were fetched at `fetch_offset`: from which offset on they may begin. In an empty log they may
    /// begin before it ends: where the leader's log starts within a batch, the log begins anew at that batch.
    ///
    /// Errors: as [`Partition::check_follower`]; INVALID_RECORD where the log does not end at `fetch_offset`.
    pub fn fetched_from(
        &self,
        leader_epoch: LeaderEpoch,
        fetch_offset: Offset,
    ) -> Result<Offset, ErrorCode> {
        self.check_follower(leader_epoch)?;
        if fetch_offset != self.log.log_end_offset() {
            return Err(ErrorCode::InvalidRecord);
        }
        Ok(if self.is_log_empty() { Offset::ZERO } else { fetch_offset })
    }

    /// Whether nobody can say any more that what this log holds was ever committed, where the leader's log starts no earlier than this
    /// one ends: its `first` batch is of a later epoch than the last one here. The leader has forgotten where the epochs
    /// before its start ended, so it takes any end up to there for the right one (swarm-disk, seed 114). Until that batch has come, what the
    /// leader says of its log is not believed of this one (swarm-disk, seed 133).
    ///
    /// Kafka: appends (`LeaderEpochFileCache.endOffsetFor` says so), and serves such records where a crash takes the log's start back.
    pub fn is_past_proof(&self, first: &BatchHeader) -> bool {
        self.epochs.latest().map(|latest| latest.epoch) < first.leader_epoch
    }

    /// Whether segments hold records, be it below the log's start.
    #[must_use]
    pub fn has_records(&self) -> bool {
        self.log.segments()[0].base_offset < self.log.log_end_offset()
    }

    fn is_log_empty(&self) -> bool {
        self.log.log_start_offset() == self.log.log_end_offset()
    }

    /// Whether fetched batches follow this log: each begins where the one before it ends, and the epochs do not go back, nor
    /// beyond the term.
    ///
    /// Errors: as [`Partition::check_follower`]; INVALID_RECORD.
    pub fn check_follower_append(
        &self,
        leader_epoch: LeaderEpoch,
        batches: &[RawBatch],
    ) -> Result<(), ErrorCode> {
        self.check_follower(leader_epoch)?;
        let mut next = self.log.log_end_offset();
        let mut latest = self.epochs.latest().map(|latest| latest.epoch);
        for batch in batches {
            let header = &batch.header;
            let epoch = header.leader_epoch.ok_or(ErrorCode::InvalidRecord)?;
            if header.base_offset != next || epoch > leader_epoch || Some(epoch) < latest {
                crate::mark!("a leader's batch does not follow its follower's log");
                return Err(ErrorCode::InvalidRecord);
            }
            (next, latest) = (header.end_offset(), Some(epoch));
        }
        Ok(())
    }

    pub(super) fn on_append_as_follower(
        &mut self,
        now: Now,
        fetched: FollowedBatches,
        out: &mut Vec<Effect>,
    ) {
        let FollowedBatches { batches, leader_high_watermark, leader_log_start_offset } = fetched;
        for batch in &batches {
            self.append_fetched(now, batch, out);
        }
        let end = self.log.log_end_offset();
        let State::Follower(following) = &mut self.state else {
            unreachable!("it follows: just checked");
        };
        following.proven_end = Some(end);
        if let Some(high_watermark) = leader_high_watermark {
            following.leader_high_watermark = high_watermark;
        }
        if let Some(start) = leader_log_start_offset {
            following.leader_log_start_offset = start;
        }
        self.advance(now, out);
        self.maybe_sync(now, out);
    }

    fn append_fetched(&mut self, now: Now, batch: &RawBatch, out: &mut Vec<Effect>) {
        let header = &batch.header;
        let epoch = header.leader_epoch.expect("a batch without epoch was refused");
        let is_news = self.epochs.latest().is_none_or(|latest| epoch > latest.epoch);
        if (is_news && self.epochs.assign(epoch, header.base_offset)) || self.epochs_unsaved {
            self.save_epochs(out);
        }
        let placement = self.place(now, header, epoch, marker_of(batch), out);
        out.push(Effect::Write {
            segment: placement.segment,
            position: placement.position,
            slices: [batch.bytes.clone(), Bytes::new()],
            base_offset: header.base_offset,
            end_offset: header.end_offset(),
            generation: self.generation,
        });
    }

    /// The log starts where the leader's does, as far as that is committed here.
    pub(super) fn follow_log_start(&mut self, out: &mut Vec<Effect>) {
        let State::Follower(following) = &self.state else { return };
        let to = following.leader_log_start_offset.min(self.high_watermark);
        self.on_move_log_start(to, out);
    }

    /// Where to cut the log, so that nothing is left that the leader's does not have.
    ///
    /// For an epoch that the leader named and this log does not know, the end of the next smaller one here: what follows it
    /// was written in epochs that the leader has never seen (KIP-279).
    #[must_use]
    pub fn cut_at(&self, to: TruncateTo) -> CutAt {
        let end = self.log.log_end_offset();
        let to = match to {
            TruncateTo::FullyAndStartAt(start) => return CutAt::Everything(start),
            TruncateTo::Offset(offset) => offset,
            TruncateTo::EpochEnd(theirs) => match self.epochs.end_offset_for(theirs.epoch, end) {
                Some(ours) if ours.epoch != theirs.epoch => ours.end_offset,
                Some(ours) => ours.end_offset.min(theirs.end_offset),
                None => theirs.end_offset,
            },
        };
        if to >= end {
            CutAt::Nowhere
        } else if to < self.log.log_start_offset() {
            crate::mark!("a follower truncates below its start");
            CutAt::Everything(to)
        } else {
            CutAt::Offset(to)
        }
    }

    pub(super) fn on_truncate(&mut self, now: Now, truncation: Truncation, out: &mut Vec<Effect>) {
        assert!(self.is_settled(), "a log is cut when nothing is under way");
        match truncation {
            Truncation::EpochsOnly => {
                // This replica may have led, and appended nothing.
                if self.epochs.truncate_from_end(self.log.log_end_offset()) {
                    crate::mark!("a follower forgets an epoch without records");
                    self.save_epochs(out);
                }
            }
            Truncation::At { to, segment, position, max_timestamp, producers } => {
                let from = self.log.log_end_offset();
                let later = self.log.truncate(to, segment, position);
                if let Some(max_timestamp) = max_timestamp {
                    self.log.note_timestamp(max_timestamp);
                }
                let lowers_recovery_point = self.recovery_point > to;
                self.producers = producers;
                self.after_truncation(from, to, out);
                out.push(Effect::Truncate {
                    segment,
                    position,
                    later,
                    end_offset: to,
                    lowers_recovery_point,
                    number: self.truncations,
                });
                if self.epochs.truncate_from_end(to) {
                    self.save_epochs(out);
                }
            }
            Truncation::FullyAndStartAt(start) => self.restart_at(now, start, out),
        }
        self.advance(now, out);
        self.maybe_sync(now, out);
    }

    /// All goes; the log is empty and begins at `start`.
    fn restart_at(&mut self, now: Now, start: Offset, out: &mut Vec<Effect>) {
        crate::mark!("a follower's log begins anew");
        let (from, start_before) = (self.log.log_end_offset(), self.log.log_start_offset());
        let segments = self.log.segments().iter().map(|segment| segment.base_offset).collect();
        self.log = LocalLog::empty(*self.log.limits(), start, now.wall);
        self.producers = ProducerState::new(start);
        self.epochs.clear();
        self.after_truncation(from, start, out);
        if start != start_before {
            let (partition, from, to) = (self.id, start_before, start);
            out.push(Effect::Observe(Observation::LogStartMoved { partition, from, to }));
        }
        self.high_watermark = start;
        (self.written, self.synced, self.recovery_point) = (start, start, start);
        out.push(Effect::Restart { segments, start_offset: start, number: self.truncations });
        self.save_epochs(out);
    }

    fn after_truncation(&mut self, from: Offset, to: Offset, out: &mut Vec<Effect>) {
        self.generation += 1;
        self.truncations += 1;
        if self.high_watermark > to {
            crate::mark!("a follower truncates below its high watermark");
        }
        self.written = to;
        self.synced = self.synced.min(to);
        self.recovery_point = self.recovery_point.min(to);
        self.high_watermark = self.high_watermark.min(to);
        if self.synced == to {
            self.unsynced_since = None;
        }
        self.readable.truncate(to);
        if let State::Follower(following) = &mut self.state {
            following.on_cut(to);
        }
        out.push(Effect::Observe(Observation::LogTruncated { partition: self.id, from, to }));
        self.wake_all(out);
    }
}

/// What a control batch says of a transaction.
fn marker_of(batch: &RawBatch) -> Option<EndTransactionMarker> {
    let header = &batch.header;
    if !header.is_control() || header.producer.is_none() {
        return None;
    }
    let record = batch.records(MARKER_BYTES_MAX).ok()?.next()?.ok()?;
    EndTransactionMarker::parse(&ControlRecord::parse(&record).ok()?)
}
