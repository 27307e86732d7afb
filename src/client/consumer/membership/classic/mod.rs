//! The classic protocol: members join generation after generation, and one of them says who reads what (pure).
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
//! With the eager protocol all is given up before JoinGroup; with the cooperative one (KIP-429) only what the new assignment lacks, once
//! it is there, and then the member joins again so that others can have it.
//!
//! Kafka: `AbstractCoordinator`, `ConsumerCoordinator`, `Heartbeat`.

mod heartbeat;
mod join;
mod leader;
mod rebalance;

use std::collections::BTreeSet;
use std::sync::Arc;

use rand::rngs::StdRng;

use super::commit::{Commit, CommitNumber, FENCED, NO_MEMBER, REBALANCING, Refusal};
use super::{
    About, Answer, Asked, Effect, Identity, Membership, MembershipConfig, Protocol, Question,
    Retry, Token,
};
use crate::client::consumer::assignors::{Assignment, Assignor, Members, RebalanceProtocol};
use crate::protocol::messages::OffsetCommitRequest;
use crate::types::{ErrorCode, GenerationId, Monotonic, TopicPartition};
use leader::Leads;

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

/// What a member of this protocol needs to know beside what both do.
#[derive(Debug)]
pub(super) struct ClassicProtocol {
    state: State,
    /// Why the member is to join again, if it is.
    rejoin: Option<&'static str>,
    join: Retry,
    /// What had to be given up before JoinGroup is given up.
    is_prepared: bool,
    /// The last assignment, for sticky assignors.
    last: Option<(Assignor, Assignment, GenerationId)>,
    /// The subscription that the last JoinGroup named.
    joined: BTreeSet<Arc<str>>,
    leads: Leads,
    /// When the last heartbeat was sent.
    beat_at: Monotonic,
    /// When the coordinator last said that all is well.
    heard_at: Monotonic,
}

impl Membership<ClassicProtocol> {
    pub(super) fn new(config: MembershipConfig, rng: StdRng) -> Self {
        let protocol = ClassicProtocol {
            state: State::Unjoined,
            rejoin: None,
            join: Retry::default(),
            is_prepared: false,
            last: None,
            joined: BTreeSet::new(),
            leads: Leads::No,
            beat_at: Monotonic::ZERO,
            heard_at: Monotonic::ZERO,
        };
        Self::speaking(protocol, config, rng)
    }

    /// Whether it is in a generation, and knows of no other.
    #[cfg(test)]
    pub(super) fn is_at_rest(&self) -> bool {
        matches!(self.protocol.state, State::Stable) && self.protocol.rejoin.is_none()
    }

    fn rebalance_protocol(&self) -> RebalanceProtocol {
        Assignor::rebalance_protocol(&self.config.assignors)
    }

    /// The member is none any more: it comes anew, and what it had is lost.
    fn reset(&mut self, keeps_member: bool, reason: &'static str) {
        crate::mark!("consumer is no member any more");
        self.identity.generation = None;
        if !keeps_member {
            self.identity.member = None;
        }
        self.protocol.state = State::Unjoined;
        self.in_flight
            .retain(|_, asked| !matches!(asked.what, About::Join | About::Sync | About::Heartbeat));
        self.protocol.rejoin = Some(reason);
        self.protocol.is_prepared = false;
    }
}

impl Protocol for ClassicProtocol {
    fn look(membership: &mut Membership<Self>, now: Monotonic, out: &mut Vec<Effect>) {
        membership.check_sessions(now, out);
        membership.look_at_topics(now, out);
    }

    fn rebalance(membership: &mut Membership<Self>, now: Monotonic, out: &mut Vec<Effect>) {
        membership.rebalance(now, out);
    }

    fn beat(membership: &mut Membership<Self>, now: Monotonic, out: &mut Vec<Effect>) {
        membership.beat(now, out);
        membership.ask_what_was_assigned(now, out);
    }

    fn deadlines(membership: &Membership<Self>) -> Vec<Monotonic> {
        let mut deadlines = membership.heartbeat_deadlines();
        deadlines.push(membership.protocol.join.not_before);
        deadlines.extend(membership.describe_deadline());
        deadlines
    }

    fn on_answer(
        membership: &mut Membership<Self>,
        now: Monotonic,
        asked: &Asked,
        answer: Answer,
        out: &mut Vec<Effect>,
    ) {
        match answer {
            Answer::JoinGroup(answer) => membership.on_joined(now, answer, out),
            Answer::SyncGroup(answer) => membership.on_synced(now, asked, answer),
            Answer::Heartbeat(answer) => membership.on_heartbeat(now, asked, answer),
            // What the coordinator says to a farewell changes nothing.
            Answer::LeaveGroup(_) => {}
            Answer::DescribeGroups(answer) => membership.on_described(now, asked, answer),
            Answer::FindCoordinator(_)
            | Answer::OffsetCommit(_)
            | Answer::OffsetFetch(_)
            | Answer::ConsumerGroupHeartbeat(_) => unreachable!("it never asks that"),
        }
    }

    fn on_subscribed(membership: &mut Membership<Self>, is_first: bool) {
        let subscription = membership.subscription.as_ref();
        if is_first {
            membership.protocol.rejoin.get_or_insert("");
        } else if subscription != Some(&membership.protocol.joined) {
            membership.protocol.rejoin.get_or_insert("subscription has changed");
        }
    }

    fn on_leaving(membership: &mut Membership<Self>) {
        membership.protocol.rejoin = None;
    }

    fn on_coordinator_found(membership: &mut Membership<Self>, now: Monotonic) {
        membership.protocol.heard_at = now;
    }

    fn on_coordinator_lost(membership: &mut Membership<Self>) {
        let is_join = |asked: &Asked| matches!(asked.what, About::Join | About::Sync);
        if membership.in_flight.values().any(is_join) {
            membership.protocol.state = State::Unjoined;
            membership.protocol.rejoin.get_or_insert("the coordinator moved");
        }
    }

    fn is_settled(membership: &Membership<Self>) -> bool {
        matches!(membership.protocol.state, State::Stable)
    }

    fn is_in_good_order(membership: &Membership<Self>) -> bool {
        let is_stable = matches!(membership.protocol.state, State::Stable | State::Synced(..));
        is_stable && membership.identity.generation.is_some()
    }

    fn committer(membership: &Membership<Self>, commit: &Commit) -> Result<Identity, ErrorCode> {
        match membership.protocol.state {
            State::Stable | State::Synced(..) if commit.identity != membership.identity => {
                crate::mark!("consumer does not repeat a commit of a former generation");
                Err(ErrorCode::IllegalGeneration)
            }
            State::Stable | State::Synced(..) => Ok(membership.identity.clone()),
            State::Joining(_) | State::Assigning(..) | State::Syncing(..) => {
                Err(ErrorCode::RebalanceInProgress)
            }
            State::Unjoined if membership.identity.generation.is_some() => {
                Err(ErrorCode::RebalanceInProgress)
            }
            State::Unjoined => Err(ErrorCode::UnknownMemberId),
        }
    }

    fn on_commit_refused(
        membership: &mut Membership<Self>,
        asked: &Asked,
        _: CommitNumber,
        error: ErrorCode,
    ) -> Refusal {
        let is_same = asked.identity == membership.identity && membership.is_member();
        if error == ErrorCode::RebalanceInProgress {
            membership.protocol.rejoin.get_or_insert("a commit failed since the group rebalances");
            return Refusal::ForGood(REBALANCING);
        }
        if matches!(error, ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration) {
            if is_same {
                membership.reset(error == ErrorCode::IllegalGeneration, "a commit was refused");
            }
            return Refusal::ForGood(NO_MEMBER);
        }
        if error == ErrorCode::FencedInstanceId {
            if is_same {
                membership.fail(error, FENCED);
            }
            return Refusal::ForGood(FENCED);
        }
        if error == ErrorCode::UnknownTopicOrPartition {
            return Refusal::Passing("commit");
        }
        Refusal::ForGood("commit")
    }

    fn commit_question(_: bool, request: OffsetCommitRequest) -> Question {
        Question::OffsetCommit(request)
    }

    fn offsets_question(
        membership: &Membership<Self>,
        partitions: &BTreeSet<TopicPartition>,
    ) -> Question {
        membership.ask_offsets_of_group(partitions)
    }

    fn may_pass(error: ErrorCode) -> bool {
        error.is_retriable()
    }

    /// A commit of a former generation is not repeated; within one, nothing is taken that was not committed last.
    fn on_taken(_: &mut Membership<Self>, _: &Assignment) {}

    fn depart(membership: &mut Membership<Self>, leave: bool, out: &mut Vec<Effect>) {
        if leave {
            membership.send_leave(out);
        }
        membership.reset(false, "");
        membership.protocol.rejoin = membership.subscription.as_ref().map(|_| "");
        membership.protocol.joined.clear();
        membership.protocol.leads = Leads::No;
    }

    fn check(membership: &Membership<Self>) {
        match &membership.protocol.state {
            State::Unjoined => {}
            State::Joining(token) | State::Syncing(token, _) => {
                assert!(membership.in_flight.contains_key(token), "nobody will answer");
            }
            State::Assigning(..) | State::Synced(..) | State::Stable => {
                assert!(membership.identity.generation.is_some(), "a member is of some generation");
            }
        }
    }
}
