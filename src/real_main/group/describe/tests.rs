use expect_test::{Expect, expect};
use ottla::client::{GroupType, NodeDescription, OffsetAndMetadata};
use ottla::types::{BrokerId, LeaderEpoch, MemberEpoch, PartitionIndex};

use super::*;

fn at(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition { topic: topic.into(), partition: PartitionIndex::new(partition) }
}

fn member(id: &str, assignment: &[TopicPartition]) -> GroupMember {
    GroupMember {
        member_id: id.to_owned(),
        instance_id: None,
        client_id: "app".to_owned(),
        host: "/127.0.0.1".to_owned(),
        assignment: assignment.to_vec(),
        target_assignment: None,
        epoch: None,
        is_upgraded: None,
    }
}

fn group(members: Vec<GroupMember>) -> GroupDescription {
    GroupDescription {
        group: "billing".to_owned(),
        group_type: GroupType::Classic,
        state: GroupState::Stable,
        protocol_type: "consumer".to_owned(),
        assignor: "range".to_owned(),
        coordinator: NodeDescription {
            id: BrokerId::new(2),
            host: "localhost".to_owned(),
            port: 9094,
            rack: None,
        },
        epoch: None,
        assignment_epoch: None,
        members,
    }
}

/// A group of the consumer protocol on its way from the classic one, in a state that is not known here.
fn migrating() -> GroupDescription {
    let moved = GroupMember {
        instance_id: Some("left".to_owned()),
        target_assignment: Some(vec![at("orders", 0), at("orders", 1), at("billing", 7)]),
        epoch: Some(MemberEpoch::new(6)),
        is_upgraded: Some(true),
        ..member("m-1", &[at("orders", 0), at("orders", 1)])
    };
    let old = GroupMember { is_upgraded: Some(false), ..member("m-2", &[]) };
    GroupDescription {
        group_type: GroupType::Consumer,
        state: GroupState::from_name("NotReady"),
        assignor: String::new(),
        epoch: Some(MemberEpoch::new(8)),
        assignment_epoch: Some(MemberEpoch::new(7)),
        ..group(vec![moved, old])
    }
}

fn committed(all: &[(TopicPartition, i64, Option<i32>)]) -> Offsets {
    let one = |(at, offset, epoch): &(TopicPartition, i64, Option<i32>)| {
        let leader_epoch = epoch.map(LeaderEpoch::new);
        (
            at.clone(),
            OffsetAndMetadata { leader_epoch, ..OffsetAndMetadata::new(Offset::new(*offset)) },
        )
    };
    all.iter().map(one).collect()
}

#[track_caller]
fn check(text: &str, expected: Expect) {
    expected.assert_eq(text);
}

#[test]
fn offsets_are_listed_by_member_and_then_what_nobody_reads() {
    let described = group(vec![
        member("m-1", &[at("orders", 2)]),
        member("m-2", &[at("orders", 0), at("orders", 1)]),
        member("m-3", &[]),
    ]);
    let committed = committed(&[
        (at("gone", 0), 4, None),
        (at("orders", 0), 90, Some(3)),
        (at("orders", 2), 12, None),
    ]);
    let ends = [("orders", 0, 100), ("orders", 1, 50), ("orders", 2, 10)];
    let ends: Ends = ends.map(|(topic, index, end)| (at(topic, index), Offset::new(end))).into();
    let rows = rows(&described, &committed, &ends);
    check(
        &offsets_text("billing", &rows, false),
        expect![[r#"
        GROUP           TOPIC           PARTITION  CURRENT-OFFSET  LOG-END-OFFSET  LAG             CONSUMER-ID     HOST            CLIENT-ID
        billing         orders          0          90              100             10              m-2             /127.0.0.1      app
        billing         orders          1          -               50              -               m-2             /127.0.0.1      app
        billing         orders          2          12              10              -2              m-1             /127.0.0.1      app
        billing         gone            0          4               -               -               -               -               -
    "#]],
    );
    let verbose = offsets_text("billing", &rows[..1], true);
    check(
        &verbose,
        expect![[r#"
        GROUP           TOPIC           PARTITION  LEADER-EPOCH    CURRENT-OFFSET  LOG-END-OFFSET  LAG             CONSUMER-ID     HOST            CLIENT-ID
        billing         orders          0          3               90              100             10              m-2             /127.0.0.1      app
    "#]],
    );
    let value = offsets_json(&described, &rows);
    assert_eq!(value["schema"], "group.describe/1");
    assert_eq!(value["state"], "Stable");
    let last = &value["partitions"][3];
    assert_eq!(last["topic"], "gone");
    assert_eq!(last["current_offset"], 4);
    assert!(last["lag"].is_null() && last["consumer_id"].is_null(), "{last}");
    assert_eq!(offsets_text("billing", &[], false), "");
}

#[test]
fn members_are_listed_with_what_they_read_where_it_is_asked_for() {
    let described =
        group(vec![member("m-1", &[at("orders", 0), at("payments", 3)]), member("m-2", &[])]);
    check(
        &members_text(&described, false),
        expect![[r#"
        GROUP           CONSUMER-ID     HOST            CLIENT-ID       #PARTITIONS
        billing         m-1             /127.0.0.1      app             2
        billing         m-2             /127.0.0.1      app             0
    "#]],
    );
    check(
        &members_text(&described, true),
        expect![[r#"
            GROUP           CONSUMER-ID     HOST            CLIENT-ID       #PARTITIONS     CURRENT-EPOCH   CURRENT-ASSIGNMENT   TARGET-EPOCH    TARGET-ASSIGNMENT
            billing         m-1             /127.0.0.1      app             2               -               orders:0;payments:3  -               -
            billing         m-2             /127.0.0.1      app             0               -               -                    -               -
        "#]],
    );
    assert_eq!(members_text(&group(Vec::new()), true), "");
    let value = members_json(&described);
    assert_eq!(value["schema"], "group.members/1");
    assert_eq!(value["members"][0]["assignment"][1]["partition"], 3);
    assert!(value["members"][0]["target_assignment"].is_null(), "{value}");
}

#[test]
fn a_migrating_group_shows_epochs_static_names_and_who_has_moved() {
    check(
        &members_text(&migrating(), true),
        expect![[r#"
            GROUP           CONSUMER-ID     GROUP-INSTANCE-ID HOST            CLIENT-ID       #PARTITIONS     CURRENT-EPOCH   CURRENT-ASSIGNMENT   TARGET-EPOCH    TARGET-ASSIGNMENT    UPGRADED
            billing         m-1             left              /127.0.0.1      app             2               6               orders:0,1           7               billing:7;orders:0,1 true
            billing         m-2                               /127.0.0.1      app             0               -               -                    7               -                    false
        "#]],
    );
    check(
        &state_text(&migrating(), true),
        expect![[r#"
            GROUP           COORDINATOR (ID)          ASSIGNMENT-STRATEGY  STATE                GROUP-EPOCH     TARGET-ASSIGNMENT-EPOCH   #MEMBERS
            billing         localhost:9094  (2)       -                    NotReady             8               7                         2
        "#]],
    );
    let value = state_json(&migrating());
    assert_eq!(value["state"], "NotReady");
    assert_eq!(value["group_epoch"], 8);
    assert!(value["assignor"].is_null(), "{value}");
}

#[test]
fn a_state_names_the_coordinator_and_the_assignor() {
    let described = group(vec![member("m-1", &[])]);
    check(
        &state_text(&described, false),
        expect![[r#"
        GROUP           COORDINATOR (ID)          ASSIGNMENT-STRATEGY  STATE                #MEMBERS
        billing         localhost:9094  (2)       range                Stable               1
    "#]],
    );
    let value = state_json(&described);
    assert_eq!(value["coordinator"]["id"], 2);
    assert_eq!(value["members"], 1);
}
