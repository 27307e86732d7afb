//! `ottla bench consume`.

use bytes::{Bytes, BytesMut};
use ottla::protocol::ApiKey;
use ottla::protocol::frame::{decode_response, decode_response_header, take_frame};
use ottla::protocol::messages::FetchResponse;
use ottla::protocol::record_batch::RawBatches;
use ottla::protocol::wire::Reader;
use ottla::types::Offset;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::frames::{self, FETCH_VERSION};
use super::{address, connect, cpu_of, cut_off, now, print_server_cost};
use crate::real_main::args::{BenchConsumeArgs, Global};
use crate::real_main::failure::{Exit, Failure};

/// Reads partition 0 from its start and prints Kafka's CSV lines (Kafka: `ConsumerPerformance`).
pub(super) async fn run(global: &Global, args: &BenchConsumeArgs) -> Result<(), Failure> {
    let mut stream = connect(address(global)).await?;
    let before = args.pid.and_then(cpu_of);
    let began = now();
    let (mut offset, mut records, mut bytes, mut requests) = (Offset::ZERO, 0u64, 0u64, 0u64);
    let mut buffer = BytesMut::with_capacity(1 << 21);
    while records < args.messages {
        let answer = ask(&mut stream, &mut buffer, &args.topic, offset, args.fetch_size).await?;
        requests += 1;
        if answer.is_empty() {
            break;
        }
        bytes += answer.len() as u64;
        for batch in RawBatches::new(answer) {
            let batch = batch.map_err(cut_off)?;
            records += u64::from(batch.header.record_count);
            offset = batch.header.end_offset();
        }
    }
    let took = now().duration_since(began).as_secs_f64();
    println!("data.consumed.in.MB, MB.sec, data.consumed.in.nMsg, nMsg.sec, fetch.time.ms");
    let megabytes = bytes as f64 / 1_048_576.0;
    println!(
        "{megabytes:.4}, {:.4}, {records}, {:.4}, {:.0}",
        megabytes / took,
        records as f64 / took,
        took * 1e3
    );
    if let Some(pid) = args.pid {
        print_server_cost(pid, before, bytes, requests, records);
    }
    Ok(())
}

/// One fetch: the batches it brought.
async fn ask(
    stream: &mut TcpStream,
    buffer: &mut BytesMut,
    topic: &str,
    offset: Offset,
    bytes_max: i32,
) -> Result<Bytes, Failure> {
    let frame = frames::fetch(topic, offset, bytes_max);
    stream.write_all(&frame).await.map_err(cut_off)?;
    loop {
        if let Some(frame) = take_frame(buffer, usize::MAX >> 1).map_err(cut_off)? {
            return records_of(frame);
        }
        buffer.reserve(1 << 18);
        if stream.read_buf(buffer).await.map_err(cut_off)? == 0 {
            return Err(cut_off("the server closed the connection"));
        }
    }
}

fn records_of(frame: Bytes) -> Result<Bytes, Failure> {
    let mut answer = Reader::new(frame);
    decode_response_header(ApiKey::Fetch, FETCH_VERSION, &mut answer).map_err(cut_off)?;
    let response: FetchResponse = decode_response(FETCH_VERSION, &mut answer).map_err(cut_off)?;
    let partition = response.responses.into_iter().flat_map(|topic| topic.partitions).next();
    let partition = partition.ok_or_else(|| cut_off("an answer without the partition"))?;
    if !partition.error_code.is_none() {
        return Err(Failure::new(
            Exit::Refused,
            format!("the broker refused the fetch: {}", partition.error_code),
        )
        .next("does the topic exist? ottla topic create bench -p 1"));
    }
    Ok(partition.records.map_or_else(Bytes::new, |records| records.to_bytes()))
}
