//! What happens to a partition's replica, and what it has done about it: plain data.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::{FollowerState, IsrAnswer, IsrProposal, LeaderState};
use crate::log::{
    IndexPart, LeaderEpochCache, ProducerState, SegmentLimits, TimestampOffset, ValidatedBatch,
};
use crate::protocol::record_batch::RawBatch;
use crate::types::{
    Acks, BrokerEpoch, BrokerId, ErrorCode, LeaderEpoch, Observation, Offset, Timestamp,
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
    /// `node.id`: which of the replicas this one is.
    pub node: BrokerId,
    /// `min.insync.replicas`. In effect never more than there are replicas.
    pub min_insync_replicas: u32,
    /// `replica.lag.time.max.ms`: a follower that was not caught up for so long leaves the ISR.
    pub lag_time_max: Duration,
}

impl PartitionConfig {
    pub(super) fn flushes_each(&self) -> bool {
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
    /// It fetches from the leader.
    Follower {
        /// Whom it follows; `None` while nobody leads.
        leader: Option<BrokerId>,
        /// The leader's term.
        epoch: LeaderEpoch,
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
    /// The controller made this replica leader, or committed a new version of its term.
    BecomeLeader(LeaderState),
    /// The controller made another replica leader, or none.
    BecomeFollower(FollowerState),
    /// This replica neither leads nor follows any longer: it is deleted, or the node stops.
    Resign,
    /// A follower fetched: it passed [`super::Partition::check_follower_fetch`] in the same moment.
    FollowerFetched(FollowerFetched),
    /// The controller answered a proposal.
    IsrAnswered {
        /// The proposal.
        proposal: IsrProposal,
        /// The answer.
        answer: IsrAnswer,
    },
    /// The brokers that may join the ISR, and their incarnations, are these now.
    BrokerEpochs(BTreeMap<BrokerId, BrokerEpoch>),
    /// A follower's fetch was answered: it passed [`super::Partition::check_follower_append`] in the same moment.
    AppendAsFollower(FollowedBatches),
    /// A follower's log is cut: it passed [`super::Partition::check_follower`], and is settled, in the same moment.
    Truncate(Truncation),
    /// The topic's configuration changed.
    Configure {
        /// The values that the machine uses.
        config: PartitionConfig,
        /// When segments are closed.
        limits: SegmentLimits,
    },
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
    /// A follower that has seen the log up to `seen_end_offset` waits for more.
    WatchLogEnd {
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

/// A fetch of a follower, as far as it tells of its progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowerFetched {
    /// The follower.
    pub replica: BrokerId,
    /// Its incarnation.
    pub broker_epoch: Option<BrokerEpoch>,
    /// The leader epoch it believes in.
    pub current_leader_epoch: Option<LeaderEpoch>,
    /// Everything below it has.
    pub fetch_offset: Offset,
    /// The start of its log.
    pub log_start_offset: Offset,
}

/// What a follower got, checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FollowedBatches {
    /// Whole batches with true checksums.
    pub batches: Vec<RawBatch>,
    /// The leader's high watermark.
    pub leader_high_watermark: Option<Offset>,
    /// The first offset of the leader's log.
    pub leader_log_start_offset: Option<Offset>,
}

/// How a follower's log is cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Truncation {
    /// No record goes, only what the epoch cache says of epochs without records.
    EpochsOnly,
    /// The records from `to` on go.
    At {
        /// The end of the last batch that stays.
        to: Offset,
        /// The segment that becomes the last.
        segment: Offset,
        /// Bytes of it that stay.
        position: u64,
        /// The largest timestamp of what stays in it.
        max_timestamp: Option<TimestampOffset>,
        /// The producers as of `to`.
        producers: ProducerState,
    },
    /// All goes; the log is empty and begins there.
    FullyAndStartAt(Offset),
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
    /// Save the leader epochs, durably, before what follows is written.
    SaveEpochs {
        /// All of them.
        epochs: LeaderEpochCache,
        /// Counts these effects, for those who wait for one.
        version: u64,
    },
    /// Cut the log for good: durable before what follows is written. Before the cut nothing may stand on the disk that
    /// vouches for what goes: producer snapshots, the recovery point.
    Truncate {
        /// The segment that becomes the last.
        segment: Offset,
        /// Bytes that stay.
        position: u64,
        /// The segments that go, rising.
        later: Vec<Offset>,
        /// Where the log ends now.
        end_offset: Offset,
        /// The checkpointed recovery point may lie beyond the cut.
        lowers_recovery_point: bool,
        /// Counts cuts, for those who wait for one.
        number: u64,
    },
    /// Remove all segments and begin an empty one, durable before what follows is written.
    Restart {
        /// The segments that go, rising.
        segments: Vec<Offset>,
        /// The base offset of the new one, where the log starts now.
        start_offset: Offset,
        /// Counts cuts, for those who wait for one.
        number: u64,
    },
    /// Ask the controller for other in-sync replicas.
    ProposeIsr(IsrProposal),
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
