//! Layer 4: the world. What a driver may ask of it, as traits: a network, a disk, a clock, tasks, a seed, an ear.
//!
//! There are two of each: the real one (`real/`, compiled only in the real build) and the
//! testbed's simulated one. One conformance suite runs against both (`conformance.rs`).

pub mod clock;
mod io;
pub mod task;
pub mod watch;

pub mod conformance;

#[cfg(not(madsim))]
mod real;
#[cfg(not(madsim))]
pub use real::{links, real_env, real_env_at, real_wall_clock, signal};

use std::fmt;
use std::future::Future;
use std::io as io_std;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::types::Observation;
pub use clock::{Clock, Timer};
pub use io::Io;

/// A future on the heap that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// All that a node may ask of the world. Cloning shares it.
#[derive(Clone)]
pub struct Env {
    /// Connections.
    pub net: Arc<dyn Net>,
    /// Files.
    pub disk: Arc<dyn Disk>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Where connections are served.
    pub cores: Arc<dyn Cores>,
    /// The only source of randomness. Differs at each start of a node, or a node would draw the same ids again.
    pub seed: u64,
    /// How many members of groups were made with it and its clones: each draws an id of its own.
    pub members: Arc<AtomicU64>,
    /// Who listens to what the shapes say of themselves.
    pub observer: Arc<dyn Observer>,
}

impl Env {
    /// Tells the observer.
    pub fn observe(&self, observation: Observation) {
        self.observer.observe(observation);
    }

    /// A generator for one purpose: the same seed and purpose give the same draws, whoever else draws.
    #[must_use]
    pub fn rng(&self, purpose: &str) -> rand::rngs::StdRng {
        let mut seed = [0u8; 32];
        seed[..8].copy_from_slice(&self.seed.to_be_bytes());
        for (index, byte) in purpose.bytes().enumerate() {
            let slot = 8 + index % 24;
            seed[slot] = seed[slot].wrapping_mul(31).wrapping_add(byte);
        }
        rand::SeedableRng::from_seed(seed)
    }

    /// A generator for the next member of a group: no other one draws the same, whatever its client is called.
    #[must_use]
    pub fn rng_of_next_member(&self, client_id: &str) -> rand::rngs::StdRng {
        match self.members.fetch_add(1, Ordering::Relaxed) {
            0 => self.rng(&format!("{client_id}/group")),
            number => self.rng(&format!("{client_id}/group/{number}")),
        }
    }
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Env").field("seed", &self.seed).finish_non_exhaustive()
    }
}

/// Hears observations. Called from any task, with locks held: it must be quick and must not call back.
pub trait Observer: Send + Sync {
    /// Hears one.
    fn observe(&self, observation: Observation);
}

/// The serving cores. The real build has one `current_thread` runtime a core; the testbed runs everything on its one thread.
pub trait Cores: Send + Sync {
    /// Runs what `make` returns to its end on the next core in turn. `make` is called on that core.
    fn spawn_on_next(&self, make: Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>);
}

/// Connections. Addresses are IP and port: names are resolved before they come here.
pub trait Net: Send + Sync {
    /// Listens on `address`; port 0 takes a free one.
    ///
    /// Errors: `AddrInUse` where somebody listens already.
    fn listen(&self, address: SocketAddr) -> BoxFuture<'static, io_std::Result<Box<dyn Listener>>>;

    /// Connects to `address`.
    ///
    /// Errors: `ConnectionRefused` where the machine is up and nobody listens; `TimedOut` where no answer comes (a cut
    /// network, a dead machine), after as long as the world's TCP takes: callers set a deadline of their own.
    fn connect(&self, address: SocketAddr) -> BoxFuture<'static, io_std::Result<Box<dyn Stream>>>;

    /// The addresses of `host`, for `advertised.listeners` and `bootstrap.servers`.
    fn resolve(&self, host: &str, port: u16)
    -> BoxFuture<'static, io_std::Result<Vec<SocketAddr>>>;
}

/// A bound, listening address.
pub trait Listener: Send {
    /// The address, with the port that was taken.
    fn local_address(&self) -> SocketAddr;

    /// Waits for the next connection. Cancel-safe.
    fn accept(&mut self) -> BoxFuture<'_, io_std::Result<Box<dyn Connection>>>;
}

/// An accepted connection that no core serves yet.
///
/// Accepting on one core and serving on another costs 23–46 % more CPU a request (measured): the serving core registers it.
pub trait Connection: Send {
    /// Who connected.
    fn peer_address(&self) -> SocketAddr;

    /// Registers it with the core that calls.
    fn into_stream(self: Box<Self>) -> io_std::Result<Box<dyn Stream>>;
}

/// A byte stream with `poll_write_vectored`. Dropping it closes the connection.
///
/// A peer's orderly close reads as end of stream; a connection that is dead reads and writes as `ConnectionReset`; a
/// peer behind a cut is silence.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Files. Paths are absolute, or relative to the node's own root. Every operation starts when called.
///
/// Calls that return `Io::Ready` in the real world have blocked for the time of a page-cache access: make them with no lock
/// held. A name is durable once its directory is synced; bytes are durable once their file is.
pub trait Disk: Send + Sync {
    /// Opens a file for reading and writing as `mode` says.
    ///
    /// Errors: `NotFound`, `AlreadyExists`, `StorageFull`, or what the device says.
    fn open(&self, path: &Path, mode: OpenMode) -> Io<Arc<dyn File>>;

    /// Makes a directory and those above it that are missing.
    fn create_dir_all(&self, path: &Path) -> Io<()>;

    /// The entries of a directory, sorted by name.
    fn read_dir(&self, path: &Path) -> Io<Vec<DirEntry>>;

    /// Renames a file or directory over what stands there. Atomic; durable once the directories on both sides are synced.
    fn rename(&self, from: &Path, to: &Path) -> Io<()>;

    /// Removes a file. An open handle goes on working.
    fn remove_file(&self, path: &Path) -> Io<()>;

    /// Removes a directory and all in it.
    fn remove_dir_all(&self, path: &Path) -> Io<()>;

    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &Path) -> Io<()>;

    /// Takes the exclusive lock of a file, making it if missing; held until the returned value is dropped or the process ends.
    ///
    /// Errors: `WouldBlock` where another holds it.
    fn lock(&self, path: &Path) -> Io<Box<dyn Send + Sync>>;
}

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// It must exist; for reading only.
    Read,
    /// It must exist; for reading and writing.
    ReadWrite,
    /// Made if missing; for reading and writing.
    Create,
    /// It must not exist; for reading and writing.
    CreateNew,
    /// Made if missing, emptied if not; for reading and writing.
    Truncate,
}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// The name alone, without the directory.
    pub name: String,
    /// Whether it is a directory itself.
    pub is_dir: bool,
}

/// What to call when a started sync has ended: on any thread, exactly once. It must be quick and must not block.
pub type SyncDone = Box<dyn FnOnce(io_std::Result<()>) + Send>;

/// An open file. Positions and lengths are in bytes. Handles may be shared; nothing moves a common position.
pub trait File: Send + Sync {
    /// Reads up to `length` bytes at `position`: fewer only at the end of the file.
    fn read_at(&self, position: u64, length: usize) -> Io<Bytes>;

    /// Writes the slices one after another at `position`, all of them; the file grows as needed.
    ///
    /// Errors: `StorageFull` where there is no space. After an error any part may have been written.
    fn write_at(&self, position: u64, slices: Vec<Bytes>) -> Io<()>;

    /// Starts making everything written so far durable (data, and the length), then calls `done`.
    ///
    /// A failed sync is final for what was dirty: never retried (the kernel may have dropped the pages).
    fn start_sync(&self, done: SyncDone);

    /// Cuts or extends the file with zeros.
    fn set_len(&self, length: u64) -> Io<()>;

    /// The length of the file.
    fn length(&self) -> Io<u64>;
}

/// Waits for a sync: [`File::start_sync`] as a future.
pub fn sync(file: &dyn File) -> BoxFuture<'static, io_std::Result<()>> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    file.start_sync(Box::new(move |result| {
        // The waiter may be gone: then nobody cares for the result.
        let _ = sender.send(result);
    }));
    Box::pin(async move {
        receiver.await.unwrap_or_else(|_| Err(io_std::Error::other("the disk's thread ended")))
    })
}

/// Writes a whole small file so that after a crash either the old or the new content is there:
/// `<path>.tmp`, sync, rename, sync of the directory (Kafka: `CheckpointFile.write`, `Utils.atomicMoveWithFallback`).
pub async fn replace_file(disk: &dyn Disk, path: &Path, content: Bytes) -> io_std::Result<()> {
    replace_file_from(disk, &temporary_path(path), path, content).await
}

/// [`replace_file`] with a temporary file of this name: for who may not be the only one that replaces the file.
pub(crate) async fn replace_file_from(
    disk: &dyn Disk,
    temporary: &Path,
    path: &Path,
    content: Bytes,
) -> io_std::Result<()> {
    let file = disk.open(temporary, OpenMode::Truncate).await?;
    file.write_at(0, vec![content]).await?;
    sync(file.as_ref()).await?;
    disk.rename(temporary, path).await?;
    let parent = path.parent().expect("a file stands in a directory");
    disk.sync_dir(parent).await
}

/// Where a file is written that shall take the place of `path`: `<path>.tmp`, as in Kafka.
pub(crate) fn temporary_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    PathBuf::from(name)
}

/// Reads a whole small file.
pub async fn read_file(disk: &dyn Disk, path: &Path) -> io_std::Result<Bytes> {
    let file = disk.open(path, OpenMode::Read).await?;
    let length = file.length().await?;
    let length = usize::try_from(length).map_err(io_std::Error::other)?;
    file.read_at(0, length).await
}
