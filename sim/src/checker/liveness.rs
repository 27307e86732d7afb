//! L: what must come about within a bound once everything is healed, or a core of it: who stands still for good is not waited for.
//! Asked again and again while the run converges; what does not hold in the end is a violation.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ottla::types::{
    BrokerSet, ConsumerPhase, CoordinatorTerm, GroupPhase, LeaderEpoch, Offset, PartitionIndex,
    ShortName, TopicIdPartition,
};

use super::Ghost;
use super::ghost::groups::{GhostCoordinator, GhostGroup};
use super::ghost::{GhostNode, GhostPartition};
use crate::world::SimTime;

/// An ISR change is answered within this long (`request.timeout.ms` and one more attempt).
const ISR_CHANGE_WITHIN: Duration = Duration::from_secs(45);

/// Something that has not come about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The property: `L2`.
    pub check: &'static str,
    /// What is missing, as a sentence.
    pub what: String,
}

/// Everything that has not come about. What no node tells of is not asked for.
#[must_use]
pub fn missing(ghost: &Ghost, now: SimTime) -> Vec<Missing> {
    let mut out = Vec::new();
    let mut say = |check, what| out.push(Missing { check, what });
    for (id, of) in ghost.partitions() {
        if let Some(what) = not_in_sync(ghost, id, of) {
            say("L2", format!("{}: {what}", ghost.name(id)));
        }
    }
    for (broker, registration) in ghost.registrations() {
        let runs = ghost.node_of(broker).is_some_and(|node| ghost.works(node));
        if runs && registration.is_fenced {
            say("L3", format!("broker {broker} runs and is still fenced"));
        }
    }
    for (node, id, leading) in ghost.leaders() {
        let waits = leading.pending.filter(|(_, since)| now.since(*since) > ISR_CHANGE_WITHIN);
        let is_current = ghost.partition(id).and_then(|of| of.state()).is_some_and(|state| {
            state.leader == ghost.broker_of(node) && state.leader_epoch == leading.epoch
        });
        if let Some((asked, since)) = waits.filter(|_| is_current) {
            let (name, since) = (ghost.name(id), ghost.clock(since));
            say("L4", format!("{name}: the ISR {asked} was asked for at {since} and not answered"));
        }
    }
    if let Some(what) = metadata_differs(ghost) {
        say("L5", what);
    }
    for what in groups_unsettled(ghost) {
        say("L9", what);
    }
    let quorum = ghost.quorum();
    let is_led = quorum.nodes.iter().any(|(node, state)| state.is_active && ghost.works(*node));
    if !quorum.terms.is_empty() && !is_led {
        say("L7", "no node is the active controller".to_owned());
    }
    out
}

/// Why a partition's replicas are not all alike and in sync.
fn not_in_sync(ghost: &Ghost, id: TopicIdPartition, of: &GhostPartition) -> Option<String> {
    let state = of.state()?;
    let Some(leader) = state.leader else { return Some("it has no leader".to_owned()) };
    // Whoever left for good, or whose disk has failed since its start, cannot be waited for.
    let is_live = |broker| {
        let node = ghost.node_of(broker).and_then(|node| ghost.node(node));
        node.is_some_and(GhostNode::works_whole)
    };
    let live: BrokerSet = state.replicas.iter().filter(|broker| is_live(*broker)).collect();
    if !state.isr.contains_all(&live) {
        return Some(format!("of the replicas {live} only {} are in sync", state.isr));
    }
    let log = ghost.log_of(leader, id).filter(|_| live.contains(leader))?;
    let watermark = log.high_watermark?;
    let leads = ghost.node_of(leader).and_then(|node| ghost.leading(node, id)).is_some();
    if leads && watermark < log.end {
        return Some(format!("the high watermark {watermark} has not reached the end {}", log.end));
    }
    live.iter().find_map(|member| {
        let copy = ghost.log_of(member, id);
        let end = copy.map_or(Offset::ZERO, |copy| copy.end);
        if end != log.end {
            return Some(format!("broker {member} ends at {end}, its leader at {}", log.end));
        }
        // What it has not told since it opened its log is not known.
        let known = copy.and_then(|copy| copy.high_watermark).filter(|known| *known < watermark)?;
        Some(format!("broker {member} knows the high watermark {known}, its leader {watermark}"))
    })
}

/// Which groups have fewer members than clients of theirs run. Of a group that no coordinator has, nothing is known.
#[must_use]
pub fn outside(ghost: &Ghost, running: &BTreeMap<Arc<str>, usize>) -> Vec<Missing> {
    let newest = newest_coordinators(ghost);
    let short = running.iter().filter_map(|(group, run)| {
        let id = ShortName::of(group);
        let known = newest.iter().find_map(|coordinator| coordinator.groups.get(&id))?;
        let members = known.members.len() + known.consumers.members.len();
        let what = format!("{run} clients read in {group}, which has {members} members");
        (members < *run).then_some(Missing { check: "L11", what })
    });
    short.collect()
}

/// The coordinators of the newest terms.
fn newest_coordinators(ghost: &Ghost) -> Vec<&GhostCoordinator> {
    let mut newest: BTreeMap<PartitionIndex, (LeaderEpoch, &GhostCoordinator)> = BTreeMap::new();
    for ((_, term), coordinator) in &ghost.groups().coordinators {
        let known = newest.entry(term.partition).or_insert((term.leader_epoch, coordinator));
        if known.0 < term.leader_epoch {
            *known = (term.leader_epoch, coordinator);
        }
    }
    newest.into_values().map(|(_, coordinator)| coordinator).collect()
}

/// Which groups have no coordinator, or one that has not brought them to rest.
fn groups_unsettled(ghost: &Ghost) -> Vec<String> {
    let mut out = Vec::new();
    for coordinator in newest_coordinators(ghost) {
        for (group, known) in &coordinator.groups {
            out.extend(unsettled(*group, known, coordinator));
        }
    }
    out.extend(uncoordinated(ghost));
    out
}

/// What a group with members lacks.
fn unsettled(
    group: ShortName,
    known: &GhostGroup,
    coordinator: &GhostCoordinator,
) -> Option<String> {
    if coordinator.loaded.is_none() {
        return Some(format!("the coordinator of {group} has not read its log"));
    }
    let standing = known.consumers.standing.filter(|_| !known.consumers.members.is_empty());
    let standing = standing.map(|standing| standing.phase);
    if let Some(phase @ (ConsumerPhase::Assigning | ConsumerPhase::Reconciling)) = standing {
        return Some(format!("{group} is {}, not Stable", phase.name()));
    }
    let phase = known.phase.filter(|_| !known.members.is_empty() && !known.is_consumer)?;
    match phase.phase {
        GroupPhase::Stable | GroupPhase::Empty => None,
        GroupPhase::PreparingRebalance | GroupPhase::CompletingRebalance => {
            Some(format!("{group} is {}, not Stable", phase.phase.name()))
        }
    }
}

/// The partitions of the offsets topic whose leader runs and coordinates nothing, of those that anybody ever coordinated.
fn uncoordinated(ghost: &Ghost) -> Vec<String> {
    let partitions = ghost.groups().logs.iter();
    let silent = partitions.filter_map(|partition| {
        let state = ghost.partition(*partition)?.state()?;
        let node = ghost.node_of(state.leader?).filter(|node| ghost.works(*node))?;
        let (partition, leader_epoch) = (*partition, state.leader_epoch);
        let term = CoordinatorTerm { partition: partition.partition, leader_epoch };
        let coordinator = ghost.groups().coordinators.get(&(node, term));
        let is_silent = coordinator.is_none_or(|known| known.loaded.is_none());
        is_silent.then(|| format!("{}: its leader coordinates no groups", ghost.name(partition)))
    });
    silent.collect()
}

/// Which nodes publish different metadata.
fn metadata_differs(ghost: &Ghost) -> Option<String> {
    let applied = |broker| {
        let node = ghost.node_of(broker)?;
        let state = ghost.node(node).filter(|state| state.works())?;
        Some((broker, state.applied?))
    };
    let all: Vec<_> = ghost.brokers().filter_map(applied).collect();
    let newest = all.iter().map(|(_, end)| *end).max()?;
    let (late, end) = all.iter().find(|(_, end)| *end < newest)?;
    Some(format!("node {late} has the metadata below {end}, others below {newest}"))
}
