//! A cluster's nodes: their configurations, and what the tests ask them.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use ottla::protocol::messages::create_topics_request::CreatableTopic;
use ottla::protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use ottla::protocol::messages::{
    CreateTopicsRequest, DescribeQuorumRequest, DescribeQuorumResponse, MetadataRequest,
    MetadataResponse,
};
use ottla::server::{Config, FormatOptions, StartError};
use ottla::types::{BrokerId, ErrorCode, PartitionIndex, Uuid};

use crate::support::{Client, Server};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Below the ports that the kernel gives to those who connect.
const PORTS_FROM: u16 = 20_000;
const PORTS: u16 = 12_000;

/// A port that nobody listens at.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 600).unwrap() * 20;
    loop {
        let index = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = PORTS_FROM + start.wrapping_add(index) % PORTS;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A cluster that is set up and may run.
pub(crate) struct Cluster {
    dir: tempfile::TempDir,
    pub(crate) voters: Vec<(i32, u16)>,
    /// Roles by node.
    roles: BTreeMap<i32, &'static str>,
    pub(crate) running: BTreeMap<i32, Server>,
}

/// One cluster for all tests: they do not meet.
pub(crate) fn cluster_id() -> Option<Uuid> {
    Uuid::parse("4L6g3nShT-eMCtK--X86sw")
}

fn options() -> FormatOptions {
    let cluster_id = cluster_id();
    FormatOptions { cluster_id, ignore_formatted: true, ..FormatOptions::default() }
}

impl Cluster {
    /// Nodes with these roles, numbered from 1; none runs.
    pub(crate) fn new(roles: &[&'static str]) -> Self {
        let roles: BTreeMap<i32, &'static str> = (1..).zip(roles.iter().copied()).collect();
        let voters = roles.iter().filter(|(_, roles)| roles.contains("controller"));
        let voters = voters.map(|(id, _)| (*id, free_port())).collect();
        let dir = tempfile::tempdir().unwrap();
        Self { dir, voters, roles, running: BTreeMap::new() }
    }

    /// The same, all of them running.
    pub(crate) fn start(roles: &[&'static str]) -> Self {
        let mut cluster = Self::new(roles);
        cluster.start_nodes(&cluster.roles.keys().copied().collect::<Vec<_>>());
        cluster
    }

    pub(crate) fn dir(&self, id: i32) -> std::path::PathBuf {
        self.dir.path().join(id.to_string())
    }

    pub(crate) fn config(&self, id: i32, more: &[(&str, &str)]) -> Config {
        self.config_in(id, &self.dir(id), more)
    }

    pub(crate) fn config_in(&self, id: i32, dir: &Path, more: &[(&str, &str)]) -> Config {
        let voters: Vec<String> =
            self.voters.iter().map(|(id, port)| format!("{id}@127.0.0.1:{port}")).collect();
        let roles = self.roles[&id];
        let mut listeners = Vec::new();
        if roles.contains("broker") {
            listeners.push("PLAINTEXT://127.0.0.1:0".to_owned());
        }
        if let Some((_, port)) = self.voters.iter().find(|(voter, _)| *voter == id) {
            listeners.push(format!("CONTROLLER://127.0.0.1:{port}"));
        }
        let text = format!(
            "process.roles={roles}\nnode.id={id}\nlog.dirs={}\nlisteners={}\n\
             controller.listener.names=CONTROLLER\ncontroller.quorum.voters={}\n",
            dir.display(),
            listeners.join(","),
            voters.join(",")
        );
        let more = more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::parse(&text, &more.collect()).unwrap_or_else(|error| panic!("{error}")).0
    }

    /// Starts nodes together: they wait for each other.
    pub(crate) fn start_nodes(&mut self, ids: &[i32]) {
        let starts = ids.iter().map(|id| {
            let config = self.config(*id, &[]);
            (*id, std::thread::spawn(move || start(config)))
        });
        for (id, start) in starts.collect::<Vec<_>>() {
            let server = start.join().unwrap().unwrap_or_else(|error| panic!("{error}"));
            self.running.insert(id, server);
        }
    }

    pub(crate) fn connect(&self, id: i32) -> Client {
        self.running[&id].connect()
    }

    /// A connection to a node's controller listener.
    pub(crate) fn connect_to_controller(&self, id: i32) -> Client {
        let (_, port) = self.voters.iter().find(|(voter, _)| *voter == id).unwrap();
        Client::connect(([127, 0, 0, 1], *port).into())
    }

    pub(crate) fn kill(&mut self, id: i32) {
        self.running.remove(&id).unwrap().kill();
    }

    pub(crate) fn stop(&mut self, id: i32) {
        self.running.remove(&id).unwrap().stop();
    }

    /// Stops all nodes at the same time.
    pub(crate) fn stop_all(&mut self) {
        let running = std::mem::take(&mut self.running);
        let stops = running.into_values().map(|server| std::thread::spawn(move || server.stop()));
        for stop in stops.collect::<Vec<_>>() {
            stop.join().unwrap();
        }
    }

    /// The leader of the quorum, as node `id` hears it from that leader.
    pub(crate) fn leader(&self, id: i32) -> i32 {
        leader(&mut self.connect(id)).unwrap()
    }
}

/// Formats where needed, and starts a node of the cluster.
pub(crate) fn start(config: Config) -> Result<Server, StartError> {
    Server::start_as(config, options(), |env| env)
}

/// How the quorum stands.
pub(crate) fn describe_quorum(client: &mut Client) -> DescribeQuorumResponse {
    let partition = PartitionData { partition_index: PartitionIndex::new(0) };
    let topic =
        TopicData { topic_name: "__cluster_metadata".to_owned(), partitions: vec![partition] };
    client.ask(2, &DescribeQuorumRequest { topics: vec![topic] })
}

/// The leader of the quorum; an error where none answers.
pub(crate) fn leader(client: &mut Client) -> Result<i32, ErrorCode> {
    let answer = describe_quorum(client);
    if !answer.error_code.is_none() {
        return Err(answer.error_code);
    }
    let partition = &answer.topics[0].partitions[0];
    if !partition.error_code.is_none() {
        return Err(partition.error_code);
    }
    Ok(partition.leader_id.unwrap().value())
}

/// Creates a topic of three partitions, one replica each.
pub(crate) fn create(client: &mut Client, name: &str) -> ErrorCode {
    create_copies(client, name, 1)
}

/// Creates a topic of three partitions, `replication_factor` replicas each.
pub(crate) fn create_copies(client: &mut Client, name: &str, replication_factor: i16) -> ErrorCode {
    let topic = CreatableTopic {
        name: name.to_owned(),
        num_partitions: 3,
        replication_factor,
        ..CreatableTopic::default()
    };
    let request =
        CreateTopicsRequest { topics: vec![topic], timeout_ms: 30_000, validate_only: false };
    client.ask(7, &request).topics[0].error_code
}

pub(crate) fn metadata(client: &mut Client) -> MetadataResponse {
    client.ask(12, &MetadataRequest { topics: None, ..MetadataRequest::default() })
}

/// The brokers that `client` is told of, and its topics.
pub(crate) fn view(client: &mut Client) -> (Vec<BrokerId>, Vec<String>) {
    let metadata = metadata(client);
    let topics = metadata.topics.into_iter().filter_map(|topic| topic.name);
    (metadata.brokers.iter().map(|broker| broker.node_id).collect(), topics.collect())
}

/// Asks again until the answer is there.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
