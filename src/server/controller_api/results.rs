//! What the translations of several requests share: errors on the wire, and results in the order of the request.

use std::collections::{BTreeMap, BTreeSet};

use crate::controller::request::{ApiError, PartitionResults};
use crate::types::ErrorCode;

/// The two fields that tell of an error, or of none.
pub(super) fn code_and_message(result: Result<(), ApiError>) -> (ErrorCode, Option<String>) {
    match result {
        Ok(()) => (ErrorCode::None, None),
        Err(error) => (error.error, error.message),
    }
}

/// One topic's results, by partition.
type TopicResults = Vec<(i32, Result<(), ApiError>)>;

/// Results by topic: topics and partitions stay in their order, and each topic stands once.
pub(super) fn grouped(results: PartitionResults) -> Vec<(String, TopicResults)> {
    let mut topics: Vec<(String, TopicResults)> = Vec::new();
    let mut positions: BTreeMap<String, usize> = BTreeMap::new();
    for ((name, index), result) in results {
        let position = *positions.entry(name).or_insert_with_key(|name| {
            topics.push((name.clone(), Vec::new()));
            topics.len() - 1
        });
        topics[position].1.push((index, result));
    }
    topics
}

/// Names that stand more than once.
pub(super) fn named_twice<'a>(names: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    names.filter(|name| !seen.insert(*name)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_stay_in_order_and_each_topic_stands_once() {
        let result = |name: &str, index: i32| ((name.to_owned(), index), Ok(()));
        let topics = grouped(vec![result("b", 2), result("a", 0), result("b", 1)]);
        let shown: Vec<(&str, Vec<i32>)> = topics
            .iter()
            .map(|(name, results)| (name.as_str(), results.iter().map(|one| one.0).collect()))
            .collect();
        assert_eq!(shown, [("b", vec![2, 1]), ("a", vec![0])]);
        let twice = named_twice(["a", "b", "a", "a"].into_iter());
        assert_eq!(twice.into_iter().collect::<Vec<_>>(), ["a"]);
    }
}
