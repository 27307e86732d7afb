//! The sum of many runs: what of each scenario was run and how it ended, the kinds of failures, and what was reached. Sums of
//! shards add up to the sum of all, whatever the order.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::coverage::{Coverage, News};
use super::groups::{Failure, Group, Kind, failures_of};
use super::shard::Shard;
use crate::report::words_of;
use crate::scenario::plan::OverSeeds;
use crate::stats::Totals;
use crate::verdict::{Judgement, SeedRun, Share, VariantRun, Verdict, judge};

/// The schema of summaries.
pub const SUMMARY_SCHEMA: &str = "sim.summary/1";

/// The sum of many runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Summary {
    /// [`SUMMARY_SCHEMA`].
    pub schema: String,
    /// Which command made it: summaries of different ones do not add up.
    pub command: String,
    /// The parts that it holds; whole where it is the only one of one.
    pub shards: BTreeSet<Shard>,
    /// Each variant of each scenario, by path and variant.
    pub scenarios: Vec<Tally>,
    /// The kinds of failures.
    pub groups: Vec<Group>,
    /// What was reached.
    pub coverage: Coverage,
}

/// The runs of one variant of one scenario.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Tally {
    /// Its name.
    pub scenario: String,
    /// The path of its file.
    pub path: String,
    /// The variant; none is the file as it stands.
    pub variant: Option<String>,
    /// What it shows.
    pub claim: String,
    /// What the command line set.
    pub settings: Vec<String>,
    /// The seeds.
    #[serde(with = "as_texts")]
    pub seeds: BTreeSet<u64>,
    /// How many seeds were run again with other settings.
    pub varied: u64,
    /// How many runs failed, varied ones among them.
    pub red: u64,
    /// How many runs were not the same twice.
    pub nondeterministic: u64,
    /// How many seeds showed nothing; and the first of them, with the reason.
    pub inconclusive: u64,
    /// See above.
    pub inconclusive_first: Option<(String, String)>,
    /// The time of all runs, in milliseconds of their own time.
    pub lasted_millis: u64,
    /// What clients were told.
    pub sent: u64,
    /// Of these, what was acknowledged.
    pub acked: u64,
    /// Of these, what a fresh reader did not find.
    pub acked_lost: u64,
    /// What the seeds say of each expectation; varied runs are not asked.
    pub expectations: Vec<Row>,
}

/// What the seeds say of an expectation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Row {
    /// The expectation, in the words of its file.
    pub that: String,
    /// What is asked.
    pub is: String,
    /// In which seeds.
    pub over_seeds: OverSeeds,
    /// Whether it proves that the fault took effect.
    pub bites: bool,
    /// In how many seeds it held.
    pub held: u64,
    /// Of how many.
    pub of: u64,
}

impl Row {
    /// Whether the seeds meet it, all together.
    #[must_use]
    pub fn judgement(&self) -> Judgement {
        judge(self.over_seeds, self.bites, Share { held: self.held, of: self.of })
    }
}

/// What kept two summaries from being added up.
pub type Refusal = String;

impl Summary {
    /// The sum of nothing.
    #[must_use]
    pub fn new(command: &str, shard: Shard) -> Self {
        Self {
            schema: SUMMARY_SCHEMA.into(),
            command: command.into(),
            shards: BTreeSet::from([shard]),
            scenarios: Vec::new(),
            groups: Vec::new(),
            coverage: Coverage::default(),
        }
    }

    /// Takes a run in; `of` says of what it is one, `is_varied` that it has settings of the exploration's. Returns what of it is
    /// new, and the kinds of its failures.
    pub fn add(&mut self, of: &VariantRun, run: &SeedRun, is_varied: bool) -> (News, Vec<Kind>) {
        let tally = self.tally_mut(of, is_varied);
        tally.add(run, is_varied);
        let failures = failures_of(of, run);
        let kinds = failures.iter().map(|(kind, _)| kind.clone()).collect();
        for (kind, failure) in failures {
            self.add_group(Group::new(kind, failure));
        }
        (self.coverage.add(&run.reached, &run.marks), kinds)
    }

    /// How many runs failed in this way so far.
    #[must_use]
    pub fn count_of(&self, kind: &Kind) -> u64 {
        self.groups.iter().find(|group| group.kind == *kind).map_or(0, |group| group.count)
    }

    /// Notes where the files of a failure are.
    pub fn note_kept(&mut self, kind: &Kind, failure: &Failure, directory: &str) {
        let group = self.groups.iter_mut().find(|group| group.kind == *kind);
        if let Some(group) = group.filter(|group| group.first.again == failure.again) {
            group.first.kept = Some(directory.to_owned());
        }
    }

    fn tally_mut(&mut self, of: &VariantRun, is_varied: bool) -> &mut Tally {
        let key = (of.path.as_str(), &of.variant);
        let place = self
            .scenarios
            .binary_search_by(|tally| (tally.path.as_str(), &tally.variant).cmp(&key));
        let at = match place {
            Ok(at) => at,
            Err(at) => {
                let settings = if is_varied { Vec::new() } else { of.settings.clone() };
                self.scenarios.insert(at, Tally::new(of, settings));
                at
            }
        };
        &mut self.scenarios[at]
    }

    fn add_group(&mut self, group: Group) {
        match self.groups.binary_search_by(|known| known.kind.cmp(&group.kind)) {
            Ok(at) => self.groups[at].merge(group),
            Err(at) => self.groups.insert(at, group),
        }
    }

    /// Adds the runs of another part.
    ///
    /// Errors: why the two are no parts of one whole. Nothing is added then.
    pub fn merge(&mut self, other: Self) -> Result<(), Refusal> {
        if self.command != other.command {
            return Err(format!("one is of `{}`, the other of `{}`", self.command, other.command));
        }
        let of = |summary: &Self| summary.shards.first().map_or(1, |shard| shard.of);
        if of(self) != of(&other) {
            return Err(format!("one is one of {} shards, the other of {}", of(self), of(&other)));
        }
        if let Some(twice) = self.shards.intersection(&other.shards).next() {
            return Err(format!("shard {twice} is there twice"));
        }
        for theirs in &other.scenarios {
            let key = (&theirs.path, &theirs.variant);
            let own = self.scenarios.iter().find(|own| (&own.path, &own.variant) == key);
            if let Some(reason) = own.and_then(|own| own.refusal(theirs)) {
                return Err(format!("{}: {reason}", theirs.title()));
            }
        }
        for theirs in other.scenarios {
            let key = (theirs.path.clone(), theirs.variant.clone());
            let place = self
                .scenarios
                .binary_search_by(|own| (&own.path, &own.variant).cmp(&(&key.0, &key.1)));
            match place {
                Ok(at) => self.scenarios[at].merge(theirs),
                Err(at) => self.scenarios.insert(at, theirs),
            }
        }
        for group in other.groups {
            self.add_group(group);
        }
        self.coverage.merge(&other.coverage);
        self.shards.extend(other.shards);
        let whole = of(self);
        if self.shards.len() as u64 == whole {
            self.shards = BTreeSet::from([Shard::WHOLE]);
        }
        Ok(())
    }

    /// The shards that are missing to the whole.
    #[must_use]
    pub fn missing(&self) -> Vec<Shard> {
        let of = self.shards.first().map_or(1, |shard| shard.of);
        let all = (1..=of).map(|number| Shard { number, of });
        all.filter(|shard| !self.shards.contains(shard)).collect()
    }

    /// How many runs there were.
    #[must_use]
    pub fn runs(&self) -> u64 {
        self.scenarios.iter().map(Tally::runs).sum()
    }

    /// How it ended. An exploration shows something as long as half of its seeds do.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.scenarios.iter().map(Tally::verdict).max().unwrap_or(Verdict::Inconclusive)
    }

    /// As a file.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut value = json!(self);
        value["verdict"] = json!(self.verdict().name());
        value
    }

    /// Reads a file.
    ///
    /// Errors: what is wrong with it.
    pub fn from_json(text: &str) -> Result<Self, String> {
        let value: Value =
            serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
        let schema = value.get("schema").and_then(Value::as_str).unwrap_or_default();
        if schema != SUMMARY_SCHEMA {
            return Err(format!(
                "its schema is `{schema}`, not `{SUMMARY_SCHEMA}`: was it written by `cargo sim explore` or `cargo sim run --shard`, of this version?"
            ));
        }
        Self::deserialize(value).map_err(|error| error.to_string())
    }
}

impl Tally {
    fn new(of: &VariantRun, settings: Vec<String>) -> Self {
        Self {
            scenario: of.scenario.clone(),
            path: of.path.clone(),
            variant: of.variant.clone(),
            claim: of.claim.clone(),
            settings,
            seeds: BTreeSet::new(),
            varied: 0,
            red: 0,
            nondeterministic: 0,
            inconclusive: 0,
            inconclusive_first: None,
            lasted_millis: 0,
            sent: 0,
            acked: 0,
            acked_lost: 0,
            expectations: Vec::new(),
        }
    }

    /// The name with the variant.
    #[must_use]
    pub fn title(&self) -> String {
        match &self.variant {
            None => self.scenario.clone(),
            Some(variant) => format!("{} [{variant}]", self.scenario),
        }
    }

    /// How many runs there were.
    #[must_use]
    pub fn runs(&self) -> u64 {
        self.seeds.len() as u64 + self.varied
    }

    fn add(&mut self, run: &SeedRun, is_varied: bool) {
        let Totals { sent, acked, acked_lost, .. } = run.totals;
        self.sent += sent;
        self.acked += acked;
        self.acked_lost += acked_lost;
        self.lasted_millis += run.lasted.nanos() / 1_000_000;
        self.red += u64::from(run.is_red());
        self.nondeterministic += u64::from(run.nondeterminism.is_some());
        if is_varied {
            self.varied += 1;
            return;
        }
        self.seeds.insert(run.seed);
        if let Some(reason) = run.inconclusive() {
            self.inconclusive += 1;
            let first = (run.seed.to_string(), reason);
            self.inconclusive_first = earlier(self.inconclusive_first.take(), Some(first));
        }
        if self.expectations.is_empty() {
            self.expectations = run.plan.expect.iter().map(row_of).collect();
        }
        for (row, measurement) in self.expectations.iter_mut().zip(&run.measured) {
            if let Some(measurement) = measurement {
                row.held += u64::from(measurement.holds);
                row.of += 1;
            }
        }
    }

    /// Why another part is none of the same whole.
    fn refusal(&self, other: &Self) -> Option<String> {
        if self.settings != other.settings {
            return Some("the command lines set different values".into());
        }
        if let Some(seed) = self.seeds.intersection(&other.seeds).next() {
            return Some(format!("seed {seed} is in both"));
        }
        let words = |tally: &Self| -> Vec<(String, String)> {
            tally.expectations.iter().map(|row| (row.that.clone(), row.is.clone())).collect()
        };
        let are_asked = !self.expectations.is_empty() && !other.expectations.is_empty();
        (are_asked && words(self) != words(other))
            .then(|| "the files expect different things: they are of two versions".into())
    }

    fn merge(&mut self, other: Self) {
        self.seeds.extend(other.seeds);
        self.varied += other.varied;
        self.red += other.red;
        self.nondeterministic += other.nondeterministic;
        self.inconclusive += other.inconclusive;
        self.inconclusive_first = earlier(self.inconclusive_first.take(), other.inconclusive_first);
        self.lasted_millis += other.lasted_millis;
        self.sent += other.sent;
        self.acked += other.acked;
        self.acked_lost += other.acked_lost;
        if self.expectations.is_empty() {
            self.expectations = other.expectations;
        } else {
            for (own, theirs) in self.expectations.iter_mut().zip(other.expectations) {
                own.held += theirs.held;
                own.of += theirs.of;
            }
        }
    }

    /// How it ended.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let is_missed = |row: &Row| matches!(row.judgement(), Judgement::Missed(_));
        if self.nondeterministic > 0 {
            Verdict::Nondeterministic
        } else if self.red > 0 || self.expectations.iter().any(is_missed) {
            Verdict::Failed
        } else if self.inconclusive * 2 >= self.seeds.len() as u64 {
            Verdict::Inconclusive
        } else {
            Verdict::Passed
        }
    }
}

fn row_of(expectation: &crate::scenario::plan::Expectation) -> Row {
    Row {
        that: words_of(expectation),
        is: expectation.is.to_string(),
        over_seeds: expectation.over_seeds,
        bites: expectation.bites,
        held: 0,
        of: 0,
    }
}

/// The one with the smaller seed.
fn earlier(
    one: Option<(String, String)>,
    other: Option<(String, String)>,
) -> Option<(String, String)> {
    [one, other]
        .into_iter()
        .flatten()
        .min_by_key(|(seed, _)| seed.parse::<u64>().unwrap_or(u64::MAX))
}

/// A 64-bit number as a text: JSON's numbers end at 2^53.
pub(crate) mod as_text {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(number)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A set of 64-bit numbers as texts.
mod as_texts {
    use std::collections::BTreeSet;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        numbers: &BTreeSet<u64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(numbers.iter().map(ToString::to_string))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeSet<u64>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        texts.iter().map(|text| text.parse().map_err(serde::de::Error::custom)).collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::explore::coverage::Reached;
    use crate::scenario::duration::Span;
    use crate::stats::Stats;
    use crate::verdict::Violation;

    /// Runs of a scenario.
    pub(crate) fn run_of(path: &str) -> VariantRun {
        VariantRun {
            scenario: path.trim_end_matches(".toml").into(),
            path: path.into(),
            variant: None,
            claim: "x".into(),
            settings: Vec::new(),
            seeds: Vec::new(),
        }
    }

    /// A run in which all is well.
    pub(crate) fn green(seed: u64, states: &[u32]) -> SeedRun {
        SeedRun {
            seed,
            variant: None,
            plan: serde_json::from_str(r#"{ "claim": "x", "run-for": "1s" }"#).unwrap(),
            events: Vec::new(),
            stats: Stats::default(),
            totals: Totals { sent: 7, acked: 6, ..Totals::default() },
            measured: Vec::new(),
            violations: Vec::new(),
            fired: Vec::new(),
            unfired: Vec::new(),
            impossible: None,
            trace_hash: "x".into(),
            trace_entries: 1,
            lasted: Span::from_secs(2),
            frames: 0,
            history: Vec::new(),
            marks: vec!["a branch"],
            reached: Reached { states: states.iter().copied().collect(), ..Reached::default() },
            nondeterminism: None,
        }
    }

    /// A run in which a check fires.
    pub(crate) fn red(seed: u64, check: &'static str, what: &str) -> SeedRun {
        let violation = Violation {
            check,
            at: Span::ZERO,
            node: None,
            partition: None,
            what: what.into(),
            evidence: Vec::new(),
        };
        SeedRun { violations: vec![violation], ..green(seed, &[]) }
    }

    fn summary(runs: &[SeedRun], shard: Shard) -> Summary {
        let mut summary = Summary::new("explore", shard);
        for run in runs.iter().filter(|run| shard.holds(run.seed)) {
            summary.add(&run_of("a.toml"), run, false);
        }
        summary
    }

    fn runs() -> Vec<SeedRun> {
        let mut runs: Vec<SeedRun> =
            (1..=20).map(|seed| green(seed, &[u32::try_from(seed % 5).unwrap()])).collect();
        runs[4] = red(5, "R18", "x");
        runs[9] = red(10, "R18", "y");
        runs[16] = red(17, "R3", "z");
        runs[3].unfired = vec!["step 1".into()];
        runs[7].unfired = vec!["step 1".into()];
        runs
    }

    #[test]
    fn the_sum_of_shards_is_the_sum_of_all_in_any_order() {
        let shard = |number| summary(&runs(), Shard { number, of: 3 });
        let whole = summary(&runs(), Shard::WHOLE);
        assert_eq!(whole.groups.len(), 2);
        for order in [[1, 2, 3], [3, 1, 2]] {
            let mut sum = shard(order[0]);
            assert_eq!(sum.missing().len(), 2);
            for number in &order[1..] {
                sum.merge(shard(*number)).unwrap();
            }
            assert_eq!(sum, whole);
            assert!(sum.missing().is_empty());
        }
        let text = whole.to_json().to_string();
        assert_eq!(Summary::from_json(&text).unwrap(), whole);
    }

    #[test]
    fn what_are_no_parts_of_one_whole_is_not_added_up() {
        let check = |mut one: Summary, other: Summary, expected: &str| {
            let before = one.clone();
            assert_eq!(one.merge(other).unwrap_err(), expected);
            assert_eq!(one, before, "nothing is added then");
        };
        let shard = |number, of| summary(&runs(), Shard { number, of });
        check(shard(1, 2), shard(1, 2), "shard 1/2 is there twice");
        check(shard(1, 2), shard(1, 3), "one is one of 2 shards, the other of 3");
        let mut other = shard(2, 2);
        other.command = "run".into();
        check(shard(1, 2), other, "one is of `explore`, the other of `run`");
        let mut other = shard(2, 2);
        other.scenarios[0].seeds.insert(3);
        check(shard(1, 2), other, "a: seed 3 is in both");
        let mut other = shard(2, 2);
        other.scenarios[0].settings.push("/run-for=1s".into());
        check(shard(1, 2), other, "a: the command lines set different values");
    }

    #[test]
    fn foreign_files_are_refused_with_their_schema() {
        let error = Summary::from_json(r#"{ "schema": "sim.report/1" }"#).unwrap_err();
        assert!(error.starts_with("its schema is `sim.report/1`, not `sim.summary/1`"), "{error}");
        assert!(Summary::from_json("{").unwrap_err().starts_with("not JSON"));
        assert!(Summary::from_json("[]").unwrap_err().contains("its schema is ``"));
        let error = Summary::from_json(r#"{ "schema": "sim.summary/1" }"#).unwrap_err();
        assert!(error.contains("missing field"), "{error}");
    }

    #[test]
    fn the_verdict_is_that_of_the_worst_run() {
        let verdict = |runs: &[SeedRun]| summary(runs, Shard::WHOLE).verdict();
        assert_eq!(verdict(&[]), Verdict::Inconclusive);
        assert_eq!(verdict(&[green(1, &[])]), Verdict::Passed);
        assert_eq!(verdict(&[green(1, &[]), red(2, "R3", "x")]), Verdict::Failed);
        let mut odd = green(3, &[]);
        odd.nondeterminism = Some("entry 4".into());
        assert_eq!(verdict(&[odd, red(2, "R3", "x")]), Verdict::Nondeterministic);
        let mut idle = green(4, &[]);
        idle.unfired = vec!["step 1".into()];
        assert_eq!(verdict(&[idle.clone(), green(1, &[]), green(2, &[])]), Verdict::Passed);
        assert_eq!(verdict(&[idle, green(1, &[])]), Verdict::Inconclusive);
    }

    #[test]
    fn a_varied_run_counts_as_a_run_and_not_for_expectations() {
        let mut summary = Summary::new("explore", Shard::WHOLE);
        let (news, kinds) = summary.add(&run_of("a.toml"), &green(1, &[1]), false);
        assert_eq!((news.states, kinds.len()), (1, 0));
        let (news, kinds) = summary.add(&run_of("a.toml"), &red(1, "R3", "x"), true);
        assert_eq!((news.states, kinds.len()), (0, 1));
        let tally = &summary.scenarios[0];
        assert_eq!((tally.seeds.len(), tally.varied, tally.runs(), tally.red), (1, 1, 2, 1));
        assert_eq!(summary.count_of(&kinds[0]), 1);
        assert_eq!(summary.verdict(), Verdict::Failed);
    }
}
