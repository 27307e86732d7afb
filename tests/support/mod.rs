//! A node in a thread of its own, and a client that speaks bytes.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use ottla::protocol::frame::{
    RequestHeader, decode_response, decode_response_header, encode_request,
};
use ottla::protocol::messages::Request;
use ottla::protocol::wire::Reader;
use ottla::runtime::{Env, Observer, real_env};
use ottla::server::{Config, FormatOptions, Node, NodeEnd, StartError, format};
use ottla::types::Observation;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Keeps what it hears.
#[derive(Default)]
pub(crate) struct Heard(Mutex<Vec<Observation>>);

impl Observer for Heard {
    fn observe(&self, observation: Observation) {
        self.0.lock().unwrap().push(observation);
    }
}

impl Heard {
    /// Everything heard so far.
    pub(crate) fn all(&self) -> Vec<Observation> {
        self.0.lock().unwrap().clone()
    }
}

/// Runs a future on a runtime of its own.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// The real world.
pub(crate) fn env(heard: Arc<Heard>) -> Env {
    real_env(heard, 1).unwrap()
}

/// A configuration of one node on a free loopback port with its data in `dir`.
pub(crate) fn config(dir: &Path, more: &[(&str, &str)]) -> Config {
    let text = format!(
        "process.roles=broker,controller\nnode.id=1\nlog.dirs={}\n\
         listeners=PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:0\n\
         controller.listener.names=CONTROLLER\ncontroller.quorum.voters=1@127.0.0.1:9093\n",
        dir.display()
    );
    let more: BTreeMap<String, String> =
        more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Config::parse(&text, &more).unwrap_or_else(|error| panic!("{error}")).0
}

/// A node that runs until it is stopped or dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) heard: Arc<Heard>,
    end: mpsc::Receiver<NodeEnd>,
    stop: Option<tokio::sync::oneshot::Sender<bool>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    /// Formats `dir` where needed, and starts a node on it.
    pub(crate) fn start(dir: &Path, more: &[(&str, &str)]) -> Self {
        Self::try_start(config(dir, more)).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Formats where needed, and starts a node.
    pub(crate) fn try_start(config: Config) -> Result<Self, StartError> {
        Self::start_in(config, |env| env)
    }

    /// The same, in a world that `change` makes of the real one.
    pub(crate) fn start_in(
        config: Config,
        change: impl FnOnce(Env) -> Env + Send + 'static,
    ) -> Result<Self, StartError> {
        let options = FormatOptions { ignore_formatted: true, ..FormatOptions::default() };
        Self::start_as(config, options, change)
    }

    /// The same, formatted in a certain way.
    pub(crate) fn start_as(
        config: Config,
        options: FormatOptions,
        change: impl FnOnce(Env) -> Env + Send + 'static,
    ) -> Result<Self, StartError> {
        let heard = Arc::new(Heard::default());
        let env = env(heard.clone());
        let (started, result) = mpsc::channel();
        let (end_sender, end) = mpsc::channel();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || {
            run(async move {
                format(&config, options, &env).await.unwrap_or_else(|error| panic!("{error}"));
                let env = change(env);
                match Node::start(config, env).await {
                    Ok(node) => {
                        let listeners = [node.listeners(), node.controller_listeners()].concat();
                        started.send(Ok(listeners[0].1)).unwrap();
                        let stopped = tokio::select! {
                            stopped = stopped => stopped,
                            end = node.ended() => {
                                end_sender.send(end).unwrap();
                                Ok(false)
                            }
                        };
                        if stopped == Ok(true) {
                            node.shutdown().await;
                        }
                    }
                    Err(error) => started.send(Err(error)).unwrap(),
                }
            });
        });
        let address = result.recv_timeout(PATIENCE).expect("the node starts or says why not")?;
        Ok(Self { address, heard, end, stop: Some(stop), thread: Some(thread) })
    }

    /// Waits until it ends by itself.
    pub(crate) fn ended(&self) -> NodeEnd {
        self.end.recv_timeout(PATIENCE).expect("the node ends")
    }

    /// Stops it in good order.
    pub(crate) fn stop(mut self) {
        self.end(true);
    }

    /// Drops it as it is.
    pub(crate) fn kill(mut self) {
        self.end(false);
    }

    fn end(&mut self, orderly: bool) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(orderly);
        }
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }

    /// A connection to it.
    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.end(false);
        }
    }
}

/// A connection.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    correlation_id: i32,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, correlation_id: 0 }
    }

    /// Sends a request and reads its answer.
    pub(crate) fn ask<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        self.send(version, request);
        self.receive::<R>(version)
    }

    /// Sends a request.
    pub(crate) fn send<R: Request>(&mut self, version: i16, request: &R) {
        self.correlation_id += 1;
        let header = RequestHeader {
            api_key: R::API.key(),
            api_version: version,
            correlation_id: self.correlation_id,
            client_id: Some("test".to_owned()),
        };
        let frame: Vec<u8> =
            encode_request(&header, request).unwrap().into_iter().flatten().collect();
        self.stream.write_all(&frame).unwrap();
    }

    /// Reads the answer to the last request sent.
    pub(crate) fn receive<R: Request>(&mut self, version: i16) -> R::Response {
        let mut input = Reader::new(self.frame().expect("the server answers"));
        let id = decode_response_header(R::API, version, &mut input).unwrap();
        assert_eq!(id, self.correlation_id, "answers come in the order of the requests");
        decode_response(version, &mut input).unwrap()
    }

    /// The next frame, without its length; `None` where the server closed the connection.
    pub(crate) fn frame(&mut self) -> Option<Bytes> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).ok()?;
        let mut frame = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap()];
        self.stream.read_exact(&mut frame).ok()?;
        Some(frame.into())
    }

    /// Whether the server closes the connection without another byte.
    pub(crate) fn is_closed(&mut self) -> bool {
        match self.stream.read(&mut [0; 1]) {
            Ok(count) => count == 0,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}
