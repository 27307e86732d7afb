//! P1: nobody waits for what has happened: a producer whose batch is below the watermark was answered.

use std::time::Duration;

use crate::checker::{Ghost, Violation};
use crate::world::SimTime;

/// The answer comes with the watermark; this is for a write or a sync on the way to it.
const SLACK: Duration = Duration::from_millis(500);

/// A batch is below the watermark of its leader, and its producer was not answered.
///
/// Judged only where every producer of the term asked for `acks=all` and none was refused: a refusal does not say which batch it
/// was.
pub(crate) fn at_barrier(ghost: &Ghost, at: SimTime, out: &mut Vec<Violation>) {
    for (node, partition, leading) in ghost.leaders() {
        let is_paused = ghost.node(node).is_some_and(|state| state.is_paused);
        let watermark = ghost.log(node, partition).and_then(|log| log.high_watermark);
        let Some(watermark) = watermark else { continue };
        if is_paused || !leading.only_acks_all || at.since(leading.watermark_at) < SLACK {
            continue;
        }
        let Some((end, base)) = leading.unanswered.range(..=watermark).next() else { continue };
        out.push(Violation {
            check: "P1",
            at,
            node: Some(node),
            partition: Some(ghost.name(partition)),
            what: format!("the producer of {base}..{end} still waits for an answer"),
            evidence: vec![format!(
                "the high watermark is {watermark} since {}",
                ghost.clock(leading.watermark_at)
            )],
        });
    }
}
