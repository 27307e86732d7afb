//! One partition's replica as a machine: what is appended, when it is answered, what is synced, how far readers may read.
//!
//! A log has three ends: *assigned* (offsets given out), *written* (in the file), *synced* (durable); assigned ≥ written ≥
//! synced. Effects are started in the order decided and completed as [`Event::Written`] and [`Event::Synced`].
//!
//! ```text
//!                      ┌── BecomeLeader ──▶ Leader { epoch } ◀── BecomeLeader (later epoch)
//!  Unassigned ─────────┤                      │      ▲
//!       ▲              │        BecomeFollower│      │BecomeLeader
//!       │              │                      ▼      │
//!       │              └─ BecomeFollower ─▶ Follower { leader, epoch } ◀── BecomeFollower (later epoch)
//!       └──── Resign ──── Leader, Follower
//!                         any ── write or sync failed, DirFailed ──▶ Offline (for good)
//! ```
//!
//! Here are the state and what all roles share. The rest by subject: `leader`, `isr` and `high_watermark` (who holds what),
//! `follower`, `delayed_produce` and `delayed_fetch` (who waits for what), `log_writes` (what the disk did), `retention`.
//!
//! Kafka: `Partition`, `UnifiedLog`.

use std::collections::{BTreeSet, VecDeque};

use super::delayed_fetch::ReadableBytes;
use super::delayed_produce::Waiting;
use super::event::{
    Checkpoint, Effect, Event, PartitionConfig, Role, UNSYNCED_BYTES_MAX, WaiterId,
};
use super::follower::Following;
use super::leader::Leading;
use super::log_writes::{Assigned, CheckpointState};
use super::{FollowerState, LeaderState};
use crate::log::{EpochEndOffset, LeaderEpochCache, LocalLog, Lookup, ProducerState, SegmentIndex};
use crate::types::{
    ErrorCode, LeaderEpoch, Monotonic, Now, Observation, Offset, PartitionEpoch, TopicIdPartition,
};

/// What the machine starts with: a log as it was opened.
#[derive(Clone, Debug)]
pub struct OpenedState {
    /// Segments and ends.
    pub log: LocalLog,
    /// The producers.
    pub producers: ProducerState,
    /// The leader epochs.
    pub epochs: LeaderEpochCache,
    /// The high watermark of the last checkpoint.
    pub high_watermark: Offset,
    /// Everything below is durable, and recovery would start there. Less than the log's end after a recovery.
    pub durable_end_offset: Offset,
}

/// What this replica is, with what exists only then.
#[derive(Clone, Debug)]
pub(super) enum State {
    Unassigned,
    Leader(Box<Leading>),
    Follower(Following),
    Offline,
}

/// Who may serve a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServedBy {
    /// The leader alone.
    Leader,
    /// Followers too: up to the high watermark that they know.
    AnyReplica,
}

/// The machine.
///
/// Invariants: see [`Partition::check`].
#[derive(Clone, Debug)]
pub struct Partition {
    pub(super) id: TopicIdPartition,
    pub(super) config: PartitionConfig,
    pub(super) state: State,
    /// The latest term that this replica was told of, whatever it is now. Never goes back.
    pub(super) leader_epoch: Option<LeaderEpoch>,
    /// The version of the partition's state that it was told of last. Never goes back.
    pub(super) partition_epoch: Option<PartitionEpoch>,
    pub(super) log: LocalLog,
    pub(super) producers: ProducerState,
    pub(super) epochs: LeaderEpochCache,
    /// The file does not have all epochs, and nothing is on its way: the disk had no space.
    pub(super) epochs_unsaved: bool,
    /// Counts the effects that save epochs.
    pub(super) epochs_version: u64,
    pub(super) written: Offset,
    pub(super) synced: Offset,
    pub(super) high_watermark: Offset,
    pub(super) recovery_point: Offset,
    /// Rises with each cut: completions of writes decided before it are void.
    pub(super) generation: u64,
    /// Counts the effects that cut the log because the leader's is another.
    pub(super) truncations: u64,
    /// The end of the sync in flight: at most one.
    pub(super) syncing: Option<Offset>,
    pub(super) flush_wanted: bool,
    /// When the oldest record was assigned that is not synced.
    pub(super) unsynced_since: Option<Monotonic>,
    pub(super) bytes_since_checkpoint: u64,
    pub(super) checkpoint: CheckpointState,
    /// Not yet written, oldest first.
    pub(super) assigned: VecDeque<Assigned>,
    /// The sizes of what is not yet below the high watermark.
    pub(super) readable: ReadableBytes,
    /// Producers, sorted by the end they wait for.
    pub(super) waiting: VecDeque<Waiting>,
    /// Readers that have seen everything below the high watermark.
    pub(super) watching: BTreeSet<WaiterId>,
    /// Followers that have seen everything that they may read.
    pub(super) watching_log_end: BTreeSet<WaiterId>,
}

impl Partition {
    /// A replica with the log as it was opened; everything in it is written.
    ///
    /// What is not surely durable is synced with the first event: the page cache of a killed process may hold it alone.
    #[must_use]
    pub fn new(id: TopicIdPartition, config: PartitionConfig, opened: OpenedState) -> Self {
        let end = opened.log.log_end_offset();
        let start = opened.log.log_start_offset();
        let durable = opened.durable_end_offset.min(end);
        let checkpoint =
            if durable < end { CheckpointState::Wanted } else { CheckpointState::Idle };
        let partition = Self {
            id,
            config,
            state: State::Unassigned,
            leader_epoch: None,
            partition_epoch: None,
            written: end,
            synced: durable,
            high_watermark: opened.high_watermark.clamp(start, end),
            recovery_point: durable,
            log: opened.log,
            producers: opened.producers,
            epochs: opened.epochs,
            epochs_unsaved: false,
            epochs_version: 0,
            generation: 0,
            truncations: 0,
            syncing: None,
            flush_wanted: false,
            unsynced_since: None,
            bytes_since_checkpoint: 0,
            checkpoint,
            assigned: VecDeque::new(),
            readable: ReadableBytes::default(),
            waiting: VecDeque::new(),
            watching: BTreeSet::new(),
            watching_log_end: BTreeSet::new(),
        };
        partition.check();
        partition
    }

    /// Takes an event; pushes what is to be done.
    pub fn handle(&mut self, now: Now, event: Event, out: &mut Vec<Effect>) {
        match event {
            Event::BecomeLeader(state) => self.become_leader(now, state, out),
            Event::BecomeFollower(state) => self.become_follower(state, out),
            Event::Resign => self.resign(out),
            Event::FollowerFetched(fetched) => self.on_follower_fetched(now, fetched, out),
            Event::IsrAnswered { proposal, answer } => {
                self.on_isr_answered(now, &proposal, answer, out);
            }
            Event::BrokerEpochs(epochs) => self.on_broker_epochs(now, epochs, out),
            Event::AppendAsFollower(batches) => self.on_append_as_follower(now, batches, out),
            Event::Truncate(truncation) => self.on_truncate(now, truncation, out),
            Event::Configure { config, limits } => {
                let min_isr = self.effective_min_isr();
                self.config = config;
                self.log.set_limits(limits);
                self.on_min_isr(now, min_isr, out);
            }
            Event::Append(append) => self.on_append(now, append, out),
            Event::Written { end_offset, generation } => {
                self.on_written(now, end_offset, generation, out);
            }
            Event::WriteFailed { no_space: true, sync_dropped } => {
                self.cut_back(now, sync_dropped, out);
            }
            Event::WriteFailed { no_space: false, .. } | Event::SyncFailed => {
                self.go_offline(out);
                out.push(Effect::FailDir);
            }
            Event::Synced { end_offset, generation } => {
                self.on_synced(now, end_offset, generation, out);
            }
            Event::CheckpointSaved { end_offset } => self.on_checkpoint_saved(end_offset),
            Event::CheckpointDropped => self.checkpoint = CheckpointState::Wanted,
            Event::DirFailed => self.go_offline(out),
            Event::Flush => {
                self.flush_wanted = true;
                self.maybe_sync(now, out);
            }
            Event::Watch { waiter, seen_end_offset } => {
                self.on_watch(waiter, seen_end_offset, out);
            }
            Event::WatchLogEnd { waiter, seen_end_offset } => {
                self.on_watch_log_end(waiter, seen_end_offset, out);
            }
            Event::Forget { waiter } => self.on_forget(waiter),
            Event::MoveLogStart { to } => self.on_move_log_start(to, out),
            Event::Retain(retention) => self.on_retain(now, retention, out),
            Event::Tick => self.on_tick(now, out),
        }
        if crate::types::CHECKS_ITSELF {
            self.check();
        }
    }

    /// When the machine wants [`Event::Tick`]: something waits to be synced by age, or followers to be looked after.
    #[must_use]
    pub fn deadline(&self) -> Option<Monotonic> {
        let sync = self.sync_deadline();
        let lag_check = match &self.state {
            State::Leader(leading) => leading.next_lag_check(),
            State::Unassigned | State::Follower(_) | State::Offline => None,
        };
        [sync, lag_check].into_iter().flatten().min()
    }

    /// Asserts the invariants.
    pub fn check(&self) {
        self.log.check();
        assert!(self.written <= self.log.log_end_offset(), "written beyond assigned");
        assert!(self.synced <= self.written, "synced beyond written");
        assert!(self.recovery_point <= self.synced, "recovery point beyond synced");
        assert!(self.high_watermark <= self.replica_end_offset(), "high watermark beyond the log");
        assert!(
            self.log.log_start_offset() <= self.high_watermark,
            "log start beyond the high watermark"
        );
        let assigned_end = self.assigned.back().map_or(self.written, |last| last.end_offset);
        assert_eq!(assigned_end, self.log.log_end_offset(), "what is not written is assigned");
        let ends = self.waiting.iter().map(|waiting| waiting.answer.end_offset);
        assert!(ends.is_sorted(), "producers wait in the order of their ends");
        match &self.state {
            State::Leader(leading) => {
                assert_eq!(Some(leading.epoch), self.leader_epoch, "a leader of the latest term");
                leading.check();
            }
            State::Follower(following) => {
                assert_eq!(Some(following.epoch), self.leader_epoch, "it follows the latest term");
                assert!(self.waiting.is_empty(), "producers wait at leaders");
            }
            State::Unassigned | State::Offline => {
                assert!(self.waiting.is_empty(), "producers wait at leaders");
            }
        }
    }

    /// The end that this replica may claim: what is written, or durable where nothing less counts.
    #[must_use]
    pub fn replica_end_offset(&self) -> Offset {
        if self.config.flushes_each() { self.synced.max(self.high_watermark) } else { self.written }
    }

    /// Everything below is durable.
    #[must_use]
    pub const fn synced_end_offset(&self) -> Offset {
        self.synced
    }

    /// Everything below is committed.
    #[must_use]
    pub const fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// The end of what a reader of committed transactions may see: without transactions, the high watermark.
    #[must_use]
    pub const fn last_stable_offset(&self) -> Offset {
        self.high_watermark
    }

    /// Recovery after a crash would start here.
    #[must_use]
    pub const fn recovery_point(&self) -> Offset {
        self.recovery_point
    }

    /// Rises with each cut: what was read before one may be gone.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// How often epochs were to be saved: the last [`Effect::SaveEpochs`].
    #[must_use]
    pub const fn epochs_version(&self) -> u64 {
        self.epochs_version
    }

    /// How often the log was cut because the leader's is another: the last [`Effect::Truncate`] or [`Effect::Restart`].
    #[must_use]
    pub const fn truncations(&self) -> u64 {
        self.truncations
    }

    /// Segments and ends.
    #[must_use]
    pub const fn log(&self) -> &LocalLog {
        &self.log
    }

    /// The producers.
    #[must_use]
    pub const fn producers(&self) -> &ProducerState {
        &self.producers
    }

    /// The leader epochs.
    #[must_use]
    pub const fn epochs(&self) -> &LeaderEpochCache {
        &self.epochs
    }

    /// The latest term that this replica was told of.
    #[must_use]
    pub const fn leader_epoch(&self) -> Option<LeaderEpoch> {
        self.leader_epoch
    }

    /// The version of the partition's state that this replica was told of last.
    #[must_use]
    pub const fn partition_epoch(&self) -> Option<PartitionEpoch> {
        self.partition_epoch
    }

    /// What this replica is.
    #[must_use]
    pub fn role(&self) -> Role {
        match &self.state {
            State::Unassigned => Role::Unassigned,
            State::Leader(leading) => {
                Role::Leader { epoch: leading.epoch, start_offset: leading.start_offset }
            }
            State::Follower(following) => {
                Role::Follower { leader: following.leader, epoch: following.epoch }
            }
            State::Offline => Role::Offline,
        }
    }

    /// Whether nothing is to be written, synced or saved any more.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let saving =
            matches!(self.checkpoint, CheckpointState::Syncing(_) | CheckpointState::Saving(_));
        self.written == self.log.log_end_offset() && self.syncing.is_none() && !saving
    }

    /// Whether a request may be served here that believes in `epoch`; the leader's epoch.
    ///
    /// Errors: KAFKA_STORAGE_ERROR, NOT_LEADER_OR_FOLLOWER, FENCED_LEADER_EPOCH, UNKNOWN_LEADER_EPOCH (KIP-320).
    ///
    /// Kafka: `Partition.getLocalLog`.
    pub fn check_leader(&self, epoch: Option<LeaderEpoch>) -> Result<LeaderEpoch, ErrorCode> {
        let (ours, leads) = match &self.state {
            State::Offline => return Err(ErrorCode::KafkaStorageError),
            State::Unassigned => return Err(ErrorCode::NotLeaderOrFollower),
            State::Leader(leading) => (leading.epoch, true),
            State::Follower(following) => (following.epoch, false),
        };
        check_epoch(ours, epoch)?;
        if leads { Ok(ours) } else { Err(ErrorCode::NotLeaderOrFollower) }
    }

    /// Whether a consumer may be served here that believes in `epoch`: also by a follower, if it may be a replica in the
    /// consumer's rack (KIP-392).
    ///
    /// Errors: as [`Partition::check_leader`].
    pub fn check_reader(&self, epoch: Option<LeaderEpoch>, by: ServedBy) -> Result<(), ErrorCode> {
        match (&self.state, by) {
            (State::Follower(following), ServedBy::AnyReplica) => {
                check_epoch(following.epoch, epoch)
            }
            (
                State::Follower(_) | State::Leader(_) | State::Unassigned | State::Offline,
                ServedBy::Leader | ServedBy::AnyReplica,
            ) => self.check_leader(epoch).map(|_ours| ()),
        }
    }

    /// Whether a reader may ask for `offset`. It may ask for the log's end: that is not wrong, there is only nothing.
    ///
    /// Errors: OFFSET_OUT_OF_RANGE.
    pub fn check_offset(&self, offset: Offset) -> Result<(), ErrorCode> {
        if offset < self.log.log_start_offset() || offset > self.log.log_end_offset() {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        Ok(())
    }

    /// Where to look for an offset.
    #[must_use]
    pub fn lookup(&self, offset: Offset) -> Lookup {
        self.log.lookup(offset)
    }

    /// Takes the indexes of a closed segment, read from its files.
    pub fn install_index(&mut self, segment: Offset, index: SegmentIndex) {
        self.log.install_index(segment, index);
    }

    /// Where the log of `epoch` ends (Kafka: `Partition.lastOffsetForLeaderEpoch`).
    ///
    /// The latest epoch ends with the log: with what is written, whether durable or not. A follower that has as much must not
    /// cut it off because the leader's disk is slow.
    #[must_use]
    pub fn end_offset_for(&self, epoch: LeaderEpoch) -> Option<EpochEndOffset> {
        self.epochs.end_offset_for(epoch, self.written)
    }

    /// What a clean stop saves, after everything is durable: it closes the indexes. [`Event::CheckpointSaved`] follows.
    pub fn closing_checkpoint(&mut self) -> Checkpoint {
        assert_eq!(self.synced, self.log.log_end_offset(), "a log is durable before it is closed");
        assert!(self.is_settled(), "no other checkpoint is under way");
        self.log.seal();
        let checkpoint = self.checkpoint();
        self.checkpoint = CheckpointState::Saving(checkpoint.indexes.clone());
        checkpoint
    }

    /// Whether news of a term and version is older than what is known already.
    fn is_outdated(&self, leader_epoch: LeaderEpoch, partition_epoch: PartitionEpoch) -> bool {
        let known = self.leader_epoch.zip(self.partition_epoch);
        let is_outdated = known.is_some_and(|(term, version)| {
            leader_epoch < term || (leader_epoch == term && partition_epoch < version)
        });
        if is_outdated {
            crate::mark!("a replica hears of an older version of its partition");
        }
        is_outdated
    }

    fn become_leader(&mut self, now: Now, state: LeaderState, out: &mut Vec<Effect>) {
        if self.is_outdated(state.leader_epoch, state.partition_epoch) {
            return;
        }
        match &self.state {
            State::Offline => {}
            State::Leader(leading) if leading.epoch == state.leader_epoch => {
                self.on_new_version(now, state, out);
            }
            State::Leader(_) => self.start_term(now, state, out),
            State::Unassigned | State::Follower(_) => {
                self.wake_all(out);
                self.start_term(now, state, out);
            }
        }
    }

    fn become_follower(&mut self, state: FollowerState, out: &mut Vec<Effect>) {
        if self.is_outdated(state.leader_epoch, state.partition_epoch) {
            return;
        }
        match &mut self.state {
            State::Offline => return,
            State::Follower(following) if following.epoch == state.leader_epoch => {
                self.partition_epoch = Some(state.partition_epoch);
                if following.leader == state.leader {
                    return;
                }
                following.leader = state.leader;
            }
            State::Leader(_) | State::Follower(_) | State::Unassigned => {
                self.end_role(out);
                self.state = State::Follower(Following::new(state.leader, state.leader_epoch));
            }
        }
        self.leader_epoch = Some(state.leader_epoch);
        self.partition_epoch = Some(state.partition_epoch);
        out.push(Effect::Observe(Observation::BecameFollower {
            partition: self.id,
            leader: state.leader,
            leader_epoch: state.leader_epoch,
            partition_epoch: state.partition_epoch,
            log_end_offset: self.log.log_end_offset(),
        }));
    }

    fn resign(&mut self, out: &mut Vec<Effect>) {
        match self.state {
            State::Leader(_) | State::Follower(_) => self.end_role(out),
            State::Unassigned | State::Offline => {}
        }
    }

    /// Whoever waits here is told to look elsewhere.
    fn end_role(&mut self, out: &mut Vec<Effect>) {
        self.state = State::Unassigned;
        self.fail_waiting(ErrorCode::NotLeaderOrFollower, Offset::ZERO, out);
        self.wake_all(out);
    }

    /// The disk failed: nothing is acknowledged or served any more.
    fn go_offline(&mut self, out: &mut Vec<Effect>) {
        self.state = State::Offline;
        self.fail_waiting(ErrorCode::KafkaStorageError, Offset::ZERO, out);
        self.wake_all(out);
    }

    /// Has the epochs saved, before what is decided next is written.
    pub(super) fn save_epochs(&mut self, out: &mut Vec<Effect>) {
        self.epochs_unsaved = false;
        self.epochs_version += 1;
        let (epochs, version) = (self.epochs.clone(), self.epochs_version);
        out.push(Effect::SaveEpochs { epochs, version });
    }

    fn on_tick(&mut self, now: Now, out: &mut Vec<Effect>) {
        for producer in self.producers.remove_expired(now.wall, self.config.producer_expiration) {
            out.push(Effect::Observe(Observation::ProducerExpired {
                partition: self.id,
                producer,
            }));
        }
        self.check_lag(now, out);
        self.maybe_sync(now, out);
    }

    /// When what is not durable becomes too old (`flush.ms`).
    pub(super) fn sync_deadline(&self) -> Option<Monotonic> {
        Some(self.unsynced_since? + self.config.flush_interval?)
    }

    /// Whether so much was written since the last checkpoint that recovery would take long.
    pub(super) fn is_checkpoint_due(&self) -> bool {
        match self.checkpoint {
            CheckpointState::Wanted => true,
            CheckpointState::Idle => self.bytes_since_checkpoint >= UNSYNCED_BYTES_MAX,
            CheckpointState::Syncing(_) | CheckpointState::Saving(_) => false,
        }
    }
}

/// Holds the epoch that a request believes in against this replica's (KIP-320).
///
/// Errors: FENCED_LEADER_EPOCH, UNKNOWN_LEADER_EPOCH.
pub(super) fn check_epoch(ours: LeaderEpoch, theirs: Option<LeaderEpoch>) -> Result<(), ErrorCode> {
    match theirs {
        Some(theirs) if theirs < ours => Err(ErrorCode::FencedLeaderEpoch),
        Some(theirs) if theirs > ours => Err(ErrorCode::UnknownLeaderEpoch),
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
#[path = "partition_tests.rs"]
mod tests;
