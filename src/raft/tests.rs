//! Goldens: `testdata/*.txt` holds events and what came of them. `UPDATE=1 cargo test` rewrites them; the reviewer reads the diff.
//!
//! ```text
//! node 1 quorum-state - log 0 -          a member with this last state (leader/epoch/vote) and log (end, latest epoch)
//! start | append N | written | refused | synced | restart [lost N]
//! ```
//! `written` and `synced` complete what is under way; `restart` takes what is durable (with `lost N`: N records less).

use std::fmt::Write as _;
use std::path::Path;

use super::*;
use crate::types::Timestamp;

struct Harness {
    raft: Raft,
    persisted: Option<QuorumState>,
    /// End and latest epoch of what was written.
    written: LogEnd,
    /// What the writes under way will make of it.
    writing: LogEnd,
    sync_started_at: Offset,
}

const NODE: BrokerId = BrokerId::new(1);
const DIRECTORY: Uuid = Uuid::METADATA_TOPIC;

impl Harness {
    fn new(persisted: Option<QuorumState>, log: LogEnd) -> Self {
        let voters = VoterSet::new([Voter::new(NODE, DIRECTORY)]);
        let raft = Raft::new(NODE, DIRECTORY, voters, persisted.clone(), log);
        Self { raft, persisted, written: log, writing: log, sync_started_at: log.end_offset }
    }

    fn event(&mut self, words: &[&str]) -> Option<Event> {
        Some(match words {
            ["start"] => Event::Start,
            ["append", count] => {
                let records = count.parse().unwrap();
                Event::Append(RecordBatch { records, bytes: Bytes::new() })
            }
            ["written"] => {
                self.written = self.writing;
                Event::Written { end: self.written.end_offset }
            }
            ["refused"] => {
                self.writing = self.written;
                Event::Refused
            }
            ["synced"] => Event::Synced { end: self.sync_started_at },
            ["restart", rest @ ..] => {
                let mut log = self.written;
                if let ["lost", count] = rest {
                    log.end_offset =
                        Offset::new(log.end_offset.value() - count.parse::<i64>().unwrap());
                }
                *self = Self::new(self.persisted.clone(), log);
                return None;
            }
            other => panic!("unknown event {other:?}"),
        })
    }

    fn apply(&mut self, effect: &Effect, text: &mut String) {
        match effect {
            Effect::PersistQuorumState(state) => {
                self.persisted = Some(state.clone());
                writeln!(text, "  persist {}", state.to_json()).unwrap();
            }
            Effect::Write { base_offset, leader_epoch, batch } => {
                let (records, what) = match batch {
                    Batch::LeaderChange(change) => {
                        (1, format!("leader change to {}", change.leader))
                    }
                    Batch::Records(batch) => (batch.records, format!("{batch:?}")),
                };
                self.writing = LogEnd {
                    end_offset: *base_offset + u64::from(records),
                    latest_epoch: Some(*leader_epoch),
                };
                writeln!(text, "  write at {base_offset} epoch {leader_epoch}: {what}").unwrap();
            }
            Effect::Sync => {
                self.sync_started_at = self.written.end_offset;
                text.push_str("  sync\n");
            }
            Effect::Activate { .. } | Effect::Commit { .. } | Effect::Observe(_) => {
                writeln!(text, "  {effect:?}").unwrap();
            }
        }
    }

    fn play(commands: &str) -> String {
        let log = LogEnd { end_offset: Offset::ZERO, latest_epoch: None };
        let (mut harness, mut text) = (Self::new(None, log), String::new());
        for line in commands.lines() {
            let is_output = line.starts_with(' ') || line.is_empty();
            if is_output {
                continue;
            }
            writeln!(text, "{line}").unwrap();
            if line.starts_with('#') {
                continue;
            }
            let words: Vec<&str> = line.split(' ').collect();
            if let Some(event) = harness.event(&words) {
                let mut out = Vec::new();
                let now = Now { monotonic: Default::default(), wall: Timestamp::from_millis(0) };
                harness.raft.handle(now, event, &mut out);
                for effect in &out {
                    harness.apply(effect, &mut text);
                }
            }
            let raft = &harness.raft;
            let mark = raft.high_watermark().map_or("none".to_owned(), |mark| mark.to_string());
            let role = match &raft.role {
                Role::Unattached => "unattached",
                Role::Candidate { .. } => "candidate",
                Role::Leader(leader) if leader.is_active => "active leader",
                Role::Leader(_) => "leader",
            };
            let (epoch, next) = (raft.epoch(), raft.next_offset());
            writeln!(text, "  = {role}, epoch {epoch}, next {next}, high watermark {mark}")
                .unwrap();
        }
        text
    }
}

#[test]
fn goldens() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/raft/testdata");
    let mut paths: Vec<_> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    for path in paths {
        let expected = std::fs::read_to_string(&path).unwrap();
        let found = Harness::play(&expected);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &found).unwrap();
        } else {
            assert_eq!(found, expected, "{} (UPDATE=1 rewrites it)", path.display());
        }
    }
}
