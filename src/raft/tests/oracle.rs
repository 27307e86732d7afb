//! What Raft promises, held against everything that happens in a [`super::world::World`].

use std::collections::BTreeMap;

use super::world::{Disk, Node};
use crate::raft::*;

/// See the module. The names of the checks are those of the testbed.
#[derive(Default)]
pub(super) struct Oracle {
    /// A disk was taken away: nothing is promised any more.
    pub(super) is_off: bool,
    /// Q1, Q11: who led an epoch, in which of its lives.
    leaders: BTreeMap<LeaderEpoch, (BrokerId, u32)>,
    /// Q2: whom a voter gave its vote.
    votes: BTreeMap<(BrokerId, LeaderEpoch), BrokerId>,
    /// Q4: what a process said to be committed.
    high_watermarks: BTreeMap<BrokerId, Offset>,
    /// Everything that anybody said to be committed: where it begins, where it ends, who wrote it, what it is.
    committed: BTreeMap<Offset, (Offset, LeaderEpoch, u32)>,
}

impl Oracle {
    pub(super) fn started(&mut self, node: BrokerId) {
        self.high_watermarks.remove(&node);
    }

    pub(super) fn committed_end(&self) -> Offset {
        self.committed.values().next_back().map_or(Offset::ZERO, |(end, ..)| *end)
    }

    /// What is committed below `end`, as the records of a snapshot.
    pub(super) fn below(&self, end: Offset) -> Vec<Bytes> {
        let below = self.committed.range(..end);
        below.map(|(base, what)| Bytes::from(format!("{base} {what:?}"))).collect()
    }

    /// Q3: what a voter must not forget never goes back.
    pub(super) fn persisted(&self, id: BrokerId, old: Option<&QuorumState>, new: &QuorumState) {
        if self.is_off {
            return;
        }
        let Some(old) = old else { return };
        assert!(old.epoch <= new.epoch, "Q3: the epoch of {id} goes back");
        if old.epoch == new.epoch {
            let vote = old.voted_for.is_none() || old.voted_for == new.voted_for;
            assert!(vote, "Q2: {id} takes its vote back");
            assert!(old.leader.is_none() || old.leader == new.leader, "Q1: {id} names another");
        }
    }

    pub(super) fn observed(
        &mut self,
        observation: Observation,
        incarnation: u32,
        nodes: &BTreeMap<BrokerId, Node>,
    ) {
        if self.is_off {
            return;
        }
        if let Observation::QuorumRoleChanged { node, epoch, role, leader } = observation {
            if role == QuorumRole::Leader {
                let known = *self.leaders.entry(epoch).or_insert((node, incarnation));
                assert_eq!(known, (node, incarnation), "Q1, Q11: two leaders of epoch {epoch}");
                self.holds_all_committed(&nodes[&node].disk);
            }
            if let (Some(leader), Some((known, _))) = (leader, self.leaders.get(&epoch)) {
                assert_eq!(leader, *known, "Q1: {node} names another leader of epoch {epoch}");
            }
        }
        if let Observation::VoteGranted { voter, epoch, candidate, is_pre_vote: false } =
            observation
        {
            let given = *self.votes.entry((voter, epoch)).or_insert(candidate);
            assert_eq!(given, candidate, "Q2: {voter} votes twice in epoch {epoch}");
            let state = nodes[&voter].disk.state.as_ref().expect("Q2: a vote is durable");
            let kept = (state.epoch, state.voted_for.map(|vote| vote.voter));
            assert_eq!(kept, (epoch, Some(candidate)), "Q2: the vote of {voter} is not durable");
        }
    }

    /// Leader completeness: who is elected has all that is committed.
    fn holds_all_committed(&self, disk: &Disk) {
        assert!(self.committed_end() <= disk.end(), "a leader was elected that lacks records");
        self.agrees(disk, disk.end());
    }

    /// Every batch of `disk` below `end` is the one that was committed there, if one was.
    fn agrees(&self, disk: &Disk, end: Offset) {
        if self.is_off {
            return;
        }
        for entry in disk.log.iter().filter(|entry| entry.end <= end) {
            if let Some(known) = self.committed.get(&entry.base) {
                let found = (entry.end, entry.epoch, entry.crc);
                assert_eq!(*known, found, "Q6: another batch is committed at {}", entry.base);
            }
        }
    }

    pub(super) fn answered(
        &self,
        id: BrokerId,
        response: &QuorumResponse,
        state: Option<&QuorumState>,
    ) {
        if self.is_off {
            return;
        }
        let QuorumResponse::Vote(response) = response else { return };
        let Some(topic) = response.topics.first() else { return };
        let epoch = topic.partitions[0].leader_epoch.unwrap();
        let durable = state.map_or(LeaderEpoch::new(0), |state| state.epoch);
        assert_eq!(epoch, durable, "Q3: {id} tells an epoch that is not durable");
    }

    /// Q8: a leader acts only once a record of its own epoch is committed (seen by the log: it ends with one).
    pub(super) fn activated(
        &self,
        id: BrokerId,
        epoch: LeaderEpoch,
        nodes: &BTreeMap<BrokerId, Node>,
    ) {
        let last = nodes[&id].disk.log.last().expect("Q8: its own record is there");
        assert_eq!(last.epoch, epoch, "Q8: {id} is active without a record of its own");
    }

    /// Q4, Q5, Q6: what is said to be committed never becomes less, is durable at a majority, and is the same everywhere.
    pub(super) fn committed(
        &mut self,
        id: BrokerId,
        end: Offset,
        nodes: &BTreeMap<BrokerId, Node>,
        voters: &[BrokerId],
    ) {
        if self.is_off {
            return;
        }
        let known = self.high_watermarks.insert(id, end);
        assert!(known < Some(end), "Q4: the high watermark of {id} does not rise");
        let disk = &nodes[&id].disk;
        self.agrees(disk, end);
        for entry in disk.log.iter().filter(|entry| entry.end <= end) {
            let what = (entry.end, entry.epoch, entry.crc);
            self.committed.entry(entry.base).or_insert(what);
        }
        let holds = |voter: &&BrokerId| {
            let disk = &nodes[voter].disk;
            disk.synced_end() >= end
                && disk.log.iter().filter(|entry| entry.end <= end).all(|entry| {
                    self.committed.get(&entry.base) == Some(&(entry.end, entry.epoch, entry.crc))
                })
        };
        let count = voters.iter().filter(holds).count();
        assert!(count > voters.len() / 2, "Q5: {end} is durable at {count} voters only");
    }

    /// Q7: what is committed is not cut, wherever.
    pub(super) fn truncated(&self, id: BrokerId, disk: &Disk, kept: usize) {
        if self.is_off {
            return;
        }
        for entry in &disk.log[kept..] {
            let what = (entry.end, entry.epoch, entry.crc);
            let is_committed = self.committed.get(&entry.base) == Some(&what);
            assert!(!is_committed, "Q7: {id} cuts what is committed at {}", entry.base);
        }
    }

    /// Q7, Q10: a snapshot covers what it replaces, and says what was committed.
    pub(super) fn installed(&self, id: BrokerId, disk: &Disk, snapshot: SnapshotId, bytes: &Bytes) {
        if self.is_off {
            return;
        }
        for entry in disk.log.iter().filter(|entry| entry.end > snapshot.end_offset) {
            let what = (entry.end, entry.epoch, entry.crc);
            let is_committed = self.committed.get(&entry.base) == Some(&what);
            assert!(!is_committed, "Q7: the snapshot of {id} covers less than was committed");
        }
        let content = decode_snapshot(bytes).unwrap();
        assert_eq!(content.records, self.below(snapshot.end_offset), "Q10: another content");
    }

    /// After each event: the log begins where a snapshot ends.
    pub(super) fn looked_at(&self, id: BrokerId, nodes: &BTreeMap<BrokerId, Node>) {
        let disk = &nodes[&id].disk;
        if disk.start > Offset::ZERO {
            let is_there = disk.snapshots.keys().any(|id| id.end_offset == disk.start);
            assert!(is_there, "Q10: no snapshot ends where the log of {id} begins");
        }
    }

    /// Log matching: where two logs have a batch of the same epoch at the same offset, they are equal up to there.
    pub(super) fn logs_match(&self, nodes: &BTreeMap<BrokerId, Node>) {
        if self.is_off {
            return;
        }
        let logs: Vec<&Disk> = nodes.values().map(|node| &node.disk).collect();
        for (index, one) in logs.iter().enumerate() {
            for other in &logs[index + 1..] {
                let same = |entry: &&super::world::Entry| {
                    other.log.iter().any(|o| o.base == entry.base && o.epoch == entry.epoch)
                };
                let Some(last) = one.log.iter().rfind(same) else { continue };
                let start = one.start.max(other.start);
                let up_to = |disk: &Disk| -> Vec<_> {
                    let common = disk.log.iter().filter(|e| e.base >= start && e.base <= last.base);
                    common.cloned().collect()
                };
                assert_eq!(up_to(one), up_to(other), "logs differ below a common batch");
            }
        }
    }
}
