//! R17: ISR and ELR are of the replicas and share no member; with enough members in the ISR the ELR is empty; the leader is in the ISR;
//! no fenced or leaving broker is in the ISR.

use ottla::types::{BrokerSet, Observation, TopicIdPartition};

use crate::checker::ghost::PartitionState;
use crate::checker::{Event, Ghost, Occurrence, Violation, found, told};
use crate::world::SimTime;

/// A version that breaks one of them, when it is told first.
pub(crate) fn at_event(ghost: &Ghost, occurrence: &Occurrence, out: &mut Vec<Violation>) {
    let Event::Observed(observation) = occurrence.event else { return };
    let Observation::PartitionChanged { partition, partition_epoch, .. } = observation else {
        return;
    };
    let state = PartitionState::of(&observation).expect("it is one");
    let newest = ghost.partition(partition).and_then(|of| of.partition_epoch());
    if newest.is_some_and(|newest| newest >= partition_epoch) {
        return;
    }
    for problem in problems(ghost, partition, &state) {
        let fact = format!(
            "replicas {}, isr {}, eligible {}, leader {}",
            state.replicas,
            state.isr,
            state.elr,
            told(state.leader, "nobody")
        );
        out.push(found("R17", ghost, occurrence, Some(partition), problem, vec![fact]));
    }
}

fn problems(ghost: &Ghost, partition: TopicIdPartition, state: &PartitionState) -> Vec<String> {
    let mut problems = Vec::new();
    let outside = state.eligible().without(&state.replicas);
    if state.replicas.is_whole() && !outside.is_empty() {
        problems.push(format!("{outside} are in sync or eligible and are no replicas"));
    }
    let both: BrokerSet = state.isr.iter().filter(|member| state.elr.contains(*member)).collect();
    if !both.is_empty() {
        problems.push(format!("{both} are in the ISR and eligible besides"));
    }
    if let Some(leader) = state.leader.filter(|leader| !state.isr.contains(*leader)) {
        problems.push(format!("the leader {leader} is not in the ISR"));
    }
    let required = state
        .leader
        .and_then(|leader| ghost.leading(ghost.node_of(leader)?, partition))
        .map(|leading| usize::try_from(leading.min_isr).unwrap_or(usize::MAX));
    if required.is_some_and(|required| state.isr.len() >= required) && !state.elr.is_empty() {
        problems.push("the ISR is large enough and some are eligible besides".to_owned());
    }
    let barred = barred(ghost, state);
    if !barred.is_empty() {
        problems.push(format!("{barred} are in the ISR while fenced or leaving"));
    }
    problems
}

/// The members of an ISR that are fenced or leaving.
fn barred(ghost: &Ghost, state: &PartitionState) -> BrokerSet {
    let is_barred = |broker| {
        let registration = ghost.registration(broker);
        registration.is_some_and(|known| known.is_fenced || known.in_controlled_shutdown)
    };
    state.isr.iter().filter(|broker| is_barred(*broker)).collect()
}

/// A broker is fenced, and the partitions it is in sync for did not change with that.
pub(crate) fn at_barrier(ghost: &Ghost, at: SimTime, out: &mut Vec<Violation>) {
    for (partition, of) in ghost.partitions() {
        let Some(state) = of.state() else { continue };
        let barred = barred(ghost, state);
        if !barred.is_empty() {
            out.push(Violation {
                check: "R17",
                at,
                node: None,
                partition: Some(ghost.name(partition)),
                what: format!("{barred} are in the ISR {} while fenced or leaving", state.isr),
                evidence: Vec::new(),
            });
        }
    }
}
