//! Names of the world: nodes, starts of nodes, moments.

use std::fmt;
use std::ops::Add;
use std::time::Duration;

/// A node of the world: a broker, a controller or a client. Counts from 0 in the order of [`super::World::add_node`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// Which start of a node: 1 for the first. Whatever was opened in an older boot is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Boot(pub u32);

/// A moment of the world's one monotonic time, in nanoseconds since the world began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SimTime(pub u64);

impl SimTime {
    /// Nanoseconds since the world began.
    #[must_use]
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// Time from `earlier` to `self`; zero where `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: SimTime) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for SimTime {
    type Output = SimTime;

    fn add(self, span: Duration) -> SimTime {
        SimTime(self.0.saturating_add(nanos(span)))
    }
}

impl fmt::Display for SimTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0 / 1_000;
        write!(f, "{}.{:06}s", micros / 1_000_000, micros % 1_000_000)
    }
}

/// A span in nanoseconds; the largest number where it is longer than that.
pub(crate) fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// Every way between the two sides, in both directions or from the first to the second only.
#[must_use]
pub fn ways(from: &[NodeId], to: &[NodeId], both: bool) -> Vec<(NodeId, NodeId)> {
    let mut ways = Vec::new();
    for &from in from {
        for &to in to {
            if from != to {
                ways.push((from, to));
                if both {
                    ways.push((to, from));
                }
            }
        }
    }
    ways
}
