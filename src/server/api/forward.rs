//! Passes on to the active controller what only it can do, and its answer to the client (KIP-590).
//!
//! The request goes as it came, in an envelope. Where the answer says that something new is there, the broker first waits until
//! its own metadata shows it: kinder than Kafka, whose clients may ask a broker that has not heard of their topic yet.
//!
//! Kafka: `ForwardingManager`.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;

use super::{Answer, Call};
use crate::controller::request::ApiError;
use crate::metadata::MetadataImage;
use crate::protocol::frame::{decode_request, decode_response, decode_response_header};
use crate::protocol::messages::{EnvelopeRequest, EnvelopeResponse, Request};
use crate::protocol::wire::Reader;
use crate::types::ErrorCode;

/// How long a client is kept waiting for this broker's own metadata, after the controller has answered. What was changed back
/// meanwhile never shows.
const SEEN_WAIT_MAX: Duration = Duration::from_secs(2);
/// `User:ANONYMOUS`, as Kafka writes principals (`DefaultPrincipalData`, version 0, its version in front): type, name, whether
/// a token stands for it.
const ANONYMOUS: &[u8] = b"\0\0\x05User\x0aANONYMOUS\0\0";

/// A request that the controller answers.
pub(super) trait Forwarded: Request {
    /// How long the client lets it take, in milliseconds; `None` where it does not say.
    fn timeout_ms(&self) -> Option<i32>;

    /// The answer where the controller has given none: `error`, for each thing asked.
    fn refused(&self, version: i16, error: &ApiError) -> Self::Response;

    /// Whether `image` shows all that `response` tells.
    fn is_seen(&self, response: &Self::Response, image: &MetadataImage) -> bool;
}

pub(super) async fn handle<R>(call: &Call<'_>, mut input: Reader) -> Answer
where
    R: Forwarded + Send + Sync,
    R::Response: Send + Sync,
{
    let request = match decode_request::<R>(call.version(), &mut input) {
        Ok(request) => request,
        Err(error) => return call.head.unreadable(&error),
    };
    let span = match request.timeout_ms().and_then(|millis| u64::try_from(millis).ok()) {
        // Zero means: do not wait for the outcome. The controller answers that at once.
        None | Some(0) => call.broker.config.request_timeout,
        Some(millis) => Duration::from_millis(millis),
    };
    match call.broker.forwarding.call(envelope(call), span).await {
        Ok(EnvelopeResponse { error_code: ErrorCode::None, response_data: Some(data) }) => {
            settle(call, &request, data).await
        }
        Ok(EnvelopeResponse { error_code: ErrorCode::UnsupportedVersion, .. }) => {
            let reason = "the active controller does not serve it in this version";
            Answer::close(ErrorCode::UnsupportedVersion, reason)
        }
        Ok(EnvelopeResponse { error_code, .. }) => {
            let error =
                if error_code.is_none() { ErrorCode::UnknownServerError } else { error_code };
            call.answer(&request.refused(call.version(), &error.into()))
        }
        Err(error) => call.answer(&request.refused(call.version(), &error)),
    }
}

/// Waits until this broker knows what the answer in `data` tells, and passes it on.
async fn settle<R>(call: &Call<'_>, request: &R, data: Bytes) -> Answer
where
    R: Forwarded + Send + Sync,
    R::Response: Send + Sync,
{
    match read::<R>(call, data.clone()) {
        Ok(response) => {
            let is_seen = |image: &MetadataImage| request.is_seen(&response, image);
            call.broker.until_seen(SEEN_WAIT_MAX, is_seen).await;
            let length = i32::try_from(data.len()).expect("it came in a frame");
            Answer::Response(vec![Bytes::copy_from_slice(&length.to_be_bytes()), data])
        }
        Err(reason) => {
            let api = call.head.api.name();
            tracing::error!(api, reason, "the controller's answer is not passed on");
            let error = ApiError::new(ErrorCode::UnknownServerError, reason);
            call.answer(&request.refused(call.version(), &error))
        }
    }
}

/// The answer within an envelope: to this very request.
fn read<R: Forwarded>(call: &Call<'_>, data: Bytes) -> Result<R::Response, String> {
    let mut input = Reader::new(data);
    let correlation_id = decode_response_header(R::API, call.version(), &mut input)
        .map_err(|error| format!("its header cannot be read: {error}"))?;
    if correlation_id != call.head.header.correlation_id {
        return Err("it answers another request".to_owned());
    }
    decode_response(call.version(), &mut input)
        .map_err(|error| format!("it cannot be read: {error}"))
}

fn envelope(call: &Call<'_>) -> EnvelopeRequest {
    let address = match call.source.peer.ip() {
        IpAddr::V4(address) => Bytes::copy_from_slice(&address.octets()),
        IpAddr::V6(address) => Bytes::copy_from_slice(&address.octets()),
    };
    EnvelopeRequest {
        request_data: call.frame.clone(),
        request_principal: Some(Bytes::from_static(ANONYMOUS)),
        client_host_address: address,
    }
}
