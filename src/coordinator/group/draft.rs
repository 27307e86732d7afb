//! A consumer group in the course of a decision: as the log has it, and the records that the decision adds, one after the other.
//!
//! Kafka: `GroupCoordinatorRecordHelpers`, `TargetAssignmentBuilder`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Outcome;
use super::assignor::{Assignment, Assignor, Subscriber};
use super::consumer_group::{ConsumerGroup, Current, target_to_record};
use super::request::{GroupId, MemberId, TopicTable};
use super::subscription::TopicPattern;
use crate::protocol::coordinator_records::{
    ConsumerGroupCurrentMemberAssignmentKey, ConsumerGroupMemberMetadataKey,
    ConsumerGroupMemberMetadataValue, ConsumerGroupMetadataKey, ConsumerGroupMetadataValue,
    ConsumerGroupPartitionMetadataKey, ConsumerGroupRegularExpressionKey,
    ConsumerGroupRegularExpressionValue, ConsumerGroupTargetAssignmentMemberKey,
    ConsumerGroupTargetAssignmentMetadataKey, ConsumerGroupTargetAssignmentMetadataValue,
    CoordinatorRecord,
};
use crate::types::{Now, Timestamp};

/// A group in the course of a decision, and the records that the decision comes to.
pub(super) struct Draft<'a> {
    id: GroupId,
    pub(super) group: ConsumerGroup,
    out: &'a mut Outcome,
}

impl<'a> Draft<'a> {
    pub(super) fn new(id: &GroupId, group: ConsumerGroup, out: &'a mut Outcome) -> Self {
        Self { id: Arc::clone(id), group, out }
    }

    fn write(&mut self, record: CoordinatorRecord) {
        self.group.replay(&record);
        self.out.records.push(record);
    }

    fn group_id(&self) -> String {
        self.id.as_ref().to_owned()
    }

    fn write_epoch(&mut self, epoch: i32, metadata_hash: i64) {
        let key = ConsumerGroupMetadataKey { group_id: self.group_id() };
        let value = ConsumerGroupMetadataValue { epoch, metadata_hash };
        self.write(CoordinatorRecord::ConsumerGroupMetadata(key, Some(value)));
    }

    pub(super) fn write_member(
        &mut self,
        member: &str,
        value: Option<ConsumerGroupMemberMetadataValue>,
    ) {
        let (group_id, member_id) = (self.group_id(), member.to_owned());
        let key = ConsumerGroupMemberMetadataKey { group_id, member_id };
        self.write(CoordinatorRecord::ConsumerGroupMemberMetadata(key, value));
    }

    pub(super) fn write_target(&mut self, member: &str, target: Option<&Assignment>) {
        let (group_id, member_id) = (self.group_id(), member.to_owned());
        let key = ConsumerGroupTargetAssignmentMemberKey { group_id, member_id };
        let value = target.map(target_to_record);
        self.write(CoordinatorRecord::ConsumerGroupTargetAssignmentMember(key, value));
    }

    pub(super) fn write_target_epoch(&mut self, assignment_epoch: i32, now: Now) {
        let assignment_timestamp = now.wall.millis();
        let value =
            ConsumerGroupTargetAssignmentMetadataValue { assignment_epoch, assignment_timestamp };
        let key = ConsumerGroupTargetAssignmentMetadataKey { group_id: self.group_id() };
        self.write(CoordinatorRecord::ConsumerGroupTargetAssignmentMetadata(key, Some(value)));
    }

    pub(super) fn write_current(&mut self, member: &str, current: Option<&Current>) {
        let (group_id, member_id) = (self.group_id(), member.to_owned());
        let key = ConsumerGroupCurrentMemberAssignmentKey { group_id, member_id };
        let value = current.map(Current::to_record);
        self.write(CoordinatorRecord::ConsumerGroupCurrentMemberAssignment(key, value));
    }

    pub(super) fn remove_member(&mut self, member: &str) {
        if self.group.current.contains_key(member) {
            self.write_current(member, None);
        }
        if self.group.target.contains_key(member) {
            self.write_target(member, None);
        }
        self.write_member(member, None);
    }

    /// What an expression stands for; `None` where nobody has it any more.
    fn write_expression(&mut self, expression: &str, topics: Option<Vec<String>>, at: Timestamp) {
        let (group_id, regular_expression) = (self.group_id(), expression.to_owned());
        let key = ConsumerGroupRegularExpressionKey { group_id, regular_expression };
        // The version of the metadata that Kafka notes; of 0 it takes any to be newer.
        let value = topics.map(|topics| ConsumerGroupRegularExpressionValue {
            topics,
            version: 0,
            timestamp: at,
        });
        self.write(CoordinatorRecord::ConsumerGroupRegularExpression(key, value));
    }

    /// Expressions that no member has any more are forgotten.
    pub(super) fn forget_unused_expressions(&mut self) {
        let used = self.group.expressions();
        let known = self.group.regular_expressions.keys();
        let unused = known.filter(|expression| !used.contains(expression.as_str()));
        for expression in unused.cloned().collect::<Vec<_>>() {
            self.write_expression(&expression, None, Timestamp::from_millis(0));
        }
    }

    /// Finds out what the members' expressions stand for: of those that are new, or, with `all`, of each.
    pub(super) fn resolve_expressions(&mut self, topics: &TopicTable, all: bool, now: Now) {
        self.forget_unused_expressions();
        let wanted = self.group.expressions().into_iter();
        for expression in wanted.map(ToOwned::to_owned).collect::<Vec<_>>() {
            let known = self.group.regular_expressions.get(&expression);
            if known.is_some() && !all {
                continue;
            }
            // Another coordinator may have understood it, and we do not: what it stood for then is kept.
            let Ok(pattern) = TopicPattern::new(&expression) else { continue };
            let fitting = pattern.topics(topics);
            if known != Some(&fitting) {
                self.write_expression(&expression, Some(fitting), now.wall);
            }
        }
    }

    /// The group is in this epoch, as its topics are.
    pub(super) fn begin_epoch(&mut self, epoch: i32, topics: &TopicTable) {
        let hash = metadata_hash(&self.group, topics);
        self.write_epoch(epoch, hash);
    }

    /// The group goes to its next epoch if somebody changed, or the topics did that it reads.
    pub(super) fn bump_epoch(&mut self, topics: &TopicTable, somebody_changed: bool) {
        let hash = metadata_hash(&self.group, topics);
        let known = self.group.epoch.map(|epoch| epoch.metadata_hash);
        if somebody_changed || known != Some(hash) {
            // After 2^31 − 1 epochs a group stays in the last one: members are then told apart no more, but none is lost.
            let epoch = self.group.group_epoch().saturating_add(1);
            self.write_epoch(epoch, hash);
        }
    }

    /// Says who is to have what in the group's epoch, if that was not said.
    pub(super) fn assign(&mut self, assignor: Assignor, topics: &TopicTable, now: Now) {
        let epoch = self.group.group_epoch();
        if epoch <= self.group.assignment_epoch() {
            return;
        }
        let target = targets(&self.group, assignor, topics);
        for (member, target) in target {
            if self.group.target.get(&member).is_none_or(|before| **before != target) {
                self.write_target(&member, Some(&target));
            }
        }
        self.write_target_epoch(epoch, now);
    }

    /// Tombstones for all that the group is, with its members.
    ///
    /// Kafka: `ConsumerGroup.createGroupTombstoneRecords`.
    pub(super) fn dissolve(&mut self) {
        for member in self.group.current.keys().cloned().collect::<Vec<_>>() {
            self.write_current(&member, None);
        }
        for member in self.group.target.keys().cloned().collect::<Vec<_>>() {
            self.write_target(&member, None);
        }
        if self.group.target_epoch.is_some() {
            let key = ConsumerGroupTargetAssignmentMetadataKey { group_id: self.group_id() };
            self.write(CoordinatorRecord::ConsumerGroupTargetAssignmentMetadata(key, None));
        }
        for member in self.group.members.keys().cloned().collect::<Vec<_>>() {
            self.write_member(&member, None);
        }
        if self.group.has_partition_metadata {
            let key = ConsumerGroupPartitionMetadataKey { group_id: self.group_id() };
            self.write(CoordinatorRecord::ConsumerGroupPartitionMetadata(key, None));
        }
        self.forget_unused_expressions();
        let key = ConsumerGroupMetadataKey { group_id: self.group_id() };
        self.write(CoordinatorRecord::ConsumerGroupMetadata(key, None));
    }
}

/// What `assignor` gives each member.
fn targets(
    group: &ConsumerGroup,
    assignor: Assignor,
    topics: &TopicTable,
) -> BTreeMap<MemberId, Assignment> {
    let members = group.members.iter().map(|(id, member)| {
        let subscriber = Subscriber {
            instance: member.instance_id.as_deref().map(Into::into),
            topics: group.reads(member, topics),
            before: group.target_of(id),
        };
        (Arc::clone(id), subscriber)
    });
    let counts = topics.values().map(|topic| (topic.id, topic.partitions)).collect();
    assignor.assign(&members.collect(), &counts)
}

/// A number that is another one where a topic that the group reads appeared, went, was made anew or has other partitions. FNV-1a:
/// equal everywhere, also after a restart.
fn metadata_hash(group: &ConsumerGroup, topics: &TopicTable) -> i64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut add = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    for name in group.names_read() {
        let Some(topic) = topics.get(name) else { continue };
        add(name.as_bytes());
        add(topic.id.as_bytes());
        add(&topic.partitions.to_be_bytes());
    }
    hash.cast_signed()
}
