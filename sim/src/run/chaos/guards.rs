//! What a storm must leave whole, and which of its faults would not.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::Who;
use crate::run::node::Member;
use crate::run::stage::Stage;
use crate::run::timeline::Meant;
use crate::scenario::plan::{Action, Direction, Keep};
use crate::scenario::target::Group;

/// A fault under way.
#[derive(Clone, Debug, Default)]
struct Trouble {
    /// Who is dead or stands still.
    down: Vec<Who>,
    /// Who does not reach whom, in either direction.
    apart: Vec<(Who, Who)>,
}

/// The storm's faults under way.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    under_way: BTreeMap<u64, Trouble>,
    next: u64,
}

impl Troubles {
    /// Takes a fault in, where every guard admits it. Returns its number.
    ///
    /// Errors: what it would break.
    pub(super) fn admit(
        &mut self,
        stage: &Stage,
        action: &Action,
        meant: &Meant,
    ) -> Result<u64, String> {
        let trouble = trouble_of(action, meant);
        if let Some(who) = trouble.down.iter().find(|who| self.is_down(who)) {
            return Err(format!("{who} is down already"));
        }
        let keep = stage.plan.chaos.as_ref().map(|chaos| chaos.keep.clone()).unwrap_or_default();
        let number = self.next;
        self.next += 1;
        self.under_way.insert(number, trouble);
        match self.check(stage, &keep, action, meant) {
            Ok(()) => Ok(number),
            Err(reason) => {
                self.under_way.remove(&number);
                Err(reason)
            }
        }
    }

    /// A fault is over. Returns who was down because of it.
    pub(super) fn end(&mut self, number: u64) -> Vec<Who> {
        self.under_way.remove(&number).map(|trouble| trouble.down).unwrap_or_default()
    }

    fn is_down(&self, who: &Who) -> bool {
        self.under_way.values().any(|trouble| trouble.down.contains(who))
    }

    fn are_apart(&self, one: &Who, other: &Who) -> bool {
        let is_pair = |(a, b): &(Who, Who)| (a == one && b == other) || (a == other && b == one);
        self.under_way.values().any(|trouble| trouble.apart.iter().any(is_pair))
    }

    /// How many of `nodes` somebody reaches who is up, himself with them.
    fn reached(&self, who: &Who, nodes: &[Who]) -> usize {
        let up = nodes.iter().filter(|other| !self.is_down(other));
        up.filter(|other| *other == who || !self.are_apart(who, other)).count()
    }

    fn check(
        &self,
        stage: &Stage,
        keep: &Keep,
        action: &Action,
        meant: &Meant,
    ) -> Result<(), String> {
        let nodes = stage.group(Group::Nodes);
        if let Some(most) = keep.brokers_down_at_most {
            let brokers = stage.group(Group::Brokers);
            let is_away =
                |who: &&Who| self.is_down(who) || self.reached(who, &nodes) * 2 <= nodes.len();
            let away = brokers.iter().filter(is_away).count();
            if away > most as usize {
                return Err(format!("{away} brokers would be down"));
            }
        }
        if keep.controller_majority {
            let voters = stage.group(Group::Controllers);
            let up = voters.iter().filter(|who| !self.is_down(who));
            let most = up.map(|who| self.reached(who, &voters)).max().unwrap_or(0);
            if most * 2 <= voters.len() {
                return Err(format!("{most} of {} voters would be left together", voters.len()));
            }
        }
        if keep.last_copy_safe {
            for who in subjects(meant).filter(|who| Member::of(who).is_some()) {
                stage.may(action, who)?;
            }
        }
        Ok(())
    }
}

fn subjects(meant: &Meant) -> impl Iterator<Item = &Who> {
    let all: BTreeSet<&Who> = meant.subjects.iter().flat_map(|(_, who)| who).collect();
    all.into_iter()
}

fn trouble_of(action: &Action, meant: &Meant) -> Trouble {
    let first = || meant.subjects.first().map_or_else(Vec::new, |(_, who)| who.clone());
    let cut = || match (&meant.shaped, meant.subjects.as_slice()) {
        (Some(pairs), _) => pairs.clone(),
        (None, [(_, one), (_, other)]) => one
            .iter()
            .flat_map(|one| other.iter().map(move |other| (one.clone(), other.clone())))
            .filter(|(one, other)| one != other)
            .collect(),
        (None, _) => Vec::new(),
    };
    match action {
        Action::Kill { .. }
        | Action::PowerLoss { .. }
        | Action::Shutdown { .. }
        | Action::Pause { .. }
        | Action::StopClient { .. }
        | Action::KillClient { .. } => Trouble { down: first(), apart: Vec::new() },
        // What works one way only is as good as none to whoever waits for an answer.
        Action::Partition { cut: lies } => match lies.direction {
            Direction::Both | Direction::OneWay => Trouble { down: Vec::new(), apart: cut() },
        },
        Action::Start { .. }
        | Action::Resume { .. }
        | Action::Wipe { .. }
        | Action::Heal { .. }
        | Action::SlowLink { .. }
        | Action::Loss { .. }
        | Action::Reset { .. }
        | Action::DropRequest { .. }
        | Action::DropResponse { .. }
        | Action::DelayRequest { .. }
        | Action::DelayResponse { .. }
        | Action::DuplicateRequest { .. }
        | Action::DiskSlow { .. }
        | Action::DiskFull { .. }
        | Action::DiskError { .. }
        | Action::Corrupt { .. }
        | Action::ClockJump { .. }
        | Action::ClockDrift { .. }
        | Action::AddClient { .. }
        | Action::AddBroker {}
        | Action::RemoveBroker { .. }
        | Action::UnregisterBroker { .. }
        | Action::Reassign { .. }
        | Action::AddPartitions { .. }
        | Action::DeleteRecords { .. }
        | Action::ResetOffsets { .. }
        | Action::ElectPreferred { .. }
        | Action::ElectUnclean { .. }
        | Action::SetConfig { .. }
        | Action::Mark { .. } => Trouble::default(),
    }
}
