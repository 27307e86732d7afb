//! What a leader does for its followers, and what a follower does with what it fetched.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::work::TruncateFiles;
use super::{FetchWatch, Inner, PartitionHandle, ReadAnswer, ReadRequest, ReadUpTo, Watching};
use crate::log::{Lookup, ReplicatedError, validate_replicated};
use crate::replica::{
    CutAt, Event, FetchState, FollowedBatches, FollowerAppend, FollowerFetch, FollowerFetched,
    FollowerRead, FollowerState, FollowerView, IsrAnswer, IsrProposal, ServedBy, TruncateTo,
    Truncation,
};
use crate::storage::{StorageError, find_cut, producers_at};
use crate::types::{BrokerEpoch, BrokerId, ErrorCode, LeaderEpoch, Offset, TopicIdPartition};

/// A cut is prepared again at most this often, when the log changed meanwhile.
const ATTEMPTS_MAX: usize = 8;

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

    pub(super) fn tell(&self, partition: TopicIdPartition, proposal: IsrProposal) {
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
    ///
    /// Neither truncates nor fetches: whoever owns the fetching begins with [`PartitionHandle::ready_to_fetch`].
    pub fn become_follower(self: &Arc<Self>, state: FollowerState) {
        self.handle(Event::BecomeFollower(state));
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
        fetch: FollowerFetch,
    ) -> Result<FollowerRead, ErrorCode> {
        if let Some(diverging) = self.note_fetch(&fetch)? {
            return Ok(diverging);
        }
        let request = ReadRequest {
            offset: fetch.fetch_offset,
            max_bytes: fetch.max_bytes,
            first_batch_whole: fetch.first_batch_whole,
            up_to: ReadUpTo::LogEnd,
            leader_epoch: fetch.current_leader_epoch,
        };
        let (answer, _) = self.read_unobserved(request, ServedBy::Leader).await?;
        let ReadAnswer { records, high_watermark, log_start_offset, log_end_offset, .. } = answer;
        Ok(FollowerRead {
            records,
            high_watermark,
            log_start_offset,
            log_end_offset,
            has_more: answer.has_more,
            diverging: None,
        })
    }

    /// Takes note of a follower's progress; the answer, where its log went another way.
    fn note_fetch(
        self: &Arc<Self>,
        fetch: &FollowerFetch,
    ) -> Result<Option<FollowerRead>, ErrorCode> {
        let inner = self.lock();
        let diverging = inner.machine.check_follower_fetch(fetch)?;
        if diverging.is_some() {
            let ReadAnswer { records, high_watermark, log_start_offset, log_end_offset, .. } =
                inner.empty_answer();
            return Ok(Some(FollowerRead {
                records,
                high_watermark,
                log_start_offset,
                log_end_offset,
                has_more: false,
                diverging,
            }));
        }
        if !fetch.is_repeated {
            let fetched = FollowerFetched {
                replica: fetch.replica,
                broker_epoch: fetch.broker_epoch,
                current_leader_epoch: fetch.current_leader_epoch,
                fetch_offset: fetch.fetch_offset,
                log_start_offset: fetch.log_start_offset,
            };
            self.run(inner, self.env.clock.now(), Some(Event::FollowerFetched(fetched)));
        }
        Ok(None)
    }

    /// Has `watch` told when the log is longer than the follower has seen: than [`FollowerRead::log_end_offset`] said.
    #[must_use]
    pub fn watch_log_end(self: &Arc<Self>, seen: Offset, watch: &Arc<FetchWatch>) -> Watching {
        let mut inner = self.lock();
        let waiter = inner.next_waiter();
        inner.watches.insert(waiter, watch.clone());
        let event = Event::WatchLogEnd { waiter, seen_end_offset: seen };
        self.run(inner, self.env.clock.now(), Some(event));
        Watching { handle: self.clone(), waiter }
    }

    /// From where on this replica fetches from its leader.
    ///
    /// # Errors
    /// KAFKA_STORAGE_ERROR; NOT_LEADER_OR_FOLLOWER where it does not follow; REPLICA_NOT_AVAILABLE while the end of its log is not
    /// written (or durable, where nothing less counts): ask again, or wait for [`PartitionHandle::ready_to_fetch`].
    pub fn fetch_state(&self) -> Result<FetchState, ErrorCode> {
        self.lock().machine.fetch_state()
    }

    /// [`PartitionHandle::fetch_state`], as soon as the end of the log is written.
    ///
    /// # Errors
    /// KAFKA_STORAGE_ERROR; NOT_LEADER_OR_FOLLOWER where it does not follow.
    pub async fn ready_to_fetch(&self) -> Result<FetchState, ErrorCode> {
        let ready = self.until(|inner| match inner.machine.fetch_state() {
            Err(ErrorCode::ReplicaNotAvailable) => None,
            state => Some(state),
        });
        ready.await.map_err(storage_error)?
    }

    /// Appends what was fetched from the leader, and learns its high watermark and log start. Returns the end of the log when
    /// all is written (durable, where nothing less counts): from there on the next fetch may be.
    ///
    /// # Errors
    /// CORRUPT_MESSAGE: nothing was appended, ask again or elsewhere. INVALID_RECORD: offsets or epochs that do not follow this
    /// log, or another fetch offset than its end; so too. FENCED_LEADER_EPOCH, UNKNOWN_LEADER_EPOCH, NOT_LEADER_OR_FOLLOWER: the role
    /// changed since it was asked for. KAFKA_STORAGE_ERROR: no space, or the directory is offline.
    ///
    /// Kafka: `ReplicaFetcherThread.processPartitionData`, `Partition.appendRecordsToFollowerOrFutureReplica`.
    pub async fn append_as_follower(
        self: &Arc<Self>,
        append: FollowerAppend,
    ) -> Result<Offset, ErrorCode> {
        let FollowerAppend { leader_epoch, fetch_offset, records, .. } = append;
        let from = self.lock().machine.fetched_from(leader_epoch, fetch_offset)?;
        let batches = validate_replicated(&records, from).map_err(|error| match error {
            ReplicatedError::Batch(_) => ErrorCode::CorruptMessage,
            ReplicatedError::OffsetBack { .. } => ErrorCode::InvalidRecord,
        })?;
        let first = batches.first().map(|batch| batch.header);
        if let Some(first) = first.filter(|first| first.base_offset < fetch_offset) {
            if first.end_offset() <= fetch_offset {
                return Err(ErrorCode::InvalidRecord);
            }
            crate::mark!("a leader's log starts within a batch");
            self.truncate(leader_epoch, TruncateTo::FullyAndStartAt(first.base_offset)).await?;
        } else if append.leader_log_start_offset.is_some_and(|start| start >= fetch_offset)
            && self.lock().machine.has_records()
        {
            match first {
                None if append.leader_high_watermark > Some(fetch_offset) => {
                    crate::mark!(
                        "a follower's log ends where its leader's begins, and waits for proof"
                    );
                    return Ok(fetch_offset);
                }
                Some(first) if self.lock().machine.is_past_proof(&first) => {
                    crate::mark!(
                        "a follower's log ends where its leader's begins, in another epoch"
                    );
                    self.truncate(leader_epoch, TruncateTo::FullyAndStartAt(fetch_offset)).await?;
                }
                Some(_) | None => {}
            }
        }
        let end_offset = {
            let inner = self.lock();
            inner.machine.check_follower_append(leader_epoch, &batches)?;
            let end_offset = batches
                .last()
                .map_or(inner.machine.log().log_end_offset(), |last| last.header.end_offset());
            let fetched = FollowedBatches {
                batches,
                leader_high_watermark: append.leader_high_watermark,
                leader_log_start_offset: append.leader_log_start_offset,
            };
            self.run(inner, self.env.clock.now(), Some(Event::AppendAsFollower(fetched)));
            end_offset
        };
        self.until_claimed(end_offset).await
    }

    /// Waits until this replica may claim its log up to `end_offset`.
    async fn until_claimed(&self, end_offset: Offset) -> Result<Offset, ErrorCode> {
        let claimed = self.until(|inner| {
            let machine = &inner.machine;
            // There was no space, or another role cut it.
            if machine.log().log_end_offset() < end_offset {
                return Some(Err(ErrorCode::KafkaStorageError));
            }
            (machine.replica_end_offset() >= end_offset).then_some(Ok(end_offset))
        });
        claimed.await.map_err(storage_error)?
    }

    /// Cuts a follower's log; returns its end when the cut is durable.
    ///
    /// # Errors
    /// As [`PartitionHandle::append_as_follower`].
    ///
    /// Kafka: `AbstractFetcherThread.getOffsetTruncationState`, `Partition.truncateTo`, `truncateFullyAndStartAt`.
    pub async fn truncate(
        self: &Arc<Self>,
        leader_epoch: LeaderEpoch,
        to: TruncateTo,
    ) -> Result<Offset, ErrorCode> {
        for _ in 0..ATTEMPTS_MAX {
            self.until_settled().await.map_err(storage_error)?;
            let cut = {
                let inner = self.lock();
                inner.machine.check_follower(leader_epoch)?;
                Cut::new(&inner, inner.machine.cut_at(to))
            };
            let truncation = self.prepare_cut(&cut).await.map_err(|error| self.failed(&error))?;
            if let Some(truncation) = truncation
                && self.cut(leader_epoch, to, &cut, truncation)?
            {
                return self.until_truncated().await;
            }
        }
        // Something is under way all the time: the fetcher may try again.
        Err(ErrorCode::ReplicaNotAvailable)
    }

    /// Cuts the log, unless it is another one meanwhile: `false`.
    fn cut(
        self: &Arc<Self>,
        leader_epoch: LeaderEpoch,
        to: TruncateTo,
        cut: &Cut,
        truncation: Truncation,
    ) -> Result<bool, ErrorCode> {
        let inner = self.lock();
        inner.machine.check_follower(leader_epoch)?;
        let is_same = Cut::new(&inner, inner.machine.cut_at(to)) == *cut && inner.is_settled();
        if is_same {
            self.run(inner, self.env.clock.now(), Some(Event::Truncate(truncation)));
        }
        Ok(is_same)
    }

    async fn until_truncated(&self) -> Result<Offset, ErrorCode> {
        let (truncations, epochs) = {
            let inner = self.lock();
            (inner.machine.truncations(), inner.machine.epochs_version())
        };
        let done = self.until(|inner| {
            let is_done = inner.truncations >= truncations && inner.epochs_version >= epochs;
            is_done.then(|| inner.machine.log().log_end_offset())
        });
        done.await.map_err(storage_error)
    }

    /// Reads what the machine must know to cut its log. `None`: the log is another one meanwhile.
    async fn prepare_cut(&self, cut: &Cut) -> Result<Option<Truncation>, StorageError> {
        let to = match cut.at {
            CutAt::Nowhere => return Ok(Some(Truncation::EpochsOnly)),
            CutAt::Everything(start) => return Ok(Some(Truncation::FullyAndStartAt(start))),
            CutAt::Offset(to) => to,
        };
        // Looked up is the record before: an index entry for `to` itself may point at a batch that reaches beyond.
        let before = Offset::from_wire(to.value() - 1).unwrap_or(Offset::ZERO);
        let lookup = self.lock().machine.lookup(before);
        let (segment, size, position) = match lookup {
            Lookup::At { segment, position, size, .. } => (segment, size, position),
            Lookup::NeedsIndex { .. } => {
                self.load_indexes().await?;
                return Ok(None);
            }
        };
        let mut point = find_cut(&self.files, segment, size, position, to).await?;
        if point.end_offset.is_none() && position > 0 {
            // The batch that the index names has rotted: whatever stands before it in the segment tells where the log ends.
            crate::mark!("a follower's cut meets rot");
            point = find_cut(&self.files, segment, size, 0, to).await?;
        }
        let end_offset = point.end_offset.unwrap_or(segment).max(cut.log_start_offset);
        let producers = producers_at(&self.files, &cut.segments, end_offset).await?;
        Ok(Some(Truncation::At {
            to: end_offset,
            segment,
            position: point.position,
            max_timestamp: point.max_timestamp,
            producers,
        }))
    }

    /// Performs a cut. In this order: first nothing may be left that vouches for what goes, since what is written next will
    /// stand in its place.
    pub(super) async fn truncate_files(&self, cut: &TruncateFiles) -> Result<(), StorageError> {
        if cut.lowers_recovery_point {
            self.dir.write_checkpoints_now().await?;
        }
        self.files.remove_snapshots_above(cut.end_offset).await?;
        self.files.cut(cut.segment, cut.position, &cut.later).await?;
        self.files.save_indexes(&cut.indexes).await?;
        self.files.sync(&[cut.segment]).await
    }

    pub(super) async fn restart_files(
        &self,
        segments: &[Offset],
        start_offset: Offset,
    ) -> Result<(), StorageError> {
        self.files.restart(segments, start_offset).await?;
        self.dir.write_checkpoints_now().await
    }

    pub(super) fn truncated(&self, number: u64, done: Result<(), StorageError>) -> Option<Event> {
        self.lock().truncations = number;
        done.err().map(|error| self.failed_for_good(error))
    }

    /// The controller answered a proposal; ignored where it is no longer the one that is pending.
    ///
    /// Kafka: `Partition.handleAlterPartitionUpdate`, `handleAlterPartitionError`.
    pub fn isr_answered(self: &Arc<Self>, proposal: &IsrProposal, answer: IsrAnswer) {
        self.handle(Event::IsrAnswered { proposal: proposal.clone(), answer });
    }

    /// The incarnations of the brokers that may join the ISR changed: registered, neither fenced nor in controlled shutdown.
    pub fn broker_epochs_changed(self: &Arc<Self>, epochs: &BTreeMap<BrokerId, BrokerEpoch>) {
        self.handle(Event::BrokerEpochs(epochs.clone()));
    }

    /// The followers in sync, as far as this leader knows, that can serve a consumer at `offset`: each with the end of its log
    /// and for how long it has been behind. `None` at a follower.
    ///
    /// Kafka: `ReplicaManager.findPreferredReadReplica`.
    #[must_use]
    pub fn followers_with(&self, offset: Offset) -> Option<Vec<FollowerView>> {
        self.lock().machine.followers_with(self.env.clock.now(), offset)
    }

    /// The in-sync replicas of a leader, rising: those committed, and those with what is proposed to be added.
    #[must_use]
    pub fn in_sync_replicas(&self) -> Option<(Vec<BrokerId>, Vec<BrokerId>)> {
        self.lock().machine.in_sync_replicas()
    }

    /// The smallest log start among the replicas that are alive, as far as a leader knows: what a DeleteRecords request waits
    /// for.
    #[must_use]
    pub fn low_watermark(&self) -> Offset {
        self.lock().machine.low_watermark()
    }

    /// Waits until all replicas that are alive have removed what lies below `offset`, as far as the leader of `leader_epoch` knows. The low
    /// watermark then. Cancel-safe.
    ///
    /// # Errors
    /// As [`PartitionHandle::check_leader`], also where the leadership ends meanwhile.
    ///
    /// Kafka: `DelayedDeleteRecords`.
    pub async fn until_removed(
        &self,
        offset: Offset,
        leader_epoch: LeaderEpoch,
    ) -> Result<Offset, ErrorCode> {
        let is_removed = |inner: &Inner| match inner.machine.check_leader(Some(leader_epoch)) {
            Ok(_) => {
                let low_watermark = inner.machine.low_watermark();
                (low_watermark >= offset).then_some(Ok(low_watermark))
            }
            Err(error) => Some(Err(error)),
        };
        self.until(is_removed).await.map_err(storage_error)?
    }

    fn failed(&self, error: &StorageError) -> ErrorCode {
        tracing::warn!(partition = %self.partition, %error, "a log cannot be read to be cut");
        ErrorCode::KafkaStorageError
    }
}

/// Where a log is to be cut, and what it is: as long as this does not change, what was read before the cut holds.
#[derive(Debug, PartialEq, Eq)]
struct Cut {
    at: CutAt,
    generation: u64,
    log_start_offset: Offset,
    log_end_offset: Offset,
    /// With their sizes, rising.
    segments: Vec<(Offset, u64)>,
}

impl Cut {
    fn new(inner: &Inner, at: CutAt) -> Self {
        let log = inner.machine.log();
        Self {
            at,
            generation: inner.machine.generation(),
            log_start_offset: log.log_start_offset(),
            log_end_offset: log.log_end_offset(),
            segments: log.segments().iter().map(|one| (one.base_offset, one.size)).collect(),
        }
    }
}

fn storage_error(_: StorageError) -> ErrorCode {
    ErrorCode::KafkaStorageError
}
