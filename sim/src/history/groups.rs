//! What the members of consumer groups did and were told, as they know it themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ottla::types::{ErrorCode, GenerationId, Offset, ShortName, TopicPartition};

use super::{SendId, SharedHistory};
use crate::world::SimTime;

/// A record that a member is done with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Processed {
    /// Which member, as `billing/0`.
    pub client: Arc<str>,
    /// Of which group.
    pub group: Arc<str>,
    /// When it was done.
    pub at: SimTime,
    /// Where the record stands.
    pub partition: TopicPartition,
    /// At which offset.
    pub offset: Offset,
    /// Which record it is, where its bytes tell.
    pub id: Option<SendId>,
}

/// A client that reads in a group, as it knows itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// Of which group.
    pub group: Arc<str>,
    /// As which member, and in which generation (epoch, in the consumer protocol), it saw itself last, and since when.
    pub seen: Option<(ShortName, GenerationId, SimTime)>,
    /// The partitions that it was given and that were not taken away.
    pub partitions: BTreeSet<TopicPartition>,
}

/// Counts commits from 0 over the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CommitNumber(pub usize);

/// A commit that a member asked for. Those that `enable.auto.commit` makes nobody tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Which member, as `billing/0`.
    pub client: Arc<str>,
    /// Which start of it, from 1.
    pub incarnation: u32,
    /// How often it was told before that partitions are given to it or taken away.
    pub rebalances: u64,
    /// Of which group.
    pub group: Arc<str>,
    /// When it asked.
    pub asked_at: SimTime,
    /// When it was answered.
    pub done_at: Option<SimTime>,
    /// The offsets of the next records to be read.
    pub offsets: BTreeMap<TopicPartition, Offset>,
    /// What it was told.
    pub outcome: CommitOutcome,
}

/// What a member was told of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// Nothing yet.
    Pending,
    /// It is stored.
    Stored,
    /// It was refused, or nobody knows.
    Failed {
        /// The code of the last answer, if that was the reason.
        error: Option<ErrorCode>,
        /// In the client's words.
        reason: String,
    },
}

/// What a group had committed when all its members were gone, and where the logs ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FinalOffsets {
    /// What is committed; partitions of which nothing is are absent.
    pub committed: BTreeMap<TopicPartition, Offset>,
    /// The ends of the logs of all partitions that the group subscribes to.
    pub ends: BTreeMap<TopicPartition, Offset>,
}

impl SharedHistory {
    /// Notes that a start of a client begins to read in a group.
    pub fn begin_membership(&self, client: &Arc<str>, group: &Arc<str>) {
        let (seen, partitions) = (None, BTreeSet::new());
        let begun = Membership { group: Arc::clone(group), seen, partitions };
        self.lock().memberships.insert(Arc::clone(client), begun);
    }

    /// Notes what a client that reads in a group knows now.
    pub fn note_membership(&self, client: &Arc<str>, change: impl FnOnce(&mut Membership)) {
        if let Some(known) = self.lock().memberships.get_mut(client) {
            change(known);
        }
    }

    /// Notes that a member has so many records in hand.
    pub fn note_in_hand(&self, client: &Arc<str>, records: usize) {
        let mut history = self.lock();
        let most = history.in_hand.entry(Arc::clone(client)).or_default();
        *most = (*most).max(records as u64);
    }

    /// Stores the result of the record at `offset` for a group, and that the next one is to be read, in one step. Where it is `fenced` only if
    /// nobody has stored it.
    ///
    /// Errors: the store is at this offset already.
    pub fn store_result(
        &self,
        group: &Arc<str>,
        partition: &TopicPartition,
        offset: Offset,
        is_fenced: bool,
    ) -> Result<(), Offset> {
        let mut history = self.lock();
        let next = history.results.entry((Arc::clone(group), partition.clone()));
        let next = next.or_insert(Offset::ZERO);
        if is_fenced && *next > offset {
            return Err(*next);
        }
        *next = offset + 1;
        Ok(())
    }

    /// Where a group is by what it keeps beside its results.
    #[must_use]
    pub fn stored_results(
        &self,
        group: &Arc<str>,
        partitions: &[TopicPartition],
    ) -> BTreeMap<TopicPartition, Offset> {
        let history = self.lock();
        let stored = |at: &TopicPartition| {
            let next = history.results.get(&(Arc::clone(group), at.clone()))?;
            Some((at.clone(), *next))
        };
        partitions.iter().filter_map(stored).collect()
    }

    /// Notes that a member is about to ask for a commit, and numbers it.
    pub fn begin_commit(&self, commit: Commit) -> CommitNumber {
        let mut history = self.lock();
        history.commits.push(commit);
        CommitNumber(history.commits.len() - 1)
    }

    /// Notes what a member was told of a commit.
    pub fn end_commit(&self, number: CommitNumber, at: SimTime, outcome: CommitOutcome) {
        let mut history = self.lock();
        let commit = &mut history.commits[number.0];
        assert_eq!(commit.outcome, CommitOutcome::Pending, "a commit is answered once");
        commit.outcome = outcome;
        commit.done_at = Some(at);
    }
}

#[cfg(test)]
mod tests {
    use ottla::types::PartitionIndex;

    use super::*;

    #[test]
    fn results_are_stored_with_their_place_and_a_fenced_store_takes_each_once() {
        let history = SharedHistory::default();
        let group: Arc<str> = "billing".into();
        let at = |index| TopicPartition {
            topic: "orders".into(),
            partition: PartitionIndex::new(index),
        };
        let store = |offset: i64, is_fenced| {
            history.store_result(&group, &at(0), Offset::new(offset), is_fenced)
        };
        assert_eq!(history.stored_results(&group, &[at(0), at(1)]), BTreeMap::new());
        // Offsets have gaps; a log need not begin at 0.
        assert_eq!((store(5, true), store(9, true)), (Ok(()), Ok(())));
        let stored = [(at(0), Offset::new(10))].into();
        assert_eq!(history.stored_results(&group, &[at(0), at(1)]), stored);
        assert_eq!(store(9, true), Err(Offset::new(10)));
        // Without a fence the last one wins, however old its reader is.
        assert_eq!(store(7, false), Ok(()));
        assert_eq!(history.stored_results(&group, &[at(0)]), [(at(0), Offset::new(8))].into());
        assert_eq!(history.stored_results(&"other".into(), &[at(0)]), BTreeMap::new());
    }

    #[test]
    fn the_most_that_a_member_had_in_hand_is_kept() {
        let history = SharedHistory::default();
        let client: Arc<str> = "billing/0".into();
        for records in [3, 9, 1] {
            history.note_in_hand(&client, records);
        }
        assert_eq!(history.lock().in_hand, [(client, 9)].into());
    }
}
