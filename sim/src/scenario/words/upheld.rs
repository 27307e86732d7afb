//! Where the product upholds what a check holds it to: where a reader of a failure goes on reading.
//!
//! Nothing depends on it but words. A place is where the rule is kept, so that a slip against it is there, or what it is asked from
//! there. What is not listed has no such place: every acknowledged record that a client misses has its own story, and the first check
//! that fires in it is listed.

/// Files from the tree's root, each with a function of it; the likeliest first.
type Places = &'static [(&'static str, &'static str)];

const ISR: &str = "src/replica/isr.rs";
const LEADER: &str = "src/replica/leader.rs";
const FOLLOWER: &str = "src/replica/follower.rs";
const WATERMARK: &str = "src/replica/high_watermark.rs";
const PRODUCE: &str = "src/replica/delayed_produce.rs";
const PARTITION: &str = "src/replica/partition.rs";
const READ: &str = "src/replica/driver/read.rs";
const CHANGE: &str = "src/controller/partition_change.rs";
const PROPOSALS: &str = "src/controller/partition_control.rs";
const BROKERS: &str = "src/controller/cluster_control.rs";
const EPOCHS: &str = "src/log/leader_epoch_cache.rs";
const PRODUCERS: &str = "src/log/producer_state.rs";
const FILES: &str = "src/storage/log_files.rs";
const RECOVERY: &str = "src/storage/recovery.rs";
const SENDER: &str = "src/client/producer/sender.rs";
const ANSWERS: &str = "src/client/producer/sender/answers.rs";
const POLL: &str = "src/client/consumer/fetcher.rs";
const FETCHED: &str = "src/client/consumer/completed_fetch.rs";
const QUORUM_LEADER: &str = "src/raft/leader.rs";
const QUORUM_FOLLOWER: &str = "src/raft/follower.rs";
const ELECTION: &str = "src/raft/election.rs";
const VOTES: &str = "src/raft/votes.rs";
const QUORUM_FILES: &str = "src/raft/driver/mod.rs";
const CONTROLLER: &str = "src/controller/driver.rs";
const COMMITTED: &str = "src/controller/driver/committed.rs";
const TURN: &str = "src/coordinator/group/turn.rs";
const MEMBERSHIP: &str = "src/coordinator/group/membership.rs";
const OFFSETS: &str = "src/coordinator/group/offsets.rs";
const TERM: &str = "src/server/group_coordinator/term.rs";

/// The places, by check.
const UPHELD: &[(&str, Places)] = &[
    ("R1", &[(PARTITION, "become_leader"), (CHANGE, "elect")]),
    ("R2", &[(PARTITION, "is_outdated"), (CHANGE, "build")]),
    ("R3", &[(FOLLOWER, "append_fetched"), (LEADER, "assign"), (FOLLOWER, "cut_at")]),
    (
        "R4",
        &[(WATERMARK, "leader_high_watermark"), (FOLLOWER, "cut_at"), (FOLLOWER, "append_fetched")],
    ),
    ("R5", &[(WATERMARK, "leader_high_watermark"), (CHANGE, "eligible")]),
    ("R6", &[(ISR, "maybe_expand_isr"), (LEADER, "on_follower_fetched")]),
    ("R7", &[(PROPOSALS, "check_in_sync"), (ISR, "maybe_expand_isr")]),
    (
        "R8",
        &[
            (WATERMARK, "leader_high_watermark"),
            (LEADER, "on_follower_fetched"),
            (CHANGE, "eligible"),
        ],
    ),
    ("R9", &[(CHANGE, "eligible"), (BROKERS, "retire_incarnation")]),
    ("R10", &[(ISR, "maximal"), (ISR, "on_isr_answered"), (PROPOSALS, "alter_partition")]),
    ("R11", &[(WATERMARK, "leader_high_watermark"), (ISR, "is_in_maximal")]),
    (
        "R12",
        &[(READ, "plan"), ("src/replica/driver/tail_cache.rs", "read"), (WATERMARK, "advance")],
    ),
    (
        "R13",
        &[(ISR, "maybe_expand_isr"), (LEADER, "may_join"), (LEADER, "is_high_watermark_behind")],
    ),
    ("R14", &[(WATERMARK, "leader_high_watermark"), (LEADER, "effective_min_isr")]),
    ("R15", &[(PRODUCE, "answer_reached"), (PRODUCE, "wait"), (LEADER, "on_append")]),
    ("R16", &[(SENDER, "give_up"), (ANSWERS, "on_verdict")]),
    (
        "R17",
        &[
            (CHANGE, "elect"),
            (CHANGE, "may_lead"),
            (PROPOSALS, "check_in_sync"),
            (BROKERS, "fence"),
        ],
    ),
    (
        "R18",
        &[
            (PROPOSALS, "remove_crashed"),
            (PROPOSALS, "check_in_sync"),
            (BROKERS, "retire_incarnation"),
        ],
    ),
    ("R19", &[(PROPOSALS, "check_in_sync"), (ISR, "propose_isr")]),
    (
        "R20",
        &[
            (PARTITION, "check_epoch"),
            (LEADER, "check_follower_fetch"),
            (FOLLOWER, "check_follower_append"),
        ],
    ),
    (
        "R21",
        &[(FOLLOWER, "cut_at"), (EPOCHS, "end_offset_for"), ("src/replica/fetcher.rs", "truncate")],
    ),
    (
        "R22",
        &[
            (EPOCHS, "assign"),
            (EPOCHS, "truncate_from_end"),
            ("src/storage/checkpoint.rs", "write_leader_epochs"),
        ],
    ),
    ("R23", &[(FOLLOWER, "append_fetched"), ("src/storage/log_dir.rs", "write_high_watermarks")]),
    ("R24", &[(WATERMARK, "leader_high_watermark"), (CHANGE, "eligible")]),
    ("R25", &[(FOLLOWER, "cut_at"), (FOLLOWER, "append_fetched")]),
    ("R26", &[(READ, "plan"), (WATERMARK, "advance")]),
    ("R27", &[(CHANGE, "elect"), (CHANGE, "last_known_leader")]),
    ("R28", &[(PRODUCE, "answer_reached"), (PARTITION, "replica_end_offset")]),
    (
        "R29",
        &[(BROKERS, "check_registration"), ("src/metadata/image.rs", "replay_register_broker")],
    ),
    ("P1", &[(PRODUCE, "answer_reached"), (WATERMARK, "advance")]),
    ("P3", &[(WATERMARK, "advance"), (ISR, "on_isr_known")]),
    ("Q1", &[(VOTES, "count_votes"), (ELECTION, "learn")]),
    ("Q2", &[(VOTES, "may_grant"), (VOTES, "grant"), (ELECTION, "persist")]),
    ("Q3", &[(ELECTION, "persist"), (QUORUM_FILES, "perform")]),
    ("Q4", &[(QUORUM_LEADER, "committed_end"), (QUORUM_FOLLOWER, "follow_high_watermark")]),
    (
        "Q5",
        &[
            (QUORUM_LEADER, "committed_end"),
            (QUORUM_LEADER, "on_synced"),
            (QUORUM_FOLLOWER, "pull"),
        ],
    ),
    (
        "Q6",
        &[
            (VOTES, "may_grant"),
            (QUORUM_FOLLOWER, "on_diverging"),
            (QUORUM_LEADER, "committed_end"),
        ],
    ),
    ("Q7", &[(QUORUM_FOLLOWER, "on_diverging"), (VOTES, "may_grant")]),
    (
        "Q8",
        &[(QUORUM_LEADER, "committed_end"), (CONTROLLER, "settle"), (QUORUM_LEADER, "on_fetch")],
    ),
    ("Q9", &[(CONTROLLER, "activate"), (COMMITTED, "load_snapshot")]),
    ("Q10", &[(QUORUM_FILES, "trim"), (COMMITTED, "snapshot_if_due")]),
    ("Q11", &[(ELECTION, "on_start")]),
    ("Q12", &[(QUORUM_LEADER, "has_lost_quorum"), (ELECTION, "expire")]),
    ("Q14", &[("src/metadata/image_writer.rs", "to_records"), ("src/metadata/image.rs", "replay")]),
    ("Q15", &[(COMMITTED, "publish"), (COMMITTED, "catch_up")]),
    ("Q16", &[(VOTES, "may_grant"), (CONTROLLER, "activate")]),
    ("Q17", &[(ELECTION, "become_leader"), (ELECTION, "on_start")]),
    (
        "G1",
        &[
            ("src/client/consumer/assignors/mod.rs", "assign"),
            ("src/client/consumer/membership/classic/join.rs", "on_joined"),
        ],
    ),
    (
        "G2",
        &[
            ("src/client/consumer/assignors/mod.rs", "assign"),
            ("src/client/consumer/membership/classic/leader.rs", "look_at_topics"),
        ],
    ),
    (
        "G3",
        &[
            ("src/coordinator/group/reconcile.rs", "go_on"),
            ("src/coordinator/group/consumer_heartbeat.rs", "find_member"),
        ],
    ),
    ("G4", &[(TURN, "complete_join"), (MEMBERSHIP, "assign"), (TURN, "answer_syncs")]),
    (
        "G5",
        &[
            ("src/coordinator/group/classic_group.rs", "begin_generation"),
            (TURN, "write_group"),
            ("src/coordinator/group/durable.rs", "replay"),
        ],
    ),
    ("G6", &[(OFFSETS, "check_commit"), (MEMBERSHIP, "check_generation")]),
    (
        "G7",
        &[
            (OFFSETS, "check_commit"),
            ("src/client/consumer/membership/commit.rs", "on_commit_refused"),
        ],
    ),
    (
        "G8",
        &[
            ("src/server/group_coordinator/log.rs", "load"),
            ("src/coordinator/group/durable.rs", "replay"),
        ],
    ),
    ("G9", &[(OFFSETS, "expire_topics"), (OFFSETS, "expiry_base")]),
    (
        "G10",
        &[
            ("src/client/consumer/membership/commit.rs", "auto_commit_if_due"),
            ("src/client/consumer/membership/start.rs", "on_read"),
        ],
    ),
    ("G11", &[(TURN, "on_join_timer"), (TURN, "on_sync_timer"), (MEMBERSHIP, "on_session_timer")]),
    (
        "G12",
        &[
            (TERM, "perform"),
            (OFFSETS, "fetch_offsets"),
            ("src/coordinator/group/durable.rs", "replay"),
        ],
    ),
    ("L9", &[(TERM, "load"), (TURN, "complete_join"), (MEMBERSHIP, "on_session_timer")]),
    ("L10", &[(POLL, "take_records"), (POLL, "reset_or"), (MEMBERSHIP, "on_session_timer")]),
    (
        "L11",
        &[
            (MEMBERSHIP, "on_session_timer"),
            ("src/client/consumer/membership/classic/heartbeat.rs", "on_heartbeat"),
        ],
    ),
    ("S1", &[(RECOVERY, "recover"), (RECOVERY, "cut")]),
    (
        "S2",
        &[
            (FILES, "create_segment"),
            (RECOVERY, "scan_segment"),
            ("src/log/recovery.rs", "check_body"),
        ],
    ),
    ("S8", &[("src/replica/retention.rs", "on_move_log_start")]),
    ("P2", &[(BROKERS, "fence_one_stale_broker"), (ISR, "check_lag")]),
    ("L6", &[(CHANGE, "complete_reassignment")]),
    ("late", &[(WATERMARK, "advance"), ("src/replica/log_writes.rs", "on_written")]),
    (
        "S3",
        &[
            ("src/log/segment_index.rs", "on_batch"),
            (FILES, "cut"),
            ("src/log/segment_index.rs", "truncate_to"),
        ],
    ),
    ("S4", &[(RECOVERY, "scan_segments"), (RECOVERY, "is_gap"), ("src/log/local_log.rs", "roll")]),
    (
        "S5",
        &[
            ("src/storage/log_dir.rs", "write_checkpoints"),
            ("src/replica/log_writes.rs", "checkpoint"),
            ("src/storage/log_manager.rs", "close_dir"),
        ],
    ),
    ("S6", &[("src/storage/checkpoint.rs", "replace"), (FILES, "save_checkpoint")]),
    ("S9", &[("src/replica/driver/perform.rs", "sync_failed"), ("src/storage/log_dir.rs", "fail")]),
    ("S10", &[("src/storage/reader.rs", "check"), (FETCHED, "open_next_batch")]),
    ("T1", &[(PRODUCERS, "check_sequence"), (SENDER, "drain"), (RECOVERY, "newest_producers")]),
    ("T2", &[(PRODUCERS, "check")]),
    (
        "T11",
        &[(PRODUCERS, "on_batch"), (FOLLOWER, "append_fetched"), (RECOVERY, "newest_producers")],
    ),
    ("T14", &[(PRODUCERS, "duplicate_of"), (PRODUCERS, "on_batch"), (FOLLOWER, "append_fetched")]),
    ("T15", &[(PRODUCERS, "duplicate_of"), (LEADER, "duplicate")]),
    ("T16", &[(PRODUCERS, "duplicate_of"), (PRODUCERS, "remember")]),
    ("duplicate", &[(PRODUCERS, "duplicate_of"), (SENDER, "drain")]),
    ("int-nonmonotonic-send", &[(SENDER, "drain"), (SENDER, "is_earlier_elsewhere")]),
    (
        "nonmonotonic-send",
        &[
            (SENDER, "drain"),
            ("src/client/producer/sequences.rs", "stamp"),
            (PRODUCERS, "check_sequence"),
        ],
    ),
    ("int-poll-skip", &[(FETCHED, "open_next_batch"), (READ, "plan")]),
    ("int-nonmonotonic-poll", &[(FETCHED, "open_next_batch"), (READ, "plan")]),
    ("poll-skip", &[(POLL, "take_records"), (POLL, "reset_or")]),
    ("nonmonotonic-poll", &[(POLL, "take_records"), (POLL, "seek_to")]),
];

/// Where the rule of a check is kept, `src/raft/election.rs (may_grant)` each, the likeliest first; none where no place is more likely
/// than another.
#[must_use]
pub fn upheld(check: &str) -> Vec<String> {
    let places = UPHELD.iter().filter(|(name, _)| *name == check).flat_map(|(_, places)| *places);
    places.map(|(file, function)| format!("{file} ({function})")).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::scenario::words::invariants;

    #[test]
    fn every_place_is_there() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for (check, places) in UPHELD {
            assert!(invariants().contains(check), "no check `{check}`");
            for (file, function) in *places {
                let text = std::fs::read_to_string(root.join(file)).unwrap_or_default();
                let is_there =
                    ["(", "<"].iter().any(|after| text.contains(&format!("fn {function}{after}")));
                assert!(
                    is_there,
                    "{check}: there is no function `{function}` in {file} any more: where is it upheld now?"
                );
            }
        }
    }

    #[test]
    fn a_place_is_a_file_and_a_function() {
        assert_eq!(upheld("Q11"), ["src/raft/election.rs (on_start)"]);
        assert!(upheld("converged").is_empty() && upheld("no such check").is_empty());
    }
}
