//! What holds of every story of a consumer group: no partition has two owners, memory is what the log says, and once nothing changes any
//! more every partition has an owner who knows it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::coordinator::group::assignor::Assignment;
use crate::coordinator::group::durable::Durable;
use crate::coordinator::group::request::*;
use crate::coordinator::group::*;
use crate::protocol::coordinator_records::CoordinatorRecord;
use crate::types::{ErrorCode, Now, PartitionIndex, Uuid};

#[derive(Clone, Debug)]
enum Step {
    /// Who sends a heartbeat; whether the answer is lost.
    Beat {
        who: u8,
        is_lost: bool,
    },
    /// Who reads other topics from now on, and whether it says so by a regular expression.
    Read {
        who: u8,
        topics: u8,
        by_pattern: bool,
    },
    Leave {
        who: u8,
    },
    /// Who is not heard of any more.
    Vanish {
        who: u8,
    },
    /// How many partitions a topic has from now on.
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
    let who = 0..4u8;
    let step = prop_oneof![
        12 => (who.clone(), prop::bool::weighted(0.1))
            .prop_map(|(who, is_lost)| Step::Beat { who, is_lost }),
        2 => (who.clone(), 0..8u8, prop::bool::ANY)
            .prop_map(|(who, topics, by_pattern)| Step::Read { who, topics, by_pattern }),
        1 => who.clone().prop_map(|who| Step::Leave { who }),
        1 => who.prop_map(|who| Step::Vanish { who }),
        1 => (0..3u8, 0..6u8).prop_map(|(topic, partitions)| Step::Topic { topic, partitions }),
        1 => (0..60u8).prop_map(|seconds| Step::Wait { seconds }),
        1 => Just(Step::Load),
        1 => Just(Step::Lose),
    ];
    prop::collection::vec(step, 0..80)
}

/// A member that does as it is told.
#[derive(Clone, Debug)]
struct Consumer {
    epoch: Option<i32>,
    has: Assignment,
    reads: u8,
    by_pattern: bool,
    /// Whether it has yet to say what it reads.
    has_news: bool,
    /// Whether an answer was lost: then it says everything, and hears everything.
    is_unsure: bool,
}

struct World {
    now: Now,
    coordinator: GroupCoordinator,
    log: Vec<CoordinatorRecord>,
    topics: BTreeMap<u8, u8>,
    consumers: BTreeMap<u8, Consumer>,
    lose: bool,
}

fn config() -> GroupConfig {
    GroupConfig {
        offsets_retention: Duration::from_secs(3_600),
        consumer_session_timeout: Duration::from_secs(45),
        ..GroupConfig::default()
    }
}

fn name(topic: u8) -> Arc<str> {
    format!("t{topic}").into()
}

fn topic_id(topic: u8) -> Uuid {
    Uuid::from_bytes([topic + 1; 16])
}

fn names(topics: u8) -> Vec<Arc<str>> {
    (0..3u8).filter(|topic| topics & (1 << topic) != 0).map(name).collect()
}

impl World {
    fn new() -> Self {
        let rng = StdRng::seed_from_u64(1);
        let now = Now::default();
        let (coordinator, _) = LoadingCoordinator::new().finish(config(), rng, now);
        let topics = BTreeMap::from([(0, 4), (1, 3)]);
        let (log, consumers) = (Vec::new(), BTreeMap::new());
        let mut world = Self { now, coordinator, log, topics, consumers, lose: false };
        world.tell_topics();
        world
    }

    fn tell_topics(&mut self) {
        let topics = self.topics.iter().filter(|(_, partitions)| **partitions > 0);
        let topics = topics.map(|(topic, partitions)| {
            (name(*topic), TopicInfo { id: topic_id(*topic), partitions: u32::from(*partitions) })
        });
        self.coordinator.on_topics(Arc::new(topics.collect()));
    }

    /// Returns whether the log took the records.
    fn append(&mut self, outcome: &Outcome) -> bool {
        let records = &outcome.records;
        if !records.is_empty() && std::mem::take(&mut self.lose) {
            let failed = self.coordinator.on_append_failed(self.now, records);
            assert_eq!(failed, Outcome::default(), "nothing soft depends on the log");
            let said = self.coordinator.said_without(outcome.said.clone(), records);
            assert_eq!(said, [], "what is said of a consumer group is in the log");
            return false;
        }
        for record in records {
            let bytes = (record.key_bytes().unwrap(), record.value_bytes().unwrap());
            let read = CoordinatorRecord::from_bytes(bytes.0, bytes.1).unwrap().unwrap();
            self.coordinator.replay(&read);
            self.log.push(read);
        }
        if let Some(group) = self.coordinator.durable.consumer_groups.get("g") {
            group.check();
        }
        true
    }

    fn wait(&mut self, span: Duration) {
        let end = self.now.monotonic + span;
        while let Some(at) = self.coordinator.deadline().filter(|at| *at <= end) {
            self.now.monotonic = at.max(self.now.monotonic);
            let outcome = self.coordinator.tick(self.now);
            self.append(&outcome);
        }
        self.now.monotonic = end;
    }

    fn load(&mut self) {
        let mut loading = LoadingCoordinator::new();
        self.log.iter().for_each(|record| loading.replay(record));
        let rng = StdRng::seed_from_u64(2);
        let (coordinator, outcome) = loading.finish(config(), rng, self.now);
        assert_eq!(outcome, Outcome::default());
        let former = std::mem::replace(&mut self.coordinator, coordinator);
        assert_eq!(former.durable, self.coordinator.durable, "memory is not what the log says");
        self.tell_topics();
    }

    fn request(&self, who: u8, epoch: HeartbeatEpoch) -> ConsumerGroupHeartbeat {
        let consumer = &self.consumers[&who];
        let says_all = epoch == HeartbeatEpoch::Join || consumer.is_unsure;
        let says_reads = says_all || consumer.has_news;
        let (topics, topic_regex) = if consumer.by_pattern {
            (Vec::new(), names(consumer.reads).join("|").into())
        } else {
            (names(consumer.reads), "".into())
        };
        ConsumerGroupHeartbeat {
            group: "g".into(),
            member: Some(format!("m{who}").into()),
            may_lack_member_id: false,
            epoch,
            instance: None,
            rack: None,
            client_id: "c".into(),
            client_host: "h".into(),
            rebalance_timeout: says_all.then(|| Duration::from_secs(30)),
            topics: says_reads.then_some(topics),
            topic_regex: says_reads.then_some(topic_regex),
            assignor: None,
            owned: Some(consumer.has.clone()),
        }
    }

    fn ask(
        &mut self,
        request: ConsumerGroupHeartbeat,
    ) -> Option<Result<HeartbeatAnswer, ErrorCode>> {
        let request = Request::ConsumerGroupHeartbeat(request);
        let mut outcome = self.coordinator.decide(self.now, Token(1), request);
        let took = self.append(&outcome);
        let (token, reply) = outcome.replies.pop().expect("a heartbeat is answered at once");
        assert_eq!((token, outcome.replies.len()), (Token(1), 0));
        let Reply::ConsumerGroupHeartbeat(result) = reply else { panic!("{reply:?}") };
        took.then_some(result)
    }

    fn beat(&mut self, who: u8, is_lost: bool) {
        let fresh = Consumer {
            epoch: None,
            has: Assignment::new(),
            reads: 3,
            by_pattern: false,
            has_news: false,
            is_unsure: false,
        };
        self.consumers.entry(who).or_insert(fresh);
        let epoch = self.consumers[&who].epoch.map_or(HeartbeatEpoch::Join, HeartbeatEpoch::At);
        let request = self.request(who, epoch);
        let result = self.ask(request).filter(|_| !is_lost);
        let consumer = self.consumers.get_mut(&who).unwrap();
        consumer.is_unsure = result.is_none();
        let Some(result) = result else { return };
        match result {
            Ok(answer) => {
                consumer.epoch = Some(answer.member_epoch);
                consumer.has_news = false;
                if let Some(assignment) = answer.assignment {
                    consumer.has = assignment;
                }
            }
            Err(_) => {
                consumer.epoch = None;
                consumer.has = Assignment::new();
            }
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Beat { who, is_lost } => self.beat(who, is_lost),
            Step::Read { who, topics, by_pattern } => {
                if let Some(consumer) = self.consumers.get_mut(&who) {
                    consumer.reads = topics;
                    consumer.by_pattern = by_pattern;
                    consumer.has_news = true;
                }
            }
            Step::Leave { who } => {
                if self.consumers.contains_key(&who) {
                    let request = self.request(who, HeartbeatEpoch::Leave);
                    if self.ask(request).is_some() {
                        self.consumers.remove(&who);
                    }
                }
            }
            Step::Vanish { who } => _ = self.consumers.remove(&who),
            Step::Topic { topic, partitions } => {
                // Kafka's topics only grow, or go.
                let before = self.topics.get(&topic).copied().unwrap_or(0);
                let partitions = if partitions == 0 { 0 } else { partitions.max(before) };
                self.topics.insert(topic, partitions);
                self.tell_topics();
            }
            Step::Wait { seconds } => self.wait(Duration::from_secs(seconds.into())),
            Step::Load => self.load(),
            Step::Lose => self.lose = true,
        }
    }

    /// What somebody reads, and what they have of it, each said by the members themselves.
    fn check_covered(&self) {
        let mut owned = BTreeSet::new();
        for consumer in self.consumers.values() {
            for (topic, partitions) in &consumer.has {
                for index in partitions {
                    assert!(owned.insert((*topic, *index)), "two think that they have it");
                }
            }
        }
        let mut wanted = BTreeSet::new();
        for (topic, partitions) in &self.topics {
            if self.consumers.values().any(|consumer| consumer.reads & (1 << topic) != 0) {
                let indexes = (0..i32::from(*partitions)).map(PartitionIndex::new);
                wanted.extend(indexes.map(|index| (topic_id(*topic), index)));
            }
        }
        assert_eq!(owned, wanted);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn once_nothing_changes_every_partition_has_one_owner(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        world.lose = false;
        // Longer than a session, and one round per step on the way: somebody gives up, somebody takes.
        for _ in 0..24 {
            let all: Vec<u8> = world.consumers.keys().copied().collect();
            for who in all {
                world.beat(who, false);
            }
            world.wait(Duration::from_secs(5));
        }
        world.wait(Duration::from_secs(30));
        for who in world.consumers.keys().copied().collect::<Vec<_>>() {
            world.beat(who, false);
        }
        let group = world.coordinator.describe_consumer_group("g");
        let expected = if world.consumers.is_empty() { GroupState::Empty } else { GroupState::Stable };
        prop_assert!(group.is_err() && world.consumers.is_empty()
            || group.is_ok_and(|group| group.state == expected));
        world.check_covered();

        let mut sum = Durable::default();
        world.log.iter().for_each(|record| sum.replay(record));
        prop_assert_eq!(&sum, &world.coordinator.durable);

        // Silence ends it.
        world.wait(Duration::from_secs(2_000));
        prop_assert_eq!(&world.coordinator.durable, &Durable::default());
    }
}
