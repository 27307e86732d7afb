//! `cargo sim explore`: new seeds until stopped, for a time, or to the end of a range. Seeds that reach something new are varied.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Format, Stop, files, keep, merge, run, summaries};
use crate::explore::corpus::{Corpus, Kept};
use crate::explore::groups::failures_of;
use crate::explore::rounds::{Rounds, Task};
use crate::explore::vary::vary;
use crate::explore::{Shard, Summary};
use crate::report::words_of;
use crate::run::{Job, run_once, run_twice};
use crate::runner::{Options, Progress, RunOne, run_until, wall_now};
use crate::scenario::{NO_VARIANT, Scenario, Seeds};
use crate::verdict::{SeedRun, VariantRun};

/// What is explored where nobody says: storms over clusters with much load and with little, over what is left of them, over producers,
/// and over consumer groups of either protocol, in turn.
const DEFAULT_PATHS: [&str; 6] = [
    "scenarios/chaos/swarm.toml",
    "scenarios/chaos/swarm-core.toml",
    "scenarios/chaos/swarm-sparse.toml",
    "scenarios/chaos/swarm-producers.toml",
    "scenarios/chaos/group-swarm.toml",
    "scenarios/chaos/group-swarm-consumer.toml",
];

/// Of each kind of failure, how many leave their files.
const KEPT_EACH: u64 = 10;

/// How often progress is told where no terminal shows a line that changes.
const TELL_EVERY: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
pub(super) struct ExploreArgs {
    /// Scenario files, or directories that hold them [default: swarm.toml, swarm-core.toml, swarm-sparse.toml, swarm-producers.toml, group-swarm.toml and group-swarm-consumer.toml of scenarios/chaos]
    paths: Vec<PathBuf>,
    /// Begins nothing more after so many minutes [default: until stopped by Ctrl-C]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    minutes: Option<u64>,
    /// Explores these seeds only, from nothing: A..=B [default: goes on behind those of the files and of earlier sessions]
    #[arg(long, value_parser = Seeds::parse_text)]
    seeds: Option<Seeds>,
    /// Begins at this seed [default: see --seeds]
    #[arg(long, conflicts_with = "seeds")]
    seed_from: Option<u64>,
    /// Explores the I-th of N parts of the seeds: I/N
    #[arg(long, default_value = "1/1")]
    shard: Shard,
    /// Runs this variant only; "-" is the file as it stands
    #[arg(long, allow_hyphen_values = true)]
    variant: Option<String>,
    /// Sets a value of the scenario: /workloads/writer/clients=4
    #[arg(long = "set", value_name = "/PTR=VALUE")]
    set: Vec<String>,
    /// How many variations a seed gets that reaches something new; 0 for none
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=32))]
    vary: u32,
    /// How many seeds run at once [default: the cores]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Where failing runs leave their files, and the exploration its summary and corpus
    #[arg(long, default_value = "target/sim-runs")]
    out: PathBuf,
    /// What is printed: text or json
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Explores.
pub(super) fn explore(args: &ExploreArgs) -> Result<u8, Stop> {
    let stop = Arc::new(AtomicBool::new(false));
    let mut explorer = Explorer::new(args)?;
    on_interrupt(&stop)?;
    explorer.explore(&stop)?;
    merge::show(&explorer.summary, args.format)?;
    Ok(explorer.summary.verdict().exit_code())
}

/// Ctrl-C ends it in good order; a second one at once.
fn on_interrupt(stop: &Arc<AtomicBool>) -> Result<(), Stop> {
    use signal_hook::{consts::SIGINT, flag};
    let at_once = flag::register_conditional_shutdown(SIGINT, 130, Arc::clone(stop));
    at_once
        .and_then(|_| flag::register(SIGINT, Arc::clone(stop)))
        .map(drop)
        .map_err(|error| Stop::bad_input(format!("Ctrl-C cannot be waited for: {error}")))
}

/// A variant of a scenario.
struct Lane {
    path: String,
    text: String,
    scenario: Arc<Scenario>,
    variant: Option<String>,
}

/// An exploration under way.
struct Explorer<'a> {
    args: &'a ExploreArgs,
    lanes: Vec<Lane>,
    rounds: Rounds,
    corpus: Corpus,
    summary: Summary,
}

impl<'a> Explorer<'a> {
    fn new(args: &'a ExploreArgs) -> Result<Self, Stop> {
        if args.format == Format::Junit {
            // Refused now, not after hours.
            return Err(Stop::bad_input(
                "an exploration has no single tests: --format is text or json",
            ));
        }
        let lanes = lanes_of(args)?;
        summaries::may_write(&args.out, &summaries::summary_name(args.shard))?;
        let (corpus, last) = match &args.seeds {
            Some(seeds) => (Corpus::new(first_of(seeds)), last_of(seeds)),
            None => (corpus_of(args, &lanes)?, u64::MAX),
        };
        let rounds = Rounds::new(lanes.len(), args.shard, (corpus.next_seed, last), args.vary);
        let summary = Summary::new("explore", args.shard);
        Ok(Self { args, lanes, rounds, corpus, summary })
    }

    fn explore(&mut self, stop: &AtomicBool) -> Result<(), Stop> {
        let begun = wall_now();
        let budget = self.args.minutes.map(|minutes| Duration::from_secs(minutes * 60));
        let meter = Meter::new(&self.corpus);
        loop {
            let left = budget.map(|budget| budget.saturating_sub(begun.elapsed()));
            if left == Some(Duration::ZERO) || stop.load(Ordering::Relaxed) {
                break;
            }
            let tasks = self.rounds.next_round();
            if tasks.is_empty() {
                break;
            }
            self.round(&tasks, left, stop, &meter)?;
        }
        meter.finish();
        Ok(())
    }

    /// Runs a round and takes it in, in the order of its runs.
    fn round(
        &mut self,
        tasks: &[Task],
        time_budget: Option<Duration>,
        stop: &AtomicBool,
        meter: &Meter,
    ) -> Result<(), Stop> {
        let jobs: Vec<(usize, Job, bool)> = tasks
            .iter()
            .filter_map(|task| Some((task.lane, self.job(task)?, task.varied.is_some())))
            .collect();
        let options = Options {
            jobs: self.args.jobs.map_or_else(run::cores, usize::from),
            until_failure: false,
            time_budget,
            check_determinism: false,
        };
        let results = run_until(jobs.len(), &options, &Jobs(&jobs), meter, stop);
        // A seed that was not begun is new still.
        let first_left = (0..jobs.len()).filter(|index| !results.contains_key(index));
        let seed_left = first_left.filter(|index| !jobs[*index].2).map(|index| jobs[index].1.seed);
        self.corpus.next_seed =
            seed_left.min().unwrap_or_else(|| self.rounds.next_seed()).max(self.corpus.next_seed);
        for (index, run) in results {
            let (lane, job, is_varied) = &jobs[index];
            self.take_in(*lane, job, *is_varied, &run)?;
        }
        self.leave()
    }

    /// The job of a task; `None` where a variation is no scenario.
    fn job(&self, task: &Task) -> Option<Job> {
        let lane = &self.lanes[task.lane];
        let scenario = match &task.varied {
            None => Arc::clone(&lane.scenario),
            Some(varied) => {
                let root = lane.scenario.root(lane.variant.as_deref());
                let more = vary(root, task.seed, &varied.settings, varied.number);
                let settings: Vec<String> = self.args.set.iter().cloned().chain(more).collect();
                Arc::new(Scenario::load(&lane.path, &lane.text, &settings).ok()?)
            }
        };
        Some(run::job(&scenario, lane.variant.clone(), task.seed, false))
    }

    fn take_in(
        &mut self,
        lane: usize,
        job: &Job,
        is_varied: bool,
        run: &SeedRun,
    ) -> Result<(), Stop> {
        let of = job.variant_run();
        let (_, kinds) = self.summary.add(&of, run, is_varied);
        let news = self.corpus.coverage.add(&run.reached, &run.marks);
        if news.is_worth_keeping() {
            let settings = job.scenario.settings[self.args.set.len()..].to_vec();
            let kept = Kept {
                path: of.path.clone(),
                variant: of.variant.clone(),
                seed: run.seed,
                settings,
                news,
            };
            self.corpus.keep(kept.clone());
            self.rounds.keep(lane, kept);
        }
        if kinds.iter().any(|kind| self.summary.count_of(kind) <= KEPT_EACH) {
            let directory = self.keep_run(&of, job, is_varied, run)?;
            for (kind, failure) in failures_of(&of, run) {
                self.summary.note_kept(&kind, &failure, &directory.display().to_string());
            }
        }
        Ok(())
    }

    /// Leaves the files of a failing run, as `run` does; a varied run's lie apart from those of its seed.
    fn keep_run(
        &self,
        of: &VariantRun,
        job: &Job,
        is_varied: bool,
        run: &SeedRun,
    ) -> Result<PathBuf, Stop> {
        let out = if is_varied {
            let hash = crate::scenario::draw::hash(&job.scenario.settings.join("\n"));
            self.args.out.join("varied").join(format!("{hash:016x}"))
        } else {
            self.args.out.clone()
        };
        keep::keep(&out, &job.scenario, of, run).map_err(Stop::bad_input)
    }

    /// Leaves the summary and the corpus: what was found is not lost with the process.
    fn leave(&self) -> Result<(), Stop> {
        summaries::keep_summary(&self.args.out, self.args.shard, &self.summary)?;
        let text = serde_json::to_string(&self.corpus).map_err(Stop::bad_input)?;
        summaries::write_whole(&corpus_path(self.args), &(text + "\n"))
    }
}

fn corpus_path(args: &ExploreArgs) -> PathBuf {
    args.out.join(summaries::summary_name(args.shard).replace("summary", "corpus"))
}

fn lanes_of(args: &ExploreArgs) -> Result<Vec<Lane>, Stop> {
    let default = DEFAULT_PATHS.map(PathBuf::from);
    let paths = if args.paths.is_empty() { &default[..] } else { &args.paths };
    let paths = files::find(paths)?;
    let scenarios = files::load(&paths, &args.set)?;
    let mut lanes = Vec::new();
    for (path, scenario) in paths.iter().zip(scenarios) {
        let text = files::read(path).map_err(Stop::bad_input)?;
        for variant in run::variants_of(&scenario) {
            let name = variant.as_deref().unwrap_or(NO_VARIANT);
            if args.variant.as_deref().is_none_or(|asked| asked == name) {
                let (path, text) = (path.display().to_string(), text.clone());
                lanes.push(Lane { path, text, scenario: Arc::clone(&scenario), variant });
            }
        }
    }
    match (&args.variant, lanes.is_empty()) {
        (Some(asked), true) => Err(Stop::bad_input(format!("no scenario has a variant `{asked}`"))),
        _ => Ok(lanes),
    }
}

fn first_of(seeds: &Seeds) -> u64 {
    seeds.iter(Some(1)).next().unwrap_or(1)
}

fn last_of(seeds: &Seeds) -> u64 {
    match seeds {
        Seeds::Range { last, .. } => *last,
        Seeds::List(list) => list.iter().copied().max().unwrap_or(1),
    }
}

/// What earlier sessions with this out directory know, or nothing yet; it begins behind the seeds that the files name, which
/// `cargo sim run --full` is for.
fn corpus_of(args: &ExploreArgs, lanes: &[Lane]) -> Result<Corpus, Stop> {
    let path = corpus_path(args);
    let behind = lanes.iter().map(|lane| last_of(&lane.scenario.seeds)).max().unwrap_or(0);
    let new = Corpus::new(args.seed_from.unwrap_or(behind.saturating_add(1)));
    if !path.exists() {
        return Ok(new);
    }
    let known = files::read(&path).map_err(Stop::bad_input).and_then(|text| {
        Corpus::from_json(&text).map_err(|reason| {
            Stop::bad_input(format!(
                "{}: {reason}; without the file the exploration begins anew",
                path.display()
            ))
        })
    })?;
    eprintln!(
        "goes on at seed {}: {} knows {} states",
        args.seed_from.unwrap_or(known.next_seed.max(new.next_seed)),
        path.display(),
        known.coverage.states.len()
    );
    let mut known = known;
    known.next_seed = args.seed_from.unwrap_or(known.next_seed.max(new.next_seed));
    Ok(known)
}

struct Jobs<'a>(&'a [(usize, Job, bool)]);

impl RunOne for Jobs<'_> {
    fn run_one(&self, index: usize, twice: bool) -> SeedRun {
        let job = &self.0[index].1;
        let mut run = if twice { run_twice(job) } else { run_once(job).0 };
        if !run.is_red() && run.nondeterminism.is_none() {
            run.events = Vec::new();
            run.stats = Default::default();
            run.history = Vec::new();
        }
        run
    }
}

/// What is wrong with a failing run, in a line.
fn first_words(run: &SeedRun) -> String {
    match (&run.nondeterminism, run.violations.first(), run.missed().first()) {
        (Some(_), _, _) => "two runs of it differ".into(),
        (None, Some(violation), _) => violation.to_string(),
        (None, None, Some(index)) => {
            format!("not as expected: {}", words_of(&run.plan.expect[*index]))
        }
        (None, None, None) => "nothing is wrong".into(),
    }
}

/// Progress on standard error: a line that changes where a person watches, one now and then where nobody does.
struct Meter {
    bar: ProgressBar,
    begun: Instant,
    failed: AtomicU64,
    new_states: AtomicU64,
    known: Mutex<BTreeSet<u32>>,
    told: Mutex<Instant>,
}

impl Meter {
    fn new(corpus: &Corpus) -> Self {
        let is_watched = std::io::stderr().is_terminal();
        let target =
            if is_watched { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        let style =
            ProgressStyle::with_template("{spinner} {pos} runs, {per_sec}, {msg} [{elapsed}]");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.enable_steady_tick(Duration::from_millis(500));
        Self {
            bar,
            begun: wall_now(),
            failed: AtomicU64::new(0),
            new_states: AtomicU64::new(0),
            known: Mutex::new(corpus.coverage.states.keys().copied().collect()),
            told: Mutex::new(wall_now()),
        }
    }

    /// Says something in between.
    fn tell(&self, line: &str) {
        self.bar.suspend(|| eprintln!("✘ {line}"));
    }

    fn words(&self) -> String {
        let (failed, new) =
            (self.failed.load(Ordering::Relaxed), self.new_states.load(Ordering::Relaxed));
        format!("{failed} failed, {new} new states")
    }

    fn line(&self) -> String {
        let (runs, took) = (self.bar.position(), self.begun.elapsed().as_secs_f64());
        let pace = f64::from(u32::try_from(runs).unwrap_or(u32::MAX)) / took.max(1e-9);
        format!("{runs} runs in {took:.0} s, {pace:.2} a second, {}", self.words())
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
        eprintln!("{}", self.line());
    }
}

impl Progress for Meter {
    fn ended(&self, _: usize, run: &SeedRun) {
        if run.is_red() || run.nondeterminism.is_some() {
            // Told at once; where its files are stands in the summary.
            self.failed.fetch_add(1, Ordering::Relaxed);
            self.tell(&format!("seed {}: {}", run.seed, first_words(run)));
        }
        let mut known = self.known.lock().expect("nothing panics with it locked");
        let new = run.reached.states.iter().filter(|state| known.insert(**state)).count();
        drop(known);
        self.new_states.fetch_add(new as u64, Ordering::Relaxed);
        self.bar.set_message(self.words());
        self.bar.inc(1);
        let mut told = self.told.lock().expect("nothing panics with it locked");
        if self.bar.is_hidden() && told.elapsed() >= TELL_EVERY {
            *told = wall_now();
            eprintln!("{}", self.line());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    /// A scenario that takes a moment.
    const SMALL: &str = r#"
        claim = "Records arrive."
        run-for = "3s"
        [cluster]
        brokers = { one-of = [1, 1, 3] }
        [topics.orders]
        [workloads.writer]
        kind = "producer"
        topic = "orders"
        rate-per-s = { one-of = [10, 30] }
        [[expect]]
        that = "acked-lost"
        is = 0
    "#;

    fn parse(arguments: &[&str]) -> Result<ExploreArgs, String> {
        let all = ["sim", "explore"].iter().chain(arguments);
        let command = Cli::try_parse_from(all).map_err(|error| error.to_string())?.command;
        let Command::Explore(args) = command else { panic!("{command:?}") };
        Ok(args)
    }

    fn refused(arguments: &[&str]) -> String {
        match parse(arguments).map(|args| Explorer::new(&args).map(drop)) {
            Err(message) => message,
            Ok(Err(stop)) => {
                assert_eq!(stop.exit_code, 2);
                stop.message
            }
            Ok(Ok(())) => panic!("taken: {arguments:?}"),
        }
    }

    fn write(dir: &Path) -> String {
        let path = dir.join("small.toml");
        std::fs::write(&path, SMALL).unwrap();
        path.display().to_string()
    }

    fn explored(arguments: &[&str]) -> (Summary, Corpus) {
        let args = parse(arguments).unwrap();
        let mut explorer = Explorer::new(&args).unwrap();
        explorer.explore(&AtomicBool::new(false)).unwrap();
        (explorer.summary, explorer.corpus)
    }

    #[test]
    fn bad_input_is_refused_before_anything_runs() {
        let dir = tempfile::tempdir().unwrap();
        let path = write(dir.path());
        assert!(refused(&["--shard", "3/2"]).contains("there is no shard 3 of 2"));
        assert!(refused(&["--minutes", "0"]).contains("0 is not in 1.."));
        assert!(refused(&["--jobs", "0"]).contains("0 is not in 1.."));
        assert!(refused(&["--seeds", "9..=3"]).contains("is empty"));
        assert!(
            refused(&[&path, "--variant", "none"]).contains("no scenario has a variant `none`")
        );
        assert!(refused(&[&path, "--format", "junit"]).contains("text or json"));
        assert!(refused(&[&path, "--set", "/cluster/brokers=x"]).contains("--set"));
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let below = file.join("out").display().to_string();
        let message = refused(&[&path, "--out", &below]);
        assert!(message.contains("nothing can be written there"), "{message}");
        let corpus = dir.path().join("corpus.json");
        std::fs::write(&corpus, "{}").unwrap();
        let out = dir.path().display().to_string();
        let message = refused(&[&path, "--out", &out]);
        assert!(message.contains("begins anew"), "{message}");
        assert_eq!(std::fs::read_to_string(corpus).unwrap(), "{}", "it is left as it was");
    }

    #[test]
    fn two_shards_add_up_to_the_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = write(dir.path());
        let part = |shard: &str| {
            let out = dir.path().join(shard.replace('/', "-")).display().to_string();
            let seeds = ["--seeds", "1..=8", "--vary", "0"];
            explored(&[&[path.as_str(), "--shard", shard, "--out", &out][..], &seeds].concat()).0
        };
        let (whole, mut sum) = (part("1/1"), part("1/2"));
        sum.merge(part("2/2")).unwrap();
        assert_eq!(sum, whole);
        assert_eq!(whole.scenarios[0].seeds.len(), 8);
        assert!(whole.coverage.states.len() > 2, "{:?}", whole.coverage.states);
    }

    #[test]
    fn the_same_seeds_explore_the_same_with_one_core_and_with_two() {
        let dir = tempfile::tempdir().unwrap();
        let path = write(dir.path());
        let run = |jobs: &str| {
            let out = dir.path().join(jobs).display().to_string();
            explored(&[&path, "--seeds", "1..=6", "--jobs", jobs, "--out", &out])
        };
        let (one, two) = (run("1"), run("2"));
        assert_eq!(one, two);
        assert!(one.0.scenarios[0].varied > 0, "what is new is varied");
    }

    #[test]
    fn a_kept_variation_runs_again_by_its_command_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = write(dir.path());
        let lane = {
            let out = dir.path().join("a").display().to_string();
            let args = parse(&[&path, "--seeds", "1..=4", "--out", &out]).unwrap();
            let mut explorer = Explorer::new(&args).unwrap();
            let task = Task {
                lane: 0,
                seed: 3,
                varied: Some(crate::explore::rounds::Varied { settings: Vec::new(), number: 1 }),
            };
            explorer.rounds.next_round();
            explorer.job(&task).unwrap()
        };
        let varied = run_once(&lane).0;
        let mut of = lane.variant_run();
        of.seeds = vec![varied.clone()];
        let command = crate::report::repro_command(&of, &varied);
        let sets: Vec<String> = command
            .split(" --set '")
            .skip(1)
            .map(|rest| rest.trim_end_matches('\'').to_owned())
            .collect();
        assert!(!sets.is_empty(), "{command}");
        let again = files::load(&[PathBuf::from(&path)], &sets).unwrap().remove(0);
        let again = run_once(&run::job(&again, None, 3, false)).0;
        assert_eq!(
            (again.trace_hash, again.trace_entries),
            (varied.trace_hash, varied.trace_entries)
        );
        assert!(again.trace_entries > 0);
    }

    #[test]
    fn a_session_goes_on_where_the_last_one_ended() {
        let dir = tempfile::tempdir().unwrap();
        let path = write(dir.path());
        let out = dir.path().join("out").display().to_string();
        let args = parse(&[&path, "--out", &out, "--vary", "0"]).unwrap();
        let mut explorer = Explorer::new(&args).unwrap();
        assert_eq!(explorer.corpus.next_seed, 11, "behind the ten that a file has by default");
        let tasks: Vec<Task> = (11..=13).map(|seed| Task { lane: 0, seed, varied: None }).collect();
        explorer.corpus.next_seed = 14;
        let meter = Meter::new(&explorer.corpus);
        explorer.round(&tasks, None, &AtomicBool::new(false), &meter).unwrap();
        let next = Explorer::new(&args).unwrap();
        assert_eq!(next.corpus.next_seed, 14);
        assert_eq!(next.corpus, explorer.corpus);
        let args = parse(&[&path, "--out", &out, "--seed-from", "12"]).unwrap();
        assert_eq!(Explorer::new(&args).unwrap().corpus.next_seed, 12);
    }

    #[test]
    fn whoever_stops_it_gets_the_summary_of_what_has_run() {
        let dir = tempfile::tempdir().unwrap();
        let path = write(dir.path());
        let out = dir.path().join("out").display().to_string();
        let args = parse(&[&path, "--out", &out]).unwrap();
        let mut explorer = Explorer::new(&args).unwrap();
        explorer.explore(&AtomicBool::new(true)).unwrap();
        assert_eq!((explorer.summary.runs(), explorer.summary.verdict().exit_code()), (0, 6));
    }
}
