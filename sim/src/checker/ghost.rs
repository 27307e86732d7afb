//! The ghost: what the testbed knows of every log because it heard everything, and the nodes do not know themselves.

use std::collections::{BTreeMap, BTreeSet};

use ottla::types::{
    LeaderEpoch, Observation, Offset, ProducerEpoch, ProducerId, ProducerStamp, Sequence, TopicId,
    TopicIdPartition, Uuid,
};

use super::disk_logs::SegmentFile;
use super::segment_reader::FileBatch;
use super::{Event, Occurrence, Stop};
use crate::world::NodeId;

/// A batch that a leader wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GhostBatch {
    /// Its first record.
    pub base_offset: Offset,
    /// After its last record.
    pub end_offset: Offset,
    /// The term of the leader that wrote it.
    pub leader_epoch: LeaderEpoch,
    /// Its producer, if that numbers its records.
    pub producer: Option<ProducerStamp>,
    /// The checksum it carries: names its content.
    pub crc: u32,
}

impl GhostBatch {
    /// How many records it has.
    #[must_use]
    pub fn records(&self) -> u32 {
        u32::try_from(self.end_offset.saturating_distance(self.base_offset)).unwrap_or(u32::MAX)
    }

    /// The sequence after its last record.
    #[must_use]
    pub fn next_sequence(&self) -> Option<Sequence> {
        self.producer.map(|producer| producer.base_sequence.plus(self.records()))
    }
}

/// A node's copy of a partition, as it said it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GhostLog {
    /// What is in it, in order: what the node told of, and what was found on its disk after it stopped.
    pub batches: Vec<GhostBatch>,
    /// Those of idempotent producers; of two with the same stamp the first.
    stamps: BTreeMap<ProducerStamp, GhostBatch>,
    /// The first offset that can be read.
    pub start: Offset,
    /// After the last record.
    pub end: Offset,
    /// Below it everything is readable. Not known from the opening of a log until it first moves: a checkpoint restores it.
    pub high_watermark: Option<Offset>,
    /// Below it everything was said to be durable.
    pub synced_end: Offset,
    /// Whether the node has opened it since it started.
    pub is_open: bool,
    /// Where the last recovery ended, until something was appended, cut or removed.
    pub recovered_end: Option<Offset>,
    /// Producers whose state was dropped as idle: anything is a first sequence again.
    pub expired: BTreeSet<ProducerId>,
    /// The entry of `log.dirs` in which it lies, once a disk was looked at.
    pub dir: Option<u32>,
    /// Whether batches were lost or cut that the producer's state may still know or not know.
    pub was_cut: bool,
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GhostNode {
    /// Whether it runs.
    pub is_running: bool,
    /// How it stopped last.
    pub last_stop: Option<StopFacts>,
    /// The entries of `log.dirs` on which a write or a sync failed in this run of the node.
    pub failed_dirs: Vec<u32>,
    /// Whether bytes of its files were changed by a fault.
    pub has_rot: bool,
}

/// How a node stopped, and what was known then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopFacts {
    /// How.
    pub stop: Stop,
    /// Whether a write or sync had failed: pages may have been dropped, so only what was synced before is sure.
    pub had_failure: bool,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Ghost {
    nodes: BTreeMap<NodeId, GhostNode>,
    logs: BTreeMap<(NodeId, TopicIdPartition), GhostLog>,
    /// (partition, leader epoch, first offset) → what was written there first. Never forgotten.
    written: BTreeMap<(TopicIdPartition, LeaderEpoch, Offset), GhostBatch>,
    names: BTreeMap<TopicId, String>,
}

impl Ghost {
    /// A node, if it was ever started.
    #[must_use]
    pub fn node(&self, node: NodeId) -> Option<&GhostNode> {
        self.nodes.get(&node)
    }

    /// A node's copy of a partition.
    #[must_use]
    pub fn log(&self, node: NodeId, partition: TopicIdPartition) -> Option<&GhostLog> {
        self.logs.get(&(node, partition))
    }

    /// What was first written at this place, by whichever node.
    #[must_use]
    pub fn written(
        &self,
        partition: TopicIdPartition,
        epoch: LeaderEpoch,
        base_offset: Offset,
    ) -> Option<&GhostBatch> {
        self.written.get(&(partition, epoch, base_offset))
    }

    /// The entry of `log.dirs` in which a node keeps a partition, once a disk was looked at.
    #[must_use]
    pub fn dir_of(&self, node: NodeId, partition: TopicIdPartition) -> Option<u32> {
        self.logs.get(&(node, partition)).and_then(|log| log.dir)
    }

    /// Learns from the disk in which entry of `log.dirs` a partition lies.
    pub(super) fn place(&mut self, node: NodeId, partition: TopicIdPartition, dir: u32) {
        self.log_mut(node, partition).dir = Some(dir);
    }

    /// Takes in whole batches that stand in the files behind the end that the node told of.
    pub(super) fn learn_untold(
        &mut self,
        node: NodeId,
        partition: TopicIdPartition,
        segments: &[SegmentFile],
    ) {
        let Some(log) = self.logs.get_mut(&(node, partition)) else { return };
        let in_files = segments.iter().flat_map(|segment| &segment.content.batches);
        for batch in in_files.take_while(|batch| batch.crc_holds).filter_map(untold) {
            if batch.base_offset != log.end {
                continue;
            }
            self.written.entry((partition, batch.leader_epoch, batch.base_offset)).or_insert(batch);
            log.end = batch.end_offset;
            log.recovered_end = None;
            log.push(batch);
        }
    }

    /// The name of a partition for people: `orders-0`.
    #[must_use]
    pub fn name(&self, partition: TopicIdPartition) -> String {
        match self.names.get(&partition.topic_id) {
            Some(name) => format!("{name}-{}", partition.partition),
            None => partition.to_string(),
        }
    }

    /// The id of the topic that bears a name.
    #[must_use]
    pub fn topic_id(&self, name: &str) -> Option<TopicId> {
        self.names.iter().find(|(_, known)| *known == name).map(|(id, _)| *id)
    }

    pub(super) fn name_topic(&mut self, topic_id: TopicId, name: &str) {
        self.names.insert(topic_id, name.to_owned());
    }

    /// Takes an event in.
    pub(super) fn apply(&mut self, occurrence: &Occurrence) {
        let node = occurrence.node;
        match occurrence.event {
            Event::Started => {
                let state = self.nodes.entry(node).or_default();
                state.is_running = true;
                state.failed_dirs.clear();
                let of_node = self.logs.iter_mut().filter(|((owner, _), _)| *owner == node);
                of_node.for_each(|(_, log)| log.is_open = false);
            }
            Event::Stopped(stop) => {
                let state = self.nodes.entry(node).or_default();
                state.is_running = false;
                state.last_stop =
                    Some(StopFacts { stop, had_failure: !state.failed_dirs.is_empty() });
            }
            Event::Wiped => {
                self.logs.retain(|(owner, _), _| *owner != node);
                self.nodes.entry(node).or_default().has_rot = false;
            }
            Event::DiskFailed { log_dir } => {
                self.nodes.entry(node).or_default().failed_dirs.push(log_dir)
            }
            Event::DiskRotted => self.nodes.entry(node).or_default().has_rot = true,
            Event::Observed(observation) => self.apply_observation(node, &observation),
        }
    }

    fn log_mut(&mut self, node: NodeId, partition: TopicIdPartition) -> &mut GhostLog {
        self.logs.entry((node, partition)).or_default()
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a new observation does not concern the ghost unless it says so here"
    )]
    fn apply_observation(&mut self, node: NodeId, observation: &Observation) {
        match *observation {
            Observation::ProduceAppended {
                partition,
                leader_epoch,
                base_offset,
                end_offset,
                producer,
                crc,
            } => {
                let batch = GhostBatch { base_offset, end_offset, leader_epoch, producer, crc };
                self.written.entry((partition, leader_epoch, base_offset)).or_insert(batch);
                let log = self.log_mut(node, partition);
                if let Some(producer) = producer {
                    log.expired.remove(&producer.id);
                }
                log.push(batch);
                log.end = end_offset;
                log.is_open = true;
                log.recovered_end = None;
            }
            Observation::HighWatermarkAdvanced { partition, to, .. }
                if partition.topic_id != Uuid::METADATA_TOPIC =>
            {
                self.log_mut(node, partition).high_watermark = Some(to);
            }
            Observation::LogFlushed { partition, end_offset }
                if partition.topic_id != Uuid::METADATA_TOPIC =>
            {
                let log = self.log_mut(node, partition);
                log.synced_end = log.synced_end.max(end_offset);
            }
            Observation::LogRecovered { partition, log_start_offset, log_end_offset, .. }
                if partition.topic_id != Uuid::METADATA_TOPIC =>
            {
                let log = self.log_mut(node, partition);
                log.cut_to(log_end_offset);
                log.start = log_start_offset;
                log.end = log_end_offset;
                log.high_watermark = None;
                log.synced_end = log.synced_end.min(log_end_offset);
                log.is_open = true;
                log.recovered_end = Some(log_end_offset);
            }
            Observation::LogTruncated { partition, to, .. }
                if partition.topic_id != Uuid::METADATA_TOPIC =>
            {
                let log = self.log_mut(node, partition);
                log.cut_to(to);
                log.end = to;
                log.synced_end = log.synced_end.min(to);
                log.recovered_end = None;
            }
            Observation::LogStartMoved { partition, to, .. } => {
                let log = self.log_mut(node, partition);
                log.start = to;
                log.recovered_end = None;
            }
            Observation::LogDeleted { partition } => {
                self.logs.remove(&(node, partition));
            }
            Observation::ProducerExpired { partition, producer } => {
                self.log_mut(node, partition).expired.insert(producer);
            }
            // Everything else says nothing about a log, or is of the metadata log, which has checks of its own.
            _ => {}
        }
    }
}

/// A batch as the oracle's reader found it.
fn untold(batch: &FileBatch) -> Option<GhostBatch> {
    let producer = ProducerId::from_wire(batch.producer_id)
        .zip(ProducerEpoch::from_wire(batch.producer_epoch))
        .zip(Sequence::from_wire(batch.base_sequence))
        .map(|((id, epoch), base_sequence)| ProducerStamp { id, epoch, base_sequence });
    Some(GhostBatch {
        base_offset: Offset::from_wire(batch.base_offset)?,
        end_offset: Offset::from_wire(batch.end_offset)?,
        leader_epoch: LeaderEpoch::from_wire(batch.leader_epoch)?,
        producer,
        crc: batch.crc,
    })
}

impl GhostLog {
    fn push(&mut self, batch: GhostBatch) {
        self.batches.push(batch);
        if let Some(stamp) = batch.producer {
            self.stamps.entry(stamp).or_insert(batch);
        }
    }

    /// Drops what stands at or after `end`.
    fn cut_to(&mut self, end: Offset) {
        let before = self.batches.len();
        self.batches.retain(|batch| batch.end_offset <= end);
        self.stamps.retain(|_, batch| batch.end_offset <= end);
        self.was_cut |= self.batches.len() < before;
    }

    /// The newest epoch of a producer that stands in the log.
    #[must_use]
    pub fn newest_epoch(&self, producer: ProducerId) -> Option<ProducerEpoch> {
        let last = ProducerStamp {
            id: producer,
            epoch: ProducerEpoch::new(i16::MAX),
            base_sequence: Sequence::new(i32::MAX),
        };
        let (newest, _) = self.stamps.range(..=last).next_back()?;
        (newest.id == producer).then_some(newest.epoch)
    }

    /// The last batch of a producer that is in the log, of its newest epoch.
    #[must_use]
    pub fn last_of(&self, producer: ProducerId) -> Option<&GhostBatch> {
        let of_producer =
            |batch: &&GhostBatch| batch.producer.is_some_and(|stamp| stamp.id == producer);
        self.batches.iter().rev().find(of_producer)
    }

    /// Where a batch of a producer stands.
    #[must_use]
    pub fn find(&self, stamp: ProducerStamp) -> Option<&GhostBatch> {
        self.stamps.get(&stamp)
    }

    /// Whether a batch ends or begins at `offset`, or the log does.
    #[must_use]
    pub fn is_boundary(&self, offset: Offset) -> bool {
        offset == self.start
            || offset == self.end
            || self
                .batches
                .iter()
                .any(|batch| batch.end_offset == offset || batch.base_offset == offset)
    }
}
