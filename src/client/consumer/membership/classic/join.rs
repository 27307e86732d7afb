//! JoinGroup and SyncGroup: into the next generation, and what to read in it (pure).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::super::{About, Asked, Effect, Identity, Membership, Question, Retry, millis};
use super::leader::Leads;
use super::{ClassicProtocol, State};
use crate::client::consumer::assignors::protocol::{
    NEWEST, PROTOCOL_TYPE, assignment_bytes, read_assignment, read_subscription, subscription_bytes,
};
use crate::client::consumer::assignors::{Assignment, Assignor, Member, Members, Subscription};
use crate::protocol::messages::join_group_request::JoinGroupRequestProtocol;
use crate::protocol::messages::join_group_response::JoinGroupResponseMember;
use crate::protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use crate::protocol::messages::{
    JoinGroupRequest, JoinGroupResponse, SyncGroupRequest, SyncGroupResponse,
};
use crate::rpc::network_client::RpcError;
use crate::types::{ErrorCode, GenerationId, Monotonic};

impl Membership<ClassicProtocol> {
    /// Asks to be let into the next generation, where the coordinator is known and the last refusal is long enough ago.
    pub(super) fn send_join(&mut self, now: Monotonic, out: &mut Vec<Effect>) {
        if self.coordinator.is_none() || self.protocol.join.not_before > now {
            return;
        }
        let Some(topics) = self.subscription.clone() else { return };
        let protocols: Result<Vec<_>, _> = self
            .config
            .assignors
            .iter()
            .map(|assignor| {
                let metadata = subscription_bytes(&self.said_to(*assignor, &topics), NEWEST)?;
                Ok(JoinGroupRequestProtocol { name: assignor.name().to_owned(), metadata })
            })
            .collect();
        let protocols = match protocols {
            Ok(protocols) => protocols,
            Err(error) => {
                let error: crate::protocol::wire::EncodeError = error;
                self.protocol.join = self.later(now, self.protocol.join);
                return self.fail(ErrorCode::InvalidTopicException, error.to_string());
            }
        };
        let request = JoinGroupRequest {
            group_id: self.config.group.to_string(),
            session_timeout_ms: millis(self.config.session_timeout),
            rebalance_timeout_ms: millis(self.config.poll_interval_max),
            member_id: self.member_id(),
            group_instance_id: self.instance_id(),
            protocol_type: PROTOCOL_TYPE.to_owned(),
            protocols,
            reason: self.protocol.rejoin.filter(|reason| !reason.is_empty()).map(str::to_owned),
        };
        self.protocol.joined = topics;
        let token = self.ask(About::Join, Question::JoinGroup(request), out);
        self.protocol.state = State::Joining(token.expect("the coordinator is known"));
    }

    /// What the leader hears of this member if it assigns in this way.
    fn said_to(&self, assignor: Assignor, topics: &BTreeSet<Arc<str>>) -> Subscription {
        let last = self.protocol.last.as_ref().filter(|(by, _, _)| *by == assignor);
        Subscription {
            topics: topics.clone(),
            user_data: assignor
                .user_data(last.map(|(_, assignment, generation)| (assignment, *generation))),
            owned: self.owned.clone(),
            generation: self.identity.generation,
            rack: self.config.rack.clone(),
        }
    }

    pub(super) fn on_joined(
        &mut self,
        now: Monotonic,
        answer: Result<JoinGroupResponse, RpcError>,
        out: &mut Vec<Effect>,
    ) {
        self.protocol.state = State::Unjoined;
        let response = match answer {
            Ok(response) => response,
            Err(error) => {
                self.protocol.join = self.later(now, self.protocol.join);
                return self.on_no_answer(now, &error);
            }
        };
        if !response.error_code.is_none() {
            return self.on_join_refused(now, response);
        }
        let assignor = response.protocol_name.as_deref().and_then(Assignor::from_name);
        let assignor = assignor.filter(|assignor| self.config.assignors.contains(assignor));
        let generation = GenerationId::from_wire(response.generation_id);
        let (Some(assignor), Some(generation)) = (assignor, generation) else {
            self.protocol.join = self.later(now, self.protocol.join);
            let chosen = response.protocol_name.unwrap_or_default();
            let message =
                format!("the coordinator chose the assignor {chosen:?}, which is not known here");
            return self.fail(ErrorCode::InconsistentGroupProtocol, message);
        };
        self.protocol.join = Retry::default();
        let is_leader = response.leader == response.member_id;
        let member = Some(Arc::from(response.member_id));
        self.identity = Identity { member, generation: Some(generation) };
        (self.protocol.heard_at, self.protocol.beat_at) = (now, now);
        self.protocol.leads = Leads::No;
        if is_leader && !response.skip_assignment {
            self.protocol.state = State::Assigning(assignor, read_members(response.members));
            return;
        }
        if is_leader {
            crate::mark!("consumer leads again and need not assign");
            self.protocol.leads = Leads::Again(Retry::default());
        }
        self.send_sync(now, assignor, BTreeMap::new(), out);
    }

    fn on_join_refused(&mut self, now: Monotonic, response: JoinGroupResponse) {
        let error = response.error_code;
        if error == ErrorCode::MemberIdRequired {
            let member = Some(Arc::from(response.member_id));
            self.identity = Identity { member, generation: None };
            self.protocol.rejoin = Some("need to re-join with the given member-id");
            return;
        }
        if error == ErrorCode::UnknownMemberId {
            // The first time at once: the member was forgotten, and comes as a new one.
            if self.protocol.join.failures > 0 {
                self.protocol.join = self.later(now, self.protocol.join);
            } else {
                self.protocol.join.failures = 1;
            }
            return self.reset(false, "the coordinator does not know this member");
        }
        self.protocol.join = self.later(now, self.protocol.join);
        self.protocol.rejoin.get_or_insert("JoinGroup was refused");
        if matches!(error, ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable) {
            self.lose_coordinator(now);
        } else if error != ErrorCode::CoordinatorLoadInProgress
            && error != ErrorCode::RebalanceInProgress
        {
            self.fail(error, format!("joining group {}", self.config.group));
        }
    }

    pub(super) fn send_sync(
        &mut self,
        now: Monotonic,
        assignor: Assignor,
        assignments: BTreeMap<Arc<str>, Assignment>,
        out: &mut Vec<Effect>,
    ) {
        let generation = self.identity.generation.expect("it was just let in");
        let assignments = assignments.into_iter().map(|(member, assignment)| {
            let assignment = assignment_bytes(&assignment, NEWEST);
            SyncGroupRequestAssignment {
                member_id: member.to_string(),
                assignment: assignment.expect("names that came in a message fit one"),
            }
        });
        let request = SyncGroupRequest {
            group_id: self.config.group.to_string(),
            generation_id: generation.value(),
            member_id: self.member_id(),
            group_instance_id: self.instance_id(),
            protocol_type: Some(PROTOCOL_TYPE.to_owned()),
            protocol_name: Some(assignor.name().to_owned()),
            assignments: assignments.collect(),
        };
        match self.ask(About::Sync, Question::SyncGroup(request), out) {
            Some(token) => self.protocol.state = State::Syncing(token, assignor),
            None => {
                self.protocol.join = self.later(now, self.protocol.join);
                self.protocol.state = State::Unjoined;
                self.protocol.rejoin.get_or_insert("the coordinator moved");
            }
        }
    }

    pub(super) fn on_synced(
        &mut self,
        now: Monotonic,
        asked: &Asked,
        answer: Result<SyncGroupResponse, RpcError>,
    ) {
        let State::Syncing(_, assignor) = self.protocol.state else {
            unreachable!("what a SyncGroup was for is given up together with it")
        };
        self.protocol.state = State::Unjoined;
        self.protocol.rejoin.get_or_insert("SyncGroup was refused");
        let response = match answer {
            Ok(response) => response,
            Err(error) => {
                self.protocol.join = self.later(now, self.protocol.join);
                return self.on_no_answer(now, &error);
            }
        };
        let error = response.error_code;
        if error.is_none() {
            return self.on_assignment(now, assignor, response.assignment);
        }
        if error == ErrorCode::RebalanceInProgress {
            return;
        }
        if matches!(error, ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration) {
            let keeps_member = error == ErrorCode::IllegalGeneration;
            assert!(asked.identity == self.identity, "the member is who asked");
            return self.reset(keeps_member, "the group went on without this member");
        }
        self.protocol.join = self.later(now, self.protocol.join);
        if matches!(error, ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable) {
            self.lose_coordinator(now);
        } else if error != ErrorCode::CoordinatorLoadInProgress {
            self.fail(error, format!("synchronizing group {}", self.config.group));
        }
    }

    fn on_assignment(&mut self, now: Monotonic, assignor: Assignor, bytes: Bytes) {
        // Whom the leader forgot, or could not read, gets nothing.
        let assignment =
            if bytes.is_empty() { Ok(Assignment::new()) } else { read_assignment(bytes) };
        match assignment {
            Ok(assignment) => {
                self.protocol.rejoin = None;
                self.protocol.heard_at = now;
                self.protocol.state = State::Synced(assignor, assignment);
            }
            Err(error) => {
                self.protocol.join = self.later(now, self.protocol.join);
                let message = format!("the leader's assignment cannot be read: {error}");
                self.fail(ErrorCode::InconsistentGroupProtocol, message);
            }
        }
    }
}

/// What the members said. What cannot be read reads nothing: the others are not to suffer for it (Kafka's leader fails).
fn read_members(members: Vec<JoinGroupResponseMember>) -> Members {
    let read = |member: JoinGroupResponseMember| {
        let subscription = read_subscription(member.metadata).unwrap_or_default();
        let instance = member.group_instance_id.map(Arc::from);
        (Arc::from(member.member_id), Member { instance, subscription })
    };
    members.into_iter().map(read).collect()
}
