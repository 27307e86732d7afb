//! G4: a group that is stable is whole: every member of it has joined the generation and was given something in it, if only nothing,
//! and each is told what it was given.
//!
//! A group of the consumer protocol is stable when its epoch has a target, and every member has come to it, has what it is to have, and
//! has nothing to give up.
//!
//! Static members may be between two processes: they keep their place without having joined.

use ottla::types::{ConsumerPhase, GenerationId, GroupObservation, GroupPhase};

use super::Word;
use crate::checker::ghost::groups::GhostGroup;
use crate::checker::{Ghost, Occurrence, Violation};

/// A generation begins, a group is stable, or a member is told what it has.
#[expect(clippy::wildcard_enum_match_arm, reason = "only these say that a group is whole")]
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    use GroupObservation as G;
    let Some(word) = Word::of(ghost, occurrence) else { return };
    let Some(known) = word.what.group().and_then(|group| word.group(group)) else { return };
    let what = match word.what {
        G::GenerationBegan { group, generation, members, .. } => {
            let came = known.members.len();
            (u32::try_from(came) != Ok(members)).then(|| {
                format!("generation {generation} of {group} begins with {members} members, of which {came} came")
            })
        }
        G::PhaseChanged { group, phase: GroupPhase::Stable, generation, .. } => {
            let is_out = |(_, member): &(_, &crate::checker::ghost::groups::GhostMember)| {
                member.instance.is_none() && member.joined != Some(generation)
            };
            let late = known.members.iter().find(is_out).map(|(member, _)| member);
            let mut members = known.members.keys();
            let forgotten = members
                .find(|member| known.given_in != generation || !known.given.contains_key(member));
            if let Some(member) = late {
                Some(format!(
                    "{group} is stable in generation {generation}, which {member} has not joined"
                ))
            } else {
                forgotten.map(|member| {
                    format!("{group} is stable in generation {generation}, in which {member} was given nothing")
                })
            }
        }
        G::GroupStands { group, phase: ConsumerPhase::Stable, epoch, target_epoch, .. } => {
            not_whole(known, epoch, target_epoch).map(|why| format!("{group} is stable, and {why}"))
        }
        G::AssignmentTold { group, member, generation, hash } => {
            let given = known.given.get(&member).filter(|_| known.given_in == generation);
            given.filter(|given| **given != hash).map(|_| {
                format!("{member} is told to have something else than it was given in generation {generation} of {group}")
            })
        }
        _ => None,
    };
    if let Some(what) = what {
        out.push(word.found("G4", None, what, Vec::new()));
    }
}

fn not_whole(
    known: &GhostGroup,
    epoch: GenerationId,
    target_epoch: GenerationId,
) -> Option<String> {
    if epoch != target_epoch {
        return Some(format!("epoch {epoch} has no target, the last is of {target_epoch}"));
    }
    known.consumers.members.iter().find_map(|(member, state)| {
        if state.epoch != Some(epoch) {
            return Some(format!("{member} has not come to epoch {epoch}"));
        }
        if state.has.values().any(|held| held.is_given_up) {
            return Some(format!("{member} has something to give up"));
        }
        let is_it = state.has.keys().eq(&state.target);
        (!is_it).then(|| format!("{member} has something else than it is to have"))
    })
}
