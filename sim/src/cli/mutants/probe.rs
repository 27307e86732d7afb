//! Seeds in a process of their own: `probe` runs them and says of each what it found; [`ask`] starts such a process and listens.
//!
//! A planted bug may do anything: end the process, or never end. So it is never run in the process that keeps the results.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};

use super::super::bench::cpu_time;
use super::super::run::{cores, job};
use super::super::{ProbeArgs, Stop, files, print};
use crate::mutants::REACHED;
use crate::mutants::result::{Probed, Red};
use crate::planted::PLANTED;
use crate::report::words_of;
use crate::run::{Job, run_once};
use crate::runner::{Options, Progress, RunOne, run_all};
use crate::scenario::NO_VARIANT;
use crate::verdict::SeedRun;

/// A seed that says nothing for so long has gone astray: the longest of the clean tree takes a few seconds.
const SEED_WITHIN: Duration = Duration::from_secs(180);

/// Runs seeds, a line of JSON each; begins none after the first red one.
pub(in crate::cli) fn probe(args: &ProbeArgs) -> Result<u8, Stop> {
    let scenarios = files::load(std::slice::from_ref(&args.path), &[])?;
    let scenario = &scenarios[0];
    let variant = args.variant.clone().filter(|name| name != NO_VARIANT);
    if let Some(name) = variant.as_ref().filter(|name| !scenario.variants.contains(name)) {
        return Err(Stop::bad_input(format!("{}: no variant `{name}`", args.path.display())));
    }
    let seeds = args.seeds.iter(None);
    let jobs: Vec<Job> = seeds.map(|seed| job(scenario, variant.clone(), seed, false)).collect();
    let options = Options {
        jobs: args.jobs.unwrap_or_else(cores),
        until_failure: true,
        time_budget: None,
        check_determinism: false,
    };
    run_all(jobs.len(), &options, &Seed(&jobs), &Tell);
    Ok(0)
}

struct Seed<'a>(&'a [Job]);

impl RunOne for Seed<'_> {
    fn run_one(&self, index: usize, _: bool) -> SeedRun {
        let mut run = run_once(&self.0[index]).0;
        (run.events, run.history) = (Vec::new(), Vec::new());
        run
    }
}

struct Tell;

impl Progress for Tell {
    fn ended(&self, _: usize, run: &SeedRun) {
        let cpu_ms = cpu_time().map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(0));
        let probed = Probed {
            seed: run.seed,
            red: red_of(run),
            reached: run.marks.contains(&REACHED),
            trace: run.trace_hash.clone(),
            cpu_ms,
        };
        if let Ok(line) = serde_json::to_string(&probed) {
            print(&(line + "\n"));
        }
    }
}

/// Why a seed is red: the violation that came first in simulated time, or the first expectation that it missed.
fn red_of(run: &SeedRun) -> Option<Red> {
    if let Some(first) = run.violations.iter().min_by_key(|violation| violation.at) {
        return Some(Red { check: first.check.to_owned(), what: first.to_string() });
    }
    let missed = run.missed();
    let expectation = &run.plan.expect[*missed.first()?];
    let that = words_of(expectation);
    let what = format!("expected {that} {}", expectation.is);
    Some(Red { check: format!("expect {that}"), what })
}

/// What is asked of a process.
#[derive(Clone, Debug)]
pub(super) struct Question<'a> {
    pub(super) binary: &'a Path,
    /// Where the scenario's path begins.
    pub(super) root: &'a Path,
    /// `None`: no bug.
    pub(super) planted: Option<&'a str>,
    pub(super) scenario: &'a str,
    pub(super) variant: Option<&'a str>,
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) jobs: usize,
}

/// What a process said.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    /// In the order of the seeds.
    pub(super) seeds: Vec<Probed>,
    /// It ended, or was ended, with seeds left.
    pub(super) died: Option<String>,
}

impl Answer {
    pub(super) fn first_red(&self) -> Option<&Probed> {
        self.seeds.iter().find(|probed| probed.red.is_some())
    }

    pub(super) fn cpu_ms(&self) -> u64 {
        self.seeds.iter().map(|probed| probed.cpu_ms).max().unwrap_or(0)
    }
}

/// Has a process run seeds `first..=last` until one is red.
///
/// Errors: it cannot be started, or does not take the question.
pub(super) fn ask(question: &Question<'_>) -> Result<Answer, Stop> {
    let mut command = Command::new(question.binary);
    command.current_dir(question.root).env_remove(PLANTED);
    if let Some(name) = question.planted {
        command.env(PLANTED, name);
    }
    command.args(["probe", question.scenario, "--variant"]);
    command.arg(question.variant.unwrap_or(NO_VARIANT));
    command.args(["--seeds", &format!("{}..={}", question.first, question.last)]);
    command.args(["--jobs", &question.jobs.to_string()]);
    let log = log_path(question.root);
    let errors = std::fs::File::create(&log);
    let errors = errors.map_err(|error| Stop::bad_input(format!("{}: {error}", log.display())))?;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors);
    let mut child = command.spawn().map_err(|error| {
        Stop::bad_input(format!("{} cannot be started: {error}", question.binary.display()))
    })?;
    let mut answer = listen(&mut child);
    let status = child.wait().map_err(Stop::bad_input)?;
    answer.seeds.sort_by_key(|probed| probed.seed);
    if status.code() == Some(i32::from(super::super::stop::EXIT_BAD_INPUT)) {
        let why = std::fs::read_to_string(&log).unwrap_or_default();
        return Err(Stop::bad_input(format!("{}: {}", question.scenario, why.trim())));
    }
    // Whoever ends the search ends its processes too: that is no bug's doing.
    if let Some(SIGINT | SIGTERM) = status.signal() {
        return Err(Stop::bad_input("the search was interrupted; the same command goes on"));
    }
    let wanted = question.last - question.first + 1;
    let is_whole = answer.seeds.len() as u64 == wanted || answer.first_red().is_some();
    if !is_whole && answer.died.is_none() {
        answer.died = Some(format!("{status}, in {}", question.scenario));
    }
    Ok(answer)
}

/// Where the process's standard error goes: beside its tree.
fn log_path(root: &Path) -> PathBuf {
    root.with_file_name("probe.log")
}

/// Reads what the process says of its seeds; ends it where it falls silent.
fn listen(child: &mut Child) -> Answer {
    let mut answer = Answer::default();
    let Some(stdout) = child.stdout.take() else { return answer };
    let (sender, lines) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        loop {
            match lines.recv_timeout(SEED_WITHIN) {
                Ok(line) => answer.seeds.extend(serde_json::from_str::<Probed>(&line).ok()),
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    let seconds = SEED_WITHIN.as_secs();
                    answer.died = Some(format!("a seed did not end within {seconds} s"));
                    // It may have ended by itself in this moment.
                    let _ = child.kill();
                    return;
                }
            }
        }
    });
    answer
}
