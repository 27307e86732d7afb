//! UnregisterBroker: a broker is taken out of the cluster for good.

use super::Call;
use super::results::code_and_message;
use crate::protocol::messages::{UnregisterBrokerRequest, UnregisterBrokerResponse};

pub(super) async fn handle(
    call: &Call<'_>,
    request: UnregisterBrokerRequest,
) -> UnregisterBrokerResponse {
    let answer = call.controller.handle.unregister_broker(request.broker_id).await;
    let (error_code, error_message) = code_and_message(answer);
    UnregisterBrokerResponse { error_code, error_message, ..Default::default() }
}
