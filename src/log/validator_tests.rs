//! Tests of what a leader and a follower take.

use proptest::prelude::*;

use super::*;
use crate::log::config::ConfigMap;
use crate::protocol::compression::Codec;
use crate::protocol::record_batch::{BatchBuilder, ControlRecordType, Record};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn config(entries: &[(&str, &str)]) -> LogConfig {
    let topic: ConfigMap =
        entries.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    LogConfig::new(&ConfigMap::new(), &topic).unwrap()
}

fn builder(codec: Codec, count: i64) -> BatchBuilder {
    let mut builder = BatchBuilder::new(Compression::of(codec));
    for index in 0..count {
        let timestamp = Timestamp::from_millis(NOW.millis() + index);
        builder.append(timestamp, Some(b"key"), Some(&[b'v'; 50]), &[]);
    }
    builder
}

fn validate(batch: &Bytes, config: &LogConfig) -> Result<ValidatedBatch, Rejection> {
    validate_produced(batch, ValidationRules::new(config, NOW))
}

#[track_caller]
fn check_refused(batch: &Bytes, entries: &[(&str, &str)], code: ErrorCode, message: &str) {
    let rejection = validate(batch, &config(entries)).unwrap_err();
    assert_eq!((rejection.code, rejection.message.as_str()), (code, message));
}

/// Changes bytes of a batch and makes the checksum true again.
fn patched(batch: &Bytes, at: usize, bytes: &[u8]) -> Bytes {
    let mut batch = batch.to_vec();
    batch[at..at + bytes.len()].copy_from_slice(bytes);
    let crc = crate::protocol::record_batch::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    Bytes::from(batch)
}

fn read(batch: &StampedBatch) -> Vec<Record> {
    let batch = RawBatch::parse(&batch.to_bytes()).unwrap();
    assert_eq!(batch.verify_crc(), Ok(()));
    batch.records(1 << 20).unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn a_good_batch_goes_into_the_log_as_it_came() {
    for codec in Codec::ALL {
        let bytes = builder(codec, 5).build();
        let batch = validate(&bytes, &LogConfig::default()).unwrap();
        assert_eq!(batch.log_append_time(), None);
        let stamped = batch.stamp(Offset::new(30), LeaderEpoch::new(2));
        assert_eq!(stamped.slices[1].as_ptr(), bytes[16..].as_ptr());
        assert_eq!(stamped.header.end_offset(), Offset::new(35));
        assert_eq!(BatchHeader::parse(&stamped.to_bytes()), Ok(stamped.header));
        assert_eq!(read(&stamped)[4].offset, Offset::new(34));
    }
}

#[test]
fn log_append_time_restamps_without_copying_records() {
    let config = config(&[("message.timestamp.type", "LogAppendTime")]);
    let mut builder = builder(Codec::Lz4, 5);
    builder.append(Timestamp::from_millis(-7), None, None, &[]);
    let bytes = builder.build();
    let batch = validate(&bytes, &config).unwrap();
    assert_eq!(batch.log_append_time(), Some(NOW));
    let stamped = batch.stamp(Offset::new(30), LeaderEpoch::new(2));
    assert_eq!(stamped.slices[1].as_ptr(), bytes[61..].as_ptr());
    assert!(read(&stamped).iter().all(|record| record.timestamp == NOW));
}

#[test]
fn a_max_timestamp_that_lies_is_set_right() {
    let bytes = patched(&builder(Codec::None, 5).build(), 35, &7i64.to_be_bytes());
    let batch = validate(&bytes, &LogConfig::default()).unwrap();
    let stamped = batch.stamp(Offset::ZERO, LeaderEpoch::new(0));
    assert_eq!(stamped.header.max_timestamp, Some(Timestamp::from_millis(NOW.millis() + 4)));
    read(&stamped);
}

#[test]
fn another_codec_than_the_topics_is_compressed_anew() {
    for (source, name) in [
        (Codec::None, "zstd"),
        (Codec::Gzip, "snappy"),
        (Codec::Lz4, "uncompressed"),
        (Codec::Snappy, "lz4"),
        (Codec::Zstd, "gzip"),
    ] {
        let bytes = builder(source, 5).build();
        let batch = validate(&bytes, &config(&[("compression.type", name)])).unwrap();
        let target = Codec::from_name(name).unwrap_or(Codec::None);
        assert_eq!(batch.header().codec, target);
        let stamped = batch.stamp(Offset::new(9), LeaderEpoch::new(2));
        let plain = builder(Codec::None, 5).with_base_offset(Offset::new(9)).build();
        let expected = RawBatch::parse(&plain).unwrap();
        let expected: Vec<Record> =
            expected.records(1 << 20).unwrap().collect::<Result<_, _>>().unwrap();
        assert_eq!(read(&stamped), expected);
    }
}

#[test]
fn exactly_one_batch_is_taken() {
    let one = builder(Codec::None, 1).build();
    let two = Bytes::from([one.clone(), one.clone()].concat());
    let code = ErrorCode::InvalidRecord;
    let message = "a produce request must have exactly one batch for a partition, not more";
    check_refused(&two, &[], code, message);
    let message = "a produce request must have exactly one batch for a partition, not none";
    check_refused(&Bytes::new(), &[], code, message);
    check_refused(
        &one.slice(..100),
        &[],
        ErrorCode::CorruptMessage,
        "the batch at byte 0: it claims 121 bytes, but 100 are left",
    );
}

#[test]
fn sizes_are_held_against_the_topic() {
    let batch = builder(Codec::None, 100).build();
    check_refused(
        &batch,
        &[("max.message.bytes", "1000")],
        ErrorCode::MessageTooLarge,
        "the batch has 6133 bytes; max.message.bytes is 1000",
    );
    check_refused(
        &batch,
        &[("internal.segment.bytes", "2000")],
        ErrorCode::RecordListTooLarge,
        "the batch has 6133 bytes; segment.bytes is 2000",
    );
    // Compressed it fits, but the topic wants it plain.
    check_refused(
        &builder(Codec::Zstd, 100).build(),
        &[("max.message.bytes", "1000"), ("compression.type", "uncompressed")],
        ErrorCode::MessageTooLarge,
        "the batch has 6133 bytes; max.message.bytes is 1000",
    );
}

#[test]
fn a_wrong_checksum_is_corrupt() {
    let mut batch = builder(Codec::None, 1).build().to_vec();
    *batch.last_mut().unwrap() ^= 1;
    let rejection = validate(&Bytes::from(batch), &LogConfig::default()).unwrap_err();
    assert_eq!(rejection.code, ErrorCode::CorruptMessage);
}

#[test]
fn damage_on_the_way_is_corrupt_whatever_it_hits() {
    let batch = builder(Codec::None, 3).build();
    // Magic, base offset and length lie outside of the checksum; the leader epoch does not matter.
    for at in 17..batch.len() {
        for bit in [0x01, 0x80] {
            let mut damaged = batch.to_vec();
            damaged[at] ^= bit;
            let rejection = validate(&Bytes::from(damaged), &LogConfig::default()).unwrap_err();
            assert_eq!(rejection.code, ErrorCode::CorruptMessage, "byte {at}: {rejection}");
        }
    }
}

#[test]
fn control_batches_from_clients_are_refused() {
    let mut builder = BatchBuilder::new(Compression::NONE);
    builder.append_control(NOW, ControlRecordType::Abort, &[0; 6]);
    let message = "the batch at byte 0: clients must not write control records";
    check_refused(&builder.build(), &[], ErrorCode::InvalidRecord, message);
}

#[test]
fn timestamps_out_of_range_are_refused_record_by_record() {
    let hour = 3_600_000;
    let mut ahead = builder(Codec::Gzip, 1);
    ahead.append(Timestamp::from_millis(NOW.millis() + hour), None, None, &[]);
    assert!(validate(&ahead.clone().build(), &LogConfig::default()).is_ok());
    ahead.append(Timestamp::from_millis(NOW.millis() + hour + 1), None, None, &[]);
    let rejection = validate(&ahead.build(), &LogConfig::default()).unwrap_err();
    assert_eq!(rejection.code, ErrorCode::InvalidTimestamp);
    assert_eq!(rejection.record_errors.len(), 1);
    assert_eq!(rejection.record_errors[0].batch_index, 2);

    let mut behind = BatchBuilder::new(Compression::NONE);
    behind.append(Timestamp::from_millis(NOW.millis() - 1_001), None, None, &[]);
    let behind = behind.build();
    assert!(validate(&behind, &LogConfig::default()).is_ok());
    check_refused(
        &behind,
        &[("message.timestamp.before.max.ms", "1000")],
        ErrorCode::InvalidTimestamp,
        "1 records are refused; record 0: timestamp 1699999998999 is out of range around \
         1700000000000",
    );
}

#[test]
fn extreme_timestamps_do_not_overflow() {
    let limited = config(&[("message.timestamp.before.max.ms", "9223372036854775806")]);
    for (millis, is_taken) in [(i64::MIN, false), (i64::MAX, false), (-1, true), (-2, true)] {
        let mut builder = BatchBuilder::new(Compression::NONE);
        builder.append(Timestamp::from_millis(millis), None, None, &[]);
        assert_eq!(validate(&builder.build(), &limited).is_ok(), is_taken, "{millis}");
    }
}

#[test]
fn a_producer_does_not_set_log_append_time() {
    let batch = builder(Codec::None, 1).with_log_append_time(NOW).build();
    let message = "the producer must not set the timestamp type LogAppendTime";
    check_refused(&batch, &[], ErrorCode::InvalidTimestamp, message);
}

#[test]
fn compacted_topics_need_keys() {
    let mut builder = builder(Codec::None, 1);
    builder.append(NOW, None, None, &[]);
    let batch = builder.build();
    assert!(validate(&batch, &LogConfig::default()).is_ok());
    check_refused(
        &batch,
        &[("cleanup.policy", "compact")],
        ErrorCode::InvalidRecord,
        "1 records are refused; record 1: a compacted topic takes no record without key",
    );
}

#[test]
fn offsets_that_lie_are_refused() {
    let bytes = builder(Codec::None, 2).build();
    // The second record's offset delta stands behind the first record (60 bytes), length, attributes and time.
    let at = 61 + 60 + 3;
    assert_eq!(bytes[at], 2);
    check_refused(
        &patched(&bytes, at, &[4]),
        &[],
        ErrorCode::InvalidRecord,
        "the batch at byte 0: its record 1 has the offset delta 2",
    );
    check_refused(
        &patched(&patched(&bytes, 60, &[1]), 26, &[0]),
        &[],
        ErrorCode::InvalidRecord,
        "the batch at byte 0: 60 bytes are left after its 1 records",
    );
    check_refused(
        &patched(&patched(&bytes, 60, &[3]), 26, &[2]),
        &[],
        ErrorCode::InvalidRecord,
        "the batch at byte 0: its record 2 is cut off by the end of its batch or of its own length",
    );
    check_refused(
        &patched(&bytes, 60, &[3]),
        &[],
        ErrorCode::InvalidRecord,
        "the batch at byte 0: it counts 3 records, but its last offset delta is 1",
    );
}

#[test]
fn bombs_are_refused() {
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let mut builder = BatchBuilder::new(Compression::of(codec));
        builder.append(NOW, None, Some(&vec![0; 4 << 20]), &[]);
        let bytes = builder.build();
        assert!(bytes.len() < 1 << 20);
        let config = LogConfig::default();
        let rules = ValidationRules {
            decompressed_bytes_max: 1 << 20,
            ..ValidationRules::new(&config, NOW)
        };
        let rejection = validate_produced(&bytes, rules).unwrap_err();
        assert_eq!(rejection.code, ErrorCode::MessageTooLarge, "{codec:?}");
        assert!(validate(&bytes, &config).is_ok());
    }
}

#[test]
fn what_does_not_decompress_is_corrupt() {
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let bytes = builder(codec, 3).build();
        let rejection =
            validate(&patched(&bytes, bytes.len() - 12, &[0xff; 12]), &LogConfig::default());
        let rejection = rejection.unwrap_err();
        let codes = [ErrorCode::CorruptMessage, ErrorCode::InvalidRecord];
        assert!(codes.contains(&rejection.code), "{codec:?}: {rejection:?}");
    }
}

fn replicated(offset: i64) -> Bytes {
    builder(Codec::None, 2).with_base_offset(Offset::new(offset)).build()
}

#[test]
fn a_follower_takes_whole_batches_whose_offsets_rise() {
    let both = Bytes::from([replicated(10), replicated(20)].concat());
    let taken = |records: &Bytes, end| {
        validate_replicated(records, Offset::new(end)).map(|batches| batches.len())
    };
    assert_eq!(taken(&both, 10), Ok(2));
    assert_eq!(taken(&both, 5), Ok(2));
    assert_eq!(taken(&both.slice(..both.len() - 1), 10), Ok(1));
    let back = |position, base, next| {
        let (base_offset, next_offset) = (Offset::new(base), Offset::new(next));
        Err(ReplicatedError::OffsetBack { position, base_offset, next_offset })
    };
    assert_eq!(taken(&both, 11), back(0, 10, 11));
    let doubled = Bytes::from([replicated(10), replicated(11)].concat());
    assert_eq!(taken(&doubled, 10), back(181, 11, 12));
    let mut rotten = both.to_vec();
    *rotten.last_mut().unwrap() ^= 1;
    let error = taken(&Bytes::from(rotten), 10).unwrap_err();
    assert!(matches!(error, ReplicatedError::Batch(BatchError { position: 181, .. })));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(
        codec in prop::sample::select(&Codec::ALL[..]),
        damages in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        length in any::<prop::sample::Index>(),
    ) {
        let mut bytes = builder(codec, 3).build().to_vec();
        for (at, byte) in damages {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let bytes = patched(&Bytes::from(bytes), 0, &[]);
        let config = config(&[("compression.type", "zstd")]);
        for bytes in [bytes.clone(), bytes.slice(..length.index(bytes.len() + 1))] {
            if let Ok(batch) = validate(&bytes, &config) {
                read(&batch.stamp(Offset::new(5), LeaderEpoch::new(1)));
            }
            let _ = validate_replicated(&bytes, Offset::ZERO);
        }
    }
}
