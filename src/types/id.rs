//! Names of things: brokers, topics, partitions, producers, and the epochs that fence them.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Declares a number with a meaning: no arithmetic, no conversion that happens unseen.
macro_rules! number {
    ($(#[$doc:meta])* $name:ident($raw:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone,
            Copy,
            Debug,
            Default,
            PartialEq,
            Eq,
            PartialOrd,
            Ord,
            Hash,
            Serialize,
            Deserialize,
        )]
        pub struct $name($raw);

        impl $name {
            /// The value `value`.
            ///
            /// Panics where `value` is negative: sentinels end in `protocol/`.
            #[must_use]
            pub const fn new(value: $raw) -> Self {
                assert!(value >= 0, "identifiers and epochs are never negative");
                Self(value)
            }

            /// What a wire or file field names; `None` for the negative sentinels.
            #[must_use]
            pub const fn from_wire(value: $raw) -> Option<Self> {
                if value < 0 { None } else { Some(Self(value)) }
            }

            /// The plain number, for wire and files.
            #[must_use]
            pub const fn value(self) -> $raw {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// A node of the cluster, as `node.id` names it.
    BrokerId(i32)
);
number!(
    /// The incarnation of a broker: the offset of its registration record in the metadata log (KIP-631).
    BrokerEpoch(i64)
);
number!(
    /// The term of a partition's leader, or of the quorum's: rises with each election, stamped into each batch (KIP-101).
    LeaderEpoch(i32)
);
number!(
    /// The version of a partition's state in the metadata log: rises by one with each change (KIP-497).
    PartitionEpoch(i32)
);
number!(
    /// A partition of a topic, counted from 0.
    PartitionIndex(i32)
);
number!(
    /// An idempotent or transactional producer, as the broker numbered it (KIP-98).
    ProducerId(i64)
);
number!(
    /// The incarnation of a producer id: an older one is fenced (KIP-98, KIP-360).
    ProducerEpoch(i16)
);
number!(
    /// One round of a group of the classic protocol: rises with each rebalance, and is stamped into its members' requests.
    GenerationId(i32)
);
number!(
    /// How far a member of a consumer group has come with the group's rebalances (KIP-848).
    MemberEpoch(i32)
);
number!(
    /// The sequence number of a producer's record in a partition: counts from 0 to 2^31 − 1 and wraps to 0.
    Sequence(i32)
);

impl LeaderEpoch {
    /// The term after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("leader epochs stay below 2^31"))
    }
}

impl PartitionEpoch {
    /// The version after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("partition epochs stay below 2^31"))
    }
}

impl GenerationId {
    /// Of a group that never had members.
    pub const ZERO: GenerationId = GenerationId(0);

    /// The round after this one. Begins anew after 2^31 − 1.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(1) & i32::MAX)
    }
}

impl Sequence {
    /// The first sequence of a producer epoch.
    pub const ZERO: Sequence = Sequence(0);

    /// The sequence `count` records later, wrapping from 2^31 − 1 to 0.
    ///
    /// Kafka: `DefaultRecordBatch.incrementSequence`.
    #[must_use]
    pub fn plus(self, count: u32) -> Self {
        let sum = (i64::from(self.0) + i64::from(count)) % (1 << 31);
        Self(i32::try_from(sum).expect("a remainder of 2^31 fits"))
    }
}

/// A 128-bit identifier, printed as Kafka prints it: base64url without padding.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Uuid([u8; 16]);

/// The identity of a topic: a topic made anew under an old name has another one (KIP-516).
pub type TopicId = Uuid;

const BASE64_URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl Uuid {
    /// All zero: Kafka's word for "no id".
    pub const ZERO: Uuid = Uuid([0; 16]);
    /// The topic id of `__cluster_metadata` (Kafka: `Uuid.METADATA_TOPIC_ID`).
    pub const METADATA_TOPIC: Uuid = Uuid([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

    /// Whether this, as the id of a log directory, says that the directory is not known, not yet or not any more: the first
    /// hundred ids (Kafka: `DirectoryId.reserved`).
    #[must_use]
    pub fn is_reserved_directory(&self) -> bool {
        u128::from_be_bytes(self.0) < 100
    }

    /// The id with these bytes, most significant first.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bytes, most significant first.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// A random id (RFC 4122 version 4) that is neither reserved nor starts with `-` when printed.
    ///
    /// Kafka: `Uuid.randomUuid`, which avoids the leading dash for command lines' sake.
    #[must_use]
    pub fn random(rng: &mut impl rand::Rng) -> Self {
        loop {
            let mut bytes = [0; 16];
            rng.fill_bytes(&mut bytes);
            bytes[6] = (bytes[6] & 0x0f) | 0x40;
            bytes[8] = (bytes[8] & 0x3f) | 0x80;
            let id = Self(bytes);
            if !id.to_string().starts_with('-') {
                return id;
            }
        }
    }

    /// Reads what [`fmt::Display`] writes; `None` where `text` is anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 22 {
            return None;
        }
        let mut bits: u128 = 0;
        for (index, letter) in text.bytes().enumerate() {
            let value = BASE64_URL.iter().position(|known| *known == letter)? as u128;
            if index < 21 {
                bits = (bits << 6) | value;
            } else {
                bits = (bits << 2) | (value >> 4);
            }
        }
        Some(Self(bits.to_be_bytes()))
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = u128::from_be_bytes(self.0);
        let mut text = String::with_capacity(22);
        for index in 0..21u32 {
            let value = (bits >> (122 - 6 * index)) & 63;
            text.push(char::from(BASE64_URL[usize::try_from(value).expect("six bits")]));
        }
        let last = (bits & 3) << 4;
        text.push(char::from(BASE64_URL[usize::try_from(last).expect("six bits")]));
        f.pad(&text)
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A partition by the name of its topic: how clients and directories call it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition of it.
    pub partition: PartitionIndex,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// A partition by the id of its topic: names it for ever, across deletion and re-creation under one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TopicIdPartition {
    /// The topic's id.
    pub topic_id: TopicId,
    /// The partition of it.
    pub partition: PartitionIndex,
}

impl fmt::Display for TopicIdPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic_id, self.partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_print_as_kafka_prints_them_and_read_back() {
        assert_eq!(Uuid::METADATA_TOPIC.to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(Uuid::parse("AAAAAAAAAAAAAAAAAAAAAQ"), Some(Uuid::METADATA_TOPIC));
        let id = Uuid::from_bytes([0xff; 16]);
        assert_eq!(Uuid::parse(&id.to_string()), Some(id));
        assert_eq!(Uuid::parse("too short"), None);
    }

    #[test]
    fn sequences_wrap_to_zero_after_the_largest() {
        assert_eq!(Sequence::new(i32::MAX).plus(1), Sequence::ZERO);
        assert_eq!(Sequence::new(i32::MAX - 1).plus(3), Sequence::new(1));
    }
}
