//! What every decoder of foreign bytes is held to, one function a fuzz target: it takes any bytes, never panics, and what it
//! takes is consistent. The same functions run over `fuzz/corpus/` as ordinary tests (`tests/fuzz_corpora.rs`).
//!
//! By hand, with a nightly compiler and cargo-fuzz; what is found goes into `target/`, what is worth keeping into the corpus:
//!
//! ```text
//! mkdir -p target/fuzz/request
//! cargo +nightly fuzz run request target/fuzz/request fuzz/corpus/request -- -max_total_time=600
//! ```

use bytes::{Bytes, BytesMut};
use ottla::log::{
    LeaderEpochCache, LogConfig, OffsetIndex, ProducerState, ScanEnd, ScanStart, ScannedBatch,
    Scanner, TimeIndex, ValidationRules, validate_produced, validate_replicated,
};
use ottla::protocol::ApiKey;
use ottla::protocol::coordinator_records::{
    CoordinatorRecord, read_assignment, read_subscription, subscribed_topics,
};
use ottla::protocol::frame::{decode_request_header, decode_response_header, take_frame};
use ottla::protocol::messages::{Message, Request};
use ottla::protocol::metadata_records::MetadataRecord;
use ottla::protocol::record_batch::{HEADER_BYTES, RawBatch, RawBatches, crc32c};
use ottla::protocol::wire::{Reader, Writer};
use ottla::types::{LeaderEpoch, Offset, Timestamp};

/// Takes any bytes; panics where a promise is broken.
pub type Target = fn(&[u8]);

/// Every target, by the name of its corpus.
pub const TARGETS: &[(&str, Target)] = &[
    ("frame", frame),
    ("request", request),
    ("response", response),
    ("metadata_record", metadata_record),
    ("coordinator_record", coordinator_record),
    ("record_batch", record_batch),
    ("recovery", recovery),
    ("log_files", log_files),
];

/// The largest frame a fuzzed connection takes.
const FRAME_BYTES_MAX: usize = 1 << 16;
/// How much a fuzzed batch may decompress to.
const DECOMPRESSED_BYTES_MAX: usize = 1 << 20;

/// Declares the requests, and what is done with each.
macro_rules! requests {
    ($($name:ident)*) => {
        /// The requests that are fuzzed: all of the protocol's table.
        pub const REQUESTS: &[&str] = &[$(stringify!($name)),*];

        fn check_request(api: ApiKey, version: i16, input: &mut Reader) {
            $(if api == <ottla::protocol::messages::$name as Request>::API {
                check_message::<ottla::protocol::messages::$name>(version, input);
            })*
        }

        fn check_response(api: ApiKey, version: i16, input: &mut Reader) {
            $(if api == <ottla::protocol::messages::$name as Request>::API {
                type Response = <ottla::protocol::messages::$name as Request>::Response;
                check_message::<Response>(version, input);
            })*
        }
    };
}

requests! {
    AllocateProducerIdsRequest AlterConfigsRequest AlterPartitionReassignmentsRequest AlterPartitionRequest
    ApiVersionsRequest AssignReplicasToDirsRequest BeginQuorumEpochRequest BrokerHeartbeatRequest
    BrokerRegistrationRequest ConsumerGroupDescribeRequest ConsumerGroupHeartbeatRequest CreatePartitionsRequest
    CreateTopicsRequest
    DeleteGroupsRequest DeleteRecordsRequest DeleteTopicsRequest DescribeClusterRequest DescribeConfigsRequest
    DescribeGroupsRequest DescribeQuorumRequest DescribeTopicPartitionsRequest ElectLeadersRequest
    EndQuorumEpochRequest EnvelopeRequest FetchRequest FetchSnapshotRequest FindCoordinatorRequest HeartbeatRequest
    IncrementalAlterConfigsRequest InitProducerIdRequest JoinGroupRequest LeaveGroupRequest ListGroupsRequest
    ListOffsetsRequest ListPartitionReassignmentsRequest MetadataRequest OffsetCommitRequest OffsetDeleteRequest
    OffsetFetchRequest OffsetForLeaderEpochRequest ProduceRequest SyncGroupRequest UnregisterBrokerRequest
    UpdateFeaturesRequest VoteRequest
}

/// What was read can be written, and read again.
fn check_message<M: Message>(version: i16, input: &mut Reader) {
    let Ok(message) = M::decode(version, input) else { return };
    let mut out = Writer::new();
    message.encode(version, &mut out).expect("what was read can be written");
    let written: Bytes = out.finish().concat().into();
    let again =
        M::decode(version, &mut Reader::new(written)).expect("what was written can be read");
    assert_eq!(again, message);
}

/// A connection's bytes: the frames in them are the same however the network cuts them, and each is read as a request.
pub fn frame(stream: &[u8]) {
    let whole = frames(stream, stream.len().max(1));
    for piece in [1, 3, 61] {
        assert_eq!(frames(stream, piece), whole, "cut into pieces of {piece}");
    }
    whole.0.iter().for_each(|frame| request(frame));
}

/// The frames of a stream that arrives in pieces, and whether framing was lost.
fn frames(stream: &[u8], piece: usize) -> (Vec<Bytes>, bool) {
    let (mut buffer, mut found) = (BytesMut::new(), Vec::new());
    for bytes in stream.chunks(piece) {
        buffer.extend_from_slice(bytes);
        loop {
            match take_frame(&mut buffer, FRAME_BYTES_MAX) {
                Ok(Some(frame)) => found.push(frame),
                Ok(None) => break,
                Err(_) => return (found, true),
            }
        }
    }
    (found, false)
}

/// A request frame, without its length.
pub fn request(frame: &[u8]) {
    let mut input = Reader::new(Bytes::copy_from_slice(frame));
    let Ok(header) = decode_request_header(&mut input) else { return };
    if let Some(api) = header.api() {
        check_request(api, header.api_version, &mut input);
    }
}

/// The number of an API, a version, and a response frame without its length.
pub fn response(bytes: &[u8]) {
    let mut input = Reader::new(Bytes::copy_from_slice(bytes));
    let (Ok(key), Ok(version)) = (input.int16(), input.int16()) else { return };
    let Some(api) = ApiKey::from_wire(key) else { return };
    if decode_response_header(api, version, &mut input).is_ok() {
        check_response(api, version, &mut input);
    }
}

/// The value of a record in the metadata log.
pub fn metadata_record(value: &[u8]) {
    let Ok((record, version)) = MetadataRecord::from_bytes(Bytes::copy_from_slice(value)) else {
        return;
    };
    let written = record.to_bytes(version).expect("what was read can be written");
    assert_eq!(MetadataRecord::from_bytes(written), Ok((record, version)));
}

/// A record of a coordinator's log: how long its key is, its key, whether it has a value, and its value.
pub fn coordinator_record(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    _ = subscribed_topics(&bytes);
    _ = read_subscription(&bytes);
    _ = read_assignment(&bytes);
    let Some(length) = bytes.first().map(|length| usize::from(*length)) else { return };
    if bytes.len() < length + 2 {
        return;
    }
    let (key, rest) = (bytes.slice(1..=length), bytes.slice(length + 1..));
    let value = (rest[0] != 0).then(|| rest.slice(1..));
    let Ok(Some(record)) = CoordinatorRecord::from_bytes(key, value) else { return };
    let key = record.key_bytes().expect("what was read can be written");
    let value = record.value_bytes().expect("what was read can be written");
    let again = CoordinatorRecord::from_bytes(key, value).expect("what was written can be read");
    assert!(again.is_some_and(|again| again.key_bytes() == record.key_bytes()));
}

/// Record batches as a producer or a leader sends them: as they are, and with their checksums made true, since no fuzzer
/// would come past them.
pub fn record_batch(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    for batch in RawBatches::new(bytes.clone()).flatten() {
        check_batch(&batch);
    }
    let true_sums = with_true_checksums(&bytes);
    for records in [&bytes, &true_sums] {
        check_produced(records);
        check_replicated(records);
    }
}

fn check_batch(batch: &RawBatch) {
    let _ = batch.header.check_from_producer();
    let _ = batch.control_records(DECOMPRESSED_BYTES_MAX);
    if let Ok(plain) = batch.decompressed_record_bytes(DECOMPRESSED_BYTES_MAX) {
        let bounded = plain.len() <= DECOMPRESSED_BYTES_MAX.max(batch.bytes.len());
        assert!(bounded, "{} bytes out of {}", plain.len(), batch.bytes.len());
    }
    if let Ok(records) = batch.records(DECOMPRESSED_BYTES_MAX) {
        let whole = records.take_while(Result::is_ok).count();
        let counted = usize::try_from(batch.header.record_count).expect("32 bits fit");
        assert!(whole <= counted, "more records than the header counts");
    }
}

/// What a leader takes from a producer is a batch with a true checksum, also after it was stamped or compressed anew.
fn check_produced(records: &Bytes) {
    let compressed = [("compression.type".to_owned(), "lz4".to_owned())].into();
    let configs = [Ok(LogConfig::default()), LogConfig::new(&Default::default(), &compressed)];
    for config in configs.map(|config| config.expect("allowed values")) {
        let mut rules = ValidationRules::new(&config, Timestamp::from_millis(1_000_000));
        rules.decompressed_bytes_max = DECOMPRESSED_BYTES_MAX;
        let Ok(taken) = validate_produced(records, rules) else { continue };
        let stamped = taken.stamp(Offset::new(7_000), LeaderEpoch::new(3));
        let bytes = Bytes::from(stamped.slices.concat());
        let batch = RawBatch::parse(&bytes).expect("what was stamped can be read");
        assert_eq!(batch.header, stamped.header);
        assert_eq!(batch.bytes.len(), bytes.len());
        batch.verify_crc().expect("its checksum is true");
        let read = batch.records(DECOMPRESSED_BYTES_MAX).expect("its records can be read");
        for (index, record) in read.enumerate() {
            let record = record.expect("each of them");
            assert_eq!(record.offset, Offset::new(7_000) + index as u64);
        }
    }
}

fn check_replicated(records: &Bytes) {
    let Ok(batches) = validate_replicated(records, Offset::ZERO) else { return };
    let mut next_offset = Offset::ZERO;
    for batch in batches {
        assert!(batch.header.base_offset >= next_offset, "offsets went back");
        next_offset = batch.header.end_offset();
        check_batch(&batch);
    }
}

/// The same bytes, with the checksum of each batch that can be cut out made true.
fn with_true_checksums(bytes: &[u8]) -> Bytes {
    // Where the fields lie in a batch's header (Kafka: `DefaultRecordBatch`).
    const CRC: std::ops::Range<usize> = 17..21;
    let mut bytes = bytes.to_vec();
    let mut start = 0;
    while let Ok(batch) = RawBatch::parse(&Bytes::copy_from_slice(&bytes[start..])) {
        let end = start + batch.bytes.len();
        let crc = crc32c(&bytes[start + CRC.end..end]);
        bytes[start..end][CRC].copy_from_slice(&crc.to_be_bytes());
        start = end;
    }
    assert!(start == 0 || start >= HEADER_BYTES);
    bytes.into()
}

/// A segment file after a crash: as it is, and with true checksums.
pub fn recovery(file: &[u8]) {
    check_recovery(file);
    check_recovery(&with_true_checksums(file));
}

fn check_recovery(file: &[u8]) {
    let start = ScanStart::segment(Offset::ZERO, file.len() as u64);
    let (batches, end) = scan(start, file, file.len());
    for piece in [1, 61, 1_000] {
        assert_eq!(scan(start, file, piece), (batches.clone(), end), "read by pieces of {piece}");
    }
    let mut next = (0, Offset::ZERO);
    for batch in &batches {
        assert_eq!(batch.position, next.0, "the prefix has no gaps");
        assert!(batch.header.base_offset >= next.1, "offsets went back");
        next = (batch.position + u64::from(batch.header.size_in_bytes), batch.header.end_offset());
    }
    assert_eq!((end.valid_bytes, end.end_offset), next);
    let prefix = &file[..usize::try_from(end.valid_bytes).expect("no longer than the file")];
    let (again, end_again) =
        scan(ScanStart { file_bytes: end.valid_bytes, ..start }, prefix, 4_096);
    assert_eq!((again, end_again.cut), (batches.clone(), None), "the prefix is its own prefix");
    let trusting = ScanStart { recovery_point: end.end_offset, ..start };
    let (trusted, _) = scan(trusting, file, 4_096);
    assert!(trusted.len() >= batches.len(), "trust finds no less");
}

fn scan(start: ScanStart, file: &[u8], piece: usize) -> (Vec<ScannedBatch>, ScanEnd) {
    let (mut scanner, mut batches) = (Scanner::new(start), Vec::new());
    while !scanner.is_done() {
        let at = usize::try_from(scanner.position()).expect("within the file");
        scanner.feed(&file[at..(at + piece).min(file.len())], &mut batches);
    }
    (batches, scanner.finish())
}

/// The small files beside a segment: what is read is written the same way.
pub fn log_files(bytes: &[u8]) {
    let base = Offset::new(1_000);
    if let Ok(index) = OffsetIndex::decode(base, u32::MAX, bytes) {
        assert_eq!(index.encode(), bytes);
        let _ = (index.lookup(base), index.lookup(Offset::MAX));
    }
    if let Ok(index) = TimeIndex::decode(base, u32::MAX, bytes) {
        assert_eq!(index.encode(), bytes);
        let _ = index.lookup(Timestamp::from_millis(5));
    }
    if let Ok(state) = ProducerState::decode_snapshot(base, bytes) {
        let again = ProducerState::decode_snapshot(base, &state.encode_snapshot());
        assert_eq!(again, Ok(state));
    }
    if let Some(cache) = std::str::from_utf8(bytes).ok().map(LeaderEpochCache::decode)
        && let Ok(cache) = cache
    {
        assert_eq!(LeaderEpochCache::decode(&cache.encode()), Ok(cache));
    }
}
