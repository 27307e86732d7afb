//! The report a person reads in the terminal.

use comfy_table::{ContentArrangement, Table, presets};

use super::story::{self, Line, Told};
use super::{beyond_budget, lanes, lines_in_words, repro_command, seeds_in_words};
use super::{totals_in_words, values_of, words_of};
use crate::scenario::duration::Span;
use crate::scenario::plan::{Budget, OverSeeds, Plan};
use crate::scenario::words::{INVARIANTS, upheld};
use crate::verdict::{Judgement, SeedRun, VariantRun, Verdict, Violation, show_time};
use crate::which;

/// How many lines a story has in the terminal.
const STORY_LINES_MAX: usize = 40;

/// How many checks are named that broke after the first; they are mostly its consequences.
const CONSEQUENCES_MAX: usize = 5;

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
        out.push_str(&format!("\n   {}\n", totals_in_words(run)));
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
    let told = story::shorten(lines.to_vec(), STORY_LINES_MAX);
    let width = |of: fn(&Line) -> usize| {
        let lines = told.iter().filter_map(|one| match one {
            Told::Line(line) => Some(of(line)),
            Told::LeftOut(_) => None,
        });
        lines.max().unwrap_or(0)
    };
    let time = width(|line| line.time().chars().count());
    let who = width(|line| line.who.to_string().chars().count());
    let kind = width(|line| line.kind.len());
    let mut out = String::new();
    for one in &told {
        let line = match one {
            Told::Line(line) => line,
            Told::LeftOut(count) => {
                out.push_str(&format!("     … {}\n", lines_in_words(*count)));
                continue;
            }
        };
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
    let Some((first, later)) = seed.violations.split_first() else { return String::new() };
    let all: Vec<u64> = seeds.iter().map(|seed| seed.seed).collect();
    let times = match seeds.len() {
        1 => String::new(),
        count => format!(" (as under {} more: {})", count - 1, seeds_in_words(&all)),
    };
    let mut out = format!("\n   ✘ FAILED under seed {}{times}\n", seed.seed);
    out.extend(beyond_budget(seed).iter().map(|line| format!("     {line}\n")));
    out.push_str(&claim_and_fact(first));
    let drawn = seed.events.iter().filter(|event| event.kind == "storm.drawn");
    out.extend(drawn.map(|event| format!("       drawn: {}\n", event.note)));
    out.extend(seed.unfired.iter().map(|step| format!("       {step} never happened\n")));
    let slice = lanes::slice(&seed.events, first);
    if !slice.is_empty() {
        out.push('\n');
    }
    out.extend(slice.iter().map(|line| format!("     {line}\n")));
    out.push_str(&consequences(first, later));
    out.push_str(&format!("     again: {}\n", repro_command(run, seed)));
    out
}

/// The property in plain words: where it broke, what is claimed, what is so instead, and where in the code the claim is upheld.
fn claim_and_fact(violation: &Violation) -> String {
    let mut out = format!("     {} at {}", violation.check, show_time(violation.at));
    for place in [
        violation.node.as_ref().map(ToString::to_string),
        violation.partition.as_ref().map(ToString::to_string),
    ] {
        out.extend(place.map(|place| format!(", {place}")));
    }
    out.push('\n');
    let claim = INVARIANTS.iter().find(|(name, _)| *name == violation.check);
    if let Some((_, claim)) = claim {
        out.push_str(&format!("       claim: {claim}\n"));
    }
    out.push_str(&format!("       fact:  {}\n", violation.what));
    let evidence = violation.evidence.iter().flat_map(|fact| fact.lines());
    out.extend(evidence.map(|line| format!("              {line}\n")));
    let code = upheld(violation.check);
    if !code.is_empty() {
        out.push_str(&format!("       code:  {}\n", code.join(", ")));
    }
    out
}

/// What broke after the first: most likely its consequences. The first of each check, and how many there were.
fn consequences(first: &Violation, later: &[Violation]) -> String {
    if later.is_empty() {
        return String::new();
    }
    let mut kinds: Vec<(&Violation, usize)> = Vec::new();
    for violation in later {
        match kinds.iter_mut().find(|(known, _)| known.check == violation.check) {
            Some((_, count)) => *count += 1,
            None => kinds.push((violation, 1)),
        }
    }
    let mut out = String::from("\n     After it, most likely its consequences:\n");
    for (violation, count) in kinds.iter().take(CONSEQUENCES_MAX) {
        let times = if *count > 1 { format!(" × {count}") } else { String::new() };
        let words = if violation.check == first.check {
            format!(
                "{}{times}, the next at {}: {}",
                violation.check,
                show_time(violation.at),
                violation.what
            )
        } else {
            format!(
                "{}{times}, the first at {}: {}",
                violation.check,
                show_time(violation.at),
                violation.what
            )
        };
        out.push_str(&format!("       {words}\n"));
    }
    if kinds.len() > CONSEQUENCES_MAX {
        out.push_str(&format!("       … and {} more checks\n", kinds.len() - CONSEQUENCES_MAX));
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;
    use crate::which::COMMAND;

    #[test]
    fn a_failure_is_told_from_the_verdict_to_the_command_each_kind_once() {
        let mut run = sample::variant();
        let mut again = sample::red();
        again.seed = 8;
        let later = Violation { check: "unseen", what: "x".into(), ..again.violations[0].clone() };
        run.seeds[0].violations.extend([later.clone(), later]);
        run.seeds.push(again);
        expect_test::expect![[r#"
            report:
               ✘ FAILED under seed 7 (as under 1 more: seeds 7 to 8)
                 lost-write at 2.000s, orders-0
                   claim: Every acknowledged record is found by a fresh reader at the end, unless the file declares its loss.
                   fact:  record 3 of writer/0 was acknowledged at offset 3 and is not in the log
                          a fresh reader read the partition from 0 to its end

                             broker controller
                             1      1
                     0.400s  ●      │  produce.appended orders-0, 3 → 4
                     0.410s  ●      │  produce.acked orders-0, 3 → 4
                     0.500s  ✗      │  fault.started kill leader(orders-0)
                     0.900s         ●  leader.elected orders-0, broker 2, epoch 2 </script>
                     1.610s  ●      │  log.truncated orders-0, 4 → 3
                     2.000s  │      │  ✘ lost-write: record 3 of writer/0 was acknowledged at offset 3 and is not in the log

                 After it, most likely its consequences:
                   unseen × 2, the first at 2.000s: x
                 again: cargo sim run scenarios/replication/sample.toml --seed 7

        "#]]
        .assert_eq(&format!("report:{}", failures(&run)).replace(COMMAND, "cargo sim run"));
    }

    #[test]
    fn a_broken_claim_names_the_code_that_upholds_it() {
        let mut violation = sample::red().violations.remove(0);
        violation.check = "R14";
        expect_test::expect![[r#"
            R14 at 2.000s, orders-0
              claim: The high watermark advances only while the leader's committed ISR has at least min.insync.replicas members.
              fact:  record 3 of writer/0 was acknowledged at offset 3 and is not in the log
                     a fresh reader read the partition from 0 to its end
              code:  src/replica/high_watermark.rs (leader_high_watermark), src/replica/leader.rs (effective_min_isr)
        "#]]
        .assert_eq(&claim_and_fact(&violation).replace("\n     ", "\n").replacen("     ", "", 1));
    }
}
