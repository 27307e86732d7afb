//! R28: with `flush.messages=1` everything below the watermark is durable on as many replicas as are required to be in sync.

use ottla::types::{BrokerSet, Observation};

use crate::checker::{Event, Ghost, Occurrence, Violation, found};

/// The watermark passes what is not durable on enough replicas.
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Event::Observed(Observation::HighWatermarkAdvanced {
        partition,
        to,
        is_leader: true,
        maximal_isr,
        ..
    }) = occurrence.event
    else {
        return;
    };
    if !ghost.facts(partition.topic_id).flushes_each {
        return;
    }
    let own: BrokerSet = ghost.broker_of(occurrence.node).into_iter().collect();
    let counted = maximal_isr.union(&own);
    let is_durable =
        |broker| ghost.log_of(broker, partition).is_some_and(|log| log.synced_end >= to);
    let holders: BrokerSet = counted.iter().filter(|broker| is_durable(*broker)).collect();
    let required = ghost.leading(occurrence.node, partition).map_or(1, |leading| leading.min_isr);
    if holders.len() < usize::try_from(required).unwrap_or(usize::MAX) {
        let what = format!("the watermark moved to {to} before all below it was durable");
        let fact = format!("durable on {holders}; {required} are required");
        out.push(found("R28", ghost, occurrence, Some(partition), what, vec![fact]));
    }
}
