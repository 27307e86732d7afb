//! G2: with the assignors that come with the client every partition of the topics that a group reads is given to somebody, and none
//! of another topic.
//!
//! The leader may know of new partitions later than the coordinator: only those are asked for that its client must have heard of.
//! The coordinator's own assignors (the consumer protocol) give each of them to exactly one member.
//! `cooperative-sticky` gives a partition that changes hands to nobody for one generation, and is not held to it; nor are assignors
//! of the user's own.

use std::time::Duration;

use ottla::types::{GroupObservation, GroupPhase, ShortName, TopicId, TopicIdPartition};

use super::Word;
use crate::checker::ghost::groups::GhostGroup;
use crate::checker::{Ghost, Occurrence, Violation};

/// Clients look at the topics again within `metadata.max.age.ms`, five minutes, and a little.
const METADATA_AGE_MAX: Duration = Duration::from_secs(330);

/// The assignors that give everything in one generation.
const WHOLE: [&str; 3] = ["range", "roundrobin", "sticky"];

/// The members have their assignments.
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Some(word) = Word::of(ghost, occurrence) else { return };
    of_consumers(&word, out);
    let GroupObservation::PhaseChanged { group, phase: GroupPhase::Stable, generation, .. } =
        word.what
    else {
        return;
    };
    let Some(known) = word.group(group) else { return };
    let is_whole = |assignor| WHOLE.into_iter().any(|name| ShortName::of(name) == assignor);
    let Some(assignor) = known.assignor.filter(|assignor| is_whole(*assignor)) else { return };
    let Some(reads) = known.reads.as_ref().filter(|_| known.given_in == generation) else { return };
    for topic in reads {
        if let Some(partition) = first_left_out(&word, known, *topic) {
            let what = format!(
                "{assignor} gives it to nobody in generation {generation} of {group}, which reads the topic"
            );
            out.push(word.found("G2", Some(partition), what, owned(&word, known)));
        }
    }
    if let Some(partition) = known.owners.keys().find(|of| !reads.contains(&of.topic_id)) {
        let what = format!(
            "{assignor} gives it away in generation {generation} of {group}, which does not read the topic"
        );
        out.push(word.found("G2", Some(*partition), what, owned(&word, known)));
    }
}

/// The coordinator said who is to have what.
fn of_consumers(word: &Word<'_>, out: &mut Vec<Violation>) {
    let GroupObservation::GroupStands { group, target_epoch, .. } = word.what else { return };
    let Some(known) = word.group(group).filter(|known| known.consumers.is_assigned_anew) else {
        return;
    };
    let Some(reads) = &known.reads else { return };
    let members = &known.consumers.members;
    let is_targeted = |partition: &TopicIdPartition| {
        members.values().any(|member| member.target.contains(partition))
    };
    for topic in reads {
        let mut old = old_partitions(word, *topic);
        if let Some(partition) = old.find(|partition| !is_targeted(partition)) {
            let what = format!(
                "the target of epoch {target_epoch} of {group}, which reads the topic, gives it to nobody"
            );
            out.push(word.found("G2", Some(partition), what, Vec::new()));
        }
    }
    for (member, state) in members {
        for partition in &state.target {
            let other = known.consumers.other_target(*member, *partition);
            let what = if let Some(other) = other.filter(|other| member < other) {
                format!(
                    "the target of epoch {target_epoch} of {group} gives it to {member} and to {other}"
                )
            } else if !reads.contains(&partition.topic_id) {
                format!(
                    "the target of epoch {target_epoch} of {group} gives it away, and nobody reads the topic"
                )
            } else {
                continue;
            };
            out.push(word.found("G2", Some(*partition), what, Vec::new()));
        }
    }
}

fn first_left_out(word: &Word<'_>, known: &GhostGroup, topic: TopicId) -> Option<TopicIdPartition> {
    let mut old = old_partitions(word, topic);
    old.find(|partition| known.owners.get(partition).is_none_or(|owners| owners.is_empty()))
}

/// The partitions of a topic that everybody must have heard of.
fn old_partitions<'a>(
    word: &Word<'a>,
    topic: TopicId,
) -> impl Iterator<Item = TopicIdPartition> + use<'a> {
    let (ghost, now) = (word.ghost, word.occurrence.at);
    let is_old = move |since: crate::world::SimTime| {
        ghost.story_began().is_some_and(|began| since <= began)
            || now.since(since) > METADATA_AGE_MAX
    };
    let partitions = ghost.groups().partitions.get(&topic).into_iter().flatten();
    let old = partitions.filter(move |(_, since)| is_old(**since));
    old.map(move |(index, _)| TopicIdPartition { topic_id: topic, partition: *index })
}

fn owned(word: &Word<'_>, known: &GhostGroup) -> Vec<String> {
    let members = known.members.keys().map(|member| {
        let of_member = known.owners.iter().filter(|(_, owners)| owners.contains(member));
        let names: Vec<String> = of_member.map(|(id, _)| word.ghost.name(*id)).collect();
        format!(
            "{member} has {}",
            if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
        )
    });
    members.collect()
}
