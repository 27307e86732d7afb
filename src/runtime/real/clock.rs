//! The kernel's clocks, and timers of the runtime that polls them.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::runtime::{Clock, Timer};
use crate::types::{Monotonic, Now, Timestamp};

/// What the kernel's wall clock shows: for command lines, which have no [`Clock`] before they have an environment.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is where the wall clock comes from")]
pub fn real_wall_clock() -> Timestamp {
    let millis = |span: Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => millis(since),
        Err(before) => -millis(before.duration()),
    })
}

/// `CLOCK_MONOTONIC` and `CLOCK_REALTIME`. The monotonic one starts when it is made.
#[derive(Clone, Copy)]
pub(super) struct SystemClock {
    start: Instant,
}

impl SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is where the monotonic clock starts")]
    pub(super) fn new() -> Self {
        Self { start: Instant::now() }
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic::ZERO + self.start.elapsed()
    }

    /// The kernel's moment of `deadline`, or none where the kernel cannot express it: it never comes.
    fn instant(&self, deadline: Monotonic) -> Option<Instant> {
        self.start.checked_add(deadline.since(Monotonic::ZERO))
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        Now { monotonic: self.monotonic(), wall: real_wall_clock() }
    }

    fn timer(&self) -> Box<dyn Timer> {
        Box::new(SystemTimer { clock: *self, sleep: None, armed: None })
    }
}

/// One entry of tokio's timer wheel, moved where the deadline moves. Fires up to a millisecond late (the wheel's tick).
struct SystemTimer {
    clock: SystemClock,
    /// Made at the first wait, on the runtime of the task that waits.
    sleep: Option<Pin<Box<tokio::time::Sleep>>>,
    /// The deadline that `sleep` has.
    armed: Option<Monotonic>,
}

impl Timer for SystemTimer {
    fn poll_at(&mut self, deadline: Monotonic, cx: &mut Context<'_>) -> Poll<()> {
        if self.clock.monotonic() >= deadline {
            return Poll::Ready(());
        }
        let Some(instant) = self.clock.instant(deadline) else { return Poll::Pending };
        let moved = self.armed.replace(deadline) != Some(deadline);
        let sleep = match &mut self.sleep {
            Some(sleep) => {
                if moved {
                    sleep.as_mut().reset(instant.into());
                }
                sleep
            }
            None => self.sleep.insert(Box::pin(tokio::time::sleep_until(instant.into()))),
        };
        sleep.as_mut().poll(cx)
    }
}
