//! Who coordinates the group (pure).

use super::{About, Membership, Protocol, Question, Retry};
use crate::client::cluster_view::{NodeKey, Target};
use crate::client::error::ClientError;
use crate::protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse};
use crate::rpc::Endpoint;
use crate::rpc::network_client::RpcError;
use crate::types::{ErrorCode, Monotonic};

/// The kind of key that is a group's id (Kafka: `FindCoordinatorRequest.CoordinatorType.GROUP`).
const KEY_OF_GROUP: i8 = 0;

impl<P: Protocol> Membership<P> {
    /// Asks somebody who coordinates the group, where that must be known and is not.
    pub(super) fn look_for_coordinator(&mut self, now: Monotonic, out: &mut Vec<super::Effect>) {
        let is_needed = self.subscription.is_some()
            || !self.commits.is_empty()
            || !self.reads.is_empty()
            || !self.starts.is_empty();
        if self.coordinator.is_some()
            || !is_needed
            || self.is_closed
            || self.lookup.not_before > now
            || self.brokers.is_empty()
            || self.is_asking(&About::Coordinator)
        {
            return;
        }
        let target = self.brokers[self.turn % self.brokers.len()].clone();
        let request = FindCoordinatorRequest {
            key: self.config.group.to_string(),
            key_type: KEY_OF_GROUP,
            ..FindCoordinatorRequest::default()
        };
        let question = Question::FindCoordinator(request);
        self.ask_node(target, About::Coordinator, question, out);
    }

    pub(super) fn on_coordinator(
        &mut self,
        now: Monotonic,
        answer: Result<FindCoordinatorResponse, RpcError>,
    ) {
        let response = match answer {
            Ok(response) => response,
            Err(error) => {
                self.turn = self.turn.wrapping_add(1);
                self.lookup = self.later(now, self.lookup);
                return self.fail_for_good(&error);
            }
        };
        let port = u16::try_from(response.port).ok();
        match (response.error_code, response.node_id, port) {
            (ErrorCode::None, Some(id), Some(port)) => {
                let endpoint = Endpoint { host: response.host, port };
                self.coordinator = Some(Target { node: NodeKey::Broker(id), endpoint });
                self.lookup = Retry::default();
                P::on_coordinator_found(self, now);
            }
            (ErrorCode::None, _, _) => self.lookup = self.later(now, self.lookup),
            (error, _, _) if error.is_retriable() => {
                crate::mark!("consumer waits for a coordinator");
                self.lookup = self.later(now, self.lookup);
            }
            (error, _, _) => {
                self.lookup = self.later(now, self.lookup);
                let text = response.error_message.unwrap_or_default();
                self.fail(error, format!("coordinator of group {}: {text}", self.config.group));
            }
        }
    }

    /// Whoever was the coordinator is none any more, or does not answer. What it was asked is asked anew of the next one.
    pub(super) fn lose_coordinator(&mut self, now: Monotonic) {
        if self.coordinator.take().is_none() {
            return;
        }
        crate::mark!("consumer loses its coordinator");
        self.lookup = self.later(now, self.lookup);
        P::on_coordinator_lost(self);
        self.in_flight.retain(|_, asked| match asked.what {
            About::Coordinator | About::Commit(_) => true,
            About::Join
            | About::Sync
            | About::Heartbeat
            | About::Leave
            | About::Describe
            | About::Start(_)
            | About::Read(_) => false,
        });
        for read in self.reads.values_mut() {
            read.is_asked = false;
        }
    }

    /// What to make of a coordinator that did not answer.
    pub(super) fn on_no_answer(&mut self, now: Monotonic, error: &RpcError) {
        self.lose_coordinator(now);
        self.fail_for_good(error);
    }

    /// Tells the owner, where asking again is of no use.
    fn fail_for_good(&mut self, error: &RpcError) {
        match error {
            RpcError::UnsupportedVersion { api } => {
                let api = api.to_string();
                self.push_error(ClientError::UnsupportedVersion { api });
            }
            RpcError::Unwritable(reason) => {
                self.fail(ErrorCode::InvalidRequest, reason.clone());
            }
            RpcError::NotSent(_)
            | RpcError::CutOff(_)
            | RpcError::TimedOut { .. }
            | RpcError::Malformed(_)
            | RpcError::Closed => {}
        }
    }
}
