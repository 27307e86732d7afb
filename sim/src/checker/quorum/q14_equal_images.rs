//! Q14: one version of a partition, and one registration at one moment, is the same in the image of every node; and what a node loads
//! from a snapshot is all that was known where it was written.

use ottla::types::{BrokerEpoch, Observation};

use super::{observed, on_node};
use crate::checker::ghost::PartitionState;
use crate::checker::{Ghost, Occurrence, Violation, found};

/// A node tells of another state of the version than the first did.
#[expect(clippy::wildcard_enum_match_arm, reason = "only these observations are of images")]
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Some(observation) = observed(occurrence) else { return };
    match observation {
        Observation::PartitionChanged { partition, partition_epoch, .. } => {
            let state = PartitionState::of(&observation).expect("it is one");
            let known = ghost.partition(partition).and_then(|of| of.states.get(&partition_epoch));
            if let Some(known) = known.filter(|known| **known != state) {
                let what = format!("two nodes know different states of version {partition_epoch}");
                let facts =
                    vec![format!("first: {}", known.text()), format!("now:   {}", state.text())];
                out.push(found("Q14", ghost, occurrence, Some(partition), what, facts));
            }
        }
        Observation::RegistrationChanged {
            end_offset,
            broker,
            broker_epoch,
            is_fenced,
            in_controlled_shutdown,
            incarnation_id: _,
        } => {
            let Some(known) = ghost.registration(broker).filter(|known| known.at == end_offset)
            else {
                return;
            };
            let told = (broker_epoch, is_fenced, in_controlled_shutdown);
            let first = (known.broker_epoch, known.is_fenced, known.in_controlled_shutdown);
            if told != first {
                let what = format!("two nodes know different registrations of broker {broker}");
                let fact = format!("at {end_offset}: {} and {}", words(first), words(told));
                out.push(on_node("Q14", ghost, occurrence, what, fact));
            }
        }
        Observation::MetadataSnapshotSaved { end_offset, digest, .. }
        | Observation::MetadataSnapshotLoaded { end_offset, digest, .. } => {
            let known = ghost.quorum().digests.get(&end_offset);
            if let Some(known) = known.filter(|known| **known != digest) {
                let what = format!("two nodes know different metadata below {end_offset}");
                let fact = format!("digests of the whole image: {known:016x} and {digest:016x}");
                out.push(on_node("Q14", ghost, occurrence, what, fact));
            }
        }
        _ => {}
    }
}

/// A registration in words.
fn words((broker_epoch, is_fenced, is_leaving): (BrokerEpoch, bool, bool)) -> String {
    let fenced = if is_fenced { "fenced" } else { "not fenced" };
    let leaving = if is_leaving { ", leaving" } else { "" };
    format!("epoch {broker_epoch}, {fenced}{leaving}")
}
