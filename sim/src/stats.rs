//! What clients were told, and what a fresh reader found: the numbers that expectations are held against.
//!
//! The history fills this while a run goes on, and adds what the final read found. One entry a record keeps every filter
//! (workload, partition, error, time) possible without a counter for each.

mod groups;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ottla::types::{ErrorCode, PartitionIndex, TopicIdPartition, TopicPartition};

use crate::chronicle::Chronicle;
use crate::event::Who;
use crate::scenario::duration::Span;
use crate::scenario::plan::Gave;
use crate::scenario::target::PartitionName;
use crate::views::Views;

pub(crate) use groups::all as all_groups;
pub use groups::{GroupFate, GroupStats};

/// The numbers of a run.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// One for each record that a producer client gave away, in the order they were sent.
    pub outcomes: Vec<Outcome>,
    /// Errors that clients saw without giving a record up: refused attempts, refused reads.
    pub errors: Vec<ErrorSeen>,
    /// What consumers were given.
    pub reads: Vec<ReadSeen>,
    /// How long after the end of the run everything was answered and readable; `None` where it never was.
    pub converged_after: Option<Span>,
    /// Why it never was.
    pub not_converged: Option<String>,
    /// The cluster as its nodes knew it; `None` where it never came up.
    pub cluster: Option<LastViews>,
    /// How many records each workload's member had in hand at most; the largest of its members.
    pub in_hand: BTreeMap<Arc<str>, u64>,
    /// Polls of consumers, those that failed left out.
    pub polls: Vec<PollSeen>,
    /// Where the records of each key of a topic were sent.
    pub keys: BTreeMap<(Arc<str>, u32), BTreeSet<PartitionIndex>>,
    /// What each consumer group did.
    pub groups: BTreeMap<Arc<str>, GroupStats>,
    /// What each node was at every moment.
    pub chronicle: Chronicle,
}

/// The cluster as its nodes knew it, over the whole run.
#[derive(Clone, Debug, Default)]
pub struct LastViews {
    /// What they knew.
    pub views: Views,
    /// The ids of the partitions that the file names.
    pub partitions: BTreeMap<PartitionName, TopicIdPartition>,
    /// Who is to lead each of them when all is well.
    pub preferred: BTreeMap<PartitionName, Who>,
    /// What targets were that steps kept.
    pub saved: BTreeMap<String, Vec<Who>>,
    /// Whether every node knew the same metadata at the end.
    pub is_metadata_identical: bool,
}

/// What became of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Which workload sent it.
    pub workload: Arc<str>,
    /// Which of its clients.
    pub client: u32,
    /// Where to; `None` where it was given up before a partition was chosen.
    pub partition: Option<TopicPartition>,
    /// When it was given to the producer.
    pub sent_at: Span,
    /// When the client was told, or gave up.
    pub done_at: Span,
    /// What it was told.
    pub fate: Fate,
    /// With which error.
    pub error: Option<ErrorCode>,
    /// How often it stands in the log at the end.
    pub found: u32,
    /// Whether it stood before where the log begins in the end: retention or DeleteRecords took it.
    pub deleted: bool,
    /// Whether it stands before a record that the same client sent earlier with the same key.
    pub reordered: bool,
}

/// What a client was told of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// It is stored.
    Acked,
    /// It is surely not in the log: every attempt ended in a proof of that.
    Failed,
    /// Nobody knows: an attempt timed out or was cut off, or none is ever answered (`acks=0`).
    Unknown,
}

/// An error that a client saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorSeen {
    /// When.
    pub at: Span,
    /// Which workload's client.
    pub workload: Arc<str>,
    /// Of which partition.
    pub partition: Option<TopicPartition>,
    /// Which.
    pub error: ErrorCode,
}

/// Records that a consumer was given at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadSeen {
    /// When.
    pub at: Span,
    /// Which workload's client.
    pub workload: Arc<str>,
    /// Of which partition.
    pub partition: TopicPartition,
    /// How many.
    pub records: u64,
}

/// A poll that did not fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PollSeen {
    /// When it came back.
    pub at: Span,
    /// How long it took.
    pub waited: Span,
    /// Which workload's client.
    pub workload: Arc<str>,
    /// How many records it gave.
    pub records: u64,
}

impl PollSeen {
    /// Whether it gave any.
    #[must_use]
    pub const fn gave(&self) -> Gave {
        if self.records > 0 { Gave::Records } else { Gave::Nothing }
    }
}

/// The counts that every report shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Totals {
    /// Records that producers gave away.
    pub sent: u64,
    /// Acknowledged ones.
    pub acked: u64,
    /// Acknowledged ones that a fresh reader did not find, though nothing had deleted them.
    pub acked_lost: u64,
    /// Acknowledged ones that retention or DeleteRecords took.
    #[serde(skip_serializing_if = "is_zero")]
    pub acked_deleted: u64,
    /// Acknowledged ones that no fresh reader found, as it did not come to the end: nobody knows whether they are there.
    #[serde(skip_serializing_if = "is_zero")]
    pub acked_not_read: u64,
    /// Ones that surely are not in the log.
    pub failed: u64,
    /// Ones of which nobody knows.
    pub unknown: u64,
    /// Copies beyond the first.
    pub duplicates: u64,
    /// Records that stand before an earlier one of their key.
    pub reordered: u64,
    /// Records that consumers were given.
    pub read: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Stats {
    /// The counts that every report shows.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut totals = Totals { sent: self.outcomes.len() as u64, ..Totals::default() };
        for outcome in &self.outcomes {
            match outcome.fate {
                Fate::Acked => totals.acked += 1,
                Fate::Failed => totals.failed += 1,
                Fate::Unknown => totals.unknown += 1,
            }
            if outcome.is_acked_lost() {
                let of = match (outcome.deleted, &self.not_converged) {
                    (true, _) => &mut totals.acked_deleted,
                    (false, None) => &mut totals.acked_lost,
                    (false, Some(_)) => &mut totals.acked_not_read,
                };
                *of += 1;
            }
            totals.duplicates += u64::from(outcome.found.saturating_sub(1));
            totals.reordered += u64::from(outcome.reordered);
        }
        totals.read = self.reads.iter().map(|read| read.records).sum();
        totals
    }
}

impl Outcome {
    /// Whether it was acknowledged and is gone.
    #[must_use]
    pub fn is_acked_lost(&self) -> bool {
        self.fate == Fate::Acked && self.found == 0
    }
}

#[cfg(test)]
mod tests {

    use crate::report::sample;

    #[test]
    fn what_was_not_read_is_not_counted_as_lost() {
        let mut stats = sample::red().stats;
        let totals = stats.totals();
        assert_eq!((totals.acked, totals.acked_lost, totals.acked_not_read), (4, 1, 0));
        assert!(serde_json::to_value(totals).unwrap().get("acked-not-read").is_none());
        let lost = stats.outcomes.iter_mut().find(|outcome| outcome.is_acked_lost()).unwrap();
        lost.deleted = true;
        let totals = stats.totals();
        assert_eq!((totals.acked, totals.acked_lost, totals.acked_deleted), (4, 0, 1));
        stats.outcomes.iter_mut().for_each(|outcome| outcome.deleted = false);
        stats.not_converged = Some("orders-0 has no leader".into());
        let totals = stats.totals();
        assert_eq!((totals.acked, totals.acked_lost, totals.acked_not_read), (4, 0, 1));
        assert_eq!(serde_json::to_value(totals).unwrap()["acked-not-read"], 1);
    }
}
