use super::*;

const LAG_MAX: Duration = Duration::from_millis(30);

fn at(millis: u64) -> Monotonic {
    Monotonic::from_nanos(millis * 1_000_000)
}

/// `fetches`: at which time, from which offset, and where the leader's log ends then.
#[track_caller]
fn check(fetches: &[(u64, i64, i64)], now: u64, leader_end: i64, expected: bool) {
    let mut progress = FollowerProgress::at_start(at(0), true);
    for (time, offset, end) in fetches {
        let (offset, end) = (Offset::new(*offset), Offset::new(*end));
        progress.on_fetch(at(*time), offset, Offset::ZERO, end, None);
    }
    let is_caught_up = progress.is_caught_up(at(now), Offset::new(leader_end), LAG_MAX);
    assert_eq!(is_caught_up, expected, "{progress:?}");
}

#[test]
fn a_follower_is_caught_up_for_a_while_after_it_had_everything() {
    check(&[], 30, 5, true);
    check(&[], 31, 5, false);
    check(&[(20, 5, 5)], 50, 9, true);
    check(&[(20, 5, 5)], 51, 9, false);
    check(&[(20, 5, 5)], 1_000, 5, true);
}

#[test]
fn who_has_what_there_was_at_its_last_fetch_was_caught_up_then() {
    check(&[(20, 1, 5), (40, 5, 9)], 50, 9, true);
    check(&[(20, 1, 5), (40, 5, 9)], 51, 9, false);
    check(&[(20, 1, 5), (40, 4, 9)], 51, 9, false);
}

#[test]
fn who_fetches_and_never_has_everything_falls_behind() {
    let fetches: Vec<(u64, i64, i64)> = (1..10).map(|n| (n * 10, 1, 100)).collect();
    check(&fetches, 90, 100, false);
}

#[test]
fn a_member_that_is_to_join_counts_and_one_that_is_to_leave_counts_still() {
    let id = BrokerId::new;
    let proposal = |isr: &[i32]| IsrProposal {
        leader_epoch: crate::types::LeaderEpoch::new(1),
        partition_epoch: PartitionEpoch::new(1),
        isr: isr.iter().map(|member| (id(*member), None)).collect(),
        is_recovering: false,
    };
    let mut isr = InSyncReplicas::new(vec![id(2), id(1)]);
    assert_eq!(isr.committed(), [id(1), id(2)]);
    let added = Some(id(3));
    isr.pending = Some(Pending { proposal: proposal(&[1, 2, 3]), added, left_to_metadata: false });
    assert_eq!(isr.maximal().collect::<Vec<_>>(), [id(1), id(2), id(3)]);
    isr.pending = Some(Pending { proposal: proposal(&[1]), added: None, left_to_metadata: false });
    assert_eq!(isr.maximal().collect::<Vec<_>>(), [id(1), id(2)]);
}
