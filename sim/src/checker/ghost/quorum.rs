//! The metadata quorum across all nodes: who led, who voted for whom, what is committed. The nodes' metadata logs are kept here, apart
//! from those of partitions.

use std::collections::{BTreeMap, BTreeSet};

use ottla::types::{BrokerId, LeaderEpoch, Observation, Offset, QuorumRole};

use super::committed::CommittedLog;
use super::log::{GhostBatch, GhostLog, METADATA, appended, partition_of};
use crate::checker::Occurrence;
use crate::checker::disk_logs::SegmentFile;
use crate::world::{NodeId, SimTime};

/// Who led in an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// The leader.
    pub leader: BrokerId,
    /// Which start of its node it was, once the leader itself said so.
    pub boot: Option<u32>,
    /// When it became active, if it did.
    pub active_at: Option<SimTime>,
}

/// A node's part in the quorum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GhostVoter {
    /// How often it was started.
    pub boots: u32,
    /// What it said it is, and in which epoch, since its start.
    pub role: Option<(QuorumRole, LeaderEpoch)>,
    /// Whether it heard from the leader that it follows in this role.
    pub has_heard: bool,
    /// The largest epoch it ever told, kept over restarts.
    pub epoch: Option<LeaderEpoch>,
    /// The high watermark it told since its start.
    pub high_watermark: Option<Offset>,
    /// What was committed when it was started: everything below.
    pub committed_at_start: Offset,
    /// Whether it is the active controller.
    pub is_active: bool,
    /// Its metadata log.
    pub log: GhostLog,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct GhostQuorum {
    /// The nodes that vote: as the testbed says, or else whoever says that it is a voter.
    pub voters: BTreeSet<NodeId>,
    /// Whether the testbed said so.
    pub are_voters_told: bool,
    /// Every node's part.
    pub nodes: BTreeMap<NodeId, GhostVoter>,
    /// Who led when: the first that said so.
    pub terms: BTreeMap<LeaderEpoch, Term>,
    /// The votes given, pre-votes aside.
    pub votes: BTreeMap<(BrokerId, LeaderEpoch), BrokerId>,
    /// The largest high watermark that any leader told.
    pub high_watermark: Offset,
    /// What stands below it.
    pub committed: CommittedLog,
    /// (epoch, first offset) → what was written there first.
    pub written: BTreeMap<(LeaderEpoch, Offset), GhostBatch>,
    /// The digest of the whole image at an offset, of snapshots: the first that was told.
    pub digests: BTreeMap<Offset, u64>,
}

impl GhostQuorum {
    /// A node's part.
    #[must_use]
    pub fn node(&self, node: NodeId) -> Option<&GhostVoter> {
        self.nodes.get(&node)
    }

    /// How many voters make a majority.
    #[must_use]
    pub fn majority(&self) -> usize {
        self.voters.len() / 2 + 1
    }

    /// How many voters said that everything below `end` is durable.
    #[must_use]
    pub fn durable_on(&self, end: Offset) -> usize {
        let has = |node: &&NodeId| self.node(**node).is_some_and(|node| node.log.synced_end >= end);
        self.voters.iter().filter(has).count()
    }

    /// The newest leader that became active.
    #[must_use]
    pub fn newest_active(&self) -> Option<(LeaderEpoch, &Term)> {
        self.terms.iter().rev().find(|(_, term)| term.active_at.is_some()).map(|(e, t)| (*e, t))
    }

    pub(super) fn on_started(&mut self, node: NodeId) {
        let committed = self.high_watermark;
        let state = self.nodes.entry(node).or_default();
        state.boots += 1;
        state.committed_at_start = committed;
        state.role = None;
        state.high_watermark = None;
        state.is_active = false;
    }

    pub(super) fn on_stopped(&mut self, node: NodeId) {
        self.nodes.entry(node).or_default().is_active = false;
    }

    /// Takes in whole batches that stand in a stopped node's files behind the end that it told of.
    pub(super) fn learn_untold(&mut self, node: NodeId, segments: &[SegmentFile]) {
        let Some(state) = self.nodes.get_mut(&node) else { return };
        for batch in state.log.learn_untold(segments) {
            self.written.entry((batch.leader_epoch, batch.base_offset)).or_insert(batch);
        }
    }

    pub(super) fn on_wiped(&mut self, node: NodeId) {
        let state = self.nodes.entry(node).or_default();
        state.log = GhostLog::default();
        state.epoch = None;
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a new observation does not concern the quorum unless it says so here"
    )]
    pub(super) fn apply(&mut self, occurrence: &Occurrence, observation: &Observation) {
        let state = self.nodes.entry(occurrence.node).or_default();
        match *observation {
            Observation::QuorumRoleChanged { node, epoch, role, leader } => {
                if role != QuorumRole::Observer && !self.are_voters_told {
                    self.voters.insert(occurrence.node);
                }
                state.role = Some((role, epoch));
                state.has_heard = false;
                state.epoch = state.epoch.max(Some(epoch));
                let boot = state.boots;
                if role == QuorumRole::Leader {
                    let term = Term { leader: node, boot: Some(boot), active_at: None };
                    let known = self.terms.entry(epoch).or_insert(term);
                    if known.leader == node {
                        known.boot.get_or_insert(boot);
                    }
                } else if let Some(leader) = leader {
                    let term = Term { leader, boot: None, active_at: None };
                    self.terms.entry(epoch).or_insert(term);
                }
            }
            Observation::VoteGranted { voter, epoch, candidate, is_pre_vote: false } => {
                state.epoch = state.epoch.max(Some(epoch));
                self.votes.entry((voter, epoch)).or_insert(candidate);
            }
            Observation::ControllerElected { broker, epoch } => {
                state.is_active = true;
                let boot = Some(state.boots);
                let term = Term { leader: broker, boot, active_at: None };
                let term = self.terms.entry(epoch).or_insert(term);
                term.active_at.get_or_insert(occurrence.at);
            }
            Observation::ControllerResigned { .. } => state.is_active = false,
            Observation::QuorumHighWatermark { high_watermark, epoch, .. } => {
                let from = state.high_watermark.unwrap_or(Offset::ZERO);
                state.high_watermark = Some(high_watermark);
                if let Some((QuorumRole::Leader, _)) = state.role {
                    self.high_watermark = self.high_watermark.max(high_watermark);
                    for batch in state.log.batches_in(from, high_watermark) {
                        self.committed.commit(*batch, epoch);
                    }
                }
            }
            Observation::MetadataSnapshotSaved { end_offset, digest, .. } => {
                self.digests.entry(end_offset).or_insert(digest);
            }
            Observation::MetadataSnapshotLoaded { end_offset, digest, .. } => {
                self.digests.entry(end_offset).or_insert(digest);
                if state.log.end < end_offset {
                    state.log = GhostLog::default();
                    state.log.start = end_offset;
                    state.log.end = end_offset;
                    state.log.synced_end = end_offset;
                }
            }
            _ => {
                if let Some((METADATA, batch)) = appended(observation) {
                    // What a follower appends it was given by its leader in this term.
                    state.has_heard |= matches!(state.role, Some((QuorumRole::Follower, _)));
                    self.written.entry((batch.leader_epoch, batch.base_offset)).or_insert(batch);
                    state.log.append(batch);
                } else if partition_of(observation) == Some(METADATA) {
                    state.log.apply(observation);
                }
            }
        }
    }
}
