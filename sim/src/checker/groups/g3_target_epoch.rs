//! G3: in a group of the consumer protocol a member that has come to the epoch of the target has nothing that is meant for somebody
//! else: it gives that up before it comes there.

use ottla::types::GroupObservation;

use super::Word;
use crate::checker::{Ghost, Occurrence, Violation};

/// A group was changed.
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Some(word) = Word::of(ghost, occurrence) else { return };
    let GroupObservation::GroupStands { group, target_epoch, .. } = word.what else { return };
    let Some(known) = word.group(group) else { return };
    let come = known.consumers.members.iter();
    for (member, state) in come.filter(|(_, state)| state.epoch == Some(target_epoch)) {
        for partition in state.has.keys() {
            let Some(other) = known.consumers.other_target(*member, *partition) else { continue };
            let what = format!(
                "{member} has it in epoch {target_epoch} of {group}, whose target gives it to {other}"
            );
            out.push(word.found("G3", Some(*partition), what, Vec::new()));
        }
    }
}
