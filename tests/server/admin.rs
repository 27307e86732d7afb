//! The APIs that need no partition, in every version.

use ottla::protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use ottla::protocol::messages::delete_topics_request::DeleteTopicState;
use ottla::protocol::messages::describe_configs_request::DescribeConfigsResource;
use ottla::protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use ottla::protocol::messages::metadata_request::MetadataRequestTopic;
use ottla::protocol::messages::{
    ApiVersionsRequest, CreateTopicsRequest, DeleteTopicsRequest, DescribeClusterRequest,
    DescribeConfigsRequest, DescribeTopicPartitionsRequest, InitProducerIdRequest, Message,
    MetadataRequest,
};
use ottla::types::{BrokerId, ErrorCode, PartitionIndex, ProducerEpoch, ProducerId, Uuid};

use crate::support::{Client, Server};

fn api_versions() -> ApiVersionsRequest {
    ApiVersionsRequest {
        client_software_name: "test".to_owned(),
        client_software_version: "1.0".to_owned(),
    }
}

pub(super) fn topic(name: &str, partitions: i32) -> CreatableTopic {
    CreatableTopic {
        name: name.to_owned(),
        num_partitions: partitions,
        replication_factor: -1,
        ..CreatableTopic::default()
    }
}

pub(super) fn create(
    client: &mut Client,
    version: i16,
    topics: Vec<CreatableTopic>,
) -> Vec<(String, ErrorCode)> {
    let request = CreateTopicsRequest { topics, timeout_ms: 10_000, validate_only: false };
    let answer = client.ask(version, &request);
    answer.topics.into_iter().map(|topic| (topic.name, topic.error_code)).collect()
}

fn by_name(name: &str) -> MetadataRequestTopic {
    MetadataRequestTopic { name: Some(name.to_owned()), ..MetadataRequestTopic::default() }
}

fn metadata(topics: Option<Vec<MetadataRequestTopic>>, may_create: bool) -> MetadataRequest {
    MetadataRequest { topics, allow_auto_topic_creation: may_create, ..MetadataRequest::default() }
}

#[test]
fn api_versions_tells_what_is_served_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let mut client = server.connect();
    for version in ApiVersionsRequest::VERSIONS.iter() {
        let answer = client.ask(version, &api_versions());
        assert_eq!(answer.error_code, ErrorCode::None);
        let ranges: Vec<_> = answer
            .api_keys
            .iter()
            .map(|one| (one.api_key, one.min_version, one.max_version))
            .collect();
        let expected = [
            (0, 0, 13),
            (1, 4, 18),
            (2, 1, 11),
            (3, 0, 13),
            (8, 2, 10),
            (9, 1, 10),
            (10, 0, 6),
            (11, 0, 9),
            (12, 0, 4),
            (13, 0, 5),
            (14, 0, 5),
            (15, 0, 6),
            (16, 0, 5),
            (18, 0, 4),
            (19, 2, 7),
            (20, 1, 6),
            (21, 0, 2),
            (22, 0, 5),
            (23, 2, 4),
            (32, 1, 4),
            (33, 0, 2),
            (37, 0, 3),
            (42, 0, 2),
            (43, 0, 2),
            (44, 0, 1),
            (45, 0, 1),
            (46, 0, 0),
            (47, 0, 0),
            (55, 0, 2),
            (57, 0, 2),
            (60, 0, 2),
            (64, 0, 0),
            (68, 0, 1),
            (69, 0, 1),
            (75, 0, 0),
        ];
        assert_eq!(ranges, expected);
        let has_min_0 = answer.supported_features.iter().any(|feature| feature.min_version == 0);
        assert_eq!(has_min_0, version >= 4, "version {version}");
        let metadata_version = |name: &str| name == "metadata.version";
        let finalized = answer.finalized_features.iter().any(|one| metadata_version(&one.name));
        assert_eq!(finalized, version >= 3, "version {version}");
    }
    let nameless = ApiVersionsRequest { client_software_name: "-".to_owned(), ..api_versions() };
    assert_eq!(client.ask(3, &nameless).error_code, ErrorCode::InvalidRequest);
    server.stop();
}

#[test]
fn topics_are_created_described_and_deleted_in_every_version() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[("num.partitions", "3")]);
    let mut client = server.connect();
    for version in CreateTopicsRequest::VERSIONS.iter() {
        let name = format!("created-{version}");
        let created = create(&mut client, version, vec![topic(&name, -1)]);
        assert_eq!(created, [(name.clone(), ErrorCode::None)]);
        // Known at once: the answer comes after this broker has heard of it.
        let answer = client.ask(12, &metadata(Some(vec![by_name(&name)]), false));
        assert_eq!(answer.topics[0].error_code, ErrorCode::None);
        assert_eq!(answer.topics[0].partitions.len(), 3);
        assert_ne!(answer.topics[0].topic_id, Uuid::ZERO);
    }
    for version in MetadataRequest::VERSIONS.iter() {
        let all = if version == 0 { Some(Vec::new()) } else { None };
        let answer = client.ask(version, &metadata(all, true));
        assert_eq!(answer.topics.len(), 6, "version {version}");
        assert_eq!(answer.brokers.len(), 1);
        assert_eq!(answer.brokers[0].port, i32::from(server.address.port()));
        for partition in answer.topics.iter().flat_map(|topic| &topic.partitions) {
            assert_eq!(partition.error_code, ErrorCode::None);
            assert_eq!(partition.leader_id, BrokerId::from_wire(1));
        }
        if version >= 1 {
            assert_eq!(answer.controller_id, BrokerId::from_wire(1));
            let none = client.ask(version, &metadata(Some(Vec::new()), true));
            assert_eq!(none.topics.len(), 0);
        }
    }
    for version in DeleteTopicsRequest::VERSIONS.iter() {
        let name = format!("created-{}", version + 1);
        let request = DeleteTopicsRequest {
            topics: vec![DeleteTopicState { name: Some(name.clone()), topic_id: Uuid::ZERO }],
            topic_names: vec![name.clone()],
            timeout_ms: 10_000,
        };
        let request = if version >= 6 {
            DeleteTopicsRequest { topic_names: Vec::new(), ..request }
        } else {
            DeleteTopicsRequest { topics: Vec::new(), ..request }
        };
        assert_eq!(
            client.ask(version, &request).responses[0].error_code,
            ErrorCode::None,
            "{name}"
        );
        let again = client.ask(version, &request).responses[0].error_code;
        assert_eq!(again, ErrorCode::UnknownTopicOrPartition);
    }
    server.stop();
}

#[test]
fn metadata_of_topics_that_are_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let mut client = server.connect();
    let unknown = |name: &str, may_create| metadata(Some(vec![by_name(name)]), may_create);
    let answer = client.ask(9, &unknown("absent", false));
    assert_eq!(answer.topics[0].error_code, ErrorCode::UnknownTopicOrPartition);
    let answer = client.ask(9, &unknown("no such name!", true));
    assert_eq!(answer.topics[0].error_code, ErrorCode::InvalidTopicException);
    let answer = client.ask(9, &unknown("made", true));
    assert_eq!(answer.topics[0].error_code, ErrorCode::UnknownTopicOrPartition);
    let made = (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        client.ask(9, &unknown("made", true)).topics[0].error_code.is_none()
    });
    assert!(made, "the topic is created while the client asks again");
    let stays_absent = client.ask(9, &unknown("absent", false));
    assert_eq!(stays_absent.topics[0].error_code, ErrorCode::UnknownTopicOrPartition);

    let by_id = |topic_id| MetadataRequestTopic { topic_id, name: None };
    let id = client.ask(12, &unknown("made", false)).topics[0].topic_id;
    let other = Uuid::from_bytes([7; 16]);
    let answer = client.ask(12, &metadata(Some(vec![by_id(id), by_id(other)]), false));
    let found: Vec<_> =
        answer.topics.iter().map(|topic| (topic.topic_id, topic.error_code)).collect();
    assert!(found.contains(&(id, ErrorCode::None)), "{found:?}");
    assert!(found.contains(&(other, ErrorCode::UnknownTopicId)), "{found:?}");
    // Versions 10 and 11 have the field but not the lookup.
    let answer = client.ask(10, &metadata(Some(vec![by_id(id)]), false));
    assert_eq!(answer.topics[0].error_code, ErrorCode::InvalidRequest);
}

#[test]
fn topics_are_not_made_where_the_broker_does_not_allow_it() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[("auto.create.topics.enable", "false")]);
    let mut client = server.connect();
    for _ in 0..3 {
        let answer = client.ask(9, &metadata(Some(vec![by_name("absent")]), true));
        assert_eq!(answer.topics[0].error_code, ErrorCode::UnknownTopicOrPartition);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn what_cannot_be_created_is_answered_with_kafkas_codes() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let mut client = server.connect();
    let config = |name: &str, value: &str| CreatableTopic {
        configs: vec![CreatableTopicConfig {
            name: name.to_owned(),
            value: Some(value.to_owned()),
        }],
        ..topic("configured", 1)
    };
    let manual = |partitions: i32| CreatableTopic {
        assignments: vec![CreatableReplicaAssignment {
            partition_index: PartitionIndex::new(0),
            broker_ids: vec![BrokerId::new(1)],
        }],
        ..topic("assigned", partitions)
    };
    let mut check = |topic: CreatableTopic, expected: ErrorCode| {
        let name = topic.name.clone();
        assert_eq!(create(&mut client, 7, vec![topic]), [(name, expected)]);
    };
    check(topic("bad name", 1), ErrorCode::InvalidTopicException);
    check(topic("zero", 0), ErrorCode::InvalidPartitions);
    let many = CreatableTopic { replication_factor: 3, ..topic("many", 1) };
    check(many, ErrorCode::InvalidReplicationFactor);
    check(config("retention.ms", "a week"), ErrorCode::InvalidConfig);
    check(config("retentoin.ms", "1"), ErrorCode::InvalidConfig);
    check(config("cleanup.policy", "compact"), ErrorCode::InvalidConfig);
    check(config("retention.ms", "60000"), ErrorCode::None);
    check(manual(1), ErrorCode::InvalidRequest);
    check(manual(-1), ErrorCode::None);
    check(topic("assigned", 1), ErrorCode::TopicAlreadyExists);
    check(topic("__cluster_metadata", 1), ErrorCode::InvalidRequest);
    let twice =
        create(&mut client, 5, vec![topic("twice", 1), topic("twice", 1), topic("once", 1)]);
    let expected =
        [("twice".to_owned(), ErrorCode::InvalidRequest), ("once".to_owned(), ErrorCode::None)];
    assert_eq!(twice, expected);
    let request = CreateTopicsRequest {
        topics: vec![topic("only-checked", 2)],
        timeout_ms: 10_000,
        validate_only: true,
    };
    let checked = client.ask(7, &request).topics;
    assert_eq!((checked[0].error_code, checked[0].num_partitions), (ErrorCode::None, 2));
    let answer = client.ask(9, &metadata(Some(vec![by_name("only-checked")]), false));
    assert_eq!(answer.topics[0].error_code, ErrorCode::UnknownTopicOrPartition);
}

#[test]
fn topics_are_deleted_only_where_that_is_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[("delete.topic.enable", "false")]);
    let mut client = server.connect();
    create(&mut client, 7, vec![topic("kept", 1)]);
    let request = DeleteTopicsRequest {
        topic_names: vec!["kept".to_owned()],
        timeout_ms: 1000,
        ..DeleteTopicsRequest::default()
    };
    let answer = client.ask(5, &request);
    assert_eq!(answer.responses[0].error_code, ErrorCode::TopicDeletionDisabled);
    assert_eq!(client.ask(2, &request).responses[0].error_code, ErrorCode::InvalidRequest);
}

#[test]
fn configs_tell_value_source_and_synonyms() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[("log.retention.hours", "2")]);
    let mut client = server.connect();
    let configured = CreatableTopic {
        configs: vec![CreatableTopicConfig {
            name: "segment.ms".to_owned(),
            value: Some("5000".to_owned()),
        }],
        ..topic("t", 1)
    };
    create(&mut client, 7, vec![configured]);
    let resource = |resource_type: i8, name: &str, keys: &[&str]| DescribeConfigsResource {
        resource_type,
        resource_name: name.to_owned(),
        configuration_keys: Some(keys.iter().map(|key| (*key).to_owned()).collect()),
    };
    let request = DescribeConfigsRequest {
        resources: vec![
            resource(2, "t", &["segment.ms", "retention.ms", "flush.ms"]),
            resource(4, "1", &["log.retention.hours", "node.id"]),
            resource(2, "absent", &[]),
            resource(4, "9", &[]),
            resource(99, "x", &[]),
        ],
        include_synonyms: true,
        include_documentation: false,
    };
    for version in DescribeConfigsRequest::VERSIONS.iter() {
        let answer = client.ask(version, &request);
        let errors: Vec<_> = answer.results.iter().map(|one| one.error_code).collect();
        let expected = [
            ErrorCode::None,
            ErrorCode::None,
            ErrorCode::UnknownTopicOrPartition,
            ErrorCode::InvalidRequest,
            ErrorCode::InvalidRequest,
        ];
        assert_eq!(errors, expected);
        let found: Vec<_> = answer.results[0]
            .configs
            .iter()
            .map(|one| (one.name.as_str(), one.value.as_deref(), one.config_source))
            .collect();
        let expected = [
            ("flush.ms", Some("9223372036854775807"), 5),
            ("retention.ms", Some("7200000"), 4),
            ("segment.ms", Some("5000"), 1),
        ];
        assert_eq!(found, expected);
        assert!(!answer.results[0].configs[1].synonyms.is_empty());
        let broker = &answer.results[1].configs;
        assert_eq!(broker.len(), 2);
        assert!(broker.iter().all(|one| one.read_only && one.config_source == 4));
    }
}

#[test]
fn the_cluster_is_described() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[("broker.rack", "north")]);
    let mut client = server.connect();
    for version in DescribeClusterRequest::VERSIONS.iter() {
        let answer = client.ask(version, &DescribeClusterRequest::default());
        assert_eq!(answer.error_code, ErrorCode::None);
        assert_eq!(answer.brokers.len(), 1);
        assert_eq!(answer.brokers[0].rack.as_deref(), Some("north"));
        assert_eq!(answer.cluster_id.len(), 22);
    }
    let controllers = DescribeClusterRequest { endpoint_type: 2, ..Default::default() };
    assert_eq!(client.ask(1, &controllers).error_code, ErrorCode::MismatchedEndpointType);
}

#[test]
fn producer_ids_are_never_given_twice_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut given = std::collections::BTreeSet::new();
    for _ in 0..2 {
        let server = Server::start(dir.path(), &[]);
        let mut client = server.connect();
        for version in InitProducerIdRequest::VERSIONS.iter() {
            let answer = client.ask(version, &InitProducerIdRequest::default());
            assert_eq!(answer.error_code, ErrorCode::None);
            assert_eq!(answer.producer_epoch, ProducerEpoch::from_wire(0));
            assert!(given.insert(answer.producer_id.unwrap()), "{:?}", answer.producer_id);
        }
        server.kill();
    }
    let server = Server::start(dir.path(), &[]);
    let mut client = server.connect();
    let again = InitProducerIdRequest {
        producer_id: ProducerId::from_wire(0),
        producer_epoch: ProducerEpoch::from_wire(3),
        ..InitProducerIdRequest::default()
    };
    let answer = client.ask(3, &again);
    assert!(given.insert(answer.producer_id.unwrap()));
    let half = InitProducerIdRequest { producer_epoch: None, ..again };
    assert_eq!(client.ask(3, &half).error_code, ErrorCode::InvalidRequest);
    let transactional = InitProducerIdRequest {
        transactional_id: Some("t".to_owned()),
        ..InitProducerIdRequest::default()
    };
    assert_eq!(client.ask(4, &transactional).error_code, ErrorCode::UnsupportedVersion);
}

#[test]
fn describe_topic_partitions_pages_through_the_topics() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]);
    let mut client = server.connect();
    create(&mut client, 7, vec![topic("a", 3), topic("b", 2)]);
    let mut ask = |topics: &[&str], limit, from: Option<(&str, i32)>| {
        let request = DescribeTopicPartitionsRequest {
            topics: topics.iter().map(|name| TopicRequest { name: (*name).to_owned() }).collect(),
            response_partition_limit: limit,
            cursor: from.map(|(topic, partition_index)| Cursor {
                topic_name: topic.to_owned(),
                partition_index,
            }),
        };
        let answer = client.ask(0, &request);
        let topics: Vec<String> = answer
            .topics
            .iter()
            .map(|topic| {
                let indexes: Vec<i32> =
                    topic.partitions.iter().map(|one| one.partition_index.value()).collect();
                let name = topic.name.as_deref().unwrap();
                format!("{name}{indexes:?} {}", topic.error_code)
            })
            .collect();
        let next =
            answer.next_cursor.map(|next| format!("{}-{}", next.topic_name, next.partition_index));
        (topics.join(" "), next)
    };
    let page = |topics: &str, next: Option<&str>| (topics.to_owned(), next.map(str::to_owned));
    assert_eq!(ask(&[], 2000, None), page("a[0, 1, 2] NONE b[0, 1] NONE", None));
    assert_eq!(ask(&[], 2, None), page("a[0, 1] NONE", Some("a-2")));
    assert_eq!(ask(&[], 2, Some(("a", 2))), page("a[2] NONE b[0] NONE", Some("b-1")));
    assert_eq!(ask(&[], 3, None), page("a[0, 1, 2] NONE", Some("b-0")));
    assert_eq!(ask(&["b"], 0, Some(("b", 1))), page("b[1] NONE", None));
    assert_eq!(ask(&["b"], -1, Some(("b", 9))), page("b[] NONE", None));
    assert_eq!(
        ask(&["nobody", "b", ".."], 5, None),
        page("..[] INVALID_TOPIC_EXCEPTION b[0, 1] NONE nobody[] UNKNOWN_TOPIC_OR_PARTITION", None)
    );
    assert_eq!(ask(&["b"], 5, Some(("a", 0))), page("b[] INVALID_REQUEST", None));
    assert_eq!(ask(&["b"], 5, Some(("b", -1))), page("b[] INVALID_REQUEST", None));

    let one = client
        .ask(0, &DescribeTopicPartitionsRequest::default())
        .topics
        .remove(0)
        .partitions
        .remove(0);
    assert_eq!(one.leader_id, Some(BrokerId::new(1)));
    assert_eq!(
        (one.replica_nodes, one.isr_nodes),
        (vec![BrokerId::new(1)], vec![BrokerId::new(1)])
    );
    assert_eq!((one.eligible_leader_replicas, one.offline_replicas), (Some(vec![]), vec![]));
}
