//! Who reads what in a group of the classic protocol: the leader's ways of assigning, as pure functions, and the formats in which
//! members tell each other what they read ([`protocol`]).
//!
//! Each way gives every partition of every topic that somebody reads to one of its readers. [`Assignor::Range`] puts equal partitions of
//! different topics together, [`Assignor::RoundRobin`] deals them out in turn, [`Assignor::Sticky`] spreads as evenly as what each reads
//! allows and moves no more than that needs. [`Assignor::CooperativeSticky`] wants the same, but what a member still holds it gives to
//! another only in the generation after the one in which the holder has given it up.
//!
//! Racks are carried in subscriptions and do not count here (KIP-881 is not built).
//!
//! Kafka: `ConsumerPartitionAssignor`, `RangeAssignor`, `RoundRobinAssignor`, `AbstractStickyAssignor`, `CooperativeStickyAssignor`.

mod by_topic;
pub mod protocol;
mod range;
mod round_robin;
mod sticky;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use crate::types::{GenerationId, PartitionIndex};

/// Partitions, by topic. No topic is without partitions.
pub type Assignment = BTreeMap<Arc<str>, BTreeSet<PartitionIndex>>;

/// What a member says to the group when it joins (Kafka: `ConsumerPartitionAssignor.Subscription`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscription {
    /// The topics it reads.
    pub topics: BTreeSet<Arc<str>>,
    /// What its assignor says besides.
    pub user_data: Option<Bytes>,
    /// What it holds. Nothing where it gave all up to join, as the eager protocol demands.
    pub owned: Assignment,
    /// The last generation that it was a member of.
    pub generation: Option<GenerationId>,
    /// Where it stands (`client.rack`).
    pub rack: Option<Arc<str>>,
}

/// A member, as the group's leader sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Its name where it is a static member (`group.instance.id`).
    pub instance: Option<Arc<str>>,
    /// What it said.
    pub subscription: Subscription,
}

/// The members of a group, by their ids.
pub type Members = BTreeMap<Arc<str>, Member>;

/// How many partitions each topic has. Topics that do not exist are absent.
pub type PartitionCounts = BTreeMap<Arc<str>, u32>;

/// How members come from one assignment to the next (Kafka: `ConsumerPartitionAssignor.RebalanceProtocol`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RebalanceProtocol {
    /// Each gives up all it has before it joins.
    Eager,
    /// Each keeps what it has, and gives up afterwards what it is not to have any more (KIP-429).
    Cooperative,
}

/// A way of assigning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Assignor {
    /// Neighbouring partitions of each topic, the same ones of topics that have as many.
    Range,
    /// One partition to each in turn.
    RoundRobin,
    /// Evenly, and everybody keeps what it can.
    Sticky,
    /// The same without giving up what is kept.
    CooperativeSticky,
}

impl Assignor {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::Range, Self::RoundRobin, Self::Sticky, Self::CooperativeSticky];

    /// Kafka's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Range => "range",
            Self::RoundRobin => "roundrobin",
            Self::Sticky => "sticky",
            Self::CooperativeSticky => "cooperative-sticky",
        }
    }

    /// Kafka's class, the other word for it in `partition.assignment.strategy`.
    #[must_use]
    pub const fn class_name(self) -> &'static str {
        match self {
            Self::Range => "org.apache.kafka.clients.consumer.RangeAssignor",
            Self::RoundRobin => "org.apache.kafka.clients.consumer.RoundRobinAssignor",
            Self::Sticky => "org.apache.kafka.clients.consumer.StickyAssignor",
            Self::CooperativeSticky => {
                "org.apache.kafka.clients.consumer.CooperativeStickyAssignor"
            }
        }
    }

    /// The assignor of that name, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|assignor| assignor.name() == name)
    }

    /// Whether its members may keep what they have while they join. All may also be eager.
    #[must_use]
    pub const fn is_cooperative(self) -> bool {
        match self {
            Self::Range | Self::RoundRobin | Self::Sticky => false,
            Self::CooperativeSticky => true,
        }
    }

    /// The protocol of a member that knows these ways: cooperative where all of them are, so a group is taken over in two rolling
    /// restarts: first with both ways known, then without the eager one (KIP-429; Kafka: `ConsumerCoordinator`).
    #[must_use]
    pub fn rebalance_protocol(assignors: &[Self]) -> RebalanceProtocol {
        if assignors.iter().all(|assignor| assignor.is_cooperative()) {
            RebalanceProtocol::Cooperative
        } else {
            RebalanceProtocol::Eager
        }
    }

    /// What a member tells the leader besides: what it last was assigned, and in which generation. `None` where it says nothing.
    ///
    /// Kafka: `StickyAssignor.subscriptionUserData`, `CooperativeStickyAssignor.subscriptionUserData`.
    #[must_use]
    pub fn user_data(self, last: Option<(&Assignment, GenerationId)>) -> Option<Bytes> {
        match self {
            Self::Range | Self::RoundRobin => None,
            Self::Sticky => last.and_then(|(assignment, generation)| {
                protocol::sticky_user_data(assignment, Some(generation)).ok()
            }),
            Self::CooperativeSticky => {
                Some(protocol::cooperative_user_data(last.map(|(_, generation)| generation)))
            }
        }
    }

    /// Assigns all partitions of the topics that are read: an assignment for each member, which may be empty.
    ///
    /// ```
    /// use std::collections::BTreeMap;
    /// use ottla::client::consumer::assignors::{Assignor, Member, Members, Subscription};
    ///
    /// let subscription = Subscription { topics: ["t".into()].into(), ..Subscription::default() };
    /// let member = Member { subscription, ..Member::default() };
    /// let members: Members = [("a".into(), member.clone()), ("b".into(), member)].into();
    /// let assignments = Assignor::Range.assign(&members, &[("t".into(), 3)].into());
    /// assert_eq!(assignments["a"]["t"].len(), 2);
    /// assert_eq!(assignments["b"]["t"].len(), 1);
    /// ```
    #[must_use]
    pub fn assign(
        self,
        members: &Members,
        counts: &PartitionCounts,
    ) -> BTreeMap<Arc<str>, Assignment> {
        match self {
            Self::Range => range::assign(members, counts),
            Self::RoundRobin => round_robin::assign(members, counts),
            Self::Sticky => sticky::assign(members, counts),
            Self::CooperativeSticky => sticky::assign_cooperatively(members, counts),
        }
    }
}

/// A partition by the numbers of a [`Roster`]: topic, then partition.
type Place = (usize, usize);

/// Members, and the topics that exist and are read, by number: assigning counts, it does not compare names.
struct Roster<'a> {
    /// In an order that the assignor chose.
    members: Vec<&'a Arc<str>>,
    /// In the order of their names.
    topics: Vec<&'a Arc<str>>,
    /// How many partitions each has; never 0.
    counts: Vec<usize>,
    /// Who reads each, in the order of `members`. Never nobody.
    readers: Vec<Vec<usize>>,
}

impl<'a> Roster<'a> {
    /// With the members in the order of their ids.
    fn by_id(members: &'a Members, counts: &'a PartitionCounts) -> Self {
        Self::new(members.iter().collect(), counts)
    }

    /// With static members first, in the order of their names: a new process gets the place of the former one.
    ///
    /// Kafka: `AbstractPartitionAssignor.MemberInfo.compareTo`.
    fn static_first(members: &'a Members, counts: &'a PartitionCounts) -> Self {
        let mut order: Vec<(&Arc<str>, &Member)> = members.iter().collect();
        order.sort_by_key(|(id, member)| (member.instance.is_none(), &member.instance, *id));
        Self::new(order, counts)
    }

    fn new(order: Vec<(&'a Arc<str>, &'a Member)>, counts: &'a PartitionCounts) -> Self {
        let existing: BTreeMap<&str, usize> = counts
            .iter()
            .filter(|(_, count)| **count > 0)
            .enumerate()
            .map(|(number, (name, _))| (&**name, number))
            .collect();
        let mut readers: Vec<Vec<usize>> = vec![Vec::new(); existing.len()];
        for (number, (_, member)) in order.iter().enumerate() {
            for topic in &member.subscription.topics {
                if let Some(topic) = existing.get(&**topic) {
                    readers[*topic].push(number);
                }
            }
        }
        let mut roster = Self {
            members: order.into_iter().map(|(id, _)| id).collect(),
            topics: Vec::new(),
            counts: Vec::new(),
            readers: Vec::new(),
        };
        let topics = counts.iter().filter(|(_, count)| **count > 0).zip(readers);
        for ((name, count), readers) in topics.filter(|(_, readers)| !readers.is_empty()) {
            roster.topics.push(name);
            roster.counts.push(usize::try_from(*count).expect("a count of 32 bits"));
            roster.readers.push(readers);
        }
        roster
    }

    /// The number of a topic that exists and is read.
    fn topic(&self, name: &str) -> Option<usize> {
        self.topics.binary_search_by(|known| (***known).cmp(name)).ok()
    }

    /// Names for numbers: what each member gets, in the order of `members`.
    fn assignments(&self, given: Vec<Vec<Place>>) -> BTreeMap<Arc<str>, Assignment> {
        let mut assignments = BTreeMap::new();
        for (id, mut places) in self.members.iter().zip(given) {
            places.sort_unstable();
            let mut assignment = Assignment::new();
            for of_topic in places.chunk_by(|a, b| a.0 == b.0) {
                let indexes = of_topic.iter().map(|(_, index)| partition(*index)).collect();
                assignment.insert(Arc::clone(self.topics[of_topic[0].0]), indexes);
            }
            assignments.insert(Arc::clone(id), assignment);
        }
        assignments
    }
}

fn partition(index: usize) -> PartitionIndex {
    PartitionIndex::new(i32::try_from(index).expect("a topic has less than 2^31 partitions"))
}
