//! Who reads what in a consumer group (KIP-848): the coordinator's own ways of assigning.
//!
//! Both cover each partition of each subscribed topic exactly once. They differ in what they care for: [`range`] puts equal
//! partitions of different topics together, [`uniform`] spreads evenly and moves as little as it can.
//!
//! Kafka: `RangeAssignor`, `UniformAssignor`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::request::{InstanceId, MemberId};
use crate::types::{PartitionIndex, TopicId};

/// Partitions, by topic. No topic is without partitions.
pub type Assignment = BTreeMap<TopicId, BTreeSet<PartitionIndex>>;

/// A member, as an assignor sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscriber {
    /// Its name where it is a static member.
    pub instance: Option<InstanceId>,
    /// The topics it reads, of those that exist.
    pub topics: BTreeSet<TopicId>,
    /// What it was to have before.
    pub before: Arc<Assignment>,
}

/// A way of assigning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Assignor {
    /// [`uniform`]: Kafka's default.
    Uniform,
    /// [`range`].
    Range,
}

impl Assignor {
    /// Kafka's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
        }
    }

    /// The assignor of that name, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Uniform, Self::Range].into_iter().find(|assignor| assignor.name() == name)
    }

    /// Assigns the partitions of `topics` (and how many each has) to those that read them.
    #[must_use]
    pub fn assign(
        self,
        members: &BTreeMap<MemberId, Subscriber>,
        topics: &BTreeMap<TopicId, u32>,
    ) -> BTreeMap<MemberId, Assignment> {
        match self {
            Self::Uniform => uniform(members, topics),
            Self::Range => range(members, topics),
        }
    }
}

fn partitions(count: u32) -> impl Iterator<Item = PartitionIndex> {
    (0..count).map_while(|index| i32::try_from(index).ok()).map(PartitionIndex::new)
}

/// Each topic is cut into as many neighbouring pieces as it has readers; the first ones are one longer where it does not come out
/// even. The readers of two topics with as many partitions get the same pieces of both. Static members come first, by their
/// names, so that a new process gets what the former one had.
#[must_use]
pub fn range(
    members: &BTreeMap<MemberId, Subscriber>,
    topics: &BTreeMap<TopicId, u32>,
) -> BTreeMap<MemberId, Assignment> {
    let mut order: Vec<(&MemberId, &Subscriber)> = members.iter().collect();
    order.sort_by_key(|(id, member)| (member.instance.is_none(), member.instance.clone(), *id));
    let mut assignments: BTreeMap<MemberId, Assignment> =
        members.keys().map(|id| (Arc::clone(id), Assignment::new())).collect();
    for (topic, count) in topics {
        let readers = order.iter().filter(|(_, member)| member.topics.contains(topic));
        let readers: Vec<&MemberId> = readers.map(|(id, _)| *id).collect();
        if readers.is_empty() {
            continue;
        }
        let total = usize::try_from(*count).expect("a count of 32 bits");
        let (each, longer) = (total / readers.len(), total % readers.len());
        let mut rest = partitions(*count);
        for (index, reader) in readers.into_iter().enumerate() {
            let length = each + usize::from(index < longer);
            let piece: BTreeSet<PartitionIndex> = rest.by_ref().take(length).collect();
            if !piece.is_empty() {
                assignments.get_mut(reader).expect("each has one").insert(*topic, piece);
            }
        }
    }
    assignments
}

/// Every member gets as many partitions as the others, as far as what they read allows, and keeps what it had, as far as that allows.
#[must_use]
pub fn uniform(
    members: &BTreeMap<MemberId, Subscriber>,
    topics: &BTreeMap<TopicId, u32>,
) -> BTreeMap<MemberId, Assignment> {
    let mut draft = Draft::of_what_was(members, topics);
    let mut subscriptions = members.values().map(|member| &member.topics);
    let first = subscriptions.next();
    if subscriptions.all(|topics| Some(topics) == first) {
        draft.level_alike();
    } else {
        draft.level_by_topic();
    }
    draft.assignments()
}

/// Where a uniform assignment stands.
struct Draft<'a> {
    members: Vec<(&'a MemberId, &'a Subscriber)>,
    /// What each has so far, in the order of `members`.
    owned: Vec<BTreeSet<(TopicId, PartitionIndex)>>,
    /// What nobody has yet.
    free: Vec<(TopicId, PartitionIndex)>,
}

impl<'a> Draft<'a> {
    /// Each has what it had, of what it still reads and what still exists; of two that had the same, the first.
    fn of_what_was(
        members: &'a BTreeMap<MemberId, Subscriber>,
        topics: &BTreeMap<TopicId, u32>,
    ) -> Self {
        let members: Vec<(&MemberId, &Subscriber)> = members.iter().collect();
        let read: BTreeSet<TopicId> =
            members.iter().flat_map(|(_, member)| member.topics.iter().copied()).collect();
        let mut free: BTreeSet<(TopicId, PartitionIndex)> = BTreeSet::new();
        for topic in &read {
            let count = topics.get(topic).copied().unwrap_or(0);
            free.extend(partitions(count).map(|index| (*topic, index)));
        }
        let mut owned = Vec::with_capacity(members.len());
        for (_, member) in &members {
            let before = member.before.iter().filter(|(topic, _)| member.topics.contains(topic));
            let before =
                before.flat_map(|(topic, of_it)| of_it.iter().map(|index| (*topic, *index)));
            owned.push(before.filter(|partition| free.remove(partition)).collect());
        }
        Self { members, owned, free: free.into_iter().collect() }
    }

    /// All read the same: whoever has too much gives, whoever has too little takes. No more is moved than must be.
    fn level_alike(&mut self) {
        let count = self.members.len();
        let total = self.free.len() + self.owned.iter().map(BTreeSet::len).sum::<usize>();
        let (each, longer) = (total / count.max(1), total % count.max(1));
        // Those that have most may have one more than the others.
        let mut by_size: Vec<usize> = (0..count).collect();
        by_size.sort_by_key(|member| (std::cmp::Reverse(self.owned[*member].len()), *member));
        let mut quota = vec![each; count];
        for member in by_size.into_iter().take(longer) {
            quota[member] += 1;
        }
        for (owned, quota) in self.owned.iter_mut().zip(&quota) {
            while owned.len() > *quota {
                self.free.extend(owned.pop_last());
            }
        }
        self.free.sort_unstable();
        let mut free = std::mem::take(&mut self.free).into_iter();
        for (owned, quota) in self.owned.iter_mut().zip(&quota) {
            owned.extend(free.by_ref().take(quota - owned.len()));
        }
        assert!(free.next().is_none(), "the quotas sum up to all partitions");
    }

    /// They read different things: what is free goes to its reader that has least, then whoever has two more than another reader of
    /// something it has gives that away. Each such step makes the sum of the squares smaller, so it ends.
    fn level_by_topic(&mut self) {
        let mut readers: BTreeMap<TopicId, Vec<usize>> = BTreeMap::new();
        for (index, (_, member)) in self.members.iter().enumerate() {
            for topic in &member.topics {
                readers.entry(*topic).or_default().push(index);
            }
        }
        // What few read first: there is least choice.
        self.free.sort_by_key(|(topic, index)| (readers[topic].len(), *topic, *index));
        for partition in std::mem::take(&mut self.free) {
            let least = self.least_of(&readers[&partition.0]);
            self.owned[least].insert(partition);
        }
        while self.give_once(&readers) {}
    }

    fn least_of(&self, readers: &[usize]) -> usize {
        let least = readers.iter().min_by_key(|reader| (self.owned[**reader].len(), **reader));
        *least.expect("what is free is of topics that somebody reads")
    }

    /// Lets each give what is too much. Returns whether anybody did.
    fn give_once(&mut self, readers: &BTreeMap<TopicId, Vec<usize>>) -> bool {
        let mut by_size: Vec<usize> = (0..self.members.len()).collect();
        by_size.sort_by_key(|member| (std::cmp::Reverse(self.owned[*member].len()), *member));
        let mut anybody = false;
        for giver in by_size {
            let topics: BTreeSet<TopicId> = self.owned[giver].iter().map(|(id, _)| *id).collect();
            for topic in topics {
                anybody |= self.give_of(giver, topic, &readers[&topic]);
            }
        }
        anybody
    }

    fn give_of(&mut self, giver: usize, topic: TopicId, readers: &[usize]) -> bool {
        let mut gave = false;
        loop {
            let taker = self.least_of(readers);
            if self.owned[giver].len() < self.owned[taker].len() + 2 {
                return gave;
            }
            let whole_topic =
                (topic, PartitionIndex::new(0))..=(topic, PartitionIndex::new(i32::MAX));
            let Some(last) = self.owned[giver].range(whole_topic).next_back().copied() else {
                return gave;
            };
            self.owned[giver].remove(&last);
            self.owned[taker].insert(last);
            gave = true;
        }
    }

    fn assignments(self) -> BTreeMap<MemberId, Assignment> {
        let mut assignments = BTreeMap::new();
        for ((id, _), owned) in self.members.into_iter().zip(self.owned) {
            let mut assignment = Assignment::new();
            for (topic, index) in owned {
                assignment.entry(topic).or_default().insert(index);
            }
            assignments.insert(Arc::clone(id), assignment);
        }
        assignments
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Uuid;
    use expect_test::{Expect, expect};
    use proptest::prelude::*;
    use std::fmt::Write as _;

    type Members = BTreeMap<MemberId, Subscriber>;
    type Topics = BTreeMap<TopicId, u32>;

    fn topic(number: u8) -> TopicId {
        Uuid::from_bytes([number; 16])
    }

    fn members(reading: &[(&str, &[u8])]) -> Members {
        let member = |topics: &[u8]| Subscriber {
            topics: topics.iter().map(|number| topic(*number)).collect(),
            ..Subscriber::default()
        };
        reading.iter().map(|(id, topics)| (MemberId::from(*id), member(topics))).collect()
    }

    fn topics(counts: &[(u8, u32)]) -> Topics {
        counts.iter().map(|(number, count)| (topic(*number), *count)).collect()
    }

    /// What they got becomes what they had.
    fn go_on(members: &mut Members, assignments: BTreeMap<MemberId, Assignment>) {
        for (id, assignment) in assignments {
            if let Some(member) = members.get_mut(&id) {
                member.before = Arc::new(assignment);
            }
        }
    }

    #[track_caller]
    fn check(assignments: &BTreeMap<MemberId, Assignment>, expected: &Expect) {
        let mut text = String::new();
        for (id, assignment) in assignments {
            write!(text, "{id}:").unwrap();
            for (topic, partitions) in assignment {
                let partitions = partitions.iter().map(ToString::to_string).collect::<Vec<_>>();
                write!(text, " {}/{}", topic.as_bytes()[0], partitions.join(",")).unwrap();
            }
            text.push('\n');
        }
        expected.assert_eq(&text);
    }

    #[test]
    fn range_gives_neighbours_and_the_same_of_each_topic() {
        let mut three = members(&[("a", &[1, 2]), ("b", &[1, 2]), ("c", &[2])]);
        let counts = topics(&[(1, 3), (2, 7), (9, 5)]);
        check(
            &range(&three, &counts),
            &expect![[r#"
                a: 1/0,1 2/0,1,2
                b: 1/2 2/3,4
                c: 2/5,6
            "#]],
        );
        three.get_mut("c").unwrap().instance = Some("i".into());
        check(
            &range(&three, &counts),
            &expect![[r#"
                a: 1/0,1 2/3,4
                b: 1/2 2/5,6
                c: 2/0,1,2
            "#]],
        );
        check(
            &range(&members(&[("a", &[1]), ("b", &[1])]), &topics(&[(1, 1)])),
            &expect![[r#"
                a: 1/0
                b:
            "#]],
        );
    }

    #[test]
    fn uniform_keeps_what_it_can() {
        let mut group = members(&[("a", &[1, 2]), ("b", &[1, 2])]);
        let counts = topics(&[(1, 3), (2, 2)]);
        let first = uniform(&group, &counts);
        check(
            &first,
            &expect![[r#"
                a: 1/0,1,2
                b: 2/0,1
            "#]],
        );
        go_on(&mut group, first);
        group.extend(members(&[("c", &[1, 2])]));
        let second = uniform(&group, &counts);
        check(
            &second,
            &expect![[r#"
                a: 1/0,1
                b: 2/0,1
                c: 1/2
            "#]],
        );
        go_on(&mut group, second);
        group.remove("a");
        check(
            &uniform(&group, &counts),
            &expect![[r#"
                b: 1/0 2/0,1
                c: 1/1,2
            "#]],
        );
    }

    #[test]
    fn uniform_looks_at_what_each_reads() {
        let group = members(&[("a", &[1, 2]), ("b", &[2, 3]), ("c", &[3])]);
        check(
            &uniform(&group, &topics(&[(1, 4), (2, 4), (3, 4)])),
            &expect![[r#"
                a: 1/0,1,2,3
                b: 2/0,1,2,3
                c: 3/0,1,2,3
            "#]],
        );
        assert_eq!(uniform(&Members::new(), &topics(&[(1, 1)])), BTreeMap::new());
    }

    fn any_members() -> impl Strategy<Value = Members> {
        let reads = prop::collection::btree_set(0..3u8, 0..4);
        let member = (reads, any::<Option<bool>>());
        prop::collection::btree_map(0..5u8, member, 1..5).prop_map(|members| {
            let members = members.into_iter().map(|(number, (reads, instance))| {
                let member = Subscriber {
                    instance: instance.map(|_| InstanceId::from(format!("i{}", 9 - number))),
                    topics: reads.into_iter().map(topic).collect(),
                    before: Arc::default(),
                };
                (MemberId::from(format!("m{number}")), member)
            });
            members.collect()
        })
    }

    fn any_topics() -> impl Strategy<Value = Topics> {
        [0..5u32, 0..5, 0..5].prop_map(|counts| (0..3u8).map(topic).zip(counts).collect())
    }

    /// G2: what anybody reads is assigned, once, to somebody who reads it.
    fn check_legal(
        members: &Members,
        topics: &Topics,
        assignments: &BTreeMap<MemberId, Assignment>,
    ) -> Result<(), TestCaseError> {
        prop_assert!(assignments.keys().eq(members.keys()));
        let mut assigned = BTreeSet::new();
        for (id, assignment) in assignments {
            for (topic, partitions) in assignment {
                prop_assert!(!partitions.is_empty());
                prop_assert!(members[id].topics.contains(topic), "it does not read it");
                for index in partitions {
                    prop_assert!(assigned.insert((*topic, *index)), "two have one partition");
                }
            }
        }
        let read = topics.iter().filter(|(id, _)| members.values().any(|m| m.topics.contains(id)));
        let all = read.flat_map(|(id, count)| partitions(*count).map(|index| (*id, index)));
        prop_assert_eq!(assigned, all.collect::<BTreeSet<_>>());
        Ok(())
    }

    fn loads(assignments: &BTreeMap<MemberId, Assignment>) -> BTreeMap<&MemberId, usize> {
        let load = |assignment: &Assignment| assignment.values().map(BTreeSet::len).sum();
        assignments.iter().map(|(id, assignment)| (id, load(assignment))).collect()
    }

    proptest! {
        #[test]
        fn every_assignment_is_legal(members in any_members(), topics in any_topics()) {
            check_legal(&members, &topics, &range(&members, &topics))?;
            check_legal(&members, &topics, &uniform(&members, &topics))?;
        }

        #[test]
        fn nobody_could_give_to_somebody_with_less(
            mut members in any_members(), topics in any_topics(), later in any_members(),
        ) {
            let first = uniform(&members, &topics);
            members.extend(later);
            go_on(&mut members, first);
            let assignments = uniform(&members, &topics);
            check_legal(&members, &topics, &assignments)?;
            let loads = loads(&assignments);
            for (giver, assignment) in &assignments {
                for topic in assignment.keys() {
                    for (taker, _) in members.iter().filter(|(_, m)| m.topics.contains(topic)) {
                        prop_assert!(loads[giver] <= loads[taker] + 1, "{:?}", assignments);
                    }
                }
            }
        }

        /// All read the same: what must move is what is above each one's share, and no more does.
        #[test]
        fn uniform_moves_no_more_than_must_be(
            before in 1..6u8, after in 1..6u8, count in 0..20u32,
        ) {
            let topics = topics(&[(1, count)]);
            let named = |names: std::ops::Range<u8>| {
                let ids: Vec<String> = names.map(|n| format!("m{n}")).collect();
                ids.iter().map(|id| (MemberId::from(id.as_str()), Subscriber {
                    topics: BTreeSet::from([topic(1)]), ..Subscriber::default()
                })).collect::<Members>()
            };
            let mut members = named(0..before);
            let first = uniform(&members, &topics);
            go_on(&mut members, first.clone());
            // Some of the first go, and others come.
            let mut members: Members = members.into_iter().skip(usize::from(before / 3)).collect();
            members.extend(named(100..100 + after));
            let second = uniform(&members, &topics);
            let kept: usize = members.iter().map(|(id, member)| {
                let now = second[id].get(&topic(1));
                let was = member.before.get(&topic(1));
                now.zip(was).map_or(0, |(now, was)| now.intersection(was).count())
            }).sum();
            let (total, share) = (count as usize, members.len());
            let (each, mut longer) = (total / share, total % share);
            let mut most_kept = 0;
            let mut had: Vec<usize> = members.values()
                .map(|m| m.before.get(&topic(1)).map_or(0, BTreeSet::len)).collect();
            had.sort_unstable_by(|a, b| b.cmp(a));
            for had in had {
                let may = each + usize::from(longer > 0);
                longer = longer.saturating_sub(1);
                most_kept += had.min(may);
            }
            prop_assert_eq!(kept, most_kept);
        }
    }
}
