//! Evenly, and everybody keeps what it can (pure).
//!
//! Balance comes first: the sum of the squares of how much each has is as small as what each reads allows. Of all such assignments it
//! is one that takes the fewest partitions from those who hold them. Kafka's is as even where all read the same; where they do not it
//! only makes sure that no single partition would better be somewhere else, and may move more.
//!
//! Kafka: `AbstractStickyAssignor`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::{Assignment, Member, Members, PartitionCounts, Place, Roster, by_topic, protocol};
use crate::types::GenerationId;

/// What a member says it holds, and as of which generation.
struct Claim {
    held: Assignment,
    generation: Option<GenerationId>,
}

/// Who says that it holds a partition.
#[derive(Clone, Debug, Default)]
struct Claimants {
    /// Whom it is believed: who says so of the newest generation; nobody where two do.
    holder: Option<usize>,
    /// That generation.
    generation: Option<GenerationId>,
    /// All who say so.
    all: Vec<usize>,
}

/// The eager one: what each had is in its user data, for it gave it up.
pub(super) fn assign(
    members: &Members,
    counts: &PartitionCounts,
) -> BTreeMap<Arc<str>, Assignment> {
    let roster = Roster::by_id(members, counts);
    let claims = members.values().map(|member| {
        let (held, generation) = protocol::read_sticky_user_data(&member.subscription);
        Claim { held, generation }
    });
    let claimants = claimants(&roster, claims);
    let given = level(&roster, members, &claimants);
    roster.assignments(given)
}

/// The cooperative one: what each has it still holds, so what is to move from one to another is given to nobody yet. Its holder
/// learns that, gives it up and joins again; then it is free.
pub(super) fn assign_cooperatively(
    members: &Members,
    counts: &PartitionCounts,
) -> BTreeMap<Arc<str>, Assignment> {
    let roster = Roster::by_id(members, counts);
    let claims = members.values().map(|member| {
        let subscription = &member.subscription;
        let generation =
            subscription.generation.or_else(|| protocol::read_cooperative_user_data(subscription));
        Claim { held: subscription.owned.clone(), generation }
    });
    let claimants = claimants(&roster, claims);
    let mut given = level(&roster, members, &claimants);
    for (number, places) in given.iter_mut().enumerate() {
        places.retain(|place| {
            claimants.get(place).is_none_or(|claimants| {
                claimants.holder == Some(number)
                    || claimants.all.iter().all(|other| *other == number)
            })
        });
    }
    roster.assignments(given)
}

/// Who says that it holds what, of the partitions that exist and are read.
///
/// Of two that say so the one of the newer generation is believed, the other missed a rebalance; of two of one generation neither.
/// (Kafka: `AbstractStickyAssignor.allSubscriptionsEqual`. There the generation of the second is taken from another place than that
/// of the first.)
fn claimants(
    roster: &Roster<'_>,
    claims: impl Iterator<Item = Claim>,
) -> BTreeMap<Place, Claimants> {
    let mut claimants: BTreeMap<Place, Claimants> = BTreeMap::new();
    for (number, claim) in claims.enumerate() {
        for (topic, indexes) in &claim.held {
            let Some(topic) = roster.topic(topic) else { continue };
            for index in indexes {
                let index = usize::try_from(index.value()).expect("it is not negative");
                if index >= roster.counts[topic] {
                    continue;
                }
                let known = claimants.entry((topic, index)).or_default();
                if known.all.is_empty() || claim.generation > known.generation {
                    known.holder = Some(number);
                    known.generation = claim.generation;
                } else if claim.generation == known.generation {
                    known.holder = None;
                }
                known.all.push(number);
            }
        }
    }
    claimants
}

/// What each member is to have in the end, by number.
fn level(
    roster: &Roster<'_>,
    members: &Members,
    claimants: &BTreeMap<Place, Claimants>,
) -> Vec<Vec<Place>> {
    let mut held: Vec<Vec<Place>> = vec![Vec::new(); roster.members.len()];
    for (place, claimants) in claimants {
        // Whoever does not read the topic any more cannot keep it.
        if let Some(holder) = claimants.holder
            && roster.readers[place.0].binary_search(&holder).is_ok()
        {
            held[holder].push(*place);
        }
    }
    if read_alike(members) { alike(roster, held) } else { by_topic::level(roster, &held) }
}

fn read_alike(members: &Members) -> bool {
    let mut subscriptions =
        members.values().map(|Member { subscription, .. }| &subscription.topics);
    let first = subscriptions.next();
    subscriptions.all(|topics: &BTreeSet<Arc<str>>| Some(topics) == first)
}

/// All read the same: each has as much as the others, or one more. Whoever has more gives the rest up, beginning with the largest
/// numbers; what is free is dealt out in turn.
///
/// Kafka: `AbstractStickyAssignor.ConstrainedAssignmentBuilder`.
fn alike(roster: &Roster<'_>, held: Vec<Vec<Place>>) -> Vec<Vec<Place>> {
    let total: usize = roster.counts.iter().sum();
    let count = roster.members.len().max(1);
    let (each, mut longer) = (total / count, total % count);
    let mut is_kept: Vec<Vec<bool>> =
        roster.counts.iter().map(|count| vec![false; *count]).collect();
    let mut given = held;
    let mut short: VecDeque<usize> = VecDeque::new();
    let mut full: VecDeque<usize> = VecDeque::new();
    for (number, places) in given.iter_mut().enumerate() {
        places.sort_unstable_by_key(|(topic, index)| (*index, *topic));
        if places.len() < each {
            short.push_back(number);
        } else if places.len() > each && longer > 0 {
            longer -= 1;
            places.truncate(each + 1);
        } else {
            places.truncate(each);
            full.push_back(number);
        }
        for (topic, index) in places {
            is_kept[*topic][*index] = true;
        }
    }
    for (topic, is_kept) in is_kept.into_iter().enumerate() {
        for (index, _) in is_kept.into_iter().enumerate().filter(|(_, is_kept)| !is_kept) {
            let next = short.pop_front();
            let is_short = next.is_some();
            let taker = next.or_else(|| full.pop_front());
            let taker = taker.expect("the shares sum up to all partitions");
            given[taker].push((topic, index));
            if is_short {
                if given[taker].len() < each { &mut short } else { &mut full }.push_back(taker);
            }
        }
    }
    given
}
