//! What the owner goes through in a rebalance: giving up, joining again, getting; and the way out (pure).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::commit::{CommitNumber, Style};
use super::{About, Effect, Membership, Question, State, difference, partitions};
use crate::client::consumer::assignors::{Assignment, RebalanceProtocol};
use crate::client::consumer::offsets::Offsets;
use crate::protocol::messages::LeaveGroupRequest;
use crate::protocol::messages::leave_group_request::MemberIdentity;
use crate::types::{Monotonic, TopicPartition};

/// How far giving something up has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing is being given up.
    Idle,
    /// The listener is told.
    Listening(Assignment, Then),
    /// How far it was read is being committed.
    Committing(CommitNumber, Then),
    /// It is given up.
    Done(Then),
}

/// What comes after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// JoinGroup.
    Join,
    /// The owner gets its assignment.
    Complete,
    /// The member leaves, or not if it is a static one.
    Leave,
}

impl Membership {
    pub(super) fn subscribe(&mut self, now: Monotonic, topics: BTreeSet<Arc<str>>) {
        if self.subscription.as_ref() == Some(&topics) {
            return;
        }
        if self.subscription.is_none() {
            // What was chosen by hand is not the group's.
            self.by_hand.clear();
            self.starts.clear();
            self.forget_start();
            self.rejoin.get_or_insert("");
            self.polled_at = now;
        } else if self.joined != topics {
            self.rejoin.get_or_insert("subscription has changed");
        }
        self.subscription = Some(topics);
    }

    pub(super) fn assign_by_hand(&mut self, now: Monotonic, partitions: BTreeSet<TopicPartition>) {
        if let Some(interval) = self.config.auto_commit_interval
            && self.by_hand.is_empty()
        {
            self.auto_commit_at = now + interval;
        }
        self.starts.retain(|start| partitions.contains(start));
        self.starts.extend(partitions.difference(&self.by_hand).cloned());
        self.forget_start();
        self.by_hand = partitions;
    }

    /// One step after the other, as far as they go without waiting. Within the owner's `poll`.
    pub(super) fn rebalance(&mut self, now: Monotonic, out: &mut Vec<Effect>) {
        if self.closing.is_some() || self.to_leave.is_some() {
            return;
        }
        match self.stage {
            Stage::Idle => {}
            Stage::Done(then) => {
                self.stage = Stage::Idle;
                match then {
                    Then::Join => {
                        // Whoever was thrown out meanwhile has what is left to lose first.
                        self.is_prepared =
                            self.identity.generation.is_some() || self.owned.is_empty();
                    }
                    Then::Complete => {
                        self.rejoin.get_or_insert("need to revoke partitions and re-join");
                    }
                    Then::Leave => unreachable!("who leaves does not rebalance"),
                }
            }
            Stage::Listening(..) | Stage::Committing(..) => return,
        }
        if matches!(self.state, State::Synced(..)) {
            self.complete(now, out);
        }
        let may_join = matches!(self.state, State::Unjoined | State::Stable)
            && self.subscription.is_some()
            && self.rejoin.is_some();
        if !may_join || self.stage != Stage::Idle {
            return;
        }
        if !self.is_prepared {
            self.prepare(out);
        }
        if self.is_prepared {
            self.send_join(now, out);
        }
    }

    /// Gives up what must be given up before JoinGroup.
    fn prepare(&mut self, out: &mut Vec<Effect>) {
        if self.identity.generation.is_none() {
            self.lose_all(out);
        }
        let subscription = self.subscription.as_ref();
        let is_read = |topic: &Arc<str>| subscription.is_some_and(|read| read.contains(topic));
        let revoked: Assignment = match self.rebalance_protocol() {
            RebalanceProtocol::Eager => self.owned.clone(),
            RebalanceProtocol::Cooperative => {
                let unread = self.owned.iter().filter(|(topic, _)| !is_read(topic));
                unread.map(|(topic, indexes)| (Arc::clone(topic), indexes.clone())).collect()
            }
        };
        if revoked.is_empty() {
            self.is_prepared = true;
        } else {
            self.revoke(revoked, Then::Join, out);
        }
    }

    fn revoke(&mut self, revoked: Assignment, then: Then, out: &mut Vec<Effect>) {
        out.push(Effect::Revoke(partitions(&revoked)));
        self.stage = Stage::Listening(revoked, then);
    }

    fn lose_all(&mut self, out: &mut Vec<Effect>) {
        if !self.owned.is_empty() {
            crate::mark!("consumer loses what it read");
            out.push(Effect::Lose(partitions(&self.owned)));
            self.owned.clear();
            self.starts.clear();
            self.forget_start();
        }
    }

    /// The listener knows, and nothing of it is read any more.
    pub(super) fn on_revoked(&mut self, now: Monotonic, by_listener: Offsets, consumed: Offsets) {
        let stage = std::mem::replace(&mut self.stage, Stage::Idle);
        let Stage::Listening(revoked, then) = stage else {
            unreachable!("the listener answers what it was told")
        };
        self.owned = difference(&self.owned, &revoked);
        let owned: BTreeSet<TopicPartition> = partitions(&self.owned).into_iter().collect();
        self.starts.retain(|start| owned.contains(start));
        self.forget_start();
        let is_automatic = self.config.auto_commit_interval.is_some();
        let mut offsets = if is_automatic { consumed } else { Offsets::new() };
        offsets.extend(by_listener);
        if offsets.is_empty() || self.identity.generation.is_none() {
            self.stage = Stage::Done(then);
            return;
        }
        let deadline = now + self.config.api_timeout.min(self.config.poll_interval_max);
        let number = self.add_commit(offsets, Style::Revoked, deadline);
        self.stage = Stage::Committing(number, then);
    }

    /// What was to be committed before it is given up is, or cannot be.
    pub(super) fn on_revoked_committed(&mut self, number: CommitNumber) {
        if let Stage::Committing(awaited, then) = self.stage
            && awaited == number
        {
            self.stage = Stage::Done(then);
        }
    }

    /// The owner gets what the group gave it.
    fn complete(&mut self, now: Monotonic, out: &mut Vec<Effect>) {
        let State::Synced(_, assignment) = &self.state else { return };
        let subscription = self.subscription.clone().unwrap_or_default();
        if assignment.keys().any(|topic| !subscription.contains(topic)) {
            crate::mark!("consumer is given what it does not read any more");
            self.rejoin.get_or_insert("the assignment does not match the subscription");
            self.state = State::Stable;
            self.is_prepared = false;
            return;
        }
        let revoked = difference(&self.owned, assignment);
        if !revoked.is_empty() {
            return self.revoke(revoked, Then::Complete, out);
        }
        let state = std::mem::replace(&mut self.state, State::Stable);
        let State::Synced(assignor, assignment) = state else {
            unreachable!("it was just looked at")
        };
        if self.joined != subscription {
            self.rejoin.get_or_insert("subscription has changed");
        }
        let generation = self.identity.generation.expect("whoever is assigned is a member");
        let added = partitions(&difference(&assignment, &self.owned));
        self.starts.extend(added.iter().cloned());
        self.forget_start();
        out.push(Effect::Assign { all: partitions(&assignment), added });
        self.last = Some((assignor, assignment.clone(), generation));
        self.owned = assignment;
        self.is_prepared = false;
        if let Some(interval) = self.config.auto_commit_interval {
            self.auto_commit_at = now + interval;
        }
    }

    // ---- the way out ----

    /// The owner ends (`close` says whether to leave), or only reads nothing any more.
    pub(super) fn begin_to_leave(&mut self, close: Option<bool>, out: &mut Vec<Effect>) {
        if self.closing.is_some() {
            return;
        }
        self.closing = close;
        if self.subscription.take().is_none() {
            if close.is_some() && self.config.auto_commit_interval.is_some() {
                self.ask_consumed(out);
            }
            if close.is_none() {
                self.by_hand.clear();
                self.starts.clear();
                self.forget_start();
            }
            return;
        }
        self.to_leave = Some(close.unwrap_or(self.config.instance.is_none()));
        self.rejoin = None;
        self.stage = Stage::Idle;
        let is_stable = matches!(self.state, State::Stable | State::Synced(..));
        if self.owned.is_empty() {
            return;
        }
        if is_stable && self.identity.generation.is_some() {
            self.revoke(self.owned.clone(), Then::Leave, out);
        } else {
            self.lose_all(out);
        }
    }

    /// Leaves once what was read is committed, and says so.
    pub(super) fn leave_if_done(&mut self, out: &mut Vec<Effect>) {
        let is_waiting = matches!(self.stage, Stage::Listening(..) | Stage::Committing(..))
            || self.is_consumed_asked
            || !self.commits.is_empty();
        if is_waiting {
            return;
        }
        if let Some(leave) = self.to_leave.take() {
            self.stage = Stage::Idle;
            if leave {
                self.send_leave(out);
            }
            self.reset(false, "");
            self.rejoin = self.subscription.as_ref().map(|_| "");
            self.joined.clear();
            self.assigned_of = None;
        }
        let is_leaving = self.is_asking(&About::Leave);
        if self.closing.is_some() && !is_leaving && !self.is_closed {
            self.is_closed = true;
            out.push(Effect::Closed);
        }
    }

    /// Tells the coordinator, if it is known; whether it hears does not matter.
    pub(super) fn send_leave(&mut self, out: &mut Vec<Effect>) {
        let Some(member) = &self.identity.member else { return };
        let member = MemberIdentity {
            member_id: member.to_string(),
            group_instance_id: self.instance_id(),
            reason: Some("the consumer leaves".to_owned()),
        };
        let request = LeaveGroupRequest {
            group_id: self.config.group.to_string(),
            members: vec![member],
            ..LeaveGroupRequest::default()
        };
        self.ask(About::Leave, Question::LeaveGroup(request), out);
    }
}
