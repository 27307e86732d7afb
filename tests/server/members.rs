//! The library's consumers in a group, against a node: where they begin, what they commit, and how their owners steer them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ottla::client::{
    ClientError, CloseOptions, Consumer, ConsumerConfig, OffsetAndMetadata, Offsets,
    RebalanceListener,
};
use ottla::types::{ErrorCode, Offset, TopicPartition};

use crate::groups::GROUPS;
use crate::members_stories::more_topics_come;
use crate::members_support::{
    Member, PATIENCE, TOPIC, all_orders, at, create, orders, produce, settle, until,
};
use crate::support::{Heard, Server, env, run};

/// A node with the topic and ten records in each of its partitions, and what is tried on it.
pub(crate) fn on_a_node<F: Future<Output = ()>>(
    more: &[(&str, &str)],
    test: impl FnOnce(String) -> F,
) {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[GROUPS, more].concat());
    let bootstrap = server.address.to_string();
    run(async move {
        create(&bootstrap, TOPIC, 1).await;
        produce(&bootstrap, TOPIC, "first").await;
        test(bootstrap).await;
    });
    server.stop();
}

#[track_caller]
fn check_refused<T: std::fmt::Debug>(result: Result<T, ClientError>, expected: ErrorCode) {
    match result {
        Err(ClientError::Answer { error, .. }) => assert_eq!(error, expected),
        other => panic!("{other:?}, not {expected}"),
    }
}

/// What a listener was told, where it says itself where to begin and what to commit.
#[derive(Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl RebalanceListener for Told {
    fn on_partitions_revoked(&mut self, gone: &[TopicPartition], positions: &Offsets) -> Offsets {
        self.0.lock().unwrap().push(format!("revoked {}", gone.len()));
        positions.clone()
    }

    fn on_partitions_assigned(
        &mut self,
        new: &[TopicPartition],
    ) -> BTreeMap<TopicPartition, Offset> {
        self.0.lock().unwrap().push(format!("assigned {}", new.len()));
        BTreeMap::from([(orders(0), Offset::new(7))])
    }
}

#[test]
fn a_listener_says_where_to_begin_and_what_to_commit() {
    on_a_node(&[], async |bootstrap| {
        let mut member = Member::new(&bootstrap, &[]);
        let told = Arc::new(Mutex::new(Vec::new()));
        member.consumer.subscribe_with([TOPIC], Told(told.clone())).unwrap();
        until(&mut [&mut member], |members| members[0].values.len() == 33).await;
        assert!(!member.distinct().contains("first 0 6"), "{member:?}");
        member.consumer.unsubscribe();
        assert_eq!(*told.lock().unwrap(), ["assigned 4", "revoked 4"]);
        assert_eq!(member.consumer.assignment(), []);
        assert_eq!(member.committed().await, [10; 4]);
        // Who subscribes without a listener has none, and a pattern may have one.
        member.consumer.subscribe([TOPIC]).unwrap();
        until(&mut [&mut member], |members| members[0].consumer.assignment().len() == 4).await;
        assert_eq!(told.lock().unwrap().len(), 2);
        member.consumer.unsubscribe();
        member.consumer.subscribe_pattern_with("order.*", Told(told.clone())).unwrap();
        until(&mut [&mut member], |members| members[0].consumer.assignment().len() == 4).await;
        assert_eq!(told.lock().unwrap()[2..], ["assigned 4"]);
        member.consumer.unsubscribe();
        // By hand it begins where the group is too.
        member.consumer.assign(vec![orders(1)]);
        assert_eq!(member.consumer.position(&orders(1)).await.unwrap(), Offset::new(10));
        member.consumer.close().await;
    });
}

#[test]
fn without_a_group_nothing_of_a_group_is_done() {
    run(async {
        let config = ConsumerConfig::new([("bootstrap.servers", "127.0.0.1:1")]).unwrap();
        let mut alone = Consumer::new(config, env(Arc::new(Heard::default())));
        check_refused(alone.subscribe(["orders"]), ErrorCode::InvalidGroupId);
        check_refused(alone.commit().await, ErrorCode::InvalidGroupId);
        check_refused(alone.committed(&[orders(0)]).await, ErrorCode::InvalidGroupId);
        check_refused(alone.commit_async(at(0, 1), |_| {}), ErrorCode::InvalidGroupId);
        alone.close().await;
    });
}

#[test]
fn callbacks_come_in_order_and_before_a_commit_that_is_waited_for_ends() {
    on_a_node(&[], async |bootstrap| {
        let mut member = Member::subscribed(&bootstrap, &[]);
        settle(&mut [&mut member], &[4]).await;
        let done = Arc::new(Mutex::new(Vec::new()));
        for offset in 1..=100 {
            let done = done.clone();
            let callback = move |result| done.lock().unwrap().push((offset, result));
            member.consumer.commit_async(at(0, offset), callback).unwrap();
        }
        // The last word counts, also where it is a smaller offset.
        let noted =
            OffsetAndMetadata { metadata: "as of noon".to_owned(), ..at(0, 7)[&orders(0)].clone() };
        let noted: Offsets = [(orders(0), noted)].into();
        member.consumer.commit_offsets(noted.clone()).await.unwrap();
        let expected: Vec<_> = (1..=100).map(|offset| (offset, Ok(()))).collect();
        assert_eq!(*done.lock().unwrap(), expected);
        assert_eq!(member.consumer.committed(&all_orders()).await.unwrap(), noted);
        // Others that are not waited for come within polls.
        let seen = Arc::new(Mutex::new(None));
        let told = seen.clone();
        member
            .consumer
            .commit_async(at(1, 3), move |result| *told.lock().unwrap() = Some(result))
            .unwrap();
        until(&mut [&mut member], |_| seen.lock().unwrap().is_some()).await;
        assert_eq!(*seen.lock().unwrap(), Some(Ok(())));
        member.consumer.close().await;
        // Somebody else who asks is told the same.
        assert_eq!(Member::new(&bootstrap, &[]).committed().await, [7, 3]);
    });
}

#[test]
fn who_is_no_member_does_not_commit_over_members() {
    on_a_node(&[], async |bootstrap| {
        let mut outside = Member::new(&bootstrap, &[]);
        outside.consumer.assign(vec![orders(0)]);
        outside.consumer.commit_offsets(at(0, 2)).await.unwrap();
        let mut member = Member::subscribed(&bootstrap, &[]);
        settle(&mut [&mut member], &[4]).await;
        let refused = outside.consumer.commit_offsets(at(0, 3)).await;
        check_refused(refused, ErrorCode::UnknownMemberId);
        assert_eq!(outside.committed().await, [2]);
        member.consumer.close().await;
        // Nobody is left in the group.
        outside.consumer.commit_offsets(at(0, 4)).await.unwrap();
        assert_eq!(outside.committed().await, [4]);
    });
}

#[test]
fn what_was_read_is_committed_by_itself_within_polls_and_at_the_end() {
    on_a_node(&[], async |bootstrap| {
        let often = [("enable.auto.commit", "true"), ("auto.commit.interval.ms", "100")];
        let mut member = Member::subscribed(&bootstrap, &often);
        let mut outside = Member::new(&bootstrap, &[]);
        until(&mut [&mut member], |members| members[0].values.len() == 40).await;
        let deadline = Instant::now() + PATIENCE;
        while outside.committed().await != [10; 4] {
            member.poll().await;
            assert!(Instant::now() < deadline, "{member:?}");
        }
        member.consumer.close().await;
        produce(&bootstrap, TOPIC, "second").await;
        let seldom = [("enable.auto.commit", "true"), ("auto.commit.interval.ms", "600000")];
        let mut member = Member::subscribed(&bootstrap, &seldom);
        until(&mut [&mut member], |members| members[0].values.len() == 40).await;
        assert!(member.values.iter().all(|value| value.starts_with("second")), "{member:?}");
        member.consumer.close().await;
        assert_eq!(outside.committed().await, [20; 4]);
    });
}

#[test]
fn where_nothing_is_committed_and_nothing_said_poll_fails_until_it_is_sought() {
    on_a_node(&[], async |bootstrap| {
        let none = [("auto.offset.reset", "none")];
        let mut member = Member::subscribed(&bootstrap, &none);
        let deadline = Instant::now() + PATIENCE;
        let error = loop {
            match member.consumer.poll(Duration::from_millis(50)).await {
                Ok(records) => assert_eq!(records, []),
                Err(error) => break error,
            }
            assert!(Instant::now() < deadline, "{member:?}");
        };
        let ClientError::OffsetOutOfRange { position: None, .. } = error else {
            panic!("{error:?}")
        };
        member.consumer.seek_to_beginning(&[]).unwrap();
        until(&mut [&mut member], |members| members[0].values.len() == 40).await;
        member.consumer.commit().await.unwrap();
        member.consumer.close().await;
        // Where something is, that is where it begins.
        produce(&bootstrap, TOPIC, "second").await;
        let mut next = Member::subscribed(&bootstrap, &none);
        until(&mut [&mut next], |members| members[0].values.len() == 40).await;
        assert!(next.values.iter().all(|value| value.starts_with("second")), "{next:?}");
        next.consumer.close().await;
    });
}

#[test]
fn what_is_paused_waits_and_what_is_sought_is_read_again() {
    on_a_node(&[], async |bootstrap| {
        let mut member = Member::subscribed(&bootstrap, &[]);
        settle(&mut [&mut member], &[4]).await;
        member.consumer.pause(&[orders(0), orders(2)]).unwrap();
        member.values.clear();
        member.consumer.seek_to_beginning(&[]).unwrap();
        until(&mut [&mut member], |members| members[0].values.len() == 20).await;
        for _ in 0..5 {
            member.poll().await;
        }
        let is_paused =
            |value: &String| value.starts_with("first 0") || value.starts_with("first 2");
        assert_eq!(member.values.len(), 20);
        assert!(!member.values.iter().any(is_paused), "{member:?}");
        member.consumer.resume(&[orders(0), orders(2)]).unwrap();
        until(&mut [&mut member], |members| members[0].values.len() == 40).await;
        member.consumer.seek(&orders(3), Offset::new(8)).unwrap();
        until(&mut [&mut member], |members| members[0].values.len() == 42).await;
        assert_eq!(member.values[40..], ["first 3 8", "first 3 9"]);
        member.consumer.seek_to_end(&[orders(3)]).unwrap();
        assert_eq!(member.consumer.position(&orders(3)).await.unwrap(), Offset::new(10));
        let absent = TopicPartition { topic: "other".into(), ..orders(0) };
        let refused = member.consumer.seek(&absent, Offset::ZERO);
        assert_eq!(refused, Err(ClientError::NotAssigned(absent)));
        member.consumer.close().await;
    });
}

#[test]
fn waiting_is_ended_by_somebody_else() {
    on_a_node(&[], async |bootstrap| {
        let mut member = Member::subscribed(&bootstrap, &[]);
        until(&mut [&mut member], |members| members[0].values.len() == 40).await;
        let wakeup = member.consumer.wakeup();
        wakeup.wakeup();
        assert_eq!(member.consumer.poll(PATIENCE).await, Err(ClientError::WokenUp));
        assert_eq!(member.consumer.poll(Duration::ZERO).await, Ok(Vec::new()));
        let from_elsewhere = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(200));
            wakeup.wakeup();
        });
        let before = Instant::now();
        assert_eq!(member.consumer.poll(PATIENCE).await, Err(ClientError::WokenUp));
        assert!(before.elapsed() < PATIENCE);
        from_elsewhere.join().unwrap();
        // It is a member as before.
        member.consumer.commit().await.unwrap();
        assert_eq!(member.committed().await, [10; 4]);
        member.consumer.close().await;
    });
}

#[test]
fn all_topics_that_match_are_read_also_those_that_come_later() {
    on_a_node(&[], async |bootstrap| {
        let mut member = Member::new(&bootstrap, &[("metadata.max.age.ms", "200")]);
        check_refused(member.consumer.subscribe_pattern("("), ErrorCode::InvalidRegularExpression);
        member.consumer.subscribe_pattern("order.*").unwrap();
        until(&mut [&mut member], |members| members[0].values.len() == 40).await;
        more_topics_come(&bootstrap).await;
        until(&mut [&mut member], |members| members[0].distinct().len() == 80).await;
        let topics: BTreeSet<_> =
            member.consumer.assignment().into_iter().map(|one| one.topic).collect();
        assert_eq!(
            topics.iter().map(|topic| &**topic).collect::<Vec<_>>(),
            ["orders", "orders-of-old"]
        );
        member.consumer.close().await;
    });
}

#[test]
fn closing_takes_no_longer_than_it_may() {
    on_a_node(&[], async |bootstrap| {
        let mut member = Member::subscribed(&bootstrap, &[]);
        settle(&mut [&mut member], &[4]).await;
        let options = CloseOptions { timeout: Duration::ZERO, leave: None };
        member.consumer.close_with(options).await;
        // Also where nobody is there to be asked.
        let mut lonely = Member::subscribed("127.0.0.1:1", &[]);
        assert_eq!(lonely.consumer.poll(Duration::from_millis(100)).await, Ok(Vec::new()));
        let mut unheard = Member::new("127.0.0.1:1", &[]);
        let told = Arc::new(Mutex::new(None));
        let tells = told.clone();
        let done = move |result| *tells.lock().unwrap() = Some(result);
        unheard.consumer.commit_async(at(0, 1), done).unwrap();
        let options = CloseOptions { timeout: Duration::from_millis(100), leave: None };
        unheard.consumer.close_with(options).await;
        assert_eq!(*told.lock().unwrap(), Some(Err(ClientError::Closed)));
        let before = Instant::now();
        lonely.consumer.close().await;
        assert!(before.elapsed() < Duration::from_secs(25), "{:?}", before.elapsed());
    });
}
