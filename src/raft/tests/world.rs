//! Several members with disks and a network of plain values, for goldens and properties.
//!
//! A disk keeps what was written, and after a crash what was synced. The network keeps messages until somebody delivers or drops
//! them. Everything that happens is held against what Raft promises, see [`Oracle`].

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::oracle::Oracle;
use crate::log::LeaderEpochCache;
use crate::protocol::Records;
use crate::protocol::compression::Compression;
use crate::protocol::record_batch::{BatchBuilder, RawBatch, RawBatches};
use crate::raft::*;
use crate::types::{Timestamp, Uuid};

/// A batch in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) base: Offset,
    pub(super) end: Offset,
    pub(super) epoch: LeaderEpoch,
    pub(super) crc: u32,
    bytes: Bytes,
}

impl Entry {
    fn of(batch: &RawBatch) -> Self {
        let header = &batch.header;
        Self {
            base: header.base_offset,
            end: header.end_offset(),
            epoch: header.leader_epoch.unwrap(),
            crc: header.crc,
            bytes: batch.bytes.clone(),
        }
    }
}

/// What a machine keeps.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    pub(super) state: Option<QuorumState>,
    pub(super) start: Offset,
    pub(super) log: Vec<Entry>,
    /// How many of them are durable.
    pub(super) synced: usize,
    pub(super) snapshots: BTreeMap<SnapshotId, Bytes>,
}

impl Disk {
    pub(super) fn end(&self) -> Offset {
        self.log.last().map_or(self.start, |entry| entry.end)
    }

    pub(super) fn synced_end(&self) -> Offset {
        self.synced.checked_sub(1).map_or(self.start, |last| self.log[last].end)
    }

    fn log_state(&self) -> LogState {
        let mut epochs = LeaderEpochCache::new();
        for entry in &self.log {
            epochs.assign(entry.epoch, entry.base);
        }
        let sizes = self.snapshots.iter().map(|(id, bytes)| (*id, bytes.len() as u64));
        LogState {
            start_offset: self.start,
            end_offset: self.end(),
            epochs,
            snapshots: sizes.collect(),
        }
    }
}

/// A process on a machine.
pub(super) struct Node {
    pub(super) disk: Disk,
    pub(super) raft: Option<Raft>,
    pub(super) incarnation: u32,
    is_sync_due: bool,
    parts: Vec<u8>,
    /// Who waits for which answer.
    askers: BTreeMap<Token, (BrokerId, RequestId)>,
    next_token: u64,
    pub(super) has_space: bool,
}

/// Something on its way.
#[derive(Clone, Debug)]
pub(super) enum Message {
    Request {
        id: RequestId,
        request: QuorumRequest,
    },
    /// `None`: the connection broke.
    Response {
        id: RequestId,
        response: Option<QuorumResponse>,
    },
}

#[derive(Clone, Debug)]
pub(super) struct Envelope {
    pub(super) from: BrokerId,
    pub(super) to: BrokerId,
    pub(super) message: Message,
}

pub(super) struct World {
    pub(super) nodes: BTreeMap<BrokerId, Node>,
    voters: Vec<BrokerId>,
    pub(super) network: VecDeque<Envelope>,
    pub(super) now: Now,
    seed: u64,
    pub(super) oracle: Oracle,
    /// What happened, for goldens.
    pub(super) told: Vec<String>,
    next_record: u64,
    /// A node that is to crash after so many effects.
    pub(super) crash_after: Option<usize>,
}

impl World {
    pub(super) fn new(voters: &[i32], observers: &[i32], seed: u64) -> Self {
        let all = voters.iter().chain(observers).map(|id| BrokerId::new(*id));
        let node = |id: BrokerId| {
            let node = Node {
                disk: Disk::default(),
                raft: None,
                incarnation: 0,
                is_sync_due: false,
                parts: Vec::new(),
                askers: BTreeMap::new(),
                next_token: 0,
                has_space: true,
            };
            (id, node)
        };
        Self {
            nodes: all.map(node).collect(),
            voters: voters.iter().map(|id| BrokerId::new(*id)).collect(),
            network: VecDeque::new(),
            now: Now::default(),
            seed,
            oracle: Oracle::default(),
            told: Vec::new(),
            next_record: 0,
            crash_after: None,
        }
    }

    pub(super) fn raft(&self, id: BrokerId) -> Option<&Raft> {
        self.nodes[&id].raft.as_ref()
    }

    pub(super) fn running(&self) -> Vec<BrokerId> {
        self.nodes.iter().filter(|(_, node)| node.raft.is_some()).map(|(id, _)| *id).collect()
    }

    pub(super) fn active_leaders(&self) -> Vec<BrokerId> {
        let leads = |id: &BrokerId| self.raft(*id).is_some_and(Raft::is_active_leader);
        self.running().into_iter().filter(leads).collect()
    }

    pub(super) fn start(&mut self, id: BrokerId) {
        let voters = self.voters.iter().map(|id| Voter::new(*id, Uuid::ZERO));
        let config = RaftConfig {
            node: id,
            directory_id: Uuid::from_bytes([u8::try_from(id.value()).unwrap(); 16]),
            cluster_id: "cluster".to_owned(),
            is_voter: self.voters.contains(&id),
            voters: VoterSet::new(voters),
            election_timeout: Duration::from_millis(1_000),
            election_backoff_max: Duration::from_millis(1_000),
            fetch_timeout: Duration::from_millis(2_000),
            retry_backoff: Duration::from_millis(20),
        };
        let node = self.nodes.get_mut(&id).unwrap();
        assert!(node.raft.is_none(), "it runs");
        node.incarnation += 1;
        node.askers.clear();
        let number = u64::try_from(id.value()).unwrap() << 32 | u64::from(node.incarnation);
        let rng = StdRng::seed_from_u64(self.seed ^ number);
        let state = node.disk.state.clone();
        node.raft = Some(Raft::new(config, rng, state, node.disk.log_state()));
        self.oracle.started(id);
        self.handle(id, Event::Start);
    }

    /// Ends a process. What was not synced is lost from the `kept`th of the unsynced batches on.
    pub(super) fn crash(&mut self, id: BrokerId, kept: usize) {
        let node = self.nodes.get_mut(&id).unwrap();
        node.raft = None;
        node.is_sync_due = false;
        let keep = (node.disk.synced + kept).min(node.disk.log.len());
        node.disk.log.truncate(keep);
        // What the disk kept is there at the next start, and durable.
        node.disk.synced = keep;
        for (to, request) in std::mem::take(&mut node.askers).into_values() {
            self.network.push_back(Envelope {
                from: id,
                to,
                message: Message::Response { id: request, response: None },
            });
        }
    }

    /// Takes a disk, and all it held, votes too: more than Raft is made for.
    pub(super) fn wipe(&mut self, id: BrokerId) {
        let node = self.nodes.get_mut(&id).unwrap();
        assert!(node.raft.is_none(), "it runs");
        node.disk = Disk::default();
        self.oracle.is_off = true;
    }

    /// Feeds a member, does what it says, syncs what is due.
    pub(super) fn handle(&mut self, id: BrokerId, event: Event) {
        let mut events = VecDeque::from([event]);
        loop {
            while let Some(event) = events.pop_front() {
                let node = self.nodes.get_mut(&id).unwrap();
                let Some(raft) = &mut node.raft else { return };
                let mut out = Vec::new();
                raft.handle(self.now, event, &mut out);
                for effect in out {
                    if let Some(left) = &mut self.crash_after {
                        if *left == 0 {
                            self.crash_after = None;
                            self.crash(id, 0);
                            return;
                        }
                        *left -= 1;
                    }
                    self.perform(id, effect, &mut events);
                }
                self.oracle.looked_at(id, &self.nodes);
            }
            let node = self.nodes.get_mut(&id).unwrap();
            if !std::mem::take(&mut node.is_sync_due) {
                return;
            }
            self.handle_one(id, Event::Syncing);
            let node = self.nodes.get_mut(&id).unwrap();
            if node.raft.is_none() {
                return;
            }
            node.disk.synced = node.disk.log.len();
            events.push_back(Event::Synced { end: node.disk.end() });
        }
    }

    /// An event that brings no write.
    fn handle_one(&mut self, id: BrokerId, event: Event) {
        let node = self.nodes.get_mut(&id).unwrap();
        let Some(raft) = &mut node.raft else { return };
        let (mut out, mut events) = (Vec::new(), VecDeque::new());
        raft.handle(self.now, event, &mut out);
        for effect in out {
            self.perform(id, effect, &mut events);
        }
        assert!(events.is_empty(), "a sync brings no write");
    }

    fn tell(&mut self, id: BrokerId, what: &str) {
        self.told.push(format!("{id} {what}"));
    }

    fn perform(&mut self, id: BrokerId, effect: Effect, events: &mut VecDeque<Event>) {
        let node = self.nodes.get_mut(&id).unwrap();
        match effect {
            Effect::PersistQuorumState(state) => {
                self.oracle.persisted(id, node.disk.state.as_ref(), &state);
                let show = |id: Option<BrokerId>| id.map_or("-".to_owned(), |id| id.to_string());
                let (leader, vote) =
                    (show(state.leader), show(state.voted_for.map(|vote| vote.voter)));
                let line = format!("persist epoch {} leader {leader} vote {vote}", state.epoch);
                node.disk.state = Some(state);
                self.tell(id, &line);
            }
            Effect::Write { base_offset, leader_epoch, batch } => {
                assert_eq!(base_offset, node.disk.end(), "the log has no holes");
                if !node.has_space {
                    self.tell(id, "has no space");
                    events.push_back(Event::Refused);
                    return;
                }
                let line = format!("write at {base_offset} epoch {leader_epoch}: {batch:?}");
                for entry in entries(base_offset, leader_epoch, batch) {
                    node.disk.log.push(entry);
                }
                events.push_back(Event::Written { end: node.disk.end() });
                self.tell(id, &line);
            }
            Effect::Sync => node.is_sync_due = true,
            Effect::Truncate { to } => {
                let kept = node.disk.log.iter().take_while(|entry| entry.end <= to).count();
                self.oracle.truncated(id, &node.disk, kept);
                node.disk.log.truncate(kept);
                node.disk.synced = node.disk.synced.min(kept);
                events.push_back(Event::Truncated { end: node.disk.end() });
                self.tell(id, &format!("truncate to {to}"));
            }
            Effect::Send { to, id: number, request } => {
                if let Some(line) = super::goldens::show_request(to, &request) {
                    self.tell(id, &line);
                }
                let message = Message::Request { id: number, request };
                self.network.push_back(Envelope { from: id, to, message });
            }
            Effect::Reply { token, reply } => self.reply(id, token, reply),
            Effect::KeepSnapshotPart { position, bytes } => {
                node.parts.truncate(usize::try_from(position).unwrap());
                assert_eq!(node.parts.len() as u64, position, "parts follow on each other");
                node.parts.extend_from_slice(&bytes);
            }
            Effect::InstallSnapshot { id: snapshot } => {
                let bytes = Bytes::from(std::mem::take(&mut node.parts));
                decode_snapshot(&bytes).unwrap();
                self.oracle.installed(id, &node.disk, snapshot, &bytes);
                let size = bytes.len() as u64;
                node.disk = Disk {
                    state: node.disk.state.take(),
                    start: snapshot.end_offset,
                    log: Vec::new(),
                    synced: 0,
                    snapshots: BTreeMap::from([(snapshot, bytes)]),
                };
                events.push_back(Event::SnapshotInstalled { id: snapshot, size });
                self.tell(id, &format!("install {}", show_snapshot(snapshot)));
            }
            Effect::TrimLog { to } => {
                let gone =
                    node.disk.log.iter().take_while(|entry| entry.end <= to.end_offset).count();
                node.disk.log.drain(..gone);
                node.disk.synced -= gone;
                node.disk.start = to.end_offset;
                node.disk.snapshots = node.disk.snapshots.split_off(&to);
                self.tell(id, &format!("trim to {}", show_snapshot(to)));
            }
            Effect::Activate { epoch } => {
                self.oracle.activated(id, epoch, &self.nodes);
                self.tell(id, &format!("activate epoch {epoch}"));
            }
            Effect::Deactivate => self.tell(id, "deactivate"),
            Effect::Commit { high_watermark } => {
                self.oracle.committed(id, high_watermark, &self.nodes, &self.voters);
                self.tell(id, &format!("commit {high_watermark}"));
            }
            Effect::Observe(observation) => {
                let incarnation = node.incarnation;
                self.oracle.observed(observation, incarnation, &self.nodes);
                if let Observation::QuorumRoleChanged { epoch, role, .. } = observation {
                    self.tell(id, &format!("is {role:?} epoch {epoch}"));
                }
            }
        }
    }

    fn reply(&mut self, id: BrokerId, token: Token, reply: Reply) {
        let node = self.nodes.get_mut(&id).unwrap();
        let (to, number) = node.askers.remove(&token).expect("each request is answered once");
        let response = match reply {
            Reply::Whole(response) => response,
            Reply::Records { mut response, from, to, max_bytes } => {
                let wanted =
                    node.disk.log.iter().filter(|entry| entry.end > from && entry.end <= to);
                let mut size = 0;
                let fitting = wanted.take_while(|entry| {
                    let fits = size == 0 || size + entry.bytes.len() <= max_bytes;
                    size += entry.bytes.len();
                    fits
                });
                let records: Records = fitting.map(|entry| entry.bytes.clone()).collect();
                response.responses[0].partitions[0].records = Some(records);
                QuorumResponse::Fetch(response)
            }
            Reply::SnapshotPart { mut response, id: snapshot, position, max_bytes } => {
                let bytes = &node.disk.snapshots[&snapshot];
                let from = usize::try_from(position).unwrap();
                // Small parts, so that there are several.
                let to = bytes.len().min(from + max_bytes.min(100));
                let part = Records::from(bytes.slice(from..to));
                response.topics[0].partitions[0].unaligned_records = part;
                QuorumResponse::FetchSnapshot(response)
            }
        };
        self.oracle.answered(id, &response, node.disk.state.as_ref());
        if let Some(line) = super::goldens::show_response(to, &response) {
            self.tell(id, &line);
        }
        let message = Message::Response { id: number, response: Some(response) };
        self.network.push_back(Envelope { from: id, to, message });
    }

    /// Hands over a message.
    pub(super) fn deliver(&mut self, envelope: Envelope) {
        let Envelope { from, to, message } = envelope;
        let Some(node) = self.nodes.get_mut(&to).filter(|node| node.raft.is_some()) else {
            return self.lose(Envelope { from, to, message });
        };
        match message {
            Message::Request { id, request } => {
                let token = Token(node.next_token);
                node.next_token += 1;
                node.askers.insert(token, (from, id));
                self.handle(to, Event::Request { token, request });
            }
            Message::Response { id, response } => {
                self.handle(to, Event::Response { from, id, response });
            }
        }
    }

    /// Loses a message: who asked notices that there is no answer.
    pub(super) fn lose(&mut self, envelope: Envelope) {
        let Envelope { from, to, message } = envelope;
        let (asker, other, id) = match message {
            Message::Request { id, .. } => (from, to, id),
            Message::Response { id, .. } => (to, from, id),
        };
        if self.nodes[&asker].raft.is_some() {
            self.handle(asker, Event::Response { from: other, id, response: None });
        }
    }

    /// Appends a batch of `records` at an active leader.
    pub(super) fn append(&mut self, id: BrokerId, records: u32) {
        let mut builder = BatchBuilder::new(Compression::NONE);
        for _ in 0..records {
            self.next_record += 1;
            let value = self.next_record.to_be_bytes();
            builder.append(Timestamp::from_millis(0), None, Some(&value), &[]);
        }
        self.handle(id, Event::Append(RecordBatch { records, bytes: builder.build() }));
    }

    /// Writes a snapshot of all that a node knows to be committed.
    pub(super) fn snapshot(&mut self, id: BrokerId) {
        let node = self.nodes.get_mut(&id).unwrap();
        let Some(raft) = &node.raft else { return };
        let Some(end_offset) = raft.high_watermark() else { return };
        let last = node.disk.log.iter().rev().find(|entry| entry.end <= end_offset);
        let Some(epoch) = last.filter(|last| last.end == end_offset).map(|last| last.epoch) else {
            return;
        };
        let snapshot = SnapshotId { end_offset, epoch };
        let records = self.oracle.below(end_offset);
        let content = Snapshot { timestamp: Timestamp::from_millis(0), records };
        let bytes = encode_snapshot(&content, epoch, None);
        let size = bytes.len() as u64;
        node.disk.snapshots.insert(snapshot, bytes);
        self.tell(id, &format!("saved {}", show_snapshot(snapshot)));
        self.handle(id, Event::SnapshotSaved { id: snapshot, size });
    }

    /// When the next member has something to do by itself.
    pub(super) fn next_deadline(&self) -> Option<(Monotonic, BrokerId)> {
        let of = |id: &BrokerId| Some((self.raft(*id)?.deadline()?, *id));
        self.nodes.keys().filter_map(of).min()
    }
}

pub(super) fn show_snapshot(id: SnapshotId) -> String {
    format!("snapshot {}-{}", id.end_offset, id.epoch)
}

fn entries(base: Offset, epoch: LeaderEpoch, batch: Batch) -> Vec<Entry> {
    let bytes = match batch {
        Batch::LeaderChange(change) => encode_leader_change(&change, Timestamp::from_millis(0)),
        Batch::Records(batch) => batch.bytes,
        Batch::Replicated { bytes, .. } => {
            return RawBatches::new(bytes).map(|batch| Entry::of(&batch.unwrap())).collect();
        }
    };
    let built = RawBatch::parse(&bytes).unwrap();
    let stamped = built.stamp(base, epoch).concat();
    vec![Entry::of(&RawBatch::parse(&Bytes::from(stamped)).unwrap())]
}
