//! Drives the broker's lifecycle: carries its requests to the controller of this node, and its notices to the node.

use std::sync::Arc;

use crate::runtime::watch;
use tokio::sync::mpsc;

use super::Config;
use crate::broker::{Effect, Event, HeartbeatAnswer, Lifecycle, LifecycleConfig};
use crate::controller::driver::ControllerHandle;
use crate::controller::request::{BrokerHeartbeatRequest, RegisterBrokerRequest};
use crate::runtime::clock::wait_until;
use crate::runtime::{BoxFuture, Env, task};
use crate::types::{BrokerEpoch, BrokerId, ErrorCode, Offset};

/// Notices of applied metadata that may wait: a further one waits to be let in.
const EVENTS_MAX: usize = 16;

/// How far the broker's life has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It enters the cluster.
    Starting,
    /// It is unfenced, and serves.
    Ready,
    /// It may end.
    Ended,
    /// It cannot enter the cluster.
    Refused(ErrorCode),
}

/// The broker's life, as the node sees it.
#[derive(Clone, Debug)]
pub(super) struct LifecycleHandle {
    events: mpsc::Sender<Event>,
    stage: watch::Receiver<Stage>,
    epoch: watch::Receiver<Option<BrokerEpoch>>,
}

impl LifecycleHandle {
    /// Begins to register the broker described by `registration`.
    pub(super) fn start(
        config: &Config,
        env: &Env,
        controller: ControllerHandle,
        registration: RegisterBrokerRequest,
    ) -> Self {
        let (events, inbox) = mpsc::channel(EVENTS_MAX);
        let (stage, stage_receiver) = watch::channel(Stage::Starting);
        let (epoch, epoch_receiver) = watch::channel(None);
        let driver = Driver {
            lifecycle: Lifecycle::new(LifecycleConfig {
                heartbeat_interval: config.heartbeat_interval,
                registration_timeout: config.registration_timeout,
                // One node hands over to nobody: the controller agrees at once, or it is gone.
                shutdown_timeout: config.heartbeat_interval,
            }),
            env: env.clone(),
            asker: Arc::new(Asker { controller, registration }),
            inbox,
            stage,
            epoch,
            question: None,
        };
        task::spawn(driver.run());
        Self { events, stage: stage_receiver, epoch: epoch_receiver }
    }

    /// Tells that all metadata below `end_offset` is applied.
    pub(super) async fn metadata_applied(&self, end_offset: Offset) {
        // An error: the broker's life is over, nobody need know.
        let _ = self.events.send(Event::MetadataApplied(end_offset)).await;
    }

    /// Waits until the broker serves.
    ///
    /// Errors: the controller refuses it.
    pub(super) async fn ready(&self) -> Result<(), ErrorCode> {
        match self.wait_for(|stage| *stage != Stage::Starting).await {
            Stage::Ready | Stage::Ended | Stage::Starting => Ok(()),
            Stage::Refused(error) => Err(error),
        }
    }

    /// Leads the broker out of the cluster.
    pub(super) async fn shutdown(&self) {
        let _ = self.events.send(Event::ShutdownWanted).await;
        self.wait_for(|stage| matches!(stage, Stage::Ended | Stage::Refused(_))).await;
    }

    /// The broker's epoch, once it is registered.
    pub(super) fn epoch(&self) -> Option<BrokerEpoch> {
        *self.epoch.borrow()
    }

    /// The same, and what comes after.
    pub(super) fn epochs(&self) -> watch::Receiver<Option<BrokerEpoch>> {
        self.epoch.clone()
    }

    async fn wait_for(&self, is_there: impl FnMut(&Stage) -> bool) -> Stage {
        let mut stage = self.stage.clone();
        stage.wait_for(is_there).await.map_or(Stage::Ended, |stage| *stage)
    }
}

struct Driver {
    lifecycle: Lifecycle,
    env: Env,
    asker: Arc<Asker>,
    inbox: mpsc::Receiver<Event>,
    stage: watch::Sender<Stage>,
    epoch: watch::Sender<Option<BrokerEpoch>>,
    /// The request under way: at most one, by the machine's rule.
    question: Option<BoxFuture<'static, Event>>,
}

impl Driver {
    async fn run(mut self) {
        let mut timer = self.env.clock.timer();
        let mut next = Event::Start;
        let mut out = Vec::new();
        loop {
            self.lifecycle.handle(self.env.clock.now(), next, &mut out);
            for effect in out.drain(..) {
                match effect {
                    Effect::Register => self.question = Some(self.asker.clone().register()),
                    Effect::Heartbeat { broker_epoch, metadata_end_offset, want_shutdown } => {
                        let asker = self.asker.clone();
                        self.question =
                            Some(asker.heartbeat(broker_epoch, metadata_end_offset, want_shutdown));
                    }
                    Effect::Joined(epoch) => {
                        self.epoch.send_replace(Some(epoch));
                    }
                    Effect::Ready => {
                        self.stage.send_replace(Stage::Ready);
                    }
                    Effect::End { clean } => {
                        tracing::debug!(clean, "the broker left the cluster");
                        self.stage.send_replace(Stage::Ended);
                        return;
                    }
                    Effect::Fail(error) => {
                        self.stage.send_replace(Stage::Refused(error));
                        return;
                    }
                }
            }
            let deadline = self.lifecycle.deadline();
            let question = &mut self.question;
            let answered = async {
                match question {
                    Some(question) => question.as_mut().await,
                    None => std::future::pending().await,
                }
            };
            let event = tokio::select! {
                biased;
                event = self.inbox.recv() => event,
                event = answered => {
                    self.question = None;
                    Some(event)
                }
                () = wait_until(timer.as_mut(), deadline) => Some(Event::Tick),
            };
            // All handles are gone: the node was dropped.
            let Some(event) = event else { return };
            next = event;
        }
    }
}

/// Puts the lifecycle's questions to the controller.
struct Asker {
    controller: ControllerHandle,
    registration: RegisterBrokerRequest,
}

impl Asker {
    fn broker(&self) -> BrokerId {
        self.registration.broker
    }

    fn register(self: Arc<Self>) -> BoxFuture<'static, Event> {
        Box::pin(async move {
            let answer = self.controller.register_broker(self.registration.clone()).await;
            Event::Registered(answer.map_err(|error| {
                tracing::warn!(%error, "the controller does not register this broker");
                error.error
            }))
        })
    }

    fn heartbeat(
        self: Arc<Self>,
        broker_epoch: BrokerEpoch,
        metadata_end_offset: Offset,
        want_shutdown: bool,
    ) -> BoxFuture<'static, Event> {
        Box::pin(async move {
            let request = BrokerHeartbeatRequest {
                broker: self.broker(),
                broker_epoch,
                metadata_end_offset,
                want_fence: false,
                want_shutdown,
                offline_log_dirs: Vec::new(),
            };
            let answer = self.controller.broker_heartbeat(request).await;
            let answer = answer.map(|answer| HeartbeatAnswer {
                is_fenced: answer.is_fenced,
                should_shut_down: answer.should_shut_down,
            });
            Event::HeartbeatAnswered(answer.map_err(|error| error.error))
        })
    }
}
