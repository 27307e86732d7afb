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
use crate::runtime::{BoxFuture, Env, watch};
use crate::types::{BrokerId, ErrorCode, Monotonic};

/// The pause before asking again: a leader that was just elected needs a moment until it is active.
const RETRY: Backoff = Backoff { first: Duration::from_millis(50), max: Duration::from_secs(1) };
/// The pause before connecting again. Kafka: 50 ms, always.
const RECONNECT: Backoff = RETRY;

/// Asks the active controller; an error where no answer came.
pub(super) type AskController<R> =
    Arc<dyn Fn(R) -> BoxFuture<'static, Result<<R as Request>::Response, ErrorCode>> + Send + Sync>;

/// Waits for the answer to a question, if one is under way; afterwards none is. Cancel-safe.
pub(super) async fn answer_of<T>(question: &mut Option<BoxFuture<'static, T>>) -> T {
    let Some(future) = question else { return std::future::pending().await };
    let answer = future.as_mut().await;
    *question = None;
    answer
}

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

    /// Another line, for one kind of request, as the tasks of a broker ask: no answer comes later than after `timeout`.
    pub(super) fn asker<R>(&self, purpose: &str, timeout: Duration) -> AskController<R>
    where
        R: Request + Send + Sync + 'static,
        R::Response: Send + 'static,
    {
        let line = self.another(purpose);
        Arc::new(move |request| {
            let line = line.clone();
            Box::pin(async move { line.call(request, timeout).await.map_err(|error| error.error) })
        })
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
        let (mut asked, mut failures) = (None, 0);
        loop {
            let known = leader.wait_for(|known| known.leader.is_some()).await;
            let Some(known) = known.ok().map(|known| *known) else {
                let message = "the metadata task of this node has ended";
                return Err(ApiError::new(ErrorCode::NotController, message));
            };
            let id = known.leader.expect("it was waited for");
            if asked != Some(known) {
                // A new leader is active in a moment: it does not pay for the patience with the last one.
                (asked, failures) = (Some(known), 0);
            }
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

#[cfg(test)]
#[cfg(not(madsim))]
#[expect(
    clippy::disallowed_methods,
    reason = "the controllers of these tests stand outside the node's world"
)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::protocol::ApiKey;
    use crate::protocol::frame::{decode_request_header, encode_response};
    use crate::protocol::messages::api_versions_response::ApiVersion;
    use crate::protocol::messages::{
        ApiVersionsResponse, BrokerHeartbeatRequest, BrokerHeartbeatResponse,
    };
    use crate::protocol::wire::Reader;
    use crate::runtime::{Observer, real_env};
    use crate::types::{LeaderEpoch, Observation};

    struct Deaf;

    impl Observer for Deaf {
        fn observe(&self, _: Observation) {}
    }

    /// What a controller does with a heartbeat.
    #[derive(Clone, Copy)]
    enum Behaviour {
        Answer,
        NotController,
        Silent,
        HangUpOnce,
    }

    /// A controller in threads of its own.
    struct Fake {
        endpoint: Endpoint,
        asked: Arc<AtomicUsize>,
    }

    fn fake(behaviour: Behaviour) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let count = count.clone();
                std::thread::spawn(move || serve(stream.unwrap(), behaviour, &count));
            }
        });
        Fake { endpoint: Endpoint { host: "127.0.0.1".to_owned(), port }, asked }
    }

    fn serve(mut stream: TcpStream, behaviour: Behaviour, asked: &AtomicUsize) -> Option<()> {
        loop {
            let mut length = [0; 4];
            stream.read_exact(&mut length).ok()?;
            let mut frame = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap()];
            stream.read_exact(&mut frame).ok()?;
            let header = decode_request_header(&mut Reader::new(frame.into())).unwrap();
            let api = header.api().unwrap();
            let answer = if api == ApiKey::ApiVersions {
                let heartbeat = ApiVersion { api_key: 63, min_version: 0, max_version: 1 };
                let api_keys = vec![heartbeat];
                let response = ApiVersionsResponse { api_keys, ..Default::default() };
                encode_response(header.correlation_id, api, header.api_version, &response)
            } else {
                let error_code = match (behaviour, asked.fetch_add(1, Ordering::SeqCst)) {
                    (Behaviour::HangUpOnce, 0) => return None,
                    (Behaviour::Answer | Behaviour::HangUpOnce, _) => ErrorCode::None,
                    (Behaviour::NotController, _) => ErrorCode::NotController,
                    (Behaviour::Silent, _) => continue,
                };
                let response = BrokerHeartbeatResponse { error_code, ..Default::default() };
                encode_response(header.correlation_id, api, header.api_version, &response)
            };
            for slice in answer.unwrap() {
                stream.write_all(&slice).ok()?;
            }
        }
    }

    const MINIMAL: &str = "process.roles=broker\nnode.id=9\nlog.dirs=/d\n\
                           listeners=PLAINTEXT://127.0.0.1:9092\ncontroller.listener.names=C\n\
                           controller.quorum.voters=1@127.0.0.1:9093\n";

    fn leader(epoch: i32, id: Option<i32>) -> QuorumLeader {
        QuorumLeader { epoch: LeaderEpoch::new(epoch), leader: id.map(BrokerId::new) }
    }

    /// Asks the controllers 1, 2, … for as long as `millis`; the leader is `first`, and `then` after a moment.
    fn ask(
        controllers: &[&Fake],
        first: QuorumLeader,
        then: Option<QuorumLeader>,
        millis: u64,
    ) -> Result<BrokerHeartbeatResponse, ApiError> {
        let (config, _) = Config::parse(MINIMAL, &BTreeMap::new()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let env = real_env(Arc::new(Deaf), 1).unwrap();
        let ids = (1..).map(BrokerId::new);
        let voters = ids.zip(controllers.iter().map(|fake| fake.endpoint.clone()));
        let voters: Vec<_> = voters.collect();
        runtime.block_on(async {
            let (sender, receiver) = watch::channel(first);
            let channel = ControllerChannel::new(&config, &env, &voters, receiver, "test");
            let request =
                BrokerHeartbeatRequest { broker_id: BrokerId::new(9), ..Default::default() };
            let call = channel.call(request, Duration::from_millis(millis));
            let change = async {
                crate::runtime::clock::sleep(env.clock.as_ref(), Duration::from_millis(100)).await;
                if let Some(then) = then {
                    sender.send_replace(then);
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                biased;
                answer = call => answer,
                () = change => unreachable!("it is pending"),
            }
        })
    }

    #[test]
    fn a_request_waits_until_a_leader_is_known() {
        let one = fake(Behaviour::Answer);
        let answer = ask(&[&one], leader(0, None), Some(leader(1, Some(1))), 30_000);
        assert!(answer.unwrap().error_code.is_none());
        let error = ask(&[&one], leader(0, None), None, 300).unwrap_err();
        assert_eq!(error.error, ErrorCode::RequestTimedOut);
        let message = error.message.unwrap();
        assert!(message.ends_with("within 300 ms: no leader of the quorum is known"), "{message}");
    }

    #[test]
    fn a_request_follows_the_leadership() {
        let (one, two) = (fake(Behaviour::NotController), fake(Behaviour::Answer));
        let then = Some(leader(2, Some(2)));
        let answer = ask(&[&one, &two], leader(1, Some(1)), then, 30_000).unwrap();
        assert!(answer.error_code.is_none());
        assert!(one.asked.load(Ordering::SeqCst) >= 1);
        assert_eq!(two.asked.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_silent_leader_is_left_for_the_next() {
        let (one, two) = (fake(Behaviour::Silent), fake(Behaviour::Answer));
        let then = Some(leader(2, Some(2)));
        assert!(ask(&[&one, &two], leader(1, Some(1)), then, 30_000).is_ok());
        let error = ask(&[&one, &two], leader(1, Some(1)), None, 300).unwrap_err();
        assert_eq!(error.error, ErrorCode::RequestTimedOut);
    }

    #[test]
    fn a_lost_connection_is_made_again() {
        let one = fake(Behaviour::HangUpOnce);
        assert!(ask(&[&one], leader(1, Some(1)), None, 30_000).is_ok());
        assert_eq!(one.asked.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn a_leader_that_nobody_named_is_not_asked() {
        let one = fake(Behaviour::Answer);
        let error = ask(&[&one], leader(1, Some(7)), None, 300).unwrap_err();
        assert!(error.message.unwrap().contains("not in controller.quorum.voters"));
    }
}
