//! Where the replicas of new partitions go: striped over racks, and within a rack over brokers, from random starts.
//!
//! The first replica, which will lead, is always on an active broker; fenced ones are taken only where a rack has no other left.
//! Two replicas never share a broker. Successive partitions start one rack and one broker later, so leaders spread.
//!
//! Kafka: `StripedReplicaPlacer`.

use std::collections::BTreeMap;

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use crate::types::BrokerId;

/// A broker on which a replica may be placed.
#[derive(Clone, Debug)]
pub(super) struct UsableBroker {
    /// The broker.
    pub(super) broker: BrokerId,
    /// Where it stands.
    pub(super) rack: Option<String>,
    /// Whether it may lead now.
    pub(super) is_active: bool,
}

/// The brokers of one rack.
#[derive(Default)]
struct Rack {
    active: Vec<BrokerId>,
    others: Vec<BrokerId>,
    /// Where the next partition starts in both lists.
    start: usize,
}

impl Rack {
    /// The rack's brokers in the order of preference for the next partition.
    fn order(&self) -> impl Iterator<Item = BrokerId> {
        let rotated = |list: &Vec<BrokerId>| {
            let start = if list.is_empty() { 0 } else { self.start % list.len() };
            let mut list = list.clone();
            list.rotate_left(start);
            list
        };
        rotated(&self.active).into_iter().chain(rotated(&self.others))
    }
}

/// Chooses the replicas of `partitions` partitions.
///
/// Errors: a sentence, where there are too few brokers or none is active.
pub(super) fn place(
    brokers: Vec<UsableBroker>,
    partitions: usize,
    replication_factor: usize,
    rng: &mut StdRng,
) -> Result<Vec<Vec<BrokerId>>, String> {
    let total = brokers.len();
    let active = brokers.iter().filter(|broker| broker.is_active).count();
    if active == 0 {
        return Err("no broker is registered and unfenced".to_owned());
    }
    if replication_factor > total {
        return Err(format!(
            "replication factor {replication_factor} is larger than the number of registered \
             brokers, {total}"
        ));
    }
    let mut racks = racks(brokers, rng);
    let mut first_rack = rng.random_range(0..racks.len());
    let mut placements = Vec::with_capacity(partitions);
    for partition in 0..partitions {
        // After one round every broker has led once: another order, so that the same sets do not repeat for ever.
        if partition > 0 && partition % active == 0 && active > 1 {
            racks.shuffle(rng);
            for rack in &mut racks {
                rack.active.shuffle(rng);
                rack.others.shuffle(rng);
            }
        }
        placements.push(place_one(&racks, first_rack, replication_factor));
        first_rack = (first_rack + 1) % racks.len();
        for rack in &mut racks {
            rack.start += 1;
        }
    }
    Ok(placements)
}

fn racks(brokers: Vec<UsableBroker>, rng: &mut StdRng) -> Vec<Rack> {
    let mut racks: BTreeMap<Option<String>, Rack> = BTreeMap::new();
    for broker in brokers {
        let rack = racks.entry(broker.rack).or_default();
        if broker.is_active {
            rack.active.push(broker.broker)
        } else {
            rack.others.push(broker.broker)
        }
    }
    for rack in racks.values_mut() {
        rack.start = rng.random_range(0..rack.active.len() + rack.others.len());
    }
    racks.into_values().collect()
}

/// One replica from each rack in turn, beginning with the first one that has an active broker, until there are enough.
fn place_one(racks: &[Rack], first_rack: usize, replication_factor: usize) -> Vec<BrokerId> {
    let order = (0..racks.len()).map(|step| &racks[(first_rack + step) % racks.len()]);
    let mut order: Vec<&Rack> = order.collect();
    let leading = order
        .iter()
        .position(|rack| !rack.active.is_empty())
        .expect("the caller counted the active brokers");
    let leading = order.remove(leading);
    order.insert(0, leading);

    let mut queues: Vec<_> = order.into_iter().map(Rack::order).collect();
    let mut replicas = Vec::with_capacity(replication_factor);
    while replicas.len() < replication_factor {
        for queue in &mut queues {
            if replicas.len() < replication_factor {
                replicas.extend(queue.next());
            }
        }
    }
    replicas
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng;

    use super::*;

    fn broker(id: i32, rack: &str, is_active: bool) -> UsableBroker {
        UsableBroker { broker: BrokerId::new(id), rack: Some(rack.to_owned()), is_active }
    }

    #[test]
    fn replicas_stand_on_different_brokers_and_racks_and_leaders_are_active() {
        for seed in 0..50 {
            let mut rng = StdRng::seed_from_u64(seed);
            let brokers: Vec<_> =
                (0..9).map(|id| broker(id, ["a", "b", "c"][id as usize % 3], id != 4)).collect();
            let placements = place(brokers, 20, 3, &mut rng).unwrap();
            assert_eq!(placements.len(), 20);
            for replicas in placements {
                let racks: BTreeSet<i32> = replicas.iter().map(|id| id.value() % 3).collect();
                assert_eq!(racks.len(), 3, "{replicas:?}");
                assert_ne!(replicas[0], BrokerId::new(4));
            }
        }
    }

    #[test]
    fn leaders_spread_evenly_over_a_round() {
        let mut rng = StdRng::seed_from_u64(7);
        let brokers: Vec<_> = (0..5).map(|id| broker(id, "a", true)).collect();
        let placements = place(brokers, 5, 2, &mut rng).unwrap();
        let leaders: BTreeSet<BrokerId> = placements.iter().map(|replicas| replicas[0]).collect();
        assert_eq!(leaders.len(), 5);
    }

    #[test]
    fn too_few_brokers_are_an_error() {
        let mut rng = StdRng::seed_from_u64(7);
        assert!(place(vec![broker(0, "a", true)], 1, 2, &mut rng).is_err());
        assert!(place(vec![broker(0, "a", false)], 1, 1, &mut rng).is_err());
        assert!(place(vec![], 1, 1, &mut rng).is_err());
    }
}
