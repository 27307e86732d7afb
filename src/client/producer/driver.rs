//! The producer's task, and the futures that callers hold.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::select;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::sender::{Append, Appending, Effect, Event, Sender};
use super::{ProducerConfig, ProducerHooks, ProducerRecord, RecordMetadata};
use crate::client::driver::Nodes;
use crate::client::error::{ClientError, SendCause, SendError, SendFate};
use crate::client::interceptor::Acknowledgement;
use crate::protocol::messages::{InitProducerIdRequest, MetadataRequest, ProduceRequest};
use crate::rpc::driver::CallOptions;
use crate::runtime::clock::{timeout_at, wait_until};
use crate::runtime::{Env, Timer, task};
use crate::types::{Monotonic, TopicPartition};

/// Answers of a producer's requests are short; a longer one is not from a broker. In bytes.
const RESPONSE_BYTES_MAX: usize = 100 << 20;

type Outcome = Result<RecordMetadata, SendError>;
type Machine = Sender<Sent>;

/// Who is to hear of a record's outcome.
enum Sent {
    /// A [`Delivery`].
    Awaited(oneshot::Sender<Outcome>),
    /// A callback.
    Called(Box<dyn FnOnce(Outcome) + Send>),
}

impl Sent {
    fn tell(self, outcome: Outcome) {
        match self {
            // Nobody needs to wait for an outcome.
            Self::Awaited(sender) => drop(sender.send(outcome)),
            Self::Called(done) => done(outcome),
        }
    }
}

/// Sends records to a cluster. Cheap to share: clone it. Its task ends after [`Producer::close`]; where the last clone is
/// dropped without it, once all that was taken is decided.
///
/// ```
/// use ottla::client::{ClientError, Producer, ProducerConfig, ProducerRecord};
/// use ottla::runtime::Env;
///
/// async fn send_one(env: Env) -> Result<(), Box<dyn std::error::Error>> {
///     let config = ProducerConfig::new([("bootstrap.servers", "127.0.0.1:9092")])?;
///     let producer = Producer::new(config, env);
///     let delivery = producer.send(ProducerRecord::new("orders", "3 apples").key("customer-7")).await?;
///     let metadata = delivery.await?; // `?` on a SendError: look at `fate` to know whether it may be stored
///     println!("{}-{} @ {:?}", metadata.topic, metadata.partition, metadata.offset);
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Producer {
    handle: Arc<Handle>,
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("client_id", &self.handle.shared.client_id).finish()
    }
}

/// Closes the producer with its last clone.
struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.close(Monotonic::FAR_FUTURE);
    }
}

/// What callers and the task share.
struct Shared {
    env: Env,
    client_id: String,
    hooks: ProducerHooks,
    block_max: Duration,
    machine: Mutex<Machine>,
    /// Free bytes of `buffer.memory`; those who wait are served in order.
    memory: Arc<Semaphore>,
    memory_waiters: AtomicUsize,
    /// For the task.
    events: mpsc::UnboundedSender<Event>,
    wake: Notify,
    /// For callers that wait for a topic.
    metadata_changed: Notify,
    flushes: Mutex<Flushes>,
    /// Closed when the task has ended.
    ended: Semaphore,
}

#[derive(Default)]
struct Flushes {
    next: u64,
    waiters: BTreeMap<u64, oneshot::Sender<()>>,
}

impl Producer {
    /// A producer; starts its task at once, connects when there is something to send.
    #[must_use]
    pub fn new(config: ProducerConfig, env: Env) -> Self {
        Self::with_hooks(config, env, ProducerHooks::default())
    }

    /// The same, with interceptors or a partitioner of the application's own.
    #[must_use]
    pub fn with_hooks(config: ProducerConfig, env: Env, hooks: ProducerHooks) -> Self {
        let (events, inbox) = mpsc::unbounded_channel();
        let client_id = config.common.client_id.clone();
        let nodes = Nodes::new(&config.common, RESPONSE_BYTES_MAX, &env);
        let request_timeout = config.common.request_timeout;
        let shared = Arc::new(Shared {
            block_max: config.block_max,
            memory: Arc::new(Semaphore::new(config.buffer_memory)),
            memory_waiters: AtomicUsize::new(0),
            machine: Mutex::new(Sender::new(config, |purpose| {
                env.rng(&format!("{client_id}/{purpose}"))
            })),
            events,
            wake: Notify::new(),
            metadata_changed: Notify::new(),
            flushes: Mutex::new(Flushes::default()),
            ended: Semaphore::new(0),
            client_id,
            hooks,
            env,
        });
        let timer = shared.env.clock.timer();
        let driver = Driver { shared: shared.clone(), nodes, request_timeout, timer };
        let _task = task::spawn(driver.run(inbox));
        Self { handle: Arc::new(Handle { shared }) }
    }

    /// Takes a record over. Waits, at most `max.block.ms`, only until the topic is known and there is buffer space.
    ///
    /// What is returned may be awaited, now or after others were sent, or dropped: fire and forget.
    ///
    /// Errors: [`ClientError::TimedOut`], [`ClientError::RecordTooLarge`], [`ClientError::InvalidPartition`],
    /// [`ClientError::Answer`] (invalid topic, not authorized), [`ClientError::Closed`]. In each case nothing was sent.
    pub async fn send(&self, record: ProducerRecord) -> Result<Delivery, ClientError> {
        let (sender, receiver) = oneshot::channel();
        let partition = self.handle.shared.send(record, Sent::Awaited(sender)).await?;
        Ok(Delivery { receiver, partition })
    }

    /// Takes a record over like [`Producer::send`]; `done` is called when its delivery is decided. Returns where it goes.
    ///
    /// Callbacks of one partition are called in the order of the sends, in the producer's task: they must be quick, or others wait. `done`
    /// may not be called where the runtime ends before the producer is closed.
    ///
    /// Errors: as [`Producer::send`]; `done` is not called then.
    pub async fn send_with(
        &self,
        record: ProducerRecord,
        done: impl FnOnce(Result<RecordMetadata, SendError>) + Send + 'static,
    ) -> Result<TopicPartition, ClientError> {
        self.handle.shared.send(record, Sent::Called(Box::new(done))).await
    }

    /// Sends all that was taken over without lingering and waits until each delivery is decided.
    pub async fn flush(&self) {
        let shared = &self.handle.shared;
        let (sender, receiver) = oneshot::channel();
        let waiter = {
            let mut flushes = lock(&shared.flushes);
            let waiter = flushes.next;
            flushes.next += 1;
            flushes.waiters.insert(waiter, sender);
            waiter
        };
        if shared.events.send(Event::Flush(waiter)).is_ok() {
            // The task answers, or has ended: then everything is decided.
            let _ = receiver.await;
        }
    }

    /// Flushes for at most `timeout`, then fails what is left and ends the task. Later sends are refused.
    pub async fn close(&self, timeout: Duration) {
        let shared = &self.handle.shared;
        shared.close(shared.env.clock.now().monotonic + timeout);
        // Never granted: it is closed when the task has ended.
        let _ = shared.ended.acquire().await;
    }
}

impl Shared {
    async fn send(
        &self,
        record: ProducerRecord,
        sent: Sent,
    ) -> Result<TopicPartition, ClientError> {
        let record = self.hooks.interceptors.on_send(record);
        let topic = Arc::clone(&record.topic);
        let appended = self.append(Appending::new(record, sent)).await;
        if let Err(error) = &appended {
            let refused = Acknowledgement::Refused { topic: &topic, error };
            self.hooks.interceptors.on_acknowledgement(refused);
        }
        appended
    }

    async fn append(&self, mut appending: Appending<Sent>) -> Result<TopicPartition, ClientError> {
        let mut permit: Option<OwnedSemaphorePermit> = None;
        let deadline = self.env.clock.now().monotonic + self.block_max;
        loop {
            // Listening begins before looking, or a change between the two would be missed.
            let mut changed = pin!(self.metadata_changed.notified());
            changed.as_mut().enable();
            let appended = self.offer(&mut appending);
            match appended {
                Append::Done { partition, is_tick_due } => {
                    if appending.memory.is_none()
                        && let Some(permit) = permit.take()
                    {
                        permit.forget();
                    }
                    if is_tick_due {
                        self.wake.notify_one();
                    }
                    return Ok(partition);
                }
                Append::NeedsMetadata => {
                    self.wake.notify_one();
                    let waited = timeout_at(self.env.clock.as_ref(), deadline, changed).await;
                    if waited.is_none() {
                        return Err(self.no_metadata(appending.topic()));
                    }
                }
                Append::NeedsMemory(bytes) => {
                    drop(permit.take());
                    permit = Some(self.acquire(bytes, deadline).await?);
                    appending.memory = Some(bytes);
                }
                Append::Refused(error) => return Err(error),
            }
        }
    }

    fn offer(&self, appending: &mut Appending<Sent>) -> Append {
        if let Some(choose) = &self.hooks.choose_partition {
            let partitions = self.machine().partitions_of(appending.topic());
            // Not under the lock: it is the application's.
            if let Some(partitions) = partitions {
                appending.choose(|record| choose(record, partitions));
            }
        }
        self.machine().append(self.env.clock.now(), appending)
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        lock(&self.machine)
    }

    fn close(&self, deadline: Monotonic) {
        // Refused only by a task that has ended.
        let _ = self.events.send(Event::Close { deadline });
    }

    fn no_metadata(&self, topic: &str) -> ClientError {
        let machine = self.machine();
        let answered = machine.view.topic_error(topic).map(|error| error.to_string());
        let last_error = answered.or(machine.view.last_failure().map(str::to_owned));
        let waited_for = format!("metadata of topic {topic}");
        ClientError::TimedOut { waited_for, after: self.block_max, last_error }
    }

    async fn acquire(
        &self,
        bytes: usize,
        deadline: Monotonic,
    ) -> Result<OwnedSemaphorePermit, ClientError> {
        let count = u32::try_from(bytes).expect("buffer.memory is below 2^31");
        if let Ok(permit) = self.memory.clone().try_acquire_many_owned(count) {
            return Ok(permit);
        }
        crate::mark!("producer waits for buffer.memory");
        let _waiting = MemoryWaiter::new(self);
        let acquiring = self.memory.clone().acquire_many_owned(count);
        match timeout_at(self.env.clock.as_ref(), deadline, acquiring).await {
            Some(Ok(permit)) => Ok(permit),
            Some(Err(_closed)) => Err(ClientError::Closed),
            None => {
                let waited_for = format!("{bytes} bytes of buffer.memory");
                Err(ClientError::TimedOut { waited_for, after: self.block_max, last_error: None })
            }
        }
    }
}

/// Counts a caller among those who wait for memory, until it is dropped.
struct MemoryWaiter<'a>(&'a Shared);

impl<'a> MemoryWaiter<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.memory_waiters.fetch_add(1, Ordering::Relaxed);
        shared.wake.notify_one();
        Self(shared)
    }
}

impl Drop for MemoryWaiter<'_> {
    fn drop(&mut self) {
        self.0.memory_waiters.fetch_sub(1, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A poisoned lock means that a bug panicked elsewhere; that panic is the one to be seen.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Driver {
    shared: Arc<Shared>,
    nodes: Nodes,
    request_timeout: Duration,
    timer: Box<dyn Timer>,
}

impl Driver {
    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Event>) {
        let shared = self.shared.clone();
        loop {
            let deadline = shared.machine().deadline();
            let event = select! {
                biased;
                event = inbox.recv() => event.expect("the task holds a sender itself"),
                () = shared.wake.notified() => Event::Tick,
                () = wait_until(self.timer.as_mut(), deadline) => Event::Tick,
            };
            let is_closing = matches!(event, Event::Close { .. });
            let mut effects = Vec::new();
            let is_ended = {
                let mut machine = shared.machine();
                machine.set_memory_wanted(shared.memory_waiters.load(Ordering::Relaxed) > 0);
                machine.handle(shared.env.clock.now(), event, &mut effects);
                machine.is_ended()
            };
            for effect in effects {
                self.perform(effect);
            }
            if is_closing {
                shared.memory.close();
                shared.metadata_changed.notify_waiters();
            }
            if is_ended {
                break;
            }
        }
        // Before the waiters are let go: who comes later finds the inbox closed.
        drop(inbox);
        self.nodes.clear();
        lock(&shared.flushes).waiters.clear();
        shared.ended.close();
    }

    fn perform(&mut self, effect: Effect<Sent>) {
        let events = self.shared.events.clone();
        let timeout = self.request_timeout;
        match effect {
            Effect::Metadata(query) => {
                let options = CallOptions::new::<MetadataRequest>(timeout);
                let channel = self.nodes.channel(&query.target);
                channel.submit(query.request, options, move |answer| {
                    let _ = events.send(Event::MetadataAnswered(answer));
                });
            }
            Effect::InitProducerId(target) => {
                let request = InitProducerIdRequest {
                    transaction_timeout_ms: i32::MAX,
                    ..InitProducerIdRequest::default()
                };
                let options = CallOptions::new::<InitProducerIdRequest>(timeout);
                self.nodes.channel(&target).submit(request, options, move |answer| {
                    let _ = events.send(Event::ProducerIdAnswered(answer));
                });
            }
            Effect::Produce { target, token, request, versions, is_answered } => {
                let options = CallOptions { versions, timeout };
                let channel = self.nodes.channel(&target);
                let done = move |answer| {
                    let _ = events.send(Event::ProduceAnswered(token, answer));
                };
                if is_answered {
                    channel.submit::<ProduceRequest>(request, options, done);
                } else {
                    channel.submit_unanswered::<ProduceRequest>(request, options, done);
                }
            }
            Effect::Deliver { handle, result } => {
                let outcome = match &result {
                    Ok(metadata) => Acknowledgement::Stored(metadata),
                    Err(error) => Acknowledgement::Failed(error),
                };
                self.shared.hooks.interceptors.on_acknowledgement(outcome);
                handle.tell(result);
            }
            Effect::ReleaseMemory(bytes) => self.shared.memory.add_permits(bytes),
            Effect::MetadataChanged => self.shared.metadata_changed.notify_waiters(),
            Effect::Flushed(waiter) => {
                let waiter = lock(&self.shared.flushes).waiters.remove(&waiter);
                if let Some(waiter) = waiter {
                    let _ = waiter.send(());
                }
            }
        }
    }
}

/// The outcome of one record, to be awaited. Deliveries of one partition are decided in the order of `send`. Dropping it
/// does not take the record back.
#[derive(Debug)]
pub struct Delivery {
    receiver: oneshot::Receiver<Outcome>,
    partition: TopicPartition,
}

impl Delivery {
    /// Where the record goes.
    #[must_use]
    pub fn partition(&self) -> &TopicPartition {
        &self.partition
    }
}

impl Future for Delivery {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = std::task::ready!(Pin::new(&mut self.receiver).poll(cx));
        // Only a task that was cut down by the end of its runtime leaves a delivery undecided.
        Poll::Ready(answer.unwrap_or_else(|_| {
            Err(SendError {
                partition: self.partition.clone(),
                fate: SendFate::Unknown,
                cause: SendCause::Closed,
                attempts: 0,
                identity: None,
            })
        }))
    }
}
