//! A client that reads partitions it assigns itself, and the last reader of a run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ottla::client::{Admin, AdminConfig, ClientError, Consumer, ConsumerConfig, ConsumerRecord};
use ottla::protocol::OffsetSpec;
use ottla::runtime::clock;
use ottla::types::{Offset, TopicPartition};
use rand::RngExt;

use super::{Client, code_of};
use crate::history::{CorruptRead, FinalOffsets, Poll, PollCall, Read, content_hash, decode_value};
use crate::scenario::plan::StartFrom;
use crate::world::SimTime;

/// How long a poll of the last reader waits for records.
const POLL: Duration = Duration::from_millis(500);
/// How long a client waits after a call that failed.
pub(super) const PAUSE: Duration = Duration::from_millis(200);

/// What a consumer client is to do.
pub struct ConsumerWork {
    /// What it reads.
    pub partitions: Vec<TopicPartition>,
    /// Where it begins.
    pub from: StartFrom,
    /// How long a poll waits for its first record.
    pub poll_timeout: Duration,
    /// Draws how long it reads on until it goes elsewhere in one of the partitions; `None` for never.
    pub seek_every: Option<Box<dyn FnMut() -> Duration + Send>>,
}

/// Where a client went since its last poll that gave records.
#[derive(Default)]
struct Moved {
    repositioned: Vec<TopicPartition>,
    seeks: Vec<(TopicPartition, Offset)>,
}

impl ConsumerWork {
    /// Reads until it is asked to stop.
    pub async fn run(mut self, mut client: Client) {
        let properties = client.all_properties(&[("auto.offset.reset", self.from.name())]);
        let config =
            ConsumerConfig::from_properties(&properties).expect("the scenario was checked");
        let mut consumer = Consumer::new(config, client.env.clone());
        consumer.assign(self.partitions.clone());
        let mut moved = Moved { repositioned: self.partitions.clone(), ..Moved::default() };
        let mut rng = client.env.rng("seeks");
        let mut draw = self.seek_every.take();
        let mut next_seek = draw.as_mut().map(|draw| (client.now)() + draw());
        loop {
            let asked_at = (client.now)();
            let polled = tokio::select! {
                biased;
                () = client.asked_to_stop() => None,
                polled = consumer.poll(self.poll_timeout) => Some(polled),
            };
            match polled {
                None => break,
                Some(Ok(records)) => {
                    note_call(&client, asked_at, records.len());
                    note_poll_after(&client, &records, &mut moved);
                }
                Some(Err(error)) => {
                    note_error(&client, &error);
                    clock::sleep(client.env.clock.as_ref(), PAUSE).await;
                }
            }
            if next_seek.is_some_and(|at| (client.now)() >= at) {
                let partition = &self.partitions[rng.random_range(0..self.partitions.len())];
                let to = rng.random_range(0..3);
                let mut stop = client.clone();
                let sought = tokio::select! {
                    biased;
                    () = stop.asked_to_stop() => break,
                    sought = go_elsewhere(&mut consumer, partition, to, &mut moved) => sought,
                };
                if let Err(error) = sought {
                    note_error(&client, &error);
                }
                next_seek = draw.as_mut().map(|draw| (client.now)() + draw());
            }
        }
        consumer.close().await;
    }
}

/// Writes down how long a poll took.
pub(super) fn note_call(client: &Client, asked_at: SimTime, records: usize) {
    let call = PollCall {
        client: Arc::clone(&client.name),
        asked_at,
        done_at: (client.now)(),
        records: records as u64,
    };
    client.history.lock().calls.push(call);
}

/// Goes to the start of a log, to its end, or to the middle; waits until it is known where that is.
async fn go_elsewhere(
    consumer: &mut Consumer,
    partition: &TopicPartition,
    to: u32,
    moved: &mut Moved,
) -> Result<(), ClientError> {
    let one = std::slice::from_ref(partition);
    match to {
        0 => consumer.seek_to_beginning(one)?,
        1 => consumer.seek_to_end(one)?,
        _ => {
            let start = consumer.beginning_offsets(one).await?.get(partition).copied();
            let end = consumer.end_offsets(one).await?.get(partition).copied();
            let (Some(start), Some(end)) = (start, end) else { return Ok(()) };
            consumer.seek(partition, start + end.saturating_distance(start) / 2)?;
        }
    }
    moved.seeks.retain(|(of, _)| of != partition);
    moved.repositioned.push(partition.clone());
    let at = consumer.position(partition).await?;
    moved.seeks.push((partition.clone(), at));
    Ok(())
}

/// Writes down what a poll gave, if it gave anything.
pub(super) fn note_poll(
    client: &Client,
    records: &[ConsumerRecord],
    repositioned: &mut Vec<TopicPartition>,
) {
    let mut moved = Moved { repositioned: std::mem::take(repositioned), seeks: Vec::new() };
    note_poll_after(client, records, &mut moved);
    *repositioned = moved.repositioned;
}

fn note_poll_after(client: &Client, records: &[ConsumerRecord], moved: &mut Moved) {
    if records.is_empty() {
        return;
    }
    let records = records.iter().map(read_of).collect();
    let Moved { repositioned, seeks } = std::mem::take(moved);
    let (client_name, at) = (Arc::clone(&client.name), (client.now)());
    let poll = Poll { client: client_name, at, records, repositioned, seeks };
    client.history.lock().polls.push(poll);
}

fn read_of(record: &ConsumerRecord) -> Read {
    let key = record.key.as_deref().unwrap_or(&[]);
    let value = record.value.as_deref().unwrap_or(&[]);
    let mut parts: Vec<&[u8]> = Vec::with_capacity(3 + 2 * record.headers.len());
    parts.extend([key, value]);
    for (name, header) in &record.headers {
        parts.push(name.as_bytes());
        parts.push(header.as_deref().unwrap_or(&[]));
    }
    let timestamp = record.timestamp.millis().to_be_bytes();
    parts.push(&timestamp);
    Read {
        partition: record.topic_partition(),
        offset: record.offset,
        id: decode_value(value),
        content: content_hash(&parts),
    }
}

/// Writes down a call that failed.
pub(super) fn note_error(client: &Client, error: &ClientError) {
    if matches!(error, ClientError::CorruptBatch { error: None, .. }) {
        let corrupt = CorruptRead {
            client: Arc::clone(&client.name),
            at: (client.now)(),
            what: error.to_string(),
        };
        client.history.lock().corrupt.push(corrupt);
    }
    client.note_failure(code_of(error), error.to_string());
}

/// The last reader of a run: reads every partition from its start to its end with a fresh client.
pub struct FinalRead {
    /// What it reads.
    pub partitions: Vec<TopicPartition>,
    /// The consumer groups, each with what its members subscribed to.
    pub groups: BTreeMap<Arc<str>, Vec<TopicPartition>>,
}

impl FinalRead {
    /// Reads all there is, trying again for as long as it is let. Notes in the history that it came to the end.
    pub async fn run(self, client: Client) {
        client.history.lock().final_read_began = Some((client.now)());
        let ends = loop {
            match self.ends(&client).await {
                Ok(ends) => break ends,
                Err(error) => client.note_failure(code_of(&error), error.to_string()),
            }
            clock::sleep(client.env.clock.as_ref(), PAUSE).await;
        };
        let properties = client.all_properties(&[("auto.offset.reset", "earliest")]);
        let config = ConsumerConfig::from_properties(&properties)
            .expect("the properties are the testbed's own");
        let mut consumer = Consumer::new(config, client.env.clone());
        consumer.assign(self.partitions.clone());
        let mut repositioned = self.partitions.clone();
        while !self.is_at_end(&mut consumer, &ends).await {
            match consumer.poll(POLL).await {
                Ok(records) => note_poll(&client, &records, &mut repositioned),
                Err(error) => {
                    note_error(&client, &error);
                    clock::sleep(client.env.clock.as_ref(), PAUSE).await;
                }
            }
        }
        consumer.close().await;
        for (group, partitions) in &self.groups {
            let committed = committed_of(&client, group, partitions).await;
            let of = |partition: &TopicPartition| {
                let end = ends.get(partition).copied().unwrap_or(Offset::ZERO);
                (partition.clone(), end)
            };
            let offsets = FinalOffsets { committed, ends: partitions.iter().map(of).collect() };
            client.history.lock().final_offsets.insert(Arc::clone(group), offsets);
        }
        client.history.lock().final_read_complete = true;
    }

    async fn ends(&self, client: &Client) -> Result<BTreeMap<TopicPartition, Offset>, ClientError> {
        let config = AdminConfig::from_properties(&client.all_properties(&[]))
            .expect("the properties are the testbed's own");
        let admin = Admin::new(config, client.env.clone());
        let questions: Vec<_> = self
            .partitions
            .iter()
            .map(|partition| (partition.clone(), OffsetSpec::Latest))
            .collect();
        let answers = admin.list_offsets(&questions).await;
        let mut ends = BTreeMap::new();
        for (partition, answer) in self.partitions.iter().zip(answers) {
            ends.insert(partition.clone(), answer?.offset.unwrap_or(Offset::ZERO));
        }
        Ok(ends)
    }

    async fn is_at_end(
        &self,
        consumer: &mut Consumer,
        ends: &BTreeMap<TopicPartition, Offset>,
    ) -> bool {
        for (partition, end) in ends {
            match consumer.position(partition).await {
                Ok(position) if position >= *end => {}
                Ok(_) | Err(_) => return false,
            }
        }
        true
    }
}

/// What a group has committed; asks for as long as it is let.
async fn committed_of(
    client: &Client,
    group: &str,
    partitions: &[TopicPartition],
) -> BTreeMap<TopicPartition, Offset> {
    let own = [("group.id", group), ("enable.auto.commit", "false")];
    let config = ConsumerConfig::from_properties(&client.all_properties(&own))
        .expect("the properties are the testbed's own");
    let mut consumer = Consumer::new(config, client.env.clone());
    let committed = loop {
        match consumer.committed(partitions).await {
            Ok(committed) => break committed,
            Err(error) => note_error(client, &error),
        }
        clock::sleep(client.env.clock.as_ref(), PAUSE).await;
    };
    consumer.close().await;
    committed.into_iter().map(|(partition, of)| (partition, of.offset)).collect()
}
