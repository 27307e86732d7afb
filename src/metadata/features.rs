//! The features whose level a cluster agrees on, and the levels this code supports (KIP-584, KIP-1022).
//!
//! A level is one number for the whole cluster, fixed by a record (`kraft.version`: by a control record) and raised on demand.
//! Only what is really served stands here: a client takes a finalized feature as a promise.

/// A feature and the levels that this code supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    /// Kafka's name.
    pub name: &'static str,
    /// The lowest level supported; 0 means that it may be absent.
    pub level_min: i16,
    /// The highest level supported.
    pub level_max: i16,
    /// The level of a newly formatted cluster.
    pub level_default: i16,
}

/// The format of the metadata log's records.
pub const METADATA_VERSION: &str = "metadata.version";
/// The level of [`METADATA_VERSION`] on a new cluster: 4.1-IV1 (Kafka: `MetadataVersion`).
pub const METADATA_VERSION_DEFAULT: i16 = 27;
/// Whether the quorum's voters are kept in the log itself (KIP-853).
pub const KRAFT_VERSION: &str = "kraft.version";
/// Whether replicas that left the ISR below `min.insync.replicas` stay eligible to lead (KIP-966).
pub const ELIGIBLE_LEADER_REPLICAS_VERSION: &str = "eligible.leader.replicas.version";
/// Which protocols of groups are spoken: from level 1 on the one of KIP-848 too (Kafka: `GroupVersion`).
pub const GROUP_VERSION: &str = "group.version";

/// Every feature this code knows, sorted by name.
pub const FEATURES: &[Feature] = &[
    Feature {
        name: ELIGIBLE_LEADER_REPLICAS_VERSION,
        level_min: 0,
        level_max: 1,
        level_default: 1,
    },
    Feature { name: GROUP_VERSION, level_min: 0, level_max: 1, level_default: 1 },
    Feature { name: KRAFT_VERSION, level_min: 0, level_max: 1, level_default: 1 },
    Feature {
        name: METADATA_VERSION,
        // 4.0-IV1 brought the record versions we write (partitions with eligible leader replicas).
        level_min: 23,
        level_max: METADATA_VERSION_DEFAULT,
        level_default: METADATA_VERSION_DEFAULT,
    },
];
