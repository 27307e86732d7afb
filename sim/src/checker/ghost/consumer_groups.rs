//! What coordinators say of groups of the consumer protocol (KIP-848): who is to have what, and what each has on its way there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ottla::types::{
    Committer, ConsumerPhase, GenerationId, GroupObservation, ShortName, TopicIdPartition,
};

use crate::world::SimTime;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GhostConsumers {
    /// The members.
    pub members: BTreeMap<ShortName, GhostConsumer>,
    /// How the group stands, as its coordinator said last.
    pub standing: Option<Standing>,
    /// Whether it was just said who is to have what.
    pub is_assigned_anew: bool,
}

/// How a group stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its state.
    pub phase: ConsumerPhase,
    /// Its epoch.
    pub epoch: GenerationId,
    /// The epoch of which it is said who is to have what.
    pub target_epoch: GenerationId,
    /// Since when it has been on the way to this epoch, or stable in it.
    pub since: SimTime,
    /// How long its members may let it wait.
    pub limit: Duration,
}

/// A member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GhostConsumer {
    /// Its name where it is a static one.
    pub instance: Option<ShortName>,
    /// The epoch to which it has come; `None` before the first, and for a static member that is away.
    pub epoch: Option<GenerationId>,
    /// The highest epoch that it ever came to.
    pub highest: Option<GenerationId>,
    /// The last epoch that this coordinator told it.
    pub told: Option<GenerationId>,
    /// What it is to have.
    pub target: BTreeSet<TopicIdPartition>,
    /// What it has.
    pub has: BTreeMap<TopicIdPartition, Held>,
    /// What it had in its last step.
    had: BTreeMap<TopicIdPartition, Held>,
}

/// A group, as a coordinator read it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadedConsumers {
    /// Its epoch.
    pub epoch: GenerationId,
    /// The epoch of which it is said who is to have what.
    pub target_epoch: GenerationId,
    /// The members.
    pub members: BTreeMap<ShortName, LoadedConsumer>,
}

/// A member, as a coordinator read it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadedConsumer {
    /// Its name where it is a static one.
    pub instance: Option<ShortName>,
    /// The epoch to which it has come; `None` before the first, and for a static member that is away.
    pub epoch: Option<GenerationId>,
    /// What it is to have.
    pub target: BTreeSet<TopicIdPartition>,
    /// What it has.
    pub has: BTreeMap<TopicIdPartition, Held>,
}

/// A partition that a member has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Since which of its epochs it has had it without a break; `None` where that is not known.
    pub since: Option<GenerationId>,
    /// Whether it is to give it up.
    pub is_given_up: bool,
}

impl GhostConsumers {
    /// What a coordinator that says this has just read.
    #[must_use]
    pub fn as_read(&self) -> LoadedConsumers {
        let epoch = |of: fn(&Standing) -> GenerationId| self.standing.as_ref().map(of);
        let member = |known: &GhostConsumer| LoadedConsumer {
            instance: known.instance,
            epoch: known.epoch,
            target: known.target.clone(),
            has: known.has.clone(),
        };
        LoadedConsumers {
            epoch: epoch(|standing| standing.epoch).unwrap_or_default(),
            target_epoch: epoch(|standing| standing.target_epoch).unwrap_or_default(),
            members: self.members.iter().map(|(name, known)| (*name, member(known))).collect(),
        }
    }

    /// Who has a partition, beside `member`.
    #[must_use]
    pub fn other_owner(&self, member: ShortName, partition: TopicIdPartition) -> Option<ShortName> {
        let mut others = self.members.iter().filter(|(name, _)| **name != member);
        others.find(|(_, known)| known.has.contains_key(&partition)).map(|(name, _)| *name)
    }

    /// Who is to have a partition, beside `member`.
    #[must_use]
    pub fn other_target(
        &self,
        member: ShortName,
        partition: TopicIdPartition,
    ) -> Option<ShortName> {
        let mut others = self.members.iter().filter(|(name, _)| **name != member);
        others.find(|(_, known)| known.target.contains(&partition)).map(|(name, _)| *name)
    }

    /// Whether a member may commit an offset of this partition: in its epoch, or in an older one what it has had since then.
    #[must_use]
    pub fn may_commit(&self, committer: &Committer, partition: TopicIdPartition) -> bool {
        let Some(member) = committer.member else { return self.members.is_empty() };
        let Some(epoch) = committer.generation else { return self.members.is_empty() };
        let Some(known) = self.members.get(&member) else { return false };
        let has_since = |held: &Held| held.since.is_none_or(|since| since <= epoch);
        known.epoch == Some(epoch)
            || (known.epoch > Some(epoch) && known.has.get(&partition).is_some_and(has_since))
    }

    /// Takes in what a coordinator says of the group; `is_loading` where it reads its log.
    #[expect(clippy::wildcard_enum_match_arm, reason = "others are of the classic protocol")]
    pub(super) fn apply(&mut self, at: SimTime, is_loading: bool, what: GroupObservation) {
        use GroupObservation as G;
        match what {
            G::ConsumerCame { member, instance, .. } => {
                self.members.entry(member).or_default().instance = instance;
            }
            G::ConsumerGone { member, .. } => _ = self.members.remove(&member),
            G::TargetBegan { member, .. } => self.member(member, |known| known.target.clear()),
            G::PartitionTargeted { member, partition, .. } => {
                self.member(member, |known| _ = known.target.insert(partition));
            }
            G::EpochReached { member, epoch, .. } => self.member(member, |known| {
                known.epoch = epoch;
                known.highest = known.highest.max(epoch);
                known.had = std::mem::take(&mut known.has);
            }),
            G::PartitionHeld { member, partition, since, is_given_up, .. } => {
                self.member(member, |known| {
                    let before = known.had.get(&partition).map(|held| held.since);
                    let since = before.unwrap_or(if is_loading { since } else { known.epoch });
                    known.has.insert(partition, Held { since, is_given_up });
                });
            }
            G::GroupStands { phase, epoch, target_epoch, limit, .. } => {
                let before = self.standing.filter(|known| {
                    (known.phase == ConsumerPhase::Stable) == (phase == ConsumerPhase::Stable)
                        && known.epoch == epoch
                });
                let since = before.map_or(at, |known| known.since);
                self.standing = Some(Standing { phase, epoch, target_epoch, since, limit });
                self.is_assigned_anew = false;
            }
            _ => {}
        }
    }

    /// A member was told its epoch.
    pub(super) fn tell(&mut self, member: ShortName, epoch: GenerationId) {
        self.member(member, |known| known.told = Some(epoch));
    }

    fn member(&mut self, member: ShortName, change: impl FnOnce(&mut GhostConsumer)) {
        if let Some(known) = self.members.get_mut(&member) {
            change(known);
        }
    }
}
