//! P3: no high watermark waits for nobody.

use std::time::Duration;

use ottla::types::{BrokerSet, Observation, TopicIdPartition};

use crate::checker::ghost::Leading;
use crate::checker::{Event, Ghost, Occurrence, Violation};
use crate::world::{NodeId, SimTime};

/// For a write on its way.
const SLACK: Duration = Duration::from_millis(500);

/// A leader is alone in its ISR, that is enough, nobody is about to join it, and nothing has changed for a while: all of its log is below
/// its watermark (with `flush.messages=1` all that is durable). Who asked within `replica.lag.time.max.ms` may be waited for (Kafka: `Partition.maybeIncrementLeaderHW`).
pub(crate) fn at_barrier(ghost: &Ghost, at: SimTime, out: &mut Vec<Violation>) {
    for (node, partition, leading) in ghost.leaders() {
        out.extend(waits_for_nobody(ghost, node, partition, leading, at));
    }
}

/// So it is where somebody waits for it: a producer that is told that it waited in vain, or sends again, or a reader.
#[expect(clippy::wildcard_enum_match_arm, reason = "only these observations tell of who waits")]
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Occurrence { at, node, event: Event::Observed(observation) } = *occurrence else { return };
    let partition = match observation {
        Observation::ProduceFailed { partition, .. }
        | Observation::ProduceDuplicate { partition, .. }
        | Observation::FetchServed { partition, .. }
        | Observation::EndTold { partition, .. } => partition,
        _ => return,
    };
    if let Some(leading) = ghost.leading(node, partition) {
        out.extend(waits_for_nobody(ghost, node, partition, leading, at));
    }
}

fn waits_for_nobody(
    ghost: &Ghost,
    node: NodeId,
    partition: TopicIdPartition,
    leading: &Leading,
    at: SimTime,
) -> Option<Violation> {
    let state =
        ghost.node(node).filter(|state| !state.is_paused && state.failed_dirs.is_empty())?;
    let own = ghost.broker_of(node)?;
    let is_alone = leading.isr == BrokerSet::of(&[own]) && leading.pending.is_none();
    // A leader looks again each half `replica.lag.time.max.ms`.
    let may_join = ghost.cluster()?.lag_time_max * 3 / 2 + SLACK;
    let heard_at =
        leading.progress.values().map(|known| known.at).fold(leading.since, SimTime::max);
    let is_courted = at.since(heard_at) < may_join;
    let since = state.resumed_at.map_or(leading.changed_at, |at| at.max(leading.changed_at));
    let log = ghost.log(node, partition)?;
    let watermark = log.high_watermark?;
    let end = if ghost.facts(partition.topic_id).flushes_each { log.synced_end } else { log.end };
    if !is_alone || is_courted || leading.min_isr > 1 || at.since(since) < SLACK || watermark >= end
    {
        return None;
    }
    Some(Violation {
        check: "P3",
        at,
        node: Some(node),
        partition: Some(ghost.name(partition)),
        what: format!(
            "the high watermark stays at {watermark}, and nobody is waited for below {end}"
        ),
        evidence: vec![format!(
            "broker {own} alone is in sync, no more are asked for, and nothing has changed since {}",
            ghost.clock(since)
        )],
    })
}
