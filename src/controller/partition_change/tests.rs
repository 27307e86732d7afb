//! Each rule as one line: a partition's state and an event in, the change out.

use std::fmt::Write as _;

use expect_test::{Expect, expect};

use super::*;
use crate::types::{LeaderEpoch, PartitionEpoch, PartitionIndex, Uuid};

const RULES: ElectionRules =
    ElectionRules { elr_enabled: true, min_isr: 2, unclean_allowed: false };

/// A partition with replicas, and what happens to it.
#[derive(Clone)]
struct Case {
    replicas: &'static [i32],
    isr: &'static [i32],
    elr: &'static [i32],
    last_known: &'static [i32],
    adding: &'static [i32],
    removing: &'static [i32],
    leader: Option<i32>,
    recovering: bool,
    live: &'static [i32],
    rules: ElectionRules,
    target_isr: Option<&'static [i32]>,
    target_replicas: Option<&'static [i32]>,
    target_adding: Option<&'static [i32]>,
    target_removing: Option<&'static [i32]>,
    recovered: bool,
    crashed: Option<i32>,
    election: Option<Election>,
}

/// All three replicas in sync and alive, the first leading; nothing happens.
const HEALTHY: Case = Case {
    replicas: &[1, 2, 3],
    isr: &[1, 2, 3],
    elr: &[],
    last_known: &[],
    adding: &[],
    removing: &[],
    leader: Some(1),
    recovering: false,
    live: &[1, 2, 3],
    rules: RULES,
    target_isr: None,
    target_replicas: None,
    target_adding: None,
    target_removing: None,
    recovered: false,
    crashed: None,
    election: None,
};

fn brokers(ids: &[i32]) -> Vec<BrokerId> {
    ids.iter().copied().map(BrokerId::new).collect()
}

fn recovery(recovering: bool) -> LeaderRecoveryState {
    if recovering { LeaderRecoveryState::Recovering } else { LeaderRecoveryState::Recovered }
}

fn image(case: &Case) -> PartitionImage {
    PartitionImage {
        replicas: brokers(case.replicas),
        directories: vec![Uuid::ZERO; case.replicas.len()],
        isr: brokers(case.isr),
        eligible_leader_replicas: brokers(case.elr),
        last_known_elr: brokers(case.last_known),
        removing_replicas: brokers(case.removing),
        adding_replicas: brokers(case.adding),
        leader: case.leader.map(BrokerId::new),
        leader_recovery_state: recovery(case.recovering),
        leader_epoch: LeaderEpoch::new(4),
        partition_epoch: PartitionEpoch::new(9),
    }
}

fn change(case: &Case, partition: &PartitionImage) -> Option<PartitionChange> {
    let live = brokers(case.live);
    let mut target = PartitionTarget::unchanged(partition, case.rules);
    let set = |list: &mut Vec<BrokerId>, new: Option<&[i32]>| {
        if let Some(new) = new {
            *list = brokers(new);
        }
    };
    set(&mut target.isr, case.target_isr);
    set(&mut target.replicas, case.target_replicas);
    set(&mut target.adding, case.target_adding);
    set(&mut target.removing, case.target_removing);
    if case.recovered {
        target.leader_recovery_state = LeaderRecoveryState::Recovered;
    }
    target.crashed = case.crashed.map(BrokerId::new);
    target.election = case.election.unwrap_or(target.election);
    let update = PartitionUpdate {
        name: TopicIdPartition { topic_id: Uuid::ZERO, partition: PartitionIndex::new(0) },
        partition,
        rules: case.rules,
        target,
        may_lead: &|_, replica| live.contains(&replica),
        new_directory: &|_| Uuid::ZERO,
    };
    update.build()
}

fn show(change: &PartitionChange) -> String {
    let mut text = String::new();
    match change.leader {
        LeaderChange::Unchanged => {}
        LeaderChange::NoLeader => text += " leader none",
        LeaderChange::Leader(leader) => write!(text, " leader {leader}").unwrap(),
    }
    let lists = [
        ("isr", &change.isr),
        ("elr", &change.eligible_leader_replicas),
        ("last-known", &change.last_known_elr),
        ("replicas", &change.replicas),
        ("adding", &change.adding_replicas),
        ("removing", &change.removing_replicas),
    ];
    for (name, list) in lists {
        if let Some(list) = list {
            let ids: Vec<i32> = list.iter().map(|id| id.value()).collect();
            write!(text, " {name} {ids:?}").unwrap();
        }
    }
    if let Some(state) = change.leader_recovery_state {
        write!(text, " {state:?}").unwrap();
    }
    text.trim_start().to_owned()
}

#[track_caller]
fn check(case: &Case, expected: &Expect) {
    let partition = image(case);
    let change = change(case, &partition);
    expected.assert_eq(&change.as_ref().map_or("nothing".to_owned(), show));
}

#[test]
fn nothing_happens_to_a_healthy_partition() {
    check(&HEALTHY, &expect!["nothing"]);
}

#[test]
fn the_first_live_in_sync_replica_takes_over() {
    let gone = Case { target_isr: Some(&[2, 3]), live: &[2, 3], ..HEALTHY };
    check(&gone, &expect!["leader 2 isr [2, 3]"]);
    let order = Case { replicas: &[1, 3, 2], ..gone };
    check(&order, &expect!["leader 3 isr [2, 3]"]);
}

#[test]
fn a_change_of_the_in_sync_replicas_alone_raises_no_leader_epoch() {
    check(&Case { target_isr: Some(&[1, 2]), ..HEALTHY }, &expect!["isr [1, 2]"]);
    let grows = Case { isr: &[1, 2], target_isr: Some(&[1, 2, 3]), ..HEALTHY };
    check(&grows, &expect!["isr [1, 2, 3]"]);
}

#[test]
fn who_leaves_while_too_few_remain_is_eligible_until_enough_are_back() {
    let shrinks = Case { isr: &[1, 2], target_isr: Some(&[1]), ..HEALTHY };
    check(&shrinks, &expect!["isr [1] elr [2]"]);
    let crashed = Case { crashed: Some(2), ..shrinks };
    check(&crashed, &expect!["isr [1]"]);
    let both = Case { isr: &[1], elr: &[2], target_isr: Some(&[1, 3]), ..HEALTHY };
    check(&both, &expect!["isr [1, 3] elr []"]);
    // With one replica the minimum is one.
    let lone = Case { replicas: &[1], isr: &[1], target_isr: Some(&[]), live: &[], ..HEALTHY };
    check(&lone, &expect!["leader none isr [] elr [1] last-known [1]"]);
}

#[test]
fn a_crashed_eligible_replica_is_eligible_no_longer() {
    let case = Case { isr: &[1], elr: &[2], crashed: Some(2), live: &[1], ..HEALTHY };
    check(&case, &expect!["elr []"]);
    let last = Case { isr: &[], elr: &[1], last_known: &[1], leader: None, ..HEALTHY };
    check(&Case { crashed: Some(1), live: &[], ..last }, &expect!["elr []"]);
}

#[test]
fn a_fenced_last_member_becomes_eligible_and_returns_cleanly() {
    let goes = Case { isr: &[1], target_isr: Some(&[]), live: &[], ..HEALTHY };
    check(&goes, &expect!["leader none isr [] elr [1] last-known [1]"]);
    let returns = Case { isr: &[], elr: &[1], last_known: &[1], leader: None, ..HEALTHY };
    check(&returns, &expect!["leader 1 isr [1] elr [] last-known []"]);
}

#[test]
fn one_of_several_eligible_replicas_leads_and_the_others_stay_eligible() {
    let case = Case { isr: &[], elr: &[1, 2], last_known: &[1], leader: None, ..HEALTHY };
    check(
        &Case { live: &[2, 3], ..case.clone() },
        &expect!["leader 2 isr [2] elr [1] last-known []"],
    );
    let enough = ElectionRules { min_isr: 1, ..RULES };
    check(&Case { rules: enough, ..case }, &expect!["leader 1 isr [1] elr [] last-known []"]);
}

#[test]
fn an_eligible_replica_waits_while_somebody_is_in_sync() {
    let case = Case { isr: &[1], elr: &[2], live: &[2], ..HEALTHY };
    check(&case, &expect!["leader none"]);
}

#[test]
fn a_crashed_last_member_returns_as_last_known_leader_uncleanly() {
    let goes = Case { isr: &[1], target_isr: Some(&[]), crashed: Some(1), live: &[], ..HEALTHY };
    check(&goes, &expect!["leader none isr [] last-known [1]"]);
    let returns = Case { isr: &[], last_known: &[1], leader: None, ..HEALTHY };
    check(&returns, &expect!["leader 1 isr [1] last-known [] Recovering"]);
    // The others wait for it, alive as they are.
    check(&Case { live: &[2, 3], ..returns.clone() }, &expect!["nothing"]);
    check(&Case { replicas: &[2, 3], live: &[1, 2, 3], ..returns }, &expect!["nothing"]);
}

#[test]
fn the_last_member_of_a_partition_that_nobody_leads_is_known_too() {
    // Broker 1 led and left; broker 3 is in sync, and could not take over.
    let goes = Case { isr: &[3], leader: None, target_isr: Some(&[]), live: &[1], ..HEALTHY };
    check(&goes, &expect!["isr [] elr [3] last-known [3]"]);
    let crashed = Case { isr: &[], elr: &[3], last_known: &[3], leader: None, ..HEALTHY };
    check(&Case { crashed: Some(3), live: &[1], ..crashed.clone() }, &expect!["elr []"]);
    let returns = Case { elr: &[], live: &[1, 3], ..crashed };
    check(&returns, &expect!["leader 3 isr [3] last-known [] Recovering"]);
}

#[test]
fn unclean_election_takes_any_live_replica_only_if_allowed() {
    let case = Case { isr: &[1], leader: None, live: &[3], ..HEALTHY };
    check(&case, &expect!["nothing"]);
    let rules = ElectionRules { unclean_allowed: true, ..RULES };
    let allowed = Case { rules, ..case.clone() };
    check(&allowed, &expect!["leader 3 isr [3] Recovering"]);
    check(&Case { election: Some(Election::Preferred), ..allowed }, &expect!["nothing"]);
    check(
        &Case { election: Some(Election::Unclean), ..case.clone() },
        &expect!["leader 3 isr [3] Recovering"],
    );
    let eligible = Case { isr: &[], elr: &[1, 2], rules, ..case };
    check(&eligible, &expect!["leader 3 isr [3] elr [] Recovering"]);
}

#[test]
fn a_leader_that_has_recovered_says_so() {
    let recovering = Case { isr: &[1], recovering: true, ..HEALTHY };
    check(
        &Case { target_isr: Some(&[1]), recovered: true, ..recovering.clone() },
        &expect!["Recovered"],
    );
    let both = Case { target_isr: Some(&[1, 2]), recovered: true, ..recovering };
    check(&both, &expect!["isr [1, 2] Recovered"]);
}

#[test]
fn the_preferred_leader_takes_back_what_is_its_own() {
    let case = Case { leader: Some(2), election: Some(Election::Preferred), ..HEALTHY };
    check(&case, &expect!["leader 1"]);
    check(&Case { live: &[2, 3], ..case.clone() }, &expect!["nothing"]);
    check(&Case { isr: &[2, 3], ..case.clone() }, &expect!["nothing"]);
    check(&Case { election: None, ..case }, &expect!["nothing"]);
}

#[test]
fn without_eligible_replicas_the_last_member_stays_in_sync() {
    let rules = ElectionRules { elr_enabled: false, ..RULES };
    let case =
        Case { isr: &[1], target_isr: Some(&[]), crashed: Some(1), live: &[2], rules, ..HEALTHY };
    check(&case, &expect!["leader none"]);
}

#[test]
fn who_was_eligible_when_the_feature_was_turned_off_can_still_lead() {
    let rules = ElectionRules { elr_enabled: false, ..RULES };
    let case = Case { isr: &[], elr: &[1], leader: None, rules, ..HEALTHY };
    check(&Case { live: &[2], ..case.clone() }, &expect!["nothing"]);
    check(&case, &expect!["leader 1 isr [1] elr []"]);
    check(&Case { isr: &[2], leader: Some(2), ..case }, &expect!["elr []"]);
}

#[test]
fn a_reassignment_adds_waits_and_removes() {
    let begins = Case {
        target_replicas: Some(&[2, 3, 4, 1]),
        target_adding: Some(&[4]),
        target_removing: Some(&[1]),
        live: &[1, 2, 3, 4],
        ..HEALTHY
    };
    check(&begins, &expect!["replicas [2, 3, 4, 1] adding [4] removing [1]"]);
    let moving = Case {
        replicas: &[2, 3, 4, 1],
        adding: &[4],
        removing: &[1],
        live: &[1, 2, 3, 4],
        ..HEALTHY
    };
    check(&moving, &expect!["nothing"]);
    check(&Case { target_isr: Some(&[1, 2, 4]), ..moving.clone() }, &expect!["isr [1, 2, 4]"]);
    // The leader goes with the reassignment.
    let done = Case { target_isr: Some(&[1, 2, 3, 4]), ..moving.clone() };
    check(&done, &expect!["leader 2 isr [2, 3, 4] replicas [2, 3, 4] adding [] removing []"]);
    // The leader stays, and its epoch rises, so that it forgets the replica that goes.
    check(
        &Case { leader: Some(3), ..done },
        &expect!["leader 3 isr [2, 3, 4] replicas [2, 3, 4] adding [] removing []"],
    );
}

#[test]
fn a_new_order_and_fewer_replicas_need_no_waiting() {
    let order = Case { target_replicas: Some(&[3, 2, 1]), ..HEALTHY };
    check(&order, &expect!["replicas [3, 2, 1]"]);
    let fewer =
        Case { target_replicas: Some(&[1, 2, 3]), target_removing: Some(&[2, 3]), ..HEALTHY };
    check(&fewer, &expect!["leader 1 isr [1] replicas [1]"]);
}

#[test]
fn who_holds_the_partition_no_longer_is_not_eligible() {
    let case = Case {
        replicas: &[1, 2, 3],
        isr: &[1],
        elr: &[2],
        target_removing: Some(&[2, 3]),
        ..HEALTHY
    };
    check(&case, &expect!["leader 1 elr [] replicas [1]"]);
}
