//! A group's turn: one request or timer, with all that it may touch, and how a generation ends and the next one begins.
//!
//! Kafka: `GroupMetadataManager.prepareRebalance` and what stands around it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;

use super::Outcome;
use super::classic_group::{ClassicGroup, InitialDelay, State};
use super::config::GroupConfig;
use super::request::{GroupId, Joined, MemberId, Reply, Synced, Token, TopicTable};
use super::timers::{Timer, Timers};
use crate::protocol::coordinator_records::{CoordinatorRecord, GroupMetadataKey};
use crate::types::{ErrorCode, GroupObservation, MemberEnd, Now, ShortName, fnv_1a};

/// A group of the classic protocol, and what its turn may touch.
pub(super) struct Turn<'a> {
    pub(super) config: &'a GroupConfig,
    pub(super) rng: &'a mut StdRng,
    pub(super) timers: &'a mut Timers,
    pub(super) topics: &'a TopicTable,
    pub(super) now: Now,
    pub(super) id: GroupId,
    pub(super) group: &'a mut ClassicGroup,
    pub(super) out: &'a mut Outcome,
}

impl Turn<'_> {
    pub(super) fn refuse_join(&mut self, token: Token, error: ErrorCode, member: Option<MemberId>) {
        self.out.reply(token, Reply::join_refused(error, member));
    }

    /// Gives a member its session timeout from now on.
    pub(super) fn restart_session(&mut self, member: &MemberId) {
        if let Some(state) = self.group.members.get(member) {
            self.set_session(member, state.session_timeout);
        }
    }

    pub(super) fn restart_all_sessions(&mut self) {
        let members: Vec<MemberId> = self.group.members.keys().cloned().collect();
        for member in &members {
            self.restart_session(member);
        }
    }

    pub(super) fn set_session(&mut self, member: &MemberId, timeout: Duration) {
        let timer = Timer::Session(Arc::clone(&self.id), Arc::clone(member));
        self.timers.set(timer, self.now.monotonic + timeout);
    }

    pub(super) fn cancel_session(&mut self, member: &MemberId) {
        self.timers.cancel(&Timer::Session(Arc::clone(&self.id), Arc::clone(member)));
    }

    fn set_join_timer(&mut self, wait: Duration) {
        self.timers.set(Timer::Join(Arc::clone(&self.id)), self.now.monotonic + wait);
    }

    /// The group as it is goes into the log.
    pub(super) fn write_group(&mut self) {
        let key = GroupMetadataKey { group: self.id.as_ref().to_owned() };
        let record = CoordinatorRecord::GroupMetadata(key, Some(self.group.to_record()));
        self.out.records.push(record);
    }

    /// Something of the members changed: there must be another generation.
    pub(super) fn rebalance(&mut self) {
        match self.group.state {
            State::Empty | State::CompletingRebalance | State::Stable => self.prepare_rebalance(),
            State::PreparingRebalance(_) => self.complete_join_if_all_have(),
        }
    }

    /// The group is in another state.
    pub(super) fn enter(&mut self, state: State) {
        self.group.transition(state, self.now.wall);
        self.out.say_phase(&self.id, self.group);
    }

    /// A member is in the group no longer.
    pub(super) fn say_gone(&mut self, member: &str, end: MemberEnd) {
        let (group, member) = (ShortName::of(&self.id), ShortName::of(member));
        self.out.say(GroupObservation::MemberGone { group, member, end });
    }

    /// Calls all members to join. Those that wait for their assignment are told.
    pub(super) fn prepare_rebalance(&mut self) {
        self.end_generation(ErrorCode::RebalanceInProgress);
        let timeout = self.group.rebalance_timeout();
        if self.group.is_empty() {
            let delay = self.config.initial_rebalance_delay;
            let remaining = timeout.saturating_sub(delay);
            let initial = InitialDelay { remaining, new_member_added: false };
            self.enter(State::PreparingRebalance(Some(initial)));
            self.set_join_timer(delay);
            return;
        }
        self.enter(State::PreparingRebalance(None));
        if self.group.all_have_joined() {
            self.complete_join();
        } else {
            self.set_join_timer(timeout);
        }
    }

    /// Nobody gets an assignment of this generation any more.
    fn end_generation(&mut self, error: ErrorCode) {
        if self.group.state == State::CompletingRebalance {
            for member in self.group.members.values_mut() {
                member.assignment = Bytes::new();
            }
            self.answer_syncs(Some(error));
        }
        self.group.pending_sync.clear();
        self.timers.cancel(&Timer::Sync(Arc::clone(&self.id)));
    }

    /// Answers every parked SyncGroup: with the member's assignment, or with `error`.
    pub(super) fn answer_syncs(&mut self, error: Option<ErrorCode>) {
        let waiting = self.group.members.iter_mut().filter_map(|(id, member)| {
            let token = member.syncing.take()?;
            Some((Arc::clone(id), token, member.assignment.clone()))
        });
        let waiting: Vec<(MemberId, Token, Bytes)> = waiting.collect();
        for (member, token, assignment) in waiting {
            let answer = match error {
                Some(error) => Err(error),
                None => Ok(self.synced(&member, token, assignment)),
            };
            self.out.reply(token, Reply::SyncGroup(answer));
            // Its silence was excused while it waited.
            self.restart_session(&member);
        }
    }

    /// What a member is told that it has, by the reply to `token`.
    pub(super) fn synced(&mut self, member: &str, token: Token, assignment: Bytes) -> Synced {
        let (group, member) = (ShortName::of(&self.id), ShortName::of(member));
        let (generation, hash) = (self.group.generation, fnv_1a(&assignment));
        let told = GroupObservation::AssignmentTold { group, member, generation, hash };
        self.out.tell(token, told);
        Synced {
            protocol_type: self.group.protocol_type.clone(),
            protocol: self.group.protocol.clone(),
            assignment,
        }
    }

    /// Begins the generation if nobody is waited for. A group's first members wait for others in any case.
    pub(super) fn complete_join_if_all_have(&mut self) {
        let waits_for_members = self.group.state == State::PreparingRebalance(None);
        if waits_for_members && self.group.all_have_joined() {
            self.complete_join();
        }
    }

    /// The members had their time to join.
    pub(super) fn on_join_timer(&mut self) {
        let State::PreparingRebalance(initial) = self.group.state else {
            unreachable!("the join timer is set while members are to join, and then only");
        };
        let Some(InitialDelay { remaining, new_member_added: true }) = initial else {
            return self.complete_join();
        };
        if remaining.is_zero() {
            return self.complete_join();
        }
        let wait = self.config.initial_rebalance_delay.min(remaining);
        let initial =
            InitialDelay { remaining: remaining.saturating_sub(wait), new_member_added: false };
        self.group.state = State::PreparingRebalance(Some(initial));
        self.set_join_timer(wait);
    }

    /// Begins the next generation with those that have joined.
    ///
    /// Static members that have not are kept, until their sessions end: they may be between two processes (KIP-345).
    fn complete_join(&mut self) {
        self.timers.cancel(&Timer::Join(Arc::clone(&self.id)));
        let missing = self
            .group
            .members
            .iter()
            .filter(|(_, member)| member.joining.is_none() && member.instance.is_none());
        let missing: Vec<MemberId> = missing.map(|(id, _)| Arc::clone(id)).collect();
        for id in missing {
            self.group.remove(&id);
            self.cancel_session(&id);
            self.say_gone(&id, MemberEnd::Late);
        }
        if !self.group.members.is_empty() && !self.group.elect_joined_leader() {
            // Only static members, none of which has joined: sessions end this.
            let timeout = self.group.rebalance_timeout();
            return self.set_join_timer(timeout);
        }
        self.group.begin_generation(self.now.wall);
        self.out.say_generation(&self.id, self.group, self.topics);
        if self.group.is_empty() {
            return self.write_group();
        }
        self.group.pending_sync = self.group.members.keys().cloned().collect();
        let joined: Vec<MemberId> = self.group.members.keys().cloned().collect();
        for id in &joined {
            let member = self.group.members.get_mut(id).expect("it was just listed");
            member.is_new = false;
            if let Some(token) = member.joining.take() {
                let answer = self.group.joined(id);
                self.answer_join(token, answer);
            }
            self.restart_session(id);
        }
        let timeout = self.group.rebalance_timeout();
        self.timers.set(Timer::Sync(Arc::clone(&self.id)), self.now.monotonic + timeout);
    }

    /// Tells a member that it is in this generation. It is, even where the answer comes too late: it is said at once.
    pub(super) fn answer_join(&mut self, token: Token, answer: Joined) {
        let (group, member) = (ShortName::of(&self.id), ShortName::of(&answer.member));
        let generation = answer.generation;
        self.out.say(GroupObservation::JoinAnswered { group, member, generation });
        self.out.reply(token, Reply::JoinGroup(Ok(answer)));
    }

    /// The members had their time to sync: those that did not are gone.
    pub(super) fn on_sync_timer(&mut self) {
        let late: Vec<MemberId> = self.group.pending_sync.iter().cloned().collect();
        assert!(!late.is_empty(), "the sync timer is set while somebody has yet to sync");
        for id in late {
            self.group.remove(&id);
            self.cancel_session(&id);
            self.say_gone(&id, MemberEnd::Late);
        }
        self.prepare_rebalance();
    }

    /// A member has synced.
    pub(super) fn has_synced(&mut self, member: &str) {
        self.group.pending_sync.remove(member);
        if self.group.pending_sync.is_empty() {
            self.timers.cancel(&Timer::Sync(Arc::clone(&self.id)));
        }
    }

    /// A member is taken out, whatever it waits for. The caller looks to what that means for the others.
    pub(super) fn remove_member(&mut self, id: &MemberId, end: MemberEnd) {
        self.cancel_session(id);
        let was_pending_sync = self.group.pending_sync.contains(id);
        let Some(member) = self.group.remove(id) else { return };
        self.say_gone(id, end);
        if let Some(token) = member.joining {
            // It may be told its id for the first time: it is to come anew, without one.
            self.refuse_join(token, ErrorCode::UnknownMemberId, None);
        }
        if let Some(token) = member.syncing {
            self.out.reply(token, Reply::SyncGroup(Err(ErrorCode::UnknownMemberId)));
        }
        if was_pending_sync && self.group.pending_sync.is_empty() {
            self.timers.cancel(&Timer::Sync(Arc::clone(&self.id)));
        }
    }

    /// The log did not take what the leader assigned in this generation: nobody has it.
    pub(super) fn on_assignment_lost(&mut self) {
        if self.group.state == State::Stable {
            self.prepare_rebalance();
        }
    }
}
