//! A partition's fetched bytes, read record by record (pure). Keys and values are slices of them.
//!
//! Kafka: `CompletedFetch`.

use std::collections::{BTreeSet, VecDeque};

use crate::client::consumer::ConsumerRecord;
use crate::protocol::record_batch::{
    BatchFault, ControlRecord, EndTransactionMarker, RawBatch, RawBatches, RecordIter,
};
use crate::protocol::{IsolationLevel, Records};
use crate::types::{LeaderEpoch, Offset, ProducerId, TopicPartition};

/// A batch that decompresses to more is refused, in bytes. Brokers take at most `max.message.bytes` (1 MB) compressed;
/// no codec makes this of text.
const DECOMPRESSED_BYTES_MAX: usize = 256 << 20;

/// How fetched bytes are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReadRules {
    /// `check.crcs`.
    pub(super) check_crcs: bool,
    /// `isolation.level`.
    pub(super) isolation_level: IsolationLevel,
}

/// See the module.
#[derive(Debug)]
pub(super) struct CompletedFetch {
    pub(super) partition: TopicPartition,
    /// The offset of the next record to hand out: records below it, in a batch that begins earlier, are passed over.
    pub(super) position: Offset,
    /// The leader epoch of the record before the position, where that was read.
    pub(super) last_epoch: Option<LeaderEpoch>,
    batches: RawBatches,
    current: Option<Current>,
    /// Aborted transactions that begin further on, by first offset.
    aborted: VecDeque<(Offset, ProducerId)>,
    /// Producers inside an aborted transaction at this point.
    aborting: BTreeSet<ProducerId>,
    rules: ReadRules,
    is_anything_read: bool,
}

#[derive(Debug)]
struct Current {
    records: RecordIter,
    leader_epoch: Option<LeaderEpoch>,
    end_offset: Offset,
}

impl CompletedFetch {
    pub(super) fn new(
        partition: TopicPartition,
        (position, last_epoch): (Offset, Option<LeaderEpoch>),
        records: &Records,
        aborted: impl IntoIterator<Item = (Offset, ProducerId)>,
        rules: ReadRules,
    ) -> Self {
        let mut aborted: Vec<(Offset, ProducerId)> = aborted.into_iter().collect();
        aborted.sort_unstable();
        Self {
            partition,
            position,
            last_epoch,
            batches: RawBatches::new(records.to_bytes()),
            current: None,
            aborted: aborted.into(),
            aborting: BTreeSet::new(),
            rules,
            is_anything_read: false,
        }
    }

    /// The next record; `None` at the end. Moves the position, also over what is not handed out: control batches, aborted
    /// transactions, gaps that compaction left.
    ///
    /// Errors: the batch at the position is not what was written, or cannot be read. Nothing behind it can be.
    pub(super) fn next(&mut self) -> Result<Option<ConsumerRecord>, BatchFault> {
        loop {
            if let Some(current) = &mut self.current {
                match current.records.next() {
                    None => {
                        self.position = self.position.max(current.end_offset);
                        self.current = None;
                    }
                    Some(record) => {
                        let record = record?;
                        if record.offset < self.position {
                            continue;
                        }
                        self.position = record.offset + 1;
                        return Ok(Some(ConsumerRecord {
                            topic: self.partition.topic.clone(),
                            partition: self.partition.partition,
                            offset: record.offset,
                            timestamp: record.timestamp,
                            key: record.key,
                            value: record.value,
                            headers: record.headers.into_iter().map(|h| (h.key, h.value)).collect(),
                            leader_epoch: current.leader_epoch,
                        }));
                    }
                }
            } else if !self.open_next_batch()? {
                return Ok(None);
            }
        }
    }

    /// Goes to the next batch. Returns whether there is one.
    fn open_next_batch(&mut self) -> Result<bool, BatchFault> {
        let batch = match self.batches.next() {
            None => return Ok(false),
            Some(Ok(batch)) => batch,
            // A broker cuts at max_bytes, wherever that is, but never inside the first batch (KIP-74).
            Some(Err(error)) if self.is_anything_read && is_cut_off(error.fault) => {
                return Ok(false);
            }
            Some(Err(error)) => return Err(error.fault),
        };
        self.is_anything_read = true;
        if batch.header.last_offset() < self.position {
            return Ok(true);
        }
        if self.rules.check_crcs {
            batch.verify_crc()?;
        }
        // Nothing of the batch is handed out yet, but the position moves only when something is, or past the whole of it.
        self.last_epoch = batch.header.leader_epoch.or(self.last_epoch);
        if batch.header.is_control() {
            self.end_transaction(&batch)?;
            self.position = self.position.max(batch.header.end_offset());
        } else if self.is_aborted(&batch) {
            self.position = self.position.max(batch.header.end_offset());
        } else {
            self.current = Some(Current {
                records: batch.records(DECOMPRESSED_BYTES_MAX)?,
                leader_epoch: batch.header.leader_epoch,
                end_offset: batch.header.end_offset(),
            });
        }
        Ok(true)
    }

    /// Whether the batch belongs to a transaction that was aborted.
    ///
    /// Kafka: `CompletedFetch.consumeAbortedTransactionsUpTo`, `isBatchAborted`.
    fn is_aborted(&mut self, batch: &RawBatch) -> bool {
        if self.rules.isolation_level == IsolationLevel::ReadUncommitted {
            return false;
        }
        let last = batch.header.last_offset();
        while let Some((first_offset, producer)) = self.aborted.front().copied()
            && first_offset <= last
        {
            self.aborted.pop_front();
            self.aborting.insert(producer);
        }
        let producer = batch.header.producer.map(|producer| producer.id);
        batch.header.is_transactional() && producer.is_some_and(|id| self.aborting.contains(&id))
    }

    /// An abort marker ends its producer's aborted transaction.
    fn end_transaction(&mut self, batch: &RawBatch) -> Result<(), BatchFault> {
        let Some(producer) = batch.header.producer else { return Ok(()) };
        for (index, record) in (0u32..).zip(batch.records(DECOMPRESSED_BYTES_MAX)?) {
            let record = ControlRecord::parse(&record?)
                .map_err(|fault| BatchFault::Record { index, fault })?;
            if EndTransactionMarker::parse(&record).is_some_and(|marker| !marker.is_commit) {
                self.aborting.remove(&producer.id);
            }
        }
        Ok(())
    }
}

fn is_cut_off(fault: BatchFault) -> bool {
    matches!(fault, BatchFault::TooShort { .. } | BatchFault::LengthBeyondEnd { .. })
}

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};

    use super::*;
    use crate::protocol::compression::{Codec, Compression};
    use crate::protocol::record_batch::{BatchBuilder, ControlRecordType};
    use crate::types::{PartitionIndex, Timestamp};

    fn batch(codec: Codec, base_offset: i64, values: &[&'static str]) -> Bytes {
        let mut builder =
            BatchBuilder::new(Compression::of(codec)).with_base_offset(Offset::new(base_offset));
        for value in values {
            builder.append(Timestamp::from_millis(5), None, Some(value.as_bytes()), &[]);
        }
        builder.build()
    }

    fn fetch(position: i64, bytes: &[Bytes], cut: usize) -> CompletedFetch {
        let joined: BytesMut = bytes.iter().flat_map(|b| b.iter().copied()).collect();
        let joined = joined.freeze();
        let records = Records::from(joined.slice(..joined.len() - cut));
        let topic = "t".into();
        let partition = TopicPartition { topic, partition: PartitionIndex::new(0) };
        let rules =
            ReadRules { check_crcs: true, isolation_level: IsolationLevel::ReadUncommitted };
        CompletedFetch::new(partition, (Offset::new(position), None), &records, [], rules)
    }

    #[track_caller]
    fn check(mut fetch: CompletedFetch, expected: &str) {
        let mut text = String::new();
        loop {
            match fetch.next() {
                Ok(Some(record)) => {
                    let value = record.value.unwrap_or_default();
                    text += &format!("{}={} ", record.offset, String::from_utf8_lossy(&value));
                }
                Ok(None) => break,
                Err(fault) => {
                    text += &format!("error: {fault} ");
                    break;
                }
            }
        }
        text += &format!("then {}", fetch.position);
        assert_eq!(text, expected);
    }

    #[test]
    fn records_below_the_position_are_passed_over() {
        for codec in Codec::ALL {
            let bytes = [batch(codec, 0, &["a", "b"]), batch(codec, 2, &["c", "d"])];
            check(fetch(3, &bytes, 0), "3=d then 4");
        }
    }

    #[test]
    fn a_batch_that_is_cut_off_is_left_for_the_next_fetch() {
        let bytes = [batch(Codec::None, 0, &["a", "b"]), batch(Codec::None, 2, &["c"])];
        check(fetch(0, &bytes, 1), "0=a 1=b then 2");
    }

    #[test]
    fn control_batches_move_the_position_unseen() {
        let mut marker = BatchBuilder::new(Compression::NONE).with_base_offset(Offset::new(1));
        marker.append_control(Timestamp::from_millis(5), ControlRecordType::Commit, &[0; 6]);
        let bytes = [batch(Codec::None, 0, &["a"]), marker.build()];
        check(fetch(0, &bytes, 0), "0=a then 2");
    }

    #[test]
    fn a_rotten_batch_is_found_and_the_position_stays_before_it() {
        let mut rotten = BytesMut::from(&batch(Codec::None, 1, &["b"])[..]);
        let last = rotten.len() - 2;
        rotten[last] ^= 1;
        let bytes = [batch(Codec::None, 0, &["a"]), rotten.freeze()];
        let mut fetch = fetch(0, &bytes, 0);
        assert!(fetch.next().unwrap().is_some());
        assert!(matches!(fetch.next(), Err(BatchFault::Crc { .. })));
        assert_eq!(fetch.position, Offset::new(1));
    }
}
