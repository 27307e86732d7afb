//! Serving a fetch from files, against `pread` + checksum + `write` of as many bytes.

use std::io::{IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use ottla::protocol::frame::encode_response;
use ottla::protocol::messages::FetchResponse;
use ottla::protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use ottla::protocol::record_batch::crc32c;
use ottla::protocol::{ApiKey, Records};
use ottla::replica::driver::{PartitionHandle, ReadRequest, ReadUpTo};
use ottla::types::{Acks, Offset};

use super::disk::Segments;
use super::partition::{Broker, RECORDS, batch};
use super::{CpuClock, median};

/// The log that is read: 66 MB, in the page cache.
const BATCHES: usize = 4_096;

/// Measures and prints.
pub(crate) fn run(dir: &Path, rounds: usize) {
    let dir = dir.join("read");
    std::fs::create_dir(&dir).expect("a directory can be made");
    let mut broker = Broker::open(&dir, Segments::Fresh, 0);
    let partition = broker.partition();
    let batch = batch();
    for _ in 0..BATCHES {
        let mut appending = partition.append(&Records::from(batch.clone()), Acks::Leader);
        appending.take_ready().expect("written at once").expect("a sound batch");
    }
    let path = broker.dir_of(&partition).join("00000000000000000000.log");
    let file = std::fs::File::open(path).expect("the segment is there");
    for batches in [1, 64] {
        let bytes = batches * batch.len();
        let (mut socket, reader) = sink();
        let mut measured = Vec::new();
        for round in 0..=rounds {
            let raw = raw(&file, &mut socket, bytes);
            let ours = ours(&broker, &partition, &mut socket, batches, bytes);
            if round > 0 {
                measured.push((raw, ours));
            }
        }
        drop(socket);
        reader.join().expect("it reads to the end");
        println!(
            "read of {bytes} bytes, CPU us: pread + checksum + write {:.2}, fetch {:.2}, ratio {:.2}  (budget 1.3)",
            median(measured.iter().map(|(raw, _)| *raw)),
            median(measured.iter().map(|(_, ours)| *ours)),
            median(measured.iter().map(|(raw, ours)| ours / raw)),
        );
    }
}

/// A loopback connection whose other end is read and thrown away, by another thread.
#[expect(clippy::disallowed_methods, reason = "a benchmark stands outside the node's world")]
fn sink() -> (TcpStream, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it has an address");
    let socket = TcpStream::connect(address).expect("it listens");
    let (mut other, _) = listener.accept().expect("it is connected");
    let reader = std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 18];
        while other.read(&mut buffer).is_ok_and(|count| count > 0) {}
    });
    (socket, reader)
}

fn raw(file: &std::fs::File, socket: &mut TcpStream, bytes: usize) -> f64 {
    let batch_bytes = batch().len();
    let reads = BATCHES * batch_bytes / bytes;
    let mut buffer = vec![0; bytes];
    let began = CpuClock::now();
    for index in 0..reads {
        file.read_exact_at(&mut buffer, (index * bytes) as u64).expect("it is there");
        for batch in buffer.chunks(batch_bytes) {
            assert_eq!(crc32c(&batch[21..]).to_be_bytes(), batch[17..21]);
        }
        socket.write_all(&buffer).expect("the other end reads");
    }
    began.micros(reads)
}

/// What a broker does between a decoded request and the socket.
fn ours(
    broker: &Broker,
    partition: &Arc<PartitionHandle>,
    socket: &mut TcpStream,
    batches: usize,
    bytes: usize,
) -> f64 {
    let reads = BATCHES / batches;
    broker.run(async {
        let mut offset = 0;
        let began = CpuClock::now();
        for _ in 0..reads {
            let request = ReadRequest {
                offset: Offset::new(offset),
                max_bytes: bytes,
                first_batch_whole: true,
                up_to: ReadUpTo::HighWatermark,
                leader_epoch: None,
            };
            let answer = partition.read(request).await.expect("it is there");
            assert_eq!(answer.records.len(), bytes);
            write_all(socket, &frame(answer.records));
            offset += i64::try_from(RECORDS).expect("few") * i64::try_from(batches).expect("few");
        }
        began.micros(reads)
    })
}

fn frame(records: Records) -> Vec<bytes::Bytes> {
    let partition = PartitionData { records: Some(records), ..Default::default() };
    let topic = FetchableTopicResponse {
        topic: "bench".to_owned(),
        partitions: vec![partition],
        ..Default::default()
    };
    let response = FetchResponse { responses: vec![topic], ..Default::default() };
    encode_response(7, ApiKey::Fetch, 12, &response).expect("it can be carried")
}

/// One vectored write after another until all is written.
fn write_all(socket: &mut TcpStream, slices: &[bytes::Bytes]) {
    let mut list: Vec<IoSlice<'_>> = slices.iter().map(|slice| IoSlice::new(slice)).collect();
    let mut left = &mut list[..];
    while !left.is_empty() {
        let written = socket.write_vectored(left).expect("the other end reads");
        IoSlice::advance_slices(&mut left, written);
    }
}
