//! What a coordinator begins with, beside what its log says: G8.

use std::time::Duration;

use ottla::protocol::compression::Compression;
use ottla::protocol::coordinator_records::{
    ConsumerGroupCurrentMemberAssignmentKey, ConsumerGroupCurrentMemberAssignmentValue,
    ConsumerGroupMemberMetadataKey, ConsumerGroupMemberMetadataValue, ConsumerGroupMetadataKey,
    ConsumerGroupMetadataValue, ConsumerGroupRegularExpressionKey,
    ConsumerGroupRegularExpressionValue, ConsumerGroupTargetAssignmentMemberKey,
    ConsumerGroupTargetAssignmentMemberValue, ConsumerGroupTargetAssignmentMetadataKey,
    ConsumerGroupTargetAssignmentMetadataValue, CoordinatorRecord, GroupMetadataKey,
    GroupMetadataValue, OffsetCommitKey, OffsetCommitValue,
    consumer_group_current_member_assignment_value as current_value,
    consumer_group_target_assignment_member_value as target_value,
    group_metadata_value::MemberMetadata,
};
use ottla::protocol::record_batch::BatchBuilder;
use ottla::types::{
    BrokerId, ConsumerPhase, GroupObservation as G, GroupProtocol, PartitionEpoch, Timestamp,
};

use super::cluster::NONE;
use super::disks::{Files, LOG};
use super::groups::{audit, coordinator, generation, name, orders};
use super::*;

/// What is told where a coordinator's log has these records, and it says that it read that, up to `end`.
fn fired(log: &[CoordinatorRecord], said: &[G], end: usize) -> Vec<&'static str> {
    let mut builder = BatchBuilder::new(Compression::NONE);
    for record in log {
        let (key, value) = (record.key_bytes().unwrap(), record.value_bytes().unwrap());
        builder.append(Timestamp::from_millis(7), Some(&key), value.as_deref(), &[]);
    }
    let mut files = Files::with_partition();
    files.put(LOG, builder.build().to_vec());
    let end_offset = Offset::new(i64::try_from(end).unwrap());
    let leads = Observation::BecameLeader {
        partition: partition(),
        leader_epoch: LeaderEpoch::new(0),
        partition_epoch: PartitionEpoch::new(0),
        start_offset: end_offset,
        isr: [BrokerId::new(1)].into_iter().collect(),
        min_isr: 1,
    };
    let loaded = G::Loaded { partition: partition(), end_offset };
    let said = said.iter().copied().chain([loaded]);
    let said = said.map(|what| Observation::Group { term: coordinator(0), what });
    let all = std::iter::once(leads).chain(said).map(Event::Observed);
    let events: Vec<Event> = std::iter::once(Event::Started).chain(all).collect();
    files.fired(&events)
}

fn offset(offset: i64) -> CoordinatorRecord {
    let key = OffsetCommitKey {
        group: "audit".to_owned(),
        topic: "orders".to_owned(),
        partition: PartitionIndex::new(0),
    };
    let value = OffsetCommitValue {
        offset: Some(Offset::new(offset)),
        leader_epoch: None,
        metadata: "by hand".to_owned(),
        commit_timestamp: Timestamp::from_millis(7),
        expire_timestamp: None,
        topic_id: orders(0).topic_id,
    };
    CoordinatorRecord::OffsetCommit(key, Some(value))
}

#[test]
fn g8_sees_offsets_and_classic_groups_that_are_not_the_logs() {
    let group = GroupMetadataKey { group: "audit".to_owned() };
    let member = MemberMetadata {
        member_id: "a".to_owned(),
        group_instance_id: Some("one".to_owned()),
        subscription: vec![1; 5].into(),
        assignment: b"hello".to_vec().into(),
        ..MemberMetadata::default()
    };
    let value = GroupMetadataValue {
        protocol_type: "consumer".to_owned(),
        generation: 3,
        protocol: Some("range".to_owned()),
        members: vec![member],
        ..GroupMetadataValue::default()
    };
    let log = [offset(4), CoordinatorRecord::GroupMetadata(group, Some(value)), offset(6)];
    // FNV-1a of "hello", by its authors' table of test vectors.
    let given = |of: i32, member: &str, hash: u32| {
        let (group, protocol, member) = (audit(), GroupProtocol::Classic, name(member));
        let generation = generation(of);
        [
            G::GroupLoaded { group, protocol, generation, members: 1 },
            G::MemberCame { group, member, instance: Some(name("one")) },
            G::AssignmentGiven { group, member, generation, hash },
        ]
    };
    let read = |offset: i64| {
        let offset = Offset::new(offset);
        [G::OffsetLoaded { group: audit(), partition: orders(0), offset }]
    };
    let right = given(3, "a", 0x4f9f_2cab);
    assert_eq!(fired(&log, &[&right[..], &read(6)].concat(), 3), NONE);
    assert_eq!(fired(&log, &[&right[..], &read(4)].concat(), 3), ["G8"]);
    assert_eq!(fired(&log, &right, 3), ["G8"]);
    assert_eq!(fired(&log, &read(6), 3), ["G8"]);
    for wrong in [given(2, "a", 0x4f9f_2cab), given(3, "a", 7), given(3, "b", 0x4f9f_2cab)] {
        assert_eq!(fired(&log, &[&wrong[..], &read(6)].concat(), 3), ["G8"]);
    }
    // The files do not reach so far yet: nothing can be said.
    assert_eq!(fired(&log, &[], 4), NONE);
}

const GROUP: &str = "audit";

/// The log of a group in epoch 4, whose members are `a`, which gives partition 1 up, and `b`, a static one, which waits for it.
fn log_of_consumers() -> Vec<CoordinatorRecord> {
    use CoordinatorRecord as R;
    let group_id = || GROUP.to_owned();
    let member = |id: &str, instance: Option<&str>| {
        let key = ConsumerGroupMemberMetadataKey { group_id: group_id(), member_id: id.to_owned() };
        let instance_id = instance.map(str::to_owned);
        let value = ConsumerGroupMemberMetadataValue { instance_id, ..Default::default() };
        R::ConsumerGroupMemberMetadata(key, Some(value))
    };
    let target = |id: &str, index: i32| {
        let key = ConsumerGroupTargetAssignmentMemberKey {
            group_id: group_id(),
            member_id: id.to_owned(),
        };
        let partitions = vec![PartitionIndex::new(index)];
        let topic = target_value::TopicPartition { topic_id: orders(0).topic_id, partitions };
        let value = ConsumerGroupTargetAssignmentMemberValue { topic_partitions: vec![topic] };
        R::ConsumerGroupTargetAssignmentMember(key, Some(value))
    };
    let current = |id: &str, epoch: i32, keeps: Option<i32>, gives_up: Option<i32>| {
        let key = ConsumerGroupCurrentMemberAssignmentKey {
            group_id: group_id(),
            member_id: id.to_owned(),
        };
        let topics = |index: Option<i32>, since: Option<i32>| {
            let topic = |index| current_value::TopicPartitions {
                topic_id: orders(0).topic_id,
                partitions: vec![PartitionIndex::new(index)],
                assignment_epochs: since.map(|since| vec![since]),
            };
            index.map(topic).into_iter().collect()
        };
        let value = ConsumerGroupCurrentMemberAssignmentValue {
            member_epoch: epoch,
            previous_member_epoch: epoch - 1,
            assigned_partitions: topics(keeps, Some(2)),
            partitions_pending_revocation: topics(gives_up, None),
            ..Default::default()
        };
        R::ConsumerGroupCurrentMemberAssignment(key, Some(value))
    };
    let group = ConsumerGroupMetadataKey { group_id: group_id() };
    let of_group = ConsumerGroupMetadataValue { epoch: 4, metadata_hash: 77 };
    let targets = ConsumerGroupTargetAssignmentMetadataKey { group_id: group_id() };
    let of_targets =
        ConsumerGroupTargetAssignmentMetadataValue { assignment_epoch: 4, assignment_timestamp: 5 };
    vec![
        member("gone", None),
        member("a", None),
        member("b", Some("two")),
        R::ConsumerGroupMetadata(group, Some(of_group)),
        target("gone", 0),
        target("a", 0),
        target("b", 1),
        R::ConsumerGroupTargetAssignmentMetadata(targets, Some(of_targets)),
        current("gone", 3, Some(0), None),
        current("a", 3, Some(0), Some(1)),
        current("b", 4, None, None),
        R::ConsumerGroupMemberMetadata(
            ConsumerGroupMemberMetadataKey { group_id: group_id(), member_id: "gone".to_owned() },
            None,
        ),
    ]
}

/// What a coordinator says that has read it; with another word in the place of one.
fn said_of_consumers(at: usize, other: Option<G>) -> Vec<G> {
    let (group, a, b) = (audit(), name("a"), name("b"));
    let held = |index: i32, since: i32, is_given_up: bool| {
        let (partition, since) = (orders(index), Some(generation(since)));
        G::PartitionHeld { group, member: a, partition, since, is_given_up }
    };
    let mut said = vec![
        G::GroupLoaded {
            group,
            protocol: GroupProtocol::Consumer,
            generation: generation(4),
            members: 2,
        },
        G::ConsumerCame { group, member: a, instance: None },
        G::TargetBegan { group, member: a },
        G::PartitionTargeted { group, member: a, partition: orders(0) },
        G::EpochReached { group, member: a, epoch: Some(generation(3)) },
        held(0, 2, false),
        held(1, 3, true),
        G::ConsumerCame { group, member: b, instance: Some(name("two")) },
        G::TargetBegan { group, member: b },
        G::PartitionTargeted { group, member: b, partition: orders(1) },
        G::EpochReached { group, member: b, epoch: Some(generation(4)) },
        G::GroupStands {
            group,
            phase: ConsumerPhase::Reconciling,
            epoch: generation(4),
            target_epoch: generation(4),
            limit: Duration::from_secs(60),
        },
    ];
    match other {
        Some(other) => said[at] = other,
        None => _ = said.remove(at),
    }
    said
}

#[test]
fn g8_sees_consumer_groups_that_are_not_the_logs() {
    let log = log_of_consumers();
    // Others may see it too.
    let is_seen = |said: &[G]| fired(&log, said, log.len()).contains(&"G8");
    let with = |at: usize, other: G| is_seen(&said_of_consumers(at, Some(other)));
    let without = |at: usize| is_seen(&said_of_consumers(at, None));
    let (group, a, b) = (audit(), name("a"), name("b"));
    let first = said_of_consumers(1, None)[0];
    let said = said_of_consumers(0, Some(first));
    assert_eq!(fired(&log, &said, log.len()), NONE);
    let stands = |of: i32, target: i32| G::GroupStands {
        group,
        phase: ConsumerPhase::Reconciling,
        epoch: generation(of),
        target_epoch: generation(target),
        limit: Duration::from_secs(60),
    };
    assert!(with(11, stands(5, 4)));
    assert!(with(11, stands(4, 3)));
    assert!(with(1, G::ConsumerCame { group, member: a, instance: Some(name("two")) }));
    assert!(without(1));
    assert!(without(3));
    assert!(with(3, G::PartitionTargeted { group, member: a, partition: orders(1) }));
    assert!(with(4, G::EpochReached { group, member: a, epoch: None }));
    assert!(without(5));
    for (since, is_given_up) in [(2, true), (3, false)] {
        let (partition, since) = (orders(1), Some(generation(since)));
        let held = G::PartitionHeld { group, member: a, partition, since, is_given_up };
        assert!(with(6, held));
    }
    assert!(with(7, G::ConsumerCame { group, member: b, instance: None }));
    assert!(is_seen(&[]));
    // Somebody who has gone is nobody, whatever is left of him.
    let gone = G::ConsumerCame { group, member: name("gone"), instance: None };
    assert!(is_seen(&[&said[..], &[gone]].concat()));
}

#[test]
fn g8_sees_a_group_of_which_only_an_expression_is_left() {
    let key = ConsumerGroupRegularExpressionKey {
        group_id: GROUP.to_owned(),
        regular_expression: "a.*".to_owned(),
    };
    let value = ConsumerGroupRegularExpressionValue::default();
    let there = CoordinatorRecord::ConsumerGroupRegularExpression(key.clone(), Some(value));
    let gone = CoordinatorRecord::ConsumerGroupRegularExpression(key, None);
    let (group, protocol) = (audit(), GroupProtocol::Consumer);
    let said = [G::GroupLoaded { group, protocol, generation: generation(0), members: 0 }];
    let (only, both) = ([there.clone()], [there, gone]);
    assert_eq!(fired(&only, &said, 1), NONE);
    assert_eq!(fired(&only, &[], 1), ["G8"]);
    assert_eq!(fired(&both, &[], 2), NONE);
    assert_eq!(fired(&both, &said, 2), ["G8"]);
}
