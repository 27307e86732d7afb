//! ConsumerGroupHeartbeat: members of a consumer group come, say what they read, hear what they are to have, and go (KIP-848).
//!
//! Each decision works on a draft: the group as the log has it, and the records that this decision adds, one after the other.
//!
//! Kafka: `GroupMetadataManager.consumerGroupHeartbeat` and what stands below it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::assignor::{Assignment, Assignor, Subscriber};
use super::consumer_group::{
    ConsumerGroup, Current, MemberState, rebalance_timeout, target_to_record,
};
use super::reconcile::Step;
use super::request::{
    ConsumerGroupHeartbeat, GroupId, HeartbeatAnswer, HeartbeatEpoch, MemberId, TopicTable,
};
use super::timers::Timer;
use super::{GroupCoordinator, Outcome};
use crate::protocol::coordinator_records::{
    ConsumerGroupCurrentMemberAssignmentKey, ConsumerGroupMemberMetadataKey,
    ConsumerGroupMemberMetadataValue, ConsumerGroupMetadataKey, ConsumerGroupMetadataValue,
    ConsumerGroupPartitionMetadataKey, ConsumerGroupRegularExpressionKey,
    ConsumerGroupTargetAssignmentMemberKey, ConsumerGroupTargetAssignmentMetadataKey,
    ConsumerGroupTargetAssignmentMetadataValue, CoordinatorRecord,
};
use crate::types::{ErrorCode, Monotonic, Now, TopicId, Uuid};

/// The epoch of a static member that is away for a while (Kafka: `LEAVE_GROUP_STATIC_MEMBER_EPOCH`).
const AWAY: i32 = -2;

/// A group in the course of a decision, and the records that the decision comes to.
pub(super) struct Draft<'a> {
    id: GroupId,
    pub(super) group: ConsumerGroup,
    out: &'a mut Outcome,
}

impl<'a> Draft<'a> {
    pub(super) fn new(id: &GroupId, group: ConsumerGroup, out: &'a mut Outcome) -> Self {
        Self { id: Arc::clone(id), group, out }
    }

    fn write(&mut self, record: CoordinatorRecord) {
        self.group.replay(&record);
        self.out.records.push(record);
    }

    fn group_id(&self) -> String {
        self.id.as_ref().to_owned()
    }

    fn write_epoch(&mut self, epoch: i32, metadata_hash: i64) {
        let key = ConsumerGroupMetadataKey { group_id: self.group_id() };
        let value = ConsumerGroupMetadataValue { epoch, metadata_hash };
        self.write(CoordinatorRecord::ConsumerGroupMetadata(key, Some(value)));
    }

    fn write_member(&mut self, member: &str, value: Option<ConsumerGroupMemberMetadataValue>) {
        let (group_id, member_id) = (self.group_id(), member.to_owned());
        let key = ConsumerGroupMemberMetadataKey { group_id, member_id };
        self.write(CoordinatorRecord::ConsumerGroupMemberMetadata(key, value));
    }

    fn write_target(&mut self, member: &str, target: Option<&Assignment>) {
        let (group_id, member_id) = (self.group_id(), member.to_owned());
        let key = ConsumerGroupTargetAssignmentMemberKey { group_id, member_id };
        let value = target.map(target_to_record);
        self.write(CoordinatorRecord::ConsumerGroupTargetAssignmentMember(key, value));
    }

    fn write_target_epoch(&mut self, value: Option<ConsumerGroupTargetAssignmentMetadataValue>) {
        let key = ConsumerGroupTargetAssignmentMetadataKey { group_id: self.group_id() };
        self.write(CoordinatorRecord::ConsumerGroupTargetAssignmentMetadata(key, value));
    }

    fn write_current(&mut self, member: &str, current: Option<&Current>) {
        let (group_id, member_id) = (self.group_id(), member.to_owned());
        let key = ConsumerGroupCurrentMemberAssignmentKey { group_id, member_id };
        let value = current.map(Current::to_record);
        self.write(CoordinatorRecord::ConsumerGroupCurrentMemberAssignment(key, value));
    }

    fn remove_member(&mut self, member: &str) {
        if self.group.current.contains_key(member) {
            self.write_current(member, None);
        }
        if self.group.target.contains_key(member) {
            self.write_target(member, None);
        }
        self.write_member(member, None);
    }

    /// The group goes to its next epoch if somebody changed, or the topics did that it reads.
    fn bump_epoch(&mut self, topics: &TopicTable, somebody_changed: bool) {
        let hash = metadata_hash(&self.group, topics);
        let known = self.group.epoch.map(|epoch| epoch.metadata_hash);
        if somebody_changed || known != Some(hash) {
            // After 2^31 − 1 epochs a group stays in the last one: members are then told apart no more, but none is lost.
            let epoch = self.group.group_epoch().saturating_add(1);
            self.write_epoch(epoch, hash);
        }
    }

    /// Says who is to have what in the group's epoch, if that was not said.
    fn assign(&mut self, topics: &TopicTable, now: Now) {
        let epoch = self.group.group_epoch();
        if epoch <= self.group.assignment_epoch() {
            return;
        }
        let target = targets(&self.group, topics);
        for (member, target) in target {
            if self.group.target.get(&member).is_none_or(|before| **before != target) {
                self.write_target(&member, Some(&target));
            }
        }
        let assignment_timestamp = now.wall.millis();
        let value = ConsumerGroupTargetAssignmentMetadataValue {
            assignment_epoch: epoch,
            assignment_timestamp,
        };
        self.write_target_epoch(Some(value));
    }

    /// Tombstones for all that is left of a group without members.
    pub(super) fn delete(&mut self) {
        let expressions: Vec<String> = self.group.regular_expressions.keys().cloned().collect();
        for regular_expression in expressions {
            let key =
                ConsumerGroupRegularExpressionKey { group_id: self.group_id(), regular_expression };
            self.write(CoordinatorRecord::ConsumerGroupRegularExpression(key, None));
        }
        if self.group.target_epoch.is_some() {
            self.write_target_epoch(None);
        }
        if self.group.has_partition_metadata {
            let key = ConsumerGroupPartitionMetadataKey { group_id: self.group_id() };
            self.write(CoordinatorRecord::ConsumerGroupPartitionMetadata(key, None));
        }
        let key = ConsumerGroupMetadataKey { group_id: self.group_id() };
        self.write(CoordinatorRecord::ConsumerGroupMetadata(key, None));
    }
}

/// The topics that a member reads, of those that exist.
fn reads(member: &ConsumerGroupMemberMetadataValue, topics: &TopicTable) -> BTreeSet<TopicId> {
    let names = member.subscribed_topic_names.iter();
    names.filter_map(|name| topics.get(name.as_str())).map(|topic| topic.id).collect()
}

fn targets(group: &ConsumerGroup, topics: &TopicTable) -> BTreeMap<MemberId, Assignment> {
    let members = group.members.iter().map(|(id, member)| {
        let subscriber = Subscriber {
            instance: member.instance_id.as_deref().map(Into::into),
            topics: reads(member, topics),
            before: group.target_of(id),
        };
        (Arc::clone(id), subscriber)
    });
    let counts = topics.values().map(|topic| (topic.id, topic.partitions)).collect();
    group.assignor().assign(&members.collect(), &counts)
}

/// A number that is another one where a topic that the group reads appeared, went, was made anew or has other partitions. FNV-1a:
/// equal everywhere, also after a restart.
fn metadata_hash(group: &ConsumerGroup, topics: &TopicTable) -> i64 {
    let names = group.members.values().flat_map(|member| &member.subscribed_topic_names);
    let names: BTreeSet<&str> = names.map(String::as_str).collect();
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut add = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    for name in names {
        let Some(topic) = topics.get(name) else { continue };
        add(name.as_bytes());
        add(topic.id.as_bytes());
        add(&topic.partitions.to_be_bytes());
    }
    hash.cast_signed()
}

impl GroupCoordinator {
    /// The topics of the cluster are these now. Groups that read one that changed go to their next epoch at their next heartbeat.
    pub fn on_topics(&mut self, topics: Arc<TopicTable>) {
        self.topics = topics;
    }

    pub(super) fn consumer_heartbeat(
        &mut self,
        now: Now,
        request: &ConsumerGroupHeartbeat,
        out: &mut Outcome,
    ) -> Result<HeartbeatAnswer, ErrorCode> {
        check_request(request)?;
        match request.epoch {
            HeartbeatEpoch::Join | HeartbeatEpoch::At(_) => self.beat(now, request, out),
            HeartbeatEpoch::Leave | HeartbeatEpoch::LeaveForAWhile => self.go(request, out),
        }
    }

    fn beat(
        &mut self,
        now: Now,
        request: &ConsumerGroupHeartbeat,
        out: &mut Outcome,
    ) -> Result<HeartbeatAnswer, ErrorCode> {
        let group = self.group_to_join(request, out)?;
        let new_id = || Arc::from(Uuid::random(&mut self.rng).to_string());
        let member = request.member.clone().unwrap_or_else(new_id);
        self.check_room(&group, &member, request)?;
        let mut draft = Draft::new(&request.group, group, out);
        find_member(&mut draft, &member, request)?;
        let before = draft.group.members.get(&member).cloned();
        let had = draft.group.current_of(&member);
        let assignor = draft.group.assignor();

        let metadata = updated(before.as_deref(), request);
        let is_known = before.is_some();
        let reads_others = before
            .as_ref()
            .is_none_or(|before| before.subscribed_topic_names != metadata.subscribed_topic_names);
        if before.as_deref() != Some(&metadata) {
            draft.write_member(&member, Some(metadata.clone()));
        }
        let changed = reads_others || draft.group.assignor() != assignor;
        draft.bump_epoch(&self.topics, changed);
        draft.assign(&self.topics, now);

        let reads = reads(&metadata, &self.topics);
        let step = Step {
            group: &draft.group,
            member: &member,
            reads: &reads,
            reads_others: is_known && reads_others,
            says_it_has: request.owned.as_ref(),
        };
        let current = step.next()?;
        if current != *had || !draft.group.current.contains_key(&member) {
            draft.write_current(&member, Some(&current));
            self.set_revocation_timer(now, &request.group, &member, &current, &metadata);
        }
        self.set_consumer_session(now, &request.group, &member);
        let is_full = request.rebalance_timeout.is_some()
            && request.topics.is_some()
            && request.owned.is_some();
        let must_tell =
            request.epoch == HeartbeatEpoch::Join || is_full || current.assigned != had.assigned;
        Ok(HeartbeatAnswer {
            member: Arc::clone(&member),
            member_epoch: current.epoch,
            interval: self.config.consumer_heartbeat_interval,
            assignment: must_tell.then(|| current.assignment()),
        })
    }

    /// The group that a heartbeat means. One that joins may be the first; a classic group that nobody is in becomes one of consumers.
    fn group_to_join(
        &mut self,
        request: &ConsumerGroupHeartbeat,
        out: &mut Outcome,
    ) -> Result<ConsumerGroup, ErrorCode> {
        let id = &request.group;
        if self.classic.get(id).is_none_or(super::classic_group::ClassicGroup::is_empty)
            && let Some(group) = self.durable.consumer_groups.get(id)
        {
            return Ok(group.clone());
        }
        if request.epoch != HeartbeatEpoch::Join {
            return Err(ErrorCode::GroupIdNotFound);
        }
        if let Some(group) = self.current(id)
            && !group.is_empty()
        {
            // Kafka: online migration, which is not built.
            return Err(ErrorCode::GroupIdNotFound);
        }
        self.drop_soft(id);
        if self.durable.groups.contains_key(id) {
            Self::forget_group(id, out);
        }
        Ok(ConsumerGroup::default())
    }

    fn check_room(
        &self,
        group: &ConsumerGroup,
        member: &MemberId,
        request: &ConsumerGroupHeartbeat,
    ) -> Result<(), ErrorCode> {
        let instance = request.instance.as_deref();
        let is_known = group.members.contains_key(member)
            || instance.is_some_and(|name| group.static_member(name).is_some());
        if is_known || group.members.len() < self.config.consumer_size_max {
            Ok(())
        } else {
            Err(ErrorCode::GroupMaxSizeReached)
        }
    }

    fn go(
        &mut self,
        request: &ConsumerGroupHeartbeat,
        out: &mut Outcome,
    ) -> Result<HeartbeatAnswer, ErrorCode> {
        let group = self.durable.consumer_groups.get(&request.group);
        let group = group.ok_or(ErrorCode::GroupIdNotFound)?;
        let named = request.member.as_ref().ok_or(ErrorCode::InvalidRequest)?;
        let member = match &request.instance {
            None => group.members.get_key_value(named).ok_or(ErrorCode::UnknownMemberId)?.0,
            Some(instance) => {
                let known = group.static_member(instance).ok_or(ErrorCode::UnknownMemberId)?;
                if known != named {
                    return Err(ErrorCode::FencedInstanceId);
                }
                known
            }
        };
        let member = Arc::clone(member);
        let member_epoch = if request.epoch == HeartbeatEpoch::LeaveForAWhile {
            // Its place is kept until its session ends.
            let away = Current { epoch: AWAY, ..Current::clone(&group.current_of(&member)) };
            let mut draft = Draft::new(&request.group, group.clone(), out);
            draft.write_current(&member, Some(&away));
            AWAY
        } else {
            self.remove_consumer(&request.group, &member, out);
            -1
        };
        let interval = self.config.consumer_heartbeat_interval;
        Ok(HeartbeatAnswer { member, member_epoch, interval, assignment: None })
    }

    /// Takes a member out of its group, and the group to its next epoch: it left, or did not say in time that it is there, or that
    /// it gave up what it had to. Nothing where it is not there: the log may have refused that it ever came.
    pub(super) fn remove_consumer(&mut self, id: &GroupId, member: &MemberId, out: &mut Outcome) {
        let Some(group) = self.durable.consumer_groups.get(id) else { return };
        if !group.members.contains_key(member) {
            return;
        }
        let mut draft = Draft::new(id, group.clone(), out);
        draft.remove_member(member);
        draft.bump_epoch(&self.topics, true);
        let (id, member) = (Arc::clone(id), Arc::clone(member));
        self.timers.cancel(&Timer::ConsumerSession(Arc::clone(&id), Arc::clone(&member)));
        self.timers.cancel(&Timer::Revocation(id, member));
    }

    pub(super) fn set_consumer_session(&mut self, now: Now, id: &GroupId, member: &MemberId) {
        let timer = Timer::ConsumerSession(Arc::clone(id), Arc::clone(member));
        self.timers.set(timer, now.monotonic + self.config.consumer_session_timeout);
    }

    fn set_revocation_timer(
        &mut self,
        now: Now,
        id: &GroupId,
        member: &MemberId,
        current: &Current,
        metadata: &ConsumerGroupMemberMetadataValue,
    ) {
        let timer = Timer::Revocation(Arc::clone(id), Arc::clone(member));
        if current.state == MemberState::UnrevokedPartitions {
            let at: Monotonic = now.monotonic + rebalance_timeout(metadata);
            self.timers.set(timer, at);
        } else {
            self.timers.cancel(&timer);
        }
    }

    /// Members of the log's consumer groups get a full session, and a full rebalance timeout.
    pub(super) fn take_over_consumers(&mut self, now: Now) {
        let mut members = Vec::new();
        for (id, group) in &self.durable.consumer_groups {
            for (member, metadata) in &group.members {
                let current = group.current_of(member);
                members.push((Arc::clone(id), Arc::clone(member), current, Arc::clone(metadata)));
            }
        }
        for (id, member, current, metadata) in members {
            self.set_consumer_session(now, &id, &member);
            self.set_revocation_timer(now, &id, &member, &current, &metadata);
        }
    }
}

/// What a request must be whatever the group is (Kafka: `GroupCoordinatorService.throwIfConsumerGroupHeartbeatRequestIsInvalid`).
fn check_request(request: &ConsumerGroupHeartbeat) -> Result<(), ErrorCode> {
    let is_blank = |text: &Option<Arc<str>>| text.as_ref().is_some_and(|text| text.is_empty());
    let joins = request.epoch == HeartbeatEpoch::Join;
    let lacks_id = request.member.is_none() && !(joins && request.may_lack_member_id);
    let joins_badly = joins
        && (request.rebalance_timeout.is_none()
            || request.topics.is_none()
            || !request.owned.as_ref().is_some_and(Assignment::is_empty));
    let is_away_without_name =
        request.epoch == HeartbeatEpoch::LeaveForAWhile && request.instance.is_none();
    if request.group.is_empty()
        || is_blank(&request.member)
        || is_blank(&request.instance)
        || is_blank(&request.rack)
        || lacks_id
        || joins_badly
        || is_away_without_name
    {
        return Err(ErrorCode::InvalidRequest);
    }
    match &request.assignor {
        Some(name) if Assignor::from_name(name).is_none() => Err(ErrorCode::UnsupportedAssignor),
        Some(_) | None => Ok(()),
    }
}

/// Sees to it that the member may speak for itself: it is known and in its epoch, or is new.
fn find_member(
    draft: &mut Draft<'_>,
    member: &MemberId,
    request: &ConsumerGroupHeartbeat,
) -> Result<(), ErrorCode> {
    let HeartbeatEpoch::At(epoch) = request.epoch else {
        return match &request.instance {
            Some(instance) => replace_static_member(draft, member, instance),
            None => Ok(()),
        };
    };
    if let Some(instance) = &request.instance {
        let known = draft.group.static_member(instance).ok_or(ErrorCode::UnknownMemberId)?;
        if known != member {
            return Err(ErrorCode::FencedInstanceId);
        }
    }
    if !draft.group.members.contains_key(member) {
        return Err(ErrorCode::UnknownMemberId);
    }
    let current = draft.group.current_of(member);
    // It may not have heard of its last step; then it cannot have more than that step left it.
    let has_no_more = request.owned.as_ref().is_some_and(|owned| {
        let may_have = current.assignment();
        owned.iter().all(|(topic, has)| may_have.get(topic).is_some_and(|may| has.is_subset(may)))
    });
    let is_one_behind = epoch == current.previous_epoch && epoch < current.epoch && has_no_more;
    if epoch == current.epoch || is_one_behind { Ok(()) } else { Err(ErrorCode::FencedMemberEpoch) }
}

/// A static member comes back as another process: it takes over what the former one had, if that one said that it goes.
fn replace_static_member(
    draft: &mut Draft<'_>,
    member: &MemberId,
    instance: &str,
) -> Result<(), ErrorCode> {
    let Some(former) = draft.group.static_member(instance).cloned() else { return Ok(()) };
    let current = draft.group.current_of(&former);
    if current.epoch != AWAY {
        return if former == *member { Ok(()) } else { Err(ErrorCode::UnreleasedInstanceId) };
    }
    let metadata = draft.group.members.get(&former).expect("it was just found").as_ref().clone();
    let target = draft.group.target.get(&former).cloned();
    draft.remove_member(&former);
    draft.write_member(member, Some(metadata));
    if let Some(target) = target {
        draft.write_target(member, Some(&target));
    }
    let afresh = Current { epoch: 0, previous_epoch: 0, ..Current::clone(&current) };
    draft.write_current(member, Some(&afresh));
    Ok(())
}

/// What the member says now; what it does not say stays as it was.
fn updated(
    before: Option<&ConsumerGroupMemberMetadataValue>,
    request: &ConsumerGroupHeartbeat,
) -> ConsumerGroupMemberMetadataValue {
    let before = before.cloned().unwrap_or_else(|| ConsumerGroupMemberMetadataValue {
        rebalance_timeout_ms: -1,
        ..ConsumerGroupMemberMetadataValue::default()
    });
    let text = |said: &Option<Arc<str>>, before: Option<String>| {
        said.as_ref().map(|said| said.as_ref().to_owned()).or(before)
    };
    let names = request.topics.as_ref().map(|topics| {
        let names: BTreeSet<&Arc<str>> = topics.iter().collect();
        names.into_iter().map(|name| name.as_ref().to_owned()).collect()
    });
    let timeout = request
        .rebalance_timeout
        .map(|timeout| i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX));
    ConsumerGroupMemberMetadataValue {
        instance_id: text(&request.instance, before.instance_id),
        rack_id: text(&request.rack, before.rack_id),
        client_id: request.client_id.as_ref().to_owned(),
        client_host: request.client_host.as_ref().to_owned(),
        subscribed_topic_names: names.unwrap_or(before.subscribed_topic_names),
        subscribed_topic_regex: before.subscribed_topic_regex,
        rebalance_timeout_ms: timeout.unwrap_or(before.rebalance_timeout_ms),
        server_assignor: text(&request.assignor, before.server_assignor),
        classic_member_metadata: None,
    }
}
