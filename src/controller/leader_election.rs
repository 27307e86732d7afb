//! What becomes of one partition when a broker comes, goes or crashes: its in-sync and eligible replicas, and who leads.
//!
//! The order of preference: the present leader while it qualifies; the first in-sync replica in the order of assignment; an
//! eligible replica, only where nobody is in sync (KIP-966); the last known leader, where nobody is in sync or eligible (uncleanly);
//! any live replica, where unclean election is allowed.
//!
//! Kafka: `PartitionChangeBuilder`.

use crate::mark;
use crate::metadata::PartitionImage;
use crate::metadata::records::{LeaderChange, LeaderRecoveryState, PartitionChange};
use crate::types::{BrokerId, TopicIdPartition};

/// The rules for one partition.
#[derive(Clone, Copy, Debug)]
pub(super) struct ElectionRules {
    /// Whether eligible replicas are kept (KIP-966).
    pub(super) elr_enabled: bool,
    /// `min.insync.replicas`, at most the number of replicas.
    pub(super) min_isr: usize,
    /// `unclean.leader.election.enable`.
    pub(super) unclean_allowed: bool,
}

/// A change of one partition, being worked out.
pub(super) struct PartitionUpdate<'a> {
    pub(super) name: TopicIdPartition,
    pub(super) partition: &'a PartitionImage,
    pub(super) rules: ElectionRules,
    /// Those who shall be in sync.
    pub(super) isr: Vec<BrokerId>,
    /// One whose last process crashed: it may have lost what was not yet synced, and qualifies for nothing.
    pub(super) crashed: Option<BrokerId>,
    /// Whether a broker is alive and may lead.
    pub(super) may_lead: &'a dyn Fn(BrokerId) -> bool,
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
    pub(super) fn build(self) -> Option<PartitionChange> {
        let partition = self.partition;
        let mut change = PartitionChange::new(self.name.topic_id, self.name.partition);
        let mut isr = self.isr.clone();
        let mut elr = self.eligible(&isr);

        let elected = self.elect(&isr, &elr);
        let leader = match elected {
            Elected::Nobody => None,
            Elected::Cleanly(leader) => {
                if elr.contains(&leader) {
                    mark!("an eligible replica is elected leader");
                    isr = vec![leader];
                    elr.retain(|replica| *replica != leader);
                }
                Some(leader)
            }
            Elected::Uncleanly(leader) => {
                mark!("a leader is elected uncleanly");
                isr = vec![leader];
                elr.clear();
                if partition.leader_recovery_state != LeaderRecoveryState::Recovering {
                    change.leader_recovery_state = Some(LeaderRecoveryState::Recovering);
                }
                Some(leader)
            }
        };
        if leader != partition.leader {
            change.leader = leader.map_or(LeaderChange::NoLeader, LeaderChange::Leader);
        }
        // Without eligible replicas the last member stays in the list, or nobody could ever lead cleanly again.
        if isr != partition.isr && (!isr.is_empty() || self.rules.elr_enabled) {
            change.isr = Some(isr.clone());
        }
        if elr != partition.eligible_leader_replicas {
            change.eligible_leader_replicas = Some(elr);
        }
        if self.rules.elr_enabled {
            change.last_known_elr = self.last_known_leader(change.isr.as_deref(), leader);
        }
        (!change.is_empty()).then_some(change)
    }

    /// Those who left the in-sync replicas while too few remained, and have not crashed since.
    fn eligible(&self, isr: &[BrokerId]) -> Vec<BrokerId> {
        if !self.rules.elr_enabled || isr.len() >= self.rules.min_isr {
            return Vec::new();
        }
        let partition = self.partition;
        let mut eligible: Vec<BrokerId> =
            partition.eligible_leader_replicas.iter().chain(&partition.isr).copied().collect();
        eligible.sort_unstable();
        eligible.dedup();
        eligible.retain(|replica| !isr.contains(replica) && self.crashed != Some(*replica));
        eligible
    }

    fn elect(&self, isr: &[BrokerId], elr: &[BrokerId]) -> Elected {
        let partition = self.partition;
        let qualifies = |replica: BrokerId| {
            let listed = isr.contains(&replica) || (isr.is_empty() && elr.contains(&replica));
            listed && (self.may_lead)(replica)
        };
        let clean = partition.leader.into_iter().chain(partition.replicas.iter().copied());
        if let Some(leader) = clean.into_iter().find(|replica| qualifies(*replica)) {
            return Elected::Cleanly(leader);
        }
        if let [last_known] = partition.last_known_elr[..]
            && self.rules.elr_enabled
            && isr.is_empty()
            && elr.is_empty()
            && (self.may_lead)(last_known)
        {
            return Elected::Uncleanly(last_known);
        }
        let live = partition.replicas.iter().copied().find(|replica| (self.may_lead)(*replica));
        match live {
            Some(leader) if self.rules.unclean_allowed => Elected::Uncleanly(leader),
            Some(_) | None => Elected::Nobody,
        }
    }

    /// Notes the leader that a partition loses together with its last in-sync replica, and forgets it once somebody leads.
    fn last_known_leader(
        &self,
        new_isr: Option<&[BrokerId]>,
        leader: Option<BrokerId>,
    ) -> Option<Vec<BrokerId>> {
        let known = &self.partition.last_known_elr;
        let lost = self.partition.leader.filter(|_| new_isr.is_some_and(<[BrokerId]>::is_empty));
        match (lost, leader) {
            (Some(lost), _) if known[..] != [lost] => Some(vec![lost]),
            (None, Some(_)) if !known.is_empty() => Some(Vec::new()),
            (Some(_) | None, _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::types::{LeaderEpoch, PartitionEpoch, PartitionIndex, Uuid};

    fn brokers(ids: &[i32]) -> Vec<BrokerId> {
        ids.iter().copied().map(BrokerId::new).collect()
    }

    struct Case {
        isr: &'static [i32],
        elr: &'static [i32],
        last_known: &'static [i32],
        leader: Option<i32>,
        target_isr: &'static [i32],
        crashed: Option<i32>,
        live: &'static [i32],
        rules: ElectionRules,
    }

    const RULES: ElectionRules =
        ElectionRules { elr_enabled: true, min_isr: 2, unclean_allowed: false };

    #[track_caller]
    fn check(case: &Case, expected: &Expect) {
        let partition = PartitionImage {
            replicas: brokers(&[1, 2, 3]),
            directories: vec![Uuid::ZERO; 3],
            isr: brokers(case.isr),
            eligible_leader_replicas: brokers(case.elr),
            last_known_elr: brokers(case.last_known),
            removing_replicas: vec![],
            adding_replicas: vec![],
            leader: case.leader.map(BrokerId::new),
            leader_recovery_state: LeaderRecoveryState::Recovered,
            leader_epoch: LeaderEpoch::new(4),
            partition_epoch: PartitionEpoch::new(9),
        };
        let live = brokers(case.live);
        let update = PartitionUpdate {
            name: TopicIdPartition { topic_id: Uuid::ZERO, partition: PartitionIndex::new(0) },
            partition: &partition,
            rules: case.rules,
            isr: brokers(case.target_isr),
            crashed: case.crashed.map(BrokerId::new),
            may_lead: &|replica| live.contains(&replica),
        };
        let text = match update.build() {
            None => "nothing".to_owned(),
            Some(change) => format!(
                "leader {:?} isr {:?} elr {:?} last {:?} recovery {:?}",
                change.leader,
                change.isr.map(ids),
                change.eligible_leader_replicas.map(ids),
                change.last_known_elr.map(ids),
                change.leader_recovery_state
            ),
        };
        expected.assert_eq(&text);
    }

    fn ids(list: Vec<BrokerId>) -> Vec<i32> {
        list.into_iter().map(BrokerId::value).collect()
    }

    #[test]
    fn first_live_in_sync_replica_takes_over() {
        check(
            &Case {
                isr: &[1, 2, 3],
                elr: &[],
                last_known: &[],
                leader: Some(1),
                target_isr: &[2, 3],
                crashed: None,
                live: &[2, 3],
                rules: RULES,
            },
            &expect![
                "leader Leader(BrokerId(2)) isr Some([2, 3]) elr None last None recovery None"
            ],
        );
    }

    #[test]
    fn a_fenced_last_member_becomes_eligible_and_returns_cleanly() {
        check(
            &Case {
                isr: &[1],
                elr: &[],
                last_known: &[],
                leader: Some(1),
                target_isr: &[],
                crashed: None,
                live: &[],
                rules: RULES,
            },
            &expect!["leader NoLeader isr Some([]) elr Some([1]) last Some([1]) recovery None"],
        );
        check(
            &Case {
                isr: &[],
                elr: &[1],
                last_known: &[1],
                leader: None,
                target_isr: &[],
                crashed: None,
                live: &[1],
                rules: RULES,
            },
            &expect![
                "leader Leader(BrokerId(1)) isr Some([1]) elr Some([]) last Some([]) recovery None"
            ],
        );
    }

    #[test]
    fn a_crashed_last_member_returns_as_last_known_leader_uncleanly() {
        check(
            &Case {
                isr: &[1],
                elr: &[],
                last_known: &[],
                leader: Some(1),
                target_isr: &[],
                crashed: Some(1),
                live: &[],
                rules: RULES,
            },
            &expect!["leader NoLeader isr Some([]) elr None last Some([1]) recovery None"],
        );
        check(
            &Case {
                isr: &[],
                elr: &[],
                last_known: &[1],
                leader: None,
                target_isr: &[],
                crashed: None,
                live: &[1, 2],
                rules: RULES,
            },
            &expect![
                "leader Leader(BrokerId(1)) isr Some([1]) elr None last Some([]) recovery Some(Recovering)"
            ],
        );
    }

    #[test]
    fn without_eligible_replicas_the_last_member_stays_in_sync() {
        let rules = ElectionRules { elr_enabled: false, ..RULES };
        check(
            &Case {
                isr: &[1],
                elr: &[],
                last_known: &[],
                leader: Some(1),
                target_isr: &[],
                crashed: Some(1),
                live: &[2],
                rules,
            },
            &expect!["leader NoLeader isr None elr None last None recovery None"],
        );
    }

    #[test]
    fn an_eligible_replica_waits_while_somebody_is_in_sync() {
        check(
            &Case {
                isr: &[1],
                elr: &[2],
                last_known: &[],
                leader: Some(1),
                target_isr: &[1],
                crashed: None,
                live: &[2],
                rules: RULES,
            },
            &expect!["leader NoLeader isr None elr None last None recovery None"],
        );
    }

    #[test]
    fn unclean_election_takes_any_live_replica_only_if_allowed() {
        let case = Case {
            isr: &[1],
            elr: &[],
            last_known: &[],
            leader: None,
            target_isr: &[1],
            crashed: None,
            live: &[3],
            rules: RULES,
        };
        check(&case, &expect!["nothing"]);
        let rules = ElectionRules { unclean_allowed: true, ..RULES };
        check(
            &Case { rules, ..case },
            &expect![
                "leader Leader(BrokerId(3)) isr Some([3]) elr None last None recovery Some(Recovering)"
            ],
        );
    }
}
