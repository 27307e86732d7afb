//! The thread that waits for a device: syncs and changes of names, one after another, where no connection waits behind them.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError, mpsc};

use tokio::sync::oneshot;

use crate::runtime::Io;

type Job = Box<dyn FnOnce() + Send>;

/// The threads of a node, one a device (`st_dev`), each started when first needed.
#[derive(Default)]
pub(super) struct DiskThreads {
    threads: Mutex<BTreeMap<u64, DiskThread>>,
}

impl DiskThreads {
    /// The thread of a device.
    ///
    /// Errors: it cannot be started.
    pub(super) fn of(&self, device: u64) -> io::Result<DiskThread> {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = threads.get(&device) {
            return Ok(thread.clone());
        }
        let thread = DiskThread::start(device)?;
        threads.insert(device, thread.clone());
        Ok(thread)
    }
}

/// A device's thread. It ends when nobody can ask it any more, and everything asked for is done.
#[derive(Clone)]
pub(super) struct DiskThread {
    /// Unbounded because a sync is started from where nobody may wait; there is at most one sync a file and one change of
    /// names a caller.
    jobs: mpsc::Sender<Job>,
}

impl DiskThread {
    fn start(device: u64) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        std::thread::Builder::new().name(format!("disk-{device:x}")).spawn(move || {
            for job in queue {
                // A completion that panics is a bug of its owner (and printed as such); the other logs' syncs go on.
                let _ = catch_unwind(AssertUnwindSafe(job));
            }
        })?;
        Ok(Self { jobs })
    }

    /// Runs `job` after those that were asked for before.
    pub(super) fn run(&self, job: impl FnOnce() + Send + 'static) {
        self.jobs.send(Box::new(job)).expect("the thread ends after its last sender");
    }

    /// Runs `job` likewise, as a future of its result.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Io<T> {
        let (sender, receiver) = oneshot::channel();
        self.run(move || {
            // The waiter may be gone: the operation goes on all the same.
            let _ = sender.send(job());
        });
        Io::Pending(Box::pin(async move {
            receiver.await.unwrap_or_else(|_| Err(io::Error::other("a file operation panicked")))
        }))
    }
}
