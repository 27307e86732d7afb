//! What a broker does with a producer's batch of 16 KB before it is written: check it, stamp it.

use bytes::Bytes;
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use ottla::log::LogConfig;
use ottla::log::validator::{ValidationRules, validate_produced};
use ottla::protocol::compression::{Codec, Compression};
use ottla::protocol::record_batch::{BatchBuilder, RawBatch, crc32c};
use ottla::types::{LeaderEpoch, Offset, Timestamp};

/// The time at which everything happens.
const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// Records of one size in a batch.
#[derive(Clone, Copy, Debug)]
enum Shape {
    /// 16 records of 1,000 bytes.
    Large,
    /// 160 records of 92 bytes.
    Small,
    /// The latter, compressed by the producer.
    SmallLz4,
}

const SHAPES: [Shape; 3] = [Shape::Large, Shape::Small, Shape::SmallLz4];

/// A batch of about 16 KB. The values are text that compresses about as well as JSON does.
pub(crate) fn build(count: u32, bytes: usize, compression: Compression) -> Bytes {
    let mut builder = BatchBuilder::new(compression);
    for index in 0..count {
        let mut value =
            format!("{{\"order\":{},\"customer\":\"c{}\"}}", index, index * 7919 % 1000);
        while value.len() < bytes {
            value.push_str(&format!("{:x}", value.len().wrapping_mul(2_654_435_761)));
        }
        value.truncate(bytes);
        builder.append(NOW, None, Some(value.as_bytes()), &[]);
    }
    builder.build()
}

impl Shape {
    fn batch(self) -> Bytes {
        match self {
            Self::Large => build(16, 1000, Compression::NONE),
            Self::Small => build(160, 92, Compression::NONE),
            Self::SmallLz4 => build(160, 92, Compression::of(Codec::Lz4)),
        }
    }
}

#[divan::bench(args = SHAPES)]
fn validate_and_stamp(bencher: Bencher<'_, '_>, shape: Shape) {
    let (batch, config) = (shape.batch(), LogConfig::default());
    bencher.counter(BytesCount::new(batch.len())).bench_local(|| {
        let checked = validate_produced(black_box(&batch), ValidationRules::new(&config, NOW));
        checked.expect("a sound batch").stamp(Offset::new(42), LeaderEpoch::new(3))
    });
}

/// The part of the above that is the checksum: the floor.
#[divan::bench(args = SHAPES)]
fn checksum(bencher: Bencher<'_, '_>, shape: Shape) {
    let batch = shape.batch();
    bencher.counter(BytesCount::new(batch.len())).bench_local(|| crc32c(black_box(&batch[21..])));
}

/// The part of the above that reads no record.
#[divan::bench]
fn stamp_alone(bencher: Bencher<'_, '_>) {
    let batch = RawBatch::parse(&Shape::Large.batch()).expect("a sound batch");
    bencher.bench_local(|| black_box(&batch).stamp(Offset::new(42), LeaderEpoch::new(3)));
}

/// What a producer does.
#[divan::bench]
fn build_16_of_1000_bytes(bencher: Bencher<'_, '_>) {
    let value = vec![b'x'; 1000];
    bencher.counter(BytesCount::new(16_000u32)).bench_local(|| {
        let mut builder = BatchBuilder::new(Compression::NONE).with_capacity(16_384);
        for _ in 0..16 {
            builder.append(NOW, None, Some(black_box(&value)), &[]);
        }
        builder.build()
    });
}
