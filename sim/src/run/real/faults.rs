//! Faults of the real world around nodes: their links.

use std::collections::BTreeSet;

use crate::event::Who;
use crate::run::faults::{Doing, Undo};
use crate::scenario::plan::{Action, Cut, CutShape, Direction};
use crate::world::NodeId;

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
        let both = cut.direction == Direction::Both;
        let shape = cut.shape.map(CutShape::name).unwrap_or_default();
        let words = [shape, if both { "" } else { "one way" }];
        let node = |who: &Who| self.stage.node(who);
        let ways: Vec<_> = match self.shaped {
            Some(pairs) => pairs
                .iter()
                .filter_map(|(one, other)| Some(ways(&[node(one)?], &[node(other)?], both)))
                .flatten()
                .collect(),
            None => ways(&self.nodes(0), &self.nodes(1), both),
        };
        if ways.is_empty() {
            return Err("nobody is on the other side".into());
        }
        self.tell("fault.started", words.join(" ").trim());
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

/// Every way from the first to the second; both ways where asked for.
fn ways(from: &[NodeId], to: &[NodeId], both: bool) -> Vec<(NodeId, NodeId)> {
    let pairs = from.iter().flat_map(|from| to.iter().map(move |to| (*from, *to)));
    let pairs = pairs.filter(|(from, to)| from != to);
    pairs.flat_map(|(from, to)| [Some((from, to)), both.then_some((to, from))]).flatten().collect()
}
