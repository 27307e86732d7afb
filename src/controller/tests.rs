//! The ledger as goldens: requests in, records and replies out. Every record is replayed as the driver does it.

mod brokers;
mod configs;
mod directories;
mod log;
mod model;
mod partitions;
mod topics;

use std::fmt::Write as _;

use expect_test::Expect;
use rand::SeedableRng;

use super::request::*;
use super::*;
use crate::metadata::group_config::GroupConfigRanges;
use crate::metadata::records::{Endpoint, FeatureRange, LeaderChange, LeaderRecoveryState};
use crate::types::{
    BrokerEpoch, ErrorCode, PartitionEpoch, PartitionIndex, TopicId, TopicIdPartition, Uuid,
};

/// A ledger with a log in memory, and the story of what it was asked.
struct Harness {
    ledger: Controller,
    next_offset: Offset,
    log: Vec<Record>,
    now: Now,
    text: String,
    /// Who was proposed as in sync last.
    proposed: Vec<BrokerId>,
    /// Whether eligible replicas were ever not kept: then a fenced broker may be in sync.
    elr_was_off: bool,
}

fn config() -> ControllerConfig {
    ControllerConfig {
        node: BrokerId::new(0),
        cluster_id: "test-cluster".to_owned(),
        broker_session_timeout: Duration::from_secs(9),
        partitions_default: 1,
        replication_factor_default: 1,
        min_insync_replicas_default: 1,
        unclean_leader_election_default: false,
        leader_balance: Some(LeaderBalance {
            check_interval: Duration::from_secs(300),
            imbalance_per_broker_percentage: 10,
        }),
        group_configs: GroupConfigRanges::default(),
        config_validator: |_, name, value| match name {
            "nonsense" => Err(format!("unknown config '{name}'")),
            _ if value == "bad" => Err(format!("{name} cannot be {value}")),
            _ => Ok(()),
        },
        config_list_default: |_, name| (name == "cleanup.policy").then(|| "delete".to_owned()),
    }
}

fn epoch() -> LeaderEpoch {
    LeaderEpoch::new(1)
}

fn directory(broker: i32) -> Uuid {
    Uuid::from_bytes([0xd0 + u8::try_from(broker).unwrap(); 16])
}

fn incarnation(number: u8) -> Uuid {
    Uuid::from_bytes([number; 16])
}

impl Harness {
    fn new() -> Self {
        let rng = StdRng::seed_from_u64(1);
        let ledger = Controller::new(config(), rng, ImageLoader::default(), Now::default());
        let next_offset = Offset::new(1);
        let mut harness = Self {
            ledger,
            next_offset,
            log: Vec::new(),
            now: Now::default(),
            text: String::new(),
            proposed: Vec::new(),
            elr_was_off: false,
        };
        harness.replay(bootstrap_records(&[]).unwrap());
        harness
    }

    /// Another controller takes over with what was committed.
    fn take_over(&mut self) {
        let rng = StdRng::seed_from_u64(self.next_offset.value().unsigned_abs());
        let loader = ImageLoader::new(self.ledger.image().clone());
        self.ledger = Controller::new(config(), rng, loader, self.now);
        self.text.push_str("-- another controller takes over\n");
    }

    fn replay(&mut self, records: Vec<Record>) {
        for record in records {
            let before = if let Record::PartitionChange(change) = &record {
                let (topic_id, partition) = (change.topic_id, change.partition);
                let name = TopicIdPartition { topic_id, partition };
                self.ledger.image().partition(name).cloned().map(|before| (before, change))
            } else {
                None
            };
            self.ledger.replay(self.next_offset, epoch(), &record);
            if let Some((before, change)) = before {
                self.check_change(&before, change);
            }
            self.elr_was_off |= !self.ledger.is_elr_enabled();
            self.next_offset = self.next_offset + 1;
            self.log.push(record);
        }
    }

    fn ask(&mut self, request: Request) -> Reply {
        let outcome = self.ledger.decide(self.now, self.next_offset, request);
        self.take(outcome).unwrap()
    }

    fn take(&mut self, outcome: Outcome) -> Option<Reply> {
        for (record, index) in outcome.records.iter().zip(0..) {
            writeln!(self.text, "{} {}", self.next_offset + index, show(record)).unwrap();
        }
        self.replay(outcome.records);
        if let Some(reply) = &outcome.reply {
            writeln!(self.text, "=> {}", show_reply(reply)).unwrap();
        }
        outcome.reply
    }

    fn wait(&mut self, seconds: u64) {
        self.now.monotonic = self.now.monotonic + Duration::from_secs(seconds);
        while self.ledger.deadline().is_some_and(|deadline| deadline <= self.now.monotonic) {
            writeln!(self.text, "-- tick at {:?}", self.now.monotonic.since(Monotonic::ZERO))
                .unwrap();
            let outcome = self.ledger.tick(self.now);
            self.take(outcome);
        }
    }

    fn register(
        &mut self,
        broker: i32,
        incarnation_number: u8,
        previous: Option<i64>,
    ) -> Option<BrokerEpoch> {
        writeln!(self.text, "register {broker} incarnation {incarnation_number}").unwrap();
        let request = registration(broker, incarnation_number, previous);
        let Reply::RegisterBroker(result) = self.ask(Request::RegisterBroker(request)) else {
            panic!("another request's reply");
        };
        result.ok()
    }

    fn heartbeat(&mut self, broker: i32, epoch: BrokerEpoch, want_shutdown: bool) {
        let word = if want_shutdown { " wants to shut down" } else { "" };
        writeln!(self.text, "heartbeat {broker}{word}").unwrap();
        self.ask(Request::BrokerHeartbeat(BrokerHeartbeatRequest {
            broker: BrokerId::new(broker),
            broker_epoch: epoch,
            metadata_end_offset: self.next_offset,
            want_fence: false,
            want_shutdown,
            offline_log_dirs: vec![],
        }));
    }

    /// Registers and unfences, without a word.
    fn join(&mut self, broker: i32) -> BrokerEpoch {
        let epoch = self.register(broker, u8::try_from(broker).unwrap() + 10, None).unwrap();
        self.heartbeat(broker, epoch, false);
        self.text.clear();
        epoch
    }

    fn create(&mut self, topics: Vec<NewTopic>, validate_only: bool) -> Reply {
        let names: Vec<&str> = topics.iter().map(|topic| topic.name.as_str()).collect();
        writeln!(self.text, "create {}", names.join(" ")).unwrap();
        self.ask(Request::CreateTopics(CreateTopicsRequest { topics, validate_only }))
    }

    /// A line for the reader.
    fn note(&mut self, text: &str) {
        writeln!(self.text, "-- {text}").unwrap();
    }

    fn epoch_of(&self, broker: i32) -> BrokerEpoch {
        self.ledger.image().broker(BrokerId::new(broker)).unwrap().broker_epoch
    }

    fn heartbeat_shutdown(&mut self, broker: i32) {
        self.heartbeat(broker, self.epoch_of(broker), true);
    }

    /// These brokers live.
    fn heartbeat_all(&mut self, brokers: &[i32]) {
        for broker in brokers {
            self.heartbeat(*broker, self.epoch_of(*broker), false);
        }
    }

    /// All unfenced brokers live, and no word of it.
    fn beat_quietly(&mut self) {
        let length = self.text.len();
        let unfenced = self.ledger.image().brokers().filter(|broker| !broker.fenced);
        let unfenced: Vec<i32> = unfenced.map(|broker| broker.broker.value()).collect();
        self.heartbeat_all(&unfenced);
        self.text.truncate(length);
    }

    /// A new incarnation registers and is unfenced.
    fn come(&mut self, broker: i32, incarnation_number: u8, previous: Option<i64>) {
        let epoch = self.register(broker, incarnation_number, previous).unwrap();
        self.heartbeat(broker, epoch, false);
    }

    /// A broker stops in good order and comes back.
    fn return_of(&mut self, broker: i32) {
        let epoch = self.epoch_of(broker);
        self.heartbeat_shutdown(broker);
        self.beat_quietly();
        self.heartbeat_shutdown(broker);
        self.come(broker, u8::try_from(broker).unwrap() + 60, Some(epoch.value()));
    }

    fn change_config(&mut self, resource: ConfigResource, name: &str, change: ConfigOperation) {
        writeln!(self.text, "{:?} '{}' {name} {change:?}", resource.resource_type, resource.name)
            .unwrap();
        let changes = vec![(name.to_owned(), change)];
        let changes = vec![ConfigChange { resource, changes }];
        self.ask(Request::AlterConfigs { changes, validate_only: false });
    }

    fn set_config(&mut self, topic: &str, name: &str, value: &str) {
        let change = ConfigOperation::Set(value.to_owned());
        self.change_config(ConfigResource::topic(topic), name, change);
    }

    fn min_isr(&mut self, topic: &str, value: i32) {
        self.set_config(topic, "min.insync.replicas", &value.to_string());
    }

    fn name(&self, topic: &str, index: i32) -> TopicIdPartition {
        let topic_id = self.ledger.image().topic(topic).unwrap().topic_id;
        TopicIdPartition { topic_id, partition: PartitionIndex::new(index) }
    }

    /// What the present leader would propose.
    fn proposal(&self, topic: &str, index: i32, isr: &[i32]) -> AlterPartitionRequest {
        let name = self.name(topic, index);
        let partition = self.ledger.image().partition(name).unwrap();
        let leader = partition.leader.unwrap();
        let member = |id: &i32| {
            let broker = BrokerId::new(*id);
            let registered = self.ledger.image().broker(broker);
            (broker, registered.map(|registered| registered.broker_epoch))
        };
        let change = IsrChange {
            partition: name,
            leader_epoch: partition.leader_epoch,
            partition_epoch: partition.partition_epoch,
            isr: isr.iter().map(member).collect(),
            leader_recovery_state: LeaderRecoveryState::Recovered,
        };
        AlterPartitionRequest {
            broker: leader,
            broker_epoch: self.epoch_of(leader.value()),
            partitions: vec![change],
        }
    }

    fn propose(&mut self, topic: &str, index: i32, isr: &[i32]) {
        writeln!(self.text, "propose {topic}-{index} {isr:?}").unwrap();
        let proposal = self.proposal(topic, index, isr);
        self.ask(Request::AlterPartition(proposal));
    }

    fn reassign(&mut self, topic: &str, index: i32, replicas: Option<&[i32]>) {
        writeln!(self.text, "reassign {topic}-{index} {replicas:?}").unwrap();
        let replicas = replicas.map(|ids| ids.iter().copied().map(BrokerId::new).collect());
        let partition = (topic.to_owned(), index);
        self.ask(Request::AlterReassignments(AlterReassignmentsRequest {
            reassignments: vec![Reassignment { partition, replicas }],
            may_change_replication_factor: true,
        }));
    }

    fn list_moves(&mut self) {
        self.note("moving");
        self.ask(Request::ListReassignments(None));
    }

    #[track_caller]
    fn expect(&mut self, expected: &Expect) {
        // Random ids are shown by their first letters.
        expected.assert_eq(&self.text);
        self.text.clear();
    }
}

fn registration(broker: i32, number: u8, previous: Option<i64>) -> RegisterBrokerRequest {
    let endpoint = Endpoint {
        name: "PLAINTEXT".to_owned(),
        host: "localhost".to_owned(),
        port: 9092,
        security_protocol: 0,
    };
    let feature = |feature: &crate::metadata::Feature| FeatureRange {
        name: feature.name.to_owned(),
        level_min: feature.level_min,
        level_max: feature.level_max,
    };
    RegisterBrokerRequest {
        broker: BrokerId::new(broker),
        cluster_id: "test-cluster".to_owned(),
        incarnation_id: incarnation(number),
        endpoints: vec![endpoint],
        features: crate::metadata::FEATURES.iter().map(feature).collect(),
        rack: None,
        log_dirs: vec![directory(broker)],
        previous_broker_epoch: previous.map(BrokerEpoch::new),
    }
}

fn topic(name: &str) -> NewTopic {
    let placement = NewTopicPlacement::Automatic { partitions: None, replication_factor: None };
    NewTopic { name: name.to_owned(), placement, configs: Vec::new() }
}

fn automatic(name: &str, partitions: i32, replication_factor: i16) -> NewTopic {
    let (partitions, replication_factor) = (Some(partitions), Some(replication_factor));
    let placement = NewTopicPlacement::Automatic { partitions, replication_factor };
    NewTopic { name: name.to_owned(), placement, configs: Vec::new() }
}

fn manual(name: &str, assignments: &[(i32, &[i32])]) -> NewTopic {
    let assignment = |(partition, brokers): &(i32, &[i32])| ManualAssignment {
        partition: *partition,
        brokers: brokers.iter().copied().map(BrokerId::new).collect(),
    };
    let placement = NewTopicPlacement::Manual(assignments.iter().map(assignment).collect());
    NewTopic { name: name.to_owned(), placement, configs: Vec::new() }
}

fn operation(value: Option<&str>) -> ConfigOperation {
    value.map_or(ConfigOperation::Delete, |value| ConfigOperation::Set(value.to_owned()))
}

fn ids(brokers: &[BrokerId]) -> String {
    let ids: Vec<String> = brokers.iter().map(ToString::to_string).collect();
    format!("[{}]", ids.join(","))
}

fn short(id: TopicId) -> String {
    id.to_string()[..4].to_owned()
}

fn show(record: &Record) -> String {
    match record {
        Record::RegisterBroker(r) => {
            format!("RegisterBroker {} epoch {} fenced {}", r.broker, r.broker_epoch, r.fenced)
        }
        Record::Topic(r) => format!("Topic {} {}", r.name, short(r.topic_id)),
        Record::Partition(r) => format!(
            "Partition {}-{} replicas {} isr {} leader {:?} epochs {}/{}",
            short(r.topic_id),
            r.partition,
            ids(&r.replicas),
            ids(&r.isr),
            r.leader.map(BrokerId::value),
            r.leader_epoch,
            r.partition_epoch
        ),
        Record::PartitionChange(r) => {
            let mut text = format!("PartitionChange {}-{}", short(r.topic_id), r.partition);
            match r.leader {
                LeaderChange::Unchanged => {}
                LeaderChange::NoLeader => text += " leader none",
                LeaderChange::Leader(leader) => write!(text, " leader {leader}").unwrap(),
            }
            let lists = [
                ("isr", &r.isr),
                ("elr", &r.eligible_leader_replicas),
                ("last-known", &r.last_known_elr),
                ("replicas", &r.replicas),
                ("adding", &r.adding_replicas),
                ("removing", &r.removing_replicas),
            ];
            for (name, list) in lists {
                if let Some(list) = list {
                    write!(text, " {name} {}", ids(list)).unwrap();
                }
            }
            if let Some(state) = r.leader_recovery_state {
                write!(text, " {state:?}").unwrap();
            }
            if r.replicas.is_none()
                && let Some(directories) = &r.directories
            {
                let first = |id: &Uuid| format!("{:02x}", id.as_bytes()[0]);
                let directories: Vec<String> = directories.iter().map(first).collect();
                write!(text, " directories {}", directories.join(",")).unwrap();
            }
            text
        }
        Record::Config(r) => format!("Config {} {}={:?}", r.resource.name, r.name, r.value),
        Record::RemoveTopic(r) => format!("RemoveTopic {}", short(r.topic_id)),
        Record::ProducerIds(r) => format!("ProducerIds next {}", r.next_producer_id),
        Record::BrokerRegistrationChange(r) => {
            let mut text = format!(
                "BrokerRegistrationChange {} epoch {} fenced {:?} shutdown {}",
                r.broker, r.broker_epoch, r.fenced, r.in_controlled_shutdown
            );
            if let Some(log_dirs) = &r.log_dirs {
                write!(text, " directories {}", log_dirs.len()).unwrap();
            }
            text
        }
        Record::UnregisterBroker(_)
        | Record::FenceBroker(_)
        | Record::UnfenceBroker(_)
        | Record::FeatureLevel(_)
        | Record::NoOp
        | Record::BeginTransaction(_)
        | Record::EndTransaction
        | Record::AbortTransaction(_) => format!("{record:?}"),
    }
}

fn show_result<T>(result: &Result<T, ApiError>, show: impl Fn(&T) -> String) -> String {
    match result {
        Ok(value) => show(value),
        Err(error) => error.to_string(),
    }
}

fn show_reply(reply: &Reply) -> String {
    match reply {
        Reply::RegisterBroker(result) => show_result(result, |epoch| format!("epoch {epoch}")),
        Reply::BrokerHeartbeat(result) => show_result(result, |answer| {
            let (caught_up, fenced) = (answer.is_caught_up, answer.is_fenced);
            format!("caught up {caught_up} fenced {fenced} may end {}", answer.should_shut_down)
        }),
        Reply::CreateTopics(results) => {
            let show = |result: &CreateTopicResult| {
                show_result(&result.result, |topic| {
                    format!("{} partitions x{}", topic.partitions, topic.replication_factor)
                })
            };
            results.iter().map(show).collect::<Vec<_>>().join("\n=> ")
        }
        Reply::DeleteTopics(results) => {
            let show = |result: &DeleteTopicResult| {
                let known = result.name.is_some() && result.topic_id.is_some();
                show_result(&result.result, |()| format!("deleted, known {known}"))
            };
            results.iter().map(show).collect::<Vec<_>>().join("\n=> ")
        }
        Reply::CreatePartitions(results) => {
            let show = |(_, result): &(String, Result<(), ApiError>)| {
                show_result(result, |()| "ok".to_owned())
            };
            results.iter().map(show).collect::<Vec<_>>().join("\n=> ")
        }
        Reply::AllocateProducerIds(result) => {
            show_result(result, |block| format!("{} ids from {}", block.count, block.first))
        }
        Reply::AlterConfigs(results) => {
            let show = |(_, result): &(ConfigResource, Result<(), ApiError>)| {
                show_result(result, |()| "ok".to_owned())
            };
            results.iter().map(show).collect::<Vec<_>>().join("\n=> ")
        }
        Reply::UnregisterBroker(result) | Reply::UpdateFeatures(result) => {
            show_result(result, |()| "ok".to_owned())
        }
        Reply::AlterPartition(result) => show_result(result, |results| {
            let show = |one: &IsrChangeResult| match &one.result {
                Ok(state) => format!(
                    "leader {:?} isr {} {:?} epochs {}/{}",
                    state.leader.map(BrokerId::value),
                    ids(&state.isr),
                    state.leader_recovery_state,
                    state.leader_epoch,
                    state.partition_epoch
                ),
                Err(error) => error.to_string(),
            };
            results.iter().map(show).collect::<Vec<_>>().join("\n=> ")
        }),
        Reply::AssignReplicasToDirs(result) => show_result(result, |results| {
            let show = |result: &Result<(), ErrorCode>| match result {
                Ok(()) => "ok".to_owned(),
                Err(error) => error.to_string(),
            };
            results.iter().map(show).collect::<Vec<_>>().join("\n=> ")
        }),
        Reply::ElectLeaders(result) | Reply::AlterReassignments(result) => {
            show_result(result, |results| {
                let show = |((topic, index), result): &(NamedPartition, Result<(), ApiError>)| {
                    format!("{topic}-{index} {}", show_result(result, |()| "ok".to_owned()))
                };
                results.iter().map(show).collect::<Vec<_>>().join("\n=> ")
            })
        }
        Reply::ListReassignments(ongoing) => {
            let show = |one: &OngoingReassignment| {
                let (adding, removing) = (ids(&one.adding), ids(&one.removing));
                let (name, index) = (&one.topic, one.partition);
                format!("{name}-{index} {} adding {adding} removing {removing}", ids(&one.replicas))
            };
            ongoing.iter().map(show).collect::<Vec<_>>().join("\n=> ")
        }
    }
}
