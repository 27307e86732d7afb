//! The command line: `cargo real run FILE…`.
//!
//! Standard output holds the verdicts, in the same form as `cargo sim run`'s; standard error tells how it goes.

#[path = "../cli/files.rs"]
mod files;
#[path = "../cli/keep.rs"]
mod keep;
#[path = "../cli/stop.rs"]
mod stop;

use std::path::{Path, PathBuf};
use std::process::Command as Process;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};

use crate::report::{json, junit, text};
use crate::run::{Job, refuse, run_once};
use crate::runner::{Options, Progress, RunOne, run_all};
use crate::scenario::error::Problems;
use crate::scenario::{NO_VARIANT, Scenario, Seeds};
use crate::verdict::{SeedRun, VariantRun, Verdict};
use stop::{EXIT_BAD_INPUT, Format, Stop, print};

/// Runs scenarios on real processes of the real binary.
#[derive(Debug, Parser)]
#[command(name = "cargo real", bin_name = "cargo real", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs scenarios: files, or directories of them. A run takes the time that its file says, and a little more
    Run(RunArgs),
    /// Says of which scenarios and variants a real run can be made, and why not of the others
    Check(CheckArgs),
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// Scenario files, or directories that hold them [default: scenarios]
    paths: Vec<PathBuf>,
}

#[derive(Debug, Args)]
struct RunArgs {
    /// Scenario files, or directories that hold them
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Draws with this seed what the file draws [default: the first one of each file]
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Runs with each of these seeds: A..=B
    #[arg(long, value_parser = Seeds::parse_text)]
    seeds: Option<Seeds>,
    /// Runs this variant [default: the file as it stands]
    #[arg(long)]
    variant: Option<String>,
    /// Sets a value of the scenario: /run-for=30s
    #[arg(long = "set", value_name = "/PTR=VALUE")]
    set: Vec<String>,
    /// How many runs at once, each with processes of its own
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Begins nothing more after a run that fails
    #[arg(long)]
    until_failure: bool,
    /// Where failing runs leave their files
    #[arg(long, default_value = "target/real-runs")]
    out: PathBuf,
    /// Leaves the files of every run, not only of failing ones
    #[arg(long)]
    keep: bool,
    /// The binary [default: built now, beside this program]
    #[arg(long)]
    program: Option<PathBuf>,
    /// What is printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Prints the last line of each scenario only
    #[arg(short, long)]
    quiet: bool,
}

/// Does what the command line says; what the process exits with.
#[must_use]
pub fn main() -> u8 {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors.
            let exit_code = if error.use_stderr() { EXIT_BAD_INPUT } else { 0 };
            let _ = error.print();
            return exit_code;
        }
    };
    let done = match cli.command {
        Command::Run(args) => run(&args),
        Command::Check(args) => check(&args),
    };
    match done.and_then(|exit_code| stop::printed().map(|()| exit_code)) {
        Ok(exit_code) => exit_code,
        Err(stop) => {
            eprintln!("{}", stop.message);
            stop.exit_code
        }
    }
}

fn run(args: &RunArgs) -> Result<u8, Stop> {
    let scenarios = files::load(&files::find(&args.paths)?, &args.set)?;
    let jobs = jobs_of(args, &scenarios)?;
    refuse_all(&jobs)?;
    let program = program(args)?;
    std::fs::create_dir_all(&args.out)
        .map_err(|error| Stop::bad_input(format!("{}: {error}", args.out.display())))?;
    let out = std::fs::canonicalize(&args.out).map_err(Stop::bad_input)?;
    let options = Options {
        jobs: args.jobs,
        until_failure: args.until_failure,
        time_budget: None,
        check_determinism: false,
    };
    let runner = Runner { jobs: &jobs, program: &program, out: &out };
    let mut results = run_all(jobs.len(), &options, &runner, &runner);
    let mut verdict = Verdict::Passed;
    let mut runs = Vec::new();
    for (index, job) in jobs.iter().enumerate() {
        let mut run = job.variant_run();
        run.seeds.extend(results.remove(&index));
        verdict = verdict.max(run.verdict());
        leave(args, job, &run, &out)?;
        if args.format == Format::Text {
            print(&if args.quiet {
                format!("{}\n", text::conclusion(&run))
            } else {
                text::variant(&run) + "\n"
            });
        }
        runs.push(run);
    }
    match args.format {
        Format::Text if !args.quiet => print(&text::summary(&runs)),
        Format::Text => {}
        Format::Json => {
            let text = serde_json::to_string_pretty(&json::all(&runs)).map_err(Stop::bad_input)?;
            print(&(text + "\n"));
        }
        Format::Junit => print(&junit::all(&runs)),
    }
    Ok(verdict.exit_code())
}

fn jobs_of(args: &RunArgs, scenarios: &[Arc<Scenario>]) -> Result<Vec<Job>, Stop> {
    let variant = args.variant.clone().filter(|name| name != NO_VARIANT);
    let mut jobs = Vec::new();
    for scenario in scenarios {
        if variant.as_ref().is_some_and(|asked| !scenario.variants.contains(asked)) {
            continue;
        }
        let seeds: Vec<u64> = match (args.seed, &args.seeds) {
            (Some(seed), _) => vec![seed],
            (None, Some(seeds)) => seeds.iter(None).collect(),
            (None, None) => scenario.seeds.iter(Some(1)).collect(),
        };
        jobs.extend(seeds.into_iter().map(|seed| Job {
            scenario: Arc::clone(scenario),
            variant: variant.clone(),
            seed,
            is_recording: false,
            keeps_all: args.keep,
        }));
    }
    match (&variant, jobs.is_empty()) {
        (Some(asked), true) => Err(Stop::bad_input(format!("no scenario has a variant `{asked}`"))),
        _ => Ok(jobs),
    }
}

/// Errors: everything that real processes cannot give, of all jobs.
fn refuse_all(jobs: &[Job]) -> Result<(), Stop> {
    let of = |job: &Job| refuse(&job.scenario, job.variant.as_deref(), job.seed);
    let mut found: Vec<_> = jobs.iter().flat_map(of).collect();
    found.sort();
    found.dedup();
    if found.is_empty() { Ok(()) } else { Err(Stop::bad_input(Problems(found))) }
}

/// The binary whose processes the nodes are, built where nobody names one: an older one would be judged for the code of today.
fn program(args: &RunArgs) -> Result<PathBuf, Stop> {
    let program = match &args.program {
        Some(program) => program.clone(),
        None => {
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let mut build = Process::new(cargo);
            // Both packages, so that features are those with which this program was built, and nothing is built twice.
            build.args(["build", "--quiet", "-p", "ottla", "-p", "sim", "--bin", "ottla"]);
            if !cfg!(debug_assertions) {
                build.arg("--release");
            }
            let built = build.status().map_err(Stop::bad_input)?;
            if !built.success() {
                return Err(Stop::bad_input("the binary cannot be built"));
            }
            let own = std::env::current_exe().map_err(Stop::bad_input)?;
            own.with_file_name("ottla")
        }
    };
    std::fs::canonicalize(&program)
        .map_err(|error| Stop::bad_input(format!("{}: {error}", program.display())))
}

/// Runs the jobs, and tells how each ended.
struct Runner<'a> {
    jobs: &'a [Job],
    program: &'a Path,
    out: &'a Path,
}

impl RunOne for Runner<'_> {
    fn run_one(&self, index: usize, _: bool) -> SeedRun {
        let job = &self.jobs[index];
        let dir = nodes_dir(self.out, job);
        // What an earlier run left. What cannot be removed is told by the start that finds it.
        let _ = std::fs::remove_dir_all(&dir);
        run_once(job, self.program, &dir)
    }
}

impl Progress for Runner<'_> {
    fn ended(&self, index: usize, run: &SeedRun) {
        let how = if run.is_red() { "FAILED" } else { "done" };
        eprintln!("{}: {how}", self.jobs[index].label());
    }
}

/// Where the nodes of a run keep their files while it goes on.
fn nodes_dir(out: &Path, job: &Job) -> PathBuf {
    let mut dir = out.join(&job.scenario.name);
    if let Some(variant) = &job.variant {
        dir.push(variant);
    }
    dir.join(format!("{}.nodes", job.seed))
}

/// Keeps the files of a run that failed or is to be kept, those of its nodes in `nodes/`; removes those of others.
fn leave(args: &RunArgs, job: &Job, run: &VariantRun, out: &Path) -> Result<(), Stop> {
    let nodes = nodes_dir(out, job);
    let Some(seed) = run.seeds.first() else { return Ok(()) };
    if run.verdict() == Verdict::Passed && !args.keep {
        // A passed run's files are of no use to anybody; that they cannot be removed does not make it another.
        let _ = std::fs::remove_dir_all(&nodes);
        return Ok(());
    }
    let kept = keep::keep(out, &job.scenario, run, seed).map_err(Stop::bad_input)?;
    let moved = std::fs::rename(&nodes, kept.join("nodes"));
    moved.map_err(|error| Stop::bad_input(format!("{}: {error}", nodes.display())))?;
    eprintln!("{}: its files are in {}", job.label(), kept.display());
    Ok(())
}

fn check(args: &CheckArgs) -> Result<u8, Stop> {
    let scenarios = files::load(&files::find(&args.paths)?, &[])?;
    let mut out = String::new();
    for scenario in scenarios {
        let seed = scenario.seeds.iter(Some(1)).next().unwrap_or(1);
        let variants = scenario.variants.iter().cloned().map(Some);
        for variant in std::iter::once(None).chain(variants) {
            let name = variant.as_deref().map_or_else(String::new, |name| format!(" [{name}]"));
            let refused = refuse(&scenario, variant.as_deref(), seed);
            let sign = if refused.is_empty() { "✔" } else { "✘" };
            out.push_str(&format!("{sign} {}{name}\n", scenario.path));
            refused.iter().for_each(|problem| out.push_str(&format!("    {problem}\n")));
        }
    }
    print(&out);
    Ok(0)
}
