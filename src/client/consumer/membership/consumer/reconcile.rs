//! From what a member has to what it is to have, within its owner's `poll` (pure).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::release::{Stage, Then};
use super::super::{Effect, Membership, difference, partitions};
use super::{AssignmentById, ConsumerProtocol, State};
use crate::client::consumer::assignors::Assignment;
use crate::types::{Monotonic, TopicId};

/// What of a target can be had now.
#[derive(Default)]
struct Resolved {
    by_name: Assignment,
    by_id: AssignmentById,
    names: BTreeMap<TopicId, Arc<str>>,
}

impl Membership<ConsumerProtocol> {
    pub(super) fn is_idle(&self) -> bool {
        self.stage == Stage::Idle
    }

    /// Keeps known what the owner reads, and what the topics are called of which it is to have something.
    pub(super) fn watch_topics(&mut self, out: &mut Vec<Effect>) {
        let subscription = self.subscription.clone().unwrap_or_default();
        self.watch(subscription, out);
        let target = self.protocol.target.iter().flat_map(BTreeMap::keys);
        let to_watch = target.filter(|id| {
            // What was watched stays so until it is not meant any more.
            self.protocol.watched_ids.contains(id)
                || !(self.names.contains_key(id) || self.protocol.held_names.contains_key(id))
        });
        let to_watch: BTreeSet<TopicId> = to_watch.copied().collect();
        if to_watch != self.protocol.watched_ids {
            self.protocol.watched_ids.clone_from(&to_watch);
            out.push(Effect::WatchIds(to_watch));
        }
    }

    pub(super) fn rebalance(&mut self, now: Monotonic, out: &mut Vec<Effect>) {
        if self.closing.is_some() || self.to_leave.is_some() {
            return;
        }
        match self.stage {
            Stage::Idle => {}
            Stage::Done(Then::Complete) => self.stage = Stage::Idle,
            Stage::Done(Then::Join | Then::Leave) => unreachable!("nothing is given up for that"),
            Stage::Listening(..) | Stage::Committing(..) => return,
        }
        match &self.protocol.state {
            State::Refused(error) => {
                out.push(Effect::Fail(error.clone()));
                self.lose_all(out);
            }
            State::Out => {
                self.lose_all(out);
                if self.subscription.is_some() {
                    self.protocol.state = State::Joining;
                }
            }
            State::Joining => {}
            State::Member => self.reconcile(now, out),
        }
    }

    /// Gives up what is not meant for it; where there is nothing of that, takes what is.
    fn reconcile(&mut self, now: Monotonic, out: &mut Vec<Effect>) {
        let Some(target) = &self.protocol.target else { return };
        let resolved = self.resolve(target);
        let revoked = difference(&self.owned, &self.kept(&resolved));
        if !revoked.is_empty() {
            return self.revoke(revoked, Then::Complete, out);
        }
        let added = partitions(&difference(&resolved.by_name, &self.owned));
        if added.is_empty() && resolved.by_id == self.protocol.held {
            return;
        }
        if resolved.by_id != *target {
            crate::mark!("consumer takes what it knows the names of, and waits for the rest");
        }
        if !added.is_empty() {
            self.starts.extend(added.iter().cloned());
            self.forget_start();
        }
        out.push(Effect::Assign { all: partitions(&resolved.by_name), added });
        self.owned = resolved.by_name;
        self.protocol.held = resolved.by_id;
        self.protocol.held_names = resolved.names;
        if let Some(interval) = self.config.auto_commit_interval {
            self.auto_commit_at = now + interval;
        }
    }

    /// What of the target has a name. Of two topics that had the same name, the one that has it now.
    fn resolve(&self, target: &AssignmentById) -> Resolved {
        let mut resolved = Resolved::default();
        for (id, indexes) in target {
            let was_called = self.protocol.held_names.get(id).filter(|name| {
                // Its metadata may be missing for a while.
                !self.names.values().any(|other| other == *name)
            });
            let Some(name) = self.names.get(id).or(was_called) else { continue };
            resolved.by_name.insert(Arc::clone(name), indexes.clone());
            resolved.by_id.insert(*id, indexes.clone());
            resolved.names.insert(*id, Arc::clone(name));
        }
        resolved
    }

    /// What the owner reads of these already: a topic that was made anew is another one.
    fn kept(&self, resolved: &Resolved) -> Assignment {
        let was_same = |id: &TopicId| self.protocol.held.contains_key(id);
        let kept = resolved.names.iter().filter(|(id, _)| was_same(id));
        kept.filter_map(|(_, name)| Some((Arc::clone(name), resolved.by_name.get(name)?.clone())))
            .collect()
    }
}
