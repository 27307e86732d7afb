//! R9: a leader that was elected without being declared to lose records holds all that is committed and all that was acknowledged.

use ottla::types::Observation;

use crate::checker::ghost::GhostBatch;
use crate::checker::{Event, Ghost, Occurrence, Violation, found};

/// A leader begins without a committed or acknowledged record.
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Event::Observed(Observation::BecameLeader {
        partition, leader_epoch, start_offset, ..
    }) = occurrence.event
    else {
        return;
    };
    let Some(of) = ghost.partition(partition) else { return };
    let is_told = of.states.values().any(|state| state.leader_epoch == leader_epoch);
    if !is_told || of.is_declared(leader_epoch) || of.is_cut_off(leader_epoch) {
        return;
    }
    let Some(log) = ghost.log(occurrence.node, partition) else { return };
    // Who slept over the beginning of its term may find it over: what later terms committed it need not have.
    let is_over = of.leaders.keys().any(|later| *later > leader_epoch);
    let is_due = |batch: &&GhostBatch| of.committed.is_due(batch, leader_epoch);
    let missing = log
        .first_missing(of.committed.batches().filter(is_due), of.true_hw)
        .map(|batch| ("committed", batch))
        .or_else(|| {
            let acked = of.acked.values().map(|acked| &acked.batch).filter(is_due);
            let last = of.acked.values().next_back()?.batch.end_offset;
            log.first_missing(acked, last).map(|batch| ("acknowledged", batch))
        });
    let fact = match missing {
        Some((how, batch)) => format!("it lacks {}, which is {how}", batch.text()),
        None if start_offset < of.true_hw && !is_over => {
            format!("its log ends at {start_offset}; the high watermark is {}", of.true_hw)
        }
        None => return,
    };
    let what = format!(
        "a leader begins leader epoch {leader_epoch} without all that is committed, and nobody declared a loss"
    );
    out.push(found("R9", ghost, occurrence, Some(partition), what, vec![fact]));
}
