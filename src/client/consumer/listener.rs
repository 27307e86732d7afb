//! What an application does when its partitions change.

use std::collections::BTreeMap;

use super::offsets::Offsets;
use crate::types::{Offset, TopicPartition};

/// Told by [`super::Consumer::poll`], `unsubscribe` and `close` when the partitions of a group's member change. Must be quick: the whole group may
/// wait.
///
/// Kafka: `ConsumerRebalanceListener`. There a listener calls the consumer; here it returns what it wants to be done.
///
/// ```
/// use ottla::client::consumer::{Offsets, RebalanceListener};
/// use ottla::types::TopicPartition;
///
/// struct Flush(Vec<String>);
///
/// impl RebalanceListener for Flush {
///     fn on_partitions_revoked(&mut self, _: &[TopicPartition], positions: &Offsets) -> Offsets {
///         self.0.clear(); // what was gathered is written somewhere
///         positions.clone() // and is done: commit it
///     }
/// }
/// ```
pub trait RebalanceListener: Send {
    /// These are taken away in good order: nobody else reads them yet. `positions` says how far `poll` handed them out.
    ///
    /// What is returned is committed before they are given up; with `enable.auto.commit` the positions are, except where something else is
    /// returned.
    fn on_partitions_revoked(
        &mut self,
        partitions: &[TopicPartition],
        positions: &Offsets,
    ) -> Offsets {
        let _ = (partitions, positions);
        Offsets::new()
    }

    /// These are new, none of them in a rebalance that brought nothing. They are read from where the group is, or from where this
    /// returns: for those who keep their offsets beside their results.
    fn on_partitions_assigned(
        &mut self,
        partitions: &[TopicPartition],
    ) -> BTreeMap<TopicPartition, Offset> {
        let _ = partitions;
        BTreeMap::new()
    }

    /// These are gone: the group went on without this member, and others may read them already. Nothing can be committed.
    fn on_partitions_lost(&mut self, partitions: &[TopicPartition]) {
        let _ = partitions;
    }
}

/// For those who do not care.
#[derive(Debug)]
pub(super) struct NoListener;

impl RebalanceListener for NoListener {}
