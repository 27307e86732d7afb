//! Topics and producer ids.

use expect_test::expect;

use super::*;

#[test]
fn topics_are_placed_by_count_or_by_hand() {
    let mut harness = Harness::new();
    harness.create(vec![topic("nobody-there")], false);
    harness.join(1);
    harness.join(2);
    harness.create(vec![topic("default"), automatic("wide", 3, 2)], false);
    harness.create(vec![manual("by-hand", &[(1, &[2]), (0, &[1])])], false);
    harness.create(vec![automatic("only-asked", 2, 1)], true);
    harness.expect(&expect![[r#"
        create default wide
        9 Topic default SmkN
        10 Partition SmkN-0 replicas [2] isr [2] leader Some(2) epochs 0/0
        11 Topic wide 4k0q
        12 Partition 4k0q-0 replicas [1,2] isr [1,2] leader Some(1) epochs 0/0
        13 Partition 4k0q-1 replicas [2,1] isr [2,1] leader Some(2) epochs 0/0
        14 Partition 4k0q-2 replicas [1,2] isr [1,2] leader Some(1) epochs 0/0
        => 1 partitions x1
        => 3 partitions x2
        create by-hand
        15 Topic by-hand qM17
        16 Partition qM17-0 replicas [1] isr [1] leader Some(1) epochs 0/0
        17 Partition qM17-1 replicas [2] isr [2] leader Some(2) epochs 0/0
        => 2 partitions x1
        create only-asked
        => 2 partitions x1
    "#]]);
    assert!(harness.ledger.image().topic("only-asked").is_none());
}

#[test]
fn bad_topics_are_refused_as_kafka_refuses_them() {
    let mut harness = Harness::new();
    harness.join(1);
    harness.create(vec![topic("there.is"), topic("second")], false);
    harness.text.clear();
    let mut with_null = topic("null-config");
    with_null.configs = vec![("retention.ms".to_owned(), None)];
    let mut with_bad = topic("bad-config");
    with_bad.configs = vec![("retention.ms".to_owned(), Some("bad".to_owned()))];
    let refused = vec![
        topic(""),
        topic(".."),
        topic("a b"),
        topic("there_is"),
        topic("second"),
        topic("new.one"),
        topic("new_one"),
        topic("twice"),
        topic("twice"),
        topic("__cluster_metadata"),
        automatic("p", 0, 1),
        automatic("p2", -5, 1),
        automatic("r", 1, 0),
        automatic("r2", 1, 2),
        manual("m1", &[(0, &[1]), (0, &[1])]),
        manual("m2", &[(1, &[1])]),
        manual("m3", &[(0, &[])]),
        manual("m4", &[(0, &[1, 1])]),
        manual("m5", &[(0, &[7])]),
        with_null,
        with_bad,
    ];
    for topic in refused.chunk_by(|a, b| a.name == b.name || b.name == "new_one") {
        harness.create(topic.to_vec(), false);
    }
    harness.create(vec![automatic("huge", 10_001, 1)], false);
    harness.expect(&expect![[r#"
        create 
        => INVALID_TOPIC_EXCEPTION: a topic name cannot be empty
        create ..
        => INVALID_TOPIC_EXCEPTION: a topic cannot be called '..'
        create a b
        => INVALID_TOPIC_EXCEPTION: topic name 'a b' has characters other than ASCII letters, digits, '.', '_' and '-'
        create there_is
        => INVALID_TOPIC_EXCEPTION: 'there_is' collides with topic 'there.is': '.' and '_' count as the same
        create second
        => TOPIC_ALREADY_EXISTS: topic 'second' exists already
        create new.one new_one
        10 Topic new.one x8tW
        11 Partition x8tW-0 replicas [1] isr [1] leader Some(1) epochs 0/0
        => 1 partitions x1
        => INVALID_TOPIC_EXCEPTION: 'new_one' collides with topic 'new.one': '.' and '_' count as the same
        create twice twice
        => INVALID_REQUEST: the topic stands twice in the request
        => INVALID_REQUEST: the topic stands twice in the request
        create __cluster_metadata
        => INVALID_REQUEST: '__cluster_metadata' is the cluster's own log
        create p
        => INVALID_PARTITIONS: the number of partitions must be larger than 0, or -1 for the default
        create p2
        => INVALID_PARTITIONS: the number of partitions must be larger than 0, or -1 for the default
        create r
        => INVALID_REPLICATION_FACTOR: the replication factor must be larger than 0, or -1 for the default
        create r2
        => INVALID_REPLICATION_FACTOR: replication factor 2 is larger than the number of registered brokers, 1
        create m1
        => INVALID_REPLICA_ASSIGNMENT: partition 0 is assigned twice
        create m2
        => INVALID_REPLICA_ASSIGNMENT: partition 0 is missing from the assignment
        create m3
        => INVALID_REPLICA_ASSIGNMENT: an assignment names no broker
        create m4
        => INVALID_REPLICA_ASSIGNMENT: broker 1 stands twice in one assignment
        create m5
        => INVALID_REPLICA_ASSIGNMENT: broker 7 is not registered
        create null-config
        => INVALID_CONFIG: config 'retention.ms' has no value
        create bad-config
        => INVALID_CONFIG: retention.ms cannot be bad
        create huge
        => POLICY_VIOLATION: one request may create 10000 partitions
    "#]]);
}

#[test]
fn topics_are_deleted_by_name_or_id_with_their_configs_and_names_are_free_again() {
    let mut harness = Harness::new();
    harness.join(1);
    let mut with_config = topic("a");
    with_config.configs = vec![("retention.ms".to_owned(), Some("1000".to_owned()))];
    harness.create(vec![with_config, topic("b")], false);
    let id = harness.ledger.image().topic("b").unwrap().topic_id;
    let name = |name: &str| TopicSelector::Name(name.to_owned());
    harness.ask(Request::DeleteTopics(vec![
        name("a"),
        TopicSelector::Id(id),
        name("b"),
        name("c"),
        TopicSelector::Id(Uuid::from_bytes([9; 16])),
    ]));
    harness.create(vec![topic("a")], false);
    harness.expect(&expect![[r#"
        create a b
        6 Topic a SmkN
        7 Config a retention.ms=Some("1000")
        8 Partition SmkN-0 replicas [1] isr [1] leader Some(1) epochs 0/0
        9 Topic b VHQ9
        10 Partition VHQ9-0 replicas [1] isr [1] leader Some(1) epochs 0/0
        => 1 partitions x1
        => 1 partitions x1
        11 RemoveTopic SmkN
        12 RemoveTopic VHQ9
        => deleted, known true
        => deleted, known true
        => INVALID_REQUEST: the topic stands twice in the request
        => UNKNOWN_TOPIC_OR_PARTITION: 
        => UNKNOWN_TOPIC_ID: 
        create a
        13 Topic a x8tW
        14 Partition x8tW-0 replicas [1] isr [1] leader Some(1) epochs 0/0
        => 1 partitions x1
    "#]]);
    assert!(harness.ledger.image().topic_configs("a").is_none());
}

#[test]
fn partitions_become_more_never_fewer() {
    let mut harness = Harness::new();
    harness.join(1);
    harness.create(vec![topic("t")], false);
    let grow =
        |topic: &str, count| NewPartitions { topic: topic.to_owned(), count, assignments: None };
    for request in [grow("t", 3), grow("t", 3), grow("t", -1), grow("x", 3)] {
        harness.ask(Request::CreatePartitions { topics: vec![request], validate_only: false });
    }
    harness.expect(&expect![[r#"
        create t
        6 Topic t SmkN
        7 Partition SmkN-0 replicas [1] isr [1] leader Some(1) epochs 0/0
        => 1 partitions x1
        8 Partition SmkN-1 replicas [1] isr [1] leader Some(1) epochs 0/0
        9 Partition SmkN-2 replicas [1] isr [1] leader Some(1) epochs 0/0
        => ok
        => INVALID_PARTITIONS: the topic has 3 partitions, and they only become more
        => INVALID_PARTITIONS: the topic has 3 partitions, and they only become more
        => UNKNOWN_TOPIC_OR_PARTITION: 
    "#]]);
}

#[test]
fn producer_ids_are_given_out_once() {
    let mut harness = Harness::new();
    let broker_epoch = harness.join(1);
    let broker = BrokerId::new(1);
    for _ in 0..2 {
        harness.ask(Request::AllocateProducerIds { broker, broker_epoch });
    }
    harness.take_over();
    harness.ask(Request::AllocateProducerIds { broker, broker_epoch });
    harness.expect(&expect![[r#"
        6 ProducerIds next 1000
        => 1000 ids from 0
        7 ProducerIds next 2000
        => 1000 ids from 1000
        -- another controller takes over
        8 ProducerIds next 3000
        => 1000 ids from 2000
    "#]]);
}
