//! Who reads what in a group of 1,000 members and 10,000 partitions: what the group's leader does in each rebalance.

use std::collections::BTreeMap;
use std::sync::Arc;

use divan::{Bencher, black_box};
use ottla::client::consumer::assignors::{
    Assignment, Assignor, Member, Members, PartitionCounts, Subscription,
};
use ottla::types::GenerationId;

pub(crate) const MEMBERS: usize = 1_000;
pub(crate) const TOPICS: usize = 100;
pub(crate) const PARTITIONS_OF_EACH: u32 = 100;

/// What the members read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reading {
    /// All the same.
    Alike,
    /// Half of the topics each, of which no two neighbours have the same.
    Halves,
}

pub(crate) const READINGS: [Reading; 2] = [Reading::Alike, Reading::Halves];

impl Reading {
    /// The numbers of the topics that a member reads.
    pub(crate) fn topics_of(self, member: usize) -> impl Iterator<Item = usize> {
        let (first, count) = match self {
            Self::Alike => (0, TOPICS),
            Self::Halves => (member, TOPICS / 2),
        };
        (first..first + count).map(|number| number % TOPICS)
    }
}

fn topic(number: usize) -> Arc<str> {
    format!("topic-{number:03}").into()
}

fn counts() -> PartitionCounts {
    (0..TOPICS).map(|number| (topic(number), PARTITIONS_OF_EACH)).collect()
}

fn group(reading: Reading) -> Members {
    let topics: Vec<Arc<str>> = (0..TOPICS).map(topic).collect();
    let member = |number: usize| {
        let topics = reading.topics_of(number).map(|topic| topics[topic].clone()).collect();
        let subscription = Subscription { topics, ..Subscription::default() };
        Member { instance: None, subscription }
    };
    (0..MEMBERS).map(|number| (format!("member-{number:04}").into(), member(number))).collect()
}

/// The same group after a tenth of the members was replaced by new ones.
fn later(mut group: Members, assignments: BTreeMap<Arc<str>, Assignment>) -> Members {
    let generation = GenerationId::new(1);
    for (number, (id, assignment)) in assignments.into_iter().enumerate() {
        let member = group.get_mut(&id).expect("each got something");
        if number % 10 == 0 {
            continue;
        }
        let last = Some((&assignment, generation));
        member.subscription.user_data = Assignor::Sticky.user_data(last);
        member.subscription.generation = Some(generation);
        member.subscription.owned = assignment;
    }
    group
}

#[divan::bench(args = READINGS)]
fn range(bencher: Bencher<'_, '_>, reading: Reading) {
    first(bencher, Assignor::Range, reading);
}

#[divan::bench(args = READINGS)]
fn round_robin(bencher: Bencher<'_, '_>, reading: Reading) {
    first(bencher, Assignor::RoundRobin, reading);
}

#[divan::bench(args = READINGS)]
fn sticky_first(bencher: Bencher<'_, '_>, reading: Reading) {
    first(bencher, Assignor::Sticky, reading);
}

#[divan::bench(args = READINGS)]
fn sticky_again(bencher: Bencher<'_, '_>, reading: Reading) {
    again(bencher, Assignor::Sticky, reading);
}

#[divan::bench(args = READINGS)]
fn cooperative_sticky_again(bencher: Bencher<'_, '_>, reading: Reading) {
    again(bencher, Assignor::CooperativeSticky, reading);
}

fn first(bencher: Bencher<'_, '_>, assignor: Assignor, reading: Reading) {
    let (group, counts) = (group(reading), counts());
    bencher.bench(|| assignor.assign(black_box(&group), black_box(&counts)));
}

fn again(bencher: Bencher<'_, '_>, assignor: Assignor, reading: Reading) {
    let (group, counts) = (group(reading), counts());
    let assignments = assignor.assign(&group, &counts);
    let group = later(group, assignments);
    bencher.bench(|| assignor.assign(black_box(&group), black_box(&counts)));
}
