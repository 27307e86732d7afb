//! Q1: no two nodes name different leaders of the quorum in one epoch.

use ottla::types::{Observation, QuorumRole};

use super::{observed, on_node};
use crate::checker::{Ghost, Occurrence, Violation};

/// Another leader than the one that is known.
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let named = match observed(occurrence) {
        Some(Observation::QuorumRoleChanged { node, epoch, role: QuorumRole::Leader, .. }) => {
            (epoch, node)
        }
        Some(Observation::QuorumRoleChanged { epoch, leader: Some(leader), .. }) => (epoch, leader),
        Some(Observation::ControllerElected { broker, epoch }) => (epoch, broker),
        _ => return,
    };
    let (epoch, leader) = named;
    let known = ghost.quorum().terms.get(&epoch).map(|term| term.leader);
    if let Some(known) = known.filter(|known| *known != leader) {
        let what = format!("two nodes lead the metadata quorum in epoch {epoch}");
        out.push(on_node("Q1", ghost, occurrence, what, format!("{known} and {leader}")));
    }
}
