//! S9: after a failed write (but for want of space) or a failed sync nothing is acknowledged on that log directory until the
//! node starts anew.

use ottla::types::Observation;

use super::{Event, Ghost, Occurrence, Violation};

/// A producer is told OK in a directory that has failed.
///
/// Which directory holds the partition was read from the disk itself ([`super::Checkers::learn_places`]).
pub(super) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Event::Observed(Observation::ProduceAcked { partition, base_offset, end_offset, .. }) =
        occurrence.event
    else {
        return;
    };
    let Some(node) = ghost.node(occurrence.node) else { return };
    let Some(dir) = ghost.dir_of(occurrence.node, partition) else { return };
    if node.failed_dirs.contains(&dir) {
        out.push(Violation {
            check: "S9",
            at: occurrence.at,
            node: Some(occurrence.node),
            partition: Some(ghost.name(partition)),
            what: format!("{base_offset}..{end_offset} was acknowledged on log directory {dir}, where a write or sync has failed"),
            evidence: vec!["a failed sync may have dropped what was dirty: nothing on that directory is sure any more".to_owned()],
        });
    }
}
