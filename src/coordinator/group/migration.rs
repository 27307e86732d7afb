//! A group that has members changes its protocol: from the classic one to the consumer protocol when the first member comes that speaks
//! the latter, and back when the last such member is gone (KIP-848: online migration).
//!
//! In between the group is one of the consumer protocol, with members of both kinds (`classic_member.rs`). Each change is one batch of
//! records: all that the group was goes, and all that it is comes. Offsets stay.
//!
//! ```text
//!             ConsumerGroupHeartbeat of a new member
//!   classic ──────────────────────────────────────────→ consumer, with members of both kinds
//!      ↑                                                   │
//!      └───────────────────────────────────────────────────┘
//!        the last member that speaks the consumer protocol leaves, falls silent, or makes place for a classic process
//! ```
//!
//! Kafka: `GroupMetadataManager.convertToConsumerGroup`, `convertToClassicGroup`, `ConsumerGroup.fromClassicGroup`,
//! `ClassicGroup.fromConsumerGroup`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::assignor::Assignment;
use super::classic_group::{ClassicGroup, Member};
use super::classic_member::{classic_session_timeout, partitions_by_id, partitions_by_name};
use super::consumer_group::{ConsumerGroup, Current, MemberState, rebalance_timeout};
use super::draft::Draft;
use super::request::{GroupId, MemberId, Reply, Token, TopicTable};
use super::timers::Timer;
use super::{GroupCoordinator, Outcome};
use crate::protocol::coordinator_records::consumer_group_member_metadata_value::{
    ClassicMemberMetadata, ClassicProtocol,
};
use crate::protocol::coordinator_records::{
    ConsumerGroupMemberMetadataValue, ConsumerProtocolSubscription, CoordinatorRecord,
    GroupMetadataKey, GroupMetadataValue, assignment_bytes, read_assignment, read_subscription,
};
use crate::types::{ErrorCode, GroupObservation, Now, PartitionIndex, ShortName, TopicId};

impl GroupCoordinator {
    /// Writes a classic group that has members anew as one of the consumer protocol, for somebody who speaks that.
    ///
    /// Errors: `GROUP_ID_NOT_FOUND` where that may not be, or where the members are no consumers as Kafka's are (Kafka:
    /// `GroupMetadataManager.validateOnlineUpgrade`).
    pub(super) fn upgrade(
        &self,
        now: Now,
        id: &GroupId,
        out: &mut Outcome,
    ) -> Result<ConsumerGroup, ErrorCode> {
        let classic = self.classic.get(id).ok_or(ErrorCode::GroupIdNotFound)?;
        if !self.config.consumer_migration.allows_upgrade()
            || !classic.is_of_consumers()
            || classic.members.len() > self.config.consumer_size_max
        {
            return Err(ErrorCode::GroupIdNotFound);
        }
        // Also where the log does not have the group yet: it is by this record that its soft state goes.
        Self::forget_group(id, out);
        let mut draft = Draft::new(id, ConsumerGroup::default(), out);
        write_upgraded(&mut draft, classic, &self.topics, now)?;
        Ok(draft.group)
    }

    /// Somebody has come, and with it the consumer protocol: whoever waits for a generation of the classic group is to join again,
    /// and each member has its session in the new one.
    pub(super) fn after_upgrade(&mut self, now: Now, id: &GroupId, out: &mut Outcome) {
        let Some(group) = self.classic.get_mut(id) else { return };
        let error = ErrorCode::RebalanceInProgress;
        let mut sessions = Vec::with_capacity(group.members.len());
        for (member, state) in &mut group.members {
            if let Some(token) = state.joining.take() {
                out.reply(token, Reply::join_refused(error, Some(Arc::clone(member))));
            }
            if let Some(token) = state.syncing.take() {
                out.reply(token, Reply::SyncGroup(Err(error)));
            }
            sessions.push((Arc::clone(member), state.session_timeout));
        }
        for (member, timeout) in sessions {
            let timer = Timer::ConsumerSession(Arc::clone(id), member);
            self.timers.set(timer, now.monotonic + timeout);
        }
    }

    /// Whether a group of the consumer protocol that is left with these members goes back to the classic one.
    ///
    /// Kafka: `GroupMetadataManager.validateOnlineDowngradeWithFencedMembers`, `validateOnlineDowngradeWithReplacedMember`.
    pub(super) fn may_downgrade<'a>(
        &self,
        members: impl Iterator<Item = &'a ConsumerGroupMemberMetadataValue>,
    ) -> bool {
        if !self.config.consumer_migration.allows_downgrade() {
            return false;
        }
        let mut count = 0_usize;
        let mut common: Option<BTreeSet<&str>> = None;
        for member in members {
            let Some(classic) = &member.classic_member_metadata else { return false };
            count += 1;
            let knows = classic.supported_protocols.iter().map(|protocol| protocol.name.as_str());
            let knows: BTreeSet<&str> = knows.collect();
            common = Some(match common {
                Some(common) => common.intersection(&knows).copied().collect(),
                None => knows,
            });
        }
        // Nobody is let in who knows nothing that all know; but another coordinator may have written what the log says.
        count <= self.config.size_max && common.is_some_and(|common| !common.is_empty())
    }

    /// The group is a classic one from now on, with the members of `group`, which are to join its next generation. Of these `joining`
    /// already has. The caller has written what the group was out of the log.
    ///
    /// The record names no leader, otherwise than Kafka's: nobody has led. A coordinator that finds such a record calls all to join, as
    /// this one does; else what the last one to leave had would be nobody's.
    pub(super) fn become_classic(
        &mut self,
        now: Now,
        id: &GroupId,
        group: &ConsumerGroup,
        joining: Option<(&MemberId, Token)>,
        out: &mut Outcome,
    ) {
        let mut classic = downgraded(group, &self.topics, now);
        let record = GroupMetadataValue { leader: None, ..classic.to_record() };
        let key = GroupMetadataKey { group: id.as_ref().to_owned() };
        out.records.push(CoordinatorRecord::GroupMetadata(key, Some(record)));
        let name = ShortName::of(id);
        out.say(GroupObservation::GroupForgotten { group: name });
        for (member, state) in &classic.members {
            let instance = state.instance.as_deref().map(ShortName::of);
            let member = ShortName::of(member);
            out.say(GroupObservation::MemberCame { group: name, member, instance });
        }
        out.say_subscriptions(id, &classic, &self.topics);
        for member in group.members.keys() {
            self.cancel_consumer_timers(id, member);
        }
        if let Some((member, token)) = joining {
            classic.members.get_mut(member).expect("who joins is a member").joining = Some(token);
        }
        self.classic.insert(Arc::clone(id), classic);
        let mut turn = self.turn(now, id, out).expect("the group was just put there");
        turn.restart_all_sessions();
        turn.prepare_rebalance();
    }

    /// The log refused to make a group a classic one: it still is what it was.
    pub(super) fn undo_downgrade(&mut self, now: Now, id: &GroupId, out: &mut Outcome) {
        if !self.durable.consumer_groups.contains_key(id) {
            return;
        }
        let Some(group) = self.take_soft(id) else { return };
        for (member, state) in group.members {
            if let Some(token) = state.joining {
                let error = ErrorCode::CoordinatorNotAvailable;
                out.reply(token, Reply::join_refused(error, Some(member)));
            }
        }
        out.say(GroupObservation::GroupForgotten { group: ShortName::of(id) });
        self.take_over_consumers_of(now, id);
    }

    /// Takes a classic group out of memory, with its timers.
    pub(super) fn take_soft(&mut self, id: &GroupId) -> Option<ClassicGroup> {
        let group = self.classic.remove(id)?;
        for member in group.members.keys().chain(&group.pending_join) {
            self.timers.cancel(&Timer::Session(Arc::clone(id), Arc::clone(member)));
        }
        self.timers.cancel(&Timer::Join(Arc::clone(id)));
        self.timers.cancel(&Timer::Sync(Arc::clone(id)));
        Some(group)
    }
}

/// A member of a classic group, as what it becomes.
struct Upgraded {
    metadata: ConsumerGroupMemberMetadataValue,
    has: Assignment,
}

/// Writes what a classic group is as one of the consumer protocol. All are in the group's generation, and have what they are to have:
/// whoever comes takes it to the next epoch.
///
/// Errors: `GROUP_ID_NOT_FOUND` where members said what no consumer says, or their leader gave what another assignor would lose, or one
/// partition twice.
fn write_upgraded(
    draft: &mut Draft<'_>,
    classic: &ClassicGroup,
    topics: &TopicTable,
    now: Now,
) -> Result<(), ErrorCode> {
    let members = upgraded(classic, topics).ok_or(ErrorCode::GroupIdNotFound)?;
    let epoch = classic.generation.value();
    for (id, member) in &members {
        draft.write_member(id, Some(member.metadata.clone()));
    }
    draft.begin_epoch(epoch, topics);
    for (id, member) in &members {
        draft.write_target(id, Some(&member.has));
    }
    draft.write_target_epoch(epoch, now);
    for (id, member) in &members {
        let assigned = member.has.iter().map(|(topic, partitions)| {
            (*topic, partitions.iter().map(|index| (*index, epoch)).collect())
        });
        let current = Current {
            epoch,
            previous_epoch: epoch,
            state: MemberState::Stable,
            assigned: assigned.collect(),
            ..Current::default()
        };
        draft.write_current(id, Some(&current));
    }
    Ok(())
}

/// The members of a classic group as what they become; `None` where they cannot be understood.
fn upgraded(classic: &ClassicGroup, topics: &TopicTable) -> Option<BTreeMap<MemberId, Upgraded>> {
    let mut members = BTreeMap::new();
    let mut taken: BTreeSet<(TopicId, PartitionIndex)> = BTreeSet::new();
    let mut had_before: Vec<(&MemberId, Assignment)> = Vec::new();
    for (id, member) in &classic.members {
        let subscription = read_subscription(&classic.said_by(member)).ok()?;
        let has = given(&member.assignment, topics)?;
        for (topic, partitions) in &has {
            if partitions.iter().any(|index| !taken.insert((*topic, *index))) {
                return None;
            }
        }
        let owned = subscription.owned_partitions.iter();
        let owned = owned.map(|of| (of.topic.as_str(), of.partitions.as_slice()));
        had_before.push((id, partitions_by_id(owned, topics)));
        let metadata = member_metadata(member, subscription);
        members.insert(Arc::clone(id), Upgraded { metadata, has });
    }
    // Whoever keeps what it has while it rebalances may not have heard yet that it is to give something up, and reads it until it does: it
    // waits for its leader, or the answer got lost. Kafka takes it to be free.
    for (id, owned) in had_before {
        for (topic, partitions) in owned {
            let free = partitions.into_iter().filter(|index| taken.insert((topic, *index)));
            let free: BTreeSet<PartitionIndex> = free.collect();
            if !free.is_empty() {
                let member = members.get_mut(id).expect("it was just put there");
                member.has.entry(topic).or_default().extend(free);
            }
        }
    }
    Some(members)
}

/// What a leader gave a member; nothing where it has given nothing yet. `None` for what cannot be understood, or would get lost.
fn given(assignment: &Bytes, topics: &TopicTable) -> Option<Assignment> {
    if assignment.is_empty() {
        return Some(Assignment::new());
    }
    let read = read_assignment(assignment).ok()?;
    if read.user_data.is_some_and(|data| !data.is_empty()) {
        return None;
    }
    let given = read.assigned_partitions.iter();
    let given = given.map(|of| (of.topic.as_str(), of.partitions.as_slice()));
    Some(partitions_by_id(given, topics))
}

fn member_metadata(
    member: &Member,
    subscription: ConsumerProtocolSubscription,
) -> ConsumerGroupMemberMetadataValue {
    let text = |text: &Arc<str>| text.as_ref().to_owned();
    let mut names = subscription.topics;
    names.sort();
    names.dedup();
    ConsumerGroupMemberMetadataValue {
        instance_id: member.instance.as_ref().map(text),
        rack_id: subscription.rack_id.filter(|rack| !rack.is_empty()),
        client_id: text(&member.client_id),
        client_host: text(&member.client_host),
        subscribed_topic_names: names,
        subscribed_topic_regex: None,
        rebalance_timeout_ms: millis(member.rebalance_timeout),
        server_assignor: None,
        classic_member_metadata: Some(classic_metadata(member.session_timeout, &member.protocols)),
    }
}

/// What the log is to say of a member that speaks the classic protocol.
pub(super) fn classic_metadata(
    session_timeout: Duration,
    protocols: &[(Arc<str>, Bytes)],
) -> ClassicMemberMetadata {
    let protocols = protocols.iter().map(|(name, metadata)| ClassicProtocol {
        name: name.as_ref().to_owned(),
        metadata: metadata.clone(),
    });
    ClassicMemberMetadata {
        session_timeout_ms: millis(session_timeout),
        supported_protocols: protocols.collect(),
    }
}

pub(super) fn millis(span: Duration) -> i32 {
    i32::try_from(span.as_millis()).unwrap_or(i32::MAX)
}

/// A group whose members all speak the classic protocol, as a classic one: its generation is the epoch, and each has been given what it has,
/// and may still read.
///
/// Kafka writes what each is to have, and some of that another one may still read: the next that takes the group to the consumer protocol
/// again would give it away.
fn downgraded(group: &ConsumerGroup, topics: &TopicTable, now: Now) -> ClassicGroup {
    let members = group.members.iter();
    let members = members.map(|(id, metadata)| (Arc::clone(id), classic_member(metadata)));
    let mut classic = ClassicGroup::of_consumers(group.group_epoch(), members.collect(), now.wall);
    let protocol = classic.protocol.clone();
    let names = topics.iter().map(|(name, info)| (info.id, name.as_ref())).collect();
    for (id, member) in &mut classic.members {
        let has = partitions_by_name(&group.current_of(id).may_read(), &names);
        let said = member.metadata(protocol.as_deref());
        // Names of topics fit a record.
        member.assignment = assignment_bytes(&has, &said).expect("names of topics are short");
    }
    classic
}

fn classic_member(metadata: &ConsumerGroupMemberMetadataValue) -> Member {
    let classic = metadata.classic_member_metadata.as_ref();
    let protocols = classic.into_iter().flat_map(|classic| &classic.supported_protocols);
    let protocols =
        protocols.map(|protocol| (Arc::from(protocol.name.as_str()), protocol.metadata.clone()));
    Member {
        instance: metadata.instance_id.as_deref().map(Into::into),
        client_id: metadata.client_id.as_str().into(),
        client_host: metadata.client_host.as_str().into(),
        session_timeout: classic_session_timeout(metadata).unwrap_or_default(),
        rebalance_timeout: rebalance_timeout(metadata),
        protocols: protocols.collect(),
        assignment: Bytes::new(),
        joining: None,
        syncing: None,
        is_new: false,
        is_of_log: false,
    }
}
