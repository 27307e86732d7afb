//! What the members of consumer groups did and were told, as they know it themselves.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla::types::{ErrorCode, Offset, TopicPartition};

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
