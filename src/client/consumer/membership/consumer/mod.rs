//! The consumer protocol (KIP-848): the coordinator assigns, and each member comes to what it is to have on its own (pure).
//!
//! ```text
//!        poll: what it had is lost        answered: its epoch
//! Out ───────────────────────────▶ Joining ──────────────────▶ Member
//!  ▲ ▲                                │                          │
//!  │ └────────────────────────────────┴──────────────────────────┘
//!  │    fenced, max.poll.interval.ms went by, left
//!  └───────────────────────────── Refused ◀── an error that will not get better, from Joining and Member
//!      unsubscribed
//! ```
//!
//! There is one request, the heartbeat. It says who the member is and, where that is new to the coordinator, what it reads and what it
//! has or may take; its answer is the member's epoch, when to send the next one, and what the member is to have, where that changed. After
//! anything but a good answer the next one says all.
//!
//! A member reconciles within its owner's `poll`: it gives up what is not meant for it any more (the listener is told, what was read is
//! committed), then takes what is new. What is meant for it and what it has yet to give up it says to have; only what it does not name
//! does the coordinator give to others. Meant are topics by their ids: what nobody knows the name of is waited for, and the rest is taken.
//!
//! The member makes its id itself and keeps it as long as it lives (KIP-1082).
//!
//! A commit goes out in the epoch of the moment. So what was committed before a partition was taken away is not sent again afterwards:
//! it would be accepted, and take whoever reads on there back.
//!
//! Kafka: `AbstractMembershipManager`, `ConsumerMembershipManager`, `ConsumerHeartbeatRequestManager`, `CommitRequestManager`. There a
//! member that is refused for good stays silent; here each `poll` says why. There the other subscription waits for the next heartbeat.

mod heartbeat;
mod reconcile;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;

use super::commit::{Commit, CommitNumber, FENCED, NO_MEMBER, Refusal, Style};
use super::{
    About, Answer, Asked, Effect, Identity, Membership, MembershipConfig, Protocol, Question, Retry,
};
use crate::client::consumer::assignors::Assignment;
use crate::client::error::ClientError;
use crate::protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use crate::protocol::messages::{OffsetCommitRequest, OffsetFetchRequest};
use crate::types::{
    ErrorCode, GenerationId, Monotonic, PartitionIndex, TopicId, TopicPartition, Uuid,
};

const STALE: &str = "the member epoch was an older one: poll, then commit what is still assigned";
const STALE_ON_ITS_WAY: &str = "the member epoch was an older one";

/// Partitions, by the ids of their topics. No topic is without partitions.
type AssignmentById = BTreeMap<TopicId, BTreeSet<PartitionIndex>>;

/// See the module.
#[derive(Debug)]
enum State {
    /// No member. What the owner still reads is lost with its next poll.
    Out,
    /// It comes in epoch 0, and has nothing.
    Joining,
    Member,
    /// The coordinator does not want it. Each poll of the owner says so.
    Refused(ClientError),
}

/// What the coordinator was told and need not be told again.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    topics: BTreeSet<Arc<str>>,
    regex: Option<Arc<str>>,
    /// What it has or may take.
    held: AssignmentById,
}

/// What a member of this protocol needs to know beside what both do.
#[derive(Debug)]
pub(super) struct ConsumerProtocol {
    state: State,
    /// What it is to have, as it was told last.
    target: Option<AssignmentById>,
    /// What it has, as it answers for: what is being given up is still part of it.
    held: AssignmentById,
    /// The names of the topics that it has something of.
    held_names: BTreeMap<TopicId, Arc<str>>,
    /// Topics whose names were asked for.
    watched_ids: BTreeSet<TopicId>,
    /// `None` where the next heartbeat is to say all.
    said: Option<Said>,
    /// Whether a regular expression was ever said: then its absence must be said too.
    has_said_regex: bool,
    /// How long after a heartbeat the next one is to be sent: the coordinator says it.
    interval: Duration,
    /// When the last heartbeat was sent.
    beat_at: Monotonic,
    retry: Retry,
}

impl Membership<ConsumerProtocol> {
    pub(super) fn new(config: MembershipConfig, mut rng: StdRng) -> Self {
        let member: Arc<str> = Uuid::random(&mut rng).to_string().into();
        let protocol = ConsumerProtocol {
            state: State::Out,
            target: None,
            held: AssignmentById::new(),
            held_names: BTreeMap::new(),
            watched_ids: BTreeSet::new(),
            said: None,
            has_said_regex: false,
            interval: Duration::ZERO,
            beat_at: Monotonic::ZERO,
            retry: Retry::default(),
        };
        let mut membership = Self::speaking(protocol, config, rng);
        membership.identity.member = Some(member);
        membership
    }

    /// Whether it has what it is to have, and the coordinator knows.
    #[cfg(test)]
    pub(super) fn is_at_rest(&self) -> bool {
        matches!(self.protocol.state, State::Member)
            && self.is_idle()
            && self.protocol.target.as_ref().unwrap_or(&AssignmentById::new())
                == &self.protocol.held
            && self.protocol.said.as_ref() == Some(&self.to_say())
    }

    /// It is a member, or may be one without knowing it yet.
    fn is_in(&self) -> bool {
        match self.protocol.state {
            State::Out | State::Refused(_) => false,
            State::Joining | State::Member => true,
        }
    }

    /// The member is none any more. What it was on its way with is of no use to anybody.
    fn reset(&mut self) {
        crate::mark!("consumer of the consumer protocol is no member any more");
        self.identity.generation = None;
        self.protocol.state = State::Out;
        self.protocol.target = None;
        self.protocol.held.clear();
        self.protocol.held_names.clear();
        self.protocol.said = None;
        self.in_flight.retain(|_, asked| asked.what != About::Heartbeat);
        for commit in self.commits.values_mut() {
            commit.is_late = true;
        }
    }

    /// The coordinator does not want this member, and will not change its mind.
    fn refuse(&mut self, error: ClientError) {
        crate::mark!("consumer is refused for good");
        self.reset();
        self.protocol.state = State::Refused(error);
    }
}

impl Protocol for ConsumerProtocol {
    fn look(membership: &mut Membership<Self>, now: Monotonic, out: &mut Vec<Effect>) {
        membership.leave_where_nobody_polls(now, out);
        membership.watch_topics(out);
    }

    fn rebalance(membership: &mut Membership<Self>, now: Monotonic, out: &mut Vec<Effect>) {
        membership.rebalance(now, out);
    }

    fn beat(membership: &mut Membership<Self>, now: Monotonic, out: &mut Vec<Effect>) {
        membership.beat(now, out);
    }

    fn deadlines(membership: &Membership<Self>) -> Vec<Monotonic> {
        membership.heartbeat_deadlines()
    }

    fn on_answer(
        membership: &mut Membership<Self>,
        now: Monotonic,
        asked: &Asked,
        answer: Answer,
        _: &mut Vec<Effect>,
    ) {
        match answer {
            // What the coordinator says to a farewell changes nothing.
            Answer::ConsumerGroupHeartbeat(_) if asked.what == About::Leave => {}
            Answer::ConsumerGroupHeartbeat(answer) => membership.on_heartbeat(now, answer),
            Answer::FindCoordinator(_)
            | Answer::JoinGroup(_)
            | Answer::SyncGroup(_)
            | Answer::Heartbeat(_)
            | Answer::LeaveGroup(_)
            | Answer::DescribeGroups(_)
            | Answer::OffsetCommit(_)
            | Answer::OffsetFetch(_) => unreachable!("it never asks that"),
        }
    }

    /// The next heartbeat says it, and goes out at once.
    fn on_subscribed(_: &mut Membership<Self>, _: bool) {}

    fn on_leaving(_: &mut Membership<Self>) {}

    fn on_coordinator_found(_: &mut Membership<Self>, _: Monotonic) {}

    fn on_coordinator_lost(membership: &mut Membership<Self>) {
        membership.protocol.said = None;
    }

    fn is_settled(membership: &Membership<Self>) -> bool {
        matches!(membership.protocol.state, State::Member) && membership.is_idle()
    }

    fn is_in_good_order(membership: &Membership<Self>) -> bool {
        matches!(membership.protocol.state, State::Member)
    }

    fn committer(membership: &Membership<Self>, commit: &Commit) -> Result<Identity, ErrorCode> {
        let was_member = commit.identity.generation.is_some();
        match membership.protocol.state {
            State::Member if !was_member => Err(ErrorCode::UnknownMemberId),
            State::Member if commit.is_late => {
                crate::mark!("consumer does not repeat a commit of what was taken away");
                Err(ErrorCode::StaleMemberEpoch)
            }
            State::Member => Ok(membership.identity.clone()),
            State::Out | State::Joining | State::Refused(_) => Err(ErrorCode::UnknownMemberId),
        }
    }

    /// Of a member that is none any more its next heartbeat hears.
    fn on_commit_refused(
        membership: &mut Membership<Self>,
        asked: &Asked,
        commit: CommitNumber,
        error: ErrorCode,
    ) -> Refusal {
        let style = membership.commits.get(&commit).map(|commit| commit.style);
        if error == ErrorCode::StaleMemberEpoch {
            let newer = membership.identity.generation;
            let has_newer = newer.is_some() && newer != asked.identity.generation;
            if has_newer || matches!(style, Some(Style::Revoked | Style::Automatic)) {
                crate::mark!("consumer commits again in its next member epoch");
                return Refusal::Passing(STALE_ON_ITS_WAY);
            }
            return Refusal::ForGood(STALE);
        }
        if error == ErrorCode::UnknownTopicOrPartition && style != Some(Style::Revoked) {
            return Refusal::Passing("commit");
        }
        if error == ErrorCode::UnknownMemberId {
            return Refusal::ForGood(NO_MEMBER);
        }
        if error == ErrorCode::FencedInstanceId {
            return Refusal::ForGood(FENCED);
        }
        Refusal::ForGood("commit")
    }

    fn commit_question(is_member: bool, request: OffsetCommitRequest) -> Question {
        if is_member {
            Question::OffsetCommitOfEpoch(request)
        } else {
            Question::OffsetCommit(request)
        }
    }

    fn offsets_question(
        membership: &Membership<Self>,
        partitions: &BTreeSet<TopicPartition>,
    ) -> Question {
        let Some(epoch) = membership.identity.generation else {
            return membership.ask_offsets_of_group(partitions);
        };
        let mut topics: BTreeMap<&Arc<str>, Vec<PartitionIndex>> = BTreeMap::new();
        for partition in partitions {
            topics.entry(&partition.topic).or_default().push(partition.partition);
        }
        let topics = topics.into_iter().map(|(topic, indexes)| OffsetFetchRequestTopics {
            name: topic.to_string(),
            partition_indexes: indexes,
            ..OffsetFetchRequestTopics::default()
        });
        let group = OffsetFetchRequestGroup {
            group_id: membership.config.group.to_string(),
            member_id: Some(membership.member_id()),
            member_epoch: epoch.value(),
            topics: Some(topics.collect()),
        };
        Question::OffsetFetch(OffsetFetchRequest {
            groups: vec![group],
            require_stable: true,
            ..OffsetFetchRequest::default()
        })
    }

    /// The next heartbeat brings another epoch, or says that it is no member any more.
    fn may_pass(error: ErrorCode) -> bool {
        error.is_retriable()
            || matches!(error, ErrorCode::StaleMemberEpoch | ErrorCode::UnknownMemberId)
    }

    fn on_taken(membership: &mut Membership<Self>, taken: &Assignment) {
        membership.let_go_of_commits(taken);
    }

    fn depart(membership: &mut Membership<Self>, leave: bool, out: &mut Vec<Effect>) {
        membership.send_farewell(leave, out);
        membership.reset();
        membership.protocol.retry = Retry::default();
    }

    fn check(membership: &Membership<Self>) {
        let epoch: Option<GenerationId> = membership.identity.generation;
        let protocol = &membership.protocol;
        match protocol.state {
            State::Out | State::Refused(_) => {
                assert!(epoch.is_none(), "who is no member has no epoch");
                assert!(protocol.held.is_empty(), "who is no member answers for nothing");
            }
            State::Joining => {
                assert!(epoch.is_none(), "who joins has no epoch yet");
                assert!(membership.owned.is_empty(), "who joins has nothing");
                assert!(protocol.held.is_empty(), "who joins answers for nothing");
            }
            State::Member => assert!(epoch.is_some(), "a member is in some epoch"),
        }
    }
}
