//! What a group coordinator does, without its log: decides, writes down, replays. The bytes of the records are made, and thrown away.
#![expect(clippy::unwrap_used, reason = "benchmarks: a failure is a panic")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use ottla::client::consumer::assignors::protocol::{NEWEST, assignment_bytes, subscription_bytes};
use ottla::client::consumer::assignors::{Assignor, Member, Members, Subscription};
use ottla::coordinator::group::request::{
    CommitOffsets, Heartbeat, JoinGroup, OffsetToCommit, SyncGroup, Topic,
};
use ottla::coordinator::group::{
    GroupConfig, GroupCoordinator, LoadingCoordinator, Outcome, Reply, Request, Token,
};
use ottla::protocol::compression::Compression;
use ottla::protocol::record_batch::BatchBuilder;
use ottla::types::{ErrorCode, GenerationId, Monotonic, Now, Offset, PartitionIndex, Timestamp};
use rand::SeedableRng;

const GROUP: &str = "billing";
const MEMBERS: usize = 100;
const TOPICS: u32 = 10;
const PARTITIONS_OF_EACH: u32 = 100;
/// Commits of one round of the benchmark.
const COMMITS: usize = 1_000;
/// The time at which everything happens.
const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// A coordinator and what drives it.
pub(crate) struct Driven {
    pub(crate) coordinator: GroupCoordinator,
    now: Now,
    tokens: u64,
    pub(crate) replies: BTreeMap<Token, Reply>,
}

impl Driven {
    pub(crate) fn new() -> Self {
        let now = Now { monotonic: Monotonic::from_nanos(1), wall: NOW };
        let rng = rand::rngs::StdRng::seed_from_u64(1);
        let (coordinator, _) = LoadingCoordinator::new().finish(GroupConfig::default(), rng, now);
        Self { coordinator, now, tokens: 0, replies: BTreeMap::new() }
    }

    pub(crate) fn ask(&mut self, request: Request) -> Token {
        self.tokens += 1;
        let token = Token(self.tokens);
        let outcome = self.coordinator.decide(self.now, token, request);
        self.perform(outcome);
        token
    }

    /// As the driver does, but for the log.
    fn perform(&mut self, outcome: Outcome) {
        if !outcome.records.is_empty() {
            let mut builder = BatchBuilder::new(Compression::default());
            for record in &outcome.records {
                let (key, value) = (record.key_bytes().unwrap(), record.value_bytes().unwrap());
                builder.append(NOW, Some(&key), value.as_deref(), &[]);
            }
            black_box(builder.build());
        }
        for record in &outcome.records {
            self.coordinator.replay(record);
        }
        self.replies.extend(outcome.replies);
    }

    /// Time passes, and what is due happens when it is.
    fn wait(&mut self, span: Duration) {
        let end = self.now.monotonic + span;
        while let Some(deadline) = self.coordinator.deadline()
            && deadline <= end
        {
            self.now.monotonic = self.now.monotonic.max(deadline);
            let outcome = self.coordinator.tick(self.now);
            self.perform(outcome);
        }
        self.now.monotonic = end;
    }
}

fn topic(number: u32) -> Arc<str> {
    format!("topic-{number:03}").into()
}

fn subscription() -> Subscription {
    Subscription { topics: (0..TOPICS).map(topic).collect(), ..Subscription::default() }
}

fn join(member: Option<Arc<str>>, metadata: &Bytes) -> Request {
    Request::JoinGroup(JoinGroup {
        group: GROUP.into(),
        member,
        instance: None,
        client_id: "bench".into(),
        client_host: "/127.0.0.1".into(),
        session_timeout: Duration::from_secs(45),
        rebalance_timeout: Duration::from_secs(300),
        protocol_type: "consumer".into(),
        protocols: vec![
            (Assignor::Range.name().into(), metadata.clone()),
            (Assignor::CooperativeSticky.name().into(), metadata.clone()),
        ],
        requires_known_member_id: true,
        may_skip_assignment: true,
    })
}

/// What the leader assigned, by the members' turns.
struct Prepared {
    metadata: Bytes,
    /// Each member's share.
    shares: Vec<Bytes>,
}

fn prepare() -> Prepared {
    let member = Member { instance: None, subscription: subscription() };
    let members: Members =
        (0..MEMBERS).map(|number| (format!("{number:03}").into(), member.clone())).collect();
    let counts = (0..TOPICS).map(|number| (topic(number), PARTITIONS_OF_EACH)).collect();
    let shares = Assignor::Range.assign(&members, &counts);
    let shares = shares.values().map(|share| assignment_bytes(share, NEWEST).unwrap());
    Prepared {
        metadata: subscription_bytes(&subscription(), NEWEST).unwrap(),
        shares: shares.collect(),
    }
}

/// All come, are told who they are, come again, wait for each other, and get their shares.
fn first_generation(prepared: &Prepared) -> (Driven, Vec<Arc<str>>) {
    let mut driven = Driven::new();
    let mut members: Vec<Arc<str>> = Vec::new();
    for _ in 0..MEMBERS {
        let token = driven.ask(join(None, &prepared.metadata));
        let Some(Reply::JoinGroup(Err(refused))) = driven.replies.remove(&token) else {
            panic!("a member is told its id first");
        };
        assert_eq!(refused.error, ErrorCode::MemberIdRequired);
        members.push(refused.member.unwrap());
    }
    members.sort();
    rejoin(&mut driven, &members, prepared, 1);
    (driven, members)
}

/// All come, and get their shares of this generation.
fn rejoin(driven: &mut Driven, members: &[Arc<str>], prepared: &Prepared, generation: i32) {
    let joins: Vec<Token> = members
        .iter()
        .map(|member| driven.ask(join(Some(member.clone()), &prepared.metadata)))
        .collect();
    // The first one waits for others, as long as others come.
    driven.wait(Duration::from_secs(6));
    let mut leader = None;
    for token in joins {
        let Some(Reply::JoinGroup(Ok(joined))) = driven.replies.remove(&token) else {
            panic!("all are let in");
        };
        assert_eq!(joined.generation.value(), generation);
        leader = joined.leader;
    }
    let leader = leader.unwrap();
    let sync = |member: &Arc<str>, assignments| {
        Request::SyncGroup(SyncGroup {
            group: GROUP.into(),
            generation: Some(GenerationId::new(generation)),
            member: member.clone(),
            instance: None,
            protocol_type: Some("consumer".into()),
            protocol: Some(Assignor::Range.name().into()),
            assignments,
        })
    };
    let assignments = members.iter().cloned().zip(prepared.shares.iter().cloned()).collect();
    let mut syncs = vec![driven.ask(sync(&leader, assignments))];
    let others = members.iter().filter(|member| **member != leader);
    syncs.extend(others.map(|member| driven.ask(sync(member, Vec::new()))));
    for token in syncs {
        let Some(Reply::SyncGroup(Ok(synced))) = driven.replies.remove(&token) else {
            panic!("all get their shares");
        };
        assert!(!synced.assignment.is_empty());
    }
}

fn heartbeat(member: &Arc<str>, generation: i32) -> Request {
    Request::Heartbeat(Heartbeat {
        group: GROUP.into(),
        generation: Some(GenerationId::new(generation)),
        member: member.clone(),
        instance: None,
    })
}

/// A group of 100 members comes into being, and shares 1,000 partitions.
#[divan::bench]
fn first_rebalance(bencher: Bencher<'_, '_>) {
    let prepared = prepare();
    bencher.bench(|| first_generation(black_box(&prepared)));
}

/// The leader wants another generation of it: the others hear that from a heartbeat, come back, and get their shares.
#[divan::bench]
fn next_rebalance(bencher: Bencher<'_, '_>) {
    let prepared = prepare();
    bencher.with_inputs(|| first_generation(&prepared)).bench_values(
        |(mut driven, mut members)| {
            // The leader is the first that joined.
            let others = members.split_off(1);
            let first = driven.ask(join(Some(members[0].clone()), &prepared.metadata));
            for member in &others {
                let token = driven.ask(heartbeat(member, 1));
                let told = driven.replies.remove(&token);
                assert_eq!(told, Some(Reply::Heartbeat(Err(ErrorCode::RebalanceInProgress))));
            }
            members.extend(others);
            assert!(!driven.replies.contains_key(&first));
            rejoin(&mut driven, &members, &prepared, 2);
            driven
        },
    );
}

/// Members commit, each one offset in each commit.
#[divan::bench]
fn commits_of_one_partition(bencher: Bencher<'_, '_>) {
    commits(bencher, 1);
}

/// The same, ten offsets in each.
#[divan::bench]
fn commits_of_ten_partitions(bencher: Bencher<'_, '_>) {
    commits(bencher, 10);
}

fn commits(bencher: Bencher<'_, '_>, partitions: i32) {
    let prepared = prepare();
    let (mut driven, members) = first_generation(&prepared);
    let mut offset = 0;
    bencher.counter(ItemsCount::new(COMMITS)).bench_local(|| {
        for turn in 0..COMMITS {
            offset += 1;
            let commit = |partition| OffsetToCommit {
                partition: PartitionIndex::new(partition),
                offset: Some(Offset::new(offset)),
                leader_epoch: None,
                metadata: "".into(),
            };
            let topic = Topic { name: topic(u32::try_from(turn).unwrap() % TOPICS), id: None };
            let request = Request::CommitOffsets(CommitOffsets {
                group: GROUP.into(),
                generation: Some(GenerationId::new(1)),
                member: Some(members[turn % MEMBERS].clone()),
                instance: None,
                knows_member_epochs: true,
                retention: None,
                topics: vec![(topic, (0..partitions).map(commit).collect())],
            });
            let token = driven.ask(request);
            let Some(Reply::CommitOffsets(Ok(results))) = driven.replies.remove(&token) else {
                panic!("members may commit");
            };
            assert!(
                results
                    .iter()
                    .flat_map(|topic| &topic.partitions)
                    .all(|(_, error)| error.is_none())
            );
        }
    });
}
