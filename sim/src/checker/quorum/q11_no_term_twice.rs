//! Q11: a node that led in an epoch does not lead in it again after a restart.

use super::{leads, observed, on_node};
use crate::checker::{Ghost, Occurrence, Violation, told};

/// It does.
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Some(epoch) = observed(occurrence).as_ref().and_then(leads) else { return };
    let quorum = ghost.quorum();
    let (Some(term), Some(node)) = (quorum.terms.get(&epoch), quorum.node(occurrence.node)) else {
        return;
    };
    let is_same = ghost.broker_of(occurrence.node) == Some(term.leader);
    if is_same && term.boot.is_some_and(|boot| boot != node.boots) {
        let what =
            format!("a node leads again in epoch {epoch}, in which it led before its restart");
        let fact = format!(
            "it led at start {} of the node, and leads at start {}",
            told(term.boot, "unknown"),
            node.boots
        );
        out.push(on_node("Q11", ghost, occurrence, what, fact));
    }
}
