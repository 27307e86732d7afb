//! What a finished history adds up to: the checks that are held against it, and the numbers that expectations are held against.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ottla::types::{ErrorCode, Offset, PartitionIndex, TopicPartition};

use crate::checker::{self, Context, Removed, history_checks};
use crate::event::Recorder;
use crate::history::{FINAL_READER, History, Outcome, SendId, Sent};
use crate::scenario::duration::Span;
use crate::stats::{self, ErrorSeen, Fate, PollSeen, ReadSeen, Stats};
use crate::verdict::Violation;
use crate::world::SimTime;

/// Holds the finished history against what clients may rely on.
#[must_use]
pub fn judge(recorder: &Recorder, history: &History, context: &Context<'_>) -> Vec<Violation> {
    history_checks(history, context).iter().map(|found| show(recorder, found)).collect()
}

/// A violation as reports show it.
#[must_use]
pub fn show(recorder: &Recorder, found: &checker::Violation) -> Violation {
    Violation {
        check: found.check,
        at: recorder.time(found.at.nanos()),
        node: found.node.map(|node| recorder.who(node.0)),
        partition: found.partition.as_deref().and_then(partition_of),
        what: found.what.clone(),
        evidence: found.evidence.clone(),
    }
}

/// The numbers that expectations are held against. `removed` is what retention and deletions took.
#[must_use]
pub fn stats(recorder: &Recorder, history: &History, removed: &[Removed], end: SimTime) -> Stats {
    let found = found_at(history);
    let mut starts: BTreeMap<&TopicPartition, Offset> = BTreeMap::new();
    for one in removed {
        let start = starts.entry(&one.partition).or_default();
        *start = one.to.max(*start);
    }
    let is_deleted = |sent: &Sent| {
        let Outcome::Acked { offset: Some(offset) } = sent.outcome else { return false };
        let start = sent.partition.as_ref().and_then(|partition| starts.get(partition));
        start.is_some_and(|start| offset < *start)
    };
    let reordered = reordered(history, &found);
    let mut clients: BTreeMap<&str, (Arc<str>, u32)> = BTreeMap::new();
    let outcomes = history.sent.iter().map(|sent| {
        let known =
            clients.entry(&sent.client).or_insert_with(|| split_client(&sent.client)).clone();
        let (workload, client) = known;
        let (fate, error) = fate_of(&sent.outcome);
        stats::Outcome {
            workload,
            client,
            partition: sent.partition.clone(),
            sent_at: recorder.time(sent.sent_at.nanos()),
            done_at: recorder.time(sent.done_at.unwrap_or(end).nanos()),
            fate,
            error,
            found: found
                .get(&sent.id)
                .map_or(0, |offsets| u32::try_from(offsets.len()).unwrap_or(u32::MAX)),
            deleted: is_deleted(sent),
            reordered: reordered.contains(&sent.id),
        }
    });
    let errors = history.failures.iter().filter_map(|failure| {
        let (workload, _) = split_client(&failure.client);
        Some(ErrorSeen {
            at: recorder.time(failure.at.nanos()),
            workload,
            partition: None,
            error: failure.error?,
        })
    });
    Stats {
        outcomes: outcomes.collect(),
        errors: errors.collect(),
        reads: reads(recorder, history),
        polls: polls(recorder, history),
        in_hand: in_hand(history),
        keys: keys(history),
        ..Stats::default()
    }
}

fn reads(recorder: &Recorder, history: &History) -> Vec<ReadSeen> {
    let mut reads = Vec::new();
    for poll in history.polls.iter().filter(|poll| &*poll.client != FINAL_READER) {
        let (workload, _) = split_client(&poll.client);
        let mut counts: BTreeMap<&TopicPartition, u64> = BTreeMap::new();
        for read in &poll.records {
            *counts.entry(&read.partition).or_default() += 1;
        }
        let at = recorder.time(poll.at.nanos());
        let of_poll = counts.into_iter().map(|(partition, records)| ReadSeen {
            at,
            workload: Arc::clone(&workload),
            partition: partition.clone(),
            records,
        });
        reads.extend(of_poll);
    }
    reads
}

fn polls(recorder: &Recorder, history: &History) -> Vec<PollSeen> {
    let mut workloads: BTreeMap<&str, Arc<str>> = BTreeMap::new();
    let seen = history.calls.iter().map(|call| {
        let workload =
            workloads.entry(&call.client).or_insert_with(|| split_client(&call.client).0);
        PollSeen {
            at: recorder.time(call.done_at.nanos()),
            waited: Span::from_nanos(call.done_at.nanos().saturating_sub(call.asked_at.nanos())),
            workload: Arc::clone(workload),
            records: call.records,
        }
    });
    seen.collect()
}

/// How many records each workload's member had in hand at most.
fn in_hand(history: &History) -> BTreeMap<Arc<str>, u64> {
    let mut all: BTreeMap<Arc<str>, u64> = BTreeMap::new();
    for (client, records) in &history.in_hand {
        let most = all.entry(split_client(client).0).or_default();
        *most = (*most).max(*records);
    }
    all
}

/// Where the records of each key of a topic were sent.
fn keys(history: &History) -> BTreeMap<(Arc<str>, u32), BTreeSet<PartitionIndex>> {
    let mut keys: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for sent in &history.sent {
        if let (Some(key), Some(partition)) = (sent.key, &sent.partition) {
            let of = (Arc::clone(&partition.topic), key);
            keys.entry(of).or_default().insert(partition.partition);
        }
    }
    keys
}

/// `orders-0` as a partition.
pub(crate) fn partition_of(name: &str) -> Option<TopicPartition> {
    let (topic, index) = name.rsplit_once('-')?;
    let partition = PartitionIndex::from_wire(index.parse().ok()?)?;
    Some(TopicPartition { topic: topic.into(), partition })
}

/// `writer/0` as workload and number.
fn split_client(client: &str) -> (Arc<str>, u32) {
    match client.rsplit_once('/') {
        Some((workload, index)) => (workload.into(), index.parse().unwrap_or(0)),
        None => (client.into(), 0),
    }
}

/// What was told of a record that nobody decided is: nobody knows.
fn fate_of(outcome: &Outcome) -> (Fate, Option<ErrorCode>) {
    match outcome {
        Outcome::Acked { offset: Some(_) } => (Fate::Acked, None),
        Outcome::Acked { offset: None } | Outcome::Pending => (Fate::Unknown, None),
        Outcome::Failed { error, .. } => (Fate::Failed, *error),
        Outcome::Unknown { error, .. } => (Fate::Unknown, *error),
    }
}

/// Where each record stands at the end.
fn found_at(history: &History) -> BTreeMap<SendId, Vec<Offset>> {
    let mut found: BTreeMap<SendId, Vec<Offset>> = BTreeMap::new();
    for read in history.final_log().into_values().flatten() {
        if let Some(id) = read.id {
            found.entry(id).or_default().push(read.offset);
        }
    }
    found
}

/// The records that stand before one that the same client sent earlier with the same key.
fn reordered(history: &History, found: &BTreeMap<SendId, Vec<Offset>>) -> BTreeSet<SendId> {
    let mut latest: BTreeMap<(&str, u32, Option<u32>, &TopicPartition), Offset> = BTreeMap::new();
    let mut out_of_order = BTreeSet::new();
    for Sent { id, client, incarnation, key, partition, .. } in &history.sent {
        let (Some(partition), Some(first)) =
            (partition, found.get(id).and_then(|offsets| offsets.first()))
        else {
            continue;
        };
        let latest = latest.entry((client, *incarnation, *key, partition)).or_insert(*first);
        if first < latest {
            out_of_order.insert(*id);
        }
        *latest = (*latest).max(*first);
    }
    out_of_order
}
