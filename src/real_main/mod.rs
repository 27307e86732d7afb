//! The command line of the real binary: `args.rs` holds its words, the other files one command each.
//!
//! Data goes to standard output, talk to standard error; every failure is a [`Failure`]: four lines and an exit code.

mod args;
mod bench;
mod client;
mod cluster;
mod consume;
mod dev;
mod failure;
mod group;
mod node;
mod observer;
mod produce;
mod topic;
mod version;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};
use failure::{Exit, Failure};

/// Runs the command that the process was called with.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Format(args) => node::format(&args, cli.global.quiet),
        Command::Start(args) => return node::start(&args),
        Command::Dev(args) => dev::run(&args),
        Command::Topic(command) => topic::run(&cli.global, command),
        Command::Cluster(command) => cluster::run(&cli.global, command),
        Command::Produce(args) => produce::run(&cli.global, args),
        Command::Consume(args) => consume::run(&cli.global, args),
        Command::Group(command) => group::run(&cli.global, command),
        Command::Bench(command) => bench::run(&cli.global, command),
        Command::Version { verbose } => {
            version::run(cli.global.format, verbose);
            Ok(())
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(&failure),
    }
}

fn report(failure: &Failure) -> ExitCode {
    eprintln!("{failure}");
    failure.exit_code()
}

/// A reader that closed its end (`ottla consume … | head`) is no failure: the work ends there.
fn output_failure(error: &std::io::Error) -> Option<Failure> {
    if error.kind() == std::io::ErrorKind::BrokenPipe {
        return None;
    }
    Some(Failure::new(Exit::Failed, "cannot write to standard output").why(error))
}
