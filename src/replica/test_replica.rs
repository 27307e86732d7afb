//! A machine with its file in memory, for tests: what is written stands there, and cuts are prepared from it as from a disk.

use super::*;
use crate::log::validator::{ValidationRules, validate_produced};
use crate::log::{
    IndexSizes, LeaderEpochCache, LocalLog, LogConfig, ProducerState, SegmentLimits, ValidatedBatch,
};
use crate::protocol::compression::Compression;
use crate::protocol::record_batch::{BatchBuilder, BatchProducer, RawBatch};
use crate::types::{BrokerId, Now, Offset, PartitionIndex, Timestamp, TopicIdPartition, Uuid};

/// A batch as it stands in a file.
#[derive(Clone, Debug)]
pub(super) struct StoredBatch {
    pub(super) segment: Offset,
    pub(super) position: u64,
    pub(super) batch: RawBatch,
}

impl StoredBatch {
    pub(super) fn end_offset(&self) -> Offset {
        self.batch.header.end_offset()
    }
}

pub(super) struct TestReplica {
    pub(super) machine: Partition,
    pub(super) now: Now,
    /// All that was started to be written, in order.
    pub(super) file: Vec<StoredBatch>,
}

pub(super) fn partition_id() -> TopicIdPartition {
    TopicIdPartition { topic_id: Uuid::from_bytes([0; 16]), partition: PartitionIndex::new(0) }
}

pub(super) fn limits(segment_bytes: u64) -> SegmentLimits {
    SegmentLimits {
        segment_bytes,
        segment_ms: 1_000_000,
        index: IndexSizes { interval_bytes: 100, index_bytes_max: 1_000 },
    }
}

pub(super) fn node_config(node: i32) -> PartitionConfig {
    PartitionConfig {
        flush_messages: None,
        flush_interval: None,
        producer_expiration: std::time::Duration::from_secs(60),
        log_dir: 0,
        node: BrokerId::new(node),
        min_insync_replicas: 1,
        lag_time_max: std::time::Duration::from_secs(30),
    }
}

/// A batch as a producer sends it, checked.
pub(super) fn produced(
    records: u32,
    value: &[u8],
    producer: Option<BatchProducer>,
) -> ValidatedBatch {
    let mut builder = BatchBuilder::new(Compression::NONE);
    if let Some(producer) = producer {
        builder.set_producer(producer);
    }
    for _ in 0..records {
        builder.append(Timestamp::from_millis(1), None, Some(value), &[]);
    }
    let config = LogConfig::default();
    validate_produced(&builder.build(), ValidationRules::new(&config, Timestamp::from_millis(1)))
        .unwrap()
}

impl TestReplica {
    /// With an empty log that begins at `end`.
    pub(super) fn empty(config: PartitionConfig, segment_bytes: u64, end: Offset) -> Self {
        let log = LocalLog::empty(limits(segment_bytes), end, Timestamp::from_millis(0));
        let opened = OpenedState {
            log,
            producers: ProducerState::new(end),
            epochs: LeaderEpochCache::new(),
            high_watermark: end,
            durable_end_offset: end,
        };
        let machine = Partition::new(partition_id(), config, opened);
        Self { machine, now: Now::default(), file: Vec::new() }
    }

    /// Started again with what of its file survived: the first `kept` batches.
    pub(super) fn reopened(&self, kept: usize, high_watermark: Offset, durable: Offset) -> Self {
        let start = self.machine.log().log_start_offset();
        let limits = *self.machine.log().limits();
        let mut log = LocalLog::empty(limits, start, self.now.wall);
        let mut producers = ProducerState::new(start);
        let mut epochs = self.machine.epochs().clone();
        let mut file = self.file.clone();
        file.truncate(kept);
        for stored in &mut file {
            let header = &stored.batch.header;
            let placement = log.append(self.now.wall, header);
            (stored.segment, stored.position) = (placement.segment, placement.position);
            producers.on_batch(header, None);
        }
        epochs.truncate_from_end(log.log_end_offset());
        let opened =
            OpenedState { log, producers, epochs, high_watermark, durable_end_offset: durable };
        let machine = Partition::new(partition_id(), self.machine.config, opened);
        Self { machine, now: self.now, file }
    }

    pub(super) fn handle(&mut self, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.machine.handle(self.now, event, &mut effects);
        for effect in &effects {
            self.perform(effect);
        }
        effects
    }

    fn perform(&mut self, effect: &Effect) {
        match effect {
            Effect::Write { segment, position, slices, .. } => {
                let batch = RawBatch::parse(&slices.concat().into()).unwrap();
                let (segment, position) = (*segment, *position);
                self.file.push(StoredBatch { segment, position, batch });
            }
            Effect::Cut { segment, position, later }
            | Effect::Truncate { segment, position, later, .. } => {
                self.file.retain(|stored| {
                    !later.contains(&stored.segment)
                        && (stored.segment != *segment || stored.position < *position)
                });
            }
            Effect::Restart { .. } => self.file.clear(),
            Effect::RemoveSegments { segments, .. } => {
                self.file.retain(|stored| !segments.contains(&stored.segment));
            }
            Effect::Roll { .. }
            | Effect::SaveEpochs { .. }
            | Effect::ProposeIsr(_)
            | Effect::Sync { .. }
            | Effect::SaveCheckpoint(_)
            | Effect::FailDir
            | Effect::Answer { .. }
            | Effect::Readable { .. }
            | Effect::Observe(_) => {}
        }
    }

    /// What the driver reads from the disk before a cut.
    pub(super) fn truncation(&self, to: TruncateTo) -> Truncation {
        let to = match self.machine.cut_at(to) {
            CutAt::Nowhere => return Truncation::EpochsOnly,
            CutAt::Everything(start) => return Truncation::FullyAndStartAt(start),
            CutAt::Offset(to) => to,
        };
        let kept = self.file.iter().take_while(|stored| stored.end_offset() <= to);
        let start = self.machine.log().log_start_offset();
        let end = kept.clone().last().map_or(start, StoredBatch::end_offset).max(start);
        let first = self.machine.log().segments()[0].base_offset;
        let (segment, position) = kept.clone().last().map_or((first, 0), |last| {
            (last.segment, last.position + u64::from(last.batch.header.size_in_bytes))
        });
        let mut producers = ProducerState::new(first);
        for stored in kept {
            producers.on_batch(&stored.batch.header, None);
        }
        producers.on_log_start_moved(end);
        Truncation::At { to: end, segment, position, max_timestamp: None, producers }
    }
}
