//! G5: the generations of a group rise, while it is in the log: within a term of its coordinator each is one more than the one
//! before; in the consumer protocol the epochs of a group and of each member never fall; and a new coordinator begins with none that is older than what members were told to have.

use ottla::types::{GenerationId, GroupObservation, ShortName};

use super::{Word, is_log_cut_since};
use crate::checker::{Ghost, Occurrence, Violation};
use crate::world::SimTime;

/// A generation begins, or a group is loaded.
#[expect(clippy::wildcard_enum_match_arm, reason = "only these name a new generation")]
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    use GroupObservation as G;
    let Some(word) = Word::of(ghost, occurrence) else { return };
    match word.what {
        G::GenerationBegan { group, generation, .. } => {
            let before = word.group(group).map_or(GenerationId::ZERO, |known| known.generation);
            if generation != before.next() {
                let what =
                    format!("generation {generation} of {group} follows on generation {before}");
                out.push(word.found("G5", None, what, Vec::new()));
            } else {
                not_older(&word, group, generation.value() - 1, out);
            }
        }
        G::EpochReached { group, member, epoch: Some(epoch) } => {
            let known = word.group(group).and_then(|known| known.consumers.members.get(&member));
            if let Some(before) = known.and_then(|known| known.highest).filter(|old| *old > epoch) {
                let what = format!("{member} of {group} goes from epoch {before} back to {epoch}");
                out.push(word.found("G5", None, what, Vec::new()));
            }
        }
        G::GroupStands { group, epoch, target_epoch, .. } => {
            let before = word.group(group).and_then(|known| known.consumers.standing);
            let falls = before.filter(|old| old.epoch > epoch || old.target_epoch > target_epoch);
            if let Some(old) = falls {
                let what = format!("{group} goes from epoch {} back to {epoch}", old.epoch);
                let fact =
                    format!("its target was of {}, and is of {target_epoch}", old.target_epoch);
                out.push(word.found("G5", None, what, vec![fact]));
            }
        }
        G::GroupLoaded { group, generation, .. } => {
            not_older(&word, group, generation.value(), out);
        }
        _ => {}
    }
}

/// `at_least`: a generation that is not below the one that members were told of.
fn not_older(word: &Word<'_>, group: ShortName, at_least: i32, out: &mut Vec<Violation>) {
    let Some((epoch, durable)) = word.ghost.groups().durable.get(&group).copied() else { return };
    let is_declared = is_log_cut_since(word, SimTime(0));
    if epoch <= word.term.leader_epoch && at_least < durable.value() && !is_declared {
        let what = format!("{group} goes back to generation {at_least}");
        let fact = format!("members were told what they have in generation {durable}");
        out.push(word.found("G5", None, what, vec![fact]));
    }
}
