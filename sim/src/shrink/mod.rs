//! The smallest scenario that fails for the same reason: a search over scenario files as plain values.
//!
//! ```text
//! failing scenario ─ cuts (end, storm to steps, steps, times, load, nodes, keys, round numbers) ─► candidates, the boldest first
//!        ▲                                                                                            │
//!        └──── the first of them that still fails for the same reason ◄── Tester: runs them ◄─────────┘
//! ```
//!
//! Greedy, cut after cut, until none works any more. Pure: what a candidate does is asked of a [`Tester`], so that the search is
//! tested without a world, and gives the same result however many candidates are run at once. Lists are cut as by delta
//! debugging (Zeller, Hildebrandt 2002): in halves, quarters, … , one by one.

mod cuts;
pub mod ddmin;
pub mod edit;
pub mod reason;
pub mod toml;
pub mod words;

use serde_json::Value;

use crate::scenario::duration::Span;
pub use reason::{Reason, Role};

/// A scenario to try, with words for what was cut.
#[derive(Clone, Debug, PartialEq)]
pub struct Cut {
    /// What was done to the best scenario so far: `workloads: without reader`.
    pub what: String,
    /// The scenario, as a file would say it.
    pub scenario: Value,
}

/// A scenario that fails for the reason, and what its run showed.
#[derive(Clone, Debug, PartialEq)]
pub struct Failing {
    /// The scenario.
    pub scenario: Value,
    /// Under this seed.
    pub seed: u64,
    /// When it failed, counted as the scenario's times are.
    pub at: Span,
    /// The faults of the storm that came, as fixed steps in the order of time.
    pub of_storm: Vec<Value>,
}

/// How many seeds a candidate is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// The seed that failed, and a few more.
    Usual,
    /// Several times as many: much depends on it, and all draws become others.
    Much,
}

/// Runs candidates.
pub trait Tester {
    /// The first of `cuts`, in their order, that fails for the same reason; with its place among them.
    fn first(&mut self, cuts: &[Cut], effort: Effort) -> Option<(usize, Failing)>;

    /// Whether the time for trying is up.
    fn is_over(&self) -> bool;
}

/// A search under way.
pub struct Search<'a> {
    tester: &'a mut dyn Tester,
    /// The smallest scenario so far.
    best: Failing,
    /// What was cut, in this order.
    done: Vec<String>,
}

/// Where a search ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Shrunk {
    /// The smallest scenario that was found.
    pub smallest: Failing,
    /// What was cut, in this order.
    pub cuts: Vec<String>,
    /// Whether everything was tried; otherwise the time was up.
    pub is_complete: bool,
}

impl Search<'_> {
    /// Takes the first of `cuts` that fails for the same reason; says whether there was one.
    fn take(&mut self, cuts: Vec<Cut>, effort: Effort) -> Option<usize> {
        let changing = |cut: &Cut| cut.scenario != self.best.scenario;
        let (places, cuts): (Vec<usize>, Vec<Cut>) =
            cuts.into_iter().enumerate().filter(|(_, cut)| changing(cut)).unzip();
        if cuts.is_empty() || self.tester.is_over() {
            return None;
        }
        let (index, failing) = self.tester.first(&cuts, effort)?;
        self.best = failing;
        self.done.push(cuts[index].what.clone());
        Some(places[index])
    }

    /// Takes cuts of one kind as long as one of them works.
    fn exhaust(&mut self, kind: fn(&Failing) -> Vec<Cut>) -> bool {
        let mut any = false;
        while self.take(kind(&self.best), Effort::Usual).is_some() {
            any = true;
        }
        any
    }
}

/// Rounds of all kinds of cuts at most: each makes the scenario smaller, and a scenario is a small thing.
const ROUNDS_MAX: usize = 20;

/// Cuts what can be cut of a failing scenario.
pub fn shrink(failing: Failing, reason: &Reason, tester: &mut dyn Tester) -> Shrunk {
    let mut search = Search { tester, best: failing, done: Vec::new() };
    search.take(vec![cuts::expectations(&search.best, reason)], Effort::Usual);
    let mut is_complete = false;
    for _ in 0..ROUNDS_MAX {
        if search.tester.is_over() {
            break;
        }
        if !cuts::round(&mut search, reason) {
            is_complete = !search.tester.is_over();
            break;
        }
    }
    cuts::finish(&mut search);
    Shrunk { smallest: search.best, cuts: search.done, is_complete }
}

#[cfg(test)]
mod tests;
