//! R21: truncation never removes a committed record.

use ottla::types::{Observation, Uuid};

use crate::checker::ghost::GhostBatch;
use crate::checker::{Event, Ghost, Occurrence, Violation, found};

/// A log is cut back, and what fell off is committed.
///
/// Exempt is what lies below the leader's log start: a replica that far behind begins anew there; and what stands behind rot: a batch
/// whose epoch rotted, which no checksum covers, is of a term that the leader has otherwise, and one that is no batch any more ends the
/// log that is cut (swarm-disk, seeds 17, 73).
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Event::Observed(Observation::LogTruncated { partition, from, to }) = occurrence.event
    else {
        return;
    };
    if partition.topic_id == Uuid::METADATA_TOPIC || to >= from {
        return;
    }
    let (Some(log), Some(of)) = (ghost.log(occurrence.node, partition), ghost.partition(partition))
    else {
        return;
    };
    let term = ghost.replica(occurrence.node, partition).and_then(|replica| replica.epoch());
    if term.is_some_and(|term| of.is_unsettled(term)) {
        return;
    }
    let leader = of.state().and_then(|state| state.leader);
    let leader_start =
        leader.and_then(|leader| ghost.log_of(leader, partition)).map(|log| log.start);
    let is_due =
        |batch: &&GhostBatch| Some(batch.base_offset) >= leader_start && of.committed.holds(batch);
    let stands_before_rot =
        |batch: &&GhostBatch| log.rotten_from.is_none_or(|rotten| batch.base_offset < rotten);
    let removed = log.batches_in(to, from);
    if let Some(first) = removed.iter().filter(stands_before_rot).find(is_due) {
        let what = format!("a log was cut from {from} back to {to}, through committed records");
        let fact = format!("{} is committed; the high watermark is {}", first.text(), of.true_hw);
        out.push(found("R21", ghost, occurrence, Some(partition), what, vec![fact]));
    }
}
