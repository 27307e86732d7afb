//! G6: an offset is committed only by a member of the group, under its own name and in the generation of the moment; or by somebody
//! (in the consumer protocol in its epoch, or in an older one what it has had since then) or by somebody
//! who claims no membership, while the group has no members.

use ottla::types::{GroupObservation, GroupProtocol};

use super::Word;
use crate::checker::ghost::groups::GhostGroup;
use crate::checker::{Ghost, Occurrence, Violation, told};

/// A commit is accepted.
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Some(word) = Word::of(ghost, occurrence) else { return };
    let GroupObservation::OffsetCommitted { group, protocol, partition, offset, committer } =
        word.what
    else {
        return;
    };
    let nobody = GhostGroup::default();
    let known = word.group(group).unwrap_or(&nobody);
    let may_commit = match protocol {
        GroupProtocol::Classic => known.is_consumer || known.may_commit(&committer),
        GroupProtocol::Consumer => known.consumers.may_commit(&committer, partition),
    };
    if may_commit {
        return;
    }
    let what = format!(
        "{group} takes offset {offset} of {} in generation {}",
        told(committer.member, "nobody"),
        told(committer.generation, "none"),
    );
    let members: Vec<String> = match protocol {
        GroupProtocol::Classic => known.members.keys().map(ToString::to_string).collect(),
        GroupProtocol::Consumer => {
            let members = known.consumers.members.iter();
            members.map(|(name, of)| format!("{name} in {}", told(of.epoch, "none"))).collect()
        }
    };
    let generation = known.consumers.standing.map_or(known.generation, |now| now.epoch);
    let fact = format!("its generation is {generation}, its members {}", members.join(", "));
    out.push(word.found("G6", Some(partition), what, vec![fact]));
}
