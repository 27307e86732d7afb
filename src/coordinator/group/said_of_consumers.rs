//! What the ledger says of groups of the consumer protocol: what their records say, and then how the group stands. Nothing is decided by it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::consumer_group::{ConsumerGroup, Current, Owned, rebalance_timeout};
use super::request::{GroupState, TopicTable};
use super::{GroupCoordinator, Outcome};
use crate::protocol::coordinator_records::CoordinatorRecord;
use crate::types::{ConsumerPhase, GenerationId, GroupObservation, ShortName, TopicIdPartition};

impl GroupCoordinator {
    /// Says what the records of a decision say of consumer groups.
    pub(super) fn say_consumers(&self, out: &mut Outcome) {
        let mut groups: BTreeSet<String> = BTreeSet::new();
        let mut said = Vec::new();
        for record in &out.records {
            groups.extend(self.say_record(record, &mut said).map(str::to_owned));
        }
        out.said.append(&mut said);
        for id in groups {
            let mut group = self.durable.consumer_groups.get(id.as_str()).cloned();
            let of_group = |record: &&CoordinatorRecord| consumer_group_of(record) == Some(&*id);
            for record in out.records.iter().filter(of_group) {
                group.get_or_insert_default().replay(record);
            }
            // A group that is gone is told as forgotten.
            let Some(group) = group.filter(|group| !group.is_gone()) else { continue };
            let is_target = |record: &CoordinatorRecord| {
                matches!(
                    record,
                    CoordinatorRecord::ConsumerGroupTargetAssignmentMetadata(_, Some(_))
                )
            };
            if out.records.iter().filter(of_group).any(is_target) {
                self.say_read(&id, &group, out);
            }
            self.say_stands(&id, &group, out);
        }
    }

    /// Returns the consumer group that a record is of.
    fn say_record<'a>(
        &self,
        record: &'a CoordinatorRecord,
        said: &mut Vec<GroupObservation>,
    ) -> Option<&'a str> {
        let id = consumer_group_of(record)?;
        let group = ShortName::of(id);
        match record {
            CoordinatorRecord::ConsumerGroupMemberMetadata(key, value) => {
                let member = ShortName::of(&key.member_id);
                said.push(match value {
                    None => GroupObservation::ConsumerGone { group, member },
                    Some(value) => {
                        let instance = value.instance_id.as_deref().map(ShortName::of);
                        GroupObservation::ConsumerCame { group, member, instance }
                    }
                });
            }
            CoordinatorRecord::ConsumerGroupTargetAssignmentMember(key, Some(value)) => {
                let member = ShortName::of(&key.member_id);
                said.push(GroupObservation::TargetBegan { group, member });
                for topic in &value.topic_partitions {
                    for partition in &topic.partitions {
                        let topic_id = topic.topic_id;
                        let partition = TopicIdPartition { topic_id, partition: *partition };
                        said.push(GroupObservation::PartitionTargeted { group, member, partition });
                    }
                }
            }
            CoordinatorRecord::ConsumerGroupCurrentMemberAssignment(key, Some(value)) => {
                say_current(
                    group,
                    ShortName::of(&key.member_id),
                    &Current::from_record(value),
                    said,
                );
            }
            // Whoever is gone has nothing any more; epochs are said last.
            CoordinatorRecord::ConsumerGroupTargetAssignmentMember(_, None)
            | CoordinatorRecord::ConsumerGroupCurrentMemberAssignment(_, None)
            | CoordinatorRecord::ConsumerGroupMetadata(..)
            | CoordinatorRecord::ConsumerGroupPartitionMetadata(..)
            | CoordinatorRecord::ConsumerGroupTargetAssignmentMetadata(..)
            | CoordinatorRecord::ConsumerGroupRegularExpression(..)
            | CoordinatorRecord::OffsetCommit(..)
            | CoordinatorRecord::GroupMetadata(..) => {}
        }
        Some(id)
    }

    /// Says all of a consumer group that the log was read to hold.
    pub(super) fn say_loaded_consumers(&self, id: &str, group: &ConsumerGroup, out: &mut Outcome) {
        let name = ShortName::of(id);
        for (member, metadata) in &group.members {
            let (member_name, instance) = (ShortName::of(member), metadata.instance_id.as_deref());
            let (group_name, instance) = (name, instance.map(ShortName::of));
            out.say(GroupObservation::ConsumerCame {
                group: group_name,
                member: member_name,
                instance,
            });
            out.say(GroupObservation::TargetBegan { group: name, member: member_name });
            for (topic_id, partitions) in group.target_of(member).iter() {
                for partition in partitions {
                    let partition = TopicIdPartition { topic_id: *topic_id, partition: *partition };
                    let (group, member) = (name, member_name);
                    out.say(GroupObservation::PartitionTargeted { group, member, partition });
                }
            }
            say_current(name, member_name, &group.current_of(member), &mut out.said);
        }
        self.say_stands(id, group, out);
    }

    /// What its members read: the coordinator has just said who is to have what.
    fn say_read(&self, id: &str, group: &ConsumerGroup, out: &mut Outcome) {
        let name = ShortName::of(id);
        out.say(GroupObservation::TargetsSaid { group: name });
        for topic_id in topics_read(group, &self.topics) {
            out.say(GroupObservation::TargetsOf { group: name, topic_id });
        }
    }

    fn say_stands(&self, id: &str, group: &ConsumerGroup, out: &mut Outcome) {
        let name = ShortName::of(id);
        let timeouts = group.members.values().map(|member| rebalance_timeout(member));
        let longest = timeouts.max().unwrap_or(Duration::ZERO);
        out.say(GroupObservation::GroupStands {
            group: name,
            phase: phase_of(group.state()),
            epoch: generation(group.group_epoch()),
            target_epoch: generation(group.assignment_epoch()),
            // Who does not give up in time is thrown out, and who is silent; the next heartbeat of each brings it further.
            limit: longest + 2 * self.session_timeout_of(id),
        });
    }
}

fn consumer_group_of(record: &CoordinatorRecord) -> Option<&str> {
    match record {
        CoordinatorRecord::ConsumerGroupMetadata(key, _) => Some(&key.group_id),
        CoordinatorRecord::ConsumerGroupPartitionMetadata(key, _) => Some(&key.group_id),
        CoordinatorRecord::ConsumerGroupMemberMetadata(key, _) => Some(&key.group_id),
        CoordinatorRecord::ConsumerGroupTargetAssignmentMetadata(key, _) => Some(&key.group_id),
        CoordinatorRecord::ConsumerGroupTargetAssignmentMember(key, _) => Some(&key.group_id),
        CoordinatorRecord::ConsumerGroupCurrentMemberAssignment(key, _) => Some(&key.group_id),
        CoordinatorRecord::ConsumerGroupRegularExpression(key, _) => Some(&key.group_id),
        CoordinatorRecord::OffsetCommit(..) | CoordinatorRecord::GroupMetadata(..) => None,
    }
}

fn topics_read(group: &ConsumerGroup, topics: &Arc<TopicTable>) -> BTreeSet<crate::types::TopicId> {
    group.members.values().flat_map(|member| group.reads(member, topics)).collect()
}

fn say_current(
    group: ShortName,
    member: ShortName,
    current: &Current,
    said: &mut Vec<GroupObservation>,
) {
    let epoch = GenerationId::from_wire(current.epoch).filter(|epoch| *epoch != GenerationId::ZERO);
    said.push(GroupObservation::EpochReached { group, member, epoch });
    let mut say = |owned: &Owned, is_given_up: bool| {
        for (topic_id, partitions) in owned {
            for (partition, since) in partitions {
                let partition = TopicIdPartition { topic_id: *topic_id, partition: *partition };
                let since = GenerationId::from_wire(*since);
                said.push(GroupObservation::PartitionHeld {
                    group,
                    member,
                    partition,
                    since,
                    is_given_up,
                });
            }
        }
    };
    say(&current.assigned, false);
    say(&current.revoking, true);
}

fn generation(epoch: i32) -> GenerationId {
    GenerationId::from_wire(epoch).unwrap_or_default()
}

fn phase_of(state: GroupState) -> ConsumerPhase {
    match state {
        GroupState::Empty | GroupState::Dead => ConsumerPhase::Empty,
        GroupState::Assigning => ConsumerPhase::Assigning,
        GroupState::Reconciling => ConsumerPhase::Reconciling,
        GroupState::Stable => ConsumerPhase::Stable,
        GroupState::PreparingRebalance | GroupState::CompletingRebalance => {
            unreachable!("of the classic protocol")
        }
    }
}
