//! `ottla bench produce`.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use ottla::protocol::ApiKey;
use ottla::protocol::frame::{decode_response, decode_response_header, take_frame};
use ottla::protocol::messages::ProduceResponse;
use ottla::protocol::wire::Reader;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::frames::{self, CORRELATION_AT, PRODUCE_VERSION};
use super::{address, connect, cpu_of, cut_off, now, print_server_cost};
use crate::real_main::args::{BenchProduceArgs, Global};
use crate::real_main::failure::{Exit, Failure};

/// Answers are small.
const RESPONSE_BYTES_MAX: usize = 1 << 20;

/// Sends the records and prints the summary.
pub(super) async fn run(global: &Global, args: &BenchProduceArgs) -> Result<(), Failure> {
    let acks: i16 = match args.acks.as_str() {
        "all" | "-1" => -1,
        "1" => 1,
        "0" => 0,
        other => {
            return Err(Failure::new(Exit::Usage, format!("acks={other} is not one of 0, 1, all")));
        }
    };
    let (frame, records) = frames::produce(&args.topic, args.record_size, args.batch_size, acks);
    let connections = u64::try_from(args.connections.max(1)).unwrap_or(1);
    let requests = args.num_records.div_ceil(records * connections);
    let before = args.pid.and_then(cpu_of);
    let began = now();
    let mut tasks = Vec::new();
    for _ in 0..connections {
        let stream = connect(address(global)).await?;
        let load = Load {
            frame: frame.clone(),
            requests,
            in_flight: args.in_flight.max(1),
            answered: acks != 0,
            checked: !args.echo,
        };
        tasks.push(ottla::runtime::task::spawn(load.run(stream)));
    }
    let mut latencies = Vec::new();
    for task in tasks {
        let of_one = task.join().await.ok_or_else(|| cut_off("the connection's task ended"))?;
        latencies.extend(of_one?);
    }
    let took = now().duration_since(began).as_secs_f64();
    latencies.sort_unstable();
    let total_requests = requests * connections;
    let sent = total_requests * records;
    let bytes = sent * u64::try_from(args.record_size).unwrap_or(0);
    print_summary(sent, bytes, took, &latencies);
    if let Some(pid) = args.pid {
        print_server_cost(pid, before, bytes, total_requests, sent);
    }
    Ok(())
}

/// Kafka's own summary line (Kafka: `ProducerPerformance.Stats.printTotal`), in milliseconds.
fn print_summary(records: u64, bytes: u64, seconds: f64, latencies: &[Duration]) {
    let at = |permille: usize| {
        latencies.get((latencies.len() * permille / 1000).min(latencies.len().saturating_sub(1)))
    };
    let millis = |permille: usize| at(permille).map_or(0.0, |latency| latency.as_secs_f64() * 1e3);
    let average = latencies.iter().map(Duration::as_secs_f64).sum::<f64>() * 1e3
        / latencies.len().max(1) as f64;
    println!(
        "{records} records sent, {:.1} records/sec ({:.2} MB/sec), {average:.2} ms avg latency, {:.2} ms max latency, {:.2} ms 50th, {:.2} ms 95th, {:.2} ms 99th, {:.2} ms 99.9th.",
        records as f64 / seconds,
        bytes as f64 / seconds / 1_048_576.0,
        millis(1000),
        millis(500),
        millis(950),
        millis(990),
        millis(999),
    );
}

/// One connection's part.
struct Load {
    frame: BytesMut,
    requests: u64,
    in_flight: usize,
    /// acks=0 gets no answers.
    answered: bool,
    /// Whether answers are read in full, for their error codes.
    checked: bool,
}

impl Load {
    async fn run(mut self, mut stream: TcpStream) -> Result<Vec<Duration>, Failure> {
        let mut latencies = Vec::with_capacity(usize::try_from(self.requests).unwrap_or(0));
        let mut waiting: VecDeque<(i32, Instant)> = VecDeque::new();
        let mut buffer = BytesMut::with_capacity(1 << 16);
        let mut sent = 0u64;
        while sent < self.requests || !waiting.is_empty() {
            while sent < self.requests && waiting.len() < self.in_flight {
                let correlation = i32::try_from(sent & 0x7fff_ffff).unwrap_or(0);
                self.frame[CORRELATION_AT..CORRELATION_AT + 4]
                    .copy_from_slice(&correlation.to_be_bytes());
                if self.answered {
                    waiting.push_back((correlation, now()));
                }
                stream.write_all(&self.frame).await.map_err(cut_off)?;
                sent += 1;
            }
            if waiting.is_empty() {
                continue;
            }
            if stream.read_buf(&mut buffer).await.map_err(cut_off)? == 0 {
                return Err(cut_off("the server closed the connection"));
            }
            while let Some(frame) = take_frame(&mut buffer, RESPONSE_BYTES_MAX).map_err(cut_off)? {
                let (expected, began) =
                    waiting.pop_front().ok_or_else(|| cut_off("an answer to nothing"))?;
                latencies.push(now().duration_since(began));
                check(self.checked, expected, Reader::new(frame))?;
            }
        }
        Ok(latencies)
    }
}

fn check(in_full: bool, expected: i32, mut answer: Reader) -> Result<(), Failure> {
    let correlation =
        decode_response_header(ApiKey::Produce, PRODUCE_VERSION, &mut answer).map_err(cut_off)?;
    if correlation != expected {
        return Err(cut_off(format!("answer {correlation} came where {expected} was due")));
    }
    if !in_full {
        return Ok(());
    }
    let response: ProduceResponse =
        decode_response(PRODUCE_VERSION, &mut answer).map_err(cut_off)?;
    let partitions = response.responses.iter().flat_map(|topic| &topic.partition_responses);
    match partitions.into_iter().find(|partition| !partition.error_code.is_none()) {
        None => Ok(()),
        Some(refused) => Err(Failure::new(
            Exit::Refused,
            format!("the broker refused a batch: {}", refused.error_code),
        )
        .next("does the topic exist? ottla topic create bench -p 1")),
    }
}
