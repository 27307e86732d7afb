//! Envelope: a broker passes on what a client asked it (KIP-590). The answer is packed up as the request was.
//!
//! Who the client is is not looked at: nobody is authorized here. Only the APIs that Kafka forwards may come this way.
//!
//! Kafka: `EnvelopeUtils`, `RequestChannel.Request.buildResponseSend`.

use bytes::{Bytes, BytesMut};

use super::{Call, SERVED, dispatch_forwardable, is_forwardable};
use crate::protocol::messages::{EnvelopeRequest, EnvelopeResponse};
use crate::server::answer::{Answer, Head};
use crate::types::ErrorCode;

/// The bytes of a frame's length, which an envelope does not have.
const LENGTH_BYTES: usize = 4;

pub(super) async fn handle(call: &Call<'_>, request: EnvelopeRequest) -> EnvelopeResponse {
    let refused = |error_code| EnvelopeResponse { error_code, response_data: None };
    let (head, input) = match Head::read(request.request_data, SERVED) {
        Ok(inner) => inner,
        Err(Answer::Close { error, .. }) => return refused(error),
        Err(Answer::Response(_) | Answer::Nothing) => {
            return refused(ErrorCode::UnsupportedVersion);
        }
    };
    if !is_forwardable(head.api) {
        return refused(ErrorCode::InvalidRequest);
    }
    let inner = Call { controller: call.controller, source: call.source, head };
    let answered = dispatch_forwardable(inner, input).await;
    if answered.is_not_controller {
        return refused(ErrorCode::NotController);
    }
    match answered.answer {
        Answer::Response(slices) => {
            let response_data = Some(without_length(&slices));
            EnvelopeResponse { response_data, error_code: ErrorCode::None }
        }
        Answer::Close { error, .. } => refused(error),
        Answer::Nothing => refused(ErrorCode::InvalidRequest),
    }
}

/// The frame in one piece, without its length.
fn without_length(slices: &[Bytes]) -> Bytes {
    let length = slices.iter().map(Bytes::len).sum();
    let mut frame = BytesMut::with_capacity(length);
    for slice in slices {
        frame.extend_from_slice(slice);
    }
    frame.freeze().slice(LENGTH_BYTES..)
}
