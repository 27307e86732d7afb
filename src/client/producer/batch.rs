//! A batch of records from its first record to its outcome (pure).
//!
//! ```text
//!        full, lingered           drained             answered
//! Open ───────────────▶ Waiting ──────────▶ InFlight ─────────▶ Finished
//!                          ▲                   │
//!                          └──── to be retried ┘
//! ```
//!
//! The *outcome* is apart from the stage: a batch whose delivery timed out in flight has its outcome, and is still in flight.
//!
//! Kafka: `ProducerBatch`.

use crate::client::error::{SendCause, SendError, SendFate};
use crate::protocol::Records;
use crate::protocol::compression::{Codec, Compression};
use crate::protocol::record_batch::{BatchBuilder, BatchProducer, RawBatch, RecordHeader};
use crate::types::{LeaderEpoch, Monotonic, Offset, ProducerStamp, Timestamp, TopicPartition};

use super::{RecordIdentity, RecordMetadata};

/// A batch's number. Rises with the first record's `send`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BatchId(pub(super) u64);

/// A produce request's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RequestToken(pub(super) u64);

/// Where a batch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Takes records.
    Open,
    /// Complete, to be sent. `not_before` is the back-off of a retry.
    Waiting { not_before: Monotonic },
    /// Sent.
    InFlight { request: RequestToken },
    /// Nothing more happens to it.
    Finished,
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is stored.
    Stored { base_offset: Option<Offset>, log_append_time: Option<Timestamp> },
    /// It is given up.
    Failed(SendCause),
}

/// A record's delivery: `D` is whatever the driver completes.
#[derive(Debug)]
pub(super) struct Pending<D> {
    pub(super) handle: D,
    pub(super) timestamp: Timestamp,
}

#[derive(Debug)]
enum Content {
    /// Not sent yet.
    Building(BatchBuilder),
    /// As it was built, and as it was sent last.
    Built { built: RawBatch, sent: Records },
}

/// See the module.
#[derive(Debug)]
pub(super) struct ProducerBatch<D> {
    pub(super) id: BatchId,
    pub(super) created: Monotonic,
    pub(super) stage: Stage,
    /// How often it was sent.
    pub(super) attempts: u32,
    /// The leader's epoch, as far as it was known, when it was sent last.
    pub(super) sent_under: Option<LeaderEpoch>,
    /// Under which producer and sequence it was, or will be, sent. Not changed while it may be stored.
    pub(super) stamp: Option<ProducerStamp>,
    /// Whether some attempt ended without proof that nothing was appended.
    pub(super) may_be_stored: bool,
    pub(super) outcome: Option<Outcome>,
    /// Bytes of `buffer.memory` that it holds.
    pub(super) memory: usize,
    pub(super) deliveries: Vec<Pending<D>>,
    record_count: u32,
    content: Content,
}

impl<D> ProducerBatch<D> {
    pub(super) fn new(id: BatchId, created: Monotonic, codec: Codec, memory: usize) -> Self {
        Self {
            id,
            created,
            stage: Stage::Open,
            attempts: 0,
            sent_under: None,
            stamp: None,
            may_be_stored: false,
            outcome: None,
            memory,
            deliveries: Vec::new(),
            record_count: 0,
            content: Content::Building(BatchBuilder::new(Compression::of(codec))),
        }
    }

    pub(super) fn record_count(&self) -> u32 {
        self.record_count
    }

    /// Whether the record keeps an open batch within `size_max` bytes.
    pub(super) fn has_room_for(&self, size_max: usize, record: &RecordView<'_>) -> bool {
        match (&self.content, self.stage) {
            (Content::Building(builder), Stage::Open) => builder.has_room_for(
                size_max,
                record.timestamp,
                record.key,
                record.value,
                record.headers,
            ),
            (Content::Building(_) | Content::Built { .. }, _) => false,
        }
    }

    pub(super) fn append(&mut self, record: &RecordView<'_>, handle: D) {
        assert_eq!(self.stage, Stage::Open, "only an open batch takes records");
        let Content::Building(builder) = &mut self.content else {
            unreachable!("an open batch is not built");
        };
        builder.append(record.timestamp, record.key, record.value, record.headers);
        self.record_count += 1;
        self.deliveries.push(Pending { handle, timestamp: record.timestamp });
    }

    /// Bytes of the batch as sent, estimated while it is not built.
    pub(super) fn size(&self) -> usize {
        match &self.content {
            Content::Building(builder) => builder.estimated_size(),
            Content::Built { sent, .. } => sent.len(),
        }
    }

    /// The batch as it is to be sent under its stamp.
    pub(super) fn records(&mut self) -> Records {
        let producer = self.stamp.map(batch_producer);
        let content = std::mem::replace(
            &mut self.content,
            Content::Building(BatchBuilder::new(Compression::NONE)),
        );
        let (built, sent) = match content {
            Content::Building(mut builder) => {
                if let Some(producer) = producer {
                    builder.set_producer(producer);
                }
                let bytes = builder.build();
                let built = RawBatch::parse(&bytes).expect("what was just built can be read");
                (built, Records::from(bytes))
            }
            Content::Built { built, .. } => {
                let sent = match producer {
                    Some(producer) if built.header.producer != Some(producer) => {
                        built.with_producer(producer).into_iter().collect()
                    }
                    Some(_) | None => Records::from(built.bytes.clone()),
                };
                (built, sent)
            }
        };
        self.content = Content::Built { built, sent: sent.clone() };
        sent
    }

    /// Two batches of half the records each, sequences and deliveries in order; for a broker that found it too large.
    /// Ids are kept: the halves are one batch to whoever flushes.
    ///
    /// Kafka: `ProducerBatch.split`, which cuts by `batch.size`; by halves it ends however small the broker's limit is.
    pub(super) fn split(mut self, codec: Codec) -> [Self; 2] {
        assert!(self.record_count > 1, "a single record cannot be split");
        let Content::Built { built, .. } = &self.content else {
            unreachable!("a batch that was answered was built");
        };
        let records = built.records(usize::MAX).expect("what we built can be read");
        let half = self.record_count / 2;
        let mut builders = [0, 1].map(|_| BatchBuilder::new(Compression::of(codec)));
        for (index, record) in (0u32..).zip(records) {
            let record = record.expect("what we built can be read");
            builders[usize::from(index >= half)].append(
                record.timestamp,
                record.key.as_deref(),
                record.value.as_deref(),
                &record.headers,
            );
        }
        let second = self.deliveries.split_off(half as usize);
        let [first_builder, second_builder] = builders;
        let part = |deliveries: Vec<Pending<D>>, record_count, builder, stamp, memory| Self {
            id: self.id,
            created: self.created,
            stage: self.stage,
            attempts: self.attempts,
            sent_under: self.sent_under,
            stamp,
            may_be_stored: self.may_be_stored,
            outcome: None,
            memory,
            deliveries,
            record_count,
            content: Content::Building(builder),
        };
        let second_stamp = self.stamp.map(|stamp| {
            let base_sequence = stamp.base_sequence.plus(half);
            ProducerStamp { base_sequence, ..stamp }
        });
        let second = part(second, self.record_count - half, second_builder, second_stamp, 0);
        let deliveries = std::mem::take(&mut self.deliveries);
        let first = part(deliveries, half, first_builder, self.stamp, self.memory);
        [first, second]
    }

    /// Whether nothing is left to do or to tell.
    pub(super) fn is_over(&self) -> bool {
        self.stage == Stage::Finished && self.outcome.is_some() && self.deliveries.is_empty()
    }

    /// What the records' futures get, in order. Empties the list.
    pub(super) fn tell(
        &mut self,
        partition: &TopicPartition,
    ) -> Vec<(D, Result<RecordMetadata, SendError>)> {
        let outcome = self.outcome.clone().expect("only a decided batch is told");
        let (stamp, attempts, may_be_stored) = (self.stamp, self.attempts, self.may_be_stored);
        let told = |(index, pending): (u32, Pending<D>)| {
            let identity = stamp.filter(|_| attempts > 0).map(|stamp| RecordIdentity {
                producer_id: stamp.id,
                producer_epoch: stamp.epoch,
                sequence: stamp.base_sequence.plus(index),
            });
            let result = match &outcome {
                Outcome::Stored { base_offset, log_append_time } => Ok(RecordMetadata {
                    topic: partition.topic.clone(),
                    partition: partition.partition,
                    offset: base_offset.map(|base| base + u64::from(index)),
                    timestamp: log_append_time.unwrap_or(pending.timestamp),
                    attempts,
                    identity,
                }),
                Outcome::Failed(cause) => Err(SendError {
                    partition: partition.clone(),
                    fate: if may_be_stored { SendFate::Unknown } else { SendFate::Failed },
                    cause: cause.clone(),
                    attempts,
                    identity,
                }),
            };
            (pending.handle, result)
        };
        (0u32..).zip(std::mem::take(&mut self.deliveries)).map(told).collect()
    }
}

fn batch_producer(stamp: ProducerStamp) -> BatchProducer {
    BatchProducer { id: stamp.id, epoch: stamp.epoch, base_sequence: Some(stamp.base_sequence) }
}

/// A record as the builder wants it.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecordView<'a> {
    pub(super) timestamp: Timestamp,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    pub(super) headers: &'a [RecordHeader],
}
