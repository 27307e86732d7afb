//! A consumer's membership in a group, as a machine: who coordinates the group, being one of its members, what it is to read, and how far
//! it has read (pure).
//!
//! [`Membership`] is what both protocols share: the coordinator, commits, where new partitions begin, giving partitions up, the way out.
//! What they do in ways of their own is a [`Protocol`]: [`ClassicProtocol`] (members assign) and [`ConsumerProtocol`] (the coordinator
//! does, KIP-848).
//!
//! What the owner is told (revoked, assigned, lost) and every beginning to join happen within its `poll`: [`Event::Polled`] and the answers
//! to effects that such an event brought. Everything else goes on between polls: heartbeats, the search for the coordinator, what follows
//! a request to join that was answered, and leaving where the owner did not poll for `max.poll.interval.ms`.
//!
//! Before partitions are given up the listener is told, then what was read of them is committed (with `enable.auto.commit`) together
//! with what the listener wants committed, and the member waits for the answer: nobody reads on from an older offset because a commit
//! came too late. (Kafka commits before it tells the listener, and what the cooperative protocol takes away afterwards not at all.)
//!
//! A commit that failed is sent again only while no newer one was made: an older offset never overwrites a newer one.
//!
//! Requests are asked in versions that name topics and groups in one way only ([`Question::versions`]).
//!
//! Kafka: `AbstractCoordinator`, `ConsumerCoordinator`, `AbstractMembershipManager`, `CommitRequestManager`.

mod any;
mod classic;
mod commit;
mod consumer;
mod coordinator;
#[cfg(test)]
mod ledger_tests;
mod question;
mod release;
mod start;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;

use super::assignors::{Assignment, Assignor};
use super::offsets::Offsets;
use crate::client::cluster_view::Target;
use crate::client::error::ClientError;
use crate::protocol::messages::OffsetCommitRequest;
use crate::rpc::Backoff;
use crate::types::{
    ErrorCode, GenerationId, GroupProtocol, Monotonic, Now, PartitionIndex, TopicId, TopicPartition,
};

pub(super) use any::AnyMembership;
use classic::ClassicProtocol;
pub(super) use commit::CommitId;
use commit::{Commit, CommitNumber, Refusal};
use consumer::ConsumerProtocol;
pub(super) use question::{Answer, Question};
use release::Stage;
use start::Read;
pub(super) use start::ReadId;

/// A request's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Token(pub(super) u64);

/// What a member is told once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MembershipConfig {
    /// `group.id`.
    pub(crate) group: Arc<str>,
    /// `group.protocol`.
    pub(crate) protocol: GroupProtocol,
    /// `group.remote.assignor`: the coordinator's assignor that it wants. Only in the consumer protocol.
    pub(crate) remote_assignor: Option<Arc<str>>,
    /// `group.instance.id`: makes it a static member (KIP-345).
    pub(crate) instance: Option<Arc<str>>,
    /// `client.rack`.
    pub(crate) rack: Option<Arc<str>>,
    /// `session.timeout.ms`: how long the coordinator waits for a heartbeat. Only in the classic protocol.
    pub(crate) session_timeout: Duration,
    /// `heartbeat.interval.ms`. Only in the classic protocol.
    pub(crate) heartbeat_interval: Duration,
    /// `max.poll.interval.ms`: also how long the coordinator waits for it in a rebalance.
    pub(crate) poll_interval_max: Duration,
    /// `auto.commit.interval.ms`; `None` without `enable.auto.commit`.
    pub(crate) auto_commit_interval: Option<Duration>,
    /// `partition.assignment.strategy`, the best first. Only in the classic protocol.
    pub(crate) assignors: Vec<Assignor>,
    /// `retry.backoff.ms` and its maximum.
    pub(crate) backoff: Backoff,
    /// `default.api.timeout.ms`: how long a commit is tried.
    pub(crate) api_timeout: Duration,
}

/// What happens to a member.
#[derive(Debug)]
pub(super) enum Event {
    /// The owner is in its `poll`.
    Polled,
    /// The deadline came.
    Tick,
    /// The owner wants to read these topics.
    Subscribed(BTreeSet<Arc<str>>),
    /// The owner wants to read the topics whose names fit this expression, as the coordinator understands it. Only in the consumer protocol.
    SubscribedToRegex(Arc<str>),
    /// The owner wants to read nothing any more.
    Unsubscribed,
    /// The owner chose these partitions itself; it is no member.
    AssignedByHand(BTreeSet<TopicPartition>),
    /// Who may be asked about the coordinator, the best first.
    Brokers(Vec<Target>),
    /// How many partitions watched topics have, `None` for those that do not exist. What is absent is not known yet.
    Topics(BTreeMap<Arc<str>, Option<u32>>),
    /// The names of topics, as far as they are known: of watched ones, and of those whose ids were watched.
    TopicNames(BTreeMap<TopicId, Arc<str>>),
    /// [`Effect::Consumed`] was performed.
    Consumed(Offsets),
    /// [`Effect::Revoke`] was performed.
    Revoked {
        /// What the listener wants committed.
        by_listener: Offsets,
        /// How far the revoked partitions were read.
        consumed: Offsets,
    },
    /// The owner commits.
    Commit {
        /// Its number.
        id: CommitId,
        /// What.
        offsets: Offsets,
    },
    /// The owner asks what is committed.
    Read {
        /// Its number.
        id: ReadId,
        /// Of what.
        partitions: BTreeSet<TopicPartition>,
    },
    /// The owner ends. Whether to leave the group is said here, or follows from whether it is a static member.
    Close {
        /// `Some` where the owner says.
        leave: Option<bool>,
    },
    /// [`Effect::Ask`] ended.
    Answered(Token, Answer),
}

/// What is to be done.
#[derive(Debug)]
pub(super) enum Effect {
    /// Ask a broker.
    Ask {
        /// Whom.
        target: Target,
        /// The request's number.
        token: Token,
        /// What.
        question: Question,
        /// How long the answer may take; `None` for `request.timeout.ms`.
        timeout: Option<Duration>,
    },
    /// Tell the listener that these are taken away, then read them no more. [`Event::Revoked`] must follow at once.
    Revoke(Vec<TopicPartition>),
    /// Tell the listener that these are lost: somebody else may read them already. Read them no more.
    Lose(Vec<TopicPartition>),
    /// Read `all` from now on; tell the listener which are new. Those begin where [`Effect::Start`] says.
    Assign {
        /// What is to be read.
        all: Vec<TopicPartition>,
        /// What was not read before.
        added: Vec<TopicPartition>,
    },
    /// What is committed of partitions that are new.
    Start(Offsets, BTreeSet<TopicPartition>),
    /// Say how far all was read. [`Event::Consumed`] must follow at once.
    Consumed,
    /// Keep these topics known, and say what is known of them.
    Watch(BTreeSet<Arc<str>>),
    /// Find out what these topics are called, and say so.
    WatchIds(BTreeSet<TopicId>),
    /// These are committed, whoever wanted that. Comes before [`Effect::CommitEnded`].
    Committed(Offsets),
    /// A commit of the owner ended.
    CommitEnded(CommitId, Result<(), ClientError>),
    /// The owner's question ended.
    ReadEnded(ReadId, Result<Offsets, ClientError>),
    /// The owner's `poll` fails.
    Fail(ClientError),
    /// Nothing is left to be waited for.
    Closed,
}

/// Who the member is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Identity {
    /// Its id.
    member: Option<Arc<str>>,
    /// The generation it is a member of, or its member epoch.
    generation: Option<GenerationId>,
}

/// A request in flight.
#[derive(Debug)]
struct Asked {
    what: About,
    /// Who the member was then.
    identity: Identity,
}

/// What a request in flight is about.
#[derive(Clone, Debug, PartialEq, Eq)]
enum About {
    Coordinator,
    Join,
    Sync,
    Heartbeat,
    Leave,
    Commit(CommitNumber),
    /// What a former process assigned.
    Describe,
    /// Where new partitions begin.
    Start(BTreeSet<TopicPartition>),
    Read(ReadId),
}

/// When to try again what failed.
#[derive(Clone, Copy, Debug, Default)]
struct Retry {
    failures: u32,
    not_before: Monotonic,
}

/// What a protocol does in its own way: functions of a membership that speaks it.
trait Protocol: fmt::Debug + Sized {
    /// What is due whether or not the owner is in its `poll`, before all else: sessions that are over, topics that are to be known.
    fn look(membership: &mut Membership<Self>, now: Monotonic, out: &mut Vec<Effect>);
    /// One step after the other towards what the owner is to read, as far as they go without waiting. Within the owner's `poll`.
    fn rebalance(membership: &mut Membership<Self>, now: Monotonic, out: &mut Vec<Effect>);
    /// Sends the heartbeat that is due, if one is.
    fn beat(membership: &mut Membership<Self>, now: Monotonic, out: &mut Vec<Effect>);
    /// When something of the protocol's own is due.
    fn deadlines(membership: &Membership<Self>) -> Vec<Monotonic>;
    /// An answer to a question of the protocol's own.
    fn on_answer(
        membership: &mut Membership<Self>,
        now: Monotonic,
        asked: &Asked,
        answer: Answer,
        out: &mut Vec<Effect>,
    );
    /// What the owner wants to read is another; `is_first` where it was no member before.
    fn on_subscribed(membership: &mut Membership<Self>, is_first: bool);
    /// The owner wants to read nothing any more.
    fn on_leaving(membership: &mut Membership<Self>);
    /// It is known who coordinates the group.
    fn on_coordinator_found(membership: &mut Membership<Self>, now: Monotonic);
    /// Whoever was the coordinator is none any more. What it was asked is still in flight, and is given up next.
    fn on_coordinator_lost(membership: &mut Membership<Self>);
    /// Whether the member has what the group gave it.
    fn is_settled(membership: &Membership<Self>) -> bool;
    /// Whether it is a member, and what it has is nobody else's.
    fn is_in_good_order(membership: &Membership<Self>) -> bool;
    /// As whom to commit now. Errors: the member is between two generations, in another one, or in none any more.
    fn committer(membership: &Membership<Self>, commit: &Commit) -> Result<Identity, ErrorCode>;
    /// What a refused commit says of the member. What concerns the coordinator was looked at before.
    fn on_commit_refused(
        membership: &mut Membership<Self>,
        asked: &Asked,
        commit: CommitNumber,
        error: ErrorCode,
    ) -> Refusal;
    /// The commit as a question: of a member of the group, or of nobody.
    fn commit_question(is_member: bool, request: OffsetCommitRequest) -> Question;
    /// The question how far the group has read in these partitions.
    fn offsets_question(
        membership: &Membership<Self>,
        partitions: &BTreeSet<TopicPartition>,
    ) -> Question;
    /// Whether this answer to it may become a better one.
    fn may_pass(error: ErrorCode) -> bool;
    /// Partitions were taken from the owner, lost or given up.
    fn on_taken(membership: &mut Membership<Self>, taken: &Assignment);
    /// The way out is free: `leave` says whether to tell the coordinator for good.
    fn depart(membership: &mut Membership<Self>, leave: bool, out: &mut Vec<Effect>);
    /// What must hold between two events.
    fn check(membership: &Membership<Self>);
}

/// See the module.
#[derive(Debug)]
struct Membership<P> {
    config: MembershipConfig,
    /// What only the one protocol needs.
    protocol: P,
    rng: StdRng,
    brokers: Vec<Target>,
    coordinator: Option<Target>,
    /// Whom to ask next about the coordinator.
    turn: usize,
    lookup: Retry,
    /// What the owner wants to read; `None` where it is no member.
    subscription: Option<BTreeSet<Arc<str>>>,
    /// The expression that stands for what it wants to read besides.
    regex: Option<Arc<str>>,
    identity: Identity,
    stage: Stage,
    /// What the owner reads.
    owned: Assignment,
    topics: BTreeMap<Arc<str>, Option<u32>>,
    names: BTreeMap<TopicId, Arc<str>>,
    /// What was last asked to be watched.
    watched: BTreeSet<Arc<str>>,
    polled_at: Monotonic,
    /// What is on its way, in the order in which it was made.
    commits: BTreeMap<CommitNumber, Commit>,
    last_commit: CommitNumber,
    /// [`Effect::Consumed`] is to be answered.
    is_consumed_asked: bool,
    auto_commit_at: Monotonic,
    /// New partitions of which it is not known yet where to begin.
    starts: BTreeSet<TopicPartition>,
    start: Retry,
    reads: BTreeMap<ReadId, Read>,
    errors: VecDeque<ClientError>,
    /// What the owner chose itself.
    by_hand: BTreeSet<TopicPartition>,
    /// `Some` until the member has left, as far as it is to; whether it is to tell the coordinator.
    to_leave: Option<bool>,
    /// `Some` where the owner ends.
    closing: Option<bool>,
    is_closed: bool,
    in_flight: BTreeMap<Token, Asked>,
    next_token: u64,
    looked_at: Monotonic,
}

impl<P: Protocol> Membership<P> {
    fn speaking(protocol: P, config: MembershipConfig, rng: StdRng) -> Self {
        Self {
            config,
            protocol,
            rng,
            brokers: Vec::new(),
            coordinator: None,
            turn: 0,
            lookup: Retry::default(),
            subscription: None,
            regex: None,
            identity: Identity::default(),
            stage: Stage::Idle,
            owned: Assignment::new(),
            topics: BTreeMap::new(),
            names: BTreeMap::new(),
            watched: BTreeSet::new(),
            polled_at: Monotonic::ZERO,
            commits: BTreeMap::new(),
            last_commit: CommitNumber::default(),
            is_consumed_asked: false,
            auto_commit_at: Monotonic::ZERO,
            starts: BTreeSet::new(),
            start: Retry::default(),
            reads: BTreeMap::new(),
            errors: VecDeque::new(),
            by_hand: BTreeSet::new(),
            to_leave: None,
            closing: None,
            is_closed: false,
            in_flight: BTreeMap::new(),
            next_token: 0,
            looked_at: Monotonic::ZERO,
        }
    }

    /// The member's id and generation or member epoch, as far as it has them (Kafka: `ConsumerGroupMetadata`).
    fn identity(&self) -> (Option<&Arc<str>>, Option<GenerationId>) {
        (self.identity.member.as_ref(), self.identity.generation)
    }

    /// Takes an event in; what is to be done goes to the end of `out`, to be done in order.
    fn handle(&mut self, now: Now, event: Event, out: &mut Vec<Effect>) {
        let now = now.monotonic;
        self.looked_at = now;
        let is_in_poll = matches!(event, Event::Polled | Event::Revoked { .. });
        match event {
            Event::Polled => {
                self.polled_at = now;
                if let Some(error) = self.errors.pop_front() {
                    out.push(Effect::Fail(error));
                }
            }
            Event::Tick => {}
            Event::Subscribed(topics) => self.subscribe(now, topics, None),
            Event::SubscribedToRegex(regex) => self.subscribe(now, BTreeSet::new(), Some(regex)),
            Event::Unsubscribed => self.begin_to_leave(None, out),
            Event::AssignedByHand(partitions) => self.assign_by_hand(now, partitions),
            Event::Brokers(brokers) => self.brokers = brokers,
            Event::Topics(topics) => self.topics = topics,
            Event::TopicNames(names) => self.names = names,
            Event::Consumed(offsets) => self.auto_commit(now, offsets),
            Event::Revoked { by_listener, consumed } => {
                self.on_revoked(now, by_listener, consumed);
            }
            Event::Commit { id, offsets } => self.begin_commit(now, id, offsets, out),
            Event::Read { id, partitions } => self.begin_read(now, id, partitions),
            Event::Close { leave } => {
                let leave = leave.unwrap_or(self.config.instance.is_none());
                self.begin_to_leave(Some(leave), out);
            }
            Event::Answered(token, answer) => self.on_answer(now, token, answer, out),
        }
        self.go_on(now, is_in_poll, out);
        self.check();
    }

    /// When [`Event::Tick`] is due at the latest.
    fn deadline(&self) -> Option<Monotonic> {
        let mut deadlines = vec![self.lookup.not_before, self.start.not_before];
        deadlines.extend(P::deadlines(self));
        for commit in self.commits.values() {
            deadlines.extend([commit.retry.not_before, commit.deadline]);
        }
        for read in self.reads.values() {
            deadlines.extend([read.retry.not_before, read.deadline]);
        }
        if self.config.auto_commit_interval.is_some() {
            deadlines.push(self.auto_commit_at);
        }
        deadlines.into_iter().filter(|at| *at > self.looked_at).min()
    }

    /// What is due now.
    fn go_on(&mut self, now: Monotonic, is_in_poll: bool, out: &mut Vec<Effect>) {
        P::look(self, now, out);
        if is_in_poll {
            P::rebalance(self, now, out);
        }
        self.look_for_coordinator(now, out);
        P::beat(self, now, out);
        self.send_commits(now, out);
        self.send_reads(now, out);
        if is_in_poll {
            self.auto_commit_if_due(now, out);
        }
        self.leave_if_done(out);
    }

    fn on_answer(&mut self, now: Monotonic, token: Token, answer: Answer, out: &mut Vec<Effect>) {
        // Who is not in flight any more was given up: another was asked since, or the member is another one.
        let Some(asked) = self.in_flight.remove(&token) else { return };
        match answer {
            Answer::FindCoordinator(answer) => self.on_coordinator(now, answer),
            Answer::OffsetCommit(answer) => self.on_commit(now, &asked, answer, out),
            Answer::OffsetFetch(answer) => self.on_offsets(now, asked, answer, out),
            answer @ (Answer::JoinGroup(_)
            | Answer::SyncGroup(_)
            | Answer::Heartbeat(_)
            | Answer::LeaveGroup(_)
            | Answer::DescribeGroups(_)
            | Answer::ConsumerGroupHeartbeat(_)) => P::on_answer(self, now, &asked, answer, out),
        }
    }

    fn member_id(&self) -> String {
        self.identity.member.as_deref().unwrap_or_default().to_owned()
    }

    fn instance_id(&self) -> Option<String> {
        self.config.instance.as_deref().map(str::to_owned)
    }

    /// Asks the coordinator. Returns whether it is known.
    fn ask(&mut self, what: About, question: Question, out: &mut Vec<Effect>) -> Option<Token> {
        let target = self.coordinator.clone()?;
        Some(self.ask_node(target, what, question, out))
    }

    fn ask_node(
        &mut self,
        target: Target,
        what: About,
        question: Question,
        out: &mut Vec<Effect>,
    ) -> Token {
        let token = Token(self.next_token);
        self.next_token += 1;
        // The coordinator answers when all have joined.
        let timeout = matches!(what, About::Join)
            .then(|| self.config.poll_interval_max + question::JOIN_TIMEOUT_LAPSE);
        self.in_flight.insert(token, Asked { what, identity: self.identity.clone() });
        out.push(Effect::Ask { target, token, question, timeout });
        token
    }

    /// Asks for these topics to be known, where it does not yet.
    fn watch(&mut self, topics: BTreeSet<Arc<str>>, out: &mut Vec<Effect>) {
        if topics != self.watched {
            self.watched.clone_from(&topics);
            out.push(Effect::Watch(topics));
        }
    }

    fn is_asking(&self, what: &About) -> bool {
        self.in_flight.values().any(|asked| asked.what == *what)
    }

    fn pause(&mut self, failures: u32) -> Duration {
        self.config.backoff.pause(failures, &mut self.rng)
    }

    fn later(&mut self, now: Monotonic, retry: Retry) -> Retry {
        let failures = retry.failures.saturating_add(1);
        Retry { failures, not_before: now + self.pause(failures) }
    }

    fn fail(&mut self, error: ErrorCode, message: impl Into<String>) {
        let message = Some(message.into());
        self.push_error(ClientError::Answer { error, message });
    }

    /// For the owner's next `poll`. What it has not heard yet it need not hear twice.
    fn push_error(&mut self, error: ClientError) {
        if !self.errors.contains(&error) {
            self.errors.push_back(error);
        }
    }

    /// What must hold between two events.
    fn check(&self) {
        if !crate::types::CHECKS_ITSELF {
            return;
        }
        P::check(self);
        assert!(
            self.identity.generation.is_none() || self.identity.member.is_some(),
            "who is of a generation has an id"
        );
        let owned = partitions(&self.owned);
        if self.subscription.is_some() {
            assert!(
                self.starts.iter().all(|start| owned.contains(start)),
                "only what is owned begins somewhere"
            );
        }
    }
}

/// The partitions of an assignment, in order.
fn partitions(assignment: &Assignment) -> Vec<TopicPartition> {
    let of_topic = |(topic, indexes): (&Arc<str>, &BTreeSet<PartitionIndex>)| {
        let topic = Arc::clone(topic);
        let named = indexes
            .iter()
            .map(move |partition| TopicPartition { topic: topic.clone(), partition: *partition });
        named.collect::<Vec<_>>()
    };
    assignment.iter().flat_map(of_topic).collect()
}

/// What of `left` is not in `right`.
fn difference(left: &Assignment, right: &Assignment) -> Assignment {
    let mut difference = Assignment::new();
    for (topic, indexes) in left {
        let rest: BTreeSet<PartitionIndex> = match right.get(topic) {
            Some(other) => indexes.difference(other).copied().collect(),
            None => indexes.clone(),
        };
        if !rest.is_empty() {
            difference.insert(Arc::clone(topic), rest);
        }
    }
    difference
}

fn millis(span: Duration) -> i32 {
    i32::try_from(span.as_millis()).unwrap_or(i32::MAX)
}
