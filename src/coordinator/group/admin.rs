//! What administrators ask: which groups there are, what they look like, and that they be deleted.
//!
//! Kafka: `GroupMetadataManager.listGroups`, `describeGroups`, `GroupCoordinatorShard.deleteGroups`.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use super::classic_group::{ClassicGroup, Member, State};
use super::consumer_group::ConsumerGroup;
use super::draft::Draft;
use super::request::{
    DescribedConsumer, DescribedConsumerGroup, DescribedGroup, DescribedMember, GroupFilter,
    GroupId, ListedGroup, MemberId,
};
use super::timers::Timer;
use super::{GroupCoordinator, Outcome};
use crate::types::{ErrorCode, GroupObservation, GroupProtocol, ShortName};

impl GroupCoordinator {
    /// The ids of all groups from `start` on, in order.
    pub(super) fn group_ids(&self, start: Bound<GroupId>) -> BTreeSet<GroupId> {
        let range = (start, Bound::Unbounded);
        let classic = self.classic.range(range.clone()).map(|(id, _)| id);
        let groups = self.durable.groups.range(range.clone()).map(|(id, _)| id);
        let consumer_groups = self.durable.consumer_groups.range(range.clone()).map(|(id, _)| id);
        let offsets = self.durable.offsets.range(range).map(|(id, _)| id);
        classic.chain(groups).chain(consumer_groups).chain(offsets).cloned().collect()
    }

    /// The group of the consumer protocol, if it is one, and not just being made one of the classic protocol.
    pub(super) fn consumer_group(&self, id: &str) -> Option<&ConsumerGroup> {
        let is_classic = self.classic.contains_key(id);
        self.durable.consumer_groups.get(id).filter(|_| !is_classic)
    }

    /// The group of the classic protocol as it is now; `None` where there is none.
    pub(super) fn current(&self, id: &str) -> Option<ClassicGroup> {
        if let Some(group) = self.classic.get(id) {
            return Some(group.clone());
        }
        if self.durable.consumer_groups.contains_key(id) {
            return None;
        }
        if let Some(record) = self.durable.groups.get(id) {
            return Some(ClassicGroup::from_record(record));
        }
        self.durable.offsets.contains_key(id).then(ClassicGroup::new)
    }

    pub(super) fn list_groups(&self, filter: &GroupFilter) -> Vec<ListedGroup> {
        let names = |name: &str, wanted: &[String]| {
            wanted.is_empty() || wanted.iter().any(|w| w.trim().eq_ignore_ascii_case(name))
        };
        let mut groups = Vec::new();
        for id in self.group_ids(Bound::Unbounded) {
            let (state, group_type, protocol_type) = match self.consumer_group(&id) {
                Some(group) => {
                    (group.state(), GroupProtocol::Consumer, Some(Arc::from("consumer")))
                }
                None => match self.current(&id) {
                    Some(group) => {
                        (group.shown_state(), GroupProtocol::Classic, group.protocol_type)
                    }
                    None => continue,
                },
            };
            if names(state.name(), &filter.states) && names(group_type.name(), &filter.types) {
                let protocol_type = protocol_type.unwrap_or_else(|| Arc::from(""));
                groups.push(ListedGroup { group: id, protocol_type, state, group_type });
            }
        }
        groups
    }

    /// Shows a group. Errors: `GROUP_ID_NOT_FOUND`.
    pub(super) fn describe_group(&self, id: &str) -> Result<DescribedGroup, ErrorCode> {
        let group = self.current(id).ok_or(ErrorCode::GroupIdNotFound)?;
        let is_stable = group.state == State::Stable;
        let protocol = group.protocol.clone().filter(|_| is_stable);
        let members = group.members.iter().map(|(id, member)| {
            let metadata = protocol.as_deref().map(|name| member.metadata(Some(name)));
            describe_member(id, member, metadata.unwrap_or_default())
        });
        Ok(DescribedGroup {
            state: group.shown_state(),
            members: members.collect(),
            protocol_type: group.protocol_type.unwrap_or_else(|| Arc::from("")),
            protocol: protocol.unwrap_or_else(|| Arc::from("")),
        })
    }

    /// Shows a group of the consumer protocol. Errors: `GROUP_ID_NOT_FOUND`.
    pub(super) fn describe_consumer_group(
        &self,
        id: &str,
    ) -> Result<DescribedConsumerGroup, ErrorCode> {
        let group = self.consumer_group(id).ok_or(ErrorCode::GroupIdNotFound)?;
        let members = group.members.iter().map(|(id, member)| {
            let current = group.current_of(id);
            DescribedConsumer {
                member: Arc::clone(id),
                is_classic: member.classic_member_metadata.is_some(),
                instance: member.instance_id.clone(),
                rack: member.rack_id.clone(),
                epoch: current.epoch,
                client_id: member.client_id.clone(),
                client_host: member.client_host.clone(),
                topics: member.subscribed_topic_names.clone(),
                topic_regex: member.subscribed_topic_regex.clone(),
                assignment: current.assignment(),
                target: group.target_of(id).as_ref().clone(),
            }
        });
        Ok(DescribedConsumerGroup {
            state: group.state(),
            epoch: group.group_epoch(),
            assignment_epoch: group.assignment_epoch(),
            assignor: group.assignor(&self.config.consumer_assignors).name(),
            members: members.collect(),
        })
    }

    /// Deletes a group with its offsets. Errors: `GROUP_ID_NOT_FOUND`, `NON_EMPTY_GROUP`.
    pub(super) fn delete_group(
        &mut self,
        id: &GroupId,
        out: &mut Outcome,
    ) -> Result<(), ErrorCode> {
        if let Some(group) = self.consumer_group(id) {
            if !group.members.is_empty() {
                return Err(ErrorCode::NonEmptyGroup);
            }
            self.forget_all_offsets(id, out);
            Draft::new(id, group.clone(), out).dissolve();
            out.say(GroupObservation::GroupForgotten { group: ShortName::of(id) });
            return Ok(());
        }
        let group = self.current(id).ok_or(ErrorCode::GroupIdNotFound)?;
        if !group.is_empty() {
            return Err(ErrorCode::NonEmptyGroup);
        }
        self.forget_all_offsets(id, out);
        if self.durable.groups.contains_key(id) {
            Self::forget_group(id, out);
        } else {
            out.say(GroupObservation::GroupForgotten { group: ShortName::of(id) });
            self.drop_soft(id);
        }
        Ok(())
    }

    /// Forgets a group of the classic protocol that has no members, and that the log does not have either. Those that were given an id
    /// come back to a group that does not know them, and begin anew.
    pub(super) fn drop_soft(&mut self, id: &GroupId) {
        let Some(group) = self.classic.remove(id) else { return };
        assert!(group.is_empty(), "a group with members is dropped");
        for member in group.pending_join {
            self.timers.cancel(&Timer::Session(Arc::clone(id), member));
        }
    }
}

fn describe_member(id: &MemberId, member: &Member, metadata: Bytes) -> DescribedMember {
    DescribedMember {
        member: Arc::clone(id),
        instance: member.instance.clone(),
        client_id: Arc::clone(&member.client_id),
        client_host: Arc::clone(&member.client_host),
        metadata,
        assignment: member.assignment.clone(),
    }
}
