//! Pulling the log: what a follower asks, and what it makes of the answer.
//!
//! A fetch is sent only when everything before it is durable here: its offset is the follower's acknowledgement. What comes is held
//! against its checksum and must follow on the log without a hole.
//!
//! An observer does the same, but any voter will do to find the leader: it asks them in turn while it knows of none, or while
//! the one it knows does not answer.
//!
//! Kafka: `KafkaRaftClient.handleFetchResponse`, `pollFollowerAsVoter`, `pollFollowerAsObserver`, `FollowerState`.

use super::message::{METADATA_TOPIC, PARTITION, only};
use super::snapshot_fetch::SnapshotFetch;
use super::{Batch, Effect, QuorumRequest, Raft, RaftConfig, Role, SnapshotId};
use crate::log::EpochEndOffset;
use crate::protocol::Records;
use crate::protocol::messages::{FetchRequest, FetchResponse, fetch_request, fetch_response};
use crate::protocol::record_batch::{RawBatch, RawBatches};
use crate::types::{BrokerId, LeaderEpoch, Monotonic, Now, Offset, Uuid};

/// How long a leader may keep a fetch that finds nothing new, in milliseconds (Kafka: `KafkaRaftClient.fetchMaxWaitMs`).
const FETCH_WAIT_MAX_MS: i32 = 500;
/// How much is fetched at once, in bytes (Kafka: `KafkaRaftClient.MAX_FETCH_SIZE_BYTES`).
pub(super) const FETCH_BYTES_MAX: i32 = 8 << 20;

/// The follower's side of an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Follower {
    /// When the leader is given up, if it does not answer.
    pub(super) fetch_deadline: Monotonic,
    /// Whether the leader has answered: then no other is wanted.
    pub(super) has_fetched: bool,
    /// What the leader said of the high watermark, in an answer that showed the logs to agree.
    pub(super) leader_high_watermark: Option<Offset>,
    /// The snapshot that is being fetched.
    pub(super) snapshot: Option<SnapshotFetch>,
}

impl Follower {
    pub(super) fn new(now: Now, config: &RaftConfig) -> Self {
        Self {
            fetch_deadline: now.monotonic + config.fetch_timeout,
            has_fetched: false,
            leader_high_watermark: None,
            snapshot: None,
        }
    }
}

/// What an answer without error says.
enum Fetched<'a> {
    Diverging(EpochEndOffset),
    Snapshot(SnapshotId),
    Records(&'a Records),
}

impl Raft {
    /// Asks for what comes behind the log's end, where somebody may be asked.
    pub(super) fn pull(&mut self, now: Now, out: &mut Vec<Effect>) {
        let Some(to) = self.source(now.monotonic) else { return };
        let request = match &self.role {
            Role::Follower(Follower { snapshot: Some(fetch), .. }) if Some(to) == self.leader => {
                QuorumRequest::FetchSnapshot(self.fetch_snapshot_request(*fetch))
            }
            Role::Follower(_) | Role::Unattached { .. } => {
                QuorumRequest::Fetch(self.fetch_request())
            }
            Role::Prospective(_) | Role::Candidate(_) | Role::Leader(_) | Role::Resigned(_) => {
                return;
            }
        };
        let id = self.peers.ask(to);
        out.push(Effect::Send { to, id, request });
    }

    /// Whom to fetch from now, if anybody.
    fn source(&mut self, now: Monotonic) -> Option<BrokerId> {
        if self.is_ending || !self.log.is_settled() {
            return None;
        }
        let leader = self.leader.filter(|leader| self.peers.is_ready(now, *leader));
        let is_patient = match &self.role {
            Role::Follower(follower) => now < follower.fetch_deadline,
            Role::Unattached { .. }
            | Role::Prospective(_)
            | Role::Candidate(_)
            | Role::Leader(_)
            | Role::Resigned(_) => false,
        };
        if self.config.is_voter {
            return leader.filter(|_| is_patient);
        }
        if self.peers.is_any_asked() {
            return None;
        }
        if let Some(leader) = leader.filter(|_| is_patient) {
            return Some(leader);
        }
        let voters: Vec<BrokerId> = self.other_voters().collect();
        let turns = (0..voters.len()).map(|turn| (self.next_voter + turn) % voters.len());
        let turn = turns.into_iter().find(|turn| self.peers.is_ready(now, voters[*turn]))?;
        self.next_voter = turn + 1;
        Some(voters[turn])
    }

    /// When a voter may fetch again; `None` where something else comes first.
    pub(super) fn fetch_at(&self) -> Option<Monotonic> {
        let leader = self.leader.filter(|_| self.log.is_settled() && !self.is_ending)?;
        self.peers.ready_at(leader)
    }

    /// When an observer may ask somebody again.
    pub(super) fn observer_deadline(&self) -> Option<Monotonic> {
        let may_ask = !self.config.is_voter
            && !self.is_ending
            && self.log.is_settled()
            && !self.peers.is_any_asked();
        let voters = self.other_voters().filter(|_| may_ask);
        voters.filter_map(|voter| self.peers.ready_at(voter)).min()
    }

    fn fetch_request(&self) -> FetchRequest {
        let partition = fetch_request::FetchPartition {
            partition: PARTITION,
            current_leader_epoch: Some(self.epoch),
            fetch_offset: Some(self.log.written_end),
            last_fetched_epoch: Some(self.log.last_epoch()),
            replica_directory_id: self.config.directory_id,
            high_watermark: self.high_watermark,
            ..Default::default()
        };
        let topic = fetch_request::FetchTopic {
            topic: METADATA_TOPIC.to_owned(),
            topic_id: Uuid::METADATA_TOPIC,
            partitions: vec![partition],
        };
        FetchRequest {
            cluster_id: Some(self.config.cluster_id.clone()),
            replica_state: fetch_request::ReplicaState {
                replica_id: Some(self.config.node),
                replica_epoch: None,
            },
            max_wait_ms: FETCH_WAIT_MAX_MS,
            max_bytes: FETCH_BYTES_MAX,
            topics: vec![topic],
            ..Default::default()
        }
    }

    /// Lets some time go by before the leader is asked again.
    pub(super) fn leave_leader_alone(&mut self, now: Now) {
        let Some(leader) = self.leader else { return };
        let pause = self.config.retry_backoff * super::election::USELESS_ANSWER_BACKOFFS;
        self.peers.back_off(leader, now.monotonic + pause);
    }

    /// Takes the answer to a fetch. Returns whether it was of use.
    pub(super) fn on_fetched(
        &mut self,
        now: Now,
        from: BrokerId,
        response: &FetchResponse,
        out: &mut Vec<Effect>,
    ) -> bool {
        let partition = only(&response.responses).and_then(|topic| only(&topic.partitions));
        let Some(partition) = partition.filter(|_| response.error_code.is_none()) else {
            return false;
        };
        let leader = &partition.current_leader;
        let said = (leader.leader_id, leader.leader_epoch);
        let heard = self.heard(now, partition.error_code, said, out);
        if heard.is_none_or(|error| !error.is_none()) || Some(from) != self.leader {
            return false;
        }
        let none = Records::new();
        let is_of_use = match what_it_says(partition, &none) {
            None => false,
            Some(Fetched::Diverging(end)) => self.on_diverging(end, out),
            Some(Fetched::Snapshot(id)) => self.begin_snapshot(id),
            Some(Fetched::Records(records)) => {
                self.on_records(records, partition.high_watermark, out)
            }
        };
        if is_of_use {
            self.refresh_patience(now);
        }
        is_of_use
    }

    pub(super) fn refresh_patience(&mut self, now: Now) {
        let Role::Follower(follower) = &mut self.role else { return };
        follower.fetch_deadline = now.monotonic + self.config.fetch_timeout;
        follower.has_fetched = true;
    }

    /// The logs part. What this one has beyond is nobody's, unless it is committed: then the leader lacks it, and following
    /// would lose it everywhere (KAFKA-12460).
    fn on_diverging(&mut self, end: EpochEndOffset, out: &mut Vec<Effect>) -> bool {
        let to = self.log.truncation_offset(end);
        if Some(to) < self.high_watermark {
            crate::mark!("a follower refuses to cut what is committed");
            return false;
        }
        if to >= self.log.written_end {
            return false;
        }
        self.log.is_changing = true;
        out.push(Effect::Truncate { to });
        true
    }

    fn on_records(
        &mut self,
        records: &Records,
        high_watermark: Option<Offset>,
        out: &mut Vec<Effect>,
    ) -> bool {
        let Role::Follower(follower) = &mut self.role else { return false };
        follower.leader_high_watermark = follower.leader_high_watermark.max(high_watermark);
        if records.is_empty() {
            self.follow_high_watermark(out);
            return true;
        }
        let bytes = records.to_bytes();
        let (base_offset, mut size, mut last_epoch) =
            (self.log.assigned_end, 0, self.log.last_epoch());
        let mut batches = RawBatches::new(bytes.clone());
        while let Some(Ok(batch)) = batches.next() {
            let Some(epoch) = self.fitting_epoch(&batch, last_epoch) else {
                crate::mark!("a follower refuses a batch that does not fit its log");
                break;
            };
            self.log.assign(epoch, batch.header.base_offset, batch.header.end_offset());
            (size, last_epoch) = (size + batch.bytes.len(), epoch);
        }
        let end_offset = self.log.assigned_end;
        if end_offset == base_offset {
            return false;
        }
        let batch = Batch::Replicated { bytes: bytes.slice(..size), end_offset };
        out.push(Effect::Write { base_offset, leader_epoch: last_epoch, batch });
        true
    }

    /// The epoch of a batch that is whole, follows on the log, and is of an epoch that can be.
    fn fitting_epoch(&self, batch: &RawBatch, last_epoch: LeaderEpoch) -> Option<LeaderEpoch> {
        let header = &batch.header;
        let epoch = header.leader_epoch?;
        let fits = batch.verify_crc().is_ok()
            && header.base_offset == self.log.assigned_end
            && header.end_offset() > header.base_offset
            && (last_epoch..=self.epoch).contains(&epoch);
        fits.then_some(epoch)
    }

    /// Moves the high watermark to where the leader's is, as far as this log reaches durably.
    pub(super) fn follow_high_watermark(&mut self, out: &mut Vec<Effect>) {
        let Role::Follower(follower) = &self.role else { return };
        let Some(leader) = follower.leader_high_watermark else { return };
        self.commit(leader.min(self.log.synced_end), out);
    }
}

fn what_it_says<'a>(
    partition: &'a fetch_response::PartitionData,
    none: &'a Records,
) -> Option<Fetched<'a>> {
    let diverging = &partition.diverging_epoch;
    let snapshot = &partition.snapshot_id;
    match (diverging.epoch, diverging.end_offset, snapshot.epoch, snapshot.end_offset) {
        (Some(epoch), Some(end_offset), _, _) => {
            Some(Fetched::Diverging(EpochEndOffset { epoch, end_offset }))
        }
        (None, None, Some(epoch), Some(end_offset)) => {
            Some(Fetched::Snapshot(SnapshotId { end_offset, epoch }))
        }
        (None, None, None, None) => {
            Some(Fetched::Records(partition.records.as_ref().unwrap_or(none)))
        }
        (Some(_), None, ..)
        | (None, Some(_), ..)
        | (None, None, Some(_), None)
        | (None, None, None, Some(_)) => None,
    }
}
