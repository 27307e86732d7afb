//! G8: what a coordinator begins with is what its log adds up to, no more and no less; and until it has read the log it answers nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};

use ottla::types::{
    CoordinatorTerm, GroupObservation, Offset, PartitionIndex, ShortName, TopicId,
    TopicIdPartition, Uuid,
};

use super::offsets_log::{Fold, OffsetKey, OffsetValue, Unreadable};
use super::{GhostCoordinator, Word};
use crate::checker::disk_logs::{NodeDisk, PartitionFiles};
use crate::checker::ghost::consumer_groups::{Held, LoadedConsumer, LoadedConsumers};
use crate::checker::ghost::groups::{GroupOffset, LoadedGroup};
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
                let bytes = bytes.get(batch.position..batch.end());
                fold.add(bytes.ok_or(Unreadable("a cut file"))?)?;
            }
        }
        reached = last.end_offset;
    }
    if reached == end.value() { Ok(fold) } else { Err(Unreadable("a log that ends before")) }
}

/// The first thing that the coordinator and the log say differently. Of topics that nobody knows any more nothing is told.
fn difference(ghost: &Ghost, known: &GhostCoordinator, fold: &Fold) -> Option<String> {
    let consumers: BTreeMap<ShortName, LoadedConsumers> =
        fold.consumers.iter().map(|(group, fold)| (ShortName::of(group), fold.sum())).collect();
    let offsets: BTreeMap<GroupOffset, Offset> =
        fold.offsets.iter().filter_map(|entry| offset_of(ghost, entry)).collect();
    let classic = || each(&known.loaded_groups, &fold.groups, classic_differs);
    let consumer = || {
        each(&known.loaded_consumers, &consumers, |group, loaded, meant| {
            consumers_differ(ghost, group, loaded, meant)
        })
    };
    let offset = || {
        each(&known.loaded_offsets, &offsets, |of, loaded, meant| {
            differs(format_args!("{}, {}: offset", of.0, ghost.name(of.1)), loaded, meant)
        })
    };
    classic().or_else(consumer).or_else(offset)
}

/// Looks at each key that either has, until something is found.
fn each<K: Ord, T>(
    loaded: &BTreeMap<K, T>,
    meant: &BTreeMap<K, T>,
    differ: impl Fn(&K, Option<&T>, Option<&T>) -> Option<String>,
) -> Option<String> {
    let keys: BTreeSet<&K> = loaded.keys().chain(meant.keys()).collect();
    keys.into_iter().find_map(|key| differ(key, loaded.get(key), meant.get(key)))
}

fn differs<T: PartialEq + Display>(
    what: impl Display,
    loaded: Option<T>,
    meant: Option<T>,
) -> Option<String> {
    (loaded != meant).then(|| {
        let (loaded, meant) = (told(loaded, "none"), told(meant, "none"));
        format!("{what} {loaded} was loaded, the log says {meant}")
    })
}

fn classic_differs(
    group: &ShortName,
    loaded: Option<&LoadedGroup>,
    meant: Option<&LoadedGroup>,
) -> Option<String> {
    let generation = |group: Option<&LoadedGroup>| group.map(|group| group.generation);
    let members = || {
        each(&loaded?.members, &meant?.members, |member, loaded, meant| {
            let what = format_args!("{group}, member {member}: an assignment with the hash");
            differs(what, loaded, meant)
        })
    };
    differs(format_args!("{group}: generation"), generation(loaded), generation(meant))
        .or_else(members)
}

fn consumers_differ(
    ghost: &Ghost,
    group: &ShortName,
    loaded: Option<&LoadedConsumers>,
    meant: Option<&LoadedConsumers>,
) -> Option<String> {
    let epoch = |of: Option<&LoadedConsumers>| Some(of?.epoch);
    let target_epoch = |of: Option<&LoadedConsumers>| Some(of?.target_epoch);
    let members = || {
        each(&loaded?.members, &meant?.members, |member, loaded, meant| {
            member_differs(ghost, format_args!("{group}, member {member}"), loaded, meant)
        })
    };
    differs(format_args!("{group}: epoch"), epoch(loaded), epoch(meant))
        .or_else(|| {
            let what = format_args!("{group}: target of the epoch");
            differs(what, target_epoch(loaded), target_epoch(meant))
        })
        .or_else(members)
}

fn member_differs(
    ghost: &Ghost,
    member: fmt::Arguments<'_>,
    loaded: Option<&LoadedConsumer>,
    meant: Option<&LoadedConsumer>,
) -> Option<String> {
    let (Some(loaded), Some(meant)) = (loaded, meant) else {
        let is_there = |one: Option<&LoadedConsumer>| one.map(|_| "a member");
        return differs(format_args!("{member}:"), is_there(loaded), is_there(meant));
    };
    let target = || {
        let partition = *loaded.target.symmetric_difference(&meant.target).next()?;
        let of = |one: &LoadedConsumer| one.target.contains(&partition).then_some("to have it");
        let what = format_args!("{member}, {}:", ghost.name(partition));
        differs(what, of(loaded), of(meant))
    };
    let has = || {
        each(&loaded.has, &meant.has, |partition, loaded, meant| {
            let what = format_args!("{member} has {}:", ghost.name(*partition));
            differs(what, loaded.map(held), meant.map(held))
        })
    };
    differs(format_args!("{member}: instance"), loaded.instance, meant.instance)
        .or_else(|| differs(format_args!("{member}: epoch"), loaded.epoch, meant.epoch))
        .or_else(target)
        .or_else(has)
}

fn held(held: &Held) -> String {
    let since = told(held.since, "an unknown one");
    let end = if held.is_given_up { ", to be given up" } else { "" };
    format!("since epoch {since}{end}")
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
