//! What a leader knows of its epoch: how far each voter's log is durable, and so what is committed.
//!
//! Kafka: `LeaderState.maybeUpdateHighWatermark`.

use std::collections::BTreeMap;

use super::VoterSet;
use crate::types::{BrokerId, Offset};

/// The leader's side of an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leader {
    /// Where the epoch's first record stands.
    epoch_start: Offset,
    /// How far each voter's log is durable. Exclusive.
    synced: BTreeMap<BrokerId, Offset>,
    /// Whether a record of this epoch is committed.
    pub(super) is_active: bool,
}

impl Leader {
    pub(super) fn new(epoch_start: Offset) -> Self {
        Self { epoch_start, synced: BTreeMap::new(), is_active: false }
    }

    pub(super) fn on_synced(&mut self, voter: BrokerId, end: Offset) {
        let known = self.synced.entry(voter).or_default();
        *known = end.max(*known);
    }

    /// The end of what a majority of `voters` has durably, or `None` where that does not reach into this epoch: records of
    /// earlier epochs are committed only together with one of this (Raft, section 5.4.2).
    pub(super) fn committed_end(&self, voters: &VoterSet) -> Option<Offset> {
        let progress = |voter: BrokerId| self.synced.get(&voter).copied().unwrap_or_default();
        let mut ends: Vec<Offset> = voters.iter().map(|voter| progress(voter.id)).collect();
        ends.sort_unstable_by(|a, b| b.cmp(a));
        let committed = *ends.get(voters.majority() - 1)?;
        (committed > self.epoch_start).then_some(committed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::Voter;
    use crate::types::Uuid;

    #[test]
    fn a_majority_commits_but_only_with_a_record_of_the_own_epoch() {
        let voters = VoterSet::new((1..=3).map(|id| Voter::new(BrokerId::new(id), Uuid::ZERO)));
        let mut leader = Leader::new(Offset::new(10));
        leader.on_synced(BrokerId::new(1), Offset::new(12));
        assert_eq!(leader.committed_end(&voters), None);
        leader.on_synced(BrokerId::new(2), Offset::new(10));
        assert_eq!(leader.committed_end(&voters), None);
        leader.on_synced(BrokerId::new(2), Offset::new(11));
        assert_eq!(leader.committed_end(&voters), Some(Offset::new(11)));
    }
}
