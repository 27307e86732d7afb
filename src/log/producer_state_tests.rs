//! Tests of the producers' state and its snapshots.

use proptest::prelude::*;

use super::*;
use crate::protocol::compression::Compression;
use crate::protocol::record_batch::{BatchBuilder, BatchProducer, RawBatch};

const PRODUCER: i64 = 7;

/// A producer's batch of `count` records, as it comes or at an offset.
#[derive(Clone, Copy, Debug)]
struct Batch {
    epoch: i16,
    sequence: i32,
    count: u32,
    offset: Offset,
}

impl Batch {
    fn header(self) -> BatchHeader {
        let mut builder = BatchBuilder::new(Compression::NONE).with_base_offset(self.offset);
        builder.set_producer(BatchProducer {
            id: ProducerId::new(PRODUCER),
            epoch: ProducerEpoch::new(self.epoch),
            base_sequence: Some(Sequence::new(self.sequence)),
        });
        builder.append(Timestamp::from_millis(1_000), None, None, &[]);
        builder.append_at(self.count, Timestamp::from_millis(1_000), None, None, &[]);
        let mut header = RawBatch::parse(&builder.build()).unwrap().header;
        header.last_offset_delta = self.count - 1;
        header.record_count = self.count;
        header
    }
}

fn batch(epoch: i16, sequence: i32, count: u32) -> Batch {
    Batch { epoch, sequence, count, offset: Offset::ZERO }
}

/// The state after these batches, appended one after the other.
fn state(batches: &[Batch]) -> ProducerState {
    let mut state = ProducerState::default();
    for batch in batches {
        append(&mut state, *batch).unwrap();
    }
    state
}

/// What the leader does.
fn append(state: &mut ProducerState, batch: Batch) -> Result<ProducerVerdict, ErrorCode> {
    let verdict = state.check(&batch.header()).map_err(|refusal| refusal.error_code())?;
    if verdict == ProducerVerdict::Append {
        state.on_batch(&Batch { offset: state.end_offset(), ..batch }.header(), None);
    }
    Ok(verdict)
}

#[track_caller]
fn check_duplicate(state: &ProducerState, batch: Batch, first: i64, last: i64) {
    let Ok(ProducerVerdict::Duplicate(found)) = state.check(&batch.header()) else {
        panic!("{batch:?} is no duplicate");
    };
    assert_eq!(found.first_offset(), Offset::new(first));
    assert_eq!(found.last_offset, Offset::new(last));
}

#[track_caller]
fn check_refused(state: &ProducerState, batch: Batch, code: ErrorCode) {
    assert_eq!(state.check(&batch.header()).map_err(|refusal| refusal.error_code()), Err(code));
}

#[track_caller]
fn check_appended(state: &ProducerState, batch: Batch) {
    assert_eq!(state.check(&batch.header()), Ok(ProducerVerdict::Append));
}

#[test]
fn sequences_follow_each_other() {
    let state = state(&[batch(0, 0, 10)]);
    check_appended(&state, batch(0, 10, 1));
    check_refused(&state, batch(0, 11, 1), ErrorCode::OutOfOrderSequenceNumber);
    check_refused(&state, batch(0, 9, 1), ErrorCode::OutOfOrderSequenceNumber);
    check_refused(&state, batch(0, 0, 9), ErrorCode::OutOfOrderSequenceNumber);
}

#[test]
fn each_of_the_last_five_batches_is_known_again() {
    let batches: Vec<_> = (0..6).map(|index| batch(0, index * 10, 10)).collect();
    let state = state(&batches);
    for index in 1..6 {
        let first = i64::from(index) * 10;
        check_duplicate(&state, batch(0, index * 10, 10), first, first + 9);
    }
    check_refused(&state, batch(0, 0, 10), ErrorCode::OutOfOrderSequenceNumber);
}

#[test]
fn sequences_wrap_from_the_largest_to_zero() {
    let state = state(&[batch(0, i32::MAX - 4, 10)]);
    let entry = state.entry(ProducerId::new(PRODUCER)).unwrap();
    assert_eq!(entry.last_sequence(), Some(Sequence::new(4)));
    check_duplicate(&state, batch(0, i32::MAX - 4, 10), 0, 9);
    check_appended(&state, batch(0, 5, 1));
    let state = self::state(&[batch(0, i32::MAX, 1)]);
    check_appended(&state, batch(0, 0, 1));
}

#[test]
fn an_unknown_producer_may_begin_anywhere() {
    check_appended(&ProducerState::default(), batch(3, 500, 2));
    let mut without = batch(0, 0, 1).header();
    without.producer = None;
    assert_eq!(state(&[batch(0, 0, 5)]).check(&without), Ok(ProducerVerdict::Append));
}

#[test]
fn a_new_epoch_begins_at_zero_and_fences_the_old_one() {
    let mut state = state(&[batch(1, 0, 10)]);
    check_refused(&state, batch(0, 10, 1), ErrorCode::InvalidProducerEpoch);
    check_refused(&state, batch(2, 10, 1), ErrorCode::OutOfOrderSequenceNumber);
    append(&mut state, batch(2, 0, 3)).unwrap();
    check_refused(&state, batch(1, 0, 10), ErrorCode::InvalidProducerEpoch);
    check_refused(&state, batch(1, 10, 1), ErrorCode::InvalidProducerEpoch);
    check_duplicate(&state, batch(2, 0, 3), 10, 12);
}

#[test]
fn a_transactional_batch_of_a_client_is_refused() {
    let mut header = batch(0, 0, 1).header();
    let plain = BatchBuilder::new(Compression::NONE).with_transactional();
    header.attributes = {
        let mut builder = plain;
        builder.append(Timestamp::from_millis(0), None, None, &[]);
        RawBatch::parse(&builder.build()).unwrap().header.attributes
    };
    let state = ProducerState::default();
    let refusal = state.check(&header).unwrap_err();
    assert_eq!(refusal.error_code(), ErrorCode::InvalidTxnState);
    // In a log that has them they are folded.
    let mut state = ProducerState::default();
    state.on_batch(&header, None);
    assert_eq!(state.first_undecided_offset(), Some(Offset::ZERO));
    check_refused(&state, batch(0, 1, 1), ErrorCode::InvalidTxnState);
    let decoded = ProducerState::decode_snapshot(state.end_offset(), &state.encode_snapshot());
    assert_eq!(decoded, Ok(state));
}

#[test]
fn an_idle_producer_is_forgotten() {
    let mut state = state(&[batch(0, 0, 10)]);
    let day = Duration::from_secs(86_400);
    let end = 1_000 + 86_400_000;
    assert_eq!(state.remove_expired(Timestamp::from_millis(end - 1), day), []);
    let expired = state.remove_expired(Timestamp::from_millis(end), day);
    assert_eq!(expired, [ProducerId::new(PRODUCER)]);
    check_appended(&state, batch(0, 77, 1));
}

#[test]
fn an_append_is_taken_back() {
    let mut state = state(&[batch(0, 0, 10)]);
    let before = state.clone();
    let id = ProducerId::new(PRODUCER);
    let previous = state.entry(id).cloned();
    append(&mut state, batch(0, 10, 5)).unwrap();
    state.restore(id, previous, Offset::new(10));
    assert_eq!(state, before);
}

#[test]
fn a_snapshot_keeps_the_last_batch() {
    let state = state(&[batch(4, 0, 10), batch(4, 10, 5)]);
    let bytes = state.encode_snapshot();
    assert_eq!(bytes.len(), 10 + 46);
    let decoded = ProducerState::decode_snapshot(state.end_offset(), &bytes).unwrap();
    check_duplicate(&decoded, batch(4, 10, 5), 10, 14);
    check_refused(&decoded, batch(4, 0, 10), ErrorCode::OutOfOrderSequenceNumber);
    check_appended(&decoded, batch(4, 15, 1));
    assert_eq!(decoded.encode_snapshot(), bytes);
}

#[test]
fn damaged_snapshots_are_refused() {
    let bytes = state(&[batch(4, 0, 10)]).encode_snapshot();
    let decode = |bytes: &[u8]| ProducerState::decode_snapshot(Offset::ZERO, bytes).unwrap_err();
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x40;
        decode(&damaged);
        decode(&bytes[..at]);
    }
    assert_eq!(decode(&[0, 2, 0, 0, 0, 0, 0, 0, 0, 0]), SnapshotError::Version { version: 2 });
    assert_eq!(decode(&[0, 1]), SnapshotError::TooShort { bytes: 2 });
}

#[test]
fn the_latest_snapshot_within_the_log_is_loaded() {
    let snapshots = [0, 5, 10, 15].map(Offset::new);
    let load = |start, end| {
        ProducerState::snapshot_to_load(&snapshots, Offset::new(start), Offset::new(end))
    };
    assert_eq!(load(0, 12), Some(Offset::new(10)));
    assert_eq!(load(0, 15), Some(Offset::new(15)));
    assert_eq!(load(10, 12), None);
    assert_eq!(load(0, 4), None);
}

/// A client with five requests in flight whose answers get lost: it sends batches again.
fn sends() -> impl Strategy<Value = Vec<(usize, u32)>> {
    // How many batches back to repeat, and how many records a new one has.
    prop::collection::vec((0usize..5, 1u32..4), 1..40)
}

proptest! {
    #[test]
    fn whatever_is_sent_again_is_stored_once_and_in_order(
        sends in sends(),
        start in prop_oneof![Just(0), i32::MAX - 20..i32::MAX],
    ) {
        let mut state = ProducerState::default();
        let mut sent: Vec<(Batch, Offset)> = Vec::new();
        let mut next = Sequence::new(start);
        for (back, count) in sends {
            if let Some((batch, offset)) = sent.len().checked_sub(back + 1).map(|at| sent[at]) {
                let verdict = append(&mut state, batch).unwrap();
                let ProducerVerdict::Duplicate(found) = verdict else {
                    return Err(TestCaseError::fail("stored twice"));
                };
                prop_assert_eq!(found.first_offset(), offset);
            }
            let new = Batch { epoch: 0, sequence: next.value(), count, offset: Offset::ZERO };
            let offset = state.end_offset();
            prop_assert_eq!(append(&mut state, new), Ok(ProducerVerdict::Append));
            prop_assert_eq!(state.end_offset(), offset + u64::from(count));
            sent.push((new, offset));
            next = next.plus(count);
        }
        // A crash: the snapshot, then the log from there.
        let decoded = ProducerState::decode_snapshot(state.end_offset(), &state.encode_snapshot());
        let decoded = decoded.unwrap();
        let (last, offset) = *sent.last().unwrap();
        check_duplicate(
            &decoded,
            last,
            offset.value(),
            offset.value() + i64::from(last.count) - 1,
        );
    }

    #[test]
    fn arbitrary_snapshots_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = ProducerState::decode_snapshot(Offset::ZERO, &bytes);
        if bytes.len() >= 10 {
            // With the right checksum and count, too.
            let count = i32::try_from((bytes.len() - 10) / 46).unwrap();
            bytes.truncate(10 + 46 * usize::try_from(count).unwrap());
            bytes[..2].copy_from_slice(&[0, 1]);
            bytes[6..10].copy_from_slice(&count.to_be_bytes());
            let crc = crate::protocol::record_batch::crc32c(&bytes[6..]);
            bytes[2..6].copy_from_slice(&crc.to_be_bytes());
            if let Ok(state) = ProducerState::decode_snapshot(Offset::ZERO, &bytes) {
                for entry in state.producers().values() {
                    for batch in &entry.batches {
                        let _ = (batch.first_sequence(), batch.first_offset());
                    }
                }
                let _ = state.encode_snapshot();
            }
        }
    }
}
