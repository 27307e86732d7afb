//! What a broker tells clients that asked the wrong one: who leads, and where that broker serves (KIP-951).

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::metadata::MetadataImage;
use crate::types::{BrokerId, LeaderEpoch, TopicIdPartition};

/// Who leads a partition, as far as this broker has heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LeaderHint {
    /// The leader.
    pub(super) leader_id: BrokerId,
    /// Its term.
    pub(super) leader_epoch: LeaderEpoch,
}

/// Where a broker serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NodeAddress {
    /// The broker.
    pub(super) node_id: BrokerId,
    /// Its host on the listener that the client uses.
    pub(super) host: String,
    /// Its port there.
    pub(super) port: u16,
    /// Where it stands.
    pub(super) rack: Option<String>,
}

/// The hints of one answer.
#[derive(Debug)]
pub(super) struct LeaderHints<'a> {
    image: Arc<MetadataImage>,
    listener: &'a str,
    addresses: BTreeMap<BrokerId, NodeAddress>,
}

impl<'a> LeaderHints<'a> {
    /// Hints out of `image`, for a client of the listener named `listener`.
    pub(super) fn new(image: Arc<MetadataImage>, listener: &'a str) -> Self {
        Self { image, listener, addresses: BTreeMap::new() }
    }

    /// Who leads a partition; the leader's address is remembered. `None` where nobody does, or it does not serve there.
    ///
    /// Kafka: `KafkaApis.getCurrentLeader`.
    pub(super) fn leader(&mut self, id: TopicIdPartition) -> Option<LeaderHint> {
        let partition = self.image.partition(id)?;
        let (leader_id, leader_epoch) = (partition.leader?, partition.leader_epoch);
        let broker = self.image.broker(leader_id).filter(|broker| !broker.fenced)?;
        let endpoint = broker.endpoint(self.listener)?;
        self.addresses.entry(leader_id).or_insert_with(|| NodeAddress {
            node_id: leader_id,
            host: endpoint.host.clone(),
            port: endpoint.port,
            rack: broker.rack.clone(),
        });
        Some(LeaderHint { leader_id, leader_epoch })
    }

    /// The addresses of the leaders that were named, by id.
    pub(super) fn into_addresses(self) -> impl Iterator<Item = NodeAddress> {
        self.addresses.into_values()
    }
}
