//! How often record bytes are copied between socket and file, counted by where they lie in memory; and what a node does
//! when a disk fails.

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use ottla::protocol::messages::ProduceRequest;
use ottla::runtime::{
    BoxFuture, Connection, DirEntry, Disk, Env, File, Io, Listener, Net, OpenMode, Stream, SyncDone,
};
use ottla::types::ErrorCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::data::{Topic, batch, create, fetch, fetch_request, produce, produce_request, values};
use crate::support::{Client, Server, config};
use ottla::protocol::compression::Codec;

/// Where record bytes were seen. Ranges of addresses: a block that is used again is seen again.
#[derive(Default)]
pub(super) struct Probe {
    /// Filled by the socket.
    pub(super) received: Mutex<Vec<Range<usize>>>,
    /// Written to a log.
    written: Mutex<Vec<Range<usize>>>,
    /// Read from a log.
    read: Mutex<Vec<Range<usize>>>,
    /// Written to the socket.
    sent: Mutex<Vec<Range<usize>>>,
    syncs_fail: AtomicBool,
}

pub(super) fn range(bytes: &[u8]) -> Range<usize> {
    let start = bytes.as_ptr() as usize;
    start..start + bytes.len()
}

fn is_within(range: &Range<usize>, any: &Mutex<Vec<Range<usize>>>) -> bool {
    let any = any.lock().unwrap();
    any.iter().any(|one| one.start <= range.start && range.end <= one.end)
}

struct ProbedNet(Arc<dyn Net>, Arc<Probe>);
struct ProbedListener(Box<dyn Listener>, Arc<Probe>);
struct ProbedConnection(Box<dyn Connection>, Arc<Probe>);
pub(super) struct ProbedStream(pub(super) Box<dyn Stream>, pub(super) Arc<Probe>);
struct ProbedDisk(Arc<dyn Disk>, Arc<Probe>);
struct ProbedFile(Arc<dyn File>, Arc<Probe>, bool);

impl Net for ProbedNet {
    fn listen(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        let (listen, probe) = (self.0.listen(address), self.1.clone());
        Box::pin(async move {
            let listener: Box<dyn Listener> = Box::new(ProbedListener(listen.await?, probe));
            Ok(listener)
        })
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        self.0.connect(address)
    }

    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        self.0.resolve(host, port)
    }
}

impl Listener for ProbedListener {
    fn local_address(&self) -> SocketAddr {
        self.0.local_address()
    }

    fn accept(&mut self) -> BoxFuture<'_, io::Result<Box<dyn Connection>>> {
        let (accept, probe) = (self.0.accept(), self.1.clone());
        Box::pin(async move {
            let connection: Box<dyn Connection> = Box::new(ProbedConnection(accept.await?, probe));
            Ok(connection)
        })
    }
}

impl Connection for ProbedConnection {
    fn peer_address(&self) -> SocketAddr {
        self.0.peer_address()
    }

    fn into_stream(self: Box<Self>) -> io::Result<Box<dyn Stream>> {
        Ok(Box::new(ProbedStream(self.0.into_stream()?, self.1)))
    }
}

impl AsyncRead for ProbedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.0).poll_read(cx, buffer);
        let filled = range(&buffer.filled()[before..]);
        let mut received = self.1.received.lock().unwrap();
        // A block may be filled by several reads.
        match received.last_mut() {
            Some(last) if last.end == filled.start => last.end = filled.end,
            Some(_) | None => received.push(filled),
        }
        result
    }
}

impl AsyncWrite for ProbedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.1.sent.lock().unwrap().push(range(bytes));
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.1.sent.lock().unwrap().extend(slices.iter().map(|slice| range(slice)));
        Pin::new(&mut self.0).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl Disk for ProbedDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> Io<Arc<dyn File>> {
        // The logs of topics; the metadata log is the controller's business.
        let name = path.to_string_lossy();
        let is_log = name.ends_with(".log") && !name.contains("__cluster_metadata");
        let probe = self.1.clone();
        match self.0.open(path, mode) {
            Io::Ready(file) => Io::Ready(
                file.map(|file| Arc::new(ProbedFile(file, probe, is_log)) as Arc<dyn File>),
            ),
            Io::Pending(_) => unreachable!("real files are opened at once"),
        }
    }

    fn create_dir_all(&self, path: &Path) -> Io<()> {
        self.0.create_dir_all(path)
    }

    fn read_dir(&self, path: &Path) -> Io<Vec<DirEntry>> {
        self.0.read_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> Io<()> {
        self.0.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> Io<()> {
        self.0.remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> Io<()> {
        self.0.remove_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> Io<()> {
        self.0.sync_dir(path)
    }

    fn lock(&self, path: &Path) -> Io<Box<dyn Send + Sync>> {
        self.0.lock(path)
    }
}

impl File for ProbedFile {
    fn read_at(&self, position: u64, length: usize) -> Io<Bytes> {
        let result = self.0.read_at(position, length);
        if let (Io::Ready(Ok(bytes)), true) = (&result, self.2) {
            self.1.read.lock().unwrap().push(range(bytes));
        }
        result
    }

    fn write_at(&self, position: u64, slices: Vec<Bytes>) -> Io<()> {
        if self.2 {
            self.1.written.lock().unwrap().extend(slices.iter().map(|slice| range(slice)));
        }
        self.0.write_at(position, slices)
    }

    fn start_sync(&self, done: SyncDone) {
        if self.2 && self.1.syncs_fail.load(Ordering::Relaxed) {
            done(Err(io::Error::other("the disk is broken")));
        } else {
            self.0.start_sync(done);
        }
    }

    fn set_len(&self, length: u64) -> Io<()> {
        self.0.set_len(length)
    }

    fn length(&self) -> Io<u64> {
        self.0.length()
    }
}

fn probed(probe: &Arc<Probe>) -> impl FnOnce(Env) -> Env + Send + 'static {
    let probe = probe.clone();
    move |env| Env {
        net: Arc::new(ProbedNet(env.net.clone(), probe.clone())),
        disk: Arc::new(ProbedDisk(env.disk.clone(), probe)),
        ..env
    }
}

/// A value large enough that only records have slices of its size.
const VALUE_BYTES: usize = 16_000;

fn large(ranges: &Mutex<Vec<Range<usize>>>) -> Vec<Range<usize>> {
    let ranges = ranges.lock().unwrap();
    ranges.iter().filter(|range| range.len() >= VALUE_BYTES).cloned().collect()
}

#[test]
fn record_bytes_are_not_copied_between_socket_and_file_and_once_at_most_on_the_way_back() {
    let dir = tempfile::tempdir().unwrap();
    let probe = Arc::new(Probe::default());
    let value = "x".repeat(VALUE_BYTES);
    let id;
    {
        let server = Server::start_in(config(dir.path(), &[]), probed(&probe)).unwrap();
        let mut client = server.connect();
        id = create(&mut client, "t", &[]);
        let topic = Topic { name: "t", id };
        // The first requests tell the connection how large the next ones will be.
        for round in 0..20 {
            if round == 3 {
                probe.written.lock().unwrap().clear();
            }
            let answer = produce(&mut client, &topic, 9, batch(&[&value], Codec::None));
            assert!(answer.error_code.is_none());
        }
        let written = large(&probe.written);
        assert_eq!(written.len(), 17);
        let moved = written.iter().filter(|one| !is_within(one, &probe.received)).count();
        assert_eq!(moved, 0, "batches that do not lie where the socket put them");

        // Back from memory: the same bytes once more.
        probe.sent.lock().unwrap().clear();
        let data = fetch(&mut client, 12, &fetch_request(&topic, 12, 10));
        assert_eq!(values(&data).len(), 10);
        let sent = large(&probe.sent);
        assert!(!sent.is_empty());
        assert!(sent.iter().all(|one| is_within(one, &probe.received)));
        server.kill();
    }
    // Back from the file: what was read is what is sent. The one copy is the read itself.
    let server = Server::start_in(config(dir.path(), &[]), probed(&probe)).unwrap();
    let mut client = server.connect();
    probe.sent.lock().unwrap().clear();
    let topic = Topic { name: "t", id };
    let data = fetch(&mut client, 12, &fetch_request(&topic, 12, 0));
    assert_eq!(values(&data).len(), 20);
    let sent = large(&probe.sent);
    assert!(!sent.is_empty());
    assert!(sent.iter().all(|one| is_within(one, &probe.read)), "slices that were not read so");
}

#[test]
fn requests_of_changing_sizes_are_seldom_moved() {
    let dir = tempfile::tempdir().unwrap();
    let probe = Arc::new(Probe::default());
    let server = Server::start_in(config(dir.path(), &[]), probed(&probe)).unwrap();
    let mut client = server.connect();
    let topic = Topic { name: "t", id: create(&mut client, "t", &[]) };
    for round in 0..60 {
        let value = "x".repeat(VALUE_BYTES + round * 7_919 % 50_000);
        assert!(
            produce(&mut client, &topic, 9, batch(&[&value], Codec::None)).error_code.is_none()
        );
    }
    let written = large(&probe.written);
    let moved = written.iter().filter(|one| !is_within(one, &probe.received)).count();
    assert!(moved <= 2, "{moved} of {} were moved", written.len());
}

#[test]
fn a_failed_sync_takes_the_only_directory_offline_and_ends_the_node() {
    let dir = tempfile::tempdir().unwrap();
    let probe = Arc::new(Probe::default());
    let flush = [("log.flush.interval.messages", "1")];
    let server = Server::start_in(config(dir.path(), &flush), probed(&probe)).unwrap();
    let mut client = server.connect();
    let topic = Topic { name: "t", id: create(&mut client, "t", &[]) };
    let send = |client: &mut Client| {
        let records = batch(&["v"], Codec::None);
        let request: ProduceRequest = produce_request(&topic, 9, -1, &[(0, records)]);
        let answer = client.ask(9, &request);
        answer.responses[0].partition_responses[0].error_code
    };
    assert_eq!(send(&mut client), ErrorCode::None);
    probe.syncs_fail.store(true, Ordering::Relaxed);
    assert_eq!(send(&mut client), ErrorCode::KafkaStorageError);
    // The disk may work again: this directory is not trusted any more.
    probe.syncs_fail.store(false, Ordering::Relaxed);
    assert_eq!(server.ended().exit_code(), 1);
}
