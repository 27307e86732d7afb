//! A group of the classic protocol: its members, their generation, and what state they are in. Knows no time and no records.
//!
//! All of it is soft: it dies with the leadership, and begins anew from the last [`GroupMetadataValue`] in the log, which says who
//! was in the last generation that got an assignment, and which.
//!
//! Kafka: `ClassicGroup`, `ClassicGroupMember`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::request::{GroupState, InstanceId, JoinGroup, Joined, JoinedMember, MemberId, Token};
use crate::protocol::coordinator_records::group_metadata_value::MemberMetadata;
use crate::protocol::coordinator_records::{
    GroupMetadataValue, read_assignment, read_subscription, subscribed_topics,
};
use crate::types::{ErrorCode, GenerationId, PartitionIndex, Timestamp};

/// What groups of Kafka's consumers are for (Kafka: `ConsumerProtocol.PROTOCOL_TYPE`).
pub(super) const CONSUMER_PROTOCOL_TYPE: &str = "consumer";

/// Where a group is between two generations.
///
/// ```text
///             join                all joined, or time is up            the leader synced
///  Empty ───────────→ Preparing ──────────────────────────→ Completing ─────────────────→ Stable
///    ↑                 │   ↑  ↑                                 │                            │
///    └─────────────────┘   │  └─── a member came, went or changed ─┘                           │
///     nobody is left       └────────────────── a member came, went or changed ─────────────┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It has no members.
    Empty,
    /// Members are to join. For the first generation after [`Self::Empty`] they are waited for.
    PreparingRebalance(Option<InitialDelay>),
    /// All have joined; the leader is to say who gets what.
    CompletingRebalance,
    /// The leader has said it.
    Stable,
}

/// How long the first members of a group wait for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InitialDelay {
    /// What may be added to the wait that is going on.
    pub(super) remaining: Duration,
    /// Whether somebody came meanwhile.
    pub(super) new_member_added: bool,
}

/// A member, and which of its requests are parked.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) instance: Option<InstanceId>,
    pub(super) client_id: Arc<str>,
    pub(super) client_host: Arc<str>,
    pub(super) session_timeout: Duration,
    pub(super) rebalance_timeout: Duration,
    /// The ways of assigning that it knows, the best first.
    pub(super) protocols: Vec<(Arc<str>, Bytes)>,
    /// What it got in the last generation that got anything.
    pub(super) assignment: Bytes,
    /// Its JoinGroup that waits for the others.
    pub(super) joining: Option<Token>,
    /// Its SyncGroup that waits for the leader.
    pub(super) syncing: Option<Token>,
    /// Whether it has yet to be told its id: nobody can expect heartbeats of it.
    pub(super) is_new: bool,
    /// Whether it has not joined since the log was read, which has one way of assigning that it knows: that of the generation.
    pub(super) is_of_log: bool,
}

impl Member {
    /// The member that `request` brings.
    pub(super) fn new(request: &JoinGroup, token: Token) -> Self {
        Self {
            instance: request.instance.clone(),
            client_id: Arc::clone(&request.client_id),
            client_host: Arc::clone(&request.client_host),
            session_timeout: request.session_timeout,
            rebalance_timeout: request.rebalance_timeout,
            protocols: request.protocols.clone(),
            assignment: Bytes::new(),
            joining: Some(token),
            syncing: None,
            is_new: true,
            is_of_log: false,
        }
    }

    /// Takes over what a JoinGroup of the same member says, and parks it. Returns the one that was parked before.
    pub(super) fn update(&mut self, request: &JoinGroup, token: Token) -> Option<Token> {
        self.protocols.clone_from(&request.protocols);
        self.session_timeout = request.session_timeout;
        self.rebalance_timeout = request.rebalance_timeout;
        self.is_of_log = false;
        self.joining.replace(token)
    }

    /// Whether it is waited for, so that its silence means nothing.
    pub(super) fn is_excused(&self) -> bool {
        !self.is_new && (self.joining.is_some() || self.syncing.is_some())
    }

    fn knows(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|(name, _)| **name == *protocol)
    }

    /// What it says to a way of assigning; empty where it does not know it.
    pub(super) fn metadata(&self, protocol: Option<&str>) -> Bytes {
        let mut protocols = self.protocols.iter();
        let found = protocols.find(|(name, _)| Some(&**name) == protocol);
        found.map_or_else(Bytes::new, |(_, metadata)| metadata.clone())
    }

    fn from_record(record: &MemberMetadata, protocol: Option<&Arc<str>>) -> Self {
        let millis = |value: i32| Duration::from_millis(u64::try_from(value).unwrap_or(0));
        let session_timeout = millis(record.session_timeout);
        let has_rebalance_timeout = record.rebalance_timeout >= 0;
        let rebalance_timeout =
            if has_rebalance_timeout { millis(record.rebalance_timeout) } else { session_timeout };
        let known = protocol.map(|name| (Arc::clone(name), record.subscription.clone()));
        Self {
            instance: record.group_instance_id.as_deref().map(Into::into),
            client_id: record.client_id.as_str().into(),
            client_host: record.client_host.as_str().into(),
            session_timeout,
            rebalance_timeout,
            protocols: known.into_iter().collect(),
            assignment: record.assignment.clone(),
            joining: None,
            syncing: None,
            is_new: false,
            is_of_log: true,
        }
    }

    fn to_record(&self, id: &str, protocol: Option<&str>) -> MemberMetadata {
        let millis = |value: Duration| i32::try_from(value.as_millis()).unwrap_or(i32::MAX);
        MemberMetadata {
            member_id: id.to_owned(),
            group_instance_id: self.instance.as_deref().map(ToOwned::to_owned),
            client_id: self.client_id.as_ref().to_owned(),
            client_host: self.client_host.as_ref().to_owned(),
            rebalance_timeout: millis(self.rebalance_timeout),
            session_timeout: millis(self.session_timeout),
            subscription: self.metadata(protocol),
            assignment: self.assignment.clone(),
        }
    }
}

/// A group of the classic protocol.
#[derive(Clone, Debug)]
pub(super) struct ClassicGroup {
    pub(super) state: State,
    pub(super) generation: GenerationId,
    /// What it is for. Stays when the last member leaves; `None` where there never was one.
    pub(super) protocol_type: Option<Arc<str>>,
    /// The way of assigning of this generation.
    pub(super) protocol: Option<Arc<str>>,
    /// Who assigns.
    pub(super) leader: Option<MemberId>,
    pub(super) members: BTreeMap<MemberId, Member>,
    /// Members that were given an id and have yet to come back with it.
    pub(super) pending_join: BTreeSet<MemberId>,
    /// Members of this generation that have yet to sync.
    pub(super) pending_sync: BTreeSet<MemberId>,
    /// Since when it is in its state, where that is known.
    pub(super) state_since: Option<Timestamp>,
    /// Whether the members that the log has were called to join, to say what else they know.
    has_asked: bool,
    /// The topics that its members read; `None` where that cannot be known.
    subscribed: Option<BTreeSet<String>>,
}

impl ClassicGroup {
    /// A group that nobody has joined.
    pub(super) fn new() -> Self {
        Self {
            state: State::Empty,
            generation: GenerationId::ZERO,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            pending_join: BTreeSet::new(),
            pending_sync: BTreeSet::new(),
            state_since: None,
            has_asked: false,
            subscribed: None,
        }
    }

    /// The group as the log last had it.
    pub(super) fn from_record(record: &GroupMetadataValue) -> Self {
        let protocol: Option<Arc<str>> = record.protocol.as_deref().map(Into::into);
        let members = record.members.iter().map(|member| {
            let id: MemberId = member.member_id.as_str().into();
            (id, Member::from_record(member, protocol.as_ref()))
        });
        let members: BTreeMap<MemberId, Member> = members.collect();
        let leader: Option<MemberId> = record.leader.as_deref().map(Into::into);
        let mut group = Self {
            state: if members.is_empty() { State::Empty } else { State::Stable },
            generation: GenerationId::from_wire(record.generation).unwrap_or(GenerationId::ZERO),
            protocol_type: Some(record.protocol_type.as_str())
                .filter(|name| !name.is_empty())
                .map(Into::into),
            protocol,
            leader: leader.filter(|leader| members.contains_key(leader)),
            members,
            state_since: record.current_state_timestamp,
            ..Self::new()
        };
        group.elect_leader_if_none();
        group.refresh_subscriptions();
        group
    }

    /// A group of consumers in this generation, in which each has what it was given. The first leads.
    ///
    /// Panics where there are none, or no way of assigning that all know.
    pub(super) fn of_consumers(
        generation: i32,
        members: BTreeMap<MemberId, Member>,
        now: Timestamp,
    ) -> Self {
        let generation = GenerationId::from_wire(generation).expect("a group is in an epoch");
        let mut group = Self {
            state: State::Stable,
            generation,
            protocol_type: Some(Arc::from(CONSUMER_PROTOCOL_TYPE)),
            members,
            state_since: Some(now),
            ..Self::new()
        };
        group.elect_leader_if_none();
        group.protocol = Some(group.select_protocol());
        group.refresh_subscriptions();
        group
    }

    /// What the log is to say of the group.
    pub(super) fn to_record(&self) -> GroupMetadataValue {
        let protocol = self.protocol.as_deref();
        let text = |value: &Arc<str>| value.as_ref().to_owned();
        GroupMetadataValue {
            protocol_type: self.protocol_type.as_ref().map_or_else(String::new, text),
            generation: self.generation.value(),
            protocol: self.protocol.as_ref().map(text),
            leader: self.leader.as_ref().map(text),
            current_state_timestamp: self.state_since,
            members: self
                .members
                .iter()
                .map(|(id, member)| member.to_record(id, protocol))
                .collect(),
        }
    }

    /// The state's name.
    pub(super) fn shown_state(&self) -> GroupState {
        match self.state {
            State::Empty => GroupState::Empty,
            State::PreparingRebalance(_) => GroupState::PreparingRebalance,
            State::CompletingRebalance => GroupState::CompletingRebalance,
            State::Stable => GroupState::Stable,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.state == State::Empty
    }

    pub(super) fn is_leader(&self, member: &str) -> bool {
        self.leader.as_deref() == Some(member)
    }

    /// What a member says of itself in this generation; to the way of assigning that it likes best where it was not in the generation.
    pub(super) fn said_by(&self, member: &Member) -> Bytes {
        let is_chosen = |name: &Arc<str>| self.protocol.as_ref() == Some(name);
        let mut protocols = member.protocols.iter();
        let chosen = protocols.find(|(name, _)| is_chosen(name));
        let said = chosen.or_else(|| member.protocols.first());
        said.map_or_else(Bytes::new, |(_, metadata)| metadata.clone())
    }

    /// Whether it is one of Kafka's consumers, as far as it says.
    pub(super) fn is_of_consumers(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER_PROTOCOL_TYPE)
    }

    /// The member that has this name, if any.
    pub(super) fn static_member(&self, instance: &str) -> Option<&MemberId> {
        let mut members = self.members.iter();
        members.find(|(_, member)| member.instance.as_deref() == Some(instance)).map(|(id, _)| id)
    }

    /// How many members wait for the generation to begin.
    pub(super) fn joining_count(&self) -> usize {
        self.members.values().filter(|member| member.joining.is_some()).count()
    }

    /// Whether nobody is waited for.
    pub(super) fn all_have_joined(&self) -> bool {
        self.pending_join.is_empty() && self.members.values().all(|member| member.joining.is_some())
    }

    /// The longest that a member may take to come back.
    pub(super) fn rebalance_timeout(&self) -> Duration {
        let timeouts = self.members.values().map(|member| member.rebalance_timeout);
        timeouts.max().unwrap_or(Duration::ZERO)
    }

    /// Whether who asks is a member, and under its own name (KIP-345).
    ///
    /// Errors: `FENCED_INSTANCE_ID` where another member has the name, `UNKNOWN_MEMBER_ID`.
    pub(super) fn check_member(
        &self,
        member: &str,
        instance: Option<&InstanceId>,
    ) -> Result<(), ErrorCode> {
        if let Some(instance) = instance {
            match self.static_member(instance) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(known) if **known != *member => return Err(ErrorCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member) { Ok(()) } else { Err(ErrorCode::UnknownMemberId) }
    }

    /// Whether somebody who knows these ways of assigning may come: all members know one of them.
    pub(super) fn supports(&self, protocol_type: &str, protocols: &[(Arc<str>, Bytes)]) -> bool {
        if self.is_empty() {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols.iter().any(|(name, _)| self.all_know(name))
    }

    /// Whether members may know more than the log has of them: they have yet to be called to join, or to come.
    pub(super) fn may_support(&self, protocol_type: &str, protocols: &[(Arc<str>, Bytes)]) -> bool {
        let is_waiting = matches!(self.state, State::PreparingRebalance(_));
        self.protocol_type.as_deref() == Some(protocol_type)
            && !protocols.is_empty()
            && (is_waiting || !self.has_asked)
            && self.members.values().any(|member| member.is_of_log)
    }

    /// The members that the log has are called to join. Whether that is the first time.
    pub(super) const fn asks(&mut self) -> bool {
        !std::mem::replace(&mut self.has_asked, true)
    }

    fn all_know(&self, protocol: &str) -> bool {
        self.members.values().all(|member| member.knows(protocol))
    }

    /// Lets a member in. The first one says what the group is for, and leads.
    pub(super) fn add(&mut self, id: MemberId, member: Member, protocol_type: &Arc<str>) {
        if self.members.is_empty() {
            self.protocol_type = Some(Arc::clone(protocol_type));
        }
        self.pending_join.remove(&id);
        self.leader.get_or_insert_with(|| Arc::clone(&id));
        let before = self.members.insert(id, member);
        assert!(before.is_none(), "a member is let in once");
    }

    /// Takes a member away. Returns it.
    pub(super) fn remove(&mut self, id: &str) -> Option<Member> {
        self.pending_join.remove(id);
        self.pending_sync.remove(id);
        let removed = self.members.remove(id)?;
        if self.is_leader(id) {
            self.leader = None;
            self.elect_leader_if_none();
        }
        Some(removed)
    }

    /// Gives a static member's place to its next process. Returns the member as it was.
    ///
    /// Panics where there is no such member.
    pub(super) fn replace(&mut self, old: &str, new: &MemberId) -> Member {
        let removed = self.members.remove(old).expect("a static member is a member");
        let member = Member { joining: None, syncing: None, is_new: false, ..removed.clone() };
        self.members.insert(Arc::clone(new), member);
        if self.pending_sync.remove(old) {
            self.pending_sync.insert(Arc::clone(new));
        }
        if self.is_leader(old) {
            self.leader = Some(Arc::clone(new));
        }
        removed
    }

    fn elect_leader_if_none(&mut self) {
        if self.leader.is_none() {
            self.leader = self.members.keys().next().cloned();
        }
    }

    /// Makes sure that the leader is one that has joined. Returns whether there is one.
    pub(super) fn elect_joined_leader(&mut self) -> bool {
        let has_joined = |id: &MemberId| self.members.get(id).is_some_and(|m| m.joining.is_some());
        if self.leader.as_ref().is_some_and(has_joined) {
            return true;
        }
        let mut joined = self.members.iter().filter(|(_, member)| member.joining.is_some());
        let Some((id, _)) = joined.next() else { return false };
        self.leader = Some(Arc::clone(id));
        true
    }

    /// The way of assigning that most members prefer of those that all know; among equals the one that the leader likes best.
    ///
    /// Panics where there are no members, or nothing that all know: nobody is let in who knows nothing that all know.
    pub(super) fn select_protocol(&self) -> Arc<str> {
        let first = self.members.values().next().expect("the group has members");
        let known = first.protocols.iter().map(|(name, _)| &**name);
        let candidates: BTreeSet<&str> = known.filter(|name| self.all_know(name)).collect();
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            let mut liked = member.protocols.iter().map(|(name, _)| &**name);
            let favourite = liked.find(|name| candidates.contains(name));
            *votes.entry(favourite.expect("all members know one way of assigning")).or_default() +=
                1;
        }
        let most = votes.values().copied().max().expect("the group has members");
        let leader = self.leader.as_ref().and_then(|leader| self.members.get(leader));
        let preferences = leader.into_iter().flat_map(|leader| &leader.protocols);
        let mut preferences = preferences.chain(self.members.values().flat_map(|m| &m.protocols));
        let chosen = preferences.find(|(name, _)| votes.get(&**name) == Some(&most));
        Arc::clone(&chosen.expect("somebody voted for it").0)
    }

    /// Begins the next generation with the members that there are.
    pub(super) fn begin_generation(&mut self, now: Timestamp) {
        self.generation = self.generation.next();
        self.pending_sync.clear();
        if self.members.is_empty() {
            self.protocol = None;
            self.leader = None;
            self.transition(State::Empty, now);
        } else {
            self.protocol = Some(self.select_protocol());
            self.transition(State::CompletingRebalance, now);
        }
        self.refresh_subscriptions();
    }

    pub(super) fn transition(&mut self, state: State, now: Timestamp) {
        self.state = state;
        self.state_since = Some(now);
    }

    /// Whether its members read `topic`. Where that cannot be known, consumers may read anything.
    pub(super) fn is_subscribed_to(&self, topic: &str) -> bool {
        match &self.subscribed {
            Some(topics) => topics.contains(topic),
            None => self.is_of_consumers() && !self.is_empty(),
        }
    }

    /// Whether it is known what its members read.
    pub(super) fn knows_subscriptions(&self) -> bool {
        self.subscribed.is_some()
    }

    /// The topics that its members read; `None` where that cannot be known.
    pub(super) fn subscribed_topics(&self) -> Option<&BTreeSet<String>> {
        self.subscribed.as_ref()
    }

    /// Takes over what the members say now.
    pub(super) fn refresh_subscriptions(&mut self) {
        self.subscribed = self.read_subscriptions();
    }

    fn read_subscriptions(&self) -> Option<BTreeSet<String>> {
        if !self.is_of_consumers() {
            return None;
        }
        let protocol = self.protocol.as_deref();
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            topics.extend(subscribed_topics(&member.metadata(protocol))?);
        }
        Some(topics)
    }

    /// Whether somebody else waits for what `former`, a process that is gone, had when it joined: the generation gives it to nobody. With the
    /// cooperative protocol that is so until its holder has given it up and joined again (KIP-429).
    pub(super) fn lacks_what_had(&self, former: &Member) -> bool {
        if !self.is_of_consumers() {
            return false;
        }
        let said = read_subscription(&former.metadata(self.protocol.as_deref()));
        let owned = said.map(|said| said.owned_partitions).unwrap_or_default();
        let mut lacking: BTreeSet<(String, PartitionIndex)> = BTreeSet::new();
        for of in owned {
            lacking.extend(of.partitions.into_iter().map(|index| (of.topic.clone(), index)));
        }
        for member in self.members.values() {
            let Ok(given) = read_assignment(&member.assignment) else { continue };
            for of in given.assigned_partitions {
                for index in of.partitions {
                    lacking.remove(&(of.topic.clone(), index));
                }
            }
        }
        !lacking.is_empty()
    }

    /// What a member is told that is in this generation.
    pub(super) fn joined(&self, member: &MemberId) -> Joined {
        let protocol = self.protocol.as_deref();
        let mut members = Vec::new();
        if self.is_leader(member) {
            let all = self.members.iter().map(|(id, member)| JoinedMember {
                member: Arc::clone(id),
                instance: member.instance.clone(),
                metadata: member.metadata(protocol),
            });
            members.extend(all);
        }
        Joined {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            skip_assignment: false,
            member: Arc::clone(member),
            members,
        }
    }

    /// What must hold between two requests.
    pub(super) fn check(&self) {
        let has_members = !self.members.is_empty();
        match self.state {
            State::Empty => assert!(!has_members, "an empty group has members"),
            State::PreparingRebalance(_) => {
                assert!(self.pending_sync.is_empty(), "nobody syncs before all have joined");
            }
            State::CompletingRebalance | State::Stable => {
                assert!(has_members, "a generation without members");
                assert!(self.protocol.is_some(), "a generation without a way of assigning");
            }
        }
        assert_eq!(self.leader.is_some(), has_members, "one leads where there are members");
        if let Some(leader) = &self.leader {
            assert!(self.members.contains_key(leader), "the leader is no member");
        }
        let mut names = BTreeSet::new();
        for (id, member) in &self.members {
            assert!(!self.pending_join.contains(id), "a member is waited for as a new one");
            let is_waiting = matches!(self.state, State::PreparingRebalance(_));
            assert!(member.joining.is_none() || is_waiting, "a join is parked for no generation");
            let is_syncing = self.state == State::CompletingRebalance;
            assert!(member.syncing.is_none() || is_syncing, "a sync is parked for no leader");
            if let Some(name) = &member.instance {
                assert!(names.insert(name), "two members have one name");
            }
        }
        for id in &self.pending_sync {
            assert!(self.members.contains_key(id), "a sync of no member is waited for");
        }
    }
}
