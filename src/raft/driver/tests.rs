//! Files as a crash leaves them.

use super::*;
use crate::raft::Voter;
use crate::storage::test_disk::{TestDisk, run, test_env};
use crate::types::{BrokerId, Timestamp};

const DIR: &str = "/data/__cluster_metadata-0";
const SEGMENT_BYTES: u64 = 1 << 20;

fn snapshot(end_offset: i64, epoch: i32) -> SnapshotId {
    SnapshotId { end_offset: Offset::new(end_offset), epoch: LeaderEpoch::new(epoch) }
}

/// A log of epoch 1 with so many records, and these snapshots.
fn disk(records: usize, snapshots: &[SnapshotId]) -> TestDisk {
    let disk = TestDisk::new();
    let (env, _) = test_env(&disk);
    run(async {
        let mut opened = open(&env, Path::new(DIR), SEGMENT_BYTES, true).await.unwrap();
        for _ in 0..records {
            let voters = vec![Voter::new(BrokerId::new(1), Uuid::ZERO)];
            let change = crate::raft::LeaderChange {
                leader: BrokerId::new(1),
                voters: voters.clone(),
                granting_voters: voters,
            };
            let batch = encode_leader_change(&change, Timestamp::from_millis(1));
            opened.log.append(LeaderEpoch::new(1), batch).await.unwrap();
        }
        opened.log.flush().await.unwrap();
        for id in snapshots {
            let bytes = encode_snapshot(&Snapshot::default(), id.epoch, None);
            write_snapshot(env.disk.as_ref(), Path::new(DIR), *id, bytes).await.unwrap();
        }
    });
    disk
}

/// What the next start finds: the log's start and end, and the snapshots that are left.
fn next_start(
    disk: &TestDisk,
    is_alone: bool,
) -> Result<(Offset, Offset, Vec<SnapshotId>), RaftError> {
    let (env, _) = test_env(disk);
    let state = run(async {
        let opened = open(&env, Path::new(DIR), SEGMENT_BYTES, is_alone).await?;
        assert_eq!(opened.log.log_start_offset(), opened.log_state.start_offset);
        assert_eq!(opened.log.log_end_offset(), opened.log_state.end_offset);
        Ok::<_, RaftError>(opened.log_state)
    })?;
    let files = disk.files_in(Path::new(DIR));
    let mut left: Vec<SnapshotId> =
        files.keys().filter_map(|name| SnapshotId::parse(name)).collect();
    left.sort_unstable();
    assert!(left.iter().eq(state.snapshots.keys()), "the machine is told of what is there");
    Ok((state.start_offset, state.end_offset, left))
}

#[test]
fn a_fetched_snapshot_takes_the_place_of_a_log_that_ends_before_it() {
    let fetched = snapshot(20, 3);
    let disk = disk(5, &[fetched]);
    let (start, end, left) = next_start(&disk, false).unwrap();
    assert_eq!((start.value(), end.value(), left), (20, 20, vec![fetched]));
    // And again: nothing more happens.
    let (start, end, _) = next_start(&disk, false).unwrap();
    assert_eq!((start.value(), end.value()), (20, 20));
}

#[test]
fn a_fetched_snapshot_takes_the_place_of_a_longer_log_of_earlier_epochs() {
    let fetched = snapshot(3, 2);
    let (start, end, left) = next_start(&disk(5, &[snapshot(0, 0), fetched]), false).unwrap();
    assert_eq!((start.value(), end.value(), left), (3, 3, vec![fetched]));
}

#[test]
fn the_only_voter_has_nobody_to_fetch_from_and_says_that_its_log_is_too_short() {
    let error = next_start(&disk(5, &[snapshot(20, 1)]), true).unwrap_err();
    assert!(matches!(error, RaftError::LogBeforeSnapshot { .. }), "{error}");
}

#[test]
fn the_log_begins_with_the_oldest_snapshot_also_where_the_trimming_was_cut_short() {
    for is_alone in [true, false] {
        let (old, new) = (snapshot(2, 1), snapshot(4, 1));
        let disk = disk(5, &[old, new]);
        let (start, end, left) = next_start(&disk, is_alone).unwrap();
        assert_eq!((start.value(), end.value(), left), (2, 5, vec![old, new]));
    }
}

#[test]
fn a_log_without_the_snapshot_it_begins_with_is_refused() {
    let disk = disk(0, &[snapshot(20, 3)]);
    next_start(&disk, false).unwrap();
    let (env, _) = test_env(&disk);
    let path = Path::new(DIR).join(snapshot(20, 3).file_name());
    run(async { env.disk.remove_file(&path).await.unwrap() });
    let error = next_start(&disk, false).unwrap_err();
    assert!(matches!(error, RaftError::SnapshotMissing { .. }), "{error}");
}
