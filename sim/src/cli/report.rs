//! `cargo sim report`: the pages of `reports/`, from the first two seeds of each scenario.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::run::{cores, job, run_jobs, variants_of};
use super::{ReportArgs, Stop, files, print};
use crate::report::{json, markdown};
use crate::runner::Options;
use crate::scenario::Scenario;
use crate::verdict::{VariantRun, Verdict};

/// So many seeds show what a scenario is about; `cargo sim run` looks at more of them.
const SEEDS: usize = 2;
/// Pages that other commands write.
const OTHERS: &[&str] = &["mutants.md"];

/// Writes the pages, or says which are stale.
pub(super) fn report(args: &ReportArgs) -> Result<u8, Stop> {
    let scenarios = files::load(&files::find(&args.paths.paths)?, &[])?;
    let runs = run_all(&scenarios, args.jobs.unwrap_or_else(cores));
    let is_whole = args.paths.paths.is_empty();
    let pages = pages(&runs, is_whole)?;
    if args.check {
        return Ok(check(&args.dir, &pages, is_whole));
    }
    for (name, text) in &pages {
        write(&args.dir.join(name), text)?;
    }
    for old in superfluous(&args.dir, &pages, is_whole) {
        std::fs::remove_file(&old)
            .map_err(|error| Stop::bad_input(format!("{}: {error}", old.display())))?;
    }
    print(&format!("{} pages in {}\n", pages.len(), args.dir.display()));
    for run in runs.iter().flatten().filter(|run| run.verdict() != Verdict::Passed) {
        let variant = run.variant.as_ref().map_or_else(String::new, |name| format!(" [{name}]"));
        print(&format!(
            "{}: {}{variant}: `cargo sim run` tells more\n",
            run.verdict().name(),
            run.scenario
        ));
    }
    let verdict = runs.iter().flatten().map(VariantRun::verdict).max();
    Ok(verdict.unwrap_or(Verdict::Inconclusive).exit_code())
}

fn run_all(scenarios: &[Arc<Scenario>], jobs: usize) -> Vec<Vec<VariantRun>> {
    let mut all = Vec::new();
    for scenario in scenarios {
        for variant in variants_of(scenario) {
            let seeds = scenario.seeds.iter(Some(SEEDS));
            all.extend(seeds.map(|seed| job(scenario, variant.clone(), seed, false)));
        }
    }
    let options =
        Options { jobs, until_failure: false, time_budget: None, check_determinism: false };
    let mut by_scenario: Vec<Vec<VariantRun>> = Vec::new();
    for run in run_jobs(&all, &options) {
        match by_scenario.last_mut() {
            Some(runs) if runs.iter().any(|known| known.path == run.path) => runs.push(run),
            _ => by_scenario.push(vec![run]),
        }
    }
    by_scenario
}

/// Every page by its path below `reports/`.
fn pages(runs: &[Vec<VariantRun>], with_index: bool) -> Result<BTreeMap<PathBuf, String>, Stop> {
    let mut pages = BTreeMap::new();
    for runs in runs {
        let Some(first) = runs.first() else { continue };
        let values: Vec<_> = runs.iter().map(json::variant).collect();
        let text = serde_json::to_string_pretty(&values).map_err(Stop::bad_input)?;
        pages.insert(PathBuf::from(format!("{}.md", first.scenario)), markdown::page(runs));
        if let Some(life) = markdown::picture(runs) {
            pages.insert(PathBuf::from(format!("{}.svg", first.scenario)), life);
        }
        pages.insert(PathBuf::from(format!("{}.json", first.scenario)), text + "\n");
    }
    if with_index {
        pages.insert(PathBuf::from("README.md"), markdown::index(runs));
    }
    Ok(pages)
}

fn check(directory: &Path, pages: &BTreeMap<PathBuf, String>, is_whole: bool) -> u8 {
    let mut stale = Vec::new();
    for (name, text) in pages {
        let path = directory.join(name);
        match std::fs::read_to_string(&path) {
            Ok(old) if old == *text => {}
            Ok(old) => stale.push(format!("{}: {}", path.display(), first_difference(&old, text))),
            Err(error) => stale.push(format!("{}: {error}", path.display())),
        }
    }
    let superfluous = superfluous(directory, pages, is_whole);
    stale.extend(
        superfluous.iter().map(|path| format!("{}: no scenario writes it", path.display())),
    );
    if stale.is_empty() {
        print(&format!("{} pages are up to date\n", pages.len()));
        return 0;
    }
    print(&format!(
        "{}\n{} of {} pages are stale: run `cargo sim report` and look at the difference\n",
        stale.join("\n"),
        stale.len(),
        pages.len()
    ));
    1
}

fn first_difference(old: &str, new: &str) -> String {
    let (mut old, mut new) = (old.lines(), new.lines());
    let mut number = 1;
    loop {
        match (old.next(), new.next()) {
            (Some(one), Some(other)) if one == other => number += 1,
            (one, other) => {
                let show = |line: Option<&str>| line.unwrap_or("(end)").to_string();
                return format!(
                    "line {number} is\n    {}\n  and should be\n    {}",
                    show(one),
                    show(other)
                );
            }
        }
    }
}

/// Pages that no scenario writes any more; none where only some scenarios were run.
fn superfluous(
    directory: &Path,
    pages: &BTreeMap<PathBuf, String>,
    is_whole: bool,
) -> Vec<PathBuf> {
    let mut found = Vec::new();
    if is_whole {
        walk(directory, &mut found);
    }
    found.retain(|path| {
        let name = path.strip_prefix(directory).unwrap_or(path);
        !pages.contains_key(name) && !OTHERS.iter().any(|other| name == Path::new(other))
    });
    found
}

fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    let mut entries: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            walk(&path, found);
        } else {
            found.push(path);
        }
    }
}

fn write(path: &Path, text: &str) -> Result<(), Stop> {
    let wrong = |error: std::io::Error| Stop::bad_input(format!("{}: {error}", path.display()));
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(wrong)?;
    }
    let half = path.with_extension("new");
    std::fs::write(&half, text).and_then(|()| std::fs::rename(&half, path)).map_err(|error| {
        // Nothing half-written stays.
        let _ = std::fs::remove_file(&half);
        wrong(error)
    })
}
