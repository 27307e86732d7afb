//! Faults of the real world around nodes: their links.

use std::collections::BTreeSet;

use crate::run::faults::{Doing, Undo, words_of};
use crate::scenario::plan::{Action, Cut};
use crate::world::{NodeId, ways};

impl Doing<'_> {
    /// Does what is done to the world around nodes.
    ///
    /// Errors: why it cannot be done now.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the others were refused before the run")]
    pub(in crate::run) fn act_on_world(&self) -> Result<Option<Undo>, String> {
        match &self.step.action {
            Action::Partition { cut } => self.partition(cut),
            Action::Heal { between } => self.heal(between.is_some()),
            Action::Reset { .. } => self.reset(),
            other => Err(format!("`{}` cannot be done to real nodes", other.name())),
        }
    }

    fn partition(&self, cut: &Cut) -> Result<Option<Undo>, String> {
        let ways = self.ways_of(cut);
        if ways.is_empty() {
            return Err("nobody is on the other side".into());
        }
        self.tell("fault.started", &words_of(cut));
        let cut = self.stage.world().cut(ways);
        Ok(Some(Box::new(move |stage| stage.world().heal_cut(cut))))
    }

    fn heal(&self, has_sides: bool) -> Result<Option<Undo>, String> {
        self.tell("fault.ended", "");
        if !has_sides {
            self.stage.world().heal_all();
            return Ok(None);
        }
        for (from, to) in ways(&self.nodes(0), &self.nodes(1), true) {
            self.stage.world().heal_way(from, to);
        }
        Ok(None)
    }

    fn reset(&self) -> Result<Option<Undo>, String> {
        let links = self.stage.world().links();
        let pairs: BTreeSet<(NodeId, NodeId)> = ways(&self.nodes(0), &self.nodes(1), false)
            .into_iter()
            .map(|(one, other)| (one.min(other), one.max(other)))
            .collect();
        let count: usize = pairs.iter().map(|(one, other)| links.reset(one.0, other.0)).sum();
        if count == 0 {
            return Err("there is no connection between them".into());
        }
        self.tell("fault.started", &format!("{count} connections"));
        Ok(None)
    }
}
