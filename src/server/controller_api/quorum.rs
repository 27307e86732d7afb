//! What members of the quorum ask each other: handed to the metadata task, which is the member.

use super::Call;
use crate::controller::driver::{QuorumRequest, QuorumResponse};
use crate::protocol::messages::describe_quorum_response::{Listener, Node};
use crate::protocol::messages::{
    BeginQuorumEpochRequest, BeginQuorumEpochResponse, DescribeQuorumRequest,
    DescribeQuorumResponse, EndQuorumEpochRequest, EndQuorumEpochResponse, FetchRequest,
    FetchResponse, FetchSnapshotRequest, FetchSnapshotResponse, VoteRequest, VoteResponse,
};

const MISMATCH: &str = "the metadata task answers a request with its own response";

pub(super) async fn vote(call: &Call<'_>, request: VoteRequest) -> VoteResponse {
    let answer = call.controller.handle.quorum(QuorumRequest::Vote(request)).await;
    let QuorumResponse::Vote(response) = answer else { unreachable!("{MISMATCH}") };
    response
}

pub(super) async fn begin_epoch(
    call: &Call<'_>,
    request: BeginQuorumEpochRequest,
) -> BeginQuorumEpochResponse {
    let answer = call.controller.handle.quorum(QuorumRequest::BeginQuorumEpoch(request)).await;
    let QuorumResponse::BeginQuorumEpoch(response) = answer else { unreachable!("{MISMATCH}") };
    response
}

pub(super) async fn end_epoch(
    call: &Call<'_>,
    request: EndQuorumEpochRequest,
) -> EndQuorumEpochResponse {
    let answer = call.controller.handle.quorum(QuorumRequest::EndQuorumEpoch(request)).await;
    let QuorumResponse::EndQuorumEpoch(response) = answer else { unreachable!("{MISMATCH}") };
    response
}

pub(super) async fn fetch(call: &Call<'_>, request: FetchRequest) -> FetchResponse {
    let answer = call.controller.handle.quorum(QuorumRequest::Fetch(request)).await;
    let QuorumResponse::Fetch(response) = answer else { unreachable!("{MISMATCH}") };
    response
}

pub(super) async fn fetch_snapshot(
    call: &Call<'_>,
    request: FetchSnapshotRequest,
) -> FetchSnapshotResponse {
    let answer = call.controller.handle.quorum(QuorumRequest::FetchSnapshot(request)).await;
    let QuorumResponse::FetchSnapshot(response) = answer else { unreachable!("{MISMATCH}") };
    response
}

pub(super) async fn describe(
    call: &Call<'_>,
    request: DescribeQuorumRequest,
) -> DescribeQuorumResponse {
    let answer = call.controller.handle.quorum(QuorumRequest::DescribeQuorum(request)).await;
    let QuorumResponse::DescribeQuorum(mut response) = answer else { unreachable!("{MISMATCH}") };
    let partitions = || response.topics.iter().flat_map(|topic| &topic.partitions);
    if partitions().any(|partition| partition.error_code.is_none()) {
        response.nodes = voters(call);
    }
    response
}

/// Where the voters listen: as with Kafka's static voters, each under the name of this node's first controller listener.
fn voters(call: &Call<'_>) -> Vec<Node> {
    let controller = call.controller;
    let name = controller.config.controller_listeners.first().map(|listener| &listener.name);
    let voters = controller.voters.iter().map(|(id, endpoint)| Node {
        node_id: *id,
        listeners: vec![Listener {
            name: name.cloned().unwrap_or_default(),
            host: endpoint.host.clone(),
            port: endpoint.port,
        }],
    });
    voters.collect()
}
