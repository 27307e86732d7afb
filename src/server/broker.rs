//! What the APIs share: this node's broker, as its connections see it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Config;
use super::controller_channel::ControllerChannel;
use super::group_coordinator::GroupCoordinatorService;
use super::lifecycle::LifecycleHandle;
use super::replica_manager::ReplicaManager;
use crate::controller::request::{ApiError, ProducerIdBlock};
use crate::coordinator::group::OFFSETS_TOPIC;
use crate::metadata::{GROUP_VERSION, MetadataImage};
use crate::protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use crate::protocol::messages::create_topics_response::CreatableTopicResult;
use crate::protocol::messages::{AllocateProducerIdsRequest, CreateTopicsRequest};
use crate::runtime::clock::timeout_at;
use crate::runtime::{Env, task};
use crate::types::{BrokerId, ErrorCode, ProducerId};

/// How many topics may be under way by auto-creation: more names than that are dropped, and asked for again.
const AUTO_CREATIONS_MAX: usize = 1000;

/// Whether a topic is the cluster's own (Kafka: `Topic.isInternal`).
pub(super) fn is_internal(topic: &str) -> bool {
    matches!(topic, OFFSETS_TOPIC | "__transaction_state" | "__share_group_state")
}

/// The broker of a node.
pub(super) struct Broker {
    /// The configuration it was started with.
    pub(super) config: Config,
    /// The world.
    pub(super) env: Env,
    /// The cluster's id.
    pub(super) cluster_id: String,
    /// Its life in the cluster.
    pub(super) lifecycle: LifecycleHandle,
    /// Asks the active controller on clients' behalf.
    pub(super) forwarding: ControllerChannel,
    /// The partitions of this node.
    pub(super) replicas: Arc<ReplicaManager>,
    /// The groups that this node coordinates.
    pub(super) groups: Arc<GroupCoordinatorService>,
    producer_ids: tokio::sync::Mutex<Option<ProducerIdBlock>>,
    auto_creations: Mutex<BTreeSet<String>>,
    /// A person was told why there is no offsets topic: once is enough.
    offsets_topic_refused: AtomicBool,
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker").field("node_id", &self.config.node_id).finish_non_exhaustive()
    }
}

impl Broker {
    pub(super) fn new(
        config: Config,
        env: Env,
        cluster_id: String,
        controller: &ControllerChannel,
        lifecycle: LifecycleHandle,
        replicas: Arc<ReplicaManager>,
    ) -> Arc<Self> {
        let groups =
            GroupCoordinatorService::new(config.node_id, env.clone(), config.groups.clone());
        Arc::new(Self {
            config,
            env,
            cluster_id,
            lifecycle,
            forwarding: controller.another("forwarding"),
            replicas,
            groups,
            producer_ids: tokio::sync::Mutex::new(None),
            auto_creations: Mutex::new(BTreeSet::new()),
            offsets_topic_refused: AtomicBool::new(false),
        })
    }

    /// The metadata that this broker has applied to its partitions.
    pub(super) fn image(&self) -> Arc<MetadataImage> {
        self.replicas.image()
    }

    /// Whether groups of the protocol of KIP-848 are served: the cluster agreed on it, and the configuration does not forbid it.
    ///
    /// Kafka: `KafkaApis.isConsumerGroupProtocolEnabled`.
    pub(super) fn serves_consumer_protocol(&self, image: &MetadataImage) -> bool {
        self.config.groups.consumer_protocol && image.feature_level(GROUP_VERSION) >= 1
    }

    /// Which broker clients should send administrative requests to: any that is alive, as in Kafka with KRaft.
    pub(super) fn controller_id(&self, image: &MetadataImage) -> Option<BrokerId> {
        let own = self.config.node_id;
        if image.broker(own).is_some_and(|broker| !broker.fenced) {
            return Some(own);
        }
        image.brokers().find(|broker| !broker.fenced).map(|broker| broker.broker)
    }

    /// Waits until the applied metadata is as wanted, no longer than `span`.
    pub(super) async fn until_seen(
        &self,
        span: Duration,
        is_seen: impl Fn(&MetadataImage) -> bool + Send,
    ) {
        let deadline = self.env.clock.now().monotonic + span;
        let mut applied = self.replicas.subscribe();
        let seen = async {
            // The sender lives as long as the partitions do.
            let _ = applied.wait_for(|applied| is_seen(&applied.image)).await;
        };
        if timeout_at(self.env.clock.as_ref(), deadline, seen).await.is_none() {
            crate::mark!("a broker's metadata does not show in time what the controller did");
        }
    }

    /// Has topics created that somebody asked for; nobody waits for it. Of the internal ones only the offsets topic, and that as the
    /// configuration says of it.
    ///
    /// Kafka: `DefaultAutoTopicCreationManager`.
    pub(super) fn auto_create_topics(self: &Arc<Self>, names: Vec<String>) {
        let mut under_way = self.auto_creations.lock().unwrap_or_else(PoisonError::into_inner);
        let names: Vec<String> = names
            .into_iter()
            .filter(|name| name == OFFSETS_TOPIC || !is_internal(name))
            .filter(|name| under_way.len() < AUTO_CREATIONS_MAX && under_way.insert(name.clone()))
            .collect();
        drop(under_way);
        if names.is_empty() {
            return;
        }
        let broker = self.clone();
        task::spawn(async move {
            broker.create_topics(&names).await;
            let mut under_way =
                broker.auto_creations.lock().unwrap_or_else(PoisonError::into_inner);
            for name in &names {
                under_way.remove(name);
            }
        });
    }

    /// Asks the controller for topics with the defaults of the cluster.
    async fn create_topics(&self, names: &[String]) {
        let span = self.config.request_timeout;
        let topics = names.iter().map(|name| self.creatable(name));
        let request = CreateTopicsRequest {
            topics: topics.collect(),
            timeout_ms: i32::try_from(span.as_millis()).unwrap_or(i32::MAX),
            validate_only: false,
        };
        match self.forwarding.call(request, span).await {
            Ok(response) => {
                for one in response.topics.iter().filter(|one| !one.error_code.is_none()) {
                    self.on_refused_topic(one);
                }
            }
            Err(error) => tracing::debug!(%error, "topics not created"),
        }
    }

    /// Kafka: `DefaultAutoTopicCreationManager.creatableTopic`, `GroupCoordinatorService.groupMetadataTopicConfigs`.
    fn creatable(&self, name: &str) -> CreatableTopic {
        if name != OFFSETS_TOPIC {
            return CreatableTopic {
                name: name.to_owned(),
                num_partitions: -1,
                replication_factor: -1,
                ..Default::default()
            };
        }
        let topic = self.config.groups.offsets_topic;
        let configs = [
            ("cleanup.policy", "compact".to_owned()),
            ("compression.type", "producer".to_owned()),
            ("segment.bytes", topic.segment_bytes.to_string()),
        ];
        let configs = configs.map(|(name, value)| CreatableTopicConfig {
            name: name.to_owned(),
            value: Some(value),
        });
        CreatableTopic {
            name: name.to_owned(),
            num_partitions: topic.partitions,
            replication_factor: topic.replication_factor,
            configs: configs.into(),
            ..Default::default()
        }
    }

    /// Clients that look for a coordinator ask again and again: the log says it once.
    fn on_refused_topic(&self, topic: &CreatableTopicResult) {
        let (name, error) = (&topic.name, topic.error_code);
        let is_known = error == ErrorCode::TopicAlreadyExists;
        let is_offsets_topic = name == OFFSETS_TOPIC && !is_known;
        if is_offsets_topic && !self.offsets_topic_refused.swap(true, Ordering::Relaxed) {
            let why = topic.error_message.as_deref().unwrap_or_default();
            tracing::warn!(topic = name, %error, why,
                "groups must wait: start more brokers, or set offsets.topic.replication.factor");
        } else {
            tracing::debug!(topic = name, %error, "topic not created");
        }
    }

    /// A producer id that nobody has.
    ///
    /// Errors: what the controller says to a request for more of them; `REQUEST_TIMED_OUT`.
    ///
    /// Kafka: `RPCProducerIdManager`.
    pub(super) async fn next_producer_id(&self) -> Result<ProducerId, ApiError> {
        let mut block = self.producer_ids.lock().await;
        if block.is_none_or(|block| block.count == 0) {
            *block = Some(self.producer_id_block().await?);
        }
        let ids = block.as_mut().expect("a block was just fetched");
        let id = ids.first;
        ids.first = ProducerId::new(id.value() + 1);
        ids.count -= 1;
        Ok(id)
    }

    async fn producer_id_block(&self) -> Result<ProducerIdBlock, ApiError> {
        let epoch = self.lifecycle.epoch().ok_or(ErrorCode::BrokerIdNotRegistered)?;
        let request = AllocateProducerIdsRequest {
            broker_id: self.config.node_id,
            broker_epoch: Some(epoch),
        };
        let response = self.forwarding.call(request, self.config.request_timeout).await?;
        if !response.error_code.is_none() {
            return Err(response.error_code.into());
        }
        match (response.producer_id_start, u32::try_from(response.producer_id_len)) {
            (Some(first), Ok(count)) if count > 0 => Ok(ProducerIdBlock { first, count }),
            (Some(_) | None, Ok(_) | Err(_)) => {
                let message = "the controller gave no producer ids";
                Err(ApiError::new(ErrorCode::UnknownServerError, message))
            }
        }
    }
}
