//! late: while nothing is broken nobody waits. A record is answered, and given to whoever reads its partition, within moments: by who is
//! woken, not by who asks again when its patience ends.

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
    for sent in history.sent.iter().filter(|sent| sent.acks != Acks::None) {
        if !is_calm(context, sent.sent_at) {
            continue;
        }
        let answered = sent.done_at.filter(|at| at.since(sent.sent_at) <= WITHIN);
        let Some(answered) = answered else {
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
