//! What a leader does for its followers, and what a follower does with what it fetched.

use std::fmt;
use std::sync::Arc;

use super::{FetchWatch, PartitionHandle, Watching};
use crate::replica::{
    FetchState, FollowerAppend, FollowerFetch, FollowerRead, FollowerState, IsrAnswer, IsrProposal,
    TruncateTo,
};
use crate::types::{BrokerEpoch, BrokerId, ErrorCode, LeaderEpoch, Offset, TopicIdPartition};

use std::collections::BTreeMap;

/// Who hears of the ISR changes that leaders want (the sender of AlterPartition).
///
/// Called without the partition's lock, from any task; it must not block. A proposal replaces an earlier one of the same
/// partition that was not sent yet, unless it is of an older term or version. It may come again while it is not answered;
/// the sender waits between attempts.
#[derive(Clone)]
pub struct IsrChanges(Arc<dyn Fn(TopicIdPartition, IsrProposal) + Send + Sync>);

impl IsrChanges {
    /// `listener` hears them.
    pub fn new(listener: impl Fn(TopicIdPartition, IsrProposal) + Send + Sync + 'static) -> Self {
        Self(Arc::new(listener))
    }

    /// Nobody does: for partitions with one replica.
    #[must_use]
    pub fn none() -> Self {
        Self::new(|_, _| {})
    }

    /// Tells it.
    pub fn tell(&self, partition: TopicIdPartition, proposal: IsrProposal) {
        (self.0)(partition, proposal);
    }
}

impl fmt::Debug for IsrChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IsrChanges")
    }
}

impl PartitionHandle {
    /// Follows. Whatever was led or followed before ends: who waits is told so. A term or version older than known is ignored.
    pub fn become_follower(self: &Arc<Self>, _state: FollowerState) {
        self.resign();
    }

    /// Takes note of a follower's progress, which may move the high watermark and propose to take the follower into the ISR,
    /// and reads what it wants.
    ///
    /// # Errors
    /// As [`PartitionHandle::check_leader`]; FENCED_LEADER_EPOCH without an epoch; UNKNOWN_LEADER_EPOCH where the replica is not
    /// assigned; NOT_LEADER_OR_FOLLOWER under an old broker epoch; OFFSET_OUT_OF_RANGE; CORRUPT_MESSAGE.
    ///
    /// Kafka: `Partition.fetchRecords`, `updateFollowerFetchState`.
    pub async fn fetch_as_follower(
        self: &Arc<Self>,
        _fetch: FollowerFetch,
    ) -> Result<FollowerRead, ErrorCode> {
        Err(ErrorCode::NotLeaderOrFollower)
    }

    /// Has `watch` told when the log is longer than the follower has seen.
    #[must_use]
    pub fn watch_log_end(self: &Arc<Self>, seen: Offset, watch: &Arc<FetchWatch>) -> Watching {
        self.watch(seen, watch)
    }

    /// From where on this replica fetches from its leader.
    ///
    /// # Errors
    /// KAFKA_STORAGE_ERROR; NOT_LEADER_OR_FOLLOWER where it does not follow; REPLICA_NOT_AVAILABLE while the end of its log is not
    /// written (or durable, where nothing less counts): ask again, or wait for [`PartitionHandle::ready_to_fetch`].
    pub fn fetch_state(&self) -> Result<FetchState, ErrorCode> {
        Err(ErrorCode::NotLeaderOrFollower)
    }

    /// [`PartitionHandle::fetch_state`], as soon as the end of the log is written.
    ///
    /// # Errors
    /// KAFKA_STORAGE_ERROR; NOT_LEADER_OR_FOLLOWER where it does not follow.
    pub async fn ready_to_fetch(&self) -> Result<FetchState, ErrorCode> {
        self.fetch_state()
    }

    /// Appends what was fetched from the leader, and learns its high watermark and log start. Returns the end of the log when
    /// all is written (durable, where nothing less counts): from there on the next fetch may be.
    ///
    /// # Errors
    /// CORRUPT_MESSAGE: nothing was appended, ask again or elsewhere. INVALID_RECORD: offsets or epochs that do not follow this
    /// log, or another fetch offset than its end; so too. FENCED_LEADER_EPOCH, UNKNOWN_LEADER_EPOCH, NOT_LEADER_OR_FOLLOWER: the role
    /// changed since it was asked for. KAFKA_STORAGE_ERROR: no space, or the directory is offline.
    ///
    /// Kafka: `ReplicaFetcherThread.processPartitionData`.
    pub async fn append_as_follower(
        self: &Arc<Self>,
        _append: FollowerAppend,
    ) -> Result<Offset, ErrorCode> {
        Err(ErrorCode::NotLeaderOrFollower)
    }

    /// Cuts a follower's log; returns its end when the cut is durable.
    ///
    /// # Errors
    /// As [`PartitionHandle::append_as_follower`].
    ///
    /// Kafka: `AbstractFetcherThread.getOffsetTruncationState`, `Partition.truncateTo`, `truncateFullyAndStartAt`.
    pub async fn truncate(
        self: &Arc<Self>,
        _leader_epoch: LeaderEpoch,
        _to: TruncateTo,
    ) -> Result<Offset, ErrorCode> {
        Err(ErrorCode::NotLeaderOrFollower)
    }

    /// The controller answered a proposal; ignored where it is no longer the one that is pending.
    ///
    /// Kafka: `Partition.handleAlterPartitionUpdate`, `handleAlterPartitionError`.
    pub fn isr_answered(self: &Arc<Self>, _proposal: &IsrProposal, _answer: IsrAnswer) {}

    /// The incarnations of the brokers that may join the ISR changed: registered, neither fenced nor in controlled shutdown.
    pub fn broker_epochs_changed(self: &Arc<Self>, _epochs: &BTreeMap<BrokerId, BrokerEpoch>) {}

    /// The in-sync replicas of a leader: what is committed, and with what is proposed to be added.
    #[must_use]
    pub fn in_sync_replicas(&self) -> Option<(Vec<BrokerId>, Vec<BrokerId>)> {
        None
    }
}
