//! What the owner wants to read, what it has to give up, and the way out (pure).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::commit::{CommitNumber, Style};
use super::{About, Effect, Membership, Protocol, difference, partitions};
use crate::client::consumer::assignors::Assignment;
use crate::client::consumer::offsets::Offsets;
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

impl<P: Protocol> Membership<P> {
    pub(super) fn subscribe(
        &mut self,
        now: Monotonic,
        topics: BTreeSet<Arc<str>>,
        regex: Option<Arc<str>>,
    ) {
        if self.subscription.as_ref() == Some(&topics) && self.regex == regex {
            return;
        }
        let is_first = self.subscription.is_none();
        if is_first {
            // What was chosen by hand is not the group's.
            self.by_hand.clear();
            self.starts.clear();
            self.forget_start();
            self.polled_at = now;
        }
        self.subscription = Some(topics);
        self.regex = regex;
        P::on_subscribed(self, is_first);
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

    pub(super) fn revoke(&mut self, revoked: Assignment, then: Then, out: &mut Vec<Effect>) {
        out.push(Effect::Revoke(partitions(&revoked)));
        self.stage = Stage::Listening(revoked, then);
    }

    pub(super) fn lose_all(&mut self, out: &mut Vec<Effect>) {
        if !self.owned.is_empty() {
            crate::mark!("consumer loses what it read");
            out.push(Effect::Lose(partitions(&self.owned)));
            let lost = std::mem::take(&mut self.owned);
            P::on_taken(self, &lost);
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
        P::on_taken(self, &revoked);
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
        self.regex = None;
        self.stage = Stage::Idle;
        P::on_leaving(self);
        if self.owned.is_empty() {
            return;
        }
        if P::is_in_good_order(self) {
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
            P::depart(self, leave, out);
        }
        let is_leaving = self.is_asking(&About::Leave);
        if self.closing.is_some() && !is_leaving && !self.is_closed {
            self.is_closed = true;
            out.push(Effect::Closed);
        }
    }

    /// Whether the owner is in a group, or on its way out of one.
    pub(super) fn is_member(&self) -> bool {
        self.subscription.is_some() || self.to_leave.is_some()
    }
}
