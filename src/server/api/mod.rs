//! What clients ask: one file an API. A request is read here, handed to its file, and its answer written here.
//!
//! [`SERVED`] is the one table of what is served; ApiVersions tells it to clients, so nothing else is advertised. What only the
//! controller can do is passed on to it (`forward.rs`).

mod api_versions;
mod consumer_group_describe;
mod consumer_group_heartbeat;
mod delete_groups;
mod delete_records;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_topic_partitions;
mod fetch;
mod find_coordinator;
mod forward;
mod forwarded;
mod group_words;
mod heartbeat;
mod init_producer_id;
mod join_group;
mod leave_group;
mod list_groups;
mod list_offsets;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod produce;
mod sync_group;

use std::sync::Arc;

use bytes::Bytes;

use super::Config;
use super::answer::{Head, Served, Service};
use crate::protocol::ApiKey;
use crate::protocol::frame::decode_request;
use crate::protocol::messages::{
    AlterConfigsRequest, AlterPartitionReassignmentsRequest, ApiVersionsRequest,
    ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, CreatePartitionsRequest,
    CreateTopicsRequest, DeleteGroupsRequest, DeleteRecordsRequest, DeleteTopicsRequest,
    DescribeClusterRequest, DescribeConfigsRequest, DescribeGroupsRequest, DescribeQuorumRequest,
    DescribeTopicPartitionsRequest, ElectLeadersRequest, FetchRequest, FindCoordinatorRequest,
    HeartbeatRequest, IncrementalAlterConfigsRequest, InitProducerIdRequest, JoinGroupRequest,
    LeaveGroupRequest, ListGroupsRequest, ListOffsetsRequest, ListPartitionReassignmentsRequest,
    Message, MetadataRequest, OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest,
    OffsetForLeaderEpochRequest, ProduceRequest, Request, SyncGroupRequest,
    UnregisterBrokerRequest, UpdateFeaturesRequest,
};
use crate::protocol::wire::Reader;
use crate::runtime::Env;

pub(super) use super::answer::{Answer, Source};
pub(super) use super::broker::Broker;
use super::broker::is_internal;

/// The APIs and versions that this broker serves, in the order of the numbers.
pub(super) const SERVED: Served = &[
    (ApiKey::Produce, ProduceRequest::VERSIONS),
    (ApiKey::Fetch, FetchRequest::VERSIONS),
    (ApiKey::ListOffsets, ListOffsetsRequest::VERSIONS),
    (ApiKey::Metadata, MetadataRequest::VERSIONS),
    (ApiKey::OffsetCommit, OffsetCommitRequest::VERSIONS),
    (ApiKey::OffsetFetch, OffsetFetchRequest::VERSIONS),
    (ApiKey::FindCoordinator, FindCoordinatorRequest::VERSIONS),
    (ApiKey::JoinGroup, JoinGroupRequest::VERSIONS),
    (ApiKey::Heartbeat, HeartbeatRequest::VERSIONS),
    (ApiKey::LeaveGroup, LeaveGroupRequest::VERSIONS),
    (ApiKey::SyncGroup, SyncGroupRequest::VERSIONS),
    (ApiKey::DescribeGroups, DescribeGroupsRequest::VERSIONS),
    (ApiKey::ListGroups, ListGroupsRequest::VERSIONS),
    (ApiKey::ApiVersions, ApiVersionsRequest::VERSIONS),
    (ApiKey::CreateTopics, CreateTopicsRequest::VERSIONS),
    (ApiKey::DeleteTopics, DeleteTopicsRequest::VERSIONS),
    (ApiKey::DeleteRecords, DeleteRecordsRequest::VERSIONS),
    (ApiKey::InitProducerId, InitProducerIdRequest::VERSIONS),
    (ApiKey::OffsetForLeaderEpoch, OffsetForLeaderEpochRequest::VERSIONS),
    (ApiKey::DescribeConfigs, DescribeConfigsRequest::VERSIONS),
    (ApiKey::AlterConfigs, AlterConfigsRequest::VERSIONS),
    (ApiKey::CreatePartitions, CreatePartitionsRequest::VERSIONS),
    (ApiKey::DeleteGroups, DeleteGroupsRequest::VERSIONS),
    (ApiKey::ElectLeaders, ElectLeadersRequest::VERSIONS),
    (ApiKey::IncrementalAlterConfigs, IncrementalAlterConfigsRequest::VERSIONS),
    (ApiKey::AlterPartitionReassignments, AlterPartitionReassignmentsRequest::VERSIONS),
    (ApiKey::ListPartitionReassignments, ListPartitionReassignmentsRequest::VERSIONS),
    (ApiKey::OffsetDelete, OffsetDeleteRequest::VERSIONS),
    (ApiKey::DescribeQuorum, DescribeQuorumRequest::VERSIONS),
    (ApiKey::UpdateFeatures, UpdateFeaturesRequest::VERSIONS),
    (ApiKey::DescribeCluster, DescribeClusterRequest::VERSIONS),
    (ApiKey::UnregisterBroker, UnregisterBrokerRequest::VERSIONS),
    (ApiKey::ConsumerGroupHeartbeat, ConsumerGroupHeartbeatRequest::VERSIONS),
    (ApiKey::ConsumerGroupDescribe, ConsumerGroupDescribeRequest::VERSIONS),
    (ApiKey::DescribeTopicPartitions, DescribeTopicPartitionsRequest::VERSIONS),
];

impl Service for Broker {
    fn env(&self) -> &Env {
        &self.env
    }

    fn config(&self) -> &Config {
        &self.config
    }

    async fn answer(self: &Arc<Self>, source: &Source<'_>, frame: Bytes) -> Answer {
        match Head::read(frame.clone(), SERVED) {
            Ok((head, input)) => {
                dispatch(Call { broker: self, source, head, frame: &frame }, input).await
            }
            Err(answer) => answer,
        }
    }
}

/// A request's header, and what is known of its way.
#[derive(Debug)]
pub(super) struct Call<'a> {
    /// The node's broker.
    pub(super) broker: &'a Arc<Broker>,
    /// By which way it came.
    pub(super) source: &'a Source<'a>,
    /// Its header.
    pub(super) head: Head,
    /// The whole request, header included, without its length.
    pub(super) frame: &'a Bytes,
}

impl Call<'_> {
    /// The version of request and answer.
    pub(super) fn version(&self) -> i16 {
        self.head.version()
    }

    fn answer<M: Message>(&self, response: &M) -> Answer {
        self.head.answer(response)
    }
}

/// Reads the request of `call` as an `R`, has `$handler` answer it, and writes the answer.
///
/// Boxed, because [`dispatch`] is as large as the largest of the futures in it and is moved whole: only what is asked all the time
/// (Produce, Fetch) is part of it.
macro_rules! serve {
    ($call:ident, $input:ident, $request:ty, $handler:path) => {
        match decode_request::<$request>($call.version(), &mut $input) {
            Ok(request) => {
                let answering = Box::pin($handler(&$call, request));
                let response: <$request as Request>::Response = answering.await;
                $call.answer(&response)
            }
            Err(error) => $call.head.unreadable(&error),
        }
    };
}

async fn dispatch(call: Call<'_>, mut input: Reader) -> Answer {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "SERVED decides what comes here; a test compares"
    )]
    match call.head.api {
        ApiKey::ApiVersions => {
            serve!(call, input, ApiVersionsRequest, api_versions::handle)
        }
        ApiKey::Metadata => serve!(call, input, MetadataRequest, metadata::handle),
        ApiKey::Produce => match decode_request::<ProduceRequest>(call.version(), &mut input) {
            Ok(request) => produce::handle(&call, request).await,
            Err(error) => call.head.unreadable(&error),
        },
        ApiKey::Fetch => match decode_request::<FetchRequest>(call.version(), &mut input) {
            Ok(request) => call.answer(&fetch::handle(&call, request).await),
            Err(error) => call.head.unreadable(&error),
        },
        ApiKey::ListOffsets => serve!(call, input, ListOffsetsRequest, list_offsets::handle),
        ApiKey::OffsetForLeaderEpoch => {
            serve!(call, input, OffsetForLeaderEpochRequest, offset_for_leader_epoch::handle)
        }
        ApiKey::CreateTopics => {
            Box::pin(forward::handle::<CreateTopicsRequest>(&call, input)).await
        }
        ApiKey::DeleteTopics => {
            Box::pin(forward::handle::<DeleteTopicsRequest>(&call, input)).await
        }
        ApiKey::AlterConfigs => {
            Box::pin(forward::handle::<AlterConfigsRequest>(&call, input)).await
        }
        ApiKey::CreatePartitions => {
            Box::pin(forward::handle::<CreatePartitionsRequest>(&call, input)).await
        }
        ApiKey::ElectLeaders => {
            Box::pin(forward::handle::<ElectLeadersRequest>(&call, input)).await
        }
        ApiKey::IncrementalAlterConfigs => {
            Box::pin(forward::handle::<IncrementalAlterConfigsRequest>(&call, input)).await
        }
        ApiKey::AlterPartitionReassignments => {
            Box::pin(forward::handle::<AlterPartitionReassignmentsRequest>(&call, input)).await
        }
        ApiKey::ListPartitionReassignments => {
            Box::pin(forward::handle::<ListPartitionReassignmentsRequest>(&call, input)).await
        }
        ApiKey::DescribeQuorum => {
            Box::pin(forward::handle::<DescribeQuorumRequest>(&call, input)).await
        }
        ApiKey::UpdateFeatures => {
            Box::pin(forward::handle::<UpdateFeaturesRequest>(&call, input)).await
        }
        ApiKey::UnregisterBroker => {
            Box::pin(forward::handle::<UnregisterBrokerRequest>(&call, input)).await
        }
        ApiKey::DescribeConfigs => {
            serve!(call, input, DescribeConfigsRequest, describe_configs::handle)
        }
        ApiKey::DescribeCluster => {
            serve!(call, input, DescribeClusterRequest, describe_cluster::handle)
        }
        ApiKey::DescribeTopicPartitions => {
            serve!(call, input, DescribeTopicPartitionsRequest, describe_topic_partitions::handle)
        }
        ApiKey::FindCoordinator => {
            serve!(call, input, FindCoordinatorRequest, find_coordinator::handle)
        }
        ApiKey::JoinGroup => serve!(call, input, JoinGroupRequest, join_group::handle),
        ApiKey::SyncGroup => serve!(call, input, SyncGroupRequest, sync_group::handle),
        ApiKey::Heartbeat => serve!(call, input, HeartbeatRequest, heartbeat::handle),
        ApiKey::LeaveGroup => serve!(call, input, LeaveGroupRequest, leave_group::handle),
        ApiKey::OffsetCommit => serve!(call, input, OffsetCommitRequest, offset_commit::handle),
        ApiKey::OffsetFetch => serve!(call, input, OffsetFetchRequest, offset_fetch::handle),
        ApiKey::OffsetDelete => serve!(call, input, OffsetDeleteRequest, offset_delete::handle),
        ApiKey::DescribeGroups => {
            serve!(call, input, DescribeGroupsRequest, describe_groups::handle)
        }
        ApiKey::ConsumerGroupHeartbeat => {
            serve!(call, input, ConsumerGroupHeartbeatRequest, consumer_group_heartbeat::handle)
        }
        ApiKey::ConsumerGroupDescribe => {
            serve!(call, input, ConsumerGroupDescribeRequest, consumer_group_describe::handle)
        }
        ApiKey::ListGroups => serve!(call, input, ListGroupsRequest, list_groups::handle),
        ApiKey::DeleteRecords => serve!(call, input, DeleteRecordsRequest, delete_records::handle),
        ApiKey::DeleteGroups => serve!(call, input, DeleteGroupsRequest, delete_groups::handle),
        ApiKey::InitProducerId => {
            serve!(call, input, InitProducerIdRequest, init_producer_id::handle)
        }
        other => unreachable!("{} stands in SERVED and is not dispatched", other.name()),
    }
}

/// What everyone may do where nobody decides: the bits of the operations that Kafka lists without an authorizer.
///
/// Kafka: `AclEntry.supportedOperations`, `Utils.to32BitField`.
mod operations {
    /// On a topic: read, write, create, delete, alter, describe, describe and alter configs.
    pub(super) const TOPIC: i32 = bits(&[3, 4, 5, 6, 7, 8, 10, 11]);
    /// On the cluster: create, alter, describe, cluster action, describe and alter configs, idempotent write.
    pub(super) const CLUSTER: i32 = bits(&[5, 7, 8, 9, 10, 11, 12]);
    /// On a group: read, delete, describe, describe and alter configs.
    pub(super) const GROUP: i32 = bits(&[3, 6, 8, 10, 11]);
    /// Nobody asked.
    pub(super) const NOT_ASKED: i32 = i32::MIN;

    const fn bits(operations: &[u8]) -> i32 {
        let (mut field, mut index) = (0, 0);
        while index < operations.len() {
            field |= 1 << operations[index];
            index += 1;
        }
        field
    }
}

/// The APIs served, for `ottla version --verbose`: name, key and versions, both ends inclusive.
#[must_use]
pub fn apis_served() -> Vec<(&'static str, i16, std::ops::RangeInclusive<i16>)> {
    let rows = SERVED.iter();
    rows.map(|(api, versions)| (api.name(), api.key(), versions.min..=versions.max)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::controller_api;

    #[test]
    fn what_is_passed_on_is_served_by_the_controller_in_the_same_versions() {
        let forwarded = SERVED.iter().filter(|(api, _)| controller_api::is_forwardable(*api));
        assert!(forwarded.clone().count() > 10);
        for row in forwarded {
            assert!(controller_api::SERVED.contains(row), "{}", row.0);
        }
    }
}
