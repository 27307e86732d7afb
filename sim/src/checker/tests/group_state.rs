//! What people are told of groups at a moment.

use std::time::Duration;

use expect_test::{Expect, expect};
use ottla::types::{
    Committer, ConsumerPhase, GroupObservation as G, GroupPhase, GroupProtocol, MemberEnd,
    ShortName, TopicPartition,
};

use super::cluster::{Run, version};
use super::groups::{at, audit, coordinator, generation, member as committer, name, orders};
use super::*;
use crate::checker::Stop;
use crate::checker::group_state::{Reader, clients, coordinated, member};
use crate::history::{Commit, CommitOutcome, History, SharedHistory};

const A: &str = "billing/0-1b2c3d4e-5f6a-4b7c-8d9e-000000000000";
const B: &str = "billing/1-2b2c3d4e-5f6a-4b7c-8d9e-000000000000";

/// A coordinator that speaks of a group, and clients that read in it.
struct Story {
    run: Run,
    node: i32,
    epoch: i32,
    history: SharedHistory,
}

impl Story {
    /// Broker 1 has read its log; there are two clients.
    fn begin() -> Self {
        let mut run = Run::settled();
        for index in 0..3 {
            run.say(1, at(orders(index), version(0, 1, 0, &[1, 2, 3])));
        }
        run.checkers.name_topic(orders(0).topic_id, "orders");
        let now = run.now();
        run.checkers.begin(now);
        let history = SharedHistory::default();
        for client in ["billing/0", "billing/1"] {
            history.begin_membership(&client.into(), &"audit".into());
        }
        let mut story = Self { run, node: 1, epoch: 0, history };
        story.say(G::Loaded { partition: partition(), end_offset: Offset::new(2) });
        story
    }

    fn say(&mut self, what: G) -> &mut Self {
        let (node, term) = (self.node, coordinator(self.epoch));
        self.run.say(node, Observation::Group { term, what });
        self
    }

    /// A client sees which member it is.
    fn sees(&mut self, client: &str, member: &str, of: i32, has: &[i32]) -> &mut Self {
        let now = self.run.now();
        self.history.note_membership(&client.into(), |known| {
            known.seen = Some((name(member), generation(of), now));
            known.partitions = has.iter().map(|index| place(*index)).collect();
        });
        self
    }

    fn commit(&mut self, by: Committer, index: i32, offset: i64) -> &mut Self {
        let (partition, offset) = (orders(index), Offset::new(offset));
        let protocol = GroupProtocol::Classic;
        let (group, committer) = (audit(), by);
        self.say(G::OffsetCommitted { group, protocol, partition, offset, committer })
    }

    fn told(&mut self, index: i32, offset: i64) -> &mut Self {
        let (partition, offset) = (orders(index), Offset::new(offset));
        self.say(G::CommitTold { group: audit(), partition, offset })
    }

    fn phase(&mut self, phase: GroupPhase, of: i32) -> &mut Self {
        let (group, generation, limit) = (audit(), generation(of), Duration::from_secs(60));
        self.say(G::PhaseChanged { group, phase, generation, limit })
    }

    fn came(&mut self, member: &str, instance: Option<&str>) -> &mut Self {
        let instance = instance.map(ShortName::of);
        self.say(G::MemberCame { group: audit(), member: name(member), instance })
    }

    /// A member joins the first generation, and is told what it has.
    fn joins(&mut self, member: &str, partitions: &[i32]) -> &mut Self {
        let (group, member, generation) = (audit(), name(member), generation(1));
        self.say(G::JoinAnswered { group, member, generation });
        self.say(G::AssignmentGiven { group, member, generation, hash: 7 });
        for index in partitions {
            let partition = orders(*index);
            self.say(G::PartitionGiven { group, member, generation, partition });
        }
        self
    }

    /// A group of the classic protocol: its second member was not told yet what it has.
    fn classic() -> Self {
        let mut story = Self::begin();
        story.came(A, Some("billing-0")).came(B, None).phase(GroupPhase::PreparingRebalance, 0);
        let (group, generation) = (audit(), generation(1));
        let assignor = Some(name("range"));
        story.say(G::GenerationBegan { group, generation, members: 2, assignor });
        story.phase(GroupPhase::CompletingRebalance, 1);
        story.joins(A, &[0, 2]).joins(B, &[1]).phase(GroupPhase::Stable, 1);
        story.say(G::AssignmentTold { group, member: name(A), generation, hash: 7 });
        story.sees("billing/0", A, 1, &[0, 2]);
        story
    }

    /// A group of the consumer protocol: its first member is to give up a partition to the second.
    fn consumer() -> Self {
        let mut story = Self::begin();
        let (group, limit) = (audit(), Duration::from_secs(60));
        for (member, target) in [("x", 0), ("y", 1)] {
            let (member, partition) = (name(member), orders(target));
            story.say(G::ConsumerCame { group, member, instance: None });
            story.say(G::TargetBegan { group, member });
            story.say(G::PartitionTargeted { group, member, partition });
        }
        let (x, epoch, since) = (name("x"), Some(generation(1)), Some(generation(1)));
        story.say(G::EpochReached { group, member: x, epoch });
        for (index, is_given_up) in [(0, false), (1, true)] {
            let partition = orders(index);
            story.say(G::PartitionHeld { group, member: x, partition, since, is_given_up });
        }
        let (phase, of) = (ConsumerPhase::Reconciling, generation(2));
        story.say(G::GroupStands { group, phase, epoch: of, target_epoch: of, limit });
        story.say(G::EpochTold { group, member: x, epoch: generation(1) });
        story.sees("billing/0", "x", 1, &[0, 1]);
        story
    }

    /// Broker 2 leads the log now, and has read this offset of partition 0.
    fn taken_over(&mut self, read: i64) -> &mut Self {
        self.run.change_at(2, version(1, 2, 1, &[2, 3])).leads(2, 1, 2, &[2, 3]);
        (self.node, self.epoch) = (2, 1);
        let (group, protocol) = (audit(), GroupProtocol::Classic);
        self.say(G::GroupLoaded { group, protocol, generation: generation(1), members: 0 });
        let (partition, offset) = (orders(0), Offset::new(read));
        self.say(G::OffsetLoaded { group, partition, offset });
        self.phase(GroupPhase::Empty, 1);
        self.say(G::Loaded { partition: super::partition(), end_offset: Offset::new(2) })
    }

    #[track_caller]
    fn shows(&self, node: u32, expected: Expect) {
        let clients = clients(&self.history.lock());
        shown(&coordinated(self.run.checkers.ghost(), NodeId(node), &clients), expected);
    }

    #[track_caller]
    fn shows_member(&self, client: &str, runs: bool, expected: Expect) {
        let reader = Reader { client, group: "audit", runs };
        shown(&member(self.run.checkers.ghost(), &self.history.lock(), reader), expected);
    }
}

#[track_caller]
fn shown(rows: &[String], expected: Expect) {
    expected.assert_eq(&rows.iter().map(|row| format!("{row}\n")).collect::<String>());
}

fn place(index: i32) -> TopicPartition {
    TopicPartition { topic: "orders".into(), partition: PartitionIndex::new(index) }
}

#[test]
fn a_coordinator_says_of_a_classic_group_who_has_what_and_what_is_committed() {
    let mut story = Story::classic();
    story.commit(committer(A, 1), 0, 12).told(0, 12).commit(committer(B, 1), 1, 9).told(1, 9);
    story.commit(committer(A, 1), 0, 14).commit(committer(A, 1), 0, 15);
    story.commit(committer(A, 1), 2, 3);
    story.shows(
        1,
        expect![[r#"

        groups       coordinates __consumer_offsets-0 in epoch 0, which it read up to 2
        group        audit, classic: Stable in generation 1 since 0.014s, assigned by range
          members    billing/0-1b2c3d4e-…bbdc0b3e, client billing/0, static billing-0
                       joined generation 1; told its assignment in generation 1
                       given in generation 1: orders-0, orders-2
                     billing/1-2b2c3d4e-…e56e8e7c, client not known
                       joined generation 1; told of no assignment by this coordinator
                       given in generation 1: orders-1
          committed  partitions: 3, told last at 0.019s
                       orders-0 at 12 (taken since: 2, the last 15), orders-1 at 9,
                       orders-2 nothing (taken since: 3)
                       (taken: in a coordinator's log; nobody was told that it is stored)
    "#]],
    );
    story.say(G::MemberGone { group: audit(), member: name(B), end: MemberEnd::Silent });
    story.phase(GroupPhase::PreparingRebalance, 1);
    story.shows(1, expect![[r#"

        groups       coordinates __consumer_offsets-0 in epoch 0, which it read up to 2
        group        audit, classic: PreparingRebalance in generation 1 since 0.024s, for 60s at most, assigned by range
          members    billing/0-1b2c3d4e-…bbdc0b3e, client billing/0, static billing-0
                       joined generation 1; told its assignment in generation 1
                       given in generation 1: orders-0, orders-2
          committed  partitions: 3, told last at 0.019s
                       orders-0 at 12 (taken since: 2, the last 15), orders-1 at 9,
                       orders-2 nothing (taken since: 3)
                       (taken: in a coordinator's log; nobody was told that it is stored)
    "#]]);
}

#[test]
fn a_coordinator_says_of_a_consumer_group_what_each_has_and_is_to_have() {
    let mut story = Story::consumer();
    story.shows(1, expect![[r#"

        groups       coordinates __consumer_offsets-0 in epoch 0, which it read up to 2
        group        audit, consumer: Reconciling in epoch 2 since 0.011s, the assignment is of epoch 2
          members    x, client billing/0
                       in epoch 1; told of epoch 1
                       has: orders-0
                       has, and is to give up: orders-1
                       is to have: orders-0
                     y, client not known
                       in no epoch (new, or static and away); told of none by this coordinator
                       has: nothing
                       is to have: orders-1
          committed  nothing known of any offset
    "#]]);
    let (group, x, y) = (audit(), name("x"), name("y"));
    let of = generation(2);
    for (member, index) in [(x, 0), (y, 1)] {
        let (partition, since) = (orders(index), Some(of));
        story.say(G::EpochReached { group, member, epoch: Some(of) });
        let is_given_up = false;
        story.say(G::PartitionHeld { group, member, partition, since, is_given_up });
        story.say(G::EpochTold { group, member, epoch: of });
    }
    let (phase, limit) = (ConsumerPhase::Stable, Duration::from_secs(60));
    story.say(G::GroupStands { group, phase, epoch: of, target_epoch: of, limit });
    story.commit(committer("y", 2), 1, 4).told(1, 4);
    story.shows(
        1,
        expect![[r#"

            groups       coordinates __consumer_offsets-0 in epoch 0, which it read up to 2
            group        audit, consumer: Stable in epoch 2 since 0.019s, the assignment is of epoch 2
              members    x, client billing/0
                           in epoch 2; told of epoch 2
                           has, and is to have: orders-0
                         y, client not known
                           in epoch 2; told of epoch 2
                           has, and is to have: orders-1
              committed  partitions: 1, told last at 0.021s
                           orders-1 at 4
        "#]],
    );
}

#[test]
fn who_was_followed_is_said_to_be_and_what_the_next_one_read() {
    let mut story = Story::classic();
    story.commit(committer(A, 1), 0, 12).told(0, 12).commit(committer(A, 1), 0, 14);
    story.taken_over(14);
    story.shows(
        1,
        expect![[r#"

            groups       coordinates __consumer_offsets-0 in epoch 0, which it read up to 2
                         since then broker 2 leads it, in epoch 1: this one has not said it ends
            group        audit, classic: Stable in generation 1 since 0.014s, assigned by range
              members    billing/0-1b2c3d4e-…bbdc0b3e, client billing/0, static billing-0
                           joined generation 1; told its assignment in generation 1
                           given in generation 1: orders-0, orders-2
                         billing/1-2b2c3d4e-…e56e8e7c, client not known
                           joined generation 1; told of no assignment by this coordinator
                           given in generation 1: orders-1
              committed  partitions: 1, told last at 0.017s
                           orders-0 at 12 (taken since: 14)
                           (taken: in a coordinator's log; nobody was told that it is stored)
        "#]],
    );
    story.shows(
        2,
        expect![[r#"

            groups       coordinates __consumer_offsets-0 in epoch 1, which it read up to 2
            group        audit, classic: Empty in generation 1 since 0.023s
              members    none known
              committed  partitions: 1, told last at 0.017s
                           orders-0 at 12 (taken since: 14) (read: 14)
                           (taken: in a coordinator's log; nobody was told that it is stored)
        "#]],
    );
}

#[test]
fn where_nothing_is_known_that_is_said() {
    let mut story = Story::begin();
    story.shows(
        1,
        expect![[r#"

        groups       coordinates __consumer_offsets-0 in epoch 0, which it read up to 2
                     no group of it is known
    "#]],
    );
    story.shows(
        2,
        expect![[r#"

        groups       it has not said that it coordinates any
    "#]],
    );
    story.shows_member(
        "billing/0",
        true,
        expect![[r#"

        group        audit, of which no coordinator has spoken
          believes   it has seen no generation since its start
                     it has no partitions
          committed  nothing of its own: it has no partitions
          asked      for no commit, as far as it says (those of enable.auto.commit it does not)
    "#]],
    );
    story.shows_member(
        "billing/7",
        true,
        expect![[r#"

        group        audit, of which no coordinator has spoken
          believes   nothing: it has not begun to read
          committed  nothing of its own: it has no partitions
          asked      for no commit, as far as it says (those of enable.auto.commit it does not)
    "#]],
    );
    story.run.stop(1, Stop::Kill);
    story.shows(
        1,
        expect![[r#"

        groups       coordinates none: its process is down
    "#]],
    );
}

#[test]
fn a_coordinator_that_reads_is_said_to() {
    let mut story = Story::begin();
    (story.node, story.epoch) = (2, 1);
    let (group, protocol) = (audit(), GroupProtocol::Consumer);
    story.say(G::GroupLoaded { group, protocol, generation: generation(3), members: 1 });
    let (group, partition, offset) = (name("db"), orders(0), Offset::new(5));
    story.say(G::OffsetLoaded { group, partition, offset });
    story.shows(2, expect![[r#"

        groups       reads __consumer_offsets-0 in epoch 1, and does not answer yet; so far it has read:
        group        audit, consumer: epoch 3, nothing said of its state
          members    none known
          committed  nothing known of any offset
        group        db: no members known, only offsets
          committed  partitions: 1, nobody was told that anything is stored
                       orders-0 nothing (read: 5)
    "#]]);
}

#[test]
fn a_member_says_what_it_believes_and_its_coordinator_of_it() {
    let mut story = Story::classic();
    story.commit(committer(A, 1), 0, 12).told(0, 12);
    let commit = Commit {
        client: "billing/0".into(),
        incarnation: 1,
        rebalances: 1,
        group: "audit".into(),
        asked_at: story.run.now(),
        done_at: None,
        offsets: [(place(0), Offset::new(14)), (place(2), Offset::new(3))].into(),
        outcome: CommitOutcome::Pending,
    };
    let number = story.history.begin_commit(commit);
    story.shows_member(
        "billing/0",
        true,
        expect![[r#"

            group        audit, coordinated by broker 1 in epoch 0
              believes   it is billing/0-1b2c3d4e-…bbdc0b3e, in generation 1 since 0.015s
                         it has: orders-0, orders-2
              listed as  billing/0-1b2c3d4e-…bbdc0b3e, client billing/0, static billing-0
                           joined generation 1; told its assignment in generation 1
                           given in generation 1: orders-0, orders-2
              committed  by the group, of what it has:
                           orders-0 at 12, orders-2 nothing
              asked      for a commit at 0.017s, no answer yet
                           orders-0 at 14, orders-2 at 3
        "#]],
    );
    story.history.end_commit(number, story.run.now(), CommitOutcome::Stored);
    story.say(G::MemberGone { group: audit(), member: name(A), end: MemberEnd::Silent });
    story.shows_member(
        "billing/0",
        false,
        expect![[r#"

            group        audit, coordinated by broker 1 in epoch 0
              believes   nothing: its process has ended; before that:
                         it is billing/0-1b2c3d4e-…bbdc0b3e, in generation 1 since 0.015s
                         it has: orders-0, orders-2
              listed as  nobody: billing/0-1b2c3d4e-…bbdc0b3e is no member there
              committed  by the group, of what it has:
                           orders-0 at 12, orders-2 nothing
              asked      for a commit at 0.017s, told at 0.017s that it is stored
                           orders-0 at 14, orders-2 at 3
        "#]],
    );
    Story::consumer().shows_member(
        "billing/0",
        true,
        expect![[r#"

            group        audit, coordinated by broker 1 in epoch 0
              believes   it is x, in epoch 1 since 0.012s
                         it has: orders-0, orders-1
              listed as  x, client billing/0
                           in epoch 1; told of epoch 1
                           has: orders-0
                           has, and is to give up: orders-1
                           is to have: orders-0
              committed  by the group, of what it has:
                           orders-0 nothing, orders-1 nothing
              asked      for no commit, as far as it says (those of enable.auto.commit it does not)
        "#]],
    );
}

#[test]
fn clients_are_found_by_the_member_that_they_saw_themselves_as() {
    assert!(clients(&History::default()).is_empty());
    let story = Story::classic();
    let known = clients(&story.history.lock());
    assert_eq!(known, [((audit(), name(A)), "billing/0".into())].into());
}

#[test]
fn long_lists_go_over_several_rows() {
    let mut story = Story::begin();
    for index in 0..30 {
        let by = Committer { member: None, instance: None, generation: None };
        story.commit(by, index, 1_000).told(index, 1_000);
    }
    story.came(A, None);
    story.shows(
        1,
        expect![[r#"

        groups       coordinates __consumer_offsets-0 in epoch 0, which it read up to 2
        group        audit, classic: generation 0, nothing said of its state
          members    billing/0-1b2c3d4e-…bbdc0b3e, client not known
                       joined no generation yet; told of no assignment by this coordinator
                       nothing known of an assignment
          committed  partitions: 30, told last at 0.061s
                       orders-0 at 1000, orders-1 at 1000, orders-2 at 1000, orders-3 at 1000,
                       orders-4 at 1000, orders-5 at 1000, orders-6 at 1000, orders-7 at 1000,
                       orders-8 at 1000, orders-9 at 1000, orders-10 at 1000, orders-11 at 1000,
                       orders-12 at 1000, orders-13 at 1000, orders-14 at 1000, orders-15 at 1000,
                       orders-16 at 1000, orders-17 at 1000, orders-18 at 1000, orders-19 at 1000,
                       orders-20 at 1000, orders-21 at 1000, orders-22 at 1000, orders-23 at 1000,
                       orders-24 at 1000, orders-25 at 1000, orders-26 at 1000, orders-27 at 1000,
                       orders-28 at 1000, orders-29 at 1000
    "#]],
    );
}
