//! Offsets: how far groups have read. Committed, fetched, deleted, expired.
//!
//! Kafka: `OffsetMetadataManager`.

use std::ops::Bound;
use std::sync::Arc;

use super::classic_group::{ClassicGroup, State};
use super::consumer_group::ConsumerGroup;
use super::draft::Draft;
use super::request::{
    CommitOffsets, CommittedOffset, DeleteOffsets, FetchOffsets, FetchedTopic, GroupId,
    OffsetToCommit, Token, Topic, TopicResults,
};
use super::said::committer;
use super::timers::Timer;
use super::{GroupCoordinator, Outcome};
use crate::protocol::coordinator_records::{
    CoordinatorRecord, GroupMetadataKey, OffsetCommitKey, OffsetCommitValue,
};
use crate::types::{
    ErrorCode, GenerationId, GroupObservation, Now, OffsetEnd, PartitionIndex, ShortName,
    Timestamp, TopicId, TopicIdPartition, Uuid,
};

/// After how many records one look for expired offsets pauses, so that nobody waits long behind it. A group is not split.
const EXPIRY_RECORDS_MAX: usize = 1_000;

/// That nothing is committed of a partition any more.
fn offset_tombstone(group: &str, topic: &str, partition: PartitionIndex) -> CoordinatorRecord {
    let key = OffsetCommitKey { group: group.to_owned(), topic: topic.to_owned(), partition };
    CoordinatorRecord::OffsetCommit(key, None)
}

/// That there is no such group any more.
fn group_tombstone(group: &str) -> CoordinatorRecord {
    CoordinatorRecord::GroupMetadata(GroupMetadataKey { group: group.to_owned() }, None)
}

/// Since when an offset's time runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ExpiryBase {
    /// Since it was committed.
    Commit,
    /// Since then.
    At(Timestamp),
}

impl GroupCoordinator {
    /// Decides a commit: each partition on its own, once the committer is known to be one.
    pub(super) fn commit_offsets(
        &mut self,
        now: Now,
        request: &CommitOffsets,
        token: Token,
        out: &mut Outcome,
    ) -> Result<Vec<TopicResults>, ErrorCode> {
        self.check_commit(now, request, out)?;
        let mut results = Vec::with_capacity(request.topics.len());
        for (topic, partitions) in &request.topics {
            let partitions = partitions.iter().map(|commit| {
                let error = self.commit_offset(now, request, topic, commit, out).err();
                if error.is_none() {
                    self.say_committed(token, request, topic, commit, out);
                }
                (commit.partition, error.unwrap_or(ErrorCode::None))
            });
            results.push(TopicResults { topic: topic.clone(), partitions: partitions.collect() });
        }
        Ok(results)
    }

    /// Whether the committer may: a member of this generation, or anybody where the group has no members. A member's commit keeps
    /// its session alive.
    fn check_commit(
        &mut self,
        now: Now,
        request: &CommitOffsets,
        out: &mut Outcome,
    ) -> Result<(), ErrorCode> {
        if let Some(group) = self.consumer_group(&request.group) {
            return self.check_consumer_commit(group, request);
        }
        let Some(mut turn) = self.turn(now, &request.group, out) else {
            // Nobody has joined it: whoever claims no membership may keep offsets under its name.
            let is_simple = request.generation.is_none();
            return if is_simple { Ok(()) } else { Err(ErrorCode::GroupIdNotFound) };
        };
        if request.generation.is_none() && turn.group.is_empty() {
            return Ok(());
        }
        let claims_membership =
            request.generation.is_some() || request.member.is_some() || request.instance.is_some();
        if !claims_membership {
            return Err(ErrorCode::UnknownMemberId);
        }
        let member = request.member.clone().unwrap_or_else(|| Arc::from(""));
        turn.check_generation(&member, request.instance.as_ref(), request.generation)?;
        match turn.group.state {
            // It is in this generation, but does not know yet what it has in it.
            State::CompletingRebalance => Err(ErrorCode::RebalanceInProgress),
            State::Empty | State::PreparingRebalance(_) | State::Stable => {
                turn.restart_session(&member);
                Ok(())
            }
        }
    }

    /// A member of a consumer group may commit in its epoch, and in an older one what it has since then or longer: it may not have
    /// heard of its last step (Kafka: `ConsumerGroup.validateOffsetCommit`). Who speaks the classic protocol knows each of its epochs as
    /// a generation: it joined.
    fn check_consumer_commit(
        &self,
        group: &ConsumerGroup,
        request: &CommitOffsets,
    ) -> Result<(), ErrorCode> {
        if request.generation.is_none() && group.members.is_empty() {
            return Ok(());
        }
        let member = request.member.as_ref().ok_or(ErrorCode::UnknownMemberId)?;
        let metadata = group.members.get(member).ok_or(ErrorCode::UnknownMemberId)?;
        let is_classic = metadata.classic_member_metadata.is_some();
        if !is_classic && !request.knows_member_epochs {
            return Err(ErrorCode::UnsupportedVersion);
        }
        let current = group.current_of(member);
        let epoch = request.generation.map_or(-1, GenerationId::value);
        if epoch == current.epoch {
            return Ok(());
        }
        if is_classic {
            return Err(ErrorCode::IllegalGeneration);
        }
        if epoch > current.epoch {
            return Err(ErrorCode::StaleMemberEpoch);
        }
        for (topic, commits) in &request.topics {
            let known = self.topics.get(&topic.name).map(|topic| topic.id);
            let id = topic.id.or(known).ok_or(ErrorCode::StaleMemberEpoch)?;
            let has_since = |commit: &OffsetToCommit| current.epoch_of(id, commit.partition);
            if commits.iter().any(|commit| has_since(commit).is_none_or(|since| epoch < since)) {
                return Err(ErrorCode::StaleMemberEpoch);
            }
        }
        Ok(())
    }

    fn commit_offset(
        &self,
        now: Now,
        request: &CommitOffsets,
        topic: &Topic,
        commit: &OffsetToCommit,
        out: &mut Outcome,
    ) -> Result<(), ErrorCode> {
        if commit.metadata.len() > self.config.offset_metadata_bytes_max {
            return Err(ErrorCode::OffsetMetadataTooLarge);
        }
        // Kafka stores it, and then says that nothing is committed.
        let offset = commit.offset.ok_or(ErrorCode::InvalidRequest)?;
        let expires_at = request.retention.map(|retention| {
            let millis = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
            Timestamp::from_millis(now.wall.millis().saturating_add(millis))
        });
        let key = OffsetCommitKey {
            group: request.group.as_ref().to_owned(),
            topic: topic.name.as_ref().to_owned(),
            partition: commit.partition,
        };
        let value = OffsetCommitValue {
            offset: Some(offset),
            leader_epoch: commit.leader_epoch,
            metadata: commit.metadata.as_ref().to_owned(),
            commit_timestamp: now.wall,
            expire_timestamp: expires_at,
            topic_id: topic.id.unwrap_or(Uuid::ZERO),
        };
        out.records.push(CoordinatorRecord::OffsetCommit(key, Some(value)));
        Ok(())
    }

    fn say_committed(
        &self,
        token: Token,
        request: &CommitOffsets,
        topic: &Topic,
        commit: &OffsetToCommit,
        out: &mut Outcome,
    ) {
        let known = self.partition_of(topic, commit.partition);
        let (Some(partition), Some(offset)) = (known, commit.offset) else { return };
        let (group, protocol) = (ShortName::of(&request.group), self.protocol_of(&request.group));
        let committer = committer(request);
        let committed =
            GroupObservation::OffsetCommitted { group, protocol, partition, offset, committer };
        out.say(committed);
        out.tell(token, GroupObservation::CommitTold { group, partition, offset });
    }

    /// What a fetch is answered is said when it is.
    pub(super) fn tell_fetched(
        &self,
        token: Token,
        group: &str,
        fetched: &[FetchedTopic],
        out: &mut Outcome,
    ) {
        let group = ShortName::of(group);
        for FetchedTopic { topic, partitions } in fetched {
            for (index, committed) in partitions {
                let Some(partition) = self.partition_of(topic, *index) else { continue };
                let offset = committed.as_ref().map(|committed| committed.offset);
                out.tell(token, GroupObservation::OffsetFetched { group, partition, offset });
            }
        }
    }

    /// An offset goes: into the log with it.
    fn forget_offset(
        &self,
        group: &str,
        (topic, partition): (&Arc<str>, PartitionIndex),
        end: OffsetEnd,
        out: &mut Outcome,
    ) {
        out.records.push(offset_tombstone(group, topic, partition));
        let committed = self.durable.offset(group, topic, partition);
        let id = committed.and_then(|committed| committed.topic_id);
        let topic = Topic { name: Arc::clone(topic), id };
        if let Some(partition) = self.partition_of(&topic, partition) {
            let group = ShortName::of(group);
            out.say(GroupObservation::OffsetForgotten { group, partition, end });
        }
    }

    /// A group of the classic protocol goes: into the log with it. Its soft state goes when the log has that: until then the log may know
    /// members that are gone.
    pub(super) fn forget_group(id: &str, out: &mut Outcome) {
        out.records.push(group_tombstone(id));
        out.say(GroupObservation::GroupForgotten { group: ShortName::of(id) });
    }

    /// Answers a fetch. A partition of which nothing is committed, or only of a topic that had the same name, is `None`.
    pub(super) fn fetch_offsets(
        &self,
        request: &FetchOffsets,
    ) -> Result<Vec<FetchedTopic>, ErrorCode> {
        self.check_fetch(request)?;
        let Some(topics) = &request.topics else {
            return Ok(self.fetch_all_offsets(&request.group));
        };
        let fetched = topics.iter().map(|(topic, partitions)| {
            let partitions = partitions.iter().map(|partition| {
                let committed = self.durable.offset(&request.group, &topic.name, *partition);
                let committed = committed.filter(|offset| !is_of_another(offset, topic.id));
                (*partition, committed.cloned())
            });
            FetchedTopic { topic: topic.clone(), partitions: partitions.collect() }
        });
        Ok(fetched.collect())
    }

    /// Whether a member of a consumer group may ask: it is one, and in its epoch. Whoever says neither may.
    fn check_fetch(&self, request: &FetchOffsets) -> Result<(), ErrorCode> {
        let Some(group) = self.consumer_group(&request.group) else { return Ok(()) };
        let Some(member) = &request.member else {
            let claims_none = request.member_epoch.is_none();
            return if claims_none { Ok(()) } else { Err(ErrorCode::UnknownMemberId) };
        };
        let metadata = group.members.get(member).ok_or(ErrorCode::UnknownMemberId)?;
        let current = group.current_of(member);
        if request.member_epoch == Some(current.epoch) {
            Ok(())
        } else if metadata.classic_member_metadata.is_some() {
            Err(ErrorCode::IllegalGeneration)
        } else {
            Err(ErrorCode::StaleMemberEpoch)
        }
    }

    fn fetch_all_offsets(&self, group: &str) -> Vec<FetchedTopic> {
        let topics = self.durable.offsets.get(group).into_iter().flatten();
        let fetched = topics.map(|(name, partitions)| {
            let id = partitions.values().find_map(|offset| offset.topic_id);
            let topic = Topic { name: Arc::clone(name), id };
            let partitions = partitions.iter();
            let partitions = partitions.map(|(index, offset)| (*index, Some(offset.clone())));
            FetchedTopic { topic, partitions: partitions.collect() }
        });
        fetched.collect()
    }

    /// Decides an OffsetDelete. What the group's members read stays.
    pub(super) fn delete_offsets(
        &mut self,
        now: Now,
        request: &DeleteOffsets,
        out: &mut Outcome,
    ) -> Result<Vec<TopicResults>, ErrorCode> {
        let names = request.topics.iter().map(|(name, _)| name);
        let subscribed: Vec<bool> = if let Some(group) = self.consumer_group(&request.group) {
            names.map(|name| group.is_subscribed_to(name)).collect()
        } else {
            let turn = self.turn(now, &request.group, out).ok_or(ErrorCode::GroupIdNotFound)?;
            if !turn.group.is_empty() && !turn.group.is_of_consumers() {
                return Err(ErrorCode::NonEmptyGroup);
            }
            names.map(|name| turn.group.is_subscribed_to(name)).collect()
        };
        let mut results = Vec::with_capacity(request.topics.len());
        for ((name, partitions), is_subscribed) in request.topics.iter().zip(subscribed) {
            let mut answers = Vec::with_capacity(partitions.len());
            for partition in partitions {
                let error =
                    if is_subscribed { ErrorCode::GroupSubscribedToTopic } else { ErrorCode::None };
                let is_known = self.durable.offset(&request.group, name, *partition).is_some();
                if !is_subscribed && is_known {
                    let (group, end) = (&request.group, OffsetEnd::Deleted);
                    self.forget_offset(group, (name, *partition), end, out);
                }
                answers.push((*partition, error));
            }
            let topic = Topic { name: Arc::clone(name), id: None };
            results.push(TopicResults { topic, partitions: answers });
        }
        Ok(results)
    }

    /// Tombstones for all offsets of a group.
    pub(super) fn forget_all_offsets(&self, group: &str, out: &mut Outcome) {
        for (topic, partitions) in self.durable.offsets.get(group).into_iter().flatten() {
            for partition in partitions.keys() {
                self.forget_offset(group, (topic, *partition), OffsetEnd::GroupDeleted, out);
            }
        }
    }

    /// Topics were deleted: forgets what was committed of them. Of one that has the same name since, nothing.
    ///
    /// Kafka: `OffsetMetadataManager.onTopicsDeleted`.
    #[must_use]
    pub fn on_topics_deleted(&self, topics: &[(Arc<str>, TopicId)]) -> Outcome {
        let mut out = Outcome::default();
        for (group, offsets) in &self.durable.offsets {
            for (name, id) in topics {
                for (partition, offset) in offsets.get(name).into_iter().flatten() {
                    if !is_of_another(offset, Some(*id)) {
                        out.records.push(offset_tombstone(group, name, *partition));
                        let partition = TopicIdPartition { topic_id: *id, partition: *partition };
                        let (group, end) = (ShortName::of(group), OffsetEnd::TopicDeleted);
                        out.say(GroupObservation::OffsetForgotten { group, partition, end });
                    }
                }
            }
        }
        out
    }

    /// Looks through the groups for offsets whose time is over (KIP-211), from where the last look paused.
    pub(super) fn expire_offsets(&mut self, now: Now, out: &mut Outcome) {
        let start = self.expiry_from.take().map_or(Bound::Unbounded, Bound::Excluded);
        for group in self.group_ids(start) {
            self.expire_group(now, &group, out);
            if out.records.len() >= EXPIRY_RECORDS_MAX {
                self.expiry_from = Some(group);
                break;
            }
        }
        let pauses = self.expiry_from.is_some();
        let interval = self.config.offsets_retention_check_interval;
        let at = if pauses { now.monotonic } else { now.monotonic + interval };
        self.timers.set(Timer::Expiry, at);
    }

    fn expire_group(&self, now: Now, id: &GroupId, out: &mut Outcome) {
        if let Some(group) = self.consumer_group(id) {
            let is_read = |topic: &str| group.is_subscribed_to(topic);
            let keeps_any = self.expire_topics(now, id, Some(ExpiryBase::Commit), is_read, out);
            if group.members.is_empty() && !keeps_any {
                Draft::new(id, group.clone(), out).dissolve();
                out.say(GroupObservation::GroupForgotten { group: ShortName::of(id) });
            }
            return;
        }
        let empty = ClassicGroup::new();
        let loaded;
        let group = match (self.classic.get(id), self.durable.groups.get(id)) {
            (Some(group), _) => group,
            (None, Some(record)) => {
                loaded = ClassicGroup::from_record(record);
                &loaded
            }
            (None, None) => &empty,
        };
        let base = expiry_base(group);
        let is_free = group.is_empty() && group.pending_join.is_empty();
        let is_read = |topic: &str| group.is_subscribed_to(topic);
        let keeps_any = self.expire_topics(now, id, base, is_read, out);
        if is_free && !keeps_any && self.durable.groups.contains_key(id) {
            Self::forget_group(id, out);
        }
    }

    /// Tombstones for the offsets of a group whose time is over. Returns whether there are others.
    fn expire_topics(
        &self,
        now: Now,
        id: &str,
        base: Option<ExpiryBase>,
        is_read: impl Fn(&str) -> bool,
        out: &mut Outcome,
    ) -> bool {
        let mut keeps_any = false;
        for (topic, partitions) in self.durable.offsets.get(id).into_iter().flatten() {
            let base = base.filter(|_| !is_read(topic));
            for (partition, offset) in partitions {
                if base.is_some_and(|base| self.is_expired(now, base, offset)) {
                    self.forget_offset(id, (topic, *partition), OffsetEnd::Expired, out);
                } else {
                    keeps_any = true;
                }
            }
        }
        keeps_any
    }

    fn is_expired(&self, now: Now, base: ExpiryBase, offset: &CommittedOffset) -> bool {
        if let Some(at) = offset.expires_at {
            return now.wall >= at;
        }
        let since = match base {
            ExpiryBase::Commit => offset.committed_at,
            ExpiryBase::At(since) => since,
        };
        let age = now.wall.millis().saturating_sub(since.millis());
        i128::from(age)
            >= i128::try_from(self.config.offsets_retention.as_millis()).unwrap_or(i128::MAX)
    }
}

/// Since when the offsets of a group's topics that nobody reads run out; `None` where they do not.
///
/// Kafka: `ClassicGroup.offsetExpirationCondition`.
fn expiry_base(group: &ClassicGroup) -> Option<ExpiryBase> {
    if group.protocol_type.is_none() {
        return Some(ExpiryBase::Commit);
    }
    match group.state {
        State::Empty => Some(group.state_since.map_or(ExpiryBase::Commit, ExpiryBase::At)),
        State::Stable if group.is_of_consumers() && group.knows_subscriptions() => {
            Some(ExpiryBase::Commit)
        }
        State::Stable | State::PreparingRebalance(_) | State::CompletingRebalance => None,
    }
}

/// Whether an offset was committed of a topic with another id. Who does not say an id means any.
fn is_of_another(offset: &CommittedOffset, id: Option<TopicId>) -> bool {
    matches!((offset.topic_id, id), (Some(committed), Some(asked)) if committed != asked)
}
