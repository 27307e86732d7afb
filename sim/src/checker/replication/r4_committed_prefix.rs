//! R4: what is below the high watermark is the same on every replica.

use ottla::types::{LeaderEpoch, Observation, Offset, TopicIdPartition};

use crate::checker::ghost::GhostBatch;
use crate::checker::ghost::log::appended;
use crate::checker::{Event, Ghost, Occurrence, Violation, found};

/// A replica writes something else at a committed offset, or its watermark passes something else than what is committed.
///
/// Exempt are replicas of a term that a declared cut has ended, until they truncate.
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Event::Observed(observation) = occurrence.event else { return };
    if let Some((partition, batch)) = appended(&observation) {
        let mut term = batch.leader_epoch;
        if let Observation::FollowerAppended { current_leader_epoch, .. } = observation {
            term = current_leader_epoch;
        }
        wrote(ghost, occurrence, partition, term, &batch, out);
    } else if let Observation::HighWatermarkAdvanced { partition, from, to, leader_epoch, .. } =
        observation
    {
        let (Some(log), Some(of)) =
            (ghost.log(occurrence.node, partition), ghost.partition(partition))
        else {
            return;
        };
        let rot = ghost.node(occurrence.node).is_some_and(|node| node.has_rot);
        if rot || leader_epoch.is_some_and(|epoch| of.is_unsettled(epoch)) {
            return;
        }
        let mut passed = log.batches_in(from, to).iter();
        let other = passed.find_map(|batch| Some((batch, of.committed.other_than(batch)?)));
        if let Some((batch, known)) = other {
            report(ghost, occurrence, partition, batch, known, out);
        }
    }
}

fn wrote(
    ghost: &Ghost,
    occurrence: &Occurrence,
    partition: TopicIdPartition,
    term: LeaderEpoch,
    batch: &GhostBatch,
    out: &mut Vec<Violation>,
) {
    let Some(of) = ghost.partition(partition).filter(|of| !of.is_unsettled(term)) else { return };
    let overlapping = of.committed.batches_in(Offset::ZERO, batch.end_offset).next_back();
    let overlapping = overlapping.filter(|known| known.end_offset > batch.base_offset);
    // A leader that was deposed and does not know it yet may still write in its old term, and its followers copy that: it is never
    // committed. The term may be later than that of the record, which a still later leader committed.
    let contradicts =
        |known: &&GhostBatch| of.committed.is_due(known, term) && !known.is_same(batch);
    if let Some(known) = overlapping.filter(contradicts) {
        report(ghost, occurrence, partition, batch, known, out);
    }
}

fn report(
    ghost: &Ghost,
    occurrence: &Occurrence,
    partition: TopicIdPartition,
    batch: &GhostBatch,
    known: &GhostBatch,
    out: &mut Vec<Violation>,
) {
    let what = format!("a replica holds {} where another record is committed", batch.text());
    let fact = format!("committed is {}", known.text());
    out.push(found("R4", ghost, occurrence, Some(partition), what, vec![fact]));
}
