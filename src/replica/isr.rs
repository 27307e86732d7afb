//! Which followers are in sync: how far each has fetched, who leaves, who joins, and what the controller says to it.
//!
//! At most one proposal is pending. Until it is answered for good, or newer metadata comes, a member that it adds counts
//! already (the *maximal* ISR), and a member that it removes still counts: so the high watermark is safe whichever way the
//! controller decides.
//!
//! Kafka: `Replica`, `Partition.maybeExpandIsr`, `maybeShrinkIsr`, `handleAlterPartitionUpdate`, `handleAlterPartitionError`;
//! KIP-497, KIP-841, KIP-903.

use std::collections::BTreeMap;
use std::time::Duration;

use super::event::Effect;
use super::leader::Leading;
use super::partition::{Partition, State};
use super::{IsrAnswer, IsrCommitted, IsrProposal};
use crate::types::{
    BrokerEpoch, BrokerId, BrokerSet, ErrorCode, Monotonic, Now, Observation, Offset,
    PartitionEpoch,
};

/// What a leader knows of a follower, in this term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FollowerProgress {
    /// Everything below it has; `None` before its first fetch.
    pub(super) log_end_offset: Option<Offset>,
    /// The start of its log.
    pub(super) log_start_offset: Option<Offset>,
    /// The incarnation in which it fetched last.
    pub(super) broker_epoch: Option<BrokerEpoch>,
    /// When it fetched last, and where the leader's log ended then.
    last_fetch: Option<(Monotonic, Offset)>,
    /// The latest time at which it had all that the leader had.
    caught_up_at: Option<Monotonic>,
}

impl FollowerProgress {
    /// At the start of a term: a member of the ISR gets as much time as if it had just caught up.
    pub(super) fn at_start(now: Monotonic, is_in_sync: bool) -> Self {
        Self { caught_up_at: is_in_sync.then_some(now), ..Self::default() }
    }

    /// It fetches at `offset`, while the leader's log ends at `leader_end`.
    ///
    /// It is caught up as of now if it asks for the end, and as of its last fetch if it has all that there was then: with many
    /// small appends it may never ask for the very end.
    pub(super) fn on_fetch(
        &mut self,
        now: Monotonic,
        offset: Offset,
        log_start_offset: Offset,
        leader_end: Offset,
        broker_epoch: Option<BrokerEpoch>,
    ) {
        let caught_up_at = match self.last_fetch {
            _ if offset >= leader_end => Some(now),
            Some((at, end_then)) if offset >= end_then => Some(at),
            Some(_) | None => None,
        };
        self.caught_up_at = self.caught_up_at.max(caught_up_at);
        let end_then = self.last_fetch.map_or(leader_end, |(_, end)| end.max(leader_end));
        self.last_fetch = Some((now, end_then));
        self.log_end_offset = Some(offset);
        self.log_start_offset = Some(log_start_offset);
        self.broker_epoch = broker_epoch;
    }

    /// Whether it has all, or had within `lag_time_max`.
    pub(super) fn is_caught_up(
        &self,
        now: Monotonic,
        leader_end: Offset,
        lag_time_max: Duration,
    ) -> bool {
        self.log_end_offset == Some(leader_end)
            || self.caught_up_at.is_some_and(|at| now.since(at) <= lag_time_max)
    }
}

/// The in-sync replicas, as committed, and what is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct InSyncReplicas {
    /// Rising.
    committed: Vec<BrokerId>,
    pending: Option<Pending>,
}

/// A proposal that is not committed, as far as this leader knows.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pending {
    proposal: IsrProposal,
    /// Whom it adds.
    added: Option<BrokerId>,
    /// The controller refused it, and newer metadata must tell why. It counts until then: it may have been accepted before.
    left_to_metadata: bool,
}

impl InSyncReplicas {
    /// These are committed.
    pub(super) fn new(mut committed: Vec<BrokerId>) -> Self {
        committed.sort_unstable();
        Self { committed, pending: None }
    }

    /// The committed ones, rising.
    pub(super) fn committed(&self) -> &[BrokerId] {
        &self.committed
    }

    /// The committed ones and the one that is to join.
    pub(super) fn maximal(&self) -> impl Iterator<Item = BrokerId> {
        self.committed.iter().copied().chain(self.added())
    }

    pub(super) fn is_in_maximal(&self, broker: BrokerId) -> bool {
        self.committed.binary_search(&broker).is_ok() || self.added() == Some(broker)
    }

    fn added(&self) -> Option<BrokerId> {
        self.pending.as_ref().and_then(|pending| pending.added)
    }

    /// Whether nothing is asked for.
    pub(super) fn is_committed(&self) -> bool {
        self.pending.is_none()
    }

    /// Asserts the invariants.
    pub(super) fn check(&self) {
        assert!(self.committed.is_sorted(), "the ISR is sorted");
        let added = self.added();
        assert!(
            added.is_none_or(|added| self.committed.binary_search(&added).is_err()),
            "who is to join has not joined"
        );
    }
}

/// A follower, as a consumer's choice of a replica to read from (KIP-392).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowerView {
    /// The broker.
    pub broker: BrokerId,
    /// The end of its log, as it said last.
    pub log_end_offset: Offset,
    /// For how long it has not had all that the leader had.
    pub behind_for: Duration,
}

impl Partition {
    /// The followers in sync that can serve a consumer at `offset`; `None` where this replica does not lead.
    #[must_use]
    pub fn followers_with(&self, now: Now, offset: Offset) -> Option<Vec<FollowerView>> {
        let State::Leader(leading) = &self.state else { return None };
        let in_sync = leading.isr.committed().iter().filter_map(|broker| {
            let progress = leading.followers.get(broker)?;
            let log_end_offset = progress.log_end_offset.filter(|end| *end >= offset)?;
            progress.log_start_offset.filter(|start| *start <= offset)?;
            let behind_for = now.monotonic.since(progress.caught_up_at.unwrap_or_default());
            Some(FollowerView { broker: *broker, log_end_offset, behind_for })
        });
        Some(in_sync.collect())
    }

    /// How many replicas must be in sync for a batch to count as committed.
    pub(super) fn min_isr(&self, leading: &Leading) -> usize {
        let wanted = usize::try_from(self.config.min_insync_replicas).unwrap_or(usize::MAX);
        wanted.min(leading.replicas.len())
    }

    /// Takes a follower in that has all that is committed.
    ///
    /// It must have reached the start of this term too: between the watermark that a new leader knows and there may lie what
    /// was committed before (KAFKA-7128).
    pub(super) fn maybe_expand_isr(&mut self, replica: BrokerId, out: &mut Vec<Effect>) {
        let high_watermark = self.high_watermark;
        let State::Leader(leading) = &self.state else { return };
        let isr = &leading.isr;
        if !isr.is_committed() || isr.is_in_maximal(replica) || !leading.may_join(replica) {
            return;
        }
        let end = leading.followers.get(&replica).and_then(|progress| progress.log_end_offset);
        if end.is_some_and(|end| end >= high_watermark && end >= leading.start_offset) {
            let members = isr.maximal().chain([replica]).collect();
            self.propose_isr(members, Some(replica), out);
        }
    }

    /// Looks for followers that fell behind, every half of `replica.lag.time.max.ms`. A proposal that is not answered is made
    /// again: it, or its answer, may have got lost.
    pub(super) fn check_lag(&mut self, now: Now, out: &mut Vec<Effect>) {
        let leader_end = self.replica_end_offset();
        let lag_time_max = self.config.lag_time_max;
        let node = self.config.node;
        let State::Leader(leading) = &mut self.state else { return };
        if leading.next_lag_check().is_none_or(|at| at > now.monotonic) {
            return;
        }
        leading.plan_lag_check(now.monotonic, lag_time_max);
        if let Some(pending) = &leading.isr.pending {
            if !pending.left_to_metadata {
                out.push(Effect::ProposeIsr(pending.proposal.clone()));
            }
            return;
        }
        let is_behind = |id: &BrokerId| {
            let progress = leading.followers.get(id);
            *id != node
                && progress.is_none_or(|progress| {
                    !progress.is_caught_up(now.monotonic, leader_end, lag_time_max)
                })
        };
        let committed = leading.isr.committed();
        let members: Vec<BrokerId> =
            committed.iter().copied().filter(|id| !is_behind(id)).collect();
        if members.len() < committed.len() {
            self.propose_isr(members, None, out);
        }
        self.advance(now, out);
    }

    fn propose_isr(
        &mut self,
        mut members: Vec<BrokerId>,
        added: Option<BrokerId>,
        out: &mut Vec<Effect>,
    ) {
        members.sort_unstable();
        let partition_epoch = self.partition_epoch.expect("a leader was told of a version");
        let node = self.config.node;
        let State::Leader(leading) = &mut self.state else {
            unreachable!("leaders propose");
        };
        out.push(Effect::Observe(Observation::IsrProposed {
            partition: self.id,
            leader_epoch: leading.epoch,
            partition_epoch,
            isr: BrokerSet::of(&members),
        }));
        let epoch_of = |id: BrokerId| {
            if id == node {
                return leading.broker_epochs.get(&id).copied();
            }
            leading.followers.get(&id).and_then(|progress| progress.broker_epoch)
        };
        let proposal = IsrProposal {
            leader_epoch: leading.epoch,
            partition_epoch,
            isr: members.into_iter().map(|id| (id, epoch_of(id))).collect(),
            is_recovering: false,
        };
        out.push(Effect::ProposeIsr(proposal.clone()));
        leading.isr.pending = Some(Pending { proposal, added, left_to_metadata: false });
    }

    /// The controller answered. An answer to anything but the pending proposal tells nothing new: metadata has come since.
    pub(super) fn on_isr_answered(
        &mut self,
        now: Now,
        proposal: &IsrProposal,
        answer: IsrAnswer,
        out: &mut Vec<Effect>,
    ) {
        let State::Leader(leading) = &mut self.state else { return };
        let Some(pending) = leading.isr.pending.as_mut() else { return };
        if pending.proposal != *proposal {
            crate::mark!("an ISR change is answered that is not asked for any more");
            return;
        }
        match answer {
            Ok(committed) => self.on_isr_committed(now, committed, out),
            // The controller says that the version is right and that nothing was changed, now or ever.
            Err(error @ (ErrorCode::OperationNotAttempted | ErrorCode::IneligibleReplica)) => {
                leading.isr.pending = None;
                out.push(Effect::Observe(Observation::IsrRefused {
                    partition: self.id,
                    leader_epoch: proposal.leader_epoch,
                    error,
                }));
                self.advance(now, out);
            }
            // Which state is committed is not known here. The metadata will tell.
            Err(
                ErrorCode::UnknownTopicOrPartition
                | ErrorCode::UnknownTopicId
                | ErrorCode::FencedLeaderEpoch
                | ErrorCode::InvalidUpdateVersion
                | ErrorCode::InvalidRequest
                | ErrorCode::NewLeaderElected,
            ) => pending.left_to_metadata = true,
            Err(_) => out.push(Effect::ProposeIsr(proposal.clone())),
        }
    }

    fn on_isr_committed(&mut self, now: Now, committed: IsrCommitted, out: &mut Vec<Effect>) {
        let State::Leader(leading) = &mut self.state else { return };
        let is_older = self.partition_epoch.is_some_and(|ours| committed.partition_epoch < ours);
        if committed.leader_epoch != leading.epoch || is_older {
            return;
        }
        leading.isr = InSyncReplicas::new(committed.isr);
        self.on_isr_known(committed.partition_epoch, out);
        self.advance(now, out);
    }

    /// The committed ISR is another, or of another version.
    pub(super) fn on_isr_known(&mut self, version: PartitionEpoch, out: &mut Vec<Effect>) {
        self.partition_epoch = Some(version);
        let State::Leader(leading) = &self.state else { return };
        out.push(Effect::Observe(Observation::IsrCommitted {
            partition: self.id,
            leader_epoch: leading.epoch,
            partition_epoch: version,
            isr: BrokerSet::of(leading.isr.committed()),
        }));
    }

    pub(super) fn on_broker_epochs(
        &mut self,
        now: Now,
        epochs: BTreeMap<BrokerId, BrokerEpoch>,
        out: &mut Vec<Effect>,
    ) {
        let State::Leader(leading) = &mut self.state else { return };
        leading.broker_epochs = epochs;
        // Who may not join any more is not waited for.
        self.advance(now, out);
    }

    /// The in-sync replicas of a leader: the committed ones, and the maximal ones. Rising.
    #[must_use]
    pub fn in_sync_replicas(&self) -> Option<(Vec<BrokerId>, Vec<BrokerId>)> {
        let State::Leader(leading) = &self.state else { return None };
        let mut maximal: Vec<BrokerId> = leading.isr.maximal().collect();
        maximal.sort_unstable();
        Some((leading.isr.committed().to_vec(), maximal))
    }
}

#[cfg(test)]
#[path = "isr_tests.rs"]
mod tests;
