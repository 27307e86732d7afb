//! Many seeds on many cores: hands jobs out, runs one in twenty twice, shows progress, and keeps the results in order.
//!
//! Knows nothing of what a job does: [`RunOne`] does. Seeds are independent, each on a thread of its own.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::verdict::SeedRun;

/// One in this many jobs is run twice, and the traces are compared.
pub const TWICE_IN: usize = 20;

/// How to run the jobs.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many at once. At least 1.
    pub jobs: usize,
    /// Whether to begin nothing more after a seed that fails.
    pub until_failure: bool,
    /// Whether to begin nothing more after this time.
    pub time_budget: Option<Duration>,
    /// Whether every job is run twice, not one in twenty.
    pub check_determinism: bool,
}

/// Runs job number `index`; twice where `twice` is set, comparing the traces.
pub trait RunOne: Sync {
    /// See the trait.
    fn run_one(&self, index: usize, twice: bool) -> SeedRun;
}

/// Hears how it goes. Called from any thread.
pub trait Progress: Sync {
    /// Job `index` has ended.
    fn ended(&self, index: usize, run: &SeedRun);
}

/// Runs jobs `0..count`; the results by number. Jobs that were not begun are missing.
pub fn run_all(
    count: usize,
    options: &Options,
    runner: &dyn RunOne,
    progress: &dyn Progress,
) -> BTreeMap<usize, SeedRun> {
    run_until(count, options, runner, progress, &AtomicBool::new(false))
}

/// [`run_all`] that begins nothing more once `is_asked_to_stop`; what runs then comes to its end.
pub fn run_until(
    count: usize,
    options: &Options,
    runner: &dyn RunOne,
    progress: &dyn Progress,
    is_asked_to_stop: &AtomicBool,
) -> BTreeMap<usize, SeedRun> {
    let next = AtomicUsize::new(0);
    let is_over = AtomicBool::new(false);
    let results = Mutex::new(BTreeMap::new());
    let begun = wall_now();
    let work = || {
        loop {
            let out_of_time =
                options.time_budget.is_some_and(|budget| wall_now() - begun >= budget);
            let is_stopped = || is_asked_to_stop.load(Ordering::Relaxed);
            if out_of_time || is_over.load(Ordering::Relaxed) || is_stopped() {
                return;
            }
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return;
            }
            let twice = options.check_determinism || index.is_multiple_of(TWICE_IN);
            let run = runner.run_one(index, twice);
            if options.until_failure && (run.is_red() || run.nondeterminism.is_some()) {
                is_over.store(true, Ordering::Relaxed);
            }
            progress.ended(index, &run);
            results.lock().expect("nothing panics with the results locked").insert(index, run);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.clamp(1, count.max(1)) {
            scope.spawn(work);
        }
    });
    results.into_inner().expect("nothing panics with the results locked")
}

/// The real time, for budgets and progress: never for anything a run shows.
#[expect(clippy::disallowed_methods, reason = "outside of every world")]
pub(crate) fn wall_now() -> std::time::Instant {
    std::time::Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::duration::Span;
    use crate::stats::{Stats, Totals};
    use crate::verdict::Violation;

    struct Fake {
        red: usize,
        twice: Mutex<Vec<usize>>,
    }

    impl RunOne for Fake {
        fn run_one(&self, index: usize, twice: bool) -> SeedRun {
            if twice {
                self.twice.lock().unwrap().push(index);
            }
            let violation = Violation {
                check: "R3",
                at: Span::ZERO,
                node: None,
                partition: None,
                what: "x".into(),
                evidence: Vec::new(),
            };
            SeedRun {
                seed: index as u64,
                variant: None,
                plan: serde_json::from_str(r#"{ "claim": "x", "run-for": "1s" }"#).unwrap(),
                events: Vec::new(),
                stats: Stats::default(),
                totals: Totals::default(),
                measured: Vec::new(),
                violations: if index == self.red { vec![violation] } else { Vec::new() },
                fired: Vec::new(),
                unfired: Vec::new(),
                impossible: None,
                trace_hash: "x".into(),
                trace_entries: 1,
                lasted: Span::ZERO,
                frames: 0,
                history: Vec::new(),
                marks: Vec::new(),
                reached: Default::default(),
                nondeterminism: None,
            }
        }
    }

    impl Progress for Fake {
        fn ended(&self, _: usize, _: &SeedRun) {}
    }

    fn run(red: usize, options: Options) -> (Vec<usize>, Vec<usize>) {
        let fake = Fake { red, twice: Mutex::default() };
        let results = run_all(50, &options, &fake, &fake);
        let mut twice = fake.twice.into_inner().unwrap();
        twice.sort_unstable();
        (results.into_keys().collect(), twice)
    }

    fn options(jobs: usize) -> Options {
        Options { jobs, until_failure: false, time_budget: None, check_determinism: false }
    }

    #[test]
    fn every_job_is_run_once_and_one_in_twenty_twice() {
        let (run, twice) = run(99, options(4));
        assert_eq!(run, (0..50).collect::<Vec<_>>());
        assert_eq!(twice, [0, 20, 40]);
    }

    #[test]
    fn until_failure_begins_nothing_after_a_red_seed() {
        let (run, _) = run(7, Options { until_failure: true, ..options(1) });
        assert_eq!(run, (0..=7).collect::<Vec<_>>());
    }

    #[test]
    fn a_time_budget_ends_it() {
        let budget = Some(Duration::ZERO);
        assert!(run(99, Options { time_budget: budget, ..options(2) }).0.is_empty());
    }

    #[test]
    fn whoever_asks_to_stop_gets_what_has_run_so_far() {
        struct Stops(AtomicBool);
        impl Progress for Stops {
            fn ended(&self, index: usize, _: &SeedRun) {
                self.0.fetch_or(index == 5, Ordering::Relaxed);
            }
        }
        let fake = Fake { red: 99, twice: Mutex::default() };
        let stops = Stops(AtomicBool::new(false));
        let results = run_until(50, &options(1), &fake, &stops, &stops.0);
        assert_eq!(results.into_keys().collect::<Vec<_>>(), (0..=5).collect::<Vec<_>>());
    }

    #[test]
    fn checking_determinism_runs_every_job_twice() {
        assert_eq!(run(99, Options { check_determinism: true, ..options(2) }).1.len(), 50);
    }
}
