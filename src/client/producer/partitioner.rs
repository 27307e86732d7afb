//! Which partition a record goes to (pure).
//!
//! Kafka: `BuiltInPartitioner`, `RoundRobinPartitioner`, `Utils.murmur2`; KIP-480, KIP-794.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::RngExt;
use rand::rngs::StdRng;

use super::PartitionerKind;
use crate::types::PartitionIndex;

/// Austin Appleby's MurmurHash2, 32 bits, with Kafka's seed: what a key's partition is computed from, in every client.
#[must_use]
pub(crate) fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const MIX: u32 = 0x5bd1_e995;
    const SHIFT: u32 = 24;
    let length = u32::try_from(data.len()).expect("keys are smaller than 2^31 bytes");
    let mut hash = SEED ^ length;
    let mut chunks = data.chunks_exact(4);
    for chunk in &mut chunks {
        let word: [u8; 4] = chunk.try_into().expect("four bytes");
        let mut word = u32::from_le_bytes(word).wrapping_mul(MIX);
        word = (word ^ (word >> SHIFT)).wrapping_mul(MIX);
        hash = hash.wrapping_mul(MIX) ^ word;
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        for (index, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * index);
        }
        hash = hash.wrapping_mul(MIX);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(MIX);
    hash ^ (hash >> 15)
}

/// The partition of a key among `partitions`, at least one.
pub(crate) fn partition_for_key(key: &[u8], partitions: u32) -> PartitionIndex {
    index((murmur2(key) & 0x7fff_ffff) % partitions)
}

fn index(number: u32) -> PartitionIndex {
    PartitionIndex::new(i32::try_from(number).expect("partition counts are below 2^31"))
}

/// What the choice among a topic's partitions takes into account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PartitionLoad {
    /// Whether it has a leader.
    pub(super) available: bool,
    /// Batches that wait to be sent to it.
    pub(super) queued: u32,
}

/// The partition that records without key stick to.
#[derive(Clone, Copy, Debug)]
struct Sticky {
    partition: PartitionIndex,
    bytes: usize,
}

/// How partitions are chosen.
#[derive(Clone, Copy, Debug)]
pub(super) struct PartitionerOptions {
    /// `partitioner`.
    pub(super) kind: PartitionerKind,
    /// `partitioner.ignore.keys`: what has a key is as what has none.
    pub(super) ignore_keys: bool,
    /// `partitioner.adaptive.partitioning.enable`: short queues are chosen more often.
    pub(super) is_adaptive: bool,
    /// Bytes after which another partition is chosen, at least one: `batch.size`.
    pub(super) sticky_bytes: usize,
}

/// Chooses partitions, each topic by itself.
#[derive(Debug)]
pub(super) struct Partitioner {
    options: PartitionerOptions,
    rng: StdRng,
    sticky: BTreeMap<Arc<str>, Sticky>,
    next: BTreeMap<Arc<str>, u32>,
}

impl Partitioner {
    pub(super) fn new(options: PartitionerOptions, rng: StdRng) -> Self {
        Self { options, rng, sticky: BTreeMap::new(), next: BTreeMap::new() }
    }

    /// The partition of a record that names none. `loads` tells of all partitions of the topic, at least one; it is asked
    /// only where the choice depends on it.
    pub(super) fn choose(
        &mut self,
        topic: &Arc<str>,
        key: Option<&[u8]>,
        partitions: u32,
        loads: impl FnOnce() -> Vec<PartitionLoad>,
    ) -> PartitionIndex {
        assert!(partitions > 0, "a known topic has partitions");
        match (self.options.kind, key) {
            (PartitionerKind::Sticky, Some(key)) if !self.options.ignore_keys => {
                partition_for_key(key, partitions)
            }
            (PartitionerKind::Key, key) => partition_for_key(key.unwrap_or_default(), partitions),
            (PartitionerKind::Sticky, _) => self.stick(topic, partitions, loads),
            (PartitionerKind::RoundRobin, _) => self.next_in_turn(topic, &loads()),
            (PartitionerKind::Random, _) => index(self.rng.random_range(0..partitions)),
        }
    }

    /// Counts what was appended, so that a record without key goes elsewhere once a batch's worth is there.
    pub(super) fn on_appended(
        &mut self,
        topic: &Arc<str>,
        partition: PartitionIndex,
        bytes: usize,
    ) {
        if let Some(sticky) = self.sticky.get_mut(topic)
            && sticky.partition == partition
        {
            sticky.bytes += bytes;
        }
    }

    fn stick(
        &mut self,
        topic: &Arc<str>,
        partitions: u32,
        loads: impl FnOnce() -> Vec<PartitionLoad>,
    ) -> PartitionIndex {
        if let Some(sticky) = self.sticky.get(topic)
            && sticky.bytes < self.options.sticky_bytes
            && sticky.partition.value().unsigned_abs() < partitions
        {
            return sticky.partition;
        }
        let partition = self.draw_by_load(&loads());
        self.sticky.insert(topic.clone(), Sticky { partition, bytes: 0 });
        partition
    }

    /// Draws a partition, one with a short queue more often than one with a long queue (KIP-794: the weight is the longest
    /// queue plus one, less its own); any as often as any other unless that is wished. Partitions without leader only where there
    /// are no others.
    fn draw_by_load(&mut self, loads: &[PartitionLoad]) -> PartitionIndex {
        let any_available = loads.iter().any(|load| load.available);
        let is_adaptive = self.options.is_adaptive;
        let queued = |load: &PartitionLoad| if is_adaptive { load.queued } else { 0 };
        let longest = loads.iter().map(queued).max().unwrap_or(0);
        let weight = |load: &PartitionLoad| -> u64 {
            let counts = load.available || !any_available;
            if counts { u64::from(longest) + 1 - u64::from(queued(load)) } else { 0 }
        };
        let total: u64 = loads.iter().map(weight).sum();
        let mut drawn = self.rng.random_range(0..total);
        for (number, load) in (0u32..).zip(loads) {
            let weight = weight(load);
            if drawn < weight {
                return index(number);
            }
            drawn -= weight;
        }
        unreachable!("the weights add up to the total")
    }

    fn next_in_turn(&mut self, topic: &Arc<str>, loads: &[PartitionLoad]) -> PartitionIndex {
        let next = self.next.entry(topic.clone()).or_insert(0);
        let turn = *next;
        *next = next.wrapping_add(1);
        let numbers: Vec<u32> =
            (0u32..).zip(loads).filter(|(_, l)| l.available).map(|(n, _)| n).collect();
        let all = u32::try_from(loads.len()).expect("partition counts are below 2^31");
        match u32::try_from(numbers.len()).expect("partition counts are below 2^31") {
            0 => index(turn % all),
            available => index(numbers[(turn % available) as usize]),
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn free(count: usize) -> Vec<PartitionLoad> {
        vec![PartitionLoad { available: true, queued: 0 }; count]
    }

    fn partitioner(kind: PartitionerKind) -> Partitioner {
        let (ignore_keys, is_adaptive, sticky_bytes) = (false, true, 100);
        let options = PartitionerOptions { kind, ignore_keys, is_adaptive, sticky_bytes };
        Partitioner::new(options, StdRng::seed_from_u64(7))
    }

    #[test]
    fn murmur2_agrees_with_kafkas_vectors() {
        // Kafka: `UtilsTest.testMurmur2`.
        let vectors: [(&[u8], i32); 6] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            (b"abc", 479_470_107),
        ];
        for (key, expected) in vectors {
            assert_eq!(murmur2(key).cast_signed(), expected);
        }
    }

    #[test]
    fn equal_keys_go_to_one_partition() {
        let topic: Arc<str> = "t".into();
        for kind in [PartitionerKind::Sticky, PartitionerKind::Key] {
            let mut partitioner = partitioner(kind);
            let first = partitioner.choose(&topic, Some(b"21"), 3, || free(3));
            // Bit 31 is cut off, not the sign turned: −973932308 & 0x7fffffff = 1173551340.
            assert_eq!(first.value(), 1_173_551_340 % 3);
            assert_eq!(first, partitioner.choose(&topic, Some(b"21"), 3, || free(3)));
        }
    }

    #[test]
    fn records_without_key_stick_until_a_batch_is_full_and_reach_all_partitions() {
        let topic: Arc<str> = "t".into();
        let mut partitioner = partitioner(PartitionerKind::Sticky);
        let mut counts = [0; 3];
        for _ in 0..300 {
            let chosen = partitioner.choose(&topic, None, 3, || free(3));
            partitioner.on_appended(&topic, chosen, 60);
            assert_eq!(chosen, partitioner.choose(&topic, None, 3, || free(3)));
            partitioner.on_appended(&topic, chosen, 60);
            counts[chosen.value().unsigned_abs() as usize] += 1;
        }
        assert!(counts.iter().all(|count| *count > 70), "{counts:?}");
    }

    #[test]
    fn partitions_without_leader_or_with_long_queues_are_avoided() {
        let topic: Arc<str> = "t".into();
        let mut partitioner = partitioner(PartitionerKind::Sticky);
        let loads = [(false, 0), (true, 9), (true, 0)]
            .map(|(available, queued)| PartitionLoad { available, queued });
        let chosen_of = |partitioner: &mut Partitioner| {
            let mut counts = [0; 3];
            for _ in 0..1_100 {
                let chosen = partitioner.choose(&topic, None, 3, || loads.to_vec());
                partitioner.on_appended(&topic, chosen, 100);
                counts[chosen.value().unsigned_abs() as usize] += 1;
            }
            counts
        };
        let counts = chosen_of(&mut partitioner);
        assert_eq!(counts[0], 0);
        assert!((50..200).contains(&counts[1]), "one in eleven: {counts:?}");
        partitioner.options.is_adaptive = false;
        let counts = chosen_of(&mut partitioner);
        assert_eq!(counts[0], 0);
        assert!((450..650).contains(&counts[1]), "every other one: {counts:?}");
    }

    #[test]
    fn random_goes_anywhere_whatever_the_key() {
        let topic: Arc<str> = "t".into();
        let mut partitioner = partitioner(PartitionerKind::Random);
        let mut counts = [0; 3];
        for _ in 0..900 {
            let chosen = partitioner.choose(&topic, Some(b"k"), 3, || free(3));
            counts[chosen.value().unsigned_abs() as usize] += 1;
        }
        assert!(counts.iter().all(|count| (200..400).contains(count)), "{counts:?}");
    }

    #[test]
    fn round_robin_takes_turns_among_the_available() {
        let topic: Arc<str> = "t".into();
        let mut partitioner = partitioner(PartitionerKind::RoundRobin);
        let mut loads = free(3);
        loads[1].available = false;
        let chosen: Vec<i32> = (0..4)
            .map(|_| partitioner.choose(&topic, Some(b"k"), 3, || loads.clone()).value())
            .collect();
        assert_eq!(chosen, [0, 2, 0, 2]);
    }
}
