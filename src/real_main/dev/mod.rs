//! `ottla dev`: a cluster to try things with, each node a child process of this one; and `ottla dev kill|…`, which asks the
//! one that runs to do something to a node, with real signals, or to its links with the others.

mod control;
mod layout;
mod links;
mod supervisor;

use std::fmt::Display;
use std::io::Write;
use std::time::{Duration, Instant};

use super::args::{DevArgs, DevCommand};
use super::failure::Failure;
use control::Order;

/// Runs a cluster until Ctrl-C, or asks the one that runs.
pub(crate) fn run(args: &DevArgs) -> Result<(), Failure> {
    let order = match args.command {
        None => return supervisor::run(args),
        Some(DevCommand::Kill { node }) => Order::Kill(node),
        Some(DevCommand::Pause { node }) => Order::Pause(node),
        Some(DevCommand::Resume { node }) => Order::Resume(node),
        Some(DevCommand::Stop { node }) => Order::Stop(node),
        Some(DevCommand::Start { node }) => Order::Start(node),
        Some(DevCommand::Isolate { node }) => Order::Isolate(node),
        Some(DevCommand::Rejoin { node }) => Order::Rejoin(node),
        Some(DevCommand::Status) => Order::Status,
    };
    let answer = control::ask(&args.dir, order)?;
    println!("{answer}");
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "the supervisor stands outside the node's world")]
fn now() -> Instant {
    Instant::now()
}

/// Says something to whoever listens. Nobody may (`ottla dev | head -3`): the cluster runs on.
fn say(mut to: impl Write, text: impl Display) {
    let _ = writeln!(to, "{text}");
}

fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}
