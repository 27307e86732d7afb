//! ConsumerGroupHeartbeat: members of a consumer group come, say what they read, hear what they are to have, and go (KIP-848).
//!
//! Each decision works on a draft of the group (`draft.rs`).
//!
//! Kafka: `GroupMetadataManager.consumerGroupHeartbeat` and what stands below it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::assignor::{Assignment, Assignor};
use super::classic_member::classic_session_timeout;
use super::consumer_group::{ConsumerGroup, Current, MemberState, rebalance_timeout};
use super::draft::Draft;
use super::reconcile::Step;
use super::request::{
    ConsumerGroupHeartbeat, GroupId, HeartbeatAnswer, HeartbeatEpoch, MemberId, TopicTable,
};
use super::subscription::TopicPattern;
use super::timers::Timer;
use super::{GroupCoordinator, Outcome, OverridesTable};
use crate::protocol::coordinator_records::ConsumerGroupMemberMetadataValue;
use crate::types::{ErrorCode, Now, Uuid};

/// The epoch of a static member that is away for a while (Kafka: `LEAVE_GROUP_STATIC_MEMBER_EPOCH`).
const AWAY: i32 = -2;

impl GroupCoordinator {
    /// The topics of the cluster are these now. Groups that read one that changed go to their next epoch at their next heartbeat.
    pub fn on_topics(&mut self, topics: Arc<TopicTable>) {
        self.topics = topics;
        self.topics_version += 1;
    }

    /// Single groups set this now. It holds from each member's next heartbeat on, which is answered with the group's interval and begins a
    /// session of its length.
    ///
    /// Kafka: `GroupCoordinatorService.updateGroupConfig`.
    pub fn on_overrides(&mut self, overrides: Arc<OverridesTable>) {
        self.overrides = overrides;
    }

    pub(super) fn consumer_heartbeat(
        &mut self,
        now: Now,
        request: &ConsumerGroupHeartbeat,
        out: &mut Outcome,
    ) -> Result<HeartbeatAnswer, ErrorCode> {
        check_request(request, &self.config.consumer_assignors)?;
        match request.epoch {
            HeartbeatEpoch::Join | HeartbeatEpoch::At(_) => self.beat(now, request, out),
            HeartbeatEpoch::Leave | HeartbeatEpoch::LeaveForAWhile => self.go(now, request, out),
        }
    }

    fn beat(
        &mut self,
        now: Now,
        request: &ConsumerGroupHeartbeat,
        out: &mut Outcome,
    ) -> Result<HeartbeatAnswer, ErrorCode> {
        let id = &request.group;
        let is_upgrade = self.classic.get(id).is_some_and(|classic| !classic.is_empty());
        let group = self.group_to_join(now, request, out)?;
        let new_id = || Arc::from(Uuid::random(&mut self.rng).to_string());
        let member = request.member.clone().unwrap_or_else(new_id);
        self.check_room(&group, &member, request.instance.as_deref())?;
        let mut draft = Draft::new(id, group, out);
        find_member(&mut draft, &member, request)?;
        let before = draft.group.members.get(&member).cloned();
        let metadata = updated(before.as_deref(), request);
        let timeout = rebalance_timeout(&metadata);
        let says_it_has = request.owned.as_ref();
        // Kafka takes it that a group's first member of this protocol reads what nobody of its name has read, so that the group goes to its
        // next epoch. A static member's next process does not, and what the leader had yet to give then stays nobody's.
        let entry = Entry { member: &member, metadata, says_it_has, is_upgrade };
        let Advanced { had, current, is_written } = self.advance(now, id, &mut draft, entry)?;
        self.after_upgrade(now, id, out);
        if is_written {
            self.set_revocation_timer(now, id, &member, &current, timeout);
        }
        if before.is_some_and(|before| before.classic_member_metadata.is_some()) {
            self.cancel_classic_timers((Arc::clone(id), Arc::clone(&member)));
        }
        self.set_consumer_session(now, id, &member, None);
        let is_full = request.rebalance_timeout.is_some()
            && (request.topics.is_some() || request.topic_regex.is_some())
            && request.owned.is_some();
        let must_tell =
            request.epoch == HeartbeatEpoch::Join || is_full || current.assigned != had.assigned;
        Ok(HeartbeatAnswer {
            member: Arc::clone(&member),
            member_epoch: current.epoch,
            interval: self.heartbeat_interval_of(id),
            assignment: must_tell.then(|| current.assignment()),
        })
    }

    /// Writes what a member says, takes the group to its next epoch where that changes anything, and the member as far as it goes.
    ///
    /// Errors: as of [`Step::next`].
    pub(super) fn advance(
        &mut self,
        now: Now,
        id: &GroupId,
        draft: &mut Draft<'_>,
        entry: Entry<'_>,
    ) -> Result<Advanced, ErrorCode> {
        let Entry { member, metadata, says_it_has, is_upgrade } = entry;
        let before = draft.group.members.get(member).cloned();
        let had = draft.group.current_of(member);
        let assignors = &self.config.consumer_assignors;
        let mut assignor = draft.group.assignor(assignors);
        let is_known = before.is_some();
        let reads_others = before.as_ref().is_none_or(|before| {
            before.subscribed_topic_names != metadata.subscribed_topic_names
                || before.subscribed_topic_regex != metadata.subscribed_topic_regex
        });
        if before.as_deref() != Some(&metadata) {
            draft.write_member(member, Some(metadata.clone()));
        }
        let assignor_before = std::mem::replace(&mut assignor, draft.group.assignor(assignors));
        let somebody_changed = is_upgrade || reads_others || assignor != assignor_before;
        let topics_changed = self.topics_seen.get(id) != Some(&self.topics_version);
        if somebody_changed || topics_changed {
            draft.resolve_expressions(&self.topics, topics_changed, now);
            draft.bump_epoch(&self.topics, somebody_changed);
        }
        draft.assign(assignor, &self.topics, now);

        let reads = draft.group.reads(&metadata, &self.topics);
        let step = Step {
            group: &draft.group,
            member,
            reads: &reads,
            reads_others: is_known && reads_others,
            says_it_has,
        };
        let current = step.next()?;
        let is_written = current != *had || !draft.group.current.contains_key(member);
        if is_written {
            draft.write_current(member, Some(&current));
        }
        self.topics_seen.insert(Arc::clone(id), self.topics_version);
        Ok(Advanced { had, current, is_written })
    }

    /// The group that a heartbeat means. One that joins may be the first; a classic group becomes one of consumers.
    fn group_to_join(
        &mut self,
        now: Now,
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
            return self.upgrade(now, id, out);
        }
        if self.durable.groups.contains_key(id) {
            Self::forget_group(id, out);
        } else {
            self.drop_soft(id);
        }
        Ok(ConsumerGroup::default())
    }

    /// Whether the group may have this member too (`group.consumer.max.size`). Errors: `GROUP_MAX_SIZE_REACHED`.
    pub(super) fn check_room(
        &self,
        group: &ConsumerGroup,
        member: &MemberId,
        instance: Option<&str>,
    ) -> Result<(), ErrorCode> {
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
        now: Now,
        request: &ConsumerGroupHeartbeat,
        out: &mut Outcome,
    ) -> Result<HeartbeatAnswer, ErrorCode> {
        let group = self.consumer_group(&request.group);
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
            self.remove_consumers(now, &request.group, &[Arc::clone(&member)], out);
            -1
        };
        let interval = self.heartbeat_interval_of(&request.group);
        Ok(HeartbeatAnswer { member, member_epoch, interval, assignment: None })
    }

    /// Takes members out of their group, and the group to its next epoch: they left, or did not say in time that they are there, or that
    /// they gave up what they had to. Where none is left that speaks the consumer protocol, the group becomes a classic one.
    ///
    /// Nothing where they are not there: the log may have refused that they ever came.
    ///
    /// Kafka: `GroupMetadataManager.consumerGroupFenceMembers`.
    pub(super) fn remove_consumers(
        &mut self,
        now: Now,
        id: &GroupId,
        members: &[MemberId],
        out: &mut Outcome,
    ) {
        let Some(group) = self.consumer_group(id) else { return };
        let known = members.iter().filter(|member| group.members.contains_key(*member));
        let gone: Vec<MemberId> = known.cloned().collect();
        if gone.is_empty() {
            return;
        }
        let rest = group.members.iter().filter(|(id, _)| !gone.contains(id));
        if self.may_downgrade(rest.map(|(_, member)| member.as_ref())) {
            let mut rest = group.clone();
            Draft::new(id, group.clone(), out).dissolve();
            for member in &gone {
                rest.members.remove(member);
            }
            self.become_classic(now, id, &rest, None, out);
        } else {
            let mut draft = Draft::new(id, group.clone(), out);
            for member in &gone {
                draft.remove_member(member);
            }
            draft.forget_unused_expressions();
            draft.bump_epoch(&self.topics, true);
        }
        for member in &gone {
            self.cancel_consumer_timers(id, member);
        }
    }

    /// `consumer.session.timeout.ms` of the group, or `group.consumer.session.timeout.ms`.
    pub(super) fn session_timeout_of(&self, id: &str) -> Duration {
        let own = self.overrides.get(id).and_then(|own| own.session_timeout);
        own.unwrap_or(self.config.consumer_session_timeout)
    }

    /// `consumer.heartbeat.interval.ms` of the group, or `group.consumer.heartbeat.interval.ms`.
    fn heartbeat_interval_of(&self, id: &str) -> Duration {
        let own = self.overrides.get(id).and_then(|own| own.heartbeat_interval);
        own.unwrap_or(self.config.consumer_heartbeat_interval)
    }

    /// Gives a member a session from now on: its own where it speaks the classic protocol, else the group's.
    pub(super) fn set_consumer_session(
        &mut self,
        now: Now,
        id: &GroupId,
        member: &MemberId,
        own: Option<Duration>,
    ) {
        let timer = Timer::ConsumerSession(Arc::clone(id), Arc::clone(member));
        let timeout = own.unwrap_or_else(|| self.session_timeout_of(id));
        self.timers.set(timer, now.monotonic + timeout);
    }

    fn set_revocation_timer(
        &mut self,
        now: Now,
        id: &GroupId,
        member: &MemberId,
        current: &Current,
        timeout: Duration,
    ) {
        let timer = Timer::Revocation(Arc::clone(id), Arc::clone(member));
        if current.state == MemberState::UnrevokedPartitions {
            self.timers.set(timer, now.monotonic + timeout);
        } else {
            self.timers.cancel(&timer);
        }
    }

    /// Members of the log's consumer groups get a full session, and a full rebalance timeout.
    pub(super) fn take_over_consumers(&mut self, now: Now) {
        for id in self.durable.consumer_groups.keys().cloned().collect::<Vec<_>>() {
            self.take_over_consumers_of(now, &id);
        }
    }

    /// Those of one group. Who speaks the classic protocol is told by its next heartbeat whether it has anything to give up.
    pub(super) fn take_over_consumers_of(&mut self, now: Now, id: &GroupId) {
        let Some(group) = self.durable.consumer_groups.get(id) else { return };
        let members = group.members.iter().map(|(member, metadata)| {
            (Arc::clone(member), group.current_of(member), Arc::clone(metadata))
        });
        for (member, current, metadata) in members.collect::<Vec<_>>() {
            let own = classic_session_timeout(&metadata);
            self.set_consumer_session(now, id, &member, own);
            if own.is_none() {
                let timeout = rebalance_timeout(&metadata);
                self.set_revocation_timer(now, id, &member, &current, timeout);
            }
        }
    }
}

/// What a member says, by whichever protocol.
pub(super) struct Entry<'a> {
    pub(super) member: &'a MemberId,
    pub(super) metadata: ConsumerGroupMemberMetadataValue,
    pub(super) says_it_has: Option<&'a Assignment>,
    /// Whether it is by it that the group is one of the consumer protocol.
    pub(super) is_upgrade: bool,
}

/// How far a member came.
pub(super) struct Advanced {
    /// Where it stood.
    pub(super) had: Arc<Current>,
    /// Where it stands.
    pub(super) current: Current,
    /// Whether that is news for the log.
    pub(super) is_written: bool,
}

/// What a request must be whatever the group is (Kafka: `GroupCoordinatorService.throwIfConsumerGroupHeartbeatRequestIsInvalid`).
fn check_request(
    request: &ConsumerGroupHeartbeat,
    assignors: &[Assignor],
) -> Result<(), ErrorCode> {
    let is_blank = |text: &Option<Arc<str>>| text.as_ref().is_some_and(|text| text.is_empty());
    let joins = request.epoch == HeartbeatEpoch::Join;
    let lacks_id = request.member.is_none() && !(joins && request.may_lack_member_id);
    let joins_badly = joins
        && (request.rebalance_timeout.is_none()
            || (request.topics.is_none() && request.topic_regex.is_none())
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
    let is_served =
        |name: &str| Assignor::from_name(name).is_some_and(|wanted| assignors.contains(&wanted));
    if request.assignor.as_ref().is_some_and(|name| !is_served(name)) {
        return Err(ErrorCode::UnsupportedAssignor);
    }
    // Kafka looks at it only when it knows the member, and nobody has the expression yet.
    match &request.topic_regex {
        Some(expression) if TopicPattern::new(expression).is_err() => {
            Err(ErrorCode::InvalidRegularExpression)
        }
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

/// A static member comes back as another process: it takes over what the former one had, if that one said that it goes, or spoke the
/// classic protocol.
fn replace_static_member(
    draft: &mut Draft<'_>,
    member: &MemberId,
    instance: &str,
) -> Result<(), ErrorCode> {
    let Some(former) = draft.group.static_member(instance).cloned() else { return Ok(()) };
    let metadata = draft.group.members.get(&former).expect("it was just found");
    let is_classic = metadata.classic_member_metadata.is_some();
    if former == *member && draft.group.current_of(&former).epoch != AWAY {
        return Ok(());
    }
    if draft.group.current_of(&former).epoch != AWAY && !is_classic {
        return Err(ErrorCode::UnreleasedInstanceId);
    }
    take_static_place(draft, &former, member);
    Ok(())
}

/// Gives a static member's place, with what it has and is to have, to its next process. That is in no epoch yet.
///
/// Kafka: `GroupMetadataManager.replaceMember`.
pub(super) fn take_static_place(draft: &mut Draft<'_>, former: &MemberId, member: &MemberId) {
    let current = draft.group.current_of(former);
    let metadata = draft.group.members.get(former).expect("a static member is a member");
    let metadata = metadata.as_ref().clone();
    let target = draft.group.target.get(former).cloned();
    draft.remove_member(former);
    draft.write_member(member, Some(metadata));
    if let Some(target) = target {
        draft.write_target(member, Some(&target));
    }
    let afresh = Current { epoch: 0, previous_epoch: 0, ..Current::clone(&current) };
    draft.write_current(member, Some(&afresh));
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
    // What a client of the classic protocol read that had the place before is no business of this one.
    let was_classic = before.classic_member_metadata.is_some();
    let named_before = if was_classic { Vec::new() } else { before.subscribed_topic_names };
    ConsumerGroupMemberMetadataValue {
        instance_id: text(&request.instance, before.instance_id),
        rack_id: text(&request.rack, before.rack_id),
        client_id: request.client_id.as_ref().to_owned(),
        client_host: request.client_host.as_ref().to_owned(),
        subscribed_topic_names: names.unwrap_or(named_before),
        subscribed_topic_regex: text(&request.topic_regex, before.subscribed_topic_regex),
        rebalance_timeout_ms: timeout.unwrap_or(before.rebalance_timeout_ms),
        server_assignor: text(&request.assignor, before.server_assignor),
        classic_member_metadata: None,
    }
}
