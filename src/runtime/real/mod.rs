//! The real world: tokio's sockets, the kernel's files and clocks. Compiled only in the real build.
//!
//! Everything here does what it is told and decides nothing but how to ask the kernel.

mod clock;
mod cores;
mod disk_thread;
mod file_disk;
pub mod links;
pub mod signal;
mod tcp;

use std::io::{self, Read};
use std::net::IpAddr;
use std::sync::Arc;

use super::{Env, Observer};

pub use clock::real_wall_clock;

/// The world of a real node or client, with `cores` threads (at least one) that serve connections.
///
/// Files, connections and timers belong to the tokio runtime of the task that asks for them. The serving threads end,
/// and with them what still runs there, when the last clone of the environment is dropped.
///
/// Errors: no threads, no memory, or no source of randomness.
pub fn real_env(observer: Arc<dyn Observer>, cores: usize) -> io::Result<Env> {
    real_env_at(None, observer, cores)
}

/// The world of a node or client whose connections come from the address `source`: one of several on one machine, which
/// [`links`] tells apart.
///
/// Errors: as [`real_env`].
pub fn real_env_at(
    source: Option<IpAddr>,
    observer: Arc<dyn Observer>,
    cores: usize,
) -> io::Result<Env> {
    Ok(Env {
        net: Arc::new(tcp::Tcp { source }),
        disk: Arc::new(file_disk::FileDisk::new()),
        clock: Arc::new(clock::SystemClock::new()),
        cores: Arc::new(cores::Threads::start(cores.max(1))?),
        seed: random_seed()?,
        members: Arc::default(),
        observer,
    })
}

/// Eight bytes of the kernel's randomness.
fn random_seed() -> io::Result<u64> {
    let mut seed = [0; 8];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut seed)?;
    Ok(u64::from_ne_bytes(seed))
}
