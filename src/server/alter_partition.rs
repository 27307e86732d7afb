//! Carries the in-sync replicas that leaders of this broker propose to the active controller, and its answers back.
//!
//! Proposals wait in a table, the newest of each partition: nothing is queued, and a leader never waits to be heard.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::Notify;

use super::controller_channel::{AskController, answer_of};
use super::replica_fetchers::{OwnEpoch, registered};
use super::replica_manager::ReplicaManager;
use crate::broker::alter_partition::{AlterPartition, Committed, Effect, Event, Proposal};
use crate::protocol::messages::AlterPartitionRequest;
use crate::replica::driver::IsrChanges;
use crate::replica::{IsrCommitted, IsrProposal};
use crate::runtime::clock::wait_until;
use crate::runtime::{BoxFuture, Env};
use crate::types::{BrokerId, TopicIdPartition};

/// What leaders propose, until the task takes it.
#[derive(Debug, Default)]
pub(super) struct Proposals {
    table: Mutex<BTreeMap<TopicIdPartition, IsrProposal>>,
    changed: Notify,
}

impl Proposals {
    /// An ear for leaders.
    pub(super) fn listener(self: &Arc<Self>) -> IsrChanges {
        let this = self.clone();
        IsrChanges::new(move |partition, proposal| {
            let version = |of: &IsrProposal| (of.leader_epoch, of.partition_epoch);
            let mut table = this.table.lock().unwrap_or_else(PoisonError::into_inner);
            if table.get(&partition).is_none_or(|known| version(known) <= version(&proposal)) {
                table.insert(partition, proposal);
            }
            drop(table);
            this.changed.notify_one();
        })
    }

    fn take(&self) -> BTreeMap<TopicIdPartition, IsrProposal> {
        std::mem::take(&mut *self.table.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Runs until it is aborted, or the broker is gone.
pub(super) async fn run(
    env: Env,
    broker: BrokerId,
    proposals: Arc<Proposals>,
    replicas: Weak<ReplicaManager>,
    own_epoch: OwnEpoch,
    ask: AskController<AlterPartitionRequest>,
) {
    let mut timer = env.clock.timer();
    let mut machine = AlterPartition::new(broker);
    let mut question: Option<BoxFuture<'static, Event>> = None;
    let mut events: Vec<Event> = Vec::new();
    let mut out = Vec::new();
    loop {
        events.extend(
            proposals.take().into_iter().map(|(id, one)| Event::Proposed(id, proposed(one))),
        );
        for event in events.drain(..) {
            machine.handle(env.clock.now(), event, &mut out);
        }
        for effect in out.drain(..) {
            match effect {
                Effect::Ask(mut request) => {
                    let (ask, mut own_epoch) = (ask.clone(), own_epoch.clone());
                    question = Some(Box::pin(async move {
                        request.broker_epoch = registered(&mut own_epoch).await;
                        Event::Answered(ask(request).await)
                    }));
                }
                Effect::Tell(partition, proposal, answer) => {
                    let Some(replicas) = replicas.upgrade() else { return };
                    // Not here any more: nobody cares.
                    if let Ok(handle) = replicas.hosted(partition) {
                        handle.isr_answered(&as_proposed(proposal), answer.map(committed));
                    }
                }
            }
        }
        let deadline = machine.deadline();
        tokio::select! {
            biased;
            () = proposals.changed.notified() => {}
            event = answer_of(&mut question) => events.push(event),
            () = wait_until(timer.as_mut(), deadline) => events.push(Event::Tick),
        }
    }
}

fn proposed(proposal: IsrProposal) -> Proposal {
    let IsrProposal { leader_epoch, partition_epoch, isr, is_recovering } = proposal;
    Proposal { leader_epoch, partition_epoch, isr, is_recovering }
}

fn as_proposed(proposal: Proposal) -> IsrProposal {
    let Proposal { leader_epoch, partition_epoch, isr, is_recovering } = proposal;
    IsrProposal { leader_epoch, partition_epoch, isr, is_recovering }
}

fn committed(committed: Committed) -> IsrCommitted {
    let Committed { isr, leader_epoch, partition_epoch, is_recovering } = committed;
    IsrCommitted { leader_epoch, partition_epoch, isr, is_recovering }
}
