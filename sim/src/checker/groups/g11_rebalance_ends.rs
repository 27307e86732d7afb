//! G11: a rebalance ends. Whoever does not join or sync in its time is gone, so that no group waits longer than the longest rebalance
//! timeout of its members for either; the time in which the coordinator stood still aside.
//!
//! Groups with static members are not held to it: where none of them has joined, the coordinator waits for their sessions.

use std::time::Duration;

use ottla::types::{CoordinatorTerm, GroupPhase, ShortName};

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
    let state = ghost.node(node).filter(|state| state.is_running && !state.is_paused)?;
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
