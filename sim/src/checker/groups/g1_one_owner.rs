//! G1: in one generation of a group no two members are given one partition, and nobody is given any who is no member.
//!
//! In a group of the consumer protocol no two members have one partition, also not one that the one of them is to give up.
//!
//! What a member of an earlier generation believes is no matter of this check.

use ottla::types::GroupObservation;

use super::Word;
use crate::checker::{Ghost, Occurrence, Violation};

/// A partition is given to a second member.
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Some(word) = Word::of(ghost, occurrence) else { return };
    of_consumers(&word, out);
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

/// A group of the consumer protocol was changed.
fn of_consumers(word: &Word<'_>, out: &mut Vec<Violation>) {
    if let GroupObservation::PartitionHeld { group, member, partition, .. } = word.what {
        let known = word.group(group);
        if known.is_none_or(|known| !known.consumers.members.contains_key(&member)) {
            let what = format!("{group} gives a partition to {member}, which is no member");
            out.push(word.found("G1", Some(partition), what, Vec::new()));
        }
    }
    let GroupObservation::GroupStands { group, .. } = word.what else { return };
    let Some(known) = word.group(group) else { return };
    for (member, state) in &known.consumers.members {
        for partition in state.has.keys() {
            // Each pair once.
            let other = known.consumers.other_owner(*member, *partition);
            if let Some(other) = other.filter(|other| member < other) {
                let what = format!("{member} and {other} of {group} both have it");
                out.push(word.found("G1", Some(*partition), what, Vec::new()));
            }
        }
    }
}
