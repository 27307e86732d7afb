//! Q4: the quorum's high watermark never goes down: not on a node between its starts, not from one leader to the next.

use ottla::types::{Observation, QuorumRole};

use super::{observed, on_node};
use crate::checker::{Ghost, Occurrence, Violation, told};

/// It does.
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Some(Observation::QuorumHighWatermark { high_watermark, .. }) = observed(occurrence) else {
        return;
    };
    let Some(node) = ghost.quorum().node(occurrence.node) else { return };
    let leads = node.role.is_some_and(|(role, epoch)| {
        role == QuorumRole::Leader
            && ghost.quorum().terms.keys().next_back().is_none_or(|newest| *newest <= epoch)
    });
    let least = if leads {
        node.high_watermark.max(Some(ghost.quorum().high_watermark))
    } else {
        node.high_watermark
    };
    if least > Some(high_watermark) {
        let what = format!("the quorum's high watermark went back to {high_watermark}");
        out.push(on_node(
            "Q4",
            ghost,
            occurrence,
            what,
            format!("it was {}", told(least, "unknown")),
        ));
    }
}
