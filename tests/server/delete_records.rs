//! DeleteRecords, in every version: what is gone, what is refused.

use ottla::protocol::compression::Codec;
use ottla::protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use ottla::protocol::messages::{DeleteRecordsRequest, Message, MetadataRequest};
use ottla::types::{ErrorCode, Offset, PartitionIndex};

use super::data::{Topic, batch, create, fetch_request, produce, values};
use crate::support::{Client, Server};

/// What became of each partition: error, low watermark.
fn delete(
    client: &mut Client,
    version: i16,
    topic: &str,
    partitions: &[(i32, i64)],
) -> Vec<(ErrorCode, Option<i64>)> {
    let asked = partitions.iter().map(|(index, offset)| DeleteRecordsPartition {
        partition_index: PartitionIndex::new(*index),
        offset: *offset,
    });
    let one = DeleteRecordsTopic { name: topic.to_owned(), partitions: asked.collect() };
    let answer =
        client.ask(version, &DeleteRecordsRequest { topics: vec![one], timeout_ms: 5_000 });
    let [one] = &answer.topics[..] else { panic!("{answer:?}") };
    assert_eq!(one.name, topic);
    let told = one.partitions.iter().zip(partitions).map(|(told, (index, _))| {
        assert_eq!(told.partition_index.value(), *index);
        (told.error_code, told.low_watermark.map(Offset::value))
    });
    told.collect()
}

#[test]
fn what_is_deleted_is_not_read_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let mut client = server.connect();
    let topic = Topic { name: "t", id: create(&mut client, "t", &[]) };
    for _ in 0..10 {
        let answer = produce(&mut client, &topic, 9, batch(&["a", "b"], Codec::None));
        assert_eq!(answer.error_code, ErrorCode::None);
    }
    for (start, version) in (3..).zip(DeleteRecordsRequest::VERSIONS.iter()) {
        let told = delete(&mut client, version, "t", &[(0, start), (1, 0)]);
        assert_eq!(told, [(ErrorCode::None, Some(start)), (ErrorCode::None, Some(0))]);
        let below = client.ask(12, &fetch_request(&topic, 12, start - 1));
        let error = below.responses[0].partitions[0].error_code;
        assert_eq!(error, ErrorCode::OffsetOutOfRange, "version {version}");
        let from = client.ask(12, &fetch_request(&topic, 12, start));
        let data = &from.responses[0].partitions[0];
        assert_eq!(data.log_start_offset, Offset::from_wire(start));
        assert_eq!(values(data).last().unwrap().0, 19);
        // Less than what is gone already is done already.
        let again = delete(&mut client, version, "t", &[(0, 1)]);
        assert_eq!(again, [(ErrorCode::None, Some(start))]);
    }
    // All that there is.
    assert_eq!(delete(&mut client, 2, "t", &[(0, -1)]), [(ErrorCode::None, Some(20))]);
    server.stop();
    let server = Server::start(dir.path(), &[]);
    let mut client = server.connect();
    let below = client.ask(12, &fetch_request(&topic, 12, 19));
    assert_eq!(below.responses[0].partitions[0].error_code, ErrorCode::OffsetOutOfRange);
}

#[test]
fn what_cannot_be_deleted_is_told_by_partition() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), super::groups::GROUPS);
    let mut client = server.connect();
    super::groups::coordinator(&mut client, "g");
    let topic = Topic { name: "t", id: create(&mut client, "t", &[]) };
    let answer = produce(&mut client, &topic, 9, batch(&["a"], Codec::None));
    assert_eq!(answer.error_code, ErrorCode::None);
    for version in DeleteRecordsRequest::VERSIONS.iter() {
        let told = delete(&mut client, version, "t", &[(0, 2), (0, -2), (9, 0), (0, 1)]);
        let expected = [
            (ErrorCode::OffsetOutOfRange, None),
            (ErrorCode::OffsetOutOfRange, None),
            (ErrorCode::UnknownTopicOrPartition, None),
            (ErrorCode::None, Some(1)),
        ];
        assert_eq!(told, expected, "version {version}");
        let told = delete(&mut client, version, "nowhere", &[(0, 0)]);
        assert_eq!(told, [(ErrorCode::UnknownTopicOrPartition, None)]);
        let told = delete(&mut client, version, "__consumer_offsets", &[(0, 0)]);
        assert_eq!(told, [(ErrorCode::InvalidTopicException, None)]);
    }
    let metadata = client.ask(12, &MetadataRequest { topics: None, ..Default::default() });
    assert_eq!(metadata.topics.len(), 2);
}
