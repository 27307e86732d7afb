//! Goldens: `testdata/*.txt` holds commands and what came of them. `UPDATE=1 cargo test` rewrites them; the reviewer reads the diff.
//!
//! ```text
//! start [delay=MS] [size=N] [retention=MS] [check=MS] [metadata=BYTES] [consumers=N] [assignors=A,…] [policy=P]    a coordinator with an empty log
//! load [size=N …]             the log is read by another coordinator; what was parked at the former is refused
//! join NAME [as=ID|none] [instance=I] [session=MS] [rebalance=MS] [type=T] [knows=range:t+u,sticky:t] [has=t/0,t/1] [said=HEX] [v=V]
//! sync NAME [gives=NAME:X,NAME:=t/0+t/1,…] [generation=N] [as=ID] [instance=I] [type=T] [protocol=P]
//! heartbeat NAME [generation=N] [as=ID] [instance=I]
//! leave NAME [as=ID] [instance=I]  |  leave-all NAME,INSTANCE…
//! commit NAME TOPIC/PARTITION@OFFSET… [generation=N|none] [as=ID|none] [metadata=LENGTH] [retention=MS] [id=N] [epoch=N] [v=V]
//! fetch GROUP [TOPIC/PARTITION…] [id=N] [as=ID] [epoch=N]  |  forget GROUP TOPIC/PARTITION…  |  topic-deleted TOPIC N
//! list [states=S,…] [types=T,…]  |  describe GROUP  |  delete GROUP…
//! topics [NAME=PARTITIONS…]   the topics of the cluster are these
//! sets GROUP [session=MS] [interval=MS]    what the group sets from now on; an answer with another interval than the coordinator's says it
//! beat NAME [reads=t+u] [fits=EXPRESSION] [has=t/0,t/1] [epoch=N|join|leave|away] [wants=ASSIGNOR] [instance=I] [rebalance=MS] [as=ID|none] [v=V]
//! describe-consumers GROUP
//! wait MS                     time passes
//! lose ERROR                  the next append is refused
//! ```
//! Whoever joins is in group `g` unless `group=` says otherwise. A member's id is shown as what it begins with and a number, a UUID as `id` and a number.

mod show;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::coordinator::group::assignor::{Assignment, Assignor};
use crate::coordinator::group::request::*;
use crate::coordinator::group::*;
use crate::protocol::coordinator_records::consumer_group_current_member_assignment_value as current_value;
use crate::protocol::coordinator_records::*;
use crate::protocol::messages::Message as _;
use crate::protocol::wire::Writer;
use crate::types::{
    ErrorCode, GenerationId, LeaderEpoch, Now, Offset, PartitionIndex, Timestamp, Uuid,
    test_goldens,
};

/// A command's words: those with a name, and those without.
struct Words<'a> {
    plain: Vec<&'a str>,
    named: BTreeMap<&'a str, &'a str>,
}

impl<'a> Words<'a> {
    fn parse(line: &'a str) -> Self {
        let (mut plain, mut named) = (Vec::new(), BTreeMap::new());
        for word in line.split_whitespace() {
            match word.split_once('=') {
                Some((name, value)) => _ = named.insert(name, value),
                None => plain.push(word),
            }
        }
        Self { plain, named }
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.named.get(name).map(|value| value.parse().unwrap())
    }

    fn millis(&self, name: &str, default: u64) -> Duration {
        Duration::from_millis(self.number(name).unwrap_or(default))
    }

    fn text(&self, name: &str) -> Option<Arc<str>> {
        self.named.get(name).map(|value| Arc::from(*value))
    }

    fn group(&self) -> GroupId {
        self.text("group").unwrap_or_else(|| "g".into())
    }
}

/// What a consumer says of itself: the topics it reads.
pub(super) fn subscription(topics: &[&str]) -> Bytes {
    subscription_with(topics, None)
}

/// What a consumer says of itself: the topics it reads, and from version 1 on what it has.
pub(super) fn subscription_with(
    topics: &[&str],
    has: Option<&[(Arc<str>, PartitionIndex)]>,
) -> Bytes {
    let owned = has.into_iter().flatten().map(|(topic, index)| {
        let (topic, partitions) = (topic.to_string(), vec![*index]);
        consumer_protocol_subscription::TopicPartition { topic, partitions }
    });
    let subscription = ConsumerProtocolSubscription {
        topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
        owned_partitions: owned.collect(),
        ..ConsumerProtocolSubscription::default()
    };
    let version = if has.is_some() { 1 } else { 0 };
    let mut out = Writer::new();
    out.int16(version);
    subscription.encode(version, &mut out).unwrap();
    out.finish().concat().into()
}

/// What a consumer's leader gives: `=t/0+t/1`, or bytes that are nothing to Kafka.
fn given(what: &str) -> Bytes {
    let Some(partitions) = what.strip_prefix('=') else {
        return Bytes::copy_from_slice(what.as_bytes());
    };
    let partitions = partitions.split('+').filter(|word| !word.is_empty()).map(partition_of);
    let assigned = partitions.map(|(topic, index)| {
        let (topic, partitions) = (topic.to_string(), vec![index]);
        consumer_protocol_assignment::TopicPartition { topic, partitions }
    });
    let assignment =
        ConsumerProtocolAssignment { assigned_partitions: assigned.collect(), user_data: None };
    assignment_bytes(&assignment, &Bytes::new()).unwrap()
}

fn partition_of(word: &str) -> (Arc<str>, PartitionIndex) {
    let (topic, partition) = word.split_once('/').unwrap();
    (topic.into(), PartitionIndex::new(partition.parse().unwrap()))
}

fn topic_id(number: Option<u64>) -> Option<Uuid> {
    number.map(|number| Uuid::from_bytes(u128::from(number).to_be_bytes()))
}

struct Story {
    now: Now,
    config: GroupConfig,
    coordinator: GroupCoordinator,
    log: Vec<CoordinatorRecord>,
    lose: Option<ErrorCode>,
    tokens: BTreeMap<Token, String>,
    /// Of each name: its member id and generation, as it was last told.
    known: BTreeMap<String, (Option<MemberId>, Option<GenerationId>)>,
    shown_ids: BTreeMap<String, String>,
    groups: BTreeMap<GroupId, String>,
    topics: Arc<TopicTable>,
    overrides: Arc<OverridesTable>,
    text: String,
}

impl Story {
    fn new() -> Self {
        let now = Now::default();
        let config = GroupConfig::default();
        let rng = StdRng::seed_from_u64(7);
        let (coordinator, _) = LoadingCoordinator::new().finish(config.clone(), rng, now);
        Self {
            now,
            config,
            coordinator,
            log: Vec::new(),
            lose: None,
            tokens: BTreeMap::new(),
            known: BTreeMap::new(),
            shown_ids: BTreeMap::new(),
            groups: BTreeMap::new(),
            topics: Arc::default(),
            overrides: Arc::default(),
            text: String::new(),
        }
    }

    fn id(&mut self, id: &str) -> String {
        let is_uuid = id.len() == Uuid::ZERO.to_string().len();
        let named = if is_uuid { Some(("id", "")) } else { id.split_once('-') };
        let Some((name, _)) = named else { return id.to_owned() };
        let prefix = format!("{name}#");
        let count = self.shown_ids.values().filter(|shown| shown.starts_with(&prefix)).count();
        let shown = self.shown_ids.entry(id.to_owned());
        shown.or_insert_with(|| format!("{name}#{}", count + 1)).clone()
    }

    /// The id that is shown so.
    fn id_shown_as(&self, shown: &str) -> MemberId {
        let mut ids = self.shown_ids.iter();
        let found = ids.find(|(_, known)| *known == shown).map(|(id, _)| id.as_str());
        found.unwrap_or(shown).into()
    }

    fn line(&mut self, line: &str) {
        _ = writeln!(self.text, "  {}", line.trim_end());
    }

    fn perform(&mut self, outcome: Outcome) {
        let refused = if outcome.records.is_empty() { None } else { self.lose.take() };
        for record in &outcome.records {
            let shown = self.show_record(record);
            self.line(&format!("{}{shown}", if refused.is_some() { "lost " } else { "" }));
            if refused.is_none() {
                let bytes = (record.key_bytes().unwrap(), record.value_bytes().unwrap());
                let read = CoordinatorRecord::from_bytes(bytes.0, bytes.1).unwrap().unwrap();
                assert_eq!(&read, record, "what is written is not what is read");
                self.coordinator.replay(record);
                self.log.push(record.clone());
            }
        }
        for (token, reply) in outcome.replies {
            match refused {
                Some(error) => self.reply(token, &reply.failed(error)),
                None => self.reply(token, &reply),
            }
        }
        if let Some(error) = refused {
            self.line(&format!("append refused {error}"));
            let outcome = self.coordinator.on_append_failed(self.now, &outcome.records);
            self.perform(outcome);
        }
    }

    fn reply(&mut self, token: Token, reply: &Reply) {
        let name = self.tokens.remove(&token).expect("each request is answered once");
        let shown = self.show_reply(&name, reply);
        self.line(&format!("{name} <- {shown}"));
    }

    fn wait(&mut self, millis: u64) {
        let end = self.now.monotonic + Duration::from_millis(millis);
        for _ in 0..10_000 {
            let Some(at) = self.coordinator.deadline().filter(|at| *at <= end) else { break };
            self.set_time(at.max(self.now.monotonic));
            let outcome = self.coordinator.tick(self.now);
            if !(outcome.records.is_empty() && outcome.replies.is_empty()) {
                let text = format!("at {}:", self.now.wall);
                self.line(&text);
            }
            self.perform(outcome);
        }
        self.set_time(end);
    }

    fn set_time(&mut self, at: Monotonic) {
        let millis = i64::try_from(at.nanos() / 1_000_000).unwrap();
        self.now = Now { monotonic: at, wall: Timestamp::from_millis(millis) };
    }

    fn configure(&mut self, words: &Words<'_>) {
        let default = &self.config;
        let millis = |value: Duration| u64::try_from(value.as_millis()).unwrap();
        self.config = GroupConfig {
            initial_rebalance_delay: words.millis("delay", millis(default.initial_rebalance_delay)),
            size_max: words.number("size").map_or(default.size_max, |n| n.try_into().unwrap()),
            consumer_size_max: words
                .number("consumers")
                .map_or(default.consumer_size_max, |n| n.try_into().unwrap()),
            consumer_assignors: words.named.get("assignors").map_or_else(
                || default.consumer_assignors.clone(),
                |names| names.split(',').map(|name| Assignor::from_name(name).unwrap()).collect(),
            ),
            consumer_migration: match words.named.get("policy").copied() {
                None => default.consumer_migration,
                Some("disabled") => MigrationPolicy::Disabled,
                Some("upgrade") => MigrationPolicy::Upgrade,
                Some("downgrade") => MigrationPolicy::Downgrade,
                Some("bidirectional") => MigrationPolicy::Bidirectional,
                Some(other) => panic!("no such policy: {other}"),
            },
            offsets_retention: words.millis("retention", millis(default.offsets_retention)),
            offsets_retention_check_interval: words
                .millis("check", millis(default.offsets_retention_check_interval)),
            offset_metadata_bytes_max: words
                .number("metadata")
                .map_or(default.offset_metadata_bytes_max, |n| n.try_into().unwrap()),
            ..default.clone()
        };
    }

    fn load(&mut self) {
        let mut loading = LoadingCoordinator::new().with_overrides(Arc::clone(&self.overrides));
        self.log.iter().for_each(|record| loading.replay(record));
        let rng = StdRng::seed_from_u64(8 + u64::try_from(self.log.len()).unwrap());
        let (coordinator, outcome) = loading.finish(self.config.clone(), rng, self.now);
        let former = std::mem::replace(&mut self.coordinator, coordinator);
        self.coordinator.on_topics(Arc::clone(&self.topics));
        assert_eq!(former.durable, self.coordinator.durable, "memory is not what the log says");
        for (token, reply) in former.resign() {
            self.reply(token, &reply);
        }
        self.perform(outcome);
    }

    fn member(&self, words: &Words<'_>, name: &str) -> Option<MemberId> {
        match words.named.get("as") {
            Some(&"none") => None,
            Some(id) => Some(self.id_shown_as(id)),
            None => self.known.get(name).and_then(|(member, _)| member.clone()),
        }
    }

    fn generation(&self, words: &Words<'_>, name: &str) -> Option<GenerationId> {
        match words.named.get("generation") {
            Some(&"none") => None,
            Some(number) => Some(GenerationId::new(number.parse().unwrap())),
            None => self.known.get(name).and_then(|(_, generation)| *generation),
        }
    }

    fn ask(&mut self, name: &str, request: Request) {
        let token = Token(1 + self.tokens.last_key_value().map_or(0, |(token, _)| token.0));
        self.tokens.insert(token, name.to_owned());
        let outcome = self.coordinator.decide(self.now, token, request);
        self.perform(outcome);
    }

    fn join(&mut self, words: &Words<'_>) {
        let name = words.plain[1];
        let knows = words.named.get("knows").copied().unwrap_or("range:t");
        let has = words.named.get("has").map(|partitions| {
            let words = partitions.split(',').filter(|word| !word.is_empty());
            words.map(partition_of).collect::<Vec<_>>()
        });
        let protocols = knows.split(',').filter(|part| !part.is_empty()).map(|part| {
            let (protocol, topics) = part.split_once(':').unwrap_or((part, ""));
            let topics: Vec<&str> = topics.split('+').filter(|topic| !topic.is_empty()).collect();
            let said = words.named.get("said").map(|hex| {
                let digits = hex.as_bytes().chunks(2);
                let bytes =
                    digits.map(|two| u8::from_str_radix(str::from_utf8(two).unwrap(), 16).unwrap());
                bytes.collect::<Bytes>()
            });
            let said = said.unwrap_or_else(|| subscription_with(&topics, has.as_deref()));
            (Arc::from(protocol), said)
        });
        let version = words.number("v").unwrap_or(9);
        let request = JoinGroup {
            group: words.group(),
            member: self.member(words, name),
            instance: words.text("instance"),
            client_id: name.into(),
            client_host: "/127.0.0.1".into(),
            session_timeout: words.millis("session", 10_000),
            rebalance_timeout: words.millis("rebalance", 60_000),
            protocol_type: words.text("type").unwrap_or_else(|| "consumer".into()),
            protocols: protocols.collect(),
            requires_known_member_id: version >= 4,
            may_skip_assignment: version >= 9,
        };
        self.ask(name, Request::JoinGroup(request));
    }

    fn sync(&mut self, words: &Words<'_>) {
        let name = words.plain[1];
        let gives = words.named.get("gives").copied().unwrap_or_default();
        let gives = gives.split(',').filter_map(|part| part.split_once(':'));
        let assignments = gives.map(|(to, what)| {
            let known = self.known.get(to).and_then(|(member, _)| member.clone());
            let member = known.unwrap_or_else(|| self.id_shown_as(to));
            (member, given(what))
        });
        let request = SyncGroup {
            group: words.group(),
            generation: self.generation(words, name),
            member: self.member(words, name).unwrap_or_else(|| "nobody".into()),
            instance: words.text("instance"),
            protocol_type: words.text("type"),
            protocol: words.text("protocol"),
            assignments: assignments.collect(),
        };
        self.ask(name, Request::SyncGroup(request));
    }

    fn commit(&mut self, words: &Words<'_>) {
        let name = words.plain[1];
        let metadata = words.number("metadata").unwrap_or(0);
        let commits = words.plain[2..].iter().map(|word| {
            let (place, offset) = word.split_once('@').unwrap();
            let (topic, partition) = partition_of(place);
            let commit = OffsetToCommit {
                partition,
                offset: Offset::from_wire(offset.parse().unwrap()),
                leader_epoch: words
                    .number("epoch")
                    .map(|epoch| LeaderEpoch::new(epoch.try_into().unwrap())),
                metadata: "m".repeat(usize::try_from(metadata).unwrap()).into(),
            };
            (Topic { name: topic, id: topic_id(words.number("id")) }, vec![commit])
        });
        let request = CommitOffsets {
            group: words.group(),
            generation: self.generation(words, name),
            member: self.member(words, name),
            instance: words.text("instance"),
            knows_member_epochs: words.number("v").is_none_or(|version| version >= 9),
            retention: words.number("retention").map(Duration::from_millis),
            topics: commits.collect(),
        };
        self.ask(name, Request::CommitOffsets(request));
    }

    fn fetch(&mut self, words: &Words<'_>) {
        let id = topic_id(words.number("id"));
        let asked = words.plain[2..].iter().map(|word| {
            let (name, partition) = partition_of(word);
            (Topic { name, id }, vec![partition])
        });
        let asked: Vec<_> = asked.collect();
        let request = FetchOffsets {
            group: words.plain[1].into(),
            member: words.text("as"),
            member_epoch: words.number("epoch").map(|epoch| epoch.try_into().unwrap()),
            topics: Some(asked).filter(|asked| !asked.is_empty()),
        };
        self.ask("-", Request::FetchOffsets(request));
    }

    fn leave(&mut self, words: &Words<'_>) {
        let name = words.plain[1];
        let leaving =
            LeavingMember { member: self.member(words, name), instance: words.text("instance") };
        let request = LeaveGroup { group: words.group(), members: vec![leaving] };
        self.ask(name, Request::LeaveGroup(request));
    }

    /// Names that are known leave by their ids, others by their instances.
    fn leave_all(&mut self, words: &Words<'_>) {
        let members = words.plain[1].split(',').map(|name| {
            let member = self.known.get(name).and_then(|(member, _)| member.clone());
            let instance = if member.is_some() { None } else { Some(Arc::from(name)) };
            LeavingMember { member, instance }
        });
        let request = LeaveGroup { group: words.group(), members: members.collect() };
        self.ask("admin", Request::LeaveGroup(request));
    }

    fn beat(&mut self, words: &Words<'_>) {
        let name = words.plain[1];
        let known = self.known.get(name).and_then(|(_, generation)| *generation);
        let epoch = match words.named.get("epoch").copied() {
            Some("join") => HeartbeatEpoch::Join,
            Some("leave") => HeartbeatEpoch::Leave,
            Some("away") => HeartbeatEpoch::LeaveForAWhile,
            Some(number) => HeartbeatEpoch::At(number.parse().unwrap()),
            None => known.map_or(HeartbeatEpoch::Join, |known| HeartbeatEpoch::At(known.value())),
        };
        let joins = epoch == HeartbeatEpoch::Join;
        let member = match words.named.get("as").copied() {
            Some("none") => None,
            id => Some(Arc::from(id.unwrap_or(name))),
        };
        let reads = words.named.get("reads").map(|topics| {
            topics.split('+').filter(|topic| !topic.is_empty()).map(Arc::from).collect()
        });
        let has = words.named.get("has").map(|partitions| {
            let mut has = Assignment::new();
            for word in partitions.split(',').filter(|word| !word.is_empty()) {
                let (topic, partition) = partition_of(word);
                let id = self.topics[&topic].id;
                has.entry(id).or_default().insert(partition);
            }
            has
        });
        let rebalance = words.number("rebalance").or(joins.then_some(60_000));
        let request = ConsumerGroupHeartbeat {
            group: words.group(),
            member,
            may_lack_member_id: words.number("v") == Some(0),
            epoch,
            instance: words.text("instance"),
            rack: None,
            client_id: name.into(),
            client_host: "/127.0.0.1".into(),
            rebalance_timeout: rebalance.map(Duration::from_millis),
            topics: reads
                .or_else(|| (joins && !words.named.contains_key("fits")).then(|| vec!["t".into()])),
            topic_regex: words.text("fits"),
            assignor: words.text("wants"),
            owned: has.or_else(|| joins.then(Assignment::new)),
        };
        self.ask(name, Request::ConsumerGroupHeartbeat(request));
    }

    fn forget(&mut self, words: &Words<'_>) {
        let topics = words.plain[2..].iter().map(|word| {
            let (topic, partition) = partition_of(word);
            (topic, vec![partition])
        });
        let request = DeleteOffsets { group: words.plain[1].into(), topics: topics.collect() };
        self.ask("-", Request::DeleteOffsets(request));
    }

    fn list(&mut self, words: &Words<'_>) {
        let names = |key: &str| {
            let names = words.named.get(key).map(|names| names.split(','));
            names.into_iter().flatten().map(ToOwned::to_owned).collect()
        };
        let filter = GroupFilter { states: names("states"), types: names("types") };
        self.ask("-", Request::ListGroups(filter));
    }

    fn command(&mut self, line: &str) {
        let words = Words::parse(line);
        let rest = || words.plain[1..].iter().map(|word| Arc::from(*word)).collect();
        match words.plain[0] {
            "start" => {
                let text = std::mem::take(&mut self.text);
                *self = Self { text, ..Self::new() };
                self.configure(&words);
                self.load();
            }
            "load" => {
                self.configure(&words);
                self.load();
            }
            "join" => self.join(&words),
            "sync" => self.sync(&words),
            "heartbeat" => {
                let name = words.plain[1];
                let request = Heartbeat {
                    group: words.group(),
                    generation: self.generation(&words, name),
                    member: self.member(&words, name).unwrap_or_else(|| "nobody".into()),
                    instance: words.text("instance"),
                };
                self.ask(name, Request::Heartbeat(request));
            }
            "leave" => self.leave(&words),
            "leave-all" => self.leave_all(&words),
            "commit" => self.commit(&words),
            "fetch" => self.fetch(&words),
            "forget" => self.forget(&words),
            "topic-deleted" => {
                let id = topic_id(words.plain[2].parse().ok()).unwrap();
                let outcome = self.coordinator.on_topics_deleted(&[(words.plain[1].into(), id)]);
                self.perform(outcome);
            }
            "topics" => {
                let topics = words.named.iter().map(|(name, count)| {
                    let id = topic_id(name.bytes().next().map(u64::from)).unwrap();
                    (Arc::from(*name), TopicInfo { id, partitions: count.parse().unwrap() })
                });
                self.topics = Arc::new(topics.collect());
                self.coordinator.on_topics(Arc::clone(&self.topics));
            }
            "sets" => {
                let span = |name| words.number(name).map(Duration::from_millis);
                let (session_timeout, heartbeat_interval) = (span("session"), span("interval"));
                let own = GroupOverrides { session_timeout, heartbeat_interval };
                Arc::make_mut(&mut self.overrides).insert(words.plain[1].into(), own);
                self.coordinator.on_overrides(Arc::clone(&self.overrides));
            }
            "beat" => self.beat(&words),
            "describe-consumers" => self.ask("-", Request::DescribeConsumerGroups(rest())),
            "list" => self.list(&words),
            "describe" => self.ask("-", Request::DescribeGroups(rest())),
            "delete" => self.ask("-", Request::DeleteGroups(rest())),
            "wait" => self.wait(words.plain[1].parse().unwrap()),
            "lose" => {
                let mut known = ErrorCode::ALL.iter();
                self.lose = known.find(|code| code.name() == words.plain[1]).copied();
                assert!(self.lose.is_some(), "{line}");
            }
            other => panic!("no such command: {other}"),
        }
        self.show_groups();
    }
}

fn play(text: &str) -> String {
    let mut story = Story::new();
    for line in text.lines() {
        if let Some(command) = line.strip_prefix("> ") {
            _ = writeln!(story.text, "{line}");
            story.command(command);
        } else if !line.starts_with("  ") {
            _ = writeln!(story.text, "{line}");
        }
    }
    story.text
}

#[test]
fn the_stories_are_as_they_were() {
    test_goldens::check("src/coordinator/group/testdata", play);
}
