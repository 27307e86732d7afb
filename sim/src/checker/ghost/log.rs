//! A node's copy of a log, as it said it is.

use std::collections::{BTreeMap, BTreeSet};

use ottla::types::{
    ErrorCode, LeaderEpoch, Observation, Offset, PartitionIndex, ProducerEpoch, ProducerId,
    ProducerStamp, Sequence, TopicIdPartition, Uuid,
};

use crate::checker::disk_logs::SegmentFile;
use crate::checker::segment_reader::FileBatch;

/// The partition that stands for the metadata log.
pub const METADATA: TopicIdPartition =
    TopicIdPartition { topic_id: Uuid::METADATA_TOPIC, partition: PartitionIndex::new(0) };

/// The batch that an observation says was written, and to which partition's log; the metadata log's among them.
#[must_use]
#[expect(clippy::wildcard_enum_match_arm, reason = "only these observations are of appends")]
pub fn appended(observation: &Observation) -> Option<(TopicIdPartition, GhostBatch)> {
    match *observation {
        Observation::ProduceAppended {
            partition,
            leader_epoch,
            base_offset,
            end_offset,
            producer,
            crc,
        }
        | Observation::FollowerAppended {
            partition,
            leader_epoch,
            base_offset,
            end_offset,
            producer,
            crc,
            ..
        } => Some((partition, GhostBatch { base_offset, end_offset, leader_epoch, producer, crc })),
        Observation::MetadataAppended { epoch: leader_epoch, base_offset, end_offset, crc } => {
            let producer = None;
            Some((METADATA, GhostBatch { base_offset, end_offset, leader_epoch, producer, crc }))
        }
        _ => None,
    }
}

/// Whether an observation changes the metadata log.
#[must_use]
pub fn is_of_metadata(observation: &Observation) -> bool {
    appended(observation).is_some_and(|(partition, _)| partition == METADATA)
        || partition_of(observation) == Some(METADATA)
}

/// Whose log an observation is about that changes a log in another way.
#[must_use]
#[expect(clippy::wildcard_enum_match_arm, reason = "only these observations change logs")]
pub fn partition_of(observation: &Observation) -> Option<TopicIdPartition> {
    match *observation {
        Observation::HighWatermarkAdvanced { partition, .. }
        | Observation::LogFlushed { partition, .. }
        | Observation::LogRecovered { partition, .. }
        | Observation::LogTruncated { partition, .. }
        | Observation::LogStartMoved { partition, .. }
        | Observation::ProduceDuplicate { partition, .. }
        | Observation::ProduceFailed { partition, error: ErrorCode::KafkaStorageError }
        | Observation::ProducerExpired { partition, .. } => Some(partition),
        _ => None,
    }
}

/// So many batches of a producer are known again when they come a second time.
const BATCHES_REMEMBERED: usize = 5;

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
    /// Whether it is the same batch: the same place, term and content.
    #[must_use]
    pub fn is_same(&self, other: &GhostBatch) -> bool {
        (self.base_offset, self.end_offset, self.leader_epoch, self.crc)
            == (other.base_offset, other.end_offset, other.leader_epoch, other.crc)
    }

    /// For people: offsets, term, checksum.
    #[must_use]
    pub fn text(&self) -> String {
        format!(
            "{}..{} of epoch {} (checksum {:08x})",
            self.base_offset, self.end_offset, self.leader_epoch, self.crc
        )
    }

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

/// What of a log was scanned when it was opened. Its index files may say of batches from `from` on what a log before it left, until a
/// checkpoint writes them anew; of segments that were begun behind `end` they say what is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// Where the scan began.
    pub from: Offset,
    /// Where the log ended then, or was cut to since.
    pub end: Offset,
}

impl Scanned {
    fn cut_to(self, end: Offset) -> Self {
        Self { from: self.from.min(end), end: self.end.min(end) }
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
    /// The first batch that does not stand in the files any more as it was written, when rot was last looked for.
    pub rotten_from: Option<Offset>,
    /// Whether the node has opened it since it started.
    pub is_open: bool,
    /// Where the last recovery ended, until something was appended, cut or removed.
    pub recovered_end: Option<Offset>,
    /// What was last scanned, as far as it was not cut since.
    pub scanned: Option<Scanned>,
    /// Whether bytes that were not synced may be gone since it was last opened: by a power loss, or with a write or sync that failed.
    pub may_lack: bool,
    /// From here on the node took the batches in one after the other: of what stands before, a snapshot knows each producer's last one.
    pub window_from: Offset,
    /// Producers whose state was dropped as idle: anything is a first sequence again.
    pub expired: BTreeSet<ProducerId>,
    /// The entry of `log.dirs` in which it lies, once a disk was looked at.
    pub dir: Option<u32>,
    /// Whether it was cut and nothing was appended since: its index files may not be cut yet.
    pub is_being_cut: bool,
    /// Where the log could be cut before it was emptied, to begin anew further up: until it is opened anew a power loss may bring that
    /// back.
    former_boundaries: BTreeSet<Offset>,
    /// Whether batches were lost or cut that the producer's state may still know or not know.
    pub was_cut: bool,
    /// Batches on their way to the disk that were sent again meanwhile: where each is to stand.
    repeated: BTreeMap<Offset, ProducerStamp>,
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
    /// A batch was written behind the end.
    pub(super) fn append(&mut self, batch: GhostBatch) {
        if let Some(producer) = batch.producer {
            self.expired.remove(&producer.id);
        }
        self.repeated.retain(|at, _| *at >= batch.end_offset);
        self.push(batch);
        self.end = batch.end_offset;
        self.is_open = true;
        self.is_being_cut = false;
        self.recovered_end = None;
    }

    /// Anything but an append.
    #[expect(clippy::wildcard_enum_match_arm, reason = "as `partition_of`")]
    pub(super) fn apply(&mut self, observation: &Observation) {
        match *observation {
            Observation::HighWatermarkAdvanced { to, .. } => self.high_watermark = Some(to),
            Observation::LogFlushed { end_offset, .. } => {
                self.synced_end = self.synced_end.max(end_offset);
            }
            Observation::LogRecovered {
                log_start_offset,
                log_end_offset,
                durable_end_offset,
                scanned_from,
                ..
            } => {
                let cut = self.is_being_cut.then_some(log_end_offset);
                let before = self.scanned.filter(|scanned| scanned.end == log_end_offset);
                let from = [scanned_from, cut, before.map(|scanned| scanned.from)];
                let from = from.into_iter().flatten().min();
                self.scanned = from.map(|from| Scanned { from, end: log_end_offset });
                self.cut_to(log_end_offset);
                self.start = log_start_offset;
                self.end = log_end_offset;
                self.high_watermark = None;
                // A cut that a loss of power undid leaves what was synced before it (swarm-disk, seed 573).
                self.synced_end = self.synced_end.min(log_end_offset).max(durable_end_offset);
                self.is_open = true;
                self.is_being_cut = false;
                self.may_lack = false;
                self.recovered_end = Some(log_end_offset);
                self.window_from = log_end_offset;
                self.former_boundaries.clear();
            }
            Observation::LogTruncated { from, to, .. } => {
                // Emptied, to begin anew further up: what lies before is committed, and nothing is known of who wrote it
                // (swarm-disk, seed 53).
                let is_emptied = to >= from;
                if is_emptied {
                    let ends = self.batches.iter().map(|batch| batch.end_offset);
                    self.former_boundaries.extend(ends.chain([self.start, self.end]));
                }
                self.cut_to(if is_emptied { Offset::ZERO } else { to });
                self.is_being_cut = true;
                self.end = to;
                if is_emptied {
                    self.start = to;
                    self.high_watermark = Some(to);
                }
                // As the product does: a truncation takes the watermark along.
                self.high_watermark = self.high_watermark.map(|known| known.min(to));
                self.synced_end = self.synced_end.min(to);
                self.recovered_end = None;
                self.scanned = self.scanned.map(|known| known.cut_to(to));
                self.window_from = to;
            }
            Observation::ProduceDuplicate { base_offset, producer, .. }
                if base_offset >= self.end =>
            {
                self.repeated.insert(base_offset, producer);
            }
            // No space: what was under way is taken back.
            Observation::ProduceFailed { .. } => self.repeated.clear(),
            Observation::LogStartMoved { to, .. } => {
                self.start = to;
                self.end = self.end.max(to);
                self.recovered_end = None;
            }
            Observation::ProducerExpired { producer, .. } => {
                self.expired.insert(producer);
            }
            _ => {}
        }
    }

    /// Takes in whole batches that stand in the files behind the end that the node told of, and says which.
    pub(super) fn learn_untold(&mut self, segments: &[SegmentFile]) -> Vec<GhostBatch> {
        let mut learnt = Vec::new();
        let in_files = segments.iter().flat_map(|segment| &segment.content.batches);
        for batch in in_files.take_while(|batch| batch.crc_holds) {
            if batch.base_offset != self.end.value() {
                continue;
            }
            let Some(batch) = untold(batch) else { continue };
            self.end = batch.end_offset;
            self.recovered_end = None;
            self.push(batch);
            learnt.push(batch);
        }
        learnt
    }

    /// Notes what does not stand in the files as it was written: they rotted. A cut reaches the files after it was told of, and an
    /// append before.
    pub(super) fn learn_rot(&mut self, segments: &[SegmentFile]) {
        let in_files: BTreeMap<i64, &FileBatch> = segments
            .iter()
            .flat_map(|segment| &segment.content.batches)
            .map(|batch| (batch.base_offset, batch))
            .collect();
        let is_intact = |own: &GhostBatch| {
            let found = in_files.get(&own.base_offset.value()).filter(|batch| batch.crc_holds);
            found.and_then(|found| untold(found)).is_some_and(|found| found.is_same(own))
        };
        let mut kept = self.batches.iter().filter(|batch| batch.end_offset > self.start);
        self.rotten_from = kept.find(|batch| !is_intact(batch)).map(|rotten| rotten.base_offset);
    }

    /// The batch that begins at `base_offset`.
    #[must_use]
    pub fn batch_at(&self, base_offset: Offset) -> Option<&GhostBatch> {
        let at = self.batches.binary_search_by_key(&base_offset, |batch| batch.base_offset).ok()?;
        self.batches.get(at)
    }

    /// The batches that end in `from..=to`, `from` itself left out: what a watermark that moves so passes.
    #[must_use]
    pub fn batches_in(&self, from: Offset, to: Offset) -> &[GhostBatch] {
        let first = self.batches.partition_point(|batch| batch.end_offset <= from);
        let last = self.batches.partition_point(|batch| batch.end_offset <= to);
        &self.batches[first..last.max(first)]
    }

    /// Whether this very batch stands in the log.
    #[must_use]
    pub fn holds(&self, batch: &GhostBatch) -> bool {
        self.batch_at(batch.base_offset).is_some_and(|own| own.is_same(batch))
    }

    /// Whether this very batch stands in the log, or was deleted with what is before the log's start.
    #[must_use]
    pub fn has_had(&self, batch: &GhostBatch) -> bool {
        batch.base_offset < self.start || self.holds(batch)
    }

    /// The first of `batches` (from this log's start on, and below `below`) that does not stand in the log.
    pub fn first_missing<'a>(
        &self,
        batches: impl IntoIterator<Item = &'a GhostBatch>,
        below: Offset,
    ) -> Option<&'a GhostBatch> {
        let due =
            |batch: &&GhostBatch| batch.base_offset >= self.start && batch.end_offset <= below;
        // Where the next one is expected: they are asked for one after the other.
        let mut next = 0;
        let mut holds = |batch: &&GhostBatch| {
            let is_next =
                self.batches.get(next).is_some_and(|own| own.base_offset == batch.base_offset);
            if !is_next {
                let found =
                    self.batches.binary_search_by_key(&batch.base_offset, |own| own.base_offset);
                let Ok(found) = found else { return false };
                next = found;
            }
            next += 1;
            self.batches[next - 1].is_same(batch)
        };
        batches.into_iter().filter(due).find(|batch| !holds(batch))
    }

    /// The last batch.
    #[must_use]
    pub fn last(&self) -> Option<&GhostBatch> {
        self.batches.last()
    }

    fn push(&mut self, batch: GhostBatch) {
        self.batches.push(batch);
        if let Some(stamp) = batch.producer {
            self.stamps.entry(stamp).or_insert(batch);
        }
    }

    /// Drops what stands at or after `end`.
    fn cut_to(&mut self, end: Offset) {
        let before = self.batches.len();
        self.repeated.clear();
        self.batches.retain(|batch| batch.end_offset <= end);
        self.rotten_from = self.rotten_from.filter(|rotten| *rotten < end);
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

    /// Whether a batch is one of the last five of its producer's epoch, and the last of these ends with `last_sequence`. Five are
    /// remembered (Kafka: `ProducerStateEntry.NUM_BATCHES_TO_RETAIN`).
    #[must_use]
    pub fn remembers(&self, stamp: ProducerStamp, last_sequence: Option<Sequence>) -> bool {
        if self.expired.contains(&stamp.id) {
            return false;
        }
        let taken_in = self.batches.iter().rev();
        let taken_in = taken_in.take_while(|batch| batch.base_offset >= self.window_from);
        let of_it = |batch: &&GhostBatch| batch.producer.is_some_and(|of| of.id == stamp.id);
        let known: Vec<&GhostBatch> = taken_in.filter(of_it).take(BATCHES_REMEMBERED).collect();
        let ends_so = |last: &&GhostBatch| {
            last.producer.is_some_and(|of| of.epoch == stamp.epoch)
                && last.next_sequence() == last_sequence.map(|last| last.plus(1))
        };
        known.first().is_some_and(ends_so) && known.iter().any(|of| of.producer == Some(stamp))
    }

    /// The batch that was sent again while it was on its way to a place in `from..to`.
    #[must_use]
    pub fn repeated_in(&self, from: Offset, to: Offset) -> Option<(Offset, ProducerStamp)> {
        self.repeated.range(from..to).next().map(|(at, producer)| (*at, *producer))
    }

    /// Where a batch of a producer stands.
    #[must_use]
    pub fn find(&self, stamp: ProducerStamp) -> Option<&GhostBatch> {
        self.stamps.get(&stamp)
    }

    /// Whether it was emptied to begin further up, and nothing was appended since: a stop in between leaves any part of what went.
    #[must_use]
    pub fn begins_anew(&self) -> bool {
        self.is_being_cut && self.start == self.end && !self.former_boundaries.is_empty()
    }

    /// Whether a batch ends or begins at `offset`, or the log does; or did before it was emptied.
    #[must_use]
    pub fn is_boundary(&self, offset: Offset) -> bool {
        offset == self.start
            || self.former_boundaries.contains(&offset)
            || offset == self.end
            || self
                .batches
                .iter()
                .any(|batch| batch.end_offset == offset || batch.base_offset == offset)
    }
}
