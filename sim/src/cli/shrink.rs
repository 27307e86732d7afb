//! `cargo sim shrink FILE`: runs what the search of `crate::shrink` wants to know, and writes what it found.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;

use super::repro::{Repro, of_variant};
use super::run::{cores, each, job};
use super::{Stop, files, keep, parse_duration, print};
use crate::oracle::Halt;
use crate::report::{repro_command, thousands};
use crate::run::{How, Job, run_as, run_once};
use crate::runner::wall_now;
use crate::scenario::duration::Span;
use crate::scenario::{NO_VARIANT, Scenario};
use crate::shrink::words::{self, Origin, Size};
use crate::shrink::{Cut, Effort, Failing, Reason, Tester, edit, shrink as search, toml};
use crate::verdict::SeedRun;

/// How many times the seeds of an ordinary try are spent where much depends on it.
const MUCH: u64 = 6;

/// Under how many other seeds the result is run, to say how often it fails.
const OTHER_SEEDS: u64 = 20;

#[derive(Debug, Args)]
pub(super) struct ShrinkArgs {
    /// A repro.json, the report.json beside one, or a scenario file (then with --seed)
    file: PathBuf,
    /// The seed that fails, for a scenario file
    #[arg(long)]
    seed: Option<u64>,
    /// The variant that fails, for a scenario file
    #[arg(long, allow_hyphen_values = true)]
    variant: Option<String>,
    /// Sets a value of the scenario file: /workloads/writer/clients=4
    #[arg(long = "set", value_name = "/PTR=VALUE")]
    set: Vec<String>,
    /// Which failure, where a run has several: the name of a check, or an expectation [default: the first]
    #[arg(long)]
    reason: Option<String>,
    /// The file that is written [default: minimal.toml beside the repro]
    #[arg(long)]
    out: Option<PathBuf>,
    /// How many tries run at once [default: the cores]
    #[arg(long)]
    jobs: Option<usize>,
    /// Under how many seeds each try is run: a cut changes what the seed draws
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds_per_try: u64,
    /// Begins no try after this long
    #[arg(long, default_value = "60s", value_parser = parse_duration)]
    time_budget: Duration,
}

/// Shrinks a failing run.
pub(super) fn shrink(args: &ShrinkArgs) -> Result<u8, Stop> {
    let input = Input::read(args)?;
    let out = args.out.clone().unwrap_or_else(|| input.beside.clone());
    check_writable(&out)?;
    let begun = wall_now();
    let (values, before) = input.fail()?;
    let reason = choose(&before, args.reason.as_deref(), &input)?;
    let before_size = Size::of(&before);
    eprintln!(
        "{}: {reason}; {} events, {} steps",
        input.title(),
        thousands(before_size.events as u64),
        before_size.steps
    );
    let mut tries = Tries::new(args, &input, &reason, &before, begun);
    tries.check_control(&values)?;
    let failing = tries.failing(values, &before);
    let shrunk = search(failing, &reason, &mut tries);
    let mut smallest = shrunk.smallest;
    let run = tries.whole(&smallest.scenario, smallest.seed)?;
    if !reason.is_of(&run) {
        return Err(Stop::bad_input(format!(
            "what was found does not fail again under seed {}: the run is not deterministic; try --check-determinism",
            smallest.seed
        )));
    }
    let sizes = (before_size, Size::of(&run));
    words::sign(&mut smallest.scenario, &reason, &input.origin, &run, sizes);
    let notes = words::notes(&smallest.scenario, &run);
    let text = toml::write(&smallest.scenario, &words::head(&reason, &run), &notes);
    let again = confirm(&out, &text, smallest.seed, &reason)?;
    write_whole(&out, &text)?;
    let others = tries.others(&smallest);
    print(&told(&input, &reason, &run, sizes));
    print(&format!(
        "   Under {others} of {OTHER_SEEDS} other seeds it fails for the same reason too.\n   written: {}\n   again: {again}\n",
        out.display()
    ));
    let took = begun.elapsed().as_secs_f64();
    let end = if shrunk.is_complete {
        "nothing more can be cut"
    } else {
        "the time was up: --time-budget gives more"
    };
    eprintln!("{} runs in {took:.1} s; {end}", thousands(tries.count as u64));
    Ok(0)
}

fn told(input: &Input, reason: &Reason, run: &SeedRun, (before, after): (Size, Size)) -> String {
    let sized = |size: Size| {
        format!(
            "{} events, {} steps, {}",
            thousands(size.events as u64),
            size.steps,
            Span::from_nanos(size.lasted.nanos() / 1_000_000_000 * 1_000_000_000)
        )
    };
    let found = reason.violation(run).map_or_else(|| reason.to_string(), ToString::to_string);
    format!(
        "━━ {}: {reason}\n   before: {}\n   after:  {} ({} % of the events)\n   under seed {}: {found}\n",
        input.title(),
        sized(before),
        sized(after),
        after.percent_of(&before),
        run.seed,
    )
}

// ── What is shrunk ─────────────────────────────────────────────────────────────────────────────────────────────────────

/// What fails.
struct Input {
    /// Ways to write it, the first that fails is taken: as it was, or with the faults that fired as fixed steps.
    values: Vec<Value>,
    origin: Origin,
    path: String,
    /// Where the result goes, where nobody says.
    beside: PathBuf,
    /// What failed when it was kept.
    failed: Vec<String>,
}

impl Input {
    fn read(args: &ShrinkArgs) -> Result<Self, Stop> {
        if args.file.extension().is_some_and(|extension| extension == "toml") {
            return Self::of_scenario(args);
        }
        let given = [
            ("--seed", args.seed.is_some()),
            ("--variant", args.variant.is_some()),
            ("--set", !args.set.is_empty()),
        ];
        let repro = Repro::read(&args.file)?;
        if let Some((option, _)) = given.iter().find(|(_, is_given)| *is_given) {
            return Err(Stop::bad_input(format!(
                "{option} goes with a scenario file; {} says seed, variant and values itself",
                args.file.display()
            )));
        }
        Ok(Self {
            values: vec![repro.resolved.clone(), repro.fixed()],
            origin: Origin {
                scenario: titled(&repro.scenario, repro.variant.as_deref()),
                seed: repro.seed,
                commit: repro.commit.clone(),
            },
            failed: repro.failed.clone(),
            path: repro.path.clone(),
            beside: args.file.with_file_name("minimal.toml"),
        })
    }

    fn of_scenario(args: &ShrinkArgs) -> Result<Self, Stop> {
        let scenarios = files::load(std::slice::from_ref(&args.file), &args.set)?;
        let scenario = scenarios.first().expect("one file was asked for");
        let Some(seed) = args.seed else {
            return Err(Stop::bad_input(format!(
                "{}: which seed fails? Say --seed N, or give the repro.json of a failing run",
                args.file.display()
            )));
        };
        let variant = args.variant.as_deref().filter(|name| *name != NO_VARIANT);
        if let Some(name) =
            variant.filter(|name| !scenario.variants.iter().any(|known| known == name))
        {
            return Err(Stop::bad_input(format!(
                "{}: there is no variant `{name}`",
                args.file.display()
            )));
        }
        let mut beside = Path::new("target/sim-runs").join(&scenario.name);
        beside.extend(variant);
        Ok(Self {
            values: vec![of_variant(scenario.resolved(variant, seed), variant)],
            origin: Origin {
                scenario: titled(&scenario.name, variant),
                seed,
                commit: keep::commit(),
            },
            failed: Vec::new(),
            path: scenario.path.clone(),
            beside: beside.join(seed.to_string()).join("minimal.toml"),
        })
    }

    fn title(&self) -> String {
        format!("{}, seed {}", self.origin.scenario, self.origin.seed)
    }

    /// Runs it as it is.
    ///
    /// Errors: it does not fail.
    fn fail(&self) -> Result<(Value, SeedRun), Stop> {
        for values in &self.values {
            let scenario = load(values, &self.path).map_err(|problems| {
                Stop::bad_input(format!(
                    "{}: not a scenario that this build can run:\n{problems}",
                    self.title()
                ))
            })?;
            let run = run_once(&job(&scenario, None, self.origin.seed, false)).0;
            if run.is_red() {
                return Ok((values.clone(), run));
            }
        }
        let then = &self.origin.commit;
        let fixed =
            if self.values.len() > 1 { ", and with its faults as fixed steps too" } else { "" };
        Err(Stop::bad_input(format!(
            "nothing to shrink: {} passes{fixed} in this build (it was kept at commit {then}, now it is {})",
            self.title(),
            keep::commit(),
        )))
    }
}

fn titled(name: &str, variant: Option<&str>) -> String {
    variant.map_or_else(|| name.to_string(), |variant| format!("{name} [{variant}]"))
}

fn load(values: &Value, path: &str) -> Result<Arc<Scenario>, String> {
    let name = format!("{path}.shrunk.json");
    Scenario::load(&name, &values.to_string(), &[])
        .map(Arc::new)
        .map_err(|problems| problems.to_string())
}

/// The reason that is kept: the one asked for; else the first that the run was kept for; else the first.
fn choose(run: &SeedRun, asked: Option<&str>, input: &Input) -> Result<Reason, Stop> {
    let all = Reason::all(run);
    let named = |name: &str| all.iter().find(|reason| reason.name() == name);
    let found = match asked {
        Some(name) => named(name),
        None => input.failed.iter().find_map(|name| named(name)).or(all.first()),
    };
    found.cloned().ok_or_else(|| {
        let names: Vec<String> = all.iter().map(|reason| format!("`{}`", reason.name())).collect();
        Stop::bad_input(format!(
            "{} does not fail for `{}`: it fails for {}",
            input.title(),
            asked.unwrap_or_default(),
            names.join(", ")
        ))
    })
}

// ── Trying ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

/// Runs candidates, on all cores.
struct Tries<'a> {
    reason: &'a Reason,
    path: &'a str,
    jobs: usize,
    seeds_per_try: u64,
    begun: Instant,
    budget: Duration,
    /// The seed of the smallest scenario so far.
    seed: u64,
    /// In how many steps an acknowledged record may be at stake: as in the run that is shrunk, or a cut would only make a
    /// scenario that asks too much.
    at_stake_max: usize,
    /// How many runs there were.
    count: usize,
    /// What was tried: the scenario and the seed, and whether it fails. Rounds repeat themselves.
    known: Mutex<BTreeMap<(String, u64), Option<Tried>>>,
    /// Whether what was tried meets its expectation while nothing is done: cuts of steps have that in common.
    calm: Mutex<BTreeMap<(String, u64), bool>>,
}

/// A run that failed for the reason.
#[derive(Clone)]
struct Tried {
    at: Span,
    of_storm: Vec<Value>,
    events: usize,
    steps: usize,
}

impl<'a> Tries<'a> {
    fn new(
        args: &ShrinkArgs,
        input: &'a Input,
        reason: &'a Reason,
        before: &SeedRun,
        begun: Instant,
    ) -> Self {
        Self {
            reason,
            path: &input.path,
            jobs: args.jobs.unwrap_or_else(cores).max(1),
            seeds_per_try: args.seeds_per_try,
            begun,
            budget: args.time_budget,
            seed: input.origin.seed,
            at_stake_max: at_stake(before),
            count: 1,
            known: Mutex::default(),
            calm: Mutex::default(),
        }
    }

    fn failing(&self, scenario: Value, run: &SeedRun) -> Failing {
        let tried = self.tried(run).expect("it fails for the reason that was taken from it");
        Failing { scenario, seed: run.seed, at: tried.at, of_storm: tried.of_storm }
    }

    /// What a run showed, where it failed for the reason and asks no more than the one that is shrunk.
    fn tried(&self, run: &SeedRun) -> Option<Tried> {
        let at = match self.reason.violation(run) {
            Some(violation) => violation.at,
            None if self.reason.is_of(run) => run.plan.run_for,
            None => return None,
        };
        let scripted = run.plan.timeline.len();
        let of_storm = run.fired.iter().filter(|fired| fired.step >= scripted);
        (at_stake(run) <= self.at_stake_max).then(|| Tried {
            at,
            of_storm: of_storm.map(|fired| fired.fixed.clone()).collect(),
            events: run.events.len(),
            steps: run.fired.len(),
        })
    }

    /// A missed expectation proves something only where the same cluster meets it while nothing is done to it.
    ///
    /// Errors: it does not.
    fn check_control(&self, values: &Value) -> Result<(), Stop> {
        if self.is_met_without_faults(values, self.seed) {
            return Ok(());
        }
        Err(Stop::bad_input(format!(
            "{} even when nothing is done to the cluster: it asks for an effect of the faults, and whatever is cut misses it too. Shrink another failure (--reason), or look at the expectation",
            self.reason
        )))
    }

    fn is_met_without_faults(&self, values: &Value, seed: u64) -> bool {
        let Reason::Missed(_) = self.reason else { return true };
        let mut calm = values.clone();
        edit::remove(&mut calm, "chaos");
        edit::remove(&mut calm, "timeline");
        let key = (calm.to_string(), seed);
        let known = || self.calm.lock().expect("nothing panics with it locked");
        if let Some(is_met) = known().get(&key) {
            return *is_met;
        }
        let is_met = load(&calm, self.path)
            .is_ok_and(|calm| !self.reason.is_of(&run_once(&job(&calm, None, seed, false)).0));
        known().insert(key, is_met);
        is_met
    }

    /// Runs a scenario under a seed, to where it fails.
    fn one(&self, scenario: &Arc<Scenario>, values: &Value, seed: u64) -> Option<Tried> {
        let key = (values.to_string(), seed);
        let known = || self.known.lock().expect("nothing panics with it locked");
        if let Some(known) = known().get(&key) {
            return known.clone();
        }
        let (run, _) = run_as(&job(scenario, None, seed, false), &self.how());
        let tried = self.tried(&run).filter(|_| self.is_met_without_faults(values, seed));
        known().insert(key, tried.clone());
        tried
    }

    fn how(&self) -> How {
        let reason = self.reason.clone();
        let halt = matches!(reason, Reason::Violation { .. })
            .then(|| Halt::new(move |found| reason.is(found)));
        How { halt, ..How::default() }
    }

    /// A run to its end.
    fn whole(&self, values: &Value, seed: u64) -> Result<SeedRun, Stop> {
        let scenario = load(values, self.path).map_err(Stop::bad_input)?;
        Ok(run_once(&job(&scenario, None, seed, true)).0)
    }

    /// The seeds of a try: the one that failed last, then others.
    fn seeds(&self, effort: Effort) -> Vec<u64> {
        let count = match effort {
            Effort::Usual => self.seeds_per_try,
            Effort::Much => self.seeds_per_try * MUCH,
        };
        let others = (1..).filter(|seed| *seed != self.seed);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        std::iter::once(self.seed).chain(others).take(count).collect()
    }

    /// Under how many other seeds the result fails for the same reason.
    fn others(&mut self, smallest: &Failing) -> usize {
        let Ok(scenario) = load(&smallest.scenario, self.path) else { return 0 };
        let seeds: Vec<u64> = (smallest.seed + 1..=smallest.seed + OTHER_SEEDS).collect();
        let failed = AtomicUsize::new(0);
        let values = &smallest.scenario;
        each(seeds.len(), self.jobs, |index| {
            let fails = self.one(&scenario, values, seeds[index]).is_some();
            failed.fetch_add(usize::from(fails), Ordering::Relaxed);
            true
        });
        self.count += seeds.len();
        failed.into_inner()
    }
}

impl Tester for Tries<'_> {
    fn first(&mut self, cuts: &[Cut], effort: Effort) -> Option<(usize, Failing)> {
        let loaded: Vec<(usize, Arc<Scenario>)> = cuts
            .iter()
            .enumerate()
            // What is no scenario is not tried: a step for a node that is gone, no fault that bites.
            .filter_map(|(index, cut)| Some((index, load(&cut.scenario, self.path).ok()?)))
            .collect();
        let seeds = self.seeds(effort);
        let tries: Vec<(usize, u64)> =
            (0..loaded.len()).flat_map(|at| seeds.iter().map(move |seed| (at, *seed))).collect();
        let (count, found) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
        each(tries.len(), self.jobs, |index| {
            let is_late = |index| {
                found
                    .lock()
                    .expect("held for moments")
                    .keys()
                    .next()
                    .is_some_and(|first| *first < index)
            };
            if is_late(index) || self.is_over() {
                return false;
            }
            let (at, seed) = tries[index];
            let (cut, scenario) = &loaded[at];
            count.fetch_add(1, Ordering::Relaxed);
            if let Some(tried) = self.one(scenario, &cuts[*cut].scenario, seed) {
                found.lock().expect("held for moments").insert(index, tried);
                return false;
            }
            true
        });
        self.count += count.into_inner();
        let (index, tried) = found.into_inner().expect("held for moments").pop_first()?;
        let (at, seed) = tries[index];
        let cut = loaded[at].0;
        self.seed = seed;
        eprintln!(
            "{:6.1} s {:5} runs {:7} events {:3} steps, seed {seed}: {}",
            self.begun.elapsed().as_secs_f64(),
            self.count,
            thousands(tried.events as u64),
            tried.steps,
            cuts[cut].what
        );
        let scenario = cuts[cut].scenario.clone();
        Some((cut, Failing { scenario, seed, at: tried.at, of_storm: tried.of_storm }))
    }

    fn is_over(&self) -> bool {
        self.begun.elapsed() >= self.budget
    }
}

fn at_stake(run: &SeedRun) -> usize {
    run.fired.iter().filter(|fired| fired.at_stake.is_some()).count()
}

// ── The file ───────────────────────────────────────────────────────────────────────────────────────────────────────────

/// Reads the text as anybody will, and runs it: it must fail for the same reason. Returns the command that does so again.
fn confirm(out: &Path, text: &str, seed: u64, reason: &Reason) -> Result<String, Stop> {
    let scenario = Scenario::load(&out.display().to_string(), text, &[]).map_err(|problems| {
        Stop::bad_input(format!(
            "the shrunk scenario cannot be read again, which is a bug of the testbed:\n{problems}"
        ))
    })?;
    let job: Job = job(&Arc::new(scenario), None, seed, false);
    let run = run_once(&job).0;
    if !reason.is_of(&run) {
        return Err(Stop::bad_input(format!(
            "the shrunk scenario does not fail for the same reason ({reason}) once it is written, which is a bug of the testbed"
        )));
    }
    Ok(repro_command(&job.variant_run(), &run))
}

fn beside(out: &Path) -> PathBuf {
    let mut name = out.file_name().unwrap_or_default().to_os_string();
    name.push(".new");
    out.with_file_name(name)
}

/// Finds out before the work whether its result can be kept.
fn check_writable(out: &Path) -> Result<(), Stop> {
    let wrong = |error: std::io::Error| Stop::bad_input(format!("{}: {error}", out.display()));
    if out.is_dir() {
        return Err(Stop::bad_input(format!(
            "{}: is a directory; --out names a file",
            out.display()
        )));
    }
    if let Some(parent) = out.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent).map_err(wrong)?;
    }
    let probe = beside(out);
    let written = std::fs::write(&probe, b"x").map_err(wrong);
    // A full disk makes the file and takes nothing into it: it goes in either case.
    let removed = std::fs::remove_file(&probe).map_err(wrong);
    written.and(removed)
}

/// Writes the whole file, or none of it.
fn write_whole(out: &Path, text: &str) -> Result<(), Stop> {
    let half = beside(out);
    let write = || {
        let mut file = std::fs::File::create(&half)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&half, out)
    };
    write().map_err(|error: std::io::Error| {
        // What is left of a failed attempt says nothing to anybody; that it cannot be removed neither.
        let _ = std::fs::remove_file(&half);
        Stop::bad_input(format!("{}: {error}", out.display()))
    })
}
