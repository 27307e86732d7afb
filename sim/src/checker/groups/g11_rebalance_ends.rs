//! G11: a rebalance ends. Whoever does not join or sync in its time is gone, so that no group waits longer than the longest rebalance
//! timeout of its members for either; the time in which the coordinator stood still aside. In the consumer protocol whoever does not
//! give up what it is to, or is silent, is gone in its time, and with the next heartbeats of the others all have what they are to have.
//!
//! Groups with static members are not held to it, until the last of those is gone: where none of them has joined, the coordinator waits
//! for their sessions.

use std::time::Duration;

use ottla::types::{ConsumerPhase, CoordinatorTerm, GroupPhase, ShortName};

use super::Word;
use crate::checker::ghost::groups::GhostGroup;
use crate::checker::{Ghost, Occurrence, Violation};
use crate::world::{NodeId, SimTime};

/// Clocks drift, disks are slow, and timers wait for their turn.
const SLACK: Duration = Duration::from_secs(15);

/// A coordinator says something of a group that should be stable by now.
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Some(word) = Word::of(ghost, occurrence) else { return };
    let Some(group) = word.what.group() else { return };
    let Some(known) = word.group(group) else { return };
    out.extend(waits_too_long(ghost, (occurrence.node, word.term), (group, known), occurrence.at));
}

/// Some group should be stable by now.
pub(crate) fn at_barrier(ghost: &Ghost, at: SimTime, out: &mut Vec<Violation>) {
    for (of, coordinator) in &ghost.groups().coordinators {
        for (group, known) in &coordinator.groups {
            out.extend(waits_too_long(ghost, *of, (*group, known), at));
        }
    }
}

fn waits_too_long(
    ghost: &Ghost,
    (node, term): (NodeId, CoordinatorTerm),
    (group, known): (ShortName, &GhostGroup),
    at: SimTime,
) -> Option<Violation> {
    let state = ghost.node(node).filter(|state| state.works())?;
    if let Some(found) = consumers_wait_too_long(ghost, (node, term), (group, known), at) {
        return Some(found);
    }
    let phase = known.phase.filter(|phase| match phase.phase {
        GroupPhase::PreparingRebalance | GroupPhase::CompletingRebalance => true,
        GroupPhase::Empty | GroupPhase::Stable => false,
    })?;
    let has_static = known.members.values().any(|member| member.instance.is_some());
    let since = state.resumed_at.map_or(phase.since, |resumed| resumed.max(phase.since));
    let limit = phase.limit + phase.limit / 10 + SLACK;
    let waits = at.since(since);
    if has_static || waits <= limit {
        return None;
    }
    let what = format!("{group} is {} for {} s", phase.phase.name(), waits.as_secs());
    let fact = format!(
        "its members may take {} s; it is coordinated in partition {}, epoch {}",
        phase.limit.as_secs(),
        term.partition,
        term.leader_epoch
    );
    Some(Violation {
        check: "G11",
        at,
        node: Some(node),
        partition: None,
        what,
        evidence: vec![fact],
    })
}

fn consumers_wait_too_long(
    ghost: &Ghost,
    (node, term): (NodeId, CoordinatorTerm),
    (group, known): (ShortName, &GhostGroup),
    at: SimTime,
) -> Option<Violation> {
    let state = ghost.node(node)?;
    let standing = known.consumers.standing.filter(|standing| match standing.phase {
        ConsumerPhase::Assigning | ConsumerPhase::Reconciling => true,
        ConsumerPhase::Empty | ConsumerPhase::Stable => false,
    })?;
    let members = &known.consumers.members;
    let has_static = members.values().any(|member| member.instance.is_some());
    let since = state.resumed_at.map_or(standing.since, |resumed| resumed.max(standing.since));
    let waits = at.since(since);
    if has_static || members.is_empty() || waits <= standing.limit + standing.limit / 10 + SLACK {
        return None;
    }
    let (phase, epoch) = (standing.phase.name(), standing.epoch);
    let what = format!("{group} is {phase} in epoch {epoch} for {} s", waits.as_secs());
    let fact = format!(
        "its members may take {} s; it is coordinated in partition {}, epoch {}",
        standing.limit.as_secs(),
        term.partition,
        term.leader_epoch
    );
    let (node, evidence) = (Some(node), vec![fact]);
    Some(Violation { check: "G11", at, node, partition: None, what, evidence })
}
