//! The oracles. Two kinds that know nothing of each other: **online checks** over what the nodes say of themselves and what
//! lies on their disks ([`Checkers`]), and **history checks** over what clients asked and were told ([`history_checks`]).
//!
//! An online check is a function over the [`Ghost`] (the state that only the testbed keeps) and the next event, called before
//! the event changes the ghost; or a function over the ghost and the disks, called at barriers. It keeps no state of its own,
//! so that a hand-made sequence of events shows it fire. Segment files are read by [`segment_reader`], which shares no code with
//! the product: an oracle must not share the code it judges.

mod disk_logs;
pub mod ghost;
mod history_order;
mod history_records;
mod r12_offsets_in_order;
mod r15_ack_rule;
mod r3_one_record;
mod s1_recovery_idempotent;
mod s2_recovered_prefix;
mod s3_indexes_agree;
mod s4_segments_tile;
mod s5_clean_shutdown;
mod s6_checkpoints_whole;
mod s9_failed_directory;
pub mod segment_reader;
mod t11_snapshot_is_fold;
mod t1_sequences;
mod t2_producer_epoch;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use ottla::types::{Observation, TopicId};

use crate::history::{History, Sent};
use crate::world::{NodeId, SimTime};
pub use ghost::Ghost;

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The check's name: `S2`, `lost-write`.
    pub check: &'static str,
    /// When it was seen.
    pub at: SimTime,
    /// On which node, if on one.
    pub node: Option<NodeId>,
    /// In which partition, as `orders-0`, if in one.
    pub partition: Option<String>,
    /// What is wrong, as a sentence.
    pub what: String,
    /// The facts that show it, a line each.
    pub evidence: Vec<String>,
}

/// How a node stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The process ended; the page cache stayed.
    Kill,
    /// The machine ended; unsynced bytes went as the disk's model says.
    PowerLoss,
    /// It ended in good order.
    Shutdown,
    /// It ended by itself: a disk failed, or it panicked.
    Ended,
}

/// What the online checks hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A node spoke of itself.
    Observed(Observation),
    /// A node was started.
    Started,
    /// A node has stopped.
    Stopped(Stop),
    /// A stopped node was given an empty disk.
    Wiped,
    /// The world let a write (but for want of space) or a sync fail on this entry of `log.dirs`.
    DiskFailed {
        /// The entry, from 0.
        log_dir: u32,
    },
    /// The world changed bytes of a file below the log directories.
    DiskRotted,
}

/// An event with its time and place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occurrence {
    /// When.
    pub at: SimTime,
    /// Where.
    pub node: NodeId,
    /// What.
    pub event: Event,
}

/// The disks, as the testbed sees them: every file, as the kernel would give it back now, and as it would be after a power loss
/// that loses all that is not synced.
pub trait Disks {
    /// The log directories of a node, in the order of `log.dirs`.
    fn log_dirs(&self, node: NodeId) -> Vec<PathBuf>;
    /// All files below a directory of a node, sorted.
    fn files(&self, node: NodeId, below: &Path) -> Vec<PathBuf>;
    /// The content that a reader would be given.
    fn cached(&self, node: NodeId, path: &Path) -> Option<Bytes>;
    /// The content that is durable; `None` where the name is not.
    fn durable(&self, node: NodeId, path: &Path) -> Option<Bytes>;
}

/// A check at each event: the ghost is as it was before the event.
type EventCheck = fn(&Ghost, &Occurrence, &mut Vec<Violation>);
/// A check of one node's disk. `Ghost` tells whether the node runs.
type DiskCheck = fn(&Ghost, &dyn Disks, NodeId, SimTime, &mut Vec<Violation>);

const EVENT_CHECKS: &[EventCheck] = &[
    r3_one_record::at_event,
    r12_offsets_in_order::at_event,
    r15_ack_rule::at_event,
    s1_recovery_idempotent::at_event,
    s2_recovered_prefix::at_event,
    s4_segments_tile::at_event,
    s9_failed_directory::at_event,
    t1_sequences::at_event,
    t2_producer_epoch::at_event,
];

const DISK_CHECKS: &[DiskCheck] = &[
    r3_one_record::on_disk,
    s2_recovered_prefix::on_disk,
    s3_indexes_agree::on_disk,
    s4_segments_tile::on_disk,
    s5_clean_shutdown::on_disk,
    s6_checkpoints_whole::on_disk,
    t11_snapshot_is_fold::on_disk,
];

/// More violations than this of one check say no more than the first ones.
const VIOLATIONS_MAX: usize = 20;

/// The online checks with their ghost.
#[derive(Debug, Default)]
pub struct Checkers {
    ghost: Ghost,
    violations: Vec<Violation>,
    counts: BTreeMap<&'static str, usize>,
}

impl Checkers {
    /// Nothing has happened yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells the name of a topic, for what people read.
    pub fn name_topic(&mut self, topic_id: TopicId, name: &str) {
        self.ghost.name_topic(topic_id, name);
    }

    /// The state that only the testbed keeps.
    #[must_use]
    pub fn ghost(&self) -> &Ghost {
        &self.ghost
    }

    /// Something happened.
    pub fn on_event(&mut self, occurrence: &Occurrence) {
        let mut found = Vec::new();
        for check in EVENT_CHECKS {
            check(&self.ghost, occurrence, &mut found);
        }
        self.ghost.apply(occurrence);
        self.keep(found);
    }

    /// Looks at a node's disk: after each stop, and at the end.
    pub fn at_barrier(&mut self, disks: &dyn Disks, node: NodeId, at: SimTime) {
        let mut found = Vec::new();
        for check in DISK_CHECKS {
            check(&self.ghost, disks, node, at, &mut found);
        }
        self.keep(found);
    }

    /// Learns which partition lies in which log directory: to be called when topics were created and at each disk fault. Of a
    /// node that has stopped it also learns the whole batches that reached the disk before the node could say so.
    pub fn learn_places(&mut self, disks: &dyn Disks, node: NodeId) {
        let log_dirs = disks.log_dirs(node);
        let has_stopped =
            self.ghost.node(node).is_some_and(|state| !state.is_running && !state.has_rot);
        for files in disk_logs::each_partition(disks, node) {
            if has_stopped {
                self.ghost.learn_untold(node, files.partition, &files.segments);
            }
            let dir = log_dirs.iter().position(|dir| files.directory.starts_with(dir));
            if let Some(dir) = dir.and_then(|dir| u32::try_from(dir).ok()) {
                self.ghost.place(node, files.partition, dir);
            }
        }
    }

    fn keep(&mut self, found: Vec<Violation>) {
        for violation in found {
            let count = self.counts.entry(violation.check).or_default();
            *count += 1;
            if *count <= VIOLATIONS_MAX {
                self.violations.push(violation);
            }
        }
    }

    /// What was found so far, in the order of time.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// How often each check that fired has fired.
    #[must_use]
    pub fn counts(&self) -> &BTreeMap<&'static str, usize> {
        &self.counts
    }
}

/// What the history checks must know besides the history.
pub struct Context<'a> {
    /// When the run ended.
    pub end: SimTime,
    /// Whether the scenario declares that this acknowledged record may be lost.
    pub may_be_lost: &'a dyn Fn(&Sent) -> bool,
    /// Whether records were removed on purpose (retention, DeleteRecords, a deleted topic) or rotted: then a record that is not
    /// there is no loss.
    pub records_removed: bool,
}

/// The check of one property of a history.
type HistoryCheck = fn(&History, &Context<'_>, &mut Vec<Violation>);

const HISTORY_CHECKS: &[HistoryCheck] = &[
    history_records::corrupt_read,
    history_records::phantom,
    history_records::lost_write,
    history_records::unseen,
    history_records::duplicate,
    history_records::inconsistent_offsets,
    history_order::polls_inside,
    history_order::polls_between,
    history_order::sends,
];

/// Holds a finished history against every property that clients may rely on.
#[must_use]
pub fn history_checks(history: &History, context: &Context<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    for check in HISTORY_CHECKS {
        let mut of_check = Vec::new();
        check(history, context, &mut of_check);
        of_check.truncate(VIOLATIONS_MAX);
        found.append(&mut of_check);
    }
    found
}
