//! A property: members against the real coordinator, over connections that break, with owners that are slow, processes that die, and a
//! coordinator that moves and whose log refuses: nobody of the newest generation reads what another one of it reads (in the consumer
//! protocol: no two members of the group read the same), what is committed never goes back, and in the end everything is read.

mod wire;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

use self::wire::{from_ledger, id_of, to_ledger};
use super::tests::{answer_with, config, target, to_assignment};
use super::{Answer, AnyMembership, CommitId, Effect, Event, MembershipConfig, Question, Token};
use crate::client::consumer::assignors::{Assignor, PartitionCounts};
use crate::client::consumer::offsets::{OffsetAndMetadata, Offsets};
use crate::coordinator::group::request as ledger;
use crate::coordinator::group::{GroupConfig, GroupCoordinator, LoadingCoordinator, Outcome};
use crate::protocol::coordinator_records::CoordinatorRecord;
use crate::protocol::messages::FindCoordinatorResponse;
use crate::rpc::network_client::RpcError;
use crate::types::{
    BrokerId, ErrorCode, GroupProtocol, Monotonic, Now, Offset, Timestamp, TopicId, TopicPartition,
};

const CLIENTS: usize = 3;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Something that happens. Numbers choose a client.
#[derive(Clone, Debug)]
enum Step {
    Poll(usize),
    /// The next request arrives.
    Arrive(usize),
    /// The next answer arrives.
    Answer(usize),
    /// All that is on its way arrives, and what comes of it.
    Settle(usize),
    Cut(usize),
    Consume(usize, u8),
    Commit(usize),
    /// The process dies, and another one starts.
    Crash(usize),
    /// The process ends in an orderly way.
    Close(usize),
    /// Another one starts where none is.
    Start(usize),
    Wait(u16),
    /// It hears what topics are called whose ids it asked about.
    Learn(usize),
    /// The coordinator moves.
    Move,
    /// The coordinator's log refuses the next records.
    Refuse,
    MorePartitions,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let who = 0..CLIENTS;
    let step = prop_oneof![
        10 => who.clone().prop_map(Step::Poll),
        6 => who.clone().prop_map(Step::Arrive),
        6 => who.clone().prop_map(Step::Answer),
        8 => who.clone().prop_map(Step::Settle),
        1 => who.clone().prop_map(Step::Cut),
        4 => (who.clone(), 1..9u8).prop_map(|(who, count)| Step::Consume(who, count)),
        3 => who.clone().prop_map(Step::Commit),
        1 => who.clone().prop_map(Step::Crash),
        1 => who.clone().prop_map(Step::Close),
        2 => who.clone().prop_map(Step::Start),
        2 => who.prop_map(Step::Learn),
        4 => prop_oneof![1..4_000u16, 1..50_000u16].prop_map(Step::Wait),
        1 => Just(Step::Move),
        1 => Just(Step::Refuse),
        1 => Just(Step::MorePartitions),
    ];
    prop::collection::vec(step, 0..150)
}

/// How a group is set up.
#[derive(Clone, Debug)]
struct Setup {
    protocol: GroupProtocol,
    /// Who names topics by an expression, in the consumer protocol.
    regexes: [bool; CLIENTS],
    assignors: Vec<Assignor>,
    auto_commit: bool,
    /// Which clients are static members.
    statics: [bool; CLIENTS],
}

fn setups() -> impl Strategy<Value = Setup> {
    use Assignor::{CooperativeSticky, Range, RoundRobin, Sticky};
    let assignors = prop::sample::select(vec![
        vec![Range],
        vec![RoundRobin],
        vec![Sticky],
        vec![CooperativeSticky],
        vec![CooperativeSticky],
        vec![CooperativeSticky, Range],
    ]);
    let statics = prop::array::uniform3(prop::bool::weighted(0.3));
    (assignors, any::<bool>(), statics).prop_map(|(assignors, auto_commit, statics)| Setup {
        protocol: GroupProtocol::Classic,
        regexes: [false; CLIENTS],
        assignors,
        auto_commit,
        statics,
    })
}

fn setups_of_consumers() -> impl Strategy<Value = Setup> {
    let regexes = prop::array::uniform3(prop::bool::weighted(0.3));
    (setups(), regexes).prop_map(|(setup, regexes)| Setup {
        protocol: GroupProtocol::Consumer,
        regexes,
        ..setup
    })
}

/// A client's process.
struct Client {
    machine: AnyMembership,
    /// Rises when the connection breaks: what is still on its way then never arrives.
    connection: u64,
    requests: VecDeque<(Token, Question)>,
    answers: VecDeque<(Token, Answer)>,
    /// What is not answered yet, and until when it may take.
    awaited: BTreeMap<Token, (Question, Monotonic)>,
    /// What it reads, and how far it is, once it knows where to begin.
    reads: BTreeMap<TopicPartition, Option<i64>>,
    watched: BTreeSet<Arc<str>>,
    watched_ids: BTreeSet<TopicId>,
    /// Whether it was told of what those are called.
    has_learned: bool,
    /// Whether its poll failed: then its application begins anew.
    has_failed: bool,
    commits: u64,
    refused: Vec<String>,
    is_gone: bool,
}

struct World {
    setup: Setup,
    now: Now,
    coordinator: GroupCoordinator,
    log: Vec<CoordinatorRecord>,
    refuses: bool,
    topics: PartitionCounts,
    clients: Vec<Client>,
    starts: u64,
    next: u64,
    /// How many coordinators there were. Each makes ids of its own: two members of one id would fight for ever.
    terms: u64,
    /// Whose requests the coordinator has not answered yet: client, connection, its token.
    open: BTreeMap<ledger::Token, (usize, u64, Token)>,
    committed: BTreeMap<TopicPartition, Offset>,
}

impl World {
    fn new(setup: Setup) -> Self {
        let rng = StdRng::seed_from_u64(1);
        let now = Now::default();
        let (coordinator, _) = LoadingCoordinator::new().finish(coordinator_config(), rng, now);
        let topics: PartitionCounts = [("a".into(), 3), ("b".into(), 2)].into();
        let mut world = Self {
            setup,
            now,
            coordinator,
            log: Vec::new(),
            refuses: false,
            topics,
            clients: Vec::new(),
            starts: 0,
            next: 0,
            terms: 1,
            open: BTreeMap::new(),
            committed: BTreeMap::new(),
        };
        world.tell_coordinator();
        for who in 0..CLIENTS {
            let client = world.process(who);
            world.clients.push(client);
            world.begin(who);
        }
        world
    }

    fn process(&mut self, who: usize) -> Client {
        self.starts += 1;
        let is_static = self.setup.statics[who];
        let config = MembershipConfig {
            protocol: self.setup.protocol,
            instance: is_static.then(|| format!("i{who}").into()),
            assignors: self.setup.assignors.clone(),
            auto_commit_interval: self.setup.auto_commit.then(|| Duration::from_secs(5)),
            ..config()
        };
        Client {
            machine: AnyMembership::new(config, StdRng::seed_from_u64(self.starts)),
            connection: self.starts << 32,
            requests: VecDeque::new(),
            answers: VecDeque::new(),
            awaited: BTreeMap::new(),
            reads: BTreeMap::new(),
            watched: BTreeSet::new(),
            watched_ids: BTreeSet::new(),
            has_learned: false,
            has_failed: false,
            commits: 0,
            refused: Vec::new(),
            is_gone: false,
        }
    }

    fn begin(&mut self, who: usize) {
        self.event(who, Event::Brokers(vec![target(1)]));
        // Not all read the same.
        let topics: &[&str] = if who == 2 { &["b"] } else { &["a", "b"] };
        if self.setup.regexes[who] {
            return self.event(who, Event::SubscribedToRegex(topics.join("|").into()));
        }
        self.event(who, Event::Subscribed(topics.iter().map(|topic| Arc::from(*topic)).collect()));
    }

    // ---- a client ----

    fn event(&mut self, who: usize, event: Event) {
        let mut out = Vec::new();
        if self.clients[who].is_gone {
            return;
        }
        self.clients[who].machine.handle(self.now, event, &mut out);
        for effect in out {
            self.apply(who, effect);
        }
    }

    fn apply(&mut self, who: usize, effect: Effect) {
        let client = &mut self.clients[who];
        match effect {
            Effect::Ask { token, question, timeout, .. } => {
                let deadline = self.now.monotonic + timeout.unwrap_or(REQUEST_TIMEOUT);
                client.awaited.insert(token, (question.clone(), deadline));
                client.requests.push_back((token, question));
            }
            Effect::Revoke(revoked) => {
                let mut consumed = client.consumed();
                consumed.retain(|partition, _| revoked.contains(partition));
                for partition in &revoked {
                    assert!(client.reads.remove(partition).is_some(), "it was never assigned");
                }
                self.event(who, Event::Revoked { by_listener: Offsets::new(), consumed });
            }
            Effect::Lose(lost) => {
                assert!(client.reads.keys().eq(&lost), "all is lost that it reads");
                client.reads.clear();
            }
            Effect::Assign { all, added } => {
                for partition in added {
                    let before = client.reads.insert(partition, None);
                    assert!(before.is_none(), "it was assigned before");
                }
                assert!(
                    client.reads.keys().eq(&all),
                    "what is assigned is what was and what is new"
                );
            }
            Effect::Start(offsets, partitions) => {
                for partition in partitions {
                    let offset = offsets.get(&partition).map_or(0, |known| known.offset.value());
                    let position = client.reads.get_mut(&partition).expect("it is assigned");
                    assert_eq!(position.replace(offset), None, "it was reading already");
                }
            }
            Effect::Consumed => {
                let consumed = client.consumed();
                self.event(who, Event::Consumed(consumed));
            }
            Effect::Watch(watched) => {
                client.watched = watched;
                self.tell_topics(who);
            }
            Effect::WatchIds(ids) => {
                assert_eq!(self.setup.protocol, GroupProtocol::Consumer);
                client.watched_ids = ids;
                client.has_learned = false;
                self.tell_topics(who);
            }
            // Whether it is so, the coordinator's own state says.
            Effect::Committed(_) => {}
            Effect::CommitEnded(_, result) => {
                client.refused.extend(result.err().map(|error| error.to_string()));
            }
            Effect::ReadEnded(..) => panic!("nobody asked"),
            Effect::Fail(error) => {
                assert!(self.setup.statics[who], "{error}");
                client.has_failed = true;
            }
            Effect::Closed => {
                client.is_gone = true;
                client.connection += 1;
                assert_eq!(
                    client.reads,
                    BTreeMap::new(),
                    "it ended without giving up what it read"
                );
            }
        }
    }

    fn tell_topics(&mut self, who: usize) {
        let client = &self.clients[who];
        let is_known = |topic: &str| {
            let is_found = client.has_learned && client.watched_ids.contains(&id_of(topic));
            client.watched.contains(topic) || is_found
        };
        let names = self.topics.keys().filter(|topic| is_known(topic));
        let names = names.map(|topic| (id_of(topic), topic.clone())).collect();
        self.event(who, Event::TopicNames(names));
        let watched = self.clients[who].watched.iter();
        let known = |topic: &Arc<str>| (topic.clone(), self.topics.get(topic).copied());
        let topics = watched.map(known).collect();
        self.event(who, Event::Topics(topics));
    }

    fn cut(&mut self, who: usize) {
        let client = &mut self.clients[who];
        client.connection += 1;
        client.requests.clear();
        client.answers.clear();
        for (token, (question, _)) in std::mem::take(&mut client.awaited) {
            let answer = answer_with(&question, Err(RpcError::CutOff("reset".to_owned())));
            self.event(who, Event::Answered(token, answer));
        }
    }

    /// The coordinator serves one request of a connection at a time.
    fn is_busy(&self, who: usize) -> bool {
        let connection = self.clients[who].connection;
        self.open.values().any(|(client, at, _)| (*client, *at) == (who, connection))
    }

    fn arrive(&mut self, who: usize) -> bool {
        if self.is_busy(who) {
            return false;
        }
        let client = &mut self.clients[who];
        let Some((token, question)) = client.requests.pop_front() else { return false };
        let Some(request) = to_ledger(&question) else {
            let response = FindCoordinatorResponse {
                node_id: Some(BrokerId::new(1)),
                host: "b1".to_owned(),
                port: 9092,
                ..FindCoordinatorResponse::default()
            };
            client.answers.push_back((token, Answer::FindCoordinator(Ok(response))));
            return true;
        };
        self.next += 1;
        let asked = ledger::Token(self.next);
        self.open.insert(asked, (who, client.connection, token));
        let outcome = self.coordinator.decide(self.now, asked, request);
        self.perform(outcome);
        true
    }

    fn answer(&mut self, who: usize) -> bool {
        let Some((token, answer)) = self.clients[who].answers.pop_front() else { return false };
        if self.clients[who].awaited.remove(&token).is_some() {
            self.event(who, Event::Answered(token, answer));
        }
        true
    }

    fn settle(&mut self, who: usize) {
        for _ in 0..100 {
            if !self.arrive(who) && !self.answer(who) {
                return;
            }
        }
        panic!("a client and the coordinator never come to an end");
    }

    // ---- the coordinator ----

    fn perform(&mut self, outcome: Outcome) {
        let is_refused = !outcome.records.is_empty() && std::mem::take(&mut self.refuses);
        if !is_refused {
            for record in &outcome.records {
                self.check_commit(record);
                self.coordinator.replay(record);
                self.log.push(record.clone());
            }
        }
        for (token, reply) in outcome.replies {
            let reply = if is_refused { reply.failed(ErrorCode::NotEnoughReplicas) } else { reply };
            self.replied(token, reply);
        }
        if is_refused {
            let outcome = self.coordinator.on_append_failed(self.now, &outcome.records);
            self.perform(outcome);
        }
    }

    fn replied(&mut self, token: ledger::Token, reply: ledger::Reply) {
        let (who, connection, token) = self.open.remove(&token).expect("each is answered once");
        let client = &mut self.clients[who];
        if client.connection != connection {
            return;
        }
        if let Some((question, _)) = client.awaited.get(&token) {
            let answer = from_ledger(question, reply);
            client.answers.push_back((token, answer));
        }
    }

    fn check_commit(&mut self, record: &CoordinatorRecord) {
        let CoordinatorRecord::OffsetCommit(key, Some(value)) = record else { return };
        let partition =
            TopicPartition { topic: key.topic.as_str().into(), partition: key.partition };
        let offset = value.offset.expect("a commit has an offset");
        let before = self.committed.insert(partition.clone(), offset);
        assert!(before.is_none_or(|before| before <= offset), "{partition} goes back to {offset}");
    }

    fn move_coordinator(&mut self) {
        let mut loading = LoadingCoordinator::new();
        self.log.iter().for_each(|record| loading.replay(record));
        self.terms += 1;
        let rng = StdRng::seed_from_u64(self.terms);
        let (coordinator, outcome) = loading.finish(coordinator_config(), rng, self.now);
        let former = std::mem::replace(&mut self.coordinator, coordinator);
        self.tell_coordinator();
        for (token, reply) in former.resign() {
            self.replied(token, reply);
        }
        self.perform(outcome);
    }

    fn tell_coordinator(&mut self) {
        let info = |(topic, partitions): (&Arc<str>, &u32)| {
            (topic.clone(), ledger::TopicInfo { id: id_of(topic), partitions: *partitions })
        };
        self.coordinator.on_topics(Arc::new(self.topics.iter().map(info).collect()));
    }

    /// The members of a group of consumers, and their epochs.
    fn consumers(&mut self) -> BTreeMap<Arc<str>, i32> {
        let request = ledger::Request::DescribeConsumerGroups(vec!["g".into()]);
        let outcome = self.coordinator.decide(self.now, ledger::Token(u64::MAX), request);
        let Some((_, ledger::Reply::DescribeConsumerGroups(groups))) = outcome.replies.first()
        else {
            panic!("it is answered at once")
        };
        let Ok(group) = &groups[0].1 else { return BTreeMap::new() };
        group.members.iter().map(|member| (member.member.clone(), member.epoch)).collect()
    }

    fn members(&mut self) -> BTreeSet<Arc<str>> {
        let request = ledger::Request::DescribeGroups(vec!["g".into()]);
        let outcome = self.coordinator.decide(self.now, ledger::Token(u64::MAX), request);
        let Some((_, ledger::Reply::DescribeGroups(groups))) = outcome.replies.first() else {
            panic!("it is answered at once")
        };
        let Ok(group) = &groups[0].1 else { return BTreeSet::new() };
        group.members.iter().map(|member| member.member.clone()).collect()
    }

    // ---- time ----

    fn wait(&mut self, span: Duration) {
        let end = self.now.monotonic + span;
        loop {
            let machines = self.clients.iter().filter(|client| !client.is_gone);
            let machines = machines.filter_map(|client| client.machine.deadline());
            let answers = self.clients.iter().flat_map(|client| client.awaited.values());
            let answers = answers.map(|(_, deadline)| *deadline);
            let next = machines.chain(answers).chain(self.coordinator.deadline()).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.set_time(next.max(self.now.monotonic));
            self.look_at_the_clock();
        }
        self.set_time(end);
    }

    fn look_at_the_clock(&mut self) {
        let now = self.now.monotonic;
        while self.coordinator.deadline().is_some_and(|at| at <= now) {
            let outcome = self.coordinator.tick(self.now);
            self.perform(outcome);
        }
        for who in 0..CLIENTS {
            let client = &self.clients[who];
            if client.awaited.values().any(|(_, deadline)| *deadline <= now) {
                self.cut(who);
            }
            if self.clients[who].machine.deadline().is_some_and(|at| at <= now) {
                self.event(who, Event::Tick);
            }
        }
    }

    fn set_time(&mut self, at: Monotonic) {
        let millis = i64::try_from(at.nanos() / 1_000_000).unwrap();
        self.now = Now { monotonic: at, wall: Timestamp::from_millis(millis) };
    }

    // ---- what happens ----

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Poll(who) => {
                self.event(who, Event::Polled);
                let has_failed = std::mem::take(&mut self.clients[who].has_failed);
                if has_failed && self.setup.protocol == GroupProtocol::Consumer {
                    self.event(who, Event::Unsubscribed);
                    self.begin(who);
                }
            }
            Step::Learn(who) => {
                self.clients[who].has_learned = true;
                self.tell_topics(who);
            }
            Step::Arrive(who) => _ = self.arrive(who),
            Step::Answer(who) => _ = self.answer(who),
            Step::Settle(who) => self.settle(who),
            Step::Cut(who) => self.cut(who),
            Step::Consume(who, count) => {
                for position in self.clients[who].reads.values_mut().flatten() {
                    *position += i64::from(count);
                }
            }
            Step::Commit(who) => {
                let client = &mut self.clients[who];
                client.commits += 1;
                let (id, offsets) = (CommitId(client.commits), client.consumed());
                self.event(who, Event::Commit { id, offsets });
            }
            Step::Crash(who) => {
                self.clients[who] = self.process(who);
                self.begin(who);
            }
            Step::Close(who) => self.event(who, Event::Close { leave: None }),
            Step::Start(who) => {
                if self.clients[who].is_gone {
                    self.step(&Step::Crash(who));
                }
            }
            Step::Wait(millis) => self.wait(Duration::from_millis(millis.into())),
            Step::Move => self.move_coordinator(),
            Step::Refuse => self.refuses = true,
            Step::MorePartitions => {
                let count = self.topics.get_mut("b").unwrap();
                *count = (*count + 1).min(6);
                self.tell_coordinator();
                (0..CLIENTS).for_each(|who| self.tell_topics(who));
            }
        }
        self.check();
    }

    /// G1: of those that are members of the newest generation, no two read one partition.
    fn check(&mut self) {
        match self.setup.protocol {
            GroupProtocol::Classic => self.check_generation(),
            GroupProtocol::Consumer => self.check_consumers(),
        }
    }

    /// Nobody is ahead of the coordinator, and no two members read one partition.
    fn check_consumers(&mut self) {
        let members = self.consumers();
        let mut readers: BTreeMap<&TopicPartition, usize> = BTreeMap::new();
        for (who, client) in self.clients.iter().enumerate() {
            let (member, epoch) = client.machine.identity();
            let known = member.and_then(|member| members.get(member));
            let (Some(known), false) = (known, client.is_gone) else { continue };
            assert!(epoch.is_none_or(|epoch| epoch.value() <= *known), "{who} is ahead");
            for partition in client.reads.keys() {
                let other = readers.insert(partition, who);
                assert_eq!(other, None, "{who} reads {partition} too");
            }
        }
    }

    fn check_generation(&mut self) {
        let members = self.members();
        let generation = |client: &Client| client.machine.identity().1;
        let newest = self.clients.iter().filter_map(generation).max();
        let mut readers: BTreeMap<&TopicPartition, usize> = BTreeMap::new();
        for (who, client) in self.clients.iter().enumerate() {
            let (member, generation) = client.machine.identity();
            let is_member = member.is_some_and(|member| members.contains(member));
            if client.is_gone || !is_member || generation != newest {
                continue;
            }
            for partition in client.reads.keys() {
                let other = readers.insert(partition, who);
                assert_eq!(other, None, "{who} reads {partition} too, in {newest:?}");
            }
        }
    }

    /// Nothing breaks any more.
    fn heal(&mut self) {
        self.refuses = false;
        self.step(&Step::Start(0));
        if self.clients[0].machine.is_closing() {
            self.step(&Step::Crash(0));
        }
        let mut quiet = 0;
        for _ in 0..2_000 {
            for who in 0..CLIENTS {
                self.settle(who);
                self.step(&Step::Learn(who));
                self.step(&Step::Poll(who));
                self.settle(who);
            }
            self.wait(Duration::from_millis(500));
            quiet = if self.is_complete() { quiet + 1 } else { 0 };
            if quiet > 30 {
                return;
            }
        }
        panic!("the group does not come to rest: {:?}", self.what_is_read());
    }

    fn what_is_read(&self) -> Vec<(usize, &AnyMembership, Vec<String>)> {
        let alive = self.clients.iter().enumerate().filter(|(_, client)| !client.is_gone);
        let reads = |client: &Client| client.reads.keys().map(ToString::to_string).collect();
        alive.map(|(who, client)| (who, &client.machine, reads(client))).collect()
    }

    /// All are in one generation, all that is to be read is read by one, and each knows where it is.
    fn is_complete(&self) -> bool {
        let alive: Vec<&Client> = self.clients.iter().filter(|client| !client.is_gone).collect();
        let generation = alive[0].machine.identity().1;
        let is_settled = alive.iter().all(|client| {
            client.machine.identity().1 == generation
                && client.machine.is_at_rest()
                && client.reads.values().all(Option::is_some)
        });
        let reads: Vec<&TopicPartition> = alive.iter().flat_map(|c| c.reads.keys()).collect();
        let count: u32 = self.topics.values().sum();
        let distinct: BTreeSet<&TopicPartition> = reads.iter().copied().collect();
        is_settled && reads.len() == distinct.len() && reads.len() == count as usize
    }
}

impl Client {
    fn consumed(&self) -> Offsets {
        let known = self.reads.iter().filter_map(|(partition, position)| {
            Some((partition.clone(), OffsetAndMetadata::new(Offset::new((*position)?))))
        });
        known.collect()
    }
}

fn coordinator_config() -> GroupConfig {
    GroupConfig { initial_rebalance_delay: Duration::from_millis(500), ..GroupConfig::default() }
}

fn play(setup: Setup, steps: &[Step]) {
    let mut world = World::new(setup);
    for step in steps {
        world.step(step);
    }
    world.heal();
    // What is read now can be committed.
    for who in 0..CLIENTS {
        world.clients[who].refused.clear();
        world.step(&Step::Consume(who, 3));
        world.step(&Step::Commit(who));
        world.settle(who);
        assert_eq!(&world.clients[who].refused, &Vec::<String>::new());
    }
    let alive = world.clients.iter().filter(|client| !client.is_gone);
    for (partition, position) in alive.flat_map(|client| &client.reads) {
        let committed = world.committed.get(partition).map(|offset| offset.value());
        assert_eq!(committed, *position);
    }
}

proptest! {
    #[test]
    fn each_partition_is_read_by_one_and_in_the_end_all_are(setup in setups(), steps in steps()) {
        play(setup, &steps);
    }

    #[test]
    fn so_it_is_where_the_coordinator_assigns(setup in setups_of_consumers(), steps in steps()) {
        play(setup, &steps);
    }
}

/// The simplest story, to see that the harness does what it says.
#[test]
fn three_members_share_five_partitions() {
    let assignors = vec![Assignor::CooperativeSticky];
    three_share(&Setup {
        protocol: GroupProtocol::Classic,
        regexes: [false; CLIENTS],
        assignors,
        auto_commit: true,
        statics: [false; CLIENTS],
    });
}

#[test]
fn three_consumers_share_five_partitions() {
    three_share(&Setup {
        protocol: GroupProtocol::Consumer,
        regexes: [false, true, false],
        assignors: Vec::new(),
        auto_commit: true,
        statics: [false; CLIENTS],
    });
}

/// The setup of three static members that assign in this way.
fn statics_by(assignor: Assignor) -> Setup {
    Setup {
        protocol: GroupProtocol::Classic,
        regexes: [false; CLIENTS],
        assignors: vec![assignor],
        auto_commit: true,
        statics: [true; CLIENTS],
    }
}

/// One of them leads. (group-swarm, seed 119)
#[test]
fn what_comes_while_a_static_member_is_away_is_read() {
    for assignor in Assignor::ALL {
        let mut world = World::new(statics_by(assignor));
        world.heal();
        for who in 0..CLIENTS {
            world.step(&Step::Crash(who));
            world.step(&Step::MorePartitions);
            world.heal();
        }
    }
}

#[test]
fn static_members_come_back_into_their_generation() {
    for assignor in Assignor::ALL {
        let mut world = World::new(statics_by(assignor));
        world.heal();
        let generation = world.clients[0].machine.identity().1;
        for who in 0..CLIENTS {
            world.step(&Step::Crash(who));
            world.heal();
            assert_eq!(world.clients[0].machine.identity().1, generation, "{assignor:?}, {who}");
        }
    }
}

fn three_share(setup: &Setup) {
    let mut world = World::new(setup.clone());
    world.heal();
    let reads: Vec<usize> = world.clients.iter().map(|client| client.reads.len()).collect();
    assert_eq!(reads.iter().sum::<usize>(), 5);
    assert!(reads.iter().all(|count| *count >= 1), "{reads:?}");
    let first = to_assignment(world.clients[0].reads.keys());
    world.step(&Step::Close(1));
    world.settle(1);
    assert!(world.clients[1].is_gone);
    world.heal();
    for (topic, partitions) in &first {
        let now = to_assignment(world.clients[0].reads.keys());
        assert!(partitions.is_subset(&now[topic]), "what it had it keeps");
    }
}
