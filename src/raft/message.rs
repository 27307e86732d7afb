//! What members of the quorum say to each other: Kafka's messages, each about the one partition of the metadata topic.

use crate::protocol::messages::{
    BeginQuorumEpochRequest, BeginQuorumEpochResponse, DescribeQuorumRequest,
    DescribeQuorumResponse, EndQuorumEpochRequest, EndQuorumEpochResponse, FetchRequest,
    FetchResponse, FetchSnapshotRequest, FetchSnapshotResponse, VoteRequest, VoteResponse,
    begin_quorum_epoch_response, end_quorum_epoch_response, fetch_response,
    fetch_snapshot_response, vote_response,
};
use crate::types::{BrokerId, ErrorCode, LeaderEpoch, PartitionIndex, Uuid};

/// A question to a member of the quorum. It comes over the controller listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuorumRequest {
    /// A candidate, or one that would be, asks for a vote (KIP-595, KIP-996).
    Vote(VoteRequest),
    /// A new leader makes itself known.
    BeginQuorumEpoch(BeginQuorumEpochRequest),
    /// A leader steps down.
    EndQuorumEpoch(EndQuorumEpochRequest),
    /// A follower or observer asks for the log behind its own end.
    Fetch(FetchRequest),
    /// A follower or observer asks for a part of a snapshot (KIP-630).
    FetchSnapshot(FetchSnapshotRequest),
    /// Somebody asks how the quorum stands.
    DescribeQuorum(DescribeQuorumRequest),
}

/// The answer to a [`QuorumRequest`], of the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum QuorumResponse {
    Vote(VoteResponse),
    BeginQuorumEpoch(BeginQuorumEpochResponse),
    EndQuorumEpoch(EndQuorumEpochResponse),
    Fetch(FetchResponse),
    FetchSnapshot(FetchSnapshotResponse),
    DescribeQuorum(DescribeQuorumResponse),
}

impl QuorumRequest {
    /// The answer that says nothing but `error`, about the request as a whole.
    #[must_use]
    pub fn refused(&self, error_code: ErrorCode) -> QuorumResponse {
        match self {
            Self::Vote(_) => {
                QuorumResponse::Vote(VoteResponse { error_code, ..VoteResponse::default() })
            }
            Self::BeginQuorumEpoch(_) => {
                let response = BeginQuorumEpochResponse { error_code, ..Default::default() };
                QuorumResponse::BeginQuorumEpoch(response)
            }
            Self::EndQuorumEpoch(_) => {
                let response = EndQuorumEpochResponse { error_code, ..Default::default() };
                QuorumResponse::EndQuorumEpoch(response)
            }
            Self::Fetch(_) => {
                QuorumResponse::Fetch(FetchResponse { error_code, ..FetchResponse::default() })
            }
            Self::FetchSnapshot(_) => {
                let response = FetchSnapshotResponse { error_code, ..Default::default() };
                QuorumResponse::FetchSnapshot(response)
            }
            Self::DescribeQuorum(_) => {
                let response = DescribeQuorumResponse { error_code, ..Default::default() };
                QuorumResponse::DescribeQuorum(response)
            }
        }
    }
}

/// The only topic of the quorum, with its only partition, 0.
pub const METADATA_TOPIC: &str = "__cluster_metadata";

/// The only partition.
pub(super) const PARTITION: PartitionIndex = PartitionIndex::new(0);

/// The only element, where there is exactly one.
pub(super) fn only<T>(list: &[T]) -> Option<&T> {
    match list {
        [one] => Some(one),
        [] | [_, ..] => None,
    }
}

/// What every answer says of the quorum beside its own matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) error: ErrorCode,
    pub(super) leader: Option<BrokerId>,
    pub(super) epoch: LeaderEpoch,
}

pub(super) fn vote_response(standing: Standing, vote_granted: bool) -> QuorumResponse {
    let partition = vote_response::PartitionData {
        partition_index: PARTITION,
        error_code: standing.error,
        leader_id: standing.leader,
        leader_epoch: Some(standing.epoch),
        vote_granted,
    };
    let topic = vote_response::TopicData {
        topic_name: METADATA_TOPIC.to_owned(),
        partitions: vec![partition],
    };
    QuorumResponse::Vote(VoteResponse { topics: vec![topic], ..Default::default() })
}

pub(super) fn begin_quorum_epoch_response(standing: Standing) -> QuorumResponse {
    let partition = begin_quorum_epoch_response::PartitionData {
        partition_index: PARTITION,
        error_code: standing.error,
        leader_id: standing.leader,
        leader_epoch: Some(standing.epoch),
    };
    let topic = begin_quorum_epoch_response::TopicData {
        topic_name: METADATA_TOPIC.to_owned(),
        partitions: vec![partition],
    };
    let response = BeginQuorumEpochResponse { topics: vec![topic], ..Default::default() };
    QuorumResponse::BeginQuorumEpoch(response)
}

pub(super) fn end_quorum_epoch_response(standing: Standing) -> QuorumResponse {
    let partition = end_quorum_epoch_response::PartitionData {
        partition_index: PARTITION,
        error_code: standing.error,
        leader_id: standing.leader,
        leader_epoch: Some(standing.epoch),
    };
    let topic = end_quorum_epoch_response::TopicData {
        topic_name: METADATA_TOPIC.to_owned(),
        partitions: vec![partition],
    };
    let response = EndQuorumEpochResponse { topics: vec![topic], ..Default::default() };
    QuorumResponse::EndQuorumEpoch(response)
}

/// An answer to a fetch, still without records.
pub(super) fn fetch_response(
    standing: Standing,
    rest: fetch_response::PartitionData,
) -> FetchResponse {
    let partition = fetch_response::PartitionData {
        partition_index: PARTITION,
        error_code: standing.error,
        current_leader: fetch_response::LeaderIdAndEpoch {
            leader_id: standing.leader,
            leader_epoch: Some(standing.epoch),
        },
        ..rest
    };
    let topic = fetch_response::FetchableTopicResponse {
        topic: METADATA_TOPIC.to_owned(),
        topic_id: Uuid::METADATA_TOPIC,
        partitions: vec![partition],
    };
    FetchResponse { responses: vec![topic], ..Default::default() }
}

/// An answer to a fetch of a snapshot, still without bytes.
pub(super) fn fetch_snapshot_response(
    standing: Standing,
    rest: fetch_snapshot_response::PartitionSnapshot,
) -> FetchSnapshotResponse {
    let partition = fetch_snapshot_response::PartitionSnapshot {
        index: PARTITION,
        error_code: standing.error,
        current_leader: fetch_snapshot_response::LeaderIdAndEpoch {
            leader_id: standing.leader,
            leader_epoch: Some(standing.epoch),
        },
        ..rest
    };
    let topic = fetch_snapshot_response::TopicSnapshot {
        name: METADATA_TOPIC.to_owned(),
        partitions: vec![partition],
    };
    FetchSnapshotResponse { topics: vec![topic], ..Default::default() }
}
