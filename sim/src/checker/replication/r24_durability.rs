//! R24: what was acknowledged with `acks=all` is in some broker's log, for as long as no fault beyond the budget took it.

use ottla::types::Observation;

use crate::checker::ghost::Acked;
use crate::checker::{Event, Ghost, Occurrence, Violation, found};
use crate::world::SimTime;

/// A declared election loses acknowledged records although nobody lost a byte.
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Event::Observed(Observation::BecameLeader { partition, leader_epoch, .. }) =
        occurrence.event
    else {
        return;
    };
    let (Some(of), Some(log)) = (ghost.partition(partition), ghost.log(occurrence.node, partition))
    else {
        return;
    };
    let is_due = of.is_declared(leader_epoch)
        && of.is_unsettled(leader_epoch)
        && !of.was_damaged(leader_epoch)
        && !ghost.facts(partition.topic_id).allows_unclean;
    let lost: Vec<&Acked> = of.acked.values().filter(|acked| !log.has_had(&acked.batch)).collect();
    if let Some(first) = lost.first().filter(|_| is_due) {
        let what = format!(
            "{} acknowledged batches are lost by an election, and no eligible replica had lost a byte",
            lost.len()
        );
        let fact = first_lost(ghost, first);
        out.push(found("R24", ghost, occurrence, Some(partition), what, vec![fact]));
    }
}

/// An acknowledged record is in no log at all.
pub(crate) fn at_barrier(ghost: &Ghost, at: SimTime, out: &mut Vec<Violation>) {
    for (partition, of) in ghost.partitions() {
        let settled = of.state().is_none_or(|state| !of.is_unsettled(state.leader_epoch));
        if !settled || of.damaged().next().is_some() {
            continue; // a loss that the controller still has to declare
        }
        let is_somewhere = |acked: &&Acked| {
            let mut logs = ghost.logs(partition);
            logs.any(|(_, log)| log.has_had(&acked.batch))
        };
        let lost: Vec<&Acked> = of.acked.values().filter(|acked| !is_somewhere(acked)).collect();
        let Some(first) = lost.first() else { continue };
        out.push(Violation {
            check: "R24",
            at,
            node: None,
            partition: Some(ghost.name(partition)),
            what: format!("{} acknowledged batches are in no broker's log", lost.len()),
            evidence: vec![first_lost(ghost, first)],
        });
    }
}

fn first_lost(ghost: &Ghost, first: &Acked) -> String {
    format!("the first is {}, acknowledged at {}", first.batch.text(), ghost.clock(first.at))
}
