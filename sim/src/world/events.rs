//! What will happen, and when: the world's own queue of events, and the one task that lets them happen.
//!
//! madsim's timers cannot be cancelled and its `sleep` lasts 1 ms at least, so the world keeps a queue of its own and asks
//! madsim only for "wake me at the earliest". A moment that is asked for twice is armed once.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
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

/// Names an event that is to come: its moment and its number, by which events are ordered, and the slot it waits in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EventKey {
    at: u64,
    number: u64,
    slot: usize,
}

/// The queue.
pub(crate) struct Events {
    time: TimeHandle,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    /// The next to happen first: of one moment, the one scheduled first. Those that were taken back are still here.
    order: BinaryHeap<Reverse<EventKey>>,
    slots: Vec<Slot>,
    free: Vec<usize>,
    next_number: u64,
    /// The moments at which madsim will wake the task.
    armed: BinaryHeap<Reverse<u64>>,
    waker: Option<Waker>,
    closed: bool,
}

/// Where an event waits. A slot is used again, under another number.
#[derive(Default)]
struct Slot {
    number: u64,
    event: Option<Event>,
}

/// With so few events nothing is gained by forgetting those that were taken back.
const FEW: usize = 256;

impl Queue {
    fn insert(&mut self, at: u64, event: Event) -> EventKey {
        let number = self.next_number;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() - 1
        });
        self.slots[slot] = Slot { number, event: Some(event) };
        let key = EventKey { at, number, slot };
        self.order.push(Reverse(key));
        key
    }

    fn contains(&self, key: EventKey) -> bool {
        let slot = self.slots.get(key.slot);
        slot.is_some_and(|slot| slot.number == key.number && slot.event.is_some())
    }

    fn take(&mut self, key: EventKey) -> Option<Event> {
        if !self.contains(key) {
            return None;
        }
        self.free.push(key.slot);
        self.slots[key.slot].event.take()
    }

    /// Takes an event out before its time.
    fn take_back(&mut self, key: EventKey) -> Option<Event> {
        let event = self.take(key);
        let waiting = self.slots.len() - self.free.len();
        if self.order.len() > FEW && self.order.len() / 4 > waiting {
            let mut order = std::mem::take(&mut self.order);
            order.retain(|key| self.contains(key.0));
            self.order = order;
        }
        event
    }

    /// The next to happen.
    fn first(&mut self) -> Option<EventKey> {
        while let Some(Reverse(first)) = self.order.peek().copied() {
            if self.contains(first) {
                return Some(first);
            }
            self.order.pop();
        }
        None
    }
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
        if queue.closed {
            drop(queue);
            drop(event);
            return EventKey { at: at.nanos(), number: u64::MAX, slot: usize::MAX };
        }
        let key = queue.insert(at.nanos(), event);
        queue.next_number += 1;
        if queue.first() == Some(key) {
            self.arm(&mut queue);
        }
        key
    }

    /// Takes an event back. What it held is dropped by the caller, who must hold no lock then.
    #[must_use]
    pub(crate) fn cancel(&self, key: EventKey) -> Option<Event> {
        self.lock().take_back(key)
    }

    /// Wakes every waiting task of `node`: its clock has changed.
    pub(crate) fn wake_all_of(&self, node: NodeId) {
        let mut queue = self.lock();
        let of_node = |key: &EventKey| match queue.slots.get(key.slot) {
            Some(Slot { number, event: Some(Event::Wake(owner, _)) }) => {
                *owner == node && *number == key.number
            }
            Some(_) | None => false,
        };
        let mut keys: Vec<EventKey> = queue.order.iter().map(|key| key.0).filter(of_node).collect();
        keys.sort_unstable();
        let woken: Vec<Event> = keys.into_iter().filter_map(|key| queue.take(key)).collect();
        drop(queue);
        for event in woken {
            if let Event::Wake(_, waker) = event {
                waker.wake();
            }
        }
    }

    /// Makes sure that madsim wakes the task at the first event, or earlier.
    fn arm(&self, queue: &mut Queue) {
        let (Some(EventKey { at: first, .. }), Some(waker)) = (queue.first(), &queue.waker) else {
            return;
        };
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
        let due = queue.first().filter(|first| first.at <= now);
        let event = due.and_then(|first| {
            queue.order.pop();
            queue.take(first)
        });
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
            world.reseed_if_due();
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
        queue.order.clear();
        let events = std::mem::take(&mut queue.slots);
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
            waker.will_wake(cx.waker()) && self.events.lock().contains(*key)
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
