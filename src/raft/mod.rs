//! Layer 3: the quorum, as a machine.
//!
//! The metadata log is replicated among voters by Raft as Kafka varies it (KRaft: followers pull). [`Raft`] decides who leads and
//! what is committed; it knows records only as batches of bytes. Nodes that do not vote follow in the same way: observers.
//!
//! ```text
//!                 silence              majority would vote            majority granted
//! unattached ◀──────────▶ prospective ───────────────────▶ candidate ─────────────────▶ leader ──▶ active
//!     ▲  ▲                  ▲    │ refused                     │ refused, or timed out    │ (own epoch's record committed)
//!     │  └── higher epoch   │    ▼                             ▼                          │ nobody fetches, or the node ends
//!     │   (from any state)  └─ follower                   prospective                     ▼
//!     └────────────────────────────────────────────────────────────────────────────── resigned
//! ```
//!
//! Any state becomes follower where it hears of the leader of its own epoch or a later one. A lone voter elects itself at once.
//!
//! The files: `election.rs` who leads; `leader.rs` what a leader knows; `fetch.rs` how it answers those who pull;
//! `follower.rs` pulling; `snapshot_fetch.rs` both sides of sending snapshots (KIP-630).
//!
//! Absent on purpose: changing the voters (KIP-853).
//!
//! Kafka: `KafkaRaftClient`, `QuorumState`, `LeaderState`; pre-vote is KIP-996.

mod config;
mod control;
pub mod driver;
mod election;
mod fetch;
mod follower;
mod leader;
mod log_view;
mod message;
mod peers;
mod quorum_state;
mod snapshot;
mod snapshot_fetch;
mod voter_set;
mod votes;

use std::collections::BTreeSet;

use bytes::Bytes;
use rand::rngs::StdRng;

pub use config::RaftConfig;
pub use control::{LeaderChange, encode_leader_change};
pub use log_view::LogState;
pub use message::{METADATA_TOPIC, QuorumRequest, QuorumResponse};
pub use peers::RequestId;
pub use quorum_state::{QuorumState, QuorumStateError, VotedFor};
pub use snapshot::{Snapshot, SnapshotError, SnapshotId, decode_snapshot, encode_snapshot};
pub use voter_set::{Voter, VoterSet};

use crate::protocol::messages::{FetchResponse, FetchSnapshotResponse};
use crate::types::{BrokerId, LeaderEpoch, Monotonic, Now, Observation, Offset, QuorumRole};
use follower::Follower;
use leader::Leader;
use log_view::LogView;
use peers::Peers;
use votes::Election;

/// Whom to answer: the driver's number for a request. Rises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token(pub u64);

/// Something that happened to the quorum's member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The node is up, its log is open.
    Start,
    /// The controller of this node wants these records in the log. Nothing comes of it where it is the active leader no longer.
    Append(RecordBatch),
    /// Everything below `end` is in the log.
    Written {
        /// Exclusive.
        end: Offset,
    },
    /// The last write was refused for want of space, and the log is as it was before.
    Refused,
    /// A sync of everything written begins: nothing more joins the group, so it is offered to those who wait for it.
    Syncing,
    /// Everything below `end` is durable.
    Synced {
        /// Exclusive.
        end: Offset,
    },
    /// The log was cut, and this is its end now.
    Truncated {
        /// Exclusive.
        end: Offset,
    },
    /// Another member, or a tool, asks.
    Request {
        /// For the reply.
        token: Token,
        /// What.
        request: QuorumRequest,
    },
    /// A member answered what it was asked; `None`: it did not.
    Response {
        /// Who.
        from: BrokerId,
        /// The number that [`Effect::Send`] gave.
        id: RequestId,
        /// What.
        response: Option<QuorumResponse>,
    },
    /// The deadline came.
    Tick,
    /// A snapshot of what is committed here was written.
    SnapshotSaved {
        /// Which.
        id: SnapshotId,
        /// The size of the file, in bytes.
        size: u64,
    },
    /// The snapshot that was fetched is durable, it is the only one, and the log is empty and begins at its end.
    SnapshotInstalled {
        /// Which.
        id: SnapshotId,
        /// The size of the file, in bytes.
        size: u64,
    },
    /// The snapshot that was fetched is damaged. Nothing changed.
    SnapshotRefused,
    /// The leader shall step down: its node cannot act as controller.
    Resign,
    /// The node is about to end: a leader steps down, and nobody stands for election here any more.
    Shutdown,
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
#[derive(Clone, PartialEq, Eq)]
pub enum Batch {
    /// The first batch of an epoch.
    LeaderChange(LeaderChange),
    /// Data.
    Records(RecordBatch),
    /// One batch or more from the leader's log, held against their checksums: they keep offsets and epochs.
    Replicated {
        /// The batches, one after another.
        bytes: Bytes,
        /// The offset after the last record.
        end_offset: Offset,
    },
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::LeaderChange(change) => write!(f, "leader change to {}", change.leader),
            Self::Records(batch) => batch.fmt(f),
            Self::Replicated { end_offset, .. } => write!(f, "replicated up to {end_offset}"),
        }
    }
}

/// An answer, and where the rest of it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// All of it.
    Whole(QuorumResponse),
    /// Whole batches of the log are to be put into the only partition: from the one that holds `from` on, below `to`, about
    /// `max_bytes`, at least one.
    Records {
        /// Without the records.
        response: FetchResponse,
        /// Inclusive.
        from: Offset,
        /// Exclusive.
        to: Offset,
        /// Bytes.
        max_bytes: usize,
    },
    /// Bytes of a snapshot are to be put into the only partition: from `position` on, up to `max_bytes`.
    SnapshotPart {
        /// Without the bytes.
        response: FetchSnapshotResponse,
        /// The snapshot.
        id: SnapshotId,
        /// In its file.
        position: u64,
        /// Bytes.
        max_bytes: usize,
    },
}

/// What the driver is to do, from top to bottom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Replace the file `quorum-state`, durably, before anything that follows.
    PersistQuorumState(QuorumState),
    /// Append to the log, then send [`Event::Written`] or [`Event::Refused`]; where a part was written, both.
    Write {
        /// Where it will stand.
        base_offset: Offset,
        /// The epoch to stamp, or that of the last batch of those that are replicated.
        leader_epoch: LeaderEpoch,
        /// What.
        batch: Batch,
    },
    /// Make the log durable: [`Event::Syncing`], then [`Event::Synced`] with the end at the start of the sync. One at a time.
    Sync,
    /// Cut the log to the batches that end at or before `to`, durably, then send [`Event::Truncated`].
    Truncate {
        /// Exclusive.
        to: Offset,
    },
    /// Ask another voter; its answer, or that there is none, comes as [`Event::Response`].
    Send {
        /// Whom.
        to: BrokerId,
        /// For the response.
        id: RequestId,
        /// What.
        request: QuorumRequest,
    },
    /// Answer who asked.
    Reply {
        /// Which request.
        token: Token,
        /// What.
        reply: Reply,
    },
    /// Keep a part of a snapshot that is being fetched. At position 0 everything kept before is dropped.
    KeepSnapshotPart {
        /// In the snapshot's file.
        position: u64,
        /// What.
        bytes: Bytes,
    },
    /// All parts are there: make them the only snapshot, durably, and the log empty from its end on. Then send
    /// [`Event::SnapshotInstalled`] or [`Event::SnapshotRefused`].
    InstallSnapshot {
        /// Which.
        id: SnapshotId,
    },
    /// Move the start of the log to the end of this snapshot, and remove the snapshots before it.
    TrimLog {
        /// The oldest snapshot to keep.
        to: SnapshotId,
    },
    /// This node leads and may act as controller: a record of its own epoch is committed.
    Activate {
        /// The epoch.
        epoch: LeaderEpoch,
    },
    /// This node may act as controller no longer.
    Deactivate,
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

/// What this member is in the present epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Role {
    /// It knows no leader and asks for no votes. A voter does so when the time is over.
    Unattached { election_deadline: Monotonic },
    /// It asks whether it would be elected, and goes on following in thought (KIP-996).
    Prospective(Election),
    /// It asks for votes.
    Candidate(Election),
    /// It pulls from the leader of the epoch.
    Follower(Follower),
    /// It was elected.
    Leader(Leader),
    /// It led this epoch and will not again: it stepped down, or was restarted.
    Resigned(Resigned),
}

/// What a leader that stepped down still has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Resigned {
    /// When it becomes an ordinary voter of the next epoch.
    election_deadline: Monotonic,
    /// The voters that do not know yet.
    waiting: BTreeSet<BrokerId>,
    /// The voters, the one with the longest log first.
    successors: Vec<Voter>,
}

/// One member of the quorum, or an observer of it.
///
/// Invariants: see `check`.
#[derive(Debug)]
pub struct Raft {
    config: RaftConfig,
    rng: StdRng,
    epoch: LeaderEpoch,
    /// Who leads in the epoch, as far as known. Never another once it is known.
    leader: Option<BrokerId>,
    voted_for: Option<VotedFor>,
    /// What the file says of these three.
    persisted: Option<QuorumState>,
    role: Role,
    log: LogView,
    /// The end of what this node knows to be committed. Never goes back.
    high_watermark: Option<Offset>,
    peers: Peers,
    /// Which voter an observer asks next, where it does not know better.
    next_voter: usize,
    is_ending: bool,
}

impl Raft {
    /// A member whose last process left `state` (`None`: it never took part) and `log`.
    ///
    /// The epoch never goes back, not even below what the log shows: a lost quorum state must not make two leaders of one epoch.
    #[must_use]
    pub fn new(config: RaftConfig, rng: StdRng, state: Option<QuorumState>, log: LogState) -> Self {
        let log = LogView::new(log);
        let known = state.clone().unwrap_or(QuorumState {
            leader: None,
            epoch: LeaderEpoch::new(0),
            voted_for: None,
        });
        let is_current = known.epoch >= log.last_epoch();
        let committed = log.latest_snapshot().map(|snapshot| snapshot.end_offset);
        let first_voter = usize::try_from(config.node.value()).unwrap_or(0);
        Self {
            epoch: known.epoch.max(log.last_epoch()),
            leader: known.leader.filter(|_| is_current),
            voted_for: known.voted_for.filter(|_| is_current),
            persisted: state,
            role: Role::Unattached { election_deadline: Monotonic::FAR_FUTURE },
            log,
            high_watermark: committed.filter(|committed| *committed > Offset::ZERO),
            peers: Peers::default(),
            next_voter: first_voter,
            is_ending: false,
            config,
            rng,
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
        QuorumLeader { epoch: self.epoch, leader: self.leader }
    }

    /// What this member is.
    #[must_use]
    pub fn role(&self) -> QuorumRole {
        match &self.role {
            Role::Unattached { .. } | Role::Follower(_) if !self.config.is_voter => {
                QuorumRole::Observer
            }
            Role::Unattached { .. } => QuorumRole::Unattached,
            Role::Prospective(_) => QuorumRole::Prospective,
            Role::Candidate(_) => QuorumRole::Candidate,
            Role::Follower(_) => QuorumRole::Follower,
            Role::Leader(_) => QuorumRole::Leader,
            Role::Resigned(_) => QuorumRole::Resigned,
        }
    }

    /// Who votes.
    #[must_use]
    pub fn voters(&self) -> &VoterSet {
        &self.config.voters
    }

    /// The first offset of the log.
    #[must_use]
    pub fn log_start_offset(&self) -> Offset {
        self.log.start
    }

    /// The offset that the next record gets.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.log.assigned_end
    }

    /// The end of what is known to be committed, exclusive. A new leader's does not move until a record of its own epoch is
    /// committed: what it inherited may look replicated and still be replaced (Raft, figure 8).
    #[must_use]
    pub fn high_watermark(&self) -> Option<Offset> {
        self.high_watermark
    }

    /// The snapshot that covers most.
    #[must_use]
    pub fn latest_snapshot(&self) -> Option<SnapshotId> {
        self.log.latest_snapshot()
    }

    /// Whether all that this epoch's leader said to be committed is here, so that what is here is not long past.
    #[must_use]
    pub fn is_caught_up(&self) -> bool {
        match &self.role {
            Role::Leader(leader) => leader.is_active,
            Role::Follower(follower) => {
                follower.leader_high_watermark.is_some_and(|end| Some(end) <= self.high_watermark)
            }
            Role::Unattached { .. }
            | Role::Prospective(_)
            | Role::Candidate(_)
            | Role::Resigned(_) => false,
        }
    }

    /// Whether this member leads and has a record of its own epoch committed.
    #[must_use]
    pub fn is_active_leader(&self) -> bool {
        matches!(&self.role, Role::Leader(leader) if leader.is_active)
    }

    /// Whether this member has nothing more to say before it ends.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        match &self.role {
            Role::Resigned(resigned) => resigned.waiting.is_empty(),
            Role::Leader(_) => false,
            Role::Unattached { .. }
            | Role::Prospective(_)
            | Role::Candidate(_)
            | Role::Follower(_) => true,
        }
    }

    /// Takes an event, and says what is to be done about it.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ottla::raft::{Effect, Event, LogState, Raft, RaftConfig, Voter, VoterSet};
    /// use ottla::types::{BrokerId, Now, Uuid};
    /// use rand::SeedableRng;
    ///
    /// let node = BrokerId::new(1);
    /// let config = RaftConfig {
    ///     node,
    ///     directory_id: Uuid::ZERO,
    ///     cluster_id: "c".to_owned(),
    ///     is_voter: true,
    ///     voters: VoterSet::new([Voter::new(node, Uuid::ZERO)]),
    ///     election_timeout: Duration::from_secs(1),
    ///     election_backoff_max: Duration::from_secs(1),
    ///     fetch_timeout: Duration::from_secs(2),
    ///     retry_backoff: Duration::from_millis(20),
    /// };
    /// let rng = rand::rngs::StdRng::seed_from_u64(1);
    /// let mut raft = Raft::new(config, rng, None, LogState::default());
    /// let mut out = Vec::new();
    /// raft.handle(Now::default(), Event::Start, &mut out);
    /// assert!(matches!(out[0], Effect::PersistQuorumState(_)));
    /// ```
    pub fn handle(&mut self, now: Now, event: Event, out: &mut Vec<Effect>) {
        // Time first for a leader: one that was asleep must not act on what it finds when it wakes.
        self.check_quorum(now, out);
        match event {
            Event::Start => self.on_start(now, out),
            Event::Append(batch) => self.on_append(batch, out),
            Event::Written { end } => self.on_written(end, out),
            Event::Refused => self.on_refused(now, out),
            Event::Syncing => self.serve_parked(now, out),
            Event::Synced { end } => self.on_synced(now, end, out),
            Event::Truncated { end } => self.log.truncated(end),
            Event::Request { token, request } => self.on_request(now, token, request, out),
            Event::Response { from, id, response } => {
                self.on_response(now, from, id, response, out);
            }
            Event::Tick => {}
            Event::SnapshotSaved { id, size } => self.on_snapshot_saved(id, size, out),
            Event::SnapshotInstalled { id, size } => self.on_snapshot_installed(id, size, out),
            Event::SnapshotRefused => self.on_snapshot_refused(now),
            Event::Resign => self.resign(now, out),
            Event::Shutdown => {
                self.is_ending = true;
                self.resign(now, out);
            }
        }
        self.expire(now, out);
        self.proceed(now, out);
        if crate::types::CHECKS_ITSELF {
            self.check();
        }
    }

    /// When [`Event::Tick`] is due at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Monotonic> {
        let mut times = Vec::new();
        let stands = self.config.is_voter && !self.is_ending;
        match &self.role {
            Role::Unattached { election_deadline } => {
                times.push(stands.then_some(*election_deadline));
                times.push(self.observer_deadline());
            }
            Role::Prospective(election) | Role::Candidate(election) => {
                times.push(stands.then_some(election.deadline));
                times.extend(self.undecided(election).map(|voter| self.peers.ready_at(voter)));
            }
            Role::Follower(follower) => {
                times.push(stands.then_some(follower.fetch_deadline));
                times.push(self.observer_deadline());
                times.push(self.fetch_at().filter(|_| stands));
            }
            Role::Leader(leader) => {
                times.push(leader.deadline());
                let due = leader
                    .introductions()
                    .map(|(voter, at)| self.peers.ready_at(voter).map(|ready| ready.max(at)));
                times.extend(due);
            }
            Role::Resigned(resigned) => {
                times.push(stands.then_some(resigned.election_deadline));
                times.extend(resigned.waiting.iter().map(|voter| self.peers.ready_at(*voter)));
            }
        }
        times.into_iter().flatten().min().filter(|at| *at < Monotonic::FAR_FUTURE)
    }

    /// Sends what the role has to say to whoever may be asked.
    fn proceed(&mut self, now: Now, out: &mut Vec<Effect>) {
        match &self.role {
            Role::Unattached { .. } | Role::Follower(_) => self.pull(now, out),
            Role::Prospective(_) | Role::Candidate(_) => self.ask_for_votes(now, out),
            Role::Leader(_) => self.introduce_itself(now, out),
            Role::Resigned(_) => self.take_leave(now, out),
        }
    }

    fn on_append(&mut self, batch: RecordBatch, out: &mut Vec<Effect>) {
        if !self.is_active_leader() {
            crate::mark!("a leader stepped down before it could append");
            return;
        }
        assert!(batch.records > 0, "a batch has records");
        self.write(batch.records, Batch::Records(batch), out);
    }

    /// How many requests wait for an answer: fetches for something new, at a leader. Everything else is answered at once.
    #[must_use]
    pub fn waiting(&self) -> usize {
        match &self.role {
            Role::Leader(leader) => leader.parked.len(),
            Role::Unattached { .. }
            | Role::Prospective(_)
            | Role::Candidate(_)
            | Role::Resigned(_)
            | Role::Follower(_) => 0,
        }
    }

    fn write(&mut self, records: u32, batch: Batch, out: &mut Vec<Effect>) {
        let base_offset = self.log.assigned_end;
        self.log.assign(self.epoch, base_offset, base_offset + u64::from(records));
        out.push(Effect::Write { base_offset, leader_epoch: self.epoch, batch });
    }

    fn on_written(&mut self, end: Offset, out: &mut Vec<Effect>) {
        self.log.written(end);
        self.sync(out);
    }

    /// There was no space. A leader that cannot even begin its epoch is of no use.
    fn on_refused(&mut self, now: Now, out: &mut Vec<Effect>) {
        self.log.refused();
        match &self.role {
            Role::Leader(leader) if self.log.assigned_end <= leader.epoch_start => {
                crate::mark!("a new leader has no space for its first record");
                self.resign(now, out);
            }
            Role::Follower(_) => self.leave_leader_alone(now),
            Role::Leader(_)
            | Role::Unattached { .. }
            | Role::Prospective(_)
            | Role::Candidate(_)
            | Role::Resigned(_) => {}
        }
    }

    /// One sync in flight: what is written meanwhile shares the next one.
    fn sync(&mut self, out: &mut Vec<Effect>) {
        if !self.log.is_syncing && self.log.synced_end < self.log.written_end {
            self.log.is_syncing = true;
            out.push(Effect::Sync);
        }
    }

    fn on_synced(&mut self, now: Now, end: Offset, out: &mut Vec<Effect>) {
        assert!(end <= self.log.written_end, "nothing is durable that was not written");
        self.log.is_syncing = false;
        self.log.synced_end = self.log.synced_end.max(end);
        self.sync(out);
        match &mut self.role {
            Role::Leader(leader) => {
                leader.on_synced(self.log.synced_end);
                self.advance_high_watermark(now, out);
            }
            Role::Follower(_) => self.follow_high_watermark(out),
            Role::Unattached { .. }
            | Role::Prospective(_)
            | Role::Candidate(_)
            | Role::Resigned(_) => {}
        }
    }

    /// Moves the high watermark up, if it is up.
    fn commit(&mut self, high_watermark: Offset, out: &mut Vec<Effect>) {
        if self.high_watermark.is_some_and(|known| known >= high_watermark) {
            return;
        }
        self.high_watermark = Some(high_watermark);
        let (node, epoch) = (self.config.node, self.epoch);
        out.push(Effect::Observe(Observation::QuorumHighWatermark { node, epoch, high_watermark }));
        out.push(Effect::Commit { high_watermark });
    }

    fn on_snapshot_saved(&mut self, id: SnapshotId, size: u64, out: &mut Vec<Effect>) {
        assert!(
            Some(id.end_offset) <= self.high_watermark.max(Some(Offset::ZERO)),
            "only what is committed is in a snapshot"
        );
        self.log.snapshots.insert(id, size);
        // The log begins with the last snapshot but one: who is a little behind still finds records.
        let Some(keep) = self.log.snapshots.keys().rev().nth(1).copied() else { return };
        if self.log.start < keep.end_offset || self.log.snapshots.len() > 2 {
            self.log.trimmed(keep);
            out.push(Effect::TrimLog { to: keep });
        }
    }

    /// The invariants of the machine, checked after every event in debug and simulated builds.
    fn check(&self) {
        self.log.check();
        assert!(self.log.last_epoch() <= self.epoch, "the log is of a later epoch");
        if let Some(high_watermark) = self.high_watermark {
            assert!(high_watermark <= self.log.written_end, "committed is more than there is");
            assert!(self.log.start <= high_watermark, "only what is committed is dropped");
        }
        if let Some(file) = &self.persisted {
            assert_eq!(*file, self.quorum_state(), "memory and disk disagree");
        }
        let node = self.config.node;
        match &self.role {
            Role::Unattached { .. } => {}
            Role::Prospective(election) | Role::Candidate(election) => {
                assert!(self.config.is_voter, "only a voter stands for election");
                assert!(election.granted.contains(&node), "it votes for itself");
            }
            Role::Follower(_) => {
                assert!(self.leader.is_some_and(|leader| leader != node), "it follows another");
            }
            Role::Leader(leader) => {
                assert!(self.config.is_voter, "only a voter leads");
                assert_eq!(self.leader, Some(node), "a leader knows who leads");
                leader.check();
            }
            Role::Resigned(_) => assert_eq!(self.leader, Some(node), "it led this epoch"),
        }
        if matches!(self.role, Role::Candidate(_)) {
            let voted_for = self.voted_for.map(|vote| vote.voter);
            assert_eq!(voted_for, Some(node), "a candidate votes for itself");
        }
    }
}

#[cfg(test)]
mod tests;
