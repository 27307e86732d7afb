//! Why a run failed, so that two runs can be asked whether they failed for the same reason.

use std::fmt;

use crate::event::Who;
use crate::report::words_of;
use crate::verdict::{SeedRun, Violation};

/// The id under which the metadata log is a partition.
const METADATA: &str = "__cluster_metadata";

/// What kind of thing a violation was found at. Which broker or which partition does not matter: another draw takes another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Role {
    /// At a broker, a voter, a client, the testbed, or at no node.
    pub node: &'static str,
    /// Of the metadata log, of a topic's partition, or of none.
    pub partition: &'static str,
}

impl Role {
    /// The role of what a violation was found at.
    #[must_use]
    pub fn of(violation: &Violation) -> Self {
        let node = match &violation.node {
            None => "",
            Some(Who::Testbed) => "the testbed",
            Some(Who::Broker(_)) => "a broker",
            Some(Who::Controller(_)) => "a controller",
            Some(Who::Client { .. }) => "a client",
        };
        let partition = match &violation.partition {
            None => "",
            Some(partition) if *partition.topic == *METADATA => "the metadata log",
            Some(_) => "a partition",
        };
        Self { node, partition }
    }
}

/// Why a run failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A check found a violation.
    Violation {
        /// The check.
        check: String,
        /// Where in the code, for a panic: the file and line that it names.
        place: Option<String>,
        /// At what kind of thing.
        role: Role,
    },
    /// An expectation was missed that must hold in each seed, or in none: in its own words, without its times.
    Missed(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missed(words) => write!(f, "`{words}` is missed"),
            Self::Violation { check, place, role } => {
                f.write_str(check)?;
                for (word, of) in [(" at ", role.node), (" of ", role.partition)] {
                    if !of.is_empty() {
                        write!(f, "{word}{of}")?;
                    }
                }
                place.iter().try_for_each(|place| write!(f, " ({place})"))
            }
        }
    }
}

/// `src/raft/mod.rs:10` at the end of a panic's message.
fn place_of(violation: &Violation) -> Option<String> {
    if violation.check != "panic" {
        return None;
    }
    violation.what.rsplit_once(" at ").map(|(_, place)| place.to_string())
}

impl Reason {
    /// The reason that a violation is.
    #[must_use]
    pub fn of(violation: &Violation) -> Self {
        Self::Violation {
            check: violation.check.into(),
            place: place_of(violation),
            role: Role::of(violation),
        }
    }

    /// Its name: the check, or the expectation.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Violation { check, .. } => check,
            Self::Missed(words) => words,
        }
    }

    /// Every reason for which a run failed: first its violations in the order found (causes before consequences), then the
    /// expectations it missed.
    #[must_use]
    pub fn all(run: &SeedRun) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        let missed = run.missed().into_iter().filter_map(|index| run.plan.expect.get(index));
        let missed = missed.map(|expectation| Self::Missed(words_of(expectation)));
        for reason in run.violations.iter().map(Self::of).chain(missed) {
            if !all.contains(&reason) {
                all.push(reason);
            }
        }
        all
    }

    /// Whether a violation is for this reason.
    #[must_use]
    pub fn is(&self, violation: &Violation) -> bool {
        *self == Self::of(violation)
    }

    /// The violation for this reason; `None` where there is none, and for a missed expectation.
    #[must_use]
    pub fn violation<'r>(&self, run: &'r SeedRun) -> Option<&'r Violation> {
        run.violations.iter().find(|violation| self.is(violation))
    }

    /// Whether the run failed for this reason.
    #[must_use]
    pub fn is_of(&self, run: &SeedRun) -> bool {
        Self::all(run).contains(self)
    }
}

#[cfg(test)]
mod tests {
    use ottla::types::{PartitionIndex, TopicPartition};

    use super::*;
    use crate::scenario::duration::Span;

    fn violation(check: &'static str, node: Option<Who>, topic: Option<&str>) -> Violation {
        let partition = |topic: &str| TopicPartition {
            topic: topic.into(),
            partition: PartitionIndex::from_wire(0).unwrap(),
        };
        Violation {
            check,
            at: Span::ZERO,
            node,
            partition: topic.map(partition),
            what: "index out of bounds at src/log/mod.rs:12".into(),
            evidence: Vec::new(),
        }
    }

    #[test]
    fn which_broker_and_which_partition_does_not_matter_but_their_kind_does() {
        let reason = Reason::of(&violation("R3", Some(Who::Broker(1)), Some("orders")));
        assert_eq!(reason.to_string(), "R3 at a broker of a partition");
        assert!(reason.is(&violation("R3", Some(Who::Broker(2)), Some("other"))));
        assert!(!reason.is(&violation("R3", Some(Who::Broker(2)), Some(METADATA))));
        assert!(!reason.is(&violation("R3", Some(Who::Controller(2)), Some("orders"))));
        assert!(!reason.is(&violation("R4", Some(Who::Broker(1)), Some("orders"))));
    }

    #[test]
    fn two_panics_are_the_same_where_the_place_is() {
        let one = violation("panic", Some(Who::Broker(1)), None);
        let elsewhere = Violation { what: "other at src/raft/mod.rs:7".into(), ..one.clone() };
        let reason = Reason::of(&one);
        assert_eq!(reason.to_string(), "panic at a broker (src/log/mod.rs:12)");
        assert!(reason.is(&one) && !reason.is(&elsewhere));
    }
}
