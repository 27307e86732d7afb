//! The library's consumers in a group whose members come, go, and fall silent, against a node.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ottla::client::{ClientError, CloseOptions};
use ottla::types::ErrorCode;

use crate::members::on_a_node;
use crate::members_stories::{a_slow_member_is_out, heard, members_share_the_work};
use crate::members_support::{Member, PATIENCE, TOPIC, create, produce, settle, shares, until};

const EAGER: (&str, &str) = ("partition.assignment.strategy", "range");
const COOPERATIVE: (&str, &str) = ("partition.assignment.strategy", "cooperative-sticky");
/// A session of this length, which a node must allow.
const SHORT_SESSION: (&str, &str) = ("session.timeout.ms", "1500");
const SHORT_SESSIONS: &[(&str, &str)] = &[("group.min.session.timeout.ms", "1000")];

const LEAVING: CloseOptions = CloseOptions { timeout: PATIENCE, leave: Some(true) };
const STAYING: CloseOptions = CloseOptions { timeout: PATIENCE, leave: Some(false) };

#[test]
fn eager_members_share_the_work_and_go_on_where_the_group_is() {
    on_a_node(&[], async |bootstrap| {
        members_share_the_work(&bootstrap, &[EAGER], &[EAGER]).await;
    });
}

#[test]
fn cooperative_members_share_the_work_and_go_on_where_the_group_is() {
    on_a_node(&[], async |bootstrap| {
        members_share_the_work(&bootstrap, &[COOPERATIVE], &[COOPERATIVE]).await;
    });
}

#[test]
fn the_eager_protocol_takes_all_away_and_gives_it_anew() {
    on_a_node(&[], async |bootstrap| {
        let mut a = Member::subscribed(&bootstrap, &[EAGER]);
        settle(&mut [&mut a], &[4]).await;
        assert_eq!(a.told(), ["assigned 0 1 2 3"]);
        let mut b = Member::subscribed(&bootstrap, &[EAGER]);
        settle(&mut [&mut a, &mut b], &[2, 2]).await;
        let (kept, moved) = (a.partitions(), b.partitions());
        assert_eq!(a.told(), ["revoked 0 1 2 3".to_owned(), heard("assigned", &kept)]);
        assert_eq!(b.told(), [heard("assigned", &moved)]);
        a.consumer.close().await;
        settle(&mut [&mut b], &[4]).await;
        assert_eq!(b.told(), [heard("revoked", &moved), "assigned 0 1 2 3".to_owned()]);
        b.consumer.close().await;
    });
}

#[test]
fn the_cooperative_protocol_takes_away_only_what_moves() {
    on_a_node(&[], async |bootstrap| {
        let mut a = Member::subscribed(&bootstrap, &[COOPERATIVE]);
        until(&mut [&mut a], |members| members[0].values.len() == 40).await;
        assert_eq!(a.told(), ["assigned 0 1 2 3"]);
        let mut b = Member::subscribed(&bootstrap, &[COOPERATIVE]);
        settle(&mut [&mut a, &mut b], &[2, 2]).await;
        let moved = b.partitions();
        assert_eq!(a.told(), [heard("revoked", &moved)]);
        assert_eq!(b.told(), [heard("assigned", &moved)]);
        // What stayed goes on where it was: nothing was committed, and nothing is read again.
        produce(&bootstrap, TOPIC, "second").await;
        until(&mut [&mut a, &mut b], |members| {
            members[0].values.len() >= 60 && members[1].values.len() >= 40
        })
        .await;
        assert_eq!(a.distinct().len(), a.values.len(), "{a:?}");
        // The one that leaves does not trouble the other one's partitions either.
        let kept = a.partitions();
        b.consumer.close().await;
        settle(&mut [&mut a], &[4]).await;
        assert_eq!(a.told(), [heard("assigned", &moved)]);
        assert_eq!([kept, moved].concat().into_iter().collect::<BTreeSet<i32>>().len(), 4);
        a.consumer.close().await;
    });
}

/// What was read is committed before another one has it, whoever asks for that.
fn what_moves_is_committed_first(strategy: (&'static str, &'static str)) {
    on_a_node(&[], async |bootstrap| {
        let settings =
            [strategy, ("enable.auto.commit", "true"), ("auto.commit.interval.ms", "600000")];
        let mut a = Member::subscribed(&bootstrap, &settings);
        until(&mut [&mut a], |members| members[0].values.len() == 40).await;
        let mut b = Member::subscribed(&bootstrap, &settings);
        settle(&mut [&mut a, &mut b], &[2, 2]).await;
        produce(&bootstrap, TOPIC, "second").await;
        until(&mut [&mut a, &mut b], |members| {
            members[0].values.len() >= 60 && members[1].values.len() >= 20
        })
        .await;
        assert!(b.values.iter().all(|value| value.starts_with("second")), "{b:?}");
        assert_eq!(a.distinct().len(), a.values.len(), "{a:?}");
        a.consumer.close().await;
        b.consumer.close().await;
        assert_eq!(Member::new(&bootstrap, &[]).committed().await, [20; 4]);
    });
}

#[test]
fn what_the_eager_protocol_takes_away_is_committed_first() {
    what_moves_is_committed_first(EAGER);
}

#[test]
fn what_the_cooperative_protocol_takes_away_is_committed_first() {
    what_moves_is_committed_first(COOPERATIVE);
}

/// Puts a new process in a member's place.
async fn bounce(bootstrap: &str, old: Member, settings: &[(&str, &str)]) -> Member {
    old.consumer.close().await;
    Member::subscribed(bootstrap, settings)
}

#[test]
fn a_group_goes_from_eager_to_cooperative_one_member_at_a_time() {
    let both = ("partition.assignment.strategy", "cooperative-sticky,range");
    on_a_node(&[], async |bootstrap| {
        let mut a = Member::subscribed(&bootstrap, &[EAGER]);
        let mut b = Member::subscribed(&bootstrap, &[EAGER]);
        settle(&mut [&mut a, &mut b], &[2, 2]).await;
        for strategy in [both, COOPERATIVE] {
            a = bounce(&bootstrap, a, &[strategy]).await;
            settle(&mut [&mut a, &mut b], &[2, 2]).await;
            b = bounce(&bootstrap, b, &[strategy]).await;
            settle(&mut [&mut a, &mut b], &[2, 2]).await;
        }
        a.told();
        b.told();
        // From now on nobody gives up what he keeps.
        let before = (a.partitions(), b.partitions());
        let mut c = Member::subscribed(&bootstrap, &[COOPERATIVE]);
        until(&mut [&mut a, &mut b, &mut c], |members| {
            let shares = shares(members);
            shares.iter().sum::<usize>() == 4 && shares[2] == 1
        })
        .await;
        let moved = c.partitions();
        let told = [a.told(), b.told()].concat();
        assert_eq!(told, [heard("revoked", &moved)]);
        assert!(before.0.contains(&moved[0]) || before.1.contains(&moved[0]));
        for member in [a, b, c] {
            member.consumer.close().await;
        }
    });
}

#[test]
fn a_static_member_comes_back_without_a_rebalance() {
    let instance = ("group.instance.id", "s");
    on_a_node(&[], async |bootstrap| {
        let mut a = Member::subscribed(&bootstrap, &[EAGER]);
        let mut s = Member::subscribed(&bootstrap, &[EAGER, instance]);
        settle(&mut [&mut a, &mut s], &[2, 2]).await;
        let (generation, had) = (a.generation(), s.partitions());
        a.told();
        s.consumer.close().await;
        let mut s = Member::subscribed(&bootstrap, &[EAGER, instance]);
        settle(&mut [&mut a, &mut s], &[2, 2]).await;
        assert_eq!(s.partitions(), had);
        assert_eq!((a.generation(), s.generation()), (generation, generation));
        assert_eq!(a.told(), [""; 0]);
        // Whoever uses the same name takes its place, and the one before is told.
        let mut usurper = Member::subscribed(&bootstrap, &[EAGER, instance]);
        until(&mut [&mut usurper], |members| shares(members) == [2]).await;
        let deadline = Instant::now() + PATIENCE;
        let error = loop {
            if let Err(error) = s.consumer.poll(Duration::from_millis(50)).await {
                break error;
            }
            assert!(Instant::now() < deadline, "{s:?}");
        };
        let ClientError::Answer { error: ErrorCode::FencedInstanceId, .. } = error else {
            panic!("{error:?}")
        };
        drop(s);
        // It leaves only if it says so.
        usurper.consumer.close_with(LEAVING).await;
        settle(&mut [&mut a], &[4]).await;
        a.consumer.close().await;
    });
}

#[test]
fn who_goes_without_a_word_is_out_when_its_session_ends() {
    on_a_node(SHORT_SESSIONS, async |bootstrap| {
        let mut a = Member::subscribed(&bootstrap, &[EAGER, SHORT_SESSION]);
        let mut killed = Member::subscribed(&bootstrap, &[EAGER, SHORT_SESSION]);
        settle(&mut [&mut a, &mut killed], &[2, 2]).await;
        drop(killed);
        for _ in 0..4 {
            a.poll().await;
        }
        assert_eq!(a.partitions().len(), 2, "{a:?}");
        settle(&mut [&mut a], &[4]).await;
        // The same for one that closes and stays.
        let mut staying = Member::subscribed(&bootstrap, &[EAGER, SHORT_SESSION]);
        settle(&mut [&mut a, &mut staying], &[2, 2]).await;
        staying.consumer.close_with(STAYING).await;
        for _ in 0..4 {
            a.poll().await;
        }
        assert_eq!(a.partitions().len(), 2, "{a:?}");
        settle(&mut [&mut a], &[4]).await;
        a.consumer.close().await;
    });
}

#[test]
fn who_leaves_is_out_at_once() {
    on_a_node(&[], async |bootstrap| {
        let mut a = Member::subscribed(&bootstrap, &[EAGER]);
        let mut b = Member::subscribed(&bootstrap, &[EAGER]);
        settle(&mut [&mut a, &mut b], &[2, 2]).await;
        // Sessions are 45 s long.
        let before = Instant::now();
        b.consumer.unsubscribe();
        assert_eq!(b.partitions(), [0; 0]);
        settle(&mut [&mut a], &[4]).await;
        assert!(before.elapsed() < Duration::from_secs(40));
        // It may come again.
        b.consumer.subscribe([TOPIC]).unwrap();
        settle(&mut [&mut a, &mut b], &[2, 2]).await;
        a.consumer.close().await;
        b.consumer.close().await;
    });
}

#[test]
fn who_does_not_poll_leaves_and_is_told_what_it_lost() {
    on_a_node(&[], async |bootstrap| {
        a_slow_member_is_out(&bootstrap, EAGER).await;
    });
}

#[test]
fn what_is_subscribed_to_may_change() {
    on_a_node(&[], async |bootstrap| {
        create(&bootstrap, "returns", 1).await;
        produce(&bootstrap, "returns", "returned").await;
        let mut member = Member::subscribed(&bootstrap, &[COOPERATIVE]);
        until(&mut [&mut member], |members| members[0].values.len() == 40).await;
        member.told();
        member.subscribe(&[TOPIC, "returns"]);
        until(&mut [&mut member], |members| members[0].values.len() == 80).await;
        assert_eq!(member.told(), ["assigned 0 1 2 3"]);
        member.subscribe(&["returns"]);
        settle(&mut [&mut member], &[4]).await;
        assert_eq!(member.told(), ["revoked 0 1 2 3"]);
        assert!(member.consumer.assignment().iter().all(|one| &*one.topic == "returns"));
        member.consumer.close().await;
    });
}
