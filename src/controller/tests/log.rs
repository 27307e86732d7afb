//! The ledger as a fold of its log, by example and by chance.

use expect_test::expect;
use proptest::prelude::*;

use super::super::partition_index::PartitionIndex as PartitionIndexOf;
use super::*;
use crate::metadata::PartitionImage;
use crate::metadata::records::PartitionChange;

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
        6 AbortTransaction(Some("the controller that began it is gone"))
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

/// What one random step does; numbers are taken modulo what there is.
#[derive(Clone, Debug)]
enum Step {
    Register { broker: i32, clean: bool },
    Heartbeat { broker: i32, shutdown: bool },
    FailDirectory { broker: i32 },
    Unregister { broker: i32 },
    Create { name: u8, partitions: i32, factor: i16 },
    Delete { name: u8 },
    MinIsr { name: u8, value: u8 },
    Unclean { name: u8, allowed: bool },
    Propose { name: u8, index: i32, members: u8, wrong: u8 },
    Elect { unclean: bool },
    Reassign { name: u8, index: i32, first: i32, count: i32 },
    Cancel { name: u8, index: i32 },
    Elr { enabled: bool },
    Wait { seconds: u64 },
    TakeOver,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4, any::<bool>()).prop_map(|(broker, clean)| Step::Register { broker, clean }),
        10 => (0..4, prop::bool::weighted(0.15))
            .prop_map(|(broker, shutdown)| Step::Heartbeat { broker, shutdown }),
        1 => (0..4).prop_map(|broker| Step::FailDirectory { broker }),
        1 => (0..4).prop_map(|broker| Step::Unregister { broker }),
        3 => (0..3u8, 1..4, 1..4i16)
            .prop_map(|(name, partitions, factor)| Step::Create { name, partitions, factor }),
        1 => (0..3u8).prop_map(|name| Step::Delete { name }),
        2 => (0..3u8, 1..4u8).prop_map(|(name, value)| Step::MinIsr { name, value }),
        1 => (0..3u8, any::<bool>()).prop_map(|(name, allowed)| Step::Unclean { name, allowed }),
        12 => (0..3u8, 0..4, 0..16u8, 0..12u8).prop_map(|(name, index, members, wrong)| {
            Step::Propose { name, index, members, wrong }
        }),
        1 => prop::bool::weighted(0.3).prop_map(|unclean| Step::Elect { unclean }),
        3 => (0..3u8, 0..4, 0..4, 1..4).prop_map(|(name, index, first, count)| {
            Step::Reassign { name, index, first, count }
        }),
        1 => (0..3u8, 0..4).prop_map(|(name, index)| Step::Cancel { name, index }),
        1 => prop::bool::weighted(0.9).prop_map(|enabled| Step::Elr { enabled }),
        3 => (1..12u64).prop_map(|seconds| Step::Wait { seconds }),
        1 => Just(Step::Wait { seconds: 300 }),
        1 => Just(Step::TakeOver),
    ]
}

impl Harness {
    fn step(&mut self, step: Step, incarnation: u8) {
        let topic_name = |name: u8| format!("t{name}");
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
            Step::FailDirectory { broker } => {
                if let Some(broker_epoch) = epoch(self, broker) {
                    self.ask(Request::BrokerHeartbeat(BrokerHeartbeatRequest {
                        broker: BrokerId::new(broker),
                        broker_epoch,
                        metadata_end_offset: self.next_offset,
                        want_fence: false,
                        want_shutdown: false,
                        offline_log_dirs: vec![directory(broker)],
                    }));
                }
            }
            Step::Unregister { broker } => {
                self.ask(Request::UnregisterBroker(BrokerId::new(broker)));
            }
            Step::Create { name, partitions, factor } => {
                self.create(vec![automatic(&topic_name(name), partitions, factor)], false);
            }
            Step::Delete { name } => {
                let topic = TopicSelector::Name(topic_name(name));
                self.ask(Request::DeleteTopics(vec![topic]));
            }
            Step::MinIsr { name, value } => self.min_isr(&topic_name(name), value.into()),
            Step::Unclean { name, allowed } => {
                let value = allowed.to_string();
                self.set_config(&topic_name(name), "unclean.leader.election.enable", &value);
            }
            Step::Propose { name, index, members, wrong } => {
                self.propose_by_chance(&topic_name(name), index, members, wrong);
            }
            Step::Elect { unclean } => {
                let election =
                    if unclean { ElectionType::Unclean } else { ElectionType::Preferred };
                self.ask(Request::ElectLeaders(ElectLeadersRequest { election, partitions: None }));
            }
            Step::Reassign { name, index, first, count } => {
                let replicas: Vec<i32> = (0..count).map(|step| (first + step) % 4).collect();
                self.reassign(&topic_name(name), index, Some(&replicas));
            }
            Step::Cancel { name, index } => self.reassign(&topic_name(name), index, None),
            Step::Elr { enabled } => {
                let (level, upgrade_type) = if enabled {
                    (1, UpgradeType::Upgrade)
                } else {
                    (0, UpgradeType::SafeDowngrade)
                };
                let feature = crate::metadata::ELIGIBLE_LEADER_REPLICAS_VERSION.to_owned();
                let updates = vec![FeatureUpdate { feature, level, upgrade_type }];
                self.ask(Request::UpdateFeatures { updates, validate_only: false });
            }
            Step::Wait { seconds } => self.wait(seconds),
            Step::TakeOver => self.take_over(),
        }
    }

    /// The leader and some others, or something that is wrong about it.
    fn propose_by_chance(&mut self, topic: &str, index: i32, members: u8, wrong: u8) {
        let Some(topic_id) = self.ledger.image().topic(topic).map(|topic| topic.topic_id) else {
            return;
        };
        let name = TopicIdPartition { topic_id, partition: PartitionIndex::new(index) };
        let Some(partition) = self.ledger.image().partition(name) else { return };
        let Some(leader) = partition.leader else { return };
        let chosen =
            |replica: &&BrokerId| **replica == leader || members & (1 << replica.value()) != 0;
        let isr: Vec<i32> = partition.replicas.iter().filter(chosen).map(|id| id.value()).collect();
        let mut proposal = self.proposal(topic, index, &isr);
        let change = &mut proposal.partitions[0];
        match wrong {
            0 => change.isr.retain(|(member, _)| *member != leader),
            1 => change.partition_epoch = PartitionEpoch::new(change.partition_epoch.value() / 2),
            2 => change.leader_epoch = LeaderEpoch::new(change.leader_epoch.value() / 2),
            3 => change.isr.push((BrokerId::new(3), None)),
            4 => change.leader_recovery_state = LeaderRecoveryState::Recovering,
            _ => {}
        }
        self.proposed = change.isr.iter().map(|(member, _)| *member).collect();
        self.ask(Request::AlterPartition(proposal));
    }

    /// What holds of every image, whatever was asked: R17.
    pub(super) fn check(&self) {
        let image = self.ledger.image();
        assert_eq!(self.ledger.index, PartitionIndexOf::new(image));
        let elr_enabled = self.ledger.is_elr_enabled();
        for topic in image.topics() {
            for partition in topic.partitions.values() {
                let rules = self.ledger.election_rules(topic);
                let listed =
                    |list: &[BrokerId]| list.iter().all(|id| partition.replicas.contains(id));
                assert!(listed(&partition.isr), "{partition:?}");
                assert!(listed(&partition.eligible_leader_replicas), "{partition:?}");
                assert!(listed(&partition.adding_replicas), "{partition:?}");
                assert!(listed(&partition.removing_replicas), "{partition:?}");
                assert_eq!(partition.directories.len(), partition.replicas.len());
                let eligible = &partition.eligible_leader_replicas;
                assert!(!partition.isr.iter().any(|id| eligible.contains(id)), "{partition:?}");
                let minimum = rules.min_isr.min(partition.replicas.len());
                assert!(partition.isr.len() < minimum || eligible.is_empty(), "{partition:?}");
                if let Some(leader) = partition.leader {
                    assert!(partition.isr.contains(&leader), "{partition:?}");
                    assert!(image.is_active(leader), "broker {leader} leads and may not");
                }
                if elr_enabled && !self.elr_was_off {
                    let active = partition.isr.iter().all(|id| image.is_active(*id));
                    assert!(active, "{partition:?}");
                }
                assert!(partition.leader_epoch.value() <= partition.partition_epoch.value());
            }
        }
    }

    /// What holds of every single change: R2 and R27.
    pub(super) fn check_change(&self, before: &PartitionImage, change: &PartitionChange) {
        let name = TopicIdPartition { topic_id: change.topic_id, partition: change.partition };
        let now = self.ledger.image().partition(name).unwrap();
        assert_eq!(now.partition_epoch, before.partition_epoch.next(), "{change:?}");
        let raised = change.leader != LeaderChange::Unchanged;
        let expected = if raised { before.leader_epoch.next() } else { before.leader_epoch };
        assert_eq!(now.leader_epoch, expected);
        assert!(raised || now.leader == before.leader);
        let Some(leader) = now.leader.filter(|leader| before.leader != Some(*leader)) else {
            return;
        };
        let in_sync = before.isr.contains(&leader) || self.proposed.contains(&leader);
        let eligible = before.eligible_leader_replicas.contains(&leader) && now.isr == [leader];
        let declared = now.leader_recovery_state == LeaderRecoveryState::Recovering
            && now.isr == [leader]
            && now.eligible_leader_replicas.is_empty();
        assert!(in_sync || eligible || declared, "{before:?} {change:?}");
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
