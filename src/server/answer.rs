//! What the listeners of a node have in common: a request's frame, opened; the frame that answers it; who answers.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;

use super::Config;
use crate::protocol::frame::{RequestHeader, decode_request_header, encode_response};
use crate::protocol::messages::api_versions_response::ApiVersion;
use crate::protocol::messages::{ApiVersionsRequest, ApiVersionsResponse, Message};
use crate::protocol::wire::{DecodeError, Reader};
use crate::protocol::{ApiKey, VersionRange};
use crate::runtime::Env;
use crate::types::ErrorCode;

/// APIs with the versions that a listener serves.
pub(super) type Served = &'static [(ApiKey, VersionRange)];

/// Who answers the requests of a listener: the broker, or the controller.
pub(super) trait Service: Send + Sync + 'static {
    /// The world.
    fn env(&self) -> &Env;

    /// The node's configuration.
    fn config(&self) -> &Config;

    /// Has the request in `frame` answered.
    fn answer(
        self: &Arc<Self>,
        source: &Source<'_>,
        frame: Bytes,
    ) -> impl Future<Output = Answer> + Send;
}

/// By which way a request came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'a> {
    /// The listener: clients are told addresses of the same one.
    pub(super) listener: &'a str,
    /// Who asks.
    pub(super) peer: SocketAddr,
}

/// What becomes of a request.
#[derive(Debug)]
pub(super) enum Answer {
    /// This whole frame, in slices.
    Response(Vec<Bytes>),
    /// No answer is expected (acks=0).
    Nothing,
    /// The connection is closed, as Kafka does where it cannot or may not answer.
    Close {
        /// What Kafka would call it.
        error: ErrorCode,
        /// Half a sentence for the log.
        reason: String,
    },
}

impl Answer {
    /// The connection is closed.
    pub(super) fn close(error: ErrorCode, reason: impl Into<String>) -> Self {
        Self::Close { error, reason: reason.into() }
    }
}

/// The header of a request whose API is served in the version asked for.
#[derive(Clone, Debug)]
pub(super) struct Head {
    /// The header.
    pub(super) header: RequestHeader,
    /// The API.
    pub(super) api: ApiKey,
}

impl Head {
    /// Reads the header of `frame`; what follows it is in the reader.
    ///
    /// # Errors
    /// What to answer where `served` does not have it, or it cannot be read.
    pub(super) fn read(frame: Bytes, served: Served) -> Result<(Self, Reader), Answer> {
        let mut input = Reader::new(frame);
        let header = match peek_header(&input) {
            Ok(header) => header,
            Err(reason) => return Err(Answer::close(ErrorCode::InvalidRequest, reason)),
        };
        let Some(api) = ApiKey::from_wire(header.api_key) else {
            return Err(unsupported(&header, "no such API"));
        };
        let versions = served.iter().find(|(one, _)| *one == api).map(|(_, versions)| *versions);
        if !versions.is_some_and(|versions| versions.contains(header.api_version)) {
            return Err(match (api, versions) {
                (ApiKey::ApiVersions, Some(versions)) => {
                    Self { header, api }.answer_in(0, &unsupported_api_versions(versions))
                }
                (api, _) => unsupported(&header, api.name()),
            });
        }
        let header = match decode_request_header(&mut input) {
            Ok(header) => header,
            Err(error) => return Err(Answer::close(ErrorCode::InvalidRequest, error.to_string())),
        };
        tracing::trace!(
            api = api.name(),
            version = header.api_version,
            correlation_id = header.correlation_id,
            "request"
        );
        Ok((Self { header, api }, input))
    }

    /// The version of request and answer.
    pub(super) fn version(&self) -> i16 {
        self.header.api_version
    }

    /// Writes the answer.
    pub(super) fn answer<M: Message>(&self, response: &M) -> Answer {
        self.answer_in(self.version(), response)
    }

    fn answer_in<M: Message>(&self, version: i16, response: &M) -> Answer {
        match encode_response(self.header.correlation_id, self.api, version, response) {
            Ok(slices) => Answer::Response(slices),
            Err(error) => {
                let api = self.api.name();
                tracing::error!(api, version, %error, "an answer cannot be written");
                Answer::close(ErrorCode::UnknownServerError, "its answer cannot be written")
            }
        }
    }

    /// Kafka closes the connection on a request that it cannot read: its sender means another protocol, or is broken.
    pub(super) fn unreadable(&self, error: &DecodeError) -> Answer {
        let (api, version) = (self.api.name(), self.version());
        let reason = format!("{api} version {version} cannot be read: {error}");
        Answer::close(ErrorCode::InvalidRequest, reason)
    }
}

/// The answer to a version of ApiVersions that is not served: error 35 and the range that is (KIP-511).
fn unsupported_api_versions(versions: VersionRange) -> ApiVersionsResponse {
    let api_key = ApiKey::ApiVersions.key();
    let own = ApiVersion { api_key, min_version: versions.min, max_version: versions.max };
    ApiVersionsResponse {
        error_code: ErrorCode::UnsupportedVersion,
        api_keys: vec![own],
        ..Default::default()
    }
}

/// Whether a client names itself as it should, from version 3 on: letters and digits, with dashes and dots between them.
///
/// Kafka: `ApiVersionsRequest.isValid`.
pub(super) fn names_itself(version: i16, request: &ApiVersionsRequest) -> bool {
    let is_plain = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    let is_name = |text: &str| {
        is_plain(text.bytes().next())
            && is_plain(text.bytes().next_back())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
    };
    version < 3
        || (is_name(&request.client_software_name) && is_name(&request.client_software_version))
}

/// The fixed part of a request's header, which is there in every version of every API.
fn peek_header(input: &Reader) -> Result<RequestHeader, String> {
    let mut input = input.clone();
    let mut read = || {
        Ok(RequestHeader {
            api_key: input.int16()?,
            api_version: input.int16()?,
            correlation_id: input.int32()?,
            client_id: None,
        })
    };
    read().map_err(|error: DecodeError| format!("a request without a whole header: {error}"))
}

/// Kafka answers none of these: it closes the connection.
fn unsupported(header: &RequestHeader, name: &str) -> Answer {
    let reason =
        format!("API {} ({name}) version {} is not served", header.api_key, header.api_version);
    Answer::close(ErrorCode::UnsupportedVersion, reason)
}
