//! The library's consumers in a group of the consumer protocol (KIP-848), whose members come, go, and fall silent, against a node.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ottla::client::{ClientError, CloseOptions, RebalanceListener};
use ottla::types::{ErrorCode, Offset, TopicPartition};

use crate::members::on_a_node;
use crate::members_stories::{
    a_slow_member_is_out, heard, members_share_the_work, more_topics_come,
};
use crate::members_support::{Member, PATIENCE, TOPIC, produce, settle, shares, until};

const CONSUMER: (&str, &str) = ("group.protocol", "consumer");
/// A node that wants to hear of members often.
const QUICK: &[(&str, &str)] = &[
    ("group.consumer.heartbeat.interval.ms", "100"),
    ("group.consumer.min.heartbeat.interval.ms", "100"),
];
/// And knows soon that they are gone.
const SHORT_SESSIONS: &[(&str, &str)] = &[
    ("group.consumer.heartbeat.interval.ms", "100"),
    ("group.consumer.min.heartbeat.interval.ms", "100"),
    ("group.consumer.session.timeout.ms", "1500"),
    ("group.consumer.min.session.timeout.ms", "1500"),
];

/// How the next poll that fails does.
async fn refusal(member: &mut Member) -> ErrorCode {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match member.consumer.poll(Duration::from_millis(50)).await {
            Ok(_) => assert!(Instant::now() < deadline, "{member:?}"),
            Err(ClientError::Answer { error, .. }) => return error,
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[test]
fn members_share_the_work_and_go_on_where_the_group_is() {
    on_a_node(QUICK, async |bootstrap| {
        let by_range = [CONSUMER, ("group.remote.assignor", "range")];
        members_share_the_work(&bootstrap, &[CONSUMER], &by_range).await;
        // Nobody is left: whoever comes chooses the protocol anew.
        let mut classic = Member::subscribed(&bootstrap, &[]);
        settle(&mut [&mut classic], &[4]).await;
        assert_eq!(classic.committed().await, [20; 4]);
        classic.consumer.close().await;
    });
}

#[test]
fn only_what_moves_is_taken_away_and_what_was_read_of_it_is_committed_first() {
    on_a_node(QUICK, async |bootstrap| {
        let settings =
            [CONSUMER, ("enable.auto.commit", "true"), ("auto.commit.interval.ms", "600000")];
        let mut a = Member::subscribed(&bootstrap, &settings);
        until(&mut [&mut a], |members| members[0].values.len() == 40).await;
        assert_eq!(a.told(), ["assigned 0 1 2 3"]);
        let mut b = Member::subscribed(&bootstrap, &settings);
        settle(&mut [&mut a, &mut b], &[2, 2]).await;
        let moved = b.partitions();
        assert_eq!(a.told(), [heard("revoked", &moved)]);
        assert_eq!(b.told(), [heard("assigned", &moved)]);
        produce(&bootstrap, TOPIC, "second").await;
        until(&mut [&mut a, &mut b], |members| {
            members[0].values.len() >= 60 && members[1].values.len() >= 20
        })
        .await;
        assert!(b.values.iter().all(|value| value.starts_with("second")), "{b:?}");
        assert_eq!(a.distinct().len(), a.values.len(), "{a:?}");
        b.consumer.close().await;
        settle(&mut [&mut a], &[4]).await;
        assert_eq!(a.told(), [heard("assigned", &moved)]);
        a.consumer.close().await;
        assert_eq!(Member::new(&bootstrap, &[]).committed().await, [20; 4]);
    });
}

#[test]
fn a_static_member_comes_back_to_what_it_had() {
    let settings = [CONSUMER, ("group.instance.id", "s")];
    on_a_node(QUICK, async |bootstrap| {
        let mut a = Member::subscribed(&bootstrap, &[CONSUMER]);
        let mut s = Member::subscribed(&bootstrap, &settings);
        settle(&mut [&mut a, &mut s], &[2, 2]).await;
        let (generation, had) = (a.generation(), s.partitions());
        a.told();
        s.consumer.close().await;
        let mut s = Member::subscribed(&bootstrap, &settings);
        settle(&mut [&mut a, &mut s], &[2, 2]).await;
        assert_eq!((s.partitions(), a.generation()), (had, generation));
        assert_eq!(a.told(), [""; 0]);
        // Nobody else gets its place while it is there.
        let mut usurper = Member::subscribed(&bootstrap, &settings);
        assert_eq!(refusal(&mut usurper).await, ErrorCode::UnreleasedInstanceId);
        s.poll().await;
        let leaving = CloseOptions { timeout: PATIENCE, leave: Some(true) };
        s.consumer.close_with(leaving).await;
        // Then it may come.
        assert_eq!(refusal(&mut usurper).await, ErrorCode::UnreleasedInstanceId);
        usurper.consumer.unsubscribe();
        usurper.consumer.subscribe([TOPIC]).unwrap();
        settle(&mut [&mut a, &mut usurper], &[2, 2]).await;
        usurper.consumer.close().await;
        a.consumer.close().await;
    });
}

#[test]
fn who_goes_without_a_word_is_out_when_its_session_ends() {
    on_a_node(SHORT_SESSIONS, async |bootstrap| {
        let mut a = Member::subscribed(&bootstrap, &[CONSUMER]);
        let mut killed = Member::subscribed(&bootstrap, &[CONSUMER]);
        settle(&mut [&mut a, &mut killed], &[2, 2]).await;
        drop(killed);
        for _ in 0..4 {
            a.poll().await;
        }
        assert_eq!(a.partitions().len(), 2, "{a:?}");
        settle(&mut [&mut a], &[4]).await;
        a.consumer.close().await;
    });
}

#[test]
fn who_does_not_poll_leaves_and_is_told_what_it_lost() {
    on_a_node(QUICK, async |bootstrap| {
        a_slow_member_is_out(&bootstrap, CONSUMER).await;
    });
}

struct Assigned(Arc<Mutex<Vec<TopicPartition>>>);

impl RebalanceListener for Assigned {
    fn on_partitions_assigned(
        &mut self,
        new: &[TopicPartition],
    ) -> BTreeMap<TopicPartition, Offset> {
        self.0.lock().unwrap().extend_from_slice(new);
        BTreeMap::new()
    }
}

#[test]
fn what_fits_the_coordinators_expression_is_read_also_what_comes_later() {
    on_a_node(QUICK, async |bootstrap| {
        let mut member = Member::new(&bootstrap, &[CONSUMER]);
        let assigned = Arc::new(Mutex::new(Vec::new()));
        member.consumer.subscribe_regex_with("order.*", Assigned(assigned.clone())).unwrap();
        until(&mut [&mut member], |members| members[0].values.len() == 40).await;
        assert_eq!(assigned.lock().unwrap().len(), 4);
        more_topics_come(&bootstrap).await;
        until(&mut [&mut member], |members| members[0].distinct().len() == 80).await;
        // Names take the expression's place.
        member.consumer.subscribe(["reorders"]).unwrap();
        until(&mut [&mut member], |members| members[0].distinct().len() == 120).await;
        settle(&mut [&mut member], &[4]).await;
        // What the client matches goes to the coordinator by name.
        member.consumer.subscribe_pattern("orders-.*").unwrap();
        until(&mut [&mut member], |members| {
            members[0].consumer.assignment().iter().all(|one| &*one.topic == "orders-of-old")
                && shares(members) == [4]
        })
        .await;
        member.consumer.subscribe_regex("(").unwrap();
        assert_eq!(refusal(&mut member).await, ErrorCode::InvalidRegularExpression);
        assert_eq!(refusal(&mut member).await, ErrorCode::InvalidRegularExpression);
        member.consumer.close().await;
        let mut classic = Member::new(&bootstrap, &[]);
        let refused = classic.consumer.subscribe_regex("order.*");
        let Err(ClientError::Answer { error: ErrorCode::InvalidRequest, .. }) = refused else {
            panic!("{refused:?}");
        };
    });
}

#[test]
fn who_is_not_wanted_is_told_with_each_poll() {
    on_a_node(QUICK, async |bootstrap| {
        let settings = [CONSUMER, ("group.remote.assignor", "sticky")];
        let mut odd = Member::subscribed(&bootstrap, &settings);
        assert_eq!(refusal(&mut odd).await, ErrorCode::UnsupportedAssignor);
        assert_eq!(refusal(&mut odd).await, ErrorCode::UnsupportedAssignor);
        odd.consumer.close().await;
    });
    on_a_node(&[("group.coordinator.rebalance.protocols", "classic")], async |bootstrap| {
        let mut early = Member::subscribed(&bootstrap, &[CONSUMER]);
        assert_eq!(refusal(&mut early).await, ErrorCode::UnsupportedVersion);
        early.consumer.close().await;
    });
}

#[test]
fn one_to_twelve_are_added_up() {
    on_a_node(QUICK, async |bootstrap| {
        crate::demo_example::demo::run(&bootstrap, 12, Duration::from_millis(20)).await.unwrap();
    });
}
