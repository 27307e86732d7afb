//! The controllers among themselves.

use ottla::types::{BrokerId, ErrorCode};

use crate::setup::{
    Cluster, create, create_copies, describe_quorum, eventually, leader, metadata, view,
};

const COMBINED: &str = "broker,controller";

fn brokers(ids: &[i32]) -> Vec<BrokerId> {
    ids.iter().copied().map(BrokerId::new).collect()
}

#[test]
fn three_nodes_form_a_cluster_and_any_of_them_creates_topics() {
    let mut cluster = Cluster::start(&[COMBINED, COMBINED, COMBINED]);
    for id in 1..=3 {
        let mut client = cluster.connect(id);
        assert_eq!(create(&mut client, &format!("by-{id}")), ErrorCode::None);
        // Who created a topic knows it at once.
        assert!(view(&mut client).1.contains(&format!("by-{id}")));
        assert_eq!(create(&mut client, "by-1"), ErrorCode::TopicAlreadyExists);
    }
    let leaders: Vec<i32> = (1..=3).map(|id| cluster.leader(id)).collect();
    assert!(leaders.iter().all(|leader| *leader == leaders[0]), "{leaders:?}");
    let nodes = describe_quorum(&mut cluster.connect(1)).nodes.into_iter().map(|node| {
        let [listener] = &node.listeners[..] else { panic!("{node:?}") };
        (node.node_id.value(), format!("{}://{}:{}", listener.name, listener.host, listener.port))
    });
    let voters = cluster.voters.iter();
    let voters = voters.map(|(id, port)| (*id, format!("CONTROLLER://127.0.0.1:{port}")));
    assert_eq!(nodes.collect::<Vec<_>>(), voters.collect::<Vec<_>>(), "where the voters listen");
    for id in 1..=3 {
        let mut client = cluster.connect(id);
        eventually("all nodes see the same", || {
            let seen = view(&mut client);
            (seen == (brokers(&[1, 2, 3]), ["by-1", "by-2", "by-3"].map(str::to_owned).to_vec()))
                .then_some(())
        });
    }
    for id in 1..=3 {
        cluster.stop(id);
    }
}

#[test]
fn another_controller_takes_over_when_the_active_one_is_killed() {
    let mut cluster = Cluster::start(&[COMBINED, COMBINED, COMBINED]);
    let first = cluster.leader(1);
    assert_eq!(create(&mut cluster.connect(1), "before"), ErrorCode::None);
    cluster.kill(first);
    let rest: Vec<i32> = cluster.running.keys().copied().collect();
    let mut client = cluster.connect(rest[0]);
    assert_eq!(create(&mut client, "during"), ErrorCode::None);
    let second = leader(&mut client).unwrap();
    assert_ne!(second, first);
    let topics = view(&mut client).1;
    assert!(topics.contains(&"before".to_owned()) && topics.contains(&"during".to_owned()));

    cluster.start_nodes(&[first]);
    let mut client = cluster.connect(first);
    eventually("the one that was killed catches up", || {
        let (alive, topics) = view(&mut client);
        (alive == brokers(&[1, 2, 3]) && topics.len() == 2).then_some(())
    });
    assert_eq!(create(&mut client, "after"), ErrorCode::None);
}

#[test]
fn nothing_is_decided_without_a_majority_and_all_goes_on_with_one() {
    let mut cluster = Cluster::start(&[COMBINED, COMBINED, COMBINED]);
    assert_eq!(create(&mut cluster.connect(1), "first"), ErrorCode::None);
    cluster.kill(2);
    cluster.kill(3);
    let mut client = cluster.connect(1);
    let request = ottla::protocol::messages::CreateTopicsRequest {
        topics: vec![ottla::protocol::messages::create_topics_request::CreatableTopic {
            name: "alone".to_owned(),
            num_partitions: 1,
            replication_factor: 1,
            ..Default::default()
        }],
        timeout_ms: 3_000,
        validate_only: false,
    };
    assert_eq!(client.ask(7, &request).topics[0].error_code, ErrorCode::RequestTimedOut);
    cluster.start_nodes(&[2]);
    eventually("two of three decide", || {
        let error = create(&mut client, "two");
        (error.is_none() || error == ErrorCode::TopicAlreadyExists).then_some(())
    });
}

#[test]
fn controllers_and_brokers_apart() {
    let mut cluster =
        Cluster::start(&["controller", "controller", "controller", "broker", "broker"]);
    let mut client = cluster.connect(4);
    assert_eq!(create(&mut client, "apart"), ErrorCode::None);
    let active = leader(&mut client).unwrap();
    assert!((1..=3).contains(&active));
    eventually("both brokers are known", || {
        (view(&mut client).0 == brokers(&[4, 5])).then_some(())
    });
    cluster.stop(active);
    assert_eq!(create(&mut client, "again"), ErrorCode::None);
    assert_ne!(leader(&mut client).unwrap(), active);
    cluster.stop(5);
    eventually("a broker that left is not told of", || {
        (view(&mut client).0 == brokers(&[4])).then_some(())
    });
}

#[test]
fn a_broker_that_stops_hands_over_and_is_in_sync_again_when_it_returns() {
    let mut cluster = Cluster::start(&[COMBINED, COMBINED, COMBINED]);
    let mut client = cluster.connect(1);
    assert_eq!(create_copies(&mut client, "copied", 3), ErrorCode::None);
    let led = |client: &mut crate::support::Client| {
        let topics = metadata(client).topics;
        let partitions = topics.into_iter().flat_map(|topic| topic.partitions);
        partitions.map(|one| (one.leader_id, one.isr_nodes.len())).collect::<Vec<_>>()
    };
    let all = |ids: &[i32]| ids.iter().map(|id| Some(BrokerId::new(*id))).collect::<Vec<_>>();
    eventually("each broker leads one partition", || {
        let mut leaders: Vec<_> = led(&mut client).into_iter().map(|(leader, _)| leader).collect();
        leaders.sort_unstable();
        (leaders == all(&[1, 2, 3])).then_some(())
    });
    cluster.stop(3);
    eventually("the others lead all, with two in sync", || {
        let led = led(&mut client);
        let by_others = led.iter().all(|(leader, _)| all(&[1, 2]).contains(leader));
        (by_others && led.iter().all(|(_, in_sync)| *in_sync == 2)).then_some(())
    });
    cluster.start_nodes(&[3]);
    eventually("who comes back is in sync again", || {
        led(&mut client).iter().all(|(_, in_sync)| *in_sync == 3).then_some(())
    });
    cluster.stop_all();
}
