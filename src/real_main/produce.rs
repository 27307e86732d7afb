//! `ottla produce`: lines become records.

use std::io::BufRead;
use std::time::Duration;

use ottla::client::{Producer, ProducerConfig, ProducerRecord, SendError};
use ottla::types::PartitionIndex;
use tokio::sync::mpsc;

use super::args::{Global, ProduceArgs};
use super::client::{block_on, from_client, properties, wrong_property};
use super::failure::{Exit, Failure};

/// Lines read ahead of the producer.
const LINES_AHEAD: usize = 1024;

/// Runs it.
pub(crate) fn run(global: &Global, args: ProduceArgs) -> Result<(), Failure> {
    let own = [("acks", args.acks.as_str()), ("compression.type", args.compression.as_str())];
    let config = ProducerConfig::from_properties(&properties(global, &own)?)
        .map_err(|error| wrong_property(&error))?;
    let partition =
        match args.partition {
            None => None,
            Some(number) => Some(PartitionIndex::from_wire(number).ok_or_else(|| {
                Failure::new(Exit::Usage, format!("there is no partition {number}"))
            })?),
        };
    let mut lines = read_lines(args.file.clone());
    block_on(|env| async move {
        let producer = Producer::new(config, env);
        let mut deliveries = std::collections::VecDeque::new();
        let (mut sent, mut failures) = (0u64, Vec::new());
        while let Some(line) = lines.recv().await {
            let line = line
                .map_err(|error| Failure::new(Exit::Failed, "cannot read the input").why(error))?;
            let record = record_of(&args, partition, &line)?;
            let delivery = producer.send(record).await;
            deliveries.push_back(delivery.map_err(|error| {
                from_client(global, &format!("cannot write to {}", args.topic), &error)
            })?);
            sent += 1;
            while deliveries.len() > 10_000 {
                let oldest = deliveries.pop_front().expect("it is not empty");
                failures.extend(oldest.await.err());
            }
        }
        producer.flush().await;
        for delivery in deliveries {
            failures.extend(delivery.await.err());
        }
        producer.close(Duration::from_secs(global.timeout)).await;
        outcome(global, &args.topic, sent, &failures)
    })
}

fn outcome(global: &Global, topic: &str, sent: u64, failures: &[SendError]) -> Result<(), Failure> {
    match failures.first() {
        Some(first) => Err(Failure::new(
            Exit::Refused,
            format!("{} of {sent} records were not acknowledged", failures.len()),
        )
        .place(format!("{topic} at {}", global.bootstrap_server))
        .why(first)),
        None if global.quiet => Ok(()),
        None => {
            eprintln!("{sent} records written to {topic}");
            Ok(())
        }
    }
}

fn record_of(
    args: &ProduceArgs,
    partition: Option<PartitionIndex>,
    line: &[u8],
) -> Result<ProducerRecord, Failure> {
    let (key, value) = match &args.key_separator {
        None => (args.key.as_ref().map(|key| key.as_bytes().to_vec()), line.to_vec()),
        Some(separator) => {
            let at = line
                .windows(separator.len().max(1))
                .position(|window| window == separator.as_bytes());
            let at = at.ok_or_else(|| {
                Failure::new(Exit::Usage, format!("a line without the separator `{separator}`"))
                    .place(String::from_utf8_lossy(line).into_owned())
                    .next("each line is KEY, the separator, VALUE")
            })?;
            (Some(line[..at].to_vec()), line[at + separator.len()..].to_vec())
        }
    };
    let mut record = ProducerRecord::new(args.topic.as_str(), value);
    record.key = key.map(Into::into);
    record.partition = partition;
    for header in &args.headers {
        let (name, value) = match header.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.as_bytes().to_vec().into())),
            None => (header.clone(), None),
        };
        record.headers.push((name, value));
    }
    Ok(record)
}

/// The lines of the file or of standard input, read on a thread of their own: reading a terminal blocks.
#[expect(clippy::disallowed_methods, reason = "the command's own thread, outside the node's world")]
fn read_lines(file: Option<std::path::PathBuf>) -> mpsc::Receiver<std::io::Result<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel(LINES_AHEAD);
    std::thread::spawn(move || {
        let mut input: Box<dyn BufRead> = match file {
            None => Box::new(std::io::stdin().lock()),
            Some(path) => match std::fs::File::open(path) {
                Ok(file) => Box::new(std::io::BufReader::new(file)),
                Err(error) => {
                    let _ = sender.blocking_send(Err(error));
                    return;
                }
            },
        };
        loop {
            let mut line = Vec::new();
            match input.read_until(b'\n', &mut line) {
                Ok(0) => return,
                Ok(_) => {
                    if line.last() == Some(&b'\n') {
                        line.pop();
                    }
                    if sender.blocking_send(Ok(line)).is_err() {
                        return;
                    }
                }
                Err(error) => {
                    let _ = sender.blocking_send(Err(error));
                    return;
                }
            }
        }
    });
    receiver
}
