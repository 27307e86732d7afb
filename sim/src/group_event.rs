//! What group coordinators say of themselves, as events. Their names and meaning stand in `scenario/words/`.

use ottla::types::{
    Committer, CoordinatorTerm, GroupObservation, GroupPhase, MemberEnd, OffsetEnd,
    TopicIdPartition,
};

use crate::event::{Event, Recorder, Who};
use crate::scenario::duration::Span;

/// The event that an observation is, if it is one.
pub(crate) fn event_of(
    recorder: &Recorder,
    at: Span,
    who: &Who,
    term: CoordinatorTerm,
    what: &GroupObservation,
) -> Option<Event> {
    use GroupObservation as G;
    let event = |kind| Event::new(at, who.clone(), kind);
    let of =
        |kind, partition: &TopicIdPartition| event(kind).partition(recorder.partition(*partition));
    Some(match what {
        G::Loaded { partition, end_offset } => of("group.loaded", partition)
            .note(format!("epoch {}, up to {end_offset}", term.leader_epoch)),
        G::Unloaded => {
            let note = format!("partition {}, epoch {}", term.partition, term.leader_epoch);
            event("group.unloaded").note(note)
        }
        G::PhaseChanged { group, phase, generation, .. } => {
            event(phase_event(*phase)?).note(format!("{group}, generation {generation}"))
        }
        G::GenerationBegan { group, generation, members, .. } => event("group.generation")
            .note(format!("{group}, generation {generation} of {members} members")),
        G::MemberCame { group, member, .. } => {
            event("member.came").note(format!("{member} to {group}"))
        }
        G::MemberGone { group, member, end } => {
            let (kind, why) = end_event(*end);
            event(kind).note(format!("{member} of {group}{why}"))
        }
        G::OffsetCommitted { group, partition, offset, committer, .. } => {
            of("offset.committed", partition).note(format!("{group} at {offset}{}", by(committer)))
        }
        G::CommitRefused { group, committer, error } => {
            event("offset.rejected").error(*error).note(format!("{group}{}", by(committer)))
        }
        G::OffsetForgotten { group, partition, end } => {
            let (kind, why) = match end {
                OffsetEnd::Expired => ("offset.expired", ""),
                OffsetEnd::Deleted => ("offset.deleted", ""),
                OffsetEnd::GroupDeleted => ("offset.deleted", ", with the group"),
                OffsetEnd::TopicDeleted => ("offset.deleted", ", with the topic"),
            };
            of(kind, partition).note(format!("{group}{why}"))
        }
        G::GroupForgotten { group } => event("group.deleted").note(group.to_string()),
        G::ConsumerCame { group, member, .. } => {
            event("member.came").note(format!("{member} to {group}"))
        }
        G::ConsumerGone { group, member } => {
            event("member.gone").note(format!("{member} of {group}"))
        }
        // What only checks want to know.
        G::TargetBegan { .. }
        | G::PartitionTargeted { .. }
        | G::TargetsSaid { .. }
        | G::TargetsOf { .. }
        | G::EpochReached { .. }
        | G::PartitionHeld { .. }
        | G::GroupStands { .. }
        | G::EpochTold { .. }
        | G::GroupLoaded { .. }
        | G::OffsetLoaded { .. }
        | G::JoinAnswered { .. }
        | G::SubscriptionsRead { .. }
        | G::Subscribed { .. }
        | G::AssignmentGiven { .. }
        | G::PartitionGiven { .. }
        | G::AssignmentTold { .. }
        | G::CommitTold { .. }
        | G::OffsetFetched { .. } => return None,
    })
}

const fn phase_event(phase: GroupPhase) -> Option<&'static str> {
    match phase {
        GroupPhase::Empty => Some("group.empty"),
        GroupPhase::PreparingRebalance => Some("group.rebalance-started"),
        // Right after the generation began, which is told.
        GroupPhase::CompletingRebalance => None,
        GroupPhase::Stable => Some("group.stable"),
    }
}

const fn end_event(end: MemberEnd) -> (&'static str, &'static str) {
    match end {
        MemberEnd::Left => ("member.gone", ""),
        MemberEnd::Silent => ("member.expired", ""),
        MemberEnd::Late => ("member.expired", ", too late for the generation"),
        MemberEnd::Replaced => ("member.gone", ", replaced by its next process"),
        MemberEnd::TurnedAway => ("member.gone", ", the group is full"),
    }
}

fn by(committer: &Committer) -> String {
    let member = committer.member.map(|member| format!(" by {member}")).unwrap_or_default();
    let generation = committer.generation.map(|number| format!(", generation {number}"));
    format!("{member}{}", generation.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use ottla::types::{GenerationId, LeaderEpoch, PartitionIndex, ShortName};

    use super::*;

    #[test]
    fn coordinators_tell_who_came_and_how_far_the_group_is() {
        let recorder = Recorder::default();
        let term = CoordinatorTerm {
            partition: PartitionIndex::new(7),
            leader_epoch: LeaderEpoch::new(2),
        };
        let told = |what| {
            let event = event_of(&recorder, Span::ZERO, &Who::Broker(1), term, &what)?;
            Some((event.kind, event.note.to_string()))
        };
        let (group, member) = (ShortName::of("audit"), ShortName::of("reader/0"));
        let (generation, limit) = (GenerationId::new(3), std::time::Duration::from_secs(60));
        let phase = |phase| GroupObservation::PhaseChanged { group, phase, generation, limit };
        let note = "audit, generation 3".to_owned();
        assert_eq!(told(phase(GroupPhase::Stable)), Some(("group.stable", note.clone())));
        assert_eq!(
            told(phase(GroupPhase::PreparingRebalance)),
            Some(("group.rebalance-started", note))
        );
        assert_eq!(told(phase(GroupPhase::CompletingRebalance)), None);
        let gone = |end| told(GroupObservation::MemberGone { group, member, end });
        assert_eq!(
            gone(MemberEnd::Silent),
            Some(("member.expired", "reader/0 of audit".to_owned()))
        );
        assert_eq!(gone(MemberEnd::Left).unwrap().0, "member.gone");
        assert_eq!(
            told(GroupObservation::Unloaded),
            Some(("group.unloaded", "partition 7, epoch 2".to_owned()))
        );
    }
}
