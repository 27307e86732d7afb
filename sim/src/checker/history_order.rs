//! History checks on order: polls follow the log, the log follows the senders.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla::types::{Offset, TopicPartition};

use super::{Context, Violation};
use crate::history::{History, Outcome, Poll, SendId};

/// The offsets of each partition that hold a record at the end, in order: the version order.
struct VersionOrder<'a>(BTreeMap<&'a TopicPartition, Vec<Offset>>);

impl<'a> VersionOrder<'a> {
    fn of(history: &'a History) -> Self {
        let logs = history.final_log().into_iter();
        Self(
            logs.map(|(partition, log)| (partition, log.iter().map(|read| read.offset).collect()))
                .collect(),
        )
    }

    /// The place of an offset; `None` where the final log does not hold it.
    fn index(&self, partition: &TopicPartition, offset: Offset) -> Option<usize> {
        self.0.get(partition)?.binary_search(&offset).ok()
    }

    /// What is wrong with reading `next` right after `previous`.
    fn step(&self, partition: &TopicPartition, previous: Offset, next: Offset) -> Step {
        if next <= previous {
            return Step::Back;
        }
        match (self.index(partition, previous), self.index(partition, next)) {
            (Some(from), Some(to)) if to > from + 1 => Step::Skip(to - from - 1),
            _ => Step::Fine,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Fine,
    Skip(usize),
    Back,
}

fn violation(
    check: &'static str,
    poll: &Poll,
    partition: &TopicPartition,
    what: String,
) -> Violation {
    Violation {
        check,
        at: poll.at,
        node: None,
        partition: Some(partition.to_string()),
        what,
        evidence: Vec::new(),
    }
}

/// Whether any loss is declared: then offsets are reused, and an order over the run's whole length proves nothing.
fn some_loss_is_declared(history: &History, context: &Context<'_>) -> bool {
    history.sent.iter().any(|sent| (context.may_be_lost)(sent))
}

/// int-poll-skip, int-nonmonotonic-poll: within one poll.
pub(super) fn polls_inside(history: &History, context: &Context<'_>, out: &mut Vec<Violation>) {
    if some_loss_is_declared(history, context) || context.records_removed {
        return;
    }
    let order = VersionOrder::of(history);
    for poll in &history.polls {
        let mut last: BTreeMap<&TopicPartition, Offset> = BTreeMap::new();
        for read in &poll.records {
            let Some(previous) = last.insert(&read.partition, read.offset) else { continue };
            match order.step(&read.partition, previous, read.offset) {
                Step::Fine => {}
                Step::Skip(_) | Step::Back
                    if context.is_cut(&read.partition, previous, poll.at) => {}
                Step::Skip(count) => {
                    let what = format!(
                        "a poll of {} goes from offset {previous} to {} and skips {count} records",
                        poll.client, read.offset
                    );
                    out.push(violation("int-poll-skip", poll, &read.partition, what));
                }
                Step::Back => {
                    let what = format!(
                        "a poll of {} goes from offset {previous} back to {}",
                        poll.client, read.offset
                    );
                    out.push(violation("int-nonmonotonic-poll", poll, &read.partition, what));
                }
            }
        }
    }
}

/// poll-skip, nonmonotonic-poll: from one poll of a client to its next.
pub(super) fn polls_between(history: &History, context: &Context<'_>, out: &mut Vec<Violation>) {
    if some_loss_is_declared(history, context) || context.records_removed {
        return;
    }
    let order = VersionOrder::of(history);
    let mut last: BTreeMap<(&Arc<str>, &TopicPartition), Offset> = BTreeMap::new();
    for poll in &history.polls {
        for partition in &poll.repositioned {
            last.remove(&(&poll.client, partition));
        }
        let mut first_here: BTreeMap<&TopicPartition, Offset> = BTreeMap::new();
        for read in &poll.records {
            first_here.entry(&read.partition).or_insert(read.offset);
        }
        for (partition, first) in first_here {
            let Some(previous) = last.get(&(&poll.client, partition)) else { continue };
            match order.step(partition, *previous, first) {
                Step::Fine => {}
                // What was read before the cut is gone: a consumer goes back to where the logs part.
                Step::Skip(_) | Step::Back if context.is_cut(partition, *previous, poll.at) => {}
                Step::Skip(count) => {
                    let what = format!(
                        "{} had read up to offset {previous} and was then given {first}: {count} records skipped",
                        poll.client
                    );
                    out.push(violation("poll-skip", poll, partition, what));
                }
                Step::Back => {
                    let what = format!(
                        "{} had read up to offset {previous} and was then given {first}",
                        poll.client
                    );
                    out.push(violation("nonmonotonic-poll", poll, partition, what));
                }
            }
        }
        for read in &poll.records {
            last.insert((&poll.client, &read.partition), read.offset);
        }
    }
}

/// nonmonotonic-send, int-nonmonotonic-send: what one producer sent later to a partition stands later, where it promises order.
/// Each send is one record here, so what is inside one send is what shares an instant.
pub(super) fn sends(history: &History, _context: &Context<'_>, out: &mut Vec<Violation>) {
    let mut places: BTreeMap<SendId, (Offset, Offset)> = BTreeMap::new();
    for log in history.final_log().into_values() {
        for read in log {
            let Some(id) = read.id else { continue };
            places
                .entry(id)
                .and_modify(|(_, last)| *last = read.offset)
                .or_insert((read.offset, read.offset));
        }
    }
    let mut before: BTreeMap<(&Arc<str>, u32, &TopicPartition), (SendId, Offset)> = BTreeMap::new();
    for sent in history.sent.iter().filter(|sent| sent.is_ordered) {
        let counts = matches!(sent.outcome, Outcome::Acked { .. } | Outcome::Unknown { .. });
        let (Some(partition), Some((first, last))) = (&sent.partition, places.get(&sent.id)) else {
            continue;
        };
        if !counts {
            continue;
        }
        let previous = before.insert((&sent.client, sent.incarnation, partition), (sent.id, *last));
        let Some((earlier, place)) = previous.filter(|(_, place)| first <= place) else { continue };
        let same_instant =
            history.of(earlier).is_some_and(|earlier| earlier.sent_at == sent.sent_at);
        out.push(Violation {
            check: if same_instant { "int-nonmonotonic-send" } else { "nonmonotonic-send" },
            at: sent.done_at.unwrap_or(sent.sent_at),
            node: None,
            partition: Some(partition.to_string()),
            what: format!(
                "{} sent record {} after record {}, and it stands before it",
                sent.client, sent.id.0, earlier.0
            ),
            evidence: vec![format!(
                "record {} at offset {first}, record {} at offset {place}",
                sent.id.0, earlier.0
            )],
        });
    }
}
