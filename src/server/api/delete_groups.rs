//! DeleteGroups: groups without members are deleted, with their offsets (KIP-229).
//!
//! Kafka: `GroupCoordinatorService.deleteGroups`.

use std::collections::BTreeSet;

use super::Call;
use crate::coordinator::group::{Reply, Request};
use crate::protocol::messages::delete_groups_response::DeletableGroupResult;
use crate::protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};

pub(super) async fn handle(call: &Call<'_>, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    // One that is named twice is deleted once.
    let mut seen = BTreeSet::new();
    let groups = request.groups_names.iter().filter(|group| seen.insert(group.as_str()));
    let requests = groups
        .map(|group| (group.as_str(), Request::DeleteGroups(vec![group.as_str().into()])))
        .collect::<Vec<_>>();
    let mut results = Vec::with_capacity(requests.len());
    for reply in call.broker.groups.ask_each(requests).await {
        let Reply::DeleteGroups(deleted) = reply else {
            unreachable!("a DeleteGroups is answered as one");
        };
        results.extend(deleted.into_iter().map(|(group, error_code)| DeletableGroupResult {
            group_id: group.to_string(),
            error_code,
        }));
    }
    DeleteGroupsResponse { results, ..Default::default() }
}
