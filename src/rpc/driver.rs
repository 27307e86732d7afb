//! The task of one connection, and the handle through which requests are submitted to it.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::select;
use tokio::sync::{mpsc, oneshot};

use super::Endpoint;
use super::network_client::{
    Effect, Event, NetworkClient, NetworkClientConfig, RequestId, RpcError, Submission,
};
use crate::protocol::frame::{
    RequestHeader, decode_response, decode_response_header, encode_request, take_frame,
};
use crate::protocol::messages::{ApiVersionsRequest, Request};
use crate::protocol::wire::{EncodeError, Reader};
use crate::protocol::{ApiKey, VersionRange};
use crate::runtime::clock::wait_until;
use crate::runtime::{BoxFuture, Env, Stream, Timer, task};
use crate::types::Now;

/// What a channel is told once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelConfig {
    /// For the request headers.
    pub client_id: String,
    /// Back-off and setup timeout.
    pub network: NetworkClientConfig,
    /// A longer answer breaks the connection, in bytes.
    pub response_bytes_max: usize,
}

/// How a request is to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallOptions {
    /// The versions in which the request can be made.
    pub versions: VersionRange,
    /// How long the answer may take, connecting included.
    pub timeout: Duration,
}

impl CallOptions {
    /// In any version of `R` that we know.
    #[must_use]
    pub fn new<R: Request>(timeout: Duration) -> Self {
        Self { versions: R::VERSIONS, timeout }
    }
}

/// One connection to a node, made when first needed and made again after it broke. Its task ends with the last clone.
///
/// The mailbox is not bounded by itself: callers bound what they have in flight (`max.in.flight.requests.per.connection`,
/// one fetch per node, one metadata request).
#[derive(Clone)]
pub struct Channel {
    mailbox: mpsc::UnboundedSender<Command>,
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Channel")
    }
}

impl Channel {
    /// A channel to the node at `endpoint`. `purpose` names its draws of jitter.
    #[must_use]
    pub fn open(endpoint: Endpoint, config: ChannelConfig, env: &Env, purpose: &str) -> Self {
        let (mailbox, commands) = mpsc::unbounded_channel();
        let driver = Driver {
            machine: NetworkClient::new(config.network, env.rng(purpose)),
            calls: BTreeMap::new(),
            next_id: 0,
            link: Link::Down,
            timer: env.clock.timer(),
            env: env.clone(),
            endpoint,
            config,
        };
        let _task = task::spawn(driver.run(commands));
        Self { mailbox }
    }

    /// Submits a request; `done` is called exactly once on the channel's task and must be quick.
    pub fn submit<R>(
        &self,
        request: R,
        options: CallOptions,
        done: impl FnOnce(Result<R::Response, RpcError>) + Send + 'static,
    ) where
        R: Request + Send + 'static,
        R::Response: Send + 'static,
    {
        self.start(request, options, true, done);
    }

    /// Submits a request that the node does not answer (`acks=0`); `done` is called with a default answer once the
    /// connection has taken all its bytes.
    pub fn submit_unanswered<R>(
        &self,
        request: R,
        options: CallOptions,
        done: impl FnOnce(Result<R::Response, RpcError>) + Send + 'static,
    ) where
        R: Request + Send + 'static,
        R::Response: Send + 'static,
    {
        self.start(request, options, false, done);
    }

    /// Asks and waits for the answer. Dropping the future does not take the request back.
    pub async fn call<R>(&self, request: R, options: CallOptions) -> Result<R::Response, RpcError>
    where
        R: Request + Send + 'static,
        R::Response: Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        self.submit(request, options, move |answer| {
            // Who asked may be gone: then nobody cares for the answer.
            let _ = sender.send(answer);
        });
        receiver.await.unwrap_or(Err(RpcError::Closed))
    }

    fn start<R>(
        &self,
        request: R,
        options: CallOptions,
        is_answered: bool,
        done: impl FnOnce(Result<R::Response, RpcError>) + Send + 'static,
    ) where
        R: Request + Send + 'static,
        R::Response: Send + 'static,
    {
        let call = Box::new(TypedCall { request: Some(request), done });
        let command = Command { api: R::API, options, is_answered, call };
        if let Err(mpsc::error::SendError(command)) = self.mailbox.send(command) {
            command.call.finish(Err(RpcError::NotSent("the channel is closed".to_owned())));
        }
    }
}

struct Command {
    api: ApiKey,
    options: CallOptions,
    is_answered: bool,
    call: Box<dyn Call>,
}

/// A request of any type, on its way.
trait Call: Send {
    /// The API it asks.
    fn api(&self) -> ApiKey;
    /// The frame; the request is not needed afterwards.
    fn encode(&mut self, header: &RequestHeader) -> Result<Vec<Bytes>, EncodeError>;
    /// Hands over the frame that answers it (`None`: it is written and needs no answer), or why there is none.
    fn finish(self: Box<Self>, outcome: Result<Option<(i16, Bytes)>, RpcError>);
}

struct TypedCall<R, F> {
    request: Option<R>,
    done: F,
}

impl<R, F> Call for TypedCall<R, F>
where
    R: Request + Send,
    R::Response: Send,
    F: FnOnce(Result<R::Response, RpcError>) + Send,
{
    fn api(&self) -> ApiKey {
        R::API
    }

    fn encode(&mut self, header: &RequestHeader) -> Result<Vec<Bytes>, EncodeError> {
        let request = self.request.take().expect("a request is written once");
        encode_request(header, &request)
    }

    fn finish(self: Box<Self>, outcome: Result<Option<(i16, Bytes)>, RpcError>) {
        let answer = match outcome {
            Ok(Some((version, frame))) => read_answer::<R>(version, frame),
            Ok(None) => Ok(R::Response::default()),
            Err(error) => Err(error),
        };
        (self.done)(answer);
    }
}

fn read_answer<R: Request>(version: i16, frame: Bytes) -> Result<R::Response, RpcError> {
    let mut input = Reader::new(frame);
    decode_response_header(R::API, version, &mut input)
        .and_then(|_correlation_id| decode_response(version, &mut input))
        .map_err(|error| RpcError::Malformed(error.to_string()))
}

struct Driver {
    machine: NetworkClient,
    calls: BTreeMap<RequestId, Box<dyn Call>>,
    next_id: u64,
    link: Link,
    timer: Box<dyn Timer>,
    env: Env,
    endpoint: Endpoint,
    config: ChannelConfig,
}

impl Driver {
    async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        loop {
            let deadline = self.machine.deadline();
            let event = select! {
                biased;
                command = commands.recv() => match command {
                    Some(command) => self.register(command),
                    None => break,
                },
                event = self.link.next(self.config.response_bytes_max) => event,
                () = wait_until(self.timer.as_mut(), deadline) => Event::Tick,
            };
            let now = self.env.clock.now();
            self.handle(now, event);
        }
        let mut out = Vec::new();
        self.machine.close(&mut out);
        let now = self.env.clock.now();
        self.perform(now, out);
    }

    fn register(&mut self, command: Command) -> Event {
        let id = RequestId(self.next_id);
        self.next_id += 1;
        self.calls.insert(id, command.call);
        Event::Submit(Submission {
            id,
            api: command.api,
            versions: command.options.versions,
            timeout: command.options.timeout,
            is_answered: command.is_answered,
        })
    }

    fn handle(&mut self, now: Now, event: Event) {
        let mut out = Vec::new();
        self.machine.handle(now, event, &mut out);
        self.perform(now, out);
    }

    fn perform(&mut self, now: Now, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Connect => self.link = Link::connecting(&self.env, &self.endpoint),
                Effect::Disconnect => self.link = Link::Down,
                Effect::Negotiate { correlation_id, version } => {
                    self.write_api_versions(now, correlation_id, version);
                }
                Effect::Send { id, correlation_id, version } => {
                    self.write(now, id, correlation_id, version);
                }
                Effect::Answer { id, version, frame } => {
                    self.finish(id, Ok(Some((version, frame))));
                }
                Effect::Sent(id) => self.finish(id, Ok(None)),
                Effect::Fail(id, error) => self.finish(id, Err(error)),
            }
        }
    }

    fn finish(&mut self, id: RequestId, outcome: Result<Option<(i16, Bytes)>, RpcError>) {
        let call = self.calls.remove(&id).expect("the machine ends each request once");
        call.finish(outcome);
    }

    fn header(&self, api: ApiKey, correlation_id: i32, api_version: i16) -> RequestHeader {
        let client_id = Some(self.config.client_id.clone());
        RequestHeader { api_key: api.key(), api_version, correlation_id, client_id }
    }

    fn write_api_versions(&mut self, now: Now, correlation_id: i32, version: i16) {
        let request = ApiVersionsRequest {
            client_software_name: "ottla".to_owned(),
            client_software_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let header = self.header(ApiKey::ApiVersions, correlation_id, version);
        match encode_request(&header, &request) {
            Ok(frame) => self.link.write(frame, None),
            // Only a client id that is too long.
            Err(error) => self.handle(now, Event::Disconnected(error.to_string())),
        }
    }

    fn write(&mut self, now: Now, id: RequestId, correlation_id: i32, version: i16) {
        let call = self.calls.get(&id).expect("the machine sends what was submitted");
        let header = self.header(call.api(), correlation_id, version);
        let call = self.calls.get_mut(&id).expect("it was just there");
        match call.encode(&header) {
            Ok(frame) => self.link.write(frame, Some(id)),
            Err(error) => self.handle(now, Event::Unwritable(id, error.to_string())),
        }
    }
}

/// The socket, if there is one.
enum Link {
    Down,
    Connecting(BoxFuture<'static, io::Result<Box<dyn Stream>>>),
    Up(Box<Wire>),
}

impl Link {
    fn connecting(env: &Env, endpoint: &Endpoint) -> Self {
        let net = env.net.clone();
        let Endpoint { host, port } = endpoint.clone();
        Self::Connecting(Box::pin(async move {
            let addresses = net.resolve(&host, port).await?;
            let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
            for address in addresses {
                match net.connect(address).await {
                    Ok(stream) => return Ok(stream),
                    Err(error) => last = error,
                }
            }
            Err(last)
        }))
    }

    fn write(&mut self, frame: Vec<Bytes>, id: Option<RequestId>) {
        match self {
            Self::Up(wire) => wire.push(frame, id),
            Self::Down | Self::Connecting(_) => {
                unreachable!("the machine writes only after Connected")
            }
        }
    }

    /// What happens next to the socket; never anything while there is none. Cancel-safe.
    async fn next(&mut self, frame_bytes_max: usize) -> Event {
        match self {
            Self::Down => std::future::pending().await,
            Self::Connecting(connecting) => match connecting.await {
                Ok(stream) => {
                    *self = Self::Up(Box::new(Wire::new(stream)));
                    Event::Connected
                }
                Err(error) => {
                    *self = Self::Down;
                    Event::Disconnected(error.to_string())
                }
            },
            Self::Up(wire) => match poll_fn(|cx| wire.poll(cx, frame_bytes_max)).await {
                Ok(event) => event,
                Err(error) => {
                    *self = Self::Down;
                    Event::Disconnected(error.to_string())
                }
            },
        }
    }
}

/// Slices of one `poll_write_vectored`. More than the kernel takes at once is of no use (`IOV_MAX` 1024); 64 are 1 MB of batches.
const SLICES_MAX: usize = 64;

/// How much is read before a frame's length is known, in bytes. Answers without records are seldom longer. In those with records
/// the first value begins further on (a batch's header alone takes 61), so that where a frame needs a block of its own no value
/// is moved there: what a consumer is given lies where the socket put it.
const HEAD_BYTES: usize = 96;

/// A connected socket with what is to be written and what was read.
struct Wire {
    stream: Box<dyn Stream>,
    outgoing: VecDeque<Bytes>,
    /// Bytes ever pushed and ever written.
    pushed: u64,
    written: u64,
    is_flushed: bool,
    /// Where each request ends, counted as `pushed`.
    ends: VecDeque<(u64, RequestId)>,
    incoming: BytesMut,
}

impl Wire {
    fn new(stream: Box<dyn Stream>) -> Self {
        Self {
            stream,
            outgoing: VecDeque::new(),
            pushed: 0,
            written: 0,
            is_flushed: true,
            ends: VecDeque::new(),
            incoming: BytesMut::new(),
        }
    }

    fn push(&mut self, frame: Vec<Bytes>, id: Option<RequestId>) {
        for slice in frame {
            self.pushed += slice.len() as u64;
            self.outgoing.push_back(slice);
        }
        if let Some(id) = id {
            self.ends.push_back((self.pushed, id));
        }
    }

    /// Writes what it can, reads what is there.
    fn poll(&mut self, cx: &mut Context<'_>, frame_bytes_max: usize) -> Poll<io::Result<Event>> {
        if let Err(error) = self.write(cx) {
            return Poll::Ready(Err(error));
        }
        if let Some((end, id)) = self.ends.front().copied()
            && end <= self.written
        {
            self.ends.pop_front();
            return Poll::Ready(Ok(Event::Written(id)));
        }
        self.poll_frame(cx, frame_bytes_max)
    }

    /// Writes until the socket takes no more; it will wake us when it does.
    fn write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while !self.outgoing.is_empty() {
            let slices: Vec<io::IoSlice<'_>> =
                self.outgoing.iter().take(SLICES_MAX).map(|s| io::IoSlice::new(s)).collect();
            let count = match Pin::new(&mut self.stream).poll_write_vectored(cx, &slices) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(result) => result?,
            };
            self.advance(count);
        }
        if !self.is_flushed
            && let Poll::Ready(result) = Pin::new(&mut self.stream).poll_flush(cx)
        {
            result?;
            self.is_flushed = true;
        }
        Ok(())
    }

    fn advance(&mut self, count: usize) {
        self.written += count as u64;
        self.is_flushed = false;
        let mut left = count;
        while left > 0 {
            let front = self.outgoing.front_mut().expect("no more was written than there was");
            let step = left.min(front.len());
            front.advance(step);
            left -= step;
            if front.is_empty() {
                self.outgoing.pop_front();
            }
        }
    }

    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        frame_bytes_max: usize,
    ) -> Poll<io::Result<Event>> {
        loop {
            match take_frame(&mut self.incoming, frame_bytes_max) {
                Ok(Some(frame)) => return Poll::Ready(Ok(Event::Frame(frame))),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Err(io::Error::other(error))),
            }
            let wanted = self.make_room();
            let mut room = (&mut self.incoming).limit(wanted);
            let read = pin!(self.stream.read_buf(&mut room)).poll(cx);
            match std::task::ready!(read) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Makes room for the rest of the frame, or for a head where the length is not known yet; returns how much to read. A frame
    /// has a block of its own, as long as it is, and no byte of the next one is read with it.
    fn make_room(&mut self) -> usize {
        let total = self.incoming.first_chunk::<4>().map_or(HEAD_BYTES, |length| {
            // A length beyond the limit was refused before.
            4 + usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0)
        });
        if self.incoming.capacity() < total {
            let mut block = BytesMut::with_capacity(total);
            block.extend_from_slice(&self.incoming);
            self.incoming = block;
        }
        total - self.incoming.len()
    }
}
