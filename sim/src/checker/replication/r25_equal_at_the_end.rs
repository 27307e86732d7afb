//! R25: when all is healed, all replicas of a partition hold equal records, byte for byte as their checksums say.

use std::collections::BTreeMap;

use ottla::types::{BrokerId, Offset, TopicIdPartition};

use crate::checker::disk_logs::NodeDisk;
use crate::checker::segment_reader::FileBatch;
use crate::checker::{Ghost, Violation};
use crate::world::SimTime;

type Copies = BTreeMap<TopicIdPartition, BTreeMap<BrokerId, Vec<FileBatch>>>;

/// Two replicas differ between the larger of their starts and the high watermark, or one ends below it.
pub(crate) fn at_end(ghost: &Ghost, disks: &[NodeDisk<'_>], at: SimTime, out: &mut Vec<Violation>) {
    let copies = copies(ghost, disks);
    for (partition, of) in ghost.partitions() {
        let (Some(state), Some(copies)) = (of.state(), copies.get(&partition)) else { continue };
        let Some(leader) = state.leader.and_then(|leader| copies.get(&leader)) else { continue };
        // Who was taken out for good cannot hold what came after.
        let is_there = |member| ghost.node_of(member).is_some_and(|node| ghost.works(node));
        let others = state.replicas.iter().filter(|member| Some(*member) != state.leader);
        for member in others.filter(|member| is_there(*member)) {
            let copy = copies.get(&member).map_or(&[][..], Vec::as_slice);
            let Some(fact) = difference(leader, copy, of.true_hw) else { continue };
            out.push(Violation {
                check: "R25",
                at,
                node: ghost.node_of(member),
                partition: Some(ghost.name(partition)),
                what: format!("at the end broker {member} does not hold what its leader holds"),
                evidence: vec![fact, format!("the high watermark is {}", of.true_hw)],
            });
        }
    }
}

fn copies(ghost: &Ghost, disks: &[NodeDisk<'_>]) -> Copies {
    let mut copies = Copies::new();
    for disk in disks {
        let Some(broker) = ghost.broker_of(disk.node) else { continue };
        for files in &disk.partitions {
            let batches = files.segments.iter().flat_map(|segment| segment.content.batches.clone());
            copies.entry(files.partition).or_default().insert(broker, batches.collect());
        }
    }
    copies
}

/// What the copy lacks of the leader's log below the watermark.
fn difference(leader: &[FileBatch], copy: &[FileBatch], watermark: Offset) -> Option<String> {
    let start = copy.first().map_or(0, |batch| batch.base_offset);
    let mut by_offset: Vec<&FileBatch> = copy.iter().collect();
    by_offset.sort_by_key(|batch| batch.base_offset); // in order already, but for a broken log
    let at = |offset: i64| {
        let after = by_offset.partition_point(|batch| batch.base_offset <= offset);
        let found = after.checked_sub(1).and_then(|index| by_offset.get(index));
        found.filter(|batch| batch.base_offset == offset)
    };
    let due = leader
        .iter()
        .filter(|batch| batch.base_offset >= start && batch.end_offset <= watermark.value());
    for batch in due {
        let place = || format!("{}..{}", batch.base_offset, batch.end_offset);
        match at(batch.base_offset) {
            None => return Some(format!("{} is not there", place())),
            Some(own) if (own.crc, own.leader_epoch) != (batch.crc, batch.leader_epoch) => {
                return Some(format!(
                    "{} has checksum {:08x} of epoch {}, at the leader {:08x} of {}",
                    place(),
                    own.crc,
                    own.leader_epoch,
                    batch.crc,
                    batch.leader_epoch
                ));
            }
            Some(_) => {}
        }
    }
    None
}
