//! AllocateProducerIds: a broker gets a block of producer ids for its clients (KIP-730).

use super::Call;
use crate::protocol::messages::{AllocateProducerIdsRequest, AllocateProducerIdsResponse};
use crate::types::ErrorCode;

pub(super) async fn handle(
    call: &Call<'_>,
    request: AllocateProducerIdsRequest,
) -> AllocateProducerIdsResponse {
    let refused = |error_code| AllocateProducerIdsResponse { error_code, ..Default::default() };
    let Some(broker_epoch) = request.broker_epoch else {
        return refused(ErrorCode::StaleBrokerEpoch);
    };
    let allocated =
        call.controller.handle.allocate_producer_ids(request.broker_id, broker_epoch).await;
    match allocated {
        Ok(block) => AllocateProducerIdsResponse {
            producer_id_start: Some(block.first),
            producer_id_len: i32::try_from(block.count).expect("a block has a thousand ids"),
            ..Default::default()
        },
        Err(error) => refused(error.error),
    }
}
