//! LeaveGroup: members leave, or are removed by an administrator. Before version 3 it is one, and what becomes of it stands alone.
//!
//! Kafka: `GroupCoordinatorService.leaveGroup`, `LeaveGroupRequest.normalizedData`, `LeaveGroupResponse`.

use super::Call;
use super::group_words::{instance_id, member_id};
use crate::coordinator::group::request::{LeaveGroup, LeavingMember};
use crate::coordinator::group::{Reply, Request};
use crate::protocol::messages::leave_group_response::MemberResponse;
use crate::protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};
use crate::types::ErrorCode;

/// Several members leave at once from this version on (KIP-345).
const VERSION_OF_BATCHES: i16 = 3;

pub(super) async fn handle(call: &Call<'_>, request: LeaveGroupRequest) -> LeaveGroupResponse {
    let is_batch = call.version() >= VERSION_OF_BATCHES;
    let members: Vec<LeavingMember> = if is_batch {
        let members = request.members.iter().map(|one| LeavingMember {
            member: member_id(&one.member_id),
            instance: instance_id(one.group_instance_id.as_ref()),
        });
        members.collect()
    } else {
        vec![LeavingMember { member: member_id(&request.member_id), instance: None }]
    };
    let leave = LeaveGroup { group: request.group_id.into(), members: members.clone() };
    let Reply::LeaveGroup(result) = call.broker.groups.ask(Request::LeaveGroup(leave)).await else {
        unreachable!("a LeaveGroup is answered as one");
    };
    let results = match result {
        Ok(results) => results,
        // There is no such group: none of them is in it.
        Err(error @ ErrorCode::UnknownMemberId) => {
            members.into_iter().map(|member| (member, error)).collect()
        }
        Err(error_code) => return LeaveGroupResponse { error_code, ..Default::default() },
    };
    if !is_batch {
        let error_code = results.first().map_or(ErrorCode::None, |(_, error)| *error);
        return LeaveGroupResponse { error_code, ..Default::default() };
    }
    let members = results.into_iter().map(|(member, error_code)| MemberResponse {
        member_id: member.member.as_deref().unwrap_or_default().to_owned(),
        group_instance_id: member.instance.map(|instance| instance.to_string()),
        error_code,
    });
    LeaveGroupResponse { members: members.collect(), ..Default::default() }
}
