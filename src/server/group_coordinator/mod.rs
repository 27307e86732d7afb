//! Consumer groups, served: a coordinator for each partition of `__consumer_offsets` that this broker leads.
//!
//! It follows the metadata: where this broker begins to lead such a partition a term begins, a task of its own (`term.rs`), which ends with
//! the leadership. A request goes to the term of the partition that its group's id hashes to. What is answered is decided by the
//! ledger (`coordinator/group/`) alone. Partitions led elsewhere have neither task nor channel.
//!
//! Kafka: `GroupCoordinatorService`, `CoordinatorRuntime`.

mod held;
mod log;
mod term;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::config::GroupsConfig;
use super::replica_manager::Applied;
use crate::coordinator::group::request::{GroupFilter, ListedGroup, TopicInfo, TopicTable};
use crate::coordinator::group::{
    GroupOverrides, OFFSETS_TOPIC, OverridesTable, Reply, Request, partition_of,
};
use crate::metadata::group_config::GroupConfigs;
use crate::metadata::{MetadataImage, ResourceType, TopicImage};
use crate::replica::driver::PartitionHandle;
use crate::runtime::{Env, task, watch};
use crate::types::{BrokerId, ErrorCode, LeaderEpoch, PartitionIndex, TopicIdPartition};
use term::Term;

/// Requests that may wait for a coordinator's task; a further one waits to be let in. Each connection has at most one under way.
const INBOX_REQUESTS_MAX: usize = 256;

/// A request on its way to a coordinator, and who waits for the reply.
#[derive(Debug)]
struct Asked {
    request: Request,
    asker: oneshot::Sender<Reply>,
}

/// The coordinators of this broker.
pub(super) struct GroupCoordinatorService {
    node: BrokerId,
    env: Env,
    config: GroupsConfig,
    topics: watch::Sender<Arc<TopicTable>>,
    overrides: watch::Sender<Arc<OverridesTable>>,
    terms: Mutex<Terms>,
}

/// The terms that run.
#[derive(Debug, Default)]
struct Terms {
    /// How many partitions the offsets topic has; 0 where it is not there.
    partitions: i32,
    running: BTreeMap<PartitionIndex, Running>,
    /// None begins any more.
    stopped: bool,
}

/// A term, as those see it who ask. Dropping it ends the term.
#[derive(Debug)]
struct Running {
    partition: TopicIdPartition,
    leader_epoch: LeaderEpoch,
    inbox: mpsc::Sender<Asked>,
}

impl GroupCoordinatorService {
    /// With no partition led yet.
    pub(super) fn new(node: BrokerId, env: Env, config: GroupsConfig) -> Arc<Self> {
        let (topics, overrides) =
            (watch::Sender::new(Arc::default()), watch::Sender::new(Arc::default()));
        Arc::new(Self { node, env, config, topics, overrides, terms: Mutex::default() })
    }

    /// Begins and ends terms as the metadata says. Runs until it is aborted, or nobody sends metadata any more.
    pub(super) async fn follow(self: Arc<Self>, mut applied: watch::Receiver<Arc<Applied>>) {
        let mut image = Arc::<MetadataImage>::default();
        loop {
            let now = applied.borrow_and_update().clone();
            // Without the topic nobody coordinates, and nobody wants to know of topics.
            if now.image.topic(OFFSETS_TOPIC).is_some() {
                if !now.image.has_same_configs(&image) {
                    self.tell_overrides(&now.image);
                }
                if !now.image.has_same_topics(&image) {
                    self.tell_topics(&now.image);
                }
                image = now.image.clone();
            }
            self.apply(&now);
            if applied.changed().await.is_err() {
                return;
            }
        }
    }

    /// Ends all terms: who waits for a reply gets `NOT_COORDINATOR`.
    pub(super) fn stop(&self) {
        let mut terms = self.lock();
        terms.stopped = true;
        terms.running.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Terms> {
        self.terms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell_topics(&self, image: &MetadataImage) {
        let table = topic_table(image);
        if **self.topics.borrow() != table {
            self.topics.send_replace(Arc::new(table));
        }
    }

    fn tell_overrides(&self, image: &MetadataImage) {
        let table = overrides_table(image);
        if **self.overrides.borrow() != table {
            self.overrides.send_replace(Arc::new(table));
        }
    }

    fn apply(&self, applied: &Applied) {
        let topic = applied.image.topic(OFFSETS_TOPIC);
        let led = topic.map(|topic| self.led(topic, applied)).unwrap_or_default();
        let partitions = topic.map_or(0, |topic| topic.partitions.len());
        let mut terms = self.lock();
        terms.partitions = i32::try_from(partitions).unwrap_or(i32::MAX);
        if terms.stopped {
            return;
        }
        terms.running.retain(|index, running| {
            led.get(index).is_some_and(|(epoch, handle)| {
                *epoch == running.leader_epoch && handle.id() == running.partition
            })
        });
        for (index, (leader_epoch, handle)) in led {
            terms.running.entry(index).or_insert_with(|| self.begin(handle, leader_epoch));
        }
    }

    /// The partitions of the offsets topic that this broker leads, and since which epoch.
    fn led(
        &self,
        topic: &TopicImage,
        applied: &Applied,
    ) -> BTreeMap<PartitionIndex, (LeaderEpoch, Arc<PartitionHandle>)> {
        let led = topic.partitions.iter().filter(|(_, one)| one.leader == Some(self.node));
        let hosted = led.filter_map(|(index, one)| {
            let id = TopicIdPartition { topic_id: topic.topic_id, partition: *index };
            // Not there where its log could not be opened: then nobody coordinates these groups.
            let handle = applied.hosted.get(&id)?.clone();
            Some((*index, (one.leader_epoch, handle)))
        });
        hosted.collect()
    }

    fn begin(&self, handle: Arc<PartitionHandle>, leader_epoch: LeaderEpoch) -> Running {
        let (inbox, asked) = mpsc::channel(INBOX_REQUESTS_MAX);
        let partition = handle.id();
        let term = Term {
            env: self.env.clone(),
            config: self.config.clone(),
            handle,
            leader_epoch,
            inbox: asked,
            topics: self.topics.subscribe(),
            readings: 0,
            overrides: self.overrides.subscribe(),
        };
        task::spawn(term.run());
        Running { partition, leader_epoch, inbox }
    }

    /// Has `request`, which concerns one group, answered by that group's coordinator.
    pub(super) async fn ask(&self, request: Request) -> Reply {
        let group = request.group().expect("the request is of one group").clone();
        Asking::send(self.inbox_of(&group), request).await.reply().await
    }

    /// Has each request answered by the coordinator of the group that stands beside it. The replies are in the order of the requests.
    pub(super) async fn ask_each(
        &self,
        requests: impl IntoIterator<Item = (&str, Request)> + Send,
    ) -> Vec<Reply> {
        let requests: Vec<_> = requests.into_iter().map(|(id, r)| (self.inbox_of(id), r)).collect();
        Asking::all(requests).await
    }

    /// The groups of all coordinators of this broker that fit `filter`, in the order of the ids.
    ///
    /// # Errors
    /// `COORDINATOR_LOAD_IN_PROGRESS` where one of them is loading.
    ///
    /// Kafka: `GroupCoordinatorService.listGroups`.
    pub(super) async fn list(&self, filter: &GroupFilter) -> Result<Vec<ListedGroup>, ErrorCode> {
        let requests: Vec<_> = {
            let terms = self.lock();
            let inboxes = terms.running.values().map(|running| running.inbox.clone());
            inboxes.map(|inbox| (Some(inbox), Request::ListGroups(filter.clone()))).collect()
        };
        let mut groups = Vec::new();
        for reply in Asking::all(requests).await {
            let Reply::ListGroups(result) = reply else {
                unreachable!("a ListGroups is answered as one");
            };
            match result {
                Ok(some) => groups.extend(some),
                // It was moved elsewhere meanwhile: there they are listed.
                Err(ErrorCode::NotCoordinator) => {}
                Err(error) => return Err(error),
            }
        }
        groups.sort_by(|one, other| one.group.cmp(&other.group));
        Ok(groups)
    }

    fn inbox_of(&self, group: &str) -> Option<mpsc::Sender<Asked>> {
        let terms = self.lock();
        let partitions = Some(terms.partitions).filter(|partitions| *partitions > 0)?;
        Some(terms.running.get(&partition_of(group, partitions))?.inbox.clone())
    }
}

/// A request whose reply is awaited.
struct Asking {
    /// What it is told where the coordinator is gone.
    gone: Reply,
    reply: Option<oneshot::Receiver<Reply>>,
}

impl Asking {
    /// Hands the request over. The inbox is let go before the reply is awaited: a term ends when nobody has its inbox any more.
    async fn send(inbox: Option<mpsc::Sender<Asked>>, request: Request) -> Self {
        let gone = request.refused(ErrorCode::NotCoordinator);
        let Some(inbox) = inbox else { return Self { gone, reply: None } };
        let (asker, reply) = oneshot::channel();
        let is_taken = inbox.send(Asked { request, asker }).await.is_ok();
        Self { gone, reply: is_taken.then_some(reply) }
    }

    async fn reply(self) -> Reply {
        match self.reply {
            Some(reply) => reply.await.unwrap_or(self.gone),
            None => self.gone,
        }
    }

    /// Asks all before it waits for the first.
    async fn all(requests: Vec<(Option<mpsc::Sender<Asked>>, Request)>) -> Vec<Reply> {
        let mut asked = Vec::with_capacity(requests.len());
        for (inbox, request) in requests {
            asked.push(Self::send(inbox, request).await);
        }
        let mut replies = Vec::with_capacity(asked.len());
        for asking in asked {
            replies.push(asking.reply().await);
        }
        replies
    }
}

/// What single groups set, as coordinators see it.
fn overrides_table(image: &MetadataImage) -> OverridesTable {
    let groups =
        image.all_configs().filter(|(resource, _)| resource.resource_type == ResourceType::Group);
    let span = |millis: Option<i32>| {
        millis.map(|millis| Duration::from_millis(u64::from(millis.unsigned_abs())))
    };
    let overrides = groups.map(|(resource, configs)| {
        let configs = GroupConfigs::of(configs);
        let overrides = GroupOverrides {
            session_timeout: span(configs.session_timeout_ms),
            heartbeat_interval: span(configs.heartbeat_interval_ms),
        };
        (resource.name.clone(), overrides)
    });
    overrides.collect()
}

/// The topics of the cluster, as coordinators see them.
fn topic_table(image: &MetadataImage) -> TopicTable {
    let topics = image.topics().map(|topic| {
        let partitions = u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX);
        (topic.name.clone(), TopicInfo { id: topic.topic_id, partitions })
    });
    topics.collect()
}
