//! Q2: a voter gives one vote in an epoch, also over a restart.

use ottla::types::Observation;

use super::{observed, on_node};
use crate::checker::{Ghost, Occurrence, Violation};

/// A second vote, for somebody else.
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Some(Observation::VoteGranted { voter, epoch, candidate, is_pre_vote: false }) =
        observed(occurrence)
    else {
        return;
    };
    let first = ghost.quorum().votes.get(&(voter, epoch));
    if let Some(first) = first.filter(|first| **first != candidate) {
        let what = format!("voter {voter} gave two votes in epoch {epoch}");
        out.push(on_node(
            "Q2",
            ghost,
            occurrence,
            what,
            format!("to {first}, then to {candidate}"),
        ));
    }
}
