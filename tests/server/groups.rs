//! Consumer groups over the wire, on one node: every API in every version, what is read back after a restart, and what is refused.

use std::time::{Duration, Instant};

use bytes::Bytes;
use ottla::protocol::messages::join_group_request::JoinGroupRequestProtocol;
use ottla::protocol::messages::leave_group_request::MemberIdentity;
use ottla::protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use ottla::protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use ottla::protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use ottla::protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use ottla::protocol::messages::{
    DeleteGroupsRequest, DeleteTopicsRequest, DescribeConfigsRequest, DescribeGroupsRequest,
    FindCoordinatorRequest, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse,
    LeaveGroupRequest, ListGroupsRequest, Message, MetadataRequest, OffsetCommitRequest,
    OffsetCommitResponse, OffsetDeleteRequest, OffsetFetchRequest, ProduceRequest,
    SyncGroupRequest, SyncGroupResponse,
};
use ottla::types::{ErrorCode, LeaderEpoch, Offset, PartitionIndex, Uuid};

use super::data::{Topic, batch, create, produce_request};
use crate::support::{Client, Server};

/// One node that can have groups, with few partitions for them, and no wait before a group's first generation.
pub(crate) const GROUPS: &[(&str, &str)] = &[
    ("offsets.topic.replication.factor", "1"),
    ("offsets.topic.num.partitions", "3"),
    ("group.initial.rebalance.delay.ms", "0"),
];

fn start(dir: &std::path::Path) -> (Server, Client) {
    let server = Server::start(dir, GROUPS);
    let mut client = server.connect();
    coordinator(&mut client, "any");
    (server, client)
}

/// Looks for a group's coordinator until there is one.
pub(crate) fn coordinator(client: &mut Client, group: &str) -> i32 {
    let request = FindCoordinatorRequest { key: group.to_owned(), ..Default::default() };
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let answer = client.ask(2, &request);
        if answer.error_code.is_none() {
            return answer.node_id.unwrap().value();
        }
        assert_eq!(answer.error_code, ErrorCode::CoordinatorNotAvailable);
        assert_eq!((answer.node_id, answer.port), (None, -1));
        assert!(Instant::now() < deadline, "no coordinator");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn join_request(version: i16, group: &str, member: &str) -> JoinGroupRequest {
    let protocol =
        JoinGroupRequestProtocol { name: "range".to_owned(), metadata: Bytes::from_static(b"m") };
    JoinGroupRequest {
        group_id: group.to_owned(),
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: if version == 0 { -1 } else { 30_000 },
        member_id: member.to_owned(),
        group_instance_id: None,
        protocol_type: "consumer".to_owned(),
        protocols: vec![protocol],
        reason: None,
    }
}

/// Joins until it is in: from version 4 on it is told its id first.
fn join(client: &mut Client, version: i16, group: &str) -> JoinGroupResponse {
    let first = client.ask(version, &join_request(version, group, ""));
    if version < 4 {
        assert_eq!(first.error_code, ErrorCode::None, "version {version}");
        return first;
    }
    assert_eq!(first.error_code, ErrorCode::MemberIdRequired, "version {version}");
    let joined = client.ask(version, &join_request(version, group, &first.member_id));
    assert_eq!(joined.error_code, ErrorCode::None, "version {version}");
    joined
}

fn sync_request(
    version: i16,
    group: &str,
    joined: &JoinGroupResponse,
    assignments: &[(&str, &[u8])],
) -> SyncGroupRequest {
    let assignments = assignments.iter().map(|(member, bytes)| SyncGroupRequestAssignment {
        member_id: (*member).to_owned(),
        assignment: Bytes::copy_from_slice(bytes),
    });
    SyncGroupRequest {
        group_id: group.to_owned(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        group_instance_id: None,
        protocol_type: (version >= 5).then(|| "consumer".to_owned()),
        protocol_name: (version >= 5).then(|| "range".to_owned()),
        assignments: assignments.collect(),
    }
}

fn heartbeat(
    client: &mut Client,
    version: i16,
    group: &str,
    joined: &JoinGroupResponse,
) -> ErrorCode {
    let request = HeartbeatRequest {
        group_id: group.to_owned(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        group_instance_id: None,
    };
    client.ask(version, &request).error_code
}

fn leave(client: &mut Client, version: i16, group: &str, member: &str) -> ErrorCode {
    let one = MemberIdentity { member_id: member.to_owned(), ..Default::default() };
    let request = LeaveGroupRequest {
        group_id: group.to_owned(),
        member_id: if version < 3 { member.to_owned() } else { String::new() },
        members: if version < 3 { Vec::new() } else { vec![one] },
    };
    let answer = client.ask(version, &request);
    if version < 3 || !answer.error_code.is_none() {
        return answer.error_code;
    }
    assert_eq!(answer.members.len(), 1);
    assert_eq!(answer.members[0].member_id, member);
    answer.members[0].error_code
}

/// A commit of `offset` by nobody in particular, to partition 0.
fn commit_request(version: i16, group: &str, topic: &Topic, offset: i64) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition {
        partition_index: PartitionIndex::new(0),
        committed_offset: Offset::from_wire(offset),
        committed_leader_epoch: (version >= 6).then(|| LeaderEpoch::new(3)),
        committed_metadata: Some(format!("at {offset}")),
    };
    let topic = OffsetCommitRequestTopic {
        name: if version < 10 { topic.name.to_owned() } else { String::new() },
        topic_id: if version < 10 { Uuid::ZERO } else { topic.id },
        partitions: vec![partition],
    };
    OffsetCommitRequest { group_id: group.to_owned(), topics: vec![topic], ..Default::default() }
}

fn committed_error(answer: &OffsetCommitResponse) -> ErrorCode {
    answer.topics[0].partitions[0].error_code
}

#[track_caller]
fn commit(client: &mut Client, version: i16, group: &str, topic: &Topic, offset: i64) {
    let answer = client.ask(version, &commit_request(version, group, topic, offset));
    assert_eq!(committed_error(&answer), ErrorCode::None, "version {version}: {answer:?}");
}

/// Offset, leader epoch and metadata, as far as anything is committed.
type Committed = (Option<i64>, Option<i32>, String);

/// What is committed of partitions 0 and 1: offset, epoch, metadata. `all` asks for all that there is.
fn fetch(
    client: &mut Client,
    version: i16,
    group: &str,
    topic: &Topic,
    all: bool,
) -> Result<Vec<Committed>, ErrorCode> {
    let partitions = vec![PartitionIndex::new(0), PartitionIndex::new(1)];
    let told = |offset: Option<Offset>, epoch: Option<LeaderEpoch>, metadata: Option<String>| {
        (offset.map(Offset::value), epoch.map(LeaderEpoch::value), metadata.unwrap())
    };
    if version < 8 {
        let one =
            OffsetFetchRequestTopic { name: topic.name.to_owned(), partition_indexes: partitions };
        let request = OffsetFetchRequest {
            group_id: group.to_owned(),
            topics: (!all).then(|| vec![one]),
            ..Default::default()
        };
        let answer = client.ask(version, &request);
        if !answer.error_code.is_none() {
            return Err(answer.error_code);
        }
        let partitions = answer.topics.into_iter().flat_map(|topic| topic.partitions);
        return partitions
            .map(|one| {
                let committed =
                    told(one.committed_offset, one.committed_leader_epoch, one.metadata);
                if one.error_code.is_none() { Ok(committed) } else { Err(one.error_code) }
            })
            .collect();
    }
    let one = OffsetFetchRequestTopics {
        name: if version < 10 { topic.name.to_owned() } else { String::new() },
        topic_id: if version < 10 { Uuid::ZERO } else { topic.id },
        partition_indexes: partitions,
    };
    let one = OffsetFetchRequestGroup {
        group_id: group.to_owned(),
        topics: (!all).then(|| vec![one]),
        ..Default::default()
    };
    let request = OffsetFetchRequest { groups: vec![one], ..Default::default() };
    let answer = client.ask(version, &request);
    let answer = answer.groups.into_iter().next().unwrap();
    assert_eq!(answer.group_id, group);
    if !answer.error_code.is_none() {
        return Err(answer.error_code);
    }
    let topics = answer.topics.into_iter().inspect(|found| {
        assert!(version >= 10 || found.name == topic.name);
        assert!(version < 10 || found.topic_id == topic.id);
    });
    let partitions = topics.flat_map(|topic| topic.partitions);
    partitions
        .map(|one| {
            let committed = told(one.committed_offset, one.committed_leader_epoch, one.metadata);
            if one.error_code.is_none() { Ok(committed) } else { Err(one.error_code) }
        })
        .collect()
}

fn orders(client: &mut Client) -> Topic {
    let id = create(client, "orders", &[]);
    Topic { name: "orders", id }
}

#[test]
fn the_first_who_looks_for_a_coordinator_has_its_topic_made() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), GROUPS);
    let mut client = server.connect();
    assert_eq!(coordinator(&mut client, "g"), 1);
    for version in FindCoordinatorRequest::VERSIONS.iter() {
        let keys = vec!["g".to_owned(), String::new()];
        let request = FindCoordinatorRequest {
            key: if version < 4 { "g".to_owned() } else { String::new() },
            key_type: 0,
            coordinator_keys: if version < 4 { Vec::new() } else { keys.clone() },
        };
        let answer = client.ask(version, &request);
        let found: Vec<_> = if version < 4 {
            vec![(answer.error_code, answer.node_id.unwrap().value(), answer.host, answer.port)]
        } else {
            assert_eq!(
                answer.coordinators.iter().map(|one| &one.key).collect::<Vec<_>>(),
                [&keys[0], &keys[1]]
            );
            let all = answer.coordinators.into_iter();
            all.map(|one| (one.error_code, one.node_id.unwrap().value(), one.host, one.port))
                .collect()
        };
        for (error, node, host, port) in found {
            assert_eq!((error, node, host.as_str()), (ErrorCode::None, 1, "127.0.0.1"));
            assert_eq!(port, i32::from(server.address.port()));
        }
    }
    let metadata = client.ask(12, &MetadataRequest { topics: None, ..Default::default() });
    let [topic] = &metadata.topics[..] else { panic!("{metadata:?}") };
    assert_eq!(topic.name.as_deref(), Some("__consumer_offsets"));
    assert!(topic.is_internal);
    assert_eq!(topic.partitions.len(), 3);
    let resource = ottla::protocol::messages::describe_configs_request::DescribeConfigsResource {
        resource_type: 2,
        resource_name: "__consumer_offsets".to_owned(),
        configuration_keys: None,
    };
    let configs =
        client.ask(4, &DescribeConfigsRequest { resources: vec![resource], ..Default::default() });
    let value = |name: &str| {
        let config = configs.results[0].configs.iter().find(|config| config.name == name);
        config.unwrap().value.clone().unwrap()
    };
    assert_eq!(value("cleanup.policy"), "compact");
    assert_eq!(value("compression.type"), "producer");
    assert_eq!(value("segment.bytes"), "104857600");
}

#[test]
fn who_looks_for_another_coordinator_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, mut client) = start(dir.path());
    for (key_type, error) in [
        (1, ErrorCode::TransactionalIdAuthorizationFailed),
        (2, ErrorCode::InvalidRequest),
        (-1, ErrorCode::InvalidRequest),
    ] {
        let one = FindCoordinatorRequest { key: "t".to_owned(), key_type, ..Default::default() };
        let answer = client.ask(1, &one);
        assert_eq!((answer.error_code, answer.node_id), (error, None));
        assert!(answer.error_message.is_some());
        let keys = vec!["t".to_owned()];
        let several =
            FindCoordinatorRequest { key_type, coordinator_keys: keys, ..Default::default() };
        assert_eq!(client.ask(6, &several).coordinators[0].error_code, error);
    }
}

#[test]
fn groups_wait_until_there_are_brokers_enough() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let mut client = server.connect();
    let request = FindCoordinatorRequest { key: "g".to_owned(), ..Default::default() };
    for _ in 0..10 {
        assert_eq!(client.ask(1, &request).error_code, ErrorCode::CoordinatorNotAvailable);
        std::thread::sleep(Duration::from_millis(20));
    }
    let metadata = client.ask(12, &MetadataRequest { topics: None, ..Default::default() });
    assert_eq!(metadata.topics, [], "three replicas are wanted, and not fewer made");
    // Nobody coordinates, and all are told so.
    assert_eq!(leave(&mut client, 5, "g", "m"), ErrorCode::NotCoordinator);
    let joined = client.ask(9, &join_request(9, "g", ""));
    assert_eq!(joined.error_code, ErrorCode::NotCoordinator);
    let topic = orders(&mut client);
    assert_eq!(fetch(&mut client, 8, "g", &topic, false), Err(ErrorCode::NotCoordinator));
    let listed = client.ask(5, &ListGroupsRequest::default());
    assert_eq!((listed.error_code, listed.groups.len()), (ErrorCode::None, 0));
}

#[test]
fn a_member_lives_in_every_version() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, mut client) = start(dir.path());
    for version in JoinGroupRequest::VERSIONS.iter() {
        let group = format!("group-{version}");
        let joined = join(&mut client, version, &group);
        assert_eq!(joined.generation_id, 1);
        assert_eq!(joined.protocol_name.as_deref(), Some("range"));
        assert_eq!(joined.protocol_type.as_deref(), (version >= 7).then_some("consumer"));
        assert_eq!(joined.leader, joined.member_id);
        assert!(joined.member_id.starts_with("test-"), "{}", joined.member_id);
        let [member] = &joined.members[..] else { panic!("{joined:?}") };
        assert_eq!((&member.member_id, &member.metadata[..]), (&joined.member_id, &b"m"[..]));

        let sync_version = version.min(SyncGroupRequest::VERSIONS.max);
        let request = sync_request(sync_version, &group, &joined, &[(&joined.member_id, b"all")]);
        let synced = client.ask(sync_version, &request);
        assert_eq!((synced.error_code, &synced.assignment[..]), (ErrorCode::None, &b"all"[..]));
        assert_eq!(synced.protocol_name.as_deref(), (sync_version >= 5).then_some("range"));

        let beat_version = version.min(HeartbeatRequest::VERSIONS.max);
        assert_eq!(heartbeat(&mut client, beat_version, &group, &joined), ErrorCode::None);
        let older = JoinGroupResponse { generation_id: 0, ..joined.clone() };
        let error = heartbeat(&mut client, beat_version, &group, &older);
        assert_eq!(error, ErrorCode::IllegalGeneration);

        let leave_version = version.min(LeaveGroupRequest::VERSIONS.max);
        let unknown = leave(&mut client, leave_version, &group, "nobody");
        assert_eq!(unknown, ErrorCode::UnknownMemberId);
        let left = leave(&mut client, leave_version, &group, &joined.member_id);
        assert_eq!(left, ErrorCode::None);
        assert_eq!(
            heartbeat(&mut client, beat_version, &group, &joined),
            ErrorCode::UnknownMemberId
        );
    }
    // A version 5 must say both of what the group is for.
    let joined = join(&mut client, 5, "silent");
    let silent =
        SyncGroupRequest { protocol_name: None, ..sync_request(5, "silent", &joined, &[]) };
    assert_eq!(client.ask(5, &silent).error_code, ErrorCode::InconsistentGroupProtocol);
}

#[test]
fn two_members_meet_in_each_generation() {
    let dir = tempfile::tempdir().unwrap();
    let (server, mut one) = start(dir.path());
    let mut two = server.connect();
    let first = join(&mut one, 9, "g");
    let sync = |joined: &JoinGroupResponse, assignments: &[(&str, &[u8])]| {
        sync_request(5, "g", joined, assignments)
    };
    assert!(one.ask(5, &sync(&first, &[(&first.member_id, b"both")])).error_code.is_none());

    // The second's JoinGroup waits for the first, which hears of it by its heartbeat.
    let required = two.ask(9, &join_request(9, "g", ""));
    two.send(9, &join_request(9, "g", &required.member_id));
    let deadline = Instant::now() + Duration::from_secs(30);
    while heartbeat(&mut one, 4, "g", &first) != ErrorCode::RebalanceInProgress {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(10));
    }
    let led = one.ask(9, &join_request(9, "g", &first.member_id));
    let second = two.receive::<JoinGroupRequest>(9);
    assert_eq!((led.generation_id, second.generation_id), (2, 2));
    assert_eq!((&led.leader, &second.leader), (&first.member_id, &first.member_id));
    assert_eq!((led.members.len(), second.members.len()), (2, 0));

    // So does its SyncGroup wait for the leader's.
    two.send(5, &sync(&second, &[]));
    let mine: (&str, &[u8]) = (&led.member_id, b"one");
    let assigned: SyncGroupResponse = one.ask(5, &sync(&led, &[mine, (&second.member_id, b"two")]));
    let other = two.receive::<SyncGroupRequest>(5);
    assert_eq!((&assigned.assignment[..], &other.assignment[..]), (&b"one"[..], &b"two"[..]));

    for version in DescribeGroupsRequest::VERSIONS.iter() {
        let request = DescribeGroupsRequest {
            groups: vec!["g".to_owned(), "nobody".to_owned()],
            include_authorized_operations: version >= 3,
        };
        let described = one.ask(version, &request);
        let [group, missing] = &described.groups[..] else { panic!("{described:?}") };
        assert_eq!((group.group_state.as_str(), group.protocol_data.as_str()), ("Stable", "range"));
        assert_eq!(
            group.authorized_operations,
            if version >= 3 { 0b1101_0100_1000 } else { i32::MIN }
        );
        let mut members: Vec<_> = group.members.iter().collect();
        members.sort_by_key(|member| member.member_id != led.member_id);
        assert_eq!(members[0].client_id, "test");
        assert_eq!(members[0].client_host, "/127.0.0.1");
        assert_eq!(&members[0].member_assignment[..], b"one");
        assert_eq!(&members[1].member_metadata[..], b"m");
        assert_eq!(missing.group_state, "Dead");
        let error = if version >= 6 { ErrorCode::GroupIdNotFound } else { ErrorCode::None };
        assert_eq!((missing.error_code, missing.error_message.is_some()), (error, version >= 6));
    }
    // Who leaves makes the other join again.
    assert_eq!(leave(&mut two, 5, "g", &second.member_id), ErrorCode::None);
    assert_eq!(heartbeat(&mut one, 4, "g", &led), ErrorCode::RebalanceInProgress);
}

#[test]
fn a_commit_is_read_back_in_every_version() {
    let dir = tempfile::tempdir().unwrap();
    let (server, mut client) = start(dir.path());
    let topic = orders(&mut client);
    for (offset, version) in (10..).zip(OffsetCommitRequest::VERSIONS.iter()) {
        commit(&mut client, version, "g", &topic, offset);
        for read_version in OffsetFetchRequest::VERSIONS.iter() {
            let epoch = (version >= 6 && read_version >= 5).then_some(3);
            let known = (Some(offset), epoch, format!("at {offset}"));
            let found = fetch(&mut client, read_version, "g", &topic, false).unwrap();
            let nothing = (None, None, String::new());
            assert_eq!(found, [known.clone(), nothing], "{version} {read_version}");
            if read_version >= 2 {
                let found = fetch(&mut client, read_version, "g", &topic, true).unwrap();
                assert_eq!(found, [known], "{version} {read_version}");
            }
        }
    }
    assert_eq!(fetch(&mut client, 8, "h", &topic, true), Ok(vec![]));
    drop(client);
    server.stop();
    let (_server, mut client) = start(dir.path());
    let found = fetch(&mut client, 9, "g", &topic, true).unwrap();
    assert_eq!(found, [(Some(18), Some(3), "at 18".to_owned())], "after a restart");
}

#[test]
fn a_group_outlives_a_kill_of_its_coordinator() {
    let dir = tempfile::tempdir().unwrap();
    let (server, mut client) = start(dir.path());
    let joined = join(&mut client, 9, "g");
    let request = sync_request(5, "g", &joined, &[(&joined.member_id, b"all")]);
    assert!(client.ask(5, &request).error_code.is_none());
    drop(client);
    server.kill();
    let (_server, mut client) = start(dir.path());
    // Its coordinator may still be reading: then a heartbeat is answered as if all were well.
    assert_eq!(heartbeat(&mut client, 4, "g", &joined), ErrorCode::None);
    let again = client.ask(5, &sync_request(5, "g", &joined, &[]));
    assert_eq!(&again.assignment[..], b"all");
}

#[test]
fn commits_that_make_no_sense_are_refused_one_by_one() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, mut client) = start(dir.path());
    let topic = orders(&mut client);
    let nowhere = Topic { name: "nowhere", id: Uuid::from_bytes([1; 16]) };
    for version in OffsetCommitRequest::VERSIONS.iter() {
        let unknown = if version < 10 {
            ErrorCode::UnknownTopicOrPartition
        } else {
            ErrorCode::UnknownTopicId
        };
        let mut request = commit_request(version, "g", &nowhere, 5);
        request.topics.extend(commit_request(version, "g", &topic, 5).topics);
        let beyond = OffsetCommitRequestPartition {
            partition_index: PartitionIndex::new(9),
            committed_offset: Offset::from_wire(1),
            ..Default::default()
        };
        let negative = OffsetCommitRequestPartition {
            partition_index: PartitionIndex::new(1),
            committed_metadata: Some(String::new()),
            ..Default::default()
        };
        let long = OffsetCommitRequestPartition {
            committed_metadata: Some("x".repeat(5_000)),
            ..request.topics[1].partitions[0].clone()
        };
        let beyond =
            OffsetCommitRequestPartition { committed_metadata: Some(String::new()), ..beyond };
        request.topics[1].partitions.extend([beyond, negative, long]);
        let answer = client.ask(version, &request);
        let errors: Vec<Vec<ErrorCode>> = answer
            .topics
            .iter()
            .map(|topic| topic.partitions.iter().map(|one| one.error_code).collect())
            .collect();
        let of_orders = vec![
            ErrorCode::None,
            ErrorCode::UnknownTopicOrPartition,
            ErrorCode::InvalidRequest,
            ErrorCode::OffsetMetadataTooLarge,
        ];
        assert_eq!(errors, [vec![unknown], of_orders], "version {version}");

        // Who claims to be a member of a group that is not there.
        let mut stranger = commit_request(version, "nobody", &topic, 5);
        stranger.generation_id_or_member_epoch = 3;
        stranger.member_id = "m".to_owned();
        let error = committed_error(&client.ask(version, &stranger));
        let expected =
            if version < 9 { ErrorCode::IllegalGeneration } else { ErrorCode::GroupIdNotFound };
        assert_eq!(error, expected, "version {version}");
    }
    assert_eq!(fetch(&mut client, 10, "g", &nowhere, false), Err(ErrorCode::UnknownTopicId));
    let found = fetch(&mut client, 9, "g", &nowhere, false).unwrap();
    assert_eq!(found, vec![(None, None, String::new()); 2]);
    // Only the group's members may commit once it has some.
    let joined = join(&mut client, 9, "full");
    let simple = client.ask(9, &commit_request(9, "full", &topic, 5));
    assert_eq!(committed_error(&simple), ErrorCode::UnknownMemberId);
    let mut early = commit_request(9, "full", &topic, 5);
    early.generation_id_or_member_epoch = joined.generation_id;
    early.member_id = joined.member_id.clone();
    assert_eq!(committed_error(&client.ask(9, &early)), ErrorCode::RebalanceInProgress);
}

#[test]
fn a_member_that_asks_for_nonsense_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, mut client) = start(dir.path());
    let mut refused = |change: fn(&mut JoinGroupRequest), error| {
        for version in JoinGroupRequest::VERSIONS.iter() {
            let mut request = join_request(version, "g", "");
            change(&mut request);
            let answer = client.ask(version, &request);
            assert_eq!(answer.error_code, error, "version {version}");
            assert_eq!(answer.generation_id, -1);
            assert_eq!(answer.protocol_name.is_none(), version >= 7);
        }
    };
    refused(|request| request.group_id = String::new(), ErrorCode::InvalidGroupId);
    refused(|request| request.session_timeout_ms = 5_999, ErrorCode::InvalidSessionTimeout);
    refused(|request| request.session_timeout_ms = -1, ErrorCode::InvalidSessionTimeout);
    refused(|request| request.session_timeout_ms = i32::MAX, ErrorCode::InvalidSessionTimeout);
    refused(|request| request.member_id = "nobody".to_owned(), ErrorCode::UnknownMemberId);
    refused(|request| request.protocols.clear(), ErrorCode::InconsistentGroupProtocol);
    refused(|request| request.protocol_type.clear(), ErrorCode::InconsistentGroupProtocol);
    let nobody = JoinGroupResponse { member_id: "m".to_owned(), ..Default::default() };
    for (group, error) in [("", ErrorCode::InvalidGroupId), ("g", ErrorCode::UnknownMemberId)] {
        assert_eq!(heartbeat(&mut client, 4, group, &nobody), error);
        assert_eq!(client.ask(5, &sync_request(5, group, &nobody, &[])).error_code, error);
        assert_eq!(leave(&mut client, 2, group, "m"), error);
        assert_eq!(leave(&mut client, 5, group, "m"), error);
    }
}

#[test]
fn groups_are_listed_deleted_and_lose_offsets() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, mut client) = start(dir.path());
    let topic = orders(&mut client);
    let joined = join(&mut client, 9, "busy");
    for group in ["a", "b", "c"] {
        commit(&mut client, 8, group, &topic, 5);
    }
    for version in ListGroupsRequest::VERSIONS.iter() {
        let listed = client.ask(version, &ListGroupsRequest::default());
        let names: Vec<_> = listed.groups.iter().map(|group| group.group_id.as_str()).collect();
        assert_eq!(names, ["a", "b", "busy", "c"]);
        let busy = &listed.groups[2];
        assert_eq!(busy.protocol_type, "consumer");
        assert_eq!(busy.group_state, if version >= 4 { "CompletingRebalance" } else { "" });
        assert_eq!(busy.group_type, if version >= 5 { "classic" } else { "" });
    }
    let filter = ListGroupsRequest {
        states_filter: vec!["completingrebalance".to_owned()],
        types_filter: vec!["Classic".to_owned()],
    };
    assert_eq!(client.ask(5, &filter).groups.len(), 1);
    let filter = ListGroupsRequest { types_filter: vec!["consumer".to_owned()], ..filter };
    assert_eq!(client.ask(5, &filter).groups.len(), 0);

    let partition =
        |index| OffsetDeleteRequestPartition { partition_index: PartitionIndex::new(index) };
    let one = |name: &str| OffsetDeleteRequestTopic {
        name: name.to_owned(),
        partitions: vec![partition(0), partition(9)],
    };
    let request = OffsetDeleteRequest {
        group_id: "a".to_owned(),
        topics: vec![one("orders"), one("nowhere")],
    };
    let answer = client.ask(0, &request);
    assert_eq!(answer.error_code, ErrorCode::None);
    let errors: Vec<_> = answer
        .topics
        .iter()
        .flat_map(|topic| &topic.partitions)
        .map(|one| one.error_code)
        .collect();
    let unknown = ErrorCode::UnknownTopicOrPartition;
    assert_eq!(errors, [ErrorCode::None, unknown, unknown, unknown]);
    assert_eq!(fetch(&mut client, 9, "a", &topic, true), Ok(vec![]));
    for (group, error) in [("", ErrorCode::InvalidGroupId), ("nobody", ErrorCode::GroupIdNotFound)]
    {
        let request = OffsetDeleteRequest { group_id: group.to_owned(), topics: Vec::new() };
        assert_eq!(client.ask(0, &request).error_code, error);
    }

    for (version, group) in DeleteGroupsRequest::VERSIONS.iter().zip(["b", "c", "d"]) {
        let names = [group, "busy", "nobody", group].map(str::to_owned);
        let answer = client.ask(version, &DeleteGroupsRequest { groups_names: names.into() });
        let results: Vec<_> =
            answer.results.iter().map(|one| (one.group_id.as_str(), one.error_code)).collect();
        let deleted = if group == "d" { ErrorCode::GroupIdNotFound } else { ErrorCode::None };
        let others = [("busy", ErrorCode::NonEmptyGroup), ("nobody", ErrorCode::GroupIdNotFound)];
        assert_eq!(results, [(group, deleted), others[0], others[1]]);
    }
    assert_eq!(fetch(&mut client, 9, "b", &topic, true), Ok(vec![]));
    assert_eq!(leave(&mut client, 5, "busy", &joined.member_id), ErrorCode::None);

    // With its topic goes what was committed of it.
    commit(&mut client, 8, "a", &topic, 7);
    let deletion = DeleteTopicsRequest {
        topic_names: vec!["orders".to_owned()],
        timeout_ms: 10_000,
        ..Default::default()
    };
    assert_eq!(client.ask(5, &deletion).responses[0].error_code, ErrorCode::None);
    let deadline = Instant::now() + Duration::from_secs(30);
    while fetch(&mut client, 9, "a", &topic, true) != Ok(vec![]) {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn nobody_but_coordinators_writes_to_their_topic() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, mut client) = start(dir.path());
    let metadata = client.ask(12, &MetadataRequest { topics: None, ..Default::default() });
    let topic = Topic { name: "__consumer_offsets", id: metadata.topics[0].topic_id };
    for version in ProduceRequest::VERSIONS.iter() {
        let records = batch(&["x"], ottla::protocol::compression::Codec::None);
        let answer = client.ask(version, &produce_request(&topic, version, -1, &[(0, records)]));
        let error = answer.responses[0].partition_responses[0].error_code;
        assert_eq!(error, ErrorCode::InvalidTopicException, "version {version}");
    }
    let asked = ottla::protocol::messages::metadata_request::MetadataRequestTopic {
        name: Some("__transaction_state".to_owned()),
        ..Default::default()
    };
    let request = MetadataRequest {
        topics: Some(vec![asked]),
        allow_auto_topic_creation: true,
        ..Default::default()
    };
    for _ in 0..5 {
        let answer = client.ask(12, &request);
        assert_eq!(answer.topics[0].error_code, ErrorCode::UnknownTopicOrPartition);
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_stop_does_not_wait_for_members_that_wait() {
    let dir = tempfile::tempdir().unwrap();
    let config = [
        ("offsets.topic.replication.factor", "1"),
        ("offsets.topic.num.partitions", "1"),
        ("group.initial.rebalance.delay.ms", "1200000"),
    ];
    let server = Server::start(dir.path(), &config);
    let mut client = server.connect();
    coordinator(&mut client, "g");
    client.send(0, &JoinGroupRequest { session_timeout_ms: 1_800_000, ..join_request(0, "g", "") });
    // It is there when the group is.
    let mut other = server.connect();
    let deadline = Instant::now() + Duration::from_secs(30);
    while other.ask(0, &ListGroupsRequest::default()).groups.is_empty() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(10));
    }
    let began = Instant::now();
    let stopping = std::thread::spawn(move || server.stop());
    let answer = client.receive::<JoinGroupRequest>(0);
    assert_eq!(answer.error_code, ErrorCode::NotCoordinator);
    stopping.join().unwrap();
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}
