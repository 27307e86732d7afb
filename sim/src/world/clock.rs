//! A node's clocks: one monotonic, one for the wall, both run by the node's own oscillator.
//!
//! Faults: the wall clock may be ahead or behind (skew) and may jump; the oscillator may run fast or slow (drift), which
//! bends both clocks and every timer of the node. The monotonic clock never goes back.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use ottla::runtime::{Clock, Timer};
use ottla::types::{Monotonic, Now, Timestamp};

use super::events::{Events, Wait};
use super::name::{NodeId, SimTime};

/// What a wall clock without skew shows when the world begins: 2024-01-01T00:00:00Z, in milliseconds since 1970.
pub const WALL_START_MILLIS: i64 = 1_704_067_200_000;

/// Parts per billion of a second in a second.
const BILLION: i128 = 1_000_000_000;

/// The drift a clock may have, in parts per billion to either side: half a second a second.
pub const DRIFT_MAX_PPB: i64 = 500_000_000;

/// One node's clocks. Survives its restarts.
pub struct SimClock {
    node: NodeId,
    events: Arc<Events>,
    state: Mutex<State>,
}

#[derive(Clone, Copy)]
struct State {
    /// The world's time when the drift last changed, and what the monotonic clock showed then.
    since: SimTime,
    shown: u64,
    drift_ppb: i64,
    /// Wall clock minus true time, in milliseconds, drift left out.
    skew_millis: i64,
}

impl State {
    fn monotonic(&self, now: SimTime) -> u64 {
        let passed = now.nanos().saturating_sub(self.since.nanos());
        if self.drift_ppb == 0 {
            return self.shown.saturating_add(passed);
        }
        let passed = i128::from(passed);
        let bent = passed * (BILLION + i128::from(self.drift_ppb)) / BILLION;
        self.shown.saturating_add(u64::try_from(bent).unwrap_or(u64::MAX))
    }

    /// The first moment of the world at which the monotonic clock shows `wanted` or more.
    fn moment_of(&self, wanted: u64) -> SimTime {
        let missing = wanted.saturating_sub(self.shown);
        if self.drift_ppb == 0 {
            return SimTime(self.since.nanos().saturating_add(missing));
        }
        let missing = i128::from(missing);
        let rate = BILLION + i128::from(self.drift_ppb);
        let passed = (missing * BILLION + rate - 1) / rate;
        let passed = u64::try_from(passed).unwrap_or(u64::MAX);
        SimTime(self.since.nanos().saturating_add(passed))
    }
}

impl SimClock {
    pub(crate) fn new(node: NodeId, events: Arc<Events>) -> Self {
        let state = State { since: SimTime(0), shown: 0, drift_ppb: 0, skew_millis: 0 };
        Self { node, events, state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics with a clock locked")
    }

    /// Moves the wall clock by `millis`, forwards or backwards. Skew is a jump before the node starts.
    pub fn jump(&self, millis: i64) {
        let mut state = self.lock();
        state.skew_millis = state.skew_millis.saturating_add(millis);
    }

    /// Lets the clocks run fast (positive) or slow (negative) by so many parts per billion from now on. 0 lifts the fault:
    /// what has drifted stays.
    pub fn drift(&self, parts_per_billion: i64) {
        let now = self.events.now();
        let mut state = self.lock();
        state.shown = state.monotonic(now);
        state.since = now;
        state.drift_ppb = parts_per_billion.clamp(-DRIFT_MAX_PPB, DRIFT_MAX_PPB);
        drop(state);
        self.events.wake_all_of(self.node);
    }

    /// Sets the wall clock right again.
    pub fn correct_wall(&self) {
        let now = self.events.now();
        let mut state = self.lock();
        let drifted = i128::from(state.monotonic(now)) - i128::from(now.nanos());
        state.skew_millis = -i64::try_from(drifted / 1_000_000).unwrap_or(0);
    }
}

/// What a node sees of its clock.
pub(crate) struct NodeClock(pub(crate) Arc<SimClock>);

impl Clock for NodeClock {
    fn now(&self) -> Now {
        let state = *self.0.lock();
        let monotonic = state.monotonic(self.0.events.now());
        let millis = i64::try_from(monotonic / 1_000_000).unwrap_or(i64::MAX);
        let wall = WALL_START_MILLIS.saturating_add(millis).saturating_add(state.skew_millis);
        Now { monotonic: Monotonic::from_nanos(monotonic), wall: Timestamp::from_millis(wall) }
    }

    fn timer(&self) -> Box<dyn Timer> {
        let wait = self.0.events.wait_until(self.0.node, SimTime(u64::MAX));
        Box::new(NodeTimer { clock: Arc::clone(&self.0), wait })
    }
}

struct NodeTimer {
    clock: Arc<SimClock>,
    wait: Wait,
}

impl Timer for NodeTimer {
    fn poll_at(&mut self, deadline: Monotonic, cx: &mut Context<'_>) -> Poll<()> {
        // The moment is computed anew at each poll: the drift may have changed, and then everybody is woken.
        let moment = self.clock.lock().moment_of(deadline.nanos());
        self.wait.set(moment);
        Pin::new(&mut self.wait).poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(drift_ppb: i64) -> State {
        State { since: SimTime(1_000), shown: 5_000, drift_ppb, skew_millis: 0 }
    }

    #[test]
    fn a_timer_fires_when_its_own_clock_shows_the_deadline_and_not_before() {
        for drift in [0, 1, -1, 333_333_333, -499_999_999] {
            for wanted in [5_000, 5_001, 123_456_789, 3_600_000_000_000] {
                let state = state(drift);
                let at = state.moment_of(wanted);
                assert!(state.monotonic(at) >= wanted, "drift {drift}: too early");
                if at.nanos() > 1_000 {
                    assert!(
                        state.monotonic(SimTime(at.nanos() - 1)) < wanted,
                        "drift {drift}: late"
                    );
                }
            }
        }
    }

    #[test]
    fn a_moment_that_never_comes_does_not_overflow() {
        assert_eq!(state(-3).moment_of(u64::MAX), SimTime(u64::MAX));
    }
}
