//! Append and read through a partition, held against the kernel's own calls: `cargo bench --bench io_ratios`.
//!
//! Ours and the kernel's run in turn, round after round, and what is printed is the median of the rounds' ratios: a busy
//! machine slows both alike. What is measured is the CPU time of the one thread that does it, so that waiting counts for
//! nobody. A directory may be given after `--`; its file system is what is measured. `--serve-discarding` runs a whole broker
//! whose segments go nowhere instead, for `benches/whole_broker.py`.

#[cfg(not(madsim))]
mod append;
#[cfg(not(madsim))]
mod disk;
#[cfg(not(madsim))]
mod partition;
#[cfg(not(madsim))]
mod read;
#[cfg(not(madsim))]
mod serve;

/// Rounds whose median is taken, after one that is not counted.
#[cfg(not(madsim))]
const ROUNDS: usize = 15;

fn main() {
    #[cfg(not(madsim))]
    {
        // `cargo test --benches` asks for nothing but that it runs.
        let is_test = std::env::args().any(|argument| argument == "--test");
        let given = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
        let parent = given.map_or_else(std::env::temp_dir, std::path::PathBuf::from);
        let dir = tempfile::tempdir_in(parent).expect("a directory can be made");
        let rounds = if is_test { 1 } else { ROUNDS };
        if std::env::args().any(|argument| argument == "--serve-discarding") {
            return serve::run(dir.path());
        }
        append::run(dir.path(), rounds);
        read::run(dir.path(), rounds);
    }
}

/// The CPU time of this thread.
#[cfg(not(madsim))]
struct CpuClock(rustix::time::Timespec);

#[cfg(not(madsim))]
impl CpuClock {
    fn now() -> Self {
        Self(rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime))
    }

    /// Microseconds since then for each of `count` operations.
    fn micros(&self, count: usize) -> f64 {
        let now = Self::now().0;
        let nanos = (now.tv_sec - self.0.tv_sec) * 1_000_000_000 + (now.tv_nsec - self.0.tv_nsec);
        nanos as f64 / 1e3 / count as f64
    }
}

/// The median; the upper one of two.
#[cfg(not(madsim))]
fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
