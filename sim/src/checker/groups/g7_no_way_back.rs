//! G7: what a group has committed of a partition never moves back, unless something is recorded that explains it: the offset was set
//! by somebody who is no member, deleted or expired; a reader's position was out of the log's range; a declared election lost records;
//! or the plan says that the group's members seek or commit in no order.

use ottla::types::GroupObservation;

use super::{Word, is_cut_since, is_log_cut_since};
use crate::checker::{Ghost, Occurrence, Violation};

/// A committer is told that its offset is stored.
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Some(word) = Word::of(ghost, occurrence) else { return };
    let GroupObservation::CommitTold { group, partition, offset } = word.what else { return };
    let groups = ghost.groups();
    let Some(before) = groups.offset(group, partition).and_then(|known| known.told) else { return };
    let is_older_term = before.leader_epoch > word.term.leader_epoch;
    if offset >= before.offset || is_older_term {
        return;
    }
    let is_reset = groups.reset_at(group, partition).is_some_and(|at| at >= before.at);
    let may_move_back = groups.facts.get(&group).is_some_and(|facts| facts.moves_back);
    let is_declared =
        is_cut_since(ghost, partition, before.at) || is_log_cut_since(&word, before.at);
    if !is_reset && !may_move_back && !is_declared {
        let what = format!("{group} committed offset {}, and now {offset}", before.offset);
        let fact =
            format!("offset {} was told to be stored at {}", before.offset, ghost.clock(before.at));
        out.push(word.found("G7", Some(partition), what, vec![fact]));
    }
}
