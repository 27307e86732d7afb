//! What a replica is told of its place among the others, and what it tells: plain data.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::log::EpochEndOffset;
use crate::protocol::Records;
use crate::types::{BrokerEpoch, BrokerId, ErrorCode, LeaderEpoch, Offset, PartitionEpoch};

/// What the metadata says to the one who leads. Also told when a new version of the same term is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderState {
    /// The term.
    pub leader_epoch: LeaderEpoch,
    /// The version of the partition's state in the metadata. What is older than known already changes nothing.
    pub partition_epoch: PartitionEpoch,
    /// The brokers that hold the partition, this one included, the preferred leader first.
    pub replicas: Vec<BrokerId>,
    /// The committed in-sync replicas, this one included.
    pub isr: Vec<BrokerId>,
    /// The leader was elected out of replicas that may lack committed records. Its next proposal ends this state.
    pub is_recovering: bool,
    /// The incarnation of each broker that may join the ISR: registered, neither fenced nor in controlled shutdown.
    pub broker_epochs: BTreeMap<BrokerId, BrokerEpoch>,
}

impl LeaderState {
    /// The only replica leads.
    #[must_use]
    pub fn alone(node: BrokerId, leader_epoch: LeaderEpoch) -> Self {
        Self {
            leader_epoch,
            partition_epoch: PartitionEpoch::new(0),
            replicas: vec![node],
            isr: vec![node],
            is_recovering: false,
            broker_epochs: BTreeMap::new(),
        }
    }
}

/// What the metadata says to the one who follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowerState {
    /// Whom; `None` while nobody leads.
    pub leader: Option<BrokerId>,
    /// The leader's term.
    pub leader_epoch: LeaderEpoch,
    /// The version of the partition's state in the metadata.
    pub partition_epoch: PartitionEpoch,
}

/// Other in-sync replicas, as the leader asks the controller for (AlterPartition, KIP-497).
///
/// At most one is pending in a partition. It stands until it is answered or newer metadata comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsrProposal {
    /// The leader's term.
    pub leader_epoch: LeaderEpoch,
    /// The version that it is to replace.
    pub partition_epoch: PartitionEpoch,
    /// The in-sync replicas, rising, each with the incarnation in which it fetched (KIP-903). `None`, −1 on the wire, where the
    /// leader does not know it: of a member that has not fetched in this term.
    pub isr: Vec<(BrokerId, Option<BrokerEpoch>)>,
    /// Whether the leader may still lack committed records: never, since it has recovered what it can when it leads.
    pub is_recovering: bool,
}

/// What the controller committed for a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsrCommitted {
    /// The leader's term.
    pub leader_epoch: LeaderEpoch,
    /// The version of the partition's state.
    pub partition_epoch: PartitionEpoch,
    /// The in-sync replicas.
    pub isr: Vec<BrokerId>,
    /// Whether the leader may still lack committed records.
    pub is_recovering: bool,
}

/// A follower's fetch from the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowerFetch {
    /// The follower.
    pub replica: BrokerId,
    /// Its incarnation (KIP-903).
    pub broker_epoch: Option<BrokerEpoch>,
    /// The leader epoch it believes in. Without one nothing is served: Kafka's followers have sent it since 2.1.
    pub current_leader_epoch: Option<LeaderEpoch>,
    /// The end of its log: everything below it has, as durable as it may claim it.
    pub fetch_offset: Offset,
    /// The epoch of its last batch; `None` for an empty log.
    pub last_fetched_epoch: Option<LeaderEpoch>,
    /// The start of its log.
    pub log_start_offset: Offset,
    /// How many bytes it takes.
    pub max_bytes: usize,
    /// It takes the first batch even if that is larger (KIP-74).
    pub first_batch_whole: bool,
    /// The same request is read again after it waited: the follower's progress was taken note of the first time.
    pub is_repeated: bool,
}

/// What a follower gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowerRead {
    /// Whole batches; empty where there is nothing yet, and where the logs diverge.
    pub records: Records,
    /// Everything below is committed.
    pub high_watermark: Offset,
    /// The first offset of the leader's log.
    pub log_start_offset: Offset,
    /// The end of the leader's log: what [`super::driver::PartitionHandle::watch_log_end`] wants to know.
    pub log_end_offset: Offset,
    /// Whether the leader's log has more behind these records, as [`super::driver::ReadAnswer`] says.
    pub has_more: bool,
    /// The follower's log went another way: the largest epoch up to its own that the leader knows, and where that ends here.
    pub diverging: Option<EpochEndOffset>,
}

/// What a follower fetched. Only an answer without error and without divergence comes here, also one without records: it
/// proves that the logs agree up to `fetch_offset`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowerAppend {
    /// The leader epoch in which it was asked for.
    pub leader_epoch: LeaderEpoch,
    /// The offset that was asked for: the end of the follower's log, as [`FetchState`] told it.
    pub fetch_offset: Offset,
    /// The batches as they came; one that is cut off at the end is left away.
    pub records: Bytes,
    /// The leader's high watermark.
    pub leader_high_watermark: Option<Offset>,
    /// The first offset of the leader's log.
    pub leader_log_start_offset: Option<Offset>,
}

/// How a follower's log is cut to what it has in common with the leader's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TruncateTo {
    /// The log ends there at most.
    Offset(Offset),
    /// Where the leader's log of an epoch ends, as it answered to what this log last fetched (KIP-101, KIP-279). One cut may
    /// not be enough: the next fetch tells.
    EpochEnd(EpochEndOffset),
    /// All of it goes: the leader's log begins later. The log is empty and begins there.
    FullyAndStartAt(Offset),
}

/// From where on a follower fetches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchState {
    /// Whom it follows; `None` while nobody leads.
    pub leader: Option<BrokerId>,
    /// The leader's term.
    pub leader_epoch: LeaderEpoch,
    /// The end of its log.
    pub offset: Offset,
    /// The epoch of its last batch; `None` for an empty log.
    pub last_fetched_epoch: Option<LeaderEpoch>,
    /// The start of its log.
    pub log_start_offset: Offset,
}

/// The answer to an [`IsrProposal`].
pub type IsrAnswer = Result<IsrCommitted, ErrorCode>;
