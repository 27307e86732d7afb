//! Whom the cluster can do without for good: the nodes outside of the core that is healed (`heal = "core"`).
//!
//! A core should be able to work. It has a majority of the voters. Of each partition enough replicas are in it for
//! `min.insync.replicas`, and somebody who may be elected without loss and whose bytes nobody doubts, in whatever order the others are
//! fenced. A partition that cannot be sure of that with everybody there, or that is being moved, is left all of its replicas.

use std::collections::BTreeSet;

use ottla::types::{BrokerId, BrokerSet, TopicIdPartition};

use super::Ghost;
use super::atlas::{asked_for, eligible};
use super::ghost::log::METADATA;
use super::ghost::{GhostNode, GhostPartition};
use crate::world::NodeId;

/// As many as can be left out together, of `order`, each looked at once in that order. `usual_min_isr` is that of topics of which the
/// plan says nothing.
#[must_use]
pub fn left_out(ghost: &Ghost, order: &[NodeId], usual_min_isr: usize) -> BTreeSet<NodeId> {
    let mut left = BTreeSet::new();
    for node in order {
        left.insert(*node);
        if !can_work(ghost, &left, usual_min_isr) {
            left.remove(node);
        }
    }
    left
}

fn can_work(ghost: &Ghost, left: &BTreeSet<NodeId>, usual_min_isr: usize) -> bool {
    let voters = &ghost.quorum().voters;
    let in_core = voters.iter().filter(|voter| !left.contains(voter)).count();
    let brokers: BrokerSet = left.iter().filter_map(|node| ghost.broker_of(*node)).collect();
    in_core * 2 > voters.len()
        && ghost
            .partitions()
            .filter(|(id, _)| *id != METADATA)
            .all(|(id, of)| can_go_on(ghost, id, of, &brokers, usual_min_isr))
}

/// Whether a partition has a leader, and takes records, without these brokers.
fn can_go_on(
    ghost: &Ghost,
    id: TopicIdPartition,
    of: &GhostPartition,
    left: &BrokerSet,
    usual_min_isr: usize,
) -> bool {
    let Some(state) = of.state() else { return true };
    let core = state.replicas.without(left);
    if core == state.replicas {
        return true;
    }
    let node_of = |broker| ghost.node(ghost.node_of(broker)?);
    let is_sound = |node: &GhostNode| node.has_all_dirs() && !node.may_stop_dirty();
    let stays = |broker: BrokerId| {
        let is_clean = !of.dirty.contains_key(&broker);
        core.contains(broker) && is_clean && node_of(broker).is_some_and(is_sound)
    };
    let told = ghost.facts(id.topic_id).min_isr;
    let min_isr = if told == 0 { usual_min_isr } else { told };
    let min_isr = min_isr.clamp(1, state.replicas.len());
    let is_moved = !state.adding.is_empty() || !state.removing.is_empty();
    // Sessions may have ended for everybody, and the controller fences one after the other: whoever is fenced while so many others are in
    // sync stays eligible no longer. None of those that are left then may be one that does not stay.
    let eligible = eligible(ghost, id, of);
    let asked = asked_for(ghost, id, state).unwrap_or(BrokerSet::EMPTY);
    let may_be_in_sync = state.eligible().union(&asked);
    let gone = may_be_in_sync.iter().filter(|broker| !stays(*broker)).count();
    !is_moved && core.len() >= min_isr && gone < min_isr && eligible.iter().any(stays)
}
