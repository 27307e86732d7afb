//! A group of the consumer protocol (KIP-848), as the log has it: all of it is durable.
//!
//! Its *epoch* rises when members, what they read, or those topics change. Of each epoch there is a *target*: who is to have what. Each
//! member goes from what it has to what it is to have on its own, and its *member epoch* says how far it has come.
//!
//! Kafka: `ConsumerGroup`, `ConsumerGroupMember`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::assignor::{Assignment, Assignor};
use super::request::{GroupState, MemberId};
use crate::protocol::coordinator_records::{
    ConsumerGroupCurrentMemberAssignmentValue, ConsumerGroupMemberMetadataValue,
    ConsumerGroupTargetAssignmentMemberValue, CoordinatorRecord,
    consumer_group_current_member_assignment_value, consumer_group_target_assignment_member_value,
};
use crate::types::{PartitionIndex, TopicId};

/// Partitions, and since which member epoch their owner has each.
pub(super) type Owned = BTreeMap<TopicId, BTreeMap<PartitionIndex, i32>>;

/// How far a member has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MemberState {
    /// It has what it is to have.
    Stable,
    /// It is to give partitions up, and has not said that it did.
    UnrevokedPartitions,
    /// It waits for partitions that others have yet to give up.
    UnreleasedPartitions,
    /// Something that a later version wrote.
    Unknown,
}

impl MemberState {
    /// Kafka: `MemberState`.
    const fn from_wire(value: i8) -> Self {
        match value {
            0 => Self::Stable,
            1 => Self::UnrevokedPartitions,
            2 => Self::UnreleasedPartitions,
            _ => Self::Unknown,
        }
    }

    const fn to_wire(self) -> i8 {
        match self {
            Self::Stable => 0,
            Self::UnrevokedPartitions => 1,
            Self::UnreleasedPartitions => 2,
            Self::Unknown => 127,
        }
    }
}

/// What a member has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Current {
    /// The epoch to which it has come; 0 before the first, −2 for a static member that is away for a while.
    pub(super) epoch: i32,
    /// The epoch before that: the member may not have heard of the last step.
    pub(super) previous_epoch: i32,
    pub(super) state: MemberState,
    pub(super) assigned: Owned,
    /// What it is to give up, and may still read.
    pub(super) revoking: Owned,
}

impl Default for Current {
    fn default() -> Self {
        Self {
            epoch: 0,
            previous_epoch: 0,
            state: MemberState::Stable,
            assigned: Owned::new(),
            revoking: Owned::new(),
        }
    }
}

impl Current {
    pub(super) fn from_record(record: &ConsumerGroupCurrentMemberAssignmentValue) -> Self {
        let owned =
            |topics: &[consumer_group_current_member_assignment_value::TopicPartitions]| {
                let mut owned = Owned::new();
                for topic in topics {
                    let epochs = topic.assignment_epochs.iter().flatten().copied();
                    let epochs = epochs.chain(std::iter::repeat(record.member_epoch));
                    let partitions = topic.partitions.iter().copied().zip(epochs);
                    owned.entry(topic.topic_id).or_default().extend(partitions);
                }
                owned
            };
        Self {
            epoch: record.member_epoch,
            previous_epoch: record.previous_member_epoch,
            state: MemberState::from_wire(record.state),
            assigned: owned(&record.assigned_partitions),
            revoking: owned(&record.partitions_pending_revocation),
        }
    }

    /// What the log is to say.
    pub(super) fn to_record(&self) -> ConsumerGroupCurrentMemberAssignmentValue {
        let topics = |owned: &Owned| {
            let topics = owned.iter().map(|(id, partitions)| {
                consumer_group_current_member_assignment_value::TopicPartitions {
                    topic_id: *id,
                    partitions: partitions.keys().copied().collect(),
                    assignment_epochs: Some(partitions.values().copied().collect()),
                }
            });
            topics.collect()
        };
        ConsumerGroupCurrentMemberAssignmentValue {
            member_epoch: self.epoch,
            previous_member_epoch: self.previous_epoch,
            state: self.state.to_wire(),
            assigned_partitions: topics(&self.assigned),
            partitions_pending_revocation: topics(&self.revoking),
        }
    }

    /// What it may read.
    pub(super) fn assignment(&self) -> Assignment {
        let topics = self.assigned.iter();
        topics.map(|(id, partitions)| (*id, partitions.keys().copied().collect())).collect()
    }

    /// What it may read, and what it is to give up and may still read.
    pub(super) fn may_read(&self) -> Assignment {
        let mut all = self.assignment();
        for (topic, partitions) in &self.revoking {
            all.entry(*topic).or_default().extend(partitions.keys());
        }
        all
    }

    /// Since which epoch it has a partition, or had one that it is to give up.
    pub(super) fn epoch_of(&self, topic: TopicId, partition: PartitionIndex) -> Option<i32> {
        let of = |owned: &Owned| owned.get(&topic)?.get(&partition).copied();
        of(&self.assigned).or_else(|| of(&self.revoking))
    }
}

/// A group's epoch, and of which topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GroupEpoch {
    pub(super) epoch: i32,
    /// Says what the topics were that the members read; another number where any of them changed.
    pub(super) metadata_hash: i64,
}

/// A group of the consumer protocol. Each record of it is one part, which comes and goes on its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ConsumerGroup {
    pub(super) epoch: Option<GroupEpoch>,
    pub(super) members: BTreeMap<MemberId, Arc<ConsumerGroupMemberMetadataValue>>,
    pub(super) target_epoch: Option<i32>,
    pub(super) target: BTreeMap<MemberId, Arc<Assignment>>,
    pub(super) current: BTreeMap<MemberId, Arc<Current>>,
    /// Whether there is a record of the topics, as before KIP-1101.
    pub(super) has_partition_metadata: bool,
    /// The topics that the members' regular expressions stand for.
    pub(super) regular_expressions: BTreeMap<String, Vec<String>>,
}

impl ConsumerGroup {
    /// Whether nothing is left of it.
    pub(super) fn is_gone(&self) -> bool {
        *self == Self::default()
    }

    /// Adds a record that concerns this group.
    pub(super) fn replay(&mut self, record: &CoordinatorRecord) {
        match record {
            CoordinatorRecord::ConsumerGroupMetadata(_, value) => {
                self.epoch = value.as_ref().map(|value| GroupEpoch {
                    epoch: value.epoch,
                    metadata_hash: value.metadata_hash,
                });
            }
            CoordinatorRecord::ConsumerGroupPartitionMetadata(_, value) => {
                self.has_partition_metadata = value.is_some();
            }
            CoordinatorRecord::ConsumerGroupMemberMetadata(key, value) => {
                let value = value.clone().map(Arc::new);
                set(&mut self.members, &key.member_id, value);
            }
            CoordinatorRecord::ConsumerGroupTargetAssignmentMetadata(_, value) => {
                self.target_epoch = value.as_ref().map(|value| value.assignment_epoch);
            }
            CoordinatorRecord::ConsumerGroupTargetAssignmentMember(key, value) => {
                let value = value.as_ref().map(|value| Arc::new(target_from_record(value)));
                set(&mut self.target, &key.member_id, value);
            }
            CoordinatorRecord::ConsumerGroupCurrentMemberAssignment(key, value) => {
                let value = value.as_ref().map(|value| Arc::new(Current::from_record(value)));
                set(&mut self.current, &key.member_id, value);
            }
            CoordinatorRecord::ConsumerGroupRegularExpression(key, value) => match value {
                Some(value) => {
                    let topics = value.topics.clone();
                    self.regular_expressions.insert(key.regular_expression.clone(), topics);
                }
                None => _ = self.regular_expressions.remove(&key.regular_expression),
            },
            CoordinatorRecord::OffsetCommit(..) | CoordinatorRecord::GroupMetadata(..) => {
                unreachable!("not of a consumer group: {record:?}")
            }
        }
    }

    /// Its epoch; 0 before the first.
    pub(super) fn group_epoch(&self) -> i32 {
        self.epoch.map_or(0, |epoch| epoch.epoch)
    }

    /// The epoch of its target; 0 before the first.
    pub(super) fn assignment_epoch(&self) -> i32 {
        self.target_epoch.unwrap_or(0)
    }

    /// Where a member stands.
    pub(super) fn current_of(&self, member: &str) -> Arc<Current> {
        self.current.get(member).cloned().unwrap_or_default()
    }

    /// What a member is to have.
    pub(super) fn target_of(&self, member: &str) -> Arc<Assignment> {
        self.target.get(member).cloned().unwrap_or_default()
    }

    /// The member that has this name, if any.
    pub(super) fn static_member(&self, instance: &str) -> Option<&MemberId> {
        let mut members = self.members.iter();
        let found = members.find(|(_, member)| member.instance_id.as_deref() == Some(instance));
        found.map(|(id, _)| id)
    }

    /// Whether a member is to have something that another one has yet to give up.
    ///
    /// Kafka: `ConsumerGroup.waitingOnUnreleasedPartition`.
    pub(super) fn waits_for_others(&self, member: &MemberId) -> bool {
        let (target, current) = (self.target_of(member), self.current_of(member));
        let owners = self.owners();
        target.iter().any(|(topic, partitions)| {
            let has = current.assigned.get(topic);
            let mut lacks =
                partitions.iter().filter(|index| has.is_none_or(|has| !has.contains_key(index)));
            lacks.any(|index| owners.contains_key(&(*topic, *index)))
        })
    }

    /// Who has each partition, or has yet to give it up.
    pub(super) fn owners(&self) -> BTreeMap<(TopicId, PartitionIndex), &MemberId> {
        let mut owners = BTreeMap::new();
        for (id, current) in &self.current {
            for (topic, partitions) in current.assigned.iter().chain(&current.revoking) {
                owners.extend(partitions.keys().map(|index| ((*topic, *index), id)));
            }
        }
        owners
    }

    /// The one of `assignors` that most members want; the first of them where nobody wants any, and among equals the one that comes first.
    ///
    /// Kafka: `ConsumerGroup.preferredServerAssignor`.
    pub(super) fn assignor(&self, assignors: &[Assignor]) -> Assignor {
        let wanted = self.members.values().filter_map(|member| member.server_assignor.as_deref());
        let wanted: Vec<Assignor> = wanted.filter_map(Assignor::from_name).collect();
        let mut chosen = *assignors.first().expect("there is an assignor");
        let votes = |assignor| wanted.iter().filter(|wanted| **wanted == assignor).count();
        for assignor in assignors {
            if votes(*assignor) > votes(chosen) {
                chosen = *assignor;
            }
        }
        chosen
    }

    /// Its state, which follows from the rest (Kafka: `ConsumerGroup.maybeUpdateGroupState`).
    pub(super) fn state(&self) -> GroupState {
        let target = self.assignment_epoch();
        if self.members.is_empty() {
            GroupState::Empty
        } else if self.group_epoch() > target {
            GroupState::Assigning
        } else if self.members.keys().all(|id| self.current_of(id).is_reconciled_to(target)) {
            GroupState::Stable
        } else {
            GroupState::Reconciling
        }
    }

    /// What must hold after every record that was decided here.
    pub(super) fn check(&self) {
        let mut owners = BTreeMap::new();
        for (id, current) in &self.current {
            assert!(self.members.contains_key(id), "somebody who is no member has something");
            for (topic, partitions) in current.assigned.iter().chain(&current.revoking) {
                for index in partitions.keys() {
                    let other = owners.insert((*topic, *index), id);
                    assert!(other.is_none(), "two members have one partition");
                }
            }
            if current.epoch > 0 {
                assert!(current.epoch <= self.group_epoch(), "a member is ahead of its group");
            }
            if current.is_reconciled_to(self.assignment_epoch()) {
                let target = self.target_of(id);
                for (topic, partitions) in &current.assigned {
                    let meant = target.get(topic);
                    let is_meant = |index| meant.is_some_and(|meant| meant.contains(index));
                    assert!(partitions.keys().all(is_meant), "a member has what it is not to have");
                }
            }
        }
        assert!(self.assignment_epoch() <= self.group_epoch(), "a target of no epoch");
    }
}

impl Current {
    pub(super) fn is_reconciled_to(&self, epoch: i32) -> bool {
        self.state == MemberState::Stable && self.epoch == epoch
    }
}

/// How long a member may take to give partitions up.
pub(super) fn rebalance_timeout(member: &ConsumerGroupMemberMetadataValue) -> Duration {
    Duration::from_millis(u64::try_from(member.rebalance_timeout_ms).unwrap_or(0))
}

/// What the log is to say of what a member is to have.
pub(super) fn target_to_record(target: &Assignment) -> ConsumerGroupTargetAssignmentMemberValue {
    let topics = target.iter().map(|(id, partitions)| {
        consumer_group_target_assignment_member_value::TopicPartition {
            topic_id: *id,
            partitions: partitions.iter().copied().collect(),
        }
    });
    ConsumerGroupTargetAssignmentMemberValue { topic_partitions: topics.collect() }
}

fn target_from_record(record: &ConsumerGroupTargetAssignmentMemberValue) -> Assignment {
    let mut target = Assignment::new();
    for topic in record.topic_partitions.iter().filter(|topic| !topic.partitions.is_empty()) {
        target.entry(topic.topic_id).or_default().extend(&topic.partitions);
    }
    target
}

fn set<T>(parts: &mut BTreeMap<MemberId, Arc<T>>, member: &str, value: Option<Arc<T>>) {
    match value {
        Some(value) => _ = parts.insert(member.into(), value),
        None => _ = parts.remove(member),
    }
}
