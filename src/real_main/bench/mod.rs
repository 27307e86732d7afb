//! `ottla bench`: a load that is cheaper than the broker, and the floor to hold the broker against.
//!
//! Frames are built once and sent again and again with another correlation id, from one event loop; `bench echo` answers them
//! and stores nothing. The figures that count are CPU seconds of the server's process (`--pid`), not wall time.

mod consume;
mod echo;
mod frames;
mod produce;

use std::time::{Duration, Instant};

use super::args::{BenchCommand, Global};
use super::failure::{Exit, Failure};

/// Runs one of them.
pub(crate) fn run(global: &Global, command: BenchCommand) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(Exit::Failed, "cannot start").why(error))?;
    runtime.block_on(async {
        match command {
            BenchCommand::Produce(args) => produce::run(global, &args).await,
            BenchCommand::Consume(args) => consume::run(global, &args).await,
            BenchCommand::Echo { port } => echo::run(port).await,
        }
    })
}

#[expect(clippy::disallowed_methods, reason = "a load generator measures real time")]
fn now() -> Instant {
    Instant::now()
}

/// The first of the bootstrap addresses.
fn address(global: &Global) -> &str {
    global.bootstrap_server.split(',').next().unwrap_or_default().trim()
}

async fn connect(address: &str) -> Result<tokio::net::TcpStream, Failure> {
    let stream = tokio::net::TcpStream::connect(address).await;
    let stream = stream.map_err(|error| {
        Failure::new(Exit::Unreachable, "cannot reach the server")
            .place(address)
            .why(error)
            .next("ottla dev, or ottla bench echo")
    })?;
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

fn cut_off(error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Refused, "the connection broke during the measurement").why(error)
}

/// User and system CPU time of a process so far (Linux: `/proc/PID/stat`, fields 14 and 15, in ticks of 10 ms).
fn cpu_of(pid: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let after_name = stat.rsplit_once(')')?.1;
    let mut fields = after_name.split_whitespace().skip(11);
    let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 10))
}

/// The largest resident size of a process so far, in bytes.
fn peak_memory_of(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Prints what the server spent.
fn print_server_cost(pid: u32, before: Option<Duration>, bytes: u64, requests: u64, records: u64) {
    let (Some(before), Some(after)) = (before, cpu_of(pid)) else {
        eprintln!("process {pid} cannot be looked at: no CPU figures");
        return;
    };
    let cpu = after.saturating_sub(before).as_secs_f64();
    let per = |count: u64| cpu * 1e6 / count.max(1) as f64;
    println!(
        "server: {cpu:.2} CPU-s, {:.3} CPU-s/GB, {:.2} us a request, {:.4} us a record, peak memory {:.1} MB",
        cpu * 1e9 / bytes.max(1) as f64,
        per(requests),
        per(records),
        peak_memory_of(pid).unwrap_or(0) as f64 / 1e6,
    );
}
