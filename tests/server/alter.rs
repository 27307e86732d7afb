//! What administrators change, in every version: passed on by the broker, decided by the controller.

use ottla::protocol::messages::{
    AlterConfigsRequest, AlterPartitionReassignmentsRequest, CreatePartitionsRequest,
    DescribeConfigsRequest, ElectLeadersRequest, IncrementalAlterConfigsRequest,
    ListPartitionReassignmentsRequest, Message, UnregisterBrokerRequest, UpdateFeaturesRequest,
    alter_configs_request, alter_partition_reassignments_request, create_partitions_request,
    describe_configs_request, elect_leaders_request, incremental_alter_configs_request,
    list_partition_reassignments_request, update_features_request,
};
use ottla::types::{BrokerId, ErrorCode};

use crate::admin::{create, topic};
use crate::support::{Client, Server};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;

/// Kafka's numbers of where a value comes from.
const DYNAMIC_TOPIC: i8 = 1;
const DYNAMIC_DEFAULT_BROKER: i8 = 3;
const DEFAULT: i8 = 5;

/// A server with topic `t` of one partition.
fn start(dir: &std::path::Path) -> (Server, Client) {
    let server = Server::start(dir, &[]);
    let mut client = server.connect();
    assert_eq!(create(&mut client, 7, vec![topic("t", 1)])[0].1, ErrorCode::None);
    (server, client)
}

/// Changes one config; the answer.
fn change(
    client: &mut Client,
    version: i16,
    (resource_type, resource_name): (i8, &str),
    (name, config_operation, value): (&str, i8, Option<&str>),
) -> ErrorCode {
    let config = incremental_alter_configs_request::AlterableConfig {
        name: name.to_owned(),
        config_operation,
        value: value.map(str::to_owned),
    };
    let resource = incremental_alter_configs_request::AlterConfigsResource {
        resource_type,
        resource_name: resource_name.to_owned(),
        configs: vec![config],
    };
    let request =
        IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
    client.ask(version, &request).responses[0].error_code
}

/// The value of a config and where it comes from.
fn describe(
    client: &mut Client,
    (resource_type, name): (i8, &str),
    key: &str,
) -> (Option<String>, i8) {
    let resource = describe_configs_request::DescribeConfigsResource {
        resource_type,
        resource_name: name.to_owned(),
        configuration_keys: Some(vec![key.to_owned()]),
    };
    let request =
        DescribeConfigsRequest { resources: vec![resource], ..DescribeConfigsRequest::default() };
    let mut answer = client.ask(4, &request);
    let config = answer.results.remove(0).configs.remove(0);
    (config.value, config.config_source)
}

#[test]
fn configs_of_topics_and_brokers_change_and_the_change_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let (server, mut client) = start(dir.path());
    let text = |text: &str| Some(text.to_owned());
    for version in IncrementalAlterConfigsRequest::VERSIONS.iter() {
        let client = &mut client;
        let topic = (TOPIC, "t");
        let set = ("retention.ms", SET, Some("1000"));
        assert_eq!(change(client, version, topic, set), ErrorCode::None);
        assert_eq!(describe(client, topic, "retention.ms"), (text("1000"), DYNAMIC_TOPIC));
        let delete = ("retention.ms", DELETE, None);
        assert_eq!(change(client, version, topic, delete), ErrorCode::None);
        assert_eq!(describe(client, topic, "retention.ms"), (text("604800000"), DEFAULT));
        // For all brokers: what a topic does not set comes from there.
        let all = (BROKER, "");
        let set = ("log.retention.ms", SET, Some("2000"));
        assert_eq!(change(client, version, all, set), ErrorCode::None);
        assert_eq!(describe(client, topic, "retention.ms"), (text("2000"), DYNAMIC_DEFAULT_BROKER));
        assert_eq!(
            describe(client, all, "log.retention.ms"),
            (text("2000"), DYNAMIC_DEFAULT_BROKER)
        );
        let delete = ("log.retention.ms", DELETE, None);
        assert_eq!(change(client, version, all, delete), ErrorCode::None);
        let refused = [
            ((TOPIC, "t"), ("retention.ms", SET, Some("soon")), ErrorCode::InvalidConfig),
            ((TOPIC, "t"), ("retention.ms", SET, None), ErrorCode::InvalidRequest),
            ((TOPIC, "t"), ("retention.ms", 9, Some("1")), ErrorCode::InvalidRequest),
            ((TOPIC, "t"), ("retention.ms", APPEND, Some("1")), ErrorCode::InvalidConfig),
            ((TOPIC, "x"), ("retention.ms", SET, Some("1")), ErrorCode::UnknownTopicOrPartition),
            ((BROKER, ""), ("num.io.threads", SET, Some("1")), ErrorCode::InvalidConfig),
            (
                (BROKER, "77"),
                ("log.retention.ms", SET, Some("1")),
                ErrorCode::BrokerIdNotRegistered,
            ),
            ((99, "t"), ("retention.ms", SET, Some("1")), ErrorCode::InvalidRequest),
        ];
        for (resource, config, error) in refused {
            assert_eq!(change(client, version, resource, config), error, "{config:?}");
        }
    }
    for version in AlterConfigsRequest::VERSIONS.iter() {
        let set = ("retention.ms", SET, Some("1000"));
        assert_eq!(change(&mut client, 1, (TOPIC, "t"), set), ErrorCode::None);
        let config = alter_configs_request::AlterableConfig {
            name: "segment.ms".to_owned(),
            value: text("3000"),
        };
        let resource = alter_configs_request::AlterConfigsResource {
            resource_type: TOPIC,
            resource_name: "t".to_owned(),
            configs: vec![config],
        };
        let twice = AlterConfigsRequest {
            resources: vec![resource.clone(), resource.clone()],
            validate_only: false,
        };
        let answer = client.ask(version, &twice);
        assert!(answer.responses.iter().all(|one| one.error_code == ErrorCode::InvalidRequest));
        let request = AlterConfigsRequest { resources: vec![resource], validate_only: false };
        assert_eq!(client.ask(version, &request).responses[0].error_code, ErrorCode::None);
        assert_eq!(describe(&mut client, (TOPIC, "t"), "segment.ms").0, text("3000"));
        let back = describe(&mut client, (TOPIC, "t"), "retention.ms");
        assert_eq!(back, (text("604800000"), DEFAULT));
    }
    server.stop();
}

#[test]
fn partitions_are_added_and_moved_and_their_leaders_elected() {
    let dir = tempfile::tempdir().unwrap();
    let (server, mut client) = start(dir.path());
    for (version, count) in CreatePartitionsRequest::VERSIONS.iter().zip(2..) {
        let topics = [("t", count), ("t", 1), ("x", 3)].map(|(name, count)| {
            create_partitions_request::CreatePartitionsTopic {
                name: name.to_owned(),
                count,
                assignments: None,
            }
        });
        let ask = |client: &mut Client,
                   topics: &[create_partitions_request::CreatePartitionsTopic]| {
            let request = CreatePartitionsRequest {
                topics: topics.to_vec(),
                timeout_ms: 10_000,
                validate_only: false,
            };
            let results = client.ask(version, &request).results.into_iter();
            results.map(|one| (one.name, one.error_code)).collect::<Vec<_>>()
        };
        let unknown = ("x".to_owned(), ErrorCode::UnknownTopicOrPartition);
        assert_eq!(
            ask(&mut client, &topics),
            [("t".to_owned(), ErrorCode::InvalidRequest), unknown]
        );
        let grown = ("t".to_owned(), ErrorCode::None);
        assert_eq!(ask(&mut client, &topics[..1]), [grown]);
        let fewer = ("t".to_owned(), ErrorCode::InvalidPartitions);
        assert_eq!(ask(&mut client, &topics[1..2]), [fewer]);
    }
    for version in ElectLeadersRequest::VERSIONS.iter() {
        let topics = [("t", vec![0, 77]), ("x", vec![0])].map(|(name, partitions)| {
            elect_leaders_request::TopicPartitions { topic: name.to_owned(), partitions }
        });
        let request = ElectLeadersRequest {
            topic_partitions: Some(topics.into()),
            ..ElectLeadersRequest::default()
        };
        let answer = client.ask(version, &request);
        assert_eq!(answer.error_code, ErrorCode::None);
        let topics = answer.replica_election_results.into_iter();
        let errors: Vec<Vec<ErrorCode>> = topics
            .map(|topic| topic.partition_result.iter().map(|one| one.error_code).collect())
            .collect();
        let unknown = ErrorCode::UnknownTopicOrPartition;
        assert_eq!(errors, [vec![ErrorCode::ElectionNotNeeded, unknown], vec![unknown]]);
        let everywhere = ElectLeadersRequest::default();
        assert_eq!(client.ask(version, &everywhere).replica_election_results, []);
    }
    for version in AlterPartitionReassignmentsRequest::VERSIONS.iter() {
        let partition = |partition_index, replicas: Option<&[i32]>| {
            let replicas = replicas.map(|ids| ids.iter().copied().map(BrokerId::new).collect());
            alter_partition_reassignments_request::ReassignablePartition {
                partition_index,
                replicas,
            }
        };
        let partitions = vec![partition(0, None), partition(1, Some(&[77])), partition(9, None)];
        let topics = vec![alter_partition_reassignments_request::ReassignableTopic {
            name: "t".to_owned(),
            partitions,
        }];
        let request = AlterPartitionReassignmentsRequest {
            topics,
            ..AlterPartitionReassignmentsRequest::default()
        };
        let answer = client.ask(version, &request);
        assert_eq!(answer.error_code, ErrorCode::None);
        let partitions = &answer.responses[0].partitions;
        let errors: Vec<ErrorCode> = partitions.iter().map(|one| one.error_code).collect();
        let expected = [
            ErrorCode::NoReassignmentInProgress,
            ErrorCode::InvalidReplicaAssignment,
            ErrorCode::UnknownTopicOrPartition,
        ];
        assert_eq!(errors, expected);
    }
    let named = list_partition_reassignments_request::ListPartitionReassignmentsTopics {
        name: "t".to_owned(),
        partition_indexes: vec![0, 5],
    };
    for topics in [None, Some(vec![named])] {
        let request = ListPartitionReassignmentsRequest {
            topics,
            ..ListPartitionReassignmentsRequest::default()
        };
        let answer = client.ask(0, &request);
        assert_eq!((answer.error_code, answer.topics), (ErrorCode::None, vec![]));
    }
    server.stop();
}

#[test]
fn features_change_all_or_none_and_unknown_brokers_cannot_leave() {
    let dir = tempfile::tempdir().unwrap();
    let (server, mut client) = start(dir.path());
    for version in UpdateFeaturesRequest::VERSIONS.iter() {
        let update = |feature: &str, max_version_level| update_features_request::FeatureUpdateKey {
            feature: feature.to_owned(),
            max_version_level,
            ..update_features_request::FeatureUpdateKey::default()
        };
        let mut ask = |feature_updates| {
            let request =
                UpdateFeaturesRequest { feature_updates, ..UpdateFeaturesRequest::default() };
            client.ask(version, &request).error_code
        };
        assert_eq!(ask(vec![update("metadata.version", 27)]), ErrorCode::None);
        let refused = vec![update("metadata.version", 27), update("nonsense", 1)];
        assert_eq!(ask(refused), ErrorCode::InvalidUpdateVersion);
    }
    let request = UnregisterBrokerRequest { broker_id: BrokerId::new(77) };
    assert_eq!(client.ask(0, &request).error_code, ErrorCode::BrokerIdNotRegistered);
    server.stop();
}
