//! SyncGroup: a member gets its assignment; the leader brings them all.
//!
//! Kafka: `KafkaApis.handleSyncGroupRequest`, `GroupCoordinatorService.syncGroup`.

use super::Call;
use super::group_words::instance_id;
use crate::coordinator::group::request::SyncGroup;
use crate::coordinator::group::{Reply, Request};
use crate::protocol::messages::{SyncGroupRequest, SyncGroupResponse};
use crate::types::{ErrorCode, GenerationId};

/// A member says what it takes the group to be for from this version on, and must (KIP-559).
const VERSION_OF_PROTOCOL_NAMES: i16 = 5;

pub(super) async fn handle(call: &Call<'_>, request: SyncGroupRequest) -> SyncGroupResponse {
    let names_both = request.protocol_type.is_some() && request.protocol_name.is_some();
    if call.version() >= VERSION_OF_PROTOCOL_NAMES && !names_both {
        return refused(ErrorCode::InconsistentGroupProtocol);
    }
    let assignments = request.assignments.into_iter();
    let sync = SyncGroup {
        group: request.group_id.into(),
        generation: GenerationId::from_wire(request.generation_id),
        member: request.member_id.into(),
        instance: instance_id(request.group_instance_id.as_ref()),
        protocol_type: request.protocol_type.map(Into::into),
        protocol: request.protocol_name.map(Into::into),
        assignments: assignments.map(|one| (one.member_id.into(), one.assignment)).collect(),
    };
    let Reply::SyncGroup(result) = call.broker.groups.ask(Request::SyncGroup(sync)).await else {
        unreachable!("a SyncGroup is answered as one");
    };
    match result {
        Ok(synced) => SyncGroupResponse {
            protocol_type: synced.protocol_type.map(|name| name.to_string()),
            protocol_name: synced.protocol.map(|name| name.to_string()),
            assignment: synced.assignment,
            ..Default::default()
        },
        Err(error) => refused(error),
    }
}

fn refused(error_code: ErrorCode) -> SyncGroupResponse {
    SyncGroupResponse { error_code, ..Default::default() }
}
