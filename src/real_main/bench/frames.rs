//! Prebuilt frames.

use bytes::{Bytes, BytesMut};
use ottla::protocol::compression::Compression;
use ottla::protocol::frame::{RequestHeader, encode_request};
use ottla::protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use ottla::protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use ottla::protocol::messages::{FetchRequest, ProduceRequest, Request};
use ottla::protocol::record_batch::BatchBuilder;
use ottla::types::{Offset, PartitionIndex, Timestamp};

/// The version of Produce that is sent: the newest that names topics.
pub(super) const PRODUCE_VERSION: i16 = 12;
/// The version of Fetch that is sent: the newest that names topics.
pub(super) const FETCH_VERSION: i16 = 12;
/// Where the correlation id stands in a request frame: behind length, API key and version.
pub(super) const CORRELATION_AT: usize = 8;

/// A Produce frame, and how many records it carries.
pub(super) fn produce(
    topic: &str,
    record_size: usize,
    batch_size: usize,
    acks: i16,
) -> (BytesMut, u64) {
    let mut builder = BatchBuilder::new(Compression::NONE);
    let value: Vec<u8> =
        (0..record_size).map(|index| b'a' + u8::try_from(index % 26).expect("below 26")).collect();
    let mut records = 0;
    while records == 0 || builder.estimated_size() + record_size < batch_size {
        builder.append(
            Timestamp::from_millis(ottla::runtime::real_wall_clock().millis()),
            None,
            Some(&value),
            &[],
        );
        records += 1;
    }
    let data = PartitionProduceData {
        index: PartitionIndex::new(0),
        records: Some(builder.build().into()),
    };
    let topic = TopicProduceData {
        name: topic.to_owned(),
        partition_data: vec![data],
        ..Default::default()
    };
    let request =
        ProduceRequest { acks, timeout_ms: 30_000, topic_data: vec![topic], ..Default::default() };
    (whole(PRODUCE_VERSION, &request), records)
}

/// A Fetch frame for partition 0.
pub(super) fn fetch(topic: &str, offset: Offset, bytes_max: i32) -> BytesMut {
    let partition = FetchPartition {
        partition: PartitionIndex::new(0),
        fetch_offset: Some(offset),
        partition_max_bytes: bytes_max,
        ..Default::default()
    };
    let topic =
        FetchTopic { topic: topic.to_owned(), partitions: vec![partition], ..Default::default() };
    let request = FetchRequest {
        max_wait_ms: 500,
        min_bytes: 1,
        max_bytes: bytes_max,
        topics: vec![topic],
        ..Default::default()
    };
    whole(FETCH_VERSION, &request)
}

fn whole<R: Request>(version: i16, request: &R) -> BytesMut {
    let header = RequestHeader {
        api_key: R::API.key(),
        api_version: version,
        correlation_id: 0,
        client_id: Some("bench".to_owned()),
    };
    let slices =
        encode_request(&header, request).expect("the version carries what the request says");
    slices.iter().fold(BytesMut::new(), |mut frame, slice: &Bytes| {
        frame.extend_from_slice(slice);
        frame
    })
}
