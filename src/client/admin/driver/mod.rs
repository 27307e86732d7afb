//! The admin client: how it asks, and in `by_leader.rs` how it asks leaders. What it asks stands in the files below: `topics.rs`, `records.rs`,
//! `offsets.rs`, `cluster.rs`, `groups.rs`.

mod by_leader;
mod cluster;
mod groups;
mod offsets;
mod records;
mod topics;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::rngs::StdRng;

use super::AdminConfig;
use crate::client::cluster_view::{ClusterView, NodeKey, Target};
use crate::client::driver::Nodes;
use crate::client::error::ClientError;
use crate::protocol::VersionRange;
use crate::protocol::messages::metadata_request::MetadataRequestTopic;
use crate::protocol::messages::{MetadataRequest, MetadataResponse, Request};
use crate::rpc::driver::CallOptions;
use crate::rpc::network_client::RpcError;
use crate::runtime::Env;
use crate::runtime::clock::sleep;
use crate::types::{ErrorCode, Monotonic, TopicPartition, Uuid};

/// The longest answer that is taken, in bytes: Metadata of a hundred thousand partitions has 10 MB.
const RESPONSE_BYTES_MAX: usize = 100 << 20;

/// Asks a cluster about itself and changes it. Calls may run side by side; clones share connections.
///
/// ```
/// use ottla::client::{Admin, AdminConfig, NewTopic};
/// use ottla::runtime::Env;
///
/// async fn make(env: Env) -> Result<(), Box<dyn std::error::Error>> {
///     let admin = Admin::new(AdminConfig::new([("bootstrap.servers", "127.0.0.1:9092")])?, env);
///     let topic_id = admin.create_topics(&[NewTopic::new("orders").partitions(3)]).await?.remove(0)?;
///     println!("orders is {topic_id}");
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Admin {
    shared: Arc<Shared>,
}

struct Shared {
    env: Env,
    config: AdminConfig,
    state: Mutex<State>,
}

struct State {
    view: ClusterView,
    nodes: Nodes,
    rng: StdRng,
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let client_id = &self.shared.config.common.client_id;
        f.debug_struct("Admin").field("client_id", client_id).finish()
    }
}

/// What one attempt came to.
enum Attempt<T> {
    Done(T),
    /// To be repeated while there is time; the text is for the error.
    Again(String),
}

impl<T> Attempt<T> {
    /// Done, unless the broker reached no controller: another attempt may find the new one.
    fn unless_controller_moved(error: ErrorCode, response: T) -> Self {
        if error == ErrorCode::NotController {
            return Self::Again(error.to_string());
        }
        Self::Done(response)
    }
}

impl Admin {
    /// An admin client; connects with its first call.
    #[must_use]
    pub fn new(config: AdminConfig, env: Env) -> Self {
        let client_id = &config.common.client_id;
        let state = State {
            view: ClusterView::new(
                &config.common,
                false,
                env.rng(&format!("{client_id}/metadata")),
            ),
            nodes: Nodes::new(&config.common, RESPONSE_BYTES_MAX, &env),
            rng: env.rng(&format!("{client_id}/retry")),
        };
        Self { shared: Arc::new(Shared { env, config, state: Mutex::new(state) }) }
    }

    // ---- asking ----

    fn state(&self) -> MutexGuard<'_, State> {
        // A poisoned lock means that a bug panicked elsewhere; that panic is the one to be seen.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn timeout_ms(&self) -> i32 {
        i32::try_from(self.shared.config.common.request_timeout.as_millis()).unwrap_or(i32::MAX)
    }

    fn now(&self) -> Monotonic {
        self.shared.env.clock.now().monotonic
    }

    async fn metadata(&self, topics: Option<&[&str]>) -> Result<MetadataResponse, ClientError> {
        let topic = |name: &&str| MetadataRequestTopic {
            topic_id: Uuid::ZERO,
            name: Some((*name).to_owned()),
        };
        let request = MetadataRequest {
            topics: topics.map(|topics| topics.iter().map(topic).collect()),
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        };
        let response = self
            .ask(request, |response| {
                if response.error_code.is_none() {
                    Attempt::Done(response)
                } else {
                    Attempt::Again(response.error_code.to_string())
                }
            })
            .await?;
        // The brokers are good to know, whatever was asked.
        self.state().view.on_response(self.shared.env.clock.now(), response.clone());
        Ok(response)
    }

    /// Asks any broker, in any version.
    async fn ask<R, T>(
        &self,
        request: R,
        judge: impl Fn(R::Response) -> Attempt<T>,
    ) -> Result<T, ClientError>
    where
        R: Request + Send + 'static,
        R::Response: Send + 'static,
    {
        self.ask_in_versions(request, R::VERSIONS, judge).await
    }

    /// Asks any broker until `judge` is content or `default.api.timeout.ms` is over.
    async fn ask_in_versions<R, T>(
        &self,
        request: R,
        versions: VersionRange,
        judge: impl Fn(R::Response) -> Attempt<T>,
    ) -> Result<T, ClientError>
    where
        R: Request + Send + 'static,
        R::Response: Send + 'static,
    {
        let mut tries = Tries::new(self, R::API.name());
        loop {
            let target = self.state().view.anybody();
            match self.call(&target, request.clone(), versions, &tries).await {
                Ok(response) => {
                    self.state().view.on_node_answered(target.node);
                    match judge(response) {
                        Attempt::Done(value) => return Ok(value),
                        Attempt::Again(reason) => tries.failed(self, reason).await?,
                    }
                }
                Err(error) => tries.broken(self, target.node, error).await?,
            }
        }
    }

    async fn call<R>(
        &self,
        target: &Target,
        request: R,
        versions: VersionRange,
        tries: &Tries,
    ) -> Result<R::Response, RpcError>
    where
        R: Request + Send + 'static,
        R::Response: Send + 'static,
    {
        let channel = self.state().nodes.channel(target);
        channel.call(request, self.call_options(versions, tries)).await
    }

    fn call_options(&self, versions: VersionRange, tries: &Tries) -> CallOptions {
        let left = tries.deadline.since(self.now());
        let timeout = self.shared.config.common.request_timeout.min(left);
        CallOptions { versions, timeout }
    }
}

/// The attempts of one call.
struct Tries {
    api: &'static str,
    deadline: Monotonic,
    failures: u32,
}

impl Tries {
    fn new(admin: &Admin, api: &'static str) -> Self {
        let deadline = admin.now() + admin.shared.config.api_timeout;
        Self { api, deadline, failures: 0 }
    }

    /// A broker could not be asked: another is, after a pause.
    async fn broken(
        &mut self,
        admin: &Admin,
        node: NodeKey,
        error: RpcError,
    ) -> Result<(), ClientError> {
        if let RpcError::UnsupportedVersion { api } = error {
            return Err(ClientError::UnsupportedVersion { api: api.to_string() });
        }
        admin.state().view.on_node_failed(node);
        self.failed(admin, error.to_string()).await
    }

    /// Pauses before the next attempt.
    ///
    /// Errors: there is no time for one.
    async fn failed(&mut self, admin: &Admin, reason: String) -> Result<(), ClientError> {
        self.failures += 1;
        let pause = {
            let backoff = admin.shared.config.common.retry_backoff();
            backoff.pause(self.failures, &mut admin.state().rng)
        };
        if admin.now() + pause >= self.deadline {
            return Err(ClientError::TimedOut {
                waited_for: format!("answer to {}", self.api),
                after: admin.shared.config.api_timeout,
                last_error: Some(reason),
            });
        }
        sleep(admin.shared.env.clock.as_ref(), pause).await;
        Ok(())
    }
}

fn succeeded(error: ErrorCode, message: Option<String>) -> Result<(), ClientError> {
    if error.is_none() { Ok(()) } else { Err(ClientError::Answer { error, message }) }
}

fn lacks(what: &str) -> ClientError {
    let message = Some(format!("the answer does not speak of {what}"));
    ClientError::Answer { error: ErrorCode::UnknownServerError, message }
}

/// Values by the topic of their partition, topics in the order in which they first stand.
fn by_topic<'a, T>(all: impl Iterator<Item = (&'a TopicPartition, T)>) -> Vec<(String, Vec<T>)> {
    let mut topics: Vec<(String, Vec<T>)> = Vec::new();
    for (partition, value) in all {
        match topics.iter_mut().find(|(topic, _)| **topic == *partition.topic) {
            Some((_, values)) => values.push(value),
            None => topics.push((partition.topic.to_string(), vec![value])),
        }
    }
    topics
}
