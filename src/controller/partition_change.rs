//! What becomes of one partition: who is in sync, who is eligible, who leads, who holds it. One pure function of its present state,
//! of what is wanted, and of who lives.
//!
//! The order of preference for the leader: the present one while it qualifies (or the first of the assignment, where the preferred
//! leader is asked for); the first in-sync replica in the order of assignment; an eligible replica, only where nobody is in sync
//! (KIP-966); the last known leader, where nobody is in sync or eligible (uncleanly); any live replica, where unclean election is
//! allowed.
//!
//! The leader epoch rises where the leader changes, and where a replica is removed for good: the leader must forget it, and so must
//! everybody who still fetches from it. Growing or shrinking in-sync replicas alone do not raise it (KAFKA-15021).
//!
//! Kafka: `PartitionChangeBuilder`, `PartitionReassignmentReplicas`. Different from there: eligible replicas are always replicas,
//! none is left once enough are in sync, and the last known leader is elected only if it lives.

use crate::mark;
use crate::metadata::PartitionImage;
use crate::metadata::records::{LeaderChange, LeaderRecoveryState, PartitionChange};
use crate::types::{BrokerId, TopicIdPartition, Uuid};

/// The rules for the partitions of one topic.
#[derive(Clone, Copy, Debug)]
pub(super) struct ElectionRules {
    /// Whether eligible replicas are kept (KIP-966).
    pub(super) elr_enabled: bool,
    /// `min.insync.replicas`, as configured: a partition with fewer replicas needs all of them.
    pub(super) min_isr: usize,
    /// `unclean.leader.election.enable`.
    pub(super) unclean_allowed: bool,
}

/// How far an election may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Election {
    /// The first of the assignment leads if it qualifies; nobody from outside the in-sync and eligible replicas.
    Preferred,
    /// The present leader stays if it qualifies; nobody from outside the in-sync and eligible replicas.
    Online,
    /// As [`Election::Online`], but rather any live replica than none.
    Unclean,
}

/// What a partition shall look like, as far as it is for the asker to say.
#[derive(Clone, Debug)]
pub(super) struct PartitionTarget {
    /// Those who shall be in sync.
    pub(super) isr: Vec<BrokerId>,
    /// Those who shall hold it, those on their way in or out too.
    pub(super) replicas: Vec<BrokerId>,
    /// Those on their way in.
    pub(super) adding: Vec<BrokerId>,
    /// Those on their way out.
    pub(super) removing: Vec<BrokerId>,
    /// Whether its leader has recovered.
    pub(super) leader_recovery_state: LeaderRecoveryState,
    /// One whose last process crashed: it may have lost what was not yet synced, and qualifies for nothing.
    pub(super) crashed: Option<BrokerId>,
    /// How far an election may go.
    pub(super) election: Election,
    /// A broker that holds it, and the log directory that it says it is in.
    pub(super) located: Option<(BrokerId, Uuid)>,
}

impl PartitionTarget {
    /// That nothing changes but what the rules demand.
    pub(super) fn unchanged(partition: &PartitionImage, rules: ElectionRules) -> Self {
        Self {
            isr: partition.isr.clone(),
            replicas: partition.replicas.clone(),
            adding: partition.adding_replicas.clone(),
            removing: partition.removing_replicas.clone(),
            leader_recovery_state: partition.leader_recovery_state,
            crashed: None,
            election: if rules.unclean_allowed { Election::Unclean } else { Election::Online },
            located: None,
        }
    }

    /// The log directory of `broker`'s replica; `None` where it has none yet.
    pub(super) fn directory(&self, partition: &PartitionImage, broker: BrokerId) -> Option<Uuid> {
        let told = self.located.filter(|(of, _)| *of == broker).map(|(_, directory)| directory);
        told.or_else(|| partition.directory(broker))
    }

    /// A reassignment is complete when everyone who shall hold the partition is in sync: then those on their way out go.
    fn complete_reassignment(&mut self) {
        if self.adding.is_empty() && self.removing.is_empty() {
            return;
        }
        let stays = |replica: &BrokerId| !self.removing.contains(replica);
        let isr: Vec<BrokerId> = self.isr.iter().copied().filter(stays).collect();
        let replicas: Vec<BrokerId> = self.replicas.iter().copied().filter(stays).collect();
        let complete = !replicas.is_empty() && replicas.iter().all(|replica| isr.contains(replica));
        if complete {
            mark!("a reassignment is complete");
            (self.isr, self.replicas) = (isr, replicas);
            self.adding.clear();
            self.removing.clear();
        }
    }
}

/// A change of one partition, being worked out.
pub(super) struct PartitionUpdate<'a> {
    /// The partition.
    pub(super) name: TopicIdPartition,
    /// Its present state.
    pub(super) partition: &'a PartitionImage,
    /// The rules of its topic.
    pub(super) rules: ElectionRules,
    /// What is wanted.
    pub(super) target: PartitionTarget,
    /// Whether a broker is alive, and so is the directory of its replica.
    pub(super) may_lead: &'a dyn Fn(&PartitionTarget, BrokerId) -> bool,
    /// The log directory of a replica that is new on a broker.
    pub(super) new_directory: &'a dyn Fn(BrokerId) -> Uuid,
}

/// Who was elected, and how.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Elected {
    Nobody,
    Cleanly(BrokerId),
    Uncleanly(BrokerId),
}

impl PartitionUpdate<'_> {
    /// The change, or `None` where nothing changes.
    pub(super) fn build(mut self) -> Option<PartitionChange> {
        let partition = self.partition;
        let mut change = PartitionChange::new(self.name.topic_id, self.name.partition);
        self.target.complete_reassignment();
        let mut elr = self.eligible();

        let leader = match self.elect(&elr) {
            Elected::Nobody => None,
            Elected::Cleanly(leader) => {
                if elr.contains(&leader) {
                    mark!("an eligible replica is elected leader");
                    self.target.isr = vec![leader];
                    elr.retain(|replica| *replica != leader);
                }
                Some(leader)
            }
            Elected::Uncleanly(leader) => {
                mark!("a leader is elected uncleanly");
                self.target.isr = vec![leader];
                self.target.leader_recovery_state = LeaderRecoveryState::Recovering;
                elr.clear();
                Some(leader)
            }
        };
        if self.target.isr.len() >= self.min_isr() {
            elr.clear();
        }
        if leader != partition.leader || self.loses_replicas() {
            change.leader = leader.map_or(LeaderChange::NoLeader, LeaderChange::Leader);
        }
        // Without eligible replicas the last member stays in the list, or nobody could ever lead cleanly again.
        let isr = &self.target.isr;
        if *isr != partition.isr && (!isr.is_empty() || self.rules.elr_enabled) {
            change.isr = Some(isr.clone());
        }
        if elr != partition.eligible_leader_replicas {
            change.eligible_leader_replicas = Some(elr);
        }
        if self.rules.elr_enabled {
            change.last_known_elr = self.last_known_leader(change.isr.as_deref(), leader);
        }
        if self.target.leader_recovery_state != partition.leader_recovery_state {
            change.leader_recovery_state = Some(self.target.leader_recovery_state);
        }
        self.assign(&mut change);
        (!change.is_empty()).then_some(change)
    }

    fn may_lead(&self, broker: BrokerId) -> bool {
        (self.may_lead)(&self.target, broker)
    }

    fn min_isr(&self) -> usize {
        self.rules.min_isr.min(self.target.replicas.len())
    }

    fn loses_replicas(&self) -> bool {
        self.partition.replicas.iter().any(|replica| !self.target.replicas.contains(replica))
    }

    /// Those who left the in-sync replicas while too few remained, and have not crashed since.
    fn eligible(&self) -> Vec<BrokerId> {
        let (partition, target) = (self.partition, &self.target);
        let known = partition.eligible_leader_replicas.iter();
        let mut eligible: Vec<BrokerId> = if self.rules.elr_enabled {
            known.chain(&partition.isr).copied().collect()
        } else if target.isr.is_empty() {
            // The feature was turned off while they were the last who have everything.
            known.copied().collect()
        } else {
            Vec::new()
        };
        if target.isr.len() >= self.min_isr() {
            eligible.clear();
        }
        eligible.sort_unstable();
        eligible.dedup();
        eligible.retain(|replica| {
            target.replicas.contains(replica)
                && !target.isr.contains(replica)
                && target.crashed != Some(*replica)
        });
        eligible
    }

    fn elect(&self, elr: &[BrokerId]) -> Elected {
        let PartitionTarget { isr, replicas, .. } = &self.target;
        let qualifies = |replica: &BrokerId| {
            let listed = isr.contains(replica) || (isr.is_empty() && elr.contains(replica));
            listed && self.may_lead(*replica)
        };
        let preferred = match self.target.election {
            Election::Preferred => replicas.first().copied(),
            Election::Online | Election::Unclean => None,
        };
        let present = self.partition.leader;
        let mut clean = preferred.into_iter().chain(present).chain(replicas.iter().copied());
        if let Some(leader) = clean.find(qualifies) {
            return Elected::Cleanly(leader);
        }
        if let [last_known] = self.partition.last_known_elr[..]
            && self.rules.elr_enabled
            && isr.is_empty()
            && elr.is_empty()
            && replicas.contains(&last_known)
            && self.may_lead(last_known)
        {
            mark!("the last known leader is elected");
            return Elected::Uncleanly(last_known);
        }
        let live = replicas.iter().copied().find(|replica| self.may_lead(*replica));
        match (live, self.target.election) {
            (Some(leader), Election::Unclean) => Elected::Uncleanly(leader),
            (Some(_), Election::Preferred | Election::Online) | (None, _) => Elected::Nobody,
        }
    }

    /// Notes the leader that a partition loses together with its last in-sync replica, and forgets it once somebody leads. Where nobody
    /// led any more, because nobody in sync could, that last replica is noted: it alone still holds everything (swarm-disk, seed 254).
    ///
    /// Kafka: `PartitionChangeBuilder.maybeUpdateLastKnownLeader` notes that nobody led, and so nobody ever leads again.
    fn last_known_leader(
        &self,
        new_isr: Option<&[BrokerId]>,
        leader: Option<BrokerId>,
    ) -> Option<Vec<BrokerId>> {
        let known = &self.partition.last_known_elr;
        let last = self.partition.leader.or_else(|| self.partition.isr.first().copied());
        let lost = last.filter(|_| new_isr.is_some_and(<[BrokerId]>::is_empty));
        match (lost, leader) {
            (Some(lost), _) if known[..] != [lost] => Some(vec![lost]),
            (None, Some(_)) if !known.is_empty() => Some(Vec::new()),
            (Some(_) | None, _) => None,
        }
    }

    /// Who holds the partition, and where.
    fn assign(self, change: &mut PartitionChange) {
        let Self { partition, target, new_directory, .. } = self;
        if target.replicas != partition.replicas || target.located.is_some() {
            let directory = |replica: &BrokerId| {
                let known = target.directory(partition, *replica);
                known.unwrap_or_else(|| new_directory(*replica))
            };
            let directories: Vec<Uuid> = target.replicas.iter().map(directory).collect();
            change.directories = (directories != partition.directories).then_some(directories);
        }
        if target.replicas != partition.replicas {
            change.replicas = Some(target.replicas);
        }
        if target.adding != partition.adding_replicas {
            change.adding_replicas = Some(target.adding);
        }
        if target.removing != partition.removing_replicas {
            change.removing_replicas = Some(target.removing);
        }
    }
}

#[cfg(test)]
mod tests;
