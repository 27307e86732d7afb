//! What is asked of the leaders of partitions: each of them once for all that it leads, all at the same time. What may come better is asked
//! again, of whoever leads then.
//!
//! Kafka: `PartitionLeaderStrategy`, `AdminApiDriver`.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::mpsc;

use super::{Admin, Tries, lacks, succeeded};
use crate::client::cluster_view::Target;
use crate::client::error::ClientError;
use crate::protocol::VersionRange;
use crate::protocol::messages::Request;
use crate::protocol::messages::metadata_response::MetadataResponseTopic;
use crate::rpc::network_client::RpcError;
use crate::types::{BrokerId, LeaderEpoch, TopicPartition};

/// What became of each partition.
pub(super) type Answers<T> = BTreeMap<TopicPartition, Result<T, ClientError>>;

/// A partition, and the term of its leader as far as it is known.
pub(super) type Led = (TopicPartition, Option<LeaderEpoch>);

/// What one leader is asked about.
struct Ask {
    target: Target,
    partitions: Vec<Led>,
}

/// How far a call has come.
struct Progress<T> {
    /// What has no answer yet.
    open: BTreeSet<TopicPartition>,
    answers: Answers<T>,
    /// Why something is open after an attempt.
    why: String,
}

impl<T> Progress<T> {
    fn end(&mut self, at: TopicPartition, answer: Result<T, ClientError>) {
        self.open.remove(&at);
        self.answers.insert(at, answer);
    }

    fn end_open(&mut self, error: &ClientError) {
        let open = std::mem::take(&mut self.open);
        self.answers.extend(open.into_iter().map(|at| (at, Err(error.clone()))));
    }

    /// Takes in what a leader says: it may be another's turn.
    fn told(&mut self, at: TopicPartition, answer: Result<T, ClientError>) {
        match answer {
            Err(ClientError::Answer { error, .. }) if error.is_retriable() => {
                self.why = format!("{at}: {error}");
            }
            answer => self.end(at, answer),
        }
    }
}

impl Admin {
    /// Asks the leaders of these partitions, until each has answered or `default.api.timeout.ms` is over. `question` makes the request about
    /// what one broker leads, `read` tells what an answer says of each partition.
    ///
    /// Each partition has an answer of its own. Errors: what its leader says; [`ClientError::InvalidPartition`];
    /// [`ClientError::UnsupportedVersion`]; [`ClientError::TimedOut`].
    pub(super) async fn ask_leaders<R, T>(
        &self,
        partitions: BTreeSet<TopicPartition>,
        versions: VersionRange,
        question: impl Fn(&[Led]) -> R,
        read: impl Fn(R::Response) -> Answers<T>,
    ) -> Answers<T>
    where
        R: Request + Send + 'static,
        R::Response: Send + 'static,
    {
        let mut tries = Tries::new(self, R::API.name());
        let mut progress =
            Progress { open: partitions, answers: Answers::new(), why: String::new() };
        while !progress.open.is_empty() {
            let asks = self.leaders_of(&mut progress).await;
            let mut answered = self.ask_each(&asks, versions, &question, &tries);
            let mut silent = asks;
            while let Some((leader, answer)) = answered.recv().await {
                if let Some(ask) = silent.remove(&leader) {
                    self.take_in(ask, answer.map(&read), &mut progress);
                }
            }
            // Their connections were closed.
            if !silent.is_empty() {
                progress.why = RpcError::Closed.to_string();
            }
            if progress.open.is_empty() {
                break;
            }
            if let Err(error) = tries.failed(self, progress.why.clone()).await {
                progress.end_open(&error);
            }
        }
        progress.answers
    }

    /// Whom to ask for what is open. What is not there is answered here.
    async fn leaders_of<T>(&self, progress: &mut Progress<T>) -> BTreeMap<BrokerId, Ask> {
        let names: BTreeSet<&str> = progress.open.iter().map(|at| &*at.topic).collect();
        let names: Vec<&str> = names.into_iter().collect();
        for name in &names {
            self.state().view.want(&(*name).into());
        }
        let response = match self.metadata(Some(&names)).await {
            Ok(response) => response,
            Err(error) => {
                progress.end_open(&error);
                return BTreeMap::new();
            }
        };
        let topics = response.topics.iter();
        let topics = topics.filter_map(|topic| Some((topic.name.as_deref()?, topic)));
        let topics: BTreeMap<&str, &MetadataResponseTopic> = topics.collect();
        let mut asks: BTreeMap<BrokerId, Ask> = BTreeMap::new();
        for at in progress.open.clone() {
            if let Err(error) = is_there(&at, topics.get(&*at.topic).copied()) {
                progress.end(at, Err(error));
                continue;
            }
            let (target, epoch) = {
                let view = &self.state().view;
                let target =
                    view.leader(&at).and_then(|leader| Some((leader, view.broker(leader)?)));
                (target, view.partition(&at).and_then(|known| known.leader_epoch))
            };
            match target {
                Some((leader, target)) => {
                    let ask = asks.entry(leader);
                    let ask = ask.or_insert(Ask { target, partitions: Vec::new() });
                    ask.partitions.push((at, epoch));
                }
                None => progress.why = format!("{at} has no leader"),
            }
        }
        asks
    }

    /// Asks all of them. As many answers come as there are leaders, in any order; fewer where a connection was closed.
    fn ask_each<R>(
        &self,
        asks: &BTreeMap<BrokerId, Ask>,
        versions: VersionRange,
        question: impl Fn(&[Led]) -> R,
        tries: &Tries,
    ) -> mpsc::UnboundedReceiver<(BrokerId, Result<R::Response, RpcError>)>
    where
        R: Request + Send + 'static,
        R::Response: Send + 'static,
    {
        let (answer_to, answered) = mpsc::unbounded_channel();
        for (leader, ask) in asks {
            let (leader, answer_to) = (*leader, answer_to.clone());
            let channel = self.state().nodes.channel(&ask.target);
            let options = self.call_options(versions, tries);
            channel.submit(question(&ask.partitions), options, move |answer| {
                // Who asked may be gone: then nobody cares for the answer.
                let _ = answer_to.send((leader, answer));
            });
        }
        answered
    }

    fn take_in<T>(
        &self,
        ask: Ask,
        answer: Result<Answers<T>, RpcError>,
        progress: &mut Progress<T>,
    ) {
        match answer {
            Ok(mut answers) => {
                self.state().view.on_node_answered(ask.target.node);
                for (at, _) in ask.partitions {
                    let answer = answers.remove(&at);
                    let answer = answer.unwrap_or_else(|| Err(lacks(&at.to_string())));
                    progress.told(at, answer);
                }
            }
            Err(RpcError::UnsupportedVersion { api }) => {
                let error = ClientError::UnsupportedVersion { api: api.to_string() };
                for (at, _) in ask.partitions {
                    progress.end(at, Err(error.clone()));
                }
            }
            Err(error) => {
                self.state().view.on_node_failed(ask.target.node);
                progress.why = error.to_string();
            }
        }
    }
}

fn is_there(at: &TopicPartition, topic: Option<&MetadataResponseTopic>) -> Result<(), ClientError> {
    let topic = topic.ok_or_else(|| lacks(&format!("topic {}", at.topic)))?;
    succeeded(topic.error_code, Some(format!("topic {}", at.topic)))?;
    if topic.partitions.iter().any(|one| one.partition_index == at.partition) {
        return Ok(());
    }
    Err(ClientError::InvalidPartition {
        topic: at.topic.to_string(),
        partition: at.partition.value(),
        partitions: u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX),
    })
}
