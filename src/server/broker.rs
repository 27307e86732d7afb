//! What the APIs share: this node's broker, as its connections see it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Config;
use super::controller_channel::ControllerChannel;
use super::lifecycle::LifecycleHandle;
use super::replica_manager::ReplicaManager;
use crate::controller::request::{ApiError, ProducerIdBlock};
use crate::metadata::MetadataImage;
use crate::protocol::messages::create_topics_request::CreatableTopic;
use crate::protocol::messages::{AllocateProducerIdsRequest, CreateTopicsRequest};
use crate::runtime::clock::timeout_at;
use crate::runtime::{Env, task};
use crate::types::{BrokerId, ErrorCode, ProducerId};

/// How many topics may be under way by auto-creation: more names than that are dropped, and asked for again.
const AUTO_CREATIONS_MAX: usize = 1000;

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
    producer_ids: tokio::sync::Mutex<Option<ProducerIdBlock>>,
    auto_creations: Mutex<BTreeSet<String>>,
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
        Arc::new(Self {
            config,
            env,
            cluster_id,
            lifecycle,
            forwarding: controller.another("forwarding"),
            replicas,
            producer_ids: tokio::sync::Mutex::new(None),
            auto_creations: Mutex::new(BTreeSet::new()),
        })
    }

    /// The metadata that this broker has applied to its partitions.
    pub(super) fn image(&self) -> Arc<MetadataImage> {
        self.replicas.image()
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

    /// Has topics created that somebody asked for; nobody waits for it.
    ///
    /// Kafka: `DefaultAutoTopicCreationManager`.
    pub(super) fn auto_create_topics(self: &Arc<Self>, names: Vec<String>) {
        let mut under_way = self.auto_creations.lock().unwrap_or_else(PoisonError::into_inner);
        let names: Vec<String> = names
            .into_iter()
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
        let topics = names.iter().map(|name| CreatableTopic {
            name: name.clone(),
            num_partitions: -1,
            replication_factor: -1,
            ..Default::default()
        });
        let request = CreateTopicsRequest {
            topics: topics.collect(),
            timeout_ms: i32::try_from(span.as_millis()).unwrap_or(i32::MAX),
            validate_only: false,
        };
        match self.forwarding.call(request, span).await {
            Ok(response) => {
                for one in response.topics.iter().filter(|one| !one.error_code.is_none()) {
                    tracing::debug!(topic = one.name, error = %one.error_code, "topic not created");
                }
            }
            Err(error) => tracing::debug!(%error, "topics not created"),
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
