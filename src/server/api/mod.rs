//! What clients ask: one file an API. A request is read here, handed to its file, and its answer written here.
//!
//! [`SERVED`] is the one table of what is served; ApiVersions tells it to clients, so nothing else is advertised.

mod api_versions;
mod create_topics;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod fetch;
mod init_producer_id;
mod list_offsets;
mod metadata;
mod offset_for_leader_epoch;
mod produce;

use std::sync::Arc;

use bytes::Bytes;

use crate::protocol::frame::{
    RequestHeader, decode_request, decode_request_header, encode_response,
};
use crate::protocol::messages::{
    ApiVersionsRequest, CreateTopicsRequest, DeleteTopicsRequest, DescribeClusterRequest,
    DescribeConfigsRequest, FetchRequest, InitProducerIdRequest, ListOffsetsRequest, Message,
    MetadataRequest, OffsetForLeaderEpochRequest, ProduceRequest, Request,
};
use crate::protocol::wire::{DecodeError, Reader};
use crate::protocol::{ApiKey, VersionRange};
use crate::types::ErrorCode;

pub(super) use super::broker::Broker;

/// The APIs and versions that this broker serves, in the order of the numbers.
pub(super) const SERVED: &[(ApiKey, VersionRange)] = &[
    (ApiKey::Produce, ProduceRequest::VERSIONS),
    (ApiKey::Fetch, FetchRequest::VERSIONS),
    (ApiKey::ListOffsets, ListOffsetsRequest::VERSIONS),
    (ApiKey::Metadata, MetadataRequest::VERSIONS),
    (ApiKey::ApiVersions, ApiVersionsRequest::VERSIONS),
    (ApiKey::CreateTopics, CreateTopicsRequest::VERSIONS),
    (ApiKey::DeleteTopics, DeleteTopicsRequest::VERSIONS),
    (ApiKey::InitProducerId, InitProducerIdRequest::VERSIONS),
    (ApiKey::OffsetForLeaderEpoch, OffsetForLeaderEpochRequest::VERSIONS),
    (ApiKey::DescribeConfigs, DescribeConfigsRequest::VERSIONS),
    (ApiKey::DescribeCluster, DescribeClusterRequest::VERSIONS),
];

/// The versions of `api` that are served.
pub(super) fn served_versions(api: ApiKey) -> Option<VersionRange> {
    SERVED.iter().find(|(served, _)| *served == api).map(|(_, versions)| *versions)
}

/// By which way a request came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'a> {
    /// The listener: clients are told addresses of the same one.
    pub(super) listener: &'a str,
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
    fn close(error: ErrorCode, reason: impl Into<String>) -> Self {
        Self::Close { error, reason: reason.into() }
    }
}

/// A request's header, and what is known of its way.
#[derive(Debug)]
pub(super) struct Call<'a> {
    /// The node's broker.
    pub(super) broker: &'a Arc<Broker>,
    /// By which way it came.
    pub(super) source: &'a Source<'a>,
    /// Its header.
    pub(super) header: RequestHeader,
    /// The API.
    pub(super) api: ApiKey,
}

impl Call<'_> {
    /// The version of request and answer.
    pub(super) fn version(&self) -> i16 {
        self.header.api_version
    }

    fn answer<M: Message>(&self, response: &M) -> Answer {
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
}

/// Has the request in `frame` answered.
pub(super) async fn handle(broker: &Arc<Broker>, source: &Source<'_>, frame: Bytes) -> Answer {
    let mut input = Reader::new(frame);
    let header = match peek_header(&input) {
        Ok(header) => header,
        Err(reason) => return Answer::close(ErrorCode::InvalidRequest, reason),
    };
    let Some(api) = ApiKey::from_wire(header.api_key) else {
        return unsupported(&header, "no such API");
    };
    let Some(versions) = served_versions(api) else {
        return unsupported(&header, api.name());
    };
    if !versions.contains(header.api_version) {
        if api == ApiKey::ApiVersions {
            let call = Call { broker, source, header, api };
            return call.answer_in(0, &api_versions::unsupported_version());
        }
        return unsupported(&header, api.name());
    }
    let header = match decode_request_header(&mut input) {
        Ok(header) => header,
        Err(error) => return Answer::close(ErrorCode::InvalidRequest, error.to_string()),
    };
    tracing::trace!(
        api = api.name(),
        version = header.api_version,
        correlation_id = header.correlation_id,
        "request"
    );
    dispatch(Call { broker, source, header, api }, input).await
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

/// Reads the request of `call` as an `R`, has `$handler` answer it, and writes the answer.
macro_rules! serve {
    ($call:ident, $input:ident, $request:ty, $handler:path) => {
        match decode_request::<$request>($call.version(), &mut $input) {
            Ok(request) => {
                let response: <$request as Request>::Response = $handler(&$call, request).await;
                $call.answer(&response)
            }
            Err(error) => unreadable(&$call, &error),
        }
    };
}

/// Kafka closes the connection on a request that it cannot read: its sender means another protocol, or is broken.
fn unreadable(call: &Call<'_>, error: &DecodeError) -> Answer {
    let reason = format!("{} version {} cannot be read: {error}", call.api.name(), call.version());
    Answer::close(ErrorCode::InvalidRequest, reason)
}

async fn dispatch(call: Call<'_>, mut input: Reader) -> Answer {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "SERVED decides what comes here; a test compares"
    )]
    match call.api {
        ApiKey::ApiVersions => {
            serve!(call, input, ApiVersionsRequest, api_versions::handle)
        }
        ApiKey::Metadata => serve!(call, input, MetadataRequest, metadata::handle),
        ApiKey::Produce => match decode_request::<ProduceRequest>(call.version(), &mut input) {
            Ok(request) => produce::handle(&call, request).await,
            Err(error) => unreadable(&call, &error),
        },
        ApiKey::Fetch => serve!(call, input, FetchRequest, fetch::handle),
        ApiKey::ListOffsets => serve!(call, input, ListOffsetsRequest, list_offsets::handle),
        ApiKey::OffsetForLeaderEpoch => {
            serve!(call, input, OffsetForLeaderEpochRequest, offset_for_leader_epoch::handle)
        }
        ApiKey::CreateTopics => serve!(call, input, CreateTopicsRequest, create_topics::handle),
        ApiKey::DeleteTopics => serve!(call, input, DeleteTopicsRequest, delete_topics::handle),
        ApiKey::DescribeConfigs => {
            serve!(call, input, DescribeConfigsRequest, describe_configs::handle)
        }
        ApiKey::DescribeCluster => {
            serve!(call, input, DescribeClusterRequest, describe_cluster::handle)
        }
        ApiKey::InitProducerId => {
            serve!(call, input, InitProducerIdRequest, init_producer_id::handle)
        }
        other => unreachable!("{} stands in SERVED and is not dispatched", other.name()),
    }
}

/// What everyone may do where nobody decides: the bits of the operations that Kafka lists without an authorizer.
///
/// Kafka: `AclEntry.supportedOperations`, `Utils.to32BitField`.
mod operations {
    /// On a topic: read, write, create, delete, alter, describe, describe and alter configs.
    pub(super) const TOPIC: i32 = bits(&[3, 4, 5, 6, 7, 8, 10, 11]);
    /// On the cluster: create, alter, describe, cluster action, describe and alter configs, idempotent write.
    pub(super) const CLUSTER: i32 = bits(&[5, 7, 8, 9, 10, 11, 12]);
    /// Nobody asked.
    pub(super) const NOT_ASKED: i32 = i32::MIN;

    const fn bits(operations: &[u8]) -> i32 {
        let (mut field, mut index) = (0, 0);
        while index < operations.len() {
            field |= 1 << operations[index];
            index += 1;
        }
        field
    }
}

/// The APIs served, for `ottla version --verbose`: name, key and versions, both ends inclusive.
#[must_use]
pub fn apis_served() -> Vec<(&'static str, i16, std::ops::RangeInclusive<i16>)> {
    let rows = SERVED.iter();
    rows.map(|(api, versions)| (api.name(), api.key(), versions.min..=versions.max)).collect()
}
