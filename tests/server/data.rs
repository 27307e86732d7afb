//! Produce, Fetch, ListOffsets and OffsetForLeaderEpoch, in every version.

use std::io::Write;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ottla::protocol::compression::{Codec, Compression};
use ottla::protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use ottla::protocol::messages::fetch_request::{FetchPartition, FetchTopic, ReplicaState};
use ottla::protocol::messages::fetch_response::PartitionData;
use ottla::protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use ottla::protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use ottla::protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use ottla::protocol::messages::produce_response::PartitionProduceResponse;
use ottla::protocol::messages::{
    CreateTopicsRequest, DeleteTopicsRequest, FetchRequest, ListOffsetsRequest, Message,
    OffsetForLeaderEpochRequest, ProduceRequest,
};
use ottla::protocol::record_batch::{BatchBuilder, RawBatches};
use ottla::protocol::{OffsetSpec, Records};
use ottla::types::{
    BrokerId, ErrorCode, LeaderEpoch, Observation, Offset, PartitionIndex, Timestamp, Uuid,
};

use crate::support::{Client, Server};

/// A batch of records with these values, stamped from the test's "now" on, a millisecond apart.
pub(crate) fn batch(values: &[&str], codec: Codec) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::of(codec));
    for (index, value) in (0..).zip(values) {
        builder.append(Timestamp::from_millis(1_000 + index), None, Some(value.as_bytes()), &[]);
    }
    builder.build()
}

pub(crate) fn create(client: &mut Client, name: &str, configs: &[(&str, &str)]) -> Uuid {
    let configs = configs.iter().map(|(name, value)| CreatableTopicConfig {
        name: (*name).to_owned(),
        value: Some((*value).to_owned()),
    });
    // The records of these tests are older than any clock.
    let old = CreatableTopicConfig {
        name: "message.timestamp.before.max.ms".to_owned(),
        value: Some(i64::MAX.to_string()),
    };
    let topic = CreatableTopic {
        name: name.to_owned(),
        num_partitions: 2,
        replication_factor: 1,
        configs: configs.chain([old]).collect(),
        ..CreatableTopic::default()
    };
    let request =
        CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, validate_only: false };
    let answer = client.ask(7, &request);
    assert_eq!(answer.topics[0].error_code, ErrorCode::None, "{answer:?}");
    answer.topics[0].topic_id
}

pub(crate) struct Topic {
    pub(crate) name: &'static str,
    pub(crate) id: Uuid,
}

pub(crate) fn produce_request(
    topic: &Topic,
    version: i16,
    acks: i16,
    parts: &[(i32, Bytes)],
) -> ProduceRequest {
    let partition_data = parts.iter().map(|(index, records)| PartitionProduceData {
        index: PartitionIndex::new(*index),
        records: Some(Records::from(records.clone())),
    });
    let data = TopicProduceData {
        name: if version < 13 { topic.name.to_owned() } else { String::new() },
        topic_id: if version < 13 { Uuid::ZERO } else { topic.id },
        partition_data: partition_data.collect(),
    };
    ProduceRequest { transactional_id: None, acks, timeout_ms: 5_000, topic_data: vec![data] }
}

pub(crate) fn produce(
    client: &mut Client,
    topic: &Topic,
    version: i16,
    records: Bytes,
) -> PartitionProduceResponse {
    let request = produce_request(topic, version, -1, &[(0, records)]);
    let answer = client.ask(version, &request);
    answer.responses[0].partition_responses[0].clone()
}

pub(crate) fn fetch_request(topic: &Topic, version: i16, offset: i64) -> FetchRequest {
    let partition = FetchPartition {
        partition: PartitionIndex::new(0),
        fetch_offset: Offset::from_wire(offset),
        partition_max_bytes: 1_000_000,
        ..FetchPartition::default()
    };
    let topic = FetchTopic {
        topic: if version < 13 { topic.name.to_owned() } else { String::new() },
        topic_id: if version < 13 { Uuid::ZERO } else { topic.id },
        partitions: vec![partition],
    };
    FetchRequest {
        max_wait_ms: 0,
        min_bytes: 1,
        max_bytes: 10_000_000,
        topics: vec![topic],
        ..FetchRequest::default()
    }
}

pub(crate) fn fetch(client: &mut Client, version: i16, request: &FetchRequest) -> PartitionData {
    let answer = client.ask(version, request);
    assert_eq!(answer.error_code, ErrorCode::None);
    assert_eq!(answer.session_id, 0, "sessions are declined");
    answer.responses[0].partitions[0].clone()
}

/// The values of all records fetched, with their offsets.
pub(crate) fn values(data: &PartitionData) -> Vec<(i64, String)> {
    let records = data.records.clone().unwrap_or_default();
    let mut values = Vec::new();
    for batch in RawBatches::new(records.to_bytes()) {
        let batch = batch.unwrap();
        batch.verify_crc().unwrap();
        for record in batch.records(1 << 20).unwrap() {
            let record = record.unwrap();
            let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
            values.push((record.offset.value(), value));
        }
    }
    values
}

#[test]
fn what_was_produced_is_fetched_in_every_version() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let mut client = server.connect();
    let topic = Topic { name: "t", id: create(&mut client, "t", &[]) };
    let mut expected = Vec::new();
    for version in ProduceRequest::VERSIONS.iter() {
        let value = format!("version {version}");
        let base = expected.len();
        let answer = produce(&mut client, &topic, version, batch(&[&value, "x"], Codec::None));
        assert_eq!(answer.error_code, ErrorCode::None, "version {version}: {answer:?}");
        assert_eq!(answer.base_offset, Offset::from_wire(i64::try_from(base).unwrap()));
        expected.push((i64::try_from(base).unwrap(), value));
        expected.push((i64::try_from(base).unwrap() + 1, "x".to_owned()));
    }
    for version in FetchRequest::VERSIONS.iter() {
        let data = fetch(&mut client, version, &fetch_request(&topic, version, 0));
        assert_eq!(data.error_code, ErrorCode::None, "version {version}");
        assert_eq!(values(&data), expected, "version {version}");
        assert_eq!(data.high_watermark, Offset::from_wire(22));
        assert_eq!(data.last_stable_offset, Offset::from_wire(22));
        let log_start = if version >= 5 { Offset::from_wire(0) } else { None };
        assert_eq!(data.log_start_offset, log_start);
    }
    server.stop();
}

#[test]
fn every_codec_goes_through_and_zstd_only_in_new_versions() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let mut client = server.connect();
    let topic = Topic { name: "t", id: create(&mut client, "t", &[]) };
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let answer = produce(&mut client, &topic, 9, batch(&["a", "b", "c"], codec));
        assert_eq!(answer.error_code, ErrorCode::None, "{codec:?}: {answer:?}");
    }
    let data = fetch(&mut client, 12, &fetch_request(&topic, 12, 0));
    assert_eq!(values(&data).len(), 12);
    let answer = produce(&mut client, &topic, 6, batch(&["a"], Codec::Zstd));
    assert_eq!(answer.error_code, ErrorCode::UnsupportedCompressionType);
}

#[test]
fn what_was_acknowledged_is_there_after_a_stop_and_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let mut id = None;
    for round in 0..4 {
        let server = Server::start(dir.path(), &[]);
        let mut client = server.connect();
        let topic_id = *id.get_or_insert_with(|| create(&mut client, "t", &[]));
        let topic = Topic { name: "t", id: topic_id };
        let data = fetch(&mut client, 13, &fetch_request(&topic, 13, 0));
        assert_eq!(data.error_code, ErrorCode::None, "round {round}");
        assert_eq!(values(&data).len(), round * 10);
        for _ in 0..10 {
            assert!(
                produce(&mut client, &topic, 9, batch(&["v"], Codec::None)).error_code.is_none()
            );
        }
        if round % 2 == 0 { server.stop() } else { server.kill() }
    }
}

#[test]
fn what_is_no_batch_is_refused_and_harms_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let mut client = server.connect();
    let topic = Topic { name: "t", id: create(&mut client, "t", &[]) };
    let good = batch(&["good"], Codec::None);
    let edited = |at: usize, value: u8| {
        let mut bytes = good.to_vec();
        bytes[at] = value;
        Bytes::from(bytes)
    };
    let mut check = |records: Bytes, expected: ErrorCode| {
        let answer = produce(&mut client, &topic, 9, records);
        assert_eq!(answer.error_code, expected, "{answer:?}");
        assert!(answer.error_message.is_some());
        assert_eq!((answer.base_offset, answer.log_start_offset), (None, None));
    };
    check(Bytes::new(), ErrorCode::InvalidRecord);
    check(edited(good.len() - 1, 0xff), ErrorCode::CorruptMessage);
    check(good.slice(..good.len() - 1), ErrorCode::CorruptMessage);
    check([good.clone(), good.clone()].concat().into(), ErrorCode::InvalidRecord);
    let huge = "x".repeat(1_100_000);
    check(batch(&[&huge], Codec::None), ErrorCode::MessageTooLarge);
    check(batch(&["not zstd"], Codec::None).slice(..20), ErrorCode::CorruptMessage);
    assert!(produce(&mut client, &topic, 9, good).error_code.is_none());
    let data = fetch(&mut client, 12, &fetch_request(&topic, 12, 0));
    assert_eq!(values(&data), [(0, "good".to_owned())]);
}

#[test]
fn requests_that_cannot_be_served_get_kafkas_codes() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let mut client = server.connect();
    let topic = Topic { name: "t", id: create(&mut client, "t", &[]) };
    let records = batch(&["v"], Codec::None);
    let error_of = |client: &mut Client, version: i16, request: &ProduceRequest| {
        client.ask(version, request).responses[0].partition_responses[0].error_code
    };
    let absent = Topic { name: "absent", id: Uuid::from_bytes([9; 16]) };
    let request = produce_request(&absent, 9, 1, &[(0, records.clone())]);
    assert_eq!(error_of(&mut client, 9, &request), ErrorCode::UnknownTopicOrPartition);
    let request = produce_request(&absent, 13, 1, &[(0, records.clone())]);
    assert_eq!(error_of(&mut client, 13, &request), ErrorCode::UnknownTopicId);
    let request = produce_request(&topic, 9, 1, &[(7, records.clone())]);
    assert_eq!(error_of(&mut client, 9, &request), ErrorCode::UnknownTopicOrPartition);
    let request = produce_request(&topic, 9, 2, &[(0, records.clone())]);
    assert_eq!(error_of(&mut client, 9, &request), ErrorCode::InvalidRequiredAcks);
    let request = ProduceRequest {
        transactional_id: Some("t".to_owned()),
        ..produce_request(&topic, 9, -1, &[(0, records.clone())])
    };
    assert_eq!(error_of(&mut client, 9, &request), ErrorCode::TransactionalIdAuthorizationFailed);
    // One bad partition does not harm the other.
    let bad = records.slice(..records.len() - 1);
    let request = produce_request(&topic, 9, -1, &[(0, bad), (1, records)]);
    let answer = client.ask(9, &request);
    let errors: Vec<_> =
        answer.responses[0].partition_responses.iter().map(|one| one.error_code).collect();
    assert_eq!(errors, [ErrorCode::CorruptMessage, ErrorCode::None]);

    let error_of = |client: &mut Client, version: i16, request: &FetchRequest| {
        fetch(client, version, request).error_code
    };
    let with = |version: i16, offset: i64, change: &dyn Fn(&mut FetchPartition)| {
        let mut request = fetch_request(&topic, version, offset);
        change(&mut request.topics[0].partitions[0]);
        request
    };
    let request = fetch_request(&absent, 12, 0);
    assert_eq!(error_of(&mut client, 12, &request), ErrorCode::UnknownTopicOrPartition);
    let request = fetch_request(&absent, 13, 0);
    assert_eq!(error_of(&mut client, 13, &request), ErrorCode::UnknownTopicId);
    for offset in [-1, 99] {
        let request = with(12, offset, &|_| {});
        assert_eq!(error_of(&mut client, 12, &request), ErrorCode::OffsetOutOfRange);
    }
    let newer = with(12, 0, &|one| one.current_leader_epoch = LeaderEpoch::from_wire(9));
    assert_eq!(error_of(&mut client, 12, &newer), ErrorCode::UnknownLeaderEpoch);
    let replica = FetchRequest { replica_id: BrokerId::from_wire(5), ..with(12, 0, &|_| {}) };
    assert_eq!(error_of(&mut client, 12, &replica), ErrorCode::NotLeaderOrFollower);
    let replica = FetchRequest {
        replica_state: ReplicaState { replica_id: BrokerId::from_wire(5), ..Default::default() },
        ..with(15, 0, &|_| {})
    };
    assert_eq!(error_of(&mut client, 15, &replica), ErrorCode::NotLeaderOrFollower);
    let diverging = with(12, 5, &|one| one.last_fetched_epoch = LeaderEpoch::from_wire(0));
    let data = fetch(&mut client, 12, &diverging);
    assert_eq!(data.error_code, ErrorCode::None);
    assert_eq!(data.diverging_epoch.end_offset, Offset::from_wire(0));
    let continued = FetchRequest { session_id: 7, session_epoch: 3, ..with(12, 0, &|_| {}) };
    assert_eq!(client.ask(12, &continued).error_code, ErrorCode::FetchSessionIdNotFound);
}

#[test]
fn acks_0_gets_no_answer_and_a_closed_connection_where_it_fails() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let mut client = server.connect();
    let topic = Topic { name: "t", id: create(&mut client, "t", &[]) };
    let good = batch(&["v"], Codec::None);
    for _ in 0..3 {
        client.send(9, &produce_request(&topic, 9, 0, &[(0, good.clone())]));
    }
    // The next answer on the connection is that of the next request.
    let data = fetch(&mut client, 12, &fetch_request(&topic, 12, 0));
    assert_eq!(values(&data).len(), 3);
    client.send(9, &produce_request(&topic, 9, 0, &[(0, good.slice(..30))]));
    assert!(client.is_closed());
}

#[test]
fn a_fetch_waits_for_records_and_no_longer_than_asked() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let (mut reader, mut writer) = (server.connect(), server.connect());
    let topic = Topic { name: "t", id: create(&mut writer, "t", &[]) };
    let waiting = |span: i32, min_bytes: i32| FetchRequest {
        max_wait_ms: span,
        min_bytes,
        ..fetch_request(&topic, 12, 0)
    };
    let begun = Instant::now();
    assert_eq!(values(&fetch(&mut reader, 12, &waiting(200, 1))), []);
    assert!(begun.elapsed() >= Duration::from_millis(200), "it waits");

    reader.send(12, &waiting(20_000, 1));
    std::thread::sleep(Duration::from_millis(50));
    produce(&mut writer, &topic, 9, batch(&["first"], Codec::None));
    let answer = reader.receive::<FetchRequest>(12);
    assert_eq!(values(&answer.responses[0].partitions[0]), [(0, "first".to_owned())]);
    assert!(begun.elapsed() < Duration::from_secs(15), "it is woken");

    // Not before there is enough.
    reader.send(12, &waiting(20_000, 300));
    for _ in 0..4 {
        produce(&mut writer, &topic, 9, batch(&["more and more and more"], Codec::None));
    }
    let answer = reader.receive::<FetchRequest>(12);
    let data = &answer.responses[0].partitions[0];
    assert!(data.records.as_ref().unwrap().len() >= 300);

    // Nor where there is more, and the answer has no room for it.
    let begun_full = Instant::now();
    let full = FetchRequest { max_bytes: 150, ..waiting(20_000, 150) };
    assert_eq!(values(&fetch(&mut reader, 12, &full)), [(0, "first".to_owned())]);
    assert!(begun_full.elapsed() < Duration::from_secs(10), "what does not fit comes no sooner");
    // What one partition may give at the most is not all that the reader waits for.
    let begun_small = Instant::now();
    let mut small = waiting(300, 150);
    small.topics[0].partitions[0].partition_max_bytes = 100;
    assert_eq!(values(&fetch(&mut reader, 12, &small)), [(0, "first".to_owned())]);
    assert!(begun_small.elapsed() >= Duration::from_millis(300), "another one may have more");

    // A deleted topic ends the wait.
    let gone = FetchRequest { max_wait_ms: 20_000, min_bytes: 1_000_000, ..waiting(0, 0) };
    reader.send(12, &gone);
    std::thread::sleep(Duration::from_millis(50));
    let delete = DeleteTopicsRequest {
        topic_names: vec!["t".to_owned()],
        timeout_ms: 5_000,
        ..DeleteTopicsRequest::default()
    };
    assert!(writer.ask(5, &delete).responses[0].error_code.is_none());
    let answer = reader.receive::<FetchRequest>(12);
    assert!(!answer.responses[0].partitions[0].error_code.is_none());
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[test]
fn limits_of_a_fetch_are_kept_but_for_the_first_batch() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let mut client = server.connect();
    let topic = Topic { name: "t", id: create(&mut client, "t", &[]) };
    let value = "x".repeat(1000);
    for _ in 0..10 {
        produce(&mut client, &topic, 9, batch(&[&value], Codec::None));
    }
    let mut request = fetch_request(&topic, 12, 3);
    request.topics[0].partitions[0].partition_max_bytes = 10;
    assert_eq!(values(&fetch(&mut client, 12, &request)).len(), 1, "the first batch comes whole");
    request.topics[0].partitions[0].partition_max_bytes = 2500;
    assert_eq!(values(&fetch(&mut client, 12, &request)).len(), 2);
    request.topics[0].partitions[0].partition_max_bytes = 1_000_000;
    request.max_bytes = 3500;
    assert_eq!(values(&fetch(&mut client, 12, &request)).len(), 3);
    request.max_bytes = 1;
    assert_eq!(values(&fetch(&mut client, 12, &request)).len(), 1);
}

#[test]
fn offsets_are_found_by_place_and_by_time() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let mut client = server.connect();
    let topic = Topic { name: "t", id: create(&mut client, "t", &[]) };
    produce(&mut client, &topic, 9, batch(&["1000", "1001", "1002"], Codec::None));
    produce(&mut client, &topic, 9, batch(&["1000", "1001"], Codec::Lz4));
    let ask = |client: &mut Client, version: i16, spec: OffsetSpec| {
        let partition = ListOffsetsPartition { timestamp: spec, ..ListOffsetsPartition::default() };
        let topic = ListOffsetsTopic { name: "t".to_owned(), partitions: vec![partition] };
        let request = ListOffsetsRequest { topics: vec![topic], ..ListOffsetsRequest::default() };
        let answer = client.ask(version, &request).topics[0].partitions[0].clone();
        (
            answer.error_code,
            answer.offset.map(Offset::value),
            answer.timestamp.map(Timestamp::millis),
        )
    };
    let at = |millis| OffsetSpec::Timestamp(Timestamp::from_millis(millis));
    for version in ListOffsetsRequest::VERSIONS.iter() {
        let mut check = |spec, since: i16, offset, timestamp| {
            let expected = if version >= since {
                (ErrorCode::None, offset, timestamp)
            } else {
                (ErrorCode::UnsupportedVersion, None, None)
            };
            assert_eq!(ask(&mut client, version, spec), expected, "{spec:?}, version {version}");
        };
        check(OffsetSpec::Earliest, 1, Some(0), None);
        check(OffsetSpec::Latest, 1, Some(5), None);
        check(at(0), 1, Some(0), Some(1000));
        check(at(1001), 1, Some(1), Some(1001));
        check(at(1002), 1, Some(2), Some(1002));
        check(at(1003), 1, None, None);
        check(OffsetSpec::MaxTimestamp, 7, Some(2), Some(1002));
        check(OffsetSpec::EarliestLocal, 8, Some(0), None);
        check(OffsetSpec::LatestTiered, 9, None, None);
        check(OffsetSpec::EarliestPendingUpload, 11, None, None);
    }
    let twice = ListOffsetsTopic {
        name: "t".to_owned(),
        partitions: vec![ListOffsetsPartition::default(), ListOffsetsPartition::default()],
    };
    let request = ListOffsetsRequest { topics: vec![twice], ..ListOffsetsRequest::default() };
    let answer = client.ask(5, &request);
    assert_eq!(answer.topics[0].partitions[0].error_code, ErrorCode::InvalidRequest);
}

#[test]
fn the_end_of_an_epoch_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let mut client = server.connect();
    let topic = Topic { name: "t", id: create(&mut client, "t", &[]) };
    produce(&mut client, &topic, 9, batch(&["a", "b"], Codec::None));
    for version in OffsetForLeaderEpochRequest::VERSIONS.iter() {
        let mut ask = |current: i32, epoch: i32| {
            let partition = OffsetForLeaderPartition {
                partition: PartitionIndex::new(0),
                current_leader_epoch: LeaderEpoch::from_wire(current),
                leader_epoch: LeaderEpoch::from_wire(epoch),
            };
            let topic = OffsetForLeaderTopic { topic: "t".to_owned(), partitions: vec![partition] };
            let request = OffsetForLeaderEpochRequest { topics: vec![topic], ..Default::default() };
            let answer = client.ask(version, &request).topics[0].partitions[0].clone();
            (answer.error_code, answer.leader_epoch, answer.end_offset)
        };
        let end = (ErrorCode::None, LeaderEpoch::from_wire(0), Offset::from_wire(2));
        assert_eq!(ask(-1, 0), end);
        assert_eq!(ask(0, 0), end);
        assert_eq!(ask(5, 0), (ErrorCode::UnknownLeaderEpoch, None, None));
        assert_eq!(ask(-1, 9), (ErrorCode::None, None, None));
    }
}

/// Record bytes are slices of the request's frame and of what was read from the file: a whole frame goes out although it
/// is sent in pieces.
#[test]
fn a_request_may_arrive_in_pieces() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let mut client = server.connect();
    let topic = Topic { name: "t", id: create(&mut client, "t", &[]) };
    let request =
        produce_request(&topic, 9, -1, &[(0, batch(&[&"x".repeat(500_000)], Codec::None))]);
    let header = ottla::protocol::frame::RequestHeader {
        api_key: 0,
        api_version: 9,
        correlation_id: 1,
        client_id: None,
    };
    let frame = ottla::protocol::frame::encode_request(&header, &request).unwrap();
    let bytes: Vec<u8> = frame.into_iter().flatten().collect();
    for piece in bytes.chunks(77_777) {
        client.stream.write_all(piece).unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(client.frame().is_some());
    let data = fetch(&mut client, 12, &fetch_request(&topic, 12, 0));
    assert_eq!(values(&data).len(), 1);
    let acked =
        server.heard.all().into_iter().any(|one| matches!(one, Observation::ProduceAcked { .. }));
    assert!(acked);
}
