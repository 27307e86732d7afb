//! Neighbouring partitions, topic by topic (pure).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Assignment, Members, PartitionCounts, Place, Roster};

/// Cuts each topic into as many neighbouring pieces as it has readers; the first pieces are one longer where it does not come out
/// even. Readers of two topics with as many partitions get the same pieces of both.
///
/// Kafka: `RangeAssignor`.
pub(super) fn assign(
    members: &Members,
    counts: &PartitionCounts,
) -> BTreeMap<Arc<str>, Assignment> {
    let roster = Roster::static_first(members, counts);
    let mut given: Vec<Vec<Place>> = vec![Vec::new(); roster.members.len()];
    for (topic, readers) in roster.readers.iter().enumerate() {
        let count = roster.counts[topic];
        let (each, longer) = (count / readers.len(), count % readers.len());
        let mut next = 0;
        for (turn, reader) in readers.iter().enumerate() {
            let end = next + each + usize::from(turn < longer);
            given[*reader].extend((next..end).map(|index| (topic, index)));
            next = end;
        }
    }
    roster.assignments(given)
}
