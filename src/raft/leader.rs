//! What a leader knows of its epoch: how far each voter's log is durable, and so what is committed; who still follows it.
//!
//! Kafka: `LeaderState`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::fetch::ParkedFetch;
use super::{Effect, Raft, RaftConfig, Role, Voter};
use crate::types::{BrokerId, Monotonic, Now, Observation, Offset, Timestamp};

/// An observer that has not fetched for so long is forgotten (Kafka: `LeaderState.OBSERVER_SESSION_TIMEOUT_MS`).
const OBSERVER_SESSION: Duration = Duration::from_secs(300);
/// More observers than this are not kept in mind: anybody can call himself one.
const OBSERVERS_MAX: usize = 1_000;

/// How far another member is, by its own word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    /// Everything below is durable there.
    pub(super) end: Option<Offset>,
    last_fetch_at: Option<Monotonic>,
    pub(super) last_fetch: Option<Timestamp>,
    /// The leader's end when it last fetched.
    leader_end: Option<Offset>,
    pub(super) last_caught_up: Option<Timestamp>,
    /// When it is to be told (again) who leads. For voters only.
    introduction: Monotonic,
}

/// The leader's side of an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leader {
    /// Where the epoch's first record stands.
    pub(super) epoch_start: Offset,
    /// Whether a record of this epoch is committed.
    pub(super) is_active: bool,
    /// The end of what is committed, once a record of this epoch is.
    pub(super) high_watermark: Option<Offset>,
    /// How far this node's own log is durable.
    synced_end: Offset,
    /// The other voters.
    pub(super) voters: BTreeMap<BrokerId, Progress>,
    pub(super) observers: BTreeMap<Voter, Progress>,
    /// Fetches that wait for something new. At most one a member.
    pub(super) parked: Vec<ParkedFetch>,
    /// The voters that fetched since the last time a majority had.
    fetched: BTreeSet<BrokerId>,
    /// When a majority must have fetched.
    quorum_deadline: Monotonic,
}

impl Leader {
    pub(super) fn new(now: Now, epoch_start: Offset, config: &RaftConfig) -> Self {
        let others = config.voters.iter().filter(|voter| voter.id != config.node);
        let voters: BTreeMap<_, _> =
            others.map(|voter| (voter.id, Progress::new(now.monotonic))).collect();
        let is_alone = voters.is_empty();
        Self {
            epoch_start,
            is_active: false,
            high_watermark: None,
            synced_end: Offset::ZERO,
            voters,
            observers: BTreeMap::new(),
            parked: Vec::new(),
            fetched: BTreeSet::new(),
            quorum_deadline: if is_alone {
                Monotonic::FAR_FUTURE
            } else {
                now.monotonic + config.check_quorum_timeout()
            },
        }
    }

    pub(super) fn on_synced(&mut self, end: Offset) {
        self.synced_end = self.synced_end.max(end);
    }

    /// The end of what a majority of the voters has durably, or `None` where that does not reach into this epoch: records of
    /// earlier epochs are committed only together with one of this (Raft, section 5.4.2).
    pub(super) fn committed_end(&self) -> Option<Offset> {
        let others = self.voters.values().map(|voter| voter.end.unwrap_or_default());
        let mut ends: Vec<Offset> = others.chain([self.synced_end]).collect();
        ends.sort_unstable_by(|a, b| b.cmp(a));
        let committed = *ends.get(ends.len() / 2)?;
        (committed > self.epoch_start).then_some(committed)
    }

    /// Takes the fetch of a member, which says by its offset how far its log is durable.
    pub(super) fn on_fetch(
        &mut self,
        now: Now,
        member: Voter,
        offset: Offset,
        leader_end: Offset,
        config: &RaftConfig,
    ) {
        self.on_contact(now, member, config);
        let progress = if config.voters.matches(member) {
            self.voters.get_mut(&member.id).expect("the other voters are all there")
        } else {
            self.forget_observers(now.monotonic);
            if self.observers.len() >= OBSERVERS_MAX && !self.observers.contains_key(&member) {
                crate::mark!("an observer is not kept in mind");
                return;
            }
            self.observers.entry(member).or_insert_with(|| Progress::new(now.monotonic))
        };
        progress.on_fetch(now, offset, leader_end);
    }

    /// Takes note that a member follows: it fetched, records or a snapshot.
    pub(super) fn on_contact(&mut self, now: Now, member: Voter, config: &RaftConfig) {
        if !config.voters.matches(member) {
            return;
        }
        let voter = self.voters.get_mut(&member.id).expect("the other voters are all there");
        voter.introduction = now.monotonic + config.begin_quorum_interval();
        self.fetched.insert(member.id);
        // This node is one of the majority.
        if self.fetched.len() >= config.voters.majority() - 1 {
            self.fetched.clear();
            self.quorum_deadline = now.monotonic + config.check_quorum_timeout();
        }
    }

    fn forget_observers(&mut self, now: Monotonic) {
        self.observers.retain(|_, observer| {
            observer.last_fetch_at.is_some_and(|at| now.since(at) < OBSERVER_SESSION)
        });
    }

    pub(super) fn has_lost_quorum(&self, now: Monotonic) -> bool {
        self.quorum_deadline <= now
    }

    /// When something is due without an event: the check of the quorum, or the end of a fetch's patience.
    pub(super) fn deadline(&self) -> Option<Monotonic> {
        let parked = self.parked.iter().map(|fetch| fetch.deadline);
        parked.chain([self.quorum_deadline]).min()
    }

    /// Which voters are to be told who leads, and when.
    pub(super) fn introductions(&self) -> impl Iterator<Item = (BrokerId, Monotonic)> + use<'_> {
        self.voters.iter().map(|(voter, progress)| (*voter, progress.introduction))
    }

    pub(super) fn due_introductions(&self, now: Monotonic) -> Vec<BrokerId> {
        self.introductions().filter(|(_, at)| *at <= now).map(|(voter, _)| voter).collect()
    }

    pub(super) fn introduced(&mut self, voter: BrokerId, again: Monotonic) {
        self.voters.get_mut(&voter).expect("it is one of the voters").introduction = again;
    }

    /// The other voters, the one with the longest log first.
    pub(super) fn successors(&self, config: &RaftConfig) -> Vec<Voter> {
        let mut voters: Vec<(&BrokerId, &Progress)> = self.voters.iter().collect();
        voters.sort_by(|a, b| b.1.end.cmp(&a.1.end).then(a.0.cmp(b.0)));
        voters.iter().map(|(id, _)| Voter::new(**id, config.voters.directory_of(**id))).collect()
    }

    pub(super) fn check(&self) {
        if let Some(high_watermark) = self.high_watermark {
            assert!(high_watermark > self.epoch_start, "committed without a record of the epoch");
        }
        assert_eq!(self.is_active, self.high_watermark.is_some(), "active once it has committed");
    }
}

impl Progress {
    fn new(introduction: Monotonic) -> Self {
        Self {
            end: None,
            last_fetch_at: None,
            last_fetch: None,
            leader_end: None,
            last_caught_up: None,
            introduction,
        }
    }

    /// Caught up is who has all there is; or all that there was when it last fetched, as of then.
    fn on_fetch(&mut self, now: Now, offset: Offset, leader_end: Offset) {
        if offset >= leader_end {
            self.last_caught_up = self.last_caught_up.max(Some(now.wall));
        } else if self.leader_end.is_some_and(|end| end > Offset::ZERO && offset >= end) {
            self.last_caught_up = self.last_caught_up.max(self.last_fetch);
        }
        self.leader_end = Some(leader_end);
        self.last_fetch = self.last_fetch.max(Some(now.wall));
        self.last_fetch_at = Some(now.monotonic);
        self.end = Some(offset);
    }
}

impl Raft {
    /// A leader that no majority fetches from steps down: another may lead already where this one cannot see (KAFKA-15489).
    pub(super) fn check_quorum(&mut self, now: Now, out: &mut Vec<Effect>) {
        let Role::Leader(leader) = &self.role else { return };
        if leader.has_lost_quorum(now.monotonic) {
            crate::mark!("a leader steps down because no majority fetches from it");
            self.resign(now, out);
        }
    }

    /// Moves the high watermark to what a majority has, once that is more. Never back: a voter that lost its log and says so
    /// makes nothing uncommitted.
    pub(super) fn advance_high_watermark(&mut self, now: Now, out: &mut Vec<Effect>) {
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(committed) = leader.committed_end() else { return };
        if leader.high_watermark.is_some_and(|known| known >= committed) {
            return;
        }
        assert!(
            self.high_watermark.is_none_or(|known| known <= committed),
            "a leader was elected that lacks what is committed"
        );
        leader.high_watermark = Some(committed);
        let is_first = !std::mem::replace(&mut leader.is_active, true);
        if is_first {
            let (broker, epoch) = (self.config.node, self.epoch);
            out.push(Effect::Observe(Observation::ControllerElected { broker, epoch }));
            out.push(Effect::Activate { epoch });
        }
        self.commit(committed, out);
        self.serve_parked(now, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::VoterSet;
    use crate::types::Uuid;

    #[test]
    fn a_majority_commits_but_only_with_a_record_of_the_own_epoch() {
        let voters = VoterSet::new((1..=3).map(|id| Voter::new(BrokerId::new(id), Uuid::ZERO)));
        let config = RaftConfig {
            node: BrokerId::new(1),
            directory_id: Uuid::ZERO,
            cluster_id: String::new(),
            is_voter: true,
            voters,
            election_timeout: Duration::from_secs(1),
            election_backoff_max: Duration::from_secs(1),
            fetch_timeout: Duration::from_secs(2),
            retry_backoff: Duration::from_millis(20),
        };
        let now = Now::default();
        let mut leader = Leader::new(now, Offset::new(10), &config);
        let second = Voter::new(BrokerId::new(2), Uuid::METADATA_TOPIC);
        leader.on_synced(Offset::new(12));
        assert_eq!(leader.committed_end(), None);
        leader.on_fetch(now, second, Offset::new(10), Offset::new(12), &config);
        assert_eq!(leader.committed_end(), None);
        leader.on_fetch(now, second, Offset::new(11), Offset::new(12), &config);
        assert_eq!(leader.committed_end(), Some(Offset::new(11)));
    }
}
