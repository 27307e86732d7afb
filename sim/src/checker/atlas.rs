//! The atlas of faults: which fault may strike which node now without a record being lost that must not be.
//!
//! For each partition the ghost knows three sets: **E**, whoever may be elected without loss (ISR ∪ ELR; where a leader has asked for
//! another ISR, who is whole must be in that one too, and who is in U or D counts in either); **U**, whoever stopped dirty and was not taken back into the ISR
//! under its new incarnation; **D**, those of U that were in E and whose bytes may be gone. The rule: a fault is tolerable if
//! afterwards, for each partition, D is empty, or E∖U is not and fewer than min.insync.replicas members of E are in U. Surviving
//! bytes alone are not enough: a dirty stop takes a replica out of ISR and ELR, and with both empty the last known leader is elected,
//! whose log may be the shorter one. Nor is E∖U: as long as min.insync.replicas others are in sync nobody who is fenced (by a cut, a
//! pause) stays eligible, so that the members of U alone may come to be all of E before the controller hears how they stopped.
//!
//! Who is asked to stop while its disk is full may be unable to write that it stopped in good order: it counts as in U from then on. So
//! does who stops at its next write or sync, and as in D where that is a sync (swarm-disk, seed 8). Who is unregistered leaves E as one of
//! U does (swarm-terms, seed 161).
//!
//! Rot is mended when everything is healed, so that a replica that has rot is as good as another in the end: unless its node has read and
//! written anew what rotted, as one does whose log directory has failed. One disk has either the one or the other.

use std::collections::BTreeSet;

use ottla::types::{BrokerId, BrokerSet, TopicIdPartition};

use super::Ghost;
use super::ghost::{GhostNode, GhostPartition, PartitionState};
use crate::world::NodeId;

/// A kind of fault, as far as the atlas tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process ends, or panics: the page cache survives.
    Kill,
    /// It ends in good order.
    Shutdown,
    /// It stands still, or its network is cut or slow, or its requests are dropped.
    Isolate,
    /// The machine ends: what is not synced is gone. A torn last write too.
    PowerLoss,
    /// Its disk is emptied.
    Wipe,
    /// A write fails: the directory goes offline with what it holds.
    FailWrite,
    /// A sync fails and drops what was dirty.
    FailSync,
    /// Bits of its files change.
    Rot,
    /// Nearly nothing fits on its disk any more.
    Fill,
    /// Its wall clock jumps; judged by the scenario, which knows retention.
    Clock,
    /// An administrator unregisters it: it is struck from E, whatever it has, until it is let in anew.
    Unregister,
}

/// What a fault does to a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Harm {
    /// Nothing that lasts.
    None,
    /// U, or out of E as one of U is.
    Dirty,
    /// U, and D where it is in E.
    Damaged,
}

impl Fault {
    fn harm(self, flushes_each: bool, node: Option<&GhostNode>) -> Harm {
        match self {
            Fault::Shutdown if node.is_some_and(|node| node.is_full) => Harm::Dirty,
            Fault::Fill if node.is_some_and(|node| node.is_stopping) => Harm::Dirty,
            Fault::Shutdown | Fault::Isolate | Fault::Fill | Fault::Clock => Harm::None,
            Fault::Kill | Fault::FailWrite | Fault::Unregister => Harm::Dirty,
            Fault::PowerLoss | Fault::FailSync if flushes_each => Harm::Dirty,
            Fault::PowerLoss | Fault::FailSync | Fault::Wipe | Fault::Rot => Harm::Damaged,
        }
    }
}

/// What a fault puts at stake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stake {
    /// A voter forgets whom it has voted for.
    Vote,
    /// An acknowledged record of this partition.
    Record(TopicIdPartition),
    /// What rotted would be read as it is and written anew, for good: a healed disk reads as it was written.
    Mending,
}

/// Whether a fault on a node is tolerable now.
#[must_use]
pub fn may(ghost: &Ghost, fault: Fault, node: NodeId) -> bool {
    at_stake(ghost, fault, &[node]).is_none()
}

/// What a fault puts at stake that strikes these nodes together now; `None` where it is tolerable. Of several partitions the first.
#[must_use]
pub fn at_stake(ghost: &Ghost, fault: Fault, nodes: &[NodeId]) -> Option<Stake> {
    let voters = &ghost.quorum().voters;
    if fault == Fault::Wipe && voters.len() > 1 && nodes.iter().any(|node| voters.contains(node)) {
        return Some(Stake::Vote); // static voters: it may vote a second time
    }
    if nodes.iter().filter_map(|node| ghost.node(*node)).any(|node| writes_rot_anew(node, fault)) {
        return Some(Stake::Mending);
    }
    // Everything is durable of who stopped in good order.
    let is_safe = |node: &NodeId| {
        !matches!(fault, Fault::Wipe | Fault::Rot | Fault::Unregister)
            && ghost.node(*node).is_some_and(GhostNode::is_well_stopped)
    };
    let struck = nodes.iter().filter(|node| !is_safe(node));
    let struck: Vec<BrokerId> = struck.filter_map(|node| ghost.broker_of(*node)).collect();
    let mut partitions = ghost.partitions();
    let lost = partitions.find(|(id, of)| !tolerates(ghost, *id, of, fault, &struck));
    lost.map(|(id, _)| Stake::Record(id))
}

/// Whether a node would come to write what rotted anew: it does so with all that may not be durable when it starts after a directory of
/// its own has failed (swarm-disk, seed 174).
const fn writes_rot_anew(node: &GhostNode, fault: Fault) -> bool {
    match fault {
        Fault::Rot => node.has_bad_disk,
        Fault::FailWrite | Fault::FailSync => node.has_rot,
        Fault::Kill
        | Fault::Shutdown
        | Fault::Isolate
        | Fault::PowerLoss
        | Fault::Wipe
        | Fault::Fill
        | Fault::Clock
        | Fault::Unregister => false,
    }
}

fn tolerates(
    ghost: &Ghost,
    id: TopicIdPartition,
    of: &GhostPartition,
    fault: Fault,
    struck: &[BrokerId],
) -> bool {
    let Some(state) = of.state() else { return true };
    let struck = struck.iter().copied().filter(|broker| state.replicas.contains(*broker));
    let struck: Vec<BrokerId> = struck.collect();
    if struck.is_empty() {
        return true;
    }
    let eligible = eligible(ghost, id, of);
    let may_become = |broker| {
        let registered = ghost.registration(broker).map(|known| known.broker_epoch);
        state.counts_on(broker) || of.may_be_let_in(broker, registered)
    };
    let node_of = |broker| ghost.node(ghost.node_of(broker)?);
    let may_stop_dirty =
        |member: &BrokerId| node_of(*member).is_some_and(GhostNode::may_stop_dirty);
    let stopping: BrokerSet = state.replicas.iter().filter(may_stop_dirty).collect();
    let mut dirty: BrokerSet = of.dirty.keys().copied().collect::<BrokerSet>().union(&stopping);
    let mut damaged: BTreeSet<BrokerId> = of.damaged().collect();
    let flushes_each = ghost.facts(id.topic_id).flushes_each;
    let is_armed = |member: &BrokerId| {
        may_become(*member)
            && node_of(*member).is_some_and(|node| node.is_running && node.armed_syncs > 0)
    };
    damaged.extend(state.replicas.iter().filter(is_armed).filter(|_| !flushes_each));
    let mut is_harmed = false;
    for broker in struck {
        let is_eligible = may_become(broker);
        let harm = fault.harm(flushes_each, node_of(broker));
        if harm == Harm::None || matches!(fault, Fault::Wipe | Fault::Rot) && !is_eligible {
            continue;
        }
        if fault == Fault::Rot && node_of(broker).is_some_and(|node| node.is_running) {
            return false; // a running leader may serve and replicate from it before it is found
        }
        is_harmed = true;
        dirty.insert(broker);
        if harm == Harm::Damaged && is_eligible {
            damaged.insert(broker);
        }
    }
    if !is_harmed {
        return true;
    }
    let min_isr = ghost.facts(id.topic_id).min_isr.clamp(1, state.replicas.len().max(1));
    let is_outvoted = dirty.iter().filter(|member| may_become(*member)).count() >= min_isr;
    damaged.is_empty() || !eligible.without(&dirty).is_empty() && !is_outvoted
}

/// E: in the committed state, and in what the leader has asked for.
pub(super) fn eligible(ghost: &Ghost, id: TopicIdPartition, of: &GhostPartition) -> BrokerSet {
    let Some(state) = of.state() else { return BrokerSet::EMPTY };
    match asked_for(ghost, id, state) {
        Some(asked) => {
            let kept = asked.union(&state.elr);
            state.eligible().iter().filter(|broker| kept.contains(*broker)).collect()
        }
        None => state.eligible(),
    }
}

/// The ISR that the leader has asked for and was not answered yet.
pub(super) fn asked_for(
    ghost: &Ghost,
    id: TopicIdPartition,
    state: &PartitionState,
) -> Option<BrokerSet> {
    let leader = ghost.node_of(state.leader?)?;
    ghost.leading(leader, id)?.pending.map(|(asked, _)| asked)
}
