//! BrokerHeartbeat: a broker says that it lives, and is told whether it may lead (KIP-631).

use super::Call;
use crate::controller::request;
use crate::protocol::messages::{BrokerHeartbeatRequest, BrokerHeartbeatResponse};
use crate::types::{ErrorCode, Offset};

pub(super) async fn handle(
    call: &Call<'_>,
    request: BrokerHeartbeatRequest,
) -> BrokerHeartbeatResponse {
    let refused = |error_code| BrokerHeartbeatResponse { error_code, ..Default::default() };
    // Without an epoch it is nobody's heartbeat.
    let Some(broker_epoch) = request.broker_epoch else {
        return refused(ErrorCode::StaleBrokerEpoch);
    };
    let asked = request::BrokerHeartbeatRequest {
        broker: request.broker_id,
        broker_epoch,
        // On the wire it is the last offset applied, here the end.
        metadata_end_offset: request.current_metadata_offset.map_or(Offset::ZERO, |last| last + 1),
        want_fence: request.want_fence,
        want_shutdown: request.want_shut_down,
        offline_log_dirs: request.offline_log_dirs,
    };
    match call.controller.handle.broker_heartbeat(asked).await {
        Ok(answer) => BrokerHeartbeatResponse {
            is_caught_up: answer.is_caught_up,
            is_fenced: answer.is_fenced,
            should_shut_down: answer.should_shut_down,
            ..Default::default()
        },
        Err(error) => refused(error.error),
    }
}
