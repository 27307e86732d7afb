//! What Kafka's own tests say of each way of assigning, and what holds of all groups.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::protocol::{
    NEWEST, assignment_bytes, read_assignment, read_subscription, subscription_bytes,
};
use super::{Assignment, Assignor, Member, Members, PartitionCounts, Subscription};
use crate::types::{GenerationId, PartitionIndex};

type Assignments = BTreeMap<Arc<str>, Assignment>;
/// A partition.
type Place = (Arc<str>, i32);

fn members(reading: &[(&str, &str)]) -> Members {
    let member = |topics: &str| {
        let topics = topics.split_whitespace().map(Arc::from).collect();
        let subscription = Subscription { topics, ..Subscription::default() };
        Member { instance: None, subscription }
    };
    reading.iter().map(|(id, topics)| (Arc::from(*id), member(topics))).collect()
}

fn counts(topics: &[(&str, u32)]) -> PartitionCounts {
    topics.iter().map(|(topic, count)| (Arc::from(*topic), *count)).collect()
}

/// `t1-0 t1-1 t2-0` and so on.
fn assignment(text: &str) -> Assignment {
    let mut assignment = Assignment::new();
    for word in text.split_whitespace() {
        let (topic, index) = word.rsplit_once('-').unwrap();
        let index = PartitionIndex::new(index.parse().unwrap());
        assignment.entry(topic.into()).or_default().insert(index);
    }
    assignment
}

/// The member holds this, or had it, as of the generation.
fn has(members: &mut Members, id: &str, assignment: Assignment, generation: i32) {
    let generation = GenerationId::new(generation);
    let subscription = &mut members.get_mut(id).unwrap().subscription;
    subscription.user_data = Assignor::Sticky.user_data(Some((&assignment, generation)));
    subscription.generation = Some(generation);
    subscription.owned = assignment;
}

/// What each got becomes what it has.
fn go_on(members: &mut Members, assignments: &Assignments, generation: i32) {
    for (id, assignment) in assignments {
        if members.contains_key(id) {
            has(members, id, assignment.clone(), generation);
        }
    }
}

fn text(assignments: &Assignments) -> String {
    let mut text = String::new();
    for (id, assignment) in assignments {
        write!(text, "{id}:").unwrap();
        for (topic, partitions) in assignment {
            for partition in partitions {
                write!(text, " {topic}-{partition}").unwrap();
            }
        }
        text.push('\n');
    }
    text
}

#[track_caller]
fn check(assignments: &Assignments, expected: &Expect) {
    expected.assert_eq(&text(assignments));
}

#[test]
fn names_are_kafkas() {
    let names = Assignor::ALL.map(Assignor::name);
    assert_eq!(names, ["range", "roundrobin", "sticky", "cooperative-sticky"]);
    for assignor in Assignor::ALL {
        assert_eq!(Assignor::from_name(assignor.name()), Some(assignor));
    }
    assert_eq!(Assignor::from_name("uniform"), None);
}

// ---- Kafka: RangeAssignorTest ----

#[test]
fn range_of_kafkas_examples() {
    let two = members(&[("consumer1", "topic1 topic2"), ("consumer2", "topic1 topic2")]);
    check(
        &Assignor::Range.assign(&two, &counts(&[("topic1", 3), ("topic2", 3)])),
        &expect![[r#"
            consumer1: topic1-0 topic1-1 topic2-0 topic2-1
            consumer2: topic1-2 topic2-2
        "#]],
    );
    let mixed = members(&[
        ("consumer1", "topic1"),
        ("consumer2", "topic1 topic2"),
        ("consumer3", "topic1"),
    ]);
    check(
        &Assignor::Range.assign(&mixed, &counts(&[("topic1", 3), ("topic2", 2)])),
        &expect![[r#"
            consumer1: topic1-0
            consumer2: topic1-1 topic2-0 topic2-1
            consumer3: topic1-2
        "#]],
    );
    // testRackAwareAssignmentWithUniformSubscription, where no racks count.
    let three = members(&[("a", "t1 t2 t3"), ("b", "t1 t2 t3"), ("c", "t1 t2 t3")]);
    check(
        &Assignor::Range.assign(&three, &counts(&[("t1", 6), ("t2", 7), ("t3", 2)])),
        &expect![[r#"
            a: t1-0 t1-1 t2-0 t2-1 t2-2 t3-0
            b: t1-2 t1-3 t2-3 t2-4 t3-1
            c: t1-4 t1-5 t2-5 t2-6
        "#]],
    );
}

#[test]
fn range_puts_static_members_first_and_by_their_names() {
    let mut group = members(&[("consumer-a", "topic1"), ("consumer-b", "topic1")]);
    group.get_mut("consumer-b").unwrap().instance = Some("instance1".into());
    let counts = counts(&[("topic1", 3)]);
    let expected = expect![[r#"
        consumer-a: topic1-2
        consumer-b: topic1-0 topic1-1
    "#]];
    check(&Assignor::Range.assign(&group, &counts), &expected);
    group.get_mut("consumer-a").unwrap().instance = Some("instance2".into());
    check(&Assignor::Range.assign(&group, &counts), &expected);
}

/// Kafka: `testStaticMemberRangeAssignmentPersistent`.
#[test]
fn range_keeps_the_places_of_static_members() {
    let topics = "topic1 topic2";
    let mut group = members(&[
        ("consumer1", topics),
        ("consumer2", topics),
        ("consumer3", topics),
        ("consumer4", topics),
    ]);
    for number in 1..=3 {
        let member = group.get_mut(format!("consumer{number}").as_str()).unwrap();
        member.instance = Some(format!("instance{number}").into());
    }
    let counts = counts(&[("topic1", 5), ("topic2", 4)]);
    let before = Assignor::Range.assign(&group, &counts);
    check(
        &before,
        &expect![[r#"
            consumer1: topic1-0 topic1-1 topic2-0
            consumer2: topic1-2 topic2-1
            consumer3: topic1-3 topic2-2
            consumer4: topic1-4 topic2-3
        "#]],
    );
    let last = group.remove("consumer4").unwrap();
    group.insert("a-new-one".into(), last);
    let bounced = group.remove("consumer1").unwrap();
    group.insert("zzz".into(), bounced);
    let after = Assignor::Range.assign(&group, &counts);
    assert_eq!(after["zzz"], before["consumer1"]);
    assert_eq!(after["consumer2"], before["consumer2"]);
    assert_eq!(after["a-new-one"], before["consumer4"]);
}

// ---- Kafka: RoundRobinAssignorTest, and the examples in the documentation of RoundRobinAssignor ----

#[test]
fn round_robin_of_kafkas_examples() {
    let two = members(&[("C0", "t0 t1"), ("C1", "t0 t1")]);
    check(
        &Assignor::RoundRobin.assign(&two, &counts(&[("t0", 3), ("t1", 3)])),
        &expect![[r#"
            C0: t0-0 t0-2 t1-1
            C1: t0-1 t1-0 t1-2
        "#]],
    );
    let three = members(&[("C0", "t0"), ("C1", "t0 t1"), ("C2", "t0 t1 t2")]);
    check(
        &Assignor::RoundRobin.assign(&three, &counts(&[("t0", 1), ("t1", 2), ("t2", 3)])),
        &expect![[r#"
            C0: t0-0
            C1: t1-0
            C2: t1-1 t2-0 t2-1 t2-2
        "#]],
    );
}

// ---- Kafka: AbstractStickyAssignorTest, StickyAssignorTest, CooperativeStickyAssignorTest ----

#[test]
fn sticky_deals_out_in_turn_where_nobody_had_anything() {
    let two = members(&[("consumer1", "topic1 topic2"), ("consumer2", "topic1 topic2")]);
    check(
        &Assignor::Sticky.assign(&two, &counts(&[("topic1", 3), ("topic2", 3)])),
        &expect![[r#"
            consumer1: topic1-0 topic1-2 topic2-1
            consumer2: topic1-1 topic2-0 topic2-2
        "#]],
    );
    let mixed = members(&[
        ("consumer1", "topic1"),
        ("consumer2", "topic1 topic2"),
        ("consumer3", "topic1"),
    ]);
    check(
        &Assignor::Sticky.assign(&mixed, &counts(&[("topic1", 3), ("topic2", 2)])),
        &expect![[r#"
            consumer1: topic1-0 topic1-2
            consumer2: topic2-0 topic2-1
            consumer3: topic1-1
        "#]],
    );
}

#[test]
fn sticky_fills_up_those_that_have_less() {
    let topics = "topic1 topic2";
    let counts = counts(&[("topic1", 2), ("topic2", 3)]);
    // testConsumerOwningMinQuotaExpectedMaxQuota
    let mut group = members(&[("consumer1", topics), ("consumer2", topics)]);
    has(&mut group, "consumer1", assignment("topic1-0 topic2-1"), 1);
    has(&mut group, "consumer2", assignment("topic1-1 topic2-2"), 1);
    check(
        &Assignor::Sticky.assign(&group, &counts),
        &expect![[r#"
            consumer1: topic1-0 topic2-0 topic2-1
            consumer2: topic1-1 topic2-2
        "#]],
    );
    // testAllConsumersAreUnderMinQuota
    let mut group = members(&[("consumer1", topics), ("consumer2", topics), ("consumer3", topics)]);
    has(&mut group, "consumer1", assignment("topic1-0"), 1);
    has(&mut group, "consumer2", assignment("topic1-1"), 1);
    has(&mut group, "consumer3", Assignment::new(), 1);
    check(
        &Assignor::Sticky.assign(&group, &counts),
        &expect![[r#"
            consumer1: topic1-0 topic2-1
            consumer2: topic1-1 topic2-2
            consumer3: topic2-0
        "#]],
    );
}

/// Kafka: `testAddRemoveTwoConsumersTwoTopics`.
#[test]
fn sticky_gives_newcomers_their_share_and_takes_back_what_those_who_leave_had() {
    let topics = "topic1 topic2";
    let counts = counts(&[("topic1", 3), ("topic2", 4)]);
    let mut group = members(&[("consumer1", topics), ("consumer2", topics)]);
    let first = Assignor::Sticky.assign(&group, &counts);
    check(
        &first,
        &expect![[r#"
            consumer1: topic1-0 topic1-2 topic2-1 topic2-3
            consumer2: topic1-1 topic2-0 topic2-2
        "#]],
    );
    group.extend(members(&[("consumer3", topics), ("consumer4", topics)]));
    go_on(&mut group, &first, 1);
    let second = Assignor::Sticky.assign(&group, &counts);
    check(
        &second,
        &expect![[r#"
            consumer1: topic1-0 topic2-1
            consumer2: topic1-1 topic2-0
            consumer3: topic1-2 topic2-3
            consumer4: topic2-2
        "#]],
    );
    group.remove("consumer1");
    group.remove("consumer2");
    go_on(&mut group, &second, 2);
    check(
        &Assignor::Sticky.assign(&group, &counts),
        &expect![[r#"
            consumer3: topic1-0 topic1-2 topic2-1 topic2-3
            consumer4: topic1-1 topic2-0 topic2-2
        "#]],
    );
}

/// Kafka: `testPoorRoundRobinAssignmentScenario`: where round robin leaves one idle, each has two.
#[test]
fn sticky_is_even_where_round_robin_is_not() {
    let all = "topic1 topic2 topic3 topic4 topic5";
    let odd = "topic1 topic3 topic5";
    let group =
        members(&[("consumer1", all), ("consumer2", odd), ("consumer3", odd), ("consumer4", all)]);
    let counts =
        counts(&[("topic1", 2), ("topic2", 1), ("topic3", 2), ("topic4", 1), ("topic5", 2)]);
    check(
        &Assignor::RoundRobin.assign(&group, &counts),
        &expect![[r#"
            consumer1: topic1-0 topic3-0 topic5-0
            consumer2: topic1-1 topic3-1 topic5-1
            consumer3:
            consumer4: topic2-0 topic4-0
        "#]],
    );
    let given = Assignor::Sticky.assign(&group, &counts);
    let loads = loads(&given);
    assert_eq!(loads.values().copied().collect::<Vec<_>>(), [2, 2, 2, 2]);
}

/// Kafka: `testAssignmentWithMultipleGenerations1` and `testAssignmentWithConflictingPreviousGenerations`.
#[test]
fn of_two_that_say_they_had_a_partition_the_newer_generation_is_believed() {
    let mut group =
        members(&[("consumer1", "topic"), ("consumer2", "topic"), ("consumer3", "topic")]);
    has(&mut group, "consumer1", assignment("topic-0 topic-1 topic-4"), 1);
    has(&mut group, "consumer2", assignment("topic-0 topic-2 topic-3"), 1);
    has(&mut group, "consumer3", assignment("topic-3 topic-4 topic-5"), 2);
    let given = Assignor::Sticky.assign(&group, &counts(&[("topic", 6)]));
    assert_eq!(loads(&given).values().copied().collect::<Vec<_>>(), [2, 2, 2]);
    let newest = assignment("topic-3 topic-4 topic-5");
    assert!(given["consumer3"]["topic"].is_subset(&newest["topic"]), "{}", text(&given));
    assert!(given["consumer1"]["topic"].contains(&PartitionIndex::new(1)));
    assert!(given["consumer2"]["topic"].contains(&PartitionIndex::new(2)));
}

/// Kafka: `testOnlyAssignsPartitionsFromSubscribedTopics`, `testAllConsumersHaveOwnedPartitionInvalidatedWhenClaimedByMultipleConsumersInSameGenerationWithEqualPartitionsPerConsumer`.
#[test]
fn what_two_of_one_generation_hold_goes_to_nobody_before_both_gave_it_up() {
    let mut group =
        members(&[("consumer1", "topic"), ("consumer2", "topic"), ("consumer3", "topic")]);
    has(&mut group, "consumer1", assignment("topic-0 topic-1 other-3"), 1);
    has(&mut group, "consumer2", assignment("topic-0 topic-2"), 1);
    let counts = counts(&[("topic", 3), ("other", 1)]);
    let first = Assignor::CooperativeSticky.assign(&group, &counts);
    check(
        &first,
        &expect![[r#"
            consumer1: topic-1
            consumer2: topic-2
            consumer3:
        "#]],
    );
    go_on(&mut group, &first, 2);
    check(
        &Assignor::CooperativeSticky.assign(&group, &counts),
        &expect![[r#"
            consumer1: topic-1
            consumer2: topic-2
            consumer3: topic-0
        "#]],
    );
}

/// Kafka: `CooperativeStickyAssignorTest.testAllConsumersReachExpectedQuotaAndAreConsideredFilled` and others: what moves is given up
/// in one generation and given in the next.
#[test]
fn cooperative_sticky_needs_two_generations_to_move_a_partition() {
    let mut group = members(&[("consumer1", "topic")]);
    let counts = counts(&[("topic", 3)]);
    let first = Assignor::CooperativeSticky.assign(&group, &counts);
    go_on(&mut group, &first, 1);
    group.extend(members(&[("consumer2", "topic")]));
    let second = Assignor::CooperativeSticky.assign(&group, &counts);
    check(
        &second,
        &expect![[r#"
            consumer1: topic-0 topic-1
            consumer2:
        "#]],
    );
    go_on(&mut group, &second, 2);
    check(
        &Assignor::CooperativeSticky.assign(&group, &counts),
        &expect![[r#"
            consumer1: topic-0 topic-1
            consumer2: topic-2
        "#]],
    );
}

/// Nobody is next to who has too much; the partition that is too many goes over one in between, and back the other way round another
/// stays where it was.
#[test]
fn sticky_levels_along_chains_of_readers() {
    let mut group = members(&[("a", "t1"), ("b", "t1 t2"), ("c", "t2 t3"), ("d", "t3")]);
    has(&mut group, "a", assignment("t1-0 t1-1 t1-2"), 1);
    has(&mut group, "b", assignment("t2-0 t2-1"), 1);
    has(&mut group, "c", assignment("t3-0 t3-1"), 1);
    check(
        &Assignor::Sticky.assign(&group, &counts(&[("t1", 3), ("t2", 2), ("t3", 2)])),
        &expect![[r#"
            a: t1-0 t1-1
            b: t1-2 t2-0
            c: t2-1 t3-0
            d: t3-1
        "#]],
    );
}

#[test]
fn nobody_and_nothing_are_no_trouble() {
    for assignor in Assignor::ALL {
        assert_eq!(assignor.assign(&Members::new(), &counts(&[("t", 3)])), Assignments::new());
        let idle = members(&[("a", ""), ("b", "missing empty")]);
        let none = [("a".into(), Assignment::new()), ("b".into(), Assignment::new())];
        assert_eq!(assignor.assign(&idle, &counts(&[("empty", 0), ("t", 3)])), none.into());
        let some = members(&[("a", ""), ("b", "t missing")]);
        let given = assignor.assign(&some, &counts(&[("t", 3)]));
        assert_eq!(loads(&given).values().copied().collect::<Vec<_>>(), [0, 3]);
    }
}

// ---- formats ----

/// The bytes are written down by hand from Kafka's schemas.
#[test]
fn formats_are_kafkas() {
    let subscription = Subscription {
        topics: ["a".into(), "b".into()].into(),
        user_data: Some(Bytes::from_static(b"u")),
        owned: assignment("a-0 a-2"),
        generation: Some(GenerationId::new(7)),
        rack: Some("r".into()),
    };
    let common: &[u8] = b"\0\0\0\x02\0\x01a\0\x01b\0\0\0\x01u";
    let owned: &[u8] = b"\0\0\0\x01\0\x01a\0\0\0\x02\0\0\0\0\0\0\0\x02";
    let generation: &[u8] = b"\0\0\0\x07";
    let rack: &[u8] = b"\0\x01r";
    let expected: [Vec<u8>; 4] = [
        [b"\0\0", common].concat(),
        [b"\0\x01", common, owned].concat(),
        [b"\0\x02", common, owned, generation].concat(),
        [b"\0\x03", common, owned, generation, rack].concat(),
    ];
    for (version, expected) in (0..).zip(&expected) {
        assert_eq!(subscription_bytes(&subscription, version).unwrap(), *expected);
    }
    assert_eq!(read_subscription(expected[3].clone().into()).unwrap(), subscription);
    let oldest = read_subscription(expected[0].clone().into()).unwrap();
    assert_eq!((oldest.topics.len(), oldest.generation), (2, None));
    // A version to come has more at its end.
    let newer = [b"\0\x09", common, owned, generation, rack, b"more"].concat();
    assert_eq!(read_subscription(newer.into()).unwrap(), subscription);
    for version in 0..=NEWEST {
        let bytes = assignment_bytes(&assignment("a-0 a-2"), version).unwrap();
        let expected = [b"\0", &[u8::try_from(version).unwrap()], owned, b"\xff\xff\xff\xff"];
        assert_eq!(bytes, expected.concat());
        assert_eq!(read_assignment(bytes).unwrap(), assignment("a-0 a-2"));
    }
    assert!(assignment_bytes(&assignment("a-0"), 4).is_err());
}

/// Kafka: `StickyAssignor.STICKY_ASSIGNOR_USER_DATA_V1` and `_V0`, `CooperativeStickyAssignor.COOPERATIVE_STICKY_ASSIGNOR_USER_DATA_V0`.
#[test]
fn user_data_is_kafkas() {
    let held = assignment("a-0 a-2");
    let last = Some((&held, GenerationId::new(7)));
    let older: &[u8] = b"\0\0\0\x01\0\x01a\0\0\0\x02\0\0\0\0\0\0\0\x02";
    let newer = [older, b"\0\0\0\x07"].concat();
    assert_eq!(Assignor::Sticky.user_data(last), Some(newer.clone().into()));
    assert_eq!(Assignor::Sticky.user_data(None), None);
    assert_eq!(Assignor::Range.user_data(last), None);
    assert_eq!(Assignor::CooperativeSticky.user_data(last).as_deref(), Some(&b"\0\0\0\x07"[..]));
    assert_eq!(Assignor::CooperativeSticky.user_data(None).as_deref(), Some(&[0xff; 4][..]));
    let read = |user_data: &[u8]| {
        let user_data = Some(Bytes::copy_from_slice(user_data));
        let subscription = Subscription { user_data, ..Subscription::default() };
        super::protocol::read_sticky_user_data(&subscription)
    };
    assert_eq!(read(&newer), (held.clone(), Some(GenerationId::new(7))));
    assert_eq!(read(older), (held, None));
    assert_eq!(read(b"\xffnonsense"), (Assignment::new(), None));
    assert_eq!(read(b""), (Assignment::new(), None));
}

// ---- properties ----

fn loads(assignments: &Assignments) -> BTreeMap<&Arc<str>, usize> {
    let load = |assignment: &Assignment| assignment.values().map(BTreeSet::len).sum();
    assignments.iter().map(|(id, assignment)| (id, load(assignment))).collect()
}

fn topic(number: u8) -> Arc<str> {
    format!("t{number}").into()
}

/// Topics 0 to 2 with few partitions.
fn any_counts() -> impl Strategy<Value = PartitionCounts> {
    [0..4u32, 0..4, 0..3].prop_map(|counts| (0..3u8).map(topic).zip(counts).collect())
}

/// Partitions, some of which do not exist.
fn any_assignment() -> impl Strategy<Value = Assignment> {
    prop::collection::btree_set((0..4u8, 0..5i32), 0..6).prop_map(|places| {
        let mut assignment = Assignment::new();
        for (number, index) in places {
            assignment.entry(topic(number)).or_default().insert(PartitionIndex::new(index));
        }
        assignment
    })
}

fn any_members(alike: bool) -> impl Strategy<Value = Members> {
    let reads = prop::collection::btree_set(0..3u8, 0..4);
    let member = (reads.clone(), any_assignment(), 0..3i32, any::<bool>());
    (prop::collection::btree_map(0..4u8, member, 1..4), reads).prop_map(
        move |(members, all_read)| {
            let mut group = Members::new();
            for (number, (reads, held, generation, is_static)) in members {
                let reads = if alike { &all_read } else { &reads };
                let topics = reads.iter().map(|number| topic(*number)).collect();
                let id: Arc<str> = format!("m{number}").into();
                let instance = is_static.then(|| format!("i{}", 9 - number).into());
                let subscription = Subscription { topics, ..Subscription::default() };
                group.insert(id.clone(), Member { instance, subscription });
                if generation > 0 {
                    has(&mut group, &id, held, generation);
                }
            }
            group
        },
    )
}

fn any_group() -> impl Strategy<Value = Members> {
    any::<bool>().prop_flat_map(any_members)
}

/// The partitions of topics that somebody reads.
fn all_read(members: &Members, counts: &PartitionCounts) -> BTreeSet<Place> {
    let is_read =
        |topic: &Arc<str>| members.values().any(|m| m.subscription.topics.contains(topic));
    let read = counts.iter().filter(|(topic, _)| is_read(topic));
    read.flat_map(|(topic, count)| {
        (0..i32::try_from(*count).unwrap()).map(|index| (topic.clone(), index))
    })
    .collect()
}

/// G2: nothing is given twice, or to somebody who does not read it. Returns what is given.
fn check_legal(
    members: &Members,
    assignments: &Assignments,
) -> Result<BTreeSet<Place>, TestCaseError> {
    prop_assert!(assignments.keys().eq(members.keys()));
    let mut given = BTreeSet::new();
    for (id, assignment) in assignments {
        for (topic, partitions) in assignment {
            prop_assert!(!partitions.is_empty());
            prop_assert!(members[id].subscription.topics.contains(topic), "{id} reads no {topic}");
            for partition in partitions {
                prop_assert!(given.insert((topic.clone(), partition.value())), "given twice");
            }
        }
    }
    Ok(given)
}

/// Who held each partition: of those that say so the one of the newest generation, if there is one.
fn holders(members: &Members) -> BTreeMap<Place, Arc<str>> {
    let mut claims: BTreeMap<Place, Vec<(GenerationId, Arc<str>)>> = BTreeMap::new();
    for (id, member) in members {
        let Some(generation) = member.subscription.generation else { continue };
        for (topic, partitions) in &member.subscription.owned {
            for partition in partitions {
                let claims = claims.entry((topic.clone(), partition.value())).or_default();
                claims.push((generation, id.clone()));
            }
        }
    }
    let believed = claims.into_iter().filter_map(|(place, claims)| {
        let newest = claims.iter().map(|(generation, _)| *generation).max()?;
        let mut of_newest = claims.into_iter().filter(|(generation, _)| *generation == newest);
        let (_, holder) = of_newest.next()?;
        of_newest.next().is_none().then_some((place, holder))
    });
    believed.collect()
}

/// How uneven an assignment is, and how many partitions leave who held them.
fn cost(loads: &[usize], moved: usize) -> (usize, usize) {
    (loads.iter().map(|load| load * load).sum(), moved)
}

/// The least cost of all assignments, by trying each.
fn least_cost(members: &Members, counts: &PartitionCounts) -> (usize, usize) {
    let holders = holders(members);
    let names: Vec<&Arc<str>> = members.keys().collect();
    let places: Vec<Place> = all_read(members, counts).into_iter().collect();
    let mut open = vec![(0, vec![0usize; names.len()], 0)];
    let mut least = (usize::MAX, usize::MAX);
    while let Some((next, loads, moved)) = open.pop() {
        let Some(place) = places.get(next) else {
            least = least.min(cost(&loads, moved));
            continue;
        };
        for (number, name) in names.iter().enumerate() {
            let subscription = &members[*name].subscription;
            if !subscription.topics.contains(&place.0) {
                continue;
            }
            let mut loads = loads.clone();
            loads[number] += 1;
            let holder = holders.get(place);
            let may_stay =
                holder.is_some_and(|h| members[h].subscription.topics.contains(&place.0));
            let moves = may_stay && holder != Some(name);
            open.push((next + 1, loads, moved + usize::from(moves)));
        }
    }
    least
}

proptest! {
    #[test]
    fn each_partition_that_is_read_is_given_once(group in any_group(), counts in any_counts()) {
        for assignor in [Assignor::Range, Assignor::RoundRobin, Assignor::Sticky] {
            let given = check_legal(&group, &assignor.assign(&group, &counts))?;
            prop_assert_eq!(given, all_read(&group, &counts), "{}", assignor.name());
        }
    }

    /// Two readers of a topic differ by one partition of it at most.
    #[test]
    fn range_is_even_in_each_topic(group in any_group(), counts in any_counts()) {
        let given = Assignor::Range.assign(&group, &counts);
        for topic in counts.keys() {
            let readers = group.iter().filter(|(_, m)| m.subscription.topics.contains(topic));
            let of_topic = readers.map(|(id, _)| given[id].get(topic).map_or(0, BTreeSet::len));
            let of_topic: Vec<usize> = of_topic.collect();
            let (min, max) = (of_topic.iter().min(), of_topic.iter().max());
            prop_assert!(max.unwrap_or(&0) - min.unwrap_or(&0) <= 1, "{of_topic:?}");
        }
    }

    #[test]
    fn round_robin_is_even_where_all_read_the_same(
        group in any_members(true), counts in any_counts(),
    ) {
        let given = Assignor::RoundRobin.assign(&group, &counts);
        let loads: Vec<usize> = loads(&given).into_values().collect();
        prop_assert!(loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 1);
    }

    /// No assignment is more even, and none that is as even moves less.
    #[test]
    fn sticky_is_the_optimum(group in any_group(), counts in any_counts()) {
        let given = Assignor::Sticky.assign(&group, &counts);
        let holders = holders(&group);
        let mut moved = 0;
        for (id, assignment) in &given {
            for (topic, partitions) in assignment {
                for partition in partitions {
                    let holder = holders.get(&(topic.clone(), partition.value()));
                    moved += usize::from(holder.is_some_and(|holder| {
                        holder != id && group[holder].subscription.topics.contains(topic)
                    }));
                }
            }
        }
        let loads: Vec<usize> = loads(&given).into_values().collect();
        prop_assert_eq!(cost(&loads, moved), least_cost(&group, &counts), "{}", text(&given));
    }

    /// Nobody is given what somebody else holds; and once all gave up what they were not given, the next generation is what the
    /// eager assignor would have made of it, and the last.
    #[test]
    fn cooperative_sticky_gives_only_what_nobody_else_holds(
        group in any_group(), counts in any_counts(),
    ) {
        let first = Assignor::CooperativeSticky.assign(&group, &counts);
        check_legal(&group, &first)?;
        let holders = holders(&group);
        for (id, assignment) in &first {
            for (topic, partitions) in assignment {
                for partition in partitions {
                    let place = (topic.clone(), partition.value());
                    let others = group.iter().filter(|(other, m)| {
                        *other != id && m.subscription.generation.is_some()
                            && m.subscription.owned.get(topic).is_some_and(|o| o.contains(partition))
                    });
                    prop_assert!(others.count() == 0 || holders.get(&place) == Some(id));
                }
            }
        }
        let mut group = group;
        go_on(&mut group, &first, 5);
        let second = Assignor::CooperativeSticky.assign(&group, &counts);
        prop_assert_eq!(check_legal(&group, &second)?, all_read(&group, &counts));
        for (id, assignment) in &first {
            for (topic, partitions) in assignment {
                let now = second[id].get(topic);
                prop_assert!(now.is_some_and(|now| partitions.is_subset(now)), "it moved again");
            }
        }
        go_on(&mut group, &second, 6);
        prop_assert_eq!(Assignor::CooperativeSticky.assign(&group, &counts), second.clone());
        prop_assert_eq!(Assignor::Sticky.assign(&group, &counts), second);
    }

    #[test]
    fn formats_read_back(group in any_group(), rack: Option<bool>, version in 0..=NEWEST) {
        for member in group.into_values() {
            let rack = rack.map(|_| "rack".into());
            let subscription = Subscription { rack, ..member.subscription };
            let bytes = subscription_bytes(&subscription, version).unwrap();
            let read = read_subscription(bytes).unwrap();
            let expected = Subscription {
                owned: if version >= 1 { subscription.owned } else { Assignment::new() },
                generation: subscription.generation.filter(|_| version >= 2),
                rack: subscription.rack.filter(|_| version >= 3),
                ..subscription
            };
            prop_assert_eq!(&read, &expected);
            let bytes = assignment_bytes(&expected.owned, version).unwrap();
            prop_assert_eq!(read_assignment(bytes).unwrap(), expected.owned);
        }
    }

    #[test]
    fn hostile_bytes_are_errors(bytes: Vec<u8>, version in -1..6i16) {
        let bytes = [&version.to_be_bytes()[..], &bytes].concat();
        _ = read_subscription(bytes.clone().into());
        _ = read_assignment(bytes.clone().into());
        let user_data = Some(bytes.into());
        let subscription = Subscription { user_data, ..Subscription::default() };
        _ = super::protocol::read_sticky_user_data(&subscription);
        _ = super::protocol::read_cooperative_user_data(&subscription);
    }
}
