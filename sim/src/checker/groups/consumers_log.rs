//! The oracle's own reader of what a coordinator's log says of groups of the consumer protocol (KIP-848): written from the format alone,
//! as [`super::offsets_log`] is.
//!
//! Kafka: `group-coordinator/src/main/resources/common/message/ConsumerGroup*.json`.

use std::collections::{BTreeMap, BTreeSet};

use ottla::types::{GenerationId, PartitionIndex, ShortName, TopicIdPartition, Uuid};

use super::offsets_log::{Input, Unreadable};
use crate::checker::ghost::consumer_groups::{Held, LoadedConsumer, LoadedConsumers};

/// What the records of a group add up to. Each is a part, which comes and goes on its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ConsumersFold {
    epoch: Option<i32>,
    target_epoch: Option<i32>,
    /// The members, and the names of the static ones.
    members: BTreeMap<String, Option<String>>,
    /// What each is to have.
    targets: BTreeMap<String, BTreeSet<TopicIdPartition>>,
    /// What each has on its way there.
    currents: BTreeMap<String, Current>,
    /// Regular expressions, and the topics' metadata as before KIP-1101: nothing is told of them, but where there are any the group is.
    others: BTreeSet<Option<String>>,
}

/// A member's epoch, 0 before the first and less where it is away, and what it may read.
type Current = (i32, BTreeMap<TopicIdPartition, Held>);

impl ConsumersFold {
    /// Whether a record of this kind is of a group of the consumer protocol.
    pub(super) const fn is_of_one(kind: i16) -> bool {
        matches!(kind, 3..=8 | 16)
    }

    /// Adds a record of such a kind; of the key the group was read.
    ///
    /// Errors: it is not of the format.
    pub(super) fn add(
        &mut self,
        kind: i16,
        key: &mut Input<'_>,
        value: Option<&[u8]>,
    ) -> Result<(), Unreadable> {
        let value = value.map(value_of).transpose()?;
        match kind {
            3 => self.epoch = value.map(|mut value| value.i32()).transpose()?,
            6 => self.target_epoch = value.map(|mut value| value.i32()).transpose()?,
            5 => {
                let instance =
                    value.map(|mut value| value.compact_nullable_string()).transpose()?;
                set(&mut self.members, key.string()?, instance);
            }
            7 => {
                let target = value.map(|mut value| target(&mut value)).transpose()?;
                set(&mut self.targets, key.string()?, target);
            }
            8 => {
                let current = value.map(|mut value| current(&mut value)).transpose()?;
                set(&mut self.currents, key.string()?, current);
            }
            _ => {
                let of = if kind == 16 { Some(key.string()?) } else { None };
                match value {
                    Some(_) => _ = self.others.insert(of),
                    None => _ = self.others.remove(&of),
                }
            }
        }
        Ok(())
    }

    /// What a coordinator is to make of it: parts of somebody who is no member are nothing.
    pub(super) fn sum(&self) -> LoadedConsumers {
        let member = |id: &str, instance: Option<&str>| {
            let (epoch, has) = self.currents.get(id).cloned().unwrap_or_default();
            LoadedConsumer {
                instance: instance.map(ShortName::of),
                epoch: GenerationId::from_wire(epoch).filter(|it| *it != GenerationId::ZERO),
                target: self.targets.get(id).cloned().unwrap_or_default(),
                has,
            }
        };
        let members = self.members.iter();
        let epoch = |number: Option<i32>| number.and_then(GenerationId::from_wire);
        LoadedConsumers {
            epoch: epoch(self.epoch).unwrap_or_default(),
            target_epoch: epoch(self.target_epoch).unwrap_or_default(),
            members: members
                .map(|(id, instance)| (ShortName::of(id), member(id, instance.as_deref())))
                .collect(),
        }
    }
}

fn set<T>(parts: &mut BTreeMap<String, T>, member: String, part: Option<T>) {
    match part {
        Some(part) => _ = parts.insert(member, part),
        None => _ = parts.remove(&member),
    }
}

fn value_of(bytes: &[u8]) -> Result<Input<'_>, Unreadable> {
    let mut value = Input(bytes);
    match value.i16()? {
        0 => Ok(value),
        _ => Err(Unreadable("a version that nobody writes")),
    }
}

fn target(value: &mut Input<'_>) -> Result<BTreeSet<TopicIdPartition>, Unreadable> {
    let mut all = BTreeSet::new();
    for _ in 0..value.compact_count()? {
        all.extend(topic(value)?.into_iter().map(|(partition, _)| partition));
    }
    Ok(all)
}

fn current(value: &mut Input<'_>) -> Result<Current, Unreadable> {
    let epoch = value.i32()?;
    // The epoch before, and the state.
    value.take(5)?;
    let mut has = BTreeMap::new();
    for is_given_up in [false, true] {
        for _ in 0..value.compact_count()? {
            has.extend(topic(value)?.into_iter().map(|(partition, since)| {
                let since = GenerationId::from_wire(since.unwrap_or(epoch));
                (partition, Held { since, is_given_up })
            }));
        }
    }
    Ok((epoch, has))
}

/// Partitions of a topic, and since which epoch each is had, where that stands in a tagged field (KIP-1251).
type Partitions = Vec<(TopicIdPartition, Option<i32>)>;

fn topic(value: &mut Input<'_>) -> Result<Partitions, Unreadable> {
    let topic_id = Uuid::from_bytes(value.array()?);
    let partitions = numbers(value)?;
    let mut since = Vec::new();
    value.tagged(|tag, mut field| {
        if tag == 0 {
            since = numbers(&mut field)?;
        }
        Ok(())
    })?;
    let since = since.into_iter().map(Some).chain(std::iter::repeat(None));
    let partition = |(index, since)| {
        let partition =
            PartitionIndex::from_wire(index).ok_or(Unreadable("a partition below 0"))?;
        Ok((TopicIdPartition { topic_id, partition }, since))
    };
    partitions.into_iter().zip(since).map(partition).collect()
}

fn numbers(value: &mut Input<'_>) -> Result<Vec<i32>, Unreadable> {
    let count = value.compact_count()?;
    (0..count).map(|_| value.i32()).collect()
}
