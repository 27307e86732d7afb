//! The report a person reads in the terminal.

use comfy_table::{ContentArrangement, Table, presets};

use super::story::{self, Line};
use super::{lanes, repro_command, seeds_in_words, thousands, values_of, words_of};
use crate::event::Event;
use crate::scenario::duration::Span;
use crate::scenario::plan::{Budget, OverSeeds, Plan};
use crate::scenario::words::INVARIANTS;
use crate::verdict::{Judgement, SeedRun, VariantRun, Verdict, Violation};
use crate::which;

/// How many lines a story has in the terminal.
const STORY_LINES_MAX: usize = 40;

/// How many violations of one seed are shown; later ones are mostly consequences of the first.
const VIOLATIONS_MAX: usize = 5;

/// The report of one variant of one scenario.
#[must_use]
pub fn variant(run: &VariantRun) -> String {
    let mut out = String::new();
    out.push_str(&format!("━━ {}\n", run.title()));
    out.push_str(&format!("   {}\n", run.claim));
    let seeds: Vec<u64> = run.seeds.iter().map(|seed| seed.seed).collect();
    out.push_str(&format!("   {}\n", seeds_in_words(&seeds)));
    if let Some(first) = run.seeds.first() {
        out.push_str(&format!("\n   What happened under seed {}:\n", first.seed));
        out.push_str(&story_text(&story::tell(&first.events)));
        out.push_str(&totals(run));
        if !first.plan.expect.is_empty() {
            out.push('\n');
            out.push_str(&indent(&expectation_table(run).to_string()));
        }
        out.push_str(&invariants(&first.plan, run));
    }
    out.push_str(&failures(run));
    out.push_str(&format!("   {}\n", conclusion(run)));
    out
}

fn story_text(lines: &[Line]) -> String {
    let (lines, left_out) = story::shorten(lines.to_vec(), STORY_LINES_MAX);
    let time = lines.iter().map(|line| line.time().chars().count()).max().unwrap_or(0);
    let who = lines.iter().map(|line| line.who.to_string().chars().count()).max().unwrap_or(0);
    let kind = lines.iter().map(|line| line.kind.len()).max().unwrap_or(0);
    let mut out = String::new();
    for (index, line) in lines.iter().enumerate() {
        if let Some((at, count)) = left_out
            && at == index
        {
            out.push_str(&format!("     … {count} lines\n"));
        }
        let row = format!(
            "{:<time$}  {:<who$}  {:<kind$}  {}",
            line.time(),
            line.who.to_string(),
            line.kind,
            line.what
        );
        out.push_str(&format!("     {}\n", row.trim_end()));
    }
    out
}

fn totals(run: &VariantRun) -> String {
    let sum = |of: fn(&SeedRun) -> u64| thousands(run.seeds.iter().map(of).sum());
    format!(
        "\n   In all seeds: {} records sent, {} acknowledged, {} failed, {} unknown; {} acknowledged ones lost, {} duplicates.\n",
        sum(|seed| seed.totals.sent),
        sum(|seed| seed.totals.acked),
        sum(|seed| seed.totals.failed),
        sum(|seed| seed.totals.unknown),
        sum(|seed| seed.totals.acked_lost),
        sum(|seed| seed.totals.duplicates),
    )
}

/// The table of expectations: what was asked, what was seen, in how many seeds it held.
#[must_use]
pub fn expectation_table(run: &VariantRun) -> Table {
    let mut table = Table::new();
    // The terminal's width must not matter: the same seeds print the same bytes.
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["expected", "asked", "seen", "seeds", "over seeds", ""]);
    for row in expectation_rows(run) {
        table.add_row(row);
    }
    table
}

/// The rows of that table, for other formats.
#[must_use]
pub fn expectation_rows(run: &VariantRun) -> Vec<[String; 6]> {
    let Some(first) = run.seeds.first() else { return Vec::new() };
    let judged = first.plan.expect.iter().zip(run.judgements()).enumerate();
    let rows = judged.filter_map(|(index, (expectation, judgement))| {
        let sign = match judgement {
            Judgement::Met => "✔",
            Judgement::Missed(_) => "✘",
            Judgement::Elsewhere => return None,
        };
        let share = run.share(index);
        let over = expectation.over_seeds.name();
        Some([
            words_of(expectation),
            expectation.is.to_string(),
            values_of(run, index),
            format!("{}/{}", share.held, share.of),
            if expectation.bites { format!("{over}, bites") } else { over.to_string() },
            sign.to_string(),
        ])
    });
    rows.collect()
}

fn invariants(plan: &Plan, run: &VariantRun) -> String {
    let without = plan.without.iter().map(|without| format!("{} ({})", without.name, without.why));
    let without: Vec<String> = without.collect();
    let violated = |name: &&str| {
        run.seeds
            .iter()
            .any(|seed| seed.violations.iter().any(|violation| violation.check == *name))
    };
    let names = INVARIANTS.iter().map(|(name, _)| *name);
    let names: Vec<&str> = names.filter(|name| which::is_checked(name)).collect();
    let held = names.iter().filter(|name| !violated(name) && !plan.is_without(name)).count();
    let mut out = format!("   Invariants: {held} of {} held in each seed", names.len());
    if !without.is_empty() {
        out.push_str(&format!("; switched off: {}", without.join("; ")));
    }
    out.push_str(".\n");
    let losses = plan.declared_losses();
    if plan.budget == Budget::Beyond && !losses.is_empty() {
        let of: Vec<&str> = losses.iter().map(|loss| loss.unwrap_or("any workload")).collect();
        out.push_str(&format!(
            "   Loss of acknowledged records is declared for: {}.\n",
            of.join(", ")
        ));
    }
    out
}

/// The last line.
#[must_use]
pub fn conclusion(run: &VariantRun) -> String {
    let verdict = run.verdict();
    match verdict {
        Verdict::Passed => format!("✔ passed: {}", run.title()),
        Verdict::Inconclusive => {
            let reason = run.seeds.iter().find_map(|seed| Some((seed.seed, seed.inconclusive()?)));
            match reason {
                Some((seed, reason)) => {
                    format!("? INCONCLUSIVE: {}: under seed {seed}, {reason}", run.title())
                }
                None => format!("? INCONCLUSIVE: {}: no seed was run", run.title()),
            }
        }
        Verdict::Failed | Verdict::Nondeterministic => {
            format!("✘ {}: {}", verdict.name(), run.title())
        }
    }
}

/// Failing seeds, those of one kind together.
fn failures(run: &VariantRun) -> String {
    let mut out = String::new();
    for seed in run.seeds.iter().filter(|seed| seed.nondeterminism.is_some()) {
        out.push_str(&nondeterminism(run, seed));
    }
    for kind in kinds_of_failure(run) {
        out.push_str(&failure(run, &kind));
    }
    for (index, judgement) in run.judgements().iter().enumerate() {
        if let Judgement::Missed(reason) = judgement {
            out.push_str(&missed(run, index, reason));
        }
    }
    if out.is_empty() { out } else { out + "\n" }
}

fn nondeterminism(run: &VariantRun, seed: &SeedRun) -> String {
    let difference = seed.nondeterminism.as_deref().unwrap_or_default();
    format!(
        "\n   ✘ NONDETERMINISTIC under seed {}: two runs of one seed differ\n{}     again: {} --check-determinism\n",
        seed.seed,
        difference.lines().map(|line| format!("     {line}\n")).collect::<String>(),
        repro_command(run, seed),
    )
}

/// Seeds with violations, those with the same first broken check together.
fn kinds_of_failure(run: &VariantRun) -> Vec<Vec<&SeedRun>> {
    let mut kinds: Vec<(&'static str, Vec<&SeedRun>)> = Vec::new();
    for seed in &run.seeds {
        let Some(kind) = seed.violations.first().map(|violation| violation.check) else { continue };
        match kinds.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, seeds)) => seeds.push(seed),
            None => kinds.push((kind, vec![seed])),
        }
    }
    kinds.into_iter().map(|(_, seeds)| seeds).collect()
}

fn failure(run: &VariantRun, seeds: &[&SeedRun]) -> String {
    let Some(seed) = seeds.first() else { return String::new() };
    let mut out = String::new();
    let others: Vec<u64> = seeds.iter().map(|seed| seed.seed).collect();
    let times = if seeds.len() > 1 {
        format!(" (and {} more: {})", seeds.len() - 1, seeds_in_words(&others))
    } else {
        String::new()
    };
    for (index, violation) in seed.violations.iter().take(VIOLATIONS_MAX).enumerate() {
        if index == 0 {
            out.push_str(&format!("\n   ✘ VIOLATION under seed {}{times}\n", seed.seed));
        }
        out.push_str(&violation_text(violation, &seed.events, index == 0));
    }
    if seed.violations.len() > VIOLATIONS_MAX {
        out.push_str(&format!("     … and {} more\n", seed.violations.len() - VIOLATIONS_MAX));
    }
    out.push_str(&format!("     again: {}\n", repro_command(run, seed)));
    out
}

/// An expectation that was missed: the reason, and a seed to look at.
fn missed(run: &VariantRun, index: usize, reason: &str) -> String {
    let Some(expectation) = run.seeds.first().and_then(|seed| seed.plan.expect.get(index)) else {
        return String::new();
    };
    let mut out =
        format!("\n   ✘ expected {} {}: {reason}\n", words_of(expectation), expectation.is);
    if let Some(why) = &expectation.why {
        out.push_str(&format!("     because: {why}\n"));
    }
    let measured =
        run.seeds.iter().filter_map(|seed| Some((seed, seed.measured.get(index)?.as_ref()?)));
    let wanted = expectation.over_seeds != OverSeeds::Never;
    let mut odd = measured.filter(|(_, measurement)| measurement.holds != wanted);
    if let Some((seed, measurement)) = odd.next() {
        let value = measurement.value.as_ref();
        let value = value
            .map_or_else(|| "there is nothing to measure".into(), |value| format!("it is {value}"));
        let command = repro_command(run, seed);
        out.push_str(&format!("     under seed {} {value}; again: {command}\n", seed.seed));
    }
    out
}

fn violation_text(violation: &Violation, events: &[Event], with_lanes: bool) -> String {
    let claim =
        INVARIANTS.iter().find(|(name, _)| *name == violation.check).map_or("", |(_, doc)| *doc);
    let mut out = format!("     {violation}\n");
    if !claim.is_empty() {
        out.push_str(&format!("       claim: {claim}\n"));
    }
    for (index, fact) in violation.evidence.iter().enumerate() {
        let head = if index == 0 { "fact: " } else { "      " };
        for line in fact.lines() {
            out.push_str(&format!("       {head} {line}\n"));
        }
    }
    if with_lanes {
        let slice = lanes::slice(events, violation);
        if !slice.is_empty() {
            out.push('\n');
        }
        for line in slice {
            out.push_str(&format!("     {line}\n"));
        }
    }
    out
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("   {}\n", line.trim_end())).collect()
}

/// The last words over all scenarios.
#[must_use]
pub fn summary(runs: &[VariantRun]) -> String {
    let verdict = |asked: Verdict| runs.iter().filter(|run| run.verdict() == asked).count();
    let seeds: usize = runs.iter().map(|run| run.seeds.len()).sum();
    let time: u64 = runs.iter().flat_map(|run| &run.seeds).map(|seed| seed.lasted.nanos()).sum();
    let mut out = String::from("━━ Summary\n");
    for run in runs {
        out.push_str(&format!("   {}\n", conclusion(run)));
    }
    out.push_str(&format!(
        "   {} scenarios and variants, {seeds} seeds, {} of {}: {} passed, {} failed, {} inconclusive, {} nondeterministic\n",
        runs.len(),
        minutes(Span::from_nanos(time)),
        which::TIME,
        verdict(Verdict::Passed),
        verdict(Verdict::Failed),
        verdict(Verdict::Inconclusive),
        verdict(Verdict::Nondeterministic),
    ));
    out
}

fn minutes(span: Span) -> String {
    let seconds = span.nanos() / 1_000_000_000;
    if seconds < 120 { format!("{seconds} s") } else { format!("{} min", seconds / 60) }
}
