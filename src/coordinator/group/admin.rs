//! What administrators ask: which groups there are, what they look like, and that they be deleted.
//!
//! Kafka: `GroupMetadataManager.listGroups`, `describeGroups`, `GroupCoordinatorShard.deleteGroups`.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use super::classic_group::{ClassicGroup, Member, State};
use super::offsets::group_tombstone;
use super::request::{
    DescribedGroup, DescribedMember, GroupFilter, GroupId, GroupState, GroupType, ListedGroup,
    MemberId,
};
use super::timers::Timer;
use super::{GroupCoordinator, Outcome};
use crate::types::ErrorCode;

impl GroupCoordinator {
    /// The ids of all groups from `start` on, in order.
    pub(super) fn group_ids(&self, start: Bound<GroupId>) -> BTreeSet<GroupId> {
        let range = (start, Bound::Unbounded);
        let classic = self.classic.range(range.clone()).map(|(id, _)| id);
        let groups = self.durable.groups.range(range.clone()).map(|(id, _)| id);
        let offsets = self.durable.offsets.range(range).map(|(id, _)| id);
        classic.chain(groups).chain(offsets).cloned().collect()
    }

    /// The group as it is now; `None` where there is none.
    fn current(&self, id: &str) -> Option<ClassicGroup> {
        if let Some(group) = self.classic.get(id) {
            return Some(group.clone());
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
            let Some(group) = self.current(&id) else { continue };
            let (state, group_type) = (group.shown_state(), GroupType::Classic);
            if names(state.name(), &filter.states) && names(group_type.name(), &filter.types) {
                let protocol_type = group.protocol_type.unwrap_or_else(|| Arc::from(""));
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

    /// Deletes a group with its offsets. Errors: `GROUP_ID_NOT_FOUND`, `NON_EMPTY_GROUP`.
    pub(super) fn delete_group(
        &mut self,
        id: &GroupId,
        out: &mut Outcome,
    ) -> Result<(), ErrorCode> {
        let group = self.current(id).ok_or(ErrorCode::GroupIdNotFound)?;
        match group.shown_state() {
            GroupState::Empty | GroupState::Dead => {}
            GroupState::PreparingRebalance
            | GroupState::CompletingRebalance
            | GroupState::Stable => return Err(ErrorCode::NonEmptyGroup),
        }
        self.forget_all_offsets(id, out);
        if self.durable.groups.contains_key(id) {
            out.records.push(group_tombstone(id));
        }
        // Those that were given an id come back to a group that does not know them, and begin anew.
        for member in &group.pending_join {
            self.timers.cancel(&Timer::Session(Arc::clone(id), Arc::clone(member)));
        }
        self.classic.remove(id);
        Ok(())
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
