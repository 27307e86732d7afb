//! What a node's metadata is run with, what may be wrong with it, and how it begins.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;

use crate::controller::ControllerConfig;
use crate::metadata::{InvalidRecord, Record, RecordError};
use crate::raft::driver::{METADATA_PARTITION_DIR, RaftError, RaftOptions, write_snapshot};
use crate::raft::{
    RaftConfig, Snapshot, SnapshotError, SnapshotId, Voter, VoterSet, decode_snapshot,
    encode_snapshot,
};
use crate::rpc::Endpoint;
use crate::runtime::{Disk, replace_file};
use crate::storage::StorageError;
use crate::types::{BrokerId, LeaderEpoch, Offset, Timestamp, Uuid};

/// The records of a new cluster, in the log directory of the metadata log (Kafka: `BootstrapDirectory`).
pub(super) const BOOTSTRAP_CHECKPOINT: &str = "bootstrap.checkpoint";

/// This node's place in the quorum.
#[derive(Clone, Debug)]
pub struct QuorumOptions {
    /// Whether this node votes, and may become the active controller. Otherwise it only follows.
    pub is_voter: bool,
    /// Who votes, and where each of them listens for the others (`controller.quorum.voters`).
    pub voters: Vec<(BrokerId, Endpoint)>,
    /// How long a voter waits for an election to end before it begins the next; each draws between this and the double
    /// (`controller.quorum.election.timeout.ms`).
    pub election_timeout: Duration,
    /// The longest pause after an election without winner (`controller.quorum.election.backoff.max.ms`).
    pub election_backoff_max: Duration,
    /// How long a follower goes without an answer before it asks for an election
    /// (`controller.quorum.fetch.timeout.ms`). After 1.5 times this a leader that nobody follows steps down.
    pub fetch_timeout: Duration,
    /// How long an answer may take (`controller.quorum.request.timeout.ms`).
    pub request_timeout: Duration,
    /// The pause before asking a node again that did not answer (`controller.quorum.retry.backoff.ms`).
    pub retry_backoff: Duration,
}

impl QuorumOptions {
    /// These voters, with Kafka's defaults for all times.
    #[must_use]
    pub fn new(is_voter: bool, voters: Vec<(BrokerId, Endpoint)>) -> Self {
        Self {
            is_voter,
            voters,
            election_timeout: Duration::from_millis(1_000),
            election_backoff_max: Duration::from_millis(1_000),
            fetch_timeout: Duration::from_millis(2_000),
            request_timeout: Duration::from_millis(2_000),
            retry_backoff: Duration::from_millis(20),
        }
    }

    /// A quorum of this node alone: it is asked by nobody, so where it listens does not matter.
    #[must_use]
    pub fn alone(node: BrokerId) -> Self {
        Self::new(true, vec![(node, Endpoint { host: String::new(), port: 0 })])
    }
}

/// What to run.
#[derive(Clone, Debug)]
pub struct ControllerOptions {
    /// What the ledger is told.
    pub config: ControllerConfig,
    /// The log directory that holds the metadata log (`metadata.log.dir`).
    pub metadata_log_dir: PathBuf,
    /// The id of that directory.
    pub directory_id: Uuid,
    /// `metadata.log.segment.bytes`.
    pub segment_bytes: u64,
    /// A snapshot is written after this many bytes of records (`metadata.log.max.record.bytes.between.snapshots`).
    pub bytes_between_snapshots: u64,
    /// This node's place in the quorum.
    pub quorum: QuorumOptions,
}

/// Why a controller did not start, or had to stop. Ends the node with exit code 1.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ControllerError {
    /// The quorum's files or their disk.
    #[error("{0}")]
    Raft(#[from] RaftError),
    /// A record that cannot be read.
    #[error("metadata log, offset {offset}: {error}")]
    Record {
        /// Where it stands, or where the snapshot that holds it ends.
        offset: Offset,
        /// What is wrong.
        error: RecordError,
    },
    /// A record that does not fit what is before it.
    #[error("metadata log, offset {offset}: {error}")]
    Invalid {
        /// Where it stands, or where the snapshot that holds it ends.
        offset: Offset,
        /// What is wrong.
        error: InvalidRecord,
    },
    /// A batch whose records cannot be taken apart.
    #[error("metadata log, offset {offset}: {why}")]
    Batch {
        /// Where it begins.
        offset: Offset,
        /// In words.
        why: String,
    },
    /// The file `bootstrap.checkpoint` is damaged.
    #[error("{}: {error}", path.display())]
    Bootstrap {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: SnapshotError,
    },
}

impl From<StorageError> for ControllerError {
    fn from(error: StorageError) -> Self {
        Self::Raft(error.into())
    }
}

/// Writes what a new cluster begins with into the formatted directory `metadata_log_dir`: `bootstrap.checkpoint` with the levels
/// of features, and the quorum's first snapshot, where it names the only `voter`. A quorum of several is named by the
/// configuration (`controller.quorum.voters`), and has no such snapshot.
///
/// # Errors
/// The disk fails.
pub async fn format_metadata(
    disk: &dyn Disk,
    metadata_log_dir: &Path,
    voter: Option<Voter>,
    records: &[Record],
    now: Timestamp,
) -> Result<(), ControllerError> {
    let encode = |record: &Record| record.to_bytes().expect("names of features are short");
    let epoch = LeaderEpoch::new(0);
    let snapshot = Snapshot { timestamp: now, records: records.iter().map(encode).collect() };
    let path = metadata_log_dir.join(BOOTSTRAP_CHECKPOINT);
    let written = replace_file(disk, &path, encode_snapshot(&snapshot, epoch, None)).await;
    written.map_err(|error| StorageError::io("write the bootstrap records", &path, error))?;

    let Some(voter) = voter else { return Ok(()) };
    let dir = metadata_log_dir.join(METADATA_PARTITION_DIR);
    let made = disk.create_dir_all(&dir).await;
    made.map_err(|error| StorageError::io("make a directory", &dir, error))?;
    let synced = disk.sync_dir(metadata_log_dir).await;
    synced.map_err(|error| StorageError::io("sync a directory", metadata_log_dir, error))?;
    let snapshot = Snapshot { timestamp: now, records: Vec::new() };
    let bytes = encode_snapshot(&snapshot, epoch, Some(&[voter]));
    let id = SnapshotId { end_offset: Offset::ZERO, epoch };
    Ok(write_snapshot(disk, &dir, id, bytes).await?)
}

pub(super) fn raft_options(options: &ControllerOptions) -> RaftOptions {
    let QuorumOptions { is_voter, voters, .. } = &options.quorum;
    let (node, directory_id) = (options.config.node, options.directory_id);
    // The directories of the others are not known: a configuration does not name them.
    let known = if voters.len() == 1 && *is_voter { directory_id } else { Uuid::ZERO };
    let voter_set = VoterSet::new(voters.iter().map(|(id, _)| Voter::new(*id, known)));
    RaftOptions {
        config: RaftConfig {
            node,
            directory_id,
            cluster_id: options.config.cluster_id.clone(),
            is_voter: *is_voter,
            voters: voter_set,
            election_timeout: options.quorum.election_timeout,
            election_backoff_max: options.quorum.election_backoff_max,
            fetch_timeout: options.quorum.fetch_timeout,
            retry_backoff: options.quorum.retry_backoff,
        },
        endpoints: voters.clone(),
        request_timeout: options.quorum.request_timeout,
        dir: options.metadata_log_dir.join(METADATA_PARTITION_DIR),
        segment_bytes: options.segment_bytes,
    }
}

pub(super) fn decode_bootstrap(path: &Path, bytes: &Bytes) -> Result<Vec<Record>, ControllerError> {
    let snapshot = decode_snapshot(bytes)
        .map_err(|error| ControllerError::Bootstrap { path: path.to_owned(), error })?;
    let decode = |value: Bytes| {
        let offset = Offset::ZERO;
        Record::from_bytes(value).map_err(|error| ControllerError::Record { offset, error })
    };
    snapshot.records.into_iter().map(decode).collect()
}
