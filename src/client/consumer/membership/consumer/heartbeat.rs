//! ConsumerGroupHeartbeat: what a member says, and what it makes of the answer (pure).

use std::sync::Arc;
use std::time::Duration;

use super::super::{About, Effect, Membership, Question, Retry, millis};
use super::{AssignmentById, ConsumerProtocol, Said, State};
use crate::client::error::ClientError;
use crate::protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use crate::protocol::messages::consumer_group_heartbeat_response::Assignment;
use crate::protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use crate::rpc::network_client::RpcError;
use crate::types::{ErrorCode, GenerationId, Monotonic};

/// The epoch of who joins.
const JOINS: i32 = 0;
/// The epoch of who leaves (Kafka: `LEAVE_GROUP_MEMBER_EPOCH`).
const LEAVES: i32 = -1;
/// The epoch of a static member that will be back (Kafka: `LEAVE_GROUP_STATIC_MEMBER_EPOCH`).
const LEAVES_FOR_A_WHILE: i32 = -2;

impl Membership<ConsumerProtocol> {
    pub(super) fn heartbeat_deadlines(&self) -> Vec<Monotonic> {
        if !self.is_in() || self.to_leave.is_some() {
            return Vec::new();
        }
        let mut deadlines = vec![self.polled_at + self.config.poll_interval_max];
        if self.coordinator.is_some() && !self.is_asking(&About::Heartbeat) {
            deadlines.push(self.protocol.retry.not_before);
            deadlines.push(self.protocol.beat_at + self.protocol.interval);
        }
        deadlines
    }

    /// An owner that does not poll cannot be a member. What it had it loses when it polls again.
    pub(super) fn leave_where_nobody_polls(&mut self, now: Monotonic, out: &mut Vec<Effect>) {
        let is_late = now >= self.polled_at + self.config.poll_interval_max;
        if self.is_in() && self.to_leave.is_none() && is_late {
            crate::mark!(
                "consumer of the consumer protocol leaves because its owner does not poll"
            );
            self.send_farewell(self.config.instance.is_none(), out);
            self.reset();
            self.protocol.retry = Retry::default();
        }
    }

    /// What there is to say now.
    pub(super) fn to_say(&self) -> Said {
        Said {
            topics: self.subscription.clone().unwrap_or_default(),
            regex: self.regex.clone(),
            held: self.held_or_meant(),
        }
    }

    /// What it has, and what it may take with its owner's next `poll`. Left out, that would be free for the coordinator to give to another
    /// member, and the answer that says so may come too late or get lost. Kafka's consumer leaves it out.
    fn held_or_meant(&self) -> AssignmentById {
        let mut all = self.protocol.held.clone();
        for (topic, partitions) in self.protocol.target.iter().flatten() {
            all.entry(*topic).or_default().extend(partitions);
        }
        all
    }

    pub(super) fn beat(&mut self, now: Monotonic, out: &mut Vec<Effect>) {
        let may_not = !self.is_in()
            || self.to_leave.is_some()
            || self.coordinator.is_none()
            || self.is_asking(&About::Heartbeat)
            || self.protocol.retry.not_before > now;
        if may_not {
            return;
        }
        let to_say = self.to_say();
        let is_due = now >= self.protocol.beat_at + self.protocol.interval;
        if !is_due && self.protocol.said.as_ref() == Some(&to_say) {
            return;
        }
        let request = self.heartbeat(&to_say);
        self.protocol.has_said_regex |= to_say.regex.is_some();
        self.protocol.said = Some(to_say);
        self.protocol.beat_at = now;
        self.ask(About::Heartbeat, Question::ConsumerGroupHeartbeat(request), out);
    }

    /// All where nothing was said yet, otherwise what changed.
    fn heartbeat(&self, to_say: &Said) -> ConsumerGroupHeartbeatRequest {
        let said = self.protocol.said.as_ref();
        let is_new = said.is_none();
        let reads_others = said.is_none_or(|said| said.topics != to_say.topics);
        let fits_others = said.is_none_or(|said| said.regex != to_say.regex);
        let has_others = said.is_none_or(|said| said.held != to_say.held);
        let regex = match &to_say.regex {
            Some(regex) => Some(regex.to_string()),
            None => self.protocol.has_said_regex.then(String::new),
        };
        let text = |value: &Option<Arc<str>>| value.as_deref().map(str::to_owned);
        ConsumerGroupHeartbeatRequest {
            member_epoch: self.identity.generation.map_or(JOINS, GenerationId::value),
            rack_id: text(&self.config.rack).filter(|_| is_new),
            rebalance_timeout_ms: if is_new { millis(self.config.poll_interval_max) } else { -1 },
            subscribed_topic_names: reads_others
                .then(|| to_say.topics.iter().map(ToString::to_string).collect()),
            subscribed_topic_regex: regex.filter(|_| fits_others),
            server_assignor: text(&self.config.remote_assignor).filter(|_| is_new),
            topic_partitions: has_others.then(|| topic_partitions(&to_say.held)),
            ..self.greeting()
        }
    }

    fn greeting(&self) -> ConsumerGroupHeartbeatRequest {
        ConsumerGroupHeartbeatRequest {
            group_id: self.config.group.to_string(),
            member_id: self.member_id(),
            instance_id: self.instance_id(),
            ..ConsumerGroupHeartbeatRequest::default()
        }
    }

    /// Tells the coordinator, if it is known; whether it hears does not matter. A static member that does not leave for good says that it
    /// will be back: its next process gets what it had.
    pub(super) fn send_farewell(&mut self, leave: bool, out: &mut Vec<Effect>) {
        let member_epoch = match &self.config.instance {
            _ if leave => LEAVES,
            Some(_) => LEAVES_FOR_A_WHILE,
            None => return,
        };
        if self.is_in() {
            let request = ConsumerGroupHeartbeatRequest { member_epoch, ..self.greeting() };
            self.ask(About::Leave, Question::ConsumerGroupHeartbeat(request), out);
        }
    }

    pub(super) fn on_heartbeat(
        &mut self,
        now: Monotonic,
        answer: Result<ConsumerGroupHeartbeatResponse, RpcError>,
    ) {
        match answer {
            Ok(response) if response.error_code.is_none() => self.on_good_heartbeat(now, response),
            Ok(response) => self.on_heartbeat_refused(now, response),
            Err(RpcError::UnsupportedVersion { api }) => {
                self.refuse(ClientError::UnsupportedVersion { api: api.to_string() });
            }
            Err(RpcError::Unwritable(reason)) => {
                let error = ErrorCode::InvalidRequest;
                self.refuse(ClientError::Answer { error, message: Some(reason) });
            }
            Err(error) => {
                self.protocol.said = None;
                self.protocol.retry = self.later(now, self.protocol.retry);
                self.on_no_answer(now, &error);
            }
        }
    }

    fn on_good_heartbeat(&mut self, now: Monotonic, response: ConsumerGroupHeartbeatResponse) {
        let told = GenerationId::from_wire(response.member_epoch);
        let Some(epoch) = told.filter(|epoch| *epoch != GenerationId::ZERO) else {
            // No coordinator says that. What was said to this one is said again.
            self.protocol.said = None;
            self.protocol.retry = self.later(now, self.protocol.retry);
            return;
        };
        self.protocol.retry = Retry::default();
        self.protocol.state = State::Member;
        self.identity.generation = Some(epoch);
        let interval = u64::try_from(response.heartbeat_interval_ms).unwrap_or(0);
        self.protocol.interval = Duration::from_millis(interval);
        if let Some(assignment) = response.assignment {
            self.protocol.target = Some(by_id(assignment));
        }
    }

    fn on_heartbeat_refused(&mut self, now: Monotonic, response: ConsumerGroupHeartbeatResponse) {
        let error = response.error_code;
        self.protocol.said = None;
        let was_member = self.identity.generation.is_some();
        let is_fenced = matches!(error, ErrorCode::FencedMemberEpoch | ErrorCode::UnknownMemberId)
            || (error == ErrorCode::GroupIdNotFound && was_member);
        if matches!(error, ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable) {
            // The next coordinator is asked as soon as it is known.
            self.lose_coordinator(now);
        } else if is_fenced {
            // It comes back at once, but does not knock without end.
            let retry = self.protocol.retry;
            self.protocol.retry =
                if was_member { Retry::default() } else { self.later(now, retry) };
            self.reset();
        } else if error.is_retriable() {
            self.protocol.retry = self.later(now, self.protocol.retry);
        } else {
            let why = response.error_message.unwrap_or_default();
            let message = Some(format!("heartbeat in group {}: {why}", self.config.group));
            self.refuse(ClientError::Answer { error, message });
        }
    }
}

fn topic_partitions(held: &AssignmentById) -> Vec<TopicPartitions> {
    let topics = held.iter().map(|(topic_id, partitions)| TopicPartitions {
        topic_id: *topic_id,
        partitions: partitions.iter().copied().collect(),
    });
    topics.collect()
}

fn by_id(assignment: Assignment) -> AssignmentById {
    let mut told = AssignmentById::new();
    for topic in assignment.topic_partitions {
        if !topic.partitions.is_empty() {
            told.entry(topic.topic_id).or_default().extend(topic.partitions);
        }
    }
    told
}
