//! The group coordinator: which consumers are in which group, who reads what, and how far they have read. A ledger over one
//! partition of `__consumer_offsets`; each group belongs to the partition that its id hashes to.
//!
//! A request goes in, records come out; a record goes in, the durable state changes, and only so: offsets, and each group as of
//! its last generation. The soft state (who is joining, whose session ends when) changes only in [`GroupCoordinator::decide`] and
//! [`GroupCoordinator::tick`], goes with the record that its group is no more, and dies with the leadership. Nothing here waits, writes or knows what is committed.
//!
//! What a driver does, in this order, for each [`Outcome`]: it appends the records in one batch and hands each to
//! [`GroupCoordinator::replay`], before anything else is decided; it keeps every reply until all that the log then holds is committed,
//! also a reply without records of its own, for it may speak of what is not committed yet. Where the append is refused it
//! replays nothing, calls [`GroupCoordinator::on_append_failed`], and sends [`Reply::failed`] instead of each reply.
//!
//! A group speaks one of two protocols: the classic one, where members assign ([`request::JoinGroup`]) and most state is soft, or the
//! consumer protocol of KIP-848, where the coordinator assigns ([`request::ConsumerGroupHeartbeat`]) and all state is durable. It changes
//! from one to the other, also while it has members; those of the classic protocol go on with it in a group of the other (`migration.rs`).
//!
//! Not here: transactional commits.
//!
//! Kafka: `GroupCoordinatorShard`, `GroupMetadataManager`, `OffsetMetadataManager`.

mod admin;
pub mod assignor;
mod classic_group;
mod classic_member;
mod config;
mod consumer_group;
mod consumer_heartbeat;
mod draft;
mod durable;
mod join;
mod membership;
mod migration;
mod offsets;
mod reconcile;
pub mod request;
mod said;
mod said_of_consumers;
mod subscription;
mod timers;
mod turn;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;

use classic_group::ClassicGroup;
pub use config::{GroupConfig, GroupOverrides, MigrationPolicy, OverridesTable};
use draft::Draft;
use durable::Durable;
use request::{GroupId, JoinGroup, TopicTable};
pub use request::{Reply, Request, Token};
pub use subscription::TopicPattern;
use timers::{Timer, Timers};
use turn::Turn;

use crate::protocol::coordinator_records::CoordinatorRecord;
use crate::types::{
    CHECKS_ITSELF, ErrorCode, GenerationId, GroupObservation, Monotonic, Now, PartitionIndex,
    ShortName,
};

/// How soon a member is taken out whose removal the log refused (Kafka: `CoordinatorRuntime`, the retries of its timers).
const REMOVAL_RETRY_BACKOFF: Duration = Duration::from_millis(500);

/// The internal topic that groups live in, a coordinator for each of its partitions (Kafka: `Topic.GROUP_METADATA_TOPIC_NAME`).
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// Which of the `partitions` of `__consumer_offsets` a group belongs to: its leader coordinates the group.
///
/// Java's hash of the id, which goes by UTF-16 (Kafka: `GroupCoordinatorService.partitionFor`, `Utils.abs`). Panics where `partitions` is
/// none.
#[must_use]
pub fn partition_of(group: &str, partitions: i32) -> PartitionIndex {
    assert!(partitions > 0, "the offsets topic has partitions");
    let add = |hash: i32, unit: u16| hash.wrapping_mul(31).wrapping_add(i32::from(unit));
    let hash = group.encode_utf16().fold(0, add);
    // The smallest number has no absolute value, and counts as 0.
    PartitionIndex::new(hash.checked_abs().unwrap_or(0) % partitions)
}

/// What a decision comes to: records to append in one batch, all or none, and what to answer to whom once they are committed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The records, in order. Empty where nothing durable changes.
    pub records: Vec<CoordinatorRecord>,
    /// The replies, in order: to the request that was decided, to ones that were parked before, or to none yet.
    pub replies: Vec<(Token, Reply)>,
    /// What was decided, in order: to be said once the records are appended. Where they are refused, only what is not of the log.
    pub said: Vec<GroupObservation>,
    /// What is to be said when the reply to a token is sent as it is here.
    pub told: Vec<(Token, GroupObservation)>,
}

impl Outcome {
    fn reply(&mut self, token: Token, reply: Reply) {
        self.replies.push((token, reply));
    }
}

/// A coordinator that is reading its log. It decides nothing: requests are answered by [`Request::refused`].
#[derive(Debug, Default)]
pub struct LoadingCoordinator {
    durable: Durable,
    overrides: Arc<OverridesTable>,
}

impl LoadingCoordinator {
    /// With nothing read yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next record of the log.
    pub fn replay(&mut self, record: &CoordinatorRecord) {
        self.durable.replay(record);
    }

    /// What single groups set, from the coordinator's first moment on.
    #[must_use]
    pub fn with_overrides(self, overrides: Arc<OverridesTable>) -> Self {
        Self { overrides, ..self }
    }

    /// The log is read: the coordinator begins to work. Every member gets a full session from now.
    ///
    /// `rng` gives member ids. The outcome is performed like that of a decision.
    #[must_use]
    pub fn finish(self, config: GroupConfig, rng: StdRng, now: Now) -> (GroupCoordinator, Outcome) {
        let mut coordinator = GroupCoordinator {
            config,
            rng,
            durable: self.durable,
            classic: BTreeMap::new(),
            timers: Timers::default(),
            expiry_from: None,
            topics: Arc::default(),
            topics_version: 0,
            topics_seen: BTreeMap::new(),
            overrides: self.overrides,
        };
        let mut out = Outcome::default();
        coordinator.take_over(now, &mut out);
        (coordinator, out)
    }
}

/// The coordinator of the groups of one partition.
#[derive(Debug)]
pub struct GroupCoordinator {
    config: GroupConfig,
    rng: StdRng,
    /// Durable: what the records add up to.
    durable: Durable,
    /// Soft: groups that have members, or expect some, or have none any more and the log does not say so yet.
    classic: BTreeMap<GroupId, ClassicGroup>,
    /// Soft: what happens when.
    timers: Timers,
    /// Soft: up to which group the look for expired offsets came, where it paused.
    expiry_from: Option<GroupId>,
    /// Soft: the topics of the cluster.
    topics: Arc<TopicTable>,
    /// Soft: how often they changed.
    topics_version: u64,
    /// Soft: of which of these versions each consumer group's epoch is.
    topics_seen: BTreeMap<GroupId, u64>,
    /// Soft: what single groups set.
    overrides: Arc<OverridesTable>,
}

impl GroupCoordinator {
    /// Decides `request`. Its reply may be in this outcome or in a later one, but comes exactly once.
    ///
    /// ```
    /// use ottla::coordinator::group::request::{GroupFilter, Reply, Request};
    /// use ottla::coordinator::group::{GroupConfig, LoadingCoordinator, Token};
    /// use ottla::types::Now;
    /// use rand::SeedableRng;
    ///
    /// let rng = rand::rngs::StdRng::seed_from_u64(1);
    /// let (mut coordinator, _) =
    ///     LoadingCoordinator::new().finish(GroupConfig::default(), rng, Now::default());
    /// let request = Request::ListGroups(GroupFilter::default());
    /// let outcome = coordinator.decide(Now::default(), Token(7), request);
    /// assert_eq!(outcome.replies, [(Token(7), Reply::ListGroups(Ok(vec![])))]);
    /// ```
    pub fn decide(&mut self, now: Now, token: Token, request: Request) -> Outcome {
        let mut out = Outcome::default();
        let group = request.group().cloned();
        match request {
            Request::JoinGroup(request) => self.join_group(now, token, &request, &mut out),
            Request::SyncGroup(request) if self.is_of_consumers(&request.group) => {
                let result = self.sync_consumer_group(now, &request);
                out.reply(token, Reply::SyncGroup(result));
            }
            Request::SyncGroup(request) => match self.known_group(now, &request.group, &mut out) {
                Ok(mut turn) => turn.sync(&request, token),
                Err(error) => out.reply(token, Reply::SyncGroup(Err(error))),
            },
            Request::Heartbeat(request) => {
                let result = if self.is_of_consumers(&request.group) {
                    self.heartbeat_consumer_group(now, &request, &mut out)
                } else {
                    let turn = self.known_group(now, &request.group, &mut out);
                    turn.and_then(|mut turn| turn.heartbeat(&request))
                };
                out.reply(token, Reply::Heartbeat(result));
            }
            Request::LeaveGroup(request) => {
                let result = if self.is_of_consumers(&request.group) {
                    Ok(self.leave_consumer_group(now, &request, &mut out))
                } else {
                    let turn = self.known_group(now, &request.group, &mut out);
                    turn.map(|mut turn| turn.leave(&request))
                };
                out.reply(token, Reply::LeaveGroup(result));
            }
            Request::CommitOffsets(request) => {
                let result = self.commit_offsets(now, &request, token, &mut out);
                if let Err(error) = &result {
                    out.say(said::refused(&request, *error));
                }
                out.reply(token, Reply::CommitOffsets(result));
            }
            Request::FetchOffsets(request) => {
                let result = self.fetch_offsets(&request);
                if let Ok(fetched) = &result {
                    self.tell_fetched(token, &request.group, fetched, &mut out);
                }
                out.reply(token, Reply::FetchOffsets(result));
            }
            Request::DeleteOffsets(request) => {
                let result = self.delete_offsets(now, &request, &mut out);
                out.reply(token, Reply::DeleteOffsets(result));
            }
            Request::ListGroups(filter) => {
                out.reply(token, Reply::ListGroups(Ok(self.list_groups(&filter))));
            }
            Request::DescribeGroups(groups) => {
                let groups = groups.into_iter().map(|id| {
                    let described = self.describe_group(&id);
                    (id, described)
                });
                out.reply(token, Reply::DescribeGroups(groups.collect()));
            }
            Request::DeleteGroups(groups) => {
                let groups = groups.into_iter().map(|id| {
                    let error = self.delete_group(&id, &mut out).err();
                    (id, error.unwrap_or(ErrorCode::None))
                });
                let groups = groups.collect();
                out.reply(token, Reply::DeleteGroups(groups));
            }
            Request::ConsumerGroupHeartbeat(request) => {
                let result = self.consumer_heartbeat(now, &request, &mut out);
                if let Ok(answer) = &result
                    && let Some(epoch) = GenerationId::from_wire(answer.member_epoch)
                {
                    let (group, member) =
                        (ShortName::of(&request.group), ShortName::of(&answer.member));
                    out.tell(token, GroupObservation::EpochTold { group, member, epoch });
                }
                if result.is_err() {
                    out.records.clear();
                    out.said.clear();
                }
                out.reply(token, Reply::ConsumerGroupHeartbeat(result));
            }
            Request::DescribeConsumerGroups(groups) => {
                let groups = groups.into_iter().map(|id| {
                    let described = self.describe_consumer_group(&id);
                    (id, described)
                });
                out.reply(token, Reply::DescribeConsumerGroups(groups.collect()));
            }
        }
        if let Some(group) = group {
            self.settle(&group);
        }
        self.say_consumers(&mut out);
        out
    }

    /// What time alone demands: the first thing that [`Self::deadline`] announced. One at a time, so that the next sees what it did.
    pub fn tick(&mut self, now: Now) -> Outcome {
        let mut out = Outcome::default();
        match self.timers.pop_due(now.monotonic) {
            None => {}
            Some(Timer::Expiry) => self.expire_offsets(now, &mut out),
            Some(
                Timer::ConsumerSession(group, member)
                | Timer::Revocation(group, member)
                | Timer::ConsumerJoin(group, member)
                | Timer::ConsumerSync(group, member),
            ) => {
                self.remove_consumers(now, &group, &[member], &mut out);
                self.settle(&group);
                self.say_consumers(&mut out);
            }
            Some(Timer::Session(group, member)) => {
                self.timed_group(now, &group, &mut out).on_session_timer(&member);
                self.settle(&group);
            }
            Some(Timer::Join(group)) => {
                self.timed_group(now, &group, &mut out).on_join_timer();
                self.settle(&group);
            }
            Some(Timer::Sync(group)) => {
                self.timed_group(now, &group, &mut out).on_sync_timer();
                self.settle(&group);
            }
        }
        out
    }

    /// When to call [`Self::tick`] next.
    #[must_use]
    pub fn deadline(&self) -> Option<Monotonic> {
        self.timers.next()
    }

    /// Adds a record to the durable state: one that was decided here, and has its place in the log.
    pub fn replay(&mut self, record: &CoordinatorRecord) {
        self.durable.replay(record);
        if let CoordinatorRecord::GroupMetadata(key, value) = record {
            if value.is_none() {
                // It has become one of the consumer protocol, or is no more.
                _ = self.take_soft(&key.group.as_str().into());
            }
            self.settle(&key.group);
        }
        if let CoordinatorRecord::ConsumerGroupMetadata(key, None) = record {
            self.topics_seen.remove(key.group_id.as_str());
        }
    }

    /// The log refused the records of an outcome. What a leader assigned with them is void: its group must rebalance. Who was to be
    /// taken out of a consumer group is still there, and is taken out soon.
    ///
    /// The outcome that this brings is performed like that of a decision.
    pub fn on_append_failed(&mut self, now: Now, records: &[CoordinatorRecord]) -> Outcome {
        let mut out = Outcome::default();
        let mut stay: BTreeSet<&str> = BTreeSet::new();
        for record in records {
            if let CoordinatorRecord::ConsumerGroupMetadata(key, None) = record {
                self.undo_downgrade(now, &key.group_id.as_str().into(), &mut out);
            }
            if let CoordinatorRecord::GroupMetadata(_, Some(lost)) = record {
                stay.extend(lost.members.iter().map(|member| member.member_id.as_str()));
            }
        }
        for record in records {
            if let CoordinatorRecord::GroupMetadata(key, Some(lost)) = record
                && self.classic.get(key.group.as_str()).is_some_and(|group| {
                    group.generation.value() == lost.generation && !lost.members.is_empty()
                })
            {
                let id: GroupId = key.group.as_str().into();
                self.timed_group(now, &id, &mut out).on_assignment_lost();
                self.settle(&id);
            }
            if let CoordinatorRecord::ConsumerGroupMetadata(key, _) = record {
                self.topics_seen.remove(key.group_id.as_str());
            }
            if let CoordinatorRecord::ConsumerGroupRegularExpression(key, _) = record {
                self.topics_seen.remove(key.group_id.as_str());
            }
            if let CoordinatorRecord::ConsumerGroupMemberMetadata(key, None) = record
                && !stay.contains(key.member_id.as_str())
            {
                let (id, member) = (key.group_id.as_str().into(), key.member_id.as_str().into());
                let timer = Timer::ConsumerSession(id, member);
                self.timers.set(timer, now.monotonic + REMOVAL_RETRY_BACKOFF);
            }
        }
        out
    }

    /// The leadership is lost: refuses everything that is parked. Replies that wait for the log are the driver's.
    #[must_use]
    pub fn resign(self) -> Vec<(Token, Reply)> {
        let error = ErrorCode::NotCoordinator;
        let mut replies = Vec::new();
        for group in self.classic.into_values() {
            for (id, member) in group.members {
                if let Some(token) = member.joining {
                    replies.push((token, Reply::join_refused(error, Some(id))));
                }
                if let Some(token) = member.syncing {
                    replies.push((token, Reply::SyncGroup(Err(error))));
                }
            }
        }
        replies
    }

    fn take_over(&mut self, now: Now, out: &mut Outcome) {
        let interval = self.config.offsets_retention_check_interval;
        self.timers.set(Timer::Expiry, now.monotonic + interval);
        self.take_over_consumers(now);
        let with_members =
            self.durable.groups.iter().filter(|(_, group)| !group.members.is_empty());
        let ids: Vec<GroupId> = with_members.clone().map(|(id, _)| Arc::clone(id)).collect();
        let unled = with_members.filter(|(_, group)| group.leader.is_none());
        let unled: BTreeSet<GroupId> = unled.map(|(id, _)| Arc::clone(id)).collect();
        for id in ids {
            let size_max = self.config.size_max;
            let Some(mut turn) = self.turn(now, &id, out) else { continue };
            // The limit was lowered: those that come first stay. Or nobody has led: the group has just become a classic one.
            if turn.group.members.len() > size_max || unled.contains(&id) {
                turn.prepare_rebalance();
            }
            self.settle(&id);
        }
    }

    fn join_group(&mut self, now: Now, token: Token, request: &JoinGroup, out: &mut Outcome) {
        let refused = |error| Reply::join_refused(error, request.member.clone());
        if request.group.is_empty() {
            return out.reply(token, refused(ErrorCode::InvalidGroupId));
        }
        let allowed = self.config.session_timeout_min..=self.config.session_timeout_max;
        if !allowed.contains(&request.session_timeout) {
            return out.reply(token, refused(ErrorCode::InvalidSessionTimeout));
        }
        if let Some(group) = self.consumer_group(&request.group) {
            if !group.members.is_empty() {
                return self.join_consumer_group(now, token, request, out);
            }
            if request.member.is_some() {
                // Of a classic group that is no more: it is to come anew, without an id.
                return out.reply(token, refused(ErrorCode::UnknownMemberId));
            }
            Draft::new(&request.group, group.clone(), out).dissolve();
            out.say(GroupObservation::GroupForgotten { group: ShortName::of(&request.group) });
            self.classic.insert(Arc::clone(&request.group), ClassicGroup::new());
        }
        if request.member.is_none() && !self.exists(&request.group) {
            self.classic.insert(Arc::clone(&request.group), ClassicGroup::new());
        }
        match self.turn(now, &request.group, out) {
            Some(mut turn) => turn.join(request, token),
            None => out.reply(token, refused(ErrorCode::UnknownMemberId)),
        }
    }

    /// Whether a group speaks the consumer protocol, so that members of the classic one are guests in it.
    fn is_of_consumers(&self, id: &str) -> bool {
        self.consumer_group(id).is_some()
    }

    fn exists(&self, id: &str) -> bool {
        self.classic.contains_key(id) || self.durable.contains(id)
    }

    /// A group's turn. `None` where there is no such group.
    ///
    /// Where the group is known from the log only it gets its soft state here, and its members their sessions.
    fn turn<'a>(&'a mut self, now: Now, id: &GroupId, out: &'a mut Outcome) -> Option<Turn<'a>> {
        let is_new = !self.classic.contains_key(id);
        if is_new {
            if self.durable.consumer_groups.contains_key(id) {
                return None;
            }
            let group = match self.durable.groups.get(id) {
                Some(record) => ClassicGroup::from_record(record),
                None if self.durable.offsets.contains_key(id) => ClassicGroup::new(),
                None => return None,
            };
            self.classic.insert(Arc::clone(id), group);
        }
        let group = self.classic.get_mut(id)?;
        let Self { config, rng, timers, topics, .. } = self;
        let mut turn = Turn { config, rng, timers, topics, now, id: Arc::clone(id), group, out };
        if is_new {
            turn.restart_all_sessions();
        }
        Some(turn)
    }

    /// The turn of a group that members speak of. Errors: `INVALID_GROUP_ID`, `UNKNOWN_MEMBER_ID` where there is no such group.
    fn known_group<'a>(
        &'a mut self,
        now: Now,
        id: &GroupId,
        out: &'a mut Outcome,
    ) -> Result<Turn<'a>, ErrorCode> {
        if id.is_empty() {
            return Err(ErrorCode::InvalidGroupId);
        }
        self.turn(now, id, out).ok_or(ErrorCode::UnknownMemberId)
    }

    /// The turn of a group that has a timer.
    fn timed_group<'a>(&'a mut self, now: Now, id: &GroupId, out: &'a mut Outcome) -> Turn<'a> {
        self.turn(now, id, out)
            .expect("timers are set for groups with members, or that expect some")
    }

    /// Drops the soft state of a group where it says no more than the log.
    fn settle(&mut self, id: &str) {
        if CHECKS_ITSELF {
            self.check(id);
        }
        let Some(group) = self.classic.get(id) else { return };
        let is_idle = group.is_empty() && group.pending_join.is_empty();
        let in_log = self.durable.groups.get(id);
        let is_in_log = in_log.is_none_or(|record| {
            record.members.is_empty() && record.generation == group.generation.value()
        });
        if is_idle && is_in_log {
            self.classic.remove(id);
        }
    }

    /// What must hold of a group between two requests.
    fn check(&self, id: &str) {
        match (self.classic.get(id), self.durable.groups.get(id)) {
            (Some(group), _) => group.check(),
            // A log of somebody else's may have a group of that name of both protocols.
            (None, Some(record)) => assert!(
                record.members.is_empty() || self.is_of_consumers(id),
                "nobody looks after the members of {id}"
            ),
            (None, None) => {}
        }
        if let Some(group) = self.consumer_group(id) {
            group.check();
        }
    }
}

#[cfg(test)]
mod tests;
