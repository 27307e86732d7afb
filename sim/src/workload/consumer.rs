//! A client that reads partitions it assigns itself, and the last reader of a run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ottla::client::{Admin, AdminConfig, ClientError, Consumer, ConsumerConfig, ConsumerRecord};
use ottla::protocol::OffsetSpec;
use ottla::runtime::clock;
use ottla::types::{Offset, TopicPartition};

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
}

impl ConsumerWork {
    /// Reads until it is asked to stop.
    pub async fn run(self, mut client: Client) {
        let properties = client.all_properties(&[("auto.offset.reset", self.from.name())]);
        let config =
            ConsumerConfig::from_properties(&properties).expect("the scenario was checked");
        let mut consumer = Consumer::new(config, client.env.clone());
        consumer.assign(self.partitions.clone());
        let mut repositioned = self.partitions;
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
                    note_poll(&client, &records, &mut repositioned);
                }
                Some(Err(error)) => {
                    note_error(&client, &error);
                    clock::sleep(client.env.clock.as_ref(), PAUSE).await;
                }
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

/// Writes down what a poll gave, if it gave anything.
pub(super) fn note_poll(
    client: &Client,
    records: &[ConsumerRecord],
    repositioned: &mut Vec<TopicPartition>,
) {
    if records.is_empty() {
        return;
    }
    let records = records.iter().map(read_of).collect();
    let poll = Poll {
        client: Arc::clone(&client.name),
        at: (client.now)(),
        records,
        repositioned: std::mem::take(repositioned),
    };
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
