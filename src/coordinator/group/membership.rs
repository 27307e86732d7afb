//! SyncGroup, Heartbeat, LeaveGroup, and members that fall silent.
//!
//! Kafka: `GroupMetadataManager.classicGroupSyncToClassicGroup`, `classicGroupHeartbeatToClassicGroup`,
//! `classicGroupLeaveToClassicGroup`, `expireClassicGroupMemberHeartbeat`.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::classic_group::State;
use super::request::{
    Heartbeat, InstanceId, LeaveGroup, LeavingMember, MemberId, Reply, SyncGroup, Token,
};
use super::turn::Turn;
use crate::types::{ErrorCode, GenerationId, MemberEnd};

impl Turn<'_> {
    /// Whether who asks is a member of this generation.
    pub(super) fn check_generation(
        &self,
        member: &str,
        instance: Option<&InstanceId>,
        generation: Option<GenerationId>,
    ) -> Result<(), ErrorCode> {
        self.group.check_member(member, instance)?;
        if generation == Some(self.group.generation) {
            Ok(())
        } else {
            Err(ErrorCode::IllegalGeneration)
        }
    }

    /// Decides a SyncGroup.
    pub(super) fn sync(&mut self, request: &SyncGroup, token: Token) {
        if let Err(error) = self.check_sync(request) {
            return self.out.reply(token, Reply::SyncGroup(Err(error)));
        }
        match self.group.state {
            State::Empty => unreachable!("an empty group has no members that could sync"),
            State::PreparingRebalance(_) => {
                let error = ErrorCode::RebalanceInProgress;
                self.out.reply(token, Reply::SyncGroup(Err(error)));
            }
            State::CompletingRebalance => self.park_sync(request, token),
            State::Stable => {
                self.has_synced(&request.member);
                let member = self.group.members.get(&request.member).expect("it was checked");
                let assignment = member.assignment.clone();
                let answer = self.synced(&request.member, token, assignment);
                self.out.reply(token, Reply::SyncGroup(Ok(answer)));
            }
        }
    }

    fn check_sync(&self, request: &SyncGroup) -> Result<(), ErrorCode> {
        self.check_generation(&request.member, request.instance.as_ref(), request.generation)?;
        let agrees =
            |said: &Option<Arc<str>>, known: &Option<Arc<str>>| said.is_none() || said == known;
        if agrees(&request.protocol_type, &self.group.protocol_type)
            && agrees(&request.protocol, &self.group.protocol)
        {
            Ok(())
        } else {
            Err(ErrorCode::InconsistentGroupProtocol)
        }
    }

    /// A member waits for the leader, or is the leader: then all have what they waited for.
    fn park_sync(&mut self, request: &SyncGroup, token: Token) {
        let member = self.group.members.get_mut(&request.member).expect("it was checked");
        if let Some(before) = member.syncing.replace(token) {
            let error = ErrorCode::RebalanceInProgress;
            self.out.reply(before, Reply::SyncGroup(Err(error)));
        }
        self.has_synced(&request.member);
        if self.group.is_leader(&request.member) {
            self.assign(&request.assignments);
        }
    }

    /// The leader has assigned: into the log with it, and to those that wait. Whoever is not named gets nothing.
    fn assign(&mut self, assignments: &[(MemberId, Bytes)]) {
        let assignments: BTreeMap<&MemberId, &Bytes> =
            assignments.iter().map(|(id, bytes)| (id, bytes)).collect();
        for (id, member) in &mut self.group.members {
            member.assignment = assignments.get(id).copied().cloned().unwrap_or_default();
        }
        self.out.say_assignments(&self.id, self.group, self.topics);
        self.enter(State::Stable);
        self.write_group();
        self.answer_syncs(None);
    }

    /// Decides a Heartbeat.
    pub(super) fn heartbeat(&mut self, request: &Heartbeat) -> Result<(), ErrorCode> {
        self.check_generation(&request.member, request.instance.as_ref(), request.generation)?;
        self.restart_session(&request.member);
        match self.group.state {
            State::Empty => unreachable!("an empty group has no members"),
            State::PreparingRebalance(_) => Err(ErrorCode::RebalanceInProgress),
            State::CompletingRebalance | State::Stable => Ok(()),
        }
    }

    /// Decides a LeaveGroup: each member on its own.
    pub(super) fn leave(&mut self, request: &LeaveGroup) -> Vec<(LeavingMember, ErrorCode)> {
        let members_before = self.group.members.len();
        let mut results = Vec::with_capacity(request.members.len());
        for leaving in &request.members {
            let error = self.leave_one(leaving).err().unwrap_or(ErrorCode::None);
            results.push((leaving.clone(), error));
        }
        if self.group.members.len() < members_before {
            self.rebalance();
        } else {
            // Perhaps somebody who was waited for will not come. Otherwise than in Kafka that alone ends no generation.
            self.complete_join_if_all_have();
        }
        results
    }

    fn leave_one(&mut self, leaving: &LeavingMember) -> Result<(), ErrorCode> {
        let Some(id) = &leaving.member else {
            let instance = leaving.instance.as_ref().ok_or(ErrorCode::UnknownMemberId)?;
            let known = self.group.static_member(instance).cloned();
            self.remove_member(&known.ok_or(ErrorCode::UnknownMemberId)?, MemberEnd::Left);
            return Ok(());
        };
        if !self.group.pending_join.contains(id) {
            self.group.check_member(id, leaving.instance.as_ref())?;
        }
        self.remove_member(id, MemberEnd::Left);
        Ok(())
    }

    /// A member was silent for its session timeout.
    pub(super) fn on_session_timer(&mut self, id: &MemberId) {
        if self.group.pending_join.remove(id) {
            return self.complete_join_if_all_have();
        }
        let Some(member) = self.group.members.get(id) else {
            unreachable!("the session timer of one that left is cancelled");
        };
        if !member.is_excused() {
            self.remove_member(id, MemberEnd::Silent);
            self.rebalance();
        }
    }
}
