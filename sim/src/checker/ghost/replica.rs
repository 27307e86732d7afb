//! What a node believes it is to a partition, as it said since its start.

use std::collections::BTreeMap;

use ottla::types::{
    Acks, BrokerEpoch, BrokerId, BrokerSet, LeaderEpoch, Observation, Offset, PartitionEpoch,
    TopicIdPartition,
};

use crate::world::SimTime;

/// What a leader knows of a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// It holds everything below, by its own word.
    pub fetch_offset: Offset,
    /// Under which incarnation it said so.
    pub broker_epoch: Option<BrokerEpoch>,
    /// When it said so.
    pub at: SimTime,
    /// Since when it lacks something, by its last word; `None` where it lacks nothing.
    pub behind_since: Option<SimTime>,
}

/// A leader, by its own word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leading {
    /// Its term.
    pub epoch: LeaderEpoch,
    /// When it began.
    pub since: SimTime,
    /// When it first appended something.
    pub appended_at: Option<SimTime>,
    /// After the last record that it appended.
    pub appended_end: Offset,
    /// The log's end when it began.
    pub start_offset: Offset,
    /// The version of the partition that it knows.
    pub partition_epoch: PartitionEpoch,
    /// The committed ISR that it knows.
    pub isr: BrokerSet,
    /// The effective minimum of in-sync replicas that it knows.
    pub min_isr: u32,
    /// The ISR that it asked for, and since when.
    pub pending: Option<(BrokerSet, SimTime)>,
    /// When the last one that it asked for was decided, or was overtaken by another version: until then it could ask for nothing else.
    pub decided_at: Option<SimTime>,
    /// What its followers said in this term.
    pub progress: BTreeMap<BrokerId, Progress>,
    /// The batches of its term, by end offset, whose producers it did not answer yet.
    pub unanswered: BTreeMap<Offset, Offset>,
    /// Whether each producer asked for `acks=all` and each was answered OK: only then `unanswered` proves anything.
    pub only_acks_all: bool,
    /// When its watermark moved last.
    pub watermark_at: SimTime,
    /// When what its watermark depends on changed last, followers left aside: its log, the ISR, how many must be in it.
    pub changed_at: SimTime,
}

impl Leading {
    /// The committed ISR together with the members it asked for.
    #[must_use]
    pub fn maximal_isr(&self) -> BrokerSet {
        self.pending.map_or(self.isr, |(pending, _)| self.isr.union(&pending))
    }
}

/// What a node is to a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// It leads.
    Leader(Box<Leading>),
    /// It follows.
    Follower {
        /// Whom.
        leader: Option<BrokerId>,
        /// In which term.
        epoch: LeaderEpoch,
        /// The version of the partition that it knows.
        partition_epoch: PartitionEpoch,
        /// Its log's end when the term began for it, with what it had taken before and not written yet.
        taken_before: Offset,
    },
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GhostReplica {
    /// `None` until it says so.
    pub role: Option<Role>,
}

/// The partition that an observation of a replica's doings is about.
#[must_use]
#[expect(clippy::wildcard_enum_match_arm, reason = "only these observations are of replicas")]
pub fn partition_of(observation: &Observation) -> Option<TopicIdPartition> {
    match *observation {
        Observation::BecameLeader { partition, .. }
        | Observation::BecameFollower { partition, .. }
        | Observation::FollowerFetched { partition, .. }
        | Observation::IsrProposed { partition, .. }
        | Observation::IsrCommitted { partition, .. }
        | Observation::IsrRefused { partition, .. }
        | Observation::MinIsrChanged { partition, .. }
        | Observation::ProduceReceived { partition, .. }
        | Observation::ProduceAppended { partition, .. }
        | Observation::ProduceAcked { partition, .. }
        | Observation::ProduceFailed { partition, .. }
        | Observation::LogFlushed { partition, .. }
        | Observation::HighWatermarkAdvanced { partition, .. } => Some(partition),
        _ => None,
    }
}

impl GhostReplica {
    /// What it knows as a leader.
    #[must_use]
    pub fn leading(&self) -> Option<&Leading> {
        match &self.role {
            Some(Role::Leader(leading)) => Some(leading),
            Some(Role::Follower { .. }) | None => None,
        }
    }

    /// The term in which it leads or follows.
    #[must_use]
    pub fn epoch(&self) -> Option<LeaderEpoch> {
        match &self.role {
            Some(Role::Leader(leading)) => Some(leading.epoch),
            Some(Role::Follower { epoch, .. }) => Some(*epoch),
            None => None,
        }
    }

    /// Where the log ended when its term began, with what was taken in earlier terms and not written yet: below it such batches
    /// may still come.
    #[must_use]
    pub fn taken_before(&self) -> Option<Offset> {
        match &self.role {
            Some(Role::Leader(leading)) => Some(leading.start_offset),
            Some(Role::Follower { taken_before, .. }) => Some(*taken_before),
            None => None,
        }
    }

    /// The version of the partition that it knows.
    #[must_use]
    pub fn partition_epoch(&self) -> Option<PartitionEpoch> {
        match &self.role {
            Some(Role::Leader(leading)) => Some(leading.partition_epoch),
            Some(Role::Follower { partition_epoch, .. }) => Some(*partition_epoch),
            None => None,
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the rest is for leaders")]
    pub(super) fn apply(&mut self, at: SimTime, observation: &Observation) {
        match *observation {
            Observation::BecameLeader {
                leader_epoch: epoch,
                partition_epoch,
                start_offset,
                isr,
                min_isr,
                ..
            } => {
                self.role = Some(Role::Leader(Box::new(Leading {
                    epoch,
                    since: at,
                    appended_at: None,
                    appended_end: start_offset,
                    start_offset,
                    partition_epoch,
                    isr,
                    min_isr,
                    pending: None,
                    decided_at: None,
                    progress: BTreeMap::new(),
                    unanswered: BTreeMap::new(),
                    only_acks_all: true,
                    watermark_at: at,
                    changed_at: at,
                })));
            }
            Observation::BecameFollower {
                leader,
                leader_epoch: epoch,
                partition_epoch,
                log_end_offset: taken_before,
                ..
            } => {
                self.role = Some(Role::Follower { leader, epoch, partition_epoch, taken_before });
            }
            _ => {
                if let Some(Role::Leader(leading)) = &mut self.role {
                    leading.apply(at, observation);
                }
            }
        }
    }
}

/// Whether an observation changes what a watermark depends on, followers left aside.
const fn matters_to_watermark(observation: &Observation) -> bool {
    matches!(
        observation,
        Observation::IsrProposed { .. }
            | Observation::IsrCommitted { .. }
            | Observation::IsrRefused { .. }
            | Observation::MinIsrChanged { .. }
            | Observation::ProduceAppended { .. }
            | Observation::LogFlushed { .. }
    )
}

impl Leading {
    /// Nothing is asked for any more.
    fn decide(&mut self, at: SimTime) {
        if self.pending.take().is_some() {
            self.decided_at = Some(at);
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "as `partition_of`")]
    fn apply(&mut self, at: SimTime, observation: &Observation) {
        if matters_to_watermark(observation) {
            self.changed_at = at;
        }
        match *observation {
            Observation::FollowerFetched { replica, broker_epoch, fetch_offset, .. } => {
                let before = self.progress.get(&replica).and_then(|known| known.behind_since);
                let is_behind = fetch_offset < self.appended_end;
                let behind_since = is_behind.then(|| before.unwrap_or(at));
                let progress = Progress { fetch_offset, broker_epoch, at, behind_since };
                self.progress.insert(replica, progress);
            }
            Observation::IsrProposed { isr, .. } => self.pending = Some((isr, at)),
            Observation::IsrCommitted { isr, partition_epoch, .. } => {
                self.isr = isr;
                self.partition_epoch = partition_epoch;
                self.decide(at);
            }
            Observation::IsrRefused { .. } => self.decide(at),
            Observation::MinIsrChanged { min_isr, .. } => self.min_isr = min_isr,
            Observation::HighWatermarkAdvanced { .. } => self.watermark_at = at,
            Observation::ProduceReceived { acks, .. } => self.only_acks_all &= acks == Acks::All,
            Observation::ProduceAppended { base_offset, end_offset, .. } => {
                self.appended_at.get_or_insert(at);
                self.appended_end = end_offset;
                for progress in self.progress.values_mut() {
                    progress.behind_since.get_or_insert(at);
                }
                self.unanswered.insert(end_offset, base_offset);
            }
            Observation::ProduceAcked { end_offset, .. } => {
                self.unanswered.remove(&end_offset);
            }
            // It does not say which: from now on nothing is proved by silence.
            Observation::ProduceFailed { .. } => {
                self.unanswered.clear();
                self.only_acks_all = false;
            }
            _ => {}
        }
    }
}
