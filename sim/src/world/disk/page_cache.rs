//! One file: what its readers see, what is durable of it, and what a power loss leaves.
//!
//! The content that readers see is kept whole; for each block that differs from what is durable, the durable content is kept
//! beside it ("image"). So a write copies a block at most once between two syncs, and a sync copies nothing.
//!
//! | map | holds the images of blocks that | after a sync | after a failed sync |
//! |---|---|---|---|
//! | `dirty` | were written since the last sync began | | become phantoms |
//! | `syncing` | a sync under way is writing | gone: durable | become phantoms |
//! | `phantom` | a failed sync dropped: readable, clean, never written (Linux: a failed writeback marks pages clean) | stay | stay |

use std::collections::{BTreeMap, BTreeSet};

use super::super::Draw;
use super::power::{FileLoss, PowerLossMode};

/// The unit in which dirty bytes reach the disk: the page of the page cache.
pub(super) const BLOCK: u64 = 4096;
/// The unit in which a write can be torn: what a drive writes whole.
pub(super) const SECTOR: u64 = 512;

/// A file.
#[derive(Debug, Default)]
pub(super) struct PageCache {
    /// What readers see, rot aside.
    data: Vec<u8>,
    durable_length: u64,
    dirty: Images,
    syncing: Option<Syncing>,
    phantom: Images,
    /// The last write, if nothing was synced since.
    last_write: Option<LastWrite>,
    /// Bytes that read otherwise than they were written: bit rot and misdirected writes. The pristine ones are in `data`.
    rot: BTreeMap<u64, u8>,
    /// The first byte that may read otherwise than when an oracle looked last; 0 before it ever did.
    changed_from: u64,
}

type Images = BTreeMap<u64, Vec<u8>>;

#[derive(Debug)]
struct Syncing {
    images: Images,
    length: u64,
}

#[derive(Debug)]
struct LastWrite {
    position: u64,
    end: u64,
    /// What stood there before, as far as the file reached, and where it ended.
    overwritten: Vec<u8>,
    old_length: u64,
}

fn at(position: u64) -> usize {
    usize::try_from(position).expect("simulated files fit into memory")
}

impl PageCache {
    /// The length that readers see.
    pub(super) fn length(&self) -> u64 {
        self.data.len() as u64
    }

    /// What readers see: fewer than `length` bytes only at the end.
    pub(super) fn read(&self, position: u64, length: usize) -> Vec<u8> {
        let start = at(position.min(self.length()));
        let end = start.saturating_add(length).min(self.data.len());
        let mut bytes = self.data[start..end].to_vec();
        for (&position, &byte) in self.rot.range(start as u64..end as u64) {
            bytes[at(position) - start] = byte;
        }
        bytes
    }

    /// Writes, and makes the file longer where needed; a hole reads as zeros.
    pub(super) fn write(&mut self, position: u64, slices: &[impl AsRef<[u8]>]) {
        let length: u64 = slices.iter().map(|slice| slice.as_ref().len() as u64).sum();
        let (end, old_length) = (position + length, self.length());
        let overwritten = self.data[at(position.min(old_length))..at(end.min(old_length))].to_vec();
        self.make_dirty(position.min(old_length), end);
        self.changes(position.min(old_length));
        if end > old_length {
            self.grow_to(at(end));
            // Appends, the common case, fill what they extend at once.
            self.data.resize(at(position.max(old_length)), 0);
        }
        let mut position_now = at(position);
        for slice in slices {
            let slice = slice.as_ref();
            let inside = slice.len().min(self.data.len() - position_now);
            self.data[position_now..position_now + inside].copy_from_slice(&slice[..inside]);
            self.data.extend_from_slice(&slice[inside..]);
            position_now += slice.len();
        }
        self.forget_rot(position, end);
        self.last_write = Some(LastWrite { position, end, overwritten, old_length });
    }

    /// Makes room for `length` bytes, and an eighth more: files are most of what a run holds, and twice as much is too much.
    fn grow_to(&mut self, length: usize) {
        if length > self.data.capacity() {
            self.data.reserve_exact(length + length / 8 - self.data.len());
        }
    }

    /// Cuts the file, or extends it with zeros.
    pub(super) fn set_len(&mut self, length: u64) {
        let old_length = self.length();
        self.make_dirty(length.min(old_length), length.max(old_length));
        self.changes(length.min(old_length));
        self.data.resize(at(length), 0);
        self.forget_rot(length, u64::MAX);
        self.last_write = None;
    }

    fn changes(&mut self, from: u64) {
        self.changed_from = self.changed_from.min(from);
    }

    /// An oracle looks: the first byte that may read otherwise than when it looked last, and below which byte everything is
    /// durable as it is read.
    pub(super) fn look(&mut self) -> (Option<usize>, usize) {
        let before = std::mem::replace(&mut self.changed_from, u64::MAX);
        let changed = (before != u64::MAX).then(|| at(before));
        let syncing = self.syncing.iter().flat_map(|syncing| &syncing.images);
        let first_of = |images: &Images| images.first_key_value().map(|(block, _)| *block);
        let blocks = [
            first_of(&self.dirty),
            first_of(&self.phantom),
            syncing.map(|(block, _)| *block).next(),
        ];
        let clean = blocks.into_iter().flatten().map(|block| block * BLOCK).min();
        let clean = clean.unwrap_or(u64::MAX).min(self.length()).min(self.durable_length);
        (changed, if self.rot.is_empty() { at(clean) } else { 0 })
    }

    fn forget_rot(&mut self, from: u64, to: u64) {
        if !self.rot.is_empty() {
            self.rot.retain(|position, _| !(from..to).contains(position));
        }
    }

    /// Keeps the durable content of the blocks in `from..to` before they change.
    fn make_dirty(&mut self, from: u64, to: u64) {
        if from == to {
            return;
        }
        for block in from / BLOCK..to.div_ceil(BLOCK) {
            if self.dirty.contains_key(&block) {
                continue;
            }
            let image = self.phantom.remove(&block).unwrap_or_else(|| {
                let start = at(block * BLOCK).min(self.data.len());
                let end = at((block + 1) * BLOCK).min(self.data.len());
                self.data[start..end].to_vec()
            });
            self.dirty.insert(block, image);
        }
    }

    /// Whether a sync is under way.
    pub(super) fn is_syncing(&self) -> bool {
        self.syncing.is_some()
    }

    /// A sync begins: it will make durable what is there now.
    pub(super) fn sync_begins(&mut self) {
        assert!(self.syncing.is_none(), "one sync at a time");
        let length = self.length();
        self.syncing = Some(Syncing { images: std::mem::take(&mut self.dirty), length });
    }

    /// The sync under way has ended well. What was written after its begin stays dirty.
    pub(super) fn sync_ends(&mut self) {
        let syncing = self.syncing.take().expect("a sync is under way");
        self.durable_length = syncing.length;
        if self.dirty.is_empty() {
            self.last_write = None;
        }
    }

    /// The sync under way has failed: the kernel drops what was dirty, and will never write it.
    pub(super) fn sync_fails(&mut self) {
        let syncing = self.syncing.take().expect("a sync is under way");
        for (block, image) in syncing.images {
            match self.dirty.get_mut(&block) {
                Some(newer) => *newer = image,
                None => drop(self.phantom.entry(block).or_insert(image)),
            }
        }
        self.last_write = None;
    }

    /// How many blocks are not durable.
    pub(super) fn unsynced_blocks(&self) -> usize {
        let syncing = self.syncing.as_ref().map_or(0, |syncing| syncing.images.len());
        self.dirty.len() + self.phantom.len() + syncing
    }

    /// What a power loss now, in the harshest mode, would leave from `position` on. For oracles.
    pub(super) fn durable(&self, position: u64) -> Vec<u8> {
        if position >= self.durable_length {
            return Vec::new();
        }
        // Whole blocks.
        let (first, skipped) = (position / BLOCK, at(position % BLOCK));
        let start = first * BLOCK;
        let mut data = self.data.get(at(start)..).unwrap_or_default().to_vec();
        data.resize(data.len().max(at(self.durable_length - start)), 0);
        let syncing = self.syncing.iter().flat_map(|syncing| &syncing.images);
        for (&block, image) in self.dirty.iter().chain(syncing).chain(&self.phantom) {
            if block >= first {
                restore(&mut data, block - first, image);
            }
        }
        data.resize(at(self.durable_length - start), 0);
        data.drain(..skipped);
        data
    }

    /// Loses power: afterwards what readers see is what is durable.
    pub(super) fn lose_power(&mut self, mode: PowerLossMode, draw: &mut Draw) -> FileLoss {
        let before = self.data.clone();
        self.changes(0);
        let mut torn = false;
        if mode == PowerLossMode::TornLastWrite {
            torn = self.tear_last_write(draw);
        }
        let syncing = self.syncing.take();
        let (durable_length, old_length) = (self.durable_length, self.length());
        let mut written = BTreeSet::new();
        let keeps = |draw: &mut Draw| match mode {
            PowerLossMode::KeepAll | PowerLossMode::TornLastWrite => true,
            PowerLossMode::LoseUnsynced => false,
            PowerLossMode::LoseRandomUnsynced => draw.chance(500_000),
        };
        self.data.resize(at(old_length.max(durable_length)), 0);
        for (block, image) in std::mem::take(&mut self.dirty) {
            if keeps(draw) {
                written.insert(block);
            } else {
                restore(&mut self.data, block, &image);
            }
        }
        for (block, image) in syncing.map(|syncing| syncing.images).unwrap_or_default() {
            if !written.contains(&block) && !keeps(draw) {
                restore(&mut self.data, block, &image);
            } else {
                written.insert(block);
            }
        }
        for (block, image) in std::mem::take(&mut self.phantom) {
            restore(&mut self.data, block, &image);
        }
        let length = match mode {
            PowerLossMode::KeepAll | PowerLossMode::TornLastWrite => old_length,
            PowerLossMode::LoseUnsynced => durable_length,
            PowerLossMode::LoseRandomUnsynced if old_length < durable_length => {
                if draw.chance(500_000) { old_length } else { durable_length }
            }
            PowerLossMode::LoseRandomUnsynced => {
                // The length reaches as far as the last block that was written.
                let reached = written.last().map_or(0, |block| (block + 1) * BLOCK);
                reached.min(old_length).max(durable_length)
            }
        };
        self.data.resize(at(length), 0);
        self.durable_length = length;
        self.last_write = None;
        self.forget_rot(length, u64::MAX);
        FileLoss { bytes_lost: difference(&before, &self.data), torn }
    }

    /// Lets only a prefix, in whole sectors, of the last write be there. False where there is no unsynced write.
    fn tear_last_write(&mut self, draw: &mut Draw) -> bool {
        let Some(last) = self.last_write.take() else { return false };
        let length = self.length();
        if last.end <= last.position || last.end > length {
            return false;
        }
        let first_sector = last.position / SECTOR;
        let sectors = last.end.div_ceil(SECTOR) - first_sector;
        // Never the whole write: at least its last sector is missing.
        let cut = ((first_sector + draw.below(sectors)) * SECTOR).clamp(last.position, last.end);
        let kept = at(cut - last.position);
        for position in cut..last.end {
            let old = last.overwritten.get(at(position - last.position)).copied();
            self.data[at(position)] = old.unwrap_or(0);
        }
        assert!(kept <= at(last.end - last.position), "the cut lies in the write");
        // The file's new length may have been written before its bytes, or not.
        if last.end > last.old_length && last.end == length && draw.chance(500_000) {
            self.data.truncate(at(cut.max(last.old_length)));
        }
        true
    }

    /// Lets the byte at `position` read as `byte`, until it is written again or the rot is lifted. False beyond the end.
    pub(super) fn rot_byte(&mut self, position: u64, byte: u8) -> bool {
        if position >= self.length() {
            return false;
        }
        self.rot.insert(position, byte);
        self.changes(position);
        true
    }

    /// Whether any of these bytes reads otherwise than it was written.
    pub(super) fn is_rotten(&self, position: u64, length: usize) -> bool {
        self.rot.range(position..position.saturating_add(length as u64)).next().is_some()
    }

    /// The byte that was written at `position`, whatever it reads as.
    pub(super) fn pristine_byte(&self, position: u64) -> Option<u8> {
        self.data.get(at(position)).copied()
    }

    /// What was written is read again.
    pub(super) fn lift_rot(&mut self) -> bool {
        let first = self.rot.first_key_value().map(|(position, _)| *position);
        self.changes(first.unwrap_or(u64::MAX));
        !std::mem::take(&mut self.rot).is_empty()
    }

    /// Writes, but lets readers see the bytes at `wrong` and what stood there before at `position`.
    pub(super) fn write_misdirected(&mut self, position: u64, wrong: u64, bytes: &[u8]) {
        let mut old = self.read(position, bytes.len());
        old.resize(bytes.len(), 0);
        self.write(position, &[bytes]);
        for (index, (&old, &new)) in old.iter().zip(bytes).enumerate() {
            self.rot_byte(position + index as u64, old);
            self.rot_byte(wrong + index as u64, new);
        }
    }
}

/// Puts a block back to what it was.
fn restore(data: &mut [u8], block: u64, image: &[u8]) {
    let start = at(block * BLOCK).min(data.len());
    let end = at((block + 1) * BLOCK).min(data.len());
    let block = &mut data[start..end];
    let kept = image.len().min(block.len());
    block[..kept].copy_from_slice(&image[..kept]);
    block[kept..].fill(0);
}

/// How many bytes of `before` are not in `after`.
fn difference(before: &[u8], after: &[u8]) -> u64 {
    let changed = before.iter().zip(after).filter(|(before, after)| before != after).count();
    (changed + before.len().saturating_sub(after.len())) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(durable: &[u8], unsynced: &[u8]) -> PageCache {
        let mut file = PageCache::default();
        file.write(0, &[durable]);
        file.sync_begins();
        file.sync_ends();
        file.write(durable.len() as u64, &[unsynced]);
        file
    }

    fn lose(mut file: PageCache, mode: PowerLossMode, seed: u64) -> (Vec<u8>, FileLoss) {
        let loss = file.lose_power(mode, &mut Draw::new(seed, "test"));
        (file.read(0, usize::MAX), loss)
    }

    #[test]
    fn unsynced_bytes_are_lost_and_synced_ones_are_not() {
        let (left, loss) = lose(file(b"durable", b"lost"), PowerLossMode::LoseUnsynced, 1);
        assert_eq!((left.as_slice(), loss.bytes_lost), (&b"durable"[..], 4));
        let (left, loss) = lose(file(b"durable", b"kept"), PowerLossMode::KeepAll, 1);
        assert_eq!((left.as_slice(), loss.bytes_lost), (&b"durablekept"[..], 0));
    }

    #[test]
    fn an_unsynced_overwrite_and_an_unsynced_cut_are_undone() {
        let mut file = file(&[7; 10_000], b"");
        file.write(4_000, &[[1u8; 200]]);
        file.set_len(5_000);
        assert!(file.durable(0) == vec![7; 10_000]);
        assert!(lose(file, PowerLossMode::LoseUnsynced, 1).0 == vec![7; 10_000]);
    }

    #[test]
    fn random_loss_keeps_some_blocks_and_not_others() {
        let unsynced = vec![1u8; 40 * 4096];
        let mut seen_hole = false;
        for seed in 0..20 {
            let (left, loss) =
                lose(file(&[2; 4096], &unsynced), PowerLossMode::LoseRandomUnsynced, seed);
            assert!(left.starts_with(&[2; 4096]) && left.len() <= 41 * 4096);
            let there = left.iter().filter(|byte| **byte != 0).count();
            assert_eq!(loss.bytes_lost, (41 * 4096 - there) as u64);
            for block in left[4096..].chunks(4096) {
                assert!(block.iter().all(|b| *b == block[0]), "a block goes or stays whole");
            }
            seen_hole |= left.contains(&0);
        }
        assert!(seen_hole);
    }

    #[test]
    fn a_torn_write_loses_its_end_in_whole_sectors_and_nothing_else() {
        for seed in 0..50 {
            let mut torn = file(b"durable", &[1; 1_000]);
            torn.write(1_007, &[[3u8; 3_000]]);
            let (left, loss) = lose(torn, PowerLossMode::TornLastWrite, seed);
            assert!(loss.torn);
            assert_eq!(&left[7..1_007], &[1; 1_000], "an earlier unsynced write is there");
            let kept = left[1_007..].iter().take_while(|b| **b == 3).count();
            assert!(kept < 3_000 && (kept == 0 || (1_007 + kept) % 512 == 0), "{kept}");
            assert!(left[1_007 + kept..].iter().all(|b| *b == 0));
        }
    }

    #[test]
    fn a_failed_sync_drops_the_pages_and_the_next_one_does_not_bring_them_back() {
        let mut file = file(b"durable", b"dropped");
        file.sync_begins();
        file.sync_fails();
        assert_eq!(file.read(0, 100), b"durabledropped", "readable until the power goes");
        file.sync_begins();
        file.sync_ends();
        let (left, _) = lose(file, PowerLossMode::KeepAll, 1);
        assert_eq!(left, b"durable\0\0\0\0\0\0\0");
    }

    #[test]
    fn a_page_dropped_by_a_failed_sync_is_durable_again_once_rewritten_and_synced() {
        let mut file = file(b"durable", b"dropped");
        file.sync_begins();
        file.sync_fails();
        file.write(14, &[b"!"]);
        file.sync_begins();
        file.sync_ends();
        assert_eq!(lose(file, PowerLossMode::LoseUnsynced, 1).0, b"durabledropped!");
    }

    #[test]
    fn what_is_written_while_a_sync_runs_is_not_covered_by_it() {
        let mut file = file(b"a", b"b");
        file.sync_begins();
        file.write(2, &[b"c"]);
        file.write(0, &[b"A"]);
        file.sync_ends();
        assert_eq!(lose(file, PowerLossMode::LoseUnsynced, 1).0, b"ab");
    }

    #[test]
    fn a_power_loss_during_a_sync_may_lose_or_keep_what_it_was_writing() {
        let lengths: BTreeSet<usize> = (0..20)
            .map(|seed| {
                let mut file = file(b"a", b"b");
                file.sync_begins();
                lose(file, PowerLossMode::LoseRandomUnsynced, seed).0.len()
            })
            .collect();
        assert_eq!(lengths.into_iter().collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn rot_is_read_until_it_is_lifted_or_written_over() {
        let mut file = file(b"pristine", b"");
        assert!(file.rot_byte(0, b'P') && file.rot_byte(1, b'R') && !file.rot_byte(8, 0));
        assert_eq!(file.read(0, 100), b"PRistine");
        file.write(1, &[b"r"]);
        assert_eq!(file.read(0, 100), b"Pristine");
        assert!(file.lift_rot());
        assert_eq!(file.read(0, 100), b"pristine");
    }

    #[test]
    fn a_misdirected_write_is_read_elsewhere_until_it_is_lifted() {
        let mut file = file(b"0123456789", b"");
        file.write_misdirected(8, 2, b"xyz");
        assert_eq!(file.read(0, 100), b"01xyz56789\0");
        assert!(file.lift_rot());
        assert_eq!(file.read(0, 100), b"01234567xyz");
    }

    #[test]
    fn what_an_oracle_reads_again_is_all_that_changed_and_all_that_is_not_durable() {
        for seed in 0..60 {
            let mut draw = Draw::new(seed, "test");
            let mut file = PageCache::default();
            let mut seen = Vec::new();
            for _ in 0..80 {
                let length = file.length();
                match draw.below(9) {
                    0..=3 => file.write(length, &[vec![7u8; at(draw.below(5_000))]]),
                    4 => file.write(draw.below(length + 1), &[vec![8u8; at(draw.below(3_000))]]),
                    5 => file.set_len(draw.below(length + 2_000)),
                    6 if !file.is_syncing() => file.sync_begins(),
                    6 if draw.chance(500_000) => file.sync_ends(),
                    6 => file.sync_fails(),
                    7 => assert!(file.rot_byte(draw.below(length), 9) || length == 0),
                    _ if draw.chance(300_000) => {
                        let _ = file.lift_rot();
                    }
                    _ if draw.chance(300_000) => {
                        let _ = file.lose_power(PowerLossMode::LoseRandomUnsynced, &mut draw);
                    }
                    _ => {
                        let (first, durable_below) = file.look();
                        let from = first.map_or(seen.len(), |first| first.min(seen.len()));
                        seen.truncate(from);
                        seen.extend(file.read(from as u64, usize::MAX));
                        let durable = file.durable(0);
                        assert_eq!(seen, file.read(0, usize::MAX), "seed {seed}");
                        assert_eq!(seen[..durable_below], durable[..durable_below], "seed {seed}");
                    }
                }
                let durable = file.durable(0);
                let from = draw.below(durable.len() as u64 + 2);
                let rest = durable.get(at(from)..).unwrap_or_default();
                assert_eq!(file.durable(from), rest, "seed {seed}");
            }
        }
    }
}
