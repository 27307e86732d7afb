//! The fetchers of this broker: a task for each other broker that leads partitions which this one follows.
//!
//! What a fetcher shall follow is a table that metadata changes and the task looks at: nothing is queued. A fetcher whose
//! broker moved to another address ends, and a new one takes over; a follower's log refuses what comes for an older term or
//! another place, so two of them do no harm.
//!
//! Kafka: `ReplicaFetcherManager`, `AbstractFetcherManager`.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::Notify;

use super::Config;
use super::controller_channel::answer_of;
use crate::metadata::MetadataImage;
use crate::protocol::messages::{FetchRequest, ListOffsetsRequest};
use crate::replica::FollowerAppend;
use crate::replica::driver::PartitionHandle;
use crate::replica::fetcher::{Effect, Event, FETCH_VERSIONS, Fetcher, FetcherConfig};
use crate::rpc::driver::{CallOptions, Channel, ChannelConfig};
use crate::rpc::network_client::{NetworkClientConfig, RpcError};
use crate::rpc::{Backoff, Endpoint};
use crate::runtime::clock::wait_until;
use crate::runtime::{BoxFuture, Env, task, watch};
use crate::types::{BrokerEpoch, BrokerId, ErrorCode, LeaderEpoch, Offset, TopicIdPartition};

/// The pauses between attempts to connect; a fetcher itself waits `replica.fetch.backoff.ms`.
const RECONNECT: Backoff =
    Backoff { first: Duration::from_millis(50), max: Duration::from_millis(1_000) };

/// Tells the epoch under which this broker is registered.
pub(super) type OwnEpoch = watch::Receiver<Option<BrokerEpoch>>;

/// What metadata says of a partition that this broker holds.
pub(super) enum Assignment {
    /// Another broker leads it.
    Follow {
        /// The replica here.
        handle: Arc<PartitionHandle>,
        /// The leader.
        leader: BrokerId,
        /// Its term.
        leader_epoch: LeaderEpoch,
    },
    /// Nobody is to be followed.
    Stop(TopicIdPartition),
}

/// All fetchers.
pub(super) struct ReplicaFetchers {
    env: Env,
    listener: String,
    config: FetcherConfig,
    channel: ChannelConfig,
    socket_timeout: Duration,
    own_epoch: OwnEpoch,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    sources: BTreeMap<BrokerId, Source>,
    /// From whom each partition is fetched.
    assigned: BTreeMap<TopicIdPartition, BrokerId>,
    /// How many tasks were started: each draws jitter of its own.
    started: u64,
    ended: bool,
}

/// A broker from which partitions are fetched.
struct Source {
    /// Where it serves; `None` while it is not registered with our listener.
    endpoint: Option<Endpoint>,
    wanted: Arc<Wanted>,
}

/// What a fetcher shall follow.
struct Wanted {
    table: Mutex<WantedTable>,
    changed: Notify,
}

#[derive(Default)]
struct WantedTable {
    partitions: BTreeMap<TopicIdPartition, Followed>,
    /// What the task has not looked at.
    changed: BTreeSet<TopicIdPartition>,
    ended: bool,
}

#[derive(Clone)]
struct Followed {
    handle: Arc<PartitionHandle>,
    leader_epoch: LeaderEpoch,
}

impl Wanted {
    fn new() -> Arc<Self> {
        Arc::new(Self { table: Mutex::default(), changed: Notify::new() })
    }

    fn lock(&self) -> MutexGuard<'_, WantedTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, id: TopicIdPartition, followed: Option<Followed>) {
        let mut table = self.lock();
        match followed {
            Some(followed) => table.partitions.insert(id, followed),
            None => table.partitions.remove(&id),
        };
        table.changed.insert(id);
        drop(table);
        self.changed.notify_one();
    }

    fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_one();
    }
}

impl ReplicaFetchers {
    pub(super) fn new(config: &Config, env: &Env, own_epoch: OwnEpoch) -> Self {
        let replication = &config.replication;
        let wire = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        let fetcher = FetcherConfig {
            node: config.node_id,
            wait_max: replication.fetch_wait_max,
            bytes_min: wire(replication.fetch_bytes_min),
            bytes_max: wire(replication.fetch_response_bytes_max),
            partition_bytes_max: wire(replication.fetch_partition_bytes_max),
            backoff: replication.fetch_backoff,
        };
        let channel = ChannelConfig {
            client_id: format!("broker-{}-fetcher-0", config.node_id),
            network: NetworkClientConfig {
                reconnect: RECONNECT,
                setup_timeout: config.connection_setup_timeout,
            },
            // One batch may be larger than what is asked for.
            response_bytes_max: usize::try_from(i32::MAX).unwrap_or(usize::MAX),
        };
        Self {
            env: env.clone(),
            listener: config.inter_broker_listener_name.clone(),
            config: fetcher,
            channel,
            socket_timeout: replication.socket_timeout,
            own_epoch,
            inner: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows `assignments`, and finds the brokers at their addresses in `image`.
    pub(super) fn apply(&self, image: &MetadataImage, assignments: Vec<Assignment>) {
        let mut inner = self.lock();
        if inner.ended {
            return;
        }
        for assignment in assignments {
            match assignment {
                Assignment::Follow { handle, leader, leader_epoch } => {
                    let id = handle.id();
                    if inner.assigned.get(&id).is_some_and(|assigned| *assigned != leader) {
                        inner.stop(id);
                    }
                    inner.assigned.insert(id, leader);
                    let source = inner
                        .sources
                        .entry(leader)
                        .or_insert_with(|| Source { endpoint: None, wanted: Wanted::new() });
                    source.wanted.set(id, Some(Followed { handle, leader_epoch }));
                }
                Assignment::Stop(id) => inner.stop(id),
            }
        }
        inner.forget_idle();
        let Inner { sources, started, .. } = &mut *inner;
        for (broker, source) in sources {
            let endpoint = endpoint_of(image, *broker, &self.listener);
            if endpoint.is_some() && endpoint != source.endpoint {
                self.start(source, endpoint, *broker, *started);
                *started += 1;
            }
        }
    }

    /// Starts a source's task at its address, and ends the one at the old address.
    fn start(
        &self,
        source: &mut Source,
        endpoint: Option<Endpoint>,
        broker: BrokerId,
        started: u64,
    ) {
        let Some(address) = endpoint.clone() else { return };
        if source.endpoint.is_some() {
            crate::mark!("a broker that is followed moved to another address");
            let wanted = Wanted::new();
            wanted.lock().partitions = source.wanted.lock().partitions.clone();
            source.wanted.end();
            source.wanted = wanted;
        }
        source.endpoint = endpoint;
        {
            let mut table = source.wanted.lock();
            table.changed = table.partitions.keys().copied().collect();
        }
        let purpose = format!("fetcher {broker} {started}");
        let driver = Driver {
            machine: Fetcher::new(self.config),
            channel: Channel::open(address, self.channel.clone(), &self.env, &purpose),
            env: self.env.clone(),
            wanted: source.wanted.clone(),
            socket_timeout: self.socket_timeout,
            own_epoch: self.own_epoch.clone(),
            handles: BTreeMap::new(),
            local: Vec::new(),
            in_flight: None,
        };
        task::spawn(driver.run());
    }

    /// Ends all fetchers: nothing is followed any more.
    pub(super) fn end(&self) {
        let mut inner = self.lock();
        inner.ended = true;
        for source in std::mem::take(&mut inner.sources).into_values() {
            source.wanted.end();
        }
    }
}

impl Drop for ReplicaFetchers {
    fn drop(&mut self) {
        self.end();
    }
}

impl Inner {
    fn stop(&mut self, id: TopicIdPartition) {
        if let Some(source) = self.assigned.remove(&id).and_then(|from| self.sources.get(&from)) {
            source.wanted.set(id, None);
        }
    }

    /// Ends the fetchers that follow nothing.
    fn forget_idle(&mut self) {
        self.sources.retain(|_, source| {
            let is_idle = source.wanted.lock().partitions.is_empty();
            if is_idle {
                source.wanted.end();
            }
            !is_idle
        });
    }
}

fn endpoint_of(image: &MetadataImage, broker: BrokerId, listener: &str) -> Option<Endpoint> {
    let broker = image.broker(broker)?;
    let endpoint = broker.endpoint(listener)?;
    Some(Endpoint { host: endpoint.host.clone(), port: endpoint.port })
}

/// Runs a [`Fetcher`].
struct Driver {
    machine: Fetcher,
    channel: Channel,
    env: Env,
    wanted: Arc<Wanted>,
    socket_timeout: Duration,
    own_epoch: OwnEpoch,
    handles: BTreeMap<TopicIdPartition, Arc<PartitionHandle>>,
    /// Effects on logs under way.
    local: Vec<BoxFuture<'static, Event>>,
    /// The request under way.
    in_flight: Option<BoxFuture<'static, Event>>,
}

impl Driver {
    async fn run(mut self) {
        let mut timer = self.env.clock.timer();
        let wanted = self.wanted.clone();
        loop {
            if !self.look_at_wanted() {
                return;
            }
            let deadline = self.machine.deadline();
            let event = tokio::select! {
                biased;
                () = wanted.changed.notified() => continue,
                event = next_of(&mut self.local) => event,
                event = answer_of(&mut self.in_flight) => event,
                () = wait_until(timer.as_mut(), deadline) => Event::Tick,
            };
            self.handle(event);
        }
    }

    /// Takes in what is to be followed. Whether there is anything to do any more.
    fn look_at_wanted(&mut self) -> bool {
        let news = {
            let mut table = self.wanted.lock();
            if table.ended {
                return false;
            }
            let changed = std::mem::take(&mut table.changed);
            let find = |id| (id, table.partitions.get(&id).cloned());
            changed.into_iter().map(find).collect::<Vec<_>>()
        };
        for (partition, followed) in news {
            let event = match followed {
                Some(Followed { handle, leader_epoch }) => {
                    let topic = handle.partition().topic.clone();
                    self.handles.insert(partition, handle);
                    Event::Follow { partition, topic, leader_epoch }
                }
                None => {
                    self.handles.remove(&partition);
                    Event::Unfollow { partition }
                }
            };
            self.handle(event);
        }
        true
    }

    fn handle(&mut self, event: Event) {
        let mut out = Vec::new();
        self.machine.handle(self.env.clock.now(), event, &mut out);
        for effect in out {
            match effect {
                Effect::Fetch(request) => self.fetch(request),
                Effect::ListOffsets(request) => self.list_offsets(request),
                Effect::Locate { partition, leader_epoch } => {
                    self.begin(partition, leader_epoch, |_| async { Ok(()) });
                }
                Effect::Append {
                    partition,
                    leader_epoch,
                    fetch_offset,
                    records,
                    high_watermark,
                    log_start_offset,
                } => {
                    let append = FollowerAppend {
                        leader_epoch,
                        fetch_offset,
                        records: records.to_bytes(),
                        leader_high_watermark: Some(high_watermark),
                        leader_log_start_offset: log_start_offset,
                    };
                    self.begin(partition, leader_epoch, |handle| async move {
                        handle.append_as_follower(append).await.map(|_end: Offset| ())
                    });
                }
                Effect::Truncate { partition, leader_epoch, to } => {
                    self.begin(partition, leader_epoch, move |handle| async move {
                        handle.truncate(leader_epoch, to).await.map(|_end: Offset| ())
                    });
                }
            }
        }
    }

    /// Begins something with a log; where the log stands is told with its end.
    fn begin<F>(
        &mut self,
        partition: TopicIdPartition,
        leader_epoch: LeaderEpoch,
        action: impl FnOnce(Arc<PartitionHandle>) -> F + Send + 'static,
    ) where
        F: Future<Output = Result<(), ErrorCode>> + Send + 'static,
    {
        // What a machine follows stands in the table until it is told otherwise.
        let handle =
            self.handles.get(&partition).expect("a followed partition has its log").clone();
        self.local.push(Box::pin(async move {
            let result = action(handle.clone()).await;
            if let Err(error) = result {
                let partition = handle.partition();
                tracing::debug!(%partition, %leader_epoch, %error, "a follower's log refuses what was fetched");
            }
            let state = handle.ready_to_fetch().await;
            Event::Done { partition, leader_epoch, result, state }
        }));
    }

    fn fetch(&mut self, mut request: FetchRequest) {
        let options = CallOptions { versions: FETCH_VERSIONS, timeout: self.socket_timeout };
        let channel = self.channel.clone();
        let mut own_epoch = self.own_epoch.clone();
        self.in_flight = Some(Box::pin(async move {
            // Nothing is fetched under no epoch: a leader could not tell this incarnation from another.
            let Some(epoch) = registered(&mut own_epoch).await else {
                return Event::FetchAnswered(None);
            };
            request.replica_state.replica_epoch = Some(epoch);
            Event::FetchAnswered(logged(channel.call(request, options).await))
        }));
    }

    fn list_offsets(&mut self, request: ListOffsetsRequest) {
        let options = CallOptions::new::<ListOffsetsRequest>(self.socket_timeout);
        let channel = self.channel.clone();
        self.in_flight = Some(Box::pin(async move {
            Event::OffsetsAnswered(logged(channel.call(request, options).await))
        }));
    }
}

/// The epoch of this broker, as soon as it has one; `None` where the node ended before.
pub(super) async fn registered(epoch: &mut OwnEpoch) -> Option<BrokerEpoch> {
    epoch.wait_for(Option::is_some).await.ok().and_then(|epoch| *epoch)
}

fn logged<T>(answer: Result<T, RpcError>) -> Option<T> {
    answer.inspect_err(|error| tracing::debug!(%error, "a leader does not answer")).ok()
}

/// Waits for the first of several to end. Cancel-safe.
async fn next_of(futures: &mut Vec<BoxFuture<'static, Event>>) -> Event {
    poll_fn(|cx| {
        for index in 0..futures.len() {
            if let Poll::Ready(event) = futures[index].as_mut().poll(cx) {
                drop(futures.swap_remove(index));
                return Poll::Ready(event);
            }
        }
        Poll::Pending
    })
    .await
}
