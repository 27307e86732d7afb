//! Goldens: `testdata/*.txt` holds commands and what came of them. `UPDATE=1 cargo test` rewrites them; the reviewer reads the diff.
//!
//! ```text
//! cluster 1 2 3 [observers 4]    who there is; the voters first
//! start N…                       begin processes
//! crash N [kept K]               end one; K of its unsynced batches are on disk nevertheless
//! wipe N                         take the disk of one that is down; from then on what Raft promises is not held against anything
//! wait MS                        let time pass; messages arrive at once, those of a cut are lost
//! deliver                        let arrive what is on its way, without time
//! cut N [M]  |  heal             lose what N (and M) say to each other  |  all is well again
//! pause N  |  resume N           a process sleeps; it hears nothing until it wakes
//! append N COUNT                 the active leader writes a batch
//! full N  |  space N             its disk has no space  |  has again
//! snapshot N                     it writes a snapshot of what is committed
//! shutdown N                     it is about to end
//! ask N EPOCH FROM LAST-EPOCH END [pre]      a request for a vote, by hand
//! fetch N BY EPOCH END LAST-EPOCH            a fetch, by hand: BY says that it has all below END
//! ```
//! Fetches that bring nothing are not shown, nor the states of nodes that stayed as they were.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use super::world::{Envelope, Message, World};
use crate::protocol::messages::{FetchRequest, VoteRequest, fetch_request, vote_request};
use crate::raft::*;
use crate::types::{ErrorCode, PartitionIndex, Uuid, test_goldens};

/// What a request says, where it is worth a line.
pub(super) fn show_request(to: BrokerId, request: &QuorumRequest) -> Option<String> {
    Some(match request {
        QuorumRequest::Vote(request) => {
            let vote = &request.topics[0].partitions[0];
            let kind = if vote.pre_vote { "pre-vote" } else { "vote" };
            let last = format!("last {}/{}", vote.last_offset_epoch, vote.last_offset);
            format!("-> {to} {kind} epoch {} {last}", vote.replica_epoch)
        }
        QuorumRequest::BeginQuorumEpoch(request) => {
            let begin = &request.topics[0].partitions[0];
            format!("-> {to} begin epoch {}", begin.leader_epoch)
        }
        QuorumRequest::EndQuorumEpoch(request) => {
            let end = &request.topics[0].partitions[0];
            let next: Vec<String> =
                end.preferred_successors.iter().map(ToString::to_string).collect();
            format!("-> {to} end epoch {} next {}", end.leader_epoch, next.join(","))
        }
        QuorumRequest::FetchSnapshot(request) => {
            let fetch = &request.topics[0].partitions[0];
            format!("-> {to} fetch snapshot from byte {}", fetch.position)
        }
        QuorumRequest::Fetch(_) | QuorumRequest::DescribeQuorum(_) => return None,
    })
}

/// What an answer says, where it is worth a line.
pub(super) fn show_response(to: BrokerId, response: &QuorumResponse) -> Option<String> {
    let (name, error, rest) = match response {
        QuorumResponse::Vote(response) => match response.topics.first() {
            Some(topic) => {
                let vote = &topic.partitions[0];
                let what = if vote.vote_granted { "granted" } else { "refused" };
                ("vote", vote.error_code, what.to_owned())
            }
            None => ("vote", response.error_code, String::new()),
        },
        QuorumResponse::BeginQuorumEpoch(response) => {
            let topic = response.topics.first();
            let error = topic.map_or(response.error_code, |topic| topic.partitions[0].error_code);
            ("begin", error, String::new())
        }
        QuorumResponse::EndQuorumEpoch(response) => {
            let topic = response.topics.first();
            let error = topic.map_or(response.error_code, |topic| topic.partitions[0].error_code);
            ("end", error, String::new())
        }
        QuorumResponse::Fetch(response) => {
            let topic = response.responses.first()?;
            let partition = &topic.partitions[0];
            let diverging = &partition.diverging_epoch;
            let rest = match (diverging.epoch, partition.snapshot_id.end_offset) {
                (Some(epoch), _) => {
                    format!("diverging: epoch {epoch} ends at {}", diverging.end_offset.unwrap())
                }
                (None, Some(end)) => format!("snapshot {end}"),
                (None, None) => String::new(),
            };
            let error = partition.error_code;
            let is_refusal = !error.is_none() && error != ErrorCode::NotLeaderOrFollower;
            let is_news = is_refusal || !rest.is_empty();
            if !is_news {
                return None;
            }
            ("fetch", partition.error_code, rest)
        }
        QuorumResponse::FetchSnapshot(response) => {
            let error = response.topics.first()?.partitions[0].error_code;
            ("fetch snapshot", error, String::new())
        }
        QuorumResponse::DescribeQuorum(_) => return None,
    };
    let error = if error.is_none() { String::new() } else { format!(" {error}") };
    let line = format!("=> {to} {name}{error} {rest}");
    Some(line.trim_end().to_owned())
}

struct Script {
    world: World,
    cut: BTreeSet<(BrokerId, BrokerId)>,
    paused: BTreeSet<BrokerId>,
}

fn id(word: &str) -> BrokerId {
    BrokerId::new(word.parse().unwrap())
}

impl Script {
    fn is_cut(&self, envelope: &Envelope) -> bool {
        self.cut.contains(&(envelope.from, envelope.to))
    }

    /// Lets arrive what is on its way, and what that brings.
    fn deliver(&mut self) {
        for _ in 0..10_000 {
            let is_awake = |envelope: &Envelope| {
                !self.paused.contains(&envelope.to) && !self.paused.contains(&envelope.from)
            };
            let Some(index) = self.world.network.iter().position(is_awake) else { return };
            let envelope = self.world.network.remove(index).unwrap();
            if self.is_cut(&envelope) {
                self.world.lose(envelope);
            } else {
                self.world.deliver(envelope);
            }
        }
        panic!("the messages never end");
    }

    fn wait(&mut self, millis: u64) {
        let end = self.world.now.monotonic + Duration::from_millis(millis);
        self.deliver();
        loop {
            let awake = self.world.nodes.keys().filter(|id| !self.paused.contains(id));
            let due = awake.filter_map(|id| Some((self.world.raft(*id)?.deadline()?, *id)));
            let Some((at, id)) = due.min().filter(|(at, _)| *at <= end) else { break };
            let at = at.max(self.world.now.monotonic);
            self.set_time(at);
            self.world.handle(id, Event::Tick);
            self.deliver();
        }
        self.set_time(end);
    }

    fn set_time(&mut self, at: Monotonic) {
        self.world.now.monotonic = at;
        let millis = i64::try_from(at.nanos() / 1_000_000).unwrap();
        self.world.now.wall = crate::types::Timestamp::from_millis(millis);
    }

    fn run(&mut self, words: &[&str]) {
        match words {
            ["start", nodes @ ..] => nodes.iter().for_each(|node| self.world.start(id(node))),
            ["crash", node] => self.world.crash(id(node), 0),
            ["crash", node, "kept", kept] => self.world.crash(id(node), kept.parse().unwrap()),
            ["wipe", node] => self.world.wipe(id(node)),
            ["wait", millis] => self.wait(millis.parse().unwrap()),
            ["deliver"] => self.deliver(),
            ["cut", node] => {
                for other in self.world.nodes.keys() {
                    self.cut.extend([(id(node), *other), (*other, id(node))]);
                }
            }
            ["cut", node, other] => {
                self.cut.extend([(id(node), id(other)), (id(other), id(node))]);
            }
            ["heal"] => self.cut.clear(),
            ["pause", node] => assert!(self.paused.insert(id(node))),
            ["resume", node] => assert!(self.paused.remove(&id(node))),
            ["append", node, records] => {
                self.world.append(id(node), records.parse().unwrap());
            }
            ["full", node] => self.world.nodes.get_mut(&id(node)).unwrap().has_space = false,
            ["space", node] => self.world.nodes.get_mut(&id(node)).unwrap().has_space = true,
            ["snapshot", node] => self.world.snapshot(id(node)),
            ["shutdown", node] => self.world.handle(id(node), Event::Shutdown),
            ["ask", node, rest @ ..] => self.ask(id(node), rest),
            ["fetch", node, rest @ ..] => self.fetch(id(node), rest),
            other => panic!("unknown command {other:?}"),
        }
    }

    fn ask(&mut self, to: BrokerId, words: &[&str]) {
        let [epoch, from, last_epoch, end, pre @ ..] = words else { panic!("{words:?}") };
        let partition = vote_request::PartitionData {
            partition_index: PartitionIndex::new(0),
            replica_epoch: LeaderEpoch::new(epoch.parse().unwrap()),
            replica_id: id(from),
            replica_directory_id: Uuid::ZERO,
            voter_directory_id: Uuid::ZERO,
            last_offset_epoch: LeaderEpoch::new(last_epoch.parse().unwrap()),
            last_offset: Offset::new(end.parse().unwrap()),
            pre_vote: !pre.is_empty(),
        };
        let topic = vote_request::TopicData {
            topic_name: METADATA_TOPIC.to_owned(),
            partitions: vec![partition],
        };
        let request = VoteRequest { cluster_id: None, voter_id: None, topics: vec![topic] };
        let message =
            Message::Request { id: RequestId(u64::MAX), request: QuorumRequest::Vote(request) };
        self.world.deliver(Envelope { from: id(from), to, message });
    }

    fn fetch(&mut self, to: BrokerId, words: &[&str]) {
        let [from, _, end, last_epoch] = words else { panic!("{words:?}") };
        let epoch = |word: &str| Some(LeaderEpoch::new(word.parse().unwrap()));
        let partition = fetch_request::FetchPartition {
            partition: PartitionIndex::new(0),
            current_leader_epoch: epoch(words[1]),
            fetch_offset: Some(Offset::new(end.parse().unwrap())),
            last_fetched_epoch: epoch(last_epoch),
            ..Default::default()
        };
        let topic_id = Uuid::METADATA_TOPIC;
        let topic = fetch_request::FetchTopic {
            topic: String::new(),
            topic_id,
            partitions: vec![partition],
        };
        let request = FetchRequest {
            replica_state: fetch_request::ReplicaState {
                replica_id: Some(id(from)),
                replica_epoch: None,
            },
            topics: vec![topic],
            ..Default::default()
        };
        let message =
            Message::Request { id: RequestId(u64::MAX), request: QuorumRequest::Fetch(request) };
        self.world.deliver(Envelope { from: id(from), to, message });
    }

    fn states(&self) -> String {
        let mut text = String::new();
        for (id, node) in &self.world.nodes {
            let end = node.disk.end();
            let Some(raft) = &node.raft else {
                writeln!(text, "  = {id} down, log {}..{end}", node.disk.start).unwrap();
                continue;
            };
            let mark = raft.high_watermark().map_or("none".to_owned(), |mark| mark.to_string());
            let role = if raft.is_active_leader() {
                "active leader".to_owned()
            } else {
                format!("{:?}", raft.role()).to_lowercase()
            };
            let leader = match raft.leader().leader {
                Some(leader) if leader != *id => format!(" of {leader}"),
                Some(_) | None => String::new(),
            };
            let log = format!("log {}..{end}", node.disk.start);
            let epoch = raft.epoch();
            writeln!(text, "  = {id} {role}{leader}, epoch {epoch}, {log}, committed {mark}")
                .unwrap();
        }
        text
    }
}

fn play(commands: &str) -> String {
    let (mut script, mut text): (Option<Script>, String) = (None, String::new());
    let mut shown: BTreeSet<String> = BTreeSet::new();
    for line in commands.lines() {
        if line.starts_with(' ') || line.is_empty() {
            continue;
        }
        writeln!(text, "{line}").unwrap();
        if line.starts_with('#') {
            continue;
        }
        let words: Vec<&str> = line.split(' ').collect();
        if let ["cluster", members @ ..] = words.as_slice() {
            let mut parts = members.split(|word| *word == "observers");
            let numbers = |words: Option<&[&str]>| -> Vec<i32> {
                words.unwrap_or_default().iter().map(|word| word.parse().unwrap()).collect()
            };
            let (voters, observers) = (numbers(parts.next()), numbers(parts.next()));
            let world = World::new(&voters, &observers, 1);
            script = Some(Script { world, cut: BTreeSet::new(), paused: BTreeSet::new() });
            continue;
        }
        let script = script.as_mut().expect("a script begins with the cluster");
        script.run(&words);
        let told: Vec<String> = script.world.told.drain(..).collect();
        for (index, line) in told.iter().enumerate() {
            // What is tried again and again is shown once.
            if !told[index.saturating_sub(6)..index].contains(line) {
                writeln!(text, "  {line}").unwrap();
            }
        }
        script.world.oracle.logs_match(&script.world.nodes);
        let states: BTreeSet<String> = script.states().lines().map(str::to_owned).collect();
        for state in states.difference(&shown) {
            writeln!(text, "{state}").unwrap();
        }
        shown = states;
    }
    text
}

#[test]
fn goldens() {
    test_goldens::check("src/raft/testdata", play);
}
