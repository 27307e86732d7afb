//! One partition to each in turn (pure).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Assignment, Members, PartitionCounts, Place, Roster};

/// Deals the partitions, topic by topic, to the members in turn; whoever does not read a topic is passed over, and its turn is lost.
///
/// Kafka: `RoundRobinAssignor`.
pub(super) fn assign(
    members: &Members,
    counts: &PartitionCounts,
) -> BTreeMap<Arc<str>, Assignment> {
    let roster = Roster::static_first(members, counts);
    let mut given: Vec<Vec<Place>> = vec![Vec::new(); roster.members.len()];
    let mut turn = 0;
    for (topic, readers) in roster.readers.iter().enumerate() {
        // The first reader whose turn has not passed; after that one reader follows the other.
        let mut at = readers.partition_point(|reader| *reader < turn);
        for index in 0..roster.counts[topic] {
            let reader = readers[at % readers.len()];
            given[reader].push((topic, index));
            at = at % readers.len() + 1;
            turn = reader + 1;
        }
    }
    roster.assignments(given)
}
