//! The shapes of cuts: who cannot reach whom.

use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use crate::scenario::plan::CutShape;

/// The pairs that a shape among `nodes` cuts apart, drawn from `rng`; each pair once. None where there are too few nodes.
pub(super) fn pairs<T: Clone>(shape: CutShape, nodes: &[T], rng: &mut StdRng) -> Vec<(T, T)> {
    let mut nodes = nodes.to_vec();
    nodes.shuffle(rng);
    let count = nodes.len();
    let half = count / 2;
    let is_cut = |one: usize, other: usize| match shape {
        CutShape::One => one == 0,
        CutShape::Halves => (one < half) != (other < half),
        // The first is the bridge; what is left is halved.
        CutShape::Bridge => one > 0 && (one <= half) != (other <= half),
        CutShape::MajoritiesRing => !is_near(count, one, other),
    };
    let all = (0..count).flat_map(|one| (one + 1..count).map(move |other| (one, other)));
    all.filter(|(one, other)| is_cut(*one, *other))
        .map(|(one, other)| (nodes[one].clone(), nodes[other].clone()))
        .collect()
}

/// Whether two places of a ring of `count` are near enough that each reaches just a majority, itself with it.
fn is_near(count: usize, one: usize, other: usize) -> bool {
    let majority = count / 2 + 1;
    let (before, after) = ((majority - 1) / 2, (majority - 1).div_ceil(2));
    let ahead = (other + count - one) % count;
    let behind = count - ahead;
    // A link works both ways: an odd reach cannot be the same on both sides, so the longer one counts.
    ahead <= before.max(after) || behind <= before.max(after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::draw::rng_of;

    fn reached(shape: CutShape, count: usize) -> Vec<usize> {
        let nodes: Vec<usize> = (0..count).collect();
        let cut = pairs(shape, &nodes, &mut rng_of(7, "shape"));
        let is_cut = |one, other| cut.contains(&(one, other)) || cut.contains(&(other, one));
        let reach = |one: usize| nodes.iter().filter(|other| !is_cut(one, **other)).count();
        let mut reached: Vec<usize> = nodes.iter().map(|one| reach(*one)).collect();
        reached.sort_unstable();
        reached
    }

    #[test]
    fn shapes_leave_each_node_those_it_is_to_reach() {
        assert_eq!(reached(CutShape::One, 5), [1, 4, 4, 4, 4]);
        assert_eq!(reached(CutShape::Halves, 5), [2, 2, 3, 3, 3]);
        assert_eq!(reached(CutShape::Bridge, 5), [3, 3, 3, 3, 5]);
        assert_eq!(reached(CutShape::MajoritiesRing, 5), [3, 3, 3, 3, 3]);
        assert!(reached(CutShape::MajoritiesRing, 6).iter().all(|reach| (4..=5).contains(reach)));
        assert_eq!(reached(CutShape::Halves, 1), [1]);
    }
}
