//! `cargo sim replay FILE --reseed-from T --times N`: a kept run up to a moment, and from there on into other futures. How often
//! it still fails says how much of the failure had happened by then.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use clap::Args;

use super::progress::Bar;
use super::repro::Repro;
use super::run::{cores, each, job};
use super::{Stop, keep, parse_duration, print};
use crate::oracle::Halt;
use crate::report::thousands;
use crate::run::{How, run_as, run_once};
use crate::runner::Progress as _;
use crate::scenario::Scenario;
use crate::scenario::duration::Span;
use crate::shrink::Reason;
use crate::verdict::{SeedRun, show_time};
use crate::world::mix;

/// How many futures there are where nobody says.
const TIMES_DEFAULT: u64 = 100;

/// Closer than this the moment is not searched: below it are single messages.
const CLOSE: u64 = 50_000_000;

#[derive(Debug, Args)]
pub(super) struct ReseedArgs {
    /// Runs the same up to this time, and draws everything after it anew: how often does it still fail?
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(super) reseed_from: Option<Duration>,
    /// Searches the time from which on every future fails
    #[arg(long, conflicts_with = "reseed_from")]
    pub(super) inevitable: bool,
    /// How many futures [default: 100]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    times: Option<u64>,
    /// How many run at once [default: the cores]
    #[arg(long, value_parser = super::parse_jobs)]
    jobs: Option<usize>,
}

impl ReseedArgs {
    /// Whether other futures are asked for.
    ///
    /// Errors: only something that goes with them.
    pub(super) fn is_asked(&self) -> Result<bool, Stop> {
        let is_asked = self.inevitable || self.reseed_from.is_some();
        if !is_asked && (self.times.is_some() || self.jobs.is_some()) {
            return Err(Stop::bad_input(
                "--times and --jobs say how often and how a run is continued: give --reseed-from TIME, or --inevitable",
            ));
        }
        Ok(is_asked)
    }
}

/// Runs a kept run into other futures.
pub(super) fn reseed(repro: &Repro, args: &ReseedArgs) -> Result<u8, Stop> {
    let futures = Futures::new(repro, args)?;
    match args.reseed_from {
        Some(from) => {
            let from = Span::from_nanos(u64::try_from(from.as_nanos()).unwrap_or(u64::MAX));
            futures.check(from)?;
            let counts = futures.from(from);
            print(&futures.told(from, counts));
        }
        None => print(&futures.when_inevitable()),
    }
    Ok(0)
}

/// How many futures ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    same: u64,
    other: u64,
    none: u64,
}

struct Futures<'a> {
    repro: &'a Repro,
    scenario: Arc<Scenario>,
    reason: Reason,
    /// The run as it was.
    run: SeedRun,
    times: u64,
    jobs: usize,
}

impl<'a> Futures<'a> {
    /// Errors: the kept run does not fail in this build, so that there is nothing to look for.
    fn new(repro: &'a Repro, args: &ReseedArgs) -> Result<Self, Stop> {
        let scenario = repro.load(&repro.resolved)?;
        let run = run_once(&job(&scenario, None, repro.seed, false)).0;
        let Some(reason) = Reason::all(&run).into_iter().next() else {
            return Err(Stop::bad_input(format!(
                "{}: seed {} passes in this build (it was kept at commit {}, now it is {}): there is no failure whose futures could be counted",
                repro.file,
                repro.seed,
                repro.commit,
                keep::commit()
            )));
        };
        let jobs = args.jobs.unwrap_or_else(cores).max(1);
        let times = args.times.unwrap_or(TIMES_DEFAULT);
        Ok(Self { repro, scenario, reason, run, times, jobs })
    }

    /// When it failed, where that was during the run.
    fn failed_at(&self) -> Option<Span> {
        self.reason.violation(&self.run).map(|violation| violation.at)
    }

    fn check(&self, from: Span) -> Result<(), Stop> {
        let end = self.run.lasted.max(self.run.plan.run_for);
        if from > end {
            return Err(Stop::bad_input(format!("--reseed-from {from}: the run ends at {end}")));
        }
        match self.failed_at() {
            Some(at) if at < from => Err(Stop::bad_input(format!(
                "--reseed-from {from}: it fails at {} already ({}): whatever comes later, it has failed",
                show_time(at),
                self.reason
            ))),
            Some(_) | None => Ok(()),
        }
    }

    /// How the futures from a moment on end.
    fn from(&self, from: Span) -> Counts {
        let bar = Bar::new(usize::try_from(self.times).unwrap_or(usize::MAX));
        let counts = Mutex::new(Counts::default());
        each(usize::try_from(self.times).unwrap_or(usize::MAX), self.jobs, |index| {
            let run = self.one(from, index as u64);
            bar.ended(index, &run);
            let mut counts = counts.lock().expect("nothing panics with it locked");
            match (self.reason.is_of(&run), run.is_red()) {
                (true, _) => counts.same += 1,
                (false, true) => counts.other += 1,
                (false, false) => counts.none += 1,
            }
            true
        });
        bar.finish();
        counts.into_inner().expect("nothing panics with it locked")
    }

    fn one(&self, from: Span, number: u64) -> SeedRun {
        let seed = mix(mix(self.repro.seed).wrapping_add(number + 1));
        let reason = self.reason.clone();
        let halt = matches!(reason, Reason::Violation { .. })
            .then(|| Halt::new(move |found| reason.is(found)));
        let how = How { halt, reseed: Some((from, seed)) };
        run_as(&job(&self.scenario, None, self.repro.seed, false), &how).0
    }

    fn title(&self) -> String {
        format!("━━ {}, seed {}: {}\n", self.repro.scenario, self.repro.seed, self.reason)
    }

    fn told(&self, from: Span, counts: Counts) -> String {
        let failed = self.failed_at().map_or_else(
            || "   It failed at the end.\n".into(),
            |at| format!("   It failed at {}.\n", show_time(at)),
        );
        format!("{}{failed}{}", self.title(), self.line(from, counts))
    }

    fn line(&self, from: Span, counts: Counts) -> String {
        format!(
            "   Drawn anew from {:>8} on: fails for the same reason in {} of {} ({} %), for another in {}, not in {}.\n",
            show_time(from),
            thousands(counts.same),
            thousands(self.times),
            percent(counts.same, self.times),
            thousands(counts.other),
            thousands(counts.none),
        )
    }

    /// Halves the time before the failure until it is known from when on every future fails.
    fn when_inevitable(&self) -> String {
        let mut out = self.title();
        let end = self.failed_at().unwrap_or(self.run.plan.run_for);
        let (mut open, mut sure) = (Span::ZERO, end);
        let at_start = self.from(open);
        out.push_str(&self.line(open, at_start));
        if at_start.same == self.times {
            out.push_str("   It fails in every future from the start: the scenario makes it so, not the seed.\n");
            return out;
        }
        while sure.nanos() - open.nanos() > CLOSE {
            let middle =
                Span::from_nanos((open.nanos() / 2 + sure.nanos() / 2) / 1_000_000 * 1_000_000);
            let counts = self.from(middle);
            out.push_str(&self.line(middle, counts));
            if counts.same == self.times {
                sure = middle;
            } else {
                open = middle;
            }
        }
        out.push_str(&format!(
            "   From {} on it fails in all of {} futures; at {} it could still have gone well.\n",
            show_time(sure),
            thousands(self.times),
            show_time(open)
        ));
        out
    }
}

fn percent(part: u64, whole: u64) -> String {
    let permille = part.saturating_mul(1_000) / whole.max(1);
    format!("{}.{}", permille / 10, permille % 10)
}
