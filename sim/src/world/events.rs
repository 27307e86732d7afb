//! What will happen, and when: the world's own queue of events, and the one task that lets them happen.
//!
//! madsim's timers cannot be cancelled and its `sleep` lasts 1 ms at least, so the world keeps a queue of its own and asks
//! madsim only for "wake me at the earliest". A moment that is asked for twice is armed once.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use madsim::time::TimeHandle;

use super::name::{NodeId, SimTime};
use super::{World, disk, net};

/// Later than this nothing is armed, in nanoseconds: a hundred years. It is how "never" is written.
const ARMED_MAX: u64 = 100 * 365 * 24 * 3_600 * 1_000_000_000;

/// Something that will happen.
pub(crate) enum Event {
    /// A task of `node` waits for this moment.
    Wake(NodeId, Waker),
    /// Something arrives, or is tried again.
    Net(net::Event),
    /// A disk has finished something.
    Disk(disk::Event),
}

/// Names an event that is to come: its moment, and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EventKey(u64, u64);

/// The queue.
pub(crate) struct Events {
    time: TimeHandle,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    /// In the order in which they happen: of one moment, the one scheduled first.
    events: BTreeMap<EventKey, Event>,
    next_number: u64,
    /// The moments at which madsim will wake the task.
    armed: BinaryHeap<Reverse<u64>>,
    waker: Option<Waker>,
    closed: bool,
}

impl Events {
    /// A queue on the clock of the runtime that calls.
    pub(crate) fn new() -> Self {
        Self { time: TimeHandle::current(), queue: Mutex::new(Queue::default()) }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The world's time.
    pub(crate) fn now(&self) -> SimTime {
        SimTime(super::name::nanos(self.time.elapsed()))
    }

    /// Lets `event` happen at `at`, or as soon as possible after.
    pub(crate) fn schedule(&self, at: SimTime, event: Event) -> EventKey {
        let mut queue = self.lock();
        let key = EventKey(at.nanos(), queue.next_number);
        queue.next_number += 1;
        if queue.closed {
            drop(queue);
            drop(event);
            return key;
        }
        queue.events.insert(key, event);
        let first = queue.events.first_key_value().is_some_and(|(first, _)| *first == key);
        if first {
            self.arm(&mut queue);
        }
        key
    }

    /// Takes an event back. What it held is dropped by the caller, who must hold no lock then.
    #[must_use]
    pub(crate) fn cancel(&self, key: EventKey) -> Option<Event> {
        self.lock().events.remove(&key)
    }

    /// Wakes every waiting task of `node`: its clock has changed.
    pub(crate) fn wake_all_of(&self, node: NodeId) {
        let mut woken = Vec::new();
        let mut queue = self.lock();
        queue.events.retain(|_, event| match event {
            Event::Wake(owner, waker) if *owner == node => {
                woken.push(waker.clone());
                false
            }
            Event::Wake(..) | Event::Net(_) | Event::Disk(_) => true,
        });
        drop(queue);
        woken.into_iter().for_each(Waker::wake);
    }

    /// Makes sure that madsim wakes the task at the first event, or earlier.
    fn arm(&self, queue: &mut Queue) {
        let (Some((first, _)), Some(waker)) = (queue.events.first_key_value(), &queue.waker) else {
            return;
        };
        let first = first.0;
        if first > ARMED_MAX {
            return;
        }
        if queue.armed.peek().is_some_and(|armed| armed.0 <= first) {
            return;
        }
        // `sleep` would clamp to 1 ms; `reset` does not (madsim 0.2.34, `time/sleep.rs`).
        let mut sleep = self.time.sleep(Duration::ZERO);
        let wait = Duration::from_nanos(first.saturating_sub(self.now().nanos()));
        Pin::new(&mut sleep).reset(self.time.now_instant() + wait);
        match Pin::new(&mut sleep).poll(&mut Context::from_waker(waker)) {
            Poll::Ready(()) => waker.wake_by_ref(),
            Poll::Pending => queue.armed.push(Reverse(first)),
        }
    }

    /// The next event that is due.
    fn take_due(&self, cx: &mut Context<'_>) -> Option<Event> {
        let mut old_waker = None;
        let mut queue = self.lock();
        let now = self.now().nanos();
        if queue.waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            old_waker = queue.waker.replace(cx.waker().clone());
        }
        while queue.armed.peek().is_some_and(|armed| armed.0 <= now) {
            queue.armed.pop();
        }
        let due = queue.events.first_entry().filter(|first| first.key().0 <= now);
        let event = due.map(|entry| entry.remove());
        if event.is_none() {
            self.arm(&mut queue);
        }
        drop(queue);
        drop(old_waker);
        event
    }

    /// The world's task: lets events happen, for ever.
    pub(crate) async fn run(world: Arc<World>) {
        poll_fn(|cx| {
            world.notice_panics();
            while let Some(event) = world.events.take_due(cx) {
                match event {
                    Event::Wake(_, waker) => waker.wake(),
                    Event::Net(event) => world.net_event(event),
                    Event::Disk(event) => world.disk_event(event),
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Forgets everything and takes nothing any more. The caller holds no lock.
    pub(crate) fn close(&self) {
        let mut queue = self.lock();
        queue.closed = true;
        let events = std::mem::take(&mut queue.events);
        let waker = queue.waker.take();
        drop(queue);
        drop((events, waker));
    }

    /// Waits until `at`, with no lower bound.
    pub(crate) fn wait_until(self: &Arc<Self>, node: NodeId, at: SimTime) -> Wait {
        Wait { events: Arc::clone(self), node, at, key: None }
    }
}

/// Waits for a moment. Dropping it takes the event back.
pub(crate) struct Wait {
    events: Arc<Events>,
    node: NodeId,
    at: SimTime,
    key: Option<(EventKey, Waker)>,
}

impl Wait {
    /// Another moment from now on.
    pub(crate) fn set(&mut self, at: SimTime) {
        if self.at != at {
            self.at = at;
            self.take_back();
        }
    }

    fn take_back(&mut self) {
        if let Some((key, _)) = self.key.take() {
            drop(self.events.cancel(key));
        }
    }
}

impl Future for Wait {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.events.now() >= self.at {
            self.take_back();
            return Poll::Ready(());
        }
        let registered = self.key.as_ref().is_some_and(|(key, waker)| {
            waker.will_wake(cx.waker()) && self.events.lock().events.contains_key(key)
        });
        if !registered {
            self.take_back();
            let event = Event::Wake(self.node, cx.waker().clone());
            let key = self.events.schedule(self.at, event);
            self.key = Some((key, cx.waker().clone()));
        }
        Poll::Pending
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.take_back();
    }
}
