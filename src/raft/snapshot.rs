//! Snapshots: what the records below an offset add up to, in a file beside the log.
//!
//! A file of record batches with offsets of its own, from 0: a control batch with the header and the voters, the data, a control
//! batch with the footer. A file without footer was not finished, and is refused. The records are bytes here.
//!
//! Kafka: `RecordsSnapshotWriter`, `Snapshots` (names), KIP-630.

use bytes::{Bytes, BytesMut};

use super::Voter;
use super::control::{append_snapshot_footer, append_snapshot_header, append_voters};
use crate::protocol::compression::Compression;
use crate::protocol::record_batch::{BatchBuilder, ControlRecordType, RawBatches};
use crate::types::{LeaderEpoch, Offset, Timestamp};

/// A batch of data is closed when it is larger than this, in bytes (Kafka: `KafkaRaftClient.MAX_BATCH_SIZE_BYTES` is 8 MiB).
const BATCH_BYTES: usize = 1 << 20;
/// The most that a compressed batch of a foreign snapshot may grow to, in bytes.
const DECOMPRESSED_BYTES_MAX: usize = 64 << 20;

/// Which snapshot: everything below `end_offset`, the last record of it written in `epoch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SnapshotId {
    /// Exclusive.
    pub end_offset: Offset,
    /// The epoch.
    pub epoch: LeaderEpoch,
}

impl SnapshotId {
    /// The file's name: `<end offset, 20 digits>-<epoch, 10 digits>.checkpoint`.
    #[must_use]
    pub fn file_name(self) -> String {
        format!("{:020}-{:010}.checkpoint", self.end_offset.value(), self.epoch.value())
    }

    /// Which snapshot a file is; `None` where its name is no snapshot's.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let (end_offset, epoch) = name.strip_suffix(".checkpoint")?.split_once('-')?;
        let digits = |text: &str| text.bytes().all(|letter| letter.is_ascii_digit());
        if end_offset.len() != 20 || epoch.len() != 10 || !digits(end_offset) || !digits(epoch) {
            return None;
        }
        let end_offset = Offset::from_wire(end_offset.parse().ok()?)?;
        Some(Self { end_offset, epoch: LeaderEpoch::from_wire(epoch.parse().ok()?)? })
    }
}

/// The content of a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// When the last record it covers was written.
    pub timestamp: Timestamp,
    /// The values of its records.
    pub records: Vec<Bytes>,
}

/// Why a snapshot cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// A batch is damaged.
    #[error("at byte {position}: {why}")]
    Batch {
        /// Where in the file.
        position: u64,
        /// In words.
        why: String,
    },
    /// It ends before its footer.
    #[error("it was not finished: there is no footer")]
    Unfinished,
    /// It does not begin with a header.
    #[error("it does not begin with a header")]
    NoHeader,
}

/// The bytes of a snapshot. `voters`, where the quorum keeps them in the log (`kraft.version` 1).
#[must_use]
pub fn encode_snapshot(snapshot: &Snapshot, epoch: LeaderEpoch, voters: Option<&[Voter]>) -> Bytes {
    let mut writer = Writer { out: BytesMut::new(), next: Offset::ZERO, epoch };
    let mut builder = writer.builder();
    append_snapshot_header(&mut builder, snapshot.timestamp);
    let mut count = 1;
    if let Some(voters) = voters {
        append_voters(&mut builder, snapshot.timestamp, voters);
        count += 2;
    }
    writer.push(builder, count);

    let mut records = snapshot.records.iter().peekable();
    while records.peek().is_some() {
        let (mut builder, mut count, mut bytes) = (writer.builder(), 0, 0);
        while let Some(record) =
            records.next_if(|record| count == 0 || bytes + record.len() < BATCH_BYTES)
        {
            builder.append(snapshot.timestamp, None, Some(record), &[]);
            (count, bytes) = (count + 1, bytes + record.len());
        }
        writer.push(builder, count);
    }
    let mut builder = writer.builder();
    append_snapshot_footer(&mut builder, snapshot.timestamp);
    writer.push(builder, 1);
    writer.out.freeze()
}

struct Writer {
    out: BytesMut,
    next: Offset,
    epoch: LeaderEpoch,
}

impl Writer {
    fn builder(&self) -> BatchBuilder {
        BatchBuilder::new(Compression::NONE)
            .with_base_offset(self.next)
            .with_leader_epoch(self.epoch)
    }

    fn push(&mut self, builder: BatchBuilder, records: u64) {
        self.out.extend_from_slice(&builder.build());
        self.next = self.next + records;
    }
}

/// Reads a snapshot. Takes bytes of unknown origin.
///
/// Errors: damaged, or not finished.
pub fn decode_snapshot(bytes: &Bytes) -> Result<Snapshot, SnapshotError> {
    let mut snapshot = Snapshot::default();
    let (mut has_header, mut has_footer) = (false, false);
    let mut batches = RawBatches::new(bytes.clone());
    loop {
        let position = batches.position();
        let broken = |why: String| SnapshotError::Batch { position, why };
        let Some(batch) = batches.next() else { break };
        let batch = batch.map_err(|error| broken(error.to_string()))?;
        batch.verify_crc().map_err(|error| broken(error.to_string()))?;
        if batch.header.is_control() {
            let records = batch.control_records(DECOMPRESSED_BYTES_MAX);
            for record in records.map_err(|error| broken(error.to_string()))? {
                has_header |= record.kind == ControlRecordType::SnapshotHeader;
                has_footer |= record.kind == ControlRecordType::SnapshotFooter;
            }
            snapshot.timestamp = snapshot.timestamp.max(batch.header.base_timestamp);
        } else {
            let records = batch.records(DECOMPRESSED_BYTES_MAX);
            for record in records.map_err(|error| broken(error.to_string()))? {
                let record = record.map_err(|error| broken(error.to_string()))?;
                snapshot.records.push(record.value.unwrap_or_default());
            }
        }
        if !has_header {
            return Err(SnapshotError::NoHeader);
        }
    }
    if !has_footer {
        return Err(SnapshotError::Unfinished);
    }
    Ok(snapshot)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::types::{BrokerId, Uuid};

    #[test]
    fn names_are_kafkas() {
        let id = SnapshotId { end_offset: Offset::new(17), epoch: LeaderEpoch::new(3) };
        assert_eq!(id.file_name(), "00000000000000000017-0000000003.checkpoint");
        assert_eq!(SnapshotId::parse(&id.file_name()), Some(id));
        for name in [
            "bootstrap.checkpoint",
            "+0000000000000000017-0000000003.checkpoint",
            "17-3.checkpoint",
        ] {
            assert_eq!(SnapshotId::parse(name), None, "{name}");
        }
    }

    #[test]
    fn a_snapshot_reads_back_and_every_cut_of_it_is_refused() {
        let records =
            vec![Bytes::from_static(b"one"), Bytes::from(vec![7; BATCH_BYTES]), Bytes::new()];
        let snapshot = Snapshot { timestamp: Timestamp::from_millis(5), records };
        let voters = [Voter::new(BrokerId::new(1), Uuid::METADATA_TOPIC)];
        let bytes = encode_snapshot(&snapshot, LeaderEpoch::new(4), Some(&voters));
        assert_eq!(decode_snapshot(&bytes), Ok(snapshot));
        for cut in (0..bytes.len()).step_by(997) {
            assert!(decode_snapshot(&bytes.slice(..cut)).is_err(), "{cut}");
        }
    }

    proptest! {
        #[test]
        fn garbage_is_an_error(content: Vec<u8>) {
            prop_assert!(decode_snapshot(&Bytes::from(content)).is_err());
        }
    }
}
