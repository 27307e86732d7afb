//! A value that many watch: receivers see the latest, and wake in the order in which they came.
//!
//! `tokio::sync::watch` spreads its receivers over eight lists by a draw from a process-wide counter (tokio 1.54,
//! `sync/watch.rs`, `BigNotify`): with two receivers the same seed wakes them in another order in the next run. This one draws
//! nothing.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Makes a value with its first receiver.
#[must_use]
pub fn channel<T>(value: T) -> (Sender<T>, Receiver<T>) {
    let sender = Sender::new(value);
    let receiver = sender.subscribe();
    (sender, receiver)
}

#[derive(Debug)]
struct Shared<T>(Mutex<State<T>>);

#[derive(Debug)]
struct State<T> {
    value: T,
    version: u64,
    senders: usize,
    next_receiver: u64,
    /// By receiver: at most one waits at a time for each.
    waiting: BTreeMap<u64, Waker>,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Whoever looks at the value may panic; senders and receivers are dropped while that unwinds, and a second panic would
        // end the process before anybody can tell of the first.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes with nothing locked: waking may drop a task whose destructor locks.
fn wake(waiting: BTreeMap<u64, Waker>) {
    waiting.into_values().for_each(Waker::wake);
}

/// Changes the value.
#[derive(Debug)]
pub struct Sender<T>(Arc<Shared<T>>);

impl<T> Sender<T> {
    /// A value nobody watches yet.
    #[must_use]
    pub fn new(value: T) -> Self {
        let state =
            State { value, version: 0, senders: 1, next_receiver: 0, waiting: BTreeMap::new() };
        Self(Arc::new(Shared(Mutex::new(state))))
    }

    /// A receiver that has seen the present value.
    #[must_use]
    pub fn subscribe(&self) -> Receiver<T> {
        let mut state = self.0.lock();
        let id = state.next_receiver;
        state.next_receiver += 1;
        Receiver { shared: Arc::clone(&self.0), id, seen: state.version }
    }

    /// Replaces the value, wakes all receivers, and returns the old one.
    pub fn send_replace(&self, value: T) -> T {
        let mut state = self.0.lock();
        let old = std::mem::replace(&mut state.value, value);
        state.version += 1;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        wake(waiting);
        old
    }

    /// Changes the value in place and wakes all receivers.
    pub fn send_modify(&self, change: impl FnOnce(&mut T)) {
        let mut state = self.0.lock();
        change(&mut state.value);
        state.version += 1;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        wake(waiting);
    }

    /// The present value, locked: not to be held for long, never across a wait.
    #[must_use]
    pub fn borrow(&self) -> Ref<'_, T> {
        Ref(self.0.lock())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.lock().senders += 1;
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.senders -= 1;
        let ended = state.senders == 0;
        let waiting = if ended { std::mem::take(&mut state.waiting) } else { BTreeMap::new() };
        drop(state);
        wake(waiting);
    }
}

/// The value, locked.
#[derive(Debug)]
pub struct Ref<'a, T>(MutexGuard<'a, State<T>>);

impl<T> Deref for Ref<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

/// Every sender is gone: the value will not change any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the watched value has no sender any more")]
pub struct Closed;

/// Watches the value.
#[derive(Debug)]
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    id: u64,
    seen: u64,
}

impl<T> Receiver<T> {
    /// The present value, locked: not to be held for long, never across a wait.
    #[must_use]
    pub fn borrow(&self) -> Ref<'_, T> {
        Ref(self.shared.lock())
    }

    /// The present value, which counts as seen from now on.
    pub fn borrow_and_update(&mut self) -> Ref<'_, T> {
        let state = self.shared.lock();
        self.seen = state.version;
        Ref(state)
    }

    /// Waits until there is a value that was not seen, which counts as seen from then on. Cancel-safe.
    ///
    /// Errors: every sender is gone.
    pub async fn changed(&mut self) -> Result<(), Closed> {
        poll_fn(|cx| self.poll_changed(cx)).await
    }

    /// Waits until the value is as wanted; at once where it is. Cancel-safe.
    ///
    /// Errors: every sender is gone, and it is not.
    pub async fn wait_for(
        &mut self,
        mut wanted: impl FnMut(&T) -> bool,
    ) -> Result<Ref<'_, T>, Closed> {
        poll_fn(|cx| {
            loop {
                let state = self.shared.lock();
                self.seen = state.version;
                let is_wanted = wanted(&state.value);
                drop(state);
                if is_wanted {
                    return Poll::Ready(Ok(()));
                }
                std::task::ready!(self.poll_changed(cx))?;
            }
        })
        .await?;
        Ok(self.borrow())
    }

    fn poll_changed(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Closed>> {
        let mut state = self.shared.lock();
        if state.version != self.seen {
            self.seen = state.version;
            return Poll::Ready(Ok(()));
        }
        if state.senders == 0 {
            return Poll::Ready(Err(Closed));
        }
        let old = state.waiting.insert(self.id, cx.waker().clone());
        drop(state);
        drop(old);
        Poll::Pending
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        let mut state = self.shared.lock();
        let id = state.next_receiver;
        state.next_receiver += 1;
        Self { shared: Arc::clone(&self.shared), id, seen: self.seen }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let old = self.shared.lock().waiting.remove(&self.id);
        drop(old);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::task::Wake;

    use super::*;

    /// Writes down when it is woken.
    struct Noted(u64, Arc<Mutex<Vec<u64>>>);

    impl Wake for Noted {
        fn wake(self: Arc<Self>) {
            self.1.lock().unwrap().push(self.0);
        }
    }

    #[test]
    fn receivers_wake_in_the_order_in_which_they_came() {
        let (sender, first) = channel(0);
        let mut receivers: Vec<Receiver<i32>> = (0..20).map(|_| first.clone()).collect();
        let woken = Arc::new(Mutex::new(Vec::new()));
        for (index, receiver) in receivers.iter_mut().enumerate().rev() {
            let waker = Waker::from(Arc::new(Noted(index as u64, Arc::clone(&woken))));
            assert!(receiver.poll_changed(&mut Context::from_waker(&waker)).is_pending());
        }
        assert_eq!(sender.send_replace(1), 0);
        assert_eq!(*woken.lock().unwrap(), (0..20).collect::<Vec<u64>>());
        let mut context = Context::from_waker(Waker::noop());
        for receiver in &mut receivers {
            assert_eq!(receiver.poll_changed(&mut context), Poll::Ready(Ok(())));
            assert!(receiver.poll_changed(&mut context).is_pending(), "a value is new once");
        }
        drop(sender);
        assert_eq!(receivers[0].poll_changed(&mut context), Poll::Ready(Err(Closed)));
    }

    #[test]
    fn a_receiver_that_is_gone_holds_no_waker() {
        static DROPPED: AtomicU64 = AtomicU64::new(0);
        struct Counted;
        impl Wake for Counted {
            fn wake(self: Arc<Self>) {}
        }
        impl Drop for Counted {
            fn drop(&mut self) {
                DROPPED.fetch_add(1, Ordering::Relaxed);
            }
        }
        let (_sender, mut receiver) = channel(());
        let waker = Waker::from(Arc::new(Counted));
        assert!(receiver.poll_changed(&mut Context::from_waker(&waker)).is_pending());
        drop(waker);
        drop(receiver);
        assert_eq!(DROPPED.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn receivers_outlive_who_panicked_while_it_looked() {
        let (sender, receiver) = channel(7);
        let looks = std::panic::AssertUnwindSafe(|| {
            let _seen = sender.borrow();
            panic!("a bug of who looks");
        });
        assert!(std::panic::catch_unwind(looks).is_err());
        assert_eq!(*receiver.borrow(), 7);
        drop(receiver);
        drop(sender);
    }
}
