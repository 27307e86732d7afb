//! Three brokers in one process, on loopback and temporary directories: they replicate a topic, lose a leader, and get it back.
#![cfg(not(madsim))]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests: a failure is a panic; nodes run in threads of their own"
)]
#![expect(dead_code, reason = "not all of the support is needed here")]

mod support;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ottla::protocol::Records;
use ottla::protocol::compression::Compression;
use ottla::protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use ottla::protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use ottla::protocol::messages::fetch_response::PartitionData;
use ottla::protocol::messages::metadata_request::MetadataRequestTopic;
use ottla::protocol::messages::metadata_response::MetadataResponsePartition;
use ottla::protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use ottla::protocol::messages::{
    CreateTopicsRequest, DeleteTopicsRequest, FetchRequest, MetadataRequest, ProduceRequest,
};
use ottla::protocol::record_batch::{BatchBuilder, RawBatches};
use ottla::server::{Config, FormatOptions, format};
use ottla::types::{BrokerId, ErrorCode, Offset, PartitionIndex, Timestamp, Uuid};

use support::{Client, Server};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Three nodes, brokers and controllers both.
struct Cluster {
    configs: BTreeMap<i32, Config>,
    running: BTreeMap<i32, Server>,
}

fn free_ports(count: usize) -> Vec<u16> {
    let held: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    held.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

/// All for one cluster.
fn format_all(configs: &BTreeMap<i32, Config>) {
    let cluster_id = Some(Uuid::from_bytes([7; 16]));
    for config in configs.values() {
        let options = FormatOptions { cluster_id, ..FormatOptions::default() };
        let env = support::env(Arc::default());
        support::run(format(config, options, &env)).unwrap_or_else(|error| panic!("{error}"));
    }
}

impl Cluster {
    fn start(dir: &Path) -> Self {
        Self::start_with(dir, "")
    }

    /// With more properties on each node; each stands in a rack of its own, `rack-1` and so on.
    fn start_with(dir: &Path, more: &str) -> Self {
        let ports = free_ports(6);
        let voters: Vec<String> =
            (1..=3).map(|node| format!("{node}@127.0.0.1:{}", ports[node + 2])).collect();
        let config = |node: usize| {
            let text = format!(
                "process.roles=broker,controller\nnode.id={node}\nlog.dirs={}\n\
                 listeners=PLAINTEXT://127.0.0.1:{},CONTROLLER://127.0.0.1:{}\n\
                 controller.listener.names=CONTROLLER\ncontroller.quorum.voters={}\n\
                 broker.heartbeat.interval.ms=200\nbroker.session.timeout.ms=2000\n\
                 replica.lag.time.max.ms=4000\nreplica.fetch.wait.max.ms=200\n\
                 replica.fetch.backoff.ms=100\nmin.insync.replicas=2\nbroker.rack=rack-{node}\n{more}",
                dir.join(node.to_string()).display(),
                ports[node - 1],
                ports[node + 2],
                voters.join(",")
            );
            Config::parse(&text, &BTreeMap::new()).unwrap_or_else(|error| panic!("{error}")).0
        };
        let configs = (1..=3).map(|node| (i32::try_from(node).unwrap(), config(node))).collect();
        format_all(&configs);
        let mut cluster = Self { configs, running: BTreeMap::new() };
        cluster.start_nodes(&[1, 2, 3]);
        cluster
    }

    /// Starts nodes at once: a quorum needs most of them.
    fn start_nodes(&mut self, nodes: &[i32]) {
        let starting = nodes.iter().map(|node| {
            let config = self.configs[node].clone();
            (*node, std::thread::spawn(move || Server::try_start(config)))
        });
        for (node, thread) in starting.collect::<Vec<_>>() {
            let server = thread.join().unwrap().unwrap_or_else(|error| panic!("{error}"));
            self.running.insert(node, server);
        }
    }

    fn client(&self, node: BrokerId) -> Client {
        self.running[&node.value()].connect()
    }

    fn anybody(&self) -> Client {
        self.running.values().next().unwrap().connect()
    }

    /// A partition, as somebody knows it, as soon as it is as wanted.
    #[track_caller]
    fn until(
        &self,
        topic: &str,
        what: &str,
        wanted: impl Fn(&MetadataResponsePartition) -> bool,
    ) -> MetadataResponsePartition {
        let deadline = Instant::now() + PATIENCE;
        let mut last = None;
        while Instant::now() < deadline {
            for server in self.running.values() {
                let known = partition(&mut server.connect(), topic);
                if known.as_ref().is_some_and(&wanted) {
                    return known.unwrap();
                }
                last = known;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("not in time: {what}; last seen {last:?}");
    }

    /// Who leads, of those who run: not everybody knows the newest.
    #[track_caller]
    fn leader(&self, topic: &str) -> BrokerId {
        let led = self.until(topic, "a leader", |known| {
            known.leader_id.is_some_and(|leader| self.running.contains_key(&leader.value()))
        });
        led.leader_id.unwrap()
    }

    #[track_caller]
    fn until_in_sync(&self, topic: &str, count: usize) -> MetadataResponsePartition {
        self.until(topic, &format!("{count} in sync"), |known| known.isr_nodes.len() == count)
    }

    /// Produces one record with acks=all to whoever leads, again until it is taken.
    #[track_caller]
    fn produce(&self, topic: &str, value: &str) -> Offset {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut client = self.client(self.leader(topic));
            let partition = PartitionProduceData {
                index: PartitionIndex::new(0),
                records: Some(Records::from(batch(value))),
            };
            let data = TopicProduceData {
                name: topic.to_owned(),
                partition_data: vec![partition],
                ..TopicProduceData::default()
            };
            let request = ProduceRequest {
                acks: -1,
                timeout_ms: 5_000,
                topic_data: vec![data],
                ..ProduceRequest::default()
            };
            let answer = client.ask(9, &request);
            let answer = &answer.responses[0].partition_responses[0];
            if answer.error_code.is_none() {
                return answer.base_offset.unwrap();
            }
            assert!(answer.error_code.is_retriable(), "{answer:?}");
            assert!(Instant::now() < deadline, "{answer:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// All committed values, from the leader.
    #[track_caller]
    fn values(&self, topic: &str, count: usize) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut client = self.client(self.leader(topic));
            let values = fetch(&mut client, topic);
            if values.len() >= count || Instant::now() > deadline {
                return values;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn kill(&mut self, node: BrokerId) {
        self.running.remove(&node.value()).unwrap().kill();
    }

    fn stop(&mut self, node: BrokerId) {
        self.running.remove(&node.value()).unwrap().stop();
    }
}

fn batch(value: &str) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::NONE);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now = Timestamp::from_millis(i64::try_from(now.as_millis()).unwrap());
    builder.append(now, None, Some(value.as_bytes()), &[]);
    builder.build()
}

fn partition(client: &mut Client, topic: &str) -> Option<MetadataResponsePartition> {
    let asked = MetadataRequestTopic { name: Some(topic.to_owned()), ..Default::default() };
    let request = MetadataRequest {
        topics: Some(vec![asked]),
        allow_auto_topic_creation: false,
        ..MetadataRequest::default()
    };
    client.ask(8, &request).topics.first()?.partitions.first().cloned()
}

fn fetch(client: &mut Client, topic: &str) -> Vec<String> {
    let answer = fetch_from(client, topic, "");
    answer.records.as_ref().map_or_else(Vec::new, values_of)
}

fn values_of(records: &Records) -> Vec<String> {
    let mut values = Vec::new();
    for batch in RawBatches::new(records.to_bytes()) {
        for record in batch.unwrap().records(1 << 20).unwrap() {
            let value = record.unwrap().value.unwrap();
            values.push(String::from_utf8(value.to_vec()).unwrap());
        }
    }
    values
}

/// Asks as a consumer in a rack.
fn fetch_from(client: &mut Client, topic: &str, rack: &str) -> PartitionData {
    let asked = FetchPartition {
        partition: PartitionIndex::new(0),
        fetch_offset: Some(Offset::ZERO),
        partition_max_bytes: 1 << 20,
        ..FetchPartition::default()
    };
    let topic =
        FetchTopic { topic: topic.to_owned(), partitions: vec![asked], ..FetchTopic::default() };
    let request = FetchRequest {
        max_wait_ms: 100,
        min_bytes: 1,
        max_bytes: 1 << 20,
        topics: vec![topic],
        rack_id: rack.to_owned(),
        ..FetchRequest::default()
    };
    client.ask(11, &request).responses[0].partitions[0].clone()
}

fn create(cluster: &Cluster, name: &str, configs: &[(&str, &str)]) -> Uuid {
    let configs = configs.iter().map(|(name, value)| CreatableTopicConfig {
        name: (*name).to_owned(),
        value: Some((*value).to_owned()),
    });
    let topic = CreatableTopic {
        name: name.to_owned(),
        num_partitions: 1,
        replication_factor: 3,
        configs: configs.collect(),
        ..CreatableTopic::default()
    };
    let request =
        CreateTopicsRequest { topics: vec![topic], timeout_ms: 30_000, validate_only: false };
    let answer = cluster.anybody().ask(7, &request);
    assert_eq!(answer.topics[0].error_code, ErrorCode::None, "{answer:?}");
    answer.topics[0].topic_id
}

fn numbered(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("v{number}")).collect()
}

#[test]
fn what_was_acknowledged_by_all_survives_its_leader() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start(dir.path());
    create(&cluster, "t", &[]);
    cluster.until_in_sync("t", 3);
    for value in numbered(0..20) {
        cluster.produce("t", &value);
    }
    let first = cluster.leader("t");
    cluster.kill(first);
    let second = cluster.leader("t");
    assert_ne!(first, second);
    let left = cluster.until_in_sync("t", 2);
    assert!(!left.isr_nodes.contains(&first));
    assert_eq!(cluster.values("t", 20), numbered(0..20));
    for value in numbered(20..40) {
        cluster.produce("t", &value);
    }
    cluster.start_nodes(&[first.value()]);
    cluster.until_in_sync("t", 3);
    // What the first leader missed it has now.
    cluster.stop(second);
    cluster.produce("t", "v40");
    assert_eq!(cluster.values("t", 41), numbered(0..41));
    cluster.start_nodes(&[second.value()]);
    cluster.until_in_sync("t", 3);
}

#[test]
fn a_deleted_topics_logs_go_on_every_broker() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(dir.path());
    create(&cluster, "gone", &[]);
    cluster.until_in_sync("gone", 3);
    cluster.produce("gone", "v0");
    let request = DeleteTopicsRequest {
        topic_names: vec!["gone".to_owned()],
        timeout_ms: 30_000,
        ..DeleteTopicsRequest::default()
    };
    let answer = cluster.anybody().ask(5, &request);
    assert_eq!(answer.responses[0].error_code, ErrorCode::None, "{answer:?}");
    let deadline = Instant::now() + PATIENCE;
    for node in 1..=3 {
        let log = dir.path().join(node.to_string()).join("gone-0");
        while log.exists() {
            assert!(Instant::now() < deadline, "{} is still there", log.display());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn a_follower_that_was_stopped_catches_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start(dir.path());
    create(&cluster, "t", &[]);
    cluster.until_in_sync("t", 3);
    cluster.produce("t", "v0");
    let leader = cluster.leader("t");
    let followers: Vec<i32> =
        cluster.running.keys().copied().filter(|node| *node != leader.value()).collect();
    cluster.stop(BrokerId::new(followers[0]));
    cluster.until_in_sync("t", 2);
    cluster.produce("t", "v1");
    cluster.start_nodes(&followers[..1]);
    cluster.until_in_sync("t", 3);
    assert_eq!(cluster.values("t", 2), numbered(0..2));
}

#[test]
fn consumers_are_sent_to_a_replica_in_their_rack() {
    let dir = tempfile::tempdir().unwrap();
    let selector = "org.apache.kafka.common.replica.RackAwareReplicaSelector";
    let cluster = Cluster::start_with(dir.path(), &format!("replica.selector.class={selector}\n"));
    create(&cluster, "t", &[]);
    cluster.until_in_sync("t", 3);
    cluster.produce("t", "v0");
    let leader = cluster.leader("t");
    let near = BrokerId::new(leader.value() % 3 + 1);
    let rack = format!("rack-{near}");
    let sent = fetch_from(&mut cluster.client(leader), "t", &rack);
    assert_eq!((sent.error_code, sent.preferred_read_replica), (ErrorCode::None, Some(near)));
    assert!(sent.records.is_none_or(|records| records.is_empty()));
    // The follower learns with its next fetch what is committed.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let read = fetch_from(&mut cluster.client(near), "t", &rack);
        if read.error_code == ErrorCode::UnknownTopicOrPartition && Instant::now() < deadline {
            continue;
        }
        assert_eq!((read.error_code, read.preferred_read_replica), (ErrorCode::None, None));
        let values = read.records.as_ref().map_or_else(Vec::new, values_of);
        if values == ["v0"] {
            break;
        }
        assert!(values.is_empty() && Instant::now() < deadline, "{values:?}");
    }
    // Who stands elsewhere, or nowhere, reads from the leader.
    for rack in ["", "rack-9", &format!("rack-{leader}")] {
        let read = fetch_from(&mut cluster.client(leader), "t", rack);
        assert_eq!(read.preferred_read_replica, None);
        assert_eq!(read.records.as_ref().map(values_of), Some(vec!["v0".to_owned()]));
    }
}

#[test]
fn without_a_selector_followers_send_consumers_to_the_leader() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(dir.path());
    create(&cluster, "t", &[]);
    cluster.until_in_sync("t", 3);
    let leader = cluster.leader("t");
    let follower = BrokerId::new(leader.value() % 3 + 1);
    let deadline = Instant::now() + PATIENCE;
    let error = loop {
        // It may hear of the topic a little later than others.
        let read = fetch_from(&mut cluster.client(follower), "t", "rack-1");
        if read.error_code != ErrorCode::UnknownTopicOrPartition || Instant::now() > deadline {
            break read.error_code;
        }
    };
    assert_eq!(error, ErrorCode::NotLeaderOrFollower);
}
