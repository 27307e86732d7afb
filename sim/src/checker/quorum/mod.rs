//! Q: what holds of the metadata quorum.
//!
//! Not checked, because it is not there or not told: Q13 (the set of voters does not change), Q18 beyond Q6, Q14 and Q15.

mod q10_log_behind_snapshot;
mod q11_no_term_twice;
mod q12_cut_off_leader;
mod q14_equal_images;
mod q15_published_is_committed;
mod q16_metadata_survives;
mod q17_roles;
mod q1_one_leader;
mod q2_one_vote;
mod q3_durable_epoch;
mod q4_watermark_rises;
mod q5_durable_majority;
mod q6_committed_equal;
mod q7_truncation;
mod q8_own_epoch_first;
mod q9_active_loads_nothing;

use ottla::types::{LeaderEpoch, Observation};

use super::{DiskCheck, Event, EventCheck, Ghost, Occurrence, Violation, found};

pub(super) const EVENT_CHECKS: &[EventCheck] = &[
    q1_one_leader::at_event,
    q2_one_vote::at_event,
    q3_durable_epoch::at_event,
    q4_watermark_rises::at_event,
    q5_durable_majority::at_event,
    q6_committed_equal::at_event,
    q7_truncation::at_event,
    q8_own_epoch_first::at_event,
    q9_active_loads_nothing::at_event,
    q11_no_term_twice::at_event,
    q12_cut_off_leader::at_event,
    q14_equal_images::at_event,
    q15_published_is_committed::at_event,
    q16_metadata_survives::at_event,
    q17_roles::at_event,
];

pub(super) const DISK_CHECKS: &[DiskCheck] =
    &[q3_durable_epoch::on_disk, q6_committed_equal::on_disk, q10_log_behind_snapshot::on_disk];

/// The epoch in which a node says that it leads the quorum, whether as the quorum's leader or as the active controller.
#[expect(clippy::wildcard_enum_match_arm, reason = "only these observations are a leader's")]
fn leads(observation: &Observation) -> Option<LeaderEpoch> {
    match *observation {
        Observation::QuorumRoleChanged {
            role: ottla::types::QuorumRole::Leader, epoch, ..
        }
        | Observation::ControllerElected { epoch, .. } => Some(epoch),
        _ => None,
    }
}

/// A violation on a node, of no partition.
fn on_node(
    check: &'static str,
    ghost: &Ghost,
    occurrence: &Occurrence,
    what: String,
    fact: String,
) -> Violation {
    found(check, ghost, occurrence, None, what, vec![fact])
}

/// What a node says.
fn observed(occurrence: &Occurrence) -> Option<Observation> {
    let Event::Observed(observation) = occurrence.event else { return None };
    Some(observation)
}
