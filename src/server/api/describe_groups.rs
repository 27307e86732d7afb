//! DescribeGroups: groups of the classic protocol, with their members.
//!
//! Kafka: `GroupCoordinatorService.describeGroups`, `GroupMetadataManager.describeGroups`.

use super::{Call, operations};
use crate::coordinator::group::request::{DescribedGroup as Described, GroupState};
use crate::coordinator::group::{Reply, Request};
use crate::protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use crate::protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse};
use crate::types::ErrorCode;

/// That a group is not there is an error from this version on; before, it is shown as a dead one (KIP-1043).
const VERSION_OF_UNKNOWN_GROUPS: i16 = 6;

pub(super) async fn handle(
    call: &Call<'_>,
    request: DescribeGroupsRequest,
) -> DescribeGroupsResponse {
    let requests = request
        .groups
        .iter()
        .map(|group| (group.as_str(), Request::DescribeGroups(vec![group.as_str().into()])));
    let mut groups = Vec::with_capacity(request.groups.len());
    for reply in call.broker.groups.ask_each(requests).await {
        let Reply::DescribeGroups(described) = reply else {
            unreachable!("a DescribeGroups is answered as one");
        };
        let described = described.into_iter().map(|(id, group)| {
            let mut shown = show(call.version(), id.to_string(), group);
            if request.include_authorized_operations && shown.error_code.is_none() {
                shown.authorized_operations = operations::GROUP;
            }
            shown
        });
        groups.extend(described);
    }
    DescribeGroupsResponse { groups, ..Default::default() }
}

fn show(version: i16, group_id: String, described: Result<Described, ErrorCode>) -> DescribedGroup {
    match described {
        Ok(group) => DescribedGroup {
            group_id,
            group_state: group.state.name().to_owned(),
            protocol_type: group.protocol_type.to_string(),
            protocol_data: group.protocol.to_string(),
            members: members(group),
            ..Default::default()
        },
        Err(error @ ErrorCode::GroupIdNotFound) => {
            let is_error = version >= VERSION_OF_UNKNOWN_GROUPS;
            DescribedGroup {
                error_code: if is_error { error } else { ErrorCode::None },
                error_message: is_error.then(|| format!("Group {group_id} not found.")),
                group_id,
                group_state: GroupState::Dead.name().to_owned(),
                ..Default::default()
            }
        }
        Err(error_code) => DescribedGroup { error_code, group_id, ..Default::default() },
    }
}

fn members(group: Described) -> Vec<DescribedGroupMember> {
    let members = group.members.into_iter().map(|member| DescribedGroupMember {
        member_id: member.member.to_string(),
        group_instance_id: member.instance.map(|instance| instance.to_string()),
        client_id: member.client_id.to_string(),
        client_host: member.client_host.to_string(),
        member_metadata: member.metadata,
        member_assignment: member.assignment,
    });
    members.collect()
}
