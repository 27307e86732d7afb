//! The admin client against brokers that are scripts: what it asks whom, what it makes of answers, when it asks again.
#![cfg(not(madsim))]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests: a failure is a panic; brokers run in threads of their own"
)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use ottla::client::{
    Admin, AdminConfig, ClientError, ConfigChange, ConfigOperation, ConfigResource, ElectionType,
    FeatureUpdate, NewPartitions, NewTopic, UpgradeType,
};
use ottla::protocol::frame::{decode_request, decode_request_header, encode_response, take_frame};
use ottla::protocol::messages::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use ottla::protocol::messages::api_versions_response::ApiVersion;
use ottla::protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use ottla::protocol::messages::create_topics_response::CreatableTopicResult;
use ottla::protocol::messages::delete_topics_response::DeletableTopicResult;
use ottla::protocol::messages::describe_cluster_response::DescribeClusterBroker;
use ottla::protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult,
};
use ottla::protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use ottla::protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use ottla::protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use ottla::protocol::messages::list_partition_reassignments_response::{
    OngoingPartitionReassignment, OngoingTopicReassignment,
};
use ottla::protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use ottla::protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use ottla::protocol::messages::{
    self, AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse,
    ApiVersionsRequest, ApiVersionsResponse, CreatePartitionsRequest, CreatePartitionsResponse,
    CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse,
    DescribeClusterRequest, DescribeClusterResponse, DescribeConfigsRequest,
    DescribeConfigsResponse, DescribeQuorumRequest, DescribeQuorumResponse,
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, ElectLeadersRequest,
    ElectLeadersResponse, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse, Message,
    MetadataRequest, MetadataResponse, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
    Request, UnregisterBrokerRequest, UnregisterBrokerResponse, UpdateFeaturesRequest,
    UpdateFeaturesResponse,
};
use ottla::protocol::wire::Reader;
use ottla::protocol::{ApiKey, VersionRange};
use ottla::runtime::{Env, Observer, real_env};
use ottla::types::{
    BrokerId, ErrorCode, LeaderEpoch, Observation, Offset, PartitionIndex, TopicPartition, Uuid,
};

/// Answers one request: broker, version, the rest of the frame, correlation id.
type Script = Box<dyn FnMut(usize, i16, Reader, i32) -> Vec<Bytes> + Send>;

#[derive(Default)]
struct Scripts {
    served: BTreeMap<i16, (ApiKey, VersionRange, Script)>,
    /// Which broker was asked what, in order.
    asked: Vec<(usize, ApiKey)>,
}

/// Brokers on loopback that answer by script.
#[derive(Clone, Default)]
struct Brokers {
    addresses: Vec<SocketAddr>,
    scripts: Arc<Mutex<Scripts>>,
}

impl Brokers {
    fn start(count: usize) -> Self {
        let mut brokers = Self::default();
        for broker in 0..count {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            brokers.addresses.push(listener.local_addr().unwrap());
            let scripts = brokers.scripts.clone();
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    let scripts = scripts.clone();
                    std::thread::spawn(move || serve(broker, stream.unwrap(), &scripts));
                }
            });
        }
        brokers
    }

    /// Answers `R` from now on.
    fn on<R: Request + 'static>(
        self,
        mut answer: impl FnMut(usize, R) -> R::Response + Send + 'static,
    ) -> Self {
        let script: Script = Box::new(move |broker, version, mut input, correlation_id| {
            let request: R = decode_request(version, &mut input).unwrap();
            let response = answer(broker, request);
            encode_response(correlation_id, R::API, version, &response).unwrap()
        });
        let served = (R::API, R::VERSIONS, script);
        self.scripts.lock().unwrap().served.insert(R::API.key(), served);
        self
    }

    fn asked(&self) -> Vec<(usize, ApiKey)> {
        self.scripts.lock().unwrap().asked.clone()
    }

    /// Which brokers were asked this, one request after another.
    fn asked_for(&self, api: ApiKey) -> Vec<usize> {
        let asked = self.asked().into_iter().filter(|(_, asked)| *asked == api);
        asked.map(|(broker, _)| broker).collect()
    }

    /// The same, sorted: several leaders are asked at the same time.
    fn asked_at_once(&self, api: ApiKey) -> Vec<usize> {
        let mut brokers = self.asked_for(api);
        brokers.sort_unstable();
        brokers
    }

    fn admin(&self) -> Admin {
        self.admin_within(5_000)
    }

    /// An admin client that gives each call so long.
    fn admin_within(&self, millis: u64) -> Admin {
        let addresses: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        let config = AdminConfig::new([
            ("bootstrap.servers", addresses.join(",").as_str()),
            ("retry.backoff.ms", "1"),
            ("reconnect.backoff.ms", "1"),
            ("default.api.timeout.ms", &millis.to_string()),
        ]);
        Admin::new(config.unwrap(), env())
    }

    /// Metadata of topic `t`: partition 0 is led by these brokers, one after another, each time it is asked.
    fn led_by(self, leaders: &[usize]) -> Self {
        let addresses = self.addresses.clone();
        let mut leaders = leaders.to_vec();
        let mut epoch = 0;
        self.on(move |_, _: MetadataRequest| {
            let leader = leaders[0];
            if leaders.len() > 1 {
                leaders.remove(0);
            }
            epoch += 1;
            metadata(&addresses, leader, epoch)
        })
    }

    /// Partitions 0, 1, … of topic `t` are led by these brokers; by nobody where there is none. Other topics are not there.
    fn leading(self, leaders: &[Option<usize>]) -> Self {
        let addresses = self.addresses.clone();
        let leaders = leaders.to_vec();
        self.on(move |_, request: MetadataRequest| {
            let mut response = metadata(&addresses, 0, 1);
            let first = response.topics[0].partitions[0].clone();
            let partition = |(index, leader): (i32, &Option<usize>)| MetadataResponsePartition {
                partition_index: PartitionIndex::new(index),
                leader_id: leader.map(broker_id),
                ..first.clone()
            };
            response.topics[0].partitions = (0..).zip(&leaders).map(partition).collect();
            let asked = request.topics.unwrap_or_default();
            for name in asked.into_iter().filter_map(|topic| topic.name) {
                if name != "t" {
                    let error_code = ErrorCode::UnknownTopicOrPartition;
                    response.topics.push(MetadataResponseTopic {
                        name: Some(name),
                        error_code,
                        ..MetadataResponseTopic::default()
                    });
                }
            }
            response
        })
    }
}

fn metadata(addresses: &[SocketAddr], leader: usize, epoch: i32) -> MetadataResponse {
    let broker = |(id, address): (usize, &SocketAddr)| MetadataResponseBroker {
        node_id: broker_id(id),
        host: address.ip().to_string(),
        port: address.port().into(),
        rack: None,
    };
    MetadataResponse {
        brokers: addresses.iter().enumerate().map(broker).collect(),
        topics: vec![MetadataResponseTopic {
            name: Some("t".to_owned()),
            partitions: vec![MetadataResponsePartition {
                leader_id: Some(broker_id(leader)),
                leader_epoch: Some(LeaderEpoch::new(epoch)),
                replica_nodes: vec![broker_id(0), broker_id(1)],
                isr_nodes: vec![broker_id(1)],
                ..MetadataResponsePartition::default()
            }],
            ..MetadataResponseTopic::default()
        }],
        ..MetadataResponse::default()
    }
}

fn serve(broker: usize, mut stream: TcpStream, scripts: &Mutex<Scripts>) {
    let mut buffer = BytesMut::new();
    let mut chunk = [0; 4096];
    loop {
        while let Some(frame) = take_frame(&mut buffer, 1 << 20).unwrap() {
            let mut input = Reader::new(frame);
            let header = decode_request_header(&mut input).unwrap();
            let mut scripts = scripts.lock().unwrap();
            let (version, id) = (header.api_version, header.correlation_id);
            let frame = if header.api_key == ApiKey::ApiVersions.key() {
                let mut api_keys: Vec<ApiVersion> = scripts.served.values().map(served).collect();
                let versions = ApiVersionsRequest::VERSIONS;
                api_keys.push(served(&(ApiKey::ApiVersions, versions, Box::new(no_script))));
                let response = ApiVersionsResponse { api_keys, ..ApiVersionsResponse::default() };
                encode_response(id, ApiKey::ApiVersions, version, &response).unwrap()
            } else {
                let api = ApiKey::from_wire(header.api_key).unwrap();
                scripts.asked.push((broker, api));
                let Some((_, _, script)) = scripts.served.get_mut(&header.api_key) else { return };
                script(broker, version, input, id)
            };
            drop(scripts);
            frame.iter().for_each(|slice| stream.write_all(slice).unwrap());
        }
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return,
            Ok(count) => buffer.extend_from_slice(&chunk[..count]),
        }
    }
}

fn no_script(_: usize, _: i16, _: Reader, _: i32) -> Vec<Bytes> {
    unreachable!("ApiVersions is answered by itself")
}

fn served((api, versions, _): &(ApiKey, VersionRange, Script)) -> ApiVersion {
    ApiVersion { api_key: api.key(), min_version: versions.min, max_version: versions.max }
}

struct Deaf;

impl Observer for Deaf {
    fn observe(&self, _: Observation) {}
}

fn env() -> Env {
    real_env(Arc::new(Deaf), 1).unwrap()
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn broker_id(id: usize) -> BrokerId {
    BrokerId::new(i32::try_from(id).unwrap())
}

fn ids(ids: &[usize]) -> Vec<BrokerId> {
    ids.iter().map(|id| broker_id(*id)).collect()
}

fn partition(index: i32) -> TopicPartition {
    TopicPartition { topic: "t".into(), partition: PartitionIndex::new(index) }
}

fn error_of<T: std::fmt::Debug>(result: &Result<T, ClientError>) -> ErrorCode {
    match result {
        Err(ClientError::Answer { error, .. }) => *error,
        other => panic!("{other:?}"),
    }
}

// ---- whom it asks ----

#[test]
fn a_broker_that_reaches_no_controller_is_asked_again() {
    let mut answers = 0;
    let brokers = Brokers::start(1).on(move |_, request: CreateTopicsRequest| {
        answers += 1;
        let error_code =
            if answers < 3 { ErrorCode::NotController } else { ErrorCode::TopicAlreadyExists };
        let topic = |topic: messages::create_topics_request::CreatableTopic| CreatableTopicResult {
            name: topic.name,
            error_code,
            ..CreatableTopicResult::default()
        };
        let topics = request.topics.into_iter().map(topic).collect();
        CreateTopicsResponse { topics, ..CreateTopicsResponse::default() }
    });
    run(async {
        let answer = brokers.admin().create_topics(&[NewTopic::new("a")]).await.unwrap();
        assert_eq!(error_of(&answer[0]), ErrorCode::TopicAlreadyExists);
    });
    assert_eq!(brokers.asked().len(), 3);
}

#[test]
fn a_broker_that_is_gone_is_passed_over() {
    let mut brokers =
        Brokers::start(2).on(|_, _: UnregisterBrokerRequest| UnregisterBrokerResponse::default());
    // The first address belongs to nobody any more.
    brokers.addresses[0] = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    run(async {
        let admin = brokers.admin();
        for _ in 0..3 {
            admin.unregister_broker(broker_id(7)).await.unwrap();
        }
    });
    let api = ApiKey::UnregisterBroker;
    assert_eq!(brokers.asked(), [(1, api), (1, api), (1, api)]);
}

#[test]
fn a_leader_that_moved_is_followed() {
    let brokers =
        Brokers::start(2).led_by(&[0, 1]).on(|broker, request: OffsetForLeaderEpochRequest| {
            let asked = &request.topics[0].partitions[0];
            let answer = EpochEndOffset {
                error_code: if broker == 1 {
                    ErrorCode::None
                } else {
                    ErrorCode::NotLeaderOrFollower
                },
                leader_epoch: asked.leader_epoch,
                end_offset: Some(Offset::new(i64::from(
                    asked.current_leader_epoch.unwrap().value(),
                ))),
                ..EpochEndOffset::default()
            };
            let topic =
                OffsetForLeaderTopicResult { topic: "t".to_owned(), partitions: vec![answer] };
            OffsetForLeaderEpochResponse {
                topics: vec![topic],
                ..OffsetForLeaderEpochResponse::default()
            }
        });
    let end = run(async {
        brokers.admin().offset_for_leader_epoch(&partition(0), LeaderEpoch::new(3)).await.unwrap()
    });
    assert_eq!(end.leader_epoch, Some(LeaderEpoch::new(3)));
    assert_eq!(end.end_offset, Some(Offset::new(2)), "asked under the second epoch");
    let leaders: Vec<usize> = brokers
        .asked()
        .into_iter()
        .filter(|(_, api)| *api == ApiKey::OffsetForLeaderEpoch)
        .map(|(broker, _)| broker)
        .collect();
    assert_eq!(leaders, [0, 1]);
}

#[test]
fn an_epoch_end_that_the_leader_refuses_for_good_is_an_error() {
    let brokers = Brokers::start(1).led_by(&[0]).on(|_, _: OffsetForLeaderEpochRequest| {
        let error_code = ErrorCode::TopicAuthorizationFailed;
        let partitions = vec![EpochEndOffset { error_code, ..EpochEndOffset::default() }];
        let topic = OffsetForLeaderTopicResult { topic: "t".to_owned(), partitions };
        OffsetForLeaderEpochResponse {
            topics: vec![topic],
            ..OffsetForLeaderEpochResponse::default()
        }
    });
    let answer = run(async {
        brokers.admin().offset_for_leader_epoch(&partition(0), LeaderEpoch::new(0)).await
    });
    assert_eq!(error_of(&answer), ErrorCode::TopicAuthorizationFailed);
}

#[test]
fn what_no_broker_serves_is_said_so() {
    let brokers = Brokers::start(1);
    let answer = run(async { brokers.admin().unregister_broker(broker_id(7)).await });
    assert!(matches!(answer, Err(ClientError::UnsupportedVersion { .. })), "{answer:?}");
}

// ---- topics and configurations ----

#[test]
fn delete_topics_answers_each_name_in_the_order_of_the_questions() {
    let brokers = Brokers::start(1).on(|_, request: DeleteTopicsRequest| {
        let answer = |topic: messages::delete_topics_request::DeleteTopicState| {
            let is_known = topic.name.as_deref() == Some("known");
            let error = if is_known { ErrorCode::None } else { ErrorCode::UnknownTopicOrPartition };
            DeletableTopicResult {
                name: topic.name,
                error_code: error,
                ..DeletableTopicResult::default()
            }
        };
        // In another order than they were asked.
        let responses = request.topics.into_iter().rev().map(answer).collect();
        DeleteTopicsResponse { responses, ..DeleteTopicsResponse::default() }
    });
    let answers = run(async { brokers.admin().delete_topics(&["known", "other"]).await.unwrap() });
    assert_eq!(answers[0], Ok(()));
    assert_eq!(error_of(&answers[1]), ErrorCode::UnknownTopicOrPartition);
}

#[test]
fn create_partitions_tells_totals_and_assignments() {
    let brokers = Brokers::start(1).on(|_, request: CreatePartitionsRequest| {
        let told = request.topics.iter().map(|topic| {
            let brokers = topic.assignments.as_ref();
            let brokers = brokers.map(|all| all.iter().map(|a| a.broker_ids.len()).sum::<usize>());
            format!("{} {} {brokers:?}", topic.name, topic.count)
        });
        let result = |told: String| CreatePartitionsTopicResult {
            name: told.split(' ').next().unwrap().to_owned(),
            error_code: ErrorCode::InvalidPartitions,
            error_message: Some(told),
        };
        let results = told.map(result).collect();
        CreatePartitionsResponse { results, ..CreatePartitionsResponse::default() }
    });
    let placed = NewPartitions {
        assignments: Some(vec![ids(&[1, 2]), ids(&[2])]),
        ..NewPartitions::new("b", 4)
    };
    let wanted = [NewPartitions::new("a", 3), placed];
    let answers = run(async { brokers.admin().create_partitions(&wanted).await.unwrap() });
    let told: Vec<String> = answers.iter().map(|a| a.as_ref().unwrap_err().to_string()).collect();
    assert_eq!(told, ["INVALID_PARTITIONS: a 3 None", "INVALID_PARTITIONS: b 4 Some(3)"]);
}

fn described(name: &str, partitions: &[i32]) -> DescribeTopicPartitionsResponseTopic {
    let partition = |index: &i32| DescribeTopicPartitionsResponsePartition {
        partition_index: PartitionIndex::new(*index),
        eligible_leader_replicas: Some(ids(&[2])),
        offline_replicas: ids(&[2]),
        ..DescribeTopicPartitionsResponsePartition::default()
    };
    DescribeTopicPartitionsResponseTopic {
        name: Some(name.to_owned()),
        partitions: partitions.iter().map(partition).collect(),
        ..DescribeTopicPartitionsResponseTopic::default()
    }
}

#[test]
fn describe_topics_goes_on_where_a_page_ended_and_tells_eligible_leader_replicas() {
    let brokers = Brokers::start(1).on(|_, request: DescribeTopicPartitionsRequest| {
        let names: Vec<&str> = request.topics.iter().map(|topic| topic.name.as_str()).collect();
        let from = request.cursor.map(|cursor| (cursor.topic_name, cursor.partition_index));
        let cursor = |topic: &str, partition_index| {
            Some(Cursor { topic_name: topic.to_owned(), partition_index })
        };
        let (topics, next_cursor) = match from.as_ref().map(|(name, index)| (name.as_str(), *index))
        {
            None => {
                assert_eq!(names, ["a", "b", "c"], "sorted, each once");
                (vec![described("a", &[0, 1])], cursor("a", 2))
            }
            Some(("a", 2)) => (vec![described("a", &[2]), described("b", &[0])], cursor("c", 0)),
            Some(("c", 0)) => {
                assert_eq!(names, ["c"], "what is behind is not asked again");
                let error_code = ErrorCode::UnknownTopicOrPartition;
                let topic =
                    DescribeTopicPartitionsResponseTopic { error_code, ..described("c", &[]) };
                (vec![topic], None)
            }
            Some(other) => panic!("{other:?}"),
        };
        DescribeTopicPartitionsResponse {
            topics,
            next_cursor,
            ..DescribeTopicPartitionsResponse::default()
        }
    });
    let answers = run(async { brokers.admin().describe_topics(&["b", "a", "c"]).await.unwrap() });
    let partitions = |index: usize| answers[index].as_ref().unwrap().partitions.len();
    assert_eq!((partitions(0), partitions(1)), (1, 3));
    assert_eq!(error_of(&answers[2]), ErrorCode::UnknownTopicOrPartition);
    let first = &answers[0].as_ref().unwrap().partitions[0];
    assert_eq!(first.eligible_leader_replicas, Some(ids(&[2])));
    assert_eq!(first.offline_replicas, ids(&[2]));
}

#[test]
fn describe_topics_takes_metadata_where_a_broker_serves_nothing_better() {
    let brokers = Brokers::start(2).led_by(&[1]);
    let answers = run(async { brokers.admin().describe_topics(&["t"]).await.unwrap() });
    let partition = &answers[0].as_ref().unwrap().partitions[0];
    assert_eq!(partition.leader, Some(broker_id(1)));
    assert_eq!(partition.in_sync_replicas, ids(&[1]));
    assert_eq!(partition.eligible_leader_replicas, None);
}

#[test]
fn describe_configs_names_topics_and_brokers_and_sorts() {
    let brokers = Brokers::start(1).on(|_, request: DescribeConfigsRequest| {
        let asked = &request.resources[0];
        let config = |name: &str| DescribeConfigsResourceResult {
            name: name.to_owned(),
            value: Some(format!("{}/{}", asked.resource_type, asked.resource_name)),
            config_source: 1,
            ..DescribeConfigsResourceResult::default()
        };
        let is_known = asked.resource_name != "nobody";
        let error = if is_known { ErrorCode::None } else { ErrorCode::UnknownTopicOrPartition };
        let result = DescribeConfigsResult {
            error_code: error,
            configs: vec![config("retention.ms"), config("cleanup.policy")],
            ..DescribeConfigsResult::default()
        };
        DescribeConfigsResponse { results: vec![result], ..DescribeConfigsResponse::default() }
    });
    run(async {
        let admin = brokers.admin();
        for (resource, expected) in [
            (ConfigResource::Topic("t".to_owned()), "2/t"),
            (ConfigResource::Broker(Some(broker_id(3))), "4/3"),
            (ConfigResource::Broker(None), "4/"),
            (ConfigResource::Group("billing".to_owned()), "32/billing"),
        ] {
            let entries = admin.describe_configs(&resource).await.unwrap();
            let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
            assert_eq!(names, ["cleanup.policy", "retention.ms"]);
            assert_eq!(entries[0].value.as_deref(), Some(expected));
            assert_eq!(entries[0].source, 1);
        }
        let answer = admin.describe_topic_configs("nobody").await;
        assert_eq!(error_of(&answer), ErrorCode::UnknownTopicOrPartition);
    });
}

#[test]
fn incremental_alter_configs_tells_what_becomes_of_each_value() {
    let brokers = Brokers::start(1).on(|_, request: IncrementalAlterConfigsRequest| {
        let asked = &request.resources[0];
        let told: Vec<String> = asked
            .configs
            .iter()
            .map(|c| format!("{} {} {:?}", c.name, c.config_operation, c.value))
            .collect();
        let response = AlterConfigsResourceResponse {
            error_code: ErrorCode::InvalidConfig,
            error_message: Some(format!("{} {told:?}", asked.resource_name)),
            ..AlterConfigsResourceResponse::default()
        };
        let responses = vec![response];
        IncrementalAlterConfigsResponse { responses, ..IncrementalAlterConfigsResponse::default() }
    });
    let change = |name: &str, operation| ConfigChange { name: name.to_owned(), operation };
    let changes = [
        change("a", ConfigOperation::Set("1".to_owned())),
        change("b", ConfigOperation::Delete),
        change("c", ConfigOperation::Append("2".to_owned())),
        change("d", ConfigOperation::Subtract("3".to_owned())),
    ];
    let answer = run(async {
        let topic = ConfigResource::Topic("t".to_owned());
        brokers.admin().incremental_alter_configs(&topic, &changes).await
    });
    let expected = r#"INVALID_CONFIG: t ["a 0 Some(\"1\")", "b 1 None", "c 2 Some(\"2\")", "d 3 Some(\"3\")"]"#;
    assert_eq!(answer.unwrap_err().to_string(), expected);
}

// ---- the cluster ----

#[test]
fn describe_cluster_sorts_brokers_and_leaves_impossible_ports_out() {
    let brokers = Brokers::start(1).on(|_, _: DescribeClusterRequest| {
        let broker = |id: usize, port| DescribeClusterBroker {
            broker_id: broker_id(id),
            host: "h".to_owned(),
            port,
            rack: Some("r".to_owned()),
            ..DescribeClusterBroker::default()
        };
        DescribeClusterResponse {
            cluster_id: "c".to_owned(),
            controller_id: Some(broker_id(2)),
            brokers: vec![broker(2, 9094), broker(1, 9092), broker(3, 99_999)],
            ..DescribeClusterResponse::default()
        }
    });
    let cluster = run(async { brokers.admin().describe_cluster().await.unwrap() });
    assert_eq!((cluster.cluster_id.as_str(), cluster.controller), ("c", Some(broker_id(2))));
    let nodes: Vec<(BrokerId, u16)> = cluster.nodes.iter().map(|n| (n.id, n.port)).collect();
    assert_eq!(nodes, [(broker_id(1), 9092), (broker_id(2), 9094)]);
}

#[test]
fn api_versions_are_those_of_a_broker_sorted() {
    let brokers = Brokers::start(1)
        .on(|_, _: UnregisterBrokerRequest| UnregisterBrokerResponse::default())
        .on(|_, _: DescribeClusterRequest| DescribeClusterResponse::default());
    let served = run(async { brokers.admin().api_versions().await.unwrap() });
    let keys: Vec<i16> = served.iter().map(|api| api.api_key).collect();
    assert_eq!(keys, [18, 60, 64]);
    assert_eq!(served[1].versions, VersionRange::new(0, 2));
}

#[test]
fn describe_quorum_asks_again_while_nobody_leads() {
    let mut answers = 0;
    let brokers = Brokers::start(1).on(move |_, request: DescribeQuorumRequest| {
        assert_eq!(request.topics[0].topic_name, "__cluster_metadata");
        answers += 1;
        let error_code =
            if answers == 1 { ErrorCode::NotLeaderOrFollower } else { ErrorCode::None };
        let replica = |id: usize| messages::describe_quorum_response::ReplicaState {
            replica_id: broker_id(id),
            log_end_offset: Some(Offset::new(10)),
            ..Default::default()
        };
        let partition = messages::describe_quorum_response::PartitionData {
            error_code,
            leader_id: Some(broker_id(1)),
            leader_epoch: Some(LeaderEpoch::new(4)),
            high_watermark: Some(Offset::new(9)),
            current_voters: vec![replica(1), replica(2)],
            observers: vec![replica(3)],
            ..Default::default()
        };
        let topic = messages::describe_quorum_response::TopicData {
            topic_name: "__cluster_metadata".to_owned(),
            partitions: vec![partition],
        };
        DescribeQuorumResponse { topics: vec![topic], ..DescribeQuorumResponse::default() }
    });
    let quorum = run(async { brokers.admin().describe_quorum().await.unwrap() });
    assert_eq!(quorum.leader, Some(broker_id(1)));
    assert_eq!(quorum.leader_epoch, Some(LeaderEpoch::new(4)));
    assert_eq!((quorum.voters.len(), quorum.observers.len()), (2, 1));
    assert_eq!(quorum.observers[0].id, broker_id(3));
    assert_eq!(brokers.asked().len(), 2);
}

#[test]
fn elect_leaders_names_partitions_by_topic_or_none() {
    let brokers = Brokers::start(1).on(|_, request: ElectLeadersRequest| {
        let Some(topics) = request.topic_partitions else {
            let error_code = ErrorCode::ClusterAuthorizationFailed;
            return ElectLeadersResponse { error_code, ..ElectLeadersResponse::default() };
        };
        assert_eq!(request.election_type, 1);
        let topic = |topic: messages::elect_leaders_request::TopicPartitions| {
            let result = |partition_id: i32| PartitionResult {
                partition_id,
                error_code: if partition_id == 0 {
                    ErrorCode::None
                } else {
                    ErrorCode::EligibleLeadersNotAvailable
                },
                error_message: None,
            };
            let partition_result = topic.partitions.into_iter().map(result).collect();
            ReplicaElectionResult { topic: topic.topic, partition_result }
        };
        let replica_election_results = topics.into_iter().map(topic).collect();
        ElectLeadersResponse { replica_election_results, ..ElectLeadersResponse::default() }
    });
    run(async {
        let admin = brokers.admin();
        let named = [partition(0), partition(1)];
        let answers = admin.elect_leaders(ElectionType::Unclean, Some(&named)).await.unwrap();
        assert_eq!(answers[0], (partition(0), Ok(())));
        assert_eq!(answers[1].0, partition(1));
        assert_eq!(error_of(&answers[1].1), ErrorCode::EligibleLeadersNotAvailable);
        let all = admin.elect_leaders(ElectionType::Preferred, None).await;
        assert_eq!(error_of(&all), ErrorCode::ClusterAuthorizationFailed);
    });
}

#[test]
fn moves_are_begun_taken_back_and_listed() {
    let brokers = Brokers::start(1)
        .on(|_, request: AlterPartitionReassignmentsRequest| {
            let topic = |topic: messages::alter_partition_reassignments_request::ReassignableTopic| {
                let response = |one: &messages::alter_partition_reassignments_request::ReassignablePartition| {
                    ReassignablePartitionResponse {
                        partition_index: one.partition_index,
                        error_code: match &one.replicas {
                            Some(replicas) if *replicas == ids(&[3, 1]) => ErrorCode::None,
                            Some(_) => ErrorCode::InvalidReplicaAssignment,
                            None => ErrorCode::NoReassignmentInProgress,
                        },
                        error_message: None,
                    }
                };
                let partitions = topic.partitions.iter().map(response).collect();
                ReassignableTopicResponse { name: topic.name, partitions }
            };
            let responses = request.topics.into_iter().map(topic).collect();
            AlterPartitionReassignmentsResponse {
                responses,
                ..AlterPartitionReassignmentsResponse::default()
            }
        })
        .on(|_, request: ListPartitionReassignmentsRequest| {
            let topics = request.topics.map(|topics| topics[0].partition_indexes.clone());
            let ongoing = |index: i32| OngoingPartitionReassignment {
                partition_index: PartitionIndex::new(index),
                replicas: ids(&[1, 2, 3]),
                adding_replicas: ids(&[3]),
                removing_replicas: ids(&[2]),
            };
            let partitions = topics.unwrap_or(vec![5, 4]).into_iter().map(ongoing).collect();
            let topic = OngoingTopicReassignment { name: "t".to_owned(), partitions };
            ListPartitionReassignmentsResponse {
                topics: vec![topic],
                ..ListPartitionReassignmentsResponse::default()
            }
        });
    run(async {
        let admin = brokers.admin();
        let moves = [
            (partition(0), Some(ids(&[3, 1]))),
            (partition(1), Some(ids(&[9]))),
            (partition(2), None),
        ];
        let answers = admin.alter_partition_reassignments(&moves).await.unwrap();
        assert_eq!(answers[0], Ok(()));
        assert_eq!(error_of(&answers[1]), ErrorCode::InvalidReplicaAssignment);
        assert_eq!(error_of(&answers[2]), ErrorCode::NoReassignmentInProgress);
        let all = admin.list_partition_reassignments(None).await.unwrap();
        let named: Vec<&TopicPartition> = all.iter().map(|one| &one.partition).collect();
        assert_eq!(named, [&partition(4), &partition(5)], "sorted");
        assert_eq!((&all[0].adding, &all[0].removing), (&ids(&[3]), &ids(&[2])));
        let some = admin.list_partition_reassignments(Some(&[partition(7)])).await.unwrap();
        assert_eq!(some[0].partition, partition(7));
    });
}

#[test]
fn update_features_says_which_way_a_level_may_go() {
    let brokers = Brokers::start(1).on(|_, request: UpdateFeaturesRequest| {
        let told: Vec<String> = request
            .feature_updates
            .iter()
            .map(|u| format!("{}={} {}", u.feature, u.max_version_level, u.upgrade_type))
            .collect();
        UpdateFeaturesResponse {
            error_code: ErrorCode::FeatureUpdateFailed,
            error_message: Some(told.join(", ")),
            ..UpdateFeaturesResponse::default()
        }
    });
    let update = |feature: &str, level, upgrade_type| FeatureUpdate {
        feature: feature.to_owned(),
        level,
        upgrade_type,
    };
    let updates = [
        update("metadata.version", 25, UpgradeType::Upgrade),
        update("group.version", 0, UpgradeType::SafeDowngrade),
        update("share.version", 0, UpgradeType::UnsafeDowngrade),
    ];
    let answer = run(async { brokers.admin().update_features(&updates).await });
    let expected =
        "FEATURE_UPDATE_FAILED: metadata.version=25 1, group.version=0 2, share.version=0 3";
    assert_eq!(answer.unwrap_err().to_string(), expected);
}

#[test]
fn unregister_broker_passes_the_refusal_on() {
    let brokers = Brokers::start(1).on(|_, request: UnregisterBrokerRequest| {
        assert_eq!(request.broker_id, broker_id(9));
        let error_code = ErrorCode::BrokerIdNotRegistered;
        UnregisterBrokerResponse { error_code, ..UnregisterBrokerResponse::default() }
    });
    let answer = run(async { brokers.admin().unregister_broker(broker_id(9)).await });
    assert_eq!(error_of(&answer), ErrorCode::BrokerIdNotRegistered);
}

#[test]
fn a_topic_id_of_a_new_topic_is_told() {
    let brokers = Brokers::start(1).on(|_, request: CreateTopicsRequest| {
        let topic = CreatableTopicResult {
            name: request.topics[0].name.clone(),
            topic_id: Uuid::from_bytes([7; 16]),
            ..CreatableTopicResult::default()
        };
        CreateTopicsResponse { topics: vec![topic], ..CreateTopicsResponse::default() }
    });
    let answer = run(async { brokers.admin().create_topics(&[NewTopic::new("a")]).await.unwrap() });
    assert_eq!(answer[0], Ok(Uuid::from_bytes([7; 16])));
}

// ---- groups, records, offsets ----

#[path = "admin_client/groups.rs"]
mod groups;
#[path = "admin_client/offsets.rs"]
mod offsets;
#[path = "admin_client/records.rs"]
mod records;
