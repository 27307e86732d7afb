//! R18: a replica whose broker stopped dirty is outside ISR and ELR until, under its new incarnation, it has fetched up to the leader's
//! watermark and start; but for a leader of a declared election.

use ottla::types::{BrokerId, BrokerSet, Observation, TopicIdPartition};

use crate::checker::ghost::{GhostPartition, PartitionState};
use crate::checker::{Event, Ghost, Occurrence, Violation, found};
use crate::world::SimTime;

/// A version that keeps such a replica, or lets it in before its time.
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Event::Observed(observation) = occurrence.event else { return };
    let Observation::PartitionChanged { partition, partition_epoch, .. } = observation else {
        return;
    };
    let state = PartitionState::of(&observation).expect("it is one");
    let Some(of) = ghost.partition(partition) else { return };
    if of.partition_epoch().is_some_and(|newest| newest >= partition_epoch) {
        return;
    }
    // An image may hold two changes at once: of who was let in and fell out again nobody sees the version between.
    let is_next = of.state_before(partition_epoch).is_some();
    for broker in registered_dirty(ghost, of, &state).iter() {
        let is_declared_leader = state.leader == Some(broker) && state.is_recovering;
        // Who let it in is the leader until this change: by the same one a reassignment may make it leader.
        if is_declared_leader
            || (state.isr.contains(broker) || !is_next && state.elr.contains(broker))
                && caught_up(ghost, partition, of.state(), broker)
        {
            continue;
        }
        let what = format!(
            "broker {broker} stopped dirty and is in sync or eligible again before it caught up"
        );
        let fact = format!("isr {}, eligible {}", state.isr, state.elr);
        out.push(found("R18", ghost, occurrence, Some(partition), what, vec![fact]));
    }
}

/// The members of ISR ∪ ELR that stopped dirty and were registered anew since.
fn registered_dirty(ghost: &Ghost, of: &GhostPartition, state: &PartitionState) -> BrokerSet {
    state.eligible().iter().filter(|broker| ghost.is_surely_dirty(of, *broker)).collect()
}

/// Whether the leader until now has heard from this incarnation that it holds everything it must; or had, when it asked for the ISR and
/// went away before the controller agreed.
fn caught_up(
    ghost: &Ghost,
    partition: TopicIdPartition,
    before: Option<&PartitionState>,
    broker: BrokerId,
) -> bool {
    let Some((leader, term)) = before.and_then(|state| Some((state.leader?, state.leader_epoch)))
    else {
        return false;
    };
    let Some(registered) = ghost.registration(broker).map(|known| known.broker_epoch) else {
        return false;
    };
    let heard = ghost.node_of(leader).map(|node| ghost.caught_up(node, partition));
    let asked = ghost.partition(partition).and_then(|of| of.proposal.as_ref());
    heard.is_some_and(|heard| heard.get(&broker) == Some(&registered))
        || asked.is_some_and(|asked| {
            asked.leader_epoch == term && asked.caught_up.get(&broker) == Some(&registered)
        })
}

/// The controller registered a broker that stopped dirty and left it among the candidates.
pub(crate) fn at_barrier(ghost: &Ghost, at: SimTime, out: &mut Vec<Violation>) {
    for (partition, of) in ghost.partitions() {
        let Some(state) = of.state() else { continue };
        let dirty = registered_dirty(ghost, of, state);
        if !dirty.is_empty() {
            out.push(Violation {
                check: "R18",
                at,
                node: None,
                partition: Some(ghost.name(partition)),
                what: format!(
                    "{dirty} stopped dirty, were registered anew and may still be elected"
                ),
                evidence: vec![format!("isr {}, eligible {}", state.isr, state.elr)],
            });
        }
    }
}
