//! The consumer's calls, and its waiting. Answers are taken in by the calls, as in Kafka's client, while the connections read ahead. Only
//! a member of a group has a task, for what must go on between calls (`group.rs`).

mod group;
mod lookups;
mod membership;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use regex_lite::Regex;
use tokio::select;
use tokio::sync::{Notify, mpsc};

use self::group::Group;
pub use self::membership::{CloseOptions, CommitCallback, Wakeup};
use super::fetcher::{Effect, Event, Fetcher};
use super::listener::{NoListener, RebalanceListener};
use super::membership::{CommitId, Event as GroupEvent, ReadId};
use super::offsets::Offsets;
use super::{ConsumerConfig, ConsumerRecord};
use crate::client::driver::Nodes;
use crate::client::error::ClientError;
use crate::client::interceptor::{ConsumerInterceptor, ConsumerInterceptors};
use crate::protocol::OffsetSpec;
use crate::protocol::messages::{
    FetchRequest, ListOffsetsRequest, MetadataRequest, OffsetForLeaderEpochRequest,
};
use crate::rpc::driver::CallOptions;
use crate::runtime::clock::wait_until;
use crate::runtime::{Env, Timer};
use crate::types::{ErrorCode, Monotonic, Offset, TopicPartition};

/// Room for what an answer holds beside the records, in bytes.
const RESPONSE_BYTES_BESIDE: usize = 16 << 20;

/// Reads records of partitions that its owner assigned, or its group. For one owner: calls take `&mut self`.
///
/// As a member of a group (`group.id`, [`Consumer::subscribe`]) it must be polled at least every `max.poll.interval.ms`: whoever is slower
/// leaves the group, and others read what it had.
///
/// ```
/// use std::time::Duration;
/// use ottla::client::{Consumer, ConsumerConfig};
/// use ottla::runtime::Env;
///
/// /// Each record is done at least once: it is committed after it is done.
/// async fn share_the_work(env: Env) -> Result<(), Box<dyn std::error::Error>> {
///     let properties = [
///         ("bootstrap.servers", "127.0.0.1:9092"),
///         ("group.id", "billing"),
///         ("enable.auto.commit", "false"),
///     ];
///     let mut consumer = Consumer::new(ConsumerConfig::new(properties)?, env);
///     consumer.subscribe(["orders"])?;
///     loop {
///         for record in consumer.poll(Duration::from_millis(100)).await? {
///             println!("{} {:?}", record.offset, record.value);
///         }
///         consumer.commit().await?;
///     }
/// }
/// ```
///
/// Or it chooses its partitions itself:
///
/// ```
/// use std::time::Duration;
/// use ottla::client::{Consumer, ConsumerConfig};
/// use ottla::runtime::Env;
/// use ottla::types::{PartitionIndex, TopicPartition};
///
/// async fn read_all(env: Env) -> Result<(), Box<dyn std::error::Error>> {
///     let properties = [("bootstrap.servers", "127.0.0.1:9092"), ("auto.offset.reset", "earliest")];
///     let mut consumer = Consumer::new(ConsumerConfig::new(properties)?, env);
///     consumer.assign(vec![TopicPartition { topic: "orders".into(), partition: PartitionIndex::new(0) }]);
///     loop {
///         for record in consumer.poll(Duration::from_millis(100)).await? {
///             println!("{} {:?}", record.offset, record.value);
///         }
///     }
/// }
/// ```
pub struct Consumer {
    machine: Fetcher,
    nodes: Nodes,
    env: Env,
    timer: Box<dyn Timer>,
    answers: mpsc::UnboundedReceiver<Event>,
    answer_to: mpsc::UnboundedSender<Event>,
    request_timeout: Duration,
    api_timeout: Duration,
    /// `None` without `group.id`.
    group: Option<Group>,
    listener: Box<dyn RebalanceListener>,
    interceptors: ConsumerInterceptors,
    /// What is subscribed to, where it is all topics that match.
    pattern: Option<Regex>,
    /// What the group's link found wrong, for the next poll.
    failures: VecDeque<ClientError>,
    callbacks: BTreeMap<CommitId, CommitCallback>,
    /// Commits and questions that are waited for and ended.
    commits_ended: BTreeMap<CommitId, Result<(), ClientError>>,
    reads_ended: BTreeMap<ReadId, Result<Offsets, ClientError>>,
    next_id: u64,
    is_closed: bool,
    wakeup: Arc<Notify>,
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("assignment", &self.assignment()).finish_non_exhaustive()
    }
}

impl Consumer {
    /// A consumer without partitions. Nothing is asked before the first `poll` or `position`.
    ///
    /// With `group.id` it must be made within a runtime: a member's task begins here.
    #[must_use]
    pub fn new(config: ConsumerConfig, env: Env) -> Self {
        // A first batch may be larger than fetch.max.bytes (KIP-74): twice that is enough for any real one.
        let response_bytes_max =
            (config.fetch_bytes_max as usize).saturating_mul(2) + RESPONSE_BYTES_BESIDE;
        let (answer_to, answers) = mpsc::unbounded_channel();
        let client_id = config.common.client_id.clone();
        let group = config.membership().map(|group| Group::new(group, &config.common, &env));
        Self {
            nodes: Nodes::new(&config.common, response_bytes_max, &env),
            timer: env.clock.timer(),
            answers,
            answer_to,
            request_timeout: config.common.request_timeout,
            api_timeout: config.api_timeout,
            machine: Fetcher::new(config, |purpose| env.rng(&format!("{client_id}/{purpose}"))),
            env,
            group,
            listener: Box::new(NoListener),
            interceptors: ConsumerInterceptors::default(),
            pattern: None,
            failures: VecDeque::new(),
            callbacks: BTreeMap::new(),
            commits_ended: BTreeMap::new(),
            reads_ended: BTreeMap::new(),
            next_id: 0,
            is_closed: false,
            wakeup: Arc::new(Notify::new()),
        }
        .with_brokers_known()
    }

    /// With one more interceptor, behind those that are there.
    #[must_use]
    pub fn with_interceptor(mut self, interceptor: impl ConsumerInterceptor + 'static) -> Self {
        self.interceptors.0.push(Box::new(interceptor));
        self
    }

    /// Reads these partitions from now on, and no others. Those that stay keep their position; new ones start where the group is, if
    /// there is a `group.id` and something is committed, otherwise where `auto.offset.reset` says, until they are sought.
    ///
    /// Nobody tells it of new partitions of a topic. Whoever subscribed before must [`Consumer::unsubscribe`] first: until then the group
    /// decides, this changes nothing, and the next `poll` says so.
    pub fn assign(&mut self, partitions: Vec<TopicPartition>) {
        if self.machine.is_subscribed() {
            let message = Some("assign while subscribed: unsubscribe first".to_owned());
            let error = ErrorCode::InvalidRequest;
            return self.failures.push_back(ClientError::Answer { error, message });
        }
        let chosen = partitions.iter().cloned().collect();
        self.machine.assign(partitions);
        self.tell_group(GroupEvent::AssignedByHand(chosen));
    }

    /// What is assigned, sorted.
    #[must_use]
    pub fn assignment(&self) -> Vec<TopicPartition> {
        self.machine.assignment()
    }

    /// The next poll goes on at `offset`.
    ///
    /// Errors: [`ClientError::NotAssigned`].
    pub fn seek(&mut self, partition: &TopicPartition, offset: Offset) -> Result<(), ClientError> {
        self.machine.seek(partition, offset)
    }

    /// The next poll goes on at the start of the log; all assigned partitions where `partitions` is empty.
    ///
    /// Errors: [`ClientError::NotAssigned`].
    pub fn seek_to_beginning(&mut self, partitions: &[TopicPartition]) -> Result<(), ClientError> {
        self.machine.seek_to(partitions, OffsetSpec::Earliest)
    }

    /// The next poll goes on at the end of the log (with `read_committed`, the last stable offset); all assigned partitions
    /// where `partitions` is empty. Which offset that is, is asked by the next `poll` or `position`.
    ///
    /// Errors: [`ClientError::NotAssigned`].
    pub fn seek_to_end(&mut self, partitions: &[TopicPartition]) -> Result<(), ClientError> {
        self.machine.seek_to(partitions, OffsetSpec::Latest)
    }

    /// The offset of the next record that `poll` will hand out. Waits where it must be asked for.
    ///
    /// Errors: [`ClientError::NotAssigned`], [`ClientError::TimedOut`] after `default.api.timeout.ms`,
    /// [`ClientError::OffsetOutOfRange`] where there is none and `auto.offset.reset=none`.
    pub async fn position(&mut self, partition: &TopicPartition) -> Result<Offset, ClientError> {
        let deadline = self.env.clock.now().monotonic + self.api_timeout;
        let what = format!("position in {partition}");
        self.until(deadline, &what, |this| this.machine.position(partition)).await
    }

    /// Keeps these partitions out of `poll` without losing what was fetched.
    ///
    /// Errors: [`ClientError::NotAssigned`].
    pub fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), ClientError> {
        self.machine.set_paused(partitions, true)
    }

    /// Takes these partitions into `poll` again.
    ///
    /// Errors: [`ClientError::NotAssigned`].
    pub fn resume(&mut self, partitions: &[TopicPartition]) -> Result<(), ClientError> {
        self.machine.set_paused(partitions, false)
    }

    /// Hands out what has arrived, at most `max.poll.records`, at once; waits only while there is nothing, at most `timeout`.
    /// Records of one partition come in the order of their offsets. The next fetch runs meanwhile. Cancel-safe.
    ///
    /// In a group this is also where it joins, where its listener is told, and where it commits by itself (`enable.auto.commit`): what
    /// earlier polls handed out, whether or not it is done.
    ///
    /// Errors: [`ClientError::OffsetOutOfRange`] and [`ClientError::LogTruncation`] with `auto.offset.reset=none`,
    /// [`ClientError::CorruptBatch`], [`ClientError::Answer`] for what will not get better by itself, [`ClientError::WokenUp`].
    /// Positions stay where they were.
    pub async fn poll(&mut self, timeout: Duration) -> Result<Vec<ConsumerRecord>, ClientError> {
        let deadline = self.env.clock.now().monotonic + timeout;
        loop {
            self.advance();
            self.tell_group(GroupEvent::Polled);
            if let Some(error) = self.failures.pop_front() {
                return Err(error);
            }
            let records = self.machine.take_records()?;
            if !records.is_empty() {
                // What is now empty is fetched while the caller works.
                self.advance();
                return Ok(self.interceptors.on_consume(records));
            }
            // Bytes without a record to hand out may have made room for another fetch.
            self.advance();
            match self.wait(deadline).await {
                Waited::Happened => {}
                Waited::Late => return Ok(records),
                Waited::WokenUp => return Err(ClientError::WokenUp),
            }
        }
    }

    /// Takes in what has arrived, asks for what is missing.
    fn advance(&mut self) {
        while let Ok(event) = self.answers.try_recv() {
            self.handle(event);
        }
        self.handle(Event::Tick);
        self.perform_group_effects();
    }

    /// Waits until `look` finds something.
    ///
    /// Errors: those of `look`, [`ClientError::TimedOut`] from `deadline` on, [`ClientError::WokenUp`].
    async fn until<T>(
        &mut self,
        deadline: Monotonic,
        what: &str,
        mut look: impl FnMut(&mut Self) -> Result<Option<T>, ClientError>,
    ) -> Result<T, ClientError> {
        loop {
            self.advance();
            if let Some(found) = look(self)? {
                return Ok(found);
            }
            if self.wait(deadline).await.ends()? {
                return Err(ClientError::TimedOut {
                    waited_for: what.to_owned(),
                    after: self.api_timeout,
                    last_error: self.machine.last_failure(),
                });
            }
        }
    }

    /// Waits for something to happen before `deadline`.
    async fn wait(&mut self, deadline: Monotonic) -> Waited {
        let now = self.env.clock.now().monotonic;
        if now >= deadline {
            return Waited::Late;
        }
        let wake = self.machine.deadline().map_or(deadline, |at| at.min(deadline));
        let group = self.group.as_ref();
        let event = select! {
            biased;
            event = self.answers.recv() => event.expect("the consumer holds a sender itself"),
            () = self.wakeup.notified() => return Waited::WokenUp,
            () = group_changed(group) => return Waited::Happened,
            () = wait_until(self.timer.as_mut(), Some(wake)) => Event::Tick,
        };
        self.handle(event);
        Waited::Happened
    }

    fn handle(&mut self, event: Event) {
        let is_news = matches!(event, Event::MetadataAnswered(Ok(_)));
        let mut effects = Vec::new();
        self.machine.handle(self.env.clock.now(), event, &mut effects);
        for effect in effects {
            self.perform(effect);
        }
        if is_news {
            self.tell_group_of_cluster();
        }
    }

    fn perform(&mut self, effect: Effect) {
        let answer_to = self.answer_to.clone();
        let timeout = self.request_timeout;
        // Whoever asked may be gone when the answer comes: then nobody cares for it.
        match effect {
            Effect::Metadata(query) => {
                let options = CallOptions::new::<MetadataRequest>(timeout);
                let channel = self.nodes.channel(&query.target);
                channel.submit(query.request, options, move |answer| {
                    let _ = answer_to.send(Event::MetadataAnswered(answer));
                });
            }
            Effect::ListOffsets { target, token, request } => {
                let options = CallOptions::new::<ListOffsetsRequest>(timeout);
                self.nodes.channel(&target).submit(request, options, move |answer| {
                    let _ = answer_to.send(Event::OffsetsAnswered(token, answer));
                });
            }
            Effect::EpochEnds { target, token, request } => {
                let options = CallOptions::new::<OffsetForLeaderEpochRequest>(timeout);
                self.nodes.channel(&target).submit(request, options, move |answer| {
                    let _ = answer_to.send(Event::EpochEndsAnswered(token, answer));
                });
            }
            Effect::Fetch { target, token, request, versions } => {
                let options = CallOptions { versions, timeout };
                self.nodes.channel(&target).submit::<FetchRequest>(
                    request,
                    options,
                    move |answer| {
                        let _ = answer_to.send(Event::FetchAnswered(token, answer));
                    },
                );
            }
        }
    }
}

/// How waiting ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waited {
    /// Something may have happened.
    Happened,
    /// The time is up.
    Late,
    /// Somebody called [`Wakeup::wakeup`].
    WokenUp,
}

impl Waited {
    /// Whether the time is up. Errors: woken up.
    fn ends(self) -> Result<bool, ClientError> {
        match self {
            Self::Happened => Ok(false),
            Self::Late => Ok(true),
            Self::WokenUp => Err(ClientError::WokenUp),
        }
    }
}

async fn group_changed(group: Option<&Group>) {
    match group {
        Some(group) => group.changed().await,
        None => std::future::pending().await,
    }
}
