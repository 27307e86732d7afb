//! One suite over `Disk` and `Net`, run against the simulated and the real implementation.
//!
//! A simulated world that behaves unlike the real one is a bug of the testbed. Each case is an async function that panics
//! where the world does not behave as the traits' documentation says; both builds run all of them.

use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::clock::{sleep, timeout_at};
use super::{
    BoxFuture, Clock, Disk, File, Io, Listener, Net, OpenMode, Stream, read_file, replace_file,
    sync,
};

/// A disk to be tried, and an existing, empty directory of it.
#[derive(Clone)]
pub struct DiskEnds {
    /// The disk.
    pub disk: Arc<dyn Disk>,
    /// Where the cases may make files.
    pub root: PathBuf,
}

/// Two ends of a network to be tried.
#[derive(Clone)]
pub struct NetEnds {
    /// The side that listens.
    pub server: Arc<dyn Net>,
    /// The side that connects.
    pub client: Arc<dyn Net>,
    /// Where the server may listen; port 0.
    pub listen_on: SocketAddr,
    /// An address that answers nothing.
    pub silent: SocketAddr,
    /// For patience.
    pub clock: Arc<dyn Clock>,
}

/// A case: its claim, and the function that holds the world to it.
pub type Case<E> = (&'static str, fn(E) -> BoxFuture<'static, ()>);

/// The cases over a disk. Each gets a root of its own from [`all_disk_cases`].
pub const DISK_CASES: &[Case<DiskEnds>] = &[
    ("what is written is read back, slices in order", |ends| Box::pin(written_is_read(ends))),
    ("reads are short at the end of the file only", |ends| Box::pin(short_reads(ends))),
    ("holes and extensions read as zeros", |ends| Box::pin(holes_are_zeros(ends))),
    ("each open mode asks what it says", |ends| Box::pin(open_modes(ends))),
    ("a rename replaces, and open handles keep what they opened", |ends| Box::pin(renames(ends))),
    ("a removed file goes on for who has it open", |ends| Box::pin(removed_while_open(ends))),
    ("directories are made, listed in order, and removed", |ends| Box::pin(directories(ends))),
    ("each sync ends once", |ends| Box::pin(syncs(ends))),
    ("a lock has one holder", |ends| Box::pin(locks(ends))),
    ("a small file is replaced as a whole", |ends| Box::pin(replaces(ends))),
];

/// The cases over a network.
pub const NET_CASES: &[Case<NetEnds>] = &[
    ("bytes arrive whole and in order, whatever the pieces", |ends| Box::pin(bytes_in_order(ends))),
    ("a slow reader blocks the writer", |ends| Box::pin(back_pressure(ends))),
    ("an orderly close reads as the end", |ends| Box::pin(orderly_close(ends))),
    ("one direction can be closed alone", |ends| Box::pin(half_close(ends))),
    ("a close with unread bytes resets", |ends| Box::pin(reset_on_unread(ends))),
    ("writing to who has closed fails", |ends| Box::pin(write_after_peer_closed(ends))),
    ("nobody listening refuses", |ends| Box::pin(refused(ends))),
    ("no answer is silence, not refusal", |ends| Box::pin(silence(ends))),
    ("an address has one listener", |ends| Box::pin(address_in_use(ends))),
    ("connections wait until they are accepted", |ends| Box::pin(backlog(ends))),
    ("hosts resolve to addresses", |ends| Box::pin(resolves(ends))),
];

/// Runs every case over a disk, each in a directory of its own.
///
/// Panics at the first that fails; `say` is told of each before it runs.
pub async fn all_disk_cases(ends: DiskEnds, say: impl Fn(&str)) {
    for (index, (claim, case)) in DISK_CASES.iter().enumerate() {
        say(claim);
        let root = ends.root.join(format!("case-{index}"));
        ends.disk.create_dir_all(&root).await.expect("a directory can be made");
        case(DiskEnds { disk: Arc::clone(&ends.disk), root }).await;
    }
}

/// Runs every case over a network.
///
/// Panics at the first that fails; `say` is told of each before it runs.
pub async fn all_net_cases(ends: NetEnds, say: impl Fn(&str)) {
    for (claim, case) in NET_CASES {
        say(claim);
        case(ends.clone()).await;
    }
}

/// Fills a disk that has `room` bytes left at most: appends say so, what was there stays, and space that is given back is used.
///
/// Panics where the disk behaves otherwise. Not among [`DISK_CASES`]: few real directories can be filled at will.
pub async fn no_space(ends: DiskEnds, room: u64) {
    let path = ends.root.join("filling");
    let file = open(&ends, &path, OpenMode::CreateNew).await;
    let block = Bytes::from(vec![7u8; 4096]);
    let mut end = 0;
    let error = loop {
        assert!(end <= room, "more fits than there is room for");
        match file.write_at(end, vec![block.clone()]).await {
            Ok(()) => end += 4096,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
    let kept = file.read_at(0, to_usize(end)).await.expect("what was there can be read");
    assert!(kept.len() as u64 == end && kept.iter().all(|byte| *byte == 7), "what was there stays");
    file.set_len(0).await.expect("space can be given back");
    file.write_at(0, vec![block]).await.expect("and used");
    ends.disk.remove_file(&path).await.expect("the file can be removed");
}

fn to_usize(length: u64) -> usize {
    usize::try_from(length).expect("it fits into memory")
}

async fn open(ends: &DiskEnds, path: &Path, mode: OpenMode) -> Arc<dyn File> {
    ends.disk.open(path, mode).await.expect("the file can be opened")
}

fn slices(texts: &[&'static str]) -> Vec<Bytes> {
    texts.iter().map(|text| Bytes::from_static(text.as_bytes())).collect()
}

async fn all_of(file: &dyn File) -> Bytes {
    file.read_at(0, 1 << 20).await.expect("the file can be read")
}

#[track_caller]
fn expect_error<T>(result: io::Result<T>, kind: ErrorKind) {
    match result {
        Ok(_) => panic!("succeeded where {kind:?} was to be told"),
        Err(error) => assert_eq!(error.kind(), kind, "{error}"),
    }
}

async fn written_is_read(ends: DiskEnds) {
    let file = open(&ends, &ends.root.join("file"), OpenMode::Create).await;
    file.write_at(0, slices(&["one", "", "two"])).await.expect("append");
    file.write_at(6, slices(&["three"])).await.expect("append");
    assert_eq!(all_of(file.as_ref()).await, "onetwothree");
    file.write_at(3, slices(&["TWO", "THR"])).await.expect("overwrite");
    file.write_at(0, Vec::new()).await.expect("nothing to write");
    assert_eq!(all_of(file.as_ref()).await, "oneTWOTHRee");
    assert_eq!(file.length().await.expect("length"), 11);
    let many: Vec<Bytes> = (0..3_000u32).map(|n| Bytes::from(n.to_be_bytes().to_vec())).collect();
    file.write_at(11, many.clone()).await.expect("more slices than one system call takes");
    let read = file.read_at(11, 12_000).await.expect("read");
    assert!(read == many.concat(), "every slice stands where it should");
    let again = open(&ends, &ends.root.join("file"), OpenMode::Read).await;
    assert_eq!(again.read_at(0, 3).await.expect("read"), "one", "another handle sees it too");
}

async fn short_reads(ends: DiskEnds) {
    let file = open(&ends, &ends.root.join("file"), OpenMode::Create).await;
    file.write_at(0, slices(&["0123456789"])).await.expect("write");
    assert_eq!(file.read_at(4, 3).await.expect("inside"), "456");
    assert_eq!(file.read_at(8, 5).await.expect("over the end"), "89");
    assert_eq!(file.read_at(10, 5).await.expect("at the end"), "");
    assert_eq!(file.read_at(1_000_000, 5).await.expect("beyond"), "");
    assert_eq!(file.read_at(3, 0).await.expect("nothing"), "");
    assert_eq!(file.read_at(2, 1 << 40).await.expect("far too much"), "23456789");
}

async fn holes_are_zeros(ends: DiskEnds) {
    let file = open(&ends, &ends.root.join("file"), OpenMode::Create).await;
    file.write_at(3, slices(&["x"])).await.expect("write beyond the end");
    assert_eq!(all_of(file.as_ref()).await, "\0\0\0x");
    file.set_len(6).await.expect("extend");
    assert_eq!(all_of(file.as_ref()).await, "\0\0\0x\0\0");
    file.set_len(1).await.expect("cut");
    file.set_len(5).await.expect("extend");
    assert_eq!(all_of(file.as_ref()).await, "\0\0\0\0\0", "what was cut off does not come back");
}

async fn open_modes(ends: DiskEnds) {
    let (path, disk) = (ends.root.join("file"), &ends.disk);
    expect_error(disk.open(&path, OpenMode::Read).await, ErrorKind::NotFound);
    expect_error(disk.open(&path, OpenMode::ReadWrite).await, ErrorKind::NotFound);
    let missing = ends.root.join("missing/file");
    expect_error(disk.open(&missing, OpenMode::Create).await, ErrorKind::NotFound);
    let file = open(&ends, &path, OpenMode::CreateNew).await;
    file.write_at(0, slices(&["content"])).await.expect("write");
    expect_error(disk.open(&path, OpenMode::CreateNew).await, ErrorKind::AlreadyExists);
    let reader = open(&ends, &path, OpenMode::Read).await;
    assert!(reader.write_at(0, slices(&["x"])).await.is_err(), "opened for reading only");
    for mode in [OpenMode::ReadWrite, OpenMode::Create] {
        assert_eq!(all_of(open(&ends, &path, mode).await.as_ref()).await, "content");
    }
    assert_eq!(all_of(open(&ends, &path, OpenMode::Truncate).await.as_ref()).await, "");
    expect_error(disk.open(&ends.root, OpenMode::Read).await, ErrorKind::IsADirectory);
}

async fn renames(ends: DiskEnds) {
    let (a, b) = (ends.root.join("a"), ends.root.join("b"));
    let old = open(&ends, &b, OpenMode::Create).await;
    old.write_at(0, slices(&["old"])).await.expect("write");
    let new = open(&ends, &a, OpenMode::Create).await;
    new.write_at(0, slices(&["new"])).await.expect("write");
    ends.disk.rename(&a, &b).await.expect("rename");
    assert_eq!(all_of(old.as_ref()).await, "old", "an open handle keeps the replaced file");
    new.write_at(3, slices(&["er"])).await.expect("a handle goes on under the new name");
    assert_eq!(read_file(ends.disk.as_ref(), &b).await.expect("read"), "newer");
    expect_error(ends.disk.open(&a, OpenMode::Read).await, ErrorKind::NotFound);
    expect_error(ends.disk.rename(&a, &b).await, ErrorKind::NotFound);
    let (from, to) = (ends.root.join("dir"), ends.root.join("dir-delete"));
    ends.disk.create_dir_all(&from).await.expect("make");
    open(&ends, &from.join("inside"), OpenMode::Create).await;
    ends.disk.rename(&from, &to).await.expect("a directory is renamed with what is in it");
    open(&ends, &to.join("inside"), OpenMode::Read).await;
}

async fn removed_while_open(ends: DiskEnds) {
    let path = ends.root.join("file");
    let file = open(&ends, &path, OpenMode::Create).await;
    file.write_at(0, slices(&["before"])).await.expect("write");
    ends.disk.remove_file(&path).await.expect("remove");
    expect_error(ends.disk.open(&path, OpenMode::Read).await, ErrorKind::NotFound);
    expect_error(ends.disk.remove_file(&path).await, ErrorKind::NotFound);
    file.write_at(6, slices(&[" and after"])).await.expect("write on");
    sync(file.as_ref()).await.expect("sync");
    assert_eq!(all_of(file.as_ref()).await, "before and after");
    let fresh = open(&ends, &path, OpenMode::CreateNew).await;
    assert_eq!(fresh.length().await.expect("length"), 0, "the name is free for another file");
}

async fn directories(ends: DiskEnds) {
    let (disk, deep) = (&ends.disk, ends.root.join("x/y/z"));
    disk.create_dir_all(&deep).await.expect("make");
    disk.create_dir_all(&deep).await.expect("make again");
    for name in ["b", "a", "c"] {
        open(&ends, &ends.root.join("x").join(name), OpenMode::Create).await;
    }
    disk.sync_dir(&ends.root.join("x")).await.expect("sync");
    let entries = disk.read_dir(&ends.root.join("x")).await.expect("list");
    let entries: Vec<_> = entries.iter().map(|e| (e.name.as_str(), e.is_dir)).collect();
    assert_eq!(entries, [("a", false), ("b", false), ("c", false), ("y", true)]);
    disk.remove_dir_all(&ends.root.join("x")).await.expect("remove");
    expect_error(disk.read_dir(&ends.root.join("x")).await, ErrorKind::NotFound);
    expect_error(disk.remove_dir_all(&ends.root.join("x")).await, ErrorKind::NotFound);
    expect_error(disk.sync_dir(&ends.root.join("x")).await, ErrorKind::NotFound);
}

async fn syncs(ends: DiskEnds) {
    let file = open(&ends, &ends.root.join("file"), OpenMode::Create).await;
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    for number in 0..5u32 {
        let position = u64::from(number) * 4;
        file.write_at(position, slices(&["data"])).await.expect("write");
        let sender = sender.clone();
        file.start_sync(Box::new(move |result| {
            sender.send((number, result.is_ok())).expect("somebody waits");
        }));
    }
    drop(sender);
    let mut ended = Vec::new();
    while let Some(one) = receiver.recv().await {
        ended.push(one);
    }
    let all: Vec<_> = (0..5).map(|number| (number, true)).collect();
    assert_eq!(ended, all, "each once, in the order they were started");
}

async fn locks(ends: DiskEnds) {
    let path = ends.root.join(".lock");
    let held = ends.disk.lock(&path).await.expect("nobody holds it");
    expect_error(ends.disk.lock(&path).await, ErrorKind::WouldBlock);
    drop(held);
    drop(ends.disk.lock(&path).await.expect("it was given back"));
}

async fn replaces(ends: DiskEnds) {
    let path = ends.root.join("checkpoint");
    for content in ["first", "second, longer", "3"] {
        let content = Bytes::from_static(content.as_bytes());
        let replaced = replace_file(ends.disk.as_ref(), &path, content.clone()).await;
        replaced.expect("replace");
        assert_eq!(read_file(ends.disk.as_ref(), &path).await.expect("read"), content);
    }
    let entries = ends.disk.read_dir(&ends.root).await.expect("list");
    assert_eq!(entries.len(), 1, "nothing temporary is left: {entries:?}");
    let io = ends.disk.open(&ends.root.join("none"), OpenMode::Read);
    assert!(matches!(format!("{io:?}").as_str(), "Io::Ready" | "Io::Pending"));
    let failed: Io<()> = Io::failed(ErrorKind::Other);
    expect_error(failed.await, ErrorKind::Other);
}

/// How long a case waits for what must not happen.
const A_WHILE: Duration = Duration::from_millis(300);

/// How long a case waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(20);

async fn within<T>(
    clock: &dyn Clock,
    span: Duration,
    future: impl Future<Output = T>,
) -> Option<T> {
    let deadline = clock.now().monotonic + span;
    timeout_at(clock, deadline, future).await
}

type Pair = (Box<dyn Listener>, Box<dyn Stream>, Box<dyn Stream>);

/// A listener, and a connection through it: the server's end and the client's.
async fn pair(ends: &NetEnds) -> Pair {
    let mut listener = ends.server.listen(ends.listen_on).await.expect("listen");
    assert_ne!(listener.local_address().port(), 0, "a port was taken");
    let connect = ends.client.connect(listener.local_address());
    let (accepted, client) = tokio::join!(listener.accept(), connect);
    let server = accepted.expect("accept").into_stream().expect("register");
    (listener, server, client.expect("connect"))
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|n| u8::try_from((n * 31 + n / 251) % 256).expect("a byte")).collect()
}

async fn bytes_in_order(ends: NetEnds) {
    let (_listener, server, client) = pair(&ends).await;
    let sent = pattern(700_001);
    let (mut server_reads, mut server_writes) = tokio::io::split(server);
    let (mut client_reads, mut client_writes) = tokio::io::split(client);
    let upload = async {
        write_slices(&mut client_writes, &sent).await.expect("write");
        client_writes.shutdown().await.expect("the end of the stream");
    };
    let echo = async {
        let mut buffer = vec![0u8; 7_777];
        loop {
            let read = server_reads.read(&mut buffer).await.expect("read");
            if read == 0 {
                break server_writes.shutdown().await.expect("the end of the stream");
            }
            server_writes.write_all(&buffer[..read]).await.expect("write");
        }
    };
    let download = async {
        let mut received = Vec::new();
        client_reads.read_to_end(&mut received).await.expect("read");
        received
    };
    let work = async { tokio::join!(upload, echo, download).2 };
    let received = within(ends.clock.as_ref(), PATIENCE, work).await.expect("it ends");
    assert!(received == sent, "what comes back is what was sent");
}

/// Writes in several slices at once, and goes on where the world took only a part.
async fn write_slices(stream: &mut (impl AsyncWrite + Unpin), mut rest: &[u8]) -> io::Result<()> {
    while !rest.is_empty() {
        let (first, others) = rest.split_at(rest.len().min(1_000));
        let (second, third) = others.split_at(others.len().min(50_000));
        let slices = [IoSlice::new(first), IoSlice::new(second), IoSlice::new(third)];
        let written = stream.write_vectored(&slices).await?;
        assert!(written > 0, "something is taken");
        rest = &rest[written..];
    }
    Ok(())
}

async fn back_pressure(ends: NetEnds) {
    const FAR_TOO_MUCH: usize = 256 << 20;
    let (_listener, mut server, mut client) = pair(&ends).await;
    let block = pattern(64 << 10);
    let mut written = 0;
    while let Some(result) =
        within(ends.clock.as_ref(), A_WHILE, client.write(&block[written % block.len()..])).await
    {
        written += result.expect("write");
        assert!(written < FAR_TOO_MUCH, "a writer is blocked by who does not read");
    }
    let drain = async {
        let mut buffer = vec![0u8; 100_000];
        let mut read = 0;
        while read < written {
            let some = server.read(&mut buffer).await.expect("read");
            assert!(some > 0, "the stream ended early");
            for (index, byte) in buffer[..some].iter().enumerate() {
                assert!(*byte == block[(read + index) % block.len()], "a wrong byte");
            }
            read += some;
        }
    };
    within(ends.clock.as_ref(), PATIENCE, drain).await.expect("it ends");
    let more = within(ends.clock.as_ref(), PATIENCE, client.write(b"more")).await;
    assert!(more.expect("there is room again").expect("write") > 0);
}

async fn end_of(stream: &mut (impl AsyncRead + Unpin), clock: &dyn Clock) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = within(clock, PATIENCE, stream.read_to_end(&mut bytes)).await;
    read.expect("the stream ends").map(|_| bytes)
}

async fn orderly_close(ends: NetEnds) {
    let (_listener, mut server, mut client) = pair(&ends).await;
    client.write_all(b"last words").await.expect("write");
    drop(client);
    let bytes = end_of(&mut server, ends.clock.as_ref()).await.expect("an end, not an error");
    assert_eq!(bytes, b"last words");
    assert_eq!(server.read(&mut [0; 8]).await.expect("still the end"), 0);
}

async fn half_close(ends: NetEnds) {
    let (_listener, mut server, mut client) = pair(&ends).await;
    client.write_all(b"question").await.expect("write");
    client.shutdown().await.expect("shutdown");
    assert!(client.write(b"more").await.is_err(), "this direction is closed");
    let question = end_of(&mut server, ends.clock.as_ref()).await.expect("end");
    assert_eq!(question, b"question");
    server.write_all(b"answer").await.expect("the other direction is open");
    drop(server);
    assert_eq!(end_of(&mut client, ends.clock.as_ref()).await.expect("end"), b"answer");
}

async fn reset_on_unread(ends: NetEnds) {
    let (_listener, mut server, mut client) = pair(&ends).await;
    server.write_all(b"0123456789").await.expect("write");
    client.read_exact(&mut [0; 1]).await.expect("the rest is there too, or comes");
    sleep(ends.clock.as_ref(), A_WHILE).await;
    drop(client);
    expect_error(end_of(&mut server, ends.clock.as_ref()).await, ErrorKind::ConnectionReset);
}

async fn write_after_peer_closed(ends: NetEnds) {
    let (_listener, mut server, client) = pair(&ends).await;
    drop(client);
    let mut error = None;
    for _ in 0..20 {
        if let Err(told) = server.write(b"anybody there?").await {
            error = Some(told.kind());
            break;
        }
        sleep(ends.clock.as_ref(), Duration::from_millis(50)).await;
    }
    let error = error.expect("after a round trip the writer is told");
    assert_eq!(error, ErrorKind::ConnectionReset);
    // Once told, always told: not an orderly end to whoever asks next.
    expect_error(server.read(&mut [0; 8]).await, ErrorKind::ConnectionReset);
    expect_error(server.write(b"again").await, ErrorKind::ConnectionReset);
}

async fn refused(ends: NetEnds) {
    let listener = ends.server.listen(ends.listen_on).await.expect("listen");
    let address = listener.local_address();
    drop(listener);
    let result = within(ends.clock.as_ref(), PATIENCE, ends.client.connect(address)).await;
    expect_error(result.expect("refusal comes soon"), ErrorKind::ConnectionRefused);
}

async fn silence(ends: NetEnds) {
    let result = within(ends.clock.as_ref(), A_WHILE, ends.client.connect(ends.silent)).await;
    assert!(result.is_none(), "nobody answered, and yet the attempt ended");
}

async fn address_in_use(ends: NetEnds) {
    let listener = ends.server.listen(ends.listen_on).await.expect("listen");
    let again = ends.server.listen(listener.local_address()).await;
    expect_error(again, ErrorKind::AddrInUse);
    let address = listener.local_address();
    drop(listener);
    ends.server.listen(address).await.expect("it was given back");
}

async fn backlog(ends: NetEnds) {
    let mut listener = ends.server.listen(ends.listen_on).await.expect("listen");
    let none = within(ends.clock.as_ref(), A_WHILE, listener.accept()).await;
    assert!(none.is_none(), "nobody has connected");
    let address = listener.local_address();
    let mut client = ends.client.connect(address).await.expect("the kernel accepts");
    client.write_all(b"early").await.expect("and buffers");
    drop(client);
    let accepted = within(ends.clock.as_ref(), PATIENCE, listener.accept()).await;
    let connection = accepted.expect("one waits").expect("accept");
    assert_ne!(connection.peer_address().port(), 0);
    let mut server = connection.into_stream().expect("register");
    assert_eq!(end_of(&mut server, ends.clock.as_ref()).await.expect("end"), b"early");
}

async fn resolves(ends: NetEnds) {
    let found = ends.client.resolve("127.0.0.1", 9092).await.expect("an address is its own name");
    assert_eq!(found, ["127.0.0.1:9092".parse().expect("an address")]);
    let found = ends.client.resolve("localhost", 1).await.expect("everybody has it");
    assert!(found.iter().all(|address| address.ip().is_loopback()) && !found.is_empty());
}
