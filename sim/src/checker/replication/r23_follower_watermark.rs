//! R23: a follower's high watermark never passes the true one.

use ottla::types::Observation;

use crate::checker::{Event, Ghost, Occurrence, Violation, found};

/// It does. That what lies below it is the leader's is R4's business.
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Event::Observed(Observation::HighWatermarkAdvanced {
        partition,
        to,
        is_leader: false,
        leader_epoch: Some(epoch),
        ..
    }) = occurrence.event
    else {
        return;
    };
    let Some(of) = ghost.partition(partition).filter(|of| !of.is_unsettled(epoch)) else { return };
    if to > of.true_hw {
        let what = format!("a follower's high watermark moved to {to}");
        let fact = format!("no leader's was ever beyond {}", of.true_hw);
        out.push(found("R23", ghost, occurrence, Some(partition), what, vec![fact]));
    }
}
