//! InitProducerId: a number for an idempotent producer (KIP-98).
//!
//! Without a transactional id every request gets a new number at epoch 0, also where the producer names the one it had:
//! such producers raise their epoch themselves (KIP-360; Kafka: `TransactionCoordinator.handleInitProducerId`).
//! Transactions are not built in yet.

use super::Call;
use crate::protocol::messages::{InitProducerIdRequest, InitProducerIdResponse};
use crate::types::{ErrorCode, Observation, ProducerEpoch, ProducerId};

pub(super) async fn handle(
    call: &Call<'_>,
    request: InitProducerIdRequest,
) -> InitProducerIdResponse {
    match producer_id(call, &request).await {
        Ok(producer) => {
            let epoch = ProducerEpoch::new(0);
            call.broker.env.observe(Observation::ProducerIdAllocated { producer, epoch });
            InitProducerIdResponse {
                producer_id: Some(producer),
                producer_epoch: Some(epoch),
                ..Default::default()
            }
        }
        Err(error_code) => InitProducerIdResponse {
            error_code,
            producer_id: None,
            producer_epoch: None,
            ..Default::default()
        },
    }
}

async fn producer_id(
    call: &Call<'_>,
    request: &InitProducerIdRequest,
) -> Result<ProducerId, ErrorCode> {
    if request.producer_id.is_some() != request.producer_epoch.is_some() {
        return Err(ErrorCode::InvalidRequest);
    }
    match request.transactional_id.as_deref() {
        None => call.broker.next_producer_id().await.map_err(|error| error.error),
        Some("") => Err(ErrorCode::InvalidRequest),
        Some(_) => Err(ErrorCode::UnsupportedVersion),
    }
}
