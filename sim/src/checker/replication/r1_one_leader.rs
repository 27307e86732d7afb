//! R1: a partition has one leader in each term, it is the one that the controller elected, and it begins its term once.

use ottla::types::{LeaderEpoch, Observation, TopicIdPartition};

use crate::checker::ghost::PartitionState;
use crate::checker::{Event, Ghost, Occurrence, Violation, found};

/// Two nodes act as leaders in one term, or one that was not elected, or the controller names two.
#[expect(clippy::wildcard_enum_match_arm, reason = "only these observations are a leader's")]
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Event::Observed(observation) = occurrence.event else { return };
    match observation {
        Observation::BecameLeader { partition, leader_epoch, .. } => {
            one_in_term(ghost, occurrence, partition, leader_epoch, out);
            was_elected(ghost, occurrence, partition, leader_epoch, out);
            begins_once(ghost, occurrence, partition, leader_epoch, out);
        }
        Observation::ProduceAppended { partition, leader_epoch, .. }
        | Observation::ProduceAcked { partition, leader_epoch, .. } => {
            one_in_term(ghost, occurrence, partition, leader_epoch, out);
        }
        Observation::PartitionChanged { partition, .. } => {
            let state = PartitionState::of(&observation).expect("it is one");
            names_one(ghost, occurrence, partition, &state, out);
        }
        _ => {}
    }
}

fn one_in_term(
    ghost: &Ghost,
    occurrence: &Occurrence,
    partition: TopicIdPartition,
    epoch: LeaderEpoch,
    out: &mut Vec<Violation>,
) {
    let first = ghost.partition(partition).and_then(|of| of.leaders.get(&epoch));
    if let Some(first) = first.filter(|first| **first != occurrence.node) {
        let other = ghost.broker_of(*first).map_or(-1, |broker| broker.value());
        let what = format!("two brokers lead in leader epoch {epoch}");
        let fact = format!("broker {other} led in it before");
        out.push(found("R1", ghost, occurrence, Some(partition), what, vec![fact]));
    }
}

fn was_elected(
    ghost: &Ghost,
    occurrence: &Occurrence,
    partition: TopicIdPartition,
    epoch: LeaderEpoch,
    out: &mut Vec<Violation>,
) {
    let (Some(of), Some(broker)) = (ghost.partition(partition), ghost.broker_of(occurrence.node))
    else {
        return;
    };
    let elected = of.states.values().rev().find(|state| state.leader_epoch == epoch);
    let Some(elected) = elected.and_then(|state| state.leader) else { return };
    if elected != broker {
        let what = format!("broker {broker} leads in leader epoch {epoch} without being elected");
        let fact = format!("the controller elected broker {elected}");
        out.push(found("R1", ghost, occurrence, Some(partition), what, vec![fact]));
    }
}

/// Who begins anew forgets how far its followers are, and which ISR it asked for.
fn begins_once(
    ghost: &Ghost,
    occurrence: &Occurrence,
    partition: TopicIdPartition,
    epoch: LeaderEpoch,
    out: &mut Vec<Violation>,
) {
    let leading = ghost.leading(occurrence.node, partition);
    if let Some(leading) = leading.filter(|leading| leading.epoch == epoch) {
        let what = format!("a leader begins leader epoch {epoch} a second time");
        let fact = format!("it began it at offset {} before", leading.start_offset);
        out.push(found("R1", ghost, occurrence, Some(partition), what, vec![fact]));
    }
}

fn names_one(
    ghost: &Ghost,
    occurrence: &Occurrence,
    partition: TopicIdPartition,
    state: &PartitionState,
    out: &mut Vec<Violation>,
) {
    let (Some(of), Some(leader)) = (ghost.partition(partition), state.leader) else { return };
    let same_term = of.states.values().filter(|known| known.leader_epoch == state.leader_epoch);
    let other = same_term.filter_map(|known| known.leader).find(|known| *known != leader);
    if let Some(other) = other {
        let what = format!(
            "the controller names brokers {other} and {leader} leaders of leader epoch {}",
            state.leader_epoch
        );
        out.push(found("R1", ghost, occurrence, Some(partition), what, Vec::new()));
    }
}
