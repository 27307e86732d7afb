//! Who leads: beginning and ending an epoch, and what members tell each other of it. [`super::votes`]: how they elect.
//!
//! Whatever names an epoch is durable before anybody is told of it (the order of the effects).
//!
//! Kafka: `KafkaRaftClient.handleBeginQuorumEpochRequest` and its neighbours, `QuorumState`, `ResignedState`.

use std::collections::BTreeSet;

use super::message::{
    METADATA_TOPIC, PARTITION, Standing, begin_quorum_epoch_response, end_quorum_epoch_response,
    only,
};
use super::votes::{Election, vote_partition};
use super::{
    Batch, Effect, Leader, LeaderChange, QuorumRequest, QuorumResponse, QuorumState, Raft, Reply,
    RequestId, Resigned, Role, Token, VotedFor, Voter,
};
use crate::protocol::messages::{
    BeginQuorumEpochRequest, EndQuorumEpochRequest, begin_quorum_epoch_request,
    end_quorum_epoch_request,
};
use crate::raft::follower::Follower;
use crate::types::{BrokerId, ErrorCode, LeaderEpoch, Monotonic, Now, Observation, Uuid};

/// Pauses of `retry_backoff` after an answer that brought nothing new, where asking again at once would bring no more.
pub(super) const USELESS_ANSWER_BACKOFFS: u32 = 5;

impl Raft {
    /// Takes part, from where the last process ended. Nobody leads twice in an epoch: a leader that was restarted may have lost
    /// what it did not sync, and would use its offsets again (KAFKA-10527).
    pub(super) fn on_start(&mut self, now: Now, out: &mut Vec<Effect>) {
        let is_alone = self.config.voters.iter().len() == 1;
        if self.config.is_voter && is_alone {
            self.become_candidate(now, out);
            return;
        }
        match self.leader {
            Some(leader) if leader == self.config.node && self.config.is_voter => {
                self.role = Role::Resigned(Resigned {
                    election_deadline: self.draw_election_deadline(now),
                    waiting: self.other_voters().collect(),
                    successors: Vec::new(),
                });
            }
            Some(leader) if leader != self.config.node && self.config.voters.contains(leader) => {
                self.role = Role::Follower(Follower::new(now, &self.config));
            }
            Some(_) | None => {
                self.leader = None;
                let election_deadline = self.draw_election_deadline(now);
                self.role = Role::Unattached { election_deadline };
            }
        }
        self.announce(out);
    }

    pub(super) fn other_voters(&self) -> impl Iterator<Item = BrokerId> + use<'_> {
        let node = self.config.node;
        self.config.voters.iter().map(|voter| voter.id).filter(move |voter| *voter != node)
    }

    pub(super) fn quorum_state(&self) -> QuorumState {
        QuorumState { leader: self.leader, epoch: self.epoch, voted_for: self.voted_for }
    }

    /// Makes epoch, leader and vote durable where they are news, and then tells of the role.
    fn announce(&mut self, out: &mut Vec<Effect>) {
        self.persist(out);
        out.push(Effect::Observe(Observation::QuorumRoleChanged {
            node: self.config.node,
            epoch: self.epoch,
            role: self.role(),
            leader: self.leader,
        }));
    }

    pub(super) fn persist(&mut self, out: &mut Vec<Effect>) {
        let state = self.quorum_state();
        let is_first = self.persisted.is_none() && self.epoch == LeaderEpoch::new(0);
        let says_nothing = is_first && state.leader.is_none() && state.voted_for.is_none();
        if self.persisted.as_ref() != Some(&state) && !says_nothing {
            self.persisted = Some(state.clone());
            out.push(Effect::PersistQuorumState(state));
        }
    }

    fn draw_election_deadline(&mut self, now: Now) -> Monotonic {
        now.monotonic + self.config.draw_election_timeout(&mut self.rng)
    }

    /// When patience ends that was running already: who hears of a later epoch does not begin to wait anew, or a member that
    /// raises the epoch again and again would keep all others from standing (KAFKA-16164).
    fn running_deadline(&mut self, now: Now) -> Monotonic {
        match &self.role {
            Role::Unattached { election_deadline } => *election_deadline,
            Role::Prospective(election) | Role::Candidate(election) => election.deadline,
            Role::Follower(follower) => follower.fetch_deadline,
            Role::Resigned(resigned) => resigned.election_deadline,
            Role::Leader(_) => self.draw_election_deadline(now),
        }
    }

    /// A later epoch, of which no leader is known.
    pub(super) fn become_unattached(
        &mut self,
        now: Now,
        epoch: LeaderEpoch,
        out: &mut Vec<Effect>,
    ) {
        assert!(epoch > self.epoch, "the epoch goes up");
        let election_deadline = self.running_deadline(now);
        self.leave_leadership(out);
        (self.epoch, self.leader, self.voted_for) = (epoch, None, None);
        self.role = Role::Unattached { election_deadline };
        self.peers.reset();
        self.announce(out);
    }

    /// Follows `leader`, which leads in `epoch`.
    pub(super) fn become_follower(
        &mut self,
        now: Now,
        epoch: LeaderEpoch,
        leader: BrokerId,
        out: &mut Vec<Effect>,
    ) {
        assert!(epoch >= self.epoch, "the epoch goes up");
        assert_ne!(leader, self.config.node, "nobody follows himself");
        self.leave_leadership(out);
        if epoch > self.epoch {
            (self.epoch, self.leader, self.voted_for) = (epoch, None, None);
        }
        assert!(self.leader.is_none_or(|known| known == leader), "two leaders of one epoch");
        self.leader = Some(leader);
        self.role = Role::Follower(Follower::new(now, &self.config));
        self.peers.reset();
        self.announce(out);
    }

    fn become_prospective(&mut self, now: Now, out: &mut Vec<Effect>) {
        let deadline = self.draw_election_deadline(now);
        self.role = Role::Prospective(Election::new(self.config.node, deadline));
        self.peers.reset();
        self.announce(out);
    }

    /// A vote for itself in the next epoch: durable before it counts, so that it is never given twice.
    pub(super) fn become_candidate(&mut self, now: Now, out: &mut Vec<Effect>) {
        assert!(self.config.voters.contains(self.config.node), "only a voter stands for election");
        let (node, directory_id) = (self.config.node, self.config.directory_id);
        (self.epoch, self.leader) = (self.epoch.next(), None);
        self.voted_for = Some(VotedFor { voter: node, directory_id });
        let deadline = self.draw_election_deadline(now);
        self.role = Role::Candidate(Election::new(node, deadline));
        self.peers.reset();
        if self.config.voters.majority() == 1 {
            // Elected by its own vote: both are made durable in one.
            self.leader = Some(node);
            self.persist(out);
        } else {
            self.announce(out);
        }
        let (voter, epoch, candidate) = (node, self.epoch, node);
        let vote = Observation::VoteGranted { voter, epoch, candidate, is_pre_vote: false };
        out.push(Effect::Observe(vote));
        self.count_votes(now, out);
    }

    pub(super) fn become_leader(
        &mut self,
        now: Now,
        granted: &BTreeSet<BrokerId>,
        out: &mut Vec<Effect>,
    ) {
        let epoch_start = self.log.assigned_end;
        assert_eq!(epoch_start, self.log.written_end, "who does not lead has nothing to write");
        let mut leader = Leader::new(now, epoch_start, &self.config);
        leader.on_synced(self.log.synced_end);
        self.leader = Some(self.config.node);
        self.role = Role::Leader(leader);
        self.peers.reset();
        self.announce(out);
        let of = |voter: &Voter| granted.contains(&voter.id).then_some(*voter);
        let batch = Batch::LeaderChange(LeaderChange {
            leader: self.config.node,
            voters: self.config.voters.iter().copied().collect(),
            granting_voters: self.config.voters.iter().filter_map(of).collect(),
        });
        self.write(1, batch, out);
    }

    /// Steps down, where it leads: in its own epoch it will not lead again.
    pub(super) fn resign(&mut self, now: Now, out: &mut Vec<Effect>) {
        let Role::Leader(leader) = &self.role else { return };
        let resigned = Resigned {
            election_deadline: Monotonic::FAR_FUTURE,
            waiting: self.other_voters().collect(),
            successors: leader.successors(&self.config),
        };
        self.leave_leadership(out);
        let election_deadline = self.draw_election_deadline(now);
        self.role = Role::Resigned(Resigned { election_deadline, ..resigned });
        self.peers.reset();
        self.announce(out);
    }

    /// Ends what only a leader has: who waits for records is sent away, and the controller of this node is put out of office.
    fn leave_leadership(&mut self, out: &mut Vec<Effect>) {
        let Role::Leader(leader) = &mut self.role else { return };
        let (was_active, parked) = (leader.is_active, std::mem::take(&mut leader.parked));
        for fetch in parked {
            let reply = self.refuse_fetch(ErrorCode::NotLeaderOrFollower);
            out.push(Effect::Reply { token: fetch.token, reply });
        }
        if was_active {
            let (broker, epoch) = (self.config.node, self.epoch);
            out.push(Effect::Observe(Observation::ControllerResigned { broker, epoch }));
            out.push(Effect::Deactivate);
        }
    }

    /// Does what time alone demands.
    pub(super) fn expire(&mut self, now: Now, out: &mut Vec<Effect>) {
        self.serve_expired(now, out);
        if self.is_ending || !self.config.is_voter {
            return;
        }
        match &self.role {
            Role::Unattached { election_deadline: deadline } => {
                if *deadline <= now.monotonic {
                    self.become_prospective(now, out);
                }
            }
            Role::Follower(follower) => {
                // What is under way in the log would be claimed before it is there.
                if follower.fetch_deadline <= now.monotonic && self.log.is_settled() {
                    self.become_prospective(now, out);
                }
            }
            Role::Prospective(election) => {
                if election.deadline <= now.monotonic {
                    self.give_up_standing(now, out);
                }
            }
            Role::Candidate(election) => {
                if election.deadline <= now.monotonic {
                    self.become_prospective(now, out);
                }
            }
            Role::Resigned(resigned) => {
                if resigned.election_deadline <= now.monotonic {
                    // Another epoch, or those who fetch would be told for ever that this node leads.
                    let next = self.epoch.next();
                    self.become_unattached(now, next, out);
                    self.become_prospective(now, out);
                }
            }
            Role::Leader(_) => {}
        }
    }

    /// A prospective that would not be elected goes back to what it was.
    pub(super) fn give_up_standing(&mut self, now: Now, out: &mut Vec<Effect>) {
        match self.leader {
            Some(leader) if leader != self.config.node => {
                self.become_follower(now, self.epoch, leader, out);
            }
            Some(_) | None => {
                let election_deadline = self.draw_election_deadline(now);
                self.role = Role::Unattached { election_deadline };
                self.peers.reset();
                self.announce(out);
            }
        }
    }

    pub(super) fn standing(&self, error: ErrorCode) -> Standing {
        Standing { error, leader: self.leader, epoch: self.epoch }
    }

    fn names_other_cluster(&self, cluster_id: Option<&String>) -> bool {
        cluster_id.is_some_and(|cluster_id| *cluster_id != self.config.cluster_id)
    }

    /// Takes a request. Whatever it says, it is answered, at once or later.
    pub(super) fn on_request(
        &mut self,
        now: Now,
        token: Token,
        request: QuorumRequest,
        out: &mut Vec<Effect>,
    ) {
        let cluster_id = match &request {
            QuorumRequest::Vote(request) => request.cluster_id.as_ref(),
            QuorumRequest::BeginQuorumEpoch(request) => request.cluster_id.as_ref(),
            QuorumRequest::EndQuorumEpoch(request) => request.cluster_id.as_ref(),
            QuorumRequest::Fetch(request) => request.cluster_id.as_ref(),
            QuorumRequest::FetchSnapshot(request) => request.cluster_id.as_ref(),
            QuorumRequest::DescribeQuorum(_) => None,
        };
        let response = if self.names_other_cluster(cluster_id) {
            request.refused(ErrorCode::InconsistentClusterId)
        } else {
            match &request {
                QuorumRequest::Vote(vote) => match vote_partition(vote) {
                    Some(partition) => self.on_vote(now, vote.voter_id, partition, out),
                    None => request.refused(ErrorCode::InvalidRequest),
                },
                QuorumRequest::BeginQuorumEpoch(begin) => match begin_partition(begin) {
                    Some(partition) => self.on_begin(now, begin.voter_id, partition, out),
                    None => request.refused(ErrorCode::InvalidRequest),
                },
                QuorumRequest::EndQuorumEpoch(end) => match end_partition(end) {
                    Some(partition) => self.on_end(now, partition, out),
                    None => request.refused(ErrorCode::InvalidRequest),
                },
                QuorumRequest::Fetch(fetch) => {
                    self.on_fetch(now, token, fetch, out);
                    return;
                }
                QuorumRequest::FetchSnapshot(fetch) => {
                    let reply = self.on_fetch_snapshot(now, fetch);
                    out.push(Effect::Reply { token, reply });
                    return;
                }
                QuorumRequest::DescribeQuorum(describe) => self.describe(now, describe),
            }
        };
        out.push(Effect::Reply { token, reply: Reply::Whole(response) });
    }

    /// Why a request between voters cannot be taken; epochs are compared first (Kafka: `validateVoterOnlyRequest`).
    pub(super) fn voter_request_error(
        &self,
        sender: BrokerId,
        epoch: LeaderEpoch,
    ) -> Option<ErrorCode> {
        if epoch < self.epoch {
            Some(ErrorCode::FencedLeaderEpoch)
        } else if epoch.value() == i32::MAX {
            // After it there is no other: no election would ever end again.
            Some(ErrorCode::InvalidRequest)
        } else if !self.config.is_voter || !self.config.voters.contains(sender) {
            Some(ErrorCode::InconsistentVoterSet)
        } else {
            None
        }
    }

    /// Whether a request was meant for this voter: a wiped directory is not the one that was asked.
    pub(super) fn is_meant(&self, voter: Option<BrokerId>, directory_id: Uuid) -> bool {
        voter.is_none_or(|voter| voter == self.config.node)
            && (directory_id == Uuid::ZERO || directory_id == self.config.directory_id)
    }

    fn on_begin(
        &mut self,
        now: Now,
        voter: Option<BrokerId>,
        request: &begin_quorum_epoch_request::PartitionData,
        out: &mut Vec<Effect>,
    ) -> QuorumResponse {
        let (leader, epoch) = (request.leader_id, request.leader_epoch);
        let error = match self.voter_request_error(leader, epoch) {
            Some(error) => error,
            None if !self.learn(now, epoch, Some(leader), out) => ErrorCode::InvalidRequest,
            None if !self.is_meant(voter, request.voter_directory_id) => ErrorCode::InvalidVoterKey,
            None => ErrorCode::None,
        };
        begin_quorum_epoch_response(self.standing(error))
    }

    fn on_end(
        &mut self,
        now: Now,
        request: &end_quorum_epoch_request::PartitionData,
        out: &mut Vec<Effect>,
    ) -> QuorumResponse {
        let (leader, epoch) = (request.leader_id, request.leader_epoch);
        let error = match self.voter_request_error(leader, epoch) {
            Some(error) => error,
            None if !self.learn(now, epoch, Some(leader), out) => ErrorCode::InvalidRequest,
            None => {
                self.succeed(now, request);
                ErrorCode::None
            }
        };
        end_quorum_epoch_response(self.standing(error))
    }

    /// The leader of this epoch is gone: who it named first stands first.
    fn succeed(&mut self, now: Now, request: &end_quorum_epoch_request::PartitionData) {
        let Role::Follower(follower) = &mut self.role else { return };
        let candidates: Vec<Voter> = if request.preferred_candidates.is_empty() {
            let by_id = |id: &BrokerId| Voter::new(*id, Uuid::ZERO);
            request.preferred_successors.iter().map(by_id).collect()
        } else {
            let of = |candidate: &end_quorum_epoch_request::ReplicaInfo| {
                Voter::new(candidate.candidate_id, candidate.candidate_directory_id)
            };
            request.preferred_candidates.iter().map(of).collect()
        };
        let is_this = |candidate: &Voter| {
            let directory_id = candidate.directory_id;
            candidate.id == self.config.node
                && (directory_id == Uuid::ZERO || directory_id == self.config.directory_id)
        };
        let count = candidates.len();
        let position = candidates.iter().position(is_this).unwrap_or(count);
        let patience = if candidates.is_empty() {
            // Who was restarted names nobody. Kafka lets all stand at once then, and they split the votes.
            self.config.draw_election_backoff(&mut self.rng)
        } else {
            self.config.succession_backoff(position, count)
        };
        follower.fetch_deadline = now.monotonic + patience;
        // The leader said itself that it is gone: others may be voted for.
        follower.has_fetched = false;
    }

    /// Takes what somebody says of epoch and leader. Returns whether it can be: one epoch has one leader.
    pub(super) fn learn(
        &mut self,
        now: Now,
        epoch: LeaderEpoch,
        leader: Option<BrokerId>,
        out: &mut Vec<Effect>,
    ) -> bool {
        let others = leader
            .filter(|leader| *leader != self.config.node && self.config.voters.contains(*leader));
        if epoch.value() == i32::MAX {
            return false;
        }
        if epoch > self.epoch {
            match others {
                Some(leader) => self.become_follower(now, epoch, leader, out),
                None => self.become_unattached(now, epoch, out),
            }
            return true;
        }
        if epoch < self.epoch {
            return true;
        }
        match (others, self.leader) {
            (Some(leader), None) => {
                self.become_follower(now, epoch, leader, out);
                true
            }
            (Some(leader), Some(known)) => leader == known,
            // That this node leads is news only where it does not know.
            (None, known) => leader.is_none() || known == leader,
        }
    }

    /// Takes an answer, or that there is none.
    pub(super) fn on_response(
        &mut self,
        now: Now,
        from: BrokerId,
        id: RequestId,
        response: Option<QuorumResponse>,
        out: &mut Vec<Effect>,
    ) {
        if !self.peers.answered(from, id) {
            return;
        }
        let before = (self.epoch, self.leader);
        let is_of_use = match &response {
            None => {
                self.peers.back_off(from, now.monotonic + self.config.retry_backoff);
                return;
            }
            Some(QuorumResponse::Vote(response)) => {
                let partition = only(&response.topics).and_then(|topic| only(&topic.partitions));
                partition.is_some_and(|partition| {
                    let said = (partition.leader_id, partition.leader_epoch);
                    self.heard(now, partition.error_code, said, out).is_some_and(|error| {
                        self.on_vote_answer(now, from, error, partition.vote_granted, out)
                    })
                })
            }
            Some(QuorumResponse::BeginQuorumEpoch(response)) => {
                let partition = only(&response.topics).and_then(|topic| only(&topic.partitions));
                partition.is_some_and(|partition| {
                    let said = (partition.leader_id, partition.leader_epoch);
                    let heard = self.heard(now, partition.error_code, said, out);
                    heard.is_some_and(ErrorCode::is_none)
                })
            }
            Some(QuorumResponse::EndQuorumEpoch(response)) => {
                let partition = only(&response.topics).and_then(|topic| only(&topic.partitions));
                partition.is_some_and(|partition| {
                    let said = (partition.leader_id, partition.leader_epoch);
                    let heard = self.heard(now, partition.error_code, said, out);
                    heard.is_some_and(|error| self.on_leave_answer(from, error))
                })
            }
            Some(QuorumResponse::Fetch(response)) => self.on_fetched(now, from, response, out),
            Some(QuorumResponse::FetchSnapshot(response)) => {
                self.on_snapshot_fetched(now, from, response, out)
            }
            Some(QuorumResponse::DescribeQuorum(_)) => false,
        };
        if !is_of_use && before == (self.epoch, self.leader) {
            let pause = self.config.retry_backoff * USELESS_ANSWER_BACKOFFS;
            self.peers.back_off(from, now.monotonic + pause);
        }
    }

    /// What every answer says of epoch and leader. `Some` with the error where the answer is about the present epoch and the
    /// role did not change by it (Kafka: `maybeHandleCommonResponse`).
    pub(super) fn heard(
        &mut self,
        now: Now,
        error: ErrorCode,
        (leader, epoch): (Option<BrokerId>, Option<LeaderEpoch>),
        out: &mut Vec<Effect>,
    ) -> Option<ErrorCode> {
        let epoch = epoch?;
        let before = (self.epoch, self.leader);
        let can_be = self.learn(now, epoch, leader, out);
        let is_present = epoch == before.0 && before == (self.epoch, self.leader);
        (can_be && is_present).then_some(error)
    }

    /// Tells the voters that do not fetch that this node leads.
    pub(super) fn introduce_itself(&mut self, now: Now, out: &mut Vec<Effect>) {
        let Role::Leader(leader) = &mut self.role else { return };
        for voter in leader.due_introductions(now.monotonic) {
            if !self.peers.is_ready(now.monotonic, voter) {
                continue;
            }
            leader.introduced(voter, now.monotonic + self.config.begin_quorum_interval());
            let partition = begin_quorum_epoch_request::PartitionData {
                partition_index: PARTITION,
                voter_directory_id: self.config.voters.directory_of(voter),
                leader_id: self.config.node,
                leader_epoch: self.epoch,
            };
            let topic = begin_quorum_epoch_request::TopicData {
                topic_name: METADATA_TOPIC.to_owned(),
                partitions: vec![partition],
            };
            let request = BeginQuorumEpochRequest {
                cluster_id: Some(self.config.cluster_id.clone()),
                voter_id: Some(voter),
                topics: vec![topic],
                leader_endpoints: Vec::new(),
            };
            let id = self.peers.ask(voter);
            let request = QuorumRequest::BeginQuorumEpoch(request);
            out.push(Effect::Send { to: voter, id, request });
        }
    }

    /// Tells the voters that this node leads no longer.
    pub(super) fn take_leave(&mut self, now: Now, out: &mut Vec<Effect>) {
        let Role::Resigned(resigned) = &self.role else { return };
        let preferred_successors = resigned.successors.iter().map(|voter| voter.id).collect();
        let candidate = |voter: &Voter| end_quorum_epoch_request::ReplicaInfo {
            candidate_id: voter.id,
            candidate_directory_id: voter.directory_id,
        };
        let partition = end_quorum_epoch_request::PartitionData {
            partition_index: PARTITION,
            leader_id: self.config.node,
            leader_epoch: self.epoch,
            preferred_successors,
            preferred_candidates: resigned.successors.iter().map(candidate).collect(),
        };
        let topic = end_quorum_epoch_request::TopicData {
            topic_name: METADATA_TOPIC.to_owned(),
            partitions: vec![partition],
        };
        let request = EndQuorumEpochRequest {
            cluster_id: Some(self.config.cluster_id.clone()),
            topics: vec![topic],
            leader_endpoints: Vec::new(),
        };
        for voter in &resigned.waiting {
            if self.peers.is_ready(now.monotonic, *voter) {
                let id = self.peers.ask(*voter);
                let request = QuorumRequest::EndQuorumEpoch(request.clone());
                out.push(Effect::Send { to: *voter, id, request });
            }
        }
    }

    fn on_leave_answer(&mut self, from: BrokerId, error: ErrorCode) -> bool {
        let Role::Resigned(resigned) = &mut self.role else { return true };
        if error.is_none() {
            resigned.waiting.remove(&from);
        }
        error.is_none()
    }
}

fn begin_partition(
    request: &BeginQuorumEpochRequest,
) -> Option<&begin_quorum_epoch_request::PartitionData> {
    let topic = only(&request.topics).filter(|topic| topic.topic_name == METADATA_TOPIC)?;
    only(&topic.partitions).filter(|partition| partition.partition_index == PARTITION)
}

fn end_partition(
    request: &EndQuorumEpochRequest,
) -> Option<&end_quorum_epoch_request::PartitionData> {
    let topic = only(&request.topics).filter(|topic| topic.topic_name == METADATA_TOPIC)?;
    only(&topic.partitions).filter(|partition| partition.partition_index == PARTITION)
}
