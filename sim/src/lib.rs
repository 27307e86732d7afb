//! The testbed: worlds, scenarios, faults, checks and reports.
//!
//! There are two worlds that a run can take place in, one in each build: the simulated one (`--cfg madsim`: `cargo sim …`,
//! `cargo sim-test`), and real processes of the real binary (`cargo real …`). What differs stands below twice and in
//! `run/simulated/` and `run/real/`; all else is the same code in both builds, the workloads, the checks of what clients were
//! told and the expectations among it.

pub mod checker;
pub mod chronicle;
pub mod chunks;
pub mod event;
pub mod expect;
pub mod explore;
mod group_event;
pub mod history;
pub mod report;
pub mod run;
pub mod runner;
pub mod scenario;
pub mod planted;
pub mod stats;
pub mod tally;
pub mod verdict;
pub mod views;
pub mod which;
pub mod workload;

#[cfg(madsim)]
pub mod cli;
#[cfg(madsim)]
pub mod cluster;
#[cfg(madsim)]
pub mod mutants;
#[cfg(madsim)]
pub mod oracle;
#[cfg(madsim)]
pub mod shrink;
#[cfg(madsim)]
pub mod trace;
#[cfg(madsim)]
pub mod world;

#[cfg(not(madsim))]
#[path = "real/cli.rs"]
pub mod cli;
#[cfg(not(madsim))]
#[path = "real/cluster.rs"]
pub mod cluster;
#[cfg(not(madsim))]
#[path = "real/oracle.rs"]
pub mod oracle;
#[cfg(not(madsim))]
#[path = "real/world.rs"]
pub mod world;
