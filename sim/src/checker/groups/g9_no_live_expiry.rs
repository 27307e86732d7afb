//! G9: no offset expires of a topic that the group's members read; none at all while they rebalance, or where it cannot be known what
//! they read.

use ottla::types::{GroupObservation, GroupPhase, OffsetEnd};

use super::Word;
use crate::checker::{Ghost, Occurrence, Violation};

/// An offset expires.
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Some(word) = Word::of(ghost, occurrence) else { return };
    let GroupObservation::OffsetForgotten { group, partition, end: OffsetEnd::Expired } = word.what
    else {
        return;
    };
    let Some(known) = word.group(group).filter(|known| !known.members.is_empty()) else { return };
    let is_stable = known.phase.is_some_and(|phase| phase.phase == GroupPhase::Stable);
    if known.uses(partition.topic_id) || !is_stable {
        let count = known.members.len();
        let what =
            format!("what {group} has committed expires, while {count} members read the topic");
        let state = known.phase.map_or("unknown", |phase| phase.phase.name());
        let fact = format!("it is {state} in generation {}", known.generation);
        out.push(word.found("G9", Some(partition), what, vec![fact]));
    }
}
