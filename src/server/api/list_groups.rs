//! ListGroups: the groups that this broker coordinates. A client asks every broker.
//!
//! Kafka: `GroupCoordinatorService.listGroups`.

use super::Call;
use crate::coordinator::group::request::GroupFilter;
use crate::protocol::messages::list_groups_response::ListedGroup;
use crate::protocol::messages::{ListGroupsRequest, ListGroupsResponse};

pub(super) async fn handle(call: &Call<'_>, request: ListGroupsRequest) -> ListGroupsResponse {
    let filter = GroupFilter { states: request.states_filter, types: request.types_filter };
    match call.broker.groups.list(&filter).await {
        Ok(groups) => {
            let groups = groups.into_iter().map(|listed| ListedGroup {
                group_id: listed.group.to_string(),
                protocol_type: listed.protocol_type.to_string(),
                group_state: listed.state.name().to_owned(),
                group_type: listed.group_type.name().to_owned(),
            });
            ListGroupsResponse { groups: groups.collect(), ..Default::default() }
        }
        Err(error_code) => ListGroupsResponse { error_code, ..Default::default() },
    }
}
