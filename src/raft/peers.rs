//! Which of the other members may be asked now: one request each at a time, and a pause after one that brought nothing.
//!
//! Kafka: `RequestManager`.

use std::collections::BTreeMap;

use crate::types::{BrokerId, Monotonic};

/// A request's number within one member. Rises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    Asked(RequestId),
    BackingOff { until: Monotonic },
}

/// See the module. Who is not in the map may be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Peers {
    next_id: u64,
    peers: BTreeMap<BrokerId, Peer>,
}

impl Peers {
    /// Whether `peer` may be asked.
    pub(super) fn is_ready(&self, now: Monotonic, peer: BrokerId) -> bool {
        match self.peers.get(&peer) {
            None => true,
            Some(Peer::Asked(_)) => false,
            Some(Peer::BackingOff { until }) => *until <= now,
        }
    }

    /// Whether anybody was asked and has not answered.
    pub(super) fn is_any_asked(&self) -> bool {
        self.peers.values().any(|peer| matches!(peer, Peer::Asked(_)))
    }

    /// When `peer` may be asked; `None` where its answer must come first.
    pub(super) fn ready_at(&self, peer: BrokerId) -> Option<Monotonic> {
        match self.peers.get(&peer) {
            None => Some(Monotonic::ZERO),
            Some(Peer::Asked(_)) => None,
            Some(Peer::BackingOff { until }) => Some(*until),
        }
    }

    /// Notes that `peer` is asked; the answer will carry this number.
    pub(super) fn ask(&mut self, peer: BrokerId) -> RequestId {
        let id = RequestId(self.next_id);
        self.next_id += 1;
        self.peers.insert(peer, Peer::Asked(id));
        id
    }

    /// Notes an answer, or that there is none. Returns whether it is still waited for.
    pub(super) fn answered(&mut self, peer: BrokerId, id: RequestId) -> bool {
        let is_expected = self.peers.get(&peer) == Some(&Peer::Asked(id));
        if is_expected {
            self.peers.remove(&peer);
        }
        is_expected
    }

    /// Leaves `peer` alone for a while, unless it has been asked since.
    pub(super) fn back_off(&mut self, peer: BrokerId, until: Monotonic) {
        if !matches!(self.peers.get(&peer), Some(Peer::Asked(_))) {
            self.peers.insert(peer, Peer::BackingOff { until });
        }
    }

    /// Forgets all: answers under way are of another time.
    pub(super) fn reset(&mut self) {
        self.peers.clear();
    }
}
