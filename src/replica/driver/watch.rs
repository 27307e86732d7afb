//! Waiting for something to read: a delayed fetch over any number of partitions.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Poll, Waker};

use super::PartitionHandle;
use crate::replica::WaiterId;

/// A fetch request that waits until enough bytes became readable in all its partitions together (`fetch.min.bytes`).
///
/// It has no deadline: the request that owns it does.
#[derive(Debug)]
pub struct FetchWatch(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Bytes that are still missing.
    missing: u64,
    waker: Option<Waker>,
}

impl FetchWatch {
    /// Waits for `bytes_min` bytes beyond what the request has read already.
    #[must_use]
    pub fn new(bytes_min: u64) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State { missing: bytes_min.max(1), waker: None })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no panic while a watch is locked")
    }

    /// `bytes` more can be read; `u64::MAX`: look again whatever was asked for.
    pub(super) fn add(&self, bytes: u64) {
        let waker = {
            let mut state = self.lock();
            state.missing = state.missing.saturating_sub(bytes);
            if state.missing == 0 { state.waker.take() } else { None }
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether enough has come.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.lock().missing == 0
    }

    /// Waits until enough has come, or something happened that the request should see. Cancel-safe; one task at a time.
    pub async fn ready(&self) {
        poll_fn(|cx| {
            let mut state = self.lock();
            if state.missing == 0 {
                return Poll::Ready(());
            }
            state.waker = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// A watch's place in a partition's list. Dropping it takes it out.
pub struct Watching {
    pub(super) handle: Arc<PartitionHandle>,
    pub(super) waiter: WaiterId,
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.handle.forget(self.waiter);
    }
}
