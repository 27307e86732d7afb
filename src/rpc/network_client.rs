//! One connection to a node, as a machine: back-off, version negotiation, correlation, timeouts (pure).
//!
//! ```text
//!              submit, back-off over            connected               versions known
//! Disconnected ─────────────────────▶ Connecting ────────▶ Negotiating ───────────────▶ Ready
//!      ▲                                   │                    │                          │
//!      └──── refused, broken, timed out ───┴────────────────────┴──────────────────────────┘
//! ```
//!
//! Whatever ends the connection ends every request that was submitted by then, each with the word whether it may have been
//! carried out: the caller knows better than this machine where to ask next.
//!
//! Kafka: `NetworkClient`, `InFlightRequests`, `ClusterConnectionStates`.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;

use super::Backoff;
use crate::protocol::frame::{decode_response, decode_response_header};
use crate::protocol::messages::{ApiVersionsRequest, ApiVersionsResponse, Message};
use crate::protocol::wire::Reader;
use crate::protocol::{ApiKey, VersionRange};
use crate::types::{ErrorCode, Monotonic, Now};

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RpcError {
    /// The connection could not be made, or broke before the request was handed to it: it was not carried out.
    #[error("not sent: {0}")]
    NotSent(String),
    /// The connection broke behind the request: it may have been carried out.
    #[error("cut off: {0}")]
    CutOff(String),
    /// The time for the answer went by. Where it was sent, it may have been carried out.
    #[error("no answer in time{}", if *sent { "" } else { " (not sent)" })]
    TimedOut {
        /// Whether it was handed to the connection.
        sent: bool,
    },
    /// The node serves no version of the API that the caller allows: not sent.
    #[error("the node does not serve {api} in a version that is allowed here")]
    UnsupportedVersion {
        /// The API.
        api: ApiKey,
    },
    /// The request cannot be written in the version that the node serves: not sent.
    #[error("cannot be written: {0}")]
    Unwritable(String),
    /// The answer cannot be read. The request was carried out.
    #[error("the answer cannot be read: {0}")]
    Malformed(String),
    /// The channel was closed. Whether a request that waited was carried out is not known.
    #[error("the channel is closed")]
    Closed,
}

impl RpcError {
    /// Whether the node may have carried the request out.
    #[must_use]
    pub const fn may_be_carried_out(&self) -> bool {
        match self {
            Self::CutOff(_) | Self::TimedOut { sent: true } | Self::Malformed(_) | Self::Closed => {
                true
            }
            Self::NotSent(_)
            | Self::TimedOut { sent: false }
            | Self::UnsupportedVersion { .. }
            | Self::Unwritable(_) => false,
        }
    }
}

/// A request's number within one machine. Rises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// A request, as far as the machine needs to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Submission {
    /// Its number, larger than all before.
    pub id: RequestId,
    /// What it asks.
    pub api: ApiKey,
    /// The versions that the caller can make it in.
    pub versions: VersionRange,
    /// How long the answer may take, from now on, connecting included.
    pub timeout: Duration,
    /// Whether there will be an answer: not with `acks=0`.
    pub is_answered: bool,
}

/// What happens to a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody asks.
    Submit(Submission),
    /// [`Effect::Connect`] succeeded.
    Connected,
    /// A whole frame arrived, without its length.
    Frame(Bytes),
    /// All bytes of an unanswered request were taken by the connection.
    Written(RequestId),
    /// [`Effect::Send`] cannot be done: nothing was written.
    Unwritable(RequestId, String),
    /// [`Effect::Connect`] failed, or the connection ended.
    Disconnected(String),
    /// The deadline came.
    Tick,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Begin to connect.
    Connect,
    /// Drop the connection, or the attempt to make it.
    Disconnect,
    /// Write an ApiVersions request.
    Negotiate {
        /// For its header.
        correlation_id: i32,
        /// Of the request.
        version: i16,
    },
    /// Write a submitted request.
    Send {
        /// Which.
        id: RequestId,
        /// For its header.
        correlation_id: i32,
        /// The highest version that both sides know and the caller allows.
        version: i16,
    },
    /// Hand an answer to who asked.
    Answer {
        /// The request.
        id: RequestId,
        /// The version of the answer.
        version: i16,
        /// The frame, response header included.
        frame: Bytes,
    },
    /// Tell who asked that the unanswered request is with the connection.
    Sent(RequestId),
    /// Tell who asked that there will be no answer.
    Fail(RequestId, RpcError),
}

/// What the machine is told once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkClientConfig {
    /// The pause before connecting again after a failure.
    pub reconnect: Backoff,
    /// How long connecting and negotiating may take together.
    pub setup_timeout: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Disconnected { not_before: Monotonic },
    Connecting { deadline: Monotonic },
    Negotiating { correlation_id: i32, version: i16, deadline: Monotonic },
    Ready { versions: Vec<(ApiKey, VersionRange)> },
}

/// A request that waits for the connection, or for its answer.
#[derive(Clone, Debug)]
struct Waiting {
    submission: Submission,
    deadline: Monotonic,
}

#[derive(Clone, Debug)]
struct InFlight {
    waiting: Waiting,
    correlation_id: i32,
    version: i16,
}

/// See the module.
#[derive(Debug)]
pub struct NetworkClient {
    config: NetworkClientConfig,
    rng: StdRng,
    state: State,
    /// Connections that failed one after another.
    failures: u32,
    next_correlation_id: i32,
    queue: VecDeque<Waiting>,
    /// In the order in which they were written.
    in_flight: VecDeque<InFlight>,
}

impl NetworkClient {
    /// A machine without connection.
    #[must_use]
    pub fn new(config: NetworkClientConfig, rng: StdRng) -> Self {
        Self {
            config,
            rng,
            state: State::Disconnected { not_before: Monotonic::ZERO },
            failures: 0,
            next_correlation_id: 0,
            queue: VecDeque::new(),
            in_flight: VecDeque::new(),
        }
    }

    /// Takes an event in; what is to be done goes to the end of `out`, to be done in order.
    pub fn handle(&mut self, now: Now, event: Event, out: &mut Vec<Effect>) {
        match event {
            Event::Submit(submission) => {
                let deadline = now.monotonic + submission.timeout;
                self.queue.push_back(Waiting { submission, deadline });
            }
            Event::Connected => self.on_connected(out),
            Event::Frame(frame) => self.on_frame(now, frame, out),
            Event::Written(id) => self.on_written(id, out),
            Event::Unwritable(id, reason) => self.on_unwritable(id, reason, out),
            Event::Disconnected(reason) => self.disconnect(now, &reason, out),
            Event::Tick => {}
        }
        self.expire(now, out);
        self.proceed(now, out);
        self.check();
    }

    /// When [`Event::Tick`] is due at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Monotonic> {
        let state = match &self.state {
            State::Disconnected { not_before } => (!self.queue.is_empty()).then_some(*not_before),
            State::Connecting { deadline } | State::Negotiating { deadline, .. } => Some(*deadline),
            State::Ready { .. } => None,
        };
        let queued = self.queue.iter().map(|waiting| waiting.deadline).min();
        let in_flight = self.in_flight.iter().map(|request| request.waiting.deadline).min();
        [state, queued, in_flight].into_iter().flatten().min()
    }

    /// Fails everything: the machine is of no further use.
    pub fn close(&mut self, out: &mut Vec<Effect>) {
        for request in self.in_flight.drain(..) {
            out.push(Effect::Fail(request.waiting.submission.id, RpcError::Closed));
        }
        for waiting in self.queue.drain(..) {
            let error = RpcError::NotSent("the channel is closed".to_owned());
            out.push(Effect::Fail(waiting.submission.id, error));
        }
        self.state = State::Disconnected { not_before: Monotonic::FAR_FUTURE };
        out.push(Effect::Disconnect);
    }

    fn on_connected(&mut self, out: &mut Vec<Effect>) {
        if let State::Connecting { deadline } = self.state {
            self.negotiate(ApiVersionsRequest::VERSIONS.max, deadline, out);
        }
    }

    fn negotiate(&mut self, version: i16, deadline: Monotonic, out: &mut Vec<Effect>) {
        let correlation_id = self.correlation_id();
        self.state = State::Negotiating { correlation_id, version, deadline };
        out.push(Effect::Negotiate { correlation_id, version });
    }

    /// Correlation ids count from 0 and wrap within the positive numbers (Kafka: `NetworkClient.nextCorrelationId`).
    fn correlation_id(&mut self) -> i32 {
        let id = self.next_correlation_id;
        self.next_correlation_id = id.checked_add(1).unwrap_or(0);
        id
    }

    fn on_frame(&mut self, now: Now, frame: Bytes, out: &mut Vec<Effect>) {
        let Some(correlation_id) = frame.first_chunk::<4>().map(|bytes| i32::from_be_bytes(*bytes))
        else {
            return self.disconnect(now, "an answer without correlation id", out);
        };
        if let State::Negotiating { correlation_id: expected, version, deadline } = self.state {
            if correlation_id != expected {
                return self.disconnect(now, "an answer to another request", out);
            }
            return match read_api_versions(version, frame) {
                Ok(Negotiated::Versions(versions)) => {
                    self.failures = 0;
                    self.state = State::Ready { versions };
                }
                Ok(Negotiated::AskInVersion(version)) => self.negotiate(version, deadline, out),
                Err(reason) => self.disconnect(now, &reason, out),
            };
        }
        // Requests without answer may stand before the one that is answered.
        let answered = self.in_flight.iter().position(|r| r.waiting.submission.is_answered);
        match answered.map(|index| (index, self.in_flight[index].correlation_id)) {
            Some((index, expected)) if expected == correlation_id => {
                let request = self.in_flight.remove(index).expect("it was just found");
                let id = request.waiting.submission.id;
                out.push(Effect::Answer { id, version: request.version, frame });
            }
            Some(_) => self.disconnect(now, "an answer out of order", out),
            None => self.disconnect(now, "an answer that nobody asked for", out),
        }
    }

    fn on_written(&mut self, id: RequestId, out: &mut Vec<Effect>) {
        let before = self.in_flight.len();
        self.in_flight.retain(|request| {
            let submission = &request.waiting.submission;
            submission.id != id || submission.is_answered
        });
        if self.in_flight.len() < before {
            out.push(Effect::Sent(id));
        }
    }

    fn on_unwritable(&mut self, id: RequestId, reason: String, out: &mut Vec<Effect>) {
        self.in_flight.retain(|request| request.waiting.submission.id != id);
        out.push(Effect::Fail(id, RpcError::Unwritable(reason)));
    }

    /// Ends the connection and everything that was submitted.
    fn disconnect(&mut self, now: Now, reason: &str, out: &mut Vec<Effect>) {
        if matches!(self.state, State::Disconnected { .. }) {
            return;
        }
        self.failures = self.failures.saturating_add(1);
        let pause = self.config.reconnect.pause(self.failures, &mut self.rng);
        self.state = State::Disconnected { not_before: now.monotonic + pause };
        out.push(Effect::Disconnect);
        for request in self.in_flight.drain(..) {
            let error = RpcError::CutOff(reason.to_owned());
            out.push(Effect::Fail(request.waiting.submission.id, error));
        }
        for waiting in self.queue.drain(..) {
            let error = RpcError::NotSent(reason.to_owned());
            out.push(Effect::Fail(waiting.submission.id, error));
        }
    }

    /// Fails what has waited too long. An answer that does not come breaks the connection: those behind it would come after it.
    fn expire(&mut self, now: Now, out: &mut Vec<Effect>) {
        let is_over = |waiting: &Waiting| waiting.deadline <= now.monotonic;
        if self.in_flight.iter().any(|request| is_over(&request.waiting)) {
            let (over, rest): (VecDeque<InFlight>, VecDeque<InFlight>) =
                self.in_flight.drain(..).partition(|request| is_over(&request.waiting));
            self.in_flight = rest;
            for request in over {
                let error = RpcError::TimedOut { sent: true };
                out.push(Effect::Fail(request.waiting.submission.id, error));
            }
            self.disconnect(now, "a request before it was not answered in time", out);
        }
        match self.state {
            State::Connecting { deadline } if deadline <= now.monotonic => {
                self.disconnect(now, "connecting took too long", out);
            }
            State::Negotiating { deadline, .. } if deadline <= now.monotonic => {
                self.disconnect(now, "no answer to ApiVersions", out);
            }
            State::Disconnected { .. }
            | State::Connecting { .. }
            | State::Negotiating { .. }
            | State::Ready { .. } => {}
        }
        self.queue.retain(|waiting| {
            let over = is_over(waiting);
            if over {
                let error = RpcError::TimedOut { sent: false };
                out.push(Effect::Fail(waiting.submission.id, error));
            }
            !over
        });
    }

    /// Connects where somebody waits and the back-off is over; sends what may be sent.
    fn proceed(&mut self, now: Now, out: &mut Vec<Effect>) {
        if let State::Disconnected { not_before } = self.state
            && !self.queue.is_empty()
            && not_before <= now.monotonic
        {
            self.state = State::Connecting { deadline: now.monotonic + self.config.setup_timeout };
            out.push(Effect::Connect);
        }
        while let State::Ready { versions } = &self.state
            && let Some(waiting) = self.queue.pop_front()
        {
            let Submission { id, api, versions: allowed, .. } = waiting.submission;
            let served = versions.iter().find(|(served, _)| *served == api);
            let Some(both) = served.and_then(|(_, range)| range.intersection(allowed)) else {
                out.push(Effect::Fail(id, RpcError::UnsupportedVersion { api }));
                continue;
            };
            let (correlation_id, version) = (self.correlation_id(), both.max);
            self.in_flight.push_back(InFlight { waiting, correlation_id, version });
            out.push(Effect::Send { id, correlation_id, version });
        }
    }

    /// What holds after each event.
    fn check(&self) {
        let is_ready = matches!(self.state, State::Ready { .. });
        assert!(is_ready || self.in_flight.is_empty(), "requests are in flight only when ready");
        assert!(!is_ready || self.queue.is_empty(), "nothing waits for a connection that is there");
    }
}

enum Negotiated {
    Versions(Vec<(ApiKey, VersionRange)>),
    AskInVersion(i16),
}

/// Reads the answer to ApiVersions. A broker that does not know the version answers in version 0 with
/// UNSUPPORTED_VERSION, and since KIP-511 with the range it knows.
fn read_api_versions(version: i16, frame: Bytes) -> Result<Negotiated, String> {
    let unsupported = ErrorCode::UnsupportedVersion.code().to_be_bytes();
    let is_refused = frame.get(4..6) == Some(&unsupported[..]);
    let body_version = if is_refused { 0 } else { version };
    let mut input = Reader::new(frame);
    decode_response_header(ApiKey::ApiVersions, body_version, &mut input)
        .map_err(|error| error.to_string())?;
    let response: ApiVersionsResponse =
        decode_response(body_version, &mut input).map_err(|error| error.to_string())?;
    if is_refused {
        if version == 0 {
            return Err("ApiVersions is not served in version 0".to_owned());
        }
        let known = response.api_keys.iter().find(|r| r.api_key == ApiKey::ApiVersions.key());
        let highest = known.map_or(0, |range| range.max_version);
        return Ok(Negotiated::AskInVersion(highest.clamp(0, version - 1)));
    }
    if !response.error_code.is_none() {
        return Err(format!("ApiVersions answered {}", response.error_code));
    }
    let ranges = response.api_keys.iter().filter_map(|range| {
        let api = ApiKey::from_wire(range.api_key)?;
        Some((api, VersionRange::new(range.min_version, range.max_version)))
    });
    Ok(Negotiated::Versions(ranges.collect()))
}
