//! What the group's leader has to do besides: it watches the topics that anybody in the group reads, assigns, and brings about another
//! generation where what was assigned is not what there is to read any more (pure).
//!
//! A static leader whose process is another one need not assign (KIP-814), and did not see what became of the topics meanwhile. It asks the
//! coordinator what everybody has: from that follows what its former process assigned from. (Kafka's takes what it finds for that, see
//! `ConsumerCoordinator.onLeaderElected`: partitions that came while nobody watched stay with nobody.)
//!
//! The former process could leave word in the user data of its own assignment. But groups where somebody has such data cannot
//! change to the consumer protocol (Kafka: `ConsumerGroup.fromClassicGroup`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::{About, Asked, Effect, Membership, Question, Retry};
use super::{ClassicProtocol, State};
use crate::client::admin::GroupState;
use crate::client::consumer::assignors::protocol::{read_assignment, read_subscription};
use crate::client::consumer::assignors::{Assignment, Members, PartitionCounts};
use crate::protocol::messages::describe_groups_response::DescribedGroupMember;
use crate::protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse};
use crate::rpc::network_client::RpcError;
use crate::types::{ErrorCode, Monotonic, PartitionIndex};

/// Of each topic that anybody in the group reads, how many partitions it had; `None` where there was no such topic.
pub(super) type Basis = BTreeMap<Arc<str>, Option<u32>>;

/// Whether the member leads its group.
#[derive(Debug)]
pub(super) enum Leads {
    /// Somebody else does.
    No,
    /// It does, but a former process of it assigned: from what has to be found out.
    Again(Retry),
    /// It does, and the assignment was made from this.
    From(Basis),
}

impl Membership<ClassicProtocol> {
    /// Watches what the owner reads, and as leader what anybody reads; assigns once that is known; joins again when it changed.
    pub(super) fn look_at_topics(&mut self, now: Monotonic, out: &mut Vec<Effect>) {
        let mut watched = self.subscription.clone().unwrap_or_default();
        if let State::Assigning(_, members) = &self.protocol.state {
            let read = members.values().flat_map(|member| member.subscription.topics.iter());
            watched.extend(read.cloned());
        }
        if let Leads::From(basis) = &self.protocol.leads {
            watched.extend(basis.keys().cloned());
        }
        self.watch(watched, out);
        self.assign_if_known(now, out);
        let Leads::From(basis) = &self.protocol.leads else { return };
        // What is not known at the moment has not changed.
        let is_other = |(topic, count)| self.topics.get(topic).is_some_and(|known| known != count);
        if basis.iter().any(is_other)
            && self.protocol.rejoin.is_none()
            && matches!(self.protocol.state, State::Stable)
        {
            crate::mark!("group leader sees that topics changed");
            self.protocol.rejoin = Some("topics have changed since the last assignment");
        }
    }

    fn assign_if_known(&mut self, now: Monotonic, out: &mut Vec<Effect>) {
        let State::Assigning(assignor, members) = &self.protocol.state else { return };
        let Some(basis) = self.basis_of(members) else { return };
        let assignor = *assignor;
        let counts: PartitionCounts = basis
            .iter()
            .filter_map(|(topic, count)| Some((Arc::clone(topic), (*count)?)))
            .collect();
        let assignments = assignor.assign(members, &counts);
        self.protocol.leads = Leads::From(basis);
        self.send_sync(now, assignor, assignments, out);
    }

    /// The topics that anybody in the group reads; `None` while not all of them are known.
    fn basis_of(&self, members: &Members) -> Option<Basis> {
        let read = members.values().flat_map(|member| &member.subscription.topics);
        read.map(|topic| Some((Arc::clone(topic), *self.topics.get(topic)?))).collect()
    }

    // ---- after a former process ----

    /// When the question what was assigned may be asked again.
    pub(super) fn describe_deadline(&self) -> Option<Monotonic> {
        match self.protocol.leads {
            Leads::Again(retry) => Some(retry.not_before),
            Leads::No | Leads::From(_) => None,
        }
    }

    /// Asks what was assigned, where a former process did that. Only a generation that nobody is about to leave has one assignment.
    pub(super) fn ask_what_was_assigned(&mut self, now: Monotonic, out: &mut Vec<Effect>) {
        let Leads::Again(retry) = self.protocol.leads else { return };
        let may_ask = matches!(self.protocol.state, State::Stable)
            && self.protocol.rejoin.is_none()
            && self.to_leave.is_none()
            && retry.not_before <= now
            && !self.is_asking(&About::Describe);
        if may_ask {
            let groups = vec![self.config.group.to_string()];
            let request = DescribeGroupsRequest { groups, ..DescribeGroupsRequest::default() };
            self.ask(About::Describe, Question::DescribeGroups(request), out);
        }
    }

    pub(super) fn on_described(
        &mut self,
        now: Monotonic,
        asked: &Asked,
        answer: Result<DescribeGroupsResponse, RpcError>,
    ) {
        let Leads::Again(retry) = self.protocol.leads else { return };
        if asked.identity != self.identity {
            return;
        }
        let response = match answer {
            Ok(response) => response,
            Err(error) => {
                self.protocol.leads = Leads::Again(self.later(now, retry));
                return self.on_no_answer(now, &error);
            }
        };
        let group = response.groups.into_iter().next().unwrap_or_default();
        let error = group.error_code;
        let is_passing = error.is_retriable() || error == ErrorCode::GroupIdNotFound;
        if !error.is_none() && !is_passing {
            self.protocol.leads = Leads::No;
            self.protocol.rejoin.get_or_insert("the coordinator does not say what was assigned");
            return;
        }
        if !error.is_none() || GroupState::from_name(&group.group_state) != GroupState::Stable {
            // Heartbeats will tell of a group that rebalances, or that the coordinator does not know.
            crate::mark!("consumer that leads again is not told yet what was assigned");
            self.protocol.leads = Leads::Again(self.later(now, retry));
            if matches!(error, ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable) {
                self.lose_coordinator(now);
            }
            return;
        }
        match basis_of_assigned(group.members) {
            Some(basis) => self.protocol.leads = Leads::From(basis),
            None => {
                crate::mark!("consumer that leads again finds partitions that nobody has");
                self.protocol.leads = Leads::No;
                self.protocol.rejoin.get_or_insert("partitions are assigned to nobody");
            }
        }
    }
}

/// What was assigned from, as what members have tells. `None` where partitions are left out: assignors leave out none, except for those
/// that are on their way from one member to another, which ends with another generation anyway.
///
/// What cannot be read reads nothing, and has nothing.
fn basis_of_assigned(members: Vec<DescribedGroupMember>) -> Option<Basis> {
    let mut read: BTreeSet<Arc<str>> = BTreeSet::new();
    let mut assigned = Assignment::new();
    for member in members {
        read.extend(read_subscription(member.member_metadata).unwrap_or_default().topics);
        for (topic, partitions) in read_assignment(member.member_assignment).unwrap_or_default() {
            assigned.entry(topic).or_default().extend(partitions);
        }
    }
    let count = |topic: &Arc<str>| {
        let Some(partitions) = assigned.get(topic) else { return Some(None) };
        let count = u32::try_from(partitions.len()).ok()?;
        let last = partitions.last().copied().map(PartitionIndex::value);
        (last == i32::try_from(count - 1).ok()).then_some(Some(count))
    };
    read.into_iter().map(|topic| Some((Arc::clone(&topic), count(&topic)?))).collect()
}
