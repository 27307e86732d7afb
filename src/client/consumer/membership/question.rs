//! What a member asks the group's coordinator (pure).

use std::time::Duration;

use crate::protocol::VersionRange;
use crate::protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, DescribeGroupsRequest,
    DescribeGroupsResponse, FindCoordinatorRequest, FindCoordinatorResponse, HeartbeatRequest,
    HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse,
    Message, OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse,
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
    /// Who has what?
    DescribeGroups(DescribeGroupsRequest),
    /// I come, am still here, have this, or go, in the consumer protocol.
    ConsumerGroupHeartbeat(ConsumerGroupHeartbeatRequest),
    /// So far have I read.
    OffsetCommit(OffsetCommitRequest),
    /// So far have I read, in this member epoch.
    OffsetCommitOfEpoch(OffsetCommitRequest),
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
    /// Of [`Question::DescribeGroups`].
    DescribeGroups(Result<DescribeGroupsResponse, RpcError>),
    /// Of [`Question::ConsumerGroupHeartbeat`].
    ConsumerGroupHeartbeat(Result<ConsumerGroupHeartbeatResponse, RpcError>),
    /// Of [`Question::OffsetCommit`] and [`Question::OffsetCommitOfEpoch`].
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
            Self::DescribeGroups(_) => DescribeGroupsRequest::VERSIONS,
            Self::OffsetCommit(request) if request.group_instance_id.is_some() => {
                VersionRange { min: 7, max: 9 }
            }
            Self::OffsetCommit(_) => {
                VersionRange { min: OffsetCommitRequest::VERSIONS.min, max: 9 }
            }
            // Regular expressions came with version 1.
            Self::ConsumerGroupHeartbeat(request) if request.subscribed_topic_regex.is_some() => {
                VersionRange { min: 1, max: ConsumerGroupHeartbeatRequest::VERSIONS.max }
            }
            Self::ConsumerGroupHeartbeat(_) => ConsumerGroupHeartbeatRequest::VERSIONS,
            Self::OffsetCommitOfEpoch(_) => VersionRange { min: 9, max: 9 },
            // With the asker's epoch.
            Self::OffsetFetch(request) if !request.groups.is_empty() => {
                VersionRange { min: 9, max: 9 }
            }
            Self::OffsetFetch(_) => VersionRange { min: 7, max: 7 },
        }
    }
}
