//! What the admin client asks about groups: every broker, or the one that coordinates.

use ottla::client::consumer::assignors::{Assignment, protocol::assignment_bytes};
use ottla::client::{GroupState, GroupType, OffsetAndMetadata, Offsets};
use ottla::protocol::messages::consumer_group_describe_response::{
    self, Assignment as NamedAssignment, DescribedGroup as ConsumerGroup, TopicPartitions,
};
use ottla::protocol::messages::delete_groups_response::DeletableGroupResult;
use ottla::protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use ottla::protocol::messages::list_groups_response::ListedGroup;
use ottla::protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use ottla::protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use ottla::protocol::messages::offset_fetch_response::{
    OffsetFetchResponsePartition, OffsetFetchResponseTopic,
};
use ottla::protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, DeleteGroupsRequest,
    DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse, FindCoordinatorRequest,
    FindCoordinatorResponse, ListGroupsRequest, ListGroupsResponse, OffsetCommitRequest,
    OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse, OffsetFetchRequest,
    OffsetFetchResponse,
};
use ottla::types::MemberEpoch;

use super::*;

impl Brokers {
    /// The group `g` is coordinated by these brokers, one after another, each time it is asked; by nobody where there is none.
    fn coordinated_by(self, coordinators: &[Option<usize>]) -> Self {
        let addresses = self.addresses.clone();
        let mut coordinators = coordinators.to_vec();
        self.on(move |_, request: FindCoordinatorRequest| {
            assert_eq!((request.key.as_str(), request.key_type), ("g", 0));
            let one = coordinators[0];
            if coordinators.len() > 1 {
                coordinators.remove(0);
            }
            match one {
                Some(id) => FindCoordinatorResponse {
                    node_id: Some(broker_id(id)),
                    host: addresses[id].ip().to_string(),
                    port: addresses[id].port().into(),
                    ..Default::default()
                },
                None => FindCoordinatorResponse {
                    error_code: ErrorCode::CoordinatorNotAvailable,
                    port: -1,
                    ..Default::default()
                },
            }
        })
    }
}

fn listed(group: &str, protocol_type: &str, state: &str, group_type: &str) -> ListedGroup {
    ListedGroup {
        group_id: group.to_owned(),
        protocol_type: protocol_type.to_owned(),
        group_state: state.to_owned(),
        group_type: group_type.to_owned(),
    }
}

#[test]
fn groups_are_listed_by_every_broker_again_where_one_is_still_reading() {
    let mut is_loading = true;
    let brokers = Brokers::start(2).led_by(&[0]).on(move |broker, request: ListGroupsRequest| {
        assert_eq!(request.states_filter, ["Stable"]);
        assert_eq!(request.types_filter, ["classic"]);
        if broker == 1 && std::mem::take(&mut is_loading) {
            let error_code = ErrorCode::CoordinatorLoadInProgress;
            return ListGroupsResponse { error_code, ..Default::default() };
        }
        let group = match broker {
            0 => listed("z", "consumer", "Stable", "Classic"),
            _ => listed("a", "connect", "Asleep", "kite"),
        };
        ListGroupsResponse { groups: vec![group], ..Default::default() }
    });
    let groups = run(async { brokers.admin().list_groups(&["Stable"], &["classic"]).await });
    let groups = groups.unwrap();
    assert_eq!(groups.iter().map(|one| one.group.as_str()).collect::<Vec<_>>(), ["a", "z"]);
    assert_eq!(groups[0].state, GroupState::Other("Asleep".to_owned()));
    assert_eq!(groups[0].group_type, GroupType::Other("kite".to_owned()));
    assert_eq!(
        (&groups[1].state, &groups[1].group_type),
        (&GroupState::Stable, &GroupType::Classic)
    );
    assert_eq!([groups[0].is_of_consumers(), groups[1].is_of_consumers()], [false, true]);
    assert_eq!(brokers.asked_for(ApiKey::ListGroups), [0, 1, 0, 1]);
}

#[test]
fn a_list_without_one_brokers_groups_is_refused() {
    let brokers = Brokers::start(2).led_by(&[0]).on(|broker, _: ListGroupsRequest| {
        let refused = ErrorCode::ClusterAuthorizationFailed;
        let error_code = if broker == 1 { refused } else { ErrorCode::None };
        ListGroupsResponse { error_code, ..Default::default() }
    });
    let answer = run(async { brokers.admin().list_groups(&[], &[]).await });
    assert_eq!(error_of(&answer), ErrorCode::ClusterAuthorizationFailed);
}

fn described(group: DescribedGroup) -> DescribeGroupsResponse {
    DescribeGroupsResponse { groups: vec![group], ..Default::default() }
}

/// A member that reads `t-0` and `t-2`, and one whose words nobody understands.
fn classic(protocol_type: &str) -> DescribedGroup {
    let partitions = [0, 2].map(PartitionIndex::new).into();
    let assignment = Assignment::from([("t".into(), partitions)]);
    let member = |id: &str, assignment| DescribedGroupMember {
        member_id: id.to_owned(),
        client_id: "app".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        member_assignment: assignment,
        ..Default::default()
    };
    let garbled = DescribedGroupMember {
        group_instance_id: Some("left".to_owned()),
        ..member("a", Bytes::from_static(&[0, 1, 0, 0]))
    };
    DescribedGroup {
        group_id: "g".to_owned(),
        group_state: "Stable".to_owned(),
        protocol_type: protocol_type.to_owned(),
        protocol_data: "range".to_owned(),
        members: vec![member("b", assignment_bytes(&assignment, 3).unwrap()), garbled],
        ..Default::default()
    }
}

#[test]
fn a_coordinator_that_moved_is_followed_and_a_classic_group_described() {
    let brokers = Brokers::start(2).coordinated_by(&[None, Some(0), Some(0), Some(1)]).on(
        |broker, request: DescribeGroupsRequest| {
            assert_eq!(request.groups, ["g"]);
            let not_here = ErrorCode::NotCoordinator;
            described(match broker {
                0 => DescribedGroup { error_code: not_here, ..Default::default() },
                _ => classic("consumer"),
            })
        },
    );
    let group = run(async { brokers.admin().describe_group("g").await }).unwrap();
    assert_eq!(brokers.asked_for(ApiKey::DescribeGroups), [0, 1]);
    assert_eq!((group.group_type, group.state), (GroupType::Classic, GroupState::Stable));
    assert_eq!(group.coordinator.id, broker_id(1));
    assert_eq!(group.coordinator.port, brokers.addresses[1].port());
    assert_eq!(group.assignor, "range");
    let [garbled, member] = &group.members[..] else { panic!("{:?}", group.members) };
    assert_eq!((garbled.member_id.as_str(), garbled.assignment.len()), ("a", 0));
    assert_eq!(garbled.instance_id.as_deref(), Some("left"));
    assert_eq!(member.assignment, [partition(0), partition(2)]);
    assert_eq!((member.client_id.as_str(), member.host.as_str()), ("app", "/127.0.0.1"));
}

#[test]
fn a_group_of_the_consumer_protocol_is_described_with_its_epochs() {
    let named = |partitions: &[i32]| NamedAssignment {
        topic_partitions: vec![TopicPartitions {
            topic_name: "t".to_owned(),
            partitions: partitions.iter().map(|one| PartitionIndex::new(*one)).collect(),
            ..Default::default()
        }],
    };
    let answer = move || ConsumerGroup {
        group_id: "g".to_owned(),
        group_state: "Reconciling".to_owned(),
        group_epoch: 9,
        assignment_epoch: 8,
        assignor_name: "uniform".to_owned(),
        members: vec![consumer_group_describe_response::Member {
            member_id: "m".to_owned(),
            member_epoch: 7,
            assignment: named(&[3]),
            target_assignment: named(&[3, 1]),
            member_type: 1,
            ..Default::default()
        }],
        ..Default::default()
    };
    let brokers = Brokers::start(1)
        .coordinated_by(&[Some(0)])
        .on(move |_, request: ConsumerGroupDescribeRequest| {
            assert_eq!(request.group_ids, ["g"]);
            ConsumerGroupDescribeResponse { groups: vec![answer()], ..Default::default() }
        })
        .on(|_, _: DescribeGroupsRequest| panic!("asked as a classic group"));
    let group = run(async { brokers.admin().describe_group("g").await }).unwrap();
    assert_eq!((group.group_type, group.state), (GroupType::Consumer, GroupState::Reconciling));
    let epochs = (group.epoch, group.assignment_epoch, group.members[0].epoch);
    let expected = [9, 8, 7].map(|epoch| Some(MemberEpoch::new(epoch)));
    assert_eq!([epochs.0, epochs.1, epochs.2], expected);
    assert_eq!(group.members[0].assignment, [partition(3)]);
    let target = group.members[0].target_assignment.as_deref();
    assert_eq!(target, Some(&[partition(1), partition(3)][..]));
    assert_eq!(group.members[0].is_upgraded, Some(true));
}

#[test]
fn what_is_no_group_of_the_consumer_protocol_is_asked_for_as_a_classic_one() {
    let answer = || ConsumerGroup {
        error_code: ErrorCode::GroupIdNotFound,
        group_id: "g".to_owned(),
        ..Default::default()
    };
    let mut is_dead = false;
    let brokers = Brokers::start(1)
        .coordinated_by(&[Some(0)])
        .on(move |_, _: ConsumerGroupDescribeRequest| ConsumerGroupDescribeResponse {
            groups: vec![answer()],
            ..Default::default()
        })
        .on(move |_, _: DescribeGroupsRequest| {
            let group_state = if is_dead { "Dead" } else { "Empty" }.to_owned();
            is_dead = true;
            described(DescribedGroup { group_state, ..classic("connect") })
        });
    run(async {
        let admin = brokers.admin();
        let group = admin.describe_group("g").await.unwrap();
        assert_eq!((group.state.clone(), group.is_active()), (GroupState::Empty, false));
        // What members of other programs are given only they can read.
        assert!(group.members.iter().all(|member| member.assignment.is_empty()));
        assert_eq!(error_of(&admin.describe_group("g").await), ErrorCode::GroupIdNotFound);
    });
}

#[test]
fn offsets_are_set_as_by_a_consumer_without_a_group_and_answered_one_by_one() {
    let mut is_loading = true;
    let brokers =
        Brokers::start(1).coordinated_by(&[Some(0)]).on(move |_, request: OffsetCommitRequest| {
            assert_eq!(
                (request.generation_id_or_member_epoch, request.member_id.as_str()),
                (-1, "")
            );
            let topic = &request.topics[0];
            assert_eq!(topic.partitions[0].committed_metadata.as_deref(), Some("note"));
            assert_eq!(topic.partitions[1].committed_offset, Some(Offset::new(9)));
            let is_loading = std::mem::take(&mut is_loading);
            let partition =
                |one: &messages::offset_commit_request::OffsetCommitRequestPartition| {
                    let error_code = match one.partition_index.value() {
                        _ if is_loading => ErrorCode::CoordinatorLoadInProgress,
                        0 => ErrorCode::None,
                        _ => ErrorCode::UnknownTopicOrPartition,
                    };
                    OffsetCommitResponsePartition {
                        partition_index: one.partition_index,
                        error_code,
                    }
                };
            let partitions = topic.partitions.iter().map(partition).collect();
            let topic = OffsetCommitResponseTopic {
                name: topic.name.clone(),
                partitions,
                ..Default::default()
            };
            OffsetCommitResponse { topics: vec![topic], ..Default::default() }
        });
    let first = OffsetAndMetadata {
        metadata: "note".to_owned(),
        leader_epoch: Some(LeaderEpoch::new(2)),
        ..OffsetAndMetadata::new(Offset::new(4))
    };
    let second = OffsetAndMetadata::new(Offset::new(9));
    let offsets = Offsets::from([(partition(0), first), (partition(5), second)]);
    let answers = run(async { brokers.admin().alter_group_offsets("g", &offsets).await }).unwrap();
    assert_eq!(answers[0], (partition(0), Ok(())));
    assert_eq!(error_of(&answers[1].1), ErrorCode::UnknownTopicOrPartition);
    assert_eq!(brokers.asked_for(ApiKey::OffsetCommit), [0, 0], "asked again once it has read");
}

#[test]
fn committed_offsets_are_read_once_they_are_stable_and_absent_ones_left_out() {
    let mut is_stable = false;
    let brokers =
        Brokers::start(1).coordinated_by(&[Some(0)]).on(move |_, request: OffsetFetchRequest| {
            assert_eq!((request.group_id.as_str(), &request.topics), ("g", &None));
            assert!(request.require_stable);
            let unstable = ErrorCode::UnstableOffsetCommit;
            let was_stable = std::mem::replace(&mut is_stable, true);
            let partition = |index, offset| OffsetFetchResponsePartition {
                partition_index: PartitionIndex::new(index),
                committed_offset: Offset::from_wire(offset),
                metadata: Some("m".to_owned()),
                error_code: if was_stable { ErrorCode::None } else { unstable },
                ..Default::default()
            };
            let partitions = vec![partition(0, 7), partition(1, -1)];
            let topic = OffsetFetchResponseTopic { name: "t".to_owned(), partitions };
            OffsetFetchResponse { topics: vec![topic], ..Default::default() }
        });
    let offsets = run(async { brokers.admin().list_group_offsets("g").await }).unwrap();
    let known =
        OffsetAndMetadata { metadata: "m".to_owned(), ..OffsetAndMetadata::new(Offset::new(7)) };
    assert_eq!(offsets, Offsets::from([(partition(0), known)]));
    assert_eq!(brokers.asked_for(ApiKey::OffsetFetch), [0, 0]);
}

#[test]
fn groups_and_offsets_are_deleted_or_it_is_said_why_not() {
    let brokers = Brokers::start(1)
        .coordinated_by(&[Some(0)])
        .on(|_, request: DeleteGroupsRequest| {
            assert_eq!(request.groups_names, ["g"]);
            let error_code = ErrorCode::NonEmptyGroup;
            let result = DeletableGroupResult { group_id: "g".to_owned(), error_code };
            DeleteGroupsResponse { results: vec![result], ..Default::default() }
        })
        .on(|_, request: OffsetDeleteRequest| {
            if request.topics.is_empty() {
                let error_code = ErrorCode::GroupIdNotFound;
                return OffsetDeleteResponse { error_code, ..Default::default() };
            }
            let partition = |index, error_code| OffsetDeleteResponsePartition {
                partition_index: PartitionIndex::new(index),
                error_code,
            };
            let read = ErrorCode::GroupSubscribedToTopic;
            // In another order than they were asked for.
            let partitions = vec![partition(0, ErrorCode::None), partition(1, read)];
            let topic = OffsetDeleteResponseTopic { name: "t".to_owned(), partitions };
            OffsetDeleteResponse { topics: vec![topic], ..Default::default() }
        });
    run(async {
        let admin = brokers.admin();
        assert_eq!(error_of(&admin.delete_group("g").await), ErrorCode::NonEmptyGroup);
        let answers = admin.delete_group_offsets("g", &[partition(1), partition(0)]).await;
        let answers = answers.unwrap();
        assert_eq!(error_of(&answers[0]), ErrorCode::GroupSubscribedToTopic);
        assert_eq!(answers[1], Ok(()));
        let outer = admin.delete_group_offsets("g", &[]).await;
        assert_eq!(error_of(&outer), ErrorCode::GroupIdNotFound);
    });
}
