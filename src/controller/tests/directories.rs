//! In which log directories replicas are (KIP-858).

use expect_test::expect;

use super::*;

const OTHER: Uuid = Uuid::from_bytes([0xee; 16]);

impl Harness {
    /// Broker 1 with two directories, broker 2 with one.
    fn with_two_directories() -> Self {
        let mut harness = Self::new();
        let mut request = registration(1, 11, None);
        request.log_dirs.push(OTHER);
        harness.ask(Request::RegisterBroker(request));
        let epoch = harness.epoch_of(1);
        harness.heartbeat(1, epoch, false);
        harness.join(2);
        harness.create(
            vec![manual("t", &[(0, &[1, 2]), (1, &[1, 2])]), manual("u", &[(0, &[1])])],
            false,
        );
        harness
    }

    /// Broker 1 tells where its replicas are.
    fn assign(&mut self, replicas: &[(&str, i32, Uuid)]) {
        let replicas =
            replicas.iter().map(|(topic, index, directory)| (*directory, self.name(topic, *index)));
        let request = AssignReplicasToDirsRequest {
            broker: BrokerId::new(1),
            broker_epoch: self.epoch_of(1),
            replicas: replicas.collect(),
        };
        self.ask(Request::AssignReplicasToDirs(request));
    }

    fn fail_other(&mut self) {
        self.ask(Request::BrokerHeartbeat(BrokerHeartbeatRequest {
            broker: BrokerId::new(1),
            broker_epoch: self.epoch_of(1),
            metadata_end_offset: self.next_offset,
            want_fence: false,
            want_shutdown: false,
            offline_log_dirs: vec![OTHER],
        }));
    }
}

#[test]
fn a_failed_directory_takes_its_partitions_and_no_others() {
    let mut harness = Harness::with_two_directories();
    harness.text.clear();
    harness.assign(&[("t", 0, OTHER), ("t", 1, directory(1)), ("u", 0, OTHER)]);
    harness.note("what is known is not written again");
    harness.assign(&[("t", 0, OTHER)]);
    harness.note("the directory fails; said twice");
    harness.fail_other();
    harness.fail_other();
    harness.expect(&expect![[r#"
        14 PartitionChange YRgw-0 directories ee,d2
        15 PartitionChange YRgw-1 directories d1,d2
        16 PartitionChange 2slI-0 directories ee
        => ok
        => ok
        => ok
        -- what is known is not written again
        => ok
        -- the directory fails; said twice
        17 PartitionChange YRgw-0 leader 2 isr [2]
        18 PartitionChange 2slI-0 leader none isr [] last-known [1]
        19 BrokerRegistrationChange 1 epoch 4 fenced None shutdown false directories 1
        => caught up true fenced false may end false
        => caught up true fenced false may end false
    "#]]);
}

#[test]
fn a_replica_that_turns_out_to_be_in_a_failed_directory_is_gone_with_it() {
    let mut harness = Harness::with_two_directories();
    harness.text.clear();
    harness.fail_other();
    harness.note("nothing is known of where they are");
    harness.assign(&[("t", 0, OTHER), ("u", 0, OTHER)]);
    harness.expect(&expect![[r#"
        14 BrokerRegistrationChange 1 epoch 4 fenced None shutdown false directories 1
        => caught up true fenced false may end false
        -- nothing is known of where they are
        15 PartitionChange YRgw-0 leader 2 isr [2] directories ee,d2
        16 PartitionChange 2slI-0 leader none isr [] last-known [1] directories ee
        => ok
        => ok
    "#]]);
}

#[test]
fn who_comes_back_with_a_new_disk_leads_again_once_it_told_so() {
    let mut harness = Harness::new();
    harness.join(1);
    harness.join(2);
    harness.create(vec![manual("t", &[(0, &[1, 2])]), manual("u", &[(0, &[1])])], false);
    let mut request = registration(1, 12, None);
    request.log_dirs = vec![OTHER];
    for _ in 0..4 {
        harness.wait(5);
        harness.heartbeat_all(&[2]);
    }
    harness.text.clear();
    harness.ask(Request::RegisterBroker(request));
    let epoch = harness.epoch_of(1);
    harness.heartbeat(1, epoch, false);
    harness.note("in sync, but the controller believes it in the old directory");
    harness.propose("t", 0, &[2, 1]);
    harness.ask(Request::ElectLeaders(ElectLeadersRequest {
        election: ElectionType::Preferred,
        partitions: Some(vec![("t".to_owned(), 0)]),
    }));
    harness.note("it tells");
    harness.assign(&[("t", 0, OTHER), ("u", 0, OTHER)]);
    harness.ask(Request::ElectLeaders(ElectLeadersRequest {
        election: ElectionType::Preferred,
        partitions: Some(vec![("t".to_owned(), 0)]),
    }));
    harness.expect(&expect![[r#"
        16 PartitionChange 2slI-0 elr []
        17 RegisterBroker 1 epoch 17 fenced true
        => epoch 17
        heartbeat 1
        18 BrokerRegistrationChange 1 epoch 17 fenced Some(false) shutdown false
        => caught up true fenced false may end false
        -- in sync, but the controller believes it in the old directory
        propose t-0 [2, 1]
        19 PartitionChange YRgw-0 isr [2,1]
        => leader Some(2) isr [2,1] Recovered epochs 1/2
        => t-0 PREFERRED_LEADER_NOT_AVAILABLE: 
        -- it tells
        20 PartitionChange YRgw-0 directories ee,d2
        21 PartitionChange 2slI-0 leader 1 isr [1] last-known [] Recovering directories ee
        => ok
        => ok
        22 PartitionChange YRgw-0 leader 1
        => t-0 ok
    "#]]);
}

#[test]
fn bad_assignments_are_refused_one_by_one() {
    let mut harness = Harness::with_two_directories();
    harness.join(3);
    harness.create(vec![manual("v", &[(0, &[2, 3])])], false);
    harness.text.clear();
    let name = harness.name("t", 0);
    let good = AssignReplicasToDirsRequest {
        broker: BrokerId::new(1),
        broker_epoch: harness.epoch_of(1),
        replicas: vec![
            (OTHER, TopicIdPartition { topic_id: Uuid::from_bytes([9; 16]), ..name }),
            (OTHER, TopicIdPartition { partition: PartitionIndex::new(7), ..name }),
            (OTHER, harness.name("v", 0)),
            (Uuid::ZERO, harness.name("t", 1)),
            (OTHER, name),
            (directory(1), name),
        ],
    };
    harness.ask(Request::AssignReplicasToDirs(good.clone()));
    harness.note("an old incarnation");
    let old = AssignReplicasToDirsRequest { broker_epoch: BrokerEpoch::new(1), ..good.clone() };
    harness.ask(Request::AssignReplicasToDirs(old));
    harness.note("nobody");
    harness.ask(Request::AssignReplicasToDirs(AssignReplicasToDirsRequest {
        broker: BrokerId::new(9),
        ..good
    }));
    harness.expect(&expect![[r#"
        18 PartitionChange YRgw-0 directories ee,d2
        => UNKNOWN_TOPIC_ID
        => UNKNOWN_TOPIC_OR_PARTITION
        => NOT_LEADER_OR_FOLLOWER
        => INVALID_REQUEST
        => ok
        => INVALID_REQUEST
        -- an old incarnation
        => STALE_BROKER_EPOCH: broker 1 spoke with epoch 1, its epoch is 4
        -- nobody
        => STALE_BROKER_EPOCH: broker 9 is not registered
    "#]]);
}
