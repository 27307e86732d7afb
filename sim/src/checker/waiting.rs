//! Why a cluster has not converged: which partition, which replica, and what it waits for. Words for a person, from what the ghost
//! knows; nothing is judged here.

use ottla::types::{BrokerId, BrokerSet, Offset, QuorumRole, TopicIdPartition};

use super::Ghost;
use super::ghost::{GhostPartition, Leading, PartitionState, Role};
use crate::world::NodeId;

/// More partitions than these say nothing that the first do not.
const PARTITIONS_MAX: usize = 8;

/// What keeps the cluster from being whole, a line each: first the quorum, then brokers, then partitions.
#[must_use]
pub fn waiting(ghost: &Ghost) -> Vec<String> {
    let mut out: Vec<String> = quorum(ghost).into_iter().chain(metadata(ghost)).collect();
    let fenced = ghost.registrations().filter(|(_, of)| of.is_fenced);
    out.extend(fenced.map(|(broker, of)| {
        let epoch = of.broker_epoch;
        format!("broker {broker} (epoch {epoch}) is fenced, and it {}", life(ghost, broker))
    }));
    let partitions = ghost.partitions().filter_map(|(id, of)| {
        let reasons = partition(ghost, id, of.state()?, of);
        (!reasons.is_empty()).then(|| (ghost.name(id), reasons))
    });
    let partitions: Vec<_> = partitions.collect();
    for (name, reasons) in partitions.iter().take(PARTITIONS_MAX) {
        out.extend(reasons.iter().map(|reason| format!("{name}: {reason}")));
    }
    if let Some(more) = partitions.len().checked_sub(PARTITIONS_MAX).filter(|more| *more > 0) {
        out.push(format!("… and {more} more partitions"));
    }
    out
}

/// What a broker's process does.
fn life(ghost: &Ghost, broker: BrokerId) -> &'static str {
    let Some(node) = ghost.node_of(broker).and_then(|node| ghost.node(node)) else {
        return "was never started";
    };
    match (node.is_running, node.is_paused, node.has_all_dirs()) {
        (false, ..) => "does not run",
        (true, true, _) => "stands still",
        (true, false, false) => "runs with a failed log directory",
        (true, false, true) => "runs",
    }
}

fn quorum(ghost: &Ghost) -> Option<String> {
    let quorum = ghost.quorum();
    let is_led = |node: &NodeId| {
        ghost.works(*node) && quorum.node(*node).is_some_and(|state| state.is_active)
    };
    if quorum.terms.is_empty() || quorum.nodes.keys().any(is_led) {
        return None;
    }
    let voters = quorum.voters.iter().map(|node| {
        let name = ghost.broker_of(*node).map_or_else(|| "?".into(), |id| id.to_string());
        let role = quorum.node(*node).and_then(|state| state.role);
        match role {
            _ if !ghost.is_running(*node) => format!("{name} does not run"),
            _ if !ghost.works(*node) => format!("{name} stands still"),
            Some((role, epoch)) => format!("{name} is {} in epoch {epoch}", word(role)),
            None => format!("{name} has not said what it is"),
        }
    });
    let voters: Vec<String> = voters.collect();
    Some(format!("no node is the active controller; of the voters {}", voters.join(", ")))
}

pub(super) const fn word(role: QuorumRole) -> &'static str {
    match role {
        QuorumRole::Unattached => "without a leader",
        QuorumRole::Prospective => "asking whether to stand for election",
        QuorumRole::Candidate => "a candidate",
        QuorumRole::Leader => "the leader",
        QuorumRole::Follower => "a follower",
        QuorumRole::Resigned => "a leader that has resigned",
        QuorumRole::Observer => "an observer",
    }
}

/// Who lags behind with the metadata.
fn metadata(ghost: &Ghost) -> Vec<String> {
    let applied = |id: BrokerId| {
        let node = ghost.node_of(id).filter(|node| ghost.is_running(*node))?;
        Some((id, ghost.node(node)?.applied))
    };
    let all: Vec<_> = ghost.brokers().filter_map(applied).collect();
    let Some(newest) = all.iter().filter_map(|(_, end)| *end).max() else { return Vec::new() };
    let late = all.into_iter().filter(|(_, end)| *end < Some(newest));
    let late = late.map(|(id, end)| {
        let end = end.map_or_else(|| "no metadata".into(), |end| format!("metadata below {end}"));
        format!("node {id} has applied {end}, others below {newest}")
    });
    late.collect()
}

/// Everything that is not in order with a partition.
fn partition(
    ghost: &Ghost,
    id: TopicIdPartition,
    state: &PartitionState,
    of: &GhostPartition,
) -> Vec<String> {
    let Some(leader) = state.leader else { return vec![leaderless(ghost, state, of)] };
    let epoch = state.leader_epoch;
    let life = life(ghost, leader);
    if !ghost.node_of(leader).is_some_and(|node| ghost.is_running(node)) {
        return vec![format!("its leader, broker {leader} in epoch {epoch}, {life}")];
    }
    let own = ghost.node_of(leader).and_then(|node| ghost.leading(node, id));
    let Some(own) = own.filter(|own| own.epoch == epoch) else {
        return vec![format!(
            "broker {leader}, which {life}, does not know yet that it leads in epoch {epoch}"
        )];
    };
    let mut out = Vec::new();
    let log = ghost.log_of(leader, id);
    let end = log.map_or(Offset::ZERO, |log| log.end);
    let watermark = log.and_then(|log| log.high_watermark).unwrap_or(Offset::ZERO);
    if watermark < end {
        let members = own.maximal_isr();
        let slow = slowest(own, &members, leader);
        let slow = slow.map_or_else(String::new, |(broker, at)| {
            format!("; of the maximal ISR {members} broker {broker} has fetched least, {at}")
        });
        out.push(format!(
            "the high watermark stands at {watermark} and the log ends at {end}{slow}"
        ));
    }
    let outside = state.replicas.without(&state.isr);
    for broker in outside.iter() {
        out.push(format!(
            "broker {broker} is not in the ISR {}: {}",
            state.isr,
            absent(ghost, id, broker, leader, own, end)
        ));
    }
    if let Some((asked, since)) = own.pending.filter(|(asked, _)| *asked != state.isr) {
        out.push(format!(
            "leader {leader} has asked for the ISR {asked} at {} and waits for the controller",
            ghost.clock(since)
        ));
    }
    out
}

fn leaderless(ghost: &Ghost, state: &PartitionState, of: &GhostPartition) -> String {
    let dirty: BrokerSet = of.dirty.keys().copied().collect();
    let may: BrokerSet = state.eligible();
    let each = |broker: BrokerId| {
        let fenced = ghost.registration(broker).is_some_and(|of| of.is_fenced);
        let fenced = if fenced { ", fenced" } else { "" };
        format!("broker {broker} {}{fenced}", life(ghost, broker))
    };
    let (isr, elr, epoch) = (state.isr, state.elr, state.leader_epoch);
    let who: Vec<String> = may.iter().map(each).collect();
    let waits = if who.is_empty() {
        let last = state.last_known_leader;
        let last = last.map_or_else(|| "nobody is known".into(), &each);
        format!("nobody may be elected; as last leader {last}")
    } else {
        format!("of those that may lead {}", who.join(", "))
    };
    let dirty =
        if dirty.is_empty() { String::new() } else { format!("; stopped dirty were {dirty}") };
    format!("it has no leader in epoch {epoch}, ISR {isr}, ELR {elr}: {waits}{dirty}")
}

/// The member that has fetched least, without the leader itself.
fn slowest(own: &Leading, members: &BrokerSet, leader: BrokerId) -> Option<(BrokerId, String)> {
    let followers = members.iter().filter(|broker| *broker != leader);
    let fetched = followers
        .map(|broker| (own.progress.get(&broker).map(|progress| progress.fetch_offset), broker));
    let (at, broker) = fetched.min()?;
    let words = at.map_or_else(|| "nothing in this term".into(), |at| format!("below {at}"));
    Some((broker, words))
}

/// Why a replica is not in sync.
fn absent(
    ghost: &Ghost,
    id: TopicIdPartition,
    broker: BrokerId,
    leader: BrokerId,
    own: &Leading,
    end: Offset,
) -> String {
    let node = ghost.node_of(broker).filter(|node| ghost.is_running(*node));
    let Some(node) = node else { return format!("it {}", life(ghost, broker)) };
    if ghost.registration(broker).is_none_or(|of| of.is_fenced) {
        return format!("it {} and is fenced", life(ghost, broker));
    }
    let copy = ghost.log(node, id).map_or(Offset::ZERO, |log| log.end);
    let follows = match ghost.replica(node, id).and_then(|replica| replica.role.as_ref()) {
        None => return format!("it {} and has no copy open", life(ghost, broker)),
        Some(Role::Leader(other)) => format!("it believes to lead itself in epoch {}", other.epoch),
        Some(Role::Follower { leader: of, epoch, .. })
            if *of != Some(leader) || *epoch != own.epoch =>
        {
            let of = of.map_or_else(|| "nobody".into(), |of| format!("broker {of}"));
            format!("it follows {of} in epoch {epoch}")
        }
        Some(Role::Follower { .. }) => match own.progress.get(&broker) {
            None => "it follows, and the leader has accepted no fetch of it in this term".into(),
            Some(progress) if progress.fetch_offset < end => {
                format!("it has fetched below {} of {end}", progress.fetch_offset)
            }
            Some(progress) => {
                let known = ghost.registration(broker).map(|of| of.broker_epoch);
                if progress.broker_epoch.is_some() && progress.broker_epoch != known {
                    "it has fetched everything, under an earlier broker epoch".into()
                } else {
                    "it has fetched everything".into()
                }
            }
        },
    };
    format!("{follows}, and its copy ends at {copy}")
}
