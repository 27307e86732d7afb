//! What is to happen when: one deadline for the driver, however many timers there are.

use std::collections::{BTreeMap, BTreeSet};

use super::request::{GroupId, MemberId};
use crate::types::Monotonic;

/// Something that happens with time alone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// A member was silent for too long.
    Session(GroupId, MemberId),
    /// The members had their time to join.
    Join(GroupId),
    /// The members had their time to sync.
    Sync(GroupId),
    /// A member of a consumer group was silent for too long.
    ConsumerSession(GroupId, MemberId),
    /// A member of a consumer group had its time to give partitions up.
    Revocation(GroupId, MemberId),
    /// A member of a consumer group that speaks the classic protocol had its time to join again.
    ConsumerJoin(GroupId, MemberId),
    /// Such a member had its time to ask for its assignment.
    ConsumerSync(GroupId, MemberId),
    /// Offsets are looked through for expired ones.
    Expiry,
}

/// The timers that are set; each at most once.
#[derive(Debug, Default)]
pub(super) struct Timers {
    queue: BTreeSet<(Monotonic, Timer)>,
    set: BTreeMap<Timer, Monotonic>,
}

impl Timers {
    /// Sets `timer`, also where it was set for another time.
    pub(super) fn set(&mut self, timer: Timer, at: Monotonic) {
        self.cancel(&timer);
        self.set.insert(timer.clone(), at);
        self.queue.insert((at, timer));
    }

    /// Sets `timer` where it is not set yet.
    pub(super) fn set_if_absent(&mut self, timer: Timer, at: Monotonic) {
        if !self.set.contains_key(&timer) {
            self.set(timer, at);
        }
    }

    pub(super) fn cancel(&mut self, timer: &Timer) {
        if let Some((timer, at)) = self.set.remove_entry(timer) {
            self.queue.remove(&(at, timer));
        }
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Monotonic> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// Takes the next one, if it is due at `now`.
    pub(super) fn pop_due(&mut self, now: Monotonic) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        let (_, timer) = self.queue.pop_first()?;
        self.set.remove(&timer);
        Some(timer)
    }
}
