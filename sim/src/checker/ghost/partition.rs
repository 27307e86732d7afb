//! What is true of a partition across all nodes: what the controller committed, who led when, what is committed and acknowledged,
//! who may have lost what, and what was declared lost.

use std::collections::BTreeMap;

use ottla::types::{
    BrokerEpoch, BrokerId, BrokerSet, LeaderEpoch, Observation, Offset, PartitionEpoch,
};

use super::committed::CommittedLog;
use super::log::{GhostBatch, GhostLog};
use crate::world::SimTime;

/// A version of a partition's state, as the controller committed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionState {
    /// Who leads.
    pub leader: Option<BrokerId>,
    /// In which term.
    pub leader_epoch: LeaderEpoch,
    /// Who holds it.
    pub replicas: BrokerSet,
    /// Those of them that a reassignment moves in.
    pub adding: BrokerSet,
    /// Those of them that it moves out.
    pub removing: BrokerSet,
    /// Who is in sync.
    pub isr: BrokerSet,
    /// Who is not, and holds everything committed.
    pub elr: BrokerSet,
    /// Who led last, where both are empty.
    pub last_known_leader: Option<BrokerId>,
    /// Whether the leader was chosen although it may lack committed records.
    pub is_recovering: bool,
}

impl PartitionState {
    /// The state that an observation tells.
    #[must_use]
    pub fn of(observation: &Observation) -> Option<Self> {
        let Observation::PartitionChanged {
            leader,
            leader_epoch,
            replicas,
            adding,
            removing,
            isr,
            elr,
            last_known_leader,
            is_recovering,
            ..
        } = *observation
        else {
            return None;
        };
        Some(Self {
            leader,
            leader_epoch,
            replicas,
            adding,
            removing,
            isr,
            elr,
            last_known_leader,
            is_recovering,
        })
    }

    /// In words.
    #[must_use]
    pub fn text(&self) -> String {
        let leader = self.leader.map_or_else(|| "nobody".to_owned(), |id| format!("broker {id}"));
        let mut out = format!(
            "{leader} leads in epoch {} of {}, isr {}, eligible {}",
            self.leader_epoch, self.replicas, self.isr, self.elr
        );
        if let Some(last) = self.last_known_leader {
            out.push_str(&format!(", last known leader {last}"));
        }
        if self.is_recovering {
            out.push_str(", recovering");
        }
        out
    }

    /// ISR ∪ ELR: whoever may be elected without loss.
    #[must_use]
    pub fn eligible(&self) -> BrokerSet {
        self.isr.union(&self.elr)
    }

    /// Whether what a broker holds decides what is kept: it is eligible, or nobody is and it led last.
    #[must_use]
    pub fn counts_on(&self, broker: BrokerId) -> bool {
        let eligible = self.eligible();
        eligible.contains(broker) || (eligible.is_empty() && self.last_known_leader == Some(broker))
    }

    /// Whether `next`, the version right after this one, gives the lead to somebody who was not eligible.
    ///
    /// One change may let a follower into the ISR and make it leader, where a reassignment ends with it: the leader before asked
    /// for that. Then somebody of the ISR before is in sync beside it; who is elected uncleanly is alone.
    #[must_use]
    pub fn elects_ineligible(&self, next: &PartitionState) -> bool {
        let is_let_in = |leader| {
            next.isr.contains(leader)
                && self.leader.is_some_and(|before| self.isr.contains(before))
                && next.isr.iter().any(|broker| self.isr.contains(broker))
        };
        next.leader_epoch > self.leader_epoch
            && next
                .leader
                .is_some_and(|leader| !self.eligible().contains(leader) && !is_let_in(leader))
    }
}

/// A batch of which a producer was told with `acks=all`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acked {
    /// The batch.
    pub batch: GhostBatch,
    /// When it was told first.
    pub at: SimTime,
}

/// A declared cut: the controller recorded that a leader was elected that may lack committed records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// When the new leader said its first word.
    pub at: SimTime,
    /// In which term.
    pub leader_epoch: LeaderEpoch,
    /// The first offset that may hold something else than before.
    pub from: Offset,
    /// The acknowledged batches that fell off: the declared loss.
    pub lost: Vec<Acked>,
    /// Whether an eligible replica had lost bytes before.
    pub was_damaged: bool,
}

/// How a replica came to be in U.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dirty {
    /// Which start of its node it was last.
    pub boot: u32,
    /// Which starts of its node have ended so since it was last let in, and whether that is sure: a node that stops before it opens a log
    /// may still count as stopped in good order before. The controller hears of an end at the next registration, and may strike the
    /// replica when the node has ended so again (swarm, seed 5051). Of rot and a failed disk it may not hear.
    pub ends: BTreeMap<u32, bool>,
    /// Whether it is in D too: it was eligible and its bytes may be gone.
    pub is_damaged: bool,
}

/// What a leader asked the controller for (AlterPartition). The leader may be gone when the controller agrees.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// The leader's term.
    pub leader_epoch: LeaderEpoch,
    /// The version of the partition that the change is for.
    pub partition_epoch: PartitionEpoch,
    /// The followers it names that had caught up then, and as which incarnations.
    pub caught_up: BTreeMap<BrokerId, BrokerEpoch>,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct GhostPartition {
    /// Every version that any node told of, as told first.
    pub states: BTreeMap<PartitionEpoch, PartitionState>,
    /// Who led in which term: the first that said so.
    pub leaders: BTreeMap<LeaderEpoch, crate::world::NodeId>,
    /// The largest high watermark that a legal leader reached; less what was declared lost.
    pub true_hw: Offset,
    /// What stands below it.
    pub committed: CommittedLog,
    /// What producers were told with `acks=all`, by first offset; less what was declared lost.
    pub acked: BTreeMap<Offset, Acked>,
    /// U: who stopped dirty and was not taken into the ISR again since.
    pub dirty: BTreeMap<BrokerId, Dirty>,
    /// The last ISR that was asked for.
    pub proposal: Option<Proposal>,
    /// Terms that begin with a declared cut, and whether D was not empty when it was declared.
    declared: BTreeMap<LeaderEpoch, bool>,
    /// The declared cuts, as the new leaders began.
    pub cuts: Vec<Cut>,
    /// The largest high watermark of the leader of each term.
    pub watermarks: BTreeMap<LeaderEpoch, Offset>,
    /// When the first of the replicas' logs began further up, and where: what is before was removed on purpose.
    pub removed: Vec<(SimTime, Offset)>,
}

impl GhostPartition {
    /// The newest version.
    #[must_use]
    pub fn state(&self) -> Option<&PartitionState> {
        self.states.last_key_value().map(|(_, state)| state)
    }

    /// The newest version's number.
    #[must_use]
    pub fn partition_epoch(&self) -> Option<PartitionEpoch> {
        self.states.last_key_value().map(|(epoch, _)| *epoch)
    }

    /// The version right before another, where it is known.
    #[must_use]
    pub fn state_before(&self, epoch: PartitionEpoch) -> Option<&PartitionState> {
        let (before, state) = self.states.range(..epoch).next_back()?;
        (before.next() == epoch).then_some(state)
    }

    /// Whether a term begins with a declared cut.
    #[must_use]
    pub fn is_declared(&self, epoch: LeaderEpoch) -> bool {
        self.declared.contains_key(&epoch)
    }

    /// Whether a leader of this term is one that a declared cut has replaced: it no longer counts.
    #[must_use]
    pub fn is_cut_off(&self, epoch: LeaderEpoch) -> bool {
        self.declared.keys().next_back().is_some_and(|declared| epoch < *declared)
    }

    /// Whether what is committed cannot be held against a replica of this term: a declared cut has ended the term, or begins it
    /// and its leader has not spoken yet.
    #[must_use]
    pub fn is_unsettled(&self, epoch: LeaderEpoch) -> bool {
        self.is_cut_off(epoch) || (self.is_declared(epoch) && !self.is_rebased(epoch))
    }

    pub(super) fn is_rebased(&self, epoch: LeaderEpoch) -> bool {
        self.cuts.iter().any(|cut| cut.leader_epoch == epoch)
    }

    /// Whether D was not empty when the cut that begins this term was declared.
    #[must_use]
    pub fn was_damaged(&self, epoch: LeaderEpoch) -> bool {
        self.declared.get(&epoch).is_some_and(|damaged| *damaged)
    }

    /// Whether a broker, registered with this epoch, may yet be let into the ISR by what was asked for last.
    #[must_use]
    pub fn may_be_let_in(&self, broker: BrokerId, registered: Option<BrokerEpoch>) -> bool {
        self.proposal.as_ref().is_some_and(|asked| {
            let is_open = self.partition_epoch() == Some(asked.partition_epoch);
            is_open && registered.is_some() && asked.caught_up.get(&broker).copied() == registered
        })
    }

    /// D: replicas that were eligible, or about to be, and whose bytes may be gone.
    pub fn damaged(&self) -> impl Iterator<Item = BrokerId> {
        self.dirty.iter().filter(|(_, dirty)| dirty.is_damaged).map(|(broker, _)| *broker)
    }

    /// Learns a version. Who is in its ISR and was registered since it stopped dirty (`boot_of` tells which start is registered)
    /// is in U no longer, unless a disk of its failed in the run that is registered.
    pub(super) fn learn(
        &mut self,
        epoch: PartitionEpoch,
        state: PartitionState,
        boot_of: impl Fn(BrokerId) -> Option<u32>,
    ) {
        if self.states.contains_key(&epoch) {
            return;
        }
        let before = self.states.range(..epoch).next_back().map(|(_, state)| *state);
        if let Some(before) = before
            && state.is_recovering
            && state.leader.is_some()
            && state.leader_epoch > before.leader_epoch
            && (before.elects_ineligible(&state)
                || !before.is_recovering
                || self.is_unsettled(before.leader_epoch))
        {
            let is_damaged = self.damaged().next().is_some();
            self.declared.insert(state.leader_epoch, is_damaged);
        }
        let is_newest = self.partition_epoch().is_none_or(|newest| newest < epoch);
        let is_next = self.state_before(epoch).is_some();
        self.states.insert(epoch, state);
        if is_newest {
            self.dirty.retain(|broker, dirty| {
                // It may have been in the ISR in a version that nobody told of.
                let was_in_sync =
                    state.isr.contains(*broker) || !is_next && state.elr.contains(*broker);
                let registered = boot_of(*broker);
                if was_in_sync {
                    dirty.ends.retain(|ended, _| registered <= Some(*ended));
                }
                let is_back = was_in_sync && registered > Some(dirty.boot);
                state.replicas.contains(*broker) && !is_back
            });
        }
    }

    /// A broker, registered with this epoch, is in U from now on; in D too where it was eligible, or may yet be let in, and
    /// `how.is_damaged` says that bytes may be gone.
    pub(super) fn mark_dirty(
        &mut self,
        broker: BrokerId,
        registered: Option<BrokerEpoch>,
        how: Dirty,
    ) {
        let Some(state) = self.state().copied() else { return };
        if !state.replicas.contains(broker) {
            return;
        }
        let is_eligible = state.counts_on(broker) || self.may_be_let_in(broker, registered);
        let Dirty { boot, ends, is_damaged } = how;
        let dirty = self.dirty.entry(broker).or_default();
        dirty.boot = boot;
        for (ended, is_sure) in ends {
            *dirty.ends.entry(ended).or_insert(false) |= is_sure;
        }
        dirty.is_damaged |= is_damaged && is_eligible;
    }

    /// A leader's watermark passed these batches and stands at `to`.
    pub(super) fn commit(&mut self, epoch: Option<LeaderEpoch>, passed: &[GhostBatch], to: Offset) {
        if epoch.is_some_and(|epoch| self.is_cut_off(epoch)) {
            return;
        }
        for batch in passed {
            self.committed.commit(*batch, epoch.unwrap_or(batch.leader_epoch));
        }
        self.true_hw = self.true_hw.max(to);
        if let Some(epoch) = epoch {
            let known = self.watermarks.entry(epoch).or_insert(to);
            *known = (*known).max(to);
        }
    }

    /// A producer was told of a batch with `acks=all`.
    pub(super) fn acknowledge(&mut self, at: SimTime, epoch: LeaderEpoch, batch: GhostBatch) {
        if !self.is_cut_off(epoch) {
            self.acked.entry(batch.base_offset).or_insert(Acked { batch, at });
        }
    }

    /// A leader whose election was declared begins with `log` up to `end`: what it lacks is lost.
    pub(super) fn rebase(
        &mut self,
        at: SimTime,
        leader_epoch: LeaderEpoch,
        log: &GhostLog,
        end: Offset,
    ) {
        let kept = |batch: &GhostBatch| batch.end_offset <= end && log.has_had(batch);
        let first_gone = self.committed.batches().find(|batch| !kept(batch));
        let from = first_gone.map_or(end, |batch| batch.base_offset.min(end));
        let (stay, lost): (Vec<Acked>, Vec<Acked>) =
            self.acked.values().partition(|acked| kept(&acked.batch));
        self.acked = stay.into_iter().map(|acked| (acked.batch.base_offset, acked)).collect();
        self.committed.retain(kept);
        self.true_hw = self.true_hw.min(end);
        let was_damaged = self.was_damaged(leader_epoch);
        self.cuts.push(Cut { at, leader_epoch, from, lost, was_damaged });
    }
}
