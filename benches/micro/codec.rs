//! The messages of the hot path, with one batch of 16 KB each, whose bytes are never copied.

use bytes::Bytes;
use divan::{Bencher, black_box};
use ottla::protocol::ApiKey;
use ottla::protocol::compression::Compression;
use ottla::protocol::frame::{
    RequestHeader, decode_request, decode_request_header, decode_response, decode_response_header,
    encode_request, encode_response,
};
use ottla::protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use ottla::protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use ottla::protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use ottla::protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use ottla::protocol::messages::{
    FetchRequest, FetchResponse, Message, ProduceRequest, ProduceResponse, Request,
};
use ottla::protocol::wire::Reader;
use ottla::types::Offset;

use super::batch::build;

/// A version with plain lengths, and one with compact ones and tagged fields.
const PRODUCE_VERSIONS: [i16; 2] = [8, 12];
const FETCH_VERSION: i16 = 12;

fn produce_request() -> ProduceRequest {
    let records = Some(build(16, 1000, Compression::NONE).into());
    let data = PartitionProduceData { records, ..Default::default() };
    let topic = TopicProduceData {
        name: "orders".to_owned(),
        partition_data: vec![data],
        ..Default::default()
    };
    ProduceRequest { acks: 1, timeout_ms: 30_000, topic_data: vec![topic], ..Default::default() }
}

fn produce_response() -> ProduceResponse {
    let partition =
        PartitionProduceResponse { base_offset: Some(Offset::new(42)), ..Default::default() };
    let topic = TopicProduceResponse {
        name: "orders".to_owned(),
        partition_responses: vec![partition],
        ..Default::default()
    };
    ProduceResponse { responses: vec![topic], ..Default::default() }
}

fn fetch_request() -> FetchRequest {
    let partition = FetchPartition {
        fetch_offset: Some(Offset::new(42)),
        partition_max_bytes: 1 << 20,
        ..Default::default()
    };
    let topic = FetchTopic {
        topic: "orders".to_owned(),
        partitions: vec![partition],
        ..Default::default()
    };
    FetchRequest { max_wait_ms: 500, min_bytes: 1, topics: vec![topic], ..Default::default() }
}

fn fetch_response() -> FetchResponse {
    let records = Some(build(16, 1000, Compression::NONE).into());
    let partition = PartitionData { records, ..Default::default() };
    let topic = FetchableTopicResponse {
        topic: "orders".to_owned(),
        partitions: vec![partition],
        ..Default::default()
    };
    FetchResponse { responses: vec![topic], ..Default::default() }
}

fn header<R: Request>(version: i16) -> RequestHeader {
    RequestHeader {
        api_key: R::API.key(),
        api_version: version,
        correlation_id: 7,
        client_id: Some("bench".to_owned()),
    }
}

/// Without the length: what the frame reader gives.
fn body(slices: &[Bytes]) -> Bytes {
    Bytes::from(slices.concat()).slice(4..)
}

fn bench_encode_request<R: Request>(bencher: Bencher<'_, '_>, version: i16, request: &R) {
    let header = header::<R>(version);
    bencher.bench_local(|| encode_request(&header, black_box(request)).expect("it can be carried"));
}

fn bench_decode_request<R: Request>(bencher: Bencher<'_, '_>, version: i16, request: &R) {
    let frame = body(&encode_request(&header::<R>(version), request).expect("it can be carried"));
    bencher.bench_local(|| {
        let mut input = Reader::new(black_box(&frame).clone());
        let header = decode_request_header(&mut input).expect("our own");
        decode_request::<R>(header.api_version, &mut input).expect("our own")
    });
}

fn bench_encode_response<M: Message>(
    bencher: Bencher<'_, '_>,
    api: ApiKey,
    version: i16,
    response: &M,
) {
    bencher.bench_local(|| {
        encode_response(7, api, version, black_box(response)).expect("it can be carried")
    });
}

fn bench_decode_response<M: Message>(
    bencher: Bencher<'_, '_>,
    api: ApiKey,
    version: i16,
    response: &M,
) {
    let frame = body(&encode_response(7, api, version, response).expect("it can be carried"));
    bencher.bench_local(|| {
        let mut input = Reader::new(black_box(&frame).clone());
        decode_response_header(api, version, &mut input).expect("our own");
        decode_response::<M>(version, &mut input).expect("our own")
    });
}

#[divan::bench(args = PRODUCE_VERSIONS)]
fn produce_request_encode(bencher: Bencher<'_, '_>, version: i16) {
    bench_encode_request(bencher, version, &produce_request());
}

#[divan::bench(args = PRODUCE_VERSIONS)]
fn produce_request_decode(bencher: Bencher<'_, '_>, version: i16) {
    bench_decode_request(bencher, version, &produce_request());
}

#[divan::bench(args = PRODUCE_VERSIONS)]
fn produce_response_encode(bencher: Bencher<'_, '_>, version: i16) {
    bench_encode_response(bencher, ApiKey::Produce, version, &produce_response());
}

#[divan::bench(args = PRODUCE_VERSIONS)]
fn produce_response_decode(bencher: Bencher<'_, '_>, version: i16) {
    bench_decode_response(bencher, ApiKey::Produce, version, &produce_response());
}

#[divan::bench]
fn fetch_request_encode(bencher: Bencher<'_, '_>) {
    bench_encode_request(bencher, FETCH_VERSION, &fetch_request());
}

#[divan::bench]
fn fetch_request_decode(bencher: Bencher<'_, '_>) {
    bench_decode_request(bencher, FETCH_VERSION, &fetch_request());
}

#[divan::bench]
fn fetch_response_encode(bencher: Bencher<'_, '_>) {
    bench_encode_response(bencher, ApiKey::Fetch, FETCH_VERSION, &fetch_response());
}

#[divan::bench]
fn fetch_response_decode(bencher: Bencher<'_, '_>) {
    bench_decode_response(bencher, ApiKey::Fetch, FETCH_VERSION, &fetch_response());
}
