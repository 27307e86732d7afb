//! What members of the quorum say to each other: Kafka's messages, each about the one partition of the metadata topic.

use crate::protocol::messages::{
    BeginQuorumEpochRequest, BeginQuorumEpochResponse, DescribeQuorumRequest,
    DescribeQuorumResponse, EndQuorumEpochRequest, EndQuorumEpochResponse, FetchRequest,
    FetchResponse, FetchSnapshotRequest, FetchSnapshotResponse, VoteRequest, VoteResponse,
};
use crate::types::ErrorCode;

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
