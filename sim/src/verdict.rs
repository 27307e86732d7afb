//! What a seed showed, what all seeds of a scenario show together, and the exit code of it all.

use std::fmt;

use ottla::types::TopicPartition;
use serde_json::Value;

use crate::event::{Event, Who};
use crate::expect::Measurement;
use crate::explore::Reached;
use crate::scenario::duration::Span;
use crate::scenario::plan::{OverSeeds, Plan};
use crate::stats::{Stats, Totals};

/// A property that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which check found it: a name of `scenario/words/`.
    pub check: &'static str,
    /// When.
    pub at: Span,
    /// Where.
    pub node: Option<Who>,
    /// Of which partition.
    pub partition: Option<TopicPartition>,
    /// Claim against fact, in plain words.
    pub what: String,
    /// The facts, one a line.
    pub evidence: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.check, show_time(self.at))?;
        if let Some(node) = &self.node {
            write!(f, ", {node}")?;
        }
        if let Some(partition) = &self.partition {
            write!(f, ", {partition}")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// A time as reports show it: seconds with milliseconds.
#[must_use]
pub fn show_time(at: Span) -> String {
    let millis = at.nanos() / 1_000_000;
    format!("{}.{:03}s", millis / 1_000, millis % 1_000)
}

/// A step of the timeline that was done: what `repro.json` keeps as a fixed step.
#[derive(Clone, Debug, PartialEq)]
pub struct Fired {
    /// Which step of the file, from 0.
    pub step: usize,
    /// When.
    pub at: Span,
    /// The step with its target and all drawn values filled in: a step of a scenario file.
    pub fixed: Value,
    /// What was at stake, where it went beyond the tolerable budget: `an acknowledged record of orders-0`. A storm passes such a fault
    /// over.
    pub at_stake: Option<String>,
}

/// What one seed of one variant showed.
#[derive(Clone, Debug)]
pub struct SeedRun {
    /// The seed.
    pub seed: u64,
    /// The variant; `None` is the file as it stands.
    pub variant: Option<String>,
    /// What was asked of it.
    pub plan: Plan,
    /// What happened.
    pub events: Vec<Event>,
    /// What clients were told.
    pub stats: Stats,
    /// Its counts.
    pub totals: Totals,
    /// One for each expectation of the plan; `None` for those of other variants.
    pub measured: Vec<Option<Measurement>>,
    /// What did not hold. In the order found: causes before consequences.
    pub violations: Vec<Violation>,
    /// Steps that were done.
    pub fired: Vec<Fired>,
    /// Steps whose moment never came, as a reader finds them in the file.
    pub unfired: Vec<String>,
    /// Why the cluster could not converge, where that is certain: the scenario took away for good what was needed.
    pub impossible: Option<String>,
    /// The hash of the whole trace.
    pub trace_hash: String,
    /// How many things it covers; 0 proves nothing.
    pub trace_entries: u64,
    /// How long the world lasted, in its own time.
    pub lasted: Span,
    /// How many frames of Kafka's protocol began to travel.
    pub frames: u64,
    /// Client operations, a line of JSON each, where the run is to be kept: asked for, or red.
    pub history: Vec<String>,
    /// Rare branches of the product that were reached.
    pub marks: Vec<&'static str>,
    /// What else it reached. Kept of runs that are part of a summary only.
    pub reached: Reached,
    /// Where the seed was run twice and the traces differ: the first difference.
    pub nondeterminism: Option<String>,
}

impl SeedRun {
    /// Whether this seed alone makes the scenario fail.
    #[must_use]
    pub fn is_red(&self) -> bool {
        !self.violations.is_empty() || !self.missed().is_empty()
    }

    /// The expectations that must hold in each seed, or in none, and do not here.
    #[must_use]
    pub fn missed(&self) -> Vec<usize> {
        let miss = |(index, expectation): (usize, &crate::scenario::plan::Expectation)| {
            let measurement = self.measured.get(index)?.as_ref()?;
            let is_missed = match expectation.over_seeds {
                OverSeeds::Always => !measurement.holds,
                OverSeeds::Never => measurement.holds,
                OverSeeds::Sometimes => false,
            };
            is_missed.then_some(index)
        };
        self.plan.expect.iter().enumerate().filter_map(miss).collect()
    }

    /// Why the seed shows nothing; `None` where it shows something.
    #[must_use]
    pub fn inconclusive(&self) -> Option<String> {
        if self.impossible.is_some() {
            return self.impossible.clone();
        }
        if let Some(step) = self.unfired.first() {
            return Some(format!("{step} never happened"));
        }
        let sends = self.plan.workloads.values().any(|workload| {
            matches!(workload.kind, crate::scenario::plan::WorkloadKind::Producer { .. })
        });
        // Without acknowledgements (acks=0) what was sent still shows something.
        let told = self.totals.acked + self.totals.unknown + self.totals.failed;
        (sends && told == 0).then(|| "no record was sent and answered".into())
    }
}

/// How a scenario, or a whole run, ended. Later ones win.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As expected.
    Passed,
    /// It shows nothing.
    Inconclusive,
    /// A property was violated or an expectation missed.
    Failed,
    /// The same seed did not give the same run.
    Nondeterministic,
}

impl Verdict {
    /// What the process exits with.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Passed => 0,
            Self::Failed => 1,
            Self::Inconclusive => 6,
            Self::Nondeterministic => 7,
        }
    }

    /// Its word in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "FAILED",
            Self::Inconclusive => "INCONCLUSIVE",
            Self::Nondeterministic => "NONDETERMINISTIC",
        }
    }
}

/// How often an expectation held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// In how many seeds it held.
    pub held: u64,
    /// In how many it was measured.
    pub of: u64,
}

/// What all seeds of a variant say of one expectation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// As expected.
    Met,
    /// Missed, with the reason.
    Missed(String),
    /// It belongs to another variant.
    Elsewhere,
}

/// Holds the shares against what an expectation asks.
#[must_use]
pub fn judge(over_seeds: OverSeeds, bites: bool, share: Share) -> Judgement {
    let Share { held, of } = share;
    if of == 0 {
        return Judgement::Elsewhere;
    }
    match over_seeds {
        OverSeeds::Always if held < of => {
            return Judgement::Missed(format!("holds in {held} of {of} seeds, not in each"));
        }
        OverSeeds::Sometimes if held == 0 => {
            return Judgement::Missed(format!("holds in none of {of} seeds"));
        }
        OverSeeds::Never if held > 0 => {
            return Judgement::Missed(format!("holds in {held} of {of} seeds, and should in none"));
        }
        OverSeeds::Always | OverSeeds::Sometimes | OverSeeds::Never => {}
    }
    if bites && over_seeds != OverSeeds::Never && held * 2 < of {
        return Judgement::Missed(format!(
            "the fault took effect in {held} of {of} seeds: in fewer than half, the scenario shows nothing"
        ));
    }
    Judgement::Met
}

/// All seeds of one variant of a scenario.
#[derive(Clone, Debug)]
pub struct VariantRun {
    /// The scenario's name.
    pub scenario: String,
    /// The path of its file.
    pub path: String,
    /// The variant; `None` is the file as it stands.
    pub variant: Option<String>,
    /// What it shows.
    pub claim: String,
    /// What the command line set.
    pub settings: Vec<String>,
    /// What each seed showed, in the order of the seeds. Events are kept of the first and of failed ones only.
    pub seeds: Vec<SeedRun>,
}

impl VariantRun {
    /// How often the expectation at `index` held.
    #[must_use]
    pub fn share(&self, index: usize) -> Share {
        let measured = self.seeds.iter().filter_map(|run| run.measured.get(index)?.as_ref());
        measured.fold(Share::default(), |share, measurement| Share {
            held: share.held + u64::from(measurement.holds),
            of: share.of + 1,
        })
    }

    /// What the seeds say of each expectation of the file.
    #[must_use]
    pub fn judgements(&self) -> Vec<Judgement> {
        let Some(first) = self.seeds.first() else { return Vec::new() };
        let expectations = first.plan.expect.iter().enumerate();
        expectations
            .map(|(index, expectation)| {
                judge(expectation.over_seeds, expectation.bites, self.share(index))
            })
            .collect()
    }

    /// Whether something of it failed, and how.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if self.seeds.iter().any(|run| run.nondeterminism.is_some()) {
            return Verdict::Nondeterministic;
        }
        let missed =
            self.judgements().iter().any(|judgement| matches!(judgement, Judgement::Missed(_)));
        if missed || self.seeds.iter().any(|run| !run.violations.is_empty()) {
            return Verdict::Failed;
        }
        if self.seeds.is_empty() || self.seeds.iter().any(|run| run.inconclusive().is_some()) {
            return Verdict::Inconclusive;
        }
        Verdict::Passed
    }

    /// The name with the variant, as reports and messages show it.
    #[must_use]
    pub fn title(&self) -> String {
        match &self.variant {
            None => self.scenario.clone(),
            Some(variant) => format!("{} [{variant}]", self.scenario),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missed(over_seeds: OverSeeds, bites: bool, held: u64, of: u64) -> bool {
        matches!(judge(over_seeds, bites, Share { held, of }), Judgement::Missed(_))
    }

    #[test]
    fn shares_are_held_against_what_is_asked() {
        assert!(
            !missed(OverSeeds::Always, false, 10, 10) && missed(OverSeeds::Always, false, 9, 10)
        );
        assert!(
            !missed(OverSeeds::Sometimes, false, 1, 10)
                && missed(OverSeeds::Sometimes, false, 0, 10)
        );
        assert!(!missed(OverSeeds::Never, false, 0, 10) && missed(OverSeeds::Never, false, 1, 10));
        assert_eq!(judge(OverSeeds::Always, true, Share::default()), Judgement::Elsewhere);
    }

    #[test]
    fn a_fault_that_bites_in_under_half_of_the_seeds_shows_nothing() {
        assert!(missed(OverSeeds::Sometimes, true, 4, 10));
        assert!(!missed(OverSeeds::Sometimes, true, 5, 10));
    }

    #[test]
    fn the_worst_verdict_wins_and_has_its_exit_code() {
        let worst = [Verdict::Passed, Verdict::Failed, Verdict::Inconclusive].into_iter().max();
        assert_eq!(worst.map(Verdict::exit_code), Some(1));
        assert_eq!(Verdict::Nondeterministic.exit_code(), 7);
        assert!(Verdict::Nondeterministic > Verdict::Failed);
    }

    #[test]
    fn a_seed_that_could_not_converge_shows_nothing_unless_something_else_failed() {
        let mut run = crate::report::sample::variant();
        let seed = &mut run.seeds[0];
        let reason = "could not converge: every replica of orders-0 is on broker 1";
        seed.impossible = Some(reason.into());
        assert_eq!(run.verdict(), Verdict::Failed, "a record is lost");
        run.seeds[0].violations.clear();
        assert_eq!(run.verdict(), Verdict::Inconclusive);
        assert_eq!(run.seeds[0].inconclusive().unwrap(), reason);
    }

    #[test]
    fn times_have_milliseconds() {
        assert_eq!(show_time(Span::from_nanos(12_034_999_999)), "12.034s");
    }
}
