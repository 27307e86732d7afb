//! A term over a disk in memory, polled by hand: what is answered when, and what becomes of a log that refuses, loses or cannot be read.

use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::Duration;

use super::*;
use crate::coordinator::group::GroupConfig;
use crate::coordinator::group::request::{
    CommitOffsets, ConsumerGroupHeartbeat, FetchOffsets, Heartbeat, HeartbeatEpoch, JoinGroup,
    OffsetToCommit, Topic,
};
use crate::log::LogConfig;
use crate::metadata::group_config::{GroupConfigRanges, HEARTBEAT_INTERVAL, SESSION_TIMEOUT};
use crate::metadata::{ConfigResource, ImageLoader, Record, records};
use crate::protocol::Records;
use crate::protocol::compression::{Codec, Compression};
use crate::protocol::record_batch::BatchBuilder;
use crate::replica::driver::{IsrChanges, ReplicaOptions, TailBudget, segment_limits};
use crate::replica::{FollowerFetch, FollowerState, LeaderState};
use crate::server::config::OffsetsTopicConfig;
use crate::storage::test_disk::{Faults, TestDisk, TestWorld, run, test_env};
use crate::storage::{LogDir, LogProgress, OpenOptions, OpenedPartition, open_log};
use crate::types::{
    Acks, BrokerEpoch, GenerationId, GroupObservation, Now, Observation, Offset, PartitionEpoch,
    ShortName, Timestamp, TopicPartition, Uuid,
};

const COMMIT_TIMEOUT: Duration = Duration::from_secs(5);

/// A broker that holds one partition of the offsets topic.
struct Broker {
    env: Env,
    world: Arc<TestWorld>,
    disk: TestDisk,
    handle: Arc<PartitionHandle>,
    epoch: i32,
}

fn ids(ids: &[i32]) -> Vec<BrokerId> {
    ids.iter().map(|id| BrokerId::new(*id)).collect()
}

impl Broker {
    fn new(min_insync_replicas: &str) -> Self {
        Self::with(&[("min.insync.replicas", min_insync_replicas)])
    }

    /// Of a topic with these properties.
    fn with(settings: &[(&str, &str)]) -> Self {
        let disk = TestDisk::new();
        let (env, world) = test_env(&disk);
        let settings = settings.iter().chain(&[("cleanup.policy", "compact")]);
        let settings = settings.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let config = Arc::new(LogConfig::new(&BTreeMap::new(), &settings.collect()).unwrap());
        let partition =
            TopicPartition { topic: OFFSETS_TOPIC.into(), partition: PartitionIndex::new(0) };
        let id = TopicIdPartition {
            topic_id: Uuid::from_bytes([7; 16]),
            partition: partition.partition,
        };
        let (failures, _) = watch::channel(0);
        let directory = Uuid::from_bytes([9; 16]);
        let dir = Arc::new(LogDir::new(env.clone(), "/data".into(), 0, directory, failures));
        let opened = run(open_log(
            env.disk.clone(),
            OpenOptions {
                dir: "/data/__consumer_offsets-0".into(),
                limits: segment_limits(&config),
                log_start_offset: None,
                recovery_point: Offset::ZERO,
                clean: false,
                sync_failed: false,
                now: Timestamp::from_millis(0),
            },
        ))
        .unwrap();
        let progress = LogProgress::new(Offset::ZERO, Offset::ZERO, Offset::ZERO);
        let opened = OpenedPartition {
            partition,
            id,
            opened,
            high_watermark: Offset::ZERO,
            dir,
            progress: Arc::new(progress),
        };
        let options = ReplicaOptions {
            fetch_verify: true,
            producer_expiration: Duration::from_secs(86_400),
            tail_budget: TailBudget::new(1 << 20),
            node: BrokerId::new(1),
            lag_time_max: Duration::from_secs(30),
            isr_changes: IsrChanges::none(),
        };
        let handle = PartitionHandle::new(env.clone(), opened, config, options);
        Self { env, world, disk, handle, epoch: 0 }
    }

    /// Alone, and leading.
    fn alone() -> Self {
        let mut broker = Self::new("1");
        broker.lead(&[1], &[1]);
        broker
    }

    fn lead(&mut self, replicas: &[i32], isr: &[i32]) {
        self.epoch += 1;
        let epochs = replicas.iter().map(|id| (BrokerId::new(*id), BrokerEpoch::new(1)));
        let state = LeaderState {
            leader_epoch: LeaderEpoch::new(self.epoch),
            partition_epoch: PartitionEpoch::new(self.epoch),
            replicas: ids(replicas),
            isr: ids(isr),
            is_recovering: false,
            broker_epochs: epochs.collect(),
        };
        run(self.handle.become_leader(state)).unwrap();
    }

    fn follow(&mut self) {
        self.epoch += 1;
        self.handle.become_follower(FollowerState {
            leader: Some(BrokerId::new(2)),
            leader_epoch: LeaderEpoch::new(self.epoch),
            partition_epoch: PartitionEpoch::new(self.epoch),
        });
    }

    /// Follower 2 has everything.
    fn replicate(&self) {
        let fetch = FollowerFetch {
            replica: BrokerId::new(2),
            broker_epoch: Some(BrokerEpoch::new(1)),
            current_leader_epoch: Some(LeaderEpoch::new(self.epoch)),
            fetch_offset: self.handle.log_end_offset(),
            last_fetched_epoch: Some(LeaderEpoch::new(self.epoch)),
            log_start_offset: Offset::ZERO,
            max_bytes: 1 << 20,
            first_batch_whole: true,
            is_repeated: false,
        };
        run(self.handle.fetch_as_follower(fetch)).unwrap();
    }

    /// A batch that no coordinator writes.
    fn append_key(&self, key: &[u8]) {
        let mut builder = BatchBuilder::new(Compression::NONE);
        builder.append(Timestamp::from_millis(0), Some(key), Some(b"?"), &[]);
        let records = Records::from(builder.build());
        assert!(run(self.handle.append(&records, Acks::Leader)).is_ok());
    }

    fn begin(&self) -> Running {
        self.begin_with(Codec::None)
    }

    /// A term of this leadership.
    fn begin_with(&self, compression: Codec) -> Running {
        let (inbox, asked) = mpsc::channel(16);
        let topics = watch::Sender::new(Arc::new(topics(&[("orders", 1)])));
        let overrides = watch::Sender::new(Arc::default());
        let term = Term {
            env: self.env.clone(),
            config: GroupsConfig {
                consumer_protocol: true,
                coordinator: GroupConfig::default(),
                group_configs: GroupConfigRanges::default(),
                offsets_topic: OffsetsTopicConfig {
                    partitions: 1,
                    replication_factor: 1,
                    segment_bytes: 1 << 20,
                    compression,
                },
                commit_timeout: COMMIT_TIMEOUT,
                load_bytes: 1 << 20,
            },
            handle: self.handle.clone(),
            leader_epoch: LeaderEpoch::new(self.epoch),
            inbox: asked,
            topics: topics.subscribe(),
            readings: 0,
            overrides: overrides.subscribe(),
        };
        let task = Box::pin(term.run());
        Running { inbox: Some(inbox), topics, overrides, task, is_over: false }
    }

    fn pass(&self, span: Duration) {
        let now = self.env.clock.now();
        let millis = i64::try_from(span.as_millis()).unwrap();
        let wall = Timestamp::from_millis(now.wall.millis() + millis);
        self.world.set_now(Now { monotonic: now.monotonic + span, wall });
    }
}

/// A term's task, and its ends that others hold.
struct Running {
    inbox: Option<mpsc::Sender<Asked>>,
    topics: watch::Sender<Arc<TopicTable>>,
    overrides: watch::Sender<Arc<OverridesTable>>,
    task: Pin<Box<dyn Future<Output = ()> + Send>>,
    is_over: bool,
}

impl Running {
    fn poll(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..20 {
            self.is_over = self.is_over || self.task.as_mut().poll(&mut cx).is_ready();
        }
    }

    fn send(&mut self, request: Request) -> oneshot::Receiver<Reply> {
        let (asker, reply) = oneshot::channel();
        self.inbox.as_ref().unwrap().try_send(Asked { request, asker }).unwrap();
        reply
    }

    /// Asks, and has it answered if it can be.
    fn ask(&mut self, request: Request) -> oneshot::Receiver<Reply> {
        let reply = self.send(request);
        self.poll();
        reply
    }

    #[track_caller]
    fn committed(&mut self, group: &str) -> Option<i64> {
        let mut reply = self.ask(fetch(group));
        match reply.try_recv() {
            Ok(Reply::FetchOffsets(Ok(topics))) => {
                topics[0].partitions[0].1.as_ref().map(|one| one.offset.value())
            }
            other => panic!("{other:?}"),
        }
    }

    /// Nobody can ask any more.
    fn end(&mut self) {
        self.inbox = None;
        self.poll();
        assert!(self.is_over);
    }
}

fn topics(topics: &[(&str, u8)]) -> TopicTable {
    let topics = topics.iter().map(|(name, id)| {
        (Arc::from(*name), TopicInfo { id: Uuid::from_bytes([*id; 16]), partitions: 1 })
    });
    topics.collect()
}

fn orders() -> Topic {
    Topic { name: "orders".into(), id: None }
}

fn commit(group: &str, offset: i64) -> Request {
    let one = OffsetToCommit {
        partition: PartitionIndex::new(0),
        offset: Some(Offset::new(offset)),
        leader_epoch: None,
        metadata: "".into(),
    };
    Request::CommitOffsets(CommitOffsets {
        group: group.into(),
        generation: None,
        member: None,
        instance: None,
        knows_member_epochs: true,
        retention: None,
        topics: vec![(orders(), vec![one])],
    })
}

fn fetch(group: &str) -> Request {
    Request::FetchOffsets(FetchOffsets {
        group: group.into(),
        member: None,
        member_epoch: None,
        topics: Some(vec![(orders(), vec![PartitionIndex::new(0)])]),
    })
}

fn join(member: Option<&str>) -> Request {
    Request::JoinGroup(JoinGroup {
        group: "g".into(),
        member: member.map(Into::into),
        instance: None,
        client_id: "c".into(),
        client_host: "/127.0.0.1".into(),
        session_timeout: Duration::from_secs(10),
        rebalance_timeout: Duration::from_secs(60),
        protocol_type: "consumer".into(),
        protocols: vec![("range".into(), bytes::Bytes::new())],
        requires_known_member_id: false,
        may_skip_assignment: false,
    })
}

fn heartbeat() -> Request {
    Request::Heartbeat(Heartbeat {
        group: "g".into(),
        generation: GenerationId::from_wire(1),
        member: "m".into(),
        instance: None,
    })
}

#[track_caller]
fn check_committed(reply: &mut oneshot::Receiver<Reply>) {
    match reply.try_recv() {
        Ok(Reply::CommitOffsets(Ok(results))) => {
            assert_eq!(results[0].partitions[0].1, ErrorCode::None);
        }
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn check_refused(reply: &mut oneshot::Receiver<Reply>, error: ErrorCode) {
    match reply.try_recv() {
        Ok(Reply::CommitOffsets(Err(found)) | Reply::FetchOffsets(Err(found))) => {
            assert_eq!(found, error);
        }
        Ok(Reply::JoinGroup(Err(refused))) => assert_eq!(refused.error, error),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_committed_alone_is_answered_at_once_and_read_back_by_the_next_term() {
    for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let mut broker = Broker::alone();
        let mut term = broker.begin_with(codec);
        check_committed(&mut term.ask(commit("g", 5)));
        check_committed(&mut term.ask(commit("g", 6)));
        assert_eq!(term.committed("g"), Some(6));
        assert_eq!(term.committed("h"), None);
        term.end();
        broker.lead(&[1], &[1]);
        let mut next = broker.begin();
        next.poll();
        assert_eq!(next.committed("g"), Some(6), "{codec:?}");
    }
}

#[test]
fn replies_wait_until_followers_have_what_they_speak_of() {
    let mut broker = Broker::new("1");
    broker.lead(&[1, 2], &[1, 2]);
    let mut term = broker.begin();
    let mut commit = term.ask(commit("g", 5));
    // It has no records of its own, but tells of what is not committed.
    let mut read = term.ask(fetch("g"));
    assert!(commit.try_recv().is_err());
    assert!(read.try_recv().is_err());
    broker.replicate();
    term.poll();
    check_committed(&mut commit);
    assert!(matches!(read.try_recv(), Ok(Reply::FetchOffsets(Ok(_)))));
}

/// A heartbeat of the only member of `g`, who reads what fits `o.*`.
fn consumer_heartbeat(epoch: HeartbeatEpoch) -> Request {
    let joins = epoch == HeartbeatEpoch::Join;
    Request::ConsumerGroupHeartbeat(ConsumerGroupHeartbeat {
        group: "g".into(),
        member: Some("m".into()),
        may_lack_member_id: false,
        epoch,
        instance: None,
        rack: None,
        client_id: "c".into(),
        client_host: "/127.0.0.1".into(),
        rebalance_timeout: joins.then(|| Duration::from_secs(60)),
        topics: None,
        topic_regex: joins.then(|| "o.*".into()),
        assignor: None,
        owned: joins.then(BTreeMap::new),
    })
}

/// Its epoch, and the topics that it has a partition of, where it is told.
#[track_caller]
fn check_heard(reply: &mut oneshot::Receiver<Reply>, epoch: i32, topics: Option<&[u8]>) {
    match reply.try_recv() {
        Ok(Reply::ConsumerGroupHeartbeat(Ok(answer))) => {
            let given = answer.assignment.map(|given| given.into_keys().collect::<Vec<_>>());
            let topics =
                topics.map(|ids| ids.iter().map(|id| Uuid::from_bytes([*id; 16])).collect());
            assert_eq!((answer.member_epoch, given), (epoch, topics));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_consumer_group_follows_the_topics_and_is_read_back_by_the_next_term() {
    let mut broker = Broker::new("1");
    broker.lead(&[1, 2], &[1, 2]);
    let mut term = broker.begin();
    let mut joined = term.ask(consumer_heartbeat(HeartbeatEpoch::Join));
    assert!(joined.try_recv().is_err(), "it is told before it is committed");
    broker.replicate();
    term.poll();
    check_heard(&mut joined, 1, Some(&[1]));
    term.topics.send_replace(Arc::new(topics(&[("orders", 1), ("others", 2), ("payments", 3)])));
    let mut told = term.ask(consumer_heartbeat(HeartbeatEpoch::At(1)));
    assert!(told.try_recv().is_err());
    broker.replicate();
    term.poll();
    check_heard(&mut told, 2, Some(&[1, 2]));
    term.end();

    // The next leader sees the topics as they were: one of them is gone, which the member has yet to notice.
    broker.lead(&[1], &[1]);
    let mut next = broker.begin();
    next.poll();
    check_heard(&mut next.ask(consumer_heartbeat(HeartbeatEpoch::At(2))), 2, Some(&[1]));
    check_heard(&mut next.ask(consumer_heartbeat(HeartbeatEpoch::At(2))), 2, None);
    check_heard(&mut next.ask(consumer_heartbeat(HeartbeatEpoch::Leave)), -1, None);
}

#[test]
fn what_a_group_sets_reaches_its_coordinator_while_it_serves() {
    let mut broker = Broker::new("1");
    broker.lead(&[1], &[1]);
    let mut term = broker.begin();
    term.poll();
    let interval = |reply: &mut oneshot::Receiver<Reply>| match reply.try_recv() {
        Ok(Reply::ConsumerGroupHeartbeat(Ok(answer))) => answer.interval,
        other => panic!("{other:?}"),
    };
    let mut joined = term.ask(consumer_heartbeat(HeartbeatEpoch::Join));
    assert_eq!(interval(&mut joined), Duration::from_secs(5));

    // What a newer controller may know and this broker does not is left out.
    let mut loader = ImageLoader::default();
    let sets = [
        ("g", HEARTBEAT_INTERVAL, "7000"),
        ("g", "consumer.of.tomorrow", "1"),
        ("h", SESSION_TIMEOUT, "50000"),
    ];
    for (offset, (group, name, value)) in (0..).zip(sets) {
        let (name, value) = (name.to_owned(), Some(value.to_owned()));
        let record =
            Record::Config(records::Config { resource: ConfigResource::group(group), name, value });
        loader.replay(Offset::new(offset), LeaderEpoch::new(0), &record).unwrap();
    }
    let table = overrides_table(loader.image());
    let own = |group| table[group];
    assert_eq!(table.len(), 2);
    assert_eq!(own("h").session_timeout, Some(Duration::from_secs(50)));
    assert_eq!(own("g").session_timeout, None);
    term.overrides.send_replace(Arc::new(table));
    let mut told = term.ask(consumer_heartbeat(HeartbeatEpoch::At(1)));
    assert_eq!(interval(&mut told), Duration::from_secs(7));
    term.end();
}

#[test]
fn what_the_last_leader_left_is_told_when_it_is_committed() {
    let mut broker = Broker::new("1");
    broker.lead(&[1, 2], &[1, 2]);
    let mut term = broker.begin();
    let mut lost = term.ask(commit("g", 5));
    broker.lead(&[1, 2], &[1, 2]);
    term.end();
    check_refused(&mut lost, ErrorCode::NotCoordinator);
    let mut next = broker.begin();
    next.poll();
    let mut read = next.ask(fetch("g"));
    assert!(read.try_recv().is_err(), "it may yet be lost");
    broker.replicate();
    next.poll();
    assert!(read.try_recv().is_ok());
    assert_eq!(next.committed("g"), Some(5));
}

#[test]
fn a_commit_that_is_not_replicated_in_time_is_refused_but_stays() {
    let mut broker = Broker::new("1");
    broker.lead(&[1, 2], &[1, 2]);
    let mut term = broker.begin();
    let mut commit = term.ask(commit("g", 5));
    broker.pass(COMMIT_TIMEOUT - Duration::from_millis(1));
    term.poll();
    let mut later = term.ask(fetch("g"));
    assert!(commit.try_recv().is_err());
    broker.pass(Duration::from_millis(1));
    term.poll();
    check_refused(&mut commit, ErrorCode::CoordinatorNotAvailable);
    assert!(later.try_recv().is_err(), "it has time of its own");
    broker.replicate();
    term.poll();
    assert!(matches!(later.try_recv(), Ok(Reply::FetchOffsets(Ok(_)))));
    assert_eq!(term.committed("g"), Some(5));
}

#[test]
fn a_commit_that_the_log_refuses_leaves_nothing() {
    let mut broker = Broker::new("2");
    broker.lead(&[1, 2], &[1]);
    let mut term = broker.begin();
    check_refused(&mut term.ask(commit("g", 5)), ErrorCode::CoordinatorNotAvailable);
    assert_eq!(term.committed("g"), None);
    // What no text of the format can hold.
    let long = "g".repeat(40_000);
    check_refused(&mut term.ask(commit(&long, 5)), ErrorCode::UnknownServerError);
    assert_eq!(term.committed(&long), None);
}

#[test]
fn while_the_log_is_read_all_but_heartbeats_are_put_off() {
    let mut broker = Broker::alone();
    broker.append_key(&[0, 99]);
    let mut term = broker.begin();
    let (mut early, mut beat) = (term.send(commit("g", 5)), term.send(heartbeat()));
    term.poll();
    check_refused(&mut early, ErrorCode::CoordinatorLoadInProgress);
    assert!(matches!(beat.try_recv(), Ok(Reply::Heartbeat(Ok(())))));
    check_committed(&mut term.ask(commit("g", 5)));
    broker.lead(&[1], &[1]);
    term.end();
}

#[test]
fn a_log_that_cannot_be_read_is_not_coordinated() {
    let broker = Broker::alone();
    broker.append_key(&[0xff, 0xff]);
    let mut term = broker.begin();
    term.poll();
    check_refused(&mut term.ask(fetch("g")), ErrorCode::NotCoordinator);
    broker.pass(Duration::from_secs(2));
    term.poll();
    check_refused(&mut term.ask(fetch("g")), ErrorCode::NotCoordinator);
    term.end();
}

#[test]
fn a_leader_that_is_replaced_refuses_all_that_waits() {
    let mut broker = Broker::new("1");
    broker.lead(&[1, 2], &[1, 2]);
    let mut term = broker.begin();
    let mut parked = term.ask(join(None));
    let mut commit = term.ask(commit("h", 5));
    assert!(parked.try_recv().is_err());
    broker.follow();
    term.poll();
    check_refused(&mut commit, ErrorCode::NotCoordinator);
    // Also before the metadata's word is out: what it knows may be outdated.
    check_refused(&mut term.ask(fetch("g")), ErrorCode::NotCoordinator);
    assert!(parked.try_recv().is_err());
    term.end();
    check_refused(&mut parked, ErrorCode::NotCoordinator);
}

#[test]
fn what_the_disk_loses_after_it_was_taken_is_forgotten() {
    let broker = Broker::alone();
    let mut term = broker.begin();
    check_committed(&mut term.ask(commit("g", 5)));
    lose(&broker, &mut term);
    assert_eq!(term.committed("g"), Some(5));
    check_committed(&mut term.ask(commit("g", 7)));
}

/// The disk takes a commit and does not keep it.
fn lose(broker: &Broker, term: &mut Running) {
    broker.disk.set_faults(Faults { writes_pend: true, space_left: Some(0), ..Faults::default() });
    let mut lost = term.ask(commit("g", 6));
    // The directory's worker comes to it.
    let mut tasks = Vec::new();
    for _ in 0..10 {
        let mut cx = Context::from_waker(Waker::noop());
        tasks.extend(broker.handle.dir().take_tasks());
        tasks.retain_mut(|task| task.as_mut().poll(&mut cx).is_pending());
        term.poll();
    }
    check_refused(&mut lost, ErrorCode::NotCoordinator);
    broker.disk.set_faults(Faults::default());
    term.poll();
}

/// The id that a new member is given, to come back with.
fn new_id(term: &mut Running) -> Arc<str> {
    let Request::JoinGroup(request) = join(None) else { unreachable!("it is one") };
    let request = JoinGroup { requires_known_member_id: true, ..request };
    match term.ask(Request::JoinGroup(request)).try_recv() {
        Ok(Reply::JoinGroup(Err(refused))) => refused.member.expect("it is given an id"),
        other => panic!("{other:?}"),
    }
}

/// The ids drawn before stand in the log: a member was waited for as a new one (group-swarm, seeds 2783, 3095, 3344).
#[test]
fn a_log_that_is_read_anew_gives_nobody_an_id_that_was_given_before() {
    let broker = Broker::alone();
    let mut term = broker.begin();
    let mut given = Vec::new();
    for _ in 0..3 {
        given.push(new_id(&mut term));
        lose(&broker, &mut term);
    }
    assert!(given[0] != given[1] && given[1] != given[2] && given[0] != given[2], "{given:?}");
}

#[test]
fn offsets_of_deleted_topics_are_forgotten() {
    let broker = Broker::alone();
    let mut term = broker.begin();
    check_committed(&mut term.ask(commit("g", 5)));
    term.topics.send_replace(Arc::new(topics(&[("orders", 1), ("other", 2)])));
    term.poll();
    assert_eq!(term.committed("g"), Some(5));
    // It is there again, but is another one.
    term.topics.send_replace(Arc::new(topics(&[("orders", 3)])));
    term.poll();
    assert_eq!(term.committed("g"), None);
}

#[test]
fn members_that_fall_silent_are_removed_by_time() {
    let broker = Broker::alone();
    let mut term = broker.begin();
    let mut first = term.ask(join(None));
    broker.pass(GroupConfig::default().initial_rebalance_delay);
    term.poll();
    let Ok(Reply::JoinGroup(Ok(joined))) = first.try_recv() else { panic!("it joined") };
    assert_eq!(joined.generation, GenerationId::new(1));
    // It never syncs.
    for _ in 0..70 {
        broker.pass(Duration::from_secs(1));
        term.poll();
    }
    let mut again = term.ask(join(Some(&joined.member)));
    check_refused(&mut again, ErrorCode::UnknownMemberId);
}

/// What the coordinator has said of its groups since the last call.
fn said(broker: &Broker) -> Vec<GroupObservation> {
    let of_groups = broker.world.observed().into_iter().filter_map(|observation| {
        if let Observation::Group { what, .. } = observation { Some(what) } else { None }
    });
    of_groups.collect()
}

#[test]
fn a_commit_is_said_when_it_is_in_the_log_and_told_when_it_is_committed() {
    let mut broker = Broker::new("1");
    broker.lead(&[1, 2], &[1, 2]);
    let mut term = broker.begin();
    term.poll();
    assert!(matches!(said(&broker)[..], [GroupObservation::Loaded { .. }]));
    let mut first = term.ask(commit("g", 5));
    let group = ShortName::of("g");
    let five = Offset::new(5);
    let partition = match said(&broker)[..] {
        [GroupObservation::OffsetCommitted { partition, offset, .. }] if offset == five => {
            partition
        }
        ref other => panic!("{other:?}"),
    };
    broker.replicate();
    term.poll();
    check_committed(&mut first);
    assert_eq!(said(&broker), [GroupObservation::CommitTold { group, partition, offset: five }]);
    // Nobody is told of the next one.
    let mut second = term.ask(commit("g", 6));
    assert_eq!(said(&broker).len(), 1);
    broker.pass(COMMIT_TIMEOUT);
    term.poll();
    check_refused(&mut second, ErrorCode::CoordinatorNotAvailable);
    assert_eq!(said(&broker), []);
    // The next term says what it has read.
    broker.replicate();
    term.poll();
    broker.lead(&[1, 2], &[1, 2]);
    term.end();
    assert_eq!(said(&broker), [GroupObservation::Unloaded]);
    broker.begin().poll();
    let loaded = said(&broker);
    let six = GroupObservation::OffsetLoaded { group, partition, offset: Offset::new(6) };
    assert_eq!(loaded[0], six);
    assert!(matches!(loaded[1..], [GroupObservation::Loaded { .. }]), "{loaded:?}");
}

#[test]
fn what_the_log_refuses_is_not_said() {
    let mut broker = Broker::new("2");
    broker.lead(&[1, 2], &[1]);
    let mut term = broker.begin();
    term.poll();
    said(&broker);
    check_refused(&mut term.ask(commit("g", 5)), ErrorCode::CoordinatorNotAvailable);
    assert_eq!(said(&broker), []);
    // That somebody came is soft.
    let _parked = term.ask(join(None));
    let came = said(&broker);
    assert!(matches!(came[0], GroupObservation::MemberCame { .. }), "{came:?}");
}

#[test]
fn a_service_without_terms_coordinates_nothing() {
    let (env, _) = test_env(&TestDisk::new());
    let config = crate::server::Config::parse(
        "process.roles=broker,controller\nnode.id=1\nlog.dirs=/d\n\
         listeners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093\n\
         controller.listener.names=CONTROLLER\ncontroller.quorum.voters=1@127.0.0.1:9093\n",
        &BTreeMap::new(),
    );
    let config = config.unwrap().0;
    let service = GroupCoordinatorService::new(config.node_id, env, config.groups);
    let reply = run(service.ask(fetch("g")));
    assert_eq!(reply, Reply::FetchOffsets(Err(ErrorCode::NotCoordinator)));
    assert_eq!(run(service.list(&GroupFilter::default())), Ok(vec![]));
}

/// A group that has more offsets than one batch has room for tombstones.
fn with_many_offsets(term: &mut Running, group: &str) {
    for thousand in 0..6 {
        let one = |index| OffsetToCommit {
            partition: PartitionIndex::new(thousand * 1_000 + index),
            offset: Some(Offset::new(5)),
            leader_epoch: None,
            metadata: "".into(),
        };
        let Request::CommitOffsets(mut request) = commit(group, 0) else { unreachable!() };
        request.topics[0].1 = (0..1_000).map(one).collect();
        check_committed(&mut term.ask(Request::CommitOffsets(request)));
    }
}

#[test]
fn a_group_with_many_offsets_is_deleted_and_expires() {
    let group = "g".repeat(200);
    let mut broker = Broker::alone();
    let mut term = broker.begin();
    with_many_offsets(&mut term, &group);
    let before = broker.handle.log_end_offset();
    let mut deleted = term.ask(Request::DeleteGroups(vec![group.as_str().into()]));
    let Ok(Reply::DeleteGroups(results)) = deleted.try_recv() else { panic!("it is deleted") };
    assert_eq!(results[0].1, ErrorCode::None);
    assert_eq!(broker.handle.log_end_offset() - before, 6_000);
    assert_eq!(term.committed(&group), None);
    with_many_offsets(&mut term, &group);
    let before = broker.handle.log_end_offset();
    let config = GroupConfig::default();
    broker.pass(config.offsets_retention + config.offsets_retention_check_interval);
    term.poll();
    assert_eq!(broker.handle.log_end_offset() - before, 6_000);
    assert_eq!(term.committed(&group), None);
    term.end();
    broker.lead(&[1], &[1]);
    let mut next = broker.begin();
    next.poll();
    assert_eq!(next.committed(&group), None);
}

#[test]
fn what_the_log_took_of_a_deletion_is_said_and_the_rest_is_not() {
    // Batches of the first topic's tombstones are a little smaller than those of the second's, which the log refuses.
    let (group, long) = ("g".repeat(200), "t".repeat(249));
    let mut broker = Broker::with(&[("max.message.bytes", "503000")]);
    broker.lead(&[1], &[1]);
    let mut term = broker.begin();
    let known = topics(&[("orders", 1), (&long, 2)]);
    term.topics.send_replace(Arc::new(known));
    term.poll();
    for (topic, count) in [("orders", 2_200), (long.as_str(), 1_200)] {
        for start in (0..count).step_by(200) {
            let one = |index| OffsetToCommit {
                partition: PartitionIndex::new(index),
                offset: Some(Offset::new(5)),
                leader_epoch: None,
                metadata: "".into(),
            };
            let Request::CommitOffsets(mut request) = commit(&group, 0) else { unreachable!() };
            let topic = Topic { name: topic.into(), id: None };
            request.topics = vec![(topic, (start..start + 200).map(one).collect())];
            check_committed(&mut term.ask(Request::CommitOffsets(request)));
        }
    }
    said(&broker);
    let mut deleted = term.ask(Request::DeleteGroups(vec![group.as_str().into()]));
    let Ok(Reply::DeleteGroups(results)) = deleted.try_recv() else { panic!("it is answered") };
    assert_ne!(results[0].1, ErrorCode::None);
    let said = said(&broker);
    let partition_of = |what: &GroupObservation| {
        if let GroupObservation::OffsetForgotten { partition, .. } = what {
            return Some(*partition);
        }
        None
    };
    let forgotten = said.iter().filter_map(partition_of);
    let forgotten: Vec<TopicIdPartition> = forgotten.collect();
    assert!((2_000..2_200).contains(&forgotten.len()), "{}", forgotten.len());
    assert!(forgotten.iter().all(|partition| partition.topic_id == Uuid::from_bytes([1; 16])));
    assert!(!said.contains(&GroupObservation::GroupForgotten { group: ShortName::of(&group) }));
    // What is said to be gone is, and nothing else.
    assert_eq!(term.committed(&group), None);
    let Request::FetchOffsets(mut request) = fetch(&group) else { unreachable!() };
    let all = (0..2_200).map(PartitionIndex::new).collect();
    request.topics = Some(vec![(orders(), all)]);
    let mut reply = term.ask(Request::FetchOffsets(request));
    let Ok(Reply::FetchOffsets(Ok(fetched))) = reply.try_recv() else { panic!("it is answered") };
    let gone = fetched[0].partitions.iter().filter(|(_, committed)| committed.is_none());
    assert_eq!(gone.count(), forgotten.len());
}

#[test]
fn who_is_let_into_a_generation_is_said_though_the_answer_waits_for_the_log() {
    let mut broker = Broker::new("1");
    broker.lead(&[1, 2], &[1, 2]);
    let mut term = broker.begin();
    term.poll();
    let _commit = term.ask(commit("h", 5));
    let mut joined = term.ask(join(None));
    said(&broker);
    for _ in 0..2 {
        broker.pass(GroupConfig::default().initial_rebalance_delay);
        term.poll();
    }
    assert!(joined.try_recv().is_err(), "the commit before it is not replicated");
    let said = said(&broker);
    let is_let_in = |what: &GroupObservation| matches!(what, GroupObservation::JoinAnswered { .. });
    assert!(said.iter().any(is_let_in), "{said:?}");
}
