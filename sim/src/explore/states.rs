//! Abstract states: what a partition, and the metadata quorum, look like from afar, as a small number. Two moments with the
//! same number are alike to whoever looks for something new; offsets, ids and times are not in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ottla::types::{Observation, QuorumRole, TopicIdPartition};

use crate::checker::Ghost;
use crate::checker::ghost::GhostPartition;

/// An abstract state. The words of it: [`State::words`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct State(pub u32);

/// A part of a state: a number of a few values, each with its words.
struct Part {
    /// How many bits it takes.
    bits: u32,
    /// What each value means; what has no words is never shown.
    words: &'static [&'static str],
}

/// Of a partition.
const PARTITION: &[Part] = &[
    Part {
        bits: 3,
        words: &[
            "no leader",
            "the leader is dead",
            "the leader stands still",
            "the leader does not know yet",
            "led",
        ],
    },
    Part { bits: 2, words: &["nobody believes to lead", "", "two believe to lead"] },
    Part { bits: 3, words: &["isr 0", "isr 1", "isr 2", "isr 3", "isr 4 or more"] },
    Part { bits: 2, words: &["", "elr 1", "elr 2 or more"] },
    Part {
        bits: 3,
        words: &[
            "no replica runs",
            "1 replica runs",
            "2 replicas run",
            "3 replicas run",
            "4 or more replicas run",
        ],
    },
    Part { bits: 2, words: &["", "1 stopped dirty", "2 or more stopped dirty"] },
    Part {
        bits: 2,
        words: &[
            "",
            "a larger isr is asked for",
            "a smaller isr is asked for",
            "another isr is asked for",
        ],
    },
    Part { bits: 1, words: &["", "records wait for the watermark"] },
    Part { bits: 1, words: &["", "below min.insync.replicas"] },
    Part { bits: 1, words: &["", "recovering"] },
];

/// Of the quorum.
const QUORUM: &[Part] = &[
    Part {
        bits: 2,
        words: &["no active controller", "an active controller", "two active controllers"],
    },
    Part { bits: 2, words: &["", "a leader", "two leaders"] },
    Part { bits: 2, words: &["", "a candidate", "two or more candidates"] },
    Part { bits: 2, words: &["", "a prospective voter", "two or more prospective voters"] },
    Part { bits: 1, words: &["", "a resigned leader"] },
    Part {
        bits: 2,
        words: &["less than a majority runs", "just a majority runs", "more than a majority runs"],
    },
];

/// The bit that tells states of the quorum from those of partitions.
const OF_QUORUM: u32 = 1 << 31;

impl State {
    /// Of values in the order of the parts.
    fn of(parts: &[Part], values: &[usize], mark: u32) -> Self {
        let (mut state, mut shift) = (mark, 0);
        for (part, value) in parts.iter().zip(values) {
            let value = u32::try_from((*value).min(part.words.len() - 1)).expect("few words");
            state |= value << shift;
            shift += part.bits;
        }
        Self(state)
    }

    /// Whether it is one of the metadata quorum, not of a partition.
    #[must_use]
    pub const fn is_of_quorum(self) -> bool {
        self.0 & OF_QUORUM != 0
    }

    const fn parts(self) -> &'static [Part] {
        if self.is_of_quorum() { QUORUM } else { PARTITION }
    }

    /// What it says, part by part.
    #[must_use]
    pub fn words(self) -> Vec<&'static str> {
        let (mut rest, mut out) = (self.0 & !OF_QUORUM, Vec::new());
        for part in self.parts() {
            let value = rest & ((1 << part.bits) - 1);
            rest >>= part.bits;
            let words = part.words.get(value as usize).copied().unwrap_or_default();
            if !words.is_empty() {
                out.push(words);
            }
        }
        out
    }

    /// All that a state can say.
    pub fn all_words() -> impl Iterator<Item = &'static str> {
        let parts = PARTITION.iter().chain(QUORUM);
        parts.flat_map(|part| part.words).copied().filter(|words| !words.is_empty())
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words().join(", "))
    }
}

/// The states that a run went through, and the steps from one to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct States {
    /// Each state once.
    pub seen: BTreeSet<u32>,
    /// Each step from a state to another one once.
    pub steps: BTreeSet<(u32, u32)>,
    now: BTreeMap<TopicIdPartition, u32>,
    quorum_now: Option<u32>,
}

impl States {
    /// A node spoke of itself, and the ghost has heard it.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the others change no abstract state")]
    pub fn observe(&mut self, ghost: &Ghost, observation: &Observation) {
        match observation {
            Observation::PartitionChanged { partition, .. }
            | Observation::BecameLeader { partition, .. }
            | Observation::BecameFollower { partition, .. }
            | Observation::IsrProposed { partition, .. }
            | Observation::IsrCommitted { partition, .. }
            | Observation::IsrRefused { partition, .. }
            | Observation::MinIsrChanged { partition, .. }
            | Observation::ProduceAppended { partition, .. }
            | Observation::HighWatermarkAdvanced { partition, is_leader: true, .. } => {
                if let Some(of) = ghost.partition(*partition) {
                    self.look(ghost, *partition, of);
                }
            }
            Observation::QuorumRoleChanged { .. }
            | Observation::ControllerElected { .. }
            | Observation::ControllerResigned { .. } => self.look_at_quorum(ghost),
            _ => {}
        }
    }

    /// Something happened to a node that it does not tell itself.
    pub fn turn(&mut self, ghost: &Ghost) {
        for (id, of) in ghost.partitions() {
            self.look(ghost, id, of);
        }
        self.look_at_quorum(ghost);
    }

    fn look(&mut self, ghost: &Ghost, id: TopicIdPartition, of: &GhostPartition) {
        let Some(state) = state_of(ghost, id, of) else { return };
        let before = self.now.insert(id, state.0);
        self.keep(before, state.0);
    }

    fn look_at_quorum(&mut self, ghost: &Ghost) {
        let state = state_of_quorum(ghost);
        let before = self.quorum_now.replace(state.0);
        self.keep(before, state.0);
    }

    fn keep(&mut self, before: Option<u32>, state: u32) {
        if before == Some(state) {
            return;
        }
        self.seen.insert(state);
        if let Some(before) = before {
            self.steps.insert((before, state));
        }
    }
}

fn state_of(ghost: &Ghost, id: TopicIdPartition, of: &GhostPartition) -> Option<State> {
    let state = of.state()?;
    let node_of = |broker| ghost.node_of(broker).and_then(|node| Some((node, ghost.node(node)?)));
    let runs = |broker| node_of(broker).is_some_and(|(_, node)| node.is_running);
    let leading = |broker| {
        let (node, facts) = node_of(broker)?;
        ghost.leading(node, id).filter(|_| facts.is_running)
    };
    let current = state.leader.and_then(leading).filter(|own| own.epoch == state.leader_epoch);
    let leader = match state.leader.map(node_of) {
        None => 0,
        Some(None) => 1,
        Some(Some((_, node))) if !node.is_running => 1,
        Some(Some((_, node))) if node.is_paused => 2,
        Some(Some(_)) if current.is_none() => 3,
        Some(Some(_)) => 4,
    };
    let asked = current.and_then(|own| Some((own.isr, own.pending?.0)));
    let asked = asked.map_or(0, |(isr, asked)| {
        usize::from(!asked.without(&isr).is_empty())
            + 2 * usize::from(!isr.without(&asked).is_empty())
    });
    let log = state.leader.and_then(|leader| ghost.log_of(leader, id)).filter(|_| leader == 4);
    let waits = log.is_some_and(|log| log.high_watermark.is_some_and(|mark| mark < log.end));
    let min_isr = ghost.facts(id.topic_id).min_isr;
    let values = [
        leader,
        state.replicas.iter().filter(|broker| leading(*broker).is_some()).count(),
        state.isr.len(),
        state.elr.len(),
        state.replicas.iter().filter(|broker| runs(*broker)).count(),
        of.dirty.len(),
        asked,
        usize::from(waits),
        usize::from(state.isr.len() < min_isr),
        usize::from(state.is_recovering),
    ];
    Some(State::of(PARTITION, &values, 0))
}

fn state_of_quorum(ghost: &Ghost) -> State {
    let quorum = ghost.quorum();
    let running: Vec<_> = quorum
        .nodes
        .iter()
        .filter(|(node, _)| ghost.is_running(**node))
        .map(|(_, of)| of)
        .collect();
    let are = |asked: QuorumRole| {
        running.iter().filter(|of| of.role.is_some_and(|(role, _)| role == asked)).count()
    };
    let up = quorum.voters.iter().filter(|node| ghost.is_running(**node)).count();
    let values = [
        running.iter().filter(|of| of.is_active).count(),
        are(QuorumRole::Leader),
        are(QuorumRole::Candidate),
        are(QuorumRole::Prospective),
        are(QuorumRole::Resigned),
        (up + 1).saturating_sub(quorum.majority()),
    ];
    State::of(QUORUM, &values, OF_QUORUM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_says_what_it_is_made_of() {
        let state = State::of(PARTITION, &[4, 1, 2, 0, 3, 1, 1, 1, 0, 0], 0);
        assert_eq!(
            state.to_string(),
            "led, isr 2, 3 replicas run, 1 stopped dirty, a larger isr is asked for, records wait for the watermark"
        );
        let quorum = State::of(QUORUM, &[0, 0, 7, 0, 0, 1], OF_QUORUM);
        assert!(quorum.is_of_quorum() && !state.is_of_quorum());
        assert_eq!(
            quorum.to_string(),
            "no active controller, two or more candidates, just a majority runs"
        );
    }

    #[test]
    fn every_part_has_room_for_its_values_and_all_fit() {
        for parts in [PARTITION, QUORUM] {
            assert!(parts.iter().all(|part| part.words.len() <= 1 << part.bits));
            assert!(parts.iter().map(|part| part.bits).sum::<u32>() < 31);
        }
        let words: BTreeSet<_> = State::all_words().collect();
        assert_eq!(words.len(), State::all_words().count(), "no words mean two things");
    }

    #[test]
    fn a_step_leads_from_one_state_to_another() {
        let mut states = States::default();
        for (before, now) in [(None, 1), (Some(1), 1), (Some(1), 2), (Some(2), 1), (Some(1), 2)] {
            states.keep(before, now);
        }
        assert_eq!(states.seen.into_iter().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(states.steps.into_iter().collect::<Vec<_>>(), [(1, 2), (2, 1)]);
    }
}
