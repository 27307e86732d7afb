//! T1, T14, T15, T16: what the sequences of idempotent producers promise.
//!
//! T1: in a partition's log the sequences of a producer epoch are contiguous modulo 2^31. T14: no sequence is appended twice.
//! T15: a duplicate is answered with the offset of the first, which may still be on its way to the disk: then it must come to stand there. T16: one of
//! the last five is answered so, not refused.

use ottla::types::{Observation, Offset, ProducerStamp, TopicIdPartition};

use super::ghost::GhostLog;
use super::{Event, Ghost, Occurrence, Violation};

/// An append or an answer that breaks one of them.
#[expect(clippy::wildcard_enum_match_arm, reason = "only these observations carry sequences")]
pub(super) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Event::Observed(observation) = occurrence.event else { return };
    match observation {
        Observation::ProduceAppended { partition, producer, base_offset, end_offset, .. } => {
            let Some(log) = ghost.log(occurrence.node, partition) else { return };
            if let Some((at, repeated)) = log
                .repeated_in(base_offset, end_offset)
                .filter(|(at, repeated)| *at != base_offset || Some(*repeated) != producer)
            {
                let what = format!(
                    "a duplicate of {} was answered with offset {at}",
                    stamp_text(repeated)
                );
                let fact = format!("another batch stands there, from {base_offset} on");
                out.push(violation("T15", ghost, occurrence, partition, what, fact));
            }
            let Some(stamp) = producer else { return };
            appended(ghost, occurrence, partition, log, stamp, base_offset, out);
        }
        Observation::ProduceDuplicate { partition, base_offset, producer } => {
            let Some(log) = ghost.log(occurrence.node, partition) else { return };
            let first = log.find(producer).map(|batch| batch.base_offset);
            let is_under_way = first.is_none() && base_offset >= log.end;
            if first != Some(base_offset) && !is_under_way && !(first.is_none() && log.was_cut) {
                let what = format!(
                    "a duplicate of {} was answered with offset {base_offset}",
                    stamp_text(producer)
                );
                let fact = first.map_or("nothing of it stands in the log".to_owned(), |first| {
                    format!("the first stands at offset {first}")
                });
                out.push(violation("T15", ghost, occurrence, partition, what, fact));
            }
        }
        Observation::ProduceOutOfOrder { partition, producer, last_sequence } => {
            let Some(log) = ghost.log(occurrence.node, partition) else { return };
            let Some(first) = log.find(producer) else { return };
            if log.remembers(producer, last_sequence) {
                let what = format!("{}, sent again, was refused", stamp_text(producer));
                let fact = format!(
                    "it stands at offset {}, among the last five of its producer",
                    first.base_offset
                );
                out.push(violation("T16", ghost, occurrence, partition, what, fact));
            }
        }
        _ => {}
    }
}

fn appended(
    ghost: &Ghost,
    occurrence: &Occurrence,
    partition: TopicIdPartition,
    log: &GhostLog,
    stamp: ProducerStamp,
    base_offset: Offset,
    out: &mut Vec<Violation>,
) {
    if let Some(first) = log.find(stamp) {
        let what =
            format!("{} was appended a second time, at offset {base_offset}", stamp_text(stamp));
        out.push(violation(
            "T14",
            ghost,
            occurrence,
            partition,
            what,
            format!("it stands at offset {} already", first.base_offset),
        ));
        return;
    }
    if log.expired.contains(&stamp.id) {
        return;
    }
    let Some(last) = log.last_of(stamp.id) else { return };
    let Some(last_stamp) = last.producer else { return };
    let expected = if last_stamp.epoch == stamp.epoch {
        last.next_sequence()
    } else {
        Some(ottla::types::Sequence::ZERO)
    };
    if expected != Some(stamp.base_sequence) {
        let what = format!("{} was appended out of order", stamp_text(stamp));
        let expected = expected.map_or("none".to_owned(), |sequence| sequence.to_string());
        let fact = format!(
            "the last batch of the producer is {} at {}..{}, so the next sequence is {expected}",
            stamp_text(last_stamp),
            last.base_offset,
            last.end_offset
        );
        out.push(violation("T1", ghost, occurrence, partition, what, fact));
    }
}

fn stamp_text(stamp: ProducerStamp) -> String {
    format!("producer {} epoch {} sequence {}", stamp.id, stamp.epoch, stamp.base_sequence)
}

fn violation(
    check: &'static str,
    ghost: &Ghost,
    occurrence: &Occurrence,
    partition: TopicIdPartition,
    what: String,
    fact: String,
) -> Violation {
    Violation {
        check,
        at: occurrence.at,
        node: Some(occurrence.node),
        partition: Some(ghost.name(partition)),
        what,
        evidence: vec![fact],
    }
}
