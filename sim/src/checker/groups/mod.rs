//! G: what holds of consumer groups, as their coordinators tell of them.

mod consumers_log;
mod g11_rebalance_ends;
mod g12_commit_is_read_back;
mod g1_one_owner;
mod g2_all_assigned;
mod g3_target_epoch;
mod g4_stable_is_whole;
mod g5_generations_rise;
mod g6_committer;
mod g7_no_way_back;
mod g8_loaded_is_the_log;
mod g9_no_live_expiry;
mod offsets_log;

use ottla::types::{CoordinatorTerm, GroupObservation, Observation, ShortName, TopicIdPartition};

use super::ghost::groups::{GhostCoordinator, GhostGroup};
use super::{ClusterCheck, DiskCheck, Event, EventCheck, Ghost, Occurrence, Violation, found};

pub(super) const EVENT_CHECKS: &[EventCheck] = &[
    g1_one_owner::at_event,
    g2_all_assigned::at_event,
    g3_target_epoch::at_event,
    g4_stable_is_whole::at_event,
    g5_generations_rise::at_event,
    g6_committer::at_event,
    g7_no_way_back::at_event,
    g8_loaded_is_the_log::at_event,
    g9_no_live_expiry::at_event,
    g11_rebalance_ends::at_event,
    g12_commit_is_read_back::at_event,
];

pub(super) const DISK_CHECKS: &[DiskCheck] = &[g8_loaded_is_the_log::on_disk];

pub(super) const CLUSTER_CHECKS: &[ClusterCheck] = &[g11_rebalance_ends::at_barrier];

/// A word of a group coordinator, with what the ghost knew before it.
#[derive(Clone, Copy)]
struct Word<'a> {
    ghost: &'a Ghost,
    occurrence: &'a Occurrence,
    term: CoordinatorTerm,
    what: GroupObservation,
}

impl<'a> Word<'a> {
    /// The word that an event is, if it is one.
    fn of(ghost: &'a Ghost, occurrence: &'a Occurrence) -> Option<Self> {
        let Event::Observed(Observation::Group { term, what }) = occurrence.event else {
            return None;
        };
        Some(Self { ghost, occurrence, term, what })
    }

    fn coordinator(&self) -> Option<&'a GhostCoordinator> {
        self.ghost.groups().coordinators.get(&(self.occurrence.node, self.term))
    }

    fn group(&self, group: ShortName) -> Option<&'a GhostGroup> {
        self.coordinator()?.groups.get(&group)
    }

    /// A violation that it shows.
    fn found(
        &self,
        check: &'static str,
        partition: Option<TopicIdPartition>,
        what: String,
        evidence: Vec<String>,
    ) -> Violation {
        found(check, self.ghost, self.occurrence, partition, what, evidence)
    }
}

/// Whether the controller declared, since `since`, that a partition lost committed records; or that nobody knows that it did not.
fn is_cut_since(ghost: &Ghost, partition: TopicIdPartition, since: crate::world::SimTime) -> bool {
    ghost.partition(partition).is_some_and(|of| of.cuts.iter().any(|cut| cut.at >= since))
}

/// Whether the log of a coordinator was cut since then, by a declared loss.
fn is_log_cut_since(word: &Word<'_>, since: crate::world::SimTime) -> bool {
    let log = word.coordinator().and_then(|known| known.loaded).map(|(partition, _)| partition);
    log.is_some_and(|log| is_cut_since(word.ghost, log, since))
}
