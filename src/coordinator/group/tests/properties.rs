//! What holds of every story: each request is answered once, memory is what the log says, and silence ends all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::goldens::subscription;
use crate::coordinator::group::durable::Durable;
use crate::coordinator::group::request::*;
use crate::coordinator::group::*;
use crate::protocol::coordinator_records::CoordinatorRecord;
use crate::types::{ErrorCode, GenerationId, Now, Offset, PartitionIndex, Timestamp, Uuid};

/// Something that happens to a coordinator. Numbers choose among few.
#[derive(Clone, Debug)]
enum Step {
    /// Who, in which group, what it knows, and whether it comes anew.
    Join {
        who: u8,
        group: u8,
        knows: u8,
        is_anew: bool,
        is_static: bool,
    },
    /// Who, and whether it means an older generation.
    Sync {
        who: u8,
        is_late: bool,
    },
    Heartbeat {
        who: u8,
        is_late: bool,
    },
    Leave {
        who: u8,
    },
    Commit {
        who: u8,
        topic: u8,
        offset: u8,
        is_late: bool,
    },
    CommitAlone {
        group: u8,
        topic: u8,
        offset: u8,
    },
    Forget {
        group: u8,
        topic: u8,
    },
    Delete {
        group: u8,
    },
    Wait {
        seconds: u16,
    },
    Load,
    Lose,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (who, group) = (0..5u8, 0..2u8);
    let join = (who.clone(), group.clone(), 0..3u8, any::<bool>(), prop::bool::weighted(0.3));
    let step = prop_oneof![
        8 => join.prop_map(|(who, group, knows, is_anew, is_static)| Step::Join {
            who, group, knows, is_anew, is_static
        }),
        6 => (who.clone(), prop::bool::weighted(0.1))
            .prop_map(|(who, is_late)| Step::Sync { who, is_late }),
        2 => (who.clone(), prop::bool::weighted(0.1))
            .prop_map(|(who, is_late)| Step::Heartbeat { who, is_late }),
        1 => who.clone().prop_map(|who| Step::Leave { who }),
        3 => (who, 0..3u8, 0..9u8, prop::bool::weighted(0.2)).prop_map(
            |(who, topic, offset, is_late)| Step::Commit { who, topic, offset, is_late }
        ),
        1 => (group.clone(), 0..3u8, 0..9u8)
            .prop_map(|(group, topic, offset)| Step::CommitAlone { group, topic, offset }),
        1 => (group.clone(), 0..3u8).prop_map(|(group, topic)| Step::Forget { group, topic }),
        1 => group.prop_map(|group| Step::Delete { group }),
        4 => prop_oneof![0..4u16, 0..100u16].prop_map(|seconds| Step::Wait { seconds }),
        1 => Just(Step::Load),
        1 => Just(Step::Lose),
    ];
    prop::collection::vec(step, 0..80)
}

/// What a client knows of itself.
#[derive(Clone, Debug, Default)]
struct Client {
    group: u8,
    member: Option<MemberId>,
    generation: Option<GenerationId>,
    instance: Option<InstanceId>,
}

struct World {
    now: Now,
    coordinator: GroupCoordinator,
    log: Vec<CoordinatorRecord>,
    lose: bool,
    next: u64,
    /// Who asked what is not answered yet.
    open: BTreeMap<Token, Option<u8>>,
    clients: BTreeMap<u8, Client>,
    /// The generation that each group last wrote; it must not fall while the record is there.
    generations: BTreeMap<String, i32>,
}

fn config() -> GroupConfig {
    GroupConfig {
        size_max: 4,
        offsets_retention: Duration::from_secs(120),
        offsets_retention_check_interval: Duration::from_secs(60),
        ..GroupConfig::default()
    }
}

fn group_id(number: u8) -> GroupId {
    format!("g{number}").into()
}

fn topic(number: u8) -> Topic {
    Topic { name: format!("t{number}").into(), id: Some(Uuid::from_bytes([number; 16])) }
}

impl World {
    fn new() -> Self {
        let rng = StdRng::seed_from_u64(1);
        let now = Now::default();
        let (coordinator, outcome) = LoadingCoordinator::new().finish(config(), rng, now);
        assert_eq!(outcome, Outcome::default());
        Self {
            now,
            coordinator,
            log: Vec::new(),
            lose: false,
            next: 0,
            open: BTreeMap::new(),
            clients: BTreeMap::new(),
            generations: BTreeMap::new(),
        }
    }

    fn perform(&mut self, outcome: Outcome) {
        let is_lost = !outcome.records.is_empty() && std::mem::take(&mut self.lose);
        if !is_lost {
            for record in &outcome.records {
                self.coordinator.replay(record);
                self.log.push(record.clone());
                self.check_generation(record);
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
        let mut sum = Durable::default();
        self.log.iter().for_each(|record| sum.replay(record));
        assert_eq!(sum, self.coordinator.durable, "memory is not what the log says");
    }

    fn check_generation(&mut self, record: &CoordinatorRecord) {
        let CoordinatorRecord::GroupMetadata(key, value) = record else { return };
        match value {
            None => _ = self.generations.remove(&key.group),
            Some(value) => {
                let before = self.generations.insert(key.group.clone(), value.generation);
                assert!(before.is_none_or(|before| before <= value.generation), "it fell");
            }
        }
    }

    fn answer(&mut self, token: Token, reply: &Reply) {
        let who = self.open.remove(&token).expect("each request is answered once");
        let Some(client) = who.and_then(|who| self.clients.get_mut(&who)) else { return };
        match reply {
            Reply::JoinGroup(Ok(joined)) => {
                client.member = Some(Arc::clone(&joined.member));
                client.generation = Some(joined.generation);
            }
            Reply::JoinGroup(Err(refused)) => {
                client.generation = None;
                client.member =
                    refused.member.clone().filter(|_| refused.error == ErrorCode::MemberIdRequired);
            }
            Reply::SyncGroup(_)
            | Reply::Heartbeat(_)
            | Reply::LeaveGroup(_)
            | Reply::CommitOffsets(_)
            | Reply::FetchOffsets(_)
            | Reply::DeleteOffsets(_)
            | Reply::ListGroups(_)
            | Reply::DescribeGroups(_)
            | Reply::DeleteGroups(_)
            | Reply::ConsumerGroupHeartbeat(_)
            | Reply::DescribeConsumerGroups(_) => {}
        }
    }

    fn ask(&mut self, who: Option<u8>, request: Request) {
        self.next += 1;
        let token = Token(self.next);
        self.open.insert(token, who);
        let outcome = self.coordinator.decide(self.now, token, request);
        self.perform(outcome);
    }

    fn wait(&mut self, span: Duration) {
        let end = self.now.monotonic + span;
        for _ in 0..100_000 {
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
        let rng = StdRng::seed_from_u64(self.next);
        let (coordinator, outcome) = loading.finish(config(), rng, self.now);
        let former = std::mem::replace(&mut self.coordinator, coordinator);
        for (token, reply) in former.resign() {
            self.answer(token, &reply);
        }
        assert_eq!(self.open, BTreeMap::new(), "somebody waits for nobody");
        self.perform(outcome);
    }

    fn client(&mut self, who: u8) -> Client {
        self.clients.entry(who).or_default().clone()
    }

    fn generation(client: &Client, is_late: bool) -> Option<GenerationId> {
        let generation = client.generation?;
        if is_late { GenerationId::from_wire(generation.value() - 1) } else { Some(generation) }
    }

    fn join(&mut self, who: u8, group: u8, knows: u8, is_anew: bool, is_static: bool) {
        let mut client = self.client(who);
        if is_anew || client.group != group {
            client = Client { group, ..Client::default() };
            client.instance = is_static.then(|| format!("i{who}").into());
            self.clients.insert(who, client.clone());
        }
        let knows: &[&str] = match knows {
            0 => &["range", "sticky"],
            1 => &["sticky", "range"],
            _ => &["range"],
        };
        let protocols = knows.iter().map(|name| (Arc::from(*name), subscription(&["t0", "t1"])));
        let request = JoinGroup {
            group: group_id(group),
            member: client.member,
            instance: client.instance,
            client_id: format!("c{who}").into(),
            client_host: "h".into(),
            session_timeout: Duration::from_secs(10),
            rebalance_timeout: Duration::from_secs(30),
            protocol_type: "consumer".into(),
            protocols: protocols.collect(),
            requires_known_member_id: who.is_multiple_of(2),
            may_skip_assignment: who < 2,
        };
        self.ask(Some(who), Request::JoinGroup(request));
    }

    fn commit(&mut self, who: u8, number: u8, offset: u8, is_late: bool) {
        let client = self.client(who);
        let generation = Self::generation(&client, is_late);
        let group = group_id(client.group);
        let soft = self.coordinator.classic.get(&group);
        let is_current = soft.is_some_and(|group| {
            let is_member = client.member.as_ref().is_some_and(|m| group.members.contains_key(m));
            is_member && generation == Some(group.generation)
        });
        let is_empty = soft.is_none_or(classic_group::ClassicGroup::is_empty);
        let before = self.log.len();
        self.ask(
            Some(who),
            Request::CommitOffsets(CommitOffsets {
                group,
                generation,
                member: client.member,
                instance: client.instance,
                knows_member_epochs: true,
                retention: None,
                topics: vec![(topic(number), vec![to_commit(offset)])],
            }),
        );
        let is_taken = self.log.len() > before;
        let may = is_current || (is_empty && generation.is_none());
        assert!(!is_taken || may, "a commit of no member of this generation is taken");
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Join { who, group, knows, is_anew, is_static } => {
                self.join(who, group, knows, is_anew, is_static);
            }
            Step::Sync { who, is_late } => {
                let client = self.client(who);
                let members = self.clients.values().filter_map(|client| client.member.clone());
                let request = SyncGroup {
                    group: group_id(client.group),
                    generation: Self::generation(&client, is_late),
                    member: client.member.clone().unwrap_or_else(|| "nobody".into()),
                    instance: client.instance.clone(),
                    protocol_type: None,
                    protocol: None,
                    assignments: members.map(|id| (id, Bytes::from_static(b"a"))).collect(),
                };
                self.ask(Some(who), Request::SyncGroup(request));
            }
            Step::Heartbeat { who, is_late } => {
                let client = self.client(who);
                let request = Heartbeat {
                    group: group_id(client.group),
                    generation: Self::generation(&client, is_late),
                    member: client.member.clone().unwrap_or_else(|| "nobody".into()),
                    instance: client.instance,
                };
                self.ask(Some(who), Request::Heartbeat(request));
            }
            Step::Leave { who } => {
                let client = self.client(who);
                let leaving =
                    LeavingMember { member: client.member, instance: client.instance.clone() };
                let request = LeaveGroup { group: group_id(client.group), members: vec![leaving] };
                self.ask(Some(who), Request::LeaveGroup(request));
            }
            Step::Commit { who, topic, offset, is_late } => {
                self.commit(who, topic, offset, is_late)
            }
            Step::CommitAlone { group, topic: number, offset } => {
                let request = CommitOffsets {
                    group: group_id(group),
                    generation: None,
                    member: None,
                    instance: None,
                    knows_member_epochs: true,
                    retention: None,
                    topics: vec![(topic(number), vec![to_commit(offset)])],
                };
                self.ask(None, Request::CommitOffsets(request));
            }
            Step::Forget { group, topic: number } => {
                let topics = vec![(topic(number).name, vec![PartitionIndex::new(0)])];
                let request = DeleteOffsets { group: group_id(group), topics };
                self.ask(None, Request::DeleteOffsets(request));
            }
            Step::Delete { group } => {
                self.ask(None, Request::DeleteGroups(vec![group_id(group)]));
            }
            Step::Wait { seconds } => self.wait(Duration::from_secs(seconds.into())),
            Step::Load => self.load(),
            Step::Lose => self.lose = true,
        }
    }
}

fn to_commit(offset: u8) -> OffsetToCommit {
    OffsetToCommit {
        partition: PartitionIndex::new(0),
        offset: Some(Offset::new(offset.into())),
        leader_epoch: None,
        metadata: "".into(),
    }
}

/// A log after the cleaner: of each key only what was said last.
fn compacted(log: &[CoordinatorRecord]) -> Vec<CoordinatorRecord> {
    let mut seen = BTreeSet::new();
    let mut kept: Vec<CoordinatorRecord> = Vec::new();
    for record in log.iter().rev() {
        if seen.insert(record.key_bytes().unwrap()) {
            kept.push(record.clone());
        }
    }
    kept.reverse();
    kept
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whatever_happens_each_request_is_answered_once_and_silence_ends_all(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        let mut from_compacted = Durable::default();
        compacted(&world.log).iter().for_each(|record| from_compacted.replay(record));
        prop_assert_eq!(&from_compacted, &world.coordinator.durable);

        // Longer than any session, join, rebalance or retention: nobody is left, and nothing of them.
        world.lose = false;
        world.wait(Duration::from_secs(1_000));
        prop_assert_eq!(&world.open, &BTreeMap::new());
        prop_assert!(world.coordinator.classic.is_empty(), "{:?}", world.coordinator.classic);
        prop_assert_eq!(&world.coordinator.durable, &Durable::default());
    }
}
