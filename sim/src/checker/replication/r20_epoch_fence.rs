//! R20: what a replica asks or writes takes effect only where both sides are of the same term.

use ottla::types::Observation;

use crate::checker::{Event, Ghost, Occurrence, Violation, found, told};

/// A leader takes the fetch of a follower of another term; a follower takes a batch in a term that is not its own, or of a later
/// one; a leader takes a batch as a follower would.
///
/// Whose answer a follower truncates by is not told, and so not held against it here.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "only these observations cross from replica to replica"
)]
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Event::Observed(observation) = occurrence.event else { return };
    let own =
        |partition| ghost.replica(occurrence.node, partition).and_then(|replica| replica.epoch());
    let (partition, what, fact) = match observation {
        Observation::FollowerFetched {
            partition,
            leader_epoch,
            replica,
            current_leader_epoch,
            ..
        } => {
            let leads = ghost.leading(occurrence.node, partition).map(|leading| leading.epoch);
            if current_leader_epoch == Some(leader_epoch)
                && leads.is_none_or(|leads| leads == leader_epoch)
            {
                return;
            }
            let what =
                format!("the leader took the fetch of broker {replica}, which is of another term");
            let fact = format!(
                "the replica asks in epoch {}, the leader answers in {leader_epoch} and leads in {}",
                told(current_leader_epoch, "none"),
                told(leads, "none")
            );
            (partition, what, fact)
        }
        Observation::FollowerAppended {
            partition,
            current_leader_epoch,
            leader_epoch,
            base_offset,
            end_offset,
            ..
        } => {
            let replica = ghost.replica(occurrence.node, partition);
            // Taken in an earlier term, written in this one: this one begins behind it.
            if replica.is_some_and(|replica| {
                replica.epoch().is_some_and(|term| current_leader_epoch < term)
                    && replica.taken_before().is_some_and(|end| end_offset <= end)
            }) {
                return;
            }
            let is_leader = ghost.leading(occurrence.node, partition).is_some();
            let term = own(partition).unwrap_or(current_leader_epoch);
            if !is_leader && term == current_leader_epoch && leader_epoch <= current_leader_epoch {
                return;
            }
            let what =
                format!("a replica took the batch at {base_offset} in a term that is not its own");
            let fact = format!(
                "batch of {leader_epoch}, written in {current_leader_epoch}; the replica is in {term}, leading: {is_leader}"
            );
            (partition, what, fact)
        }
        Observation::IsrProposed { partition, leader_epoch, .. }
        | Observation::IsrCommitted { partition, leader_epoch, .. } => match own(partition) {
            Some(term) if term != leader_epoch => {
                let what = "a leader asked for or took over an ISR of another term".to_owned();
                (partition, what, format!("of {leader_epoch}; the replica is in {term}"))
            }
            Some(_) | None => return,
        },
        _ => return,
    };
    out.push(found("R20", ghost, occurrence, Some(partition), what, vec![fact]));
}
