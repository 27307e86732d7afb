//! Which partitions concern a broker, so that its coming and going costs as much as it changes, not a walk over all partitions.
//!
//! Follows the image record by record; says nothing that the image does not say.
//!
//! Kafka: `BrokersToIsrs`, `BrokersToElrs`, and `ReplicationControlManager`'s `imbalancedPartitions` and `reassigningTopics`.

use std::collections::{BTreeMap, BTreeSet};

use crate::metadata::{MetadataImage, PartitionImage};
use crate::types::{BrokerId, TopicIdPartition};

type Partitions = BTreeSet<TopicIdPartition>;

/// Partitions by what makes somebody look for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PartitionIndex {
    /// By each broker in sync.
    isr: BTreeMap<BrokerId, Partitions>,
    /// By each eligible broker.
    eligible: BTreeMap<BrokerId, Partitions>,
    /// How many each broker leads.
    leaderships: BTreeMap<BrokerId, usize>,
    /// Those that nobody leads.
    leaderless: Partitions,
    /// How many each broker is the preferred leader of.
    preferred: BTreeMap<BrokerId, usize>,
    /// By the preferred leader, those that it does not lead.
    imbalanced: BTreeMap<BrokerId, Partitions>,
    /// Those with a reassignment under way.
    reassigning: Partitions,
}

impl PartitionIndex {
    /// The index of every partition of `image`.
    pub(super) fn new(image: &MetadataImage) -> Self {
        let mut index = Self::default();
        for topic in image.topics_by_id() {
            for (partition, state) in &topic.partitions {
                let name = TopicIdPartition { topic_id: topic.topic_id, partition: *partition };
                index.add(name, state);
            }
        }
        index
    }

    /// A partition has this state from now on.
    pub(super) fn add(&mut self, name: TopicIdPartition, partition: &PartitionImage) {
        for broker in &partition.isr {
            self.isr.entry(*broker).or_default().insert(name);
        }
        for broker in &partition.eligible_leader_replicas {
            self.eligible.entry(*broker).or_default().insert(name);
        }
        match partition.leader {
            Some(leader) => *self.leaderships.entry(leader).or_default() += 1,
            None => _ = self.leaderless.insert(name),
        }
        if let Some(preferred) = partition.replicas.first() {
            *self.preferred.entry(*preferred).or_default() += 1;
            if partition.leader != Some(*preferred) {
                self.imbalanced.entry(*preferred).or_default().insert(name);
            }
        }
        if is_reassigning(partition) {
            self.reassigning.insert(name);
        }
    }

    /// A partition had this state, and has it no longer.
    pub(super) fn remove(&mut self, name: TopicIdPartition, partition: &PartitionImage) {
        for broker in &partition.isr {
            take(&mut self.isr, *broker, name);
        }
        for broker in &partition.eligible_leader_replicas {
            take(&mut self.eligible, *broker, name);
        }
        match partition.leader {
            Some(leader) => count_down(&mut self.leaderships, leader),
            None => _ = self.leaderless.remove(&name),
        }
        if let Some(preferred) = partition.replicas.first() {
            count_down(&mut self.preferred, *preferred);
            if partition.leader != Some(*preferred) {
                take(&mut self.imbalanced, *preferred, name);
            }
        }
        if is_reassigning(partition) {
            self.reassigning.remove(&name);
        }
    }

    /// Those that `broker` is in sync for.
    pub(super) fn in_sync(&self, broker: BrokerId) -> impl Iterator<Item = TopicIdPartition> {
        self.isr.get(&broker).into_iter().flatten().copied()
    }

    /// Those that `broker` is in sync or eligible for.
    pub(super) fn candidate(&self, broker: BrokerId) -> impl Iterator<Item = TopicIdPartition> {
        let eligible = self.eligible.get(&broker).into_iter().flatten().copied();
        // Nobody is both.
        self.in_sync(broker).chain(eligible)
    }

    /// Whether `broker` leads any.
    pub(super) fn leads_something(&self, broker: BrokerId) -> bool {
        self.leaderships.contains_key(&broker)
    }

    /// Those that nobody leads.
    pub(super) fn leaderless(&self) -> impl Iterator<Item = TopicIdPartition> {
        self.leaderless.iter().copied()
    }

    /// Those with a reassignment under way.
    pub(super) fn reassigning(&self) -> impl Iterator<Item = TopicIdPartition> {
        self.reassigning.iter().copied()
    }

    /// Those that their preferred leader does not lead, of each preferred leader that misses more than `percentage` percent of what
    /// it should lead.
    pub(super) fn imbalanced(&self, percentage: u32) -> impl Iterator<Item = TopicIdPartition> {
        let too_many = move |(broker, missing): &(&BrokerId, &Partitions)| {
            let total = self.preferred.get(broker).copied().unwrap_or(0) as u64;
            missing.len() as u64 * 100 > total * u64::from(percentage)
        };
        self.imbalanced.iter().filter(too_many).flat_map(|(_, missing)| missing.iter().copied())
    }
}

fn is_reassigning(partition: &PartitionImage) -> bool {
    !partition.adding_replicas.is_empty() || !partition.removing_replicas.is_empty()
}

/// Empty entries are removed, so that equal contents are equal indexes.
fn take(index: &mut BTreeMap<BrokerId, Partitions>, broker: BrokerId, name: TopicIdPartition) {
    let partitions = index.get_mut(&broker).expect("what is removed was added");
    assert!(partitions.remove(&name), "what is removed was added");
    if partitions.is_empty() {
        index.remove(&broker);
    }
}

fn count_down(counts: &mut BTreeMap<BrokerId, usize>, broker: BrokerId) {
    let count = counts.get_mut(&broker).expect("what is removed was added");
    *count -= 1;
    if *count == 0 {
        counts.remove(&broker);
    }
}
