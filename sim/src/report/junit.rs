//! JUnit's XML, which continuous integration shows: a suite for each variant, a case for each seed.

use super::{json, repro_command};
use crate::verdict::{SeedRun, VariantRun, Verdict};

/// All variants of a run.
#[must_use]
pub fn all(runs: &[VariantRun]) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for run in runs {
        out.push_str(&suite(run));
    }
    out.push_str("</testsuites>\n");
    out
}

fn suite(run: &VariantRun) -> String {
    let cases: Vec<String> = run.seeds.iter().map(|seed| case(run, seed)).collect();
    // What only all seeds together show (sometimes, bites) needs a case of its own.
    let red_seeds = run.seeds.iter().filter(|seed| problem(seed).is_some()).count();
    let overall = if run.verdict() != Verdict::Passed && red_seeds == 0 {
        let reason = escape(&super::text::conclusion(run));
        format!(
            "    <testcase name=\"over all seeds\"><failure message=\"{reason}\"/></testcase>\n"
        )
    } else {
        "    <testcase name=\"over all seeds\"/>\n".into()
    };
    let failures = red_seeds + usize::from(overall.contains("<failure"));
    format!(
        "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{failures}\">\n{}{overall}  </testsuite>\n",
        escape(&run.title()),
        cases.len() + 1,
        cases.concat(),
    )
}

fn case(run: &VariantRun, seed: &SeedRun) -> String {
    let name = format!("    <testcase name=\"seed {}\"", seed.seed);
    match problem(seed) {
        None => format!("{name}/>\n"),
        Some(problem) => format!(
            "{name}>\n      <failure message=\"{}\">{}</failure>\n    </testcase>\n",
            escape(&problem),
            escape(&repro_command(run, seed)),
        ),
    }
}

fn problem(seed: &SeedRun) -> Option<String> {
    if seed.nondeterminism.is_some() {
        return Some("two runs of this seed differ".into());
    }
    if let Some(violation) = seed.violations.first() {
        return Some(violation.to_string());
    }
    if seed.is_red() {
        return Some(format!("missed: {}", json::failed_checks(seed).join(", ")));
    }
    seed.inconclusive()
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // XML has no way to write the other control characters.
            '\n' | '\t' => out.push(letter),
            letter if letter.is_control() => out.push('?'),
            letter => out.push(letter),
        }
    }
    out
}
