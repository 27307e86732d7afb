//! The oracles. Two kinds that know nothing of each other: **online checks** over what the nodes say of themselves and what
//! lies on their disks ([`Checkers`]), and **history checks** over what clients asked and were told ([`history_checks`]).
//!
//! An online check is a function over the [`Ghost`] (the state that only the testbed keeps) and the next event, called before
//! the event changes the ghost; or a function over the ghost and the disks, called at barriers. It keeps no state of its own,
//! so that a hand-made sequence of events shows it fire. Segment files are read by [`segment_reader`], which shares no code with
//! the product: an oracle must not share the code it judges.

pub mod arrivals;
pub mod atlas;
mod disk_logs;
pub mod ghost;
pub mod group_state;
mod groups;
mod history_groups;
mod history_late;
pub mod history_oracles;
mod history_order;
mod history_records;
pub mod left_out;
pub mod liveness;
mod quorum;
mod replication;
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
pub mod waiting;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use ottla::types::{
    BrokerId, Observation, Offset, ShortName, TopicId, TopicIdPartition, TopicPartition,
};

use crate::history::{Commit, History, Sent};
use crate::world::Look;
use crate::world::{NodeId, SimTime};
use disk_logs::{NodeDisk, Segments};
pub use ghost::{ClusterFacts, Ghost, TopicFacts};

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

/// A violation that an event shows.
fn found(
    check: &'static str,
    ghost: &Ghost,
    occurrence: &Occurrence,
    partition: Option<TopicIdPartition>,
    what: String,
    evidence: Vec<String>,
) -> Violation {
    Violation {
        check,
        at: occurrence.at,
        node: Some(occurrence.node),
        partition: partition.map(|partition| ghost.name(partition)),
        what,
        evidence,
    }
}

/// A value as evidence tells it, `none` where there is none: `Some(3)` is not written for readers.
fn told(value: Option<impl fmt::Display>, none: &str) -> String {
    value.map_or_else(|| none.to_owned(), |value| value.to_string())
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

impl Stop {
    /// What became of the node, in a word for evidence.
    const fn word(self) -> &'static str {
        match self {
            Self::Kill => "was killed",
            Self::PowerLoss => "lost its power",
            Self::Shutdown => "was shut down",
            Self::Ended => "ended by itself",
        }
    }
}

/// What the online checks hear.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all that comes is an observation, and it is plain data"
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A node spoke of itself.
    Observed(Observation),
    /// A node was started.
    Started,
    /// A node has stopped.
    Stopped(Stop),
    /// A node stands still from now on: its process, not its network.
    Paused,
    /// It goes on.
    Resumed,
    /// A stopped node was given an empty disk.
    Wiped,
    /// The world let a write (but for want of space) or a sync fail on this entry of `log.dirs`.
    DiskFailed {
        /// The entry, from 0.
        log_dir: u32,
    },
    /// The world changed bytes of a file below the log directories.
    DiskRotted,
    /// Whether nearly nothing fits on a node's disk from now on.
    DiskFull(bool),
    /// From now on writes or syncs of a node fail, when they come; or no longer.
    DiskErrors {
        /// Whether it is syncs.
        of_syncs: bool,
        /// Whether they begin.
        begin: bool,
    },
    /// The world refused a write below the log directories for want of space.
    SpaceRefused,
    /// A node was asked to stop in good order.
    StopAsked,
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
    /// All files of a node, sorted.
    fn files(&self, node: NodeId) -> Vec<PathBuf>;
    /// The content that a reader would be given, from byte `from` on; empty from its end on.
    fn cached(&self, node: NodeId, path: &Path, from: usize) -> Option<Bytes>;
    /// The content that is durable, from byte `from` on; `None` where the name is not.
    fn durable(&self, node: NodeId, path: &Path, from: usize) -> Option<Bytes>;
    /// What was done to a file since it was looked at before. Looking begins the next span of time.
    fn look(&self, node: NodeId, path: &Path) -> Option<Look>;
}

/// A check at each event: the ghost is as it was before the event.
type EventCheck = fn(&Ghost, &Occurrence, &mut Vec<Violation>);
/// A check of what is true across the nodes, at barriers.
type ClusterCheck = fn(&Ghost, SimTime, &mut Vec<Violation>);
/// A check of all disks together, once everything is healed and has settled.
type EndCheck = fn(&Ghost, &[NodeDisk<'_>], SimTime, &mut Vec<Violation>);
/// A check of one node's disk. `Ghost` tells whether the node runs.
type DiskCheck = fn(&Ghost, &NodeDisk<'_>, SimTime, &mut Vec<Violation>);

const EVENT_CHECKS: &[EventCheck] = &[
    s1_recovery_idempotent::at_event,
    s2_recovered_prefix::at_event,
    s4_segments_tile::at_event,
    s9_failed_directory::at_event,
    t1_sequences::at_event,
    t2_producer_epoch::at_event,
];

const DISK_CHECKS: &[DiskCheck] = &[
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
    /// What was read of the disks at the last barriers.
    segments: Segments,
    violations: Vec<Violation>,
    counts: BTreeMap<&'static str, usize>,
}

impl Checkers {
    /// Nothing has happened yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The clients start now: what people read counts from here.
    pub fn begin(&mut self, at: SimTime) {
        self.ghost.begin(at);
    }

    /// Tells the name of a topic, for what people read.
    pub fn name_topic(&mut self, topic_id: TopicId, name: &str) {
        self.ghost.name_topic(topic_id, name);
    }

    /// Tells what the plan says of a topic.
    pub fn describe_topic(&mut self, topic_id: TopicId, facts: TopicFacts) {
        self.ghost.describe_topic(topic_id, facts);
    }

    /// Tells what the plan says of the cluster.
    pub fn describe_cluster(&mut self, facts: ClusterFacts) {
        self.ghost.describe_cluster(facts);
    }

    /// Tells which node is which broker or controller.
    pub fn name_node(&mut self, node: NodeId, id: BrokerId) {
        self.ghost.name_node(node, id);
    }

    /// Tells which nodes vote in the metadata quorum. Where nobody tells, whoever says that it is a voter is one.
    pub fn name_voters(&mut self, voters: impl IntoIterator<Item = NodeId>) {
        self.ghost.name_voters(voters.into_iter().collect());
    }

    /// The state that only the testbed keeps.
    #[must_use]
    pub fn ghost(&self) -> &Ghost {
        &self.ghost
    }

    /// Something happened.
    pub fn on_event(&mut self, occurrence: &Occurrence) {
        let mut found = Vec::new();
        let all = EVENT_CHECKS.iter().chain(replication::EVENT_CHECKS).chain(quorum::EVENT_CHECKS);
        for check in all.chain(groups::EVENT_CHECKS) {
            check(&self.ghost, occurrence, &mut found);
        }
        self.ghost.apply(occurrence);
        self.keep(found);
    }

    /// Looks at a node's disk: when topics were created, after each stop and start, at each disk fault, and at the end. First the
    /// ghost learns what only the disk tells ([`Checkers::learn_places`]).
    pub fn at_barrier(&mut self, disks: &dyn Disks, node: NodeId, at: SimTime) {
        let disk = NodeDisk::look(disks, node, &mut self.segments);
        learn(&mut self.ghost, &disk);
        let mut found = Vec::new();
        let all = DISK_CHECKS.iter().chain(replication::DISK_CHECKS).chain(quorum::DISK_CHECKS);
        for check in all.chain(groups::DISK_CHECKS) {
            check(&self.ghost, &disk, at, &mut found);
        }
        self.keep(found);
    }

    /// Looks at what must be true across the nodes: after each stop and start, and at the end.
    pub fn at_cluster_barrier(&mut self, at: SimTime) {
        let mut found = Vec::new();
        for check in replication::CLUSTER_CHECKS.iter().chain(groups::CLUSTER_CHECKS) {
            check(&self.ghost, at, &mut found);
        }
        self.keep(found);
    }

    /// Looks at all disks together, once everything is healed and has settled.
    pub fn at_end(&mut self, disks: &dyn Disks, at: SimTime) {
        let nodes: Vec<NodeId> =
            self.ghost.brokers().filter_map(|broker| self.ghost.node_of(broker)).collect();
        let look = |node| NodeDisk::look(disks, node, &mut self.segments);
        let all: Vec<NodeDisk<'_>> = nodes.into_iter().map(look).collect();
        let mut found = Vec::new();
        for check in replication::END_CHECKS {
            check(&self.ghost, &all, at, &mut found);
        }
        self.keep(found);
    }

    /// Learns which partition lies in which log directory. Of a node that has stopped it also learns the whole batches that
    /// reached the disk before the node could say so.
    pub fn learn_places(&mut self, disks: &dyn Disks, node: NodeId) {
        learn(&mut self.ghost, &NodeDisk::look(disks, node, &mut self.segments));
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

/// What the ghost learns from a disk: see [`Checkers::learn_places`].
fn learn(ghost: &mut Ghost, disk: &NodeDisk<'_>) {
    let node = disk.node;
    let has_rot = ghost.node(node).is_some_and(|state| state.has_rot);
    let has_stopped = ghost.node(node).is_some_and(|state| !state.is_running && !state.has_rot);
    if has_stopped {
        ghost.learn_untold_metadata(node, &disk.metadata);
    }
    for files in &disk.partitions {
        if has_stopped {
            ghost.learn_untold(node, files.partition, &files.segments);
        }
        if has_rot {
            ghost.learn_rot(node, files.partition, &files.segments);
        }
        let dir = disk.log_dirs.iter().position(|dir| files.directory.starts_with(dir));
        if let Some(dir) = dir.and_then(|dir| u32::try_from(dir).ok()) {
            ghost.place(node, files.partition, dir);
        }
    }
}

/// A cut that the controller declared: from `from` on, what was read before `at` may be gone or another record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredCut {
    /// Of this partition.
    pub partition: TopicPartition,
    /// When the new leader began.
    pub at: SimTime,
    /// The first offset that is concerned.
    pub from: Offset,
}

/// Records that retention, or a deletion by hand, removed from the start of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// Of this partition.
    pub partition: TopicPartition,
    /// When the first replica's log began behind them.
    pub at: SimTime,
    /// The first offset that is left.
    pub to: Offset,
}

/// A commit that a client was told of by a group's coordinator, after one of more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepBack {
    /// The group.
    pub group: ShortName,
    /// Of this partition.
    pub partition: TopicPartition,
    /// The smaller offset.
    pub offset: Offset,
    /// When it was told.
    pub at: SimTime,
}

/// What the history checks must know besides the history.
pub struct Context<'a> {
    /// When the run ended.
    pub end: SimTime,
    /// Whether the scenario declares that this acknowledged record may be lost.
    pub may_be_lost: &'a dyn Fn(&Sent) -> bool,
    /// The cuts that the controller declared; none where the budget of faults permits no loss.
    pub cuts: &'a [DeclaredCut],
    /// The groups and partitions in which a group was set past something, or back: by hand, by expiry, by a position out of range.
    pub resets: &'a [(ShortName, TopicPartition)],
    /// Where coordinators told clients of a commit after one of more, as far as anybody heard of it.
    pub steps_back: &'a [StepBack],
    /// When groups were last told that they have committed nothing in a partition: what members were given before is not of the reading
    /// that was committed.
    pub begun: &'a BTreeMap<(ShortName, TopicPartition), SimTime>,
    /// Whether records were removed nobody knows where (with a disk, or a topic) or rotted: then a record that is not there is no loss.
    pub records_removed: bool,
    /// What was removed from the start of logs, by retention or by an administrator (DeleteRecords), where the file lets it: in the
    /// order of time.
    pub removed: &'a [Removed],
    /// The times in which nothing is broken and everybody has had time to settle.
    pub calm: &'a [(SimTime, SimTime)],
}

impl Context<'_> {
    /// Whether the loss of a record that was acknowledged at `offset` (`None`: nobody said where) is declared, by the file or by the
    /// controller, or it was removed.
    fn is_declared(&self, sent: &Sent, offset: Option<Offset>) -> bool {
        (self.may_be_lost)(sent)
            || sent.partition.as_ref().is_some_and(|partition| {
                let mut cuts = self.cuts_of(partition);
                let start = self.start_of(partition, self.end);
                // A record that was on its way when the cut was made may have been acknowledged before it and heard of after it.
                cuts.any(|cut| {
                    Some(cut.from) <= offset.or(Some(cut.from)) && sent.sent_at <= cut.at
                }) || offset.map_or(start > Offset::ZERO, |offset| offset < start)
            })
    }

    /// Where a partition's log begins at a moment, as far as any replica has gone.
    fn start_of(&self, partition: &TopicPartition, at: SimTime) -> Offset {
        let of = self.removed.iter().filter(|one| one.partition == *partition && one.at <= at);
        of.map(|one| one.to).max().unwrap_or(Offset::ZERO)
    }

    /// Whether what stood at `offset` may be another record since a cut before `at`.
    fn is_cut(&self, partition: &TopicPartition, offset: Offset, at: SimTime) -> bool {
        self.cuts_of(partition).any(|cut| cut.from <= offset && cut.at <= at)
    }

    /// Since when a group reads what it has committed of a partition.
    fn begun_at(&self, group: &str, partition: &TopicPartition) -> SimTime {
        let of = (ShortName::of(group), partition.clone());
        self.begun.get(&of).copied().unwrap_or(SimTime(0))
    }

    /// Whether a group was set to where it reads in a partition.
    fn is_reset(&self, group: &str, partition: &TopicPartition) -> bool {
        let group = ShortName::of(group);
        self.resets.iter().any(|(of, seen)| *of == group && seen == partition)
    }

    /// Whether a group's coordinator took this commit after one of more, as far as anybody heard of it.
    fn is_step_back(&self, commit: &Commit, partition: &TopicPartition, offset: Offset) -> bool {
        let group = ShortName::of(&commit.group);
        let while_asked = commit.asked_at..=commit.done_at.unwrap_or(self.end);
        self.steps_back.iter().any(|step| {
            step.group == group
                && step.partition == *partition
                && step.offset == offset
                && while_asked.contains(&step.at)
        })
    }

    fn cuts_of(&self, partition: &TopicPartition) -> impl Iterator<Item = &DeclaredCut> {
        self.cuts.iter().filter(move |cut| cut.partition == *partition)
    }
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
    history_records::read_although_refused,
    history_late::late,
    history_order::polls_inside,
    history_order::polls_between,
    history_order::polls_after_cuts,
    history_order::sends,
    history_groups::committed_past,
    history_groups::commits_in_order,
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
