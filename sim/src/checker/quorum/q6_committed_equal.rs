//! Q6: committed metadata is the same on all nodes, and in one epoch one thing is written at one offset.

use ottla::types::{LeaderEpoch, Observation, Offset};

use super::{observed, on_node};
use crate::checker::disk_logs::NodeDisk;
use crate::checker::ghost::GhostBatch;
use crate::checker::ghost::log::appended;
use crate::checker::segment_reader::sound;
use crate::checker::{Ghost, Occurrence, Violation};
use crate::world::SimTime;

/// A node appends something else than was written or committed there.
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Some(observation @ Observation::MetadataAppended { .. }) = observed(occurrence) else {
        return;
    };
    let Some((_, batch)) = appended(&observation) else { return };
    let quorum = ghost.quorum();
    let first = quorum.written.get(&(batch.leader_epoch, batch.base_offset));
    if let Some(first) = first.filter(|first| first.crc != batch.crc) {
        let what = "two metadata batches were written at one place in one epoch".to_owned();
        let fact = format!("{} and {}", first.text(), batch.text());
        out.push(on_node("Q6", ghost, occurrence, what, fact));
    }
    // A leader that was deposed and does not know it yet may still write in its old epoch: that is never committed. Its epoch may be
    // later than that of the record, which a still later leader committed.
    let is_due = |known: &&GhostBatch| quorum.committed.is_due(known, batch.leader_epoch);
    if let Some(committed) = quorum.committed.other_than(&batch).filter(is_due) {
        let what = "a node wrote other metadata where some is committed".to_owned();
        let fact = format!("committed is {}, written {}", committed.text(), batch.text());
        out.push(on_node("Q6", ghost, occurrence, what, fact));
    }
}

/// A disk holds something else than what is committed.
pub(crate) fn on_disk(ghost: &Ghost, disk: &NodeDisk<'_>, at: SimTime, out: &mut Vec<Violation>) {
    let node = disk.node;
    if ghost.node(node).is_some_and(|node| node.has_rot) {
        return;
    }
    let quorum = ghost.quorum();
    // A node that has not heard of the watermark yet may still hold what it will truncate.
    let known = quorum.node(node).and_then(|node| node.high_watermark).unwrap_or(Offset::ZERO);
    for segment in &disk.metadata {
        for batch in sound(segment.content.batches.iter()) {
            let Some(base) = Offset::from_wire(batch.base_offset) else { continue };
            let Some(committed) =
                quorum.committed.get(base).filter(|_| batch.end_offset <= known.value())
            else {
                continue;
            };
            let epoch = LeaderEpoch::from_wire(batch.leader_epoch);
            if (Some(committed.leader_epoch), committed.crc) != (epoch, batch.crc) {
                out.push(Violation {
                    check: "Q6",
                    at,
                    node: Some(node),
                    partition: None,
                    what: format!(
                        "the disk holds other metadata at offset {base} than is committed"
                    ),
                    evidence: vec![
                        segment.path.display().to_string(),
                        format!("committed is {}", committed.text()),
                    ],
                });
            }
        }
    }
}
