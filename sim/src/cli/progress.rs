//! Progress on standard error: a bar where a person watches, nothing where nobody does.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::runner::{Progress, wall_now};
use crate::verdict::SeedRun;

/// A bar that counts seeds, and the simulated time they took together.
pub(super) struct Bar {
    bar: ProgressBar,
    begun: std::time::Instant,
    failed: AtomicU64,
    simulated_nanos: AtomicU64,
}

impl Bar {
    /// A bar for `count` seeds.
    pub(super) fn new(count: usize) -> Self {
        let target = if std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(count as u64), target);
        let style = ProgressStyle::with_template(
            "{bar:30} {pos}/{len} seeds, {per_sec}, {msg} [{elapsed}]",
        );
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_message("0 failed");
        bar.enable_steady_tick(Duration::from_millis(500));
        Self {
            bar,
            begun: wall_now(),
            failed: AtomicU64::new(0),
            simulated_nanos: AtomicU64::new(0),
        }
    }

    /// Takes the bar away, and says how long it took.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
        let took = self.begun.elapsed().as_secs_f64();
        let simulated =
            Duration::from_nanos(self.simulated_nanos.load(Ordering::Relaxed)).as_secs_f64();
        let ratio = simulated / took.max(1e-9);
        eprintln!(
            "{} seeds in {took:.1} s: {simulated:.0} s of simulated time, {ratio:.0} times as fast",
            self.bar.position()
        );
    }
}

impl Progress for Bar {
    fn ended(&self, _: usize, run: &SeedRun) {
        self.simulated_nanos.fetch_add(run.lasted.nanos(), Ordering::Relaxed);
        if run.is_red() || run.nondeterminism.is_some() {
            let failed = self.failed.fetch_add(1, Ordering::Relaxed) + 1;
            self.bar.set_message(format!("{failed} failed"));
        }
        self.bar.inc(1);
    }
}
