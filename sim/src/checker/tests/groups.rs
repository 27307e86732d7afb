//! What coordinators promise of consumer groups: G1, G2, G4 to G9, G11, G12, L9, L11.

use std::collections::BTreeMap;
use std::time::Duration;

use ottla::types::{
    Committer, CoordinatorTerm, ErrorCode, GenerationId, GroupObservation as G, GroupPhase,
    GroupProtocol, MemberEnd, OffsetEnd, ShortName, TopicId,
};

use super::cluster::{NONE, Run, version};
use super::*;
use crate::checker::{Stop, liveness};

const REBALANCE: Duration = Duration::from_secs(60);
const PHASES: [GroupPhase; 3] =
    [GroupPhase::PreparingRebalance, GroupPhase::CompletingRebalance, GroupPhase::Stable];

pub(super) fn audit() -> ShortName {
    ShortName::of("audit")
}

pub(super) fn name(text: &str) -> ShortName {
    ShortName::of(text)
}

pub(super) fn generation(value: i32) -> GenerationId {
    GenerationId::new(value)
}

/// Partition `index` of the topic that the group reads.
pub(super) fn orders(index: i32) -> TopicIdPartition {
    TopicIdPartition {
        topic_id: TopicId::from_bytes([8; 16]),
        partition: PartitionIndex::new(index),
    }
}

pub(super) fn coordinator(epoch: i32) -> CoordinatorTerm {
    CoordinatorTerm { partition: partition().partition, leader_epoch: LeaderEpoch::new(epoch) }
}

/// What somebody in `generation` says of himself.
pub(super) fn member(text: &str, of: i32) -> Committer {
    Committer { member: Some(name(text)), instance: None, generation: Some(generation(of)) }
}

const STRANGER: Committer = Committer { member: None, instance: None, generation: None };

/// A run that is told, and whose coordinator in it speaks.
struct Story {
    run: Run,
    node: i32,
    epoch: i32,
    /// The one that began last.
    generation: i32,
}

impl Story {
    /// Broker 1 coordinates in term 0; `orders` has two partitions since before the clients started.
    fn begin() -> Self {
        let mut run = Run::settled();
        for index in 0..2 {
            run.say(1, at(orders(index), version(0, 1, 0, &[1, 2, 3])));
        }
        let now = run.now();
        run.checkers.begin(now);
        let mut story = Self { run, node: 1, epoch: 0, generation: 0 };
        story.loaded(2);
        story
    }

    /// Two members are stable in generation 1, each with a partition.
    fn stable() -> Self {
        let mut story = Self::begin();
        story.came("a").came("b").phase(GroupPhase::PreparingRebalance, 0);
        story.generation(1, 2).joined("a", 1).joined("b", 1);
        story.give("a", 1, &[0]).give("b", 1, &[1]).phase(GroupPhase::Stable, 1);
        story.told("a", 1, hash(&[0])).told("b", 1, hash(&[1]));
        story
    }

    fn say(&mut self, what: G) -> &mut Self {
        let (node, term) = (self.node, coordinator(self.epoch));
        self.run.say(node, Observation::Group { term, what });
        self
    }

    fn loaded(&mut self, end: i64) -> &mut Self {
        self.say(G::Loaded { partition: partition(), end_offset: Offset::new(end) })
    }

    fn came(&mut self, member: &str) -> &mut Self {
        self.say(G::MemberCame { group: audit(), member: name(member), instance: None })
    }

    fn came_static(&mut self, member: &str) -> &mut Self {
        let (instance, member) = (Some(name(member)), name(member));
        self.say(G::MemberCame { group: audit(), member, instance })
    }

    fn gone(&mut self, member: &str, end: MemberEnd) -> &mut Self {
        self.say(G::MemberGone { group: audit(), member: name(member), end })
    }

    fn phase(&mut self, phase: GroupPhase, of: i32) -> &mut Self {
        let generation = generation(of);
        self.say(G::PhaseChanged { group: audit(), phase, generation, limit: REBALANCE })
    }

    /// A generation begins whose leader assigns by `range`; all read `orders`.
    fn generation(&mut self, of: i32, members: u32) -> &mut Self {
        self.generation_by("range", of, members)
    }

    fn generation_by(&mut self, assignor: &str, of: i32, members: u32) -> &mut Self {
        let (group, assignor) = (audit(), Some(name(assignor)));
        self.generation = of;
        self.say(G::GenerationBegan { group, generation: generation(of), members, assignor });
        self.say(G::SubscriptionsRead { group, is_known: true });
        self.say(G::Subscribed { group, topic_id: orders(0).topic_id });
        self.phase(GroupPhase::CompletingRebalance, of)
    }

    fn joined(&mut self, member: &str, of: i32) -> &mut Self {
        let (group, member, generation) = (audit(), name(member), generation(of));
        self.say(G::JoinAnswered { group, member, generation })
    }

    fn give(&mut self, member: &str, of: i32, partitions: &[i32]) -> &mut Self {
        let (group, member, generation) = (audit(), name(member), generation(of));
        self.say(G::AssignmentGiven { group, member, generation, hash: hash(partitions) });
        for index in partitions {
            let partition = orders(*index);
            self.say(G::PartitionGiven { group, member, generation, partition });
        }
        self
    }

    fn told(&mut self, member: &str, of: i32, hash: u32) -> &mut Self {
        let (group, member, generation) = (audit(), name(member), generation(of));
        self.say(G::AssignmentTold { group, member, generation, hash })
    }

    /// A commit of partition 0 is taken.
    fn commit(&mut self, committer: Committer, offset: i64) -> &mut Self {
        self.say(G::OffsetCommitted {
            group: audit(),
            protocol: GroupProtocol::Classic,
            partition: orders(0),
            offset: Offset::new(offset),
            committer,
        })
    }

    fn committed(&mut self, offset: i64) -> &mut Self {
        let offset = Offset::new(offset);
        self.say(G::CommitTold { group: audit(), partition: orders(0), offset })
    }

    fn fetched(&mut self, offset: Option<i64>) -> &mut Self {
        let (group, partition, offset) = (audit(), orders(0), offset.map(Offset::new));
        self.say(G::OffsetFetched { group, partition, offset })
    }

    fn forgotten(&mut self, end: OffsetEnd) -> &mut Self {
        self.say(G::OffsetForgotten { group: audit(), partition: orders(0), end })
    }

    /// Broker 1 is gone; broker 2 leads the log in term 1 and coordinates with what it holds.
    fn fail_over(&mut self, of: i32, offset: Option<i64>) -> &mut Self {
        self.run.stop(1, Stop::Kill);
        self.taken_over(of, offset)
    }

    /// The same, where node 1 goes on and does not know.
    fn taken_over(&mut self, of: i32, offset: Option<i64>) -> &mut Self {
        self.run.change_at(2, version(1, 2, 1, &[2, 3])).leads(2, 1, 2, &[2, 3]);
        (self.node, self.epoch) = (2, 1);
        let (group, protocol) = (audit(), GroupProtocol::Classic);
        self.say(G::GroupLoaded { group, protocol, generation: generation(of), members: 0 });
        if let Some(offset) = offset {
            let offset = Offset::new(offset);
            self.say(G::OffsetLoaded { group, partition: orders(0), offset });
        }
        self.phase(GroupPhase::Empty, of).loaded(2)
    }

    #[track_caller]
    fn fires(&self, checks: &[&str]) {
        assert_eq!(self.run.fired(), checks);
    }
}

/// A version of another partition's state.
pub(super) fn at(partition: TopicIdPartition, of: super::cluster::Version) -> Observation {
    let mut observation = super::cluster::changed(of);
    if let Observation::PartitionChanged { partition: place, .. } = &mut observation {
        *place = partition;
    }
    observation
}

fn hash(partitions: &[i32]) -> u32 {
    partitions.iter().fold(7, |hash, index| hash * 31 + index.unsigned_abs())
}

#[test]
fn groups_in_order_fire_nothing() {
    let mut story = Story::stable();
    story.commit(member("a", 1), 5).committed(5).fetched(Some(5));
    // A member goes; the other is called to join, and still commits in its generation.
    story.gone("b", MemberEnd::Silent).phase(GroupPhase::PreparingRebalance, 1);
    story.commit(member("a", 1), 6).committed(6);
    story.generation(2, 1).joined("a", 2).give("a", 2, &[0, 1]).phase(GroupPhase::Stable, 2);
    story.told("a", 2, hash(&[0, 1])).commit(member("a", 2), 7).committed(7);
    // Another coordinator, and the group goes on.
    story.fail_over(2, Some(7)).came("a").phase(GroupPhase::PreparingRebalance, 2);
    story.generation(3, 1).joined("a", 3).give("a", 3, &[0, 1]).phase(GroupPhase::Stable, 3);
    story.fetched(Some(7)).commit(member("a", 3), 8).committed(8).fetched(Some(8));
    story.gone("a", MemberEnd::Left).phase(GroupPhase::Empty, 4);
    story.forgotten(OffsetEnd::Expired).fetched(None);
    story.run.barrier();
    story.fires(&NONE);
    assert!(!story.run.missing().contains(&"L9"));
}

#[test]
fn l11_sees_who_reads_and_is_no_member() {
    let outside = |story: &Story, run: usize| {
        let running = BTreeMap::from([("audit".into(), run)]);
        liveness::outside(story.run.checkers.ghost(), &running)
    };
    let mut story = Story::stable();
    assert!(outside(&story, 2).is_empty());
    let found = outside(&story, 3);
    assert_eq!(found[0].what, "3 clients read in audit, which has 2 members");
    story.gone("b", MemberEnd::Silent);
    assert_eq!(outside(&story, 2)[0].check, "L11");
    // The next coordinator knows those that its log has.
    story.fail_over(2, None).came("a");
    assert_eq!(outside(&story, 2).len(), 1);
    assert!(outside(&story, 1).is_empty());
}

#[test]
fn g1_sees_one_partition_given_to_two_members_of_a_generation() {
    let mut story = Story::stable();
    story.give("b", 1, &[0]);
    story.fires(&["G1"]);
    // In the next generation it may be another's.
    let mut story = Story::stable();
    story.phase(GroupPhase::PreparingRebalance, 1).generation(2, 2).joined("a", 2).joined("b", 2);
    story.give("a", 2, &[1]).give("b", 2, &[0]).phase(GroupPhase::Stable, 2);
    story.fires(&NONE);
    story.give("c", 2, &[]);
    story.fires(&NONE);
    story.say(G::PartitionGiven {
        group: audit(),
        member: name("c"),
        generation: generation(2),
        partition: orders(7),
    });
    story.fires(&["G1"]);
}

#[test]
fn g2_sees_a_partition_that_nobody_gets() {
    let left_out = |assignor: &str| {
        let mut story = Story::begin();
        story.came("a").phase(GroupPhase::PreparingRebalance, 0).generation_by(assignor, 1, 1);
        story.joined("a", 1).give("a", 1, &[0]).phase(GroupPhase::Stable, 1);
        story
    };
    for assignor in ["range", "roundrobin", "sticky"] {
        left_out(assignor).fires(&["G2"]);
    }
    // It changes hands by being nobody's for a generation; and what users assign is theirs.
    left_out("cooperative-sticky").fires(&NONE);
    left_out("by-hand").fires(&NONE);
    // The leader's client has not heard of a new partition, and some minutes later must have.
    let mut story = Story::stable();
    story.run.say(1, at(orders(2), version(0, 1, 0, &[1, 2, 3])));
    let again = |story: &mut Story, of| {
        story.phase(GroupPhase::PreparingRebalance, of - 1).generation(of, 2);
        story.joined("a", of).joined("b", of).give("a", of, &[0]).give("b", of, &[1]);
        story.phase(GroupPhase::Stable, of);
    };
    again(&mut story, 2);
    story.fires(&NONE);
    story.run.wait(331);
    again(&mut story, 3);
    story.fires(&["G2"]);
}

#[test]
fn g2_sees_a_partition_of_a_topic_that_nobody_reads() {
    let mut story = Story::begin();
    story.came("a").phase(GroupPhase::PreparingRebalance, 0).generation(1, 1).joined("a", 1);
    story.give("a", 1, &[0, 1]).say(G::PartitionGiven {
        group: audit(),
        member: name("a"),
        generation: generation(1),
        partition: partition(),
    });
    story.fires(&NONE);
    story.phase(GroupPhase::Stable, 1).fires(&["G2"]);
}

#[test]
fn g4_sees_a_stable_group_that_is_not_whole() {
    let until_stable = |joins: &[&str], gets: &[&str], is_static: bool| {
        let mut story = Story::begin();
        let instance = is_static.then(|| name("desk"));
        story.came("a").say(G::MemberCame { group: audit(), member: name("b"), instance });
        story.phase(GroupPhase::PreparingRebalance, 0).generation(1, 2);
        joins.iter().for_each(|member| _ = story.joined(member, 1));
        story.say(G::SubscriptionsRead { group: audit(), is_known: false });
        gets.iter().for_each(|member| _ = story.give(member, 1, &[]));
        story.phase(GroupPhase::Stable, 1);
        story
    };
    until_stable(&["a", "b"], &["a", "b"], false).fires(&NONE);
    until_stable(&["a"], &["a", "b"], false).fires(&["G4"]);
    until_stable(&["a"], &["a", "b"], true).fires(&NONE);
    until_stable(&["a", "b"], &["a"], false).fires(&["G4"]);
    let mut story = Story::stable();
    story.told("a", 1, hash(&[0]) + 1).fires(&["G4"]);
    let mut story = Story::begin();
    story.came("a").phase(GroupPhase::PreparingRebalance, 0).generation(1, 2).fires(&["G4"]);
}

#[test]
fn g4_knows_a_static_member_by_its_next_process() {
    let mut story = Story::begin();
    let desk = |story: &mut Story, member: &str| {
        let instance = Some(name("desk"));
        story.say(G::MemberCame { group: audit(), member: name(member), instance });
    };
    desk(&mut story, "old");
    story.phase(GroupPhase::PreparingRebalance, 0).generation(1, 1).joined("old", 1);
    story.give("old", 1, &[0, 1]).phase(GroupPhase::Stable, 1);
    story.gone("old", MemberEnd::Replaced);
    desk(&mut story, "new");
    story.joined("new", 1).told("new", 1, hash(&[0, 1])).fires(&NONE);
    story.told("new", 1, hash(&[0])).fires(&["G4"]);
}

#[test]
fn g5_sees_generations_that_do_not_rise() {
    let mut story = Story::stable();
    story.phase(GroupPhase::PreparingRebalance, 1).generation(1, 2).fires(&["G5"]);
    let mut story = Story::stable();
    story.phase(GroupPhase::PreparingRebalance, 1).generation(3, 2).fires(&["G5"]);
    // What nobody was told may be lost with the coordinator; what members know may not.
    let mut story = Story::stable();
    story.phase(GroupPhase::PreparingRebalance, 1).generation(2, 2).joined("a", 2);
    story.fail_over(1, None).came("a").phase(GroupPhase::PreparingRebalance, 1).generation(2, 1);
    story.fires(&NONE);
    let mut story = Story::stable();
    story.fail_over(0, None).fires(&["G5"]);
    // After it was deleted it begins anew.
    let mut story = Story::stable();
    story.gone("a", MemberEnd::Left).gone("b", MemberEnd::Left).phase(GroupPhase::Empty, 2);
    story.say(G::GroupForgotten { group: audit() }).came("a");
    story.phase(GroupPhase::PreparingRebalance, 0).generation(1, 1).fires(&NONE);
    // Whatever a former coordinator tells its members then.
    let mut story = Story::stable();
    story.taken_over(1, None).say(G::GroupForgotten { group: audit() });
    (story.node, story.epoch) = (1, 0);
    story.told("a", 1, hash(&[0]));
    (story.node, story.epoch) = (2, 1);
    story.came("a").phase(GroupPhase::PreparingRebalance, 0).generation(1, 1).fires(&NONE);
    // What it forgets is not forgotten.
    let mut story = Story::stable();
    story.taken_over(1, None).came("c").phase(GroupPhase::PreparingRebalance, 1).generation(2, 1);
    story.joined("c", 2).give("c", 2, &[0]).told("c", 2, hash(&[0]));
    (story.node, story.epoch) = (1, 0);
    story.say(G::GroupForgotten { group: audit() });
    story.run.change_at(3, version(1, 3, 2, &[2, 3])).leads(3, 2, 2, &[2, 3]);
    (story.node, story.epoch) = (3, 2);
    let (group, protocol) = (audit(), GroupProtocol::Classic);
    story.say(G::GroupLoaded { group, protocol, generation: generation(1), members: 0 });
    assert!(story.run.fired().contains(&"G5"));
}

#[test]
fn g6_sees_who_may_not_commit() {
    let commit = |committer: Committer| {
        let mut story = Story::stable();
        story.commit(committer, 5);
        story
    };
    commit(member("a", 1)).fires(&NONE);
    for wrong in [member("a", 0), member("a", 2), member("c", 1), STRANGER] {
        commit(wrong).fires(&["G6"]);
    }
    commit(Committer { instance: Some(name("desk")), ..member("a", 1) }).fires(&["G6"]);
    // While nobody is a member anybody may, who does not claim to be one.
    let mut story = Story::begin();
    story.commit(STRANGER, 5).fires(&NONE);
    story.commit(member("a", 1), 6).fires(&["G6"]);
    // A zombie, after the others have gone on.
    let mut story = Story::stable();
    story.gone("b", MemberEnd::Silent).phase(GroupPhase::PreparingRebalance, 1).generation(2, 1);
    story.commit(member("b", 1), 5).fires(&["G6"]);
    // A refusal is no commit.
    let mut story = Story::stable();
    let (committer, error) = (member("c", 1), ErrorCode::UnknownMemberId);
    story.say(G::CommitRefused { group: audit(), committer, error }).fires(&NONE);
}

#[test]
fn g7_sees_a_commit_that_moves_back() {
    let back = |between: &dyn Fn(&mut Story)| {
        let mut story = Story::stable();
        story.commit(member("a", 1), 9).committed(9);
        between(&mut story);
        let of = story.generation;
        story.commit(member("a", of), 5).committed(5);
        story.run.fired()
    };
    let next_generation = |story: &mut Story| {
        story.phase(GroupPhase::PreparingRebalance, 1).generation(2, 2).joined("a", 2);
        story.joined("b", 2).give("a", 2, &[0]).give("b", 2, &[1]).phase(GroupPhase::Stable, 2);
    };
    let after = |between: &dyn Fn(&mut Story)| {
        back(&|story| {
            between(story);
            next_generation(story);
        })
    };
    assert_eq!(back(&|_| ()), NONE, "its own requests may overtake each other");
    let mut story = Story::stable();
    story.commit(member("a", 1), 9).committed(9).commit(member("a", 1), 5).committed(5);
    let steps = &story.run.checkers.ghost().groups().steps_back;
    let found: Vec<Offset> = steps.iter().map(|(_, offset, _)| *offset).collect();
    assert_eq!(found, [Offset::new(5)], "what the history's check is told of it");
    assert_eq!(back(&next_generation), ["G7"]);
    // What overtook the commit is what the next generation goes on from.
    let overtaken = |story: &mut Story| {
        story.commit(member("a", 1), 4);
        next_generation(story);
    };
    assert_eq!(back(&overtaken), NONE);
    assert_eq!(after(&|story| _ = story.forgotten(OffsetEnd::Deleted)), NONE);
    let error = ErrorCode::OffsetOutOfRange;
    let out_of_range = Observation::FetchFailed { partition: orders(0), error };
    assert_eq!(after(&|story| _ = story.run.say(1, out_of_range)), NONE);
    let error = ErrorCode::NotLeaderOrFollower;
    let elsewhere = Observation::FetchFailed { partition: orders(0), error };
    assert_eq!(after(&|story| _ = story.run.say(1, elsewhere)), ["G7"]);
    assert_eq!(
        back(&|story| _ = story.commit(STRANGER, 2)),
        ["G6"],
        "that is wrong, and explains it"
    );
    // Nobody was told of the larger one: whoever takes over may not know it.
    let mut story = Story::stable();
    story.commit(member("a", 1), 9).commit(member("a", 1), 5).committed(5).fires(&NONE);
}

#[test]
fn g8_sees_a_coordinator_that_answers_before_it_has_read() {
    let mut story = Story::stable();
    story.run.stop(1, Stop::Kill).start(1);
    story.fetched(None);
    assert!(story.run.fired().contains(&"G8"));
    let mut story = Story::stable();
    story.say(G::Unloaded).commit(member("a", 1), 5);
    assert!(story.run.fired().contains(&"G8"));
    let mut story = Story::begin();
    story.fetched(None).fires(&NONE);
}

#[test]
fn g9_sees_offsets_expire_that_are_in_use() {
    Story::stable().forgotten(OffsetEnd::Expired).fires(&["G9"]);
    Story::stable().forgotten(OffsetEnd::Deleted).fires(&NONE);
    Story::begin().forgotten(OffsetEnd::Expired).fires(&NONE);
    let mut story = Story::stable();
    let (group, partition, end) = (audit(), partition(), OffsetEnd::Expired);
    story.say(G::OffsetForgotten { group, partition, end }).fires(&NONE);
    // While they rebalance nobody knows what they will read.
    story.phase(GroupPhase::PreparingRebalance, 1);
    story.say(G::OffsetForgotten { group, partition, end }).fires(&["G9"]);
}

#[test]
fn g11_sees_a_rebalance_without_end() {
    for phase in PHASES {
        let waits = |seconds| {
            let mut story = Story::begin();
            story.came("a").phase(phase, 0);
            story.run.wait(seconds).barrier();
            story.run.fired().contains(&"G11")
        };
        assert!(!waits(80));
        assert_eq!(waits(82), phase != GroupPhase::Stable);
    }
    // Somebody is heard who should long be gone.
    let mut story = Story::begin();
    story.came("a").phase(GroupPhase::PreparingRebalance, 0);
    story.run.wait(100);
    story.came("b").fires(&["G11"]);
    // The coordinator stood still.
    let mut story = Story::begin();
    story.came("a").phase(GroupPhase::PreparingRebalance, 0);
    story.run.tell(1, Event::Paused).wait(100).barrier();
    story.run.tell(1, Event::Resumed).wait(80).barrier();
    story.fires(&NONE);
    story.run.wait(2).barrier();
    story.fires(&["G11"]);
    // A static member's session ends long after all should have joined (group-swarm, seed 584).
    let mut story = Story::begin();
    story.came_static("a").phase(GroupPhase::PreparingRebalance, 0);
    story.run.wait(100);
    story.gone("a", MemberEnd::Silent).fires(&NONE);
    story.came("b");
    story.run.wait(80).barrier();
    story.fires(&NONE);
    story.run.wait(2).barrier();
    story.fires(&["G11"]);
}

#[test]
fn g12_sees_a_commit_that_is_not_read_back() {
    let read = |offset: Option<i64>| {
        let mut story = Story::stable();
        story.commit(member("a", 1), 4).committed(4).commit(member("a", 1), 9).committed(9);
        story.fail_over(1, offset).fetched(offset);
        story.run.fired()
    };
    assert_eq!(read(Some(9)), NONE);
    for lost in [Some(4), None, Some(0), Some(10)] {
        assert_eq!(read(lost), ["G12"], "{lost:?}");
    }
    // What nobody was told of may be there or not.
    for offset in [Some(9), Some(4)] {
        let mut story = Story::stable();
        story.commit(member("a", 1), 4).committed(4).commit(member("a", 1), 9);
        story.fail_over(1, offset).fetched(offset).fires(&NONE);
    }
    // Of a group that has committed nothing nothing is read, and no zero either.
    Story::begin().fetched(None).fires(&NONE);
    Story::begin().fetched(Some(0)).fires(&["G12"]);
    // The one before does not know that it is replaced: what it knows was true.
    let mut story = Story::stable();
    story.commit(member("a", 1), 4).committed(4);
    story.run.change_at(2, version(1, 2, 1, &[2, 3])).leads(2, 1, 2, &[2, 3]);
    (story.node, story.epoch) = (2, 1);
    story.loaded(2).commit(STRANGER, 9).committed(9);
    (story.node, story.epoch) = (1, 0);
    story.fetched(Some(4)).fires(&NONE);
}

#[test]
fn l9_sees_groups_that_do_not_come_to_rest() {
    let lacks = |story: &Story| story.run.missing().contains(&"L9");
    let mut story = Story::stable();
    assert!(!lacks(&story));
    story.phase(GroupPhase::PreparingRebalance, 1);
    assert!(lacks(&story));
    story.gone("a", MemberEnd::Left).gone("b", MemberEnd::Left).phase(GroupPhase::Empty, 2);
    assert!(!lacks(&story));
    // Nobody coordinates what broker 1 leads.
    story.say(G::Unloaded);
    assert!(lacks(&story));
    story.loaded(2);
    assert!(!lacks(&story));
}
