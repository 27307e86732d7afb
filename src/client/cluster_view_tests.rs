//! What a client believes of a cluster of three, whom it asks, and how often.

use rand::SeedableRng;

use super::*;
use crate::protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition,
};
use crate::types::Timestamp;

const BOOTSTRAP: &str = "boot1:9092,boot2:9092";

fn view() -> ClusterView {
    let config = crate::client::AdminConfig::new([
        ("bootstrap.servers", BOOTSTRAP),
        ("metadata.max.age.ms", "60000"),
    ]);
    ClusterView::new(&config.unwrap().common, true, StdRng::seed_from_u64(3))
}

fn at(millis: u64) -> Now {
    Now {
        monotonic: Monotonic::ZERO + Duration::from_millis(millis),
        wall: Timestamp::from_millis(0),
    }
}

fn partition(index: i32) -> TopicPartition {
    TopicPartition { topic: "t".into(), partition: PartitionIndex::new(index) }
}

/// Metadata of topic `t`, with these brokers, and for each partition leader and epoch.
fn answer(brokers: &[i32], partitions: &[(Option<i32>, i32)]) -> MetadataResponse {
    let broker = |id: &i32| MetadataResponseBroker {
        node_id: BrokerId::new(*id),
        host: format!("b{id}"),
        port: 9092,
        rack: None,
    };
    let partition = |(index, (leader, epoch)): (i32, &(Option<i32>, i32))| {
        let leader_epoch = LeaderEpoch::from_wire(*epoch);
        MetadataResponsePartition {
            partition_index: PartitionIndex::new(index),
            leader_id: leader.map(BrokerId::new),
            leader_epoch,
            ..MetadataResponsePartition::default()
        }
    };
    MetadataResponse {
        brokers: brokers.iter().map(broker).collect(),
        topics: vec![MetadataResponseTopic {
            name: Some("t".to_owned()),
            topic_id: Uuid::from_bytes([1; 16]),
            partitions: (0..).zip(partitions).map(partition).collect(),
            ..MetadataResponseTopic::default()
        }],
        ..MetadataResponse::default()
    }
}

fn unknown_topic(brokers: &[i32]) -> MetadataResponse {
    let mut response = answer(brokers, &[]);
    response.topics[0].error_code = ErrorCode::UnknownTopicOrPartition;
    response
}

/// A view that was told of brokers 1 to 3 and one partition, led by 1 in epoch 5.
fn informed() -> ClusterView {
    let mut view = view();
    view.want(&"t".into());
    view.poll(at(0)).unwrap();
    view.on_response(at(0), answer(&[1, 2, 3], &[(Some(1), 5)]));
    view
}

fn led(view: &ClusterView) -> (Option<i32>, Option<i32>) {
    let known = view.partition(&partition(0)).unwrap();
    (known.leader.map(BrokerId::value), known.leader_epoch.map(LeaderEpoch::value))
}

/// Asks now, whatever the back-off says, and lets it fail. Returns who was asked.
fn fail_once(view: &mut ClusterView, millis: u64) -> NodeKey {
    view.request_update();
    let asked = view.poll(at(millis)).expect("long enough after the last attempt").target.node;
    view.on_failure(at(millis), "refused".to_owned());
    asked
}

#[test]
fn an_older_epoch_is_not_believed() {
    let mut view = informed();
    for (told, expected) in [
        ((Some(2), 4), (Some(1), Some(5))),
        ((Some(2), -1), (Some(1), Some(5))),
        ((None, 5), (None, Some(5))),
        ((Some(3), 6), (Some(3), Some(6))),
        ((Some(1), 5), (Some(3), Some(6))),
    ] {
        view.on_response(at(1), answer(&[1, 2, 3], &[told]));
        assert_eq!(led(&view), expected, "after {told:?}");
    }
}

#[test]
fn an_older_epoch_is_not_believed_from_a_broker_that_did_not_know_the_topic_before() {
    let mut view = informed();
    view.on_response(at(1), unknown_topic(&[1, 2, 3]));
    assert_eq!(view.topic("t"), None);
    view.on_response(at(2), answer(&[1, 2, 3], &[(Some(2), 4)]));
    assert_eq!(led(&view), (Some(1), Some(5)));
}

#[test]
fn epochs_of_a_topic_that_was_made_anew_count_anew() {
    let mut view = informed();
    let mut response = answer(&[1, 2, 3], &[(Some(2), 0)]);
    response.topics[0].topic_id = Uuid::from_bytes([2; 16]);
    view.on_response(at(1), response);
    assert_eq!(led(&view), (Some(2), Some(0)));
}

#[test]
fn a_hint_is_taken_where_it_is_newer_and_can_be_followed() {
    let mut view = informed();
    let endpoint = |port| Some(Endpoint { host: "b9".to_owned(), port });
    let mut hint = |leader, epoch, endpoint| {
        let (leader, epoch) = (BrokerId::new(leader), LeaderEpoch::new(epoch));
        let is_news = view.on_leader_hint(&partition(0), leader, epoch, endpoint);
        (is_news, led(&view))
    };
    assert_eq!(hint(2, 5, None), (false, (Some(1), Some(5))), "not newer");
    assert_eq!(hint(9, 6, None), (false, (Some(1), Some(5))), "nobody knows where 9 is");
    assert_eq!(hint(2, 6, None), (true, (Some(2), Some(6))));
    assert_eq!(hint(9, 7, endpoint(1)), (true, (Some(9), Some(7))));
    assert_eq!(hint(9, 7, endpoint(2)), (false, (Some(9), Some(7))), "an old address stays unread");
    assert_eq!(view.broker(BrokerId::new(9)).unwrap().endpoint.port, 1);
    view.on_response(at(1), answer(&[1, 2, 3, 9], &[(Some(1), 5)]));
    assert_eq!(led(&view), (Some(9), Some(7)), "metadata of before the hint");
}

#[test]
fn an_epoch_that_was_heard_of_makes_the_leader_unknown_until_metadata_has_it() {
    let mut view = informed();
    view.on_epoch_heard_of(&partition(0), LeaderEpoch::new(5));
    assert_eq!(led(&view), (Some(1), Some(5)));
    view.on_epoch_heard_of(&partition(0), LeaderEpoch::new(6));
    assert_eq!(led(&view), (None, Some(6)));
    assert!(view.deadline().unwrap() <= at(200).monotonic, "it asks soon");
    view.on_response(at(200), answer(&[1, 2, 3], &[(Some(1), 5)]));
    assert_eq!(led(&view), (None, Some(6)));
    view.on_response(at(400), answer(&[1, 2, 3], &[(Some(3), 6)]));
    assert_eq!(led(&view), (Some(3), Some(6)));
}

#[test]
fn brokers_are_asked_before_bootstrap_servers_and_those_that_failed_last() {
    let mut view = informed();
    let first: Vec<NodeKey> = (1..=5).map(|n| fail_once(&mut view, n * 10_000)).collect();
    assert!(first[..3].iter().all(|node| matches!(node, NodeKey::Broker(_))), "{first:?}");
    assert!(first[3..].iter().all(|node| matches!(node, NodeKey::Bootstrap(_))), "{first:?}");
    let second: Vec<NodeKey> = (6..=10).map(|n| fail_once(&mut view, n * 10_000)).collect();
    assert_eq!(first, second, "then whoever failed longest ago");
    // One of them is back.
    view.on_node_answered(first[2]);
    assert_eq!(fail_once(&mut view, 200_000), first[2]);
}

#[test]
fn a_cluster_whose_every_broker_moved_is_found_by_the_bootstrap_servers() {
    let mut view = informed();
    let asked: Vec<NodeKey> = (1..=4).map(|n| fail_once(&mut view, n * 10_000)).collect();
    assert!(matches!(asked[3], NodeKey::Bootstrap(_)), "{asked:?}");
    view.poll(at(60_000)).unwrap();
    view.on_response(at(60_000), answer(&[7, 8], &[(Some(7), 6)]));
    assert_eq!(led(&view), (Some(7), Some(6)));
    let next = view.anybody().node;
    assert!([7, 8].map(|id| NodeKey::Broker(BrokerId::new(id))).contains(&next), "{next:?}");
}

#[test]
fn a_broker_that_asks_for_it_makes_the_client_begin_at_the_bootstrap_servers() {
    let mut view = informed();
    view.request_update();
    view.poll(at(1_000)).unwrap();
    let error_code = ErrorCode::RebootstrapRequired;
    view.on_response(at(1_000), MetadataResponse { error_code, ..MetadataResponse::default() });
    assert!(matches!(view.anybody().node, NodeKey::Bootstrap(_)));
}

#[test]
fn pauses_between_requests_grow_while_nothing_new_is_heard() {
    let mut view = informed();
    let mut now = 0;
    let mut pauses = Vec::new();
    for _ in 0..6 {
        view.request_update();
        let due = view.deadline().unwrap();
        let pause = due.since(at(now).monotonic).as_millis();
        pauses.push(pause);
        now += u64::try_from(pause).unwrap() + 1;
        view.poll(at(now)).unwrap();
        view.on_response(at(now), answer(&[1, 2, 3], &[(Some(1), 5)]));
    }
    let expected = [100, 100, 200, 400, 800, 1_000];
    for (pause, expected) in pauses.iter().zip(expected) {
        assert!((expected * 8 / 10..=expected * 12 / 10).contains(pause), "{pauses:?}");
    }
    // News ends it.
    view.on_response(at(now), answer(&[1, 2, 3], &[(Some(2), 6)]));
    view.request_update();
    assert!(view.deadline().unwrap().since(at(now).monotonic) <= Duration::from_millis(120));
}

#[test]
fn a_partition_without_leader_is_asked_about_again_by_itself() {
    let mut view = informed();
    view.on_response(at(0), answer(&[1, 2, 3], &[(None, 6)]));
    assert!(view.deadline().unwrap() <= at(120).monotonic);
    view.poll(at(150)).unwrap();
    view.on_response(at(150), answer(&[1, 2, 3], &[(Some(2), 7)]));
    assert_eq!(view.deadline(), Some(at(60_150).monotonic), "only its age is left");
}

#[test]
fn whoever_wants_all_topics_hears_of_their_names_and_of_what_is_gone() {
    let mut view = informed();
    view.want(&"gone".into());
    view.want_all(true);
    assert_eq!(view.all(), None);
    let query = view.poll(at(10_000)).unwrap();
    assert_eq!(query.request.topics, None);
    let mut response = answer(&[1, 2, 3], &[(Some(1), 5)]);
    for (name, is_internal) in [("other", false), ("__consumer_offsets", true)] {
        let name = Some(name.to_owned());
        response.topics.push(MetadataResponseTopic { name, is_internal, ..Default::default() });
    }
    view.on_response(at(10_000), response);
    let names: Vec<&str> = view.all().unwrap().iter().map(|name| &**name).collect();
    assert_eq!(names, ["other", "t"]);
    assert_eq!(view.topic_error("gone"), Some(ErrorCode::UnknownTopicOrPartition));
    assert_eq!(led(&view), (Some(1), Some(5)));
    assert_eq!(view.poll(at(10_001)), None, "nothing is left open");
    view.want_all(false);
    assert_eq!(view.all(), None);
}

#[test]
fn names_of_ids_are_asked_for_until_they_are_known() {
    let mut view = view();
    let (known, later) = (Uuid::from_bytes([1; 16]), Uuid::from_bytes([2; 16]));
    view.want(&"t".into());
    view.want_names_of(&[known, later].into());
    let asked = |query: MetadataQuery| -> Vec<(Option<String>, TopicId)> {
        let topics = query.request.topics.unwrap().into_iter();
        topics.map(|topic| (topic.name, topic.topic_id)).collect()
    };
    // In one question topics are named in one way only.
    assert_eq!(asked(view.poll(at(0)).unwrap()), [(None, known), (None, later)]);
    let mut told = answer(&[1], &[(Some(1), 0)]);
    told.topics.push(MetadataResponseTopic {
        error_code: ErrorCode::UnknownTopicId,
        topic_id: later,
        ..MetadataResponseTopic::default()
    });
    view.on_response(at(1), told);
    assert_eq!(view.names(), [(known, "t".into())].into());
    let then = view.deadline().unwrap();
    let now = Now { monotonic: then, wall: Timestamp::from_millis(0) };
    assert_eq!(asked(view.poll(now).unwrap()), [(Some("t".to_owned()), Uuid::ZERO)]);
    view.on_response(now, answer(&[1], &[(Some(1), 0)]));
    let now = Now { monotonic: view.deadline().unwrap(), wall: Timestamp::from_millis(0) };
    assert_eq!(asked(view.poll(now).unwrap()), [(None, later)]);
    view.on_failure(now, "cut".to_owned());
    // Who does not need it any more does not ask.
    view.want_names_of(&[known].into());
    let now = Now { monotonic: view.deadline().unwrap(), wall: Timestamp::from_millis(0) };
    assert_eq!(view.poll(now).map(asked), Some(vec![(Some("t".to_owned()), Uuid::ZERO)]));
}
