//! Tells the active controller in which log directories the replicas of this broker are, where the metadata does not say so.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::controller_channel::{AskController, answer_of};
use super::replica_fetchers::{OwnEpoch, registered};
use crate::broker::assignments::{Assignments, Effect, Event, Unassigned};
use crate::protocol::messages::AssignReplicasToDirsRequest;
use crate::runtime::clock::wait_until;
use crate::runtime::{BoxFuture, Env};
use crate::types::{BrokerId, TopicIdPartition, Uuid};

/// What the metadata does not say, as it was when it was last applied.
#[derive(Debug, Default)]
pub(super) struct Locations {
    unassigned: Mutex<Unassigned>,
    changed: Notify,
}

impl Locations {
    /// A replica is in the directory `here`; the metadata says `told`.
    pub(super) fn found(&self, replica: TopicIdPartition, here: Uuid, told: Option<Uuid>) {
        self.change(|unassigned| match told {
            Some(told) if told == here => unassigned.remove(&replica).is_some(),
            Some(_) | None => unassigned.insert(replica, here) != Some(here),
        });
    }

    /// A replica is not here any more.
    pub(super) fn gone(&self, replica: TopicIdPartition) {
        self.change(|unassigned| unassigned.remove(&replica).is_some());
    }

    fn change(&self, change: impl FnOnce(&mut Unassigned) -> bool) {
        let mut unassigned = self.unassigned.lock().unwrap_or_else(PoisonError::into_inner);
        if change(&mut unassigned) {
            self.changed.notify_one();
        }
    }

    fn now(&self) -> Unassigned {
        self.unassigned.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Runs until it is aborted.
pub(super) async fn run(
    env: Env,
    broker: BrokerId,
    locations: Arc<Locations>,
    own_epoch: OwnEpoch,
    ask: AskController<AssignReplicasToDirsRequest>,
) {
    let mut timer = env.clock.timer();
    let mut machine = Assignments::new(broker);
    let mut question: Option<BoxFuture<'static, Event>> = None;
    let mut out = Vec::new();
    loop {
        let deadline = machine.deadline();
        let event = tokio::select! {
            biased;
            () = locations.changed.notified() => Event::Unassigned(locations.now()),
            event = answer_of(&mut question) => event,
            () = wait_until(timer.as_mut(), deadline) => Event::Tick,
        };
        machine.handle(env.clock.now(), event, &mut out);
        for Effect::Ask(mut request) in out.drain(..) {
            let (ask, mut own_epoch) = (ask.clone(), own_epoch.clone());
            question = Some(Box::pin(async move {
                request.broker_epoch = registered(&mut own_epoch).await;
                Event::Answered(ask(request).await)
            }));
        }
    }
}
