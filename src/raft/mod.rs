//! Layer 3: the quorum, as a machine.
//!
//! The metadata log is replicated among voters by Raft as Kafka varies it (KRaft: followers pull). [`Raft`] decides who leads and
//! what is committed; it knows records only as batches of bytes. Today the quorum is one voter: it elects itself, and what it has
//! synced is committed. What is here counts votes and syncs by majority of a [`VoterSet`] and so holds for more.
//!
//! ```text
//!            start                    majority granted                  own epoch's record synced
//! unattached ─────▶ candidate (epoch+1) ────────────▶ leader, not yet active ────────────▶ leader, active
//! ```
//!
//! Absent on purpose, until there are other voters: requests, followers, pre-vote, truncation, timeouts.
//!
//! Kafka: `KafkaRaftClient`, `QuorumState`, `LeaderState`.

mod control;
pub mod driver;
mod leader;
mod message;
mod quorum_state;
mod snapshot;
mod voter_set;

use std::collections::BTreeSet;

use bytes::Bytes;

pub use control::{LeaderChange, encode_leader_change};
pub use message::{QuorumRequest, QuorumResponse};
pub use quorum_state::{QuorumState, QuorumStateError, VotedFor};
pub use snapshot::{Snapshot, SnapshotError, SnapshotId, decode_snapshot, encode_snapshot};
pub use voter_set::{Voter, VoterSet};

use crate::types::{BrokerId, LeaderEpoch, Now, Observation, Offset, Uuid};
use leader::Leader;

/// Something that happened to the quorum's member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The node is up, its log is open.
    Start,
    /// The active leader wants these records in the log. Only an active leader is sent this.
    Append(RecordBatch),
    /// Everything below `end` is in the log.
    Written {
        /// Exclusive.
        end: Offset,
    },
    /// The last write was refused for want of space, and the log is as it was before.
    Refused,
    /// Everything below `end` is durable.
    Synced {
        /// Exclusive.
        end: Offset,
    },
}

/// A batch of data records, as built: offsets and epoch are stamped when it is written.
#[derive(Clone, PartialEq, Eq)]
pub struct RecordBatch {
    /// How many records.
    pub records: u32,
    /// The batch.
    pub bytes: Bytes,
}

impl std::fmt::Debug for RecordBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} records", self.records)
    }
}

/// What is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Batch {
    /// The first batch of an epoch.
    LeaderChange(LeaderChange),
    /// Data.
    Records(RecordBatch),
}

/// What the driver is to do, from top to bottom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Replace the file `quorum-state`, durably, before anything that follows.
    PersistQuorumState(QuorumState),
    /// Append to the log, then send [`Event::Written`].
    Write {
        /// Where it will stand.
        base_offset: Offset,
        /// The epoch to stamp.
        leader_epoch: LeaderEpoch,
        /// What.
        batch: Batch,
    },
    /// Make the log durable, then send [`Event::Synced`] with the end at the start of the sync. One at a time.
    Sync,
    /// This node leads and may act as controller: a record of its own epoch is committed.
    Activate {
        /// The epoch.
        epoch: LeaderEpoch,
    },
    /// Everything below is committed.
    Commit {
        /// Exclusive.
        high_watermark: Offset,
    },
    /// Tell the observer.
    Observe(Observation),
}

/// Who leads the quorum, as far as a member knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuorumLeader {
    /// The latest epoch.
    pub epoch: LeaderEpoch,
    /// Its leader: who may not be active yet, and may be gone already.
    pub leader: Option<BrokerId>,
}

/// What a member's log holds when the node starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogEnd {
    /// The end of the log. Exclusive. All of it is durable.
    pub end_offset: Offset,
    /// The epoch of its last batch, or of the snapshot it begins with.
    pub latest_epoch: Option<LeaderEpoch>,
}

/// What this member is in the present epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Role {
    /// It knows no leader and asks for no votes.
    Unattached,
    /// It asks for votes.
    Candidate { granted: BTreeSet<BrokerId> },
    /// It was elected.
    Leader(Leader),
}

/// One member of the quorum.
#[derive(Clone, Debug)]
pub struct Raft {
    node: BrokerId,
    directory_id: Uuid,
    voters: VoterSet,
    /// The epoch, and whom it gave its vote in it; as persisted.
    epoch: LeaderEpoch,
    voted_for: Option<VotedFor>,
    role: Role,
    /// The end of what was decided to be in the log.
    assigned_end: Offset,
    /// The end of what is in the log.
    written_end: Offset,
    /// The end of what is durable.
    synced_end: Offset,
    is_syncing: bool,
    high_watermark: Option<Offset>,
}

impl Raft {
    /// A member whose last process left `state` (`None`: it never took part) and `log`.
    ///
    /// The epoch never goes back, not even below what the log shows: a lost quorum state must not make two leaders of one epoch.
    #[must_use]
    pub fn new(
        node: BrokerId,
        directory_id: Uuid,
        voters: VoterSet,
        state: Option<QuorumState>,
        log: LogEnd,
    ) -> Self {
        let first = LeaderEpoch::new(0);
        let state_epoch = state.as_ref().map_or(first, |state| state.epoch);
        let epoch = state_epoch.max(log.latest_epoch.unwrap_or(first));
        let voted_for =
            state.filter(|state| state.epoch == epoch).and_then(|state| state.voted_for);
        Self {
            node,
            directory_id,
            voters,
            epoch,
            voted_for,
            role: Role::Unattached,
            assigned_end: log.end_offset,
            written_end: log.end_offset,
            synced_end: log.end_offset,
            is_syncing: false,
            high_watermark: None,
        }
    }

    /// The present epoch.
    #[must_use]
    pub fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    /// Who leads in the present epoch, as far as known.
    #[must_use]
    pub fn leader(&self) -> QuorumLeader {
        let leader = matches!(self.role, Role::Leader(_)).then_some(self.node);
        QuorumLeader { epoch: self.epoch, leader }
    }

    /// Who votes.
    #[must_use]
    pub fn voters(&self) -> &VoterSet {
        &self.voters
    }

    /// The offset that the next record gets.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.assigned_end
    }

    /// The end of what is known to be committed, exclusive; `None` until a record of this leader's own epoch is: what it
    /// inherited may look replicated and still be replaced (Raft, figure 8).
    #[must_use]
    pub fn high_watermark(&self) -> Option<Offset> {
        self.high_watermark
    }

    /// Whether this member leads and has a record of its own epoch committed.
    #[must_use]
    pub fn is_active_leader(&self) -> bool {
        matches!(&self.role, Role::Leader(leader) if leader.is_active)
    }

    /// Takes an event, and says what is to be done about it.
    ///
    /// ```
    /// use ottla::raft::{Effect, Event, LogEnd, Raft, Voter, VoterSet};
    /// use ottla::types::{BrokerId, Now, Offset, Uuid};
    ///
    /// let node = BrokerId::new(1);
    /// let voters = VoterSet::new([Voter::new(node, Uuid::ZERO)]);
    /// let log = LogEnd { end_offset: Offset::ZERO, latest_epoch: None };
    /// let mut raft = Raft::new(node, Uuid::ZERO, voters, None, log);
    /// let mut out = Vec::new();
    /// raft.handle(Now::default(), Event::Start, &mut out);
    /// assert!(matches!(out[0], Effect::PersistQuorumState(_)));
    /// ```
    pub fn handle(&mut self, _now: Now, event: Event, out: &mut Vec<Effect>) {
        match event {
            Event::Start => self.become_candidate(out),
            Event::Append(batch) => self.on_append(batch, out),
            Event::Written { end } => self.on_written(end, out),
            Event::Refused => self.assigned_end = self.written_end,
            Event::Synced { end } => self.on_synced(end, out),
        }
        if cfg!(debug_assertions) {
            self.check();
        }
    }

    /// A vote for itself in the next epoch: durable before it counts, so that it is never given twice.
    fn become_candidate(&mut self, out: &mut Vec<Effect>) {
        assert!(matches!(self.role, Role::Unattached), "a member starts once");
        assert!(self.voters.contains(self.node), "only a voter stands for election");
        self.epoch = self.epoch.next();
        self.voted_for = Some(VotedFor { voter: self.node, directory_id: self.directory_id });
        self.role = Role::Candidate { granted: BTreeSet::from([self.node]) };
        self.count_votes(out);
        // Where its own vote elected it, leader and vote were persisted in one.
        if matches!(self.role, Role::Candidate { .. }) {
            out.push(Effect::PersistQuorumState(self.quorum_state()));
        }
    }

    fn count_votes(&mut self, out: &mut Vec<Effect>) {
        let Role::Candidate { granted } = &self.role else { return };
        if granted.len() >= self.voters.majority() {
            let granted = granted.clone();
            self.become_leader(&granted, out);
        }
    }

    fn become_leader(&mut self, granted: &BTreeSet<BrokerId>, out: &mut Vec<Effect>) {
        let mut leader = Leader::new(self.assigned_end);
        leader.on_synced(self.node, self.synced_end);
        self.role = Role::Leader(leader);
        out.push(Effect::PersistQuorumState(self.quorum_state()));
        let of = |voter: &Voter| granted.contains(&voter.id).then_some(*voter);
        let batch = Batch::LeaderChange(LeaderChange {
            leader: self.node,
            voters: self.voters.iter().copied().collect(),
            granting_voters: self.voters.iter().filter_map(of).collect(),
        });
        self.write(1, batch, out);
    }

    fn quorum_state(&self) -> QuorumState {
        let leader = matches!(self.role, Role::Leader(_)).then_some(self.node);
        QuorumState { leader, epoch: self.epoch, voted_for: self.voted_for }
    }

    fn on_append(&mut self, batch: RecordBatch, out: &mut Vec<Effect>) {
        assert!(self.is_active_leader(), "only the active leader appends");
        assert!(batch.records > 0, "a batch has records");
        self.write(batch.records, Batch::Records(batch), out);
    }

    fn write(&mut self, records: u32, batch: Batch, out: &mut Vec<Effect>) {
        let base_offset = self.assigned_end;
        self.assigned_end = base_offset + u64::from(records);
        out.push(Effect::Write { base_offset, leader_epoch: self.epoch, batch });
    }

    fn on_written(&mut self, end: Offset, out: &mut Vec<Effect>) {
        assert!(end >= self.written_end, "the log never shrinks under its leader");
        self.written_end = end;
        self.sync(out);
    }

    /// One sync in flight: what is written meanwhile shares the next one.
    fn sync(&mut self, out: &mut Vec<Effect>) {
        if !self.is_syncing && self.synced_end < self.written_end {
            self.is_syncing = true;
            out.push(Effect::Sync);
        }
    }

    fn on_synced(&mut self, end: Offset, out: &mut Vec<Effect>) {
        assert!(end <= self.written_end, "nothing is durable that was not written");
        self.is_syncing = false;
        self.synced_end = self.synced_end.max(end);
        self.sync(out);
        let Role::Leader(leader) = &mut self.role else { return };
        leader.on_synced(self.node, self.synced_end);
        let Some(committed) = leader.committed_end(&self.voters) else { return };
        if self.high_watermark.is_some_and(|known| known >= committed) {
            return;
        }
        self.high_watermark = Some(committed);
        if !leader.is_active {
            leader.is_active = true;
            let (broker, epoch) = (self.node, self.epoch);
            out.push(Effect::Observe(Observation::ControllerElected { broker, epoch }));
            out.push(Effect::Activate { epoch });
        }
        out.push(Effect::Commit { high_watermark: committed });
    }

    /// The invariants of the machine, checked after every event in debug and simulated builds.
    fn check(&self) {
        assert!(self.synced_end <= self.written_end, "durable before it was written");
        assert!(self.written_end <= self.assigned_end, "written before it was decided");
        if let Some(high_watermark) = self.high_watermark {
            assert!(high_watermark <= self.synced_end, "a single voter commits what it synced");
        }
    }
}

#[cfg(test)]
mod tests;
