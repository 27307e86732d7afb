//! A few brokers, inline: what an observation says of a replica set.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::BrokerId;

/// A small sorted set of brokers without heap, for observations. Replica sets of a partition have three members, rarely five.
///
/// Holds up to [`BrokerSet::CAPACITY`] ids; of a larger set it keeps the smallest ones and says so ([`BrokerSet::is_whole`]).
/// Nothing is decided by it: shapes keep their replica sets in vectors.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct BrokerSet {
    ids: [BrokerId; Self::CAPACITY],
    len: u8,
    is_cut: bool,
}

impl BrokerSet {
    /// How many ids it holds at most.
    pub const CAPACITY: usize = 8;

    /// No broker.
    pub const EMPTY: BrokerSet = BrokerSet { ids: [BrokerId::new(0); 8], len: 0, is_cut: false };

    /// The brokers `ids`, in any order, each once.
    #[must_use]
    pub fn of(ids: &[BrokerId]) -> Self {
        ids.iter().copied().collect()
    }

    /// Adds a broker. Where the set is full the largest id makes room, and the set is no longer whole.
    pub fn insert(&mut self, id: BrokerId) {
        let len = usize::from(self.len);
        let Err(at) = self.as_slice().binary_search(&id) else { return };
        self.is_cut |= len == Self::CAPACITY;
        if at == Self::CAPACITY {
            return;
        }
        let end = len.min(Self::CAPACITY - 1);
        self.ids.copy_within(at..end, at + 1);
        self.ids[at] = id;
        self.len = u8::try_from(end + 1).expect("at most the capacity");
    }

    /// The brokers, sorted.
    #[must_use]
    pub fn as_slice(&self) -> &[BrokerId] {
        &self.ids[..usize::from(self.len)]
    }

    /// The brokers, sorted.
    pub fn iter(&self) -> impl Iterator<Item = BrokerId> {
        self.as_slice().iter().copied()
    }

    /// How many brokers.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether no id had to be left out.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !self.is_cut
    }

    /// Whether `id` is in it.
    #[must_use]
    pub fn contains(&self, id: BrokerId) -> bool {
        self.as_slice().binary_search(&id).is_ok()
    }

    /// Whether every broker of `other` is in it.
    #[must_use]
    pub fn contains_all(&self, other: &BrokerSet) -> bool {
        other.iter().all(|id| self.contains(id))
    }

    /// The brokers of either.
    #[must_use]
    pub fn union(&self, other: &BrokerSet) -> Self {
        self.iter().chain(other.iter()).collect()
    }

    /// The brokers that are not in `other`.
    #[must_use]
    pub fn without(&self, other: &BrokerSet) -> Self {
        self.iter().filter(|id| !other.contains(*id)).collect()
    }
}

impl FromIterator<BrokerId> for BrokerSet {
    fn from_iter<I: IntoIterator<Item = BrokerId>>(ids: I) -> Self {
        let mut set = Self::EMPTY;
        ids.into_iter().for_each(|id| set.insert(id));
        set
    }
}

/// `[1,2,3]`; with `…` where ids were left out.
impl fmt::Display for BrokerSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (index, id) in self.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            id.fmt(f)?;
        }
        f.write_str(if self.is_cut { ",…]" } else { "]" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ids: &[i32]) -> BrokerSet {
        ids.iter().map(|id| BrokerId::new(*id)).collect()
    }

    #[test]
    fn it_is_sorted_and_holds_each_once() {
        let brokers = set(&[3, 1, 2, 3, 1]);
        assert_eq!(brokers.to_string(), "[1,2,3]");
        assert_eq!((brokers.len(), brokers.is_empty(), brokers.is_whole()), (3, false, true));
        assert_eq!(brokers, set(&[2, 1, 3]), "the order of insertion leaves no trace");
        assert_eq!(BrokerSet::EMPTY.to_string(), "[]");
    }

    #[test]
    fn sets_are_compared_joined_and_parted() {
        let (all, some) = (set(&[1, 2, 3]), set(&[3, 2]));
        assert!(all.contains_all(&some) && !some.contains_all(&all));
        assert!(all.contains(BrokerId::new(1)) && !some.contains(BrokerId::new(1)));
        assert_eq!(all.without(&some), set(&[1]));
        assert_eq!(some.union(&set(&[9])), set(&[2, 3, 9]));
    }

    #[test]
    fn of_too_many_it_keeps_the_smallest_and_says_so() {
        let all: Vec<i32> = (1..=10).rev().collect();
        let cut = set(&all);
        assert_eq!(cut.to_string(), "[1,2,3,4,5,6,7,8,…]");
        assert!(!cut.is_whole());
        assert!(set(&all[2..]).is_whole());
    }
}
