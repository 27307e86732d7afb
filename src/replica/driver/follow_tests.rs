//! A leader and a follower, each with a disk of its own: copied, cut, killed in the middle of a cut.

use std::task::Context;

use super::*;
use crate::protocol::record_batch::BatchProducer;
use crate::replica::{
    FetchState, FollowerAppend, FollowerFetch, FollowerState, IsrCommitted, TruncateTo,
};
use crate::types::{BrokerEpoch, PartitionEpoch, ProducerEpoch, ProducerId, Sequence};

const NODES: [i32; 2] = [1, 2];
/// Where a batch says which format it has.
const MAGIC_AT: usize = 16;

/// Polls a future, the worker of the broker's directory and what it would start, in turn.
fn with_worker<T>(broker: &Broker, future: impl Future<Output = T>) -> T {
    let mut jobs = Box::pin(broker.dir.clone().do_jobs_for_test());
    let mut tasks = Vec::new();
    let mut future = std::pin::pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..1_000 {
        if let Poll::Ready(value) = future.as_mut().poll(&mut cx) {
            return value;
        }
        let _ = jobs.as_mut().poll(&mut cx);
        tasks.extend(broker.dir.take_tasks());
        tasks.retain_mut(|task| task.as_mut().poll(&mut cx).is_pending());
    }
    panic!("the future waits for something that does not come");
}

fn opened(node: i32, known: Checkpoints, disk: &TestDisk) -> Broker {
    open(disk, &small(), MIB, known, (node, IsrChanges::none()))
}

fn new(node: i32) -> Broker {
    opened(node, Checkpoints::default(), &TestDisk::new())
}

fn lead(broker: &Broker, node: i32, epoch: i32, isr: &[i32]) {
    let ids = |ids: &[i32]| ids.iter().map(|id| BrokerId::new(*id)).collect::<Vec<_>>();
    let state = LeaderState {
        leader_epoch: LeaderEpoch::new(epoch),
        partition_epoch: PartitionEpoch::new(epoch),
        replicas: ids(&NODES),
        isr: ids(isr),
        is_recovering: false,
        broker_epochs: NODES
            .iter()
            .map(|id| (BrokerId::new(*id), BrokerEpoch::new(i64::from(*id))))
            .collect(),
    };
    assert!(isr.contains(&node));
    with_worker(broker, broker.handle.become_leader(state)).unwrap();
}

fn follow(broker: &Broker, leader: i32, epoch: i32) {
    broker.handle.become_follower(FollowerState {
        leader: Some(BrokerId::new(leader)),
        leader_epoch: LeaderEpoch::new(epoch),
        partition_epoch: PartitionEpoch::new(epoch),
    });
}

fn fetch(node: i32, state: &FetchState, max_bytes: usize) -> FollowerFetch {
    FollowerFetch {
        replica: BrokerId::new(node),
        broker_epoch: Some(BrokerEpoch::new(i64::from(node))),
        current_leader_epoch: Some(state.leader_epoch),
        fetch_offset: state.offset,
        last_fetched_epoch: state.last_fetched_epoch,
        log_start_offset: state.log_start_offset,
        max_bytes,
        first_batch_whole: true,
        is_repeated: false,
    }
}

/// Fetches once; whether there was anything to do.
fn fetch_once(leader: &Broker, follower: &Broker, node: i32, max_bytes: usize) -> bool {
    let state = with_worker(follower, follower.handle.ready_to_fetch()).unwrap();
    let read = run(leader.handle.fetch_as_follower(fetch(node, &state, max_bytes)));
    let epoch = state.leader_epoch;
    let read = match read {
        Ok(read) => read,
        Err(ErrorCode::OffsetOutOfRange) => {
            let to = TruncateTo::FullyAndStartAt(leader.handle.log_start_offset());
            with_worker(follower, follower.handle.truncate(epoch, to)).unwrap();
            return true;
        }
        Err(error) => panic!("{error}"),
    };
    if let Some(end) = read.diverging {
        let cut = follower.handle.truncate(epoch, TruncateTo::EpochEnd(end));
        with_worker(follower, cut).unwrap();
        return true;
    }
    let is_news = !read.records.is_empty()
        || read.high_watermark != follower.handle.high_watermark()
        || read.log_start_offset != follower.handle.log_start_offset();
    let append = FollowerAppend {
        leader_epoch: epoch,
        fetch_offset: state.offset,
        records: read.records.to_bytes(),
        leader_high_watermark: Some(read.high_watermark),
        leader_log_start_offset: Some(read.log_start_offset),
    };
    with_worker(follower, follower.handle.append_as_follower(append)).unwrap();
    is_news
}

fn catch_up(leader: &Broker, follower: &Broker, node: i32) {
    for _ in 0..200 {
        if !fetch_once(leader, follower, node, 700) {
            return;
        }
    }
    panic!("the follower does not catch up");
}

/// The batches of the `.log` files.
fn stored(broker: &Broker) -> Vec<RawBatch> {
    let files = broker.disk.files_in(&dir());
    let logs = files.into_iter().filter(|(name, _)| name.ends_with(".log"));
    logs.flat_map(|(_, bytes)| RawBatches::new(bytes.into()).map(Result::unwrap)).collect()
}

fn assert_equal(one: &Broker, other: &Broker) {
    assert_eq!(stored(one), stored(other));
    let producers = |broker: &Broker| broker.handle.lock().machine.producers().clone();
    assert_eq!(producers(one), producers(other));
    let epochs = |broker: &Broker| broker.handle.lock().machine.epochs().clone();
    assert_eq!(epochs(one), epochs(other));
    assert_eq!(one.handle.high_watermark(), other.handle.high_watermark());
    assert_eq!(one.handle.log_start_offset(), other.handle.log_start_offset());
}

fn append(broker: &Broker, batches: u32) {
    for _ in 0..batches {
        run(broker.handle.append(&records(2, 100, 1), Acks::Leader)).unwrap();
    }
}

#[test]
fn a_follower_copies_its_leader_and_the_watermark_follows() {
    let (leader, follower) = (new(1), new(2));
    lead(&leader, 1, 0, &[1, 2]);
    follow(&follower, 1, 0);
    append(&leader, 20);
    assert_eq!(leader.handle.high_watermark(), Offset::ZERO);
    catch_up(&leader, &follower, 2);
    assert_eq!(leader.handle.high_watermark(), Offset::new(40));
    assert_equal(&leader, &follower);
    leader.handle.delete_records(Some(Offset::new(11))).unwrap();
    catch_up(&leader, &follower, 2);
    assert_equal(&leader, &follower);
}

#[test]
fn acks_all_waits_for_the_follower_and_who_catches_up_is_proposed() {
    let proposals = Arc::new(Mutex::new(Vec::new()));
    let heard = proposals.clone();
    let listener = IsrChanges::new(move |_, proposal| heard.lock().unwrap().push(proposal));
    let known = Checkpoints::default();
    let leader = open(&TestDisk::new(), &small(), MIB, known, (1, listener));
    let follower = new(2);
    lead(&leader, 1, 0, &[1]);
    follow(&follower, 1, 0);
    fetch_once(&leader, &follower, 2, 700);
    let proposal = proposals.lock().unwrap().pop().unwrap();
    let epoch = |id| Some(BrokerEpoch::new(id));
    assert_eq!(proposal.isr, [(BrokerId::new(1), epoch(1)), (BrokerId::new(2), epoch(2))]);
    let committed = IsrCommitted {
        leader_epoch: LeaderEpoch::new(0),
        partition_epoch: PartitionEpoch::new(1),
        isr: vec![BrokerId::new(1), BrokerId::new(2)],
        is_recovering: false,
    };
    leader.handle.isr_answered(&proposal, Ok(committed));
    let mut appending = leader.handle.append(&records(1, 10, 1), Acks::All);
    assert!(appending.take_ready().is_none());
    fetch_once(&leader, &follower, 2, 700);
    assert!(appending.take_ready().is_none(), "fetched is not yet written there");
    fetch_once(&leader, &follower, 2, 700);
    assert!(appending.take_ready().unwrap().is_ok());
    assert!(proposals.lock().unwrap().is_empty());
}

#[test]
fn followers_are_told_when_there_is_more() {
    let leader = new(1);
    lead(&leader, 1, 0, &[1, 2]);
    let watch = FetchWatch::new(1);
    let _watching = leader.handle.watch_log_end(Offset::ZERO, &watch);
    assert!(!watch.is_ready());
    append(&leader, 1);
    assert!(watch.is_ready());
}

/// A leader with 30 batches of epoch 0, the follower with the first 18 of them and 9 of its own, of epoch 1; then the leader
/// leads in epoch 2.
fn diverged(disk: &TestDisk) -> (Broker, Broker) {
    let leader = new(1);
    let follower = opened(2, Checkpoints::default(), disk);
    lead(&leader, 1, 0, &[1, 2]);
    follow(&follower, 1, 0);
    append(&leader, 18);
    catch_up(&leader, &follower, 2);
    append(&leader, 12);
    lead(&follower, 2, 1, &[1, 2]);
    append(&follower, 9);
    run(follower.handle.flush()).unwrap();
    lead(&leader, 1, 2, &[1, 2]);
    append(&leader, 1);
    follow(&follower, 1, 2);
    (leader, follower)
}

#[test]
fn a_follower_cuts_what_its_leader_does_not_have() {
    let (leader, follower) = diverged(&TestDisk::new());
    catch_up(&leader, &follower, 2);
    assert_equal(&leader, &follower);
    with_worker(&follower, follower.handle.close()).unwrap();
    let known = Checkpoints { clean: true, ..follower.checkpoints() };
    let again = opened(2, known, &follower.disk);
    follow(&again, 1, 2);
    catch_up(&leader, &again, 2);
    assert_equal(&leader, &again);
}

/// Swarm-disk, seed 602: the log was said to end where its segment begins, and the file did not.
#[test]
fn a_cut_that_meets_rot_ends_before_it() {
    for whole in 0..4 {
        let disk = TestDisk::new();
        let (leader, follower) = diverged(&disk);
        let cut = leader.handle.lock().machine.epochs().epoch_for_offset(Offset::new(36));
        assert_eq!(cut, Some(LeaderEpoch::new(0)), "the follower's log is cut at 36");
        let base = |name: &str| name.strip_suffix(".log").and_then(|base| base.parse().ok());
        let files = disk.files_in(&dir());
        let bases = files.keys().filter_map(|name| base(name)).filter(|base: &u64| *base < 36);
        // From its batch of this number on no batch of the segment looks like one.
        disk.edit(&log_file(bases.max().unwrap()), |bytes| {
            let batches: Vec<RawBatch> =
                RawBatches::new(bytes.clone().into()).map(Result::unwrap).collect();
            let mut position = 0;
            for (number, batch) in batches.iter().enumerate() {
                bytes[position + MAGIC_AT] = if number < whole { 2 } else { 9 };
                position += batch.bytes.len();
            }
        });
        catch_up(&leader, &follower, 2);
        assert_equal(&leader, &follower);
        append(&leader, 9);
        catch_up(&leader, &follower, 2);
        assert_equal(&leader, &follower);
    }
}

#[test]
fn a_cut_that_the_power_interrupts_is_done_again() {
    let mut changes = 0;
    loop {
        let disk = TestDisk::new();
        let (leader, follower) = diverged(&disk);
        let known = follower.checkpoints();
        disk.set_faults(Faults { changes_left: Some(changes), ..Faults::default() });
        let state = run(follower.handle.ready_to_fetch()).unwrap();
        let read = run(leader.handle.fetch_as_follower(fetch(2, &state, 700))).unwrap();
        let to = TruncateTo::EpochEnd(read.diverging.unwrap());
        let done = with_worker(&follower, follower.handle.truncate(state.leader_epoch, to));
        // What was not synced is lost, or is all there.
        disk.power_loss(if changes % 2 == 0 { 0 } else { usize::MAX });
        let again = opened(2, known, &disk);
        follow(&again, 1, 2);
        catch_up(&leader, &again, 2);
        assert_equal(&leader, &again);
        if done.is_ok() {
            assert!(changes > 3, "there is something to interrupt");
            return;
        }
        changes += 1;
    }
}

#[test]
fn what_is_appended_after_a_cut_is_not_vouched_for_by_what_was_before() {
    let disk = TestDisk::new();
    let (leader, follower) = diverged(&disk);
    with_worker(&follower, follower.handle.close()).unwrap();
    let before = follower.checkpoints();
    assert_eq!(before.recovery_point, Offset::new(54));
    let follower = opened(2, Checkpoints { clean: true, ..before }, &disk);
    follow(&follower, 1, 2);
    catch_up(&leader, &follower, 2);
    let known = follower.checkpoints();
    assert!(known.recovery_point <= Offset::new(36), "{:?}", known.recovery_point);
    disk.power_loss(150);
    let again = opened(2, known, &disk);
    follow(&again, 1, 2);
    catch_up(&leader, &again, 2);
    assert_equal(&leader, &again);
}

/// The snapshot of what was not committed goes with the cut, and segments that it stood for are gone.
#[test]
fn whose_records_went_is_remembered_after_a_cut() {
    let disk = TestDisk::new();
    let (leader, follower) = (new(1), opened(2, Checkpoints::default(), &disk));
    lead(&leader, 1, 0, &[1, 2]);
    follow(&follower, 1, 0);
    let mut builder = BatchBuilder::new(Compression::NONE);
    builder.set_producer(BatchProducer {
        id: ProducerId::new(7),
        epoch: ProducerEpoch::new(0),
        base_sequence: Some(Sequence::new(0)),
    });
    builder.append(Timestamp::from_millis(1), None, Some(b"once"), &[]);
    run(leader.handle.append(&Records::from(builder.build()), Acks::Leader)).unwrap();
    append(&leader, 18);
    catch_up(&leader, &follower, 2);
    lead(&follower, 2, 1, &[1, 2]);
    append(&follower, 9);
    with_worker(&follower, follower.handle.close()).unwrap();
    let follower = opened(2, Checkpoints { clean: true, ..follower.checkpoints() }, &disk);
    lead(&follower, 2, 2, &[1, 2]);
    follower.handle.delete_records(Some(Offset::new(36))).unwrap();
    assert!(!disk.files_in(&dir()).contains_key("00000000000000000000.log"), "segments went");
    lead(&leader, 1, 3, &[1, 2]);
    append(&leader, 1);
    follow(&follower, 1, 3);
    while follower.handle.high_watermark() < Offset::new(39) {
        fetch_once(&leader, &follower, 2, 700);
    }
    let producers = |broker: &Broker| broker.handle.lock().machine.producers().clone();
    assert_eq!(producers(&leader), producers(&follower));
}

#[test]
fn a_follower_that_is_too_far_behind_begins_anew() {
    let (leader, follower) = (new(1), new(2));
    lead(&leader, 1, 0, &[1, 2]);
    follow(&follower, 1, 0);
    append(&leader, 3);
    catch_up(&leader, &follower, 2);
    lead(&leader, 1, 1, &[1]);
    append(&leader, 20);
    leader.handle.delete_records(Some(Offset::new(31))).unwrap();
    follow(&follower, 1, 1);
    catch_up(&leader, &follower, 2);
    assert_eq!(follower.handle.log_start_offset(), Offset::new(31));
    assert_eq!(follower.handle.log_end_offset(), leader.handle.log_end_offset());
    follower.disk.power_loss(0);
    let again = opened(2, follower.checkpoints(), &follower.disk);
    follow(&again, 1, 1);
    catch_up(&leader, &again, 2);
    assert_eq!(again.handle.log_end_offset(), leader.handle.log_end_offset());
}

/// A follower with records that nobody committed, up to offset 50 and beyond, and a leader whose log begins there.
fn parted_below_the_start() -> (Broker, Broker) {
    let (leader, follower) = (new(1), new(2));
    lead(&leader, 1, 0, &[1, 2]);
    follow(&follower, 1, 0);
    append(&leader, 18);
    catch_up(&leader, &follower, 2);
    lead(&follower, 2, 1, &[1, 2]);
    append(&follower, 9);
    run(follower.handle.flush()).unwrap();
    lead(&leader, 1, 2, &[1]);
    append(&leader, 10);
    leader.handle.delete_records(Some(Offset::new(50))).unwrap();
    follow(&follower, 1, 2);
    (leader, follower)
}

/// swarm-disk, seed 133: an answer that had no room for a batch told the follower of a watermark beyond what it holds of its own.
#[test]
fn a_watermark_is_not_believed_of_what_no_leader_can_vouch_for() {
    let (leader, follower) = parted_below_the_start();
    assert!(fetch_once(&leader, &follower, 2, 700), "it is cut");
    let state = with_worker(&follower, follower.handle.ready_to_fetch()).unwrap();
    assert_eq!(state.offset, Offset::new(50));
    let before = follower.handle.high_watermark();
    assert!(before < state.offset);
    let append = FollowerAppend {
        leader_epoch: state.leader_epoch,
        fetch_offset: state.offset,
        records: Bytes::new(),
        leader_high_watermark: Some(leader.handle.high_watermark()),
        leader_log_start_offset: Some(leader.handle.log_start_offset()),
    };
    with_worker(&follower, follower.handle.append_as_follower(append)).unwrap();
    assert_eq!(follower.handle.high_watermark(), before);
}

/// swarm-disk, seed 114: what it wrote and nobody committed ends where its leader's log begins now.
#[test]
fn what_no_leader_can_vouch_for_is_not_kept() {
    let (leader, follower) = parted_below_the_start();
    catch_up(&leader, &follower, 2);
    assert_eq!(follower.handle.log_end_offset(), Offset::new(56));
    let ours = stored(&follower);
    assert!(ours.iter().all(|batch| batch.header.base_offset >= Offset::new(50)), "{ours:?}");
    // Nor does it come back with the power.
    follower.disk.power_loss(0);
    let again = opened(2, follower.checkpoints(), &follower.disk);
    assert_eq!(again.handle.log_start_offset(), Offset::new(50));
}

#[test]
fn damaged_batches_and_a_full_disk_are_refused_and_tried_again() {
    let (leader, follower) = (new(1), new(2));
    lead(&leader, 1, 0, &[1, 2]);
    follow(&follower, 1, 0);
    append(&leader, 2);
    let state = follower.handle.fetch_state().unwrap();
    let read = run(leader.handle.fetch_as_follower(fetch(2, &state, 10_000))).unwrap();
    let append = |bytes: Vec<u8>| FollowerAppend {
        leader_epoch: state.leader_epoch,
        fetch_offset: state.offset,
        records: bytes.into(),
        leader_high_watermark: None,
        leader_log_start_offset: None,
    };
    let mut bytes = read.records.to_bytes().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    let damaged = run(follower.handle.append_as_follower(append(bytes.clone())));
    assert_eq!(damaged, Err(ErrorCode::CorruptMessage));
    *bytes.last_mut().unwrap() ^= 1;
    follower.disk.set_faults(Faults { space_left: Some(100), ..Faults::default() });
    let full = with_worker(&follower, follower.handle.append_as_follower(append(bytes.clone())));
    assert_eq!(full, Err(ErrorCode::KafkaStorageError));
    follower.disk.set_faults(Faults::default());
    // One that the fetch cut off at the end is left away.
    bytes.pop();
    let short = run(follower.handle.append_as_follower(append(bytes)));
    assert_eq!(short, Ok(Offset::new(2)));
    catch_up(&leader, &follower, 2);
    assert_equal(&leader, &follower);
}

#[test]
fn a_deletion_is_waited_for_until_the_followers_have_followed() {
    let (leader, follower) = (new(1), new(2));
    lead(&leader, 1, 1, &[1, 2]);
    follow(&follower, 1, 1);
    append(&leader, 5);
    catch_up(&leader, &follower, 2);
    assert_eq!(leader.handle.delete_records(Some(Offset::new(4))), Ok(Offset::new(4)));
    let epoch = LeaderEpoch::new(1);
    let mut waiting = Box::pin(leader.handle.until_removed(Offset::new(4), epoch));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(waiting.as_mut().poll(&mut cx).is_pending(), "the follower still has it");
    catch_up(&leader, &follower, 2);
    assert_eq!(follower.handle.log_start_offset(), Offset::new(4));
    assert_eq!(run(waiting), Ok(Offset::new(4)));
    // Whoever leads no longer cannot tell.
    let mut waiting = Box::pin(leader.handle.until_removed(Offset::new(9), epoch));
    assert!(waiting.as_mut().poll(&mut cx).is_pending());
    follow(&leader, 2, 2);
    assert_eq!(run(waiting), Err(ErrorCode::FencedLeaderEpoch));
}
