//! Members of a consumer group that speak the classic protocol: JoinGroup, SyncGroup, Heartbeat and LeaveGroup against a group in which
//! the coordinator assigns (KIP-848: online migration).
//!
//! A JoinGroup is what a heartbeat is for others: it says what the member reads and still has, and takes it as far as it goes. Its
//! generation is its member epoch. It is answered at once, and never leads. With SyncGroup it gets what it has. Whenever it is to join
//! again, a Heartbeat tells it so with `REBALANCE_IN_PROGRESS`; from then on it has its rebalance timeout to do so.
//!
//! Kafka: `GroupMetadataManager.classicGroupJoinToConsumerGroup`, `classicGroupSyncToConsumerGroup`,
//! `classicGroupHeartbeatToConsumerGroup`, `classicGroupLeaveToConsumerGroup`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::assignor::Assignment;
use super::classic_group::CONSUMER_PROTOCOL_TYPE;
use super::consumer_group::{ConsumerGroup, MemberState, rebalance_timeout};
use super::consumer_heartbeat::{Entry, take_static_place};
use super::draft::Draft;
use super::migration::{classic_metadata, millis};
use super::request::{
    GroupId, Heartbeat, InstanceId, JoinGroup, JoinRefused, Joined, LeaveGroup, LeavingMember,
    MemberId, Reply, SyncGroup, Synced, Token, TopicTable,
};
use super::timers::Timer;
use super::{GroupCoordinator, Outcome};
use crate::protocol::coordinator_records::{
    ConsumerGroupMemberMetadataValue, ConsumerProtocolAssignment, ConsumerProtocolSubscription,
    assignment_bytes, consumer_protocol_assignment, read_subscription,
};
use crate::types::{ErrorCode, GenerationId, Now, PartitionIndex, TopicId, Uuid};

impl GroupCoordinator {
    /// Decides a JoinGroup that means a consumer group with members.
    pub(super) fn join_consumer_group(
        &mut self,
        now: Now,
        token: Token,
        request: &JoinGroup,
        out: &mut Outcome,
    ) {
        match self.enter_as_classic(now, token, request, out) {
            Ok(Some(joined)) => out.reply(token, Reply::JoinGroup(Ok(joined))),
            // It waits for the first generation of the classic group that there is again.
            Ok(None) => {}
            Err(refused) => {
                out.records.clear();
                out.said.clear();
                out.reply(token, Reply::JoinGroup(Err(refused)));
            }
        }
    }

    fn enter_as_classic(
        &mut self,
        now: Now,
        token: Token,
        request: &JoinGroup,
        out: &mut Outcome,
    ) -> Result<Option<Joined>, JoinRefused> {
        let refused = |error| JoinRefused { error, member: request.member.clone() };
        let id = &request.group;
        let group = self.consumer_group(id).expect("the caller has looked").clone();
        let new_id = || Arc::from(Uuid::random(&mut self.rng).to_string());
        let member = request.member.clone().unwrap_or_else(new_id);
        self.check_room(&group, &member, request.instance.as_deref()).map_err(refused)?;
        if !supports(&group, request) {
            return Err(refused(ErrorCode::InconsistentGroupProtocol));
        }
        if request.requires_known_member_id
            && request.member.is_none()
            && request.instance.is_none()
        {
            let error = ErrorCode::MemberIdRequired;
            return Err(JoinRefused { error, member: Some(member) });
        }
        // Kafka fails with UNKNOWN_SERVER_ERROR, and the client asks again and again.
        let said = request.protocols.first().map(|(_, metadata)| read_subscription(metadata));
        let Some(Ok(subscription)) = said else {
            return Err(refused(ErrorCode::InconsistentGroupProtocol));
        };

        let mut draft = Draft::new(id, group, out);
        find_classic(&mut draft, &member, request).map_err(refused)?;
        let before = draft.group.members.get(&member).cloned();
        let owned = subscription.owned_partitions.iter();
        let owned = owned.map(|of| (of.topic.as_str(), of.partitions.as_slice()));
        let owned = partitions_by_id(owned, &self.topics);
        let metadata = updated(before.as_deref(), request, subscription);
        let says_it_has = Some(&owned);
        let entry = Entry { member: &member, metadata, says_it_has, is_upgrade: false };
        let advanced = self.advance(now, id, &mut draft, entry).map_err(refused)?;
        let all = draft.group.members.values().map(AsRef::as_ref);
        if self.may_downgrade(all) {
            let group = draft.group.clone();
            draft.dissolve();
            self.become_classic(now, id, &group, Some((&member, token)), out);
            return Ok(None);
        }
        self.timers.cancel(&Timer::Revocation(Arc::clone(id), Arc::clone(&member)));
        self.timers.cancel(&Timer::ConsumerJoin(Arc::clone(id), Arc::clone(&member)));
        self.set_consumer_session(now, id, &member, Some(request.session_timeout));
        let sync = Timer::ConsumerSync(Arc::clone(id), Arc::clone(&member));
        self.timers.set(sync, now.monotonic + request.rebalance_timeout);
        Ok(Some(Joined {
            generation: generation_of(advanced.current.epoch),
            protocol_type: Some(Arc::from(CONSUMER_PROTOCOL_TYPE)),
            protocol: request.protocols.first().map(|(name, _)| Arc::clone(name)),
            leader: None,
            skip_assignment: false,
            member,
            members: Vec::new(),
        }))
    }

    /// Decides a SyncGroup that means a consumer group.
    pub(super) fn sync_consumer_group(
        &mut self,
        now: Now,
        request: &SyncGroup,
    ) -> Result<Synced, ErrorCode> {
        let id = &request.group;
        let group = self.consumer_group(id).expect("the caller has looked");
        let (member, metadata) = classic_member(group, &request.member, request.instance.as_ref())?;
        let current = group.current_of(&member);
        check_epoch(current.epoch, request.generation)?;
        let classic = metadata.classic_member_metadata.as_ref();
        let protocol = classic.and_then(|classic| classic.supported_protocols.first());
        let is_other = |said: &Option<Arc<str>>, known: Option<&str>| {
            said.is_some() && said.as_deref() != known
        };
        if is_other(&request.protocol_type, Some(CONSUMER_PROTOCOL_TYPE))
            || is_other(&request.protocol, protocol.map(|protocol| protocol.name.as_str()))
        {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        // Who has yet to give something up has joined already: it does so first, and then joins again.
        let must_rejoin = group.group_epoch() > current.epoch
            && current.state != MemberState::UnrevokedPartitions;
        let has = partitions_by_name(&current.assignment(), &names_of(&metadata, &self.topics));
        let said = protocol.map(|protocol| protocol.metadata.clone()).unwrap_or_default();
        if must_rejoin {
            self.expect_join(now, id, &member, &metadata);
            return Err(ErrorCode::RebalanceInProgress);
        }
        self.timers.cancel(&Timer::ConsumerSync(Arc::clone(id), Arc::clone(&member)));
        self.set_consumer_session(now, id, &member, classic_session_timeout(&metadata));
        Ok(Synced {
            protocol_type: request.protocol_type.clone(),
            protocol: request.protocol.clone(),
            assignment: assignment_bytes(&has, &said).expect("names of topics are short"),
        })
    }

    /// Decides a Heartbeat that means a consumer group.
    ///
    /// It may be the first to see other topics. In Kafka only a JoinGroup does: where all speak the classic protocol nobody would join.
    pub(super) fn heartbeat_consumer_group(
        &mut self,
        now: Now,
        request: &Heartbeat,
        out: &mut Outcome,
    ) -> Result<(), ErrorCode> {
        let id = &request.group;
        let group = self.consumer_group(id).expect("the caller has looked");
        let (member, metadata) = classic_member(group, &request.member, request.instance.as_ref())?;
        let current = group.current_of(&member);
        check_epoch(current.epoch, request.generation)?;
        let mut must_rejoin = current.epoch < group.group_epoch()
            || match current.state {
                MemberState::UnrevokedPartitions => true,
                MemberState::UnreleasedPartitions => !group.waits_for_others(&member),
                MemberState::Stable | MemberState::Unknown => false,
            };
        if self.topics_seen.get(id) != Some(&self.topics_version) {
            let mut draft = Draft::new(id, group.clone(), out);
            draft.resolve_expressions(&self.topics, true, now);
            draft.bump_epoch(&self.topics, false);
            must_rejoin |= current.epoch < draft.group.group_epoch();
            self.topics_seen.insert(Arc::clone(id), self.topics_version);
        }
        self.set_consumer_session(now, id, &member, classic_session_timeout(&metadata));
        if must_rejoin {
            self.expect_join(now, id, &member, &metadata);
            return Err(ErrorCode::RebalanceInProgress);
        }
        Ok(())
    }

    /// A member has been told to join again: from the first time on it has its rebalance timeout.
    fn expect_join(
        &mut self,
        now: Now,
        id: &GroupId,
        member: &MemberId,
        metadata: &ConsumerGroupMemberMetadataValue,
    ) {
        let timer = Timer::ConsumerJoin(Arc::clone(id), Arc::clone(member));
        self.timers.set_if_absent(timer, now.monotonic + rebalance_timeout(metadata));
    }

    /// Decides a LeaveGroup that means a consumer group: members of either kind go, by their own will or an administrator's.
    pub(super) fn leave_consumer_group(
        &mut self,
        now: Now,
        request: &LeaveGroup,
        out: &mut Outcome,
    ) -> Vec<(LeavingMember, ErrorCode)> {
        let group = self.consumer_group(&request.group).expect("the caller has looked");
        let mut gone: Vec<MemberId> = Vec::new();
        let mut results = Vec::with_capacity(request.members.len());
        for leaving in &request.members {
            let error = match who_leaves(group, leaving) {
                Ok(member) => {
                    if !gone.contains(member) {
                        gone.push(Arc::clone(member));
                    }
                    ErrorCode::None
                }
                Err(error) => error,
            };
            results.push((leaving.clone(), error));
        }
        self.remove_consumers(now, &request.group, &gone, out);
        results
    }

    pub(super) fn cancel_consumer_timers(&mut self, id: &GroupId, member: &MemberId) {
        let names = || (Arc::clone(id), Arc::clone(member));
        let (group, member) = names();
        self.timers.cancel(&Timer::ConsumerSession(group, member));
        let (group, member) = names();
        self.timers.cancel(&Timer::Revocation(group, member));
        self.cancel_classic_timers(names());
    }

    /// A member does not speak the classic protocol, or not any more.
    pub(super) fn cancel_classic_timers(&mut self, (id, member): (GroupId, MemberId)) {
        self.timers.cancel(&Timer::ConsumerJoin(Arc::clone(&id), Arc::clone(&member)));
        self.timers.cancel(&Timer::ConsumerSync(id, member));
    }
}

fn who_leaves<'a>(
    group: &'a ConsumerGroup,
    leaving: &LeavingMember,
) -> Result<&'a MemberId, ErrorCode> {
    let Some(instance) = &leaving.instance else {
        let named = leaving.member.as_ref().ok_or(ErrorCode::UnknownMemberId)?;
        let known = group.members.get_key_value(named).ok_or(ErrorCode::UnknownMemberId)?;
        return Ok(known.0);
    };
    let known = group.static_member(instance).ok_or(ErrorCode::UnknownMemberId)?;
    if leaving.member.as_ref().is_some_and(|named| named != known) {
        return Err(ErrorCode::FencedInstanceId);
    }
    Ok(known)
}

/// The member that asks, if it speaks the classic protocol.
///
/// Errors: `UNKNOWN_MEMBER_ID`, `FENCED_INSTANCE_ID`.
fn classic_member(
    group: &ConsumerGroup,
    member: &MemberId,
    instance: Option<&InstanceId>,
) -> Result<(MemberId, Arc<ConsumerGroupMemberMetadataValue>), ErrorCode> {
    if let Some(instance) = instance {
        let known = group.static_member(instance).ok_or(ErrorCode::UnknownMemberId)?;
        if known != member {
            return Err(ErrorCode::FencedInstanceId);
        }
    }
    let (id, metadata) = group.members.get_key_value(member).ok_or(ErrorCode::UnknownMemberId)?;
    if metadata.classic_member_metadata.is_none() {
        return Err(ErrorCode::UnknownMemberId);
    }
    Ok((Arc::clone(id), Arc::clone(metadata)))
}

fn check_epoch(epoch: i32, generation: Option<GenerationId>) -> Result<(), ErrorCode> {
    let is_it = generation.is_some_and(|generation| generation.value() == epoch);
    if is_it { Ok(()) } else { Err(ErrorCode::IllegalGeneration) }
}

/// A member's epoch, as it is told it.
fn generation_of(epoch: i32) -> GenerationId {
    GenerationId::from_wire(epoch).expect("a member that has joined is in an epoch")
}

/// Whether all classic members know one of the ways of assigning that this one knows. None of them is used, as long as others speak the
/// consumer protocol.
fn supports(group: &ConsumerGroup, request: &JoinGroup) -> bool {
    let classic = group.members.values().filter_map(|m| m.classic_member_metadata.as_ref());
    let all_know = |name: &str| {
        let mut classic = classic.clone();
        classic.all(|one| one.supported_protocols.iter().any(|protocol| protocol.name == name))
    };
    *request.protocol_type == *CONSUMER_PROTOCOL_TYPE
        && request.protocols.iter().any(|(name, _)| all_know(name))
}

/// Sees to it that the member may speak for itself. A static member's next process takes its place, whichever protocol the former one
/// spoke, and whether or not it said that it goes.
fn find_classic(
    draft: &mut Draft<'_>,
    member: &MemberId,
    request: &JoinGroup,
) -> Result<(), ErrorCode> {
    let Some(instance) = &request.instance else { return Ok(()) };
    let former = draft.group.static_member(instance).cloned();
    match (&request.member, former) {
        (None, None) => Ok(()),
        (None, Some(former)) => {
            take_static_place(draft, &former, member);
            Ok(())
        }
        (Some(_), None) => Err(ErrorCode::UnknownMemberId),
        (Some(named), Some(known)) if *named == known => Ok(()),
        (Some(_), Some(_)) => Err(ErrorCode::FencedInstanceId),
    }
}

/// What the member says now.
fn updated(
    before: Option<&ConsumerGroupMemberMetadataValue>,
    request: &JoinGroup,
    subscription: ConsumerProtocolSubscription,
) -> ConsumerGroupMemberMetadataValue {
    let text = |text: &Arc<str>| text.as_ref().to_owned();
    let mut names = subscription.topics;
    names.sort();
    names.dedup();
    let rack = subscription.rack_id.filter(|rack| !rack.is_empty());
    ConsumerGroupMemberMetadataValue {
        instance_id: request.instance.as_ref().map(text),
        rack_id: rack.or_else(|| before.and_then(|before| before.rack_id.clone())),
        client_id: text(&request.client_id),
        client_host: text(&request.client_host),
        subscribed_topic_names: names,
        // Kafka keeps that of a static member's former process, which the client of this one knows nothing of.
        subscribed_topic_regex: None,
        rebalance_timeout_ms: millis(request.rebalance_timeout),
        server_assignor: before.and_then(|before| before.server_assignor.clone()),
        classic_member_metadata: Some(classic_metadata(
            request.session_timeout,
            &request.protocols,
        )),
    }
}

/// How long a member may be silent, where it speaks the classic protocol.
pub(super) fn classic_session_timeout(
    metadata: &ConsumerGroupMemberMetadataValue,
) -> Option<Duration> {
    let classic = metadata.classic_member_metadata.as_ref()?;
    Some(Duration::from_millis(u64::try_from(classic.session_timeout_ms).unwrap_or(0)))
}

/// Partitions of topics that exist, by the topics' ids.
pub(super) fn partitions_by_id<'a>(
    named: impl Iterator<Item = (&'a str, &'a [PartitionIndex])>,
    topics: &TopicTable,
) -> Assignment {
    let mut assignment = Assignment::new();
    for (name, partitions) in named {
        let Some(topic) = topics.get(name) else { continue };
        let partitions = partitions.iter().copied().filter(|index| index.value() >= 0);
        for index in partitions {
            assignment.entry(topic.id).or_default().insert(index);
        }
    }
    assignment
}

/// The topics that a member reads by their names, of those that exist.
fn names_of<'a>(
    metadata: &'a ConsumerGroupMemberMetadataValue,
    topics: &TopicTable,
) -> BTreeMap<TopicId, &'a str> {
    let names = metadata.subscribed_topic_names.iter();
    names.filter_map(|name| Some((topics.get(name.as_str())?.id, name.as_str()))).collect()
}

/// What a consumer is told: partitions by the names of their topics.
pub(super) fn partitions_by_name(
    assignment: &Assignment,
    names: &BTreeMap<TopicId, &str>,
) -> ConsumerProtocolAssignment {
    let assigned = assignment.iter().filter_map(|(id, partitions)| {
        let topic = (*names.get(id)?).to_owned();
        let partitions = partitions.iter().copied().collect();
        Some(consumer_protocol_assignment::TopicPartition { topic, partitions })
    });
    ConsumerProtocolAssignment { assigned_partitions: assigned.collect(), user_data: None }
}
