//! Tests of the whole codec: what is built is read back, and nothing that is read panics.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::protocol::compression::{Codec, Compression};
use crate::types::{
    ErrorCode, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp,
};

const DECOMPRESSED_BYTES_MAX: usize = 1 << 20;

/// What a record is made of, apart from its offset.
type Parts = (Timestamp, Option<Bytes>, Option<Bytes>, Vec<RecordHeader>);

fn bytes(length_max: usize) -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..length_max).prop_map(Bytes::from)
}

fn header() -> impl Strategy<Value = RecordHeader> {
    // Few names, so that they repeat.
    ("[abü]{0,2}", prop::option::of(bytes(8))).prop_map(|(key, value)| RecordHeader { key, value })
}

fn parts() -> impl Strategy<Value = Parts> {
    (
        prop_oneof![any::<i64>(), 0i64..10_000].prop_map(Timestamp::from_millis),
        prop::option::of(bytes(20)),
        prop::option::of(bytes(300)),
        prop::collection::vec(header(), 0..4),
    )
}

fn codec() -> impl Strategy<Value = Codec> {
    prop::sample::select(&Codec::ALL[..])
}

fn build(compression: Compression, records: &[Parts]) -> Bytes {
    let mut builder = BatchBuilder::new(compression);
    for (timestamp, key, value, headers) in records {
        builder.append(*timestamp, key.as_deref(), value.as_deref(), headers);
    }
    builder.build()
}

fn golden_builder() -> BatchBuilder {
    let mut builder = BatchBuilder::new(Compression::NONE)
        .with_base_offset(Offset::new(7))
        .with_leader_epoch(LeaderEpoch::new(3));
    builder.set_producer(BatchProducer {
        id: ProducerId::new(4_000),
        epoch: ProducerEpoch::new(1),
        base_sequence: Some(Sequence::new(20)),
    });
    let headers = [
        RecordHeader { key: "h".into(), value: Some(Bytes::from_static(b"1")) },
        RecordHeader { key: "h".into(), value: None },
    ];
    builder.append(Timestamp::from_millis(1_700_000_000_000), Some(b"k"), Some(b"v1"), &[]);
    builder.append(Timestamp::from_millis(1_700_000_000_005), None, None, &headers);
    builder
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    for (index, byte) in bytes.iter().enumerate() {
        let gap = if index > 0 && index % 16 == 0 { "\n" } else { "" };
        write!(text, "{gap}{byte:02x}").unwrap();
    }
    text
}

#[test]
fn a_batch_has_these_bytes() {
    let batch = golden_builder().build();
    expect_test::expect![[r#"
        00000000000000070000004900000003
        02736f16710000000000010000018bcf
        e568000000018bcfe568050000000000
        000fa000010000001400000002120000
        00026b047631001a000a020101040268
        0231026801"#]]
    .assert_eq(&hex(&batch));
}

#[test]
fn the_header_reads_back() {
    let batch = RawBatch::parse(&golden_builder().build()).unwrap();
    let header = batch.header;
    assert_eq!(header.base_offset, Offset::new(7));
    assert_eq!(header.last_offset(), Offset::new(8));
    assert_eq!(header.end_offset(), Offset::new(9));
    assert_eq!(header.leader_epoch, Some(LeaderEpoch::new(3)));
    assert_eq!(header.max_timestamp, Some(Timestamp::from_millis(1_700_000_000_005)));
    assert_eq!(header.last_sequence(), Some(Sequence::new(21)));
    assert_eq!(header.producer_stamp().map(|stamp| stamp.base_sequence), Some(Sequence::new(20)));
    assert_eq!(header.record_count, 2);
    assert!(!header.is_control() && !header.is_transactional());
    assert_eq!(batch.verify_crc(), Ok(()));
}

#[test]
fn stamping_keeps_the_checksum_and_copies_no_record() {
    let batch = RawBatch::parse(&golden_builder().build()).unwrap();
    let [head, tail] = batch.stamp(Offset::new(1_000), LeaderEpoch::new(9));
    assert_eq!(head.len(), STAMP_BYTES);
    assert_eq!(tail.as_ptr(), batch.bytes[STAMP_BYTES..].as_ptr());
    let stamped = RawBatch::parse(&Bytes::from([head, tail].concat())).unwrap();
    assert_eq!(stamped.verify_crc(), Ok(()));
    assert_eq!(stamped.header.base_offset, Offset::new(1_000));
    assert_eq!(stamped.header.leader_epoch, Some(LeaderEpoch::new(9)));
}

#[test]
fn log_append_time_makes_a_new_checksum_and_copies_no_record() {
    let batch = RawBatch::parse(&golden_builder().build()).unwrap();
    let now = Timestamp::from_millis(5);
    let epoch = LeaderEpoch::new(9);
    let [head, tail] =
        batch.stamp_with_time(Offset::ZERO, epoch, TimestampType::LogAppendTime, Some(now));
    assert_eq!(tail.as_ptr(), batch.bytes[HEADER_BYTES..].as_ptr());
    let stamped = RawBatch::parse(&Bytes::from([head, tail].concat())).unwrap();
    assert_eq!(stamped.verify_crc(), Ok(()));
    assert_eq!(stamped.header.timestamp_type(), TimestampType::LogAppendTime);
    for record in stamped.records(DECOMPRESSED_BYTES_MAX).unwrap() {
        assert_eq!(record.unwrap().timestamp, now);
    }
}

/// Changes one byte of the golden batch and says what is found.
#[track_caller]
fn check_fault(at: usize, byte: u8, expected: BatchFault, code: ErrorCode) {
    let mut batch = golden_builder().with_base_offset(Offset::ZERO).build().to_vec();
    batch[at] = byte;
    let mut batches = RawBatches::new(Bytes::from(batch));
    let error = batches.next().unwrap().unwrap_err();
    assert_eq!(error, BatchError { position: 0, fault: expected });
    assert_eq!(error.error_code(), code);
    assert!(batches.next().is_none());
}

#[test]
fn faults_of_the_header_are_named() {
    use BatchFault as F;
    use ErrorCode as E;
    check_fault(16, 0, F::OldMagic { magic: 0 }, E::UnsupportedForMessageFormat);
    check_fault(16, 1, F::OldMagic { magic: 1 }, E::UnsupportedForMessageFormat);
    check_fault(16, 3, F::UnknownMagic { magic: 3 }, E::CorruptMessage);
    check_fault(11, 48, F::LengthTooSmall { batch_length: 48 }, E::CorruptMessage);
    check_fault(11, 200, F::LengthBeyondEnd { size: 212, have: 85 }, E::CorruptMessage);
    check_fault(8, 0x80, F::LengthTooSmall { batch_length: i32::MIN + 73 }, E::CorruptMessage);
    check_fault(22, 5, F::UnknownCodec { codec: 5 }, E::UnsupportedCompressionType);
    let base_offset = i64::MIN;
    check_fault(0, 0x80, F::NegativeBaseOffset { base_offset }, E::InvalidRecord);
    let last_offset_delta = i32::MIN + 1;
    check_fault(23, 0x80, F::NegativeLastOffsetDelta { last_offset_delta }, E::InvalidRecord);
    check_fault(57, 0x80, F::NegativeRecordCount { count: i32::MIN + 2 }, E::InvalidRecord);
    check_fault(51, 0x80, F::NegativeProducerEpoch { epoch: i16::MIN + 1 }, E::InvalidRecord);
}

#[test]
fn an_old_format_is_named_even_where_the_batch_is_short() {
    let mut message = [0; 30];
    message[16] = 1;
    assert_eq!(BatchHeader::parse(&message), Err(BatchFault::OldMagic { magic: 1 }));
    assert_eq!(BatchHeader::parse(&message[..16]), Err(BatchFault::TooShort { have: 16 }));
}

#[test]
fn positions_of_later_batches_count_from_the_start() {
    let one = golden_builder().build();
    let mut both = [one.clone(), one.clone()].concat();
    both.truncate(one.len() + 20);
    let mut batches = RawBatches::new(Bytes::from(both));
    assert_eq!(batches.next().unwrap().unwrap().bytes, one);
    let position = u64::try_from(one.len()).unwrap();
    assert_eq!(
        batches.next().unwrap().unwrap_err(),
        BatchError { position, fault: BatchFault::TooShort { have: 20 } }
    );
    assert!(batches.next().is_none());
}

#[track_caller]
fn check_from_producer(batch: BatchBuilder, expected: Result<(), BatchFault>) {
    let batch = RawBatch::parse(&batch.build()).unwrap();
    assert_eq!(batch.header.check_from_producer(), expected);
}

#[test]
fn a_producer_may_not_send_everything_that_can_be_read() {
    let plain = golden_builder().with_base_offset(Offset::ZERO);
    check_from_producer(plain.clone(), Ok(()));
    check_from_producer(golden_builder(), Err(BatchFault::BaseOffsetNotZero { base_offset: 7 }));
    let mut gap = plain.clone();
    gap.append_at(5, Timestamp::from_millis(0), None, None, &[]);
    check_from_producer(
        gap,
        Err(BatchFault::CountUnlikeOffsets { count: 3, last_offset_delta: 5 }),
    );
    let mut control = BatchBuilder::new(Compression::NONE);
    control.append_control(Timestamp::from_millis(0), ControlRecordType::Commit, &[0; 6]);
    check_from_producer(control, Err(BatchFault::ControlFromProducer));
    let mut unnumbered = plain;
    unnumbered.set_producer(BatchProducer {
        id: ProducerId::new(1),
        epoch: ProducerEpoch::new(0),
        base_sequence: None,
    });
    check_from_producer(unnumbered, Err(BatchFault::NoSequence));
}

#[test]
fn control_records_read_back() {
    let marker = EndTransactionMarker { is_commit: false, coordinator_epoch: 12 };
    let mut builder = BatchBuilder::new(Compression::NONE);
    builder.append_control(Timestamp::from_millis(0), ControlRecordType::Abort, &marker.value());
    let batch = RawBatch::parse(&builder.build()).unwrap();
    let records = batch.control_records(DECOMPRESSED_BYTES_MAX).unwrap();
    assert_eq!(records.len(), 1);
    assert_eq!(EndTransactionMarker::parse(&records[0]), Some(marker));
    for id in -1..9 {
        assert_eq!(ControlRecordType::from_id(id).id(), id);
    }
}

proptest! {
    #[test]
    fn every_codec_gives_back_what_was_put_in(
        codec in codec(),
        records in prop::collection::vec(parts(), 1..20),
    ) {
        let batch = RawBatch::parse(&build(Compression::of(codec), &records)).unwrap();
        prop_assert_eq!(batch.header.codec, codec);
        prop_assert_eq!(batch.verify_crc(), Ok(()));
        prop_assert_eq!(batch.header.check_from_producer(), Ok(()));
        let largest = records.iter().map(|record| record.0).max().unwrap();
        prop_assert_eq!(batch.header.max_timestamp.unwrap_or(Timestamp::from_millis(-1)), largest);
        let read: Vec<Record> =
            batch.records(DECOMPRESSED_BYTES_MAX).unwrap().collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(read.len(), records.len());
        for (index, (record, parts)) in read.iter().zip(&records).enumerate() {
            prop_assert_eq!(record.offset.value(), i64::try_from(index).unwrap());
            prop_assert_eq!(record.timestamp, parts.0);
            prop_assert_eq!(&record.key, &parts.1);
            prop_assert_eq!(&record.value, &parts.2);
            prop_assert_eq!(&record.headers, &parts.3);
        }
        let plain = batch.decompressed_record_bytes(DECOMPRESSED_BYTES_MAX).unwrap();
        let views = RecordViews::new(&plain, batch.header.record_count);
        let views: Vec<_> = views.collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(views.len(), records.len());
    }

    #[test]
    fn the_size_is_known_before_a_record_is_appended(
        records in prop::collection::vec(parts(), 1..20),
    ) {
        let mut builder = BatchBuilder::new(Compression::NONE);
        for (timestamp, key, value, headers) in &records {
            let (key, value) = (key.as_deref(), value.as_deref());
            let before = builder.uncompressed_size();
            let most = record_size_upper_bound(key, value, headers);
            let room = builder.clone();
            builder.append(*timestamp, key, value, headers);
            let grown = builder.uncompressed_size() - before;
            prop_assert!(grown <= most);
            let exact = before + grown;
            prop_assert!(room.has_room_for(exact, *timestamp, key, value, headers));
            prop_assert!(
                room.is_empty() || !room.has_room_for(exact - 1, *timestamp, key, value, headers)
            );
        }
        prop_assert_eq!(builder.estimated_size(), builder.clone().build().len());
    }

    #[test]
    fn arbitrary_bytes_never_panic(input in prop::collection::vec(any::<u8>(), 0..300)) {
        read_everything(Bytes::from(input));
    }

    #[test]
    fn a_damaged_batch_never_panics(
        codec in codec(),
        records in prop::collection::vec(parts(), 1..5),
        damages in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut batch = build(Compression::of(codec), &records).to_vec();
        for (at, byte) in damages {
            let at = at.index(batch.len());
            batch[at] = byte;
        }
        read_everything(Bytes::from(batch));
    }

    #[test]
    fn arbitrary_record_bytes_never_panic(
        codec in codec(),
        count in 0u8..5,
        input in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let header = build(Compression::of(codec), &[Parts::default()]);
        let mut batch = header[..HEADER_BYTES].to_vec();
        batch[60] = count;
        batch.extend_from_slice(&input);
        let length = i32::try_from(batch.len() - LOG_OVERHEAD_BYTES).unwrap();
        batch[8..12].copy_from_slice(&length.to_be_bytes());
        read_everything(Bytes::from(batch));
    }
}

/// Does all that can be done with bytes from outside.
fn read_everything(input: Bytes) {
    for batch in RawBatches::new(input).flatten() {
        let _ = batch.verify_crc();
        let _ = batch.header.check_from_producer();
        let _ = batch.header.last_sequence();
        let _ = batch.control_records(DECOMPRESSED_BYTES_MAX);
        let Ok(records) = batch.records(DECOMPRESSED_BYTES_MAX) else { continue };
        let by_copy = records.filter(Result::is_ok).count();
        let plain = batch.decompressed_record_bytes(DECOMPRESSED_BYTES_MAX).unwrap();
        let in_place = RecordViews::new(&plain, batch.header.record_count);
        assert!(by_copy <= in_place.filter(Result::is_ok).count());
    }
}
