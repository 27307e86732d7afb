//! Q17: roles make sense: only voters vote and stand, a leader was a candidate of the same epoch, a term is not led and then followed, and
//! who hears its leader would vote for nobody else (KIP-996).

use ottla::types::{LeaderEpoch, Observation, QuorumRole as Role};

use super::{observed, on_node};
use crate::checker::waiting::word;
use crate::checker::{Ghost, Occurrence, Violation, told};

/// A transition that cannot be, or a vote of one that does not vote.
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let quorum = ghost.quorum();
    let is_voter = !quorum.are_voters_told || quorum.voters.contains(&occurrence.node);
    let before = quorum.node(occurrence.node).and_then(|node| node.role);
    let what = match observed(occurrence) {
        Some(Observation::VoteGranted { voter, epoch, .. }) if !is_voter => {
            format!("{voter}, which is no voter, voted in epoch {epoch}")
        }
        Some(Observation::VoteGranted { voter, candidate, epoch, is_pre_vote: true }) => {
            let has_heard = quorum.node(occurrence.node).is_some_and(|node| node.has_heard);
            match before {
                Some((Role::Leader, led)) if led == epoch => {
                    format!("{voter}, which leads epoch {epoch}, would vote for {candidate}")
                }
                Some((Role::Follower, of)) if has_heard && of == epoch && is_led(ghost, epoch) => {
                    format!("{voter}, which hears its leader, would vote for {candidate}")
                }
                Some(_) | None => return,
            }
        }
        Some(Observation::QuorumRoleChanged { role, epoch, .. }) => {
            // Of voters that did not say so yet nothing is known.
            let alone = quorum.voters.len() <= 1;
            match (role, before) {
                (Role::Prospective | Role::Candidate | Role::Leader | Role::Resigned, _)
                    if !is_voter =>
                {
                    format!("a node that is no voter became {} in epoch {epoch}", word(role))
                }
                (Role::Leader, before) if !alone && before != Some((Role::Candidate, epoch)) => {
                    format!("a node leads epoch {epoch} without having stood for it")
                }
                (
                    Role::Follower | Role::Candidate | Role::Prospective,
                    Some((Role::Leader, led)),
                ) if led == epoch => {
                    format!("the leader of epoch {epoch} became {} in it", word(role))
                }
                _ => return,
            }
        }
        _ => return,
    };
    let before = before.map(|(role, epoch)| format!("{} in epoch {epoch}", word(role)));
    let fact = format!("it was {}", told(before, "nothing yet"));
    out.push(on_node("Q17", ghost, occurrence, what, fact));
}

/// Whether the leader of an epoch runs and has not given up: one that stops in good order says so, and asks for a successor.
fn is_led(ghost: &Ghost, epoch: LeaderEpoch) -> bool {
    let quorum = ghost.quorum();
    let node = quorum.terms.get(&epoch).and_then(|term| ghost.node_of(term.leader));
    node.is_some_and(|node| {
        let role = quorum.node(node).and_then(|voter| voter.role);
        role == Some((Role::Leader, epoch)) && ghost.is_running(node)
    })
}
