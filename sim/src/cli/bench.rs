//! `cargo sim bench`: how much simulated time a second of CPU buys.
//!
//! One core, one seed after another, CPU time of the whole process: what else the machine does changes little. The loads are
//! fixed ([`LOADS`]), so that the figures of two revisions can be held against each other.

use std::sync::Arc;
use std::time::Duration;

use super::{BenchArgs, Stop, print, run};
use crate::run::{Job, run_once};
use crate::scenario::Scenario;
use crate::verdict::SeedRun;

/// Three controllers and three brokers, two producers and two consumers: at rest, and in a storm of faults.
const LOADS: [(&str, &str); 2] = [
    ("bench/light.toml", include_str!("light.toml")),
    ("bench/storm.toml", include_str!("storm.toml")),
];
/// The smallest run of the first load that can be: what a run costs beyond its time.
const EMPTY: &[&str] = &["/run-for=1ms", "/workloads/writer/rate-per-s=1"];
/// A tick of the kernel's CPU accounting (Linux: `USER_HZ`, 100 a second).
const TICK: Duration = Duration::from_millis(10);

/// What runs cost together.
#[derive(Default)]
struct Cost {
    runs: u32,
    red: u32,
    simulated: f64,
    cpu: f64,
    frames: u64,
    trace_entries: u64,
    records: u64,
}

/// Runs the loads and prints the figures.
pub(super) fn bench(args: &BenchArgs) -> Result<u8, Stop> {
    let idle = memory("VmRSS:");
    let loads = match &args.scenario {
        None => LOADS.iter().map(|load| scenario(load, &args.set)).collect::<Result<_, _>>()?,
        Some(path) => super::files::load(std::slice::from_ref(path), &args.set)?,
    };
    for load in &loads {
        print(&figures(load, args.seeds, idle)?);
    }
    if args.scenario.is_none() {
        let settings: Vec<String> = EMPTY.iter().map(ToString::to_string).collect();
        let empty = measure(&scenario(&LOADS[0], &settings)?, args.seeds * 5)?;
        let millis = empty.cpu * 1e3 / f64::from(empty.runs);
        let text = format!("{millis:.2} ms of CPU, all nodes made and ended");
        print(&line("a run of no length", text));
    }
    Ok(0)
}

/// What a load costs, and what memory one run of it takes beyond `idle`.
fn figures(load: &Arc<Scenario>, seeds: u32, idle: Option<u64>) -> Result<String, Stop> {
    // Linux: the peak of resident memory begins anew. Where that is refused the peak is that of the whole process.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    // The first run pays for what is made once in a process, and tells the memory of one.
    measure(load, 1)?;
    let peak = memory("VmHWM:");
    let cost = measure(load, seeds)?;
    let mut text = format!("{} ({} seeds of {:.0} s)\n", load.claim, cost.runs, cost.each());
    text += &cost.lines();
    if let (Some(idle), Some(peak)) = (idle, peak) {
        let megabytes = peak.saturating_sub(idle) as f64 / 1e6;
        text += &line("memory a run", format!("{megabytes:.1} MB"));
    }
    Ok(text)
}

fn scenario((path, text): &(&str, &str), settings: &[String]) -> Result<Arc<Scenario>, Stop> {
    let loaded = Scenario::load(path, text, settings);
    loaded.map(Arc::new).map_err(|problems| Stop::bad_input(problems.to_string()))
}

fn measure(scenario: &Arc<Scenario>, seeds: u32) -> Result<Cost, Stop> {
    let mut cost = Cost::default();
    let began = cpu_time()?;
    for seed in 1..=u64::from(seeds) {
        let job: Job = run::job(scenario, None, seed, false);
        let run: SeedRun = run_once(&job).0;
        cost.red += u32::from(!run.violations.is_empty());
        cost.runs += 1;
        cost.simulated += run.lasted.as_duration().as_secs_f64();
        cost.frames += run.frames;
        cost.trace_entries += run.trace_entries;
        cost.records += run.totals.sent;
    }
    cost.cpu = (cpu_time()? - began).as_secs_f64().max(TICK.as_secs_f64());
    Ok(cost)
}

impl Cost {
    fn each(&self) -> f64 {
        self.simulated / f64::from(self.runs)
    }

    fn lines(&self) -> String {
        let rate = self.simulated / self.cpu;
        let frames_per_second = self.frames as f64 / self.simulated;
        let micros_a_frame = self.cpu * 1e6 / self.frames.max(1) as f64;
        let entries_per_second = self.trace_entries as f64 / self.simulated;
        let red = match self.red {
            0 => String::new(),
            red => line("RED SEEDS: the figures prove little", red.to_string()),
        };
        [
            red,
            line("simulated seconds a CPU-second", format!("{rate:.0}")),
            line("seeds a core-hour", format!("{:.0}", 3600.0 / self.cpu * f64::from(self.runs))),
            line("frames a simulated second", format!("{frames_per_second:.1}")),
            line("CPU a frame", format!("{micros_a_frame:.2} us")),
            line("trace entries a simulated second", format!("{entries_per_second:.1}")),
            line("records", format!("{} in {:.2} CPU-s", self.records, self.cpu)),
        ]
        .concat()
    }
}

fn line(name: &str, value: String) -> String {
    format!("  {name:<36}{value}\n")
}

/// CPU time of this process, all threads (Linux: `/proc/self/stat`, fields 14 and 15).
pub(super) fn cpu_time() -> Result<Duration, Stop> {
    let no = |why: String| Stop::bad_input(format!("/proc/self/stat: {why}: this needs Linux"));
    let stat = std::fs::read_to_string("/proc/self/stat").map_err(|error| no(error.to_string()))?;
    let after_name = stat.rsplit_once(')').map_or("", |(_, after)| after);
    let fields = after_name.split_whitespace().skip(11).take(2);
    let ticks: Result<Vec<u32>, _> = fields.map(str::parse).collect();
    let ticks = ticks.map_err(|error| no(error.to_string()))?;
    Ok(TICK * ticks.iter().sum())
}

/// A line of `/proc/self/status`, in bytes.
fn memory(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}
