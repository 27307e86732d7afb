//! What a client knows of the cluster, and when it asks again (pure). Each client has one.
//!
//! One Metadata request is under way at a time. Who is asked: a broker that is known and has not failed since it answered
//! last, then a bootstrap server, then whoever failed longest ago. So a cluster whose every known broker is gone is found
//! again (KIP-899), and a broker that hangs costs one timeout, not one in three.
//!
//! What is believed: a leader with its epoch, never one of an older epoch than was heard of, by whatever way (KIP-320).
//!
//! Kafka: `Metadata`, `ProducerMetadata`, `NetworkClient.DefaultMetadataUpdater`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use super::config::CommonConfig;
use crate::protocol::messages::metadata_request::MetadataRequestTopic;
use crate::protocol::messages::metadata_response::MetadataResponseTopic;
use crate::protocol::messages::{MetadataRequest, MetadataResponse};
use crate::rpc::{Backoff, Endpoint};
use crate::types::{
    BrokerId, ErrorCode, LeaderEpoch, Monotonic, Now, PartitionIndex, TopicId, TopicPartition, Uuid,
};

/// Somebody to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum NodeKey {
    /// The entry of `bootstrap.servers` with this index: which broker answers there is not known.
    Bootstrap(usize),
    /// A broker of the cluster.
    Broker(BrokerId),
}

/// What is known of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopicView {
    /// Its id; `None` from brokers that know none.
    pub(crate) topic_id: Option<TopicId>,
    /// In the order of their numbers, without gaps.
    pub(crate) partitions: Vec<PartitionView>,
}

/// What is known of a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PartitionView {
    /// Who leads it, as far as is known.
    pub(crate) leader: Option<BrokerId>,
    /// The leader's term.
    pub(crate) leader_epoch: Option<LeaderEpoch>,
}

/// Somebody to ask, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Who.
    pub(crate) node: NodeKey,
    /// Where it listens.
    pub(crate) endpoint: Endpoint,
}

/// A Metadata request to be sent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MetadataQuery {
    /// To whom.
    pub(crate) target: Target,
    /// What.
    pub(crate) request: MetadataRequest,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct ClusterView {
    bootstrap: Vec<Endpoint>,
    age_max: Duration,
    backoff: Backoff,
    allow_auto_create: bool,
    rng: StdRng,
    brokers: BTreeMap<BrokerId, Endpoint>,
    topics: BTreeMap<Arc<str>, TopicView>,
    /// Topics that a broker did not know, though another one did: their epochs still count.
    missed: BTreeMap<Arc<str>, TopicView>,
    /// The last error of topics that are wanted and not known.
    errors: BTreeMap<Arc<str>, ErrorCode>,
    wanted: BTreeSet<Arc<str>>,
    /// Topics whose names are to be known, and have been found.
    ids: BTreeMap<TopicId, Option<Arc<str>>>,
    /// Whether those that are missing are to be asked for.
    is_id_wanted: bool,
    /// Whether the question under way is for names of ids.
    are_ids_asked: bool,
    /// Whether the names of all topics are to be known.
    is_all_wanted: bool,
    /// Whether the question under way is for all topics.
    is_all_asked: bool,
    /// The names of all topics but internal ones, as of the last answer to a question for all.
    all: Option<BTreeSet<Arc<str>>>,
    /// Who is being asked.
    asking: Option<NodeKey>,
    /// Somebody found that what is known is wrong or not enough.
    is_update_requested: bool,
    updated_at: Option<Monotonic>,
    not_before: Monotonic,
    /// Requests that failed, or left something open, one after another.
    failures: u32,
    /// Answers that were asked for because something is wrong, and brought nothing new, one after another.
    equivalent: u32,
    /// Whom this client asks first, so that not all clients ask the same broker.
    turn: usize,
    /// Nodes that failed and have not answered since, by the number of the failure.
    failed: BTreeMap<NodeKey, u64>,
    failures_ever: u64,
    last_failure: Option<String>,
}

impl ClusterView {
    pub(crate) fn new(config: &CommonConfig, allow_auto_create: bool, mut rng: StdRng) -> Self {
        let turn = rng.random_range(0..usize::from(u16::MAX));
        Self {
            bootstrap: config.bootstrap_servers.clone(),
            age_max: config.metadata_age_max,
            backoff: config.retry_backoff(),
            allow_auto_create,
            rng,
            brokers: BTreeMap::new(),
            topics: BTreeMap::new(),
            missed: BTreeMap::new(),
            errors: BTreeMap::new(),
            wanted: BTreeSet::new(),
            ids: BTreeMap::new(),
            is_id_wanted: false,
            are_ids_asked: false,
            is_all_wanted: false,
            is_all_asked: false,
            all: None,
            asking: None,
            is_update_requested: false,
            updated_at: None,
            not_before: Monotonic::ZERO,
            failures: 0,
            equivalent: 0,
            turn,
            failed: BTreeMap::new(),
            failures_ever: 0,
            last_failure: None,
        }
    }

    /// Keeps the topic known from now on.
    pub(crate) fn want(&mut self, topic: &Arc<str>) {
        if self.wanted.insert(topic.clone()) {
            self.is_update_requested = true;
            // A new topic is asked for at once: the back-off was for the others.
            self.failures = 0;
            self.equivalent = 0;
            self.not_before = Monotonic::ZERO;
        }
    }

    /// Keeps these topics known and forgets all others.
    pub(crate) fn want_only<'a>(&mut self, topics: impl IntoIterator<Item = &'a Arc<str>>) {
        let wanted: BTreeSet<Arc<str>> = topics.into_iter().cloned().collect();
        self.wanted.retain(|topic| wanted.contains(topic));
        self.topics.retain(|topic, _| wanted.contains(topic));
        self.missed.retain(|topic, _| wanted.contains(topic));
        self.errors.retain(|topic, _| wanted.contains(topic));
        for topic in &wanted {
            self.want(topic);
        }
    }

    /// Finds out what the topics with these ids are called, and no others. What is not known to the broker that is asked is asked again.
    pub(crate) fn want_names_of(&mut self, ids: &BTreeSet<TopicId>) {
        self.ids.retain(|id, _| ids.contains(id));
        for id in ids {
            if !self.ids.contains_key(id) {
                self.ids.insert(*id, None);
                self.is_id_wanted = true;
                self.failures = 0;
                self.equivalent = 0;
                self.not_before = Monotonic::ZERO;
            }
        }
        self.is_id_wanted &= self.ids.values().any(Option::is_none);
    }

    /// The names of topics by their ids: of those that are wanted by name, and of those whose names were asked for.
    pub(crate) fn names(&self) -> BTreeMap<TopicId, Arc<str>> {
        let found = self.ids.iter().filter_map(|(id, name)| Some((*id, name.clone()?)));
        let known = self.topics.iter();
        let known = known.filter_map(|(name, topic)| Some((topic.topic_id?, Arc::clone(name))));
        found.chain(known).collect()
    }

    /// Keeps the names of all topics known, or no longer.
    pub(crate) fn want_all(&mut self, is_all_wanted: bool) {
        self.is_update_requested |= is_all_wanted && !self.is_all_wanted;
        self.is_all_wanted = is_all_wanted;
        self.all = None;
    }

    /// The names of all topics but internal ones, where they are wanted and known.
    pub(crate) fn all(&self) -> Option<&BTreeSet<Arc<str>>> {
        self.all.as_ref()
    }

    /// What is known of the topic.
    pub(crate) fn topic(&self, topic: &str) -> Option<&TopicView> {
        self.topics.get(topic)
    }

    /// What the last answer said of a topic that is not known.
    pub(crate) fn topic_error(&self, topic: &str) -> Option<ErrorCode> {
        self.errors.get(topic).copied()
    }

    /// What is known of the partition.
    pub(crate) fn partition(&self, partition: &TopicPartition) -> Option<PartitionView> {
        let index = usize::try_from(partition.partition.value()).ok()?;
        self.topics.get(&partition.topic)?.partitions.get(index).copied()
    }

    /// Who leads the partition, if it is known where that is.
    pub(crate) fn leader(&self, partition: &TopicPartition) -> Option<BrokerId> {
        self.partition(partition)?.leader.filter(|leader| self.brokers.contains_key(leader))
    }

    /// Where a broker listens.
    pub(crate) fn broker(&self, id: BrokerId) -> Option<Target> {
        let endpoint = self.brokers.get(&id)?.clone();
        Some(Target { node: NodeKey::Broker(id), endpoint })
    }

    /// Why the last Metadata request had no answer, if it had none.
    pub(crate) fn last_failure(&self) -> Option<&str> {
        self.last_failure.as_deref()
    }

    /// Somebody to ask about something that every broker knows.
    pub(crate) fn anybody(&self) -> Target {
        self.everybody().into_iter().next().expect("bootstrap.servers is not empty")
    }

    /// All that can be asked about what every broker knows, the best first.
    pub(crate) fn everybody(&self) -> Vec<Target> {
        let brokers = self.brokers.iter().map(|(id, endpoint)| (NodeKey::Broker(*id), endpoint));
        let bootstrap = (0..).map(NodeKey::Bootstrap).zip(&self.bootstrap);
        let mut all: Vec<(NodeKey, &Endpoint)> = brokers.chain(bootstrap).collect();
        if !all.is_empty() {
            let turn = self.turn % all.len();
            all.rotate_left(turn);
        }
        all.sort_by_key(|(node, _)| {
            let is_bootstrap = matches!(node, NodeKey::Bootstrap(_));
            (self.failed.get(node).copied().unwrap_or(0), is_bootstrap)
        });
        let target =
            |(node, endpoint): (NodeKey, &Endpoint)| Target { node, endpoint: endpoint.clone() };
        all.into_iter().map(target).collect()
    }

    /// The node did not answer: others are asked first from now on.
    pub(crate) fn on_node_failed(&mut self, node: NodeKey) {
        self.failures_ever += 1;
        self.failed.insert(node, self.failures_ever);
    }

    /// The node answered.
    pub(crate) fn on_node_answered(&mut self, node: NodeKey) {
        self.failed.remove(&node);
    }

    /// What is known was found wrong: ask again, after the back-off.
    pub(crate) fn request_update(&mut self) {
        self.is_update_requested = true;
    }

    /// When [`ClusterView::poll`] has something to ask.
    pub(crate) fn deadline(&self) -> Option<Monotonic> {
        if self.asking.is_some() {
            return None;
        }
        if self.is_update_requested || self.is_id_wanted {
            return Some(self.not_before);
        }
        self.updated_at.map(|at| (at + self.age_max).max(self.not_before))
    }

    /// The request that is due, if one is; then an answer or a failure must come.
    pub(crate) fn poll(&mut self, now: Now) -> Option<MetadataQuery> {
        if self.deadline().is_none_or(|deadline| deadline > now.monotonic) {
            return None;
        }
        let target = self.anybody();
        self.asking = Some(target.node);
        // One question cannot name topics in both ways: they take turns.
        self.are_ids_asked = self.is_id_wanted && !(self.are_ids_asked && self.is_update_requested);
        if self.are_ids_asked {
            self.is_id_wanted = false;
            return Some(MetadataQuery { target, request: self.question_for_names() });
        }
        if !self.is_update_requested {
            // Asked because of its age: that what comes is no news says nothing.
            self.equivalent = 0;
        }
        self.is_update_requested = false;
        let topics = self.wanted.iter().map(|topic| MetadataRequestTopic {
            topic_id: Uuid::ZERO,
            name: Some(topic.to_string()),
        });
        self.is_all_asked = self.is_all_wanted;
        let request = MetadataRequest {
            topics: Some(topics.collect()).filter(|_| !self.is_all_wanted),
            allow_auto_topic_creation: self.allow_auto_create,
            ..MetadataRequest::default()
        };
        Some(MetadataQuery { target, request })
    }

    fn question_for_names(&self) -> MetadataRequest {
        let missing = self.ids.iter().filter(|(_, name)| name.is_none());
        let topics =
            missing.map(|(id, _)| MetadataRequestTopic { topic_id: *id, name: None }).collect();
        MetadataRequest {
            topics: Some(topics),
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        }
    }

    /// Takes in what topics are called. Returns whether none is missing any more.
    fn learn_names_of_ids(&mut self, topics: Vec<MetadataResponseTopic>) -> bool {
        for topic in topics.into_iter().filter(|topic| topic.error_code.is_none()) {
            if let (Some(name), Some(known)) = (topic.name, self.ids.get_mut(&topic.topic_id)) {
                *known = Some(name.into());
            }
        }
        self.is_id_wanted = self.ids.values().any(Option::is_none);
        !self.is_id_wanted
    }

    /// No answer came.
    pub(crate) fn on_failure(&mut self, now: Now, reason: String) {
        self.last_failure = Some(reason);
        if self.are_ids_asked {
            self.is_id_wanted = true;
        } else {
            self.is_update_requested = true;
        }
        if let Some(node) = self.asking {
            self.on_node_failed(node);
        }
        self.end_round(now, false);
    }

    /// Takes an answer in.
    pub(crate) fn on_response(&mut self, now: Now, response: MetadataResponse) {
        if response.error_code == ErrorCode::RebootstrapRequired {
            crate::mark!("client is told to rebootstrap");
            self.brokers.clear();
        }
        if !response.error_code.is_none() || response.brokers.is_empty() {
            return self.on_failure(now, format!("Metadata answered {}", response.error_code));
        }
        self.last_failure = None;
        if let Some(node) = self.asking {
            self.on_node_answered(node);
        }
        let brokers: BTreeMap<BrokerId, Endpoint> = response
            .brokers
            .into_iter()
            .filter_map(|broker| {
                let port = u16::try_from(broker.port).ok()?;
                Some((broker.node_id, Endpoint { host: broker.host, port }))
            })
            .collect();
        let mut is_news = brokers != self.brokers;
        self.brokers = brokers;
        let is_known = |node: &NodeKey| match node {
            NodeKey::Bootstrap(_) => true,
            NodeKey::Broker(id) => self.brokers.contains_key(id),
        };
        self.failed.retain(|node, _| is_known(node));
        if self.are_ids_asked {
            let is_complete = self.learn_names_of_ids(response.topics);
            return self.end_round(now, is_complete);
        }
        let mut is_complete = true;
        if self.is_all_asked {
            self.learn_names(&response.topics);
        }
        for topic in response.topics {
            let Some(name) = topic.name.as_deref().and_then(|name| self.wanted.get(name)) else {
                continue;
            };
            let name = name.clone();
            let before = self.topics.get(&name).cloned();
            is_complete &= self.learn_topic(name.clone(), topic);
            is_news |= before.as_ref() != self.topics.get(&name);
        }
        is_complete &= self
            .wanted
            .iter()
            .all(|topic| self.topics.contains_key(topic) || self.errors.contains_key(topic));
        self.equivalent = if is_news { 0 } else { self.equivalent.saturating_add(1) };
        self.updated_at = Some(now.monotonic);
        self.is_update_requested |= !is_complete;
        self.end_round(now, is_complete);
    }

    /// Takes in which topics there are. Who asks for all is not told of those that are not there.
    fn learn_names(&mut self, topics: &[MetadataResponseTopic]) {
        let names: BTreeSet<&str> =
            topics.iter().filter_map(|topic| topic.name.as_deref()).collect();
        let missing = self.wanted.iter().filter(|topic| !names.contains(&***topic));
        for topic in missing.cloned().collect::<Vec<_>>() {
            if let Some(old) = self.topics.remove(&topic) {
                self.missed.insert(topic.clone(), old);
            }
            self.errors.insert(topic, ErrorCode::UnknownTopicOrPartition);
        }
        let is_shown =
            |topic: &&MetadataResponseTopic| !topic.is_internal && topic.error_code.is_none();
        let shown = topics.iter().filter(is_shown).filter_map(|topic| topic.name.as_deref());
        self.all = self.is_all_wanted.then(|| shown.map(Arc::from).collect());
    }

    /// Takes one topic in. Returns whether nothing is left open that another request may settle.
    fn learn_topic(&mut self, name: Arc<str>, topic: MetadataResponseTopic) -> bool {
        if !topic.error_code.is_none() && topic.partitions.is_empty() {
            if topic.error_code == ErrorCode::UnknownTopicOrPartition
                && let Some(old) = self.topics.remove(&name)
            {
                self.missed.insert(name.clone(), old);
            }
            self.errors.insert(name, topic.error_code);
            return !topic.error_code.is_retriable();
        }
        let topic_id = Some(topic.topic_id).filter(|id| *id != Uuid::ZERO);
        let old = self.topics.remove(&name).or_else(|| self.missed.remove(&name));
        // Of another topic of the same name the epochs count anew; of ids, only two that are told can differ.
        let old = old
            .filter(|old| old.topic_id == topic_id || old.topic_id.is_none() || topic_id.is_none());
        let mut partitions: Vec<PartitionView> = Vec::new();
        let mut sorted = topic.partitions;
        sorted.sort_by_key(|partition| partition.partition_index);
        for (index, partition) in (0i32..).zip(sorted) {
            if partition.partition_index != PartitionIndex::new(index) {
                // A list with gaps cannot be indexed; it ends at the gap.
                break;
            }
            let known = old.as_ref().and_then(|old| old.partitions.get(partitions.len())).copied();
            let told =
                PartitionView { leader: partition.leader_id, leader_epoch: partition.leader_epoch };
            partitions.push(newer(known, told));
        }
        let has_leaders = partitions.iter().all(|partition| partition.leader.is_some());
        self.errors.remove(&name);
        self.topics.insert(name, TopicView { topic_id, partitions });
        has_leaders
    }

    /// A broker that refused named the leader (KIP-951). Returns whether that was news, and can be followed.
    ///
    /// Kafka: `Metadata.updatePartitionLeadership`.
    pub(crate) fn on_leader_hint(
        &mut self,
        partition: &TopicPartition,
        leader: BrokerId,
        leader_epoch: LeaderEpoch,
        endpoint: Option<Endpoint>,
    ) -> bool {
        if endpoint.is_none() && !self.brokers.contains_key(&leader) {
            return false;
        }
        let Some(known) = self.partition_mut(partition) else { return false };
        if known.leader_epoch >= Some(leader_epoch) {
            return false;
        }
        *known = PartitionView { leader: Some(leader), leader_epoch: Some(leader_epoch) };
        if let Some(endpoint) = endpoint {
            self.brokers.insert(leader, endpoint);
        }
        crate::mark!("client follows a leader that a broker named");
        true
    }

    /// An answer other than Metadata spoke of an epoch. Where it is newer than what is known, who leads is not known.
    ///
    /// Kafka: `Metadata.updateLastSeenEpochIfNewer`.
    pub(crate) fn on_epoch_heard_of(&mut self, partition: &TopicPartition, epoch: LeaderEpoch) {
        let Some(known) = self.partition_mut(partition) else { return };
        if known.leader_epoch.is_some_and(|known| known < epoch) {
            *known = PartitionView { leader: None, leader_epoch: Some(epoch) };
            self.request_update();
        }
    }

    fn partition_mut(&mut self, partition: &TopicPartition) -> Option<&mut PartitionView> {
        let index = usize::try_from(partition.partition.value()).ok()?;
        self.topics.get_mut(&partition.topic)?.partitions.get_mut(index)
    }

    fn end_round(&mut self, now: Now, is_complete: bool) {
        self.asking = None;
        self.failures = if is_complete { 0 } else { self.failures.saturating_add(1) };
        let pause = self.backoff.pause(self.failures.max(self.equivalent).max(1), &mut self.rng);
        self.not_before = now.monotonic + pause;
    }
}

/// A leader of an older term is not believed: the broker that told has not heard of the newer one yet.
fn newer(known: Option<PartitionView>, told: PartitionView) -> PartitionView {
    match known {
        Some(known) if told.leader_epoch < known.leader_epoch => known,
        Some(_) | None => told,
    }
}

#[cfg(test)]
#[path = "cluster_view_tests.rs"]
mod tests;
