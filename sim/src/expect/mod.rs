//! Expectations: what a file says must come of a run, measured on what did.

mod cluster;
mod groups;
mod owners;
mod shares;

use ottla::types::TopicPartition;

use crate::event::{Event, is_partition};
use crate::scenario::NO_VARIANT;
use crate::scenario::condition::Measured;
use crate::scenario::duration::Span;
use crate::scenario::plan::{Expectation, ExpectationKind, Of, Plan};
use crate::stats::{Fate, Outcome, PollSeen, Stats};
use crate::verdict::Violation;

/// The value that a run showed, and whether it is as asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measurement {
    /// The value; `None` where there was nothing to measure.
    pub value: Option<Measured>,
    /// Whether it is as asked. Nothing to measure is not.
    pub holds: bool,
}

/// What a run left to measure.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// What happened.
    pub events: &'a [Event],
    /// What clients were told.
    pub stats: &'a Stats,
    /// What did not hold.
    pub violations: &'a [Violation],
}

/// Measures each expectation of the plan; `None` for those of other variants.
#[must_use]
pub fn measure_all(
    plan: &Plan,
    variant: Option<&str>,
    evidence: Evidence<'_>,
) -> Vec<Option<Measurement>> {
    let variant = variant.unwrap_or(NO_VARIANT);
    let measure = |expectation: &Expectation| {
        let is_here = expectation.variant.as_deref().is_none_or(|asked| asked == variant);
        is_here.then(|| {
            let value = measure(plan, expectation, evidence);
            let holds = value.as_ref().is_some_and(|value| expectation.is.holds(value));
            Measurement { value, holds }
        })
    };
    plan.expect.iter().map(measure).collect()
}

fn measure(plan: &Plan, expectation: &Expectation, evidence: Evidence<'_>) -> Option<Measured> {
    let within = Window::of(expectation);
    let Evidence { events, stats, violations } = evidence;
    let outcomes = |of: &Of, counts: fn(&Outcome) -> u64| {
        let matching = stats.outcomes.iter().filter(|outcome| within.holds(outcome.done_at));
        matching.filter(|outcome| is_outcome_of(outcome, of)).map(counts).sum::<u64>()
    };
    let fate = |of: &Of, fate: Fate| {
        let matching = stats.outcomes.iter().filter(|outcome| outcome.fate == fate);
        let matching = matching.filter(|outcome| within.holds(outcome.done_at));
        matching.filter(|outcome| is_outcome_of(outcome, of)).count() as u64
    };
    // What nobody read at the end is not known to be lost, nor to be there.
    if stats.converged_after.is_none() && expectation.kind.is_of_the_end() {
        return None;
    }
    let count = match &expectation.kind {
        ExpectationKind::Acked { of } => fate(of, Fate::Acked),
        ExpectationKind::FailedForGood { of } => fate(of, Fate::Failed),
        ExpectationKind::Unknown { of } => fate(of, Fate::Unknown),
        ExpectationKind::AckedLost { of } => {
            outcomes(of, |outcome| u64::from(outcome.is_acked_lost()))
        }
        ExpectationKind::UnknownLost { of } => {
            outcomes(of, |outcome| u64::from(outcome.fate == Fate::Unknown && outcome.found == 0))
        }
        ExpectationKind::DuplicatesInLog { of } => {
            outcomes(of, |outcome| u64::from(outcome.found.saturating_sub(1)))
        }
        ExpectationKind::ReorderedPerKey { of } => {
            outcomes(of, |outcome| u64::from(outcome.reordered))
        }
        ExpectationKind::Error { of } => {
            errors(stats, within, of) + outcomes(of, |outcome| u64::from(outcome.error.is_some()))
        }
        ExpectationKind::Read { of } => reads(stats, within, of),
        ExpectationKind::PollRecords { workload } => {
            let of = polls(stats, within, workload.as_deref());
            of.map(|poll| poll.records).max().unwrap_or(0)
        }
        ExpectationKind::PollWait { workload, gave, percentile } => {
            let of = polls(stats, within, workload.as_deref());
            let of = of.filter(|poll| gave.is_none_or(|asked| asked == poll.gave()));
            let waits = of.map(|poll| poll.waited.nanos()).collect();
            return at_percentile(waits, *percentile).map(Measured::Time);
        }
        ExpectationKind::KeysMoved { topic } => {
            let is_asked = |name: &str| topic.as_ref().is_none_or(|asked| asked == name);
            let of = stats.keys.iter().filter(|((name, _), _)| is_asked(name));
            of.filter(|(_, places)| places.len() > 1).count() as u64
        }
        ExpectationKind::HwAdvance { partition } => {
            let moves =
                events.iter().filter(|event| event.kind == "hw.advanced" && within.holds(event.at));
            let moves =
                moves.filter(|event| partition.as_ref().is_none_or(|asked| event.is_of(asked)));
            moves.map(|event| event.count).sum()
        }
        ExpectationKind::Batches { partition } => {
            let written = events.iter().filter(|event| event.kind == "produce.appended");
            let written = written.filter(|event| within.holds(event.at));
            let is_asked =
                |event: &&Event| partition.as_ref().is_none_or(|asked| event.is_of(asked));
            written.filter(is_asked).count() as u64
        }
        ExpectationKind::Event { event: kind, node, action, partition, error } => {
            let happened =
                events.iter().filter(|event| event.kind == kind && within.holds(event.at));
            let happened = happened
                .filter(|event| partition.as_ref().is_none_or(|asked| event.is_of(asked)))
                .filter(|event| node.as_ref().is_none_or(|asked| event.who.is(asked)))
                .filter(|event| error.as_ref().is_none_or(|asked| has_error(event, asked)))
                .filter(|event| action.as_ref().is_none_or(|asked| is_action(event, asked)));
            happened.map(|event| event.count).sum()
        }
        ExpectationKind::Violations { check } => {
            violations.iter().filter(|violation| violation.check == check).count() as u64
        }
        ExpectationKind::UnavailableFor { workload, partition } => {
            let of = Of { workload: workload.clone(), partition: partition.clone(), error: None };
            return longest_gap(plan, stats, within, &of).map(Measured::Time);
        }
        ExpectationKind::Latency { workload, percentile } => {
            return latency(stats, within, workload.as_deref(), *percentile).map(Measured::Time);
        }
        ExpectationKind::UnprocessedAcked { .. }
        | ExpectationKind::ProcessedTwice { .. }
        | ExpectationKind::ProcessedOutOfOrder { .. }
        | ExpectationKind::CommittedUnprocessed { .. }
        | ExpectationKind::CommitMovesBack { .. }
        | ExpectationKind::Lag { .. }
        | ExpectationKind::IdleFor { .. }
        | ExpectationKind::Rebalances { .. }
        | ExpectationKind::OwnersPerPartition { .. }
        | ExpectationKind::UnownedFor { .. }
        | ExpectationKind::Imbalance { .. }
        | ExpectationKind::PartitionsMoved { .. }
        | ExpectationKind::InHand { .. } => {
            return groups::measure(plan, expectation, within, events, stats);
        }
        ExpectationKind::Leader { .. }
        | ExpectationKind::LeaderlessFor { .. }
        | ExpectationKind::Isr { .. }
        | ExpectationKind::ActiveControllers { .. }
        | ExpectationKind::ControllerGap {}
        | ExpectationKind::MetadataIdentical {} => {
            return cluster::measure(expectation, within, plan.run_for, stats.cluster.as_ref()?);
        }
        ExpectationKind::Converged {} => {
            return Some(Measured::Flag(stats.converged_after.is_some()));
        }
    };
    Some(Measured::Count(count))
}

/// The part of the run that an expectation looks at.
#[derive(Clone, Copy, Debug)]
struct Window {
    from: Span,
    to: Option<Span>,
}

impl Window {
    fn of(expectation: &Expectation) -> Self {
        let (from, to) = match expectation.between {
            Some((from, to)) => (Some(from), Some(to)),
            None => (None, None),
        };
        let from = from.max(expectation.after).unwrap_or(Span::ZERO);
        let to = [to, expectation.by].into_iter().flatten().min();
        Self { from, to }
    }

    fn holds(self, at: Span) -> bool {
        at >= self.from && self.to.is_none_or(|to| at <= to)
    }
}

fn is_outcome_of(outcome: &Outcome, of: &Of) -> bool {
    let is_partition =
        |asked| outcome.partition.as_ref().is_some_and(|seen| is_partition(seen, asked));
    of.workload.as_ref().is_none_or(|asked| **asked == *outcome.workload)
        && of.partition.as_ref().is_none_or(is_partition)
        && of
            .error
            .as_ref()
            .is_none_or(|asked| outcome.error.is_some_and(|seen| seen.name() == asked))
}

fn errors(stats: &Stats, within: Window, of: &Of) -> u64 {
    let is_partition = |seen: &Option<TopicPartition>| {
        of.partition
            .as_ref()
            .is_none_or(|asked| seen.as_ref().is_some_and(|seen| is_partition(seen, asked)))
    };
    let seen = stats.errors.iter().filter(|seen| {
        within.holds(seen.at)
            && of.workload.as_ref().is_none_or(|asked| **asked == *seen.workload)
            && of.error.as_ref().is_none_or(|asked| seen.error.name() == asked)
            && is_partition(&seen.partition)
    });
    seen.count() as u64
}

fn reads(stats: &Stats, within: Window, of: &Of) -> u64 {
    let seen = stats.reads.iter().filter(|read| {
        within.holds(read.at)
            && of.workload.as_ref().is_none_or(|asked| **asked == *read.workload)
            && of.partition.as_ref().is_none_or(|asked| is_partition(&read.partition, asked))
    });
    seen.map(|read| read.records).sum()
}

fn has_error(event: &Event, asked: &str) -> bool {
    event.error.is_some_and(|seen| seen.name() == asked)
}

/// Events of faults carry the action's word first in their note.
fn is_action(event: &Event, asked: &str) -> bool {
    event.note.split(' ').next() == Some(asked)
}

/// The longest time without an acknowledgement, from the first record on, until the run's end.
fn longest_gap(plan: &Plan, stats: &Stats, within: Window, of: &Of) -> Option<Span> {
    let sent = || stats.outcomes.iter().filter(|outcome| is_outcome_of(outcome, of));
    let from = sent().map(|outcome| outcome.sent_at).min()?.max(within.from);
    let to = within.to.unwrap_or(plan.run_for).min(plan.run_for);
    let acked = sent().filter(|outcome| outcome.fate == Fate::Acked).map(|outcome| outcome.done_at);
    let mut moments: Vec<Span> = acked.filter(|at| *at >= from && *at <= to).collect();
    moments.extend([from, to.max(from)]);
    moments.sort_unstable();
    let gaps = moments.windows(2).map(|pair| pair[1].nanos() - pair[0].nanos());
    gaps.max().map(Span::from_nanos)
}

/// The latency that `percentile` of a hundred acknowledged records do not exceed (nearest rank).
fn latency(stats: &Stats, within: Window, workload: Option<&str>, percentile: u64) -> Option<Span> {
    let of = stats.outcomes.iter().filter(|outcome| {
        outcome.fate == Fate::Acked
            && within.holds(outcome.done_at)
            && workload.is_none_or(|asked| *asked == *outcome.workload)
    });
    let latencies =
        of.map(|outcome| outcome.done_at.nanos().saturating_sub(outcome.sent_at.nanos()));
    at_percentile(latencies.collect(), percentile)
}

/// The time in nanoseconds that `percentile` of a hundred do not exceed (nearest rank); `None` where there are none.
fn at_percentile(mut times: Vec<u64>, percentile: u64) -> Option<Span> {
    times.sort_unstable();
    let rank = (times.len() as u64 * percentile).div_ceil(100).max(1) - 1;
    times.get(usize::try_from(rank).ok()?).copied().map(Span::from_nanos)
}

fn polls<'a>(
    stats: &'a Stats,
    within: Window,
    workload: Option<&'a str>,
) -> impl Iterator<Item = &'a PollSeen> {
    stats.polls.iter().filter(move |poll| {
        within.holds(poll.at) && workload.is_none_or(|asked| *asked == *poll.workload)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ottla::types::{ErrorCode, PartitionIndex};
    use serde_json::{Value, json};

    use super::*;
    use crate::event::Who;
    use crate::stats::{ErrorSeen, ReadSeen};

    fn plan(expectation: Value) -> Plan {
        serde_json::from_value(json!({ "claim": "x", "run-for": "20s", "expect": [expectation] }))
            .unwrap()
    }

    fn partition(index: i32) -> TopicPartition {
        TopicPartition { topic: "orders".into(), partition: PartitionIndex::new(index) }
    }

    fn outcome(workload: &str, sent: u64, done: u64, fate: Fate, found: u32) -> Outcome {
        Outcome {
            workload: Arc::from(workload),
            client: 0,
            partition: Some(partition(0)),
            sent_at: Span::from_secs(sent),
            done_at: Span::from_secs(done),
            fate,
            error: (fate != Fate::Acked).then_some(ErrorCode::RequestTimedOut),
            found,
            deleted: false,
            reordered: false,
        }
    }

    fn stats() -> Stats {
        Stats {
            outcomes: vec![
                outcome("a", 1, 2, Fate::Acked, 1),
                outcome("a", 2, 4, Fate::Acked, 0),
                outcome("a", 3, 9, Fate::Acked, 3),
                outcome("b", 3, 5, Fate::Failed, 0),
                outcome("b", 4, 6, Fate::Unknown, 0),
                outcome("b", 5, 7, Fate::Unknown, 1),
            ],
            errors: vec![ErrorSeen {
                at: Span::from_secs(3),
                workload: "a".into(),
                partition: Some(partition(1)),
                error: ErrorCode::RequestTimedOut,
            }],
            reads: vec![ReadSeen {
                at: Span::from_secs(3),
                workload: "c".into(),
                partition: partition(1),
                records: 7,
            }],
            converged_after: Some(Span::from_secs(1)),
            not_converged: None,
            cluster: None,
            groups: Default::default(),
            keys: Default::default(),
            polls: Default::default(),
            in_hand: Default::default(),
            chronicle: Default::default(),
        }
    }

    fn events() -> Vec<Event> {
        let event = |seconds, kind| Event::new(Span::from_secs(seconds), Who::Broker(1), kind);
        vec![
            event(1, "fault.started").note("kill of broker 1"),
            event(2, "fault.started").note("pause of broker 1"),
            event(3, "hw.advanced").count(12).partition(partition(0)),
            event(4, "produce.failed").partition(partition(0)).error(ErrorCode::KafkaStorageError),
            event(5, "produce.appended").count(7).partition(partition(0)),
            event(6, "produce.appended").count(5).partition(partition(1)),
        ]
    }

    #[track_caller]
    fn check(expectation: Value, value: &str, holds: bool) {
        let mut with_is = expectation;
        let is = with_is.as_object_mut().unwrap();
        is.entry("is").or_insert_with(|| json!(0));
        let plan = plan(with_is);
        let (events, stats) = (events(), stats());
        let evidence = Evidence { events: &events, stats: &stats, violations: &[] };
        let measured =
            measure_all(&plan, None, evidence).remove(0).expect("not of another variant");
        let shown = measured.value.map_or("-".into(), |value| value.to_string());
        assert_eq!((shown.as_str(), measured.holds), (value, holds));
    }

    #[test]
    fn polls_are_measured_by_what_they_gave_and_how_long_they_took() {
        let poll = |at, waited, workload: &str, records| PollSeen {
            at: Span::from_secs(at),
            waited: Span::from_secs(waited),
            workload: workload.into(),
            records,
        };
        let polls =
            vec![poll(2, 1, "a", 7), poll(4, 0, "a", 3), poll(9, 5, "a", 0), poll(9, 2, "b", 9)];
        let stats = Stats { polls, ..stats() };
        let measured = |expectation: Value| {
            let plan = plan(expectation);
            measure(
                &plan,
                &plan.expect[0],
                Evidence { events: &[], stats: &stats, violations: &[] },
            )
        };
        let records = |of: Value| measured(of).unwrap();
        let count = |count| Measured::Count(count);
        assert_eq!(records(json!({ "that": "poll-records", "is": 0 })), count(9));
        let of_a = json!({ "that": "poll-records", "workload": "a", "after": "3s", "is": 0 });
        assert_eq!(records(of_a), count(3));
        let wait = |gave: &str, percentile: u64| {
            measured(json!({
                "that": "poll-wait", "workload": "a", "gave": gave, "percentile": percentile, "is": "0s"
            }))
        };
        let time = |seconds| Some(Measured::Time(Span::from_secs(seconds)));
        assert_eq!(wait("records", 50), time(0));
        assert_eq!(wait("records", 100), time(1));
        assert_eq!(wait("nothing", 1), time(5));
        let nobody = json!({ "that": "poll-wait", "workload": "c", "is": "0s" });
        assert_eq!(measured(nobody), None, "nobody polled");
    }

    #[test]
    fn outcomes_are_counted_by_fate_workload_and_time() {
        check(json!({ "that": "acked", "is": 3 }), "3", true);
        check(json!({ "that": "acked", "workload": "b", "is": ">= 1" }), "0", false);
        check(json!({ "that": "acked", "by": "4s" }), "2", false);
        check(json!({ "that": "acked", "between": ["3s", "5s"] }), "1", false);
        check(json!({ "that": "acked", "after": "5s" }), "1", false);
        check(json!({ "that": "acked-lost", "is": 1 }), "1", true);
        check(json!({ "that": "failed-for-good" }), "1", false);
        check(json!({ "that": "unknown", "error": "REQUEST_TIMED_OUT" }), "2", false);
        check(json!({ "that": "unknown-lost" }), "1", false);
        check(json!({ "that": "duplicates-in-log" }), "2", false);
        check(json!({ "that": "reordered-per-key" }), "0", true);
        check(json!({ "that": "acked", "partition": "orders-1" }), "0", true);
    }

    #[test]
    fn what_nobody_read_at_the_end_is_neither_lost_nor_there() {
        let (events, mut stats) = (events(), stats());
        stats.converged_after = None;
        for that in ["acked-lost", "unknown-lost", "duplicates-in-log", "reordered-per-key"] {
            let plan = plan(json!({ "that": that, "is": 0 }));
            let evidence = Evidence { events: &events, stats: &stats, violations: &[] };
            let measured = measure_all(&plan, None, evidence).remove(0).unwrap();
            assert_eq!((measured.value, measured.holds), (None, false), "{that}");
        }
    }

    #[test]
    fn errors_and_reads_are_counted() {
        check(json!({ "that": "error", "error": "REQUEST_TIMED_OUT" }), "4", false);
        check(
            json!({ "that": "error", "error": "REQUEST_TIMED_OUT", "workload": "a" }),
            "1",
            false,
        );
        check(json!({ "that": "error", "error": "CORRUPT_MESSAGE" }), "0", true);
        check(json!({ "that": "read", "workload": "c", "is": 7 }), "7", true);
    }

    #[test]
    fn events_are_counted_with_their_filters() {
        check(json!({ "that": "event", "event": "fault.started" }), "2", false);
        check(json!({ "that": "event", "event": "fault.started", "action": "pause" }), "1", false);
        check(
            json!({ "that": "event", "event": "hw.advanced", "partition": "orders-0" }),
            "12",
            false,
        );
        check(
            json!({ "that": "event", "event": "produce.failed", "error": "KAFKA_STORAGE_ERROR" }),
            "1",
            false,
        );
        check(
            json!({ "that": "event", "event": "produce.failed", "node": "brokers(2)" }),
            "0",
            true,
        );
        check(json!({ "that": "hw-advance" }), "12", false);
        check(json!({ "that": "batches", "is": 2 }), "2", true);
        check(json!({ "that": "batches", "partition": "orders-1", "is": 1 }), "1", true);
        check(json!({ "that": "batches", "by": "5s", "is": 1 }), "1", true);
    }

    #[test]
    fn gaps_and_latencies_are_times() {
        check(json!({ "that": "unavailable-for", "workload": "a", "is": "<= 11s" }), "11s", true);
        check(
            json!({ "that": "unavailable-for", "workload": "a", "by": "9s", "is": "<= 2s" }),
            "5s",
            false,
        );
        check(json!({ "that": "latency", "percentile": 50, "is": "<= 2s" }), "2s", true);
        check(json!({ "that": "latency", "is": "<= 2s" }), "6s", false);
        check(json!({ "that": "latency", "workload": "b", "is": "<= 2s" }), "-", false);
        check(json!({ "that": "converged", "is": true }), "yes", true);
    }

    #[test]
    fn expectations_of_other_variants_are_not_measured() {
        let plan = plan(json!({ "that": "acked", "is": 0, "variant": "other" }));
        let (events, stats) = (events(), stats());
        let evidence = Evidence { events: &events, stats: &stats, violations: &[] };
        assert_eq!(measure_all(&plan, None, evidence), [None]);
        assert!(measure_all(&plan, Some("other"), evidence)[0].is_some());
    }
}
