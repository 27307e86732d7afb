//! L: what must come about within a bound once everything is healed. Asked again and again while the run converges; what does not hold
//! in the end is a violation.

use std::time::Duration;

use ottla::types::{BrokerSet, Offset, TopicIdPartition};

use super::Ghost;
use super::ghost::GhostPartition;
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
        let runs = ghost.node_of(broker).is_some_and(|node| ghost.is_running(node));
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
    let quorum = ghost.quorum();
    let is_led =
        quorum.nodes.iter().any(|(node, state)| state.is_active && ghost.is_running(*node));
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
        node.is_some_and(|node| node.is_running && node.failed_dirs.is_empty())
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

/// Which nodes publish different metadata.
fn metadata_differs(ghost: &Ghost) -> Option<String> {
    let applied = |broker| {
        let node = ghost.node_of(broker)?;
        let state = ghost.node(node).filter(|state| state.is_running)?;
        Some((broker, state.applied?))
    };
    let all: Vec<_> = ghost.brokers().filter_map(applied).collect();
    let newest = all.iter().map(|(_, end)| *end).max()?;
    let (late, end) = all.iter().find(|(_, end)| *end < newest)?;
    Some(format!("node {late} has the metadata below {end}, others below {newest}"))
}
