//! Control records: what brokers and controllers write among the data, and consumers never see.

use bytes::Bytes;

use super::{BatchBuilder, BatchFault, RawBatch, Record, RecordFault};
use crate::types::Timestamp;

/// The kinds of control records.
///
/// Kafka: `ControlRecordType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ControlRecordType {
    /// A transaction ended without effect.
    Abort,
    /// A transaction is committed.
    Commit,
    /// First record of a leader of the metadata log.
    LeaderChange,
    /// First record of a metadata snapshot.
    SnapshotHeader,
    /// Last record of a metadata snapshot.
    SnapshotFooter,
    /// The feature level of the quorum.
    KRaftVersion,
    /// The voters of the quorum.
    KRaftVoters,
    /// A kind that a later Kafka may add; to be passed over.
    Unknown(i16),
}

impl ControlRecordType {
    /// The number in the record's key.
    #[must_use]
    pub const fn id(self) -> i16 {
        match self {
            Self::Abort => 0,
            Self::Commit => 1,
            Self::LeaderChange => 2,
            Self::SnapshotHeader => 3,
            Self::SnapshotFooter => 4,
            Self::KRaftVersion => 5,
            Self::KRaftVoters => 6,
            Self::Unknown(id) => id,
        }
    }

    /// The kind with this number.
    #[must_use]
    pub const fn from_id(id: i16) -> Self {
        match id {
            0 => Self::Abort,
            1 => Self::Commit,
            2 => Self::LeaderChange,
            3 => Self::SnapshotHeader,
            4 => Self::SnapshotFooter,
            5 => Self::KRaftVersion,
            6 => Self::KRaftVoters,
            other => Self::Unknown(other),
        }
    }

    /// The key of such a record: version 0 and the number.
    #[must_use]
    pub fn key(self) -> [u8; 4] {
        let [high, low] = self.id().to_be_bytes();
        [0, 0, high, low]
    }
}

/// A control record, its key read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlRecord {
    /// The kind.
    pub kind: ControlRecordType,
    /// The version of the key's format: 0 so far.
    pub key_version: i16,
    /// The message. Transaction markers begin with its version ([`EndTransactionMarker`]); for the other kinds the
    /// message's own first field is one.
    pub value: Bytes,
}

impl ControlRecord {
    /// Reads a record of a control batch.
    ///
    /// Errors: a null key or one below four bytes. A longer key is taken, as Kafka does.
    pub fn parse(record: &Record) -> Result<Self, RecordFault> {
        let key = record.key.as_ref().ok_or(RecordFault::Truncated)?;
        let fields = key.first_chunk::<4>().ok_or(RecordFault::Truncated)?;
        Ok(Self {
            kind: ControlRecordType::from_id(i16::from_be_bytes([fields[2], fields[3]])),
            key_version: i16::from_be_bytes([fields[0], fields[1]]),
            value: record.value.clone().unwrap_or_default(),
        })
    }
}

/// How a transaction ended, as its marker says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndTransactionMarker {
    /// Committed, or aborted.
    pub is_commit: bool,
    /// The term of the coordinator that wrote the marker.
    pub coordinator_epoch: i32,
}

impl EndTransactionMarker {
    /// Reads the marker; `None` where the record is another control record or too short.
    ///
    /// Kafka: `EndTransactionMarker.deserializeValue`, which takes later versions as they begin with the same fields.
    #[must_use]
    pub fn parse(record: &ControlRecord) -> Option<Self> {
        let is_commit = match record.kind {
            ControlRecordType::Abort => false,
            ControlRecordType::Commit => true,
            ControlRecordType::LeaderChange
            | ControlRecordType::SnapshotHeader
            | ControlRecordType::SnapshotFooter
            | ControlRecordType::KRaftVersion
            | ControlRecordType::KRaftVoters
            | ControlRecordType::Unknown(_) => return None,
        };
        let fields = record.value.first_chunk::<6>()?;
        let coordinator_epoch = i32::from_be_bytes([fields[2], fields[3], fields[4], fields[5]]);
        Some(Self { is_commit, coordinator_epoch })
    }

    /// The marker's value: version 0 and the coordinator's epoch.
    #[must_use]
    pub fn value(self) -> [u8; 6] {
        let [a, b, c, d] = self.coordinator_epoch.to_be_bytes();
        [0, 0, a, b, c, d]
    }
}

impl BatchBuilder {
    /// Appends a control record and marks the batch as a control batch. All records of such a batch are control records.
    pub fn append_control(&mut self, timestamp: Timestamp, kind: ControlRecordType, value: &[u8]) {
        self.mark_control();
        self.append(timestamp, Some(&kind.key()), Some(value), &[]);
    }
}

impl RawBatch {
    /// The control records of a control batch; empty for a batch of data.
    ///
    /// Errors: as [`RawBatch::records`], and keys that are no control records'.
    pub fn control_records(
        &self,
        decompressed_bytes_max: usize,
    ) -> Result<Vec<ControlRecord>, BatchFault> {
        if !self.header.is_control() {
            return Ok(Vec::new());
        }
        let mut control_records = Vec::new();
        for (record, index) in self.records(decompressed_bytes_max)?.zip(0..) {
            let control = ControlRecord::parse(&record?)
                .map_err(|fault| BatchFault::Record { index, fault })?;
            control_records.push(control);
        }
        Ok(control_records)
    }
}
