//! What leaders propose, what administrators elect and move, and what time gives back.

use expect_test::expect;

use super::*;
use crate::metadata::records::LeaderRecoveryState;
use crate::types::PartitionIndex;

/// Topic `t` with one partition on brokers 1, 2 and 3, all in sync, the first leading.
fn three() -> (Harness, [BrokerEpoch; 3]) {
    let mut harness = Harness::new();
    let epochs = [harness.join(1), harness.join(2), harness.join(3)];
    harness.create(vec![manual("t", &[(0, &[1, 2, 3])])], false);
    harness.min_isr("t", 2);
    harness.text.clear();
    (harness, epochs)
}

#[test]
fn a_leader_shrinks_and_grows_the_in_sync_replicas_without_a_new_leader_epoch() {
    let (mut harness, _) = three();
    harness.propose("t", 0, &[1, 2]);
    harness.propose("t", 0, &[1]);
    harness.propose("t", 0, &[1, 3]);
    harness.propose("t", 0, &[1, 2, 3]);
    harness.propose("t", 0, &[1, 2, 3]);
    harness.expect(&expect![[r#"
        propose t-0 [1, 2]
        15 PartitionChange YRgw-0 isr [1,2]
        => leader Some(1) isr [1,2] Recovered epochs 0/2
        propose t-0 [1]
        16 PartitionChange YRgw-0 isr [1] elr [2]
        => leader Some(1) isr [1] Recovered epochs 0/3
        propose t-0 [1, 3]
        17 PartitionChange YRgw-0 isr [1,3] elr []
        => leader Some(1) isr [1,3] Recovered epochs 0/4
        propose t-0 [1, 2, 3]
        18 PartitionChange YRgw-0 isr [1,2,3]
        => leader Some(1) isr [1,2,3] Recovered epochs 0/5
        propose t-0 [1, 2, 3]
        => leader Some(1) isr [1,2,3] Recovered epochs 0/5
    "#]]);
}

#[test]
fn proposals_are_refused_as_kafka_refuses_them() {
    let (mut harness, _) = three();
    harness.propose("t", 0, &[1, 2]);
    harness.heartbeat_shutdown(3);
    harness.text.clear();
    let good = harness.proposal("t", 0, &[1, 2]);
    let one = |request: &AlterPartitionRequest| request.partitions[0].clone();
    let with =
        |change: IsrChange| AlterPartitionRequest { partitions: vec![change], ..good.clone() };
    let isr = |ids: &[i32]| IsrChange {
        isr: ids.iter().map(|id| (BrokerId::new(*id), None)).collect(),
        ..one(&good)
    };
    let name = one(&good).partition;
    let recovering =
        IsrChange { leader_recovery_state: LeaderRecoveryState::Recovering, ..one(&good) };
    let two = harness.ledger.image().broker(BrokerId::new(2)).unwrap().broker_epoch;
    let refused = [
        (
            "an old incarnation",
            AlterPartitionRequest { broker_epoch: BrokerEpoch::new(1), ..good.clone() },
        ),
        (
            "not the leader",
            AlterPartitionRequest { broker: BrokerId::new(2), broker_epoch: two, ..good.clone() },
        ),
        (
            "unknown topic",
            with(IsrChange {
                partition: TopicIdPartition { topic_id: Uuid::from_bytes([9; 16]), ..name },
                ..one(&good)
            }),
        ),
        (
            "unknown partition",
            with(IsrChange {
                partition: TopicIdPartition { partition: PartitionIndex::new(7), ..name },
                ..one(&good)
            }),
        ),
        ("leader epoch ahead", with(IsrChange { leader_epoch: LeaderEpoch::new(1), ..one(&good) })),
        (
            "partition epoch ahead",
            with(IsrChange { partition_epoch: PartitionEpoch::new(9), ..one(&good) }),
        ),
        (
            "partition epoch behind",
            with(IsrChange { partition_epoch: PartitionEpoch::new(0), ..one(&good) }),
        ),
        ("without the leader", with(isr(&[2]))),
        ("twice", with(isr(&[1, 1]))),
        ("no replica", with(isr(&[1, 7]))),
        ("recovered before", with(recovering)),
        ("shutting down", with(isr(&[1, 2, 3]))),
    ];
    for (why, request) in refused {
        harness.note(why);
        harness.ask(Request::AlterPartition(request));
    }
    harness.note("two in one request");
    let mut both = good.clone();
    both.partitions.push(isr(&[1]));
    harness.ask(Request::AlterPartition(both));
    harness.expect(&expect![[r#"
        -- an old incarnation
        => STALE_BROKER_EPOCH: broker 1 spoke with epoch 1, its epoch is 4
        -- not the leader
        => INVALID_REQUEST
        -- unknown topic
        => UNKNOWN_TOPIC_ID
        -- unknown partition
        => UNKNOWN_TOPIC_OR_PARTITION
        -- leader epoch ahead
        => NOT_CONTROLLER
        -- partition epoch ahead
        => NOT_CONTROLLER
        -- partition epoch behind
        => INVALID_UPDATE_VERSION
        -- without the leader
        => INVALID_REQUEST
        -- twice
        => INVALID_REQUEST
        -- no replica
        => INVALID_REQUEST
        -- recovered before
        => INVALID_REQUEST
        -- shutting down
        => INELIGIBLE_REPLICA
        -- two in one request
        => leader Some(1) isr [1,2] Recovered epochs 0/2
        => INVALID_UPDATE_VERSION
    "#]]);
}

#[test]
fn a_replica_of_another_incarnation_or_fenced_may_not_join() {
    let (mut harness, _) = three();
    harness.propose("t", 0, &[1, 2]);
    let stale = harness.proposal("t", 0, &[1, 2, 3]);
    harness.heartbeat_all(&[1, 2]);
    harness.wait(8);
    harness.heartbeat_all(&[1, 2]);
    harness.wait(4);
    harness.text.clear();
    harness.note("fenced");
    harness.ask(Request::AlterPartition(stale.clone()));
    let epoch = harness.register(3, 99, None).unwrap();
    harness.heartbeat(3, epoch, false);
    harness.note("another incarnation");
    harness.ask(Request::AlterPartition(stale));
    harness.propose("t", 0, &[1, 2, 3]);
    harness.expect(&expect![[r#"
        -- fenced
        => INELIGIBLE_REPLICA
        register 3 incarnation 99
        17 RegisterBroker 3 epoch 17 fenced true
        => epoch 17
        heartbeat 3
        18 BrokerRegistrationChange 3 epoch 17 fenced Some(false) shutdown false
        => caught up true fenced false may end false
        -- another incarnation
        => INELIGIBLE_REPLICA
        propose t-0 [1, 2, 3]
        19 PartitionChange YRgw-0 isr [1,2,3]
        => leader Some(1) isr [1,2,3] Recovered epochs 0/3
    "#]]);
}

#[test]
fn an_old_leader_is_fenced_by_its_epoch() {
    let (mut harness, epochs) = three();
    let old = harness.proposal("t", 0, &[1]);
    harness.heartbeat(1, epochs[0], true);
    harness.ask(Request::AlterPartition(old));
    harness.expect(&expect![[r#"
        heartbeat 1 wants to shut down
        15 BrokerRegistrationChange 1 epoch 4 fenced None shutdown true
        16 PartitionChange YRgw-0 leader 2 isr [2,3]
        => caught up true fenced false may end false
        => FENCED_LEADER_EPOCH
    "#]]);
}

#[test]
fn a_leader_that_has_recovered_may_take_others_in() {
    let (mut harness, _) = three();
    harness.set_config("t", "unclean.leader.election.enable", "true");
    harness.propose("t", 0, &[1]);
    // The others crashed: they are not eligible, and not in sync again when the leader goes.
    for broker in [2, 3] {
        harness.heartbeat_shutdown(broker);
        harness.come(broker, 70, None);
    }
    harness.text.clear();
    harness.heartbeat_shutdown(1);
    let mut recovering = harness.proposal("t", 0, &[2, 3]);
    recovering.partitions[0].leader_recovery_state = LeaderRecoveryState::Recovering;
    harness.note("two in sync, and still recovering");
    harness.ask(Request::AlterPartition(recovering.clone()));
    recovering.partitions[0].isr.truncate(1);
    harness.note("still recovering: nothing changes");
    harness.ask(Request::AlterPartition(recovering));
    harness.propose("t", 0, &[2]);
    harness.propose("t", 0, &[2, 3]);
    harness.expect(&expect![[r#"
        heartbeat 1 wants to shut down
        25 BrokerRegistrationChange 1 epoch 4 fenced None shutdown true
        26 PartitionChange YRgw-0 leader 2 isr [2] Recovering
        => caught up true fenced false may end false
        -- two in sync, and still recovering
        => INVALID_REQUEST
        -- still recovering: nothing changes
        => leader Some(2) isr [2] Recovering epochs 1/5
        propose t-0 [2]
        27 PartitionChange YRgw-0 Recovered
        => leader Some(2) isr [2] Recovered epochs 1/6
        propose t-0 [2, 3]
        28 PartitionChange YRgw-0 isr [2,3]
        => leader Some(2) isr [2,3] Recovered epochs 1/7
    "#]]);
}

#[test]
fn preferred_leaders_are_elected_on_demand() {
    let (mut harness, _) = three();
    harness.create(vec![manual("u", &[(0, &[2, 1])]), manual("v", &[(0, &[1])])], false);
    harness.return_of(1);
    harness.propose("t", 0, &[2, 3, 1]);
    harness.text.clear();
    let elect = |harness: &mut Harness, partitions: Option<&[(&str, i32)]>| {
        let partitions = partitions
            .map(|names| names.iter().map(|(name, index)| ((*name).to_owned(), *index)).collect());
        let election = ElectionType::Preferred;
        harness.ask(Request::ElectLeaders(ElectLeadersRequest { election, partitions }));
    };
    harness.note("named");
    elect(&mut harness, Some(&[("x", 0), ("t", 9), ("t", -1), ("u", 0), ("t", 0), ("t", 0)]));
    harness.note("everywhere");
    elect(&mut harness, None);
    harness.heartbeat_shutdown(1);
    harness.note("not there");
    elect(&mut harness, None);
    harness.expect(&expect![[r#"
        -- named
        28 PartitionChange YRgw-0 leader 1
        => x-0 UNKNOWN_TOPIC_OR_PARTITION: there is no topic 'x'
        => t-9 UNKNOWN_TOPIC_OR_PARTITION: there is no partition t-9
        => t--1 UNKNOWN_TOPIC_OR_PARTITION: there is no partition t--1
        => u-0 ELECTION_NOT_NEEDED: 
        => t-0 ok
        => t-0 ELECTION_NOT_NEEDED: 
        -- everywhere
        => 
        heartbeat 1 wants to shut down
        29 BrokerRegistrationChange 1 epoch 24 fenced None shutdown true
        30 PartitionChange VHQ9-0 leader none isr [] elr [1] last-known [1]
        31 PartitionChange YRgw-0 leader 2 isr [2,3]
        => caught up true fenced false may end false
        -- not there
        => t-0 PREFERRED_LEADER_NOT_AVAILABLE: 
        => v-0 PREFERRED_LEADER_NOT_AVAILABLE: 
    "#]]);
}

#[test]
fn unclean_elections_are_for_those_that_nobody_leads() {
    let (mut harness, _) = three();
    harness.propose("t", 0, &[1]);
    harness.text.clear();
    let unclean = || {
        let partitions = Some(vec![("t".to_owned(), 0)]);
        Request::ElectLeaders(ElectLeadersRequest { election: ElectionType::Unclean, partitions })
    };
    harness.ask(unclean());
    for broker in [2, 3, 1] {
        harness.heartbeat_shutdown(broker);
    }
    harness.note("nobody lives");
    harness.ask(unclean());
    harness.come(3, 30, None);
    harness.note("somebody lives");
    harness.ask(unclean());
    harness.expect(&expect![[r#"
        => t-0 ELECTION_NOT_NEEDED: 
        heartbeat 2 wants to shut down
        16 BrokerRegistrationChange 2 epoch 7 fenced Some(true) shutdown false
        => caught up true fenced true may end true
        heartbeat 3 wants to shut down
        17 BrokerRegistrationChange 3 epoch 9 fenced Some(true) shutdown false
        => caught up true fenced true may end true
        heartbeat 1 wants to shut down
        18 BrokerRegistrationChange 1 epoch 4 fenced None shutdown true
        19 PartitionChange YRgw-0 leader none isr [] elr [1,2,3] last-known [1]
        => caught up true fenced false may end false
        -- nobody lives
        => t-0 ELIGIBLE_LEADERS_NOT_AVAILABLE: 
        register 3 incarnation 30
        20 PartitionChange YRgw-0 elr [1,2]
        21 RegisterBroker 3 epoch 21 fenced true
        => epoch 21
        heartbeat 3
        22 BrokerRegistrationChange 3 epoch 21 fenced Some(false) shutdown false
        => caught up true fenced false may end false
        -- somebody lives
        23 PartitionChange YRgw-0 leader 3 isr [3] elr [] last-known [] Recovering
        => t-0 ok
    "#]]);
}

#[test]
fn unclean_election_takes_effect_when_it_is_allowed() {
    let (mut harness, _) = three();
    harness.propose("t", 0, &[1]);
    for broker in [2, 3, 1] {
        harness.heartbeat_shutdown(broker);
    }
    harness.come(3, 30, None);
    harness.wait(0);
    harness.text.clear();
    harness.set_config("t", "unclean.leader.election.enable", "true");
    harness.wait(0);
    harness.expect(&expect![[r#"
        Topic 't' unclean.leader.election.enable Set("true")
        23 Config t unclean.leader.election.enable=Some("true")
        => ok
        -- tick at 0ns
        24 PartitionChange YRgw-0 leader 3 isr [3] elr [] last-known [] Recovering
        -- tick at 0ns
    "#]]);
    assert!(harness.ledger.deadline().is_some_and(|at| at > harness.now.monotonic));
}

#[test]
fn partitions_go_back_to_their_preferred_leaders_when_it_is_time() {
    let (mut harness, _) = three();
    harness.return_of(1);
    harness.propose("t", 0, &[2, 3, 1]);
    harness.text.clear();
    for _ in 0..37 {
        harness.wait(8);
        harness.beat_quietly();
    }
    harness.expect(&expect![[""]]);
    harness.wait(4);
    harness.expect(&expect![[r#"
        -- tick at 300s
        21 PartitionChange YRgw-0 leader 1
    "#]]);
    // Nobody is asked again where nothing is to be had.
    assert!(harness.ledger.tick(harness.now).records.is_empty());
}

#[test]
fn a_little_imbalance_is_left_alone() {
    let mut harness = Harness::new();
    harness.join(1);
    harness.join(2);
    let assignments: Vec<(i32, &[i32])> = (0..10).map(|index| (index, &[1, 2][..])).collect();
    harness.create(vec![manual("t", &assignments)], false);
    let name = harness.name("t", 0);
    let mut change = crate::metadata::records::PartitionChange::new(name.topic_id, name.partition);
    change.leader = LeaderChange::Leader(BrokerId::new(2));
    harness.replay(vec![Record::PartitionChange(change.clone())]);
    harness.text.clear();
    let balance = |harness: &mut Harness| {
        for _ in 0..38 {
            harness.wait(8);
            harness.beat_quietly();
        }
    };
    // One of ten is ten percent, and not more.
    balance(&mut harness);
    harness.expect(&expect![[r#"
        -- tick at 304s
    "#]]);
    change.partition = PartitionIndex::new(1);
    harness.replay(vec![Record::PartitionChange(change)]);
    balance(&mut harness);
    harness.expect(&expect![[r#"
        -- tick at 608s
        22 PartitionChange YRgw-0 leader 1
        23 PartitionChange YRgw-1 leader 1
    "#]]);
}

#[test]
fn a_partition_moves_and_its_old_leader_is_told_of_the_new_one() {
    let (mut harness, _) = three();
    harness.join(4);
    harness.reassign("t", 0, Some(&[2, 3, 4]));
    harness.list_moves();
    harness.note("the new one is in sync");
    harness.propose("t", 0, &[1, 2, 3, 4]);
    harness.list_moves();
    harness.expect(&expect![[r#"
        reassign t-0 Some([2, 3, 4])
        17 PartitionChange YRgw-0 replicas [2,3,4,1] adding [4] removing [1]
        => t-0 ok
        -- moving
        => t-0 [2,3,4,1] adding [4] removing [1]
        -- the new one is in sync
        propose t-0 [1, 2, 3, 4]
        18 PartitionChange YRgw-0 leader 2 isr [2,3,4] replicas [2,3,4] adding [] removing []
        => NEW_LEADER_ELECTED
        -- moving
        => 
    "#]]);
}

#[test]
fn a_reassignment_is_taken_back_or_replaced() {
    let (mut harness, _) = three();
    harness.join(4);
    harness.join(5);
    harness.reassign("t", 0, None);
    harness.reassign("t", 0, Some(&[2, 3, 4]));
    harness.note("another one instead");
    harness.reassign("t", 0, Some(&[1, 4, 5]));
    harness.propose("t", 0, &[1, 2, 3, 4]);
    harness.note("back");
    harness.reassign("t", 0, None);
    harness.list_moves();
    harness.note("another order");
    harness.reassign("t", 0, Some(&[3, 2, 1]));
    harness.expect(&expect![[r#"
        reassign t-0 None
        => t-0 NO_REASSIGNMENT_IN_PROGRESS: 
        reassign t-0 Some([2, 3, 4])
        19 PartitionChange YRgw-0 replicas [2,3,4,1] adding [4] removing [1]
        => t-0 ok
        -- another one instead
        reassign t-0 Some([1, 4, 5])
        20 PartitionChange YRgw-0 replicas [1,4,5,2,3] adding [4,5] removing [2,3]
        => t-0 ok
        propose t-0 [1, 2, 3, 4]
        21 PartitionChange YRgw-0 isr [1,2,3,4]
        => leader Some(1) isr [1,2,3,4] Recovered epochs 0/4
        -- back
        reassign t-0 None
        22 PartitionChange YRgw-0 leader 1 isr [1,2,3] replicas [1,2,3] adding [] removing []
        => t-0 ok
        -- moving
        => 
        -- another order
        reassign t-0 Some([3, 2, 1])
        23 PartitionChange YRgw-0 replicas [3,2,1]
        => t-0 ok
    "#]]);
}

#[test]
fn a_reassignment_is_not_taken_back_where_only_the_new_ones_have_everything() {
    let mut harness = Harness::new();
    harness.join(1);
    harness.join(2);
    harness.join(3);
    harness.create(vec![manual("t", &[(0, &[1])])], false);
    harness.reassign("t", 0, Some(&[2, 3]));
    harness.propose("t", 0, &[1, 2]);
    harness.return_of(1);
    harness.text.clear();
    harness.reassign("t", 0, None);
    harness.note("with unclean election");
    harness.set_config("t", "unclean.leader.election.enable", "true");
    harness.reassign("t", 0, None);
    harness.expect(&expect![[r#"
        reassign t-0 None
        => t-0 INVALID_REPLICA_ASSIGNMENT: none of the replicas from before is in sync or eligible and alive
        -- with unclean election
        Topic 't' unclean.leader.election.enable Set("true")
        20 Config t unclean.leader.election.enable=Some("true")
        => ok
        reassign t-0 None
        21 PartitionChange YRgw-0 leader 1 isr [1] replicas [1] adding [] removing [] Recovering
        => t-0 ok
    "#]]);
}

#[test]
fn bad_reassignments_are_refused() {
    let (mut harness, _) = three();
    harness.reassign("x", 0, Some(&[1]));
    harness.reassign("t", 3, Some(&[1]));
    harness.reassign("t", 0, Some(&[]));
    harness.reassign("t", 0, Some(&[1, 1]));
    harness.reassign("t", 0, Some(&[1, 9]));
    let fewer =
        Reassignment { partition: ("t".to_owned(), 0), replicas: Some(vec![BrokerId::new(1)]) };
    harness.note("twice, and with another number of replicas");
    harness.ask(Request::AlterReassignments(AlterReassignmentsRequest {
        reassignments: vec![fewer.clone(), fewer],
        may_change_replication_factor: false,
    }));
    harness.expect(&expect![[r#"
        reassign x-0 Some([1])
        => x-0 UNKNOWN_TOPIC_OR_PARTITION: there is no topic 'x'
        reassign t-3 Some([1])
        => t-3 UNKNOWN_TOPIC_OR_PARTITION: there is no partition t-3
        reassign t-0 Some([])
        => t-0 INVALID_REPLICA_ASSIGNMENT: an assignment names no broker
        reassign t-0 Some([1, 1])
        => t-0 INVALID_REPLICA_ASSIGNMENT: broker 1 stands twice in one assignment
        reassign t-0 Some([1, 9])
        => t-0 INVALID_REPLICA_ASSIGNMENT: broker 9 is not registered
        -- twice, and with another number of replicas
        => t-0 INVALID_REPLICATION_FACTOR: the replication factor would change from 3
        => t-0 INVALID_REQUEST: the partition stands twice in the request
    "#]]);
}

#[test]
fn ten_thousand_partitions_are_given_away_at_once() {
    let mut harness = Harness::new();
    harness.join(1);
    harness.join(2);
    let assignments: Vec<(i32, &[i32])> = (0..10_000).map(|index| (index, &[1, 2][..])).collect();
    harness.create(vec![manual("t", &assignments)], false);
    harness.min_isr("t", 2);
    harness.heartbeat_all(&[1, 2]);
    harness.wait(5);
    harness.heartbeat_all(&[2]);
    harness.wait(5);
    let image = harness.ledger.image();
    let topic = image.topic("t").unwrap();
    assert!(topic.partitions.values().all(|one| one.leader == Some(BrokerId::new(2))));
    harness.text.clear();
    harness.come(1, 90, None);
    let election = ElectionType::Preferred;
    harness.ask(Request::ElectLeaders(ElectLeadersRequest { election, partitions: None }));
    let answered = harness.text.lines().last().unwrap().to_owned();
    assert!(answered.starts_with("=> t-9999 PREFERRED_LEADER_NOT_AVAILABLE"), "{answered}");
}
