//! The command line: `cargo sim …`.
//!
//! Standard output holds what is asked for, the same bytes for the same seeds; progress and timings go to standard error.

mod bench;
mod check;
mod explain;
mod explore;
mod files;
mod keep;
mod merge;
mod mutants;
mod progress;
mod replay;
mod report;
mod repro;
mod reseed;
mod run;
mod shrink;
mod state;
mod stop;
mod summaries;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::explore::Shard;
use crate::scenario::Seeds;
use crate::scenario::duration::Span;
use stop::{EXIT_BAD_INPUT, Format, Stop, print};

/// The testbed of ottla: runs scenarios over a simulated world, from a seed.
#[derive(Debug, Parser)]
#[command(name = "cargo sim", bin_name = "cargo sim", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs scenarios: files, or directories of them
    Run(RunArgs),
    /// Runs new seeds until stopped or for a time: what they reach, and how they fail
    Explore(explore::ExploreArgs),
    /// Adds up the summaries that shards have left in their out directories
    Merge(merge::MergeArgs),
    /// Lists the scenarios with their claims
    List(Paths),
    /// Checks scenario files without running them
    Check(Paths),
    /// Prints the JSON Schema of scenario files, for editors
    Schema,
    /// Explains a word: an action, an event, an expectation, an invariant, an error code, a key
    Explain(ExplainArgs),
    /// Runs a kept repro.json or report.json again
    Replay(ReplayArgs),
    /// Finds the smallest scenario that fails for the same reason, and writes it as TOML
    Shrink(shrink::ShrinkArgs),
    /// Rewrites reports/ from the first two seeds of each scenario
    Report(ReportArgs),
    /// Measures how much simulated time a second of CPU buys
    Bench(BenchArgs),
    /// Plants bugs in a copy of the tree and measures how soon each is found
    Mutants(MutantsArgs),
    /// Runs seeds of one scenario, a line of JSON each: what `mutants` asks of its copies
    #[command(hide = true)]
    Probe(ProbeArgs),
}

#[derive(Debug, Args)]
struct Paths {
    /// Scenario files, or directories that hold them [default: scenarios]
    paths: Vec<PathBuf>,
}

#[derive(Debug, Args)]
struct RunArgs {
    #[command(flatten)]
    paths: Paths,
    /// Runs this seed only
    #[arg(long, conflicts_with_all = ["seeds", "full"])]
    seed: Option<u64>,
    /// Runs these seeds: A..=B
    #[arg(long, value_parser = Seeds::parse_text, conflicts_with = "full")]
    seeds: Option<Seeds>,
    /// Runs all seeds of each file, not only the first ten
    #[arg(long)]
    full: bool,
    /// Runs the I-th of N parts of the seeds, and leaves a summary for `merge`: I/N
    #[arg(long)]
    shard: Option<Shard>,
    /// Runs this variant only; "-" is the file as it stands
    #[arg(long, allow_hyphen_values = true)]
    variant: Option<String>,
    /// Sets a value of the scenario: /workloads/writer/clients=4
    #[arg(long = "set", value_name = "/PTR=VALUE")]
    set: Vec<String>,
    /// How many seeds run at once [default: the cores]
    #[arg(long, value_parser = parse_jobs)]
    jobs: Option<usize>,
    /// Begins nothing more after a seed that fails
    #[arg(long)]
    until_failure: bool,
    /// Begins nothing more after this long: 60s
    #[arg(long, value_parser = parse_duration)]
    time_budget: Option<Duration>,
    /// Where failing runs leave their files
    #[arg(long, default_value = "target/sim-runs")]
    out: PathBuf,
    /// Leaves the files of every run, not only of failing ones
    #[arg(long)]
    keep: bool,
    /// Runs each seed twice and compares the traces
    #[arg(long)]
    check_determinism: bool,
    /// What is printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Prints the last line of each scenario only
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Debug, Args)]
struct ExplainArgs {
    /// The word; without one, all of them
    name: Option<String>,
}

#[derive(Debug, Args)]
struct ReplayArgs {
    /// A repro.json, or the report.json beside one
    file: PathBuf,
    #[command(flatten)]
    reseed: reseed::ReseedArgs,
    /// Runs up to this time and prints what --state names was then
    #[arg(long, value_name = "TIME", value_parser = parse_duration, requires = "state", conflicts_with_all = ["reseed_from", "inevitable"])]
    until: Option<Duration>,
    /// Whose state: `broker 2`, `controller 1`, `writer/0`, `leader(orders-0)`
    #[arg(long, value_name = "NODE", requires = "until")]
    state: Option<String>,
}

#[derive(Debug, Args)]
struct ReportArgs {
    #[command(flatten)]
    paths: Paths,
    /// Writes nothing; fails where reports/ is stale
    #[arg(long)]
    check: bool,
    /// Where the reports are
    #[arg(long, default_value = "reports")]
    dir: PathBuf,
    /// How many seeds run at once [default: the cores]
    #[arg(long, value_parser = parse_jobs)]
    jobs: Option<usize>,
}

#[derive(Debug, Args)]
struct BenchArgs {
    /// Measures this scenario file [default: a cluster at rest, and the same in a storm of faults]
    scenario: Option<PathBuf>,
    /// How many seeds, one after another
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    seeds: u32,
    /// Sets a value of the scenario: /run-for=1h
    #[arg(long = "set", value_name = "/PTR=VALUE")]
    set: Vec<String>,
}

#[derive(Debug, Args)]
struct MutantsArgs {
    /// Only these mutants: names, or rows of the list of bugs
    #[arg(long, num_args = 1.., value_name = "NAME")]
    only: Vec<String>,
    /// How many storm seeds each is given, from 1 on
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// How many seeds of each scenario, from 1 on
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    scenario_seeds: u64,
    /// Lists the mutants
    #[arg(long, conflicts_with = "check")]
    list: bool,
    /// Checks only that all patches are well-formed and apply
    #[arg(long)]
    check: bool,
    /// Begins anew: forgets what was measured on this very tree before
    #[arg(long)]
    fresh: bool,
    /// Begins nothing more after this long: 60m. The next run goes on
    #[arg(long, value_parser = parse_duration)]
    time_budget: Option<Duration>,
    /// How many seeds run at once [default: the cores]
    #[arg(long, value_parser = parse_jobs)]
    jobs: Option<usize>,
}

#[derive(Debug, Args)]
struct ProbeArgs {
    /// A scenario file
    path: PathBuf,
    /// One of its variants
    #[arg(long, allow_hyphen_values = true)]
    variant: Option<String>,
    /// A..=B
    #[arg(long, value_parser = Seeds::parse_text)]
    seeds: Seeds,
    /// How many seeds run at once [default: the cores]
    #[arg(long, value_parser = parse_jobs)]
    jobs: Option<usize>,
}

/// How many seeds run at once: at least one.
fn parse_jobs(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("at least one seed runs at once".into()),
        Ok(jobs) => Ok(jobs),
        Err(error) => Err(error.to_string()),
    }
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    Span::parse(text).map(Span::as_duration)
}

/// A bug that is asked for and not there is no green run.
fn can_be_planted(command: &Command) -> Result<(), Stop> {
    match command {
        Command::Merge(_)
        | Command::List(_)
        | Command::Check(_)
        | Command::Schema
        | Command::Explain(_)
        | Command::Mutants(_) => Ok(()),
        Command::Run(_)
        | Command::Explore(_)
        | Command::Replay(_)
        | Command::Shrink(_)
        | Command::Report(_)
        | Command::Bench(_)
        | Command::Probe(_) => crate::planted::planted().map(|_| ()).map_err(Stop::bad_input),
    }
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
    let done = can_be_planted(&cli.command).and_then(|()| match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Explore(args) => explore::explore(&args),
        Command::Merge(args) => merge::merge(&args),
        Command::List(paths) => check::list(&paths),
        Command::Check(paths) => check::check(&paths),
        Command::Schema => check::schema(),
        Command::Explain(args) => explain::explain(args.name.as_deref()),
        Command::Replay(args) => replay::replay(&args),
        Command::Shrink(args) => shrink::shrink(&args),
        Command::Report(args) => report::report(&args),
        Command::Bench(args) => bench::bench(&args),
        Command::Mutants(args) => mutants::mutants(&args),
        Command::Probe(args) => mutants::probe(&args),
    });
    match done.and_then(|exit_code| stop::printed().map(|()| exit_code)) {
        Ok(exit_code) => exit_code,
        Err(stop) => {
            eprintln!("{}", stop.message);
            stop.exit_code
        }
    }
}
