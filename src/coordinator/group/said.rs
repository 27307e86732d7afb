//! What the ledger says of itself, for checkers and people: nothing is decided by it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::classic_group::{ClassicGroup, State};
use super::request::{CommitOffsets, Topic, TopicTable};
use super::{GroupCoordinator, Outcome, Token};
use crate::protocol::coordinator_records::{CoordinatorRecord, assigned_partitions};
use crate::types::{
    Committer, ErrorCode, GenerationId, GroupObservation, GroupPhase, GroupProtocol,
    PartitionIndex, ShortName, TopicIdPartition, Uuid, fnv_1a,
};

impl Outcome {
    /// Something was decided.
    pub(super) fn say(&mut self, what: GroupObservation) {
        self.said.push(what);
    }

    /// Something will have been told when the reply to `token` is sent as it is.
    pub(super) fn tell(&mut self, token: Token, what: GroupObservation) {
        self.told.push((token, what));
    }

    /// A group has begun another state.
    pub(super) fn say_phase(&mut self, id: &str, group: &ClassicGroup) {
        self.say(GroupObservation::PhaseChanged {
            group: ShortName::of(id),
            phase: phase_of(group.state),
            generation: group.generation,
            limit: group.rebalance_timeout(),
        });
    }

    /// What a group's members read was looked at.
    pub(super) fn say_subscriptions(
        &mut self,
        id: &str,
        group: &ClassicGroup,
        topics: &TopicTable,
    ) {
        let name = ShortName::of(id);
        let subscribed = group.subscribed_topics();
        let is_known = subscribed.is_some();
        self.say(GroupObservation::SubscriptionsRead { group: name, is_known });
        for info in subscribed.into_iter().flatten().filter_map(|topic| topics.get(topic.as_str()))
        {
            self.say(GroupObservation::Subscribed { group: name, topic_id: info.id });
        }
    }

    /// A generation has begun.
    pub(super) fn say_generation(&mut self, id: &str, group: &ClassicGroup, topics: &TopicTable) {
        self.say(GroupObservation::GenerationBegan {
            group: ShortName::of(id),
            generation: group.generation,
            members: u32::try_from(group.members.len()).unwrap_or(u32::MAX),
            assignor: group.protocol.as_deref().map(ShortName::of),
        });
        self.say_subscriptions(id, group, topics);
        self.say_phase(id, group);
    }

    /// The members have got something in this generation. Where they are no consumers only they know what.
    pub(super) fn say_assignments(&mut self, id: &str, group: &ClassicGroup, topics: &TopicTable) {
        let (name, generation) = (ShortName::of(id), group.generation);
        for (member, state) in &group.members {
            let (member, bytes) = (ShortName::of(member), &state.assignment);
            let hash = fnv_1a(bytes);
            self.say(GroupObservation::AssignmentGiven { group: name, member, generation, hash });
            let given = assigned_partitions(bytes).filter(|_| group.is_of_consumers());
            for (topic, partitions) in given.into_iter().flatten() {
                let Some(info) = topics.get(topic.as_str()) else { continue };
                for partition in partitions {
                    let partition = TopicIdPartition { topic_id: info.id, partition };
                    let given = GroupObservation::PartitionGiven {
                        group: name,
                        member,
                        generation,
                        partition,
                    };
                    self.say(given);
                }
            }
        }
    }
}

impl GroupCoordinator {
    /// What the log was read to hold: said when the coordinator begins to answer, and knows the topics.
    ///
    #[must_use]
    pub fn loaded(&self) -> Vec<GroupObservation> {
        let mut out = Outcome::default();
        for (id, record) in &self.durable.groups {
            self.say_loaded(id, &ClassicGroup::from_record(record), &mut out);
        }
        for (id, group) in &self.durable.consumer_groups {
            out.say(GroupObservation::GroupLoaded {
                group: ShortName::of(id),
                protocol: GroupProtocol::Consumer,
                generation: GenerationId::from_wire(group.group_epoch()).unwrap_or_default(),
                members: u32::try_from(group.members.len()).unwrap_or(u32::MAX),
            });
            self.say_loaded_consumers(id, group, &mut out);
        }
        for (id, topics) in &self.durable.offsets {
            for (name, partitions) in topics {
                for (index, committed) in partitions {
                    let topic = Topic { name: Arc::clone(name), id: committed.topic_id };
                    let Some(partition) = self.partition_of(&topic, *index) else { continue };
                    let (group, offset) = (ShortName::of(id), committed.offset);
                    out.say(GroupObservation::OffsetLoaded { group, partition, offset });
                }
            }
        }
        out.said
    }

    fn say_loaded(&self, id: &str, group: &ClassicGroup, out: &mut Outcome) {
        let name = ShortName::of(id);
        out.say(GroupObservation::GroupLoaded {
            group: name,
            protocol: GroupProtocol::Classic,
            generation: group.generation,
            members: u32::try_from(group.members.len()).unwrap_or(u32::MAX),
        });
        for (member, state) in &group.members {
            let (member, instance) = (ShortName::of(member), state.instance.as_deref());
            let instance = instance.map(ShortName::of);
            out.say(GroupObservation::MemberCame { group: name, member, instance });
        }
        out.say_subscriptions(id, group, &self.topics);
        if !group.members.is_empty() {
            out.say_assignments(id, group, &self.topics);
        }
        out.say_phase(id, group);
    }

    /// What of an outcome is to be said though its log lacks the records from `missing` on: what no record carries, and what the log
    /// took before it refused the rest.
    #[must_use]
    pub fn said_without(
        &self,
        said: Vec<GroupObservation>,
        missing: &[CoordinatorRecord],
    ) -> Vec<GroupObservation> {
        let mut offsets = BTreeSet::new();
        let mut groups = BTreeSet::new();
        for record in missing {
            if let CoordinatorRecord::OffsetCommit(key, None) = record {
                let known = self.durable.offset(&key.group, &key.topic, key.partition);
                let id = known.and_then(|committed| committed.topic_id);
                let topic = Topic { name: key.topic.as_str().into(), id };
                let group = ShortName::of(&key.group);
                offsets.insert((group, self.partition_of(&topic, key.partition)));
                groups.insert(group); // who has offsets is not forgotten; one without members has no record of its own
            }
            if let CoordinatorRecord::GroupMetadata(key, None) = record {
                groups.insert(ShortName::of(&key.group));
            }
            if let CoordinatorRecord::ConsumerGroupMetadata(key, None) = record {
                groups.insert(ShortName::of(&key.group_id));
            }
        }
        let is_so = |what: &GroupObservation| {
            if let GroupObservation::OffsetForgotten { group, partition, .. } = what {
                return !offsets.contains(&(*group, Some(*partition)));
            }
            if let GroupObservation::GroupForgotten { group } = what {
                return !groups.contains(group);
            }
            // Only tombstones that come alone are taken one by one.
            !what.is_of_log()
        };
        said.into_iter().filter(is_so).collect()
    }

    /// A partition by the id of its topic; `None` where nobody knows the id.
    pub(super) fn partition_of(
        &self,
        topic: &Topic,
        partition: PartitionIndex,
    ) -> Option<TopicIdPartition> {
        let known = || self.topics.get(&topic.name).map(|info| info.id);
        let named = topic.id.filter(|id| *id != Uuid::ZERO);
        Some(TopicIdPartition { topic_id: named.or_else(known)?, partition })
    }

    /// Which protocol a group speaks.
    pub(super) fn protocol_of(&self, group: &str) -> GroupProtocol {
        match self.consumer_group(group) {
            Some(_) => GroupProtocol::Consumer,
            None => GroupProtocol::Classic,
        }
    }
}

fn phase_of(state: State) -> GroupPhase {
    match state {
        State::Empty => GroupPhase::Empty,
        State::PreparingRebalance(_) => GroupPhase::PreparingRebalance,
        State::CompletingRebalance => GroupPhase::CompletingRebalance,
        State::Stable => GroupPhase::Stable,
    }
}

/// Who commits.
pub(super) fn committer(request: &CommitOffsets) -> Committer {
    let name = |text: &Option<Arc<str>>| text.as_deref().map(ShortName::of);
    Committer {
        member: name(&request.member),
        instance: name(&request.instance),
        generation: request.generation,
    }
}

/// What is to be said of a commit that is refused as a whole.
pub(super) fn refused(request: &CommitOffsets, error: ErrorCode) -> GroupObservation {
    let group = ShortName::of(&request.group);
    GroupObservation::CommitRefused { group, committer: committer(request), error }
}
