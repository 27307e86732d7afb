//! The testbed: a simulated world, scenarios, faults, checks and reports.
//!
//! What needs the simulator is compiled only with `--cfg madsim` (`cargo sim …`, `cargo sim-test`).

pub mod scenario;

#[cfg(madsim)]
pub mod cluster;
#[cfg(madsim)]
pub mod trace;
#[cfg(madsim)]
pub mod world;
