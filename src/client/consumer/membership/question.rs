//! What a member asks the group's coordinator (pure).

use std::time::Duration;

use crate::protocol::VersionRange;
use crate::protocol::messages::{
    FindCoordinatorRequest, FindCoordinatorResponse, HeartbeatRequest, HeartbeatResponse,
    JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, Message,
    OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse,
    SyncGroupRequest, SyncGroupResponse,
};
use crate::rpc::network_client::RpcError;

/// How much longer than the rebalance timeout an answer to JoinGroup may take (Kafka: `AbstractCoordinator.JOIN_GROUP_TIMEOUT_LAPSE`).
pub(super) const JOIN_TIMEOUT_LAPSE: Duration = Duration::from_secs(5);

/// A request.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::client::consumer) enum Question {
    /// Who coordinates the group?
    FindCoordinator(FindCoordinatorRequest),
    /// Let me into the next generation.
    JoinGroup(JoinGroupRequest),
    /// What am I to read?
    SyncGroup(SyncGroupRequest),
    /// I am still here.
    Heartbeat(HeartbeatRequest),
    /// I go.
    LeaveGroup(LeaveGroupRequest),
    /// So far have I read.
    OffsetCommit(OffsetCommitRequest),
    /// How far has the group read?
    OffsetFetch(OffsetFetchRequest),
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::client::consumer) enum Answer {
    /// Of [`Question::FindCoordinator`].
    FindCoordinator(Result<FindCoordinatorResponse, RpcError>),
    /// Of [`Question::JoinGroup`].
    JoinGroup(Result<JoinGroupResponse, RpcError>),
    /// Of [`Question::SyncGroup`].
    SyncGroup(Result<SyncGroupResponse, RpcError>),
    /// Of [`Question::Heartbeat`].
    Heartbeat(Result<HeartbeatResponse, RpcError>),
    /// Of [`Question::LeaveGroup`].
    LeaveGroup(Result<LeaveGroupResponse, RpcError>),
    /// Of [`Question::OffsetCommit`].
    OffsetCommit(Result<OffsetCommitResponse, RpcError>),
    /// Of [`Question::OffsetFetch`].
    OffsetFetch(Result<OffsetFetchResponse, RpcError>),
}

impl Question {
    /// In which versions it can be asked: those with one key and with topics by name, and OffsetFetch in the one that waits for
    /// transactions that are under way (KIP-447).
    pub(in crate::client::consumer) const fn versions(&self) -> VersionRange {
        match self {
            Self::FindCoordinator(_) => VersionRange { min: 1, max: 3 },
            Self::JoinGroup(request) if request.group_instance_id.is_some() => {
                VersionRange { min: 5, max: JoinGroupRequest::VERSIONS.max }
            }
            Self::JoinGroup(_) => JoinGroupRequest::VERSIONS,
            Self::SyncGroup(request) if request.group_instance_id.is_some() => {
                VersionRange { min: 3, max: SyncGroupRequest::VERSIONS.max }
            }
            Self::SyncGroup(_) => SyncGroupRequest::VERSIONS,
            Self::Heartbeat(request) if request.group_instance_id.is_some() => {
                VersionRange { min: 3, max: HeartbeatRequest::VERSIONS.max }
            }
            Self::Heartbeat(_) => HeartbeatRequest::VERSIONS,
            Self::LeaveGroup(_) => VersionRange { min: 3, max: LeaveGroupRequest::VERSIONS.max },
            Self::OffsetCommit(request) if request.group_instance_id.is_some() => {
                VersionRange { min: 7, max: 9 }
            }
            Self::OffsetCommit(_) => {
                VersionRange { min: OffsetCommitRequest::VERSIONS.min, max: 9 }
            }
            Self::OffsetFetch(_) => VersionRange { min: 7, max: 7 },
        }
    }
}
