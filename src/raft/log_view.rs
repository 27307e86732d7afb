//! What a member knows of its own log: how far it reaches, which epoch wrote what, which snapshots there are.
//!
//! Kafka: `KafkaMetadataLog`, `ReplicatedLog.validateOffsetAndEpoch`, `truncateToEndOffset`.

use std::collections::BTreeMap;

use super::SnapshotId;
use crate::log::{EpochEndOffset, LeaderEpochCache};
use crate::types::{LeaderEpoch, Offset};

/// What a member's log holds when the node starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogState {
    /// The first offset. Where it is not 0, a snapshot ends exactly there.
    pub start_offset: Offset,
    /// The end of the log. Exclusive. All of it is durable.
    pub end_offset: Offset,
    /// Which epoch began where.
    pub epochs: LeaderEpochCache,
    /// The snapshots, and the size of each file in bytes.
    pub snapshots: BTreeMap<SnapshotId, u64>,
}

/// How another log's end relates to this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Position {
    /// It is a prefix of this one.
    Valid,
    /// The two part at or before this end of an epoch.
    Diverging(EpochEndOffset),
    /// It ends before this one begins: the snapshot comes first.
    Snapshot(SnapshotId),
}

/// A snapshot that only names the voters: never sent, every node was formatted with its own (Kafka: `BOOTSTRAP_SNAPSHOT_ID`).
const BOOTSTRAP_SNAPSHOT: SnapshotId =
    SnapshotId { end_offset: Offset::ZERO, epoch: LeaderEpoch::new(0) };

/// See the module.
///
/// Invariants: `start ≤ synced_end ≤ written_end ≤ assigned_end`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LogView {
    pub(super) start: Offset,
    epochs: LeaderEpochCache,
    pub(super) snapshots: BTreeMap<SnapshotId, u64>,
    /// The end of what was decided to be in the log.
    pub(super) assigned_end: Offset,
    /// The end of what is in the log.
    pub(super) written_end: Offset,
    /// The end of what is durable.
    pub(super) synced_end: Offset,
    pub(super) is_syncing: bool,
    /// A cut or a replacement of the whole log is under way.
    pub(super) is_changing: bool,
}

impl LogView {
    pub(super) fn new(state: LogState) -> Self {
        let LogState { start_offset, end_offset, epochs, snapshots } = state;
        Self {
            start: start_offset,
            epochs,
            snapshots,
            assigned_end: end_offset,
            written_end: end_offset,
            synced_end: end_offset,
            is_syncing: false,
            is_changing: false,
        }
    }

    /// Whether all that was decided is done and durable.
    pub(super) fn is_settled(&self) -> bool {
        self.synced_end == self.assigned_end && !self.is_syncing && !self.is_changing
    }

    /// The epoch of the last record, also where only a snapshot is left of it; 0 in an empty log.
    pub(super) fn last_epoch(&self) -> LeaderEpoch {
        let latest = self.epochs.latest().map(|latest| latest.epoch);
        let snapshot = self.latest_snapshot().map(|snapshot| snapshot.epoch);
        latest.or(snapshot).unwrap_or(LeaderEpoch::new(0))
    }

    pub(super) fn latest_snapshot(&self) -> Option<SnapshotId> {
        self.snapshots.keys().next_back().copied()
    }

    pub(super) fn earliest_snapshot(&self) -> Option<SnapshotId> {
        self.snapshots.keys().next().copied()
    }

    /// The size of a snapshot that may be sent, in bytes.
    pub(super) fn sendable_snapshot(&self, id: SnapshotId) -> Option<u64> {
        self.snapshots.get(&id).copied().filter(|_| id != BOOTSTRAP_SNAPSHOT)
    }

    /// Notes that records from `base` to `end` of `epoch` are to be written.
    pub(super) fn assign(&mut self, epoch: LeaderEpoch, base: Offset, end: Offset) {
        assert_eq!(base, self.assigned_end, "the log has no holes");
        assert!(end > base, "a batch has records");
        self.epochs.assign(epoch, base);
        self.assigned_end = end;
    }

    pub(super) fn written(&mut self, end: Offset) {
        assert!(end >= self.written_end, "a write makes the log longer");
        self.written_end = end;
    }

    /// What was not written will not be.
    pub(super) fn refused(&mut self) {
        self.assigned_end = self.written_end;
        self.epochs.truncate_from_end(self.written_end);
    }

    pub(super) fn truncated(&mut self, end: Offset) {
        self.is_changing = false;
        self.epochs.truncate_from_end(end);
        (self.assigned_end, self.written_end) = (end, end);
        self.synced_end = self.synced_end.min(end);
    }

    /// The log is empty and begins where the snapshot ends.
    pub(super) fn replaced(&mut self, snapshot: SnapshotId, size: u64) {
        let end = snapshot.end_offset;
        self.epochs.clear();
        self.snapshots = BTreeMap::from([(snapshot, size)]);
        (self.start, self.assigned_end, self.written_end, self.synced_end) = (end, end, end, end);
        self.is_changing = false;
    }

    /// Moves the start up to the end of `snapshot` and forgets those before it.
    pub(super) fn trimmed(&mut self, snapshot: SnapshotId) {
        if self.start < snapshot.end_offset {
            self.start = snapshot.end_offset;
            self.epochs.truncate_from_start(snapshot.end_offset);
        }
        self.snapshots = self.snapshots.split_off(&snapshot);
    }

    /// How a log that ends at `offset`, its last record written in `epoch`, relates to this one.
    pub(super) fn locate(&self, offset: Offset, epoch: LeaderEpoch) -> Position {
        let latest = self.latest_snapshot().filter(|latest| *latest != BOOTSTRAP_SNAPSHOT);
        if let Some(latest) = latest.filter(|_| offset == Offset::ZERO) {
            // For an empty log the snapshot is always the shorter way.
            return Position::Snapshot(latest);
        }
        if offset == Offset::ZERO && self.start == Offset::ZERO {
            return Position::Valid;
        }
        if let (Some(earliest), Some(latest)) = (self.earliest_snapshot(), latest)
            && (offset < self.start
                || (offset == self.start && epoch != earliest.epoch)
                || epoch < earliest.epoch)
        {
            return Position::Snapshot(latest);
        }
        let end = self.end_of(epoch);
        if end.epoch != epoch || end.end_offset < offset {
            return Position::Diverging(end);
        }
        Position::Valid
    }

    /// Where `epoch` ends here; answered with the next smaller epoch where it wrote nothing.
    fn end_of(&self, epoch: LeaderEpoch) -> EpochEndOffset {
        let Some(end) = self.epochs.end_offset_for(epoch, self.written_end) else {
            return EpochEndOffset { epoch: self.last_epoch(), end_offset: self.written_end };
        };
        match self.earliest_snapshot() {
            // The epoch lies below all that the log shows: the snapshot knows the true one.
            Some(snapshot) if snapshot.end_offset == end.end_offset && end.epoch == epoch => {
                EpochEndOffset { epoch: snapshot.epoch, end_offset: snapshot.end_offset }
            }
            Some(_) | None => end,
        }
    }

    /// Where to cut this log when the leader says that the epoch `leader.epoch` ends there in its own.
    pub(super) fn truncation_offset(&self, leader: EpochEndOffset) -> Offset {
        if leader.epoch == LeaderEpoch::new(0) {
            return leader.end_offset.min(self.written_end);
        }
        let local = self.end_of(leader.epoch);
        if local.epoch == leader.epoch {
            local.end_offset.min(leader.end_offset)
        } else {
            local.end_offset
        }
    }

    pub(super) fn check(&self) {
        assert!(self.start <= self.synced_end, "the log begins behind its end");
        assert!(self.synced_end <= self.written_end, "durable before it was written");
        assert!(self.written_end <= self.assigned_end, "written before it was decided");
    }
}
