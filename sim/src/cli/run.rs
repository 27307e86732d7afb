//! `cargo sim run`: scenarios under their seeds.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::progress::Bar;
use super::{Format, RunArgs, Stop, files, keep, print, summaries};
use crate::event::Who;
use crate::explore::{Shard, Summary};
use crate::report::{json, junit, text};
use crate::run::{Job, run_once, run_twice};
use crate::runner::{Options, RunOne, run_all};
use crate::scenario::{NO_VARIANT, Scenario};
use crate::shrink::edit::next_multiple;
use crate::verdict::{SeedRun, VariantRun, Verdict, show_time};

/// How many seeds run where nobody says.
const SEEDS_DEFAULT: usize = 10;

/// Runs scenarios.
pub(super) fn run(args: &RunArgs) -> Result<u8, Stop> {
    let scenarios = files::load(&files::find(&args.paths.paths)?, &args.set)?;
    let jobs = jobs_of(args, &scenarios)?;
    let options = Options {
        jobs: args.jobs.unwrap_or_else(cores),
        until_failure: args.until_failure,
        time_budget: args.time_budget,
        check_determinism: args.check_determinism,
    };
    if let Some(shard) = args.shard {
        summaries::may_write(&args.out, &summaries::summary_name(shard))?;
    }
    let runs = run_jobs_for(&jobs, &options, args.shard.is_some());
    show(args, &scenarios, &runs)?;
    if let Some(shard) = args.shard {
        summaries::keep_summary(&args.out, shard, &summary_of(shard, &runs))?;
    }
    let verdict = runs.iter().map(|run| run.verdict()).max().unwrap_or(Verdict::Inconclusive);
    Ok(verdict.exit_code())
}

/// What `merge` adds up with what other shards leave.
fn summary_of(shard: Shard, runs: &[VariantRun]) -> Summary {
    let mut summary = Summary::new("run", shard);
    for run in runs {
        for seed in &run.seeds {
            summary.add(run, seed, false);
        }
    }
    summary
}

/// How many cores there are.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// Does `0..count` on so many threads, in this order; a thread ends where `work` says no.
pub(super) fn each(count: usize, threads: usize, work: impl Fn(usize) -> bool + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(count) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count || !work(index) {
                        return;
                    }
                }
            });
        }
    });
}

fn jobs_of(args: &RunArgs, scenarios: &[Arc<Scenario>]) -> Result<Vec<Job>, Stop> {
    let mut jobs = Vec::new();
    for scenario in scenarios {
        let chosen = match (args.seed, &args.seeds) {
            (Some(seed), _) => vec![seed],
            (None, Some(seeds)) => seeds.iter(None).collect(),
            (None, None) => {
                let limit = if args.full { None } else { Some(SEEDS_DEFAULT) };
                scenario.seeds.iter(limit).collect()
            }
        };
        let shard = args.shard.unwrap_or(Shard::WHOLE);
        let chosen: Vec<u64> = chosen.into_iter().filter(|seed| shard.holds(*seed)).collect();
        for variant in variants_of(scenario) {
            let name = variant.as_deref().unwrap_or(NO_VARIANT);
            if args.variant.as_deref().is_none_or(|asked| asked == name) {
                jobs.extend(chosen.iter().map(|seed| Job {
                    is_recording: args.check_determinism,
                    ..job(scenario, variant.clone(), *seed, args.keep)
                }));
            }
        }
    }
    match (&args.variant, jobs.is_empty()) {
        (Some(asked), true) if args.shard.is_none() => {
            Err(Stop::bad_input(format!("no scenario has a variant `{asked}`")))
        }
        _ => Ok(jobs),
    }
}

/// The file as it stands, and its variants.
pub(super) fn variants_of(scenario: &Scenario) -> impl Iterator<Item = Option<String>> + '_ {
    std::iter::once(None).chain(scenario.variants.iter().cloned().map(Some))
}

/// One seed.
pub(super) fn job(
    scenario: &Arc<Scenario>,
    variant: Option<String>,
    seed: u64,
    keeps: bool,
) -> Job {
    let scenario = Arc::clone(scenario);
    Job { scenario, variant, seed, is_recording: false, keeps_all: keeps }
}

struct Jobs<'a> {
    jobs: &'a [Job],
    /// Whether what each run reached is kept for a summary.
    keeps_reached: bool,
}

impl RunOne for Jobs<'_> {
    fn run_one(&self, index: usize, twice: bool) -> SeedRun {
        let job = &self.jobs[index];
        let mut run = if twice { run_twice(job) } else { run_once(job).0 };
        // Ten thousand green seeds need no ten thousand stories. The first of a variant tells its own.
        let is_first =
            index.checked_sub(1).is_none_or(|before| !is_same_variant(&self.jobs[before], job));
        if !self.keeps_reached {
            run.reached = Default::default();
        }
        if !is_first && !job.keeps_all && !run.is_red() && run.nondeterminism.is_none() {
            run.events = Vec::new();
            run.stats = Default::default();
            run.history = Vec::new();
        }
        run
    }
}

fn is_same_variant(one: &Job, other: &Job) -> bool {
    Arc::ptr_eq(&one.scenario, &other.scenario) && one.variant == other.variant
}

/// Runs jobs and puts those of one variant together, in the order of the jobs.
pub(super) fn run_jobs(jobs: &[Job], options: &Options) -> Vec<VariantRun> {
    run_jobs_for(jobs, options, false)
}

fn run_jobs_for(jobs: &[Job], options: &Options, keeps_reached: bool) -> Vec<VariantRun> {
    let bar = Bar::new(jobs.len());
    let mut results = run_all(jobs.len(), options, &Jobs { jobs, keeps_reached }, &bar);
    bar.finish();
    let mut runs: Vec<VariantRun> = Vec::new();
    for (index, job) in jobs.iter().enumerate() {
        let is_new = index.checked_sub(1).is_none_or(|before| !is_same_variant(&jobs[before], job));
        if is_new {
            runs.push(job.variant_run());
        }
        let (Some(result), Some(run)) = (results.remove(&index), runs.last_mut()) else { continue };
        run.seeds.push(result);
    }
    runs
}

fn show(args: &RunArgs, scenarios: &[Arc<Scenario>], runs: &[VariantRun]) -> Result<(), Stop> {
    match args.format {
        Format::Text => {
            for run in runs {
                print(&if args.quiet {
                    format!("{}\n", text::conclusion(run))
                } else {
                    text::variant(run) + "\n"
                });
                let kept = leave(args, scenarios, run)?;
                kept.iter().for_each(|line| print(line));
                if !kept.is_empty() {
                    print(&format!("   at commit {}\n", keep::commit()));
                }
            }
            if !args.quiet {
                print(&text::summary(runs));
            }
        }
        Format::Json => {
            for run in runs {
                leave(args, scenarios, run)?;
            }
            let text = serde_json::to_string_pretty(&json::all(runs)).map_err(Stop::bad_input)?;
            print(&(text + "\n"));
        }
        Format::Junit => {
            for run in runs {
                leave(args, scenarios, run)?;
            }
            print(&junit::all(runs));
        }
    }
    Ok(())
}

/// Leaves the files of failing runs, or of all; says where.
fn leave(
    args: &RunArgs,
    scenarios: &[Arc<Scenario>],
    run: &VariantRun,
) -> Result<Vec<String>, Stop> {
    let mut lines = Vec::new();
    let Some(scenario) = scenarios.iter().find(|scenario| scenario.path == run.path) else {
        return Ok(lines);
    };
    for seed in &run.seeds {
        let is_bad = seed.is_red() || seed.nondeterminism.is_some();
        if is_bad || args.keep {
            let directory = keep::keep(&args.out, scenario, run, seed).map_err(Stop::bad_input)?;
            if is_bad {
                lines.push(kept(&directory, seed, lines.is_empty()));
            }
        }
    }
    Ok(lines)
}

/// How to look at a kept run; what can be done with it besides is told of the first only.
fn kept(directory: &Path, seed: &SeedRun, is_first: bool) -> String {
    let file = |name: &str| directory.join(name).display().to_string();
    let mut lines = format!("   seed {}: cargo sim replay {}\n", seed.seed, file("repro.json"));
    if directory.join(keep::MINIMAL).exists() {
        lines.push_str(&format!("      shrunk: cargo sim run {}\n", file(keep::MINIMAL)));
    } else if is_first {
        lines.push_str(&format!("      shrink it: cargo sim shrink {}\n", file("repro.json")));
    }
    if is_first {
        lines.push_str(&format!("      look at it: {}\n", file("report.html")));
        lines.extend(state_command(seed, &file("repro.json")));
    }
    lines
}

/// What shows the node at which the first check fired, as it was within a millisecond after it: what it had just decided is in it.
/// Nothing where it fired at no node.
fn state_command(seed: &SeedRun, repro: &str) -> Option<String> {
    let first = seed.violations.first()?;
    let node = first.node.as_ref().filter(|who| **who != Who::Testbed)?;
    let at = show_time(next_multiple(first.at, 1_000_000));
    Some(format!(
        "      what the node was then: cargo sim replay {repro} --until {at} --state '{node}'\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn whoever_finds_a_failure_is_told_what_to_type_next() {
        let told = |seed: &SeedRun| kept(Path::new("runs/sample/7"), seed, true);
        let mut seed = sample::red();
        seed.violations[0].node = Some(Who::Broker(1));
        expect_test::expect![[r#"
            told:
               seed 7: cargo sim replay runs/sample/7/repro.json
                  shrink it: cargo sim shrink runs/sample/7/repro.json
                  look at it: runs/sample/7/report.html
                  what the node was then: cargo sim replay runs/sample/7/repro.json --until 2.001s --state 'broker 1'
        "#]]
        .assert_eq(&format!("told:\n{}", told(&seed)));
        seed.violations[0].node = None;
        assert!(!told(&seed).contains("--state"), "no node, no state");
    }
}
