//! The pages of `reports/`: one a scenario, and an index. Written by `cargo sim report`, checked in, compared byte for byte.

use super::{picture, seeds_in_words, story, text, thousands};
use crate::scenario::plan::Plan;
use crate::verdict::{SeedRun, VariantRun, Verdict};

/// How many lines a story has on a page.
const STORY_LINES_MAX: usize = 60;

/// The page of a scenario: all its variants.
#[must_use]
pub fn page(runs: &[VariantRun]) -> String {
    let Some(first) = runs.first() else { return String::new() };
    let mut out = format!("# {}\n\n**{}**\n\n", first.scenario, first.claim);
    if let Some(why) = first.seeds.first().and_then(|seed| seed.plan.why.as_ref()) {
        out.push_str(&format!("{why}\n\n"));
    }
    out.push_str(&format!("File: `{}`. Written by `cargo sim report`.\n", first.path));
    if self::picture(runs).is_some() {
        let name = first.scenario.rsplit('/').next().unwrap_or_default();
        out.push_str(&format!("\n![A partition's life under the first seed: leader and epoch, in-sync replicas, high watermark, faults]({name}.svg)\n"));
    }
    for run in runs {
        if let Some(variant) = &run.variant {
            out.push_str(&format!("\n## Variant {variant}\n\n{}\n", run.claim));
        }
        out.push_str(&section(run));
    }
    out
}

/// The picture beside the page: of the file as it stands, under its first seed.
#[must_use]
pub fn picture(runs: &[VariantRun]) -> Option<String> {
    picture::life(runs.first()?.seeds.first()?)
}

fn section(run: &VariantRun) -> String {
    let mut out = format!("\nVerdict: **{}** under {}.\n\n", run.verdict().name(), seeds(run));
    out.push_str("| expected | asked | seen | seeds | over seeds | |\n|---|---|---|---|---|---|\n");
    for row in text::expectation_rows(run) {
        out.push_str(&format!("| {} |\n", row.map(|cell| cell.replace('|', "\\|")).join(" | ")));
    }
    out.push_str(&totals(run));
    if let Some(first) = run.seeds.first() {
        out.push_str(&story_table(first));
        out.push_str(&without(&first.plan));
    }
    out
}

fn seeds(run: &VariantRun) -> String {
    let seeds: Vec<u64> = run.seeds.iter().map(|seed| seed.seed).collect();
    seeds_in_words(&seeds)
}

fn totals(run: &VariantRun) -> String {
    let sum = |of: fn(&SeedRun) -> u64| thousands(run.seeds.iter().map(of).sum());
    format!(
        "\nIn all seeds: {} records sent, {} acknowledged, {} failed, {} unknown; {} acknowledged ones lost, {} duplicates.\n",
        sum(|seed| seed.totals.sent),
        sum(|seed| seed.totals.acked),
        sum(|seed| seed.totals.failed),
        sum(|seed| seed.totals.unknown),
        sum(|seed| seed.totals.acked_lost),
        sum(|seed| seed.totals.duplicates),
    )
}

fn story_table(seed: &SeedRun) -> String {
    let (lines, left_out) = story::shorten(story::tell(&seed.events), STORY_LINES_MAX);
    let mut out = format!("\n### What happened under seed {}\n\n", seed.seed);
    out.push_str("| time | node | event | |\n|---|---|---|---|\n");
    for (index, line) in lines.iter().enumerate() {
        if let Some((at, count)) = left_out
            && at == index
        {
            out.push_str(&format!("| … | | {count} lines | |\n"));
        }
        let what = line.what.replace('|', "\\|");
        out.push_str(&format!("| {} | {} | {} | {what} |\n", line.time(), line.who, line.kind));
    }
    out
}

fn without(plan: &Plan) -> String {
    plan.without
        .iter()
        .map(|without| format!("\nSwitched off: {}, because {}.\n", without.name, without.why))
        .collect()
}

/// The index: one line a scenario.
#[must_use]
pub fn index(scenarios: &[Vec<VariantRun>]) -> String {
    let mut out = String::from(
        "# Reports\n\nWhat the scenarios show under their first four seeds. Written by `cargo sim report`; `cargo sim report --check` fails where it is stale.\n\n| scenario | claim | verdict |\n|---|---|---|\n",
    );
    for runs in scenarios {
        let Some(first) = runs.first() else { continue };
        let verdict = runs.iter().map(VariantRun::verdict).max().unwrap_or(Verdict::Inconclusive);
        out.push_str(&format!(
            "| [{name}]({name}.md) | {} | {} |\n",
            first.claim.replace('|', "\\|"),
            verdict.name(),
            name = first.scenario,
        ));
    }
    out
}
