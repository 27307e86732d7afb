//! Groups whose coordinator assigns (KIP-848): its ways of assigning, and a whole group that comes into being.
#![expect(clippy::unwrap_used, reason = "benchmarks: a failure is a panic")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use divan::{Bencher, black_box};
use ottla::coordinator::group::assignor::{Assignment, Assignor, Subscriber};
use ottla::coordinator::group::request::{
    ConsumerGroupHeartbeat, HeartbeatAnswer, HeartbeatEpoch, TopicInfo,
};
use ottla::coordinator::group::{Reply, Request};
use ottla::types::TopicId;

use crate::assignors::{MEMBERS, PARTITIONS_OF_EACH, READINGS, Reading, TOPICS};
use crate::groups::Driven;

fn topic(number: usize) -> TopicId {
    TopicId::from_bytes((number as u128 + 100).to_be_bytes())
}

fn name(number: usize) -> Arc<str> {
    format!("topic-{number:03}").into()
}

fn member(number: usize) -> Arc<str> {
    format!("member-{number:04}").into()
}

fn subscribers(reading: Reading) -> BTreeMap<Arc<str>, Subscriber> {
    let one = |number| {
        let topics = reading.topics_of(number).map(topic).collect();
        Subscriber { topics, ..Subscriber::default() }
    };
    (0..MEMBERS).map(|number| (member(number), one(number))).collect()
}

fn counts() -> BTreeMap<TopicId, u32> {
    (0..TOPICS).map(|number| (topic(number), PARTITIONS_OF_EACH)).collect()
}

#[divan::bench(args = READINGS)]
fn range(bencher: Bencher<'_, '_>, reading: Reading) {
    first(bencher, Assignor::Range, reading);
}

#[divan::bench(args = READINGS)]
fn uniform_first(bencher: Bencher<'_, '_>, reading: Reading) {
    first(bencher, Assignor::Uniform, reading);
}

/// A tenth of the members is new.
#[divan::bench(args = READINGS)]
fn uniform_again(bencher: Bencher<'_, '_>, reading: Reading) {
    let (mut members, counts) = (subscribers(reading), counts());
    let assigned = Assignor::Uniform.assign(&members, &counts);
    for (number, (id, assignment)) in assigned.into_iter().enumerate() {
        if number % 10 != 0 {
            members.get_mut(&id).unwrap().before = Arc::new(assignment);
        }
    }
    bencher.bench(|| Assignor::Uniform.assign(black_box(&members), black_box(&counts)));
}

fn first(bencher: Bencher<'_, '_>, assignor: Assignor, reading: Reading) {
    let (members, counts) = (subscribers(reading), counts());
    bencher.bench(|| assignor.assign(black_box(&members), black_box(&counts)));
}

/// What a member knows of itself.
#[derive(Default)]
struct Known {
    epoch: i32,
    has: Assignment,
    is_told: bool,
}

fn heartbeat(number: usize, known: &Known) -> Request {
    let joins = known.epoch == 0;
    Request::ConsumerGroupHeartbeat(ConsumerGroupHeartbeat {
        group: "billing".into(),
        member: Some(member(number)),
        may_lack_member_id: false,
        epoch: if joins { HeartbeatEpoch::Join } else { HeartbeatEpoch::At(known.epoch) },
        instance: None,
        rack: None,
        client_id: "bench".into(),
        client_host: "/127.0.0.1".into(),
        rebalance_timeout: joins.then_some(Duration::from_secs(300)),
        topics: joins.then(|| (0..10).map(name).collect()),
        topic_regex: None,
        assignor: None,
        owned: (joins || known.is_told).then(|| known.has.clone()),
    })
}

/// Members send heartbeats in turn until nobody is told anything new.
fn settle(driven: &mut Driven, members: &mut [Known]) {
    loop {
        let mut is_quiet = true;
        for (number, known) in members.iter_mut().enumerate() {
            let token = driven.ask(heartbeat(number, known));
            let Some(Reply::ConsumerGroupHeartbeat(Ok(answer))) = driven.replies.remove(&token)
            else {
                panic!("members are answered at once");
            };
            let HeartbeatAnswer { member_epoch, assignment, .. } = answer;
            is_quiet &= assignment.is_none() && known.epoch == member_epoch && !known.is_told;
            known.epoch = member_epoch;
            known.is_told = assignment.is_some();
            if let Some(assignment) = assignment {
                known.has = assignment;
            }
        }
        if is_quiet {
            return;
        }
    }
}

fn group_of(count: usize) -> (Driven, Vec<Known>) {
    let mut driven = Driven::new();
    let info = |number| TopicInfo { id: topic(number), partitions: PARTITIONS_OF_EACH };
    let topics = (0..10).map(|number| (name(number), info(number))).collect();
    driven.coordinator.on_topics(Arc::new(topics));
    let mut members: Vec<Known> = (0..count).map(|_| Known::default()).collect();
    settle(&mut driven, &mut members);
    (driven, members)
}

/// A group of 100 members comes into being, and shares 1,000 partitions: all heartbeats until it is quiet.
#[divan::bench]
fn first_rebalance(bencher: Bencher<'_, '_>) {
    let (_, members) = group_of(100);
    assert!(members.iter().all(|known| known.has.values().flatten().count() == 10));
    bencher.bench(|| group_of(black_box(100)));
}

/// The hundredth member comes: all heartbeats until it has its share.
#[divan::bench]
fn next_rebalance(bencher: Bencher<'_, '_>) {
    bencher.with_inputs(|| group_of(99)).bench_values(|(mut driven, mut members)| {
        members.push(Known::default());
        settle(&mut driven, &mut members);
        driven
    });
}
