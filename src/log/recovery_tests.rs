//! Tests of the scanner: whatever happens to a file, exactly the intact beginning is found.

use proptest::prelude::*;

use super::*;
use crate::protocol::compression::Compression;
use crate::protocol::record_batch::{BatchBuilder, BatchProducer, ControlRecordType};
use crate::types::{ProducerEpoch, ProducerId, Timestamp};

const BASE: Offset = Offset::new(100);

/// A batch of one record with `value` bytes.
fn batch(offset: u64, epoch: i32, value: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Compression::NONE)
        .with_base_offset(Offset::ZERO + offset)
        .with_leader_epoch(LeaderEpoch::new(epoch));
    builder.append(Timestamp::from_millis(1), None, Some(&vec![b'v'; value]), &[]);
    builder.build().to_vec()
}

/// Scans `file`, fed in pieces of `piece` bytes as a caller reads it.
fn scan(start: ScanStart, file: &[u8], piece: usize) -> (Vec<ScannedBatch>, ScanEnd) {
    let mut scanner = Scanner::new(start);
    let mut batches = Vec::new();
    while !scanner.is_done() {
        let at = usize::try_from(scanner.position()).unwrap();
        let end = (at + piece).min(file.len());
        scanner.feed(&file[at..end], &mut batches);
    }
    (batches, scanner.finish())
}

fn scan_all(file: &[u8]) -> (Vec<ScannedBatch>, ScanEnd) {
    scan(ScanStart::segment(BASE, file.len().try_into().unwrap()), file, 1 << 20)
}

#[track_caller]
fn check_cut(file: &[u8], position: usize, reason: CutReason) {
    let (_, end) = scan_all(file);
    let position = u64::try_from(position).unwrap();
    assert_eq!(end.cut, Some(Cut { position, reason }));
    assert_eq!(end.valid_bytes, position);
}

#[test]
fn an_intact_file_is_kept_whole() {
    let file = [batch(100, 1, 5), batch(101, 1, 500), batch(110, 3, 0)].concat();
    let (batches, end) = scan_all(&file);
    assert_eq!(end.valid_bytes, u64::try_from(file.len()).unwrap());
    assert_eq!(end.end_offset, Offset::new(111));
    assert_eq!(end.leader_epoch, Some(LeaderEpoch::new(3)));
    assert_eq!(end.cut, None);
    assert_eq!(batches.len(), 3);
    assert_eq!(batches[1].header.base_offset, Offset::new(101));
    let (batches, end) = scan_all(&[]);
    assert_eq!((batches.len(), end.valid_bytes, end.cut), (0, 0, None));
    assert_eq!(end.end_offset, BASE);
}

#[test]
fn what_does_not_hold_is_cut_with_its_reason() {
    let one = batch(100, 4, 5);
    let after = |bytes: &[u8]| [one.as_slice(), bytes].concat();
    let at = one.len();
    check_cut(&after(&[0; 200]), at, CutReason::Zeros);
    check_cut(&after(&[0; 20]), at, CutReason::Zeros);
    check_cut(&after(&[9; 20]), at, BatchFault::TooShort { have: 20 }.into());
    let torn = batch(101, 4, 50);
    let reason = BatchFault::LengthBeyondEnd { size: torn.len().try_into().unwrap(), have: 90 };
    check_cut(&after(&torn[..90]), at, reason.into());
    let mut magic = batch(101, 4, 5);
    magic[16] = 7;
    check_cut(&after(&magic), at, BatchFault::UnknownMagic { magic: 7 }.into());
    let back = CutReason::OffsetBack { base_offset: BASE, next_offset: Offset::new(101) };
    check_cut(&after(&one), at, back);
    let epoch = LeaderEpoch::new(3);
    let reason = CutReason::EpochBack { epoch, previous: LeaderEpoch::new(4) };
    check_cut(&after(&batch(101, 3, 5)), at, reason);
    let far = 101 + (1 << 31);
    let last_offset = Offset::ZERO + far;
    let reason = CutReason::OffsetOutOfReach { last_offset, segment: BASE };
    check_cut(&after(&batch(far, 4, 5)), at, reason);
    let mut rotten = batch(101, 4, 5);
    *rotten.last_mut().unwrap() ^= 1;
    let (_, end) = scan_all(&after(&rotten));
    assert!(matches!(end.cut.unwrap().reason, CutReason::Batch(BatchFault::Crc { .. })));
}

#[test]
fn below_the_recovery_point_bodies_are_not_read() {
    let mut file = [batch(100, 1, 5_000), batch(101, 1, 5), batch(102, 1, 5)].concat();
    file[1_000] ^= 1;
    let length = u64::try_from(file.len()).unwrap();
    let trusting =
        ScanStart { recovery_point: Offset::new(101), ..ScanStart::segment(BASE, length) };
    let mut scanner = Scanner::new(trusting);
    let mut batches = Vec::new();
    scanner.feed(&file[..61], &mut batches);
    assert_eq!(batches.len(), 1);
    assert!(scanner.position() > 5_000);
    let (batches, end) = scan(trusting, &file, 61);
    assert_eq!((batches.len(), end.cut), (3, None));
    let (batches, end) = scan(ScanStart::segment(BASE, length), &file, 61);
    assert_eq!((batches.len(), end.valid_bytes), (0, 0));
}

#[test]
fn a_trusted_header_does_not_reach_beyond_the_file() {
    let file = &batch(100, 1, 500)[..300];
    let start = ScanStart {
        recovery_point: Offset::new(1_000),
        ..ScanStart::segment(BASE, file.len().try_into().unwrap())
    };
    let (batches, end) = scan(start, file, 100);
    assert_eq!((batches.len(), end.valid_bytes), (0, 0));
    assert!(end.cut.is_some());
}

#[test]
fn transaction_markers_are_read() {
    let marker = EndTransactionMarker { is_commit: true, coordinator_epoch: 3 };
    let mut builder = BatchBuilder::new(Compression::NONE).with_base_offset(BASE);
    builder.append_control(Timestamp::from_millis(1), ControlRecordType::Commit, &marker.value());
    builder.set_producer(BatchProducer {
        id: ProducerId::new(1),
        epoch: ProducerEpoch::new(0),
        base_sequence: None,
    });
    let (batches, end) = scan_all(&builder.build());
    assert_eq!(batches[0].marker, Some(marker));
    assert_eq!(end.cut, None);
}

/// A file of batches, with the ends of its batches.
fn files() -> impl Strategy<Value = (Vec<u8>, Vec<usize>)> {
    prop::collection::vec((0usize..200, 0u64..3, 0i32..2), 0..8).prop_map(|batches| {
        let (mut file, mut ends) = (Vec::new(), Vec::new());
        let (mut offset, mut epoch) = (BASE, 0);
        for (value, gap, newer) in batches {
            offset = offset + gap;
            epoch += newer;
            let base = u64::try_from(offset.value()).unwrap();
            file.extend_from_slice(&batch(base, epoch, value));
            ends.push(file.len());
            offset = offset + 1;
        }
        (file, ends)
    })
}

proptest! {
    #[test]
    fn a_torn_file_keeps_its_whole_batches(
        (file, ends) in files(),
        cut in any::<prop::sample::Index>(),
        piece in 1usize..400,
    ) {
        let cut = cut.index(file.len() + 1);
        let file = &file[..cut];
        let start = ScanStart::segment(BASE, file.len().try_into().unwrap());
        let (batches, end) = scan(start, file, piece);
        let whole: Vec<_> = ends.iter().filter(|end| **end <= cut).collect();
        prop_assert_eq!(batches.len(), whole.len());
        let valid = usize::try_from(end.valid_bytes).unwrap();
        prop_assert_eq!(valid, whole.last().map_or(0, |end| **end));
        prop_assert_eq!(end.cut.is_some(), valid < cut);
        // What was found holds when it is scanned again.
        let again = scan_all(&file[..valid]);
        prop_assert_eq!(again.0, batches);
        prop_assert_eq!(again.1.cut, None);
    }

    #[test]
    fn a_flipped_bit_that_the_checksum_covers_is_found(
        (file, ends) in files(),
        at in any::<prop::sample::Index>(),
        bit in 0u8..8,
        piece in 1usize..400,
    ) {
        if file.is_empty() {
            return Ok(());
        }
        let at = at.index(file.len());
        let hit = ends.iter().position(|end| at < *end).unwrap();
        let start = if hit == 0 { 0 } else { ends[hit - 1] };
        let mut file = file;
        file[at] ^= 1 << bit;
        let length = file.len().try_into().unwrap();
        let (batches, end) = scan(ScanStart::segment(BASE, length), &file, piece);
        if at - start >= 16 {
            prop_assert_eq!(batches.len(), hit);
            prop_assert_eq!(end.valid_bytes, u64::try_from(start).unwrap());
        } else {
            // Offset, length and epoch lie outside: they are found where they do not fit.
            prop_assert!(batches.len() >= hit);
        }
    }

    #[test]
    fn arbitrary_files_never_panic_and_any_cut_finds_the_same(
        file in prop::collection::vec(prop_oneof![Just(0u8), Just(2), any::<u8>()], 0..300),
        piece in 1usize..100,
        recovery_point in 0i64..200,
    ) {
        let start = ScanStart {
            recovery_point: Offset::new(recovery_point),
            ..ScanStart::segment(Offset::ZERO, file.len().try_into().unwrap())
        };
        prop_assert_eq!(scan(start, &file, piece), scan(start, &file, 1 << 20));
    }
}
