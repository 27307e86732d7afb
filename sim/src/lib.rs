//! The testbed: a simulated world, scenarios, faults, checks and reports.
//!
//! What needs the simulator is compiled only with `--cfg madsim` (`cargo sim …`, `cargo sim-test`).

pub mod event;
pub mod expect;
pub mod report;
pub mod runner;
pub mod scenario;
pub mod stats;
pub mod verdict;
pub mod views;

#[cfg(madsim)]
pub mod checker;
#[cfg(madsim)]
pub mod cli;
#[cfg(madsim)]
pub mod cluster;
#[cfg(madsim)]
pub mod history;
#[cfg(madsim)]
pub mod oracle;
#[cfg(madsim)]
pub mod run;
#[cfg(madsim)]
pub mod trace;
#[cfg(madsim)]
pub mod workload;
#[cfg(madsim)]
pub mod world;
