//! Heartbeat: a member is still there, and hears whether it must join again.
//!
//! Kafka: `GroupCoordinatorService.heartbeat`.

use super::Call;
use super::group_words::instance_id;
use crate::coordinator::group::request::Heartbeat;
use crate::coordinator::group::{Reply, Request};
use crate::protocol::messages::{HeartbeatRequest, HeartbeatResponse};
use crate::types::{ErrorCode, GenerationId};

pub(super) async fn handle(call: &Call<'_>, request: HeartbeatRequest) -> HeartbeatResponse {
    let heartbeat = Heartbeat {
        group: request.group_id.into(),
        generation: GenerationId::from_wire(request.generation_id),
        member: request.member_id.into(),
        instance: instance_id(request.group_instance_id.as_ref()),
    };
    let asked = call.broker.groups.ask(Request::Heartbeat(heartbeat)).await;
    let Reply::Heartbeat(result) = asked else {
        unreachable!("a Heartbeat is answered as one");
    };
    let error_code = result.err().unwrap_or(ErrorCode::None);
    HeartbeatResponse { error_code, ..Default::default() }
}
