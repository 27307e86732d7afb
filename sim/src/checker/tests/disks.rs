//! What lies on a disk: R3, R21, S2 to S6, S9, T11.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::{BufMut, Bytes, BytesMut};
use ottla::types::{BrokerId, QuorumRole};

use super::cluster::{NONE, Run, version};
use super::*;
use crate::checker::segment_reader::crc32c;
use crate::checker::{Disks, Stop};
use crate::world::Look;

#[derive(Default)]
pub(super) struct Files {
    cached: BTreeMap<PathBuf, Bytes>,
    durable: BTreeMap<PathBuf, Bytes>,
}

impl Files {
    pub(super) fn put(&mut self, name: &str, bytes: impl Into<Bytes>) -> &mut Self {
        let bytes = bytes.into();
        let path = Path::new("/d0").join(name);
        self.cached.insert(path.clone(), bytes.clone());
        self.durable.insert(path, bytes);
        self
    }

    pub(super) fn with_partition() -> Self {
        let mut files = Self::default();
        files.put(
            "t-0/partition.metadata",
            format!("version: 0\ntopic_id: {}", partition().topic_id),
        );
        files
    }

    /// What the disk checks say of these files, after these events.
    pub(super) fn fired(&self, events: &[Event]) -> Vec<&'static str> {
        let mut checkers = Checkers::new();
        for event in events {
            checkers.on_event(&Occurrence { at: SimTime(0), node: NODE, event: *event });
        }
        checkers.learn_places(self, NODE);
        checkers.at_barrier(self, NODE, SimTime(1));
        names(checkers.violations())
    }
}

impl Disks for Files {
    fn log_dirs(&self, _node: NodeId) -> Vec<PathBuf> {
        vec![PathBuf::from("/d0")]
    }

    fn files(&self, _node: NodeId) -> Vec<PathBuf> {
        self.cached.keys().cloned().collect()
    }

    fn cached(&self, _node: NodeId, path: &Path, from: usize) -> Option<Bytes> {
        self.cached.get(path).map(|bytes| bytes.slice(from.min(bytes.len())..))
    }

    fn durable(&self, _node: NodeId, path: &Path, from: usize) -> Option<Bytes> {
        self.durable.get(path).map(|bytes| bytes.slice(from.min(bytes.len())..))
    }

    fn look(&self, _node: NodeId, path: &Path) -> Option<Look> {
        let file = self.cached.keys().position(|known| known == path)? as u64;
        let (cached, durable) = (self.cached.get(path)?, self.durable.get(path)?);
        let same = cached.iter().zip(durable).take_while(|(cached, durable)| cached == durable);
        Some(Look { file, changed_from: Some(0), durable_below: same.count() })
    }
}

/// A batch of `base..end` as it lies in a file, with its checksum.
fn batch(base: i64, end: i64, producer: Option<(i64, i16, i32)>) -> Vec<u8> {
    let (id, epoch, sequence) = producer.unwrap_or((-1, -1, -1));
    let mut body = BytesMut::new();
    body.put_i16(0);
    body.put_i32(i32::try_from(end - base - 1).unwrap());
    body.put_i64(1_000);
    body.put_i64(1_000);
    body.put_i64(id);
    body.put_i16(epoch);
    body.put_i32(sequence);
    body.put_i32(i32::try_from(end - base).unwrap());
    body.put_slice(&[0; 20]);
    let mut batch = BytesMut::new();
    batch.put_i64(base);
    batch.put_i32(i32::try_from(body.len() + 9).unwrap());
    batch.put_i32(0);
    batch.put_i8(2);
    batch.put_u32(crc32c(&body));
    batch.put_slice(&body);
    batch.to_vec()
}

fn segment(batches: &[(i64, i64)]) -> Vec<u8> {
    batches.iter().flat_map(|(base, end)| batch(*base, *end, None)).collect()
}

pub(super) const LOG: &str = "t-0/00000000000000000000.log";

#[test]
fn disks_in_order_fire_nothing() {
    let mut files = Files::with_partition();
    files
        .put(LOG, segment(&[(0, 2), (2, 5)]))
        .put("t-0/00000000000000000005.log", segment(&[(5, 6)]));
    let position = i32::try_from(batch(0, 2, None).len()).unwrap();
    files.put(
        "t-0/00000000000000000000.index",
        [4i32.to_be_bytes(), position.to_be_bytes()].concat(),
    );
    files.put("recovery-point-offset-checkpoint", "0\n1\nt 0 5\n");
    assert!(files.fired(&[Event::Started]).is_empty());
}

/// Group-swarm, seed 2363: a voter was killed between the write and its word, and led later.
#[test]
fn metadata_that_a_kill_left_untold_is_learnt_from_the_disk() {
    let (told, untold) = (batch(0, 2, None), batch(2, 5, None));
    let wrote = |base: i64, end: i64, batch: &[u8]| Observation::MetadataAppended {
        epoch: LeaderEpoch::new(0),
        base_offset: Offset::new(base),
        end_offset: Offset::new(end),
        crc: u32::from_be_bytes(batch[17..21].try_into().unwrap()),
    };
    let becomes_leader = |id: i32, epoch: i32| Observation::QuorumRoleChanged {
        node: BrokerId::new(id),
        epoch: LeaderEpoch::new(epoch),
        role: QuorumRole::Leader,
        leader: Some(BrokerId::new(id)),
    };
    let elected_with = |on_disk: &[u8]| {
        let mut files = Files::default();
        files.put("__cluster_metadata-0/00000000000000000000.log", on_disk.to_vec());
        let mut checkers = Checkers::new();
        let mut tell = |node: NodeId, event: Event| {
            checkers.on_event(&Occurrence { at: SimTime(0), node, event });
            if event == Event::Stopped(Stop::Kill) {
                checkers.learn_places(&files, node);
            }
        };
        let other = NodeId(NODE.0 + 1);
        tell(NODE, Event::Started);
        tell(NODE, Event::Observed(wrote(0, 2, &told)));
        tell(NODE, Event::Stopped(Stop::Kill));
        tell(other, Event::Started);
        let committed = Observation::QuorumHighWatermark {
            node: BrokerId::new(9),
            epoch: LeaderEpoch::new(0),
            high_watermark: Offset::new(5),
        };
        let all = [becomes_leader(9, 0), wrote(0, 2, &told), wrote(2, 5, &untold), committed];
        all.into_iter().for_each(|observation| tell(other, Event::Observed(observation)));
        let (broker, epoch) = (BrokerId::new(8), LeaderEpoch::new(1));
        tell(NODE, Event::Started);
        tell(NODE, Event::Observed(becomes_leader(8, 1)));
        tell(NODE, Event::Observed(Observation::ControllerElected { broker, epoch }));
        names(checkers.violations()).contains(&"Q16")
    };
    assert!(!elected_with(&[&told[..], &untold[..]].concat()));
    assert!(elected_with(&told));
}

#[test]
fn batches_that_a_kill_left_untold_are_learnt_from_the_disk() {
    let mut files = Files::with_partition();
    let told = batch(0, 2, Some((9, 0, 0)));
    let crc = u32::from_be_bytes(told[17..21].try_into().unwrap());
    let untold = batch(2, 5, Some((9, 0, 2)));
    files.put(LOG, [told, untold].concat());
    let first = appended(0, 2, crc, Some(stamp(0, 0)));
    let duplicate = |base| {
        Event::Observed(Observation::ProduceDuplicate {
            partition: partition(),
            base_offset: Offset::new(base),
            producer: stamp(0, 2),
        })
    };
    let fired_with = |last: Event| {
        let mut checkers = Checkers::new();
        let tell = |checkers: &mut Checkers, event| {
            checkers.on_event(&Occurrence { at: SimTime(0), node: NODE, event })
        };
        for event in [Event::Started, first, Event::Stopped(Stop::Kill)] {
            tell(&mut checkers, event);
        }
        checkers.learn_places(&files, NODE);
        for event in [Event::Started, recovered(5), last] {
            tell(&mut checkers, event);
        }
        names(checkers.violations())
    };
    assert!(fired_with(duplicate(2)).is_empty());
    assert!(fired_with(appended(5, 6, 1, Some(stamp(0, 5)))).is_empty());
    assert_eq!(fired_with(duplicate(1)), ["T15"]);
    assert_eq!(fired_with(appended(5, 6, 1, Some(stamp(0, 2)))), ["T14"]);
}

#[test]
fn s2_sees_a_torn_batch_that_was_kept() {
    let mut files = Files::with_partition();
    let mut torn = segment(&[(0, 2), (2, 5)]);
    *torn.last_mut().unwrap() ^= 1;
    files.put(LOG, torn);
    let open = [Event::Started, recovered(5)];
    assert_eq!(files.fired(&open), ["S2"]);
    assert!(files.fired(&[&open[..], &[Event::DiskRotted]].concat()).is_empty());
    // Before the log is opened anew it may end in whatever the power loss left.
    let restarted = [Event::Stopped(Stop::PowerLoss), Event::Started];
    assert!(files.fired(&[&open[..], &restarted].concat()).is_empty());
}

#[test]
fn r3_sees_another_record_on_disk() {
    let mut files = Files::with_partition();
    files.put(LOG, segment(&[(0, 2)]));
    assert_eq!(files.fired(&[Event::Started, appended(0, 2, 77, None)]), ["R3"]);
}

/// power-loss-one-by-one, seed 77, and the storm, flush-1, seed 74.
#[test]
fn r3_leaves_a_batch_that_lost_its_offset_to_recovery() {
    let mut files = Files::with_partition();
    let (first, second, third) = (batch(0, 2, None), batch(2, 5, None), batch(5, 6, None));
    let crc = u32::from_be_bytes(first[17..21].try_into().unwrap());
    let mut bytes = [first.clone(), second.clone(), third].concat();
    let events = [Event::Started, appended(0, 2, crc, None), Event::Stopped(Stop::PowerLoss)];
    // Alone, for what stands before it was synced; and with the end of the one before it.
    let third_at = first.len() + second.len();
    for from in [third_at, first.len() + 40] {
        bytes[from..third_at + 8].fill(0);
        files.put(LOG, bytes.clone());
        assert!(files.fired(&events).is_empty(), "from {from}");
    }
    files.put(LOG, segment(&[(0, 1)]));
    assert_eq!(files.fired(&events), ["R3"], "what stands before what is broken counts");
}

#[test]
fn s3_sees_an_index_entry_that_names_no_batch() {
    let mut files = Files::with_partition();
    files.put(LOG, segment(&[(0, 2), (2, 5)]));
    files.put("t-0/00000000000000000000.index", [4i32.to_be_bytes(), 3i32.to_be_bytes()].concat());
    assert_eq!(files.fired(&[Event::Started]), ["S3"]);
    let mut files = Files::with_partition();
    files.put(LOG, segment(&[(0, 2), (2, 5)]));
    files.put(
        "t-0/00000000000000000000.timeindex",
        [&5_000i64.to_be_bytes()[..], &4i32.to_be_bytes()[..]].concat(),
    );
    assert_eq!(files.fired(&[Event::Started]), ["S3"]);
}

/// A log with these batches, and an entry of its time index that names the batch which ends with offset 4.
fn stale(batches: &[(i64, i64)]) -> Files {
    let mut files = Files::with_partition();
    files.put(LOG, segment(batches));
    let entry = [&5_000i64.to_be_bytes()[..], &4i32.to_be_bytes()[..]].concat();
    files.put("t-0/00000000000000000000.timeindex", entry);
    files
}

fn s3_fires(files: &Files, events: &[Event]) -> bool {
    files.fired(events).contains(&"S3")
}

#[test]
fn s3_passes_over_what_a_cut_has_not_reached_yet() {
    let cut = Event::Observed(Observation::LogTruncated {
        partition: partition(),
        from: Offset::new(5),
        to: Offset::new(2),
    });
    assert!(!s3_fires(&stale(&[(0, 2)]), &[Event::Started, cut]));
    // Once something stands behind the cut nobody may be led by what stood there before; nor after a clean stop.
    let next = appended(2, 3, 9, None);
    assert!(s3_fires(&stale(&[(0, 2), (2, 3)]), &[Event::Started, cut, next]));
    let stopped = Event::Stopped(Stop::Shutdown);
    assert!(s3_fires(&stale(&[(0, 2)]), &[Event::Started, cut, stopped]));
}

/// Swarm-terms, seeds 6 and 61: the files of a segment that was scanned are written anew by the next checkpoint, and read by nobody.
#[test]
fn s3_passes_over_what_stood_behind_the_end_of_a_scan() {
    let stopped = Event::Stopped(Stop::Shutdown);
    let (second, third) = (appended(2, 4, 9, None), appended(4, 6, 9, None));
    let grown = [Event::Started, scanned(2), second, third];
    assert!(!s3_fires(&stale(&[(0, 2)]), &[Event::Started, scanned(2)]));
    assert!(!s3_fires(&stale(&[(0, 2), (2, 4), (4, 6)]), &grown), "whatever was appended since");
    // But before the scan began; where nothing was scanned; and once the node has stopped.
    assert!(s3_fires(&stale(&[(0, 5)]), &[Event::Started, scanned_from(5, 5)]));
    assert!(s3_fires(&stale(&[(0, 2)]), &[Event::Started, recovered(2)]));
    assert!(s3_fires(&stale(&[(0, 2)]), &[Event::Started, scanned(2), stopped]));
}

/// Swarm-disk, seed 410: a loss of power left zeros in the file of an index; the scan made it anew, and the checkpoint was still to come.
#[test]
fn s3_passes_over_the_index_files_of_what_was_scanned() {
    assert!(!s3_fires(&stale(&[(0, 5)]), &[Event::Started, scanned(5)]));
}

/// A segment that was begun after the scan has no files of a log before it.
#[test]
fn s3_holds_what_was_begun_after_a_scan_to_its_word() {
    let mut files = Files::with_partition();
    files.put(LOG, segment(&[(0, 2)])).put("t-0/00000000000000000003.log", segment(&[(3, 6)]));
    let entry = [&5_000i64.to_be_bytes()[..], &1i32.to_be_bytes()[..]].concat();
    files.put("t-0/00000000000000000003.timeindex", entry);
    let events = [Event::Started, scanned(2), appended(2, 3, 9, None), appended(3, 6, 9, None)];
    assert!(files.fired(&events).contains(&"S3"));
}

#[test]
fn s4_sees_a_gap_between_segments_and_within_one() {
    let mut files = Files::with_partition();
    files.put(LOG, segment(&[(0, 2)])).put("t-0/00000000000000000003.log", segment(&[(3, 4)]));
    assert_eq!(files.fired(&[Event::Started]), ["S4"]);
    let mut files = Files::with_partition();
    files.put(LOG, segment(&[(0, 2), (3, 4)]));
    assert_eq!(files.fired(&[Event::Started]), ["S4"]);
}

/// Swarm-disk, seeds 15, 60: a power loss had torn a closed segment, and the node had not come to this log yet.
#[test]
fn s4_leaves_a_hole_that_a_power_loss_made_to_recovery() {
    let mut files = Files::with_partition();
    files.put(LOG, segment(&[(0, 2)])).put("t-0/00000000000000000003.log", segment(&[(3, 4)]));
    let lost = [Event::Started, recovered(4), Event::Stopped(Stop::PowerLoss), Event::Started];
    assert!(files.fired(&lost).is_empty());
    assert_eq!(files.fired(&[&lost[..], &[recovered(4)]].concat()), ["S4"], "it was kept");
    let killed = [Event::Started, recovered(4), Event::Stopped(Stop::Kill), Event::Started];
    assert_eq!(files.fired(&killed), ["S4"], "the page cache survived");
}

#[test]
fn s5_sees_a_clean_marker_over_dirty_bytes_and_a_recovery_point_too_far() {
    let mut files = Files::with_partition();
    files.put(LOG, segment(&[(0, 2), (2, 5)])).put(".kafka_cleanshutdown", "{}");
    files.durable.insert(Path::new("/d0").join(LOG), segment(&[(0, 2)]).into());
    assert_eq!(files.fired(&[Event::Started, Event::Stopped(Stop::Shutdown)]), ["S5"]);
    let mut files = Files::with_partition();
    files
        .put(LOG, segment(&[(0, 2), (2, 5)]))
        .put("recovery-point-offset-checkpoint", "0\n1\nt 0 5\n");
    files.durable.insert(Path::new("/d0").join(LOG), segment(&[(0, 2)]).into());
    assert_eq!(files.fired(&[Event::Started]), ["S5"]);
}

#[test]
fn s5_sees_a_clean_marker_that_stays_while_the_log_is_written() {
    let mut files = Files::with_partition();
    files.put(LOG, segment(&[(0, 2), (2, 5)])).put(".kafka_cleanshutdown", "{}");
    files.durable.insert(Path::new("/d0").join(LOG), segment(&[(0, 2)]).into());
    let started = [Event::Started, Event::Stopped(Stop::Shutdown), Event::Started];
    assert!(files.fired(&started).is_empty(), "it has not looked at its logs yet");
    let open = [&started[..], &[recovered(5)]].concat();
    assert!(files.fired(&open).contains(&"S5"));
}

#[test]
fn s6_sees_a_torn_checkpoint() {
    let mut files = Files::with_partition();
    files.put("recovery-point-offset-checkpoint", "0\n2\nt 0 0\n");
    assert_eq!(files.fired(&[Event::Started]), ["S6"]);
}

/// Swarm-disk, seeds 17, 73: the epoch of a batch rotted, which no checksum covers.
#[test]
fn r21_lets_a_cut_take_what_rotted() {
    let cut_with = |on_disk: Vec<u8>| {
        let mut files = Files::with_partition();
        files.put(LOG, on_disk);
        let whole = batch(0, 2, None);
        let crc = u32::from_be_bytes(whole[17..21].try_into().unwrap());
        let copied = Observation::FollowerAppended {
            partition: partition(),
            current_leader_epoch: LeaderEpoch::new(0),
            leader_epoch: LeaderEpoch::new(0),
            base_offset: Offset::ZERO,
            end_offset: Offset::new(2),
            producer: None,
            crc,
        };
        let mut run = Run::bare();
        run.change(version(0, 1, 0, &[1, 2])).leads(1, 0, 0, &[1, 2]).follows(2, 1, 0);
        run.tell(1, appended(0, 2, crc, None)).say(2, copied).fetch(1, 2, 0, 2);
        run.watermark(1, 0, 0, 2, &[1, 2], &[1, 2]).tell(2, Event::DiskRotted);
        run.checkers.learn_places(&files, NodeId(2));
        run.truncate(2, 2, 0);
        run.fired()
    };
    let whole = batch(0, 2, None);
    let mut rotten = whole.clone();
    rotten[15] ^= 2;
    assert_eq!(cut_with(rotten), NONE);
    assert_eq!(cut_with(whole), ["R21"]);
}

#[test]
fn s9_sees_an_acknowledgement_on_a_failed_directory() {
    let mut files = Files::with_partition();
    files.put(LOG, segment(&[(0, 2)]));
    let mut checkers = Checkers::new();
    let tell = |checkers: &mut Checkers, event| {
        checkers.on_event(&Occurrence { at: SimTime(0), node: NODE, event })
    };
    tell(&mut checkers, Event::Started);
    checkers.learn_places(&files, NODE);
    tell(&mut checkers, appended(0, 2, 1, None));
    tell(&mut checkers, acked(0, 1));
    assert!(checkers.violations().is_empty());
    tell(&mut checkers, Event::DiskFailed { log_dir: 0 });
    tell(&mut checkers, acked(1, 2));
    assert_eq!(names(checkers.violations()), ["S9"]);
}

#[test]
fn t11_sees_a_snapshot_that_is_not_the_fold() {
    let snapshot = |last_sequence: i32| {
        let mut body = BytesMut::new();
        body.put_i32(1);
        body.put_i64(9);
        body.put_i16(0);
        body.put_i32(last_sequence);
        body.put_i64(1);
        body.put_i32(1);
        body.put_i64(1_000);
        body.put_i32(-1);
        body.put_i64(-1);
        let mut file = BytesMut::new();
        file.put_i16(1);
        file.put_u32(crc32c(&body));
        file.put_slice(&body);
        file.to_vec()
    };
    let fired = |last_sequence| {
        let mut files = Files::with_partition();
        files.put(LOG, batch(0, 2, Some((9, 0, 0))));
        files.put("t-0/00000000000000000002.snapshot", snapshot(last_sequence));
        files.fired(&[Event::Started])
    };
    assert!(fired(1).is_empty());
    assert_eq!(fired(4), ["T11"]);
}
