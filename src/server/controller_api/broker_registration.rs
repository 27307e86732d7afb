//! BrokerRegistration: a broker enters the cluster, or comes back (KIP-631).

use super::Call;
use crate::controller::request::RegisterBrokerRequest;
use crate::metadata::records::{Endpoint, FeatureRange};
use crate::protocol::messages::{BrokerRegistrationRequest, BrokerRegistrationResponse};

pub(super) async fn handle(
    call: &Call<'_>,
    request: BrokerRegistrationRequest,
) -> BrokerRegistrationResponse {
    let broker = request.broker_id;
    let endpoints = request.listeners.into_iter().map(|listener| Endpoint {
        name: listener.name,
        host: listener.host,
        port: listener.port,
        security_protocol: listener.security_protocol,
    });
    let features = request.features.into_iter().map(|feature| FeatureRange {
        name: feature.name,
        level_min: feature.min_supported_version,
        level_max: feature.max_supported_version,
    });
    let asked = RegisterBrokerRequest {
        broker,
        cluster_id: request.cluster_id,
        incarnation_id: request.incarnation_id,
        endpoints: endpoints.collect(),
        features: features.collect(),
        rack: request.rack,
        log_dirs: request.log_dirs,
        previous_broker_epoch: request.previous_broker_epoch,
    };
    match call.controller.handle.register_broker(asked).await {
        Ok(broker_epoch) => {
            BrokerRegistrationResponse { broker_epoch: Some(broker_epoch), ..Default::default() }
        }
        Err(error) => {
            tracing::info!(node = %broker, peer = %call.source.peer, %error, "a broker is not registered");
            BrokerRegistrationResponse { error_code: error.error, ..Default::default() }
        }
    }
}
