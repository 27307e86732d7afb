//! What the owner goes through in a rebalance of the classic protocol: giving up, joining again, getting; and the farewell (pure).

use std::sync::Arc;

use super::super::release::{Stage, Then};
use super::super::{About, Effect, Membership, Question, difference, partitions};
use super::{ClassicProtocol, State};
use crate::client::consumer::assignors::{Assignment, RebalanceProtocol};
use crate::protocol::messages::LeaveGroupRequest;
use crate::protocol::messages::leave_group_request::MemberIdentity;
use crate::types::Monotonic;

impl Membership<ClassicProtocol> {
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
                        self.protocol.is_prepared =
                            self.identity.generation.is_some() || self.owned.is_empty();
                    }
                    Then::Complete => {
                        self.protocol.rejoin.get_or_insert("need to revoke partitions and re-join");
                    }
                    Then::Leave => unreachable!("who leaves does not rebalance"),
                }
            }
            Stage::Listening(..) | Stage::Committing(..) => return,
        }
        if matches!(self.protocol.state, State::Synced(..)) {
            self.complete(now, out);
        }
        let may_join = matches!(self.protocol.state, State::Unjoined | State::Stable)
            && self.subscription.is_some()
            && self.protocol.rejoin.is_some();
        if !may_join || self.stage != Stage::Idle {
            return;
        }
        if !self.protocol.is_prepared {
            self.prepare(out);
        }
        if self.protocol.is_prepared {
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
            self.protocol.is_prepared = true;
        } else {
            self.revoke(revoked, Then::Join, out);
        }
    }

    /// The owner gets what the group gave it.
    fn complete(&mut self, now: Monotonic, out: &mut Vec<Effect>) {
        let State::Synced(_, assignment) = &self.protocol.state else { return };
        let subscription = self.subscription.clone().unwrap_or_default();
        if assignment.keys().any(|topic| !subscription.contains(topic)) {
            crate::mark!("consumer is given what it does not read any more");
            self.protocol.rejoin.get_or_insert("the assignment does not match the subscription");
            self.protocol.state = State::Stable;
            self.protocol.is_prepared = false;
            return;
        }
        let revoked = difference(&self.owned, assignment);
        if !revoked.is_empty() {
            return self.revoke(revoked, Then::Complete, out);
        }
        let state = std::mem::replace(&mut self.protocol.state, State::Stable);
        let State::Synced(assignor, assignment) = state else {
            unreachable!("it was just looked at")
        };
        if self.protocol.joined != subscription {
            self.protocol.rejoin.get_or_insert("subscription has changed");
        }
        let generation = self.identity.generation.expect("whoever is assigned is a member");
        let added = partitions(&difference(&assignment, &self.owned));
        self.starts.extend(added.iter().cloned());
        self.forget_start();
        out.push(Effect::Assign { all: partitions(&assignment), added });
        self.protocol.last = Some((assignor, assignment.clone(), generation));
        self.owned = assignment;
        self.protocol.is_prepared = false;
        if let Some(interval) = self.config.auto_commit_interval {
            self.auto_commit_at = now + interval;
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
