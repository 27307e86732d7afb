//! Which runs come next: rounds of new seeds, and variations of those that reached something new in the round before. A round is
//! decided before it begins and taken in by its order, so that what is run does not depend on how many cores there are.

use super::corpus::Kept;
use super::coverage::News;
use super::shard::Shard;

/// How many new runs a round has: about a minute on two cores.
const FRESH: usize = 64;

/// How many variations a round has at most.
const VARIED_MAX: usize = FRESH / 2;

/// A run to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Which scenario and variant, counted from 0.
    pub lane: usize,
    /// The seed.
    pub seed: u64,
    /// Which variation of which settings; none for a new seed.
    pub varied: Option<Varied>,
}

/// A variation of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Varied {
    /// What was set in the run that it varies.
    pub settings: Vec<String>,
    /// Which variation of it, from 1.
    pub number: u32,
}

/// See the module.
pub struct Rounds {
    lanes: usize,
    shard: Shard,
    /// The next seed, and the last one.
    next: Option<u64>,
    last: u64,
    /// How many variations a run gets that reached something new.
    vary: u32,
    waiting: Vec<(usize, Kept)>,
    fresh: usize,
    varied: usize,
}

impl Rounds {
    /// Begins at `first`; `last` is inclusive. `lanes` is at least 1.
    #[must_use]
    pub fn new(lanes: usize, shard: Shard, (first, last): (u64, u64), vary: u32) -> Self {
        let waiting = Vec::new();
        Self { lanes, shard, next: Some(first), last, vary, waiting, fresh: 0, varied: 0 }
    }

    /// The first seed that no round had.
    #[must_use]
    pub fn next_seed(&self) -> u64 {
        self.next.unwrap_or(self.last)
    }

    /// The runs of the next round; none once all is done.
    pub fn next_round(&mut self) -> Vec<Task> {
        let mut tasks = Vec::new();
        while tasks.len() < FRESH {
            let Some(seed) = self.take_seed() else { break };
            tasks.extend((0..self.lanes).map(|lane| Task { lane, seed, varied: None }));
        }
        self.fresh += tasks.len();
        // What brought the most comes first; variations are never more than what is new.
        self.waiting.sort_by(|(_, one), (_, other)| {
            other.news.cmp(&one.news).then(one.seed.cmp(&other.seed))
        });
        let room = VARIED_MAX.min(self.fresh - self.varied);
        let mut varied = Vec::new();
        while varied.len() + self.vary as usize <= room && !self.waiting.is_empty() {
            let (lane, kept) = self.waiting.remove(0);
            varied.extend((1..=self.vary).map(|number| Task {
                lane,
                seed: kept.seed,
                varied: Some(Varied { settings: kept.settings.clone(), number }),
            }));
        }
        self.varied += varied.len();
        tasks.extend(varied);
        tasks
    }

    fn take_seed(&mut self) -> Option<u64> {
        loop {
            let seed = self.next.filter(|seed| *seed <= self.last)?;
            self.next = seed.checked_add(1);
            if self.shard.holds(seed) {
                return Some(seed);
            }
        }
    }

    /// A run reached something new.
    pub fn keep(&mut self, lane: usize, kept: Kept) {
        if self.vary > 0 {
            self.waiting.push((lane, kept));
        }
    }

    /// Whether what a run reached makes it worth varying.
    #[must_use]
    pub const fn is_worth(news: News) -> bool {
        news.is_worth_keeping()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(seed: u64, states: usize) -> Kept {
        let news = News { states, ..News::default() };
        Kept { path: "a".into(), variant: None, seed, settings: Vec::new(), news }
    }

    fn seeds(tasks: &[Task]) -> Vec<u64> {
        tasks.iter().map(|task| task.seed).collect()
    }

    #[test]
    fn rounds_go_through_the_seeds_of_the_shard_and_end() {
        let mut rounds = Rounds::new(1, Shard { number: 2, of: 3 }, (10, 500), 0);
        let mut all = Vec::new();
        loop {
            let tasks = rounds.next_round();
            if tasks.is_empty() {
                break;
            }
            assert!(tasks.len() <= FRESH);
            all.extend(seeds(&tasks));
        }
        assert_eq!(all, (10..=500).filter(|seed| seed % 3 == 2).collect::<Vec<_>>());
    }

    #[test]
    fn every_lane_gets_every_seed() {
        let mut rounds = Rounds::new(3, Shard::WHOLE, (1, 2), 0);
        let tasks = rounds.next_round();
        let pairs: Vec<_> = tasks.iter().map(|task| (task.seed, task.lane)).collect();
        assert_eq!(pairs, [(1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)]);
        assert!(rounds.next_round().is_empty());
    }

    #[test]
    fn what_reached_something_new_is_varied_in_the_next_round_and_the_most_first() {
        let mut rounds = Rounds::new(1, Shard::WHOLE, (1, 1_000), 2);
        assert_eq!(rounds.next_round().len(), FRESH);
        rounds.keep(0, kept(5, 1));
        rounds.keep(0, kept(9, 4));
        let tasks = rounds.next_round();
        assert_eq!(seeds(&tasks[FRESH..]), [9, 9, 5, 5]);
        let numbers: Vec<_> =
            tasks[FRESH..].iter().map(|task| task.varied.as_ref().unwrap().number).collect();
        assert_eq!(numbers, [1, 2, 1, 2]);
        assert_eq!(rounds.next_round().len(), FRESH, "each is varied once");
    }

    #[test]
    fn variations_are_never_more_than_new_seeds() {
        let mut rounds = Rounds::new(1, Shard::WHOLE, (1, 10), 4);
        let mut all = rounds.next_round().len();
        for seed in 0..1_000 {
            rounds.keep(0, kept(seed, 1));
        }
        loop {
            let tasks = rounds.next_round().len();
            if tasks == 0 {
                break;
            }
            all += tasks;
        }
        assert_eq!(all, 10 + 8, "two runs have four variations each, a third would be too many");
    }

    #[test]
    fn the_last_of_all_seeds_is_no_overflow() {
        let mut rounds = Rounds::new(1, Shard::WHOLE, (u64::MAX - 1, u64::MAX), 0);
        assert_eq!(seeds(&rounds.next_round()), [u64::MAX - 1, u64::MAX]);
        assert!(rounds.next_round().is_empty());
    }
}
