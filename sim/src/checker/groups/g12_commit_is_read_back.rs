//! G12: what a client was told to be committed is read back: OffsetFetch answers it, or what was taken since, and never an offset that
//! nobody committed.
//!
//! A coordinator that is replaced and does not know it may answer what it knows, and a declared election may lose what its log held.

use ottla::types::GroupObservation;

use super::{Word, is_log_cut_since};
use crate::checker::ghost::groups::GhostOffset;
use crate::checker::{Ghost, Occurrence, Violation, told};
use crate::world::SimTime;

/// Somebody is told how far the group has read.
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Some(word) = Word::of(ghost, occurrence) else { return };
    let GroupObservation::OffsetFetched { group, partition, offset } = word.what else { return };
    let nothing = GhostOffset::default();
    let known = ghost.groups().offset(group, partition).unwrap_or(&nothing);
    let since = known.told.map_or(SimTime(0), |told| told.at);
    if known.may_be(word.term.leader_epoch, offset) || is_log_cut_since(&word, since) {
        return;
    }
    let what = format!("{group} is told to have read up to {}", told(offset, "nowhere"));
    let fact = match known.told {
        Some(told) => {
            format!("offset {} was told to be stored at {}", told.offset, ghost.clock(told.at))
        }
        None => "nobody was told that anything is stored".to_owned(),
    };
    out.push(word.found("G12", Some(partition), what, vec![fact]));
}
