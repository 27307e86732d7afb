//! One partition's replica as a machine: what is appended, when it is answered, what is synced, how far readers may read.
//!
//! A log has three ends: *assigned* (offsets given out), *written* (in the file), *synced* (durable); assigned ≥ written ≥
//! synced. Effects are started in the order decided and completed as [`Event::Written`] and [`Event::Synced`].
//!
//! ```text
//!            BecomeLeader(epoch)
//!  Unassigned ────────────────▶ Leader { epoch } ──BecomeLeader(later epoch)──▶ Leader
//!       ▲                          │  │
//!       └───────── Resign ─────────┘  └── write or sync failed, DirFailed ──▶ Offline (for good)
//! ```
//!
//! Absent for now: followers and the in-sync replicas. The high watermark of one replica is the end that this replica
//! itself may claim ([`Partition::replica_end_offset`]); with followers it is the least of the maximal ISR.
//!
//! Kafka: `Partition`, `UnifiedLog.append`, `DelayedProduce`, `DelayedFetch`.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use crate::log::{
    BatchMetadata, EpochEndOffset, IndexPart, LeaderEpochCache, LocalLog, Lookup, Placement,
    ProducerState, ProducerStateEntry, ProducerVerdict, Segment, SegmentIndex, ValidatedBatch,
};
use crate::types::{
    Acks, BrokerSet, ErrorCode, LeaderEpoch, Monotonic, Now, Observation, Offset, ProducerId,
    ProducerStamp, Timestamp, TopicIdPartition,
};

/// The recovery point follows when this many bytes are not synced: what a start after a crash may have to read
/// (0.05 s at 1.5 GB/s).
pub const UNSYNCED_BYTES_MAX: u64 = 64 << 20;

/// One who waits: for an append's answer, or for something to read. Unique in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WaiterId(pub u64);

/// The few values of the configuration that the machine uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionConfig {
    /// `flush.messages`: sync after this many records. With 1 nothing is acknowledged or readable before it is durable.
    pub flush_messages: Option<u64>,
    /// `flush.ms`: sync what is older.
    pub flush_interval: Option<Duration>,
    /// `producer.id.expiration.ms`: producers that are idle for longer are forgotten.
    pub producer_expiration: Duration,
    /// Which entry of `log.dirs` the log is in.
    pub log_dir: u32,
}

impl PartitionConfig {
    fn flushes_each(&self) -> bool {
        self.flush_messages.is_some_and(|messages| messages <= 1)
    }
}

/// What this replica is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Nobody told it yet, or it resigned.
    Unassigned,
    /// It takes appends and serves readers.
    Leader {
        /// Its term.
        epoch: LeaderEpoch,
        /// The log's end when the term began.
        start_offset: Offset,
    },
    /// Its disk failed.
    Offline,
}

/// What a producer is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendAnswer {
    /// The offset of the first record; of a duplicate, that of the first time.
    pub base_offset: Offset,
    /// The offset after the last record.
    pub end_offset: Offset,
    /// When the broker appended it, where the topic's timestamps are the broker's.
    pub log_append_time: Option<Timestamp>,
    /// The first offset of the log.
    pub log_start_offset: Offset,
    /// The leader's term.
    pub leader_epoch: LeaderEpoch,
}

/// An append to be decided. The batch has passed the validator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// Who wants the answer.
    pub waiter: WaiterId,
    /// When to answer; with `acks=0`, as soon as the batch has its place.
    pub acks: Acks,
    /// The batch.
    pub batch: ValidatedBatch,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The controller made this replica leader.
    BecomeLeader {
        /// In this term.
        epoch: LeaderEpoch,
    },
    /// This replica leads no longer, or the node stops.
    Resign,
    /// A producer's batch arrived.
    Append(Append),
    /// All writes decided before this end are in the file.
    Written {
        /// The end.
        end_offset: Offset,
        /// The generation in which they were decided.
        generation: u64,
    },
    /// The first write behind the written end failed; those behind it were not tried.
    WriteFailed {
        /// There was no space: the log is cut back and stays in use.
        no_space: bool,
        /// A sync was waiting behind the write, and was dropped with it.
        sync_dropped: bool,
    },
    /// All below this end is durable.
    Synced {
        /// The end.
        end_offset: Offset,
        /// The generation in which the sync was decided.
        generation: u64,
    },
    /// A sync failed: nothing is known of what was dirty.
    SyncFailed,
    /// Index entries and producer state up to this end are durable: recovery may start there.
    CheckpointSaved {
        /// The end.
        end_offset: Offset,
    },
    /// There was no space for the checkpoint: the next sync tries again.
    CheckpointDropped,
    /// The log directory failed, here or at another log of it.
    DirFailed,
    /// Everything assigned should be made durable.
    Flush,
    /// A reader that has seen all below `seen_end_offset` waits for more.
    Watch {
        /// The reader.
        waiter: WaiterId,
        /// The end of what it could read.
        seen_end_offset: Offset,
    },
    /// A waiter does not wait any more.
    Forget {
        /// It.
        waiter: WaiterId,
    },
    /// Records below `to` are not wanted any more: by a DeleteRecords request, or by retention.
    MoveLogStart {
        /// The new first offset; not beyond the high watermark.
        to: Offset,
    },
    /// Old segments are looked at: what is too old, or beyond the size, goes.
    Retain(Retention),
    /// Time passed.
    Tick,
}

/// How much of a log is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// `retention.ms`; `None` for ever.
    pub age_max: Option<Duration>,
    /// `retention.bytes`; `None` for all.
    pub bytes_max: Option<u64>,
}

/// What is to be done, from top to bottom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Begin a segment's file.
    Roll {
        /// Its base offset.
        segment: Offset,
    },
    /// Write a batch.
    Write {
        /// Into this segment.
        segment: Offset,
        /// At this byte.
        position: u64,
        /// Head and rest of the batch.
        slices: [Bytes; 2],
        /// Its first offset.
        base_offset: Offset,
        /// The offset after its last.
        end_offset: Offset,
        /// For the completion.
        generation: u64,
    },
    /// Cut the file of a segment, and remove the segments behind it.
    Cut {
        /// The segment that becomes the last.
        segment: Offset,
        /// Bytes that stay.
        position: u64,
        /// The segments that go, rising.
        later: Vec<Offset>,
    },
    /// Make all writes before this effect durable.
    Sync {
        /// The segments with something not durable yet, rising.
        segments: Vec<Offset>,
        /// For the completion.
        end_offset: Offset,
        /// For the completion.
        generation: u64,
    },
    /// Save index entries and producer state, so that recovery starts at their end.
    SaveCheckpoint(Checkpoint),
    /// Remove the files of segments.
    RemoveSegments {
        /// Their base offsets, rising.
        segments: Vec<Offset>,
        /// Where the log starts now.
        log_start_offset: Offset,
    },
    /// The disk failed: every log of the directory goes offline.
    FailDir,
    /// Answer a producer.
    Answer {
        /// It.
        waiter: WaiterId,
        /// With this.
        result: Result<AppendAnswer, ErrorCode>,
    },
    /// Tell a reader that there is more, or that it should look again.
    Readable {
        /// The reader.
        waiter: WaiterId,
        /// How much more, in bytes; `u64::MAX`: look again at once.
        bytes: u64,
    },
    /// Tell the observer.
    Observe(Observation),
}

/// What recovery starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The offset: everything below is durable.
    pub end_offset: Offset,
    /// The state of producers up to it, as the snapshot file has it.
    pub snapshot: Bytes,
    /// The index entries that are not in files yet.
    pub indexes: Vec<IndexPart>,
}

/// A batch that has its offsets, until it is below the high watermark.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Assigned {
    base_offset: Offset,
    end_offset: Offset,
    bytes: u64,
    producer: Option<ProducerStamp>,
    crc: u32,
    leader_epoch: LeaderEpoch,
    placement: Placement,
    /// The producer and its state before.
    producer_before: Option<(ProducerId, Option<ProducerStateEntry>)>,
}

/// A producer that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Waiting {
    waiter: WaiterId,
    acks: Acks,
    answer: AppendAnswer,
}

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

/// The machine.
///
/// Invariants: see [`Partition::check`].
#[derive(Clone, Debug)]
pub struct Partition {
    id: TopicIdPartition,
    config: PartitionConfig,
    role: Role,
    log: LocalLog,
    producers: ProducerState,
    epochs: LeaderEpochCache,
    written: Offset,
    synced: Offset,
    high_watermark: Offset,
    recovery_point: Offset,
    /// Rises with each cut: completions of writes decided before it are void.
    generation: u64,
    /// The end of the sync in flight: at most one.
    syncing: Option<Offset>,
    flush_wanted: bool,
    /// When the oldest record was assigned that is not synced.
    unsynced_since: Option<Monotonic>,
    bytes_since_checkpoint: u64,
    checkpoint: CheckpointState,
    /// Not yet below the high watermark, oldest first.
    assigned: VecDeque<Assigned>,
    /// Sorted by the end they wait for.
    waiting: VecDeque<Waiting>,
    /// Readers that have seen everything readable.
    watching: BTreeSet<WaiterId>,
}

/// At most one checkpoint is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
enum CheckpointState {
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
    /// A replica with the log as it was opened; everything in it is written.
    ///
    /// What is not surely durable is synced with the first event: the page cache of a killed process may hold it alone.
    #[must_use]
    pub fn new(id: TopicIdPartition, config: PartitionConfig, opened: OpenedState) -> Self {
        let end = opened.log.log_end_offset();
        let start = opened.log.log_start_offset();
        let partition = Self {
            id,
            config,
            role: Role::Unassigned,
            written: end,
            synced: opened.durable_end_offset.min(end),
            high_watermark: opened.high_watermark.clamp(start, end),
            recovery_point: opened.durable_end_offset.min(end),
            log: opened.log,
            producers: opened.producers,
            epochs: opened.epochs,
            generation: 0,
            syncing: None,
            flush_wanted: false,
            unsynced_since: None,
            bytes_since_checkpoint: 0,
            checkpoint: if opened.durable_end_offset < end {
                CheckpointState::Wanted
            } else {
                CheckpointState::Idle
            },
            assigned: VecDeque::new(),
            waiting: VecDeque::new(),
            watching: BTreeSet::new(),
        };
        partition.check();
        partition
    }

    /// Takes an event; pushes what is to be done.
    pub fn handle(&mut self, now: Now, event: Event, out: &mut Vec<Effect>) {
        match event {
            Event::BecomeLeader { epoch } => self.become_leader(epoch, out),
            Event::Resign => self.resign(out),
            Event::Append(append) => self.on_append(now, append, out),
            Event::Written { end_offset, generation } => {
                self.on_written(now, end_offset, generation, out);
            }
            Event::WriteFailed { no_space: true, sync_dropped } => {
                self.cut_back(sync_dropped, out);
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
            Event::Forget { waiter } => self.on_forget(waiter),
            Event::MoveLogStart { to } => self.on_move_log_start(to, out),
            Event::Retain(retention) => self.on_retain(now, retention, out),
            Event::Tick => self.on_tick(now, out),
        }
        if cfg!(debug_assertions) {
            self.check();
        }
    }

    /// When the machine wants [`Event::Tick`]: something waits to be synced by age.
    #[must_use]
    pub fn deadline(&self) -> Option<Monotonic> {
        Some(self.unsynced_since? + self.config.flush_interval?)
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
        let assigned_end = self.assigned.back().map(|last| last.end_offset);
        assert!(
            assigned_end.is_none_or(|end| end == self.log.log_end_offset()),
            "the last assigned batch is the last of the log"
        );
        let ends = self.waiting.iter().map(|waiting| waiting.answer.end_offset);
        assert!(ends.is_sorted(), "producers wait in the order of their ends");
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

    /// What this replica is.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
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
    pub fn check_leader(&self, epoch: Option<LeaderEpoch>) -> Result<LeaderEpoch, ErrorCode> {
        match (self.role, epoch) {
            (Role::Offline, _) => Err(ErrorCode::KafkaStorageError),
            (Role::Unassigned, _) => Err(ErrorCode::NotLeaderOrFollower),
            (Role::Leader { epoch: ours, .. }, Some(theirs)) if theirs < ours => {
                Err(ErrorCode::FencedLeaderEpoch)
            }
            (Role::Leader { epoch: ours, .. }, Some(theirs)) if theirs > ours => {
                Err(ErrorCode::UnknownLeaderEpoch)
            }
            (Role::Leader { epoch: ours, .. }, _) => Ok(ours),
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

    /// Up to where a DeleteRecords request deletes: `to`, or all that is committed.
    ///
    /// Errors: OFFSET_OUT_OF_RANGE above the high watermark.
    pub fn deletion_offset(&self, to: Option<Offset>) -> Result<Offset, ErrorCode> {
        let to = to.unwrap_or(self.high_watermark);
        if to > self.high_watermark { Err(ErrorCode::OffsetOutOfRange) } else { Ok(to) }
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
    #[must_use]
    pub fn end_offset_for(&self, epoch: LeaderEpoch) -> Option<EpochEndOffset> {
        self.epochs.end_offset_for(epoch, self.replica_end_offset())
    }

    /// Uses other values from now on.
    pub fn set_config(&mut self, config: PartitionConfig, limits: crate::log::SegmentLimits) {
        self.config = config;
        self.log.set_limits(limits);
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

    fn become_leader(&mut self, epoch: LeaderEpoch, out: &mut Vec<Effect>) {
        match self.role {
            Role::Offline => return,
            Role::Leader { epoch: ours, .. } => {
                assert!(epoch >= ours, "leader epoch went back");
                if epoch == ours {
                    return;
                }
            }
            Role::Unassigned => {}
        }
        let start_offset = self.log.log_end_offset();
        self.epochs.assign(epoch, start_offset);
        self.role = Role::Leader { epoch, start_offset };
        self.advance(out);
    }

    fn resign(&mut self, out: &mut Vec<Effect>) {
        if matches!(self.role, Role::Leader { .. }) {
            self.role = Role::Unassigned;
            self.fail_waiting(ErrorCode::NotLeaderOrFollower, Offset::ZERO, out);
            self.wake_watching(out);
        }
    }

    /// The disk failed: nothing is acknowledged or served any more.
    fn go_offline(&mut self, out: &mut Vec<Effect>) {
        self.role = Role::Offline;
        self.fail_waiting(ErrorCode::KafkaStorageError, Offset::ZERO, out);
        self.wake_watching(out);
    }

    /// Fails the producers whose batch ends behind `end_offset`.
    fn fail_waiting(&mut self, error: ErrorCode, end_offset: Offset, out: &mut Vec<Effect>) {
        let keep = self.waiting.partition_point(|w| w.answer.end_offset <= end_offset);
        for waiting in self.waiting.drain(keep..) {
            refuse(self.id, waiting.waiter, error, out);
        }
    }

    fn wake_watching(&mut self, out: &mut Vec<Effect>) {
        for waiter in std::mem::take(&mut self.watching) {
            out.push(Effect::Readable { waiter, bytes: u64::MAX });
        }
    }

    fn on_append(&mut self, now: Now, append: Append, out: &mut Vec<Effect>) {
        let Append { waiter, acks, batch } = append;
        let header = *batch.header();
        out.push(Effect::Observe(Observation::ProduceReceived {
            partition: self.id,
            acks,
            records: header.record_count,
            bytes: header.size_in_bytes,
        }));
        let epoch = match self.role {
            Role::Leader { epoch, .. } => epoch,
            Role::Unassigned => {
                return refuse(self.id, waiter, ErrorCode::NotLeaderOrFollower, out);
            }
            Role::Offline => return refuse(self.id, waiter, ErrorCode::KafkaStorageError, out),
        };
        match self.producers.check(&header) {
            Ok(ProducerVerdict::Append) => {
                let answer = self.assign(now, epoch, &batch, out);
                self.wait(waiter, acks, answer, out);
                self.maybe_sync(now, out);
            }
            Ok(ProducerVerdict::Duplicate(first)) => {
                let answer = self.duplicate(first, &batch, epoch, out);
                self.wait(waiter, acks, answer, out);
            }
            Err(refusal) => refuse(self.id, waiter, refusal.error_code(), out),
        }
    }

    /// The batch is in the log already: the answer is that of the first time.
    fn duplicate(
        &self,
        first: BatchMetadata,
        batch: &ValidatedBatch,
        leader_epoch: LeaderEpoch,
        out: &mut Vec<Effect>,
    ) -> AppendAnswer {
        crate::mark!("a producer's batch is a duplicate");
        let base_offset = first.first_offset();
        if let Some(producer) = batch.header().producer_stamp() {
            out.push(Effect::Observe(Observation::ProduceDuplicate {
                partition: self.id,
                base_offset,
                producer,
            }));
        }
        AppendAnswer {
            base_offset,
            end_offset: first.last_offset + 1,
            log_append_time: batch.log_append_time().map(|_| first.timestamp),
            log_start_offset: self.log.log_start_offset(),
            leader_epoch,
        }
    }

    /// Gives the batch its place, and has it written there.
    fn assign(
        &mut self,
        now: Now,
        epoch: LeaderEpoch,
        batch: &ValidatedBatch,
        out: &mut Vec<Effect>,
    ) -> AppendAnswer {
        let base_offset = self.log.log_end_offset();
        let stamped = batch.stamp(base_offset, epoch);
        let header = stamped.header;
        let end_offset = header.end_offset();
        let placement = self.log.append(now.wall, &header);
        let (segment, position) = (placement.segment, placement.position);
        if placement.rolled {
            out.push(Effect::Roll { segment });
            out.push(Effect::Observe(Observation::LogRolled {
                partition: self.id,
                base_offset: segment,
            }));
            if self.checkpoint == CheckpointState::Idle {
                self.checkpoint = CheckpointState::Wanted;
            }
        }
        self.bytes_since_checkpoint += u64::from(header.size_in_bytes);
        self.unsynced_since.get_or_insert(now.monotonic);
        self.assigned.push_back(Assigned {
            base_offset,
            end_offset,
            bytes: u64::from(header.size_in_bytes),
            producer: header.producer_stamp(),
            crc: header.crc,
            leader_epoch: epoch,
            placement,
            producer_before: header
                .producer
                .map(|producer| (producer.id, self.producers.entry(producer.id).cloned())),
        });
        self.producers.on_batch(&header, None);
        out.push(Effect::Write {
            segment,
            position,
            slices: stamped.slices,
            base_offset,
            end_offset,
            generation: self.generation,
        });
        AppendAnswer {
            base_offset,
            end_offset,
            log_append_time: batch.log_append_time(),
            log_start_offset: self.log.log_start_offset(),
            leader_epoch: epoch,
        }
    }

    /// Answers at once, or when the end is reached that `acks` asks for.
    fn wait(&mut self, waiter: WaiterId, acks: Acks, answer: AppendAnswer, out: &mut Vec<Effect>) {
        if acks == Acks::None {
            return out.push(Effect::Answer { waiter, result: Ok(answer) });
        }
        let waiting = Waiting { waiter, acks, answer };
        if answer.end_offset <= self.end_for(acks) {
            return self.acknowledge(waiting, out);
        }
        let end = answer.end_offset;
        let at = self.waiting.partition_point(|other| other.answer.end_offset <= end);
        self.waiting.insert(at, waiting);
    }

    /// Up to which end an append with `acks` is answered.
    fn end_for(&self, acks: Acks) -> Offset {
        match acks {
            Acks::None | Acks::Leader => self.replica_end_offset(),
            Acks::All => self.high_watermark,
        }
    }

    fn acknowledge(&self, waiting: Waiting, out: &mut Vec<Effect>) {
        let Waiting { waiter, acks, answer } = waiting;
        out.push(Effect::Observe(Observation::ProduceAcked {
            partition: self.id,
            leader_epoch: answer.leader_epoch,
            base_offset: answer.base_offset,
            end_offset: answer.end_offset,
            acks,
        }));
        out.push(Effect::Answer { waiter, result: Ok(answer) });
    }

    fn on_written(&mut self, now: Now, end: Offset, generation: u64, out: &mut Vec<Effect>) {
        if generation != self.generation {
            crate::mark!("a write completes after its log was cut");
            return;
        }
        assert!(end >= self.written, "writes complete in order");
        let first = self.assigned.partition_point(|batch| batch.end_offset <= self.written);
        for batch in self.assigned.range(first..).take_while(|batch| batch.end_offset <= end) {
            out.push(Effect::Observe(Observation::ProduceAppended {
                partition: self.id,
                leader_epoch: batch.leader_epoch,
                base_offset: batch.base_offset,
                end_offset: batch.end_offset,
                producer: batch.producer,
                crc: batch.crc,
            }));
        }
        self.written = end;
        self.advance(out);
        self.maybe_sync(now, out);
    }

    /// There was no space: takes back what could not be written, so that the log is as before.
    ///
    /// Kinder than Kafka, which takes the directory offline: see `docs/decisions`.
    fn cut_back(&mut self, sync_dropped: bool, out: &mut Vec<Effect>) {
        crate::mark!("an append found no space and was cut back");
        self.generation += 1;
        if sync_dropped {
            self.syncing = None;
            self.drop_syncing_checkpoint();
        }
        let mut later = Vec::new();
        while self.assigned.back().is_some_and(|batch| batch.end_offset > self.written) {
            let batch = self.assigned.pop_back().expect("just seen");
            match batch.producer_before {
                Some((id, before)) => self.producers.restore(id, before, batch.base_offset),
                None => self.producers.restore_end(batch.base_offset),
            }
            self.log.undo(&batch.placement);
            if batch.placement.rolled {
                later.push(batch.placement.segment);
            }
        }
        later.reverse();
        assert_eq!(self.log.log_end_offset(), self.written, "the log ends where it is written");
        if self.written == self.synced {
            self.unsynced_since = None;
        }
        let active = self.log.active();
        out.push(Effect::Cut { segment: active.base_offset, position: active.size, later });
        out.push(Effect::Observe(Observation::LogDirFull { index: self.config.log_dir }));
        self.fail_waiting(ErrorCode::KafkaStorageError, self.written, out);
    }

    fn drop_syncing_checkpoint(&mut self) {
        if matches!(self.checkpoint, CheckpointState::Syncing(_)) {
            self.checkpoint = CheckpointState::Wanted;
        }
    }

    /// Starts a sync where one is due and none is in flight. Whatever comes meanwhile joins the next (group commit).
    fn maybe_sync(&mut self, now: Now, out: &mut Vec<Effect>) {
        let end_offset = self.log.log_end_offset();
        if self.syncing.is_some() || self.role == Role::Offline {
            return;
        }
        if end_offset == self.synced {
            self.flush_wanted = false;
            return;
        }
        let records = end_offset - self.synced;
        let by_count = self.config.flush_messages.is_some_and(|messages| records >= messages);
        let by_age = self.deadline().is_some_and(|deadline| deadline <= now.monotonic);
        let checkpoint_due = self.checkpoint == CheckpointState::Wanted
            || (self.checkpoint == CheckpointState::Idle
                && self.bytes_since_checkpoint >= UNSYNCED_BYTES_MAX);
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

    fn checkpoint(&mut self) -> Checkpoint {
        self.bytes_since_checkpoint = 0;
        let end_offset = self.log.log_end_offset();
        Checkpoint {
            end_offset,
            snapshot: self.producers.encode_snapshot().into(),
            indexes: self.log.unsaved_indexes(),
        }
    }

    fn on_synced(&mut self, now: Now, end: Offset, generation: u64, out: &mut Vec<Effect>) {
        self.syncing = None;
        if self.role == Role::Offline {
            return;
        }
        if generation != self.generation {
            crate::mark!("a sync completes after its log was cut");
            self.drop_syncing_checkpoint();
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
        self.advance(out);
        self.maybe_sync(now, out);
    }

    fn on_checkpoint_saved(&mut self, end_offset: Offset) {
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

    /// Moves the high watermark to where it may be, and answers those who waited for it.
    fn advance(&mut self, out: &mut Vec<Effect>) {
        let from = self.high_watermark;
        let to = self.high_watermark_due();
        if to > from {
            self.high_watermark = to;
            let leader_epoch = match self.role {
                Role::Leader { epoch, .. } => Some(epoch),
                Role::Unassigned | Role::Offline => None,
            };
            out.push(Effect::Observe(Observation::HighWatermarkAdvanced {
                partition: self.id,
                from,
                to,
                is_leader: leader_epoch.is_some(),
                leader_epoch,
                isr: BrokerSet::EMPTY,
                maximal_isr: BrokerSet::EMPTY,
            }));
        }
        self.acknowledge_reached(out);
        let mut bytes = 0;
        while self.assigned.front().is_some_and(|batch| batch.end_offset <= to) {
            bytes += self.assigned.pop_front().expect("just seen").bytes;
        }
        if to > from {
            for waiter in &self.watching {
                out.push(Effect::Readable { waiter: *waiter, bytes: bytes.max(1) });
            }
        }
    }

    fn acknowledge_reached(&mut self, out: &mut Vec<Effect>) {
        let leader_end = self.replica_end_offset();
        let mut index = 0;
        while let Some(waiting) = self.waiting.get(index).copied() {
            if waiting.answer.end_offset > leader_end {
                return;
            }
            if waiting.answer.end_offset <= self.end_for(waiting.acks) {
                self.waiting.remove(index);
                self.acknowledge(waiting, out);
            } else {
                index += 1;
            }
        }
    }

    /// Where the high watermark may be: with one replica, the end that this one may claim. Never lower than it is.
    fn high_watermark_due(&self) -> Offset {
        match self.role {
            Role::Leader { .. } => self.high_watermark.max(self.replica_end_offset()),
            Role::Unassigned | Role::Offline => self.high_watermark,
        }
    }

    fn on_watch(&mut self, waiter: WaiterId, seen_end_offset: Offset, out: &mut Vec<Effect>) {
        let leads = matches!(self.role, Role::Leader { .. });
        if leads && seen_end_offset == self.high_watermark {
            self.watching.insert(waiter);
        } else {
            out.push(Effect::Readable { waiter, bytes: u64::MAX });
        }
    }

    fn on_forget(&mut self, waiter: WaiterId) {
        self.watching.remove(&waiter);
        self.waiting.retain(|waiting| waiting.waiter != waiter);
    }

    fn on_move_log_start(&mut self, to: Offset, out: &mut Vec<Effect>) {
        assert!(to <= self.high_watermark, "nothing above the high watermark is removed");
        let from = self.log.log_start_offset();
        if to <= from {
            return;
        }
        let segments = self.log.move_start(to);
        self.epochs.truncate_from_start(to);
        self.producers.on_log_start_moved(to);
        out.push(Effect::Observe(Observation::LogStartMoved { partition: self.id, from, to }));
        out.push(Effect::RemoveSegments { segments, log_start_offset: to });
        self.wake_watching(out);
    }

    /// Removes whole segments from the old end: those whose newest record is too old, then those beyond the size.
    ///
    /// Nothing above the high watermark goes. The active segment goes only by age, and is closed for it.
    /// Kafka: `UnifiedLog.deleteOldSegments`.
    fn on_retain(&mut self, now: Now, retention: Retention, out: &mut Vec<Effect>) {
        let Some(to) = self.retained_from(now, retention) else { return };
        if to > self.log.active().base_offset {
            let Some(segment) = self.log.roll(now.wall) else { return };
            out.push(Effect::Roll { segment });
            out.push(Effect::Observe(Observation::LogRolled {
                partition: self.id,
                base_offset: segment,
            }));
        }
        self.on_move_log_start(to, out);
    }

    fn retained_from(&self, now: Now, retention: Retention) -> Option<Offset> {
        let mut excess = retention.bytes_max.map_or(0, |max| self.log.size().saturating_sub(max));
        let mut by_age = true;
        let mut to = None;
        let segments = self.log.segments();
        for (index, segment) in segments.iter().enumerate() {
            let next = segments.get(index + 1).map(|next| next.base_offset);
            let end = next.unwrap_or(self.log.log_end_offset());
            by_age =
                by_age && retention.age_max.is_some_and(|age| is_older(segment, now.wall, age));
            let by_size = next.is_some() && segment.size <= excess;
            if end > self.high_watermark || segment.size == 0 || !(by_age || by_size) {
                break;
            }
            excess = excess.saturating_sub(segment.size);
            to = Some(end);
        }
        to
    }

    fn on_tick(&mut self, now: Now, out: &mut Vec<Effect>) {
        for producer in self.producers.remove_expired(now.wall, self.config.producer_expiration) {
            out.push(Effect::Observe(Observation::ProducerExpired {
                partition: self.id,
                producer,
            }));
        }
        self.maybe_sync(now, out);
    }
}

/// Whether the newest record of a segment is older than `age_max`. One without timestamps counts from when it was made.
fn is_older(segment: &Segment, now: Timestamp, age_max: Duration) -> bool {
    let newest = match (&segment.index, segment.max_timestamp()) {
        // Not read yet: nobody knows.
        (None, _) => return false,
        (Some(_), Some(newest)) => newest.timestamp,
        (Some(_), None) => segment.created,
    };
    let age = now.millis().saturating_sub(newest.millis());
    i128::from(age) > i128::try_from(age_max.as_millis()).unwrap_or(i128::MAX)
}

fn refuse(partition: TopicIdPartition, waiter: WaiterId, error: ErrorCode, out: &mut Vec<Effect>) {
    out.push(Effect::Observe(Observation::ProduceFailed { partition, error }));
    out.push(Effect::Answer { waiter, result: Err(error) });
}

#[cfg(test)]
#[path = "partition_tests.rs"]
mod tests;
