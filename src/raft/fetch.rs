//! How a leader answers those who pull its log: records, where the logs part, or which snapshot comes first. A fetch that finds
//! nothing new waits for it. And how the quorum stands, for those who ask.
//!
//! A voter's fetch is its acknowledgement: it says how far its log is durable, and reaches to the end of what it holds in common
//! with this log.
//!
//! Kafka: `KafkaRaftClient.handleFetchRequest`, `tryCompleteFetchRequest`, `handleDescribeQuorumRequest`; KIP-1166.

use super::leader::Progress;
use super::log_view::Position;
use super::message::{METADATA_TOPIC, PARTITION, fetch_response, only};
use super::{Effect, QuorumRequest, QuorumResponse, Raft, Reply, Role, Token, Voter};
use crate::protocol::messages::{
    DescribeQuorumRequest, DescribeQuorumResponse, FetchRequest, describe_quorum_response,
    fetch_request, fetch_response as wire,
};
use crate::types::{BrokerId, ErrorCode, LeaderEpoch, Monotonic, Now, Offset, Uuid};

/// A fetch that was valid and found nothing new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ParkedFetch {
    pub(super) token: Token,
    member: Option<Voter>,
    offset: Offset,
    high_watermark: Known,
    max_bytes: usize,
    /// When it is answered in any case.
    pub(super) deadline: Monotonic,
}

/// What who fetches knows of the high watermark, and so whether it waits for more of it (KIP-1166).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// It does not say: it waits for records only.
    Untold,
    /// So much.
    UpTo(Option<Offset>),
}

impl Known {
    fn is_behind(self, high_watermark: Option<Offset>) -> bool {
        match self {
            Self::Untold => false,
            Self::UpTo(known) => known < high_watermark,
        }
    }
}

impl Raft {
    /// Why a request to the leader cannot be taken (Kafka: `validateLeaderOnlyRequest`).
    pub(super) fn leader_request_error(&self, epoch: Option<LeaderEpoch>) -> Option<ErrorCode> {
        if epoch < Some(self.epoch) {
            Some(ErrorCode::FencedLeaderEpoch)
        } else if epoch > Some(self.epoch) {
            Some(ErrorCode::UnknownLeaderEpoch)
        } else if matches!(self.role, Role::Leader(_)) {
            None
        } else {
            Some(ErrorCode::NotLeaderOrFollower)
        }
    }

    pub(super) fn refuse_fetch(&self, error: ErrorCode) -> Reply {
        let nothing = wire::PartitionData { high_watermark: None, ..Default::default() };
        Reply::Whole(QuorumResponse::Fetch(fetch_response(self.standing(error), nothing)))
    }

    pub(super) fn on_fetch(
        &mut self,
        now: Now,
        token: Token,
        request: &FetchRequest,
        out: &mut Vec<Effect>,
    ) {
        let Some(partition) = partition_of(request) else {
            let response =
                QuorumRequest::Fetch(FetchRequest::default()).refused(ErrorCode::InvalidRequest);
            out.push(Effect::Reply { token, reply: Reply::Whole(response) });
            return;
        };
        let member = request.replica_state.replica_id.or(request.replica_id);
        let (Ok(max_wait), Some(offset), Some(last_epoch)) = (
            u64::try_from(request.max_wait_ms),
            partition.fetch_offset,
            partition
                .last_fetched_epoch
                .filter(|last| Some(*last) <= partition.current_leader_epoch),
        ) else {
            let reply = self.refuse_fetch(ErrorCode::InvalidRequest);
            out.push(Effect::Reply { token, reply });
            return;
        };
        let fetch = ParkedFetch {
            token,
            member: member.map(|id| Voter::new(id, partition.replica_directory_id)),
            offset,
            high_watermark: match partition.high_watermark {
                Some(Offset::MAX) => Known::Untold,
                known => Known::UpTo(known),
            },
            max_bytes: usize::try_from(request.max_bytes).unwrap_or(0),
            deadline: now.monotonic + std::time::Duration::from_millis(max_wait),
        };
        let mut error = self.leader_request_error(partition.current_leader_epoch);
        if error.is_none() && member == Some(self.config.node) {
            error = Some(ErrorCode::InvalidRequest);
        }
        match error {
            Some(error) => {
                let reply = self.refuse_fetch(error);
                out.push(Effect::Reply { token, reply });
            }
            None => self.serve(now, fetch, last_epoch, out),
        }
    }

    /// Answers a fetch as the leader, or parks it.
    fn serve(
        &mut self,
        now: Now,
        fetch: ParkedFetch,
        last_epoch: LeaderEpoch,
        out: &mut Vec<Effect>,
    ) {
        let token = fetch.token;
        match self.log.locate(fetch.offset, last_epoch) {
            Position::Diverging(end) => {
                let diverging_epoch = wire::EpochEndOffset {
                    epoch: Some(end.epoch),
                    end_offset: Some(end.end_offset),
                };
                let rest = wire::PartitionData { diverging_epoch, ..self.fetch_answer() };
                let response = fetch_response(self.standing(ErrorCode::None), rest);
                let reply = Reply::Whole(QuorumResponse::Fetch(response));
                out.push(Effect::Reply { token, reply });
            }
            Position::Snapshot(id) => {
                let snapshot_id =
                    wire::SnapshotId { end_offset: Some(id.end_offset), epoch: Some(id.epoch) };
                let rest = wire::PartitionData { snapshot_id, ..self.fetch_answer() };
                let response = fetch_response(self.standing(ErrorCode::None), rest);
                let reply = Reply::Whole(QuorumResponse::Fetch(response));
                out.push(Effect::Reply { token, reply });
            }
            Position::Valid => {
                self.dismiss_former(fetch.member, out);
                let Role::Leader(leader) = &mut self.role else { unreachable!("it was asked") };
                if let Some(member) = fetch.member {
                    let end = self.log.written_end;
                    leader.on_fetch(now, member, fetch.offset, end, &self.config);
                    self.advance_high_watermark(now, out);
                }
                let Role::Leader(leader) = &mut self.role else { unreachable!("it still leads") };
                let is_due = fetch.deadline <= now.monotonic
                    || fetch.offset < self.log.written_end
                    || fetch.high_watermark.is_behind(leader.high_watermark);
                if is_due {
                    self.answer_fetch(&fetch, out);
                } else {
                    leader.parked.push(fetch);
                }
            }
        }
    }

    /// A member has one fetch at a time: who asks again has given up the one before.
    fn dismiss_former(&mut self, member: Option<Voter>, out: &mut Vec<Effect>) {
        let Role::Leader(leader) = &mut self.role else { return };
        let is_former = |fetch: &ParkedFetch| member.is_some() && fetch.member == member;
        let Some(index) = leader.parked.iter().position(is_former) else { return };
        let former = leader.parked.remove(index);
        self.answer_fetch(&former, out);
    }

    fn fetch_answer(&self) -> wire::PartitionData {
        let high_watermark = match &self.role {
            Role::Leader(leader) => leader.high_watermark,
            Role::Unattached { .. }
            | Role::Prospective(_)
            | Role::Candidate(_)
            | Role::Follower(_)
            | Role::Resigned(_) => None,
        };
        let log_start_offset = Some(self.log.start);
        wire::PartitionData { high_watermark, log_start_offset, ..Default::default() }
    }

    fn answer_fetch(&self, fetch: &ParkedFetch, out: &mut Vec<Effect>) {
        let response = fetch_response(self.standing(ErrorCode::None), self.fetch_answer());
        let (from, to, max_bytes) = (fetch.offset, self.log.written_end, fetch.max_bytes);
        let reply = if from < to {
            Reply::Records { response, from, to, max_bytes }
        } else {
            Reply::Whole(QuorumResponse::Fetch(response))
        };
        out.push(Effect::Reply { token: fetch.token, reply });
    }

    /// Answers the waiting fetches for which there is something new.
    pub(super) fn serve_parked(&mut self, now: Now, out: &mut Vec<Effect>) {
        let end = self.log.written_end;
        self.serve_those(out, |fetch, high_watermark| {
            fetch.offset < end
                || fetch.high_watermark.is_behind(high_watermark)
                || fetch.deadline <= now.monotonic
        });
    }

    /// Answers the waiting fetches whose patience is at its end.
    pub(super) fn serve_expired(&mut self, now: Now, out: &mut Vec<Effect>) {
        self.serve_those(out, |fetch, _| fetch.deadline <= now.monotonic);
    }

    fn serve_those(
        &mut self,
        out: &mut Vec<Effect>,
        is_due: impl Fn(&ParkedFetch, Option<Offset>) -> bool,
    ) {
        let Role::Leader(leader) = &mut self.role else { return };
        let high_watermark = leader.high_watermark;
        let due: Vec<ParkedFetch> =
            leader.parked.extract_if(.., |fetch| is_due(fetch, high_watermark)).collect();
        for fetch in due {
            self.answer_fetch(&fetch, out);
        }
    }

    /// How the quorum stands. Only its leader knows.
    pub(super) fn describe(&self, now: Now, request: &DescribeQuorumRequest) -> QuorumResponse {
        let is_ours = only(&request.topics).is_some_and(|topic| {
            let partition = only(&topic.partitions);
            topic.topic_name == METADATA_TOPIC
                && partition.is_some_and(|partition| partition.partition_index == PARTITION)
        });
        if !is_ours {
            return describe_errors(request);
        }
        let Role::Leader(leader) = &self.role else {
            return describe_response(describe_quorum_response::PartitionData {
                partition_index: PARTITION,
                error_code: ErrorCode::NotLeaderOrFollower,
                ..Default::default()
            });
        };
        let this = describe_quorum_response::ReplicaState {
            replica_id: self.config.node,
            replica_directory_id: self.config.directory_id,
            log_end_offset: Some(self.log.written_end),
            last_fetch_timestamp: None,
            last_caught_up_timestamp: Some(now.wall),
        };
        let voter = |(id, progress): (&BrokerId, &Progress)| {
            replica_state(Voter::new(*id, self.config.voters.directory_of(*id)), progress)
        };
        let mut current_voters: Vec<_> = leader.voters.iter().map(voter).chain([this]).collect();
        current_voters.sort_by_key(|state| state.replica_id);
        let observer = |(id, progress): (&Voter, &Progress)| replica_state(*id, progress);
        describe_response(describe_quorum_response::PartitionData {
            partition_index: PARTITION,
            error_code: ErrorCode::None,
            error_message: None,
            leader_id: self.leader,
            leader_epoch: Some(self.epoch),
            high_watermark: leader.high_watermark,
            current_voters,
            observers: leader.observers.iter().map(observer).collect(),
        })
    }
}

fn partition_of(request: &FetchRequest) -> Option<&fetch_request::FetchPartition> {
    let is_ours = |topic: &&fetch_request::FetchTopic| {
        topic.topic_id == Uuid::METADATA_TOPIC
            || (topic.topic_id == Uuid::ZERO && topic.topic == METADATA_TOPIC)
    };
    let topic = only(&request.topics).filter(is_ours)?;
    only(&topic.partitions).filter(|partition| partition.partition == PARTITION)
}

fn replica_state(member: Voter, progress: &Progress) -> describe_quorum_response::ReplicaState {
    describe_quorum_response::ReplicaState {
        replica_id: member.id,
        replica_directory_id: member.directory_id,
        log_end_offset: progress.end,
        last_fetch_timestamp: progress.last_fetch,
        last_caught_up_timestamp: progress.last_caught_up,
    }
}

fn describe_response(partition: describe_quorum_response::PartitionData) -> QuorumResponse {
    let topic = describe_quorum_response::TopicData {
        topic_name: METADATA_TOPIC.to_owned(),
        partitions: vec![partition],
    };
    let response = DescribeQuorumResponse { topics: vec![topic], ..Default::default() };
    QuorumResponse::DescribeQuorum(response)
}

fn describe_errors(request: &DescribeQuorumRequest) -> QuorumResponse {
    let topics = request.topics.iter().map(|topic| describe_quorum_response::TopicData {
        topic_name: topic.topic_name.clone(),
        partitions: topic
            .partitions
            .iter()
            .map(|partition| describe_quorum_response::PartitionData {
                partition_index: partition.partition_index,
                error_code: ErrorCode::UnknownTopicOrPartition,
                ..Default::default()
            })
            .collect(),
    });
    let response = DescribeQuorumResponse { topics: topics.collect(), ..Default::default() };
    QuorumResponse::DescribeQuorum(response)
}
