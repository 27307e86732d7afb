//! What the APIs share: this node's broker, as its connections see it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Config;
use super::lifecycle::LifecycleHandle;
use super::replica_manager::{Identity, ReplicaManager};
use crate::controller::driver::ControllerHandle;
use crate::controller::request::{
    ApiError, CreateTopicResult, CreateTopicsRequest, DeleteTopicResult, NewTopic,
    NewTopicPlacement, ProducerIdBlock, TopicSelector,
};
use crate::metadata::MetadataImage;
use crate::runtime::clock::timeout_at;
use crate::runtime::{Env, task};
use crate::types::{BrokerId, ErrorCode, Offset, ProducerId};

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
    /// The controller of this node.
    pub(super) controller: ControllerHandle,
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
        identity: Identity,
        controller: ControllerHandle,
        lifecycle: LifecycleHandle,
        replicas: Arc<ReplicaManager>,
    ) -> Arc<Self> {
        Arc::new(Self {
            config,
            env,
            cluster_id: identity.cluster_id,
            lifecycle,
            controller,
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

    /// Creates topics, and waits until this broker knows them too.
    ///
    /// Errors: of the whole request: `REQUEST_TIMED_OUT`, or what the controller says.
    pub(super) async fn create_topics(
        &self,
        request: CreateTopicsRequest,
        span: Duration,
    ) -> Result<Vec<CreateTopicResult>, ApiError> {
        let validate_only = request.validate_only;
        let results = self.within(span, self.controller.create_topics(request)).await?;
        if !validate_only {
            self.caught_up(span).await;
        }
        Ok(results)
    }

    /// Deletes topics, and waits until this broker knows that they are gone.
    ///
    /// Errors: as [`Self::create_topics`].
    pub(super) async fn delete_topics(
        &self,
        topics: Vec<TopicSelector>,
        span: Duration,
    ) -> Result<Vec<DeleteTopicResult>, ApiError> {
        let results = self.within(span, self.controller.delete_topics(topics)).await?;
        self.caught_up(span).await;
        Ok(results)
    }

    async fn within<T>(
        &self,
        span: Duration,
        answer: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<T, ApiError> {
        let deadline = self.env.clock.now().monotonic + span;
        let answer = timeout_at(self.env.clock.as_ref(), deadline, answer).await;
        answer.unwrap_or(Err(ErrorCode::RequestTimedOut.into()))
    }

    /// Waits until all that the controller has committed is applied here: kinder than Kafka, whose clients may ask a
    /// broker that has not heard of their topic yet. What takes longer is not waited for.
    pub(super) async fn caught_up(&self, span: Duration) {
        let end_offset: Offset = self.controller.image().end_offset;
        let deadline = self.env.clock.now().monotonic + span;
        let applied = self.replicas.caught_up(end_offset);
        let _ = timeout_at(self.env.clock.as_ref(), deadline, applied).await;
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
            let topics = names.iter().map(|name| NewTopic {
                name: name.clone(),
                placement: NewTopicPlacement::Automatic {
                    partitions: None,
                    replication_factor: None,
                },
                configs: Vec::new(),
            });
            let request = CreateTopicsRequest { topics: topics.collect(), validate_only: false };
            let span = broker.config.request_timeout;
            let results = broker.within(span, broker.controller.create_topics(request)).await;
            match results {
                Ok(results) => {
                    for one in results {
                        if let Err(error) = one.result {
                            tracing::debug!(topic = one.name, %error, "topic not created");
                        }
                    }
                }
                Err(error) => tracing::debug!(%error, "topics not created"),
            }
            let mut under_way =
                broker.auto_creations.lock().unwrap_or_else(PoisonError::into_inner);
            for name in &names {
                under_way.remove(name);
            }
        });
    }

    /// A producer id that nobody has.
    ///
    /// Errors: what the controller says to a request for more of them; `REQUEST_TIMED_OUT`.
    ///
    /// Kafka: `RPCProducerIdManager`.
    pub(super) async fn next_producer_id(&self) -> Result<ProducerId, ApiError> {
        let mut block = self.producer_ids.lock().await;
        if block.is_none_or(|block| block.count == 0) {
            let epoch = self.lifecycle.epoch().ok_or(ErrorCode::BrokerIdNotRegistered)?;
            let asked = self.controller.allocate_producer_ids(self.config.node_id, epoch);
            *block = Some(self.within(self.config.request_timeout, asked).await?);
        }
        let ids = block.as_mut().expect("a block was just fetched");
        let id = ids.first;
        ids.first = ProducerId::new(id.value() + 1);
        ids.count -= 1;
        Ok(id)
    }
}
