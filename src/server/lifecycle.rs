//! Drives the broker's lifecycle: carries its requests to the active controller, and its notices to the node.

use std::sync::Arc;
use std::time::Duration;

use crate::runtime::watch;
use tokio::sync::mpsc;

use super::Config;
use super::controller_channel::{ControllerChannel, answer_of};
use crate::broker::{Effect, Event, HeartbeatAnswer, Lifecycle, LifecycleConfig};
use crate::protocol::messages::{BrokerHeartbeatRequest, BrokerRegistrationRequest};
use crate::runtime::clock::wait_until;
use crate::runtime::{BoxFuture, Env, task};
use crate::types::{BrokerEpoch, ErrorCode, Offset, Uuid};

/// Notices of applied metadata that may wait: a further one waits to be let in.
const EVENTS_MAX: usize = 16;
/// How long one registration may wait for a controller before the log says so and it is tried again.
const REGISTRATION_ATTEMPT: Duration = Duration::from_secs(5);

/// The ids of the log directories that have failed since the start.
pub(super) type OfflineLogDirs = Box<dyn Fn() -> Vec<Uuid> + Send + Sync>;

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
    /// Begins to register the broker described by `registration`. Each heartbeat tells which log directories have failed.
    pub(super) fn start(
        config: &Config,
        env: &Env,
        controller: &ControllerChannel,
        registration: BrokerRegistrationRequest,
        offline_log_dirs: OfflineLogDirs,
    ) -> Self {
        let (events, inbox) = mpsc::channel(EVENTS_MAX);
        let (stage, stage_receiver) = watch::channel(Stage::Starting);
        let (epoch, epoch_receiver) = watch::channel(None);
        let driver = Driver {
            lifecycle: Lifecycle::new(LifecycleConfig {
                heartbeat_interval: config.heartbeat_interval,
                registration_timeout: config.registration_timeout,
                // After so long without an answer the controller has fenced the broker: it leads nothing any more.
                shutdown_timeout: config.session_timeout,
            }),
            env: env.clone(),
            asker: Arc::new(Asker {
                controller: controller.another("heartbeat"),
                registration,
                offline_log_dirs,
                registration_timeout: config.registration_timeout.min(REGISTRATION_ATTEMPT),
                // Kafka: half a session (KAFKA-14392), so that a lost heartbeat is not the end of it.
                heartbeat_timeout: config.session_timeout / 2,
            }),
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
            let event = tokio::select! {
                biased;
                event = self.inbox.recv() => event,
                event = answer_of(&mut self.question) => Some(event),
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
    controller: ControllerChannel,
    registration: BrokerRegistrationRequest,
    offline_log_dirs: OfflineLogDirs,
    registration_timeout: Duration,
    heartbeat_timeout: Duration,
}

impl Asker {
    fn register(self: Arc<Self>) -> BoxFuture<'static, Event> {
        Box::pin(async move {
            let asked = self.controller.call(self.registration.clone(), self.registration_timeout);
            Event::Registered(match asked.await {
                Ok(response) => match (response.error_code, response.broker_epoch) {
                    (ErrorCode::None, Some(epoch)) => Ok(epoch),
                    (ErrorCode::None, None) => Err(ErrorCode::UnknownServerError),
                    (error, _) => {
                        tracing::warn!(%error, "the controller does not register this broker");
                        Err(error)
                    }
                },
                Err(error) => {
                    tracing::warn!(%error, "this broker waits for a controller to register with");
                    Err(error.error)
                }
            })
        })
    }

    fn heartbeat(
        self: Arc<Self>,
        broker_epoch: BrokerEpoch,
        metadata_end_offset: Offset,
        want_shut_down: bool,
    ) -> BoxFuture<'static, Event> {
        Box::pin(async move {
            let request = BrokerHeartbeatRequest {
                broker_id: self.registration.broker_id,
                broker_epoch: Some(broker_epoch),
                // On the wire it is the last offset applied, here the end.
                current_metadata_offset: Offset::from_wire(metadata_end_offset.value() - 1),
                want_fence: false,
                want_shut_down,
                offline_log_dirs: (self.offline_log_dirs)(),
                cordoned_log_dirs: None,
            };
            let asked = self.controller.call(request, self.heartbeat_timeout);
            Event::HeartbeatAnswered(match asked.await {
                Ok(response) if response.error_code.is_none() => Ok(HeartbeatAnswer {
                    is_fenced: response.is_fenced,
                    should_shut_down: response.should_shut_down,
                }),
                Ok(response) => Err(response.error_code),
                Err(error) => {
                    tracing::warn!(%error, "a heartbeat is not answered");
                    Err(error.error)
                }
            })
        })
    }
}
