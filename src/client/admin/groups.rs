//! What the admin client tells of groups.

use std::fmt;

use super::NodeDescription;
use crate::types::{MemberEpoch, TopicPartition};

/// What a group is at the moment (Kafka: `GroupState`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupState {
    /// Its members are asked to join.
    PreparingRebalance,
    /// Its members have joined, and wait for what they are to read.
    CompletingRebalance,
    /// Each member knows what it reads.
    Stable,
    /// It is not there.
    Dead,
    /// It has no members, only offsets.
    Empty,
    /// It has no target assignment for its epoch yet (KIP-848).
    Assigning,
    /// Its members are on their way to the target assignment (KIP-848).
    Reconciling,
    /// A word that this client does not know; empty where the broker does not tell.
    Other(String),
}

impl GroupState {
    /// All that are known, in Kafka's words.
    pub const NAMES: [&str; 7] = [
        "PreparingRebalance",
        "CompletingRebalance",
        "Stable",
        "Dead",
        "Empty",
        "Assigning",
        "Reconciling",
    ];

    /// The state of this name, in upper or lower case.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            "preparingrebalance" => Self::PreparingRebalance,
            "completingrebalance" => Self::CompletingRebalance,
            "stable" => Self::Stable,
            "dead" => Self::Dead,
            "empty" => Self::Empty,
            "assigning" => Self::Assigning,
            "reconciling" => Self::Reconciling,
            _ => Self::Other(name.to_owned()),
        }
    }

    /// Whether members come, go, or wait for what they are to read.
    #[must_use]
    pub const fn is_rebalancing(&self) -> bool {
        match self {
            Self::PreparingRebalance
            | Self::CompletingRebalance
            | Self::Assigning
            | Self::Reconciling => true,
            Self::Stable | Self::Dead | Self::Empty | Self::Other(_) => false,
        }
    }
}

impl fmt::Display for GroupState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
            Self::Dead => "Dead",
            Self::Empty => "Empty",
            Self::Assigning => "Assigning",
            Self::Reconciling => "Reconciling",
            Self::Other(name) if name.is_empty() => "Unknown",
            Self::Other(name) => name,
        })
    }
}

/// Which protocol a group's members speak (Kafka: `GroupType`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupType {
    /// Members assign partitions themselves.
    Classic,
    /// The coordinator assigns them (KIP-848).
    Consumer,
    /// A word that this client does not know; empty where the broker does not tell.
    Other(String),
}

impl GroupType {
    /// The type of this name, in upper or lower case.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            "classic" => Self::Classic,
            "consumer" => Self::Consumer,
            _ => Self::Other(name.to_owned()),
        }
    }
}

impl fmt::Display for GroupType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Classic => "Classic",
            Self::Consumer => "Consumer",
            Self::Other(name) if name.is_empty() => "Unknown",
            Self::Other(name) => name,
        })
    }
}

/// A group in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupListing {
    /// Its id.
    pub group: String,
    /// What it is for: `consumer`, or empty where it only keeps offsets; other programs have words of their own.
    pub protocol_type: String,
    /// Its state, from brokers that tell it (ListGroups 4).
    pub state: GroupState,
    /// Its type, from brokers that tell it (ListGroups 5).
    pub group_type: GroupType,
}

impl GroupListing {
    /// Whether it is one of consumers, or keeps only offsets (Kafka: `ListGroupsOptions.forConsumerGroups`).
    #[must_use]
    pub fn is_of_consumers(&self) -> bool {
        matches!(self.protocol_type.as_str(), "" | "consumer")
    }
}

/// A group as its coordinator describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    /// Its id.
    pub group: String,
    /// Which protocol its members speak.
    pub group_type: GroupType,
    /// Its state.
    pub state: GroupState,
    /// What it is for, as in [`GroupListing`].
    pub protocol_type: String,
    /// The name of the assignor; empty where there is none at the moment.
    pub assignor: String,
    /// Who coordinates it.
    pub coordinator: NodeDescription,
    /// Counts its changes (KIP-848); `None` in the classic protocol.
    pub epoch: Option<MemberEpoch>,
    /// The epoch that the target assignment is for (KIP-848); `None` in the classic protocol.
    pub assignment_epoch: Option<MemberEpoch>,
    /// Its members, sorted by their ids.
    pub members: Vec<GroupMember>,
}

impl GroupDescription {
    /// Whether it has members, or may have some in a moment: then nobody else may change its offsets.
    #[must_use]
    pub fn is_active(&self) -> bool {
        !matches!(self.state, GroupState::Empty | GroupState::Dead)
    }
}

/// A member of a group (Kafka: `MemberDescription`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    /// Its id.
    pub member_id: String,
    /// Its name where it is a static member (`group.instance.id`).
    pub instance_id: Option<String>,
    /// `client.id` of its process.
    pub client_id: String,
    /// From where it speaks to the coordinator, as in `/127.0.0.1`.
    pub host: String,
    /// What it reads, sorted. Empty too where the group is none of consumers.
    pub assignment: Vec<TopicPartition>,
    /// What it is to read (KIP-848), sorted; `None` in the classic protocol.
    pub target_assignment: Option<Vec<TopicPartition>>,
    /// How far it has come (KIP-848); `None` in the classic protocol.
    pub epoch: Option<MemberEpoch>,
    /// Whether it speaks the consumer protocol; `None` where the coordinator does not tell.
    pub is_upgraded: Option<bool>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_and_types_are_read_in_any_case_and_unknown_ones_keep_their_name() {
        for name in GroupState::NAMES {
            let state = GroupState::from_name(&name.to_uppercase());
            assert_eq!(state.to_string(), name);
            assert!(!matches!(state, GroupState::Other(_)), "{name}");
        }
        assert_eq!(GroupState::from_name("NotReady").to_string(), "NotReady");
        assert_eq!(GroupState::from_name("").to_string(), "Unknown");
        assert_eq!(GroupType::from_name("consumer").to_string(), "Consumer");
        assert_eq!(GroupType::from_name("CLASSIC"), GroupType::Classic);
        assert_eq!(GroupType::from_name("streams").to_string(), "streams");
        assert_eq!(GroupType::from_name("").to_string(), "Unknown");
    }
}
