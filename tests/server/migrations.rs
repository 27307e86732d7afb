//! Groups that change their protocol while they have members (KIP-848), over the wire, on one node.

use bytes::Bytes;
use ottla::protocol::coordinator_records::{
    ConsumerProtocolAssignment, assignment_bytes, consumer_protocol_assignment, read_assignment,
};
use ottla::protocol::messages::join_group_request::JoinGroupRequestProtocol;
use ottla::protocol::messages::leave_group_request::MemberIdentity;
use ottla::protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use ottla::protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, DescribeGroupsRequest,
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, ListGroupsRequest,
    Message, SyncGroupRequest, SyncGroupResponse,
};
use ottla::types::{ErrorCode, PartitionIndex};

use super::consumer_groups::{beat, commit, committed, describe, has, heard, join, refused, start};
use super::data::create;
use crate::support::Client;

/// What a consumer says that reads `orders` and has these of its partitions.
fn subscription(has: &[i32]) -> Bytes {
    let name = |out: &mut Vec<u8>| out.extend(b"\0\x06orders");
    let mut out = vec![0, 1, 0, 0, 0, 1];
    name(&mut out);
    out.extend([0xff; 4]);
    out.extend(i32::from(!has.is_empty()).to_be_bytes());
    if !has.is_empty() {
        name(&mut out);
        out.extend(i32::try_from(has.len()).unwrap().to_be_bytes());
        has.iter().for_each(|index| out.extend(index.to_be_bytes()));
    }
    out.into()
}

fn join_request(member: &str, instance: Option<&str>, has: &[i32]) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: "g".to_owned(),
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 30_000,
        member_id: member.to_owned(),
        group_instance_id: instance.map(str::to_owned),
        protocol_type: "consumer".to_owned(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".to_owned(),
            metadata: subscription(has),
        }],
        ..Default::default()
    }
}

/// A member of the classic protocol joins until it is in.
#[track_caller]
fn classic(client: &mut Client, version: i16, member: &str, has: &[i32]) -> JoinGroupResponse {
    let mut joined = client.ask(version, &join_request(member, None, has));
    if joined.error_code == ErrorCode::MemberIdRequired {
        let id = joined.member_id.clone();
        joined = client.ask(version, &join_request(&id, None, has));
    }
    assert_eq!(joined.error_code, ErrorCode::None, "{joined:?}");
    joined
}

fn sync(
    client: &mut Client,
    version: i16,
    joined: &JoinGroupResponse,
    gives: &[(&str, &[i32])],
) -> SyncGroupResponse {
    let assignments = gives.iter().map(|(member, partitions)| {
        let partitions = partitions.iter().copied().map(PartitionIndex::new).collect();
        let topic =
            consumer_protocol_assignment::TopicPartition { topic: "orders".to_owned(), partitions };
        let assignment =
            ConsumerProtocolAssignment { assigned_partitions: vec![topic], user_data: None };
        SyncGroupRequestAssignment {
            member_id: (*member).to_owned(),
            assignment: assignment_bytes(&assignment, &Bytes::new()).unwrap(),
        }
    });
    let request = SyncGroupRequest {
        group_id: "g".to_owned(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        protocol_type: (version >= 5).then(|| "consumer".to_owned()),
        protocol_name: (version >= 5).then(|| "range".to_owned()),
        assignments: assignments.collect(),
        ..Default::default()
    };
    client.ask(version, &request)
}

/// The partitions of `orders` that a member was given.
#[track_caller]
fn given(synced: &SyncGroupResponse) -> Vec<i32> {
    assert_eq!(synced.error_code, ErrorCode::None, "{synced:?}");
    let read = read_assignment(&synced.assignment).unwrap();
    let given = read.assigned_partitions.iter().flat_map(|of| &of.partitions);
    given.map(|index| index.value()).collect()
}

fn heartbeat(client: &mut Client, version: i16, joined: &JoinGroupResponse) -> ErrorCode {
    let request = HeartbeatRequest {
        group_id: "g".to_owned(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        group_instance_id: None,
    };
    client.ask(version, &request).error_code
}

fn leave(client: &mut Client, version: i16, member: &str) -> ErrorCode {
    let one = MemberIdentity { member_id: member.to_owned(), ..Default::default() };
    let request = LeaveGroupRequest {
        group_id: "g".to_owned(),
        member_id: if version < 3 { member.to_owned() } else { String::new() },
        members: if version < 3 { Vec::new() } else { vec![one] },
    };
    let left = client.ask(version, &request);
    if version < 3 { left.error_code } else { left.members[0].error_code }
}

/// The type and state in which `g` is listed.
fn listed(client: &mut Client) -> (String, String) {
    let mut groups = client.ask(5, &ListGroupsRequest::default()).groups;
    let group = groups.remove(0);
    assert_eq!((group.group_id.as_str(), groups.len()), ("g", 0));
    (group.group_type, group.group_state)
}

/// Each member's type, as a version tells it.
fn types(client: &mut Client, version: i16) -> Vec<i8> {
    let members = describe(client, version, &["g"]).remove(0).members;
    let mut types: Vec<i8> = members.iter().map(|member| member.member_type).collect();
    types.sort_unstable();
    types
}

#[test]
fn members_are_replaced_one_by_one_and_back_again() {
    let dir = tempfile::tempdir().unwrap();
    let (server, mut client) = start(dir.path(), &[]);
    let orders = create(&mut client, "orders", &[]);
    let joined = classic(&mut client, 9, "", &[]);
    let member = joined.member_id.clone();
    let synced = sync(&mut client, 5, &joined, &[(&member, &[0, 1])]);
    assert_eq!(given(&synced), [0, 1]);
    assert_eq!(commit(&mut client, 9, (&member, joined.generation_id), orders), ErrorCode::None);

    // Somebody comes who speaks the consumer protocol.
    assert_eq!(heard(&mut client, &join("n")), (2, Some(Vec::new())));
    assert_eq!(listed(&mut client), ("consumer".to_owned(), "Reconciling".to_owned()));
    let described = DescribeGroupsRequest { groups: vec!["g".to_owned()], ..Default::default() };
    assert_eq!(client.ask(5, &described).groups[0].group_state, "Dead");
    assert_eq!(types(&mut client, 0), [-1, -1]);
    assert_eq!(types(&mut client, 1), [0, 1]);
    for version in HeartbeatRequest::VERSIONS.iter() {
        assert_eq!(heartbeat(&mut client, version, &joined), ErrorCode::RebalanceInProgress);
    }
    for version in SyncGroupRequest::VERSIONS.iter() {
        let refused = sync(&mut client, version, &joined, &[]);
        assert_eq!(refused.error_code, ErrorCode::RebalanceInProgress, "version {version}");
    }
    let rejoined = classic(&mut client, 9, &member, &[0, 1]);
    assert_eq!((rejoined.generation_id, rejoined.leader.as_str()), (1, ""), "it gives up first");
    assert_eq!(rejoined.protocol_name.as_deref(), Some("range"));
    let has_yet = given(&sync(&mut client, 5, &rejoined, &[]));
    let [mine] = has_yet[..] else { panic!("{has_yet:?}") };
    let rejoined = classic(&mut client, 9, &member, &[mine]);
    assert_eq!(rejoined.generation_id, 2);
    for version in SyncGroupRequest::VERSIONS.iter() {
        assert_eq!(given(&sync(&mut client, version, &rejoined, &[])), [mine], "{version}");
    }
    for version in HeartbeatRequest::VERSIONS.iter() {
        assert_eq!(heartbeat(&mut client, version, &rejoined), ErrorCode::None);
    }
    let theirs = vec![(orders, vec![1 - mine])];
    assert_eq!(heard(&mut client, &beat("n", 2)), (2, Some(theirs)));
    assert_eq!(listed(&mut client).1, "Stable");

    // It commits as before, in its epoch; and another node process finds all of that.
    for version in 2..=10 {
        let stale = commit(&mut client, version, (&member, 1), orders);
        assert_eq!(stale, ErrorCode::IllegalGeneration, "version {version}");
        assert_eq!(commit(&mut client, version, (&member, 2), orders), ErrorCode::None);
    }
    let as_member = committed(&mut client, 9, Some((&member, 1)), orders);
    assert_eq!(as_member, Err(ErrorCode::IllegalGeneration));
    let before = describe(&mut client, 1, &["g"]);
    server.stop();
    let (_server, mut client) = start(dir.path(), &[]);
    super::consumer_groups::until(&mut client, |client| {
        describe(client, 1, &["g"])[0].error_code.is_none()
    });
    assert_eq!(describe(&mut client, 1, &["g"]), before);
    assert_eq!(heartbeat(&mut client, 4, &rejoined), ErrorCode::None);

    // The last one that speaks the consumer protocol goes.
    assert_eq!(heard(&mut client, &beat("n", -1)).0, -1);
    assert_eq!(listed(&mut client), ("classic".to_owned(), "PreparingRebalance".to_owned()));
    assert_eq!(describe(&mut client, 1, &["g"])[0].error_code, ErrorCode::GroupIdNotFound);
    assert_eq!(heartbeat(&mut client, 4, &rejoined), ErrorCode::RebalanceInProgress);
    let joined = classic(&mut client, 9, &member, &[mine]);
    assert_eq!((joined.generation_id, joined.leader.as_str()), (3, member.as_str()));
    assert_eq!(given(&sync(&mut client, 5, &joined, &[(&member, &[0, 1])])), [0, 1]);
    assert_eq!(committed(&mut client, 9, None, orders), Ok(Some(5)));
    assert_eq!(leave(&mut client, 5, &member), ErrorCode::None);
    assert_eq!(listed(&mut client).1, "Empty");
}

#[test]
fn every_version_of_the_classic_protocol_is_spoken_in_a_consumer_group() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, mut client) = start(dir.path(), &[]);
    let orders = create(&mut client, "orders", &[]);
    let mut epoch = heard(&mut client, &join("n")).0;
    for version in JoinGroupRequest::VERSIONS.iter() {
        let first = client.ask(version, &join_request("", None, &[]));
        let is_asked_again = first.error_code == ErrorCode::MemberIdRequired;
        assert_eq!(is_asked_again, version >= 4, "version {version}");
        let joined = classic(&mut client, version, &first.member_id, &[]);
        let says_type = version >= 7;
        assert_eq!(joined.protocol_type.as_deref(), says_type.then_some("consumer"));
        epoch = heard(&mut client, &beat("n", epoch)).0;
        let (now, _) = heard(&mut client, &has("n", epoch, &[(orders, &[0])]));
        epoch = now;
        let joined = classic(&mut client, version, &joined.member_id, &[]);
        assert_eq!(given(&sync(&mut client, version.min(5), &joined, &[])).len(), 1, "{version}");
        assert_eq!(leave(&mut client, version.min(5), &joined.member_id), ErrorCode::None);
        let again = leave(&mut client, version.min(5), &joined.member_id);
        assert_eq!(again, ErrorCode::UnknownMemberId);
        epoch = heard(&mut client, &beat("n", epoch)).0;
    }
    let other =
        JoinGroupRequest { protocol_type: "connect".to_owned(), ..join_request("", None, &[]) };
    let error = client.ask(9, &other).error_code;
    assert_eq!(error, ErrorCode::InconsistentGroupProtocol);
    let mut broken = join_request("broken", None, &[]);
    broken.protocols[0].metadata = Bytes::from_static(b"m");
    let error = client.ask(9, &broken).error_code;
    assert_eq!(error, ErrorCode::InconsistentGroupProtocol);
    assert_eq!(heard(&mut client, &beat("n", epoch)).0, epoch, "nothing came of that");
}

#[test]
fn a_static_member_keeps_its_place_when_it_changes_its_protocol() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, mut client) = start(dir.path(), &[]);
    let orders = create(&mut client, "orders", &[]);
    let joined = client.ask(9, &join_request("", Some("i"), &[]));
    assert_eq!(joined.error_code, ErrorCode::None);
    let with = |request: ConsumerGroupHeartbeatRequest| ConsumerGroupHeartbeatRequest {
        instance_id: Some("i".to_owned()),
        ..request
    };
    let sync_with = |joined: &JoinGroupResponse, partitions: &[i32]| {
        let topic = consumer_protocol_assignment::TopicPartition {
            topic: "orders".to_owned(),
            partitions: partitions.iter().copied().map(PartitionIndex::new).collect(),
        };
        let assignment =
            ConsumerProtocolAssignment { assigned_partitions: vec![topic], user_data: None };
        SyncGroupRequest {
            group_id: "g".to_owned(),
            generation_id: joined.generation_id,
            member_id: joined.member_id.clone(),
            group_instance_id: Some("i".to_owned()),
            protocol_type: Some("consumer".to_owned()),
            protocol_name: Some("range".to_owned()),
            assignments: vec![SyncGroupRequestAssignment {
                member_id: joined.member_id.clone(),
                assignment: assignment_bytes(&assignment, &Bytes::new()).unwrap(),
            }],
        }
    };
    assert_eq!(given(&client.ask(5, &sync_with(&joined, &[0, 1]))), [0, 1]);

    let all = Some(vec![(orders, vec![0, 1])]);
    assert_eq!(heard(&mut client, &with(join("n"))), (2, all), "the former one is fenced");
    let fenced = client.ask(5, &sync_with(&joined, &[])).error_code;
    assert_eq!(fenced, ErrorCode::FencedInstanceId);
    refused(&mut client, &with(join("m")), ErrorCode::UnreleasedInstanceId);

    // Back, although nobody said that it goes: with it the last member goes that speaks the consumer protocol.
    let joined = client.ask(9, &join_request("", Some("i"), &[]));
    assert_eq!((joined.error_code, joined.generation_id), (ErrorCode::None, 3));
    assert_eq!(joined.leader, joined.member_id);
    assert_eq!(listed(&mut client).0, "classic");
    refused(&mut client, &with(beat("n", 2)), ErrorCode::GroupIdNotFound);
    assert_eq!(given(&client.ask(5, &sync_with(&joined, &[0, 1]))), [0, 1]);
}

#[test]
fn a_group_keeps_its_protocol_where_it_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let policy = [("group.consumer.migration.policy", "disabled")];
    let (_server, mut client) = start(dir.path(), &policy);
    create(&mut client, "orders", &[]);
    let joined = classic(&mut client, 9, "", &[]);
    let member = joined.member_id.clone();
    sync(&mut client, 5, &joined, &[(&member, &[0, 1])]);
    refused(&mut client, &join("n"), ErrorCode::GroupIdNotFound);
    assert_eq!(listed(&mut client), ("classic".to_owned(), "Stable".to_owned()));
    assert_eq!(leave(&mut client, 5, &member), ErrorCode::None);

    // Members of the classic protocol are let in all the same, and stay guests.
    let epoch = heard(&mut client, &join("n")).0;
    let joined = classic(&mut client, 9, "", &[]);
    assert_eq!(heard(&mut client, &beat("n", -1)).0, -1);
    assert_eq!(listed(&mut client), ("consumer".to_owned(), "Assigning".to_owned()));
    let rejoined = classic(&mut client, 9, &joined.member_id, &[]);
    assert!(rejoined.generation_id > epoch);
    assert_eq!(given(&sync(&mut client, 5, &rejoined, &[])), [0, 1]);
    let described =
        ConsumerGroupDescribeRequest { group_ids: vec!["g".to_owned()], ..Default::default() };
    assert_eq!(client.ask(1, &described).groups[0].members[0].member_type, 0);
}
