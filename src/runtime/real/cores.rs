//! The serving threads: one `current_thread` runtime each, so that a connection's task never moves and wakes nobody else's core.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;

use crate::runtime::{BoxFuture, Cores, task};

type Make = Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>;

/// Threads that serve. Dropping it ends them and the tasks that still run there.
pub(super) struct Threads {
    /// Unbounded because the caller cannot wait; it holds no more than connections that were just accepted.
    queues: Vec<mpsc::UnboundedSender<Make>>,
    next: AtomicUsize,
}

impl Threads {
    /// Starts `count` threads, named `core-0`, `core-1`, ….
    pub(super) fn start(count: usize) -> io::Result<Self> {
        let queues = (0..count).map(start_core).collect::<io::Result<_>>()?;
        Ok(Self { queues, next: AtomicUsize::new(0) })
    }
}

impl Cores for Threads {
    fn spawn_on_next(&self, make: Make) {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.queues.len();
        // A core listens as long as this sender lives.
        self.queues[turn].send(make).expect("a core ends after its sender");
    }
}

/// One core: it makes what it is sent into tasks of its own until the sender is gone.
fn start_core(index: usize) -> io::Result<mpsc::UnboundedSender<Make>> {
    let (sender, mut queue) = mpsc::unbounded_channel::<Make>();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name(format!("core-{index}")).spawn(move || {
        runtime.block_on(async move {
            while let Some(make) = queue.recv().await {
                // Made inside the task: a panic there is that connection's end, not the core's.
                task::spawn(async move { make().await });
            }
        });
    })?;
    Ok(sender)
}
