//! Votes: asked for, given, and counted.
//!
//! A vote is durable before anybody is told of it (the order of the effects). A pre-vote promises nothing and is not kept: it only
//! asks whether an election would be of use, so that a member that was cut off does not put down a leader that the others hear well
//! (KIP-996).
//!
//! Kafka: `KafkaRaftClient.handleVoteRequest`, `ProspectiveState`, `CandidateState`, `EpochElection`.

use std::collections::BTreeSet;

use super::message::{METADATA_TOPIC, PARTITION, only, vote_response};
use super::{Effect, QuorumRequest, QuorumResponse, Raft, Role, VotedFor, Voter};
use crate::protocol::messages::{VoteRequest, vote_request};
use crate::types::{BrokerId, ErrorCode, LeaderEpoch, Monotonic, Now, Observation};

/// Votes or pre-votes, while they come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Election {
    pub(super) granted: BTreeSet<BrokerId>,
    rejected: BTreeSet<BrokerId>,
    /// When it is over without a winner.
    pub(super) deadline: Monotonic,
}

/// A request for a vote, once it was understood.
struct Ballot {
    candidate: Voter,
    epoch: LeaderEpoch,
    is_log_up_to_date: bool,
    is_pre_vote: bool,
}

impl Raft {
    /// The voters that have not said yet what they would do; none where it does not matter any more.
    pub(super) fn undecided<'a>(
        &'a self,
        election: &'a Election,
    ) -> impl Iterator<Item = BrokerId> + use<'a> {
        let is_lost = election.is_lost(self.config.voters.iter().len());
        self.other_voters().filter(move |voter| {
            !is_lost && !election.granted.contains(voter) && !election.rejected.contains(voter)
        })
    }

    pub(super) fn ask_for_votes(&mut self, now: Now, out: &mut Vec<Effect>) {
        let (election, pre_vote) = match &self.role {
            Role::Prospective(election) => (election, true),
            Role::Candidate(election) => (election, false),
            Role::Unattached { .. } | Role::Follower(_) | Role::Leader(_) | Role::Resigned(_) => {
                return;
            }
        };
        let to: Vec<BrokerId> = self
            .undecided(election)
            .filter(|voter| self.peers.is_ready(now.monotonic, *voter))
            .collect();
        for voter in to {
            let request = QuorumRequest::Vote(self.vote_request(voter, pre_vote));
            let id = self.peers.ask(voter);
            out.push(Effect::Send { to: voter, id, request });
        }
    }

    fn vote_request(&self, voter: BrokerId, pre_vote: bool) -> VoteRequest {
        let partition = vote_request::PartitionData {
            partition_index: PARTITION,
            replica_epoch: self.epoch,
            replica_id: self.config.node,
            replica_directory_id: self.config.directory_id,
            voter_directory_id: self.config.voters.directory_of(voter),
            last_offset_epoch: self.log.last_epoch(),
            last_offset: self.log.written_end,
            pre_vote,
        };
        let topic = vote_request::TopicData {
            topic_name: METADATA_TOPIC.to_owned(),
            partitions: vec![partition],
        };
        let cluster_id = Some(self.config.cluster_id.clone());
        VoteRequest { cluster_id, voter_id: Some(voter), topics: vec![topic] }
    }

    pub(super) fn on_vote(
        &mut self,
        now: Now,
        voter: Option<BrokerId>,
        request: &vote_request::PartitionData,
        out: &mut Vec<Effect>,
    ) -> QuorumResponse {
        let epoch = request.replica_epoch;
        let of_future = if request.pre_vote {
            request.last_offset_epoch > epoch
        } else {
            request.last_offset_epoch >= epoch
        };
        if of_future {
            return vote_response(self.standing(ErrorCode::InvalidRequest), false);
        }
        if let Some(error) = self.voter_request_error(request.replica_id, epoch) {
            return vote_response(self.standing(error), false);
        }
        if epoch > self.epoch {
            self.become_unattached(now, epoch, out);
        }
        if !self.is_meant(voter, request.voter_directory_id) {
            crate::mark!("a vote is asked of a voter with another directory");
            return vote_response(self.standing(ErrorCode::InvalidVoterKey), false);
        }
        let own = (self.log.last_epoch(), self.log.written_end);
        let ballot = Ballot {
            candidate: Voter::new(request.replica_id, request.replica_directory_id),
            epoch,
            is_log_up_to_date: (request.last_offset_epoch, request.last_offset) >= own,
            is_pre_vote: request.pre_vote,
        };
        let granted = self.may_grant(&ballot);
        if granted {
            self.grant(&ballot, out);
        }
        vote_response(self.standing(ErrorCode::None), granted)
    }

    /// Whether a vote may be given. The epochs are equal here.
    fn may_grant(&self, ballot: &Ballot) -> bool {
        if !ballot.is_log_up_to_date {
            return false;
        }
        if ballot.is_pre_vote {
            return match &self.role {
                Role::Unattached { .. }
                | Role::Prospective(_)
                | Role::Candidate(_)
                | Role::Resigned(_) => true,
                // It hears its leader well: no need for another.
                Role::Follower(follower) => !follower.has_fetched,
                Role::Leader(_) => false,
            };
        }
        let vote =
            VotedFor { voter: ballot.candidate.id, directory_id: ballot.candidate.directory_id };
        match &self.role {
            Role::Unattached { .. } | Role::Prospective(_) => match self.voted_for {
                Some(given) => given == vote,
                None => self.leader.is_none(),
            },
            Role::Follower(_) | Role::Candidate(_) | Role::Leader(_) | Role::Resigned(_) => false,
        }
    }

    fn grant(&mut self, ballot: &Ballot, out: &mut Vec<Effect>) {
        let Voter { id: candidate, directory_id } = ballot.candidate;
        if !ballot.is_pre_vote {
            self.voted_for = Some(VotedFor { voter: candidate, directory_id });
            // Before the reply: the order is the guarantee.
            self.persist(out);
        }
        let (voter, epoch, is_pre_vote) = (self.config.node, ballot.epoch, ballot.is_pre_vote);
        let vote = Observation::VoteGranted { voter, epoch, candidate, is_pre_vote };
        out.push(Effect::Observe(vote));
    }

    pub(super) fn on_vote_answer(
        &mut self,
        now: Now,
        from: BrokerId,
        error: ErrorCode,
        vote_granted: bool,
        out: &mut Vec<Effect>,
    ) -> bool {
        if !error.is_none() {
            return false;
        }
        let (Role::Prospective(election) | Role::Candidate(election)) = &mut self.role else {
            return true;
        };
        if vote_granted {
            election.granted.insert(from);
        } else {
            election.rejected.insert(from);
        }
        self.count_votes(now, out);
        true
    }

    pub(super) fn count_votes(&mut self, now: Now, out: &mut Vec<Effect>) {
        if self.is_ending {
            return;
        }
        let (voters, majority) = (self.config.voters.iter().len(), self.config.voters.majority());
        match &mut self.role {
            Role::Prospective(election) if election.granted.len() >= majority => {
                self.become_candidate(now, out);
            }
            Role::Prospective(election) if election.is_lost(voters) => {
                self.give_up_standing(now, out);
            }
            Role::Candidate(election) if election.granted.len() >= majority => {
                let granted = election.granted.clone();
                self.become_leader(now, &granted, out);
            }
            Role::Candidate(election) if election.is_lost(voters) => {
                // Another try, but not at the same moment as the others.
                let pause = self.config.draw_election_backoff(&mut self.rng);
                election.deadline = election.deadline.min(now.monotonic + pause);
            }
            Role::Prospective(_)
            | Role::Candidate(_)
            | Role::Unattached { .. }
            | Role::Follower(_)
            | Role::Leader(_)
            | Role::Resigned(_) => {}
        }
    }
}

impl Election {
    pub(super) fn new(node: BrokerId, deadline: Monotonic) -> Self {
        Self { granted: BTreeSet::from([node]), rejected: BTreeSet::new(), deadline }
    }

    /// Whether a majority can no longer be had of so many voters.
    fn is_lost(&self, voters: usize) -> bool {
        let majority = voters / 2 + 1;
        voters - self.rejected.len() < majority
    }
}

pub(super) fn vote_partition(request: &VoteRequest) -> Option<&vote_request::PartitionData> {
    let topic = only(&request.topics).filter(|topic| topic.topic_name == METADATA_TOPIC)?;
    only(&topic.partitions).filter(|partition| partition.partition_index == PARTITION)
}
