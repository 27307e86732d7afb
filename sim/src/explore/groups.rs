//! Failures of one kind, from many runs: the same check, fired at the same site. A thousand red seeds are mostly one bug.

use ottla::types::TopicPartition;
use serde::{Deserialize, Serialize};

use crate::event::Who;
use crate::report::{repro_command, words_of};
use crate::scenario::target::PartitionName;
use crate::verdict::{SeedRun, VariantRun, Violation};

/// The check of a run whose two traces differ.
const NONDETERMINISM: &str = "determinism";

/// Facts that a summary keeps of a failure; all of them stand in its `report.json`.
const EVIDENCE_MAX: usize = 12;

/// Other failures of the kind that a summary names.
const OTHERS_MAX: usize = 20;

/// What failures of one kind have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Kind {
    /// The check, or the expectation in the words of its file.
    pub check: String,
    /// Where it fired: what kind of node, what part it had in which kind of partition; of a panic the line.
    pub site: String,
    /// The scenario, with its variant.
    pub scenario: String,
}

/// One failure.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Failure {
    /// The seed.
    #[serde(with = "super::summary::as_text")]
    pub seed: u64,
    /// The command that runs it again.
    pub again: String,
    /// Claim against fact.
    pub what: String,
    /// The facts.
    pub evidence: Vec<String>,
    /// Where its files are, where they were left.
    pub kept: Option<String>,
}

/// All failures of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// What they have in common.
    #[serde(flatten)]
    pub kind: Kind,
    /// How many runs failed so.
    pub count: u64,
    /// The first of them, by seed.
    pub first: Failure,
    /// The commands of some more.
    pub others: Vec<String>,
}

impl Group {
    /// A group of one.
    #[must_use]
    pub fn new(kind: Kind, failure: Failure) -> Self {
        Self { kind, count: 1, first: failure, others: Vec::new() }
    }

    /// Takes in the failures of another group of this kind.
    pub fn merge(&mut self, other: Self) {
        self.count += other.count;
        let mut others = std::mem::take(&mut self.others);
        others.extend(other.others);
        if other.first < self.first {
            others.push(std::mem::replace(&mut self.first, other.first).again);
        } else {
            others.push(other.first.again);
        }
        others.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b))); // seed 9 before seed 10
        others.truncate(OTHERS_MAX);
        self.others = others;
    }
}

/// The kinds in which a run failed, causes before consequences: its first violation, or else what it was expected to show and
/// did not; and that it was not the same run twice.
#[must_use]
pub fn failures_of(of: &VariantRun, run: &SeedRun) -> Vec<(Kind, Failure)> {
    let scenario = of.title();
    let failure = |what: String, evidence: Vec<String>| Failure {
        seed: run.seed,
        again: repro_command(of, run),
        what,
        evidence,
        kept: None,
    };
    let mut out = Vec::new();
    if let Some(difference) = &run.nondeterminism {
        let lines = difference.lines().map(str::to_owned).take(EVIDENCE_MAX).collect();
        let kind = Kind {
            check: NONDETERMINISM.into(),
            site: "the trace".into(),
            scenario: scenario.clone(),
        };
        let mut failure = failure("two runs of one seed differ".into(), lines);
        failure.again.push_str(" --check-determinism");
        out.push((kind, failure));
    }
    if let Some(first) = run.violations.first() {
        let kind = Kind { check: first.check.into(), site: site_of(run, first), scenario };
        let evidence = first.evidence.iter().take(EVIDENCE_MAX).cloned().collect();
        out.push((kind, failure(first.to_string(), evidence)));
        return out;
    }
    if let Some(index) = run.missed().first() {
        let expectation = &run.plan.expect[*index];
        let value = run.measured.get(*index).and_then(|measured| measured.as_ref()?.value.as_ref());
        let value = value.map_or_else(|| "nothing to measure".to_owned(), ToString::to_string);
        let words = words_of(expectation);
        let what = format!("expected {words} {}, and it is {value}", expectation.is);
        let kind = Kind { check: words, site: "an expectation".into(), scenario };
        out.push((kind, failure(what, Vec::new())));
    }
    out
}

/// Where a violation fired, without what differs from seed to seed.
fn site_of(run: &SeedRun, violation: &Violation) -> String {
    if violation.check == "panic" {
        // The message ends with the line; what stands before may hold numbers of the seed.
        let line = violation.what.rsplit_once(" at ").map(|(_, line)| line);
        return line.map_or_else(|| "somewhere".into(), |line| format!("at {line}"));
    }
    let node = violation.node.as_ref().map(|who| match who {
        Who::Broker(_) => "a broker",
        Who::Controller(_) => "a controller",
        Who::Client { .. } => "a client",
        Who::Testbed => "the testbed",
    });
    let partition = violation.partition.as_ref().map(|partition| {
        if &*partition.topic == "__cluster_metadata" {
            "the metadata log".to_owned()
        } else {
            format!("{}a partition of {}", role_of(run, violation, partition), partition.topic)
        }
    });
    match (node, partition) {
        (None, None) => "the cluster".into(),
        (Some(node), None) => node.into(),
        (None, Some(partition)) => partition,
        (Some(node), Some(partition)) => format!("{node}, {partition}"),
    }
}

/// What the node of a violation was to its partition then, as the controller had it.
fn role_of(run: &SeedRun, violation: &Violation, partition: &TopicPartition) -> &'static str {
    let (Some(Who::Broker(id)), Some(cluster)) = (&violation.node, &run.stats.cluster) else {
        return "";
    };
    let index = partition.partition.value().unsigned_abs();
    let name = PartitionName { topic: partition.topic.to_string(), index };
    let view = cluster
        .partitions
        .get(&name)
        .and_then(|partition| cluster.views.partition_at(*partition, violation.at));
    let Some(view) = view else { return "" };
    let is_this = |broker: &ottla::types::BrokerId| broker.value().unsigned_abs() == *id;
    if view.leader.as_ref().is_some_and(is_this) {
        "leader of "
    } else if view.isr.iter().any(|broker| is_this(&broker)) {
        "in-sync follower of "
    } else if view.replicas.iter().any(|broker| is_this(&broker)) {
        "follower out of sync of "
    } else {
        "no replica of "
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explore::summary::tests::{red, run_of};
    use crate::scenario::duration::Span;
    use crate::which::COMMAND;

    /// The command that runs a seed again in this build.
    fn again(seed: u64) -> String {
        format!("{COMMAND} x.toml --seed {seed}")
    }

    fn kind_of(mut run: SeedRun) -> (String, String) {
        run.seed = 3;
        let mut found = failures_of(&run_of("x.toml"), &run);
        assert_eq!(found.len(), 1);
        let (kind, failure) = found.remove(0);
        assert_eq!(failure.again, again(3));
        (kind.check, kind.site)
    }

    fn partition(topic: &str) -> Option<TopicPartition> {
        Some(TopicPartition {
            topic: topic.into(),
            partition: ottla::types::PartitionIndex::new(1),
        })
    }

    #[test]
    fn a_kind_is_the_first_check_and_where_it_fired() {
        let mut run = red(1, "R18", "7 of 9");
        run.violations[0].node = Some(Who::Broker(2));
        run.violations[0].partition = partition("orders");
        assert_eq!(kind_of(run.clone()), ("R18".into(), "a broker, a partition of orders".into()));
        run.violations[0].partition = partition("__cluster_metadata");
        assert_eq!(kind_of(run.clone()).1, "a broker, the metadata log");
        run.violations.push(red(1, "R3", "a consequence").violations.remove(0));
        assert_eq!(kind_of(run).0, "R18");
        let panic = red(1, "panic", "offset 17 went back at src/replica/partition.rs:120");
        assert_eq!(kind_of(panic), ("panic".into(), "at src/replica/partition.rs:120".into()));
    }

    #[test]
    fn what_was_expected_and_not_shown_is_a_kind_of_its_own() {
        let text =
            r#"{ "claim": "x", "run-for": "1s", "expect": [{ "that": "acked-lost", "is": 0 }] }"#;
        let mut run = red(1, "R18", "x");
        run.violations.clear();
        run.plan = serde_json::from_str(text).unwrap();
        run.measured = vec![Some(crate::expect::Measurement {
            value: Some(crate::scenario::condition::Measured::Count(3)),
            holds: false,
        })];
        assert_eq!(kind_of(run), ("acked-lost".into(), "an expectation".into()));
    }

    #[test]
    fn a_run_that_differs_from_itself_is_told_before_all_else() {
        let mut run = red(4, "R18", "x");
        run.nondeterminism = Some("entry 17 differs\nhere and there".into());
        let found = failures_of(&run_of("x.toml"), &run);
        let checks: Vec<&str> = found.iter().map(|(kind, _)| kind.check.as_str()).collect();
        assert_eq!(checks, ["determinism", "R18"]);
        assert_eq!(found[0].1.evidence[0], "entry 17 differs");
        assert!(found[0].1.again.ends_with("--seed 4 --check-determinism"));
    }

    #[test]
    fn a_group_shows_its_first_seed_whatever_the_order() {
        let failure = |seed: u64| {
            let mut run = red(seed, "R18", "x");
            run.violations[0].at = Span::from_secs(seed);
            failures_of(&run_of("x.toml"), &run).remove(0)
        };
        let group = |seeds: &[u64]| {
            let groups = seeds.iter().map(|seed| failure(*seed));
            let groups = groups.map(|(kind, failure)| Group::new(kind, failure));
            groups.reduce(|mut one, other| {
                one.merge(other);
                one
            })
        };
        let one = group(&[12, 3, 9]).unwrap();
        assert_eq!((one.count, one.first.seed), (3, 3));
        assert_eq!(one.others, [again(9), again(12)]);
        assert_eq!(Some(one), group(&[9, 12, 3]));
    }
}
