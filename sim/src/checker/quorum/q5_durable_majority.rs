//! Q5: everything below the quorum's high watermark is durable on a majority of the voters.

use ottla::types::{Observation, QuorumRole};

use super::{observed, on_node};
use crate::checker::{Ghost, Occurrence, Violation};

/// A leader commits what is not.
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Some(Observation::QuorumHighWatermark { high_watermark, .. }) = observed(occurrence) else {
        return;
    };
    let quorum = ghost.quorum();
    let role = quorum.node(occurrence.node).and_then(|node| node.role);
    if !matches!(role, Some((QuorumRole::Leader, _))) || quorum.voters.is_empty() {
        return;
    }
    let durable = quorum.durable_on(high_watermark);
    if durable < quorum.majority() {
        let what = format!("metadata below {high_watermark} counts as committed too early");
        let fact = format!("durable on {durable} of {} voters", quorum.voters.len());
        out.push(on_node("Q5", ghost, occurrence, what, fact));
    }
}
