//! What coordinators promise of groups of the consumer protocol: G1 to G8, G11, L9.

use std::time::Duration;

use ottla::types::{
    Committer, ConsumerPhase, CoordinatorTerm, GroupObservation as G, GroupProtocol,
};

use super::cluster::{NONE, Run, version};
use super::groups::{at, audit, generation as epoch, member as committer, name, orders};
use super::*;

/// A coordinator on broker 1 that speaks of a group.
struct Story {
    run: Run,
    leader_epoch: i32,
}

impl Story {
    /// Its log is read, and it has no group.
    fn begin() -> Self {
        let mut run = Run::settled();
        for index in 0..2 {
            run.say(1, at(orders(index), version(0, 1, 0, &[1, 2, 3])));
        }
        let now = run.now();
        run.checkers.begin(now);
        let mut story = Self { run, leader_epoch: 0 };
        story.say(G::Loaded { partition: partition(), end_offset: Offset::new(2) });
        story
    }

    /// `a` and `b` have a partition each, in epoch 2.
    fn stable() -> Self {
        let mut story = Self::begin();
        story.came("a").target("a", &[0, 1]).has("a", 1, &[0, 1], &[]).assigned();
        story.stands(ConsumerPhase::Stable, 1, 1);
        story.came("b").target("a", &[0]).target("b", &[1]).has("b", 2, &[], &[]).assigned();
        story.stands(ConsumerPhase::Reconciling, 2, 2);
        story.has("a", 1, &[0], &[1]).stands(ConsumerPhase::Reconciling, 2, 2);
        story.has("a", 2, &[0], &[]).stands(ConsumerPhase::Reconciling, 2, 2);
        story.has("b", 2, &[1], &[]).stands(ConsumerPhase::Stable, 2, 2);
        story
    }

    fn say(&mut self, what: G) -> &mut Self {
        let term = CoordinatorTerm {
            partition: partition().partition,
            leader_epoch: LeaderEpoch::new(self.leader_epoch),
        };
        self.run.say(1, Observation::Group { term, what });
        self
    }

    fn came(&mut self, member: &str) -> &mut Self {
        self.say(G::ConsumerCame { group: audit(), member: name(member), instance: None })
    }

    fn gone(&mut self, member: &str) -> &mut Self {
        self.say(G::ConsumerGone { group: audit(), member: name(member) })
    }

    fn target(&mut self, member: &str, partitions: &[i32]) -> &mut Self {
        let (group, member) = (audit(), name(member));
        self.say(G::TargetBegan { group, member });
        for index in partitions {
            self.say(G::PartitionTargeted { group, member, partition: orders(*index) });
        }
        self
    }

    fn has(&mut self, member: &str, of: i32, keeps: &[i32], gives_up: &[i32]) -> &mut Self {
        let (group, member) = (audit(), name(member));
        self.say(G::EpochReached { group, member, epoch: Some(epoch(of)) });
        let keeps = keeps.iter().map(|index| (*index, false));
        for (index, is_given_up) in keeps.chain(gives_up.iter().map(|index| (*index, true))) {
            let (partition, since) = (orders(index), Some(epoch(of)));
            self.say(G::PartitionHeld { group, member, partition, since, is_given_up });
        }
        self
    }

    /// All read the topic, and it was just said who is to have what.
    fn assigned(&mut self) -> &mut Self {
        self.say(G::TargetsSaid { group: audit() });
        self.say(G::TargetsOf { group: audit(), topic_id: orders(0).topic_id })
    }

    fn stands(&mut self, phase: ConsumerPhase, of: i32, target: i32) -> &mut Self {
        let (epoch, target_epoch) = (epoch(of), epoch(target));
        let limit = Duration::from_secs(60);
        self.say(G::GroupStands { group: audit(), phase, epoch, target_epoch, limit })
    }

    fn commit(&mut self, committer: Committer, index: i32) -> &mut Self {
        self.commit_at(committer, index, 5)
    }

    fn commit_at(&mut self, committer: Committer, index: i32, offset: i64) -> &mut Self {
        self.say(G::OffsetCommitted {
            group: audit(),
            protocol: GroupProtocol::Consumer,
            partition: orders(index),
            offset: Offset::new(offset),
            committer,
        })
    }

    fn committed(&mut self, index: i32, offset: i64) -> &mut Self {
        let offset = Offset::new(offset);
        self.say(G::CommitTold { group: audit(), partition: orders(index), offset })
    }

    #[track_caller]
    fn fires(&self, checks: &[&str]) {
        assert_eq!(self.run.fired(), checks);
    }
}

#[test]
fn consumer_groups_in_order_fire_nothing() {
    let mut story = Story::stable();
    story.commit(committer("a", 2), 0).commit(committer("b", 2), 1);
    story.gone("a").stands(ConsumerPhase::Assigning, 3, 2);
    story.target("b", &[0, 1]).assigned().has("b", 3, &[0, 1], &[]);
    story.stands(ConsumerPhase::Stable, 3, 3).commit(committer("b", 3), 0);
    // What it has since epoch 2 it may commit in that.
    story.commit(committer("b", 2), 1);
    story.gone("b").stands(ConsumerPhase::Empty, 4, 3);
    story.commit(Committer { member: None, instance: None, generation: None }, 0);
    story.run.barrier();
    story.fires(&NONE);
}

#[test]
fn g1_sees_a_partition_that_two_members_have() {
    // It is given before its former owner gave it up.
    let mut story = Story::stable();
    story.came("c").target("b", &[]).target("c", &[1]).assigned().has("c", 3, &[1], &[]);
    story.fires(&NONE);
    story.stands(ConsumerPhase::Reconciling, 3, 3).fires(&["G1"]);
    // To give it up and to get it in one decision is in order.
    let mut story = Story::stable();
    story.came("c").target("b", &[]).target("c", &[1]).assigned().has("c", 3, &[], &[]);
    story.stands(ConsumerPhase::Reconciling, 3, 3).has("a", 3, &[0], &[]);
    story.has("b", 3, &[], &[]).has("c", 3, &[1], &[]);
    story.stands(ConsumerPhase::Stable, 3, 3).fires(&NONE);
    // Nobody of the group has anything.
    let mut story = Story::stable();
    story.say(G::PartitionHeld {
        group: audit(),
        member: name("d"),
        partition: orders(0),
        since: None,
        is_given_up: false,
    });
    story.fires(&["G1"]);
}

#[test]
fn g2_sees_a_target_that_is_not_whole() {
    let with = |a: &[i32], b: &[i32]| {
        let mut story = Story::begin();
        story.came("a").came("b").target("a", a).target("b", b).assigned();
        story.stands(ConsumerPhase::Reconciling, 1, 1);
        story
    };
    with(&[0], &[1]).fires(&NONE);
    with(&[0], &[]).fires(&["G2"]);
    with(&[0, 1], &[1]).fires(&["G2"]);
    // A partition of a topic that nobody reads.
    let mut story = Story::begin();
    story.came("a").target("a", &[0, 1]).say(G::PartitionTargeted {
        group: audit(),
        member: name("a"),
        partition: partition(),
    });
    story.assigned().stands(ConsumerPhase::Reconciling, 1, 1).fires(&["G2"]);
    // Nothing was assigned in this decision: the target is of an older one.
    let mut story = Story::stable();
    story.gone("b").stands(ConsumerPhase::Assigning, 3, 2).fires(&NONE);
}

#[test]
fn g3_sees_a_member_at_the_target_that_has_what_another_is_to_have() {
    // It came to the epoch without having given up what is not its own any more.
    let mut story = Story::begin();
    story.came("a").target("a", &[0, 1]).has("a", 1, &[0, 1], &[]).assigned();
    story.stands(ConsumerPhase::Stable, 1, 1);
    story.came("b").target("a", &[0]).target("b", &[1]).has("b", 2, &[], &[]).assigned();
    story.stands(ConsumerPhase::Reconciling, 2, 2).fires(&NONE);
    story.has("a", 2, &[0, 1], &[]).stands(ConsumerPhase::Reconciling, 2, 2).fires(&["G3"]);
    // In its former epoch it may still have it.
    let mut story = Story::stable();
    story.target("a", &[1]).target("b", &[0]).assigned();
    story.stands(ConsumerPhase::Reconciling, 3, 3).fires(&NONE);
    story.has("a", 2, &[], &[0]).stands(ConsumerPhase::Reconciling, 3, 3).fires(&NONE);
}

#[test]
fn g4_sees_a_stable_group_that_is_not_whole() {
    let stable = |change: &dyn Fn(&mut Story)| {
        let mut story = Story::stable();
        change(&mut story);
        story.stands(ConsumerPhase::Stable, 2, 2);
        story
    };
    stable(&|_| {}).fires(&NONE);
    stable(&|story| _ = story.has("b", 2, &[], &[])).fires(&["G4"]);
    stable(&|story| _ = story.has("b", 2, &[], &[1])).fires(&["G4"]);
    stable(&|story| _ = story.came("c")).fires(&["G4"]);
    let mut story = Story::stable();
    story.stands(ConsumerPhase::Stable, 3, 2).fires(&["G4"]);
}

#[test]
fn g5_sees_epochs_that_fall() {
    Story::stable().has("b", 1, &[1], &[]).fires(&["G5"]);
    Story::stable().stands(ConsumerPhase::Reconciling, 1, 1).fires(&["G5"]);
    // A member that comes as another one begins below the others.
    Story::stable().gone("b").came("c").has("c", 1, &[], &[]).fires(&NONE);
    // A new coordinator begins with less than members were told.
    let loaded = |of: i32| {
        let mut story = Story::stable();
        story.say(G::EpochTold { group: audit(), member: name("a"), epoch: epoch(2) });
        story.say(G::Unloaded);
        story.leader_epoch = 1;
        let (group, generation) = (audit(), epoch(of));
        let protocol = GroupProtocol::Consumer;
        story.say(G::GroupLoaded { group, protocol, generation, members: 2 });
        story
    };
    loaded(2).fires(&NONE);
    loaded(1).fires(&["G5"]);
}

#[test]
fn g6_sees_commits_of_those_who_may_not() {
    Story::stable().commit(committer("c", 2), 0).fires(&["G6"]);
    Story::stable().commit(committer("a", 3), 0).fires(&["G6"]);
    // In epoch 1 it was another's.
    Story::stable().commit(committer("b", 1), 1).fires(&["G6"]);
    // What `a` has since epoch 1 it may commit in that.
    Story::stable().commit(committer("a", 1), 0).fires(&NONE);
    let nobody = Committer { member: None, instance: None, generation: None };
    Story::stable().commit(nobody, 0).fires(&["G6"]);
}

#[test]
fn g7_lets_a_members_commits_overtake_each_other() {
    // What `a` sent in epoch 1 comes late; it has had the partition since (group-swarm-consumer, seeds 77 and 291).
    let mut story = Story::stable();
    story.commit_at(committer("a", 2), 0, 9).committed(0, 9);
    story.commit_at(committer("a", 1), 0, 4).committed(0, 4).fires(&NONE);
    // Another's are not its own.
    let mut story = Story::stable();
    story.commit_at(committer("a", 1), 1, 9).committed(1, 9);
    story.commit_at(committer("b", 2), 1, 4).committed(1, 4);
    assert!(story.run.fired().contains(&"G7"));
}

#[test]
fn g11_and_l9_see_a_group_that_does_not_come_to_rest() {
    let mut story = Story::stable();
    story.gone("b").stands(ConsumerPhase::Assigning, 3, 2);
    assert!(story.run.missing().contains(&"L9"));
    story.run.wait(80);
    story.run.barrier();
    story.fires(&NONE);
    story.run.wait(20);
    story.run.barrier();
    story.fires(&["G11"]);
    story.target("a", &[0, 1]).assigned().has("a", 3, &[0, 1], &[]);
    story.stands(ConsumerPhase::Stable, 3, 3);
    assert!(!story.run.missing().contains(&"L9"));
}
