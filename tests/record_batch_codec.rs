//! Our record batches held against those of the crate `kafka-protocol`, an independent codec: each reads what the other writes.
//!
//! That crate loses duplicate header names, so names differ here; our own tests repeat them. Its lz4 is the C library's.

use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression as TheirCompression, Record as TheirRecord, RecordBatchDecoder, RecordBatchEncoder,
    RecordEncodeOptions, TimestampType as TheirTimestampType,
};
use ottla::protocol::compression::{Codec, Compression};
use ottla::protocol::record_batch::{
    BatchBuilder, BatchProducer, RawBatch, RawBatches, Record, RecordHeader,
};
use ottla::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};
use proptest::prelude::*;

const DECOMPRESSED_BYTES_MAX: usize = 1 << 24;

/// What a batch is made of, in nobody's types.
#[derive(Clone, Debug)]
struct Parts {
    base_offset: i64,
    leader_epoch: i32,
    producer: Option<(i64, i16, i32)>,
    transactional: bool,
    records: Vec<RecordParts>,
}

#[derive(Clone, Debug)]
struct RecordParts {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

fn bytes(size_max: usize) -> impl Strategy<Value = Vec<u8>> {
    // Runs, so that there is something to compress.
    prop::collection::vec((any::<u8>(), 1usize..40), 0..size_max / 20).prop_map(|runs| {
        runs.iter().flat_map(|(byte, count)| std::iter::repeat_n(*byte, *count)).collect()
    })
}

fn record_parts() -> impl Strategy<Value = RecordParts> {
    (
        0i64..4_000_000_000_000,
        prop::option::of(bytes(60)),
        prop::option::of(bytes(4_000)),
        prop::collection::btree_map("[a-zü]{1,5}", prop::option::of(bytes(60)), 0..4),
    )
        .prop_map(|(timestamp, key, value, headers)| RecordParts {
            timestamp,
            key,
            value,
            headers: headers.into_iter().collect(),
        })
}

fn parts() -> impl Strategy<Value = Parts> {
    (
        0i64..1 << 50,
        0i32..1_000,
        prop::option::of((0i64..1 << 40, 0i16..i16::MAX, 0i32..1 << 30)),
        any::<bool>(),
        prop::collection::vec(record_parts(), 1..12),
    )
        .prop_map(|(base_offset, leader_epoch, producer, transactional, records)| Parts {
            base_offset,
            leader_epoch,
            producer,
            transactional: transactional && producer.is_some(),
            records,
        })
}

fn codecs() -> impl Strategy<Value = (Codec, TheirCompression)> {
    prop::sample::select(vec![
        (Codec::None, TheirCompression::None),
        (Codec::Gzip, TheirCompression::Gzip),
        (Codec::Snappy, TheirCompression::Snappy),
        (Codec::Lz4, TheirCompression::Lz4),
        (Codec::Zstd, TheirCompression::Zstd),
    ])
}

fn ours(parts: &Parts, codec: Codec) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::of(codec))
        .with_base_offset(Offset::new(parts.base_offset))
        .with_leader_epoch(LeaderEpoch::new(parts.leader_epoch));
    if parts.transactional {
        builder = builder.with_transactional();
    }
    if let Some((id, epoch, sequence)) = parts.producer {
        builder.set_producer(BatchProducer {
            id: ProducerId::new(id),
            epoch: ProducerEpoch::new(epoch),
            base_sequence: Some(Sequence::new(sequence)),
        });
    }
    for record in &parts.records {
        let headers: Vec<_> = record.headers.iter().map(our_header).collect();
        builder.append(
            Timestamp::from_millis(record.timestamp),
            record.key.as_deref(),
            record.value.as_deref(),
            &headers,
        );
    }
    builder.build()
}

fn our_header((key, value): &(String, Option<Vec<u8>>)) -> RecordHeader {
    RecordHeader { key: key.clone(), value: value.clone().map(Bytes::from) }
}

fn our_records(parts: &Parts) -> Vec<Record> {
    parts
        .records
        .iter()
        .zip(0..)
        .map(|(record, index)| Record {
            offset: Offset::new(parts.base_offset) + index,
            timestamp: Timestamp::from_millis(record.timestamp),
            key: record.key.clone().map(Bytes::from),
            value: record.value.clone().map(Bytes::from),
            headers: record.headers.iter().map(our_header).collect(),
        })
        .collect()
}

fn their_records(parts: &Parts) -> Vec<TheirRecord> {
    let (producer_id, producer_epoch, base_sequence) = parts.producer.unwrap_or((-1, -1, -1));
    parts
        .records
        .iter()
        .zip(0..)
        .map(|(record, index)| TheirRecord {
            transactional: parts.transactional,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: parts.leader_epoch,
            producer_id,
            producer_epoch,
            timestamp_type: TheirTimestampType::Creation,
            offset: parts.base_offset + i64::from(index),
            sequence: base_sequence + index,
            timestamp: record.timestamp,
            key: record.key.clone().map(Bytes::from),
            value: record.value.clone().map(Bytes::from),
            headers: record
                .headers
                .iter()
                .map(|(key, value)| {
                    (StrBytes::from_string(key.clone()), value.clone().map(Bytes::from))
                })
                .collect(),
        })
        .collect()
}

proptest! {
    #[test]
    fn they_read_what_we_write(parts in parts(), (codec, their_codec) in codecs()) {
        let mut batch = ours(&parts, codec);
        let read = RecordBatchDecoder::decode(&mut batch).unwrap();
        prop_assert_eq!(read.compression, their_codec);
        prop_assert_eq!(read.records, their_records(&parts));
    }

    #[test]
    fn we_read_what_they_write(parts in parts(), (codec, compression) in codecs()) {
        let mut out = BytesMut::new();
        let options = RecordEncodeOptions { version: 2, compression };
        RecordBatchEncoder::encode(&mut out, &their_records(&parts), &options).unwrap();
        let batches: Vec<RawBatch> =
            RawBatches::new(out.freeze()).collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(batches.len(), 1);
        let batch = &batches[0];
        prop_assert_eq!(batch.verify_crc(), Ok(()));
        prop_assert_eq!(batch.header.codec, codec);
        prop_assert_eq!(batch.header.leader_epoch, Some(LeaderEpoch::new(parts.leader_epoch)));
        prop_assert_eq!(batch.header.is_transactional(), parts.transactional);
        let producer = batch.header.producer_stamp().map(|stamp| {
            (stamp.id.value(), stamp.epoch.value(), stamp.base_sequence.value())
        });
        prop_assert_eq!(producer, parts.producer);
        let largest = parts.records.iter().map(|record| record.timestamp).max();
        prop_assert_eq!(batch.header.max_timestamp.map(Timestamp::millis), largest);
        let read: Vec<Record> =
            batch.records(DECOMPRESSED_BYTES_MAX).unwrap().collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(read, our_records(&parts));
    }

    #[test]
    fn without_compression_and_with_rising_times_the_bytes_are_the_same(parts in parts()) {
        let mut parts = parts;
        parts.records.sort_by_key(|record| record.timestamp);
        let mut out = BytesMut::new();
        let options = RecordEncodeOptions { version: 2, compression: TheirCompression::None };
        RecordBatchEncoder::encode(&mut out, &their_records(&parts), &options).unwrap();
        prop_assert_eq!(ours(&parts, Codec::None), out.freeze());
    }
}
