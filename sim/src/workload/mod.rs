//! What clients do: the product's own clients, each on a machine of its own, writing down what they asked and were told.

mod beside;
mod consumer;
mod member;
mod producer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ottla::client::ConfigError;
use ottla::runtime::Env;
use ottla::runtime::watch;

use crate::event::Event;
use crate::history::{ClientFailure, SharedHistory};
use crate::world::SimTime;

pub use consumer::{ConsumerWork, FinalRead};
pub use member::MemberWork;
pub use producer::ProducerWork;

/// How long a client that is asked to stop may take to send what it holds.
pub const CLOSE_WITHIN: Duration = Duration::from_secs(150);

/// Tells the story of a client: the name of an event, and what there is to say of it.
pub type Tell = Arc<dyn Fn(&'static str, &dyn Fn(Event) -> Event) + Send + Sync>;

/// What a client has at hand.
#[derive(Clone)]
pub struct Client {
    /// Its name, as `writer/0`.
    pub name: Arc<str>,
    /// Which start of it, from 1.
    pub incarnation: u32,
    /// Its machine.
    pub env: Env,
    /// The world's time, for the history: the machine's own clock may be wrong.
    pub now: Arc<dyn Fn() -> SimTime + Send + Sync>,
    /// Where the history is written.
    pub history: SharedHistory,
    /// Tells the story, while it happens.
    pub tell: Tell,
    /// The brokers' addresses, as `bootstrap.servers` names them.
    pub bootstrap: String,
    /// Properties of the scenario file.
    pub properties: BTreeMap<String, String>,
    /// Turns true when the client is to close in good order.
    pub stop: watch::Receiver<bool>,
}

impl Client {
    /// The properties with which its Kafka client is made.
    fn all_properties(&self, own: &[(&str, &str)]) -> BTreeMap<String, String> {
        let mut all: BTreeMap<String, String> =
            own.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        all.insert("bootstrap.servers".to_owned(), self.bootstrap.clone());
        all.insert("client.id".to_owned(), self.name.to_string());
        all.extend(self.properties.clone());
        all
    }

    /// Writes down a call that failed.
    fn note_failure(&self, error: Option<ottla::types::ErrorCode>, what: String) {
        let failure =
            ClientFailure { client: Arc::clone(&self.name), at: (self.now)(), error, what };
        self.history.lock().failures.push(failure);
    }

    /// Waits until it is to stop; for ever where nobody can ask it any more.
    async fn asked_to_stop(&mut self) {
        if self.stop.wait_for(|stop| *stop).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The code of a client's error, if a broker gave one.
#[expect(clippy::wildcard_enum_match_arm, reason = "only these carry a broker's code")]
fn code_of(error: &ottla::client::ClientError) -> Option<ottla::types::ErrorCode> {
    match error {
        ottla::client::ClientError::Answer { error, .. } => Some(*error),
        ottla::client::ClientError::CorruptBatch { error, .. } => *error,
        _ => None,
    }
}

/// Says whether the properties of a producer in a scenario file can be used, before anything runs.
///
/// Errors: as the client says.
pub fn check_producer(properties: &BTreeMap<String, String>) -> Result<(), ConfigError> {
    ottla::client::ProducerConfig::from_properties(&with_bootstrap(properties)).map(drop)
}

/// Says whether the properties of a consumer in a scenario file can be used, before anything runs.
///
/// Errors: as the client says.
pub fn check_consumer(properties: &BTreeMap<String, String>) -> Result<(), ConfigError> {
    ottla::client::ConsumerConfig::from_properties(&with_bootstrap(properties)).map(drop)
}

fn with_bootstrap(properties: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut all = properties.clone();
    all.insert("bootstrap.servers".to_owned(), "10.0.0.1:9092".to_owned());
    all
}
