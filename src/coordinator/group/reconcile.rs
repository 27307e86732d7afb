//! How a member of a consumer group comes from what it has to what it is to have (KIP-848).
//!
//! First it gives up what is not meant for it, and stays in its epoch until it says that it has. Then it goes to the target's epoch,
//! and gets what nobody else still has; the rest when the others have given it up.
//!
//! Kafka: `CurrentAssignmentBuilder`.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::assignor::Assignment;
use super::consumer_group::{ConsumerGroup, Current, MemberState, Owned};
use super::request::MemberId;
use crate::types::{ErrorCode, TopicId};

/// What is needed to see where a member is to go next.
pub(super) struct Step<'a> {
    pub(super) group: &'a ConsumerGroup,
    pub(super) member: &'a MemberId,
    /// The topics that it reads, of those that exist.
    pub(super) reads: &'a BTreeSet<TopicId>,
    /// Whether it reads other topics than before.
    pub(super) reads_others: bool,
    /// What it says that it has, where it says so.
    pub(super) says_it_has: Option<&'a Assignment>,
}

impl Step<'_> {
    /// Where the member is now. Errors: `FENCED_MEMBER_EPOCH` for one in a state that nobody knows.
    pub(super) fn next(&self) -> Result<Current, ErrorCode> {
        let current = self.group.current_of(self.member);
        let target_epoch = self.group.assignment_epoch();
        match current.state {
            MemberState::Stable if current.epoch != target_epoch => Ok(self.go_on(&current)),
            MemberState::Stable if self.reads_others => Ok(self.drop_unread(&current)),
            MemberState::Stable => Ok(Current::clone(&current)),
            MemberState::UnrevokedPartitions if self.still_has_any(&current.revoking) => {
                if self.reads_others {
                    Ok(self.drop_unread(&current))
                } else {
                    Ok(Current::clone(&current))
                }
            }
            MemberState::UnrevokedPartitions | MemberState::UnreleasedPartitions => {
                Ok(self.go_on(&current))
            }
            MemberState::Unknown => {
                if self.says_it_has.is_some_and(Assignment::is_empty) {
                    let afresh = Current { epoch: target_epoch, ..Current::clone(&current) };
                    Ok(self.go_on(&afresh))
                } else {
                    Err(ErrorCode::FencedMemberEpoch)
                }
            }
        }
    }

    /// Whether it has said nothing else than that it has some of these.
    fn still_has_any(&self, partitions: &Owned) -> bool {
        let Some(has) = self.says_it_has else { return true };
        partitions.iter().any(|(topic, of_it)| {
            let has = has.get(topic);
            has.is_some_and(|has| of_it.keys().any(|index| has.contains(index)))
        })
    }

    /// It gives up what it does not read any more, whatever the target says.
    fn drop_unread(&self, current: &Current) -> Current {
        let (mut assigned, mut revoking) = (Owned::new(), current.revoking.clone());
        for (topic, partitions) in &current.assigned {
            let to = if self.reads.contains(topic) { &mut assigned } else { &mut revoking };
            to.entry(*topic).or_default().extend(partitions);
        }
        if assigned == current.assigned {
            return current.clone();
        }
        if self.still_has_any(&revoking) {
            let state = MemberState::UnrevokedPartitions;
            return Current { state, assigned, revoking, ..stepped(current, current.epoch) };
        }
        Current { assigned, ..stepped(current, current.epoch) }
    }

    /// Towards the target as far as it goes.
    fn go_on(&self, current: &Current) -> Current {
        let target = self.group.target_of(self.member);
        let (mut assigned, mut revoking) = (Owned::new(), Owned::new());
        for (topic, partitions) in &current.assigned {
            let meant = target.get(topic).filter(|_| self.reads.contains(topic));
            for (index, since) in partitions {
                let stays = meant.is_some_and(|meant| meant.contains(index));
                let to = if stays { &mut assigned } else { &mut revoking };
                to.entry(*topic).or_default().insert(*index, *since);
            }
        }
        if !revoking.is_empty() && self.still_has_any(&revoking) {
            let state = MemberState::UnrevokedPartitions;
            return Current { state, assigned, revoking, ..stepped(current, current.epoch) };
        }
        let epoch = self.group.assignment_epoch();
        let waits = self.take_what_is_free(&target, epoch, &mut assigned);
        let state = if waits { MemberState::UnreleasedPartitions } else { MemberState::Stable };
        Current { state, assigned, revoking: Owned::new(), ..stepped(current, epoch) }
    }

    /// Adds what nobody else has. Returns whether anything is left that somebody has.
    fn take_what_is_free(&self, target: &Assignment, epoch: i32, assigned: &mut Owned) -> bool {
        let mut lacks = Vec::new();
        for (topic, partitions) in target.iter().filter(|(topic, _)| self.reads.contains(*topic)) {
            let has = assigned.get(topic);
            let more =
                partitions.iter().filter(|index| has.is_none_or(|has| !has.contains_key(index)));
            lacks.extend(more.map(|index| (*topic, *index)));
        }
        if lacks.is_empty() {
            // Most members of a large group: they are spared the look at all others.
            return false;
        }
        let owners = self.group.owners();
        let mut waits = false;
        for (topic, index) in lacks {
            let owner = owners.get(&(topic, index));
            if owner.is_none_or(|owner| Arc::ptr_eq(owner, self.member) || **owner == *self.member)
            {
                assigned.entry(topic).or_default().insert(index, epoch);
            } else {
                waits = true;
            }
        }
        waits
    }
}

/// The member comes to `epoch`.
fn stepped(current: &Current, epoch: i32) -> Current {
    Current { epoch, previous_epoch: current.epoch, ..current.clone() }
}
