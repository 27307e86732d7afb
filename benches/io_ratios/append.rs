//! Appending batches of 16 KB, against `pwrite` of as many bytes.
//!
//! (Whole path − the same path with the bytes discarded) is what we make of the write; its budget is 1.3 × the raw one.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use ottla::protocol::Records;
use ottla::types::Acks;

use super::disk::Segments;
use super::partition::{Broker, batch};
use super::{CpuClock, median};

/// Batches a round: 32 MB, which no checkpoint interrupts.
const BATCHES: usize = 2_000;
/// What a broker keeps of the newest batches.
const TAIL_BYTES: usize = 32 << 20;

/// CPU microseconds a batch in one round.
struct Round {
    raw: f64,
    raw_fresh: f64,
    recycled: f64,
    fresh: f64,
    discarded: f64,
}

impl Round {
    /// The write as part of our path.
    fn write(&self) -> f64 {
        self.recycled - self.discarded
    }
}

/// Measures and prints.
pub(crate) fn run(dir: &Path, rounds: usize) {
    let batch = batch();
    let ours = written_before(dir.join("ours"), &batch);
    let raw_path = written_before(dir.join("raw"), &batch);
    let mut recycled = open(dir, "recycled", Segments::Recycled(ours));
    let mut fresh = open(dir, "fresh", Segments::Fresh);
    let mut discarded = open(dir, "discarded", Segments::Discarded);
    let mut measured = Vec::new();
    for round in 0..=rounds {
        let raw = open_raw(&raw_path, false);
        let raw_fresh = open_raw(&dir.join("raw-fresh"), true);
        let one = Round {
            raw: pwrite(&raw, &batch),
            recycled: append(&mut recycled, &batch),
            discarded: append(&mut discarded, &batch),
            raw_fresh: pwrite(&raw_fresh, &batch),
            fresh: append(&mut fresh, &batch),
        };
        if round > 0 {
            measured.push(one);
        }
    }
    print(&measured, batch.len());
}

fn open(dir: &Path, name: &str, segments: Segments) -> Broker {
    let dir = dir.join(name);
    std::fs::create_dir(&dir).expect("a directory can be made");
    Broker::open(&dir, segments, TAIL_BYTES)
}

/// A file whose pages the kernel has.
fn written_before(path: PathBuf, batch: &Bytes) -> PathBuf {
    pwrite(&open_raw(&path, true), batch);
    path
}

fn open_raw(path: &Path, truncate: bool) -> File {
    let opened = OpenOptions::new().write(true).create(true).truncate(truncate).open(path);
    opened.expect("a file can be opened")
}

fn pwrite(file: &File, batch: &Bytes) -> f64 {
    let length = batch.len() as u64;
    let began = CpuClock::now();
    for index in 0..BATCHES as u64 {
        file.write_all_at(batch, index * length).expect("there is space");
    }
    began.micros(BATCHES)
}

fn append(broker: &mut Broker, batch: &Bytes) -> f64 {
    let partition = broker.partition();
    let micros = broker.run(async {
        let began = CpuClock::now();
        for _ in 0..BATCHES {
            let mut appending = partition.append(&Records::from(batch.clone()), Acks::Leader);
            let answer = appending.take_ready().expect("written on the calling thread");
            answer.expect("a sound batch");
        }
        began.micros(BATCHES)
    });
    broker.run(partition.stop_for_deletion());
    let dir = broker.dir_of(&partition);
    std::fs::remove_dir_all(dir).expect("it can be removed");
    micros
}

fn print(rounds: &[Round], bytes: usize) {
    let of = |value: fn(&Round) -> f64| median(rounds.iter().map(value));
    println!(
        "append of {bytes} bytes, CPU us a batch, medians of {} rounds of {BATCHES}",
        rounds.len()
    );
    println!(
        "  pages written before:  pwrite {:6.2}   whole path {:6.2}   discarded {:6.2}",
        of(|r| r.raw),
        of(|r| r.recycled),
        of(|r| r.discarded)
    );
    println!(
        "  new pages:             pwrite {:6.2}   whole path {:6.2}",
        of(|r| r.raw_fresh),
        of(|r| r.fresh)
    );
    println!(
        "  (whole path - discarded) / pwrite:  {:.2}  (budget 1.3)",
        of(|r| r.write() / r.raw)
    );
    println!(
        "  the same on new pages:              {:.2}",
        of(|r| (r.fresh - r.discarded) / r.raw_fresh)
    );
    println!(
        "  whole path / pwrite:                {:.2};  on new pages {:.2}",
        of(|r| r.recycled / r.raw),
        of(|r| r.fresh / r.raw_fresh)
    );
}
