//! What the controller listener is asked: one file an API, as in `api/`. Other members of the quorum ask about the metadata log;
//! brokers register, report, propose in-sync replicas, and pass on what their clients ask of the controller (`envelope.rs`).
//!
//! [`SERVED`] is the one table of what is served here. A node that is not the active controller answers `NOT_CONTROLLER`.
//!
//! Kafka: `ControllerApis`.

mod allocate_producer_ids;
mod alter_configs;
mod alter_partition;
mod alter_partition_reassignments;
mod api_versions;
mod assign_replicas_to_dirs;
mod broker_heartbeat;
mod broker_registration;
mod create_partitions;
mod create_topics;
mod delete_topics;
mod elect_leaders;
mod envelope;
mod incremental_alter_configs;
mod list_partition_reassignments;
mod quorum;
mod resource;
mod results;
mod unregister_broker;
mod update_features;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Config;
use super::answer::{Answer, Head, Served, Service, Source};
use crate::controller::driver::ControllerHandle;
use crate::controller::request::ApiError;
use crate::protocol::ApiKey;
use crate::protocol::frame::decode_request;
use crate::protocol::messages::{
    AllocateProducerIdsRequest, AlterConfigsRequest, AlterPartitionReassignmentsRequest,
    AlterPartitionRequest, ApiVersionsRequest, AssignReplicasToDirsRequest,
    BeginQuorumEpochRequest, BrokerHeartbeatRequest, BrokerRegistrationRequest,
    CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, DescribeQuorumRequest,
    ElectLeadersRequest, EndQuorumEpochRequest, EnvelopeRequest, FetchRequest,
    FetchSnapshotRequest, IncrementalAlterConfigsRequest, ListPartitionReassignmentsRequest,
    Message, Request, UnregisterBrokerRequest, UpdateFeaturesRequest, VoteRequest,
};
use crate::protocol::wire::Reader;
use crate::rpc;
use crate::runtime::Env;
use crate::runtime::clock::timeout_at;
use crate::types::{BrokerId, ErrorCode};

/// The APIs and versions that a controller serves, in the order of the numbers.
pub(super) const SERVED: Served = &[
    (ApiKey::Fetch, FetchRequest::VERSIONS),
    (ApiKey::ApiVersions, ApiVersionsRequest::VERSIONS),
    (ApiKey::CreateTopics, CreateTopicsRequest::VERSIONS),
    (ApiKey::DeleteTopics, DeleteTopicsRequest::VERSIONS),
    (ApiKey::AlterConfigs, AlterConfigsRequest::VERSIONS),
    (ApiKey::CreatePartitions, CreatePartitionsRequest::VERSIONS),
    (ApiKey::ElectLeaders, ElectLeadersRequest::VERSIONS),
    (ApiKey::IncrementalAlterConfigs, IncrementalAlterConfigsRequest::VERSIONS),
    (ApiKey::AlterPartitionReassignments, AlterPartitionReassignmentsRequest::VERSIONS),
    (ApiKey::ListPartitionReassignments, ListPartitionReassignmentsRequest::VERSIONS),
    (ApiKey::Vote, VoteRequest::VERSIONS),
    (ApiKey::BeginQuorumEpoch, BeginQuorumEpochRequest::VERSIONS),
    (ApiKey::EndQuorumEpoch, EndQuorumEpochRequest::VERSIONS),
    (ApiKey::DescribeQuorum, DescribeQuorumRequest::VERSIONS),
    (ApiKey::AlterPartition, AlterPartitionRequest::VERSIONS),
    (ApiKey::UpdateFeatures, UpdateFeaturesRequest::VERSIONS),
    (ApiKey::Envelope, EnvelopeRequest::VERSIONS),
    (ApiKey::FetchSnapshot, FetchSnapshotRequest::VERSIONS),
    (ApiKey::BrokerRegistration, BrokerRegistrationRequest::VERSIONS),
    (ApiKey::BrokerHeartbeat, BrokerHeartbeatRequest::VERSIONS),
    (ApiKey::UnregisterBroker, UnregisterBrokerRequest::VERSIONS),
    (ApiKey::AllocateProducerIds, AllocateProducerIdsRequest::VERSIONS),
    (ApiKey::AssignReplicasToDirs, AssignReplicasToDirsRequest::VERSIONS),
];

/// The controller of a node, as its connections see it.
pub(super) struct ControllerServer {
    /// The configuration it was started with.
    pub(super) config: Config,
    /// The voters and where they listen.
    pub(super) voters: Vec<(BrokerId, rpc::Endpoint)>,
    /// The world.
    pub(super) env: Env,
    /// The metadata task.
    pub(super) handle: ControllerHandle,
}

impl ControllerServer {
    /// Waits for an answer of the metadata task, no longer than `span`.
    ///
    /// # Errors
    /// `REQUEST_TIMED_OUT`, or what the task says.
    pub(super) async fn within<T>(
        &self,
        span: Duration,
        answer: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<T, ApiError> {
        let deadline = self.env.clock.now().monotonic + span;
        let answer = timeout_at(self.env.clock.as_ref(), deadline, answer).await;
        answer.unwrap_or(Err(ErrorCode::RequestTimedOut.into()))
    }
}

impl Service for ControllerServer {
    fn env(&self) -> &Env {
        &self.env
    }

    fn config(&self) -> &Config {
        &self.config
    }

    async fn answer(self: &Arc<Self>, source: &Source<'_>, frame: Bytes) -> Answer {
        match Head::read(frame, SERVED) {
            Ok((head, input)) => dispatch(Call { controller: self, source, head }, input).await,
            Err(answer) => answer,
        }
    }
}

/// A request's header, and what is known of its way.
#[derive(Debug)]
pub(super) struct Call<'a> {
    /// The node's controller.
    pub(super) controller: &'a Arc<ControllerServer>,
    /// By which way it came.
    pub(super) source: &'a Source<'a>,
    /// Its header.
    pub(super) head: Head,
}

impl std::fmt::Debug for ControllerServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ControllerServer").field("node_id", &self.config.node_id).finish()
    }
}

impl Call<'_> {
    /// The version of request and answer.
    pub(super) fn version(&self) -> i16 {
        self.head.version()
    }
}

/// An answer, and whether it says that another node has to be asked: that is told on the envelope too.
struct Answered {
    answer: Answer,
    is_not_controller: bool,
}

impl Answered {
    fn new<M: Message>(head: &Head, response: &M) -> Self {
        // The quorum says it in its own way.
        let elsewhere = if head.api == ApiKey::DescribeQuorum {
            ErrorCode::NotLeaderOrFollower
        } else {
            ErrorCode::NotController
        };
        Self { answer: head.answer(response), is_not_controller: response.has_error(elsewhere) }
    }
}

/// Reads the request of `call` as an `R`, has `$handler` answer it, and writes the answer. Boxed, because [`dispatch`] is as large as
/// the largest of the futures in it and is moved whole.
macro_rules! serve {
    ($call:ident, $input:ident, $request:ty, $handler:path) => {
        match decode_request::<$request>($call.version(), &mut $input) {
            Ok(request) => {
                let answering = Box::pin($handler(&$call, request));
                let response: <$request as Request>::Response = answering.await;
                Answered::new(&$call.head, &response)
            }
            Err(error) => {
                Answered { answer: $call.head.unreadable(&error), is_not_controller: false }
            }
        }
    };
}

/// What nodes of the cluster ask for themselves, and everything that may come in an envelope.
async fn dispatch(call: Call<'_>, mut input: Reader) -> Answer {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "SERVED decides what comes here; a test compares"
    )]
    let answered = match call.head.api {
        ApiKey::ApiVersions => serve!(call, input, ApiVersionsRequest, api_versions::handle),
        ApiKey::Vote => serve!(call, input, VoteRequest, quorum::vote),
        ApiKey::BeginQuorumEpoch => {
            serve!(call, input, BeginQuorumEpochRequest, quorum::begin_epoch)
        }
        ApiKey::EndQuorumEpoch => serve!(call, input, EndQuorumEpochRequest, quorum::end_epoch),
        ApiKey::Fetch => serve!(call, input, FetchRequest, quorum::fetch),
        ApiKey::FetchSnapshot => serve!(call, input, FetchSnapshotRequest, quorum::fetch_snapshot),
        ApiKey::BrokerRegistration => {
            serve!(call, input, BrokerRegistrationRequest, broker_registration::handle)
        }
        ApiKey::BrokerHeartbeat => {
            serve!(call, input, BrokerHeartbeatRequest, broker_heartbeat::handle)
        }
        ApiKey::AllocateProducerIds => {
            serve!(call, input, AllocateProducerIdsRequest, allocate_producer_ids::handle)
        }
        ApiKey::AlterPartition => {
            serve!(call, input, AlterPartitionRequest, alter_partition::handle)
        }
        ApiKey::AssignReplicasToDirs => {
            serve!(call, input, AssignReplicasToDirsRequest, assign_replicas_to_dirs::handle)
        }
        ApiKey::Envelope => serve!(call, input, EnvelopeRequest, envelope::handle),
        _ => Box::pin(dispatch_forwardable(call, input)).await,
    };
    answered.answer
}

/// Whether a broker may pass the API on for a client (Kafka: `ApiKeys.forwardable`).
pub(super) fn is_forwardable(api: ApiKey) -> bool {
    matches!(
        api,
        ApiKey::CreateTopics
            | ApiKey::DeleteTopics
            | ApiKey::AlterConfigs
            | ApiKey::CreatePartitions
            | ApiKey::ElectLeaders
            | ApiKey::IncrementalAlterConfigs
            | ApiKey::AlterPartitionReassignments
            | ApiKey::ListPartitionReassignments
            | ApiKey::DescribeQuorum
            | ApiKey::UpdateFeatures
            | ApiKey::UnregisterBroker
    )
}

/// What clients ask, by way of a broker or (tools) straight here.
async fn dispatch_forwardable(call: Call<'_>, mut input: Reader) -> Answered {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "SERVED decides what comes here; a test compares"
    )]
    match call.head.api {
        ApiKey::CreateTopics => serve!(call, input, CreateTopicsRequest, create_topics::handle),
        ApiKey::DeleteTopics => serve!(call, input, DeleteTopicsRequest, delete_topics::handle),
        ApiKey::DescribeQuorum => serve!(call, input, DescribeQuorumRequest, quorum::describe),
        ApiKey::AlterConfigs => serve!(call, input, AlterConfigsRequest, alter_configs::handle),
        ApiKey::CreatePartitions => {
            serve!(call, input, CreatePartitionsRequest, create_partitions::handle)
        }
        ApiKey::ElectLeaders => serve!(call, input, ElectLeadersRequest, elect_leaders::handle),
        ApiKey::IncrementalAlterConfigs => {
            serve!(call, input, IncrementalAlterConfigsRequest, incremental_alter_configs::handle)
        }
        ApiKey::AlterPartitionReassignments => serve!(
            call,
            input,
            AlterPartitionReassignmentsRequest,
            alter_partition_reassignments::handle
        ),
        ApiKey::ListPartitionReassignments => serve!(
            call,
            input,
            ListPartitionReassignmentsRequest,
            list_partition_reassignments::handle
        ),
        ApiKey::UpdateFeatures => {
            serve!(call, input, UpdateFeaturesRequest, update_features::handle)
        }
        ApiKey::UnregisterBroker => {
            serve!(call, input, UnregisterBrokerRequest, unregister_broker::handle)
        }
        other => unreachable!("{} stands in SERVED and is not dispatched", other.name()),
    }
}

/// How long a client lets the controller take, from the field of its request.
fn span(timeout_ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0))
}
