//! JoinGroup: who is let in, under which id, and whether that means another generation.
//!
//! Kafka: `GroupMetadataManager.classicGroupJoinToClassicGroup` and what stands below it.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng as _;

use super::classic_group::{Member, State};
use super::request::{InstanceId, JoinGroup, Joined, MemberId, Reply, Token};
use super::turn::Turn;
use crate::types::{ErrorCode, GroupObservation, MemberEnd, ShortName};

/// How long a new member's JoinGroup may be parked before it must ask again: until it is answered nobody can tell whether the
/// member still exists (Kafka: `GroupCoordinatorConfig.CLASSIC_GROUP_NEW_MEMBER_JOIN_TIMEOUT_MS`).
const NEW_MEMBER_JOIN_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// How much of a client's id goes into its member id, in bytes: a member id must fit a text of the wire.
const MEMBER_ID_PREFIX_BYTES_MAX: usize = 1024;

impl Turn<'_> {
    /// Decides a JoinGroup.
    pub(super) fn join(&mut self, request: &JoinGroup, token: Token) {
        if !self.has_room_for(request.member.as_deref()) {
            return self.turn_away(request, token);
        }
        if !self.group.supports(&request.protocol_type, &request.protocols) {
            return self.refuse_stranger(request, token);
        }
        match &request.member {
            None => self.join_as_new(request, token),
            Some(member) if self.group.pending_join.contains(member) => {
                if request.instance.is_some() {
                    // A static member gets its id together with its place.
                    let error = ErrorCode::UnknownMemberId;
                    return self.refuse_join(token, error, Some(Arc::clone(member)));
                }
                self.add_member(Arc::clone(member), request, token);
            }
            Some(member) => self.rejoin(member, request, token),
        }
    }

    /// The members know no way of assigning that this one knows. Of those that only the log tells of, one way is known, that of their
    /// generation: they are called to join first, and this one asks again. (Kafka refuses it for good, until they join for another
    /// reason.)
    fn refuse_stranger(&mut self, request: &JoinGroup, token: Token) {
        let error = if self.group.may_support(&request.protocol_type, &request.protocols) {
            if self.group.asks() && !matches!(self.group.state, State::PreparingRebalance(_)) {
                self.prepare_rebalance();
            }
            ErrorCode::CoordinatorLoadInProgress
        } else {
            ErrorCode::InconsistentGroupProtocol
        };
        self.refuse_join(token, error, request.member.clone());
    }

    /// Whether the group may have this member too (`group.max.size`).
    ///
    /// While members are to join, those that have count: the limit may have been lowered, and then the last ones stay outside.
    fn has_room_for(&self, member: Option<&str>) -> bool {
        let known = member.and_then(|member| self.group.members.get(member));
        match self.group.state {
            State::Empty => true,
            State::PreparingRebalance(_) => {
                known.is_some_and(|member| member.joining.is_some())
                    || self.group.joining_count() < self.config.size_max
            }
            State::CompletingRebalance | State::Stable => {
                known.is_some() || self.group.members.len() < self.config.size_max
            }
        }
    }

    fn turn_away(&mut self, request: &JoinGroup, token: Token) {
        if let Some(member) = &request.member {
            self.remove_member(member, MemberEnd::TurnedAway);
        }
        self.refuse_join(token, ErrorCode::GroupMaxSizeReached, None);
        self.complete_join_if_all_have();
    }

    fn join_as_new(&mut self, request: &JoinGroup, token: Token) {
        let id = self.new_member_id(request);
        match &request.instance {
            Some(instance) => match self.group.static_member(instance).cloned() {
                Some(old) => self.replace_static_member(&old, &id, request, token),
                None => self.add_member(id, request, token),
            },
            None if request.requires_known_member_id => {
                self.group.pending_join.insert(Arc::clone(&id));
                self.set_session(&id, request.session_timeout);
                self.refuse_join(token, ErrorCode::MemberIdRequired, Some(id));
            }
            None => self.add_member(id, request, token),
        }
    }

    /// An id that nobody had: what the client calls itself, and a random UUID (Kafka: `ClassicGroup.generateMemberId`).
    fn new_member_id(&mut self, request: &JoinGroup) -> MemberId {
        let name: &InstanceId = request.instance.as_ref().unwrap_or(&request.client_id);
        let end = name.floor_char_boundary(MEMBER_ID_PREFIX_BYTES_MAX);
        let mut bytes = [0; 16];
        self.rng.fill_bytes(&mut bytes);
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        let hex = format!("{:032x}", u128::from_be_bytes(bytes));
        let (a, b, c, d, e) = (&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
        format!("{}-{a}-{b}-{c}-{d}-{e}", &name[..end]).into()
    }

    fn add_member(&mut self, id: MemberId, request: &JoinGroup, token: Token) {
        if let State::PreparingRebalance(Some(initial)) = &mut self.group.state {
            initial.new_member_added = true;
        }
        self.group.add(Arc::clone(&id), Member::new(request, token), &request.protocol_type);
        self.say_came(&id, request.instance.as_ref());
        self.set_session(&id, NEW_MEMBER_JOIN_TIMEOUT);
        self.rebalance();
    }

    /// Somebody is a member from now on.
    fn say_came(&mut self, id: &str, instance: Option<&InstanceId>) {
        let (group, member) = (ShortName::of(&self.id), ShortName::of(id));
        let instance = instance.map(|name| ShortName::of(name));
        self.out.say(GroupObservation::MemberCame { group, member, instance });
    }

    /// A member joins again: for the next generation, to bring about one, or because it missed the answer.
    fn rejoin(&mut self, id: &MemberId, request: &JoinGroup, token: Token) {
        if let Err(error) = self.group.check_member(id, request.instance.as_ref()) {
            return self.refuse_join(token, error, Some(Arc::clone(id)));
        }
        let member = self.group.members.get(id).expect("it was just checked");
        let is_unchanged = member.protocols == request.protocols;
        let wants_the_same = match self.group.state {
            State::Empty | State::PreparingRebalance(_) => false,
            State::CompletingRebalance => is_unchanged,
            // The leader may have seen what is in nobody's metadata: a topic with more partitions, say.
            State::Stable => is_unchanged && !self.group.is_leader(id),
        };
        if wants_the_same {
            let answer = self.group.joined(id);
            return self.answer_join(token, answer);
        }
        self.park_join(id, request, token);
        self.rebalance();
    }

    fn park_join(&mut self, id: &MemberId, request: &JoinGroup, token: Token) {
        let member = self.group.members.get_mut(id).expect("a member joins again");
        if let Some(before) = member.update(request, token) {
            // It asked twice: what it asked first is not waited for any more, but answered.
            self.refuse_join(before, ErrorCode::RebalanceInProgress, Some(Arc::clone(id)));
        }
    }

    /// A static member's next process takes its place (KIP-345). The former one is fenced.
    ///
    /// The generation stays where there is no need of another. (Kafka's also stays where the former process was to give something up for
    /// another member and to join again then: nobody does, and nobody gets it.)
    fn replace_static_member(
        &mut self,
        old: &MemberId,
        new: &MemberId,
        request: &JoinGroup,
        token: Token,
    ) {
        let leader = self.group.leader.clone();
        let former = self.group.replace(old, new);
        self.cancel_session(old);
        self.say_gone(old, MemberEnd::Replaced);
        self.say_came(new, request.instance.as_ref());
        if let Some(parked) = former.joining {
            self.refuse_join(parked, ErrorCode::FencedInstanceId, Some(Arc::clone(old)));
        }
        if let Some(parked) = former.syncing {
            self.out.reply(parked, Reply::SyncGroup(Err(ErrorCode::FencedInstanceId)));
        }
        self.park_join(new, request, token);
        self.restart_session(new);
        match self.group.state {
            State::Stable
                if self.group.protocol.as_ref() == Some(&self.group.select_protocol())
                    && !self.group.lacks_what_had(&former) =>
            {
                self.keep_generation(new, leader, request.may_skip_assignment);
            }
            // The leader may be assigning to the former id: only another generation brings the new one an assignment.
            State::Stable | State::CompletingRebalance => self.prepare_rebalance(),
            State::PreparingRebalance(_) => self.complete_join_if_all_have(),
            State::Empty => unreachable!("an empty group has no static members"),
        }
    }

    /// The member's place stays as it is; only its id is another, and that goes into the log.
    ///
    /// Where the new process leads it must not assign again. One that cannot be told so is told that the former one leads.
    fn keep_generation(&mut self, id: &MemberId, former: Option<MemberId>, may_skip: bool) {
        self.group.refresh_subscriptions();
        self.out.say_subscriptions(&self.id, self.group, self.topics);
        let member = self.group.members.get_mut(id).expect("it was just put there");
        let token = member.joining.take().expect("its JoinGroup was just parked");
        let answer = self.group.joined(id);
        let answer = if may_skip {
            Joined { skip_assignment: self.group.is_leader(id), ..answer }
        } else {
            Joined { leader: former, members: Vec::new(), ..answer }
        };
        self.write_group();
        self.answer_join(token, answer);
    }
}
