//! G7: what a group has committed of a partition never moves back, unless something is recorded that explains it: the offset was set
//! by somebody who is no member, deleted or expired; a reader's position was out of the log's range; or a declared election lost records.
//!
//! The members of the testbed's groups never seek, and commit in order. A member's own requests may overtake each other within a
//! generation, and in the consumer protocol over epochs, which nothing in Kafka's protocol forbids: what it was told is held instead, by
//! the history.

use ottla::types::GroupObservation;

use super::{Word, is_cut_since, is_log_cut_since};
use crate::checker::{Ghost, Occurrence, Violation};

/// A committer is told that its offset is stored.
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Some(word) = Word::of(ghost, occurrence) else { return };
    let GroupObservation::CommitTold { group, partition, offset } = word.what else { return };
    let groups = ghost.groups();
    let Some(known) = groups.offset(group, partition) else { return };
    let Some(before) = known.told else { return };
    let is_older_term = before.leader_epoch > word.term.leader_epoch;
    if offset >= before.offset || is_older_term {
        return;
    }
    let is_reset = groups.reset_at(group, partition).is_some_and(|at| at >= before.at);
    let is_declared =
        is_cut_since(ghost, partition, before.at) || is_log_cut_since(&word, before.at);
    let is_consumer = word.group(group).is_some_and(|known| known.is_consumer);
    if !is_reset && !is_declared && !known.is_overtaken(offset, is_consumer) {
        let what = format!("{group} committed offset {}, and now {offset}", before.offset);
        let fact =
            format!("offset {} was told to be stored at {}", before.offset, ghost.clock(before.at));
        out.push(word.found("G7", Some(partition), what, vec![fact]));
    }
}
