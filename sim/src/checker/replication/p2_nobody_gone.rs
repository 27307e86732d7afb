//! P2: nobody waits for who is gone: the controller fences a broker that is down within its session timeout, and a leader asks a
//! follower that is silent out of the ISR within `replica.lag.time.max.ms`.

use std::time::Duration;

use ottla::types::{BrokerId, Observation, TopicIdPartition};

use crate::checker::ghost::Leading;
use crate::checker::{Event, Ghost, Occurrence, Violation};
use crate::world::{NodeId, SimTime};

/// What the controller may take besides the session: a slow or full disk of a majority, and the time in which one that lost its
/// majority may not have noticed (one and a half fetch timeouts).
const SLACK_OF_SESSIONS: Duration = Duration::from_secs(10);

/// What a leader may take besides: it looks each half `replica.lag.time.max.ms`, and that is in the bound already.
const SLACK_OF_LAG: Duration = Duration::from_secs(3);

/// A node starts that should have been fenced meanwhile, or a follower speaks again that should have been asked out.
#[expect(clippy::wildcard_enum_match_arm, reason = "only these end a silence")]
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    match occurrence.event {
        Event::Started => out.extend(not_fenced(ghost, occurrence.node, occurrence.at)),
        Event::Observed(Observation::FollowerFetched { partition, replica, .. }) => {
            if let Some(leading) = ghost.leading(occurrence.node, partition) {
                let of = (occurrence.node, partition, leading);
                out.extend(not_asked_out(ghost, of, replica, occurrence.at));
            }
        }
        _ => {}
    }
}

/// The same of all that are still gone, and of all that are still silent.
pub(crate) fn at_barrier(ghost: &Ghost, at: SimTime, out: &mut Vec<Violation>) {
    let nodes = ghost.brokers().filter_map(|broker| ghost.node_of(broker));
    out.extend(nodes.filter_map(|node| not_fenced(ghost, node, at)));
    for (node, partition, leading) in ghost.leaders() {
        for member in leading.isr.iter() {
            out.extend(not_asked_out(ghost, (node, partition, leading), member, at));
        }
    }
}

/// A broker that is down for longer than its session and that the active controller, in office for as long, has not fenced. What it
/// sent before it went may arrive long after, where the network was cut: then it is given a session anew (group-swarm, seed 2307).
fn not_fenced(ghost: &Ghost, node: NodeId, at: SimTime) -> Option<Violation> {
    let facts = ghost.cluster()?;
    let broker = ghost.broker_of(node)?;
    let state = ghost.node(node).filter(|state| !state.is_running)?;
    let known = ghost.registration(broker).filter(|known| !known.is_fenced)?;
    let (controller, in_office) = active_controller(ghost)?;
    let since = state.stopped_at?.max(in_office).max(known.unfenced_at.unwrap_or_default());
    let bound = facts.session_timeout + facts.heartbeat_delay_max + SLACK_OF_SESSIONS;
    (at.since(since) > bound).then(|| Violation {
        check: "P2",
        at,
        node: Some(controller),
        partition: None,
        what: format!("broker {broker} is down since {}, and not fenced", ghost.clock(since)),
        evidence: vec![format!("its session timeout is {:?}", facts.session_timeout)],
    })
}

/// The active controller, if it is one that can act, and since when it can.
fn active_controller(ghost: &Ghost) -> Option<(NodeId, SimTime)> {
    let (_, term) = ghost.quorum().newest_active()?;
    let node = ghost.node_of(term.leader)?;
    let is_active = ghost.quorum().node(node).is_some_and(|voter| voter.is_active);
    let state = ghost.node(node).filter(|state| is_active && state.works_whole())?;
    Some((node, term.active_at?.max(state.resumed_at.unwrap_or_default())))
}

/// A member of the ISR that lacks something and has not fetched for longer than one and a half times `replica.lag.time.max.ms`, while
/// its leader knows the newest version of the partition, has asked for nothing, and could have asked since it looked last: as long as
/// it waits for an answer it asks for nothing else, and a version that somebody else made voids what it asked (group-swarm, seed 794).
fn not_asked_out(
    ghost: &Ghost,
    (node, partition, leading): (NodeId, TopicIdPartition, &Leading),
    member: BrokerId,
    at: SimTime,
) -> Option<Violation> {
    let facts = ghost.cluster()?;
    let of = ghost.partition(partition)?;
    let own = ghost.broker_of(node);
    let is_current = of.state().is_some_and(|state| {
        state.leader == own
            && state.leader_epoch == leading.epoch
            && of.partition_epoch() == Some(leading.partition_epoch)
    });
    let state = ghost.node(node).filter(|state| is_current && state.works_whole())?;
    if own == Some(member) || leading.pending.is_some() || !leading.isr.contains(member) {
        return None;
    }
    let (heard, behind) = match leading.progress.get(&member) {
        Some(progress) => (progress.at, progress.behind_since),
        None => (leading.since, leading.appended_at),
    };
    let since = heard.max(behind?).max(leading.since).max(state.resumed_at.unwrap_or_default());
    let bound = facts.lag_time_max * 3 / 2 + SLACK_OF_LAG;
    let looks_again = facts.lag_time_max / 2 + SLACK_OF_LAG;
    let may_ask = leading.decided_at.is_none_or(|decided| at.since(decided) > looks_again);
    (at.since(since) > bound && may_ask).then(|| Violation {
        check: "P2",
        at,
        node: Some(node),
        partition: Some(ghost.name(partition)),
        what: format!(
            "broker {member} is behind and silent since {}, and its leader keeps it in the ISR {}",
            ghost.clock(since),
            leading.isr
        ),
        evidence: vec![format!("replica.lag.time.max.ms is {:?}", facts.lag_time_max)],
    })
}
