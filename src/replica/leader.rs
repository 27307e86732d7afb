//! What a leader does: it begins a term, takes appends, and lets followers fetch.
//!
//! Kafka: `Partition.makeLeader`, `appendRecordsToLeader`, `updateFollowerFetchState`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::delayed_produce::refuse;
use super::event::{Append, AppendAnswer, Effect, FollowerFetched};
use super::isr::{FollowerProgress, InSyncReplicas};
use super::partition::{Partition, State};
use super::{FollowerFetch, LeaderState};
use crate::log::{BatchMetadata, EpochEndOffset, ProducerRefusal, ProducerVerdict, ValidatedBatch};
use crate::types::{
    Acks, BrokerEpoch, BrokerId, BrokerSet, ErrorCode, LeaderEpoch, Monotonic, Now, Observation,
    Offset,
};

/// What exists while this replica leads.
#[derive(Clone, Debug)]
pub(super) struct Leading {
    /// The term.
    pub(super) epoch: LeaderEpoch,
    /// The log's end when the term began.
    pub(super) start_offset: Offset,
    /// All that hold the partition, this one included.
    pub(super) replicas: Vec<BrokerId>,
    /// The others, and how far each is.
    pub(super) followers: BTreeMap<BrokerId, FollowerProgress>,
    /// The in-sync replicas.
    pub(super) isr: InSyncReplicas,
    /// The incarnations of the brokers that may join them.
    pub(super) broker_epochs: BTreeMap<BrokerId, BrokerEpoch>,
    lag_check_at: Monotonic,
}

impl Leading {
    /// When to look for followers that fell behind; `None` where there are none.
    pub(super) fn next_lag_check(&self) -> Option<Monotonic> {
        (!self.followers.is_empty()).then_some(self.lag_check_at)
    }

    /// Kafka looks every half of `replica.lag.time.max.ms`: so who stops leaves after 1 to 1.5 of it.
    pub(super) fn plan_lag_check(&mut self, now: Monotonic, lag_time_max: Duration) {
        self.lag_check_at = now + (lag_time_max / 2).max(Duration::from_millis(1));
    }

    /// Whether a broker may join the ISR: unfenced, not in controlled shutdown, and fetching in the incarnation that is
    /// registered. Stricter than Kafka, which takes fetches without an incarnation too.
    pub(super) fn may_join(&self, broker: BrokerId) -> bool {
        let fetched_in = self.followers.get(&broker).and_then(|progress| progress.broker_epoch);
        fetched_in.is_some() && fetched_in == self.broker_epochs.get(&broker).copied()
    }

    /// Another set of replicas: those that stay keep their progress.
    fn set_replicas(&mut self, node: BrokerId, replicas: Vec<BrokerId>) {
        let others = || replicas.iter().copied().filter(|id| *id != node);
        self.followers.retain(|id, _| replicas.contains(id));
        for id in others() {
            self.followers.entry(id).or_default();
        }
        self.replicas = replicas;
    }

    /// Asserts the invariants.
    pub(super) fn check(&self) {
        self.isr.check();
        assert!(self.followers.len() <= self.replicas.len(), "followers are replicas");
    }
}

impl Partition {
    /// Leads in a new term. Nothing is known of the followers: what they said in an earlier term, they may have lost since.
    pub(super) fn start_term(&mut self, now: Now, state: LeaderState, out: &mut Vec<Effect>) {
        let node = self.config.node;
        let (epoch, start_offset) = (state.leader_epoch, self.log.log_end_offset());
        // Followers may have seen epochs between the last one here and this one. They find where their logs part from this one
        // only if the new epoch is known before its first record is (KAFKA-7415).
        if self.epochs.assign(epoch, start_offset) || self.epochs_unsaved {
            self.save_epochs(out);
        }
        let others = state.replicas.iter().copied().filter(|id| *id != node);
        let progress = |id| FollowerProgress::at_start(now.monotonic, state.isr.contains(&id));
        let mut leading = Leading {
            epoch,
            start_offset,
            followers: others.map(|id| (id, progress(id))).collect(),
            isr: InSyncReplicas::new(state.isr),
            replicas: state.replicas,
            broker_epochs: state.broker_epochs,
            lag_check_at: now.monotonic,
        };
        leading.plan_lag_check(now.monotonic, self.config.lag_time_max);
        self.leader_epoch = Some(epoch);
        self.partition_epoch = Some(state.partition_epoch);
        out.push(Effect::Observe(Observation::BecameLeader {
            partition: self.id,
            leader_epoch: epoch,
            partition_epoch: state.partition_epoch,
            start_offset,
            isr: BrokerSet::of(leading.isr.committed()),
            min_isr: u32::try_from(self.min_isr(&leading)).unwrap_or(u32::MAX),
        }));
        self.state = State::Leader(Box::new(leading));
        self.advance(now, out);
    }

    /// The controller committed a new version of the term, or the answer to a proposal told of it already: then the proposal
    /// that was made since stays pending.
    pub(super) fn on_new_version(&mut self, now: Now, state: LeaderState, out: &mut Vec<Effect>) {
        let is_newer = self.partition_epoch.is_none_or(|ours| state.partition_epoch > ours);
        let (node, min_isr) = (self.config.node, self.effective_min_isr());
        let State::Leader(leading) = &mut self.state else { return };
        leading.set_replicas(node, state.replicas);
        leading.broker_epochs = state.broker_epochs;
        if is_newer {
            leading.isr = InSyncReplicas::new(state.isr);
            self.on_isr_known(state.partition_epoch, out);
        }
        self.on_min_isr(now, min_isr, out);
    }

    /// How many replicas must be in sync; `None` where this one does not lead.
    pub(super) fn effective_min_isr(&self) -> Option<usize> {
        match &self.state {
            State::Leader(leading) => Some(self.min_isr(leading)),
            State::Unassigned | State::Follower(_) | State::Offline => None,
        }
    }

    /// The minimum of in-sync replicas was `before`, and may be another now.
    pub(super) fn on_min_isr(&mut self, now: Now, before: Option<usize>, out: &mut Vec<Effect>) {
        if let Some(min_isr) = self.effective_min_isr()
            && Some(min_isr) != before
        {
            let (partition, min_isr) = (self.id, u32::try_from(min_isr).unwrap_or(u32::MAX));
            out.push(Effect::Observe(Observation::MinIsrChanged { partition, min_isr }));
        }
        self.advance(now, out);
    }

    pub(super) fn on_append(&mut self, now: Now, append: Append, out: &mut Vec<Effect>) {
        let Append { waiter, acks, batch } = append;
        let header = *batch.header();
        out.push(Effect::Observe(Observation::ProduceReceived {
            partition: self.id,
            acks,
            records: header.record_count,
            bytes: header.size_in_bytes,
        }));
        let epoch = match self.may_append(acks) {
            Ok(epoch) => epoch,
            Err(error) => return refuse(self.id, waiter, error, out),
        };
        match self.producers.check(&header) {
            Ok(ProducerVerdict::Append) => {
                let answer = self.assign(now, epoch, &batch, out);
                self.wait(waiter, acks, answer, out);
                self.maybe_sync(now, out);
            }
            Ok(ProducerVerdict::Duplicate(first)) => {
                let answer = self.duplicate(first, &batch, epoch, out);
                self.wait(waiter, acks, answer, out);
            }
            Err(refusal) => {
                self.say_out_of_order(refusal, out);
                refuse(self.id, waiter, refusal.error_code(), out);
            }
        }
    }

    fn say_out_of_order(&self, refusal: ProducerRefusal, out: &mut Vec<Effect>) {
        if let ProducerRefusal::OutOfOrder { stamp: producer, last_sequence } = refusal {
            let partition = self.id;
            out.push(Effect::Observe(Observation::ProduceOutOfOrder {
                partition,
                producer,
                last_sequence,
            }));
        }
    }

    /// Whether a producer may append here; the term.
    ///
    /// Errors: NOT_LEADER_OR_FOLLOWER, KAFKA_STORAGE_ERROR; NOT_ENOUGH_REPLICAS where `acks=all` asks for more in-sync replicas
    /// than there are: nothing is written then.
    fn may_append(&self, acks: Acks) -> Result<LeaderEpoch, ErrorCode> {
        match &self.state {
            State::Offline => Err(ErrorCode::KafkaStorageError),
            State::Unassigned | State::Follower(_) => Err(ErrorCode::NotLeaderOrFollower),
            State::Leader(leading) => {
                if acks == Acks::All && leading.isr.committed().len() < self.min_isr(leading) {
                    return Err(ErrorCode::NotEnoughReplicas);
                }
                Ok(leading.epoch)
            }
        }
    }

    /// The batch is in the log already: the answer is that of the first time.
    fn duplicate(
        &self,
        first: BatchMetadata,
        batch: &ValidatedBatch,
        leader_epoch: LeaderEpoch,
        out: &mut Vec<Effect>,
    ) -> AppendAnswer {
        crate::mark!("a producer's batch is a duplicate");
        let base_offset = first.first_offset();
        if let Some(producer) = batch.header().producer_stamp() {
            out.push(Effect::Observe(Observation::ProduceDuplicate {
                partition: self.id,
                base_offset,
                producer,
            }));
        }
        AppendAnswer {
            base_offset,
            end_offset: first.last_offset + 1,
            log_append_time: batch.log_append_time().map(|_| first.timestamp),
            log_start_offset: self.log.log_start_offset(),
            leader_epoch,
        }
    }

    /// Gives the batch its offsets and its place, and has it written there.
    fn assign(
        &mut self,
        now: Now,
        epoch: LeaderEpoch,
        batch: &ValidatedBatch,
        out: &mut Vec<Effect>,
    ) -> AppendAnswer {
        if self.epochs_unsaved {
            self.save_epochs(out);
        }
        let base_offset = self.log.log_end_offset();
        let stamped = batch.stamp(base_offset, epoch);
        let end_offset = stamped.header.end_offset();
        let placement = self.place(now, &stamped.header, epoch, None, out);
        out.push(Effect::Write {
            segment: placement.segment,
            position: placement.position,
            slices: stamped.slices,
            base_offset,
            end_offset,
            generation: self.generation,
        });
        AppendAnswer {
            base_offset,
            end_offset,
            log_append_time: batch.log_append_time(),
            log_start_offset: self.log.log_start_offset(),
            leader_epoch: epoch,
        }
    }

    /// Whether a follower's fetch may be served; where its log and this one part, if they do.
    ///
    /// Errors: as [`Partition::check_leader`]; FENCED_LEADER_EPOCH without an epoch (stricter than Kafka); UNKNOWN_LEADER_EPOCH of
    /// a broker that is no replica as far as is known here: it may have heard more; NOT_LEADER_OR_FOLLOWER of an incarnation
    /// that is over; OFFSET_OUT_OF_RANGE.
    ///
    /// Kafka: `Partition.fetchRecords`, `readRecords`, `followerReplicaOrThrow`, `Replica.updateFetchStateOrThrow`.
    pub fn check_follower_fetch(
        &self,
        fetch: &FollowerFetch,
    ) -> Result<Option<EpochEndOffset>, ErrorCode> {
        self.check_leader(fetch.current_leader_epoch)?;
        let State::Leader(leading) = &self.state else {
            unreachable!("it leads: just checked");
        };
        // It may hear of its assignment before this leader does: it asks again.
        let unknown = match fetch.current_leader_epoch {
            Some(_) => ErrorCode::UnknownLeaderEpoch,
            None => ErrorCode::NotLeaderOrFollower,
        };
        let progress = leading.followers.get(&fetch.replica).ok_or(unknown)?;
        if fetch.current_leader_epoch.is_none() {
            return Err(ErrorCode::FencedLeaderEpoch);
        }
        let known = leading.broker_epochs.get(&fetch.replica).copied().max(progress.broker_epoch);
        if fetch.broker_epoch.is_some() && known > fetch.broker_epoch {
            crate::mark!("an earlier life of a follower fetches");
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        if let Some(epoch) = fetch.last_fetched_epoch {
            let end = self.end_offset_for(epoch).ok_or(ErrorCode::OffsetOutOfRange)?;
            if fetch.fetch_offset < self.log.log_start_offset() {
                return Err(ErrorCode::OffsetOutOfRange);
            }
            if end.epoch < epoch || end.end_offset < fetch.fetch_offset {
                crate::mark!("a follower's log diverges from the leader's");
                return Ok(Some(end));
            }
        }
        self.check_offset(fetch.fetch_offset)?;
        Ok(None)
    }

    pub(super) fn on_follower_fetched(
        &mut self,
        now: Now,
        fetched: FollowerFetched,
        out: &mut Vec<Effect>,
    ) {
        let leader_end = self.replica_end_offset();
        let State::Leader(leading) = &mut self.state else { return };
        let FollowerFetched { replica, broker_epoch, current_leader_epoch, fetch_offset, .. } =
            fetched;
        let Some(progress) = leading.followers.get_mut(&replica) else { return };
        let start = fetched.log_start_offset;
        progress.on_fetch(now.monotonic, fetch_offset, start, leader_end, broker_epoch);
        out.push(Effect::Observe(Observation::FollowerFetched {
            partition: self.id,
            leader_epoch: leading.epoch,
            replica,
            broker_epoch,
            current_leader_epoch,
            fetch_offset,
        }));
        self.maybe_expand_isr(replica, out);
        self.advance(now, out);
    }

    /// Whether what is committed is not yet known to this leader: below the start of its term there may be more than its
    /// high watermark says. Then nobody may be told what the latest offset is (KIP-207).
    #[must_use]
    pub fn is_high_watermark_behind(&self) -> bool {
        match &self.state {
            State::Leader(leading) => self.high_watermark < leading.start_offset,
            State::Unassigned | State::Follower(_) | State::Offline => false,
        }
    }

    /// The smallest log start among this replica and the followers that are alive, as far as they told.
    ///
    /// Kafka: `Partition.lowWatermarkIfLeader`.
    #[must_use]
    pub fn low_watermark(&self) -> Offset {
        let mut least = self.log.log_start_offset();
        if let State::Leader(leading) = &self.state {
            let alive = leading.followers.iter();
            let alive = alive.filter(|(id, _)| leading.broker_epochs.contains_key(id));
            for (_, progress) in alive {
                least = least.min(progress.log_start_offset.unwrap_or(Offset::ZERO));
            }
        }
        least
    }
}
