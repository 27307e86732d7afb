//! History checks on records: what was read was sent, what was acknowledged is found, nothing stands twice, nothing is rot.

use std::collections::{BTreeMap, BTreeSet};

use ottla::types::{Acks, Offset, TopicPartition};

use super::{Context, Violation};
use crate::history::{History, Outcome, Read, SendId, Sent};

fn violation(
    check: &'static str,
    context: &Context<'_>,
    partition: Option<&TopicPartition>,
    what: String,
    evidence: Vec<String>,
) -> Violation {
    Violation {
        check,
        at: context.end,
        node: None,
        partition: partition.map(ToString::to_string),
        what,
        evidence,
    }
}

fn reads(history: &History) -> impl Iterator<Item = &Read> {
    history.polls.iter().flat_map(|poll| &poll.records)
}

/// S10: a corrupt batch is never served, nor its records handed to an application.
pub(super) fn corrupt_read(history: &History, context: &Context<'_>, out: &mut Vec<Violation>) {
    for corrupt in &history.corrupt {
        let what = format!(
            "{} was served a batch whose bytes are not those that were written",
            corrupt.client
        );
        out.push(Violation {
            at: corrupt.at,
            ..violation("S10", context, None, what, vec![corrupt.what.clone()])
        });
    }
    for read in reads(history).filter(|read| read.id.is_none()) {
        let what =
            format!("an application was handed bytes at offset {} that nobody sent", read.offset);
        out.push(violation("S10", context, Some(&read.partition), what, Vec::new()));
    }
}

/// phantom: every value read was sent, to that partition.
pub(super) fn phantom(history: &History, context: &Context<'_>, out: &mut Vec<Violation>) {
    for read in reads(history) {
        let Some(id) = read.id else { continue };
        let problem = match history.of(id) {
            None => Some("it was never sent".to_owned()),
            Some(Sent { partition: Some(partition), .. }) if *partition != read.partition => {
                Some(format!("it was sent to {partition}"))
            }
            Some(_) => None,
        };
        if let Some(problem) = problem {
            let what = format!("record {} was read at offset {}, and {problem}", id.0, read.offset);
            out.push(violation("phantom", context, Some(&read.partition), what, Vec::new()));
        }
    }
}

/// The records that were acknowledged and whose loss nobody declared, with the offset that was told. None is where nobody answers
/// (acks=0), or who answers does not know any more (a late duplicate).
fn acked<'a>(
    history: &'a History,
    context: &'a Context<'_>,
) -> impl Iterator<Item = (&'a Sent, Option<Offset>)> {
    history.sent.iter().filter_map(|sent| match sent.outcome {
        Outcome::Acked { offset } => {
            let is_promised = offset.is_some() || sent.acks == Acks::All;
            (is_promised && !context.is_declared(sent, offset)).then_some((sent, offset))
        }
        Outcome::Pending | Outcome::Failed { .. } | Outcome::Unknown { .. } => None,
    })
}

fn place(offset: Option<Offset>) -> String {
    offset.map_or("no offset".to_owned(), |offset| format!("offset {offset}"))
}

/// lost-write: every acknowledged record is found by a fresh reader at the end. Keyed by the record, never by the offset.
pub(super) fn lost_write(history: &History, context: &Context<'_>, out: &mut Vec<Violation>) {
    if !history.final_read_complete || context.records_removed {
        return; // no proof; what keeps the reader from the end is the business of `converged`
    }
    let found: BTreeSet<SendId> =
        history.final_log().into_values().flatten().filter_map(|read| read.id).collect();
    for (sent, offset) in acked(history, context).filter(|(sent, _)| !found.contains(&sent.id)) {
        let what = format!(
            "record {} of {} was acknowledged at {} and is not in the log",
            sent.id.0,
            sent.client,
            place(offset)
        );
        let evidence = vec![
            format!("acknowledged with acks={:?}", sent.acks),
            "a fresh reader read the partition from 0 to its end".to_owned(),
        ];
        out.push(violation("lost-write", context, sent.partition.as_ref(), what, evidence));
    }
}

/// unseen: every acknowledged record was given to some reader by the end.
pub(super) fn unseen(history: &History, context: &Context<'_>, out: &mut Vec<Violation>) {
    if context.records_removed {
        return;
    }
    let seen: BTreeSet<SendId> = reads(history).filter_map(|read| read.id).collect();
    for (sent, offset) in acked(history, context).filter(|(sent, _)| !seen.contains(&sent.id)) {
        let what = format!(
            "record {} of {} was acknowledged at {}, and no reader was ever given it",
            sent.id.0,
            sent.client,
            place(offset)
        );
        out.push(violation("unseen", context, sent.partition.as_ref(), what, Vec::new()));
    }
}

/// duplicate: a record of an idempotent producer stands at one offset only.
pub(super) fn duplicate(history: &History, context: &Context<'_>, out: &mut Vec<Violation>) {
    for (partition, log) in history.final_log() {
        let mut places: BTreeMap<SendId, Vec<Offset>> = BTreeMap::new();
        for read in log {
            if let Some(id) = read.id {
                places.entry(id).or_default().push(read.offset);
            }
        }
        for (id, offsets) in places {
            let is_idempotent = history.of(id).is_some_and(|sent| sent.is_idempotent);
            if offsets.len() > 1 && is_idempotent {
                let what = format!(
                    "record {} of an idempotent producer stands at {} offsets",
                    id.0,
                    offsets.len()
                );
                let places = offsets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                out.push(violation(
                    "duplicate",
                    context,
                    Some(partition),
                    what,
                    vec![format!("offsets {places}")],
                ));
            }
        }
    }
}

/// inconsistent-offsets: no offset ever gives two different records, whether they were read there or their producer was told that they
/// stand there, unless the loss of what stood there was declared.
pub(super) fn inconsistent_offsets(
    history: &History,
    context: &Context<'_>,
    out: &mut Vec<Violation>,
) {
    let mut seen: BTreeMap<&TopicPartition, BTreeMap<Offset, &Read>> = BTreeMap::new();
    let of_polls = history.polls.iter().flat_map(|poll| poll.records.iter().map(|r| (poll.at, r)));
    for (at, read) in of_polls {
        let of_partition = seen.entry(&read.partition).or_default();
        let Some(first) = of_partition.insert(read.offset, read) else { continue };
        let declared =
            first.id.and_then(|id| history.of(id)).is_some_and(|sent| (context.may_be_lost)(sent))
                || context.is_cut(&read.partition, read.offset, at);
        if first.content != read.content && !declared {
            let name = |read: &Read| {
                read.id.map_or("something nobody sent".to_owned(), |id| format!("record {}", id.0))
            };
            let what =
                format!("offset {} gave {} and later {}", read.offset, name(first), name(read));
            out.push(violation(
                "inconsistent-offsets",
                context,
                Some(&read.partition),
                what,
                Vec::new(),
            ));
        }
    }
    for (sent, offset) in acked(history, context) {
        let (Some(partition), Some(offset)) = (&sent.partition, offset) else { continue };
        let read = seen.get(partition).and_then(|of| of.get(&offset));
        let Some(other) = read.and_then(|read| read.id).filter(|id| *id != sent.id) else {
            continue;
        };
        if !context.is_cut(partition, offset, context.end) {
            let what = format!(
                "record {} of {} was acknowledged at offset {offset}, which gave record {}",
                sent.id.0, sent.client, other.0
            );
            out.push(violation("inconsistent-offsets", context, Some(partition), what, Vec::new()));
        }
    }
}

/// R16: a record of which its producer was told that it is surely not stored is never read.
pub(super) fn read_although_refused(
    history: &History,
    context: &Context<'_>,
    out: &mut Vec<Violation>,
) {
    let mut told = BTreeSet::new();
    for read in reads(history) {
        let Some(sent) = read.id.and_then(|id| history.of(id)) else { continue };
        let Outcome::Failed { error, reason } = &sent.outcome else { continue };
        if told.insert(sent.id) {
            let what = format!(
                "record {} was refused for good and was read at offset {}",
                sent.id.0, read.offset
            );
            let error = error.map_or("no error code", |error| error.name());
            let evidence = vec![format!("{} was told: {reason} ({error})", sent.client)];
            out.push(violation("R16", context, Some(&read.partition), what, evidence));
        }
    }
}
