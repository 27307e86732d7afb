//! What the members of consumer groups were given, against what their groups have committed and what there was to read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ottla::types::{Offset, TopicPartition};

use super::{Context, Violation};
use crate::history::{CommitOutcome, History};
use crate::world::SimTime;

/// Offsets, by partition, each with when it was given last.
type Given<'a> = BTreeMap<&'a TopicPartition, BTreeMap<Offset, SimTime>>;

/// G10: every record between where a group began and what it has committed was given to some member of it. It began where its members
/// were last told that it has committed nothing.
///
/// Not asked of partitions in which the group was set past something: see [`Context::resets`].
pub(super) fn committed_past(history: &History, context: &Context<'_>, out: &mut Vec<Violation>) {
    let there = history.final_log();
    for group in groups(history) {
        let given = given(history, group);
        for (partition, end) in committed(history, group) {
            let Some(of_group) = given.get(partition) else { continue };
            let begun_at = context.begun_at(group, partition);
            let mut since = of_group.iter().filter(|(_, last)| **last >= begun_at);
            let Some((start, _)) = since.next() else { continue };
            if context.is_reset(group, partition) || context.cuts_of(partition).next().is_some() {
                continue;
            }
            let of_log = there.get(partition).into_iter().flatten().map(|read| read.offset);
            let within = of_log.filter(|offset| *offset >= *start && *offset < end);
            let missed: Vec<Offset> =
                within.filter(|offset| !of_group.contains_key(offset)).collect();
            let (Some(first), Some(last)) = (missed.first(), missed.last()) else { continue };
            out.push(Violation {
                check: "G10",
                at: context.end,
                node: None,
                partition: Some(partition.to_string()),
                what: format!("{group} has committed offset {end}, and {} records before it were given to none of its members", missed.len()),
                evidence: vec![format!("the first at offset {first}, the last at {last}; the group began at {start}")],
            });
        }
    }
}

/// G7: a member whose partitions stay its own commits in order: none is stored, as far as it hears, after a later one of more.
///
/// An answer may be under way for long: of two commits that were both asked for before either was answered, what the coordinator did
/// counts, where anybody heard of that. Not asked where the group was set to something.
pub(super) fn commits_in_order(history: &History, context: &Context<'_>, out: &mut Vec<Violation>) {
    let mut stored: Vec<_> =
        history.commits.iter().filter(|one| one.outcome == CommitOutcome::Stored).collect();
    stored.sort_by_key(|one| one.done_at);
    let mut highest = BTreeMap::new();
    for commit in stored {
        for (partition, offset) in &commit.offsets {
            let of = (&commit.client, commit.incarnation, commit.rebalances, partition);
            let (known, told_at) = highest.entry(of).or_insert((*offset, commit.done_at));
            let is_later = Some(commit.asked_at) > *told_at
                || context.is_step_back(commit, partition, *offset);
            let is_set = context.is_reset(&commit.group, partition)
                || context.cuts_of(partition).next().is_some();
            if offset < known && is_later && !is_set {
                out.push(Violation {
                    check: "G7",
                    at: commit.done_at.unwrap_or(context.end),
                    node: None,
                    partition: Some(partition.to_string()),
                    what: format!(
                        "{} is told that {offset} is committed, after {known}",
                        commit.client
                    ),
                    evidence: vec![format!(
                        "the partition was its own all the while, in group {}",
                        commit.group
                    )],
                });
            }
            if offset > known {
                (*known, *told_at) = (*offset, commit.done_at);
            }
        }
    }
}

fn groups(history: &History) -> BTreeSet<&Arc<str>> {
    let by_processing = history.processed.iter().map(|one| &one.group);
    by_processing.chain(history.commits.iter().map(|commit| &commit.group)).collect()
}

/// What its members were given.
fn given<'a>(history: &'a History, group: &str) -> Given<'a> {
    let workload = |client: &'a str| client.rsplit_once('/').map_or(client, |(name, _)| name);
    let done = history.processed.iter().filter(|one| *one.group == *group).map(|one| &one.client);
    let commits = history.commits.iter().filter(|one| *one.group == *group).map(|one| &one.client);
    let members: BTreeSet<&str> = done.chain(commits).map(|client| workload(client)).collect();
    let mut given = Given::new();
    for poll in history.polls.iter().filter(|poll| members.contains(workload(&poll.client))) {
        for read in &poll.records {
            given.entry(&read.partition).or_default().insert(read.offset, poll.at);
        }
    }
    given
}

/// What it has committed, by what its members and the last reader were told.
fn committed<'a>(history: &'a History, group: &str) -> BTreeMap<&'a TopicPartition, Offset> {
    let mut committed: BTreeMap<&TopicPartition, Offset> = BTreeMap::new();
    let of_group = history.commits.iter().filter(|commit| *commit.group == *group);
    let stored = of_group.filter(|commit| commit.outcome == CommitOutcome::Stored);
    let last = history.final_offsets.get(group).map(|offsets| &offsets.committed);
    for (partition, offset) in stored.map(|commit| &commit.offsets).chain(last).flatten() {
        let known = committed.entry(partition).or_insert(*offset);
        *known = (*known).max(*offset);
    }
    committed
}
