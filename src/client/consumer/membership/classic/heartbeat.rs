//! Heartbeats, and what happens where they are not answered or the owner does not poll (pure).

use super::super::{About, Asked, Effect, Membership, Question};
use super::{ClassicProtocol, State};
use crate::protocol::messages::{HeartbeatRequest, HeartbeatResponse};
use crate::rpc::network_client::RpcError;
use crate::types::{ErrorCode, Monotonic};

impl Membership<ClassicProtocol> {
    /// Whether the coordinator expects heartbeats: not while a JoinGroup is parked there.
    fn is_beating(&self) -> bool {
        let is_in = match self.protocol.state {
            State::Unjoined | State::Joining(_) => false,
            State::Assigning(..) | State::Syncing(..) | State::Synced(..) | State::Stable => true,
        };
        is_in && self.to_leave.is_none()
    }

    pub(super) fn heartbeat_deadlines(&self) -> Vec<Monotonic> {
        if !self.is_beating() {
            return Vec::new();
        }
        let mut deadlines = vec![self.polled_at + self.config.poll_interval_max];
        if self.coordinator.is_some() {
            deadlines.push(self.protocol.heard_at + self.config.session_timeout);
            if !self.is_asking(&About::Heartbeat) {
                deadlines.push(self.protocol.beat_at + self.config.heartbeat_interval);
            }
        }
        deadlines
    }

    /// A silent coordinator may be none any more; an owner that does not poll cannot be a member.
    pub(super) fn check_sessions(&mut self, now: Monotonic, out: &mut Vec<Effect>) {
        if !self.is_beating() {
            return;
        }
        if now >= self.polled_at + self.config.poll_interval_max {
            crate::mark!("consumer leaves because its owner does not poll");
            if self.config.instance.is_none() {
                self.send_leave(out);
            }
            return self.reset(false, "max.poll.interval.ms went by between two polls");
        }
        if now >= self.protocol.heard_at + self.config.session_timeout {
            self.lose_coordinator(now);
        }
    }

    pub(super) fn beat(&mut self, now: Monotonic, out: &mut Vec<Effect>) {
        let is_due = now >= self.protocol.beat_at + self.config.heartbeat_interval;
        if !self.is_beating() || !is_due || self.is_asking(&About::Heartbeat) {
            return;
        }
        let Some(generation) = self.identity.generation else { return };
        let request = HeartbeatRequest {
            group_id: self.config.group.to_string(),
            generation_id: generation.value(),
            member_id: self.member_id(),
            group_instance_id: self.instance_id(),
        };
        if self.ask(About::Heartbeat, Question::Heartbeat(request), out).is_some() {
            self.protocol.beat_at = now;
        }
    }

    pub(super) fn on_heartbeat(
        &mut self,
        now: Monotonic,
        asked: &Asked,
        answer: Result<HeartbeatResponse, RpcError>,
    ) {
        let error = match answer {
            Ok(response) => response.error_code,
            Err(error) => return self.on_no_answer(now, &error),
        };
        let is_same = asked.identity == self.identity;
        let may_go_on = matches!(error, ErrorCode::None | ErrorCode::RebalanceInProgress);
        let is_unknown = matches!(error, ErrorCode::IllegalGeneration | ErrorCode::UnknownMemberId);
        if may_go_on {
            self.protocol.heard_at = now;
        }
        if error == ErrorCode::RebalanceInProgress {
            if matches!(self.protocol.state, State::Stable | State::Synced(..)) && is_same {
                self.protocol.rejoin.get_or_insert("group is already rebalancing");
            }
        } else if matches!(error, ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable) {
            self.lose_coordinator(now);
        } else if is_unknown && is_same {
            let keeps_member = error == ErrorCode::IllegalGeneration;
            self.reset(keeps_member, "the group went on without this member");
        } else if !may_go_on && is_same {
            self.fail(error, format!("heartbeat in group {}", self.config.group));
        }
    }
}
