//! What a finished run showed: numbers, violations, expectations.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla::types::TopicPartition;
use serde_json::json;

use super::ears::Ears;
use super::{Finished, Job};
use crate::checker::history_oracles::oracles_disagree;
use crate::checker::{Context, Removed};
use crate::event::{Event, Who, is_partition};
use crate::expect::{Evidence, Measurement, measure_all};
use crate::explore::Reached;
use crate::history::{CommitOutcome, FINAL_READER, History, Outcome, Sent};
use crate::scenario::Plan;
use crate::scenario::duration::Span;
use crate::scenario::plan::{Action, Budget, Heal, Properties, Step, WorkloadPlan};
use crate::stats::{Fate, Stats, all_groups};
use crate::tally;
use crate::verdict::{Fired, SeedRun, Violation};
use crate::world::SimTime;

/// A finished run.
pub(super) struct Findings<'a> {
    pub(super) job: &'a Job,
    pub(super) plan: &'a Arc<Plan>,
    pub(super) ears: &'a Ears,
    pub(super) history: &'a History,
    pub(super) seen: Seen,
}

/// What the world itself shows of a finished run.
pub(super) struct Seen {
    /// When it ended.
    pub(super) end: SimTime,
    /// How many frames began to travel; 0 where nobody counts them.
    pub(super) frames: u64,
    /// Rare branches of the product that were reached.
    pub(super) marks: Vec<&'static str>,
    /// The hash of the trace; empty where there is none.
    pub(super) trace_hash: String,
    /// How many things it covers.
    pub(super) trace_entries: u64,
}

/// How long after the clients started they know the cluster, each partition's leader, and where they read.
const SETTLED_AFTER: Span = Span::from_nanos(1_500_000_000);
/// How long after everything was healed nobody needs any more to find that out: the longest session, elections, replicas that catch
/// up, requests that were under way.
const HEALED_AFTER: Span = Span::from_secs(25);
/// What a client sends meanwhile takes this long besides, where it waited for an answer that was lost.
const CAUGHT_UP_AFTER: Span = Span::from_secs(10);
/// `request.timeout.ms` of clients that say nothing of it.
const REQUEST_TIMEOUT_DEFAULT: Span = Span::from_secs(30);
/// What counts as slow of a network or a disk that nothing is done to.
const PROMPT: Span = Span::from_nanos(100_000_000);

/// How long after everything was healed all that was under way is done with: [`HEALED_AFTER`], or where a client waits for longer for an
/// answer that was lost, until it has given that up and caught up (storm, seed 6).
fn healed_after(plan: &Plan) -> Span {
    let timeout = |work: &WorkloadPlan| match work.config.0.get("request.timeout.ms") {
        Some(text) => text
            .parse()
            .map_or(REQUEST_TIMEOUT_DEFAULT, |millis: u64| Span::from_nanos(millis * 1_000_000)),
        None => REQUEST_TIMEOUT_DEFAULT,
    };
    let longest = plan.workloads.values().map(timeout).max().unwrap_or_default();
    HEALED_AFTER.max(Span::from_nanos(longest.nanos() + CAUGHT_UP_AFTER.nanos()))
}

/// Whether everything is answered within moments where nothing is broken: the world is as fast as it is when the plan says nothing, and
/// nobody is asked to wait for more.
fn is_prompt(plan: &Plan) -> bool {
    let (network, disk) = (&plan.network, &plan.disk);
    let times = [&network.latency, &disk.read, &disk.write, &disk.sync];
    let is_fast = times.iter().all(|time| time.0.largest() <= PROMPT.nanos())
        && network.bandwidth_bytes_per_s >= 10_000_000
        && network.loss <= 0.01
        && disk.capacity_bytes.is_none();
    // With a limit of more bytes than come a fetch waits out its time, as it was asked to.
    let number = |config: &Properties, name: &str| {
        config.0.get(name).and_then(|text| text.parse::<u64>().ok())
    };
    let brokers = &plan.broker_config;
    let waits_for_bytes = number(brokers, "replica.fetch.min.bytes").is_some_and(|min| min > 1)
        && number(brokers, "replica.fetch.wait.max.ms").is_some_and(|wait| wait > 500);
    is_fast
        && !waits_for_bytes
        && plan.workloads.values().all(|workload| {
            workload.start_at == Span::ZERO
                && number(&workload.config, "linger.ms").unwrap_or(0) <= 500
                && number(&workload.config, "fetch.min.bytes").unwrap_or(1) <= 1
        })
}

/// What only a reader of the end could have shown was not asked of a run that could not come there.
fn leave_out_the_end(plan: &Plan, measured: &mut [Option<Measurement>]) {
    for (expectation, measurement) in plan.expect.iter().zip(measured) {
        if expectation.kind.is_of_the_end() {
            *measurement = None;
        }
    }
}

impl Findings<'_> {
    /// Judges the run.
    pub(super) fn judge(self, finished: Finished) -> SeedRun {
        let mut stats =
            tally::stats(&self.ears.recorder, self.history, &self.removed(), self.seen.end);
        stats.groups = all_groups(&self.ears.recorder, self.history, &self.plan.groups());
        stats.converged_after = finished.converged_after;
        stats.not_converged = finished.not_converged.clone();
        stats.cluster = finished.views;
        stats.chronicle = self.ears.take_chronicle();
        let events = self.events(&stats);
        let calm = self.calm(&finished.fired);
        // Who switches `converged` off has said that it may be so.
        let impossible = finished.impossible.filter(|_| !self.plan.is_without("converged"));
        let mut violations = self.violations(finished.violations, &calm);
        if impossible.is_some() {
            // The reader of the end was never started: that nobody was given a record proves nothing.
            violations.retain(|violation| violation.check != "unseen");
        }
        let variant = self.job.variant.as_deref();
        let evidence = Evidence { events: &events, stats: &stats, violations: &violations };
        let mut measured = measure_all(self.plan, variant, evidence);
        if impossible.is_some() {
            leave_out_the_end(self.plan, &mut measured);
        }
        let mut run = SeedRun {
            seed: self.job.seed,
            variant: self.job.variant.clone(),
            plan: (**self.plan).clone(),
            totals: stats.totals(),
            measured,
            violations,
            fired: finished.fired,
            unfired: finished.unfired,
            impossible,
            trace_hash: self.seen.trace_hash.clone(),
            trace_entries: self.seen.trace_entries,
            lasted: Span::from_nanos(self.seen.end.nanos()),
            frames: self.seen.frames,
            history: Vec::new(),
            marks: self.seen.marks.clone(),
            reached: Reached::of(&events, self.ears.oracle.states()),
            nondeterminism: None,
            events,
            stats,
        };
        if self.job.keeps_all || self.job.is_recording || run.is_red() {
            run.history = self.history_lines();
        }
        run
    }

    /// What the online checks found, what the history shows, and what was seen at the end; without what the file switches off.
    fn violations(&self, seen: Vec<Violation>, calm: &[(SimTime, SimTime)]) -> Vec<Violation> {
        let declared = self.plan.declared_losses();
        let may_be_lost = |sent: &Sent| {
            let workload = sent.client.split('/').next().unwrap_or_default();
            declared.iter().any(|loss| loss.is_none_or(|named| named == workload))
        };
        // An emptied disk holds nothing of what was acknowledged before, where there is no other copy.
        let wipes = |step: &Step| matches!(step.action, Action::Wipe { .. });
        let records_removed =
            self.plan.cluster.brokers == 1 && self.plan.timeline.iter().any(wipes);
        let removed = self.removed();
        // What the controller declares lost is lost only where the budget of faults permits it: else nothing could have been.
        let cuts = match self.plan.budget {
            Budget::Beyond => self.ears.oracle.cuts(),
            Budget::Tolerable => Vec::new(),
        };
        let resets = self.ears.oracle.resets();
        let steps_back = self.ears.oracle.steps_back();
        let begun = self.ears.oracle.begun();
        let context = Context {
            end: self.seen.end,
            may_be_lost: &may_be_lost,
            cuts: &cuts,
            resets: &resets,
            steps_back: &steps_back,
            begun: &begun,
            records_removed,
            removed: &removed,
            calm,
        };
        let mut all = self.ears.oracle.violations();
        all.extend(seen);
        all.extend(tally::judge(&self.ears.recorder, self.history, &context));
        if !records_removed {
            let read_from = self.history.final_read_began.unwrap_or(self.seen.end);
            let of_plan = |topic: &str| self.plan.topics.contains_key(topic);
            let held = self.ears.oracle.held(&of_plan, read_from);
            let found = oracles_disagree(self.history, &held, self.seen.end);
            all.extend(found.iter().map(|found| tally::show(&self.ears.recorder, found)));
        }
        all.retain(|violation| !self.plan.is_without(violation.check));
        all
    }

    /// Up to where the logs of partitions were removed in which the file deletes records, by a step or by what is retained.
    fn removed(&self) -> Vec<Removed> {
        let is_deleted = |partition: &TopicPartition| {
            self.plan.timeline.iter().any(|step| {
                let Action::DeleteRecords { partition: asked, .. } = &step.action else {
                    return false;
                };
                is_partition(partition, asked)
            })
        };
        let is_retained = |partition: &TopicPartition| {
            let of_topic = self.plan.topics.get(&*partition.topic);
            let of_topic = of_topic.into_iter().flat_map(|topic| topic.config.0.keys());
            let of_brokers = self.plan.broker_config.0.keys();
            of_topic.chain(of_brokers).any(|name| {
                let name = name.strip_prefix("log.").unwrap_or(name);
                name.starts_with("retention.") && name != "retention.check.interval.ms"
            })
        };
        let mut removed = self.ears.oracle.removed();
        removed.retain(|one| is_deleted(&one.partition) || is_retained(&one.partition));
        removed
    }

    /// The times in which nothing is broken and everybody has had time to settle: before the first fault, and when everything has
    /// been healed for a while. None where the world itself is slow, or a client is asked to wait.
    fn calm(&self, fired: &[Fired]) -> Vec<(SimTime, SimTime)> {
        let (plan, recorder) = (self.plan, &self.ears.recorder);
        let Some(origin) = recorder.started_at().filter(|_| is_prompt(plan)) else {
            return Vec::new();
        };
        let at = |span: Span| SimTime(origin + span.nanos());
        let first_fault = fired.iter().map(|fired| fired.at).min().unwrap_or(plan.run_for);
        let before = (SETTLED_AFTER, first_fault.min(plan.heal_at()).min(plan.run_for));
        let settled = Span::from_nanos(plan.heal_at().nanos() + healed_after(plan).nanos());
        let last_fault = fired.iter().map(|fired| fired.at).max().unwrap_or_default();
        let has_storm_only =
            plan.chaos.is_some() && plan.timeline.is_empty() && last_fault < settled;
        // Whoever stands still for good is asked, and waited for, again and again.
        let is_whole = plan.heal == Heal::All;
        let after = (settled, if has_storm_only && is_whole { plan.run_for } else { settled });
        let mut calm = vec![before, after];
        calm.retain(|(from, to)| from < to);
        calm.into_iter().map(|(from, to)| (at(from), at(to))).collect()
    }

    /// The events of the run, with those that only the finished history shows.
    fn events(&self, stats: &Stats) -> Vec<Event> {
        let client =
            |workload: &Arc<str>, index| Who::Client { workload: Arc::clone(workload), index };
        let told = stats.outcomes.iter().map(|outcome| {
            let kind = match outcome.fate {
                Fate::Acked => "client.acked",
                Fate::Failed => "client.failed",
                Fate::Unknown => "client.unknown",
            };
            let mut event =
                Event::new(outcome.done_at, client(&outcome.workload, outcome.client), kind);
            event.partition = outcome.partition.clone();
            event.error = outcome.error;
            event
        });
        let read = stats.reads.iter().map(|read| {
            Event::new(read.at, client(&read.workload, 0), "consumer.polled")
                .partition(read.partition.clone())
                .count(read.records)
        });
        let failed = self.history.failures.iter().map(|failure| {
            let (workload, index) =
                failure.client.rsplit_once('/').unwrap_or((&failure.client, "0"));
            let who = if *failure.client == *FINAL_READER {
                Who::Testbed
            } else {
                client(&workload.into(), index.parse().unwrap_or(0))
            };
            let at = self.ears.recorder.time(failure.at.nanos());
            Event { error: failure.error, ..Event::new(at, who, "client.refused") }
                .note(failure.what.clone())
        });
        let more = told.chain(read).chain(failed).collect();
        super::merge(self.ears.recorder.take(), more)
    }

    /// The history, a line of JSON for each operation.
    fn history_lines(&self) -> Vec<String> {
        let time = |at: SimTime| self.ears.recorder.time(at.nanos()).nanos().to_string();
        let sent = self.history.sent.iter().map(|sent| {
            let (outcome, offset) = match &sent.outcome {
                Outcome::Pending => ("pending", None),
                Outcome::Acked { offset } => ("ok", *offset),
                Outcome::Failed { .. } => ("failed", None),
                Outcome::Unknown { .. } => ("unknown", None),
            };
            json!({
                "op": "send", "client": *sent.client, "id": sent.id.0.to_string(), "key": sent.key,
                "partition": sent.partition.as_ref().map(ToString::to_string),
                "sent-at-nanos": time(sent.sent_at), "done-at-nanos": sent.done_at.map(time),
                "outcome": outcome, "offset": offset.map(|offset| offset.value().to_string()),
            })
        });
        let polls = self.history.polls.iter().map(|poll| {
            let records: Vec<_> = poll.records.iter().map(|read| json!({
                "partition": read.partition.to_string(), "offset": read.offset.value().to_string(),
                "id": read.id.map(|id| id.0.to_string()),
            })).collect();
            json!({ "op": "poll", "client": *poll.client, "at-nanos": time(poll.at), "records": records })
        });
        let processed = self.history.processed.iter().map(|one| {
            json!({
                "op": "process", "client": *one.client, "group": *one.group, "at-nanos": time(one.at),
                "partition": one.partition.to_string(), "offset": one.offset.value().to_string(),
                "id": one.id.map(|id| id.0.to_string()),
            })
        });
        let commits = self.history.commits.iter().map(|commit| {
            let offsets: BTreeMap<String, String> = commit
                .offsets
                .iter()
                .map(|(partition, offset)| (partition.to_string(), offset.value().to_string()))
                .collect();
            let (outcome, error) = match &commit.outcome {
                CommitOutcome::Pending => ("pending", None),
                CommitOutcome::Stored => ("ok", None),
                CommitOutcome::Failed { reason, .. } => ("failed", Some(reason)),
            };
            json!({
                "op": "commit", "client": *commit.client, "group": *commit.group,
                "at-nanos": time(commit.asked_at), "done-at-nanos": commit.done_at.map(time),
                "offsets": offsets, "outcome": outcome, "error": error,
            })
        });
        let of_groups = processed.chain(commits);
        sent.chain(polls).chain(of_groups).map(|line| line.to_string()).collect()
    }
}
