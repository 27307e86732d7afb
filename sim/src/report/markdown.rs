//! The pages of `reports/`: one a scenario, and an index. Written by `cargo sim report`, checked in, compared byte for byte.

use super::story::{self, Told};
use super::{lines_in_words, picture, seeds_in_words, text, totals_in_words};
use super::{values_of, words_of};
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
    out.push_str(&side_by_side(runs));
    out
}

/// What expectations with `compare` showed in each variant; nothing where there is none.
fn side_by_side(runs: &[VariantRun]) -> String {
    let mut rows: Vec<(String, Vec<Option<String>>)> = Vec::new();
    for (column, run) in runs.iter().enumerate() {
        let Some(first) = run.seeds.first() else { continue };
        let compared = first.plan.expect.iter().enumerate().filter(|(_, of)| of.compare);
        for (index, expectation) in compared {
            if first.measured.get(index).is_none_or(Option::is_none) {
                continue; // it is of another variant
            }
            let words = words_of(expectation);
            let at = rows.iter().position(|(known, _)| *known == words);
            let at = at.unwrap_or_else(|| {
                rows.push((words, vec![None; runs.len()]));
                rows.len() - 1
            });
            rows[at].1[column] = Some(values_of(run, index));
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    let names = runs.iter().map(|run| run.variant.as_deref().unwrap_or("as the file stands"));
    let names: Vec<&str> = names.collect();
    let mut out = format!("\n## Side by side\n\n| | {} |\n|---|", names.join(" | "));
    out.push_str(&"---|".repeat(runs.len()));
    out.push('\n');
    for (words, cells) in rows {
        let cells: Vec<String> = cells.into_iter().map(|cell| cell.unwrap_or_default()).collect();
        out.push_str(&format!("| {words} | {} |\n", cells.join(" | ")));
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
    out.push_str(&format!("\n{}\n", totals_in_words(run)));
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

fn story_table(seed: &SeedRun) -> String {
    let mut out = format!("\n### What happened under seed {}\n\n", seed.seed);
    out.push_str("| time | node | event | |\n|---|---|---|---|\n");
    for one in story::shorten(story::tell(&seed.events), STORY_LINES_MAX) {
        match one {
            Told::LeftOut(count) => {
                out.push_str(&format!("| … | | {} | |\n", lines_in_words(count)));
            }
            Told::Line(line) => {
                let (time, what) = (line.time(), line.what.replace('|', "\\|"));
                out.push_str(&format!("| {time} | {} | {} | {what} |\n", line.who, line.kind));
            }
        }
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
        "# Reports\n\nWhat the scenarios show under their first two seeds. Written by `cargo sim report`; `cargo sim report --check` fails where it is stale.\n\n| scenario | claim | verdict |\n|---|---|---|\n",
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

#[cfg(test)]
mod tests {
    use crate::expect::Measurement;
    use crate::report::sample;
    use crate::scenario::condition::Measured;

    use super::*;

    /// A variant that measured these: the first two expectations are to be compared, the second is of `sticky` alone.
    fn run(variant: Option<&str>, measured: [Option<u64>; 3]) -> VariantRun {
        let mut run = sample::variant();
        run.variant = variant.map(str::to_owned);
        let seed = &mut run.seeds[0];
        seed.plan = serde_json::from_value(serde_json::json!({
            "claim": "x", "run-for": "2s", "expect": [
                { "that": "imbalance", "group": "g", "at": "1s", "is": 0, "compare": true },
                { "that": "partitions-moved", "group": "g", "is": 4, "compare": true, "variant": "sticky" },
                { "that": "acked", "is": 3 },
            ],
        }))
        .unwrap();
        let measured = measured.iter().map(|value| {
            value.map(|value| Measurement { value: Some(Measured::Count(value)), holds: true })
        });
        seed.measured = measured.collect();
        run
    }

    #[test]
    fn what_is_to_be_compared_stands_side_by_side() {
        let runs =
            [run(None, [Some(4), None, Some(3)]), run(Some("sticky"), [Some(0), Some(5), Some(3)])];
        let expected = "\n## Side by side\n\n\
             | | as the file stands | sticky |\n|---|---|---|\n\
             | imbalance of g at 1s | 4 | 0 |\n\
             | partitions-moved of g |  | 5 |\n";
        assert_eq!(side_by_side(&runs), expected);
        assert_eq!(side_by_side(&[sample::variant()]), "");
    }
}
