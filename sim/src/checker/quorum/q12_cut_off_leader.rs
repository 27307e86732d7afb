//! Q12: a leader that lost its majority stops acting within one and a half fetch timeouts.

use std::time::Duration;

use ottla::types::{Observation, QuorumRole};

use super::{observed, on_node};
use crate::checker::{Ghost, Occurrence, Violation};

/// One and a half times `controller.quorum.fetch.timeout.ms`, which is 2 s by default, and a little for its timers.
const PATIENCE: Duration = Duration::from_millis(3_200);

/// It still appends as a leader although another one has been active for longer than that.
///
/// A node that stood still is given the same time after it goes on.
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Some(Observation::MetadataAppended { epoch, .. }) = observed(occurrence) else { return };
    let quorum = ghost.quorum();
    let role = quorum.node(occurrence.node).and_then(|node| node.role);
    if role != Some((QuorumRole::Leader, epoch)) {
        return;
    }
    let Some((newest, since)) =
        quorum.newest_active().and_then(|(newest, term)| Some((newest, term.active_at?)))
    else {
        return;
    };
    let resumed = ghost.node(occurrence.node).and_then(|node| node.resumed_at);
    let since = resumed.map_or(since, |resumed| resumed.max(since));
    if newest > epoch && occurrence.at.since(since) > PATIENCE {
        let what = format!("a leader of epoch {epoch} still acts");
        let fact = format!("epoch {newest} has an active controller since {}", ghost.clock(since));
        out.push(on_node("Q12", ghost, occurrence, what, fact));
    }
}
