//! G8: what a coordinator begins with is what its log adds up to, no more and no less; and until it has read the log it answers nobody.

use std::collections::{BTreeMap, BTreeSet};

use ottla::types::{
    CoordinatorTerm, GenerationId, GroupObservation, Offset, PartitionIndex, ShortName, TopicId,
    TopicIdPartition, Uuid,
};

use super::offsets_log::{Fold, OffsetKey, OffsetValue, Unreadable};
use super::{GhostCoordinator, Word};
use crate::checker::disk_logs::{NodeDisk, PartitionFiles};
use crate::checker::ghost::groups::GroupOffset;
use crate::checker::{Ghost, Occurrence, Violation, told};
use crate::world::SimTime;

/// A coordinator answers that has not read its log.
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    use GroupObservation as G;
    let Some(word) = Word::of(ghost, occurrence) else { return };
    let (group, does) = match word.what {
        G::GenerationBegan { group, .. } => (group, "begins a generation of"),
        G::JoinAnswered { group, .. } => (group, "lets somebody into"),
        G::AssignmentTold { group, .. } => (group, "tells somebody what it has in"),
        G::EpochTold { group, .. } => (group, "tells somebody its epoch in"),
        G::OffsetCommitted { group, .. } | G::CommitTold { group, .. } => {
            (group, "takes a commit of")
        }
        G::OffsetFetched { group, .. } => (group, "tells somebody how far has read"),
        G::Loaded { .. }
        | G::Unloaded
        | G::GroupLoaded { .. }
        | G::OffsetLoaded { .. }
        | G::PhaseChanged { .. }
        | G::MemberCame { .. }
        | G::MemberGone { .. }
        | G::SubscriptionsRead { .. }
        | G::Subscribed { .. }
        | G::AssignmentGiven { .. }
        | G::PartitionGiven { .. }
        | G::ConsumerCame { .. }
        | G::ConsumerGone { .. }
        | G::TargetBegan { .. }
        | G::PartitionTargeted { .. }
        | G::TargetsSaid { .. }
        | G::TargetsOf { .. }
        | G::EpochReached { .. }
        | G::PartitionHeld { .. }
        | G::GroupStands { .. }
        | G::CommitRefused { .. }
        | G::OffsetForgotten { .. }
        | G::GroupForgotten { .. } => return,
    };
    if word.coordinator().is_none_or(|known| known.loaded.is_none()) {
        let what = format!("a coordinator {does} {group} before it has read its log");
        let CoordinatorTerm { partition, leader_epoch } = word.term;
        let fact =
            format!("it leads partition {partition} of __consumer_offsets in epoch {leader_epoch}");
        out.push(word.found("G8", None, what, vec![fact]));
    }
}

/// A coordinator began with something else than its log.
pub(crate) fn on_disk(ghost: &Ghost, disk: &NodeDisk<'_>, at: SimTime, out: &mut Vec<Violation>) {
    let node = disk.node;
    if ghost.node(node).is_none_or(|state| state.has_rot || !state.is_running) {
        return;
    }
    for ((owner, term), known) in &ghost.groups().coordinators {
        if *owner != node {
            continue;
        }
        let Some((partition, end)) = known.loaded else { continue };
        let Some(files) = disk.partitions.iter().find(|files| files.partition == partition) else {
            continue;
        };
        // What it leads no longer may have been cut since it was read.
        let leads = ghost.leading(node, partition).map(|leading| leading.epoch);
        if leads != Some(term.leader_epoch) {
            continue;
        }
        if let Ok(fold) = fold_below(disk, files, end)
            && let Some(difference) = difference(ghost, known, &fold)
        {
            let what = format!(
                "the coordinator of epoch {} did not begin with what its log below {end} says",
                term.leader_epoch
            );
            let partition = Some(ghost.name(partition));
            let evidence = vec![difference];
            out.push(Violation { check: "G8", at, node: Some(node), partition, what, evidence });
        }
    }
}

/// What the files say below an offset. Errors: they do not reach it, or cannot be read.
fn fold_below(
    disk: &NodeDisk<'_>,
    files: &PartitionFiles,
    end: Offset,
) -> Result<Fold, Unreadable> {
    let mut fold = Fold::default();
    let mut reached = 0;
    for segment in &files.segments {
        reached = reached.max(segment.base_offset);
        let below =
            segment.content.batches.iter().take_while(|batch| batch.end_offset <= end.value());
        let below: Vec<_> = below.collect();
        let Some(last) = below.last() else { continue };
        let bytes = disk.cached(&segment.path).ok_or(Unreadable("a file that is gone"))?;
        for batch in &below {
            if !batch.is_control {
                let bytes =
                    bytes.get(batch.position..batch.end()).ok_or(Unreadable("a cut file"))?;
                fold.add(&bytes::Bytes::copy_from_slice(bytes))?;
            }
        }
        reached = last.end_offset;
    }
    if reached == end.value() { Ok(fold) } else { Err(Unreadable("a log that ends before")) }
}

/// The first thing that the coordinator and the log say differently. Of topics that nobody knows any more nothing is told.
fn difference(ghost: &Ghost, known: &GhostCoordinator, fold: &Fold) -> Option<String> {
    let groups: BTreeMap<ShortName, GenerationId> = fold
        .groups
        .iter()
        .filter_map(|(group, number)| {
            Some((ShortName::of(group), GenerationId::from_wire(*number)?))
        })
        .collect();
    let names: BTreeSet<&ShortName> = groups.keys().chain(known.loaded_groups.keys()).collect();
    for name in names {
        let (loaded, meant) = (known.loaded_groups.get(name), groups.get(name));
        if loaded != meant {
            let (loaded, meant) = (told(loaded, "none"), told(meant, "none"));
            return Some(format!("{name}: generation {loaded} was loaded, the log says {meant}"));
        }
    }
    let offsets: BTreeMap<GroupOffset, Offset> =
        fold.offsets.iter().filter_map(|entry| offset_of(ghost, entry)).collect();
    let all: BTreeSet<&GroupOffset> = offsets.keys().chain(known.loaded_offsets.keys()).collect();
    for of in all {
        let (loaded, meant) = (known.loaded_offsets.get(of), offsets.get(of));
        if loaded != meant {
            let (group, partition) = (of.0, ghost.name(of.1));
            let (loaded, meant) = (told(loaded, "none"), told(meant, "none"));
            return Some(format!(
                "{group}, {partition}: offset {loaded} was loaded, the log says {meant}"
            ));
        }
    }
    None
}

fn offset_of(
    ghost: &Ghost,
    ((group, topic, index), (offset, id)): (&OffsetKey, &OffsetValue),
) -> Option<(GroupOffset, Offset)> {
    let is_there = |id: &TopicId| ghost.groups().partitions.contains_key(id);
    let by_name = || ghost.topic_id(topic).filter(is_there);
    let topic_id: TopicId = id.map(Uuid::from_bytes).or_else(by_name)?;
    let partition = TopicIdPartition { topic_id, partition: PartitionIndex::from_wire(*index)? };
    Some(((ShortName::of(group), partition), Offset::from_wire(*offset)?))
}
