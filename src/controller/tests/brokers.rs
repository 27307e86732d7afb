//! Brokers come, live, go, and are missed.

use expect_test::expect;

use super::*;

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
        4 RegisterBroker 0 epoch 4 fenced true
        => epoch 4
        => caught up false fenced true may end false
        heartbeat 0
        5 BrokerRegistrationChange 0 epoch 4 fenced Some(false) shutdown false
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
        6 BrokerRegistrationChange 1 epoch 4 fenced Some(true) shutdown false
        register 1 incarnation 2
        7 RegisterBroker 1 epoch 7 fenced true
        => epoch 7
    "#]]);
}

#[test]
fn the_same_incarnation_amends_its_registration() {
    let mut harness = Harness::new();
    harness.join(1);
    harness.register(1, 11, None);
    harness.expect(&expect![[r#"
        register 1 incarnation 11
        6 RegisterBroker 1 epoch 4 fenced false
        => epoch 4
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
        6 RegisterBroker 0 epoch 6 fenced true
        => epoch 6
        heartbeat 0
        7 BrokerRegistrationChange 0 epoch 6 fenced Some(false) shutdown false
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
        6 Topic t SmkN
        7 Partition SmkN-0 replicas [0] isr [0] leader Some(0) epochs 0/0
        => 1 partitions x1
        heartbeat 0 wants to shut down
        8 BrokerRegistrationChange 0 epoch 4 fenced None shutdown true
        9 PartitionChange SmkN-0 leader none isr [] elr [0] last-known [0]
        => caught up true fenced false may end false
        heartbeat 0 wants to shut down
        10 BrokerRegistrationChange 0 epoch 4 fenced Some(true) shutdown false
        => caught up true fenced true may end true
        -- another controller takes over
        register 0 incarnation 2
        11 RegisterBroker 0 epoch 11 fenced true
        => epoch 11
        heartbeat 0
        12 BrokerRegistrationChange 0 epoch 11 fenced Some(false) shutdown false
        13 PartitionChange SmkN-0 leader 0 isr [0] elr [] last-known []
        => caught up true fenced false may end false
        -- another controller takes over
        register 0 incarnation 3
        14 PartitionChange SmkN-0 leader none isr [] last-known [0]
        15 RegisterBroker 0 epoch 15 fenced true
        => epoch 15
        heartbeat 0
        16 BrokerRegistrationChange 0 epoch 15 fenced Some(false) shutdown false
        17 PartitionChange SmkN-0 leader 0 isr [0] last-known [] Recovering
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
        9 Topic t YRgw
        10 Partition YRgw-0 replicas [1,2] isr [1,2] leader Some(1) epochs 0/0
        11 Partition YRgw-1 replicas [2,1] isr [2,1] leader Some(2) epochs 0/0
        12 Topic u 2slI
        13 Partition 2slI-0 replicas [1] isr [1] leader Some(1) epochs 0/0
        => 2 partitions x2
        => 1 partitions x1
        heartbeat 2
        => caught up true fenced false may end false
        -- tick at 10s
        14 PartitionChange YRgw-0 leader 2 isr [2]
        15 PartitionChange YRgw-1 isr [2]
        16 PartitionChange 2slI-0 leader none isr [] elr [1] last-known [1]
        17 BrokerRegistrationChange 1 epoch 4 fenced Some(true) shutdown false
        heartbeat 1
        18 BrokerRegistrationChange 1 epoch 4 fenced Some(false) shutdown false
        19 PartitionChange 2slI-0 leader 1 isr [1] elr [] last-known []
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
        => STALE_BROKER_EPOCH: broker 1 spoke with epoch 4, its epoch is 7
        => STALE_BROKER_EPOCH: broker 1 spoke with epoch 4, its epoch is 7
    "#]]);
    // And a record that speaks of it changes nothing.
    let before = harness.ledger.image().clone();
    let zombie =
        crate::metadata::records::BrokerIncarnation { broker: BrokerId::new(1), broker_epoch: old };
    harness.replay(vec![Record::UnfenceBroker(zombie), Record::UnregisterBroker(zombie)]);
    assert_eq!(harness.ledger.image().broker(BrokerId::new(1)), before.broker(BrokerId::new(1)));
}

#[test]
fn a_broker_that_leaves_in_good_order_gives_up_its_leaderships_first() {
    let mut harness = Harness::new();
    let epochs = [harness.join(1), harness.join(2)];
    harness.create(vec![manual("t", &[(0, &[1, 2]), (1, &[2, 1])])], false);
    harness.text.clear();
    harness.heartbeat(1, epochs[0], true);
    harness.note("broker 2 has not heard of it yet");
    let behind = harness.ledger.image().end_offset;
    harness.replay(vec![Record::NoOp]);
    harness.ask(Request::BrokerHeartbeat(BrokerHeartbeatRequest {
        broker: BrokerId::new(2),
        broker_epoch: epochs[1],
        metadata_end_offset: Offset::new(behind.value() - 3),
        want_fence: false,
        want_shutdown: false,
        offline_log_dirs: vec![],
    }));
    harness.heartbeat(1, epochs[0], true);
    harness.heartbeat(2, epochs[1], false);
    harness.heartbeat(1, epochs[0], true);
    harness.note("it cannot change its mind");
    harness.heartbeat(1, epochs[0], false);
    harness.expect(&expect![[r#"
        heartbeat 1 wants to shut down
        12 BrokerRegistrationChange 1 epoch 4 fenced None shutdown true
        13 PartitionChange YRgw-0 leader 2 isr [2]
        14 PartitionChange YRgw-1 isr [2]
        => caught up true fenced false may end false
        -- broker 2 has not heard of it yet
        => caught up true fenced false may end false
        heartbeat 1 wants to shut down
        => caught up true fenced false may end false
        heartbeat 2
        => caught up true fenced false may end false
        heartbeat 1 wants to shut down
        16 BrokerRegistrationChange 1 epoch 4 fenced Some(true) shutdown false
        => caught up true fenced true may end true
        -- it cannot change its mind
        heartbeat 1
        => caught up true fenced true may end false
    "#]]);
}

#[test]
fn an_unregistered_broker_is_neither_in_sync_nor_eligible() {
    let mut harness = Harness::new();
    harness.join(1);
    harness.join(2);
    harness.create(vec![manual("t", &[(0, &[1, 2])]), manual("u", &[(0, &[2])])], false);
    harness.min_isr("t", 2);
    harness.heartbeat_shutdown(2);
    harness.text.clear();
    harness.ask(Request::UnregisterBroker(BrokerId::new(2)));
    harness.ask(Request::UnregisterBroker(BrokerId::new(2)));
    harness.expect(&expect![[r#"
        18 PartitionChange YRgw-0 elr []
        19 PartitionChange 2slI-0 elr []
        20 UnregisterBroker(BrokerIncarnation { broker: BrokerId(2), broker_epoch: BrokerEpoch(7) })
        => ok
        => BROKER_ID_NOT_REGISTERED: broker 2 is not registered
    "#]]);
}

#[test]
fn who_stopped_uncleanly_is_eligible_no_longer_when_it_returns() {
    let mut harness = Harness::new();
    for broker in [1, 2] {
        harness.join(broker);
    }
    harness.create(vec![manual("t", &[(0, &[1, 2])])], false);
    harness.min_isr("t", 2);
    harness.wait(5);
    harness.heartbeat_all(&[1]);
    harness.wait(5);
    harness.text.clear();
    harness.note("broker 2 lost its power, and was fenced: it is eligible until it says that it stopped uncleanly");
    harness.register(2, 50, None);
    harness.expect(&expect![[r#"
        -- broker 2 lost its power, and was fenced: it is eligible until it says that it stopped uncleanly
        register 2 incarnation 50
        15 PartitionChange YRgw-0 elr []
        16 RegisterBroker 2 epoch 16 fenced true
        => epoch 16
    "#]]);
}

/// Who skips what was in between tells at once where a broker stands that was fenced and is not any more: others know that it was.
#[test]
fn a_difference_names_the_brokers_that_are_again_what_they_were() {
    let mut harness = Harness::new();
    let epoch = harness.join(1);
    let before = harness.ledger.image().clone();
    harness.wait(10);
    assert!(harness.ledger.image().broker(BrokerId::new(1)).unwrap().fenced);
    harness.heartbeat(1, epoch, false);
    let delta = crate::metadata::MetadataDelta::between(&before, harness.ledger.image());
    assert!(delta.brokers_changed.is_empty());
    let touched: Vec<_> =
        delta.brokers_touched.iter().map(|one| (one.broker, one.fenced)).collect();
    assert_eq!(touched, [(BrokerId::new(1), false)]);
}
