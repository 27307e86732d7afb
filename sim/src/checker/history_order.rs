//! History checks on order: polls follow the log, the log follows the senders.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla::types::{Offset, TopicPartition};

use super::{Context, DeclaredCut, Violation};
use crate::history::{FINAL_READER, History, Outcome, Poll, SendId};

/// The offsets of each partition at which somebody was given a record, in order: the version order.
struct VersionOrder<'a>(BTreeMap<&'a TopicPartition, Vec<Offset>>);

impl<'a> VersionOrder<'a> {
    fn of(history: &'a History) -> Self {
        let mut order: BTreeMap<&TopicPartition, Vec<Offset>> = BTreeMap::new();
        for read in history.polls.iter().flat_map(|poll| &poll.records) {
            order.entry(&read.partition).or_default().push(read.offset);
        }
        for offsets in order.values_mut() {
            offsets.sort_unstable();
            offsets.dedup();
        }
        Self(order)
    }

    /// What is wrong with reading `next` where everything up to `previous` (inclusive) was read, and the log begins at `start`.
    fn step(&self, partition: &TopicPartition, previous: i64, next: Offset, start: Offset) -> Step {
        if next.value() <= previous {
            return Step::Back;
        }
        let offsets = self.0.get(partition).map_or(&[][..], Vec::as_slice);
        let first = offsets.partition_point(|offset| offset.value() <= previous || *offset < start);
        let last = offsets.partition_point(|offset| *offset < next);
        if last > first { Step::Skip(last - first) } else { Step::Fine }
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
            let start = context.start_of(&read.partition, poll.at);
            match order.step(&read.partition, previous.value(), read.offset, start) {
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
    let mut last: BTreeMap<(&Arc<str>, &TopicPartition), i64> = BTreeMap::new();
    for poll in &history.polls {
        for partition in &poll.repositioned {
            last.remove(&(&poll.client, partition));
        }
        for (partition, position) in &poll.seeks {
            last.insert((&poll.client, partition), position.value() - 1);
        }
        let mut first_here: BTreeMap<&TopicPartition, Offset> = BTreeMap::new();
        for read in &poll.records {
            first_here.entry(&read.partition).or_insert(read.offset);
        }
        for (partition, first) in first_here {
            let Some(previous) = last.get(&(&poll.client, partition)) else { continue };
            let start = context.start_of(partition, poll.at);
            let read = Offset::new((*previous).max(0));
            match order.step(partition, *previous, first, start) {
                Step::Fine => {}
                // What was read before the cut is gone: a consumer goes back to where the logs part.
                Step::Skip(_) | Step::Back if context.is_cut(partition, read, poll.at) => {}
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
            last.insert((&poll.client, &read.partition), read.offset.value());
        }
    }
}

/// poll-skip after a declared cut: who read on from a log that was cut, and is given something of the new one, was given before what took
/// the place of what was cut off first.
///
/// Asked of the last cut of each partition, and of clients that go nowhere by themselves.
pub(super) fn polls_after_cuts(history: &History, context: &Context<'_>, out: &mut Vec<Violation>) {
    let last: BTreeMap<&TopicPartition, &DeclaredCut> =
        context.cuts.iter().map(|cut| (&cut.partition, cut)).collect();
    let log = history.final_log();
    for (partition, cut) in last {
        let Some(log) = log.get(partition) else { continue };
        let now: BTreeMap<Offset, u64> = log.iter().map(|r| (r.offset, r.content)).collect();
        let Some((first, content)) = now.range(cut.from..).next() else { continue };
        let mut readers: BTreeMap<&Arc<str>, Reader> = BTreeMap::new();
        for poll in history.polls.iter().filter(|poll| *poll.client != *FINAL_READER) {
            let reader = readers.entry(&poll.client).or_default();
            let has_moved = poll.repositioned.contains(partition);
            reader.wanders |= has_moved && reader.has_polled;
            reader.has_polled |= has_moved;
            for read in poll.records.iter().filter(|read| read.partition == *partition) {
                reader.was_beyond |= poll.at <= cut.at && read.offset >= *first;
                reader.has_new |= read.offset == *first && read.content == *content;
                let is_new = read.offset > *first && now.get(&read.offset) == Some(&read.content);
                if is_new && poll.at > cut.at && reader.has_skipped() {
                    reader.is_told = true;
                    let what = format!(
                        "{} read beyond offset {first}, where the log was cut, and was given {} of the new one and never what stands at {first} now",
                        poll.client, read.offset
                    );
                    out.push(violation("poll-skip", poll, partition, what));
                }
            }
        }
    }
}

/// What a client was given around a cut.
#[derive(Default)]
struct Reader {
    has_polled: bool,
    wanders: bool,
    was_beyond: bool,
    has_new: bool,
    is_told: bool,
}

impl Reader {
    fn has_skipped(&self) -> bool {
        self.was_beyond && !self.has_new && !self.wanders && !self.is_told
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
        // Without idempotence what was given up may arrive late, and a second attempt beside the first.
        let counts = match sent.outcome {
            Outcome::Acked { .. } => true,
            Outcome::Unknown { .. } => sent.is_idempotent,
            Outcome::Pending | Outcome::Failed { .. } => false,
        };
        let (Some(partition), Some((first, last))) = (&sent.partition, places.get(&sent.id)) else {
            continue;
        };
        if !counts {
            continue;
        }
        let place = if sent.is_idempotent { *last } else { *first };
        let previous = before.insert((&sent.client, sent.incarnation, partition), (sent.id, place));
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
