//! A consumer's membership in a group of the classic protocol, as a machine: who coordinates the group, joining it, what it is to
//! read, heartbeats, and how far it has read (pure).
//!
//! ```text
//!                  poll                joined: leader          topics known
//! Unjoined ───────────────▶ Joining ───────────────▶ Assigning ─────────────▶ Syncing
//!    ▲  ▲                    ▲   │  joined: follower                             │ ▲
//!    │  │        poll, rejoin│   └───────────────────────────────────────────────┼─┘
//!    │  │   refused          │                 poll              synced          │
//!    │  └─────────────────   Stable ◀─────────────────── Synced ◀────────────────┘
//!    │ fenced, max.poll.interval.ms went by, left
//!    └──────────────────── from everywhere
//! ```
//!
//! What the owner is told (revoked, assigned, lost) and every JoinGroup happen within its `poll`: [`Event::Polled`] and the answers to
//! effects that such an event brought. Everything else goes on between polls: heartbeats, the search for the coordinator, what follows
//! a JoinGroup that was answered, and leaving where the owner did not poll for `max.poll.interval.ms`.
//!
//! Before partitions are given up the listener is told, then what was read of them is committed (with `enable.auto.commit`) together
//! with what the listener wants committed, and the member waits for the answer: nobody reads on from an older offset because a commit
//! came too late. (Kafka commits before it tells the listener, and what the cooperative protocol takes away afterwards not at all.)
//!
//! With the eager protocol all is given up before JoinGroup; with the cooperative one (KIP-429) only what the new assignment lacks, once
//! it is there, and then the member joins again so that others can have it.
//!
//! A commit that failed is sent again only while no newer one was made: an older offset never overwrites a newer one.
//!
//! Requests are asked in versions that name topics and groups in one way only ([`Question::versions`]).
//!
//! Kafka: `AbstractCoordinator`, `ConsumerCoordinator`, `Heartbeat`.

mod commit;
mod coordinator;
mod heartbeat;
mod join;
#[cfg(test)]
mod ledger_tests;
mod question;
mod rebalance;
mod start;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;

use super::assignors::{Assignment, Assignor, Members, RebalanceProtocol};
use super::offsets::Offsets;
use crate::client::cluster_view::Target;
use crate::client::error::ClientError;
use crate::rpc::Backoff;
use crate::types::{ErrorCode, GenerationId, Monotonic, Now, PartitionIndex, TopicPartition};

pub(super) use commit::CommitId;
use commit::{Commit, CommitNumber};
pub(super) use question::{Answer, Question};
use rebalance::Stage;
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
    /// `group.instance.id`: makes it a static member (KIP-345).
    pub(crate) instance: Option<Arc<str>>,
    /// `client.rack`.
    pub(crate) rack: Option<Arc<str>>,
    /// `session.timeout.ms`: how long the coordinator waits for a heartbeat.
    pub(crate) session_timeout: Duration,
    /// `heartbeat.interval.ms`.
    pub(crate) heartbeat_interval: Duration,
    /// `max.poll.interval.ms`: also how long the coordinator waits for it in a rebalance.
    pub(crate) poll_interval_max: Duration,
    /// `auto.commit.interval.ms`; `None` without `enable.auto.commit`.
    pub(crate) auto_commit_interval: Option<Duration>,
    /// `partition.assignment.strategy`, the best first.
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
    /// The owner wants to read nothing any more.
    Unsubscribed,
    /// The owner chose these partitions itself; it is no member.
    AssignedByHand(BTreeSet<TopicPartition>),
    /// Who may be asked about the coordinator, the best first.
    Brokers(Vec<Target>),
    /// How many partitions watched topics have, `None` for those that do not exist. What is absent is not known yet.
    Topics(BTreeMap<Arc<str>, Option<u32>>),
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

/// Of each topic that anybody in the group reads, how many partitions it had, or that there was none; `None` where that was not known.
type Basis = BTreeMap<Arc<str>, Option<Option<u32>>>;

/// Who the member is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Identity {
    /// As the coordinator named it.
    member: Option<Arc<str>>,
    /// The generation it is a member of.
    generation: Option<GenerationId>,
}

/// See the module.
#[derive(Debug)]
enum State {
    Unjoined,
    Joining(Token),
    /// It leads; the topics of the members are not all known yet.
    Assigning(Assignor, Members),
    Syncing(Token, Assignor),
    /// It is known what it is to read; the owner does not know yet.
    Synced(Assignor, Assignment),
    Stable,
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

/// See the module.
#[derive(Debug)]
pub(super) struct Membership {
    config: MembershipConfig,
    rng: StdRng,
    brokers: Vec<Target>,
    coordinator: Option<Target>,
    /// Whom to ask next about the coordinator.
    turn: usize,
    lookup: Retry,
    /// What the owner wants to read; `None` where it is no member.
    subscription: Option<BTreeSet<Arc<str>>>,
    identity: Identity,
    state: State,
    /// Why the member is to join again, if it is.
    rejoin: Option<&'static str>,
    join: Retry,
    /// What had to be given up before JoinGroup is given up.
    is_prepared: bool,
    stage: Stage,
    /// What the owner reads.
    owned: Assignment,
    /// The last assignment, for sticky assignors.
    last: Option<(Assignor, Assignment, GenerationId)>,
    /// The subscription that the last JoinGroup named.
    joined: BTreeSet<Arc<str>>,
    topics: BTreeMap<Arc<str>, Option<u32>>,
    /// What was last asked to be watched.
    watched: BTreeSet<Arc<str>>,
    /// For the leader: what it made the assignment of.
    assigned_of: Option<Basis>,
    polled_at: Monotonic,
    /// When the last heartbeat was sent.
    beat_at: Monotonic,
    /// When the coordinator last said that all is well.
    heard_at: Monotonic,
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

impl Membership {
    pub(super) fn new(config: MembershipConfig, rng: StdRng) -> Self {
        Self {
            config,
            rng,
            brokers: Vec::new(),
            coordinator: None,
            turn: 0,
            lookup: Retry::default(),
            subscription: None,
            identity: Identity::default(),
            state: State::Unjoined,
            rejoin: None,
            join: Retry::default(),
            is_prepared: false,
            stage: Stage::Idle,
            owned: Assignment::new(),
            last: None,
            joined: BTreeSet::new(),
            topics: BTreeMap::new(),
            watched: BTreeSet::new(),
            assigned_of: None,
            polled_at: Monotonic::ZERO,
            beat_at: Monotonic::ZERO,
            heard_at: Monotonic::ZERO,
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

    /// The member's id and generation, as far as it has them (Kafka: `ConsumerGroupMetadata`).
    pub(super) fn identity(&self) -> (Option<&Arc<str>>, Option<GenerationId>) {
        (self.identity.member.as_ref(), self.identity.generation)
    }

    /// Takes an event in; what is to be done goes to the end of `out`, to be done in order.
    pub(super) fn handle(&mut self, now: Now, event: Event, out: &mut Vec<Effect>) {
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
            Event::Subscribed(topics) => self.subscribe(now, topics),
            Event::Unsubscribed => self.begin_to_leave(None, out),
            Event::AssignedByHand(partitions) => self.assign_by_hand(now, partitions),
            Event::Brokers(brokers) => self.brokers = brokers,
            Event::Topics(topics) => self.topics = topics,
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
    pub(super) fn deadline(&self) -> Option<Monotonic> {
        let mut deadlines =
            vec![self.lookup.not_before, self.join.not_before, self.start.not_before];
        deadlines.extend(self.heartbeat_deadlines());
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
        self.check_sessions(now, out);
        self.look_at_topics(now, out);
        if is_in_poll {
            self.rebalance(now, out);
        }
        self.look_for_coordinator(now, out);
        self.beat(now, out);
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
            Answer::JoinGroup(answer) => self.on_joined(now, answer, out),
            Answer::SyncGroup(answer) => self.on_synced(now, &asked, answer),
            Answer::Heartbeat(answer) => self.on_heartbeat(now, &asked, answer),
            // What the coordinator says to a farewell changes nothing.
            Answer::LeaveGroup(_) => {}
            Answer::OffsetCommit(answer) => self.on_commit(now, &asked, answer, out),
            Answer::OffsetFetch(answer) => self.on_offsets(now, asked, answer, out),
        }
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

    fn rebalance_protocol(&self) -> RebalanceProtocol {
        Assignor::rebalance_protocol(&self.config.assignors)
    }

    /// What must hold between two events.
    fn check(&self) {
        if !crate::types::CHECKS_ITSELF {
            return;
        }
        match &self.state {
            State::Unjoined => {}
            State::Joining(token) | State::Syncing(token, _) => {
                assert!(self.in_flight.contains_key(token), "nobody will answer");
            }
            State::Assigning(..) | State::Synced(..) | State::Stable => {
                assert!(self.identity.generation.is_some(), "a member is of some generation");
            }
        }
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
