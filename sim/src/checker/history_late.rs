//! late: while nothing is broken nobody waits. A record is answered, and given to whoever reads its partition, within moments: by who is
//! woken, not by who asks again when its patience ends.
//!
//! Who stands in a queue that moves is served: where a network loses packets, and records go one by one, more may be sent than come through
//! (swarm, seed 35).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ottla::types::{Acks, TopicPartition};

use super::{Context, Violation};
use crate::history::{FINAL_READER, History, Outcome, SendId, Sent};
use crate::world::SimTime;

/// How long anything takes at most while nothing is broken: some round trips, retransmissions of lost segments (200 ms, 400 ms, 800 ms),
/// a fetch that waits 500 ms for more bytes. Whoever is never woken waits for longer, where the plan lets him.
const WITHIN: Duration = Duration::from_secs(3);

/// See the module. Asked of the times in which nothing is broken.
pub(super) fn late(history: &History, context: &Context<'_>, out: &mut Vec<Violation>) {
    if context.calm.is_empty() {
        return;
    }
    let readers = Readers::of(history);
    let queues = Queues::of(history);
    for sent in history.sent.iter().filter(|sent| sent.acks != Acks::None) {
        if !is_calm(context, sent.sent_at) {
            continue;
        }
        let answered = sent.done_at.filter(|at| at.since(sent.sent_at) <= WITHIN);
        let Some(answered) = answered else {
            if queues.moves_before(sent) {
                continue;
            }
            let what = format!(
                "nothing is broken, and record {} of {} is not answered within {WITHIN:?}",
                sent.id.0, sent.client
            );
            out.push(violation(sent, sent.sent_at, what));
            continue;
        };
        if !matches!(sent.outcome, Outcome::Acked { .. }) || !is_calm(context, answered) {
            continue;
        }
        for reader in readers.late_with(sent, answered) {
            let what = format!(
                "nothing is broken, and record {} was not given to {reader} within {WITHIN:?} of its acknowledgement",
                sent.id.0
            );
            out.push(violation(sent, answered, what));
        }
    }
}

/// Whether nothing is broken at a moment and for as long after it as anything may take.
fn is_calm(context: &Context<'_>, at: SimTime) -> bool {
    context.calm.iter().any(|(from, to)| *from <= at && to.since(at) > WITHIN && *to > at)
}

fn violation(sent: &Sent, at: SimTime, what: String) -> Violation {
    Violation {
        check: "late",
        at,
        node: None,
        partition: sent.partition.as_ref().map(ToString::to_string),
        what,
        evidence: Vec::new(),
    }
}

/// A client, and a partition that it sends to.
type Queue<'a> = (&'a Arc<str>, Option<&'a TopicPartition>);

/// When each client's records for a partition were answered, and when they were sent; in the order of the answers.
struct Queues<'a> {
    of: BTreeMap<Queue<'a>, Vec<(SimTime, SimTime)>>,
}

impl<'a> Queues<'a> {
    fn of(history: &'a History) -> Self {
        let mut of: BTreeMap<Queue<'a>, Vec<(SimTime, SimTime)>> = BTreeMap::new();
        for sent in &history.sent {
            let Some(done_at) = sent.done_at else { continue };
            let queue = of.entry((&sent.client, sent.partition.as_ref())).or_default();
            queue.push((done_at, sent.sent_at));
        }
        of.values_mut().for_each(|queue| queue.sort_unstable());
        Self { of }
    }

    /// Whether a record that stands before this one was answered in the second half of the time that this one had.
    fn moves_before(&self, sent: &Sent) -> bool {
        let Some(queue) = self.of.get(&(&sent.client, sent.partition.as_ref())) else {
            return false;
        };
        let (from, to) = (sent.sent_at + WITHIN / 2, sent.sent_at + WITHIN);
        let first = queue.partition_point(|(done_at, _)| *done_at < from);
        let mut late = queue[first..].iter().take_while(|(done_at, _)| *done_at <= to);
        late.any(|(_, sent_at)| *sent_at < sent.sent_at)
    }
}

/// Who reads which partitions one record after the other, and what it was given when. Who goes elsewhere on his own (members of
/// groups, who seeks) is none of them.
struct Readers<'a> {
    of: BTreeMap<&'a TopicPartition, BTreeSet<&'a Arc<str>>>,
    given: BTreeMap<(&'a Arc<str>, SendId), SimTime>,
}

impl<'a> Readers<'a> {
    fn of(history: &'a History) -> Self {
        let mut elsewhere: BTreeSet<&Arc<str>> =
            history.processed.iter().map(|one| &one.client).collect();
        elsewhere.extend(history.polls.iter().filter(|p| !p.seeks.is_empty()).map(|p| &p.client));
        let mut readers = Self { of: BTreeMap::new(), given: BTreeMap::new() };
        let plain = |client: &Arc<str>| **client != *FINAL_READER && !elsewhere.contains(client);
        for poll in history.polls.iter().filter(|poll| plain(&poll.client)) {
            for read in &poll.records {
                readers.of.entry(&read.partition).or_default().insert(&poll.client);
                if let Some(id) = read.id {
                    readers.given.entry((&poll.client, id)).or_insert(poll.at);
                }
            }
        }
        readers
    }

    /// Who was not given a record soon enough.
    fn late_with(&self, sent: &'a Sent, answered: SimTime) -> impl Iterator<Item = &'a Arc<str>> {
        let of = sent.partition.as_ref().and_then(|partition| self.of.get(partition));
        of.into_iter().flatten().copied().filter(move |reader| {
            let given = self.given.get(&(*reader, sent.id));
            given.is_none_or(|given| *given > answered && given.since(answered) > WITHIN)
        })
    }
}
