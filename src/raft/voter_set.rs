//! Who votes. Kafka: `VoterSet` (KIP-853: a voter is an id together with the directory of its log).

use crate::types::{BrokerId, Uuid};

/// A member that votes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Voter {
    /// Its node.
    pub id: BrokerId,
    /// Its metadata directory: a wiped one is another voter. Zero where it is not known, as it is of the voters that a
    /// configuration names (`controller.quorum.voters`): then any directory will do.
    pub directory_id: Uuid,
}

impl Voter {
    /// The voter on `id` with this directory.
    #[must_use]
    pub const fn new(id: BrokerId, directory_id: Uuid) -> Self {
        Self { id, directory_id }
    }
}

/// The voters, sorted, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoterSet(Vec<Voter>);

impl VoterSet {
    /// A set of these voters.
    ///
    /// Panics where it would be empty: a quorum of nobody decides nothing.
    #[must_use]
    pub fn new(voters: impl IntoIterator<Item = Voter>) -> Self {
        let mut voters: Vec<Voter> = voters.into_iter().collect();
        voters.sort_unstable();
        voters.dedup();
        assert!(!voters.is_empty(), "a quorum has a voter");
        Self(voters)
    }

    /// How many must agree.
    #[must_use]
    pub fn majority(&self) -> usize {
        self.0.len() / 2 + 1
    }

    /// Whether `id` votes.
    #[must_use]
    pub fn contains(&self, id: BrokerId) -> bool {
        self.0.iter().any(|voter| voter.id == id)
    }

    /// Whether a member that calls itself so is one of the voters.
    #[must_use]
    pub fn matches(&self, member: Voter) -> bool {
        let is_known = |voter: &&Voter| {
            voter.directory_id == Uuid::ZERO || voter.directory_id == member.directory_id
        };
        self.0.iter().find(|voter| voter.id == member.id).filter(is_known).is_some()
    }

    /// The directory of the voter `id`; zero where it is not known.
    #[must_use]
    pub fn directory_of(&self, id: BrokerId) -> Uuid {
        self.0.iter().find(|voter| voter.id == id).map_or(Uuid::ZERO, |voter| voter.directory_id)
    }

    /// The voters, by id.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Voter> {
        self.0.iter()
    }
}
