//! Time as the world gives it.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::types::{Monotonic, Now};

/// A node's clocks. Each node of a simulation has its own drift and wall-clock skew.
pub trait Clock: Send + Sync {
    /// What they show.
    fn now(&self) -> Now;

    /// A timer on the monotonic clock. It belongs to the task that polls it.
    fn timer(&self) -> Box<dyn Timer>;
}

/// Wakes the task that polls it at a moment of the monotonic clock. One per driver: not one per request.
pub trait Timer: Send {
    /// Ready once the clock shows `deadline` or later. Another deadline than at the last call replaces it.
    fn poll_at(&mut self, deadline: Monotonic, cx: &mut Context<'_>) -> Poll<()>;
}

/// Waits until the clock shows `deadline`; for ever where there is none. Cancel-safe.
pub async fn wait_until(timer: &mut dyn Timer, deadline: Option<Monotonic>) {
    match deadline {
        Some(deadline) => poll_fn(|cx| timer.poll_at(deadline, cx)).await,
        None => std::future::pending().await,
    }
}

/// Waits for a span of the monotonic clock. For drivers that wait rarely: each call makes a timer.
pub async fn sleep(clock: &dyn Clock, span: Duration) {
    let deadline = clock.now().monotonic + span;
    let mut timer = clock.timer();
    wait_until(timer.as_mut(), Some(deadline)).await;
}

/// Runs `future` until the clock shows `deadline`; `None` where it did not end before.
pub async fn timeout_at<T>(
    clock: &dyn Clock,
    deadline: Monotonic,
    future: impl Future<Output = T>,
) -> Option<T> {
    let mut timer = clock.timer();
    tokio::select! {
        biased;
        value = future => Some(value),
        () = wait_until(timer.as_mut(), Some(deadline)) => None,
    }
}
