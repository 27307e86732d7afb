//! What a consumer is given lies where the socket put it: counted by where values, keys and headers lie in memory.

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use ottla::client::{
    Consumer, ConsumerConfig, ConsumerRecord, Producer, ProducerConfig, ProducerRecord,
};
use ottla::runtime::{BoxFuture, Env, Listener, Net, Stream};
use ottla::types::{Offset, PartitionIndex};

use super::copies::{Probe, ProbedStream, range};
use crate::members::on_a_node;
use crate::members_support::{PATIENCE, TOPIC, orders};
use crate::support::{Heard, env};

/// A client's network, whose sockets say where they put bytes.
struct Dialled(Arc<dyn Net>, Arc<Probe>);

impl Net for Dialled {
    fn listen(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        self.0.listen(address)
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let (connect, probe) = (self.0.connect(address), self.1.clone());
        Box::pin(async move {
            let stream: Box<dyn Stream> = Box::new(ProbedStream(connect.await?, probe));
            Ok(stream)
        })
    }

    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        self.0.resolve(host, port)
    }
}

/// Sizes of values in bytes: many in a batch, one in a batch, and as large as a request may be.
const SIZES: [(usize, usize); 5] =
    [(1, 200), (900, 200), (16_000, 40), (150_000, 12), (900_000, 5)];
/// Each partition of the topic has so many records before.
const BEFORE: i64 = 10;

/// Writes the values; how many.
async fn write(bootstrap: &str, codec: &str) -> usize {
    let properties =
        [("bootstrap.servers", bootstrap), ("compression.type", codec), ("linger.ms", "20")];
    let config = ProducerConfig::new(properties).unwrap();
    let producer = Producer::new(config, env(Arc::new(Heard::default())));
    let mut deliveries = Vec::new();
    for (size, count) in SIZES {
        for number in 0..count {
            let value: Vec<u8> =
                (0..size).map(|at| u8::try_from((at * 7 + number) % 251).unwrap()).collect();
            let record = ProducerRecord::new(TOPIC, value)
                .partition(PartitionIndex::new(0))
                .key(format!("key {number}"))
                .header("header", "its value");
            deliveries.push(producer.send(record).await.unwrap());
        }
    }
    let count = deliveries.len();
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    producer.close(PATIENCE).await;
    count
}

/// Reads them; none is given back before all are there, or its memory would be used again and tell nothing.
async fn read(bootstrap: &str, probe: &Arc<Probe>, count: usize) -> Vec<ConsumerRecord> {
    let config = ConsumerConfig::new([("bootstrap.servers", bootstrap)]).unwrap();
    let env = env(Arc::new(Heard::default()));
    let net = Arc::new(Dialled(env.net.clone(), probe.clone()));
    let mut consumer = Consumer::new(config, Env { net, ..env });
    consumer.assign(vec![orders(0)]);
    consumer.seek(&orders(0), Offset::new(BEFORE)).unwrap();
    let (mut records, start) = (Vec::new(), Instant::now());
    while records.len() < count {
        records.extend(consumer.poll(PATIENCE).await.unwrap());
        assert!(start.elapsed() < PATIENCE, "{} of {count} records came", records.len());
    }
    consumer.close().await;
    records
}

/// How many bytes of the range no socket put there.
fn moved(of: &Range<usize>, received: &[Range<usize>]) -> usize {
    let mut at = of.start;
    let mut moved = 0;
    for one in received.iter().filter(|one| one.start < of.end && of.start < one.end) {
        moved += one.start.saturating_sub(at);
        at = at.max(one.end);
    }
    moved + of.end.saturating_sub(at)
}

fn slices(record: &ConsumerRecord) -> Vec<&Bytes> {
    let headers = record.headers.iter().filter_map(|(_, value)| value.as_ref());
    record.key.iter().chain(&record.value).chain(headers).collect()
}

#[test]
fn what_a_consumer_is_given_lies_where_the_socket_put_it() {
    on_a_node(&[], async |bootstrap| {
        let probe = Arc::new(Probe::default());
        let count = write(&bootstrap, "none").await;
        let records = read(&bootstrap, &probe, count).await;
        let mut received = std::mem::take(&mut *probe.received.lock().unwrap());
        received.sort_by_key(|one| (one.start, one.end));
        let all = || records.iter().flat_map(slices);
        let bytes: usize = all().map(Bytes::len).sum();
        assert!(bytes > 6_000_000, "{bytes}");
        let moved: usize = all().map(|one| moved(&range(one), &received)).sum();
        assert_eq!(moved, 0, "of {bytes} bytes of keys, values and headers");
    });
}

/// The one copy of compressed records is what decompressing makes: all of a batch in one block.
#[test]
fn compressed_records_are_slices_of_the_decompressed_batch() {
    on_a_node(&[], async |bootstrap| {
        let probe = Arc::new(Probe::default());
        let count = write(&bootstrap, "lz4").await;
        let records = read(&bootstrap, &probe, count).await;
        let small: Vec<&ConsumerRecord> = records
            .iter()
            .filter(|one| one.value.as_ref().is_some_and(|v| v.len() == 900))
            .collect();
        assert_eq!(small.len(), 200);
        let next_to = small.windows(2).filter(|pair| {
            let [first, second] = [0, 1].map(|at| range(pair[at].value.as_ref().unwrap()));
            second.start > first.end && second.start - first.end < 100
        });
        // A batch of 16 KB holds eighteen of them or more.
        let apart = 199 - next_to.count();
        assert!(apart <= 200 / 16, "{apart} of 199 do not lie behind the one before");
    });
}
