//! Goldens: `testdata/*.txt` holds what happens to a member and what comes of it. `UPDATE=1 cargo test` rewrites them.
//! Three brokers may be asked. Topics `a` and `b` have two partitions each unless `topics` says otherwise. The listener wants nothing.
//!
//! ```text
//! config NAME=VALUE …        the first line: protocol, instance, strategy (assignors, by +), remote (assignor), auto (milliseconds),
//!                            session, interval, poll
//! subscribe T … | regex EXPRESSION | unsubscribe | hand P … | close [leave|stay]
//! poll                       the owner polls
//! topics T=COUNT …           what metadata says from now on; `-` for none
//! silent | told              metadata says nothing; says what it knows again
//! anew T                     the topic is another one of the same name
//! at P@OFFSET …              how far the owner has read
//! listener P@OFFSET …        what the listener wants committed when something is revoked, from now on
//! commit ID P@OFFSET … | read ID P …
//! found R BROKER             end of request R: the coordinator
//! required R MEMBER          JoinGroup: to come back as MEMBER
//! joined R GENERATION MEMBER LEADER ASSIGNOR [skip] [ID=T+T …]     skip: the leader need not assign
//! synced R P …               SyncGroup: what it is to read
//! beaten R EPOCH [P …|-]     ConsumerGroupHeartbeat: the member's epoch, and what it is to have (-: nothing), where that is said
//! ok R                       Heartbeat, LeaveGroup, OffsetCommit: without error
//! described R STATE [ID=T+T:P+P …]  DescribeGroups: what the members read and have
//! offsets R P@OFFSET …       OffsetFetch
//! error R NAME | cut R       the end of any request
//! tick MS
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::{
    Answer, AnyMembership, CommitId, Effect, Event, MembershipConfig, Question, ReadId, Token,
    partitions,
};
use crate::client::cluster_view::{NodeKey, Target};
use crate::client::consumer::assignors::protocol::{
    NEWEST, assignment_bytes, read_assignment, read_subscription, subscription_bytes,
};
use crate::client::consumer::assignors::{Assignment, Assignor, Subscription};
use crate::client::consumer::offsets::{OffsetAndMetadata, Offsets};
use crate::protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use crate::protocol::messages::join_group_response::JoinGroupResponseMember;
use crate::protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use crate::protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use crate::protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, DescribeGroupsResponse,
    FindCoordinatorResponse, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse,
    LeaveGroupResponse, OffsetCommitResponse, OffsetFetchResponse, SyncGroupRequest,
    SyncGroupResponse, consumer_group_heartbeat_response,
};
use crate::rpc::network_client::RpcError;
use crate::rpc::{Backoff, Endpoint};
use crate::types::{
    BrokerId, ErrorCode, GroupProtocol, Monotonic, Now, Offset, PartitionIndex, Timestamp, TopicId,
    TopicPartition, Uuid, test_goldens,
};

pub(super) fn config() -> MembershipConfig {
    MembershipConfig {
        group: "g".into(),
        protocol: GroupProtocol::Classic,
        remote_assignor: None,
        instance: None,
        rack: None,
        session_timeout: Duration::from_secs(10),
        heartbeat_interval: Duration::from_secs(3),
        poll_interval_max: Duration::from_secs(60),
        auto_commit_interval: None,
        assignors: vec![Assignor::Range],
        backoff: Backoff { first: Duration::from_millis(100), max: Duration::from_secs(1) },
        api_timeout: Duration::from_secs(60),
    }
}

pub(super) fn target(broker: i32) -> Target {
    let endpoint = Endpoint { host: format!("b{broker}"), port: 9092 };
    Target { node: NodeKey::Broker(BrokerId::new(broker)), endpoint }
}

fn partition(word: &str) -> TopicPartition {
    let (topic, index) = word.rsplit_once('-').unwrap();
    let partition = PartitionIndex::new(index.parse().unwrap());
    TopicPartition { topic: topic.into(), partition }
}

fn offsets(words: &[&str]) -> Offsets {
    let offset = |word: &&str| {
        let (at, offset) = word.split_once('@').unwrap();
        (partition(at), OffsetAndMetadata::new(Offset::new(offset.parse().unwrap())))
    };
    words.iter().map(offset).collect()
}

pub(super) fn to_assignment<'a>(
    partitions: impl IntoIterator<Item = &'a TopicPartition>,
) -> Assignment {
    let mut assignment = Assignment::new();
    for partition in partitions {
        assignment.entry(partition.topic.clone()).or_default().insert(partition.partition);
    }
    assignment
}

fn words<T: ToString>(things: impl IntoIterator<Item = T>) -> String {
    things.into_iter().map(|thing| format!(" {}", thing.to_string())).collect()
}

fn show_offsets(offsets: &Offsets) -> String {
    words(offsets.iter().map(|(at, offset)| format!("{at}@{}", offset.offset)))
}

fn show_assignment(assignment: &Assignment) -> String {
    words(partitions(assignment))
}

struct Harness {
    machine: AnyMembership,
    now: Monotonic,
    /// The number in each topic's id. Ids in the text are those numbers.
    ids: BTreeMap<Arc<str>, u8>,
    watched_ids: BTreeSet<TopicId>,
    topics: BTreeMap<Arc<str>, Option<u32>>,
    is_silent: bool,
    watched: BTreeSet<Arc<str>>,
    positions: Offsets,
    by_listener: Offsets,
    assigned: BTreeSet<TopicPartition>,
    in_flight: BTreeMap<u64, Question>,
}

impl Harness {
    fn new(settings: &[&str]) -> Self {
        let mut config = config();
        for setting in settings {
            let (name, value) = setting.split_once('=').unwrap();
            let millis = || Duration::from_millis(value.parse().unwrap());
            match name {
                "protocol" => {
                    assert_eq!(value, "consumer");
                    config.protocol = GroupProtocol::Consumer;
                }
                "remote" => config.remote_assignor = Some(value.into()),
                "instance" => config.instance = Some(value.into()),
                "strategy" => {
                    let named = |name| Assignor::from_name(name).unwrap();
                    config.assignors = value.split('+').map(named).collect();
                }
                "auto" => config.auto_commit_interval = Some(millis()),
                "session" => config.session_timeout = millis(),
                "interval" => config.heartbeat_interval = millis(),
                "poll" => config.poll_interval_max = millis(),
                other => panic!("unknown setting {other}"),
            }
        }
        let mut harness = Self {
            machine: AnyMembership::new(config, StdRng::seed_from_u64(1)),
            now: Monotonic::from_nanos(1),
            ids: [("a".into(), 1), ("b".into(), 2)].into(),
            watched_ids: BTreeSet::new(),
            topics: [("a".into(), Some(2)), ("b".into(), Some(2))].into(),
            is_silent: false,
            watched: BTreeSet::new(),
            positions: Offsets::new(),
            by_listener: Offsets::new(),
            assigned: BTreeSet::new(),
            in_flight: BTreeMap::new(),
        };
        let brokers = (1..=3).map(target).collect();
        harness.event(Event::Brokers(brokers), &mut String::new());
        harness
    }

    fn event(&mut self, event: Event, text: &mut String) {
        let millis = i64::try_from(self.now.nanos() / 1_000_000).unwrap();
        let now = Now { monotonic: self.now, wall: Timestamp::from_millis(millis) };
        let mut out = Vec::new();
        self.machine.handle(now, event, &mut out);
        for effect in out {
            self.apply(effect, text);
        }
    }

    fn apply(&mut self, effect: Effect, text: &mut String) {
        match effect {
            Effect::Ask { target, token, question, .. } => {
                let NodeKey::Broker(broker) = target.node else { panic!("brokers are known") };
                writeln!(text, "  r{} to {broker}: {}", token.0, show(&question)).unwrap();
                self.in_flight.insert(token.0, question);
            }
            Effect::Revoke(revoked) => {
                writeln!(text, "  revoked{}", words(&revoked)).unwrap();
                let consumed =
                    |p: &TopicPartition| Some((p.clone(), self.positions.get(p)?.clone()));
                let consumed = revoked.iter().filter_map(consumed).collect();
                self.assigned.retain(|partition| !revoked.contains(partition));
                let by_listener = self.by_listener.clone();
                self.event(Event::Revoked { by_listener, consumed }, text);
            }
            Effect::Lose(lost) => {
                writeln!(text, "  lost{}", words(&lost)).unwrap();
                self.assigned.clear();
            }
            Effect::Assign { all, added } => {
                writeln!(text, "  assigned{}; new:{}", words(&all), words(&added)).unwrap();
                self.assigned = all.into_iter().collect();
            }
            Effect::Start(offsets, all) => {
                let unset = all.iter().filter(|partition| !offsets.contains_key(partition));
                let unset = words(unset.map(|partition| format!("{partition}@-")));
                writeln!(text, "  begins{}{unset}", show_offsets(&offsets)).unwrap();
            }
            Effect::Consumed => {
                let positions = self.positions.clone();
                self.event(Event::Consumed(positions), text);
            }
            Effect::Watch(watched) => {
                self.watched = watched;
                self.tell_topics(text);
            }
            Effect::WatchIds(ids) => {
                writeln!(text, "  asks for the names of{}", words(ids.iter().map(number_of)))
                    .unwrap();
                self.watched_ids = ids;
                self.tell_topics(text);
            }
            Effect::Committed(offsets) => {
                writeln!(text, "  stored{}", show_offsets(&offsets)).unwrap();
            }
            Effect::CommitEnded(id, result) => match result {
                Ok(()) => writeln!(text, "  commit {} done", id.0).unwrap(),
                Err(error) => writeln!(text, "  commit {}: {error}", id.0).unwrap(),
            },
            Effect::ReadEnded(id, result) => match result {
                Ok(offsets) => {
                    writeln!(text, "  read {}:{}", id.0, show_offsets(&offsets)).unwrap();
                }
                Err(error) => writeln!(text, "  read {}: {error}", id.0).unwrap(),
            },
            Effect::Fail(error) => writeln!(text, "  poll fails: {error}").unwrap(),
            Effect::Closed => writeln!(text, "  closed").unwrap(),
        }
    }

    fn tell_topics(&mut self, text: &mut String) {
        if self.is_silent {
            return;
        }
        let is_asked = |(topic, number): &(&Arc<str>, &u8)| {
            self.watched.contains(*topic) || self.watched_ids.contains(&id(**number))
        };
        let names = self.ids.iter().filter(is_asked);
        let names = names.map(|(topic, number)| (id(*number), topic.clone())).collect();
        self.event(Event::TopicNames(names), text);
        let known = |topic: &Arc<str>| (topic.clone(), self.topics.get(topic).copied().flatten());
        let topics = self.watched.iter().map(known).collect();
        self.event(Event::Topics(topics), text);
    }

    fn answered(&mut self, number: &str, answer: Answer, text: &mut String) {
        let number = number.parse().unwrap();
        assert!(self.in_flight.remove(&number).is_some(), "r{number} is not in flight");
        self.event(Event::Answered(Token(number), answer), text);
    }

    /// The same end for any kind of request.
    fn end(&mut self, number: &str, error: Option<ErrorCode>, text: &mut String) {
        let question = self.in_flight[&number.parse().unwrap()].clone();
        let cut = || RpcError::CutOff("reset".to_owned());
        let answer = answer_with(&question, error.ok_or_else(cut));
        self.answered(number, answer, text);
    }

    fn joined(&mut self, words: &[&str], text: &mut String) {
        let [number, generation, member, leader, assignor, members @ ..] = words else {
            panic!("joined R GENERATION MEMBER LEADER ASSIGNOR")
        };
        let skip_assignment = members.first() == Some(&"skip");
        let members = &members[usize::from(skip_assignment)..];
        let members = members.iter().map(|word| {
            let (id, topics) = word.split_once('=').unwrap();
            let topics = topics.split('+').map(Arc::from).collect();
            let subscription = Subscription { topics, ..Subscription::default() };
            JoinGroupResponseMember {
                member_id: id.to_owned(),
                group_instance_id: None,
                metadata: subscription_bytes(&subscription, NEWEST).unwrap(),
            }
        });
        let response = JoinGroupResponse {
            generation_id: generation.parse().unwrap(),
            protocol_type: Some("consumer".to_owned()),
            protocol_name: Some((*assignor).to_owned()),
            leader: (*leader).to_owned(),
            member_id: (*member).to_owned(),
            members: members.collect(),
            skip_assignment,
            ..JoinGroupResponse::default()
        };
        self.answered(number, Answer::JoinGroup(Ok(response)), text);
    }

    fn described(&mut self, words: &[&str], text: &mut String) {
        let [number, state, members @ ..] = words else { panic!("described R STATE …") };
        let members = members.iter().map(|word| {
            let (id, said) = word.split_once('=').unwrap();
            let (topics, has) = said.split_once(':').unwrap();
            let topics = topics.split('+').map(Arc::from).collect();
            let subscription = Subscription { topics, ..Subscription::default() };
            let has: Vec<_> = has.split('+').filter(|p| !p.is_empty()).map(partition).collect();
            DescribedGroupMember {
                member_id: id.to_owned(),
                member_metadata: subscription_bytes(&subscription, NEWEST).unwrap(),
                member_assignment: assignment_bytes(&to_assignment(&has), NEWEST).unwrap(),
                ..DescribedGroupMember::default()
            }
        });
        let group = DescribedGroup {
            group_id: "g".to_owned(),
            group_state: (*state).to_owned(),
            members: members.collect(),
            ..DescribedGroup::default()
        };
        let response =
            DescribeGroupsResponse { groups: vec![group], ..DescribeGroupsResponse::default() };
        self.answered(number, Answer::DescribeGroups(Ok(response)), text);
    }

    fn beaten(&mut self, words: &[&str], text: &mut String) {
        let [number, epoch, assigned @ ..] = words else { panic!("beaten R EPOCH P …") };
        let assigned_partitions = assigned.iter().filter(|word| **word != "-");
        let mut topics: BTreeMap<TopicId, Vec<PartitionIndex>> = BTreeMap::new();
        for at in assigned_partitions.map(|word| partition(word)) {
            // A topic that is named by its number is of that id.
            let number = at.topic.parse().unwrap_or_else(|_| self.ids[&at.topic]);
            topics.entry(id(number)).or_default().push(at.partition);
        }
        let topics = topics.into_iter().map(|(topic_id, partitions)| {
            consumer_group_heartbeat_response::TopicPartitions { topic_id, partitions }
        });
        let response = ConsumerGroupHeartbeatResponse {
            member_id: Some("server says".to_owned()),
            member_epoch: epoch.parse().unwrap(),
            heartbeat_interval_ms: 5_000,
            assignment: (!assigned.is_empty()).then(|| {
                consumer_group_heartbeat_response::Assignment { topic_partitions: topics.collect() }
            }),
            ..ConsumerGroupHeartbeatResponse::default()
        };
        self.answered(number, Answer::ConsumerGroupHeartbeat(Ok(response)), text);
    }

    fn command(&mut self, command: &[&str], text: &mut String) {
        let topics = |words: &[&str]| words.iter().map(|word| Arc::from(*word)).collect();
        match command {
            ["subscribe", words @ ..] => self.event(Event::Subscribed(topics(words)), text),
            ["regex", regex] => self.event(Event::SubscribedToRegex((*regex).into()), text),
            ["anew", topic] => {
                let newest = self.ids.values().max().unwrap() + 1;
                self.ids.insert((*topic).into(), newest);
                self.tell_topics(text);
            }
            ["unsubscribe"] => self.event(Event::Unsubscribed, text),
            ["hand", words @ ..] => {
                let partitions = words.iter().map(|word| partition(word)).collect();
                self.event(Event::AssignedByHand(partitions), text);
            }
            ["close"] => self.event(Event::Close { leave: None }, text),
            ["close", "leave"] => self.event(Event::Close { leave: Some(true) }, text),
            ["close", "stay"] => self.event(Event::Close { leave: Some(false) }, text),
            ["poll"] => self.event(Event::Polled, text),
            ["topics", words @ ..] => {
                for word in words {
                    let (topic, count) = word.split_once('=').unwrap();
                    self.topics.insert(topic.into(), count.parse().ok());
                }
                self.tell_topics(text);
            }
            ["silent"] => {
                self.is_silent = true;
                self.event(Event::TopicNames(BTreeMap::new()), text);
                self.event(Event::Topics(BTreeMap::new()), text);
            }
            ["told"] => {
                self.is_silent = false;
                self.tell_topics(text);
            }
            ["at", words @ ..] => self.positions = offsets(words),
            ["listener", words @ ..] => self.by_listener = offsets(words),
            ["commit", id, words @ ..] => {
                let (id, offsets) = (CommitId(id.parse().unwrap()), offsets(words));
                self.event(Event::Commit { id, offsets }, text);
            }
            ["read", id, words @ ..] => {
                let id = ReadId(id.parse().unwrap());
                let partitions = words.iter().map(|word| partition(word)).collect();
                self.event(Event::Read { id, partitions }, text);
            }
            ["found", number, broker] => {
                let response = FindCoordinatorResponse {
                    node_id: Some(BrokerId::new(broker.parse().unwrap())),
                    host: format!("b{broker}"),
                    port: 9092,
                    ..FindCoordinatorResponse::default()
                };
                self.answered(number, Answer::FindCoordinator(Ok(response)), text);
            }
            ["required", number, member] => {
                let response = JoinGroupResponse {
                    error_code: ErrorCode::MemberIdRequired,
                    member_id: (*member).to_owned(),
                    ..JoinGroupResponse::default()
                };
                self.answered(number, Answer::JoinGroup(Ok(response)), text);
            }
            ["joined", words @ ..] => self.joined(words, text),
            ["synced", number, words @ ..] => {
                let partitions: Vec<_> = words.iter().map(|word| partition(word)).collect();
                let assignment = assignment_bytes(&to_assignment(&partitions), NEWEST).unwrap();
                let response = SyncGroupResponse { assignment, ..SyncGroupResponse::default() };
                self.answered(number, Answer::SyncGroup(Ok(response)), text);
            }
            ["described", words @ ..] => self.described(words, text),
            ["beaten", words @ ..] => self.beaten(words, text),
            ["ok", number] => self.end(number, Some(ErrorCode::None), text),
            ["offsets", number, words @ ..] => {
                let Question::OffsetFetch(asked) = &self.in_flight[&number.parse().unwrap()] else {
                    panic!("r{number} asks for no offsets")
                };
                if !asked.groups.is_empty() {
                    let group = offsets_of_group(&offsets(words));
                    let response =
                        OffsetFetchResponse { groups: vec![group], ..Default::default() };
                    return self.answered(number, Answer::OffsetFetch(Ok(response)), text);
                }
                let topics = offsets(words).into_iter().map(|(at, committed)| {
                    let partition = OffsetFetchResponsePartition {
                        partition_index: at.partition,
                        committed_offset: Some(committed.offset),
                        ..OffsetFetchResponsePartition::default()
                    };
                    let name = at.topic.to_string();
                    OffsetFetchResponseTopic { name, partitions: vec![partition] }
                });
                let response =
                    OffsetFetchResponse { topics: topics.collect(), ..Default::default() };
                self.answered(number, Answer::OffsetFetch(Ok(response)), text);
            }
            ["error", number, name] => {
                let error = ErrorCode::ALL.iter().find(|code| code.name() == *name).unwrap();
                self.end(number, Some(*error), text);
            }
            ["cut", number] => self.end(number, None, text),
            ["tick", millis] => {
                let end = self.now + Duration::from_millis(millis.parse().unwrap());
                while let Some(deadline) = self.machine.deadline()
                    && deadline <= end
                {
                    self.now = deadline;
                    self.event(Event::Tick, text);
                }
                self.now = end;
            }
            other => panic!("unknown command {other:?}"),
        }
    }

    fn play(commands: &str) -> String {
        let (mut harness, mut text) = (Self::new(&[]), String::new());
        for line in commands.lines().filter(|line| !line.starts_with(' ')) {
            writeln!(text, "{line}").unwrap();
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                [""] | ["#", ..] => {}
                ["config", settings @ ..] => harness = Self::new(settings),
                words => harness.command(words, &mut text),
            }
        }
        text
    }
}

/// An answer that holds nothing but an error, or is none.
pub(super) fn answer_with(question: &Question, error: Result<ErrorCode, RpcError>) -> Answer {
    match question {
        Question::FindCoordinator(_) => Answer::FindCoordinator(error.map(|error_code| {
            FindCoordinatorResponse { error_code, ..FindCoordinatorResponse::default() }
        })),
        Question::JoinGroup(_) => Answer::JoinGroup(
            error
                .map(|error_code| JoinGroupResponse { error_code, ..JoinGroupResponse::default() }),
        ),
        Question::SyncGroup(_) => Answer::SyncGroup(
            error
                .map(|error_code| SyncGroupResponse { error_code, ..SyncGroupResponse::default() }),
        ),
        Question::Heartbeat(_) => Answer::Heartbeat(
            error
                .map(|error_code| HeartbeatResponse { error_code, ..HeartbeatResponse::default() }),
        ),
        Question::LeaveGroup(_) => {
            Answer::LeaveGroup(error.map(|error_code| LeaveGroupResponse {
                error_code,
                ..LeaveGroupResponse::default()
            }))
        }
        Question::DescribeGroups(_) => Answer::DescribeGroups(error.map(|error_code| {
            let group = DescribedGroup { error_code, ..DescribedGroup::default() };
            DescribeGroupsResponse { groups: vec![group], ..DescribeGroupsResponse::default() }
        })),
        Question::ConsumerGroupHeartbeat(_) => {
            Answer::ConsumerGroupHeartbeat(error.map(|error_code| ConsumerGroupHeartbeatResponse {
                error_code,
                ..ConsumerGroupHeartbeatResponse::default()
            }))
        }
        Question::OffsetCommit(request) | Question::OffsetCommitOfEpoch(request) => {
            Answer::OffsetCommit(error.map(|error_code| {
                let topics = request.topics.iter().map(|topic| OffsetCommitResponseTopic {
                    name: topic.name.clone(),
                    partitions: topic
                        .partitions
                        .iter()
                        .map(|partition| OffsetCommitResponsePartition {
                            partition_index: partition.partition_index,
                            error_code,
                        })
                        .collect(),
                    ..OffsetCommitResponseTopic::default()
                });
                OffsetCommitResponse { topics: topics.collect(), ..OffsetCommitResponse::default() }
            }))
        }
        Question::OffsetFetch(_) => Answer::OffsetFetch(error.map(|error_code| {
            OffsetFetchResponse { error_code, ..OffsetFetchResponse::default() }
        })),
    }
}

fn show(question: &Question) -> String {
    match question {
        Question::FindCoordinator(request) => format!("coordinator of {}", request.key),
        Question::JoinGroup(request) => show_join(request),
        Question::SyncGroup(request) => show_sync(request),
        Question::Heartbeat(request) => {
            format!("heartbeat {}/{}", request.member_id, request.generation_id)
        }
        Question::LeaveGroup(request) => {
            let members = request.members.iter();
            format!("leave{}", words(members.map(|member| &member.member_id)))
        }
        Question::DescribeGroups(request) => format!("describe{}", words(&request.groups)),
        Question::ConsumerGroupHeartbeat(request) => show_heartbeat(request),
        Question::OffsetCommit(request) | Question::OffsetCommitOfEpoch(request) => {
            let named = request.topics.iter().flat_map(|topic| {
                topic.partitions.iter().map(|partition| {
                    let offset = partition.committed_offset.unwrap();
                    format!("{}-{}@{offset}", topic.name, partition.partition_index)
                })
            });
            let (member, generation) = (&request.member_id, request.generation_id_or_member_epoch);
            let member = if member.len() == 22 { "me" } else { member };
            format!("commit {member}/{generation}{}", words(named))
        }
        Question::OffsetFetch(request) => {
            let named = request.topics.iter().flatten().flat_map(|topic| {
                topic.partition_indexes.iter().map(|index| format!("{}-{index}", topic.name))
            });
            let of_group = request.groups.iter().map(|group| {
                let topics = group.topics.iter().flatten();
                let named = topics.flat_map(|topic| {
                    topic.partition_indexes.iter().map(|index| format!("{}-{index}", topic.name))
                });
                format!(" in epoch {}{}", group.member_epoch, words(named))
            });
            format!("offsets{}{}", words(named), of_group.collect::<String>())
        }
    }
}

/// The id of the topic with this number.
fn id(number: u8) -> TopicId {
    Uuid::from_bytes([number; 16])
}

fn number_of(id: &TopicId) -> u8 {
    id.as_bytes()[0]
}

fn offsets_of_group(offsets: &Offsets) -> OffsetFetchResponseGroup {
    let topics = offsets.iter().map(|(at, committed)| OffsetFetchResponseTopics {
        name: at.topic.to_string(),
        partitions: vec![OffsetFetchResponsePartitions {
            partition_index: at.partition,
            committed_offset: Some(committed.offset),
            ..OffsetFetchResponsePartitions::default()
        }],
        ..OffsetFetchResponseTopics::default()
    });
    OffsetFetchResponseGroup {
        group_id: "g".to_owned(),
        topics: topics.collect(),
        ..OffsetFetchResponseGroup::default()
    }
}

/// What it says, in the order of the fields.
fn show_heartbeat(request: &ConsumerGroupHeartbeatRequest) -> String {
    assert_eq!(request.member_id.len(), 22, "an id of its own");
    let mut text = format!("beat {}", request.member_epoch);
    if let Some(instance) = &request.instance_id {
        write!(text, " of {instance}").unwrap();
    }
    if request.rebalance_timeout_ms >= 0 {
        write!(text, " within {} ms", request.rebalance_timeout_ms).unwrap();
    }
    if let Some(topics) = &request.subscribed_topic_names {
        write!(text, "; reads{}", words(topics)).unwrap();
    }
    if let Some(regex) = &request.subscribed_topic_regex {
        write!(text, "; fits {regex:?}").unwrap();
    }
    if let Some(assignor) = &request.server_assignor {
        write!(text, "; by {assignor}").unwrap();
    }
    if let Some(topics) = &request.topic_partitions {
        let has = topics.iter().flat_map(|topic| {
            let number = number_of(&topic.topic_id);
            topic.partitions.iter().map(move |index| format!("{number}-{index}"))
        });
        write!(text, "; has{}", words(has)).unwrap();
    }
    text
}

fn show_join(request: &JoinGroupRequest) -> String {
    let mut text = format!("join as {:?}", request.member_id);
    if let Some(instance) = &request.group_instance_id {
        write!(text, " of {instance}").unwrap();
    }
    for protocol in &request.protocols {
        let said = read_subscription(protocol.metadata.clone()).unwrap();
        write!(text, " {}:{}", protocol.name, words(&said.topics)).unwrap();
        if !said.owned.is_empty() {
            write!(text, " has{}", show_assignment(&said.owned)).unwrap();
        }
        if let Some(generation) = said.generation {
            write!(text, " of {generation}").unwrap();
        }
    }
    if let Some(reason) = &request.reason {
        write!(text, " ({reason})").unwrap();
    }
    text
}

fn show_sync(request: &SyncGroupRequest) -> String {
    let mut text = format!("sync {}/{}", request.member_id, request.generation_id);
    for given in &request.assignments {
        let assignment = read_assignment(given.assignment.clone()).unwrap();
        write!(text, " {}:{}", given.member_id, show_assignment(&assignment)).unwrap();
    }
    text
}

#[test]
fn goldens() {
    test_goldens::check("src/client/consumer/membership/testdata", Harness::play);
}
