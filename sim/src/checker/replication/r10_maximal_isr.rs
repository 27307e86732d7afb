//! R10: the replicas over which the current leader computes its watermark contain all that the controller may elect.

use ottla::types::Observation;

use crate::checker::{Event, Ghost, Occurrence, Violation, found};

/// A candidate of the controller is not in the leader's maximal ISR although the leader's ISR is large enough to commit; or the
/// leader counts somebody for whom it asked nothing.
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Event::Observed(Observation::HighWatermarkAdvanced {
        partition,
        is_leader: true,
        leader_epoch,
        isr,
        maximal_isr,
        ..
    }) = occurrence.event
    else {
        return;
    };
    let (Some(state), Some(leading)) = (
        ghost.partition(partition).and_then(|of| of.state()),
        ghost.leading(occurrence.node, partition),
    ) else {
        return;
    };
    if isr.is_empty() {
        return;
    }
    if leading.pending.is_none() && maximal_isr != isr {
        let what = "the leader has asked for no other ISR and counts one".to_owned();
        let fact = format!("isr {isr}, maximal isr {maximal_isr}");
        out.push(found("R10", ghost, occurrence, Some(partition), what, vec![fact]));
    }
    let is_current = Some(state.leader_epoch) == leader_epoch
        && state.leader == ghost.broker_of(occurrence.node);
    let commits = isr.len() >= usize::try_from(leading.min_isr).unwrap_or(usize::MAX);
    let left_out = state.eligible().without(&maximal_isr);
    if is_current && commits && !left_out.is_empty() {
        let what =
            format!("the controller may elect {left_out}, which the leader does not wait for");
        let fact = format!(
            "maximal isr {maximal_isr}; the controller has isr {} and eligible {}",
            state.isr, state.elr
        );
        out.push(found("R10", ghost, occurrence, Some(partition), what, vec![fact]));
    }
}
