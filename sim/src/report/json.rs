//! Reports for tools: `sim.report/1` and `sim.repro/1`. Seeds and 64-bit numbers are texts: JSON's numbers end at 2^53.

use serde_json::{Value, json};

use super::story::{self, Line};
use super::{repro_command, text, values_of, words_of};
use crate::event::Event;
use crate::scenario::condition::Measured;
use crate::verdict::{Fired, Judgement, SeedRun, VariantRun, Violation};

/// The schema of reports.
pub const REPORT_SCHEMA: &str = "sim.report/1";

/// The schema of files that `cargo sim replay` reads.
pub const REPRO_SCHEMA: &str = "sim.repro/1";

/// A whole variant: what `--format json` prints and `reports/` keeps.
#[must_use]
pub fn variant(run: &VariantRun) -> Value {
    let seeds: Vec<Value> = run.seeds.iter().map(|seed| seed_of(run, seed)).collect();
    json!({
        "schema": REPORT_SCHEMA,
        "scenario": run.scenario,
        "path": run.path,
        "variant": run.variant,
        "claim": run.claim,
        "verdict": run.verdict().name(),
        "expectations": expectations(run),
        "seeds": seeds,
    })
}

fn expectations(run: &VariantRun) -> Vec<Value> {
    let Some(first) = run.seeds.first() else { return Vec::new() };
    let judged = first.plan.expect.iter().zip(run.judgements()).enumerate();
    let shown = judged.filter_map(|(index, (expectation, judgement))| {
        let (met, reason) = match judgement {
            Judgement::Met => (true, None),
            Judgement::Missed(reason) => (false, Some(reason)),
            Judgement::Elsewhere => return None,
        };
        let share = run.share(index);
        Some(json!({
            "that": words_of(expectation),
            "is": expectation.is.to_string(),
            "over-seeds": expectation.over_seeds.name(),
            "bites": expectation.bites,
            "seen": values_of(run, index),
            "held": share.held,
            "of": share.of,
            "met": met,
            "reason": reason,
        }))
    });
    shown.collect()
}

fn seed_of(run: &VariantRun, seed: &SeedRun) -> Value {
    let measured: Vec<Value> = seed
        .measured
        .iter()
        .map(|measurement| {
            measurement.as_ref().map_or(Value::Null, |measurement| {
                let value = measurement.value.as_ref().map(measured_value);
                json!({ "value": value, "holds": measurement.holds })
            })
        })
        .collect();
    let mut out = json!({
        "seed": seed.seed.to_string(),
        "totals": seed.totals,
        "measured": measured,
        "violations": seed.violations.iter().map(violation).collect::<Vec<_>>(),
        "never-happened": seed.unfired,
        "nondeterminism": seed.nondeterminism,
        "trace": seed.trace_hash,
        "simulated-nanos": seed.lasted.nanos().to_string(),
        "again": repro_command(run, seed),
    });
    if let Some(reason) = &seed.impossible {
        out["could-not-converge"] = json!(reason);
    }
    out
}

fn measured_value(value: &Measured) -> Value {
    match value {
        Measured::Count(count) => json!(count),
        Measured::Time(span) => json!(span.exact()),
        Measured::Flag(flag) => json!(flag),
        Measured::Text(text) => json!(text),
    }
}

/// A violation.
#[must_use]
pub fn violation(violation: &Violation) -> Value {
    json!({
        "check": violation.check,
        "at-nanos": violation.at.nanos().to_string(),
        "node": violation.node.as_ref().map(ToString::to_string),
        "partition": violation.partition.as_ref().map(ToString::to_string),
        "what": violation.what,
        "evidence": violation.evidence,
    })
}

/// One seed alone, with its story and the resolved scenario: the `report.json` of a kept run.
#[must_use]
pub fn seed(run: &VariantRun, seed: &SeedRun, resolved: &Value) -> Value {
    let story: Vec<Value> = story::tell(&seed.events).iter().map(line).collect();
    json!({
        "schema": REPORT_SCHEMA,
        "scenario": run.scenario,
        "path": run.path,
        "variant": run.variant,
        "claim": run.claim,
        "verdict": if seed.nondeterminism.is_some() { "NONDETERMINISTIC" } else if seed.is_red() { "FAILED" } else if seed.inconclusive().is_some() { "INCONCLUSIVE" } else { "passed" },
        "run": seed_of(run, seed),
        "story": story,
        "marks": seed.marks,
        "resolved": resolved,
    })
}

fn line(line: &Line) -> Value {
    json!({ "time": line.time(), "who": line.who.to_string(), "event": line.kind, "what": line.what })
}

/// An event as a line of `events.jsonl`.
#[must_use]
pub fn event(event: &Event) -> Value {
    json!({
        "at-nanos": event.at.nanos().to_string(),
        "who": event.who.to_string(),
        "event": event.kind,
        "count": event.count.to_string(),
        "partition": event.partition.as_ref().map(ToString::to_string),
        "error": event.error.map(|error| error.name()),
        "from": event.offsets.map(|(from, _)| from.value().to_string()),
        "to": event.offsets.map(|(_, to)| to.value().to_string()),
        "note": event.note,
    })
}

/// What `cargo sim replay` needs: the scenario itself, the seed, and every fault that fired as a fixed step.
#[must_use]
pub fn repro(run: &VariantRun, seed: &SeedRun, resolved: &Value, commit: &str) -> Value {
    let steps: Vec<&Value> = seed.fired.iter().map(|Fired { fixed, .. }| fixed).collect();
    json!({
        "schema": REPRO_SCHEMA,
        "scenario": run.scenario,
        "path": run.path,
        "variant": run.variant,
        "seed": seed.seed.to_string(),
        "resolved": resolved,
        "fired": steps,
        "failed": failed_checks(seed),
        "trace": seed.trace_hash,
        "commit": commit,
    })
}

/// The names of what failed: the checks, then the expectations.
#[must_use]
pub fn failed_checks(seed: &SeedRun) -> Vec<String> {
    let mut names: Vec<String> =
        seed.violations.iter().map(|violation| violation.check.to_string()).collect();
    names.dedup();
    let missed = seed.missed();
    names.extend(missed.iter().filter_map(|index| Some(words_of(seed.plan.expect.get(*index)?))));
    names
}

/// All variants of a run.
#[must_use]
pub fn all(runs: &[VariantRun]) -> Value {
    let verdict = runs.iter().map(VariantRun::verdict).max();
    json!({
        "schema": REPORT_SCHEMA,
        "verdict": verdict.map(|verdict| verdict.name()),
        "conclusions": runs.iter().map(text::conclusion).collect::<Vec<_>>(),
        "runs": runs.iter().map(variant).collect::<Vec<_>>(),
    })
}
