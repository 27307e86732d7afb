//! Frames: request and response headers before the messages, and the four bytes of length before both.
//!
//! A request header names API and version; a response header does not, so who asks must remember. Both have a flexible
//! form with tagged fields, from the API's first flexible version on; the answer to ApiVersions never has it, because
//! who asks does not know yet which versions we speak (KIP-511).

use bytes::{Buf, Bytes, BytesMut};

use super::api_key::ApiKey;
use super::messages::{Message, Request};
use super::wire::{DecodeError, DecodeProblem, EncodeError, Reader, Writer};

/// What stands before a request (Kafka: `RequestHeader`, versions 1 and 2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestHeader {
    /// The API's number; not necessarily one that exists.
    pub api_key: i16,
    /// The version of the request and of its response.
    pub api_version: i16,
    /// Chosen by the client, repeated in the response.
    pub correlation_id: i32,
    /// How the client calls itself.
    pub client_id: Option<String>,
}

impl RequestHeader {
    /// The API, if Kafka has one of this number.
    #[must_use]
    pub fn api(&self) -> Option<ApiKey> {
        ApiKey::from_wire(self.api_key)
    }

    fn is_flexible(&self) -> bool {
        self.api().is_some_and(|api| api.is_flexible(self.api_version))
    }
}

/// A whole request frame, with its length in front.
///
/// Errors: the version cannot carry what the request says, or the frame is 2³¹ bytes or longer.
pub fn encode_request<R: Request>(
    header: &RequestHeader,
    request: &R,
) -> Result<Vec<Bytes>, EncodeError> {
    assert_eq!(header.api_key, R::API.key(), "the header names the request's API");
    let mut out = Writer::frame();
    encode_request_header(header, &mut out)?;
    request.encode(header.api_version, &mut out)?;
    out.finish_frame()
}

/// Writes a request header, in the version that API and version call for.
///
/// Errors: the client id is too long.
pub fn encode_request_header(header: &RequestHeader, out: &mut Writer) -> Result<(), EncodeError> {
    out.at("RequestHeader");
    out.int16(header.api_key);
    out.int16(header.api_version);
    out.int32(header.correlation_id);
    // The client id keeps its old form in the flexible header: it stands where a broker that knows neither API nor
    // version still finds it.
    out.nullable_string(header.client_id.as_deref(), false)?;
    if header.is_flexible() {
        out.unsigned_varint(0);
    }
    Ok(())
}

/// Reads a request header from a frame without its length; the request follows.
///
/// Reads the old form where Kafka has no such API.
pub fn decode_request_header(input: &mut Reader) -> Result<RequestHeader, DecodeError> {
    input.at("RequestHeader");
    let header = RequestHeader {
        api_key: input.int16()?,
        api_version: input.int16()?,
        correlation_id: input.int32()?,
        client_id: input.nullable_string(false)?,
    };
    if header.is_flexible() {
        input.skip_tagged_fields()?;
    }
    Ok(header)
}

/// Reads the request of a frame whose header was read, to the end of the frame.
pub fn decode_request<R: Request>(version: i16, input: &mut Reader) -> Result<R, DecodeError> {
    let request = R::decode(version, input)?;
    input.finish()?;
    Ok(request)
}

/// A whole response frame, with its length in front.
///
/// `version` is that of the request, except for a request of ApiVersions in a version that we do not speak: its answer
/// is of version 0.
///
/// Errors: the version cannot carry what the response says, or the frame is 2³¹ bytes or longer.
pub fn encode_response<M: Message>(
    correlation_id: i32,
    api: ApiKey,
    version: i16,
    response: &M,
) -> Result<Vec<Bytes>, EncodeError> {
    let mut out = Writer::frame();
    out.int32(correlation_id);
    if has_flexible_response_header(api, version) {
        out.unsigned_varint(0);
    }
    response.encode(version, &mut out)?;
    out.finish_frame()
}

/// Reads a response header and returns the correlation id; the response follows.
pub fn decode_response_header(
    api: ApiKey,
    version: i16,
    input: &mut Reader,
) -> Result<i32, DecodeError> {
    input.at("ResponseHeader");
    let correlation_id = input.int32()?;
    if has_flexible_response_header(api, version) {
        input.skip_tagged_fields()?;
    }
    Ok(correlation_id)
}

/// Reads the response of a frame whose header was read, to the end of the frame.
pub fn decode_response<M: Message>(version: i16, input: &mut Reader) -> Result<M, DecodeError> {
    let response = M::decode(version, input)?;
    input.finish()?;
    Ok(response)
}

fn has_flexible_response_header(api: ApiKey, version: i16) -> bool {
    api != ApiKey::ApiVersions && api.is_flexible(version)
}

/// What the first four bytes of a stream say of the frame after them.
///
/// Returns `None` while `buffer` is shorter than the frame; takes the frame out of it otherwise, without its length.
///
/// Errors: the length is negative or above `frame_bytes_max` (Kafka: `socket.request.max.bytes`).
pub fn take_frame(
    buffer: &mut BytesMut,
    frame_bytes_max: usize,
) -> Result<Option<Bytes>, DecodeError> {
    let Some(prefix) = buffer.first_chunk::<4>() else {
        return Ok(None);
    };
    let length = i32::from_be_bytes(*prefix);
    let left = buffer.len() - 4;
    let size = match usize::try_from(length) {
        Ok(size) if size <= frame_bytes_max => size,
        _ => {
            let problem = DecodeProblem::Length { length: i64::from(length), left };
            return Err(DecodeError { field: "frame", position: 0, problem });
        }
    };
    if left < size {
        return Ok(None);
    }
    buffer.advance(4);
    Ok(Some(buffer.split_to(size).freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::messages::fetch_request::{FetchPartition, FetchTopic};
    use crate::protocol::messages::{ApiVersionsResponse, FetchRequest, ProduceRequest};
    use crate::types::{Offset, PartitionIndex};

    fn joined(slices: &[Bytes]) -> BytesMut {
        slices.iter().flatten().copied().collect()
    }

    #[test]
    fn requests_read_back_from_their_frames() {
        let partition = FetchPartition {
            partition: PartitionIndex::new(3),
            fetch_offset: Offset::from_wire(17),
            ..Default::default()
        };
        let topics = vec![FetchTopic { partitions: vec![partition], ..Default::default() }];
        let request = FetchRequest { topics, ..Default::default() };
        for version in FetchRequest::VERSIONS.iter() {
            let header = RequestHeader {
                api_key: 1,
                api_version: version,
                correlation_id: 7,
                client_id: Some("me".into()),
            };
            let mut stream = joined(&encode_request(&header, &request).unwrap());
            let frame = take_frame(&mut stream, 1_000).unwrap().unwrap();
            assert!(stream.is_empty());
            let mut input = Reader::new(frame);
            assert_eq!(decode_request_header(&mut input).unwrap(), header);
            assert_eq!(decode_request::<FetchRequest>(version, &mut input).unwrap(), request);
        }
    }

    #[test]
    fn record_bytes_are_sliced_and_never_copied() {
        use crate::protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
        let records = Bytes::from(vec![7; 4_000]);
        let partition =
            PartitionProduceData { records: Some(records.clone().into()), ..Default::default() };
        let topic = TopicProduceData { partition_data: vec![partition], ..Default::default() };
        let request = ProduceRequest { topic_data: vec![topic], ..Default::default() };
        let mut out = Writer::new();
        request.encode(13, &mut out).unwrap();
        let slices = out.finish();
        assert!(slices.iter().any(|slice| slice.as_ptr() == records.as_ptr()));
        let frame = joined(&slices).freeze();
        let read = ProduceRequest::decode(13, &mut Reader::new(frame.clone())).unwrap();
        let slice = &read.topic_data[0].partition_data[0].records.as_ref().unwrap().slices()[0];
        assert!(frame.as_ptr_range().contains(&slice.as_ptr()));
        assert_eq!(read, request);
    }

    #[test]
    fn the_answer_to_api_versions_has_the_old_header_in_every_version() {
        let response = ApiVersionsResponse::default();
        let frame = encode_response(5, ApiKey::ApiVersions, 3, &response).unwrap();
        let body = [0, 0, 1, 0, 0, 0, 0, 0];
        assert_eq!(joined(&frame)[..], [&[0, 0, 0, 12, 0, 0, 0, 5], &body[..]].concat());
    }

    #[test]
    fn frames_are_taken_whole_and_too_long_ones_are_refused() {
        let mut stream = BytesMut::from(&[0, 0, 0, 2, 9][..]);
        assert_eq!(take_frame(&mut stream, 10), Ok(None));
        stream.extend_from_slice(&[8, 7]);
        assert_eq!(take_frame(&mut stream, 10), Ok(Some(Bytes::from_static(&[9, 8]))));
        assert_eq!(stream[..], [7]);
        assert!(take_frame(&mut BytesMut::from(&[0, 0, 0, 11][..]), 10).is_err());
        assert!(take_frame(&mut BytesMut::from(&[255; 4][..]), 10).is_err());
    }
}
