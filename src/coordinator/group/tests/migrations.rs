//! What holds of every story of a group whose members speak both protocols, as long as they do as they are told: no partition is read by
//! two members, memory is what the log says, and once nothing changes any more every partition is read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::goldens::subscription_with;
use crate::coordinator::group::assignor::Assignment;
use crate::coordinator::group::durable::Durable;
use crate::coordinator::group::request::*;
use crate::coordinator::group::*;
use crate::protocol::coordinator_records::{
    ConsumerProtocolAssignment, CoordinatorRecord, assignment_bytes, consumer_protocol_assignment,
    read_assignment, read_subscription,
};
use crate::types::{ErrorCode, GenerationId, Now, PartitionIndex, Timestamp, Uuid};

const SLOTS: u8 = 5;

#[derive(Clone, Debug)]
enum Step {
    /// A process starts in place of the one that was there, if any. That one leaves; where the place has a name it only stops.
    Start {
        slot: u8,
        is_classic: bool,
    },
    /// Who does what is next for it; whether the answer is lost.
    Go {
        slot: u8,
        is_lost: bool,
    },
    Leave {
        slot: u8,
    },
    /// Who is not heard of any more.
    Vanish {
        slot: u8,
    },
    Read {
        slot: u8,
        topics: u8,
    },
    /// How many partitions a topic has from now on, if it had fewer.
    Topic {
        topic: u8,
        partitions: u8,
    },
    Wait {
        seconds: u8,
    },
    Load,
    Lose,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let slot = 0..SLOTS;
    let step = prop_oneof![
        5 => (slot.clone(), any::<bool>())
            .prop_map(|(slot, is_classic)| Step::Start { slot, is_classic }),
        24 => (slot.clone(), prop::bool::weighted(0.1))
            .prop_map(|(slot, is_lost)| Step::Go { slot, is_lost }),
        1 => slot.clone().prop_map(|slot| Step::Leave { slot }),
        1 => slot.clone().prop_map(|slot| Step::Vanish { slot }),
        1 => (slot, 1..4u8).prop_map(|(slot, topics)| Step::Read { slot, topics }),
        1 => (0..2u8, 1..6u8).prop_map(|(topic, partitions)| Step::Topic { topic, partitions }),
        3 => (0..12u8).prop_map(|seconds| Step::Wait { seconds }),
        1 => Just(Step::Load),
        1 => Just(Step::Lose),
    ];
    prop::collection::vec(step, 0..150)
}

/// What a member of the classic protocol does next.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Next {
    Join,
    /// It waits for an answer.
    Wait,
    /// With what it gives, where it leads.
    Sync(Vec<(MemberId, Bytes)>),
    Heartbeat,
}

#[derive(Clone, Debug)]
enum Speaks {
    Classic {
        next: Next,
        generation: Option<GenerationId>,
        /// The topics as it saw them when it last led.
        led: Option<BTreeMap<u8, u8>>,
    },
    Consumer {
        epoch: Option<i32>,
        has_news: bool,
        is_unsure: bool,
    },
}

/// A process: a member that does as it is told.
#[derive(Clone, Debug)]
struct Process {
    number: u64,
    speaks: Speaks,
    member: Option<MemberId>,
    instance: Option<InstanceId>,
    reads: u8,
    /// What it read when it joined.
    said: u8,
    has: BTreeSet<(u8, i32)>,
    /// The group went on without it; it has yet to hear of that, and until then what it reads may be read by others.
    is_outside: bool,
}

struct World {
    now: Now,
    coordinator: GroupCoordinator,
    config: GroupConfig,
    /// Whether classic members keep what they have while they rebalance.
    cooperative: bool,
    log: Vec<CoordinatorRecord>,
    lose: bool,
    next: u64,
    /// Who asked what is not answered yet, and whether the answer is lost.
    open: BTreeMap<Token, (u8, u64, bool)>,
    processes: BTreeMap<u8, Process>,
    topics: BTreeMap<u8, u8>,
}

fn name(topic: u8) -> Arc<str> {
    format!("t{topic}").into()
}

fn topic_id(topic: u8) -> Uuid {
    Uuid::from_bytes([topic + 1; 16])
}

fn names(topics: u8) -> Vec<Arc<str>> {
    (0..2u8).filter(|topic| topics & (1 << topic) != 0).map(name).collect()
}

fn by_name(topic: &str) -> u8 {
    topic.strip_prefix('t').unwrap().parse().unwrap()
}

impl World {
    fn new(cooperative: bool, consumer_migration: MigrationPolicy) -> Self {
        let config = GroupConfig {
            offsets_retention: Duration::from_secs(3_600),
            consumer_migration,
            ..GroupConfig::default()
        };
        let rng = StdRng::seed_from_u64(1);
        let now = Now::default();
        let (coordinator, _) = LoadingCoordinator::new().finish(config.clone(), rng, now);
        let mut world = Self {
            now,
            coordinator,
            config,
            cooperative,
            log: Vec::new(),
            lose: false,
            next: 0,
            open: BTreeMap::new(),
            processes: BTreeMap::new(),
            topics: BTreeMap::from([(0, 4), (1, 3)]),
        };
        world.tell_topics();
        world
    }

    fn tell_topics(&mut self) {
        let topics = self.topics.iter().map(|(topic, partitions)| {
            (name(*topic), TopicInfo { id: topic_id(*topic), partitions: u32::from(*partitions) })
        });
        self.coordinator.on_topics(Arc::new(topics.collect()));
    }

    fn perform(&mut self, outcome: Outcome) {
        let is_lost = !outcome.records.is_empty() && std::mem::take(&mut self.lose);
        if !is_lost {
            for record in &outcome.records {
                let bytes = (record.key_bytes().unwrap(), record.value_bytes().unwrap());
                let read = CoordinatorRecord::from_bytes(bytes.0, bytes.1).unwrap().unwrap();
                self.coordinator.replay(&read);
                self.log.push(read);
            }
        }
        for (token, reply) in outcome.replies {
            let error = ErrorCode::NotEnoughReplicas;
            let reply = if is_lost { reply.failed(error) } else { reply };
            self.answer(token, &reply);
        }
        if is_lost {
            let outcome = self.coordinator.on_append_failed(self.now, &outcome.records);
            self.perform(outcome);
        }
        self.check();
    }

    /// Nobody reads what another member reads; and the log has the group once.
    fn check(&mut self) {
        let durable = &self.coordinator.durable;
        let of_consumers = durable.consumer_groups.get("g");
        assert!(of_consumers.is_none() || !durable.groups.contains_key("g"), "two groups");
        if let Some(group) = of_consumers {
            group.check();
        }
        let is_member = |id: &MemberId| {
            let soft = self.coordinator.classic.get("g");
            let is_classic = soft.is_some_and(|group| group.members.contains_key(id));
            is_classic || of_consumers.is_some_and(|group| group.members.contains_key(id))
        };
        let mut read = BTreeMap::new();
        for (slot, process) in &mut self.processes {
            process.is_outside |= !process.member.as_ref().is_some_and(is_member);
            if process.has.is_empty() {
                process.is_outside = false;
            }
            if process.is_outside {
                continue;
            }
            for partition in &process.has {
                let other = read.insert(*partition, slot);
                assert!(other.is_none(), "{partition:?} is read by {other:?} and {slot}");
            }
        }
    }

    fn answer(&mut self, token: Token, reply: &Reply) {
        let (slot, number, is_lost) = self.open.remove(&token).expect("each is answered once");
        let (topics, cooperative) = (self.topics.clone(), self.cooperative);
        let Some(process) = self.processes.get_mut(&slot).filter(|one| one.number == number) else {
            return;
        };
        match reply {
            Reply::ConsumerGroupHeartbeat(result) => process.on_beat(result, is_lost),
            Reply::JoinGroup(_) | Reply::SyncGroup(_) if is_lost => process.join_again(),
            Reply::Heartbeat(_) if is_lost => {}
            Reply::JoinGroup(Ok(joined)) => process.on_joined(joined, &topics, cooperative),
            Reply::JoinGroup(Err(refused)) => {
                if refused.member.is_some() {
                    process.member.clone_from(&refused.member);
                }
                if process.on_refused(refused.error) {
                    self.processes.remove(&slot);
                }
            }
            Reply::SyncGroup(Ok(synced)) => process.on_synced(&synced.assignment, cooperative),
            Reply::SyncGroup(Err(error)) | Reply::Heartbeat(Err(error)) => {
                if process.on_refused(*error) {
                    self.processes.remove(&slot);
                }
            }
            Reply::Heartbeat(Ok(())) => {}
            Reply::LeaveGroup(_)
            | Reply::CommitOffsets(_)
            | Reply::FetchOffsets(_)
            | Reply::DeleteOffsets(_)
            | Reply::ListGroups(_)
            | Reply::DescribeGroups(_)
            | Reply::DeleteGroups(_)
            | Reply::DescribeConsumerGroups(_) => {}
        }
    }

    fn ask(&mut self, slot: u8, is_lost: bool, request: Request) {
        self.next += 1;
        let token = Token(self.next);
        let number = self.processes[&slot].number;
        self.open.insert(token, (slot, number, is_lost));
        let outcome = self.coordinator.decide(self.now, token, request);
        self.perform(outcome);
    }

    fn go(&mut self, slot: u8, is_lost: bool) {
        let Some(process) = self.processes.get_mut(&slot) else { return };
        let (member, instance) = (process.member.clone(), process.instance.clone());
        let Speaks::Classic { next, generation, led } = &mut process.speaks else {
            let epoch = HeartbeatEpoch::Join;
            let request = process.beat(epoch);
            return self.ask(slot, is_lost, Request::ConsumerGroupHeartbeat(request));
        };
        let generation = *generation;
        let topics_changed = led.as_ref().is_some_and(|led| *led != self.topics);
        if *next == Next::Heartbeat && (topics_changed || process.said != process.reads) {
            *next = Next::Join;
        }
        let nobody = || "nobody".into();
        let request = match std::mem::replace(next, Next::Wait) {
            Next::Wait => return,
            Next::Join => Request::JoinGroup(process.join(self.cooperative)),
            Next::Sync(assignments) => Request::SyncGroup(SyncGroup {
                group: "g".into(),
                generation,
                member: member.unwrap_or_else(nobody),
                instance,
                protocol_type: Some("consumer".into()),
                protocol: Some("p".into()),
                assignments,
            }),
            Next::Heartbeat => {
                *next = Next::Heartbeat;
                Request::Heartbeat(Heartbeat {
                    group: "g".into(),
                    generation,
                    member: member.unwrap_or_else(nobody),
                    instance,
                })
            }
        };
        self.ask(slot, is_lost, request);
    }

    fn start(&mut self, slot: u8, is_classic: bool) {
        let is_static = slot < 2;
        if is_static {
            self.stop(slot);
        } else {
            self.leave(slot);
        }
        self.next += 1;
        let speaks = if is_classic {
            Speaks::Classic { next: Next::Join, generation: None, led: None }
        } else {
            Speaks::Consumer { epoch: None, has_news: false, is_unsure: false }
        };
        let process = Process {
            number: self.next,
            speaks,
            member: (!is_classic).then(|| format!("n{}", self.next).into()),
            instance: is_static.then(|| format!("i{slot}").into()),
            reads: 3,
            said: 3,
            has: BTreeSet::new(),
            is_outside: false,
        };
        self.processes.insert(slot, process);
    }

    /// A static member's process ends, and another one will take its place.
    fn stop(&mut self, slot: u8) {
        let Some(process) = self.processes.get(&slot) else { return };
        if let Speaks::Consumer { epoch: Some(_), .. } = process.speaks {
            let request = process.beat(HeartbeatEpoch::LeaveForAWhile);
            self.ask(slot, true, Request::ConsumerGroupHeartbeat(request));
        }
        self.processes.remove(&slot);
    }

    fn leave(&mut self, slot: u8) {
        let Some(process) = self.processes.get(&slot) else { return };
        let (member, instance) = (process.member.clone(), process.instance.clone());
        let request = match process.speaks {
            Speaks::Consumer { .. } => {
                Request::ConsumerGroupHeartbeat(process.beat(HeartbeatEpoch::Leave))
            }
            Speaks::Classic { .. } => {
                let members = vec![LeavingMember { member, instance }];
                Request::LeaveGroup(LeaveGroup { group: "g".into(), members })
            }
        };
        self.ask(slot, true, request);
        self.processes.remove(&slot);
    }

    fn wait(&mut self, span: Duration) {
        let end = self.now.monotonic + span;
        for _ in 0..10_000 {
            let Some(at) = self.coordinator.deadline().filter(|at| *at <= end) else { break };
            self.set_time(at.max(self.now.monotonic));
            let outcome = self.coordinator.tick(self.now);
            self.perform(outcome);
        }
        self.set_time(end);
    }

    fn set_time(&mut self, at: Monotonic) {
        let millis = i64::try_from(at.nanos() / 1_000_000).unwrap();
        self.now = Now { monotonic: at, wall: Timestamp::from_millis(millis) };
    }

    fn load(&mut self) {
        let mut loading = LoadingCoordinator::new();
        self.log.iter().for_each(|record| loading.replay(record));
        self.next += 1;
        let rng = StdRng::seed_from_u64(self.next);
        let (coordinator, outcome) = loading.finish(self.config.clone(), rng, self.now);
        let former = std::mem::replace(&mut self.coordinator, coordinator);
        assert_eq!(former.durable, self.coordinator.durable, "memory is not what the log says");
        self.tell_topics();
        for (token, reply) in former.resign() {
            self.answer(token, &reply);
        }
        assert_eq!(self.open, BTreeMap::new(), "somebody waits for nobody");
        self.perform(outcome);
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Start { slot, is_classic } => self.start(slot, is_classic),
            Step::Go { slot, is_lost } => self.go(slot, is_lost),
            Step::Leave { slot } => self.leave(slot),
            Step::Vanish { slot } => _ = self.processes.remove(&slot),
            Step::Read { slot, topics } => {
                let Some(process) = self.processes.get_mut(&slot) else { return };
                process.reads = topics;
                if let Speaks::Consumer { has_news, .. } = &mut process.speaks {
                    *has_news = true;
                }
            }
            Step::Topic { topic, partitions } => {
                let known = self.topics.get_mut(&topic).unwrap();
                *known = partitions.max(*known);
                self.tell_topics();
            }
            Step::Wait { seconds } => self.wait(Duration::from_secs(seconds.into())),
            Step::Load => self.load(),
            Step::Lose => self.lose = true,
        }
    }

    /// Whatever anybody reads is read by one, as the members themselves say.
    fn check_covered(&self) {
        let read: Vec<(u8, i32)> =
            self.processes.values().flat_map(|process| process.has.iter().copied()).collect();
        let once: BTreeSet<(u8, i32)> = read.iter().copied().collect();
        assert_eq!(read.len(), once.len(), "two think that they have it");
        let mut wanted = BTreeSet::new();
        for (topic, partitions) in &self.topics {
            if self.processes.values().any(|process| process.reads & (1 << topic) != 0) {
                wanted.extend((0..i32::from(*partitions)).map(|index| (*topic, index)));
            }
        }
        assert_eq!(once, wanted, "{:?}", self.processes);
    }
}

impl Process {
    fn beat(&self, joining: HeartbeatEpoch) -> ConsumerGroupHeartbeat {
        let Speaks::Consumer { epoch, has_news, is_unsure } = self.speaks else {
            panic!("it speaks the classic protocol");
        };
        let epoch = match joining {
            HeartbeatEpoch::Join => epoch.map_or(HeartbeatEpoch::Join, HeartbeatEpoch::At),
            leaving @ (HeartbeatEpoch::At(_)
            | HeartbeatEpoch::Leave
            | HeartbeatEpoch::LeaveForAWhile) => leaving,
        };
        let says_all = epoch == HeartbeatEpoch::Join || is_unsure;
        let mut owned = Assignment::new();
        for (topic, index) in &self.has {
            owned.entry(topic_id(*topic)).or_default().insert(PartitionIndex::new(*index));
        }
        ConsumerGroupHeartbeat {
            group: "g".into(),
            member: self.member.clone(),
            may_lack_member_id: false,
            epoch,
            instance: self.instance.clone(),
            rack: None,
            client_id: "c".into(),
            client_host: "h".into(),
            rebalance_timeout: says_all.then(|| Duration::from_secs(30)),
            topics: (says_all || has_news).then(|| names(self.reads)),
            topic_regex: None,
            assignor: None,
            owned: Some(owned),
        }
    }

    fn on_beat(&mut self, result: &Result<HeartbeatAnswer, ErrorCode>, is_lost: bool) {
        let Speaks::Consumer { epoch, has_news, is_unsure } = &mut self.speaks else { return };
        *is_unsure = is_lost;
        if is_lost {
            return;
        }
        match result {
            Ok(answer) => {
                *epoch = Some(answer.member_epoch);
                *has_news = false;
                if let Some(assignment) = &answer.assignment {
                    self.has = assignment
                        .iter()
                        .flat_map(|(topic, partitions)| {
                            let topic = topic.as_bytes()[0] - 1;
                            partitions.iter().map(move |index| (topic, index.value()))
                        })
                        .collect();
                }
            }
            Err(ErrorCode::CoordinatorNotAvailable) => *is_unsure = true,
            Err(_) => {
                *epoch = None;
                self.has.clear();
            }
        }
    }

    fn join(&mut self, cooperative: bool) -> JoinGroup {
        if !cooperative {
            self.has.clear();
        }
        self.said = self.reads;
        let topics = names(self.reads);
        let topics: Vec<&str> = topics.iter().map(AsRef::as_ref).collect();
        let has = self.has.iter();
        let has = has.map(|(topic, index)| (name(*topic), PartitionIndex::new(*index)));
        let says = subscription_with(&topics, Some(&has.collect::<Vec<_>>()));
        JoinGroup {
            group: "g".into(),
            member: self.member.clone(),
            instance: self.instance.clone(),
            client_id: "c".into(),
            client_host: "h".into(),
            session_timeout: Duration::from_secs(10),
            rebalance_timeout: Duration::from_secs(30),
            protocol_type: "consumer".into(),
            protocols: vec![("p".into(), says)],
            requires_known_member_id: true,
            may_skip_assignment: true,
        }
    }

    fn join_again(&mut self) {
        let Speaks::Classic { next, .. } = &mut self.speaks else { return };
        *next = Next::Join;
    }

    fn on_joined(&mut self, joined: &Joined, topics: &BTreeMap<u8, u8>, cooperative: bool) {
        let Speaks::Classic { next, generation, led } = &mut self.speaks else { return };
        self.member = Some(Arc::clone(&joined.member));
        *generation = Some(joined.generation);
        let leads = joined.leader.as_ref() == Some(&joined.member);
        *led = leads.then(|| topics.clone());
        let gives = leads && !joined.skip_assignment;
        *next = Next::Sync(if gives { assign(joined, topics, cooperative) } else { Vec::new() });
    }

    fn on_synced(&mut self, assignment: &Bytes, cooperative: bool) {
        let Speaks::Classic { next, .. } = &mut self.speaks else { return };
        let given = if assignment.is_empty() {
            BTreeSet::new()
        } else {
            let read = read_assignment(assignment).unwrap();
            let given = read.assigned_partitions.iter().flat_map(|of| {
                of.partitions.iter().map(|index| (by_name(&of.topic), index.value()))
            });
            given.collect()
        };
        let gives_up = self.has.difference(&given).next().is_some();
        *next = if cooperative && gives_up { Next::Join } else { Next::Heartbeat };
        self.has = given;
        self.is_outside = false;
    }

    /// Returns whether another process has taken its place.
    fn on_refused(&mut self, error: ErrorCode) -> bool {
        self.join_again();
        if error == ErrorCode::UnknownMemberId {
            self.member = None;
            self.has.clear();
        }
        if error == ErrorCode::IllegalGeneration {
            self.has.clear();
        }
        let is_expected = matches!(
            error,
            ErrorCode::UnknownMemberId
                | ErrorCode::IllegalGeneration
                | ErrorCode::MemberIdRequired
                | ErrorCode::RebalanceInProgress
                | ErrorCode::CoordinatorNotAvailable
                | ErrorCode::NotCoordinator
                | ErrorCode::FencedInstanceId
        );
        assert!(is_expected, "{error}");
        error == ErrorCode::FencedInstanceId
    }
}

/// A leader's work: everything in turn. Where members keep what they have, nobody gets what another one has yet to give up.
fn assign(joined: &Joined, topics: &BTreeMap<u8, u8>, cooperative: bool) -> Vec<(MemberId, Bytes)> {
    let said = joined.members.iter();
    let said: BTreeMap<&MemberId, _> =
        said.map(|one| (&one.member, read_subscription(&one.metadata).unwrap())).collect();
    let mut given: BTreeMap<&MemberId, Vec<(u8, i32)>> =
        said.keys().map(|member| (*member, Vec::new())).collect();
    for (topic, partitions) in topics {
        let name = name(*topic);
        let readers = said.iter().filter(|(_, said)| said.topics.iter().any(|t| **t == *name));
        let readers: Vec<&MemberId> = readers.map(|(member, _)| *member).collect();
        for index in 0..i32::from(*partitions) {
            let Some(turn) = usize::try_from(index).unwrap().checked_rem(readers.len()) else {
                continue;
            };
            let owners = said.iter().filter(|(_, said)| {
                let mut owned = said.owned_partitions.iter();
                owned.any(|of| {
                    of.topic == *name && of.partitions.contains(&PartitionIndex::new(index))
                })
            });
            let mut owners = owners.map(|(member, _)| *member);
            let to = readers[turn];
            if !cooperative || owners.all(|owner| owner == to) {
                given.get_mut(to).unwrap().push((*topic, index));
            }
        }
    }
    let bytes = |partitions: Vec<(u8, i32)>| {
        let assigned = partitions.into_iter().map(|(topic, index)| {
            let partitions = vec![PartitionIndex::new(index)];
            consumer_protocol_assignment::TopicPartition {
                topic: name(topic).to_string(),
                partitions,
            }
        });
        let assignment =
            ConsumerProtocolAssignment { assigned_partitions: assigned.collect(), user_data: None };
        assignment_bytes(&assignment, &Bytes::new()).unwrap()
    };
    given.into_iter().map(|(member, partitions)| (Arc::clone(member), bytes(partitions))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn members_of_both_protocols_share_what_they_read(
        steps in steps(),
        cooperative in any::<bool>(),
        may_go_back in prop::bool::weighted(0.8),
    ) {
        let policy =
            if may_go_back { MigrationPolicy::Bidirectional } else { MigrationPolicy::Upgrade };
        let mut world = World::new(cooperative, policy);
        for step in &steps {
            world.step(step);
        }
        world.lose = false;
        // Longer than any session and rebalance, and a round for each step on the way.
        for _ in 0..60 {
            for slot in 0..SLOTS {
                for _ in 0..3 {
                    world.go(slot, false);
                }
            }
            world.wait(Duration::from_secs(3));
        }
        world.check_covered();
        // Another coordinator finds the same, and nobody notices.
        let before: Vec<_> = world.processes.values().map(|process| process.has.clone()).collect();
        world.load();
        for slot in 0..SLOTS {
            world.go(slot, false);
        }
        let after: Vec<_> = world.processes.values().map(|process| process.has.clone()).collect();
        prop_assert_eq!(before, after);
        let listed = world.coordinator.list_groups(&GroupFilter::default());
        let states = listed.iter().map(|group| group.state).collect::<Vec<_>>();
        let expected = if world.processes.is_empty() { Vec::new() } else { vec![GroupState::Stable] };
        prop_assert!(states == expected || world.processes.is_empty(), "{:?}", states);

        let mut sum = Durable::default();
        world.log.iter().for_each(|record| sum.replay(record));
        prop_assert_eq!(&sum, &world.coordinator.durable);

        // Silence ends it.
        world.processes.clear();
        world.wait(Duration::from_secs(2_000));
        prop_assert_eq!(&world.coordinator.durable, &Durable::default());
        prop_assert!(world.coordinator.classic.is_empty());
    }
}
