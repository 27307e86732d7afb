//! The ledger as goldens: requests in, records and replies out. Every record is replayed as the driver does it.

use std::fmt::Write as _;

use expect_test::{Expect, expect};
use proptest::prelude::*;
use rand::SeedableRng;

use super::request::*;
use super::*;
use crate::metadata::records::{Endpoint, FeatureRange, LeaderChange};
use crate::types::{BrokerEpoch, ErrorCode, TopicId, TopicIdPartition, Uuid};

/// A ledger with a log in memory, and the story of what it was asked.
struct Harness {
    ledger: Controller,
    next_offset: Offset,
    log: Vec<Record>,
    now: Now,
    text: String,
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
        let mut harness =
            Self { ledger, next_offset, log: Vec::new(), now: Now::default(), text: String::new() };
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
            self.ledger.replay(self.next_offset, epoch(), &record);
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
            ];
            for (name, list) in lists {
                if let Some(list) = list {
                    write!(text, " {name} {}", ids(list)).unwrap();
                }
            }
            if let Some(state) = r.leader_recovery_state {
                write!(text, " {state:?}").unwrap();
            }
            text
        }
        Record::Config(r) => format!("Config {} {}={:?}", r.resource.name, r.name, r.value),
        Record::RemoveTopic(r) => format!("RemoveTopic {}", short(r.topic_id)),
        Record::ProducerIds(r) => format!("ProducerIds next {}", r.next_producer_id),
        Record::BrokerRegistrationChange(r) => format!(
            "BrokerRegistrationChange {} epoch {} fenced {:?} shutdown {}",
            r.broker, r.broker_epoch, r.fenced, r.in_controlled_shutdown
        ),
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

#[test]
fn a_broker_registers_fenced_and_its_heartbeat_unfences_it() {
    let mut harness = Harness::new();
    let epoch = harness.register(0, 1, None).unwrap();
    harness.ask(Request::BrokerHeartbeat(BrokerHeartbeatRequest {
        broker: BrokerId::new(0),
        broker_epoch: epoch,
        metadata_end_offset: Offset::new(3),
        want_fence: false,
        want_shutdown: false,
        offline_log_dirs: vec![],
    }));
    harness.heartbeat(0, epoch, false);
    harness.heartbeat(0, epoch, false);
    harness.expect(&expect![[r#"
        register 0 incarnation 1
        3 RegisterBroker 0 epoch 3 fenced true
        => epoch 3
        => caught up false fenced true may end false
        heartbeat 0
        4 BrokerRegistrationChange 0 epoch 3 fenced Some(false) shutdown false
        => caught up true fenced false may end false
        heartbeat 0
        => caught up true fenced false may end false
    "#]]);
}

#[test]
fn a_second_live_broker_with_the_same_id_is_refused_until_the_session_ends() {
    let mut harness = Harness::new();
    harness.join(1);
    harness.register(1, 2, None);
    harness.wait(9);
    harness.register(1, 2, None);
    harness.wait(1);
    harness.register(1, 2, None);
    harness.expect(&expect![[r#"
        register 1 incarnation 2
        => DUPLICATE_BROKER_REGISTRATION: another broker with id 1 is alive
        register 1 incarnation 2
        => DUPLICATE_BROKER_REGISTRATION: another broker with id 1 is alive
        -- tick at 10s
        5 BrokerRegistrationChange 1 epoch 3 fenced Some(true) shutdown false
        register 1 incarnation 2
        6 RegisterBroker 1 epoch 6 fenced true
        => epoch 6
    "#]]);
}

#[test]
fn the_same_incarnation_amends_its_registration() {
    let mut harness = Harness::new();
    harness.join(1);
    harness.register(1, 11, None);
    harness.expect(&expect![[r#"
        register 1 incarnation 11
        5 RegisterBroker 1 epoch 3 fenced false
        => epoch 3
    "#]]);
}

#[test]
fn a_restarted_single_node_is_not_its_own_duplicate() {
    let mut harness = Harness::new();
    harness.join(0);
    harness.take_over();
    let epoch = harness.register(0, 2, None).unwrap();
    harness.heartbeat(0, epoch, false);
    harness.expect(&expect![[r#"
        -- another controller takes over
        register 0 incarnation 2
        5 RegisterBroker 0 epoch 5 fenced true
        => epoch 5
        heartbeat 0
        6 BrokerRegistrationChange 0 epoch 5 fenced Some(false) shutdown false
        => caught up true fenced false may end false
    "#]]);
}

#[test]
fn bad_registrations_are_refused() {
    let mut harness = Harness::new();
    harness.join(1);
    let good = registration(2, 2, None);
    let bad = [
        RegisterBrokerRequest { cluster_id: "another".to_owned(), ..good.clone() },
        RegisterBrokerRequest { log_dirs: vec![], ..good.clone() },
        RegisterBrokerRequest { log_dirs: vec![Uuid::METADATA_TOPIC], ..good.clone() },
        RegisterBrokerRequest { log_dirs: vec![directory(2), directory(2)], ..good.clone() },
        RegisterBrokerRequest { log_dirs: vec![directory(1)], ..good.clone() },
        RegisterBrokerRequest { features: vec![], ..good },
    ];
    for request in bad {
        harness.ask(Request::RegisterBroker(request));
    }
    harness.expect(&expect![[r#"
        => INCONSISTENT_CLUSTER_ID: the broker was formatted for cluster 'another', this is cluster 'test-cluster'
        => INVALID_REGISTRATION: the broker has no working log directory
        => INVALID_REGISTRATION: directory id AAAAAAAAAAAAAAAAAAAAAQ is reserved
        => INVALID_REGISTRATION: directory id 0tLS0tLS0tLS0tLS0tLS0g stands twice
        => INVALID_REGISTRATION: directory 0dHR0dHR0dHR0dHR0dHR0Q belongs to broker 1
        => UNSUPPORTED_VERSION: the cluster runs eligible.leader.replicas.version at level 1, the broker supports 0 to 0
    "#]]);
}

#[test]
fn a_clean_restart_elects_the_eligible_replica_and_a_crash_the_last_known_leader() {
    let mut harness = Harness::new();
    let epoch = harness.join(0);
    harness.create(vec![topic("t")], false);
    harness.heartbeat(0, epoch, true);
    harness.heartbeat(0, epoch, true);
    harness.take_over();
    let epoch = harness.register(0, 2, Some(epoch.value())).unwrap();
    harness.heartbeat(0, epoch, false);
    harness.take_over();
    let epoch = harness.register(0, 3, None).unwrap();
    harness.heartbeat(0, epoch, false);
    harness.expect(&expect![[r#"
        create t
        5 Topic t SmkN
        6 Partition SmkN-0 replicas [0] isr [0] leader Some(0) epochs 0/0
        => 1 partitions x1
        heartbeat 0 wants to shut down
        7 BrokerRegistrationChange 0 epoch 3 fenced None shutdown true
        8 PartitionChange SmkN-0 leader none isr [] elr [0] last-known [0]
        => caught up true fenced false may end false
        heartbeat 0 wants to shut down
        9 BrokerRegistrationChange 0 epoch 3 fenced Some(true) shutdown false
        => caught up true fenced true may end true
        -- another controller takes over
        register 0 incarnation 2
        10 RegisterBroker 0 epoch 10 fenced true
        => epoch 10
        heartbeat 0
        11 BrokerRegistrationChange 0 epoch 10 fenced Some(false) shutdown false
        12 PartitionChange SmkN-0 leader 0 isr [0] elr [] last-known []
        => caught up true fenced false may end false
        -- another controller takes over
        register 0 incarnation 3
        13 PartitionChange SmkN-0 leader none isr [] last-known [0]
        14 RegisterBroker 0 epoch 14 fenced true
        => epoch 14
        heartbeat 0
        15 BrokerRegistrationChange 0 epoch 14 fenced Some(false) shutdown false
        16 PartitionChange SmkN-0 leader 0 isr [0] last-known [] Recovering
        => caught up true fenced false may end false
    "#]]);
}

#[test]
fn a_silent_broker_is_fenced_and_others_lead() {
    let mut harness = Harness::new();
    let epochs = [harness.join(1), harness.join(2)];
    let two_copies = manual("t", &[(0, &[1, 2]), (1, &[2, 1])]);
    harness.create(vec![two_copies, manual("u", &[(0, &[1])])], false);
    harness.wait(5);
    harness.heartbeat(2, epochs[1], false);
    harness.wait(5);
    harness.heartbeat(1, epochs[0], false);
    harness.expect(&expect![[r#"
        create t u
        7 Topic t YRgw
        8 Partition YRgw-0 replicas [1,2] isr [1,2] leader Some(1) epochs 0/0
        9 Partition YRgw-1 replicas [2,1] isr [2,1] leader Some(2) epochs 0/0
        10 Topic u 2slI
        11 Partition 2slI-0 replicas [1] isr [1] leader Some(1) epochs 0/0
        => 2 partitions x2
        => 1 partitions x1
        heartbeat 2
        => caught up true fenced false may end false
        -- tick at 10s
        12 PartitionChange YRgw-0 leader 2 isr [2]
        13 PartitionChange YRgw-1 isr [2]
        14 PartitionChange 2slI-0 leader none isr [] elr [1] last-known [1]
        15 BrokerRegistrationChange 1 epoch 3 fenced Some(true) shutdown false
        heartbeat 1
        16 BrokerRegistrationChange 1 epoch 3 fenced Some(false) shutdown false
        17 PartitionChange 2slI-0 leader 1 isr [1] elr [] last-known []
        => caught up true fenced false may end false
    "#]]);
}

#[test]
fn an_old_incarnation_is_told_that_its_epoch_is_stale() {
    let mut harness = Harness::new();
    let old = harness.join(1);
    harness.wait(10);
    harness.register(1, 2, None);
    harness.text.clear();
    harness.heartbeat(1, old, false);
    harness.ask(Request::AllocateProducerIds { broker: BrokerId::new(1), broker_epoch: old });
    harness.expect(&expect![[r#"
        heartbeat 1
        => STALE_BROKER_EPOCH: broker 1 spoke with epoch 3, its epoch is 6
        => STALE_BROKER_EPOCH: broker 1 spoke with epoch 3, its epoch is 6
    "#]]);
    // And a record that speaks of it changes nothing.
    let before = harness.ledger.image().clone();
    let zombie =
        crate::metadata::records::BrokerIncarnation { broker: BrokerId::new(1), broker_epoch: old };
    harness.replay(vec![Record::UnfenceBroker(zombie), Record::UnregisterBroker(zombie)]);
    assert_eq!(harness.ledger.image().broker(BrokerId::new(1)), before.broker(BrokerId::new(1)));
}

#[test]
fn topics_are_placed_by_count_or_by_hand() {
    let mut harness = Harness::new();
    harness.create(vec![topic("nobody-there")], false);
    harness.join(1);
    harness.join(2);
    harness.create(vec![topic("default"), automatic("wide", 3, 2)], false);
    harness.create(vec![manual("by-hand", &[(1, &[2]), (0, &[1])])], false);
    harness.create(vec![automatic("only-asked", 2, 1)], true);
    harness.expect(&expect![[r#"
        create default wide
        7 Topic default SmkN
        8 Partition SmkN-0 replicas [2] isr [2] leader Some(2) epochs 0/0
        9 Topic wide 4k0q
        10 Partition 4k0q-0 replicas [1,2] isr [1,2] leader Some(1) epochs 0/0
        11 Partition 4k0q-1 replicas [2,1] isr [2,1] leader Some(2) epochs 0/0
        12 Partition 4k0q-2 replicas [1,2] isr [1,2] leader Some(1) epochs 0/0
        => 1 partitions x1
        => 3 partitions x2
        create by-hand
        13 Topic by-hand qM17
        14 Partition qM17-0 replicas [1] isr [1] leader Some(1) epochs 0/0
        15 Partition qM17-1 replicas [2] isr [2] leader Some(2) epochs 0/0
        => 2 partitions x1
        create only-asked
        => 2 partitions x1
    "#]]);
    assert!(harness.ledger.image().topic("only-asked").is_none());
}

#[test]
fn bad_topics_are_refused_as_kafka_refuses_them() {
    let mut harness = Harness::new();
    harness.join(1);
    harness.create(vec![topic("there.is"), topic("second")], false);
    harness.text.clear();
    let mut with_null = topic("null-config");
    with_null.configs = vec![("retention.ms".to_owned(), None)];
    let mut with_bad = topic("bad-config");
    with_bad.configs = vec![("retention.ms".to_owned(), Some("bad".to_owned()))];
    let refused = vec![
        topic(""),
        topic(".."),
        topic("a b"),
        topic("there_is"),
        topic("second"),
        topic("new.one"),
        topic("new_one"),
        topic("twice"),
        topic("twice"),
        topic("__cluster_metadata"),
        automatic("p", 0, 1),
        automatic("p2", -5, 1),
        automatic("r", 1, 0),
        automatic("r2", 1, 2),
        manual("m1", &[(0, &[1]), (0, &[1])]),
        manual("m2", &[(1, &[1])]),
        manual("m3", &[(0, &[])]),
        manual("m4", &[(0, &[1, 1])]),
        manual("m5", &[(0, &[7])]),
        with_null,
        with_bad,
    ];
    for topic in refused.chunk_by(|a, b| a.name == b.name || b.name == "new_one") {
        harness.create(topic.to_vec(), false);
    }
    harness.create(vec![automatic("huge", 10_001, 1)], false);
    harness.expect(&expect![[r#"
        create 
        => INVALID_TOPIC_EXCEPTION: a topic name cannot be empty
        create ..
        => INVALID_TOPIC_EXCEPTION: a topic cannot be called '..'
        create a b
        => INVALID_TOPIC_EXCEPTION: topic name 'a b' has characters other than ASCII letters, digits, '.', '_' and '-'
        create there_is
        => INVALID_TOPIC_EXCEPTION: 'there_is' collides with topic 'there.is': '.' and '_' count as the same
        create second
        => TOPIC_ALREADY_EXISTS: topic 'second' exists already
        create new.one new_one
        9 Topic new.one x8tW
        10 Partition x8tW-0 replicas [1] isr [1] leader Some(1) epochs 0/0
        => 1 partitions x1
        => INVALID_TOPIC_EXCEPTION: 'new_one' collides with topic 'new.one': '.' and '_' count as the same
        create twice twice
        => INVALID_REQUEST: the topic stands twice in the request
        => INVALID_REQUEST: the topic stands twice in the request
        create __cluster_metadata
        => INVALID_REQUEST: '__cluster_metadata' is the cluster's own log
        create p
        => INVALID_PARTITIONS: the number of partitions must be larger than 0, or -1 for the default
        create p2
        => INVALID_PARTITIONS: the number of partitions must be larger than 0, or -1 for the default
        create r
        => INVALID_REPLICATION_FACTOR: the replication factor must be larger than 0, or -1 for the default
        create r2
        => INVALID_REPLICATION_FACTOR: replication factor 2 is larger than the number of registered brokers, 1
        create m1
        => INVALID_REPLICA_ASSIGNMENT: partition 0 is assigned twice
        create m2
        => INVALID_REPLICA_ASSIGNMENT: partition 0 is missing from the assignment
        create m3
        => INVALID_REPLICA_ASSIGNMENT: an assignment names no broker
        create m4
        => INVALID_REPLICA_ASSIGNMENT: broker 1 stands twice in one assignment
        create m5
        => INVALID_REPLICA_ASSIGNMENT: broker 7 is not registered
        create null-config
        => INVALID_CONFIG: config 'retention.ms' has no value
        create bad-config
        => INVALID_CONFIG: retention.ms cannot be bad
        create huge
        => POLICY_VIOLATION: one request may create 10000 partitions
    "#]]);
}

#[test]
fn configs_come_with_the_topic_and_change_later() {
    let mut harness = Harness::new();
    harness.join(1);
    let mut with_config = topic("t");
    with_config.configs = vec![("retention.ms".to_owned(), Some("1000".to_owned()))];
    harness.create(vec![with_config], false);
    let changes = |name: &str, value: Option<&str>| ConfigChange {
        resource: ConfigResource::topic("t"),
        changes: vec![(name.to_owned(), operation(value))],
    };
    let unknown = ConfigChange { resource: ConfigResource::topic("x"), changes: vec![] };
    harness.ask(Request::AlterConfigs {
        changes: vec![
            changes("retention.ms", None),
            changes("segment.bytes", Some("bad")),
            changes("min.insync.replicas", Some("2")),
            unknown,
        ],
        validate_only: false,
    });
    harness.expect(&expect![[r#"
        create t
        5 Topic t SmkN
        6 Config t retention.ms=Some("1000")
        7 Partition SmkN-0 replicas [1] isr [1] leader Some(1) epochs 0/0
        => 1 partitions x1
        8 Config t retention.ms=None
        9 Config t min.insync.replicas=Some("2")
        => ok
        => INVALID_CONFIG: segment.bytes cannot be bad
        => ok
        => UNKNOWN_TOPIC_OR_PARTITION: the topic 'x' does not exist
    "#]]);
    let configs = harness.ledger.image().topic_configs("t").unwrap();
    assert_eq!(configs.len(), 1);
}

#[test]
fn topics_are_deleted_by_name_or_id_with_their_configs_and_names_are_free_again() {
    let mut harness = Harness::new();
    harness.join(1);
    let mut with_config = topic("a");
    with_config.configs = vec![("retention.ms".to_owned(), Some("1000".to_owned()))];
    harness.create(vec![with_config, topic("b")], false);
    let id = harness.ledger.image().topic("b").unwrap().topic_id;
    let name = |name: &str| TopicSelector::Name(name.to_owned());
    harness.ask(Request::DeleteTopics(vec![
        name("a"),
        TopicSelector::Id(id),
        name("b"),
        name("c"),
        TopicSelector::Id(Uuid::from_bytes([9; 16])),
    ]));
    harness.create(vec![topic("a")], false);
    harness.expect(&expect![[r#"
        create a b
        5 Topic a SmkN
        6 Config a retention.ms=Some("1000")
        7 Partition SmkN-0 replicas [1] isr [1] leader Some(1) epochs 0/0
        8 Topic b VHQ9
        9 Partition VHQ9-0 replicas [1] isr [1] leader Some(1) epochs 0/0
        => 1 partitions x1
        => 1 partitions x1
        10 RemoveTopic SmkN
        11 RemoveTopic VHQ9
        => deleted, known true
        => deleted, known true
        => INVALID_REQUEST: the topic stands twice in the request
        => UNKNOWN_TOPIC_OR_PARTITION: 
        => UNKNOWN_TOPIC_ID: 
        create a
        12 Topic a x8tW
        13 Partition x8tW-0 replicas [1] isr [1] leader Some(1) epochs 0/0
        => 1 partitions x1
    "#]]);
    assert!(harness.ledger.image().topic_configs("a").is_none());
}

#[test]
fn partitions_become_more_never_fewer() {
    let mut harness = Harness::new();
    harness.join(1);
    harness.create(vec![topic("t")], false);
    let grow =
        |topic: &str, count| NewPartitions { topic: topic.to_owned(), count, assignments: None };
    for request in [grow("t", 3), grow("t", 3), grow("t", -1), grow("x", 3)] {
        harness.ask(Request::CreatePartitions { topics: vec![request], validate_only: false });
    }
    harness.expect(&expect![[r#"
        create t
        5 Topic t SmkN
        6 Partition SmkN-0 replicas [1] isr [1] leader Some(1) epochs 0/0
        => 1 partitions x1
        7 Partition SmkN-1 replicas [1] isr [1] leader Some(1) epochs 0/0
        8 Partition SmkN-2 replicas [1] isr [1] leader Some(1) epochs 0/0
        => ok
        => INVALID_PARTITIONS: the topic has 3 partitions, and they only become more
        => INVALID_PARTITIONS: the topic has 3 partitions, and they only become more
        => UNKNOWN_TOPIC_OR_PARTITION: 
    "#]]);
}

#[test]
fn producer_ids_are_given_out_once() {
    let mut harness = Harness::new();
    let broker_epoch = harness.join(1);
    let broker = BrokerId::new(1);
    for _ in 0..2 {
        harness.ask(Request::AllocateProducerIds { broker, broker_epoch });
    }
    harness.take_over();
    harness.ask(Request::AllocateProducerIds { broker, broker_epoch });
    harness.expect(&expect![[r#"
        5 ProducerIds next 1000
        => 1000 ids from 0
        6 ProducerIds next 2000
        => 1000 ids from 1000
        -- another controller takes over
        7 ProducerIds next 3000
        => 1000 ids from 2000
    "#]]);
}

#[test]
fn an_unfinished_transaction_is_aborted_by_the_next_controller() {
    let mut harness = Harness::new();
    harness.replay(vec![Record::BeginTransaction(None), bootstrap_topic()]);
    let loader = harness.ledger.loader.clone();
    assert!(loader.image().topic("t").is_none());
    harness.ledger = Controller::new(config(), StdRng::seed_from_u64(3), loader, harness.now);
    harness.wait(0);
    harness.expect(&expect![[r#"
        -- tick at 0ns
        5 AbortTransaction(Some("the controller that began it is gone"))
    "#]]);
    assert!(harness.ledger.image().topic("t").is_none());
}

fn bootstrap_topic() -> Record {
    let (name, topic_id) = ("t".into(), Uuid::from_bytes([5; 16]));
    Record::Topic(crate::metadata::records::Topic { name, topic_id })
}

#[test]
fn the_log_folds_to_the_ledgers_image_and_survives_its_bytes_and_its_snapshot() {
    let mut harness = Harness::new();
    let epochs = [harness.join(1), harness.join(2), harness.join(0)];
    harness.create(vec![automatic("a", 4, 2), automatic("b.c", 2, 3)], false);
    harness.heartbeat(1, epochs[0], true);
    harness.ask(Request::AllocateProducerIds { broker: BrokerId::new(2), broker_epoch: epochs[1] });
    harness.ask(Request::DeleteTopics(vec![TopicSelector::Name("b.c".to_owned())]));
    let change = ConfigChange {
        resource: ConfigResource::topic("a"),
        changes: vec![("min.insync.replicas".to_owned(), operation(Some("2")))],
    };
    harness.ask(Request::AlterConfigs { changes: vec![change], validate_only: false });
    harness.wait(10);

    let mut loader = ImageLoader::default();
    for (record, offset) in harness.log.iter().zip(1..) {
        let bytes = record.to_bytes().unwrap();
        assert_eq!(Record::from_bytes(bytes.clone()), Ok(record.clone()));
        for cut in 0..bytes.len() {
            let _ = Record::from_bytes(bytes.slice(..cut));
        }
        loader.replay(Offset::new(offset), epoch(), record).unwrap();
    }
    let image = harness.ledger.image();
    assert_eq!(loader.image(), image);

    let mut from_snapshot = ImageLoader::default();
    for record in image.to_records() {
        from_snapshot.replay(Offset::ZERO, epoch(), &record).unwrap();
    }
    from_snapshot.advance(image.end_offset, image.epoch);
    assert_eq!(from_snapshot.image(), image);
}

/// What one random step does; numbers are taken modulo what there is.
#[derive(Clone, Debug)]
enum Step {
    Register { broker: i32, clean: bool },
    Heartbeat { broker: i32, shutdown: bool },
    Create { name: u8, partitions: i32, factor: i16 },
    Delete { name: u8 },
    MinIsr { name: u8, value: u8 },
    Wait { seconds: u64 },
    TakeOver,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0..4, any::<bool>()).prop_map(|(broker, clean)| Step::Register { broker, clean }),
        6 => (0..4, prop::bool::weighted(0.15))
            .prop_map(|(broker, shutdown)| Step::Heartbeat { broker, shutdown }),
        2 => (0..5u8, 1..4, 1..4i16)
            .prop_map(|(name, partitions, factor)| Step::Create { name, partitions, factor }),
        1 => (0..5u8).prop_map(|name| Step::Delete { name }),
        1 => (0..5u8, 1..4u8).prop_map(|(name, value)| Step::MinIsr { name, value }),
        3 => (1..12u64).prop_map(|seconds| Step::Wait { seconds }),
        1 => Just(Step::TakeOver),
    ]
}

impl Harness {
    fn step(&mut self, step: Step, incarnation: u8) {
        let name = |name: u8| format!("t{name}");
        let epoch = |harness: &Harness, broker| {
            let broker = harness.ledger.image().broker(BrokerId::new(broker));
            broker.map(|broker| broker.broker_epoch)
        };
        match step {
            Step::Register { broker, clean } => {
                let previous = epoch(self, broker).filter(|_| clean).map(BrokerEpoch::value);
                self.register(broker, incarnation, previous);
            }
            Step::Heartbeat { broker, shutdown } => {
                if let Some(epoch) = epoch(self, broker) {
                    self.heartbeat(broker, epoch, shutdown);
                }
            }
            Step::Create { name: number, partitions, factor } => {
                self.create(vec![automatic(&name(number), partitions, factor)], false);
            }
            Step::Delete { name: number } => {
                let topic = TopicSelector::Name(name(number));
                self.ask(Request::DeleteTopics(vec![topic]));
            }
            Step::MinIsr { name: number, value } => {
                let value = ConfigOperation::Set(value.to_string());
                let changes = vec![("min.insync.replicas".to_owned(), value)];
                let resource = ConfigResource::topic(name(number));
                let changes = vec![ConfigChange { resource, changes }];
                self.ask(Request::AlterConfigs { changes, validate_only: false });
            }
            Step::Wait { seconds } => self.wait(seconds),
            Step::TakeOver => self.take_over(),
        }
    }

    /// What holds of every image, whatever was asked.
    fn check(&self) {
        let image = self.ledger.image();
        for partition in image.topics().flat_map(|topic| topic.partitions.values()) {
            let listed = |list: &[BrokerId]| list.iter().all(|id| partition.replicas.contains(id));
            assert!(listed(&partition.isr) && listed(&partition.eligible_leader_replicas));
            let eligible = &partition.eligible_leader_replicas;
            assert!(!partition.isr.iter().any(|id| eligible.contains(id)), "{partition:?}");
            if let Some(leader) = partition.leader {
                assert!(partition.isr.contains(&leader), "{partition:?}");
                assert!(image.is_active(leader), "broker {leader} leads and may not");
            }
            assert!(partition.leader_epoch.value() <= partition.partition_epoch.value());
        }
    }
}

proptest! {
    #[test]
    fn whatever_is_asked_the_image_is_sound_and_is_the_fold_of_the_log(
        steps in prop::collection::vec(step(), 1..60)
    ) {
        let mut harness = Harness::new();
        for (step, incarnation) in steps.into_iter().zip(1..) {
            let before = harness.ledger.image().clone();
            harness.step(step, incarnation);
            harness.check();
            // The difference names exactly the partitions that are not the same.
            let delta = crate::metadata::MetadataDelta::between(&before, harness.ledger.image());
            for change in &delta.partitions {
                prop_assert_eq!(before.partition(change.partition), change.before.as_ref());
                prop_assert_eq!(harness.ledger.image().partition(change.partition), change.now.as_ref());
            }
            let changed = delta.partitions.len();
            let count = |image: &MetadataImage| image.topics().map(|t| t.partitions.len()).sum::<usize>();
            let same = before.topics_by_id().flat_map(|topic| {
                topic.partitions.iter().filter(|(index, partition)| {
                    let name = TopicIdPartition { topic_id: topic.topic_id, partition: **index };
                    harness.ledger.image().partition(name) == Some(*partition)
                })
            }).count();
            prop_assert_eq!(changed, count(&before) + count(harness.ledger.image()) - 2 * same - delta
                .partitions.iter().filter(|p| p.before.is_some() && p.now.is_some()).count());
        }
        let mut loader = ImageLoader::default();
        for (record, offset) in harness.log.iter().zip(1..) {
            let read = Record::from_bytes(record.to_bytes().unwrap());
            prop_assert_eq!(read.as_ref(), Ok(record));
            loader.replay(Offset::new(offset), epoch(), record).unwrap();
        }
        prop_assert_eq!(loader.image(), harness.ledger.image());
    }

    #[test]
    fn garbage_is_no_record(bytes: Vec<u8>) {
        let _ = Record::from_bytes(bytes.into());
    }
}

#[test]
fn unknown_records_are_named_in_the_error() {
    // Frame version 1, type 99, version 0.
    let error = Record::from_bytes(vec![1, 99, 0].into()).unwrap_err();
    expect!["not a metadata record: MetadataRecord.version at byte 3: key 99 is not known"]
        .assert_eq(&error.to_string());
}

#[test]
fn no_answer_carries_none_as_an_error() {
    let error = ApiError::from(ErrorCode::UnknownTopicId);
    assert!(!error.error.is_none());
    assert_eq!(error.to_string(), "UNKNOWN_TOPIC_ID: ");
}
