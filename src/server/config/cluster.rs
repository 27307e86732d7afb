//! What a configuration says of the cluster: this node's roles, the quorum, replication among brokers.
//!
//! Kafka: `KafkaConfig.validateValues`, `QuorumConfig`, `ReplicationConfigs`.

use std::collections::BTreeSet;
use std::time::Duration;

use super::endpoint::{self, Listeners};
use super::{ConfigWarning, Reader};
use crate::rpc::Endpoint;
use crate::types::BrokerId;

/// Kafka's name of the selector that sends consumers to a replica in their own rack (KIP-392).
const RACK_AWARE: &str = "org.apache.kafka.common.replica.RackAwareReplicaSelector";

/// Which parts of a cluster a node plays (`process.roles`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessRoles {
    /// It holds partitions, and follows the metadata as an observer.
    Broker,
    /// It votes, and may be the active controller.
    Controller,
    /// Both: what small clusters are made of.
    Combined,
}

impl ProcessRoles {
    /// Whether it holds partitions.
    #[must_use]
    pub const fn has_broker(self) -> bool {
        match self {
            Self::Broker | Self::Combined => true,
            Self::Controller => false,
        }
    }

    /// Whether it is a voter of the quorum.
    #[must_use]
    pub const fn has_controller(self) -> bool {
        match self {
            Self::Controller | Self::Combined => true,
            Self::Broker => false,
        }
    }
}

/// The controllers' quorum: who votes, and how patient they are. Each field names Kafka's property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumConfig {
    /// `controller.quorum.voters`, sorted by id. Never empty; names this node if and only if it is a controller. Where only
    /// `controller.quorum.bootstrap.servers` is set, this node alone at the address given there.
    pub voters: Vec<(BrokerId, Endpoint)>,
    /// `controller.quorum.election.timeout.ms`.
    pub election_timeout: Duration,
    /// `controller.quorum.election.backoff.max.ms`.
    pub election_backoff_max: Duration,
    /// `controller.quorum.fetch.timeout.ms`.
    pub fetch_timeout: Duration,
    /// `controller.quorum.request.timeout.ms`.
    pub request_timeout: Duration,
    /// `controller.quorum.retry.backoff.ms`.
    pub retry_backoff: Duration,
}

/// How followers copy, and how long they may lag. Each field names Kafka's property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicationConfig {
    /// `replica.lag.time.max.ms`.
    pub lag_time_max: Duration,
    /// `replica.fetch.wait.max.ms`: never longer than `lag_time_max`.
    pub fetch_wait_max: Duration,
    /// `replica.fetch.min.bytes`.
    pub fetch_bytes_min: usize,
    /// `replica.fetch.max.bytes`: of one partition in one answer.
    pub fetch_partition_bytes_max: usize,
    /// `replica.fetch.response.max.bytes`: of one answer.
    pub fetch_response_bytes_max: usize,
    /// `replica.fetch.backoff.ms`: the pause after a fetch, or a partition of it, that failed.
    pub fetch_backoff: Duration,
    /// `replica.socket.timeout.ms`: how long a fetch may go without an answer. Never shorter than `fetch_wait_max`.
    pub socket_timeout: Duration,
    /// Whether consumers are sent to a replica in their own rack (`replica.selector.class`, KIP-392).
    pub selects_by_rack: bool,
}

/// How leadership goes back to preferred replicas. Each field names Kafka's property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaderBalanceConfig {
    /// `leader.imbalance.check.interval.seconds`.
    pub check_interval: Duration,
    /// `leader.imbalance.per.broker.percentage`.
    pub imbalance_per_broker_percentage: u32,
}

impl Reader {
    pub(super) fn roles(&mut self) -> Option<ProcessRoles> {
        let roles: BTreeSet<String> = self.list("process.roles").into_iter().collect();
        match (roles.contains("broker"), roles.contains("controller")) {
            (true, true) => Some(ProcessRoles::Combined),
            (true, false) => Some(ProcessRoles::Broker),
            (false, true) => Some(ProcessRoles::Controller),
            (false, false) => {
                let why = "without it Kafka would look for ZooKeeper, which Kafka 4 does not have";
                self.missing("process.roles", why, "process.roles=broker,controller");
                None
            }
        }
    }

    /// The quorum, as far as `node_id` and `roles` are known.
    pub(super) fn quorum(
        &mut self,
        node_id: Option<BrokerId>,
        roles: Option<ProcessRoles>,
    ) -> QuorumConfig {
        let mut voters = self.voters();
        if let (Some(node_id), Some(roles)) = (node_id, roles) {
            let is_listed = self.settings.contains_key("controller.quorum.voters");
            if is_listed && !voters.is_empty() {
                self.check_own_vote(node_id, roles, &voters);
            } else if !is_listed {
                voters = self.bootstrap_voters(node_id, roles);
            }
        }
        QuorumConfig {
            voters,
            election_timeout: self.span("controller.quorum.election.timeout.ms"),
            election_backoff_max: self.span("controller.quorum.election.backoff.max.ms"),
            fetch_timeout: self.span("controller.quorum.fetch.timeout.ms"),
            request_timeout: self.span("controller.quorum.request.timeout.ms"),
            retry_backoff: self.span("controller.quorum.retry.backoff.ms"),
        }
    }

    fn voters(&mut self) -> Vec<(BrokerId, Endpoint)> {
        const NAME: &str = "controller.quorum.voters";
        let texts = self.list(NAME);
        if texts.is_empty() && self.list("controller.quorum.bootstrap.servers").is_empty() {
            let why = "the controller's quorum must be known to every node";
            self.missing(NAME, why, "controller.quorum.voters=<node.id>@localhost:9093");
        }
        let mut voters: Vec<(BrokerId, Endpoint)> = Vec::with_capacity(texts.len());
        for text in &texts {
            match endpoint::parse_voter(text) {
                Ok((id, _)) if voters.iter().any(|(known, _)| *known == id) => self.conflict(
                    NAME,
                    format!("controller.quorum.voters names voter {id} twice"),
                    "each node has one vote",
                    "name each voter once, with its own node.id",
                ),
                Ok((_, at)) if voters.iter().any(|(_, known)| *known == at) => self.conflict(
                    NAME,
                    format!("controller.quorum.voters has two voters at {at}"),
                    "two nodes cannot listen at one address",
                    "give each voter its own host:port",
                ),
                Ok(voter) => voters.push(voter),
                Err(why) => self.conflict(
                    NAME,
                    format!("controller.quorum.voters names no voter with {text:?}"),
                    why,
                    "write each voter as id@host:port",
                ),
            }
        }
        voters.sort();
        voters
    }

    fn check_own_vote(
        &mut self,
        node_id: BrokerId,
        roles: ProcessRoles,
        voters: &[(BrokerId, Endpoint)],
    ) {
        let votes = voters.iter().any(|(id, _)| *id == node_id);
        let name = "controller.quorum.voters";
        if roles.has_controller() && !votes {
            self.conflict(
                name,
                format!("controller.quorum.voters does not name this node, {node_id}"),
                "a node with the role controller is a voter",
                "name it, or correct node.id",
            );
        } else if !roles.has_controller() && votes {
            self.conflict(
                name,
                format!("controller.quorum.voters names this node, {node_id}"),
                "a node without the role controller is no voter",
                "set process.roles=broker,controller, or correct node.id",
            );
        }
    }

    /// Who votes where only `controller.quorum.bootstrap.servers` is set: servers have no ids there, so it must be this node.
    fn bootstrap_voters(
        &mut self,
        node_id: BrokerId,
        roles: ProcessRoles,
    ) -> Vec<(BrokerId, Endpoint)> {
        const NAME: &str = "controller.quorum.bootstrap.servers";
        let texts = self.list(NAME);
        let mut servers = Vec::with_capacity(texts.len());
        for text in &texts {
            match Endpoint::parse(text) {
                Some(server) => servers.push(server),
                None => self.conflict(
                    NAME,
                    format!("{NAME} names no server with {text:?}"),
                    "a server is a host and a port that others can reach",
                    "write each server as host:port",
                ),
            }
        }
        if texts.len() > 1 || (!texts.is_empty() && !roles.has_controller()) {
            self.conflict(
                NAME,
                format!("{NAME} names controllers of other nodes, but not their ids"),
                "quorums whose voters are found out at run time (KIP-853) are not built in",
                "set controller.quorum.voters=id@host:port,… on every node instead",
            );
        }
        servers.into_iter().map(|server| (node_id, server)).take(1).collect()
    }

    /// Listeners that only make sense with some roles.
    pub(super) fn check_listeners_of(&mut self, roles: ProcessRoles, listeners: &Listeners) {
        let names = listeners.controller_names.join(", ");
        if roles == ProcessRoles::Broker && listeners.controller_names.len() > 1 {
            self.warnings.push(ConfigWarning::FirstControllerListener { names });
        }
    }

    pub(super) fn replication(&mut self) -> ReplicationConfig {
        let config = ReplicationConfig {
            lag_time_max: self.span("replica.lag.time.max.ms"),
            fetch_wait_max: self.span("replica.fetch.wait.max.ms"),
            fetch_bytes_min: self.size("replica.fetch.min.bytes"),
            fetch_partition_bytes_max: self.size("replica.fetch.max.bytes"),
            fetch_response_bytes_max: self.size("replica.fetch.response.max.bytes"),
            fetch_backoff: self.span("replica.fetch.backoff.ms"),
            socket_timeout: self.span("replica.socket.timeout.ms"),
            selects_by_rack: self.text("replica.selector.class") == Some(RACK_AWARE),
        };
        let wait = config.fetch_wait_max;
        if wait > config.lag_time_max {
            self.conflict(
                "replica.fetch.wait.max.ms",
                "replica.fetch.wait.max.ms is above replica.lag.time.max.ms".to_owned(),
                "followers of idle partitions would leave the in-sync replicas",
                "set it to a fraction of replica.lag.time.max.ms",
            );
        }
        if wait > config.socket_timeout {
            self.conflict(
                "replica.fetch.wait.max.ms",
                "replica.fetch.wait.max.ms is above replica.socket.timeout.ms".to_owned(),
                "followers would give up on leaders that only wait for records",
                "set it below replica.socket.timeout.ms",
            );
        }
        config
    }

    /// `None` where `auto.leader.rebalance.enable` is off.
    pub(super) fn leader_balance(&self) -> Option<LeaderBalanceConfig> {
        let seconds = self.bytes("leader.imbalance.check.interval.seconds");
        let percentage = self.int("leader.imbalance.per.broker.percentage");
        self.boolean("auto.leader.rebalance.enable").then(|| LeaderBalanceConfig {
            check_interval: Duration::from_secs(seconds),
            imbalance_per_broker_percentage: u32::try_from(percentage)
                .expect("the range was checked"),
        })
    }
}
