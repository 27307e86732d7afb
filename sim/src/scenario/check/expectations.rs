//! Expectations: values that can be compared, about what is there.

use super::Check;
use crate::scenario::NO_VARIANT;
use crate::scenario::condition::Measure;
use crate::scenario::error::suggest;
use crate::scenario::parse::join;
use crate::scenario::plan::{Budget, Expectation, ExpectationKind, Of, OfGroup};
use crate::scenario::target::Target;

impl Check<'_> {
    pub(super) fn expectations(&mut self) {
        for (index, expectation) in self.plan.expect.iter().enumerate() {
            let at = format!("/expect/{index}");
            self.expectation(&at, expectation);
        }
    }

    fn expectation(&mut self, at: &str, expectation: &Expectation) {
        if let Err(what) = expectation.is.suits(measure(&expectation.kind)) {
            self.refuse(&join(at, "is"), what, None);
        }
        if let Some((from, to)) = expectation.between
            && from >= to
        {
            self.refuse(&join(at, "between"), format!("{from} is not before {to}"), None);
        }
        if let Some(variant) = expectation.variant.as_deref().filter(|name| *name != NO_VARIANT) {
            let names = crate::scenario::variant_names(self.document);
            if !names.iter().any(|name| name == variant) {
                let help = suggest(variant, names.iter().map(String::as_str));
                self.refuse(&join(at, "variant"), format!("there is no variant `{variant}`"), help);
            }
        }
        match &expectation.kind {
            ExpectationKind::AckedLost { of } => {
                self.of(at, of);
                if expectation.is.admits_more_than_zero() && self.plan.budget == Budget::Tolerable {
                    self.refuse(
                        &join(at, "is"),
                        "this allows acknowledged records to be lost, and the tolerable budget does not",
                        Some("say `budget = \"beyond\"` at the top".into()),
                    );
                }
            }
            ExpectationKind::Acked { of }
            | ExpectationKind::FailedForGood { of }
            | ExpectationKind::Unknown { of }
            | ExpectationKind::UnknownLost { of }
            | ExpectationKind::Error { of }
            | ExpectationKind::DuplicatesInLog { of }
            | ExpectationKind::ReorderedPerKey { of }
            | ExpectationKind::Read { of } => self.of(at, of),
            ExpectationKind::Latency { workload, .. }
            | ExpectationKind::PollRecords { workload }
            | ExpectationKind::PollWait { workload, .. } => {
                if let Some(workload) = workload {
                    self.workload(&join(at, "workload"), workload);
                }
            }
            ExpectationKind::UnavailableFor { workload, partition } => {
                let of =
                    Of { workload: workload.clone(), partition: partition.clone(), error: None };
                self.of(at, &of);
            }
            ExpectationKind::Leader { partition, who, .. } => {
                self.partition(&join(at, "partition"), partition);
                let below = join(at, "who");
                if matches!(who, Target::Broker(_) | Target::Preferred(_) | Target::Saved(_)) {
                    self.target(&below, who, None);
                } else {
                    let help = "write `brokers(1)`, `preferred(orders-0)` or `$name`";
                    let what = format!("`{who}` does not stay the same: nobody can be held to it");
                    self.refuse(&below, what, Some(help.into()));
                }
            }
            ExpectationKind::HwAdvance { partition }
            | ExpectationKind::Batches { partition }
            | ExpectationKind::LeaderlessFor { partition }
            | ExpectationKind::Isr { partition, .. } => {
                if let Some(partition) = partition {
                    self.partition(&join(at, "partition"), partition);
                }
            }
            ExpectationKind::Event { partition, node, .. } => {
                if let Some(partition) = partition {
                    self.partition(&join(at, "partition"), partition);
                }
                if let Some(node) = node {
                    self.one_node(&join(at, "node"), node);
                }
            }
            ExpectationKind::UnprocessedAcked { of }
            | ExpectationKind::ProcessedTwice { of }
            | ExpectationKind::ProcessedOutOfOrder { of }
            | ExpectationKind::CommittedUnprocessed { of }
            | ExpectationKind::CommitMovesBack { of }
            | ExpectationKind::Lag { of, .. }
            | ExpectationKind::IdleFor { of }
            | ExpectationKind::OwnersPerPartition { of }
            | ExpectationKind::UnownedFor { of } => self.of_group(at, of),
            ExpectationKind::KeysMoved { topic } => {
                let topics = &self.plan.topics;
                if let Some(topic) = topic.as_ref().filter(|topic| !topics.contains_key(*topic)) {
                    let help = suggest(topic, topics.keys().map(String::as_str));
                    self.refuse(&join(at, "topic"), format!("there is no topic `{topic}`"), help);
                }
            }
            ExpectationKind::Rebalances { group } | ExpectationKind::InHand { group } => {
                self.of_group(at, &OfGroup { group: group.clone(), partition: None });
            }
            ExpectationKind::Imbalance { group, .. }
            | ExpectationKind::PartitionsMoved { group } => {
                self.group(&join(at, "group"), group);
            }
            ExpectationKind::Converged {}
            | ExpectationKind::ActiveControllers { .. }
            | ExpectationKind::ControllerGap {}
            | ExpectationKind::MetadataIdentical {}
            | ExpectationKind::Violations { .. } => {}
        }
    }

    fn of_group(&mut self, at: &str, of: &OfGroup) {
        match &of.group {
            Some(group) => self.group(&join(at, "group"), group),
            None if self.plan.groups().is_empty() => {
                let help = "give a workload of consumers a `group`";
                self.refuse(at, "no workload is a consumer group", Some(help.into()));
            }
            None => {}
        }
        if let Some(partition) = &of.partition {
            self.partition(&join(at, "partition"), partition);
        }
    }

    fn of(&mut self, at: &str, of: &Of) {
        if let Some(workload) = &of.workload {
            self.workload(&join(at, "workload"), workload);
        }
        if let Some(partition) = &of.partition {
            self.partition(&join(at, "partition"), partition);
        }
    }
}

/// What kind of value an expectation measures.
#[must_use]
pub const fn measure(kind: &ExpectationKind) -> Measure {
    match kind {
        ExpectationKind::UnavailableFor { .. }
        | ExpectationKind::Latency { .. }
        | ExpectationKind::PollWait { .. }
        | ExpectationKind::LeaderlessFor { .. }
        | ExpectationKind::IdleFor { .. }
        | ExpectationKind::UnownedFor { .. }
        | ExpectationKind::ControllerGap {} => Measure::Time,
        ExpectationKind::Converged {}
        | ExpectationKind::MetadataIdentical {}
        | ExpectationKind::Leader { .. } => Measure::Flag,
        ExpectationKind::Acked { .. }
        | ExpectationKind::AckedLost { .. }
        | ExpectationKind::FailedForGood { .. }
        | ExpectationKind::Unknown { .. }
        | ExpectationKind::UnknownLost { .. }
        | ExpectationKind::Error { .. }
        | ExpectationKind::DuplicatesInLog { .. }
        | ExpectationKind::ReorderedPerKey { .. }
        | ExpectationKind::Read { .. }
        | ExpectationKind::HwAdvance { .. }
        | ExpectationKind::Batches { .. }
        | ExpectationKind::UnprocessedAcked { .. }
        | ExpectationKind::ProcessedTwice { .. }
        | ExpectationKind::ProcessedOutOfOrder { .. }
        | ExpectationKind::KeysMoved { .. }
        | ExpectationKind::PollRecords { .. }
        | ExpectationKind::CommittedUnprocessed { .. }
        | ExpectationKind::CommitMovesBack { .. }
        | ExpectationKind::Lag { .. }
        | ExpectationKind::Rebalances { .. }
        | ExpectationKind::OwnersPerPartition { .. }
        | ExpectationKind::Imbalance { .. }
        | ExpectationKind::PartitionsMoved { .. }
        | ExpectationKind::InHand { .. }
        | ExpectationKind::Isr { .. }
        | ExpectationKind::ActiveControllers { .. }
        | ExpectationKind::Event { .. }
        | ExpectationKind::Violations { .. } => Measure::Count,
    }
}
