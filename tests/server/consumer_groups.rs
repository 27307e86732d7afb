//! Groups of the consumer protocol (KIP-848) over the wire, on one node: every API in every version, what follows the topics, what is
//! committed, and what is refused.

use std::time::{Duration, Instant};

use bytes::Bytes;
use ottla::protocol::messages::consumer_group_describe_response::{Assignment, DescribedGroup};
use ottla::protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use ottla::protocol::messages::create_partitions_request::CreatePartitionsTopic;
use ottla::protocol::messages::join_group_request::JoinGroupRequestProtocol;
use ottla::protocol::messages::leave_group_request::MemberIdentity;
use ottla::protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use ottla::protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use ottla::protocol::messages::update_features_request::FeatureUpdateKey;
use ottla::protocol::messages::{
    ApiVersionsRequest, ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse, CreatePartitionsRequest, DeleteGroupsRequest,
    DeleteTopicsRequest, DescribeGroupsRequest, JoinGroupRequest, LeaveGroupRequest,
    ListGroupsRequest, Message, OffsetCommitRequest, OffsetFetchRequest, UpdateFeaturesRequest,
};
use ottla::types::{ErrorCode, Offset, PartitionIndex, Uuid};

use super::data::create;
use super::groups::{GROUPS, coordinator};
use crate::support::{Client, Server};

/// Groups of two members at most.
const LIMITED: &[(&str, &str)] = &[("group.consumer.max.size", "2")];

pub(super) fn start(dir: &std::path::Path, more: &[(&str, &str)]) -> (Server, Client) {
    let settings: Vec<_> = GROUPS.iter().chain(more).copied().collect();
    let server = Server::start(dir, &settings);
    let mut client = server.connect();
    coordinator(&mut client, "any");
    (server, client)
}

/// A request to join group `g`, of one that reads `orders`.
pub(super) fn join(member: &str) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        group_id: "g".to_owned(),
        member_id: member.to_owned(),
        member_epoch: 0,
        rebalance_timeout_ms: 30_000,
        subscribed_topic_names: Some(vec!["orders".to_owned()]),
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    }
}

/// A heartbeat of a member that has nothing to say.
pub(super) fn beat(member: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        group_id: "g".to_owned(),
        member_id: member.to_owned(),
        member_epoch: epoch,
        ..Default::default()
    }
}

/// The same of one that says what it has.
pub(super) fn has(
    member: &str,
    epoch: i32,
    topics: &[(Uuid, &[i32])],
) -> ConsumerGroupHeartbeatRequest {
    let topics = topics.iter().map(|(topic_id, partitions)| TopicPartitions {
        topic_id: *topic_id,
        partitions: partitions.iter().map(|index| PartitionIndex::new(*index)).collect(),
    });
    ConsumerGroupHeartbeatRequest {
        topic_partitions: Some(topics.collect()),
        ..beat(member, epoch)
    }
}

/// Topics and partitions, in their order.
pub(super) type Given = Vec<(Uuid, Vec<i32>)>;

/// What a member was given, if the answer says so.
fn given(answer: &ConsumerGroupHeartbeatResponse) -> Option<Given> {
    let topics = answer.assignment.as_ref()?.topic_partitions.iter();
    let topics = topics.map(|topic| {
        (topic.topic_id, topic.partitions.iter().map(|index| index.value()).collect())
    });
    Some(topics.collect())
}

/// The member's epoch, and what it was given.
#[track_caller]
pub(super) fn heard(
    client: &mut Client,
    request: &ConsumerGroupHeartbeatRequest,
) -> (i32, Option<Given>) {
    let answer = client.ask(1, request);
    assert_eq!(answer.error_code, ErrorCode::None, "{answer:?}");
    (answer.member_epoch, given(&answer))
}

#[track_caller]
pub(super) fn refused(
    client: &mut Client,
    request: &ConsumerGroupHeartbeatRequest,
    error: ErrorCode,
) {
    let answer = client.ask(1, request);
    assert_eq!(answer.error_code, error, "{answer:?}");
    let message = answer.error_message.unwrap_or_default();
    assert!(message.ends_with('.'), "a person is not told why: {message:?}");
    assert_eq!((answer.member_id, answer.assignment), (None, None));
}

pub(super) fn describe(client: &mut Client, version: i16, groups: &[&str]) -> Vec<DescribedGroup> {
    let request = ConsumerGroupDescribeRequest {
        group_ids: groups.iter().map(|group| (*group).to_owned()).collect(),
        include_authorized_operations: true,
    };
    client.ask(version, &request).groups
}

fn shown(assignment: &Assignment) -> Vec<(&str, Vec<i32>)> {
    let topics = assignment.topic_partitions.iter();
    let topics = topics.map(|topic| {
        let partitions = topic.partitions.iter().map(|index| index.value()).collect();
        (topic.topic_name.as_str(), partitions)
    });
    topics.collect()
}

#[test]
fn a_member_joins_is_shown_and_leaves_in_every_version() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, mut client) = start(dir.path(), &[]);
    let orders = create(&mut client, "orders", &[]);
    for version in ConsumerGroupHeartbeatRequest::VERSIONS.iter() {
        let own_id = if version == 0 { "" } else { "m" };
        let answer = client.ask(version, &join(own_id));
        assert_eq!(answer.error_code, ErrorCode::None, "{answer:?}");
        let member = answer.member_id.clone().unwrap();
        assert_eq!(member.is_empty() || member == "m", version > 0, "{member}");
        let epoch = answer.member_epoch;
        assert!(epoch > 0);
        assert_eq!(answer.heartbeat_interval_ms, 5_000);
        assert_eq!(given(&answer), Some(vec![(orders, vec![0, 1])]));
        let again = client.ask(version, &beat(&member, epoch));
        assert_eq!((again.error_code, again.member_epoch), (ErrorCode::None, epoch));
        assert_eq!(given(&again), None, "it knows");

        for version in ConsumerGroupDescribeRequest::VERSIONS.iter() {
            let groups = describe(&mut client, version, &["g", "unknown", ""]);
            let errors: Vec<_> = groups.iter().map(|group| group.error_code).collect();
            let expected = [ErrorCode::None, ErrorCode::GroupIdNotFound, ErrorCode::InvalidGroupId];
            assert_eq!(errors, expected, "version {version}");
            let group = &groups[0];
            assert_eq!((group.group_id.as_str(), group.group_state.as_str()), ("g", "Stable"));
            assert_eq!((group.group_epoch, group.assignment_epoch), (epoch, epoch));
            assert_eq!(group.assignor_name, "uniform");
            assert!(group.authorized_operations > 0);
            let [one] = &group.members[..] else { panic!("{group:?}") };
            assert_eq!((one.member_id.as_str(), one.member_epoch), (member.as_str(), epoch));
            assert_eq!((one.client_id.as_str(), one.client_host.as_str()), ("test", "/127.0.0.1"));
            assert_eq!(one.subscribed_topic_names, ["orders"]);
            assert_eq!(one.subscribed_topic_regex, None);
            assert_eq!(shown(&one.assignment), [("orders", vec![0, 1])]);
            assert_eq!(one.target_assignment, one.assignment);
            assert_eq!(one.member_type, if version == 0 { -1 } else { 1 });
        }
        let left = client.ask(version, &beat(&member, -1));
        assert_eq!((left.error_code, left.member_epoch), (ErrorCode::None, -1));
        assert_eq!(left.heartbeat_interval_ms, 0);
        assert_eq!(describe(&mut client, 1, &["g"])[0].group_state, "Empty");
    }
}

#[test]
fn the_older_apis_know_groups_of_the_other_type() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, mut client) = start(dir.path(), &[]);
    create(&mut client, "orders", &[]);
    heard(&mut client, &join("m"));
    let mut listed = |types: &[&str], states: &[&str]| {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let request =
            ListGroupsRequest { states_filter: texts(states), types_filter: texts(types) };
        let groups = client.ask(5, &request).groups.into_iter();
        let groups = groups.map(|group| {
            (group.group_id, group.group_type, group.group_state, group.protocol_type)
        });
        groups.collect::<Vec<_>>()
    };
    let one = ["g", "consumer", "Stable", "consumer"].map(ToOwned::to_owned);
    let one: (String, String, String, String) = one.into();
    assert_eq!(listed(&[], &[]), std::slice::from_ref(&one));
    assert_eq!(listed(&["Consumer"], &["stable"]), [one]);
    assert_eq!(listed(&["classic"], &[]), []);
    assert_eq!(listed(&["consumer"], &["Empty"]), []);
    for version in DescribeGroupsRequest::VERSIONS.iter() {
        let request = DescribeGroupsRequest { groups: vec!["g".to_owned()], ..Default::default() };
        let group = &client.ask(version, &request).groups[0];
        let error = if version < 6 { ErrorCode::None } else { ErrorCode::GroupIdNotFound };
        assert_eq!((group.error_code, group.group_state.as_str()), (error, "Dead"));
    }
    let delete = DeleteGroupsRequest { groups_names: vec!["g".to_owned()] };
    let mut deleted = || client.ask(2, &delete).results[0].error_code;
    assert_eq!(deleted(), ErrorCode::NonEmptyGroup);
    heard(&mut client, &beat("m", -1));
    assert_eq!(client.ask(2, &delete).results[0].error_code, ErrorCode::None);
    assert_eq!(describe(&mut client, 1, &["g"])[0].error_code, ErrorCode::GroupIdNotFound);
}

#[test]
fn partitions_change_hands_and_follow_the_topics() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, mut client) = start(dir.path(), &[]);
    let orders = create(&mut client, "orders", &[]);
    assert_eq!(heard(&mut client, &join("a")), (1, Some(vec![(orders, vec![0, 1])])));
    // b waits for what a is to give up first.
    assert_eq!(heard(&mut client, &join("b")), (2, Some(vec![])));
    assert_eq!(heard(&mut client, &beat("a", 1)), (1, Some(vec![(orders, vec![0])])));
    assert_eq!(describe(&mut client, 1, &["g"])[0].group_state, "Reconciling");
    assert_eq!(heard(&mut client, &beat("b", 2)), (2, None));
    assert_eq!(heard(&mut client, &has("a", 1, &[(orders, &[0])])).0, 2);
    assert_eq!(heard(&mut client, &beat("b", 2)), (2, Some(vec![(orders, vec![1])])));

    // The topic gets two more partitions.
    let topic = CreatePartitionsTopic { name: "orders".to_owned(), count: 4, ..Default::default() };
    let request =
        CreatePartitionsRequest { topics: vec![topic], timeout_ms: 10_000, validate_only: false };
    assert_eq!(client.ask(3, &request).results[0].error_code, ErrorCode::None);
    until(&mut client, |client| {
        let (a, b) = (heard_by(client, "a"), heard_by(client, "b"));
        let mut all: Vec<i32> = a.iter().chain(&b).copied().collect();
        all.sort_unstable();
        all == [0, 1, 2, 3] && a.len() == 2
    });

    // Topics that fit an expression, now and later.
    let pattern = ConsumerGroupHeartbeatRequest {
        subscribed_topic_names: None,
        subscribed_topic_regex: Some("pay.*".to_owned()),
        group_id: "h".to_owned(),
        ..join("c")
    };
    assert_eq!(heard(&mut client, &pattern), (1, Some(vec![])));
    let payments = create(&mut client, "payments", &[]);
    create(&mut client, "repay", &[]);
    let mut epoch = 1;
    until(&mut client, |client| {
        let request =
            ConsumerGroupHeartbeatRequest { group_id: "h".to_owned(), ..beat("c", epoch) };
        let (now, given) = heard(client, &request);
        epoch = now;
        given == Some(vec![(payments, vec![0, 1])])
    });
    let group = &describe(&mut client, 1, &["h"])[0];
    assert_eq!(group.members[0].subscribed_topic_regex.as_deref(), Some("pay.*"));
    assert_eq!(shown(&group.members[0].assignment), [("payments", vec![0, 1])]);

    // The topic is deleted: nobody has it any more.
    let request = DeleteTopicsRequest {
        topic_names: vec!["payments".to_owned()],
        timeout_ms: 10_000,
        ..Default::default()
    };
    client.ask(5, &request);
    let before = epoch;
    until(&mut client, |client| {
        let request =
            ConsumerGroupHeartbeatRequest { group_id: "h".to_owned(), ..has("c", epoch, &[]) };
        let (now, given) = heard(client, &request);
        epoch = now;
        now > before && given == Some(vec![])
    });
    let group = describe(&mut client, 1, &["h"]).remove(0);
    assert_eq!(shown(&group.members[0].assignment), []);
}

/// Has a member of `g` say that it has what it was given; returns the partitions that it has now.
fn heard_by(client: &mut Client, member: &str) -> Vec<i32> {
    let group = describe(client, 1, &["g"]).remove(0);
    let one = group.members.iter().find(|one| one.member_id == member).unwrap();
    let owned: Vec<(Uuid, Vec<i32>)> = one
        .assignment
        .topic_partitions
        .iter()
        .map(|topic| (topic.topic_id, topic.partitions.iter().map(|index| index.value()).collect()))
        .collect();
    let owned: Vec<(Uuid, &[i32])> =
        owned.iter().map(|(id, partitions)| (*id, &partitions[..])).collect();
    heard(client, &has(member, one.member_epoch, &owned));
    owned.into_iter().flat_map(|(_, partitions)| partitions.to_vec()).collect()
}

#[track_caller]
pub(super) fn until(client: &mut Client, mut is_so: impl FnMut(&mut Client) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so(client) {
        assert!(Instant::now() < deadline, "it does not come to that");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_makes_no_sense_is_refused_and_the_group_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, mut client) = start(dir.path(), LIMITED);
    create(&mut client, "orders", &[]);
    let text = |text: &str| Some(text.to_owned());
    let (epoch, _) =
        heard(&mut client, &ConsumerGroupHeartbeatRequest { instance_id: text("i"), ..join("a") });
    heard(&mut client, &join("b"));

    type Change = fn(&mut ConsumerGroupHeartbeatRequest);
    let invalid: &[Change] = &[
        |one| one.group_id.clear(),
        |one| one.member_id.clear(),
        |one| one.instance_id = Some(String::new()),
        |one| one.rack_id = Some(String::new()),
        |one| one.rebalance_timeout_ms = -1,
        |one| one.subscribed_topic_names = None,
        |one| one.topic_partitions = None,
        |one| one.topic_partitions = has("a", 0, &[(Uuid::ZERO, &[1])]).topic_partitions,
        |one| one.member_epoch = -2,
        |one| one.member_epoch = -3,
        |one| one.member_epoch = i32::MIN,
    ];
    for change in invalid {
        let mut request = join("a");
        change(&mut request);
        refused(&mut client, &request, ErrorCode::InvalidRequest);
    }
    let unnamed = ConsumerGroupHeartbeatRequest { member_id: String::new(), ..beat("", 1) };
    let answer = client.ask(0, &unnamed);
    assert_eq!(answer.error_code, ErrorCode::InvalidRequest, "only who joins may have no id");

    for (request, error) in [
        (beat("a", epoch + 7), ErrorCode::FencedMemberEpoch),
        // As Kafka: whoever is no member finds the group full first.
        (beat("z", epoch), ErrorCode::GroupMaxSizeReached),
        (beat("z", -1), ErrorCode::UnknownMemberId),
        (join("c"), ErrorCode::GroupMaxSizeReached),
        (
            ConsumerGroupHeartbeatRequest { group_id: "h".to_owned(), ..beat("a", 1) },
            ErrorCode::GroupIdNotFound,
        ),
        (
            ConsumerGroupHeartbeatRequest { group_id: "h".to_owned(), ..beat("a", -1) },
            ErrorCode::GroupIdNotFound,
        ),
        (
            ConsumerGroupHeartbeatRequest { server_assignor: text("sticky"), ..join("a") },
            ErrorCode::UnsupportedAssignor,
        ),
        (
            ConsumerGroupHeartbeatRequest { subscribed_topic_regex: text("a("), ..join("a") },
            ErrorCode::InvalidRegularExpression,
        ),
        (
            ConsumerGroupHeartbeatRequest { subscribed_topic_regex: text("(?=a)"), ..join("a") },
            ErrorCode::InvalidRegularExpression,
        ),
        (
            ConsumerGroupHeartbeatRequest { instance_id: text("i"), ..join("new") },
            ErrorCode::UnreleasedInstanceId,
        ),
        (
            ConsumerGroupHeartbeatRequest { instance_id: text("i"), ..beat("b", 2) },
            ErrorCode::FencedInstanceId,
        ),
        (
            ConsumerGroupHeartbeatRequest { instance_id: text("k"), ..beat("a", epoch) },
            ErrorCode::UnknownMemberId,
        ),
    ] {
        refused(&mut client, &request, error);
    }
    let group = &describe(&mut client, 1, &["g"])[0];
    assert_eq!((group.members.len(), group.group_epoch), (2, 2), "nothing came of all that");

    // It goes for a while; another process takes its place.
    let away = ConsumerGroupHeartbeatRequest { instance_id: text("i"), ..beat("a", -2) };
    assert_eq!(heard(&mut client, &away).0, -2);
    let new = ConsumerGroupHeartbeatRequest { instance_id: text("i"), ..join("new") };
    assert!(heard(&mut client, &new).0 > 0);
    let late = ConsumerGroupHeartbeatRequest { instance_id: text("i"), ..beat("a", epoch) };
    refused(&mut client, &late, ErrorCode::FencedInstanceId);
}

fn classic_join(group: &str, member: &str) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: group.to_owned(),
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 30_000,
        member_id: member.to_owned(),
        protocol_type: "consumer".to_owned(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".to_owned(),
            metadata: Bytes::from_static(b"m"),
        }],
        ..Default::default()
    }
}

#[test]
fn a_group_that_nobody_is_in_becomes_one_of_the_other_protocol() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, mut client) = start(dir.path(), &[]);
    create(&mut client, "orders", &[]);
    heard(&mut client, &join("m"));
    let leave = |member: &str| LeaveGroupRequest {
        group_id: "g".to_owned(),
        members: vec![MemberIdentity { member_id: member.to_owned(), ..Default::default() }],
        ..Default::default()
    };
    let left = client.ask(5, &leave("m"));
    let results = (left.error_code, left.members[0].error_code);
    assert_eq!(results, (ErrorCode::None, ErrorCode::None));

    // Nobody is in it: it becomes a classic one, and back.
    let joined = client.ask(3, &classic_join("g", ""));
    assert_eq!(joined.error_code, ErrorCode::None);
    refused(&mut client, &join("m"), ErrorCode::GroupIdNotFound);
    refused(&mut client, &beat("m", 1), ErrorCode::GroupIdNotFound);
    let found = describe(&mut client, 1, &["g"]).remove(0);
    assert_eq!(found.error_code, ErrorCode::GroupIdNotFound);
    assert_eq!(client.ask(5, &leave(&joined.member_id)).members[0].error_code, ErrorCode::None);
    assert_eq!(heard(&mut client, &join("m")).0, 1);
}

/// A commit of offset 5 in partition 0 of `topic`, which is named as the version wants it.
pub(super) fn commit(
    client: &mut Client,
    version: i16,
    (member, epoch): (&str, i32),
    topic: Uuid,
) -> ErrorCode {
    let partition = OffsetCommitRequestPartition {
        partition_index: PartitionIndex::new(0),
        committed_offset: Some(Offset::new(5)),
        ..Default::default()
    };
    let topic = OffsetCommitRequestTopic {
        name: if version < 10 { "orders".to_owned() } else { String::new() },
        topic_id: if version < 10 { Uuid::ZERO } else { topic },
        partitions: vec![partition],
    };
    let request = OffsetCommitRequest {
        group_id: "g".to_owned(),
        generation_id_or_member_epoch: epoch,
        member_id: member.to_owned(),
        topics: vec![topic],
        ..Default::default()
    };
    client.ask(version, &request).topics[0].partitions[0].error_code
}

/// What is committed in partition 0, as a member asks, or nobody in particular.
pub(super) fn committed(
    client: &mut Client,
    version: i16,
    member: Option<(&str, i32)>,
    topic: Uuid,
) -> Result<Option<i64>, ErrorCode> {
    let one = OffsetFetchRequestTopics {
        name: if version < 10 { "orders".to_owned() } else { String::new() },
        topic_id: if version < 10 { Uuid::ZERO } else { topic },
        partition_indexes: vec![PartitionIndex::new(0)],
    };
    let group = OffsetFetchRequestGroup {
        group_id: "g".to_owned(),
        member_id: member.map(|(member, _)| member.to_owned()),
        member_epoch: member.map_or(-1, |(_, epoch)| epoch),
        topics: Some(vec![one]),
    };
    let request = OffsetFetchRequest { groups: vec![group], ..Default::default() };
    let answer = client.ask(version, &request).groups.remove(0);
    if !answer.error_code.is_none() {
        return Err(answer.error_code);
    }
    Ok(answer.topics[0].partitions[0].committed_offset.map(Offset::value))
}

#[test]
fn members_commit_in_their_epoch_and_all_of_it_is_read_back_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (server, mut client) = start(dir.path(), &[]);
    let orders = create(&mut client, "orders", &[]);
    let (first, _) = heard(&mut client, &join("a"));
    heard(&mut client, &join("b"));
    heard(&mut client, &beat("a", first));
    let (epoch, _) = heard(&mut client, &has("a", first, &[(orders, &[0])]));
    assert_eq!((first, epoch), (1, 2));
    assert_eq!(committed(&mut client, 10, None, orders), Ok(None));
    for version in OffsetCommitRequest::VERSIONS.iter() {
        let error = if version < 9 { ErrorCode::UnsupportedVersion } else { ErrorCode::None };
        assert_eq!(commit(&mut client, version, ("a", epoch), orders), error, "{version}");
        let error = ErrorCode::UnknownMemberId;
        assert_eq!(commit(&mut client, version, ("", -1), orders), error, "{version}");
        assert_eq!(commit(&mut client, version, ("z", epoch), orders), error, "{version}");
    }
    for version in 9..=10 {
        let stale = ErrorCode::StaleMemberEpoch;
        assert_eq!(commit(&mut client, version, ("a", epoch + 1), orders), stale);
        assert_eq!(commit(&mut client, version, ("b", 1), orders), stale, "not its partition");
        let a = ("a", epoch);
        assert_eq!(committed(&mut client, version, Some(a), orders), Ok(Some(5)));
        assert_eq!(committed(&mut client, version, None, orders), Ok(Some(5)));
        let old = Some(("a", first));
        assert_eq!(committed(&mut client, version, old, orders), Err(stale));
        let unknown = Err(ErrorCode::UnknownMemberId);
        assert_eq!(committed(&mut client, version, Some(("z", epoch)), orders), unknown);
    }
    let before = describe(&mut client, 1, &["g"]);
    server.stop();

    let (_server, mut client) = start(dir.path(), &[]);
    until(&mut client, |client| describe(client, 1, &["g"])[0].error_code.is_none());
    assert_eq!(describe(&mut client, 1, &["g"]), before);
    assert_eq!(heard(&mut client, &beat("a", epoch)).0, epoch);
    assert_eq!(committed(&mut client, 10, Some(("a", epoch)), orders), Ok(Some(5)));
}

#[test]
fn who_is_silent_is_taken_out() {
    let dir = tempfile::tempdir().unwrap();
    let sessions = [
        ("group.consumer.session.timeout.ms", "1000"),
        ("group.consumer.min.session.timeout.ms", "1000"),
        ("group.consumer.heartbeat.interval.ms", "100"),
        ("group.consumer.min.heartbeat.interval.ms", "100"),
        ("group.consumer.assignors", "range"),
    ];
    let (_server, mut client) = start(dir.path(), &sessions);
    let orders = create(&mut client, "orders", &[]);
    let wants = Some("uniform".to_owned());
    let request = ConsumerGroupHeartbeatRequest { server_assignor: wants, ..join("a") };
    refused(&mut client, &request, ErrorCode::UnsupportedAssignor);
    heard(&mut client, &join("silent"));
    let answer = client.ask(1, &join("a"));
    assert_eq!((answer.error_code, answer.heartbeat_interval_ms), (ErrorCode::None, 100));
    assert_eq!(describe(&mut client, 1, &["g"])[0].assignor_name, "range");
    let mut epoch = answer.member_epoch;
    until(&mut client, |client| {
        let (now, given) = heard(client, &beat("a", epoch));
        epoch = now;
        given == Some(vec![(orders, vec![0, 1])])
    });
    refused(&mut client, &beat("silent", 1), ErrorCode::UnknownMemberId);
}

#[test]
fn where_the_protocol_is_off_it_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (server, mut client) = start(dir.path(), &[]);
    let level = |client: &mut Client| {
        let answer = client.ask(
            4,
            &ApiVersionsRequest {
                client_software_name: "raw".to_owned(),
                client_software_version: "1".to_owned(),
            },
        );
        let found = answer.finalized_features.iter().find(|one| one.name == "group.version");
        found.map(|one| one.max_version_level)
    };
    assert_eq!(level(&mut client), Some(1));
    heard(&mut client, &join("m"));
    for (level_wanted, upgrade_type) in [(0, 2), (1, 1)] {
        let update = FeatureUpdateKey {
            feature: "group.version".to_owned(),
            max_version_level: level_wanted,
            upgrade_type,
            ..Default::default()
        };
        let request = UpdateFeaturesRequest { feature_updates: vec![update], ..Default::default() };
        let answer = client.ask(1, &request);
        assert_eq!(answer.error_code, ErrorCode::None, "{answer:?}");
        until(&mut client, |client| level(client).unwrap_or(0) == level_wanted);
        if level_wanted == 0 {
            refused(&mut client, &beat("m", 1), ErrorCode::UnsupportedVersion);
            let group = describe(&mut client, 1, &["g"]).remove(0);
            assert_eq!(group.error_code, ErrorCode::UnsupportedVersion);
        }
    }
    assert_eq!(heard(&mut client, &beat("m", 1)).0, 1);
    server.stop();

    let (_server, mut client) =
        start(dir.path(), &[("group.coordinator.rebalance.protocols", "classic")]);
    refused(&mut client, &beat("m", 1), ErrorCode::UnsupportedVersion);
}
