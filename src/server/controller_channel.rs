//! Asks the active controller, whoever that is at the moment.
//!
//! Who leads the quorum is what this node's metadata task knows; where it listens is in the configuration. A request goes to that
//! node over its controller listener, also where it is this node itself. It is asked again, after a pause or as soon as another
//! leader is known, until somebody answers who is the active controller, or the time is over.
//!
//! So a request may be carried out twice: where the answer to the first attempt is lost. As in Kafka, that is for those who ask to
//! bear: registrations and heartbeats do not mind, a topic created twice exists already.
//!
//! Kafka: `NodeToControllerChannelManager`, `NodeToControllerRequestThread`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;

use super::Config;
use crate::controller::driver::QuorumLeader;
use crate::controller::request::ApiError;
use crate::protocol::messages::{Message, Request};
use crate::rpc::driver::{CallOptions, Channel, ChannelConfig};
use crate::rpc::network_client::{NetworkClientConfig, RpcError};
use crate::rpc::{Backoff, Endpoint};
use crate::runtime::clock::timeout_at;
use crate::runtime::{Env, watch};
use crate::types::{BrokerId, ErrorCode, Monotonic};

/// The pause before asking again: a leader that was just elected needs a moment until it is active.
const RETRY: Backoff = Backoff { first: Duration::from_millis(50), max: Duration::from_secs(1) };
/// The pause before connecting again. Kafka: 50 ms, always.
const RECONNECT: Backoff = RETRY;

/// A line to the active controller. Cloning shares it: what is asked over one line is answered in order.
#[derive(Clone)]
pub(super) struct ControllerChannel {
    quorum: Arc<Quorum>,
    line: Arc<Line>,
}

/// What all lines of a node go by.
struct Quorum {
    env: Env,
    voters: BTreeMap<BrokerId, Endpoint>,
    leader: watch::Receiver<QuorumLeader>,
    channel: ChannelConfig,
    /// `controller.socket.timeout.ms`.
    attempt_timeout: Duration,
}

struct Line {
    purpose: String,
    state: Mutex<LineState>,
}

struct LineState {
    /// A connection for each controller that was asked.
    channels: BTreeMap<BrokerId, Channel>,
    rng: StdRng,
}

impl fmt::Debug for ControllerChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControllerChannel").field("purpose", &self.line.purpose).finish()
    }
}

impl ControllerChannel {
    /// A line for `purpose`, to the one of `voters` that `leader` names.
    pub(super) fn new(
        config: &Config,
        env: &Env,
        voters: &[(BrokerId, Endpoint)],
        leader: watch::Receiver<QuorumLeader>,
        purpose: &str,
    ) -> Self {
        let quorum = Quorum {
            env: env.clone(),
            voters: voters.iter().cloned().collect(),
            leader,
            channel: ChannelConfig {
                client_id: config.node_id.to_string(),
                network: NetworkClientConfig {
                    reconnect: RECONNECT,
                    setup_timeout: config.connection_setup_timeout,
                },
                response_bytes_max: config.request_bytes_max,
            },
            attempt_timeout: config.controller_socket_timeout,
        };
        Self { line: Line::new(env, purpose), quorum: Arc::new(quorum) }
    }

    /// Another line, with connections of its own: what is slow on one does not hold up the other.
    pub(super) fn another(&self, purpose: &str) -> Self {
        Self { quorum: self.quorum.clone(), line: Line::new(&self.quorum.env, purpose) }
    }

    /// Asks the active controller. Dropping the future does not take the request back.
    ///
    /// # Errors
    /// `REQUEST_TIMED_OUT` where no active controller answered within `timeout`; `UNSUPPORTED_VERSION`, `INVALID_REQUEST` where
    /// it cannot be asked; `NOT_CONTROLLER` where this node's metadata task has ended.
    pub(super) async fn call<R>(
        &self,
        request: R,
        timeout: Duration,
    ) -> Result<R::Response, ApiError>
    where
        R: Request + Send + Sync + 'static,
        R::Response: Send + 'static,
    {
        let clock = self.quorum.env.clock.as_ref();
        let deadline = clock.now().monotonic + timeout;
        let mut last = "no leader of the quorum is known".to_owned();
        let attempts = self.until_answered(&request, deadline, &mut last);
        match timeout_at(clock, deadline, attempts).await {
            Some(answer) => answer,
            None => {
                let (api, millis) = (R::API, timeout.as_millis());
                tracing::debug!(%api, last, "the active controller did not answer in time");
                let message = format!("no controller answered {api} within {millis} ms: {last}");
                Err(ApiError::new(ErrorCode::RequestTimedOut, message))
            }
        }
    }

    async fn until_answered<R>(
        &self,
        request: &R,
        deadline: Monotonic,
        last: &mut String,
    ) -> Result<R::Response, ApiError>
    where
        R: Request + Send + Sync + 'static,
        R::Response: Send + 'static,
    {
        let mut leader = self.quorum.leader.clone();
        let mut failures = 0;
        loop {
            let known = leader.wait_for(|known| known.leader.is_some()).await;
            let Some(known) = known.ok().map(|known| *known) else {
                let message = "the metadata task of this node has ended";
                return Err(ApiError::new(ErrorCode::NotController, message));
            };
            let id = known.leader.expect("it was waited for");
            let answer = match self.channel(id) {
                Some(channel) => {
                    let left = deadline.since(self.quorum.env.clock.now().monotonic);
                    let options = CallOptions::new::<R>(left.min(self.quorum.attempt_timeout));
                    tokio::select! {
                        biased;
                        answer = channel.call(request.clone(), options) => answer,
                        () = moved(&mut leader, known) => {
                            crate::mark!("a request to the controller moves to another leader");
                            *last = format!("node {id} leads no longer");
                            continue;
                        }
                    }
                }
                None => Err(RpcError::NotSent("it is not in controller.quorum.voters".to_owned())),
            };
            *last = match answer {
                Ok(response) if !response.has_error(ErrorCode::NotController) => {
                    return Ok(response);
                }
                Ok(_) => format!("node {id} is not the active controller"),
                Err(error @ RpcError::UnsupportedVersion { .. }) => {
                    return Err(ApiError::new(ErrorCode::UnsupportedVersion, error.to_string()));
                }
                Err(error @ RpcError::Unwritable(_)) => {
                    return Err(ApiError::new(ErrorCode::InvalidRequest, error.to_string()));
                }
                Err(
                    error @ (RpcError::NotSent(_)
                    | RpcError::CutOff(_)
                    | RpcError::TimedOut { .. }
                    | RpcError::Malformed(_)
                    | RpcError::Closed),
                ) => format!("node {id}: {error}"),
            };
            tracing::debug!(api = %R::API, controller = %id, last, "the controller is asked again");
            failures += 1;
            self.pause(failures, moved(&mut leader, known)).await;
        }
    }

    /// Waits before the next attempt, or until `moved`.
    async fn pause(&self, failures: u32, moved: impl Future<Output = ()>) {
        let span = {
            let mut state = self.line.state.lock().unwrap_or_else(PoisonError::into_inner);
            RETRY.pause(failures, &mut state.rng)
        };
        let clock = self.quorum.env.clock.as_ref();
        let _ = timeout_at(clock, clock.now().monotonic + span, moved).await;
    }

    /// The connection to a controller; `None` where the configuration does not name it.
    fn channel(&self, id: BrokerId) -> Option<Channel> {
        let endpoint = self.quorum.voters.get(&id)?;
        let mut state = self.line.state.lock().unwrap_or_else(PoisonError::into_inner);
        let channel = state.channels.entry(id).or_insert_with(|| {
            let purpose = format!("{} to controller {id}", self.line.purpose);
            let config = self.quorum.channel.clone();
            Channel::open(endpoint.clone(), config, &self.quorum.env, &purpose)
        });
        Some(channel.clone())
    }
}

/// Waits until another leader than `known` is known, be it the same node in a later epoch.
async fn moved(leader: &mut watch::Receiver<QuorumLeader>, known: QuorumLeader) {
    let is_another = |now: &QuorumLeader| now.leader.is_some() && *now != known;
    if leader.wait_for(is_another).await.is_err() {
        // The metadata task has ended: nobody will be known any more.
        std::future::pending::<()>().await;
    }
}

impl Line {
    fn new(env: &Env, purpose: &str) -> Arc<Self> {
        let rng = env.rng(&format!("{purpose} asks again"));
        let state = LineState { channels: BTreeMap::new(), rng };
        Arc::new(Self { purpose: purpose.to_owned(), state: Mutex::new(state) })
    }
}
