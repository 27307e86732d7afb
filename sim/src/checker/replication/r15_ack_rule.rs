//! R15: a producer is told OK only of what its leader's log holds, and with `acks=all` only of what is below the high watermark; and when
//! the watermark passed it, the required number of replicas held it.

use ottla::types::{Acks, BrokerSet, Observation, Offset, TopicIdPartition};

use crate::checker::{Event, Ghost, Occurrence, Violation, found};

/// An acknowledgement runs ahead of the log, or a watermark ahead of the replicas.
///
/// The high watermark is compared where the testbed knows it: a duplicate may be answered out of a log that was just opened.
#[expect(clippy::wildcard_enum_match_arm, reason = "only these observations are concerned")]
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Event::Observed(observation) = occurrence.event else { return };
    match observation {
        Observation::ProduceAcked { partition, base_offset, end_offset, acks, .. } => {
            let Some(log) = ghost.log(occurrence.node, partition) else { return };
            let watermark = log.high_watermark.filter(|_| acks == Acks::All);
            let problem = if end_offset > log.end {
                format!("is written up to {}", log.end)
            } else if let Some(watermark) = watermark.filter(|known| end_offset > *known) {
                format!("is committed up to {watermark}")
            } else {
                return;
            };
            let what = format!(
                "{base_offset}..{end_offset} was acknowledged with acks={acks:?} before its time"
            );
            let fact = format!("the leader's log {problem}");
            out.push(found("R15", ghost, occurrence, Some(partition), what, vec![fact]));
        }
        Observation::HighWatermarkAdvanced {
            partition, to, is_leader: true, maximal_isr, ..
        } if !maximal_isr.is_empty() => {
            held_by_enough(ghost, occurrence, partition, to, maximal_isr, out);
        }
        _ => {}
    }
}

fn held_by_enough(
    ghost: &Ghost,
    occurrence: &Occurrence,
    partition: TopicIdPartition,
    to: Offset,
    maximal_isr: BrokerSet,
    out: &mut Vec<Violation>,
) {
    let Some(leading) = ghost.leading(occurrence.node, partition) else { return };
    let last = ghost
        .log(occurrence.node, partition)
        .and_then(|log| log.batches_in(Offset::ZERO, to).last());
    // Who lost it since the leader heard that it held it does so still, until anybody can know better: a dirty stop is the atlas's business.
    let of = ghost.partition(partition);
    let held = |broker| {
        of.is_some_and(|of| of.dirty.contains_key(&broker))
            && leading.progress.get(&broker).is_some_and(|progress| progress.fetch_offset >= to)
    };
    let holds = |broker| {
        ghost.log_of(broker, partition).is_some_and(|log| {
            log.end >= to && last.is_none_or(|last| last.base_offset < log.start || log.holds(last))
        })
    };
    let holders: BrokerSet =
        maximal_isr.iter().filter(|broker| holds(*broker) || held(*broker)).collect();
    if holders.len() < usize::try_from(leading.min_isr).unwrap_or(usize::MAX) {
        let what =
            format!("the watermark moved to {to} before enough replicas held what is below it");
        let fact = format!("held by {holders}; {} are required", leading.min_isr);
        out.push(found("R15", ghost, occurrence, Some(partition), what, vec![fact]));
    }
}
