//! JoinGroup: a member enters a group, or its next generation. Answered when the generation begins.
//!
//! Kafka: `GroupCoordinatorService.joinGroup`, `JoinGroupRequest`.

use super::Call;
use super::group_words::{client_host, client_id, instance_id, member_id, millis};
use crate::coordinator::group::request::{JoinGroup, JoinRefused, Joined};
use crate::coordinator::group::{Reply, Request};
use crate::protocol::messages::join_group_response::JoinGroupResponseMember;
use crate::protocol::messages::{JoinGroupRequest, JoinGroupResponse};

/// A member has a time of its own for rebalances from this version on (KIP-62).
const VERSION_OF_REBALANCE_TIMEOUTS: i16 = 1;
/// A member without id is given one and asks again from this version on (KIP-394).
const VERSION_OF_REQUIRED_MEMBER_IDS: i16 = 4;
/// Refusals name no protocol from this version on; before, an empty one.
const VERSION_OF_NO_PROTOCOL: i16 = 7;
/// A static leader can be told that the assignment stands from this version on (KIP-814).
const VERSION_OF_SKIPPED_ASSIGNMENTS: i16 = 9;

pub(super) async fn handle(call: &Call<'_>, request: JoinGroupRequest) -> JoinGroupResponse {
    let version = call.version();
    let rebalance_timeout_ms = if version < VERSION_OF_REBALANCE_TIMEOUTS {
        request.session_timeout_ms
    } else {
        request.rebalance_timeout_ms
    };
    let protocols = request.protocols.into_iter();
    let join = JoinGroup {
        group: request.group_id.into(),
        member: member_id(&request.member_id),
        instance: instance_id(request.group_instance_id.as_ref()),
        client_id: client_id(call),
        client_host: client_host(call),
        session_timeout: millis(request.session_timeout_ms),
        rebalance_timeout: millis(rebalance_timeout_ms),
        protocol_type: request.protocol_type.into(),
        protocols: protocols.map(|one| (one.name.into(), one.metadata)).collect(),
        requires_known_member_id: version >= VERSION_OF_REQUIRED_MEMBER_IDS,
        may_skip_assignment: version >= VERSION_OF_SKIPPED_ASSIGNMENTS,
    };
    let Reply::JoinGroup(result) = call.broker.groups.ask(Request::JoinGroup(join)).await else {
        unreachable!("a JoinGroup is answered as one");
    };
    match result {
        Ok(joined) => response(joined),
        Err(refused) => refusal(version, &refused),
    }
}

fn response(joined: Joined) -> JoinGroupResponse {
    let members = joined.members.into_iter().map(|member| JoinGroupResponseMember {
        member_id: member.member.to_string(),
        group_instance_id: member.instance.map(|instance| instance.to_string()),
        metadata: member.metadata,
    });
    JoinGroupResponse {
        generation_id: joined.generation.value(),
        protocol_type: joined.protocol_type.map(|name| name.to_string()),
        protocol_name: Some(joined.protocol.as_deref().unwrap_or_default().to_owned()),
        leader: joined.leader.as_deref().unwrap_or_default().to_owned(),
        skip_assignment: joined.skip_assignment,
        member_id: joined.member.to_string(),
        members: members.collect(),
        ..Default::default()
    }
}

fn refusal(version: i16, refused: &JoinRefused) -> JoinGroupResponse {
    JoinGroupResponse {
        error_code: refused.error,
        protocol_name: (version < VERSION_OF_NO_PROTOCOL).then(String::new),
        member_id: refused.member.as_deref().unwrap_or_default().to_owned(),
        ..Default::default()
    }
}
