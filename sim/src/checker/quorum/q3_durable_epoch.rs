//! Q2, Q3: the epoch of a node never goes down, not over a restart either; and what it said of epoch and vote is durable.

use ottla::types::Observation;

use super::{observed, on_node};
use crate::checker::disk_logs::NodeDisk;
use crate::checker::segment_reader::read_quorum_state;
use crate::checker::{Ghost, Occurrence, Violation, told};
use crate::world::SimTime;

/// An earlier epoch than the node ever told.
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let epoch = match observed(occurrence) {
        Some(Observation::QuorumRoleChanged { epoch, .. }) => epoch,
        Some(Observation::VoteGranted { epoch, is_pre_vote: false, .. }) => epoch,
        _ => return,
    };
    let known = ghost.quorum().node(occurrence.node).and_then(|node| node.epoch);
    if known > Some(epoch) {
        let what = format!("a node of the quorum went back to epoch {epoch}");
        let fact = format!("it was in epoch {} before", told(known, "unknown"));
        out.push(on_node("Q3", ghost, occurrence, what, fact));
    }
}

/// The file says less than the node said.
pub(crate) fn on_disk(ghost: &Ghost, disk: &NodeDisk<'_>, at: SimTime, out: &mut Vec<Violation>) {
    let node = disk.node;
    let (Some(voter), Some(broker)) = (ghost.quorum().node(node), ghost.broker_of(node)) else {
        return;
    };
    if ghost.node(node).is_some_and(|node| node.has_rot) || !ghost.quorum().voters.contains(&node) {
        return;
    }
    let Some(told) = voter.epoch else { return };
    let mut report = |check, what: String, fact: String| {
        out.push(Violation {
            check,
            at,
            node: Some(node),
            partition: None,
            what,
            evidence: vec![fact],
        });
    };
    let Some(dir) = &disk.metadata_dir else { return };
    let file = disk.durable(&dir.join("quorum-state"));
    let Some(state) = file.as_ref().and_then(read_quorum_state) else {
        let fact = "it is not there, or not whole".to_owned();
        report("Q3", format!("epoch {told} was told and quorum-state is not durable"), fact);
        return;
    };
    if state.epoch < told.value() {
        let fact = format!("quorum-state says {}", state.epoch);
        report("Q3", format!("epoch {told} was told before it was durable"), fact);
        return;
    }
    let vote = ghost.quorum().votes.get(&(broker, told));
    let vote = vote.filter(|_| state.epoch == told.value() && state.leader < 0);
    if let Some(vote) = vote.filter(|vote| vote.value() != state.voted) {
        let fact = format!("quorum-state says {}", state.voted);
        report(
            "Q2",
            format!("a vote for {vote} in epoch {told} was told before it was durable"),
            fact,
        );
    }
}
