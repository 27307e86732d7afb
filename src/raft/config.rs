//! What a member of the quorum is told once.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use super::VoterSet;
use crate::types::{BrokerId, Uuid};

/// A member's place in the quorum, and its patience. The times are Kafka's `controller.quorum.*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RaftConfig {
    /// This node.
    pub node: BrokerId,
    /// The id of the log directory that holds its metadata log.
    pub directory_id: Uuid,
    /// Requests that name another cluster are refused.
    pub cluster_id: String,
    /// Whether this node votes; otherwise it only follows.
    pub is_voter: bool,
    /// Who votes.
    pub voters: VoterSet,
    /// `controller.quorum.election.timeout.ms`: each wait is drawn between this and its double.
    pub election_timeout: Duration,
    /// `controller.quorum.election.backoff.max.ms`.
    pub election_backoff_max: Duration,
    /// `controller.quorum.fetch.timeout.ms`.
    pub fetch_timeout: Duration,
    /// `controller.quorum.retry.backoff.ms`.
    pub retry_backoff: Duration,
}

impl RaftConfig {
    /// How long a leader goes on without a majority that fetches. Longer than a follower's patience by half, for the way of
    /// the messages (Kafka: `LeaderState.CHECK_QUORUM_TIMEOUT_FACTOR`).
    #[must_use]
    pub(super) fn check_quorum_timeout(&self) -> Duration {
        self.fetch_timeout * 3 / 2
    }

    /// How long a leader waits for a voter's fetch before it makes itself known to it (again).
    #[must_use]
    pub(super) fn begin_quorum_interval(&self) -> Duration {
        self.fetch_timeout / 2
    }

    /// A draw of the election timeout: two that began to wait together do not end together.
    pub(super) fn draw_election_timeout(&self, rng: &mut StdRng) -> Duration {
        self.election_timeout + draw(self.election_timeout, rng)
    }

    /// A draw of the pause after a lost election.
    pub(super) fn draw_election_backoff(&self, rng: &mut StdRng) -> Duration {
        draw(self.election_backoff_max, rng)
    }

    /// How long the `position`th of `count` preferred candidates lets those before it try (Kafka:
    /// `strictExponentialElectionBackoffMs`): the first begins at once, who is not named waits longest.
    pub(super) fn succession_backoff(&self, position: usize, count: usize) -> Duration {
        if position == 0 {
            return Duration::ZERO;
        }
        if position >= count {
            return self.election_backoff_max;
        }
        let halvings = u32::try_from(count - 1).unwrap_or(u32::MAX).min(31);
        let doublings = u32::try_from(position - 1).unwrap_or(u32::MAX).min(31);
        let first = self.election_backoff_max / (1 << halvings);
        first.saturating_mul(1 << doublings).min(self.election_backoff_max)
    }
}

/// A draw from zero to `span`, exclusive, in whole microseconds.
fn draw(span: Duration, rng: &mut StdRng) -> Duration {
    let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX).max(1);
    Duration::from_micros(rng.random_range(0..micros))
}
