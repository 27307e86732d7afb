//! G1: in one generation of a group no two members are given one partition, and nobody is given any who is no member.
//!
//! What a member of an earlier generation believes is no matter of this check.

use ottla::types::GroupObservation;

use super::Word;
use crate::checker::{Ghost, Occurrence, Violation};

/// A partition is given to a second member.
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Some(word) = Word::of(ghost, occurrence) else { return };
    let GroupObservation::PartitionGiven { group, member, generation, partition } = word.what
    else {
        return;
    };
    let Some(known) = word.group(group) else { return };
    if !known.members.contains_key(&member) {
        let what = format!(
            "generation {generation} of {group} gives a partition to {member}, which is no member"
        );
        out.push(word.found("G1", Some(partition), what, Vec::new()));
    }
    let owners = known.owners.get(&partition).filter(|_| known.given_in == generation);
    if let Some(other) = owners.into_iter().flatten().find(|owner| **owner != member) {
        let what =
            format!("generation {generation} of {group} gives it to {other} and to {member}");
        out.push(word.found("G1", Some(partition), what, Vec::new()));
    }
}
